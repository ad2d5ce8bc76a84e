# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""change_tracker_info and change_tracker_evidence on real files, processes and connections: what they say and never show."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_url import FAILURES
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.evidence import AgentEvidence
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_state import Place
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import gather
from ansible_collections.portshift.agents.plugins.module_utils._core.services import ServiceState
from tests.integration import direct_module
from tests.integration.migration_lab import CHECKOUT
from tests.integration.ports import own_addresses

HUB, PROXY = own_addresses(2)
OLD, NEW = 18443, 18444
FINGERPRINT = "3F9A5C0E2D7B41886A0C1D94E7F2B3605948D1CA"
FILE = """<?xml version="1.0" encoding="utf-8"?>
<HubDetails>
  <Url>https://%s:%d/api/</Url>
  <Username>agent-7Qz</Username>
  <Password />
  <E1>ciphertext-9Kw==</E1>
  <Proxy>%s</Proxy>
  <ProxyPassword>proxypass-5</ProxyPassword>
  <UseDefaultProxy>%s</UseDefaultProxy>
  <Thumbprint>%s</Thumbprint>
</HubDetails>
"""
SECRETS = ("agent-7Qz", "ciphertext-9Kw", "proxypass-5", "proxyuser-1", "proxypass-2", "hunter2")
# The agent: connects to HOST PORT again and again, for SECONDS each time (0: to the end), and sleeps for PAUSE in between.
AGENT = """
import socket, sys, time
host, port, seconds, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
while True:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        error = one.connect_ex((host, port))
        if not error:
            time.sleep(seconds or 600)
    time.sleep(pause)
"""
# As service(8): SERVICE and start, stop or status.
SERVICE = """#!/bin/sh
[ "$1" = "$(cat '{folder}/service')" ] || exit 3
[ "$2" = status ] && [ -e '{folder}/pid' ] && kill -0 "$(cat '{folder}/pid')"
"""


class Host:
    """A host as a folder: an agent's file, its log, a record, a service, and processes with real connections."""

    def __init__(self, folder):
        self.folder, self.processes, self.hubs = folder, [], []
        self.places = [folder / "var/nnt" / agent / "HubDetails.xml" for agent in ("gen7agent.app.netcore", "gen7agent.service")]
        self.path, self.record = self.places[0], folder / "state/change_tracker.json"
        self.log = self.path.parent / "rolling-log.txt"
        self.manager = folder / "manager"
        self.manager.write_text(SERVICE.format(folder=folder))
        self.manager.chmod(0o755)
        (folder / "service").write_text("nntgen7agentcore")
        self.put()

    def put(self, url=(HUB, OLD), proxy="", default="false", thumbprint="", place=0, content=None):
        path = self.places[place]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content or FILE % (url[0], url[1], proxy, default, thumbprint))
        return path

    def hub(self, port, address=HUB):
        """Something that takes every connection and keeps it."""
        server = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        held = []
        self.hubs.append((server, held))

        def accept():
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()

    def start(self, port=NEW, address=HUB, seconds=0, pause=0.2, environment=None):
        """The agent runs, and is the process of the service."""
        process = subprocess.Popen([sys.executable, "-c", AGENT, address, str(port), str(seconds), str(pause)],
                                   stdin=subprocess.DEVNULL, env=dict(os.environ, **(environment or {})))
        self.processes.append(process)
        (self.folder / "pid").write_text(str(process.pid))
        return process

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        for server, held in self.hubs:
            server.shutdown(socket.SHUT_RDWR)
            for one in [server] + held:
                one.close()

    def migrated(self, old=OLD, new=NEW, **what):
        """The agent's file goes from one port to the other, as a migration does it."""
        before = self.path.read_bytes()
        after = before.replace(b":%d/" % old, b":%d/" % new)
        ChangeRecord(str(self.record), old, new, "test").before_write(str(self.path), before, after)
        self.path.write_bytes(after)

    def write_log(self, seconds, text):
        """A line that was written that many seconds from now."""
        with open(self.log, "a") as target:
            written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + seconds))
            target.write("%s,123 [INFO ] %s\n" % (written, text))

    def content(self):
        return {str(path): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}

    def run(self, name, check=False, **more):
        arguments = dict(dict(path=[str(path) for path in self.places], record=str(self.record),
                              service_command=[str(self.manager)]), **more)
        arguments.update(_ansible_check_mode=check, _ansible_diff=True, _ansible_verbosity=3,
                         _ansible_remote_tmp=str(self.folder))
        done = direct_module.run(name, arguments)
        assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
        assert "Traceback" not in done.stdout + done.stderr
        return direct_module.result(done.stdout, done.stderr)

    def info(self, **more):
        before = self.content()
        found = self.run("change_tracker_info", **more)
        assert self.content() == before
        assert found["changed"] is False and found["ok"] == (not found["problems"])
        return found

    def evidence(self, **more):
        return self.run("change_tracker_evidence", **dict(dict(port=NEW, timeout=0, settle=0.2), **more))

    def changed(self, seconds, state="changing"):
        """Its last change was that many seconds ago."""
        content = json.loads(self.record.read_text())
        self.record.write_text(json.dumps(dict(content, state=state, last_change=time.time() - seconds)))

    def verified(self, seconds):
        """The host has proved itself on its new port, that many seconds ago."""
        self.changed(seconds, "verified")


@pytest.fixture
def host(tmp_path):
    found = Host(tmp_path)
    yield found
    found.close()


# --- change_tracker_info

def test_an_agent_that_has_to_move_is_told_with_its_edit(host):
    host.start()
    host.put(thumbprint="\u200e3f 9a 5c 0e:2d7b41886a0c1d94e7f2b3605948d1ca")
    found = host.info(port=NEW)
    old, new = ("https://%s:%d/api/" % (HUB, port) for port in (OLD, NEW))
    assert found["ok"] and found["notes"] == []
    assert found["edits"] == [dict(kind="hub_url", path=str(host.path), port=NEW, previous_port=OLD, url=new, previous_url=old)]
    assert {key: found[key] for key in (
        "agent", "path", "url", "new_url", "host", "url_path", "tls", "port", "old_port", "service", "service_active",
        "thumbprint", "through_proxy", "log_path", "record")} == dict(
            agent=True, path=str(host.path), url=old, new_url=new, host=HUB, url_path="/api/", tls=True, port=OLD, old_port=OLD,
            service="nntgen7agentcore", service_active=True, thumbprint=FINGERPRINT, through_proxy=False, log_path=str(host.log),
            record=None)
    assert [found[action] for action in ("stop", "start")] == [
        [str(host.manager), "nntgen7agentcore", action] for action in ("stop", "start")]


@pytest.mark.parametrize("systemd, command, words", [
    (True, [], ["systemctl", "start", "agent"]), (False, [], ["service", "agent", "start"]),
    (True, ["/opt/manager", "-q"], ["/opt/manager", "-q", "agent", "start"])])
def test_a_service_is_started_by_what_the_host_has(monkeypatch, systemd, command, words):
    monkeypatch.setattr(os.path, "isdir", lambda path: systemd)
    assert ServiceState("agent.service", command).words("start") == words


def test_an_agent_that_has_moved_has_nothing_to_edit_and_its_record_names_the_old_port(host):
    host.start()
    host.migrated()
    found = host.info(port=NEW)
    assert found["ok"] and (found["edits"], found["port"], found["old_port"]) == ([], NEW, OLD)
    assert found["record"]["state"] == "changing" and found["url"] == found["new_url"]
    assert host.info(port=OLD)["old_port"] == NEW    # as the file has it: that migration led elsewhere


def test_without_a_port_an_agent_is_looked_at_as_it_is(host):
    host.start()
    found = host.info()
    assert found["ok"] and (found["port"], found["old_port"], found["edits"], found["new_url"]) == (OLD, None, [], None)


@pytest.mark.parametrize("url, expected", [
    ("http://hub.example.test/api", ("hub.example.test", 80, False, "/api")),
    ("https://[2001:db8::7]/x/?a=1&amp;b=2#c", ("2001:db8::7", 443, True, "/x/")),
    ("https://[fe80::1%25eth0]:8443", ("fe80::1%eth0", 8443, True, "/")),
    ("https://hub.example.test?x", ("hub.example.test", 443, True, "/")),
])
def test_every_kind_of_url_is_taken_apart(host, url, expected):
    host.put(content="<HubDetails><Url>%s</Url></HubDetails>" % url)
    found = host.info(port=9443)
    assert (found["host"], found["port"], found["tls"], found["url_path"]) == expected and found["ok"]


def test_an_agent_that_does_not_run_is_noted(host):
    found = host.info(port=NEW)
    assert found["ok"] and found["service_active"] is False
    assert found["notes"] == ["the service nntgen7agentcore does not run; moving the agent starts it"]


def test_the_agent_before_has_another_service(host):
    host.path.unlink()
    host.put(place=1)
    (host.folder / "service").write_text("nntgen7agent")
    host.start()
    found = host.info(port=NEW)
    assert (found["service"], found["service_active"], found["path"]) == ("nntgen7agent", True, str(host.places[1]))


def test_a_link_tells_the_service_by_where_it_leads(host):
    link = host.folder / "HubDetails.xml"
    link.symlink_to(host.path)
    assert host.info(path=[str(link)])["service"] == "nntgen7agentcore"


def test_a_host_without_an_agent_is_fine_where_none_is_required(host):
    host.path.unlink()
    found = host.info(port=NEW, required=False)
    assert found["ok"] and found["agent"] is False
    assert found["notes"][0].startswith("no agent of Change Tracker is installed here")
    assert [found[key] for key in ("path", "url", "port", "service", "thumbprint", "through_proxy", "old_port")] == [None] * 7
    found = host.info(port=NEW)
    assert not found["ok"] and "no HubDetails.xml was found; looked for %s" % host.places[0] in found["problems"][0]


def problems(host, **arguments):
    found = host.info(**arguments)
    assert not found["ok"]
    return "\n".join(found["problems"])


def test_several_files_are_a_problem_that_lists_them(host):
    host.put(place=1)
    assert "2 files were found where one was expected: %s, %s" % tuple(host.places) in problems(host, port=NEW, required=False)


def test_a_file_that_is_refused_is_a_problem_that_quotes_nothing(host):
    host.put(content="<HubDetails><Url>https://hub/</Url><Password>hunter2</Password>")
    sentence = problems(host, port=NEW)
    assert sentence.startswith("%s: the file is cut short" % host.path)
    host.put(content="<HubDetails><Url>https://hub/</Url><Proxy>http://hunter2</Proxy><Proxy>other</Proxy></HubDetails>")
    assert problems(host).startswith("%s: there are 2 <Proxy> directly below <HubDetails> that say different things" % host.path)


def test_a_file_in_an_unknown_folder_needs_its_service(host):
    path = host.folder / "HubDetails.xml"
    host.path.rename(path)
    assert "name the agent's service with service" in problems(host, path=[str(path)])
    host.start()
    assert host.info(path=[str(path)], service="nntgen7agentcore")["service_active"] is True


def test_a_command_for_services_that_is_not_there_is_a_problem(host):
    assert "/nowhere/service can't be run: No such file or directory" in problems(host, service_command=["/nowhere/service"])


def test_a_change_that_is_under_way_is_a_problem(host):
    Place(str(host.record.parent), "change_tracker").write("state.json", dict(state="waiting"))
    assert "a change of this host is under way (waiting) and undoes itself unless it is confirmed" in problems(host, port=NEW)
    assert "a change of this host is under way" in host.evidence()["missing"]["under_way"]


def test_a_port_that_is_none_is_a_sentence(host):
    assert "port is 70000, which is not a port number" in host.run("change_tracker_info", port=70000)["msg"]
    assert "port is 0, which is not a port number" in host.evidence(port=0)["msg"]


@pytest.mark.parametrize("proxy", ["http://proxyuser-1:proxypass-2@proxy.example.test:3128", "proxy.example.test",
                                   "http://[::1]:1/"])
def test_a_proxy_in_the_file_is_told_and_not_shown(host, proxy):
    host.put(proxy=proxy)
    found = host.info(port=NEW)
    assert found["ok"] and found["through_proxy"] is True and "proxy.example" not in json.dumps(found)
    assert "an HTTP proxy stands between this agent and its hub" in found["notes"][-1]


@pytest.mark.parametrize("thumbprint, note", [("", None), ("hunter2", "is not one of 40 or 64 hexadecimal digits")])
def test_a_thumbprint_that_is_none_is_noted_and_not_shown(host, thumbprint, note):
    host.put(thumbprint=thumbprint)
    found = host.info()
    assert found["ok"] and found["thumbprint"] is None and (note is None or note in found["notes"][-1])


def test_a_thumbprint_without_tls_is_noted(host):
    host.put(content="<HubDetails><Url>http://hub/</Url><Thumbprint>%s</Thumbprint></HubDetails>" % FINGERPRINT)
    assert "has a <Thumbprint>, but a URL without TLS" in host.info()["notes"][-1]


# --- change_tracker_evidence

@pytest.fixture
def moved(host):
    """A host whose agent was moved, and is connected to the hub's new port."""
    host.hub(OLD)
    host.hub(NEW)
    host.migrated()
    host.start()
    return host


def test_an_agent_that_has_moved_proves_itself_and_is_marked_once(moved):
    found = moved.evidence(timeout=20, mark=True, check=True)
    assert found["ok"] and found["changed"] and json.loads(moved.record.read_text())["state"] == "changing"
    found = moved.evidence(timeout=20, mark=True)
    assert found["ok"] and found["changed"]
    assert (found["missing"], found["port"], found["old_port"], found["agent"]) == ({}, NEW, OLD, True)
    assert found["proved"][:2] == ["%s leads to https://%s:%d/api/" % (moved.path, HUB, NEW), "the service nntgen7agentcore runs"]
    assert "(pid %d) is connected to %s:%d" % (moved.processes[0].pid, HUB, NEW) in found["proved"][2]
    assert found["proved"][3:] == ["nothing is connected to the old port %d any more" % OLD,
                                   "%s does not exist, so that it holds no failure" % moved.log]
    assert json.loads(moved.record.read_text())["state"] == "verified"
    again = moved.evidence(timeout=20, mark=True)
    assert again["ok"] and again["changed"] is False


def test_a_look_at_an_agent_that_has_moved_is_its_proof_too(moved):
    asked = dict(port=NEW, proof=dict(timeout=20, settle=0.2, failure_patterns=[]))
    # One that has not proved itself is the business of the run that moves it.
    assert moved.info(**asked)["evidence"] is None
    assert moved.evidence(timeout=20, mark=True)["changed"]
    found = moved.info(**asked)["evidence"]
    assert (found["ok"], found["port"], found["old_port"], found["agent"]) == (True, NEW, OLD, True)
    # A log knows whole seconds: a line of the second of the change may be older than it.
    time.sleep(1)
    moved.write_log(0, "Hub Offline, connection retries exhausted")
    told = moved.info(**dict(asked, proof=dict(asked["proof"], timeout=0)))
    assert told["ok"] and told["evidence"]["ok"] is False and list(told["evidence"]["missing"]) == ["log"]
    assert moved.info(port=OLD, proof=asked["proof"], move_times=dict(limit=30, timeout=20, settle=0.2))["problems"] == [
        "start, proof and the login that confirms have 30 s together; the proof may take 20 s and twice 0.2 s to settle, and a "
        "new login 20 s; give them 41 s or more, or the proof less"]


def test_nothing_but_the_record_is_written_and_without_mark_not_even_that(moved):
    before = moved.content()
    assert moved.evidence(timeout=20)["ok"] and moved.content() == before


def test_a_connection_that_is_there_for_a_moment_again_and_again_is_seen(host):
    host.hub(NEW)
    host.migrated()
    host.start(seconds=0.1, pause=1)
    assert host.evidence(timeout=30)["ok"]


def test_the_old_port_in_the_file_is_no_proof(host):
    host.hub(OLD)
    host.start(OLD)
    found = host.evidence()
    assert found["failed"] and not found["ok"]
    assert found["missing"]["hub_url"] == "%s leads to https://%s:%d/api/, not to port %d" % (host.path, HUB, OLD, NEW)
    assert "has no connection to %s:%d" % (HUB, NEW) in found["missing"]["connection"]
    assert found["missing"]["connection"] in found["msg"]


def test_an_agent_that_does_not_run_is_no_proof(moved):
    moved.processes[0].kill()
    moved.processes[0].wait()
    found = moved.evidence()
    assert set(found["missing"]) == {"service", "connection"}
    assert found["missing"]["service"] == "the service nntgen7agentcore does not run"


def test_a_connection_that_comes_later_is_waited_for(host):
    host.migrated()
    host.start()
    timer = threading.Timer(2, host.hub, [NEW])
    timer.start()
    try:
        assert host.evidence(timeout=40)["ok"]
    finally:
        timer.join()


def test_a_connection_to_the_old_port_is_no_end_of_the_move(moved):
    moved.start(OLD)
    found = moved.evidence(timeout=1)
    assert set(found["missing"]) == {"old_port"}
    sentence = "(pid %d) still has a connection to %s:%d, the old port" % (moved.processes[1].pid, HUB, OLD)
    assert sentence in found["missing"]["old_port"]
    # It is told which port is the old one, or has it by the record.
    assert moved.evidence(timeout=20, old_port=OLD + 10)["ok"]


@pytest.mark.parametrize("text", ["Hub Offline, connection retries exhausted", "hub connection failed (403 IP address blocked)",
                                  "Certificate thumbprint does not match trusted"])
def test_a_new_failure_in_the_log_is_no_proof(moved, text):
    moved.changed(120)
    moved.write_log(-60, text)
    found = moved.evidence()
    assert "log" in found["missing"] and found["missing"]["log"].endswith(text)


def test_old_failures_and_other_lines_do_not_count(moved):
    with open(moved.log, "w") as target:
        target.write("Hub Offline, connection retries exhausted\n")
    moved.changed(120)
    moved.write_log(-3600, "Hub connection failed (500)")
    moved.write_log(-60, "Hub is as it should be")
    found = moved.evidence(timeout=20)
    assert found["ok"] and found["proved"][-1] == "%s: no failure since the change (1 that can't be dated)" % moved.log
    assert moved.evidence(timeout=20, failure_patterns=["as it should"])["missing"]["log"].endswith("Hub is as it should be")


def test_without_a_record_only_the_failures_of_the_last_time_count(host):
    host.hub(NEW)
    host.put(url=(HUB, NEW))
    host.start()
    host.write_log(-90000, "Hub Offline, connection retries exhausted")
    assert host.evidence(timeout=20)["ok"]
    host.write_log(-3600, "Hub Offline, connection retries exhausted")
    assert "log" in host.evidence()["missing"] and host.evidence(timeout=20, log_max_age=60)["ok"]


def settled(host, happens, timeout=3, **more):
    """(proved, missing) of an agent to which something happens right after it was well."""
    given = dict(dict(path=[str(path) for path in host.places], record=str(host.record), service=None, log_path=None,
                      required=True, service_command=[str(host.manager)], port=NEW, old_port=None, failure_patterns=FAILURES,
                      log_max_age=86400, settle=0.2), **more)
    questions = AgentEvidence(given)
    begin = questions.settle

    def settle():
        begin()
        happens(questions)

    questions.settle = settle
    return gather(questions, timeout, questions.settle_seconds)[:2]


def test_an_agent_that_ends_after_it_was_connected_is_no_proof(moved):
    def dies(unused):
        moved.processes[0].kill()
        moved.processes[0].wait()

    started = time.monotonic()
    assert settled(moved, dies, timeout=60)[1]["service"] == (
        "the service nntgen7agentcore has ended within 0.2 s after it was connected")
    assert time.monotonic() - started < 50    # no waiting mends it


def test_an_agent_that_was_started_anew_meanwhile_is_no_proof(moved):
    def restarts(questions):
        questions._running = lambda: (35, "7000000")

    found = settled(moved, restarts, timeout=60)[1]["service"]
    assert "was started anew within 0.2 s after it was connected (its main process is 35, and was none)" in found


def test_an_agent_that_loses_its_hub_meanwhile_is_no_proof(moved):
    def is_lost(unused):
        moved.start(OLD + 20)    # it runs, and no hub answers there
        moved.processes[0].kill()
        moved.processes[0].wait()

    assert "has no connection to %s:%d" % (HUB, NEW) in settled(moved, is_lost)[1]["connection"]


def test_a_failure_that_comes_meanwhile_counts_with_a_date_and_without(moved):
    def undated(unused):
        with open(moved.log, "a") as target:
            target.write("Hub Offline, connection retries exhausted\n")

    with open(moved.log, "w") as target:
        target.write("Hub connection failed\n")
    moved.changed(120)
    assert settled(moved, lambda unused: None)[1] == {}
    assert settled(moved, undated)[1]["log"] == (
        "%s: within 0.2 s after the agent was connected, 1 failures were added that can't be dated" % moved.log)
    # A date that is later than now is none: the clock was ahead.
    assert "1 failures were added that can't be dated" in settled(
        moved, lambda unused: moved.write_log(3600, "Hub connection failed"))[1]["log"]
    assert settled(moved, lambda unused: None)[1] == {}
    assert "since the change" in settled(moved, lambda unused: moved.write_log(-60, "Hub connection failed"))[1]["log"]


def test_what_an_agent_that_had_proved_itself_has_lost_and_found_again_does_not_count(moved):
    moved.verified(3600)
    moved.write_log(-300, "Hub Offline, connection retries exhausted")
    found = moved.evidence(timeout=20)
    assert found["ok"] and found["proved"][-1] == "%s: no failure in the last 30 s" % moved.log
    # One that fails now is told; the proof waits for half a minute without another.
    moved.write_log(0, "Hub connection failed (500)")
    assert moved.evidence()["missing"]["log"].startswith("%s, in the last 30 s: " % moved.log)
    # Before it has proved itself, all since the change counts.
    moved.verified(3600)
    moved.record.write_text(moved.record.read_text().replace('"verified"', '"changing"'))
    assert moved.evidence()["missing"]["log"].startswith("%s, since the change: " % moved.log)


def test_an_agent_that_had_proved_itself_settles_for_a_shorter_time(moved):
    moved.verified(3600)
    started = time.monotonic()
    assert settled(moved, lambda unused: None, settle=300)[1] == {} and 2 <= time.monotonic() - started < 60


def test_on_the_way_back_the_port_that_was_left_is_asked_about(moved):
    ChangeRecord(str(moved.record)).mark_rolled_back()
    moved.put()
    moved.start(OLD)
    sentence = "still has a connection to %s:%d, the old port" % (HUB, NEW)
    assert sentence in moved.evidence(port=OLD, timeout=1)["missing"]["old_port"]
    moved.processes[0].kill()
    moved.processes[0].wait()
    found = moved.evidence(port=OLD, timeout=20)
    assert found["ok"] and "nothing is connected to the old port %d any more" % NEW in found["proved"]


def test_a_broken_pattern_is_a_sentence(moved):
    assert 'the pattern "(" is no regular expression' in moved.evidence(failure_patterns=["("])["msg"]


def test_a_host_without_an_agent_has_nothing_to_prove_where_none_is_required(host):
    host.path.unlink()
    looked = host.info(port=NEW, required=False, proof=dict(timeout=0))["evidence"]
    assert (looked["ok"], looked["agent"], looked["port"]) == (True, False, NEW)
    found = host.evidence(required=False)
    assert found["ok"] and found["agent"] is False and found["proved"][0].startswith("no agent of Change Tracker is installed")
    found = host.evidence()
    assert set(found["missing"]) == {"hub_url", "service", "connection", "log"} and "looked for" in found["missing"]["hub_url"]


def test_a_hub_by_its_name_is_found_and_one_that_does_not_resolve_is_a_sentence(host):
    host.hub(NEW, "127.0.0.1")
    host.put(url=("localhost", NEW))
    host.start(NEW, "127.0.0.1")
    assert host.evidence(timeout=20)["ok"]
    host.put(url=("hub.invalid", NEW))
    assert host.evidence()["missing"]["connection"] == "the name hub.invalid does not resolve here"


def test_behind_a_proxy_the_connection_to_the_proxy_counts(host):
    host.hub(3128, PROXY)
    host.put(url=("hub.example.test", NEW), proxy="http://proxyuser-1:proxypass-2@%s:3128" % PROXY)
    assert "has no connection to its HTTP proxy" in host.evidence()["missing"]["connection"]
    host.start(3128, PROXY)
    found = host.evidence(timeout=20)
    assert found["ok"] and "is connected to its HTTP proxy, beyond which nothing can be seen from here" in found["proved"][2]
    host.put(url=("hub.example.test", NEW), proxy="http://proxyuser-1:1/proxypass-2@hunter2.invalid:3128")
    assert host.evidence()["missing"]["connection"] == "the name of its HTTP proxy does not resolve here"
    host.put(url=("hub.example.test", NEW), proxy="http://a b:c")
    assert "its <Proxy> can't be read" in host.evidence()["missing"]["connection"]


def test_an_ipv6_hub_is_found(host):
    try:
        host.hub(NEW, "::1")
    except OSError as err:
        pytest.skip("::1 can't be bound on this machine: %s" % err)
    host.put(url=("[::1]", NEW))
    host.start(NEW, "::1")
    found = host.evidence(timeout=20)
    assert found["ok"] and "is connected to [::1]:%d" % NEW in found["proved"][2]


# -- what the playbooks make of it

def test_what_could_not_be_compared_is_shown_with_the_host_it_is_about(run_playbook):
    order = dict(product="change_tracker", run="migrate", port=8443, order=["a1", "a2", "a3"], hub_hosts=[], found={},
                 doing=dict(path=[]))
    notes = dict(a1=dict(ok=True, notes=["a1: nothing was there to compare with"]), a2=dict(ok=True, notes=[]))
    tasks = [{"portshift.agents.migration": dict(act="gate", gate="path"), "run_once": True, "register": "found"},
             dict(debug=dict(var="found.notes"), run_once=True)]
    hosts = dict({host: dict(change_tracker_path=path) for host, path in notes.items()}, a3={},
                 localhost=dict(portshift_order=order, ansible_connection="local"))
    done = run_playbook(
        [dict(hosts="all:!localhost", gather_facts=False, tasks=tasks)],
        dict(all=dict(hosts=hosts, vars=dict(portshift_product="change_tracker", portshift_run="migrate"))))
    assert done.returncode == 0 and done.stdout.count("a1: nothing was there to compare with") == 1, done.stdout


def test_who_looks_after_the_hub_may_be_a_variable_of_the_hub(run_playbook):
    def tried(**told):
        # In check mode, where no run has opened the port.
        done = run_playbook(
            [dict(hosts="a1", gather_facts=False, vars_files=[str(CHECKOUT / "roles/change_tracker_agent/vars/main.yml")],
                  tasks=[dict(debug=dict(msg="tried: {{ change_tracker_agent_answering | bool }}"))])],
            dict(all=dict(hosts=dict(a1=dict(told, ansible_connection="local")))), "--check")
        assert done.returncode == 0, done.stdout
        return "tried: True" in done.stdout

    assert tried(portshift_host=dict(change_tracker=dict(hub_server="none")))
    assert not tried(portshift_host=dict(change_tracker=dict(hub_server="nginx")))
    assert not tried()
