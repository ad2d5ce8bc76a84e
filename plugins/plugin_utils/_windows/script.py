# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends host.ps1 to a Windows host by ansible.windows.win_powershell, once for each request, and brings its answer.

Of what that module returns the answer alone is kept: arguments and raw output hold the bytes of files and values of the registry.
"""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any, cast

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import lacking, said, stranger
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import VERSION, Answer, Request, Step, Wanted

MODULE = "ansible.windows.win_powershell"
# How deep the answer is nested, with room; the module's own default is 2.
DEPTH = 16


class WindowsError(EngineError):
    """What a Windows host could not be asked, or made to do; the sentence says why."""


class ConnectionLost(WindowsError):
    """The connection ended while a change was under way: nothing is known of it until the host is asked again."""

    def __init__(self, error: AnsibleConnectionFailure) -> None:
        super().__init__("the connection to the host was lost while the change was under way (%s)" % error)
        self.error = error


@functools.cache
def script_text() -> str:
    return pathlib.Path(__file__).with_name("host.ps1").read_text(encoding="utf-8")


class Script:
    """The script on the host of an action plugin."""

    def __init__(self, action: Any, task_vars: Any) -> None:
        self.action, self.task_vars = action, task_vars
        trouble = lacking(action._shared_loader_obj, [MODULE]) or stranger(action, [MODULE])
        if trouble:
            raise WindowsError(trouble)

    def read(self, wanted: Wanted) -> Answer:
        answer = self._ask(Request(version=VERSION, verb="read", wanted=wanted))
        if not answer["ok"] or answer["found"] is None:
            raise WindowsError("the host could not be read: %s" % (answer["sentence"] or "it did not say why"))
        if answer["found"]["language_mode"] != "FullLanguage":
            raise WindowsError(constrained(answer["found"]["language_mode"]))
        return answer

    def apply(self, wanted: Wanted, steps: list[Step], change: str, timeout: float) -> Answer:
        """Carries out the steps, then reads.  C(change): the id of the change.  The outcome is for the caller to judge."""
        request = Request(version=VERSION, verb="apply", wanted=wanted, id=change, timeout=timeout, steps=steps)
        try:
            return self._ask(request)
        except AnsibleConnectionFailure as err:
            raise ConnectionLost(err) from err

    def _ask(self, request: Request) -> Answer:
        done: Result = self.action._execute_module(
            module_name=MODULE, task_vars=self.task_vars,
            module_args=dict(script=script_text(), parameters=dict(Request=json.dumps(request)), depth=DEPTH))
        if done.get("unreachable"):
            raise AnsibleConnectionFailure(said(done))
        answer = done.get("result")
        if isinstance(answer, dict) and answer.get("version") == VERSION and not done.get("failed"):
            return cast(Answer, answer)
        raise WindowsError(_why_no_answer(done, answer))


def constrained(words: str) -> str:
    return ("PowerShell runs in constrained language mode on this host (%s), as AppLocker or WDAC has it, in which a migration can "
            "neither read nor change what it has to; let the account that Ansible uses run in full language mode, or move the "
            "host by hand. Nothing was changed" % words)


def _why_no_answer(done: Result, answer: Any) -> str:
    errors = [str(one.get("output") or one.get("exception") or one) if isinstance(one, dict) else str(one)
              for one in done.get("error") or []]
    words = said(dict(msg=done.get("msg") or "; ".join(errors) or "no reason was given"))
    if "languagemode" in (words + "".join(errors)).lower().replace(" ", ""):
        return constrained(words)
    if isinstance(answer, dict) and "version" in answer:
        return "the script on the host speaks version %s of its protocol, and this control node %s; nothing was changed" % (
            answer["version"], VERSION)
    return "PowerShell failed on the host: %s" % words
