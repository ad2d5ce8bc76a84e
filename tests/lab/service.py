# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service(8) of a host of the lab: `service.py HOSTDIR SERVICE start|stop|status|restart`.

Exit codes as its model: status 0 running, 3 stopped; 4 unknown service; 1 failed; 2 wrong usage.
"""

import fcntl
import os
import sys

# Instead of this folder: so no module here hides one of the standard library.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from lab import identity  # noqa: E402
from lab.bigfix.host import Host  # noqa: E402


def say(text, code):
    (sys.stderr if code else sys.stdout).write(text + "\n")
    return code


def main(host_dir, *arguments):
    if len(arguments) != 2 or arguments[1] not in ("start", "stop", "status", "restart"):
        return say("Usage: service SERVICE start|stop|status|restart", 2)
    service, action = arguments
    try:
        host = Host.load(host_dir)
    except FileNotFoundError as err:
        return say("%s: the lab of this host is gone." % err.filename, 1)
    if service not in host.services:
        return say("%s: unknown service on %s, which has %s." % (service, host.name, ", ".join(host.services)), 4)
    if action == "status":
        running = identity.recorded(host, service)
        print("%s is running (pid %d)." % (service, running[0]) if running else "%s is stopped." % service)
        return 0 if running else 3
    # Here, since a look asks for the status of every host, and this import takes longer than that.
    from lab import processes
    # One at a time: two starts at once would run two agents on one state file.
    with open(host.run(service, ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if action in ("stop", "restart"):
                running = identity.recorded(host, service)
                processes.stop([running] if running else [])
            if action in ("start", "restart"):
                processes.start(host, service)
        except processes.Failed as err:
            return say(str(err), 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
