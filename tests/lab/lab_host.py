# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of a lab whose hosts are containers, as the stand-ins on it and the lab itself see it."""

import json
import os
import socket

LAB_FOLDER = "/opt/portshift-lab"


class LabHost:
    """A product has a subclass, which knows where the product's files are."""

    def __init__(self, root, lab_file, lab, name):
        self.root = root
        self.lab_file = lab_file
        self.lab = lab
        self.name = name
        self.role = lab["hosts"][name]["role"]
        self.address = lab["hosts"][name]["address"]
        self.lab_folder = os.path.join(root, LAB_FOLDER.lstrip("/"))

    @classmethod
    def load(cls):
        """The host that this process runs on."""
        lab_file = os.path.join(LAB_FOLDER, "lab.json")
        with open(lab_file) as stream:
            lab = json.load(stream)
        return cls("/", lab_file, lab, socket.gethostname())

    def of_role(self, *roles):
        """-> [(name, address)]"""
        return [(name, host["address"]) for name, host in self.lab["hosts"].items() if host["role"] in roles]

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    # -- the stand-ins' own
    @property
    def run_folder(self):
        return os.path.join(self.lab_folder, "run")

    def run(self, service, suffix):
        return os.path.join(self.run_folder, service + suffix)

    @property
    def fault(self):
        return os.path.join(self.lab_folder, "fault")

    def refuses(self, port):
        """Whether it was told not to start on that port."""
        try:
            with open(self.fault) as stream:
                return stream.read().strip() == "refuse-port:%d" % port
        except FileNotFoundError:
            return False
