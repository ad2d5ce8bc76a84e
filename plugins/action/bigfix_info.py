# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads O(masthead_src) on the control node, once, and tells the module what stands in it.

A Windows host, which runs no module in Python, is looked at from here, by its script.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.look import LOOK_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead import issued_facts
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._bigfix_issued import find_issued, read_issued
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import is_powershell
from ansible_collections.portshift.agents.plugins.plugin_utils._task_options import task_options
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import bigfix
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import failed, options_of
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script


class ActionModule(ActionBase):

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        src = None
        try:
            arguments = task_options(self._task.args)
            src = arguments.pop("masthead_src", None)
            if src:
                arguments["issued"] = issued_facts(read_issued(find_issued(self, src)))
        except (AnsibleError, EngineError) as err:
            return dict(result, failed=True, msg="masthead_src: %s" % err if src else str(err))
        if is_powershell(self):
            params = dict(options_of(self, LOOK_SPEC), issued=arguments.get("issued"))
            try:
                return dict(result, **bigfix.looked(Script(self, task_vars), params))
            except EngineError as err:
                return dict(result, **failed(err))
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        return result
