# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What leading an agent of Change Tracker to another port of its hub would change, and what stands against it."""

from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_edit import HubEdit
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import shown_url


class Move:
    """What leading an agent to `port` would change, and what stands against it."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.problems, self.notes = list(host.problems), list(host.notes)
        self.problems += [host.under_way] if host.under_way else []
        self.edits, self.new_url = [], None
        if host.edit and port is not None:
            self._plan()
        if host.way:
            self._note()

    def _plan(self):
        try:
            edit = HubEdit([self.host.path], port=self.port, host=self.host.managed)
            self.new_url = shown_url(edit.after.url)
            if edit.file.after == edit.file.before:
                return
            self.notes += self.host.managed.require_writable(edit.path, len(edit.file.after))
            self.edits = [dict(kind="hub_url", path=edit.path, port=edit.after.port, previous_port=edit.before.port,
                               url=self.new_url, previous_url=self.host.shown_url)]
        except EngineError as err:
            self.problems.append(str(err))

    def _note(self):
        host, path = self.host, self.host.path
        if host.service and host.service.active is False:
            self.notes.append("the service %s does not run; moving the agent starts it" % host.service.name)
        if host.way.odd_thumbprint:
            self.notes.append("%s: its <Thumbprint> is not one of 40 or 64 hexadecimal digits, so that the hub's certificate is "
                              "not compared with it before the move" % path)
        if host.way.thumbprint and not host.way.tls:
            self.notes.append("%s: has a <Thumbprint>, but a URL without TLS, so that no certificate is compared with it" % path)
        if host.proxy():
            self.notes.append("an HTTP proxy stands between this agent and its hub; it has to let connections to the new port "
                              "through, which can't be tried from here")


def described(host, move):
    """What the module returns of the agent itself."""
    details, way, service = host.details, host.way, host.service
    return dict(
        agent=host.agent, path=host.path, url=host.shown_url, new_url=move.new_url, host=way and way.host,
        url_path=way and way.path, tls=way and way.tls, port=details and details.port, old_port=host.old_port(move.port),
        service=service and service.name, service_active=service and service.active,
        stop=service and service.words("stop"), start=service and service.words("start"), thumbprint=way and way.thumbprint,
        through_proxy=bool(host.proxy()) if way else None, log_path=host.log_path, edits=move.edits,
        record=host.record.content if host.record else None)
