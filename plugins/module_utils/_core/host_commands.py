# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the administration tools of a host are run."""

from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import ADMINISTRATION, BoundedModule
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import ChangedMeanwhile

# Seconds that a tool may take.
TOOL_SECONDS = 120
# How often a change is planned anew because another process overtook it.
ATTEMPTS = 3
# What a shell answers for a command that is not there.
NOT_FOUND = 127


def run(module, command, data=None):
    """(exit status, output, error) of a tool that speaks English; a tool that is not there is an exit status, too.

    CommandTimeout when it did not end in time.
    """
    if hasattr(module, "exit_json"):
        # run_command of an AnsibleModule knows no time limit.
        module = BoundedModule(TOOL_SECONDS)
    try:
        return module.run_command(command, data=data, binary_data=isinstance(data, bytes), path_prefix=ADMINISTRATION,
                                  environ_update=dict(LANG="C", LC_ALL="C"), handle_exceptions=False)
    except OSError as err:
        return NOT_FOUND, "", "%s can't be run: %s" % (command[0], err.strerror or err)


class Reader:
    """What reads a host by its tools, each thing once until it is told to forget: rules may be thousands."""

    def __init__(self, module):
        self.module, self._known = module, {}

    def _run(self, command, data=None):
        return run(self.module, command, data)

    def _once(self, what, read):
        if what not in self._known:
            self._known[what] = read()
        return self._known[what]

    def _on_what_is_there(self, change):
        """What change() returns; where another process overtook it, it is planned anew on what is there by then."""
        for _attempt in range(ATTEMPTS - 1):
            try:
                return change()
            except ChangedMeanwhile:
                self._known = {}
        return change()
