# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on disk of a change that undoes itself unless it is confirmed, and the clock that it goes by.

A folder C(NAME.confirm): C(change.json) is what was asked for; C(state.json) is how far it is, written by the one process
that carries it out; C(confirm.json) and C(revert.json) are what others ask of that process.  So the decision is its alone:
the process that asks learns from the state what became of it.
"""

import fcntl
import functools
import json
import os
import re
import sys
import time

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_access import Location
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    FileEdit, FileError, make_folder, put_file, read_own, remove_empty_folder, remove_file, take_back_interrupted, write_own)
from ansible_collections.portshift.agents.plugins.module_utils._bridge.bridge import turn_bridge
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import Edit
from ansible_collections.portshift.agents.plugins.module_utils._move.states import STATE, VERSION, folder_name, parsed

NAME = re.compile(r"[a-z][a-z0-9_]{0,19}\Z")
CALLER = "run.lock"
# Python 3.6 has no name for it.
CLOCK_BOOTTIME = 7
# Held back on the disk until the way back needs it, beside room for the files: a disk that fills up meanwhile must not be in
# its way.
RESERVE = 256 * 1024


def boot_clock():
    """Seconds since the boot, those asleep too.  Setting the host's clock does not move it."""
    if sys.platform.startswith("linux"):
        try:
            return time.clock_gettime(CLOCK_BOOTTIME)
        except OSError:
            pass
    return time.monotonic()


def this_login():
    """The connection by which this process was called, as sshd names it (both addresses, both ports), or None.

    sudo and its kind do not pass it on, so the processes above this one are asked as well.
    """
    found, pid = os.environ.get("SSH_CONNECTION"), os.getppid()
    while not found and pid > 1:
        try:
            with open("/proc/%d/environ" % pid, "rb") as source:
                for variable in source.read().split(b"\0"):
                    if variable.startswith(b"SSH_CONNECTION="):
                        found = variable.partition(b"=")[2].decode("ascii", "replace")
            with open("/proc/%d/stat" % pid, "rb") as source:
                pid = int(source.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            break
    return found or None


def words(command):
    return " ".join(command)


def _is_held(path):
    """Whether a process has the lock file at `path`."""
    try:
        with Location(path) as place:
            place.require_own()
            handle = place.open()
    except (OSError, FileError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


def _text(content):
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("utf-8")


class Place:
    """The folder of the change `name`."""

    def __init__(self, state_dir, name):
        self.name = name
        self.folder = os.path.join(state_dir, folder_name(name))

    @classmethod
    def of(cls, folder):
        state_dir, name = os.path.split(folder)
        return cls(state_dir, name[:-len(folder_name(""))])

    def path(self, name):
        return os.path.join(self.folder, name)

    @property
    def lock(self):
        """Held by the process that carries the change out, for as long as it lives."""
        return self.path("unit.lock")

    @property
    def undo(self):
        """A record of this change alone; the migration's own may hold files of earlier ones."""
        return self.path("undo.json")

    def read(self, name):
        """The content of one of the files, or None where it is not there."""
        path = self.path(name)
        return parsed(path, read_own(path))

    def write(self, name, content):
        make_folder(self.folder)
        write_own(self.path(name), _text(dict(content, version=VERSION)))

    def state(self):
        return self.read(STATE)

    def change(self):
        return self.read("change.json")

    def asks(self, name, token):
        """What another process asks of the change with this token, or None."""
        try:
            content = self.read(name)
        except EngineError:
            return None
        return content if content and content.get("token") == token else None

    @property
    def caller(self):
        """Held by the run that has handed the change over, until the change waits or has ended."""
        return self.path(CALLER)

    def is_carried_out(self):
        """Whether the process lives that carries the change out."""
        return _is_held(self.lock)

    def is_followed(self):
        """Whether the run lives that has handed the change over: it decides what becomes of one that no process takes."""
        return _is_held(self.caller)

    def hold_reserve(self, paths=()):
        """`paths`: the files to be restored; one that others have changed is kept as well, in a copy."""
        size = RESERVE + 2 * sum(os.path.getsize(path) for path in paths if os.path.exists(path))
        put_file(self.path("reserve"), b"\0" * size, False)

    def free_reserve(self):
        """The moment from which a confirmation comes too late: it needs no space on the disk, as writing does."""
        remove_file(self.path("reserve"), False)

    def holds_reserve(self):
        return os.path.lexists(self.path("reserve"))

    def remove(self, *names):
        for name in names:
            remove_file(self.path(name), False)

    def forget_old_bytes(self):
        """The record of this change goes with its backups: they may hold secrets."""
        folder = self.path("undo")
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            remove_file(os.path.join(folder, name), False)
        remove_empty_folder(folder)
        self.remove("undo.json", "undo.json.lock")


class FileContent(Edit):
    """Gives the file at `path` other content; its kind is told by what it holds."""

    def __init__(self, kinds, path, content):
        self.path = path
        self.file = FileEdit.read(path).apply(content.encode("utf-8", "surrogateescape"))
        found = kinds.of(None, self.file.before, self.file.after)
        self.kind = found and found.name
        self.redact = kinds.redactor(self.kind, self.file.before, self.file.after)


def edits(kinds, change):
    """What makes the edits that are asked for, in order: each one reads its file when it is called."""
    return ([functools.partial(kind.edit, entry) for kind in kinds.with_option for entry in change.get(kind.option) or []] +
            [functools.partial(FileContent, kinds, **entry) for entry in change["files"]])


def asked_for(kinds, change):
    """[(kind, or None for content that is given whole; entry; the path of the file, past links)]"""
    return [(kind, entry, os.path.realpath(entry["path"]))
            for kind, option in [(kind, kind.option) for kind in kinds.with_option] + [(None, "files")]
            for entry in change.get(option) or []]


def take_back_interrupted_edits(kinds, change):
    """What writes in place of these files have left half done, for who is about to make the edits."""
    take_back_interrupted([entry["path"] for _kind, entry, _path in asked_for(kinds, change)])


def check_paths(kinds, change):
    """One file is not edited in two ways."""
    seen = {}
    for kind, _entry, path in asked_for(kinds, change):
        if path in seen and not (kind and kind is seen[path] and kind.edits_add_up):
            raise FileError("%s: is named by %s, and named a second time by %s; name it once; nothing was changed"
                            % (path, seen[path].option if seen[path] else "files", kind.option if kind else "files"))
        seen[path] = kind


def turn(module, options, forward):
    """Turns the bridge: forward, old ports lead to the new ones; else new to old.  Returns what turn_bridge() does."""
    mappings = [(mapping["old"], mapping["new"], mapping["protocols"]) if forward else
                (mapping["new"], mapping["old"], mapping["protocols"]) for mapping in options["mappings"]]
    return turn_bridge(module, options, mappings)
