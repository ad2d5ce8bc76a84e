# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of ansible.windows.win_copy, the part on the control node."""

from __future__ import annotations

import json

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        source, content, dest = (self._task.args.get(key) for key in ("src", "content", "dest"))
        result.update(src=source, dest=dest)
        if source is None and content is None or dest is None:
            return dict(result, failed=True, msg="src (or content) and dest are required")
        if source is not None and content is not None:
            return dict(result, failed=True, msg="src and content are mutually exclusive")
        if source is not None:
            return dict(result, failed=True, msg="the double of win_copy does not know src")
        if dest.endswith(("/", "\\")):
            return dict(result, failed=True, msg="dest must be a file if content is defined")
        if isinstance(content, (dict, list)):
            content = json.dumps(content)
        result.update(self._execute_module(
            module_name="ansible.windows.win_copy", module_args=dict(self._task.args, content=content), task_vars=task_vars))
        return result
