# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks against the lab, run as a user runs them: what moved is judged by the bytes of every product file,
who reports by the root server's own count, and what the run said by its events."""

import contextlib
import datetime
import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys

import pytest

from tests.integration.journey import SITE_CONFIG, Journey, ends_by_saying_what_was_done_and_what_is_left
from tests.integration.namespaces import namespace_or_skip
from tests.integration.migration_lab import (
    CLIENT_CONFIG, CLIENT_MASTHEAD, CUTOVER, EVIDENCE, HOST_PORT, INFO, NEW, OLD, PROBE, RECORDS, SERVER_CONFIG,
    SERVER_CREDENTIALS, Lab, difference)


@pytest.fixture
def new_lab(tmp_path):
    labs = []

    def make(kind="signed", name="lab", namespace=None):
        labs.append(Lab(tmp_path / name, kind, namespace))
        return labs[-1]

    yield make
    for lab in labs:
        lab.stop()


# -- the whole way

def moved_as_foretold(lab):
    """A check run, then the real one -> ({(host, path)} that it changed, by the bytes)."""
    before = lab.snapshot(records=True)
    check = lab.play("migrate", "--check", "--diff").good()
    assert lab.snapshot(records=True) == before
    assert set(lab.ports().values()) == {OLD}
    assert all(event["diff"] for event in check.events if event["event"] == "ok" and event["action"] == CUTOVER)
    web_reports = lab.pid("server", "beswebreports")
    move = lab.play("migrate").good()
    moved = difference(before, lab.snapshot())
    assert {host for host, _path in moved} == set(lab.hosts)
    assert lab.short(check.edits) == moved      # what was foretold, no more and no less
    assert lab.short(move.edits) == moved
    credentials = lab.path("server", SERVER_CREDENTIALS).read_text()
    assert credentials == "RESTURL=https://localhost:%d/api\nUSERNAME=lab-operator\nPASSWORD=lab-secret-7Qz\n" % NEW
    assert "RESTURL=https://localhost:%d/api" % NEW in check.output and "lab-secret" not in check.output + move.output
    assert "lab-operator" not in check.output + move.output
    lab.wait(NEW)
    assert set(lab.ports().values()) == {NEW}
    assert lab.pid("server", "beswebreports") == web_reports
    return moved


@pytest.mark.long
def test_plain_deployment_there_and_back_and_there_again(new_lab):
    lab = new_lab("plain").start()
    before = lab.snapshot()
    moved = moved_as_foretold(lab)
    lab.play("rollback").good()
    assert lab.snapshot() == before
    lab.wait(OLD)
    lab.play("migrate").good()
    assert difference(before, lab.snapshot()) == moved
    lab.wait(NEW)


@pytest.mark.long
def test_phases_alone_and_back(namespace, new_lab, tmp_path):
    lab = new_lab(namespace=namespace).start()
    before = lab.snapshot()
    first = lab.play("migrate", "-e", "bigfix_phases=1").good()
    moved = difference(before, lab.snapshot())
    assert {host for host, _path in moved} == {"server", "relay1", "client01"}
    assert {host: port for host, port in lab.ports().items() if host in ("server", "relay1", "relay2")} == {
        "server": NEW, "relay1": NEW, "relay2": OLD}
    lab.play("rollback").good()
    assert lab.snapshot() == before
    lab.wait(OLD)

    tagged = lab.play("migrate", "--tags", "phase1").good()
    assert difference(before, lab.snapshot()) == moved
    assert (tagged.edits, tagged.changed) == (first.edits, first.changed)

    # A phase alone asks for fresh proof of those before it.
    early = lab.play("migrate", "--tags", "phase3", "-e", "bigfix_evidence_timeout=2").bad("no proof on port %d" % NEW)
    assert early.changed == {} and early.failed >= {"relay2"} and "Phase 3: clients" not in early.plays

    lab.play("migrate", "-e", "bigfix_phases=1,2").good()
    moved = difference(before, lab.snapshot())
    assert {host for host, _path in moved} == {"server", "relay1", "client01", "relay2"}

    check_roles_of_a_site(lab, tmp_path)
    lab.wait(NEW)

    lab.play("rollback").good()
    assert lab.snapshot() == before
    lab.wait(OLD)


def check_roles_of_a_site(lab, folder):
    """client02, whose parent has moved, by a playbook of the site's own: verb by verb, then all of the role."""
    def play(name, verb, *options):
        role = dict(name="portshift.agents.bigfix_client", **({"tasks_from": verb} if verb else {}))
        path = folder / (name + ".json")
        path.write_text(json.dumps([dict(
            name=name, hosts="client02", gather_facts=False, tasks=[
                {"name": "Role", "ansible.builtin.include_role": role, "vars": {
                    "bigfix_client_port": NEW, "bigfix_client_masthead_src": lab.issued(),
                    "bigfix_client_evidence_timeout": 10}},
                {"name": "Assessment", "ansible.builtin.debug": {
                    "msg": "{{ bigfix_component_assessment.edits | default([]) | length }} edits"}}])]))
        return lab.play_file(path, *options)

    before = lab.snapshot(records=True)
    looked = play("assess", "assess").good()
    assert [event["msg"] for event in looked.events if event["event"] == "ok" and event["task"] == "Assessment"] == [
        "2 edits"]
    play("verify-too-early", "verify").bad("no proof on port %d" % NEW)
    assert lab.snapshot(records=True) == before
    assert play("move", None).good().changed.keys() == {"client02"}
    assert {host for host, _path in difference(before, lab.snapshot(records=True))} == {"client02"}
    assert play("verify", "verify").good().changed == {}
    assert play("move-again", None).good().changed == {}


# -- both ports at once

@pytest.fixture
def namespace(own_namespace):
    return own_namespace


def bridges(namespace):
    """{(port that is rewritten, port that it leads to)} of all live bridges."""
    ruleset = namespace.run("nft", "-j", "list", "ruleset")
    assert ruleset.returncode == 0, ruleset.stderr
    return set(re.findall(r'"right": (\d+)\}\}, \{"dnat": \{[^}]*"port": (\d+)', ruleset.stdout))


def lost(status):
    """The root server's own count."""
    return {host: agent["lost"] for host, agent in status["agents"].items() if agent["lost"]}


# An agent that was started by hand and never again: it has read the old port, and keeps a connection there.
STRAY = """
import socket, sys, time
mine, parent, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
while True:
    try:
        with socket.create_connection((parent, port), 5, (mine, 0)) as connection:
            while True:
                connection.sendall(b"GET /masthead/masthead.afxm HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                if not connection.recv(65536):
                    break
                time.sleep(0.5)
    except OSError:
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def journey(tmp_path_factory, oldest_if_there):
    """There, closed, and back, with an agent that clings to the old port, by two releases of ansible-core."""
    with namespace_or_skip() as namespace:
        lab = Lab(tmp_path_factory.mktemp("journey") / "lab", "signed", namespace)
        stray = None

        def look():
            status = lab.status()
            return dict(files=lab.snapshot(), everything=lab.snapshot(records=True), bridges=bridges(namespace),
                        ports={host: found["port"] for host, found in status["hosts"].items()}, lost=lost(status),
                        web_reports=status["hosts"]["server"]["services"]["beswebreports"]["pid"])

        try:
            # Agents give up on a report after 10 s, as real ones do.
            lab.start(give_up=10)
            with Journey(lab, look) as walked:
                stray = subprocess.Popen([*namespace.prefix, sys.executable, "-c", STRAY, lab.address("client02"),
                                          lab.address("relay2"), str(OLD)])
                walked.keep("start").stray = lab.address("client02")
                walked.play("plan")
                walked.play("migrate", "--check", "--diff", step="check")
                walked.play("migrate", "-e", "bigfix_phases=1", step="phase 1", program=oldest_if_there)
                walked.play("migrate")
                lab.wait(NEW)
                walked.keep("all report on the new port")
                walked.play("verify")
                walked.play("close", step="close with a user", refused=True)
                walked.play("close", "-e", "bigfix_close_ignore_users=%s" % lab.address("client02"))
                walked.play("close", step="close again")
                walked.play("migrate", step="again")
                walked.play("rollback", program=oldest_if_there, **SITE_CONFIG)
                lab.wait(OLD)
                walked.keep("all report on the old port")
                walked.play("rollback", "-e", "bigfix_port=%d" % NEW, step="rollback again")
                walked.play("verify", "-e", "bigfix_evidence_timeout=2", step="verify after rollback", refused=True)
            return walked
        finally:
            if stray:
                stray.kill()
                stray.wait()
            lab.stop()


def test_journey_was_walked_to_its_end(journey):
    journey.whole()


def test_plan_and_check_run_change_nothing(journey):
    start, check = journey["start"], journey["check"]
    assert journey["plan"].run.changed == {}
    assert start.everything == journey["plan"].everything == check.everything
    assert set(check.ports.values()) == {OLD} and check.bridges == set()
    assert all(event["diff"] for event in check.run.events if event["event"] == "ok" and event["action"] == CUTOVER)


def test_phase_one_moves_the_server_and_the_pilot_alone(journey):
    first = journey["phase 1"]
    assert {host for host, _path in difference(journey["start"].files, first.files)} == {"server", "relay1", "client01"}
    assert (first.ports["server"], first.ports["relay1"], first.ports["relay2"]) == (NEW, NEW, OLD)
    # The server and relay1 have moved and go on answering on the old port; relay2 answers on the new one already.
    assert first.bridges == {("52311", "55000"), ("55000", "52311")}


def test_what_was_foretold_moves_no_more_and_no_less(journey):
    lab, check, first, rest = journey.lab, journey["check"].run, journey["phase 1"].run, journey["migrate"].run
    moved = difference(journey["start"].files, journey["migrate"].files)
    assert {host for host, _path in moved} == set(journey.hosts)
    assert lab.short(check.edits) == moved
    assert lab.short(first.edits) | lab.short(rest.edits) == moved and not first.edits & rest.edits
    # The server, a relay and a client that had moved were left alone by the second run.
    assert set(rest.changed) == {"relay2", "client02"}
    assert set(journey["all report on the new port"].ports.values()) == {NEW}
    assert journey["migrate"].bridges == {("52311", "55000")}


def test_credentials_of_the_server_follow_the_port_and_are_shown_in_no_output(journey):
    moved, start, end = (journey[step].files["server", SERVER_CREDENTIALS] for step in ("migrate", "start", "rollback"))
    content = "RESTURL=https://localhost:%d/api\nUSERNAME=lab-operator\nPASSWORD=lab-secret-7Qz\n" % NEW
    assert moved[-1] == hashlib.sha256(content.encode()).hexdigest() and start == end != moved
    assert "RESTURL=https://localhost:%d/api" % NEW in journey["check"].run.output
    for step, run in journey.runs.items():
        assert not any(secret in run.output for secret in ("lab-secret", "lab-operator")), step


def test_a_client_costs_three_module_runs_and_one_that_has_moved_costs_one(journey):
    """Look, path, move; the look at a host that has moved is its proof.  Not counted: the lock."""
    def runs(step, host):
        return [event["action"] for event in journey[step].run.events if event["event"] in ("ok", "failed") and
                event["host"] == host and event["action"] in (INFO, PROBE, CUTOVER, EVIDENCE, HOST_PORT)]

    assert runs("phase 1", "client01") == runs("migrate", "client02") == [INFO, PROBE, CUTOVER]
    assert runs("migrate", "client01") == [INFO]
    for host in journey.hosts:
        assert runs("again", host) == [INFO], host
    # Alone in its step, it runs what is asked once for all of it: the gate before, the lock, the title.
    counts = journey["migrate"].run.stats["client02"]
    assert counts["ok"] + counts["skipped"] - 3 <= 10, counts


def test_no_report_is_lost_there_and_back(journey):
    for step in ("all report on the new port", "all report on the old port"):
        assert journey[step].lost == {}, step


def test_verify_of_a_deployment_that_has_moved_changes_nothing(journey):
    assert journey["verify"].run.changed == {} and journey["verify"].files == journey["migrate"].files


def test_close_names_who_would_be_cut_off_and_closes_nothing(journey):
    # It lives on what the bridges let pass.  Everything else that used the old port has moved since.
    shut, address = journey["close with a user"], journey["start"].stray
    shut.run.bad("Nothing was closed", "port %d of relay2 by client02 (%s, " % (OLD, address),
                 "-e '{\"bigfix_close_ignore_users\": [\"%s\"]}'" % address)
    assert shut.run.changed == {} and "Close the old port" not in shut.run.plays and shut.bridges == {("52311", "55000")}
    others = set(journey.hosts) - {"relay2", "client02"}
    assert not any(word in sentence for sentence in shut.run.failures for word in others)


def test_close_ends_the_old_port_once_and_later_runs_change_nothing(journey):
    assert journey["close"].bridges == set()
    for step in ("close again", "again"):
        assert journey[step].run.changed == {}, step
        assert journey[step].bridges == set() and journey[step].files == journey["migrate"].files, step


def test_rollback_gives_every_byte_back_once(journey):
    start, back, again = journey["start"], journey["rollback"], journey["rollback again"]
    assert set(back.run.changed) == set(journey.hosts)
    assert back.files == again.files == start.files and again.run.changed == {}
    assert back.bridges == set() and set(journey["all report on the old port"].ports.values()) == {OLD}
    refused = journey["verify after rollback"].run.bad("no proof on port %d" % NEW)
    assert refused.failed == set(journey.hosts)


def test_every_run_ends_by_saying_what_was_done_and_what_is_left(journey):
    ends_by_saying_what_was_done_and_what_is_left(
        journey, "bigfix", "port", OLD, NEW, {"root server and pilot": 3, "relays": 1, "clients": 1})


def test_web_reports_runs_through_all_of_it(journey):
    assert {step.web_reports for step in journey.steps.values()} == {journey["start"].web_reports}


def test_oldest_ansible_core_moves_a_deployment_and_takes_it_back(journey, oldest):
    for step, hosts in (("phase 1", {"server", "relay1", "client01"}), ("rollback", set(journey.hosts))):
        assert oldest in journey[step].run.good().process.args and set(journey[step].run.changed) >= hosts


# test_rollback_records.py has the way back alone.
@pytest.mark.long
def test_what_was_opened_before_any_host_moved_is_taken_back_by_its_port_alone(tmp_path, namespace):
    lab = Lab(tmp_path / "lab", "plain", namespace)
    try:
        # No process listens, so no path can be proved, and the run ends with both ports open.
        lab.write(relays="1", clients=1)
        before = lab.snapshot()
        lab.play("migrate", "-e", "bigfix_probe_timeout=1").bad("gate after the opening of port %d: closed" % NEW)
        opened = bridges(namespace)
        assert opened == {(str(NEW), str(OLD))}
        refused = lab.play("rollback", "-e", "bigfix_port=%d" % (NEW + 1)).bad(
            "Nothing was changed. There is no migration to port %d to take back" % (NEW + 1))
        assert refused.changed == {} and bridges(namespace) == opened
        lab.play("rollback", "-e", "bigfix_port=%d" % NEW).good()
        assert bridges(namespace) == set() and lab.snapshot() == before
    finally:
        lab.stop()


# -- interruptions

# All of them inside a cutover: the module is killed too, with services stopped and files half edited.
MOMENTS = {
    "the server's agent is stopped": lambda lab: lab.pid("server", "besclient") is None,
    "relay2 has noted its first edit": lambda lab: lab.path("relay2", RECORDS + "bigfix.json").exists(),
    "client02 has its settings": lambda lab: b"55000" in lab.path("client02", CLIENT_CONFIG).read_bytes(),
}


@pytest.mark.long
def test_killed_three_times_ends_migrated_and_can_go_back(new_lab):
    """At each moment the next run goes on from what is there; the last one ends, and all of it can be taken back."""
    lab = new_lab().start()
    before = lab.snapshot()
    for moment, happened in MOMENTS.items():
        run = lab.begin("migrate").until(lambda happened=happened: happened(lab)).kill()
        assert run.status == -9 and not any(event["event"] == "stats" for event in run.events), moment
    lab.play("migrate").good()
    lab.wait(NEW)
    assert set(lab.ports().values()) == {NEW}
    lab.play("rollback").good()
    assert lab.snapshot() == before
    lab.wait(OLD)


def test_server_that_was_killed_with_its_services_down_is_finished_by_the_same_command(tmp_path, namespace):
    """Its children could not prove a path to it, and its own move comes after that."""
    lab = Lab(tmp_path / "lab", "signed", namespace)
    try:
        lab.start(relays="1", clients=1)
        before = lab.snapshot()
        record = lab.path("server", RECORDS + "bigfix.json")
        lab.begin("migrate").until(lambda: record.exists() and lab.pid("server", "besserver") is None).kill()
        lab.play("migrate").good()
        lab.wait(NEW)
        assert bridges(namespace) == {("52311", "55000")}

        # What drifts back on a host that has moved is moved again, and its bridge is not turned for that.
        config = lab.path("server", CLIENT_CONFIG)
        config.write_bytes(config.read_bytes().replace(b"55000", b"52311"))
        drifted = lab.play("migrate").good()
        assert bridges(namespace) == {("52311", "55000")}
        assert not [event for event in drifted.events if event["event"] == "ok" and event["changed"]
                    and event["action"] == "portshift.agents.port_bridge"]
        lab.play("rollback").good()
        assert lab.snapshot() == before
    finally:
        lab.stop()


# -- hosts that do not answer, ports that do not open

def window(first, last):
    now = datetime.datetime.now()
    return "bigfix_window=%s-%s" % tuple(
        (now + datetime.timedelta(minutes=minutes)).strftime("%H:%M") for minutes in (first, last))


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """One run after the other, each of which meets with something, until the last host has moved."""
    lab = Lab(tmp_path_factory.mktemp("troubled") / "lab", "plain")

    def look():
        return dict(files=lab.snapshot(), everything=lab.snapshot(records=True), hosts=lab.status()["hosts"])

    try:
        # client02 and client03 are below relay2 and no part of the pilot.
        lab.start(clients=3)
        ssh = lab.by_ssh("client03")
        with Journey(lab, look) as walked:
            walked.keep("start")
            lab.ok("fault", "relay2", "refuse-port:%d" % NEW)
            walked.play("migrate", step="relay2 does not come up", refused=True)
            lab.ok("fault", "relay2", "clear")
            lab.lose("client03")
            walked.play("migrate", step="client03 is away", refused=True, inventories=[ssh])
            # One may be missing, and the window is open; what a site's ansible.cfg says of all plays has no effect.
            walked.keep("one may be missing", lab.play(
                "migrate", "-e", "bigfix_max_missing=1", "-e", window(-60, 60), inventories=[ssh],
                **SITE_CONFIG))
            # Now it is there again, but only until the wave.
            lab.find("client03")
            late = lab.begin("migrate", "-e", "bigfix_client_waves=100%", inventories=[ssh])
            # Its path is proved; the phases of those that have moved already ask no host.
            late.until(lambda: any(event["event"] == "ok" and event.get("action") == PROBE and event["host"] == "client03"
                                   for event in late.events))
            lab.lose("client03")
            walked.keep("lost amid the run", late.wait())
            lab.find("client03")
            walked.play("migrate", "--limit", "client03", step="the latecomer alone", inventories=[ssh])
            lab.wait(NEW)
            walked.keep("end")
        return walked
    finally:
        lab.stop()


def test_troubled_migration_ends(troubled):
    end = troubled.whole()["end"]
    assert {host: found["port"] for host, found in end.hosts.items()} == dict.fromkeys(troubled.hosts, NEW)


def test_relay_that_does_not_come_up_on_the_new_port(troubled):
    stopped = troubled["relay2 does not come up"]
    stopped.run.bad("relay2", "Its files are as they were before, byte for byte")
    assert stopped.run.stats["relay2"]["rescued"] == 1
    assert "Phase 3: clients" not in stopped.run.plays
    assert {host for host, _path in difference(troubled["start"].files, stopped.files)} == {"server", "relay1", "client01"}
    services = stopped.hosts["relay2"]
    assert services["port"] == OLD and all(service["running"] for service in services["services"].values())


def test_client_that_is_not_reached_ends_the_run_before_it_begins(troubled):
    shut = troubled["client03 is away"]
    shut.run.bad("gate after the plan: closed", "client03", "1 of 6")
    assert shut.run.stats["client03"]["unreachable"] == 1
    assert "Phase 1: root server and pilot" not in shut.run.plays
    assert shut.everything == troubled["relay2 does not come up"].everything


def test_client_that_may_be_missing_is_left_out(troubled):
    most = troubled["one may be missing"]
    assert most.run.failed == {"client03"} and "Report what was done, and what is left" in most.run.plays
    assert {host for host, _path in difference(troubled["start"].files, most.files)} == set(troubled.hosts) - {"client03"}


def test_client_that_is_lost_amid_the_run_closes_the_gate_of_its_phase_and_moves_alone_later(troubled):
    late, alone = troubled["lost amid the run"], troubled["the latecomer alone"]
    late.run.bad("gate after phase 3: closed", "client03", "unreachable")
    assert late.run.stats["client03"]["unreachable"] == 1
    assert difference(troubled["start"].files, late.files).isdisjoint(
        {("client03", CLIENT_CONFIG), ("client03", CLIENT_MASTHEAD)})
    assert alone.run.changed.keys() == {"client03"}


# -- refusals: each is one run against files, and changes nothing.  What an option or an inventory can't be: test_order_refused.py

@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A signed lab that has only its files: for plans and options that have to be refused."""
    lab = Lab(tmp_path_factory.mktemp("files") / "lab").write(clients=7)
    lab.issued()
    yield lab
    lab.stop()


@contextlib.contextmanager
def damaged(lab):
    """Whatever is done to the product's files meanwhile is undone."""
    whole = {name: lab.path(*name).read_bytes() for name in lab.snapshot()}
    try:
        yield
    finally:
        for name, content in whole.items():
            lab.path(*name).parent.mkdir(parents=True, exist_ok=True)
            lab.path(*name).write_bytes(content)


def refused(lab, *options, **how):
    """A run that has to change nothing."""
    before = lab.snapshot(records=True)
    run = lab.play("migrate", *options, **how)
    assert lab.snapshot(records=True) == before
    return run


def test_all_that_options_and_inventory_can_not_be_is_told_at_once_and_nothing_else_is_done(files):
    inventory = files.overlay("other-pilot", {"all": {"children": {"bigfix_pilot": {"hosts": {"client02": {}}}}}})
    run = refused(files, port="52314", src="nowhere/masthead.afxm", inventories=[inventory]).bad(
        "Nothing was changed", "BigFix keeps 52314 for itself", "nowhere/masthead.afxm",
        "client02 is in bigfix_pilot, but its parent relay2 is not")
    assert run.plays == ["Check the inventory and the options"]


def test_port_that_is_in_use_already(files):
    refused(files, "--limit", "server", port=OLD, src=files.issue(OLD)).bad("Nothing was changed", "there is nothing to move")


@pytest.mark.parametrize("options, words", [
    (["--limit", "server"], ["not part of the run, and below server", "Run without --limit"]),
    (["--tags", "phase1"], ["relay2: in a phase that does not run, and below relay1", "Run all phases"])], ids=["limit", "tags"])
def test_run_that_would_silence_who_stays_behind_is_refused_where_one_port_answers(files, options, words):
    run = refused(files, *options).bad("Nothing was changed", "(bigfix_bridge is false)", "-e bigfix_bridge=true", *words)
    assert run.changed == {} and "Open the new port beside the old one" not in run.plays


@pytest.fixture(scope="module")
def damaged_plan(files):
    """One plan of hosts each of which has something else against the move, and whether a file system was read-only in it."""
    lab = files
    user = [] if not subprocess.call(["unshare", "-m", "true"]) else ["-Ur"]
    mounts = shutil.which("setpriv") and not subprocess.call(["unshare", *user, "-m", "true"])
    folder = lab.path("client06", CLIENT_CONFIG).parent
    with damaged(lab):
        masthead = lab.path("client01", CLIENT_MASTHEAD).read_bytes()
        lab.path("client01", CLIENT_MASTHEAD).unlink()
        lab.path("client02", CLIENT_MASTHEAD).write_bytes(b"")
        lab.path("client03", CLIENT_MASTHEAD).write_bytes(masthead[:len(masthead) // 2])
        lab.path("client04", CLIENT_MASTHEAD).write_bytes(masthead.replace(b":52311/", b":52399/", 1))
        lab.path("client05", CLIENT_MASTHEAD).write_bytes(masthead.replace(b":52311/", b":55000/"))
        lab.path("relay2", CLIENT_CONFIG).unlink()
        config = lab.path("server", SERVER_CONFIG)
        assert config.read_text().count("= 8080") == 1
        config.write_text(config.read_text().replace("= 8080", "= %d" % NEW))
        how = dict(obedient=True)
        if mounts:
            # Root of a namespace of its own too obeys permissions then.
            mount = ('mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && '
                     'exec setpriv --bounding-set -dac_override -- "$@"')
            how = dict(prefix=["unshare", *user, "-m", "sh", "-c", mount, str(lab.path("client07", CLIENT_CONFIG).parent)])
        folder.chmod(0o555)
        try:
            with socket.create_server((lab.address("relay1"), NEW)):
                run = refused(lab, **how)
        finally:
            folder.chmod(0o755)
    return run, mounts


def test_damaged_hosts_are_all_named_in_one_plan(files, damaged_plan):
    run, mounts = damaged_plan
    run.bad("gate after the plan: closed", "%d of 10" % (10 if mounts else 9), *sorted(set(files.hosts) - {"client07"}))
    assert "Phase 1: root server and pilot" not in run.plays
    for sentence in ("client01/%s; name the right places" % CLIENT_MASTHEAD,
                     "client02/%s: empty file where a masthead was expected" % CLIENT_MASTHEAD,
                     "client03/%s: signed masthead that is cut short" % CLIENT_MASTHEAD,
                     "client04/%s: holds several ports: 52311, 52399" % CLIENT_MASTHEAD,
                     "relay2/%s: does not exist" % CLIENT_CONFIG):
        assert sentence in run.output, sentence
    # A masthead whose signature is broken already.
    run.bad("gate after the plan: closed", "client05", "its signature is broken")


def test_new_port_that_another_process_holds(files, damaged_plan):
    run = damaged_plan[0].bad("gate after the plan: closed", "relay1", "server", "port of Web Reports")
    assert "port %d is in use already: process" % NEW in " ".join(run.failures)
    assert "listens on %s" % files.address("relay1") in run.output


def test_file_that_may_not_be_written(damaged_plan):
    damaged_plan[0].bad("gate after the plan: closed", "client06", "permission denied")


def test_file_on_a_read_only_file_system(damaged_plan):
    run, mounts = damaged_plan
    if not mounts:
        pytest.skip("no mount namespace for this user here; test_file_that_may_not_be_written stands for it")
    run.bad("gate after the plan: closed", "client07", "read-only file system")


def test_closed_window(files):
    run = refused(files, "-e", window(60, 120)).bad("the maintenance window is", "was not begun")
    assert run.changed == {} and "Gate after phase 1" not in run.plays
