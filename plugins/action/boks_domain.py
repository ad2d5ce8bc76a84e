# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of a BoKS domain that need no host, and the order of its migration; documented with the module of the same name."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._boks.domain import parse_base
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._boks_domain import Domain
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import HostVars, Result, StepFacts
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import HostVariables
from ansible_collections.portshift.agents.plugins.plugin_utils._port_users import parse_ignored, parse_quiet
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import PHASES, by_phase, parse_phases
from ansible_collections.portshift.agents.plugins.plugin_utils._window import parse_window


def address_of(hostvars: HostVars, host: str) -> str:
    """Where others reach the host, as the role's defaults have it."""
    known = HostVariables(hostvars, host)
    address: str = known.get("boks_address") or known.get("ansible_host") or host
    return address


class ActionModule(ActionBase):

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            base_port=dict(type="raw"), base_port_required=dict(type="bool", default=True), window=dict(type="str"),
            phases=dict(type="raw", default=list(PHASES)),
            bridge=dict(type="bool", default=True), forks=dict(type="int"), hosts=dict(type="list", elements="str"),
            agent_waves=dict(type="raw", default=["100%"]), restrict_sources=dict(type="bool", default=False),
            allowed_sources=dict(type="list", elements="str", default=[]),
            close_ignore_users=dict(type="raw", default=[]), close_quiet_seconds=dict(type="raw", default=3600)))
        problems: list[str] = []
        steps: list[StepFacts] = []
        base = None
        if options["base_port"] not in (None, ""):
            try:
                base = parse_base(options["base_port"], "boks_base_port")
            except EngineError as err:
                problems.append(str(err))
        elif options["base_port_required"]:
            problems.append("boks_base_port is not set; say which base port to move to, such as -e boks_base_port=6530")
        domain = Domain(task_vars["groups"])
        problems += domain.problems
        if not options["bridge"] and len(domain.roles) > 1:
            problems.append("boks_bridge is false: a host that has moved and one that has not would not find each other, and a "
                            "Server Agent that reaches no Master or Replica refuses logins; leave the bridge on")
        for check, name in ((parse_ignored, "ignore_users"), (parse_quiet, "quiet_seconds")):
            try:
                check(options["close_" + name], "boks_close_" + name)
            except EngineError as err:
                problems.append(str(err))
        try:
            phases = parse_phases(options["phases"], "boks_phases")
            if options["window"]:
                parse_window(options["window"], "boks_window")
            if not domain.problems:
                steps = domain.steps(options["agent_waves"], options["hosts"], options["forks"])
        except EngineError as err:
            problems.append(str(err))
        if problems:
            return dict(result, failed=True, problems=problems, msg="Nothing was changed. %s." % ". ".join(
                problem.rstrip(".") for problem in problems))
        hostvars = task_vars["hostvars"]
        addresses = {host: address_of(hostvars, host) for host in domain.roles}
        openings = {} if base is None else domain.openings(
            base, addresses if options["restrict_sources"] else None, options["allowed_sources"])
        order = [host for step in steps for host in step["hosts"]]
        agents = [host for host in order if domain.roles[host] == "agent"]
        return dict(result, changed=False, begun=time.time(), base_port=base, master=domain.master, roles=domain.roles,
                    steps=steps, phases=by_phase(steps, phases), order=order, agents=agents, openings=openings,
                    paths=domain.paths(addresses, set(order)), outside=domain.outside(set(order)))
