# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils import _agent_log as log
from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError

NAME = "20261121.log"
T = 1795288685  # 2026-11-21 19:18:05 UTC

LOG = b"""Current Date: November 21, 2026
   Client version 11.0.2
At 20:18:05 +0100 - actionsite (http://server.example.test:52311/cgi-bin/bfgather.exe/actionsite)
   Fixed - fixlet 12
At 20:18:06 +0100 -\x20
   Report posted successfully

At 20:18:09 +0100 -
   RegisterOnce: GetURL failed - General transport failure. - registration url - http://HOST:52311/
"""


def test_the_log_is_read_with_the_time_above_each_indented_line():
    assert log.log_entries(NAME, LOG) == [
        (T, "actionsite (http://server.example.test:52311/cgi-bin/bfgather.exe/actionsite)"),
        (T, "Fixed - fixlet 12"),
        (T + 1, "Report posted successfully"),
        (T + 4, "RegisterOnce: GetURL failed - General transport failure. - registration url - http://HOST:52311/"),
    ]


@pytest.mark.parametrize("name, data, expected", [
    (NAME, b"At 20:18:05 +0100 - a\r\n\tb\r\n", [(T, "a"), (T, "b")]),
    (NAME, b"\xef\xbb\xbfAt 20:18:05 +0100 - a", [(T, "a")]),
    (NAME, b"At 20:18:05 +0100 - caf\xe9\n", [(T, "caf\xe9")]),
    (NAME, "At 20:18:05 +0100 - caf\xe9\n".encode(), [(T, "caf\xe9")]),
    (NAME, b"At 13:48:05 -0530 - a\n", [(T, "a")]),
    # the date in the name is the local date: just after midnight in Berlin it is still the day before in UTC
    (NAME, b"At 00:00:00 +0100 - a\n", [(1795215600, "a")]),
    ("/var/opt/BESClient/__BESData/__Global/Logs/20261121.log", b"At 20:18:05 +0100 - a\n", [(T, "a")]),
    ("C:\\Logs\\20261121.log", b"At 20:18:05 +0100 - a\n", [(T, "a")]),
    ("client.log", LOG, []),
    ("20260231.log", LOG, []),
    ("202611210.log", LOG, []),
    (NAME, b"", []),
    (NAME, b"   nobody knows when\n", []),
    (NAME, b"At 20:18:05 +0100 - a\nnot indented\n", [(T, "a")]),
    (NAME, b"At 20:18:05 +0100 - a\nAt 25:18:05 +0100 -\n   never\n", [(T, "a")]),
    (NAME, b"At 20:18:05 +0100 - a\nAt 20:18:05 +2500 - b\n   never\n", [(T, "a")]),
    (NAME, b"At 20:18:05 +0100 - a\nAt half past eight\n   never\n", [(T, "a")]),
])
def test_lines_that_cannot_be_dated_are_skipped(name, data, expected):
    assert log.log_entries(name, data) == expected


def test_the_relay_chain_tells_good_from_failed():
    data = (b"At 20:18:05 +0100 - S - 1: relay1.example.test:52311\nAt 20:18:06 +0100 - F - relay2: timeout\n"
            b"At 20:18:07 +0100 - S\nAt 20:18:08 +0100 - Success - x\nAt 20:18:09 +0100 - ?\n")
    assert log.relay_chain_entries("20261121.txt", data) == [
        (T, True, "1: relay1.example.test:52311"), (T + 1, False, "relay2: timeout"), (T + 2, True, "")]
    assert log.relay_chain_entries("chain.txt", data) == []


GOOD, BAD, BOTH = log.Entry(10, "posted"), log.Entry(10, "failed"), log.Entry(10, "posted, then failed")


def at(entry, time):
    return entry._replace(time=time)


@pytest.mark.parametrize("entries, since, expected", [
    ([at(GOOD, 11)], 10, 11),
    ([at(GOOD, 11)], 10.9, 11),
    ([at(GOOD, 10)], 10, None),
    ([at(GOOD, 10)], 10.9, None),
    ([at(GOOD, 10)], 9.9, 10),
    ([at(GOOD, 11), at(GOOD, 12)], 10, 12),
    ([at(BAD, 11), at(GOOD, 12)], 10, 12),
    ([at(GOOD, 11), at(BAD, 12)], 10, None),
    ([at(GOOD, 11), at(BAD, 11)], 10, None),
    ([at(BAD, 11), at(GOOD, 11)], 10, 11),
    ([at(BOTH, 11)], 10, None),
    # the files of two days, handed over in the wrong order
    ([at(GOOD, 12), at(BAD, 11)], 10, 12),
    ([], 10, None),
])
def test_a_success_counts_when_it_is_newer_than_since_and_nothing_failed_after_it(entries, since, expected):
    found = log.success_after(entries, since, log.compile_patterns(["posted"], 1), log.compile_patterns(["failed"], 1))
    assert (found and found.time) == expected


def test_the_last_failure_is_the_newest_one_after_since():
    failure = log.compile_patterns(["failed"], 1)
    assert log.last_failure([at(BAD, 11), at(BAD, 12), at(GOOD, 13)], 10, failure) == (12, "failed")
    assert log.last_failure([at(BAD, 11), at(GOOD, 13)], 11.5, failure) is None


def test_relay_chain_entries_serve_as_evidence_too():
    entries = [log.ChainEntry(11, True, "relay1:55000")]
    assert log.success_after(entries, 10, log.compile_patterns([":{port}$"], 55000), []) is entries[0]


def test_the_port_is_put_into_every_pattern_and_braces_of_regular_expressions_stay():
    patterns = log.compile_patterns(["relay on port {port}", "^[0-9]{3} {port} {port}$"], 55000)
    assert [pattern.pattern for pattern in patterns] == ["relay on port 55000", "^[0-9]{3} 55000 55000$"]


@pytest.mark.parametrize("pattern", ["port ({port}", "a{99999999999999999999}", "*"])
def test_a_pattern_that_is_no_regular_expression_is_named(pattern):
    with pytest.raises(log.LogPatternError) as refused:
        log.compile_patterns(["fine", pattern], 1)
    assert isinstance(refused.value, EngineError)
    assert str(refused.value).startswith('the log pattern "%s" is no regular expression: ' % pattern)


@given(st.datetimes(datetime.datetime(1970, 1, 3), datetime.datetime(2100, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_every_local_time_reads_as_the_instant_it_names(local, minutes):
    local = local.replace(microsecond=0)
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    stamp = "%s %s%02d%02d" % (local.strftime("%H:%M:%S"), "+-"[minutes < 0], abs(minutes) // 60, abs(minutes) % 60)
    entries = log.log_entries(local.strftime("%Y%m%d.log"), b"At " + stamp.encode() + b" - x\n")
    if abs(minutes) < 15 * 60:
        assert entries == [(local.replace(tzinfo=zone).timestamp(), "x")]


@given(st.text(), st.binary())
def test_no_name_and_no_bytes_raise(name, data):
    for known in (name, NAME):
        for damaged in (data, LOG[:40] + data + LOG[40:]):
            log.log_entries(known, damaged)
            log.relay_chain_entries(known, damaged)
