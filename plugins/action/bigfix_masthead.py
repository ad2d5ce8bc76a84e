# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings O(src) to the host before the module runs there, as ansible.builtin.copy does."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result


class ActionModule(ActionBase):

    TRANSFERS_FILES = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
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
