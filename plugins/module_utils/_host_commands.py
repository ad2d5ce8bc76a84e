# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the administration tools of a host are run."""

# A user's search path often lacks these, sudo's too.
ADMINISTRATION = "/usr/sbin:/sbin"
# What a shell answers for a command that is not there.
NOT_FOUND = 127


def run(module, command, data=None):
    """(exit status, output, error) of a tool that speaks English; a tool that is not there is an exit status, too."""
    try:
        return module.run_command(command, data=data, binary_data=isinstance(data, bytes), path_prefix=ADMINISTRATION,
                                  environ_update=dict(LANG="C", LC_ALL="C"), handle_exceptions=False)
    except OSError as err:
        return NOT_FOUND, "", "%s can't be run: %s" % (command[0], err.strerror or err)
