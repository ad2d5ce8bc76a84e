# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bigfix_cutover when things go wrong half way: services that fail, agents that write, connections that are lost."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._network.host_lease import HostLease
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import processes_of, start_time, this_boot
from ansible_collections.portshift.agents.tests.unit.masthead_files import plain
from tests.integration import direct_module
from tests.integration.migration_lab import CHECKOUT
from tests.integration.waiting import until

OLD, NEW = 52311, 55000
CONFIG = """[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\__RelayServer1]
value                          = http://relay1.example.test:52311/bfmirror/downloads/
effective date                 = Thu,%2001%20Jan%202015%2000:00:00%20+0000
"""
WRITTEN_BY_THE_AGENT = """
[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\_Own]
value                          = 1
effective date                 = Thu,%2001%20Jan%202015%2000:00:00%20+0000
"""

# service(8) of the test: one service, whose state is a file.  Hooks run before an action takes effect.
SERVICE = """#!/bin/sh
cd '{folder}'
echo "$1 $2" >> calls
case $2 in
    status) [ -e running ] || exit 3 ;;
    stop) [ ! -e on-stop ] || . ./on-stop; rm -f running ;;
    start) [ ! -e on-start ] || . ./on-start; touch running ;;
esac
"""


class Host:
    def __init__(self, folder):
        self.folder = folder
        self.masthead, self.config, self.record = folder / "actionsite.afxm", folder / "besclient.config", folder / "state/b.json"
        self.masthead.write_bytes(plain(port=OLD))
        self.config.write_text(CONFIG)
        self.command = folder / "service"
        self.command.write_text(SERVICE.format(folder=folder))
        self.command.chmod(0o755)
        (folder / "running").touch()
        self.before = self.files()

    def files(self):
        return self.masthead.read_bytes(), self.config.read_bytes()

    def hook(self, action, script):
        (self.folder / ("on-" + action)).write_text(script)

    def unhook(self, action):
        (self.folder / ("on-" + action)).unlink()

    def begin(self, port=NEW, prefix=(), **arguments):
        arguments = dict(dict(
            component="client", port=port, masthead_paths=[str(self.masthead)], settings_paths=[str(self.config)],
            services=["besclient"], service_command=[str(self.command)], record=str(self.record),
            _ansible_remote_tmp=str(self.folder)), **arguments)
        return self.begin_module("bigfix_cutover", arguments, prefix)

    def begin_module(self, name, arguments, prefix=()):
        return direct_module.begin(name, arguments, prefix)

    def begin_record(self, **arguments):
        return self.begin_module("change_record", dict(arguments, path=str(self.record), _ansible_remote_tmp=str(self.folder)))

    @staticmethod
    def end(process):
        return direct_module.result(*process.communicate(timeout=60))

    def run(self, *arguments, **options):
        return self.end(self.begin(*arguments, **options))

    def until(self, what, process):
        """Waits for what a process is about to do; what() tells."""
        end = time.monotonic() + 30
        while not what():
            assert time.monotonic() < end and process.poll() is None, process.communicate()
            time.sleep(0.01)

    def begin_and_stay(self, action="stop"):
        """A cutover that is under way until the file go appears."""
        self.hook(action, "touch here\nuntil [ -e go ]; do sleep 0.05; done\n")
        process = self.begin()
        self.until((self.folder / "here").exists, process)
        return process

    def go(self):
        (self.folder / "go").touch()

    def until_waiting(self, process):
        """Until the process has opened the lock file, which another one holds."""
        self.until(lambda: self.lock in self.open_files(process.pid), process)

    @property
    def lock(self):
        return str(self.record) + ".lock"

    @staticmethod
    def open_files(pid):
        names = []
        for name in os.listdir("/proc/%d/fd" % pid):
            try:
                names.append(os.readlink("/proc/%d/fd/%s" % (pid, name)))
            except OSError:
                # Closed in between.
                pass
        return names

    def calls(self):
        path = self.folder / "calls"
        return [line for line in path.read_text().splitlines() if "status" not in line] if path.exists() else []

    def state(self):
        return json.loads(self.record.read_text())["state"]

    def runs(self):
        return (self.folder / "running").exists()

    def on_new_port(self):
        return b"_PortNumber=55000" in self.masthead.read_bytes() and b":55000/" in self.config.read_bytes()


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_a_move_with_a_bridge_waits_for_the_hosts_lease_before_it_stops_anything(host):
    path = str(host.folder / "host.lock")
    bridge = dict(name="bigfix", persistent=False, lease=path, lease_wait=0)
    with HostLease(path, 0, "boks: host_port, state open"):
        refused = host.run(bridge=bridge)
        assert not host.run(_ansible_check_mode=True, bridge=bridge).get("failed")
    assert refused["failed"] and "boks: host_port, state open" in refused["msg"] and "nothing was changed" in refused["msg"]
    assert host.files() == host.before and host.runs() and host.calls() == [] and not host.record.exists()
    assert not os.path.exists(path)


def test_there_and_back(host):
    foretold = host.run(_ansible_check_mode=True)
    assert foretold["changed"] and host.files() == host.before
    moved = host.run()
    assert (moved["files"], moved["started"], moved["old_port"]) == (foretold["files"], ["besclient"], OLD)
    assert host.on_new_port() and host.runs() and host.state() == "changing"
    assert not host.run()["changed"]
    assert host.run(state="restored")["changed"]
    assert host.files() == host.before and host.runs() and host.state() == "rolled_back"
    assert not host.run(state="restored")["changed"]


def test_services_that_an_interrupted_run_left_down_are_started(host):
    host.run()
    (host.folder / "running").unlink()
    assert host.run()["started"] == ["besclient"] and host.runs()


def test_what_the_agent_writes_while_it_stops_is_kept(host):
    host.hook("stop", "cat >> besclient.config <<'TEXT'\n%sTEXT\n" % WRITTEN_BY_THE_AGENT)
    assert host.run()["changed"]
    assert host.on_new_port() and b"\\_Own]" in host.config.read_bytes()


def test_service_that_does_not_start_puts_the_host_back(host):
    host.hook("start", "grep -q _PortNumber=55000 actionsite.afxm && { echo cannot bind 55000 >&2; exit 1; }\n")
    failed = host.run()
    assert failed["failed"] and "cannot bind 55000" in failed["msg"] and "Its files are as they were before" in failed["msg"]
    assert host.files() == host.before and host.runs() and host.state() == "rolled_back"


def test_script_that_fails_to_stop_what_is_not_running_is_no_hindrance(host):
    host.hook("stop", "[ -e running ] || exit 7\n")
    host.hook("start", "grep -q _PortNumber=55000 actionsite.afxm && exit 1\n")
    assert "Its files are as they were before" in host.run()["msg"]
    assert host.files() == host.before and host.runs()


def test_failure_of_a_later_move_does_not_undo_an_earlier_one(host):
    host.run()
    content = json.loads(host.record.read_text())
    host.record.write_text(json.dumps(dict(content, state="verified")))
    moved = host.files()
    host.hook("stop", "echo will not stop >&2; exit 1\n")
    failed = host.run(56000)
    assert failed["failed"] and "will not stop" in failed["msg"]
    assert host.files() == moved and host.runs()


def test_unproved_move_is_taken_back_around_what_the_agent_wrote_since(host):
    host.run()
    host.config.write_bytes(host.config.read_bytes() + WRITTEN_BY_THE_AGENT.encode())
    back = host.run(state="restored")
    assert back["changed"], back
    assert host.masthead.read_bytes() == host.before[0]
    assert host.config.read_bytes() == host.before[1] + WRITTEN_BY_THE_AGENT.encode()


def test_proved_move_is_not_taken_back_over_the_change_of_another(host):
    host.run()
    host.record.write_text(json.dumps(dict(json.loads(host.record.read_text()), state="verified")))
    host.config.write_bytes(host.config.read_bytes() + WRITTEN_BY_THE_AGENT.encode())
    now = host.files()
    refused = host.run(state="restored")
    assert refused["failed"] and "going back is no longer safe" in refused["msg"]
    assert host.files() == now and host.runs()
    assert host.run(state="restored", force=True)["changed"] and host.files() == host.before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_cutover_outlives_the_connection_that_began_it(host, number):
    host.hook("stop", "touch stopping; sleep 1\n")
    process = host.begin()
    end = time.monotonic() + 30
    while not (host.folder / "stopping").exists():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert json.loads(out.strip().splitlines()[-1])["changed"], err
    assert host.on_new_port() and host.runs()


# --- services that do not do as told ---------------------------------------------------------------------------------


# A service whose agent is a process, that of a script.  A hook may take the place of what it precedes.
AGENT_SERVICE = """#!/bin/sh
cd '{folder}'
echo "$1 $2" >> calls
[ ! -e on-$2 ] || . ./on-$2
case $2 in
    status) [ -e pid ] && kill -0 "$(cat pid)" 2>/dev/null || exit 3 ;;
    stop) [ ! -e pid ] || kill "$(cat pid)"; rm -f pid ;;
    start) setsid ./agent </dev/null >/dev/null 2>&1 & echo $! > pid ;;
esac
"""
AGENT = """#!/bin/sh
read stay < fifo
"""


class AgentHost(Host):
    def __init__(self, folder):
        super().__init__(folder)
        self.command.write_text(AGENT_SERVICE.format(folder=folder))
        self.agent, self.pid_file = folder / "agent", folder / "pid"
        self.agent.write_text(AGENT)
        self.agent.chmod(0o755)
        os.mkfifo(str(folder / "fifo"))
        self.serve("start")
        # The service returns when it has forked; what it forked is the agent a moment later.
        until(self.pids)

    def serve(self, action):
        return subprocess.run([str(self.command), "besclient", action], check=False, timeout=60).returncode

    def begin(self, *arguments, **options):
        return super().begin(*arguments, **dict(dict(executables={"besclient": [str(self.agent)]}, service_timeout=2), **options))

    def pids(self):
        return [pid for pid, unused in processes_of(None, [str(self.agent)])]

    def runs(self):
        return self.pids() == [int(self.pid_file.read_text())] if self.pid_file.exists() else bool(self.pids())

    def lock_is_free(self):
        return not os.path.lexists(self.lock)

    def end_agents(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def agent(tmp_path):
    host = AgentHost(tmp_path)
    yield host
    host.end_agents()


def test_record_ahead_of_the_stop_holds_the_processes_that_ran(agent):
    [old] = agent.pids()
    ticks = start_time(old)
    agent.hook("stop", "cp state/b.json ahead\n")
    assert agent.run()["started"] == ["besclient"]
    ahead = json.loads((agent.folder / "ahead").read_text())
    assert (ahead["state"], ahead["files"], ahead["new_port"]) == ("changing", [], NEW)
    assert ahead["stopped"] == dict(boot_id=this_boot(), processes=dict(besclient=[[old, ticks]]))
    assert json.loads(agent.record.read_text())["stopped"] == ahead["stopped"]
    assert agent.on_new_port() and agent.runs() and agent.pids() != [old]


def test_stop_that_stops_nothing_changes_nothing(agent):
    agent.hook("stop", "exit 0\n")
    before = agent.pids()
    failed = agent.run()
    assert failed["failed"] and "was told to stop, and 2 s later process %d (" % before[0] in failed["msg"], failed
    assert agent.files() == agent.before and agent.pids() == before and agent.state() == "rolled_back" and agent.lock_is_free()
    agent.unhook("stop")
    assert agent.run()["changed"] and agent.on_new_port() and agent.pids() != before


def test_stop_that_stops_nothing_is_seen_by_the_status_too(host):
    host.command.write_text(host.command.read_text().replace("; rm -f running", ""))
    failed = host.run(service_timeout=1)
    assert failed["failed"] and "1 s later its status says that it still runs" in failed["msg"], failed
    assert host.files() == host.before and host.runs()


def test_start_that_starts_nothing_puts_the_host_back(agent):
    agent.hook("start", "grep -q _PortNumber=55000 actionsite.afxm && exit 0\n")
    failed = agent.run()
    assert failed["failed"] and "it does not run. Its files are as they were before" in failed["msg"], failed
    assert agent.files() == agent.before and agent.runs() and agent.state() == "rolled_back"


def test_status_without_a_process_is_not_believed(agent):
    agent.end_agents()
    agent.hook("status", "exit 0\n")
    agent.hook("start", "exit 0\n")
    failed = agent.run()
    assert failed["failed"] and "says that it runs" in failed["msg"] and "name what it runs with executables" in failed["msg"]
    agent.unhook("start")
    agent.unhook("status")
    assert agent.run()["started"] == ["besclient"] and agent.runs()


@pytest.mark.parametrize("action", ["stop", "start"])
def test_service_command_that_hangs_is_ended_and_the_host_put_back(agent, action):
    agent.hook(action, "grep -q _PortNumber=%d actionsite.afxm && sleep 1000\n" % (OLD if action == "stop" else NEW))
    failed = agent.run()
    assert failed["failed"] and "service besclient could not %s: %s besclient %s had not ended after 2 s, and was ended" % (
        action, agent.command, action) in failed["msg"], failed
    assert "Its files are as they were before" in failed["msg"]
    assert agent.files() == agent.before and agent.runs() and agent.state() == "rolled_back" and agent.lock_is_free()


def test_service_that_was_stopped_comes_up_again_when_another_one_stays(agent):
    """Stopped last first: the second goes, the first stays."""
    agent.hook("stop", "[ $1 = besclient ] && exit 0\nrm -f other\nexit 0\n")
    agent.hook("start", "[ $1 = besclient ] || { touch other; exit 0; }\n")
    agent.hook("status", "[ $1 = besclient ] || { [ -e other ] || exit 3; exit 0; }\n")
    (agent.folder / "other").touch()
    assert "besclient was told to stop" in agent.run(services=["besclient", "besother"])["msg"]
    assert (agent.folder / "other").exists() and agent.files() == agent.before
    assert agent.calls() == ["besclient start", "besother stop", "besclient stop", "besother start"]


def test_failure_of_a_later_move_leaves_the_record_of_the_earlier_one_in_force(host):
    host.run()
    host.record.write_text(json.dumps(dict(json.loads(host.record.read_text()), state="verified")))
    before = json.loads(host.record.read_text())
    host.hook("stop", "cp state/b.json ahead; exit 1\n")
    assert host.run(56000)["failed"]
    ahead = json.loads((host.folder / "ahead").read_text())
    assert (ahead["new_port"], ahead["files"], ahead["earlier"]) == (56000, [], before)
    assert json.loads(host.record.read_text()) == before
    # Killed there, it gives way to the earlier one as well.
    host.unhook("stop")
    host.record.write_text(json.dumps(ahead))
    (host.folder / "running").unlink()
    assert host.run(56000, state="restored", _ansible_check_mode=True)["started"] == ["besclient"] and not host.runs()
    back = host.run(56000, state="restored")
    assert (back["changed"], back["started"], host.runs()) == (True, ["besclient"], True)
    assert json.loads(host.record.read_text()) == before and host.on_new_port()
    host.record.write_text(json.dumps(ahead))
    assert host.run(state="restored")["changed"] and host.files() == host.before and host.state() == "rolled_back"


@pytest.mark.parametrize("record", ["none", "rolled_back", "another port", "of an earlier version"])
def test_restoring_starts_what_is_down(host, record):
    if record != "none":
        host.run()
        if record == "rolled_back":
            host.run(state="restored")
        elif record == "of an earlier version":
            content = json.loads(host.record.read_text())
            host.record.write_text(json.dumps({key: value for key, value in content.items() if key != "stopped"}))
    (host.folder / "running").unlink()
    port = 56000 if record == "another port" else NEW
    assert host.run(port, state="restored", _ansible_check_mode=True)["started"] == ["besclient"] and not host.runs()
    back = host.run(port, state="restored")
    assert (back["started"], back["changed"], host.runs()) == (["besclient"], True, True)
    assert host.on_new_port() if record == "another port" else host.files() == host.before
    assert host.run(port, state="restored")["changed"] is False


def test_host_that_the_move_never_reached_is_no_failure_when_its_service_can_not_start(host):
    (host.folder / "running").unlink()
    host.hook("start", "echo no such service >&2; exit 5\n")
    back = host.run(state="restored")
    assert (back["changed"], back["started"]) == (False, []) and "no such service" in str(back["warnings"])
    # Reached, it is one.
    assert host.run()["failed"] and host.run(state="restored")["failed"]


# --- the proof ---------------------------------------------------------------------------------------------------------


def proof(host, proved=True, **more):
    """Options of a proof that the agent's log gives, or never gives."""
    logs = host.folder / "Logs"
    logs.mkdir(exist_ok=True)
    if proved:
        # Written by the agent once it runs with the new files.
        host.hook("start", """grep -q _PortNumber=55000 actionsite.afxm && {
            printf 'At %s -\\n   Report posted successfully\\n' "$(date '+%H:%M:%S %z' -d '2 seconds')" \\
                >> Logs/$(date +%Y%m%d).log; }
            :
            """)
    return dict(dict(log_dir=str(logs), success_patterns=["Report posted successfully"], timeout=30 if proved else 0.5, settle=0),
                **more)


def test_move_is_proved_and_noted_by_the_module_itself(host):
    foretold = host.run(_ansible_check_mode=True, proof=proof(host))
    assert (foretold["ok"], foretold["predicted"], foretold["port"], foretold["changed"]) == (True, True, NEW, True)
    assert host.files() == host.before
    moved = host.run(proof=proof(host))
    assert moved["ok"] and (moved["port"], moved["old_port"], moved["missing"], moved["changed"]) == (NEW, OLD, {}, True), moved
    assert moved["evidence"]["log"] == "Report posted successfully" and moved["evidence"]["files"] == "2 files hold port %d" % NEW
    assert moved["files"] == [str(host.masthead), str(host.config)] and moved["started"] == ["besclient"]
    assert host.on_new_port() and host.runs() and host.state() == "verified"
    again = host.run(proof=proof(host))
    assert again["ok"] and not again["changed"] and host.calls() == ["besclient stop", "besclient start"]
    assert host.run(proof=proof(host), _ansible_check_mode=True)["evidence"] == again["evidence"]


def test_move_that_is_not_proved_is_put_back_by_the_module_itself(host):
    failed = host.run(proof=proof(host, proved=False))
    assert failed["failed"] and not failed["ok"] and failed["port"] == NEW and list(failed["missing"]) == ["log"], failed
    assert failed["msg"].startswith("no proof on port %d after " % NEW) and failed["missing"]["log"] in failed["msg"]
    assert failed["msg"].endswith("Its files are as they were before, byte for byte, and its services run on the old port")
    assert host.files() == host.before and host.runs() and host.state() == "rolled_back"
    assert host.calls() == ["besclient stop", "besclient start"] * 2


def role_play(host, tasks, **more):
    """A play of one file of the role, on this machine."""
    role = CHECKOUT / "roles/bigfix_component"
    known = dict(
        component="client", port=NEW, masthead_paths=[str(host.masthead)], settings_paths=[str(host.config)],
        clientsettings_paths=[], credentials_paths=[], services=["besclient"], service_command=[str(host.command)],
        record_path=str(host.record),
        executables={}, service_timeout=20, bridge=False, phase=1, allow_invalid_signature=False, tls=False, probe_timeout=0,
        evidence_timeout=0.5, settle_seconds=0, log_dir=str(host.folder / "Logs"), relay_chain_dir="", parent_address="",
        address="",
        success_patterns=["Report posted successfully"], failure_patterns=[], bind_address="", firewall="none", openings=[])
    # With the task, since files of variables go before those of the play.
    return dict(hosts="localhost", gather_facts=False,
                vars_files=[str(role / name / "main.yml") for name in ("defaults", "vars")],
                tasks=[{"vars": dict(bigfix_component_host=dict(known, **more)),
                        "block": [{"ansible.builtin.import_tasks": str(role / "tasks" / tasks)}]}])


HERE = dict(all=dict(hosts=dict(localhost=dict(ansible_connection="local", ansible_python_interpreter=sys.executable))))


@pytest.mark.parametrize("script, first, ending", [
    # The start after the way back of the module alone, or each one after the move.
    ("[ $(grep -c start calls) != 2 ] || { echo no more >&2; exit 1; }\n", "Putting the host back did not work out either",
     "byte for byte, and its services were started again on the old port."),
    ("[ $(grep -c start calls) = 1 ] || { echo no more >&2; exit 1; }\n", "Putting the host back did not work out either",
     "Putting it back failed too, it needs a person: service besclient could not start: no more")],
    ids=["second try", "for good"])
def test_role_puts_a_host_back_whose_module_could_not(host, run_playbook, script, first, ending):
    (host.folder / "Logs").mkdir()
    host.hook("start", script)
    done = run_playbook([role_play(host, "apply.yml")], HERE)
    said = " ".join(done.stdout.split())
    assert done.returncode == 2 and first in said and ending in said, done.stdout
    back = host.files() == host.before, host.runs(), host.state()
    assert back == ((True, True, "rolled_back") if "started again" in ending else (True, False, "changing")), done.stdout


@pytest.mark.parametrize("open_ports", [(), (NEW,)], ids=["the parent is down", "its path is shut"])
def test_a_parent_that_is_down_holds_up_no_way_back(host, run_playbook, open_ports):
    with contextlib.ExitStack() as listening:
        ports = {}
        for number in (NEW, OLD):
            server = listening.enter_context(socket.create_server(("127.0.0.1", 0)))
            ports[number] = server.getsockname()[1]
            if number not in open_ports:
                server.close()
        play = role_play(host, "path.yml", port=ports[NEW], parent="relay1", parent_address="127.0.0.1", parent_bridge=False)
        play["tasks"][0]["vars"].update(
            portshift_back_to=ports[OLD], bigfix_component_path_targets=[dict(host="127.0.0.1", port=ports[OLD])])
        play["tasks"].append({"portshift.agents.phase_gate": dict(
            phase="the test", hosts=["localhost"], evidence="bigfix_component_path", port=ports[OLD])})
        done = run_playbook([play], HERE)
    said = " ".join(done.stdout.split())
    if open_ports:
        assert done.returncode == 2 and "does not get through to its parent relay1" in said, done.stdout
    else:
        assert done.returncode == 0 and "rescued=1" in said, done.stdout


def test_what_the_agent_writes_before_its_proof_fails_is_kept(host):
    host.hook("start", "grep -q _PortNumber=55000 actionsite.afxm && cat >> besclient.config <<'TEXT'\n%sTEXT\n:\n"
              % WRITTEN_BY_THE_AGENT)
    assert host.run(proof=proof(host, proved=False))["failed"]
    assert host.masthead.read_bytes() == host.before[0]
    assert host.config.read_bytes() == host.before[1] + WRITTEN_BY_THE_AGENT.encode()


def test_host_that_can_not_be_put_back_after_its_proof_failed_needs_a_person(host):
    host.hook("start", "[ $(grep -c start calls) = 1 ] || { echo no more >&2; exit 1; }\n")
    failed = host.run(proof=proof(host, proved=False))
    assert failed["failed"] and list(failed["missing"]) == ["log"]
    assert "Putting the host back did not work out either: service besclient could not start: no more. It needs a person" in (
        failed["msg"])
    assert host.files() == host.before and not host.runs() and host.state() == "changing"
    host.unhook("start")
    assert host.run(state="restored")["started"] == ["besclient"] and host.state() == "rolled_back"


def test_host_that_had_proved_itself_is_not_put_back_when_it_is_not_well_now(host):
    host.run(proof=proof(host))
    moved = host.files()
    failed = host.run(proof=proof(host, proved=False, success_patterns=["never"]))
    assert failed["failed"] and failed["msg"].endswith("It was not put back, since it had proved itself on this port before")
    # Nor when its service does not start.
    host.hook("start", "exit 1\n")
    (host.folder / "running").unlink()
    assert host.run(proof=proof(host, proved=False))["msg"].endswith(
        "It was not put back, since it had proved itself on this port before")
    assert host.files() == moved and host.state() == "verified"


def test_move_that_was_killed_before_its_proof_is_proved_or_put_back_by_the_next_run(host):
    host.run()
    assert host.state() == "changing"
    check = host.run(proof=proof(host, proved=False), _ansible_check_mode=True)
    assert check["failed"] and host.on_new_port() and host.state() == "changing"
    assert host.run(proof=proof(host, proved=False))["failed"]
    assert host.files() == host.before and host.state() == "rolled_back"
    host.run()
    host.hook("start", ":\n")
    logs = proof(host)
    (host.folder / "running").unlink()
    found = host.run(proof=logs)
    assert found["ok"] and found["changed"] and found["started"] == ["besclient"] and host.state() == "verified"


@pytest.mark.parametrize("proved", [True, False], ids=["proved", "put back"])
def test_control_node_that_dies_during_the_proof_leaves_a_host_that_is_proved_or_put_back(host, proved):
    process = host.begin(proof=proof(host, proved, settle=1.5, timeout=3))
    host.until(lambda: host.record.exists() and host.on_new_port() and host.runs(), process)
    # Nothing reads what it says any more, and its terminal is gone.
    process.stdout.close()
    process.stderr.close()
    for number in (signal.SIGHUP, signal.SIGTERM):
        process.send_signal(number)
    process.wait(60)
    assert host.state() == ("verified" if proved else "rolled_back") and host.runs()
    assert host.on_new_port() if proved else host.files() == host.before


def test_what_is_to_finish_a_move_begins_none(host):
    """The run that had begun it may have put the host back since it was looked at."""
    assert "byte for byte" in host.run(proof=proof(host, proved=False))["msg"] and host.state() == "rolled_back"
    calls = host.calls()
    done = host.run(unfinished_only=True)
    assert not done.get("failed") and not done["changed"] and (host.files(), host.calls()) == (host.before, calls)
    process = host.begin(proof=proof(host, timeout=60, proved=False))
    host.until(lambda: host.record.exists() and host.state() == "changing" and host.on_new_port() and host.runs(), process)
    process.kill()
    process.wait()
    host.hook("stop", "")
    done = host.run(unfinished_only=True)
    assert not done.get("failed") and host.on_new_port() and host.runs() and host.state() == "changing"


def test_nothing_is_stopped_while_the_parent_has_not_moved_or_a_pattern_is_none(host):
    refused = host.run(proof=proof(host, parent="127.0.0.1", parent_wait=0))
    assert refused["failed"] and not refused["ok"] and refused["msg"].startswith(
        "nothing was changed: its parent does not answer: 127.0.0.1 -> 127.0.0.1 port %d tcp: " % NEW), refused
    wrong = host.run(proof=proof(host, success_patterns=["("]))
    assert 'the pattern "(" is no regular expression' in wrong["msg"]
    assert host.files() == host.before and host.calls() == [] and not host.record.exists()


def test_ports_are_looked_at_again_before_a_relay_is_stopped(host):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        refused = host.run(port, component="relay", proof=proof(host))
        assert refused["failed"] and refused["msg"].startswith(
            "nothing was changed: port %d is in use already: process " % port), refused
    assert host.files() == host.before and host.calls() == []


def test_lease_of_the_host_is_not_held_while_the_proof_is_awaited(host, own_namespace):
    """Other products of the host need it meanwhile."""
    path = host.folder / "host.lock"
    host.hook("start", "[ ! -e host.lock ] || touch held-$(grep -c start calls)\n")
    process = host.begin(
        proof=proof(host, proved=False, timeout=8), prefix=own_namespace.prefix,
        bridge=dict(name="bigfix", backend="nftables", persistent=False, lease=str(path), lease_wait=0))
    host.until(lambda: (host.folder / "held-1").exists() and host.runs() and not path.exists(), process)
    assert host.on_new_port()
    assert "byte for byte" in host.end(process)["msg"] and host.files() == host.before
    # And it was, from the stop to the start, there and back.
    assert (host.folder / "held-2").exists()


# --- two at once ------------------------------------------------------------------------------------------------


def test_second_cutover_waits_for_the_first_and_finds_its_work_done(host):
    first = host.begin_and_stay()
    second = host.begin()
    host.until_waiting(second)
    assert host.files() == host.before and host.calls() == ["besclient stop"]
    host.go()
    assert host.end(first)["changed"] is True
    found = host.end(second)
    assert (found["changed"], found["files"], found["started"], found["seconds"]) == (False, [], [], 0)
    assert host.on_new_port() and host.calls() == ["besclient stop", "besclient start"]


def test_second_cutover_goes_on_when_the_first_is_killed(host):
    first = host.begin_and_stay()
    second = host.begin()
    host.until_waiting(second)
    first.kill()
    first.communicate()
    host.unhook("stop")
    host.go()
    assert host.end(second)["changed"] is True and host.on_new_port() and host.runs()


def test_way_back_waits_for_the_cutover_that_is_under_way_and_takes_it_back(host):
    first = host.begin_and_stay("start")
    second = host.begin(state="restored")
    host.until_waiting(second)
    assert host.on_new_port()
    host.go()
    assert host.end(first)["changed"] is True and host.end(second)["changed"] is True
    assert host.files() == host.before and host.runs() and host.state() == "rolled_back"


def test_restoring_the_record_waits_for_a_cutover_that_has_noted_no_file_yet(host):
    first = host.begin_and_stay()
    assert json.loads(host.record.read_text())["files"] == []
    second = host.begin_record(state="restored")
    host.until_waiting(second)
    host.go()
    assert host.end(first)["changed"] is True
    assert host.end(second)["restored"] == [str(host.masthead), str(host.config)] and host.files() == host.before


def test_check_mode_and_looking_do_not_wait(host):
    first = host.begin_and_stay("start")
    assert host.run(_ansible_check_mode=True)["files"] == []
    assert host.end(host.begin_record())["record"]["state"] == "changing" and first.poll() is None
    host.go()
    assert host.end(first)["changed"] is True


def test_cutover_that_still_waits_can_be_called_off(host):
    first = host.begin_and_stay()
    second = host.begin()
    host.until_waiting(second)
    second.terminate()
    assert second.wait(30) and first.poll() is None
    second.communicate()
    host.go()
    assert host.end(first)["changed"] is True and host.calls() == ["besclient stop", "besclient start"]


def test_service_that_a_cutover_starts_does_not_keep_the_next_one_out(host):
    host.hook("start", "setsid sleep 60 </dev/null >/dev/null 2>&1 &\necho $! > pid\n")
    host.run()
    pid = int((host.folder / "pid").read_text())
    try:
        assert host.lock not in host.open_files(pid)
        assert host.run(state="restored")["changed"] and host.files() == host.before
    finally:
        for number in sorted({pid, int((host.folder / "pid").read_text())}):
            os.kill(number, signal.SIGKILL)


def test_way_back_from_nothing_makes_no_file(host):
    assert host.run(state="restored")["changed"] is False and not host.record.parent.exists()


# --- records of earlier migrations --------------------------------------------------------------------------------


def test_old_record_and_its_backups_are_pruned_by_the_module_and_named_in_check_mode_and_diff(host):
    host.run()
    host.run(state="restored")
    host.run()
    folder = host.record.parent / host.record.stem
    [old] = folder.glob("*.json")
    old.write_text(json.dumps(dict(json.loads(old.read_text()), started=1, last_change=1)))
    prune = dict(state="pruned", _ansible_diff=True)
    untouched = host.end(host.begin_record(**prune))
    assert (untouched["changed"], untouched["removed"], old.exists()) == (False, [], True)
    foretold = host.end(host.begin_record(keep_days=90, _ansible_check_mode=True, **prune))
    assert (foretold["changed"], foretold["removed"], old.exists()) == (True, [str(old)], True)
    done = host.end(host.begin_record(keep_days=90, **prune))
    # The backups are those of the current record too: only the record itself goes.
    assert (done["removed"], done["diff"], done["left"]) == (foretold["removed"], foretold["diff"], [])
    assert done["diff"]["before"] == "%s\n" % old and not old.exists() and len(list(folder.iterdir())) == 2
    assert host.end(host.begin_record(keep_days=90, **prune))["changed"] is False
    assert host.run(state="restored")["changed"] and host.files() == host.before


def test_pruning_with_a_damaged_current_record_removes_nothing(host):
    host.run()
    host.record.write_text("{")
    before = sorted(host.record.parent.rglob("*"))
    failed = host.end(host.begin_record(state="pruned", keep_days=0))
    assert failed["failed"] and "is not a record of portshift.agents" in failed["msg"]
    assert sorted(host.record.parent.rglob("*")) == before


def test_keeping_records_for_less_than_no_time_is_refused(host):
    failed = host.end(host.begin_record(state="pruned", keep_days=-1))
    assert failed["failed"] and failed["msg"].startswith("keep_days is -1; give the number of days")
