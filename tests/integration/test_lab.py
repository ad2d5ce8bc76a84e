# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: real processes, real sockets, real files.  What it shows of a migration is only as good as this."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import yaml

from tests.lab import processes
from tests.lab.process_lab import ProcessLab

pytestmark = pytest.mark.stand_ins

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PYTHON = os.environ.get("PORTSHIFT_LAB_PYTHON", sys.executable)    # to try the stand-ins with an older one
CLIENT_CONFIG = "var/opt/BESClient/besclient.config"
RELAY_CONFIG = "var/opt/BESRelay/besrelay.config"
SERVER_MASTHEAD = "var/opt/BESServer/BESServer/Masthead.afxm"
SERVER_ACTIONSITE = "etc/opt/BESServer/actionsite.afxm"
CLIENT_MASTHEAD = "etc/opt/BESClient/actionsite.afxm"


def run(command, **options):
    return subprocess.run(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=120, **options)


def eventually(condition, seconds=8):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true within %d seconds" % seconds
        time.sleep(0.05)


class Lab:
    def __init__(self, folder):
        self.folder = str(folder)

    def call(self, command, *arguments, **options):
        return run([PYTHON, "-m", "tests.lab", command, "--dir", self.folder] + list(arguments), **options)

    def ok(self, command, *arguments):
        done = self.call(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *arguments):
        return self.ok("start", *arguments)

    def status(self):
        return json.loads(self.ok("status", "--json"))

    def path(self, host, path):
        return os.path.join(self.folder, "hosts", host, path)

    def service(self, host, service, action):
        return run([self.path(host, "service"), service, action])

    def read(self, host, path):
        with open(self.path(host, path), "rb") as stream:
            return stream.read()

    def write(self, host, path, data):
        with open(self.path(host, path), "r+b") as stream:    # in place: mode and owner stay
            stream.truncate()
            stream.write(data)

    def log(self, host):
        folder = self.path(host, "var/opt/BESClient/__BESData/__Global/Logs")
        return b"".join(self.read(host, os.path.join(folder, name)) for name in sorted(os.listdir(folder))).decode()

    def accepted(self, host):
        return self.status()["agents"][host]["accepted"]

    def await_more(self, host, reports=3):
        before = self.accepted(host)
        eventually(lambda: self.accepted(host) >= before + reports)

    def processes(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as stream:
                    line = stream.read().decode("utf-8", "replace")
            except OSError:
                continue
            if "daemon.py" in line and self.folder + "/hosts/" in line:
                found.append(int(pid))
        return found


@pytest.fixture
def new_lab(tmp_path):
    labs = []

    def make(name="lab"):
        labs.append(Lab(tmp_path / name))
        return labs[-1]

    yield make
    for lab in labs:
        lab.call("stop", "--remove")
        assert lab.processes() == []


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """One lab for the tests that leave it as they found it: server, relay1, relay2 below it, two clients."""
    lab = Lab(tmp_path_factory.mktemp("shared") / "lab")
    lab.start("--relays", "1,1", "--clients", "2", "--rate", "10", "--give-up", "60")
    yield lab
    lab.call("stop", "--remove")
    assert lab.processes() == []


@pytest.fixture
def lab(running):
    yield running
    found = running.status()
    assert all(service["running"] for host in found["hosts"].values() for service in host["services"].values())
    assert found["lost"] == 0


@pytest.mark.parametrize("kind", ["signed", "plain"])
def test_every_agent_reports(new_lab, kind):
    lab = new_lab()
    said = lab.start("--masthead", kind, "--relays", "2,2", "--clients", "6", "--port", "52400")
    assert "every agent has reported" in said
    found = lab.status()
    assert found["masthead"] == kind
    assert list(found["hosts"]) == ["server", "relay1", "relay2", "relay3", "relay4"] + [
        "client%02d" % number for number in range(1, 7)]
    assert [host["parent"] for host in found["hosts"].values()] == [
        None, "server", "server", "relay1", "relay2", "relay1", "relay2", "relay3", "relay4", "relay3", "relay4"]
    assert {host["port"] for host in found["hosts"].values()} == {52400}
    assert {agent["port"] for agent in found["agents"].values()} == {52400}
    assert set(found["agents"]) == set(found["hosts"])
    assert all(agent["accepted"] for agent in found["agents"].values())
    assert found["accepted"] == sum(agent["accepted"] for agent in found["agents"].values())
    assert found["lost"] == 0
    assert set(found["hosts"]["server"]["services"]) == {
        "besserver", "besfilldb", "besgatherdb", "beswebreports", "besclient"}
    pids = [service["pid"] for host in found["hosts"].values() for service in host["services"].values()]
    assert sorted(pids) == sorted(lab.processes())
    assert "server " in lab.ok("status")


def test_inventory_says_who_is_whose_parent(lab):
    with open(os.path.join(lab.folder, "inventory.yml")) as stream:
        inventory = yaml.safe_load(stream)["all"]
    assert inventory["vars"]["ansible_connection"] == "local"
    groups = {name: group["hosts"] for name, group in inventory["children"].items()}
    assert {name: list(hosts) for name, hosts in groups.items()} == {
        "bigfix_server": ["server"],
        "bigfix_relays": ["relay1", "relay2"],
        "bigfix_clients": ["client01", "client02"],
        "bigfix_pilot": ["relay1", "client01"],
    }
    assert groups["bigfix_relays"]["relay2"]["bigfix_parent"] == "relay1"
    assert groups["bigfix_clients"]["client02"]["bigfix_parent"] == "relay2"
    assert groups["bigfix_clients"]["client02"]["lab_host_dir"] == lab.path("client02", "").rstrip("/")
    assert groups["bigfix_server"]["server"]["bigfix_address"] == lab.status()["hosts"]["server"]["address"]
    assert os.path.exists(os.path.join(lab.folder, "group_vars", "all.yml"))


def test_signed_masthead_has_the_layout_of_a_real_one(lab):
    data = lab.read("server", SERVER_MASTHEAD)
    outer, rest = data.split(b"\n\n", 1)
    assert b"multipart/signed" in outer and b"\r" not in outer
    inner = rest.split(b"\n--")[0] if rest.startswith(b"--") else rest.split(b"\n--")[1]
    assert inner.count(b"\r\n") > 8
    assert len(re.findall(rb":52311/", data)) == 5 and b"_PortNumber" not in data
    assert re.search(rb"X-Fixlet-Site-Serial-Number: \d{9}\r\n", data)
    assert run(["openssl", "smime", "-verify", "-binary", "-noverify", "-out", os.devnull,
                "-in", lab.path("server", SERVER_MASTHEAD)]).returncode == 0


def test_authority_issues_a_masthead_of_the_same_deployment(lab):
    path = lab.ok("issue", "--port", "55000").strip()
    assert path == os.path.join(lab.folder, "issued", "masthead-55000.afxm")
    with open(path, "rb") as stream:
        issued = stream.read()
    installed = lab.read("server", SERVER_MASTHEAD)
    pattern = rb"X-Fixlet-Site-Serial-Number: (\d+)"
    assert re.search(pattern, issued).group(1) == re.search(pattern, installed).group(1)
    assert len(re.findall(rb":55000/", issued)) == 5 and b":52311/" not in issued
    assert run(["openssl", "smime", "-verify", "-binary", "-noverify", "-in", path, "-out", os.devnull]).returncode == 0
    forbidden = lab.call("issue", "--port", "52314")
    assert forbidden.returncode == 2 and "52314" in forbidden.stderr


def test_agent_writes_the_real_log(lab):
    address = lab.status()["hosts"]["relay2"]["address"]
    log = lab.log("client02")
    lines = log.splitlines()
    assert re.match(r"At \d\d:\d\d:\d\d [+-]\d{4} - $", lines[0])
    # A second may end between any two of them, and the next one has its own head.
    assert [line for line in lines if not line.startswith("At ")][:3] == [
        "   RegisterOnce: Attempting to register with 'http://%s:52311/cgi-bin/bfenterprise/clientregister.exe...'" % address,
        "   Trying to connect to relay on port 52311",
        "   Successful Synchronization"]
    assert "   Report posted successfully" in lines
    folder = lab.path("client02", "var/opt/BESClient/__BESData/__Global/RelayChain")
    chain = lab.read("client02", os.path.join(folder, os.listdir(folder)[0])).decode()
    assert re.match(r"At \d\d:\d\d:\d\d [+-]\d{4} - S - \S+\n", chain)
    assert stat.S_IMODE(os.stat(lab.path("client02", CLIENT_CONFIG)).st_mode) == 0o600


@pytest.mark.parametrize("host, service", [
    ("relay1", "besrelay"), ("relay2", "besrelay"), ("server", "besserver"), ("client02", "besclient")])
def test_restart_loses_nothing(lab, host, service):
    before = lab.status()["hosts"][host]["services"][service]["pid"]
    assert lab.service(host, service, "restart").returncode == 0
    assert lab.status()["hosts"][host]["services"][service]["pid"] != before
    for agent in ("client01", "client02", "relay2", "server"):
        lab.await_more(agent)
    assert lab.status()["lost"] == 0


def test_killed_agent_uses_no_number_twice(lab):
    os.kill(lab.status()["hosts"]["client01"]["services"]["besclient"]["pid"], signal.SIGKILL)
    eventually(lambda: lab.service("client01", "besclient", "status").returncode == 3)
    numbers = [line.split()[2] for line in lab.read("server", "var/opt/BESServer/lab-ledger.txt").decode().splitlines()
               if line.split()[1] == "client01"]
    state = json.loads(lab.read("client01", "run/besclient.state"))
    assert lab.service("client01", "besclient", "start").returncode == 0
    lab.await_more("client01")
    again = [line.split()[2] for line in lab.read("server", "var/opt/BESServer/lab-ledger.txt").decode().splitlines()
             if line.split()[1] == "client01"][len(numbers):]
    # Those that were under way may be sent again, and are counted once; all others are new.
    under_way = {number for number, _age in state["queue"]}
    assert set(numbers) & set(again) <= set(map(str, under_way))
    assert all(int(number) in under_way or int(number) > state["number"] for number in again)
    assert lab.status()["lost"] == 0


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_undelivered_reports_survive_the_end_of_their_agent(lab, end):
    lab.service("relay2", "besrelay", "stop")
    try:
        time.sleep(1)
        if end == "stop":
            lab.service("client02", "besclient", "stop")
        else:
            os.kill(lab.status()["hosts"]["client02"]["services"]["besclient"]["pid"], signal.SIGKILL)
            eventually(lambda: lab.service("client02", "besclient", "status").returncode == 3)
        assert len(json.loads(lab.read("client02", "run/besclient.state").decode())["queue"]) >= 5
        assert lab.service("client02", "besclient", "start").returncode == 0
    finally:
        assert lab.service("relay2", "besrelay", "start").returncode == 0
    lab.await_more("client02", 6)
    assert lab.status()["lost"] == 0


def test_edit_of_a_running_agents_settings_is_lost(lab):
    before = lab.read("client01", CLIENT_CONFIG)
    lab.write("client01", CLIENT_CONFIG, before.replace(b":52311/", b":55000/"))
    assert lab.service("client01", "besclient", "restart").returncode == 0
    assert lab.read("client01", CLIENT_CONFIG) == before
    assert stat.S_IMODE(os.stat(lab.path("client01", CLIENT_CONFIG)).st_mode) == 0o600


def test_edit_of_a_running_relays_settings_is_lost(lab):
    before = lab.read("relay2", RELAY_CONFIG)
    lab.write("relay2", RELAY_CONFIG, before.replace(b":52311/", b":55000/"))
    assert lab.service("relay2", "besrelay", "restart").returncode == 0
    assert lab.read("relay2", RELAY_CONFIG) == before


def test_edit_between_stop_and_start_holds_and_the_documents_setting_moves_no_agent(lab):
    before = lab.read("client01", CLIENT_CONFIG)
    document = before.replace(b"\\Cost Center]", b"\\_BESClient_RelaySelect_Port]").replace(b"= 52311", b"= 55000")
    assert document != before
    try:
        lab.service("client01", "besclient", "stop")
        lab.write("client01", CLIENT_CONFIG, document)
        assert lab.service("client01", "besclient", "restart").returncode == 0
        lab.await_more("client01")
        assert lab.read("client01", CLIENT_CONFIG) == document
        assert lab.status()["agents"]["client01"]["port"] == 52311
    finally:
        lab.service("client01", "besclient", "stop")
        lab.write("client01", CLIENT_CONFIG, before)
        lab.service("client01", "besclient", "start")


@pytest.mark.parametrize("host, service, paths", [
    ("server", "besserver", [SERVER_MASTHEAD, SERVER_ACTIONSITE]),
    ("relay2", "besrelay", [CLIENT_MASTHEAD]),
    ("client02", "besclient", [CLIENT_MASTHEAD]),
])
@pytest.mark.parametrize("damage", ["edited", "truncated"])
def test_damaged_signed_masthead_is_refused(lab, host, service, paths, damage):
    whole = lab.read(host, paths[0])
    damaged = whole.replace(b":52311/", b":55000/") if damage == "edited" else whole[:len(whole) // 2]
    lab.service(host, service, "stop")
    try:
        for path in paths:
            lab.write(host, path, damaged)
        done = lab.service(host, service, "start")
        assert done.returncode == 1
        assert "signature of the masthead is broken" in done.stderr and paths[0] in done.stderr
        assert lab.service(host, service, "status").returncode == 3
        if service == "besclient":
            assert "signature of the masthead is broken" in lab.log(host)
    finally:
        for path in paths:
            lab.write(host, path, whole)
        assert lab.service(host, service, "start").returncode == 0
    lab.await_more("client02")


def test_agent_refuses_the_masthead_of_another_deployment(lab, new_lab):
    other = new_lab("other")
    other.start("--relays", "1", "--clients", "1", "--rate", "10")
    assert other.status()["network"] != lab.status()["network"]
    lab.service("relay2", "besrelay", "stop")
    own = lab.read("relay2", CLIENT_MASTHEAD)
    try:
        lab.write("relay2", CLIENT_MASTHEAD, other.read("server", SERVER_MASTHEAD))
        assert lab.service("relay2", "besrelay", "start").returncode == 0
        eventually(lambda: "masthead of the parent: serial number" in lab.log("client02"))
    finally:
        lab.service("relay2", "besrelay", "stop")
        lab.write("relay2", CLIENT_MASTHEAD, own)
        lab.service("relay2", "besrelay", "start")
    lab.await_more("client02")
    other.await_more("client01")
    other.ok("stop", "--remove")
    lab.await_more("client02")    # stopping one lab leaves the other alone


def test_root_server_refuses_mastheads_that_disagree(lab):
    issued = lab.ok("issue", "--port", "55000").strip()
    before = lab.read("server", SERVER_ACTIONSITE)
    lab.service("server", "besserver", "stop")
    try:
        with open(issued, "rb") as stream:
            lab.write("server", SERVER_ACTIONSITE, stream.read())
        done = lab.service("server", "besserver", "start")
        assert done.returncode == 1
        assert "disagree" in done.stderr and "52311" in done.stderr and "55000" in done.stderr
    finally:
        lab.write("server", SERVER_ACTIONSITE, before)
        assert lab.service("server", "besserver", "start").returncode == 0
    lab.await_more("client02")


def test_database_services_need_the_root_server(lab):
    lab.service("server", "besserver", "stop")
    try:
        for service in ("besfilldb", "besgatherdb"):
            done = lab.service("server", service, "restart")
            assert done.returncode == 1 and "start besserver first" in done.stderr
    finally:
        for service in ("besserver", "besfilldb", "besgatherdb"):
            assert lab.service("server", service, "start").returncode == 0
    lab.await_more("client02")


def test_service_answers_like_its_model(lab):
    status = lab.service("relay1", "besrelay", "status")
    assert status.returncode == 0 and "running" in status.stdout
    assert lab.service("relay1", "besrelay", "start").returncode == 0
    assert lab.service("server", "beswebreports", "stop").returncode == 0
    assert lab.service("server", "beswebreports", "stop").returncode == 0
    assert lab.service("server", "beswebreports", "status").returncode == 3
    assert lab.service("server", "beswebreports", "start").returncode == 0
    unknown = lab.service("client01", "besrelay", "start")
    assert unknown.returncode == 4 and unknown.stderr.count("\n") == 1
    assert lab.service("client01", "besclient", "reload").returncode == 2


def test_stop_never_touches_a_recycled_pid(lab):
    assert lab.service("server", "beswebreports", "stop").returncode == 0
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        with open(lab.path("server", "run/beswebreports.pid"), "w") as stream:
            stream.write("%d 1\n" % bystander.pid)
        assert lab.service("server", "beswebreports", "status").returncode == 3
        assert lab.service("server", "beswebreports", "stop").returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert lab.service("server", "beswebreports", "start").returncode == 0


def test_port_that_a_host_is_told_to_refuse(lab):
    lab.ok("fault", "relay2", "refuse-port:52311")
    done = lab.service("relay2", "besrelay", "restart")
    assert done.returncode == 1 and "refuse this port" in done.stderr
    lab.ok("fault", "relay2", "clear")
    assert lab.service("relay2", "besrelay", "start").returncode == 0
    lab.await_more("client02")
    assert lab.call("fault", "client01", "refuse-port:55000").returncode == 2
    assert lab.call("fault", "relay2", "burn").returncode == 2
    assert lab.call("fault", "nobody", "clear").returncode == 2


def test_notifications_come_down_the_tree(lab):
    def counted():
        lab.await_more("client02", 1)
        return json.loads(lab.read("client02", "run/besclient.state").decode())["notifications"] > 0
    eventually(counted, 12)


def test_settings_of_the_client_win_over_the_relays_own(lab):
    client, relay = lab.read("relay2", CLIENT_CONFIG), lab.read("relay2", RELAY_CONFIG)
    entry = (b"[SOFTWARE\\BigFix\\EnterpriseClient\\Settings\\Client\\_BESRelay_HTTPServer_PortNumber]\n"
             b"value                          = %d\n\n")
    lab.service("relay2", "besrelay", "stop")
    lab.service("relay2", "besclient", "stop")
    try:
        lab.write("relay2", RELAY_CONFIG, relay + entry % 55001)
        lab.write("relay2", CLIENT_CONFIG, client + entry % 55002)
        assert lab.service("relay2", "besrelay", "start").returncode == 0
        assert lab.status()["hosts"]["relay2"]["port"] == 55002
    finally:
        lab.service("relay2", "besrelay", "stop")
        lab.write("relay2", RELAY_CONFIG, relay)
        lab.write("relay2", CLIENT_CONFIG, client)
        assert lab.service("relay2", "besrelay", "start").returncode == 0
        assert lab.service("relay2", "besclient", "start").returncode == 0
    lab.await_more("client02")


def test_agent_falls_back_to_its_second_relay(lab):
    before = lab.read("client02", CLIENT_CONFIG)
    addresses = {name: host["address"].encode() for name, host in lab.status()["hosts"].items()}
    first, rest = before.split(b"\n\n", 1)
    second = first.replace(b"__RelayServer1", b"__RelayServer2").replace(addresses["relay2"], addresses["relay1"])
    lab.service("client02", "besclient", "stop")
    try:
        lab.write("client02", CLIENT_CONFIG, b"\n\n".join((first.replace(b":52311/", b":55000/"), second, rest)))
        assert lab.service("client02", "besclient", "start").returncode == 0
        lab.await_more("client02")
        chain = lab.path("client02", "var/opt/BESClient/__BESData/__Global/RelayChain")
        lines = lab.read("client02", os.path.join(chain, sorted(os.listdir(chain))[-1])).decode().splitlines()
        assert lines[-2].endswith("- F - %s:55000" % addresses["relay2"].decode())
        assert lines[-1].endswith("- S - %s:52311" % addresses["relay1"].decode())
    finally:
        lab.service("client02", "besclient", "stop")
        lab.write("client02", CLIENT_CONFIG, before)
        lab.service("client02", "besclient", "start")
    lab.await_more("client02")


def test_masthead_is_served_to_any_http_client(lab):
    hosts = lab.status()["hosts"]
    for host, path in (("server", SERVER_MASTHEAD), ("relay2", CLIENT_MASTHEAD)):
        url = "http://%s:52311/masthead/masthead.afxm" % hosts[host]["address"]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=5) as answer:
            assert answer.read() == lab.read(host, path)
        with pytest.raises(urllib.error.HTTPError):
            opener.open(url + ".old", timeout=5)


def test_plain_masthead_with_mixed_ports_is_refused(new_lab):
    lab = new_lab()
    lab.start("--masthead", "plain", "--relays", "1", "--clients", "1", "--rate", "10")
    whole = lab.read("client01", CLIENT_MASTHEAD)
    assert b"\r" not in whole and b"\n_PortNumber=52311\n" in whole
    lab.service("client01", "besclient", "stop")
    lab.write("client01", CLIENT_MASTHEAD, whole.replace(b"_PortNumber=52311", b"_PortNumber=55000"))
    done = lab.service("client01", "besclient", "start")
    assert done.returncode == 1 and "mixed ports 52311, 55000" in done.stderr


def test_whole_deployment_moves_to_an_issued_masthead(new_lab):
    """The stand-ins follow their files to the new port: top first, no bridge, all within the agents' patience."""
    lab = new_lab()
    lab.start("--relays", "1,1", "--clients", "2", "--rate", "10", "--give-up", "60")
    assert lab.call("wait", "--port", "52311", "--timeout", "5").returncode == 0
    with open(lab.ok("issue", "--port", "55000").strip(), "rb") as stream:
        issued = stream.read()
    early = lab.call("wait", "--port", "55000", "--timeout", "0.5")
    assert early.returncode == 1 and "port 55000" in early.stderr
    hosts = lab.status()["hosts"]
    for host in hosts:
        for service in reversed(list(hosts[host]["services"])):
            lab.service(host, service, "stop")
        for path in (SERVER_MASTHEAD, SERVER_ACTIONSITE, CLIENT_MASTHEAD):
            if os.path.exists(lab.path(host, path)):
                lab.write(host, path, issued)
        for path in (CLIENT_CONFIG, RELAY_CONFIG):
            if os.path.exists(lab.path(host, path)):
                lab.write(host, path, lab.read(host, path).replace(b":52311/", b":55000/"))
        for service in hosts[host]["services"]:
            assert lab.service(host, service, "start").returncode == 0
    lab.ok("wait", "--port", "55000", "--timeout", "15")
    found = lab.status()
    assert {host["port"] for host in found["hosts"].values()} == {55000}
    assert found["lost"] == 0


def test_reports_that_an_agent_gave_up_are_counted(new_lab):
    lab = new_lab()
    lab.start("--relays", "1", "--clients", "1", "--rate", "10", "--give-up", "4")
    began = time.monotonic()
    lab.service("relay1", "besrelay", "stop")
    time.sleep(5.5)
    lab.service("relay1", "besrelay", "start")
    lab.await_more("client01")
    agents, seconds = lab.status()["agents"], time.monotonic() - began
    assert 5 <= agents["client01"]["lost"] <= 10 * seconds
    assert agents["client01"]["longest_silence"] >= 5.4 > agents["server"]["longest_silence"]
    assert agents["server"]["lost"] == 0


def test_agent_that_restarts_at_a_wrong_port_owes_its_reports(new_lab):
    lab = new_lab()
    lab.start("--relays", "1", "--clients", "1", "--rate", "10", "--give-up", "1")
    before = lab.read("client01", CLIENT_CONFIG)
    for content, seconds in ((before.replace(b":52311/", b":55000/"), 2.5), (before, 0)):
        lab.service("client01", "besclient", "stop")
        lab.write("client01", CLIENT_CONFIG, content)
        assert lab.service("client01", "besclient", "start").returncode == 0
        time.sleep(seconds)
    log = lab.log("client01")
    assert "GetURL failed - General transport failure. - " in log and " - registration url - http://" in log
    assert "Trying to connect to relay on port 55000" in log
    lab.await_more("client01")
    assert lab.status()["agents"]["client01"]["lost"] >= 5


def test_processes_end_when_the_lab_vanishes(new_lab):
    lab = new_lab()
    lab.start("--relays", "1", "--clients", "1", "--life", "600")
    with open(os.path.join(lab.folder, "lab.json")) as stream:
        assert json.load(stream)["life_seconds"] == 600
    assert len(lab.processes()) == 8
    os.rename(lab.folder, lab.folder + ".gone")
    eventually(lambda: lab.processes() == [], 5)


def test_processes_end_with_their_life(new_lab):
    lab = new_lab()
    planned = ProcessLab.plan(lab.folder, "plain", [1], 1, 1.0, 52311, 10.0, 1.0)
    planned.write()
    launch = processes.Launch(planned.host("server"), "besserver")
    assert launch.process.wait(60) == 0


def test_stop_leaves_no_process_and_remove_no_folder(new_lab):
    lab = new_lab()
    lab.start("--relays", "1", "--clients", "1")
    lab.ok("stop")
    assert lab.processes() == [] and os.path.isdir(lab.folder)
    assert not any(service["running"] for host in lab.status()["hosts"].values()
                   for service in host["services"].values())
    lab.ok("stop", "--remove")
    assert not os.path.exists(lab.folder)


def test_start_that_fails_half_way_cleans_up(new_lab, tmp_path):
    """An openssl that signs but verifies nothing: the files can be made, the root server refuses to start."""
    lab = new_lab()
    fake = tmp_path / "bin" / "openssl"
    fake.parent.mkdir()
    real = run(["sh", "-c", "command -v openssl"]).stdout.strip()
    fake.write_text('#!/bin/sh\ncase "$*" in *-verify*) exit 1;; esac\nexec %s "$@"\n' % real)
    fake.chmod(0o755)
    done = lab.call("start", "--relays", "1", "--clients", "1",
                    env=dict(os.environ, PATH="%s:%s" % (fake.parent, os.environ["PATH"])))
    assert done.returncode == 1
    assert "besserver on server does not start" in done.stderr and "signature" in done.stderr
    assert lab.processes() == [] and not os.path.exists(lab.folder)


def test_start_that_is_interrupted_cleans_up(new_lab):
    lab = new_lab()
    started = subprocess.Popen([PYTHON, "-m", "tests.lab", "start", "--dir", lab.folder, "--clients", "20"],
                               cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: len(lab.processes()) > 5, 20)
    started.terminate()
    assert started.wait(20) == 1
    assert lab.processes() == [] and not os.path.exists(lab.folder)


# Is told to end at the worst moment: a service has just begun, and it is not noted which process it is.
INTERRUPTED = """
import os, signal, subprocess, sys, time
from tests.lab import cli, processes

class Begun(subprocess.Popen):
    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        if processes.DAEMON in words[0]:
            time.sleep(0.3)    # it runs by now, and looks once a second whether its lab is there
            os.kill(os.getpid(), signal.%s)

subprocess.Popen = Begun
signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell that runs the tests in the background has it ignored
sys.exit(cli.main())
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_start_that_is_interrupted_as_a_service_begins_cleans_up(new_lab, name):
    lab = new_lab()
    started = subprocess.run([PYTHON, "-c", INTERRUPTED % name, "start", "--dir", lab.folder],
                             cwd=CHECKOUT, capture_output=True, check=False, timeout=60)
    assert (started.returncode, lab.processes(), os.path.exists(lab.folder)) == (1, [], False), started.stderr


def test_start_leaves_what_is_not_a_lab_alone(new_lab, tmp_path):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "precious").write_text("mine")
    done = new_lab().call("start")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert (tmp_path / "lab" / "precious").read_text() == "mine"


@pytest.mark.parametrize("arguments", [
    ["start", "--relays", "0"], ["start", "--relays", "2,x"], ["start", "--rate", "0"], ["start", "--port", "52314"],
    ["start", "--clients", "5000"], ["status"], ["stop"], ["issue", "--port", "55000"], ["wait", "--port", "55000"],
    ["explode"],
])
def test_wrong_use_is_one_sentence_and_exit_code_2(tmp_path, arguments):
    done = Lab(tmp_path / "none").call(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("lines, accepted, lost, silence", [
    ([(1, 1), (2, 2), (3, 3)], 3, 0, 1),
    ([(1, 1), (2, 2), (7, 5)], 3, 2, 5),          # 3 and 4 were given up
    ([(1, 1), (2, 2), (3, 2), (4, 3)], 3, 0, 1),  # one heard twice counts once
    ([(1, 2), (2, 1)], 2, 0, 1),                  # late is not lost
    ([(1, 4)], 1, 3, 0),                          # those before the first one accepted are lost too
    ([], 0, 0, 0),
])
def test_ledger_counts(tmp_path, lines, accepted, lost, silence):
    program = ("import sys, json; sys.path.insert(0, sys.argv[1]); from tests.lab.bigfix.ledger import Tally; "
               "print(json.dumps(Tally(sys.argv[2]).read().agents(['c'], now=100.0)['c']))")
    path = tmp_path / "ledger"
    path.write_text("".join("%d.000 c %d 52311\n" % line for line in lines) + "99.000 c 50")    # a line on its way
    agent = json.loads(run([PYTHON, "-c", program, CHECKOUT, str(path)]).stdout)
    assert (agent["accepted"], agent["lost"], agent["longest_silence"]) == (accepted, lost, silence)
    assert agent["last_seen_ago"] == (100 - lines[-1][0] if lines else None)
