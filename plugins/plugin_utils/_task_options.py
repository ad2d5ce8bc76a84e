# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a task, those that came in one dictionary included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError


def task_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, the arguments of the task, with what O(options) has and is not named beside it.

    One template makes them all: Ansible compiles each template anew in each task of each host.
    """
    several = given.get("options")
    if several is not None and not isinstance(several, Mapping):
        raise EngineError("options: %r; give a dictionary of this module's options" % (several,))
    return dict(several or {}, **{name: value for name, value in given.items() if name != "options"})
