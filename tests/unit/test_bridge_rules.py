# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a bridge as text, and read back."""

import json

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._bridge.rules import (
    BridgeError, Mapping, Rule, User, Watch, check_folder, check_mappings, check_name, from_iptables, from_nft, from_recent,
    iptables_script, iptables_watch_script, nft_remove, nft_script, parse_addresses, rules, unit_text, users_from_nft, watches,
    watches_from_iptables, watches_from_nft)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

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
def test_rules_of_others_in_the_table_are_refused(text):
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


@pytest.mark.parametrize("text", [
    "192.0.2.7; flush ruleset", "192.0.2.7\nflush ruleset", "192.0.2.0/24", "192.0.2", "relay1.example.test", "", "$(reboot)",
    "fe80::1%eth0", "fe80::1%; flush ruleset", "fe80::1%eth0\nRULES\nreboot", "[2001:db8::7]", "0.0.0.0", "::", "224.0.0.1",
    "::ffff:192.0.2.7", 7])
def test_what_is_no_address_of_a_host_gets_into_no_rule(text):
    with pytest.raises(EngineError) as refused:
        parse_addresses(["192.0.2.1", text])
    assert str(refused.value).startswith("addresses is ") and (
        repr(text) in str(refused.value) or str(text) in str(refused.value))


def test_addresses_have_one_spelling_and_count_once():
    assert parse_addresses([" 192.0.2.7", "2001:DB8:0::7", "192.0.2.7"]) == ["192.0.2.7", "2001:db8::7"]


@pytest.mark.parametrize("path", [
    "/etc/a b", "/etc/x\nExecStart=/bin/true", "/etc/%n", "etc/portshift", "/etc/$HOME", "/etc/'x", ""])
def test_folder_that_could_say_more_in_a_unit_is_refused(path):
    with pytest.raises(BridgeError) as refused:
        check_folder(path, "rules_dir")
    assert repr(path) in str(refused.value) and str(refused.value).startswith("rules_dir is ")
    check_folder("/etc/portshift-2/x_y.d", "rules_dir")


def test_each_hook_and_family_remembers_the_users_of_the_bridged_port_alone():
    assert watches(rules([Mapping(52311, 55000, ["udp"])], [])) == {
        Watch(hook, None, "udp", 52311, family) for hook in ("prerouting", "output") for family in (4, 6)}
    assert {watch[1:] for watch in watches(ONE)} == {("192.0.2.7", "tcp", 55000, 4), ("2001:db8::7", "tcp", 55000, 6)}


def test_nft_remembers_in_sets_that_empty_themselves():
    script = nft_script("bigfix", EVERY)
    assert "timeout 86400s" in script and script.count("flags dynamic,timeout") == 2
    assert script.count("tcp dport 55000 tcp flags & psh == psh update @users_4 { ip saddr . tcp dport }") == 2
    assert script.count("udp dport 55000 update @users_6 { ip6 saddr . udp dport }") == 2
    # Behind connection tracking and before the port is rewritten.
    assert script.count("type filter hook prerouting priority -150; policy accept;") == 1
    assert script.count('iifname != "lo" meta nfproto ipv4') == 2


def test_users_are_read_back_from_nft():
    def element(value, left):
        return {"elem": {"val": value, "expires": left}}
    said = json.dumps({"nftables": [
        {"set": {"name": "users_4", "elem": [element({"concat": ["10.0.3.7", 52311]}, 86399)]}},
        {"set": {"name": "users_6", "elem": [element({"concat": ["fd00::7", 52311]}, 80000)]}},
        {"set": {"name": "since", "elem": [element(1, 30 * 86400 - 600)]}}, {"table": {"name": "portshift_bigfix"}}]})
    assert users_from_nft(said) == ([User("10.0.3.7", 52311, 1), User("fd00::7", 52311, 6400)], 600)
    assert users_from_nft('{"nftables": []}') == ([], None)


def test_what_remembers_is_no_rule_of_the_bridge():
    local = {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}
    remember = {"set": {"op": "update", "elem": {"concat": []}, "set": "@users_4"}}
    said = nft_rule(local, DPORT, remember, chain="users_output")
    assert from_nft(said) == [] and watches_from_nft(said) == {Watch("output", None, "udp", 55000, 4)}
    assert watches_from_nft(nft_rule({"drop": None}, DPORT, {"set": {"set": "@other"}}, chain="users_output")) == set()


def test_iptables_remembers_in_a_list_of_each_port_and_family():
    script = iptables_watch_script("boks", rules([Mapping(6500, 6530, ["tcp"]), Mapping(6501, 6531, ["udp"])], []))
    assert script.startswith("*mangle\n:PORTSHIFT-boks - [0:0]\n")
    assert ("-p tcp -m tcp --dport 6500 --tcp-flags PSH PSH -m conntrack --ctdir ORIGINAL -m recent "
            "--name portshift_boks_6500_4 --set") in script
    assert "-p udp -m udp --dport 6501 -m conntrack" in script and "_6 " not in script
    assert "-d 2001:db8::7/128" in iptables_watch_script("bigfix", ONE, ipv6=True)


def test_users_are_read_back_from_iptables():
    saved = ("-A PREROUTING -j PORTSHIFT-boks\n-A OUTPUT -j PORTSHIFT-boks\n"
             "-A PORTSHIFT-boks -d 192.0.2.7/32 ! -i lo -p tcp -m tcp --dport 6500 --tcp-flags PSH PSH -m conntrack "
             "--ctdir ORIGINAL -m recent --set --name portshift_boks_6500_4 --mask 255.255.255.255 --rsource\n")
    assert watches_from_iptables(saved, "boks") == {
        Watch(hook, "192.0.2.7", "tcp", 6500, 4) for hook in ("prerouting", "output")}
    assert watches_from_iptables(saved, "boks", ipv6=True) == set() == watches_from_iptables(saved, "bigfix")
    listed = ("src=10.0.3.7 ttl: 64 last_seen: 4297654321 oldest_pkt: 2 4297654320, 4297654321\n"
              "src=fd00:0000:0000:0000:0000:0000:0000:0007 ttl: 64 last_seen: 12 oldest_pkt: 1 12\n")
    assert from_recent(listed) == {"10.0.3.7": 4297654321, "fd00::7": 12}
