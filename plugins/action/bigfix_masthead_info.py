# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A masthead by the module of the same name; one on a Windows host by its script."""

from __future__ import annotations

from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.file_modules import MASTHEAD_INFO_SPEC
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import bigfix_files
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import ForBothFamilies, told_by
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script


class ActionModule(ForBothFamilies):

    def on_windows(self, task_vars: Any) -> Result:
        return told_by(self, MASTHEAD_INFO_SPEC, lambda module: bigfix_files.masthead_info(
            Script(self, task_vars), module.params))
