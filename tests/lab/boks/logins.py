# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledgers of logins say: the only place where refused ones are counted."""

import time


class Count:
    """Of one host."""

    def __init__(self):
        self.allowed = 0
        self.own_restart = 0
        self.otherwise = 0
        self.without_udp = 0
        self.reasons = {}
        self.last = None
        self.last_outcome = None
        self.refused_since = None
        self.longest_refusal = 0.0
        self.longest_silence = 0.0

    @classmethod
    def of(cls, text, since=0.0, until=None):
        """`text`: a ledger, whose last line may be half a line."""
        count = cls()
        for line in text[:text.rfind("\n") + 1].splitlines():
            when, outcome, rest = (line.split(" ", 2) + [""])[:3]
            if since <= float(when) and (until is None or float(when) <= until):
                count.add(float(when), outcome, rest)
        return count

    def add(self, when, outcome, rest):
        if outcome == "allow":
            self.allowed += 1
            self.without_udp += rest.endswith(" no-udp")
            if self.refused_since is not None:
                self.longest_refusal = max(self.longest_refusal, when - self.refused_since)
                self.refused_since = None
        else:
            if outcome == "own":
                self.own_restart += 1
            else:
                self.otherwise += 1
                self.reasons[rest] = self.reasons.get(rest, 0) + 1
            if self.refused_since is None:
                self.refused_since = when
            self.longest_refusal = max(self.longest_refusal, when - self.refused_since)
        if self.last is not None:
            self.longest_silence = max(self.longest_silence, when - self.last)
        self.last, self.last_outcome = when, outcome

    def figures(self, now=None):
        now = time.time() if now is None else now
        return {
            "attempts": self.allowed + self.own_restart + self.otherwise,
            "allowed": self.allowed,
            "refused_own_restart": self.own_restart,
            "refused_otherwise": self.otherwise,
            "without_udp": self.without_udp,
            "reasons": self.reasons,
            "longest_refusal": round(self.longest_refusal, 3),
            "longest_silence": round(self.longest_silence, 3),
            "allowed_last": self.last_outcome == "allow",
            "last_ago": None if self.last is None else round(max(0.0, now - self.last), 3),
        }
