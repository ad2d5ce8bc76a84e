# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a migration: written ahead, and the way back byte for byte, or not at all."""

import json
import os
import stat

import pytest

from ansible_collections.portshift.agents.plugins.module_utils import _file_edit
from ansible_collections.portshift.agents.plugins.module_utils._change_record import ChangeRecord, RecordError
from ansible_collections.portshift.agents.plugins.module_utils._file_edit import FileEdit, sha256

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
        return FileEdit.read(str(self.file)).apply(content).commit(self.module(check=check), record=record)

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
    assert entry == dict(path=str(host.file), sha256_before=sha256(OLD), sha256_after=sha256(NEW),
                         backup=str(host.path.parent / "bigfix" / sha256(OLD)))
    assert {key: content[key] for key in ("version", "old_port", "new_port", "phase", "state")} == dict(
        version=1, old_port=52311, new_port=55000, phase="1", state="changing")
    assert 0 < content["started"] <= content["last_change"]


def test_backup_and_record_are_written_before_the_file(host, monkeypatch):
    order, rename = [], os.rename

    def noted(source, target):
        order.append(target)
        return rename(source, target)

    monkeypatch.setattr(_file_edit.os, "rename", noted)
    host.edit()
    assert order == [str(host.path.parent / "bigfix" / sha256(OLD)), str(host.path), str(host.file)]


def test_failure_to_note_the_change_prevents_it(host):
    host.path.parent.write_bytes(b"in the way")
    with pytest.raises(_file_edit.FileError, match="could not create it"):
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
    result = host.restore()
    assert (result["changed"], result["restored"]) == (True, [str(host.file)])
    assert (host.file.read_bytes(), stat.S_IMODE(host.file.stat().st_mode)) == (OLD, 0o640)
    assert [result["diff"][0][side] for side in ("before", "after")] == [
        content.decode("latin-1") for content in (NEW, OLD)]
    assert host.content()["state"] == "rolled_back"


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


def test_restore_refuses_a_file_that_somebody_else_changed(host):
    host.edit()
    other = host.file.parent / "other"
    other.write_bytes(OLD)
    FileEdit.read(str(other)).apply(NEW).commit(host.module(), record=host.record())
    host.file.write_bytes(b"theirs")
    before = host.everything()
    with pytest.raises(RecordError) as caught:
        host.restore()
    assert str(caught.value) == (
        "going back is no longer safe, nothing was restored: %s: somebody else has changed it since the migration "
        "(sha256 %s..., expected %s...); its old bytes are in %s" % (
            host.file, sha256(b"theirs")[:12], sha256(NEW)[:12], host.path.parent / "bigfix" / sha256(OLD)))
    # All or nothing: the other file, which could have been restored, stays too.
    assert host.everything() == before


def test_force_restores_what_somebody_else_changed(host):
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


def test_edit_on_top_of_somebody_elses_change_makes_going_back_unsafe(host):
    host.edit()
    host.file.write_bytes(NEW + b"theirs")
    host.edit(NEW + b"theirs, edited")
    with pytest.raises(RecordError, match="somebody else has changed it since the migration"):
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
