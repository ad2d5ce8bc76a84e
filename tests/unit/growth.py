# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether something takes as long as it has to read, and not the square of that: by comparison, since machines differ."""

import time

SHARE = 8
# Below a fifth of a second nothing can be told.
LEAST = 0.2


def seconds(function, *arguments):
    """CPU seconds of this process."""
    began = time.process_time()
    function(*arguments)
    return time.process_time() - began


def is_a_line(eighth, whole):
    """Whether eight times as much took about eight times as long, where a square takes 64 times."""
    return whole < max(LEAST, 3 * SHARE * eighth)
