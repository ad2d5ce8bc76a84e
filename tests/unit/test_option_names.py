# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables whose names are hardly those of an option, and values that can't be."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._host_port.plan import HOST_PORT_SPEC
from ansible_collections.portshift.agents.plugins.plugin_utils._names import (
    Variables, closest, distance, known_options, misspelt, wrong_values)
from ansible_collections.portshift.agents.plugins.plugin_utils._options import ANYTHING, CHECKED_BY, FIREWALLS, TYPES, named, rows
from ansible_collections.portshift.agents.plugins.plugin_utils._registry import PRODUCTS
from tests.unit.public_names import own_files

ROLES = Path(__file__).resolve().parents[2] / "roles"
KNOWN = known_options()
A_SHARE = "give a number of hosts or a percentage such as 5%"
A_FIREWALL = "give one of auto, firewalld, ufw, nftables, iptables, windows, none"


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
     "boks_role is 'agnet'; give one of master, replica, agent"),
    # Shares are first read at a gate, which for a close or a rollback is after all else was done.
    ("bigfix_close_max_missing", "5percent", "bigfix_close_max_missing is '5percent'; " + A_SHARE),
    ("boks_max_missing", True, "boks_max_missing is True; " + A_SHARE),
    ("change_tracker_max_missing", [5], "change_tracker_max_missing is [5]; " + A_SHARE),
    # Of waves, the sizes that no estate of today has a use for too.
    ("bigfix_client_waves", ["5%", "25percent"], "bigfix_client_waves is '25percent'; " + A_SHARE),
    ("boks_agent_waves", "5%,25%", "boks_agent_waves is '5%,25%'; " + A_SHARE),
    ("change_tracker_agent_waves", [], "change_tracker_agent_waves is empty; give at least one size, such as 100%"),
    ("bigfix_previous_port", "523111",
     "bigfix_previous_port is 523111, which is not a port number: give a whole number from 1 to 65535"),
    ("boks_phases", "4", "boks_phases is '4'; give one or more of the phases 1, 2 and 3"),
    ("change_tracker_window", "now", "change_tracker_window is 'now'; give a span of the day such as 22:00-04:00"),
    ("boks_close_quiet_seconds", "long",
     "boks_close_quiet_seconds is 'long'; give a number of seconds, 0 to count no use at all"),
    ("bigfix_close_ignore_users", ["scanner"],
     "bigfix_close_ignore_users is 'scanner', which is neither an address nor a network; give one such as 10.1.2.3 or "
     "10.1.2.0/24"),
    ("bigfix_firewall", "frewalld", "bigfix_firewall is 'frewalld'; " + A_FIREWALL),
    ("bigfix_client_firewall", "frewalld", "bigfix_client_firewall is 'frewalld'; " + A_FIREWALL),
    ("boks_firewall", "frewalld", "boks_firewall is 'frewalld'; " + A_FIREWALL),
    ("boks_firewall", "", "boks_firewall is ''; " + A_FIREWALL),
    ("change_tracker_hub_firewall", False, "change_tracker_hub_firewall is False; " + A_FIREWALL),
    ("bigfix_service_command", "x",
     "bigfix_service_command is 'x'; give a list, on the command line as JSON: -e '{\"bigfix_service_command\": [...]}'"),
    ("boks_status_command", "boksadm -S boksdiag list", "boks_status_command is 'boksadm -S boksdiag list'; give a list, on the "
     "command line as JSON: -e '{\"boks_status_command\": [...]}'"),
    ("bigfix_executables", "x",
     "bigfix_executables is 'x'; give a dictionary, on the command line as JSON: -e '{\"bigfix_executables\": {...}}'"),
    ("bigfix_client_executables", ["x"], "bigfix_client_executables is a list; give a dictionary, on the command line as JSON: "
     "-e '{\"bigfix_client_executables\": {...}}'"),
    ("bigfix_allowed_sources", "[10.0.0.5,10.0.0.6]",
     "bigfix_allowed_sources is '[10.0.0.5,10.0.0.6]'; give a list, or text such as "
     "a,b; JSON on the command line is -e '{\"bigfix_allowed_sources\": [...]}'"),
    # What stands in a list or a dictionary is not shown.
    ("bigfix_lock_path", dict(password="secret"), "bigfix_lock_path is a dictionary; give text"),
    ("boks_bridge", ["secret"], "boks_bridge is a list; give true or false")])
def test_values_that_can_not_be(name, value, said):
    assert wrong_values(KNOWN, {name: value}) == [said]


@pytest.mark.parametrize("name, value", [
    ("bigfix_bridge", "yes"), ("bigfix_bridge", False), ("bigfix_bridge", "0"), ("bigfix_bridge_name", "bigfix_client1"),
    ("bigfix_settle_seconds", 0.2), ("bigfix_settle_seconds", "5"), ("bigfix_keep_days", 90), ("bigfix_previous_port", "52311"),
    ("bigfix_bridge", ""), ("bigfix_bridge", None), ("other", "perhaps"), ("bigfix_firewall", None), ("bigfix_firewall", "none"),
    ("bigfix_close_max_missing", "5%"), ("bigfix_max_missing", 3), ("bigfix_client_waves", ["5%", 2]),
    ("bigfix_relay_waves", "100%"),
    ("bigfix_phases", 1), ("bigfix_phases", "[1,2]"), ("bigfix_window", "22:00-04:00"), ("bigfix_service_command", ["/x", "y"]),
    ("bigfix_service_command", []), ("bigfix_executables", dict(besclient=["/x"])),
    ("bigfix_allowed_sources", "10.0.0.5,10.0.0.6"),
    ("bigfix_close_ignore_users", "[10.0.0.5, 10.0.1.0/24]"), ("bigfix_client_settings_paths", "/x/besclient.config"),
    ("boks_stop_commands", [["/x", "-k"]]), ("change_tracker_monitored", "seen to where it is read"),
    ("bigfix_relay_firewall", "ufw"), ("bigfix_client_log_dir", "/var/log")])
def test_values_that_can_be_or_are_checked_elsewhere(name, value):
    assert wrong_values(KNOWN, {name: value}) == []


def test_variables_of_all_hosts_are_read_in_one_pass_and_templates_are_left_to_their_hosts():
    class HostVars:
        def raw_get(self, host):
            return dict(a=dict(bigfix_bridge="{{ perhaps }}", other_bridge="x"),
                        b=dict(bigfix_bridge="perhaps", bigfix_brigde=True))[host]
    said = Variables("bigfix", HostVars(), ["a", "b"])
    assert said.names == {"bigfix_bridge", "bigfix_brigde"} and list(said.values["bigfix_bridge"].values()) == ["perhaps"]
    assert list(said.wrong("bigfix")) == ["bigfix_bridge"]
    assert said.problems("bigfix", []) == [
        "bigfix_brigde: no such variable; bigfix_bridge is meant? Where it is one of your own, list it in "
        "portshift_own_variables",
        "bigfix_bridge is 'perhaps'; give true or false"]


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_every_row_of_the_documentation_says_something(product):
    assert all(row.count(" | ") == 2 and "|  |" not in row for row in rows(product.name, product.options))


TEMPLATE, ENCRYPTED = "{{ of_the_site }}", object()


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_no_option_is_refused_for_a_template_or_what_is_encrypted(product):
    values = [TEMPLATE, "{% if x %}5{% endif %}", [TEMPLATE], ["5%", TEMPLATE], [["/x", TEMPLATE]], dict(a=TEMPLATE),
              dict(a=[TEMPLATE]), [dict(a=TEMPLATE)], ENCRYPTED, [ENCRYPTED], dict(a=ENCRYPTED)]
    options = [name for name in KNOWN if name.startswith(product.name + "_")]
    hosts = {str(number): dict.fromkeys(options, value) for number, value in enumerate(values)}

    class HostVars:
        def raw_get(self, host):
            return hosts[host]
    said = Variables(product.name, HostVars(), hosts)
    assert len(options) > 20 and said.names == set(options) and said.problems(product.name, []) == []


def test_every_option_has_a_type_that_is_checked():
    unknown = {name: option.type for name, option in KNOWN.items() if option.type not in {*TYPES, *CHECKED_BY, *ANYTHING}}
    assert not unknown
    for product in PRODUCTS.values():
        assert {name for name, option in named(product.name, product.options).items() if option.type == "any"} <= {
            "change_tracker_monitored", "change_tracker_agent_path"}


def test_firewalls_are_those_of_the_module_that_opens_them():
    assert set(FIREWALLS) == set(HOST_PORT_SPEC["backend"]["choices"])
    firewalls = {name: set(option.choices) for name, option in KNOWN.items() if name.endswith("_firewall")}
    assert len(firewalls) == 6 and set(map(frozenset, firewalls.values())) == {frozenset(FIREWALLS)}


# -- one table of defaults

def literal(text):
    return {"true": True, "false": False}[text] if text in ("true", "false") else ast.literal_eval(text)


def defaults_of_roles(variable):
    """(file, what the variable is there where it is not set, if that is no template)."""
    fallback = re.compile(r"\b%s \| default\(('[^']*'|\[\]|\{\}|[\d.]+|true|false)(?:, true)?\)" % variable)
    for path in [path for role in sorted(ROLES.iterdir()) for path in own_files(role, "defaults")]:
        text = path.read_text(encoding="utf-8")
        found = [literal(match) for match in fallback.findall(text)]
        own = yaml.safe_load(text).get(variable)
        if own is not None and "{{" not in str(own):
            found.append(own)
        yield from ((path.relative_to(ROLES).parts[0], value) for value in found)


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_roles_have_the_defaults_of_the_table(product):
    options = {name: option for name, option in named(product.name, product.options).items() if name != product.port}
    found = {name: list(defaults_of_roles(name)) for name in options}
    assert sum(map(bool, found.values())) > 5
    wrong = {name: (role, value, options[name].default) for name, several in found.items() for role, value in several
             if (value, type(value)) != (options[name].default, type(options[name].default))}
    assert not wrong


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_the_plays_of_a_migration_name_the_phases_of_the_table(product):
    path = ROLES.parent / "playbooks" / ("migrate_%s_port.yml" % product.name)
    [play] = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert dict(enumerate(play["vars"]["portshift_phases"], 1)) == product.phases


def test_no_playbook_has_a_default_of_its_own_for_a_variable_of_the_table():
    named_in = {name for product in PRODUCTS.values() for name in named(product.name, product.options)}
    text = {path: path.read_text(encoding="utf-8") for path in (ROLES.parent / "playbooks").rglob("*.yml")}
    own = {(path.name, name) for path, content in text.items()
           for name, value in re.findall(r"(\w+) \| default\(([^)]*)\)", content) if name in named_in and "omit" not in value}
    assert not own


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_a_name_that_the_table_does_not_have_has_no_default(product):
    assert product.default("window") == "" and product.default("max_missing") == 0 and product.default("lock") is True
    with pytest.raises(EngineError) as caught:
        product.default("windows")
    assert str(caught.value) == "the options of %s have no windows: add it to the table in _drivers/%s.py" % (
        product.name, product.name)
