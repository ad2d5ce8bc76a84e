# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module in a process of its own, called as Ansible's wrapper does, without a round trip through a control node."""

import json
import os
import subprocess
import sys

from tests.integration import forked

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
    return [*prefix, "env", "PYTHONPATH=" + COLLECTIONS, sys.executable, "-c", CALL, _dotted(name), json.dumps(arguments)]


def _dotted(name):
    return name if "." in name else OURS + name


def server(prefix, env=None):
    """A process that forks for modules behind a prefix, such as nsenter; close() ends it."""
    return forked.Server("module", env=dict(os.environ if env is None else env, PYTHONPATH=COLLECTIONS), prefix=prefix)


def begin(name, arguments, prefix=(), env=None, server=None, session=False, collections=COLLECTIONS, **options):
    """A module that has begun; communicate() and the like as subprocess.Popen has them.

    With a prefix and no server there, it begins from nothing.  `collections`: the folder of another's.
    """
    if prefix and not server:
        return subprocess.Popen(command(name, arguments, prefix), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=env, start_new_session=session, **options)
    given = dict(os.environ if env is None else env, PYTHONPATH=collections)
    return forked.begin("module", ["ansible_collections." + _dotted(name), json.dumps(arguments)], env=given, server=server,
                        session=session, **options)


def run(name, arguments, prefix=(), timeout=120, **options):
    """-> the subprocess.CompletedProcess of a module: what it printed, and how it ended"""
    process = begin(name, arguments, prefix, **options)
    try:
        output, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(name, process.returncode, output, error)


def result(output, error=""):
    """What the module returned, out of what it printed."""
    assert output.strip(), error
    return json.loads(output.strip().splitlines()[-1])
