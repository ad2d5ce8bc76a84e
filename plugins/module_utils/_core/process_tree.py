# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's master and its workers (Linux, read from /proc)."""

import os


def _process(pid, proc):
    """(name, pid of the parent, when it began in ticks since the boot) of a process; None when it has ended."""
    try:
        with open(os.path.join(proc, str(pid), "stat"), "rb") as source:
            name, unused, rest = source.read().partition(b"(")[2].rpartition(b")")
        fields = rest.split()
        return name, int(fields[1]), int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def master_of(pid, proc="/proc"):
    """The process at the head of a server's own: its workers share its sockets, and which of them is found is chance.

    None for a process that has ended: whose it was can't be told any more.
    """
    found = _process(pid, proc)
    while found:
        above = _process(found[1], proc)
        if not above or above[0] != found[0]:
            return pid
        pid, found = found[1], above
    return None


def workers_of(master, proc="/proc"):
    """{(pid, when it began)} of a server's workers."""
    name, workers = (_process(master, proc) or (None,))[0], set()
    for pid in filter(str.isdigit, os.listdir(proc)):
        found = _process(pid, proc)
        if found and found[:2] == (name, master):
            workers.add((int(pid), found[2]))
    return workers


def has_workers(master, proc="/proc"):
    """Whether a server has workers, and this user may see what they have open: root in a container may not always."""
    for pid in [worker[0] for worker in workers_of(master, proc)]:
        try:
            # Shown to those who may see the open files too.
            os.readlink(os.path.join(proc, str(pid), "exe"))
            return True
        except OSError:
            continue
    return False
