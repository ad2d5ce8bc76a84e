#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_topology
short_description: Checks inventory and options of a BigFix migration and lays out its steps
version_added: 0.1.0
description:
  - Reads the groups C(bigfix_server), C(bigfix_relays), C(bigfix_clients), C(bigfix_pilot) and the host variable
    C(bigfix_parent), and lays out the steps in which a migration walks through the tree.
  - Fails with every problem at once, before any host is asked.
options:
  port:
    description: The port to move to, V(1) to V(65535) without V(52314). Any value is taken, so that the error names the user's
      variable.
    type: raw
  port_required:
    description: Whether O(port) has to be given.
    type: bool
    default: true
  previous_port:
    description: The port to move away from.
    type: raw
  phases:
    description: The phases to run, as a list or as text such as V(1,2).
    type: raw
    default: [1, 2, 3]
  masthead_src:
    description: The masthead that was issued for O(port), on the control node.
    type: str
  window:
    description: The maintenance window, such as V(22:00-04:00), by the clock of the control node.
    type: str
  hosts:
    description: The hosts of this run. The default is all hosts of the groups.
    type: list
    elements: str
  forks:
    description: Limit each wave to this number of hosts. More than Ansible has forks would wait, with their services stopped.
    type: int
  relay_waves:
    description: The sizes of the waves of a tier of relays, as play keyword C(serial) has them.
    type: raw
    default: ["100%"]
  client_waves:
    description: The sizes of the waves of clients, as play keyword C(serial) has them.
    type: raw
    default: ["100%"]
  restrict_sources:
    description:
      - Let the hosts' own firewalls admit only who has to reach them. Children by tcp, the parent by udp, at the address that
        C(bigfix_address) or C(ansible_host) names.
    type: bool
    default: false
    version_added: 0.2.0
  allowed_sources:
    description: With O(restrict_sources), others who may reach the root server and the relays, such as consoles and REST clients.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
  close_ignore_users:
    description:
      - Addresses and networks that may use the old port when it is closed, as a list or as text with commas. Checked
        here, before any host is asked, for M(portshift.agents.port_users).
    type: raw
    default: []
    version_added: 0.2.0
  close_quiet_seconds:
    description: The seconds for which a use of the old port counts when it is closed. Checked here as well.
    type: raw
    default: 3600
    version_added: 0.2.0
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.variables_only
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Check the inventory and the options
  portshift.agents.bigfix_topology:
    port: 55000
    client_waves: [5%, 25%]
  run_once: true
  register: bigfix_topology
"""

RETURN = r"""
begun:
  description: When this was done, by the clock of the control node in seconds since 1970. No host has been asked before that.
  returned: success
  type: float
  version_added: 0.2.0
port:
  description: The port to move to; null when none was given.
  returned: success
  type: int
server:
  description: The root server.
  returned: success
  type: str
steps:
  description: All steps, each with its C(phase), C(title), C(component) and C(hosts).
  returned: success
  type: list
  elements: dict
  version_added: 0.2.0
phases:
  description: The steps of each phase that is asked for (C("1"), C("2"), C("3")), as RV(steps) has them.
  returned: success
  type: dict
order:
  description: All hosts of this run in the order of the steps.
  returned: success
  type: list
  elements: str
components:
  description: V(server), V(relay) or V(client) by host.
  returned: success
  type: dict
parents:
  description: The parent by host.
  returned: success
  type: dict
openings:
  description: What each host's own firewall has to admit, a list of C(protocol) and C(sources) by host. Without sources, any
    address.
  returned: success
  type: dict
  version_added: 0.2.0
tiers:
  description: The relays by tier, top level first.
  returned: success
  type: list
  elements: list
problems:
  description: Everything that is wrong, one sentence each.
  returned: failure
  type: list
  elements: str
"""
