# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a bridge as text, and read back."""

import json

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._bridge_rules import (
    BridgeError, Mapping, Rule, check_mappings, check_name, from_iptables, from_nft, iptables_script, nft_remove, nft_script,
    rules, unit_text)

EVERY = rules([Mapping(55000, 52311, ["tcp", "udp"])], [])
ONE = rules([Mapping(55000, 52311, ["tcp"])], ["192.0.2.7", "2001:db8::7"])


def test_a_bridge_has_a_rule_for_each_hook_protocol_and_address():
    assert EVERY == [Rule(hook, None, protocol, 55000, 52311)
                     for hook in ("prerouting", "output") for protocol in ("tcp", "udp")]
    assert [rule.address for rule in ONE] == ["192.0.2.7", "2001:db8::7"] * 2


def test_nft_script_replaces_the_table_in_one_transaction():
    script = nft_script("bigfix", EVERY)
    assert script.index("delete table inet portshift_bigfix") < script.index("table inet portshift_bigfix {")
    assert nft_remove("bigfix") in script
    assert script.count("fib daddr type local tcp dport 55000 redirect to :52311") == 2
    assert "type nat hook prerouting priority -105" in script and "type nat hook output priority -105" in script


def test_nft_keeps_the_address_where_one_is_named():
    script = nft_script("bigfix", ONE)
    assert script.count("ip daddr 192.0.2.7 tcp dport 55000 dnat ip to 192.0.2.7:52311") == 2
    assert script.count("ip6 daddr 2001:db8::7 tcp dport 55000 dnat ip6 to [2001:db8::7]:52311") == 2


def nft_rule(*expr, chain="output"):
    return json.dumps({"nftables": [{"metainfo": {}}, {"rule": {"chain": chain, "expr": list(expr)}}]})


DPORT = {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 55000}}


def test_nft_rules_are_read_back():
    local = {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}
    assert from_nft(nft_rule(local, DPORT, {"redirect": {"port": 52311}})) == [Rule("output", None, "udp", 55000, 52311)]
    address = {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "192.0.2.7"}}
    assert from_nft(nft_rule(address, DPORT, {"dnat": {"addr": "192.0.2.7", "port": 52311}}, chain="prerouting")) == [
        Rule("prerouting", "192.0.2.7", "udp", 55000, 52311)]


@pytest.mark.parametrize("text", [
    nft_rule(DPORT, {"drop": None}), nft_rule({"counter": {}}), "no json",
    nft_rule({"match": {"left": {"meta": {"key": "iifname"}}, "right": "eth0"}}, DPORT, {"redirect": {"port": 52311}}),
])
def test_rules_of_somebody_else_in_the_table_are_refused(text):
    with pytest.raises(BridgeError, match="did not write"):
        from_nft(text)


SAVED = """*nat
:PREROUTING ACCEPT [0:0]
:PORTSHIFT-bigfix - [0:0]
-A PREROUTING -j PORTSHIFT-bigfix
-A OUTPUT -j PORTSHIFT-bigfix
-A POSTROUTING -j MASQUERADE
-A PORTSHIFT-bigfix -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 55000 -j REDIRECT --to-ports 52311
-A PORTSHIFT-bigfix -d 192.0.2.7/32 -p udp -m udp --dport 55000 -j DNAT --to-destination 192.0.2.7:52311
COMMIT
"""


def test_iptables_rules_are_read_back_for_each_hook_that_leads_to_them():
    found = [Rule("x", None, "tcp", 55000, 52311), Rule("x", "192.0.2.7", "udp", 55000, 52311)]
    assert set(from_iptables(SAVED, "bigfix")) == {
        rule._replace(hook=hook) for rule in found for hook in ("prerouting", "output")}
    one_hook = SAVED.replace("-A OUTPUT -j PORTSHIFT-bigfix\n", "")
    assert {rule.hook for rule in from_iptables(one_hook, "bigfix")} == {"prerouting"}
    assert from_iptables(SAVED, "boks") == []
    with pytest.raises(BridgeError, match="did not write: -A PORTSHIFT-bigfix -j DROP"):
        from_iptables(SAVED + "-A PORTSHIFT-bigfix -j DROP\n", "bigfix")


def test_iptables_script_gives_each_family_its_own_addresses():
    assert "-d 192.0.2.7/32" in iptables_script("bigfix", ONE) and "2001:db8" not in iptables_script("bigfix", ONE)
    six = iptables_script("bigfix", ONE, ipv6=True)
    assert "-d 2001:db8::7/128" in six and "--to-destination [2001:db8::7]:52311" in six and "192.0.2.7" not in six


@pytest.mark.parametrize(("name", "listen", "target", "words"), [
    ("BigFix", 55000, 52311, "give 1 to 20 characters"), ("", 55000, 52311, "give 1 to 20"), ("a b", 1, 2, "give 1 to 20"),
    ("a" * 21, 1, 2, "give 1 to 20"), ("x; flush ruleset", 1, 2, "give 1 to 20"), ("bigfix", 55000, 55000, "to itself"),
])
def test_bridges_that_can_not_be(name, listen, target, words):
    with pytest.raises(BridgeError, match=words):
        check_name(name)
        check_mappings([Mapping(listen, target, ["tcp"])])


def test_several_ports_are_bridged_at_once():
    wanted = rules([Mapping(6530, 6500, ["tcp"]), Mapping(6531, 6501, ["tcp", "udp"])], [])
    assert {rule[2:] for rule in wanted} == {("tcp", 6530, 6500), ("tcp", 6531, 6501), ("udp", 6531, 6501)}
    assert nft_script("boks", wanted).count("redirect to") == 2 * 3


@pytest.mark.parametrize("mappings, words", [
    ([(6530, 6500, ["tcp"]), (6530, 6501, ["tcp"])], "can't lead to both 6500 and 6501"),
    ([(6502, 6500, ["tcp"]), (6504, 6502, ["tcp"])], "tcp port 6502 is to be bridged and is a target_port too"),
])
def test_ports_that_contradict_each_other_are_refused(mappings, words):
    with pytest.raises(BridgeError, match=words):
        check_mappings([Mapping(*mapping) for mapping in mappings])


def test_same_number_of_another_protocol_is_another_port():
    check_mappings([Mapping(6502, 6500, ["tcp"]), Mapping(6504, 6502, ["udp"])])


def test_unit_comes_before_the_network_and_after_the_firewalls():
    text = unit_text("bigfix", "/usr/sbin/nft -f /etc/portshift/bridge-bigfix.nft", "-/usr/sbin/nft delete table x")
    assert "After=firewalld.service" in text and "PartOf=nftables.service" in text
    assert "ExecStart=/usr/sbin/nft -f /etc/portshift/bridge-bigfix.nft\n" in text
