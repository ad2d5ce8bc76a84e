# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change that undoes itself is made of: its clock, its commands, its program, and what it decides from what is on disk."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from types import SimpleNamespace

import pytest

from ansible_collections.portshift.agents.plugins.modules.confirmed_change import KINDS, PROOFS
from ansible_collections.portshift.agents.plugins.action.confirmed_change import ActionModule
from ansible_collections.portshift.agents.plugins.module_utils._core import bounded_commands, file_edit
from ansible_collections.portshift.agents.plugins.module_utils._move import confirmed_change, confirmed_unit
from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import (
    BoundedModule, CommandTimeout, execute, execute_and_leave)
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_change import ConfirmedChange, program
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_state import RESERVE, Place, boot_clock, turn
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_unit import Unit
from ansible_collections.portshift.agents.plugins.module_utils._move.states import (
    BEGUN, CHANGING, CONFIRMED, FAILED, REVERTED, REVERTING, WAITING, ChangeError)
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileEdit, FileError
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import processes_of, this_boot

TOKEN = "t" * 32
OLD, NEW = b"BRIDGE_DOMAIN=0\n", b"BRIDGE_DOMAIN=3\n"


# --- commands ------------------------------------------------------------------------------------------------------


def test_command_gives_its_status_and_what_it_said():
    assert execute(["sh", "-c", "cat; echo no >&2; exit 3"], 10, b"in") == (3, "in", "no\n")


def test_more_than_a_pipe_holds_goes_in_and_comes_out():
    data = os.urandom(150000).hex().encode()
    assert execute(["cat"], 20, data) == (0, data.decode(), "")


def test_command_that_does_not_read_its_input_ends_all_the_same():
    assert execute(["true"], 10, b"x" * 1000000)[0] == 0


def test_command_that_is_not_there_is_the_systems_own_error():
    with pytest.raises(OSError):
        execute(["/nowhere/nft"], 10)


@pytest.mark.parametrize("run", [execute, execute_and_leave])
def test_command_that_hangs_is_ended_with_all_that_it_started(run, tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_commands, "GRACE", 0.5)
    script = "trap '' TERM; sleep 1000 & echo $! >%s; wait" % (tmp_path / "pid")
    with pytest.raises(CommandTimeout, match="had not ended after 0.5 s"):
        run(["sh", "-c", script], 0.5)
    end = time.monotonic() + 10
    while os.path.exists("/proc/%s/exe" % (tmp_path / "pid").read_text().strip()):
        assert time.monotonic() < end, "what the command started still runs"
        time.sleep(0.05)


def test_daemon_that_keeps_the_commands_output_open_is_not_waited_for():
    begun = time.monotonic()
    assert execute(["sh", "-c", "echo started; sleep 20 & exit 0"], 15)[:2] == (0, "started\n")
    assert time.monotonic() - begun < 10


def test_daemon_that_goes_on_writing_is_not_listened_to():
    status, output, unused = execute(["sh", "-c", "yes & exit 0"], 60)
    # It may have written before the command ended, and a pipe was full then; more is what no round fetches.
    assert status == 0 and set(output) <= {"y", "\n"} and len(output) < 50 * 65536


def test_all_that_a_command_says_until_its_end_is_there():
    assert [len(execute(["sh", "-c", "head -c %d /dev/zero; head -c 70000 /dev/zero >&2" % size], 60)[1])
            for size in (1, 65536, 3000001)] == [1, 65536, 3000001]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a command with the process that runs it")
@pytest.mark.parametrize("run", ["execute", "execute_and_leave"])
def test_command_ends_with_the_process_that_is_killed_amid_it_and_its_daemons_stay(run, tmp_path):
    script = "sleep 1000 & echo $! >daemon.new; mv daemon.new daemon; echo $$ >pid.new; mv pid.new pid; sleep 1000"
    caller = subprocess.Popen([sys.executable, "-c", "import %s as b; b.%s(['sh', '-c', 'cd %s; %s'], 1000)" % (
        bounded_commands.__name__, run, tmp_path, script)], env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    end = time.monotonic() + 30
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < end and caller.poll() is None
        time.sleep(0.05)
    caller.kill()
    caller.wait()
    daemon = int((tmp_path / "daemon").read_text())
    group = os.getpgid(daemon)
    try:
        while os.path.exists("/proc/%s/exe" % (tmp_path / "pid").read_text().strip()):
            assert time.monotonic() < end, "the command goes on by itself"
            time.sleep(0.05)
        assert os.path.exists("/proc/%d/exe" % daemon)
    finally:
        # All that the command started is in its own group.
        os.killpg(group, signal.SIGKILL)


def test_engines_find_what_they_ask_of_a_module():
    module = BoundedModule(10)
    assert module.get_bin_path("sh") and module.get_bin_path("no-such-tool") is None
    assert module.run_command(["cat"], data="rule", environ_update=dict(LANG="C")) == (0, "rule\n", "")
    assert module.run_command(["cat"], data=b"rule", binary_data=True)[1] == "rule"


# --- clock and program ---------------------------------------------------------------------------------------------


def test_clock_does_not_go_by_the_hosts_time(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    first = boot_clock()
    assert 0 <= boot_clock() - first < 60 and this_boot() == this_boot() and this_boot().split("/")[1].isdigit()


def test_program_needs_nothing_but_python(tmp_path):
    archive = tmp_path / "run.zip"
    archive.write_bytes(program(KINDS, PROOFS, False))
    names = zipfile.ZipFile(BytesIO(archive.read_bytes())).namelist()
    assert "__main__.py" in names and not [name for name in names if not name.startswith(("__main__", "ansible_collections/"))]
    # Isolated, elsewhere, with nothing of this process; the folder holds no change, which it says and ends.
    script = "import sys; sys.path.insert(0, %r); import %s as unit; print(unit.Unit.__name__)" % (
        str(archive), confirmed_unit.__name__)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], cwd="/", env={}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (0, b"Unit\n"), done.stderr


SENTENCE = "/etc/d\xe4mon\udce9 says \0 no"


@pytest.mark.parametrize("speaks", ["_to_journal", "_to_system_log"])
@pytest.mark.parametrize("output", ["open", "closed", "broken"])
def test_sentence_that_cannot_be_said_stops_nothing(speaks, output):
    script = "import %s as unit; unit.%s(%s); unit.%s('more')" % (confirmed_unit.__name__, speaks, ascii(SENTENCE), speaks)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), LC_ALL="C", PYTHONIOENCODING="ascii",
                       PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    reading, writing = os.pipe()
    try:
        if output == "broken":
            os.close(reading)
        command = ["sh", "-c", 'exec "$@"' + (" >&-" if output == "closed" else ""), "sh", sys.executable, "-c", script]
        done = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False)
        os.close(writing)
        assert done.returncode == 0, done.stderr
        if output == "open" and speaks == "_to_journal":
            assert os.read(reading, 1000) == b"/etc/d\xc3\xa4mon? says \0 no\nmore\n"
    finally:
        if output != "broken":
            os.close(reading)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="the command systemd-analyze is not on this machine")
def test_unit_is_understood_in_full_and_is_begun_again_however_often(tmp_path):
    unit = tmp_path / "portshift-confirm-boks.service"
    unit.write_text(confirmed_change.UNIT_TEXT % dict(name="boks", after="", folder='"/x"', seconds=300, command="/bin/true"))
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, env=dict(os.environ, LC_ALL="C")).stdout.decode()
    assert unit.name not in said, said
    service = unit.read_text().partition("[Service]")[2].partition("[Install]")[0]
    assert "StartLimitInterval=0" in service and "RestartSec=2" in service


def test_bridge_leads_old_to_new_and_back(monkeypatch):
    asked = []
    monkeypatch.setattr("ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_state.turn_bridge",
                        lambda module, options, mappings: asked.append(mappings))
    options = dict(name="boks", mappings=[dict(old=6500, new=6530, protocols=["tcp"]), dict(old=6501, new=6531, protocols=None)])
    turn(None, options, True)
    turn(None, options, False)
    assert asked == [[(6500, 6530, ["tcp"]), (6501, 6531, None)], [(6530, 6500, ["tcp"]), (6531, 6501, None)]]


# --- what is decided from what is on disk --------------------------------------------------------------------------


class Folder:
    """A change that has come to some state, with its file already changed."""

    def __init__(self, folder, state, **more):
        self.file, self.record = folder / "ENV", str(folder / "boks.json")
        self.place = Place(str(folder), "boks")
        self.file.write_bytes(OLD)
        self.calls = folder / "calls"
        say = ["sh", "-c", 'echo "$1" >>"$0"', str(self.calls)]
        self.place.write("change.json", dict(
            timeout=60, record=self.record, old_port=6500, new_port=6530, phase=None, stop=[say + ["stop"]],
            start=[say + ["start"]], checks=[], check_seconds=1, command_seconds=10, services_entries=[], hub_urls=[],
            files=[dict(path=str(self.file), content=NEW.decode())], bridge=None, unit_dir=str(folder), force=False,
            way="forward", systemd=False, login=None, modes={}, record_before=None))
        self.place.hold_reserve()
        if state != BEGUN:
            for path in (self.place.undo, self.record):
                FileEdit.read(str(self.file)).apply(NEW).commit(
                    BoundedModule(1), record=ChangeRecord(path, 6500, 6530)) if path == self.place.undo else ChangeRecord(
                        path, 6500, 6530).before_write(str(self.file), OLD, NEW)
        self.place.write("state.json", dict(dict(
            state=state, token=TOKEN, boot=this_boot(), begun=0, handed_over=boot_clock(), until=boot_clock() + 60, reason=None,
            files=[], restored=[], notes=[], bridge=None, bridge_turned=False, seconds=0, ended=None, survives_reboot=False,
            old_port=6500, new_port=6530), **more))

    def ask(self, name, token=TOKEN):
        self.place.write(name, dict(token=token, reason="it was taken back on request"))

    def run(self):
        unit = Unit(KINDS, PROOFS, self.place, say=lambda sentence: None)
        unit.run()
        state = self.place.state()
        return state["state"], state["reason"]

    def called(self):
        return self.calls.read_text().split() if self.calls.exists() else []


AGENT = """#!/bin/sh
echo $$ > pid.new
mv pid.new pid
read stay < fifo
"""


@pytest.fixture
def product(tmp_path):
    """A change of a product whose processes are told, and that runs: (the change, the numbers of what runs)."""
    folder, agent = Folder(tmp_path, BEGUN), tmp_path / "agent"
    agent.write_text(AGENT)
    agent.chmod(0o755)
    os.mkfifo(str(tmp_path / "fifo"))
    stop = ["sh", "-c", "cd '%s'; echo stop >>calls; kill $(cat pid); rm pid" % tmp_path]
    start = ["sh", "-c", "cd '%s'; echo start >>calls; setsid ./agent </dev/null >/dev/null 2>&1 & "
             "until [ -e '%s' ]; do sleep 0.01; done" % (tmp_path, tmp_path / "pid")]
    folder.place.write("change.json", dict(
        folder.place.change(), services=["product"], executables=dict(product=[str(agent)]), command_seconds=1, stop=[stop],
        start=[start]))
    subprocess.run(start, check=True, timeout=60)
    folder.calls.unlink()

    def pids():
        return [pid for pid, unused in processes_of(None, [str(agent)])]

    yield folder, pids
    for pid in pids():
        os.kill(pid, signal.SIGKILL)


def test_record_is_ahead_of_the_stop_with_what_ran_then(product, tmp_path):
    folder, pids = product
    [old] = pids()
    folder.ask("revert.json")
    folder.place.write("change.json", dict(folder.place.change(), start=folder.place.change()["start"] + [
        ["sh", "-c", 'cd "$0"; [ -e seen ] || cp boks.json seen', str(tmp_path)]]))
    assert folder.run()[0] == REVERTED and len(pids()) == 1 and pids() != [old]
    seen = json.loads((tmp_path / "seen").read_text())
    assert (seen["state"], seen["files"]) == (CHANGING, [])
    assert [pid for pid, unused in seen["stopped"]["processes"]["product"]] == [old]
    assert ChangeRecord(folder.record).content["state"] == "rolled_back" and folder.file.read_bytes() == OLD


def test_product_that_its_stop_leaves_running_is_named_with_nothing_edited(product):
    folder, pids = product
    [old] = pids()
    folder.place.write("change.json", dict(folder.place.change(), stop=[["true"]], start=[["true"]]))
    state, reason = folder.run()
    assert state == REVERTED and "process %d (" % old in reason and "of the service product still runs after 1 s" in reason
    assert folder.file.read_bytes() == OLD and pids() == [old] and folder.place.state()["files"] == []


def test_product_that_its_start_does_not_start_is_put_back(product):
    folder, pids = product
    start = folder.place.change()["start"][0]
    # Nothing comes up with the new content.
    folder.place.write("change.json", dict(folder.place.change(), start=[
        ["sh", "-c", "grep -q =3 '%s' || exec \"$@\"" % folder.file, "sh"] + start]))
    state, reason = folder.run()
    assert state == REVERTED and reason == "no new process of the service product runs after 1 s"
    assert folder.file.read_bytes() == OLD and len(pids()) == 1
    assert folder.calls.read_text().split() == ["stop", "stop", "start"]


class Killed(BaseException):
    pass


WAYS_BACK = ["undone", "undone by a process that is begun anew", "taken back"]


def begin_way_back(folder, how, monkeypatch):
    """A change that is to be undone: its check fails, its process is killed with the product down, or it was confirmed."""
    if how == "undone":
        folder.place.write("change.json", dict(folder.place.change(), checks=[["false"]], check_seconds=0))
    elif how == "taken back":
        folder.ask("confirm.json")
        assert folder.run()[0] == CONFIRMED
        folder.place.write("change.json", dict(folder.place.change(), way="back"))
        folder.place.write("state.json", dict(folder.place.state(), state=REVERTING, reason="asked", bridge_turned=True, ran=[]))
    else:
        def die(self, *unused):
            raise Killed
        with monkeypatch.context() as until_then:
            until_then.setattr(Unit, "_start", die)
            with pytest.raises(Killed):
                folder.run()
        assert folder.place.state()["state"] == CHANGING and folder.file.read_bytes() == NEW


def start_lies(folder, calls):
    """Has the start end with 0 so many times without bringing the product up, where the file is the old one again."""
    start = folder.place.change()["start"][0]
    folder.place.write("change.json", dict(folder.place.change(), start=[[
        "sh", "-c", 'if ! grep -q =3 "$0"; then echo try >>"$1"; [ "$(grep -c try "$1")" -gt "$2" ] || exit 0; fi; shift 2; "$@"',
        str(folder.file), str(folder.calls), str(calls)] + start]))


@pytest.mark.parametrize("how", WAYS_BACK)
def test_start_that_brings_nothing_up_on_the_way_back_is_tried_again(product, monkeypatch, how):
    monkeypatch.setattr(confirmed_unit, "PAUSES", (0, 0))
    folder, pids = product
    [old] = pids()
    start_lies(folder, 2)
    begin_way_back(folder, how, monkeypatch)
    state, reason = folder.run()
    assert (state, folder.file.read_bytes()) == (REVERTED, OLD), reason
    assert len(pids()) == 1 and pids() != [old] and folder.called().count("try") == 3
    assert "no new process of the service product runs after 1 s" in folder.place.state()["notes"]
    assert ChangeRecord(folder.record).content["state"] == "rolled_back"


@pytest.mark.parametrize("how", WAYS_BACK)
def test_start_that_never_brings_anything_up_on_the_way_back_is_reported_and_gone_on_with(
        product, tmp_path, monkeypatch, carried_out, how):
    folder, pids = product
    start_lies(folder, 3)
    begin_way_back(folder, how, monkeypatch)
    state, reason = folder.run()
    assert state == FAILED and "needs a person" in reason and "no new process of the service product runs after 1 s" in reason
    assert folder.file.read_bytes() == OLD and pids() == []
    assert ChangeRecord(folder.record).content["state"] in ("changing", "verified")
    # Nothing runs before this one, and it is to run all the same.
    assert asked(tmp_path).revert()["state"] == REVERTED and len(pids()) == 1 and folder.called().count("try") == 4
    assert ChangeRecord(folder.record).content["state"] == "rolled_back"


def test_service_of_which_nothing_ran_before_is_not_waited_for_on_the_way_back(product, monkeypatch):
    folder, pids = product
    begin_way_back(folder, "taken back", monkeypatch)
    start_lies(folder, 9)
    subprocess.run(folder.place.change()["stop"][0], check=True, timeout=60)
    assert folder.run()[0] == REVERTED and pids() == []


def test_refused_way_back_says_that_the_start_brought_nothing_up(product, monkeypatch):
    monkeypatch.setattr(confirmed_unit, "PAUSES", (0,))
    folder, pids = product
    begin_way_back(folder, "taken back", monkeypatch)
    folder.file.write_bytes(b"OTHER=1\n")
    start_lies(folder, 9)
    state, reason = folder.run()
    assert state == FAILED and "no longer safe" in reason and pids() == []
    assert "the product is down, as it could not be started again: no new process of the service product runs after 1 s" in reason


@pytest.mark.parametrize("state, boot, asked, until, ends", [
    (CHANGING, None, None, 60, "ended amid it"),
    (CHANGING, "another", None, 60, "booted amid the change"),
    (WAITING, None, None, -1, "not confirmed within 60 s"),
    (WAITING, "another", None, 60, "booted before the change was confirmed"),
    (WAITING, None, "revert.json", 60, "taken back on request"),
    (REVERTING, None, None, 60, "as noted"),
    (REVERTING, "another", "confirm.json", 60, "as noted"),
    (FAILED, "another", None, 60, "as noted"),
])
def test_what_is_found_unconfirmed_is_undone(tmp_path, state, boot, asked, until, ends):
    folder = Folder(tmp_path, state, until=boot_clock() + until, reason="as noted", **({"boot": boot} if boot else {}))
    if asked:
        folder.ask(asked)
    found, reason = folder.run()
    assert found == REVERTED and ends in reason
    assert folder.file.read_bytes() == OLD and folder.called() == ["stop", "start"]
    assert ChangeRecord(folder.record).content["state"] == "rolled_back"


@pytest.mark.parametrize("boot", [None, "another"])
@pytest.mark.parametrize("until", [60, -1])
def test_confirmation_that_was_there_before_the_end_was_decided_counts(tmp_path, boot, until):
    folder = Folder(tmp_path, WAITING, until=boot_clock() + until, **({"boot": boot} if boot else {}))
    folder.ask("confirm.json")
    assert folder.run() == (CONFIRMED, "it was confirmed")
    assert folder.file.read_bytes() == NEW and folder.called() == []


def test_confirmation_after_going_back_was_decided_does_not_count_even_if_that_could_not_be_noted(tmp_path):
    folder = Folder(tmp_path, WAITING)
    folder.place.free_reserve()
    folder.ask("confirm.json")
    assert folder.run() == (REVERTED, "going back had begun") and folder.file.read_bytes() == OLD


def test_confirmation_of_another_change_does_not_count(tmp_path):
    folder = Folder(tmp_path, WAITING, until=boot_clock() + 0.5)
    folder.ask("confirm.json", token="other")
    assert folder.run()[0] == REVERTED


def test_confirmation_that_cannot_be_noted_is_none(tmp_path, monkeypatch):
    folder = Folder(tmp_path, WAITING, until=boot_clock() + 0.5)
    folder.ask("confirm.json")
    write = Place.write

    def full(self, name, content):
        if content.get("state") == CONFIRMED:
            raise FileError("no space is left")
        write(self, name, content)

    monkeypatch.setattr(Place, "write", full)
    monkeypatch.setattr(Unit, "_asked_to_revert", lambda self: "later" if boot_clock() >= self.state["until"] else None)
    assert folder.run() == (REVERTED, "later") and folder.file.read_bytes() == OLD


@pytest.mark.parametrize("state", [CONFIRMED, REVERTED, FAILED])
def test_what_has_ended_is_left_alone_in_the_same_boot(tmp_path, state):
    folder = Folder(tmp_path, state, reason="as noted")
    assert folder.run() == (state, "as noted") and folder.file.read_bytes() == NEW and folder.called() == []


def test_change_that_had_not_begun_before_a_boot_touches_nothing(tmp_path):
    folder = Folder(tmp_path, BEGUN, boot="another")
    found, reason = folder.run()
    assert found == REVERTED and "nothing was changed" in reason and folder.called() == [] and folder.file.read_bytes() == OLD


def test_way_back_that_fails_is_tried_again_and_starts_the_product_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(confirmed_unit, "PAUSES", (0, 0))
    folder = Folder(tmp_path, WAITING, until=0)
    os.rename(str(tmp_path / "boks.confirm/undo"), str(tmp_path / "away"))
    attempts = []
    keep = Unit._keep_what_others_wrote

    def mended(self, undo):
        attempts.append(1)
        if len(attempts) == 3:
            os.rename(str(tmp_path / "away"), str(tmp_path / "boks.confirm/undo"))
        return keep(self, undo)

    monkeypatch.setattr(Unit, "_keep_what_others_wrote", mended)
    assert folder.run()[0] == REVERTED
    assert folder.called() == ["stop", "start"] * 3 and folder.file.read_bytes() == OLD


def test_way_back_that_never_works_ends_and_names_the_old_files(tmp_path, monkeypatch):
    monkeypatch.setattr(confirmed_unit, "PAUSES", (0, 0))
    folder = Folder(tmp_path, WAITING, until=0)
    os.rename(str(tmp_path / "boks.confirm/undo"), str(tmp_path / "away"))
    found, reason = folder.run()
    assert found == FAILED and "needs a person" in reason and folder.place.undo in reason
    assert folder.called() == ["stop", "start"] * 3
    # The next boot tries again, with what it needs for that.
    os.rename(str(tmp_path / "away"), str(tmp_path / "boks.confirm/undo"))
    state = folder.place.state()
    folder.place.write("state.json", dict(state, boot="another"))
    assert folder.run()[0] == REVERTED and folder.file.read_bytes() == OLD


def test_earlier_migrations_record_is_not_marked_by_a_change_that_never_wrote(tmp_path):
    folder = Folder(tmp_path, BEGUN)
    record = ChangeRecord(folder.record, 6400, 6500)
    record.before_write(str(folder.file), OLD, OLD)
    before = json.loads(open(folder.record).read())
    folder.place.write("change.json", dict(folder.place.change(), stop=[["/nowhere/stop"]]))
    found, reason = folder.run()
    assert found == REVERTED and "/nowhere/stop could not be run" in reason
    assert json.loads(open(folder.record).read()) == before


def test_confirmation_that_cannot_be_noted_after_a_boot_does_not_wait_by_the_clock_of_the_one_before(tmp_path, monkeypatch):
    folder = Folder(tmp_path, WAITING, boot="another", until=boot_clock() + 100000)
    folder.ask("confirm.json")
    write = Place.write

    def full(self, name, content):
        if content.get("state") == CONFIRMED:
            raise FileError("no space is left")
        write(self, name, content)

    monkeypatch.setattr(Place, "write", full)
    assert folder.run() == (REVERTED, "the host booted, and the confirmation could not be noted")
    assert folder.file.read_bytes() == OLD


@pytest.mark.parametrize("stop, sentence", [
    (["sleep", "1000"], "sleep 1000 had not ended after 1 s"),
    (["/nowhere/stop"], "/nowhere/stop could not be run"),
    (["true", "\0"], "could not be run: embedded null byte"),
])
def test_stop_that_does_not_end_on_the_way_back_is_trouble_and_all_else_is_done(tmp_path, monkeypatch, stop, sentence):
    monkeypatch.setattr(confirmed_unit, "PAUSES", (0,))
    folder = Folder(tmp_path, WAITING, until=0)
    folder.place.write("change.json", dict(folder.place.change(), stop=[stop], command_seconds=1))
    found, reason = folder.run()
    assert found == FAILED and sentence in reason and "next boot" not in reason
    assert folder.file.read_bytes() == OLD and folder.called() == ["start", "start"]


def test_way_back_that_is_refused_starts_the_product_until_it_is_up(tmp_path, monkeypatch):
    monkeypatch.setattr(confirmed_unit, "PAUSES", (0, 0))
    folder = Folder(tmp_path, REVERTING, reason="it was taken back on request")
    folder.file.write_bytes(b"OTHER=1\n")
    up = ["sh", "-c", 'echo start >>"$0"; [ "$(grep -c start "$0")" -ge 3 ]', str(folder.calls)]
    folder.place.write("change.json", dict(folder.place.change(), way="back", start=[up]))
    found, reason = folder.run()
    assert found == FAILED and "no longer safe" in reason and "is down" not in reason
    assert folder.called() == ["stop", "start", "start", "start"] and folder.file.read_bytes() == b"OTHER=1\n"


def test_way_back_that_is_refused_says_when_the_product_stays_down(tmp_path, monkeypatch):
    monkeypatch.setattr(confirmed_unit, "PAUSES", (0,))
    folder = Folder(tmp_path, REVERTING, reason="it was taken back on request")
    folder.file.write_bytes(b"OTHER=1\n")
    folder.place.write("change.json", dict(folder.place.change(), way="back", start=[["false"]]))
    found, reason = folder.run()
    assert found == FAILED and "the product is down" in reason and "false ended with exit status 1" in reason


def test_disk_without_room_for_a_second_file_gets_the_old_bytes_in_place(tmp_path, monkeypatch):
    folder = Folder(tmp_path, WAITING, until=0)
    inode = folder.file.stat().st_ino
    monkeypatch.setattr(file_edit, "_is_full", lambda space, size: True)
    assert folder.run()[0] == REVERTED
    assert folder.file.read_bytes() == OLD and folder.file.stat().st_ino == inode
    assert folder.place.state()["restored"] == [str(folder.file)] and folder.called() == ["stop", "start"]


def test_reserve_has_room_for_the_files(tmp_path):
    place = Place(str(tmp_path), "boks")
    (tmp_path / "file").write_bytes(b"x" * 5000)
    place.hold_reserve([str(tmp_path / "file"), str(tmp_path / "gone")])
    assert os.path.getsize(place.path("reserve")) == RESERVE + 10000


def test_content_of_files_does_not_stay_behind(tmp_path):
    folder = Folder(tmp_path, WAITING)
    folder.ask("confirm.json")
    assert folder.run()[0] == CONFIRMED and folder.place.change()["files"] == [] and folder.place.change()["start"]


# --- what asks -----------------------------------------------------------------------------------------------------


def asked(folder, **params):
    """The change as a call with these parameters sees it, on a host without systemd."""
    module = SimpleNamespace(
        check_mode=False, _diff=False, warn=lambda sentence: None, get_bin_path=lambda name: None, run_command=None,
        params=dict(dict(
            name="boks", timeout=60, token=None, wait=0, record=str(folder / "boks.json"), old_port=6500, new_port=6530,
            phase=None, stop=[], start=[], services=[], executables={}, checks=[], check_seconds=1, command_seconds=10,
            services_entries=[], hub_urls=[], files=[], bridge=None, force=False, state_dir=str(folder),
            unit_dir=str(folder)), **params))
    return ConfirmedChange(KINDS, PROOFS, module)


@pytest.fixture
def carried_out(monkeypatch):
    """What is handed over is carried out by a process that does not pause."""
    children = []

    def launch(self):
        children.append(os.fork())
        if not children[-1]:
            try:
                confirmed_unit._carry_on(KINDS, PROOFS, self.place.folder, lambda sentence: None)
            finally:
                os._exit(0)

    for module in (confirmed_change, confirmed_unit):
        monkeypatch.setattr(module, "PAUSES", (0,))
    monkeypatch.setattr(confirmed_change, "PATIENCE_WITH_RESTART", 0)
    monkeypatch.setattr(ConfirmedChange, "_launch", launch)
    yield
    for child in children:
        os.waitpid(child, 0)


def test_change_that_failed_is_undone_with_what_the_next_call_gives(tmp_path, carried_out):
    folder = Folder(tmp_path, WAITING, until=0)
    works = folder.place.change()["start"]
    folder.place.write("change.json", dict(folder.place.change(), start=[["false"]]))
    assert folder.run()[0] == FAILED
    with pytest.raises(ChangeError, match="false ended with exit status 1"):
        asked(tmp_path).revert()
    with pytest.raises(ChangeError, match="/nowhere/start.*not on this host"):
        asked(tmp_path, start=[["/nowhere/start"]]).revert()
    done = asked(tmp_path, start=works).revert()
    assert (done["state"], done["reason"]) == (REVERTED, "it was not confirmed within 60 s")
    assert folder.file.read_bytes() == OLD and asked(tmp_path).revert()["changed"] is False


def test_way_back_that_was_refused_goes_on_by_force(tmp_path, carried_out):
    folder = Folder(tmp_path, REVERTING, reason="it was taken back on request")
    folder.place.write("change.json", dict(folder.place.change(), way="back"))
    folder.file.write_bytes(b"OTHER=1\n")
    assert folder.run()[0] == FAILED
    assert asked(tmp_path, force=True).revert()["state"] == REVERTED and folder.file.read_bytes() == OLD


def test_process_that_never_starts_leaves_nothing_to_come_later(tmp_path, monkeypatch):
    monkeypatch.setattr(confirmed_change, "PATIENCE_WITH_UNIT", 0.2)
    monkeypatch.setattr(ConfirmedChange, "_launch", lambda self: None)
    (tmp_path / "ENV").write_bytes(OLD)
    with pytest.raises(ChangeError, match="did not start in 0 s; nothing was changed"):
        asked(tmp_path, files=[dict(path=str(tmp_path / "ENV"), content=NEW.decode())]).begin()
    assert (tmp_path / "ENV").read_bytes() == OLD and os.listdir(str(tmp_path)) == ["ENV"]


def test_unit_that_is_slow_to_begin_is_waited_for(tmp_path, monkeypatch, carried_out):
    """On a machine that has much to do; systemd knows that it runs."""
    folder, asked_of, launch = Folder(tmp_path, CONFIRMED), [], ConfirmedChange._launch

    def unit_is(self):
        asked_of.append(len(asked_of))
        if len(asked_of) == 3:
            launch(self)
        return "active"
    monkeypatch.setattr(confirmed_change, "PATIENCE_WITH_UNIT", 0.2)
    monkeypatch.setattr(ConfirmedChange, "_launch", lambda self: None)
    monkeypatch.setattr(ConfirmedChange, "_unit_is", unit_is)
    assert asked(tmp_path).revert()["state"] == REVERTED and folder.file.read_bytes() == OLD and len(asked_of) >= 3


def test_process_that_is_nowhere_is_not_waited_for(tmp_path, monkeypatch):
    Folder(tmp_path, CONFIRMED)
    monkeypatch.setattr(confirmed_change, "PATIENCE_WITH_UNIT", 0.2)
    monkeypatch.setattr(ConfirmedChange, "_launch", lambda self: None)
    with pytest.raises(ChangeError, match="has ended amid it .reverting. and was not begun again"):
        asked(tmp_path).revert()


@pytest.mark.parametrize("known", [None, "another.json"])
def test_product_without_a_known_way_to_start_is_not_stopped(tmp_path, known, carried_out):
    folder = Folder(tmp_path, CONFIRMED)
    if known:
        folder.place.write("change.json", dict(folder.place.change(), record=str(tmp_path / known)))
    else:
        folder.place.remove("change.json", "state.json")
    with pytest.raises(ChangeError, match="how this product is started is not known"):
        asked(tmp_path).revert()
    assert folder.file.read_bytes() == NEW and folder.called() == []
    assert asked(tmp_path, start=[["true"]]).revert()["state"] == REVERTED and folder.file.read_bytes() == OLD


def test_undone_move_to_a_further_port_leaves_the_first_one_to_be_taken_back(tmp_path, carried_out):
    folder = Folder(tmp_path, CONFIRMED)
    ChangeRecord(folder.record).mark_verified()
    first = (tmp_path / "boks.json").read_bytes()
    with pytest.raises(ChangeError, match="the change failed"):
        asked(tmp_path, new_port=6560, start=[["false"]], files=[dict(path=str(folder.file), content="FURTHER=1\n")]).begin()
    # The start that failed forward is the one for the way back, too.
    assert folder.place.state()["state"] == FAILED
    assert asked(tmp_path, start=[["true"]]).revert()["state"] == REVERTED
    assert (tmp_path / "boks.json").read_bytes() == first and folder.file.read_bytes() == NEW
    assert asked(tmp_path).revert()["restored"] == [str(folder.file)] and folder.file.read_bytes() == OLD


# --- the task on the control node ----------------------------------------------------------------------------------


class Connection:
    """One that is made anew on request."""

    _shell = SimpleNamespace(tmpdir=None)

    def __init__(self):
        self.logins = 1

    def reset(self):
        self.logins += 1


def task(answers, check_mode=False, **arguments):
    """(result of the task, [(login, arguments) of each call of the module])."""
    connection, calls = Connection(), []
    action = ActionModule(SimpleNamespace(args=arguments, async_val=0, check_mode=check_mode, diff=False), connection,
                          SimpleNamespace(), None, None, None)

    def execute_module(module_args, task_vars):
        calls.append((connection.logins, module_args))
        return answers.pop(0)

    action._execute_module = execute_module
    return action.run(task_vars={}), calls


BEGIN = dict(name="boks", timeout=120, record="/r", new_port=6530, confirm=True, state_dir="/s", stop=[["stop"]])
BEGAN = dict(changed=True, state="waiting", token=TOKEN, seconds=1.5, warnings=["a"], diff=[dict(before="a", after="b")])


def test_task_confirms_by_a_new_login_what_it_has_begun():
    confirmation = dict(changed=True, state="confirmed", token=TOKEN, warnings=["b"], diff=[dict(before="c", after="d")])
    result, calls = task([BEGAN, confirmation], **BEGIN)
    assert calls == [(1, BEGIN), (2, dict(name="boks", state="confirmed", timeout=120, state_dir="/s", token=TOKEN))]
    assert (result["state"], result["changed"], result["seconds"], result["warnings"]) == ("confirmed", True, 1.5, ["a", "b"])
    assert [diff["after"] for diff in result["diff"]] == ["b", "d"]


def test_task_fails_when_its_confirmation_comes_too_late():
    result, _calls = task([BEGAN, dict(failed=True, msg="too late to confirm: x", state="reverted")], **BEGIN)
    assert result["failed"] and result["state"] == "reverted" and "too late" in result["msg"]


@pytest.mark.parametrize("answer, more", [
    (dict(changed=False, state="none", token=None), {}),
    (dict(failed=True, msg="was undone", state="reverted"), {}),
    (BEGAN, dict(confirm=False)),
    (dict(changed=True, state="none", token=None), dict(check_mode=True)),
    (dict(changed=True, state="reverted", token=TOKEN), dict(state="reverted")),
])
def test_task_confirms_nothing_where_nothing_waits_for_it(answer, more):
    result, calls = task([dict(answer)], **dict(BEGIN, **more))
    assert len(calls) == 1 and {key: result[key] for key in answer} == answer
