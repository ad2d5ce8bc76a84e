# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The temporary listener of a host by the module of the same name; a Windows host has none."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import is_powershell


class ActionModule(ActionBase):

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        if not is_powershell(self):
            result.update(self._execute_module(task_vars=task_vars))
            return result
        if self._task.args.get("state") == "absent":
            return dict(result, changed=False, listening=False, already_in_use=False, used_by=[], pid=None, until=None)
        return dict(result, failed=True, changed=False, msg=(
            "a Windows host has no temporary listener, so that the paths to its new port can't be proved before it moves; let it "
            "have its bridge (bigfix_bridge: true), by which the new port answers until then"))
