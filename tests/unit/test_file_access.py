# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing where other users write too: what they plant there leads nowhere else and holds nothing up."""

import os
import stat
import subprocess
import types

import pytest

from ansible_collections.portshift.agents.plugins.modules.confirmed_change import KINDS, PROOFS
from ansible_collections.portshift.agents.plugins.module_utils._core import file_access as access, file_edit as engine
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.host import BigFixHost
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import plan as agent_plan
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import (
    ChangeRecord, RecordError, alone_on_host, read_record)
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_state import Place
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_unit import Unit
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileEdit, FileError
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.plugin_utils._bigfix_issued import find_issued, read_issued
from ansible_collections.portshift.agents.tests.unit import masthead_files

USER, OTHER = 1234, 1235
OLD, NEW = b"port 52311\n", b"port 55000\n"


@pytest.fixture(autouse=True)
def as_root():
    if os.geteuid():
        pytest.skip("needs root: only root can give a file to another user")


@pytest.fixture
def secret(tmp_path):
    """A file of root's that the user must not get at."""
    path = tmp_path / "shadow"
    path.write_bytes(OLD)
    path.chmod(0o600)
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder of the user's."""
    path = tmp_path / "logs"
    path.mkdir()
    os.chown(path, USER, USER)
    return path


def belongs(path, owner=USER):
    os.chown(path, owner, owner, follow_symlinks=False)
    return path


def link(path, target, owner=USER):
    os.symlink(str(target), str(path))
    return belongs(path, owner)


def told(action, *arguments, **options):
    with pytest.raises(FileError) as caught:
        action(*arguments, **options)
    return str(caught.value)


# --- links


@pytest.mark.parametrize("target", ["../shadow", "{}/shadow", "further", "../logs/../shadow"])
def test_link_of_another_user_to_what_is_not_theirs_is_not_followed(folder, secret, fake_module, target):
    log = link(folder / "20261130.log", target.format(secret.parent))
    link(folder / "further", secret)
    for action in (engine.read_bytes, engine.read_if_there, lambda path: engine.read_end(path, 5), FileEdit.read,
                   lambda path: engine.require_writable(path, 5), lambda path: engine.overwrite(path, NEW)):
        sentence = told(action, str(log))
        assert sentence.startswith("%s: leads through %s, a symbolic link that belongs to the user 1234, to %s, which belongs to "
                                   "the user root, so it was not followed" % (log, log, secret))
    assert secret.read_bytes() == OLD


def test_folder_that_is_swapped_for_a_link_is_not_followed_either(folder, secret):
    inner = folder / "deep"
    link(inner, secret.parent)
    assert "a symbolic link that belongs to the user 1234" in told(engine.read_bytes, str(inner / "shadow"))
    assert "a symbolic link that belongs to the user 1234" in told(engine.write_durably, str(inner / "new"), NEW)
    assert "a symbolic link that belongs to the user 1234" in told(engine.make_folder, str(inner / "a" / "b"))
    assert sorted(os.listdir(secret.parent)) == ["logs", "shadow"]


def test_link_of_another_user_to_a_file_of_their_own_is_followed(folder, fake_module):
    real = folder / "real.log"
    real.write_bytes(OLD)
    log = link(folder / "log", "real.log")
    assert "user root" in told(engine.read_bytes, str(log))
    belongs(real, OTHER)
    assert "belongs to the user 1235" in told(engine.read_bytes, str(log))
    belongs(real)
    assert engine.read_bytes(str(log)) == OLD and engine.read_end(str(log), 6) == b"52311\n"
    assert FileEdit.read(str(log)).apply(NEW).commit(fake_module())["changed"] is True
    assert (real.read_bytes(), real.stat().st_uid, os.readlink(log)) == (NEW, USER, "real.log")


def test_links_of_root_are_followed_as_the_kernel_does(tmp_path, fake_module):
    (tmp_path / "etc").mkdir()
    (tmp_path / "opt" / "agent").mkdir(parents=True)
    real = tmp_path / "opt" / "agent" / "settings"
    real.write_bytes(OLD)
    (tmp_path / "etc" / "agent").symlink_to("../opt/agent")
    (tmp_path / "etc" / "settings").symlink_to(tmp_path / "etc" / "agent" / "settings")
    for way in ("etc/settings", "etc/agent/settings", "etc/agent/../agent/./settings", "etc//agent/settings"):
        path = "%s/%s" % (tmp_path, way)
        assert engine.read_bytes(path) == OLD and FileEdit.read(path).target == os.path.realpath(path) == str(real)
    assert FileEdit.read(str(tmp_path / "etc" / "settings")).apply(NEW).commit(fake_module())["changed"] is True
    assert real.read_bytes() == NEW and (tmp_path / "etc" / "settings").is_symlink()


def test_path_below_the_current_folder_is_read_there(tmp_path, monkeypatch):
    (tmp_path / "masthead.afxm").write_bytes(OLD)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert engine.read_bytes("../masthead.afxm") == engine.read_bytes("./../below/../masthead.afxm") == OLD
    for path in ("..", "/"):
        assert told(engine.read_bytes, path) == path + ": is a directory, not a file"


def test_way_is_that_of_the_kernel_for_any_links(tmp_path):
    names = ["a", "b", "a/c", "b/d"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(name.encode())
    for name, target in (("l1", "a"), ("a/l2", "../b"), ("b/l3", "l4"), ("b/l4", str(tmp_path / "a" / "l2" / "d")),
                         ("l5", "l1/.."), ("l6", "l6"), ("l7", "missing/file"), ("l8", "a/file")):
        (tmp_path / name).symlink_to(target)
    pieces = ["a", "b", "c", "d", "l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8", "..", "."]
    seen = 0
    for first in pieces:
        for second in pieces:
            for third in pieces:
                path = "/".join([str(tmp_path), first, second, third, "file"])
                try:
                    with open(path, "rb") as source:
                        expected = source.read()
                except OSError:
                    expected = None
                try:
                    found = engine.read_if_there(path)
                except FileError:
                    found = None
                assert found == expected, path
                seen += expected is not None
    assert seen > 50


def test_masthead_that_another_user_leads_to_a_file_of_ours_is_not_taken_on_the_control_node(folder, secret, monkeypatch):
    monkeypatch.chdir(folder)
    link(folder / "issued.afxm", secret)
    issued = find_issued(None, "issued.afxm")
    assert "a symbolic link that belongs to the user 1234" in told(read_issued, issued)
    os.unlink(issued)
    link(folder / "issued.afxm", "theirs")
    (folder / "theirs").write_bytes(masthead_files.plain())
    belongs(folder / "theirs")
    os.mkfifo(folder / ".theirs.before-portshift")
    assert read_issued(find_issued(None, "issued.afxm")).port == 52311


# --- what is no file, and what is swapped


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5)), os.mkdir,
                                  lambda path: os.mknod(path, 0o666 | stat.S_IFSOCK)])
def test_what_is_no_file_holds_nothing_up(folder, make):
    log = str(folder / "20261130.log")
    make(log)
    for action in (engine.read_bytes, lambda path: engine.read_end(path, 5), FileEdit.read, engine.read_if_there,
                   lambda path: engine.overwrite(path, NEW)):
        assert "not a file" in told(action, log)
    engine.take_back_interrupted([log])


@pytest.mark.parametrize("swap, sentence", [
    (lambda path, secret: os.mkfifo(path), "is a special file, not a file"),
    (link, "could not read it"),
    (lambda path, secret: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5)), "not a file"),
])
def test_what_is_swapped_in_between_the_look_and_the_opening_is_not_read(folder, secret, monkeypatch, swap, sentence):
    log = folder / "20261130.log"
    log.write_bytes(b"theirs")
    real = os.open

    def swapped(name, flags, *rest, **where):
        if name == log.name:
            log.unlink()
            swap(str(log), secret)
            monkeypatch.undo()
        return real(name, flags, *rest, **where)

    monkeypatch.setattr(access.os, "open", swapped)
    assert sentence in told(engine.read_bytes, str(log))


def test_file_of_any_size_is_read_to_a_limit(folder, monkeypatch):
    log = folder / "20261130.log"
    with open(log, "wb") as target:
        target.truncate(access.READ_LIMIT + 1)
    assert "has more than %d bytes" % access.READ_LIMIT in told(engine.read_bytes, str(log))
    assert engine.read_end(str(log), 10) == b"\0" * 10


def test_end_of_a_file(tmp_path):
    log = tmp_path / "log"
    assert engine.read_end(str(log), 5) is None
    log.write_bytes(b"0123456789")
    assert [engine.read_end(str(log), size) for size in (0, 4, 10, 99)] == [b"", b"6789", b"0123456789", b"0123456789"]
    assert engine.read_end(str(log / "below"), 5) is None
    log.unlink()
    log.symlink_to("nowhere")
    assert "is a symbolic link to nowhere, which does not exist" in told(engine.read_end, str(log), 5)


# --- what is written


def test_folder_that_is_swapped_between_the_reading_and_the_write_gets_nothing(tmp_path, folder, fake_module):
    inner = folder / "conf"
    inner.mkdir()
    (inner / "settings").write_bytes(OLD)
    (inner / "settings").chmod(0o600)
    edit = FileEdit.read(str(inner / "settings")).apply(NEW)
    inner.rename(folder / "away")
    (folder / "conf").mkdir()
    belongs(folder / "conf")
    (folder / "conf" / "settings").write_bytes(OLD)
    belongs(folder / "conf" / "settings")
    assert "changed it while it was being edited; nothing was written" in told(edit.commit, fake_module())
    assert (folder / "conf" / "settings").read_bytes() == OLD == (folder / "away" / "settings").read_bytes()
    assert os.listdir(folder / "conf") == os.listdir(folder / "away") == ["settings"]


def test_file_that_is_swapped_for_one_of_the_users_is_not_given_the_bytes_of_the_old_one(folder, fake_module):
    path = folder / "settings"
    path.write_bytes(OLD)
    path.chmod(0o600)
    edit = FileEdit.read(str(path)).apply(NEW)
    path.unlink()
    path.write_bytes(b"no idea what it held")
    belongs(path).chmod(0o666)
    assert "changed it while it was being edited" in told(edit.commit, fake_module())
    assert os.listdir(folder) == ["settings"]


def test_backup_is_not_written_through_a_link_that_lies_there_already(folder, secret, fake_module, monkeypatch):
    path = folder / "settings"
    path.write_bytes(OLD + b"password")
    monkeypatch.setattr(engine.time, "strftime", lambda *unused: "2026-11-30@02:30:00")
    link(folder / ("settings.%d.2026-11-30@02:30:00~" % os.getpid()), secret)
    stem = "%s.%d.2026-11-30@02:30:00" % (path, os.getpid())
    for content, after, end in ((NEW, NEW + NEW, "-2~"), (NEW + NEW, NEW, "-3~")):
        if end == "-2~":
            FileEdit.read(str(path)).apply(content).commit(fake_module())
        backup = FileEdit.read(str(path)).apply(after).commit(fake_module(backup=True))["backup_file"]
        with open(backup, "rb") as source:
            assert (backup, source.read()) == (stem + end, content)
    assert secret.read_bytes() == OLD


def test_backup_has_all_that_the_file_had(folder, fake_module):
    path = folder / "settings"
    path.write_bytes(OLD)
    belongs(path, OTHER).chmod(0o604)
    os.utime(path, ns=(10 ** 18, 10 ** 18))
    backup = FileEdit.read(str(path)).apply(NEW).commit(fake_module(backup=True))["backup_file"]
    status = os.stat(backup)
    assert backup.startswith("%s.%d." % (path, os.getpid())) and backup.endswith("~")
    assert (status.st_uid, stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (OTHER, 0o604, 10 ** 18)


def test_what_others_plant_under_the_name_of_a_temporary_file_stays_and_is_in_nobodys_way(folder, secret, fake_module):
    path = folder / "settings"
    path.write_bytes(OLD)
    planted = {".settings.portshift-fifofifo": os.mkfifo, ".settings.portshift-foldfold": os.mkdir,
               ".settings.portshift-linklink": lambda name: link(name, secret),
               ".settings.portshift-filefile": lambda name: (open(name, "wb").close(), belongs(name)),
               ".settings.portshift-mine": lambda name: open(name, "wb").close()}
    for name, make in planted.items():
        make(str(folder / name))
    (folder / ".settings.portshift-leftover").write_bytes(b"of root's own run")
    assert FileEdit.read(str(path)).apply(NEW).commit(fake_module())["changed"] is True
    assert sorted(os.listdir(folder)) == sorted(["settings", *planted])
    assert secret.read_bytes() == OLD and path.read_bytes() == NEW


def test_leftover_that_had_the_owner_of_the_file_already_goes(folder, fake_module):
    path = folder / "settings"
    path.write_bytes(OLD)
    belongs(path)
    (folder / ".settings.portshift-leftover").write_bytes(NEW)
    belongs(folder / ".settings.portshift-leftover")
    FileEdit.read(str(path)).apply(NEW).commit(fake_module())
    assert os.listdir(folder) == ["settings"] and path.stat().st_uid == USER


# --- files of our own


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "portshift"
    path.mkdir(mode=0o700)
    return path


def spoil(state, how):
    if how == "owner":
        belongs(state)
    elif how == "link":
        state.rename(state.parent / "real")
        link(state, "real")
    else:
        state.chmod(how)
        if not os.geteuid():
            # Root's own group is no other user.
            os.chown(str(state), -1, 1234)


@pytest.mark.parametrize("how", ["owner", "link", 0o770, 0o707, 0o1777])
def test_records_and_locks_in_a_folder_where_others_write_are_refused(state, how):
    path = str(state / "boks.json")
    record = ChangeRecord(path, 6500, 6530)
    record.before_write("/etc/services", OLD, NEW)
    assert read_record(path)["new_port"] == 6530
    spoil(state, how)
    for action in (read_record, ChangeRecord, engine.read_own, lambda name: engine.write_own(name, NEW),
                   lambda name: record._save(), lambda name: engine.put_file(name, NEW, False),
                   lambda name: alone_on_host(name).__enter__()):
        sentence = told(action, path)
        assert "other users can write" in sentence or "a symbolic link that belongs to the user 1234" in sentence
    assert sorted(os.listdir(state)) == ["boks", "boks.json"]


def test_folder_that_a_umask_of_002_gave_to_the_group_is_believed_when_that_is_roots(state):
    path = state / "portshift" / "boks.json"
    before = os.umask(0o002)
    try:
        ChangeRecord(str(path), 6500, 6530).before_write("/etc/services", OLD, NEW)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(os.stat(str(folder)).st_mode) for folder in (path.parent, path.parent / "boks")] == [0o700, 0o700]
    path.parent.chmod(0o775)
    if os.stat(str(path)).st_gid:
        assert "make it its owner's alone (chmod go-w %s)" % path.parent in told(read_record, str(path))
    else:
        assert read_record(str(path))["new_port"] == 6530


@pytest.mark.parametrize("how", ["owner", 0o620, 0o602])
def test_record_that_others_can_have_written_is_not_believed(state, how):
    path = state / "boks.json"
    path.write_bytes(b"{}")
    spoil(path, how)
    assert "can be written by other users" in told(read_record, str(path))


def test_lock_that_is_no_file_is_refused(state):
    path = str(state / "boks.json")
    os.mkfifo(path + ".lock")
    assert "not a file" in told(alone_on_host(path).__enter__)
    os.unlink(path + ".lock")
    link(path + ".lock", "/etc/passwd", 0)
    assert "could not open it" in told(alone_on_host(path).__enter__)


# --- chattr's flags


def flagged(path, flag):
    done = subprocess.run(["chattr", "+" + flag, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode:
        pytest.skip("the file system of %s takes no flags: %s" % (path, done.stdout.strip()))


@pytest.mark.parametrize("flag, name", [("a", "append-only"), ("i", "immutable")])
@pytest.mark.parametrize("of_folder", [True, False])
def test_flag_of_a_file_or_its_folder_is_a_sentence_ahead_and_nothing_is_left(tmp_path, fake_module, flag, name, of_folder):
    place = tmp_path / "etc"
    place.mkdir()
    path = place / "services"
    path.write_bytes(OLD)
    holder = place if of_folder else path
    flagged(holder, flag)
    try:
        sentences = {told(FileEdit.read(str(path)).apply(NEW).commit, fake_module(check=check, backup=True))
                     for check in (True, False)}
        sentences.add(told(engine.require_writable, str(path), 5))
        assert sentences == {
            "%s: could not write it: %s has the %s flag (lsattr shows %s), so that no file %s can be replaced; take the flag "
            "away (chattr -%s %s) and run again; nothing was written" % (
                path, holder, name, flag, "in it" if of_folder else "with it", flag, holder)}
        assert "flag (lsattr shows" in told(engine.write_own, str(path), NEW)
        assert (path.read_bytes(), os.listdir(place)) == (OLD, ["services"])
    finally:
        subprocess.run(["chattr", "-" + flag, str(holder)], check=True)
    assert FileEdit.read(str(path)).apply(NEW).commit(fake_module())["changed"] is True


def test_temporary_file_that_can_not_be_removed_is_no_traceback(tmp_path, monkeypatch):
    def refused(*unused, **unused2):
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "file").write_bytes(OLD)
    for name in ("rename", "unlink"):
        monkeypatch.setattr(engine.os, name, refused)
    assert "permission denied" in told(engine.write_durably, str(tmp_path / "file"), NEW)


# --- other names, and no file


def test_other_names_of_a_file_are_told(tmp_path, fake_module):
    path = tmp_path / "services"
    path.write_bytes(OLD)
    os.link(path, tmp_path / "chroot-services")
    sentence = ("%s: has 2 names (hard links), and the new bytes come to this one alone; what is read by another name keeps the "
                "old port. Find them with: find / -xdev -samefile %s" % (path, path))
    assert engine.require_writable(str(path), 5) == [sentence]
    for check in (True, False):
        module = fake_module(check=check)
        FileEdit.read(str(path)).apply(NEW).commit(module)
        assert module.warnings == [sentence]
    assert (path.read_bytes(), (tmp_path / "chroot-services").read_bytes()) == (NEW, OLD)
    module = fake_module()
    FileEdit.read(str(path)).apply(OLD).commit(module)
    assert module.warnings == [] and engine.require_writable(str(path), 5) == []


def test_other_names_are_among_the_notes_of_a_plan(tmp_path):
    for name, content in (("masthead", masthead_files.plain()), ("settings", b"[Software\\BigFix]\n"), ("HubDetails.xml", (
            b"<HubDetails><Url>https://hub.example.test:443/api</Url></HubDetails>"))):
        (tmp_path / name).write_bytes(content)
        os.link(tmp_path / name, tmp_path / (name + "-other"))
    host = BigFixHost(dict(
        component="client", port=55000, previous_port=None, record=None, clientsettings_paths=[], credentials_paths=[],
        masthead_paths=[str(tmp_path / "masthead")], settings_paths=[str(tmp_path / "settings")]))
    plan = host.plan()
    assert plan.problems == []
    assert [edit["path"] for edit in plan.edits] == [str(tmp_path / "masthead"), str(tmp_path / "settings")]
    assert [note.split(":")[0] for note in plan.notes if "has 2 names (hard links)" in note] == [
        edit["path"] for edit in plan.edits]
    found = types.SimpleNamespace(
        problems=[], notes=[], under_way=None, edit=True, path=str(tmp_path / "HubDetails.xml"), way=None,
        shown_url=str, managed=THIS_HOST)
    assert ["has 2 names (hard links)" in note for note in agent_plan.Move(found, 8443).notes] == [True]


# --- a file that the change has made, on the way back of a change that was not confirmed


@pytest.fixture
def made(tmp_path):
    """(the unit of a change that has made a services file, the file)"""
    path, place = tmp_path / "services", Place(str(tmp_path / "state"), "boks")
    entry = dict(path=str(path), name="boks", port=6530, protocols=["tcp"], protocols_if_present=["udp"])
    place.write("change.json", dict(
        way="forward", services_entries=[entry], hub_urls=[], files=[], record=str(tmp_path / "state" / "boks.json"), modes={},
        command_seconds=5))
    place.write("state.json", dict(restored=[], notes=[]))
    record = ChangeRecord(place.undo, 6500, 6530)
    made = b"boks            6530/tcp\nboks            6530/udp\n"
    record.before_write(str(path), None, made)
    path.write_bytes(made)
    return Unit(KINDS, PROOFS, place, lambda sentence: None), path


def test_made_file_goes_on_the_way_back(made):
    unit, path = made
    unit._restore()
    assert not path.exists() and unit.state["restored"] == [str(path)]
    unit._restore()
    assert not path.exists()


def test_of_a_made_file_that_others_have_added_to_the_rest_stays(made):
    unit, path = made
    path.write_bytes(b"# ours\n" + path.read_bytes() + b"other 1/tcp\n")
    unit._restore()
    assert path.read_bytes() == b"# ours\nother 1/tcp\n"
    assert any("it has changed since" in note for note in unit.state["notes"])


def test_made_file_that_others_have_removed_is_not_made_again(made):
    unit, path = made
    path.unlink()
    unit._restore()
    assert not path.exists() and unit.state["notes"] == []


def test_made_file_goes_also_on_a_disk_that_is_full(made, monkeypatch):
    unit, path = made

    def full(*unused, **unused2):
        raise engine.NoSpace("no space")

    monkeypatch.setattr(ChangeRecord, "restore_files", full)
    unit._restore()
    assert not path.exists()


def test_file_that_is_not_there_is_made_and_taken_away(tmp_path, fake_module):
    path = tmp_path / "services"
    edit = FileEdit.read(str(path), may_be_missing=True)
    assert (edit.before, edit.target) == (None, str(path)) and edit.commit(fake_module())["changed"] is False
    edit.apply(NEW)
    predicted = edit.commit(fake_module(check=True, backup=True))
    assert os.listdir(tmp_path) == []
    assert predicted == edit.commit(fake_module(backup=True)) == dict(changed=True, diff=dict(
        before="", after=NEW.decode(), before_header=str(path), after_header=str(path)))
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode), os.listdir(tmp_path)) == (NEW, 0o644, ["services"])
    gone = FileEdit.read(str(path)).apply(None)
    assert gone.commit(fake_module(check=True))["changed"] is True and path.exists()
    assert gone.commit(fake_module(backup=True))["diff"]["after"] == ""
    assert [name for name in os.listdir(tmp_path) if not name.endswith("~")] == [] and len(os.listdir(tmp_path)) == 1


def test_file_that_came_to_be_in_between_is_kept(tmp_path, fake_module):
    path = tmp_path / "services"
    edit = FileEdit.read(str(path), may_be_missing=True).apply(NEW)
    path.write_bytes(OLD)
    assert "changed it while it was being edited" in told(edit.commit, fake_module()) and path.read_bytes() == OLD
    gone = FileEdit.read(str(path)).apply(None)
    path.write_bytes(b"theirs")
    assert "changed it while it was being edited" in told(gone.commit, fake_module()) and path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["services"]


def test_record_takes_away_what_was_made_and_brings_back_what_was_taken_away(tmp_path, fake_module):
    path, record = tmp_path / "services", str(tmp_path / "state" / "boks.json")
    FileEdit.read(str(path), may_be_missing=True).apply(NEW).commit(fake_module(), record=ChangeRecord(record, None, 6530))
    assert ChangeRecord(record).review() == ([read_record(record)["files"][0]], [])
    predicted = ChangeRecord(record).restore(fake_module(check=True))
    assert path.exists() and predicted["restored"] == [str(path)]
    done = ChangeRecord(record).restore(fake_module())
    assert (done["diff"], path.exists(), read_record(record)["state"]) == (predicted["diff"], False, "rolled_back")
    assert ChangeRecord(record).review() == ([], [])


def test_record_does_not_take_away_what_others_have_written_into_it_since(tmp_path, fake_module):
    path, record = tmp_path / "services", str(tmp_path / "state" / "boks.json")
    FileEdit.read(str(path), may_be_missing=True).apply(NEW).commit(fake_module(), record=ChangeRecord(record, None, 6530))
    path.write_bytes(NEW + b"ours 1/tcp\n")
    assert ChangeRecord(record).review()[1][0].endswith("it did not exist before")
    with pytest.raises(RecordError, match="no longer safe"):
        ChangeRecord(record).restore(fake_module())
    assert path.read_bytes() == NEW + b"ours 1/tcp\n"
    ChangeRecord(record).restore(fake_module(), force=True)
    assert not path.exists()
