#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: rollback_plan
short_description: Finds the migration that a rollback takes back
version_added: 0.2.0
description:
  - Reads the records of all hosts and finds the last migration among them. One that left the port which another one led to came
    after that. Where the ports don't tell, it is the one that began last, by the clocks of the hosts.
  - A record that says that its migration was rolled back does not count when another one led to the port that it left, and
    began more than a day later.
  - Fails when O(port) names an earlier one. Hosts that have moved on since keep their older records aside, so the others
    would go back alone.
options:
  hosts:
    description: The hosts of the rollback.
    type: list
    elements: str
    required: true
  way_back:
    description: The name of the host variable that holds the result of M(portshift.agents.change_record).
    type: str
    required: true
  port:
    description: The port that the migration led to. The default is that of the last one.
    type: raw
  records:
    description:
      - Records of others that belong to the migrations of these hosts, such as that of a hub. They count when the last migration
        is looked for, unless they say that it was rolled back.
    type: list
    elements: dict
    default: []
  opened:
    description:
      - The name of a host variable that says whether the host was opened for O(port), in its firewall or by a bridge. That is
        what a run leaves that ended before the first host moved.
      - Where a record says that O(port) was left, it may have been an earlier migration that opened it. Then it counts for
        hosts alone whose own record says so, and their variable has to say whether it was opened since.
    type: str
  force:
    description: Take hosts back as well whose files have changed since, so that only those that gave no answer have to be asked.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.variables_only
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Find the migration that goes back
  portshift.agents.rollback_plan:
    hosts: "{{ ansible_play_hosts_all }}"
    way_back: bigfix_component_way_back
  run_once: true
"""

RETURN = r"""
port:
  description: The port that the migration led to; V(0) when no host has a record and none was given.
  returned: success
  type: int
old_port:
  description: The port that it goes back to; null when there is nothing to take back.
  returned: success
  type: int
old_ports:
  description: The ports that the hosts in RV(moved) go back to, each once.
  returned: success
  type: list
  elements: int
known:
  description:
    - Whether O(port) was not given, or some record is of it, be it one that says that it was rolled back, or a host was opened
      for it, as O(opened) says.
  returned: success
  type: bool
left:
  description: Whether a record says that hosts came from O(port).
  returned: success
  type: bool
last:
  description:
    - The port that the last migration led to, which is the one that goes back without O(port). Null where every host has gone
      back from it.
  returned: success
  type: int
moved:
  description: The hosts that it moved and that have not gone back.
  returned: success
  type: list
  elements: str
hosts:
  description: The hosts that have to be able to go back. A gate asks them.
  returned: success
  type: list
  elements: str
"""
