# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate between two steps; documented with the module of the same name."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._gate import judged


class ActionModule(ActionBase):

    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            hosts=dict(type="list", elements="str", required=True), evidence=dict(type="str", required=True),
            port=dict(type="int"), max_missing=dict(type="raw", default=0), of=dict(type="int"),
            phase=dict(type="str", default="")))
        try:
            port = None if options["port"] is None else parse_port(options["port"])
            return dict(result, **judged(
                task_vars["hostvars"], options["hosts"], options["evidence"], port, options["max_missing"], options["of"],
                options["phase"], self._task.check_mode))
        except EngineError as err:
            return dict(result, failed=True, msg=str(err))
