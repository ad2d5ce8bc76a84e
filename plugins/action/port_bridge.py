# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port bridge of a host by the module of the same name; that of a Windows host by its script."""

from __future__ import annotations

from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._bridge.bridge import asked_mappings
from ansible_collections.portshift.agents.plugins.module_utils._bridge.options import BRIDGE_SPEC, DIRECTION_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import bridge
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import (
    ForBothFamilies, failed, module_of, options_of)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script


class ActionModule(ForBothFamilies):

    SPEC: dict[str, Any] = dict(BRIDGE_SPEC, state=dict(type="str", choices=["present", "absent"], default="present"),
                                **DIRECTION_SPEC)
    LOOKS = False

    def on_windows(self, task_vars: Any) -> Result:
        options = options_of(self, self.SPEC)
        asked = options.get("state") != "absent" and (options["mappings"] or options["listen_port"] is not None)
        pairs = [(listen, target) for listen, target, protocols in (asked_mappings(options) if asked else ())
                 if "tcp" in (protocols or options["protocols"])]
        try:
            found = bridge.outcome(Script(self, task_vars), module_of(self), options, pairs, self.LOOKS)
        except EngineError as err:
            return failed(err)
        if self._task.diff and not self.LOOKS:
            found["diff"] = dict(before="\n".join(found["previous"] + [""]), after="\n".join(found["rules"] + [""]),
                                 before_header="live rules", after_header="live rules")
        return dict(found, changed=False) if self.LOOKS else found
