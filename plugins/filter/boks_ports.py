# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter portshift.agents.boks_ports; documented in boks_ports.yml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.portshift.agents.plugins.module_utils._boks.domain import parse_base, ports
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError


def boks_ports(base: object, role: str = "all", direction: str = "in") -> Any:
    try:
        return ports(parse_base(base, "the base port"), role, direction)
    except EngineError as err:
        raise AnsibleFilterError("boks_ports: %s" % err) from err


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"boks_ports": boks_ports}
