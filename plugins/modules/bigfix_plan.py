#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_plan
short_description: Puts the plan of a BigFix migration together
version_added: 0.1.0
description:
  - Makes one report out of what M(portshift.agents.bigfix_info) found on each host, and compares the hosts with each other.
options:
  topology:
    description: The result of M(portshift.agents.bigfix_topology).
    type: dict
    required: true
  assessment:
    description: The name of the host variable that holds the result of M(portshift.agents.bigfix_info).
    type: str
    required: true
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.variables_only
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Put the plan together
  portshift.agents.bigfix_plan:
    topology: "{{ bigfix_topology }}"
    assessment: bigfix_component_assessment
  run_once: true
"""

RETURN = r"""
report:
  description: The lines of the report.
  returned: success
  type: list
  elements: str
pending:
  description: The hosts on which something would change.
  returned: success
  type: list
  elements: str
masthead_host:
  description: The root server's name, as the mastheads have it; null where no host has said it.
  returned: success
  type: str
  version_added: 0.2.0
problems:
  description:
    - What stands against the move of the deployment as a whole. What stands against that of one host is with the host.
  returned: success
  type: list
  elements: str
"""
