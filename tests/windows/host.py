# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows host: what is on it, and what it does with what Ansible sends."""

import base64
import contextlib
import functools
import hashlib
import json
import pathlib
import threading
import time

from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import script_text

from . import modules, specs
from .clock import Cancelled, Clock
from .files import ALL, READ, FileError, Files
from .network import ANY, Connection, Forwarder, Listener, Network, PortError, Range, Real, RealListener, Rules
from .outside import Outside
from .registry import Registry
from .script import Script
from .services import AUTO, Service, Services
from .wsman import Output

PINNED = pathlib.Path(__file__).parent / "host_ps1.sha256"
SCRIPT = pathlib.Path(__file__).parents[2] / "plugins/plugin_utils/_windows/host.ps1"
IP_HELPER = "iphlpsvc"
TEMPORARY = "C:\\Users\\portshift\\AppData\\Local\\Temp"


def pinned():
    """The sha256 of the script that the model is a model of, as it is sent, or None where none is pinned."""
    if not PINNED.exists():
        return None
    whole = PINNED.read_text().split()[0]
    if whole != hashlib.sha256(SCRIPT.read_bytes()).hexdigest():
        return whole    # of another one than is sent
    return hashlib.sha256(script_text().encode()).hexdigest()


class Host:
    """`real`: processes of this machine talk to its listeners, so that its time is theirs and its address one of loopback."""

    def __init__(self, name="windows", addresses=("192.0.2.10",), network=None, real=False, clock=None, pin=None):
        self.name, self.addresses, self.real = name, list(addresses), real
        self.clock = clock or Clock(real)
        self.lock = threading.RLock()
        self.files, self.registry = Files(self.clock), Registry()
        self.listeners, self.connections = [], []
        self.services = Services(self)
        self.names = {}
        self.firewall = Rules()
        self.excluded, self.dynamic = [], [
            Range(family, protocol, 49152, 65535) for family in ("ipv4", "ipv6") for protocol in ("tcp", "udp")]
        self.portproxies = {}
        # PortProxies that were made by hand, of other kinds than v4tov4 among them: as the contract has them.
        self.other_portproxies = []
        self.is_closed = False
        # Its WinRM, where it has one (estate.py).
        self.endpoint = None
        self.is_up, self.administrator, self.language_mode = True, True, "FullLanguage"
        # Whether an account that is no administrator was given the right to ask WMI, which it lacks over the network.
        self.may_ask_wmi = False
        self.windows, self.powershell = "10.0.20348", "5.1.20348.2849"
        # IIS, where there is one: its Machine (tests.lab.change_tracker.windows).
        self.iis = None
        # What serves it, where that is the model itself (change_tracker.py).
        self.iis_serves = None
        self.network = network or Network()
        self.network.add(self)
        self.pin = pin or pinned()
        # Modules for one test, or with its own trouble: full name -> function(host, call, arguments) -> result.
        self.handlers = dict(modules.HANDLERS)
        self.cancelled = threading.local()
        # Sockets of this machine's kernel that are this host's, too.
        self.outside = Outside(self)
        self.script = Script(self)
        for folder in ("C:\\ProgramData", "C:\\Windows", "C:\\Program Files", "C:\\Program Files (x86)", TEMPORARY):
            self.files.folder(folder)
        if real:
            threading.Thread(target=self._tick, daemon=True).start()
        self.services.add(Service(IP_HELPER, "IP Helper", "C:\\Windows\\System32\\svchost.exe", AUTO,
                                  product=IpHelper()), running=True)

    # -- ports
    def listener(self, protocol, port, address=None):
        """-> who listens there, the one of the address before the one of all, or None"""
        found = [one for one in self.listeners if (one.protocol, one.port) == (protocol, port)
                 and (address is None or one.address in (address, ANY) or address == "127.0.0.1")]
        return min(found, key=lambda one: one.address == ANY, default=None)

    def listen(self, process, port, answer=None, protocol="tcp", address=ANY, forward=None):
        """For a process of the model; PortError where the port is held or excluded."""
        with self.lock:
            if self.listener(protocol, port) is not None:
                raise PortError("Only one usage of each socket address (protocol/network address/port) is normally permitted")
            if any(one.has(protocol, port) and not one.administered for one in self.excluded):
                raise PortError("An attempt was made to access a socket in a way forbidden by its access permissions")
            made = Listener(process, protocol, address, port, answer, forward)
            if self.real and protocol == "tcp":
                if forward:
                    made.real = Forwarder(self.addresses[0], port, (self.addresses[0], forward[1]))
                elif answer:
                    made.real = RealListener(self.addresses[0], port, answer)
            self.listeners.append(made)
            return made

    def shut(self, listener):
        with self.lock:
            if listener in self.listeners:
                self.listeners.remove(listener)
        for connection in [one for one in self.connections if one.listener is listener]:
            self.disconnect(connection)
        if listener.real:
            listener.real.close()

    def connected(self, process, remote, port):
        """Notes a connection of a process of this host, to what Network.connect gave -> Connection"""
        real = remote if isinstance(remote, Real) else None
        own_port = real.own_port if real else next(self.network.source_ports)
        made = Connection(process, self.addresses[0], own_port, remote.address, port)
        made.real = real
        self.connections.append(made)
        if real is None:
            other = Connection(remote.listener.process, remote.address, port, self.addresses[0], own_port)
            other.listener = remote.listener
            other.others, made.others = [(self, made)], [(remote.host, other)]
            remote.host.connections.append(other)
            if remote.behind is not None:
                inner = remote.host.connected(remote.listener.process, remote.behind, remote.listener.forward[1])
                inner.others.append((self, made))
                made.others.append((remote.host, inner))
        return made

    def disconnect(self, connection):
        """With its other end."""
        if connection in self.connections:
            self.connections.remove(connection)
            for host, other in connection.others:
                host.disconnect(other)

    def is_connected(self, connection):
        return connection in self.connections and (connection.real is None or connection.real.is_alive)

    def ended(self, process):
        """A process has ended: what it held is free."""
        for listener in [one for one in self.listeners if one.process is process]:
            self.shut(listener)
        for connection in [one for one in self.connections if one.process is process]:
            self.disconnect(connection)
        for node in list(self.files.nodes.values()):
            node.handles = [handle for handle in node.handles if getattr(handle, "process", None) is not process]

    def hold(self, process, path, access, share):
        """A process keeps a file open until it ends."""
        handle = self.files.open(path, access, share)
        handle.process = process
        return handle

    def listening(self):
        """-> [ListenerFound]"""
        with self.lock:
            return [dict(protocol=one.protocol, address=one.address, port=one.port, process=one.process.pid,
                         name=one.process.name, began=one.process.began) for one in self.listeners] + self.outside.listening()

    def connected_now(self):
        """-> [ConnectionFound]"""
        with self.lock:
            return [dict(local_address=one.local_address, local_port=one.local_port, remote_address=one.remote_address,
                         remote_port=one.remote_port, state=one.state, process=one.process.pid, name=one.process.name,
                         began=one.process.began)
                    for one in self.connections if self.is_connected(one)] + self.outside.connected()

    def set_portproxy(self, listen_port, connect_port):
        """None: no more."""
        self.portproxies.pop(listen_port, None)
        if connect_port is not None:
            self.portproxies[listen_port] = connect_port
        service = self.services.get(IP_HELPER)
        if service.process is not None:
            service.product.follow(self, service)

    # -- its life
    def boot(self, seconds=60.0):
        """Whatever runs ends; then it comes up again."""
        self.is_up = False
        self.script.end()
        if self.endpoint:
            self.endpoint.end()
        for service in self.services.known.values():
            service.life += 1
        self.clock.skip(seconds)
        self.clock.boot()
        self.services.boot()
        self.is_up = True
        self.script.boot()
        self.clock.skip(0)

    def pass_time(self, seconds):
        self.clock.skip(seconds)

    # -- what Ansible sends
    def run(self, call, cancelled=None):
        """-> Output"""
        self.clock.catch_up()
        self.cancelled.event = cancelled
        try:
            return self._run(call)
        except Cancelled:
            return Output(code=1)
        except FileError as err:
            return Output(stderr=str(err).encode(), code=1)

    def _run(self, call):
        given = call.arguments
        if call.kind == "module":
            return Output(json.dumps(self.module(call)).encode() + b"\r\n")
        if call.kind == "put":
            self.files.put(self.expanded(given["path"]), given["data"])
            return Output(json.dumps(dict(sha1=hashlib.sha1(given["data"]).hexdigest())).encode())
        if call.kind == "fetch":
            return self._fetch(given)
        if call.kind == "mkdtemp":
            path = "%s\\%s" % (self.expanded(given["path"]).rstrip("\\"), given["name"])
            self.files.folder(path)
            return Output(path.encode() + b"\r\n")
        if call.kind == "remove":
            (self.files.remove_tree if given["recurse"] else self.files.remove)(self.expanded(given["path"]))
            return Output()
        if call.kind == "home":
            return Output(self.expanded(given["path"]).replace("~", "C:\\Users\\portshift", 1).encode() + b"\r\n")
        if call.kind == "exists":
            return Output(code=int(self.files.get(self.expanded(given["path"])) is None))
        return Output(stderr=b"the model of a Windows host runs no command: %s" % given.get("text", "").encode(), code=1)

    def _fetch(self, given):
        path = self.expanded(given["path"])
        node = self.files.get(path)
        if node is None:
            return Output(stderr=("%s does not exist" % path).encode(), code=1)
        if node.is_folder:
            return Output(b"[DIR]\r\n")
        with self.files.opened(path, (READ,), ALL - {"delete"}):
            piece = node.content[given["offset"]:given["offset"] + given["size"]]
        return Output(base64.b64encode(piece) + b"\r\n" if piece else b"")

    @staticmethod
    def expanded(path):
        for name, value in (("%TEMP%", TEMPORARY), ("%ProgramData%", "C:\\ProgramData"), ("%SystemRoot%", "C:\\Windows")):
            at = path.lower().find(name.lower())
            if at >= 0:
                path = path[:at] + value + path[at + len(name):]
        # Ansible's own way to name a folder is that folder's `.`.
        return path.removesuffix("\\.")

    def module(self, call):
        """-> the result of a module, as its JSON has it"""
        name = specs.full_name(call.name)
        try:
            arguments, refused = specs.checked(name, call.arguments)
        except specs.NoModule as err:
            return dict(failed=True, msg="the model of a Windows host: %s" % err)
        if refused:
            return dict(failed=True, changed=False, msg=refused, invocation=dict(module_args=call.arguments))
        handler = self.handlers.get(name)
        if handler is None:
            return dict(failed=True, changed=False, msg="the model of a Windows host has nothing for the module %s" % name)
        try:
            result = handler(self, call, arguments)
        except modules.Failed as err:
            result = dict(dict(err.result), failed=True, msg=str(err))
        result.setdefault("changed", False)
        # As the modules' own library adds them.
        result["invocation"] = dict(module_args=call.arguments)
        return result

    def _tick(self):
        """What is due happens, whether the host is asked something or not."""
        while not self.is_closed:
            self.clock.catch_up()
            time.sleep(0.05)

    def close(self):
        self.is_closed = True
        for listener in list(self.listeners):
            self.shut(listener)
        for service in self.services.known.values():
            if service.process is not None:
                with contextlib.suppress(Exception):
                    service.product.stop(self, service)


class IpHelper:
    """Listens for portproxy.  A port that another process has is left to that one, silently.

    `lets_go`: seconds after which it gives a port up that is forwarded no more.
    """

    lets_go = 0.0

    def start(self, host, service):
        self.follow(host, service)

    def follow(self, host, service):
        mine = {one.port: one for one in host.listeners if one.process is service.process}
        for port, listener in mine.items():
            if host.portproxies.get(port) != listener.forward[1]:
                if self.lets_go:
                    host.clock.after(self.lets_go, functools.partial(self._let_go, host, port, listener))
                else:
                    host.shut(listener)
        for port, target in host.portproxies.items():
            if port not in mine or mine[port] not in host.listeners:
                with contextlib.suppress(PortError):
                    host.listen(service.process, port, forward=("127.0.0.1", target))

    @staticmethod
    def _let_go(host, port, listener):
        if host.portproxies.get(port) != listener.forward[1]:
            host.shut(listener)

    def stop(self, host, service):
        pass    # its listeners end with its process
