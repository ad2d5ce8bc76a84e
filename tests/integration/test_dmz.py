# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A relay in a DMZ, behind a packet filter that lets no connection of its own through to its parent."""

import json
import sys
import time

import pytest
import yaml

from tests.integration.migration_lab import NEW, OLD, Lab

# server - relay1 - relay2 (DMZ) - client02; client01 below relay1.  A lab has a network of its own, of 1022 addresses, in which
# its hosts are numbered in this order: so the rule can stand before the lab does.
DMZ, PARENT, HOST_BITS = "0.0.0.3", "0.0.0.2", "0.0.3.255"
BELOW = ("relay2", "client02")
RELAY_CONFIG = "var/opt/BESRelay/besrelay.config"
RULES = """
table inet dmz {
 counter upwards { }
 chain out {
  type filter hook output priority 0;
  ip saddr & %s == %s ip daddr & %s == %s tcp flags & (syn | ack) == syn counter name upwards drop
 }
}
""" % (HOST_BITS, DMZ, HOST_BITS, PARENT)
TRY = """
import socket, sys
trial = socket.socket()
trial.settimeout(1)
trial.bind((sys.argv[1], 0))
try:
    trial.connect((sys.argv[2], int(sys.argv[3])))
    print("through")
except socket.timeout:
    print("dropped")
"""


def load(namespace, rules):
    done = namespace.run("sh", "-c", "printf '%s' \"$1\" | nft -f -", "sh", rules)
    assert done.returncode == 0, done.stderr


class DmzLab(Lab):
    def start_dmz(self, give_up=120):
        self.ok("start", "--masthead", self.kind, "--relays", "1,1", "--clients", "2", "--rate", "2", "--dmz", "relay2",
                "--give-up", str(give_up), "--life", "3600")
        return self

    def tried_upwards(self):
        """Packets with which the relay in the DMZ tried to open a connection to its parent."""
        listed = self.namespace.run("nft", "-j", "list", "counter", "inet", "dmz", "upwards").stdout
        return [entry["counter"]["packets"] for entry in json.loads(listed)["nftables"] if "counter" in entry][0]

    def accepted(self):
        return {name: agent["accepted"] for name, agent in self.status()["agents"].items()}

    def grown(self, names=None):
        """Returns when each of these has reported four times more."""
        before, end = self.accepted(), time.monotonic() + 60
        names = names or sorted(before)
        while True:
            now = self.accepted()
            silent = [name for name in names if now[name] < before[name] + 4]
            if not silent:
                return
            assert time.monotonic() < end, "%s do not report" % silent
            time.sleep(0.1)

    def none_lost(self):
        self.grown()
        assert {name: agent["lost"] for name, agent in self.status()["agents"].items()} == dict.fromkeys(self.hosts, 0)

    def service(self, host, service, action):
        done = self.namespace.run(str(self.path(host, "service")), service, action)
        assert done.returncode == 0, done.stderr

    def redirect(self, host, listen, target):
        load(self.namespace, "table inet bridge_%s {\n chain out { type nat hook output priority -105;\n"
             "  ip daddr %s tcp dport %d dnat ip to %s:%d\n }\n}\n" % (
                 host, self.address(host), listen, self.address(host), target))


@pytest.fixture
def lab(namespace, tmp_path):
    load(namespace, RULES)
    found = DmzLab(tmp_path / "lab", "signed", namespace)
    try:
        yield found
    finally:
        found.stop()
        # Tables of ours and of bridges alike: the next lab begins without any.
        assert namespace.run("nft", "flush", "ruleset").returncode == 0


def test_reports_come_up_over_the_connection_that_the_parent_opened(lab):
    lab.start_dmz()
    lab.none_lost()
    assert lab.tried_upwards() == 0
    # The rule really is there: the same way, tried from the relay's address, leads nowhere.
    tried = lab.namespace.run(sys.executable, "-c", TRY, lab.address("relay2"), lab.address("relay1"), str(OLD))
    assert (tried.stdout, lab.tried_upwards() > 0) == ("dropped\n", True), tried.stderr
    tried = lab.namespace.run(sys.executable, "-c", TRY, lab.address("relay1"), lab.address("relay2"), str(OLD))
    assert tried.stdout == "through\n", tried.stderr
    inventory = yaml.safe_load((lab.folder / "inventory.yml").read_text())
    relays = inventory["all"]["children"]["bigfix_relays"]["hosts"]
    assert (relays["relay2"]["bigfix_parent_connects"], "bigfix_parent_connects" in relays["relay1"]) == (True, False)


@pytest.mark.parametrize("host, service", [("relay1", "besrelay"), ("relay2", "besrelay"), ("server", "besserver")])
def test_no_report_is_lost_when_a_service_on_the_way_restarts(lab, host, service):
    lab.start_dmz(give_up=30)
    for _again in range(3):
        lab.service(host, service, "restart")
        lab.grown(BELOW)
    lab.none_lost()
    assert lab.tried_upwards() == 0


def test_report_counts_when_the_root_server_has_it_and_not_before(lab):
    lab.start_dmz()
    lab.service("relay1", "besrelay", "stop")
    before = lab.accepted()
    # The relay in the DMZ runs and answers its children; yet none of them takes a report for delivered.
    state = lab.path("client02", "run/besclient.state")
    end = time.monotonic() + 30
    while len(json.loads(state.read_text())["queue"]) < 8:
        assert time.monotonic() < end, "the agent got rid of reports that nobody has"
        time.sleep(0.1)
    after = lab.accepted()
    assert [after[name] for name in BELOW] == [before[name] for name in BELOW]
    lab.service("relay1", "besrelay", "start")
    lab.none_lost()


def test_reports_wait_while_parent_and_child_are_on_different_ports_and_a_bridge_ends_that(lab):
    lab.start_dmz()
    lab.service("relay1", "besrelay", "stop")
    config = lab.path("relay1", RELAY_CONFIG)
    with open(config, "a") as stream:
        stream.write("[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\_BESRelay_HTTPServer_PortNumber]\n"
                     "value                          = %d\n" % NEW)
    lab.redirect("relay1", OLD, NEW)    # for its other children
    lab.service("relay1", "besrelay", "start")
    before = lab.accepted()
    lab.grown(["relay1", "client01"])
    after = lab.accepted()
    assert [after[name] - before[name] for name in BELOW] == [0, 0], "the parent knocks at a port where nobody is"
    lab.redirect("relay2", NEW, OLD)
    lab.none_lost()
    assert lab.tried_upwards() == 0


@pytest.mark.parametrize("name", ["client01", "server", "relay9"])
def test_only_a_relay_of_the_lab_can_stand_in_a_dmz(tmp_path, name):
    lab = Lab(tmp_path / "lab")
    done = lab.call("start", "--relays", "1,1", "--clients", "2", "--dmz", name)
    assert (done.returncode, done.stderr) == (2, "%s can't stand in a DMZ: it is no relay of this lab.\n" % name)
    assert not lab.folder.exists()


def test_migration_moves_a_relay_in_a_dmz_and_loses_no_report(lab):
    lab.start_dmz()
    lab.play("migrate").good()
    lab.wait(NEW)
    lab.none_lost()
    lab.play("close").good()
    lab.none_lost()
    lab.play("verify").good()
    assert lab.tried_upwards() == 0
    assert set(lab.ports().values()) == {NEW}
