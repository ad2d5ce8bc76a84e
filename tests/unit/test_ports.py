# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values are a port, and which ports BigFix can use."""

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.ports import parse_bigfix_port, parse_bigfix_target
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import PortError, parse_port


@pytest.mark.parametrize("value, port", [(1, 1), (65535, 65535), ("55000", 55000), (" 55000\n", 55000), ("055000", 55000)])
def test_port_from_number_or_digits(value, port):
    assert parse_port(value) == port


@pytest.mark.parametrize("value", [
    "", "55000x", "-1", "+5", "5.5", 5.5, 1e4, True, False, None, [55000], "55 000", "0x10", "٥٥", "1_000", "5\n5"])
def test_what_is_no_number_is_refused_as_it_was_written(value):
    with pytest.raises(PortError) as caught:
        parse_port(value, "bigfix_port")
    assert str(caught.value) == "bigfix_port is %r, which is not a port number: give a whole number from 1 to 65535" % (value,)


@pytest.mark.parametrize("value", [0, "0", 65536, 70000, "9" * 30])
def test_number_out_of_range_is_refused(value):
    with pytest.raises(PortError, match="^port is %s, which is not a port number: give a whole number" % value):
        parse_port(value)


@pytest.mark.parametrize("parse", [parse_bigfix_port, parse_bigfix_target])
@pytest.mark.parametrize("value", [52314, "52314", "052314"])
def test_bigfix_never_gets_52314(parse, value):
    assert parse_port(value) == 52314
    with pytest.raises(PortError, match="^port is 52314, which can't be used: BigFix keeps 52314 for itself; choose another"):
        parse(value)


@pytest.mark.parametrize("value", [1, 443, 1023, 1024])
def test_file_may_name_a_privileged_port_but_nothing_moves_to_one(value):
    assert parse_bigfix_port(value) == value
    with pytest.raises(PortError, match="^bigfix_port is %d: BigFix does not take a port from 1 to 1024; " % value):
        parse_bigfix_target(value, "bigfix_port")


@pytest.mark.parametrize("value", [8080, 8443])
def test_nothing_moves_onto_web_reports(value):
    assert parse_bigfix_port(value) == value
    with pytest.raises(PortError, match="^port is %d, the default port of Web Reports, which does not move" % value):
        parse_bigfix_target(value)


@pytest.mark.parametrize("value", [1025, 52311, 52313, 52315, 55000, 65535])
def test_other_ports_are_targets(value):
    assert parse_bigfix_target(value) == value
