# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of docs/windows.md that say what Windows hosts cost, as their WinRM counts it.

Tests compare them with what they have counted; with PORTSHIFT_WRITE_COSTS set they write it there.
"""

import json
import os

from tests.integration.migration_lab import CHECKOUT

PAGE = CHECKOUT / "docs/windows.md"
WRITE = "PORTSHIFT_WRITE_COSTS"

SCRIPT = "ansible.windows.win_powershell"
# What a task costs by its shell, and then by each read.
SHELL, READ = 2, 5


def _reads(call):
    return call.name == SCRIPT and json.loads(call.arguments["parameters"]["Request"])["verb"] == "read"


def requests(tasks):
    """Of each task.  A task that changes nothing looks at its host, and then for proofs until they are there: of those looks
    the first is counted, since how many come after it depends on the machine.
    """
    costs = []
    for task in tasks:
        further = max(0, len(task.calls) - 2) if all(map(_reads, task.calls)) else 0
        assert not further or task.cost == SHELL + READ * len(task.calls)
        costs.append(task.cost - READ * further)
    return costs


def _cells(line):
    return [word.strip() for word in line.strip("|").split("|")]


def _line(cells):
    return "| %s |" % " | ".join(map(str, cells))


def _table(lines, head):
    """(index of the first row, index after the last one, columns) of the table whose first column is called so"""
    [at] = [number for number, line in enumerate(lines) if line.startswith("| %s |" % head)]
    return at + 2, lines.index("", at), _cells(lines[at])[1:]


def documented(head):
    """-> {row: {column: requests}}"""
    lines = PAGE.read_text().splitlines()
    first, after, columns = _table(lines, head)
    return {row: {column: int(cost) for column, cost in zip(columns, costs, strict=True) if cost != "-"}
            for row, *costs in map(_cells, lines[first:after])}


def tell(head, counted):
    """`counted`: {row: {column: requests}}, of some or all rows."""
    if os.environ.get(WRITE):
        lines = PAGE.read_text().splitlines()
        first, after, columns = _table(lines, head)
        rows = {**documented(head), **counted}
        lines[first:after] = [_line([row, *(costs.get(column, "-") for column in columns)]) for row, costs in rows.items()]
        PAGE.write_text("\n".join(lines) + "\n")
    told = documented(head)
    differ = ["%s of %s: counted %s, documented %s" % (column, row, costs.get(column), told.get(row, {}).get(column))
              for row, costs in counted.items() for column in {**costs, **told.get(row, {})}
              if costs.get(column) != told.get(row, {}).get(column)]
    assert not differ, "docs/windows.md is behind (%s); %s=1 writes it anew" % ("; ".join(differ), WRITE)
