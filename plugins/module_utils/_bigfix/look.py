# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at a BigFix host: where its port is, what would change, who stands in the way, what a host that has moved proves."""

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.conflicts import conflicts, neighbour_ports
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.host import HOST_SPEC, BigFixHost
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead import IssuedFacts
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.ports import parse_bigfix_port
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.proof_options import PROOF_SPEC, SERVICES_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import proof_of_moved
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import handed_out_unreserved
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST

# Options of the module.
LOOK_SPEC = dict(
    HOST_SPEC, masthead_src=dict(type="path"), issued=dict(type="dict"), host_port=dict(type="dict"), proof=PROOF_SPEC,
    allow_invalid_signature=dict(type="bool", default=False), bind_address=dict(type="str"), **SERVICES_SPEC)


def _evidence_of(params, host, plan):
    """The proof of a host that has moved, or None where there is none to be asked for."""
    if not params["proof"] or plan.edits or plan.problems:
        return None

    def judgement():
        # Here, since a host that has not moved is not asked, and each module run compiles anew what it imports.
        from ansible_collections.portshift.agents.plugins.module_utils._bigfix.evidence import BigFixEvidence, asked_within
        return BigFixEvidence(asked_within(params), host=host.managed)
    return proof_of_moved(host.record, host.port, judgement, params["proof"]["timeout"])


def look(params, host_port, host=THIS_HOST):
    """What bigfix_info returns.  `host_port`: plan -> what this host's own firewall lacks, or None."""
    managed, address = host, params["bind_address"]
    parse_bigfix_port(params["port"])
    host = BigFixHost(params, managed)
    plan = host.plan(params["issued"] and IssuedFacts(params["issued"]), params["allow_invalid_signature"])
    neighbours = neighbour_ports(host)
    listening = managed.listeners(neighbours | {host.port, host.old_port}, address)
    moves_others = host.component != "client" and plan.edits
    if moves_others:
        plan.problems += conflicts(host, plan, listening or [], neighbours, address)
        if listening is not None and not any(
                entry["port"] == host.old_port and entry["protocol"] == "tcp" for entry in listening):
            plan.notes.append("no process listens on port %s, the old one; is the %s running?" % (host.old_port, host.component))
    opened = host_port(plan)
    if moves_others and not (params["host_port"] or {}).get("reserve"):
        plan.notes += filter(None, [handed_out_unreserved(host.port, managed)])
    return dict(
        changed=False, ok=not plan.problems, port=host.port, problems=plan.problems, notes=plan.notes,
        old_port=host.old_port, edits=plan.edits, host_port=opened, listeners=listening,
        record=host.record.content if host.record else None, evidence=_evidence_of(params, host, plan), relay=host.relay,
        masthead_host=host.masthead_host,
        neighbours=sorted({entry["port"] for entry in listening or [] if entry["port"] in neighbours
                           and entry["protocol"] == "tcp"}))
