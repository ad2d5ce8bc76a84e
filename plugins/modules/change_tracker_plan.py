#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: change_tracker_plan
short_description: Puts the plan of a Change Tracker migration together
version_added: 0.2.0
description:
  - Makes one report out of what M(portshift.agents.change_tracker_info) found on each host, and compares the hosts with each
    other. Agents of one hub have its port in their URL, so that those which are to move come from one port.
  - Never shows what stands in an agent's file beside the URL.
options:
  estate:
    description: The result of M(portshift.agents.change_tracker_estate).
    type: dict
    required: true
  assessment:
    description: The name of the host variable that holds the result of M(portshift.agents.change_tracker_info).
    type: str
    required: true
  hub_assessment:
    description: The name of the host variable that holds what was found on the hub. Without it, the report is about agents alone.
    type: str
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.variables_only
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Put the plan together
  portshift.agents.change_tracker_plan:
    estate: "{{ change_tracker_estate }}"
    assessment: change_tracker_assessment
    hub_assessment: change_tracker_hub_assessment
  run_once: true
"""

RETURN = r"""
report:
  description: The lines of the report.
  returned: success
  type: list
  elements: str
pending:
  description: The hosts whose agent would change.
  returned: success
  type: list
  elements: str
old_port:
  description:
    - The port that the agents leave - the one of those that are to move, or where none is, the one that the records of the
      hosts name. V(null) when there is none, or several.
  returned: success
  type: int
hubs:
  description: The hosts by the name or address of the hub that their URL holds.
  returned: success
  type: dict
problems:
  description:
    - What stands against the move of the estate as a whole. What stands against that of one host is with the host.
  returned: success
  type: list
  elements: str
"""
