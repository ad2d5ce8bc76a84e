# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""confirmed_change with a real daemon, on a host without systemd: what is not confirmed undoes itself, whatever is killed."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_state import Place
from tests.integration import direct_module
from tests.integration.ports import free_ports
from tests.integration.waiting import until
from tests.lab.managed_python import managed_python

SERVICES = b"# Services\r\nssh\t22/tcp\nboks\t\t%d/tcp   # caf\xe9\nbad line"
SETTINGS = b"BOKSINIT=client\n"
# Reads its port from the services file once, at its start, and answers with it.
DAEMON = """
import os, re, socket, sys
os.chdir(sys.argv[1])
with open("services", "rb") as source:
    port = int(re.search(br"(?m)^boks\\s+(\\d+)/tcp", source.read()).group(1))
server = socket.create_server(("127.0.0.1", port))
with open("pid.new", "w") as target:
    target.write(str(os.getpid()))
os.rename("pid.new", "pid")
print("listens", flush=True)
while True:
    with server.accept()[0] as caller:
        caller.sendall(b"%d" % port)
        print("asked", flush=True)
"""
# The product's own command.  Hooks run before it does what it is told.
BOOT = """#!/bin/sh
cd '{folder}'
echo "$1" >> calls
[ ! -e "on-$1" ] || . "./on-$1"
case $1 in
    stop)
        [ -e pid ] || exit 7
        kill "$(cat pid)"; while kill -0 "$(cat pid)" 2>/dev/null; do sleep 0.05; done; rm -f pid ;;
    start)
        '{python}' daemon.py '{folder}' &
        for try in $(seq 200); do [ ! -e pid ] || exit 0; sleep 0.05; done; exit 1 ;;
    check) [ -e pid ] ;;
esac
"""
# A machine with systemd is one without it for a process that sees an empty folder there.
WITHOUT_SYSTEMD = ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none /run/systemd; exec "$@"', "sh"]


class Host:
    def __init__(self, folder):
        self.folder = folder
        self.old, self.new = free_ports(2)
        self.services, self.settings = folder / "services", folder / "ENV"
        self.record, self.state = folder / "state/boks.json", folder / "state"
        self.services.write_bytes(SERVICES % self.old)
        self.settings.write_bytes(SETTINGS)
        self.settings.chmod(0o640)
        (folder / "daemon.py").write_text(DAEMON)
        self.boot = folder / "boot"
        self.boot.write_text(BOOT.format(folder=folder, python=sys.executable))
        self.boot.chmod(0o755)
        self.before = self.files()
        self.prefix = WITHOUT_SYSTEMD if os.path.isdir("/run/systemd/system") else []
        subprocess.run([str(self.boot), "start"], check=True, stdout=subprocess.DEVNULL)

    @property
    def place(self):
        return Place(str(self.state), "boks")

    def files(self):
        return self.services.read_bytes(), self.settings.read_bytes()

    def on(self, action, script):
        (self.folder / ("on-" + action)).write_text(script)

    def off(self, action):
        (self.folder / ("on-" + action)).unlink()

    def calls(self):
        return (self.folder / "calls").read_text().split()

    def pid(self):
        return int((self.folder / "pid").read_text())

    def answers(self, port):
        try:
            with socket.create_connection(("127.0.0.1", port), 3) as asked:
                return asked.recv(10) == b"%d" % port
        except OSError:
            return False

    def started(self, state="begun", environment=None, **arguments):
        arguments = dict(dict(
            name="boks", state=state, state_dir=str(self.state), record=str(self.record), timeout=60, command_seconds=10,
            stop=[[str(self.boot), "stop"]], start=[[str(self.boot), "start"]], _ansible_remote_tmp=str(self.folder)),
            **arguments)
        if state == "begun":
            arguments = dict(dict(old_port=self.old, new_port=self.new, services_entries=[
                dict(path=str(self.services), name="boks", port=self.new)]), **arguments)
        return direct_module.begin("confirmed_change", arguments, self.prefix, session=True,
                                   env=dict(os.environ, **(environment or {})))

    @staticmethod
    def end(process):
        return direct_module.result(*process.communicate(timeout=90))

    def run(self, *arguments, **options):
        return self.end(self.started(*arguments, **options))

    def begin(self, **options):
        begun = self.run(**options)
        assert begun.get("state") == "waiting", begun
        return begun

    def looks(self):
        return self.run("present")["state"]

    def processes(self):
        """Those that carry the change out: the one that minds it first."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as source:
                    if self.place.path("run.zip").encode() in source.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:
                pass
        return sorted(found)

    def has_come_back(self):
        assert self.looks() == "reverted"
        assert self.files() == self.before and self.settings.stat().st_mode & 0o7777 == 0o640
        assert self.answers(self.old) and not self.answers(self.new)
        assert not self.record.exists() or json.loads(self.record.read_bytes())["state"] == "rolled_back"
        self.left_nothing()

    def proof(self, script="exit 0", **more):
        """What BoKS' own command says is the proof of this host."""
        (self.folder / "status").write_text("#!/bin/sh\ncd '%s'\n%s\n" % (self.folder, script))
        (self.folder / "status").chmod(0o755)
        return dict(dict(role="agent", services_path=str(self.services), env_path=str(self.settings), listening=False,
                         status_command=[str(self.folder / "status")], timeout=20, settle=0.2), **more)

    def is_moved(self, record="changing"):
        assert self.looks() == "confirmed"
        assert self.files() == (SERVICES % self.new, SETTINGS)
        assert self.answers(self.new) and not self.answers(self.old)
        assert json.loads(self.record.read_bytes())["state"] == record
        self.left_nothing()

    def left_nothing(self):
        until(lambda: not self.processes())
        assert set(os.listdir(self.place.folder)) <= {"change.json", "state.json"} | {
            name for name in os.listdir(self.place.folder) if name.startswith("changed-by-others-")}

    def close(self):
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        if (self.folder / "pid").exists():
            try:
                os.kill(self.pid(), signal.SIGKILL)
            except ProcessLookupError:
                pass


@pytest.fixture
def host(tmp_path):
    if os.path.isdir("/run/systemd/system") and os.geteuid():
        pytest.skip("hiding systemd from the module needs root")
    made = Host(tmp_path)
    yield made
    made.close()


# --- confirmed -----------------------------------------------------------------------------------------------------


def test_confirmed_change_stays_and_a_second_run_stops_nothing(host):
    begun = host.begin(phase="2")
    assert begun["changed"] and begun["token"] and begun["files"] == [str(host.services)] and begun["seconds"] > 0
    assert 0 < begun["seconds_left"] <= 60 and begun["survives_reboot"] is False and "systemd" in str(begun["warnings"])
    assert host.answers(host.new) and host.looks() == "waiting"
    done = host.run("confirmed", token=begun["token"])
    assert (done["changed"], done["state"]) == (True, "confirmed")
    host.is_moved()
    again = host.run("confirmed", token=begun["token"])
    assert (again["changed"], again["state"]) == (False, "confirmed")
    calls, pid = host.calls(), host.pid()
    second = host.run()
    assert (second["changed"], second["state"], second["token"], second["files"]) == (False, "none", None, [])
    assert (host.calls(), host.pid()) == (calls, pid) and host.answers(host.new)


def test_the_daemon_outlives_the_process_that_started_it_and_may_still_print(host):
    begun = host.begin()
    assert host.run("confirmed", token=begun["token"])["changed"]
    host.left_nothing()
    for _again in range(5):
        assert host.answers(host.new)


def test_checks_are_tried_until_all_succeed(host):
    host.on("check", "echo x >> tries; [ $(wc -l < tries) -ge 3 ] || exit 1\n")
    begun = host.begin(checks=[[str(host.boot), "check"]])
    assert host.calls().count("check") == 3
    assert host.run("confirmed", token=begun["token"])["changed"]


def test_whole_files_are_changed_too_and_keep_their_mode(host):
    begun = host.begin(services_entries=[], files=[dict(path=str(host.settings), content="BRIDGE_DOMAIN=3\n")])
    assert host.run("confirmed", token=begun["token"])["files"] == [str(host.settings)]
    assert host.settings.read_bytes() == b"BRIDGE_DOMAIN=3\n" and host.settings.stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("check_mode", [False, True])
def test_one_task_begins_the_change_and_confirms_it(host, check_mode):
    arguments = dict(
        name="boks", confirm=True, timeout=60, state_dir=str(host.state), record=str(host.record), old_port=host.old,
        new_port=host.new, stop=[[str(host.boot), "stop"]], start=[[str(host.boot), "start"]],
        services_entries=[dict(path=str(host.services), name="boks", port=host.new)], boks_proof=host.proof())
    done = subprocess.run(
        host.prefix + [os.path.join(os.path.dirname(sys.executable), "ansible"), "localhost", "-i", "localhost,", "-c", "local",
                       "-e", "ansible_python_interpreter=" + managed_python(), "-m", "portshift.agents.confirmed_change",
                       "-a", json.dumps(arguments)] + (["--check"] if check_mode else []),
        env=dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_CALLBACK_RESULT_FORMAT="json"), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout[done.stdout.index("{"):])
    assert (result["changed"], result["files"]) == (True, [str(host.services)])
    assert (result["ok"], result["port"], result.get("predicted")) == (True, host.new, True if check_mode else None)
    if check_mode:
        assert result["state"] == "none" and host.files() == host.before and not host.state.exists()
        return
    assert result["state"] == "confirmed" and result["seconds"] > 0 and result["reason"] == "it was confirmed"
    assert (result["old_port"], result["missing"]) == (host.old, {}) and "0 lines, none of them down" in result["proved"][-1]
    host.is_moved("verified")
    # With nothing to change, the module asks by itself.
    again = host.run(boks_proof=host.proof())
    assert (again["changed"], again["state"], again["ok"], again["old_port"]) == (False, "none", True, host.old), again
    unproved = host.run(boks_proof=host.proof("exit 1", timeout=0))
    assert unproved["failed"] and "had proved itself on this port before" in unproved["msg"] and unproved["ok"] is False
    host.is_moved("verified")


# --- not confirmed -------------------------------------------------------------------------------------------------


def test_unconfirmed_change_undoes_itself_and_a_late_confirmation_is_told_why(host):
    begun = host.begin(timeout=10)
    assert host.answers(host.new)
    until(lambda: host.place.state()["state"] == "reverted")
    host.has_come_back()
    late = host.run("confirmed", token=begun["token"])
    assert late["failed"] and late["state"] == "reverted"
    assert "too late" in late["msg"] and "not confirmed within 10 s" in late["msg"]
    host.has_come_back()


def test_exactly_one_of_confirmation_and_undoing_wins_at_the_last_moment(tmp_path):
    hosts = []
    try:
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            hosts.append(Host(folder))
        begun = [host.begin(timeout=20) for host in hosts]
        # What the module needs to come to its point, about: so they arrive before, at and after the end.
        asked = []
        for number, host in enumerate(hosts):
            end = host.place.state()["until"]
            until(lambda end=end, number=number: time.clock_gettime(7) > end - 0.9 + 0.35 * number, 60)
            asked.append(host.started("confirmed", token=begun[number]["token"]))
        for host, process in zip(hosts, asked):
            answer = host.end(process)
            if answer.get("failed"):
                assert "too late" in answer["msg"], answer
                host.has_come_back()
            else:
                host.is_moved()
    finally:
        for host in hosts:
            host.close()


def test_host_without_its_proof_comes_back_without_the_run_that_began_the_change(host):
    process = host.started(boks_proof=host.proof("touch asked; echo clntd Down", timeout=3))
    until((host.folder / "asked").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    until(lambda: host.place.state()["state"] == "reverted")
    host.has_come_back()
    told = host.run("present")
    assert told["reason"].startswith("no proof on base port %d" % host.new) and "clntd Down" in told["missing"]["status"]
    assert told["ok"] is False and told["port"] == host.new


def test_process_that_is_killed_amid_the_proof_is_begun_again_and_undoes_the_change(host):
    process = host.started(timeout=3600, boks_proof=host.proof("touch asked; exit 1", timeout=3000))
    until((host.folder / "asked").exists)
    os.kill(host.processes()[-1], signal.SIGKILL)
    done = host.end(process)
    assert done["failed"] and "ended amid it" in done["msg"] and (done["ok"], done["missing"]) == (False, {})
    host.has_come_back()


def test_start_that_fails_is_undone_at_once(host):
    host.on("start", "grep -q %d services && exit 3\n" % host.new)
    done = host.run(timeout=3600)
    assert done["failed"] and "start ended with exit status 3" in done["msg"] and "byte for byte" in done["msg"]
    assert done["restored"] == [str(host.services)]
    host.has_come_back()


def test_start_that_hangs_is_ended_with_its_own_process_group_alone(host):
    host.on("start", "if grep -q %d services; then echo $$ >hangs; exec sleep 1000; fi\n" % host.new)
    # Not less: an init that takes its time to collect the dead lets a stop take seconds.
    done = host.run(timeout=3600, command_seconds=10)
    assert done["failed"] and "boot start had not ended after 10 s" in done["msg"]
    host.has_come_back()
    until(lambda: not os.path.exists("/proc/%s" % (host.folder / "hangs").read_text().strip()))


def test_check_that_never_succeeds_is_told_in_its_own_words(host):
    host.on("check", "echo no daemon here >&2; exit 5\n")
    done = host.run(timeout=3600, checks=[[str(host.boot), "check"]], check_seconds=1)
    assert done["failed"] and "exit status 5 (no daemon here)" in done["msg"]
    host.has_come_back()


def test_start_that_says_it_did_and_brings_nothing_up_on_the_way_back_is_tried_again(host):
    host.on("start", "grep -q %d services || [ -e lied ] || { touch lied; exit 0; }\n" % host.new)
    done = host.run(timeout=3600, checks=[["false"]], check_seconds=0, services=["boks"],
                    executables=dict(boks=[str(host.folder / "daemon.py")]))
    assert done["failed"] and "no new process of the service boks runs after 10 s" in done["msg"], done
    assert (host.folder / "lied").exists()
    host.has_come_back()


def test_file_that_cannot_be_edited_after_the_stop_is_undone(host):
    # While the product stops its file becomes one that is refused.
    host.on("stop", "grep -q alias services || printf 'other 9/tcp boks # alias\\n' | cat - services > s && mv s services\n")
    done = host.run(timeout=3600)
    assert done["failed"] and "alias" in done["msg"]
    assert host.answers(host.old) and host.looks() == "reverted"


def test_stop_of_what_does_not_run_is_a_note(host):
    subprocess.run([str(host.boot), "stop"], check=True)
    begun = host.begin()
    assert ["stop ended with exit status 7" in note for note in begun["notes"]] == [True]
    assert host.run("reverted")["state"] == "reverted"


# --- interruptions -------------------------------------------------------------------------------------------------


def test_connection_that_ends_amid_the_change_leaves_a_host_that_comes_back(host):
    host.on("stop", "touch stopping; while [ ! -e go ]; do sleep 0.05; done\n")
    process = host.started(timeout=20)
    until((host.folder / "stopping").exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (host.folder / "go").touch()
    until(lambda: host.place.state()["state"] == "waiting")
    assert host.answers(host.new)
    until(lambda: host.place.state()["state"] == "reverted")
    host.has_come_back()


def test_process_killed_amid_the_change_is_begun_again_and_undoes_it(host):
    host.on("start", "if grep -q %d services; then touch starting; while [ ! -e go ]; do sleep 0.05; done; fi\n" % host.new)
    process = host.started(timeout=3600)
    until((host.folder / "starting").exists)
    os.kill(host.processes()[-1], signal.SIGKILL)
    (host.folder / "go").touch()
    done = host.end(process)
    assert done["failed"] and "ended amid it" in done["msg"]
    host.has_come_back()


def test_process_killed_while_it_waits_goes_on_waiting(host):
    begun = host.begin(timeout=60)
    end = host.place.state()["until"]
    killed = host.processes()[-1]
    os.kill(killed, signal.SIGKILL)
    until(lambda: host.place.is_carried_out() and killed not in host.processes())
    assert host.place.state()["until"] == end and host.looks() == "waiting"
    assert host.run("confirmed", token=begun["token"])["changed"]
    host.is_moved()


def test_when_all_processes_are_killed_the_next_call_says_so_and_can_take_the_change_back(host):
    begun = host.begin(timeout=60)
    for pid in host.processes():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not host.processes())
    refused = host.run()
    assert refused["failed"] and "has ended" in refused["msg"] and "state: reverted" in refused["msg"]
    done = host.run("reverted")
    assert (done["changed"], done["state"], done["restored"]) == (True, "reverted", [str(host.services)])
    host.has_come_back()
    assert "too late" in host.run("confirmed", token=begun["token"])["msg"]


def test_when_all_processes_are_killed_a_confirmation_in_time_still_counts(host):
    begun = host.begin(timeout=60)
    for pid in host.processes():
        os.kill(pid, signal.SIGKILL)
    assert host.run("confirmed", token=begun["token"])["changed"]
    host.is_moved()


def test_process_that_is_told_to_end_undoes_the_change_first(host):
    host.begin(timeout=3600)
    os.kill(host.processes()[0], signal.SIGTERM)
    until(lambda: host.place.state()["state"] == "reverted")
    host.has_come_back()
    assert "told to end" in host.place.state()["reason"]


def test_disk_that_fills_up_while_the_change_waits_does_not_hinder_the_way_back(tmp_path):
    if os.geteuid():
        pytest.skip("a disk of its own needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)], check=True)
    host = None
    try:
        host = Host(disk)
        host.begin(timeout=5)
        with (disk / "full").open("wb", buffering=0) as full:
            with pytest.raises(OSError):
                while True:
                    full.write(b"x" * 65536)
        with pytest.raises(OSError):
            (disk / "more").write_bytes(b"x" * 65536)
        until(lambda: host.place.state()["state"] == "reverted")
        (disk / "full").unlink()
        host.has_come_back()
    finally:
        if host:
            host.close()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


# --- one at a time -------------------------------------------------------------------------------------------------


def test_second_change_while_one_waits_is_refused_with_what_to_do(host):
    begun = host.begin(timeout=60)
    for check in (False, True):
        refused = host.run(_ansible_check_mode=check)
        assert refused["failed"] and re.search(r"still waits.*state: confirmed.*state: reverted.*wait \d+ more", refused["msg"])
        assert refused["state"] == "waiting"
    assert host.run("confirmed", token=begun["token"])["changed"]


def test_token_of_another_change_confirms_nothing(host):
    begun = host.begin(timeout=60)
    refused = host.run("confirmed", token="0" * 32)
    assert refused["failed"] and "another change" in refused["msg"] and host.looks() == "waiting"
    assert "needs the token" in host.run("confirmed")["msg"]
    assert host.run("confirmed", token=begun["token"])["changed"]


def test_confirmation_by_the_login_that_began_the_change_is_refused(host):
    first, second = ({"SSH_CONNECTION": "192.0.2.1 %d 192.0.2.2 22" % port} for port in (50001, 50002))
    begun = host.begin(timeout=60, environment=first)
    refused = host.run("confirmed", token=begun["token"], environment=first)
    assert refused["failed"] and "very login" in refused["msg"] and host.looks() == "waiting"
    assert host.run("confirmed", token=begun["token"], environment=second)["changed"]


def test_nothing_waits_for_a_confirmation(host):
    refused = host.run("confirmed", token="0" * 32)
    assert refused["failed"] and "nothing to confirm" in refused["msg"] and refused["state"] == "none"
    assert host.run("present") == dict(host.run("present"), changed=False, state="none", seconds_left=None)
    assert not host.state.exists()


# --- back ----------------------------------------------------------------------------------------------------------


def test_waiting_change_is_taken_back_on_request(host):
    host.begin(timeout=3600)
    foreseen = host.run("reverted", _ansible_check_mode=True, _ansible_diff=True)
    assert foreseen["changed"] and foreseen["restored"] == [str(host.services)] and host.looks() == "waiting"
    [diff] = foreseen["diff"]
    assert (str(host.new) in diff["before"], str(host.old) in diff["after"]) == (True, True)
    done = host.run("reverted")
    assert (done["changed"], done["state"], done["restored"]) == (True, "reverted", [str(host.services)])
    host.has_come_back()
    assert host.run("reverted")["changed"] is False


def test_confirmed_change_is_taken_back_by_its_record(host):
    begun = host.begin()
    host.run("confirmed", token=begun["token"])
    assert host.run("reverted", new_port=host.new + 1)["changed"] is False
    foreseen = host.run("reverted", _ansible_check_mode=True)
    assert (foreseen["changed"], foreseen["restored"]) == (True, [str(host.services)])
    host.is_moved()
    # What the call does not say is as it was when the change began.
    done = host.run("reverted", new_port=host.new, stop=[], start=[])
    assert (done["changed"], done["state"], done["restored"]) == (True, "reverted", [str(host.services)])
    host.has_come_back()
    assert host.run("reverted")["changed"] is False


def test_confirmed_change_of_a_file_that_others_changed_is_taken_back_by_force_alone(host):
    begun = host.begin()
    host.run("confirmed", token=begun["token"])
    host.services.write_bytes(host.services.read_bytes() + b"\nmore 7/tcp\n")
    calls = host.calls()
    refused = host.run("reverted")
    assert refused["failed"] and "no longer safe" in refused["msg"] and host.calls() == calls
    assert host.run("reverted", force=True)["state"] == "reverted"
    host.has_come_back()


def test_what_others_write_while_the_change_waits_is_kept(host):
    host.begin(timeout=60, files=[dict(path=str(host.settings), content="BRIDGE_DOMAIN=3\n")])
    host.services.write_bytes(host.services.read_bytes() + b"\nmore 7/tcp\n")
    host.settings.write_bytes(b"OTHER=1\n")
    done = host.run("reverted")
    assert done["state"] == "reverted"
    # Of a services database only the ports go back, any other file goes back as a whole.
    assert host.services.read_bytes() == SERVICES % host.old + b"\nmore 7/tcp\n" and host.settings.read_bytes() == SETTINGS
    kept = sorted(name for name in os.listdir(host.place.folder) if name.startswith("changed-by-others-"))
    assert {(host.state / "boks.confirm" / name).read_bytes() for name in kept} == {
        b"OTHER=1\n", SERVICES % host.new + b"\nmore 7/tcp\n"}
    assert all(any(name in note for note in done["notes"]) for name in kept) and host.answers(host.old)


def test_file_that_is_gone_is_there_again(host):
    host.begin(timeout=60, files=[dict(path=str(host.settings), content="BRIDGE_DOMAIN=3\n")])
    host.settings.unlink()
    assert host.run("reverted")["state"] == "reverted"
    host.has_come_back()


def test_undoing_a_second_change_leaves_the_first_one_and_its_record(host):
    begun = host.begin()
    host.run("confirmed", token=begun["token"])
    record = host.record.read_bytes()
    host.begin(timeout=60, files=[dict(path=str(host.settings), content="BRIDGE_DOMAIN=3\n")])
    assert host.run("reverted")["restored"] == [str(host.settings)]
    assert host.record.read_bytes() == record and host.files() == (SERVICES % host.new, SETTINGS) and host.answers(host.new)


def test_undone_move_to_a_further_port_leaves_the_first_one_to_be_taken_back(host):
    begun = host.begin()
    host.run("confirmed", token=begun["token"])
    record = json.loads(host.record.read_bytes())
    host.record.write_text(json.dumps(dict(record, state="verified")))
    first, [further] = host.record.read_bytes(), free_ports(1)
    host.begin(timeout=60, old_port=host.new, new_port=further, services_entries=[
        dict(path=str(host.services), name="boks", port=further)])
    assert host.answers(further) and json.loads(host.record.read_bytes())["new_port"] == further
    assert host.run("reverted")["state"] == "reverted"
    assert host.record.read_bytes() == first and host.files() == (SERVICES % host.new, SETTINGS) and host.answers(host.new)
    assert host.run("reverted", new_port=host.new)["restored"] == [str(host.services)]
    host.has_come_back()


# --- the plan ------------------------------------------------------------------------------------------------------


def test_check_mode_tells_the_change_and_touches_nothing(host):
    foreseen = host.run(_ansible_check_mode=True, _ansible_diff=True)
    assert (foreseen["changed"], foreseen["state"], foreseen["token"]) == (True, "none", None)
    assert foreseen["files"] == [str(host.services)]
    [diff] = foreseen["diff"]
    assert (diff["before"].encode("latin-1"), diff["after"].encode("latin-1")) == (SERVICES % host.old, SERVICES % host.new)
    assert host.run("confirmed", _ansible_check_mode=True)["changed"] is False
    assert host.calls() == ["start"] and host.files() == host.before and not host.state.exists()
    real = host.run(timeout=60, _ansible_diff=True)
    assert (real["diff"], real["files"]) == (foreseen["diff"], foreseen["files"])
    confirming = host.run("confirmed", token=real["token"], _ansible_check_mode=True, _ansible_diff=True)
    assert confirming["changed"] and confirming["diff"][0]["after"] == "confirmed\n" and host.looks() == "waiting"
    assert host.run("reverted")["changed"]


@pytest.mark.parametrize("arguments, sentence", [
    (dict(start=[["/nowhere/boksadm"]]), "'/nowhere/boksadm', which is not on this host"),
    (dict(files=[dict(path="/nowhere/ENV", content="")]), "/nowhere/ENV: does not exist"),
    (dict(name="../x"), "name is '../x'"),
    (dict(timeout=4), "timeout is 4; give 5 to 3600"),
    (dict(boks_proof=dict()), "start, proof and the login that confirms have 60 s together; the proof may take 60 s"),
    (dict(boks_proof=dict(failure_patterns=["("], timeout=1)), "nothing was changed: "),
    (dict(boks_proof=dict(), change_tracker_proof=dict()), "mutually exclusive"),
    (dict(new_port=None), "new_port"),
])
def test_what_cannot_be_is_refused_before_anything_is_stopped(host, arguments, sentence):
    refused = host.run(**arguments)
    assert refused["failed"] and sentence in refused["msg"]
    assert host.calls() == ["start"] and host.files() == host.before


def test_one_file_is_not_edited_in_two_ways(host):
    refused = host.run(files=[dict(path=str(host.services), content="")])
    assert refused["failed"] and "named a second time" in refused["msg"] and host.calls() == ["start"]


def test_read_only_file_is_found_before_the_product_is_stopped(host):
    if os.geteuid() or not shutil.which("chattr"):
        pytest.skip("a file that root can't write needs chattr")
    if subprocess.run(["chattr", "+i", str(host.folder)], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this file system has no immutable folders")
    try:
        refused = host.run(state_dir=str(host.folder.parent))
    finally:
        subprocess.run(["chattr", "-i", str(host.folder)], check=True)
    assert refused["failed"] and host.answers(host.old)
