# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections of a service of this host to a peer, such as those of an agent to its parent or hub."""

import time

# An agent may connect for each report anew, and be done in a moment: looked at often, for this long at a time.
LOOK_AGAIN = 0.05
LOOK_FOR = 2


def connections_of(host, owns, addresses, port):
    """On this host, (those of the service, those of other processes) among the connections to `port` at one of these addresses.

    owns(pid): whether the process is one of the service, None where that can't be told; then it counts as the service's.  The
    answer is None where the host can't tell its connections.
    """
    found = host.connections(addresses, port)
    if found is None:
        return None
    ours, others = [], []
    for entry in found:
        # A socket is that of a process and of those that have inherited it.
        answers = [owns(pid) for pid in entry["owners"] or [None]]
        (others if all(answer is False for answer in answers) else ours).append(entry)
    return ours, others


def wait_for_connection(host, owns, addresses, port, seconds):
    """The same, looked at again and again until the service has an established one, or for so many seconds."""
    end = time.monotonic() + min(LOOK_FOR, seconds)
    while True:
        found = connections_of(host, owns, addresses, port)
        if (found is None or any(entry["established"] for entry in found[0]) or not host.is_live() or time.monotonic() >= end):
            return found
        time.sleep(LOOK_AGAIN)


def shown(host, port):
    return ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)


def who(entry):
    return "%(process)s (pid %(pid)s)" % entry if entry["pid"] else "a process of another user"
