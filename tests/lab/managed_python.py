# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python that runs Ansible's modules on the hosts of a lab of processes."""

import os
import subprocess
import sys

# The platform's own, as on a managed host.  It is also the faster one where the controller's was compiled from source
# without optimization: a module run took 0.33 s of CPU instead of 0.70 s with pyenv's 3.13.
PLATFORM = ("/usr/libexec/platform-python", "/usr/bin/python3")
# ansible-core 2.21 asks for this on a managed host.
OLDEST = (3, 9)
_FOUND = []


def managed_python():
    """-> the path of the platform's Python where it is new enough, else of the one that runs this."""
    if not _FOUND:
        _FOUND.append(next(filter(_is_usable, PLATFORM), sys.executable))
    return _FOUND[0]


def _is_usable(path):
    # What a module of Ansible needs and some minimal installations leave out is asked for too.
    ask = "import sys, json, zipfile, ssl; sys.exit(sys.version_info < %r)" % (OLDEST,)
    return os.access(path, os.X_OK) and subprocess.call(
        [path, "-E", "-s", "-c", ask], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
