# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What conditions of a packet filter say of new connections, and what follows for a denial that has one."""

import json
import re

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._host_port import iptables_rules as saved, nftables_rules as nft
from ansible_collections.portshift.agents.plugins.module_utils._host_port.input_filter import (
    Atom, Scene, Survey, at_scene, denial_sentences, kinds_of)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import Opening

PORT = 55000


def payload(protocol, field):
    return {"payload": {"protocol": protocol, "field": field}}


def meta(key):
    return {"meta": {"key": key}}


def ct(key, **more):
    return {"ct": dict(key=key, **more)}


def match(left, right, op="=="):
    return {"match": {"op": op, "left": left, "right": right}}


# As nft 1.0.6 prints them with -j; never: no new connection meets it.
NFT = [
    # the packet
    (match(meta("pkttype"), "host"), "every"), (match(meta("pkttype"), "host", "!="), "single"),
    (match(meta("pkttype"), {"set": ["broadcast", "multicast"]}), "single"),
    (match(payload("tcp", "flags"), {"|": ["fin", "syn"]}), "single"),
    (match({"&": [payload("tcp", "flags"), {"|": [{"|": ["fin", "syn"]}, {"|": ["rst", "ack"]}]}]}, "syn"), "every"),
    (match({"&": [payload("tcp", "flags"), ["fin", "syn", "rst", "ack"]]}, "syn", "!="), "single"),
    (match(payload("tcp", "flags"), "syn", "in"), "every"), (match(payload("tcp", "flags"), 0), "single"),
    (match({"&": [payload("ip", "frag-off"), 8191]}, 0, "!="), "single"),
    (match({"tcp option": {"name": "maxseg", "field": "size"}}, {"range": [1, 535]}), "single"),
    (match({"exthdr": {"name": "rt", "field": "type"}}, 0), "single"), (match({"exthdr": {"name": "frag"}}, True), "single"),
    (match({"exthdr": {"name": "frag"}}, False), "every"), (match({"ip option": {"name": "lsrr"}}, True), "single"),
    (match(payload("tcp", "sport"), {"range": [1024, 65535]}), "every"), (match(payload("tcp", "sport"), 53), "single"),
    (match(payload("th", "sport"), 1024, "<"), "single"), (match(payload("ip", "ttl"), 5, "<"), "unknown"),
    (match(payload("ip", "dscp"), "cs1"), "unknown"), (match(meta("length"), 1000, ">"), "unknown"),
    (match({"payload": {"base": "th", "offset": 0, "len": 16}}, 1), "unknown"),
    # marks, states, conntrack
    (match(meta("mark"), 1), "single"), (match(meta("mark"), 1, "!="), "every"), (match(meta("mark"), 0), "every"),
    (match({"&": [meta("mark"), 16]}, 16), "single"), (match(ct("mark"), 0, "!="), "single"),
    (match(ct("status"), "dnat", "in"), "single"), (match(ct("direction"), "original"), "every"),
    (match(ct("helper"), "ftp"), "single"), (match(ct("packets"), 20, ">"), "unknown"),
    (match(ct("state"), "invalid", "in"), "never"), (match(ct("state"), ["new", "untracked"], "in"), None),
    (match(ct("state"), "untracked", "in"), "never"), (match({"&": [ct("state"), "new"]}, 0, "!="), "every"),
    (match(ct("proto-dst", dir="original"), PORT), None), (match(ct("saddr", dir="original", family="ip"), "@bad"), "source"),
    # senders
    (match(payload("ip", "saddr"), "@banned"), "source"), (match(payload("ip6", "saddr"), "@known", "!="), "except"),
    (match(payload("ether", "saddr"), "00:11:22:33:44:55"), "source"), (match({"osf": {"key": "name"}}, "Windows"), "single"),
    (match({"concat": [payload("ip", "saddr"), payload("tcp", "dport")]}, "@pairs"), "source"),
    (match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, False), "single"),
    (match({"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, 0, "!="), "every"),
    (match({"fib": {"result": "type", "flags": ["saddr"]}}, "unicast", "!="), "single"),
    # whereabouts
    (match(meta("iifname"), "eth0"), "link"), (match(meta("iifname"), "cali*"), "pattern"), (match(meta("iifgroup"), 1), "place"),
    (match(payload("ip", "daddr"), "192.0.2.1"), "address"),
    (match({"fib": {"result": "type", "flags": "daddr"}}, "local"), "every"),
    (match({"fib": {"result": "type", "flags": ["daddr"]}}, {"set": ["broadcast", "multicast"]}), "single"),
    # rates and chance
    ({"limit": {"rate": 5, "burst": 5, "per": "second"}}, "rate"),
    ({"limit": {"rate": 5, "burst": 5, "per": "second", "inv": True}}, "single"), ({"limit": "few"}, "rate"),
    ({"limit": "excess"}, "single"), ({"limit": "gone"}, "unknown"), ({"quota": {"val": 10, "val_unit": "mbytes"}}, "rate"),
    ({"quota": {"val": 10, "val_unit": "mbytes", "inv": True}}, "single"), ({"ct count": {"val": 20, "inv": True}}, "single"),
    ({"ct count": {"val": 20}}, "rate"), (match({"numgen": {"mode": "random", "mod": 10, "offset": 0}}, 3, "<"), "chance"),
    (match({"jhash": {"mod": 2, "expr": payload("ip", "saddr")}}, 0), "chance"),
    (match(meta("hour"), {"range": ["17:00", "19:00"]}), "chance"),
    (match(meta("day"), "Saturday"), "chance"), (match(meta("cpu"), 1), "chance"),
    ({"set": {"op": "add", "elem": payload("ip", "saddr"), "set": "@seen"}}, "every"),
    ({"set": {"op": "update", "elem": payload("ip", "saddr"), "set": "@seen",
              "stmt": [{"limit": {"rate": 9, "per": "minute", "inv": True}}]}},
     "single"),
    ({"meter": {"name": "m", "key": payload("ip", "saddr"), "stmt": {"limit": {"rate": 9, "per": "minute"}}}}, "rate"),
    # what lets all pass
    ({"counter": {"packets": 0, "bytes": 0}}, None), ({"log": {"prefix": "x"}}, None), ({"notrack": None}, None),
    ({"mangle": {"key": meta("mark"), "value": 1}}, None), ({"ct helper": "x"}, None),
    # what is not known
    ({"xt": {"type": "match", "name": "u32"}}, "unknown"), (match(meta("something new"), 1), "unknown"),
    (match(meta("mark"), 1, "something new"), "unknown"), (match({"new": {"key": "x"}}, 1), "unknown"),
]
OBJECTS = [{"limit": {"family": "inet", "table": "t", "name": "few", "rate": 5, "per": "second"}},
           {"limit": {"family": "inet", "table": "t", "name": "excess", "rate": 5, "per": "second", "inv": True}}]


def nft_survey(*rules, policy="accept"):
    entries = OBJECTS + [{"chain": {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "input",
                                    "policy": policy}}]
    entries += [{"rule": {"family": "inet", "table": "t", "chain": "c", "handle": number + 1, "expr": expr}}
                for number, expr in enumerate(rules)]
    survey, = nft.surveys_of(nft.parse_ruleset(json.dumps({"nftables": entries})), {PORT})
    return survey


def iptables_survey(*rules, policy="ACCEPT"):
    text = "*filter\n:INPUT %s [0:0]\n%sCOMMIT\n" % (policy, "".join("-A INPUT %s\n" % rule for rule in rules))
    table = saved.SavedTable(text, "iptables", 4)
    return Survey(table.chains, table.base, {PORT})


def kind(survey):
    reached = [condition for rule, _path, condition in survey.reached if rule.verdict == "drop"]
    return next(iter(kinds_of(reached[0])), None) if reached else "never"


@pytest.mark.parametrize(("statement", "expected"), NFT)
def test_a_condition_of_nft_is_judged_by_what_a_new_connection_is(statement, expected):
    assert kind(nft_survey([statement, {"drop": None}])) == expected


# As iptables-save 1.8.9 prints them.
IPTABLES = [
    ("-m pkttype --pkt-type unicast", "every"), ("-m pkttype --pkt-type broadcast", "single"),
    ("-m pkttype ! --pkt-type unicast", "single"),
    ("-m addrtype --dst-type LOCAL", "every"), ("-m addrtype --dst-type BROADCAST", "single"),
    ("-m addrtype ! --dst-type LOCAL", "single"), ("-m addrtype --src-type LOCAL", "single"),
    ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", "every"), ("-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", "single"),
    ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE", "single"), ("-p tcp -m tcp ! --syn", "single"),
    ("-p tcp -m tcpmss ! --mss 536:65535", "single"), ("-f", "single"), ("-m rt --rt-type 0", "single"),
    ("-p tcp -m tcp --sport 1024:65535", "every"), ("-p udp -m udp --sport 53", "single"),
    ("-p tcp -m multiport --sports 20,21", "single"),
    ("-m mark --mark 0x8000/0x8000", "single"), ("-m mark ! --mark 0x1", "every"), ("-m connmark --mark 0x0/0xff", "every"),
    ("-m conntrack --ctstate INVALID", "never"), ("-m conntrack --ctstate NEW", None), ("-m conntrack --ctdir REPLY", "single"),
    ("-m conntrack --ctstatus ASSURED", "single"), ("-m helper --helper ftp", "single"),
    ("-m policy --dir in --pol none", "every"),
    ("-m policy --dir in --pol ipsec", "single"), ("-m rpfilter --invert", "single"), ("-m rpfilter", None),
    ("-m set --match-set banned src", "source"), ("-m set ! --match-set known src", "except"),
    ("-m set --match-set own dst", "place"),
    ("-m mac --mac-source 00:11:22:33:44:55", "source"), ("-m geoip --source-country CN", "source"),
    ("-m geoip ! --src-cc CH", "except"), ("-m iprange --src-range 10.0.0.1-10.0.0.9", "source"),
    ("-m iprange --dst-range 10.0.0.1-10.0.0.9", "address"), ("-i eth0", "link"), ("-i cali+", "pattern"),
    ("-d 192.0.2.1/32", "address"),
    ("-m limit --limit 5/sec --limit-burst 9", "rate"), ("-m limit ! --limit 5/sec", "single"),
    ("-m hashlimit --hashlimit-above 5/sec --hashlimit-mode srcip --hashlimit-name h", "single"),
    ("-m hashlimit --hashlimit-upto 5/sec --hashlimit-burst 5 --hashlimit-name h", "rate"),
    ("-m connlimit --connlimit-above 20 --connlimit-mask 32 --connlimit-saddr", "single"),
    ("-m connlimit --connlimit-upto 20 --connlimit-mask 32 --connlimit-saddr", "rate"), ("-m quota --quota 1000", "rate"),
    ("-m recent --set --name SCAN --mask 255.255.255.255 --rsource", "every"),
    ("-m recent --update --seconds 60 --hitcount 4 --name SCAN --rsource", "single"),
    ("-m recent --rcheck --name SCAN --rsource", "single"),
    ("-m recent ! --rcheck --seconds 30 --name KNOCK --rsource", "except"),
    ("-m statistic --mode random --probability 0.50000000000", "chance"),
    ("-m statistic --mode nth --every 2 --packet 0", "chance"),
    ("-m time --timestart 20:00:00 --timestop 06:00:00", "chance"), ("-m cpu --cpu 1", "chance"),
    ("-m string --string x --algo bm", "single"), ("-m comment --comment \"all of it\"", None), ("-p tcp", None),
    ("-m u32 --u32 0x0=0x1", "unknown"), ("-m socket", "unknown"), ("-m length --length 0:100", "unknown"),
    ("-m something --new thing", "unknown"),
]


@pytest.mark.parametrize(("words", "expected"), IPTABLES)
def test_a_match_of_iptables_is_judged_by_what_a_new_connection_is(words, expected):
    assert kind(iptables_survey(words + " -j DROP")) == expected


# What follows of a kind for a denial of all ports: whether the opening stands before it, whether a note says so, and whether the
# chain counts as one that filters although its policy accepts.
FOLLOWS = {"every": (True, True, True), "rate": (True, True, True), "chance": (True, True, True), "unknown": (True, True, True),
           "link": (True, True, True), "address": (True, True, True), "place": (True, True, True), None: (True, False, True),
           "source": (False, False, False), "single": (False, False, False), "pattern": (False, False, False),
           "except": (False, True, True), "never": (True, False, False)}


@pytest.mark.parametrize(("survey", "expected"), [
    (nft_survey([statement, {"drop": None}]), FOLLOWS[kind_]) for statement, kind_ in NFT if "dst" not in str(statement)] + [
    (iptables_survey(words + " -j REJECT"), FOLLOWS[kind_]) for words, kind_ in IPTABLES])
def test_an_opening_stands_before_what_does_not_single_out_and_a_note_names_it(survey, expected):
    reached = [condition.protocols for rule, _path, condition in survey.reached] or [{"tcp"}]
    atoms = {Atom(number, sorted(reached[0])[0], PORT, None) for number in survey.base.families}
    behind, _place, _notes = survey.place_for(atoms)
    notes = denial_sentences(survey, atoms, str)
    assert (behind is None, bool(notes), survey.filters) == expected
    text = re.sub(r" comment .*", "", survey.chains[survey.base.place].rules[0].text)
    assert all(text in note for note in notes)


def test_a_source_list_behind_a_denial_for_all_is_overridden_and_named():
    survey = nft_survey([{"limit": {"rate": 5, "per": "second"}}, {"reject": None}],
                        [match(payload("ip", "saddr"), "@banned"), {"drop": None}])
    atoms = {Atom(4, "tcp", PORT, None)}
    assert survey.place_for(atoms)[0] is None and len(denial_sentences(survey, atoms, str)) == 2
    survey = nft_survey([match(payload("ip", "saddr"), "@banned"), {"drop": None}],
                        [{"limit": {"rate": 5, "per": "second"}}, {"reject": None}])
    assert survey.place_for(atoms)[0] == 1 and len(denial_sentences(survey, atoms, str)) == 1


@pytest.mark.parametrize(("words", "refused"), [
    ("-m limit --limit 5/sec", True), ("-m recent --set --name SCAN --rsource", True), ("-m pkttype --pkt-type unicast", True),
    ("-m connlimit --connlimit-above 9", False), ("-m something --new thing", False), ("-m time --timestart 20:00:00", False)])
def test_a_denial_of_the_port_that_all_meet_is_a_refusal_and_one_under_a_condition_goes_on(words, refused):
    survey = iptables_survey("-p tcp -m tcp --dport %d %s -j DROP" % (PORT, words))
    assert bool(survey.refusal(Opening("tcp", PORT, None))) == refused
    if not refused and "above" not in words:
        notes = denial_sentences(survey, {Atom(4, "tcp", PORT, None)}, str)
        assert len(notes) == 1 and "goes on doing so" in notes[0]


def test_what_a_policy_accepts_does_not_pass_a_denial_that_all_meet():
    for words, passes in (("-m limit --limit 5/sec", False), ("-m something --new thing", False), ("-m mark --mark 0x1", True)):
        assert iptables_survey(words + " -j DROP").lets_pass((4, "tcp", PORT)) == passes


def test_chains_that_all_jump_to_are_followed_as_certain():
    text = ("*filter\n:INPUT DROP [0:0]\n:A - [0:0]\n-A INPUT -m pkttype --pkt-type unicast -j A\n"
            "-A A -p tcp -m tcp --dport %d -j ACCEPT\nCOMMIT\n" % PORT)
    table = saved.SavedTable(text, "iptables", 4)
    assert Survey(table.chains, table.base, {PORT}).outcome[(4, "tcp", PORT)] == "accept"


def test_a_place_is_decided_where_it_is_told():
    def left(words, link="eth0", addresses=("192.0.2.7", "2001:db8::7")):
        import ipaddress
        condition, = [condition for _rule, _path, condition in iptables_survey(words + " -j DROP").reached]
        found = at_scene(condition, Scene(link, {ipaddress.ip_address(text) for text in addresses}))
        return "never" if not found.families else next(iter(kinds_of(found)), None)

    assert [left("-i eth0"), left("-i eth1"), left("! -i eth1"), left("-i eth+"), left("-i eth1", link=None)] == [
        None, "never", None, None, "link"]
    assert [left("-d 192.0.2.7/32"), left("-d 192.0.2.0/24"), left("-d 172.17.0.2/32"), left("! -d 172.17.0.2/32")] == [
        None, None, "never", None]
    assert left("-d 192.0.2.7/32", addresses=("192.0.2.7", "192.0.2.8")) == "address"


def test_what_stands_in_front_of_an_opening():
    def front(*rules, source=None, **more):
        return [(how_much, rule and rule.text.split(" ", 2)[2]) for how_much, rule in iptables_survey(*rules, **more).in_front(
            Opening("tcp", PORT, source))]

    deny, admit = "-p tcp -m tcp --dport 50000:60000 -j DROP", "-p tcp -m tcp --dport %d -j ACCEPT" % PORT
    assert front(deny, admit) == [("all", deny)] and front(admit, deny) == [] and front(admit, policy="DROP") == []
    assert front(policy="DROP") == [("all", None)] and front("-m limit --limit 5/sec -j DROP", admit) == [
        ("all", "-m limit --limit 5/sec -j DROP")]
    assert front("-s 192.0.2.0/24 -j DROP") == [] and front("-s 192.0.2.0/24 -j DROP", source="192.0.2.1") == [
        ("all", "-s 192.0.2.0/24 -j DROP")]
    assert front("-m set --match-set f2b src -j DROP", "-m mark --mark 0x1 -j DROP",
                 "-m conntrack --ctstate INVALID -j DROP") == []
    assert front("-m something --new thing -j DROP") == [("part", "-m something --new thing -j DROP")]
    assert front("! -s 192.0.2.0/24 -j DROP") == [("part", "! -s 192.0.2.0/24 -j DROP")]
