# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port numbers: what counts as one, and which ones BigFix can't use."""

import re

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

# HCL's installation pages: 52314 is taken by the agent's own inspector port, whatever the deployment uses.
BIGFIX_FORBIDDEN = {52314: "BigFix keeps 52314 for itself"}

# WebUI and Web Reports stay where they are; a move onto their default ports would collide with them.
BIGFIX_NEIGHBOURS = {80: "WebUI", 443: "WebUI", 8080: "Web Reports", 8443: "Web Reports"}


class PortError(EngineError):
    """A value that can't be the port; the sentence names it."""


def parse_port(value, name="port", forbidden=None):
    """The port number in V(value) (int, or text of digits): 1-65535 and not one of `forbidden` (port -> reason)."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.match(r"^[0-9]+\Z", text):
        raise PortError("%s is %r, which is not a port number: give a whole number from 1 to 65535" % (name, value))
    port = int(text)
    if not 1 <= port <= 65535:
        raise PortError("%s is %d, which is not a port number: give a whole number from 1 to 65535" % (name, port))
    if port in (forbidden or {}):
        raise PortError("%s is %d, which can't be used: %s; choose another port" % (name, port, forbidden[port]))
    return port


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
