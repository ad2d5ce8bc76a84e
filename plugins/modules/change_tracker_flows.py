#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: change_tracker_flows
short_description: Puts the table together that says which connections of Change Tracker get through
version_added: 0.2.0
description:
  - Makes one table out of what M(portshift.agents.port_probe) found on each host - agents to their hub, proxies to the hosts that
    they monitor - and of what the hub's own firewall admits.
  - The lines that are shut name source, destination, port and protocol, as a firewall team needs them.
options:
  estate:
    description: The result of M(portshift.agents.change_tracker_estate).
    type: dict
    required: true
  flows:
    description:
      - The name of the host variable that holds what the host has to reach, a list of C(host), C(port), C(protocol) and
        C(service).
      - One with C(untried), a sentence that says why, was not tried from there.
    type: str
    required: true
  answers:
    description: The name of the host variable that holds the result of M(portshift.agents.port_probe) for the flows that were
      tried.
    type: str
    required: true
  inbound:
    description: The name of the host variable that holds what M(portshift.agents.host_port_info) found on the hub.
    type: str
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.variables_only
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Put the table together
  portshift.agents.change_tracker_flows:
    estate: "{{ change_tracker_estate }}"
    flows: change_tracker_flows
    answers: change_tracker_answers
  run_once: true
  register: flows

- name: Fail if a connection is shut
  ansible.builtin.assert:
    that: flows.shut | length == 0
"""

RETURN = r"""
report:
  description: The lines of the table.
  returned: success
  type: list
  elements: str
shut:
  description: The flows that do not get through, or of which nothing is known because their source gave no answer.
  returned: success
  type: list
  elements: dict
  contains:
    source:
      description: The host that has to connect.
      type: str
    source_address:
      description: The address from which it does; null where that is not known.
      type: str
    destination:
      description: The host that it has to reach.
      type: str
    destination_address:
      description: The address of that; null where that is not known.
      type: str
    port:
      description: The port.
      type: int
    protocol:
      description: The protocol.
      type: str
    service:
      description: What listens there.
      type: str
    reason:
      description: Why it does not count as open.
      type: str
    error:
      description: A sentence that names the way and the reason.
      type: str
      sample: "web1 (10.0.3.7) -> hub.example.com (10.0.1.2) port 8443 tcp: no answer within 5 s (dropped on the way?)"
tried:
  description: How many flows were tried, and answered or not.
  returned: success
  type: int
"""
