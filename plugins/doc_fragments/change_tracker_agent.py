# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that look at a Change Tracker agent."""

from __future__ import annotations


class ModuleDocFragment:

    DOCUMENTATION = r"""
options:
  path:
    description:
      - The agent's C(HubDetails.xml), or the places where it may lie, of which exactly one has to be there.
      - The default is as M(portshift.agents.change_tracker_hub_url) has it. On a Windows host it is
        C(NNT\gen7agent.app.netcore\HubDetails.xml) and C(NNT\gen7agent.service\HubDetails.xml), in the folder that the registry
        names for the data of programs, C({data}), as a rule C(C:\ProgramData).
    type: list
    elements: path
    default:
      - /var/nnt/gen7agent.app.netcore/HubDetails.xml
      - /var/nnt/gen7agent.service/HubDetails.xml
      - /etc/NNT/gen7agent.app.netcore/HubDetails.xml
  service:
    description:
      - The service of the agent.
      - The default is V(nntgen7agentcore) for a file in a folder C(gen7agent.app.netcore), and V(nntgen7agent) for one in
        C(gen7agent.service). On Windows these are V(Gen7AgentCore) and V(Gen7Agent); of the latter no page of Netwrix tells.
    type: str
  service_command:
    description:
      - A command that is called with the service and V(status), and ends with exit status 0 when it runs.
      - The default is C(systemctl) where systemd runs, and C(service) elsewhere. With systemd it is also known which
        connections are those of the service. A Windows host has its service manager, and is refused with one.
    type: list
    elements: str
    default: []
  log_path:
    description: The log of the agent. The default is C(rolling-log.txt) beside its C(HubDetails.xml).
    type: path
  required:
    description: Whether there has to be an agent. With V(false), a host without one is fine, as the host of the hub may be.
    type: bool
    default: true
  record:
    description:
      - The record of a migration on this host.
      - The folder of a change of M(portshift.agents.confirmed_change) named C(change_tracker) is looked for beside it.
      - The default on a Windows host is C(C:\ProgramData\portshift\change_tracker.json).
    type: path
    default: /var/lib/portshift/change_tracker.json
"""
