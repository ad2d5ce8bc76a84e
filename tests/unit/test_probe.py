# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes against real sockets of this machine."""

import contextlib
import hashlib
import socket
import ssl
import threading
import time

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._network.probe import probe, probe_all
from ansible_collections.portshift.agents.tests.unit.masthead_files import session_signer

HOST = "127.0.0.1"
PAGE = b"HTTP/1.0 200 OK\r\nContent-Length: 16\r\n\r\n_PortNumber=5500"


@contextlib.contextmanager
def bound(kind=socket.SOCK_STREAM, listen=True):
    """A socket of ours and its port: no other process can have the port meanwhile."""
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind((HOST, 0))
        if listen and kind == socket.SOCK_STREAM:
            server.listen(16)
        yield server, server.getsockname()[1]


@contextlib.contextmanager
def serving(answer, context=None, asked=None):
    """A server that gives `answer` to each client; None: it accepts and stays silent."""
    with bound() as (server, port):
        held = []

        def serve():
            while True:
                try:
                    client, unused = server.accept()
                    if context:
                        client = context.wrap_socket(client, server_side=True)
                    if answer is None:
                        held.append(client)
                        continue
                    request = client.recv(65536)
                    if asked is not None:
                        asked.append(request)
                    client.sendall(answer)
                    client.close()
                except ssl.SSLError:
                    continue
                except OSError:
                    return
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield port
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for client in held:
            client.close()


def tcp(port, **options):
    return dict(host=HOST, port=port, **options)


def http(port, **options):
    return probe(tcp(port, http=options), 2)


def test_open_port_is_reachable():
    with bound() as (_server, port):
        result = probe(tcp(port), 2)
    assert (result["host"], result["port"], result["reachable"], result["error"]) == (HOST, port, True, None)
    assert 0 <= result["latency_ms"] < 2000


def test_closed_port_is_refused():
    with bound(listen=False) as (_server, port):
        result = probe(tcp(port), 2)
    assert result == dict(
        host=HOST, port=port, protocol="tcp", address=HOST, source=HOST, status=None, certificate=None, reachable=False,
        latency_ms=None, reason="connection refused: nothing listens there",
        error="127.0.0.1 -> 127.0.0.1 port %d tcp: connection refused: nothing listens there" % port)


def test_port_that_swallows_everything_times_out():
    with bound(listen=False) as (server, port):
        server.listen(0)
        waiting = [socket.socket() for unused in range(4)]    # more than its queue holds: the rest is dropped
        try:
            for client in waiting:
                client.setblocking(False)
                client.connect_ex((HOST, port))
            started = time.monotonic()
            result = probe(tcp(port), 0.3)
            assert result["error"] == (
                "127.0.0.1 -> 127.0.0.1 port %d tcp: no answer within 0.3 s (dropped on the way?)" % port)
            assert (result["reachable"], time.monotonic() - started < 5) == (False, True)
        finally:
            for client in waiting:
                client.close()


def test_server_that_accepts_and_says_nothing_answers_tcp_but_not_http():
    with serving(None) as port:
        assert probe(tcp(port), 1)["reachable"] is True
        assert probe(tcp(port, http=dict(path="/")), 0.3)["reason"] == (
            "it takes the connection but gives no whole answer within 0.3 s")


def test_name_that_does_not_resolve_is_said_so():
    result = probe(dict(host="no-such-host.invalid", port=1), 2)
    assert (result["reachable"], result["address"], result["source"]) == (False, None, None)
    assert result["error"].startswith("this host -> no-such-host.invalid port 1 tcp: the name does not resolve here (")


@pytest.mark.parametrize("host", ["", "a..b", "x" * 70 + ".invalid", "bad host"])
def test_odd_host_is_never_reachable_and_never_a_traceback(host):
    with bound() as (_server, port):
        result = probe(dict(host=host, port=port), 2)
    assert result["reachable"] is False and result["error"]


# --- HTTP -------------------------------------------------------------------------------------------------------


def test_http_answer_is_compared_with_what_is_wanted():
    asked = []
    with serving(PAGE, asked=asked) as port:
        assert http(port, path="/masthead/masthead.afxm", body_regex="_PortNumber|X-Fixlet")["error"] is None
        assert http(port, path="/x", status=404)["reason"] == "HTTP status 200 instead of 404 for /x"
        assert http(port, path="/x", body_regex="^X-Fixlet")["reason"] == "the answer for /x does not match ^X-Fixlet"
        assert http(port, path="/x", check=lambda body: "odd: %s" % body.decode())["reason"] == "odd: _PortNumber=5500"
        assert http(port, path="/x", check=lambda body: None)["reachable"] is True
    assert asked[0].startswith(b"GET /masthead/masthead.afxm HTTP/1.1\r\n")


def test_http_status_other_than_200_is_no_answer_by_default():
    with serving(b"HTTP/1.0 503 Busy\r\nContent-Length: 0\r\n\r\n") as port:
        assert http(port)["reason"] == "HTTP status 503 instead of 200 for /"
        assert http(port, status=503)["reachable"] is True


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"", b"HTTP/1.0 banana\r\n\r\n", b"\0\xff"])
def test_something_else_than_http_is_no_answer(answer):
    with serving(answer) as port:
        result = http(port)
        assert result["reachable"] is False and result["error"]


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/caf\u00e9"])
def test_odd_path_is_no_traceback(path):
    with serving(PAGE) as port:
        assert http(port, path=path)["reachable"] is False


@pytest.fixture(scope="module")
def certificate():
    key, cert = session_signer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def test_tls_is_spoken_and_a_self_signed_certificate_is_good_enough(certificate):
    with serving(PAGE, certificate) as port:
        assert http(port, tls=True, body_regex="_PortNumber")["error"] is None
        assert http(port, tls=False)["reachable"] is False


def thumbprints():
    with open(session_signer()[1], encoding="ascii") as source:
        der = ssl.PEM_cert_to_DER_cert(source.read())
    return hashlib.sha1(der).hexdigest().upper(), hashlib.sha256(der).hexdigest().upper()


def test_certificate_is_told_whatever_the_answer(certificate):
    with serving(PAGE, certificate) as port:
        for options in ({}, dict(status=404)):
            result = http(port, tls=True, **options)
            assert result["reachable"] is not bool(options)
            assert (result["certificate"]["sha1"], result["certificate"]["sha256"]) == thumbprints()
            end = time.strptime(result["certificate"]["not_after"], "%Y-%m-%dT%H:%M:%SZ")
            assert time.mktime(end) > time.time()
        assert probe(tcp(port), 2)["certificate"] is None
    assert http(port, tls=True)["certificate"] is None


def test_certificate_is_compared_with_a_thumbprint_however_it_is_written(certificate):
    sha1, sha256 = thumbprints()
    pairs = [sha1[start:start + 2] for start in range(0, 40, 2)]
    with serving(PAGE, certificate) as port:
        for text in (sha1, sha256, sha1.lower(), ":".join(pairs), "\u200e" + " ".join(pairs) + "\n"):
            assert http(port, tls=True, thumbprint=text)["error"] is None


def test_another_certificate_is_not_reachable_and_asked_nothing(certificate):
    asked, (sha1, sha256) = [], thumbprints()
    for own, other, kind in ((sha1, "AB" * 20, "SHA-1"), (sha256, "cd" * 32, "SHA-256")):
        with serving(PAGE, certificate, asked=asked) as port:
            result = http(port, tls=True, thumbprint=other)
        assert (result["reachable"], result["reason"]) == (
            False, "the server shows the certificate with the %s fingerprint %s, not the one with %s" % (
                kind, own, other.upper()))
        assert result["certificate"]["sha1"] == sha1
    assert not any(asked)


@pytest.mark.parametrize("name, sent", [
    ("hub.example.test", "hub.example.test"), ("my_hub", "my_hub"), ("b\u00fccher.example.test", "xn--bcher-kva.example.test"),
    (None, None), ("", None),
])
def test_another_name_than_that_of_the_address_is_asked_for(certificate, name, sent):
    asked, names = [], []
    certificate.sni_callback = lambda connection, told, context: names.append(told)
    try:
        with serving(PAGE, certificate, asked=asked) as port:
            assert http(port, tls=True, server_name=name)["error"] is None
    finally:
        certificate.sni_callback = None
    # An address is no name that TLS passes on.
    assert names == [sent] and b"\r\nHost: %s:%d\r\n" % ((sent or HOST).encode(), port) in asked[0]


def test_a_name_goes_with_plain_http_too():
    asked = []
    with serving(PAGE, asked=asked) as port:
        result = http(port, server_name="hub.example.test")
    assert (result["reachable"], result["host"], result["address"]) == (True, HOST, HOST)
    assert b"\r\nHost: hub.example.test:%d\r\n" % port in asked[0]


@pytest.mark.parametrize("name, tls, error", [
    # TLS takes no such name; a server that is asked without it may have one.
    ("a..b", True, "label empty"), ("a..b", False, None), ("x" * 64, True, "too long"), ("x" * 64, False, None),
    ("a\r\nX: y", True, "control characters"), ("a\r\nX: y", False, "control characters"),
    ("a b", True, "control characters"), ("a b", False, "control characters"), ("a/b", True, None), ("a/b", False, None),
])
def test_odd_name_is_no_traceback_and_no_other_header(certificate, name, tls, error):
    asked = []
    with serving(PAGE, certificate if tls else None, asked=asked) as port:
        result = http(port, tls=tls, server_name=name)
    if error is None:
        assert result["error"] is None and ("\r\nHost: %s:%d\r\n" % (name, port)).encode() in asked[0]
    else:
        assert error in result["error"] and result["reachable"] is False and not any(asked)


def test_any_status_is_an_answer_where_it_is_asked_for(certificate):
    with serving(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", certificate) as port:
        assert http(port, tls=True, any_status=True)["reachable"] is True
        assert http(port, tls=True)["reason"] == "HTTP status 401 instead of 200 for /"
    with serving(b"SSH-2.0-OpenSSH\r\n") as port:
        assert http(port, any_status=True)["reachable"] is False


def test_http_status_is_told_whether_it_is_the_wanted_one_or_not():
    with serving(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n") as port:
        assert [http(port, **options)["status"] for options in ({}, dict(status=401), dict(any_status=True))] == [401] * 3
        assert probe(tcp(port), 2)["status"] is None
    assert http(port)["status"] is None


def test_tls_to_a_server_without_it_is_said_so():
    with serving(PAGE) as port:
        assert http(port, tls=True)["reason"].startswith("TLS failed: ")


# --- UDP --------------------------------------------------------------------------------------------------------


def test_udp_counts_unless_refused():
    with bound(socket.SOCK_DGRAM) as (_server, port):
        assert probe(tcp(port, protocol="udp"), 0.2)["reachable"] is True
    result = probe(tcp(port, protocol="udp"), 0.5)
    assert (result["reachable"], result["error"]) == (
        False, "127.0.0.1 -> 127.0.0.1 port %d udp: connection refused: nothing listens there" % port)


def test_udp_probe_sends_a_datagram():
    with bound(socket.SOCK_DGRAM) as (server, port):
        probe(tcp(port, protocol="udp"), 0.1)
        server.settimeout(2)
        assert server.recv(10) == b""


@contextlib.contextmanager
def answering_datagrams(*answers):
    """A server that answers the datagrams one after the other; None: not that one.  -> its port, what it was asked."""
    with bound(socket.SOCK_DGRAM) as (server, port):
        asked = []

        def serve():
            for answer in answers:
                question, peer = server.recvfrom(100)
                if question == b"the end":
                    return
                asked.append(question)
                if answer is not None:
                    server.sendto(answer, peer)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield port, asked
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"the end", (HOST, port))
        thread.join(5)


def test_udp_answer_is_compared_with_what_is_wanted():
    with answering_datagrams(b"relay1 on trial", None) as (port, asked):
        assert probe(tcp(port, protocol="udp", reply_regex="^relay1 "), 5)["reachable"] is True
    assert asked == [b"portshift probe\n"]
    with answering_datagrams(*[b"another token"] * 20) as (port, _asked):
        assert probe(tcp(port, protocol="udp", reply_regex="^relay1 "), 0.7)["reason"] == (
            "the answer does not match ^relay1 ")


def test_one_lost_datagram_is_no_closed_port():
    with answering_datagrams(None, b"here", None) as (port, asked):
        assert probe(tcp(port, protocol="udp", reply_regex="here"), 10)["reachable"] is True
    # An answer that was slow would be one more.
    assert len(asked) >= 2 and len(set(asked)) == 1


def test_udp_that_is_to_answer_and_does_not_is_unreachable():
    with bound(socket.SOCK_DGRAM) as (_server, port):
        result = probe(tcp(port, protocol="udp", reply_regex="x"), 0.3)
    assert result["error"] == "127.0.0.1 -> 127.0.0.1 port %d udp: no answer within 0.3 s (dropped on the way?)" % port
    assert probe(tcp(port, protocol="udp", reply_regex="x"), 0.3)["reason"] == "connection refused: nothing listens there"


# --- the time is for the whole probe ------------------------------------------------------------------------------


@contextlib.contextmanager
def trickling(start, piece):
    """A server that says `start` and then `piece` every 50 ms, for as long as a client listens."""
    with bound() as (server, port):
        over = threading.Event()

        def serve():
            client, unused = server.accept()
            with client:
                try:
                    client.recv(65536)
                    client.sendall(start)
                    while not over.wait(0.05):
                        client.sendall(piece)
                except OSError:
                    pass
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield port
        over.set()
        thread.join(5)


@pytest.mark.parametrize("start, piece, options", [
    (b"HTTP/1.0 200 ", b"O", {}),
    (b"HTTP/1.0 200 OK\r\n", b"X: y\r\n", {}),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x", {}),
    (b"HTTP/1.0 200 OK\r\n\r\n", b"x", dict(body_regex="x")),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", {}),
    (b"\x16\x03\x03\x40\x00", b"\x02", dict(tls=True)),
])
def test_server_that_trickles_does_not_outlast_the_time(start, piece, options):
    with trickling(start, piece) as port:
        # The server goes on until it is left, or a limit is reached that has another reason.
        result = probe(tcp(port, http=options), 0.6)
    assert (result["reachable"], result["reason"]) == (
        False, "it takes the connection but gives no whole answer within 0.6 s")


def test_resolver_that_does_not_answer_does_not_outlast_the_time(monkeypatch):
    over, real = threading.Event(), socket.getaddrinfo

    def slow(host, *arguments, **options):
        if not options.get("flags"):
            over.wait(30)
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        result = probe(dict(host="relay1.invalid", port=1), 0.3)
    finally:
        over.set()
    assert result["reason"] == "the name does not resolve here (no answer of the resolver within 0.3 s)"


def test_dead_address_of_a_name_leaves_time_for_the_next_one(monkeypatch):
    with bound(listen=False) as (dead, port), bound() as (_server, good):
        dead.listen(0)
        waiting = [socket.socket() for unused in range(4)]
        try:
            for client in waiting:
                client.setblocking(False)
                client.connect_ex((HOST, port))
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HOST, number)) for number in (port, good)]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *unused, **unused_too: found)
            assert probe(dict(host="relay1.example.test", port=good), 1)["reachable"] is True
        finally:
            for client in waiting:
                client.close()


# --- many targets, and waiting ----------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_targets():
    with bound() as (_server, good), bound(listen=False) as (_other, bad), serving(None) as silent:
        targets = [tcp(silent, http={}), tcp(bad), tcp(good), tcp(bad), tcp(good)] * 3
        results = probe_all(targets, 2)
    assert [(result["port"], result["reachable"]) for result in results] == [
        (silent, False), (bad, False), (good, True), (bad, False), (good, True)] * 3


def test_all_targets_are_tried_at_once():
    with serving(None) as silent:
        started = time.monotonic()
        results = probe_all([tcp(silent, http={})] * 30, 0.5)
        assert time.monotonic() - started < 5     # one after the other would take 15 s
    assert [result["reachable"] for result in results] == [False] * 30


def test_more_targets_than_threads_are_all_tried(monkeypatch):
    monkeypatch.setattr("ansible_collections.portshift.agents.plugins.module_utils._network.probe.MAX_THREADS", 3)
    with bound() as (_server, port):
        assert [result["reachable"] for result in probe_all([tcp(port)] * 8, 2)] == [True] * 8


def test_no_targets_no_results():
    assert probe_all([], 1) == []


def test_waits_until_a_process_listens():
    with bound(listen=False) as (server, port):
        assert probe_all([tcp(port)], 1)[0]["reachable"] is False
        timer, started = threading.Timer(0.5, server.listen), time.monotonic()
        timer.start()
        try:
            assert probe_all([tcp(port)], 1, wait=30)[0]["reachable"] is True
            assert 0.5 <= time.monotonic() - started < 25
        finally:
            timer.cancel()


def test_gives_up_when_the_wait_is_over():
    with bound(listen=False) as (_server, port):
        started = time.monotonic()
        assert probe_all([tcp(port)], 1, wait=0.7)[0]["reason"] == "connection refused: nothing listens there"
        assert 0.3 < time.monotonic() - started < 5
