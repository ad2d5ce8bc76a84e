# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change Tracker on hosts of the model: agents on Windows, and a hub behind IIS of the model itself.

What an agent makes of its HubDetails.xml is what the stand-ins of tests/lab make of it.  It reaches a hub of the model as well as
a real one on loopback.
"""

import base64
import hashlib
import json
import os
import re
import ssl
import tempfile
import time

from tests.lab.change_tracker import Refused as LabRefused
from tests.lab.change_tracker import hub_details
from tests.lab.change_tracker.windows import STARTED, STOPPED, lay_out

from .files import READ, FileError
from .network import NoAnswer, PortError
from .services import ConnectedProduct, Product, Service

NNT = "C:\\ProgramData\\NNT"
# The services of agents, today's and the one before, and where each has its files.
PLACES = {"Gen7AgentCore": NNT + "\\gen7agent.app.netcore", "Gen7Agent": NNT + "\\gen7agent.service"}
SERVICE, LOG = "Gen7AgentCore", "rolling-log.txt"
HEARTBEAT = re.compile(r"/api/agents/([A-Za-z0-9.-]+)/heartbeats/([0-9]+)\Z")
EVERY_SECONDS, RETRY_SECONDS, RETRIES = 2.0, 0.5, 20
SYSTEM_PID = 4
SITE = "Change Tracker"


# -- agents
def install_agent(host, details, service="Gen7AgentCore", running=True):
    """`details`: the bytes of its HubDetails.xml -> the service's Product"""
    folder = PLACES[service]
    host.files.put(folder + "\\HubDetails.xml", details)
    product = Agent(folder)
    host.services.add(Service(service, "Change Tracker Gen7 Agent", '"%s\\%s.exe"' % (
        "C:\\Program Files\\NNT Change Tracker Suite", service), product=product), running)
    return product


class Sealed:
    """What hub_details needs of a host: files of this machine."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="portshift-agent-")
        self.hub_details, self.seal, self.machine_id = (
            os.path.join(self.folder.name, name) for name in ("HubDetails.xml", "seal", "machine-id"))
        with open(self.machine_id, "w") as stream:
            stream.write("windows\n")

    def read(self, data):
        """-> (Settings, the bytes as the agent leaves them)"""
        with open(self.hub_details, "wb") as stream:
            stream.write(data)
        settings = hub_details.read(self)
        with open(self.hub_details, "rb") as stream:
            return settings, stream.read()


class Untrusted(Exception):
    """What is there has another certificate."""


class Agent(ConnectedProduct):
    """Heartbeats over a connection that it keeps; after too many failures in a row it sleeps until it is started anew."""

    def __init__(self, folder):
        self.folder, self.number, self.sealed = folder, 0, Sealed()
        self.settings = None
        # Numbers of the heartbeats that the hub took, and of those that failed.
        self.taken, self.failed = [], []
        self.sleeps = False

    def start(self, host, service):
        self.host, self.service, self.life = host, service, service.life
        self.failures, self.sleeps = 0, False
        self.hold_log("%s\\%s" % (self.folder, LOG))
        self.say("Agent starting, version 8.1.0.7 (stand-in)")
        path = self.folder + "\\HubDetails.xml"
        try:
            with host.files.opened(path, (READ,), (READ,)) as node:
                data = node.content
            self.settings, after = self.sealed.read(data)
            if after != data:
                host.files.replace(path, after)
        except (FileError, LabRefused) as err:
            # One that can't log in stays there, and does nothing.
            self.say("Hub connection failed (403 Forbidden): %s" % err)
            self._sleep()
            return
        host.clock.after(RETRY_SECONDS, self._work)

    def stop(self, host, service):
        # First, so that a heartbeat that is cut off by it, in another thread, is not taken for one that failed.
        self.life = None
        self.hang_up()
        self.say("Agent stopped")

    def say(self, text):
        moment = time.strftime("%Y-%m-%d %H:%M:%S", self.host.clock.local())
        self.write("%s,%03d [INFO ] %s\r\n" % (moment, self.host.clock.now() % 1 * 1000, text))

    def _sleep(self):
        self.hang_up()
        self.say("Hub Offline, connection retries exhausted")
        self.sleeps = True

    def _work(self):
        if self.life != self.service.life or self.service.state not in ("running", "stop_pending"):
            return
        self.number += 1
        life = self.life
        try:
            self._beat()
            self.failures = 0
            self.taken.append(self.number)
        except (NoAnswer, Untrusted) as err:
            if self.life != life:
                return    # it was stopped amid this heartbeat
            self.hang_up()
            self.failed.append(self.number)
            self.failures += 1
            self.say(("Certificate thumbprint does not match trusted: %s" if isinstance(err, Untrusted) else
                      "No answer from the hub (%s), trying again") % err)
        if self.failures > RETRIES:
            self._sleep()
        else:
            self.host.clock.after(RETRY_SECONDS if self.failures else EVERY_SECONDS, self._work)

    def _beat(self):
        if self.connection is not None and not self.host.is_connected(self.connection):
            self.hang_up()
        kept = self.connection is not None
        if not kept:
            self._connect()
        try:
            status = self._say_that_it_lives()
        except NoAnswer:
            if not kept or self.life is None:
                raise
            # A server may close a kept connection at any time; it goes out again, over a new one.
            self.hang_up()
            self._connect()
            status = self._say_that_it_lives()
        if status != 200:
            raise NoAnswer("HTTP %d" % status)

    def _say_that_it_lives(self):
        login = "%s:%s" % (self.settings.username, self.settings.password)
        return self.remote.request(
            "PUT", "%s/agents/%s/heartbeats/%d" % (self.settings.url.path, self.host.name, self.number),
            json.dumps(dict(monitored=[])).encode(),
            {"Authorization": "Basic " + base64.b64encode(login.encode()).decode(), "Content-Type": "application/json"})[0]

    def _connect(self):
        url, failure = self.settings.url, NoAnswer("the name %s is not known" % self.settings.url.host)
        for address in self.host.network.resolve(self.host, url.host):
            try:
                self.remote = self.host.network.connect(self.host, address, url.port)
                break
            except NoAnswer as err:
                failure = err
        else:
            raise failure
        if url.tls:
            found = hashlib.sha1(self.remote.presented()).hexdigest()
            if self.settings.thumbprint and found != self.settings.thumbprint:
                raise Untrusted("the hub's is %s" % found.upper())
        self.connection = self.host.connected(self.service.process, self.remote, url.port)


# -- a hub
def _der(path):
    """-> the certificate of a file that has its key, too"""
    if path is None:
        return None
    with open(path) as stream:
        text = stream.read()
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE-----"):text.index(end) + len(end)] + "\n")


def install_hub(host, folder, port, certificate, site=SITE, running=True):
    """A hub whose IIS is the model's own.  `folder`: of this machine, for IIS's configuration; `certificate`: the text of a
    certificate and its key -> the Product of its site"""
    host.files.folder("C:\\inetpub\\wwwroot")
    host.iis = host.firewall = lay_out(str(folder))
    thumbprint = host.iis.put_certificate(certificate)
    configuration = host.iis.configuration()
    binding = configuration.make_site(site, "C:\\inetpub\\wwwroot", "DefaultAppPool").add("https", "*:%d:" % port)
    host.iis.add_certificate(binding, thumbprint, "MY")
    configuration.write()
    product = host.iis_serves = Iis()
    host.services.add(Service("W3SVC", "World Wide Web Publishing Service", "C:\\Windows\\System32\\svchost.exe",
                              product=product), running)
    return product


class Iis(Product):
    """http.sys listens, in the name of System, for the bindings of sites that are started; the application takes heartbeats."""

    def __init__(self):
        self.listeners = {}
        # agent -> [(number, port)]
        self.arrivals = {}

    def start(self, host, service):
        with host.iis.alone():
            host.iis.set_state(sites={})
            self.follow(host)

    def stop(self, host, service):
        for listener in self.listeners.values():
            host.shut(listener)
        self.listeners = {}

    def follow(self, host):
        """What the configuration says now.  A site that can't have all its ports has none."""
        configuration, table, states = host.iis.configuration(), host.iis.ssl_table(), {}
        wanted, taken = {}, set()
        for site in sorted(configuration.sites, key=lambda site: site.id):
            states[site.name] = site.state
            bindings = [binding for binding in site.bindings if binding.is_web]
            if site.state == STARTED:
                if self._can_have(host, bindings, taken, wanted):
                    wanted.update({binding.parts[1]: binding for binding in bindings})
                    taken.update((binding.protocol, binding.information.lower()) for binding in bindings)
                else:
                    states[site.name] = STOPPED
        for port in set(self.listeners) - set(wanted):
            host.shut(self.listeners.pop(port))
        for port, binding in wanted.items():
            kept = table.get(binding.endpoint)
            self.listeners[port].certificate = kept and _der(host.iis.certificate(kept["store"], kept["hash"]))
        host.iis.set_state(sites=states)

    def _can_have(self, host, bindings, taken, wanted):
        if any((binding.protocol, binding.information.lower()) in taken for binding in bindings):
            return False
        made = []
        for port in {binding.parts[1] for binding in bindings} - set(self.listeners):
            try:
                self.listeners[port] = host.listen(host.services.processes[SYSTEM_PID], port, self._application(host, port))
                made.append(port)
            except PortError:
                for one in made:
                    host.shut(self.listeners.pop(one))
                return False
        return True

    def _application(self, host, port):
        def answer(method, path, _body):
            found = HEARTBEAT.match(path)
            if method == "PUT" and found:
                self.arrivals.setdefault(found.group(1), []).append((int(found.group(2)), port))
                return 200, b"{}"
            if method in ("GET", "HEAD"):
                return (200, b'{"hub": "stand-in"}') if path.rstrip("/") in ("", "/api") else (404, b"{}")
            return 404, b"{}"
        return answer
