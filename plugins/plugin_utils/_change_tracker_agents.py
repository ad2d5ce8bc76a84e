# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agents of a Change Tracker estate have said of their hub and its port, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Found, HostVars, Result
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import answer_of
from ansible_collections.portshift.agents.plugins.plugin_utils._said import Said


def _row(component: str, host: str, found: Result) -> str:
    if not found.get("agent"):
        return "%-6s  %-16s  no agent on this host" % (component, host)
    move = "%s -> %s" % (found["url"], found["new_url"]) if found.get("edits") else "%s  nothing to change" % found["url"]
    how = ["%s%s" % (found.get("service"), "" if found.get("service_active") is not False else ", which does not run"),
           "thumbprint compared" if found.get("thumbprint") else "no thumbprint to compare"]
    if found.get("through_proxy"):
        how.append("through an HTTP proxy")
    return "%-6s  %-16s  %s  (%s)" % (component, host, move, "; ".join(how))


def grouped(by_value: Mapping[Any, list[str]], what: str) -> str:
    return "; ".join("%s: %s %s" % (", ".join(hosts), what, value) for value, hosts in sorted(by_value.items(), key=str))


class Agents:
    """What the hosts of a run said, put together."""

    def __init__(self, hostvars: HostVars, estate: Any, assessment: str) -> None:
        self.rows: list[str] = []
        self.notes = Said()
        self.pending: list[str] = []
        self.without: list[str] = []
        self.leaving: dict[int, list[str]] = {}
        self.left: dict[int, list[str]] = {}
        self.hubs: dict[str, list[str]] = {}
        for host in estate["order"]:
            component = estate["components"][host][0]
            reason, found = answer_of(hostvars, host, assessment)
            if reason:
                self.rows.append("%-6s  %-16s  PROBLEM  %s" % (component, host, reason))
                continue
            self.rows.append(_row(component, host, found))
            self.notes.add(host, found.get("notes"))
            if not found.get("agent"):
                self.without.append(host)
                continue
            self.hubs.setdefault(found["host"], []).append(host)
            if found.get("edits"):
                self.pending.append(host)
                self.leaving.setdefault(found["port"], []).append(host)
            elif found.get("old_port"):
                self.left.setdefault(found["old_port"], []).append(host)

    @property
    def old_port(self) -> int | None:
        """The one port that the agents to be moved leave; where none is to move, the one that they have left."""
        ports = self.leaving or self.left
        return next(iter(ports)) if len(ports) == 1 else None

    def problems(self) -> list[str]:
        if len(self.leaving) < 2:
            return []
        return ["the agents are on different ports (%s); they move from one port, on which their hub listens, so these are the "
                "agents of several hubs, or some of them were moved before: take out those that do not belong, or mend them "
                "first" % grouped(self.leaving, "on")]


def port_left(found: Found, hostvars: HostVars, assessment: str) -> int:
    """The port on which a hub has been listening for its agents; 0 where that can't be told, which the plan says then."""
    return Agents(hostvars, found, assessment).old_port or 0
