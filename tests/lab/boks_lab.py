# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The BoKS lab: a Master, Replicas and Server Agents in containers, whose logins by ssh ask BoKS."""

import os
import time

from . import containers
from .boks.host import DEFAULT_BASE, LISTENING, Host
from .boks.logins import Count
from .container_hosts import FOLDER, ContainerHosts, program
from .lab_folder import FORMAT, LabFolder, vacant
from .ledgers import Ledgers

# As a service of old: what it starts outlives the command, and it knows no process of its own.  Who calls Boot by hand
# changes nothing for systemd, as with the product.
BOKS_UNIT = """[Unit]
Description=BoKS, a stand-in
After=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/opt/boksm/sbin/boksadm -S Boot
ExecStop=-/opt/boksm/sbin/boksadm -S Boot -k
TimeoutStartSec=60
TimeoutStopSec=15

[Install]
WantedBy=multi-user.target
"""
# Before BoKS, so that a boot counts as what it is: BoKS of this host is not there yet.
TICKER_UNIT = """[Unit]
Description=Tries a login again and again
Before=boksm.service

[Service]
ExecStart=%s/ticker
Restart=always
Nice=5

[Install]
WantedBy=multi-user.target
""" % FOLDER
PROGRAMS = {
    "opt/boksm/sbin/Boot": ("commands", "boot"),
    "opt/boksm/lib/boksdiag": ("commands", "boksdiag"),
    "opt/boksm/lib/checkdomain": ("commands", "checkdomain"),
    "opt/boksm/lib/boks_init": ("daemon", "main"),
    FOLDER.lstrip("/") + "/state": ("commands", "state"),
    FOLDER.lstrip("/") + "/ticker": ("ticker", "main"),
}
BOKSADM = """#!/bin/sh
# boksadm -S COMMAND [ARGUMENT...]: a command of BoKS
[ "$1" = -S ] && [ $# -gt 1 ] || { echo "Usage: boksadm -S COMMAND [ARGUMENT...]" >&2; exit 2; }
command=$2
shift 2
case $command in
    Boot) exec /opt/boksm/sbin/Boot "$@" ;;
    boksdiag | checkdomain) exec "/opt/boksm/lib/$command" "$@" ;;
esac
echo "boksadm: there is no command $command." >&2
exit 127
"""
# Nothing is imported but what connects: every login waits for it.
PAM_CLIENT = """#!/usr/bin/python3 -ESs
# Whether BoKS lets in who logs in now: pam_exec(8) of the account stack; 0 yes, 1 no.
import os
import socket
import sys

connection = socket.socket(socket.AF_UNIX)
connection.settimeout(4)
try:
    connection.connect("/var/opt/boksm/boks_access")
    connection.sendall(b"access " + os.environb.get(b"PAM_USER", b"-") + b"\\n")
    answer = connection.recv(4096)
except OSError as err:
    answer = str(err).encode("utf-8")
sys.exit(0 if answer.startswith(b"allow ") else 1)
"""
PAM_LINE = "account    required     pam_exec.so quiet /opt/boksm/lib/boks_pam\n"
# Of what the family of RHEL has in /etc/services: the look, some common services, and the block around BoKS.
REDHAT_SERVICES = """# /etc/services:
# $Id: services,v 1.49 2017/08/18 12:43:23 ovasik Exp $
#
# Network services, Internet style
# IANA services version: last updated 2021-01-19
#
# Note that it is presently the policy of IANA to assign a single well-known
# port number for both TCP and UDP; hence, most entries here have two entries
# even if the protocol doesn't support UDP operations.
#
# service-name  port/protocol  [aliases ...]   [# comment]

echo            7/tcp
echo            7/udp
discard         9/tcp           sink null
discard         9/udp           sink null
ftp-data        20/tcp
ftp             21/tcp
ssh             22/tcp                          # The Secure Shell (SSH) Protocol
ssh             22/udp                          # The Secure Shell (SSH) Protocol
telnet          23/tcp
smtp            25/tcp          mail
domain          53/tcp                          # name-domain server
domain          53/udp
http            80/tcp          www www-http    # WorldWideWeb HTTP
http            80/udp          www www-http    # HyperText Transfer Protocol
kerberos        88/tcp          kerberos5 krb5  # Kerberos v5
kerberos        88/udp          kerberos5 krb5  # Kerberos v5
sunrpc          111/tcp         portmapper rpcbind      # RPC 4.0 portmapper TCP
sunrpc          111/udp         portmapper rpcbind      # RPC 4.0 portmapper UDP
ntp             123/tcp
ntp             123/udp                         # Network Time Protocol
ldap            389/tcp
ldap            389/udp
https           443/tcp                         # http protocol over TLS/SSL
https           443/udp                         # http protocol over TLS/SSL
syslog          514/udp
xdsxdm          6558/tcp                # xdsxdm
xdsxdm          6558/udp                # xdsxdm
boks            {base}/tcp                # BoKS Master
boks            {base}/udp                # BoKS Master
boks_servc      6501/tcp        boks-servc      # BoKS Servc
boks_servc      6501/udp        boks-servc      # BoKS Servc
boks_servm      6502/tcp        boks-servm      # BoKS Servm
boks_servm      6502/udp        boks-servm      # BoKS Servm
boks_clntd      6503/tcp        boks-clntd      # BoKS Clntd
boks_clntd      6503/udp        boks-clntd      # BoKS Clntd
badm_priv       6505/tcp        badm-priv       # BoKS Admin Private Port
badm_priv       6505/udp        badm-priv       # BoKS Admin Private Port
badm_pub        6506/tcp        badm-pub        # BoKS Admin Public Port
badm_pub        6506/udp        badm-pub        # BoKS Admin Public Port
bdir_priv       6507/tcp        bdir-priv       # BoKS Dir Server, Private Port
bdir_priv       6507/udp        bdir-priv       # BoKS Dir Server, Private Port
bdir_pub        6508/tcp        bdir-pub        # BoKS Dir Server, Public Port
bdir_pub        6508/udp        bdir-pub        # BoKS Dir Server, Public Port
apc-6547        6547/tcp                # APC 6547
apc-6547        6547/udp                # APC 6547
"""
SERVICES = ("debian", "redhat")


def topology(replicas, agents):
    """-> [(name, role)]"""
    digits = max(2, len(str(agents)))
    return ([("master", "master")] + [("replica%d" % (index + 1), "replica") for index in range(replicas)]
            + [("agent%0*d" % (digits, index + 1), "agent") for index in range(agents)])


class BoksLab(Ledgers, ContainerHosts, LabFolder):
    HOST = Host

    @classmethod
    def plan(cls, folder, replicas, agents, base, bridge_domain, services, life_seconds, engine, firewalls):
        """A domain for a folder that is empty or not there; its image is there then, and its network."""
        folder = vacant(folder)
        hosts = topology(replicas, agents)

        def describe(subnet, addresses):
            return {
                "portshift_lab": FORMAT,
                "product": "boks",
                "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "domain": "domain-%s" % os.urandom(4).hex(),
                "network": subnet,
                "base": base,
                "bridge_domain": bridge_domain,
                "services": services,
                "life_seconds": life_seconds,
                "hosts": {name: {"role": role, "address": address} for (name, role), address in zip(hosts, addresses)},
            }

        return cls._planned(folder, len(hosts), engine, firewalls, life_seconds, describe)

    # -- files
    def _groups(self):
        return [(group, [(host.name, self._host_variables(host)) for host in self.hosts if host.role == role])
                for group, role in (("boks_master", "master"), ("boks_replicas", "replica"), ("boks_agents", "agent"))]

    def _write_hosts(self):
        pam, services = self._read_image("/etc/pam.d/sshd", "/etc/services")
        for host in self.hosts:
            self._write_product(host)
            self._put(host.path("etc/pam.d/sshd"), _with_boks(pam))
            self._put(host.path("etc/services"), self._services(services))
            self._write_host_system(host)

    def _read_image(self, *paths):
        """-> their contents in the image of the hosts."""
        image = self.data["hosts"]["master"]["image"]
        return [self.engine.run("run", "--rm", "--network", "none", *(list(containers.LIMITS) + [image, "cat", path])).decode(
            "utf-8") for path in paths]

    def _services(self, of_image):
        entry = self.data["base"] - 10 * self.data["bridge_domain"]
        if self.data["services"] == "redhat":
            return REDHAT_SERVICES.format(base=entry)
        # Debian knows no BoKS, and BoKS without an entry has its default.
        return of_image if entry == DEFAULT_BASE else of_image + "boks\t\t%d/tcp\n" % entry

    def _write_product(self, host):
        env = ["# Environment of BoKS", "BOKS_etc=/etc/opt/boksm", "BOKS_var=/var/opt/boksm", "BOKS_lib=/opt/boksm/lib",
               "BOKSINIT=%s" % ("client" if host.role == "agent" else "server")]
        if self.data["bridge_domain"]:
            env.append("BRIDGE_DOMAIN=%d" % self.data["bridge_domain"])
        self._put(host.env, "\n".join(env) + "\n")
        self._put(host.nodekey, os.urandom(16).hex() + "\n", 0o600)
        self._put(host.bcastaddr, "".join("%s\n" % address for _name, address in host.of_role("master", "replica")))
        self._put(host.errlog, "")
        for path, (module, function) in PROGRAMS.items():
            self._put(host.path(path), program("boks." + module, function), 0o755)
        self._put(host.path("opt/boksm/sbin/boksadm"), BOKSADM, 0o755)
        self._put(host.path("opt/boksm/lib/boks_pam"), PAM_CLIENT, 0o755)

    def _units(self, host):
        return [("boksm.service", BOKS_UNIT), ("portshift-lab-logins.service", TICKER_UNIT)]

    def _admitted(self, host):
        return [(self.data["base"] + offset, protocol) for offset, protocol in LISTENING[host.role]]

    # -- what is there
    def logins(self, since, ledgers=None):
        """-> {host: Count}"""
        return {name: Count.of(text, since) for name, text in (ledgers or self.ledgers()).items()}

    @staticmethod
    def own_restart(ledger, began, ended):
        """Whether by that ledger the host's own BoKS was away at some time between the two."""
        # The moments just before and after belong to it: the ticker looks five times a second.
        return Count.of(ledger, began - 0.5, ended + 0.5).own_restart > 0


def _with_boks(pam):
    """The PAM stack of sshd with BoKS asked first of all who may log in."""
    lines = pam.splitlines(True)
    first = next(index for index, line in enumerate(lines) if line.startswith(("account", "@include common-account")))
    return "".join(lines[:first] + [PAM_LINE] + lines[first:])
