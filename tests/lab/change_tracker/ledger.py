# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledgers of agents and hub say: the only place where heartbeats are counted."""

import time
from collections import namedtuple


class Beat(namedtuple("Beat", "when number outcome port why")):
    """A line of an agent's ledger."""

    @classmethod
    def of(cls, line):
        when, number, outcome, port, why = (line.split(" ", 4) + [""])[:5]
        return cls(float(when), int(number), outcome, int(port), why)


def _lines(text):
    """The last one may be half a line."""
    return text[:text.rfind("\n") + 1].splitlines()


class Count:
    """Of one agent, by its own ledger and by what arrived at the hub."""

    def __init__(self, now):
        self.now = now
        self.ok = set()
        self.failed = 0
        self.reasons = {}
        self.ports = {}
        self.restarts = 0
        self.last = None
        self.last_ok = None
        self.started = False              # since the last heartbeat that the hub took
        self.longest_silence = 0.0
        self.longest_own_restart = 0.0    # the silences that a restart of the agent itself is part of
        self.longest_otherwise = 0.0
        self.arrived = {}

    @classmethod
    def of(cls, text, since=0.0, arrivals=(), now=None):
        """`arrivals`: [(number, port)] of this agent at the hub, from any time; `now`: when that was read."""
        count = cls(time.time() if now is None else now)
        for line in _lines(text):
            beat = Beat.of(line)
            if beat.when >= since:
                count.add(beat)
        for number, port in arrivals:
            count.arrived.setdefault(number, []).append(port)
        return count

    def add(self, beat):
        if beat.outcome == "ok":
            self.ok.add(beat.number)
            self.ports[beat.port] = self.ports.get(beat.port, 0) + 1
            if self.last_ok is not None:
                self._silent(beat.when - self.last_ok)
            self.last_ok, self.started = beat.when, False
        elif beat.outcome == "failed":
            self.failed += 1
            self.reasons[beat.why] = self.reasons.get(beat.why, 0) + 1
        elif beat.outcome == "start":
            self.restarts += 1
            self.started = True
        self.last = beat

    def _silent(self, seconds):
        self.longest_silence = max(self.longest_silence, seconds)
        if self.started:
            self.longest_own_restart = max(self.longest_own_restart, seconds)
        else:
            self.longest_otherwise = max(self.longest_otherwise, seconds)

    def missing_at_hub(self):
        """Numbers that the hub has acknowledged and not written down."""
        return sorted(self.ok - set(self.arrived))

    def gaps(self):
        """Numbers that never arrived, below one that did."""
        mine = [number for number in self.arrived if self.ok and min(self.ok) <= number <= max(self.ok)]
        return 0 if not mine else max(mine) - min(mine) + 1 - len(mine)

    def figures(self):
        silent = None if self.last_ok is None else max(0.0, self.now - self.last_ok)
        return {
            "accepted": len(self.ok),
            "failed": self.failed,
            "reasons": self.reasons,
            "arrived": sum(number in self.arrived for number in self.ok),
            "gaps": self.gaps(),
            "accepted_by_port": {str(port): count for port, count in sorted(self.ports.items())},
            "own_restarts": self.restarts,
            "longest_silence": round(max(self.longest_silence, silent or 0.0), 3),
            "longest_own_restart": round(self.longest_own_restart, 3),
            "longest_otherwise": round(self.longest_otherwise, 3),
            "last_accepted_ago": None if silent is None else round(silent, 3),
            "sleeping": self.last is not None and self.last.outcome == "sleep",
        }


def arrivals(text):
    """-> {agent: [(number, port)]}"""
    found = {}
    for line in _lines(text):
        _when, agent, number, port = line.split()
        found.setdefault(agent, []).append((int(number), int(port)))
    return found


def monitored(text, since=0.0, now=None):
    """What proxies told the hub -> {proxy: {"HOST:PORT": figures}}"""
    now, found = time.time() if now is None else now, {}
    for line in _lines(text):
        when, proxy, host, port, outcome, why = (line.split(" ", 5) + [""])[:6]
        if float(when) < since:
            continue
        seen = found.setdefault(proxy, {}).setdefault("%s:%s" % (host, port), {
            "looks": 0, "failed": 0, "reasons": {}, "longest_silence": 0.0, "last": None, "last_at": None})
        if seen["last_at"] is not None:
            seen["longest_silence"] = round(max(seen["longest_silence"], float(when) - seen["last_at"]), 3)
        seen["looks"] += 1
        seen["last"], seen["last_at"] = outcome, float(when)
        if outcome != "ok":
            seen["failed"] += 1
            seen["reasons"][why] = seen["reasons"].get(why, 0) + 1
    for targets in found.values():
        for seen in targets.values():
            seen["last_ago"] = round(max(0.0, now - seen.pop("last_at")), 3)
    return found
