# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub with IIS of a Change Tracker lab (tests/lab), which is a container, as a Windows host; and agents on Windows beside
those of the lab, of which it takes heartbeats, too.

Files and registry are the model's; IIS, http.sys's sockets and Windows Firewall are those of the container.
"""

import ipaddress
import json
import os

from tests.lab import change_tracker_lab, containers
from tests.lab.change_tracker.host import Host as LabHost
from tests.lab.change_tracker.windows import USUAL_FOLDER, Machine

from . import change_tracker
from .host import Host
from .wsman import Endpoint, Server


class LabHub:
    """`lab`: the folder of the lab."""

    def __init__(self, lab):
        with open(os.path.join(str(lab), "lab.json")) as stream:
            self.described = json.load(stream)
        hub = self.described["hosts"]["hub"]
        if hub.get("server") != "iis":
            raise ValueError("the hub of the lab in %s is none with IIS: start one with --hub iis" % lab)
        self.container, self.port = hub["container"], self.described["port"]
        self.server = Server()
        self.host = Host("hub", (hub["address"],), real=True)
        self.host.files.folder("C:\\inetpub\\wwwroot")
        self.host.outside.all = True
        self.host.endpoint = self.endpoint = self.server.add(Endpoint("hub", self.host.run))
        self.host.network.real.append(ipaddress.ip_network(self.described["network"]))
        # Those of its own, by their names; and the groups of all but the hub.
        self.agents, self.groups = {}, {}

    def add_agent(self, name, group=None):
        """`group`: of the inventory; None for the agent of the hub itself -> its Host"""
        host = self.host
        if group:
            host = Host(name, ("192.0.2.%d" % (10 + len(self.agents)),), self.host.network, real=True)
            host.endpoint = self.server.add(Endpoint(name, host.run))
            self.groups.setdefault(group, []).append(name)
        # All agents have one login, which the hub knows.
        with open(LabHost(self.root(), None, self.described, "hub").login) as stream:
            password = stream.read().strip().partition(":")[2]
        host.agent = change_tracker.install_agent(host, change_tracker_lab.hub_details(
            change_tracker_lab.WINDOWS, self.port, password, self._thumbprint()))
        self.agents[name] = host
        return host

    def _thumbprint(self):
        return self.host.iis.ssl_table()["0.0.0.0:%d" % self.port]["hash"]

    def take_agents_away(self):
        for host in self.agents.values():
            if host is not self.host:
                host.close()
                self.host.network.hosts.remove(host)
            else:
                # At once, so that nothing holds its files.
                host.services.crash(change_tracker.SERVICE, 0)
                host.files.remove_tree(change_tracker.NNT)
                del host.services.known[change_tracker.SERVICE.lower()]
        self.agents, self.groups = {}, {}

    def root(self):
        """-> the root of the container as it runs now"""
        engine = containers.Engine(self.described["containers"]["engine"])
        return "/proc/%s/root" % engine.run("inspect", "--format", "{{.State.Pid}}", self.container).decode().strip()

    def follow(self):
        """What is behind it is the container."""
        root = self.root()
        self.host.outside.proc, self.host.outside.net = root + "/proc", root + "/proc/1"
        self.host.iis = self.host.firewall = Machine(root + USUAL_FOLDER)

    def write_inventory(self, path):
        """How the hub and the agents are reached, for a second -i."""
        self.follow()
        children = {group: dict(hosts={name: self.agents[name].endpoint.variables("ansible_winrm_") for name in names})
                    for group, names in self.groups.items()}
        with open(path, "w") as stream:
            json.dump(dict(all=dict(hosts=dict(hub=self.endpoint.variables("ansible_winrm_")), children=children)), stream,
                      indent=1)

    def close(self):
        self.server.close()
        self.take_agents_away()
        self.host.close()
