# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Change Tracker estate in containers, moved as a user moves it, while every agent sends a heartbeat four times a second."""

import json
import re
import time

import pytest

from tests.integration.change_tracker_estate import NEW, OLD, SITE, Estate, with_port
from tests.integration.journey import SITE_CONFIG, Journey, ends_by_saying_what_was_done_and_what_is_left
from tests.integration.product_lab import eventually

# A restart of an agent, and nothing longer, on a machine that has much to do.
LONGEST = "20"
# The agent that is meddled with, in most tests; it compares a thumbprint.
ONE = "agent01"
KNOCK = """
import socket, sys
for port in map(int, sys.argv[2:]):
    try:
        socket.create_connection((sys.argv[1], port), 3).close()
        print(port)
    except OSError:
        pass
"""


@pytest.fixture(scope="module")
def estate(engine, tmp_path_factory):
    made = Estate(tmp_path_factory.mktemp("change-tracker-moves") / "lab")
    try:
        # As many hosts as there are looks of an agent's file, and firewalls.
        yield made.start("--agents", "2", "--legacy", "1", "--thumbprint", "some", "--firewalls",
                         "firewalld,ufw,nftables,iptables")
    finally:
        made.stop()


def admitted(engine, lab):
    """What the hub's own firewall admits, now and after a boot."""
    code, said = lab.look(engine, "hub", "firewall-cmd --list-ports; firewall-cmd --permanent --list-ports")
    assert code == 0, said
    return said


@pytest.fixture
def lab(estate, engine):
    """On the old port before and after the test, without a heartbeat that failed in between."""
    estate.files_before, estate.details_before = estate.files(engine), estate.details(engine)
    estate.admitted_before = admitted(engine, estate)
    assert set(estate.ports().values()) == {OLD}
    began = time.time()
    yield estate
    fine, verdict = estate.heartbeats("--since", str(began), "--longest", LONGEST)
    assert fine, verdict["objections"]
    assert {host: found["failed"] for host, found in verdict["hosts"].items() if found["failed"]} == {}


def answered(lab, host="agent02"):
    """The ports of the hub that answer to that host."""
    done = lab.ssh(host, "python3 - %s %d %d" % (lab.described["hosts"]["hub"]["address"], OLD, NEW), stdin=KNOCK)
    assert done.returncode == 0, done.stderr
    return list(map(int, done.stdout.split()))


def urls(lab):
    """{host: the port of the URL in its file}"""
    found = {host: status["url"] for host, status in lab.status().items() if "url" in status}
    return {host: int(port.group(1)) if (port := re.search(r"hub:(\d+)", url)) else OLD for host, url in found.items()}


def changed_files(before, after):
    """{(host, path)} of the files whose bytes are not those from before; owner and mode of all are the same."""
    found = set()
    for host, lines in after.items():
        for line in set(lines) ^ set(before[host]):
            digest, path = line.split(None, 1)
            assert len(digest) == 64, "owner, mode or existence changed: %s" % line
            found.add((host, path.strip()))
    return found


def moved(engine, lab, but=()):
    """Every agent but those is on the new port: by its URL's digits, and no other byte of any file of the product's."""
    movers = [host for host in lab.agents if host not in but]
    assert lab.details(engine) == {
        host: with_port(before, NEW) if host in movers else before for host, before in lab.details_before.items()}
    assert changed_files(lab.files_before, lab.files(engine)) == {
        (host, lab.hub_details(host)) for host in movers} | {("hub", SITE)}
    eventually(lambda: {host: port for host, port in lab.ports().items() if port} == {
        host: NEW if host in movers else OLD for host in lab.agents}, 30)


def units(engine, lab):
    """{host: the units of a change that waits for its confirmation}, where there are any."""
    look = "ls -d /etc/systemd/system/portshift-confirm-* /run/systemd/system/portshift-confirm-* 2>/dev/null; true"
    return {host: said for host in lab.agents for said in [lab.look(engine, host, look)[1]] if said}


def back(engine, lab):
    lab.play("rollback").good()
    assert lab.files(engine) == lab.files_before and lab.details(engine) == lab.details_before
    assert set(lab.ports().values()) == {OLD} and answered(lab) == [OLD]
    assert admitted(engine, lab) == lab.admitted_before
    assert units(engine, lab) == {}


@pytest.fixture(scope="module", params=["usual", pytest.param("oldest", marks=pytest.mark.long)])
def journey(request, estate, engine, oldest_if_there):
    """There, closed, and back.  The oldest ansible-core foretells what the usual one does; and walks all of it in `make soak`."""
    program = request.getfixturevalue("oldest") if request.param == "oldest" else None
    lab, began = estate, time.time()

    def look():
        return dict(files=lab.files(engine), details=lab.details(engine), answered=answered(lab), ports=lab.ports())

    with Journey(lab, look) as walked:
        walked.keep("start").admitted = admitted(engine, lab)
        walked.play("plan", program=program)
        walked.play("migrate", "--check", "--diff", step="check", program=oldest_if_there)
        # Before the hub listens there, and before the hosts of the phases before have moved.
        walked.play("migrate", "--limit", "agent02", "-e", "change_tracker_agent_probe_timeout=1", step="one alone",
                    program=program, refused=True)
        walked.play("migrate", "--tags", "phase3", "-e", "change_tracker_agent_evidence_timeout=2", step="phase 3 alone",
                    program=program, refused=True)
        walked.play("migrate", "--tags", "phase1", step="phase 1", program=oldest_if_there, **SITE_CONFIG)
        walked.play("migrate", program=program)
        eventually(lambda: set(lab.ports().values()) == {NEW}, 30)
        walked.play("migrate", step="again", program=program)
        walked.play("verify", program=program)
        walked.play("close", "--limit", ONE, step="close of one", program=program, refused=True)
        closed = walked.play("close", program=program)
        closed.listening = lab.status("hub")["listening"]
        back = walked.play("rollback", program=program, **SITE_CONFIG)
        back.admitted, back.units = admitted(engine, lab), units(engine, lab)
        back.heartbeats = lab.heartbeats("--since", str(began), "--longest", LONGEST)
    return walked


def test_plan_and_check_run_change_nothing(journey):
    start = journey["start"]
    for step in (journey["plan"], journey["check"]):
        assert (step.files, step.details, step.answered) == (start.files, start.details, [OLD])
        assert set(step.ports.values()) == {OLD}
    assert journey["plan"].run.changed == {}
    moved = journey["phase 1"].run.changed.keys() | journey["migrate"].run.changed.keys()
    assert moved == journey["check"].run.changed.keys() == set(journey.lab.agents)


def test_oldest_ansible_core_foretells_the_same_and_moves_the_agent_of_the_hub(journey, oldest):
    for step in ("check", "phase 1"):
        assert oldest in journey[step].run.good().process.args


def test_agent_alone_and_last_phase_alone_move_no_agent_while_what_they_need_has_not_moved(journey):
    alone, last = journey["one alone"], journey["phase 3 alone"]
    alone.run.bad("gate after the proof of the paths to port %d: closed" % NEW, "agent02", "its hub hub is no part of this run")
    assert alone.run.changed == {} and (alone.files, alone.details) == (journey["start"].files, journey["start"].details)
    last.run.bad("no proof on port %d" % NEW, "hub")
    assert last.details == journey["start"].details and "Phase 3: agents" not in last.run.plays
    # It has opened the hub, which is to be opened before any phase.
    assert (last.run.changed.keys(), last.answered, set(last.ports.values())) == ({"hub"}, [OLD, NEW], {OLD})


def test_phase_alone_moves_its_own_hosts_and_the_whole_goes_on_from_there(journey):
    first, start = journey["phase 1"], journey["start"]
    assert {host for host in journey.lab.agents if first.details[host] != start.details[host]} == {"hub"}
    assert journey["migrate"].run.changed.keys() == set(journey.lab.agents) - {"hub"}


def test_every_run_ends_by_saying_what_was_done_and_what_is_left(journey):
    ends_by_saying_what_was_done_and_what_is_left(
        journey, "change_tracker", "port", OLD, NEW, {"agent of the hub and pilot": 1, "proxies, one by one": 1, "agents": 2})


def test_what_an_agents_file_keeps_to_itself_is_in_no_output(journey):
    details = journey["start"].details.values()
    for secret in (b"<E1>", b"<Username>"):
        assert any(secret in data for data in details)
    for data in details:
        for text in (data, data.decode("utf-16", "ignore").encode("utf-8")):
            for hidden in re.findall(rb"<E1>([^<]+)</E1>", text):
                assert not [step for step, run in journey.runs.items() if hidden.decode() in run.output]


def test_every_agent_moves_by_the_digits_of_its_url_alone(journey):
    start, move, again = journey["start"], journey["migrate"], journey["again"]
    assert move.details == {host: with_port(before, NEW) for host, before in start.details.items()}
    assert changed_files(start.files, move.files) == {(host, journey.lab.hub_details(host)) for host in journey.lab.agents} | {
        ("hub", SITE)}
    for step in (again, journey["verify"]):
        assert set(step.ports.values()) == {NEW} and step.run.changed == {} and step.files == move.files


def test_an_agent_costs_four_module_runs_and_one_that_has_moved_costs_one(journey):
    """Look, path, and the move as one task of two runs, begin and confirm.  Not counted: the lock."""
    for host in set(journey.lab.agents) - {"hub"}:
        assert journey.asked("migrate", host) == ["change_tracker_info", "port_probe"] + ["confirmed_change"] * 2, host
        assert journey.asked("again", host) == ["change_tracker_info"], host
    # Its first and last are those of its agent; what is between them is of its nginx, which answers on both ports.
    hub = journey.asked("again", "hub")
    assert hub.count("change_tracker_info") == 1 and "confirmed_change" not in hub, hub
    # Alone in its step, it runs what is asked once for all of it: the gate before, the lock, the title.
    counts = journey["migrate"].run.stats["agent02"]
    assert counts["ok"] + counts["skipped"] - 3 <= 9, counts


def test_both_ports_answer_until_close(journey):
    for step in ("migrate", "again", "close of one"):
        assert journey[step].answered == [OLD, NEW], step
    journey["close of one"].run.bad("in the groups and not part of the run", "Run without --limit")
    closed = journey["close"]
    assert closed.answered == [NEW] and set(closed.ports.values()) == {NEW} and closed.listening == [22, NEW]


def test_estate_comes_back_byte_for_byte(journey):
    start, back = journey["start"], journey["rollback"]
    assert (back.files, back.details, back.admitted, back.answered) == (start.files, start.details, start.admitted, [OLD])
    assert set(back.ports.values()) == {OLD} and back.units == {}


def test_no_heartbeat_fails_there_and_back(journey):
    fine, verdict = journey.whole()["rollback"].heartbeats
    assert fine, verdict["objections"]
    assert {host: found["failed"] for host, found in verdict["hosts"].items() if found["failed"]} == {}


@pytest.mark.long
def test_estate_comes_back_before_close_and_moves_again(lab, engine):
    lab.play("migrate").good()
    assert lab.play("verify").good().changed == {}
    back(engine, lab)
    lab.play("migrate").good()
    lab.play("close").good()
    assert lab.play("close").good().changed == {}
    back(engine, lab)
    assert lab.play("rollback").good().changed == {}


def test_wrong_thumbprint_and_dropped_path_are_found_before_anything_is_cut(lab, engine):
    before = lab.details_before[ONE]
    thumbprint = re.search(rb"<Thumbprint>([0-9A-F]{40})</Thumbprint>", before).group(1)
    lab.put(engine, ONE, lab.hub_details(ONE), before.replace(thumbprint, b"0123456789" * 4))
    drop = ("nft 'add table inet on_trial; add chain inet on_trial out { type filter hook output priority 0; }; "
            "add rule inet on_trial out tcp dport %d drop'" % NEW)
    assert lab.execute(engine, "agent02", drop) == (0, "")
    try:
        run = lab.play("migrate", "-e", "change_tracker_agent_probe_timeout=5")
        run.bad("gate after the proof of the paths", "2 of 4 hosts gave no evidence", "agent02", "port %d tcp" % NEW,
                ONE, "01234567")
        assert set(urls(lab).values()) == {OLD}
    finally:
        lab.execute(engine, "agent02", "nft delete table inet on_trial")
        lab.put(engine, ONE, lab.hub_details(ONE), before)
    # The hub has been opened, and that goes back too, though no agent has moved.
    assert answered(lab) == [OLD, NEW]
    back(engine, lab)


@pytest.mark.long
def test_agent_that_does_not_come_up_on_the_new_port_is_put_back_and_the_same_command_goes_on(lab, engine):
    service, details = lab.service(ONE), lab.hub_details(ONE)
    folder = "/etc/systemd/system/%s.service.d" % service
    line = "ExecStartPre=/bin/sh -c \"! grep -q :%d/ %s\"" % (NEW, details)
    unwilling = "mkdir -p %s && printf '[Service]\\n%s\\n' >%s/unwilling.conf && systemctl daemon-reload" % (folder, line, folder)
    assert lab.execute(engine, ONE, unwilling) == (0, "")
    try:
        lab.play("migrate", "-e", '{"change_tracker_agent_waves": ["100%"]}').bad("the change was undone", "byte for byte")
        # Those of the same wave have moved, and this one works on the old port.
        moved(engine, lab, but=[ONE])
    finally:
        lab.execute(engine, ONE, "rm -r %s; systemctl daemon-reload" % folder)
    lab.play("migrate").good()
    moved(engine, lab)
    back(engine, lab)


@pytest.mark.long
def test_run_that_was_killed_amid_the_change_of_an_agent_leaves_a_host_that_goes_back_and_the_next_run_goes_on(lab, engine):
    for host in lab.agents:
        lab.execute(engine, host, "rm -rf /var/lib/portshift/change_tracker.confirm")
    run = lab.begin("migrate", "-e", "change_tracker_agent_confirm_timeout=40", "-e",
                    "change_tracker_agent_evidence_timeout=15", "-e", "change_tracker_agent_waves=1")
    run.until(lambda: lab.change_of(engine, ONE) in ("changing", "waiting")).kill()
    eventually(lambda: lab.change_of(engine, ONE) == "reverted", 120)
    assert urls(lab) == {"hub": NEW, "proxy": NEW, ONE: OLD, "agent02": OLD}
    assert lab.details(engine)[ONE] == lab.details_before[ONE]
    lab.play("migrate").good()
    moved(engine, lab)
    back(engine, lab)


def ports(lab, verb, port, *options):
    return lab.begin_file("playbooks/%s_change_tracker_ports.yml" % verb, "-e", "change_tracker_port=%d" % port, *options).wait()


MONITORED = json.dumps(dict(change_tracker_monitored=[
    dict(host="monitored1", kind="linux"), dict(host="agent02", kind="windows"), dict(host="monitored2", kind="network")]))


def test_firewall_table_is_opened_on_the_hub_and_tried_from_every_component(lab, engine):
    whole = ports(lab, "verify", OLD).good()
    assert whole.changed == {} and "7 of 7 are open" in whole.output
    # No process listens on the new port, which the hub's firewall does not admit; nor does a monitored host what the proxy needs.
    shut = ports(lab, "verify", NEW, "-e", MONITORED)
    shut.bad("hub port %d tcp: the hub's own firewall (firewalld) does not admit it" % NEW, "agent02", "port %d tcp" % NEW)
    shut.bad("proxy (", "-> agent02 (", "port 445 tcp: ")
    assert "telnet" not in shut.output
    try:
        opened = ports(lab, "open", NEW).good()
        assert opened.changed.keys() == {"hub"} and "%d/tcp" % NEW in admitted(engine, lab)
        assert "%d  tcp       https    open" % NEW in opened.output
    finally:
        lab.execute(engine, "hub", "firewall-cmd --quiet --permanent --remove-port %d/tcp; firewall-cmd --quiet --remove-port "
                    "%d/tcp; rm -f /var/lib/portshift/change_tracker_ports.host_port.json" % (NEW, NEW))


def test_monitored_hosts_that_are_shut_are_named_by_telnet_too_on_request(lab):
    asked = ports(lab, "verify", OLD, "-e", MONITORED, "-e", "change_tracker_telnet=true")
    asked.bad("2 of 9 connections do not get through", "-> agent02 (", "port 445 tcp: ", "-> monitored2 (", "port 23 tcp: ")
    assert "SSH (port 22) is recommended over Telnet (port 23) for security reasons." in asked.output
