# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of a BoKS domain: its role, its files, and the ports that it is to listen on."""

import os
import socket

from ..lab_host import LabHost
from . import Refused

DEFAULT_BASE = 6500
# What answers on the base port N, on N+1, N+2, N+3; and which of them each role listens on.
DAEMONS = ("master", "servc", "servm", "clntd")
LISTENING = {
    "master": ((0, "tcp"), (1, "tcp"), (1, "udp"), (3, "tcp")),
    "replica": ((1, "tcp"), (1, "udp"), (2, "tcp"), (3, "tcp")),
    "agent": ((3, "tcp"),),
}


class Host(LabHost):
    # Named as the unit is.
    services = ("boksm",)

    @property
    def domain(self):
        return self.lab["domain"]

    # The product's files, where the product has them.
    @property
    def env(self):
        return self.path("etc/opt/boksm/ENV")

    @property
    def bcastaddr(self):
        return self.path("etc/opt/boksm/bcastaddr")

    @property
    def nodekey(self):
        return self.path("etc/opt/boksm/nodekey")

    @property
    def errlog(self):
        return self.path("var/opt/boksm/boks_errlog")

    @property
    def init(self):
        return self.path("opt/boksm/lib/boks_init")

    # The stand-in's own.
    @property
    def access_socket(self):
        return self.path("var/opt/boksm/boks_access")

    @property
    def pid_file(self):
        return self.path("var/opt/boksm/boks_init.pid")

    @property
    def boot_lock(self):
        return self.path("var/opt/boksm/Boot.lock")

    @property
    def ledger(self):
        """Of its logins."""
        return os.path.join(self.run_folder, "logins.txt")

    # -- what the files say
    def bridge_domain(self):
        """BRIDGE_DOMAIN of ENV; 0 without one."""
        number = 0
        with open(self.env) as stream:
            for line in stream:
                name, equals, value = line.strip().partition("=")
                if equals and name == "BRIDGE_DOMAIN":
                    value = value.strip().strip("'\"")
                    if not value.isdigit():
                        raise Refused("%s: BRIDGE_DOMAIN is %r, which is no number" % (self.env, value))
                    number = int(value)
        return number

    def servers(self):
        """The addresses of Master and Replicas, which are in bcastaddr one a line."""
        with open(self.bcastaddr) as stream:
            lines = [line.partition("#")[0].strip() for line in stream]
        return [line for line in lines if line]

    def bases(self):
        """-> {protocol: base port}, as this host looks `boks` up: whatever its nsswitch.conf names, the first answer."""
        shift = 10 * self.bridge_domain()
        tcp = _looked_up("tcp", DEFAULT_BASE)
        return {"tcp": tcp + shift, "udp": _looked_up("udp", tcp) + shift}


def _looked_up(protocol, otherwise):
    try:
        return socket.getservbyname("boks", protocol)
    except OSError:
        return otherwise
