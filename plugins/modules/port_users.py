#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: port_users
short_description: Fails where a port that is to be closed is still used
version_added: 0.2.0
description:
  - Reads what M(portshift.agents.port_bridge) remembers of the users of bridged ports, on all hosts of an estate, and names those
    whom closing the port would cut off, by their address and by their name in the inventory.
  - A host of the inventory that used the old port before it moved itself, and not since, is no such user.
  - Runs on the control node and asks no managed host. Names of the inventory are looked up there when an address is none of
    those that the inventory gives. Works in check mode.
options:
  product:
    description: The prefix of the options that its sentences name, and of the variable C(PRODUCT_address) with a host's address.
    type: str
    required: true
  hosts:
    description:
      - The hosts with bridges. One whose look was skipped has none. One that gave O(evidence) and whose bridge could not be
        looked at is a failure.
    type: list
    elements: str
    required: true
  members:
    description: The hosts that an address may belong to, and that may have moved. The default is O(hosts).
    type: list
    elements: str
  found:
    description:
      - The name of the host variable that holds the result of M(portshift.agents.port_bridge_info).
    type: str
    required: true
  evidence:
    description:
      - The name of the host variable that holds the proof of a host on its new port. Its C(moved_at) says when the host moved.
    type: str
    required: true
  staying:
    description: Ports that are not closed, whose users do not count.
    type: list
    elements: int
    default: []
  ignore:
    description: Addresses and networks whose use does not count, such as those of a scanner, as a list or as text with commas.
    type: raw
    default: []
  quiet_seconds:
    description:
      - The seconds for which a use counts, V(0) to count none. A day at most is remembered.
      - The default is an hour, since agents of the products report at least once in that time.
    type: raw
    default: 3600
  since:
    description:
      - A moment before the first of the hosts was asked, in seconds since 1970 by the clock of the control node. What the
        clock of a host says is corrected as far as it lies outside of the time from then to now. The default is now.
    type: float
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.variables_only
seealso:
  - module: portshift.agents.port_bridge_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: See who still uses the old port
  portshift.agents.port_bridge_info:
    name: bigfix
  register: old_port_users

- name: Fail if the old port is still used
  portshift.agents.port_users:
    product: bigfix
    hosts: "{{ groups['bigfix_relays'] }}"
    members: "{{ groups['bigfix_relays'] + groups['bigfix_clients'] }}"
    found: old_port_users
    evidence: bigfix_component_evidence
    staying: [55000]
    ignore: [10.0.0.5, 10.0.1.0/24]
  run_once: true
"""

RETURN = r"""
users:
  description: Who would be cut off.
  returned: unless an option can't be what it is
  type: list
  elements: dict
  contains:
    host:
      description: The host whose port was used.
      type: str
    port:
      description: The port.
      type: int
    address:
      description: The address from which it was used.
      type: str
    name:
      description: The host of the inventory that has the address; null where none is known.
      type: str
    seconds_ago:
      description: Seconds from the last use to the look at the bridge.
      type: int
notes:
  description: Sentences on what the bridges could not tell.
  returned: unless an option can't be what it is
  type: list
  elements: str
"""
