# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module, then the modules of other collections that it asks for, then the module again to see what came of it."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

INTERNAL = ("calls", "picture")


class ActionModule(ActionBase):

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        self._vars = task_vars
        first = self._step()
        calls, picture = (first.pop(key, None) for key in INTERNAL)
        result.update(first)
        if result.get("failed") or not calls:
            return result
        lacking = self._lacking(calls)
        if self._task.check_mode:
            return dict(result, failed=True, changed=False, msg="nothing was changed: " + lacking) if lacking else result
        trouble = lacking or self._run_calls(calls)
        last = self._step(step="verify", picture=picture, **(dict(trouble=trouble) if trouble else {}))
        if not last.get("failed"):
            result["rules"] = last["rules"]
            if "diff" in last:
                result["diff"] = last["diff"]
            return result
        return self._back(result, last, picture)

    def _step(self, **more):
        return self._execute_module(module_args=dict(self._task.args, **more), task_vars=self._vars)

    def _run_calls(self, calls):
        """Runs other modules on the host.  Returns a sentence about the first that failed, or None."""
        for call in calls:
            done = self._execute_module(module_name=call["module"], module_args=call["args"], task_vars=self._vars)
            if done.get("failed") or done.get("unreachable"):
                return "%s failed on the host (%s)" % (call["module"], " ".join(str(done.get("msg", done)).split()))
        return None

    def _back(self, result, last, picture):
        """The change did not come out as asked: back to where it was."""
        message = last.get("msg", "the host did not say what came of the change")
        trouble = self._run_calls(last.get("calls") or [])
        seen = self._step(step="undone", picture=picture)
        message = "%s. %s" % (message, seen.get("msg", "What is there now could not be read"))
        if trouble:
            message += ". On the way back %s" % trouble
        result.pop("diff", None)
        return dict(result, failed=True, changed=not seen.get("restored"), msg=message)

    def _lacking(self, calls):
        """A sentence about a collection that this control node does not have, or None."""
        for name in sorted({call["module"] for call in calls}):
            if not self._shared_loader_obj.module_loader.find_plugin_with_context(name).resolved:
                collection = name.rsplit(".", 1)[0]
                return ("the module %s is not on this control node; install its collection: ansible-galaxy collection install %s"
                        % (name, collection))
        return None
