# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of a Change Tracker migration that need no host, and its order; documented with the module of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.plugin_utils._change_tracker_estate import (
    GROUPS, HUB, IIS, MONITORED, NGINX, NONE, Estate)
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import (
    Flow, Groups, HostVars, Result, StepFacts)
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import HostVariables, is_windows
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import PHASES, by_phase, parse_phases
from ansible_collections.portshift.agents.plugins.plugin_utils._window import parse_window

HUB_SERVERS = (NGINX, IIS, NONE)


def address_of(known: HostVariables, host: str) -> str:
    """From where others see the host come."""
    address: str = known.get("change_tracker_address") or known.get("ansible_host") or host
    return address


def server_of_hub(told: str | None, hubs: list[HostVariables]) -> str | None:
    """What answers on the hub's port: as the run or the hub's own variables have it, or else IIS on a Windows host."""
    said = [hub.get("change_tracker_hub_server") for hub in hubs if "change_tracker_hub_server" in hub]
    if told is not None or said:
        return told if told is not None else said[0]
    return IIS if any(map(is_windows, hubs)) else NGINX


def server_problems(estate: Estate, known: Mapping[str, HostVariables]) -> list[str]:
    if estate.hub and estate.hub_server == NGINX and is_windows(known[estate.hub]):
        return ["%s, the hub, is a Windows host: leave change_tracker_hub_server out, or set it to iis" % estate.hub]
    return []


class ActionModule(ActionBase):

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            port=dict(type="raw"), port_required=dict(type="bool", default=True), window=dict(type="str"),
            phases=dict(type="raw", default=list(PHASES)),
            hub_server=dict(type="str"), forks=dict(type="int"), hosts=dict(type="list", elements="str"),
            agent_waves=dict(type="raw", default=["100%"]), restrict_sources=dict(type="bool", default=False),
            allowed_sources=dict(type="list", elements="str", default=[]), telnet=dict(type="bool", default=False)))
        problems: list[str] = []
        steps: list[StepFacts] = []
        monitored: dict[str, list[Flow]] = {}
        port = None
        if options["port"] not in (None, ""):
            try:
                port = parse_port(options["port"], "change_tracker_port")
            except EngineError as err:
                problems.append(str(err))
        elif options["port_required"]:
            problems.append("change_tracker_port is not set; say which port to move to, such as -e change_tracker_port=8443")
        hostvars: HostVars = task_vars["hostvars"]
        groups: Groups = task_vars["groups"]
        known = {host: HostVariables(hostvars, host) for name in GROUPS for host in groups.get(name, [])}
        server = server_of_hub(options["hub_server"], [known[host] for host in groups.get(HUB, [])])
        if server not in HUB_SERVERS:
            problems.append("change_tracker_hub_server is %r; give nginx, iis, or none where its administrator makes the hub "
                            "answer on both ports" % server)
        estate = Estate(groups, server)
        problems += estate.problems + server_problems(estate, known)
        try:
            phases = parse_phases(options["phases"], "change_tracker_phases")
            if options["window"]:
                parse_window(options["window"], "change_tracker_window")
            if not estate.problems:
                steps = estate.steps(options["agent_waves"], options["hosts"], options["forks"])
                if not steps:
                    problems.append("no host of this run has an agent; look at --limit")
            monitored = estate.monitored(
                {host: known[host].get(MONITORED) for host in estate.components if MONITORED in known[host]}, options["telnet"])
        except EngineError as err:
            problems.append(str(err))
        if problems:
            return dict(result, failed=True, problems=problems, msg="Nothing was changed. %s." % ". ".join(
                problem.rstrip(".") for problem in problems))
        addresses = {host: address_of(known[host], host) for host in [*estate.components, estate.hub] if host}
        openings = {} if port is None else estate.openings(
            port, addresses if options["restrict_sources"] else None, options["allowed_sources"])
        order = [host for step in steps for host in step["hosts"]]
        hub_address = estate.hub and (
            known[estate.hub].get("change_tracker_hub_address") or address_of(known[estate.hub], estate.hub))
        asked = options["hosts"] is None or estate.hub in options["hosts"]
        hub_hosts = [estate.hub] if estate.hub_managed and asked else []
        present = {*order, *hub_hosts}
        concerned = [*estate.components, *([estate.hub] if estate.hub_managed and estate.hub not in estate.components else [])]
        return dict(result, changed=False, port=port, hub=estate.hub, hub_server=server, hub_managed=estate.hub_managed,
                    hub_hosts=hub_hosts, hub_address=hub_address, components=estate.components, steps=steps,
                    phases=by_phase(steps, phases), order=order,
                    outside=dict.fromkeys(order, [estate.hub]) if estate.hub_managed and not asked else {},
                    not_asked=[host for host in concerned if host not in present],
                    keeper=estate.keeper, openings=openings, monitored=monitored)
