# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that lay a port bridge or look at one."""

from __future__ import annotations


class ModuleDocFragment:

    DOCUMENTATION = r"""
options:
  name:
    description: The name of the bridge. A host has one direction per name.
    type: str
    required: true
  listen_port:
    description: The port on which no service listens, V(1) to V(65535).
    type: int
  target_port:
    description: The port on which the service listens, V(1) to V(65535).
    type: int
  mappings:
    description: Several ports that are bridged at once, in the place of O(listen_port) and O(target_port).
    type: list
    elements: dict
    version_added: 0.2.0
    suboptions:
      listen_port:
        description: The port on which no service listens.
        type: int
        required: true
      target_port:
        description: The port on which the service listens. Not one that is a O(mappings[].listen_port) too.
        type: int
        required: true
      protocols:
        description: The protocols of this one. The default is O(protocols).
        type: list
        elements: str
        choices: [tcp, udp]
  protocols:
    description: The protocols that are bridged.
    type: list
    elements: str
    choices: [tcp, udp]
    default: [tcp, udp]
  addresses:
    description:
      - Bridge these addresses of the host only. The default is all of them.
      - IP addresses without a prefix and without a zone. Neither names nor addresses that stand for all of them.
    type: list
    elements: str
    default: []
  backend:
    description:
      - What the rules are written with. V(auto) takes V(nftables) where the C(nft) command is, V(iptables) otherwise.
    type: str
    choices: [auto, nftables, iptables]
    default: auto
  persistent:
    description: Bring the bridge back after a boot, by a systemd unit. Without systemd that is a failure; say V(false) then.
    type: bool
    default: true
  rules_dir:
    description: The folder of the file with the rules, an absolute path of letters, digits and C(_.-+@,).
    type: path
    default: /etc/portshift
  unit_dir:
    description: The folder of the systemd unit, an absolute path as O(rules_dir) is.
    type: path
    default: /etc/systemd/system
"""
