# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports that BigFix can't use."""

from ansible_collections.portshift.agents.plugins.module_utils._core.ports import PortError, parse_port

# HCL's installation pages: 52314 is taken by the agent's own inspector port, whatever the deployment uses.
BIGFIX_FORBIDDEN = {52314: "BigFix keeps 52314 for itself"}

# WebUI and Web Reports stay where they are; a move onto their default ports would collide with them.
BIGFIX_NEIGHBOURS = {80: "WebUI", 443: "WebUI", 8080: "Web Reports", 8443: "Web Reports"}


def parse_bigfix_port(value, name="port"):
    """A port that a BigFix file may hold: 1-65535 and never 52314."""
    return parse_port(value, name, BIGFIX_FORBIDDEN)


def parse_bigfix_target(value, name="port"):
    """A port that a BigFix deployment may move to: not privileged, and not one of its own neighbours' either.

    [vendor] 1-1024 are refused by the product's installer.
    """
    port = parse_bigfix_port(value, name)
    if port <= 1024:
        raise PortError("%s is %d: BigFix does not take a port from 1 to 1024; choose one above 1024" % (name, port))
    if port in BIGFIX_NEIGHBOURS:
        raise PortError("%s is %d, the default port of %s, which does not move; choose another port"
                        % (name, port, BIGFIX_NEIGHBOURS[port]))
    return port
