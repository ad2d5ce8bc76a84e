# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether something takes as long as it has to read, and not the square of that: by comparison, since machines differ."""

import gc
import time

SHARE = 8
# What is short is tried more often: a moment in which others take the processor, or its caches, lengthens it many times over.
TRIES, ENOUGH = 5, 0.5
# Below a fifth of a second nothing can be told.
LEAST = 0.2


def seconds(function, *arguments):
    """CPU seconds of this process, the least of some tries: `function` does the same each time."""
    found = []
    collects = gc.isenabled()
    # What the collector has to go through is the whole of the tests' process, whatever is measured.
    gc.disable()
    try:
        while len(found) < TRIES and sum(found) < ENOUGH:
            began = time.process_time()
            function(*arguments)
            found.append(time.process_time() - began)
    finally:
        if collects:
            gc.enable()
    return min(found)


def is_a_line(eighth, whole):
    """Whether eight times as much took about eight times as long, where a square takes 64 times."""
    return whole < max(LEAST, 3 * SHARE * eighth)
