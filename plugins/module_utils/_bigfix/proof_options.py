# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the proof, apart from what asks for it, which a look at a host that has not moved needs not compile."""

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.host import HOST_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import EVIDENCE_SPEC

# Options of the proof on a host of which all else is known.
_PROOF = dict(
    address=dict(type="str"), bind_address=dict(type="str"), parent=dict(type="str"), tls=dict(type="bool", default=False),
    log_dir=dict(type="path"), relay_chain_dir=dict(type="path"),
    success_patterns=dict(type="list", elements="str", default=[]),
    failure_patterns=dict(type="list", elements="str", default=[]),
    log_max_age=dict(type="float", default=86400), agent_service=dict(type="str"),
    neighbours=dict(type="list", elements="int", default=[]))
# Services whose processes are looked at.
SERVICES_SPEC = dict(
    services=dict(type="list", elements="str", default=[]), service_command=dict(type="list", elements="str", default=[]),
    executables=dict(type="dict", default={}))
# Options of the module beside those of the host and of all evidence.
BIGFIX_EVIDENCE_SPEC = dict(
    HOST_SPEC, files=dict(type="bool", default=True), allow_invalid_signature=dict(type="bool", default=False),
    **dict(_PROOF, **dict(SERVICES_SPEC, **EVIDENCE_SPEC)))
# The proof within another module's run.
PROOF_SPEC = dict(type="dict", options=dict(
    _PROOF, parent_wait=dict(type="float", default=10), timeout=EVIDENCE_SPEC["timeout"], settle=EVIDENCE_SPEC["settle"]))
