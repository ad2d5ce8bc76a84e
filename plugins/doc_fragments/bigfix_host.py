# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that look at a whole BigFix host."""

from __future__ import annotations


class ModuleDocFragment:

    DOCUMENTATION = r"""
options:
  options:
    description:
      - Options of this module in one dictionary, those that it requires included. One that is given beside it counts first.
      - For roles, where many options are templates - Ansible compiles each of them anew for each host.
    type: dict
    version_added: 0.2.0
  component:
    description: What the host is in the deployment; it decides which settings it has to have.
    type: str
    choices: [server, relay, client]
    required: true
  port:
    description: The port that the host has to end on.
    type: int
    required: true
  previous_port:
    description:
      - The port that the host moves away from.
      - The default is what O(record) says, or else the one port other than O(port) that the files hold.
    type: int
  masthead_paths:
    description: Places where a masthead may lie. Those that exist are looked at; at least one has to.
    type: list
    elements: path
    required: true
  settings_paths:
    description:
      - Settings files of the agent, C(besclient.config) first. Those that exist are looked at; the first has to.
    type: list
    elements: path
    required: true
  clientsettings_paths:
    description: Places where a C(clientsettings.cfg) may lie, which the agent reads at installation only.
    type: list
    elements: path
    default: []
  credentials_paths:
    description:
      - Places where a server may have the credentials for its own REST API, such as
        C(/var/opt/BESServer/Applications/MasterOperatorCredentials). Of those that exist the port of C(RESTURL) is looked at, and
        moved; nothing else of them is read or shown.
    type: list
    elements: path
    default: []
    version_added: 0.2.0
  record:
    description: The record of a migration on this host.
    type: path
"""
