# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance windows, midnight included."""

import datetime

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._window import in_window, parse_window


def at(text):
    return datetime.datetime(2026, 11, 21, int(text[:2]), int(text[3:5]), 59)


@pytest.mark.parametrize("moment, window, expected", [
    ("21:59", "22:00-04:00", False), ("22:00", "22:00-04:00", True), ("23:59", "22:00-04:00", True),
    ("00:00", "22:00-04:00", True), ("03:59", "22:00-04:00", True), ("04:00", "22:00-04:00", False),
    ("12:00", "22:00-04:00", False),
    ("08:59", "09:00-17:30", False), ("09:00", "09:00-17:30", True), ("17:29", "09:00-17:30", True),
    ("17:30", "09:00-17:30", False), ("00:00", "09:00-17:30", False),
    ("23:59", "22:00-00:00", True), ("00:00", "22:00-00:00", False),
    ("00:00", "00:00-23:59", True), ("23:59", "00:00-23:59", False),
])
def test_window_holds_its_first_minute_and_not_its_last(moment, window, expected):
    assert in_window(at(moment), window, "bigfix_window") is expected


@pytest.mark.parametrize("window", [None, ""])
def test_no_window_is_always_open(window):
    assert in_window(at("12:00"), window, "bigfix_window") is True


def test_blanks_around_are_allowed():
    assert parse_window(" 22:00 - 04:15 ", "bigfix_window") == (1320, 255)


@pytest.mark.parametrize("text", [
    "22:00", "22-04", "24:00-04:00", "22:60-04:00", "2:00-4:00", "22:00-22:00", "22:00-04:00x", "10pm-4am", 5, True,
    "22:00-04:00\n22:00-04:00", ["22:00-04:00"]])
def test_what_is_no_window_is_a_sentence(text):
    with pytest.raises(EngineError) as caught:
        parse_window(text, "bigfix_window")
    assert str(caught.value) == "bigfix_window is %r; give a span of the day such as 22:00-04:00" % (text,)
