#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: port_bridge_info
short_description: Tells where a port bridge leads and who uses it
version_added: 0.2.0
description:
  - Reads the bridge that M(portshift.agents.port_bridge) has laid under O(name), and changes nothing, in check mode or not.
  - Tells who used the ports that it bridges, so that it is known who is still on a port before that is closed.
  - With O(listen_port) or O(mappings), it is compared with the bridge that M(portshift.agents.port_bridge) would lay, and
    RV(missing) is empty where that would change nothing. It fails where that module would refuse to lay it, with the same
    sentence.
  - Without them, RV(missing) names every trace that there is. A host with neither nftables nor iptables has none.
options: {}
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.linux_and_windows
  - portshift.agents.attributes.read_only
  - portshift.agents.port_bridge
seealso:
  - module: portshift.agents.port_bridge
  - module: portshift.agents.port_users
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: See who still uses the old port
  portshift.agents.port_bridge_info:
    name: bigfix
  register: still_there

- name: See whether the relay answers on the new port too
  portshift.agents.port_bridge_info:
    name: bigfix
    listen_port: 55000
    target_port: 52311
  register: relay_bridge

- name: Fail if it does not
  ansible.builtin.assert:
    that: relay_bridge.missing | length == 0
    fail_msg: "{{ relay_bridge.missing | join('; ') }}"
"""

RETURN = r"""
backend:
  description: V(nftables) or V(iptables). Without ports and a O(backend), those that are on the host, or V(none).
  returned: success
  type: str
previous:
  description: The live rules, one line each.
  returned: success
  type: list
  elements: str
  sample: ["prerouting: tcp 52311 of this host -> 55000"]
mappings:
  description: What the live rules bridge, in the form of O(mappings).
  returned: success
  type: list
  elements: dict
  sample: [{"listen_port": 52311, "target_port": 55000, "protocols": ["tcp", "udp"]}]
rules:
  description: The rules that M(portshift.agents.port_bridge) would lay. Empty without O(listen_port) and O(mappings).
  returned: success
  type: list
  elements: str
missing:
  description:
    - What is not as it was asked for, a sentence each, such as a rule that is not there, one too many, or a unit that would not
      bring the bridge back after a boot.
  returned: success
  type: list
  elements: str
  sample: ["prerouting: tcp 55000 of this host -> 52311 is not there"]
users:
  description:
    - Who used a port that RV(previous) bridges, the last one first, this host's own processes too.
    - Counted are data on connections, also on those that stood before, and datagrams. A connection over which no data goes,
      such as that of a probe, is no use.
  returned: success
  type: list
  elements: dict
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
looked_at:
  description: The moment of the look by the clock of this host, in seconds since 1970.
  returned: success
  type: float
notes:
  description: Why users are not remembered here, a sentence each. Empty where they are.
  returned: success
  type: list
  elements: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._bridge.bridge import asked_mappings, set_bridge
from ansible_collections.portshift.agents.plugins.module_utils._bridge.options import (
    DIRECTION_RULES, DIRECTION_SPEC, LOOK_SPEC)
from ansible_collections.portshift.agents.plugins.module_utils._core.read_only import read_only, seen


def main():
    module = read_only(AnsibleModule(
        argument_spec=dict(LOOK_SPEC, **DIRECTION_SPEC), supports_check_mode=True, **DIRECTION_RULES))
    require_linux(module)
    asked = module.params["mappings"] or module.params["listen_port"] is not None
    try:
        result = seen(set_bridge(module, module.params, asked_mappings(module.params) if asked else (), with_users=True))
    except EngineError as err:
        module.fail_json(msg=str(err))
    module.exit_json(looked_at=time.time(), **result)


if __name__ == "__main__":
    main()
