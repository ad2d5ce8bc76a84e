# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that look at a whole BoKS host."""

from __future__ import annotations


class ModuleDocFragment:

    DOCUMENTATION = r"""
options:
  role:
    description:
      - What the host is in the domain; it decides which ports it has.
      - The default is what C(BOKSINIT) in O(env_path) says. Where that is V(server), it does not tell the Master from a Replica.
    type: str
    choices: [master, replica, agent]
  services_path:
    description:
      - The services database.
      - What it does not have is looked up in C(/usr/etc/services) where nsswitch.conf says C(files usrfiles), as on SLES 16.
    type: path
    default: /etc/services
  env_path:
    description: The file with the settings of BoKS, of which C(BRIDGE_DOMAIN) and C(BOKSINIT) are read.
    type: path
    default: /etc/opt/boksm/ENV
  record:
    description: The record of a migration on this host.
    type: path
    default: /var/lib/portshift/boks.json
  bind_address:
    description: Count only listeners that are bound to this address of the host, or to all. The default is to count every one.
    type: str
"""
