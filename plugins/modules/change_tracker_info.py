#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: change_tracker_info
short_description: Looks at a Netwrix Change Tracker agent and says what moving its hub's port would change
version_added: 0.2.0
description:
  - Reads everything that a migration needs to know of one agent, in one go. Writes nothing.
  - Tells where its hub is, whether its service runs, which edit would lead it to O(port), and what stands against that.
  - No result holds what stands in the agent's file beside the URL, but for the fingerprint of the hub's certificate, which is
    public.
options:
  port:
    description:
      - The port of the hub to which the agent has to lead in the end.
      - Without it, the agent is looked at as it is.
    type: int
  proof:
    description:
      - Ask a host that has moved for its proof too, as M(portshift.agents.change_tracker_evidence) does with the options of the
        same names. One with nothing to edit, and whose O(record) says that it has proved itself on O(port), is asked, and one
        that has no agent and needs none; the answer is RV(evidence).
      - The proof of a host that moves is the business of the run that moves it.
    version_added: 0.2.0
  move_times:
    description: What the run that moves the host is going to give it. A time that is too short is one of RV(problems) while there
      is something to edit.
    type: dict
    version_added: 0.2.0
    suboptions:
      limit:
        description: Seconds that start, proof and login have together, O(portshift.agents.confirmed_change#module:timeout).
        type: int
        required: true
      timeout:
        description: Seconds to wait for the evidence.
        type: float
        required: true
      settle:
        description: Seconds after which all of the evidence has to be there once more.
        type: float
        required: true
extends_documentation_fragment:
  - portshift.agents.change_tracker_agent
  - portshift.agents.change_tracker_proof
  - portshift.agents.attributes
  - portshift.agents.attributes.linux_and_windows
  - portshift.agents.attributes.read_only
seealso:
  - module: portshift.agents.change_tracker_evidence
  - module: portshift.agents.change_tracker_hub_url
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: See what moving this agent would change
  portshift.agents.change_tracker_info:
    port: 8443
  register: agent

- name: See where the agent on the hub's own host leads, if there is one
  portshift.agents.change_tracker_info:
    required: false
  register: agent
"""

RETURN = r"""
ok:
  description: Whether nothing stands against the move (RV(problems) is empty).
  returned: success
  type: bool
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
agent:
  description: Whether an agent is installed here. Without one, all that follows is null.
  returned: success
  type: bool
path:
  description: The agent's C(HubDetails.xml).
  returned: success
  type: str
  sample: /var/nnt/gen7agent.app.netcore/HubDetails.xml
url:
  description: The hub's URL, with a query and a fragment hidden, as in all URLs here.
  returned: success
  type: str
  sample: https://hub.example.com/api/
new_url:
  description: The hub's URL on O(port); null without it.
  returned: success
  type: str
  sample: https://hub.example.com:8443/api/
host:
  description: The hub's name or address, out of the URL.
  returned: success
  type: str
  sample: hub.example.com
url_path:
  description: The path of the URL, without its query.
  returned: success
  type: str
  sample: /api/
tls:
  description: Whether the URL is one of HTTPS.
  returned: success
  type: bool
port:
  description: The port that the URL leads to, by its scheme where it names none.
  returned: success
  type: int
  sample: 443
old_port:
  description:
    - The port that the agent moves away from, as RV(record) has it for a migration to O(port) that was begun, or else as
      the URL has it.
    - Null without O(port), and for an agent that has always been on it.
  returned: success
  type: int
  sample: 443
service:
  description: The service of the agent.
  returned: success
  type: str
  sample: nntgen7agentcore
service_active:
  description: Whether it runs; null where that can't be told.
  returned: success
  type: bool
stop:
  description: The command that stops the service on this host, as a list of words.
  returned: success
  type: list
  elements: str
  sample: [systemctl, stop, nntgen7agentcore]
start:
  description: The command that starts it.
  returned: success
  type: list
  elements: str
  sample: [systemctl, start, nntgen7agentcore]
thumbprint:
  description:
    - The fingerprint (SHA-1 or SHA-256) of the certificate that the hub has to have for this agent, as hexadecimal digits.
    - Null for an agent that compares none.
  returned: success
  type: str
  sample: 3F9A5C0E2D7B41886A0C1D94E7F2B3605948D1CA
through_proxy:
  description:
    - Whether an HTTP proxy stands between the agent and its hub - one that the file names, or with C(UseDefaultProxy) one that
      the environment of the running agent names.
    - Then this host can't try by itself what the agent reaches.
  returned: success
  type: bool
log_path:
  description: The log of the agent.
  returned: success
  type: str
edits:
  description: The edits that would lead the agent to O(port); empty when it is there, and without O(port).
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(hub_url).
      type: str
    path:
      description: The file.
      type: str
    port:
      description: The port that the URL gets.
      type: int
    previous_port:
      description: The port that it has.
      type: int
    url:
      description: The URL after the edit.
      type: str
    previous_url:
      description: The URL before the edit.
      type: str
evidence:
  description:
    - The result of M(portshift.agents.change_tracker_evidence) for this host. Where something is missing, its C(ok) is false and
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
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.look import LOOK_SPEC, look
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError


def main():
    module = AnsibleModule(argument_spec=LOOK_SPEC, supports_check_mode=True)
    require_linux(module, ["change_tracker_hub_url"])
    try:
        module.exit_json(**look(module.params))
    except EngineError as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
