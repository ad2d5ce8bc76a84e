# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab with a relay in a DMZ, behind a packet filter that lets no connection of its own through to its parent."""

import contextlib
import json
import sys
import time

from tests.integration.migration_lab import OLD, Lab
from tests.integration.namespaces import namespace_or_skip

# server - relay1 - relay2 (DMZ) - client02; client01 below relay1.  A lab has a network of its own, of 1022 addresses, in which
# its hosts are numbered in this order: so the rule can stand before the lab does.
DMZ, PARENT, HOST_BITS = "0.0.0.3", "0.0.0.2", "0.0.3.255"
RULES = """
table inet dmz {
 counter upwards { }
 chain out {
  type filter hook output priority 0;
  ip saddr & %s == %s ip daddr & %s == %s tcp flags & (syn | ack) == syn counter name upwards drop
 }
}
""" % (HOST_BITS, DMZ, HOST_BITS, PARENT)
TRY = """
import socket, sys
trial = socket.socket()
trial.settimeout(1)
trial.bind((sys.argv[1], 0))
try:
    trial.connect((sys.argv[2], int(sys.argv[3])))
    print("through")
except socket.timeout:
    print("dropped")
"""


def load(namespace, rules):
    done = namespace.run("sh", "-c", "printf '%s' \"$1\" | nft -f -", "sh", rules)
    assert done.returncode == 0, done.stderr


class DmzLab(Lab):
    def start_dmz(self, give_up=120):
        self.ok("start", "--masthead", self.kind, "--relays", "1,1", "--clients", "2", "--rate", "2", "--dmz", "relay2",
                "--give-up", str(give_up), "--life", "3600")
        return self

    def tried_upwards(self):
        """Packets with which the relay in the DMZ tried to open a connection to its parent."""
        listed = self.namespace.run("nft", "-j", "list", "counter", "inet", "dmz", "upwards").stdout
        return [entry["counter"]["packets"] for entry in json.loads(listed)["nftables"] if "counter" in entry][0]

    def rule_holds(self, port=OLD):
        """The way upwards, tried from the relay's address, leads nowhere, and the one downwards leads through."""
        for host, other, said in (("relay2", "relay1", "dropped\n"), ("relay1", "relay2", "through\n")):
            tried = self.namespace.run(sys.executable, "-c", TRY, self.address(host), self.address(other), str(port))
            assert tried.stdout == said, tried.stderr
        assert self.tried_upwards() > 0

    def accepted(self):
        return {name: agent["accepted"] for name, agent in self.status()["agents"].items()}

    def grown(self, names=None):
        """Returns when each of these has reported four times more."""
        before, end = self.accepted(), time.monotonic() + 60
        names = names or sorted(before)
        while True:
            now = self.accepted()
            silent = [name for name in names if now[name] < before[name] + 4]
            if not silent:
                return
            assert time.monotonic() < end, "%s do not report" % silent
            time.sleep(0.1)

    def none_lost(self):
        self.grown()
        assert {name: agent["lost"] for name, agent in self.status()["agents"].items()} == dict.fromkeys(self.hosts, 0)

    def service(self, host, service, action):
        done = self.namespace.run(str(self.path(host, "service")), service, action)
        assert done.returncode == 0, done.stderr

    def redirect(self, host, listen, target):
        load(self.namespace, "table inet bridge_%s {\n chain out { type nat hook output priority -105;\n"
             "  ip daddr %s tcp dport %d dnat ip to %s:%d\n }\n}\n" % (
                 host, self.address(host), listen, self.address(host), target))


@contextlib.contextmanager
def packet_filter():
    """A namespace with that rule."""
    with namespace_or_skip() as found:
        load(found, RULES)
        yield found
