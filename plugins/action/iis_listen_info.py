# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iis_listen in check mode, whatever the play asks for; documented with the module of the same name."""

from __future__ import annotations

from typing import Any

from ansible_collections.portshift.agents.plugins.action.iis_listen import LOOK_SPEC
from ansible_collections.portshift.agents.plugins.action.iis_listen import ActionModule as IisListen
from ansible_collections.portshift.agents.plugins.module_utils._core.read_only import seen
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import looking


class ActionModule(IisListen):

    SPEC = LOOK_SPEC

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        self._task = looking(self._task)
        return seen(super().run(tmp, task_vars))
