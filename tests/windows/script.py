# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What host.ps1 does with a Request, as its contract says (plugins/plugin_utils/_windows/protocol.py): the steps, never the text.

The guardian is the scheduled task: it undoes what is not decided when the time is up or the host boots.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading

from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import LOG_TAIL
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import FOLDER, VERSION

from .clock import Cancelled
from .files import ALL, DELETE, READ, TRUSTED, FileError
from .network import NoAnswer, Range
from .registry import RegistryError
from .services import RUNNING, STOP_PENDING, STOPPED, ServiceError
from .shapes import Misfit, check

LOOK_SECONDS = 0.5
WAIT_SECONDS = 2.0
# How long another process is waited for by an apply; how often the guardian looks, and how long beyond its time it lets one be.
LOCK_SECONDS, GUARD_SECONDS, PATIENCE = 5.0, 60.0, 900.0
# How long services run before they are stopped once more for what could not be set back.
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0
# How long what became of a change is kept, and told.
DAY = 86400.0
RESERVE_BYTES = 262144
CONNECTIONS = 5000
LISTEN_SECONDS = 10.0
BODY_BYTES, HOSTS = 65536, 4
HELD_SECONDS = 60.0
CODED = ("Binary", "None", "Unknown")
NO_ADMINISTRATOR = ("the account that Ansible uses is no administrator of this host, or its login is a restricted one (user1): "
                    "log in with one that is")
APPLYING, UNDOING, UNDONE, TROUBLE, APPLIED = "applying", "undoing", "undone", "trouble", "applied"


class StepFailed(Exception):
    """One sentence: what the host was asked, found, and where."""


class Refusal(Exception):
    """Why nothing was touched."""


# What a step, or a way back, may fail with.
TROUBLES = (StepFailed, FileError, ServiceError, RegistryError)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def as_contract(name, kind, data):
    return dict(name=name, type=kind, data=base64.b64encode(data).decode() if kind in CODED else data)


def from_contract(value):
    return base64.b64decode(value["data"]) if value["type"] in CODED else value["data"]


class Left(Exception):
    """What an undo leaves for a person."""


class AnyOf:
    """An event that is set when one of some is."""

    def __init__(self, *events):
        self.events = [event for event in events if event is not None]

    def is_set(self):
        return any(event.is_set() for event in self.events)


class Entry:
    """Of the journal: a setting that was `before` and is to be `after`; both are None where there is none."""

    def __init__(self, kind, target, before, after, data=None, node=None, made=None):
        self.kind, self.target, self.before, self.after = kind, target, before, after
        # Of a file: its bytes before, and what it had beside them.  Of the registry: the uppermost key that was made.
        self.data, self.made = data, made
        self.kept = node and dict(read_only=node.read_only, owner=node.owner, writers=node.writers, protected=node.protected)


class Change:
    """What the host keeps of one on its disk, and the process that is at work on it."""

    def __init__(self, request, began, places):
        self.id, self.request, self.began, self.places = request["id"], request, began, places
        self.state, self.sentence, self.cause, self.settled, self.over = APPLYING, None, None, False, None
        self.failed_step, self.done, self.seconds = None, [], 0.0
        self.journal, self.services = [], {}
        self.marks = {}
        self.is_running, self.ended, self.deadline = True, threading.Event(), None
        self.down, self.up = None, None
        # By the time since boot, when it was tried to undo it, and how long it is left alone then.
        self.tried, self.pause = None, 0.0


class Script:
    def __init__(self, host):
        self.host = host
        self.changes = {}
        # Ids of changes whose scheduled task is there.
        self.tasks = set()
        # For tests: index of a step -> function(step), called before it; Cancelled is what a power cut looks like.
        self.before = {}
        self.killed = threading.Event()

    @property
    def clock(self):
        return self.host.clock

    # -- from outside
    def hold_at(self, index):
        """For tests: before that step the script stands, until WinRM ends its process -> an event that says that it stands"""
        stands = threading.Event()

        def stand(_step):
            stands.set()
            assert self.host.cancelled.event.wait(HELD_SECONDS), "nothing ended the process that stood at step %d" % index
            raise Cancelled

        self.before[index] = stand
        return stands

    def answer(self, request, check_mode=False):
        """-> Answer; what the contract does not know is a Misfit."""
        check(request, "Request", "request")
        if request["version"] != VERSION:
            raise Misfit("request.version is %d, this model knows %d" % (request["version"], VERSION))
        _consistent(request)
        answer = dict(version=VERSION, ok=True, outcome="none", sentence=None, failed_step=None, done=[], seconds=0.0,
                      unfinished=[], found=None)
        if self.host.language_mode != "FullLanguage":
            return dict(answer, ok=False, outcome="refused", found=self.nothing(), sentence="PowerShell runs in %s on this host, "
                        "in which nothing can be read and changed" % self.host.language_mode)
        own = None
        if request["verb"] == "apply":
            try:
                self._apply(request, answer, check_mode)
                own = request["id"]
            except (Refusal, *TROUBLES) as err:
                answer.update(ok=False, outcome="refused", sentence=str(err))
        faults = []
        try:
            answer["unfinished"] = self._unfinished(own, faults)
        except (Refusal, FileError) as err:
            faults.append("changes of this host are not told: %s" % err)
        answer["sentence"] = "; ".join(filter(None, [answer["sentence"], *faults])) or None
        wanted = request["wanted"]
        asks_wmi = any(wanted.get(one) for one in ("services", "ports", "remote_ports"))
        if asks_wmi and not self.host.administrator and not self.host.may_ask_wmi:
            words = "%s (Access denied)" % NO_ADMINISTRATOR
            return dict(answer, ok=answer["ok"] and request["verb"] != "read",
                        sentence="; ".join(filter(None, [answer["sentence"], words])))
        answer["found"] = self.found(wanted)
        return answer

    def end(self):
        """The host goes down: whatever runs ends where it is."""
        self.killed.set()
        self.killed = threading.Event()
        for change in self.changes.values():
            change.is_running = False

    def boot(self):
        """The guardian's other trigger: a minute after it."""
        for change in list(self.changes.values()):
            self._watch(change)

    def _recent(self, change):
        return change.over is not None and abs(self.clock.now() - change.over) < DAY

    def _known_changes(self):
        """Those whose folders are there, in folders that are believed."""
        for path in (FOLDER, FOLDER + "\\changes"):
            self._assert_own(path)
        found = [change for change in self.changes.values() if self.host.files.get(self._own(change)) is not None]
        for change in found:
            self._assert_own(self._own(change))
        return found

    def _read_state(self, change):
        """Refusal where the file that tells it is there and can't be read."""
        path = self._own(change) + "\\state.json"
        try:
            with self.host.files.opened(path, (READ,), ALL) as node:
                json.loads(node.content)["state"]
        except (FileError, ValueError, KeyError, TypeError) as err:
            if getattr(err, "kind", None) != "missing":
                raise Refusal("%s, which tells whether a change of this host has ended, cannot be read (%s): see what holds it; "
                              "or, when the host is as it is to be, delete the folder %s" % (path, err, self._own(change)))
        return change

    def _unfinished(self, own, faults):
        """A read writes nothing."""
        known = []
        for change in self._known_changes():
            try:
                known.append(self._read_state(change))
            except Refusal as err:
                faults.append("a change of this host is not told: %s" % err)
        return [dict(id=change.id, state=change.state, began=change.began, running=self._is_open(change) and change.is_running,
                     timeout=change.request["timeout"], sentence=change.sentence or "a change of this host is %s" % change.state)
                for change in known
                if change.id != own and change.state != APPLIED and not change.settled
                and (change.state != UNDONE or self._recent(change))]

    @staticmethod
    def _is_open(change):
        return change.state in (APPLYING, UNDOING)

    # -- apply
    def _apply(self, request, answer, check_mode):
        if not self.host.administrator:
            raise Refusal(NO_ADMINISTRATOR)
        places = {place["name"]: self.place(place) for place in request["wanted"].get("places", [])}
        if check_mode:
            return self._guards(request, places)
        self._assert_folder()
        cancelled = AnyOf(getattr(self.host.cancelled, "event", None), self.killed)
        if any(change.is_running for change in self.changes.values()):
            self.clock.sleep(LOCK_SECONDS, cancelled)
        if any(change.is_running for change in self.changes.values()):
            raise Refusal("another change of this host is under way: wait until it has ended, and read the host again")
        earlier = self.changes.get(request["id"])
        if earlier is not None:
            self._resume(self._read_state(earlier))
            return self._outcome(earlier, answer)
        for change in self._known_changes():
            if self._is_open(self._read_state(change)):
                self._resume(change)
                if self._is_open(change):
                    raise Refusal("an earlier change of this host is not undone yet (%s): mend what this names and ask again, "
                                  "or, when the host is as it is to be, delete %s" % (change.sentence, self._own(change)))
                raise Refusal("an earlier change of this host had been cut off and was undone just now (%s): read the host again"
                              % change.sentence)
        self._guards(request, places)
        for change in self._known_changes():
            if (change.state in (APPLIED, UNDONE) or change.settled) and not self._recent(change):
                # What is held goes another time.
                with contextlib.suppress(FileError):
                    for node in self.host.files.below(self._own(change)):
                        self.host.files.open(node.path, (DELETE,)).close()
                    del self.changes[change.id]
                    self.host.files.remove_tree(self._own(change))
        self._begin(Change(request, self.clock.now(), places), answer, cancelled)

    def _begin(self, change, answer, cancelled):
        try:
            self._keep(change)
        except FileError as err:
            self.host.files.remove_tree(self._own(change))
            raise Refusal("this host cannot note the change, without which nothing is changed: %s" % err)
        timeout = change.request["timeout"]
        self.changes[change.id] = change
        change.deadline = self.clock.steady() + timeout
        self.tasks.add(change.id)
        self._watch(change)
        cancelled.events.append(change.ended)
        try:
            self._carry_out(change, cancelled)
            self._outcome(change, answer)
        finally:
            # Where it was cut off, the scheduled task is there.
            change.is_running = False
            self._close(change)
        if change.state == APPLIED:
            self._settle(change)

    def _settle(self, own):
        for change in self._known_changes():
            if change is not own and (change.state == UNDONE or change.state == TROUBLE
                                      and change.id in own.request.get("settles", ())):
                change.settled, change.over = True, self.clock.now()
                self._remove_files(change)

    @staticmethod
    def _outcome(change, answer):
        answer.update(outcome=TROUBLE if change.state == UNDOING else change.state, ok=change.state == APPLIED,
                      sentence=change.sentence, failed_step=change.failed_step, done=change.done, seconds=change.seconds)

    def _carry_out(self, change, cancelled):
        steps = change.request["steps"]
        index = 0
        try:
            for index, step in enumerate(steps):
                if index in self.before:
                    self.before[index](step)
                self._assert_time(change, cancelled)
                began, notes = self.clock.steady(), []
                changed = getattr(self, "_" + step["step"])(step, change, notes, cancelled)
                change.done.append(dict(index=index, step=step["step"], changed=changed,
                                        seconds=round(self.clock.steady() - began, 3), notes=notes))
            self._assert_time(change, cancelled)
            change.seconds = self._downtime(change)
            self._state(change, APPLIED)
        except TROUBLES as err:
            change.failed_step = index
            self._undo(change, "step %d (%s) failed: %s" % (index, steps[index]["step"], err), cancelled)

    def _assert_time(self, change, cancelled):
        if cancelled.is_set():
            raise Cancelled
        self.clock.catch_up()
        if self.clock.steady() > change.deadline:
            raise StepFailed("the change is not done after the %g s that it may take" % change.request["timeout"])

    @staticmethod
    def _downtime(change):
        return round(change.up - change.down, 3) if change.down is not None and change.up is not None else 0.0

    def _assert_own(self, path):
        """Refusal where what lies in a folder is neither believed nor run; also where there is none yet."""
        files = self.host.files
        link = files.reparse(path)
        if link:
            raise Refusal("%s is a link, and what SYSTEM runs must not lie behind one" % link)
        node = files.get(path)
        if node is None:
            return
        if not node.is_folder:
            raise Refusal("%s is no folder" % path)
        if not _is_safe(node) or path == FOLDER and not node.protected:
            raise Refusal("%s can be changed by more than SYSTEM and the Administrators (owner %s, access of others: %s)" % (
                path, node.owner, ", ".join(sorted(node.writers - TRUSTED)) or "inherited"))

    def _assert_folder(self):
        files = self.host.files
        node = None if files.reparse(FOLDER) else files.get(FOLDER)
        if node and node.is_folder and node.owner in TRUSTED and not (_is_safe(node) and node.protected):
            # One that an administrator made, with what it inherited, and so have those below it.
            foreign = [one.path for one in files.below(FOLDER) if one.target or one.owner not in TRUSTED]
            if foreign:
                raise Refusal("%s was made by another than SYSTEM and the Administrators: look at it, and remove it" % foreign[0])
            for one in [node, *files.below(FOLDER)]:
                one.writers = TRUSTED
            node.protected = True
        for path in (FOLDER, FOLDER + "\\changes"):
            self._assert_own(path)
            files.folder(path, protected=True, writers=TRUSTED)

    def _is_trusted(self, path, node):
        """Of FileFound."""
        if not path.lower().startswith(FOLDER.lower() + "\\"):
            return False
        parts = path.split("\\")
        try:
            for count in range(FOLDER.count("\\") + 1, len(parts)):
                self._assert_own("\\".join(parts[:count]))
        except Refusal:
            return False
        return _is_safe(node)

    def _own(self, change):
        return "%s\\changes\\%s" % (FOLDER, change.id)

    def _keep(self, change):
        self._assert_own(self._own(change))
        self.host.files.folder(self._own(change), protected=True, writers=TRUSTED)
        self.host.files.room(FOLDER, RESERVE_BYTES)
        self.host.files.make(self._own(change) + "\\host.ps1", b"")
        self._state(change, APPLYING)

    def _state(self, change, state):
        change.state, change.over = state, None if state in (APPLYING, UNDOING) else self.clock.now()
        self.host.files.put(self._own(change) + "\\state.json", json.dumps(dict(state=state, sentence=change.sentence)).encode())

    def _close(self, change):
        """Its state stays, for a control node that missed the outcome."""
        if change.state in (APPLIED, UNDONE):
            self._remove_files(change)
        if not self._is_open(change):
            self.tasks.discard(change.id)

    def _remove_files(self, change):
        self.host.files.remove_tree(self._own(change) + "\\host.ps1")

    def _watch(self, change):
        """The scheduled task: each minute until the change has ended."""
        if self._is_open(change) and change.id in self.tasks:
            self.clock.after(GUARD_SECONDS, lambda: self._guard(change))

    def _guard(self, change):
        """A process that is at work is left alone, until it is long over its time; what another one left is undone."""
        if change.id not in self.tasks:
            return
        if change.is_running and self.clock.steady() >= change.deadline + PATIENCE:
            change.ended.set()
            change.is_running = False
        if self.host.files.get(self._own(change)) is None:
            return    # a person has removed it, and the task goes
        if not any(one.is_running for one in self.changes.values()):
            with contextlib.suppress(Refusal):
                self._assert_folder()
                self._resume(self._read_state(change), patient=True)
        self._watch(change)

    def _resume(self, change, patient=False):
        """Ends what another process left."""
        if self._is_open(change):
            change.is_running = True
            try:
                self._undo(change, change.cause or "the change was cut off, or not done in its time, and this host has undone it "
                                                   "by itself", AnyOf(), patient)
            finally:
                change.is_running = False
        self._close(change)

    def _pauses(self, change):
        """Whether it is too early to stop services once more; after a boot it is not."""
        now = self.clock.uptime()
        return change.tried is not None and change.tried <= now < change.tried + change.pause

    def _undo(self, change, cause, cancelled, patient=False):
        """The services of the change stop, then all else is set back, the last first; then what ran before runs again, whatever
        else failed.  It can be cut off and begun again at any point."""
        waits = patient and self._pauses(change)
        if not waits:
            change.cause = change.sentence = cause
            self._state(change, UNDOING)
        again, left = [], []

        def tried(call, *arguments):
            try:
                call(*arguments)
            except Left as err:
                left.append(str(err))
            except TROUBLES as err:
                again.append(str(err))

        ran = [name for name, (was, _seconds) in change.services.items() if was == "running"]
        lay = [name for name in change.services if name not in ran]
        first = {}
        for entry in change.journal:
            first.setdefault((entry.kind, entry.target), [entry, []])[1].extend([entry.before, entry.after])
        is_open = any(self._is_off(entry) for entry, _known in first.values())
        if is_open and waits:
            for name in reversed(ran):
                with contextlib.suppress(*TROUBLES):
                    self._run(name, change.services[name][1], cancelled)
            return
        for name in [*reversed(lay), *(ran if is_open else ())]:
            tried(self._halt, name, change.services[name][1], cancelled)
        for entry, known in reversed(first.values()):
            tried(self._set_back, entry, known, change, cancelled)
        for name in reversed(ran):
            if is_open:
                # One that was started meanwhile, such as by the boot, has read what was not set back yet.
                tried(self._halt, name, change.services[name][1], cancelled)
            tried(self._run, name, change.services[name][1], cancelled)
        change.up = self.clock.steady()
        change.seconds = self._downtime(change)
        if again or left:
            change.sentence = "%s; and it could not all be undone: %s" % (cause, "; ".join(dict.fromkeys(again + left)))
        change.tried, pause = self.clock.uptime(), 0.0
        if again and not left and any(self._is_off(entry) for entry, _known in first.values()):
            pause = min(LONGEST_PAUSE, FIRST_PAUSE + 2 * change.pause)
            change.sentence += "; its services are started all the same, and this host tries again when %g s have passed" % pause
        elif again and not left:
            change.sentence += "; this host tries again each minute"
        change.pause, change.settled = pause, not change.journal and not change.services
        self._state(change, TROUBLE if left else UNDOING if again else UNDONE)

    def _is_off(self, entry):
        """Whether a setting is not as it was before; one that cannot be looked at counts."""
        try:
            return self.setting(entry.kind, entry.target) != entry.before
        except TROUBLES:
            return True

    # -- guards
    def _guards(self, request, places):
        """What no step before it changes is as the control node read it; else Refusal."""
        changed, marked, stopped = set(), set(), set()
        for index, step in enumerate(request["steps"]):
            try:
                self._guard_step(step, places, changed, marked)
                if step["step"] == "stop":
                    self._unneeded(step["service"], stopped)
                    stopped.add(step["service"].lower())
            except TROUBLES as err:
                raise Refusal("step %d (%s): %s" % (index, step["step"], err))

    def _guard_step(self, step, places, changed, marked):
        kind = step["step"]
        if kind in ("write", "remove"):
            path = self._there(step["path"], places)
            if path.lower() not in changed:
                before = self._guarded(path, step["expected"])
                if kind == "write":
                    content(step, before)
            changed.add(path.lower())
        elif kind == "registry":
            target = (step["key"].lower(), step["name"].lower())
            if target not in changed:
                self._guarded_value(step)
            changed.add(target)
        elif kind in ("stop", "start"):
            self._known(step["service"])
        elif kind == "mark":
            marked.update(self._there(path, places).lower() for path in step["folders"])
        elif kind == "wait":
            for condition in step["until"]:
                self._guard_condition(condition, places, marked)

    def _guard_condition(self, condition, places, marked):
        if condition["kind"] in ("either", "all"):
            for one in condition["of"]:
                self._guard_condition(one, places, marked)
        elif condition["kind"] == "log":
            path = self._there(condition["folder"], places)
            if path.lower() not in marked:
                raise StepFailed("no step before it marks %s, from where on a log's lines count" % path)
            for pattern in condition["patterns"] + condition["unless"]:
                re.compile(pattern)
        elif condition.get("service"):
            self._known(condition["service"])

    def _known(self, name):
        found = self.host.services.get(name)
        if found is None:
            raise StepFailed("this host has no service %s" % name)
        return found

    def _unneeded(self, name, stopped=()):
        running = [one.name for one in self.host.services.needed_by(self._known(name))
                   if one.state != STOPPED and one.name.lower() not in stopped]
        if running:
            raise StepFailed("the service %s is needed by %s, which run: stop them first" % (name, ", ".join(running)))

    def _guarded(self, path, expected):
        """-> the bytes of a file that is what it was, or None"""
        files = self.host.files
        node = files.get(path)
        if node is not None and node.is_folder:
            raise StepFailed("%s is a folder and no file" % path)
        now = self.setting("file", path)
        if now != expected:
            raise StepFailed("%s %s: read the host again, and see who changed it" % (
                path, "is not there any more" if now is None else "is there, and was not" if expected is None else
                "is another than the one that was read"))
        if node is None:
            above = path.rpartition("\\")[0]
            if files.get(above) is None and not path.lower().startswith(FOLDER.lower() + "\\"):
                raise StepFailed("the folder %s is not there" % above)
            return None
        with files.opened(path, (READ,), ALL):
            return node.content

    def _guarded_value(self, step):
        now = self.setting("registry", (step["key"], step["name"]))
        if step["wanted"] and step["wanted"]["type"] == "Unknown":
            raise StepFailed("the type Unknown of a registry value is not written here")
        if now != text_of(step["expected"]):
            raise StepFailed("the value %s of %s %s: read the host again, and see who changed it" % (
                step["name"], step["key"], "is not there any more" if now is None else "is there, and was not"
                if step["expected"] is None else "is another than the one that was read"))
        return now

    # -- settings: what a step sets and an undo sets back
    def setting(self, kind, target):
        if kind == "file":
            node = self.host.files.get(target)
            return node and node.sha256
        if kind == "registry":
            found = self.host.registry.get(*target)
            return found and text_of(as_contract(target[1], *found))
        if kind == "portproxy":
            return self.host.portproxies.get(target)
        found = self._excluded(target)
        return found and (found.first, found.last)

    def _excluded(self, target):
        family, protocol, port = target
        return next((one for one in self.host.excluded if one.has(protocol, port, family)), None)

    def _kept(self, target):
        """Words on the range in which Windows keeps a port from every program, or None."""
        found = self._excluded(target)
        return "the range %d-%d, which Windows itself keeps from every program" % (found.first, found.last) if (
            found and not found.administered) else None

    def _set(self, change, entry, cancelled, data=None):
        change.journal.append(entry)
        self._turn(entry, entry.before, entry.after, data, change, cancelled)

    def _turn(self, entry, now, wanted, data, change, cancelled):
        files, host = self.host.files, self.host
        if entry.kind == "file":
            if wanted is None:
                files.remove(entry.target)
            elif now is None:
                folder = entry.target.rpartition("\\")[0]
                if files.get(folder) is None:
                    files.folder(folder, writers=TRUSTED)
                files.make(entry.target, data, **(entry.kept or {}))
            else:
                files.replace(entry.target, data)
        elif entry.kind == "registry":
            self._set_value(*entry.target, wanted)
        elif entry.kind == "portproxy":
            host.set_portproxy(entry.target, wanted)
            self._await_portproxy(entry.target, wanted is not None, change, cancelled)
        else:
            family, protocol, port = entry.target
            if wanted is None:
                host.excluded = [one for one in host.excluded if (one.family, one.protocol, one.first, one.last)
                                 != (family, protocol, port, port)]
            elif host.listener(protocol, port):
                raise StepFailed("port %d/%s is in use" % (port, protocol))
            else:
                host.excluded = host.excluded + [Range(family, protocol, port, port)]

    def _set_value(self, key, name, text):
        registry = self.host.registry
        if text is not None:
            value = json.loads(text)
            registry.set(key, name, from_contract(value), value["type"])
            return
        registry.delete(key, name)

    def _remove_empty(self, key, uppermost):
        registry = self.host.registry
        while len(key) >= len(uppermost):
            found = registry.find(key)
            if found is not None:
                if found.values or registry.below(key):
                    return
                registry.delete_key(key)
            key = key.rpartition("\\")[0]

    def _missing_key(self, key):
        parts = key.split("\\")
        for count in range(2, len(parts) + 1):
            if not self.host.registry.exists("\\".join(parts[:count])):
                return "\\".join(parts[:count])
        return None

    def _set_back(self, entry, known, change, cancelled):
        if entry.kind == "file":
            link = self.host.files.reparse(entry.target)
            if link:
                raise Left("%s is a link now, and behind one nothing is changed" % link)
        now = self.setting(entry.kind, entry.target)
        if now != entry.before:
            if now not in known:
                raise Left("%s was changed by something else since, and is left as it is" % (entry.target,))
            self._turn(entry, now, entry.before, entry.data, change, cancelled)
        if entry.made:
            self._remove_empty(entry.target[0], entry.made)

    # -- places and paths
    def place(self, place):
        for name in place["values"]:
            found = self.host.registry.get(name["key"], name["value"])
            if found and isinstance(found[1], str) and found[1]:
                text = self.host.expanded(found[1]) if found[0] == "ExpandString" else found[1]
                return text.strip().rstrip("\\")
        return place.get("otherwise")

    def path(self, asked, places):
        """-> the path, or None where its place is not there"""
        found = re.match(r"\{([^{}\\]+)\}", asked)
        if not found:
            return asked
        place = places.get(found.group(1))
        return place and place + asked[found.end():]

    def _there(self, asked, places):
        path = self.path(asked, places)
        if path is None:
            raise StepFailed("the registry of this host does not name the folder of %s" % asked)
        link = self.host.files.reparse(path)
        if link:
            raise StepFailed("%s is a link or a mounted volume, and behind one nothing is changed" % link)
        return path

    # -- steps -> whether there was anything to do
    def _write(self, step, change, _notes, cancelled):
        path = self._there(step["path"], change.places)
        before = self._guarded(path, step["expected"])
        after = content(step, before) if step["step"] == "write" else None
        wanted = None if after is None else sha256(after)
        if wanted == step["expected"]:
            return False
        node = self.host.files.get(path)
        self._set(change, Entry("file", path, step["expected"], wanted, before, node), cancelled, after)
        return True

    _remove = _write

    def _registry(self, step, change, _notes, cancelled):
        before, after = self._guarded_value(step), text_of(step["wanted"])
        if before == after:
            return False
        self._set(change, Entry("registry", (step["key"], step["name"]), before, after, made=self._missing_key(step["key"])),
                  cancelled)
        if after is None:
            self._remove_empty(step["key"], step["key"])
        return True

    def _noted(self, step, change):
        service = self._known(step["service"])
        was = "stopped" if service.state in (STOPPED, STOP_PENDING) else "running"
        change.services.setdefault(service.name, (was, step["seconds"]))
        return service, was

    def _stop(self, step, change, _notes, cancelled):
        if self._known(step["service"]).state not in (STOPPED, STOP_PENDING):
            # Before it is noted: one that was never told to stop is left alone by an undo, too.
            self._unneeded(step["service"])
            if change.down is None and change.id not in self.tasks:
                raise StepFailed("the scheduled task portshift-undo-%s was removed or disabled" % change.id)
        service, was = self._noted(step, change)
        if change.down is None and was == "running":
            change.down = self.clock.steady()
        return self._halt(service.name, step["seconds"], cancelled)

    def _start(self, step, change, _notes, cancelled):
        service, _was = self._noted(step, change)
        changed = self._run(service.name, step["seconds"], cancelled)
        change.up = self.clock.steady()
        return changed

    def _halt(self, name, seconds, cancelled):
        service, end, asked = self._known(name), self.clock.steady() + seconds, False
        if service.state == STOPPED:
            return False
        process = service.process
        while service.state != STOPPED:
            if not asked and not service.state.endswith("_pending"):
                self.host.services.stop(name)
                asked = True
            if self.clock.steady() > end:
                raise StepFailed("the service %s is in state %s after %g s" % (name, service.state, seconds))
            self.clock.sleep(LOOK_SECONDS, cancelled)
        while process is not None and process.pid in self.host.services.processes:
            if self.clock.steady() > end:
                raise StepFailed("the service %s is stopped, but its process %d still runs after %g s" % (
                    name, process.pid, seconds))
            self.clock.sleep(LOOK_SECONDS, cancelled)
        return True

    def _run(self, name, seconds, cancelled):
        service, end, asked = self._known(name), self.clock.steady() + seconds, False
        if service.state == RUNNING:
            return False
        while service.state != RUNNING:
            if service.state == STOPPED:
                if asked:
                    raise StepFailed("the service %s ended as soon as it was started, with exit code %d" % (
                        name, service.exit_code))
                self.host.services.start(name)
                asked = True
            if self.clock.steady() > end:
                raise StepFailed("the service %s is in state %s after %g s" % (name, service.state, seconds))
            self.clock.sleep(LOOK_SECONDS, cancelled)
        return True

    # Ports
    def _portproxy(self, step, change, _notes, cancelled):
        port, target = step["listen_port"], step["connect_port"]
        now = self.setting("portproxy", port)
        if now is not None and now != target:
            raise StepFailed("port %d is forwarded to 127.0.0.1 %d already" % (port, now))
        if (now is not None) == step["present"]:
            return False
        if step["present"] and not self.host.services.is_running("iphlpsvc"):
            raise StepFailed("the service iphlpsvc (IP Helper), which forwards ports, does not run")
        held, said, _process = self._is_listens(dict(port=port, service=None), change)
        if step["present"] and held:
            raise StepFailed("port %d cannot be forwarded, since %s: stop what listens first" % (port, said))
        self._set(change, Entry("portproxy", port, now, target if step["present"] else None), cancelled)
        return True

    def _await_portproxy(self, port, listens, change, cancelled):
        """netsh is content with a port that another process holds; and IP Helper takes its time to let one go."""
        end = self.clock.steady() + LISTEN_SECONDS
        while self.host.services.is_running("iphlpsvc") and listens != self._is_listens(
                dict(port=port, service="iphlpsvc"), change)[0]:
            if self.clock.steady() > end:
                held, words, _process = self._is_listens(dict(port=port, service=None), change)
                kept = self._kept(("ipv4", "tcp", port))
                if not held:
                    words = "the port is held by no process" + ("; it lies in %s" % kept if kept and listens else "")
                raise StepFailed("the service iphlpsvc (IP Helper) was told to listen on port %d: %s; %s" % (
                    port, listens, words))
            self.clock.sleep(LOOK_SECONDS, cancelled)

    def _exclude(self, step, change, notes, cancelled):
        port, changed = step["port"], False
        for kind in step["kinds"]:
            target = (*kind.split("/"), port)
            now, kept = self.setting("exclude", target), self._kept(target)
            if step["present"] and now is None:
                try:
                    self._set(change, Entry("exclude", target, None, (port, port)), cancelled)
                    changed = True
                except StepFailed as err:
                    if step["must"]:
                        raise
                    notes.append("%s/%s/%d is not excluded: %s" % (*target, err))
            elif step["present"] and kept:
                if step["must"]:
                    raise StepFailed("%s/%s/%d cannot be excluded, since it lies in %s" % (*target, kept))
                notes.append("%s/%s/%d is not excluded, since it lies in %s" % (*target, kept))
            elif not step["present"] and now == (port, port) and not kept:
                self._set(change, Entry("exclude", target, now, None), cancelled)
                changed = True
            elif not step["present"] and now:
                notes.append("%s/%s/%d stays excluded, since it lies in the range %d-%d" % (*target, *now))
        return changed

    # Waiting
    def _log_files(self, folder, endings, places):
        """The one that was changed last first."""
        path = self.path(folder, places)
        node = path and self.host.files.get(path)
        if not node or not node.is_folder:
            return []
        found = [one for one in self.host.files.listing(path) if not one.is_folder and not one.target
                 and one.name.lower().endswith(tuple(ending.lower() for ending in endings))]
        return sorted(found, key=lambda one: (one.changed, one.name), reverse=True)

    def _mark(self, step, change, _notes, _cancelled):
        for folder in step["folders"]:
            path = self._there(folder, change.places)
            # Of one that another process has for itself the folder tells the length.
            change.marks[path.lower()] = [(node.path, node.made, len(node.content))
                                          for node in self._log_files(folder, step["endings"], change.places)]
        return False

    def _locked(self, node):
        """Why a log can't be opened, or None."""
        try:
            self.host.files.open(node.path, (READ,), ALL).close()
        except FileError as err:
            if err.kind in ("shared", "denied"):
                return str(err)
            raise
        return None

    def _new_lines(self, condition, change):
        """The lines since the mark, in the order of the files' last changes.  A log that is renamed is known by its making."""
        marks = change.marks.get(self._there(condition["folder"], change.places).lower(), [])
        for node in reversed(self._log_files(condition["folder"], condition["endings"], change.places)):
            data = node.content
            same = [mark for mark in marks if mark[1] == node.made and mark[2] <= len(data)]
            mark = next((one for one in same if one[0] == node.path), same[0] if same else None)
            data = data[mark[2] if mark else 0:]
            locked = self._locked(node)
            if locked:
                if data:
                    raise StepFailed("%s cannot be read, and %d bytes were added to it: see which process holds it (%s)" % (
                        node.path, len(data), locked))
                continue
            unread = len(data) - LOG_TAIL
            if unread > 0:
                # What comes first may be the rest of a line.
                data = data[-LOG_TAIL:].partition(b"\n")[2]
                yield node.name, None, unread
            for line in data.decode("latin-1").splitlines():
                if line:
                    yield node.name, line, 0

    def _wait(self, step, change, notes, cancelled):
        end = self.clock.steady() + step["seconds"]
        while True:
            seen = [self._holds(condition, change) for condition in step["until"]]
            if all(one[0] for one in seen):
                self.clock.sleep(step["settle"], cancelled)
                again = [self._holds(condition, change) for condition in step["until"]]
                if all(one[0] for one in again) and [one[2] for one in again] == [one[2] for one in seen]:
                    notes.extend(one[1] for one in again)
                    return False
                seen = again
            if self.clock.steady() > end:
                raise StepFailed("after %g s the proof is missing (%s)%s" % (
                    step["seconds"], "; ".join(one[1] for one in seen if not one[0])
                    or "a service was started anew while it was waited for",
                    "" if change.up is None else ": look into the product's log on this host"))
            self._assert_time(change, cancelled)
            self.clock.sleep(WAIT_SECONDS, cancelled)

    def _holds(self, condition, change):
        """-> (whether it holds, what was seen, the process that it is about)"""
        try:
            return getattr(self, "_is_" + condition["kind"])(condition, change)
        except TROUBLES as err:
            return False, str(err), None

    def _process_of(self, name):
        process = self._known(name).process
        return process and (process.pid, process.began)

    def _is_service(self, condition, _change):
        service = self._known(condition["service"])
        return (service.state == condition["state"], "the service %s is in state %s" % (service.name, service.state),
                self._process_of(service.name))

    def _is_listens(self, condition, _change):
        rows = [one for one in self.host.listening() if (one["protocol"], one["port"]) == ("tcp", condition["port"])]
        wanted = self._process_of(condition["service"]) if condition["service"] else None
        mine = [one for one in rows if condition["service"] is None or wanted and one["process"] == wanted[0]]
        said = "port %d is not listened on" % condition["port"]
        if rows:
            row = (mine + rows)[0]
            said = "process %d (%s) listens on port %d" % (row["process"], row["name"], condition["port"])
        return bool(mine), said, wanted

    def _is_probe(self, condition, _change):
        probe = condition["probe"]
        found = self.probe(probe)
        holds, other = found["ok"] and (probe["kind"] == "tcp" or condition.get("any_status") or found["status"] == 200), ""
        if holds and condition.get("thumbprint"):
            wanted = condition["thumbprint"].lower()
            kind = hashlib.sha1 if len(wanted) == 40 else hashlib.sha256
            if kind(base64.b64decode(found["certificate"] or "")).hexdigest() != wanted:
                holds, other = False, " with another certificate than " + condition["thumbprint"]
        if holds and condition["contains"]:
            holds = condition["contains"] in base64.b64decode(found["body"] or "").decode("latin-1")
        return holds, "%s %s:%d answers: %s %s %s%s" % (
            probe["kind"], probe["host"], probe["port"], found["ok"], found["status"], found["problem"], other), None

    def _is_connection(self, condition, _change):
        wanted = self._process_of(condition["service"])
        addresses = self.host.network.resolve(self.host, condition["host"])
        mine = [one for one in self.host.connected_now() if wanted and one["process"] == wanted[0]
                and one["remote_port"] == condition["port"] and one["remote_address"] in addresses]
        holds = not mine if condition.get("absent") else any(one["state"] == "Established" for one in mine)
        return holds, "connections of the service %s to %s:%d: %s" % (
            condition["service"], condition["host"], condition["port"],
            ", ".join(sorted({one["state"] for one in mine})) or "none"), wanted

    def _is_log(self, condition, change):
        holds, said = condition.get("silence", False), "no line in %s since the change began says it" % condition["folder"]
        short = ""
        for name, line, unread in self._new_lines(condition, change):
            if unread:
                short += "; of what was added to %s, the last %d bytes alone were read, and %d before them not" % (
                    name, LOG_TAIL, unread)
            elif any(re.search(pattern, line) for pattern in condition["unless"]):
                holds, said = False, "%s takes it back: %s" % (name, line.strip())
            elif any(re.search(pattern, line) for pattern in condition["patterns"]):
                holds, said = True, "%s: %s" % (name, line.strip())
        return holds, said + short, None

    def _is_either(self, condition, change):
        seen = [self._holds(one, change) for one in condition["of"]]
        fine = [one for one in seen if one[0]]
        return fine[0] if fine else (False, ", and ".join(one[1] for one in seen), None)

    def _is_all(self, condition, change):
        seen = [self._holds(one, change) for one in condition["of"]]
        return all(one[0] for one in seen), ", and ".join(one[1] for one in seen), tuple(one[2] for one in seen)

    # -- read
    def nothing(self):
        host = self.host
        return dict(now=0, uptime=0, utc_offset=0, computer=host.name, windows="", powershell=host.powershell,
                    language_mode=host.language_mode, administrator=False, addresses=[], places={}, files=[], folders=[],
                    registry=[], services=[], listeners=[], connections=[], probes=[], names=[], netsh=None)

    def found(self, wanted):
        host = self.host
        found = dict(self.nothing(), now=self.clock.now(), uptime=self.clock.uptime(), utc_offset=self.clock.utc_offset,
                     windows=host.windows, administrator=host.administrator,
                     addresses=list(host.addresses))
        places = found["places"] = {place["name"]: self.place(place) for place in wanted.get("places", [])}
        found["files"] = [self._file(asked, places) for asked in wanted.get("files", [])]
        found["folders"] = [self._folder(asked, places) for asked in wanted.get("folders", [])]
        found["registry"] = [self._keys(asked) for asked in wanted.get("registry", [])]
        found["services"] = [self._service(name) for name in wanted.get("services", [])]
        ports, remote = wanted.get("ports", []), wanted.get("remote_ports", [])
        found["listeners"] = [one for one in host.listening() if one["port"] in ports]
        found["connections"] = [one for one in host.connected_now() if one["state"] in ("Established", "SynSent")
                                and (one["local_port"] in ports or one["remote_port"] in remote)][:CONNECTIONS]
        found["probes"] = [self.probe(probe) for probe in wanted.get("probes", [])]
        names = {}
        for name in (*wanted.get("names", []), *self._named(wanted.get("files", []), found["files"])):
            names.setdefault(name.lower(), name)
        found["names"] = [dict(name=name, addresses=host.network.resolve(host, name)) for name in names.values()]
        if wanted.get("netsh"):
            found["netsh"] = self._netsh()
        return found

    @staticmethod
    def _named(asked, found):
        """The hosts in the URLs of files of which that is asked."""
        for one, file in zip(asked, found, strict=True):
            if one.get("hosts") and file["content"]:
                text = base64.b64decode(file["content"]).decode("latin-1").replace("\0", "")
                for name in re.findall(r"https?://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)", text, re.I)[:HOSTS]:
                    yield name.strip("[]")

    def _file(self, asked, places):
        path = self.path(asked["path"], places)
        found = dict(path=path or asked["path"], asked=asked["path"], exists=False, reparse=False, read_only=False, trusted=False,
                     size=None, changed=None, sha256=None, content=None, problem=None)
        if path is None:
            return dict(found, problem="the registry of this host does not name the folder of %s" % asked["path"])
        files = self.host.files
        try:
            link = files.reparse(path)
            found["reparse"] = link is not None
            node = files.get(path)
            if node is None:
                return found
            found["exists"] = True
            if node.is_folder:
                return dict(found, problem="%s is a folder and no file" % path)
            found.update(read_only=node.read_only, size=len(node.content), changed=node.changed)
            if link:
                return dict(found, problem="%s is not read, since %s is a link or a mounted volume" % (path, link))
            found["trusted"] = self._is_trusted(path, node)
            with files.opened(path, (READ,), ALL):
                if len(node.content) > asked["limit"]:
                    return dict(found, problem="%s has %d bytes, more than the %d that are read" % (
                        path, len(node.content), asked["limit"]))
                return dict(found, sha256=node.sha256, content=base64.b64encode(node.content).decode())
        except FileError as err:
            return dict(found, problem=str(err))

    def _folder(self, asked, places):
        path = self.path(asked["path"], places)
        found = dict(path=path or asked["path"], asked=asked["path"], exists=False, files=[], problem=None)
        if path is None:
            return dict(found, problem="the registry of this host does not name the folder of %s" % asked["path"])
        try:
            node = self.host.files.get(path)
            if node is None or not node.is_folder:
                return found
            found["exists"] = True
            if self.host.files.reparse(path):
                return dict(found, problem="%s is not read, since %s is a link or a mounted volume" % (
                    path, self.host.files.reparse(path)))
            for node in self._log_files(asked["path"], asked["endings"], places)[:asked["newest"]]:
                data = node.content
                problem = self._locked(node) if asked["bytes"] else None
                offset = len(data) if problem else max(0, len(data) - asked["bytes"])
                found["files"].append(dict(name=node.name, size=len(data), changed=node.changed, offset=offset, problem=problem,
                                           content=base64.b64encode(data[offset:]).decode()))
        except FileError as err:
            found["problem"] = str(err)
        return found

    def _keys(self, asked):
        registry, key = self.host.registry, asked["key"]
        found = dict(key=key, exists=registry.exists(key), keys=[], problem=None)
        own, depth = registry.find(key), key.count("\\")
        keys = ([own] if own else []) + [one for one in registry.below(key) if one.path.count("\\") - depth <= asked["depth"]]
        denied = [one.path for one in keys if one.denied]
        if denied:
            return dict(found, problem="%s: Requested registry access is not allowed." % denied[0])
        if sum(len(one.values) for one in keys) > asked["limit"]:
            return dict(found, problem="%s has more than %d values" % (key, asked["limit"]))
        found["keys"] = [dict(key=one.path, values=[as_contract(*value) for value in one.values.values()]) for one in keys]
        return found

    def _service(self, name):
        service = self.host.services.get(name)
        if service is None:
            return dict(name=name, display_name=name, exists=False, state=None, start_mode=None, process=None, began=None,
                        path=None, needs=[], needed_by=[], exit_code=None)
        process = service.process
        return dict(name=service.name, display_name=service.display_name, exists=True, state=service.state,
                    start_mode=service.start_mode, process=process and process.pid, began=process and process.began,
                    path=service.path, needs=list(service.needs),
                    needed_by=[one.name for one in self.host.services.needed_by(service)], exit_code=service.exit_code)

    def probe(self, probe):
        began = self.clock.steady()
        found = dict(name=probe["name"], ok=False, address=None, status=None, body=None, certificate=None, seconds=0.0,
                     problem=None)
        addresses = self.host.network.resolve(self.host, probe["host"])
        if not addresses:
            found["problem"] = "this host finds no address of %s" % probe["host"]
        for address in addresses:
            try:
                found.update(self._answered(address, probe), ok=True, address=address, problem=None)
                break
            except NoAnswer as err:
                found["problem"] = str(err)
                if str(err) == "timed out" and not self.clock.real:
                    self.clock.sleep(probe["timeout"])
        found["seconds"] = round(self.clock.steady() - began, 3)
        return found

    def _answered(self, address, probe):
        remote = self.host.network.connect(self.host, address, probe["port"], probe["timeout"])
        try:
            if probe["kind"] == "tcp":
                return {}
            shown = base64.b64encode(remote.presented()).decode() if probe["kind"] == "https" else None
            status, body = remote.request("GET", probe.get("path", "/"))
            return dict(status=status, body=base64.b64encode(body[:probe.get("limit", BODY_BYTES)]).decode(), certificate=shown)
        finally:
            remote.close()

    def _netsh(self):
        host = self.host
        mine = [dict(kind="v4tov4", listen_address="0.0.0.0", listen_port=port, connect_address="127.0.0.1", connect_port=target)
                for port, target in host.portproxies.items()]

        def ranges(some):
            return [dict(family=one.family, protocol=one.protocol, first=one.first, last=one.last) for one in some]

        excluded = [dict(row, administered=one.administered)
                    for row, one in zip(ranges(host.excluded), host.excluded, strict=True)]
        return dict(portproxy=mine + host.other_portproxies, excluded=excluded, dynamic=ranges(host.dynamic), problem=None)


def _is_safe(node):
    return node.owner in TRUSTED and node.writers <= TRUSTED


def _consistent(request):
    """What the types alone do not say."""
    applied = {"id", "timeout", "steps"}
    if request["verb"] == "read":
        if applied & set(request):
            raise Misfit("request is a read with %s" % ", ".join(sorted(applied & set(request))))
        return
    for name in sorted(applied - set(request)):
        raise Misfit("request is an apply without %s" % name)
    if not re.match(r"[0-9a-f]{32}\Z", request["id"]):
        raise Misfit("request.id is no 32 lower case hexadecimal digits")
    names = [place["name"] for place in request["wanted"].get("places", [])]
    for index, step in enumerate(request["steps"]):
        where = "request.steps[%d]" % index
        if step["step"] == "write" and ("content" in step) == ("splices" in step):
            raise Misfit("%s has to have either content or splices" % where)
        if step["step"] == "write" and "splices" in step and ("result" not in step or step["expected"] is None):
            raise Misfit("%s has splices without the sha256 of what they are of, or of what comes of them" % where)
        for path in [step.get("path", ""), *step.get("folders", [])]:
            found = re.match(r"\{(\w+)\}", path)
            if found and found.group(1) not in names:
                raise Misfit("%s: there is no place %s" % (where, found.group(1)))
        for name in ("expected", "result"):
            value = step.get(name)
            if isinstance(value, str) and not re.match(r"[0-9a-f]{64}\Z", value):
                raise Misfit("%s.%s is no sha256" % (where, name))


def content(step, before):
    """-> the bytes that a write makes"""
    if "content" in step:
        return base64.b64decode(step["content"])
    data, at, parts = before or b"", 0, []
    for splice in sorted(step["splices"], key=lambda one: one["at"]):
        if splice["at"] < at or splice["length"] < 0 or splice["at"] + splice["length"] > len(data):
            raise StepFailed("the splice at %d of %s overlaps another or the end of the file" % (splice["at"], step["path"]))
        parts += [data[at:splice["at"]], base64.b64decode(splice["bytes"])]
        at = splice["at"] + splice["length"]
    made = b"".join([*parts, data[at:]])
    if sha256(made) != step["result"]:
        raise StepFailed("the splices of %s do not make the file that was planned" % step["path"])
    return made


def text_of(value):
    """A value of the registry as one text, so that the same value is the same text; None where there is none."""
    return value and json.dumps(dict(type=value["type"], data=value["data"]), sort_keys=True)
