# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam between what judges and the host that is judged: a host that is none of this machine, and what lint holds."""

import calendar
import importlib.machinery
import importlib.util
import inspect
import ntpath
import os
import sys

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.edit import MastheadEdit, SettingsEdit
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.evidence import BigFixEvidence
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.host import BigFixHost
from ansible_collections.portshift.agents.plugins.module_utils._boks.evidence import BoksEvidence
from ansible_collections.portshift.agents.plugins.module_utils._boks.host import BoksHost, foreign
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.evidence import AgentEvidence
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.host import AgentHost
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.plan import Move as AgentMove, described
from ansible_collections.portshift.agents.plugins.module_utils._core import posix_host
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import gather
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileError
from ansible_collections.portshift.agents.plugins.module_utils._core.host import Host
from ansible_collections.portshift.agents.plugins.module_utils._move.states import under_way
from ansible_collections.portshift.agents.plugins.module_utils._network import posix_host as network_host
from ansible_collections.portshift.agents.tests.unit import masthead_files

OLD, NEW = 52311, 55000
NOW = 1763762400.0
QUESTIONS = sorted(name for name, value in vars(Host).items() if inspect.isfunction(value))


class Record:
    """A record without a migration."""

    content = None


class Service:
    """A service that runs, as one process."""

    pid, running_since, active = 700, "1", True

    def __init__(self, name):
        self.name = name

    def look(self):
        return self

    def owns(self, pid):
        return pid == self.pid

    def started(self):
        return NOW - 60

    def environment(self):
        return {}

    def words(self, action):
        return ["sc.exe", action, self.name]

    def survey(self):
        return {self.name: [(self.pid, 1)]}, []


class Edit:
    """A FileEdit of a file in memory."""

    def __init__(self, before):
        self.before = self.after = before

    def apply(self, after):
        self.after = after
        return self


class Windows(Host):
    """A host whose answers were brought here: the paths are its own, and nothing of it is to be found on this machine."""

    def __init__(self, files, listening=(), connected=()):
        self.files, self.listening, self.connected, self.asked = files, listening, connected, []

    def join(self, folder, *names):
        return ntpath.join(folder, *names)

    def folder_of(self, path):
        return ntpath.dirname(path)

    def real_path(self, path):
        return ntpath.normcase(path)

    def is_there(self, path):
        return path in self.files

    exists = is_there

    def is_folder(self, path):
        return any(ntpath.dirname(name) == path for name in self.files)

    def size(self, path):
        return len(self.files[path]) if path in self.files else None

    def read(self, path):
        self.asked.append(path)
        if path not in self.files:
            raise FileError("%s: does not exist" % path)
        return self.files[path]

    def read_if_there(self, path):
        return self.files.get(path)

    def read_own(self, path):
        return self.files.get(path)

    def read_end(self, path, size):
        return self.files[path][-size:] if path in self.files else None

    def unread(self, path, size):
        return max(0, len(self.files.get(path, b"")) - size)

    def edit(self, path, may_be_missing=False):
        return Edit(self.read_if_there(path) if may_be_missing else self.read(path))

    def require_writable(self, path, size):
        return []

    def record(self, path):
        return Record()

    def other_change(self, record):
        return None

    def services(self, names, command=(), executables=None):
        return Service(names[0])

    def service(self, name, command=()):
        return Service(name)

    def start_time(self, pid):
        return 1

    def moment_of(self, start):
        return NOW - 60

    def still_running(self, stopped, now):
        return {}

    def look_anew(self):
        pass

    def is_live(self):
        return False

    def settled(self, processes):
        return 0

    def command_line(self, pid):
        return ["C:\\x\\y.exe"]

    def run(self, command, seconds):
        raise OSError(2, "No such file or directory")

    def service_port(self, name, protocol=None):
        return None

    def now(self):
        return NOW

    def local_moment(self, year, month, day, hour, minute, second):
        # Nine hours ahead, wherever the test runs.
        return calendar.timegm((year, month, day, hour, minute, second)) - 9 * 3600

    def listeners(self, ports, address=None, every_owner=False):
        return [dict(entry, owners=[entry["pid"]]) for entry in self.listening if entry["port"] in ports]

    def own_listener(self, port, address):
        return None

    def outgoing(self, port, address=None):
        return []

    def connections(self, addresses, port):
        return [entry for entry in self.connected if entry["port"] == port]

    def addresses_of(self, name):
        return {"192.0.2.7"}

    def own_addresses(self):
        return ["192.0.2.1"]

    def reserving(self, port):
        return "netsh"

    def ephemeral_ports(self):
        return None

    def probe(self, targets, timeout, wait=0):
        return [dict(host=target["host"], port=target["port"], reachable=True, reason=None, error=None) for target in targets]


@pytest.fixture
def no_posix(monkeypatch):
    """What is asked of this machine instead of the host that was handed in fails the test."""
    def refuse(self, *unused, **unused2):
        raise AssertionError("this machine was asked")

    for name in QUESTIONS:
        for kind in (posix_host.PosixHost, network_host.PosixHost):
            if name in vars(kind):
                monkeypatch.setattr(kind, name, refuse)


@pytest.mark.parametrize("kind", [network_host.PosixHost, Windows])
def test_a_host_has_an_answer_to_every_question_as_it_is_asked(kind):
    for name in QUESTIONS:
        assert getattr(kind, name) is not getattr(Host, name)
        assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(Host, name)), name


def test_posix_host_has_nothing_that_another_host_would_lack():
    offered = {name for kind in (posix_host.PosixHost, network_host.PosixHost) for name in vars(kind) if name[0] != "_"}
    assert offered == set(QUESTIONS)


def test_a_change_under_way_is_told_by_the_host_that_is_asked(no_posix):
    record, path = "C:\\ProgramData\\portshift\\boks.json", "C:\\ProgramData\\portshift\\boks.confirm\\state.json"

    def told(*content):
        return under_way(Windows(dict.fromkeys([path], *content) if content else {}), record, "boks")

    assert "a change of this host is under way (waiting)" in told(b'{"version": 1, "state": "waiting"}')
    assert told() is None and told(b'{"version": 1, "state": "confirmed"}') is None
    assert told(b"{").startswith(path + ": is not a file of portshift.agents")


def test_a_question_without_an_answer_is_no_answer():
    for name in QUESTIONS:
        count = len(inspect.signature(getattr(Host, name)).parameters) - 1
        with pytest.raises(NotImplementedError):
            getattr(Host(), name)(*([None] * count))


# --- the three products on a host that is not this machine

CLIENT = "C:\\Program Files (x86)\\BigFix Enterprise\\BES Client"
LOGS = CLIENT + "\\__BESData\\__Global\\Logs"
RECORD = "C:\\ProgramData\\portshift\\%s.json"


def bigfix_params(**more):
    return dict(dict(
        component="client", port=NEW, previous_port=None, masthead_paths=[CLIENT + "\\actionsite.afxm"],
        settings_paths=[CLIENT + "\\besclient.config"], clientsettings_paths=[], credentials_paths=[], record=RECORD % "bigfix"),
        **more)


def bigfix_files(port):
    return {
        CLIENT + "\\actionsite.afxm": masthead_files.plain(port=port),
        CLIENT + "\\besclient.config": (
            "[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\__RelayServer1]\r\n"
            "value = http://relay.example.test:%d/bfmirror/downloads/\r\n"
            "[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\_BESClient_RelaySelect_Port]\r\nvalue = %d\r\n" % (
                port, port)).encode(),
        LOGS + "\\20251121.log": b"At 21:59:30 +0000 - \r\n   Report posted successfully\r\n",
        # Of another year: it is not even read.
        LOGS + "\\20241121.log": b"At 21:59:30 +0000 - \r\n   Report could not be posted\r\n"}


def test_bigfix_is_planned_on_a_host_that_was_brought_here(no_posix):
    host = Windows(bigfix_files(OLD))
    found = BigFixHost(bigfix_params(), host)
    plan = found.plan()
    assert (found.problems, plan.problems, found.old_port, found.relay) == ([], [], OLD, "relay.example.test")
    assert [edit["path"] for edit in plan.edits] == [CLIENT + "\\actionsite.afxm", CLIENT + "\\besclient.config"]
    edit = MastheadEdit(CLIENT + "\\actionsite.afxm", NEW, OLD, host=host)
    assert edit.file.after == masthead_files.plain(port=NEW)
    edit = SettingsEdit(CLIENT + "\\besclient.config", {}, (OLD, NEW), host=host)
    assert b":55000/bfmirror" in edit.file.after and edit.rewritten


def test_bigfix_proves_itself_on_a_host_that_was_brought_here(no_posix):
    host = Windows(bigfix_files(NEW))
    params = bigfix_params(
        address=None, bind_address=None, files=True, parent="relay.example.test", tls=False, log_dir=LOGS, relay_chain_dir=None,
        success_patterns=["Report posted successfully"], failure_patterns=["could not be posted"], log_max_age=3600,
        allow_invalid_signature=False, services=["BESClient"], service_command=[], executables={}, agent_service=None,
        neighbours=[8080], timeout=0, settle=0, mark=False)
    host.listening = [dict(port=8080, protocol="tcp", address="0.0.0.0", pid=900, process="x.exe")]
    proved, missing, _waited = gather(BigFixEvidence(params, host=host), 0)
    assert missing == {} and proved["log"] == ["Report posted successfully"]
    assert proved["parent"] == ["parent relay.example.test answers on port 55000"]
    log = LOGS + "\\20251121.log"
    host.files[log] = host.files[log].replace(b"posted successfully", b"could not be posted")
    missing = gather(BigFixEvidence(params, host=host), 0)[1]
    assert list(missing) == ["log"] and missing["log"].startswith(LOGS + ": no report got through")


def test_change_tracker_proves_itself_on_a_host_that_was_brought_here(no_posix):
    path = "C:\\Program Files (x86)\\NNT Change Tracker Suite\\Gen7Agent\\HubDetails.xml"
    host = Windows({path: b"<HubDetails><Url>https://hub.example.test:55000/api/</Url></HubDetails>"}, connected=[
        dict(port=NEW, established=True, pid=700, process="Gen7Agent.exe", owners=[700])])
    params = dict(path=[path, path + "2"], service="nntgen7agent", service_command=[], log_path=None, required=True,
                  record=RECORD % "change_tracker", port=NEW, old_port=OLD, failure_patterns=["Hub Offline"], log_max_age=3600,
                  timeout=0, settle=0, mark=False)
    found = AgentHost(params, host)
    assert found.problems == [] and found.log_path == path.replace("HubDetails.xml", "rolling-log.txt")
    move = AgentMove(found, 8443)
    assert (move.problems, move.notes, move.new_url) == ([], [], "https://hub.example.test:8443/api/")
    assert [(edit["path"], edit["previous_port"]) for edit in move.edits] == [(path, NEW)]
    assert described(found, move)["stop"] == ["sc.exe", "stop", "nntgen7agent"]
    proved, missing, _waited = gather(AgentEvidence(params, host), 0)
    assert missing == {} and proved["connection"] == ["Gen7Agent.exe (pid 700) is connected to hub.example.test:55000"]
    host.files[found.log_path] = b"2025-11-22 06:59:58 INFO Hub Offline, connection retries exhausted\r\n"
    host.connected.append(dict(port=OLD, established=True, pid=700, process="Gen7Agent.exe", owners=[700]))
    assert sorted(gather(AgentEvidence(params, host), 0)[1]) == ["log", "old_port"]


def test_boks_proves_itself_on_a_host_that_was_brought_here(no_posix):
    params = dict(
        role="agent", services_path="/etc/services", env_path="/etc/opt/boksm/ENV", record="/none/boks.json", bind_address=None,
        base_port=16530, old_base=16500, listening=True, status_command=["boksadm"], down_patterns=[], errlog_path="/errlog",
        failure_patterns=["in use"], log_max_age=3600, reach=[dict(host="master", offsets=[1])], reach_any=True,
        timeout=0, settle=0, mark=False)
    host = Windows({"/etc/services": b"boks 16530/tcp\n", "/etc/opt/boksm/ENV": b"BOKSINIT=client\n", "/errlog": b""}, [
        dict(port=16533, protocol="tcp", address="0.0.0.0", pid=700, process="boks_clntd")])
    host.service_port = lambda name, protocol=None: 16530
    assert BoksHost(params, host).base == 16530 and foreign(BoksHost(params, host), 16530, 16500) == ([], [])
    proved, missing, _waited = gather(BoksEvidence(params, host), 0)
    assert missing == dict(status="boksadm can't be run: No such file or directory")
    assert proved["listening"] == ["process boks_clntd (pid 700) listens on 16533/tcp"]
    assert proved["reach"] == ["master answers on port 16531"]


# --- what lint holds

@pytest.fixture(scope="module")
def lint():
    tools = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "tools")
    loader = importlib.machinery.SourceFileLoader("portshift_lint", os.path.join(tools, "lint"))
    found = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.path.insert(0, tools)
    try:
        loader.exec_module(found)
    finally:
        sys.path.remove(tools)
    return found


OURS = "from ansible_collections.portshift.agents.plugins.module_utils."


@pytest.mark.parametrize("text, what", [
    ("import os", "os"), ("import os.path", "os.path"), ("from os import path", "os"), ("import subprocess", "subprocess"),
    ("from urllib import request", "urllib.request"), ("import http.client", "http.client"),
    ("import time\ntime.time()", "time.time"), ("import datetime\ndatetime.date.today()", "datetime.date.today"),
    ("x = '/proc/%d/stat' % 1", '"/proc/%d/stat"'), ("isdir('/run/systemd/system')", '"/run/systemd/system"'),
    ("x = '/proc'", '"/proc"'), ("open('x')", "open"), ("f = open", "open"),
    (OURS + "_core.file_edit import read_bytes", "_core.file_edit.read_bytes"),
    (OURS + "_network.listeners import listeners, plain_address", "_network.listeners.listeners"),
    (OURS + "_core.new_one import anything", "_core.new_one.anything"),
    (OURS + "_core.posix_host import THIS_HOST\nTHIS_HOST.read('x')",
     "THIS_HOST, which is to be no more than what `host` is by default")])
def test_what_judges_asks_no_system(lint, text, what):
    assert [found for _line, found in lint.beside_the_host(text)] == [what]


@pytest.mark.parametrize("text", [
    '"""Of a file such as /proc/net/tcp."""', "import re, json\nfrom urllib.parse import urlsplit", "def f():\n    '''/proc'''",
    "import time\ntime.monotonic()\ntime.sleep(1)", "x = 'this host has no /proc/net'", "host.open('x')", "x = '/procure'",
    OURS + "_core.file_edit import FileError, sha256", OURS + "_core.errors import EngineError",
    OURS + "_bridge.bridge import turn_bridge", OURS + "_core.posix_host import THIS_HOST\ndef f(host=THIS_HOST):\n    pass"])
def test_what_judges_may_do(lint, text):
    assert lint.beside_the_host(text) == []


@pytest.mark.parametrize("text, found", [
    (OURS + "_bigfix.masthead import MastheadError", ["_bigfix.masthead.MastheadError"]),
    (OURS + "_move import states", []), (OURS.replace("module_utils.", "module_utils") + " import _boks", ["_boks"]),
    (OURS.replace("module_utils.", "plugin_utils.") + "_windows import change_tracker, move", ["_windows.change_tracker"]),
    (OURS.replace("module_utils.", "plugin_utils.") + "_drivers.boks import PRODUCT", ["_drivers.boks.PRODUCT"]),
    (OURS.replace("module_utils.", "plugin_utils.") + "_bigfix_topology import Topology", ["_bigfix_topology.Topology"]),
    (OURS.replace("module_utils.", "plugin_utils.") + "_registry import PRODUCTS", [])])
def test_what_is_named_for_no_product_imports_none(lint, text, found):
    said = [name for unused, name in lint.products_imported(text, ["bigfix", "boks", "change_tracker"])]
    assert len(said) == len(found) and all(name.endswith(end) for name, end in zip(said, found))


def test_a_module_that_runs_on_its_host_may_hand_in_that_host(lint):
    text = OURS + "_network.posix_host import THIS_HOST\nimport time\nf(THIS_HOST, time.time())"
    assert lint.beside_the_host(text, of_ours=False) == [] and len(lint.beside_the_host(text)) == 2
    assert lint.beside_the_host("import os", of_ours=False)
