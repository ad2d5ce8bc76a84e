# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of an agent of Change Tracker within the run of another module than change_tracker_evidence."""

from __future__ import annotations

# What both parts have, after their own suboptions.
SUBOPTIONS = r"""
      failure_patterns:
        description: Regular expressions for lines of the agent's log that speak against it. Empty for the default.
        type: list
        elements: str
        default:
          - Hub Offline, connection retries exhausted
          - Hub connection failed
          - Certificate thumbprint does not match trusted
      log_max_age:
        description: Seconds for which a line of that log counts where no later change and no later start is known.
        type: float
        default: 86400
      timeout:
        description: Seconds to wait for the evidence.
        type: float
        default: 60
      settle:
        description:
          - Seconds after which all of the evidence has to be there once more, by the same main process of the service.
          - At most 2 for an agent that has proved itself on this port before, as its record has it. V(0) for one look alone.
        type: float
        default: 5
"""


class ModuleDocFragment:

    # With a type: a test of ansible-test takes what is assigned without one for a single literal.

    # Within a look at the agent.
    DOCUMENTATION: str = r"""
options:
  proof:
    type: dict
    suboptions:
""" + SUBOPTIONS

    # For a module that knows nothing of the agent.
    CHANGE: str = r"""
options:
  change_tracker_proof:
    type: dict
    suboptions:
      path:
        description: The agent's C(HubDetails.xml), or the places where it may lie, of which exactly one has to be there.
        type: list
        elements: path
        default:
          - /var/nnt/gen7agent.app.netcore/HubDetails.xml
          - /var/nnt/gen7agent.service/HubDetails.xml
          - /etc/NNT/gen7agent.app.netcore/HubDetails.xml
      service:
        description: The service of the agent. The default is the one that belongs to the folder of its file.
        type: str
      service_command:
        description: A command that is called with the service and V(status), and ends with exit status 0 when it runs. The
          default is the service manager.
        type: list
        elements: str
        default: []
      log_path:
        description: The log of the agent. The default is C(rolling-log.txt) beside its C(HubDetails.xml).
        type: path
      required:
        description: Whether there has to be an agent.
        type: bool
        default: true
""" + SUBOPTIONS
