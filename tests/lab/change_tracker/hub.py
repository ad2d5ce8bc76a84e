# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub's application, behind nginx: takes heartbeats and counts who sent which, and on what port of the hub it came.

A line of arrivals.txt: `epoch.ms AGENT NUMBER PORT`; of monitoring.txt: `epoch.ms PROXY HOST PORT ok|failed [WHY]`.
"""

import base64
import hmac
import json
import os
import re
import signal
import socketserver
import time
from http.server import BaseHTTPRequestHandler

from .. import identity
from .host import APPLICATION_PORT, HUB_SERVICE, Host

HEARTBEAT = re.compile(r"/api/agents/([A-Za-z0-9.-]{1,100})/heartbeats/([0-9]{1,12})\Z")
MOST_BYTES = 256 * 1024
MOST_CALLERS = 1000
WRONG_LOGINS = 3
BLOCK_SECONDS = 600.0
READ_SECONDS = 5.0


class Logins:
    """Who may log in: one who is wrong too often can't for ten minutes, from that address, not even with the right password."""

    def __init__(self, login):
        self.login = login
        self.wrong = {}      # address -> how often in a row
        self.blocked = {}    # address -> until when

    def admit(self, address, given, now):
        """-> why not, or None"""
        if self.blocked.get(address, 0) > now:
            return "blocked"
        if hmac.compare_digest(given, self.login):
            self.wrong.pop(address, None)
            self.blocked.pop(address, None)
            return None
        if len(self.wrong) < MOST_CALLERS or address in self.wrong:
            self.wrong[address] = self.wrong.get(address, 0) + 1
            if self.wrong[address] >= WRONG_LOGINS:
                del self.wrong[address]
                self.blocked[address] = now + BLOCK_SECONDS
        return "wrong login"


class Hub:
    def __init__(self, host):
        with open(host.login, "rb") as stream:
            self.logins = Logins(stream.read().rstrip(b"\n"))
        self.arrivals = os.open(host.arrivals, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.monitoring = os.open(host.monitoring, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def take(self, agent, number, port, monitored):
        # On file before it is answered.
        os.write(self.arrivals, ("%.3f %s %s %s\n" % (time.time(), agent, number, port)).encode("ascii"))
        lines = ["%.3f %s %s %d %s %s" % (float(seen["at"]), agent, seen["host"], seen["port"],
                                          "failed" if seen["why"] else "ok", " ".join(seen["why"].split()))
                 for seen in monitored]
        os.write(self.monitoring, "".join(line.rstrip() + "\n" for line in lines).encode("ascii", "replace"))


class Handler(BaseHTTPRequestHandler):
    timeout = READ_SECONDS
    hub = None

    def log_message(self, *_arguments):
        pass    # nginx has it all in its log

    def _answer(self, status, body, kind="application/json"):
        body = (body if isinstance(body, str) else json.dumps(body)).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0].rstrip("/")
        if path == "":
            self._answer(200, "<!DOCTYPE html><title>Change Tracker</title><p>The console, a stand-in\n", "text/html")
        elif path == "/api":
            self._answer(200, {"hub": "stand-in"})
        else:
            self._answer(404, {"error": "there is nothing"})

    do_HEAD = do_GET

    def do_PUT(self):
        size = self.headers.get("Content-Length", "")
        if not size.isdigit() or int(size) > MOST_BYTES:
            self._answer(413, {"error": "no length, or too much"})
            return
        body = self.rfile.read(int(size))
        found = HEARTBEAT.match(self.path)
        if not found:
            self._answer(404, {"error": "there is nothing"})
            return
        why = self.hub.logins.admit(self.headers.get("X-Real-IP", ""), self._login(), time.monotonic())
        if why:
            self._answer(403, {"error": why})
            return
        try:
            self.hub.take(found.group(1), found.group(2), int(self.headers.get("X-Forwarded-Port", 0)),
                          json.loads(body.decode("ascii"))["monitored"])
        except (ValueError, KeyError, TypeError):
            self._answer(400, {"error": "no heartbeat"})
            return
        self._answer(200, {"taken": int(found.group(2))})

    def _login(self):
        kind, _blank, value = self.headers.get("Authorization", "").partition(" ")
        try:
            return base64.b64decode(value.encode("ascii")) if kind == "Basic" else b""
        except ValueError:
            return b""


class Server(socketserver.TCPServer):
    """One request at a time: nginx has read each whole before it passes it on."""

    allow_reuse_address = True
    request_queue_size = 256

    def handle_error(self, _request, _address):
        pass    # a caller that has gone


def main(_arguments):
    host = Host.load()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Handler.hub = Hub(host)
    server = Server(("127.0.0.1", APPLICATION_PORT), Handler)
    identity.record(host, HUB_SERVICE)
    server.serve_forever()
