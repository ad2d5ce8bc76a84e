# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The single place where files are read, compared, shown as a diff, backed up and written.

A write is durable and all or nothing: a new file in the same directory, fsync, the owner, mode and extended attributes
(SELinux label, ACL) of the old one, rename, fsync of the directory, and a second reading of what was written.
A symbolic link stays one; the file that it names is replaced.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import tempfile
import time

from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError

# Ansible's own limit for file diffs is 100 KB; a masthead with a long assertion may be a little more.
DIFF_LIMIT = 1024 * 1024


# Seconds between two looks at a lock that another process holds.
LOOK_AGAIN = 0.1


class FileError(EngineError):
    """A file that can't be read or written; the sentence carries the path."""


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def explain(error, path, action):
    """A sentence for an OSError that happened while doing `action` (such as "write") to `path`."""
    if error.errno == errno.EROFS:
        why = "it is on a read-only file system; mount it writable and run again"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = "no space is left on its file system; free some and run again"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = "permission denied; run with become: true, and look for an immutable flag (lsattr) or SELinux denials"
    elif error.errno == errno.EBUSY:
        why = "it is a mount point of its own, so it can't be replaced by a rename"
    else:
        why = os.strerror(error.errno) if error.errno else str(error)
    return "%s: could not %s it: %s" % (path, action, why)


def read_bytes(path):
    """The bytes of the regular file that `path` names, links followed."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise FileError("%s: is %s, not a file" % (path, "a directory" if stat.S_ISDIR(mode) else "a special file"))
        with open(path, "rb") as source:
            return source.read()
    except OSError as err:
        if err.errno == errno.ENOENT and os.path.islink(path):
            raise FileError("%s: is a symbolic link to %s, which does not exist; mend the link or name the real file"
                            % (path, os.readlink(path)))
        if err.errno in (errno.ENOENT, errno.ENOTDIR):
            raise FileError("%s: does not exist; check the path, or whether the product is installed here" % path)
        raise FileError(explain(err, path, "read"))


def _why_not_writable(path, size):
    """The error number that a write would end with, or None."""
    folder = os.path.dirname(path) or "."
    space, status, user = os.statvfs(folder), os.stat(path), os.geteuid()
    if not os.access(folder, os.W_OK | os.X_OK):
        return errno.EROFS if space.f_flag & os.ST_RDONLY else errno.EACCES
    if user and (status.st_uid != user or status.st_gid not in [os.getegid()] + os.getgroups()):
        return errno.EPERM  # the new file could not be given to the owner of the old one
    if _is_mount_point(path):
        return errno.EBUSY
    return errno.ENOSPC if space.f_blocks and space.f_bavail * space.f_frsize < size else None


def _is_mount_point(path):
    """Also for a file that is bind-mounted from its own file system, which os.path.ismount() does not see."""
    for char in "\\ \t\n":
        path = path.replace(char, "\\%03o" % ord(char))
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:
            return any(mount.split(b" ")[4] == os.fsencode(path) for mount in mounts)
    except OSError:
        return False


def require_writable(path, size):
    """Fails as the write would, without writing: so check mode tells the truth."""
    try:
        number = _why_not_writable(path, size)
    except OSError as err:
        number = err.errno
    if number:
        raise FileError(explain(OSError(number, ""), path, "write") + "; nothing was written")


def _copy_attributes(source, target_fd):
    status = os.stat(source)
    os.fchown(target_fd, status.st_uid, status.st_gid)
    os.fchmod(target_fd, stat.S_IMODE(status.st_mode))
    if hasattr(os, "listxattr"):
        try:
            for name in os.listxattr(source):
                os.setxattr(target_fd, name, os.getxattr(source, name))
        except OSError as err:
            # A file system without extended attributes has none to keep.
            if err.errno not in (errno.ENOTSUP, errno.ENODATA):
                raise


def write_durably(path, content, like=None, mode=0o600, before_rename=None):
    """Makes `path` hold `content`, or leaves everything as it was and raises FileError.

    `like`: an existing file whose owner, mode and attributes the new one gets; without it `mode` counts.
    `before_rename`: called when the new file is safely on disk and the old one still stands; what it raises undoes all.
    """
    folder = os.path.dirname(path) or "."
    prefix = ".%s.portshift-" % os.path.basename(path)
    temporary, renamed = None, False
    try:
        for leftover in os.listdir(folder):
            # Of a run that was killed before its rename.
            if leftover.startswith(prefix):
                os.unlink(os.path.join(folder, leftover))
        handle, temporary = tempfile.mkstemp(prefix=prefix, dir=folder)
        with os.fdopen(handle, "wb") as target:
            target.write(content)
            target.flush()
            if like is None:
                os.fchmod(target.fileno(), mode)
            else:
                _copy_attributes(like, target.fileno())
            os.fsync(target.fileno())
        if before_rename:
            before_rename()
        os.rename(temporary, path)
        temporary, renamed = None, True
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as err:
        raise FileError(explain(err, path, "write") + (
            "; nothing was written" if not renamed else "; its new bytes may not survive a power failure"))
    finally:
        if temporary:
            os.unlink(temporary)
    if read_bytes(path) != content:
        raise FileError("%s: holds other bytes than were just written to it; look at the file system" % path)


def make_folder(path, mode=0o700):
    try:
        os.makedirs(path, mode, exist_ok=True)
    except OSError as err:
        raise FileError(explain(err, path, "create") + "; nothing was written")


def put_file(path, content, check_mode, mode=0o600):
    """A file of our own (not one of a product's) with exactly `content`.  Returns whether it had to be written."""
    if os.path.lexists(path) and read_bytes(path) == content:
        return False
    if not check_mode:
        make_folder(os.path.dirname(path), 0o755)
        write_durably(path, content, mode=mode)
    return True


def remove_file(path, check_mode):
    """Takes a file of our own away.  Returns whether it was there."""
    if not os.path.lexists(path):
        return False
    if not check_mode:
        try:
            os.unlink(path)
        except OSError as err:
            raise FileError(explain(err, path, "remove"))
    return True


def _is_at(handle, path):
    """Whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


def _open_lock(path):
    try:
        # Close-on-exec: a service that is started meanwhile would hold the lock for as long as it runs.
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as err:
        raise FileError(explain(err, path, "open") + "; nothing was changed")


def _locked(handle, path):
    """Locks the open file, unless another process has done so."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno not in (errno.EAGAIN, errno.EACCES):
            raise FileError(explain(err, path, "lock") + "; nothing was changed")
        return False
    return True


def _wait_for_lock(path, patience, others):
    """The open lock file, locked."""
    end = time.monotonic() + patience
    handle = _open_lock(path)
    try:
        while not (_locked(handle, path) and _is_at(handle, path)):
            if not _is_at(handle, path):
                # The one who held it has taken it away; who comes now makes a new one.
                os.close(handle)
                handle = None
                handle = _open_lock(path)
                continue
            if time.monotonic() >= end:
                pid = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
                raise FileError("%s: %s%s has not ended in the %g s that were waited for it; nothing was changed. Look what it "
                                "waits for, and run again when it has ended"
                                % (path, others, " (process %s)" % pid if pid else "", patience))
            time.sleep(LOOK_AGAIN)
        locked, handle = handle, None
        return locked
    finally:
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def one_at_a_time(path, patience, others):
    """Lets one process of this host at a time past the lock file `path`; the others wait, at most `patience` seconds.

    `others`: the words for whoever is in the way, such as "another cutover".  The lock ends with the process that holds it,
    however that comes about.
    """
    make_folder(os.path.dirname(path) or ".")
    handle = _wait_for_lock(path, patience, others)
    try:
        try:
            # For the sentence of those who wait in vain; the lock itself needs no content.
            os.ftruncate(handle, 0)
            os.write(handle, b"%d\n" % os.getpid())
        except OSError:
            pass
        yield
    finally:
        try:
            # While it is locked: so those who wait for this one find that it is gone, and never two of them get past.
            if _is_at(handle, path):
                os.unlink(path)
        except OSError:
            # One that stays is as good for the next.
            pass
        os.close(handle)


def remove_empty_folder(path):
    """Takes a folder of our own away, unless something of another's lies in it."""
    try:
        os.rmdir(path)
    except OSError as err:
        if err.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise FileError(explain(err, path, "remove"))


def _printable(content):
    if len(content) > DIFF_LIMIT:
        return "(%d bytes, sha256 %s)\n" % (len(content), sha256(content))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


class FileEdit:
    """One file on its way from `before` to `after`.  Check mode, diff and the real run go through commit()."""

    def __init__(self, path, before):
        self.path = path
        self.target = os.path.realpath(path)
        self.before = before
        self.after = before

    @classmethod
    def read(cls, path):
        return cls(path, read_bytes(path))

    def apply(self, after):
        self.after = after
        return self

    def commit(self, module, redact=None, record=None):
        """Writes what apply() was given, unless nothing changed or in check mode.  Returns the module's result.

        `redact`: bytes -> bytes, hides secrets from the diff.  `record`: a ChangeRecord that is told first.
        """
        result = dict(changed=self.after != self.before)
        if module._diff:
            show = redact or bytes
            result["diff"] = dict(before=_printable(show(self.before)), after=_printable(show(self.after)),
                                  before_header=self.path, after_header=self.path)
        if not result["changed"]:
            return result
        require_writable(self.target, len(self.after))
        if module.check_mode:
            return result
        if module.params.get("backup"):
            result["backup_file"] = module.backup_local(self.target)

        def last_look():
            self._still_the_same()
            # Not earlier: what is not going to be written is not to be noted as changed.
            if record:
                record.before_write(self.target, self.before, self.after)

        write_durably(self.target, self.after, like=self.target, before_rename=last_look)
        return result

    def _still_the_same(self):
        if read_bytes(self.target) != self.before:
            raise FileError("%s: somebody else changed it while it was being edited; nothing was written, run again"
                            % self.path)
