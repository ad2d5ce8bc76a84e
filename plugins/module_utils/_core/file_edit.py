# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The single place where files are compared, shown as a diff, backed up and written.  file_access reads them.

A write is durable and all or nothing: a new file in the same directory, fsync, the owner, mode and extended attributes
(SELinux label, ACL) of the old one, rename, fsync of the directory, and a second reading of what was written.
A symbolic link stays one; the file that it names is replaced.

A file that is a mount point of its own, such as a container's /etc/services, can't be renamed over: the kernel answers
EBUSY.  It is written in place, while its old bytes and its new ones lie beside it in a file with a lock on it.  The next
edit of the file that finds those without the lock has found a write that was interrupted, and puts the old bytes back first.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import platform
import random
import re
import stat
import struct
import time

from ansible_collections.portshift.agents.plugins.module_utils._core.file_access import (
    FileError, Location, NoSpace, explain, others_write, read_bytes, read_end, read_handle, read_if_there, read_own)
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import is_linux

__all__ = [
    "ChangedMeanwhile", "FileEdit", "FileError", "NoSpace", "explain", "kept_path", "make_folder", "one_at_a_time", "overwrite",
    "put_file", "read_bytes", "read_end", "read_if_there", "read_own", "remove_empty_folder", "remove_file", "require_writable",
    "sha256", "take_back_interrupted", "write_durably", "write_own",
]

# Ansible's own limit for file diffs is 100 KB; a masthead with a long assertion may be a little more.
DIFF_LIMIT = 1024 * 1024


# Seconds between two looks at a lock that another process holds.
LOOK_AGAIN = 0.1
# Seconds that another write in place is waited for.  It is one write and one fsync.
PATIENCE_WITH_WRITE = 30

# FS_IOC_GETFLAGS of <linux/fs.h>, as chattr(1) and lsattr(1) use it.
_SIZE_OF_LONG = struct.calcsize("l")
_DIRECTION = 1 << 30 if platform.machine().startswith(("ppc", "mips", "sparc", "alpha")) else 1 << 31
_GET_FLAGS = _DIRECTION | _SIZE_OF_LONG << 16 | ord("f") << 8 | 1
_FLAGS = ((0x10, "immutable", "i"), (0x20, "append-only", "a"))


class ChangedMeanwhile(FileError):
    """A file that another process has changed since it was read; nothing was written to it."""


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def _error_of_write(error, path, rest):
    kind = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else FileError
    return kind(explain(error, path, "write") + rest)


# --- whether a write can be


def _why_not_writable(place, size):
    """The error number that a write would end with, or None."""
    folder, status = os.path.dirname(place.path), place.status()
    space, user = os.statvfs(folder), os.geteuid()
    if not os.access(folder, os.W_OK | os.X_OK):
        return errno.EROFS if space.f_flag & os.ST_RDONLY else errno.EACCES
    if user and status and (status.st_uid != user or status.st_gid not in [os.getegid()] + os.getgroups()):
        return errno.EPERM  # the new file could not be given to the owner of the old one
    if _is_full(space, size):
        return errno.ENOSPC
    if not status or not _is_mount_point(place.path):
        return None
    own = os.statvfs(place.path)
    if not os.access(place.path, os.W_OK):
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


def _flag_of(handle):
    """(name, letter) of the flag of an open file or folder that stands against its replacement, or None."""
    if not is_linux():
        return None    # elsewhere that number may ask for anything
    try:
        value = struct.unpack("i", fcntl.ioctl(handle, _GET_FLAGS, b"\0" * 8)[:4])[0]
    except OSError:
        return None    # a file system without flags
    return next((flag[1:] for flag in _FLAGS if value & flag[0]), None)


def _require_no_flag(place):
    """Root may write whatever the mode says, but for chattr's flags: a temporary file could not even be removed again."""
    looked_at = [(os.path.dirname(place.path), place.opened_folder)]
    if place.status():
        looked_at.append((place.path, place.opened))
    for path, opened in looked_at:
        try:
            with opened() as handle:
                flag = _flag_of(handle)
        except OSError:
            continue    # what can't be read has a sentence of its own
        if flag:
            raise FileError("%s: could not write it: %s has the %s flag (lsattr shows %s), so that no file %s can be replaced; "
                            "take the flag away (chattr -%s %s) and run again; nothing was written" % (
                                place.path, path, flag[0], flag[1], "in it" if path != place.path else "with it", flag[1], path))


def require_writable(path, size):
    """Fails as the write would, without writing: so check mode tells the truth.

    Returns sentences on what the write will leave as it is, though its bytes are the file's own.
    """
    try:
        with Location(path) as place:
            _require_no_flag(place)
            number, status = _why_not_writable(place, size), place.status()
            path = place.path
    except OSError as err:
        number = err.errno
    if number:
        raise _error_of_write(OSError(number, ""), path, "; nothing was written")
    if not status or status.st_nlink < 2 or _is_mount_point(path):
        return []
    return ["%s: has %d names (hard links), and the new bytes come to this one alone; what is read by another name keeps the old "
            "port. Find them with: find / -xdev -samefile %s" % (path, status.st_nlink, path)]


# --- a new file in the place of an old one


def _copy_attributes(source, target):
    """Those of one open file, to another one."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    if hasattr(os, "listxattr"):
        try:
            for name in os.listxattr(source):
                os.setxattr(target, name, os.getxattr(source, name))
        except OSError as err:
            # A file system without extended attributes has none to keep.
            if err.errno not in (errno.ENOTSUP, errno.ENODATA):
                raise


def write_durably(path, content, mode=0o600):
    """Makes `path` hold `content`, or leaves everything as it was and raises FileError."""
    try:
        with Location(path, follow=False) as place:
            _replace(place, content, mode=mode)
    except OSError as err:
        raise _error_of_write(err, path, "; nothing was written")


def write_own(path, content, mode=0o600):
    """write_durably() for a file of our own, such as a record, in a folder where no other user can write."""
    try:
        with Location(path, follow=False) as place:
            place.require_own()
            _replace(place, content, mode=mode)
    except OSError as err:
        raise _error_of_write(err, path, "; nothing was written")


def _replace(place, content, like=None, mode=0o600, before_rename=None):
    """write_durably() in a folder that is open.

    `like`: the open file whose owner, mode and attributes the new one gets; without it `mode` counts.
    `before_rename`: called when the new file is safely on disk and the old one still stands; what it raises undoes all.
    """
    _require_no_flag(place)
    temporary, renamed = None, False
    try:
        _remove_leftovers(place)
        handle, temporary = _locked_temporary(place)
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
                os.rename(temporary, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
                temporary = None
            except OSError as err:
                if err.errno != errno.EBUSY:
                    raise
                # No other write is to find the new bytes under two names.
                _unlink(place, temporary)
                temporary = None
                _write_in_place(place, content)
        renamed = True
        _fsync_folder(place)
    except OSError as err:
        raise _error_of_write(
            err, place.path, "; nothing was written" if not renamed else "; its new bytes may not survive a power failure")
    finally:
        if temporary:
            _unlink(place, temporary)
    with place.opened() as written:
        if read_handle(written, place.path) != content:
            raise FileError("%s: holds other bytes than were just written to it; look at the file system" % place.path)


def _unlink(place, name):
    """Takes a temporary file of ours away; the next write removes one that stays."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=place.folder)


def _lock_now(handle):
    """Locks an open file; false when another process has done so."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _temporary(place):
    """A new file beside the one at `place`, which no other user can have put there -> (the open file, its name)"""
    letters = random.SystemRandom()
    while True:
        name = ".%s.portshift-%s" % (
            place.name, "".join(letters.choice("abcdefghijklmnopqrstuvwxyz0123456789_") for _unused in range(8)))
        with contextlib.suppress(FileExistsError):
            return place.create(name, os.O_EXCL), name


def _locked_temporary(place):
    while True:
        handle, name = _temporary(place)
        with contextlib.suppress(OSError):    # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if place.is_at(handle, name):
            return handle, name
        os.close(handle)    # another write took it for a leftover, between the two


def _remove_leftovers(place):
    """The temporary files of runs that were killed before their rename; that of a run which is still at work has a lock."""
    status, pattern = place.status(), re.compile(r"\.%s\.portshift-[a-z0-9_]{8}\Z" % re.escape(place.name))
    # It had the owner of the old file by then, or had not.
    owners = {os.geteuid()} | ({status.st_uid} if status else set())
    with place.opened_folder() as folder:
        names = [name for name in os.listdir(folder) if pattern.match(name)]
    for name in names:
        # What others have put there under such a name is theirs, and in no edit's way.
        with contextlib.suppress(OSError, FileError):
            handle = place.open(name=name)
            try:
                if os.fstat(handle).st_uid in owners and _left_alone(handle):
                    os.unlink(name, dir_fd=place.folder)
            finally:
                os.close(handle)


def _left_alone(handle):
    try:
        return _lock_now(handle)
    except OSError:    # a file system without locks
        return True


def _fsync_folder(place):
    with place.opened_folder() as folder:
        os.fsync(folder)


def _back_up(place, handle):
    """A copy of the open file beside it, under the name that Ansible's own modules give to one.  Returns its path.

    Not AnsibleModule.backup_local(): its name is known ahead and it writes through a link that lies there already.
    """
    stem = "%s.%d.%s" % (place.name, os.getpid(), time.strftime("%Y-%m-%d@%H:%M:%S", time.localtime()))
    names = (stem + end for end in itertools.chain(["~"], ("-%d~" % number for number in itertools.count(2))))
    # Not that of another one of the same second.  What is planted there from now on is not written through.
    name = next(name for name in names if not place.status(name))
    path, status = place.beside(name), os.fstat(handle)
    try:
        with os.fdopen(place.create(name, os.O_EXCL), "wb") as copy:
            copy.write(read_handle(handle, place.path))
            copy.flush()
            _copy_attributes(handle, copy.fileno())
            os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fsync(copy.fileno())
    except OSError as err:
        raise _error_of_write(err, path, "; nothing was written")
    return path


# --- a file that can't be renamed over

# What the file beside it begins with; a line of JSON on both states follows, then the old bytes and the new ones.
_KEPT = b"portshift.agents write in place 1\n"


def _kept_name(name):
    return ".%s.before-portshift" % name


def kept_path(path):
    """Where the old bytes lie while `path` is written in place.

    Not a name that is taken for a leftover: these bytes are the way back.
    """
    return os.path.join(os.path.dirname(path), _kept_name(os.path.basename(path)))


def _kept_text(old, new):
    states = dict(old=[len(old), sha256(old)], new=[len(new), sha256(new)])
    return _KEPT + json.dumps(states, sort_keys=True).encode("ascii") + b"\n" + old + new


def _kept_states(text):
    """(old bytes, new bytes) out of such a file, or None when it is not whole or not one of these."""
    if not text.startswith(_KEPT):
        return None
    line, unused, rest = text[len(_KEPT):].partition(b"\n")
    try:
        states = json.loads(line.decode("ascii"))
        length = states["old"][0]
        old, new = rest[:length], rest[length:]
        found = dict(old=[len(old), sha256(old)], new=[len(new), sha256(new)])
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return (old, new) if found == states else None


def _common(first, second):
    """How many bytes two contents have in common at their beginning."""
    end = min(len(first), len(second))
    if first[:end] == second[:end]:
        return end
    low, high = 0, end
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle)
    return low


def _is_interrupted(now, old, new):
    """Whether a write of `new` over `old`, or the one that puts `old` back, leaves `now` when it is ended amid it.

    Each goes from the beginning to the end and cuts off what is left then: so old bytes come first, as far as they were put
    back, then new ones, as far as they were written, then old ones.
    """
    back = _common(now, old)
    if len(now) == len(old):
        written = len(now) - _common(now[::-1], old[::-1])
        return written <= len(new) and now[back:written] == new[back:written]
    return min(len(old), len(new)) <= len(now) and now[back:] == new[back:len(now)]


def _overwrite(handle, content):
    """Puts `content` into the open file, without a moment in which it is empty."""
    os.lseek(handle, 0, os.SEEK_SET)
    written = 0
    while written < len(content):
        written += os.write(handle, content[written:])
    os.ftruncate(handle, len(content))
    os.fsync(handle)


def overwrite(path, content):
    """Puts `content` into the file that is there, on a disk that has no room for a second one.

    Neither all nor nothing: for a caller that has these bytes elsewhere, and comes again when this was interrupted.
    """
    try:
        with Location(path) as place, place.opened(os.O_RDWR) as handle:
            _overwrite(handle, content)
            written = read_handle(handle, path)
    except OSError as err:
        raise _error_of_write(err, path, "; it may hold parts of old and new bytes")
    if written != content:
        raise FileError("%s: holds other bytes than were just written to it; look at the file system" % path)


def _write_in_place(place, content):
    """For a file that can't be renamed over.  An OSError leaves the old bytes in it, or the way back beside it."""
    kept = _kept_name(place.name)
    if place.status(kept):
        raise FileError("%s: %s lies beside it, where its old bytes are kept while it is written; look whose it is, and remove "
                        "it if it is not needed; nothing was written" % (place.path, place.beside(kept)))
    with place.opened(os.O_RDWR) as target:
        before = read_handle(target, place.path)
        handle, temporary = _temporary(place)
        with os.fdopen(handle, "wb") as copy:
            try:
                copy.write(_kept_text(before, content))
                copy.flush()
                status = os.fstat(target)
                os.fchown(copy.fileno(), status.st_uid, status.st_gid)
                # Others may read what they could read before, and no more.
                os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode) & 0o755)
                os.fsync(copy.fileno())
                # Before it has its name: who finds the copy of a write that is under way never finds it without a lock.
                fcntl.flock(copy, fcntl.LOCK_EX)
                os.rename(temporary, kept, src_dir_fd=place.folder, dst_dir_fd=place.folder)
                temporary = None
                _fsync_folder(place)
            finally:
                if temporary:
                    _unlink(place, temporary)
            try:
                _overwrite(target, content)
                _require_content(target, place, content)
            except OSError:
                _put_kept_back(place, target, before)
                raise
            os.unlink(kept, dir_fd=place.folder)


def _require_content(handle, place, content):
    if read_handle(handle, place.path) != content:
        raise OSError(errno.EIO, "it holds other bytes than were just written to it")


def _put_kept_back(place, target, before):
    """After a write in place that failed or was interrupted.  The copy stays until its bytes are safely in the file."""
    kept = _kept_name(place.name)
    try:
        _overwrite(target, before)
        _require_content(target, place, before)
    except OSError as err:
        raise FileError("%s; it may hold parts of old and new bytes. The old ones are in %s: mend the cause and run again, "
                        "which puts them back, or copy them yourself and remove that file"
                        % (explain(err, place.path, "restore"), place.beside(kept)))
    os.unlink(kept, dir_fd=place.folder)
    _fsync_folder(place)


def take_back_interrupted(paths, check_mode=False):
    """For who is about to edit: waits for a write in place that is under way, takes back one that was interrupted.

    Looks at mount points alone, since nothing else is ever written in place; and never in check mode.
    """
    for path in paths if not check_mode else ():
        try:
            with Location(path) as place:
                if _is_mount_point(place.path):
                    _take_back(place)
        except OSError as err:
            # What is not there, or can't be looked at, has a sentence of its own when it is read.
            if err.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
                raise FileError(explain(err, path, "look at"))


def _take_back(place):
    kept, name = place.beside(_kept_name(place.name)), _kept_name(place.name)
    if not place.status(name):
        return
    with contextlib.ExitStack() as held:
        try:
            copy = place.open(name=name)
            held.callback(os.close, copy)
            target = place.open(os.O_RDWR)
            held.callback(os.close, target)
        except FileNotFoundError:
            return    # the writer has come to its end
        except FileError as err:
            raise FileError("%s: its old bytes are kept beside it while it is written, and what lies there is no such copy (%s); "
                            "look whose it is, and remove it; nothing was changed" % (place.path, err))
        except OSError as err:
            raise FileError("%s: a write into it was interrupted, and its old bytes, in %s, can't be put back: %s; run with "
                            "become: true, which puts them back" % (place.path, kept, os.strerror(err.errno)))
        ours, theirs = os.fstat(target), os.fstat(copy)
        if theirs.st_uid != ours.st_uid or others_write(theirs):
            raise FileError("%s: %s lies beside it, where its old bytes are kept while it is written, but is not its owner's "
                            "alone (user %d, mode %04o), so it is not believed; look whose it is, and remove it; nothing was "
                            "changed" % (
                                place.path, kept, theirs.st_uid, stat.S_IMODE(theirs.st_mode)))
        _await_writer(place, kept, copy)
        # Else the writer came to its end meanwhile, and took the copy away itself.
        if place.is_at(copy, name):
            _judge(place, kept, target, read_handle(copy, kept))


def _await_writer(place, kept, copy):
    end = time.monotonic() + PATIENCE_WITH_WRITE
    while not _locked(copy, kept):
        if time.monotonic() >= end:
            raise FileError("%s: another process has been writing it for %d s; nothing was changed. Look which one has %s "
                            "open, and run again when it has ended" % (place.path, PATIENCE_WITH_WRITE, kept))
        time.sleep(LOOK_AGAIN)


def _judge(place, kept, target, text):
    """What becomes of the copy `text` that an interrupted write has left beside the open file."""
    now, states = read_handle(target, place.path), _kept_states(text)
    if now in (states or (text,)):
        # The write had not begun, or had come to its end.
        os.fsync(target)
        os.unlink(os.path.basename(kept), dir_fd=place.folder)
        _fsync_folder(place)
    elif states and _is_interrupted(now, *states):
        _put_kept_back(place, target, states[0])
    else:
        first = text.index(b"\n", len(_KEPT)) + 2 if states else 1
        raise FileError(
            "%s: a write into it was interrupted once, and its old bytes lie in %s, but it does not hold what such a write "
            "leaves: it was changed since; nothing was changed now. If it is right as it is, remove %s; if the old bytes are, "
            "put them back (tail -c +%d %s | head -c %d >%s) and remove that file then" % (
                place.path, kept, kept, first, kept, len(states[0] if states else text), place.path))


# --- files of our own


def make_folder(path, mode=0o700):
    try:
        _make_folder(os.path.abspath(path), mode)
    except OSError as err:
        raise FileError(explain(err, path, "create") + "; nothing was written")


def _make_folder(path, mode):
    try:
        with Location(path) as place:
            status = place.status()
            if status and not stat.S_ISDIR(status.st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not status:
                place.make_folder(mode)
    except FileNotFoundError:
        _make_folder(os.path.dirname(path), 0o755)
        with Location(path) as place:
            place.make_folder(mode)


def put_file(path, content, check_mode, mode=0o600):
    """A file of our own (not one of a product's) with exactly `content`.  Returns whether it had to be written."""
    if read_if_there(path) == content:
        return False
    if not check_mode:
        make_folder(os.path.dirname(path), 0o755)
        write_own(path, content, mode=mode)
    return True


def remove_file(path, check_mode):
    """Takes a file of our own away.  Returns whether it was there."""
    try:
        with Location(path, follow=False) as place:
            if check_mode:
                return place.status() is not None
            os.unlink(place.name, dir_fd=place.folder)
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise FileError(explain(err, path, "remove"))
    return True


def _is_at(handle, path):
    """Whether `path` still names the open file."""
    try:
        with Location(path, follow=False) as place:
            return place.is_at(handle)
    except OSError:
        return False


def _open_lock(path):
    try:
        with Location(path, follow=False) as place:
            place.require_own()
            # Close-on-exec: a service that is started meanwhile would hold the lock for as long as it runs.
            return place.create(place.name)
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

    `others`: the words for what is in the way, such as "another cutover".  The lock ends with the process that holds it,
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
                remove_file(path, False)
        except FileError:
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
    """One file on its way from `before` to `after`, None for no file.  Check mode, diff and the real run go through commit().

    `target`: the path without links.
    """

    def __init__(self, path, before, place):
        self.path = path
        self.target, self._folder = place.path, place.folder_id()
        self.before = before
        self.after = before

    @classmethod
    def read(cls, path, may_be_missing=False):
        """`may_be_missing`: where the edit makes a file that is not there."""
        before = read_if_there(path) if may_be_missing else read_bytes(path)
        try:
            with Location(path) as place:
                return cls(path, before, place)
        except OSError as err:
            raise FileError(explain(err, path, "read"))

    def apply(self, after):
        self.after = after
        return self

    def commit(self, module, redact=None, record=None, kind=None):
        """Writes what apply() was given, unless nothing changed or in check mode.  Returns the module's result.

        `redact`: bytes -> bytes, hides secrets from the diff.  `record`: a ChangeRecord that is told first, and
        `kind` what it calls the kind of the file.
        """
        result = dict(changed=self.after != self.before)
        if module._diff:
            show = redact or bytes
            before, after = ("" if content is None else _printable(show(content)) for content in (self.before, self.after))
            result["diff"] = dict(before=before, after=after, before_header=self.path, after_header=self.path)
        if result["changed"]:
            result.update(self._put(module, record, kind))
        return result

    def _put(self, module, record, kind):
        """Writes it, but for check mode.  Returns what the module's result has to say of it."""
        for sentence in require_writable(self.target, len(self.after or b"")):
            module.warn(sentence)
        if module.check_mode:
            return {}
        try:
            with Location(self.path) as place:
                if place.path != self.target or place.folder_id() != self._folder:
                    raise self._changed_meanwhile()
                return self._write(place, module, record, kind)
        except OSError as err:
            raise _error_of_write(err, self.path, "; nothing was written")

    def _write(self, place, module, record, kind):
        """Returns what the module's result has to say of it."""
        done, handle = {}, None
        with contextlib.ExitStack() as held:
            if self.before is not None:
                # The one and only file that gives its attributes and its backup: what lies under its name may change.
                handle = held.enter_context(place.opened())
                if read_handle(handle, self.path) != self.before:
                    raise self._changed_meanwhile()
                if module.params.get("backup"):
                    done["backup_file"] = _back_up(place, handle)

            def last_look():
                self._still_the_same(place)
                # Not earlier: what is not going to be written is not to be noted as changed.
                if record:
                    record.before_write(self.target, self.before, self.after, kind)

            if self.after is None:
                last_look()
                os.unlink(place.name, dir_fd=place.folder)
                _fsync_folder(place)
            else:
                _replace(place, self.after, handle, mode=0o644, before_rename=last_look)
        return done

    def _still_the_same(self, place):
        if place.status() is None and self.before is None:
            return
        with place.opened() as handle:
            if read_handle(handle, self.path) != self.before:
                raise self._changed_meanwhile()

    def _changed_meanwhile(self):
        return ChangedMeanwhile("%s: another process changed it while it was being edited; nothing was written, run again"
                                % self.path)
