# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A temporary listener: a process of our own that holds a port and answers with a token, for a limited time.

It is forked off the module's process, so it needs no file of the collection, and imports nothing after that: the folder
that Ansible unpacked is gone soon.  Nothing but the kernel is needed to end it.

No server of the standard library does it: socketserver and http.server import as they go, need a thread for each client that says
nothing, and answer a datagram from another address than the one that was asked.
"""

import collections
import errno
import json
import math
import os
import re
import resource
import selectors
import signal
import socket
import stat
import sys
import time

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    FileError, make_folder, put_file, read_own, remove_file)
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import listeners
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import start_time

MAX_SECONDS = 3600
# A datagram with a forged sender must not become a big answer to another host.
MAX_TOKEN = 512
NAME = b"port_listener"
MAX_CLIENTS = 4096
CLIENT_SECONDS = 5.0
# Some clients say nothing, or nothing that ends in an empty line.
PATIENCE = 1.0
CHUNK = 8192
DATAGRAMS_AT_ONCE = 64
BACKLOG = 4096
# The orderly end comes shortly before the kernel's.
MARGIN = 0.2
# Linux; older Pythons do not name it.
IP_PKTINFO = 8
LISTENER_SPEC = dict(
    port=dict(type="int", required=True), address=dict(type="str"), seconds=dict(type="int", default=120),
    protocols=dict(type="list", elements="str", choices=["tcp", "udp"], default=["tcp"]),
    # No secret: it is told to every client.
    token=dict(type="str", default="portshift", no_log=False),
    state=dict(type="str", choices=["present", "absent"], default="present"))
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
STATE_KEYS = {"pid", "started", "protocols", "token", "until", "ends"}


class ListenerError(EngineError):
    """A listener that can't be; the sentence says why and what to do."""


class InUse(Exception):
    """The port is held by a process that this module did not start."""


def http_answer(token):
    """The whole HTTP/1.0 answer with the bytes `token` for its page."""
    return (b"HTTP/1.0 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
            b"Connection: close\r\n\r\n" % len(token)) + token


def request_ends(tail, data):
    """(the empty line that ends the head of a request has come, the bytes to remember for the next call)."""
    seen = tail + data
    return b"\r\n\r\n" in seen or b"\n\n" in seen, seen[-3:]


class _Client:
    def __init__(self, connection, answer, now):
        self.connection = connection
        self.rest = answer
        self.tail = b""
        self.answering = False
        self.answer_at = now + PATIENCE
        self.drop_at = now + CLIENT_SECONDS


def _first(clients):
    return next(iter(clients.values()))


def _same_way_back(ancillary):
    """The control messages with which an answer leaves from the address that was asked: of a host with several, the kernel
    would choose by the route, and the one who asked would not know the answer for his."""
    for level, kind, content in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return [(level, kind, b"\0" * 4 + content[4:8] + b"\0" * 4)]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return [(level, kind, content)]
    return []


class AnswerLoop:
    """Answers on `sockets` until `ends` (monotonic).  What one client costs is bounded, and so is their number."""

    def __init__(self, sockets, token, ends, max_clients):
        self.token, self.answer, self.ends, self.max_clients = token, http_answer(token), ends, max_clients
        self.sockets = sockets
        self.selector = selectors.DefaultSelector()
        # In the order of arrival, hence of their deadlines: the one that is due first stands in front.
        self.clients = collections.OrderedDict()
        self.silent = collections.OrderedDict()

    def run(self):
        for listening in self.sockets:
            listening.setblocking(False)
            work = self._accept if listening.type & socket.SOCK_STREAM else self._datagrams
            self.selector.register(listening, selectors.EVENT_READ, work)
        while True:
            now = time.monotonic()
            if now >= self.ends:
                return
            for key, _events in self.selector.select(self._pause(now)):
                if isinstance(key.data, _Client):
                    # One that was dropped a moment ago may still be in the list.
                    if key.data.connection in self.clients:
                        self._serve(key.data)
                else:
                    key.data(key.fileobj)
            self._due(time.monotonic())

    def _pause(self, now):
        due = [self.ends]
        if self.clients:
            due.append(_first(self.clients).drop_at)
        if self.silent:
            due.append(_first(self.silent).answer_at)
        return max(0, min(due) - now)

    def _due(self, now):
        while self.silent and _first(self.silent).answer_at <= now:
            self._begin(_first(self.silent))
        while self.clients and _first(self.clients).drop_at <= now:
            self._drop(_first(self.clients))

    def _accept(self, listening):
        for _again in range(DATAGRAMS_AT_ONCE):
            try:
                connection = listening.accept()[0]
            except OSError as err:
                if err.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    # The machine is short of something: room is made, and a loop without a pause would make it worse.
                    self._make_room()
                    time.sleep(0.05)
                return
            if len(self.clients) >= self.max_clients:
                self._make_room()
            connection.setblocking(False)
            client = _Client(connection, self.answer, time.monotonic())
            self.clients[connection] = self.silent[connection] = client
            self.selector.register(connection, selectors.EVENT_READ, client)

    def _make_room(self):
        if self.clients:
            self._drop(_first(self.clients))

    def _datagrams(self, listening):
        for _again in range(DATAGRAMS_AT_ONCE):
            try:
                unused2, ancillary, unused3, peer = listening.recvmsg(1, 256)
                listening.sendmsg([self.token], _same_way_back(ancillary), 0, peer)
            except OSError:
                # Nothing more there, or a peer that can't be answered: the next one may be.
                return

    def _serve(self, client):
        try:
            if client.answering and client.rest:
                self._send(client)
                return
            data = client.connection.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(client)
            return
        if client.answering:
            # All is said; what else it sends is read and forgotten, for closing before that would take the answer back.
            if not data:
                self._drop(client)
            return
        ended, client.tail = request_ends(client.tail, data)
        if ended or not data:
            self._begin(client)

    def _begin(self, client):
        self.silent.pop(client.connection, None)
        client.answering = True
        self._send(client)

    def _send(self, client):
        try:
            client.rest = client.rest[client.connection.send(client.rest):]
            if not client.rest:
                client.connection.shutdown(socket.SHUT_WR)
            events = selectors.EVENT_WRITE if client.rest else selectors.EVENT_READ
            self.selector.modify(client.connection, events, client)
        except (BlockingIOError, InterruptedError):
            self.selector.modify(client.connection, selectors.EVENT_WRITE, client)
        except OSError:
            self._drop(client)

    def _drop(self, client):
        self.clients.pop(client.connection, None)
        self.silent.pop(client.connection, None)
        self.selector.unregister(client.connection)
        client.connection.close()


# -- the sockets


def check_address(address):
    """The (family, socket address without a port) of an address of this host."""
    try:
        family, unused, unused2, unused3, bound = socket.getaddrinfo(
            address, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
    except (socket.gaierror, ValueError):
        raise ListenerError("address is %r, which is no IP address: give one of this host, or leave it out for all of them"
                            % address)
    return family, bound


def _places(address):
    """What to bind: [(family, socket address)]; for all addresses one per family that this host has."""
    if address:
        return [check_address(address)]
    return [(socket.AF_INET, ("0.0.0.0", 0))] + ([(socket.AF_INET6, ("::", 0, 0, 0))] if socket.has_ipv6 else [])


def _bind(family, where, port, protocol, listen):
    bound = socket.socket(family, KINDS[protocol])
    try:
        if protocol == "tcp":
            # So that the service can have the port at once when this ends.  With UDP it would share the port instead.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "udp" and family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif protocol == "udp":
            bound.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        bound.bind((where[0], port) + tuple(where[2:]))
        if protocol == "tcp" and listen:
            bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _close_all(sockets):
    for bound in sockets:
        bound.close()


def bind_all(port, address, protocols, listen=True):
    """The bound sockets; InUse when another process holds one of them, and then none is kept."""
    sockets = []
    for protocol in protocols:
        for family, where in _places(address):
            try:
                sockets.append(_bind(family, where, port, protocol, listen))
            except OSError as err:
                if not address and family == socket.AF_INET6 and err.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    continue    # a host without IPv6
                _close_all(sockets)
                if err.errno == errno.EADDRINUSE:
                    raise InUse()
                raise ListenerError(_why_not(err, address or where[0], port, protocol))
    return sockets


def _why_not(error, address, port, protocol):
    if error.errno == errno.EACCES:
        why = "permission denied; run with become: true, and look for SELinux denials"
    elif error.errno == errno.EADDRNOTAVAIL:
        why = "this host does not have the address; give one that `ip address` lists"
    else:
        why = error.strerror
    return "could not listen on %s port %d %s: %s" % (address, port, protocol, why)


def used_by(port, address, protocols):
    """Who listens there, as far as this user may see; empty where it is a connection that holds the port."""
    if address in ("0.0.0.0", "::"):
        address = None    # in the way of these is a listener on any address
    return [entry for entry in listeners({port}, address) or [] if entry["protocol"] in protocols]


# -- the record of who listens


def _folder():
    """Where the records are, gone after a boot as the processes are."""
    user = os.geteuid()
    if not user:
        return "/run/portshift"
    folder = "/tmp/portshift-%d" % user
    if os.path.lexists(folder):
        status = os.lstat(folder)
        # Every user may make names in /tmp: nothing is read from a folder that another user put there.
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o077:
            raise ListenerError("%s: is not a folder of this user's alone, so nothing is read from it or written to it; take "
                                "it away, or run with become: true" % folder)
    return folder


def _network():
    """A number for the network namespace: a port is a port of one of them."""
    try:
        return os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return 0


def state_path(port, address):
    where = re.sub(r"[^0-9A-Za-z.]", "_", address or "all")
    return os.path.join(_folder(), "listener-%d-%s-%d.json" % (port, where, _network()))


def running(path):
    """The record at `path` if the process that it names is alive, and really that one; else None."""
    if not os.path.lexists(path):
        return None
    try:
        content = json.loads((read_own(path) or b"").decode("utf-8"))
        if not STATE_KEYS <= set(content):
            return None
    except (FileError, ValueError, TypeError):
        # Gone or half there: the process ended just now, or never began.
        return None
    started = start_time(content["pid"])
    return content if started is not None and started == content["started"] else None


def _await_end(content, seconds):
    end = time.monotonic() + seconds
    while start_time(content["pid"]) == content["started"]:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def end_listener(path, content):
    """Ends the process of a record, and no other; returns when its port is free."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            if start_time(content["pid"]) == content["started"]:
                os.kill(content["pid"], number)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise ListenerError("the listener is process %d of another user; run with become: true" % content["pid"])
        if _await_end(content, 5):
            remove_file(path, False)
            return
    raise ListenerError("the listener, process %d, does not end even when killed; it ends by itself at %s" % (
        content["pid"], content["until"]))


# -- the process


def begin_listener(path, sockets, token, protocols, ends, until):
    """Leaves a process behind that answers on `sockets`; returns its record, which is on file.

    `ends`: the monotonic moment of its end; `until`: the same as text.
    """
    make_folder(os.path.dirname(path), 0o755 if not os.geteuid() else 0o700)
    _folder()    # once more, now that it is there
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            _detach(path, sockets, token, protocols, ends, until, writing)
            status = 0
        finally:
            # Nothing of the module's own may run a second time here: no handler at exit, no buffer, no answer.
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as source:
        said = source.read().decode("utf-8", "replace")
    os.waitpid(child, 0)
    _close_all(sockets)
    content = running(path)
    if said != "ready" or content is None:
        raise ListenerError("the listener did not come up: %s" % (said if said and said != "ready" else "its process died"))
    return content


def _detach(path, sockets, token, protocols, ends, until, writing):
    """In the first child: makes the listener, which no process waits for and which holds nothing of the caller's."""
    os.setsid()
    if os.fork():
        return
    # From here on it can't be missed that the time is over, whatever becomes of the rest.
    _limit(ends)
    try:
        content = dict(pid=os.getpid(), started=start_time(os.getpid()), protocols=protocols, token=token, until=until,
                       ends=ends)
        put_file(path, json.dumps(content).encode("utf-8"), False)
        _let_go([bound.fileno() for bound in sockets] + [writing])
        max_clients = _room_for_clients()
        loop = AnswerLoop(sockets, token.encode("utf-8"), ends - MARGIN, max_clients)
        os.write(writing, b"ready")
    except Exception as err:
        os.write(writing, str(err).encode("utf-8", "replace") or type(err).__name__.encode())
        os._exit(1)
    os.close(writing)
    signal.signal(signal.SIGTERM, lambda unused, unused2: _end(path))
    loop.run()
    _end(path)


def _end(path):
    try:
        remove_file(path, False)
    finally:
        os._exit(0)


def _limit(ends):
    """The kernel ends the process, also one that is stuck: nothing handles, ignores or blocks these signals."""
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM, signal.SIGTERM, signal.SIGXCPU])
    left = ends - time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, max(left, 0.001))
    seconds = int(left) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or hard > seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _let_go(keep):
    """Away from the caller's files: the process that started this waits for the end of what it reads from."""
    os.chdir("/")
    os.umask(0o077)
    # Before the standard three are replaced: they may be among those to keep no more than others.
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                pass    # the one by which the folder was read
    try:
        with open("/proc/self/comm", "wb") as target:
            target.write(NAME)
    except OSError:
        pass    # only for the eyes of who lists processes


def _room_for_clients():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CLIENTS + 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MAX_CLIENTS if soft == resource.RLIM_INFINITY else max(1, min(MAX_CLIENTS, soft - 64))


# -- the module


def _checked(params):
    """The options, or ListenerError."""
    parse_port(params["port"])
    if not 1 <= params["seconds"] <= MAX_SECONDS:
        raise ListenerError("seconds is %d: a listener lives for 1 to %d seconds; give a number in between" % (
            params["seconds"], MAX_SECONDS))
    if len(params["token"].encode("utf-8")) > MAX_TOKEN:
        raise ListenerError("token has more than %d bytes; give a shorter one" % MAX_TOKEN)
    if not params["protocols"]:
        raise ListenerError("protocols is empty: give tcp, udp or both")
    # Spelled as the kernel spells it: ::1 and 0:0:0:0:0:0:0:1 are one.
    address = check_address(params["address"])[1][0] if params["address"] else None
    return dict(params, address=address, protocols=sorted(set(params["protocols"])))


def _answer(changed, listener=None, in_use=None, until=None):
    """The module's result; `in_use`: the listeners of other processes, or None when they do not have the port."""
    return dict(changed=changed, listening=bool(listener or until), already_in_use=in_use is not None, used_by=in_use or [],
                pid=listener and listener["pid"], until=listener["until"] if listener else until)


def _good_enough(there, params):
    return (there["protocols"] == params["protocols"] and there["token"] == params["token"]
            and there["ends"] - time.monotonic() >= params["seconds"] / 2.0)


def _start_listening(params, path, there, check_mode):
    if there and _good_enough(there, params):
        return _answer(False, there)
    ends = time.monotonic() + params["seconds"]
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(time.time() + params["seconds"])))
    where = (params["port"], params["address"], params["protocols"])
    if there and check_mode:
        return _answer(True, until=until)
    if there:
        end_listener(path, there)
    try:
        # In check mode bound for a moment, without listening: nothing else tells so surely whether it would do.
        sockets = bind_all(*where, listen=not check_mode)
    except InUse:
        return _answer(bool(there), in_use=used_by(*where))
    if check_mode:
        _close_all(sockets)
        return _answer(True, until=until)
    return _answer(True, begin_listener(path, sockets, params["token"], params["protocols"], ends, until))


def _stop_listening(params, path, there, check_mode):
    if there and not check_mode:
        end_listener(path, there)
    others = [entry for entry in used_by(params["port"], params["address"], params["protocols"])
              if not there or entry["pid"] != there["pid"]]
    return _answer(bool(there), in_use=others or None)


def outcome(params, check_mode):
    """The module's result."""
    params = _checked(params)
    path = state_path(params["port"], params["address"])
    act = _start_listening if params["state"] == "present" else _stop_listening
    return act(params, path, running(path), check_mode)
