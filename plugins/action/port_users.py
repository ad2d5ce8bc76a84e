# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fails where a port that is to be closed is still used; documented with the module of the same name."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import HostVars, Result
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import without_evidence
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import HostVariables
from ansible_collections.portshift.agents.plugins.plugin_utils._port_users import (
    Directory, Estate, PortUser, parse_ignored, parse_quiet)

# How many users of one port a sentence names; the result has them all.
NAMED = 20


def _told(users: Iterable[PortUser]) -> str:
    """Such as: port 52311 of relay1 by client7 (10.0.3.7, 12 s ago)."""
    by_place: dict[tuple[str, int], list[str]] = {}
    for user in users:
        by_place.setdefault((user.host, user.port), []).append("%s%s, %d s ago%s" % (
            "%s (" % user.name if user.name else "", user.address, user.seconds_ago, ")" if user.name else ""))
    return "; ".join("port %d of %s by %s%s" % (
        port, host, ", ".join(several[:NAMED]), " and %d more" % (len(several) - NAMED) if len(several) > NAMED else "")
        for (host, port), several in by_place.items())


class ActionModule(ActionBase):

    _requires_connection = False

    def _estate(self, hostvars: HostVars, options: dict[str, Any]) -> tuple[Estate, list[str]]:
        """(the Estate, sentences on hosts whose bridge could not be looked at)."""
        looks: dict[str, dict[str, Any]] = {}
        silent: list[str] = []
        for host in options["hosts"]:
            look = HostVariables(hostvars, host).get(options["found"])
            if isinstance(look, dict) and "users" in look:
                looks[host] = look
            elif isinstance(look, dict) and look.get("skipped"):
                continue
            elif not without_evidence(hostvars, host, options["evidence"]):
                # Of the others the gate before this one has known.
                silent.append("%s: %s" % (host, isinstance(look, dict) and look.get("msg") or "gave no answer"))
        addresses: dict[str, list[str]] = {}
        moves: dict[str, tuple[float, float]] = {}
        own: dict[str, list[str]] = {}
        # Reading the variables of every host takes its time, and mostly there is no user to be named.
        used = any(look["users"] for look in looks.values())
        for host in (options["members"] or options["hosts"]) if used else ():
            known = HostVariables(hostvars, host)
            told = [known.get(name) for name in ("%s_address" % options["product"], "ansible_host")]
            addresses[host] = [str(text) for text in told if text] or [host]
            proof = known.get(options["evidence"])
            if isinstance(proof, dict) and proof.get("moved_at") is not None:
                moves[host] = (proof["moved_at"], proof["looked_at"])
                for address in proof.get("addresses") or ():
                    own.setdefault(address, []).append(host)
        # An agent may speak from another address than it is reached at. What several hosts have, such as docker's, names none.
        for address, hosts in own.items():
            if len(hosts) == 1:
                addresses[hosts[0]].append(address)
        now = time.time()
        since = now if options["since"] is None else options["since"]
        return Estate(looks, moves, Directory(addresses), min(since, now), now), silent

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            product=dict(type="str", required=True), hosts=dict(type="list", elements="str", required=True),
            members=dict(type="list", elements="str"), found=dict(type="str", required=True),
            evidence=dict(type="str", required=True), staying=dict(type="list", elements="int", default=[]),
            ignore=dict(type="raw", default=[]), quiet_seconds=dict(type="raw", default=3600), since=dict(type="float")))
        product = options["product"]
        ignoring, quiet = "%s_close_ignore_users" % product, "%s_close_quiet_seconds" % product
        try:
            ignored, seconds = parse_ignored(options["ignore"], ignoring), parse_quiet(options["quiet_seconds"], quiet)
            estate, silent = self._estate(task_vars["hostvars"], options)
            users = estate.users(options["staying"], ignored, seconds)
        except EngineError as err:
            return dict(result, failed=True, msg="Nothing was closed. %s." % err)
        result.update(changed=False, users=[user._asdict() for user in users], notes=estate.notes(seconds) if seconds else [],
                      msg="no port that is to be closed is used")
        if silent:
            result.update(failed=True, msg="Nothing was closed. Who still uses the old port could not be read: %s" % (
                "; ".join(silent)))
        elif users:
            result.update(failed=True, msg=(
                "Nothing was closed. An old port is still used, and its users would be cut off: %s. Restart the agents there and "
                "see that their files name the new port, then run the same command again: a use counts for %d s (%s), or until "
                "the host itself has moved. Let pass what is no agent, such as a scanner or the monitoring, by its address: "
                "-e '{\"%s\": [\"%s\"]}'" % (_told(users), seconds, quiet, ignoring, users[0].address)))
        return result
