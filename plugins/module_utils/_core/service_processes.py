# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a service (Linux, read from /proc), each as (pid, start ticks), which no other process of a boot is.

A process is one of a service in two ways:

- It is in the cgroup of the systemd unit.  A unit that systemd generates from an init script has one too, but it lacks what
  was started by hand: that is in the cgroup of the login that started it.
- It runs one of the service's executables (C(/proc/PID/exe), one that has been replaced since included), or an interpreter that
  runs one of them as its script; and it is root's, or of the user who asks: others may run what they can read.

Processes of another pid namespace are none: a container may hold the same product.

The record of a move holds, written ahead of the stop::

    "stopped": {"boot_id": this_boot(), "processes": {service: [[pid, ticks], ...] or null}}

null: it could not be told.  still_running() compares that with what runs now.
"""

import collections
import os
import re
import time

INTERPRETER = re.compile(r"(?:sh|[bd]ash|ksh\w*|zsh|busybox|perl|python|ruby|node)[\d.]*\Z")
# Behind these an interpreter has no script.
NO_SCRIPT = (b"-c", b"-m", b"-e")
DELETED = " (deleted)"
MAX_COMMAND_LINE = 65536
MAX_ENVIRONMENT = 1024 * 1024
# Of Linux; Python 3.6 has no name for it.
CLOCK_BOOTTIME = 7

# program: the path of what it runs, for a sentence.
Process = collections.namedtuple("Process", "pid ticks program in_unit runs_executable")


def start_time(pid, proc="/proc"):
    """When the process began, in the kernel's own count; None for one that is gone, or is a zombie."""
    try:
        with open("%s/%d/stat" % (proc, pid), "rb") as source:
            fields = source.read().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError, TypeError):
        return None


def moment_of(ticks):
    """When that was, in seconds since the epoch by the clock as it is now, to a hundredth; None where that can't be told."""
    try:
        return time.time() - time.clock_gettime(CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None


def this_boot(proc="/proc"):
    """A word that is another one after each boot; also in a container, which has the boot id of its machine."""
    try:
        with open(os.path.join(proc, "sys/kernel/random/boot_id")) as source:
            machine = source.read().strip()
    except OSError:
        machine = ""
    return "%s/%s" % (machine, start_time(1, proc))


def can_tell(proc="/proc"):
    """Whether this host has processes that can be looked at."""
    return os.path.exists(os.path.join(proc, "self", "stat"))


def processes_of(unit=None, executables=(), proc="/proc"):
    """The sorted (pid, start ticks) of a service: those that run one of `executables`; where none does, all of the cgroup of
    `unit`.  An agent's children, such as an installation that it runs, outlive it in that cgroup.
    """
    return [(process.pid, process.ticks) for process in of_service(find(unit, executables, proc))]


def of_service(found):
    """Those of find() that are the service itself."""
    return [process for process in found if process.runs_executable] or found


def find(unit=None, executables=(), proc="/proc"):
    """Every Process in the cgroup of `unit` (a name, with or without C(.service)), or that runs one of `executables`."""
    component = unit and (unit if unit.endswith(".service") else unit + ".service")
    wanted = set(executables) | {os.path.realpath(path) for path in executables}
    mine, first, found = _namespace("self", proc), _cgroups(1, proc), []
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
        ticks = start_time(pid, proc)
        if ticks is None or pid == os.getpid():
            continue
        in_unit = bool(component) and _is_in(component, _cgroups(pid, proc), first)
        program = _program(pid, proc)
        runs = bool(wanted) and _is_run_by(pid, program, wanted, proc)
        if not (in_unit or runs):
            continue
        theirs = _namespace(pid, proc)
        # A cgroup is told to all, a namespace to few.
        if theirs != mine and (runs or theirs is not None):
            continue
        if start_time(pid, proc) == ticks:
            found.append(Process(pid, ticks, program or _command(pid, proc), in_unit, runs))
    return found


def still_running(stopped, now, proc="/proc"):
    """{service: [(pid, ticks)]} of those that ran before the stop and run still.

    `stopped`: what a record says under that name, or None; `now`: {service: [(pid, ticks)] or None}, of the same services.
    """
    if not stopped or stopped["boot_id"] != this_boot(proc):
        return {}
    found = {}
    for service, processes in now.items():
        before = {tuple(process) for process in stopped["processes"].get(service) or ()}
        old = sorted(before.intersection(map(tuple, processes or ())))
        if old:
            found[service] = old
    return found


def _namespace(pid, proc):
    try:
        return os.readlink("%s/%s/ns/pid" % (proc, pid))
    except OSError:
        return None


def _cgroups(pid, proc):
    """{hierarchy: path} of those that systemd keeps."""
    try:
        with open("%s/%d/cgroup" % (proc, pid), "rb") as source:
            lines = source.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    rows = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    return {row[1]: row[2] for row in rows if row[1] in ("", "name=systemd")}


def _is_in(component, cgroups, first):
    """Whether one of the cgroups is that of the system's unit.

    Not of a user's unit of the same name, nor of one in a container: these lie below a unit of another name.
    """
    for hierarchy, path in cgroups.items():
        root = first.get(hierarchy, "/")
        root = root[:-len("/init.scope")] if root.endswith("/init.scope") else root.rstrip("/")
        if not path.startswith(root + "/"):
            continue
        for part in path[len(root):].strip("/").split("/"):
            if part == component:
                return True
            if not part.endswith(".slice"):
                break
    return False


def _program(pid, proc):
    try:
        path = os.readlink("%s/%d/exe" % (proc, pid))
    except OSError:
        return None
    return path[:-len(DELETED)] if path.endswith(DELETED) else path


def _is_run_by(pid, program, wanted, proc):
    if program is None or not _is_trusted(pid, proc):
        return False
    if program in wanted:
        return True
    if not INTERPRETER.match(os.path.basename(program)):
        return False
    script = _script(pid, proc)
    return script is not None and (script in wanted or os.path.realpath(script) in wanted)


def _is_trusted(pid, proc):
    """Whether it runs, by right and in effect, as root or as the user who asks."""
    try:
        with open("%s/%d/status" % (proc, pid), "rb") as source:
            users = next(line.split()[1:3] for line in source if line.startswith(b"Uid:"))
    except (OSError, StopIteration):
        return False
    return users[0] == users[1] and int(users[0]) in (0, os.geteuid())


def _arguments(pid, proc):
    try:
        with open("%s/%d/cmdline" % (proc, pid), "rb") as source:
            return source.read(MAX_COMMAND_LINE).split(b"\0")
    except OSError:
        return []


def command_line(pid, proc="/proc"):
    """The words of the command that a process runs; empty where that can't be told."""
    return [os.fsdecode(word) for word in _arguments(pid, proc)]


def environment_of(pid, proc="/proc"):
    """The environment of a process as it began, name -> value; empty where that can't be read."""
    try:
        with open("%s/%d/environ" % (proc, pid), "rb") as source:
            words = source.read(MAX_ENVIRONMENT).split(b"\0")
    except (OSError, TypeError):
        return {}
    return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for name, _equals, value in (word.partition(b"=") for word in words)}


def is_below(pid, unit, proc="/proc"):
    """Whether the process is anywhere below a systemd unit of that name; None where that can't be told."""
    try:
        with open("%s/%d/cgroup" % (proc, pid)) as source:
            return any(unit in line.rstrip("\n").split("/") for line in source)
    except OSError:
        return None


def _script(pid, proc):
    """The path of the script that an interpreter runs, or None."""
    for argument in _arguments(pid, proc)[1:]:
        if argument.startswith(NO_SCRIPT):
            return None
        if argument and not argument.startswith(b"-"):
            try:
                return os.path.normpath(os.path.join(os.readlink("%s/%d/cwd" % (proc, pid)), os.fsdecode(argument)))
            except OSError:
                return None
    return None


def _command(pid, proc):
    return os.fsdecode((_arguments(pid, proc) or [b""])[0]) or "a program that this user may not see"
