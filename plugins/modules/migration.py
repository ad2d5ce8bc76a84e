#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: migration
short_description: What the plays of this collection's playbooks ask on the control node
version_added: 0.2.0
description:
  - Lays out the steps of a run, tells each host what is its own, puts plan and report together, and stands at the gates. The same
    for every product; what differs is a table, and the module that reads the product's inventory.
  - The variables C(portshift_product) and C(portshift_run) of a play say which order it goes by. One that another playbook in the
    same process has made is none of its own, and is refused.
  - For the playbooks of this collection. No part of the public contract - options and results change with the playbooks; a
    playbook of a site's own takes M(portshift.agents.phase_gate) and the modules that are named below.
options:
  act:
    description:
      - V(order) checks the inventory, the options, the tags and the strategy, and lays out the steps.
      - V(host) gives the host what is its own of that order, by name.
      - V(plan) puts the plan together, V(report) the report at the end.
      - V(gate) compares hosts with evidence, as O(gate) says.
      - V(rollback) finds the migration that goes back, V(opening) what tells whether the host was opened for its port,
        V(left) the port that hosts have left.
      - V(step) stands before a step of O(phase) - the steps before it are proved, and the maintenance window is open.
      - V(users) asks which hosts still use a port that is to be closed.
      - V(whole) fails when a host that may need a port is no part of the run.
    type: str
    required: true
    choices: [order, host, plan, opening, rollback, left, gate, step, users, whole, report]
  product:
    description: The product, such as V(bigfix). Needed with O(act=order), known after that.
    type: str
  run:
    description: What the run is for, such as V(migrate) or V(close).
    type: str
  phase:
    description: The number of a phase.
    type: int
  port:
    description: The port that the evidence has to be about. The default is the one to move to.
    type: raw
  gate:
    description: What the gate stands behind.
    type: str
    choices: [plan, path, phase, proof, way_back, back_path]
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.variables_only
seealso:
  - module: portshift.agents.bigfix_topology
  - module: portshift.agents.boks_domain
  - module: portshift.agents.change_tracker_estate
  - module: portshift.agents.phase_gate
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Lay out the steps
  portshift.agents.migration:
    act: order
    product: bigfix
    run: migrate
  register: portshift_order_found
  run_once: true
"""

RETURN = r"""
order:
  description: The order of the run.
  returned: with O(act=order)
  type: dict
lock:
  description: The arguments of the lock.
  returned: with O(act=order)
  type: dict
rollback:
  description: The migration that goes back, and the hosts that have a part in it.
  returned: with O(act=rollback)
  type: dict
target:
  description: Its ports alone.
  returned: with O(act=rollback)
  type: dict
report:
  description: The plan or the report, a sentence or a row each.
  returned: with O(act=plan) and O(act=report)
  type: list
  elements: str
problems:
  description: Everything that stands against the run, one sentence each.
  returned: failure
  type: list
  elements: str
"""
