# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root server's ledger of accepted reports, and the only place where lost ones are counted."""

import os
import time


class Ledger:
    """Written by the root server: `epoch.ms client number port`, one line for each report that it accepted."""

    def __init__(self, path):
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def accept(self, client, number, port):
        # One write to a file opened for appending: whole lines, whatever the number of threads, with no buffer between.
        os.write(self.descriptor, ("%.3f %s %d %d\n" % (time.time(), client, number, port)).encode("ascii"))


class Count:
    """What the root server knows of one client."""

    def __init__(self):
        self.highest = 0
        self.missing = set()
        self.last = None
        self.longest_silence = 0.0
        self.port = None

    def add(self, when, number, port):
        # A number may come twice: the agent did not hear the first 200 and sent the report again.
        if number > self.highest:
            self.missing.update(range(self.highest + 1, number))
            self.highest = number
            self.port = port
        else:
            self.missing.discard(number)
        if self.last is not None:
            self.longest_silence = max(self.longest_silence, when - self.last)
        self.last = when

    @property
    def accepted(self):
        return self.highest - len(self.missing)

    @property
    def lost(self):
        """Agents deliver in order, so a number missing below the highest accepted one was given up."""
        return len(self.missing)


class Figures:
    """What the root server knows of its clients; `clients` maps a name to its Count."""

    def __init__(self):
        self.clients = {}

    def accept(self, when, client, number, port):
        self.clients.setdefault(client, Count()).add(when, number, port)

    def agents(self, names, now=None):
        """The figures for the agents that ought to report, those that never did among them."""
        now = time.time() if now is None else now
        figures = {}
        for name in names:
            count = self.clients.get(name) or Count()
            figures[name] = {
                "accepted": count.accepted,
                "lost": count.lost,
                "longest_silence": round(count.longest_silence, 3),
                "last_seen_ago": None if count.last is None else round(max(0.0, now - count.last), 3),
                "port": count.port,
            }
        return figures


class Tally(Figures):
    """Reads the ledger, also while it grows."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self._offset = 0

    def _bytes_from(self, offset):
        try:
            with open(self.path, "rb") as stream:
                stream.seek(offset)
                return stream.read()
        except FileNotFoundError:
            return b""

    def read(self):
        data = self._bytes_from(self._offset)
        whole = data.rfind(b"\n") + 1    # the last line may still be on its way
        self._offset += whole
        for line in data[:whole].decode("ascii").splitlines():
            when, client, number, port = line.split()
            self.accept(float(when), client, int(number), int(port))
        return self
