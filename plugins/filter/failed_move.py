# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter portshift.agents.failed_move; documented in failed_move.yml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.portshift.agents.plugins.plugin_utils._failed_move import failed_move


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"failed_move": failed_move}
