# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The estate's plan out of what each host said; documented with the module of the same name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.plugin_utils._change_tracker_agents import Agents, grouped
from ansible_collections.portshift.agents.plugins.plugin_utils._change_tracker_estate import IIS, NGINX
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import HostVars, Result
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import answer_of
from ansible_collections.portshift.agents.plugins.plugin_utils._said import Said

BY_HAND = ("what else names the hub's port is changed by hand: bookmarks of console users, clients of its API, load balancers, "
           "the installation of new agents")

# What a server calls what it listens on, where that stands, and how it is taken away by hand.
SERVERS = {
    NGINX: ("nginx", "`listen %s`", "the servers in %s listen on", "take its listen out by hand"),
    IIS: ("IIS", "`%s`", "%s is bound to", "remove its binding in IIS Manager"),
}


class ActionModule(ActionBase):

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            estate=dict(type="dict", required=True), assessment=dict(type="str", required=True), hub_assessment=dict(type="str")))
        hostvars, estate = task_vars["hostvars"], options["estate"]
        agents = Agents(hostvars, estate, options["assessment"])
        whence = "from port %s" % ", ".join(map(str, sorted(agents.leaving))) if agents.leaving else "the agents"
        report = ["Moving %s to port %d: %d of %d agents have something to change." % (
            whence, estate["port"], len(agents.pending), len(agents.rows) - len(agents.without))]
        notes = agents.notes.notes()
        hub: list[str] = []
        opening: list[str] = []
        if not estate["hub_managed"]:
            notes.append("the hub's own listener is left alone (change_tracker_hub_server: none), so its administrator has to "
                         "make the hub answer on port %d, beside the old one and with the same certificate; each agent proves "
                         "that before it moves" % estate["port"])
        elif not estate["hub_hosts"]:
            notes.append("%s: the hub is no part of this run, so what it listens on was not read" % estate["hub"])
        elif options["hub_assessment"]:
            hub, opening, of_hub = _hub(hostvars, estate, options["hub_assessment"], agents.old_port)
            notes += of_hub
        if len(agents.hubs) > 1:
            notes.append("the agents have several names of a hub in their URL (%s); they keep them, and each proves that the "
                         "server of that name answers on the new port" % grouped(agents.hubs, "name"))
        problems = agents.problems()
        report += hub + agents.rows + opening + ["note: " + note for note in [*notes, BY_HAND]]
        report += ["PROBLEM: " + problem for problem in problems]
        return dict(result, changed=False, report=report, pending=agents.pending, old_port=agents.old_port, hubs=agents.hubs,
                    problems=problems)


def _left_open(found: Result, host: str, server: str, kept: Collection[int | None]) -> list[str]:
    """A note on the ports of the hub's servers that are no part of this migration."""
    others = [port for port in (found.get("ports") or {}).get("before") or [] if port not in kept]
    if not others:
        return []
    bound, by_hand = SERVERS[server][2:]
    return ["%s: %s port %s too, which this migration leaves as it is, and close does not end. Where an earlier migration left "
            "it and no client needs it, %s" % (host, bound % found.get("path"), " and port ".join(map(str, others)), by_hand)]


def _hub(hostvars: HostVars, estate: Any, assessment: str,
         old_port: int | None) -> tuple[list[str], list[str], list[str]]:
    """(rows of the hub, what its firewall lacks, notes)."""
    host = estate["hub"]
    reason, found = answer_of(hostvars, host, assessment)
    if reason:
        return ["%-6s  %-16s  PROBLEM  %s" % ("hub", host, reason)], [], []
    listens = found.get("listens") or {}
    name, form = SERVERS[estate["hub_server"]][:2]
    before, after = (" ".join(form % listen for listen in listens.get(key) or []) or "nothing" for key in ("before", "after"))
    rows = ["%-6s  %-16s  %s: %s" % (
        "hub", host, name, before + " -> " + after if before != after else before + ", nothing to change")]
    missing, notes = Said(), Said()
    missing.add(host, (found.get("host_port") or {}).get("missing"))
    notes.add(host, found.get("notes"))
    kept = (estate["port"], old_port or found.get("old_port"))
    return rows, missing.openings(), notes.notes() + _left_open(found, host, estate["hub_server"], kept)
