# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The family of the host's operating system; documented below."""

from __future__ import annotations

DOCUMENTATION = r"""
name: host_family
author:
  - The portshift.agents authors (@portshift)
version_added: 0.2.0
short_description: The family of a host's operating system, without asking the host
description:
  - For the defaults of this collection's roles, whose paths and services differ by family, in plays that gather no facts.
  - A host is one of Windows when C(ansible_connection) is V(winrm) or V(psrp), or C(ansible_shell_type) is V(powershell) or
    V(cmd). Any other host is one of V(posix).
options:
  _terms:
    description:
      - Names of hosts of the inventory. Without any, the host itself.
      - A name that the inventory does not have is one of V(posix).
"""

EXAMPLES = r"""
- name: Show where the agent's log is
  ansible.builtin.debug:
    msg: "{{ {'posix': '/var/log/agent.log', 'windows': 'C:/agent.log'}[lookup('portshift.agents.host_family')] }}"

- name: Show what another host is
  ansible.builtin.debug:
    msg: "{{ lookup('portshift.agents.host_family', 'relay1.example.com') }}"
"""

RETURN = r"""
_raw:
  description: V(windows) or V(posix).
  type: list
  elements: str
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Variables
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import TELLING, HostVariables, is_windows


class LookupModule(LookupBase):

    def run(self, terms: list[Any], variables: Variables | None = None, **kwargs: Any) -> list[str]:
        own = variables or {}
        if terms:
            found = [is_windows(HostVariables(own["hostvars"], term)) for term in terms]
        else:
            found = [is_windows({name: self._templar.template(own[name]) for name in TELLING if name in own})]
        return ["windows" if one else "posix" for one in found]
