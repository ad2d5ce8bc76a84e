# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the BigFix agent wrote, read as evidence.

Formats, as real agents write them: the log ``YYYYMMDD.log`` (the local date), whose indented lines belong to the
time above them,

    At 20:18:05 +0100 - actionsite (http://server.example.test:52311/cgi-bin/bfgather.exe/actionsite)
    At 20:18:06 +0100 -
       Report posted successfully

which is renamed ``YYYYMMDD.bkg`` when it has grown long, and the relay chain ``__BESData/__Global/RelayChain/yyyymmdd.txt``:
``At 05:05:13 +0100 - S - ...`` (S good, F failed).  A line that cannot be dated is no evidence: it is skipped, never an error.

Both are one story, told in the order of time.  Nothing later than now belongs to it, without any tolerance: what a small step of
the clock has put into the future is past when it is looked at again.
"""

import calendar
import datetime
import math
import re
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileError
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import DAY, limited, lines_of, matches, read_log

_DATED_NAME = re.compile(r"(?:.*[/\\])?([0-9]{4})([0-9]{2})([0-9]{2})(?![0-9])[^/\\]*", re.S)
_TIMED_LINE = re.compile(r"At ([0-9]{1,2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2}) -(.*)", re.S)
_CHAIN_TEXT = re.compile(r"([SF])(?: -(.*))?", re.S)
# HOST:PORT, in a URL or not, and the words that the agent has for a port.
_NAMED_PORT = re.compile(r"(?:^|[\s'\"(,;@]|://)(?:\[[^\]\s]*\]|[\w.-]+):([0-9]{4,5})(?![\w:@]|\.\w)"
                         r"|\bport ([0-9]{1,5})(?!\w|\.\w)")
# A line with the parent that the agent turns to.
_PARENT = re.compile(r"regist|connect to relay", re.IGNORECASE)

LOG_ENDINGS, CHAIN_ENDINGS = (".bkg", ".log"), (".txt",)
# A restart may lie just before midnight, and the agent's zone may be ahead of ours: today, the day before and the day after.
DAYS = 3
# The agent may have been silent for long.
YEAR = 366 * DAY
# By how many seconds a line may be older than the one before it while the clock was not set back.
DISORDER = 2

Entry = namedtuple("Entry", "time text")  # time: seconds since the epoch
ChainEntry = namedtuple("ChainEntry", "time good text")
Word = namedtuple("Word", "time rank number good text")


def log_entries(name, data):
    return [Entry(time, text) for time, text, unused in _dated_lines(name, data) if text]


def relay_chain_entries(name, data):
    lines = ((entry.time, _CHAIN_TEXT.fullmatch(entry.text)) for entry in log_entries(name, data))
    return [ChainEntry(time, line.group(1) == "S", (line.group(2) or "").strip()) for time, line in lines if line]


def _dated_lines(name, data):
    """(time, text, whether it is the heading of a time).  The text may be empty."""
    dated = _DATED_NAME.fullmatch(name)
    time = None
    for raw in lines_of(data) if dated else ():
        line = _text(raw)
        if line.startswith("At "):
            timed = _TIMED_LINE.match(line)
            time = timed and _epoch(dated.groups(), timed.groups())
            if time is not None:
                yield time, timed.group(7).strip(), True
        elif time is not None and line[:1] in (" ", "\t"):
            yield time, line.strip(), False


def named_ports(text):
    """The ports that a line names."""
    return {int(first or second) for first, second in _NAMED_PORT.findall(text)}


def day_files(host, folder, endings, since, now):
    """(path, content) of the files of the days whose lines may be newer than `since`, in the order in which they were written.

    The names are those of the days, so that no other file hides them, whatever its name is.
    """
    if not host.is_folder(folder):
        raise FileError("%s: is not a folder that can be read; name the folder of the agent's logs" % folder)
    last = datetime.date.fromtimestamp(now) + datetime.timedelta(1)
    first = datetime.date.fromtimestamp(max(since, now - YEAR)) - datetime.timedelta(1)
    days = []
    while last >= first and len(days) < DAYS:
        paths = [host.join(folder, last.strftime("%Y%m%d") + ending) for ending in endings]
        paths = [path for path in paths if host.exists(path)]
        days += [paths] if paths else []
        last -= datetime.timedelta(1)
    for path in [path for paths in reversed(days) for path in paths]:
        content = read_log(host, path)
        if content is not None:
            yield path, content


class _Witness:
    """One of the two, read from its beginning to its end, file after file."""

    def __init__(self, rank, port, now):
        self.rank, self.port, self.now, self.oldest = rank, port, now, None
        # elsewhere: the last success that names another port.
        self.successes, self.failures, self.elsewhere = [], [], None
        self._newest, self._number = 0, 0

    def counts(self, time):
        """Whether a line of that time is part of the story.  All are to be asked for, in the order in which they were written."""
        if self.oldest is None:
            self.oldest = time
        if time > self.now:
            return False
        if time < self._newest - DISORDER:
            # The clock was set back: what was told before and is dated later was told while it was ahead.
            while self.successes and self.successes[-1].time > time:
                self.successes.pop()
            self._newest = time
        self._newest = max(self._newest, time)
        return True

    def tell(self, time, good, text, ports):
        self._number += 1
        word = Word(time, self.rank, self._number, good, text)
        if not good:
            self.failures.append(word)
        elif ports and self.port not in ports:
            self.elsewhere = word
        else:
            self.successes.append(word)


class Story:
    """What speaks for the agent on `port` and what against it."""

    def __init__(self, port, success, failure, now):
        self.success, self.failure = success, failure
        self.paths = []
        # Within a second the log, which tells more, has the last word.
        self.chain, self.log = _Witness(0, port, now), _Witness(1, port, now)
        self._parent = ()

    def read_chain(self, name, data):
        for time, good, text in relay_chain_entries(name, data):
            if self.chain.counts(time):
                self.chain.tell(time, good, "relay chain: %s" % text, named_ports(text))

    def read_log(self, name, data):
        """A success without a port has the one that its heading, or a line between them, names; else that of the parent to
        which the agent turned last."""
        block = ()
        self.paths.append(name)
        with limited(name, self.success + self.failure):
            for time, text, begins in _dated_lines(name, data):
                if not self.log.counts(time):
                    continue
                ports = named_ports(text)
                if begins or ports:
                    block = ports
                if ports and _PARENT.search(text):
                    self._parent = ports
                # A line that reads as both is a failure.
                if matches(self.failure, text):
                    self.log.tell(time, False, text, ())
                elif matches(self.success, text):
                    self.log.tell(time, True, text, ports or block or self._parent)

    def last_word(self, since):
        """The last success or failure since then, or None."""
        words = [word for witness in (self.chain, self.log) for word in witness.successes + witness.failures]
        return max([word for word in words if _is_later(word, since)], default=None)

    def last_elsewhere(self, since):
        """The last success since then that names another port, or None."""
        words = [witness.elsewhere for witness in (self.chain, self.log) if witness.elsewhere]
        return max([word for word in words if _is_later(word, since)], default=None)


def _is_later(word, since):
    # The log knows whole seconds: a line of the second of `since` itself may be older than `since`.
    return word.time >= math.floor(since) + 1


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
