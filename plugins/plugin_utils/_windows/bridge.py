# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port bridge of a Windows host: netsh portproxy, which the service IP Helper carries out, and keeps over a boot.

It forwards tcp alone, on all addresses, and remembers nothing of who used it.  Which of a host's forwardings are those of a
bridge stands in a file of ours, since netsh knows no names.
"""

from __future__ import annotations

import json
import ntpath
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._bridge.rules import check_name
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import FILE_LIMIT, IP_HELPER, WindowsHost
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import ROOM, Module, await_end
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import (
    FOLDER, FileAsked, PortProxy, PortProxyStep, Step, Wanted)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script, WindowsError

HERE = "127.0.0.1"
VERSION = 1
UDP = ("netsh portproxy forwards tcp alone: what is sent to udp port %d, such as notifications, is not led to port %d. Agents "
       "that get none are slow, not cut off")

# listen port, target port
Pair = tuple[int, int]


def _forwards(one: PortProxy, pair: Pair) -> bool:
    return (one["kind"], one["listen_port"], one["connect_port"], one["connect_address"]) == ("v4tov4", *pair, HERE)


class WindowsBridge:
    """The bridge of that name on a host.  C(options): those of M(portshift.agents.port_bridge)."""

    def __init__(self, host: WindowsHost, options: Mapping[str, Any]) -> None:
        self.host, self.name = host, options["name"]
        check_name(self.name)
        if options["addresses"]:
            raise WindowsError("a bridge of a Windows host listens on all of its addresses, so addresses can't be %s; leave "
                               "bigfix_bind_address empty for it" % ", ".join(options["addresses"]))
        self.protocols = options["protocols"]
        self.path = file_of(self.name)
        host.foresee(wanted(self.path))

    def noted(self) -> list[Pair]:
        """What the file says, whether it is in force or not."""
        found = self.host.disk.read_own(self.path)
        try:
            content: Any = json.loads(found.decode("utf-8")) if found is not None else dict(version=VERSION, mappings=[])
            if content["version"] != VERSION:
                raise ValueError("version %r" % content["version"])
            return [(parse_port(listen), parse_port(target)) for listen, target in content["mappings"]]
        except (ValueError, KeyError, TypeError) as err:
            raise WindowsError("%s: is no file of a port bridge that this version reads (%s); look at netsh interface portproxy "
                               "show all, and remove the file" % (self.path, err)) from err

    def _shown(self) -> list[PortProxy]:
        netsh = self.host.found["netsh"]
        if netsh is None or netsh["problem"]:
            raise WindowsError("netsh could not be asked for what it forwards: %s" % (netsh["problem"] if netsh else "no answer"))
        return netsh["portproxy"]

    def live(self) -> list[Pair]:
        """What is in force of it."""
        return [pair for pair in self.noted() if any(_forwards(one, pair) for one in self._shown())]

    def missing(self, pairs: Sequence[Pair]) -> list[str]:
        live = self.live()
        return ["%s is not there" % words(pair) for pair in pairs if pair not in live] + [
            "%s is one too many" % words(pair) for pair in live if pair not in pairs]

    def require(self, pairs: Sequence[Pair]) -> None:
        """Before a bridge is laid: what would silently forward nothing."""
        service = self.host.service_found(IP_HELPER)
        if service["state"] != "running":
            raise WindowsError("the service IP Helper (%s) is %s, and without it netsh portproxy forwards nothing; start it, or "
                               "set bigfix_bridge to false" % (IP_HELPER, service["state"]))
        ours = {listen for listen, _target in self.live()}
        for listen, _target in pairs:
            kept = self.host.kept_from_all(listen, "ipv4", "tcp") if listen not in ours else None
            if kept:
                raise WindowsError("nothing can be forwarded from port %d: %s" % (listen, kept))
        for listen, _target in pairs:
            others = [one for one in self._shown() if one["listen_port"] == listen and listen not in ours]
            if others:
                raise WindowsError("port %d is forwarded by netsh portproxy already (to %s port %d), and not by this bridge; "
                                   "look whose that is, and delete it" % (
                                       listen, others[0]["connect_address"], others[0]["connect_port"]))

    def steps_away(self, pairs: Sequence[Pair] | None = None) -> list[Step]:
        """Those that take it away, or of it what is not among `pairs`."""
        return [PortProxyStep(step="portproxy", listen_port=listen, connect_port=target, present=False)
                for listen, target in self.live() if pairs is None or (listen, target) not in pairs]

    def steps_there(self, pairs: Sequence[Pair]) -> list[Step]:
        live = self.live()
        return [PortProxyStep(step="portproxy", listen_port=listen, connect_port=target, present=True)
                for listen, target in pairs if (listen, target) not in live]

    def note(self, pairs: Sequence[Pair]) -> None:
        """Ahead of the steps, so that what is half done is known to be ours."""
        if list(pairs) != self.noted():
            content = dict(version=VERSION, mappings=[list(pair) for pair in pairs])
            self.host.disk.write_own(self.path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("utf-8"))

    def told(self, pairs: Sequence[Pair], changed: bool) -> Result:
        """What the module returns, out of what was there before."""
        live = self.live()
        udp = [UDP % pair for pair in pairs if "udp" in self.protocols]
        return dict(changed=changed, backend="portproxy", previous=[words(pair) for pair in live],
                    mappings=[dict(listen_port=listen, target_port=target, protocols=["tcp"]) for listen, target in live],
                    rules=[words(pair) for pair in pairs], missing=self.missing(pairs), notes=udp)

    def users(self) -> Result:
        """Who is connected at this moment: nothing else is known."""
        ports = sorted({listen for listen, unused in self.live()})
        found = [dict(address=one["remote_address"], port=one["local_port"], seconds_ago=0)
                 for one in self.host.connections_to(ports)]
        notes = ["netsh portproxy does not remember who used port %s; who is connected at this moment is all that can be told"
                 % ", ".join(map(str, ports))] if ports else []
        return dict(users=found, remembered_seconds=0 if ports else None, notes=notes)


def file_of(name: str) -> str:
    return ntpath.join(FOLDER, "bridge-%s.json" % name)


def wanted(path: str) -> Wanted:
    return Wanted(files=[FileAsked(path=path, limit=FILE_LIMIT)], services=[IP_HELPER], netsh=True)


def words(pair: Pair) -> str:
    return "tcp %d of this host -> %d" % pair


def outcome(script: Script, module: Module, options: Mapping[str, Any], pairs: Sequence[Pair], looks: bool) -> Result:
    """What M(portshift.agents.port_bridge) returns, or with C(looks) M(portshift.agents.port_bridge_info)."""
    for listen, target in pairs:
        parse_port(listen, "listen_port")
        parse_port(target, "target_port")
        if listen == target:
            raise WindowsError("listen_port and target_port are both %d; a bridge leads to another port" % listen)
    host = WindowsHost(script.read)
    host.foresee(Wanted(ports=[listen for listen, _target in pairs]))
    bridge = WindowsBridge(host, options)
    if not looks:
        # One that was left half way stands against a move, and not against the bridge that its way back needs.
        await_end(host, script, module.check_mode, half_way=True)
    if pairs:
        bridge.require(pairs)
    for listen, _target in pairs:
        strangers = [one for one in host.listeners({listen}) if one["protocol"] == "tcp" and one["pid"] != (
            host.service_found(IP_HELPER)["process"])]
        if strangers and listen not in [one for one, unused_too in bridge.live()]:
            raise WindowsError("port %d is in use: process %s (pid %s) listens there, so that nothing can be forwarded from it"
                               % (listen, strangers[0]["process"], strangers[0]["pid"]))
    steps = [*bridge.steps_away(pairs), *bridge.steps_there(pairs)]
    users = bridge.users()
    found = bridge.told(pairs, bool(steps))
    found["notes"] += [*users.pop("notes"), *host.told()]
    result = dict(found, **users, looked_at=host.now())
    bridge.note(pairs)
    steps = [*host.disk.take(), *steps]
    if steps and not looks and not module.check_mode:
        answer = script.apply(Wanted(), steps, ROOM)
        if answer["outcome"] != "applied":
            raise WindowsError("the bridge could not be turned: %s" % answer["sentence"])
    return result
