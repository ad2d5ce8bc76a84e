# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The BoKS lab: a domain in containers whose logins by ssh ask BoKS.  What it shows of a migration is only as good as this."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.integration.boks_estate import NEW, OLD, Domain
from tests.integration.migration_lab import CHECKOUT
from tests.integration.product_lab import eventually
from tests.lab.boks.logins import Count

pytestmark = pytest.mark.stand_ins

BOKSADM = "/opt/boksm/sbin/boksadm -S "
FIREWALLS = {"master": "firewalld", "replica1": "ufw", "agent01": "nftables"}
LISTENING = {
    "master": {"6500/tcp", "6501/tcp", "6501/udp", "6503/tcp"},
    "replica1": {"6501/tcp", "6501/udp", "6502/tcp", "6503/tcp"},
    "agent01": {"6503/tcp"},
}
SET_BASE = r"sed -i 's/^\(boks \+\)[0-9]*/\1%d/' /etc/services"
KNOCK = """
import socket, sys
for port in range(6499, 6506):
    try:
        socket.create_connection((sys.argv[1], port), 2).close()
        print(port)
    except ConnectionRefusedError:
        print(port, "refused")
    except OSError:
        pass
"""


@pytest.fixture(scope="module")
def lab(engine, tmp_path_factory):
    made = Domain(tmp_path_factory.mktemp("boks") / "lab")
    try:
        yield made.start("--replicas", "1", "--agents", "1", "--services", "redhat",
                         "--firewalls", ",".join(FIREWALLS.values()))
    finally:
        made.stop()


@pytest.fixture
def healed(lab, engine):
    """For tests that change a host: afterwards it is as it was."""
    yield lab
    for host in FIREWALLS:
        code, said = lab.execute(engine, host, "rm -f /opt/portshift-lab/fault; sed -i /BRIDGE_DOMAIN/d /etc/opt/boksm/ENV; "
                                 "%s; %sBoot -k; %sBoot" % (SET_BASE % OLD, BOKSADM, BOKSADM))
        assert code == 0, said
    lab.ok("wait", "--base", str(OLD), "--timeout", "60")


def bound(lab, host):
    """-> {"PORT/PROTOCOL"} of the daemons of BoKS"""
    said = lab.ssh(host, "ss -Hltnup | grep boks_init").stdout
    return {"%s/%s" % (line.split()[4].rsplit(":", 1)[1], line.split()[0]) for line in said.splitlines()}


def test_every_host_listens_where_its_role_has_to_and_lets_users_in(lab):
    for host, status in lab.status().items():
        assert (status["running"], status["base"], set(status["listening"])) == (True, OLD, LISTENING[host])
        # Not at once: while a daemon asks where the Master is, it has one more port, from which it asks.
        eventually(lambda host=host: bound(lab, host) == LISTENING[host])
        assert status["login"].startswith("allow ")
        assert lab.ssh(host, "true").returncode == 0
    fine, verdict = lab.logins()
    assert fine, verdict["objections"]
    assert all(count["attempts"] > 0 and count["refused_otherwise"] == 0 for count in verdict["hosts"].values())
    # Not each of them: an answer may be late where all hosts share a busy machine.
    assert verdict["hosts"]["agent01"]["allowed"] > verdict["hosts"]["agent01"]["without_udp"]


def test_product_is_where_it_always_is_and_roles_are_groups_of_the_inventory(lab):
    done = lab.ssh("agent01", "stat -c '%a %n' /etc/opt/boksm/ENV /etc/opt/boksm/nodekey /etc/opt/boksm/bcastaddr "
                   "/var/opt/boksm/boks_errlog /opt/boksm/sbin/boksadm /opt/boksm/sbin/Boot; systemctl is-enabled boksm; "
                   "systemctl is-system-running; grep BOKSINIT /etc/opt/boksm/ENV; "
                   "getent services boks/tcp boks/udp boks_servc/tcp")
    assert done.stdout.splitlines() == [
        "644 /etc/opt/boksm/ENV", "600 /etc/opt/boksm/nodekey", "644 /etc/opt/boksm/bcastaddr",
        "644 /var/opt/boksm/boks_errlog", "755 /opt/boksm/sbin/boksadm", "755 /opt/boksm/sbin/Boot", "enabled", "running",
        "BOKSINIT=client", "boks                  6500/tcp", "boks                  6500/udp",
        "boks_servc            6501/tcp boks-servc"]
    inventory = (lab.folder / "inventory.yml").read_text()
    assert [line.strip() for line in inventory.splitlines() if line.strip().startswith("boks_")] == [
        "boks_master:", "boks_replicas:", "boks_agents:"]


@pytest.mark.parametrize("host", FIREWALLS)
def test_firewall_admits_what_the_role_needs_on_the_old_base_and_nothing_else(lab, host):
    peer = "agent01" if host != "agent01" else "replica1"
    assert lab.status(host)["firewall"] == FIREWALLS[host]
    done = lab.ssh(peer, "python3 - %s" % lab.described["hosts"][host]["address"], stdin=KNOCK)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(port.split("/")[0] for port in LISTENING[host] if port.endswith("/tcp"))


def test_boksdiag_ends_each_line_in_a_status_and_checkdomain_finds_the_agent(healed, engine):
    lab = healed
    for host, seen in (("master", ["OK", "OK"]), ("replica1", ["OK", "OK"]), ("agent01", ["OK", "OK"])):
        done = lab.ssh(host, BOKSADM + "boksdiag list")
        assert done.returncode == 0, done.stderr
        assert [line.split()[-1] for line in done.stdout.splitlines()] == ["Status", *seen]
    assert lab.ssh("master", BOKSADM + "checkdomain -h agent01").returncode == 0
    for host in ("replica1", "agent01"):
        assert lab.execute(engine, host, BOKSADM + "Boot -k")[0] == 0
    eventually(lambda: lab.status("master")["servers"] == {"master": "OK", "replica1": "Down"})
    assert "replica1" in lab.ssh("master", BOKSADM + "boksdiag list | grep Down").stdout
    done = lab.ssh("master", BOKSADM + "checkdomain -h agent01")
    assert done.returncode == 1 and "BoKS is not running or not reached on port 6503" in done.stderr
    assert "Can't contact servm on replica1" in lab.ssh("master", "cat /var/opt/boksm/boks_errlog").stdout


def test_agent_with_a_wrong_services_entry_refuses_new_logins_only_once_it_is_restarted(healed, engine):
    lab = healed
    began = time.time()
    assert lab.ssh("agent01", SET_BASE % NEW).returncode == 0
    assert lab.ssh("agent01", "true").returncode == 0, "daemons look the port up once, at their start"
    # One who is in already stays in, as an Ansible connection does, and can restart it.
    done = lab.ssh("agent01", BOKSADM + "Boot -k; " + BOKSADM + "Boot; cat /var/opt/boksm/boks_errlog")
    assert done.returncode == 0 and "BoKS has started as agent, base port %d" % NEW in done.stdout
    assert lab.ssh("agent01", "true").returncode == 255
    status = lab.status("agent01")
    assert (status["base"], status["listening"], status["login"].split()[0]) == (NEW, ["6533/tcp"], "refuse")
    assert "6531" in status["login"]
    assert lab.call("wait", "--base", str(NEW), "--timeout", "1").returncode == 1
    eventually(lambda: not lab.logins("--since", str(began))[0])
    _fine, verdict = lab.logins("--since", str(began), "--ssh", "1", "--every", "0.5")
    agent = verdict["hosts"]["agent01"]
    assert agent["refused_otherwise"] > 0 and not agent["allowed_last"] and "6531" in " ".join(agent["reasons"])
    assert verdict["ssh"]["refused_otherwise"] > 0
    assert all(verdict["hosts"][host]["refused_otherwise"] == 0 for host in ("master", "replica1"))
    # The test itself always gets in.
    assert lab.execute(engine, "agent01", "true")[0] == 0


def test_bridge_domain_shifts_the_base_port_by_ten(healed, engine):
    lab = healed
    assert lab.execute(engine, "agent01", "echo BRIDGE_DOMAIN=3 >>/etc/opt/boksm/ENV; %sBoot -k; %sBoot" % (
        BOKSADM, BOKSADM))[0] == 0
    assert lab.status("agent01")["base"] == OLD + 30


def test_any_one_server_lets_agents_in_and_a_restart_counts_as_one(healed, engine):
    lab = healed
    began = time.time()
    for host in ("master", "replica1"):
        assert lab.execute(engine, host, BOKSADM + "Boot -k")[0] == 0
        assert lab.ssh("agent01", "true").returncode == 0
        refused = lab.ssh(host, "true")
        assert refused.returncode == 255, "%s lets people in with its own BoKS stopped" % host
        assert lab.execute(engine, host, BOKSADM + "Boot")[0] == 0
        eventually(lambda: lab.status("agent01")["servers"] == {"master": "OK", "replica1": "OK"})
    fine, verdict = lab.logins("--since", str(began))
    assert fine, verdict["objections"]
    assert verdict["hosts"]["agent01"]["refused_own_restart"] == 0
    assert all(verdict["hosts"][host]["refused_own_restart"] > 0 for host in ("master", "replica1"))
    done = lab.call("logins", "--since", str(began), "--longest", "0.01")
    assert done.returncode == 1 and "master let no user in for" in done.stderr


def test_boot_that_can_not_serve_says_why_and_a_stop_of_nothing_fails(healed, engine):
    lab = healed
    assert lab.execute(engine, "agent01", BOKSADM + "Boot") == (0, "BoKS is running already.\n")
    lab.ok("fault", "agent01", "refuse-port:6503")
    assert lab.execute(engine, "agent01", BOKSADM + "Boot -k")[0] == 0
    assert lab.execute(engine, "agent01", BOKSADM + "Boot -k") == (1, "BoKS is not running.\n")
    assert lab.execute(engine, "agent01", BOKSADM + "Boot") == (
        1, "BoKS does not start: told to refuse this port: 6503.\n")
    lab.ok("fault", "agent01", "clear")
    code, said = lab.execute(engine, "agent01", "python3 -c \"import socket, subprocess; s = socket.create_server(('', 6503)); "
                             "exit(subprocess.call('%sBoot', shell=True))\"" % BOKSADM)
    assert (code, said) == (1, "BoKS does not start: clntd can't listen on port 6503/tcp: Address already in use.\n")


@pytest.mark.parametrize("host", ["replica1", "agent01"])
def test_reboot_brings_boks_back(lab, engine, host):
    engine.run("restart", "--time", "20", lab.described["hosts"][host]["container"])
    lab.ok("wait", "--base", str(OLD), "--timeout", "90")
    eventually(lambda: lab.ssh(host, "systemctl is-system-running --wait").stdout == "running\n", 60)
    assert set(lab.status(host)["listening"]) == LISTENING[host]


def test_what_belongs_to_the_other_product_is_refused(lab, tmp_path):
    for command, arguments in (("issue", ["--port", "55000"]), ("judge", ["--port", "55000"])):
        done = lab.call(command, *arguments)
        assert done.returncode == 2 and "is one of BoKS" in done.stderr
    done = lab.call("wait", "--port", "55000")
    assert done.returncode == 2 and "--base is missing" in done.stderr
    done = Domain(tmp_path / "none").call("start", "--product", "boks", "--relays", "2")
    assert (done.returncode, done.stderr) == (2, "--relays is nothing that a lab of boks has.\n")
    done = Domain(tmp_path / "none").call("start", "--base", "6530")
    assert (done.returncode, done.stderr) == (2, "--base is nothing that a lab of bigfix has.\n")


def test_debian_without_an_entry_has_the_default_and_remove_leaves_nothing(engine, tmp_path):
    lab = Domain(tmp_path / "lab").start("--replicas", "0", "--agents", "0", "--firewalls", "none")
    try:
        assert lab.execute(engine, "master", "getent services boks/tcp")[0] == 2
        assert lab.status("master")["base"] == OLD
        label = lab.label
        lab.ok("stop")
        status = lab.status("master")
        assert not status["running"] and status["logins"]["attempts"] > 0
    finally:
        lab.stop()
    assert [engine.run(*command, "--filter", "label=" + label) for command in (
        ("ps", "--all", "--quiet"), ("network", "ls", "--quiet"))] == [b"", b""]
    assert not lab.folder.exists()


def test_domain_elsewhere_has_its_entry_and_an_interrupted_start_leaves_nothing(engine, tmp_path):
    folder = tmp_path / "lab"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lab", "start", "--product", "boks", "--dir", str(folder), "--replicas", "0", "--agents",
         "1", "--base", "7010", "--bridge-domain", "1", "--firewalls", "none"],
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    lab = Domain(folder)
    entry = folder / "hosts/agent01/etc/services"
    eventually(lambda: process.poll() is not None or entry.exists(), 120)
    assert entry.read_text().endswith("boks\t\t7000/tcp\n")
    label = lab.label
    eventually(lambda: process.poll() is not None or engine.run("ps", "--all", "--quiet", "--filter", "label=" + label), 120)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(120) == 1, process.stderr.read()
    process.stderr.close()
    assert engine.run("ps", "--all", "--quiet", "--filter", "label=" + label) == b""
    assert not folder.exists()


def test_count_tells_a_restart_of_the_own_daemon_from_a_refusal():
    ledger = ("100.000 allow 10.0.0.1:6501 udp\n100.200 own BoKS of this host is not running\n100.400 own x\n"
              "101.000 allow 10.0.0.1:6501 no-udp\n101.200 refuse 10.0.0.1:6501: Connection refused\n101.400 refu")
    count = Count.of(ledger).figures(now=102.0)
    assert (count["attempts"], count["allowed"], count["refused_own_restart"], count["refused_otherwise"]) == (5, 2, 2, 1)
    assert (count["without_udp"], count["longest_refusal"], count["longest_silence"]) == (1, 0.8, 0.6)
    assert (count["allowed_last"], count["last_ago"]) == (False, 0.8)
    assert count["reasons"] == {"10.0.0.1:6501: Connection refused": 1}
    assert Count.of(ledger, since=101.0).figures()["refused_own_restart"] == 0
