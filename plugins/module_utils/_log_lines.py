# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of a product's log that speak against it, and when they were written.

Vendors document neither what their logs say nor how they date it: a pattern counts in letters of either case, and a line without
a date has that of the line before it.  One that can't be dated at all is counted, never taken for new.
"""

import calendar
import re
import time

from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._redaction import shown_words


class PatternError(EngineError):
    """A pattern that is no regular expression."""


def compile_patterns(patterns):
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern, re.IGNORECASE))
        except (re.error, OverflowError, RecursionError) as err:
            raise PatternError('the pattern "%s" is no regular expression: %s; correct it' % (pattern, err))
    return compiled


_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_ISO = re.compile(r"(?<![0-9])([0-9]{4})[-/]([0-9]{2})[-/]([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,][0-9]+)?"
                  r"(?: ?(Z|[+-][0-9]{2}:?[0-9]{2})\b)?")
_UNIX = re.compile(r"\b(%s) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})(?: ([A-Z]{3,4}))?(?: ([0-9]{4}))?\b"
                   % "|".join(_MONTHS))


def line_time(line, now):
    """When a line was written (seconds since the epoch), or None.  A date without a year is the one nearest to `now`."""
    match = _ISO.search(line)
    if match:
        return _epoch([int(part) for part in match.groups()[:6]], match.group(7))
    match = _UNIX.search(line)
    if not match:
        return None
    month, day, hour, minute, second, unused, year = match.groups()
    rest = [_MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second)]
    if year:
        return _epoch([int(year)] + rest)
    this_year = time.localtime(now).tm_year
    moments = [_epoch([candidate] + rest) for candidate in (this_year - 1, this_year, this_year + 1)]
    moments = [moment for moment in moments if moment is not None]
    return min(moments, key=lambda moment: abs(moment - now)) if moments else None


def _epoch(parts, zone=None):
    try:
        # Refuses what never was, such as a 31st of November.
        if not 1 <= parts[2] <= calendar.monthrange(parts[0], parts[1])[1] or parts[3] > 23 or parts[4] > 59 or parts[5] > 60:
            return None
        if zone is None:
            return time.mktime(tuple(parts) + (0, 0, -1))
        seconds = calendar.timegm(tuple(parts) + (0, 0, 0))
    except (ValueError, IndexError, OverflowError, calendar.IllegalMonthError):
        return None
    if zone == "Z":
        return seconds
    offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
    return seconds - (offset if zone[0] == "+" else -offset)


def failures_since(content, since, patterns, now):
    """(lines that match one of `patterns` and are newer than `since`, number of matching lines without any date).

    A line without a date has that of the line before it.
    """
    found, undated, moment = [], 0, None
    for line in content.decode("utf-8", "replace").splitlines():
        own = line_time(line, now)
        moment = own if own is not None else moment
        if not any(pattern.search(line) for pattern in patterns):
            continue
        if moment is None:
            undated += 1
        # Such a log knows whole seconds: a line of the second of `since` itself may be older than it.
        elif moment >= int(since) + 1:
            found.append(shown_words(line.strip()))
    return found, undated
