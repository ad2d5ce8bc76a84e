# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of ansible.windows.win_copy, the part on the host: the action plugin hands the content over."""

import hashlib
import os

from ansible_collections.ansible.windows.plugins.module_utils._double import double_of
from ansible_collections.ansible.windows.plugins.module_utils._machine import ComError, write

ARGUMENTS = dict(
    content=dict(type="str"),
    decrypt=dict(type="bool", default=True),
    dest=dict(type="str", required=True),
    backup=dict(type="bool", default=False),
    force=dict(type="bool", default=True),
    local_follow=dict(type="bool", default=True),
    remote_src=dict(type="bool", default=False),
    src=dict(type="str"),
)


def main():
    module, machine = double_of("win_copy", ARGUMENTS, ["backup", "remote_src", "src"])
    given, content = module.params["dest"], module.params["content"].encode("utf-8")
    try:
        path = machine.below(given)
    except ComError as err:
        module.fail_json(msg=str(err))
    folder = given.replace("/", "\\").rpartition("\\")[0]
    if os.path.isdir(path):
        module.fail_json(msg="cannot copy file to dest '%s': object at path is already a directory" % given)
    if os.path.isfile(os.path.dirname(path)):
        module.fail_json(msg="cannot copy file from 'source' to '%s': object at dest parent dir is not a folder" % given)
    changed = True
    if os.path.exists(path):
        with open(path, "rb") as stream:
            changed = module.params["force"] and stream.read() != content
    result = dict(changed=changed, checksum=hashlib.sha1(content).hexdigest(), size=len(content), dest=given,
                  operation="file_copy")
    if changed and not module.check_mode:
        if not os.path.isdir(os.path.dirname(path)):
            module.fail_json(msg="failed to copy file: Destination directory '%s' does not exist" % folder)
        write(path, content.decode("utf-8"))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
