# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirms by a new login: a session that is open already would not notice that the host refuses new ones.

With O(confirm) it does so in the task that began the change: under the linear strategy the next task begins when the slowest
host has ended this one, and until then the time of all the others would run.

A Windows host, which runs no module in Python, is changed from here, by its script, and ends its change by itself.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.plugins.connection import ConnectionBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import is_powershell
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import change_tracker
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import failed, module_of, options_of
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script

# As the module's.
DEFAULT_TIMEOUT = 60
# Seconds more, in which a host that has undone the change is back and can say why.
TO_HEAR_WHY = 60
PAUSE = 1.0
# What the confirmation has to know of the change.
HANDED_ON = ("name", "timeout", "state_dir", "unit_dir")


class ActionModule(ActionBase):

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        if is_powershell(self):
            return dict(result, **self._on_windows(task_vars))
        arguments = dict(self._task.args)
        if arguments.get("state") == "confirmed" and not self._task.check_mode:
            answer = self._confirm(arguments, task_vars)
        else:
            answer = self._execute_module(module_args=arguments, task_vars=task_vars)
            if self._goes_on(arguments, answer):
                confirmation = dict({key: arguments[key] for key in HANDED_ON if key in arguments},
                                    state="confirmed", token=answer["token"])
                answer = _together(answer, self._confirm(confirmation, task_vars))
        result.update(answer)
        return result

    def _on_windows(self, task_vars: Any) -> Result:
        params, module = options_of(self, change_tracker.CHANGE_OPTIONS, required_if=[
            ("state", "begun", ["record", "new_port"])]), module_of(self)
        try:
            found = change_tracker.changed(Script(self, task_vars), params, module)
        except EngineError as err:
            asked = params["state"] == "begun" and params["change_tracker_proof"]
            unproved = dict(ok=False, port=params["new_port"], proved=[], missing={}, waited=0.0) if asked else {}
            found = failed(err, state=change_tracker.failed_state(err), **dict(unproved, **err.result))
        return dict(found, warnings=module.warnings) if module.warnings else found

    def _goes_on(self, arguments: dict[str, Any], answer: Result) -> bool:
        """Whether the change that this task has begun is to be confirmed by it too."""
        return (not self._task.check_mode and arguments.get("state", "begun") == "begun"
                and boolean(arguments.get("confirm", False), strict=False)
                and not answer.get("failed") and answer.get("state") == "waiting")

    def _confirm(self, arguments: dict[str, Any], task_vars: Any) -> Result:
        try:
            seconds = int(arguments.get("timeout") or DEFAULT_TIMEOUT)
        except (TypeError, ValueError):
            seconds = 0     # the module says what is wrong with it
        return self._by_a_new_login(arguments, seconds + TO_HEAR_WHY, task_vars)

    def _by_a_new_login(self, arguments: dict[str, Any], seconds: float, task_vars: Any) -> Result:
        """The module's answer over a connection that did not exist before; tried again until there is one."""
        begun = time.monotonic()
        while True:
            try:
                self._reset()
                answer: Result = self._execute_module(module_args=arguments, task_vars=task_vars)
                why = _not_the_modules_word(answer)
                if why is None:
                    return answer
            except AnsibleError as err:
                why = " ".join(str(err).split())
            if time.monotonic() - begun > seconds:
                return dict(failed=True, changed=False, msg=(
                    "no new login to this host came about in %d s (%s), so nothing was confirmed; a change that is not "
                    "confirmed undoes itself on the host" % (seconds, why)))
            time.sleep(PAUSE)

    def _reset(self) -> None:
        if type(self._connection).reset is ConnectionBase.reset:
            # It has nothing to reset, and would only say so: each of its tasks is a new login.
            self._connection.close()
            return
        self._connection.reset()


def _together(begun: Result, confirmed: Result) -> Result:
    """The answer to the beginning, with what the confirmation made of it."""
    answer = dict(begun, **confirmed)
    answer["changed"] = bool(begun.get("changed") or confirmed.get("changed"))
    for key in ("diff", "warnings", "deprecations"):
        both = list(begun.get(key) or [])
        both += [entry for entry in confirmed.get(key) or [] if entry not in both]
        if both:
            answer[key] = both
    if "invocation" in begun:
        answer["invocation"] = begun["invocation"]
    return answer


def _not_the_modules_word(answer: Result) -> str | None:
    """What went wrong when something answered in the module's place, such as sudo that refused; else None."""
    if answer.get("failed") and ("module_stderr" in answer or "module_stdout" in answer):
        told = "%s %s" % (answer.get("module_stderr", ""), answer.get("module_stdout", ""))
        return " ".join(told.split()) or answer.get("msg")
    return None
