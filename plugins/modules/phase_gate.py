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
  - Runs on the control node and connects to no host. Works in check mode.
options:
  hosts:
    description: The hosts expected, all of them, the unreachable ones too.
    type: list
    elements: str
    required: true
  evidence:
    description:
      - The name of the host variable that holds the evidence.
      - Evidence is the boolean V(true), or a dictionary whose C(ok) is the boolean V(true) and that is not the result of a task
        that failed, was skipped or was not reached. Text, numbers, lists and dictionaries without C(ok) are none.
      - A dictionary with C(predicted), as the roles of this collection leave one in check mode, counts in check mode alone.
    type: str
    required: true
  port:
    description:
      - The port that the evidence has to be about, V(1) to V(65535). A dictionary counts only when its C(port) is this one, as
        a number or as digits. The boolean V(true) names none and counts.
      - Without it, evidence for whatever port counts.
    type: int
    version_added: 0.2.0
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
- name: Fail if a relay has no evidence of the new port
  portshift.agents.phase_gate:
    phase: phase 2
    hosts: "{{ groups['bigfix_relays'] }}"
    evidence: bigfix_component_evidence
    port: 55000
    max_missing: 5%
  run_once: true

- name: Probe the hub on its new port from every host
  portshift.agents.port_probe:
    targets:
      - host: hub.example.test
        port: 8443
    fail_on_unreachable: false
  register: hub_reached

- name: Fail if a host did not reach the hub
  portshift.agents.phase_gate:
    hosts: "{{ ansible_play_hosts_all }}"
    evidence: hub_reached
    port: 8443
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
