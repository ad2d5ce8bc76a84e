# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BigFix on a host of the model: BESClient, BESRelay, BESRootServer and what runs beside it, with their registry and their files.

What they answer is what the stand-ins of tests/lab answer, and what they believe of a masthead is what those believe.  On a host
that is `real` they listen on loopback, and processes of tests/lab register and report there.
"""

import os
import re
import tempfile
import time

from tests.lab.authority import AuthorityError, openssl
from tests.lab.bigfix import Refused as LabRefused
from tests.lab.bigfix import listening, masthead
from tests.lab.bigfix.ledger import Figures
from tests.lab.bigfix.listening import MASTHEAD, PARENT_SETTING, PORT_SETTING, REGISTER, REPORT, WEB_REPORTS_SETTING

from .files import READ, FileError
from .network import NoAnswer, PortError
from .registry import RegistryError
from .services import DELAYED, ConnectedProduct, Product, Refused, Service

KEY = "HKLM\\SOFTWARE\\WOW6432Node\\BigFix"
CLIENT, SERVER = KEY + "\\EnterpriseClient", KEY + "\\Enterprise Server"
SETTINGS = CLIENT + "\\Settings\\Client"
ENTERPRISE = "\\Program Files (x86)\\BigFix Enterprise"
DATE = "Thu, 01 Jan 2015 00:00:00 +0000"
PARENTS = ("__RelayServer1", "__RelayServer2")
LOGS = "\\__BESData\\__Global\\Logs"
CHAIN = "\\__BESData\\__Global\\RelayChain"
WEB_REPORTS_PORT = 8080
SIGNED = re.compile(br"(?is)(?:[^\n]+\n)*?Content-Type:\s*multipart/signed")
# When the agent first tries, how often it tries again, and how often it reports.
FIRST_SECONDS, RETRY_SECONDS, REPORT_SECONDS = 1.0, 2.0, 5.0


# -- what an installation leaves
def set_setting(host, name, value):
    host.registry.set(SETTINGS + "\\" + name, "value", value)
    host.registry.set(SETTINGS + "\\" + name, "effective date", DATE)


def setting(host, name):
    found = host.registry.get(SETTINGS + "\\" + name, "value")
    if found and found[0] != "String":
        raise Refused("setting %s is of type %s" % (name, found[0]))
    return found and found[1]


def parent_url(address, port):
    return "http://%s:%d/bfmirror/downloads/" % (address, port)


def install_client(host, masthead_bytes, parent=None, settings=(), drive="C:", start_mode=DELAYED, running=True):
    """`parent`: (address or name, port) -> the service's Product"""
    folder = drive + ENTERPRISE + "\\BES Client"
    host.registry.set(CLIENT, "EnterpriseClientFolder", folder + "\\")
    host.registry.set(CLIENT, "Version", "11.0.2.125")
    for below in (LOGS, CHAIN):
        host.files.folder(folder + below)
    host.files.put(folder + "\\actionsite.afxm", masthead_bytes)
    if parent:
        set_setting(host, PARENTS[0], parent_url(*parent))
    set_setting(host, "_BESClient_Comm_CommandPollEnable", "1")
    for name, value in dict(settings).items():
        set_setting(host, name, value)
    product = Client()
    host.services.add(Service("BESClient", "BES Client", '"%s\\BESClient.exe"' % folder, start_mode, product=product), running)
    return product


def install_relay(host, masthead_bytes, parent, drive="C:", running=True, **more):
    """A relay and its agent -> (the relay's Product, the agent's)"""
    folder = drive + ENTERPRISE + "\\BES Relay"
    host.files.folder(folder)
    agent = install_client(host, masthead_bytes, parent, drive=drive, running=False, **more)
    set_setting(host, PARENT_SETTING, parent_url(*parent))
    relay = Relay()
    host.services.add(Service("BESRelay", "BES Relay", '"%s\\BESRelay.exe"' % folder, product=relay), running)
    if running:
        _run(host, "BESClient")
    return relay, agent


def install_server(host, masthead_bytes, computers, drive="C:", running=True, **more):
    """A root server with its agent; `computers`: the names that may report -> (the server's Product, the agent's)"""
    folder = drive + ENTERPRISE + "\\BES Server"
    host.registry.set(SERVER, "EnterpriseServerFolder", folder + "\\")
    port = masthead.parse(masthead_bytes, "masthead").port
    host.registry.set(SERVER, "Port", str(port))
    host.registry.set(SERVER + "\\MFSConfig", "RESTURL", "https://localhost:%d/api" % port)
    host.registry.set(SERVER + "\\MFSConfig", "RESTUsername", "lab-operator")
    host.registry.set(SERVER + "\\MFSConfig", "RESTPassword", "{obf}lab-secret-7Qz")
    host.files.put(folder + "\\Masthead.afxm", masthead_bytes)
    agent = install_client(host, masthead_bytes, drive=drive, running=False, **more)
    set_setting(host, WEB_REPORTS_SETTING, str(WEB_REPORTS_PORT))
    server = RootServer(computers)
    for name, shown, product in (
            ("BESRootServer", "BES Root Server", server), ("FillDB", "BES FillDB", Database()),
            ("GatherDB", "BES GatherDB", Database()), ("BESWebReportsServer", "BES Web Reports Server", WebReports())):
        host.services.add(Service(name, shown, '"%s\\%s.exe"' % (folder, name), product=product), running)
    if running:
        _run(host, "BESClient")
    return server, agent


def _run(host, name):
    host.services.start(name)
    while host.services.get(name).state == "start_pending":
        host.clock.sleep(0.5)


# -- what the services read
def folder_of(host, key, name):
    found = host.registry.text(key, name)
    if not found:
        raise Refused("the registry has no %s in %s" % (name, key))
    return found.rstrip("\\")


def client_folder(host):
    return folder_of(host, CLIENT, "EnterpriseClientFolder")


def masthead_of(host, path):
    """Whole, of one port, intact, as a stand-in of tests/lab judges it; else Refused."""
    try:
        with host.files.opened(path, (READ,), (READ,)) as node:
            data = node.content
    except FileError as err:
        raise Refused("%s: masthead cannot be read, %s" % (path, err))
    return judged(data, path)


def judged(data, where):
    """As masthead.load does, without a fork of this process, which has many threads."""
    if SIGNED.match(data):
        with tempfile.NamedTemporaryFile(suffix=".afxm") as file:
            file.write(data)
            file.flush()
            try:
                openssl("smime", "-verify", "-binary", "-noverify", "-in", file.name, "-out", os.devnull)
            except AuthorityError:
                raise Refused("%s: the signature of the masthead is broken" % where)
    try:
        return masthead.parse(data, where)
    except LabRefused as err:
        raise Refused(str(err))


def port_of(host, name, otherwise):
    text = setting(host, name)
    if text is None:
        return otherwise
    try:
        return listening.port_number(text, name)
    except LabRefused as err:
        raise Refused(str(err))


class View:
    """What the stand-ins of tests/lab know of their host, of one of the model."""

    def __init__(self, host, computers):
        self.name, self.address = host.name, host.addresses[0]
        self.lab = dict(hosts={name: dict(parent=None) for name in computers})


class Serving(Product):
    """Root server and relay: a tcp port that answers, and the udp port of the same number."""

    def listen(self, host, service, port, stand_in):
        self.port = port

        def answer(method, target, body):
            path, _mark, query = target.partition("?")
            return stand_in.answer(method, path, query, body)

        try:
            host.listen(service.process, port, answer)
            host.listen(service.process, port, protocol="udp")
        except PortError as err:
            raise Refused("cannot listen on port %d: %s" % (port, err))


class RootServer(Serving):
    def __init__(self, computers):
        self.computers = list(computers)
        # As a ledger of tests/lab counts.
        self.figures = Figures()
        self.port = None

    def start(self, host, service):
        folder = folder_of(host, SERVER, "EnterpriseServerFolder")
        own = masthead_of(host, folder + "\\Masthead.afxm")
        for other in (folder + "\\actionsite.afxm",):
            if host.files.get(other) and masthead_of(host, other).port != own.port:
                raise Refused("the mastheads of the root server disagree: %s and %s" % (folder + "\\Masthead.afxm", other))
        made = listening.RootServer(View(host, self.computers))
        made.masthead, made.ledger = own, self
        made.port = port_of(host, PORT_SETTING, own.port)
        self.host = host
        self.listen(host, service, made.port, made)

    # As a ledger of tests/lab.
    def accept(self, client, number, port):
        self.figures.accept(self.host.clock.now(), client, number, port)


class Relay(Serving):
    port = None

    def start(self, host, service):
        own = masthead_of(host, client_folder(host) + "\\actionsite.afxm")
        url = setting(host, PARENT_SETTING) or setting(host, PARENTS[0]) or own.registration_url
        parent = masthead.host_and_port(url)
        if parent is None:
            raise Refused("setting %s is %r, which is no URL with a port" % (PARENT_SETTING, url))
        made = Forwarding(host, parent)
        made.masthead, made.port = own, port_of(host, PORT_SETTING, own.port)
        self.listen(host, service, made.port, made)


class Forwarding(listening.Relay):
    """A relay of tests/lab whose parent is reached by the network of the model."""

    def __init__(self, host, parent):
        super().__init__(View(host, ()))
        self.model, self.parent, self.from_below = host, parent, None

    def forward(self, method, path, body=b""):
        try:
            remote = reach(self.model, *self.parent)
            try:
                status, answer = remote.request(method, path, body)
            finally:
                remote.close()
        except NoAnswer:
            return 503, b"The parent does not answer\n"
        return (status if status in (200, 400) else 503), answer


def reach(host, name, port, timeout=2.0):
    """-> what to talk to; NoAnswer"""
    said = NoAnswer("the name %s is not known" % name)
    for address in host.network.resolve(host, name):
        try:
            return host.network.connect(host, address, port, timeout)
        except NoAnswer as err:
            said = err
    raise said


class Database(Product):
    """FillDB and GatherDB: they need the root server."""

    def start(self, host, service):
        own = masthead_of(host, folder_of(host, SERVER, "EnterpriseServerFolder") + "\\Masthead.afxm")
        port = port_of(host, PORT_SETTING, own.port)
        try:
            status, _body = reach(host, host.addresses[0], port).request("GET", MASTHEAD)
        except NoAnswer as err:
            raise Refused("the root server does not answer on port %d (%s)" % (port, err))
        if status != 200:
            raise Refused("what answers on port %d is not the root server (HTTP %d)" % (port, status))


class WebReports(Product):
    """A port of its own, which does not move."""

    def start(self, host, service):
        port = port_of(host, WEB_REPORTS_SETTING, WEB_REPORTS_PORT)
        try:
            host.listen(service.process, port, lambda _method, _path, _body: (200, b"Web Reports\n"))
        except PortError as err:
            raise Refused(str(err))


class Client(ConnectedProduct):
    """The agent: registers, keeps its connection, reports, and writes its log, which it holds open."""

    def __init__(self):
        self.number = 0
        self.headed = None

    def start(self, host, service):
        self.host, self.service, self.life = host, service, service.life
        self.folder = client_folder(host)
        self.connection = self.remote = self.headed = None
        self._open_log()
        try:
            self.masthead = masthead_of(host, self.folder + "\\actionsite.afxm")
            self.parents = self._parents()
        except (Refused, RegistryError) as err:
            self.say("Client does not start: %s" % err)
            raise Refused(str(err))
        host.clock.after(FIRST_SECONDS, self._work)

    def stop(self, host, service):
        self.hang_up()
        self.say("Client shutdown")
        self.life = None

    def _parents(self):
        urls = [setting(self.host, name) for name in PARENTS if setting(self.host, name)]
        parents = []
        for url in urls or [self.masthead.registration_url]:
            parent = masthead.host_and_port(url)
            if parent is None:
                raise Refused("parent %r is no URL with a port" % url)
            parents.append(parent)
        return parents

    # -- the log
    def _open_log(self):
        name = time.strftime("%Y%m%d.log", self.host.clock.local())
        self.hold_log("%s%s\\%s" % (self.folder, LOGS, name))
        self.day = name

    def say(self, text):
        now = self.host.clock.local()
        if time.strftime("%Y%m%d.log", now) != self.day:
            self._open_log()
        head = "At %s %s - \r\n" % (time.strftime("%H:%M:%S", now), _zone(self.host.clock.utc_offset))
        lines = "   %s\r\n" % text
        if self.headed != (self.day, head):
            lines, self.headed = head + lines, (self.day, head)
        node = self.log.node
        largest = setting(self.host, "_BESClient_Log_MaxSize")
        if largest and len(node.data) >= int(largest):
            # It is renamed and begun anew; a second time it is simply begun anew.
            path, name = node.path, node.name
            if self.host.files.get(path + ".bkg") is None:
                self.host.files.rename(path, name + ".bkg")
            else:
                self.log.close()
                self.host.files.remove(path)
            self._open_log()
        self.write(lines)

    def chain(self, letter, text):
        now = self.host.clock.local()
        self.host.files.append("%s%s\\%s" % (self.folder, CHAIN, time.strftime("%Y%m%d.txt", now)), ("At %s %s - %s - %s\r\n" % (
            time.strftime("%H:%M:%S", now), _zone(self.host.clock.utc_offset), letter, text)).encode())

    # -- its work
    def _work(self):
        if self.life != self.service.life or self.service.state not in ("running", "stop_pending"):
            return
        if self.connection is not None and not self.host.is_connected(self.connection):
            self.hang_up()
        seconds = REPORT_SECONDS
        try:
            if self.connection is None:
                self._register()
            self._post()
        except NoAnswer:
            self.hang_up()
            seconds = RETRY_SECONDS
        self.host.clock.after(seconds, self._work)

    def _register(self):
        failure = NoAnswer("there is no parent")
        for name, port in self.parents:
            url = "http://%s:%d%s" % (name, port, REGISTER)
            self.say("RegisterOnce: Attempting to register with '%s...'" % url)
            self.say("Trying to connect to relay on port %d" % port)
            try:
                self.remote = reach(self.host, name, port)
                self._check_masthead_of_parent()
                self._asked("GET", "%s?RequestType=RegisterMe60&ComputerName=%s&Address=%s&Port=%d" % (
                    REGISTER, self.host.name, self.host.addresses[0], port))
            except (NoAnswer, Refused) as err:
                failure = NoAnswer(str(err))
                self.say("RegisterOnce: GetURL failed - General transport failure. - %s - registration url - %s" % (err, url))
                self.chain("F", "%s:%d" % (name, port))
                self.hang_up()
                continue
            self.connection = self.host.connected(self.service.process, self.remote, port)
            self.port = port
            self.say("Successful Synchronization")
            self.chain("S", "%s:%d" % (name, port))
            return
        raise failure

    def _asked(self, method, path, body=b""):
        status, answer = self.remote.request(method, path, body)
        if status != 200:
            raise NoAnswer("HTTP %d" % status)
        return answer

    def _check_masthead_of_parent(self):
        data = self._asked("GET", MASTHEAD)
        if data == self.masthead.data:
            return
        theirs = judged(data, "masthead of the parent")
        if theirs.serial != self.masthead.serial:
            raise Refused("masthead of the parent: serial number %s, this deployment has %s" % (
                theirs.serial, self.masthead.serial))
        if self.masthead.signed and not theirs.signed:
            raise Refused("masthead of the parent: it is not signed")

    def _post(self):
        number = self.number + 1
        self._asked("POST", REPORT, ("Client=%s&Number=%d&Port=%d" % (self.host.name, number, self.port)).encode())
        self.number = number
        self.say("Report posted successfully")


def _zone(offset):
    return "%s%02d%02d" % ("-" if offset < 0 else "+", abs(offset) // 3600, abs(offset) % 3600 // 60)


# -- an estate of tests/lab, some of whose hosts are Windows
def take_over(lab, host, drive="C:"):
    """Installs on `host` what the host of that name of a lab (tests.lab, written and not begun) has, and takes that one out of
    the lab: its processes are not begun.  The host is `real` and has the lab's address of it.  A root server counts the reports
    of all of them (RootServer.figures) -> what the installation gives"""
    given = next(one for one in lab.hosts if one.name == host.name)
    assert host.real and host.addresses == [given.address]
    lab.hosts.remove(given)
    host.names.update({one: [described["address"]] for one, described in lab.data["hosts"].items()})
    with open(given.client_masthead, "rb") as stream:
        data = stream.read()
    if given.role == "server":
        return install_server(host, data, list(lab.data["hosts"]), drive=drive)
    parent = (lab.data["hosts"][given.parent]["address"], lab.data["port"])
    if given.role == "relay":
        return install_relay(host, data, parent, drive=drive)
    return install_client(host, data, parent, drive=drive)
