# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.windows LAB: serves the hub with IIS of a lab over WinRM, until it is interrupted."""

import os
import signal
import sys

from .lab_hub import LabHub


def main(arguments):
    if len(arguments) != 1:
        print("usage: python3 -m tests.windows FOLDER-OF-A-LAB", file=sys.stderr)
        return 2
    hub = LabHub(arguments[0])
    path = os.path.join(arguments[0], "windows.json")
    hub.write_inventory(path)
    print("The hub answers over WinRM; add -i %s behind the inventory of the lab.  Ctrl-C ends it." % path, flush=True)
    try:
        signal.sigwait((signal.SIGINT, signal.SIGTERM))
    finally:
        hub.close()
        os.unlink(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
