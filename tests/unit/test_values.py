# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that are read instead of templated are what a template would give."""

from pathlib import Path
from unittest import mock

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.portshift.agents.plugins.plugin_utils import _values
from ansible_collections.portshift.agents.plugins.plugin_utils._values import Values

ROLES = Path(__file__).resolve().parents[2] / "roles"
# What a site may say, by which most of the defaults are overruled.
SITE = dict(
    bigfix_port="{{ site_port }}", site_port=55000, bigfix_previous_port=52311, bigfix_service_timeout=7, bigfix_bridge=False,
    bigfix_masthead_src="/m/{{ site_port }}.afxm", bigfix_service_command=["/usr/sbin/ctl", "{{ inventory_hostname }}"],
    bigfix_address="{{ ansible_host }}", bigfix_settle_seconds="{{ 1 + 1 }}",
    # For which the role's default stands in.
    bigfix_firewall="{{ undefined_there }}")


def trusted(value):
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    return [trusted(one) for one in value] if isinstance(value, list) else value


def seen(name, **variables):
    """(the dictionary as it is read, a Templar that gives it as Ansible does)"""
    known = trusted(variables)
    templar = Templar(DataLoader(), variables=known)
    return Values(known, templar, name), templar


def of_role(role, **more):
    loader, found = DataLoader(), {}
    for part in ("defaults", "vars"):
        for path in sorted((ROLES / role / part / "main").glob("*.yml")):
            found.update(loader.load_from_file(str(path), trusted_as_template=True))
    hosts = dict(srv=dict(ansible_host="10.0.0.1"), c1=dict(ansible_host="10.0.0.9"))
    found.update(trusted(dict(inventory_hostname="c1", ansible_host="10.0.0.9", hostvars=hosts, groups=dict(
        bigfix_server=["srv"], bigfix_relays=[], bigfix_clients=["c1"]), **more)))
    templar = Templar(DataLoader(), variables=found)
    return Values(found, templar, "bigfix_component_host"), templar


@pytest.mark.parametrize("role", ["bigfix_client", "bigfix_relay", "bigfix_server"])
@pytest.mark.parametrize(
    "site", [{}, SITE, dict(ansible_connection="winrm"), dict(portshift_port=1, bigfix_parent="srv")],
    ids=["usual", "site", "windows", "playbook"])
def test_what_a_role_says_of_its_host_is_what_a_template_gives(role, site):
    values, templar = of_role(role, **site)
    assert len(values) > 30
    for key in values:
        assert values[key] == templar.template(trust_as_template("{{ bigfix_component_host.%s }}" % key)), key


def test_no_more_than_a_handful_of_values_is_templated():
    values, templar = of_role("bigfix_client")
    with mock.patch.object(templar, "template", wraps=templar.template) as asked:
        dict(values)
    assert asked.call_count < 12


def test_what_is_undefined_is_ansibles_to_tell():
    values, unused = seen("host", host=dict(it="{{ a }}"), a="{{ undefined_there }}")
    with pytest.raises(AnsibleError, match="undefined_there"):
        values["it"]


@pytest.mark.parametrize("text, value", [
    ("{{ a | default('') }}", ""), ("{{ a | default(false) }}", False), ("{{ a | default([]) }}", []),
    ("{{ a | default(none) }}", None), ("{{ a|default(-1.5) }}", -1.5), ("{{ empty | default('x') }}", ""),
    ("{{ empty | default('x', true) }}", "x"), ("{{ empty | default(b,true) }}", 2), ("{{ a | default(0, true) }}", 0),
    ("{{ b | default(0, true) }}", 2), ("{{ a | default(more.deep.x) }}", 2),
    ("{{ a | default('x', false) }}", "x"), ("{{ more.none | default('x') }}", "x"), ("{{ missing | default('x', true) }}", "x"),
    ("{{ empty | default(5, True) }}", 5), ("{{ empty | default('x', boolean=True) }}", "x"),
    ("{{ empty | default(b, 1 == 1) }}", 2),
    ("{{ made.x }}", "2"), ("{{ made.y | default('n') }}", "n"), ("{{ made.nothing.z | default('n') }}", "n"),
    ("{{ lit }}", "{{ b }}"), ("{{ more.lit }}", "{{ b }}"), ("{{ made.lit }}", "{{ b }}"),
    ("{{ a | default((1, 2)) }}", [1, 2]), ("{{ a | default('x)') }}", "x)"), ("{{ a | default('a, true') }}", "a, true"),
    ("{{ missing | default(5) }}", 5), ("{{ a | default(b) }}", 2), ("{{ more.deep.x }}", 2), ("{{ more.key }} ", "2 "),
    ("{{ more['key'] }}", 2), ("{{ b }}{{ b }}", "22"), ("{{ b | default(3) | string }}", "2"), ("{{ plain }}", "{ b }"),
    # One default behind another, of which the first that has a value counts.
    ("{{ a | default(empty) | default('x', true) }}", "x"), ("{{ a | default(more.none, true) | default(b) }}", 2),
    ("{{ empty | default(a, true) | default('x', true) }}", "x"), ("{{ b | default(groups.x | first, true) }}", 2),
    ("{{ empty | default([1, 2] | first, true) }}", 1), ("{{ empty | default(default_value=5) }}", ""),
    ("{{ empty | default('a=b', true) }}", "a=b"), ("{{ nothing.deep.er | default('x') }}", "x"),
    ("{{ more.items | default('x') is callable }}", True), ("{{ range | default('x') is callable }}", True),
    # A backslash is one.
    (r"{{ a | default('C:\path\bigfix') }}", r"C:\path\bigfix"), (r"{{ a | default(['\bx\b']) }}", [r"\bx\b"]),
    # What is true.
    ("{{ yes | default(true) | bool }}", True), ("{{ a | default(false) | bool }}", False), ("{{ word | bool }}", True),
    ("{{ b | bool }}", False),
    # Text with names in it, and what makes no text.
    ("/{{ dir }}/x", "//d/x"), ("{{ dir }}{{dir}}", "/d/d"), ("{{ dir }} { {{ dir }}", "/d { /d"), ("-{{ b }}", "-2"),
    ("{{ dir }}{# remark #}", "/d"), ("{% if b %}{{ dir }}{% endif %}", "/d"), ("{{ dir }}\n", "/d\n"),
    ("{{ lit }}x", "{{ b }}x"),
    ("{{ dir }}\\x", "/d\\x"), (["{{ dir }}/x", 1, ["{{ b }}"]], ["/d/x", 1, [2]]), ({"{{ b }}": "{{ b }}"}, {"{{ b }}": 2})])
def test_value_is_that_of_the_template(text, value):
    values, templar = seen("host", host=dict(it=text), missing="{{ not_there }}", empty="", b="{{ two }}", two=2, plain="{ b }",
                           dir="/d", yes=True, word="yes",
                           made="{{ {'x': '%s' % b, 'lit': lit} }}", lit="{{ '{{ b }}' }}",
                           more=dict(key="{{ b }}", deep=dict(x="{{ more.key }}"), lit="{{ lit }}"))
    assert values["it"] == value == templar.template(trusted(text)) and isinstance(values["it"], type(value))


class Hosts(dict):
    """As C(hostvars), which templates what is asked for by a name."""

    def __getitem__(self, name):
        known = super().__getitem__(name)
        return {key: Templar(DataLoader(), variables=known).template(value) for key, value in known.items()}

    raw_get = dict.get


@pytest.mark.parametrize("text, value", [
    ("{{ hostvars[peer].address }}", "10.0.0.1"), ("{{ hostvars[peer].name | default('x') }}", "x"),
    ("{{ hostvars[peer].name | default(hostvars[peer].address, true) | default(peer) }}", "10.0.0.1"),
    ("{{ hostvars[peer].name | default(hostvars[peer].other, true) | default(peer, true) }}", "srv"),
    # What the other host templates, with what it has.
    ("{{ hostvars[peer].made }}", "10.0.0.1:1"), ("{{ hostvars[peer].made | default('x') }}", "10.0.0.1:1"),
    # What came from it is no template, whatever it looks like.
    ("{{ hostvars[peer].fact }}", "{{ secret }}"), ("{{ hostvars['srv'].address }}", "10.0.0.1")])
def test_variable_of_another_host_is_that_of_the_template(text, value):
    there = dict(trusted(dict(address="10.0.0.1", made="{{ address }}:1")), fact="{{ secret }}", secret="hunter2")
    values, templar = seen("host", host=dict(it=text), peer="srv")
    for variables in (values._variables, templar.available_variables):
        variables["hostvars"] = Hosts(srv=there)
    assert values["it"] == value == templar.template(trust_as_template(text))


def test_text_that_is_no_template_leads_nowhere():
    """As of a fact, which a host may have made up."""
    known = dict(host=dict(a=trust_as_template("{{ fact }}")), fact="{{ secret }}", secret="hunter2")
    assert Values(known, Templar(DataLoader(), variables=known), "host")["a"] == "{{ secret }}"


def test_name_that_leads_to_itself_is_refused():
    values, unused = seen("host", host=dict(a="{{ b }}"), b="{{ c }}", c="{{ b }}")
    with pytest.raises(AnsibleError):
        values["a"]
    for loop in (dict(host="{{ host }}"), dict(host="{{ b }}", b="{{ host }}")):
        with pytest.raises(AnsibleError):
            seen("host", **loop)


def test_what_is_to_be_left_out_is_none():
    known = dict(host=dict(a=trust_as_template("{{ omit }}"), b=trust_as_template("{{ out | default('x') }}")),
                 out=trust_as_template("{{ omit }}"))
    # Nothing stands below it.
    known["host"]["c"], known["made"] = trust_as_template("{{ made.x | default('x') }}"), trust_as_template("{{ omit }}")
    values = Values(known, Templar(DataLoader(), variables=known), "host")
    assert (values["a"], values["b"], values["c"]) == (None, None, "x")


class Watched(dict):
    """Variables of which not one may be asked for that is not named."""

    def __iter__(self):
        raise AssertionError("all of them were asked for")

    keys = values = items = __iter__


def test_no_variable_is_asked_for_that_is_not_named():
    """Each may be a lookup, such as one that asks a vault, and a host's are asked for by each host."""
    known = dict(host=trusted(dict(a="{{ hostvars.srv.b }}", b="{{ creds.a }}")), hostvars=dict(srv=Watched(b=2)),
                 creds=dict(a=1, other=trust_as_template("{{ lookup('file', '/nonexistent') }}")))
    values = Values(known, Templar(DataLoader(), variables=known), "host")
    assert (values["a"], values["b"]) == (2, 1)


def test_core_that_can_not_tell_what_is_a_template_is_asked_for_all_of_it(monkeypatch):
    monkeypatch.setattr(_values, "is_trusted_as_template", lambda value: False)
    values, templar = of_role("bigfix_client", **SITE)
    assert dict(values) == {key: templar.template(trust_as_template("{{ bigfix_component_host.%s }}" % key)) for key in values}


def test_dictionary_is_found_by_its_names_or_made_by_a_template():
    assert dict(seen("one", one="{{ two }}", two="{{ three }}", three=dict(a="{{ b }}"), b=1)[0]) == dict(a=1)
    assert dict(seen("one", one="{{ two | combine({'b': b}) }}", two=dict(a=2), b=1)[0]) == dict(a=2, b=1)
