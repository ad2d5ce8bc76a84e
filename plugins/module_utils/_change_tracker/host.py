# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a Change Tracker agent as it is: its HubDetails.xml, service, connections and record."""

from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import hub_details
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import port_before
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_url import (
    LOG, PLACES, service_of)
from ansible_collections.portshift.agents.plugins.module_utils._move.states import under_way
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_edit import HubEdit
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import shown_url
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST

# The name of the change that M(portshift.agents.confirmed_change) makes.
CHANGE = "change_tracker"
RECORD = "/var/lib/portshift/change_tracker.json"
# Options of every module that looks at an agent.
AGENT_SPEC = dict(
    path=dict(type="list", elements="path", default=PLACES), service=dict(type="str"),
    service_command=dict(type="list", elements="str", default=[]), log_path=dict(type="path"),
    required=dict(type="bool", default=True), record=dict(type="path", default=RECORD))

NAMES_OF_PROXY = ("https_proxy", "all_proxy")


class AgentHost:
    """What one host says of its agent.  What can't be read or told becomes a sentence in `problems`, and the rest is read."""

    def __init__(self, params, host=THIS_HOST):
        self.managed, self.params, self.problems, self.notes = host, params, [], []
        self.agent, self.edit, self.way, self.service, self.record = False, None, None, None, None
        self._find_agent()
        if self.edit:
            self._find_service()
        self._read_record()

    @property
    def under_way(self):
        """A sentence on a change that has not ended: all that was read before may be about to be something else."""
        return under_way(self.managed, self.params["record"], CHANGE)

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
            self.agent = any(self.managed.is_there(path) for path in candidates)
            if self.agent or self.params["required"]:
                self.edit = HubEdit(candidates, host=self.managed)
                self.way = hub_details.way(self.edit.file.before)
            else:
                self.notes.append("no agent of Change Tracker is installed here (no %s)" % ", ".join(candidates))
        except EngineError as err:
            # Once the edit is there, what follows knows its bytes alone.
            self.problems.append("%s: %s" % (self.edit.path, err) if self.edit else str(err))

    def _find_service(self):
        name = self.params["service"] or service_of(self.path) or service_of(self.managed.real_path(self.path))
        if not name:
            self.problems.append("%s: lies in no folder that tells which service reads it (%s); name the agent's service with "
                                 "service" % (self.path, self.managed.folder_of(self.path)))
            return
        self.service = self.managed.service(name, self.params["service_command"])
        try:
            self.service.look()
        except EngineError as err:
            self.problems.append(str(err))

    def _read_record(self):
        try:
            self.record = self.managed.record(self.params["record"])
        except EngineError as err:
            self.problems.append(str(err))

    @property
    def log_path(self):
        if self.params["log_path"] or not self.path:
            return self.params["log_path"] or self.path
        return self.managed.join(self.managed.folder_of(self.path), LOG)

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
        environment = {name.lower(): value for name, value in self.service.environment().items()}
        if _spared(self.way.host, environment.get("no_proxy", "")):
            return None
        names = NAMES_OF_PROXY if self.way.tls else ("http_proxy",) + NAMES_OF_PROXY[1:]
        return next((hub_details.proxy_of(environment[name]) for name in names if environment.get(name)), None)


def _spared(host, no_proxy):
    """Whether a variable C(no_proxy) names the host, or the domain that it is in."""
    entries = [entry.strip().lstrip(".").lower() for entry in no_proxy.split(",") if entry.strip()]
    return any(entry == "*" or host.lower() == entry or host.lower().endswith("." + entry) for entry in entries)
