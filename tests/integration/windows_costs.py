# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of docs/windows.md that say what Windows hosts cost, as their WinRM counts it.

Tests compare them with what they have counted; with PORTSHIFT_WRITE_COSTS set they write it there.
"""

import os

from tests.integration.migration_lab import CHECKOUT

PAGE = CHECKOUT / "docs/windows.md"
WRITE = "PORTSHIFT_WRITE_COSTS"


def requests(tasks):
    """Of each task."""
    return [task.cost for task in tasks]


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
    assert {row: told.get(row) for row in counted} == counted, "docs/windows.md is behind; %s=1 writes it anew" % WRITE
