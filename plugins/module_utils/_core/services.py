# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping and starting services of a host, by its service manager or by a command that the site gives.

An exit status is not believed: after a stop nothing of a service runs, after a start a process that did not run before.
"""

import os
import time

from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import (
    CommandTimeout, execute, last_words, told)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import (
    can_tell, environment_of, find, is_below, moment_of, of_service, start_time)

# Seconds that the stop, and the start, of a service may take.
SERVICE_TIMEOUT = 120
# Seconds that a service manager may take to say how a service is.
STATUS_SECONDS = 30
# Seconds after a start in which a service may still say that it does not run.
START_SECONDS = 10
# Seconds between two looks at a service that is to stop or start: at least, and at most, since each look reads all processes.
LOOK_AGAIN, LOOK_AGAIN_LATER = 0.1, 0.5
# Processes that a sentence names.
NAMED = 3


class ServiceError(EngineError):
    """A service that did not do as told; the sentence has its own last words."""


class Services:
    """The services `names`, in the order in which they start.

    `command`: called with SERVICE and start, stop or status, as service(8) is.  Empty: systemctl where systemd runs,
    else service(8).  `executables`: {service: [path, ...]}, by which processes are found that systemd does not know.
    `timeout`: seconds that the stop of a service may take, and its start.
    """

    def __init__(self, module, names, command, executables=None, timeout=SERVICE_TIMEOUT):
        self.module, self.names, self.command = module, names, command
        # A single path is as good as a list of one.
        self.executables = {
            service: [paths] if isinstance(paths, str) else paths for service, paths in (executables or {}).items()}
        self.timeout = timeout
        # Those that were told to stop, and did not in time: they may do so yet.
        self.ending = []
        self.systemd = not command and os.path.isdir("/run/systemd/system")
        # Names of units, and the services that were seen to run one of their executables.
        self._units, self._by_executable = {}, set()

    # -- asking

    def _run(self, name, action, seconds):
        if self.systemd:
            command = ["systemctl", action, name]
        else:
            command = (self.command or ["service"]) + [name, action]
        return self._execute(name, action if action in ("start", "stop") else "say how it is", command, seconds)

    @staticmethod
    def _execute(name, action, command, seconds):
        try:
            return execute(command, max(0.1, seconds))
        except CommandTimeout as err:
            raise ServiceError("service %s could not %s: %s" % (name, action, err))
        except (OSError, ValueError) as err:
            raise ServiceError("service %s could not %s: %s can't be run: %s" % (
                name, action, command[0], getattr(err, "strerror", None) or err))

    def _told(self, name, action, seconds):
        code, out, err = self._run(name, action, seconds)
        if code:
            raise ServiceError("service %s could not %s: %s" % (
                name, action, last_words(out + "\n" + err) or "exit status %d" % code))

    def _is_up(self, name):
        """Whether the service manager says that it runs."""
        return self._run(name, "is-active" if self.systemd else "status", STATUS_SECONDS)[0] == 0

    def _shown(self, name, *properties):
        """What systemd says of a unit."""
        words = [word for key in properties for word in ("-p", key)]
        _code, out, _err = self._execute(name, "be looked at", ["systemctl", "show"] + words + [name], STATUS_SECONDS)
        return dict(line.partition("=")[::2] for line in out.splitlines())

    def _unit(self, name):
        """The name of the unit that systemd keeps for `name`, which may be another name of it."""
        if name not in self._units:
            self._units[name] = self._shown(name, "Id").get("Id") or name
        return self._units[name]

    def _found(self, name):
        """The processes of a service, and what an agent has left in its cgroup; None where that can't be told."""
        executables = self.executables.get(name) or ()
        if not can_tell() or not (self.systemd or executables):
            return None
        found = find(self._unit(name) if self.systemd else None, executables)
        if any(process.runs_executable for process in found):
            self._by_executable.add(name)
        return found

    def processes(self):
        """{service: its processes as sorted (pid, start ticks), or None where that can't be told}."""
        return self._processes({name: self._found(name) for name in self.names})

    @staticmethod
    def _processes(found):
        return {name: None if known is None else [(process.pid, process.ticks) for process in of_service(known)]
                for name, known in found.items()}

    def survey(self):
        """(processes(), down()) out of one look: to find the processes of a service, all of the host are read."""
        found = {name: self._found(name) for name in self.names}
        return self._processes(found), [name for name, known in found.items() if not self._does_run(name, known)]

    def look(self):
        """What `left` and `missing` compare with: {service: what runs of it}."""
        return {name: self._found(name) or [] for name in self.names}

    def left(self, before):
        """Sentences on what still runs of services that ran `before`."""
        found = [(name, self._remaining(name)) for name, processes in before.items() if processes]
        return ["%s of the service %s still runs" % (_named(left), name) for name, left in found if left]

    def missing(self, before, expected=(), old_will_do=False):
        """Sentences on services that ran `before`, or are among `expected`, and of which no other process runs now.

        `old_will_do`: nor one that ran before, which is as good where nothing was changed.
        """
        return ["no new process of the service %s runs" % name for name in self.names
                if (before.get(name) or name in expected) and not _is_new(before.get(name), self._found(name))
                and not (old_will_do and self._remaining(name))]

    def _runs(self, name):
        return self._does_run(name, self._found(name))

    def _does_run(self, name, found):
        if found is None:
            return self._is_up(name)
        # What an agent has left in its cgroup does not make it run.
        return any(process.runs_executable for process in found) or (bool(found) and self._is_up(name))

    def down(self):
        """The names of those that don't run."""
        return [name for name in self.names if not self._runs(name)]

    # -- stopping

    def require_known(self):
        """ServiceError when a process of a service runs that systemd did not start: systemctl stop would leave it."""
        for name in self.names if self.systemd else ():
            strangers = [process for process in self._found(name) or () if not process.in_unit]
            if strangers and self._shown(name, "ActiveState").get("ActiveState") in ("inactive", "failed"):
                raise ServiceError(
                    "service %s is run by %s, which systemd did not start, so systemctl stop %s would not end it; stop it in the "
                    "way it was started (such as /etc/init.d/%s stop), start it with systemctl start %s, and run again"
                    % (name, _named(strangers), name, name, name))

    def stop(self):
        """Stops all, last started first.  ServiceError when something of them still runs after that."""
        for name in reversed(self.names):
            self._stop(name)

    def _stop(self, name):
        begun = time.monotonic()
        end = begun + self.timeout
        trouble = None
        self._found(name)
        try:
            self._told(name, "stop", self.timeout)
        except ServiceError as err:
            # Some scripts fail when there is nothing to stop; what counts is that nothing runs.
            trouble = err
        while True:
            left = self._still_running(name)
            if not left:
                return
            if trouble:
                self.ending.append(name)
                raise trouble
            if time.monotonic() > end:
                self.ending.append(name)
                raise ServiceError("service %s was told to stop, and %g s later %s; stop it by hand, start the service again, "
                                   "and run again" % (name, self.timeout, left))
            _pause(begun)

    def _remaining(self, name):
        """What of a service still runs."""
        found = self._found(name) or []
        # Not what is left of an agent in its cgroup, once it is known what that one runs: children outlive it.
        return [process for process in found if process.runs_executable] if name in self._by_executable else found

    def _still_running(self, name):
        """What of a service still runs, for a sentence; None when nothing does."""
        left = self._remaining(name)
        if left:
            return "%s still runs" % _named(left)
        # systemd is not asked: that nothing runs has been seen.
        return None if self.systemd or not self._is_up(name) else "its status says that it still runs"

    # -- starting

    def start(self):
        """Starts those that don't run.  Returns their names.  ServiceError when one does not run after that."""
        down = [name for name in self.names if not self._runs(name) or self._is_ending(name)]
        before = {name: self._found(name) for name in down}
        for name in down:
            if before[name] is not None and self._is_up(name):
                # Such as an init script whose daemon has ended: its unit is active, so that a start does nothing.
                self._told(name, "stop", self.timeout)
            self._told(name, "start", self.timeout)
        for name in down:
            self._await_start(name, before[name])
        return down

    def _await_start(self, name, before):
        begun = time.monotonic()
        while True:
            found, is_up = self._found(name), self._is_up(name)
            if found is None:
                if is_up:
                    return
            elif _is_new(before, found) and (is_up or any(process.runs_executable for process in found)):
                return
            waited = time.monotonic() - begun
            if waited > self.timeout or (not is_up and waited > START_SECONDS and not self._is_starting(name)):
                raise ServiceError(self._not_started(name, found, is_up, waited))
            _pause(begun)

    def _is_ending(self, name):
        """Whether its stop goes on, though the command that asked for it was ended: a start waits for its end."""
        return self.systemd and self._shown(name, "ActiveState").get("ActiveState") == "deactivating"

    def _is_starting(self, name):
        return self.systemd and self._shown(name, "ActiveState").get("ActiveState") == "activating"

    def _not_started(self, name, found, is_up, waited):
        if not is_up:
            return "service %s was started, and %d s later it does not run" % (name, waited)
        paths = ", ".join(self.executables.get(name) or ())
        return ("service %s was started and says that it runs, and %d s later there is no new process of it (%s%s); name what it "
                "runs with executables" % (name, waited, "of %s" % paths if paths else "in its cgroup",
                                           "; still there: %s" % _named(found) if found else ""))


def _pause(begun):
    """Until the next look for what began then."""
    time.sleep(min(max(LOOK_AGAIN, (time.monotonic() - begun) / 4), LOOK_AGAIN_LATER))


class ServiceState:
    """How the service `name` of this host is.

    `command`: called with SERVICE and status, as service(8) is.  Empty: systemctl where systemd runs, else service(8).
    """

    def __init__(self, name, command=()):
        self.name = name[:-len(".service")] if name.endswith(".service") else name
        self.systemd = not command and os.path.isdir("/run/systemd/system")
        self.command = command or ["service"]
        # pid: the process that systemd calls its main one.  running_since: when systemd had it running, by its own clock.
        self.active, self.pid, self.running_since = None, None, None

    def look(self):
        if not self.systemd:
            self.active = self._run(self.command + [self.name, "status"])[0] == 0
            return self
        code, output = self._run(["systemctl", "show", "-p", "LoadState", "-p", "ActiveState", "-p", "MainPID",
                                  "-p", "ActiveEnterTimestampMonotonic", self.name])
        found = dict(line.partition("=")[::2] for line in output.splitlines())
        if code or found.get("LoadState") in (None, "not-found"):
            raise ServiceError("the service %s is not installed on this host%s; name the agent's service with service"
                               % (self.name, told(output) if code else ""))
        if found["LoadState"] != "loaded":
            raise ServiceError("systemd says of the service %s that it is %s, so it can't be started; look at systemctl "
                               "status %s" % (self.name, found["LoadState"], self.name))
        self.active = found.get("ActiveState") in ("active", "reloading")
        self.pid = int(found.get("MainPID") or 0) or None
        self.running_since = found.get("ActiveEnterTimestampMonotonic")
        return self

    def words(self, action):
        """The command that starts or stops it here."""
        return ["systemctl", action, self.name] if self.systemd else self.command + [self.name, action]

    @staticmethod
    def _run(command):
        try:
            code, output, error = execute(command, STATUS_SECONDS, environ_update=dict(LANG="C", LC_ALL="C"))
        except OSError as err:
            raise ServiceError("%s can't be run: %s; name the command that tells of services with service_command"
                               % (command[0], err.strerror or err))
        return code, output + error

    def owns(self, pid):
        """Whether the process is one of the service; None where that can't be told."""
        return is_below(pid, self.name + ".service") if self.systemd and pid is not None else None

    def started(self):
        """When its main process began, in seconds since the epoch; None where that can't be told."""
        ticks = start_time(self.pid) if self.pid else None
        return None if ticks is None else moment_of(ticks)

    def environment(self):
        """The environment of its main process, name -> value; empty where that can't be read."""
        return environment_of(self.pid)


def _keys(found):
    return {(process.pid, process.ticks) for process in found or ()}


def _is_new(before, now):
    """Whether a process runs that did not run before."""
    return bool(_keys(now) - _keys(before))


def _named(found):
    named = ["process %d (%s)" % (process.pid, process.program) for process in found[:NAMED]]
    return ", ".join(named) + (" and %d more" % (len(found) - NAMED) if len(found) > NAMED else "")
