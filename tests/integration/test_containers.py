# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab in containers: real systemd, real firewalls, real ssh.  Molecule's scenarios are only as good as this."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab import containers, processes

pytestmark = pytest.mark.stand_ins

CHECKOUT = Path(__file__).resolve().parents[2]
OLD, NEW = 52311, 55000
FIREWALLS = {"server": "firewalld", "relay1": "ufw", "client01": "nftables", "client02": "iptables"}
ACTIVE_UNIT = {"firewalld": "firewalld", "ufw": "ufw", "nftables": "nftables", "iptables": "netfilter-persistent"}
KNOCK = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), 3).close()
        print(port, "open")
    except OSError as err:
        print(port, "refused" if err.errno == 111 else "filtered")
"""


class ContainerLab:
    def __init__(self, folder):
        self.folder = folder

    def call(self, command, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "tests.lab", command, "--dir", str(self.folder), *arguments], cwd=CHECKOUT,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600)

    def ok(self, command, *arguments):
        done = self.call(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *arguments):
        self.ok("start", "--containers", "--rate", "2", "--give-up", "120", *arguments)
        return self

    @property
    def described(self):
        return json.loads((self.folder / "lab.json").read_text())

    @property
    def label(self):
        return "%s=%s" % (containers.LABEL, self.described["containers"]["id"])

    def status(self):
        return json.loads(self.ok("status", "--json"))

    def container(self, host):
        return self.described["hosts"][host]["container"]

    def ssh(self, host, *command, stdin=None):
        return subprocess.run(["ssh", "-F", str(self.folder / "ssh/config"), host, *command], input=stdin, capture_output=True,
                              text=True, check=False, timeout=120)

    def knock(self, host, at, *ports):
        done = self.ssh(host, "python3", "-", self.described["hosts"][at]["address"], *map(str, ports), stdin=KNOCK)
        assert done.returncode == 0, done.stderr
        return dict(line.split() for line in done.stdout.splitlines())

    def stop(self):
        if (self.folder / "lab.json").exists():
            self.ok("stop", "--remove")


def there(engine, label):
    """Containers and networks with this label."""
    return [engine.run(*command, "--filter", "label=" + label).decode().split()
            for command in (("ps", "--all", "--quiet"), ("network", "ls", "--quiet"))]


@pytest.fixture(scope="module")
def lab(engine, tmp_path_factory):
    made = ContainerLab(tmp_path_factory.mktemp("containers") / "lab")
    made.start("--relays", "1", "--clients", "2")
    yield made
    made.stop()


def test_every_service_of_every_host_runs_and_every_agent_reports(lab):
    status = lab.status()
    assert list(status["hosts"]) == list(FIREWALLS)
    assert all(service["running"] for host in status["hosts"].values() for service in host["services"].values())
    assert {host["port"] for host in status["hosts"].values()} == {OLD}
    assert status["lost"] == 0
    assert all(agent["accepted"] > 0 for agent in status["agents"].values())


def test_product_is_where_it_always_is_under_its_own_service_names(lab):
    done = lab.ssh("server", "stat -c '%a %U %n' /var/opt/BESClient/besclient.config /etc/opt/BESClient/actionsite.afxm "
                   "/var/opt/BESServer/BESServer/Masthead.afxm /etc/opt/BESServer/actionsite.afxm; "
                   "systemctl is-enabled besserver besfilldb besgatherdb beswebreports besclient; systemctl is-system-running")
    assert done.stdout.splitlines() == [
        "600 root /var/opt/BESClient/besclient.config", "644 root /etc/opt/BESClient/actionsite.afxm",
        "644 root /var/opt/BESServer/BESServer/Masthead.afxm", "644 root /etc/opt/BESServer/actionsite.afxm",
        *["enabled"] * 5, "running"]


def test_ansible_reaches_the_hosts_by_ssh_with_no_variable_of_the_product(lab):
    playbook = Path(sys.executable).parent / "ansible"
    done = subprocess.run([str(playbook), "-i", str(lab.folder / "inventory.yml"), "all", "-m", "ansible.builtin.ping"],
                          cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0 and done.stdout.count('"pong"') + done.stdout.count("pong") >= len(FIREWALLS), done.stdout
    inventory = (lab.folder / "inventory.yml").read_text()
    assert "bigfix_parent: relay1" in inventory
    assert not any(name in inventory for name in ("_paths", "service_command", "bigfix_bridge", "bigfix_address"))
    assert not (lab.folder / "group_vars").exists()


@pytest.mark.parametrize("host", FIREWALLS)
def test_firewall_admits_the_old_port_and_nothing_else_also_after_a_reboot(lab, engine, host):
    peer = "client01" if host != "client01" else "client02"
    unit = ACTIVE_UNIT[FIREWALLS[host]]
    address = lab.described["hosts"][host]["address"]
    # A client listens on udp alone: its firewall lets the knock through, and the host says that no process is there.
    old_port = "open" if host in ("server", "relay1") else "refused"
    before = lab.status()["agents"][host]["accepted"]
    for _reboot in range(2):
        assert lab.ssh(host, "systemctl is-active", *ACTIVE_UNIT.values()).stdout.split().count("active") == 1
        assert lab.ssh(host, "systemctl is-active", unit).stdout.strip() == "active"
        shut = "filtered"    # no answer, or (firewalld's public zone) word that it is prohibited
        assert lab.knock(peer, host, 22, OLD, NEW, 9) == {"22": "open", str(OLD): old_port, str(NEW): shut, "9": shut}
        engine.run("restart", "--time", "20", lab.container(host))
        end = time.monotonic() + 120
        while lab.ssh(host, "systemctl is-system-running --wait").stdout.strip() != "running":
            assert time.monotonic() < end, "%s did not come back" % host
            time.sleep(0.2)
    lab.ok("wait", "--port", str(OLD), "--timeout", "120")
    assert lab.ssh(host, "ip -4 -o addr show eth0").stdout.split()[3] == address + "/24"
    status = lab.status()
    assert status["lost"] == 0
    # The agent counted on where it was.
    assert status["agents"][host]["accepted"] > before


def test_start_returns_when_the_service_serves_and_fails_when_it_does_not(lab):
    done = lab.ssh("relay1", "systemctl stop besrelay && systemctl start besrelay && python3 -c \"import socket; "
                   "socket.create_connection(('%s', %d), 1)\"" % (lab.described["hosts"]["relay1"]["address"], OLD))
    assert done.returncode == 0, done.stderr
    lab.ok("fault", "relay1", "refuse-port:%d" % OLD)
    try:
        assert lab.ssh("relay1", "systemctl restart besrelay").returncode != 0
        assert not lab.status()["hosts"]["relay1"]["services"]["besrelay"]["running"]
        assert "told to refuse this port" in lab.ssh("relay1", "journalctl -u besrelay --output=cat").stdout
    finally:
        lab.ok("fault", "relay1", "clear")
    assert lab.ssh("relay1", "systemctl start besrelay").returncode == 0
    lab.ok("wait", "--port", str(OLD), "--timeout", "60")


def test_host_can_reserve_a_port_for_itself_and_touch_nothing_of_the_machine(lab):
    reserved = Path("/proc/sys/net/ipv4/ip_local_reserved_ports").read_text()
    done = lab.ssh("client01", "sysctl -w net.ipv4.ip_local_reserved_ports=%d && cat "
                   "/proc/sys/net/ipv4/ip_local_reserved_ports" % NEW)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(NEW), done.stderr
    assert Path("/proc/sys/net/ipv4/ip_local_reserved_ports").read_text() == reserved
    assert "Read-only" in lab.ssh("client01", "echo 1 >/proc/sys/kernel/printk").stderr


def test_judge_names_what_stands_against_the_move(lab):
    lab.ok("judge", "--port", str(OLD))
    done = lab.call("judge", "--port", str(NEW))
    assert done.returncode == 1
    assert "relay1 reported through port %d last" % OLD in done.stderr


def test_hosts_know_each_other_by_name(lab):
    assert lab.ssh("client01", "getent hosts relay1").stdout.split()[0] == lab.described["hosts"]["relay1"]["address"]


def test_stopped_lab_still_tells_its_count_and_remove_leaves_nothing(engine, tmp_path):
    lab = ContainerLab(tmp_path / "lab").start("--relays", "1", "--clients", "0", "--firewalls", "none")
    label = lab.label
    assert [len(found) for found in there(engine, label)] == [2, 1]
    lab.ok("stop")
    status = lab.status()
    assert status["accepted"] > 0
    assert not any(service["running"] for host in status["hosts"].values() for service in host["services"].values())
    lab.ok("stop", "--remove")
    assert there(engine, label) == [[], []]
    assert not lab.folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_that_is_interrupted_leaves_nothing(engine, tmp_path, number):
    folder = tmp_path / "lab"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lab", "start", "--containers", "--dir", str(folder), "--relays", "1", "--clients", "1"],
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        # A shell has what it runs in the background ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    lab = ContainerLab(folder)
    end = time.monotonic() + 120
    while not (folder / "lab.json").exists() or not there(engine, lab.label)[0]:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    label = lab.label
    os.kill(process.pid, number)
    assert process.wait(120) == 1, process.stderr.read()
    process.stderr.close()
    assert there(engine, label) == [[], []]
    assert not folder.exists()


@pytest.mark.long
def test_forgotten_lab_switches_itself_off_and_the_next_one_takes_it_away(engine, tmp_path):
    lab = ContainerLab(tmp_path / "forgotten").start("--relays", "1", "--clients", "0", "--firewalls", "none", "--life", "60")
    label = lab.label
    end = time.monotonic() + 240
    while engine.run("ps", "--quiet", "--filter", "label=" + label).split():
        assert time.monotonic() < end, "its hosts still run"
        time.sleep(0.5)
    later = ContainerLab(tmp_path / "later")
    later.start("--relays", "1", "--clients", "0", "--firewalls", "none")
    try:
        assert there(engine, label) == [[], []]
    finally:
        later.stop()


def test_image_is_made_once_for_each_recipe(engine, monkeypatch):
    name = containers.image(engine)
    made = []
    monkeypatch.setattr(containers, "_make_from_packages", lambda _engine, name, _folder: made.append(name))
    monkeypatch.setattr(containers, "_make_from_registry", lambda _engine, name, _folder: made.append(name))
    assert containers.image(engine) == name and not made
    monkeypatch.setattr(containers, "PACKAGES", (*containers.PACKAGES, "nano"))
    changed = containers.image(engine)
    assert changed != name and made == [changed]


def test_image_of_the_site_is_used_where_it_names_one(engine, monkeypatch):
    name = containers.image(engine)
    monkeypatch.setenv(containers.IMAGE_VARIABLE, name)
    assert containers.image(engine) == name
    monkeypatch.setenv(containers.IMAGE_VARIABLE, "localhost:1/nowhere/portshift-lab:none")
    with pytest.raises(processes.Failed, match="pull"):
        containers.image(engine)


def test_limit_of_the_kernel_is_named_before_anything_is_made():
    with pytest.raises(processes.Failed, match="fs.inotify.max_user_instances"):
        containers.check_room(10 ** 6)


def test_engine_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(processes.Failed) as caught:
        containers.Engine()
    assert str(caught.value) == "No container can be started here: podman is not installed; docker is not installed."
