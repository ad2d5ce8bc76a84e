# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IIS, http.sys and Windows Firewall before the hub's application, as far as a port of a site goes.

It serves the bindings of the folder that stands for the Windows machine (windows.py), where the modules of tests/windows
change them, and says there in which state each site is.  A new binding disturbs no connection; a site that can't have all its
ports has none.
"""

import http.client
import ipaddress
import os
import selectors
import signal
import socket
import ssl
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler

from .windows import CCS, SNI, STARTED, STOPPED, Machine

LOOK_SECONDS = 0.1
IDLE_SECONDS = 120.0
ANSWER_SECONDS = 300.0
MOST_BYTES = 50 * 1024 * 1024
FILES = ("applicationHost.config", "sslcert.json", "state.json", "firewall.json")
# For the next one on the way only.
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server")
INBOUND, BLOCK = 1, 0
TCP, ANY_PROTOCOL = 6, 256


# -- Windows Firewall
def admits(rules, address, port):
    """Whether one from that address gets in; what no rule names is shut, and a rule that blocks goes before all others."""
    if rules is None:
        return True
    matching = [rule for rule in rules if rule["Enabled"] and rule["Direction"] == INBOUND
                and rule["Protocol"] in (TCP, ANY_PROTOCOL) and _has_port(rule["LocalPorts"], port)
                and _has_address(rule["RemoteAddresses"], address)]
    return bool(matching) and all(rule["Action"] != BLOCK for rule in matching)


def _has_port(text, port):
    if text in (None, "", "*"):
        return True
    return any(int(one.split("-")[0]) <= port <= int(one.split("-")[-1]) for one in text.split(","))


def _has_address(text, address):
    if text in (None, "", "*"):
        return True
    address = ipaddress.ip_address(address)
    for one in text.split(","):
        first, _dash, last = one.partition("-")
        try:
            if last:
                first, last = ipaddress.ip_address(first), ipaddress.ip_address(last)
                if first.version == address.version and first <= address <= last:
                    return True
            elif address in ipaddress.ip_network(one):
                return True
        except ValueError:
            continue    # LocalSubnet and the like: no host here
    return False


# -- one port
class Route:
    """What a port has of one binding."""

    def __init__(self, machine, table, binding):
        self.ip, self.port, self.hostname = binding.parts
        self.is_tls = binding.protocol == "https"
        self.is_sni = bool(binding.ssl_flags & SNI)
        self.chain = None
        if self.is_tls:
            kept = table.get(binding.endpoint)
            self.chain = kept and (machine.certificate("ccs", self.hostname) if binding.ssl_flags & CCS else
                                   machine.certificate(kept["store"], kept["hash"]))

    def is_for(self, hostname):
        return not self.hostname or self.hostname.lower() == hostname.lower()


def context_of(routes):
    """-> what a port presents, or None where it has no TLS; without a certificate it is there and every handshake fails."""
    routes = [route for route in routes if route.is_tls]
    if not routes:
        return None
    base, named = _context(None), {}
    for route in routes:
        if route.is_sni and route.chain:
            named[route.hostname.lower()] = _context(route.chain)
        elif route.chain:
            base.load_cert_chain(route.chain)

    def choose(connection, name, _context):
        if name and name.lower() in named:
            connection.context = named[name.lower()]

    base.set_servername_callback(choose)    # its newer name is not there in Python 3.6
    return base


def _context(chain):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if chain:
        context.load_cert_chain(chain)
    return context


class Port:
    """A port that http.sys listens on, with the connections that came in by it."""

    def __init__(self, number):
        self.number = number
        self.routes, self.context = [], None
        self.lock = threading.Lock()
        self.connections = set()
        self.open = True
        self.listener = _listener(number)

    def end(self):
        """Idle connections end at once, others with their answer."""
        with self.lock:
            self.open = False
            for connection in self.connections:
                if not connection.is_busy:
                    connection.hang_up()
            # Last: a client that finds the port shut finds the kept connections ended too.
            self.listener.close()


def _listener(port):
    """On every address of both families, as http.sys does for whatever address a binding names."""
    if socket.has_ipv6:
        try:
            listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        except OSError:
            listener = None    # the kernel has none
        if listener:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            return _listening(listener, ("::", port))
    return _listening(socket.socket(socket.AF_INET, socket.SOCK_STREAM), ("0.0.0.0", port))


def _listening(listener, address):
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(256)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


class Connection(threading.Thread):
    def __init__(self, port, accepted, peer, application_port):
        super().__init__(daemon=True)
        self.port, self.socket, self.peer, self.application_port = port, accepted, peer, application_port
        self.is_busy = True

    def hang_up(self):
        try:
            # Past TLS, which its own thread is reading.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        except OSError:
            pass    # it has gone

    def waits(self):
        """Between two requests -> whether there may be another one."""
        with self.port.lock:
            self.is_busy = False
            return self.port.open

    def run(self):
        with self.port.lock:
            self.port.connections.add(self)
        try:
            self.socket.settimeout(IDLE_SECONDS)
            if self.port.context:
                self.socket = self.port.context.wrap_socket(self.socket, server_side=True)
            Request(self.socket, self.peer, self)
        except (OSError, ValueError):
            pass    # a caller that has gone, or that we have no certificate for
        finally:
            with self.port.lock:
                self.port.connections.discard(self)
            self.socket.close()


class Request(BaseHTTPRequestHandler):
    """Passes each request of a connection on, as nginx does in the other kind of lab; `server` is the Connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Microsoft-HTTPAPI/2.0", ""
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS

    def log_message(self, *_arguments):
        pass

    def handle_one_request(self):
        if not self.server.waits():
            self.close_connection = True
            return
        super().handle_one_request()

    def parse_request(self):
        self.server.is_busy = True
        return super().parse_request()

    def _say(self, status):
        body = b"<h2>HTTP Error %d</h2>\n" % status
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self):
        size = self.headers.get("Content-Length", "0")
        if not size.isdigit() or int(size) > MOST_BYTES:
            self.close_connection = True
            return self._say(413)
        body = self.rfile.read(int(size))
        port, host = self.server.port, self.headers.get("Host", "")
        if not any(route.is_for(host.rsplit(":", 1)[0]) for route in port.routes):
            return self._say(404)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        headers.update({"X-Real-IP": self.server.peer, "X-Forwarded-Port": str(port.number)})
        application = http.client.HTTPConnection("127.0.0.1", self.server.application_port, timeout=ANSWER_SECONDS)
        try:
            application.request(self.command, self.path, body, headers)
            answer = application.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return self._say(503)
        finally:
            application.close()
        self.send_response(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        if not port.open:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on


# -- all of it
class Server:
    def __init__(self, machine, application_port):
        self.machine, self.application_port = machine, application_port
        self.selector = selectors.DefaultSelector()
        self.ports = {}
        self.rules = None
        self.seen = None

    def prepare(self):
        """As after the start of a machine: every site that starts by itself is tried anew."""
        with self.machine.alone():
            self.machine.set_state(sites={}, asked=0, answered=0, pid=None)
            self.follow()
            self.machine.set_state(pid=os.getpid())    # who waits for it waits for all of it

    def _signature(self):
        found = []
        for name in FILES:
            try:
                status = os.stat(self.machine.own(name))
                found.append((status.st_mtime_ns, status.st_ino, status.st_size))
            except FileNotFoundError:
                found.append(None)
        return found

    def look(self):
        if self._signature() != self.seen:
            # The modules write several files one after the other.
            with self.machine.alone():
                self.follow()

    def follow(self):
        """For one that is alone."""
        configuration, table, state = self.machine.configuration(), self.machine.ssl_table(), self.machine.state()
        routes, taken = {}, set()
        for site in sorted(configuration.sites, key=lambda site: site.id):
            if site.state == STARTED:
                bindings = [binding for binding in site.bindings if binding.is_web]
                if self._can_have(bindings, taken):
                    state["sites"][site.name] = STARTED
                    for binding in bindings:
                        taken.add((binding.protocol, binding.information.lower()))
                        routes.setdefault(binding.parts[1], []).append(Route(self.machine, table, binding))
                else:
                    state["sites"][site.name] = STOPPED
        for number in set(self.ports) - set(routes):
            self.selector.unregister(self.ports[number].listener)
            self.ports.pop(number).end()
        for number, found in routes.items():
            self.ports[number].routes, self.ports[number].context = found, context_of(found)
        self.rules = self.machine.rules()
        there = {site.name for site in configuration.sites}
        wanted = dict(state, sites={name: how for name, how in state["sites"].items() if name in there}, answered=state["asked"])
        if wanted != self.machine.state():
            self.machine.set_state(**wanted)
        self.seen = self._signature()

    def _can_have(self, bindings, taken):
        """Whether a site gets all that it wants; its ports are listened on then."""
        if any((binding.protocol, binding.information.lower()) in taken for binding in bindings):
            return False
        for number in {binding.parts[1] for binding in bindings} - set(self.ports):
            try:
                self.ports[number] = Port(number)
            except (OSError, OverflowError):
                return False
            self.selector.register(self.ports[number].listener, selectors.EVENT_READ, self.ports[number])
        return True

    def _accept(self, port):
        try:
            accepted, peer = port.listener.accept()
        except OSError:
            return    # it has gone
        peer = peer[0][len("::ffff:"):] if peer[0].startswith("::ffff:") else peer[0].partition("%")[0]
        if not admits(self.rules, peer, port.number):
            # A firewall says nothing; this much it can't hide, that there is something.
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            return
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Connection(port, accepted, peer, self.application_port).start()

    def serve(self):
        """Until the folder of the machine is gone."""
        while os.path.isdir(self.machine.folder):
            for key, _events in self.selector.select(LOOK_SECONDS):
                self._accept(key.data)
            try:
                self.look()
            except FileNotFoundError:
                if os.path.isdir(self.machine.folder):
                    raise


def main(arguments):
    """Without arguments the hub's, in a container; otherwise FOLDER and the port of an application."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if arguments:
        folder, application_port = arguments
        server = Server(Machine(folder), int(application_port))
        server.prepare()
    else:
        from .. import identity
        from .host import APPLICATION_PORT, IIS_SERVICE, Host
        server = Server(Machine(), APPLICATION_PORT)
        server.prepare()
        identity.record(Host.load(), IIS_SERVICE)
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
