# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nftables rulesets read as nft -j prints them, and files for nft spliced."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._host_port import nftables_rules as nft
from ansible_collections.portshift.agents.plugins.module_utils._host_port.input_filter import (
    Atom, apart, openings_of, reading, rules_to_remove, still_missing)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    ANY_IPV4, Opening, OpeningError, described)
from ansible_collections.portshift.agents.tests.unit import growth

OLD, OWN = 52311, "/etc/portshift/nftables-bigfix.nft"


def payload(protocol, field):
    return {"payload": {"protocol": protocol, "field": field}}


def match(left, right, op="=="):
    return {"match": {"op": op, "left": left, "right": right}}


TCP, UDP, TH = (match(payload(name, "dport"), OLD) for name in ("tcp", "udp", "th"))
ACCEPT, DROP = {"accept": None}, {"drop": None}
STATE, IIF = {"ct": {"key": "state"}}, {"meta": {"key": "iifname"}}


def prefix(address, length):
    return {"prefix": {"addr": address, "len": length}}


def ruleset(*rules, policy="drop", family="inet", table="filter", name="input", hook="input", more=()):
    """What nft -j list ruleset says of one base chain; a rule is a list of statements, or (chain, statements)."""
    chains = [name] + sorted({rule[0] for rule in rules if isinstance(rule, tuple)} - {name})
    entries = [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": family, "name": table, "handle": 1}}] + list(more)
    for number, chain in enumerate(chains):
        entry = {"family": family, "table": table, "name": chain, "handle": number + 1}
        if chain == name:
            entry.update({"type": "filter", "hook": hook, "prio": 0, "policy": policy})
        entries.append({"chain": entry})
    for number, rule in enumerate(rules):
        chain, expr = rule if isinstance(rule, tuple) else (name, rule)
        entries.append({"rule": {"family": family, "table": table, "chain": chain, "handle": 10 + number, "expr": expr}})
    return json.dumps({"nftables": entries})


def read(text, port=OLD):
    found = nft.parse_ruleset(text)
    surveys = nft.filtering(found, {port})
    return reading(surveys, {port}, nft.where, nft.everything_but(found, {key for one in surveys for key in one.atoms}))


def exact(text):
    return sorted(described(opening) for opening in read(text).exact)


EXACT = [
    ([TCP, ACCEPT], ["tcp 52311 from any address"]),
    ([UDP, {"counter": {"packets": 5, "bytes": 300}}, ACCEPT], ["udp 52311 from any address"]),
    ([match({"meta": {"key": "l4proto"}}, {"set": ["tcp", "udp"]}), TH, ACCEPT],
     ["tcp 52311 from any address", "udp 52311 from any address"]),
    ([match(payload("tcp", "dport"), {"set": [OLD]}), ACCEPT], ["tcp 52311 from any address"]),
    ([TCP, match(STATE, "new", "in"), ACCEPT], ["tcp 52311 from any address"]),
    ([match(payload("ip", "saddr"), prefix("10.0.0.0", 8)), TCP, ACCEPT], ["tcp 52311 from 10.0.0.0/8"]),
    ([match(payload("ip", "saddr"), {"set": ["192.0.2.7", prefix("10.0.0.0", 8)]}), TCP, ACCEPT],
     ["tcp 52311 from 10.0.0.0/8", "tcp 52311 from 192.0.2.7"]),
    ([match(payload("ip6", "saddr"), "2001:db8::1"), UDP, ACCEPT], ["udp 52311 from 2001:db8::1"]),
    ([match({"meta": {"key": "nfproto"}}, "ipv4"), TCP, ACCEPT], ["tcp 52311 from 0.0.0.0/0"]),
]


@pytest.mark.parametrize(("expr", "found"), EXACT)
def test_a_rule_that_opens_the_port_and_nothing_else_is_an_opening(expr, found):
    assert exact(ruleset(expr)) == found
    assert exact(ruleset([{"jump": {"target": "services"}}], ("services", expr))) == found
    assert read(ruleset(expr)).wider == []


WIDER = [
    [match(payload("tcp", "dport"), {"set": [22, OLD]}), ACCEPT],
    [match(payload("tcp", "dport"), {"range": [52000, 53000]}), ACCEPT],
    [match(payload("tcp", "dport"), {"set": [22, {"range": [52000, 53000]}]}), ACCEPT],
    [match(payload("tcp", "dport"), "@ports"), ACCEPT],
    [match(payload("tcp", "dport"), 22, "!="), ACCEPT],
    [{"vmap": {"key": payload("tcp", "dport"), "data": {"set": [[OLD, ACCEPT]]}}}],
    [{"vmap": {"key": payload("tcp", "dport"), "data": "@map"}}],
    [match(IIF, "eth0"), TCP, ACCEPT],
    [TCP, {"limit": {"rate": 5, "burst": 5, "per": "second"}}, ACCEPT],
    [TCP, {"log": {"prefix": "x"}}, ACCEPT],
    [match(payload("ip", "saddr"), {"range": ["10.0.0.1", "10.0.0.9"]}), TCP, ACCEPT],
    [match(payload("ip", "saddr"), "10.0.0.1", "!="), TCP, ACCEPT],
    [match(payload("ip", "saddr"), "@trusted"), ACCEPT],
    [match(payload("ip", "saddr"), prefix("10.0.0.0", 8)), ACCEPT],
    [match({"concat": [payload("ip", "saddr"), payload("tcp", "dport")]}, {"set": [{"concat": ["10.0.0.1", OLD]}]}), ACCEPT],
    [TCP, {"xt": None}, ACCEPT],
    [{"something new": {"a": 1}}, TCP, ACCEPT],
    [ACCEPT],
]
SETS = ({"set": {"family": "inet", "name": "ports", "table": "filter", "type": "inet_service", "elem": [OLD, 1]}},
        {"set": {"family": "inet", "name": "trusted", "table": "filter", "type": "ipv4_addr", "elem": ["192.0.2.9"]}},
        {"map": {"family": "inet", "name": "map", "table": "filter", "map": "verdict", "elem": [[OLD, ACCEPT]]}})


@pytest.mark.parametrize("expr", WIDER)
def test_a_rule_that_opens_more_or_says_more_is_left_and_named(expr):
    found = read(ruleset(expr, more=SETS))
    assert found.exact == set() and len(found.wider) == 1 and found.wider[0].startswith("inet filter input: ")
    assert found.lines == found.wider


@pytest.mark.parametrize("expr", [
    [match(payload("tcp", "dport"), {"set": [22, 80]}), ACCEPT], [match(IIF, "lo"), ACCEPT],
    [match(STATE, ["established", "related"], "in"), ACCEPT], [match({"meta": {"key": "l4proto"}}, "ipv6-icmp"), ACCEPT],
    [match(payload("tcp", "dport"), "@other"), DROP], [TCP, {"counter": None}],
    [{"vmap": {"key": STATE, "data": {"set": [["invalid", DROP], ["established", ACCEPT]]}}}],
    [match(payload("icmp", "type"), "echo-request"), ACCEPT], [match(payload("tcp", "dport"), OLD, "!="), ACCEPT],
])
def test_rules_that_do_not_admit_the_port_are_no_matter(expr):
    found = read(ruleset(expr))
    assert (found.exact, found.wider) == (set(), [])


def test_an_opening_behind_a_rule_that_drops_everything_is_none():
    assert exact(ruleset([{"reject": None}], [TCP, ACCEPT])) == []
    assert exact(ruleset([match(payload("tcp", "dport"), 1, "!="), DROP], [TCP, ACCEPT], [UDP, ACCEPT])) == [
        "udp 52311 from any address"]
    assert exact(ruleset([match(payload("ip", "saddr"), "192.0.2.1"), DROP], [TCP, ACCEPT])) == ["tcp 52311 from any address"]


def test_goto_return_and_conditional_jumps_are_followed_as_the_kernel_does():
    goto = [{"goto": {"target": "a"}}]
    assert exact(ruleset(goto, [TCP, ACCEPT], ("a", [{"counter": None}]))) == []
    assert exact(ruleset([{"jump": {"target": "a"}}], [TCP, ACCEPT], ("a", [{"return": None}]))) == ["tcp 52311 from any address"]
    assert exact(ruleset([match(IIF, "eth0"), {"jump": {"target": "a"}}], ("a", [TCP, ACCEPT]))) == []
    loop = ruleset([{"jump": {"target": "a"}}], ("a", [{"jump": {"target": "a"}}, ]), ("a", [TCP, ACCEPT]))
    assert exact(loop) == ["tcp 52311 from any address"]


def test_a_ruleset_that_takes_too_long_is_refused_instead_of_followed():
    jumps = [("c%d" % number, [{"jump": {"target": "c%d" % (number + 1)}}]) for number in range(15)] * 3
    with pytest.raises(OpeningError, match="more than 200000 steps"):
        read(ruleset([{"jump": {"target": "c0"}}], *jumps))


@pytest.mark.parametrize(("text", "filters"), [
    (ruleset(policy="drop"), True), (ruleset(policy="accept"), False), (ruleset([DROP], policy="accept"), True),
    (ruleset([match(payload("ip", "saddr"), "@banned"), DROP], policy="accept"), False),
    (ruleset([match(STATE, "invalid", "in"), DROP], policy="accept"), False),
    (ruleset([match(IIF, "eth0"), {"reject": None}], policy="accept"), True),
    (ruleset([match(payload("ip", "saddr"), prefix("10.0.0.0", 8), "!="), DROP], policy="accept"), True),
    (ruleset(hook="forward"), False), (ruleset(family="ip", name="INPUT"), True), (ruleset(table="firewalld"), False),
    (ruleset([match(payload("ip", "daddr"), prefix("127.0.0.0", 8)), DROP], policy="accept"), False),
    (ruleset([match(payload("ip6", "daddr"), "::1"), DROP], policy="accept"), False),
    (ruleset([match(IIF, "cali*"), DROP], policy="accept"), False),
    (ruleset([match(IIF, {"set": ["cali*", "eth0"]}), DROP], policy="accept"), True),
    (ruleset(family="bridge"), False), (ruleset(family="netdev", hook="ingress"), False),
    (ruleset(family="ip", table="mine", name="INPUT"), True), (json.dumps({"nftables": []}), False),
])
def test_who_filters_incoming_traffic(text, filters):
    assert bool(nft.filtering(nft.parse_ruleset(text), ())) == filters


def test_a_table_is_that_of_iptables_where_iptables_lists_it():
    text = ruleset(family="ip", name="INPUT")
    assert nft.iptables_named(text) == {("ip", "filter")} and nft.iptables_named(ruleset()) == set()
    assert not nft.filtering(nft.parse_ruleset(text, {("ip", "filter")}), ())
    assert nft.filtering(nft.parse_ruleset(text, {("ip6", "filter"), ("ip", "nat")}), ())
    assert nft.filtering(nft.parse_ruleset(text.replace('"prio": 0', '"prio": 5'), {("ip", "filter")}), ())


FROM_9, FROM_NET = match(payload("ip", "saddr"), "127.0.0.9"), match(payload("ip", "saddr"), prefix("10.0.0.0", 8))
ANY_ADDRESS = {Atom(number, "tcp", OLD, None) for number in (4, 6)}


@pytest.mark.parametrize(("rules", "behind", "overridden"), [
    ([[FROM_9, DROP], [{"counter": None}, ACCEPT]], 10, 0), ([[match(IIF, "lo"), ACCEPT], [FROM_9, DROP]], 11, 0),
    ([[match(payload("ip", "saddr"), "@banned"), {"reject": None}], [{"reject": None}], [FROM_9, DROP]], 10, 0),
    ([[{"jump": {"target": "a"}}], ("a", [FROM_NET, DROP])], 10, 0),
    ([[match(payload("ip", "saddr"), prefix("10.0.0.0", 8), "!="), DROP]], 10, 0),
    ([[{"jump": {"target": "a"}}], ("a", [FROM_NET, DROP]), ("a", [DROP])], None, 1),
    ([[match(IIF, "wan"), DROP]], None, 1), ([[match(IIF, "wan"), TCP, DROP]], 10, 0), ([[match(IIF, "cali*"), DROP]], 10, 0),
    ([[match(payload("tcp", "dport"), 22), FROM_9, DROP]], None, 0), ([[DROP], [FROM_9, DROP]], None, 0),
    ([[TCP, {"limit": {"rate": 5, "burst": 5, "per": "second"}}, DROP], [ACCEPT]], 10, 0), ([], None, 0),
])
def test_an_opening_stands_behind_denials_that_have_a_condition_and_before_those_for_every_address(rules, behind, overridden):
    survey, = nft.surveys_of(nft.parse_ruleset(ruleset(*rules)), {OLD})
    place, ahead, before = survey.place_for(ANY_ADDRESS)
    assert (place, len(before)) == (behind, overridden) and bool(ahead) == (behind is not None)


@pytest.mark.parametrize(("rules", "source", "refused"), [
    ([[TCP, DROP]], None, True), ([[match(payload("tcp", "dport"), {"range": [52000, 53000]}), {"reject": None}]], None, True),
    ([[TCP, DROP]], "192.0.2.1", True), ([[TCP, ACCEPT], [TCP, DROP]], None, False),
    ([[{"jump": {"target": "a"}}], ("a", [TCP, DROP])], None, True), ([[FROM_NET, DROP]], "10.1.2.3", True),
    ([[FROM_NET, DROP]], None, False), ([[FROM_9, DROP]], "127.0.0.0/8", False), ([[DROP]], None, False),
    ([[match(payload("tcp", "dport"), {"set": [22, 80]}, "!="), DROP]], None, False), ([[UDP, DROP]], None, False),
    ([[match(payload("tcp", "dport"), {"range": [1024, 65535]}), DROP]], None, False),
])
def test_a_denial_that_names_the_port_or_the_source_is_a_refusal(rules, source, refused):
    survey, = nft.surveys_of(nft.parse_ruleset(ruleset(*rules)), {OLD})
    assert bool(survey.refusal(Opening("tcp", OLD, source))) == refused


def test_what_the_policy_of_every_chain_lets_pass_needs_no_opening():
    other = [match(payload("tcp", "dport"), 111), DROP]
    assert Opening("tcp", OLD, None) in read(ruleset(other, policy="accept")).covered
    assert Opening("tcp", 111, None) not in read(ruleset(other, policy="accept"), port=111).covered
    assert not read(ruleset(other)).covered and not read(ruleset(other, [match(IIF, "a"), DROP], policy="accept")).covered
    assert not read(ruleset(other, [TCP, ACCEPT], policy="accept")).covered & {Opening("tcp", OLD, None)}
    # IPv6 passes where IPv4 alone is filtered.
    assert read(ruleset(family="ip")).covered == {Opening(name, OLD, "::/0") for name in ("tcp", "udp")}


def test_policy_accept_that_lets_the_port_pass_is_named():
    text = ruleset([match(payload("tcp", "dport"), 1), DROP], policy="accept")
    assert read(text).wider == ["inet filter input: policy accept lets port 52311 pass"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": [{"rule": {"family": "inet"}}]}'])
def test_answers_of_nft_that_are_not_understood_are_refused(text):
    with pytest.raises(OpeningError, match="nft -j list ruleset"):
        nft.parse_ruleset(text)


def test_the_whole_picture_knows_order_and_everything_else_but_no_counters():
    def whole(*rules, **more):
        return read(ruleset(*rules, **more)).whole
    one, other = [match(IIF, "a"), ACCEPT], [match(IIF, "b"), DROP]
    assert whole(one, other) == whole(one, [TCP, ACCEPT], other) != whole(other, one)
    assert whole([{"counter": {"packets": 1, "bytes": 1}}]) == whole([{"counter": {"packets": 2, "bytes": 9}}])
    dynamic = {"set": {"family": "inet", "name": "seen", "table": "filter", "flags": ["timeout"], "elem": ["192.0.2.1"]}}
    emptied = {"set": dict(dynamic["set"], elem=[])}
    assert whole(more=[dynamic]) == whole(more=[emptied]) != whole()
    assert whole(one, more=SETS[:1]) != whole(one)


# -- openings in several chains

def surveys(*texts):
    chains = [nft.filtering(nft.parse_ruleset(text), {OLD}) for text in texts]
    return [survey for found in chains for survey in found]


def test_an_opening_has_to_be_in_every_chain_that_filters():
    four, six = ruleset([TCP, ACCEPT], family="ip", table="a"), ruleset(family="ip6", table="b")
    assert openings_of(surveys(four, six)) == {Opening("tcp", OLD, ANY_IPV4)}
    assert openings_of(surveys(four)) == {Opening("tcp", OLD, None)}
    assert openings_of(surveys(four, ruleset())) == set()


def test_what_is_added_for_any_address_can_be_taken_away_without_what_was_there_for_one_family():
    four = [match({"meta": {"key": "nfproto"}}, "ipv4"), TCP, ACCEPT]
    before = surveys(ruleset(four))
    opening = Opening("tcp", OLD, None)
    missing, kept = still_missing(before, [opening], ())[("inet", "filter", "input")]
    assert kept == {Atom(4, "tcp", OLD, None)} and missing == {Atom(4, "tcp", OLD, None), Atom(6, "tcp", OLD, None)}
    after = surveys(ruleset([TCP, ACCEPT], four))
    assert openings_of(after) == {opening, opening._replace(source=ANY_IPV4)}
    ours = {(("inet", "filter", "input"), 10)}
    assert rules_to_remove(after, ours, [opening]) == ours
    assert len(rules_to_remove(after, ours, openings_of(after))) == 2


def test_sources_that_a_set_would_join_stand_in_sets_of_their_own():
    assert apart(["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1", "192.0.2.2", "192.0.2.4"]) == [
        ["10.0.0.0/8", "192.0.2.1", "192.0.2.4"], ["10.1.0.0/16", "192.0.2.2"]]
    atoms = {Atom(4, "tcp", 1, source) for source in ("10.0.0.0/8", "10.1.0.0/16")} | {Atom(6, "tcp", 1, "::1")}
    assert nft.bodies(atoms, nft.TABLE_FAMILIES["inet"]) == [
        "ip saddr 10.0.0.0/8 tcp dport 1 accept", "ip saddr 10.1.0.0/16 tcp dport 1 accept", "ip6 saddr ::1 tcp dport 1 accept"]


# -- files

FILE = """#!/usr/sbin/nft -f
flush ruleset
define admins = { 192.0.2.1 }
table inet filter {
\tset ports { type inet_service; elements = { 52311 } }
\tchain input {
\t\ttype filter hook input priority 0; policy drop;
\t\ttcp dport 52311 accept
\t\ttcp dport 52311 accept; udp dport 1 accept
\t\ttcp dport { 52311 } counter packets 4 bytes 240 accept comment "a # b; }" ;  # said
\t\tip saddr { 192.0.2.1,
\t\t\t192.0.2.2 } tcp dport 52311 accept
\t\tip saddr $admins tcp dport 52311 accept
\t\tudp dport 52311 \\
\t\t\taccept
\t\ttcp dport 52311 limit rate 5/second accept
\t\tct state new meta l4proto { tcp, udp } th dport 52311 ip saddr 10.0.0.0/8 accept
\t\ttcp dport { 22, 52311 } accept
\t\t# portshift bigfix: udp dport 52311 accept   # closed
\t\t# portshift boks: udp dport 52311 accept
\t}
}
table ip other { chain input { tcp dport 52311 accept
} }
add rule inet filter input udp dport 52311 accept
include "./more.nft"
"""


def test_rules_that_stand_alone_on_their_line_are_found_with_their_chain():
    lines = nft.site_lines("f", FILE, "bigfix")
    assert [(FILE[line.start:].partition("\n")[0][:40], line.place[0], bool(line.mark)) for line in lines] == [
        ("tcp dport 52311 accept", "inet", False), ("tcp dport { 52311 } counter packets 4 by", "inet", False),
        ("ct state new meta l4proto { tcp, udp } t", "inet", False), ("# portshift bigfix: udp dport 52311 acce", "inet", True),
        ("add rule inet filter input udp dport 523", "inet", False)]
    assert {line.place for line in lines} == {("inet", "filter", "input")}
    assert nft.atoms_of_line(lines[2]) == {Atom(4, name, OLD, "10.0.0.0/8") for name in ("tcp", "udp")}


def test_includes_are_found_outside_of_blocks_alone():
    assert [path for _start, _end, path in nft.includes(FILE + 'table ip x { include "in.nft"\n }\n# include "no.nft"\n')] == [
        "./more.nft"]


@pytest.mark.parametrize("text", [
    "tcp dport $port accept", "tcp dport ssh accept", "tcp dport 1-5 accept", "tcp dport 52311 drop", "tcp dport 52311",
    "tcp sport 52311 accept", "tcp dport != 1 accept", "tcp dport { 1, 2 accept", "jump services",
    "ip saddr @x tcp dport 1 accept",
])
def test_what_is_more_than_a_simple_rule_is_not_taken_for_one(text):
    assert nft.site_lines("f", "table inet f {\n chain i {\n  %s\n }\n}\n" % text, "bigfix") == []


def test_our_file_puts_each_rule_at_the_head_of_its_chain():
    own = nft.own_file("bigfix", {("inet", "filter", "input"): {Atom(number, "tcp", 55000, None) for number in (4, 6)},
                                  ("ip", "a", "b"): {Atom(4, "udp", 55000, "10.0.0.0/8")}})
    assert own.splitlines()[1:5] == ["add table inet filter", "add chain inet filter input", "add table ip a", "add chain ip a b"]
    assert own.splitlines()[5:] == ['insert rule inet filter input tcp dport 55000 accept comment "portshift bigfix"',
                                    'insert rule ip a b ip saddr 10.0.0.0/8 udp dport 55000 accept comment "portshift bigfix"']
    assert nft.own_file("bigfix", {}) == ""


NOISE = st.lists(st.sampled_from(["#", "{", "}", '"', "\\", "\n", " ", "\t", ";", "table inet f {", "chain i {", "include ", "é",
                                  "tcp dport 52311 accept", "# portshift bigfix: ", "\r\n", "\x00"]), max_size=40).map("".join)


@given(NOISE)
def test_the_include_comes_and_goes_without_a_trace(text):
    content = text.encode("utf-8")
    there = nft.with_include(content, "bigfix", OWN)
    assert there.startswith(content) and nft.with_include(there, "bigfix", OWN) == there
    assert nft.without_include(there, "bigfix", OWN) == content == nft.without_include(content, "bigfix", OWN)


@given(NOISE, NOISE)
def test_closing_and_reopening_gives_the_bytes_back(before, after):
    text = before + "\ntable inet filter {\n chain input {\n\t\ttcp dport 52311 accept # x\n }\n}\n" + after
    content = text.encode("utf-8")
    lines = [line for line in nft.site_lines("f", content.decode("latin-1"), "bigfix") if not line.mark]
    closed = nft.closed(content, [line.start for line in lines], "bigfix")
    again = [line for line in nft.site_lines("f", closed.decode("latin-1"), "bigfix") if line.mark]
    assert closed.replace(b"# portshift bigfix: ", b"") == content.replace(b"# portshift bigfix: ", b"")
    mine = [line for line in again if line.start - 20 * len([one for one in lines if one.start < line.start]) in {
        one.start for one in lines}]
    assert len(mine) == len(lines) and nft.reopened(closed, mine) == content


def test_a_line_of_others_behind_the_include_keeps_its_place():
    there = nft.with_include(b"flush ruleset", "bigfix", OWN) + b"table ip x {}\n"
    assert nft.without_include(there, "bigfix", OWN) == b"flush ruleset\ntable ip x {}\n"


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("order", [("bigfix", "boks"), ("boks", "bigfix")])
def test_includes_of_two_products_go_in_any_order_and_give_the_bytes_back(order, end):
    content = b"flush ruleset" + end
    there = nft.with_include(nft.with_include(content, "bigfix", OWN), "boks", OWN.replace("bigfix", "boks"))
    for name in order:
        there = nft.without_include(there, name, OWN.replace("bigfix", name))
    assert there == content


CHAIN = ("inet", "filter", "input")
SITE = """table inet filter {
\tchain input {
\t\ttype filter hook input priority 0; policy drop;
\t\tip saddr { 192.0.2.1,
\t\t\t192.0.2.2 } drop   # known
\t\tct state established accept; tcp dport 1 accept
\t\ttcp dport 22 accept
\t}
}
"""


@pytest.mark.parametrize(("behind", "after"), [
    (1, "drop   # known\n"), (3, "tcp dport 1 accept\n"), (4, "tcp dport 22 accept\n")])
def test_a_line_of_ours_stands_behind_the_rule_asked_for_and_goes_without_a_trace(behind, after):
    content = nft.with_own_lines(SITE.encode(), "bigfix", CHAIN, behind, ["tcp dport 55000 accept", "udp dport 55000 accept"])
    lines = "".join('\t\t%s dport 55000 accept comment "portshift bigfix"\n' % name for name in ("tcp", "udp"))
    assert content.decode() == SITE.replace(after, after + lines)
    assert nft.without_own_lines(content, "bigfix") == SITE.encode() != nft.without_own_lines(content, "boks")
    assert nft.with_own_lines(content, "bigfix", CHAIN, behind, ["tcp dport 1 accept"]).count(b"bigfix") == 3


@pytest.mark.parametrize(("text", "behind"), [
    (SITE, 2), (SITE, 5), (SITE.replace("chain input", "chain other"), 1), (SITE.replace("tcp dport 22", 'include "x"\n'), 1)])
def test_a_place_that_can_not_be_told_gets_no_line(text, behind):
    assert nft.with_own_lines(text.encode(), "bigfix", CHAIN, behind, ["tcp dport 1 accept"]) is None


@given(NOISE)
def test_taking_lines_of_ours_out_leaves_every_other_byte(text):
    content = text.encode("utf-8")
    assert nft.without_own_lines(content, "bigfix") == content


def test_a_chain_that_our_file_alone_made_is_no_part_of_the_whole():
    own = {"rule": {"family": "inet", "table": "filter", "chain": "gone", "handle": 99, "expr": [TCP, ACCEPT],
                    "comment": "portshift bigfix"}}
    with_chain = nft.parse_ruleset(ruleset(more=[{"chain": {"family": "inet", "table": "filter", "name": "gone"}}, own]))
    without = nft.parse_ruleset(ruleset())
    keys = nft.keys_of(with_chain, "bigfix")
    assert nft.everything_but(with_chain, keys, "bigfix") == nft.everything_but(without, (), "bigfix")
    assert nft.everything_but(with_chain, keys) != nft.everything_but(without, ())


def test_ten_thousand_rules_in_a_file_take_no_square_of_their_number():
    def read(count):
        text = "table inet f {\n chain i {\n" + "".join("  ip saddr 10.0.%d.%d drop # x\n" % (
            number // 250, number % 250) for number in range(count)) + " }\n}\n"
        assert len(nft.pieces(text)) == 2 * count

    # With a copy of the text for each statement it took minutes.
    eighth, whole = (growth.seconds(read, count) for count in (10000 // growth.SHARE, 10000))
    assert growth.is_a_line(eighth, whole), (eighth, whole)
