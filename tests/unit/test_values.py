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
        found.update(loader.load_from_file(str(ROLES / role / part / "main.yml"), trusted_as_template=True))
    hosts = dict(srv=dict(ansible_host="10.0.0.1"), c1=dict(ansible_host="10.0.0.9"))
    found.update(trusted(dict(inventory_hostname="c1", ansible_host="10.0.0.9", hostvars=hosts, groups=dict(
        bigfix_server=["srv"], bigfix_relays=[], bigfix_clients=["c1"]), **more)))
    templar = Templar(DataLoader(), variables=found)
    return Values(found, templar, role + "_host"), templar


@pytest.mark.parametrize("role", ["bigfix_client", "bigfix_relay", "bigfix_server"])
@pytest.mark.parametrize(
    "site", [{}, SITE, dict(ansible_connection="winrm"), dict(portshift_port=1, bigfix_parent="srv")],
    ids=["usual", "site", "windows", "playbook"])
def test_what_a_role_says_of_its_host_is_what_a_template_gives(role, site):
    values, templar = of_role(role, **site)
    assert len(values) > 30
    for key in values:
        assert values[key] == templar.template(trust_as_template("{{ %s_host.%s }}" % (role, key))), key


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
    ("{{ a | default((1, 2)) }}", [1, 2]), ("{{ a | default('x)') }}", "x)"), ("{{ a | default('a, true') }}", "a, true"),
    ("{{ missing | default(5) }}", 5), ("{{ a | default(b) }}", 2), ("{{ more.deep.x }}", 2), ("{{ more.key }} ", "2 "),
    ("{{ more['key'] }}", 2), ("{{ b }}{{ b }}", "22"), ("{{ b | default(3) | string }}", "2"), ("{{ plain }}", "{ b }")])
def test_value_is_that_of_the_template(text, value):
    values, templar = seen("host", host=dict(it=text), missing="{{ not_there }}", empty="", b="{{ two }}", two=2, plain="{ b }",
                           more=dict(key="{{ b }}", deep=dict(x="{{ more.key }}")))
    assert values["it"] == value == templar.template(trust_as_template(text)) and isinstance(values["it"], type(value))


def test_text_that_is_no_template_leads_nowhere():
    """As of a fact, which a host may have made up."""
    known = dict(host=dict(a=trust_as_template("{{ fact }}")), fact="{{ secret }}", secret="hunter2")
    assert Values(known, Templar(DataLoader(), variables=known), "host")["a"] == "{{ secret }}"


def test_name_that_leads_to_itself_is_refused():
    values, unused = seen("host", host=dict(a="{{ b }}"), b="{{ c }}", c="{{ b }}")
    with pytest.raises(AnsibleError):
        values["a"]


def test_dictionary_is_found_by_its_names_or_made_by_a_template():
    assert dict(seen("one", one="{{ two }}", two="{{ three }}", three=dict(a="{{ b }}"), b=1)[0]) == dict(a=1)
    assert dict(seen("one", one="{{ two | combine({'b': b}) }}", two=dict(a=2), b=1)[0]) == dict(a=2, b=1)
