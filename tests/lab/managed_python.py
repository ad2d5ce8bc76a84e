# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python that runs Ansible's modules on the hosts of a lab of processes."""

import functools
import os
import subprocess
import sys

# The platform's own, as on a managed host.  It is also the faster one where the controller's was compiled from source
# without optimization: a module run took 0.33 s of CPU instead of 0.70 s with pyenv's 3.13.
PLATFORM = ("/usr/libexec/platform-python", "/usr/bin/python3")
# ansible-core 2.21 asks for the first on a managed host; the lab's own programs need the other.
MODULES, LAB = (3, 9), (3, 11)


@functools.lru_cache(maxsize=None)
def managed_python(oldest=MODULES):
    """-> the path of the platform's Python where it is new enough, else of the one that runs this."""
    return next((path for path in PLATFORM if _is_usable(path, oldest)), sys.executable)


def _is_usable(path, oldest):
    # What a module of Ansible needs and some minimal installations leave out is asked for too.
    ask = "import sys, json, zipfile, ssl; sys.exit(sys.version_info < %r)" % (oldest,)
    return os.access(path, os.X_OK) and subprocess.call(
        [path, "-E", "-s", "-c", ask], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
