# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of a Change Tracker estate: what it is, and its files."""

import os

from ..lab_host import LabHost
from .windows import USUAL_FOLDER

# The services of agents, and where each has its files.
PLACES = {
    "nntgen7agentcore": "var/nnt/gen7agent.app.netcore",
    "nntgen7agent": "var/nnt/gen7agent.service",
}
HUB_SERVICE = "nnthub"
IIS_SERVICE = "w3svc"      # what stands in for IIS on a hub with Windows
SMB_SERVICE = "portshift-lab-smb"
APPLICATION_PORT = 5000    # of the hub, behind nginx or IIS, for its own host alone
SMB_PORT = 445
KINDS = {"linux": 22, "network": 22, "windows": SMB_PORT}    # what a proxy connects to, by the kind of host


class Host(LabHost):
    @property
    def service(self):
        """The agent's; None on a host that has no agent."""
        return self.lab["hosts"][self.name].get("service")

    @property
    def services(self):
        if self.role == "hub":
            return (HUB_SERVICE, IIS_SERVICE if self.has_iis else self.service)
        return (self.service or SMB_SERVICE,)

    @property
    def has_iis(self):
        """A hub on Windows, as far as the lab goes: it has no agent of its own."""
        return self.lab["hosts"][self.name].get("server") == "iis"

    @property
    def monitored(self):
        """What the agent of this host monitors: [{host, kind}]"""
        return self.lab["hosts"][self.name].get("monitored", [])

    # The agent's files, where the agent has them.
    @property
    def folder(self):
        return self.path(PLACES[self.service])

    @property
    def hub_details(self):
        return os.path.join(self.folder, "HubDetails.xml")

    @property
    def agent_id(self):
        return os.path.join(self.folder, "agent.id")

    @property
    def log(self):
        return os.path.join(self.folder, "rolling-log.txt")

    @property
    def machine_id(self):
        return self.path("etc/machine-id")

    # The hub's.
    @property
    def site(self):
        return self.path("etc/nginx/conf.d/nnt.conf")

    @property
    def certificate(self):
        return self.path("etc/nginx/nnt/hub.crt")

    @property
    def key(self):
        return self.path("etc/nginx/nnt/hub.key")

    @property
    def windows(self):
        """The folder that stands for the machine of a hub on Windows."""
        return self.path(USUAL_FOLDER.lstrip("/"))

    # The stand-ins' own.
    @property
    def seal(self):
        """What E1 is sealed with, beside the machine's identity."""
        return os.path.join(self.run_folder, "seal")

    @property
    def ledger(self):
        """Of the heartbeats that this host's agent sent."""
        return os.path.join(self.run_folder, "heartbeats.txt")

    @property
    def login(self):
        """The hub's: who may report, as USERNAME:PASSWORD."""
        return os.path.join(self.lab_folder, "login")

    @property
    def arrivals(self):
        """The hub's: the heartbeats that arrived."""
        return os.path.join(self.run_folder, "arrivals.txt")

    @property
    def monitoring(self):
        """The hub's: what proxies said of the hosts that they monitor."""
        return os.path.join(self.run_folder, "monitoring.txt")
