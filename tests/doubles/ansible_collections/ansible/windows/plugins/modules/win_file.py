# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of ansible.windows.win_file: folders, and taking away."""

import os
import shutil

from ansible_collections.ansible.windows.plugins.module_utils._double import double_of
from ansible_collections.ansible.windows.plugins.module_utils._machine import ComError

DATE = "yyyy-MM-dd HH:mm:ss"
ARGUMENTS = dict(
    path=dict(type="str", required=True, aliases=["dest", "name"]),
    state=dict(type="str", choices=["absent", "directory", "file", "touch"]),
    modification_time=dict(type="str"),
    modification_time_format=dict(type="str", default=DATE),
    access_time=dict(type="str"),
    access_time_format=dict(type="str", default=DATE),
)


def main():
    module, machine = double_of("win_file", ARGUMENTS, [
        "modification_time", "modification_time_format", "access_time", "access_time_format"])
    given, state = module.params["path"], module.params["state"]
    if state == "touch":
        module.fail_json(msg="the double of win_file does not know state=touch")
    try:
        path = machine.below(given)
    except ComError as err:
        module.fail_json(msg=str(err))
    changed = False
    if os.path.lexists(path):
        if state == "absent":
            changed = True
            if not module.check_mode:
                (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
        elif state == "directory" and not os.path.isdir(path):
            module.fail_json(msg="path %s is not a directory" % given)
        elif state == "file" and os.path.isdir(path):
            module.fail_json(msg="path %s is not a file" % given)
    elif state == "directory" or state is None and given.endswith("\\"):
        changed = True
        if not module.check_mode:
            try:
                os.makedirs(path)
            except OSError as err:
                module.fail_json(msg=str(err))
    elif state != "absent":
        module.fail_json(msg="path %s will not be created" % given)
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
