# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small BigFix deployment on models of Windows hosts, asked without a wire."""

import time

from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import VERSION, Request
from tests.unit import masthead_files
from tests.windows.host import Host
from tests.windows.network import NoAnswer
from tests.windows.services import Product, Service

OLD, NEW = 52311, 55000
KEY = "HKLM\\SOFTWARE\\WOW6432Node\\BigFix"
SETTINGS = KEY + "\\EnterpriseClient\\Settings\\Client"
REST = KEY + "\\Enterprise Server\\MFSConfig"
CLIENT = "D:\\BigFix\\BES Client"
LOGS = CLIENT + "\\__BESData\\__Global\\Logs"
RECORD = "C:\\ProgramData\\portshift\\bigfix.json"
RELAY = "http://relay:%d/bfmirror/downloads/"
DATE = "Thu, 23 Oct 2014 16:36:44 -0700"


class Parent(Product):
    """Serves a masthead for the port on each port that it listens on."""

    def __init__(self, ports, named=None):
        self.ports, self.named = list(ports), named

    def start(self, host, service):
        for port in self.ports:
            host.listen(service.process, port, self.answer(self.named or port))

    def answer(self, port):
        def answer(_method, path, _body):
            return (200, masthead_files.plain(port=port)) if path == "/masthead/masthead.afxm" else (404, b"")
        return answer


class Agent(Product):
    """Registers with the relay that its settings name, and says in its log how that went."""

    says, connects = True, True

    def start(self, host, service):
        found = host.registry.get(SETTINGS + "\\__RelayServer1", "value")
        name, port = found[1].split("/")[2].split(":")
        log = "%s\\%s.log" % (LOGS, time.strftime("%Y%m%d", host.clock.local()))
        stamp = time.strftime("%H:%M:%S +0000", host.clock.local())
        before = host.files.get(log)
        try:
            address = host.network.resolve(host, name)[0]
            host.network.connect(host, address, int(port))
            if self.connects:
                host.connected(service.process, address, int(port))
            line = "   Report posted successfully"
        except NoAnswer:
            line = "   RegisterOnce: GetURL failed - General transport failure"
        if self.says:
            host.files.put(log, (before.content if before else b"") + ("At %s - \r\n%s\r\n" % (stamp, line)).encode())


def client(network=None, agent=None, port=OLD):
    """-> a host with a BigFix client, on a drive of its own"""
    host = Host("win1", ["192.0.2.11"], network)
    host.files.folder(LOGS)
    host.files.put(CLIENT + "\\actionsite.afxm", masthead_files.plain(port=port))
    host.files.put(CLIENT + "\\clientsettings.cfg", b"__RelayServer1=http://relay:%d/bfmirror/downloads/\r\n" % port)
    host.registry.set(KEY + "\\EnterpriseClient", "EnterpriseClientFolder", CLIENT + "\\", "String")
    for name, value in (("__RelayServer1", RELAY % port), ("_BESClient_RelaySelect_Port", str(port)),
                        ("Password", "geheim; http://user:pw@relay:%d/x" % port)):
        host.registry.set("%s\\%s" % (SETTINGS, name), "value", value, "String")
        host.registry.set("%s\\%s" % (SETTINGS, name), "effective date", DATE, "String")
    host.services.add(Service("BESClient", "BES Client", CLIENT + "\\BESClient.exe", product=agent or Agent()), running=True)
    host.clock.skip(30)
    return host


def relay(network, ports=(OLD, NEW), named=NEW):
    host = Host("relay", ["192.0.2.10"], network)
    host.services.add(Service("BESRelay", product=Parent(ports, named)), running=True)
    return host


class Straight:
    """A Script that asks the model at once, and counts."""

    def __init__(self, host):
        self.host, self.reads, self.applies = host, 0, []

    def read(self, wanted):
        self.reads += 1
        return self._answer(Request(version=VERSION, verb="read", wanted=wanted))

    def _answer(self, request):
        answer = self.host.script.answer(request)
        for one in (answer["found"] or {"probes": []})["probes"]:   # TEMPORARY
            import base64
            one["body"] = one["body"] and base64.b64encode(one["body"].encode("latin-1")).decode()
        return answer

    def apply(self, wanted, steps, timeout):
        self.applies.append(steps)
        return self._answer(Request(version=VERSION, verb="apply", wanted=wanted, id="%032x" % len(self.applies), timeout=timeout,
                                    steps=steps))


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
        unfinished_only=False, bridge=None), **more))
