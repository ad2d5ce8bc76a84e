# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shares of a number of hosts, hosts cut into waves, steps put into phases.  Pure: names in, names out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import StepFacts

PHASES = (1, 2, 3)


def parse_phases(value: object, name: str) -> list[int]:
    """The phases to run, from a list or from text such as C(1,2)."""
    found = re.split(r"[,\s]+", value.strip("[] \n")) if isinstance(value, str) else value if isinstance(value, list) else [value]
    phases = [int(str(item)) for item in found if str(item).isdecimal()]
    if not found or len(phases) != len(found) or set(phases) - set(PHASES):
        raise EngineError("%s is %r; give one or more of the phases 1, 2 and 3" % (name, value))
    return sorted(set(phases))


def by_phase(steps: list[StepFacts], phases: Sequence[int] = PHASES) -> dict[str, list[StepFacts]]:
    """The steps by the number of their phase, as text; empty for a phase that is not among `phases`."""
    return {str(number): [step for step in steps if step["phase"] == number and number in phases] for number in PHASES}


def share(text: object, total: int, name: str) -> int:
    """A number of hosts: a whole number, or a percentage of `total` such as C(5%), rounded down."""
    match = re.fullmatch(r"(\d+)(%?)", str(text).strip())
    if not match or isinstance(text, bool):
        raise EngineError("%s is %r; give a number of hosts or a percentage such as 5%%" % (name, text))
    return total * int(match.group(1)) // 100 if match.group(2) else int(match.group(1))


def wave_sizes(sizes: object, name: str) -> list[object]:
    """The sizes of waves, each a number of hosts or a percentage, from a list or from one alone."""
    wanted = sizes if isinstance(sizes, list) else [sizes]
    if not wanted:
        raise EngineError("%s is empty; give at least one size, such as 100%%" % name)
    # Each is looked at, be it for more hosts than there are.
    for size in wanted:
        share(size, 0, name)
    return wanted


def at_once(hosts: Iterable[str], at_most: int | None = None) -> list[list[str]]:
    """`hosts` that move together, cut where there are more of them than forks."""
    return waves(hosts, "100%", "sizes", at_most)


def titled(title: str, cut: list[list[str]]) -> list[tuple[str, list[str]]]:
    """(title, hosts) of each wave; a title has a number where there are several."""
    if len(cut) == 1:
        return [(title, cut[0])]
    return [("%s, wave %d of %d" % (title, number, len(cut)), hosts) for number, hosts in enumerate(cut, 1)]


def waves(hosts: Iterable[str], sizes: object, name: str, at_most: int | None = None) -> list[list[str]]:
    """`hosts` cut as play keyword serial does: one wave per size, the last size again until no host is left.

    No wave is larger than `at_most`: hosts beyond the number of forks would wait, with their services stopped, for a
    free fork.
    """
    wanted = wave_sizes(sizes, name)
    cut: list[list[str]] = []
    every = rest = list(hosts)
    while rest:
        size = max(1, share(wanted[min(len(cut), len(wanted) - 1)], len(every), name))
        size = min(size, at_most or size)
        cut.append(rest[:size])
        rest = rest[size:]
    return cut
