# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes from a host by the module of the same name; from a Windows host by its script.

Where no target is asked for, and the port is said that this is about, no host is.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._network.probe_targets import (
    PROBE_SPEC, asked, check_options)
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import ForBothFamilies, failed, options_of
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import WindowsHost
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script


class ActionModule(ForBothFamilies):

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        given = self._task.args
        if given.get("targets") != [] or given.get("port") is None or self._task.async_val:
            return super().run(tmp, task_vars)
        options = options_of(self, PROBE_SPEC)
        try:
            check_options(options)
        except EngineError as err:
            return failed(err)
        return dict(asked(None, options, bool(self._task.check_mode)), changed=False)

    def on_windows(self, task_vars: Any) -> Result:
        options = options_of(self, PROBE_SPEC)
        try:
            check_options(options)
            for target in options["targets"]:
                if target["protocol"] == "udp" and target["old_port"] is not None:
                    raise EngineError(
                        "target %s:%d has an old_port and the protocol udp, by which a Windows host does not ask, so that it "
                        "would pass for down; ask from another host" % (target["host"], target["port"]))
            host = WindowsHost(Script(self, task_vars).read)
            found = asked(host.probe, options, bool(self._task.check_mode))
        except EngineError as err:
            return failed(err)
        if host.told():
            found["warnings"] = host.told()
        message = found.pop("msg", None)
        if message and options["fail_on_unreachable"]:
            found.update(failed=True, msg=message)
        return dict(found, changed=False)
