# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The estate's plan out of what each host said; documented with the module of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Found, HostVars, Result
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import answer_of
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import HostVariables
from ansible_collections.portshift.agents.plugins.plugin_utils._said import Said

VENDOR = ("note: HCL fixes the port at installation and supports no edit of an installed masthead. The clean way is a masthead "
          "that BESAdmin issued for the new port, given as bigfix_masthead_src; only plain mastheads are edited in place.")


def _files(assessment: Result) -> str:
    edits = assessment.get("edits") or []
    return ", ".join(edit["path"] for edit in edits) if edits else "nothing to change"


def _row(phase: str, host: str, assessment: Result) -> str:
    return "phase %s  %-16s  %s -> %s  %s" % (
        phase, host, assessment.get("old_port") or "done", assessment["port"], _files(assessment))


def names_of(hostvars: HostVars, host: str) -> set[str]:
    """The names and addresses by which the inventory knows a host."""
    known = HostVariables(hostvars, host)
    return {str(name).lower() for name in [host, known.get("bigfix_address"), known.get("ansible_host")] if name}


def other_relays(hostvars: HostVars, topology: Found, relays: Mapping[str, str]) -> list[str]:
    """Sentences on hosts whose own settings name another relay than the inventory does.  `relays`: host -> what they name."""
    names: dict[str, str] = {}
    known: dict[str, set[str]] = {}
    strange: dict[tuple[str, str | None, str], list[str]] = {}
    for host in dict.fromkeys([topology["server"], *topology["parents"].values()]):
        known[host] = names_of(hostvars, host)
        for name in known[host]:
            names.setdefault(name, host)
    for host, relay in relays.items():
        parent = topology["parents"].get(host)
        # A relay by a name that the inventory does not have can't be told from the one that it has.
        found = names.get(relay.lower())
        if parent and found != parent and relay.lower() not in known[parent]:
            strange.setdefault((relay, found, parent), []).append(host)
    return ["%s: the agent's own settings name %s as its relay (__RelayServer1)%s, and the inventory %s (bigfix_parent): the "
            "path is proved to that one; mend the inventory where the agents are right" % (
                ", ".join(hosts), relay, ", which is %s" % found if found and found != relay else
                "" if found else ", which is none of the inventory's relays by name or address", parent)
            for (relay, found, parent), hosts in strange.items()]


class ActionModule(ActionBase):

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            topology=dict(type="dict", required=True), assessment=dict(type="str", required=True)))
        hostvars, port = task_vars["hostvars"], options["topology"]["port"]
        rows: list[str] = []
        pending: list[str] = []
        notes, missing = Said(), Said()
        ports: dict[int, list[str]] = {}
        relays: dict[str, str] = {}
        recorded, server = False, None
        for phase, steps in sorted(options["topology"]["phases"].items()):
            for host in [host for step in steps for host in step["hosts"]]:
                reason, found = answer_of(hostvars, host, options["assessment"])
                if reason:
                    rows.append("phase %s  %-16s  PROBLEM  %s" % (phase, host, reason))
                    continue
                rows.append(_row(phase, host, dict(found, port=port)))
                notes.add(host, found.get("notes"))
                if found.get("relay"):
                    relays[host] = found["relay"]
                server = server or found.get("masthead_host")
                if found.get("old_port") is not None:
                    ports.setdefault(found["old_port"], []).append(host)
                if found.get("edits"):
                    missing.add(host, (found.get("host_port") or {}).get("missing"))
                    pending.append(host)
                recorded = recorded or bool(found.get("record") and found["record"]["new_port"] == port)
        problems = []
        if len(ports) > 1:
            problems.append("the hosts are on different ports: %s; a host with another port than its parent is cut off "
                            "already, mend it first" % "; ".join(
                                "%s on %d" % (", ".join(hosts), old) for old, hosts in sorted(ports.items())))
        if rows and not ports and not recorded and not any("PROBLEM" in row for row in rows):
            problems.append("port %d is the one that this deployment uses already, and no host has a record of a move to it: "
                            "there is nothing to move" % port)
        report = ["Moving %s to port %d: %d of %d hosts have something to change." % (
            "from port %s" % ", ".join(map(str, sorted(ports))) if ports else "the deployment", port, len(pending), len(rows))]
        report += rows + missing.openings()
        report += ["note: " + note for note in [*notes.notes(), *other_relays(hostvars, options["topology"], relays)]]
        report += ["PROBLEM: " + problem for problem in problems]
        if pending:
            report.append(VENDOR)
        return dict(result, changed=False, report=report, pending=pending, problems=problems, masthead_host=server)
