# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of a BoKS host within the run of another module than boks_evidence."""

from __future__ import annotations

# What both parts have, after their own suboptions.
SUBOPTIONS = r"""
      listening:
        description: Whether the daemons have to listen on the base port that is proved, and no longer on the one that was left.
        type: bool
        default: true
      status_command:
        description: A command with which the product tells the state of its daemons. Without it nothing is asked.
        type: list
        elements: str
        default: []
      down_patterns:
        description: Regular expressions for what the last column of a line of that command is while a daemon is not well.
        type: list
        elements: str
        default: [Down, Loading]
      errlog_path:
        description: The log of errors. Without it no log is asked.
        type: path
      failure_patterns:
        description: Regular expressions for lines of that log that show a daemon that could not take its port. Empty for the
          default.
        type: list
        elements: str
        default:
          - address already in use
          - (cannot|can't|could not|failed to|unable to) bind
          - bind(\(\))?( has)? failed
      log_max_age:
        description: Seconds for which a line of that log counts where the record names no later change.
        type: float
        default: 86400
      reach:
        description: What this host has to reach by TCP, such as the Master and the Replicas.
        type: list
        elements: dict
        default: []
        suboptions:
          host:
            description: Name or address.
            type: str
            required: true
          offsets:
            description: The distances of the ports from the base port. All of them have to answer.
            type: list
            elements: int
            default: [1]
      reach_any:
        description: Whether one of these hosts is enough, as it is for a Server Agent.
        type: bool
        default: true
      timeout:
        description: Seconds to wait for the evidence.
        type: float
        default: 60
      settle:
        description:
          - Seconds after which all of the evidence has to be there once more, by the same daemons.
          - At most 2 for a host that has proved itself on this base port before, as its record has it. V(0) for one look alone.
        type: float
        default: 5
"""


class ModuleDocFragment:

    # With a type: a test of ansible-test takes what is assigned without one for a single literal.

    # Within a look at the host.
    DOCUMENTATION: str = r"""
options:
  proof:
    type: dict
    suboptions:
""" + SUBOPTIONS

    # For a module that knows nothing of the host.
    CHANGE: str = r"""
options:
  boks_proof:
    type: dict
    suboptions:
      role:
        description: What the host is in the domain. The default is what C(BOKSINIT) says.
        type: str
        choices: [master, replica, agent]
      services_path:
        description: The services database.
        type: path
        default: /etc/services
      env_path:
        description: The file with the settings of BoKS.
        type: path
        default: /etc/opt/boksm/ENV
      bind_address:
        description: Count only listeners that are bound to this address of the host, or to all.
        type: str
""" + SUBOPTIONS
