# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_port in check mode, whatever the play asks for; on a Windows host by win_firewall_rule, as that."""

from __future__ import annotations

from typing import Any

from ansible_collections.portshift.agents.plugins.action.host_port import ActionModule as HostPort
from ansible_collections.portshift.agents.plugins.module_utils._host_port.plan import LOOK_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.read_only import seen
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import looking


class ActionModule(HostPort):

    SPEC = LOOK_SPEC

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        self._task = looking(self._task)
        return seen(super().run(tmp, task_vars))
