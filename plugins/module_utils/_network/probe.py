# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether something answers at an address, by TCP, UDP or HTTP, and by which way.  All targets are tried at once."""

import errno
import io
import queue
import re
import socket
import threading
import time

from ansible_collections.portshift.agents.plugins.module_utils._network import certificate

MAX_BODY = 1024 * 1024
MAX_THREADS = 256
PAUSE = 0.2
# UDP gives no proof of arrival: longer than this a refusal does not take.
UDP_SILENCE = 1
UDP_AGAIN = 0.5
UDP_QUESTION = b"portshift probe\n"
DATAGRAM = 65535


class _Deadline:
    """The moment at which a probe ends, whatever the peer does."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def left(self):
        left = self.end - time.monotonic()
        if left <= 0:
            raise socket.timeout()
        return left


class _Stream(io.RawIOBase):
    """A connected socket as http.client wants one.  Its timeout is for all reads together: a peer that sends a byte now
    and then would outlast one that counts anew with each of them."""

    def __init__(self, connection, deadline):
        io.RawIOBase.__init__(self)
        self.connection, self.deadline = connection, deadline

    def readable(self):
        return True

    def readinto(self, into):
        self.connection.settimeout(self.deadline.left())
        return self.connection.recv_into(into)

    def sendall(self, data):
        self.connection.settimeout(self.deadline.left())
        self.connection.sendall(data)

    def makefile(self, *unused, **unused_too):
        return io.BufferedReader(_Stream(self.connection, self.deadline))


def _ask_http(connection, target, deadline, way):
    """None when the answer is as wanted, else a sentence.  ValueError where there is none."""
    # Here, since few of those who probe ask by HTTP, and these take longer to load than all the rest.
    import http.client
    import ssl
    try:
        return _http_answer(connection, target, deadline, way)
    except ssl.SSLError as err:
        raise ValueError("TLS failed: %s" % (err.reason or err))
    except http.client.HTTPException as err:
        raise ValueError(str(err))


def _in_tls(connection, name):
    """Who signed a certificate is not checked: a probe sends no secret and reads only what is public."""
    import ssl
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=name)


def _http_answer(connection, target, deadline, way):
    from http.client import HTTPConnection
    options = target["http"]
    path = options.get("path") or "/"
    # What it is asked for, where several servers share an address and a port.
    name = options.get("server_name") or target["host"]
    if options.get("tls"):
        connection.settimeout(deadline.left())
        connection = _in_tls(connection, name)
    try:
        if options.get("tls"):
            way["certificate"] = certificate.described(connection.getpeercert(binary_form=True))
            other = options.get("thumbprint") and certificate.other_than(way["certificate"], options["thumbprint"])
            if other:
                return other
        exchange = HTTPConnection(name, target["port"])
        exchange.sock = _Stream(connection, deadline)
        exchange.request("GET", path, headers={"Connection": "close"})
        answer = exchange.getresponse()
        status, body = answer.status, answer.read(MAX_BODY)
        way["status"] = status
    finally:
        connection.close()
    wanted = options.get("status") or 200
    if status != wanted and not options.get("any_status"):
        return "HTTP status %d instead of %d for %s" % (status, wanted, path)
    pattern = options.get("body_regex")
    if pattern and not re.search(pattern.encode("utf-8"), body):
        return "the answer for %s does not match %s" % (path, pattern)
    check = options.get("check")
    return check(body) if check else None


def _ask_udp(connection, target, deadline):
    """None unless refused (ICMP port unreachable); with a C(reply_regex) also a sentence unless an answer matches it."""
    pattern = target.get("reply_regex")
    if pattern is None:
        connection.settimeout(min(deadline.left(), UDP_SILENCE))
        try:
            connection.send(b"")
            connection.recv(1)
        except socket.timeout:
            pass
        return None
    other = False
    while True:
        try:
            # Again and again: one lost datagram is no closed port.
            connection.settimeout(min(deadline.left(), UDP_AGAIN))
            connection.send(UDP_QUESTION)
            if re.search(pattern.encode("utf-8"), connection.recv(DATAGRAM)):
                return None
            other = True
        except socket.timeout:
            if deadline.end - time.monotonic() > 0:
                continue
            if other:
                return "the answer does not match %s" % pattern
            raise
        time.sleep(min(PAUSE, max(0, deadline.end - time.monotonic())))


def _resolve(host, port, kind, deadline):
    """getaddrinfo() that ends in time; a resolver without an answer takes as long as it likes."""
    try:
        return socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    answers = queue.Queue()

    def ask():
        try:
            answers.put(socket.getaddrinfo(host, port, type=kind))
        except (OSError, ValueError) as err:
            answers.put(err)

    thread = threading.Thread(target=ask)
    thread.daemon = True
    thread.start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty:
        raise socket.gaierror(socket.EAI_AGAIN, "no answer of the resolver within %g s" % deadline.seconds)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _source(family, address):
    """The address of this host from which it would reach `address`, or None.  Nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect(address)
            return asking.getsockname()[0]
    except OSError:
        return None


def _explain(error, timeout, connected=False):
    if isinstance(error, socket.timeout):
        return ("it takes the connection but gives no whole answer within %g s" if connected else
                "no answer within %g s (dropped on the way?)") % timeout
    if isinstance(error, socket.gaierror):
        return "the name does not resolve here (%s)" % error.strerror
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    number = getattr(error, "errno", None)
    if number == errno.ENETUNREACH:
        return "no route to it from here"
    if number == errno.EHOSTUNREACH:
        return "no route to it, or a firewall on the way rejects it"
    if number in (errno.EPERM, errno.EACCES):
        return "this host's own firewall does not let it out"
    return "%s" % (getattr(error, "strerror", None) or error or type(error).__name__)


def _try(target, found, deadline, way):
    """Tries one address; notes in `way` what is known of the way before it may fail."""
    family, kind, proto, unused, address = found
    way.update(address=address[0], source=_source(family, address), connected=False, status=None, certificate=None)
    with socket.socket(family, kind, proto) as connection:
        connection.settimeout(deadline.left())
        connection.connect(address)
        way.update(source=connection.getsockname()[0], connected=kind == socket.SOCK_STREAM)
        if kind == socket.SOCK_DGRAM:
            return _ask_udp(connection, target, deadline)
        return _ask_http(connection, target, deadline, way) if target.get("http") is not None else None


def _reason(target, timeout, way):
    """None when the target answers as wanted, else why not."""
    deadline = _Deadline(timeout)
    kind = socket.SOCK_DGRAM if target.get("protocol") == "udp" else socket.SOCK_STREAM
    reason = None
    try:
        addresses = _resolve(target["host"], target["port"], kind, deadline)
    except (OSError, ValueError) as err:
        return _explain(err, timeout)
    for position, found in enumerate(addresses):
        try:
            # Each address gets its share of what is left, so that a dead one does not use up the others' time.
            share = _Deadline(deadline.left() / (len(addresses) - position))
            reason = _try(target, found, share, way)
        except (OSError, ValueError) as err:
            reason = _explain(err, timeout, way["connected"])
        if reason is None:
            return None
    return reason


def described(result):
    """`10.0.3.7 -> relay1 (10.0.1.2) port 55000 tcp`: what a firewall team has to look for."""
    host = result["host"]
    if result["address"] and result["address"] != host:
        host = "%s (%s)" % (host, result["address"])
    return "%s -> %s port %d %s" % (result["source"] or "this host", host, result["port"], result["protocol"])


def probe(target, timeout):
    """One target (dict with host, port, protocol, http, reply_regex) -> dict of host, address, port, protocol, source,
    reachable, latency_ms, reason, error, status, certificate."""
    started = time.monotonic()
    way = dict(address=None, source=None, connected=False, status=None, certificate=None)
    reason = _reason(target, timeout, way)
    result = dict(host=target["host"], address=way["address"], port=target["port"],
                  protocol=target.get("protocol") or "tcp", source=way["source"], status=way["status"],
                  certificate=way["certificate"])
    return dict(result, reachable=reason is None, reason=reason,
                error=None if reason is None else "%s: %s" % (described(result), reason),
                latency_ms=round((time.monotonic() - started) * 1000, 1) if reason is None else None)


def probe_all(targets, timeout, wait=0):
    """The results in the order of `targets`.  Targets that don't answer are tried again until `wait` seconds passed."""
    results = [None] * len(targets)
    give_up = time.monotonic() + wait

    def work(positions):
        for position in positions:
            while True:
                results[position] = probe(targets[position], timeout)
                if results[position]["reachable"] or time.monotonic() + PAUSE >= give_up:
                    break
                time.sleep(PAUSE)

    count = min(len(targets), MAX_THREADS)
    threads = [threading.Thread(target=work, args=(range(start, len(targets), count),)) for start in range(count)]
    for thread in threads:
        thread.daemon = True
        thread.start()
    for thread in threads:
        thread.join()
    return results
