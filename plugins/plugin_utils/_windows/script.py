# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends host.ps1 to a Windows host by ansible.windows.win_powershell, once for each request, and brings its answer.

Of what that module returns the answer alone is kept: arguments and raw output hold the bytes of files and values of the registry.
"""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
import secrets
import time
from collections.abc import Sequence
from typing import Any, cast

from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import lacking, said, stranger
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import (
    DEPTH, VERSION, Answer, Request, Step, Unfinished, Wanted)

MODULE = "ansible.windows.win_powershell"
# Seconds in which a host whose connection was lost is tried again, and between two tries.
RECONNECT, TRY_AGAIN = 60, 5
# Seconds between two looks at a change that is under way.
LOOK_AGAIN = 5


# The id of a change that is about a record begins with these, and then with digits of that record.
OF_A_RECORD = "5e77"

# What winrm, psrp and ssh say where a host does not let the account in, beside the class of their own that only some of them use.
NOT_LET_IN = ("credentials were rejected", "failed to authenticate", "permission denied", "incorrect username/password")


class WindowsError(EngineError):
    """What a Windows host could not be asked, or made to do; the sentence says why."""


class NoAnswer(WindowsError):
    """The module ended, and what it brought is no answer of the script: what the host did is not known."""


def as_sent(text: str) -> str:
    """A script without its lines of comment and its indentation, which are a quarter of it: each 200,000 bytes that go to a host
    are one request more."""
    kept: list[str] = []
    end = None
    for line in text.splitlines():
        bare = line.strip()
        if end:
            # Of a here-string every character counts.
            kept.append(line)
            end = None if line.startswith(end) else end
        elif bare and not bare.startswith("#"):
            kept.append(bare)
            end = bare[-1] + "@" if bare.endswith(("@'", '@"')) else None
    return "\n".join(kept) + "\n"


@functools.cache
def script_text() -> str:
    return as_sent(pathlib.Path(__file__).with_name("host.ps1").read_text(encoding="utf-8"))


def _id_begins(record: str) -> str:
    return OF_A_RECORD + hashlib.sha256(record.lower().encode("utf-8")).hexdigest()[:8]


def new_id(record: str | None) -> str:
    """For a change that is about the host's migration with this record, or about none."""
    begin = _id_begins(record) if record else ""
    return begin + secrets.token_hex(16)[len(begin):]


def is_of_another(change: str, record: str) -> bool:
    """Whether the change with this id was about another record, such as that of another product of the host."""
    return change.startswith(OF_A_RECORD) and not change.startswith(_id_begins(record))


class Script:
    """The script on the host of an action plugin."""

    # The record that its changes are about.
    about: str | None = None

    def __init__(self, action: Any, task_vars: Any) -> None:
        self.action, self.task_vars = action, task_vars
        trouble = lacking(action._shared_loader_obj, [MODULE]) or stranger(action, [MODULE])
        if trouble:
            raise WindowsError(trouble)

    def read(self, wanted: Wanted) -> Answer:
        return readable(self._ask(Request(version=VERSION, verb="read", wanted=wanted)))

    def apply(self, wanted: Wanted, steps: list[Step], timeout: float, settles: Sequence[str] = ()) -> Answer:
        """Carries out the steps, then reads.  The outcome is for the caller to judge.

        Where the connection is lost meanwhile the same change is asked for again: the host carries it out once alone, and tells
        what became of it, or undoes what was left in the middle.

        C(settles): ids of changes that were left half way, which this one sets right.
        """
        request = Request(version=VERSION, verb="apply", wanted=wanted, id=new_id(self.about), timeout=timeout, steps=steps)
        if settles:
            request["settles"] = list(settles)
        return self._apply(request)

    def resume(self, change: Unfinished) -> Answer:
        """Ends a change that no process works on any more: the host undoes it now, or tells what became of it meanwhile."""
        return self._apply(Request(version=VERSION, verb="apply", wanted=Wanted(), id=change["id"], timeout=change["timeout"],
                                   steps=[]))

    def _apply(self, request: Request) -> Answer:
        try:
            return self._ask(request)
        except (AnsibleError, NoAnswer) as err:
            return self._ask_again(request, err)

    def _ask_again(self, request: Request, error: Exception) -> Answer:
        """For whatever is no answer: winrm has errors that are none of the connection for what it could not send or receive."""
        lost = time.monotonic()
        if is_not_let_in(error):
            raise _lost_for_good(request, error)
        while True:
            try:
                self.action._connection.reset()
                answer = self._ask(request)
                if answer["outcome"] != "refused" or not any(one["id"] == request["id"] for one in answer["unfinished"]):
                    words = "%s while the host was changed (%s)" % (_lost(error), _one_line(error))
                    answer["sentence"] = "; ".join(filter(None, [words, answer["sentence"]]))
                    return answer
                # It is under way still, and ends by itself.
                time.sleep(LOOK_AGAIN)
                lost = time.monotonic()
            except (AnsibleError, NoAnswer) as err:
                # Each try with a password that is refused brings the account nearer to being locked.
                if is_not_let_in(err) or time.monotonic() - lost >= RECONNECT:
                    raise _lost_for_good(request, err) from err
                time.sleep(TRY_AGAIN)

    def _ask(self, request: Request) -> Answer:
        try:
            done: Result = self.action._execute_module(
                module_name=MODULE, task_vars=self.task_vars,
                module_args=dict(script=script_text(), parameters=dict(Request=json.dumps(request)), depth=DEPTH))
        except AnsibleError:
            raise
        except Exception as err:
            # winrm lets the errors of requests and of pywinrm pass, such as that a connection was reset.
            raise AnsibleConnectionFailure("%s: %s" % (type(err).__name__, err)) from err
        if done.get("unreachable"):
            raise AnsibleConnectionFailure(said(done))
        answer = done.get("result")
        if isinstance(answer, dict) and answer.get("version") == VERSION and not done.get("failed"):
            return cast(Answer, answer)
        raise _why_no_answer(done, answer)


def readable(answer: Answer) -> Answer:
    """The answer to a read; WindowsError where the host could not be read."""
    if not answer["ok"] or answer["found"] is None:
        raise WindowsError("the host could not be read: %s" % (answer["sentence"] or "it did not say why"))
    if answer["found"]["language_mode"] != "FullLanguage":
        raise WindowsError(constrained(answer["found"]["language_mode"]))
    return answer


def is_not_let_in(error: Exception) -> bool:
    return isinstance(error, AnsibleAuthenticationFailure) or any(words in str(error).lower() for words in NOT_LET_IN)


def _lost(error: Exception) -> str:
    return "the connection was lost" if isinstance(error, AnsibleConnectionFailure) else "the answer was lost"


def _lost_for_good(request: Request, error: Exception) -> Exception:
    """For a change whose end was not heard, and is not asked for any more."""
    if is_not_let_in(error):
        words = ("the host did not let the account in while it was changed (%s), and was not tried again, which may lock the "
                 "account")
    elif isinstance(error, AnsibleConnectionFailure):
        words = "the connection was lost while the host was changed, and it can't be reached since (%s)"
    else:
        words = "the answer was lost while the host was changed, and it gave none since (%s)"
    sentence = ("%s. If the change had begun, the host ends it by itself: unless it has proved itself within %g s all is put "
                "back. Run again when it can be reached" % (words % _one_line(error), request["timeout"]))
    return (AnsibleConnectionFailure if isinstance(error, AnsibleConnectionFailure) else WindowsError)(sentence)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def constrained(words: str) -> str:
    return ("PowerShell runs in constrained language mode on this host (%s), as AppLocker or WDAC has it, in which a migration "
            "can neither read nor change what it has to; let the account that Ansible uses run in full language mode, or move "
            "the host by hand. Nothing was changed" % words)


def _why_no_answer(done: Result, answer: Any) -> WindowsError:
    errors = [str(one.get("output") or one.get("exception") or one) if isinstance(one, dict) else str(one)
              for one in done.get("error") or []]
    words = said(dict(msg=done.get("msg") or "; ".join(errors) or "no reason was given"))
    if "languagemode" in (words + "".join(errors)).lower().replace(" ", ""):
        return WindowsError(constrained(words))
    if isinstance(answer, dict) and "version" in answer:
        return WindowsError("the script on the host speaks version %s of its protocol, and this control node %s; nothing was "
                            "changed" % (answer["version"], VERSION))
    return NoAnswer("PowerShell failed on the host: %s" % words)
