# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The move of a Windows host, or its way back: judged here, carried out by the host in one execution.

The same checks as _move/transaction has, by the same engines.  What they would do is kept as steps (host.py), and sent as one
change, which the host ends by itself: a step that fails, a proof that does not come, or a connection that is lost, and all is as
it was.  A run that follows learns from the host what became of a change whose end was not heard.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import (
    ChangeRecord, RecordError, why_it_stays)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError, words_of
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import proof
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import shown_words
from ansible_collections.portshift.agents.plugins.module_utils._move.transaction import MoveError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import WindowsHost, WindowsServices
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import (
    FOLDER, Answer, Condition, ExcludeStep, MarkStep, RangeKind, ServiceStep, Step, Unfinished, WaitStep, Wanted)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script, WindowsError, is_of_another

# Seconds beyond its own time in which the host ends a change, and between two looks: it undoes it by itself then, and one that
# hangs is ended after 900 s by the task that looks each minute, which undoes it.
AFTER_ITS_TIME, LOOK_AGAIN = 1200, 5
# Seconds of a change beside what its steps may take: reading, writing, and a busy host.
ROOM = 120


class NotMoved(MoveError):
    """C(outcome): what the host has made of the change, as the contract has it."""

    def __init__(self, sentence: str, outcome: str, result: Result | None = None) -> None:
        super().__init__(sentence, result)
        self.outcome = outcome


class Module:
    """What the engines want of a module."""

    def __init__(self, check_mode: bool, diff: bool) -> None:
        self.check_mode, self._diff = check_mode, diff
        self.params: dict[str, Any] = {}
        self.warnings: list[str] = []

    @property
    def wants_diff(self) -> bool:
        return self._diff

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)


def ended_by_itself(host: WindowsHost, seconds: float) -> bool:
    """Whether no change of this host is under way, after so many seconds at most.  Nothing is ended here: the host does that."""
    end = time.monotonic() + seconds
    while host.under_way() and time.monotonic() < end:
        time.sleep(LOOK_AGAIN)
        host.read_anew()
    return not host.under_way()


def await_end(host: WindowsHost, script: Script, check_mode: bool, half_way: bool = False) -> None:
    """Waits for the change of this host that is under way; one that was cut off, at which no process works, is ended now.

    C(half_way): whether a host that an earlier change has left so is taken as it is.
    """
    resumed: set[str] = set()
    began, patience = time.monotonic(), 0.0
    while host.under_way():
        one = host.under_way()[0]
        if not one["running"] and one["state"] == "undoing" and one["id"] in resumed:
            raise WindowsError("nothing was changed: %s" % not_undone(one))
        if not one["running"] and one["id"] not in resumed:
            if check_mode:
                raise WindowsError("nothing was changed: an earlier change of this host was cut off and has not been undone yet, "
                                   "which check mode leaves so: %s; run without it, or look again in some minutes"
                                   % one["sentence"].rstrip("."))
            resumed.add(one["id"])
            script.resume(one)
            host.read_anew()
            continue
        # Where the host's clock was set back it began in the future.
        left = min(one["timeout"], max(0.0, one["began"] + one["timeout"] - host.now()))
        patience = patience or left + AFTER_ITS_TIME
        if time.monotonic() >= began + patience:
            raise WindowsError("nothing was changed: another change of this host has not ended in the %g s that were waited for "
                               "it: %s" % (round(patience), one["sentence"]))
        time.sleep(LOOK_AGAIN)
        host.read_anew()
    if host.half_way() and not half_way:
        raise WindowsError("nothing was changed now: %s" % left_half_way(host.half_way()))


def own_changes(changes: Sequence[Unfinished], record: str) -> list[Unfinished]:
    """Those that are not about another record: what became of another product's change is for its own tasks."""
    return [one for one in changes if not is_of_another(one["id"], record)]


def left_half_way(changes: Sequence[Unfinished]) -> str:
    return ("an earlier change of this host was left half way, and a person has to look at it: %s. What it was like before is "
            "below %s\\changes; when the host is as it shall be, delete there: %s" % (
                "; ".join(one["sentence"].rstrip(".") for one in changes), FOLDER, ", ".join(one["id"] for one in changes)))


def looked_at(result: Result, host: WindowsHost, services: Sequence[str]) -> Result:
    """What a look at a product returns, with what stands against a move of any product on such a host."""
    # One that was cut off is ended by the move itself.
    others = ["another change of this host is under way: %s" % one["sentence"] for one in host.under_way() if one["running"]]
    if host.half_way():
        others.append(left_half_way(host.half_way()))
    # A host that has moved is not moved once more: what else has become of it is no word against its proof.
    problems = [*others, *host.services(services).hindrances()] if result["edits"] else []
    problems += result["problems"]
    return dict(result, problems=problems, ok=not problems, notes=[*result["notes"], *([] if result["edits"] else others), *(
        "an earlier change of this host was cut off; it is undone before this one: %s" % one["sentence"]
        for one in host.under_way() if not one["running"]), *host.told(half_way=False)])


def check_options(params: Mapping[str, Any], options: Sequence[str], product: str) -> None:
    """EngineError for what is not done on a Windows host, or is not said as one wants it.  C(options): those with paths."""
    for option in options:
        for path in [params[option]] if isinstance(params[option], str) else params[option] or ():
            if path.startswith("/"):
                raise EngineError("nothing was changed: %s names %s, which is no path of a Windows host; set ansible_connection "
                                  "(or, for ssh, ansible_shell_type) of the host in the inventory, by which the roles find its "
                                  "paths, or give the right one" % (option, path))
    if params.get("service_command"):
        raise EngineError("nothing was changed: service_command is %s, but the services of a Windows host are asked of its "
                          "service manager; leave %s_service_command empty for it" % (
                              " ".join(params["service_command"]), product))


def not_undone(one: Unfinished) -> str:
    return ("an earlier change of this host could not all be undone yet, not now either: %s. Mend what this names: the host ends "
            "it by itself then, and the next run does at once. When the host is as it shall be, delete %s\\changes\\%s instead"
            % (one["sentence"].rstrip("."), FOLDER, one["id"]))


def marking(script: Script) -> Callable[[Any], None]:
    """What notes in the record of a host, for its Evidence, that it has proved itself."""
    def mark(questions: Any) -> None:
        host: WindowsHost = questions.managed
        questions.record.mark_verified(alone=True)
        answer = script.apply(host.asked.wanted(), host.disk.take(), ROOM)
        if answer["outcome"] != "applied":
            raise WindowsError("the host has proved itself, and its record could not be written: %s" % answer["sentence"])
    return mark


class WindowsMove:
    """C(product): a MovedProduct.

    C(marked): folders of logs of which new lines are to be told from old ones, with the endings of their files.

    C(bridge): the WindowsBridge of the host, or None.  C(reserve): whether the port is to be taken out of what Windows hands out.

    C(hindrances): what stands against the move beside what the product and its services say.

    C(conditions): what the host waits for before it takes the change for proved; none where no proof is asked.

    C(ready): what has to hold before a service is stopped, for which the host waits so many seconds; the words for it are those
    of a sentence that goes on with what it saw.

    C(since_start): seconds that the start and the proof have together; where none are given, all that these steps may take.
    """

    def __init__(self, module: Module, script: Script, host: WindowsHost, product: Any, services: WindowsServices,
                 record: str, seconds: float, phase: str | None = None, proof_seconds: float = 0, force: bool = False,
                 unfinished_only: bool = False, marked: tuple[Sequence[str], Sequence[str]] = ((), ()),
                 conditions: Callable[[], list[Condition]] = list, bridge: Any = None, reserve: bool = False,
                 ready: Callable[[], tuple[str, float, list[Condition]]] = lambda: ("", 0, []),
                 since_start: float | None = None, hindrances: Callable[[], list[str]] = list) -> None:
        self.module, self.script, self.host, self.product, self.services = module, script, host, product, services
        script.about = record
        self.record_path, self.seconds, self.phase, self.proof_seconds = record, seconds, phase, proof_seconds
        self.force, self.unfinished_only, self.marked, self.conditions = force, unfinished_only, marked, conditions
        self.bridge, self.reserve, self.ready, self.awaited = bridge, reserve, ready, ""
        self.since_start = since_start
        self.hindrances = hindrances
        self.turned: Result | None = None
        self.diffs: list[Any] = []
        self.files: list[str] = []
        self.down_for = 0.0

    def run(self, restore: bool) -> Result:
        """What the module returns, but for its diff.  EngineError with the sentence on what became of the host."""
        result = self._restore() if restore else self._move()
        return dict(result, files=self.files, bridge=self.turned, seconds=round(self.down_for, 2))

    # -- there

    def _move(self) -> Result:
        if self.unfinished_only:
            content = self.host.record(self.record_path).content
            if not content or content["state"] != "changing" or content["new_port"] != self.product.port:
                return dict(old_port=None, started=[], notes=[], changed=False)
        old_port, edits, notes = self.product.edits()
        notes = [*notes, *self.host.told()]
        for edit in edits:
            for warning in edit.warnings:
                self.module.warn(warning)
        down = self.services.down()
        if edits:
            self._require_known()
            hindrances = self.hindrances()
            if hindrances:
                raise MoveError("nothing was changed: %s" % "; ".join(hindrances))
        questions = self.product.evidence()
        if self.module.check_mode:
            for edit in edits:
                self._commit(edit, None)
            result = dict(old_port=old_port, started=down, notes=notes, changed=bool(self.files or down))
            if self.files and questions:
                return dict(result, ok=True, predicted=True, port=self.product.port)
            return self._judged(result, questions)
        if edits:
            self.product.check_again()
        if not edits and not down:
            return self._judged(dict(old_port=old_port, started=[], notes=notes, changed=False), questions)
        steps = self._steps_there(edits, old_port, down, bool(questions))
        answer = self._carry_out(steps, "its services run on the old port", timeout=self._within(steps))
        started = self.services.names if edits else down
        result = dict(old_port=old_port, started=started, changed=True, notes=notes + _notes(answer))
        # What was there before it is not what proves the host.
        return self._judged(result, self.product.evidence())

    def _within(self, steps: Sequence[Step]) -> float:
        if self.since_start is None:
            return _longest(steps)
        kinds = [step["step"] for step in steps]
        return _longest(steps[:kinds.index("start")] if "start" in kinds else steps) + self.since_start

    def _require_known(self) -> None:
        try:
            self.services.require_known()
        except EngineError as err:
            raise MoveError("nothing was changed: %s" % err) from err

    def _commit(self, edit: Any, record: ChangeRecord | None) -> None:
        done = edit.commit(self.module, record=record)
        self.diffs += [done["diff"]] if "diff" in done else []
        self.files += [edit.path] if done["changed"] else []

    def _steps_there(self, edits: Sequence[Any], old_port: int | None, down: Sequence[str], proved: bool) -> list[Step]:
        if not edits:
            # Its proof is awaited from here: without it the services run on, whose start a change would undo.
            return self._told("start", down)
        folders, endings = self.marked
        # After the last stop: what the process that is stopped says until then is no word of the one that is started.
        mark = [MarkStep(step="mark", folders=list(folders), endings=list(endings))] if proved and folders else []
        record = ChangeRecord(self.record_path, old_port, self.product.port, self.phase, disk=self.host.disk)
        record.before_stop(self.services.processes())
        kinds = self.host.not_excluded(self.product.port) if self.reserve else []
        if kinds:
            # What is excluded for another reason is not given back.
            record.content["excluded"] = sorted({*record.content.get("excluded", ()), *kinds})
        for edit in edits:
            self._commit(edit, record)
        before_start, after_start = self._turn((old_port, self.product.port) if old_port else None)
        self.awaited, seconds, conditions = self.ready() if proved else ("", 0, [])
        ready = [WaitStep(step="wait", seconds=seconds, settle=0, until=conditions)] if conditions else []
        # Ahead of the stop: whatever ends this change in the middle, the way back is on the disk.
        steps: list[Step] = [
            *ready, *self.host.disk.take(), *self._told("stop", self.services.names[::-1]), *mark, *before_start,
            *self._excluded(self.product.port, kinds, True), *self.host.changes, *self._told("start", self.services.names),
            *after_start]
        if proved:
            steps.append(WaitStep(step="wait", seconds=self.proof_seconds, settle=self.product.evidence().settle_seconds,
                                  until=self.conditions()))
            # As it will be read then, which is what it is compared with.
            record = self.host.record(self.record_path)
            if (record.content or {}).get("state") == "changing" and record.content["new_port"] == self.product.port:
                record.mark_verified(alone=True)
                steps += self.host.disk.take()
        return steps

    def _turn(self, pair: tuple[int, int] | None) -> tuple[list[Step], list[Step]]:
        """(steps before the services start, steps after it) that make the bridge lead so: a port on which IP Helper listens can't
        be had by the product."""
        if not self.bridge or not pair:
            return [], []
        self.bridge.require([pair])
        steps = self.bridge.steps_away([pair]), self.bridge.steps_there([pair])
        self.turned = self.bridge.told([pair], bool(steps[0] or steps[1]))
        self.bridge.note([pair])
        return steps

    @staticmethod
    def _excluded(port: int, kinds: list[RangeKind], present: bool) -> list[Step]:
        """While the port is free: netsh refuses one that a process has."""
        return [ExcludeStep(step="exclude", kinds=kinds, port=port, present=present, must=False)] if kinds else []

    def _told(self, action: Any, names: Sequence[str]) -> list[Step]:
        return [ServiceStep(step=action, service=name, seconds=self.seconds) for name in names]

    def _judged(self, result: Result, questions: Any) -> Result:
        """The result with the proof, where one is asked for; a host that was moved now and has none is put back."""
        if questions is None:
            return result
        questions.alone = True
        try:
            found = proof(questions, self.proof_seconds)
        except EngineError as err:
            found = dict(ok=False, port=self.product.port, missing={}, msg=str(err))
        if found["ok"]:
            marked = questions.is_to_be_marked()
            if marked and not self.module.check_mode:
                marking(self.script)(questions)
            return dict(dict(result, **found), changed=result["changed"] or marked)
        error = MoveError(found.pop("msg"), found)
        if self.module.check_mode or not result["changed"] or not self.files:
            raise MoveError("%s. %s" % (words_of(error), why_it_stays(
                self.host.record(self.record_path).content, self.product.port)), found)
        raise self._put_back(error)

    # -- a change on the host

    def _carry_out(self, steps: list[Step], after: str = "its services run as they did before", settles: Sequence[str] = (),
                   stays: str = "", timeout: float | None = None) -> Answer:
        """The answer of a change that came about; what did not is a MoveError that says what the host is like.

        C(after): the words for its services, where the host has undone it; C(stays): a sentence on a host that is as it was.
        C(timeout): after how many seconds it is undone, where that is not what the steps may take.
        """
        answer = self.script.apply(self.host.asked.wanted(), steps, timeout or _longest(steps), settles)
        self.host.changes, self.down_for = [], answer["seconds"]
        if answer["found"] is not None:
            self.host.show(answer)
        if answer["outcome"] == "applied":
            self.host.disk.forget()
            return answer
        # A proof that is missing may be told with a line of a log.
        words = shown_words(answer["sentence"] or "the host did not say why").rstrip(".")
        if answer["outcome"] == "refused":
            raise NotMoved("nothing was changed: %s%s" % (words, stays), "refused")
        if answer["outcome"] == "undone" and self.awaited and answer["failed_step"] == 0:
            # No step but the one that waits: which it was tells nothing.
            raise NotMoved("nothing was changed: %s: %s" % (self.awaited, words.partition(" failed: ")[2] or words), "refused")
        if answer["outcome"] == "undone":
            raise NotMoved("%s. The host has undone it by itself: its files and its registry are as they were before, and %s%s"
                           % (words, after, stays), "undone")
        raise NotMoved("%s. The host is half way, and needs a person unless it gets it undone by itself yet: below %s\\changes "
                       "it keeps what it was like before" % (words, FOLDER), "trouble")

    # -- back

    def _put_back(self, error: MoveError) -> MoveError:
        result = error.result
        try:
            self._restore()
        except EngineError as err:
            return NotMoved("%s. Putting the host back did not work out either: %s. It needs a person; %s names the old files%s"
                            % (words_of(error), words_of(err), self.record_path, self._without_mark()), "trouble", result)
        return NotMoved("%s. Its files and its registry are as they were before, and its services run on the old port"
                        % words_of(error), "undone", result)

    def _without_mark(self) -> str:
        """Takes from the record that the host has proved itself: by what it could see it had, and what is judged here counts."""
        self.host.disk.forget()
        self.host.changes = []
        try:
            self.host.read_anew()
            if not self.host.record(self.record_path).mark_unproved():
                return ""
            answer = self.script.apply(Wanted(), self.host.disk.take(), ROOM)
            if answer["outcome"] == "applied":
                return ""
            words = answer["sentence"] or "the host did not say why"
        except (AnsibleError, EngineError) as err:
            words = str(err)
        return ", and says of it still that it has proved itself (%s)" % words.rstrip(".")

    def _restore(self) -> Result:
        record = self.host.record(self.record_path)
        content, port = record.content, self.product.port
        if not content or (port and content["new_port"] != port):
            # No record, or that of an earlier migration: the one that is taken back has not reached this host.
            return self._started(None)
        self.host.foresee_paths(paths_of(content))
        may_undo = content["state"] == "changing" or self.product.undoes_proved
        undo = self.product.undo(content["old_port"], content["new_port"]) if may_undo else None
        unsafe = record.review(undo)[1]
        stays = ". The host stays on port %d" % content["new_port"] if content["state"] != "rolled_back" else ""
        if unsafe and not self.force:
            raise RecordError("going back is no longer safe, nothing was changed: %s%s" % ("; ".join(unsafe), stays))
        if content["state"] == "rolled_back":
            return self._started(content["old_port"])
        self._require_known()
        self.files, self.diffs, self.awaited = [], [], ""
        done = record.restore_files(self.module, self.product.kinds.redactor, force=self.force, undo=undo)
        self.files, self.diffs = done["restored"], done["diff"]
        old_port, started = content["old_port"], self.services.names
        if not self.module.check_mode:
            changes, self.host.changes = self.host.changes, []
            before_start, after_start = self._turn((content["new_port"], old_port) if old_port else None)
            bridge_file = self.host.disk.take()
            given_back = self._excluded(content["new_port"], content.get("excluded", []), False)
            record.mark_rolled_back()
            self._carry_out([*bridge_file, *self._told("stop", self.services.names[::-1]), *before_start, *changes, *given_back,
                             *self._told("start", self.services.names), *after_start, *self.host.disk.take()],
                            settles=[one["id"] for one in own_changes(self.host.half_way(), self.record_path)], stays=stays)
        return dict(changed=True, old_port=old_port, started=started)

    def _started(self, old_port: int | None) -> Result:
        """What an interrupted run has left down is started, also where nothing is to be put back."""
        try:
            down = self.services.down()
        except EngineError as err:
            # It may never have run on this host.
            self.module.warn(str(err))
            down = []
        if down and not self.module.check_mode:
            self._carry_out(self._told("start", down))
        half_way = own_changes(self.host.half_way(), self.record_path)
        if half_way:
            raise WindowsError("nothing of the record of this host is to be put back, and %s" % left_half_way(half_way))
        return dict(changed=bool(down), old_port=old_port, started=down)


def paths_of(content: dict[str, Any]) -> list[str]:
    """All that the way back of a record looks at."""
    return [path for entry in content["files"] for path in (entry["path"], entry["backup"]) if path]


def _longest(steps: Sequence[Step]) -> float:
    """Seconds after which a change that has not ended is undone: all that its steps may take, with room for the host."""
    total = float(ROOM)
    for step in steps:
        if step["step"] == "wait":
            total += step["seconds"] + 2 * step["settle"]
        elif step["step"] in ("stop", "start"):
            total += step["seconds"]
    return total


def _notes(answer: Answer) -> list[str]:
    return [note for done in answer["done"] if done["step"] not in ("wait", "mark") for note in done["notes"]]
