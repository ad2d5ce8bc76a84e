#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: change_record
short_description: Takes back what a migration changed on a host, and ends the stay of old records
version_added: 0.1.0
description:
  - Restores every file that the record of a migration names, byte for byte, from the backups beside the record.
  - Refuses, before anything is written, when one of the files has changed since the migration.
  - A file that was not there before the migration is taken away.
  - The C(HubDetails.xml) of an agent of Netwrix Change Tracker may have been written anew by its agent, as it is when its
    credentials change. The port alone goes back then, since the old credentials would lock the agent out.
  - When a new migration begins, the record of the one before moves to the folder beside the record, where its backups lie, as
    C(<began>-<old port>-<new port>.json). There it stays until O(state=pruned) removes it.
options:
  path:
    description: The record, such as C(/var/lib/portshift/bigfix.json). Without such a file there is nothing to restore.
    type: path
    required: true
  state:
    description:
      - V(restored) puts the files back. V(present) only says what the record holds.
      - V(pruned) removes records of earlier migrations, and their backups, as O(keep_days) says. The current record, the
        backups that a remaining record names, and files that no migration put there are never removed.
    type: str
    choices: [present, restored, pruned]
    default: present
  keep_days:
    description:
      - With O(state=pruned), remove the record of an earlier migration when its last change is more than this many days ago,
        and backups that no record names any more when they are that old. The default is to remove nothing.
      - The backups are whole settings files, which may hold passwords and keys. They are readable by root alone, but what has
        been changed in the product since still stands in them. That is why they do not stay for ever.
    type: int
  force:
    description: Restore also files that have changed since the migration; what was changed is lost.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.posix_and_windows
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
notes:
  - The folder of the record, and its files, have to belong to root or the user who runs the module, and no other user may be able
    to write there. Else the module fails, since a record says what is written where.
  - With O(state=restored) and O(state=pruned) a cutover, rollback or pruning of the same host that is under way is waited for,
    up to 120 seconds. Meanwhile a file O(path) with C(.lock) behind it lies there.
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Put the files of the BigFix agent back
  portshift.agents.change_record:
    path: /var/lib/portshift/bigfix.json
    state: restored

- name: Remove records and backups of migrations that ended more than 90 days ago
  portshift.agents.change_record:
    path: /var/lib/portshift/bigfix.json
    state: pruned
    keep_days: 90
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
removed:
  description: The files that were removed, or would be in check mode - records of earlier migrations and backups.
  returned: with O(state=pruned)
  type: list
  elements: str
left:
  description: Sentences on what lies beside the backups and was left, since no migration is known to have put it there.
  returned: with O(state=pruned)
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
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import (
    CHANGE_RECORD_SPEC, ChangeRecord, alone_on_host, check_keep_days, outcome)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKinds

# What products hand in is what is imported here.  It is asked in this order for a file of a record that names no kinds.
# pylint: disable=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import hub_edit
from ansible_collections.portshift.agents.plugins.module_utils._nginx import conf as nginx_conf
from ansible_collections.portshift.agents.plugins.module_utils._boks import services_file
from ansible_collections.portshift.agents.plugins.module_utils._bigfix import edit as bigfix_edit

KINDS = FileKinds.imported(globals())


def main():
    module = AnsibleModule(argument_spec=CHANGE_RECORD_SPEC, supports_check_mode=True)
    path = module.params["path"]
    try:
        check_keep_days(module.params["keep_days"])
        reads_only = module.check_mode or module.params["state"] == "present"
        with alone_on_host(path, reads_only, may_be_first=False):
            result = outcome(module, ChangeRecord(path), KINDS)
    except EngineError as err:
        module.fail_json(msg=str(err))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
