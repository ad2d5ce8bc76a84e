# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports for a test's own services, which are still free when the service comes to bind them."""

import itertools
import os
import socket

# Below those that the kernel gives to connections (32768 and up), one of which any other test could have by then; and each
# process that runs tests has its own.
EACH = 1200
FIRST = 30300 + EACH * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 2)
_NEXT = itertools.count(os.getpid())


def _is_free(port):
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(("0.0.0.0", port))
            udp.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


def own_addresses(count):
    """-> [address] of loopback, at most three, that no other process takes for its tests: for services on fixed ports."""
    # As many as there can be processes (pid_max is at most 2 ** 22), times four, fill 127.0.0.0/8.
    numbers = (4 * os.getpid() + number for number in range(count))
    return ["127.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255) for number in numbers]


def free_ports(count):
    """-> [port] by TCP and UDP on every address of this machine; not one of them is given twice for a long time."""
    candidates = (FIRST + number % EACH for number in _NEXT)
    return list(itertools.islice(filter(_is_free, candidates), count))
