# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent: sends a numbered heartbeat again and again over a connection that it keeps.

Everything it knows of the hub it reads from HubDetails.xml at its start.  After too many failures in a row it sleeps until
it is restarted.  A line of its ledger: `epoch.ms NUMBER OUTCOME PORT [WHY]`, with `start`, `ok`, `failed`, `sleep` or
`stop` for an outcome.  `ok` is what the hub answered with 200, at once or, where the hub had closed the kept connection, over
a new one.
"""

import base64
import hashlib
import http.client
import json
import os
import select
import signal
import socket
import ssl
import sys
import threading
import time

from .. import identity
from . import Refused, hub_details
from .host import KINDS, Host

EVERY_SECONDS = 0.25
RETRIES = 20
RETRY_SECONDS = 0.5
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
LOOK_SECONDS = 1.0          # between two looks at the hosts that are monitored
MOST_PENDING = 200          # results of them that wait for a heartbeat to go with
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Offline(Exception):
    """The hub is not there."""


class Rejected(Exception):
    """It is there and does not take a heartbeat."""


class Untrusted(Exception):
    """What is there has another certificate."""


class Log:
    """rolling-log.txt"""

    def __init__(self, path):
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def info(self, text):
        now = time.time()
        os.write(self.descriptor, ("%s,%03d [INFO ] %s\n" % (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)), now % 1 * 1000, text)).encode("utf-8"))


class Ledger:
    def __init__(self, path):
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.lseek(self.descriptor, max(0, os.fstat(self.descriptor).st_size - 1000), os.SEEK_SET)
        lines = os.read(self.descriptor, 1000).decode("ascii", "replace").splitlines()
        self.number = int(lines[-1].split()[1]) if lines else 0

    def write(self, outcome, port, why="", when=None):
        # Whatever it says, it is one line.
        text = "%.3f %d %s %s %s" % (when or time.time(), self.number, outcome, port, " ".join(why.split()))
        os.write(self.descriptor, (text.rstrip() + "\n").encode("ascii", "replace"))


class Hub:
    """The connection to the hub, kept from one heartbeat to the next."""

    def __init__(self, settings, name):
        self.url = settings.url
        self.thumbprint = settings.thumbprint
        self.name = name
        login = "%s:%s" % (settings.username, settings.password)
        self.headers = {"Authorization": "Basic " + base64.b64encode(login.encode("utf-8")).decode("ascii"),
                        "Content-Type": "application/json"}
        self.connection = None
        # Whether the hub is the right one is told by the thumbprint alone.
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _open(self):
        if self.url.tls:
            self.connection = http.client.HTTPSConnection(self.url.host, self.url.port, timeout=CONNECT_SECONDS,
                                                          context=self.context)
        else:
            self.connection = http.client.HTTPConnection(self.url.host, self.url.port, timeout=CONNECT_SECONDS)
        try:
            self.connection.connect()
        except OSError as err:
            raise Offline(str(err) or type(err).__name__)
        self.connection.sock.settimeout(ANSWER_SECONDS)
        if self.url.tls and self.thumbprint:
            found = hashlib.sha1(self.connection.sock.getpeercert(True)).hexdigest()
            if found != self.thumbprint:
                raise Untrusted("the hub's is %s" % found.upper())

    def _is_closed(self):
        """Whether the hub has ended the kept connection meanwhile: then there is something to read where nothing was asked."""
        return bool(select.select([self.connection.sock], [], [], 0)[0])

    def send(self, number, monitored):
        """Offline, Rejected or Untrusted, unless the hub has taken it."""
        kept = self.connection is not None and self.connection.sock is not None
        if kept and self._is_closed():
            self.close()
            kept = False
        try:
            try:
                self._send(number, monitored)
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as err:
                # A server may close a kept connection at any time; a request that can be repeated goes out again, over a new
                # one (RFC 9112, 9.3.1).
                if not kept:
                    raise Offline(str(err) or type(err).__name__)
                self.close()
                self._send(number, monitored)
        except (OSError, http.client.HTTPException) as err:
            self.close()
            raise Offline(str(err) or type(err).__name__)
        except (Offline, Rejected, Untrusted):
            self.close()
            raise

    def _send(self, number, monitored):
        if self.connection is None or self.connection.sock is None:
            self._open()
        self.connection.request(
            "PUT", "%s/agents/%s/heartbeats/%d" % (self.url.path, self.name, number),
            json.dumps({"monitored": monitored}).encode("ascii"), self.headers)
        answer = self.connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise Rejected("%d %s" % (answer.status, answer.reason))


class Monitoring:
    """The agentless part of a proxy: looks at every host that it monitors, and keeps what it saw for the next heartbeat."""

    def __init__(self, targets):
        self.targets = targets
        self.lock = threading.Lock()
        self.pending = []

    def start(self):
        for target in self.targets:
            threading.Thread(target=self._watch, args=(target["host"], KINDS[target["kind"]]), daemon=True).start()

    def _watch(self, host, port):
        while True:
            began = time.time()
            seen = {"at": round(began, 3), "host": host, "port": port, "why": _greeted(host, port)}
            with self.lock:
                self.pending = (self.pending + [seen])[-MOST_PENDING:]
            time.sleep(max(0.0, LOOK_SECONDS - (time.time() - began)))

    def some(self):
        with self.lock:
            return list(self.pending)

    def told(self, results):
        with self.lock:
            self.pending = [seen for seen in self.pending if seen not in results]


def _greeted(host, port):
    """-> why the host does not answer there, or "": both services of these hosts speak first."""
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            return "" if connection.recv(100) else "it hung up"
    except OSError as err:
        return str(err) or type(err).__name__


class Agent:
    def __init__(self, host):
        self.host = host
        self.log = Log(host.log)
        self.ledger = Ledger(host.ledger)
        self.monitoring = Monitoring(host.monitored)
        self.told = None    # the last reason that stands in the log

    def main(self):
        self.log.info("Agent starting, version 8.1.0.7 (stand-in)")
        try:
            settings = hub_details.read(self.host)
        except Refused as err:
            return self._without(str(err))
        port = settings.url.port
        if self.host.refuses(port):
            self.log.info("Agent stopped: told to refuse this port: %d" % port)
            sys.stderr.write("told to refuse this port: %d\n" % port)
            return 1
        self.ledger.write("start", port)
        self.monitoring.start()
        hub = Hub(settings, self.host.name)
        failures, due = 0, time.monotonic()
        while True:
            failures = 0 if self._beat(hub, port) else failures + 1
            if failures > RETRIES:
                self.log.info("Hub Offline, connection retries exhausted")
                self.ledger.write("sleep", port)
                return self._until_told()
            # Not caught up with: a heartbeat that took long is one heartbeat.
            due = max(due + (RETRY_SECONDS if failures else EVERY_SECONDS), time.monotonic())
            if signal.sigtimedwait(SIGNALS, max(0.0, due - time.monotonic())):
                self.ledger.write("stop", port)
                self.log.info("Agent stopped")
                return 0

    def _beat(self, hub, port):
        """One heartbeat -> whether the hub has taken it."""
        self.ledger.number += 1
        began, results = time.time(), self.monitoring.some()
        try:
            hub.send(self.ledger.number, results)
        except Untrusted as err:
            self.log.info("Certificate thumbprint does not match trusted: %s" % err)
            why = "thumbprint: %s" % err
        except Rejected as err:
            self.log.info("Hub connection failed (%s)" % err)
            why = "rejected: %s" % err
        except Offline as err:
            self.log.info("No answer from the hub (%s), trying again" % err)
            why = "offline: %s" % err
        else:
            self.monitoring.told(results)
            self.ledger.write("ok", port, when=began)
            return True
        self.ledger.write("failed", port, why, began)
        return False

    def _without(self, why):
        """An agent that can't log in stays there, and does nothing."""
        url = hub_details.url_of(self.host)
        port = url.port if url else 0
        self.log.info("Hub connection failed (403 Forbidden): %s" % why)
        self.ledger.write("start", port)
        self.ledger.number += 1
        self.ledger.write("failed", port, why)
        self.log.info("Hub Offline, connection retries exhausted")
        self.ledger.write("sleep", port)
        return self._until_told()

    def _until_told(self):
        signal.sigwait(SIGNALS)
        self.ledger.write("stop", 0)
        self.log.info("Agent stopped")
        return 0


def main(_arguments):
    # Blocked in every thread and waited for: a heartbeat that is on its way ends before the agent does.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    host = Host.load()
    identity.record(host, host.service)
    code = Agent(host).main()
    identity.forget(host, host.service)
    sys.stderr.flush()
    # Not a return: threads that wait for a host would be waited for.
    os._exit(code)
