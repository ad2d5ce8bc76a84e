# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in which files are written: all or nothing, with everything that the old file had."""

import ctypes
import errno
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import traceback
import warnings

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core import file_edit as engine
from ansible_collections.portshift.agents.plugins.module_utils._core.file_access import Location
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileEdit, FileError

OTHER_USER = 65534
OLD, NEW = b"\xef\xbb\xbfold\r\ncaf\xe9", b"\xef\xbb\xbfnew\r\ncaf\xe9"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "besclient.config"
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


@pytest.fixture
def open_folder():
    """A folder that another user can enter; pytest's own are closed to others."""
    path = tempfile.mkdtemp(prefix="portshift-file-edit-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def commit(module, path, content=NEW, **options):
    return FileEdit.read(str(path)).apply(content).commit(module, **options)


def replaced(path, content, before_rename=None):
    """What a commit comes down to."""
    with Location(str(path)) as place, place.opened() as old:
        engine._replace(place, content, old, before_rename=before_rename)


def verdict(action, *arguments, **options):
    """What a person is told: the sentence of a failure, or whether something changed."""
    try:
        result = action(*arguments, **options)
    except FileError as err:
        return str(err)
    return result and result["changed"]


def in_child(function, *arguments):
    """What `function` returns in a forked process, which may give up its rights or never come back."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # xdist's own thread takes no lock that the child needs
        child = os.fork()
    if not child:
        try:
            answer = dict(answer=function(*arguments))
        except Unavailable as err:
            answer = dict(skip=str(err))
        except BaseException:
            answer = dict(crash=traceback.format_exc())
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as source:
        content = source.read()
    status = os.waitpid(child, 0)[1]
    answer = json.loads(content) if content else dict(answer="ended with status %d" % os.WEXITSTATUS(status))
    assert "crash" not in answer, answer["crash"]
    if "skip" in answer:
        pytest.skip(answer["skip"])
    return answer["answer"]


class Unavailable(Exception):
    """Why this machine can't show a case."""


def own_mounts():
    """Gives this process mounts of its own, which end with it; as root of a user namespace when it is not root."""
    libc = ctypes.CDLL(None, use_errno=True)
    namespaces, user, group = 0x00020000, os.geteuid(), os.getegid()
    if user:
        namespaces |= 0x10000000
    if libc.unshare(namespaces):
        raise Unavailable("this machine allows no mount namespace: %s" % os.strerror(ctypes.get_errno()))
    if user:
        for name, content in (("setgroups", "deny"), ("uid_map", "0 %d 1" % user), ("gid_map", "0 %d 1" % group)):
            with open("/proc/self/" + name, "w") as target:
                target.write(content)
    mount("--make-rprivate", "/")


def mount(*arguments):
    done = subprocess.run(("mount",) + arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Unavailable("mount %s: %s" % (" ".join(arguments), done.stdout.strip()))


def needs_root(why):
    if os.geteuid():
        pytest.skip("needs root: " + why)


# --- what stays -------------------------------------------------------------------------------------------------


def test_content_is_replaced_and_mode_stays(file, fake_module):
    assert commit(fake_module(), file)["changed"] is True
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (NEW, 0o640)
    assert os.listdir(file.parent) == [file.name]


def test_owner_and_group_stay(file, fake_module):
    needs_root("only root can give a file to another user")
    os.chown(file, 1234, 2345)
    file.chmod(0o4640)
    commit(fake_module(), file)
    status = file.stat()
    assert (file.read_bytes(), status.st_uid, status.st_gid) == (NEW, 1234, 2345)
    assert stat.S_IMODE(status.st_mode) == 0o4640


def test_extended_attributes_stay(file, fake_module):
    try:
        os.setxattr(file, "user.portshift", b"kept")
    except OSError as err:
        pytest.skip("the file system of %s takes no extended attributes: %s" % (file.parent, err.strerror))
    commit(fake_module(), file)
    assert (file.read_bytes(), os.getxattr(file, "user.portshift")) == (NEW, b"kept")


def test_symbolic_link_stays_one_and_its_file_is_replaced(file, fake_module):
    folder = file.parent / "etc"
    folder.mkdir()
    link = folder / "link.config"
    link.symlink_to("../besclient.config")
    commit(fake_module(), link)
    assert (os.readlink(link), file.read_bytes()) == ("../besclient.config", NEW)
    assert os.listdir(folder) == ["link.config"]


def test_unchanged_file_is_not_touched(file, fake_module):
    before = file.stat()
    assert commit(fake_module(backup=True), file, OLD)["changed"] is False
    after = file.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert os.listdir(file.parent) == [file.name]


def test_new_file_gets_the_mode_asked_for(tmp_path):
    engine.write_durably(str(tmp_path / "new"), NEW, mode=0o604)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_file_is_on_disk_before_the_rename_and_the_folder_after_it(file, monkeypatch):
    seen = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append("fsync of " + stat.filemode(os.fstat(fd).st_mode)[0]) or fsync(fd))
    monkeypatch.setattr(os, "rename", lambda *pair, **where: seen.append("rename") or rename(*pair, **where))
    replaced(file, NEW, lambda: seen.append("before_rename"))
    assert seen == ["fsync of -", "before_rename", "rename", "fsync of d"]


def test_backup_holds_the_old_bytes(file, fake_module):
    result = commit(fake_module(backup=True), file)
    with open(result["backup_file"], "rb") as source:
        assert source.read() == OLD


# --- what can't be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, sentence", [
    (lambda path: None, ": does not exist; check the path"),
    (lambda path: path.mkdir(), ": is a directory, not a file"),
    (os.mkfifo, ": is a special file, not a file"),
    (lambda path: path.symlink_to("nowhere"), ": is a symbolic link to nowhere, which does not exist; mend the link"),
    (lambda path: path.symlink_to(path.name), ": could not read it: Too many levels of symbolic links"),
    (lambda path: path.symlink_to("."), ": is a directory, not a file"),
])
def test_what_is_no_file_is_a_sentence(tmp_path, make, sentence):
    path = tmp_path / "besclient.config"
    make(path)
    with pytest.raises(FileError) as caught:
        FileEdit.read(str(path))
    assert str(caught.value).startswith(str(path) + sentence)


def test_file_below_a_file_does_not_exist(file):
    with pytest.raises(FileError, match="does not exist"):
        FileEdit.read(str(file / "below"))


def test_file_of_another_user_that_is_closed_is_a_sentence(open_folder):
    needs_root("the test takes away its own rights in a child")
    path = os.path.join(open_folder, "besclient.config")
    with open(path, "wb") as target:
        target.write(OLD)
    os.chmod(path, 0o600)

    def try_it():
        os.setuid(OTHER_USER)
        return verdict(FileEdit.read, path)

    told = in_child(try_it)
    assert told.startswith(path + ": could not read it: permission denied; run with become: true")


def test_file_in_a_folder_that_may_be_entered_and_not_listed_is_read(open_folder):
    needs_root("the test takes away its own rights in a child")
    with open(os.path.join(open_folder, "log"), "wb") as target:
        target.write(OLD)
    os.chmod(open_folder, 0o711)

    def try_it():
        os.setuid(OTHER_USER)
        return engine.read_bytes(os.path.join(open_folder, "log")) == engine.read_end(os.path.join(open_folder, "log"), 99) == OLD

    assert in_child(try_it)


# --- what can't be written: the same words in check mode and for real, and nothing is left behind ----------------


def both(fake_module, path, content=NEW):
    """The verdict of check mode and of the real run, and what stands in the folder after each."""
    found = []
    for check in (True, False):
        told = verdict(commit, fake_module(check=check), path, content)
        with open(path, "rb") as source:
            found.append([told, source.read() == OLD, os.listdir(os.path.dirname(path))])
    return found


def test_check_mode_writes_nothing_and_says_what_the_real_run_says(file, fake_module):
    before = file.stat()
    predicted = commit(fake_module(check=True, backup=True), file)
    after = file.stat()
    assert (file.read_bytes(), os.listdir(file.parent)) == (OLD, [file.name])
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert commit(fake_module(), file) == predicted


def test_read_only_file_system(tmp_path, fake_module):
    def try_it():
        own_mounts()
        mount("-t", "tmpfs", "tmpfs", str(tmp_path))
        path = str(tmp_path / "besclient.config")
        with open(path, "wb") as target:
            target.write(OLD)
        mount("-o", "remount,ro", str(tmp_path))
        return both(fake_module, path)

    checked, real = in_child(try_it)
    assert "besclient.config: could not write it: it is on a read-only file system; mount it writable" in real[0]
    assert real[0].endswith("; nothing was written")
    assert checked == real == [real[0], True, ["besclient.config"]]


def test_full_disk_is_foreseen(tmp_path, fake_module):
    def try_it():
        own_mounts()
        mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path))
        path = str(tmp_path / "besclient.config")
        with open(path, "wb") as target:
            target.write(OLD)
        return both(fake_module, path, b"x" * 65536)

    checked, real = in_child(try_it)
    assert "could not write it: no space is left on its file system; free some" in real[0]
    assert checked == real == [real[0], True, ["besclient.config"]]


def test_disk_that_fills_up_while_writing(tmp_path):
    def try_it():
        own_mounts()
        mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path))
        path = str(tmp_path / "besclient.config")
        with open(path, "wb") as target:
            target.write(OLD)
        told = verdict(replaced, path, b"x" * 65536)
        with open(path, "rb") as source:
            return [told, source.read() == OLD, os.listdir(str(tmp_path))]

    told, kept, names = in_child(try_it)
    assert "no space is left on its file system" in told and told.endswith("; nothing was written")
    assert (kept, names) == (True, ["besclient.config"])


def test_write_that_breaks_off_in_the_middle(file):
    def try_it():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        return verdict(replaced, file, b"x" * 5000)

    told = in_child(try_it)
    assert told == "%s: could not write it: File too large; nothing was written" % file
    assert (file.read_bytes(), os.listdir(file.parent)) == (OLD, [file.name])


@pytest.mark.parametrize("folder_mode, owner", [(0o755, 0), (0o777, 0), (0o1777, 0)])
def test_no_permission(open_folder, fake_module, folder_mode, owner):
    needs_root("the test takes away its own rights in a child")
    path = os.path.join(open_folder, "besclient.config")
    with open(path, "wb") as target:
        target.write(OLD)
    os.chmod(path, 0o644)
    os.chmod(open_folder, folder_mode)

    def try_it():
        os.setgroups([])
        os.setgid(OTHER_USER)
        os.setuid(OTHER_USER)
        return both(fake_module, path)

    checked, real = in_child(try_it)
    assert real[0].startswith(path + ": could not write it: permission denied; run with become: true")
    assert checked == real == [real[0], True, ["besclient.config"]]


def test_the_change_of_another_in_between_is_kept(file, fake_module):
    edit = FileEdit.read(str(file)).apply(NEW)
    file.write_bytes(b"theirs")
    told = verdict(edit.commit, fake_module())
    assert told == "%s: another process changed it while it was being edited; nothing was written, run again" % file
    assert (file.read_bytes(), os.listdir(file.parent)) == (b"theirs", [file.name])


def test_file_that_went_away_in_between_is_not_made_again(file, fake_module):
    edit = FileEdit.read(str(file)).apply(NEW)
    file.unlink()
    assert "No such file or directory" in verdict(edit.commit, fake_module()) and os.listdir(file.parent) == []


def test_end_of_the_process_just_before_the_rename_leaves_the_old_file(file, fake_module):
    told = in_child(replaced, file, NEW, lambda: os._exit(9))
    assert told == "ended with status 9"
    assert file.read_bytes() == OLD
    # The next run is not disturbed by what the dead one left.
    assert commit(fake_module(), file)["changed"] is True and file.read_bytes() == NEW


def test_two_who_write_at_once_do_not_take_each_others_new_file_for_a_leftover(file):
    replaced(file, NEW, lambda: in_child(replaced, file, b"theirs"))
    assert file.read_bytes() == NEW and os.listdir(file.parent) == [file.name]


def test_file_that_others_have_removed_is_not_there(file):
    assert engine.remove_file(str(file), True) and engine.remove_file(str(file), False)
    assert not engine.remove_file(str(file), False) and engine.read_if_there(str(file)) is None


def test_file_that_reads_differently_than_written_is_a_failure(file, monkeypatch):
    monkeypatch.setattr(os, "rename", lambda *pair, src_dir_fd, dst_dir_fd: os.unlink(pair[0], dir_fd=src_dir_fd))
    assert "holds other bytes than were just written to it" in verdict(replaced, file, NEW)


def test_failure_after_the_rename_does_not_claim_that_nothing_was_written(file, monkeypatch):
    fsync = os.fsync

    def failing(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    told = verdict(replaced, file, NEW)
    assert file.read_bytes() == NEW
    assert "Input/output error" in told and "nothing was written" not in told


# --- a file that is a mount point of its own, as /etc/services is in containers -------------------------------------


def bind(path, source=None):
    own_mounts()
    mount("--bind", str(source or path), str(path))


def names_beside(path):
    return sorted(os.listdir(os.path.dirname(str(path))))


def test_mount_point_is_written_in_place_and_stays_mounted(tmp_path, fake_module):
    path, source = tmp_path / "etc" / "services", tmp_path / "source"
    path.parent.mkdir()
    path.write_bytes(b"underneath")
    source.write_bytes(OLD)
    source.chmod(0o640)

    def try_it():
        bind(path, source)
        before = os.stat(str(path))
        predicted = commit(fake_module(check=True), path)
        untouched = path.read_bytes() == OLD
        done = commit(fake_module(), path)
        after = os.stat(str(path))
        return [predicted == done, untouched, done["changed"], path.read_bytes() == NEW,
                (before.st_dev, before.st_ino, before.st_mode) == (after.st_dev, after.st_ino, after.st_mode), names_beside(path)]

    assert in_child(try_it) == [True, True, True, True, True, ["services"]]
    assert (path.read_bytes(), source.read_bytes()) == (b"underneath", NEW)


@pytest.mark.parametrize("content", [b"", b"short", NEW * 5000], ids=["empty", "shorter", "longer"])
def test_mount_point_holds_exactly_the_new_bytes(file, fake_module, content):
    def try_it():
        bind(file)
        commit(fake_module(), file, content)
        return file.read_bytes() == content

    assert in_child(try_it)


def test_mount_point_that_is_mounted_read_only(file, fake_module):
    def try_it():
        bind(file)
        mount("-o", "remount,bind,ro", str(file))
        return both(fake_module, str(file))

    checked, real = in_child(try_it)
    assert "it is on a read-only file system; mount it writable" in real[0] and real[0].endswith("; nothing was written")
    assert checked == real == [real[0], True, [file.name]]


def small_mount(tmp_path):
    """A file with the old bytes on a file system of 64 KB, mounted into a roomy folder."""
    path, small = tmp_path / "etc" / "services", tmp_path / "small"
    path.parent.mkdir()
    path.touch()
    small.mkdir()
    own_mounts()
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small))
    (small / "services").write_bytes(OLD)
    mount("--bind", str(small / "services"), str(path))
    return path


def test_mount_point_on_a_full_disk_is_foreseen(tmp_path, fake_module):
    checked, real = in_child(lambda: both(fake_module, str(small_mount(tmp_path)), b"x" * 100000))
    assert "no space is left on its file system" in real[0]
    assert checked == real == [real[0], True, ["services"]]


def test_mount_point_whose_disk_fills_up_while_writing_holds_the_old_bytes(tmp_path):
    def try_it():
        path = small_mount(tmp_path)
        told = verdict(replaced, path, b"x" * 100000)
        return [told, path.read_bytes() == OLD, names_beside(path)]

    told, kept, names = in_child(try_it)
    assert "no space is left on its file system" in told and told.endswith("; nothing was written")
    assert (kept, names) == (True, ["services"])


def dies_half_way(handle, content):
    os.pwrite(handle, content[:5], 0)
    os._exit(9)


def edited(fake_module, path, content=NEW, check=False):
    """As a module edits: takes back first what an interrupted write has left."""
    engine.take_back_interrupted([str(path)], check)
    return commit(fake_module(check=check), path, content)


def editing(fake_module, file, check=False):
    """What an editing run says of the file as a mount point, in a process of its own."""
    def try_it():
        bind(file)
        return verdict(edited, fake_module, file, NEW, check)
    return in_child(try_it)


def kept(file, old=OLD, new=NEW):
    """A copy as a write in place of `new` over `old` leaves it; -> its path."""
    path = engine.kept_path(str(file))
    with open(path, "wb") as target:
        target.write(engine._kept_text(old, new))
    os.chmod(path, 0o640)
    return path


def test_write_in_place_that_was_interrupted_is_taken_back_by_the_next_edit(file, fake_module, monkeypatch):
    monkeypatch.setattr(engine, "_overwrite", dies_half_way)
    assert editing(fake_module, file) == "ended with status 9"
    monkeypatch.undo()
    beside, torn = engine.kept_path(str(file)), file.read_bytes()
    assert torn not in (OLD, NEW) and names_beside(file)[0] == os.path.basename(beside)
    with open(beside, "rb") as copy:
        assert engine._kept_states(copy.read()) == (OLD, NEW)
    assert stat.S_IMODE(os.stat(beside).st_mode) == 0o640

    def looks():
        bind(file)
        # Neither one who only reads nor check mode writes.
        found = [engine.read_bytes(str(file)) == torn]
        engine.take_back_interrupted([str(file)], True)
        commit(fake_module(check=True), file)
        found.append(file.read_bytes() == torn)
        engine.take_back_interrupted([str(file)])
        return found + [file.read_bytes() == OLD, os.path.exists(beside)]

    assert in_child(looks) == [True, True, True, False]
    assert editing(fake_module, file) is True and (file.read_bytes(), names_beside(file)) == (NEW, [file.name])


STEPS = ["write", "pwrite", "fsync", "fchown", "fchmod", "ftruncate", "rename", "unlink", "open"]


def dies_at(number):
    """Ends this process at its system call `number` of those that change something."""
    count = [0]

    def counted(call):
        def stepped(*arguments, **options):
            count[0] += 1
            if count[0] == number:
                os._exit(9)
            return call(*arguments, **options)
        return stepped

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def test_write_in_place_that_is_killed_at_any_step_is_taken_back_by_the_next_edit(file, fake_module):
    torn, number = 0, 0
    while True:
        number += 1
        file.write_bytes(OLD)

        def killed(number=number):
            bind(file)
            # In pieces, as a write is that the kernel ends amid it.
            engine.os = Pieces()
            dies_at(number)
            return verdict(edited, fake_module, file)

        class Pieces:
            def __getattr__(self, name):
                if name == "write":
                    return lambda handle, content: os.write(handle, content[:1])
                return getattr(os, name)

        if in_child(killed) is True:
            break
        torn += file.read_bytes() not in (OLD, NEW)
        # One that had come to its end is none to be taken back.
        assert editing(fake_module, file) in (True, False), number
        assert (file.read_bytes(), names_beside(file)) == (NEW, [file.name]), number
    assert number > 40 and torn >= 2, (number, torn)


def test_editor_waits_for_a_write_in_place_that_is_under_way(file, fake_module, monkeypatch):
    overwrite, (arrived, arrival), (going, go) = engine._overwrite, os.pipe(), os.pipe()

    def slowly(handle, content):
        os.write(arrival, b"x")
        os.read(going, 1)
        overwrite(handle, content)

    def try_it():
        monkeypatch.setattr(engine, "_overwrite", slowly)
        own_mounts()
        mount("--bind", str(file), str(file))
        writer = os.fork()
        if not writer:
            commit(fake_module(), file)
            os._exit(0)
        os.read(arrived, 1)
        looks, sleep = [], engine.time.sleep

        def look_again(seconds):
            looks.append(seconds)
            os.write(go, b"x")
            sleep(seconds)

        monkeypatch.setattr(engine.time, "sleep", look_again)
        engine.take_back_interrupted([str(file)])
        found = engine.read_bytes(str(file))
        os.waitpid(writer, 0)
        return [found == NEW, bool(looks), names_beside(file)]

    assert in_child(try_it) == [True, True, [file.name]]


def test_old_bytes_that_can_not_be_put_back_lie_beside_and_the_sentence_says_so(file, fake_module, monkeypatch):
    def broken(handle, content):
        os.pwrite(handle, content[:3], 0)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(engine, "_overwrite", broken)
    told, beside = editing(fake_module, file), engine.kept_path(str(file))
    assert told.startswith("%s: could not restore it: Input/output error; it may hold parts of old and new bytes. The old ones "
                           "are in %s: mend the cause and run again" % (file, beside))
    monkeypatch.undo()
    assert editing(fake_module, file) is True and (file.read_bytes(), names_beside(file)) == (NEW, [file.name])


def test_interrupted_write_that_may_not_be_taken_back_is_a_sentence(open_folder):
    needs_root("the test takes away its own rights in a child")
    path = os.path.join(open_folder, "services")
    with open(path, "wb") as target:
        target.write(NEW[:4] + OLD[4:])
    os.chmod(path, 0o644)
    os.chmod(kept(path), 0o644)

    def try_it(user):
        bind(path)
        os.setgroups([])
        os.setuid(user)
        return verdict(engine.take_back_interrupted, [path])

    assert "can't be put back: Permission denied; run with become: true" in in_child(try_it, OTHER_USER)
    assert in_child(try_it, 0) is None and os.listdir(open_folder) == ["services"]
    with open(path, "rb") as source:
        assert source.read() == OLD


@pytest.mark.parametrize("now", [OLD, NEW], ids=["not begun", "at its end"])
def test_copy_of_a_write_that_left_nothing_half_done_goes(file, now):
    def try_it():
        bind(file)
        engine.take_back_interrupted([str(file)])
        return [file.read_bytes() == now, names_beside(file)]

    file.write_bytes(now)
    kept(file)
    assert in_child(try_it) == [True, [file.name]]


@pytest.mark.parametrize("old, new", [(b"x" * 9, b"yyy"), (b"xxx", b"y" * 9), (b"port 52311", b"port 55000"), (b"", b"abc")])
def test_what_an_interrupted_write_leaves_is_known_and_nothing_else(old, new):
    states = set()
    forward = [new[:k] + old[k:] for k in range(len(new) + 1)]
    for torn in forward + [new]:
        states |= {old[:j] + torn[j:] for j in range(len(old) + 1)}
    assert states and all(engine._is_interrupted(state, old, new) for state in states)
    for other in (b"port 52300", b"port 6530", b"mended by an admin", b"zzz", old + b"z", new + b"z", b"z" + new):
        assert other in states or not engine._is_interrupted(other, old, new), other


@pytest.mark.parametrize("now", [b"mended since", b"", OLD + NEW], ids=["mended", "empty", "both"])
def test_stale_copy_of_an_interrupted_write_changes_nothing_and_both_are_named(file, fake_module, now):
    file.write_bytes(now)
    beside = kept(file)
    told = editing(fake_module, file)
    assert told.startswith("%s: a write into it was interrupted once, and its old bytes lie in %s, but it does not hold what "
                           "such a write leaves: it was changed since; nothing was changed now." % (file, beside))
    assert file.read_bytes() == now and os.path.exists(beside)
    # What the sentence says to do gives the old bytes.
    command = told[told.index("(tail") + 1:told.index(") and remove")]
    subprocess.run(["sh", "-c", command], check=True)
    assert file.read_bytes() == OLD


def test_copy_of_the_version_before_is_named_unless_it_says_nothing(file, fake_module):
    beside = engine.kept_path(str(file))
    for content in (b"", b"of a year ago"):
        with open(beside, "wb") as target:
            target.write(content)
        told = editing(fake_module, file)
        assert beside in told and "nothing was changed now" in told and file.read_bytes() == OLD
    with open(beside, "wb") as target:
        target.write(OLD)
    assert editing(fake_module, file) is True and (file.read_bytes(), names_beside(file)) == (NEW, [file.name])


@pytest.mark.parametrize("make, why", [
    (lambda path: (os.chown(path, -1, 1234), os.chmod(path, 0o660)), "is not its owner's alone"),
    (lambda path: os.chown(path, 1234, -1), "(user 1234, mode"),
    (lambda path: (os.unlink(path), os.mkfifo(path)), "is a special file, not a file"),
    (lambda path: (os.unlink(path), os.symlink("/etc/passwd", path)), "is a special file, not a file"),
    (lambda path: (os.unlink(path), os.mkdir(path)), "is a directory, not a file"),
])
def test_copy_that_others_can_have_planted_beside_a_mount_point_is_not_believed(file, fake_module, make, why):
    needs_root("only root can give a file to another user")
    file.write_bytes(NEW[:4] + OLD[4:])
    beside = kept(file)
    make(beside)
    told = editing(fake_module, file)
    assert told.startswith("%s: " % file) and beside in told and why in told and told.endswith("; nothing was changed")
    assert file.read_bytes() == NEW[:4] + OLD[4:] and os.path.lexists(beside)


@pytest.mark.parametrize("plant", [
    lambda path: open(path, "wb").close(), os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path), kept],
    ids=["empty", "fifo", "folder", "link", "a copy"])
def test_what_lies_beside_an_ordinary_file_under_that_name_is_not_looked_at(file, fake_module, plant):
    beside = engine.kept_path(str(file))
    plant(beside if plant is not kept else file)
    before = os.lstat(beside)
    engine.take_back_interrupted([str(file)])
    assert engine.read_bytes(str(file)) == OLD
    for check in (True, False):
        assert edited(fake_module, file, check=check)["changed"] is True
    assert file.read_bytes() == NEW and os.path.samestat(os.lstat(beside), before)


# --- the diff ---------------------------------------------------------------------------------------------------


def test_diff_shows_both_sides_under_the_path_asked_for(file, fake_module):
    link = file.parent / "link"
    link.symlink_to(file.name)
    assert commit(fake_module(check=True), link)["diff"] == dict(
        before="\xef\xbb\xbfold\r\ncaf\xe9", after="\xef\xbb\xbfnew\r\ncaf\xe9", before_header=str(link), after_header=str(link))


def test_diff_is_made_of_redacted_bytes_and_the_file_is_not(file, fake_module):
    result = commit(fake_module(), file, redact=lambda content: content[3:6] + b" *")
    assert (result["diff"]["before"], result["diff"]["after"]) == ("old *", "new *")
    assert file.read_bytes() == NEW


def test_no_diff_unless_asked_for(file, fake_module):
    assert commit(fake_module(diff=False), file) == dict(changed=True)


def test_diff_of_a_huge_file_names_its_size(file, fake_module):
    file.write_bytes(b"x" * (engine.DIFF_LIMIT + 1))
    diff = commit(fake_module(check=True), file)["diff"]
    assert diff["before"].startswith("(%d bytes, sha256 " % (engine.DIFF_LIMIT + 1))


def test_folder_that_can_not_be_made_is_a_sentence(file):
    assert verdict(engine.make_folder, str(file / "below")) == (
        "%s: could not create it: Not a directory; nothing was written" % (file / "below"))
