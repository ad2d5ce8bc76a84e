# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Change Tracker estate in containers for tests, and the playbooks run against it as a user runs them."""

import json
import re
from xml.etree import ElementTree

from tests.integration.product_lab import ProductLab
from tests.lab.change_tracker.windows import USUAL_FOLDER
from tests.windows.lab_hub import LabHub

OLD, NEW = 443, 8443
WINDOWS = USUAL_FOLDER    # what stands for the machine of a hub with IIS
# All that a migration could move; the log is written by the agents while they run.
PRODUCT_FILES = "set -- /var/nnt /etc/NNT /etc/nginx %s/applicationHost.config %s/firewall.json" % (WINDOWS, WINDOWS) + r"""
find "$@" -name rolling-log.txt -prune -o \( -type f -o -type l \) -printf '%m %U %G %p\n' 2>/dev/null
echo --
find "$@" -name rolling-log.txt -prune -o -type f -exec sha256sum {} + 2>/dev/null
"""
SITE = "/etc/nginx/conf.d/nnt.conf"


class Estate(ProductLab):
    PRODUCT = "change_tracker"

    # Where the hub is one with IIS.
    windows = None

    def start(self, *arguments):
        super().start(*arguments)
        if self.described["hosts"]["hub"].get("server") == "iis":
            self.windows = LabHub(self.folder)
        return self

    def stop(self):
        if self.windows:
            self.windows.close()
        super().stop()

    def begin_file(self, path, *options, **environment):
        if self.windows:
            inventory = self.folder.parent / "windows.json"
            self.windows.write_inventory(inventory)
            options = ("-i", str(inventory), *options)
        return super().begin_file(path, *options, **environment)

    @property
    def agents(self):
        """The hosts with an agent: those of the proxy and, where it answers with nginx, the hub, too."""
        return [name for name, host in self.described["hosts"].items() if "service" in host]

    def service(self, host):
        return self.described["hosts"][host]["service"]

    def heartbeats(self, *arguments):
        """-> whether they are as they should be, and what `heartbeats --json` prints."""
        return self.judged("heartbeats", *arguments)

    def ports(self):
        """{host: the port of the hub on which its agent's last heartbeat was taken; None when the last one was not}"""
        status = self.status()
        return {host: status[host]["port"] for host in self.agents}

    def read(self, engine, host, path):
        """-> the bytes of a file"""
        return engine.enter(self.described["hosts"][host]["container"], "cat", path)

    def put(self, engine, host, path, data):
        """Other bytes into a file that is there, past all that runs on the host."""
        engine.enter(self.described["hosts"][host]["container"], "sh", "-c", 'cat >"$1"', "sh", path, stdin=data)

    def hub_details(self, host):
        """-> where the agent's file is"""
        folder = {"nntgen7agentcore": "gen7agent.app.netcore", "nntgen7agent": "gen7agent.service"}[self.service(host)]
        return "/var/nnt/%s/HubDetails.xml" % folder

    def files(self, engine):
        """{host: owner, mode and SHA-256 of every file of the product's}"""
        def sums(host):
            attributes, _line, digests = self.look(engine, host, PRODUCT_FILES)[1].partition("--\n")
            return sorted(attributes.splitlines() + digests.splitlines())

        return {host: sums(host) for host in dict.fromkeys(["hub", *self.agents])}

    def bindings(self, engine):
        """{site of a hub with IIS: ["PROTOCOL IP:PORT:HOST"]}"""
        root = ElementTree.fromstring(self.read(engine, "hub", WINDOWS + "/applicationHost.config"))
        return {site.get("name"): ["%s %s" % (binding.get("protocol"), binding.get("bindingInformation"))
                                   for binding in site.iterfind("bindings/binding")]
                for site in root.iterfind("system.applicationHost/sites/site")}

    def rules(self, engine):
        """{rule of a hub's Windows Firewall: (its ports, whether it is enabled)}"""
        return {rule["Name"]: (rule["LocalPorts"], rule["Enabled"])
                for rule in json.loads(self.read(engine, "hub", WINDOWS + "/firewall.json"))}

    def details(self, engine):
        """{host: the bytes of HubDetails.xml}"""
        return {host: self.read(engine, host, self.hub_details(host)) for host in self.agents}

    def begin(self, verb, *options, port=NEW, **environment):
        """Starts VERB_change_tracker_port.yml with the options that its user gives."""
        port = [] if verb == "rollback" else ["-e", "change_tracker_port=%s" % port]
        return self.begin_file("playbooks/%s_change_tracker_port.yml" % verb, *port, "-e",
                               "change_tracker_agent_settle_seconds=0.5", *options, **environment)


def with_port(data, port):
    """A HubDetails.xml of the lab whose live Url has that port in words, by nothing but its text."""
    wide = data.startswith(b"\xff\xfe")
    text = data.decode("utf-16-le" if wide else "utf-8")
    # Comments keep their length, so that what is found behind them is where it was.
    bare = re.sub("(?s)<!--.*?-->", lambda comment: "-" * len(comment.group()), text)
    live = re.search("<Url>[^<]*hub(:[0-9]+)?(?=/[^<]*</Url>)", bare)
    end = live.start(1) if live.group(1) else live.end()
    return (text[:end] + ":%d" % port + text[live.end():]).encode("utf-16-le" if wide else "utf-8")
