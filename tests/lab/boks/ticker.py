# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tries a login five times a second, the way PAM does, and writes down what became of it: one process a host, for good.

A line of the ledger: `epoch.ms allow SERVER:PORT udp|no-udp`, `epoch.ms refuse WHY`, `epoch.ms own WHY`.  `own` is a
login refused because this host's own BoKS is being restarted (or does not come back).
"""

import os
import time

from .commands import login
from .host import Host

EVERY_SECONDS = 0.2


def main(_arguments):
    host = Host.load()
    ledger = os.open(host.ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    due = time.monotonic()
    while True:
        began = time.time()
        outcome = login(host, "ticker")
        os.write(ledger, ("%.3f %s\n" % (began, outcome)).encode("ascii", "replace"))
        # Not caught up with: a login that took long is one login.
        due = max(due + EVERY_SECONDS, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
