# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What host.ps1 does with a Request, as its contract says (plugins/plugin_utils/_windows/protocol.py): the steps, never the text.

The guardian is the scheduled task: it undoes what is not decided when the time is up or the host boots.
"""

import base64
import hashlib
import json
import re
import ssl
import threading

from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import FOLDER, VERSION

from .clock import Cancelled
from .files import ALL, READ, TRUSTED, FileError
from .network import NoAnswer, Range, Real
from .registry import RegistryError
from .services import RUNNING, STOP_PENDING, STOPPED, ServiceError
from .shapes import Misfit, check

LOOK_SECONDS = 0.5
BODY_BYTES = 65536
CODED = ("Binary", "None", "Unknown")
APPLYING, UNDOING, UNDONE, TROUBLE, APPLIED = "applying", "undoing", "undone", "trouble", "applied"


class StepFailed(Exception):
    """One sentence: what the host was asked, found, and where."""


class Overtaken(Exception):
    """The guardian has decided meanwhile."""


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def as_contract(name, kind, data):
    return dict(name=name, type=kind, data=base64.b64encode(data).decode() if kind in CODED else data)


def from_contract(value):
    return base64.b64decode(value["data"]) if value["type"] in CODED else value["data"]


class AnyOf:
    """An event that is set when one of some is."""

    def __init__(self, *events):
        self.events = [event for event in events if event is not None]

    def is_set(self):
        return any(event.is_set() for event in self.events)


class Change:
    def __init__(self, request, began):
        self.id, self.request, self.began = request["id"], request, began
        self.state, self.sentence = APPLYING, "it is under way"
        # What takes back what was done, in the order in which it was done: (sentence, function).
        self.undo = []
        self.marks = None
        self.is_running, self.timer = True, None
        self.places = {}
        self.down_since, self.up_again = None, None

    def told(self):
        return dict(id=self.id, state=self.state, began=self.began, sentence=self.sentence)


class Script:
    def __init__(self, host):
        self.host = host
        self.lock = threading.RLock()
        self.changes = {}
        # For tests: index of a step -> function(step), called before it; Cancelled is what a power cut looks like.
        self.before = {}
        self.killed = threading.Event()

    @property
    def clock(self):
        return self.host.clock

    # -- from outside
    def answer(self, request):
        """-> Answer; what the contract does not know is a Misfit."""
        check(request, "Request", "request")
        if request["version"] != VERSION:
            raise Misfit("request.version is %d, this model knows %d" % (request["version"], VERSION))
        applied = {"id", "timeout", "steps"}
        if request["verb"] == "read" and applied & set(request):
            raise Misfit("request is a read with %s" % ", ".join(sorted(applied & set(request))))
        if request["verb"] == "apply":
            for name in sorted(applied - set(request)):
                raise Misfit("request is an apply without %s" % name)
            _consistent(request)
        answer = dict(version=VERSION, ok=True, outcome="none", sentence=None, failed_step=None, done=[], seconds=0.0,
                      unfinished=[], found=None)
        if request["verb"] == "apply":
            self._apply(request, answer)
        answer["unfinished"] = self._unfinished()
        # In the same moment as the answer.
        answer["found"] = self.found(request["wanted"]) if answer["outcome"] != "refused" else None
        return answer

    def end(self):
        """The host goes down: whatever runs ends where it is."""
        self.killed.set()
        self.killed = threading.Event()

    def boot(self):
        """The guardian's other trigger."""
        for change in list(self.changes.values()):
            change.is_running = False
            self._guard(change, "the host was booted before the change had been ended")

    def _unfinished(self):
        told = [change.told() for change in self.changes.values()]
        for change in list(self.changes.values()):
            if change.state in (UNDONE, TROUBLE):
                del self.changes[change.id]
                self.host.files.remove_tree(self._own(change))
        return told

    # -- apply
    def _refuse(self, answer, sentence):
        answer.update(ok=False, outcome="refused", sentence=sentence)

    def _apply(self, request, answer):
        trouble = self._why_not(request)
        if trouble:
            return self._refuse(answer, trouble)
        places = {place["name"]: self.place(place) for place in request["wanted"].get("places", [])}
        change = Change(request, self.clock.now())
        change.places = places
        try:
            self._keep(change)
        except FileError as err:
            self.host.files.remove_tree(self._own(change))
            return self._refuse(answer, "the record could not be written: %s Nothing was changed." % err)
        self.changes[change.id] = change
        change.timer = self.clock.after(request["timeout"], lambda: self._guard(
            change, "the change had not been ended within %g seconds" % request["timeout"]))
        cancelled = AnyOf(getattr(self.host.cancelled, "event", None), self.killed)
        try:
            self._carry_out(change, answer, cancelled)
        except Cancelled:
            # The process is gone; the scheduled task is not.
            change.is_running = False
            raise
        self._end(change)

    def _carry_out(self, change, answer, cancelled):
        answer["ok"] = False
        index = 0
        try:
            for index, step in enumerate(change.request["steps"]):
                if index in self.before:
                    self.before[index](step)
                self._still_ours(change, cancelled)
                began = self.clock.steady()
                changed, notes = getattr(self, "_" + step["step"])(step, change, cancelled)
                answer["done"].append(dict(index=index, step=step["step"], changed=changed,
                                           seconds=round(self.clock.steady() - began, 3), notes=notes))
            with self.lock:
                self._still_ours(change, cancelled)
                change.state = APPLIED
            answer.update(ok=True, outcome=APPLIED)
        except (StepFailed, FileError, ServiceError, RegistryError) as err:
            with self.lock:
                change.state = UNDOING
            name = change.request["steps"][index]["step"]
            answer.update(failed_step=index, sentence="step %d (%s) failed: %s" % (index, name, err))
            self._take_back(change, answer, cancelled)
        except Overtaken:
            answer.update(failed_step=index, sentence=change.sentence)
            self._take_back(change, answer, cancelled)
        if change.down_since is not None:
            answer["seconds"] = round((change.up_again or self.clock.steady()) - change.down_since, 3)

    def _take_back(self, change, answer, cancelled):
        self._undo(change, cancelled)
        answer.update(outcome=change.state, sentence="%s. %s" % (answer["sentence"].rstrip("."), change.sentence))

    def _still_ours(self, change, cancelled):
        if cancelled.is_set():
            raise Cancelled
        self.clock.catch_up()
        if change.state != APPLYING:
            raise Overtaken

    def _why_not(self, request):
        if self.host.language_mode != "FullLanguage":
            return "PowerShell runs in %s on this host, in which nothing can be changed" % self.host.language_mode
        if not self.host.administrator:
            return "the account is no administrator of this host, so nothing was changed"
        for change in self.changes.values():
            if change.state in (APPLYING, UNDOING):
                return "another change (%s) is under way on this host: %s" % (change.id, change.sentence)
        return self._unsafe_folder()

    def _unsafe_folder(self):
        files = self.host.files
        link = files.reparse(FOLDER)
        if link:
            return "%s is a reparse point, where %s has to be a folder of its own; nothing was changed" % (link, FOLDER)
        for path in (FOLDER, FOLDER + "\\changes"):
            node = files.get(path)
            if node is None:
                continue
            if not node.is_folder:
                return "%s is no folder; nothing was changed" % path
            if node.owner not in TRUSTED:
                return "%s belongs to %s, not to SYSTEM or the administrators; nothing was changed" % (path, node.owner)
            if not node.protected or not node.writers <= TRUSTED:
                return "%s can be changed by others than SYSTEM and the administrators; nothing was changed" % path
        return None

    def _own(self, change):
        return "%s\\changes\\%s" % (FOLDER, change.id)

    def _keep(self, change):
        for path in (FOLDER, FOLDER + "\\changes", self._own(change)):
            self.host.files.folder(path, protected=True, writers=TRUSTED)
        self.host.files.make(self._own(change) + "\\request.json", json.dumps(change.request).encode())
        self._note(change)

    def _note(self, change):
        self.host.files.put(self._own(change) + "\\state.json", json.dumps(dict(state=change.state)).encode())

    def _end(self, change):
        """It is decided, and its control node hears of it."""
        change.is_running = False
        change.timer.cancel()
        self.changes.pop(change.id, None)
        self.host.files.remove_tree(self._own(change))

    def _guard(self, change, why):
        """The scheduled task."""
        with self.lock:
            if change.state not in (APPLYING, UNDOING):
                return
            change.state, change.sentence = UNDOING, why
        self._note(change)
        if not change.is_running:
            self._undo(change, AnyOf())
            change.timer.cancel()
            self._note(change)

    def _undo(self, change, cancelled):
        """In the opposite order; once it has begun it goes on to its end, whatever fails on the way."""
        why, troubles = change.sentence, []
        while change.undo:
            sentence, take_back = change.undo[-1]
            try:
                take_back(cancelled)
            except (StepFailed, FileError, ServiceError, RegistryError) as err:
                troubles.append("%s: %s" % (sentence, err))
            change.undo.pop()
        with self.lock:
            change.state = TROUBLE if troubles else UNDONE
        said = "What was done was undone" if not troubles else "It could not all be undone: " + "; ".join(troubles)
        change.sentence = "%s: %s" % (said, why) if change.is_running is False else said

    # -- places and paths
    def place(self, place):
        for name in place["values"]:
            found = self.host.registry.get(name["key"], name["value"])
            if found and isinstance(found[1], str) and found[1]:
                return found[1].rstrip("\\")
        return place.get("otherwise")

    def path(self, asked, places):
        """-> the path, or None where its place is not there"""
        found = re.match(r"\{(\w+)\}", asked)
        if not found:
            return asked
        if found.group(1) not in places:
            raise Misfit("%s: the request has no place %s" % (asked, found.group(1)))
        place = places[found.group(1)]
        return place and place + asked[found.end():]

    def _there(self, asked, change):
        path = self.path(asked, change.places)
        if path is None:
            raise StepFailed("the folder of %s is not named in the registry" % asked)
        link = self.host.files.reparse(path)
        if link:
            raise StepFailed("%s is a reparse point, on the way to %s" % (link, path))
        return path

    # -- steps
    def _write(self, step, change, _cancelled):
        files, path = self.host.files, self._there(step["path"], change)
        node = files.get(path)
        before = None if node is None else node.content
        self._guarded(path, before, step["expected"])
        if "content" in step:
            after = base64.b64decode(step["content"])
        else:
            after = spliced(before or b"", step["splices"])
        if "result" in step and sha256(after) != step["result"]:
            raise StepFailed("%s would have the sha256 %s, not %s" % (path, sha256(after), step["result"]))
        if before == after:
            return False, []
        if node is None:
            folder = path.rpartition("\\")[0]
            if files.get(folder) is None and path.lower().startswith(FOLDER.lower() + "\\"):
                files.folder(folder, writers=TRUSTED)
            files.make(path, after)
            change.undo.append(("remove " + path, lambda _cancelled: self._remove_again(path, after)))
        else:
            files.replace(path, after)
            change.undo.append(("put back " + path, lambda _cancelled: self._put_back(path, before, after)))
        return True, []

    def _guarded(self, path, before, expected):
        if before is None and expected is not None:
            raise StepFailed("%s is not there" % path)
        if before is not None and expected is None:
            raise StepFailed("%s is there already" % path)
        if before is not None and sha256(before) != expected:
            raise StepFailed("%s has the sha256 %s, not %s: it was changed meanwhile" % (path, sha256(before), expected))

    def _is_ours(self, path, ours):
        if self.host.files.read(path) != ours:
            raise StepFailed("%s was changed meanwhile, so it stays" % path)

    def _remove_again(self, path, ours):
        if self.host.files.get(path) is not None:
            self._is_ours(path, ours)
            self.host.files.remove(path)

    def _put_back(self, path, before, ours):
        self._is_ours(path, ours)
        self.host.files.replace(path, before)

    def _remove(self, step, change, _cancelled):
        files, path = self.host.files, self._there(step["path"], change)
        node = files.get(path)
        before = None if node is None else node.content
        self._guarded(path, before, step["expected"])
        kept = dict(read_only=node.read_only, owner=node.owner, writers=node.writers, protected=node.protected)
        files.remove(path)
        change.undo.append(("put back " + path, lambda _cancelled: files.make(path, before, **kept)))
        return True, []

    def _registry(self, step, change, _cancelled):
        key, name = step["key"], step["name"]
        before = self.value(key, name)
        if not same(before, step["expected"]):
            raise StepFailed("the value %s of %s is %s, not %s" % (name, key, shown(before), shown(step["expected"])))
        if same(before, step["wanted"]):
            return False, []
        self.set_value(key, name, step["wanted"])
        change.undo.append(("put back the value %s of %s" % (name, key),
                            lambda _cancelled: self._value_back(key, name, before, step["wanted"])))
        return True, []

    def value(self, key, name):
        found = self.host.registry.get(key, name)
        return found and as_contract(name, *found)

    def set_value(self, key, name, wanted):
        registry = self.host.registry
        if wanted is not None:
            registry.set(key, name, from_contract(wanted), wanted["type"])
            return
        registry.delete(key, name)
        found = registry.find(key)
        if found is not None and not found.values and not registry.below(key):
            registry.delete_key(key)

    def _value_back(self, key, name, before, ours):
        now = self.value(key, name)
        if not same(now, ours):
            raise StepFailed("it was changed meanwhile, so it stays")
        self.set_value(key, name, before)

    # Services
    def _stop(self, step, change, cancelled):
        service = self.host.services.get(step["service"])
        if service is None:
            raise StepFailed("there is no service %s" % step["service"])
        if service.state == STOPPED and service.process is None:
            return False, []
        if change.down_since is None:
            change.down_since = self.clock.steady()
        # Before it is asked to: what is half done is undone, too.
        change.undo.append(("start " + service.name, lambda cancelled: self._run(service, step["seconds"], cancelled)))
        self._halt(service, step["seconds"], cancelled)
        return True, []

    def _start(self, step, change, cancelled):
        service = self.host.services.get(step["service"])
        if service is None:
            raise StepFailed("there is no service %s" % step["service"])
        if service.state == RUNNING:
            return False, []
        change.undo.append(("stop " + service.name, lambda cancelled: self._halt(service, step["seconds"], cancelled)))
        self._run(service, step["seconds"], cancelled)
        change.up_again = self.clock.steady()
        return True, []

    def _halt(self, service, seconds, cancelled):
        process, end = service.process, self.clock.steady() + seconds
        self._out_of_pending(service, end, cancelled, (STOP_PENDING,))
        self.host.services.stop(service.name)
        while service.state != STOPPED or process is not None and process.pid in self.host.services.processes:
            if self.clock.steady() >= end:
                raise StepFailed("the service %s was %s after %g seconds%s" % (
                    service.name, service.state, seconds,
                    ", with its process %d" % process.pid if service.state == STOPPED else ""))
            self.clock.sleep(LOOK_SECONDS, cancelled)

    def _run(self, service, seconds, cancelled):
        end = self.clock.steady() + seconds
        self._out_of_pending(service, end, cancelled, ())
        if service.state != RUNNING:
            self.host.services.start(service.name)
        while service.state != RUNNING:
            if service.state == STOPPED:
                raise StepFailed("the service %s ended at once, with the exit code %d" % (service.name, service.exit_code))
            if self.clock.steady() >= end:
                raise StepFailed("the service %s was %s after %g seconds" % (service.name, service.state, seconds))
            self.clock.sleep(LOOK_SECONDS, cancelled)

    def _out_of_pending(self, service, end, cancelled, fine):
        while service.state.endswith("_pending") and service.state not in fine:
            if self.clock.steady() >= end:
                raise StepFailed("the service %s stays in %s" % (service.name, service.state))
            self.clock.sleep(LOOK_SECONDS, cancelled)

    # Ports
    def _portproxy(self, step, change, _cancelled):
        host, port, target = self.host, step["listen_port"], step["connect_port"]
        there = host.portproxies.get(port)
        if not step["present"]:
            if there is None:
                return False, []
            if there != target:
                raise StepFailed("portproxy leads port %d to port %d, not to %d" % (port, there, target))
            host.set_portproxy(port, None)
            change.undo.append(("portproxy of port %d" % port, lambda _cancelled: host.set_portproxy(port, target)))
            return True, []
        if not host.services.is_running("iphlpsvc"):
            raise StepFailed("the service IP Helper (iphlpsvc) does not run, without which portproxy forwards nothing")
        if there == target:
            return False, []
        if there is not None:
            raise StepFailed("portproxy leads port %d to port %d already" % (port, there))
        held = host.listener("tcp", port)
        if held is not None:
            raise StepFailed("port %d is held by %s (process %d)" % (port, held.process.name, held.process.pid))
        host.set_portproxy(port, target)
        change.undo.append(("portproxy of port %d" % port, lambda _cancelled: host.set_portproxy(port, None)))
        return True, []

    def _exclude(self, step, change, _cancelled):
        host, port = self.host, step["port"]
        kinds = [(family, protocol) for family in ("ipv4", "ipv6") for protocol in ("tcp", "udp")]

        def give_back(kinds):
            host.excluded = [one for one in host.excluded if (one.first, one.last) != (port, port)
                             or (one.family, one.protocol) not in kinds]

        def take(kinds):
            host.excluded = host.excluded + [Range(family, protocol, port, port) for family, protocol in kinds]

        mine = [kind for kind in kinds if any((one.first, one.last) == (port, port) and (one.family, one.protocol) == kind
                                              for one in host.excluded)]
        if not step["present"]:
            give_back(mine)
            if mine:
                change.undo.append(("exclude port %d" % port, lambda _cancelled: take(mine)))
            return bool(mine), []
        wanted = [kind for kind in kinds if not any(one.has(kind[1], port, kind[0]) for one in host.excluded)]
        held = {protocol for _family, protocol in wanted if host.listener(protocol, port)}
        notes = ["port %d/%s could not be excluded: it is in use" % (port, protocol) for protocol in sorted(held)]
        if held and step["must"]:
            raise StepFailed("; ".join(notes))
        free = [kind for kind in wanted if kind[1] not in held]
        take(free)
        if free:
            change.undo.append(("give port %d back" % port, lambda _cancelled: give_back(free)))
        return bool(free), notes

    # Waiting
    def _log_files(self, folder, endings, places):
        path = self.path(folder, places)
        node = path and self.host.files.get(path)
        if not node or not node.is_folder:
            return []
        return [one for one in self.host.files.listing(path)
                if not one.is_folder and one.name.lower().endswith(tuple(ending.lower() for ending in endings))]

    def _mark(self, step, change, _cancelled):
        change.marks = change.marks or {}
        for folder in step["folders"]:
            for node in self._log_files(folder, step["endings"], change.places):
                change.marks[node.path.lower()] = len(node.content)
        return False, []

    def _wait(self, step, change, cancelled):
        end = self.clock.steady() + step["seconds"]
        while True:
            self._still_ours(change, cancelled)
            seen = [self._holds(condition, change) for condition in step["until"]]
            if all(one[0] for one in seen):
                self.clock.sleep(step["settle"], cancelled)
                self._still_ours(change, cancelled)
                again = [self._holds(condition, change) for condition in step["until"]]
                if all(one[0] for one in again) and [one[2] for one in again] == [one[2] for one in seen]:
                    return False, [one[1] for one in again]
                seen = again
            if self.clock.steady() >= end:
                raise StepFailed("after %g seconds: %s" % (step["seconds"], "; ".join(one[1] for one in seen if not one[0])
                                                           or "a process was another one after %g seconds" % step["settle"]))
            self.clock.sleep(min(LOOK_SECONDS, max(0.01, end - self.clock.steady())), cancelled)

    def _holds(self, condition, change):
        """-> (whether it holds, what was seen, the processes that it is about)"""
        return getattr(self, "_is_" + condition["kind"])(condition, change)

    def _process_of(self, name):
        service = self.host.services.get(name)
        process = service and service.process
        return process and (process.pid, process.began)

    def _is_service(self, condition, _change):
        service = self.host.services.get(condition["service"])
        state = service.state if service else "not there"
        return state == condition["state"], "the service %s is %s" % (condition["service"], state), self._process_of(
            condition["service"])

    def _is_listens(self, condition, _change):
        listeners = [one for one in self.host.listening() if (one["protocol"], one["port"]) == ("tcp", condition["port"])]
        if not listeners:
            return False, "nothing listens on port %d" % condition["port"], None
        if condition["service"] is None:
            return True, "%s listens on port %d" % (listeners[0]["name"], condition["port"]), listeners[0]["process"]
        wanted = self._process_of(condition["service"])
        mine = [one for one in listeners if wanted and one["process"] == wanted[0]]
        return bool(mine), "%s listens on port %d" % ((mine or listeners)[0]["name"], condition["port"]), wanted

    def _is_probe(self, condition, _change):
        found = self.probe(condition["probe"])
        contains = condition["contains"]
        fine = found["ok"] and (condition["probe"]["kind"] == "tcp" or found["status"] == 200) and (
            contains is None or contains in base64.b64decode(found["body"] or "").decode("latin-1"))
        said = found["problem"] or "status %s" % found["status"]
        return fine, "%s:%d %s" % (condition["probe"]["host"], condition["probe"]["port"],
                                   "answers" if fine else "does not answer as it should: %s" % said), None

    def _is_connection(self, condition, _change):
        wanted = self._process_of(condition["service"])
        addresses = self.host.network.resolve(self.host, condition["host"])
        mine = [one for one in self.host.connected_now()
                if wanted and (one["process"], one["state"], one["remote_port"]) == (wanted[0], "Established", condition["port"])
                and one["remote_address"] in addresses]
        return bool(mine), "%s has %s connection to port %d of %s" % (
            condition["service"], "a" if mine else "no", condition["port"], condition["host"]), wanted

    def _is_log(self, condition, change):
        if change.marks is None:
            raise StepFailed("a log is waited for without a mark step before it")
        holds, said = False, "no line in %s says so" % condition["folder"]
        lines = []
        for node in self._log_files(condition["folder"], condition["endings"], change.places):
            content = node.content
            mark = change.marks.get(node.path.lower(), 0)
            lines += content[mark if mark <= len(content) else 0:].decode("utf-8", "replace").splitlines()
        for line in lines:
            if any(re.search(pattern, line) for pattern in condition["patterns"]):
                holds, said = True, "the log says %r" % line.strip()
            elif any(re.search(pattern, line) for pattern in condition["unless"]):
                holds, said = False, "the log says %r" % line.strip()
        return holds, said, None

    def _is_either(self, condition, change):
        seen = [self._holds(one, change) for one in condition["of"]]
        fine = [one for one in seen if one[0]]
        return fine[0] if fine else (False, " and ".join(one[1] for one in seen), None)

    # -- read
    def found(self, wanted):
        host = self.host
        found = dict(
            now=self.clock.now(), uptime=self.clock.uptime(), utc_offset=self.clock.utc_offset, computer=host.name,
            windows=host.windows, powershell=host.powershell, language_mode=host.language_mode,
            administrator=host.administrator, addresses=list(host.addresses), places={}, files=[], folders=[], registry=[],
            services=[], listeners=[], connections=[], probes=[], names=[], netsh=None)
        if host.language_mode != "FullLanguage":
            return found
        places = found["places"] = {place["name"]: self.place(place) for place in wanted.get("places", [])}
        found["files"] = [self._file(asked, places) for asked in wanted.get("files", [])]
        found["folders"] = [self._folder(asked, places) for asked in wanted.get("folders", [])]
        found["registry"] = [self._keys(asked) for asked in wanted.get("registry", [])]
        found["services"] = [self._service(name) for name in wanted.get("services", [])]
        ports, remote = wanted.get("ports", []), wanted.get("remote_ports", [])
        found["listeners"] = [one for one in host.listening() if one["port"] in ports]
        found["connections"] = [one for one in host.connected_now() if one["local_port"] in ports or one["remote_port"] in remote]
        found["probes"] = [self.probe(probe) for probe in wanted.get("probes", [])]
        found["names"] = [dict(name=name, addresses=host.network.resolve(host, name)) for name in wanted.get("names", [])]
        if wanted.get("netsh"):
            found["netsh"] = self._netsh()
        return found

    def _file(self, asked, places):
        path = self.path(asked["path"], places)
        found = dict(path=path or asked["path"], asked=asked["path"], exists=False, reparse=False, read_only=False, size=None,
                     changed=None, sha256=None, content=None, problem=None)
        if path is None:
            return dict(found, problem="the registry does not name the folder of %s" % asked["path"])
        files = self.host.files
        try:
            found["reparse"] = files.reparse(path) is not None
            node = files.find(path) if found["reparse"] else files.get(path)
            found["exists"] = node is not None
            if found["reparse"]:
                return dict(found, problem="%s is a reparse point" % files.reparse(path))
            if node is None:
                return found
            if node.is_folder:
                return dict(found, problem="%s is a folder" % path)
            found.update(read_only=node.read_only, size=len(node.content), changed=node.changed)
            if found["size"] > asked["limit"]:
                return dict(found, problem="%s has %d bytes, more than %d" % (path, found["size"], asked["limit"]))
            with files.opened(path, (READ,), ALL):
                return dict(found, sha256=node.sha256, content=base64.b64encode(node.content).decode())
        except FileError as err:
            return dict(found, problem=str(err))

    def _folder(self, asked, places):
        path = self.path(asked["path"], places)
        found = dict(path=path or asked["path"], asked=asked["path"], exists=False, files=[], problem=None)
        if path is None:
            return dict(found, problem="the registry does not name the folder of %s" % asked["path"])
        try:
            node = self.host.files.get(path)
            if node is None or not node.is_folder:
                return found
            found["exists"] = True
            nodes = sorted(self._log_files(asked["path"], asked["endings"], places), key=lambda node: -node.changed)
            for node in nodes[:asked["newest"]]:
                with self.host.files.opened(node.path, (READ,), ALL):
                    content = node.content
                offset = max(0, len(content) - asked["bytes"])
                found["files"].append(dict(name=node.name, size=len(content), changed=node.changed, offset=offset,
                                           content=base64.b64encode(content[offset:]).decode()))
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
            return dict(name=name, display_name="", exists=False, state=None, start_mode=None, process=None, began=None,
                        path=None, needs=[], needed_by=[], exit_code=None)
        process = service.process
        return dict(name=service.name, display_name=service.display_name, exists=True, state=service.state,
                    start_mode=service.start_mode, process=process and process.pid, began=process and process.began,
                    path=service.path, needs=list(service.needs),
                    needed_by=[one.name for one in self.host.services.needed_by(service)], exit_code=service.exit_code)

    def probe(self, probe):
        began = self.clock.steady()
        found = dict(name=probe["name"], ok=False, address=None, status=None, body=None, seconds=0.0, problem=None)
        addresses = self.host.network.resolve(self.host, probe["host"])
        if not addresses:
            found["problem"] = "No such host is known (%s)" % probe["host"]
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
            if probe["kind"] == "https" and isinstance(remote, Real):
                remote.secure(unverified())
            status, body = remote.request("GET", probe.get("path", "/"))
            return dict(status=status, body=base64.b64encode(body[:probe.get("limit", BODY_BYTES)]).decode())
        finally:
            remote.close()

    def _netsh(self):
        host = self.host
        mine = [dict(kind="v4tov4", listen_address="*", listen_port=port, connect_address="127.0.0.1", connect_port=target)
                for port, target in host.portproxies.items()]

        def ranges(some):
            return [dict(family=one.family, protocol=one.protocol, first=one.first, last=one.last) for one in some]

        return dict(portproxy=mine + host.other_portproxies, excluded=ranges(host.excluded), dynamic=ranges(host.dynamic),
                    problem=None)


def unverified():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _consistent(request):
    """What the types alone do not say."""
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


def spliced(data, splices):
    at, parts = 0, []
    for splice in splices:
        if splice["at"] < at or splice["at"] + splice["length"] > len(data):
            raise StepFailed("a splice at %d of %d bytes does not fit into %d bytes" % (
                splice["at"], splice["length"], len(data)))
        parts += [data[at:splice["at"]], base64.b64decode(splice["bytes"])]
        at = splice["at"] + splice["length"]
    return b"".join([*parts, data[at:]])


def same(one, other):
    if one is None or other is None:
        return one is other
    return (one["type"], one["data"]) == (other["type"], other["data"])


def shown(value):
    return "not there" if value is None else "of type %s, with other data" % value["type"]
