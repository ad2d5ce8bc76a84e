# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate between two steps; documented with the module of the same name."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import without_evidence
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import share

LONG = 240


def _told(missing):
    """The hosts without evidence, those with the same reason together; long reasons are whole in the result's list."""
    by_reason = {}
    for entry in missing:
        by_reason.setdefault(entry["reason"], []).append(entry["host"])
    return "; ".join("%s (%s)" % (", ".join(hosts), reason if len(reason) <= LONG else reason[:LONG] + "...")
                     for reason, hosts in by_reason.items())


class ActionModule(ActionBase):

    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            hosts=dict(type="list", elements="str", required=True), evidence=dict(type="str", required=True),
            port=dict(type="int"), max_missing=dict(type="raw", default=0), of=dict(type="int"),
            phase=dict(type="str", default="")))
        hosts = list(dict.fromkeys(options["hosts"]))
        try:
            port = None if options["port"] is None else parse_port(options["port"])
            allowed = share(options["max_missing"], options["of"] or len(hosts), "max_missing")
        except EngineError as err:
            return dict(result, failed=True, msg=str(err))
        reasons = {host: without_evidence(task_vars["hostvars"], host, options["evidence"], port, self._task.check_mode)
                   for host in hosts}
        missing = [dict(host=host, reason=reason) for host, reason in reasons.items() if reason]
        where = "gate after %s" % options["phase"] if options["phase"] else "gate"
        result.update(changed=False, expected=len(hosts), proved=len(hosts) - len(missing), allowed=allowed,
                      missing=missing, msg="%s: %d of %d hosts gave evidence" % (where, len(hosts) - len(missing), len(hosts)))
        if len(missing) > allowed:
            result.update(failed=True, msg="%s: closed. %d of %d hosts gave no evidence (allowed: %d): %s. Mend them and run "
                          "the same command again; it goes on from what is there." % (
                              where, len(missing), len(hosts), allowed, _told(missing)))
        return result
