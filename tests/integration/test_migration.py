# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks against the lab, run as a user runs them: what moved is judged by the bytes of every product file,
who reports by the root server's own count, and what the run said by its events."""

import datetime
import json
import re
import shutil
import socket
import subprocess
import sys

import pytest

from tests.integration.migration_lab import (
    CLIENT_CONFIG, CLIENT_MASTHEAD, CUTOVER, NEW, OLD, RECORDS, SERVER_CONFIG, SERVER_CREDENTIALS, Lab, difference)


@pytest.fixture
def new_lab(tmp_path):
    labs = []

    def make(kind="signed", name="lab"):
        labs.append(Lab(tmp_path / name, kind))
        return labs[-1]

    yield make
    for lab in labs:
        lab.stop()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A signed lab that has only its files: for plans and options that have to be refused."""
    lab = Lab(tmp_path_factory.mktemp("files") / "lab").write(clients=4)
    lab.issued()
    yield lab
    lab.stop()


@pytest.fixture
def untouched(files):
    """The same; the test may damage product files, but what it runs may change nothing."""
    whole = {name: files.path(*name).read_bytes() for name in files.snapshot()}
    files.expected = None
    yield files
    after = files.snapshot(records=True)
    for name, content in whole.items():
        files.path(*name).parent.mkdir(parents=True, exist_ok=True)
        files.path(*name).write_bytes(content)
    assert after == (files.expected or files.before)


def ready(lab):
    """From here on nothing of the lab may change."""
    lab.before = lab.snapshot(records=True)
    return lab


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


def test_oldest_ansible_core_moves_a_deployment_and_takes_it_back(new_lab, oldest):
    lab = new_lab("plain").start(relays="1", clients=1)
    lab.program = oldest
    before = lab.snapshot()
    lab.play("migrate").good()
    assert {host for host, _path in difference(before, lab.snapshot())} == set(lab.hosts)
    lab.play("rollback").good()
    assert lab.snapshot() == before


@pytest.mark.long
def test_phases_alone_and_back(new_lab, tmp_path):
    lab = new_lab().start()
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


def lost(lab):
    """The root server's own count; agents give up on a report after 10 s, as real ones do."""
    return {host: agent["lost"] for host, agent in lab.status()["agents"].items() if agent["lost"]}


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


@pytest.fixture
def stray(namespace):
    """stray(lab, host, parent): such an agent runs on `host` until the test ends."""
    begun = []
    yield lambda lab, host, parent: begun.append(subprocess.Popen(
        [*namespace.prefix, sys.executable, "-c", STRAY, lab.address(host), lab.address(parent), str(OLD)]))
    for process in begun:
        process.kill()
        process.wait()


def test_signed_deployment_moves_closes_and_comes_back_as_foretold_and_no_report_is_lost(tmp_path, namespace, stray):
    lab = Lab(tmp_path / "lab", "signed", namespace)
    try:
        lab.start(clients=3, give_up=10)
        stray(lab, "client02", "relay2")
        before, recorded = lab.snapshot(), lab.snapshot(records=True)
        web_reports = lab.pid("server", "beswebreports")
        assert lab.play("plan").good().changed == {}
        check = lab.play("migrate", "--check", "--diff").good()
        assert lab.snapshot(records=True) == recorded
        assert set(lab.ports().values()) == {OLD} and bridges(namespace) == set()
        assert all(event["diff"] for event in check.events if event["event"] == "ok" and event["action"] == CUTOVER)

        first = lab.play("migrate", "-e", "bigfix_phases=1").good()
        # The server and relay1 have moved and go on answering on the old port; relay2 answers on the new one already.
        assert bridges(namespace) == {("52311", "55000"), ("55000", "52311")}
        rest = lab.play("migrate").good()
        lab.wait(NEW)
        assert lost(lab) == {}
        assert bridges(namespace) == {("52311", "55000")}
        moved = difference(before, lab.snapshot())
        assert {host for host, _path in moved} == set(lab.hosts)
        assert lab.short(check.edits) == moved      # what was foretold, no more and no less
        assert lab.short(first.edits) | lab.short(rest.edits) == moved and not first.edits & rest.edits
        assert set(lab.ports().values()) == {NEW}
        assert lab.pid("server", "beswebreports") == web_reports
        assert lab.play("migrate").good().changed == {}
        assert lab.play("verify").good().changed == {}
        assert difference(before, lab.snapshot()) == moved

        # It lives on what the bridges let pass, and would be cut off.  Everything else that used the old port has moved since.
        shut = lab.play("close").bad("Nothing was closed", "port %d of relay2 by client02 (%s, " % (OLD, lab.address("client02")),
                                     "-e '{\"bigfix_close_ignore_users\": [\"%s\"]}'" % lab.address("client02"))
        assert shut.changed == {} and "Close" not in shut.plays and bridges(namespace) == {("52311", "55000")}
        assert not any(word in sentence for sentence in shut.failures for word in ("client01", "client03", "relay1", "server"))
        lab.play("close", "-e", "bigfix_close_ignore_users=%s" % lab.address("client02")).good()
        assert bridges(namespace) == set()
        assert lab.play("close").good().changed == {}
        assert lab.play("migrate").good().changed == {}
        assert bridges(namespace) == set()

        back = lab.play("rollback").good()
        assert set(back.changed) == set(lab.hosts)
        assert lab.snapshot() == before
        lab.wait(OLD)
        assert lost(lab) == {}
        assert bridges(namespace) == set()
        assert lab.pid("server", "beswebreports") == web_reports
        assert lab.play("rollback", "-e", "bigfix_port=%d" % NEW).good().changed == {}
        refused = lab.play("verify", "-e", "bigfix_evidence_timeout=2").bad("no proof on port %d" % NEW)
        assert refused.failed == set(lab.hosts)
    finally:
        lab.stop()


# test_rollback_records.py has the way back alone.
@pytest.mark.long
def test_what_was_opened_before_anybody_moved_is_taken_back_by_its_port_alone(tmp_path, namespace):
    lab = Lab(tmp_path / "lab", "plain", namespace)
    try:
        # Nobody listens, so no path can be proved, and the run ends with both ports open.
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


def test_unreachable_clients(new_lab):
    lab = new_lab().start(relays="1", clients=4)
    before = lab.snapshot(records=True)
    ssh = lab.by_ssh("client03")
    lab.lose("client03")

    shut = lab.play("migrate", inventories=[ssh]).bad("gate after the plan: closed", "client03", "1 of 6")
    assert shut.stats["client03"]["unreachable"] == 1
    assert "Phase 1" not in shut.plays and lab.snapshot(records=True) == before

    # One may be missing, and the window is open.
    most = lab.play("migrate", "-e", "bigfix_max_missing=1", "-e", window(-60, 60), inventories=[ssh])
    assert most.failed == {"client03"} and "What is left to a person" in most.plays
    changed = {host for host, _path in difference(before, lab.snapshot())}
    assert changed == set(lab.hosts) - {"client03"}

    # Now it is there again, but only until the wave.
    lab.find("client03")
    late = lab.begin("migrate", "-e", "bigfix_client_waves=100%", inventories=[ssh])
    late.until(lambda: "Phase 2" in late.plays)
    lab.lose("client03")
    late.wait().bad("gate after phase 3: closed", "client03", "unreachable")
    assert late.stats["client03"]["unreachable"] == 1
    assert difference(before, lab.snapshot()).isdisjoint({("client03", CLIENT_CONFIG), ("client03", CLIENT_MASTHEAD)})

    # The latecomer alone.
    lab.find("client03")
    alone = lab.play("migrate", "--limit", "client03", inventories=[ssh]).good()
    assert alone.changed.keys() == {"client03"}
    lab.wait(NEW)


def test_relay_that_does_not_come_up_on_the_new_port(new_lab):
    lab = new_lab().start()
    before = lab.snapshot()
    lab.ok("fault", "relay2", "refuse-port:%d" % NEW)
    stopped = lab.play("migrate").bad("relay2", "Its files are as they were before, byte for byte")
    assert stopped.stats["relay2"]["rescued"] == 1
    assert "Phase 3" not in stopped.plays
    assert {host for host, _path in difference(before, lab.snapshot())} == {"server", "relay1", "client01"}
    services = lab.status()["hosts"]["relay2"]
    assert services["port"] == OLD and all(service["running"] for service in services["services"].values())

    lab.ok("fault", "relay2", "clear")
    lab.play("migrate").good()
    lab.wait(NEW)
    assert set(lab.ports().values()) == {NEW}


# -- refusals: each is one run against files, and changes nothing

@pytest.mark.parametrize("port, sentence", [
    ("0", "bigfix_port is 0, which is not a port number"),
    ("70000", "bigfix_port is 70000, which is not a port number"),
    ("55000x", "bigfix_port is '55000x', which is not a port number"),
    ("52314", "BigFix keeps 52314 for itself"),
    ("80", "bigfix_port is 80: BigFix does not take a port from 1 to 1024"),
    ("8080", "the default port of Web Reports"),
])
def test_port_that_can_not_be(untouched, port, sentence):
    lab = ready(untouched)
    run = lab.play("migrate", port=port).bad("Nothing was changed", sentence)
    assert run.plays == ["Deployment"]


def test_port_that_is_in_use_already(untouched):
    lab = ready(untouched)
    lab.play("migrate", "--limit", "server,client01", port=OLD, src=lab.issue(OLD)).bad(
        "Nothing was changed", "there is nothing to move")


def without(inventory, group):
    del inventory["all"]["children"][group]


def second_server(inventory):
    inventory["all"]["children"]["bigfix_server"]["hosts"]["server2"] = {}


def variable(group, host, parent):
    def change(inventory):
        inventory["all"]["children"][group]["hosts"][host]["bigfix_parent"] = parent
    return change


def late_parent(inventory):
    inventory["all"]["children"]["bigfix_pilot"]["hosts"]["client02"] = {}


@pytest.mark.parametrize("damage, words", [
    (lambda inventory: without(inventory, "bigfix_pilot"), ["inventory group bigfix_pilot is missing"]),
    (second_server, ["has to hold the one root server", "2: server, server2"]),
    (variable("bigfix_clients", "client02", "relay9"), ["client02: bigfix_parent is relay9"]),
    (variable("bigfix_relays", "relay1", "relay2"), ["run in a circle: relay1 -> relay2 -> relay1"]),
    (late_parent, ["client02 is in bigfix_pilot, but its parent relay2 is not"]),
], ids=["group", "servers", "parent", "circle", "pilot"])
def test_inventory_that_can_not_be(untouched, damage, words):
    import yaml
    lab = ready(untouched)
    original = (lab.folder / "inventory.yml").read_text()
    inventory = yaml.safe_load(original)
    damage(inventory)
    try:
        (lab.folder / "inventory.yml").write_text(yaml.safe_dump(inventory))
        run = lab.play("migrate").bad("Nothing was changed", *words)
    finally:
        (lab.folder / "inventory.yml").write_text(original)
    assert run.plays == ["Deployment"]


def test_damaged_hosts_are_all_named_in_one_plan(untouched):
    lab = untouched
    masthead = lab.path("client01", CLIENT_MASTHEAD).read_bytes()
    lab.path("client01", CLIENT_MASTHEAD).unlink()
    lab.path("client02", CLIENT_MASTHEAD).write_bytes(b"")
    lab.path("client03", CLIENT_MASTHEAD).write_bytes(masthead[:len(masthead) // 2])
    lab.path("client04", CLIENT_MASTHEAD).write_bytes(masthead.replace(b":52311/", b":52399/", 1))
    lab.path("relay2", CLIENT_CONFIG).unlink()
    run = ready(lab).play("migrate").bad("gate after the plan: closed", "5 of 7", "client01", "client02", "client03",
                                         "client04", "relay2")
    assert "Phase 1" not in run.plays
    for sentence in ("client01/%s; name the right places" % CLIENT_MASTHEAD,
                     "client02/%s: empty file where a masthead was expected" % CLIENT_MASTHEAD,
                     "client03/%s: signed masthead that is cut short" % CLIENT_MASTHEAD,
                     "client04/%s: holds several ports: 52311, 52399" % CLIENT_MASTHEAD,
                     "relay2/%s: does not exist" % CLIENT_CONFIG):
        assert sentence in run.output, sentence


def test_masthead_whose_signature_is_broken_already(untouched):
    lab = untouched
    masthead = lab.path("client04", CLIENT_MASTHEAD)
    masthead.write_bytes(masthead.read_bytes().replace(b":52311/", b":55000/"))
    ready(lab).play("plan", "--limit", "client04").bad(
        "gate after the plan: closed", "client04", "its signature is broken")


def test_issued_masthead_of_another_deployment_or_port(untouched, tmp_path):
    lab = ready(untouched)
    lab.play("migrate", src=lab.issue(55001)).bad("bigfix_masthead_src", "is for port 55001, not for %d" % NEW)
    other = Lab(tmp_path / "other").write(relays="1", clients=1)
    run = lab.play("migrate", "--limit", "server,client01", src=other.issued()).bad(
        "gate after the plan: closed", "2 of 2", "masthead of another deployment")
    assert "Phase 1" not in run.plays


def test_issued_masthead_that_is_not_there(untouched):
    ready(untouched).play("migrate", src="nowhere/masthead.afxm").bad("Nothing was changed", "nowhere/masthead.afxm")


def test_new_port_that_somebody_else_holds(untouched):
    lab = untouched
    with open(lab.path("server", SERVER_CONFIG), "r+") as stream:
        text = stream.read()
        assert text.count("= 8080") == 1
        stream.seek(0)
        stream.write(text.replace("= 8080", "= %d" % NEW))
        stream.truncate()
    with socket.create_server((lab.address("relay1"), NEW)):
        run = ready(lab).play("migrate", "--limit", "server,relay1").bad(
            "gate after the plan: closed", "relay1", "server", "2 of 2", "port of Web Reports")
    assert "port %d is in use already: process" % NEW in " ".join(run.failures)
    assert "listens on %s" % lab.address("relay1") in run.output and "Phase 1" not in run.plays


def test_closed_window(untouched):
    lab = ready(untouched)
    run = lab.play("migrate", "--limit", "server", "-e", window(60, 120)).bad(
        "the maintenance window is", "was not begun")
    assert run.changed == {} and "Gate after phase 1" not in run.plays


def test_file_that_may_not_be_written(untouched):
    lab = ready(untouched)
    folder = lab.path("client03", CLIENT_CONFIG).parent
    folder.chmod(0o555)
    try:
        lab.play("plan", "--limit", "client03", obedient=True).bad(
            "gate after the plan: closed", "client03", "permission denied")
    finally:
        folder.chmod(0o755)


def test_file_on_a_read_only_file_system(untouched):
    user = [] if not subprocess.call(["unshare", "-m", "true"]) else ["-Ur"]
    if not shutil.which("unshare") or subprocess.call(["unshare", *user, "-m", "true"]):
        pytest.skip("no mount namespace for this user here; test_file_that_may_not_be_written stands for it")
    lab = ready(untouched)
    folder = str(lab.path("client03", CLIENT_CONFIG).parent)
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    lab.play("plan", "--limit", "client03", prefix=["unshare", *user, "-m", "sh", "-c", mount, folder]).bad(
        "gate after the plan: closed", "client03", "read-only file system")
