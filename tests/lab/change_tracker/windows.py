# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder that stands for a Windows machine with IIS: where what is, and how it is read and written.

The stand-in of IIS and http.sys (iis.py) reads it; the model of a Windows host (tests/windows) reads and writes it.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import ssl
from xml.etree import ElementTree

USUAL_FOLDER = "/var/lib/portshift-lab-windows"
SNI, CCS = 1, 2    # sslFlags of a binding
STARTED, STOPPED = "Started", "Stopped"
SYSTEM_PID = 4     # in whose name http.sys listens
ALL_PROFILES = 0x7fffffff

# What an installation of IIS leaves there, with most of its sections left out.
APPLICATION_HOST = """<?xml version="1.0" encoding="UTF-8"?>
<configuration>
    <configSections>
        <sectionGroup name="system.applicationHost">
            <section name="applicationPools" allowDefinition="AppHostOnly" overrideModeDefault="Deny" />
            <section name="sites" allowDefinition="AppHostOnly" overrideModeDefault="Deny" />
        </sectionGroup>
    </configSections>
    <system.applicationHost>
        <applicationPools>
            <add name="DefaultAppPool" />
        </applicationPools>
        <sites>
            <siteDefaults>
                <logFile logFormat="W3C" directory="%SystemDrive%\\inetpub\\logs\\LogFiles" />
            </siteDefaults>
        </sites>
    </system.applicationHost>
</configuration>
"""


class ComError(Exception):
    """What Windows says when it does not do something."""


class Binding:
    """One of a site, as it stands in applicationHost.config."""

    def __init__(self, element):
        self.element = element

    @property
    def protocol(self):
        return self.element.get("protocol")

    @property
    def information(self):
        """IP:PORT:HOST, of http and https; others have what they like."""
        return self.element.get("bindingInformation")

    @property
    def ssl_flags(self):
        return int(self.element.get("sslFlags", "0"))

    @property
    def is_web(self):
        return self.protocol in ("http", "https")

    @property
    def parts(self):
        """-> (ip, port, host name) of http and https, as IIS itself reads them: an IPv6 address has colons, too."""
        ip, port, hostname = self.information.rsplit(":", 2)
        return ip, int(port), hostname

    @property
    def endpoint(self):
        """Under what http.sys keeps the certificate, or that it is to be looked for in the central store."""
        ip, port, hostname = self.parts
        if self.ssl_flags & CCS:
            return "!%d!%s" % (port, hostname.lower())
        if self.ssl_flags & SNI:
            return "%s:%d" % (hostname.lower(), port)
        return "%s:%d" % ("0.0.0.0" if ip in ("", "*") else ip, port)


class Site:
    def __init__(self, element, states):
        self.element = element
        self.name = element.get("name")
        self.id = int(element.get("id"))
        starts_itself = element.get("serverAutoStart", "true").lower() != "false"
        self.state = states.get(self.name, STARTED if starts_itself else STOPPED)

    @property
    def _application(self):
        return self.element.find("application")

    @property
    def application_pool(self):
        return self._application.get("applicationPool", "DefaultAppPool")

    @property
    def physical_path(self):
        return self._application.find("virtualDirectory").get("physicalPath")

    @property
    def bindings(self):
        return [Binding(element) for element in self.element.iterfind("bindings/binding")]

    def named(self, information):
        """-> the bindings that read so: case does not count on Windows"""
        return [binding for binding in self.bindings if binding.information.lower() == information.lower()]

    def add(self, protocol, information, ssl_flags=0):
        if any(binding.protocol == protocol for binding in self.named(information)):
            raise ComError("Cannot add duplicate collection entry of type 'binding' with combined key attributes 'protocol, "
                           "bindingInformation' respectively set to '%s, %s'" % (protocol, information))
        element = ElementTree.SubElement(self.element.find("bindings"), "binding", protocol=protocol,
                                         bindingInformation=information)
        if protocol == "https":
            element.set("sslFlags", str(ssl_flags))
        return Binding(element)

    def remove(self, binding):
        self.element.find("bindings").remove(binding.element)


class Configuration:
    """applicationHost.config as it was read, with the state that each site is in."""

    def __init__(self, machine):
        self.machine = machine
        self.tree = ElementTree.parse(machine.application_host)
        states = machine.state()["sites"]
        self.sites = [Site(element, states) for element in self._sites.iterfind("site")]

    @property
    def _sites(self):
        return self.tree.getroot().find("system.applicationHost/sites")

    def site(self, name):
        """-> the site of that name, or None"""
        for site in self.sites:
            if site.name.lower() == name.lower():
                return site
        return None

    def make_site(self, name, physical_path, application_pool=None, number=None):
        number = int(number or max([site.id for site in self.sites] + [0]) + 1)
        if any(site.id == number for site in self.sites):
            raise ComError("Cannot add duplicate collection entry of type 'site' with unique key attribute 'id' set to '%d'" % (
                number))
        element = ElementTree.Element("site", name=name, id=str(number), serverAutoStart="true")
        application = ElementTree.SubElement(element, "application", path="/")
        if application_pool:
            application.set("applicationPool", application_pool)
        ElementTree.SubElement(application, "virtualDirectory", path="/", physicalPath=physical_path)
        ElementTree.SubElement(element, "bindings")
        self._sites.insert(len(self.sites), element)    # before siteDefaults
        self.sites.append(Site(element, {}))
        return self.sites[-1]

    def remove_site(self, site):
        self._sites.remove(site.element)
        self.sites.remove(site)

    def write(self):
        text = ElementTree.tostring(self.tree.getroot(), encoding="unicode")
        write(self.machine.application_host, '<?xml version="1.0" encoding="UTF-8"?>\n%s\n' % text)


class Machine:
    def __init__(self, folder=None):
        self.folder = str(folder or USUAL_FOLDER)

    def own(self, *parts):
        return os.path.join(self.folder, *parts)

    @contextlib.contextmanager
    def alone(self):
        """No other process writes meanwhile."""
        with open(self.own("lock"), "a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _load(self, name, otherwise):
        try:
            with open(self.own(name), encoding="utf-8") as stream:
                return json.load(stream)
        except FileNotFoundError:
            return otherwise

    def _store(self, name, content):
        write(self.own(name), json.dumps(content, indent=1, sort_keys=True) + "\n")

    # -- IIS
    @property
    def application_host(self):
        return self.own("applicationHost.config")

    def configuration(self):
        return Configuration(self)

    def state(self):
        """{"sites": {name: Started|Stopped}, "asked": how often a start was asked for, "answered": how often the stand-in has
        looked at one, "pid": the stand-in's}"""
        return dict({"sites": {}, "asked": 0, "answered": 0, "pid": None}, **self._load("state.json", {}))

    def set_state(self, **changes):
        """For one that is alone."""
        self._store("state.json", dict(self.state(), **changes))

    def set_site_state(self, name, state, **changes):
        """For one that is alone."""
        self.set_state(sites=dict(self.state()["sites"], **{name: state}), **changes)

    # -- certificates, and which of them http.sys answers with
    def certificate(self, store, thumbprint):
        """-> the file with certificate and key, or None"""
        for folder in _entries(self.own("certificates")):
            if folder.lower() == store.lower():
                for name in _entries(self.own("certificates", folder)):
                    if name.lower() == thumbprint.lower() + ".pem":
                        return self.own("certificates", folder, name)
        return None

    def put_certificate(self, text, store="MY"):
        """-> the thumbprint of the first certificate of a text with its key, which is in that store then"""
        begin = text.index("-----BEGIN CERTIFICATE-----")
        end = text.index("-----END CERTIFICATE-----", begin) + len("-----END CERTIFICATE-----")
        thumbprint = hashlib.sha1(ssl.PEM_cert_to_DER_cert(text[begin:end] + "\n")).hexdigest().upper()
        write(self.own("certificates", store, thumbprint + ".pem"), text, 0o600)
        return thumbprint

    def ssl_table(self):
        """{endpoint: {"hash", "store"}}"""
        return self._load("sslcert.json", {})

    def add_certificate(self, binding, thumbprint, store):
        """For one that is alone."""
        found = self.certificate(store, thumbprint)
        if found is None or "PRIVATE KEY" not in _read(found):
            # Of a certificate without its key, too.
            raise ComError("A specified logon session does not exist. It may already have been terminated. (Exception from "
                           "HRESULT: 0x80070520)")
        entry = {"hash": thumbprint.upper(), "store": store}
        self._store("sslcert.json", dict(self.ssl_table(), **{binding.endpoint: entry}))

    def add_central_entry(self, binding):
        """For one that is alone: New-Item on IIS:\\SslBindings, without which a binding of the central store serves no client."""
        self._store("sslcert.json", dict(self.ssl_table(), **{binding.endpoint: {"hash": "", "store": ""}}))

    # -- Windows Firewall
    def rules(self):
        """-> the rules, or None where there is no firewall"""
        return self._load("firewall.json", None)

    def set_rules(self, rules):
        """For one that is alone."""
        self._store("firewall.json", rules)


def lay_out(folder, sites=()):
    """A new machine in a folder -> Machine.  `sites`: [(name, [(protocol, information, sslFlags, thumbprint or None)])]; their
    certificates are there already, in the store MY (put_certificate), and the entries of the central store are made."""
    machine = Machine(folder)
    write(machine.application_host, APPLICATION_HOST)
    configuration = machine.configuration()
    for name, bindings in sites:
        site = configuration.make_site(name, "C:\\inetpub\\wwwroot", "DefaultAppPool")
        for protocol, information, ssl_flags, thumbprint in bindings:
            binding = site.add(protocol, information, ssl_flags)
            if ssl_flags & CCS:
                machine.add_central_entry(binding)
            elif thumbprint:
                machine.add_certificate(binding, thumbprint, "MY")
    configuration.write()
    return machine


def new_rule(name, **properties):
    """A rule of Windows Firewall with what COM gives a new one."""
    rule = dict(Name=name, Description="", Direction=1, Action=1, ApplicationName=None, Grouping="", ServiceName=None,
                Enabled=True, Profiles=ALL_PROFILES, LocalAddresses="*", RemoteAddresses="*", LocalPorts=None, RemotePorts=None,
                Protocol=256, IcmpTypesAndCodes=None)
    return dict(rule, **properties)


def write(path, text, mode=0o644):
    """Readers see the old text or the new one."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = "%s.%d.new" % (path, os.getpid())
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(text.encode("utf-8"))
    os.rename(temporary, path)


def _read(path):
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def _entries(folder):
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
