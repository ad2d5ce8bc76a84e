# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option by which the processes of services are found."""

from __future__ import annotations


class ModuleDocFragment:

    DOCUMENTATION = r"""
options:
  executables:
    description:
      - For each of the O(services) a list of the paths of what it runs, by which its processes are found wherever they were
        started. A script counts by its own path.
      - With systemd, the processes in the cgroup of the service's unit are found as well.
      - Only processes of root and of the user that the module runs as are looked at.
    type: dict
    default: {}
    version_added: 0.2.0
"""
