#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_info
short_description: Looks at a BigFix host and says what moving its port would change
version_added: 0.1.0
description:
  - Reads everything that a migration of the port needs to know of one host, in one go. Writes nothing.
  - Finds the mastheads and settings files, says which edits would bring them to O(port), what stands against it, and who
    listens on the ports in question.
options:
  masthead_src:
    description:
      - A masthead that was issued for O(port), on the control node. It is compared with the installed ones.
    type: path
  issued:
    description:
      - What the control node found in O(masthead_src). Filled in by the action plugin; nothing to set.
    type: dict
  allow_invalid_signature:
    description: Plan for signed mastheads being edited in place, which breaks their signature. For test systems only.
    type: bool
    default: false
  host_port:
    description: What the host needs beside the product. Options of M(portshift.agents.host_port), to see what it would do.
    type: dict
    version_added: 0.2.0
  proof:
    description:
      - Ask a host whose O(record) says that it has proved itself on O(port), and on which nothing is to be edited, for that proof
        once more, as M(portshift.agents.bigfix_evidence) does with the options of the same names. Other hosts are not asked.
    version_added: 0.2.0
  services:
    description: With O(proof), the services that have to run.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
  service_command:
    description: With O(proof), a command that is called with SERVICE and V(status). The default is the service manager.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
  bind_address:
    description: Count only listeners that are bound to this address of the host, or to all. The default is to count every one.
    type: str
extends_documentation_fragment:
  - portshift.agents.executables
  - portshift.agents.bigfix_host
  - portshift.agents.bigfix_proof
  - portshift.agents.attributes
  - portshift.agents.attributes.linux_and_windows
  - portshift.agents.attributes.read_only
seealso:
  - module: portshift.agents.bigfix_evidence
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: See what moving this client would change
  portshift.agents.bigfix_info:
    component: client
    port: 55000
    masthead_paths: [/etc/opt/BESClient/actionsite.afxm]
    settings_paths: [/var/opt/BESClient/besclient.config]
  register: client
"""

RETURN = r"""
ok:
  description: Whether nothing stands against the move (RV(problems) is empty).
  returned: success
  type: bool
port:
  description: The port that the assessment is about, as O(port) asks.
  returned: success
  type: int
  version_added: 0.2.0
problems:
  description: Sentences that say what stands against the move.
  returned: success
  type: list
  elements: str
notes:
  description: Sentences that a person should read before the move.
  returned: success
  type: list
  elements: str
old_port:
  description: The port that the host moves away from; null when nothing on it holds another port than O(port).
  returned: success
  type: int
  sample: 52311
edits:
  description: The edits that would bring the host to O(port); empty when it is there.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(masthead), V(settings) or V(credentials).
      type: str
    path:
      description: The file.
      type: str
    previous_port:
      description: For a masthead, and for a file of credentials the URL in it, the port that is named now.
      type: int
    settings:
      description: For a settings file, the settings that get a value.
      type: dict
    urls:
      description: For a settings file, the names of the settings in whose URLs the port moves.
      type: list
      elements: str
    format:
      description: For a settings file, V(config) or V(clientsettings).
      type: str
listeners:
  description:
    - Who listens on the old port, the new port, and the ports of Web Reports and WebUI; null where the host can't tell.
  returned: success
  type: list
  elements: dict
host_port:
  description: What M(portshift.agents.host_port) would do; null without O(host_port), and where nothing is to be edited.
  returned: success
  type: dict
  version_added: 0.2.0
  contains:
    backend:
      description: The firewall that filters what comes in, or V(none).
      type: str
    missing:
      description: Sentences for what is not there yet.
      type: list
      elements: str
    rules:
      description: The rules that concern the port.
      type: list
      elements: str
neighbours:
  description: The ports of Web Reports and WebUI on which a process listens here. They have to stay as they are.
  returned: success
  type: list
  elements: int
relay:
  description: The host in the URL of the relay that the agent has selected (C(__RelayServer1)); null without such a setting.
  returned: success
  type: str
  version_added: 0.2.0
masthead_host:
  description: The root server's name as the masthead has it; null without a masthead.
  returned: success
  type: str
  version_added: 0.2.0
evidence:
  description:
    - The result of M(portshift.agents.bigfix_evidence) for this host. Where something is missing, its C(ok) is false and
      nothing fails.
    - Null where the host was not asked, see O(proof).
  returned: success
  type: dict
  version_added: 0.2.0
record:
  description: The record of the migration (ports, phase, state, files); null without one.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.look import LOOK_SPEC, look
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._host_port.beside import lacking
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST


def main():
    module = AnsibleModule(argument_spec=LOOK_SPEC, supports_check_mode=True)
    require_linux(module, ["bigfix_masthead", "bigfix_settings"])
    try:
        result = look(module.params, lacking(module), THIS_HOST)
    except EngineError as err:
        module.fail_json(msg=str(err))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
