# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a migration by the module of the same name; that on a Windows host by its script."""

from __future__ import annotations

from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import edit as bigfix_edit
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import hub_edit
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import CHANGE_RECORD_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKinds
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import record
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import ForBothFamilies, told_by
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script

# Of the products that are on Windows hosts.
KINDS = FileKinds(hub_edit, bigfix_edit)


class ActionModule(ForBothFamilies):

    def on_windows(self, task_vars: Any) -> Result:
        return told_by(self, CHANGE_RECORD_SPEC, lambda module: record.outcome(Script(self, task_vars), module, KINDS))
