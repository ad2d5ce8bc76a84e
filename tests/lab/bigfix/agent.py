# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent (besclient): registers with its parent and posts numbered reports, at a fixed rate, in order."""

import json
import os
import select
import socket
import threading
import time
from collections import deque

from ..files import write_atomically
from . import Refused, masthead, settings, wire
from .listening import MASTHEAD, REGISTER, REPORT

RETRY_SECONDS = 0.25
# The parent is the URL in __RelayServer1, else __RelayServer2, else the registration URL of the masthead.
# `_BESClient_RelaySelect_Port` is not honoured: it is found nowhere but in the document that the project was asked to
# implement, and an agent that followed it would let a migration pass here that leaves real agents where they were.
PARENT_SETTINGS = ("__RelayServer1", "__RelayServer2")


class AgentLog:
    """YYYYMMDD.log: a line `At HH:MM:SS +ZZZZ - `, below it what happened in that second, indented."""

    def __init__(self, folder, chain_folder):
        self.folder = folder
        self.chain_folder = chain_folder
        self.headed = None

    def say(self, text):
        now = time.localtime()
        head = time.strftime("At %H:%M:%S %z - \n", now)
        lines = "   %s\n" % text
        if self.headed != (now.tm_yday, head):
            lines = head + lines
            self.headed = (now.tm_yday, head)
        self._append(os.path.join(self.folder, time.strftime("%Y%m%d.log", now)), lines)

    def chain(self, letter, text):
        """RelayChain: S for a registration that went through, F for one that failed."""
        now = time.localtime()
        line = "%s - %s - %s\n" % (time.strftime("At %H:%M:%S %z", now), letter, text)
        self._append(os.path.join(self.chain_folder, time.strftime("%Y%m%d.txt", now)), line)

    @staticmethod
    def _append(path, text):
        try:
            with open(path, "a") as stream:
                stream.write(text)
        except OSError:
            pass    # a full or vanished folder must not stop the agent


class Agent:
    def __init__(self, host):
        self.host = host
        self.log = AgentLog(host.client_log_folder, host.relay_chain_folder)
        self.interval = 1.0 / host.lab["rate"]
        self.give_up_seconds = host.lab["give_up_seconds"]
        self.lock = threading.Lock()    # held while number, queue and state file change together
        self.queue = deque()            # (number, monotonic time of its creation)
        self.number = 0                 # the last one given to a report
        self.notifications = 0
        self.dropped = 0
        self.ever_registered = False
        self.next_due = None
        self.registered = False
        self.connection = None
        self.port = None
        self.udp = None
        self.checked = {}               # masthead bytes of a parent -> None, or why they are refused
        self.posted_logged = 0

    def prepare(self):
        try:
            self.config = settings.RememberedFile(self.host.client_config)
            self.masthead = masthead.load(self.host.client_masthead)
            self.parents = self._parents()
        except Refused as err:
            self.log.say("Client does not start: %s" % err)
            raise
        self._load_state()

    def _parents(self):
        urls = [self.config.settings[name] for name in PARENT_SETTINGS if self.config.settings.get(name)]
        parents = []
        for url in urls or [self.masthead.registration_url]:
            parent = masthead.host_and_port(url)
            if parent is None:
                raise Refused("parent %r is no URL with a port" % url)
            parents.append(parent)
        return parents

    def start(self):
        threading.stack_size(256 * 1024)
        threading.Thread(target=self._work, daemon=True).start()

    def stop(self):
        self.lock.acquire()    # and never released: the process ends here, and the worker must not count on
        self._save_state()
        self.config.write_back()
        self.log.say("Client shutdown")

    # -- numbers and queue survive a restart, even a kill: the state is written before a new number is first sent
    def _load_state(self):
        try:
            with open(self.host.run("besclient", ".state")) as stream:
                state = json.load(stream)
        except FileNotFoundError:
            return
        now = time.monotonic()
        self.number = state["number"]
        # The time that a report has been tried counts on; the time while the agent was down does not: it did not try.
        self.queue.extend((number, now - age) for number, age in state["queue"])
        self.notifications = state["notifications"]
        self.dropped = state["dropped"]
        self.ever_registered = state["ever_registered"]

    def _save_state(self):
        now = time.monotonic()
        state = {
            "number": self.number,
            "queue": [[number, round(now - created, 3)] for number, created in self.queue],
            "notifications": self.notifications,
            "dropped": self.dropped,
            "ever_registered": self.ever_registered,
            "port": self.port,
        }
        write_atomically(self.host.run("besclient", ".state"), json.dumps(state).encode("ascii"))

    def _work(self):
        if self.ever_registered:
            # Also when the parent cannot be reached: an agent that came back at a wrong port owes its reports.
            self.next_due = time.monotonic()
        next_try = 0.0
        while True:
            now = time.monotonic()
            self._produce(now)
            if now >= next_try and (self.queue or not self.registered):
                kept = self.connection is not None and self.connection.socket is not None
                try:
                    if not self.registered:
                        self._register()
                    elif self.queue:
                        self._post()
                    continue
                except (OSError, ValueError):
                    self.registered = False
                    # A kept connection that broke tells nothing about the parent: try a fresh one at once.
                    broke = kept and self.connection.socket is None
                    next_try = 0.0 if broke else time.monotonic() + RETRY_SECONDS
                    continue
            wake = now + 1.0
            if self.next_due is not None:
                wake = min(wake, self.next_due)
            if self.queue or not self.registered:
                wake = min(wake, max(next_try, now))
            self._rest(wake - now)

    def _produce(self, now):
        with self.lock:
            changed = False
            while self.next_due is not None and self.next_due <= now:
                self.number += 1
                self.queue.append((self.number, self.next_due))
                self.next_due += self.interval
                changed = True
            while self.queue and now - self.queue[0][1] > self.give_up_seconds:
                number = self.queue.popleft()[0]
                self.dropped += 1
                changed = True
                self.log.say("Report %d could not be posted for %g seconds, giving it up" % (
                    number, self.give_up_seconds))
            if changed:
                try:
                    self._save_state()
                except OSError:
                    pass    # the lab is being removed

    def _rest(self, seconds):
        seconds = max(0.0, seconds)
        if self.udp is None:
            time.sleep(seconds)
        elif select.select([self.udp], [], [], seconds)[0]:
            try:
                self.udp.recv(2048)
                self.notifications += 1
            except OSError:
                pass

    def _register(self):
        failure = None
        for address, port in self.parents:
            if self.connection is None or (self.connection.host, self.connection.port) != (address, port):
                if self.connection is not None:
                    self.connection.close()
                self.connection = wire.Connection(address, port, self.host.address)
            url = "http://%s:%d%s" % (address, port, REGISTER)
            self.log.say("RegisterOnce: Attempting to register with '%s...'" % url)
            self.log.say("Trying to connect to relay on port %d" % port)
            try:
                self._check_masthead_of_parent()
                status, _answer = self.connection.request(
                    "GET", "%s?RequestType=RegisterMe60&ComputerName=%s&Address=%s&Port=%d" % (
                        REGISTER, self.host.name, self.host.address, port))
                if status != 200:
                    raise wire.BadAnswer("HTTP %d" % status)
            except (OSError, ValueError, Refused) as err:
                failure = err
                self.log.say("RegisterOnce: GetURL failed - General transport failure. - %s - registration url - %s" % (
                    err, url))
                self.log.chain("F", "%s:%d" % (address, port))
                continue
            self._registered_with(address, port)
            return
        raise wire.BadAnswer("no parent took the registration: %s" % failure)

    def _registered_with(self, address, port):
        self.log.say("Successful Synchronization")
        self.log.chain("S", "%s:%d" % (address, port))
        self.registered = True
        self.ever_registered = True
        if port != self.port or (self.udp is None and self.host.role == "client"):
            self._listen_for_notifications(port)
        self.port = port
        if self.next_due is None:
            self.next_due = time.monotonic()

    def _listen_for_notifications(self, port):
        if self.udp is not None:
            self.udp.close()
            self.udp = None
        # On a server or relay the service takes the datagrams, for the host has but one such port.
        if self.host.role == "client":
            try:
                self.udp = wire.bind(socket.SOCK_DGRAM, self.host.address, port)
            except Refused as err:
                self.log.say("No notifications: %s" % err)

    def _check_masthead_of_parent(self):
        status, data = self.connection.request("GET", MASTHEAD)
        if status != 200:
            raise wire.BadAnswer("HTTP %d for the masthead" % status)
        if data == self.masthead.data:
            return
        if data not in self.checked:
            self.checked.clear()
            self.checked[data] = self._why_refused(data)
        if self.checked[data]:
            raise Refused(self.checked[data])

    def _why_refused(self, data):
        path = self.host.run("besclient", ".masthead-of-parent")
        write_atomically(path, data)
        try:
            theirs = masthead.load(path)
        except Refused as err:
            return str(err).replace(path, "masthead of the parent")
        finally:
            os.unlink(path)
        if theirs.serial != self.masthead.serial:
            return "masthead of the parent: serial number %s, this deployment has %s" % (
                theirs.serial, self.masthead.serial)
        if self.masthead.signed and not theirs.signed:
            return "masthead of the parent: it is not signed"
        return None

    def _post(self):
        number = self.queue[0][0]
        body = "Client=%s&Number=%d&Port=%d" % (self.host.name, number, self.connection.port)
        status, _answer = self.connection.request("POST", REPORT, body.encode("ascii"))
        if status != 200:
            raise wire.BadAnswer("HTTP %d for report %d" % (status, number))
        with self.lock:
            self.queue.popleft()
        second = int(time.time())
        if second != self.posted_logged:
            self.posted_logged = second
            self.log.say("Report posted successfully")
