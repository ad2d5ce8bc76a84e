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
options:
  name:
    description: The name of the bridge. A host has one direction per name.
    type: str
    required: true
  listen_port:
    description: The port on which no service listens, V(1) to V(65535). Required for O(state=present).
    type: int
  target_port:
    description: The port on which the service listens, V(1) to V(65535). Required for O(state=present).
    type: int
  protocols:
    description: The protocols that are bridged.
    type: list
    elements: str
    choices: [tcp, udp]
    default: [tcp, udp]
  addresses:
    description: Bridge these addresses of the host only. The default is all of them.
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
    description: The folder of the file with the rules.
    type: path
    default: /etc/portshift
  unit_dir:
    description: The folder of the systemd unit.
    type: path
    default: /etc/systemd/system
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
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._port_bridge import BRIDGE_SPEC, set_bridge


def main():
    module = AnsibleModule(
        argument_spec=dict(BRIDGE_SPEC, listen_port=dict(type="int"), target_port=dict(type="int"),
                           state=dict(type="str", choices=["present", "absent"], default="present")),
        required_if=[("state", "present", ["listen_port", "target_port"])],
        supports_check_mode=True)
    ends = (module.params["listen_port"], module.params["target_port"]) if module.params["state"] == "present" else ()
    try:
        result = set_bridge(module, module.params, *ends)
    except EngineError as err:
        module.fail_json(msg=str(err))
    if module._diff:
        result["diff"] = dict(before="\n".join(result["previous"] + [""]), after="\n".join(result["rules"] + [""]),
                              before_header="live rules", after_header="live rules")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
