# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of an agent by the module of the same name; that of a Windows host by its script."""

from __future__ import annotations

from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import change_tracker
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import ForBothFamilies, failed, options_of
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script


class ActionModule(ForBothFamilies):

    def on_windows(self, task_vars: Any) -> Result:
        params = options_of(self, change_tracker.EVIDENCE_OPTIONS)
        try:
            return change_tracker.evidence(Script(self, task_vars), params, self._task.check_mode)
        except EngineError as err:
            return failed(err, ok=False, port=params["port"])
