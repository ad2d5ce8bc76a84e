# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bigfix_evidence on real files, processes and connections: what proves that an agent has moved, and what does not."""

import fcntl
import http.server
import json
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.evidence import BigFixEvidence
from ansible_collections.portshift.agents.plugins.module_utils._core import log_lines
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord, lock_path
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import gather
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import start_time
from ansible_collections.portshift.agents.plugins.module_utils._core.services import Services
from ansible_collections.portshift.agents.tests.unit.masthead_files import plain
from tests.integration import direct_module
from tests.integration.migration_lab import CHECKOUT
from tests.integration.ports import own_addresses

[PARENT] = own_addresses(1)
OLD, NEW = 18311, 18355
CONFIG = """[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\__RelayServer1]
value                          = http://%s:%d/bfmirror/downloads/
effective date                 = Thu,%%2001%%20Jan%%202015%%2000:00:00%%20+0000

[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\_BESClient_RelaySelect_Port]
value                          = %d
effective date                 = Thu,%%2001%%20Jan%%202015%%2000:00:00%%20+0000
"""
# The agent: connects to each port of the parent that it is given, keeps the connections, and does nothing.
AGENT = """
import socket, sys, time
held = [socket.create_connection((sys.argv[1], int(port))) for port in sys.argv[2:]]
print("connected", flush=True)
time.sleep(600)
"""
# As service(8): SERVICE and start, stop or status.
SERVICE = """#!/bin/sh
[ "$2" = status ] && [ -e '{folder}/pid' ] && kill -0 "$(cat '{folder}/pid')"
"""
SUCCESS, FAILURE = ["Report posted successfully", "Successful Synchronization"], ["GetURL failed", "General transport failure"]


class Parent(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        page = plain(port=self.server.server_address[1])
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *unused):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = block_on_close = False

    def handle_error(self, *unused):
        pass


@pytest.fixture(scope="module")
def parent():
    """A parent that answers on both ports, as it does from open to close, each with a masthead for that port."""
    servers = [Server((PARENT, port), Parent) for port in (OLD, NEW)]
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.05), daemon=True).start()
    yield PARENT
    for server in servers:
        server.shutdown()
        server.server_close()


class Host:
    """A client as a folder whose agent is a process."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.masthead, self.config, self.record = folder / "actionsite.afxm", folder / "besclient.config", folder / "state/b.json"
        self.logs, self.chain = folder / "Logs", folder / "RelayChain"
        self.manager, self.program = folder / "manager", folder / "BESClient"
        for path in (self.logs, self.chain):
            path.mkdir()
        self.manager.write_text(SERVICE.format(folder=folder))
        self.manager.chmod(0o755)
        self.program.write_text(AGENT)
        self.put(OLD)

    def put(self, port):
        self.masthead.write_bytes(plain(port=port))
        self.config.write_text(CONFIG % (PARENT, port, port))

    def start(self, *ports, program=None):
        """A process with a connection to each of these ports of the parent; the agent, where it is no other program."""
        process = subprocess.Popen([sys.executable, str(program or self.program), PARENT, *map(str, ports)],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stdout.readline() == "connected\n"
        if not program:
            (self.folder / "pid").write_text(str(process.pid))
        return process

    def end(self, process):
        process.kill()
        process.wait()
        process.stdout.close()
        self.processes.remove(process)

    def close(self):
        for process in list(self.processes):
            self.end(process)

    def move(self, *before, told=True):
        """The files go to the new port, as a cutover does it: these processes are noted ahead of the stop."""
        record = ChangeRecord(str(self.record), OLD, NEW, "test")
        if told:
            record.before_stop(dict(besclient=[(process.pid, start_time(process.pid)) for process in before]))
        files = {path: path.read_bytes() for path in (self.masthead, self.config)}
        self.put(NEW)
        for path, content in files.items():
            record.before_write(str(path), content, path.read_bytes())

    def date(self, seconds, state="changing"):
        """The last change was that many seconds from now."""
        content = json.loads(self.record.read_text())
        self.record.write_text(json.dumps(dict(content, state=state, last_change=time.time() + seconds)))

    def say(self, seconds, text, ending=".log", folder=None):
        """A line that was written that many seconds from now."""
        moment = time.localtime(time.time() + seconds)
        folder = folder or self.logs
        line = "At %s - %s\n" if folder == self.chain else "At %s -\n   %s\n"
        with open(folder / (time.strftime("%Y%m%d", moment) + (".txt" if folder == self.chain else ending)), "a") as target:
            target.write(line % (time.strftime("%H:%M:%S %z", moment), text))

    def arguments(self, **more):
        return dict(dict(
            component="client", port=NEW, previous_port=None, address=None, bind_address=None, parent=PARENT, tls=False,
            masthead_paths=[str(self.masthead)], settings_paths=[str(self.config)], clientsettings_paths=[], files=True,
            credentials_paths=[],
            allow_invalid_signature=False, record=str(self.record), log_dir=str(self.logs), relay_chain_dir=str(self.chain),
            success_patterns=SUCCESS, failure_patterns=FAILURE, log_max_age=86400, services=["besclient"], agent_service=None,
            service_command=[str(self.manager)], executables=dict(besclient=[str(self.program)]), neighbours=[],
            timeout=0, settle=0), **more)

    def questions(self, **more):
        given = self.arguments(**more)
        return BigFixEvidence(given, Services(None, given["services"], given["service_command"], given["executables"]))

    def evidence(self, **more):
        """(what was proved, what is missing), by its names."""
        given = self.arguments(**more)
        proved, missing, unused = gather(self.questions(**given), given["timeout"])
        return {name: "; ".join(sentences) for name, sentences in proved.items()}, missing

    def proved(self, **more):
        proved, missing = self.evidence(timeout=20, **more)
        assert missing == {}
        return proved

    def missing(self, **more):
        return self.evidence(**more)[1]

    def run(self, **more):
        """The module itself, as Ansible runs it."""
        given = dict(self.arguments(**more), _ansible_remote_tmp=str(self.folder))
        given = {name: value for name, value in given.items() if value is not None}
        done = direct_module.run("bigfix_evidence", given)
        assert "Traceback" not in done.stdout + done.stderr
        return direct_module.result(done.stdout, done.stderr)


@pytest.fixture
def host(tmp_path, parent):
    found = Host(tmp_path)
    yield found
    found.close()


@pytest.fixture
def moved(host):
    """A client that was moved and started anew half a minute later, with a connection to its parent's new port."""
    before = host.start(OLD)
    host.move(before)
    host.end(before)
    host.date(-30)
    host.start(NEW)
    return host


def test_an_agent_that_has_moved_proves_itself_by_its_connection_and_is_marked_once(moved):
    pid = moved.processes[0].pid
    found = moved.run(timeout=20, settle=0.2, mark=True)
    assert found["ok"] and found["changed"] and (found["missing"], found["port"], found["old_port"]) == ({}, NEW, OLD)
    connected = found["evidence"].pop("log")
    assert connected.endswith(" (pid %d) is connected to %s:%d" % (pid, PARENT, NEW))
    assert found["evidence"] == dict(
        files="2 files hold port %d" % NEW, services="all run", parent="parent %s answers on port %d" % (PARENT, NEW),
        restarted="since the files were changed were started: besclient (process %d)" % pid,
        old_port="besclient has no connection to the old port %d" % OLD)
    assert connected in found["proved"] and json.loads(moved.record.read_text())["state"] == "verified"
    assert moved.run(timeout=20, settle=0, mark=True)["changed"] is False


def test_the_look_at_a_host_that_has_moved_is_its_proof_and_fails_for_none(moved):
    def look(**more):
        asked = moved.arguments(**more)
        keys = ("parent", "tls", "log_dir", "relay_chain_dir", "success_patterns", "failure_patterns", "timeout", "settle")
        return direct_module.result(direct_module.run("bigfix_info", dict(
            {key: asked[key] for key in ("component", "port", "masthead_paths", "settings_paths", "record", "services",
                                         "service_command", "executables")},
            proof={key: asked[key] for key in keys}, _ansible_remote_tmp=str(moved.folder))).stdout)

    # Not while its move has not ended.
    assert look()["evidence"] is None
    moved.date(-30, "verified")
    found = look(timeout=20, settle=0.2)
    proof = found["evidence"]
    assert found["edits"] == [] and proof["ok"] and (proof["port"], proof["old_port"], proof["missing"]) == (NEW, OLD, {})
    assert proof["evidence"]["log"].endswith("is connected to %s:%d" % (PARENT, NEW)) and not found["changed"]
    moved.end(moved.processes[0])
    proof = look()["evidence"]
    assert not proof["ok"] and proof["missing"]["services"] == "not running: besclient"
    assert 'the pattern "(" is no regular expression' in look(failure_patterns=["("])["evidence"]["msg"]
    # Nor where something is to be edited.
    moved.put(OLD)
    assert look()["evidence"] is None


def test_an_agent_that_never_restarted_is_no_proof_although_its_reports_get_through(host):
    """Its service is stopped and started in vain: the parent's old port leads to the new one, so that all else is well."""
    before = host.start(OLD)
    host.move(before)
    host.date(-30)
    time.sleep(1.1)
    host.say(0, "Report posted successfully")
    host.say(0, "S - %s" % PARENT, folder=host.chain)
    found = host.run()
    assert found["failed"] and sorted(found["missing"]) == ["old_port", "restarted"]
    assert found["missing"]["restarted"] == (
        "besclient still runs as process %d, which ran before the files were changed, so that it works as they were before; stop "
        "that process by hand, start the service, and run again" % before.pid)
    assert found["missing"]["old_port"].endswith("(pid %d) still has a connection to %s:%d, the old port" % (
        before.pid, PARENT, OLD))
    assert "no proof on port %d" % NEW in found["msg"] and found["missing"]["restarted"] in found["msg"]


def test_a_record_that_does_not_name_the_processes_is_compared_by_the_clock(host):
    before = host.start(NEW)
    time.sleep(0.5)
    host.move(told=False)
    missing = host.missing()
    assert list(missing) == ["restarted"] and "still runs as process %d" % before.pid in missing["restarted"]
    host.date(-3600)
    assert host.proved()
    # On the way back the last change is noted after the start.
    host.put(OLD)
    host.end(before)
    host.start(OLD)
    time.sleep(0.5)
    host.date(0, "rolled_back")
    assert host.proved(port=OLD)["restarted"]


def test_a_host_that_was_never_moved_by_us_is_not_asked_whether_it_was_restarted(host):
    host.put(NEW)
    agent = host.start(NEW)
    assert host.questions().old_port is None and "restarted" not in host.proved()
    # The same before a first file was changed, such as after a stop that failed.
    ChangeRecord(str(host.record), OLD, NEW, "test").before_stop(dict(besclient=[(agent.pid, start_time(agent.pid))]))
    assert "restarted" not in host.proved()


def test_a_stop_on_the_way_back_that_failed_says_nothing_against_the_agent_that_runs(moved):
    agent = moved.processes[0]
    record = ChangeRecord(str(moved.record))
    record.before_stop(dict(besclient=[(agent.pid, start_time(agent.pid))]))
    assert "restarted" not in moved.proved()
    # The files are put back, and it runs still.
    record.mark_rolled_back()
    moved.put(OLD)
    assert "still runs as process %d" % agent.pid in moved.missing(port=OLD)["restarted"]


def test_a_success_from_before_the_agent_was_started_is_no_proof(host):
    host.move()
    host.date(-3600)
    host.say(-5, "Report posted successfully")
    host.start()
    missing = host.missing()
    assert list(missing) == ["log"] and missing["log"] == (
        "%s: no report got through since besclient was started; besclient (process %d) has no connection to %s:%d" % (
            host.logs, host.processes[0].pid, PARENT, NEW))
    time.sleep(1.1)
    host.say(0, "Report posted successfully")
    assert host.proved()["log"] == "Report posted successfully"


def test_connections_of_another_process_and_of_the_old_port_are_no_proof(host):
    host.move()
    host.start(OLD)
    other = host.folder / "other"
    other.write_text(AGENT)
    another = host.start(NEW, program=other)
    missing = host.missing()
    assert sorted(missing) == ["log", "old_port"]
    assert "besclient (process %d) has no connection to %s:%d; " % (host.processes[0].pid, PARENT, NEW) in missing["log"]
    assert missing["log"].endswith(" (pid %d) has one, which is no process of that service" % another.pid)


def test_a_failure_in_the_log_outweighs_the_connection_and_a_relay_chain_before_it(moved):
    time.sleep(1.1)
    moved.say(0, "S - %s:%d" % (PARENT, NEW), folder=moved.chain)
    assert moved.proved()["log"] == "relay chain: %s:%d" % (PARENT, NEW)
    time.sleep(1.1)
    failed = "RegisterOnce: GetURL failed - General transport failure. - registration url - http://%s%s:%d/a%s"
    moved.say(0, failed % ("admin:hunter2@", PARENT, NEW, "?pw=hunter2"))
    assert moved.missing() == dict(log="%s: no report got through since besclient was started; last failure: %s" % (
        moved.logs, failed % ("********@", PARENT, NEW, "?********")))


def test_an_attempt_is_no_proof_and_a_success_of_another_port_is_none(host):
    host.move()
    host.start()
    time.sleep(1.1)
    host.say(0, "Trying to connect to relay on port %d" % NEW)
    assert list(host.missing()) == ["log"]
    host.say(0, "RegisterOnce: Attempting to register with 'http://%s:%d/cgi-bin/clientregister.exe?x=1'" % (PARENT, OLD))
    host.say(0, "Report posted successfully")
    assert "; one that did names another port: Report posted successfully" in host.missing()["log"]


def test_where_processes_can_not_be_told_the_log_has_to_tell_of_a_success_since_the_change(moved):
    blind = dict(executables={})
    proved, missing = moved.evidence(**blind)
    assert missing == dict(log="%s: no report got through since the change" % moved.logs)
    assert proved["restarted"] == "whether besclient was started anew can't be told here, where no process of it is known"
    moved.say(-60, "Report posted successfully")
    assert list(moved.missing(**blind)) == ["log"]
    moved.say(-10, "Report posted successfully")
    assert moved.proved(**blind)["log"] == "Report posted successfully"


def test_a_relay_in_a_dmz_is_not_asked_for_a_connection_of_its_own(moved):
    """Its parent calls it."""
    assert moved.missing(parent=None) == dict(log="%s: no report got through since besclient was started" % moved.logs)


def test_nothing_of_the_future_counts_and_it_hides_nothing(moved):
    blind = dict(executables={})
    moved.say(3600, "Report posted successfully")
    moved.say(3600, "S - %s" % PARENT, folder=moved.chain)
    for folder, ending in ((moved.logs, ".log"), (moved.chain, ".txt")):
        for year in range(2100, 2120):
            (folder / ("%d0101%s" % (year, ending))).write_text("At 00:00:00 +0000 - S - x\n   Report posted successfully\n")
        (folder / ("{{ 7*7 }}" + ending)).write_text("x")
    assert list(moved.missing(**blind)) == ["log"]
    moved.say(-10, "Report posted successfully", ".bkg")
    assert moved.proved(**blind)
    # A change that was noted while the clock was ahead does not hide what the agent does since it was started.
    moved.date(3600)
    assert list(moved.missing(**blind)) == ["log"]
    assert moved.proved()


def test_a_change_that_is_under_way_is_no_proof(moved):
    with open(lock_path(str(moved.record)), "w") as lock:
        lock.write("4711\n")
        lock.flush()
        assert moved.proved()    # a leftover
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert moved.missing() == dict(under_way=(
            "another migration or rollback of this host is under way (%s is locked by process 4711); it proves nothing until "
            "that has ended" % lock_path(str(moved.record))))


def test_a_pattern_that_is_none_and_one_that_takes_for_ever_are_sentences(moved, monkeypatch):
    assert 'the pattern "(" is no regular expression' in moved.run(failure_patterns=["("])["msg"]
    moved.say(-10, "a" * 64)
    monkeypatch.setattr(log_lines, "SEARCH_LIMIT", 0.2)
    missing = moved.missing(executables={}, success_patterns=[r"(a+)+\d"])
    assert 'looking for the patterns "(a+)+\\d", "GetURL failed"' in missing["log"]


def settled(host, happens, **more):
    """(what was proved, what is missing) of an agent to which something happens right after it was well."""
    questions = host.questions(**dict(dict(settle=0.2), **more))
    begin = questions.settle

    def settle():
        begin()
        happens()

    questions.settle = settle
    return gather(questions, 60, questions.settle_seconds)[:2]


def test_an_agent_that_ends_or_is_started_anew_meanwhile_is_no_proof(moved):
    first = moved.processes[0].pid

    def starts_anew():
        moved.end(moved.processes[0])
        moved.start(NEW)

    assert settled(moved, starts_anew)[1]["services"] == (
        "besclient was started anew within 0.2 s after it was well (its process %d is gone); it may do so again and again"
        % first)
    assert settled(moved, lambda: moved.end(moved.processes[0]))[1]["services"] == (
        "besclient ended within 0.2 s after it was well; it may do so again and again")


def test_a_host_that_had_proved_itself_settles_for_a_shorter_time(moved):
    moved.date(-60, "verified")
    assert moved.questions(settle=300).settle_seconds == 2 and moved.questions(settle=1).settle_seconds == 1
    moved.date(-60)
    assert moved.questions(settle=300).settle_seconds == 300
    assert moved.questions(settle=300, services=[], log_dir=None).settle_seconds == 0


def test_a_server_is_asked_for_the_connection_of_its_agent_to_itself(moved):
    questions = moved.questions(component="server", services=["besserver", "besclient"], parent=None, address=PARENT)
    questions.look()
    assert questions.agent == "besclient" and questions.log(20)[1][0].endswith("is connected to %s:%d" % (PARENT, NEW))
    assert moved.questions(services=["besrelay", "agent"]).agent is None
    assert moved.questions(services=["besrelay", "agent"], agent_service="agent").agent == "agent"


@pytest.mark.parametrize("program", ["of today", "oldest"])
def test_a_line_of_a_log_is_never_a_template_of_the_control_node(moved, program, request, run_playbook):
    """Neither in the proof that the look keeps, nor in what is said of a host that gave none."""
    oldest = request.getfixturevalue("oldest") if program == "oldest" else None
    moved.date(-60, "verified")
    planted = "{{ 7*7 }} {%% set x = 7 %%} {{ lookup('pipe', 'touch %s') }}" % (moved.folder / "planted")
    later = moved.folder / "later"
    later.mkdir()
    moved.say(-10, "Report posted successfully " + planted)
    moved.say(-10, "GetURL failed " + planted, folder=later)
    role, given = CHECKOUT / "roles/bigfix_component", moved.arguments(executables={}, relay_chain_dir="")
    host = dict({name: value for name, value in given.items() if value is not None}, record_path=given["record"], bridge=False,
                parent_address=PARENT, firewall="none", firewall_zone="", openings=[], phase=1, probe_timeout=20,
                evidence_timeout=1, settle_seconds=0, service_timeout=5)
    play = dict(
        hosts="localhost", gather_facts=False, vars_files=[str(role / name / "main.yml") for name in ("defaults", "vars")],
        tasks=[
            {"vars": dict(bigfix_component_host=host), "block": [
                {"ansible.builtin.import_tasks": str(role / "tasks/main.yml")},
                {"ansible.builtin.debug": dict(msg="kept: {{ [bigfix_component_evidence.ok, bigfix_component_evidence.port, "
                                                   "bigfix_component_evidence.evidence.log] | join(' ') }}")}]},
            {"vars": dict(bigfix_component_host=dict(host, log_dir=str(later))),
             "block": [{"ansible.builtin.import_tasks": str(role / "tasks/apply.yml")}],
             "always": [{"portshift.agents.phase_gate": dict(
                 phase="the test", hosts=["localhost"], evidence="bigfix_component_evidence")}]}])
    done = run_playbook([play], dict(all=dict(hosts=dict(localhost=dict(
        ansible_connection="local", ansible_python_interpreter=sys.executable)))), program=oldest)
    assert done.returncode == 2 and not (moved.folder / "planted").exists(), done.stdout
    said = " ".join(done.stdout.split())
    assert "kept: True %d Report posted successfully {{ 7*7 }} {%%" % NEW in said, done.stdout
    # The module, the role and the gate.
    assert said.count("GetURL failed {{ 7*7 }} {%") >= 3 and " 49" not in said, done.stdout
    assert "It was not put back" in said
