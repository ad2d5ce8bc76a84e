# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module in a process of its own, called as Ansible's wrapper does, without a round trip through a control node."""

import json
import os
import sys

COLLECTIONS = os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0]
OURS = "portshift.agents.plugins.modules."

CALL = """
import importlib, json, sys
from ansible.module_utils import basic
try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:
    patch_module_args = None
arguments = json.loads(sys.argv[2])
module = importlib.import_module("ansible_collections." + sys.argv[1])
if patch_module_args:
    with patch_module_args(arguments):
        module.main()
else:
    basic._ANSIBLE_ARGS = json.dumps(dict(ANSIBLE_MODULE_ARGS=arguments)).encode()
    module.main()
"""


def command(name, arguments, prefix=()):
    """What to run for module `name`: one of this collection, or the dotted path of another's."""
    return [*prefix, "env", "PYTHONPATH=" + COLLECTIONS, sys.executable, "-c", CALL, name if "." in name else OURS + name,
            json.dumps(arguments)]


def result(output, error=""):
    """What the module returned, out of what it printed."""
    assert output.strip(), error
    return json.loads(output.strip().splitlines()[-1])
