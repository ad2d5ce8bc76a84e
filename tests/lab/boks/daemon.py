# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All daemons of BoKS on one host, in one process: `boks_init`, which Boot starts.

The base port is looked up once, at the start: who changes it has to stop and start BoKS.
"""

import os
import selectors
import signal
import socket
import threading
import time

from ..files import write_atomically
from ..identity import start_time
from . import Refused
from .asking import MOST, NoAnswer, ask_all, locate
from .host import DAEMONS, LISTENING, Host

LOCATE_SECONDS = 0.2
ASK_SECONDS = 1.5
CONTACT_SECONDS = 1.0
IDLE_SECONDS = 10.0
MOST_CALLERS = 200
MOST_LOGINS = 16    # that are being decided at once


def note(host, text):
    line = "%s boks_init@%s: %s\n" % (time.strftime("%a %b %d %H:%M:%S %Y"), host.name, text)
    # One write to a file opened for appending: whole lines, whichever thread says it.
    descriptor = os.open(host.errlog, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode("utf-8"))
    finally:
        os.close(descriptor)


class Daemon:
    def __init__(self, host):
        self.host = host
        self.bases = host.bases()
        self.selector = selectors.DefaultSelector()
        self.calling = {}    # connection -> when it was last heard
        self.deciding = threading.BoundedSemaphore(MOST_LOGINS)
        # A Replica whose database is not the Master's current one says so until the Master's first push.
        self.loaded = host.role == "master"
        self.status = {}     # of each server as this one sees it: OK, Loading, Down
        self.reachable = {}  # what was noted last of each peer
        self.last_server = None

    def _note_contact(self, peer, answer):
        """Once when a peer is lost and once when it is back, however often it is asked."""
        fine = not isinstance(answer, NoAnswer)
        if self.reachable.get(peer, True) != fine:
            note(self.host, "%s is reached again" % peer if fine else "Can't contact %s: %s" % (peer, answer))
        self.reachable[peer] = fine

    # -- the listeners
    def port(self, offset, protocol="tcp"):
        return self.bases[protocol] + offset

    def listen(self):
        for offset, protocol in LISTENING[self.host.role]:
            port = self.port(offset, protocol)
            if self.host.refuses(port):
                raise Refused("told to refuse this port: %d" % port)
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
            try:
                if protocol == "tcp":
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("", port))
                if protocol == "tcp":
                    listener.listen(128)
            except (OSError, OverflowError) as err:
                raise Refused("%s can't listen on port %d/%s: %s" % (
                    DAEMONS[offset], port, protocol, getattr(err, "strerror", None) or err))
            listener.setblocking(False)
            ready = self._accept if protocol == "tcp" else self._datagram
            self.selector.register(listener, selectors.EVENT_READ, (ready, DAEMONS[offset]))
        own = socket.socket(socket.AF_UNIX)
        temporary = self.host.access_socket + ".new"
        if os.path.exists(temporary):
            os.unlink(temporary)
        own.bind(temporary)
        os.chmod(temporary, 0o600)
        own.listen(64)
        own.setblocking(False)
        os.rename(temporary, self.host.access_socket)
        self.selector.register(own, selectors.EVENT_READ, (self._accept, "own"))

    def _accept(self, listener, daemon):
        try:
            connection, _caller = listener.accept()
        except OSError:
            return
        if len(self.calling) >= MOST_CALLERS:
            connection.close()
            return
        connection.setblocking(False)
        self.calling[connection] = time.monotonic()
        self.selector.register(connection, selectors.EVENT_READ, (self._read, daemon))

    def _read(self, connection, daemon):
        try:
            data = connection.recv(MOST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        # A question is one short line, so it comes in one piece.
        if not data.endswith(b"\n"):
            self._hang_up(connection)
            return
        words = data.decode("ascii", "replace").split()
        if daemon == "own":
            self._serve_own(connection, words)
            return
        try:
            connection.sendall(self.answer(daemon, words).encode("ascii") + b"\n")
        except OSError:
            pass
        self._hang_up(connection)

    def _datagram(self, listener, daemon):
        try:
            data, source = listener.recvfrom(MOST)
            if data.decode("ascii", "replace").split()[:2] == [self.host.domain, "locate"]:
                listener.sendto(("here %s\n" % self.host.name).encode("ascii"), source)
        except OSError:
            pass

    def _hang_up(self, connection):
        self._let_go(connection)
        connection.close()

    def _let_go(self, connection):
        self.calling.pop(connection, None)
        self.selector.unregister(connection)

    def answer(self, daemon, words):
        """What a daemon of this host answers a host of the domain."""
        if words[:1] != [self.host.domain]:
            return "no such domain here"
        verb = " ".join(words[1:2])
        if daemon == "servc" and verb == "access":
            return "allow %s" % self.host.name
        if daemon == "servm" and verb == "push":
            self.loaded = True
            return "taken %s" % self.host.name
        if verb == "hello":
            return "%s %s %s" % (daemon, self.host.name, "OK" if self.loaded else "Loading")
        return "%s knows no %s" % (daemon, verb or "silence")

    # -- questions of this host itself: PAM, and the commands
    def _serve_own(self, connection, words):
        self._let_go(connection)
        connection.setblocking(True)
        connection.settimeout(ASK_SECONDS)
        if not self.deciding.acquire(False):
            connection.close()
            return

        def decide():
            try:
                with connection:
                    connection.sendall(self._own_answer(words).encode("ascii", "replace") + b"\n")
            except OSError:
                pass
            finally:
                self.deciding.release()

        threading.Thread(target=decide, daemon=True).start()

    def _own_answer(self, words):
        if words[:1] == ["access"]:
            return self.access(" ".join(words[1:2]))
        if words[:1] == ["state"]:
            return "%d %d %s" % (self.bases["tcp"], self.bases["udp"], self.host.role)
        if words[:1] == ["servers"]:
            return " ".join("%s=%s" % item for item in self.servers_seen())
        return "unknown question"

    def access(self, user):
        """Whether a user may log in here now: any Master or Replica says so, and no other host."""
        # A server asks itself, an agent those that bcastaddr names.
        addresses = self.host.servers() if self.host.role == "agent" else [self.host.address]
        udp = self.port(1, "udp")
        found = locate([(address, udp) for address in addresses], "%s locate %s" % (self.host.domain, self.host.name),
                       LOCATE_SECONDS)
        question = "%s access %s %s" % (self.host.domain, self.host.name, user or "-")
        said = {}
        if found:
            said = ask_all([(found[0], self.port(1))], question, ASK_SECONDS, True)
        if not any(_allows(answer) for answer in said.values()):
            said = ask_all([(address, self.port(1)) for address in addresses], question, ASK_SECONDS, True)
        for (address, port), answer in said.items():
            if _allows(answer):
                self._note_contact("a server", answer)
                return "allow %s:%d %s" % (address, port, "udp" if found else "no-udp")
        why = "; ".join("%s:%d: %s" % (address, port, answer) for (address, port), answer in said.items())
        self._note_contact("a server", NoAnswer(why))
        return "refuse %s" % (why or "bcastaddr names no server")

    def servers_seen(self):
        """-> [(name, status)]"""
        if self.host.role != "agent":
            own = [(self.host.name, "OK" if self.loaded else "Loading")]
            others = self.host.of_role("replica" if self.host.role == "master" else "master")
            return own + [(name, self.status.get(name, "Loading")) for name, _address in others]
        servers = self.host.of_role("master", "replica")
        said = ask_all([(address, self.port(1)) for _name, address in servers], "%s hello %s" % (
            self.host.domain, self.host.name), ASK_SECONDS)
        return [(name, _status(said[address, self.port(1)])) for name, address in servers]

    # -- what servers do among themselves
    def keep_contact(self):
        rounds = 0
        while True:
            (self._contact_replicas if self.host.role == "master" else self._contact_master)(rounds)
            rounds += 1
            time.sleep(CONTACT_SECONDS)

    def _contact_replicas(self, rounds):
        replicas = self.host.of_role("replica")
        said = ask_all([(address, self.port(2)) for _name, address in replicas], "%s push %d" % (self.host.domain, rounds),
                       ASK_SECONDS)
        for name, address in replicas:
            answer = said[address, self.port(2)]
            self._note_contact("servm on %s" % name, answer)
            self.status[name] = "OK" if str(answer).startswith("taken ") else "Down"
        # Every few rounds: there may be many of them.
        if rounds % 5 == 0:
            others = list(self.host.of_role("replica", "agent"))
            said = ask_all([(address, self.port(3)) for _name, address in others], "%s hello %s" % (
                self.host.domain, self.host.name), ASK_SECONDS)
            for name, address in others:
                self._note_contact("clntd on %s" % name, said[address, self.port(3)])

    def _contact_master(self, _rounds):
        for name, address in self.host.of_role("master"):
            said = ask_all([(address, self.port(0)), (address, self.port(1))], "%s hello %s" % (
                self.host.domain, self.host.name), ASK_SECONDS)
            for offset in (0, 1):
                self._note_contact("%s on %s" % (DAEMONS[offset], name), said[address, self.port(offset)])
            states = {_status(answer) for answer in said.values()}
            self.status[name] = "OK" if states == {"OK"} else "Down"

    # -- the life of it
    def serve(self, end):
        """Until `end`, a socket, has something to read."""
        self.selector.register(end, selectors.EVENT_READ, (None, None))
        if self.host.role != "agent":
            threading.Thread(target=self.keep_contact, daemon=True).start()
        while True:
            for key, _events in self.selector.select(1.0):
                ready, daemon = key.data
                if ready is None:
                    return
                # It may have been closed by what was done for another one.
                if key.fileobj.fileno() >= 0:
                    ready(key.fileobj, daemon)
            for connection, heard in list(self.calling.items()):
                if time.monotonic() - heard > IDLE_SECONDS:
                    self._hang_up(connection)


def _allows(answer):
    return not isinstance(answer, NoAnswer) and answer.startswith("allow ")


def _status(answer):
    last = "" if isinstance(answer, NoAnswer) else answer.split()[-1]
    return last if last in ("OK", "Loading") else "Down"


def main(arguments):
    """`boks_init FD`: says on that descriptor how the start went, `ready` or why not."""
    host = Host.load()
    outcome = os.fdopen(int(arguments[0]), "w")
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    write_atomically(host.pid_file, ("%d %d\n" % (os.getpid(), start_time(os.getpid()))).encode("ascii"))
    try:
        daemon = Daemon(host)
        daemon.listen()
    except (Refused, OSError) as err:
        note(host, "BoKS does not start: %s" % err)
        outcome.write(str(err))
        os.unlink(host.pid_file)
        return 1
    note(host, "BoKS has started as %s, base port %d" % (host.role, daemon.bases["tcp"]))
    outcome.write("ready")
    outcome.close()
    daemon.serve(woken)
    for path in (host.access_socket, host.pid_file):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
    note(host, "BoKS has stopped")
    # Not a return: threads that wait for a peer would be waited for.
    os._exit(0)
