# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of a BigFix host within the run of another module than bigfix_evidence."""

from __future__ import annotations


class ModuleDocFragment:

    DOCUMENTATION = r"""
options:
  proof:
    type: dict
    suboptions:
      address:
        description: The address at which others reach this host. A server or relay has to answer there.
        type: str
      bind_address:
        description: Count only listeners that are bound to this address of the host, or to all.
        type: str
      parent:
        description: Name or address of the relay or server that this host reports to.
        type: str
      parent_wait:
        description:
          - Seconds to wait for O(proof.parent) before services are stopped.
          - As long a server or relay that was put back may take until it answers on its old port.
        type: float
        default: 10
      tls:
        description: Ask for mastheads by HTTPS, as authenticating relays want it.
        type: bool
        default: false
      log_dir:
        description: Folder of the agent's logs. Without it neither the log nor the agent's connection is asked.
        type: path
      relay_chain_dir:
        description: Folder of the agent's relay chain files.
        type: path
      success_patterns:
        description: Regular expressions for log lines that show a report getting through. V({port}) stands for O(port).
        type: list
        elements: str
        default: []
      failure_patterns:
        description: Regular expressions for log lines that show it not getting through. V({port}) stands for O(port).
        type: list
        elements: str
        default: []
      log_max_age:
        description: Seconds for which a line of a log counts as evidence.
        type: float
        default: 86400
      agent_service:
        description: Which of the O(services) is the agent. The default is the only one, or the only one with C(client) in its
            name.
        type: str
      neighbours:
        description: Ports of Web Reports and WebUI that have to be listened on.
        type: list
        elements: int
        default: []
      timeout:
        description: Seconds to wait for the evidence.
        type: float
        default: 60
      settle:
        description:
          - Seconds after which all of the evidence has to be there once more, by the same processes.
          - At most 2 for a host that has proved itself on O(port) before, as O(record) has it. V(0) for one look alone.
        type: float
        default: 5
"""
