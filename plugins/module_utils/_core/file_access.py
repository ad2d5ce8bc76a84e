# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a path leads, and what is read there, on a host where other users write too.

Every folder on the way is opened by its name in the one before, and what is done with a file is done in the folder that was
opened: a folder that is swapped meanwhile leads nowhere else.  A file is opened without following a link, without waiting
for the other end of a FIFO, and counts when what was opened is a regular file.

Links are kept, as packages and sites make them.  But a link that belongs to neither root nor the user who runs this is
followed only to a file of the same owner: it gives that owner no file that was not theirs before.
"""

import contextlib
import errno
import os
import pwd
import stat

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import described

# No file that is read as a whole comes near it: the longest services files have 1 MB, lists of a firewall some more.
READ_LIMIT = 64 * 1024 * 1024
# As many as the kernel follows.
MAX_LINKS = 40

# Without these a path can't be walked past what other users plant; without the others it can.
LACKING = [name for name in ("O_DIRECTORY", "O_NOFOLLOW") if not hasattr(os, name)] + (
    [] if os.open in os.supports_dir_fd else ["openat"])


def _flags(*names):
    found = 0
    for name in names:
        found |= getattr(os, name, 0)
    return found


_FOLDER = _flags("O_DIRECTORY", "O_NOFOLLOW")
_FILE = _flags("O_NONBLOCK", "O_NOCTTY", "O_NOFOLLOW")


class FileError(EngineError):
    """A file that can't be read or written; the sentence carries the path."""


class NoSpace(FileError):
    """A file that can't be written for want of space."""


def explain(error, path, action):
    """A sentence for an OSError that happened while doing `action` (such as "write") to `path`."""
    if error.errno == errno.EROFS:
        why = "it is on a read-only file system; mount it writable and run again"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = "no space is left on its file system; free some and run again"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = "permission denied; run with become: true, and look for an immutable flag (lsattr) or SELinux denials"
    elif error.errno == errno.EBUSY:
        why = "it is in use by the system, as a mount point or a swap file is"
    elif error.errno == errno.ENOLCK:
        why = "its file system has no locks; mount it with them (NFS: without nolock) and run again"
    elif error.errno == errno.EAGAIN:
        why = "another process holds a lease on it, as file servers do; run again"
    else:
        why = os.strerror(error.errno) if error.errno else str(error)
    return "%s: could not %s it: %s" % (path, action, why)


def user_name(number):
    """The name of a user, or the number where the host has no name for it."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def others_write(status):
    """Whether other users than the owner and root may write it.  Root's own group is no other user, as for sudo."""
    return bool(status.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if status.st_gid else 0)))


def is_trusted(owner):
    """Whether what belongs to the user `owner` is as good as what root or this user has made."""
    return owner in (0, os.geteuid())


def _open_folder(name, folder=None):
    try:
        # Not O_PATH at once: with it a file system that is to be mounted on demand would not be.
        return os.open(name, os.O_RDONLY | _FOLDER, dir_fd=folder)
    except PermissionError:
        # What is done in a folder takes no right to list it.
        if not hasattr(os, "O_PATH"):
            raise
        return os.open(name, os.O_PATH | _FOLDER, dir_fd=folder)


def _require_a_safe_walk(path):
    if LACKING:
        raise FileError("%s: was not opened: Python on this host (%s) has no %s, without which what other users put in the way "
                        "would be followed; edit the file by hand" % (path, described(), " and no ".join(LACKING)))


def _names(path):
    return [name for name in path.split("/") if name not in ("", ".")]


class Location:
    """The folder that `path` leads to, held open, and the name in it.

    `path`: the same path without links.  `follow`: whether a link at the very end is followed.
    """

    def __init__(self, path, follow=True):
        _require_a_safe_walk(path)
        self.asked, self.folder, self._foreign = path, _open_folder("/"), []
        try:
            # Without a name the path leads to the folder itself.
            way, name = self._walk(path if path.startswith("/") else os.path.join(os.getcwd(), path), follow)
            self.name, self.path = name or ".", "/" + "/".join(way + [name] if name else way)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        os.close(self.folder)

    def _enter(self, name):
        folder = _open_folder(name, self.folder)
        os.close(self.folder)
        self.folder = folder

    def _walk(self, path, follow):
        """Opens all folders on the way.  Returns (their names, without links, and the name that is left or None)."""
        rest, way, links = _names(path)[::-1], [], 0
        while rest:
            name = rest.pop()
            if name == "..":
                self._enter(name)
                way = way[:-1]
            elif (rest or follow) and self._is_link(name, missing_is_fine=not rest):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                text = self._followed(name, "/" + "/".join(way + [name]))
                rest += _names(text)[::-1]
                if text.startswith("/"):
                    self._enter("/")
                    way = []
            elif not rest:
                return way, name
            else:
                way.append(name)
                try:
                    self._enter(name)
                except OSError:
                    if self._is_link(name, missing_is_fine=True):
                        # Not an answer: it was none a moment ago, and is not looked at.
                        raise FileError("%s: was changed while it was opened (%s is a link now); run again"
                                        % (self.asked, "/" + "/".join(way)))
                    raise
        return way, None

    def _is_link(self, name, missing_is_fine):
        try:
            return stat.S_ISLNK(os.stat(name, dir_fd=self.folder, follow_symlinks=False).st_mode)
        except OSError as err:
            if err.errno == errno.ENOENT and missing_is_fine:
                return False
            raise

    def _followed(self, name, path):
        """What the link says.  Its owner is that of the very link that was read."""
        if not hasattr(os, "O_PATH"):
            status, text = os.stat(name, dir_fd=self.folder, follow_symlinks=False), os.readlink(name, dir_fd=self.folder)
        else:
            handle = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self.folder)
            try:
                status, text = os.fstat(handle), os.readlink("", dir_fd=handle)
            finally:
                os.close(handle)
        if not is_trusted(status.st_uid):
            self._foreign.append((path, status.st_uid))
        return text

    def _require_followed(self, status):
        """`status`: that of the file at the end, None when there is none."""
        for link, owner in self._foreign:
            if status is None or status.st_uid != owner:
                raise FileError(
                    "%s: leads through %s, a symbolic link that belongs to the user %s, to %s, which %s, so it was not followed; "
                    "name the real file, or give the link to root (chown -h root %s) if it is right" % (
                        self.asked, link, user_name(owner), self.path,
                        "does not exist" if status is None else "belongs to the user %s" % user_name(status.st_uid), link))

    # -- what is there

    def status(self, name=None):
        """That of what has the name, or of `name` beside it, of a link too; None for nothing."""
        try:
            return os.stat(name or self.name, dir_fd=self.folder, follow_symlinks=False)
        except OSError as err:
            if err.errno == errno.ENOENT:
                return None
            raise

    def is_at(self, handle, name=None):
        """Whether the name, or `name` beside it, still is that of the open file."""
        status = self.status(name)
        return status is not None and os.path.samestat(os.fstat(handle), status)

    def folder_id(self):
        status = os.fstat(self.folder)
        return status.st_dev, status.st_ino

    def beside(self, name):
        """The path of another name in the same folder, for sentences."""
        return os.path.join(os.path.dirname(self.path), name)

    def open(self, flags=os.O_RDONLY, name=None):
        """Opens the regular file that is there, or the one called `name` beside it."""
        path, name = self.beside(name) if name else self.asked, name or self.name
        # Looked at first, since to open a device can do something by itself.
        _require_regular(path, os.stat(name, dir_fd=self.folder, follow_symlinks=False))
        return self._checked(os.open(name, flags | _FILE, dir_fd=self.folder), path, self._require_followed)

    def create(self, name, flags=0, mode=0o600):
        """Opens the file `name` in the folder for writing, and makes it where it is not there."""
        self._require_followed(self.status())
        return self._checked(os.open(name, os.O_RDWR | os.O_CREAT | flags | _FILE, mode, dir_fd=self.folder), self.beside(name))

    @staticmethod
    def _checked(handle, path, check=None):
        try:
            status = os.fstat(handle)
            _require_regular(path, status)
            if check:
                check(status)
            return handle
        except BaseException:
            os.close(handle)
            raise

    def make_folder(self, mode):
        """A folder with the name, unless it has come to be meanwhile."""
        status = os.fstat(self.folder)
        self._require_followed(status)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.name, mode, dir_fd=self.folder)

    @contextlib.contextmanager
    def opened(self, flags=os.O_RDONLY):
        handle = self.open(flags)
        try:
            yield handle
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def opened_folder(self):
        """The folder, to be listed or synced."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.folder)
        try:
            yield handle
        finally:
            os.close(handle)

    def require_own(self):
        """Fails unless only root and this user can have put there what has the name."""
        status = os.fstat(self.folder)
        folder = os.path.dirname(self.path)
        self._require_followed(status)
        if not is_trusted(status.st_uid) or others_write(status):
            mend = "chmod go-w %s" % folder if is_trusted(status.st_uid) else "chown root %s; chmod go-w %s" % (folder, folder)
            raise FileError(
                "%s: lies in a folder where other users can write (%s belongs to %s and has the mode %04o), so what lies there "
                "is not believed; make it its owner's alone (%s) once you have looked at what it holds, or name another folder; "
                "nothing was changed" % (self.asked, folder, user_name(status.st_uid), stat.S_IMODE(status.st_mode), mend))


def _require_regular(path, status):
    mode = status.st_mode
    if not stat.S_ISREG(mode):
        raise FileError("%s: is %s, not a file" % (path, "a directory" if stat.S_ISDIR(mode) else "a special file"))


def read_handle(handle, path, limit=READ_LIMIT):
    """All that an open file holds, from its beginning."""
    pieces, size = [], 0
    os.lseek(handle, 0, os.SEEK_SET)
    while size <= limit:
        piece = os.read(handle, min(1024 * 1024, limit + 1 - size))
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
    raise FileError("%s: has more than %d bytes, which is no size for a file of its kind; it was not read. Look what has filled "
                    "it" % (path, limit))


def read_bytes(path):
    """The bytes of the regular file that `path` names, links followed."""
    content = read_if_there(path)
    if content is None:
        raise FileError("%s: does not exist; check the path, or whether the product is installed here" % path)
    return content


def read_if_there(path):
    """The same, or None where there is nothing: between a look and a read another process may remove the file."""
    return _read(path, lambda handle: read_handle(handle, path))


def read_end(path, size):
    """The last `size` bytes of a file that others write, such as a log; None where there is none."""
    def end(handle):
        os.lseek(handle, max(0, os.fstat(handle).st_size - size), os.SEEK_SET)
        pieces = []
        while size > sum(map(len, pieces)):
            piece = os.read(handle, size - sum(map(len, pieces)))
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces)

    return _read(path, end)


def read_own(path):
    """The bytes of a file of our own, such as a record, or None.  Fails where other users can have written it."""
    def own(handle):
        status = os.fstat(handle)
        if not is_trusted(status.st_uid) or others_write(status):
            raise FileError("%s: can be written by other users (it belongs to %s and has the mode %04o), so it is not believed; "
                            "look at what it holds, then make it root's alone (chown root, chmod go-w) or move it away; nothing "
                            "was changed" % (path, user_name(status.st_uid), stat.S_IMODE(status.st_mode)))
        return read_handle(handle, path)

    return _read(path, own, own=True)


def _read(path, reading, own=False):
    try:
        with Location(path) as place:
            if own:
                place.require_own()
            with place.opened() as handle:
                return reading(handle)
    except OSError as err:
        if err.errno == errno.ENOENT and os.path.islink(path):
            raise FileError("%s: is a symbolic link to %s, which does not exist; mend the link or name the real file"
                            % (path, os.readlink(path)))
        if err.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise FileError(explain(err, path, "read"))
