# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows hosts of the model among processes of the lab: a relay with Linux agents below it, and an agent below a Linux relay."""

import contextlib

import pytest

from tests.integration.product_lab import eventually
from tests.lab.process_lab import ProcessLab
from tests.windows import bigfix
from tests.windows.estate import Estate

pytestmark = pytest.mark.stand_ins

OLD = 52311


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """(lab, estate): relay2 and client03, whose parent is relay1, are Windows"""
    lab = ProcessLab.plan(str(tmp_path_factory.mktemp("mixed") / "lab"), "signed", [2], 4, 2.0, OLD, 10.0, 900)
    with Estate(real=True) as estate:
        lab.write()
        try:
            for name in ("relay2", "client03"):
                bigfix.take_over(lab, estate.add(name, lab.data["hosts"][name]["address"]), drive="D:")
            lab.begin()
            yield lab, estate
        finally:
            with contextlib.suppress(FileNotFoundError):
                lab.stop(remove=False)


def figures(lab, *names):
    return [lab.tally().read().agents(names)[name] for name in names]


def below(lab, relay):
    return [name for name, host in lab.data["hosts"].items() if host["role"] == "client" and host["parent"] == relay]


def test_linux_agents_report_by_a_relay_on_windows(mixed):
    lab, estate = mixed
    children = below(lab, "relay2")
    assert children and below(lab, "relay1")
    eventually(lambda: all(one["accepted"] >= 3 for one in figures(lab, *children, "relay2", "client03")))
    found = estate.hosts["relay2"].script.found(dict(ports=[OLD], remote_ports=[OLD], services=["BESRelay", "BESClient"]))
    assert [one["state"] for one in found["services"]] == ["running", "running"]
    assert ("tcp", "BESRelay") in {(one["protocol"], one["name"]) for one in found["listeners"]}
    mine = [one for one in found["connections"] if one["name"] == "BESClient"]
    assert [one["remote_address"] for one in mine] == [lab.server.address] and mine[0]["state"] == "Established"


def test_agents_come_back_to_a_relay_that_was_away_and_lose_nothing(mixed):
    lab, estate = mixed
    relay, children = estate.hosts["relay2"], below(lab, "relay2")
    relay.services.stop("BESRelay")
    eventually(lambda: relay.services.get("BESRelay").state == "stopped")
    before = [one["accepted"] for one in figures(lab, *children)]
    relay.services.start("BESRelay")
    eventually(lambda: all(one["accepted"] > count + 2 for one, count in zip(figures(lab, *children), before)))
    assert [one["lost"] for one in figures(lab, *children, "relay2")] == [0] * (len(children) + 1)


def test_agent_on_windows_sees_that_its_linux_relay_is_away(mixed):
    lab, estate = mixed
    from tests.lab import identity, processes

    client, relay = estate.hosts["client03"], lab.host("relay1")
    eventually(lambda: client.script.found(dict(remote_ports=[OLD]))["connections"])
    processes.stop([identity.recorded(relay, "besrelay")])
    eventually(lambda: not client.script.found(dict(remote_ports=[OLD]))["connections"])
    processes.start(relay, "besrelay")
    [before] = figures(lab, "client03")
    eventually(lambda: figures(lab, "client03")[0]["accepted"] > before["accepted"])
    assert figures(lab, "client03")[0]["lost"] == 0
