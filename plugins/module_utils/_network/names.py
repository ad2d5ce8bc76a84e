# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of a name, as this host's own lookup has them."""

import socket

from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import CommandTimeout, execute
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import plain_address

# Seconds that a resolver may take to answer.
PATIENCE_WITH_NAMES = 10


def addresses_of(host):
    """All addresses of a name, as this host's own lookup has them; empty when it does not resolve."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return {plain_address(socket.inet_ntop(family, socket.inet_pton(family, host.partition("%")[0])))}
        except (OSError, ValueError):
            continue
    try:
        # In a process of its own, which can be ended: a resolver without an answer takes as long as it likes.
        output = execute(["getent", "ahosts", host], PATIENCE_WITH_NAMES)[1]
    except (OSError, CommandTimeout):
        return set()
    return {plain_address(line.split()[0].partition("%")[0]) for line in output.splitlines() if line.strip()}
