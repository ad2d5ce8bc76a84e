#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: boks_plan
short_description: Puts the plan of a BoKS migration together
version_added: 0.2.0
description:
  - Makes one report out of what M(portshift.agents.boks_info) found on each host, and compares the hosts with each other. A
    domain has one base port, on the Master, the Replicas and the Server Agents.
options:
  domain:
    description: The result of M(portshift.agents.boks_domain).
    type: dict
    required: true
  assessment:
    description: The name of the host variable that holds the result of M(portshift.agents.boks_info).
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
  portshift.agents.boks_plan:
    domain: "{{ boks_domain }}"
    assessment: boks_assessment
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
problems:
  description:
    - What stands against the move of the domain as a whole. What stands against that of one host is with the host.
  returned: success
  type: list
  elements: str
"""
