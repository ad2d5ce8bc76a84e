#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: phase_gate
short_description: Stands between two steps of a migration and counts evidence
version_added: 0.1.0
description:
  - Compares the hosts expected with the hosts that returned positive evidence, and fails when too many are missing.
  - A host that was unreachable has returned none, which is what C(max_fail_percentage) does not count.
  - Runs on the control node and asks nobody. Works in check mode.
options:
  hosts:
    description: The hosts expected, all of them, the unreachable ones too.
    type: list
    elements: str
    required: true
  evidence:
    description:
      - The name of the host variable that holds the evidence.
      - A dictionary counts when its C(ok) is true or, without C(ok), when it is neither empty nor the result of a task that
        failed, was skipped or was not reached. Anything else counts when it is true.
    type: str
    required: true
  max_missing:
    description: How many hosts may be missing, as a number or as a percentage of O(hosts) such as V(5%), rounded down.
    type: raw
    default: 0
  of:
    description: The number of hosts of which a percentage in O(max_missing) is one. The default is the number of O(hosts).
    type: int
    version_added: 0.2.0
  phase:
    description: What the gate stands behind, for its message.
    type: str
    default: ""
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.variables_only
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: All relays are on the new port
  portshift.agents.phase_gate:
    phase: phase 2
    hosts: "{{ groups['bigfix_relays'] }}"
    evidence: bigfix_component_evidence
    max_missing: 5%
  run_once: true
"""

RETURN = r"""
expected:
  description: The number of hosts expected.
  returned: always
  type: int
proved:
  description: The number of hosts that gave evidence.
  returned: always
  type: int
allowed:
  description: The number of hosts that may be missing.
  returned: always
  type: int
missing:
  description: The hosts without evidence, and why.
  returned: always
  type: list
  elements: dict
  contains:
    host:
      description: The host's name in the inventory.
      type: str
    reason:
      description: Why it does not count.
      type: str
"""
