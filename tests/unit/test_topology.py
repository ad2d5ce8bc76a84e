# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of a deployment out of the inventory, and the steps through it."""

from types import SimpleNamespace

import pytest
from ansible.executor.playbook_executor import PlaybookExecutor
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._bigfix_topology import Topology
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import parse_phases, share, waves
from ansible_collections.portshift.agents.tests.unit import growth

PARENTS = dict(r2="r1", r3="r2", p2="r1", c1="r1", c2="r2", c3="r3", c4="srv")


def groups(**changes):
    """srv - r1 (pilot) - r2 - r3, a second pilot relay p2 below r1, and clients; p1 is a pilot client of the server."""
    found = dict(bigfix_server=["srv"], bigfix_relays=["r3", "r1", "r2", "p2"], bigfix_clients=["c1", "c2", "c3", "c4", "p1"],
                 bigfix_pilot=["r1", "p2", "p1"])
    found.update({"bigfix_" + name: hosts for name, hosts in changes.items()})
    return {name: hosts for name, hosts in found.items() if hosts is not None}


def problems(parents=None, **changes):
    return Topology(groups(**changes), dict(PARENTS, **(parents or {}))).problems


def steps(only=None, forks=None, relays="100%", clients="100%", pilot=("r1", "p2", "p1")):
    found = Topology(groups(pilot=list(pilot)), PARENTS).steps(relays, clients, only, forks)
    return [(step["phase"], step["title"], step["component"], step["hosts"]) for step in found]


# --- what is wrong with an inventory ----------------------------------------------------------------------------


def test_whole_tree_has_no_problems():
    assert problems() == []


@pytest.mark.parametrize("name", ["server", "relays", "clients", "pilot"])
def test_missing_group_is_named(name):
    assert problems(**{name: None}) == [
        "inventory group bigfix_%s is missing; define it, empty if this deployment has none" % name]


def test_all_missing_groups_are_named_at_once():
    assert len(Topology({}, {}).problems) == 4


@pytest.mark.parametrize("servers, told", [([], "no host"), (["srv", "two"], "2: srv, two")])
def test_server_group_holds_one_host(servers, told):
    assert problems(server=servers) == [
        "inventory group bigfix_server has to hold the one root server, it holds " + told]


def test_empty_groups_are_no_problem():
    assert problems(relays=[], clients=[], pilot=[]) == []


@pytest.mark.parametrize("host, parent", [("c1", "nobody"), ("c1", "c2"), ("r2", "R1"), ("c1", "c1")])
def test_unknown_parent_is_named(host, parent):
    assert problems({host: parent}) == [
        "%s: bigfix_parent is %s, which is neither the root server nor in bigfix_relays; mend the host variable or the "
        "group" % (host, parent)]


def test_all_unknown_parents_are_named_at_once():
    assert len(problems(dict(c1="x", c2="y"))) == 2


@pytest.mark.parametrize("parents, circles", [
    (dict(r1="r3"), ["r3 -> r2 -> r1 -> r3"]), (dict(r1="r1"), ["r1 -> r1"]), (dict(r2="r3"), ["r3 -> r2 -> r3"])])
def test_relays_in_a_circle_are_shown(parents, circles):
    assert problems(parents) == [
        "the relays' bigfix_parent run in a circle: %s; one of them has to name a parent nearer to the root server" % circle
        for circle in circles]


def test_pilot_that_is_in_no_other_group_is_named():
    assert problems(pilot=["r1", "p2", "stranger"]) == [
        "stranger is in bigfix_pilot, but neither in bigfix_relays nor in bigfix_clients"]


def test_pilot_below_a_relay_that_is_not_in_the_pilot_is_named():
    assert problems(pilot=["r1", "r3"]) == [
        "r3 is in bigfix_pilot, but its parent r2 is not: it would be cut off in phase 1; add the parent or take the host out"]


def test_host_without_a_parent_is_below_the_server():
    assert Topology(groups(), {}).parents == dict.fromkeys(["r1", "r2", "r3", "p2", "c1", "c2", "c3", "c4", "p1"], "srv")


def test_host_in_several_groups_is_what_it_does_for_others():
    found = Topology(groups(relays=["r1", "srv"], clients=["r1", "srv", "c4"], pilot=["srv", "r1"]), PARENTS)
    assert (found.problems, found.server, found.relays, found.clients, found.pilot) == ([], "srv", ["r1"], ["c4"], ["r1"])


# --- tiers and steps --------------------------------------------------------------------------------------------


def test_tiers_count_from_the_server():
    found = Topology(groups(), PARENTS)
    assert [found.tier(relay) for relay in ("r1", "r2", "r3", "p2")] == [1, 2, 3, 2]
    assert found.tiers() == [["r1"], ["r2", "p2"], ["r3"]]


def test_deep_tree_is_no_circle():
    names = ["r%d" % number for number in range(200)]
    found = Topology(groups(relays=names, clients=[], pilot=[]), dict(zip(names[1:], names)))
    assert found.problems == [] and found.tier("r199") == 200


def test_steps_go_from_the_server_down_pilot_first():
    assert steps() == [
        (1, "root server", "server", ["srv"]),
        (1, "pilot relays of tier 1", "relay", ["r1"]),
        (1, "pilot relays of tier 2", "relay", ["p2"]),
        (1, "pilot clients", "client", ["p1"]),
        (2, "relays of tier 2", "relay", ["r2"]),
        (2, "relays of tier 3", "relay", ["r3"]),
        (3, "clients", "client", ["c1", "c2", "c3", "c4"]),
    ]


def test_waves_are_numbered():
    assert [step for step in steps(clients=[1, "50%"]) if step[0] == 3] == [
        (3, "clients, wave 1 of 3", "client", ["c1"]), (3, "clients, wave 2 of 3", "client", ["c2", "c3"]),
        (3, "clients, wave 3 of 3", "client", ["c4"])]


def test_relay_waves_are_cut_tier_by_tier():
    found = steps(relays=1, pilot=[])
    assert [(title, hosts) for phase, title, _component, hosts in found if phase == 2] == [
        ("relays of tier 1", ["r1"]), ("relays of tier 2, wave 1 of 2", ["r2"]), ("relays of tier 2, wave 2 of 2", ["p2"]),
        ("relays of tier 3", ["r3"])]


def test_limit_leaves_its_hosts_only_and_cuts_waves_from_them():
    assert steps(only=["r1", "c1", "c3", "c4"], clients="50%") == [
        (1, "pilot relays of tier 1", "relay", ["r1"]), (3, "clients, wave 1 of 3", "client", ["c1"]),
        (3, "clients, wave 2 of 3", "client", ["c3"]), (3, "clients, wave 3 of 3", "client", ["c4"])]


def test_empty_limit_leaves_no_host():
    assert steps(only=[]) == []


def test_no_wave_is_larger_than_the_forks():
    assert [hosts for phase, _title, _component, hosts in steps(forks=3) if phase == 3] == [["c1", "c2", "c3"], ["c4"]]


@pytest.mark.parametrize("forks", [1, 2, 5])
def test_no_step_of_a_pilot_is_larger_than_the_forks(forks):
    relays, clients = ["r%d" % number for number in range(5)], ["c%d" % number for number in range(7)]
    whole = Topology(dict(bigfix_server=["srv"], bigfix_relays=relays, bigfix_clients=clients, bigfix_pilot=relays + clients), {})
    found = whole.steps(["100%"], ["100%"], forks=forks)
    assert max(len(step["hosts"]) for step in found) == forks and {step["phase"] for step in found} == {1}
    assert [host for step in found for host in step["hosts"]] == ["srv", *relays, *clients]
    titles = [step["title"] for step in found]
    assert len(set(titles)) == len(titles) and titles[1] == (
        "pilot relays of tier 1" if forks == 5 else "pilot relays of tier 1, wave 1 of %d" % (5 // forks + 5 % forks))


def test_every_host_has_exactly_one_step_after_its_parent():
    order = [host for step in steps(relays=1, clients=2) for host in step[3]]
    assert sorted(order) == sorted(["srv", "r1", "r2", "r3", "p2", "p1", "c1", "c2", "c3", "c4"])
    assert all(order.index(PARENTS.get(host, "srv")) < order.index(host) for host in order if host != "srv")


# --- sizes ------------------------------------------------------------------------------------------------------


def ansible_serial(hosts, serial):
    play = SimpleNamespace(hosts="all", order=None, serial=serial)
    inventory = SimpleNamespace(get_hosts=lambda *unused, **unused_too: list(hosts))
    return PlaybookExecutor._get_serialized_batches(SimpleNamespace(_inventory=inventory), play)


@given(st.integers(0, 60), st.lists(st.one_of(st.integers(1, 70), st.integers(1, 100).map("{}%".format)), min_size=1, max_size=4))
def test_waves_are_what_play_keyword_serial_makes_of_them(count, sizes):
    hosts = list(range(count))
    expected = [batch for batch in ansible_serial(hosts, sizes) if batch]
    assert waves(hosts, sizes, "waves") == expected


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 100))
def test_waves_within_forks_lose_no_host(count, forks, percent):
    cut = waves(list(range(count)), "%d%%" % percent, "waves", forks)
    assert [host for wave in cut for host in wave] == list(range(count)) and all(0 < len(wave) <= forks for wave in cut)


def test_wave_has_at_least_one_host():
    assert waves(["a", "b"], ["1%"], "waves") == [["a"], ["b"]]


@pytest.mark.parametrize("sizes, told", [
    ([], "bigfix_client_waves is empty; give at least one size, such as 100%"),
    (["ten"], "bigfix_client_waves is 'ten'; give a number of hosts or a percentage such as 5%"),
    (["1", "-1"], "bigfix_client_waves is '-1'; give a number of hosts or a percentage such as 5%"),
])
def test_waves_that_are_no_sizes_are_a_sentence(sizes, told):
    with pytest.raises(EngineError) as caught:
        waves(["a", "b"], sizes, "bigfix_client_waves")
    assert str(caught.value) == told


@pytest.mark.parametrize("text, total, expected", [
    (0, 10, 0), ("3", 10, 3), (" 3 ", 10, 3), ("5%", 19, 0), ("5%", 20, 1), ("5%", 39, 1), ("100%", 7, 7), ("0%", 7, 0),
    (12, 10, 12)])
def test_share_of_a_number_of_hosts(text, total, expected):
    assert share(text, total, "max_missing") == expected


@pytest.mark.parametrize("text", ["", "five", "-1", "5 %", "5%%", "1.5", 1.5, True, None, [5], "%"])
def test_share_that_is_none_is_a_sentence(text):
    with pytest.raises(EngineError) as caught:
        share(text, 10, "max_missing")
    assert str(caught.value) == "max_missing is %r; give a number of hosts or a percentage such as 5%%" % (text,)


@pytest.mark.parametrize("value, expected", [
    ([1, 2, 3], [1, 2, 3]), ("1,2", [1, 2]), ("3 1", [1, 3]), (" 2 ", [2]), (2, [2]), (["3", "1"], [1, 3]), ("1, 1", [1])])
def test_phases_are_read(value, expected):
    assert parse_phases(value, "bigfix_phases") == expected


@pytest.mark.parametrize("value", ["", [], "0", "4", "1,4", "one", "1,,x", "1;2", None, True, [1, "x"], 1.5, [True], "1,²"])
def test_what_is_no_phase_is_a_sentence(value):
    with pytest.raises(EngineError) as caught:
        parse_phases(value, "bigfix_phases")
    assert str(caught.value) == "bigfix_phases is %r; give one or more of the phases 1, 2 and 3" % (value,)


# --- who has to reach whom ---------------------------------------------------------------------------------------


def openings(**how):
    tree = Topology(groups(), PARENTS)
    return {host: {entry["protocol"]: entry["sources"] for entry in found} for host, found in tree.openings(**how).items()}


ADDRESSES = {host: "at-" + host for host in ["srv", "r1", "r2", "r3", "p1", "p2", "c1", "c2", "c3", "c4"]}


def test_without_addresses_any_may_come():
    found = openings()
    assert found["srv"] == found["r3"] == dict(tcp=[], udp=[]) and found["c1"] == found["p1"] == dict(udp=[])


def test_restricted_hosts_admit_their_children_by_tcp_and_their_parent_by_udp():
    found = openings(addresses=ADDRESSES, allowed=["10.0.0.0/8"])
    assert found["srv"] == dict(tcp=["10.0.0.0/8", "at-c4", "at-p1", "at-r1"])
    assert found["r1"] == dict(tcp=["10.0.0.0/8", "at-c1", "at-p2", "at-r2"], udp=["at-srv"])
    assert found["c3"] == dict(udp=["at-r3"])


def test_restricted_relay_without_children_admits_no_others():
    assert openings(addresses=ADDRESSES)["p2"]["tcp"] == ["at-p2"]


def test_relay_in_a_dmz_admits_its_parent_and_does_not_call_it():
    found = openings(addresses=ADDRESSES, parent_connects=["r3"])
    assert found["r3"]["tcp"] == ["at-c3", "at-r2"] and "at-r3" not in found["r2"]["tcp"]


def test_only_a_relay_can_be_called_by_its_parent():
    tree = Topology(groups(), PARENTS)
    assert tree.check_parent_connects(["r3"]) == []
    [sentence] = tree.check_parent_connects(["c1"])
    assert sentence.startswith("c1: bigfix_parent_connects is set, and only a relay")


def test_a_large_estate_takes_no_square_of_its_hosts():
    def cost(count):
        relays, clients = (["%s%d.example.test" % (kind, number) for number in range(count)] for kind in ("relay", "client"))

        def look():
            found = Topology(groups(relays=relays, clients=clients, pilot=[]), dict(zip(clients, relays)))
            assert found.problems == [] and len(found.openings()) == 2 * count + 1
            assert len(found.check_parent_connects(clients)) == count and len(found.steps("10%", "10%")) == 21
        return growth.seconds(look)

    eighth, whole = (cost(count) for count in (6000 // growth.SHARE, 6000))
    assert growth.is_a_line(eighth, whole), (eighth, whole)
