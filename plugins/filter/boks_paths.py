# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter portshift.agents.boks_paths; documented in boks_paths.yml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.portshift.agents.plugins.module_utils._boks.domain import parse_base
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError


def boks_paths(paths: list[Mapping[str, Any]], base: Any, old_base: Any) -> list[dict[str, Any]]:
    try:
        base, old_base = parse_base(base, "the base port"), parse_base(old_base, "the base port to leave")
    except EngineError as err:
        raise AnsibleFilterError("boks_paths: %s" % err) from err
    return [dict(host=path["host"], port=base + path["offset"], old_port=old_base + path["offset"]) for path in paths]


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"boks_paths": boks_paths}
