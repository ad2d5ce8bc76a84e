# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of ansible.windows.slurp."""

import base64
import os

from ansible_collections.ansible.windows.plugins.module_utils._double import double_of
from ansible_collections.ansible.windows.plugins.module_utils._machine import ComError

ARGUMENTS = dict(src=dict(type="str", required=True, aliases=["path"]))


def main():
    module, machine = double_of("slurp", ARGUMENTS)
    given = module.params["src"]
    try:
        path = machine.below(given)
    except ComError as err:
        module.fail_json(msg=str(err))
    if os.path.isdir(path):
        module.fail_json(msg="Path %s is a directory" % given)
    if not os.path.exists(path):
        module.fail_json(msg="Path %s is not found" % given)
    with open(path, "rb") as stream:
        content = stream.read()
    module.exit_json(changed=False, content=base64.b64encode(content).decode("ascii"), encoding="base64")


if __name__ == "__main__":
    main()
