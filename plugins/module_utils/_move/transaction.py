# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The move of one host as one transaction, carried by the process that begins it.

Checks again, stops the services, edits the files, turns the bridge round, starts the services, waits for the proof and notes it;
what does not prove itself is put back, files, bridge and services.  Nothing of that needs the control node, which learns the
outcome.  A run that is killed leaves a record in the state C(changing), from which the next run goes on, in either direction.

The other carrier, for hosts whose wrong port may lock Ansible out, is confirmed_unit; docs/architecture.md says why there are
two.
"""

import contextlib
import os
import signal
import time

from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import (
    PATIENCE_WITH_PROOF, ChangeRecord, RecordError, alone_on_host, why_it_stays)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError, words_of
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import proof
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import take_back_interrupted


class MoveError(EngineError):
    """A move that did not come about; the sentence says what became of the host, `result` what it proved and what not."""


class MovedProduct:
    """What a transaction has to know of the product on the host.

    C(port): the port to move to.  C(paths): the files that a move may edit.  C(kinds): the FileKinds of these.
    """

    # Whether undo() may be asked of a host that has proved itself, too.
    undoes_proved = False

    def edits(self):
        """(the port that is left or None, the Edits that lead to the new port, notes), read anew on each call.

        MoveError when something stands against them.
        """
        raise NotImplementedError

    def check_again(self):
        """Before a service is stopped: EngineError when the new port, or what the host depends on there, is not ready."""

    def undo(self, old_port, new_port):
        """A function (kind, bytes now, bytes before) as ChangeRecord.restore_files() takes it, for a move without proof yet."""
        raise NotImplementedError

    def evidence(self):
        """The Evidence that the host owes after the move; None when none is asked for."""
        return None

    def still_away(self, old_port):
        """After a host was put back: a sentence when it does not answer on its old port, or None."""
        return None


def outlive_the_connection():
    """A move that has begun is finished, whatever becomes of the connection that began it.

    A session of its own has no terminal that could hang up.  Handlers, not SIG_IGN: what is ignored would be inherited by
    the services that are started here.
    """
    try:
        os.setsid()
    except OSError:
        # Leader of a process group already.
        pass
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *unused: None)


def _bridges():
    """What turns a bridge: imported where there is one, since each module run compiles anew what it imports, and never after a
    service was stopped.
    """
    from ansible_collections.portshift.agents.plugins.module_utils._bridge import bridge
    return bridge


class Transaction:
    """The move of one host, or its way back.

    C(record): the path of its record.  C(bridge): options of its bridge, or None.  C(proof_seconds): how long the proof may take.
    C(force): on the way back, restore files that others have changed since.  C(unfinished_only): nothing is begun that the record
    does not tell of already.
    """

    def __init__(self, module, product, services, record, phase=None, bridge=None, proof_seconds=0, force=False,
                 unfinished_only=False):
        self.module, self.product, self.services, self.unfinished_only = module, product, services, unfinished_only
        self.record_path, self.phase, self.proof_seconds, self.force = record, phase, proof_seconds, force
        # What can't be is refused now, with the product still running.
        self.bridges = _bridges() if bridge else None
        self.bridge_options = bridge and self.bridges.check_bridge(bridge)
        self.lease = self.bridges.lease_of(self.bridge_options) if bridge and not module.check_mode else None
        self.diffs, self.files, self.bridge = [], [], None
        self.stopped, self.seconds, self.record = None, 0, None

    def run(self, restore=False):
        """The result of the module, but for its diff.  EngineError with the sentence on what became of the host."""
        with alone_on_host(self.record_path, self.module.check_mode, may_be_first=not restore, patience=PATIENCE_WITH_PROOF):
            # From before the stop to the start, so that no product is down while it waits for another one.
            with self._leased():
                # Not while it waits: what has not begun can still be called off.
                if not self.module.check_mode:
                    outlive_the_connection()
                result = self.restore() if restore else self.move()
            if not restore:
                result = self._proved(result)
        return dict(result, files=self.files, bridge=self.bridge, seconds=self.seconds)

    @contextlib.contextmanager
    def _leased(self, must=True):
        if self.lease is None:
            yield
            return
        try:
            if must:
                self.lease.hold()
            else:
                self.bridges.hold_for_a_move(self.lease)
            yield
        finally:
            self.lease.release()

    # -- steps

    def stop(self, must_note=True):
        try:
            # Ahead of the stop: a run that is killed after it is known by that, and evidence tells old processes from new ones.
            self.record.before_stop(self.services.processes())
        except EngineError as err:
            if must_note:
                raise
            self.module.warn(str(err))
        self.stopped = time.time()
        self.services.stop()

    def start(self):
        """The services that were started; in check mode those that don't run."""
        if self.module.check_mode:
            return self.services.down()
        started = self.services.start()
        if self.stopped:
            self.seconds = round(time.time() - self.stopped, 2)
        return started

    def require_known_services(self):
        try:
            self.services.require_known()
        except EngineError as err:
            raise MoveError("nothing was changed: %s" % err)

    def turn_bridge(self, listen, target):
        if self.bridge_options and listen and target:
            self.bridge = self.bridges.set_bridge(self.module, self.bridge_options, [(listen, target, None)], self.lease)

    def commit(self, edit, record):
        done = edit.commit(self.module, record=record)
        self.diffs += [done["diff"]] if "diff" in done else []
        self.files += [edit.path] if done["changed"] else []

    # -- there

    def move(self):
        if self.unfinished_only:
            # Read here, alone on the host: the run that had begun the move may have put the host back meanwhile.
            self.record = ChangeRecord(self.record_path)
            if not self._under_way():
                return dict(old_port=None, started=[], notes=[], changed=False)
        take_back_interrupted(self.product.paths, self.module.check_mode)
        old_port, edits, notes = self.product.edits()
        for edit in edits:
            for warning in edit.warnings:
                self.module.warn(warning)
        if edits:
            self.require_known_services()
        self.record = ChangeRecord(self.record_path, old_port, self.product.port, self.phase)
        if self.module.check_mode:
            for edit in edits:
                self.commit(edit, None)
            started = self.start()
        else:
            # What the proof is asked with, such as a pattern, may be none that can be asked.
            self.product.evidence()
            if edits:
                self._check_again()
            started = self._change(bool(edits))
        return dict(old_port=old_port, started=started, notes=notes,
                    changed=bool(self.files or started or (self.bridge or {}).get("changed")))

    def _check_again(self):
        try:
            self.product.check_again()
        except EngineError as err:
            if self._under_way():
                # The services may be down since an interrupted run.
                self.put_back(err)
            raise

    def _under_way(self):
        """Whether the record is that of this move, not of an earlier one, and the host has not proved itself yet."""
        content = self.record.content
        return bool(content) and content["state"] == "changing" and content["new_port"] == self.product.port

    def _change(self, stop):
        try:
            if stop:
                self.stop()
                # The agent may have written its files while it stopped.
                for edit in self.product.edits()[1]:
                    self.commit(edit, self.record)
            if self._under_way():
                self.turn_bridge(self.record.content["old_port"], self.record.content["new_port"])
            return self.start()
        except Exception as err:    # whatever it is, the services are down and the files half edited
            if not stop and not self._under_way():
                raise MoveError("%s. %s" % (words_of(err), self._why_it_stays()))
            return self.put_back(err)

    def _proved(self, result):
        """`result` with the proof, where one is asked for; a host without it is put back."""
        questions = self.product.evidence()
        if questions is None:
            return result
        if self.module.check_mode and self.files:
            # Nothing has moved that could be proved; that the host would move is what there is to say.
            return dict(result, ok=True, predicted=True, port=self.product.port)
        questions.alone, marked = True, False
        try:
            found = proof(questions, self.proof_seconds)
            if found["ok"] and questions.is_to_be_marked() and not self.module.check_mode:
                marked = questions.record.mark_verified(alone=True)
        except Exception as err:    # without proof, for whatever reason
            found = dict(ok=False, port=self.product.port, missing={}, msg=words_of(err))
        if found["ok"]:
            return dict(dict(result, **found), changed=result["changed"] or marked)
        error = MoveError(found.pop("msg"), found)
        if self.module.check_mode:
            raise error
        if self._under_way():
            with self._leased(must=False):
                self.put_back(error)
        raise MoveError("%s. %s" % (words_of(error), self._why_it_stays()), found)

    def _why_it_stays(self):
        return why_it_stays(self.record.content, self.product.port)

    # -- back

    def put_back(self, error):
        """After a failure: the old files, the old direction of the bridge, the services up."""
        steps, move, trouble = [], self.record.content, []

        def files_and_bridge():
            # The bridge leads to where the product listens, and that is the old port only when its files say so.
            self.record.restore_files(self.module, self.product.kinds.redactor,
                                      undo=self.product.undo(move["old_port"], move["new_port"]))
            self.turn_bridge(move["new_port"], move["old_port"])

        if self._under_way() and not (self.record.is_bare and self.bridge is None):
            steps = [lambda: self.stop(must_note=False), files_and_bridge]
        for step in steps + [self.services.start]:
            try:
                step()
            except Exception as err:    # the services are started whatever happens
                trouble.append(words_of(err))
        if not trouble and (steps or self.record.is_bare):
            try:
                self.record.mark_rolled_back()
            except EngineError as err:
                error = MoveError("%s; %s" % (words_of(error), err), getattr(error, "result", None))
        away = self.product.still_away(move["old_port"]) if steps and not trouble else None
        trouble += [away] if away else []
        result = getattr(error, "result", None)
        if trouble:
            raise MoveError("%s. Putting the host back did not work out either: %s. It needs a person; %s names the old files" % (
                words_of(error), "; ".join(trouble), self.record.path), result)
        ending = "; %s was told to stop and may end yet: look again in a while, and start it then" % ", ".join(
            self.services.ending) if self.services.ending else ""
        raise MoveError("%s. Its files are as they were before, byte for byte, and its services run on the old port%s"
                        % (words_of(error), ending), result)

    def restore(self):
        self.record, bare = ChangeRecord(self.record_path), None
        if self.record.is_bare:
            bare = self._restore_bare()
            if not self.record.content or self.product.port in (0, bare["new_port"]):
                return dict(changed=True, old_port=bare["old_port"], started=bare["started"])
        result = self._restore_record()
        return dict(result, changed=True, started=bare["started"] + result["started"]) if bare else result

    def _restore_bare(self):
        """Takes back a move that has changed no file.  The record of the one before is in force again, if there is one."""
        move = self.record.content
        started = self.start()
        if self.module.check_mode:
            self.record.content = move.get("earlier")
        else:
            self.turn_bridge(move["new_port"], move["old_port"])
            self.record.mark_rolled_back()
        return dict(move, started=started)

    def _restore_record(self):
        self.record.take_back_interrupted(self.module.check_mode)
        unsafe, move, port = self.record.review()[1], self.record.content, self.product.port
        if not move or (port and move["new_port"] != port):
            # No record, or that of an earlier migration: the one that is taken back has not reached this host.
            return self._start_untouched()
        # Before its proof a host is put back even though the agent has written its settings since it started.
        undo = self.product.undo(move["old_port"], move["new_port"]) if move["state"] == "changing" else None
        if unsafe and not self.force and not undo:
            raise RecordError("going back is no longer safe, nothing was changed: %s" % "; ".join(unsafe))
        if move["state"] == "rolled_back":
            started = self.start()
            return dict(changed=bool(started), old_port=move["old_port"], started=started)
        self.require_known_services()
        started = self._restore_files(undo)
        if not self.module.check_mode:
            self.record.mark_rolled_back()
        return dict(changed=True, old_port=move["old_port"], started=started)

    def _restore_files(self, undo):
        """Puts the files and the bridge back.  Returns the services that were started, which is tried whatever happens."""
        move, trouble, started = self.record.content, [], []
        try:
            if not self.module.check_mode:
                # The record is there already, and a full disk is not in the way of going back.
                self.stop(must_note=False)
            result = self.record.restore_files(self.module, self.product.kinds.redactor, force=self.force, undo=undo)
            self.files, self.diffs = result["restored"], result["diff"]
            if not self.module.check_mode:
                self.turn_bridge(move["new_port"], move["old_port"])
        except EngineError as err:
            trouble.append(words_of(err))
        try:
            started = self.start()
        except EngineError as err:
            trouble.append(str(err))
        if trouble:
            raise MoveError("; ".join(trouble))
        return started

    def _start_untouched(self):
        """What an interrupted run has left down is started, also where nothing is to be put back."""
        try:
            started = self.start()
        except EngineError as err:
            # It may never have run on this host.
            self.module.warn(str(err))
            started = []
        return dict(changed=bool(started), old_port=None, started=started)
