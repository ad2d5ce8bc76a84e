# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One service of one host, as a process: `python3 -E -s -S daemon.py SERVICE HOSTDIR [LABFILE NAME]`.

Runs as a script, so that a host without the checkout (a container) needs this folder and nothing else.
"""

import os
import signal
import socket
import sys
import time

# Instead of this folder: so no module here hides one of the standard library.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from lab import identity  # noqa: E402
from lab.bigfix import Refused  # noqa: E402
from lab.bigfix.host import Host  # noqa: E402

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def program(service, host):
    """Only what a service needs is imported: there may be hundreds of agents."""
    if service == "besclient":
        from lab.bigfix.agent import Agent
        return Agent(host)
    from lab.bigfix import listening
    return {
        "besserver": listening.RootServer,
        "besrelay": listening.Relay,
        "besfilldb": listening.DatabaseService,
        "besgatherdb": listening.DatabaseService,
        "beswebreports": listening.WebReports,
    }[service](host)


def lab_identity(path):
    """Tells a removed lab, and one made anew in the same folder, from the lab that this process belongs to."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def tell_service_manager():
    """systemd goes on with what comes after this service; in the lab of processes no manager asks."""
    address = os.environ.pop("NOTIFY_SOCKET", None)
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notification:
            notification.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)


def main(service, *where):
    host = Host.load(*where)
    # Blocked in every thread and waited for below: no handler ever runs amid other code.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    belongs_to = lab_identity(host.lab_file)
    end_of_life = time.monotonic() + host.lab["life_seconds"]
    identity.record(host, service)
    running = program(service, host)
    try:
        running.prepare()
    except Refused as err:
        sys.stderr.write("%s on %s does not start: %s\n" % (service, host.name, err))
        sys.stderr.flush()
        identity.forget(host, service)
        return 1
    running.start()
    identity.mark_ready(host, service, running.port)
    tell_service_manager()
    while signal.sigtimedwait(SIGNALS, 1.0) is None:
        # A lab leaves no process behind, however it ended.
        if lab_identity(host.lab_file) != belongs_to or time.monotonic() > end_of_life:
            break
    try:
        running.stop()
        identity.forget(host, service)
    except OSError as err:
        if lab_identity(host.lab_file) == belongs_to:
            sys.stderr.write("%s on %s stopped badly: %s\n" % (service, host.name, err))
            sys.stderr.flush()
    # Not sys.exit: threads that wait for a peer would be waited for.  Whatever was answered with 200 is on file.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
