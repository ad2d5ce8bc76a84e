# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The BigFix lab whose hosts are containers: the product's files at their real paths, its services under their real names."""

from . import containers
from .bigfix.ledger import Tally
from .container_hosts import FOLDER, ContainerHosts
from .deployment import WEB_REPORTS_PORT, Lab, description, topology
from .lab_folder import vacant

# Runs after network.target, before which every firewall is up.
UNIT = """[Unit]
Description={service} of the lab, a stand-in
After=network.target{after}

[Service]
Type=notify
ExecStart=/usr/bin/python3 -E -s -S {folder}/lab/daemon.py {service} / {folder}/lab.json {host}
WorkingDirectory=/
TimeoutStartSec=90
TimeoutStopSec=15

[Install]
WantedBy=multi-user.target
"""
ASK_SERVICES = """systemctl show --property=Id,ActiveState,MainPID "$@"
echo; echo --
cd %s/run && grep -H '' *.ready || :""" % FOLDER


class ContainerTally(Tally):
    """The root server's ledger, read inside its container while it runs, else out of it."""

    def __init__(self, lab):
        super().__init__(lab.server.ledger)
        self.lab = lab

    def _bytes_from(self, offset):
        ledger = self.lab.inside(self.path)
        # Without a ledger nothing has been accepted yet.
        code, output, _error = self.lab.engine.enter(
            self.lab.container(self.lab.server), "sh", "-c", '[ ! -e "$1" ] || tail -c "+$2" "$1"', "sh", ledger,
            str(offset + 1), check=False)
        if code == 0:
            return output
        return self.lab.fetch(self.lab.server, ledger)[offset:]


class ContainerLab(ContainerHosts, Lab):
    @classmethod
    def plan(cls, folder, kind, tiers, clients, rate, port, give_up_seconds, life_seconds, dmz=(), engine=None,
             firewalls=("none",)):
        """As for processes; in addition the image is there then, and the network."""
        folder = vacant(folder)
        hosts = topology(tiers, clients)
        return cls._planned(folder, len(hosts), engine, firewalls, life_seconds, lambda subnet, addresses: description(
            kind, rate, port, give_up_seconds, life_seconds, subnet, hosts, addresses, dmz))

    def tally(self):
        return ContainerTally(self)

    # -- files
    def _write_group_vars(self):
        pass    # hosts like these need none: the product is where it always is

    def _write_services(self, host):
        self._write_host_system(host)

    def _units(self, host):
        units, before = [], ""
        for service in host.services:
            units.append((service + ".service", UNIT.format(service=service, after=before, folder=FOLDER, host=host.name)))
            before += " %s.service" % service
        return units

    def _admitted(self, host):
        ports = [(self.data["port"], "tcp"), (self.data["port"], "udp")]
        return ports + [(WEB_REPORTS_PORT, "tcp")] if host.role == "server" else ports

    # -- what is there
    def observed(self):
        def ask(host):
            return self.engine.enter(self.container(host), "sh", "-c", ASK_SERVICES, "sh", *host.services, check=False)

        services, ports = {}, {}
        for host, (code, output, _error) in zip(self.hosts, containers.at_once(ask, self.hosts)):
            # A container that does not run has no services that do.
            running, ready = _parse_answer(output.decode("ascii", "replace")) if code == 0 else ({}, {})
            services[host.name] = {service: running.get(service) for service in host.services}
            if host.role != "client":
                pid, port = ready.get(host.services[0], (None, None))
                ports[host.name] = port if pid is not None and pid == running.get(host.services[0]) else None
        return services, ports

    def restart_seconds(self):
        """-> {host: how long its longest restart took}, of the last restart of each of its services."""
        def ask(host):
            return self.engine.enter(
                self.container(host), "systemctl", "show", "--property=Id,ActiveExitTimestampMonotonic,"
                "ActiveEnterTimestampMonotonic", *host.services).decode("ascii")

        longest = {}
        for host, text in zip(self.hosts, containers.at_once(ask, self.hosts)):
            seconds = [0.0]
            for block in text.split("\n\n"):
                given = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
                left, back = (int(given[name + "TimestampMonotonic"]) for name in ("ActiveExit", "ActiveEnter"))
                # 0: it has never ended since the host came up.
                seconds.append((back - left) / 1e6 if left else 0.0)
            longest[host.name] = max(seconds)
        return longest


def _parse_answer(text):
    """The answer to ASK_SERVICES -> ({running service: pid}, {service that is ready: (pid, port)})"""
    running, ready = {}, {}
    states, _mark, marks = text.partition("--\n")
    for block in states.split("\n\n"):
        given = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if given.get("ActiveState") in ("active", "reloading"):
            running[given["Id"].rpartition(".")[0]] = int(given["MainPID"])
    for line in marks.splitlines():
        name, _colon, numbers = line.partition(":")
        pid, port = numbers.split()
        ready[name.rpartition(".")[0]] = int(pid), int(port)
    return running, ready
