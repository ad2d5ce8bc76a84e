# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root server and relay, which differ in where a report ends; and the server's other services."""

import collections
import socket
import threading
import time

from . import Refused, masthead, settings, wire
from .ledger import Ledger

MASTHEAD = "/masthead/masthead.afxm"
REGISTER = "/cgi-bin/bfenterprise/clientregister.exe"
REPORT = "/cgi-bin/bfenterprise/PostResults.exe"
GATHER = "/cgi-bin/bfenterprise/besgathermirror.exe"
PORT_SETTING = "_BESRelay_HTTPServer_PortNumber"
WEB_REPORTS_SETTING = "_WebReports_HTTPServer_PortNumber"
PARENT_SETTING = "_BESRelay_UploadManager_ParentURL"
NOTIFY_SECONDS = 3.0
# A relay in a DMZ: its parent opens the connection and asks over it for what came from below.  The page is the lab's own;
# how the product talks over such a connection is not published.
FROM_BELOW = "/lab/from-below"
RETRY_SECONDS = 0.25
# All of these below the two seconds for which an agent, or a parent, waits for an answer.
NOTHING_SECONDS = 1.0
PARENT_SECONDS = 1.5


def port_number(text, name):
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise Refused("setting %s is %r, which is no port" % (name, text))
    return int(text)


def server_configuration(host):
    """-> (masthead, port): what the root server goes by, and its other services too."""
    own = masthead.load(host.server_masthead)
    actionsite = masthead.load(host.server_actionsite)
    if own.port != actionsite.port:
        raise Refused("the mastheads of the root server disagree: %s says port %d, %s says port %d" % (
            host.server_masthead, own.port, host.server_actionsite, actionsite.port))
    configured = settings.service_settings(host.client_config, host.server_config).get(PORT_SETTING)
    return own, own.port if configured is None else port_number(configured, PORT_SETTING)


class _Waiting:
    """A request from below on a relay in a DMZ, until the parent has answered it."""

    def __init__(self, number, method, target, body):
        self.number, self.method, self.target, self.body = number, method, target, body
        self.answered = threading.Event()
        self.status, self.answer = 503, b"The parent has not come for it\n"


class FromBelow:
    """What children of a relay in a DMZ have said, in their order, for the parent to take away.

    Nothing is kept: who is not answered in time hears 503 and says it again, so the root server alone decides what
    has arrived.
    """

    def __init__(self):
        self.change = threading.Condition()
        self.queue = collections.deque()
        self.handed_out = {}
        self.numbers = 0
        self.connection = 0

    def ask_parent(self, method, target, body):
        with self.change:
            self.numbers += 1
            waiting = _Waiting(self.numbers, method, target, body)
            self.queue.append(waiting)
            self.change.notify_all()
        waiting.answered.wait(PARENT_SECONDS)
        with self.change:
            self.handed_out.pop(waiting.number, None)
            if waiting in self.queue:
                self.queue.remove(waiting)
            return waiting.status, waiting.answer

    def answer_parent(self, body):
        """The parent brings the answer to the last request, and gets the next one: `number method target`, then the body."""
        with self.change:
            head, _newline, answer = body.partition(b"\n")
            if head:
                number, status = head.split()
                waiting = self.handed_out.pop(int(number), None)
                if waiting is not None:
                    waiting.status, waiting.answer = int(status), answer
                    waiting.answered.set()
            # The parent has one connection.  A request given to one that is broken would wait in vain.
            self.connection += 1
            mine = self.connection
            self.change.notify_all()
            self.change.wait_for(lambda: self.queue or self.connection != mine, NOTHING_SECONDS)
            if not self.queue or self.connection != mine:
                return 200, b""
            waiting = self.queue.popleft()
            self.handed_out[waiting.number] = waiting
            return 200, ("%d %s %s\n" % (waiting.number, waiting.method, waiting.target)).encode("latin-1") + waiting.body


class ToChild:
    """The parent's side: keeps a connection to a relay in a DMZ, as long as either of them lives."""

    def __init__(self, address, port, source, answer):
        self.connection = wire.Connection(address, port, source)
        self.answer = answer

    def work(self):
        said = b""
        while True:
            try:
                status, request = self.connection.request("POST", FROM_BELOW, said)
                if status != 200:
                    raise wire.BadAnswer("HTTP %d" % status)
                said = self._perform(request) if request else b""
            except (OSError, ValueError):
                self.connection.close()
                said = b""
                time.sleep(RETRY_SECONDS)

    def _perform(self, request):
        head, _newline, body = request.partition(b"\n")
        number, method, target = head.decode("latin-1").split()
        path, _mark, query = target.partition("?")
        status, answer = self.answer(method, path, query, body)
        return ("%s %d\n" % (number, status)).encode("ascii") + answer


class _Listening:
    """Common to root server and relay: one TCP listener, one UDP socket of the same number, the registered children."""

    def __init__(self, host):
        self.host = host
        self.masthead = None
        self.port = None
        self.children = set()

    def listen(self):
        try:
            with open(self.host.fault) as stream:
                kind, _colon, number = stream.read().strip().partition(":")
        except FileNotFoundError:
            kind = number = ""
        if kind == "refuse-port" and number == str(self.port):
            raise Refused("cannot listen on %s:%s/tcp: the lab was told to refuse this port here" % (
                self.host.address, self.port))
        self.listener = wire.Listener(self.host.address, self.port, self.answer)
        self.udp = wire.bind(socket.SOCK_DGRAM, self.host.address, self.port)

    def start(self):
        self.listener.start()
        threading.Thread(target=self.notifications, daemon=True).start()
        for name in sorted(self.host.lab["hosts"]):
            child = self.host.lab["hosts"][name]
            if child["parent"] == self.host.name and child.get("parent_connects"):
                # To the port that this side goes by: parent and child of the product have the same one.
                connection = ToChild(child["address"], self.port, self.host.address, self.answer)
                threading.Thread(target=connection.work, daemon=True).start()

    def stop(self):
        pass

    def answer(self, method, path, query, body):
        if method in ("GET", "HEAD") and path == MASTHEAD:
            return 200, self.masthead.data
        if method == "GET" and path == REGISTER:
            return self.register(wire.parameters(query))
        if method == "POST" and path == REPORT:
            return self.report(body)
        if method == "GET" and path == GATHER:
            return 200, b"OK\n"
        return 404, b"Not found\n"

    def child(self, address):
        # The agent on this very host shares the address; the service takes the host's notifications.
        if address and address != self.host.address:
            self.children.add(address)

    def notify_children(self, datagram):
        # To the port that this service itself listens on: a child that still expects another one misses it, and that
        # makes it slow, not cut off.
        for address in tuple(self.children):
            try:
                self.udp.sendto(datagram, (address, self.port))
            except OSError:
                pass


class RootServer(_Listening):
    def prepare(self):
        self.masthead, self.port = server_configuration(self.host)
        self.listen()
        self.ledger = Ledger(self.host.ledger)

    def register(self, given):
        if not given.get("ComputerName"):
            return 400, b"Registration without a computer name\n"
        self.child(given.get("Address"))
        return 200, b"Registered\n"

    def report(self, body):
        given = wire.parameters(body.decode("latin-1"))
        client = given.get("Client", "")
        try:
            number, port = int(given["Number"]), int(given["Port"])
        except (KeyError, ValueError):
            number = port = 0
        if client not in self.host.lab["hosts"] or number < 1 or port < 1:
            return 400, b"Not a report of a computer of this deployment\n"
        self.ledger.accept(client, number, port)
        return 200, b"OK\n"

    def notifications(self):
        while True:
            time.sleep(NOTIFY_SECONDS)
            self.notify_children(b"notify\n")


class Relay(_Listening):
    def prepare(self):
        self.own_config = settings.RememberedFile(self.host.relay_config)
        self.masthead = masthead.load(self.host.client_masthead)
        given = settings.service_settings(self.host.client_config, self.host.relay_config)
        configured = given.get(PORT_SETTING)
        self.port = self.masthead.port if configured is None else port_number(configured, PORT_SETTING)
        url = given.get(PARENT_SETTING) or self.masthead.registration_url
        self.parent = masthead.host_and_port(url)
        if self.parent is None:
            raise Refused("setting %s is %r, which is no URL with a port" % (PARENT_SETTING, url))
        self.from_below = FromBelow() if self.host.lab["hosts"][self.host.name].get("parent_connects") else None
        self.idle = []    # kept-alive connections to the parent that no request uses just now
        self.listen()

    def stop(self):
        self.own_config.write_back()

    def answer(self, method, path, query, body):
        if self.from_below and method == "POST" and path == FROM_BELOW:
            return self.from_below.answer_parent(body)
        return super().answer(method, path, query, body)

    def register(self, given):
        self.child(given.get("Address"))
        # To the parent, the child is this relay: notifications go down the way that reports come up.
        given["Address"] = self.host.address
        return self.forward("GET", REGISTER + "?" + "&".join("%s=%s" % item for item in sorted(given.items())))

    def report(self, body):
        return self.forward("POST", REPORT, body)

    def forward(self, method, path, body=b""):
        """The child hears 200 only when the parent took it; a relay of the lab keeps nothing for later."""
        if self.from_below:
            status, answer = self.from_below.ask_parent(method, path, body)
            return (status if status in (200, 400) else 503), answer
        try:
            connection = self.idle.pop()
        except IndexError:
            connection = wire.Connection(self.parent[0], self.parent[1], self.host.address)
        stale = connection.socket is not None
        try:
            try:
                status, answer = connection.request(method, path, body)
            except (OSError, ValueError):
                if not stale:
                    raise
                # The parent was restarted since: all that was kept is of no use any more.
                del self.idle[:]
                status, answer = connection.request(method, path, body)
        except (OSError, ValueError):
            return 503, b"The parent does not answer\n"
        self.idle.append(connection)
        return (status if status in (200, 400) else 503), answer

    def notifications(self):
        while True:
            try:
                datagram = self.udp.recv(2048)
            except OSError:
                continue
            self.notify_children(datagram)


class DatabaseService:
    """FillDB and GatherDB: nothing to see but the vendor's start order, root server first."""

    port = None

    def __init__(self, host):
        self.host = host

    def prepare(self):
        port = server_configuration(self.host)[1]
        connection = wire.Connection(self.host.address, port, self.host.address)
        try:
            status = connection.request("GET", MASTHEAD)[0]
        except (OSError, ValueError) as err:
            raise Refused("the root server does not answer on %s:%d (%s): start besserver first" % (
                self.host.address, port, err))
        finally:
            connection.close()
        if status != 200:
            raise Refused("what answers on %s:%d is not the root server (HTTP %d)" % (self.host.address, port, status))

    def start(self):
        pass

    def stop(self):
        pass


class WebReports:
    """A port of its own, which must not move when the agents' port does."""

    def __init__(self, host):
        self.host = host

    def prepare(self):
        given = settings.service_settings(self.host.client_config, self.host.server_config)
        self.port = port_number(given.get(WEB_REPORTS_SETTING, "8080"), WEB_REPORTS_SETTING)
        self.listener = wire.Listener(self.host.address, self.port, self.answer)

    def answer(self, method, path, query, body):
        return 200, b"Web Reports\n"

    def start(self):
        self.listener.start()

    def stop(self):
        pass
