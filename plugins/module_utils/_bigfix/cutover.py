# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the move of a host has to know of BigFix."""

import base64

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import edit as bigfix_edit
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.conflicts import conflicts, neighbour_ports
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.edit import (
    CredentialsEdit, MastheadEdit, SettingsEdit, parse_masthead, undone)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.evidence import PROBE_TIMEOUT, BigFixEvidence, asked_within
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.host import HOST_SPEC, BigFixHost
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead_page import await_masthead
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.proof_options import PROOF_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._bridge.options import BRIDGE_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKinds
from ansible_collections.portshift.agents.plugins.module_utils._core.services import SERVICE_TIMEOUT
from ansible_collections.portshift.agents.plugins.module_utils._move.transaction import MovedProduct, MoveError
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST

# Options of the module.
CUTOVER_SPEC = dict(
    HOST_SPEC, record=dict(type="path", required=True),
    state=dict(type="str", choices=["moved", "restored"], default="moved"),
    masthead_src=dict(type="path"), masthead_content=dict(type="str"),
    allow_invalid_signature=dict(type="bool", default=False),
    services=dict(type="list", elements="str", required=True),
    service_command=dict(type="list", elements="str", default=[]), executables=dict(type="dict", default={}),
    service_timeout=dict(type="float", default=SERVICE_TIMEOUT), phase=dict(type="str"),
    force=dict(type="bool", default=False), unfinished_only=dict(type="bool", default=False),
    reserve_port=dict(type="bool", default=True), bridge=dict(type="dict", options=BRIDGE_SPEC), proof=PROOF_SPEC)
# Options with the paths of the files that are edited.
FILES = ("masthead_paths", "settings_paths", "clientsettings_paths", "credentials_paths")


class BigFixMove(MovedProduct):

    kinds = FileKinds(bigfix_edit)

    def __init__(self, params, services, host=THIS_HOST):
        self.params, self.services, self.host, self.port = params, services, host, params["port"]
        self.paths = [path for option in FILES for path in params[option]]
        content = params["masthead_content"]
        self.issued = content and (params["masthead_src"], base64.b64decode(content))

    def _plan(self):
        host = BigFixHost(self.params, self.host)
        return host, host.plan(self.issued and parse_masthead(*self.issued), self.params["allow_invalid_signature"])

    def edits(self):
        host, plan = self._plan()
        _abort_if(plan.problems)
        return host.old_port, [self._edit(step, plan) for step in plan.edits], plan.notes

    def _edit(self, step, plan):
        """The edit that one step of the plan asks for."""
        if step["kind"] == "masthead":
            return MastheadEdit(step["path"], plan.new_port, step["previous_port"], issued=self.issued,
                                allow_invalid_signature=self.params["allow_invalid_signature"], host=self.host)
        if step["kind"] == "credentials":
            return CredentialsEdit(step["path"], plan.old_port, plan.new_port, host=self.host)
        return SettingsEdit(step["path"], step["settings"], (plan.old_port, plan.new_port) if step["urls"] else None,
                            flat=step["format"] == "clientsettings", host=self.host)

    def undo(self, old_port, new_port):
        return undone(old_port, new_port, self.host)

    @property
    def _proof(self):
        return self.params["proof"] or {}

    def check_again(self):
        """Hours may have passed since the plan, such as before a maintenance window."""
        proof = self._proof
        if not proof:
            return
        host, plan = self._plan()
        neighbours, address = neighbour_ports(host), proof["bind_address"] or None
        if host.component != "client":
            listening = self.host.listeners(neighbours | {host.port, host.old_port}, address)
            _abort_if(conflicts(host, plan, listening or [], neighbours, address))
        if proof["parent"]:
            # By now the parent has to have moved: its bridge alone would let this host move and fail its proof.
            found = await_masthead(proof["parent"], self.port, proof["tls"], PROBE_TIMEOUT, proof["parent_wait"], self.host)
            _abort_if([] if found["reachable"] else ["its parent does not answer: %s" % found["error"]])

    def evidence(self):
        return BigFixEvidence(asked_within(self.params), self.services, self.host) if self._proof else None

    def still_away(self, old_port):
        proof = self._proof
        if not proof or not proof["address"] or old_port is None or self.params["component"] == "client":
            return None
        found = await_masthead(proof["address"], old_port, proof["tls"], PROBE_TIMEOUT, proof["parent_wait"], self.host)
        return None if found["reachable"] else "it does not answer on the old port: %s" % found["error"]


def _abort_if(problems):
    if problems:
        raise MoveError("nothing was changed: %s" % "; ".join(problems))
