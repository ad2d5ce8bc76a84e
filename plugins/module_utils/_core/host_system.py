# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operating system of this host, and whether a module works on it.

Products run on more systems than these modules: agents of BigFix and BoKS on AIX and Solaris, too.  A module that asks for
processes, sockets, services or firewalls asks Linux for them; one that edits a file, or asks the network, works on each POSIX
host.  On Windows no module in Python runs: there the actions of this collection have others do it.
"""

import os
import sys


def described():
    """Such as: AIX (release 2, version 7)."""
    found = os.uname()
    return "%s (release %s, version %s)" % (found[0], found[2], found[3])


def is_linux():
    return sys.platform.startswith("linux")


def require_linux(module, editors=(), **result):
    """Fails, before anything is asked or changed, on a host whose answers this module would not understand.

    `editors`: the modules of the same product that edit its files on such a host too.
    `result`: what the module returns beside the sentence.
    """
    if not is_linux():
        others = " and ".join(editors) or "those whose documentation has the platform posix"
        module.fail_json(msg=(
            "this host runs %s, and this module works on Linux alone, whose processes, sockets and services it asks for; nothing "
            "was changed. Leave the host out of the run (by --limit, or out of its group in the inventory) and move its product "
            "by hand; of this collection's modules %s work here as well" % (described(), others)), **result)
