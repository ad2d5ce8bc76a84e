# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module, then the modules of other collections that it asks for, then the module again to see what came of it.

On a Windows host, which runs no module in Python, all is done by win_firewall_rule.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.action.run_lock import has_ended, this_run
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._host_port.plan import (
    CALL_SECONDS, HOST_PORT_SPEC, OWN_SECONDS, STATES, check_options)
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import (
    is_powershell, lacking, looking, said, stranger)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows_firewall import (
    MODULE, WindowsFirewall, asked_rules, nothing, notes_of_ports)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import WindowsHost
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script

INTERNAL = ("calls", "picture", "lease", "holder")


class ActionModule(ActionBase):

    SPEC = dict(HOST_PORT_SPEC, state=STATES)

    _task: Any     # of ansible-core
    _asker: dict[str, Any] | None

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        self._vars = task_vars
        if is_powershell(self) or self._task.args.get("backend") == "windows":
            return dict(result, **self._windows())
        # One asker for each task: two names of the inventory may lead to one host.  In check mode nothing is asked for.
        self._asker = None if self._task.check_mode else dict(this_run(), token=uuid.uuid4().hex)
        self._kept = False
        try:
            return self._change(result)
        finally:
            if self._kept:
                self._release()

    def _change(self, result: Result) -> Result:
        first = self._first()
        calls, picture = [first.pop(key, None) for key in INTERNAL][:2]
        result.update(first)
        if result.get("failed") or not calls:
            return result
        missing = lacking(self._shared_loader_obj, [call["module"] for call in calls])
        if self._task.check_mode:
            return dict(result, failed=True, changed=False, msg="nothing was changed: " + missing) if missing else result
        trouble = missing or self._run_calls(calls)
        last = self._step(step="verify", picture=picture, **(dict(trouble=trouble) if trouble else {}))
        self._note(result, last)
        if not last.get("failed"):
            result["rules"] = last["rules"]
            if "diff" in last:
                result["diff"] = last["diff"]
            return result
        return self._back(result, last, picture)

    @staticmethod
    def _note(result: Result, answer: Result) -> None:
        if answer.get("notes"):
            result["notes"] = list(dict.fromkeys(result.get("notes", []) + answer["notes"]))

    def _first(self) -> Result:
        """The first step.  Where another one holds the lease of the host, it is asked twice: who runs here may have ended."""
        answer = self._step()
        holder = answer.get("holder")
        if answer.get("failed") and isinstance(holder, dict) and self._asker is not None:
            self._asker["waits"] = True
            if has_ended(holder, self._asker):
                self._asker["ended"] = holder.get("id")
            answer = self._step()
        return answer

    def _step(self, **more: Any) -> Result:
        # Until the host has answered, it may have taken the lease, where one is asked for.
        self._kept, self._renewed = bool(self._asker), time.monotonic()
        asker = dict(run=self._asker) if self._asker else {}
        answer: Result = self._execute_module(module_args=dict(self._task.args, **asker, **more), task_vars=self._vars)
        self._kept = bool(self._asker) and answer.get("lease", "kept" if answer.get("failed") else "free") == "kept"
        self._lasts = OWN_SECONDS + CALL_SECONDS * len(answer.get("calls") or ())
        return answer

    def _release(self) -> None:
        try:
            self._step(step="release")
        except AnsibleError:
            # The host is out of reach.  The lease lapses by itself, and the next one says whose it was.
            pass

    def _run_calls(self, calls: list[dict[str, Any]]) -> str | None:
        """Runs other modules on the host.  Returns a sentence about the first that failed, or None."""
        for call in calls:
            if self._kept and time.monotonic() - self._renewed > self._lasts / 2:
                self._step(step="renew")
            done = self._execute_module(module_name=call["module"], module_args=call["args"], task_vars=self._vars)
            if done.get("failed") or done.get("unreachable"):
                return "%s failed on the host (%s)" % (call["module"], said(done))
        return None

    def _back(self, result: Result, last: Result, picture: Any) -> Result:
        """The change did not come out as asked: back to where it was."""
        message = last.get("msg", "the host did not say what came of the change")
        trouble = self._run_calls(last.get("calls") or [])
        seen = self._step(step="undone", picture=picture)
        self._note(result, seen)
        message = "%s. %s" % (message, seen.get("msg", "What is there now could not be read"))
        if trouble:
            message += ". On the way back %s" % trouble
        result.pop("diff", None)
        return dict(result, failed=True, changed=not seen.get("restored"), msg=message)

    def _windows(self) -> Result:
        """The same on a host that has Windows Firewall; only modules for Windows are run there."""
        unused, options = self.validate_argument_spec(argument_spec=self.SPEC)
        try:
            check_options(options)
            if options["backend"] == "none":
                openings = options["openings"] if options["state"] == "open" else []
                rules = asked_rules(options["name"], openings, by_source=False)
                return nothing(notes_of_ports(options, rules, self._host))
            if options["backend"] not in ("auto", "windows"):
                raise EngineError("backend is %s, but this is a Windows host; give auto or windows, or none to leave its "
                                  "firewall alone" % options["backend"])
            missing = lacking(self._shared_loader_obj, [MODULE])
            if missing:
                raise EngineError(missing)
            amiss = stranger(self, [MODULE])
            if amiss:
                raise EngineError("backend is windows, but %s; give auto for a Linux host" % amiss)
            done = WindowsFirewall(self._ask).change(options, self._task.check_mode, self._host)
        except EngineError as err:
            return dict(failed=True, changed=False, msg="nothing was changed: %s" % err)
        if not self._task.diff:
            done.pop("diff", None)
        return done

    def _host(self) -> WindowsHost:
        return WindowsHost(Script(self, self._vars).read, [])

    def _ask(self, args: dict[str, Any], look: bool) -> Result:
        """What win_firewall_rule returns; with `look` it only says what it would do, and shows that."""
        asked = self._task
        if look:
            self._task = looking(asked, diff=True)
        try:
            return self._execute_module(module_name=MODULE, module_args=args, task_vars=self._vars)
        finally:
            self._task = asked
