# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shares of a number of hosts, and hosts cut into waves.  Pure: names in, names out."""

from __future__ import annotations

import re

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError


def share(text, total, name):
    """A number of hosts: a whole number, or a percentage of `total` such as C(5%), rounded down."""
    match = re.fullmatch(r"(\d+)(%?)", str(text).strip())
    if not match or isinstance(text, bool):
        raise EngineError("%s is %r; give a number of hosts or a percentage such as 5%%" % (name, text))
    return total * int(match.group(1)) // 100 if match.group(2) else int(match.group(1))


def waves(hosts, sizes, name, at_most=None):
    """`hosts` cut as play keyword serial does: one wave per size, the last size again until nobody is left.

    No wave is larger than `at_most`: hosts beyond the number of forks would wait, with their services stopped, for a
    free fork.
    """
    sizes = sizes if isinstance(sizes, list) else [sizes]
    if not sizes:
        raise EngineError("%s is empty; give at least one size, such as 100%%" % name)
    cut, rest = [], list(hosts)
    while rest:
        size = max(1, share(sizes[min(len(cut), len(sizes) - 1)], len(hosts), name))
        size = min(size, at_most or size)
        cut.append(rest[:size])
        rest = rest[size:]
    return cut
