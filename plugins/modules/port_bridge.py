#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: port_bridge
short_description: Lets a service on one port of this host answer on a second one too
version_added: 0.1.0
description:
  - Rewrites connections for O(listen_port) of this host to O(target_port), so that both ports answer while agents move.
  - Changing the direction is one transaction of the kernel; there is no moment without a rule.
  - Connections that stand already are not touched.
  - Other rules of the host's firewall stay as they are. Both ports have to be admitted there.
  - Remembers for a day who uses O(listen_port), by rules of its own beside the bridge, so that it can be told who is still on
    a port before it is closed. Called with O(state=absent) in check mode, the module changes nothing and returns them.
options:
  name:
    description: The name of the bridge. A host has one direction per name.
    type: str
    required: true
  listen_port:
    description: The port on which no service listens, V(1) to V(65535). This or O(mappings) is required for O(state=present).
    type: int
  target_port:
    description: The port on which the service listens, V(1) to V(65535).
    type: int
  mappings:
    description: Several ports that are bridged at once, in the place of O(listen_port) and O(target_port).
    type: list
    elements: dict
    version_added: 0.2.0
    suboptions:
      listen_port:
        description: The port on which no service listens.
        type: int
        required: true
      target_port:
        description: The port on which the service listens. Not one that is a O(mappings[].listen_port) too.
        type: int
        required: true
      protocols:
        description: The protocols of this one. The default is O(protocols).
        type: list
        elements: str
        choices: [tcp, udp]
  protocols:
    description: The protocols that are bridged.
    type: list
    elements: str
    choices: [tcp, udp]
    default: [tcp, udp]
  addresses:
    description:
      - Bridge these addresses of the host only. The default is all of them.
      - IP addresses without a prefix and without a zone. Neither names nor addresses that stand for all of them.
    type: list
    elements: str
    default: []
  state:
    description: Whether the bridge is there. V(absent) takes away every trace, those of a boot too.
    type: str
    choices: [present, absent]
    default: present
  backend:
    description:
      - What the rules are written with. V(auto) takes V(nftables) where the C(nft) command is, V(iptables) otherwise.
    type: str
    choices: [auto, nftables, iptables]
    default: auto
  persistent:
    description: Bring the bridge back after a boot, by a systemd unit. Without systemd that is a failure; say V(false) then.
    type: bool
    default: true
  rules_dir:
    description: The folder of the file with the rules, an absolute path of letters, digits and C(_.-+@,).
    type: path
    default: /etc/portshift
  unit_dir:
    description: The folder of the systemd unit, an absolute path as O(rules_dir) is.
    type: path
    default: /etc/systemd/system
  lease:
    description:
      - The file of the host's lease, which lets one task at a time change what the products on a host share. The same one for all
        that change a host.
    type: path
    default: /var/lib/portshift/host.lock
  lease_wait:
    description: Seconds that another holder of the lease is waited for.
    type: int
    default: 300
extends_documentation_fragment:
  - portshift.agents.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the live rules.
  platform:
    support: full
    platforms: linux
notes:
  - A firewall that flushes rules which are not its own takes the bridge down until the unit is restarted.
  - Who uses a port is forgotten when the host boots, when the bridge is turned round, and when its unit loads the rules anew.
  - With V(nftables) up to 65535 users are remembered per address family; with V(iptables) as many as the kernel's module
    C(xt_recent) keeps in a list (C(ip_list_tot), 100 unless it was set otherwise), the last ones.
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: The relay answers on the new port too, before it moves
  portshift.agents.port_bridge:
    name: bigfix
    listen_port: 55000
    target_port: 52311

- name: The relay answers on the old port too, after it has moved
  portshift.agents.port_bridge:
    name: bigfix
    listen_port: 52311
    target_port: 55000

- name: Two ports answer on their new numbers too
  portshift.agents.port_bridge:
    name: boks
    mappings:
      - listen_port: 6531
        target_port: 6501
      - listen_port: 6533
        target_port: 6503
        protocols: [tcp]

- name: Who still uses the old port
  portshift.agents.port_bridge:
    name: bigfix
    state: absent
  check_mode: true
  register: still_there

- name: Only the new port is left
  portshift.agents.port_bridge:
    name: bigfix
    state: absent
"""

RETURN = r"""
backend:
  description: V(nftables) or V(iptables).
  returned: success
  type: str
rules:
  description: The live rules after the change, one line each.
  returned: success
  type: list
  elements: str
  sample: ["prerouting: tcp 55000 of this host -> 52311"]
previous:
  description: The live rules before the change.
  returned: success
  type: list
  elements: str
users:
  description:
    - Who used a port that RV(previous) bridges, the last one first, this host's own processes too.
    - Counted are data on connections, also on those that stood before, and datagrams. A connection over which no data goes, such
      as that of a probe, is no use.
  returned: success
  type: list
  elements: dict
  version_added: 0.2.0
  contains:
    address:
      description: The address from which the port was used.
      type: str
      sample: 10.0.3.7
    port:
      description: The port that is bridged.
      type: int
      sample: 52311
    seconds_ago:
      description: Seconds since it was used for the last time.
      type: int
      sample: 12
remembered_seconds:
  description:
    - The seconds for which users of the port have been remembered; null where they are not, or for so long that it is not known
      any more (30 days).
  returned: success
  type: int
  version_added: 0.2.0
looked_at:
  description: The moment of the look by the clock of this host, in seconds since 1970.
  returned: success
  type: float
  version_added: 0.2.0
notes:
  description:
    - What there is to say about the lease of the host, and why users are not remembered here, a sentence each. Empty when the
      lease was free and users are remembered.
  returned: success
  type: list
  elements: str
  version_added: 0.2.0
"""

import time


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._bridge.bridge import BRIDGE_SPEC, set_bridge


MAPPING_SPEC = dict(listen_port=dict(type="int", required=True), target_port=dict(type="int", required=True),
                    protocols=dict(type="list", elements="str", choices=["tcp", "udp"]))


def asked(params):
    """(listen, target, protocols) of everything that is to be bridged."""
    if params["state"] == "absent":
        return []
    if params["mappings"]:
        return [(mapping["listen_port"], mapping["target_port"], mapping["protocols"]) for mapping in params["mappings"]]
    return [(params["listen_port"], params["target_port"], None)]


def main():
    module = AnsibleModule(
        argument_spec=dict(BRIDGE_SPEC, listen_port=dict(type="int"), target_port=dict(type="int"),
                           mappings=dict(type="list", elements="dict", options=MAPPING_SPEC),
                           state=dict(type="str", choices=["present", "absent"], default="present")),
        required_if=[("state", "present", ["listen_port", "mappings"], True)],
        required_together=[("listen_port", "target_port")],
        mutually_exclusive=[("listen_port", "mappings")],
        supports_check_mode=True)
    try:
        result = dict(set_bridge(module, module.params, asked(module.params), with_users=True), looked_at=time.time())
    except EngineError as err:
        module.fail_json(msg=str(err))
    if module._diff:
        result["diff"] = dict(before="\n".join(result["previous"] + [""]), after="\n".join(result["rules"] + [""]),
                              before_header="live rules", after_header="live rules")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
