# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks that need no host, and the order of the migration; documented with the module of the same name."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.ports import parse_bigfix_port, parse_bigfix_target
from ansible_collections.portshift.agents.plugins.plugin_utils._bigfix_topology import Topology
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import HostVars, Result, StepFacts
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import HostVariables
from ansible_collections.portshift.agents.plugins.plugin_utils._bigfix_issued import find_issued, read_issued
from ansible_collections.portshift.agents.plugins.plugin_utils._port_users import parse_ignored, parse_quiet
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import PHASES, by_phase, parse_phases
from ansible_collections.portshift.agents.plugins.plugin_utils._window import parse_window


def address_of(known: HostVariables, host: str) -> str:
    """Where others reach the host, as the roles' defaults have it."""
    address: str = known.get("bigfix_address") or known.get("ansible_host") or host
    return address


class ActionModule(ActionBase):

    _requires_connection = False

    def _check_options(self, options: dict[str, Any], problems: list[str]) -> dict[str, Any]:
        """Values of the options that have one, sentences for those that can't be."""
        checks: dict[str, Callable[[Any], object]] = dict(
            close_ignore_users=lambda value: parse_ignored(value, "bigfix_close_ignore_users"),
            close_quiet_seconds=lambda value: parse_quiet(value, "bigfix_close_quiet_seconds"),
            port=lambda value: parse_bigfix_target(value, "bigfix_port"),
            previous_port=lambda value: parse_bigfix_port(value, "bigfix_previous_port"),
            phases=lambda value: parse_phases(value, "bigfix_phases"),
            window=lambda value: parse_window(value, "bigfix_window"))
        values: dict[str, Any] = {}
        for name, check in checks.items():
            if options[name] in (None, ""):
                continue
            try:
                values[name] = check(options[name])
            except EngineError as err:
                problems.append(str(err))
        if options["port"] in (None, ""):
            if not options["port_required"]:
                return values
            problems.append("bigfix_port is not set; say which port to move to, such as -e bigfix_port=55000")
        elif values.get("port") and values["port"] == values.get("previous_port"):
            problems.append("bigfix_port and bigfix_previous_port are both %d: there is nothing to move" % values["port"])
        return values

    def _check_issued(self, src: str, port: int | None, problems: list[str]) -> None:
        try:
            issued = read_issued(find_issued(self, src))
        # AnsibleError for a file that is not there, EngineError for one that is no masthead.
        except Exception as err:
            problems.append("bigfix_masthead_src: %s" % err)
            return
        if port and issued.ports != [port]:
            problems.append("bigfix_masthead_src: %s is for port %s, not for %d; have BESAdmin issue one for port %d"
                            % (src, ", ".join(map(str, issued.ports)), port, port))

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            port=dict(type="raw"), port_required=dict(type="bool", default=True), previous_port=dict(type="raw"),
            phases=dict(type="raw", default=[1, 2, 3]), masthead_src=dict(type="str"), window=dict(type="str"),
            forks=dict(type="int"), hosts=dict(type="list", elements="str"),
            relay_waves=dict(type="raw", default=["100%"]), client_waves=dict(type="raw", default=["100%"]),
            restrict_sources=dict(type="bool", default=False), allowed_sources=dict(type="list", elements="str", default=[]),
            close_ignore_users=dict(type="raw", default=[]), close_quiet_seconds=dict(type="raw", default=3600)))
        problems: list[str] = []
        steps: list[StepFacts] = []
        values = self._check_options(options, problems)
        if options["masthead_src"]:
            self._check_issued(options["masthead_src"], values.get("port"), problems)
        hostvars: HostVars = task_vars["hostvars"]
        groups = task_vars["groups"]
        members = [host for name in ("bigfix_relays", "bigfix_clients") for host in groups.get(name, [])]
        known = {host: HostVariables(hostvars, host) for host in [*groups.get("bigfix_server", []), *members]}
        topology = Topology(groups, {host: known[host].get("bigfix_parent") for host in members})
        problems += topology.problems
        connects = [host for host in members if boolean(known[host].get("bigfix_parent_connects", False), strict=False)]
        if not topology.problems:
            problems += topology.check_parent_connects(connects)
            try:
                steps = topology.steps(options["relay_waves"], options["client_waves"], options["hosts"],
                                       options["forks"])
            except EngineError as err:
                problems.append(str(err))
        if problems:
            return dict(result, failed=True, problems=problems, msg="Nothing was changed. %s." % ". ".join(
                problem.rstrip(".") for problem in problems))
        addresses = {host: address_of(known[host], host) for host in [topology.server, *members]} if (
            options["restrict_sources"]) else None
        found: Result = dict(openings=topology.openings(addresses, connects, options["allowed_sources"]))
        found.update(port=values.get("port"), server=topology.server, parents=topology.parents, steps=steps,
                     phases=by_phase(steps, values.get("phases", PHASES)),
                     tiers=topology.tiers(), order=[host for step in steps for host in step["hosts"]],
                     components={host: step["component"] for step in steps for host in step["hosts"]})
        return dict(result, changed=False, begun=time.time(), **found)
