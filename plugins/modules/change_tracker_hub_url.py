#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: change_tracker_hub_url
short_description: Changes the hub's port in the HubDetails.xml of a Netwrix Change Tracker agent
version_added: 0.2.0
description:
  - Moves the port in the text of the one C(Url) directly below the root C(HubDetails), or puts another URL there.
  - Every other byte stays as it was, with byte order mark, encoding, line endings, comments, spacing, and above all
    C(Username), C(Password) and C(E1), which the agent has encrypted for this machine.
  - A C(Url) in a comment, in a CDATA section or inside another element does not count.
  - A file that leaves room for doubt is refused and stays untouched; the sentence says what is wrong in which line and column.
    So are files with a document type (DTD), which are not read any further than up to it.
  - No result, error or diff shows what stands in the file beside the URL. In a diff, the text of all elements but C(Url),
    C(NamePrefix), C(NameSuffix), C(UseDefaultProxy), C(UseDeterministicGuid) and C(UseNewHub) is masked, as are comments,
    processing instructions and the values of attributes.
  - Stop the agent, change the file, start it again; the agent reads it when it starts.
options:
  path:
    description:
      - The file, or the places where it may lie, of which exactly one has to be there. Two names of one file are one.
      - The default is where Netwrix's pages have it on Linux.
      - V(/var/nnt/gen7agent.app.netcore/HubDetails.xml) is the agent for .NET Core, from Netwrix's page "Installing Gen 7 Agent
        for Linux".
      - V(/var/nnt/gen7agent.service/HubDetails.xml) is the agent before that, from the knowledge base article on the log line
        "Hub location details have not been specified".
      - V(/etc/NNT/gen7agent.app.netcore/HubDetails.xml) stands in the script for Linux of the page "Agent Credential Rotation"
        (U(https://docs.netwrix.com/docs/changetracker/8_1/configuration/agent-configuration/credential-rotation)).
    type: list
    elements: path
    default:
      - /var/nnt/gen7agent.app.netcore/HubDetails.xml
      - /var/nnt/gen7agent.service/HubDetails.xml
      - /etc/NNT/gen7agent.app.netcore/HubDetails.xml
  port:
    description:
      - The hub's port. Scheme, host and path of the URL stay as they are.
      - A URL that is on this port already stays as it is, also where it is by its scheme alone.
      - Exactly one of O(port) and O(url) is needed.
    type: int
  url:
    description:
      - The hub's URL as a whole, C(http) or C(https), without user name and password.
      - A query and a fragment are written, but neither shown nor logged.
      - The characters that it has in common with the URL in the file stay in the spelling that they have there.
    type: str
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.edit
  - portshift.agents.attributes.record
seealso:
  - module: portshift.agents.change_record
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Move an agent to the hub's new port
  portshift.agents.change_tracker_hub_url:
    port: 8443
    backup: true

- name: Name the file of an agent that lies elsewhere
  portshift.agents.change_tracker_hub_url:
    path: /opt/nnt/agent/bin/HubDetails.xml
    port: 8443

- name: Move an agent to another hub, and note the way back
  portshift.agents.change_tracker_hub_url:
    url: https://hub2.example.com:8443/api/
    record:
      path: /var/lib/portshift/change_tracker.json
      old_port: 443
      new_port: 8443
"""

RETURN = r"""
path:
  description: The file that was looked at.
  returned: success
  type: str
  sample: /var/nnt/gen7agent.app.netcore/HubDetails.xml
url:
  description: The hub's URL after the change. A query and a fragment are hidden, as in V(https://hub.example.com/api/?********).
  returned: success
  type: str
  sample: https://hub.example.com:8443/api/
previous_url:
  description: The hub's URL before the change, with the same hidden.
  returned: success
  type: str
  sample: https://hub.example.com/api/
port:
  description: The port that the URL leads to after the change.
  returned: success
  type: int
  sample: 8443
previous_port:
  description: The port that the URL led to before the change, by its scheme where it names none.
  returned: success
  type: int
  sample: 443
backup_file:
  description: The copy of the file as it was.
  returned: when O(backup=true) and the file changed
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import RECORD_SPEC, ChangeRecord
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_url import PLACES
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import take_back_interrupted
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_edit import HubEdit
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.module_utils._core.redacted_options import RedactedOptions
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import shown_url


class Module(RedactedOptions, AnsibleModule):
    """This module."""


def shown_params(params):
    """The options as the host's log and the result may show them."""
    return dict(params, url=shown_url(str(params["url"]))) if params.get("url") else params


def main():
    module = Module(
        shown_params,
        argument_spec=dict(path=dict(type="list", elements="path", default=PLACES), port=dict(type="int"),
                           url=dict(type="str"), backup=dict(type="bool", default=False), record=RECORD_SPEC),
        required_one_of=[("port", "url")], mutually_exclusive=[("port", "url")], supports_check_mode=True)
    port, url = module.params["port"], module.params["url"]
    try:
        take_back_interrupted(module.params["path"], module.check_mode)
        edit = HubEdit(module.params["path"], port=None if port is None else parse_port(port), url=url)
        result = edit.commit(module, record=ChangeRecord.from_params(module.params))
        module.exit_json(path=edit.path, url=shown_url(edit.after.url), previous_url=shown_url(edit.before.url),
                         port=edit.after.port, previous_port=edit.before.port, **result)
    except EngineError as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
