#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: host_port_info
short_description: Tells what a port needs to be usable on a host
version_added: 0.2.0
description:
  - Reads what M(portshift.agents.host_port) would have to change with the same options, and changes nothing, in check mode or
    not. RV(missing) is empty where it would change nothing.
  - Fails where M(portshift.agents.host_port) would refuse to change anything, with the same sentence, such as one that names the
    rule of the site that rejects the port, or the collection that is not on the control node.
  - On a Windows host, Windows Firewall is what is looked at, by C(community.windows.win_firewall_rule) in check mode.
options:
  state:
    description:
      - What is compared with the host. The state that M(portshift.agents.host_port) would be given.
      - V(open) tells which openings are not there, V(closed) which ones of these ports are there, V(reopened) and V(restored)
        what of the record is still to be taken back. On Windows, where there is no record, the rules for O(openings) are looked
        for.
    type: str
    choices: [open, closed, reopened, restored]
    default: open
  lease:
    description: The file of the host's lease. None is taken; RV(notes) says who holds it. Without a meaning on Windows.
    type: path
    default: /var/lib/portshift/host.lock
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.read_only
  - portshift.agents.host_port
attributes:
  platform:
    support: full
    platforms: linux, windows
requirements:
  - the collection ansible.posix where firewalld or reserved ports lack something
  - the collection community.general where ufw or SELinux lacks something
  - the collection community.windows for Windows hosts
seealso:
  - module: portshift.agents.host_port
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: See what the new port of the relay lacks
  portshift.agents.host_port_info:
    name: bigfix
    openings:
      - port: 55000
        protocol: tcp
      - port: 55000
        protocol: udp
        sources: [10.1.2.0/24, root.example.test]
  register: relay_port

- name: Fail if the port is not usable
  ansible.builtin.assert:
    that: relay_port.missing | length == 0
    fail_msg: "{{ relay_port.missing | join('; ') }}"

- name: See what a rollback would take back
  portshift.agents.host_port_info:
    name: bigfix
    state: restored
"""

RETURN = r"""
backend:
  description: The firewall that filters here, or V(none). V(windows) on a Windows host.
  returned: success
  type: str
missing:
  description: What is not as O(state) wants it, a sentence each. Empty where M(portshift.agents.host_port) would change nothing.
  returned: success
  type: list
  elements: str
  sample: ["tcp 55000 from any address is not open in firewalld (permanent)"]
added:
  description: The openings that would be added, in the form of O(openings), each with one source at most.
  returned: success
  type: list
  elements: dict
  sample: [{"port": 55000, "protocol": "tcp", "sources": []}]
removed:
  description: The openings that would be taken away. On Windows without their sources.
  returned: success
  type: list
  elements: dict
left:
  description: What admits the ports and would be left alone (with O(state=closed)), a sentence each.
  returned: success
  type: list
  elements: str
notes:
  description: What the administrator of the host should know, a sentence each; also who holds the lease of the host.
  returned: success
  type: list
  elements: str
reserved:
  description: The ports that would be reserved, or with O(state=restored) let go. Empty on Windows.
  returned: success
  type: list
  elements: int
rules:
  description:
    - The real rules that concern the ports, those of the running firewall and those of the next boot.
    - On Windows, the names of those that M(portshift.agents.host_port) made, with C((disabled)) where one is closed.
  returned: success
  type: dict
  contains:
    before:
      description: Those that are there.
      type: list
      elements: str
      returned: success
      sample: ["permanent: public: port 55000/tcp", "runtime: public: port 55000/tcp"]
    after:
      description: Those that would be there.
      type: list
      elements: str
      returned: success
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._host_port.plan import LOOK_SPEC, run_step
from ansible_collections.portshift.agents.plugins.module_utils._core.read_only import read_only, seen


def main():
    module = read_only(AnsibleModule(argument_spec=LOOK_SPEC, supports_check_mode=True))
    require_linux(module)
    try:
        result = seen(run_step(module))
    except EngineError as err:
        module.fail_json(msg=str(err))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
