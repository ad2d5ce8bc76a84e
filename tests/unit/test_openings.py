# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Openings as values: what the option may say, and what is the same as what."""

import pytest
from hypothesis import given, strategies

from ansible_collections.portshift.agents.plugins.module_utils._host_port import openings as _openings
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import Opening, OpeningError

NAMES = {"relay1.example.test": ["10.1.2.3", "fd00::5"]}


def parse(*entries):
    return _openings.parse_openings(list(entries), lambda name: NAMES.get(name, []))


def tcp(port, *sources):
    return dict(port=port, protocol="tcp", sources=list(sources))


@pytest.mark.parametrize("source, expected", [
    ("10.1.2.0/24", "10.1.2.0/24"), ("10.1.2.3/32", "10.1.2.3"), (" 10.1.2.3 ", "10.1.2.3"), ("FD00:0::5", "fd00::5"),
    ("fd00::5/128", "fd00::5"), ("0.0.0.0/0", "0.0.0.0/0"), ("fd00::/64", "fd00::/64")])
def test_a_source_has_one_spelling(source, expected):
    assert parse(tcp(55000, source)) == [Opening("tcp", 55000, expected)]


def test_a_name_stands_for_all_its_addresses():
    assert parse(tcp(55000, "relay1.example.test")) == [Opening("tcp", 55000, "10.1.2.3"), Opening("tcp", 55000, "fd00::5")]


def test_without_sources_any_address_is_meant():
    assert parse(tcp(55000)) == [Opening("tcp", 55000, None)] == parse(dict(port=55000, protocol="tcp", sources=None))


def test_every_address_of_both_families_is_any_address():
    assert parse(tcp(55000, "0.0.0.0/0", "::/0", "10.1.2.3")) == [
        Opening("tcp", 55000, None), Opening("tcp", 55000, "10.1.2.3")]


def test_the_same_opening_counts_once():
    assert parse(tcp(55000, "10.1.2.3"), tcp(55000, "10.1.2.3/32")) == [Opening("tcp", 55000, "10.1.2.3")]


@pytest.mark.parametrize("entry, words", [
    (tcp(0), "from 1 to 65535"), (tcp(70000), "70000"), (tcp(True), "not a port number"),
    (dict(port=55000, protocol="sctp"), "give tcp or udp"), (tcp(55000, "10.1.2.3/24"), "10.1.2.0/24"),
    (tcp(55000, "nowhere.example.test"), "does not resolve"), (tcp(55000, "10.1.2"), "neither an address"),
    (tcp(55000, "10.1.2.0/33"), "neither an address"), (tcp(55000, "a b"), "neither an address"), (tcp(55000, ""), "neither"),
    (tcp(55000, "; rm -rf /"), "neither"), (tcp(55000, "fe80::1%eth0"), "neither"),
    (tcp(55000, "fe80::1%; flush ruleset"), "neither"), (tcp(55000, "fe80::1%eth0\nCOMMIT"), "neither")])
def test_what_can_not_be_an_opening_is_refused_with_its_place(entry, words):
    with pytest.raises(OpeningError) as refused:
        parse(tcp(1), entry)
    assert words in str(refused.value) and str(refused.value).startswith("openings, entry 2: ")


def test_an_opening_is_described_in_words():
    assert _openings.described(Opening("tcp", 55000, "10.1.2.0/24")) == "tcp 55000 from 10.1.2.0/24"
    assert _openings.described(Opening("udp", 55000, None)) == "udp 55000 from any address"


@pytest.mark.parametrize("denied, source, expected", [
    (None, "10.1.2.3", "all"), ("0.0.0.0/0", None, "all"), ("::/0", None, "all"), ("10.0.0.0/8", None, "part"),
    ("10.0.0.0/8", "10.1.2.0/24", "all"), ("10.1.2.3", "10.1.2.0/24", "part"), ("10.2.0.0/16", "10.1.2.0/24", None),
    ("fd00::/8", "10.1.2.0/24", None)])
def test_a_deny_takes_all_or_a_part_of_an_opening(denied, source, expected):
    assert _openings.denies(denied, Opening("tcp", 55000, source)) == expected


def test_what_any_address_may_is_not_listed_once_more_per_family():
    from_anywhere = Opening("tcp", 55000, None)
    assert _openings.settled([from_anywhere, Opening("tcp", 55000, "0.0.0.0/0")]) == {from_anywhere}
    assert _openings.settled([Opening("tcp", 55000, "0.0.0.0/0"), Opening("tcp", 55000, "::/0")]) == {from_anywhere}
    assert _openings.settled([Opening("tcp", 55000, "::/0")]) == {Opening("tcp", 55000, "::/0")}


SOURCES = strategies.one_of(
    strategies.none(), strategies.ip_addresses(v=4).map(str), strategies.ip_addresses(v=6).map(str),
    strategies.tuples(strategies.ip_addresses(v=4), strategies.integers(0, 32)).map(
        lambda pair: _openings.normalised("%s/%d" % pair)))


@given(strategies.lists(strategies.builds(
    Opening, strategies.sampled_from(["tcp", "udp"]), strategies.integers(1, 65535), SOURCES)))
def test_an_opening_survives_the_way_through_option_and_record(openings):
    wanted = _openings.in_order(_openings.both_families(openings))
    plain = [_openings.to_plain(opening) for opening in wanted]
    assert [_openings.from_plain(entry) for entry in plain] == wanted == parse(*plain)


@pytest.mark.parametrize("damage", [dict(sources=["10.1.2.3; drop"]), dict(sources=["fe80::1%x y"]), dict(protocol="tcp accept")])
def test_a_record_is_read_no_less_strictly_than_an_option(damage):
    with pytest.raises(OpeningError):
        _openings.from_plain(dict(dict(port=55000, protocol="tcp", sources=[]), **damage))
