# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of a host: one task at a time changes what its products share (the firewall, the reserved ports, the bridges).

A file as that of a deployment's lock (see run_lock), not an flock: between two looks of host_port the modules of other
collections make the change, and no process of ours lives on the host then.  All times are seconds since the boot of the host,
which no set clock moves; a lease of another boot is over.
"""

import os
import pwd
import time

from ansible_collections.portshift.agents.plugins.module_utils._network import run_lock
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    FileError, one_at_a_time, read_own, remove_file, write_own)

# Seconds that a lease lasts whose holder is a process of this host.  Its end is seen, so this is for the rare case that it isn't.
OF_A_PROCESS = 3600
# Seconds that are waited for another one who reads or writes the file in the same moment.
PATIENCE = 30
# Seconds between two looks at a lease that another one holds.
LOOK_AGAIN = 0.5
# CLOCK_BOOTTIME of Linux, whose name Python knows since 3.7 only.
BOOT_CLOCK = 7
PROC = "/proc"


class BusyError(EngineError):
    """Another one holds the lease: `holder`; `who`: a sentence about that alone."""

    def __init__(self, who, holder, end=""):
        EngineError.__init__(self, who + end)
        self.who, self.holder = who, holder


def _line(*parts):
    try:
        with open(os.path.join(PROC, *parts)) as source:
            return source.readline().strip()
    except OSError:
        return ""


def boot_id():
    return _line("sys", "kernel", "random", "boot_id")


def _namespace():
    try:
        return os.readlink(os.path.join(PROC, "self", "ns", "pid"))
    except OSError:
        return ""


def now():
    try:
        return time.clock_gettime(BOOT_CLOCK)
    except OSError:
        # A kernel without that clock: what stops while the machine sleeps is the nearest thing.
        return time.monotonic()


def _process(pid):
    """(state, when it started) of a process; None where there is none."""
    fields = _line(str(pid), "stat").rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else None


def system_start():
    """When the first process of this host began, on the clock of now().

    A container that was started anew has the kernel's boot, and no process of before.
    """
    found = _process(1)
    return int(found[1]) / os.sysconf("SC_CLK_TCK") if found else 0


def this_process():
    """Who asks, where the process itself is the one that holds the lease."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    node, pid = os.uname()[1], os.getpid()
    return dict(node=node, machine_id=node, boot=boot_id(), pid_namespace=_namespace(), user=user, pid=pid,
                process_start=(_process(pid) or ("", ""))[1], token="%d.%.6f" % (pid, now()))


def is_gone(holder, process):
    """Whether the process that `holder` names is gone, asked where it ran.  In doubt it is not.

    `process`: pid -> (its state as in /proc, when it started), or None where that can't be told.
    """
    try:
        # Signal 0 is none: it only asks whether there is such a process, also where /proc hides those of others.
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, TypeError, OverflowError):
        pass
    found = process(holder["pid"])
    # Of one that was killed, only its exit status may be left.
    return bool(found) and (found[0] in ("Z", "X") or found[1] != holder["process_start"])


def has_ended(holder):
    """Whether the holder was a process of this host, in this boot of it, and is gone.  In doubt it is not."""
    if not holder.get("process_start") or not holder.get("boot") or holder["boot"] != boot_id() or (
            holder.get("pid_namespace") != _namespace()):
        return False
    return is_gone(holder, _process)


def _is_of_before(holder):
    """Whether this host, or the container that it is, was started anew since."""
    return holder.get("host_boot") != boot_id() or holder["since"] < system_start()


def described(holder):
    """Such as: boks (root@control1, process 4711), since 2026-11-21T22:00:00Z (12 s ago)."""
    ago = None if _is_of_before(holder) else max(0, now() - holder["since"])
    since = "" if ago is None else ", since %s (%d s ago)" % (run_lock.moment(time.time() - ago), ago)
    return "%s (%s@%s, process %s)%s" % (holder["purpose"] or "a task", holder["user"], holder["node"], holder["pid"], since)


def decide(content, run, purpose, seconds, ended=None):
    """(the content in which `run` holds the lease, a sentence about the one it was taken from or None).

    `ended`: the id of a holder that the control node knows to have ended.  Raises BusyError.
    """
    holder, why = content["holder"], None
    ours = bool(holder) and holder["id"] == run_lock.run_id(run)
    if holder and not ours:
        if _is_of_before(holder):
            why = "this host has been booted since"
        elif has_ended(holder) or holder["id"] == ended:
            why = "that process has ended without releasing it"
        elif holder["expires"] <= now():
            why = "the %d s that it was for had passed" % holder["seconds"]
    try:
        after, previous, unused = run_lock.hold(
            dict(content, lost=[]), run, now(), seconds, purpose, dead_owner=holder["id"] if why else None)
    except run_lock.HeldError:
        raise BusyError("%s is changing what the products on this host share (its firewall, its reserved ports, its bridges); "
                        "its lease lapses in %d s" % (described(holder), holder["expires"] - now() + 1), holder)
    after["holder"]["host_boot"] = boot_id()
    # Who lost it learns that by not being the holder.
    after["lost"] = []
    return after, previous and "the lease of this host was taken over from %s: %s" % (described(previous), why)


def read(path):
    """The content of the lease; a file that another user may have planted is none."""
    try:
        return run_lock.parse(read_own(path))
    except run_lock.LockError as err:
        raise FileError("%s: %s" % (path, err))


def holder_beside(path):
    """A sentence about the task that holds the lease now, for a look that takes none; None where none does."""
    try:
        holder = read(path)["holder"]
    except EngineError:
        # What is to be said about the file the change says; a look has other things to tell.
        return None
    if not holder or _is_of_before(holder) or has_ended(holder) or holder["expires"] <= now():
        return None
    return "%s is changing this host at the moment, so what is foretold here may be another thing when it has ended" % (
        described(holder))


class HostLease:
    """The lease of this host for one asker.

    path, wait  the file, and the seconds that are waited for another one
    purpose     what is done under it, for the one who has to wait
    run         who asks (see this_process())
    notes       what there is to say about it
    """

    def __init__(self, path, wait, purpose, run=None):
        self.path, self.wait, self.purpose, self.notes = path, wait, purpose, []
        self.run = run or this_process()

    def _guard(self):
        return one_at_a_time(self.path + ".guard", PATIENCE, "another one who asks for the lease of this host")

    def hold(self, seconds=OF_A_PROCESS, ended=None, wait=None):
        """Takes or renews the lease for `seconds`; waits, at most `wait` seconds, and raises BusyError then."""
        wait = self.wait if wait is None else wait
        end = time.monotonic() + wait
        while True:
            try:
                with self._guard():
                    content, note = decide(read(self.path), self.run, self.purpose, seconds, ended)
                    write_own(self.path, run_lock.text(content))
            except BusyError as err:
                left = end - time.monotonic()
                if left <= 0:
                    raise BusyError(
                        "%s: %s, and has not ended in the %d s that were waited for it" % (self.path, err, wait), err.holder,
                        " (lease_wait); nothing was changed. Run again when it has ended")
                time.sleep(min(LOOK_AGAIN, left))
                continue
            self.notes += [note] if note else []
            return

    def is_held(self):
        holder = read(self.path)["holder"]
        return bool(holder) and holder["id"] == run_lock.run_id(self.run)

    def release(self):
        """Gives the lease back, if it is this asker's own.  What was done under it stays done where that fails."""
        if not os.path.lexists(self.path):
            return
        try:
            self._release()
        except EngineError as err:
            self.notes.append("the lease of this host could not be given back, and lapses by itself: %s" % err)

    def _release(self):
        with self._guard():
            content = run_lock.release(read(self.path), self.run)
            if content is None:
                return
            if run_lock.is_empty(content):
                remove_file(self.path, False)
            else:
                write_own(self.path, run_lock.text(content))

    def __enter__(self):
        self.hold()
        return self

    def __exit__(self, *unused):
        self.release()
