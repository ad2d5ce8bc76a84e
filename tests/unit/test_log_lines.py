# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When lines of a log were written, and which of them speak against the product."""

import calendar
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._log_lines import (
    PatternError, compile_patterns, failures_since, line_time)


def test_a_broken_pattern_is_a_sentence():
    with pytest.raises(PatternError, match=r'the pattern "\(" is no regular expression: .*; correct it'):
        compile_patterns(["("])


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


def test_a_date_without_a_year_is_the_nearest_one():
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


def test_only_failures_after_the_change_count(zone):
    def at(seconds, text):
        return "%s %s\n" % (time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW + seconds)), text)

    patterns = compile_patterns(["address already in use"])
    log = at(-60, "bind: Address already in use") + at(0, "bind: Address already in use") + at(3, "ready")
    assert failures_since(log.encode(), NOW, patterns, NOW + 60) == ([], 0)
    log += at(5, "boks_servc@host") + "  WARNING: bind: Address already in use\n"
    assert failures_since(log.encode(), NOW, patterns, NOW + 60) == (["WARNING: bind: Address already in use"], 0)
    assert failures_since(b"\xff Address already in use\n", NOW, patterns, NOW) == ([], 1)
