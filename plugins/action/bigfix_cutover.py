# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the issued masthead (O(masthead_src), a file on the control node) along with the module's other arguments.

A Windows host, which runs no module in Python, is moved from here: read, judged, and changed by its script.
"""

from __future__ import annotations

import base64
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.cutover import CUTOVER_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.ports import parse_bigfix_port
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import read_bytes
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._bigfix_issued import find_issued
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import is_powershell
from ansible_collections.portshift.agents.plugins.plugin_utils._task_options import task_options
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import bigfix
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import failed, module_of, options_of
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script


class ActionModule(ActionBase):

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        src = None
        try:
            arguments = task_options(self._task.args)
            src = arguments.get("masthead_src")
            if src:
                # With the arguments instead of as a file: a transfer would cost every host more round trips.
                content = read_bytes(find_issued(self, src))
                arguments["masthead_content"] = base64.b64encode(content).decode("ascii")
        except (AnsibleError, EngineError) as err:
            return dict(result, failed=True, msg="masthead_src: %s" % err if src else str(err))
        if is_powershell(self):
            return dict(result, **self._windows(arguments.get("masthead_content"), task_vars))
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        return result

    def _windows(self, masthead: str | None, task_vars: Any) -> Result:
        params, module = dict(options_of(self, CUTOVER_SPEC), masthead_content=masthead), module_of(self)
        try:
            if params["state"] == "moved":
                parse_bigfix_port(params["port"])
            found = bigfix.moved(Script(self, task_vars), params, module)
        except EngineError as err:
            unproved = dict(ok=False, port=params["port"]) if params["proof"] and params["state"] == "moved" else {}
            found = failed(err, **dict(unproved, **getattr(err, "result", {})))
        return dict(found, warnings=module.warnings) if module.warnings else found
