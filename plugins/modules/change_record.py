#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: change_record
short_description: Takes back what a migration changed on a host
version_added: 0.1.0
description:
  - Restores every file that the record of a migration names, byte for byte, from the backups beside the record.
  - Refuses, before anything is written, when somebody else has changed one of the files since.
options:
  path:
    description: The record, such as C(/var/lib/portshift/bigfix.json). Without such a file there is nothing to restore.
    type: path
    required: true
  state:
    description: V(restored) puts the files back. V(present) only says what the record holds.
    type: str
    choices: [present, restored]
    default: present
  force:
    description: Restore files that somebody else has changed since as well; what was changed is lost.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Put the files of the BigFix agent back
  portshift.agents.change_record:
    path: /var/lib/portshift/bigfix.json
    state: restored
"""

RETURN = r"""
ok:
  description: Whether going back is safe (RV(unsafe) is empty).
  returned: success
  type: bool
record:
  description: The record; null where there is none. Its C(state) is V(changing), V(verified) or V(rolled_back).
  returned: success
  type: dict
restored:
  description: The files that were put back.
  returned: success
  type: list
  elements: str
restorable:
  description: The files that differ from what they were before the migration, and can be put back.
  returned: success
  type: list
  elements: str
unsafe:
  description: Sentences that say why a file can't be put back safely.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.portshift.agents.plugins.module_utils._change_record import ChangeRecord
from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._settings_file import redacted


def main():
    module = AnsibleModule(
        argument_spec=dict(path=dict(type="path", required=True), force=dict(type="bool", default=False),
                           state=dict(type="str", choices=["present", "restored"], default="present")),
        supports_check_mode=True)
    try:
        record = ChangeRecord(module.params["path"])
        to_restore, unsafe = record.review()
        result = dict(changed=False, restored=[])
        if module.params["state"] == "restored":
            result = record.restore(module, redact=redacted, force=module.params["force"])
        module.exit_json(record=record.content, ok=not unsafe, unsafe=unsafe,
                         restorable=[entry["path"] for entry in to_restore], **result)
    except EngineError as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
