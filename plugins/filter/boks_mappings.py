# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter portshift.agents.boks_mappings; documented in boks_mappings.yml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.portshift.agents.plugins.module_utils._boks.domain import parse_base, ports
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError


def boks_mappings(listen_base: Any, target_base: Any, role: str) -> list[dict[str, Any]]:
    try:
        listen_base, target_base = parse_base(listen_base, "the base port"), parse_base(target_base, "the base port to lead to")
        entries = [entry for entry in ports(listen_base, role) if entry["movable"]]
    except EngineError as err:
        raise AnsibleFilterError("boks_mappings: %s" % err) from err
    return [dict(listen_port=entry["port"], target_port=target_base + entry["offset"], protocols=[entry["protocol"]])
            for entry in entries]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"boks_mappings": boks_mappings}
