# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of a BigFix lab: who is there, with which files.  Written once by `start`; nothing here runs a process."""

import errno
import json
import os
import shlex
import socket
import sys
import time

from .authority import Authority
from .bigfix.host import Host
from .bigfix.ledger import Tally
from .files import write_atomically
from .lab_folder import FORMAT, BadState, LabFolder, vacant
from .managed_python import LAB, managed_python

HERE = os.path.dirname(os.path.abspath(__file__))
WEB_REPORTS_PORT = 8080
# 1022 addresses: room for some hundred agents, and for 4096 labs in the upper half of 127.0.0.0/8.
NETWORK_BITS = 22
MOST_HOSTS = 1000
# Whether a service runs, as its record says by number and start of its process, the shell itself tells: a move asks seven
# times, and systemctl, for which this stands, needs no Python either.
SERVICE = """\
#!/bin/sh
# service(8) of %s: service SERVICE start|stop|status|restart
told() {
  read -r pid start < "$1" && read -r stat < "/proc/$pid/stat" || return 1
  set -- ${stat##*) }
  case $1 in [ZX]) return 1 ;; esac
  test "${20}" = "$start"
}
if test "$#" = 2 && test "$2" = status; then
  case "$1" in %s)
    if told %s/"$1".pid 2> /dev/null; then
      echo "$1 is running (pid $pid)."
      exit 0
    fi
    echo "$1 is stopped."
    exit 3 ;;
  esac
fi
exec %s "$@"
"""


def topology(tiers, clients):
    """-> [(name, role, parent)], top level first."""
    hosts = [("server", "server", None)]
    above, levels, number = ["server"], [], 0
    for size in tiers:
        level = []
        for index in range(size):
            number += 1
            level.append("relay%d" % number)
            hosts.append((level[-1], "relay", above[index % len(above)]))
        levels.append(level)
        above = level
    # One client on each top relay, so that phase 1 has test endpoints below its pilot relay; the others below the
    # lowest tier, evenly.
    top, lowest = levels[0], levels[-1]
    digits = max(2, len(str(clients)))
    for index in range(clients):
        relays = top if index < len(top) else lowest
        offset = 0 if index < len(top) else len(top)
        hosts.append(("client%0*d" % (digits, index + 1), "client", relays[(index - offset) % len(relays)]))
    return hosts


def addresses(network, count):
    """Addresses 1..250 of each of the network's four parts: neat to read, clear of the broadcast addresses."""
    first, second, third, _rest = network.split("/")[0].split(".")
    return ["%s.%s.%d.%d" % (first, second, int(third) + index // 250, index % 250 + 1) for index in range(count)]


def free_network(ports):
    """A part of 127.0.0.0/8 where nothing has a socket; by chance, so that labs started at once seldom meet."""
    taken = set()
    for table in ("/proc/net/tcp", "/proc/net/udp"):
        with open(table) as stream:
            for line in stream.readlines()[1:]:
                octets = bytes.fromhex(line.split()[1].split(":")[0])
                taken.add(_network(octets[::-1] if sys.byteorder == "little" else octets))
    for _attempt in range(200):
        choice = os.urandom(2)
        network = _network(bytes((127, 128 + choice[0] % 64, choice[1], 0)))
        if network not in taken and all(_can_bind(addresses(network, 1)[0], port) for port in ports):
            return network
    raise BadState("No free network in 127.128.0.0/10 has port %d to spare." % ports[0])


def _network(octets):
    return "%d.%d.%d.0/%d" % (octets[0], octets[1], octets[2] & ~3 & 255, NETWORK_BITS)


def _can_bind(address, port):
    with socket.socket() as trial:
        try:
            trial.bind((address, port))
        except OSError as err:
            if err.errno == errno.EACCES:
                raise BadState("Port %d needs more rights than you have." % port)
            return False
    return True


def setting(name, value):
    # CRLF-free, aligned and with an escaped date: as the product writes it.
    return (
        "[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\%s]\n"
        "value                          = %s\n"
        "effective date                 = Thu,%%2001%%20Jan%%202015%%2000:00:00%%20+0000\n\n" % (name, value))


def description(kind, rate, port, give_up_seconds, life_seconds, network, hosts, host_addresses, dmz):
    """What lab.json holds."""
    data = {
        "portshift_lab": FORMAT,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "masthead": kind,
        "network": network,
        "port": port,
        "serial": str(100000000 + int.from_bytes(os.urandom(4), "big") % 900000000),
        "rate": rate,
        "give_up_seconds": give_up_seconds,
        "life_seconds": life_seconds,
        "python": sys.executable,
        "hosts": {},
    }
    for (name, role, parent), address in zip(hosts, host_addresses):
        data["hosts"][name] = {"role": role, "parent": parent, "address": address}
    for name in dmz:
        if data["hosts"].get(name, {}).get("role") != "relay":
            raise BadState("%s can't stand in a DMZ: it is no relay of this lab." % name)
        data["hosts"][name]["parent_connects"] = True
    return data


class Lab(LabFolder):
    """The files of a BigFix lab; ProcessLab and ContainerLab bring them to life."""

    HOST = Host

    def __init__(self, folder, data):
        super().__init__(folder, data)
        self.authority = Authority(os.path.join(folder, "ca"))

    @classmethod
    def plan(cls, folder, kind, tiers, clients, rate, port, give_up_seconds, life_seconds, dmz=()):
        """A lab for a folder that is empty or not there; nothing is written yet (see write)."""
        folder = vacant(folder)
        hosts = topology(tiers, clients)
        if len(hosts) > MOST_HOSTS:
            raise BadState("A lab holds at most %d hosts, %d are asked for." % (MOST_HOSTS, len(hosts)))
        network = free_network((port, WEB_REPORTS_PORT))
        return cls(folder, description(kind, rate, port, give_up_seconds, life_seconds, network, hosts,
                                       addresses(network, len(hosts)), dmz))

    @property
    def server(self):
        return self.hosts[0]

    def tally(self):
        return Tally(self.server.ledger)

    def issue(self, port):
        """-> path of a masthead of this deployment for that port."""
        path = os.path.join(self.folder, "issued", "masthead-%d.afxm" % port)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, self._masthead(port))
        return path

    def _masthead(self, port):
        return self.authority.issue(self.data["masthead"], self.server.address, port, self.data["serial"])

    # -- files
    def write(self):
        super().write()
        self._write_group_vars()

    def _write_hosts(self):
        os.mkdir(self.authority.folder, 0o700)
        self.authority.create()
        masthead = self._masthead(self.data["port"])
        for host in self.hosts:
            self._write_host(host, masthead)

    def _write_group_vars(self):
        with open(os.path.join(HERE, "group_vars.yml")) as stream:
            self._put("group_vars/all.yml", stream.read())

    def _write_host(self, host, masthead):
        for folder in (host.client_log_folder, host.relay_chain_folder, host.run_folder):
            os.makedirs(folder)
        self._put(host.client_masthead, masthead)
        self._put(host.client_config, self._client_config(host), 0o600)
        if host.role == "relay":
            above = setting("_BESRelay_UploadManager_ParentURL", self._url(self.host(host.parent)))
            self._put(host.relay_config, above, 0o600)
        if host.role == "server":
            own = setting("_WebReports_HTTPServer_PortNumber", WEB_REPORTS_PORT)
            self._put(host.server_config, own, 0o600)
            self._put(host.server_masthead, masthead)
            self._put(host.server_actionsite, masthead)
            self._put(host.server_credentials, "RESTURL=https://localhost:%d/api\nUSERNAME=lab-operator\nPASSWORD=lab-secret-7Qz\n"
                      % self.data["port"], 0o600)
        self._write_services(host)

    def _write_services(self, host):
        # As service(8) is the host's own, and not the controller's.
        call = [managed_python(LAB), "-E", "-s", "-S", os.path.join(HERE, "service.py"), host.root]
        self._put(host.path("service"), SERVICE % (
            host.name, "|".join(map(shlex.quote, host.services)), shlex.quote(host.run_folder),
            " ".join(shlex.quote(part) for part in call)), 0o755)

    def _url(self, host):
        return "http://%s:%d/bfmirror/downloads/" % (host.address, self.data["port"])

    def _client_config(self, host):
        settings = []
        if host.role == "relay":
            settings.append(("__RelayServer1", self._url(host)))
        elif host.role == "client":
            settings.append(("__RelayServer1", self._url(self.host(host.parent))))
        # The server's own agent has none: it goes by the registration URL of its masthead, which is its server's.
        settings.append(("__Relay_Control_RootServer", self._url(self.server)))
        settings.append(("_BESClient_Comm_CommandPollEnable", "1"))
        # A number of a site's own that happens to be the port: no migration may touch it.
        settings.append(("Cost Center", self.data["port"]))
        return "".join(setting(name, value) for name, value in settings)

    def _groups(self):
        def group(hosts):
            return [(host.name, self._bigfix_variables(host) + self._host_variables(host)) for host in hosts]

        relays = [host for host in self.hosts if host.role == "relay"]
        clients = [host for host in self.hosts if host.role == "client"]
        pilot = ["relay1"] + [host.name for host in clients if host.parent == "relay1"][:2]
        return [("bigfix_server", group([self.server])), ("bigfix_relays", group(relays)), ("bigfix_clients", group(clients)),
                ("bigfix_pilot", [(name, []) for name in pilot])]

    def _bigfix_variables(self, host):
        variables = [("bigfix_parent", host.parent)] if host.parent else []
        if self.data["hosts"][host.name].get("parent_connects"):
            variables.append(("bigfix_parent_connects", "true"))
        return variables

    # -- how Ansible reaches the hosts; the values are YAML
    def _variables(self):
        return [("ansible_connection", "local"), ("ansible_python_interpreter", json.dumps(managed_python()))]

    def _host_variables(self, host):
        return [("bigfix_address", host.address), ("lab_host_dir", json.dumps(host.root))]
