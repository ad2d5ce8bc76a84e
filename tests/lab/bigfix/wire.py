# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 with kept-alive connections, as little of it as the stand-ins speak.

By hand, because http.client brings TLS and a mail parser into each of some hundred processes.
"""

import errno
import os
import socket
import threading

from . import Refused

LIMIT = 1 << 20


class BadAnswer(OSError):
    """The peer is there, but what it says is of no use."""


class Connection:
    """One kept-alive connection to a parent.  Every failure is an OSError and leaves it closed."""

    def __init__(self, host, port, source, timeout=2.0):
        self.host, self.port, self.source, self.timeout = host, port, source, timeout
        self.socket = self.stream = None

    def request(self, method, path, body=b""):
        """-> (status, body)"""
        try:
            if self.socket is None:
                self.socket = _connect(self.host, self.port, self.source, self.timeout)
                self.stream = self.socket.makefile("rb")
            head = "%s %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: %d\r\n\r\n" % (
                method, path, self.host, self.port, len(body))
            self.socket.sendall(head.encode("latin-1") + body)
            first, headers, answer = _read_message(self.stream)
            try:
                status = int(first.split()[1])
            except (IndexError, ValueError):
                raise BadAnswer("no HTTP answer")
        except (OSError, ValueError):
            self.close()
            raise
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, answer

    def close(self):
        if self.socket is not None:
            self.stream.close()
            self.socket.close()
            self.socket = self.stream = None


def _connect(host, port, source, timeout):
    # The source port comes from below the ephemeral range.  Otherwise chance might take, on a host's own address, the
    # very port that this host is about to move to; a real site reserves the port, which a lab without root cannot.
    for _attempt in range(50):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.bind((source, 10240 + int.from_bytes(os.urandom(2), "big") % 20000))
            connection.connect((host, port))
            return connection
        except OSError as err:
            connection.close()
            if err.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise
    raise OSError(errno.EADDRINUSE, "no free source port on %s" % source)


def _read_message(stream):
    first = stream.readline(LIMIT)
    if not first:
        raise BadAnswer("connection closed")
    headers = {}
    while True:
        line = stream.readline(LIMIT)
        if not line:
            raise BadAnswer("connection closed amid the headers")
        line = line.decode("latin-1").strip()
        if not line:
            break
        name, _colon, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    try:
        length = int(headers.get("content-length", "0"))
    except ValueError:
        length = -1
    if not 0 <= length <= LIMIT:
        raise BadAnswer("Content-Length that is none")
    body = stream.read(length)
    if len(body) != length:
        raise BadAnswer("connection closed amid the body")
    return first.decode("latin-1").strip(), headers, body


def parameters(text):
    """`a=1&b=2` -> dict; the lab's names and numbers need no percent signs."""
    return dict(item.split("=", 1) for item in text.split("&") if "=" in item)


class Listener:
    """A thread for each connection; `answer(method, path, query, body)` -> (status, body)."""

    REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}

    def __init__(self, address, port, answer):
        self.answer = answer
        self.socket = bind(socket.SOCK_STREAM, address, port)
        self.socket.listen(512)

    def start(self):
        threading.stack_size(256 * 1024)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _peer = self.socket.accept()
            except OSError:
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(120)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, connection.makefile("rb") as stream:
                while True:
                    first, headers, body = _read_message(stream)
                    method, target = first.split()[:2]
                    keep = headers.get("connection", "").lower() != "close" and first.endswith("HTTP/1.1")
                    path, _mark, query = target.partition("?")
                    status, content = self.answer(method, path, query, body)
                    head = "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n" % (
                        status, self.REASONS[status], len(content), "" if keep else "Connection: close\r\n")
                    connection.sendall(head.encode("latin-1") + (b"" if method == "HEAD" else content))
                    if not keep:
                        return
        except (OSError, ValueError):
            pass    # a peer that went away, or never spoke HTTP: a port probe for one


def bind(kind, address, port):
    """A bound socket on the host's own address, or Refused with the reason."""
    bound = socket.socket(socket.AF_INET, kind)
    try:
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except (OSError, OverflowError) as err:
        bound.close()
        protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
        raise Refused("cannot listen on %s:%d/%s: %s" % (address, port, protocol, getattr(err, "strerror", err)))
    return bound
