# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of the lab: a folder that looks like the host's root directory, an address, a role."""

import json
import os

SERVICES = {
    # In the vendor's start order; stop in reverse.
    "server": ("besserver", "besfilldb", "besgatherdb", "beswebreports", "besclient"),
    "relay": ("besrelay", "besclient"),
    "client": ("besclient",),
}


class Host:
    def __init__(self, root, lab_file, lab, name):
        self.root = root
        self.lab_file = lab_file
        self.lab = lab
        self.name = name
        self.role = lab["hosts"][name]["role"]
        self.parent = lab["hosts"][name]["parent"]
        self.address = lab["hosts"][name]["address"]
        self.services = SERVICES[self.role]
        # A folder is the host's own from the top; in a container the lab keeps to a corner.
        self.lab_folder = os.path.join(root, lab.get("folder_in_container", "").lstrip("/"))

    @classmethod
    def load(cls, root, lab_file=None, name=None):
        """LABDIR/hosts/NAME says it all; a container has `/` for its root and names the other two."""
        root = os.path.abspath(root)
        lab_file = lab_file or os.path.join(os.path.dirname(os.path.dirname(root)), "lab.json")
        with open(lab_file) as stream:
            lab = json.load(stream)
        return cls(root, lab_file, lab, name or os.path.basename(root))

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    # The product's files, where the product has them.
    @property
    def client_config(self):
        return self.path("var/opt/BESClient/besclient.config")

    @property
    def client_masthead(self):
        return self.path("etc/opt/BESClient/actionsite.afxm")

    @property
    def client_log_folder(self):
        return self.path("var/opt/BESClient/__BESData/__Global/Logs")

    @property
    def relay_chain_folder(self):
        return self.path("var/opt/BESClient/__BESData/__Global/RelayChain")

    @property
    def relay_config(self):
        return self.path("var/opt/BESRelay/besrelay.config")

    @property
    def server_config(self):
        return self.path("var/opt/BESServer/besserver.config")

    @property
    def server_masthead(self):
        return self.path("var/opt/BESServer/BESServer/Masthead.afxm")

    @property
    def server_actionsite(self):
        return self.path("etc/opt/BESServer/actionsite.afxm")

    @property
    def server_credentials(self):
        return self.path("var/opt/BESServer/Applications/MasterOperatorCredentials")

    # The lab's own files.
    @property
    def ledger(self):
        return self.path("var/opt/BESServer/lab-ledger.txt")

    @property
    def fault(self):
        return os.path.join(self.lab_folder, "fault")

    @property
    def run_folder(self):
        return os.path.join(self.lab_folder, "run")

    def run(self, service, suffix):
        return os.path.join(self.run_folder, service + suffix)
