# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What actions of this collection have in common on a Windows host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import is_powershell
from ansible_collections.portshift.agents.plugins.plugin_utils._task_options import task_options
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import Module


def with_plain_paths(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A module's argument spec, in which a path is a text: in one of Windows ~ and $ are letters like others."""
    found: dict[str, Any] = {}
    for name, option in spec.items():
        option = dict(option)
        for key in ("type", "elements"):
            if option.get(key) == "path":
                option[key] = "str"
        if "options" in option:
            option["options"] = with_plain_paths(option["options"])
        found[name] = option
    return found


def options_of(action: Any, spec: Mapping[str, Any], **rules: Any) -> dict[str, Any]:
    """The options of the task, checked as the module of the same name checks them.  C(rules): such as C(required_if)."""
    task = action._task.copy()
    task.args = task_options(task.args)
    action._task = task
    unused, options = action.validate_argument_spec(argument_spec=with_plain_paths(spec), **rules)
    found: dict[str, Any] = options
    return found


def module_of(action: Any) -> Module:
    return Module(action._task.check_mode, action._task.diff)


def failed(error: EngineError, **more: Any) -> Result:
    return dict(failed=True, changed=False, msg=str(error), **more)


def told_by(action: Any, spec: Mapping[str, Any], work: Callable[[Module], Result]) -> Result:
    """The result of the task, by what works with its options as a module of Ansible has them."""
    module = module_of(action)
    module.params = options_of(action, spec)
    try:
        found = work(module)
    except EngineError as err:
        found = failed(err)
    return dict(found, warnings=module.warnings) if module.warnings else found


class ForBothFamilies(ActionBase):
    """A module in Python, run as Ansible runs one that has no action plugin, and what stands for it on a Windows host."""

    _supports_async = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        if not is_powershell(self):
            try:
                arguments = task_options(self._task.args)
            except EngineError as err:
                return dict(result, **failed(err))
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=self._task.async_val))
            return result
        if self._task.async_val:
            raise AnsibleActionFail("%s runs on the control node for a Windows host, so it can't be left running there; take "
                                    "async away for it" % self._task.action)
        return dict(result, **self.on_windows(task_vars))

    def on_windows(self, task_vars: Any) -> Result:
        raise NotImplementedError
