# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gate between two steps: the hosts expected against the hosts that gave evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Counted, GateResult, HostVars, Missing
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import without_evidence
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import share

LONG = 240


def _shown(words: str) -> str:
    return words if len(words) <= LONG else words[:LONG] + "..."


def _told(missing: list[Missing], aside: dict[str, str]) -> str:
    """The hosts without evidence, those with the same reason together; long reasons are whole in the result's list.

    `aside`: {host: words that its reason ends with}.  They often say what is to be done: a long reason does not cut them off.
    """
    by_reason: dict[str, list[str]] = {}
    for entry in missing:
        words = aside.get(entry["host"], "")
        reason = _shown(entry["reason"][:len(entry["reason"]) - len(words)]) + _shown(words)
        by_reason.setdefault(reason, []).append(entry["host"])
    return "; ".join("%s (%s)" % (", ".join(hosts), reason) for reason, hosts in by_reason.items())


def judged(hostvars: HostVars, hosts: Iterable[str], evidence: str, port: int | None = None, max_missing: object = 0,
           of: int | None = None, phase: str = "", check_mode: bool | Callable[[str], bool] = False,
           beside: Callable[[str], str] = lambda host: "", counted: Counted | None = None,
           name: str = "max_missing") -> GateResult:
    """The result of a gate.  `beside`: (host that is missing) -> words that go with its reason.  `check_mode`: true, or what says
    so of a host.
    `counted`: what was counted before, over other hosts than `hosts`.

    `name`: of the option that max_missing comes from.

    EngineError when max_missing is no number of hosts.
    """
    hosts = list(dict.fromkeys(hosts))
    expected = len(hosts) + (counted["expected"] if counted else 0)
    allowed = share(max_missing, of or expected, name)
    predicts = check_mode if callable(check_mode) else lambda host: bool(check_mode)
    reasons = {host: reason for host in hosts
               if (reason := without_evidence(hostvars, host, evidence, port, predicts(host)))}
    aside = {host: beside(host) for host in reasons}
    missing = list(counted["missing"]) if counted else []
    missing += [Missing(host=host, reason=reason + aside[host]) for host, reason in reasons.items()]
    where = "gate after %s" % phase if phase else "gate"
    result = GateResult(changed=False, expected=expected, proved=expected - len(missing), allowed=allowed, missing=missing,
                        msg="%s: %d of %d hosts gave evidence" % (where, expected - len(missing), expected))
    if len(missing) > allowed:
        result["failed"] = True
        result["msg"] = ("%s: closed. %d of %d hosts gave no evidence (allowed: %d): %s. Mend them and run the same command "
                         "again; it goes on from what is there." % (
                             where, len(missing), expected, allowed, _told(missing, aside)))
    return result
