# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub that stands for a Windows machine, and a migration of it as a user runs it, while every agent sends its heartbeats."""

import contextlib
import json
import re
import shlex
import time

import pytest
import yaml

from tests.integration.change_tracker_estate import NEW, OLD, Estate, with_port
from tests.integration.product_lab import eventually
from tests.integration.windows_costs import documented, requests
from tests.lab.change_tracker_lab import SITE_NAME
from tests.unit.windows_change_tracker import LOG, state_of

AGENTS = ("proxy", "agent01")
IDENTITY = dict(ip="*", hostname="", port=NEW)
RULE = "portshift change_tracker_hub %d/tcp" % NEW
# Holds a connection to that port of the hub until it is killed: a new one where the hub has lost patience.
GUEST = "import itertools, socket; all([socket.create_connection(('hub', %d)).recv(1)] for unused in itertools.count())"
# Has the hub hang up first, as a monitoring that asks once does: the hub's end of that connection stays for a minute.
ASKED_ONCE = """import http.client, socket, ssl
one = http.client.HTTPSConnection('hub', %d, context=ssl._create_unverified_context())
one.request('GET', '/', headers={'Connection': 'close'})
kept = one.sock
one.getresponse().read()
socket.socket.recv(kept, 1, socket.MSG_PEEK)"""
# Holds the port itself on the hub.
# (create_server may have it although connections of the test before still time out there, a bare bind may not.)
SQUATTER = "import socket, time; one = socket.create_server(('0.0.0.0', %d)); time.sleep(600)"
PRESENTED = "timeout 5 openssl s_client -connect hub:%d </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha1"


@pytest.fixture(scope="module")
def lab(engine, tmp_path_factory):
    made = Estate(tmp_path_factory.mktemp("change-tracker-iis") / "lab")
    try:
        yield made.start("--hub", "iis", "--agents", "1", "--monitored", "1", "--thumbprint", "all", "--firewalls", "ufw")
    finally:
        made.stop()


def run(lab, *tasks):
    """Runs modules on the hub, as the collection calls them."""
    path = lab.folder.parent / "tasks.json"
    path.write_text(json.dumps([dict(hosts="change_tracker_hub", gather_facts=False, tasks=[
        {name: arguments, "name": name} for name, arguments in tasks])]))
    lab.begin_file(path).wait().good()


def website(**bindings):
    return "microsoft.iis.website", dict(name=SITE_NAME, bindings=bindings)


def firewall(**arguments):
    return "community.windows.win_firewall_rule", dict(name="web", group="web", **arguments)


def presented(lab):
    """-> [what the hub presents to an agent on the old port and on the new one]"""
    return [lab.ssh("agent01", PRESENTED % port).stdout.strip().rpartition("=")[2].replace(":", "") for port in (OLD, NEW)]


@contextlib.contextmanager
def beside(lab, engine, host, program):
    """A Python program that runs on a host meanwhile."""
    lab.ssh(host, "systemd-run --unit=beside --quiet python3 -c %s" % shlex.quote(program))
    try:
        yield
    finally:
        lab.execute(engine, host, "systemctl stop beside; systemctl reset-failed beside")


def bound(*ports):
    return {"Default Web Site": ["http *:80:"], SITE_NAME: ["https *:%d:" % port for port in ports]}


def test_hub_is_a_windows_machine_without_an_agent(lab, engine):
    status = lab.status()
    assert status["hub"]["firewall"] == "windows" and status["hub"]["listening"] == [22, 80, OLD]
    assert set(status["hub"]["services"]) == {"nnthub", "w3svc"} and all(status["hub"]["services"].values())
    assert lab.ssh("hub", "systemctl is-active nginx; systemctl is-system-running; ls /var/nnt").stdout == "inactive\nrunning\n"
    assert lab.ports() == dict.fromkeys(AGENTS, OLD) and set(lab.files(engine)) == {"hub", *AGENTS}
    assert lab.bindings(engine) == {"Default Web Site": ["http *:80:"], SITE_NAME: ["https *:%d:" % OLD]}
    children = yaml.safe_load((lab.folder / "inventory.yml").read_text())["all"]["children"]
    hub = children["change_tracker_hub"]["hosts"]["hub"]
    assert (hub["change_tracker_hub_server"], hub["change_tracker_hub_firewall"]) == ("iis", "windows")
    done = lab.call("fault", "hub", "refuse-port:%d" % OLD)
    assert (done.returncode, done.stderr) == (2, "hub has nothing that could refuse a port: it is a hub without an agent.\n")
    fine, verdict = lab.heartbeats()
    assert fine and set(verdict["hosts"]) == set(AGENTS), verdict["objections"]


@pytest.mark.long
def test_agent_moves_to_a_second_binding_behind_a_rule_and_back_and_no_heartbeat_fails(lab, engine):
    before, began = lab.files(engine)["hub"], time.time()
    thumbprint = presented(lab)[0]
    assert len(thumbprint) == 40
    run(lab, website(add=[dict(IDENTITY, protocol="https", certificate_hash=thumbprint, certificate_store_name="MY")]))
    eventually(lambda: lab.status("hub")["listening"] == [22, 80, OLD, NEW])
    assert presented(lab) == [thumbprint, ""], "Windows Firewall does not admit it"
    run(lab, firewall(direction="in", action="allow", protocol="tcp", localport=str(NEW)))
    assert lab.rules(engine)["web"] == (str(NEW), True)
    eventually(lambda: presented(lab) == [thumbprint, thumbprint])
    path = lab.hub_details("agent01")
    for port in (NEW, OLD):
        lab.execute(engine, "agent01", "systemctl stop " + lab.service("agent01"))
        lab.put(engine, "agent01", path, with_port(lab.read(engine, "agent01", path), port))
        lab.execute(engine, "agent01", "systemctl start " + lab.service("agent01"))
        eventually(lambda port=port: lab.ports() == dict(proxy=OLD, agent01=port))
    run(lab, ("ansible.windows.win_wait_for", dict(host="0.0.0.0", port=NEW, state="drained", timeout=60)),
        website(remove=[IDENTITY]), firewall(state="absent"))
    eventually(lambda: lab.status("hub")["listening"] == [22, 80, OLD])
    assert lab.files(engine)["hub"] == before
    fine, verdict = lab.heartbeats("--since", str(began))
    assert fine, verdict["objections"]
    assert set(verdict["hosts"]["agent01"]["accepted_by_port"]) == {str(OLD), str(NEW)}
    assert set(verdict["hosts"]["proxy"]["accepted_by_port"]) == {str(OLD)}


@pytest.mark.long
def test_reboot_of_the_hub_leaves_its_bindings(lab, engine):
    before = lab.files(engine)["hub"]
    engine.run("restart", "--time", "20", lab.described["hosts"]["hub"]["container"])
    for host in AGENTS:    # they may have run out of their retries meanwhile
        lab.execute(engine, host, "systemctl restart " + lab.service(host))
    lab.ok("wait", "--port", str(OLD), "--timeout", "90")
    assert lab.files(engine)["hub"] == before and lab.status("hub")["listening"] == [22, 80, OLD]


@pytest.fixture
def on_windows(lab):
    """Agents on Windows: that of the hub, a proxy, and another one."""
    hub = lab.windows
    hub.follow()
    made = dict(hub=hub.add_agent("hub"), proxy2=hub.add_agent("proxy2", "change_tracker_proxies"),
                win1=hub.add_agent("win1", "change_tracker_agents"))
    eventually(lambda: all(host.agent.taken for host in made.values()))
    yield made
    hub.take_agents_away()


def ports_on_windows(hosts):
    """-> {host: the port of the hub to which its agent is connected}"""
    return {name: host.agent.connection and host.agent.connection.remote_port for name, host in hosts.items()}


def test_hub_and_agents_move_the_old_port_ends_and_all_come_back_and_no_heartbeat_fails(lab, engine, on_windows):
    """Agents on Linux and on Windows, the one of the hub among them."""
    began, before, rules, details = time.time(), lab.files(engine), lab.rules(engine), lab.details(engine)
    states = {name: state_of(host) for name, host in on_windows.items()}
    plan = lab.play("plan").good()
    for name in on_windows:
        words = r"%s +https://hub/api/ -> https://hub:%d/api/ +.Gen7AgentCore; thumbprint" % (name, NEW)
        assert re.search(words, plan.output), plan.output
    check = lab.play("migrate", "--check", "--diff").good()
    assert (lab.files(engine), lab.rules(engine), lab.bindings(engine)) == (before, rules, bound(OLD))
    assert {name: state_of(host) for name, host in on_windows.items()} == states
    for host in on_windows.values():
        host.endpoint.forget()
    done = lab.play("migrate").good()
    assert set(done.changed) == set(check.changed) == {*on_windows, *AGENTS}
    costs = documented("host of Change Tracker")
    for name, kind in (("win1", "agent"), ("proxy2", "proxy")):
        assert requests(on_windows[name].endpoint.tasks) == [costs[kind][phase] for phase in ("look", "path", "move")]
    # Beside what is done to its site.
    assert costs["agent of the hub"]["move"] in requests(on_windows["hub"].endpoint.tasks)
    assert ports_on_windows(on_windows) == dict.fromkeys(on_windows, NEW)
    assert lab.bindings(engine) == bound(OLD, NEW) and lab.rules(engine) == dict(rules, **{RULE: (str(NEW), True)})
    assert lab.details(engine) == {host: with_port(data, NEW) for host, data in details.items()}
    assert presented(lab)[0] == presented(lab)[1] != ""
    assert lab.play("migrate").good().changed == {}
    lab.play("verify").good()

    with beside(lab, engine, "monitored1", GUEST % OLD):
        eventually(lambda: lab.execute(engine, "hub", "ss -Htn state established sport = :%d" % OLD)[1].strip() != "")
        lab.play("close").bad("port %d is still used" % OLD, "-e change_tracker_close_despite_users=true")
        assert lab.bindings(engine) == bound(OLD, NEW)
    lab.ssh("monitored1", "python3 -c %s" % shlex.quote(ASKED_ONCE % OLD))
    assert lab.execute(engine, "hub", "ss -Htn state time-wait sport = :%d" % OLD)[1].strip() != ""
    lab.play("close").good()
    assert lab.bindings(engine) == bound(NEW) and lab.status("hub")["listening"] == [22, 80, NEW]

    lab.play("rollback").good()
    assert (lab.bindings(engine), lab.rules(engine), lab.details(engine)) == (bound(OLD), rules, details)
    assert lab.files(engine) == before and lab.ports() == dict.fromkeys(AGENTS, OLD)
    assert {name: state_of(host) for name, host in on_windows.items()} == states
    assert ports_on_windows(on_windows) == dict.fromkeys(on_windows, OLD)
    assert lab.play("rollback").good().changed == {}
    for name, host in on_windows.items():
        assert not host.agent.failed, (name, host.files.read(LOG))
    fine, verdict = lab.heartbeats("--since", str(began))
    assert fine, verdict["objections"]


def test_record_of_the_hub_has_its_place_as_windows_writes_it(lab):
    place = r"C:\ProgramData\portshift\change_tracker_hub.json"
    # Its length, since quotation marks in an expression are another place where backslashes may be doubled.
    role = dict(name="portshift.agents.change_tracker_hub", tasks_from="way_back", public=True)
    run(lab, ("ansible.builtin.include_role", role),
        ("ansible.builtin.assert", dict(that="change_tracker_hub_record_path | length == %d" % len(place))))


def test_port_that_another_process_has_ends_the_run_and_the_site_goes_on(lab, engine):
    began, before = time.time(), lab.files(engine)
    with beside(lab, engine, "hub", SQUATTER % NEW):
        eventually(lambda: lab.execute(engine, "hub", "ss -Htln sport = :%d" % NEW)[1].strip() != "")
        lab.play("migrate").bad("port %d is taken by" % NEW, "IIS would stop the site")
    assert lab.bindings(engine) == bound(OLD) and RULE not in lab.rules(engine) and lab.files(engine) == before
    fine, verdict = lab.heartbeats("--since", str(began))
    assert fine, verdict["objections"]
