# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a migration on a host: what was changed, from which bytes to which, and the bytes to go back to.

A JSON file (C(/var/lib/portshift/PRODUCT.json)) beside a folder of backups named by their sha256.  It is written ahead:
the backup and the entry are on disk before the product's file is touched, so an interruption at any moment
leaves either the old file, or the new file and the way back.  It is written ahead of the stop of a service as well, with the
processes that ran then, C(stopped) (see service_processes), and C(stopped_at), which is C(last_change) until something is
changed after it; a record of an earlier version lacks both.  Until a file is noted the record of the migration before stays
inside it, as C(earlier).

When a new migration begins, the record of the one before moves into that folder too.  prune() ends its stay there.
"""

import contextlib
import copy
import fcntl
import json
import os
import re
import stat
import time

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    FileEdit, FileError, explain, make_folder, one_at_a_time, read_if_there, read_own, remove_file, sha256,
    take_back_interrupted, write_own)
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import masked
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import this_boot

VERSION = 1
MOVE_KEYS = {"old_port", "new_port", "phase", "state"}
FILE_KEYS = {"path", "sha256_before", "sha256_after", "backup"}

# What we put into the folder beside a record: backups, records of earlier migrations, and what a killed write left of both.
BACKUP = "[0-9a-f]{64}"
ARCHIVED = r"\d{8}T\d{6}-(?:\d+|unknown)-\d+(?:-\d+)?\.json"
IS_BACKUP, IS_ARCHIVED = re.compile(BACKUP + r"\Z"), re.compile(ARCHIVED + r"\Z")
IS_LEFTOVER = re.compile(r"\.(?:%s|%s)\.portshift-" % (BACKUP, ARCHIVED))

# Seconds that a change of this host waits for another one to end.  Services take their time to stop.
PATIENCE = 120
# A move ends with its proof, or with the way back from it.
PATIENCE_WITH_PROOF = 900
DAY = 86400

# Options of a module that notes its changes in a record.
RECORD_SPEC = dict(type="dict", options=dict(
    path=dict(type="path", required=True), old_port=dict(type="int"), new_port=dict(type="int", required=True),
    phase=dict(type="str")))


class RecordError(EngineError):
    """A record that can't be used, or a way back that is no longer safe; the sentence carries the path."""


class Disk:
    """Where a record, its backups and the files that it names lie: the disk of the host on which this process runs.

    A host that no Python runs on has another one, on which the same is written, in the same order.
    """

    def join(self, folder, name):
        return os.path.join(folder, name)

    def make_folder_of(self, path):
        make_folder(os.path.dirname(path))

    def exists(self, path):
        return os.path.lexists(path)

    def read_own(self, path):
        """The bytes of a file of our own, or None where there is none; one that others can change is refused."""
        return read_own(path)

    def write_own(self, path, content):
        """Durably, and in a folder that no other user can change, which is made where it is missing."""
        self.make_folder_of(path)
        write_own(path, content)

    def read_if_there(self, path):
        return read_if_there(path)

    def edit(self, path):
        """A FileEdit."""
        return FileEdit.read(path)

    def take_back_interrupted(self, paths, check_mode):
        """Writes in place that were interrupted."""
        take_back_interrupted(paths, check_mode)

    def remove(self, path, check_mode):
        """Takes a file of our own away."""
        remove_file(path, check_mode)

    def listing(self, folder):
        """(name, whether it is a file, seconds since the epoch of its last change) of what lies in a folder of ours."""
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            status = os.lstat(os.path.join(folder, name))
            yield name, stat.S_ISREG(status.st_mode), status.st_mtime

    def now(self):
        return time.time()

    def boot(self):
        """A word that is another one after each boot."""
        return this_boot()


THIS_DISK = Disk()


def read_record(path, disk=THIS_DISK):
    """The content of the record at `path`, or None where there is none."""
    data = disk.read_own(path)
    if data is None:
        return None
    try:
        content = json.loads(data.decode("utf-8"))
        if content["version"] != VERSION or not isinstance(content["files"], list):
            raise ValueError("version %r" % content["version"])
        for needed, holder in [(MOVE_KEYS, content)] + [(FILE_KEYS, entry) for entry in content["files"]]:
            if not needed <= set(holder):
                raise ValueError("%s missing" % ", ".join(sorted(needed - set(holder))))
    except (ValueError, KeyError, TypeError) as err:
        raise RecordError("%s: is not a record of portshift.agents that this version reads (%s); move it away if you "
                          "know that no migration is under way on this host" % (path, err))
    return content


def lock_path(path):
    return path + ".lock"


@contextlib.contextmanager
def alone_on_host(path, check_mode=False, may_be_first=True, patience=PATIENCE):
    """One change of this host at a time: a run that comes while another change is under way waits for its end.

    Such as the cutover of a control node that died: it is still being finished when the next control node's begins.
    `path`: the record.  What is read for a change is to be read inside, since the other one changes it.
    `may_be_first`: false for a way back, which makes no file on a host that never had a migration.
    """
    if check_mode or not (may_be_first or os.path.lexists(path) or os.path.lexists(lock_path(path))):
        yield
        return
    with one_at_a_time(lock_path(path), patience, "another migration or rollback of this host"):
        yield


def other_change(path):
    """A sentence on the change of this host that is under way, or None.  `path`: the record.  Waits for nothing."""
    try:
        handle = os.open(lock_path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise FileError(explain(err, lock_path(path), "open"))
    try:
        # Shared: two that only look are not in each other's way.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except OSError:
        return ("another migration or rollback of this host is under way (%s is locked%s); it proves nothing until that has ended"
                % (lock_path(path), _holder(handle)))
    finally:
        os.close(handle)


def _holder(handle):
    found = os.read(handle, 20).decode("ascii", "replace").strip()
    return " by process %s" % found if found.isdigit() else ""


def _text(content):
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("utf-8")


def moved_at(content, port):
    """When the migration to `port` last wrote a file of this host, by the host's clock; None without one.

    Its services start after that.
    """
    if not content or content.get("new_port") != port or content.get("state") == "rolled_back":
        return None
    return content.get("last_change")


def left_port(content, port):
    """The port that the migration to `port`, or the way back to it, has left or is leaving; None without a record of it."""
    if content and content["state"] == "rolled_back":
        return content["new_port"] if content["old_port"] == port else None
    return port_before(content, port)


def port_before(content, port):
    """The port from which a migration to `port` that was begun on this host moves away, or None."""
    begun = content and content["state"] != "rolled_back" and content["new_port"] == port
    return content["old_port"] if begun else None


def _digest(content):
    return None if content is None else sha256(content)


def _last_change(content):
    return max(content.get("started", 0), content.get("last_change", 0))


def why_it_stays(content, port):
    """A sentence on why a host that gave no proof of `port` was not put back.  `content`: of its record, or None."""
    content = content or {}
    if content.get("state") == "verified" and content["new_port"] == port:
        return "It was not put back, since it had proved itself on this port before"
    if content.get("state") == "changing":
        return "It was not put back: its record is that of a migration to port %s, which has not ended" % content["new_port"]
    return "Nothing was put back, since no migration of this host to port %d is under way" % port


def known_change(content, now):
    """When the last change of a record was, for what speaks against a host since; 0 without one.

    `now`: by the clock of the same host.  One that is dated later than now was noted while the clock was ahead: nothing would
    be newer.
    """
    changed = (content or {}).get("last_change", 0)
    return changed if changed <= now else 0


def _move(value):
    return {key: value.get(key) for key in ("path", "old_port", "new_port", "phase")}


class ChangeRecord:
    """The record at `path`; `content` is None until a first change is noted."""

    def __init__(self, path, old_port=None, new_port=None, phase=None, disk=THIS_DISK):
        self.path, self.disk = path, disk
        self.content = read_record(path, disk)
        self.move = dict(old_port=old_port, new_port=new_port, phase=phase)

    @classmethod
    def from_params(cls, params):
        """The record that a module's O(record) option asks for, or None."""
        return cls(**_move(params["record"])) if params.get("record") else None

    def _backup_path(self, digest):
        return self.disk.join(os.path.splitext(self.path)[0], digest)

    def _save(self):
        self.disk.write_own(self.path, _text(self.content))

    def _archive(self, content):
        """Keeps the record `content`, which is about to be replaced, beside its backups.

        A copy, so that a run that is killed before the new record is written leaves this one in force.
        """
        folder, text = os.path.splitext(self.path)[0], _text(content)
        stem = "%s-%s-%s" % (time.strftime("%Y%m%dT%H%M%S", time.gmtime(content.get("started", 0))),
                             "unknown" if content["old_port"] is None else content["old_port"], content["new_port"])
        path, number = self.disk.join(folder, stem + ".json"), 1
        while self.disk.exists(path):
            if self.disk.read_own(path) == text:
                return
            number += 1
            path = self.disk.join(folder, "%s-%d.json" % (stem, number))
        self.disk.write_own(path, text)

    def _begin(self):
        """A new migration starts a new record; going on with an interrupted one keeps the first backups."""
        old = self.content
        if old is not None and old.get("earlier") and old["new_port"] != self.move["new_port"]:
            # It was interrupted before it changed a file, so the one before it is what there is.
            old = self.content = old["earlier"]
        if old is None or old["state"] == "rolled_back" or old["new_port"] != self.move["new_port"]:
            self.content = dict(version=VERSION, started=self.disk.now(), files=[], state="changing", **self.move)
            if old is not None:
                self.content["earlier"] = old

    def before_stop(self, processes):
        """Notes, durably, that services are about to be stopped: with nothing edited yet, a killed run is known by that.

        `processes`: {service: [(pid, start ticks)], or None where that can't be told}.  On the way back there is a record.
        """
        before = copy.deepcopy(self.content)
        if self.move["new_port"] is not None:
            self._begin()
        now = self.disk.now()
        self.content.update(stopped=dict(boot_id=self.disk.boot(), processes=processes), stopped_at=now, last_change=now)
        try:
            self._save()
        except EngineError:
            # Nothing was stopped, and what is on disk is as it was.
            self.content = before
            raise

    @property
    def is_bare(self):
        """Whether a migration was begun, and no file was noted since: then services were stopped at most."""
        return self.content is not None and self.content["state"] == "changing" and not self.content["files"]

    def before_write(self, path, before, after, kind=None):
        """Notes, durably, that `path` is about to go from `before` to `after`.  None stands for no file.

        `kind`: the name of its FileKind.
        """
        self._begin()
        if self.content.get("earlier"):
            self._archive(self.content["earlier"])
        self.content.update(phase=self.move["phase"], state="changing")
        digest = _digest(before)
        for entry in self.content["files"]:
            if entry["path"] == path:
                if digest not in (entry["sha256_before"], entry["sha256_after"]):
                    # The bytes that the first backup holds lack what another process wrote in between.
                    entry["changed_between"] = True
                entry.update(sha256_after=_digest(after), kind=kind)
                break
        else:
            backup = None if before is None else self._backup_path(digest)
            if backup:
                # First, with the mode that it is to have: that of what is made on the way is an ordinary one.
                self.disk.make_folder_of(self.path)
                self.disk.write_own(backup, before)
            self.content["files"].append(dict(
                path=path, kind=kind, sha256_before=digest, sha256_after=_digest(after), backup=backup))
        self.content.pop("earlier", None)
        # Evidence has to be newer than the last change of a file, by this host's own clock.
        self.content["last_change"] = self.disk.now()
        self._save()

    def mark_verified(self, alone=False):
        """Notes that the host proved itself on the new port.  Returns whether that was news.

        `alone`: whether the caller is alone_on_host() already.
        """
        if self.content is None or self.content["state"] != "changing":
            return False
        with contextlib.ExitStack() as held:
            if not alone:
                held.enter_context(alone_on_host(self.path))
            if read_record(self.path, self.disk) != self.content:
                raise RecordError("%s: another run has changed this host while it proved itself, so the proof is about what "
                                  "was there before; run again" % self.path)
            self.content["state"] = "verified"
            self._save()
        return True

    def mark_unproved(self):
        """Notes that the host has not proved itself after all.  Returns whether that was news."""
        if self.content is None or self.content["state"] != "verified":
            return False
        self.content["state"] = "changing"
        self._save()
        return True

    def review(self, undo=None):
        """What going back would do now: (entries to restore, sentences that say why it is not safe).  `undo` as below."""
        to_restore, drifted, impossible, unused = self._review(undo)
        return to_restore, drifted + impossible

    def _review(self, undo):
        to_restore, drifted, impossible, undone = [], [], [], {}
        if self.content is None or self.content["state"] == "rolled_back":
            return to_restore, drifted, impossible, undone
        for entry in self.content["files"]:
            path = entry["path"]
            try:
                now = self.disk.read_if_there(path)
                digest = _digest(now)
                if digest == entry["sha256_before"]:
                    continue
                if now is None:
                    raise FileError("%s: does not exist any more; its old bytes are in %s" % (path, entry["backup"]))
                before = self.backed_up(entry)
                to_restore.append(entry)
                changed = digest != entry["sha256_after"] or entry.get("changed_between")
                content = undo(entry.get("kind"), now, before) if undo and changed else None
                if content is not None:
                    undone[path] = content
                elif changed:
                    drifted.append("%s: it has changed since the migration (sha256 %s..., expected %s...); %s" % (
                        path, digest[:12], (entry["sha256_after"] or "no file")[:12],
                        "its old bytes are in %s" % entry["backup"] if entry["backup"] else "it did not exist before"))
            except FileError as err:
                impossible.append(str(err))
        return to_restore, drifted, impossible, undone

    def take_back_interrupted(self, check_mode=False):
        """Before review(), for who is about to restore."""
        self.disk.take_back_interrupted([entry["path"] for entry in (self.content or {"files": []})["files"]], check_mode)

    def backed_up(self, entry):
        """The bytes of a file before the migration; None where there was no file."""
        if entry["backup"] is None:
            return None
        before = self.disk.read_own(entry["backup"])
        if before is None:
            raise FileError("%s: does not exist, and held the old bytes of %s" % (entry["backup"], entry["path"]))
        if sha256(before) != entry["sha256_before"]:
            raise FileError("%s: the backup of %s is damaged" % (entry["backup"], entry["path"]))
        return before

    def restore_files(self, module, redactor=None, force=False, undo=None):
        """Puts every file back, byte for byte.  Returns the module's result; refuses before the first write.

        `undo`: (kind, bytes now, bytes before or None) -> bytes or None, asked for files that others have changed since: the
        bytes now with the migration's own change taken out of them.  `redactor`: (kind, bytes now, bytes before, ports=) ->
        what makes bytes of that file fit for a diff; without one a diff shows nothing of them.  The kind is None in a record of
        an earlier version.  mark_rolled_back() comes when all that belongs to going back is done; until then it can be done
        again.
        """
        to_restore, drifted, impossible, undone = self._review(undo)
        # What is gone or damaged can't be restored; force only overrides what others changed.
        if impossible or (drifted and not force):
            raise RecordError("going back is no longer safe, nothing was restored: %s" % "; ".join(drifted + impossible))
        result = dict(changed=bool(to_restore), restored=[entry["path"] for entry in to_restore], diff=[])
        for entry in to_restore:
            before, edit = self.backed_up(entry), self.disk.edit(entry["path"])
            edit.apply(undone.get(entry["path"], before))
            redact = redactor(entry.get("kind"), edit.before or b"", before or b"", ports=self._ports()) if redactor else masked
            done = edit.commit(module, redact=redact)
            result["diff"] += [done["diff"]] if "diff" in done else []
        return result

    def _ports(self):
        return self.content["old_port"], self.content["new_port"]

    def mark_rolled_back(self):
        """Notes that the host is back.  Returns whether that was news."""
        if self.content is None or self.content["state"] == "rolled_back":
            return False
        if self.content.get("earlier"):
            # This migration has changed nothing: the record of the one before, which did, is in force again.
            self.put_content(self.content["earlier"])
            return True
        self.content["state"] = "rolled_back"
        self.content["last_change"] = self.disk.now()
        self._save()
        return True

    def restore(self, module, redactor=None, force=False, undo=None):
        """restore_files() where nothing else belongs to going back."""
        news = self.content is not None and self.content["state"] != "rolled_back"
        result = self.restore_files(module, redactor, force, undo)
        if news and not module.check_mode:
            self.mark_rolled_back()
        return dict(result, changed=result["changed"] or news)

    def put_content(self, content):
        """Brings back what the record said before a change that was taken back at once."""
        self.content = content
        self._save()

    def prune(self, days, check_mode):
        """Removes the records of earlier migrations whose last change is more than `days` ago, with their backups.

        Never the current record, nor a backup that it or a younger record names, nor what is not known to be ours.
        Returns a dict: removed (paths), left (sentences on what lies there and can't be accounted for).
        """
        folder, limit = os.path.splitext(self.path)[0], self.disk.now() - days * DAY
        found = _Folder(folder, limit, self.disk)
        if found.unreadable:
            # A record that can't be read may name any of the backups.
            return dict(removed=[], left=found.left + [
                "%s; nothing was removed from %s while it lies there" % (sentence, folder) for sentence in found.unreadable])
        current = self.content or dict(files=[])
        needed = _backup_names([current, current.get("earlier") or dict(files=[])] + list(found.younger.values()))
        outdated = _backup_names(found.older.values())
        removed = []
        for name, aged in sorted(found.backups.items()):
            path = self.disk.join(folder, name)
            if name in needed or not (aged or name in outdated):
                continue
            # A backup that no record names is ours when it is what its name says.
            if name not in outdated and sha256(self.disk.read_own(path) or b"") != name:
                found.left.append("%s: has the name of a backup, but other content, and no record names it" % path)
            else:
                removed.append(path)
        # Records last: what is interrupted here is found and gone on with by the next call.
        removed += sorted(found.leftovers) + sorted(found.older)
        for path in removed:
            self.disk.remove(path, check_mode)
        return dict(removed=removed, left=found.left)


def _backup_names(records):
    return {re.split(r"[/\\]", entry["backup"])[-1] for content in records for entry in content["files"] if entry["backup"]}


class _Folder:
    """What lies in the folder beside a record, seen from the moment `limit`."""

    def __init__(self, folder, limit, disk):
        # backups: name -> whether it is older than the limit.
        self.older, self.younger, self.backups, self.leftovers, self.left, self.unreadable = {}, {}, {}, [], [], []
        self.disk = disk
        for name, is_file, changed in disk.listing(folder):
            path = disk.join(folder, name)
            aged = changed < limit
            if not is_file:
                self.left.append("%s: is not a file that a migration puts there" % path)
            elif IS_ARCHIVED.match(name):
                self._record(path, limit)
            elif IS_BACKUP.match(name):
                self.backups[name] = aged
            elif IS_LEFTOVER.match(name):
                self.leftovers += [path] if aged else []
            else:
                self.left.append("%s: is not a file that a migration puts there" % path)

    def _record(self, path, limit):
        try:
            content = read_record(path, self.disk)
        except EngineError as err:
            self.unreadable.append(str(err))
            return
        (self.older if _last_change(content) < limit else self.younger)[path] = content


def _pruned(module, record):
    """Ends the stay of old records.  Returns the module's result."""
    days = module.params["keep_days"]
    done = dict(removed=[], left=[]) if days is None else record.prune(days, module.check_mode)
    result = dict(done, changed=bool(done["removed"]))
    for sentence in done["left"]:
        module.warn(sentence)
    if module._diff and done["removed"]:
        # Names alone: what stands in a backup is not shown.
        result["diff"] = dict(before="".join(path + "\n" for path in done["removed"]), after="",
                              before_header="records and backups on this host", after_header="removed")
    return result


# Options of the module.
CHANGE_RECORD_SPEC = dict(
    path=dict(type="path", required=True), force=dict(type="bool", default=False), keep_days=dict(type="int"),
    state=dict(type="str", choices=["present", "restored", "pruned"], default="present"))


def check_keep_days(days):
    if (days or 0) < 0:
        raise RecordError("keep_days is %d; give the number of days that an old record is kept, 0 or more" % days)


def outcome(module, record, kinds):
    """Does with a record what is asked.  Returns the module's result.  `kinds`: the FileKinds of what a record may name."""
    if module.params["state"] == "restored":
        record.take_back_interrupted(module.check_mode)
    undo = kinds.undo(record.content["new_port"]) if record.content else None
    to_restore, unsafe = record.review(undo)
    result = dict(changed=False)
    if module.params["state"] == "restored":
        result = record.restore(module, force=module.params["force"], undo=undo, redactor=kinds.redactor)
    elif module.params["state"] == "pruned":
        result = _pruned(module, record)
    return dict(dict(restored=[], record=record.content, ok=not unsafe, unsafe=unsafe,
                     restorable=[entry["path"] for entry in to_restore]), **result)
