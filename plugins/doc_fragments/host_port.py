# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that open ports in a host's firewall, and of those that look at them."""

from __future__ import annotations


class ModuleDocFragment:

    DOCUMENTATION = r"""
options:
  name:
    description: Marks the rules and names the record. 1 to 20 characters a-z, 0-9 and _, a letter first.
    type: str
    required: true
  openings:
    description: The ports. Required for O(state=open) and O(state=closed), and on Windows for every state.
    type: list
    elements: dict
    suboptions:
      port:
        description: The port, V(1) to V(65535).
        type: int
        required: true
      protocol:
        description: The protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      sources:
        description:
          - The sources to admit - addresses, networks such as V(10.1.2.0/24), or names that resolve on the host. Empty for all,
            over IPv4 and IPv6. Windows Firewall knows no names, so there a name is an error.
        type: list
        elements: str
        default: []
  backend:
    description:
      - The firewall that is changed. V(auto) takes the one that filters what comes in - firewalld, then ufw, then the rules of
        iptables, then those of nftables. V(none) leaves the firewall alone.
      - On a host that Ansible reaches through PowerShell, V(auto) is V(windows), and only V(none) may be given in place of it.
        Elsewhere V(windows) fails.
    type: str
    choices: [auto, firewalld, ufw, nftables, iptables, windows, none]
    default: auto
  zone:
    description: The zone of firewalld. The default is the host's default zone. Without a meaning on Windows.
    type: str
  reserve:
    description:
      - Keep TCP ports that lie in the range for outgoing connections (C(ip_local_port_range)) from being handed out, now and
        after a boot (C(ip_local_reserved_ports)).
      - On Windows nothing is reserved. A TCP port of the range that the host has for outgoing connections (C(netsh int ipv4 show
        dynamicport tcp), 49152 and up unless it was changed) is mentioned in RV(notes), with that range and with the command
        that reserves it. To read it, C(ansible.windows.win_powershell) is run once more.
    type: bool
    default: true
  selinux_type:
    description: The type that the ports are to have in SELinux, such as V(http_port_t). Without it, nothing is asked of SELinux.
      Without a meaning on Windows.
    type: str
  selinux:
    description:
      - V(auto) sets O(selinux_type) where SELinux is enabled, V(always) in the policy store even where the kernel does not
        enforce it, V(never) leaves it alone.
    type: str
    choices: [auto, always, never]
    default: auto
  record:
    description: The record on the host. The default is C(/var/lib/portshift/NAME.host_port.json). Without a meaning on Windows.
    type: path
"""
