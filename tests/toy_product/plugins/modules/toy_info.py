# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: toy_info
short_description: What the file and the record of a toy say
version_added: 0.2.0
description: A toy product, by which docs/adding-a-product.md is proved.
author: The portshift.agents authors (@portshift)
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._toy.host import HOST_SPEC, look


def main():
    module = AnsibleModule(argument_spec=HOST_SPEC, supports_check_mode=True)
    try:
        module.exit_json(**look(module.params))
    except EngineError as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
