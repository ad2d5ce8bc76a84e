# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who still uses a port that is to be closed, and who used it before moving."""

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._port_users import (
    Directory, Estate, PortUser, in_time, parse_ignored, parse_quiet)

OLD, NEW = 52311, 55000
SINCE, NOW = 1000000.0, 1000300.0
ADDRESSES = dict(relay1=["10.0.1.1"], client1=["10.0.2.1"], client2=["10.0.2.2", "fd00::22"])


def look(*users, at=NOW, **more):
    return dict(dict(users=[dict(address=address, port=port, seconds_ago=seconds) for address, port, seconds in users],
                     remembered_seconds=90000, notes=[], looked_at=at), **more)


def users(*seen, moves=None, at=NOW, ignore=(), quiet=3600, addresses=None, look_up=lambda names: {}):
    estate = Estate(dict(relay1=look(*seen, at=at)), moves or {}, Directory(addresses or ADDRESSES, look_up), SINCE, NOW)
    return [(user.name, user.address, user.seconds_ago) for user in estate.users([NEW], parse_ignored(list(ignore), "x"), quiet)]


def test_user_of_the_old_port_is_named_by_address_and_inventory():
    estate = Estate(dict(relay1=look(("10.0.2.1", OLD, 12))), {}, Directory(ADDRESSES), SINCE, NOW)
    assert estate.users([NEW], [], 3600) == [PortUser("relay1", OLD, "10.0.2.1", "client1", 12)]
    assert users(("10.9.9.9", OLD, 12)) == [(None, "10.9.9.9", 12)]
    assert users(("fd00:0::22", OLD, 12)) == [("client2", "fd00::22", 12)]


def test_use_of_a_port_that_stays_or_of_long_ago_does_not_count():
    assert users(("10.0.2.1", NEW, 1), ("10.0.2.2", OLD, 3600)) == []
    assert users(("10.0.2.2", OLD, 3599)) and users(("10.0.2.2", OLD, 0), quiet=0) == []


@pytest.mark.parametrize("ignore, left", [
    (["10.0.2.1"], ["10.0.2.2"]), (["10.0.2.0/24"], []), (["10.0.3.0/24", "fd00::/64"], ["10.0.2.1", "10.0.2.2"])])
def test_scanner_is_let_pass_by_its_address(ignore, left):
    assert [address for _name, address, _ago in users(("10.0.2.1", OLD, 1), ("10.0.2.2", OLD, 1), ignore=ignore)] == left


# It moved 200 s before the look: what it used before that it has left; what it uses since, it still needs.
@pytest.mark.parametrize("seconds_ago, named", [(0, True), (190, True), (196, False), (200, False), (250, False)])
def test_host_that_used_the_old_port_before_it_moved_is_none(seconds_ago, named):
    moves = dict(client1=(NOW - 200, NOW - 10))
    assert bool(users(("10.0.2.1", OLD, seconds_ago), moves=moves)) is named
    # The move of another host excuses no user.
    assert users(("10.0.2.2", OLD, seconds_ago), moves=moves)
    assert users(("10.9.9.9", OLD, seconds_ago), moves=moves)


@pytest.mark.parametrize("wrong", [-86400, 7200])
def test_clocks_that_are_wrong_excuse_no_user(wrong):
    # The clock of the client, then that of the relay: both are taken back to the time in which they were asked.
    assert users(("10.0.2.1", OLD, 1), moves=dict(client1=(NOW - 200 + wrong, NOW - 10 + wrong)))
    assert users(("10.0.2.1", OLD, 1), at=NOW + wrong, moves=dict(client1=(NOW - 900, NOW - 10)))
    assert not users(("10.0.2.1", OLD, 600), at=NOW + wrong, moves=dict(client1=(NOW - 200 + wrong, NOW - 10 + wrong)))


def test_a_clock_that_can_be_right_is_believed():
    assert in_time(5.0, 1000100.0, SINCE, NOW) == 5.0
    assert in_time(SINCE + 7200, NOW + 7200, SINCE, NOW) == SINCE
    assert in_time(0.0, SINCE - 50, SINCE, NOW) == 50.0


def test_own_processes_of_the_host_are_it():
    assert users(("127.0.0.1", OLD, 3)) == [("relay1", "127.0.0.1", 3)]
    assert users(("::1", OLD, 300), moves=dict(relay1=(NOW - 200, NOW - 10))) == []
    # Unless a host of the inventory has just that address, as in a lab on one machine.
    assert users(("127.1.0.7", OLD, 3), addresses=dict(relay1=["127.1.0.1"], client7=["127.1.0.7"])) == [
        ("client7", "127.1.0.7", 3)]


def test_names_are_looked_up_once_and_only_for_an_address_that_is_not_known():
    asked = []

    def look_up(names):
        asked.append(sorted(names))
        return {"client3.example.test": {"10.0.2.3", "fd00::23"}}

    addresses = dict(ADDRESSES, client3=["client3.example.test"], client4=["client4.example.test"])
    assert users(("10.0.2.1", OLD, 1), addresses=addresses, look_up=look_up) and asked == []
    found = users(("10.0.2.3", OLD, 1), ("fd00::23", OLD, 1), ("10.9.9.9", OLD, 1), addresses=addresses, look_up=look_up)
    assert [name for name, _address, _ago in found] == ["client3", "client3", None]
    assert asked == [["client3.example.test", "client4.example.test"]]


def test_what_the_bridges_can_not_tell_is_said():
    estate = Estate(dict(relay1=look(notes=["laid by an earlier version"], remembered_seconds=None),
                         relay2=look(remembered_seconds=240), relay3=look(remembered_seconds=60), relay4=look()), {},
                    Directory({}), SINCE, NOW)
    assert estate.notes(3600) == [
        "relay1: laid by an earlier version",
        "relay2, relay3: who uses the old port has been remembered for less than 3600 s (60 s on relay3), since the bridge was "
        "laid or the host booted; an agent that has not reported since then is not among the users"]
    assert estate.notes(30) == ["relay1: laid by an earlier version"]


def test_options_are_read_as_a_command_line_gives_them():
    assert [str(network) for network in parse_ignored("10.0.0.5, 10.0.1.0/24", "x")] == ["10.0.0.5/32", "10.0.1.0/24"]
    assert [str(network) for network in parse_ignored("['10.0.0.5']", "x")] == ["10.0.0.5/32"]
    assert parse_ignored([], "x") == [] == parse_ignored("", "x") and parse_quiet("600", "x") == 600 == parse_quiet(600, "x")


@pytest.mark.parametrize("value", [["10.0.0.5; x"], ["scanner.example.test"], ["10.0.0.5/24"], ["fe80::1%eth0"], 7, dict(a=1),
                                   [None]])
def test_what_is_no_address_is_no_exception(value):
    with pytest.raises(EngineError, match="^bigfix_close_ignore_users is "):
        parse_ignored(value, "bigfix_close_ignore_users")


@pytest.mark.parametrize("value", ["an hour", -1, True, 1.5, "", None])
def test_what_is_no_number_of_seconds_is_refused(value):
    with pytest.raises(EngineError, match="^bigfix_close_quiet_seconds is .*; give a number of seconds"):
        parse_quiet(value, "bigfix_close_quiet_seconds")
