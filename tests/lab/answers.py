# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands of a lab have in common: a table, a wait, a verdict."""

import json
import sys
import time

from .processes import Failed


def table(rows):
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def wait_until_none(behind, seconds, what):
    """Until behind() -> [sentence] is empty; `what` is not true as long as it isn't."""
    end = time.monotonic() + seconds
    while True:
        left = behind()
        if not left:
            return
        if time.monotonic() > end:
            raise Failed("After %g seconds %s: %s." % (seconds, what, "; ".join(left[:10])))
        time.sleep(0.3)


def pronounce(verdict, as_json, show):
    """Prints a verdict, by show() where it is not to be JSON -> exit code"""
    if as_json:
        print(json.dumps(verdict, indent=1))
    else:
        show()
    if verdict["objections"]:
        sys.stderr.write("%s.\n" % "; ".join(verdict["objections"]))
    return 1 if verdict["objections"] else 0
