# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows hosts of the model that Ansible reaches over WinRM: one server, one network, a host for each name."""

from .host import Host
from .network import Network
from .wsman import Endpoint, Server


class Estate:
    """`real`: processes of this machine talk to its hosts (host.py).  Each Host has its Endpoint in `endpoint`."""

    def __init__(self, real=False, pin=None):
        self.real, self.pin = real, pin
        self.server, self.network, self.hosts = Server(), Network(), {}

    def add(self, name, *addresses, endpoint=None, **host):
        """`endpoint`: options of its Endpoint -> Host"""
        addresses = addresses or ("192.0.2.%d" % (10 + len(self.hosts)),)
        made = Host(name, addresses, self.network, **dict(dict(real=self.real, pin=self.pin), **host))
        made.endpoint = self.server.add(Endpoint(name, made.run, is_up=lambda: made.is_up, **(endpoint or {})))
        self.hosts[name] = made
        return made

    def variables(self, name):
        """Of an inventory: how Ansible reaches that host."""
        return self.hosts[name].endpoint.variables()

    def requests(self):
        """-> {host: {action: how many requests}}"""
        return {name: dict(host.endpoint.count()) for name, host in self.hosts.items()}

    def forget(self):
        """What was asked so far does not count."""
        for host in self.hosts.values():
            host.endpoint.forget()

    def pass_time(self, seconds):
        for host in self.hosts.values():
            host.pass_time(seconds)

    def close(self):
        self.server.close()
        for host in self.hosts.values():
            host.close()

    def __enter__(self):
        return self

    def __exit__(self, *_unused):
        self.close()
