# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which connections of Change Tracker get through; documented with the module of the same name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Opening, Result, Variables
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import HostVariables

HEADS = ("from", "to", "port", "protocol", "service", "state")
NO_ANSWER = "not known: the source gave no answer (unreachable, or failed before it could try)"
NOT_LOOKED_AT = "not looked at (change_tracker_hub_firewall: none)"

# Its rules can be asked for by name only.
WINDOWS = "windows"
OTHER_RULES = ("not known: the rule of open_change_tracker_ports.yml is not there, and whether another one admits it was not "
               "looked at")


def _named(name: str, address: str | None) -> str:
    return name if address in (None, name) else "%s (%s)" % (name, address)


class _Flow:
    """One line of the table.  `reason`: why it is no open one; `counts`: whether that speaks against it."""

    def __init__(self, source: str, flow: Variables, answer: Variables | None = None, reason: str | None = None,
                 counts: bool = True) -> None:
        answer = answer or {}
        self.source, self.source_address = source, answer.get("source")
        self.destination, self.destination_address = flow["host"], answer.get("address")
        self.port, self.protocol, self.service = flow["port"], flow["protocol"], flow["service"]
        self.reason, self.counts = answer.get("reason") if reason is None else reason, counts

    @property
    def shut(self) -> bool:
        return bool(self.reason) and self.counts

    def cells(self) -> tuple[str, ...]:
        state = ("SHUT: " if self.counts else "") + self.reason if self.reason else "open"
        return (_named(self.source, self.source_address), _named(self.destination, self.destination_address), str(self.port),
                self.protocol, self.service, state)

    def described(self) -> dict[str, Any]:
        way = "%s -> %s port %s %s" % (_named(self.source, self.source_address),
                                       _named(self.destination, self.destination_address), self.port, self.protocol)
        names = ("source", "source_address", "destination", "destination_address", "port", "protocol", "service", "reason")
        return dict({name: getattr(self, name) for name in names}, error="%s: %s" % (way, self.reason))


def _of_host(host: str, variables: HostVariables, flows: str, answers: str) -> Iterator[_Flow]:
    """The lines of one host, in the order in which it was told to try them."""
    told = variables.get(flows)
    if told is None:
        yield _Flow(host, dict(host="whom it has to reach", port="-", protocol="-", service="-"), reason=NO_ANSWER)
        return
    results = iter((variables.get(answers) or {}).get("results") or [])
    for flow in told:
        if flow.get("untried"):
            yield _Flow(host, flow, reason="not tried: " + flow["untried"], counts=False)
            continue
        answer = next(results, None)
        yield _Flow(host, flow, answer, None if answer else NO_ANSWER)


def _inbound(hub: str, variables: HostVariables, name: str, openings: Sequence[Opening]) -> Iterator[_Flow]:
    """What the hub's own firewall says to the ports that it has to admit."""
    found = variables.get(name)
    for opening in openings:
        sources = ", ".join(opening["sources"]) or "any address"
        flow = dict(host=hub, port=opening["port"], protocol=opening["protocol"], service="https")
        if found and found.get("skipped"):
            yield _Flow(sources, flow, reason=NOT_LOOKED_AT, counts=False)
            continue
        # The task is told not to fail, so that it does not say whether it did.
        if not found or "backend" not in found:
            yield _Flow(sources, flow, reason=(found or {}).get("msg") or NO_ANSWER)
            continue
        lacking = any(added["port"] == opening["port"] for added in found.get("added") or [])
        if lacking and found["backend"] == WINDOWS:
            yield _Flow(sources, flow, reason=OTHER_RULES, counts=False)
            continue
        yield _Flow(sources, flow, reason="the hub's own firewall (%s) does not admit it" % found["backend"] if lacking else None)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


class ActionModule(ActionBase):

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            estate=dict(type="dict", required=True), flows=dict(type="str", required=True),
            answers=dict(type="str", required=True), inbound=dict(type="str")))
        hostvars, estate = task_vars["hostvars"], options["estate"]
        lines: list[_Flow] = []
        warnings: dict[str, str] = {}
        if options["inbound"]:
            for hub in estate["hub_hosts"]:
                lines += _inbound(hub, HostVariables(hostvars, hub), options["inbound"], estate["openings"].get(hub, []))
        for host in estate["order"]:
            known = HostVariables(hostvars, host)
            lines += _of_host(host, known, options["flows"], options["answers"])
            warnings.update({flow["warning"]: flow["service"] for flow in known.get(options["flows"]) or []
                             if flow.get("warning")})
        shut = [line.described() for line in lines if line.shut]
        report = _table([HEADS, *(line.cells() for line in lines)]) + ["warning: " + warning for warning in warnings]
        if not estate["hub_managed"]:
            report.append("note: the firewall of the hub's own host is left alone (change_tracker_hub_server: none)")
        tried = sum(line.counts for line in lines)
        report.append("%d of %d are open." % (tried - len(shut), tried))
        return dict(result, changed=False, report=report, shut=shut, tried=tried)
