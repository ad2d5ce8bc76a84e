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

# What works where require_linux() refuses, for its sentence.
EDITORS = "bigfix_masthead, bigfix_settings, change_tracker_hub_url and services_entry"


def described():
    """Such as: AIX (release 2, version 7)."""
    found = os.uname()
    return "%s (release %s, version %s)" % (found[0], found[2], found[3])


def is_linux():
    return sys.platform.startswith("linux")


def require_linux(module, **result):
    """Fails, before anything is asked or changed, on a host whose answers this module would not understand.

    `result`: what the module returns beside the sentence.
    """
    if not is_linux():
        module.fail_json(msg=(
            "this host runs %s, and this module works on Linux alone, whose processes, sockets and services it asks for; nothing "
            "was changed. Leave the host out of the run (by --limit, or out of its group in the inventory) and move its product "
            "by hand; of this collection's modules %s edit its files here as well" % (described(), EDITORS)), **result)
