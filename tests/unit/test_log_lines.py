# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When lines of a log were written, and which of them speak against the product."""

import calendar
import re
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._core import log_lines
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import (
    DAY, LINE_LIMIT, LOG_TAIL, QUOTE_LIMIT, PatternError, compile_patterns, failures_since, limited, line_time, lines_of, matches,
    quoted, read_log)
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST


@pytest.mark.parametrize("pattern", ["(", "port ({port}", "a{99999999999999999999}", "*"])
def test_a_broken_pattern_is_a_sentence(pattern):
    with pytest.raises(PatternError, match='the pattern "%s" is no regular expression: .*; correct it' % re.escape(pattern)):
        compile_patterns(["fine", pattern])


def test_the_port_is_put_into_every_pattern_and_braces_of_regular_expressions_stay():
    patterns = compile_patterns(["relay on port {port}", "^[0-9]{3} {port} {port}$"], 55000)
    assert [pattern.pattern for pattern in patterns] == ["relay on port 55000", "^[0-9]{3} 55000 55000$"]
    assert compile_patterns(["{port}"])[0].pattern == "{port}"
    assert matches(patterns, "RELAY on Port 55000") and not matches(patterns, "relay on port 5500")


def test_a_pattern_that_takes_for_ever_on_a_line_made_for_it_is_given_up(monkeypatch):
    monkeypatch.setattr(log_lines, "SEARCH_LIMIT", 0.2)
    with pytest.raises(PatternError, match=re.escape(
            'LOG: looking for the patterns "(a+)+$" was given up after 0.2 s of work; make them simpler')):
        with limited("LOG", compile_patterns(["(a+)+$"])):
            matches(compile_patterns(["(a+)+$"]), "a" * 60 + "b")
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_a_pattern_sees_the_beginning_of_a_line():
    content = b"x" * LINE_LIMIT + b" Address already in use\r\n\nlast"
    assert [len(line) for line in lines_of(content)] == [LINE_LIMIT, 0, 4]


def test_only_whole_lines_of_the_end_of_a_log_are_read(tmp_path):
    path = tmp_path / "errlog"
    assert read_log(THIS_HOST, str(path)) is None
    path.write_bytes(b"first\n" + b"x" * (LOG_TAIL - 6))
    assert read_log(THIS_HOST, str(path)) == path.read_bytes()
    path.write_bytes(b"a first\n" + b"x" * (LOG_TAIL - 6))
    assert read_log(THIS_HOST, str(path)) == b"x" * (LOG_TAIL - 6)
    path.write_bytes(b"x" * (LOG_TAIL + 1))
    assert read_log(THIS_HOST, str(path)) == b""


@pytest.mark.parametrize("line, expected", [
    ("  GetURL failed \r", "GetURL failed"), ("\x1b[2Jcaf\xe9\x07", "?[2Jcaf\xe9?"), ("x" * 400, "x" * QUOTE_LIMIT + "..."),
    ("see http://admin:hunter2@host:52311/a?key=hunter2&b=1 (x)", "see http://********@host:52311/a?******** (x)"),
    ("https://host/#hunter2", "https://host/#********"), ("why? a@b.test", "why? a@b.test"), ("{{ 7*7 }}", "{{ 7*7 }}")])
def test_a_sentence_quotes_what_can_be_printed_and_no_secret_of_a_url(line, expected):
    assert quoted(line) == expected


NOW = calendar.timegm((2026, 11, 22, 12, 0, 0, 0, 0, 0))


@pytest.fixture(params=["UTC", "Pacific/Auckland", "America/St_Johns"])
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.123", "%Y/%m/%d %H:%M:%S", "%a %b %e %H:%M:%S %Y",
                                  "%b %e %H:%M:%S", "%a %b %e %H:%M:%S UTC %Y"])
def test_dates_of_this_hosts_own_clock_are_read(form, zone):
    line = "boks_init@host %s WARNING: process exited" % time.strftime(form, time.localtime(NOW))
    assert line_time(line, NOW + 5) == NOW


@pytest.mark.parametrize("text", ["2026-11-22T12:00:00Z", "2026-11-22T13:30:00+01:30", "2026-11-22 07:00:00 -0500"])
def test_dates_with_a_zone_are_read(text, zone):
    assert line_time(text + " x", NOW) == NOW


@pytest.mark.parametrize("seconds, ago", [(-30 * DAY, 30), (DAY // 2, -0.5), (2 * DAY, 363), (240 * DAY, 125), (-200 * DAY, 200)])
def test_a_date_without_a_year_is_the_last_one_that_was(seconds, ago, zone):
    line = time.strftime("%b %e %H:%M:%S x", time.localtime(NOW + seconds))
    assert (NOW - line_time(line, NOW)) / DAY == ago


def test_a_date_without_a_year_is_known_at_new_year():
    new_year = calendar.timegm((2027, 1, 1, 0, 0, 5, 0, 0, 0))
    written = line_time("Dec 31 23:59:58 x", new_year)
    assert time.localtime(written).tm_year == 2026 and abs(written - new_year) < 30 * 3600


@pytest.mark.parametrize("line", ["", "x", "Nov 31 12:00:00", "2026-02-30 12:00:00", "2026-13-01 12:00:00", "2026-11-22 25:00:00",
                                  "12026-11-22 12:00:00 "])
def test_what_never_was_is_no_date(line):
    assert line_time(line, NOW) is None


@given(st.text(max_size=60))
def test_any_line_can_be_asked_for_its_date(line):
    line_time(line, NOW)


def test_a_failure_of_a_clock_that_was_ahead_can_not_be_dated():
    line = b"2026-11-22T13:00:00Z Address already in use\n"
    patterns = compile_patterns(["in use"])
    assert failures_since("errlog", line, NOW, patterns, NOW + 60) == ([], 1)
    assert failures_since("errlog", line, NOW, patterns, NOW + 3600) == ([line.decode().strip()], 0)


def test_only_failures_after_the_change_count(zone):
    def at(seconds, text):
        return "%s %s\n" % (time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW + seconds)), text)

    patterns = compile_patterns(["address already in use"])
    log = at(-60, "bind: Address already in use") + at(0, "bind: Address already in use") + at(3, "ready")
    assert failures_since("errlog", log.encode(), NOW, patterns, NOW + 60) == ([], 0)
    log += at(5, "boks_servc@host") + "  WARNING: bind: Address already in use\n"
    assert failures_since("errlog", log.encode(), NOW, patterns, NOW + 60) == (["WARNING: bind: Address already in use"], 0)
    assert failures_since("errlog", b"\xff Address already in use\n", NOW, patterns, NOW) == ([], 1)
