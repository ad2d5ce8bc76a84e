# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a migration: written ahead, and the way back byte for byte, or not at all."""

import json
import os
import stat
import time

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core import change_record, file_edit
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import (
    ChangeRecord, RecordError, alone_on_host, known_change)
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileEdit, FileError, sha256
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import this_boot

OLD, NEW = b"port 52311\r\ncaf\xe9", b"port 55000\r\ncaf\xe9"


@pytest.fixture
def host(tmp_path, fake_module):
    return Host(tmp_path, fake_module)


class Host:
    """A product's file and the record beside it."""

    def __init__(self, folder, fake_module):
        self.module = fake_module
        self.file = folder / "besclient.config"
        self.file.write_bytes(OLD)
        self.file.chmod(0o640)
        self.path = folder / "state" / "bigfix.json"

    def record(self, new_port=55000, **options):
        return ChangeRecord(str(self.path), old_port=52311, new_port=new_port, **options)

    def edit(self, content=NEW, record=None, check=False):
        record = record or self.record(phase="1")
        return FileEdit.read(str(self.file)).apply(content).commit(
            self.module(check=check), record=record, kind="bigfix_settings")

    def restore(self, check=False, **options):
        return ChangeRecord(str(self.path)).restore(self.module(check=check), **options)

    def content(self):
        return json.loads(self.path.read_bytes())

    def everything(self):
        folder = str(self.file.parent)
        return {os.path.join(where, name): open(os.path.join(where, name), "rb").read()
                for where, _folders, names in os.walk(folder) for name in names}


def test_record_says_what_was_changed_from_which_bytes_to_which(host):
    host.edit()
    content = host.content()
    [entry] = content["files"]
    assert entry == dict(path=str(host.file), kind="bigfix_settings", sha256_before=sha256(OLD), sha256_after=sha256(NEW),
                         backup=str(host.path.parent / "bigfix" / sha256(OLD)))
    assert {key: content[key] for key in ("version", "old_port", "new_port", "phase", "state")} == dict(
        version=1, old_port=52311, new_port=55000, phase="1", state="changing")
    assert 0 < content["started"] <= content["last_change"]


def test_backup_and_record_are_written_before_the_file(host, monkeypatch):
    order, rename = [], os.rename

    def noted(source, target, src_dir_fd, dst_dir_fd):
        order.append(os.path.join(os.readlink("/proc/self/fd/%d" % dst_dir_fd), target))
        return rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(file_edit.os, "rename", noted)
    host.edit()
    assert order == [str(host.path.parent / "bigfix" / sha256(OLD)), str(host.path), str(host.file)]


def test_failure_to_note_the_change_prevents_it(host):
    host.path.parent.write_bytes(b"in the way")
    with pytest.raises(file_edit.FileError, match="could not create it"):
        host.edit()
    assert host.file.read_bytes() == OLD


def test_backups_are_closed_to_others(host):
    host.edit()
    backup = host.content()["files"][0]["backup"]
    assert stat.S_IMODE(os.stat(backup).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(backup)).st_mode) == 0o700
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o600


def test_check_mode_and_unchanged_files_leave_no_record(host):
    assert host.edit(check=True)["changed"] is True and host.edit(OLD)["changed"] is False
    assert not host.path.parent.exists()


def test_restore_gives_bytes_and_mode_back(host):
    host.edit()
    result = host.restore(redactor=lambda kind, now, before, ports: lambda content: b"%d-%d " % ports + content)
    assert (result["changed"], result["restored"]) == (True, [str(host.file)])
    assert (host.file.read_bytes(), stat.S_IMODE(host.file.stat().st_mode)) == (OLD, 0o640)
    assert [result["diff"][0][side] for side in ("before", "after")] == [
        "52311-55000 " + content.decode("latin-1") for content in (NEW, OLD)]
    assert host.content()["state"] == "rolled_back"


def test_a_diff_shows_nothing_of_a_file_of_which_no_one_says_what_may_be_shown(host):
    host.edit()
    [diff] = host.restore()["diff"]
    assert (diff["before"], diff["after"]) == ("********", "********")


def test_second_restore_changes_nothing(host):
    host.edit()
    host.restore()
    before = host.everything()
    result = host.restore()
    assert (result["changed"], result["restored"], host.everything()) == (False, [], before)


def test_restore_in_check_mode_says_the_same_and_writes_nothing(host):
    host.edit()
    before = host.everything()
    predicted = host.restore(check=True)
    assert host.everything() == before
    assert host.restore() == predicted


def test_restore_without_a_record_has_nothing_to_do(host):
    assert host.restore() == dict(changed=False, restored=[], diff=[])
    assert not host.path.parent.exists()


def test_restore_refuses_a_file_that_others_changed(host):
    host.edit()
    other = host.file.parent / "other"
    other.write_bytes(OLD)
    FileEdit.read(str(other)).apply(NEW).commit(host.module(), record=host.record())
    host.file.write_bytes(b"theirs")
    before = host.everything()
    with pytest.raises(RecordError) as caught:
        host.restore()
    assert str(caught.value) == (
        "going back is no longer safe, nothing was restored: %s: it has changed since the migration "
        "(sha256 %s..., expected %s...); its old bytes are in %s" % (
            host.file, sha256(b"theirs")[:12], sha256(NEW)[:12], host.path.parent / "bigfix" / sha256(OLD)))
    # All or nothing: the other file, which could have been restored, stays too.
    assert host.everything() == before


def test_force_restores_what_others_changed(host):
    host.edit()
    host.file.write_bytes(b"theirs")
    assert host.restore(force=True)["restored"] == [str(host.file)]
    assert host.file.read_bytes() == OLD


@pytest.mark.parametrize("force", [False, True])
def test_damaged_backup_is_never_restored(host, force):
    host.edit()
    backup = host.path.parent / "bigfix" / sha256(OLD)
    backup.write_bytes(OLD[:-1])
    with pytest.raises(RecordError, match="the backup of .* is damaged"):
        host.restore(force=force)
    assert (host.file.read_bytes(), host.content()["state"]) == (NEW, "changing")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("which", ["file", "backup"])
def test_restore_fails_when_file_or_backup_is_gone(host, which, force):
    host.edit()
    gone = host.file if which == "file" else host.path.parent / "bigfix" / sha256(OLD)
    gone.unlink()
    with pytest.raises(RecordError) as caught:
        host.restore(force=force)
    assert "%s: does not exist" % gone in str(caught.value)
    assert host.content()["state"] == "changing"


def test_second_edit_of_a_file_keeps_the_first_backup(host):
    host.edit()
    host.edit(b"port 55000, and more")
    [entry] = host.content()["files"]
    assert (entry["sha256_before"], entry["sha256_after"]) == (sha256(OLD), sha256(b"port 55000, and more"))
    host.restore()
    assert host.file.read_bytes() == OLD


def test_edit_on_top_of_the_change_of_another_makes_going_back_unsafe(host):
    host.edit()
    host.file.write_bytes(NEW + b"theirs")
    host.edit(NEW + b"theirs, edited")
    with pytest.raises(RecordError, match="it has changed since the migration"):
        host.restore()
    assert host.restore(force=True)["changed"] is True and host.file.read_bytes() == OLD


def test_interrupted_edit_is_gone_on_with(host):
    # The entry is there, the new bytes are not: the process ended in between.
    host.record().before_write(str(host.file), OLD, NEW)
    assert ChangeRecord(str(host.path)).review() == ([], [])
    host.edit()
    host.restore()
    assert host.file.read_bytes() == OLD


def test_migration_after_a_rollback_starts_a_new_record(host):
    host.edit()
    host.restore()
    host.file.write_bytes(b"changed meanwhile")
    host.edit(b"moved again")
    content = host.content()
    assert (content["state"], [entry["sha256_before"] for entry in content["files"]]) == (
        "changing", [sha256(b"changed meanwhile")])
    host.restore()
    assert host.file.read_bytes() == b"changed meanwhile"


def test_move_to_another_port_starts_a_new_record(host):
    host.edit()
    host.edit(b"port 56000", record=host.record(new_port=56000))
    assert [entry["sha256_before"] for entry in host.content()["files"]] == [sha256(NEW)]
    host.restore()
    assert host.file.read_bytes() == NEW


def test_verified_is_noted_once(host):
    assert host.record().mark_verified() is False
    host.edit()
    assert host.record().mark_verified() is True and host.content()["state"] == "verified"
    before = host.everything()
    assert host.record().mark_verified() is False and host.everything() == before


def test_proof_that_was_none_is_taken_back(host):
    assert host.record().mark_unproved() is False
    host.edit()
    assert host.record().mark_unproved() is False
    host.record().mark_verified()
    assert host.record().mark_unproved() is True and host.content()["state"] == "changing"
    host.restore()
    assert host.record().mark_unproved() is False and host.content()["state"] == "rolled_back"


def test_rolled_back_host_can_not_become_verified(host):
    host.edit()
    host.restore()
    assert host.record().mark_verified() is False and host.content()["state"] == "rolled_back"


def test_verified_migration_can_be_taken_back(host):
    host.edit()
    host.record().mark_verified()
    host.restore()
    assert (host.file.read_bytes(), host.content()["state"]) == (OLD, "rolled_back")


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b'"text"', b"null", b"{}", b"\xff\xfe", b'{"version": 2, "files": []}', b'{"version": 1, "files": {}}',
    b'{"version": 1, "files": []}', b'{"version": 1, "files": [{}], "state": "changing", "new_port": 1, "old_port": 2}'])
def test_damaged_record_is_a_sentence(host, content):
    host.path.parent.mkdir()
    host.path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        host.restore()
    assert str(caught.value).startswith("%s: is not a record of portshift.agents that this version reads (" % host.path)
    assert "move it away if you know that no migration is under way" in str(caught.value)


def test_record_option_of_a_module_is_taken_as_it_is(host):
    options = dict(path=str(host.path), new_port=55000, old_port=52311, phase="2")
    record = ChangeRecord.from_params(dict(record=options))
    assert (record.path, record.move) == (str(host.path), dict(old_port=52311, new_port=55000, phase="2"))
    assert ChangeRecord.from_params({}) is None and ChangeRecord.from_params(dict(record=None)) is None


# --- records of earlier migrations --------------------------------------------------------------------------------

DAY = 86400
THIRD = b"port 56000\r\ncaf\xe9"


def archived(host):
    return sorted(path.name for path in (host.path.parent / "bigfix").glob("*.json"))


def aged(host, days, names=None):
    """Makes the records and backups of earlier migrations that old (those named, or all)."""
    folder, then = host.path.parent / "bigfix", time.time() - days * DAY
    for path in [folder / name for name in names or os.listdir(folder)]:
        if path.suffix == ".json":
            path.write_text(json.dumps(dict(json.loads(path.read_bytes()), started=then, last_change=then)))
        os.utime(path, (then, then))


def prune(host, days, check=False):
    return ChangeRecord(str(host.path)).prune(days, check)


@pytest.fixture
def moved_twice(host):
    """To 55000, then to 56000: one record of old, with the backup OLD, and the current one, with the backup NEW."""
    host.edit()
    host.record().mark_verified()
    host.edit(THIRD, record=host.record(new_port=56000))
    return host


def test_new_migration_keeps_the_record_of_the_one_before_beside_its_backups(host):
    host.edit()
    host.record().mark_verified()
    before = host.content()
    host.edit(THIRD, record=host.record(new_port=56000))
    name = "%s-52311-55000.json" % time.strftime("%Y%m%dT%H%M%S", time.gmtime(before["started"]))
    assert archived(host) == [name]
    path = host.path.parent / "bigfix" / name
    assert (json.loads(path.read_bytes()), stat.S_IMODE(path.stat().st_mode)) == (before, 0o600)
    assert host.content()["new_port"] == 56000


def test_record_that_is_taken_up_again_is_not_put_aside(host):
    host.edit()
    host.edit(b"port 55000, and more")
    assert archived(host) == []


def test_record_is_put_aside_before_the_new_one_takes_its_place(host, monkeypatch):
    host.edit()
    host.restore()
    order, rename = [], os.rename

    def noted(source, target, src_dir_fd, dst_dir_fd):
        order.append(os.path.join(os.readlink("/proc/self/fd/%d" % dst_dir_fd), target))
        return rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(file_edit.os, "rename", noted)
    host.edit()
    folder = str(host.path.parent / "bigfix")
    assert order == [os.path.join(folder, *archived(host)), os.path.join(folder, sha256(OLD)), str(host.path), str(host.file)]


def test_migration_that_was_killed_after_putting_the_record_aside_does_so_once(host):
    host.edit()
    host.restore()
    host.record()._archive(host.content())
    assert host.content()["state"] == "rolled_back" and len(archived(host)) == 1
    host.edit()
    assert len(archived(host)) == 1 and host.content()["state"] == "changing"


def test_two_migrations_that_began_in_the_same_second_are_both_kept(host, monkeypatch):
    monkeypatch.setattr(file_edit.time, "time", lambda: 1763762400.5)
    for content in (NEW, NEW + b"2", NEW + b"3"):
        host.edit(content)
        host.restore()
    assert archived(host) == ["20251121T220000-52311-55000-2.json", "20251121T220000-52311-55000.json"]


def test_record_without_an_old_port_has_a_name_too(host):
    FileEdit.read(str(host.file)).apply(NEW).commit(host.module(), record=ChangeRecord(str(host.path), new_port=55000))
    host.edit(THIRD, record=host.record(new_port=56000))
    [name] = archived(host)
    assert name.endswith("-unknown-55000.json")
    aged(host, 100, [name])
    assert prune(host, 90)["removed"][-1].endswith(name)


def test_old_records_go_with_the_backups_that_only_they_name(moved_twice):
    host, [name] = moved_twice, archived(moved_twice)
    aged(host, 91, [name])
    folder = str(host.path.parent / "bigfix")
    before = host.everything()
    expected = dict(removed=[os.path.join(folder, sha256(OLD)), os.path.join(folder, name)], left=[])
    assert prune(host, 90, check=True) == expected and host.everything() == before
    assert prune(host, 90) == expected
    assert set(before) - set(host.everything()) == set(expected["removed"])
    assert prune(host, 90) == dict(removed=[], left=[])
    # And the way back of the current migration is whole.
    host.restore()
    assert host.file.read_bytes() == NEW


def test_record_counts_from_its_last_change(moved_twice):
    host, [name] = moved_twice, archived(moved_twice)
    path, now = host.path.parent / "bigfix" / name, time.time()
    path.write_text(json.dumps(dict(json.loads(path.read_bytes()), started=now - 200 * DAY, last_change=now - 89 * DAY)))
    assert prune(host, 90)["removed"] == [] and prune(host, 88)["removed"][-1] == str(path)


def test_backup_that_a_remaining_record_names_stays(host):
    # Back and forth: the backup of both moves holds the same bytes.
    for _unused in range(2):
        host.edit()
        host.restore()
    host.edit()
    earlier = archived(host)
    aged(host, 100)
    assert [os.path.basename(path) for path in prune(host, 90)["removed"]] == earlier != []
    host.restore()
    assert host.file.read_bytes() == OLD


def test_current_record_and_its_backups_stay_however_old(host):
    host.edit()
    host.path.write_text(json.dumps(dict(host.content(), started=1, last_change=1)))
    aged(host, 5000)
    assert prune(host, 0) == dict(removed=[], left=[])
    host.restore()
    assert host.file.read_bytes() == OLD


def test_backups_that_no_record_names_any_more_go_when_they_are_old(host):
    # What version 0.1.0 left, which kept no record of earlier migrations.
    folder = host.path.parent / "bigfix"
    folder.mkdir(parents=True)
    old, young = folder / sha256(OLD), folder / sha256(NEW)
    old.write_bytes(OLD)
    young.write_bytes(NEW)
    aged(host, 91, [old.name])
    aged(host, 89, [young.name])
    assert prune(host, 90) == dict(removed=[str(old)], left=[]) and young.exists() and not old.exists()


def test_what_a_killed_write_left_of_a_backup_goes_when_it_is_old(host):
    folder = host.path.parent / "bigfix"
    folder.mkdir(parents=True)
    leftovers = [".%s.portshift-abc12345" % sha256(OLD), ".20260101T000000-52311-55000.json.portshift-abc12345"]
    for name in leftovers:
        (folder / name).write_bytes(b"half")
    assert prune(host, 1)["removed"] == []
    for name in leftovers:
        os.utime(folder / name, (1, 1))
    assert sorted(map(os.path.basename, prune(host, 1)["removed"])) == sorted(leftovers)


@pytest.mark.parametrize("name, content", [
    ("notes.txt", b"x"), ("bigfix.json", b"{}"), ("20260101T000000-52311-55000.json.orig", b"{}"), ("A" * 64, b"x"),
    ("f" * 64, b"other bytes than its name says"), ("f" * 63, b"x"), (".hidden.portshift-abc", b"x"), ("e" * 64, None)])
def test_what_no_migration_put_there_is_named_and_stays(moved_twice, name, content):
    host, [record] = moved_twice, archived(moved_twice)
    path = host.path.parent / "bigfix" / name
    path.mkdir() if content is None else path.write_bytes(content)
    aged(host, 100, [record, name])
    result = prune(host, 90)
    assert str(path) not in result["removed"] and len(result["removed"]) == 2 and path.exists()
    [sentence] = result["left"]
    assert sentence.startswith("%s: " % path)


def test_link_to_somewhere_else_is_never_followed(moved_twice):
    host, elsewhere = moved_twice, moved_twice.file.parent / "elsewhere"
    elsewhere.write_bytes(OLD)
    os.utime(elsewhere, (1, 1))
    link = host.path.parent / "bigfix" / ("d" * 64)
    link.symlink_to(elsewhere)
    result = prune(host, 0)
    assert link.is_symlink() and elsewhere.exists() and [str(link) in sentence for sentence in result["left"]] == [True]


def test_earlier_record_that_can_not_be_read_keeps_everything(moved_twice):
    host = moved_twice
    aged(host, 100)
    damaged = host.path.parent / "bigfix" / "20260101T000000-52311-55000.json"
    damaged.write_bytes(b"{")
    before = host.everything()
    result = prune(host, 90)
    assert (result["removed"], host.everything()) == ([], before)
    [sentence] = result["left"]
    assert sentence.startswith("%s: is not a record of portshift.agents" % damaged)
    assert sentence.endswith("nothing was removed from %s while it lies there" % damaged.parent)


def test_host_without_a_record_has_nothing_to_prune(host):
    assert prune(host, 0) == dict(removed=[], left=[]) and not host.path.parent.exists()


# --- one change of a host at a time -------------------------------------------------------------------------------


def test_way_back_and_check_mode_make_no_lock_file_where_there_never_was_a_migration(host):
    with alone_on_host(str(host.path), may_be_first=False), alone_on_host(str(host.path), check_mode=True):
        assert not host.path.parent.exists()


def test_second_change_of_a_host_is_told_that_there_is_a_first(host):
    with alone_on_host(str(host.path)):
        with pytest.raises(file_edit.FileError) as caught:
            with alone_on_host(str(host.path), may_be_first=False, patience=0):
                raise AssertionError("two at a time")
        with alone_on_host(str(host.path), check_mode=True, patience=0):
            pass
    assert str(caught.value).startswith("%s.lock: another migration or rollback of this host (process %d) has not ended" % (
        host.path, os.getpid()))


def test_proof_of_what_another_run_has_changed_since_does_not_count(host):
    host.edit()
    proved = host.record()
    host.edit(NEW + b"more")
    with pytest.raises(RecordError, match="another run has changed this host while it proved itself"):
        proved.mark_verified()
    assert host.content()["state"] == "changing"


# --- ahead of a stop ------------------------------------------------------------------------------------------------


def stopping(host, new_port=55000, processes=None):
    record = ChangeRecord(str(host.path), 52311, new_port, "phase 1")
    record.before_stop(processes or dict(besclient=[(7, 100)], besrelay=None))
    return record


def test_stop_is_noted_ahead_of_any_file(host):
    stopping(host)
    content = host.content()
    assert (content["state"], content["files"], content["new_port"]) == ("changing", [], 55000)
    assert content["stopped"] == dict(boot_id=this_boot(), processes=dict(besclient=[[7, 100]], besrelay=None))
    assert host.record().is_bare and host.record().review() == ([], [])
    host.edit()
    assert not host.record().is_bare and host.content()["stopped"] == content["stopped"] and len(host.content()["files"]) == 1


def test_migration_that_changed_no_file_gives_way_to_the_one_before(host):
    host.edit()
    host.record().mark_verified()
    verified = host.content()
    stopping(host, 56000)
    assert host.content()["earlier"] == verified and archived(host) == []
    # A further attempt, to whichever port, keeps it.
    stopping(host, 56000)
    stopping(host, 57000)
    assert host.content()["earlier"] == verified and host.content()["new_port"] == 57000
    assert host.record().mark_rolled_back() and host.content() == verified
    # Back to the port of the one before, that one goes on.
    stopping(host, 56000)
    stopping(host)
    assert host.content()["state"] == "verified" and len(host.content()["files"]) == 1 and "earlier" not in host.content()


def test_first_file_puts_the_migration_before_aside(host):
    host.edit()
    host.record().mark_verified()
    verified = host.content()
    record = stopping(host, 56000)
    record.before_write(str(host.file), b"port 55000", b"port 56000")
    assert "earlier" not in host.content() and len(archived(host)) == 1
    assert json.loads((host.path.parent / "bigfix" / archived(host)[0]).read_text()) == verified


def test_backups_of_a_migration_that_has_to_wait_are_not_pruned(host):
    host.edit()
    stopping(host, 56000)
    backup = host.content()["earlier"]["files"][0]["backup"]
    os.utime(backup, (1, 1))
    assert host.record().prune(0, False)["removed"] == [] and os.path.exists(backup)


def test_record_that_can_not_be_written_ahead_is_as_if_it_had_not_been_tried(host, monkeypatch):
    host.edit()
    before, record = host.content(), ChangeRecord(str(host.path), 52311, 56000)

    def full(*unused, **unused2):
        raise FileError("no space")

    monkeypatch.setattr(change_record, "write_own", full)
    with pytest.raises(FileError):
        record.before_stop({})
    assert record.content == before == host.content()


def test_a_change_that_was_noted_while_the_clock_was_ahead_hides_nothing():
    now = time.time()
    assert [known_change(content, now) for content in (None, {}, dict(last_change=now - 5), dict(last_change=now + 3600))] == [
        0, 0, now - 5, 0]


def test_a_stop_is_told_from_one_that_something_was_changed_after(host):
    host.edit()
    record = host.record()
    record.before_stop(dict(service=[(7, 8)]))
    content = host.content()
    assert content["stopped_at"] == content["last_change"] and content["stopped"]["processes"] == dict(service=[[7, 8]])
    record.mark_rolled_back()
    assert host.content()["stopped_at"] < host.content()["last_change"]
