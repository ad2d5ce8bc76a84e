# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small BigFix deployment on models of Windows hosts, asked without a wire."""

from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import VERSION, Request
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import new_id, readable
from tests.lab.authority import Authority
from tests.lab.bigfix.listening import MASTHEAD
from tests.windows.bigfix import DATE, SETTINGS, install_client
from tests.windows.host import Host
from tests.windows.services import Product, Service

OLD, NEW = 52311, 55000
CLIENT = "D:\\Program Files (x86)\\BigFix Enterprise\\BES Client"
RECORD = "C:\\ProgramData\\portshift\\bigfix.json"
RELAY = "http://relay:%d/bfmirror/downloads/"
__all__ = ["DATE", "SETTINGS"]


def masthead(port):
    return Authority("").issue("plain", "192.0.2.10", port, "123456789")


class Parent(Product):
    """Serves a masthead on each of its ports, and takes what agents say there."""

    deaf_on = None

    def __init__(self, ports, named=None):
        self.ports, self.named = list(ports), named

    def start(self, host, service):
        for port in self.ports:
            host.listen(service.process, port, self.answer(port))

    def answer(self, port):
        def answer(_method, path, _body):
            if path == MASTHEAD:
                return 200, masthead(self.named or port)
            return (404 if port == self.deaf_on else 200), b""
        return answer


def client(network=None, port=OLD):
    """-> a host with a BigFix client, on a drive of its own"""
    host = Host("win1", ["192.0.2.11"], network)
    install_client(host, masthead(port), ("relay", port), drive="D:", settings={
        "_BESClient_RelaySelect_Port": str(port), "Password": "geheim; http://user:pw@relay:%d/x" % port})
    host.files.put(CLIENT + "\\clientsettings.cfg", b"__RelayServer1=http://relay:%d/bfmirror/downloads/\r\n" % port)
    host.clock.skip(30)
    return host


def relay(network, ports=(OLD, NEW), named=NEW):
    host = Host("relay", ["192.0.2.10"], network)
    host.services.add(Service("BESRelay", product=Parent(ports, named)), running=True)
    return host


def state_of(host):
    """All of a host that a move may touch."""
    return ({path: (node.content, node.owner, node.read_only) for path, node in host.files.nodes.items()
             if "portshift" not in path and "\\__global" not in path},
            {key.path: dict(key.values) for key in host.registry.below("HKLM\\SOFTWARE")})


class Straight:
    """A Script that asks the model at once, and counts."""

    def __init__(self, host):
        self.host, self.reads, self.applies, self.resumed, self.about = host, 0, [], [], None

    def read(self, wanted):
        self.reads += 1
        return readable(self.host.script.answer(Request(version=VERSION, verb="read", wanted=wanted)))

    def apply(self, wanted, steps, timeout, settles=()):
        self.applies.append(steps)
        more = dict(settles=list(settles)) if settles else {}
        return self.host.script.answer(Request(version=VERSION, verb="apply", wanted=wanted, id=new_id(self.about),
                                               timeout=timeout, steps=steps, **more))

    def resume(self, change):
        self.resumed.append(change["id"])
        return self.host.script.answer(Request(version=VERSION, verb="apply", wanted={}, id=change["id"],
                                               timeout=change["timeout"], steps=[]))


def options(**more):
    return dict(dict(
        component="client", port=NEW, previous_port=None, masthead_paths=["{client}\\actionsite.afxm"], settings_paths=[SETTINGS],
        clientsettings_paths=["{client}\\clientsettings.cfg"], credentials_paths=[], record=RECORD, services=["BESClient"],
        service_command=[], executables={}, bind_address=None, allow_invalid_signature=False, proof=proof()), **more)


def proof(**more):
    return dict(dict(
        address="192.0.2.11", bind_address="", parent="relay", parent_wait=0, tls=False,
        log_dir="{client}\\__BESData\\__Global\\Logs", relay_chain_dir="{client}\\__BESData\\__Global\\RelayChain",
        success_patterns=["Report posted successfully"], failure_patterns=["GetURL failed"], log_max_age=86400,
        agent_service=None, neighbours=[], settle=5, timeout=20), **more)


def look_options(**more):
    return options(**dict(dict(issued=None, masthead_src=None, host_port=None), **more))


def move_options(**more):
    return options(**dict(dict(
        state="moved", masthead_src=None, masthead_content=None, service_timeout=30, phase="3", force=False,
        unfinished_only=False, bridge=None, reserve_port=True), **more))
