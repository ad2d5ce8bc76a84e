#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: boks_domain
short_description: Checks inventory and options of a BoKS migration and lays out its steps
version_added: 0.2.0
description:
  - Reads the groups C(boks_master), C(boks_replicas) and C(boks_agents), and lays out the steps in which a migration walks
    through the domain - the Master (phase 1), the Replicas one by one (2), the Server Agents in waves (3).
  - Fails with every problem at once, before any host is asked.
options:
  base_port:
    description: The base port to move to, V(1024) to V(65532). Any value is taken, so that the error names the user's
      variable.
    type: raw
  base_port_required:
    description: Whether O(base_port) has to be given.
    type: bool
    default: true
  phases:
    description: The phases to run, as a list or as text such as V(1,2).
    type: raw
    default: [1, 2, 3]
  window:
    description: The maintenance window, such as V(22:00-04:00), by the clock of the control node.
    type: str
  bridge:
    description: Whether both base ports answer while hosts move. Without that only a domain of one host can move.
    type: bool
    default: true
  hosts:
    description: The hosts of this run. The default is all hosts of the groups.
    type: list
    elements: str
  forks:
    description: Limit each wave to this number of hosts. More than Ansible has forks would wait, with their services stopped.
    type: int
  agent_waves:
    description: The sizes of the waves of Server Agents, as play keyword C(serial) has them.
    type: raw
    default: ["100%"]
  restrict_sources:
    description:
      - Let the hosts' own firewalls admit only the hosts of the domain that connect there, at the address that C(boks_address) or
        C(ansible_host) names.
    type: bool
    default: false
  allowed_sources:
    description: With O(restrict_sources), others who may connect.
    type: list
    elements: str
    default: []
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
seealso:
  - plugin: portshift.agents.boks_ports
    plugin_type: filter
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Check the inventory and the options
  portshift.agents.boks_domain:
    base_port: 6530
    agent_waves: [5%, 25%]
  run_once: true
  register: boks_domain
"""

RETURN = r"""
begun:
  description: When this was done, by the clock of the control node in seconds since 1970. No host has been asked before that.
  returned: success
  type: float
  version_added: 0.2.0
base_port:
  description: The base port to move to; null when none was given.
  returned: success
  type: int
master:
  description: The Master.
  returned: success
  type: str
roles:
  description: V(master), V(replica) or V(agent) by host.
  returned: success
  type: dict
steps:
  description: All steps, each with its C(phase), C(title), C(role) and C(hosts).
  returned: success
  type: list
  elements: dict
phases:
  description: The steps of each phase that is asked for (C("1"), C("2"), C("3")), as RV(steps) has them.
  returned: success
  type: dict
order:
  description: All hosts of this run in the order of the steps.
  returned: success
  type: list
  elements: str
agents:
  description: The Server Agents among RV(order).
  returned: success
  type: list
  elements: str
openings:
  description: What each host's own firewall has to admit, a list of C(port), C(protocol) and C(sources) by host. Without sources,
    any address. Empty without O(base_port).
  returned: success
  type: dict
paths:
  description: What has to answer to each host of this run by tcp, a list of C(host) (an address) and C(offset) from the base
    port, by host.
  returned: success
  type: dict
outside:
  description: Hosts of the domain that are no part of this run and that a host of it connects to by tcp, a list of names by host.
  returned: success
  type: dict
  version_added: 0.2.0
problems:
  description: Everything that is wrong, one sentence each.
  returned: failure
  type: list
  elements: str
"""
