# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at an agent: where its hub is, what would change, what stands in the way, what one that has moved proves."""

from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.evidence import (
    AGENT_PROOF_SPEC, AgentEvidence, asked_within)
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.host import AGENT_SPEC, AgentHost
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.plan import Move, described
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import proof_of_moved, told_proof
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.module_utils._move.states import TIMES_SPEC, too_short
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST

# Options of the module.
LOOK_SPEC = dict(AGENT_SPEC, port=dict(type="int"), proof=AGENT_PROOF_SPEC, move_times=TIMES_SPEC)


def _evidence_of(params, host, move):
    """The proof of a host that has moved, or has no agent that would; None where there is none to be asked for."""
    proof = params["proof"]
    if not proof or move.port is None or move.edits or move.problems:
        return None

    def judgement():
        return AgentEvidence(asked_within(params, proof, move.port), host.managed)

    if not host.agent:
        return told_proof(move.port, judgement, proof["timeout"])
    return proof_of_moved(host.record, move.port, judgement, proof["timeout"])


def look(params, managed=THIS_HOST):
    """What change_tracker_info returns."""
    port = None if params["port"] is None else parse_port(params["port"])
    host = AgentHost(params, managed)
    move, times = Move(host, port), params["move_times"]
    sentence = times and move.edits and too_short(times["limit"], times)
    move.problems += [sentence] if sentence else []
    return dict(changed=False, ok=not move.problems, problems=move.problems, notes=move.notes,
                evidence=_evidence_of(params, host, move), **described(host, move))
