# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WinRM on loopback: what a Windows host answers to Ansible's winrm connection, over HTTP or HTTPS with basic authentication.

A Server listens for many hosts; each has an Endpoint with its address and port, its user, its faults and its own count of
requests.  What is to be run goes to the function of its endpoint, as a Call (payload.py), in a thread of its own: as on Windows
it goes on when a connection ends, and ends when it is signalled or when its shell is deleted.
"""

import base64
import collections
import contextlib
import dataclasses
import functools
import http.server
import os
import selectors
import socket
import ssl
import tempfile
import threading
import time
import uuid
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.lab.authority import openssl

from .payload import Unknown, unpack

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
RESOURCE = SHELL + "/cmd"
ACTIONS = {TRANSFER + "/Create": "Create", SHELL + "/Command": "Command", SHELL + "/Send": "Send", SHELL + "/Receive": "Receive",
           SHELL + "/Signal": "Signal", TRANSFER + "/Delete": "Delete"}
# Windows' default of MaxEnvelopeSizekb.
MOST_BYTES = 500 * 1024
# Codes of WSManFault: of an operation that took longer than its OperationTimeout, a shell that is not there, too big an envelope.
TIMED_OUT, NO_SHELL, TOO_BIG, INTERNAL = 2150858793, 2150858843, 2150858883, 2147942487
IDLE_SECONDS = 120
END_SECONDS = 60
# How a request may go wrong.  Those before it is heard: drop, 401, 500, fault.  Those after it: lost (no answer), break (half).
BEFORE, AFTER = ("drop", "401", "500", "fault"), ("lost", "break")

ENVELOPE = """<s:Envelope xml:lang="en-US" xmlns:s="{soap}" xmlns:a="{addressing}" xmlns:w="{wsman}" xmlns:x="{transfer}" \
xmlns:rsp="{shell}" xmlns:f="{fault}"><s:Header><a:Action>{action}</a:Action><a:MessageID>uuid:{message}</a:MessageID>\
<a:RelatesTo>{relates}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>"""
FAULT_BODY = """<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>{subcode}</s:Value></s:Subcode></s:Code>\
<s:Reason><s:Text xml:lang="en-US">{text}</s:Text></s:Reason><s:Detail><f:WSManFault Code="{code}" Machine="{machine}">\
<f:Message>{text}</f:Message></f:WSManFault></s:Detail></s:Fault>"""


class Fault(Exception):
    def __init__(self, code, text, subcode="w:InternalError"):
        super().__init__(text)
        self.code, self.subcode = code, subcode


class Lost(Exception):
    """The connection is to end."""


@dataclasses.dataclass
class Output:
    stdout: bytes = b""
    stderr: bytes = b""
    code: int = 0


@dataclasses.dataclass
class Seen:
    """A request that came in; `number`: the how many-th of its host."""

    number: int
    action: str
    # Of the answer; None where there was none.
    status: int = None
    fault: str = None
    shell: str = None
    body_bytes: int = 0


@dataclasses.dataclass
class Task:
    """What came in by one shell, which lives for one task."""

    shell: str
    # Create, Command, Send, Receive, again (Receives of the same command after its first), Signal, Delete
    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    # What was run: modules by their full names, other things by their kind.
    ran: list = dataclasses.field(default_factory=list)
    calls: list = dataclasses.field(default_factory=list)
    stdin_bytes: int = 0

    @property
    def requests(self):
        return sum(self.counts.values())

    @property
    def cost(self):
        """Requests, and of the Receives of a command the first alone: how many come after it depends on the machine."""
        return self.requests - self.counts["again"]


class Command:
    def __init__(self, text, has_stdin):
        self.text, self.has_stdin = text, has_stdin
        self.stdin, self.cancelled, self.done = bytearray(), threading.Event(), threading.Event()
        self.output, self.pieces, self.received = Output(), None, 0
        self.silent = 0
        self.thread = None


class Endpoint:
    """A host's WinRM.

    `run(call, cancelled) -> Output`; `is_up()`: whether its host is there to answer.  `pieces`: in how many Receives an output
    comes; `silent`: how many Receives of each command are answered by a time-out first, as Windows does after OperationTimeout;
    `longest_wait`: of a Receive, in place of that.
    """

    def __init__(self, name, run, user="portshift", password="Secret-1", address="127.0.0.1", port=0, tls=True,
                 is_up=lambda: True):
        self.name, self.run, self.user, self.password, self.is_up = name, run, user, password, is_up
        self.tls = tls
        self.pieces, self.silent, self.longest_wait = 1, 0, None
        self.lock = threading.RLock()
        self.shells, self.tasks, self.seen, self.calls = {}, [], [], []
        # Number of a request -> what goes wrong with it; and from which number on all go wrong.
        self.faults, self.from_number = {}, None
        self.refused = 0
        self.listener = socket.create_server((address, port), backlog=256)
        self.address, self.port = self.listener.getsockname()[:2]

    # -- for tests
    def variables(self, place="ansible_"):
        """Of an inventory.  With the place `ansible_winrm_`, `ansible_host` stays the host's address in its estate; each item of
        a loop has a shell of its own then, and the one before it is left to its time."""
        found = {
            "ansible_connection": "winrm", place + "host": self.address, place + "port": self.port, "ansible_user": self.user,
            "ansible_password": self.password, "ansible_winrm_scheme": "https" if self.tls else "http",
            "ansible_winrm_transport": "basic"}
        if self.tls:
            found["ansible_winrm_ca_trust_path"] = certificate(self.address)[0]
        return found

    def at(self, number, kind, forever=False):
        """The request that comes in as the `number`-th from now goes wrong; `forever`: every later one, too.

        `kind`: one of BEFORE and AFTER, or a number of seconds by which its answer is late.
        """
        assert kind in BEFORE + AFTER or isinstance(kind, (int, float)), kind
        with self.lock:
            if forever:
                self.from_number = (len(self.seen) + number, kind)
            else:
                self.faults[len(self.seen) + number] = kind

    def mend(self):
        with self.lock:
            self.faults, self.from_number = {}, None

    def forget(self):
        """What was seen so far does not count."""
        with self.lock:
            self.seen, self.tasks, self.calls, self.refused = [], [], [], 0
            self.mend()

    def count(self):
        """-> Counter of all requests, by action, and those of `again`"""
        with self.lock:
            return sum((task.counts for task in self.tasks), collections.Counter())

    @property
    def ran(self):
        with self.lock:
            return [name for task in self.tasks for name in task.ran]

    # -- a request
    def wrong(self, number):
        if self.from_number and number >= self.from_number[0]:
            return self.from_number[1]
        return self.faults.get(number)

    def answer(self, request):
        """The XML of a request -> that of its answer, or a Fault."""
        header = request.find("{%s}Header" % SOAP)
        action = ACTIONS.get(header.findtext("{%s}Action" % ADDRESSING, ""))
        if action is None or header.findtext("{%s}ResourceURI" % WSMAN) != RESOURCE:
            raise Fault(INTERNAL, "The WS-Management service does not know this action of this resource.", "a:ActionNotSupported")
        if action == "Create":
            return self._create()
        shell = header.findtext("{%s}SelectorSet/{%s}Selector" % (WSMAN, WSMAN))
        with self.lock:
            if shell not in self.shells:
                raise Fault(NO_SHELL, "The request for the Windows Remote Shell with ShellId %s failed because the shell was not "
                                      "found on the server." % shell, "w:InvalidSelectors")
            task, commands = self.shells[shell]
        body = request.find("{%s}Body" % SOAP)
        return getattr(self, "_" + action.lower())(shell, task, commands, body, header)

    def _create(self):
        shell = str(uuid.uuid4()).upper()
        with self.lock:
            task = Task(shell)
            task.counts["Create"] += 1
            self.tasks.append(task)
            self.shells[shell] = (task, {})
        return shell, ('<x:ResourceCreated><a:Address>http://%s:%d/wsman</a:Address><a:ReferenceParameters><w:ResourceURI>%s'
                       '</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">%s</w:Selector></w:SelectorSet>'
                       '</a:ReferenceParameters></x:ResourceCreated>' % (self.address, self.port, RESOURCE, shell))

    def _command(self, shell, task, commands, body, header):
        task.counts["Command"] += 1
        line = body.find("{%s}CommandLine" % SHELL)
        words = [line.findtext("{%s}Command" % SHELL) or ""] + [one.text or "" for one in line.iter("{%s}Arguments" % SHELL)]
        options = {one.get("Name"): one.text for one in header.iter("{%s}Option" % WSMAN)}
        number = str(uuid.uuid4()).upper()
        command = commands[number] = Command(" ".join(words), options.get("WINRS_CONSOLEMODE_STDIN") == "FALSE")
        command.silent = self.silent
        if not command.has_stdin:
            self._start(task, command)
        return shell, "<rsp:CommandResponse><rsp:CommandId>%s</rsp:CommandId></rsp:CommandResponse>" % number

    def _send(self, shell, task, commands, body, _header):
        task.counts["Send"] += 1
        ended = False
        for stream in body.iter("{%s}Stream" % SHELL):
            command = self._of(commands, stream.get("CommandId"))
            command.stdin += base64.b64decode(stream.text or "")
            ended = ended or stream.get("End", "").lower() == "true"
        if ended:
            task.stdin_bytes += len(command.stdin)
            self._start(task, command)
        return shell, "<rsp:SendResponse/>"

    def _receive(self, shell, task, commands, body, header):
        wanted = body.find("{%s}Receive/{%s}DesiredStream" % (SHELL, SHELL))
        number = wanted.get("CommandId")
        command = self._of(commands, number)
        task.counts["again" if command.received else "Receive"] += 1
        command.received += 1
        late = Fault(TIMED_OUT, "The WS-Management service cannot complete the operation within the time specified in "
                                "OperationTimeout.", "w:TimedOut")
        if command.silent:
            command.silent -= 1
            raise late
        limit = self.longest_wait or float(header.findtext("{%s}OperationTimeout" % WSMAN, "PT60S")[2:-1])
        if not command.done.wait(limit):
            raise late
        if command.pieces is None:
            command.pieces = cut(command.output.stdout, self.pieces)
        piece = command.pieces.pop(0)
        streams = [("stdout", piece)] + [("stderr", command.output.stderr)] * (not command.pieces)
        parts = ['<rsp:Stream Name="%s" CommandId="%s">%s</rsp:Stream>' % (name, number, base64.b64encode(data).decode())
                 for name, data in streams if data]
        state = "Running"
        if not command.pieces:
            state = "Done"
            parts += ['<rsp:Stream Name="%s" CommandId="%s" End="true"></rsp:Stream>' % (name, number)
                      for name in ("stdout", "stderr")]
            # Asked again, it would have nothing more.
            command.pieces = [b""]
        return shell, '<rsp:ReceiveResponse>%s<rsp:CommandState CommandId="%s" State="%s/CommandState/%s">%s</rsp:CommandState>' \
                      '</rsp:ReceiveResponse>' % ("".join(parts), number, SHELL, state, "<rsp:ExitCode>%d</rsp:ExitCode>" % (
                          command.output.code) if state == "Done" else "")

    def _signal(self, shell, task, commands, body, _header):
        task.counts["Signal"] += 1
        signal = body.find("{%s}Signal" % SHELL)
        self._end(commands.pop(signal.get("CommandId"), None))
        return shell, "<rsp:SignalResponse/>"

    def _delete(self, shell, task, commands, _body, _header):
        task.counts["Delete"] += 1
        with self.lock:
            del self.shells[shell]
        for command in commands.values():
            self._end(command)
        return shell, ""

    @staticmethod
    def _of(commands, number):
        if number not in commands:
            raise Fault(NO_SHELL, "The command %s was not found on the server." % number, "w:InvalidSelectors")
        return commands[number]

    @staticmethod
    def _end(command):
        """Its process is ended, in the middle of what it does."""
        if command:
            command.cancelled.set()
            if command.thread not in (None, threading.current_thread()):
                command.thread.join(END_SECONDS)

    # -- what is run
    def _start(self, task, command):
        command.thread = threading.Thread(target=self._live, args=(task, command), daemon=True)
        command.thread.start()

    def _live(self, task, command):
        try:
            try:
                call = unpack(command.text, bytes(command.stdin))
            except Unknown as err:
                command.output = Output(stderr=("the stand-in of WinRM can't unpack this: %s" % err).encode(), code=1)
                return
            with self.lock:
                self.calls.append(call)
                task.ran.append(call.label)
                task.calls.append(call)
            command.output = self.run(call, command.cancelled)
        except Exception as err:
            command.output = Output(stderr=("the model of the host failed: %s: %s" % (type(err).__name__, err)).encode(), code=1)
            raise
        finally:
            command.done.set()

    def end(self):
        with self.lock:
            shells, self.shells = self.shells, {}
        for _task, commands in shells.values():
            for command in commands.values():
                self._end(command)


def cut(data, pieces):
    """-> that many parts of it, of the same length as far as possible"""
    size = max(1, -(-len(data) // pieces))
    parts = [data[at:at + size] for at in range(0, len(data), size)]
    return parts + [b""] * (pieces - len(parts))


class Handler(http.server.BaseHTTPRequestHandler):
    """`server` is the Endpoint."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Microsoft-HTTPAPI/2.0", ""
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS

    def log_message(self, *_arguments):
        pass

    def do_POST(self):
        endpoint = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with endpoint.lock:
            seen = Seen(len(endpoint.seen) + 1, "?", body_bytes=len(body))
            endpoint.seen.append(seen)
            wrong = endpoint.wrong(seen.number)
        seen.fault = wrong
        try:
            if not endpoint.is_up():
                raise Lost
            self._answer(endpoint, body, seen, wrong)
        except Lost:
            self.close_connection = True

    def _answer(self, endpoint, body, seen, wrong):
        try:
            request = ElementTree.fromstring(body)
            message = request.findtext("{%s}Header/{%s}MessageID" % (SOAP, ADDRESSING), "")
            action = request.findtext("{%s}Header/{%s}Action" % (SOAP, ADDRESSING), "")
        except ElementTree.ParseError:
            return self._say(400, b"")
        seen.action = ACTIONS.get(action, action)
        if isinstance(wrong, (int, float)):
            time.sleep(wrong)
        elif wrong == "drop":
            raise Lost
        if wrong == "401" or not self._is_known(endpoint):
            with endpoint.lock:
                endpoint.refused += 1
            seen.status = 401
            return self._say(401, b"", [("WWW-Authenticate", 'Basic realm="WSMAN"')])
        if wrong == "500":
            seen.status = 500
            return self._say(500, b"")
        try:
            if self.path.partition("?")[0] != "/wsman":
                return self._say(404, b"")
            if len(body) > MOST_BYTES:
                raise Fault(TOO_BIG, "The size of the request exceeded the configured MaxEnvelopeSize quota.", "w:EncodingLimit")
            if wrong == "fault":
                raise Fault(INTERNAL, "The WS-Management service cannot process the request.")
            seen.shell, answer = endpoint.answer(request)
            status, said = 200, envelope(action + "Response", message, answer)
        except Fault as err:
            status, said = 500, envelope("http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", message, FAULT_BODY.format(
                code=err.code, subcode=err.subcode, text=escape(str(err)), machine=escape(endpoint.name, {'"': "&quot;"})))
        if wrong == "lost":
            raise Lost
        if wrong == "break":
            said, length = said[:len(said) // 2], len(said)
            self._say(status, said, length=length)
            raise Lost
        seen.status = status
        return self._say(status, said)

    def _is_known(self, endpoint):
        given = self.headers.get("Authorization", "")
        wanted = base64.b64encode(("%s:%s" % (endpoint.user, endpoint.password)).encode()).decode()
        return given == "Basic " + wanted

    def _say(self, status, body, headers=(), length=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/soap+xml;charset=UTF-8")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def envelope(action, relates, body):
    return ENVELOPE.format(soap=SOAP, addressing=ADDRESSING, wsman=WSMAN, transfer=TRANSFER, shell=SHELL, fault=FAULT,
                           action=escape(action), message=str(uuid.uuid4()).upper(), relates=escape(relates),
                           body=body).encode()


class Server:
    """The listener of many endpoints."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.endpoints, self.connections = [], set()
        self.lock = threading.Lock()
        self.wake, self.woken = socket.socketpair()
        self.selector.register(self.woken, selectors.EVENT_READ, None)
        self.is_open = True
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def add(self, endpoint):
        with self.lock:
            self.endpoints.append(endpoint)
        if endpoint.tls:
            endpoint.context = context(endpoint.address)
        endpoint.listener.setblocking(False)
        self.selector.register(endpoint.listener, selectors.EVENT_READ, endpoint)
        self.wake.send(b".")
        return endpoint

    def _serve(self):
        while self.is_open:
            for key, _events in self.selector.select():
                if key.data is None:
                    self.woken.recv(64)
                    continue
                with contextlib.suppress(OSError):
                    accepted, peer = key.data.listener.accept()
                    accepted.settimeout(IDLE_SECONDS)
                    with self.lock:
                        self.connections.add(accepted)
                    threading.Thread(target=self._live, args=(key.data, accepted, peer), daemon=True).start()

    def _live(self, endpoint, accepted, peer):
        connection = accepted
        try:
            if endpoint.tls:
                connection = endpoint.context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
                with self.lock:
                    self.connections.discard(accepted)
                    self.connections.add(connection)
                connection.do_handshake()
            Handler(connection, peer, endpoint)
        except OSError:
            pass    # a caller that has gone
        finally:
            with self.lock:
                self.connections.discard(connection)
            connection.close()

    def close(self):
        self.is_open = False
        self.wake.send(b".")
        self.thread.join()
        for endpoint in self.endpoints:
            endpoint.listener.close()
            endpoint.end()
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    # Past TLS, which its own thread is reading.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for one in (self.wake, self.woken, self.selector):
            one.close()

    def __enter__(self):
        return self

    def __exit__(self, *_unused):
        self.close()


# -- TLS
REQUEST = """[req]
distinguished_name = name
prompt = no
x509_extensions = extensions
[name]
CN = %s
[extensions]
subjectAltName = IP:%s
basicConstraints = critical, CA:TRUE
"""


@functools.cache
def _certificates():
    return tempfile.TemporaryDirectory(prefix="portshift-winrm-")


@functools.cache
def certificate(address):
    """-> (file with the certificate, file with its key)"""
    folder = _certificates().name
    request, found, key = (os.path.join(folder, address + ending) for ending in (".cnf", ".pem", ".key"))
    with open(request, "w") as stream:
        stream.write(REQUEST % (address, address))
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256", "-days", "30",
            "-config", request, "-keyout", key, "-out", found)
    return found, key


def context(address):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*certificate(address))
    return made
