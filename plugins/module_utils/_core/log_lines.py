# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of the products: their ends, the patterns that are looked for in them, and when a line was written.

Vendors document neither what their logs say nor how they date it: a pattern counts in letters of either case, and a line without
a date has that of the line before it.  One that can't be dated at all is counted, never taken for new, and so is one that is
dated later than now: it was written while the clock was ahead, and nothing tells when that was.

A log may hold lines that another user had written into it.  So its end alone is read, a pattern sees the beginning of a line, and
looking for patterns takes a limited time.
"""

import calendar
import contextlib
import io
import re
import signal
import time

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import shown_words

# Of a log that has grown for years only the end can be newer than a change of today.
LOG_TAIL = 4 * 1024 * 1024
# Of a line, what a pattern sees, and what a sentence quotes.
LINE_LIMIT, QUOTE_LIMIT = 4096, 300
# Seconds of this process that the patterns may take for one log: an expression may need more than a life for a line that is made
# for it.  Usual ones take a second for a log as long as they come.
SEARCH_LIMIT = 20
# Lines of a log that a sentence quotes.
QUOTED = 3
DAY = 86400

_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_ISO = re.compile(r"(?<![0-9])([0-9]{4})[-/]([0-9]{2})[-/]([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,][0-9]+)?"
                  r"(?: ?(Z|[+-][0-9]{2}:?[0-9]{2})\b)?")
_UNIX = re.compile(r"\b(%s) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})(?: ([A-Z]{3,4}))?(?: ([0-9]{4}))?\b"
                   % "|".join(_MONTHS))


class PatternError(EngineError):
    """A pattern that is no regular expression, or one that takes too long."""


def compile_patterns(patterns, port=None):
    """C({port}) in a pattern stands for `port`, where there is one."""
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern if port is None else pattern.replace("{port}", str(port)), re.IGNORECASE))
        except (re.error, OverflowError, RecursionError) as err:
            raise PatternError('the pattern "%s" is no regular expression: %s; correct it' % (pattern, err))
    return compiled


def matches(patterns, line):
    return any(pattern.search(line) for pattern in patterns)


@contextlib.contextmanager
def limited(log, patterns):
    """Ends a search that would last, with a sentence.  The time is that of this process: a busy host is no reason."""
    seconds = SEARCH_LIMIT

    def give_up(*unused):
        raise PatternError("%s: looking for the patterns %s was given up after %g s of work; make them simpler, such as without "
                           "a repetition inside another one" % (
                               log, ", ".join('"%s"' % pattern.pattern for pattern in patterns), seconds))

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def read_log(host, path):
    """The whole lines at the end of a log of a host; None where there is no such file."""
    content = host.read_end(path, LOG_TAIL + 1)
    if content is not None and len(content) > LOG_TAIL:
        # What comes first may be the rest of a line.
        content = content.partition(b"\n")[2]
    return content


def unread_words(host, path):
    """What a sentence on a log says further where more than its end was not read, or nothing."""
    unread = host.unread(path, LOG_TAIL)
    return "; the first %d bytes of %s were not read" % (unread, path) if unread else ""


def lines_of(content):
    """Each line, without its end, as far as a pattern sees it."""
    for line in io.BytesIO(content):
        yield line.rstrip(b"\r\n")[:LINE_LIMIT]


def quoted(line):
    """A line of a log for a sentence: short, printable, and without what may be a secret."""
    line = "".join(char if char.isprintable() else "?" for char in shown_words(line.strip()))
    return line[:QUOTE_LIMIT] + ("..." if line[QUOTE_LIMIT:] else "")


def line_time(line, now, host=THIS_HOST):
    """When a line was written (seconds since the epoch), or None.  `host`: where it was, which has a zone.

    A date without a year is the last one that was.  Within a day from now it is this year's: the log may be that of a zone where
    it is later.
    """
    match = _ISO.search(line)
    if match:
        return _epoch(host, [int(part) for part in match.groups()[:6]], match.group(7))
    match = _UNIX.search(line)
    if not match:
        return None
    month, day, hour, minute, second, unused, year = match.groups()
    rest = [_MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second)]
    if year:
        return _epoch(host, [int(year)] + rest)
    this_year = time.localtime(now).tm_year
    moments = [_epoch(host, [candidate] + rest) for candidate in (this_year - 1, this_year, this_year + 1)]
    moments = [moment for moment in moments if moment is not None and moment <= now + DAY]
    return max(moments) if moments else None


def _epoch(host, parts, zone=None):
    try:
        # Refuses what never was, such as a 31st of November.
        if not 1 <= parts[2] <= calendar.monthrange(parts[0], parts[1])[1] or parts[3] > 23 or parts[4] > 59 or parts[5] > 60:
            return None
        if zone is None:
            return host.local_moment(*parts)
        seconds = calendar.timegm(tuple(parts) + (0, 0, 0))
    except (ValueError, IndexError, OverflowError, calendar.IllegalMonthError):
        return None
    if zone == "Z":
        return seconds
    offset = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
    return seconds - (offset if zone[0] == "+" else -offset)


def failures_since(path, content, since, patterns, now, host=THIS_HOST):
    """(lines that match one of `patterns` and are newer than `since`, number of matching lines that can't be dated).

    A line without a date has that of the line before it.  One that is dated later than now can't be dated.
    """
    found, undated, moment = [], 0, None
    with limited(path, patterns):
        for line in lines_of(content):
            line = line.decode("utf-8", "replace")
            own = line_time(line, now, host)
            moment = own if own is not None else moment
            if not matches(patterns, line):
                continue
            if moment is None or moment > now:
                undated += 1
            # Such a log knows whole seconds: a line of the second of `since` itself may be older than it.
            elif moment >= int(since) + 1:
                found.append(quoted(line))
    return found, undated


class FailureLog:
    """A log in which failures are looked for again and again.

    One that can't be dated counts when it comes up while the host settles.
    """

    def __init__(self, patterns):
        self.patterns = compile_patterns(patterns)
        self.undated, self.well, self.after = 0, None, ""

    def settle(self, after):
        """From here on none may be added.  `after`: words for this time, such as C(within 5 s after it was well)."""
        self.well, self.after = self.undated, after

    def judge(self, host, path, since, words):
        """(whether nothing speaks against the host, sentences).  `words`: for `since`, the moment from which on a line counts."""
        content = read_log(host, path)
        if content is None:
            return True, ["%s does not exist, so that it holds no failure" % path]
        found, undated = failures_since(path, content, since, self.patterns, host.now(), host)
        if found:
            return False, ["%s, %s: %s" % (path, words, " / ".join(found[-QUOTED:]))]
        if self.well is not None and undated > self.well:
            return False, ["%s: %s, %d failures were added that can't be dated" % (path, self.after, undated - self.well)]
        self.undated = undated
        return True, ["%s: no failure %s%s" % (path, words, " (%d that can't be dated)" % undated if undated else "")]
