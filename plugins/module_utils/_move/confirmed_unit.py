# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one process of a host that carries a change out, waits for the host's proof and for a confirmation, and undoes the change
when one of them does not come.

It may be ended at any moment, by a reboot too: what it does next is read from disk when it runs again.  Its state is
written before the step that it tells of, so that a state which says less than was done can't be.

    begun -> changing -> waiting -> confirmed
                 |          |
                 +----------+--> reverting -> reverted, or failed when the host can't be put back

The other carrier, of one login, is transaction: docs/architecture.md says why there are two.
"""

import os
import signal
import time

from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import (
    BoundedModule, CommandTimeout, execute, execute_and_leave, told)
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import (
    PATIENCE, PATIENCE_WITH_PROOF, ChangeRecord, alone_on_host, moved_at, read_record)
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_state import (
    CALLER, Place, asked_for, boot_clock, edits, take_back_interrupted_edits, turn, words)
from ansible_collections.portshift.agents.plugins.module_utils._move.states import (
    BEGUN, CHANGING, CONFIRMED, ENDED, FAILED, LOGIN_SECONDS, REVERTED, REVERTING, STATE, WAITING, ChangeError)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError, words_of
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import proof
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    FileError, NoSpace, one_at_a_time, overwrite, put_file, read_bytes, remove_file, sha256, write_durably, write_own)
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import this_boot
from ansible_collections.portshift.agents.plugins.module_utils._core.services import Services

# Seconds between two looks for a confirmation, and between two rounds of the checks.
LOOK_AGAIN = 0.2
CHECK_AGAIN = 0.5
# Seconds before each further attempt at going back.
PAUSES = (2, 5, 10, 20, 40, 60)
# Seconds that going back waits for another change of the host to end; then it goes on beside it.
PATIENCE_ON_THE_WAY_BACK = 30
# How often the process that minds another one begins it again.
MAX_RESTARTS = 5
# Seconds for systemctl when the unit tidies up behind itself.
SYSTEMCTL_SECONDS = 60
# Seconds that a boot has to start everything, the product too, before the change is undone.
BOOT_SECONDS = 90
# What a command meets that could not be run, or had to be ended; ValueError: words that no system call takes.
COMMAND_ERRORS = (CommandTimeout, OSError, ValueError)
UNIT = "portshift-confirm-%s.service"
STANDARD_OUTPUT = 1
RUNTIME_UNITS = "/run/systemd/system"


def unit_name(name):
    return UNIT % name


class _Shutdown(Exception):
    """The host goes down; the next boot goes on from here."""


class _Refused(EngineError):
    """A way back that is not safe any more; nothing was restored."""


class _Both:
    """Two records that are told of every write."""

    def __init__(self, *records):
        self.records = records

    def before_write(self, path, before, after, kind=None):
        for record in self.records:
            record.before_write(path, before, after, kind)


class Unit:
    """Carries the change at `place` on, from wherever it stands.  `kinds`, `proofs`: FileKinds and Proofs that it may name."""

    def __init__(self, kinds, proofs, place, say=None):
        self.kinds, self.proofs, self.place, self.say = kinds, proofs, place, say or _to_journal
        self.change, self.state = place.change(), place.state()
        if self.change is None or self.state is None:
            raise ChangeError("%s: holds no change; nothing was done" % place.folder)
        self.seconds = self.change["command_seconds"]
        self.module = BoundedModule(self.seconds)
        self.services = Services(self.module, self.change.get("services") or [], [], self.change.get("executables"))
        self.told_to_end = False
        # What of the way back is done.
        self.product_is_back = False

    # -- what others see

    def note(self, must=True, **values):
        """Writes down how far this is, durably.  Without `must` what follows is not held up by a disk that is full."""
        self.state.update(values)
        try:
            self.place.write(STATE, self.state)
            return True
        except FileError as err:
            if must:
                raise
            self.say(str(err))
            return False

    def remark(self, sentence):
        """Says once what the run that asked for the change has to know."""
        if sentence not in self.state["notes"]:
            self.say(sentence)
            self.state["notes"].append(sentence)

    # -- the parts of a change

    def _stop(self):
        """Stops the product.  Returns sentences on commands that did not come to an end of their own."""
        trouble = []
        for command in self.change["stop"]:
            self.say("Stops: %s" % words(command))
            try:
                status, out, err = execute(command, self.seconds)
            except COMMAND_ERRORS as err:
                trouble.append(_why(err, command))
                continue
            if status:
                # Some commands fail when there is nothing to stop.
                self.remark("%s ended with exit status %d%s" % (words(command), status, told(out + "\n" + err)))
        return trouble

    def _start(self, seconds=lambda: None):
        """Starts the product.  Returns sentences on what did not work.  `seconds`: gives those that the next command has."""
        trouble = []
        for command in self.change["start"]:
            self.say("Starts: %s" % words(command))
            try:
                status = execute_and_leave(command, seconds() or self.seconds)
            except COMMAND_ERRORS as err:
                trouble.append(_why(err, command))
                continue
            if status:
                trouble.append("%s ended with exit status %d%s" % (
                    words(command), status, "; its own words are in journalctl -u " + unit_name(self.place.name)
                    if self.change["systemd"] else ""))
        return trouble

    def _note_ran(self, before, must=True):
        """Notes of which services something ran: they are to run again, also where another process goes on from here."""
        known = self.state.get("ran", [])
        ran = sorted(set(known).union(name for name, processes in before.items() if processes))
        if ran != known:
            self.note(must, ran=ran)

    def _down(self, before, old_will_do):
        """Sentences on services that ran and do not run again in time, whatever the exit status of their start."""
        if not self.state.get("ran"):
            return []
        try:
            trouble = self._await_none(lambda: self.services.missing(before, self.state["ran"], old_will_do))
        except EngineError as err:
            trouble = str(err)
        return [trouble] if trouble else []

    def _await_none(self, ask, abort=lambda: None, seconds=None):
        """A sentence on what ask() still has sentences on when time is over, or None."""
        seconds = seconds or self.seconds
        end = boot_clock() + seconds
        while True:
            found = ask()
            if not found or boot_clock() >= end:
                return "%s after %g s" % ("; ".join(found), seconds) if found else None
            self._abort_if(abort())
            self._make_way_for_shutdown()
            time.sleep(LOOK_AGAIN)

    def _edit(self):
        change = self.change
        records = _Both(ChangeRecord(self.place.undo, change["old_port"], change["new_port"]),
                        ChangeRecord(change["record"], change["old_port"], change["new_port"], change["phase"]))
        # Planned anew: the product may have written its files while it stopped.
        take_back_interrupted_edits(self.kinds, change)
        for edit in edits(self.kinds, change):
            made = edit()
            if made.file.after != made.file.before:
                self.say("Writes %s" % made.path)
            if made.commit(self.module, record=records)["changed"] and made.path not in self.state["files"]:
                self.state["files"].append(made.path)

    def _check(self):
        """Waits until all checks succeed at once."""
        begun = boot_clock()
        end = begun + min(self.change["check_seconds"], self._seconds_left())
        while self.change["checks"]:
            for command in self.change["checks"]:
                try:
                    status, out, err = execute(command, max(1, min(self.seconds, end - boot_clock())))
                    why = "%s ended with exit status %d%s" % (words(command), status, told(out + "\n" + err)) if status else None
                except COMMAND_ERRORS as err:
                    why = _why(err, command)
                if why:
                    break
            else:
                self.say("All checks succeed")
                return
            self._abort_if(self._asked_to_revert())
            if boot_clock() >= end:
                raise ChangeError("after %g s this check still fails: %s" % (round(end - begun), why))
            time.sleep(CHECK_AGAIN)

    def _seconds_left(self):
        """Whole seconds, at least one, that are left for start, proof and login."""
        return max(1, round(self.state["until"] - boot_clock()))

    def _prove(self):
        """Waits for the host's proof, as the change asks for it.  What needs a new login is not proved here."""
        asked, options = self.proofs.asked(self.change)
        if asked is None:
            return
        port = self.change["new_port"]
        questions = asked.evidence(options, port, self.change["record"])
        questions.alone = True
        left = self.state["until"] - boot_clock() - LOGIN_SECONDS - 2 * options["settle"]
        self.say("Waits for the proof on port %d" % port)
        found = proof(questions, max(0, min(options["timeout"], left)), lambda: self._abort_if(self._asked_to_revert()))
        # Noted with the next step, whichever that is.
        self.state["proof"] = found
        self._abort_if(found.pop("msg", None))
        self.say("The host has proved itself on port %d" % port)

    # -- forward

    def run(self):
        """Carries the change on until it is confirmed or undone."""
        state, rebooted = self.state["state"], self.state["boot"] != this_boot()
        if rebooted and state in (CHANGING, WAITING, REVERTING, FAILED):
            self._await_boot()
        if state == BEGUN and rebooted:
            self._finish(REVERTED, "the host booted before the change began; nothing was changed")
        elif state == BEGUN:
            self._make_change()
        elif state == CHANGING:
            self._go_back("the host booted amid the change" if rebooted else "the process that made the change was ended amid it")
        elif state == WAITING:
            self._wait(rebooted)
        elif state == REVERTING or (state == FAILED and rebooted and self.change["way"] == "forward"):
            # Not what came of the attempts before, which "reason" tells once they have failed.
            self._go_back(self.state.get("because") or self.state["reason"])
        self._tidy_up()

    def _make_change(self):
        try:
            with alone_on_host(self.change["record"], patience=PATIENCE_WITH_PROOF):
                self.note(state=CHANGING, stopped=boot_clock())
                try:
                    self._make_steps()
                except _Shutdown:
                    raise
                except Exception as err:
                    # Whatever it is: the host must not be left half way.
                    self._go_back(words_of(err), alone=True)
                    return
        except EngineError as err:
            # The lock, or the first note: nothing has been touched.
            self.state.pop("stopped", None)
            self._finish(REVERTED, "nothing was changed: %s" % err)
            return
        self._wait()

    def _make_steps(self):
        before = self.services.look()
        if before:
            # Evidence tells old processes from new ones by that.
            ChangeRecord(*[self.change[key] for key in ("record", "old_port", "new_port", "phase")]).before_stop(
                self.services.processes())
            self._note_ran(before)
        self._abort_if("; ".join(self._stop()))
        self._abort_if(self._await_none(lambda: self.services.left(before), self._asked_to_revert))
        self._abort_if(self._asked_to_revert())
        self._edit()
        if self.change["bridge"]:
            self.note(bridge_turned=True)
            self.say("Turns the bridge: the old ports lead to the new ones")
            self.state["bridge"] = turn(self.module, self.change["bridge"], True)
        # From here on the host may refuse logins: start, proof and the login that confirms have this time together.
        self.state["until"] = boot_clock() + self.change["timeout"]
        self._abort_if("; ".join(self._start(lambda: min(self.seconds, self._seconds_left()))))
        # An exit status is not believed.
        self._abort_if(self._await_none(lambda: self.services.missing(before), self._asked_to_revert,
                                        min(self.seconds, self._seconds_left())))
        self.state["seconds"] = round(boot_clock() - self.state["stopped"], 2)
        self._check()
        self._prove()
        if boot_clock() >= self.state["until"]:
            raise ChangeError("start and proof have taken all of the %d s (timeout) that they have together with the login that "
                              "confirms; give more" % self.change["timeout"])
        self.note(state=WAITING)
        self.say("Waits %d s for the confirmation" % self._seconds_left())

    def _wait(self, rebooted=False):
        if self.state["state"] != WAITING:
            return
        while True:
            # What is decided for going back stays decided, also when its note could not be written.
            why = self._asked_to_revert() or (None if self.place.holds_reserve() else "going back had begun")
            if not why and self.place.asks("confirm.json", self.state["token"]):
                if self._confirmed():
                    return
                if rebooted:
                    # The time that is left was counted by the clock of the boot before.
                    why = "the host booted, and the confirmation could not be noted"
            elif not why and rebooted:
                why = "the host booted before the change was confirmed"
            if not why and boot_clock() >= self.state["until"]:
                why = "it was not confirmed within %d s" % self.change["timeout"]
            if why:
                self._go_back(why)
                return
            time.sleep(LOOK_AGAIN)

    def _confirmed(self):
        try:
            return self._finish(CONFIRMED, "it was confirmed", must=True)
        except FileError as err:
            # Not confirmed as long as that is not on disk; there is time until it has to go back.
            self.state["state"] = WAITING
            self.remark("the confirmation could not be noted: %s" % err)
            return False

    def _asked_to_revert(self):
        """Why the change is to be undone at once, or None."""
        asked = self.place.asks("revert.json", self.state["token"])
        if asked:
            return asked["reason"]
        if self.told_to_end:
            self._make_way_for_shutdown()
            return "its process was told to end before the change was confirmed"
        return None

    def _make_way_for_shutdown(self):
        """Nothing can be started on a host that goes down: what is to be done is done after the boot."""
        if self.told_to_end and self._host_is() == "stopping":
            raise _Shutdown()

    def _await_boot(self):
        """The product may be among what the boot has yet to start: stopped before that, it would come up twice."""
        end = boot_clock() + BOOT_SECONDS
        while self._host_is() in ("initializing", "starting") and boot_clock() < end:
            self._make_way_for_shutdown()
            time.sleep(CHECK_AGAIN)

    def _host_is(self):
        """What systemd says of the host, such as "running"; "" without systemd."""
        if not self.change["systemd"]:
            return ""
        try:
            return execute(["systemctl", "is-system-running"], SYSTEMCTL_SECONDS)[1].strip()
        except COMMAND_ERRORS:
            return ""

    @staticmethod
    def _abort_if(why):
        if why:
            raise ChangeError(why)

    # -- back

    def _go_back(self, reason, alone=False):
        """Stops, restores, turns the bridge back and starts, again and again until that has worked or patience is over."""
        self.say("Undoes the change: %s" % reason)
        try:
            self.place.free_reserve()
        except FileError as err:
            self.say(str(err))
        self.note(must=False, state=REVERTING, reason=reason, because=reason)
        trouble = []
        for pause in (0,) + PAUSES:
            time.sleep(pause)
            self._make_way_for_shutdown()
            try:
                trouble = self._go_back_alone(alone)
            except _Refused as err:
                self._finish(FAILED, "%s; %s" % (reason, err))
                return
            if not trouble:
                self._finish(REVERTED, reason)
                return
            for sentence in trouble:
                self.remark(sentence)
            self.note(must=False)
        forward = self.change["way"] == "forward"
        self._finish(FAILED, "%s. Putting the host back did not work out: %s. It needs a person; %s names the old files%s" % (
            reason, "; ".join(trouble), self.place.undo if forward else self.change["record"],
            ". %s tries again at the next boot" % unit_name(self.place.name) if forward and self.change["systemd"] else ""))

    def _go_back_alone(self, alone):
        if alone:
            return self._attempt()
        try:
            with alone_on_host(self.change["record"], patience=PATIENCE_ON_THE_WAY_BACK):
                return self._attempt()
        except FileError as err:
            # The lock can't be had, but the host has to come back.
            self.remark(str(err))
            return self._attempt()

    def _attempt(self):
        """One attempt at going back.  Returns sentences on what did not work."""
        trouble = []
        if not self.product_is_back:
            before, stopped = self._stop_for_way_back()
            may_run_changed = self._may_run_changed()
            if may_run_changed:
                # What still runs would go on with what it has read.
                trouble += stopped
            else:
                for sentence in stopped:
                    self.remark(sentence)
            try:
                self._restore()
                # The bridge leads to where the product listens, and that is the old port only when its files say so.
                self._turn_back()
            except _Shutdown:
                raise
            except _Refused as err:
                raise _Refused("%s%s" % (err, self._start_as_it_is(before)))
            except Exception as err:
                trouble.append(words_of(err))
            trouble += self._start()
            if not trouble:
                trouble = self._down(before, old_will_do=not may_run_changed)
            self.product_is_back = not trouble
        if not trouble:
            try:
                self._settle_record()
            except Exception as err:
                trouble.append(words_of(err))
        return trouble

    def _stop_for_way_back(self):
        """What ran, and what _stop() returns; it waits for what it stops where that may run with what was changed."""
        before = {}
        try:
            before = self.services.look()
            self._note_ran(before, must=False)
        except EngineError as err:
            self.remark(str(err))
        stopped = self._stop()
        try:
            left = self._await_none(lambda: self.services.left(before)) if before and self._may_run_changed() else None
        except EngineError as err:
            left = str(err)
        return before, stopped + ([left] if left else [])

    def _may_run_changed(self):
        """Whether the product may have been started with other files, or another bridge, than it is to have."""
        return self.change["way"] == "back" or self.state["bridge_turned"] or bool(read_record(self.place.undo))

    def _start_as_it_is(self, before):
        """Starts the product where nothing is restored.  Returns the end of a sentence when it stays down."""
        trouble = []
        for pause in (0,) + PAUSES:
            time.sleep(pause)
            self._make_way_for_shutdown()
            trouble = self._start() or self._down(before, old_will_do=True)
            if not trouble:
                return ""
            for sentence in trouble:
                self.remark(sentence)
            self.note(must=False)
        return "; the product is down, as it could not be started again: %s" % "; ".join(trouble)

    def _turn_back(self):
        if self.change["bridge"] and (self.state["bridge_turned"] or self.change["way"] == "back"):
            self.say("Turns the bridge: the new ports lead to the old ones")
            self.state["bridge"] = turn(self.module, self.change["bridge"], False)

    def _restore(self):
        if self.change["way"] == "back":
            record, undo = ChangeRecord(self.change["record"]), self.kinds.undo(self.change["new_port"])
            record.take_back_interrupted()
            unsafe = record.review(undo)[1]
            if unsafe and not self.change["force"]:
                raise _Refused("going back is no longer safe, nothing was restored: %s" % "; ".join(unsafe))
            restored = self._restore_by(record, self.change["force"], undo)
        else:
            undo = ChangeRecord(self.place.undo)
            undo.take_back_interrupted()
            drifted = self._keep_what_others_wrote(undo)
            # By force: a host that no administrator may be able to enter has to come back, and what others wrote is kept.
            restored = self._restore_by(undo, True, self._without_our_ports(drifted))
        for path in restored:
            self.say("Has restored %s" % path)
        self.state["restored"] = sorted(set(self.state["restored"]) | set(restored))

    def _restore_by(self, record, force, undo):
        """Returns the paths that were restored."""
        foreseen = [entry["path"] for entry in record.review()[0]]
        try:
            return record.restore_files(self.module, force=force, undo=undo)["restored"]
        except NoSpace as err:
            self.say("%s; writes in place what is left to be restored" % err)
        for entry in record.review()[0]:
            now, before = read_bytes(entry["path"]), record.backed_up(entry)
            mended = undo(entry.get("kind"), now, before) if undo and sha256(now) != entry["sha256_after"] else None
            if mended is None and before is None:
                # That takes no room.
                remove_file(entry["path"], False)
            else:
                overwrite(entry["path"], before if mended is None else mended)
        return foreseen

    def _keep_what_others_wrote(self, undo):
        """Copies files that others have changed since; -> {sha256 of such a file: its path}."""
        drifted = {}
        for entry in (undo.content or {"files": []})["files"]:
            before = undo.backed_up(entry)
            if not os.path.lexists(entry["path"]):
                if before is not None:
                    self.remark("%s: it was removed since; it is there again, with its old bytes" % entry["path"])
                    write_durably(entry["path"], before, mode=self.change["modes"].get(entry["path"], 0o600))
                continue
            now = read_bytes(entry["path"])
            if sha256(now) not in (entry["sha256_before"], entry["sha256_after"]):
                drifted[sha256(now)] = entry["path"]
                if all(kind.keeps_all for kind, unused in self._asked(entry["path"])) and self._without_our_edits(
                        entry["path"], now, before) is not None:
                    # All that it holds stays, but for the port.
                    continue
                copy = self.place.path("changed-by-others-%s" % sha256(now)[:12])
                try:
                    put_file(copy, now, False)
                    self.remark("%s: it has changed since; what it held is in %s" % (entry["path"], copy))
                except FileError as err:
                    self.remark("%s: it has changed since, and what it held could not be kept: %s"
                                % (entry["path"], err))
        return drifted

    def _asked(self, path):
        """[(kind, entry)] of what is asked for the file at `path`."""
        return [(kind, entry) for kind, entry, target in asked_for(self.kinds, self.change) if kind and target == path]

    def _without_our_edits(self, path, now, before):
        """The bytes now without what this change did to them; None where no kind of file can tell."""
        content = now
        for kind, entry in self._asked(path):
            content = kind.undo_edit(entry, content, before) if content is not None else None
        return content if self._asked(path) and (content or before is not None) else None

    def _without_our_ports(self, drifted):
        """As FileKinds.undo(), by what was asked for the file.  `drifted`: {sha256: path}"""
        return lambda unused, now, before: self._without_our_edits(drifted.get(sha256(now)), now, before)

    def _settle_record(self):
        """The migration's record says that the host is back, or what it said before this change."""
        path = self.change["record"]
        if self.change["record_before"] is not None:
            write_own(path, self.change["record_before"].encode("utf-8"))
            return
        content = read_record(path)
        if content and content["new_port"] == self.change["new_port"]:
            ChangeRecord(path).mark_rolled_back()

    # -- the end

    def _finish(self, state, reason, must=False):
        """The last word.  It has to get on disk: the run that asked waits for it."""
        self.state.update(state=state, reason=reason, ended=time.time())
        if must:
            self.note()
        else:
            for pause in PAUSES:
                if self.note(must=False):
                    break
                time.sleep(pause)
        self.say("The change is %s: %s" % (state, reason))
        return True

    def _note_proof(self):
        """A host that has proved itself and was entered by a new login is where it is to stay: its record says so."""
        found = self.state.get("proof")
        if self.state["state"] != CONFIRMED or not found:
            return
        record = ChangeRecord(self.change["record"])
        # Of what was proved, and not of what another run has made of the host since.
        if moved_at(record.content, found["port"]) == found["moved_at"]:
            record.mark_verified()

    def _tidy_up(self):
        state = self.state["state"]
        if state not in ENDED:
            return
        try:
            self._note_proof()
        except EngineError as err:
            # The next run finds that, and asks for the proof anew.
            self.say(str(err))
        try:
            # A run that was killed has left its lock.
            self.place.remove("reserve", "confirm.json", "revert.json", CALLER)
            if state == FAILED and self.change["way"] == "forward":
                # The next boot tries again, for which it needs all the rest.
                return
            self.place.forget_old_bytes()
            self._remove_unit()
            self.place.remove("run.zip")
            if self.change["files"]:
                # They may hold secrets too.
                self.place.write("change.json", dict(self.change, files=[]))
        except (EngineError, OSError) as err:
            self.say(str(err))

    def _remove_unit(self):
        if not self.change["systemd"]:
            return
        name = unit_name(self.place.name)
        path, command = os.path.join(self.change["unit_dir"], name), ["systemctl", "disable", name]
        if os.path.lexists(path):
            # A unit without a file has the default KillMode: were systemd to read its files anew now, it would end the product
            # together with this process.  This copy is gone after the next boot.
            put_file(os.path.join(RUNTIME_UNITS, name), read_bytes(path), False, mode=0o644)
        try:
            execute(command, SYSTEMCTL_SECONDS)
        except COMMAND_ERRORS as err:
            self.say(_why(err, command))
        remove_file(path, False)


def _why(error, command):
    """A sentence on a command that could not be run, or had to be ended."""
    if isinstance(error, EngineError):
        return str(error)
    return "%s could not be run: %s" % (words(command), getattr(error, "strerror", None) or error)


def _carry_on(kinds, proofs, folder, say):
    """The exit status of the process: 0 when there is nothing left to do."""
    place = Place.of(folder)
    try:
        # Two of them would undo each other's work.
        with one_at_a_time(place.lock, PATIENCE, "another process that carries this change out"):
            if place.change() is None or place.state() is None:
                # Taken back before this process came to it; it would find the same the next time.
                say("%s: holds no change; nothing was done" % place.folder)
                return 0
            unit = Unit(kinds, proofs, place, say)

            def end(*unused):
                unit.told_to_end = True

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, end)
            unit.run()
            return 0
    except _Shutdown:
        say("The host goes down; the next boot undoes the change")
    except EngineError as err:
        say(str(err))
    return 1


def _pass_on(child, number):
    try:
        os.kill(child, number)
    except ProcessLookupError:
        pass


# A host has to come back also when no log takes a sentence: what speaks raises nothing.

def _to_system_log(sentence):
    import syslog
    try:
        syslog.openlog("portshift-confirm")
        # In UTF-8 whatever the locale says, and no system log takes a NUL.
        syslog.syslog(_as_bytes(sentence).decode("utf-8").replace("\0", "?"))
    except (OSError, ValueError):
        pass


def _to_journal(sentence):
    # Not by sys.stdout, which keeps what it could not write and makes a failure of the end of the process.
    rest = _as_bytes(sentence) + b"\n"
    try:
        while rest:
            rest = rest[os.write(STANDARD_OUTPUT, rest):]
    except (OSError, ValueError):
        pass


def _as_bytes(sentence):
    return sentence.encode("utf-8", "replace")


def main(kinds, proofs, folder, minded):
    """Runs in the process that was left behind.  `minded`: by systemd, which begins it again when it is killed."""
    os.umask(0o022)
    # A handler, not SIG_IGN: what is ignored would be inherited by the product.
    signal.signal(signal.SIGHUP, lambda *unused: None)
    if minded:
        return _carry_on(kinds, proofs, folder, _to_journal)
    for _life in range(MAX_RESTARTS):
        child = os.fork()
        if not child:
            status = 1
            try:
                status = _carry_on(kinds, proofs, folder, _to_system_log)
            finally:
                os._exit(status)
        # A signal to this process is meant for that one.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, unused, child=child: _pass_on(child, received))
        status = os.waitpid(child, 0)[1]
        if status == 0:
            return 0
        time.sleep(1)
    return 1
