# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BoKS domain out of the inventory: who is what, who has to reach whom, and the steps through it."""

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._boks_domain import Domain

GROUPS = dict(boks_master=["m"], boks_replicas=["r1", "r2"], boks_agents=["a1", "a2", "a3", "a4"])
ADDRESSES = {host: "addr-" + host for hosts in GROUPS.values() for host in hosts}


def domain(**changes):
    return Domain({name: hosts for name, hosts in dict(GROUPS, **changes).items() if hosts is not None})


@pytest.mark.parametrize("changes, words", [
    (dict(boks_agents=None), "boks_agents is missing; define it"),
    (dict(boks_master=[]), "boks_master has to hold the one Master, it holds no host"),
    (dict(boks_master=["m", "n"]), "it holds 2: m, n"),
    (dict(boks_agents=["a1", "r1"]), "r1 is in boks_agents, but it is the domain's replica already"),
])
def test_inventories_that_can_not_be_are_refused(changes, words):
    problems = domain(**changes).problems
    assert len(problems) == 1 and words in problems[0]


def test_master_goes_first_then_replicas_one_by_one_then_agents_in_waves():
    steps = domain().steps(["25%", "100%"])
    assert [(step["role"], step["hosts"]) for step in steps] == [
        ("master", ["m"]), ("replica", ["r1"]), ("replica", ["r2"]), ("agent", ["a1"]), ("agent", ["a2", "a3", "a4"])]


def test_limit_leaves_out_whom_it_does_not_name():
    steps = domain().steps(["100%"], only=["r2", "a3", "a4"], forks=1)
    assert [step["hosts"] for step in steps] == [["r2"], ["a3"], ["a4"]]


def test_wave_that_is_no_size_is_named():
    with pytest.raises(EngineError, match="boks_agent_waves is 'some'"):
        domain().steps(["some"])


def test_every_host_has_to_reach_whom_the_table_says():
    paths = domain().paths(ADDRESSES, set(ADDRESSES))
    assert paths["a1"] == [dict(host="addr-" + host, offset=1) for host in ("m", "r1", "r2")]
    assert {(path["host"], path["offset"]) for path in paths["r1"]} == {("addr-m", 0), ("addr-m", 1), ("addr-r2", 1)}
    assert {(path["host"], path["offset"]) for path in paths["m"]} == (
        {("addr-" + host, 2) for host in ("r1", "r2")} | {("addr-" + host, 3) for host in ADDRESSES if host != "m"})
    assert domain().paths(ADDRESSES, {"a1"}) == {"a1": paths["a1"]}


def test_limit_leaves_out_hosts_that_others_connect_to():
    assert domain().outside(set(ADDRESSES)) == {}
    assert domain().outside({"a1", "r2"}) == dict(a1=["m", "r1"], r2=["m", "r1"])
    assert domain().outside({"m"}) == dict(m=["r1", "r2", "a1", "a2", "a3", "a4"])


def test_firewall_admits_any_address_unless_told_who_is_to_connect():
    found = domain().openings(6530)
    assert found["a1"] == [dict(port=6533, protocol="tcp", sources=[])]
    assert [(entry["port"], entry["protocol"]) for entry in found["r1"]] == [
        (6531, "tcp"), (6531, "udp"), (6532, "tcp"), (6533, "tcp")]
    restricted = domain().openings(6530, ADDRESSES, ["192.0.2.0/24"])
    assert restricted["a1"] == [dict(port=6533, protocol="tcp", sources=["192.0.2.0/24", "addr-m"])]
    assert restricted["m"][0] == dict(port=6530, protocol="tcp", sources=["192.0.2.0/24", "addr-r1", "addr-r2"])


def test_restricted_port_to_which_no_host_connects_is_not_open_to_any_address():
    alone = domain(boks_replicas=[], boks_agents=[]).openings(6530, ADDRESSES)
    assert {tuple(entry["sources"]) for entry in alone["m"]} == {("addr-m",)}
