# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance windows: a span of the day such as C(22:00-04:00), midnight allowed inside."""

from __future__ import annotations

import datetime
import re

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError


def parse_window(text: object, name: str) -> tuple[int, int]:
    """(first minute, end minute) of the day."""
    match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)", str(text).strip())
    if not match or match.groups()[:2] == match.groups()[2:]:
        raise EngineError("%s is %r; give a span of the day such as 22:00-04:00" % (name, text))
    first_hour, first_minute, end_hour, end_minute = map(int, match.groups())
    return first_hour * 60 + first_minute, end_hour * 60 + end_minute


def in_window(moment: datetime.datetime, text: object, name: str) -> bool:
    """Whether `moment` (a datetime) lies in the window `text`, the value of `name`; an empty window is always open."""
    if not text:
        return True
    first, end = parse_window(text, name)
    minute = moment.hour * 60 + moment.minute
    return first <= minute < end if first < end else minute >= first or minute < end
