# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a migration on a Windows host, which has no Python: read and written from the control node.

The same JSON as module_utils/_core/change_record, so that rollback_plan reads both.  It names no files: IIS's configuration is
never written as one, but the site and the bindings that it had before.
"""

from __future__ import annotations

import copy
import json
import ntpath
import time
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import MOVE_KEYS, VERSION, RecordError
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import sha256
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import FILE_LIMIT, WindowsHost, names_asked
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import ROOM, await_end
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import FileAsked, RemoveStep, Wanted
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script

# What is in the file.
Content = dict[str, Any]

SITE_KEYS = MOVE_KEYS | {"site", "bindings_before"}
# Where an earlier version has put a record first, since what it wrote with removed a file before it made the new one.
NEXT = ".next"


def parse(path: str, content: bytes) -> Content:
    """The record out of a file's bytes."""
    try:
        found: Content = json.loads(content.decode("utf-8-sig"))
        if found["version"] != VERSION:
            raise ValueError("version %r" % found["version"])
        if not SITE_KEYS <= set(found):
            raise ValueError("%s missing" % ", ".join(sorted(SITE_KEYS - set(found))))
        _require_types(found)
    except (ValueError, KeyError, TypeError) as err:
        raise RecordError("%s: is not a record of an IIS site that this version of portshift.agents reads (%s); move it away if "
                          "you know that no migration is under way on this host" % (path, err))
    return found


def _is_time(value: object) -> bool:
    # So far that a date can be made of it.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e11


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536


def _require_types(found: Content) -> None:
    """Fails where it was edited into what no run writes."""
    for key, right, what in (
            ("site", isinstance(found["site"], str) and found["site"], "the name of a site"),
            ("state", isinstance(found["state"], str), "a word"),
            ("old_port", found["old_port"] is None or _is_port(found["old_port"]), "a port"),
            ("new_port", _is_port(found["new_port"]), "a port"),
            ("started", _is_time(found.get("started", 0)), "a time in seconds"),
            ("bindings_before", isinstance(found["bindings_before"], list), "a list")):
        if not right:
            raise ValueError("%s is %r, which is not %s" % (key, found.get(key), what))
    for entry in found["bindings_before"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("protocol"), str):
            raise ValueError("bindings_before has %r, which is no binding" % (entry,))
        # Of a binding of another kind, such as net.pipe, it is 0.
        words = ("ip", "hostname", "certificate_hash", "certificate_store_name")
        if not isinstance(entry.get("port"), int) or not all(isinstance(entry.get(key) or "", str) for key in words):
            raise ValueError("bindings_before has a binding that can't be read, %r" % (entry,))


def archived(path: str, content: Content) -> str:
    """Where a record is kept when the next migration begins, as module_utils/_core/change_record names it."""
    old_port = content["old_port"]
    return ntpath.join(ntpath.splitext(path)[0], "%s-%s-%s.json" % (
        time.strftime("%Y%m%dT%H%M%S", time.gmtime(content.get("started", 0))),
        "unknown" if old_port is None else old_port, content["new_port"]))


def as_text(content: Content | None) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


class WindowsRecord:
    """The record at `path`; `content` is None until a first change is noted.

    `script`: the host's Script, which makes the folder, and writes there as it does for BigFix.
    """

    def __init__(self, script: Script, path: str, old_port: int | None = None, new_port: int | None = None,
                 phase: str | None = None, check_mode: bool = False) -> None:
        self.script, self.path, self.check_mode = script, path, check_mode
        self.host = WindowsHost(script.read)
        self.move: dict[str, Any] = dict(old_port=old_port, new_port=new_port, phase=phase)
        self.host.foresee(Wanted(files=[FileAsked(path=one, limit=FILE_LIMIT) for one in (path, path + NEXT)],
                                 folders=[names_asked(ntpath.splitext(path)[0])]))
        try:
            await_end(self.host, script, check_mode, half_way=True)
            self._require_own_folder()
        except EngineError as err:
            raise RecordError("%s: can't be read on the host (%s)" % (path, err)) from err
        self.content = self._found()
        self.found = copy.deepcopy(self.content)

    def _require_own_folder(self) -> None:
        """What an earlier version has written lies in a folder with the ACL that it inherits: the script gives it its own, where
        it is an administrator's, and then shows what is there once more."""
        if not self.check_mode and any(one["exists"] and not one["trusted"] for one in self.host.found["files"]):
            answer = self.script.apply(self.host.asked.wanted(), [], ROOM)
            if answer["outcome"] != "applied":
                raise RecordError(answer["sentence"] or "the host did not say why")
            self.host.show(answer)

    @property
    def in_force(self) -> Content | None:
        """The content where it is of the migration that is asked for, and not taken back; 0 for new_port asks for any."""
        content = self.content
        if content is None or content["state"] == "rolled_back" or self.move["new_port"] not in (0, content["new_port"]):
            return None
        return content

    @property
    def _noted(self) -> Content:
        """The content, once a change is noted."""
        if self.content is None:
            raise RecordError("%s: no change is noted there yet" % self.path)
        return self.content

    def _found(self) -> Content | None:
        """The content of the file, or where a write has lost that, of the one beside it."""
        found, trouble = self._read(self.path), None
        if found is not None:
            try:
                return parse(self.path, found)
            except RecordError as err:
                trouble = err
        found = self._read(self.path + NEXT)
        if found is not None:
            return parse(self.path + NEXT, found)
        if trouble:
            raise trouble
        return None

    def _read(self, path: str) -> bytes | None:
        """The file's bytes, or None where there is none."""
        try:
            # Check mode can't have the folder made our own, and changes nothing by what it reads there.
            return self.host.read_if_there(path) if self.check_mode else self.host.disk.read_own(path)
        except EngineError as err:
            raise RecordError("%s: can't be read on the host (%s)" % (path, err)) from err

    def _write(self, path: str) -> None:
        """Writes the content to a file; the host replaces it at once, so that it is the old one or the new one."""
        left = self._read(self.path + NEXT) if path == self.path else None
        self.host.disk.write_own(path, as_text(self.content).encode("utf-8"))
        steps = self.host.disk.take()
        if left is not None:
            steps.append(RemoveStep(step="remove", path=path + NEXT, expected=sha256(left)))
        answer = self.script.apply(self.host.asked.wanted(), steps, ROOM)
        self.host.disk.forget()
        if answer["found"] is not None:
            self.host.show(answer)
        if answer["outcome"] != "applied":
            raise RecordError("%s: can't be written on the host (%s)" % (path, (answer["sentence"] or "").rstrip(".")))

    def _is_in(self, found: bytes | None) -> bool:
        return found is not None and found.decode("utf-8-sig", "replace") == as_text(self.content)

    def _save(self) -> None:
        self._write(self.path)

    def _archive(self, content: Content) -> None:
        """A copy, so that a run that is killed before the new record is written leaves this one in force."""
        first = path = archived(self.path, content)
        number = 1
        while True:
            found = self._read(path)
            if found is None:
                break
            if self._is_in(found):
                return
            number += 1
            path = "%s-%d.json" % (ntpath.splitext(first)[0], number)
        self._write(path)

    def before_change(self, site: str, bindings: list[Any]) -> None:
        """Notes that the bindings of `site`, which are `bindings` now, are about to be changed."""
        content = self.in_force
        if content is None:
            if self.content is not None:
                self._archive(self.content)
            content = dict(version=VERSION, started=time.time(), files=[], site=site, bindings_before=bindings, **self.move)
            self.content = content
        content.update(phase=self.move["phase"], state="changing", last_change=time.time())
        self._save()

    def mark(self, state: str) -> None:
        """Notes how it came out."""
        content = self._noted
        if content["state"] == state:
            return
        content["state"] = state
        if state == "rolled_back":
            content["last_change"] = time.time()
        self._save()

    def as_found(self) -> None:
        """After a way back that left all as it was: what the record said before it."""
        if self.content != self.found:
            self.content = copy.deepcopy(self.found)
            self._save()

    def settle(self, untouched: bool) -> None:
        """After a change that was taken back at once: what the record said before it.

        `untouched`: whether nothing of this migration is left.  Where it was the last one, it is rolled back then.
        """
        before = self.found
        own = before is None or (before["new_port"] == self._noted["new_port"] and before["state"] != "rolled_back")
        if own and untouched:
            self.mark("rolled_back")
        elif before is not None:
            self.as_found()
