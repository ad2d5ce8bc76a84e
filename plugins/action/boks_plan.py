# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain's plan out of what each host said; documented with the module of the same name."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import answer_of
from ansible_collections.portshift.agents.plugins.plugin_utils._said import Said


def _row(role: str, host: str, found: Result, base_port: int) -> str:
    shifted = "  BRIDGE_DOMAIN=%d" % found["bridge_domain"] if found.get("bridge_domain") else ""
    return "%-8s  %-16s  %s -> %s  %s%s" % (
        role, host, found["base"], base_port, "boks %s in the services file" % found["new_services_port"] if found.get("edits")
        else "nothing to change", shifted)


class ActionModule(ActionBase):

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            domain=dict(type="dict", required=True), assessment=dict(type="str", required=True)))
        hostvars, domain = task_vars["hostvars"], options["domain"]
        rows: list[str] = []
        notes, missing = Said(), Said()
        pending: list[str] = []
        bases: dict[int, list[str]] = {}
        for host in domain["order"]:
            reason, found = answer_of(hostvars, host, options["assessment"])
            if reason:
                rows.append("%-8s  %-16s  PROBLEM  %s" % (domain["roles"][host], host, reason))
                continue
            rows.append(_row(domain["roles"][host], host, found, domain["base_port"]))
            notes.add(host, found.get("notes"))
            if not found.get("edits"):
                continue
            pending.append(host)
            # One whose daemons use the new base already gets a line that says so, and moves nowhere.
            if found["base"] != domain["base_port"]:
                bases.setdefault(found["base"], []).append(host)
            missing.add(host, (found.get("host_port") or {}).get("missing"))
        problems = []
        if len(bases) > 1:
            told = "; ".join("%s on %d" % (", ".join(hosts), base) for base, hosts in sorted(bases.items()))
            problems.append("the hosts are on different base ports: %s; a domain has one, so these are hosts of several domains, "
                            "or some of them were moved before: take out those that do not belong, or mend them first" % told)
        whence = "from base port %s" % ", ".join(map(str, sorted(bases))) if bases else "the domain"
        report = ["Moving %s to base port %d: %d of %d hosts have something to change." % (
            whence, domain["base_port"], len(pending), len(rows))]
        report += rows + missing.openings()
        report += ["note: " + note for note in notes.notes()] + ["PROBLEM: " + problem for problem in problems]
        return dict(result, changed=False, report=report, pending=pending, problems=problems)
