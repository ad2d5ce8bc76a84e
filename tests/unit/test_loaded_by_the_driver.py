# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks of every host need is loaded before the workers of these tasks are begun."""

import os
import subprocess
import sys

LOOK = """
import sys
from ansible_collections.portshift.agents.plugins.plugin_utils._registry import PRODUCTS
assert list(PRODUCTS) and PRODUCTS["bigfix"]
before = set(sys.modules)
from ansible_collections.portshift.agents.plugins.lookup import bigfix_options, host_family
print(*sorted(name.rpartition(".")[2] for name in set(sys.modules) - before if "portshift" in name))
"""


def test_options_of_bigfix_load_nothing_that_the_driver_has_not_loaded():
    collections = os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0]
    done = subprocess.run([sys.executable, "-c", LOOK], stdout=subprocess.PIPE, text=True, check=True, timeout=60,
                          env=dict(os.environ, PYTHONPATH=collections))
    assert done.stdout.split() == ["bigfix_options", "host_family", "lookup"]
