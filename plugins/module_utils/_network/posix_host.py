# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host on which this process runs, with its network."""

from ansible_collections.portshift.agents.plugins.module_utils._core import posix_host
from ansible_collections.portshift.agents.plugins.module_utils._network import listeners
from ansible_collections.portshift.agents.plugins.module_utils._network.names import addresses_of
from ansible_collections.portshift.agents.plugins.module_utils._network.probe import probe_all


class PosixHost(posix_host.PosixHost):
    """This host, whole.  What it tells of sockets is Linux' own, from /proc."""

    def listeners(self, ports, address=None, every_owner=False):
        return listeners.listeners(set(ports), address, every_owner=every_owner)

    def own_listener(self, port, address):
        # Here, since few hosts have one, and each module run compiles anew what it imports.
        from ansible_collections.portshift.agents.plugins.module_utils._network.listener import running, state_path
        return (running(state_path(port, address)) or {}).get("pid")

    def outgoing(self, port, address=None):
        return listeners.outgoing(port, address)

    def connections(self, addresses, port):
        return listeners.connections(addresses, port)

    def addresses_of(self, name):
        return addresses_of(name)

    def own_addresses(self):
        return listeners.own_addresses()

    def ephemeral_ports(self):
        return listeners.ephemeral_ports()

    def probe(self, targets, timeout, wait=0):
        return probe_all(targets, timeout, wait)


THIS_HOST = PosixHost()
