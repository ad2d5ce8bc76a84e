# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub with IIS of a Change Tracker lab (tests/lab), which is a container, as a Windows host.

Files and registry are the model's; IIS, http.sys's sockets and Windows Firewall are those of the container.
"""

import json
import os

from tests.lab import containers
from tests.lab.change_tracker.windows import USUAL_FOLDER, Machine

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
        self.container = hub["container"]
        self.server = Server()
        self.host = Host("hub", (hub["address"],), real=True)
        self.host.files.folder("C:\\inetpub\\wwwroot")
        self.host.outside.all = True
        self.endpoint = self.server.add(Endpoint("hub", self.host.run))

    def follow(self):
        """What is behind it is the container as it runs now."""
        engine = containers.Engine(self.described["containers"]["engine"])
        number = engine.run("inspect", "--format", "{{.State.Pid}}", self.container).decode().strip()
        root = "/proc/%s/root" % number
        self.host.outside.proc, self.host.outside.net = root + "/proc", root + "/proc/1"
        self.host.iis = self.host.firewall = Machine(root + USUAL_FOLDER)

    def write_inventory(self, path):
        """How the hub is reached, for a second -i."""
        self.follow()
        with open(path, "w") as stream:
            json.dump(dict(all=dict(hosts=dict(hub=self.endpoint.variables("ansible_winrm_")))), stream, indent=1)

    def close(self):
        self.server.close()
        self.host.close()
