# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process is a service of a host: pid and start time, so that a recycled pid is never taken for it."""

import os

from .files import write_atomically


def start_time(pid):
    """Field 22 of /proc/PID/stat; None for a process that is gone or a zombie, which is as good as gone.

    A zombie that counts threads is not: until the last of them is gone they hold its sockets and files.
    """
    try:
        with open("/proc/%d/stat" % pid, "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in (b"Z", b"X") and int(fields[17]) <= 1 else int(fields[19])


def record(host, service):
    """Called by the daemon itself, first of all: so it is on record whatever becomes of its starter."""
    me = os.getpid()
    write_atomically(host.run(service, ".pid"), ("%d %d\n" % (me, start_time(me))).encode("ascii"))


def mark_ready(host, service, port):
    text = "%d %d\n" % (os.getpid(), port or 0)
    write_atomically(host.run(service, ".ready"), text.encode("ascii"))


def forget(host, service):
    for suffix in (".ready", ".pid"):
        try:
            os.unlink(host.run(service, suffix))
        except OSError:
            pass


def _numbers(path):
    try:
        with open(path) as stream:
            first, second = stream.read().split()
            return int(first), int(second)
    except (OSError, ValueError):
        return None


def recorded(host, service):
    """-> (pid, start time) of the running service, or None."""
    found = _numbers(host.run(service, ".pid"))
    return found if found is not None and start_time(found[0]) == found[1] else None


def ready_port(host, service):
    """The port that the running service listens on (0: none); None while it is not ready or not there."""
    process = recorded(host, service)
    ready = _numbers(host.run(service, ".ready"))
    return ready[1] if process and ready and ready[0] == process[0] else None
