# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's relay in a DMZ.  What it shows of a migration (test_dmz.py) is only as good as this."""

import json
import time

import pytest
import yaml

from tests.integration.dmz_lab import DmzLab, packet_filter
from tests.integration.migration_lab import NEW, OLD, Lab

pytestmark = pytest.mark.stand_ins

BELOW = ("relay2", "client02")
RELAY_CONFIG = "var/opt/BESRelay/besrelay.config"


@pytest.fixture
def lab(tmp_path):
    with packet_filter() as namespace:
        found = DmzLab(tmp_path / "lab", "signed", namespace)
        try:
            yield found
        finally:
            found.stop()


def test_reports_come_up_over_the_connection_that_the_parent_opened(lab):
    lab.start_dmz()
    lab.none_lost()
    assert lab.tried_upwards() == 0
    lab.rule_holds()
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
        assert time.monotonic() < end, "the agent got rid of reports that no server has"
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
    assert [after[name] - before[name] for name in BELOW] == [0, 0], "the parent knocks at a port where no process listens"
    lab.redirect("relay2", NEW, OLD)
    lab.none_lost()
    assert lab.tried_upwards() == 0


@pytest.mark.parametrize("name", ["client01", "server", "relay9"])
def test_only_a_relay_of_the_lab_can_stand_in_a_dmz(tmp_path, name):
    lab = Lab(tmp_path / "lab")
    done = lab.call("start", "--relays", "1,1", "--clients", "2", "--dmz", name)
    assert (done.returncode, done.stderr) == (2, "%s can't stand in a DMZ: it is no relay of this lab.\n" % name)
    assert not lab.folder.exists()
