#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_settings
short_description: Changes client settings in a settings file of the BigFix agent
version_added: 0.1.0
description:
  - Sets and removes client settings in V(besclient.config), V(besrelay.config) or V(besserver.config), and moves the port
    inside URL-valued settings.
  - Every byte outside of the values stays as it was; line endings, comments, spacing and letter case too.
  - The running agent rewrites its file. Stop it, change the file, start it again.
  - On a Windows host the settings of the agent are a key of the registry. Each value is changed only where it is still what was
    read, and keeps its type. A setting of another type than text is left alone, and is a failure where O(settings) names it.
options:
  path:
    description:
      - The settings file.
      - On a Windows host the key, C(HKLM\SOFTWARE\WOW6432Node\BigFix\EnterpriseClient\Settings\Client), or such a file as
        C({client}\clientsettings.cfg).
    type: path
    required: true
  settings:
    description:
      - The values by the name of the setting; null removes a setting.
      - Names compare without regard to letter case, as the agent does.
      - Values are shown, in results, diffs and the host's log, for names that are known to be harmless, and hidden for all
        others.
    type: dict
    default: {}
  rewrite_port:
    description:
      - Moves a port inside settings whose value is a URL or a list of URLs, and nowhere else.
      - The effective date of these settings stays.
      - An address without a scheme, as in C(relay1:52311;relay2:52311), is left alone and named in RV(notes).
    type: dict
    suboptions:
      from:
        description: The port to look for.
        type: int
        required: true
      to:
        description: The port to put in its place.
        type: int
        required: true
  effective_date:
    description:
      - The effective date of the settings that get another value, such as V(Sat, 21 Nov 2026 20:18:00 +0000).
      - The default is now.
    type: str
  format:
    description:
      - V(config) for the files of the agent, V(clientsettings) for a C(clientsettings.cfg) with its lines of C(NAME=VALUE).
    type: str
    choices: [config, clientsettings]
    default: config
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.posix_and_windows
  - portshift.agents.attributes.windows_file
  - portshift.agents.attributes.edit
  - portshift.agents.attributes.record
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Move a client's settings to the new port
  portshift.agents.bigfix_settings:
    path: /var/opt/BESClient/besclient.config
    settings:
      _BESClient_RelaySelect_Port: 55000
    rewrite_port:
      from: 52311
      to: 55000
    backup: true

- name: Move the settings of a client on Windows to the new port
  portshift.agents.bigfix_settings:
    path: HKLM\SOFTWARE\WOW6432Node\BigFix\EnterpriseClient\Settings\Client
    rewrite_port:
      from: 52311
      to: 55000
"""

RETURN = r"""
settings:
  description:
    - All settings of the file after the change. Of the values, those are shown that are known to be harmless, a URL among them
      without user info, query and fragment.
    - Of all others only the port that O(rewrite_port) moves is shown, as in V(********:55000********), or V(********).
  returned: success
  type: dict
  sample: {"_BESClient_RelaySelect_Port": "55000", "__RelayServer1": "http://relay1.example.test:55000/bfmirror/downloads/"}
previous:
  description:
    - All settings of the file before the change; null for one that was asked for and was not there. What is shown of the values
      is the same.
  returned: success
  type: dict
  sample: {"_BESClient_RelaySelect_Port": null, "__RelayServer1": "http://relay1.example.test:52311/bfmirror/downloads/"}
rewritten:
  description: The names of the settings in whose URLs the port was moved.
  returned: success
  type: list
  elements: str
  sample: ["__RelayServer1"]
notes:
  description:
    - Sentences on settings that name an address with the port of O(rewrite_port), but without C(http://) in front, as in
      C(relay1:52311;relay2:52311). They were left alone. Each is a warning, too.
  returned: success
  type: list
  elements: str
  version_added: 0.2.0
backup_file:
  description: The copy of the file as it was; of a key of the registry as a file that C(reg import) takes.
  returned: when O(backup=true) and the file changed
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.file_modules import (
    SETTINGS_SPEC, asked_settings, edit_settings)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.settings_file import shown_name, shown_value
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import take_back_interrupted
from ansible_collections.portshift.agents.plugins.module_utils._core.redacted_options import RedactedOptions
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import MASK


class Module(RedactedOptions, AnsibleModule):
    """This module."""


def shown_params(params):
    """The options as the host's log and the result may show them."""
    wanted = params.get("settings")
    if not isinstance(wanted, dict):
        # Text that is still to become one, or nothing.
        return dict(params, settings=MASK if wanted else wanted)
    return dict(params, settings={
        shown_name(str(name)): value if value is None or shown_value(str(name), str(value)) == str(value)
        else shown_value(str(name), str(value)) for name, value in wanted.items()})


def main():
    module = Module(shown_params, argument_spec=SETTINGS_SPEC, supports_check_mode=True)
    try:
        asked = asked_settings(module.params)
        take_back_interrupted([module.params["path"]], module.check_mode)
        result = edit_settings(module, asked, ChangeRecord.from_params(module.params))
    except EngineError as err:
        module.fail_json(msg=str(err))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
