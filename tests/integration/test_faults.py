# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults in the middle of a migration, on hosts with systemd, ssh and firewalls of their own.

After each of them the migration ends, every agent reports, and by the root server's own count no report is lost.  The agents
give a report up after two minutes: longer than any of these hosts is away.
"""

import json
import os

import pytest

from tests.integration import container_site, init_script
from tests.integration.container_estate import AFTER_PHASE_ONE, FILLING, RECORD, ControlNode, Estate
from tests.integration.migration_lab import CUTOVER, NEW, OLD, difference

STATE_FOLDER = "/var/lib/portshift"
MASTHEAD_FOLDER = "etc/opt/BESClient"
LEASE = 20
# A firewall between two networks, seen from the host behind it: what comes in never reaches the host's own.
DROP_NEW_PORT = """
table inet between {
 counter dropped { }
 chain arriving {
  type filter hook prerouting priority raw;
  iifname "eth0" tcp dport %d counter name dropped drop
 }
}
""" % NEW
# No connection that a relay in a DMZ opens gets out to its parent.
DROP_UPWARDS = """
table inet between {
 counter dropped { }
 chain leaving {
  type filter hook output priority raw;
  ip daddr %s tcp flags & (syn | ack) == syn counter name dropped drop
 }
}
"""
# A connection from the port that the product is to get, to a listener on this host that keeps it.
HOLD = """
import signal, socket
listener = socket.create_server(("127.0.0.1", 0))
client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
client.bind(("", %d))
client.connect(listener.getsockname())
signal.pause()
""" % NEW

KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()
    print("open")
except ConnectionRefusedError:
    print("refused")
except OSError:
    print("shut")
"""


@pytest.fixture(scope="module")
def engine():
    return container_site.engine_of_root()


@pytest.fixture(scope="module")
def whole_estate(engine, tmp_path_factory):
    estate = Estate(tmp_path_factory.mktemp("faults") / "lab", engine)
    try:
        yield estate.start("--firewalls", "firewalld,ufw,nftables,iptables,nftables")
    finally:
        estate.stop()


@pytest.fixture
def estate(whole_estate):
    yield whole_estate
    # Whatever became of the test, the next one begins without its runs.
    for run in whole_estate.started:
        if run.process.poll() is None:
            run.kill()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    return ControlNode(tmp_path_factory.mktemp("elsewhere"), "control-elsewhere")


def begun(run, action, number=1):
    """Whether the run has begun the task `action` that often."""
    return sum(event["event"] == "task" and event["action"] == action for event in run.events) >= number


def packets_dropped(estate, host):
    listed = json.loads(estate.execute(host, "nft", "-j", "list", "counter", "inet", "between", "dropped"))
    return [entry["counter"]["packets"] for entry in listed["nftables"] if "counter" in entry][0]


# -- ports in foreign hands

def test_plan_names_who_holds_the_old_port_and_the_connection_that_has_the_new_one(estate):
    estate.at_old()
    before = estate.snapshot()
    estate.execute("relay1", "systemctl", "stop", "besrelay")
    estate.execute("relay1", "systemd-run", "--quiet", "--unit=foreign", "python3", "-m", "http.server", str(OLD))
    estate.execute("relay2", "systemd-run", "--quiet", "--unit=foreign", "python3", "-c", HOLD)
    try:
        run = estate.play("plan", "--limit", "relay1,relay2").bad("gate after the plan: closed", "2 of 2", "relay1", "relay2")
        relay1, relay2 = (estate.execute(host, "systemctl", "show", "--property=MainPID", "--value", "foreign").strip()
                          for host in ("relay1", "relay2"))
        run.bad("relay1 (port %d, the old one, is held by process python3 (pid %s)" % (OLD, relay1), "which serves no masthead")
        run.bad("relay2 (port %d is in use already: the kernel gave it to a connection of process python3 (pid %s)" % (
            NEW, relay2))
        assert run.changed == {} and estate.snapshot() == before
    finally:
        for host in ("relay1", "relay2"):
            estate.execute(host, "systemctl", "stop", "foreign")
        estate.execute("relay1", "systemctl", "start", "besrelay")
    estate.all_report(OLD)


# -- the network

def test_path_that_a_firewall_in_between_drops_is_found_before_anything_is_cut(estate):
    estate.at_old()
    files, pids = estate.snapshot(), estate.pids()
    estate.execute("relay1", "nft", "-f", "-", stdin=DROP_NEW_PORT)
    run = estate.play("migrate")
    for child in ("relay2", "client01"):
        run.bad("%s -> %s port %d tcp: no answer within" % (estate.address(child), estate.address("relay1"), NEW), child)
    run.bad("gate after the opening of port %d: closed" % NEW, "2 of 4", "relay2", "client01")
    assert run.failed >= {"relay2", "client01"} and not [name for name in run.plays if name.startswith("Phase")]
    assert packets_dropped(estate, "relay1") > 0
    assert (estate.snapshot(), estate.pids()) == (files, pids)
    estate.all_report(OLD)

    estate.execute("relay1", "nft", "delete", "table", "inet", "between")


# -- services

def test_agent_that_was_started_by_hand_is_named_and_left_alone_by_migrate_and_close(estate):
    """Its unit is made from an init script, and systemd knows nothing of the process: its stop would be a no-op."""
    if set(estate.ports().values()) != {OLD}:
        estate.at_old()
    unit = "/etc/systemd/system/besclient.service"
    kept = estate.execute("client02", "cat", unit)
    # The program at its real path, which is how its processes are found.
    command = next(line for line in kept.splitlines() if line.startswith("ExecStart=")).partition(" ")[2]
    script = init_script.init_script("%s %s" % (init_script.AGENT, command))
    estate.execute("client02", "sh", "-ec", """
        systemctl stop besclient
        rm "$1"
        mkdir -p "$(dirname "$3")"
        cp "$(readlink -f /usr/bin/python3)" "$3"
        cat >"$2"
        chmod 755 "$2"
        systemctl daemon-reload
        "$2" start""", "sh", unit, init_script.PATH, init_script.AGENT, stdin=script)
    try:
        estate.wait(OLD)
        pid = estate.execute("client02", "cat", "/run/besclient.pid").strip()
        assert estate.said("client02", "systemctl", "is-active", "besclient")[1].strip() == "inactive"
        assert estate.said("client02", "systemctl", "stop", "besclient")[0] == 0
        before = estate.snapshot()
        run = estate.play("migrate").bad(
            "client02", "nothing was changed: service besclient is run by process %s (%s), which systemd did not start" % (
                pid, init_script.AGENT), "/etc/init.d/besclient stop")
        assert run.failed == {"client02"} and {host for host, _path in difference(before, estate.snapshot())} == {
            "server", "relay1", "relay2", "client01"}
        assert estate.execute("client02", "cat", "/run/besclient.pid").strip() == pid
        assert estate.ports() == dict(dict.fromkeys(estate.hosts, NEW), client02=OLD)

        # As one that has not moved, and where that may be, as one that uses the old port.
        files = estate.snapshot()
        run = estate.play("close", "-e", "bigfix_close_max_missing=1", "-e", "bigfix_evidence_timeout=2").bad(
            "Nothing was closed", "port %d of relay2 by client02 (%s, " % (OLD, estate.address("client02")))
        run.bad("no proof on port %d" % NEW, "not on port %d yet: " % NEW)
        assert run.changed == {} and estate.snapshot() == files and estate.answered("client02", "relay2") == [OLD, NEW]

        # What the sentence says to do.  A run that was killed before its host was verified is made good by close.
        estate.execute("client02", "sh", "-ec", '"$1" stop; systemctl start besclient', "sh", init_script.PATH)
        assert estate.play("migrate").good().changed.keys() == {"client02"}
        estate.execute("relay2", "sed", "-i", 's/"state": "verified"/"state": "changing"/', RECORD)
        estate.play("close").good()
        assert json.loads(estate.execute("relay2", "cat", RECORD))["state"] == "verified"
        # Its firewall answers no more for the old port than for one that was never open.
        assert estate.said("client02", "python3", "-c", KNOCK, estate.address("relay2"), str(OLD))[1].strip() == "shut"
    finally:
        estate.execute("client02", "sh", "-ec", """
            systemctl stop besclient
            "$2" stop
            rm -r "$2" "$(dirname "$3")"
            cat >"$1"
            systemctl daemon-reload
            systemctl start besclient""", "sh", unit, init_script.PATH, init_script.AGENT, stdin=kept)
    estate.all_report(NEW)


# -- control nodes

@pytest.mark.long
def test_second_control_node_is_refused_and_the_first_one_undisturbed(estate, elsewhere):
    estate.at_old()
    first = estate.begin("migrate", "-e", "bigfix_phases=1")
    first.until(lambda: estate.lock() is not None)
    second = estate.play("migrate", **elsewhere.how)
    # The first one was still at work: it, and no run of the past, is what stood against the second.
    assert first.process.poll() is None
    second.bad("root@%s (pid %d, \"migrate to %d\", since " % (os.uname().nodename, first.process.pid, NEW),
               "is migrating this deployment", "Nothing was changed", "bigfix_take_over=true")
    assert second.changed == {} and "Plan the migration" not in second.plays
    first.wait().good()
    assert first.failed == set() and estate.lock() is None
    assert (estate.ports(), estate.status()["lost"]) == (AFTER_PHASE_ONE, 0)


@pytest.mark.long
def test_host_that_loses_power_in_its_cutover_ends_the_run_and_is_moved_by_the_next_one(estate):
    estate.after_phase_one()
    run = estate.begin("migrate")
    # Its files are being replaced, its services are stopped.
    estate.execute("relay2", "sh", "-c", "until grep -qs changing %s; do sleep 0.02; done" % RECORD)
    estate.kill_host("relay2")
    try:
        run.wait()
    finally:
        estate.power_on("relay2")
    # It was alone in its step, so no host is left that could ask the gate: Ansible ends the run, naming the host.
    assert run.status != 0, run.account
    assert [event["host"] for event in run.events if event["event"] == "unreachable"] == ["relay2"] == sorted(run.failed)
    assert "Phase 2: relays" in run.plays and "Phase 3: clients" not in run.plays
    estate.play("migrate").good()
    estate.all_report(NEW)


@pytest.mark.long
def test_run_of_a_dead_control_node_goes_on_elsewhere_when_told_to_take_over(estate, elsewhere):
    estate.at_old()
    first = estate.begin("migrate")
    first.until(lambda: begun(first, CUTOVER, 2)).kill()
    assert first.status == -9 and not any(event["event"] == "stats" for event in first.events)
    refused = estate.play("migrate", **elsewhere.how).bad(
        "root@%s (pid %d, " % (os.uname().nodename, first.process.pid), "is migrating this deployment", "bigfix_take_over=true")
    assert "Plan the migration" not in refused.plays and estate.lock()["pid"] == first.process.pid
    taken = estate.play("migrate", "-e", "bigfix_take_over=true", **elsewhere.how).good()
    assert "took over from root@%s (pid %d" % (os.uname().nodename, first.process.pid) in taken.output.replace("\n", "")
    estate.all_report(NEW)


@pytest.mark.long
def test_run_of_a_dead_control_node_goes_on_elsewhere_when_its_lease_has_lapsed(estate, elsewhere):
    estate.at_old()
    first = estate.begin("migrate", "-e", "bigfix_phases=1", "-e", "bigfix_lock_seconds=%d" % LEASE)
    first.until(lambda: begun(first, CUTOVER)).kill()
    holder = estate.lock()
    assert (holder["pid"], holder["seconds"]) == (first.process.pid, LEASE)
    # By the clock that counts, the root server's.
    estate.execute("server", "sh", "-c", "while [ $(date +%%s) -le %d ]; do sleep 0.2; done" % holder["expires"])
    again = estate.play("migrate", "-e", "bigfix_phases=1", **elsewhere.how).good()
    assert "its lock lapsed at" in again.output and estate.lock() is None
    assert (estate.ports(), estate.status()["lost"]) == (AFTER_PHASE_ONE, 0)


# -- disks

@pytest.mark.long
def test_full_disk_leaves_the_host_as_it_was_and_is_named(estate):
    estate.after_phase_one()
    before = estate.snapshot()

    def left_alone(run, host, folder, others=()):
        # By the file, or by the host where the sentence is of what each host has.
        assert [event for event in run.bad("no space is left on its file system", folder).events if event["event"] == "failed"
                and event["host"] == host and "no space is left" in event["msg"]], run.account
        found = estate.status()
        assert found["hosts"][host]["port"] == OLD
        assert all(service["running"] for service in found["hosts"][host]["services"].values())
        assert {os.path.basename(path) for name, path in difference(before, estate.snapshot()) if name == host} == set(others)

    # Where the way back is kept.
    estate.fill("relay2", STATE_FOLDER)
    try:
        left_alone(estate.play("migrate"), "relay2", STATE_FOLDER)
    finally:
        estate.free("relay2", STATE_FOLDER)
    # Where the product's own file is, and only when its service has been stopped: what was planned was possible.
    estate.fill("client02", "/" + MASTHEAD_FOLDER, when_stops="besclient")
    try:
        run = estate.play("migrate")
        assert "Phase 3: clients" in run.plays
        assert estate.said("client02", "test", "-e", "/%s/%s" % (MASTHEAD_FOLDER, FILLING))[0] == 0
        run.bad("client02", "byte for byte")
        left_alone(run, "client02", MASTHEAD_FOLDER, [FILLING])
    finally:
        estate.free("client02", "/" + MASTHEAD_FOLDER)
    estate.play("migrate").good()
    estate.all_report(NEW)


# -- boots

@pytest.mark.long
def test_hosts_that_boot_between_open_and_close_answer_on_both_ports_again(estate):
    estate.after_phase_one()
    # relay1 has moved, relay2 is only open.
    for host, child in (("relay1", "relay2"), ("relay2", "client02")):
        rules = estate.bridge(host)
        assert rules and estate.answered(child, host) == [OLD, NEW]
        estate.reboot(host)
        assert estate.bridge(host) == rules
        assert estate.reserved(host) == str(NEW)
        assert estate.answered(child, host) == [OLD, NEW]
    estate.play("migrate").good()
    estate.all_report(NEW)

    estate.reboot("relay2")
    assert estate.answered("client02", "relay2") == [OLD, NEW]
    estate.play("close").good()
    estate.all_report(NEW)
    for host, child in (("relay1", "relay2"), ("relay2", "client02")):
        assert estate.bridge(host) == "" and estate.answered(child, host) == [NEW]


# -- a relay in a DMZ

@pytest.mark.long
def test_relay_that_its_firewall_lets_open_no_connection_upwards_moves_without_a_lost_report(engine, tmp_path):
    estate = Estate(tmp_path / "dmz", engine)
    try:
        estate.start("--dmz", "relay2", "--firewalls", "nftables")
        estate.execute("relay2", "nft", "-f", "-", stdin=DROP_UPWARDS % estate.address("relay1"))
        # The rule holds: what the relay itself tries upwards is dropped, on either port.
        assert estate.answered("relay2", "relay1") == [] and estate.answered("relay1", "relay2") == [OLD]
        tried = packets_dropped(estate, "relay2")
        assert tried >= 2
        estate.play("migrate").good()
        estate.all_report(NEW)
        estate.play("close").good()
        estate.all_report(NEW)
        # And no part of the migration counted on that way.
        assert packets_dropped(estate, "relay2") == tried
    finally:
        estate.stop()
