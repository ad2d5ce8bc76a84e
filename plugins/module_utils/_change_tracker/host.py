# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a Change Tracker agent as it is: its HubDetails.xml, service, connections and record."""

import os

from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import hub_details
from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import execute, told
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord, port_before
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_url import (
    LOG, PLACES, ChangeTrackerError, service_of)
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_state import under_way
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_edit import HubEdit, is_there
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import shown_url
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import moment_of, start_time

# The name of the change that M(portshift.agents.confirmed_change) makes.
CHANGE = "change_tracker"
RECORD = "/var/lib/portshift/change_tracker.json"
# Options of every module that looks at an agent.
AGENT_SPEC = dict(
    path=dict(type="list", elements="path", default=PLACES), service=dict(type="str"),
    service_command=dict(type="list", elements="str", default=[]), log_path=dict(type="path"),
    required=dict(type="bool", default=True), record=dict(type="path", default=RECORD))

# Seconds that a service manager may take to answer.
PATIENCE_WITH_SERVICE = 30
NAMES_OF_PROXY = ("https_proxy", "all_proxy")


class Service:
    """The service `name` of this host.

    `command`: called with SERVICE and status, as service(8) is.  Empty: systemctl where systemd runs, else service(8).
    """

    def __init__(self, name, command):
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
            raise ChangeTrackerError("the service %s is not installed on this host%s; name the agent's service with service"
                                     % (self.name, told(output) if code else ""))
        if found["LoadState"] != "loaded":
            raise ChangeTrackerError("systemd says of the service %s that it is %s, so it can't be started; look at systemctl "
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
            code, output, error = execute(command, PATIENCE_WITH_SERVICE, environ_update=dict(LANG="C", LC_ALL="C"))
        except OSError as err:
            raise ChangeTrackerError("%s can't be run: %s; name the command that tells of services with service_command"
                                     % (command[0], err.strerror or err))
        return code, output + error

    def owns(self, pid):
        """Whether the process is one of the service; None where that can't be told."""
        if not self.systemd or pid is None:
            return None
        try:
            with open("/proc/%d/cgroup" % pid) as source:
                return any(self.name + ".service" in line.rstrip("\n").split("/") for line in source)
        except OSError:
            return None

    def started(self):
        """When its main process began, in seconds since the epoch; None where that can't be told."""
        ticks = start_time(self.pid) if self.pid else None
        return None if ticks is None else moment_of(ticks)

    def environment(self):
        """The environment of its main process; empty where that can't be read."""
        try:
            with open("/proc/%d/environ" % self.pid, "rb") as source:
                words = source.read(1024 * 1024).split(b"\0")
        except (OSError, TypeError):
            return {}
        return {name.decode("utf-8", "replace").lower(): value.decode("utf-8", "replace")
                for name, _equals, value in (word.partition(b"=") for word in words)}


class AgentHost:
    """What one host says of its agent.  What can't be read or told becomes a sentence in `problems`, and the rest is read."""

    def __init__(self, params):
        self.params, self.problems, self.notes = params, [], []
        self.agent, self.edit, self.way, self.service, self.record = False, None, None, None, None
        self._find_agent()
        if self.edit:
            self._find_service()
        self._read_record()
        # Before it has ended, all that was read above may be about to be something else.
        self.under_way = under_way(params["record"], CHANGE)

    @property
    def details(self):
        return self.edit and self.edit.before

    @property
    def shown_url(self):
        """The hub's URL, as results and sentences may show it."""
        return self.details and shown_url(self.details.url)

    @property
    def path(self):
        return self.edit and self.edit.path

    def _find_agent(self):
        candidates = self.params["path"]
        try:
            self.agent = any(is_there(path) for path in candidates)
            if self.agent or self.params["required"]:
                self.edit = HubEdit(candidates)
                self.way = hub_details.way(self.edit.file.before)
            else:
                self.notes.append("no agent of Change Tracker is installed here (no %s)" % ", ".join(candidates))
        except EngineError as err:
            named = str(err).startswith("/") or self.edit is None
            self.problems.append(str(err) if named else "%s: %s" % (self.edit.path, err))

    def _find_service(self):
        name = self.params["service"] or service_of(self.path) or service_of(os.path.realpath(self.path))
        if not name:
            self.problems.append("%s: lies in no folder that tells which service reads it (%s); name the agent's service with "
                                 "service" % (self.path, os.path.dirname(self.path)))
            return
        self.service = Service(name, self.params["service_command"])
        try:
            self.service.look()
        except EngineError as err:
            self.problems.append(str(err))

    def _read_record(self):
        try:
            self.record = ChangeRecord(self.params["record"])
        except EngineError as err:
            self.problems.append(str(err))

    @property
    def log_path(self):
        return self.params["log_path"] or (self.path and os.path.join(os.path.dirname(self.path), LOG))

    def old_port(self, wanted):
        if wanted is None or not self.details:
            return None
        recorded = port_before(self.record and self.record.content, wanted)
        return recorded if recorded is not None else self.details.port if self.details.port != wanted else None

    def proxy(self):
        """(host, port) of the HTTP proxy that stands between the agent and its hub, or None; an empty host for one that can't
        be read."""
        if not self.way:
            return None
        if self.way.proxy or not self.way.default_proxy or not self.service:
            return self.way.proxy
        environment = self.service.environment()
        if _spared(self.way.host, environment.get("no_proxy", "")):
            return None
        names = NAMES_OF_PROXY if self.way.tls else ("http_proxy",) + NAMES_OF_PROXY[1:]
        return next((hub_details.proxy_of(environment[name]) for name in names if environment.get(name)), None)


def _spared(host, no_proxy):
    """Whether a variable C(no_proxy) names the host, or the domain that it is in."""
    entries = [entry.strip().lstrip(".").lower() for entry in no_proxy.split(",") if entry.strip()]
    return any(entry == "*" or host.lower() == entry or host.lower().endswith("." + entry) for entry in entries)
