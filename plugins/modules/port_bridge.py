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
    a port before it is closed. M(portshift.agents.port_bridge_info) tells it without changing anything.
options:
  state:
    description:
      - Whether the bridge is there. V(present) needs O(listen_port) or O(mappings).
      - V(absent) takes away every trace, those of a boot too.
    type: str
    choices: [present, absent]
    default: present
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
  - portshift.agents.attributes.linux_and_windows
  - portshift.agents.port_bridge
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the live rules.
notes:
  - On a Windows host the bridge is C(netsh interface portproxy), which forwards tcp alone, on all addresses, needs the service IP
    Helper, and remembers no users - those who are connected at that moment are all that it can name. O(addresses) has to be empty
    there; O(backend), O(persistent), O(rules_dir), O(unit_dir) and the lease mean nothing. What is forwarded for others is left
    alone.
  - A firewall that flushes rules which are not its own takes the bridge down until the unit is restarted.
  - Who uses a port is forgotten when the host boots, when the bridge is turned round, and when its unit loads the rules anew.
  - With V(nftables) up to 65535 users are remembered per address family; with V(iptables) as many as the kernel's module
    C(xt_recent) keeps in a list (C(ip_list_tot), 100 unless it was set otherwise), the last ones.
seealso:
  - module: portshift.agents.port_bridge_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Let the relay answer on the new port too, before it moves
  portshift.agents.port_bridge:
    name: bigfix
    listen_port: 55000
    target_port: 52311

- name: Let the relay answer on the old port too, after it has moved
  portshift.agents.port_bridge:
    name: bigfix
    listen_port: 52311
    target_port: 55000

- name: Let two ports answer on their new numbers too
  portshift.agents.port_bridge:
    name: boks
    mappings:
      - listen_port: 6531
        target_port: 6501
      - listen_port: 6533
        target_port: 6503
        protocols: [tcp]

- name: Leave only the new port
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
mappings:
  description: What RV(previous) bridges, in the form of O(mappings).
  returned: success
  type: list
  elements: dict
  version_added: 0.2.0
  sample: [{"listen_port": 52311, "target_port": 55000, "protocols": ["tcp", "udp"]}]
missing:
  description: What was not as it was asked for before the change, a sentence each. Empty where nothing is to be changed.
  returned: success
  type: list
  elements: str
  version_added: 0.2.0
  sample: ["prerouting: tcp 55000 of this host -> 52311 is not there"]
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
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._bridge.bridge import asked_mappings, set_bridge
from ansible_collections.portshift.agents.plugins.module_utils._bridge.options import (
    BRIDGE_SPEC, DIRECTION_RULES, DIRECTION_SPEC)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            BRIDGE_SPEC, state=dict(type="str", choices=["present", "absent"], default="present"), **DIRECTION_SPEC),
        required_if=[("state", "present", ["listen_port", "mappings"], True)], supports_check_mode=True, **DIRECTION_RULES)
    require_linux(module)
    mappings = asked_mappings(module.params) if module.params["state"] == "present" else ()
    try:
        result = dict(set_bridge(module, module.params, mappings, with_users=True), looked_at=time.time())
    except EngineError as err:
        module.fail_json(msg=str(err))
    if module._diff:
        result["diff"] = dict(before="\n".join(result["previous"] + [""]), after="\n".join(result["rules"] + [""]),
                              before_header="live rules", after_header="live rules")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
