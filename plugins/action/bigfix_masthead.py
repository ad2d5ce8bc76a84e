# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings O(src) to the host before the module runs there, as ansible.builtin.copy does.

The masthead of a Windows host, which runs no module in Python, is changed from here, by its script.
"""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.file_modules import MASTHEAD_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import read_bytes
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import is_powershell
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import bigfix_files
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import told_by
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import Module
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script


class ActionModule(ActionBase):

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        if is_powershell(self):
            return dict(result, **told_by(self, MASTHEAD_SPEC, lambda module: self._windows(module, task_vars)))
        arguments = dict(self._task.args)
        src = arguments.get("src")
        remote = self._task.args.get("remote_src") in (True, "true", "yes", "True", "1", 1)
        if not src or remote:
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
            return result
        try:
            found = self._find_needle("files", src)
        except AnsibleError as err:
            return dict(result, failed=True, msg="src: %s was not found on the control node: %s" % (src, err))
        self._make_tmp_path()
        try:
            arguments["src"] = self._transfer_file(found, self._connection._shell.join_path(
                self._connection._shell.tmpdir, "issued.afxm"))
            self._fixup_perms2((self._connection._shell.tmpdir, arguments["src"]))
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        # The person knows the file by the name that the task gave it.
        if "msg" in result:
            result["msg"] = result["msg"].replace(arguments["src"], src)
        return result

    def _windows(self, module: Module, task_vars: Any) -> Result:
        src, issued = module.params["src"], None
        if src and not module.params["remote_src"]:
            try:
                issued = read_bytes(self._find_needle("files", src))
            except AnsibleError as err:
                return dict(failed=True, changed=False, msg="src: %s was not found on the control node: %s" % (src, err))
        return bigfix_files.masthead(Script(self, task_vars), module, issued)
