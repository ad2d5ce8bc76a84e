# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping and starting services of a host, by its service manager or by a command that the site gives."""

import os

from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._redaction import shown_words

# What a service says in vain is said at the end.
TOLD_LINES = 4


class ServiceError(EngineError):
    """A service that did not do as told; the sentence has its own last words."""


class Services:
    """The services `names`, in the order in which they start.

    `command`: called with SERVICE and start, stop or status, as service(8) is.  Empty: systemctl where systemd runs,
    else service(8).
    """

    def __init__(self, module, names, command):
        self.module, self.names, self.command = module, names, command
        self.systemd = not command and os.path.isdir("/run/systemd/system")

    def _run(self, name, action):
        if self.systemd:
            action = "is-active" if action == "status" else action
            return self.module.run_command(["systemctl", action, name])
        return self.module.run_command((self.command or ["service"]) + [name, action])

    def _told(self, name, action):
        code, out, err = self._run(name, action)
        if code:
            lines = [line.strip() for line in (out + "\n" + err).splitlines() if line.strip()][-TOLD_LINES:]
            words = " / ".join(map(shown_words, lines))
            raise ServiceError("service %s could not %s: %s" % (name, action, words or "exit status %d" % code))

    def stop(self):
        """Stops all, last started first."""
        for name in reversed(self.names):
            try:
                self._told(name, "stop")
            except ServiceError:
                # Some scripts fail when there is nothing to stop; what counts is that nothing runs.
                if self._run(name, "status")[0] == 0:
                    raise

    def start(self):
        """Starts those that don't run.  Returns their names."""
        down = [name for name in self.names if self._run(name, "status")[0]]
        for name in down:
            self._told(name, "start")
        return down

    def down(self):
        """The names of those that don't run."""
        return [name for name in self.names if self._run(name, "status")[0]]
