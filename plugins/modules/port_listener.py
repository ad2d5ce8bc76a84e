#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: port_listener
short_description: Listens on a port for a short time, so that the way to it can be proved
version_added: 0.2.0
description:
  - Leaves a process on the host that answers on a port, so that M(portshift.agents.port_probe) on other hosts can prove the
    way to it before the real service moves there.
  - The process ends by itself when its time is over. The kernel enforces that, should it be stuck.
  - A port that is in use is left alone, and that is no failure; see RV(already_in_use).
  - A TCP client gets an HTTP answer with the token as its page, whatever it asked; a UDP datagram is answered with the token.
options:
  port:
    description: The port, V(1) to V(65535).
    type: int
    required: true
  address:
    description: The IP address of the host to listen on. Without it, all of its addresses, IPv4 and IPv6.
    type: str
  protocols:
    description: The protocols to listen by.
    type: list
    elements: str
    choices: [tcp, udp]
    default: [tcp]
  seconds:
    description:
      - Seconds that the listener lives at most, V(1) to V(3600).
      - One that is there already and lives for at least half of that stays as it is; one that doesn't is replaced.
    type: int
    default: 120
  token:
    description:
      - The text that it answers with, at most 512 bytes. Every client that reaches the port can read it.
      - A listener with another token is replaced.
    type: str
    default: portshift
  state:
    description:
      - V(absent) ends the listener that an earlier call with this O(port) and O(address) has left, never another process,
        and returns when the port is free of it.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - portshift.agents.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    support: full
    platforms: linux
notes:
  - The host's firewall has to admit the port.
  - Where systemd-logind is told to kill the processes of users that log out (C(KillUserProcesses=yes)), the listener ends with
    the connection of a user who is not root.
seealso:
  - module: portshift.agents.port_probe
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Start a temporary listener on the new port
  portshift.agents.port_listener:
    port: 55000
    protocols: [tcp, udp]
    token: "{{ inventory_hostname }} on trial"
    seconds: 60

- name: Prove that the children reach it
  portshift.agents.port_probe:
    targets:
      - host: relay1.example.test
        port: 55000
        http:
          body_regex: "^relay1 on trial$"
  delegate_to: client1.example.test

- name: Stop the temporary listener
  portshift.agents.port_listener:
    port: 55000
    state: absent
"""

RETURN = r"""
listening:
  description: Whether a listener of this module's is there after the call; in check mode, would be.
  returned: success
  type: bool
already_in_use:
  description: Whether another process has the port. Then no listener was started.
  returned: success
  type: bool
used_by:
  description:
    - Who listens on the port, where RV(already_in_use).
    - Empty when no process is seen listening. Then the port is held by a connection that this host has opened to somewhere, which
      reserving the port (C(ip_local_reserved_ports)) prevents.
  returned: success
  type: list
  elements: dict
  contains:
    protocol:
      description: V(tcp) or V(udp).
      type: str
    address:
      description: The address that it is bound to.
      type: str
    port:
      description: The port.
      type: int
    pid:
      description: The process; null when this user may not see it.
      type: int
    process:
      description: The name of the process; null when this user may not see it.
      type: str
pid:
  description: The process of the listener; null when there is none, and in check mode for one that would be started.
  returned: success
  type: int
until:
  description: The time (UTC, ISO 8601) at which the listener ends at the latest; null when there is none.
  returned: success
  type: str
  sample: "2026-03-01T22:15:00Z"
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._network.listener import LISTENER_SPEC, outcome


def main():
    module = AnsibleModule(argument_spec=LISTENER_SPEC, supports_check_mode=True)
    require_linux(module)
    try:
        result = outcome(module.params, module.check_mode)
    except EngineError as err:
        module.fail_json(msg=str(err))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
