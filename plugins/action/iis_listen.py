# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of a site of IIS, by modules of other collections; documented with the module of the same name."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import RECORD_SPEC
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._iis_edit import CHANGE, INFO, LISTENERS, WAIT, set_bindings
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import lacking, stranger
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import MODULE, Script

_RECORD: dict[str, Any] = RECORD_SPEC
# Options of one that only looks.
LOOK_SPEC = dict(
    site=dict(type="str", default=""), port=dict(type="int"), beside=dict(type="int"),
    state=dict(type="str", choices=["present", "absent", "restored"], default="present"),
    users_seconds=dict(type="int", default=0), force=dict(type="bool", default=False),
    # A path of Windows, in which ~ and $ are letters like others.
    record=dict(_RECORD, options=dict(_RECORD["options"], path=dict(type="str", required=True))))
SPEC = dict(LOOK_SPEC, timeout=dict(type="float", default=15))


class ActionModule(ActionBase):

    SPEC = SPEC

    _task: Any     # of ansible-core

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        self._vars = task_vars
        unused, options = self.validate_argument_spec(argument_spec=self.SPEC, required_if=[
            ("state", "present", ["port"]), ("state", "absent", ["port"]), ("state", "restored", ["record"])])
        names = [INFO, CHANGE, LISTENERS, WAIT, MODULE]
        trouble = lacking(self._shared_loader_obj, names) or stranger(self, names)
        if trouble:
            return dict(result, failed=True, changed=False, msg="nothing was changed: " + trouble)
        result.update(set_bindings(self._call, Script(self, task_vars), options, self._task.check_mode))
        if self._task.diff and "listens" in result:
            result["diff"] = _diff(result)
        return result

    def _call(self, name: str, arguments: dict[str, Any]) -> Result:
        return self._execute_module(module_name=name, module_args=arguments, task_vars=self._vars)


def _diff(result: Result) -> dict[str, str]:
    listens = result["listens"]
    before, after = ("".join(one + "\n" for one in listens[key]) for key in ("before", "after"))
    header = 'bindings of the site "%s"' % result["site"]
    return dict(before=before, after=after, before_header=header, after_header=header)
