# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire of the stand-ins: one line asked, one line answered, over a connection, a datagram or a Unix socket.

A line begins with the name of the domain: two domains on one network do not understand each other.
"""

import errno
import os
import selectors
import socket
import time

MOST = 4096    # bytes of a line


class NoAnswer(Exception):
    """Why there is none: a few words."""


def ask_all(targets, question, seconds, first_only=False):
    """Asks every (address, port) at once -> {(address, port): answer, or NoAnswer}; with `first_only` until one has answered."""
    said = {}
    selector = selectors.DefaultSelector()
    end = time.monotonic() + seconds
    try:
        for target in targets:
            connection = socket.socket()
            connection.setblocking(False)
            code = connection.connect_ex(target)
            if code in (0, errno.EINPROGRESS):
                selector.register(connection, selectors.EVENT_WRITE, (target, bytearray()))
            else:
                connection.close()
                said[target] = NoAnswer(os.strerror(code))
        while selector.get_map():
            left = end - time.monotonic()
            for key, _events in selector.select(left) if left > 0 else []:
                target, received = key.data
                outcome = _step(selector, key, question, received)
                if outcome is not None:
                    said[target] = outcome
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    if first_only and not isinstance(outcome, NoAnswer):
                        return said
            if left <= 0:
                break
        for key in selector.get_map().values():
            said[key.data[0]] = NoAnswer("no answer within %g s" % seconds)
        return said
    finally:
        for key in list(selector.get_map().values()):
            key.fileobj.close()
        selector.close()


def _step(selector, key, question, received):
    """-> the answer, NoAnswer, or None while more is to come."""
    connection = key.fileobj
    try:
        if key.events == selectors.EVENT_WRITE:
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                return NoAnswer(os.strerror(code))
            connection.sendall(question.encode("ascii") + b"\n")
            selector.modify(connection, selectors.EVENT_READ, key.data)
            return None
        data = connection.recv(MOST)
    except OSError as err:
        return NoAnswer(err.strerror or str(err))
    received += data
    if b"\n" in received:
        return received.partition(b"\n")[0].decode("ascii", "replace")
    if not data or len(received) >= MOST:
        return NoAnswer("hung up without an answer")
    return None


def locate(targets, question, seconds):
    """Sends every (address, port) a datagram -> the first of them that answers, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for target in targets:
            try:
                datagrams.sendto(question.encode("ascii") + b"\n", target)
            except OSError:
                pass    # it is not the one to answer
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return None
            datagrams.settimeout(left)
            try:
                data, source = datagrams.recvfrom(MOST)
            except OSError:
                return None
            if source in targets and data.startswith(b"here "):
                return source


def ask_own(path, question, seconds):
    """Asks the BoKS of this host -> its answer; None when it is not there, NoAnswer when it is and says nothing."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(path)
            connection.sendall(question.encode("ascii") + b"\n")
            received = b""
            while b"\n" not in received:
                data = connection.recv(MOST)
                if not data:
                    return None    # it was stopped amid the question
                received += data
            return received.partition(b"\n")[0].decode("ascii", "replace")
    except socket.timeout:
        raise NoAnswer("BoKS of this host says nothing for %g s" % seconds)
    except OSError:
        return None
