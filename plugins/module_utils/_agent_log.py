# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the BigFix agent wrote, read as evidence.

Formats, as real agents write them: the log ``YYYYMMDD.log`` (the local date), whose indented lines belong to the
time above them,

    At 20:18:05 +0100 - actionsite (http://server.example.test:52311/cgi-bin/bfgather.exe/actionsite)
    At 20:18:06 +0100 -
       Report posted successfully

and the relay chain ``__BESData/__Global/RelayChain/yyyymmdd.txt``: ``At 05:05:13 +0100 - S - ...`` (S good, F failed).
A line that cannot be dated is no evidence: it is skipped, never an error.
"""

import calendar
import datetime
import math
import re
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError

_DATED_NAME = re.compile(r"(?:.*[/\\])?([0-9]{4})([0-9]{2})([0-9]{2})(?![0-9])[^/\\]*", re.S)
_TIMED_LINE = re.compile(r"At ([0-9]{1,2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2}) -(.*)", re.S)
_CHAIN_TEXT = re.compile(r"([SF])(?: -(.*))?", re.S)

Entry = namedtuple("Entry", "time text")  # time: seconds since the epoch
ChainEntry = namedtuple("ChainEntry", "time good text")


class LogPatternError(EngineError):
    """A pattern to look for in the log is no regular expression."""


def log_entries(name, data):
    dated = _DATED_NAME.fullmatch(name)
    entries, time = [], None
    for raw in data.split(b"\n") if dated else []:
        line = _text(raw)
        text = line if line[:1] in (" ", "\t") else ""
        if line.startswith("At "):
            timed = _TIMED_LINE.match(line)
            time = timed and _epoch(dated.groups(), timed.groups())
            text = timed.group(7) if timed else ""
        if time is not None and text.strip():
            entries.append(Entry(time, text.strip()))
    return entries


def relay_chain_entries(name, data):
    lines = ((entry.time, _CHAIN_TEXT.fullmatch(entry.text)) for entry in log_entries(name, data))
    return [ChainEntry(time, line.group(1) == "S", (line.group(2) or "").strip()) for time, line in lines if line]


def success_after(entries, since, success, failure):
    """The last success since then, unless a failure came after it.  A line that reads as both is a failure."""
    for entry in _newest_first(entries, since):
        if _matches(entry, failure):
            return None
        if _matches(entry, success):
            return entry
    return None


def last_failure(entries, since, failure):
    return next((entry for entry in _newest_first(entries, since) if _matches(entry, failure)), None)


def compile_patterns(patterns, port):
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern.replace("{port}", str(port))))
        except (re.error, OverflowError, RecursionError) as err:
            raise LogPatternError('the log pattern "%s" is no regular expression: %s; correct it' % (pattern, err))
    return compiled


def _newest_first(entries, since):
    # The log knows whole seconds: an entry of the second of `since` itself may be older than `since`.
    later = [entry for entry in entries if entry.time >= math.floor(since) + 1]
    later.sort(key=lambda entry: entry.time)  # stable: within a second the order of the file stays
    return reversed(later)


def _matches(entry, patterns):
    return any(pattern.search(entry.text) for pattern in patterns)


def _text(raw):
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _epoch(date, clock):
    """Seconds since the epoch, or None for a time that never was."""
    try:
        local = datetime.datetime(*[int(part) for part in date + clock[:3]])
    except ValueError:
        return None
    hours, minutes = int(clock[4]), int(clock[5])
    if hours > 14 or minutes > 59:  # UTC+14 is as far as it goes
        return None
    offset = (hours * 60 + minutes) * (60 if clock[3] == "+" else -60)
    return calendar.timegm(local.timetuple()) - offset
