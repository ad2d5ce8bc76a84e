#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: change_tracker_estate
short_description: Checks inventory and options of a Change Tracker migration and lays out its steps
version_added: 0.2.0
description:
  - Reads the groups C(change_tracker_hub), C(change_tracker_agents) and C(change_tracker_proxies), and lays out the steps in
    which a migration walks through them - the hub's own agent, the proxies one by one, the agents in waves.
  - Fails with every problem at once, before any host is asked.
options:
  port:
    description: The port to move to, V(1) to V(65535). Any value is taken, so that the error names the user's variable.
    type: raw
  port_required:
    description: Whether O(port) has to be given.
    type: bool
    default: true
  hub_server:
    description:
      - What answers on the hub's port. V(nginx) and V(iis) (IIS on Windows) are changed by the role
        P(portshift.agents.change_tracker_hub#role). The agent on the hub's own host is moved where that is V(nginx).
      - With V(none), the hub's administrator makes it answer on both ports, such as by a load balancer. Nothing is changed on the
        hub's host, and Ansible does not connect there, unless it is in one of the other groups too.
      - The default is the hub's variable C(change_tracker_hub_server), or V(iis) where Ansible reaches the hub as a Windows host,
        and V(nginx) elsewhere.
    type: str
  phases:
    description: The phases to run, as a list or as text such as V(1,2).
    type: raw
    default: [1, 2, 3]
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
  agent_waves:
    description: The sizes of the waves of agents, as play keyword C(serial) has them.
    type: raw
    default: ["100%"]
  restrict_sources:
    description:
      - Let the hub's own firewall admit only the hosts of the inventory that run agents, at the address that
        C(change_tracker_address) or C(ansible_host) names. Users of the console have to be in O(allowed_sources) then.
    type: bool
    default: false
  allowed_sources:
    description: With O(restrict_sources), others who may connect.
    type: list
    elements: str
    default: []
  telnet:
    description: Whether network devices are reached by telnet, port 23, for agentless monitoring. SSH is the safe way.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.variables_only
notes:
  - Whom a proxy monitors without an agent is its host variable C(change_tracker_monitored), a list of C(host), C(kind) (V(linux),
    V(windows) or V(network)) and, for a network device, C(by) (V(ssh) or V(telnet)). A device without C(by) is reached by SSH,
    and with O(telnet) by both.
seealso:
  - plugin: portshift.agents.change_tracker_ports
    plugin_type: filter
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Check the inventory and the options
  portshift.agents.change_tracker_estate:
    port: 8443
    agent_waves: [5%, 25%]
  run_once: true
  register: change_tracker_estate
"""

RETURN = r"""
port:
  description: The port to move to; null when none was given.
  returned: success
  type: int
hub:
  description: The host of the hub; null where O(hub_server=none) and no host is in its group.
  returned: success
  type: str
hub_address:
  description: Where others reach the hub - C(change_tracker_hub_address), C(change_tracker_address) or C(ansible_host) of its
    host, or its name.
  returned: success
  type: str
hub_server:
  description: What answers on the hub's port, V(nginx), V(iis) or V(none).
  returned: success
  type: str
hub_managed:
  description: Whether the hub's own listener is moved by this collection.
  returned: success
  type: bool
hub_hosts:
  description: The hosts of this run on which the hub's listener is moved - the hub, or none.
  returned: success
  type: list
  elements: str
components:
  description: What each host is, a list of V(hub), V(proxy) and V(agent) by host.
  returned: success
  type: dict
not_asked:
  description: Who is part of the estate and not of this run.
  returned: success
  type: list
  elements: str
outside:
  description: The hub, where it is no part of this run and its listener is one that this collection moves, a list of names by
    host that connects to it.
  returned: success
  type: dict
  version_added: 0.2.0
steps:
  description: All steps, each with its C(phase), C(title), C(component) and C(hosts).
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
keeper:
  description: The host that keeps the lock of the migration - the hub behind nginx, or elsewhere the first host with an agent.
  returned: success
  type: str
openings:
  description: What the hub's own firewall has to admit, a list of C(port), C(protocol) and C(sources) by host. Without
    sources, any address. Empty without O(port), and with O(hub_server=none).
  returned: success
  type: dict
monitored:
  description: What each proxy has to reach for agentless monitoring, a list of C(host), C(port), C(protocol), C(kind) and
    C(service) by host.
  returned: success
  type: dict
problems:
  description: Everything that is wrong, one sentence each.
  returned: failure
  type: list
  elements: str
"""
