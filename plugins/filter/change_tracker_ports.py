# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter portshift.agents.change_tracker_ports; documented in change_tracker_ports.yml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_url import ports
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port


def change_tracker_ports(port: object, component: str = "all", direction: str = "both", telnet: bool = False) -> Any:
    try:
        if not isinstance(telnet, bool):
            raise AnsibleFilterError("change_tracker_ports: telnet is %r; give true or false" % (telnet,))
        return ports(parse_port(port, "the hub's port"), component, direction, telnet)
    except EngineError as err:
        raise AnsibleFilterError("change_tracker_ports: %s" % err) from err


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"change_tracker_ports": change_tracker_ports}
