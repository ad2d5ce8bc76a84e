# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services and processes of a Windows host, with the states that lie between running and stopped."""

import itertools

from .files import READ, WRITE

STOPPED, START_PENDING, STOP_PENDING, RUNNING, PAUSED = "stopped", "start_pending", "stop_pending", "running", "paused"
AUTO, DELAYED, MANUAL, DISABLED = "auto", "delayed", "manual", "disabled"
# Win32 exit codes of a service: that ended by itself with an error of its own; that could not be started.
OWN_ERROR = 1066


class ServiceError(Exception):
    """What the service manager says."""


class Refused(Exception):
    """Why a product does not start: one sentence, which it writes where it has a log."""


class Process:
    def __init__(self, pid, name, began):
        self.pid, self.name, self.began = pid, name, began


class Product:
    """What a service does; without one of its own, nothing."""

    def start(self, host, service):
        """When its process begins to serve; Refused ends it."""

    def stop(self, host, service):
        """Before its process ends, also when it is killed."""


class ConnectedProduct(Product):
    """A product that keeps a connection to a host above it, and holds its log open while it writes there."""

    host = service = connection = remote = log = None

    def hang_up(self):
        if self.connection is not None:
            self.host.disconnect(self.connection)
        if self.remote is not None:
            self.remote.close()
        self.connection = self.remote = None

    def hold_log(self, path):
        """Others may read it and write there, and can't take it away."""
        if self.host.files.get(path) is None:
            self.host.files.put(path)
        if self.log is not None:
            self.log.close()
        self.log = self.host.hold(self.service.process, path, (WRITE,), (READ, WRITE))

    def write(self, text):
        """At the end of the log that it holds."""
        node = self.log.node
        node.data = bytes(node.data) + text.encode()
        node.changed = self.host.clock.now()


class Service:
    """`hangs`: "stop" or "start" when it stays in that pending state; `lingers`: for how long its process is there after it said
    that it is stopped; `fails`: the exit code with which it ends when it is started."""

    def __init__(self, name, display_name=None, path="", start_mode=AUTO, needs=(), product=None, start_seconds=1.0,
                 stop_seconds=1.0):
        self.name, self.display_name, self.path = name, display_name or name, path
        self.start_mode, self.needs, self.product = start_mode, list(needs), product or Product()
        self.start_seconds, self.stop_seconds, self.lingers = start_seconds, stop_seconds, 0.0
        self.hangs, self.fails = None, None
        self.state, self.process, self.exit_code = STOPPED, None, 0
        # Counts its starts, so that what was meant for one before does not touch the one of now.
        self.life = 0

    @property
    def executable(self):
        return self.path.strip('"').rpartition("\\")[2].removesuffix(".exe") or self.name


class Services:
    def __init__(self, host):
        self.host = host
        self.known = {}
        self.processes = {4: Process(4, "System", host.clock.now() - host.clock.uptime())}
        self.pids = itertools.count(1000, 4)

    def add(self, service, running=False):
        self.known[service.name.lower()] = service
        if running:
            self._begin(service)
            self._serve(service, service.life)
            assert service.state == RUNNING, "%s did not start" % service.name
        return service

    def get(self, name):
        """-> Service, or None"""
        return self.known.get(name.lower())

    def needed(self, name):
        found = self.get(name)
        if found is None:
            raise ServiceError("The specified service does not exist as an installed service: %s" % name)
        return found

    def needed_by(self, service):
        return [other for other in self.known.values() if service.name.lower() in (one.lower() for one in other.needs)]

    def is_running(self, name):
        found = self.get(name)
        return found is not None and found.state == RUNNING

    # -- processes
    def new_process(self, name):
        process = Process(next(self.pids), name, self.host.clock.now())
        self.processes[process.pid] = process
        return process

    def end_process(self, process):
        if process is not None and self.processes.pop(process.pid, None):
            self.host.ended(process)

    # -- what the service manager does
    def start(self, name):
        """Asks for it; its state says what becomes of it."""
        service = self.needed(name)
        if service.state in (RUNNING, START_PENDING):
            return
        if service.start_mode == DISABLED:
            raise ServiceError("Service '%s (%s)' cannot be started: it is disabled" % (service.display_name, service.name))
        if service.state != STOPPED:
            raise ServiceError("An instance of the service is already running: %s is %s" % (service.name, service.state))
        for other in service.needs:
            if self.get(other) is None:
                raise ServiceError("The dependency service does not exist: %s" % other)
            self.start(other)
        self._begin(service)
        if service.hangs != "start":
            life = service.life
            self.host.clock.after(service.start_seconds, lambda: self._serve(service, life))

    def _begin(self, service):
        service.life += 1
        service.state, service.exit_code = START_PENDING, 0
        service.process = self.new_process(service.executable)

    def _serve(self, service, life):
        if service.life != life or service.state != START_PENDING:
            return
        try:
            if service.fails is not None:
                raise Refused("it was told to fail")
            service.product.start(self.host, service)
        except Refused:
            self._end(service, OWN_ERROR if service.fails is None else service.fails)
            return
        service.state = RUNNING

    def stop(self, name):
        service = self.needed(name)
        if service.state in (STOPPED, STOP_PENDING):
            return
        holding = [other.name for other in self.needed_by(service) if other.state != STOPPED]
        if holding:
            raise ServiceError("Cannot stop service '%s (%s)' because it has dependent services that are running: %s" % (
                service.display_name, service.name, ", ".join(holding)))
        service.state = STOP_PENDING
        if service.hangs != "stop":
            life = service.life
            self.host.clock.after(service.stop_seconds, lambda: self._stopped(service, life))

    def _stopped(self, service, life):
        if service.life == life and service.state == STOP_PENDING:
            service.product.stop(self.host, service)
            self._end(service, 0)

    def _end(self, service, code):
        process, service.process = service.process, None
        service.state, service.exit_code = STOPPED, code
        if service.lingers and code == 0:
            self.host.clock.after(service.lingers, lambda: self.end_process(process))
        else:
            self.end_process(process)

    def crash(self, name, code=OWN_ERROR):
        """Its process ends, whatever its state."""
        service = self.needed(name)
        if service.process is not None:
            service.product.stop(self.host, service)
            self._end(service, code)

    def boot(self):
        """All processes end; then what starts by itself starts."""
        for service in self.known.values():
            if service.process is not None:
                service.life += 1
                service.product.stop(self.host, service)
                self._end(service, 0)
            service.hangs = None if service.hangs == "stop" else service.hangs
        for process in [process for pid, process in self.processes.items() if pid != 4]:
            self.end_process(process)
        self.processes[4].began = self.host.clock.now()
        for service in self.known.values():
            if service.start_mode in (AUTO, DELAYED):
                seconds = 120.0 if service.start_mode == DELAYED else 1.0
                self.host.clock.after(seconds, lambda name=service.name: self._at_boot(name))

    def _at_boot(self, name):
        try:
            self.start(name)
        except ServiceError:
            pass    # what it needs does not start
