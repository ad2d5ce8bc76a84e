# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of another host, looked up once however many are asked for.

Each C(hostvars[host]) puts all variables of that host together anew, and each value of it is templated, however long it is.  What
a task has left there holds no template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import HostVars


def is_template(value: object) -> bool:
    if isinstance(value, str):
        return "{{" in value or "{%" in value or "{#" in value
    if isinstance(value, Mapping):
        return any(map(is_template, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(is_template, value))
    # What is encrypted is for Ansible to open.
    return not isinstance(value, (bool, int, float, type(None)))


# By these a host tells what it is.
TELLING = ("ansible_connection", "ansible_shell_type", "ansible_os_family")


class HostVariables:
    """The variables of one host."""

    def __init__(self, hostvars: HostVars, host: str) -> None:
        found = hostvars.raw_get(host)
        self._hostvars, self._host = hostvars, host
        # Of a host that is not in the inventory there is something undefined.
        self._raw: Mapping[str, Any] = found if isinstance(found, Mapping) else {}

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    def get(self, name: str, default: object = None) -> Any:
        if name not in self._raw:
            return default
        value = self._raw[name]
        return self._hostvars[self._host][name] if is_template(value) else value


def is_windows(variables: HostVariables | Mapping[str, Any]) -> bool:
    """By how Ansible is told to talk to the host: no task has run there yet."""
    connection, shell, system = (str(variables.get(name)) for name in TELLING)
    return connection.rsplit(".", 1)[-1] in ("winrm", "psrp") or shell.rsplit(".", 1)[-1] in ("powershell", "cmd") or (
        system == "Windows")
