# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which migration goes back, and who has a part in it; documented with the module of the same name."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import MoveRecord, Result
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import is_answer
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import HostVariables

# Seconds by which clocks of two hosts hardly differ, a wrong time zone included.
SURELY_LATER = 24 * 60 * 60


def standing(records: list[MoveRecord]) -> list[MoveRecord]:
    """The records without those of migrations that were taken back and that others have followed.

    A host that was missing since then still has such a record, and the port that it left is where others went later.  A clock
    that is wrong makes a host look like that, and it would be left behind, so what is hardly later doesn't count.
    """
    # Port -> when the last migration that led there, and was not taken back, began.
    led: dict[int | None, float] = {}
    for record in records:
        if record["state"] != "rolled_back":
            led[record["new_port"]] = max(record["started"], led.get(record["new_port"], record["started"]))
    return [record for record in records if record["state"] != "rolled_back"
            or led.get(record["old_port"], record["started"]) <= record["started"] + SURELY_LATER]


def last_of(records: list[MoveRecord]) -> int:
    """The port that the last migration led to.

    The moments at which they began are of different hosts' clocks.  Where one migration left the port that another one led to,
    it came after that, whatever the clocks say; these are asked about migrations of which neither leads to the other, or each
    to the other.
    """
    ways: dict[int | None, set[int]] = {}
    for record in records:
        ways.setdefault(record["new_port"], set())
        ways.setdefault(record["old_port"], set()).add(record["new_port"])

    def onward(port: int | None) -> set[int]:
        """The ports to which migrations led from this one, one after the other."""
        found: set[int] = set()
        left: list[int | None] = [port]
        while left:
            news = ways[left.pop()] - found
            found |= news
            left += news
        return found

    ends = {port for port in ways if all(port in onward(other) for other in onward(port))}
    return max((record for record in records if record["new_port"] in ends), key=lambda record: record["started"])["new_port"]


class ActionModule(ActionBase):

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            hosts=dict(type="list", elements="str", required=True), way_back=dict(type="str", required=True),
            records=dict(type="list", elements="dict", default=[]), port=dict(type="raw"), opened=dict(type="str"),
            force=dict(type="bool", default=False)))
        variables = {host: HostVariables(task_vars["hostvars"], host) for host in options["hosts"]}
        answers = {host: known.get(options["way_back"]) for host, known in variables.items()}
        # A host that gave no answer can't be known to stay.  Force goes over files that have changed, not over silence.
        answers = {host: answer for host, answer in answers.items() if is_answer(answer) and "record" in answer}
        records = sorted([answer["record"] for answer in answers.values() if answer["record"]]
                         + [record for record in options["records"] if record["state"] != "rolled_back"],
                         key=lambda record: record["started"])
        last = last_of(standing(records)) if records else 0
        asked = int(options["port"] or 0)
        candidates = [record for record in records if record["new_port"] == (asked or last)]
        old_port, port = (candidates[-1]["old_port"], candidates[-1]["new_port"]) if candidates else (None, asked)
        named = records + options["records"]
        known = not asked or asked in [record["new_port"] for record in named]
        left = asked in [record["old_port"] for record in named]
        if not known and options["opened"]:
            # Of a port that hosts came from, an earlier migration may have left this.  They know whether it is younger.
            known = any(variables[host].get(options["opened"])
                        and (not left or (answer["record"] or {}).get("old_port") == asked)
                        for host, answer in answers.items())
        if candidates and port != last:
            # Hosts that have moved on keep their older records aside, so the others would go back alone.
            return dict(result, failed=True, msg="Nothing was changed. The last migration was to port %d, so the one to port %d "
                        "can no longer be rolled back. Migrate to the port that you want instead." % (last, port))
        # Hosts that an earlier migration moved, and this one has not reached yet, stay where they are.
        staying = {host for host, answer in answers.items()
                   if options["force"] or (answer["record"] and answer["record"]["new_port"] != port)}
        moved = [host for host, answer in answers.items() if answer["record"] and answer["record"]["new_port"] == port
                 and answer["record"]["state"] != "rolled_back"]
        old_ports = sorted({answers[host]["record"]["old_port"] for host in moved} - {None})
        there = any(record["new_port"] == last and record["state"] != "rolled_back" for record in records)
        return dict(result, changed=False, port=port, old_port=old_port, old_ports=old_ports, known=known, left=left,
                    last=last if there else None, moved=moved,
                    hosts=[host for host in options["hosts"] if host not in staying])
