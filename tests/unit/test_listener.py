# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of a temporary listener, on real sockets of this machine; its process is the integration tests' matter."""

import contextlib
import errno
import json
import os
import socket
import threading
import time

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._network import listener
from ansible_collections.portshift.agents.plugins.module_utils._network.listener import (
    AnswerLoop, InUse, ListenerError, bind_all, http_answer, request_ends, running, start_time, state_path)

HOST, TOKEN = "127.0.0.1", b"relay1 on trial"


@contextlib.contextmanager
def answering(max_clients=100, protocols=("tcp",)):
    """A loop that answers, in a thread; -> its port, the loop."""
    with socket.socket() as chosen:
        chosen.bind((HOST, 0))
        port = chosen.getsockname()[1]
    sockets = bind_all(port, HOST, list(protocols))
    loop = AnswerLoop(sockets, TOKEN, time.monotonic() + 60, max_clients)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    yield port, loop
    loop.ends = 0
    with socket.socket() as waker:    # the loop looks at its end when something happens
        waker.connect_ex((HOST, port))
    thread.join(10)
    assert not thread.is_alive()
    for bound in sockets:
        bound.close()


def whole(client):
    return b"".join(iter(lambda: client.recv(100), b""))


def ask(port, question, half_close=False):
    with socket.create_connection((HOST, port), 10) as client:
        if question:
            client.sendall(question)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        return whole(client)


@pytest.mark.parametrize("pieces, ended", [
    ([b"GET / HTTP/1.0\r\n\r\n"], True),
    ([b"GET / HTTP/1.0\r\n", b"\r\n"], True),
    ([b"GET / HTTP/1.0\r", b"\n", b"\r", b"\n"], True),
    ([b"GET /\n\n"], True),
    ([b"GET / HTTP/1.0\r\nHost: x\r\n"], False),
    ([b"\r\n\r"], False),
    ([b""], False),
])
def test_head_of_a_request_ends_with_an_empty_line_however_it_arrives(pieces, ended):
    tail, found = b"", False
    for piece in pieces:
        found, tail = request_ends(tail, piece)
        assert len(tail) <= 3
    assert found is ended


def test_answer_is_http_with_the_token_for_its_page():
    head, page = http_answer(TOKEN).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n") and b"Content-Length: 15\r\n" in head and page == TOKEN


@pytest.mark.parametrize("question, half_close", [
    (b"GET /masthead/masthead.afxm HTTP/1.1\r\nHost: x\r\n\r\n", False),
    (b"POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody", False),
    (b"\x16\x03\x01\x00\xff\x00", False),
    (b"hello\n", True),
    (b"", False),
    (b"x" * 1000000, True),
])
def test_whatever_is_asked_the_answer_is_the_same(question, half_close):
    with answering() as (port, _loop):
        assert ask(port, question, half_close) == http_answer(TOKEN)


def test_datagram_is_answered_with_the_token_from_the_address_that_was_asked():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as chosen:
        chosen.bind(("0.0.0.0", 0))
        port = chosen.getsockname()[1]
    sockets = bind_all(port, None, ["udp"])
    loop = AnswerLoop(sockets, TOKEN, time.monotonic() + 60, 1)
    try:
        for bound in sockets:
            bound.setblocking(True)
        for family, address in [(socket.AF_INET, "127.0.0.77"), (socket.AF_INET6, "::1")][:len(sockets)]:
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.connect((address, port))    # so that an answer from elsewhere is none
                client.send(b"")
                listening = [bound for bound in sockets if bound.family == family][0]
                listening.settimeout(0.5)
                loop._datagrams(listening)
                assert client.recv(1000) == TOKEN
    finally:
        for bound in sockets:
            bound.close()


def test_silent_clients_are_dropped_and_others_served_meanwhile(monkeypatch):
    monkeypatch.setattr(listener, "PATIENCE", 0.1)
    monkeypatch.setattr(listener, "CLIENT_SECONDS", 0.5)
    with answering() as (port, loop):
        silent = [socket.create_connection((HOST, port), 10) for unused in range(20)]
        try:
            assert ask(port, b"GET / HTTP/1.0\r\n\r\n") == http_answer(TOKEN)
            for client in silent:
                # An end, although none of them has closed its side.
                assert whole(client) == http_answer(TOKEN)
            end = time.monotonic() + 10
            while loop.clients:
                assert time.monotonic() < end, "clients are kept for ever"
                time.sleep(0.02)
        finally:
            for client in silent:
                client.close()


def test_more_clients_than_there_is_room_for_push_the_oldest_out(monkeypatch):
    monkeypatch.setattr(listener, "PATIENCE", 60)
    monkeypatch.setattr(listener, "CLIENT_SECONDS", 60)
    with answering(max_clients=5) as (port, loop):
        silent = [socket.create_connection((HOST, port), 10) for unused in range(40)]
        try:
            assert ask(port, b"GET / HTTP/1.0\r\n\r\n") == http_answer(TOKEN)
            assert len(loop.clients) <= 5 and len(loop.silent) <= 5
        finally:
            for client in silent:
                client.close()


def test_thousands_of_children_are_answered():
    with answering(max_clients=1000) as (port, _loop):
        answers = []

        def ask_many():
            for _again in range(100):
                answers.append(ask(port, b"GET / HTTP/1.0\r\n\r\n"))

        threads = [threading.Thread(target=ask_many) for unused in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(answers) == 2000 and set(answers) == {http_answer(TOKEN)}


def test_clients_that_break_off_do_no_harm():
    with answering() as (port, _loop):
        for _again in range(50):
            with socket.create_connection((HOST, port), 10) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")    # a reset instead of an end
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert ask(port, b"GET / HTTP/1.0\r\n\r\n") == http_answer(TOKEN)


# --- which sockets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, protocol", [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")])
@pytest.mark.parametrize("reuse", [0, 1])
def test_port_in_use_is_not_taken_and_not_shared(kind, protocol, reuse):
    with socket.socket(socket.AF_INET, kind) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        server.bind((HOST, 0))
        if protocol == "tcp":
            server.listen(1)
        port = server.getsockname()[1]
        for address in (HOST, None):
            for listen in (True, False):
                with pytest.raises(InUse):
                    bind_all(port, address, [protocol], listen)


def test_when_one_protocol_is_in_use_the_other_is_not_kept():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HOST, 0))
        port = server.getsockname()[1]
        with pytest.raises(InUse):
            bind_all(port, HOST, ["tcp", "udp"])
        with socket.socket() as free:
            free.bind((HOST, port))
            free.listen(1)


@pytest.mark.parametrize("address, words", [
    ("relay1", "no IP address: give one of this host"), ("300.1.1.1", "no IP address"),
    ("192.0.2.1", "this host does not have the address"), ("2001:db8::1", "this host does not have the address")])
def test_address_that_can_not_be_is_said_so(address, words):
    with pytest.raises(ListenerError, match=words):
        bind_all(1, address, ["tcp"])


def test_port_that_this_user_may_not_have_is_said_so():
    assert listener._why_not(PermissionError(errno.EACCES, "Permission denied"), HOST, 80, "tcp") == (
        "could not listen on 127.0.0.1 port 80 tcp: permission denied; run with become: true, and look for SELinux denials")


# --- the record ---------------------------------------------------------------------------------------------------


def record(**changes):
    return dict(dict(pid=os.getpid(), started=start_time(os.getpid()), protocols=["tcp"], token="x", until="", ends=0), **changes)


@pytest.mark.parametrize("content, found", [
    (json.dumps(record()), True),
    (json.dumps(record(started=start_time(os.getpid()) - 1)), False),
    (json.dumps(record(pid=4194304)), False),
    (json.dumps(record(pid="1")), False), (json.dumps(record(pid=4194304, started=None)), False),
    ("{", False), ("[]", False), ("{}", False), ("\xff", False),
], ids=["this one", "began at another time", "gone", "no number", "gone, no time", "torn", "a list", "empty", "no text"])
def test_record_counts_only_for_the_very_process(tmp_path, content, found):
    path = tmp_path / "listener.json"
    assert running(str(path)) is None
    path.write_bytes(content.encode("latin-1"))
    assert (running(str(path)) is not None) is found


def test_records_of_two_addresses_are_two(monkeypatch):
    assert len({state_path(55000, address) for address in (None, "127.0.0.1", "::1", "fe80::1%lo")}) == 4
    assert all(os.path.dirname(state_path(1, address)) == os.path.dirname(state_path(1, None)) for address in ("::1", "../x"))


def test_folder_of_another_user_in_tmp_is_not_trusted(monkeypatch, tmp_path):
    user = 4200000000 + os.getpid()
    monkeypatch.setattr(os, "geteuid", lambda: user)
    folder = "/tmp/portshift-%d" % user
    os.symlink(str(tmp_path), folder)
    try:
        with pytest.raises(ListenerError, match="is not a folder of this user's alone"):
            state_path(55000, None)
    finally:
        os.unlink(folder)
