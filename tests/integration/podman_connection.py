# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts in containers that Ansible manages by containers.podman.podman, without what podman costs for each command."""

import os
import shlex

# As much of podman as the connection plugin calls where pipelining is on: exec [-i] CONTAINER COMMAND...
PODMAN = """#!/bin/sh
test "$1" = exec || exit 125
while [ "$1" != {container} ]; do shift; done
shift
exec {entrance} "$@"
"""


def variables(engine, container, folder):
    """The variables of that host, for the runs until it boots: then another way leads into it.  `folder`: for a program."""
    podman = folder / ("podman-" + container)
    beside = folder / (podman.name + ".new")
    beside.write_text(PODMAN.format(container=shlex.quote(container), entrance=shlex.join(engine.entrance(container))))
    beside.chmod(0o755)
    # A run that has begun may be reading it.
    os.replace(beside, podman)
    return {"ansible_connection": "containers.podman.podman", "ansible_host": container,
            "ansible_podman_executable": str(podman), "ansible_python_interpreter": "/usr/bin/python3"}
