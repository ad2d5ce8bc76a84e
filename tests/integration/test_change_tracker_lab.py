# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Change Tracker lab: what it shows of a migration is only as good as this."""

import json
import re
import time

import pytest
import yaml

from tests.integration.change_tracker_estate import NEW, OLD, SITE, Estate, with_port
from tests.integration.product_lab import eventually
from tests.lab.change_tracker.ledger import Count, arrivals, monitored
from tests.lab.change_tracker_lab import hub_details

pytestmark = pytest.mark.stand_ins

FIREWALLS = {"hub": "firewalld", "proxy": "ufw", "agent01": "nftables", "agent02": "iptables", "monitored1": "firewalld",
             "monitored2": "ufw"}
SERVICES = {"hub": "nntgen7agentcore", "proxy": "nntgen7agentcore", "agent01": "nntgen7agentcore", "agent02": "nntgen7agent"}
LISTENING = {"hub": [22, OLD], "proxy": [22], "agent01": [22], "agent02": [22], "monitored1": [22, 445], "monitored2": [22, 445]}
KNOCK = """
import socket, sys
for port in (22, 445, 443, 5000, 8443):
    try:
        socket.create_connection((sys.argv[1], port), 2).close()
        print(port)
    except ConnectionRefusedError:
        print(port, "refused")
    except OSError:
        pass
"""
# The second of each pair of lines is what the new port gets.
SECOND = ("firewall-cmd --quiet --add-port %d/tcp; sed -i 's/^ .*listen .*443 ssl;$/&\\n&/; s/443 ssl;$/%d ssl;/' %s; " % (
    NEW, NEW, SITE))


@pytest.fixture(scope="module")
def lab(engine, tmp_path_factory):
    made = Estate(tmp_path_factory.mktemp("change-tracker") / "lab")
    try:
        yield made.start("--agents", "2", "--legacy", "1", "--firewalls", "firewalld,ufw,nftables,iptables")
    finally:
        made.stop()


@pytest.fixture
def healed(lab, engine):
    """For tests that change a host: afterwards it is as it was."""
    before, site = lab.details(engine), lab.read(engine, "hub", SITE)
    yield lab
    lab.put(engine, "hub", SITE, site)
    lab.execute(engine, "hub", "systemctl reload-or-restart nginx; systemctl restart nnthub; firewall-cmd --quiet --reload")
    after, ports = lab.details(engine), lab.ports()
    for host in lab.agents:
        if after[host] != before[host] or ports[host] != OLD:
            lab.ok("fault", host, "clear")
            change(lab, engine, host, lambda _data, host=host: before[host])
    lab.ok("wait", "--port", str(OLD), "--timeout", "60")


def stop(lab, engine, host):
    return lab.execute(engine, host, "systemctl stop " + lab.service(host))


def start(lab, engine, host):
    return lab.execute(engine, host, "systemctl start " + lab.service(host))


def change(lab, engine, host, edit):
    """Stop, edit, start, as an administrator does it by hand."""
    assert stop(lab, engine, host) == (0, "")
    path = lab.hub_details(host)
    lab.put(engine, host, path, edit(lab.read(engine, host, path)))
    assert start(lab, engine, host) == (0, "")


def said(lab, engine, host):
    return lab.execute(engine, host, "cat %s/rolling-log.txt" % lab.hub_details(host).rpartition("/")[0])[1]


def password(lab, engine):
    return lab.read(engine, "hub", "/opt/portshift-lab/login").decode().strip().partition(":")[2]


def test_every_heartbeat_arrives_and_the_proxy_sees_what_it_monitors(lab):
    status = lab.status()
    assert list(status) == list(FIREWALLS)
    for host, found in status.items():
        assert (found["firewall"], found["listening"]) == (FIREWALLS[host], LISTENING[host])
        assert all(found["services"].values())
        assert lab.ssh(host, "hostname").stdout == host + "\n"
    assert lab.ports() == dict.fromkeys(SERVICES, OLD)
    began = time.time()
    eventually(lambda: lab.heartbeats("--since", str(began))[1]["hosts"]["agent01"]["accepted"] > 20)
    fine, verdict = lab.heartbeats("--since", str(began))
    assert fine, verdict["objections"]
    # Four a second, when nothing comes in between.
    assert verdict["hosts"]["agent01"]["accepted"] <= 4 * (time.time() - began) + 1
    fine, verdict = lab.heartbeats()
    assert fine, verdict["objections"]
    assert {host: (count["failed"], count["gaps"], count["own_restarts"], count["sleeping"])
            for host, count in verdict["hosts"].items()} == dict.fromkeys(SERVICES, (0, 0, 0, False))
    assert {target: seen["failed"] for target, seen in verdict["monitored"]["proxy"].items()} == {
        "monitored1:22": 0, "monitored2:445": 0}


def test_product_is_where_it_always_is_and_roles_are_groups_of_the_inventory(lab):
    for host, service in SERVICES.items():
        done = lab.ssh(host, "systemctl is-enabled %s; systemctl is-active %s; systemctl is-system-running; cd %s; ls; "
                       "stat -c '%%a %%n' HubDetails.xml agent.id" % (
                           service, service, lab.hub_details(host).rpartition("/")[0]))
        assert done.stdout.split() == ["enabled", "active", "running", "HubDetails.xml", "agent.id", "rolling-log.txt", "640",
                                       "HubDetails.xml", "640", "agent.id"]
    assert lab.ssh("hub", "nginx -t; grep -c 'listen .*443 ssl;' " + SITE).stdout == "2\n"
    children = yaml.safe_load((lab.folder / "inventory.yml").read_text())["all"]["children"]
    assert {group: list(given["hosts"]) for group, given in children.items()} == {
        "change_tracker_hub": ["hub"], "change_tracker_agents": ["agent01", "agent02"], "change_tracker_proxies": ["proxy"]}
    assert children["change_tracker_proxies"]["hosts"]["proxy"]["change_tracker_monitored"] == [
        {"host": "monitored1", "kind": "linux"}, {"host": "monitored2", "kind": "windows"}]


def test_first_start_seals_the_password_and_changes_nothing_else(lab, engine):
    sealed, secret = set(), password(lab, engine)
    for host, after in lab.details(engine).items():
        given = lab.described["hosts"][host]
        thumbprint = lab.execute(engine, "hub", "openssl x509 -in /etc/nginx/nnt/hub.crt -noout -fingerprint -sha1")[1]
        thumbprint = thumbprint.strip().rpartition("=")[2].replace(":", "") if given["thumbprint"] else None
        encoding = "utf-16" if given["look"] == 3 else "utf-8"
        before = hub_details(given["look"], OLD, secret, thumbprint)
        escaped = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        pattern = re.escape(before.decode(encoding)).replace(
            re.escape("<Password>%s</Password>" % escaped), r"<Password />(\r?\n  )<E1>([A-Za-z0-9+/=]{40,})</E1>")
        found = re.fullmatch(pattern, after.decode(encoding))
        assert found and secret not in after.decode(encoding)
        sealed.add(found.group(2))
    assert len(sealed) == len(SERVICES), "the same password is another E1 on each machine"


@pytest.mark.parametrize("host", FIREWALLS)
def test_firewall_admits_what_the_host_is_there_for_and_nothing_else(lab, host):
    peer = "agent01" if host != "agent01" else "proxy"
    done = lab.ssh(peer, "python3 - %s" % lab.described["hosts"][host]["address"], stdin=KNOCK)
    assert (done.returncode, done.stdout.split()) == (0, [str(port) for port in LISTENING[host]])


def test_kept_connections_outlive_reloads_of_nginx_without_a_failed_heartbeat(lab, engine):
    began = time.time()
    code, output = lab.execute(engine, "hub", "for i in $(seq 20); do systemctl reload nginx || exit; sleep 0.2; done")
    assert code == 0, output
    fine, verdict = lab.heartbeats("--since", str(began))
    assert fine, verdict["objections"]
    assert all(count["own_restarts"] == 0 for count in verdict["hosts"].values())


def test_agent_moves_to_a_second_listen_and_its_own_restart_is_no_failure(healed, engine):
    lab = healed
    began = time.time()
    code, output = lab.execute(engine, "hub", SECOND + "nginx -t && systemctl reload nginx")
    assert code == 0, output
    # To reload nginx is to tell its master, which then does so.
    eventually(lambda: lab.status("hub")["listening"] == [22, OLD, NEW])
    change(lab, engine, "agent02", lambda data: with_port(data, NEW))
    eventually(lambda: lab.ports() == dict.fromkeys(SERVICES, OLD) | {"agent02": NEW})
    done = lab.call("wait", "--port", str(NEW), "--timeout", "1")
    assert done.returncode == 1 and "agent01 reports on port %d" % OLD in done.stderr and "agent02" not in done.stderr
    fine, verdict = lab.heartbeats("--since", str(began))
    assert fine, verdict["objections"]
    moved = verdict["hosts"]["agent02"]
    assert moved["own_restarts"] == 1 and set(moved["accepted_by_port"]) == {str(OLD), str(NEW)}
    assert moved["longest_own_restart"] > moved["longest_otherwise"]
    assert all(count["own_restarts"] == 0 for host, count in verdict["hosts"].items() if host != "agent02")
    # By what the hub saw, too.
    arrived = arrivals(lab.read(engine, "hub", "/opt/portshift-lab/run/arrivals.txt").decode())
    assert {port for _number, port in arrived["agent02"]} == {OLD, NEW}
    assert {port for _number, port in arrived["agent01"]} == {OLD}
    done = lab.call("heartbeats", "--since", str(began), "--longest", "0.01")
    assert done.returncode == 1 and "agent01 was silent for" in done.stderr


def test_e1_of_another_machine_or_a_changed_one_is_refused_without_asking_the_hub(healed, engine):
    lab = healed
    e1 = re.compile(b"<E1>(.*)</E1>")
    foreign = e1.search(lab.details(engine)["proxy"]).group(1)

    def count():
        return len(arrivals(lab.read(engine, "hub", "/opt/portshift-lab/run/arrivals.txt").decode())["agent01"])

    for text in (foreign, foreign.swapcase(), b""):
        change(lab, engine, "agent01", lambda data, text=text: e1.sub(b"<E1>%s</E1>" % text, data))
        eventually(lambda: lab.heartbeats()[1]["hosts"]["agent01"]["sleeping"])
        arrived = count()
        assert "Hub connection failed (403" in said(lab, engine, "agent01")
        assert lab.ssh("agent01", "systemctl is-active nntgen7agentcore").stdout == "active\n"
        assert count() == arrived
    fine, verdict = lab.heartbeats()
    assert not fine and any("the agent of agent01 sleeps" in objection for objection in verdict["objections"])
    assert lab.execute(engine, "hub", "grep -c ' 403 ' /var/log/nginx/nnt-access.log")[1] == "0\n"


def test_wrong_thumbprint_is_refused_by_the_agent_and_case_and_blanks_do_not_count(healed, engine):
    lab = healed
    right = re.search(b"<Thumbprint>(.*)</Thumbprint>", lab.details(engine)["agent01"]).group(1)
    began = time.time()
    other = b"<Thumbprint>%s</Thumbprint>" % (b"0" * 40)
    change(lab, engine, "agent01", lambda data: re.sub(b"<Thumbprint>.*</Thumbprint>", other, data))
    eventually(lambda: "Certificate thumbprint does not match trusted" in said(lab, engine, "agent01"))
    _fine, verdict = lab.heartbeats("--since", str(began))
    reasons = verdict["hosts"]["agent01"]["reasons"]
    assert list(reasons) == ["thumbprint: the hub's is %s" % right.decode()] and lab.status("agent01")["port"] is None
    spaced = b"<Thumbprint>%s</Thumbprint>" % b" ".join(re.findall(b"..", right.lower()))
    change(lab, engine, "agent01", lambda data: re.sub(b"<Thumbprint>.*</Thumbprint>", spaced, data))
    lab.ok("wait", "--port", str(OLD), "--timeout", "60")


def test_agents_sleep_after_their_retries_until_they_are_restarted(healed, engine):
    lab = healed
    assert lab.execute(engine, "hub", "systemctl stop nginx")[0] == 0
    eventually(lambda: all(found["last"]["outcome"] == "sleep" for host, found in lab.status().items() if host in SERVICES), 60)
    assert lab.execute(engine, "hub", "systemctl start nginx")[0] == 0
    done = lab.call("wait", "--port", str(OLD), "--timeout", "2")
    assert done.returncode == 1 and all(
        "the agent of %s sleeps, its retries on port %d exhausted" % (host, OLD) in done.stderr for host in SERVICES)
    for host in SERVICES:
        log = said(lab, engine, host)
        assert "Hub Offline, connection retries exhausted" in log and password(lab, engine) not in log
        assert lab.ssh(host, "systemctl is-active " + lab.service(host)).stdout == "active\n"
    fine, verdict = lab.heartbeats()
    assert not fine and all(count["failed"] >= 20 for count in verdict["hosts"].values())


def test_wrong_logins_block_the_address_until_the_hub_is_restarted(healed, engine):
    lab = healed
    right = lab.details(engine)["agent01"]
    change(lab, engine, "agent01", lambda data: data.replace(b"<Password />", b"<Password>wrong</Password>"))
    eventually(lambda: said(lab, engine, "agent01").count("Hub connection failed (403 Forbidden)\n") > 3)
    assert b"<Password />" in lab.details(engine)["agent01"] and lab.details(engine)["agent01"].count(b"<E1>") == 1
    began = time.time()
    change(lab, engine, "agent01", lambda _data: right)
    eventually(lambda: lab.heartbeats("--since", str(began))[1]["hosts"]["agent01"]["failed"] > 2)
    assert not lab.heartbeats("--since", str(began))[1]["hosts"]["agent01"]["accepted"], "the right password let it in"
    assert lab.execute(engine, "hub", "systemctl restart nnthub")[0] == 0
    assert lab.execute(engine, "agent01", "systemctl restart nntgen7agentcore")[0] == 0
    lab.ok("wait", "--port", str(OLD), "--timeout", "60")


def test_agent_told_to_refuse_a_port_does_not_come_up_on_it(healed, engine):
    lab = healed
    lab.ok("fault", "agent01", "refuse-port:%d" % OLD)
    assert lab.execute(engine, "agent01", "systemctl restart nntgen7agentcore")[0] == 0
    eventually(lambda: lab.ssh("agent01", "systemctl is-active nntgen7agentcore").stdout == "failed\n")
    assert not lab.status("agent01")["running"]
    done = lab.call("wait", "--port", str(OLD), "--timeout", "1")
    assert done.returncode == 1 and "nntgen7agentcore does not run on agent01" in done.stderr
    done = lab.call("fault", "monitored1", "refuse-port:445")
    assert (done.returncode, done.stderr) == (
        2, "monitored1 has nothing that could refuse a port: it is a host without an agent.\n")


def test_monitored_host_that_falls_silent_is_named(lab, engine):
    began = time.time()
    assert lab.execute(engine, "monitored2", "systemctl stop portshift-lab-smb")[0] == 0
    try:
        eventually(lambda: any("proxy does not say of monitored2:445 that it is fine" in objection
                               for objection in lab.heartbeats("--since", str(began))[1]["objections"]))
    finally:
        assert lab.execute(engine, "monitored2", "systemctl start portshift-lab-smb")[0] == 0
    now = time.time()
    eventually(lambda: lab.heartbeats("--since", str(now + 2))[0])


def test_reboot_of_an_agent_leaves_its_e1_good(lab, engine):
    before = lab.files(engine)["agent01"]
    engine.run("restart", "--time", "20", lab.described["hosts"]["agent01"]["container"])
    lab.ok("wait", "--port", str(OLD), "--timeout", "90")
    assert lab.files(engine)["agent01"] == before


def test_what_belongs_to_another_product_is_refused(lab, tmp_path):
    for command, arguments in (("issue", ["--port", "55000"]), ("judge", ["--port", "55000"]), ("logins", [])):
        done = lab.call(command, *arguments)
        assert done.returncode == 2 and done.stderr.endswith("that in %s is one of Change Tracker.\n" % lab.folder)
    done = lab.call("wait", "--base", "6530")
    assert done.returncode == 2 and "--port is missing" in done.stderr
    for arguments, sentence in (
            (("--replicas", "2"), "--replicas is nothing that a lab of change_tracker has.\n"),
            (("--agents", "1", "--legacy", "2"), "2 agents can't be of the older service, where there are 1.\n")):
        done = Estate(tmp_path / "none").call("start", "--product", "change_tracker", *arguments)
        assert (done.returncode, done.stderr) == (2, sentence)


def test_estate_on_another_port_with_nothing_monitored_and_remove_leaves_nothing(engine, tmp_path):
    lab = Estate(tmp_path / "lab").start("--agents", "0", "--monitored", "0", "--port", "8443", "--thumbprint", "all",
                                         "--firewalls", "none")
    try:
        assert lab.ports() == {"hub": 8443, "proxy": 8443}
        assert all(b"<Thumbprint>" in data for data in lab.details(engine).values())
        fine, verdict = lab.heartbeats()
        assert fine and verdict["monitored"] == {}, verdict["objections"]
        children = yaml.safe_load((lab.folder / "inventory.yml").read_text())["all"]["children"]
        assert children["change_tracker_agents"]["hosts"] == {}
        label = lab.label
        lab.ok("stop")
        status = json.loads(lab.ok("status", "--json"))["hosts"]["proxy"]
        assert not status["up"] and not status["running"] and status["heartbeats"]["accepted"] > 0
    finally:
        lab.stop()
    assert [engine.run(*command, "--filter", "label=" + label) for command in (
        ("ps", "--all", "--quiet"), ("network", "ls", "--quiet"))] == [b"", b""]
    assert not lab.folder.exists()


def test_count_tells_a_restart_of_the_agent_from_a_silence_and_finds_gaps():
    ledger = ("100.000 1 ok 443\n100.250 2 ok 443\n100.500 3 failed 443 offline: Connection refused\n101.000 4 ok 443\n"
              "101.100 4 stop 443\n102.000 4 start 8443\n103.000 5 ok 8443\n103.250 6 ok 8443\n103.500 7 o")
    count = Count.of(ledger, 0, [(1, 443), (2, 443), (4, 443), (5, 8443)], 104.25)
    found = count.figures()
    assert (found["accepted"], found["failed"], found["gaps"], found["own_restarts"]) == (5, 1, 1, 1)
    assert (found["longest_otherwise"], found["longest_own_restart"], found["longest_silence"]) == (0.75, 2.0, 2.0)
    assert (found["accepted_by_port"], found["last_accepted_ago"]) == ({"443": 3, "8443": 2}, 1.0)
    assert found["reasons"] == {"offline: Connection refused": 1} and count.missing_at_hub() == [6]
    assert Count.of(ledger, 103.1, [], 103.5).figures()["own_restarts"] == 0
    assert Count.of("100.0 9 sleep 443\n", 0, [], 101).figures()["sleeping"]


def test_looks_of_a_proxy_are_counted_by_host_and_port():
    seen = monitored("100.0 proxy m1 22 ok\n101.0 proxy m1 22 failed timed out\n104.0 proxy m1 22 ok\n104.0 proxy m2 445 ok\n"
                     "105.0 proxy m2 44", 0, 106.0)
    assert seen == {"proxy": {
        "m1:22": {"looks": 3, "failed": 1, "reasons": {"timed out": 1}, "longest_silence": 3.0, "last": "ok", "last_ago": 2.0},
        "m2:445": {"looks": 1, "failed": 0, "reasons": {}, "longest_silence": 0.0, "last": "ok", "last_ago": 2.0}}}
    assert monitored("100.0 proxy m1 22 ok\n", 101.0) == {}
