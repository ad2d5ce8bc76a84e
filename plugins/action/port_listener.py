# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The temporary listener of a host by the module of the same name; a Windows host has none."""

from __future__ import annotations

from typing import Any

from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import ForBothFamilies


class ActionModule(ForBothFamilies):

    def on_windows(self, task_vars: Any) -> Result:
        if self._task.args.get("state") == "absent":
            return dict(changed=False, listening=False, already_in_use=False, used_by=[], pid=None, until=None)
        return dict(failed=True, changed=False, msg=(
            "a Windows host has no temporary listener, so that the paths to its new port can't be proved before it moves; let a "
            "bridge (port_bridge) answer on the new port until then, or prove the paths when it has moved"))
