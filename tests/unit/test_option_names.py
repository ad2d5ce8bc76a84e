# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables whose names are hardly those of an option, and values that can't be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.plugin_utils._names import (
    Allowed, Variables, closest, distance, misspelt, role_options, wrong_values)
from ansible_collections.portshift.agents.plugins.plugin_utils._options import named, rows
from ansible_collections.portshift.agents.plugins.plugin_utils._registry import PRODUCTS

KNOWN = {**role_options(), **{name: Allowed(option.type) for product in PRODUCTS.values()
                              for name, option in named(product.name, product.options).items()}}


@pytest.mark.parametrize("one, other, expected", [
    ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "acb", 1), ("abc", "abcd", 1), ("abc", "bc", 1), ("abcd", "cd", 2),
    ("abc", "xyz", 3), ("", "abc", 3), ("restrict_source", "restrict_sources", 1)])
def test_distance(one, other, expected):
    assert distance(one, other) == expected == distance(other, one)


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_distance_is_the_same_both_ways_and_none_to_itself(one, other):
    assert distance(one, one) == 0 and distance(one, other) == distance(other, one)


@pytest.mark.parametrize("name, meant", [
    ("bigfix_restrict_source", "bigfix_restrict_sources"), ("bigfix_client_wave", "bigfix_client_waves"),
    ("boks_bridg", "boks_bridge"), ("change_tracker_winodw", "change_tracker_window")])
def test_a_name_that_is_hardly_another_is_told_the_right_one(name, meant):
    assert misspelt([name], [], set(KNOWN)) == [
        "%s: no such variable; %s is meant? Where it is one of your own, list it in portshift_own_variables" % (name, meant)]


@pytest.mark.parametrize("name", [
    "bigfix_restrict_sources", "bigfix_console_password", "boks_our_own_thing", "bigfix_server_service_command",
    # Facts that the roles leave, where one run follows another in a site's playbook.
    "boks_path", "bigfix_component_evidence", "change_tracker_path", "boks_change"])
def test_other_names_are_left_alone(name):
    assert misspelt([name], [], set(KNOWN)) == []


def test_a_site_can_keep_a_name():
    assert misspelt(["bigfix_restrict_source"], ["bigfix_restrict_source"], set(KNOWN)) == []
    assert closest("phase_1", ["phase1"]) == "phase1" and closest("site", ["phase1"]) is None


@pytest.mark.parametrize("name, value, said", [
    ("bigfix_bridge", "perhaps", "bigfix_bridge is 'perhaps'; give true or false"),
    ("bigfix_bridge_name", "a b", "bigfix_bridge_name is 'a b'; give 1 to 20 characters a-z, 0-9 and _, a letter first"),
    ("bigfix_service_timeout", "soon", "bigfix_service_timeout is 'soon'; give a whole number"),
    ("bigfix_settle_seconds", True, "bigfix_settle_seconds is True; give a number"),
    # Of a role alone.
    ("bigfix_client_evidence_timeout", "long", "bigfix_client_evidence_timeout is 'long'; give a number"),
    ("boks_role", "agnet",
     "boks_role is 'agnet'; give one of master, replica, agent")])
def test_values_that_can_not_be(name, value, said):
    assert wrong_values(KNOWN, {name: value}) == [said]


@pytest.mark.parametrize("name, value", [
    ("bigfix_bridge", "yes"), ("bigfix_bridge", False), ("bigfix_bridge", "0"), ("bigfix_bridge_name", "bigfix_client1"),
    ("bigfix_settle_seconds", 0.2), ("bigfix_settle_seconds", "5"), ("bigfix_keep_days", 90), ("bigfix_port", "x"),
    ("bigfix_bridge", ""), ("other", "perhaps"), ("bigfix_relay_firewall", "ufw"), ("bigfix_client_log_dir", "/var/log")])
def test_values_that_can_be_or_are_checked_elsewhere(name, value):
    assert wrong_values(KNOWN, {name: value}) == []


def test_variables_of_all_hosts_are_read_in_one_pass_and_templates_are_left_to_their_hosts():
    class HostVars:
        def raw_get(self, host):
            return dict(a=dict(bigfix_bridge="{{ perhaps }}", other_bridge="x"),
                        b=dict(bigfix_bridge="perhaps", bigfix_brigde=True))[host]
    said = Variables("bigfix", HostVars(), ["a", "b"])
    assert said.names == {"bigfix_bridge", "bigfix_brigde"} and list(said.values["bigfix_bridge"].values()) == ["perhaps"]
    assert said.problems("bigfix", []) == [
        "bigfix_brigde: no such variable; bigfix_bridge is meant? Where it is one of your own, list it in "
        "portshift_own_variables",
        "bigfix_bridge is 'perhaps'; give true or false"]


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_every_row_of_the_documentation_says_something(product):
    assert all(row.count(" | ") == 2 and "|  |" not in row for row in rows(product.name, product.options))
