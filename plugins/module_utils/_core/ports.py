# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Port numbers: what counts as one."""

import re

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError


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
