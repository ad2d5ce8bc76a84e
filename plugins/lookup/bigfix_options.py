# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module is asked of a BigFix host; documented below."""

from __future__ import annotations

DOCUMENTATION = r"""
name: bigfix_options
author:
  - The portshift.agents authors (@portshift)
version_added: 0.2.0
short_description: What a module is asked of a BigFix host
description:
  - For the roles of this collection, which say in one variable what a BigFix host is made of. No part of the public contract -
    the keys of that variable change with the roles.
  - The result is for the option C(options) of M(portshift.agents.bigfix_info), M(portshift.agents.bigfix_cutover) and
    M(portshift.agents.bigfix_evidence), or holds options of M(portshift.agents.port_bridge) or M(portshift.agents.host_port).
options:
  _terms:
    description:
      - V(look) for M(portshift.agents.bigfix_info); V(move), V(finish) and V(back) for M(portshift.agents.bigfix_cutover), which
        goes to the new port, finishes what was begun, or goes back; V(evidence) for M(portshift.agents.bigfix_evidence).
      - V(bridge) for M(portshift.agents.port_bridge), V(host_port) for M(portshift.agents.host_port).
      - V(path) for the targets of M(portshift.agents.port_probe), none for a host without a parent; V(parent_moved) for the same
        where the masthead of the parent has to name the port; V(probe_timeout) for O(portshift.agents.port_probe#module:wait);
        V(prober) for the name of the host that probes in place of this one, empty where it is this one.
    required: true
  of:
    description: The name of the variable that says what the host is made of, a dictionary.
    type: str
    default: bigfix_component_host
  assessment:
    description: The result of M(portshift.agents.bigfix_info) for this host, which names the neighbours that have to stay.
    type: dict
    default: {}
  back_to:
    description: The port that the host goes back to, for V(path) and V(parent_moved); 0 where it does not go back.
    type: int
    default: 0
notes:
  - It reads the values of that variable as a template would, but compiles none for those that only name another variable. A
    template for each option takes about a millisecond of CPU for each host.
"""

EXAMPLES = r"""
- name: Read where this host keeps its port and who listens
  portshift.agents.bigfix_info:
    options: "{{ lookup('portshift.agents.bigfix_options', 'look') }}"
"""

RETURN = r"""
_raw:
  description: For each term what was asked for, such as the options of the module that have a value.
  type: list
  elements: raw
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.portshift.agents.plugins.plugin_utils._bigfix_options import ASKED, PARTS, PATHS
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Variables
from ansible_collections.portshift.agents.plugins.plugin_utils._values import Values


class LookupModule(LookupBase):

    def run(self, terms: list[Any], variables: Variables | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        name, known = self.get_option("of"), variables or {}
        if name not in known:
            raise AnsibleError("bigfix_options: there is no variable %s" % name)
        host, neighbours = Values(known, self._templar, name), self.get_option("assessment").get("neighbours") or ()
        found = []
        for what in terms:
            if what in PARTS:
                found.append(PARTS[what](host))
            elif what in PATHS:
                found.append(PATHS[what](host, self.get_option("back_to")))
            elif what in ASKED:
                found.append(ASKED[what](host, neighbours))
            else:
                raise AnsibleError("bigfix_options: %r is none of %s" % (what, ", ".join([*ASKED, *PARTS, *PATHS])))
        return found
