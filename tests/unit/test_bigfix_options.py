# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules are asked of a BigFix host, out of the variable of its role."""

import re
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.proof_options import BIGFIX_EVIDENCE_SPEC, PROOF_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._bridge.options import BRIDGE_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._task_options import task_options
from tests.unit.public_names import doc_fragment

ROLES = Path(__file__).resolve().parents[2] / "roles"
MODULES = ROLES.parent / "plugins" / "modules"
CLIENT = dict(
    component="client", port="55000", previous_port="", masthead_src="", allow_invalid_signature=False, masthead_paths=["/m"],
    settings_paths=["/s"], clientsettings_paths=["/c"], services=["besclient"], service_command=[], executables={},
    service_timeout=120, address="10.0.0.9", bind_address="", parent_address="relay1", bridge=False, tls=False, log_dir="/logs",
    relay_chain_dir="", success_patterns=["ok"], failure_patterns=["no"], probe_timeout=10, evidence_timeout=60, settle_seconds=5,
    record_path="/var/lib/portshift/bigfix.json", phase=3, firewall="auto", firewall_zone="", keep_days=90,
    openings=[dict(protocol="udp", sources=[])], lease="/var/lib/portshift/host.lock", lease_wait=300)
RELAY = dict(CLIENT, component="relay", bridge=True, bridge_name="bigfix", bridge_persistent=False, bind_address="10.0.0.9",
             reserve_port=True, parent_connects=True)


def bigfix_options(host, what, **options):
    """What the lookup says of a host whose variable holds plain values."""
    known = dict(bigfix_component_host=host)
    found = lookup_loader.get("portshift.agents.bigfix_options", templar=Templar(DataLoader(), variables=known)).run(
        [what], known, **options)
    assert len(found) == 1
    return found[0]


def documented(module):
    text = (MODULES / ("%s.py" % module)).read_text()
    found = yaml.safe_load(text.split('DOCUMENTATION = r"""')[1].split('"""')[0])
    fragments = [name.split(".")[-1] for name in found["extends_documentation_fragment"]]
    names = set(found["options"])
    for fragment in {"bigfix_host", "bigfix_proof", "executables"} & set(fragments):
        names |= set(doc_fragment(fragment)["DOCUMENTATION"]["options"])
    return names


@pytest.mark.parametrize("what, module", [
    ("look", "bigfix_info"), ("move", "bigfix_cutover"), ("finish", "bigfix_cutover"), ("back", "bigfix_cutover")])
@pytest.mark.parametrize("host", [CLIENT, RELAY], ids=["client", "relay"])
def test_every_name_is_an_option_of_the_module(what, module, host):
    options = bigfix_options(host, what)
    assert set(options) <= documented(module)
    assert set(options.get("proof", {})) <= set(PROOF_SPEC["options"])
    assert set(options.get("bridge", {})) <= set(BRIDGE_SPEC)


def test_every_name_is_an_option_of_the_evidence():
    assert set(bigfix_options(RELAY, "evidence")) <= set(BIGFIX_EVIDENCE_SPEC)


def test_what_a_role_leaves_empty_is_not_asked():
    look = bigfix_options(CLIENT, "look")
    assert not {"previous_port", "masthead_src", "bind_address"} & set(look)
    assert not {"bind_address", "relay_chain_dir"} & set(look["proof"])
    assert look["port"] == "55000" and look["record"] == "/var/lib/portshift/bigfix.json"


def test_the_look_has_less_time_for_the_proof_than_the_move():
    assert bigfix_options(CLIENT, "look")["proof"]["timeout"] == 10
    move = bigfix_options(CLIENT, "move", assessment=dict(neighbours=[8080]))
    assert move["proof"]["timeout"] == 60 and move["proof"]["parent_wait"] == 10 and move["proof"]["neighbours"] == [8080]
    assert move["phase"] == "3" and "bridge" not in move


def test_a_relay_whose_parent_connects_is_not_asked_about_its_parent():
    assert bigfix_options(CLIENT, "move")["proof"]["parent"] == "relay1"
    assert "parent" not in bigfix_options(RELAY, "move")["proof"]


def test_a_finish_begins_nothing_and_proves_nothing():
    finish = bigfix_options(RELAY, "finish")
    assert finish["unfinished_only"] is True and "proof" not in finish
    assert bigfix_options(RELAY, "back")["state"] == "restored"


def test_what_the_host_needs_beside_the_product():
    assert bigfix_options(RELAY, "host_port") == dict(
        name="bigfix", backend="auto", zone="", reserve=True, record="/var/lib/portshift/bigfix.55000.host_port.json",
        openings=[dict(protocol="udp", sources=[], port="55000")], lease="/var/lib/portshift/host.lock", lease_wait=300)
    assert bigfix_options(RELAY, "bridge") == dict(
        name="bigfix", addresses=["10.0.0.9"], persistent=False, lease="/var/lib/portshift/host.lock", lease_wait=300)


def test_something_else_is_refused():
    with pytest.raises(AnsibleError, match="'mvoe' is none of look, move, finish, back, evidence, bridge, host_port, prober, "
                                           "probe_timeout, path, parent_moved"):
        bigfix_options(CLIENT, "mvoe")


def test_path_ends_at_the_parent():
    behind_a_bridge = dict(CLIENT, parent_bridge=True, port=55000)
    page = dict(path="/masthead/masthead.afxm", tls=False, body_regex="")
    assert bigfix_options(behind_a_bridge, "path") == [dict(host="relay1", port=55000, http=page)]
    # A listener of our own speaks no HTTP.
    assert bigfix_options(dict(behind_a_bridge, parent_bridge=False), "path") == [dict(host="relay1", port=55000)]
    assert bigfix_options(dict(behind_a_bridge, parent_address=""), "path") == []
    assert bigfix_options(behind_a_bridge, "probe_timeout") == 10 and bigfix_options(behind_a_bridge, "prober") == ""


def test_parent_probes_the_path_of_a_relay_that_it_connects_to():
    relay = dict(RELAY, parent="srv", parent_bridge=False)
    assert (bigfix_options(relay, "path"), bigfix_options(relay, "prober")) == ([dict(host="10.0.0.9", port="55000")], "srv")


def test_before_a_way_back_the_bridge_of_the_parent_answers_on_the_old_port():
    behind_a_bridge = dict(CLIENT, parent_bridge=True)
    assert [target["port"] for target in bigfix_options(behind_a_bridge, "path", back_to=52311)] == [52311]
    assert bigfix_options(dict(behind_a_bridge, parent_bridge=False), "path", back_to=52311) == []


def test_parent_that_has_moved_names_the_port_in_its_masthead():
    (target,) = bigfix_options(dict(CLIENT, parent_bridge=False), "parent_moved")
    moved = re.compile(target["http"]["body_regex"])
    assert target["host"] == "relay1" and moved.search("http://srv:55000/x") and moved.search('_PortNumber = "55000"')
    assert not moved.search("http://srv:52311/x") and not moved.search("_PortNumber=550001")


def test_what_is_given_beside_the_dictionary_counts_first():
    assert task_options(dict(options=dict(port=1, phase="x"), port=2)) == dict(port=2, phase="x")
    assert task_options(dict(port=2)) == dict(port=2)
    with pytest.raises(EngineError, match="options: 'x'; give a dictionary of this module's options"):
        task_options(dict(options="x"))
