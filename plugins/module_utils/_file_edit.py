# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The single place where files are read, compared, shown as a diff, backed up and written.

A write is durable and all or nothing: a new file in the same directory, fsync, the owner, mode and extended attributes
(SELinux label, ACL) of the old one, rename, fsync of the directory, and a second reading of what was written.
A symbolic link stays one; the file that it names is replaced.

A file that is a mount point of its own, such as a container's /etc/services, can't be renamed over: the kernel answers
EBUSY.  It is written in place, while its old bytes lie beside it in a file with a lock on it.  Whoever reads the file and
finds that copy without the lock has found a write that was interrupted, and puts the old bytes back first.
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
# Seconds that somebody else's write in place is waited for.  It is one write and one fsync.
PATIENCE_WITH_WRITE = 30


class FileError(EngineError):
    """A file that can't be read or written; the sentence carries the path."""


class ChangedMeanwhile(FileError):
    """A file that another process has changed since it was read; nothing was written to it."""


class NoSpace(FileError):
    """A file that can't be written for want of space."""


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
        why = "it is in use by the system, as a mount point or a swap file is"
    else:
        why = os.strerror(error.errno) if error.errno else str(error)
    return "%s: could not %s it: %s" % (path, action, why)


def _error_of_write(error, path, rest):
    kind = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else FileError
    return kind(explain(error, path, "write") + rest)


def read_bytes(path):
    """The bytes of the regular file that `path` names, links followed."""
    content = read_if_there(path)
    if content is None:
        raise FileError("%s: does not exist; check the path, or whether the product is installed here" % path)
    return content


def read_if_there(path):
    """The same, or None where there is nothing: whoever looks first and then reads meets those who remove the file between."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise FileError("%s: is %s, not a file" % (path, "a directory" if stat.S_ISDIR(mode) else "a special file"))
        _mend(os.path.realpath(path))
        with open(path, "rb") as source:
            return source.read()
    except OSError as err:
        if err.errno == errno.ENOENT and os.path.islink(path):
            raise FileError("%s: is a symbolic link to %s, which does not exist; mend the link or name the real file"
                            % (path, os.readlink(path)))
        if err.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise FileError(explain(err, path, "read"))


def read_end(path, size):
    """The last `size` bytes of a file that others write, such as a log; None where there is none."""
    if not os.path.lexists(path):
        return None
    try:
        with open(path, "rb") as source:
            source.seek(max(0, os.fstat(source.fileno()).st_size - size))
            return source.read(size)
    except OSError as err:
        raise FileError(explain(err, path, "read"))


def _why_not_writable(path, size):
    """The error number that a write would end with, or None."""
    folder = os.path.dirname(path) or "."
    space, status, user = os.statvfs(folder), os.stat(path), os.geteuid()
    if not os.access(folder, os.W_OK | os.X_OK):
        return errno.EROFS if space.f_flag & os.ST_RDONLY else errno.EACCES
    if user and (status.st_uid != user or status.st_gid not in [os.getegid()] + os.getgroups()):
        return errno.EPERM  # the new file could not be given to the owner of the old one
    if _is_full(space, size):
        return errno.ENOSPC
    if not _is_mount_point(path):
        return None
    own = os.statvfs(path)
    if not os.access(path, os.W_OK):
        return errno.EROFS if own.f_flag & os.ST_RDONLY else errno.EACCES
    return errno.ENOSPC if _is_full(own, size - status.st_size) else None


def _is_full(space, size):
    # What a file system holds back is root's.
    free = space.f_bavail if os.geteuid() else space.f_bfree
    return bool(space.f_blocks) and free * space.f_frsize < size


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
        raise _error_of_write(OSError(number, ""), path, "; nothing was written")


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
            if leftover.startswith(prefix):
                _remove_leftover(os.path.join(folder, leftover))
        handle, temporary = _locked_temporary(prefix, folder)
        # Open, and so locked, until it has its name.
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
            try:
                os.rename(temporary, path)
                temporary = None
            except OSError as err:
                if err.errno != errno.EBUSY:
                    raise
                _write_in_place(path, content)
        renamed = True
        _fsync_folder(folder)
    except OSError as err:
        raise _error_of_write(
            err, path, "; nothing was written" if not renamed else "; its new bytes may not survive a power failure")
    finally:
        if temporary:
            os.unlink(temporary)
    if read_bytes(path) != content:
        raise FileError("%s: holds other bytes than were just written to it; look at the file system" % path)


def _lock_now(handle):
    """Locks an open file; false when another process has done so."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _locked_temporary(prefix, folder):
    """-> the open file and its path"""
    while True:
        handle, path = tempfile.mkstemp(prefix=prefix, dir=folder)
        with contextlib.suppress(OSError):    # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(handle, path):
            return handle, path
        os.close(handle)    # somebody took it for a leftover, between the two


def _remove_leftover(path):
    """The temporary file of a run that was killed before its rename; that of a run which is still at work has a lock."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            try:
                left = _lock_now(handle)
            except OSError:    # a file system without locks
                left = True
            if left:
                os.unlink(path)
        finally:
            os.close(handle)
    except FileNotFoundError:
        pass    # it has its name by now


def _fsync_folder(folder):
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def kept_path(path):
    """Where the old bytes lie while `path` is written in place.

    Not a name that write_durably() takes for a leftover: these bytes are the way back.
    """
    return os.path.join(os.path.dirname(path), ".%s.before-portshift" % os.path.basename(path))


def _overwrite(path, content):
    """Puts `content` into the file that is there, without a moment in which it is empty."""
    with open(path, "r+b", buffering=0) as target:
        written = 0
        while written < len(content):
            written += target.write(content[written:])
        target.truncate(len(content))
        os.fsync(target.fileno())


def overwrite(path, content):
    """Puts `content` into the file that is there, on a disk that has no room for a second one.

    Neither all nor nothing: for whoever has these bytes elsewhere, and comes again when this was interrupted.
    """
    try:
        _overwrite(path, content)
    except OSError as err:
        raise _error_of_write(err, path, "; it may hold parts of old and new bytes")
    if read_bytes(path) != content:
        raise FileError("%s: holds other bytes than were just written to it; look at the file system" % path)


def _write_in_place(path, content):
    """For a file that can't be renamed over.  An OSError leaves the old bytes in it, or the way back beside it."""
    before, kept, folder = read_bytes(path), kept_path(path), os.path.dirname(path) or "."
    handle, temporary = tempfile.mkstemp(prefix=".%s.portshift-" % os.path.basename(path), dir=folder)
    with os.fdopen(handle, "wb") as copy:
        try:
            copy.write(before)
            copy.flush()
            _copy_attributes(path, copy.fileno())
            os.fsync(copy.fileno())
            # Before it has its name: a reader never sees the copy of a write that is under way without a lock on it.
            fcntl.flock(copy, fcntl.LOCK_EX)
            os.rename(temporary, kept)
            temporary = None
            _fsync_folder(folder)
        finally:
            if temporary:
                os.unlink(temporary)
        try:
            _overwrite(path, content)
            if _plain_bytes(path) != content:
                raise OSError(errno.EIO, "it holds other bytes than were just written to it")
        except OSError:
            _put_kept_back(path, before)
            raise
        os.unlink(kept)


def _plain_bytes(path):
    with open(path, "rb") as source:
        return source.read()


def _put_kept_back(path, before):
    """After a write in place that failed or was interrupted.  The copy stays until its bytes are safely in the file."""
    kept = kept_path(path)
    try:
        _overwrite(path, before)
        if _plain_bytes(path) != before:
            raise OSError(errno.EIO, "it holds other bytes than were just written to it")
    except OSError as err:
        raise FileError("%s; it may hold parts of old and new bytes. The old ones are in %s: mend the cause and run again, "
                        "which puts them back, or copy them yourself and remove that file"
                        % (explain(err, path, "restore"), kept))
    os.unlink(kept)
    _fsync_folder(os.path.dirname(path) or ".")


def _mend(path):
    """Waits for a write in place that is under way; takes back one that was interrupted.

    Also in check mode, as a file system replays its journal also for those who only want to read.
    """
    kept = kept_path(path)
    if not os.path.lexists(kept):
        return
    try:
        handle = os.open(kept, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as err:
        if err.errno == errno.ENOENT:
            return
        raise FileError("%s: a write into it was interrupted, and its old bytes, in %s, can't be read: %s; run with become: "
                        "true, which puts them back" % (path, kept, os.strerror(err.errno)))
    with os.fdopen(handle, "rb") as copy:
        end = time.monotonic() + PATIENCE_WITH_WRITE
        while not _locked(copy.fileno(), kept):
            if time.monotonic() >= end:
                raise FileError("%s: another process has been writing it for %d s; nothing was changed. Look which one has %s "
                                "open, and run again when it has ended" % (path, PATIENCE_WITH_WRITE, kept))
            time.sleep(LOOK_AGAIN)
        # Else the writer came to its end meanwhile, and took the copy away itself.
        if _is_at(copy.fileno(), kept):
            _put_kept_back(path, copy.read())


def make_folder(path, mode=0o700):
    try:
        os.makedirs(path, mode, exist_ok=True)
    except OSError as err:
        raise FileError(explain(err, path, "create") + "; nothing was written")


def put_file(path, content, check_mode, mode=0o600):
    """A file of our own (not one of a product's) with exactly `content`.  Returns whether it had to be written."""
    if read_if_there(path) == content:
        return False
    if not check_mode:
        make_folder(os.path.dirname(path), 0o755)
        write_durably(path, content, mode=mode)
    return True


def remove_file(path, check_mode):
    """Takes a file of our own away.  Returns whether it was there."""
    if check_mode:
        return os.path.lexists(path)
    try:
        os.unlink(path)
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
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
        return _lock_now(handle)
    except OSError as err:
        raise FileError(explain(err, path, "lock") + "; nothing was changed")


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
            raise ChangedMeanwhile("%s: somebody else changed it while it was being edited; nothing was written, run again"
                                   % self.path)
