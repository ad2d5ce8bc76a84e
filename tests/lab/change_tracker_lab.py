# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Change Tracker lab: a hub behind nginx or a stand-in of IIS, agents, a proxy and what it monitors, in containers."""

import hashlib
import os
import ssl
import time
import uuid
from xml.sax.saxutils import escape

from .authority import openssl
from .change_tracker import windows
from .change_tracker.host import APPLICATION_PORT, HUB_SERVICE, IIS_SERVICE, PLACES, SMB_PORT, SMB_SERVICE, Host
from .change_tracker.ledger import Count, arrivals, monitored
from .container_hosts import FOLDER, ContainerHosts, program
from .lab_folder import FORMAT, LabFolder, vacant
from .ledgers import Ledgers

CORE, LEGACY = PLACES    # the services of agents, today's and the one before
USERNAME = "agent"
THUMBPRINTS = ("all", "none", "some")
SITE_NAME = "Change Tracker"    # of a hub with IIS

# Ready as soon as it runs, whatever becomes of its hub: as with the product, `systemctl start` proves nothing.
AGENT_UNIT = """[Unit]
Description=Change Tracker agent, a stand-in
After=network.target nginx.service nnthub.service

[Service]
Type=simple
ExecStart={folder}/agent
WorkingDirectory={home}
TimeoutStopSec=20

[Install]
WantedBy=multi-user.target
"""
UNIT = """[Unit]
Description={what}, a stand-in
After=network.target

[Service]
Type=simple
ExecStart={folder}/{program}
Restart=always

[Install]
WantedBy=multi-user.target
"""
SITE = """# Netwrix Change Tracker hub.  Agents come in here; the console, too.
# To answer on another port, see the listen lines below (listen 443 is what the installation wrote).
server {{
    listen {port} ssl;
    listen [::]:{port} ssl;
    server_name hub;

    ssl_certificate     /etc/nginx/nnt/hub.crt;
    ssl_certificate_key /etc/nginx/nnt/hub.key;
    ssl_protocols       TLSv1.2 TLSv1.3;

    access_log /var/log/nginx/nnt-access.log;
    client_max_body_size 50m;

    location / {{
        proxy_pass http://127.0.0.1:{application};
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-Port $server_port;
        proxy_read_timeout 300s;
    }}
}}
"""
REQUEST = """[req]
distinguished_name = name
prompt = no
x509_extensions = extensions
[name]
O = portshift.agents lab
CN = hub
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName = DNS:hub, IP:%s
"""
DECLARATION = '<?xml version="1.0" encoding="%s"?>'
NAMESPACES = ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
# How the files of agents look, in turns: (encoding, byte order mark, end of line, ...)
PLAIN, WINDOWS, COMMENTED, WIDE = range(4)


def topology(agents, monitored_hosts, legacy, server):
    """-> [(name, role, service of the agent)]"""
    digits = max(2, len(str(agents)))
    services = [CORE] * (agents - legacy) + [LEGACY] * legacy
    return ([("hub", "hub", CORE if server == "nginx" else None), ("proxy", "proxy", CORE)]
            + [("agent%0*d" % (digits, index + 1), "agent", service) for index, service in enumerate(services)]
            + [("monitored%d" % (index + 1), "monitored", None) for index in range(monitored_hosts)])


class ChangeTrackerLab(Ledgers, ContainerHosts, LabFolder):
    HOST = Host

    @classmethod
    def plan(cls, folder, agents, monitored_hosts, legacy, port, thumbprint, server, life_seconds, engine, firewalls):
        """An estate for a folder that is empty or not there; its image is there then, and its network."""
        folder = vacant(folder)
        hosts = topology(agents, monitored_hosts, legacy, server)

        def describe(subnet, addresses):
            described = {name: {"role": role, "address": address} for (name, role, _service), address in zip(hosts, addresses)}
            for index, (name, _role, service) in enumerate(hosts):
                if service:
                    described[name].update(
                        service=service, look=index % 4,
                        thumbprint=thumbprint == "all" or thumbprint == "some" and index % 2 == 0)
            if server == "iis":
                described["hub"].update(server="iis", firewall="windows")
            # By turns what is looked at by ssh and what by the Windows protocol: both services run on each.
            described["proxy"]["monitored"] = [
                {"host": name, "kind": ("linux", "windows")[index % 2]}
                for index, (name, role, _service) in enumerate([host for host in hosts if host[1] == "monitored"])]
            return {
                "portshift_lab": FORMAT,
                "product": "change_tracker",
                "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "network": subnet,
                "port": port,
                "life_seconds": life_seconds,
                "hosts": described,
            }

        return cls._planned(folder, len(hosts), engine, firewalls, life_seconds, describe)

    def __init__(self, folder, data):
        super().__init__(folder, data)
        self.hub = self.host("hub")

    @property
    def agents(self):
        """The hosts with an agent: those of hub and proxy, too."""
        return [host for host in self.hosts if host.service]

    # -- files
    def _groups(self):
        groups = []
        for group, role in (("change_tracker_hub", "hub"), ("change_tracker_agents", "agent"),
                            ("change_tracker_proxies", "proxy")):
            groups.append((group, [(host.name, self._host_variables(host)) for host in self.hosts if host.role == role]))
        return groups

    def _host_variables(self, host):
        variables = super()._host_variables(host)
        if host.has_iis:
            variables += [("change_tracker_hub_server", "iis"), ("change_tracker_hub_firewall", "windows")]
        if host.monitored:
            variables.append(("change_tracker_monitored", "[%s]" % ", ".join(
                "{host: %(host)s, kind: %(kind)s}" % target for target in host.monitored)))
        return variables

    def _write_hosts(self):
        password = "p&w<%s>" % os.urandom(6).hex()
        thumbprint = self._write_hub(self.hub, password)
        for host in self.hosts:
            self._put(host.path(FOLDER.lstrip("/"), "state"), program("change_tracker.state"), 0o755)
            if host.service:
                self._write_agent(host, password, thumbprint)
            elif host.role == "monitored":
                self._put(host.path(FOLDER.lstrip("/"), "smb"), program("change_tracker.smb"), 0o755)
            self._write_host_system(host)

    def _write_hub(self, host, password):
        """-> the thumbprint of its certificate, as Windows shows it."""
        request = host.certificate + ".cnf"
        self._put(request, REQUEST % host.address)
        os.close(os.open(host.key, os.O_CREAT | os.O_WRONLY, 0o600))
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "3650", "-config", request,
                "-keyout", host.key, "-out", host.certificate)
        os.unlink(request)
        self._put(host.login, "%s:%s\n" % (USERNAME, password), 0o600)
        self._put(host.path(FOLDER.lstrip("/"), "hub"), program("change_tracker.hub"), 0o755)
        if host.has_iis:
            return self._write_iis(host)
        self._put(host.site, SITE.format(port=self.data["port"], application=APPLICATION_PORT))
        self._link(host, "multi-user.target.wants/nginx.service", "/lib/systemd/system/nginx.service")
        with open(host.certificate) as stream:
            return hashlib.sha1(ssl.PEM_cert_to_DER_cert(stream.read())).hexdigest().upper()

    def _write_iis(self, host):
        """-> the thumbprint"""
        self._put(host.path(FOLDER.lstrip("/"), "iis"), program("change_tracker.iis"), 0o755)
        texts = []
        for path in (host.certificate, host.key):
            with open(path) as stream:
                texts.append(stream.read())
            os.unlink(path)
        port, thumbprint = self.data["port"], windows.Machine(host.windows).put_certificate("".join(texts))
        machine = windows.lay_out(host.windows, [("Default Web Site", [("http", "*:80:", 0, None)]),
                                                 (SITE_NAME, [("https", "*:%d:" % port, 0, thumbprint)])])
        machine.set_rules([windows.new_rule("Netwrix Change Tracker %d" % port, Protocol=6, LocalPorts=str(port))])
        return thumbprint

    def _write_agent(self, host, password, thumbprint):
        given = self.data["hosts"][host.name]
        details = hub_details(given["look"], self.data["port"], password, thumbprint if given["thumbprint"] else None)
        self._put(host.hub_details, details, 0o640)
        self._put(host.agent_id, "%s\n" % uuid.uuid4(), 0o640)
        self._put(host.path(FOLDER.lstrip("/"), "agent"), program("change_tracker.agent"), 0o755)

    def _units(self, host):
        if host.role == "monitored":
            return [(SMB_SERVICE + ".service", UNIT.format(what="Something on port 445", folder=FOLDER, program="smb"))]
        units = []
        if host.service:
            units.append((host.service + ".service", AGENT_UNIT.format(folder=FOLDER, home="/" + PLACES[host.service])))
        if host.has_iis:
            units.append((IIS_SERVICE + ".service", UNIT.format(what="IIS and http.sys", folder=FOLDER, program="iis")))
        if host.role == "hub":
            units.append((HUB_SERVICE + ".service", UNIT.format(
                what="Application of the Change Tracker hub", folder=FOLDER, program="hub")))
        return units

    def _admitted(self, host):
        return {"hub": [(self.data["port"], "tcp")], "monitored": [(SMB_PORT, "tcp")]}.get(host.role, [])

    def _in_turn(self):
        # Agents sleep when their hub is too long in coming.
        return [[self.hub], [host for host in self.hosts if host is not self.hub]]

    # -- what is there
    def looked_at(self, hosts, since):
        """-> ({host: its state, or None}, {host with an agent: Count}, what every proxy told the hub of what it monitors)"""
        now = time.time()
        seen = self.seen([host for host in hosts if host is not self.hub], lambda host: [host.ledger] if host.service else [])
        # Afterwards, and its arrivals last: whatever an agent says was taken is written down at the hub by then.
        seen.update(self.seen([self.hub], lambda hub: [hub.ledger, hub.arrivals, hub.monitoring]))
        _ledger, arrived, told = seen[self.hub.name][1]
        arrived = arrivals(arrived)
        counts = {host.name: Count.of(seen[host.name][1][0], since, arrived.get(host.name, ()), now)
                  for host in self.hosts if host.service}
        return {host.name: seen[host.name][0] for host in hosts}, counts, monitored(told, since, now)


def hub_details(look, port, password, thumbprint):
    """-> the bytes of a HubDetails.xml as an agent has it before its first start."""
    url = {
        PLAIN: "https://hub:%d/api/" % port,
        WINDOWS: "https://hub/api/" if port == 443 else "https://hub:%d/api/" % port,
        COMMENTED: "https:&#x2F;&#47;hub:%d/api" % port,
        WIDE: "https://hub:%d/api" % port,
    }[look]
    encoding = "utf-16" if look == WIDE else "utf-8"
    lines = [DECLARATION % encoding, "<HubDetails%s>" % (NAMESPACES if look in (WINDOWS, WIDE) else "")]
    if look == COMMENTED:
        lines += ["  <!-- before the move to the new data centre: <Url>https://old-hub.example.test:%d/api/</Url> -->" % port,
                  "  <!-- <Url>https://hub.example.test/api/</Url> -->"]
    lines += [
        "  <Url>%s</Url>" % url,
        "  <Username>%s</Username>" % USERNAME,
        "  <Password>%s</Password>" % escape(password),
        "  <Proxy />",
        "  <ProxyDomain />",
        "  <ProxyUsername></ProxyUsername>",
        "  <ProxyPassword />",
        "  <UseDefaultProxy>false</UseDefaultProxy>",
        "  <NamePrefix>%s</NamePrefix>" % ("R&amp;D-" if look == COMMENTED else ""),
        "  <NameSuffix />",
        "  <UseDeterministicGuid>true</UseDeterministicGuid>",
    ]
    if thumbprint:
        lines.append("  <Thumbprint>%s</Thumbprint>" % thumbprint)
    lines.append("</HubDetails>")
    text = ("\r\n" if look in (WINDOWS, WIDE) else "\n").join(lines + [""])
    if look == WIDE:
        return b"\xff\xfe" + text.encode("utf-16-le")
    return (b"\xef\xbb\xbf" if look == WINDOWS else b"") + text.encode("utf-8")
