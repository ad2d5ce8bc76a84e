# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of a BoKS domain: one table, and what follows from a base port, a role and the file ENV."""

import os
from collections import namedtuple

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.filter.boks_ports import FilterModule
from ansible_collections.portshift.agents.plugins.module_utils._boks import domain
from ansible_collections.portshift.agents.plugins.module_utils._boks.domain import BoksError
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import compile_patterns

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
boks_ports = FilterModule().filters()["boks_ports"]


def moving(*arguments):
    return [(entry["port"], entry["protocol"]) for entry in boks_ports(*arguments) if entry["movable"]]


# --- the table ---

@pytest.mark.parametrize("role, expected", [
    ("master", [(6530, "tcp"), (6531, "tcp"), (6531, "udp"), (6533, "tcp")]),
    ("replica", [(6531, "tcp"), (6531, "udp"), (6532, "tcp"), (6533, "tcp")]),
    ("agent", [(6533, "tcp")]),
    ("all", [(6530, "tcp"), (6531, "tcp"), (6531, "udp"), (6532, "tcp"), (6533, "tcp")]),
])
def test_each_role_listens_where_the_vendor_says(role, expected):
    assert moving(6530, role) == expected


@pytest.mark.parametrize("role, expected", [
    ("master", [(6532, "tcp"), (6533, "tcp")]),
    ("replica", [(6530, "tcp"), (6531, "tcp"), (6531, "udp")]),
    ("agent", [(6531, "tcp"), (6531, "udp")]),
])
def test_each_role_connects_where_another_listens(role, expected):
    assert moving(6530, role, "out") == expected


def test_fixed_ports_stay_whatever_the_base_is():
    for base in (1024, 6530, 65532):
        fixed = [entry["port"] for entry in boks_ports(base) if not entry["movable"]]
        assert fixed == [2478, 4343, 6504, 6507, 8443]


def test_an_entry_says_who_connects_to_whom():
    assert boks_ports(6530, "agent")[-1] == {
        "port": 6533, "protocol": "tcp", "service": "clntd", "direction": "in", "from": ["master"], "to": ["agent"],
        "movable": True, "offset": 3, "purpose": "updates and checks of every host by the Master"}
    asked = [entry for entry in boks_ports(6530, "agent", "out") if entry["protocol"] == "udp"]
    assert [(entry["from"], entry["to"], entry["direction"]) for entry in asked] == [(["agent"], ["master", "replica"], "out")]


def test_every_flow_out_of_a_role_is_a_flow_into_another():
    for role in domain.ROLES:
        for flow in boks_ports(7000, role, "out"):
            for peer in flow["to"]:
                assert any(role in entry["from"] and (entry["port"], entry["protocol"]) == (flow["port"], flow["protocol"])
                           for entry in boks_ports(7000, peer)), flow


def test_the_domain_lists_every_port_once_whatever_the_direction():
    for direction in ("in", "out", "both"):
        found = [(entry["port"], entry["protocol"], entry["direction"]) for entry in boks_ports(7000, "all", direction)]
        assert len(found) == len(set(found)) == 10
        assert {entry[2] for entry in found} == {"in"}


@given(base=st.integers(domain.LOWEST_BASE, domain.HIGHEST_BASE).filter(lambda base: not 2475 <= base <= 2478),
       role=st.sampled_from(domain.ROLES + ("all",)), direction=st.sampled_from(["in", "out", "both"]))
def test_the_list_is_sorted_and_moves_as_a_whole(base, role, direction):
    found = boks_ports(base, role, direction)
    assert found == sorted(found, key=lambda entry: (entry["port"], entry["protocol"], entry["direction"]))
    assert {entry["port"] - base for entry in found if entry["movable"]} <= set(range(4))
    assert boks_ports(str(base), role, direction) == found


@pytest.mark.parametrize("arguments, sentence", [
    ((0,), "the base port is 0, which is not a port number"),
    (("abc",), "the base port is 'abc', which is not a port number"),
    ((True,), "the base port is True, which is not a port number"),
    ((6530.0,), "the base port is 6530.0, which is not a port number"),
    ((None,), "the base port is None, which is not a port number"),
    ((1023,), "the base port is 1023, but BoKS needs that port and the three that follow it"),
    ((65533,), "choose a base port from 1024 to 65532"),
    ((2475,), "2478 would be among its ports 2475 to 2478, but that one belongs to csspd and can't be changed"),
    ((2478,), "2478 would be among its ports 2478 to 2481"),
    ((6530, "server"), "the role is 'server'; give one of master, replica, agent, all"),
    ((6530, None), "the role is None"),
    ((6530, "agent", "up"), "the direction is 'up'; give one of in, out, both"),
])
def test_a_bad_base_role_or_direction_is_a_sentence(arguments, sentence):
    with pytest.raises(AnsibleFilterError) as caught:
        boks_ports(*arguments)
    assert sentence in str(caught.value)


def test_the_document_shows_this_table():
    with open(os.path.join(CHECKOUT, "docs", "ports.md"), encoding="utf-8") as source:
        section = source.read().split("\n## BoKS\n")[1].split("\n## ")[0]
    shown = [line for line in section.splitlines() if line.startswith("|")][2:]
    expected = []
    for row in domain.TABLE:
        sources = [peer for peer in domain.PEERS if any(peer in peers for peers in row.to.values())]
        port = str(row.port) if row.offset is None else "N+%d" % row.offset if row.offset else "N"
        expected.append("| %s |" % " | ".join([
            ", ".join(sources), ", ".join(row.to), port, ", ".join(row.protocols), row.service, row.purpose,
            "no" if row.offset is None else "yes"]))
    assert shown == expected


# --- ranges ---

@pytest.mark.parametrize("base, holds", [
    (4339, []), (4340, [4343]), (4343, [4343]), (4344, []), (6500, []), (6501, [6504]), (6504, [6504, 6507]), (6507, [6507]),
    (6508, []), (8440, [8443]), (8443, [8443]), (6530, []),
])
def test_a_range_that_holds_a_port_which_does_not_move_is_refused(base, holds):
    sentences = domain.overlaps(base)
    assert len(sentences) == len(holds)
    for port, sentence in zip(holds, sentences):
        assert "would hold %d, which is the port of %s" % (port, domain.FIXED[port]) in sentence


@pytest.mark.parametrize("base, refused", [(6596, False), (6597, True), (6599, True), (6600, False), (6603, True), (6604, False)])
def test_a_range_that_overlaps_with_the_old_one_is_refused_unless_allowed(base, refused):
    assert bool(domain.overlaps(base, 6600)) == refused
    assert domain.overlaps(base, 6600, allow_overlap=True) == []


Line = namedtuple("Line", "name port protocol number")


def test_names_of_others_in_the_range_are_told_with_their_line():
    lines = [Line("boks", 6500, "tcp", 3), None, Line("syslog-tls", 6514, "tcp", 4), Line("mythtv", 6515, "udp", 5),
             Line("boks_servc", 6516, "tcp", 6), Line("boks_helper", 6517, "tcp", 7), Line("else", 6518, "tcp", 8),
             Line("pier", 6514, "sctp", 9)]
    assert [sentence for unused, sentence in domain.named_by_others(6514, lines)] == [
        "line 4 gives port 6514/tcp to syslog-tls", "line 5 gives port 6515/udp to mythtv",
        "line 7 gives port 6517/tcp to boks_helper"]


# --- ENV ---

@pytest.mark.parametrize("content, expected", [
    (b"", {}),
    (b"BRIDGE_DOMAIN=3\n", dict(BRIDGE_DOMAIN="3")),
    (b"BRIDGE_DOMAIN=3", dict(BRIDGE_DOMAIN="3")),
    (b"BRIDGE_DOMAIN=3\r\nBOKSINIT=client\r\n", dict(BRIDGE_DOMAIN="3", BOKSINIT="client")),
    (b"  export BOKSINIT=server # who we are\n", dict(BOKSINIT="server")),
    (b"BRIDGE_DOMAIN=1\nBRIDGE_DOMAIN=2\n", dict(BRIDGE_DOMAIN="2")),
    (b"#BRIDGE_DOMAIN=1\n # BRIDGE_DOMAIN=2\n", {}),
    (b"BRIDGE_DOMAIN='4'; export BRIDGE_DOMAIN\n", dict(BRIDGE_DOMAIN="4")),
    (b'A="a b \\" c"\nB=\'$x\'d\nC=a\\ b\n', dict(A='a b " c', B="$xd", C="a b")),
    (b"A=x#y\n", dict(A="x#y")),
    (b"MY_BRIDGE_DOMAIN=7\nBRIDGE_DOMAIN =8\nBRIDGE_DOMAIN\n=9\n", dict(MY_BRIDGE_DOMAIN="7")),
    (b"BRIDGE_DOMAIN=\n", dict(BRIDGE_DOMAIN="")),
    (b"BRIDGE_DOMAIN='5\n", dict(BRIDGE_DOMAIN="'5")),
    (b"NAME=caf\xe9\nif [ -f x ]; then\nBRIDGE_DOMAIN=2\n", dict(NAME="caf\udce9", BRIDGE_DOMAIN="2")),
])
def test_env_is_read_as_a_shell_would(content, expected):
    assert domain.parse_env(content) == expected


@given(st.binary(max_size=200))
def test_no_env_is_too_odd_to_be_read(content):
    assert all("\n" not in value for value in domain.parse_env(content).values())


@given(value=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20))
def test_a_quoted_value_comes_back_as_it_was(value):
    quoted = "'%s'" % value.replace("'", "'\\''")
    assert domain.parse_env(("X=%s\n" % quoted).encode()) == dict(X=value)


@pytest.mark.parametrize("value, number", [(None, 0), ("", 0), ("0", 0), ("3", 3), ("5902", 5902)])
def test_the_bridge_domain_is_a_number(value, number):
    assert domain.bridge_domain({} if value is None else dict(BRIDGE_DOMAIN=value)) == number


@pytest.mark.parametrize("value", ["x", "-1", "010", "1.5", "$N", "'5", "0x3", "1 ", "999999"])
def test_another_bridge_domain_is_a_sentence(value):
    with pytest.raises(BoksError, match="which is not a plain number, so the ports of this host can't be told"):
        domain.bridge_domain(dict(BRIDGE_DOMAIN=value))


def test_the_bridge_domain_shifts_the_base_port():
    assert domain.effective_base(6500, 0) == 6500
    assert domain.effective_base(6500, 3) == 6530
    assert domain.effective_base(None, 2) == 6520
    assert domain.services_port_for(6530, 0) == 6530
    assert domain.services_port_for(6530, 3) == 6500
    with pytest.raises(BoksError, match=r"would have to name port 1020 for base port 1030, which is below 1024"):
        domain.services_port_for(1030, 1)


@pytest.mark.parametrize("init, wanted, role, sentence", [
    ("client", None, "agent", None), ("Client", None, "agent", None), ("server", None, None, None),
    ("replica", None, "replica", None),
    ("", None, None, None), ("other", None, None, None), ("other", "agent", "agent", None), ("server", "master", "master", None),
    ("server", "replica", "replica", None), ("client", "agent", "agent", None),
    ("server", "agent", "agent", "BOKSINIT=server says that this host is the Master or a Replica, but it is to be moved as a "
                                 "Server Agent; put it into the right group of the inventory"),
    ("client", "master", "master", "says that this host is a Server Agent, but it is to be moved as the Master"),
])
def test_the_inventory_decides_on_the_role_and_env_may_contradict(init, wanted, role, sentence):
    found, problems = domain.find_role(dict(BOKSINIT=init), wanted)
    assert found == role
    assert len(problems) == bool(sentence) and (not sentence or sentence in problems[0])


# --- what a running host says ---

@pytest.mark.parametrize("line, bad", [
    ("boks_servc  1234  OK", False), ("boks_servc  1234  Down", True), ("boks_servc  1234  Loading ", True),
    ("boks_servc  1234  DOWN", True), ("Down  1234  OK", False), ("boks_servc  1234  Downloading", False), ("", False),
])
def test_only_the_last_column_counts(line, bad):
    table = "Name  Pid  State\n%s\n" % line
    assert domain.not_well(table, compile_patterns(["Down", "Loading"])) == ([" ".join(line.split())] if bad else [])
