# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies between hosts: names and addresses, listeners, connections, the firewall, portproxy, and the ranges of ports.

A model's listener answers other models at once.  One that is `real` also holds its socket on loopback, so that processes of this
machine connect to it; and where no model has an address of 127.0.0.0/8, a model connects to what really listens there.
"""

import contextlib
import http.client
import http.server
import ipaddress
import itertools
import socket
import ssl
import threading

from tests.lab.change_tracker.iis import admits

# A connection from one host to itself is asked of no firewall.
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
ANY = "0.0.0.0"
# Above it Windows' own dynamic range begins.
DYNAMIC = 49152


class NoAnswer(Exception):
    """"refused" or "timed out", as the contract has them."""


class PortError(Exception):
    """What Windows says when a port can't be had."""


class Listener:
    """`answer(method, path, body) -> (status, bytes)`; None: it takes connections and says nothing.  `certificate`: the DER that
    it shows by TLS, where it has one."""

    def __init__(self, process, protocol, address, port, answer=None, forward=None):
        self.process, self.protocol, self.address, self.port = process, protocol, address, port
        self.answer, self.forward, self.real, self.certificate = answer, forward, None, None


class Connection:
    """One end of it, as its host sees it.  `others`: [(host, Connection)] that end with it.  `real`: the socket that it is."""

    def __init__(self, process, local_address, local_port, remote_address, remote_port, state="Established"):
        self.process, self.state = process, state
        self.local_address, self.local_port = local_address, local_port
        self.remote_address, self.remote_port = remote_address, remote_port
        self.others, self.listener, self.real = [], None, None


class Range:
    """`administered`: made by netsh, which keeps the port for a process that asks for it; else it is kept from all."""

    def __init__(self, family, protocol, first, last, administered=True):
        self.family, self.protocol, self.first, self.last, self.administered = family, protocol, first, last, administered

    def has(self, protocol, port, family="ipv4"):
        return (self.family, self.protocol) == (family, protocol) and self.first <= port <= self.last


class Rules:
    """The rules of Windows Firewall, with the names of its COM interface; None: there is none."""

    def __init__(self):
        self._rules = None

    def rules(self):
        return self._rules

    def set_rules(self, rules):
        self._rules = rules


class Network:
    """Which hosts there are.  `names`: what the names of a DNS lead to.  `real`: networks of this machine that are reached."""

    def __init__(self):
        self.hosts, self.names, self.real = [], {}, [LOOPBACK]
        self.source_ports = itertools.cycle(range(DYNAMIC, 65536))

    def add(self, host):
        self.hosts.append(host)
        self.names.setdefault(host.name.lower(), list(host.addresses))

    def resolve(self, host, name):
        """-> [address]"""
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(name))]
        if name.lower() == "localhost":
            return ["127.0.0.1"]
        return list({**self.names, **host.names}.get(name.lower(), []))

    def owner(self, source, address):
        """-> the model that has this address, seen from `source`, or None"""
        if address in source.addresses or address == "127.0.0.1":
            return source
        return next((host for host in self.hosts if address in host.addresses), None)

    def connect(self, source, address, port, timeout=5.0):
        """-> what to talk to, Remote or Real; or NoAnswer with the reason."""
        target = self.owner(source, address)
        if target is None:
            return self._connect_for_real(source, address, port, timeout)
        if not target.is_up:
            raise NoAnswer("timed out")
        # What Windows Firewall does not let in gets no answer.
        if target is not source and not admits(target.firewall.rules(), source.addresses[0], port):
            raise NoAnswer("timed out")
        listener = target.listener("tcp", port, address)
        if listener is None:
            if target.real:
                return self._connect_for_real(
                    source, target.addresses[0] if address == "127.0.0.1" else address, port, timeout)
            raise NoAnswer("refused")
        if listener.forward:
            behind = self.connect(target, *listener.forward, timeout=timeout)
            return Remote(target, listener, address, behind)
        return Remote(target, listener, address)

    def _connect_for_real(self, source, address, port, timeout):
        if not any(ipaddress.ip_address(address) in network for network in self.real):
            raise NoAnswer("timed out")
        return Real.connect(source, address, port, timeout)


class Remote:
    """`behind`: what a portproxy leads to."""

    def __init__(self, host, listener, address, behind=None):
        self.host, self.listener, self.address, self.behind = host, listener, address, behind

    @property
    def last(self):
        """Who answers, behind whatever passes it on."""
        return self.behind.last if self.behind is not None and isinstance(self.behind, Remote) else self.listener

    def request(self, method, path, body=b"", headers=None):
        """-> (status, body); NoAnswer where it does not speak HTTP."""
        if self.listener not in self.host.listeners:
            raise NoAnswer("the connection was closed")
        if self.behind is not None:
            return self.behind.request(method, path, body, headers)
        if self.listener.answer is None:
            raise NoAnswer("the server closed the connection without an answer")
        return self.listener.answer(method, path, body)

    def presented(self):
        """By TLS -> the certificate, as DER"""
        if self.last.certificate is None:
            raise NoAnswer("the handshake failed")
        return self.last.certificate

    def close(self):
        if self.behind is not None:
            self.behind.close()


class Real:
    """A connection to a process of this machine."""

    def __init__(self, address, port, timeout, source):
        self.address, self.port, self.timeout = address, port, timeout
        self.connection = http.client.HTTPConnection(address, port, timeout=timeout, source_address=source)

    @classmethod
    def connect(cls, source, address, port, timeout):
        own = source.addresses[0]
        made = cls(address, port, timeout, (own, 0) if ipaddress.ip_address(own) in LOOPBACK else None)
        try:
            made.connection.connect()
        except ConnectionRefusedError:
            raise NoAnswer("refused")
        except OSError as err:
            raise NoAnswer("timed out" if isinstance(err, TimeoutError) else str(err))
        # Here, since another thread of the model may close it at any moment.
        made.own_port = made.connection.sock.getsockname()[1]
        return made

    def presented(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            self.connection.sock = context.wrap_socket(self.connection.sock)
            return self.connection.sock.getpeercert(True)
        except OSError as err:
            raise NoAnswer(str(err))

    def request(self, method, path, body=b"", headers=None):
        try:
            self.connection.request(method, path, body, headers or {})
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as err:
            raise NoAnswer(str(err) or type(err).__name__)

    @property
    def is_alive(self):
        sock = self.connection.sock
        if sock is None:
            return False
        try:
            sock.settimeout(0)
            try:
                # By TLS there may be more to read than what was said; nothing is said there that was not asked for.
                return sock.recv(1, *(() if isinstance(sock, ssl.SSLSocket) else (socket.MSG_PEEK,))) != b""
            except (BlockingIOError, ssl.SSLWantReadError):
                return True
            finally:
                sock.settimeout(self.timeout)
        except OSError:
            # Closed meanwhile by another thread of the model, too.
            return False

    def close(self):
        self.connection.close()


class RealListener:
    """The socket of a model's listener on loopback, with a thread for each connection."""

    def __init__(self, address, port, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 120

            def log_message(self, *_arguments):
                pass

            def _do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_HEAD = _do

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def __init__(self, *arguments):
                self.open = set()
                super().__init__(*arguments)

            def handle_error(self, *_arguments):
                pass    # a caller that has gone

            def process_request(self, request, client_address):
                self.open.add(request)
                super().process_request(request, client_address)

            def shutdown_request(self, request):
                self.open.discard(request)
                super().shutdown_request(request)

        try:
            self.server = Server((address, port), Handler)
        except OSError as err:
            raise PortError("Only one usage of each socket address (protocol/network address/port) is normally permitted (%s)"
                            % err.strerror)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        # A process that ends ends its connections.
        for connection in list(self.server.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Forwarder:
    """A port of portproxy that real processes connect to."""

    def __init__(self, address, port, target):
        self.target = target
        try:
            self.listener = socket.create_server((address, port), backlog=128)
        except OSError as err:
            raise PortError(str(err))
        self.connections = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                accepted = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._begin, args=(accepted,), daemon=True).start()

    def _begin(self, accepted):
        try:
            there = socket.create_connection(self.target, timeout=5)
            there.settimeout(None)
        except OSError:
            accepted.close()
            return
        self.connections |= {accepted, there}
        threading.Thread(target=self._pass, args=(there, accepted), daemon=True).start()
        self._pass(accepted, there)

    def _pass(self, source, target):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in list(self.connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
