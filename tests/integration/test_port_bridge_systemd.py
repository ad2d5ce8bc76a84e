# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role port_bridge on hosts with systemd and each kind of firewall: both ports answer a peer over whatever happens to it."""

import json
import os
import time

import pytest

from tests.conftest import CHECKOUT, COLLECTIONS
from tests.integration import container_site, forked, podman_connection
from tests.lab import containers, firewalls

SERVICE, SECOND = 52311, 55000
RUN = "portshift-bridge-%d" % os.getpid()
BOOT_SECONDS = 120
# What rules the packet filter of each host, and what a site does to it on an ordinary day.
HOSTS = {"firewalld": "firewalld", "ufw": "ufw", "nftables": "nftables", "iptables": "netfilter-persistent"}
UPSETS = {
    "firewalld": ("firewall-cmd --reload", "firewall-cmd --complete-reload", "systemctl restart firewalld"),
    "ufw": ("ufw reload", "systemctl restart ufw"),
    "nftables": ("systemctl reload nftables", "systemctl restart nftables"),
    "iptables": ("netfilter-persistent reload", "systemctl restart netfilter-persistent"),
}
# Says by which protocol it was asked.
ECHO = """
import os, selectors, socket
ready = selectors.DefaultSelector()
tcp = socket.create_server(("", %d))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", %d))
ready.register(tcp, selectors.EVENT_READ)
ready.register(udp, selectors.EVENT_READ)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
    manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    for key, _events in ready.select():
        if key.fileobj is tcp:
            with tcp.accept()[0] as caller:
                caller.sendall(b"tcp")
        else:
            udp.sendto(b"udp", udp.recvfrom(100)[1])
""" % (SERVICE, SERVICE)
UNIT = """[Unit]
After=network.target
[Service]
Type=notify
ExecStart=/usr/bin/python3 -u /opt/echo.py
[Install]
WantedBy=multi-user.target
"""
# A datagram may be lost on a busy machine, so it is sent again; a connection is tried once.
ASK = """
import socket, sys
for port in map(int, sys.argv[2:]):
    try:
        with socket.create_connection((sys.argv[1], port), 3) as tcp:
            print(port, tcp.recv(10).decode())
    except OSError:
        pass
    for _attempt in range(3):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(1)
            try:
                udp.connect((sys.argv[1], port))
                udp.send(b"hello")
                print(port, udp.recv(10).decode())
                break
            except OSError:
                pass
"""
ANSWERS_ON_ONE = {"%d tcp" % SERVICE, "%d udp" % SERVICE}
ANSWERS_ON_BOTH = ANSWERS_ON_ONE | {"%d tcp" % SECOND, "%d udp" % SECOND}


class Site:
    """A container for each kind of firewall, and one more as their peer."""

    def __init__(self, engine, folder):
        self.engine, self.folder, self.label = engine, folder, "portshift.bridge=%s" % RUN
        self.addresses = {}

    def start(self):
        subnet = containers.make_network(self.engine, RUN, self.label)
        self.addresses = dict(zip([*HOSTS, "peer"], containers.addresses(subnet, len(HOSTS) + 1)))
        containers.at_once(self._make, self.addresses)
        containers.at_once(self.await_boot, self.addresses)

    def _make(self, host):
        options = ["--name", self.container(host), "--hostname", host, "--label", self.label, "--network", RUN,
                   "--ip", self.addresses[host]] + self.engine.host_options()
        # Engines give a new one at each start; a host keeps its own over a boot, and its neighbours count on that.
        options += ["--mac-address", "02:" + ":".join("%02x" % int(octet) for octet in ("80." + self.addresses[host]).split("."))]
        self.engine.run("create", *options, containers.image(self.engine, host == "iptables"), containers.INIT)
        self.engine.run("cp", str(self._files(host)) + "/.", self.container(host) + ":/")
        self.engine.run("start", self.container(host))

    def _files(self, host):
        """What this host has beside the image: the service, and a firewall that admits the service's own port alone."""
        root = self.folder / host
        files, links = firewalls.configured(host if host in HOSTS else "none", [(SERVICE, "tcp"), (SERVICE, "udp")])
        files = dict(files, **{"opt/echo.py": (ECHO, 0o644), "etc/systemd/system/echo.service": (UNIT, 0o644)})
        # No test comes by ssh, whose host keys are not in the image.
        links = dict(links, **{"etc/systemd/system/multi-user.target.wants/echo.service": "../echo.service",
                               "etc/systemd/system/ssh.service": "/dev/null"})
        for path, (text, mode) in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
            (root / path).chmod(mode)
        for path, target in links.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(target)
        return root

    @staticmethod
    def container(host):
        return "%s-%s" % (RUN, host)

    def execute(self, host, *command, stdin=None):
        how = {} if stdin is None else {"stdin": stdin.encode()}
        return self.engine.enter(self.container(host), *command, **how).decode("utf-8", "replace")

    def await_boot(self, host):
        end = time.monotonic() + BOOT_SECONDS
        while True:
            state = self.engine.enter(self.container(host), "systemctl", "is-system-running", "--wait", check=False)[1]
            if state.strip() == b"running":
                return
            assert state.strip() != b"degraded" and time.monotonic() < end, "%s did not come up: %s %s" % (
                host, state.decode(), self.execute(host, "systemctl", "--failed", "--no-legend"))
            time.sleep(0.1)

    def reboot(self, host):
        self.engine.run("restart", "--time", "20", self.container(host))
        self.await_boot(host)

    def answers(self, host):
        return set(self.execute("peer", "python3", "-", self.addresses[host], str(SERVICE), str(SECOND),
                                stdin=ASK).splitlines())

    def traces(self, host):
        """Everything that a bridge leaves on a host: rules, units, wants links, files."""
        return self.execute(host, "sh", "-ec", """
            nft list ruleset | grep -i portshift || :
            for tool in iptables-save ip6tables-save; do $tool | grep -i portshift || :; done
            find /etc/systemd /run/systemd /etc/portshift -name '*portshift*' ! -name '*portshift-lab*' 2>/dev/null || :
            systemctl list-units --all --plain --no-legend '*portshift-bridge*'""").split("\n")[:-1]

    def remembers(self, host):
        """Whether the bridge knows that the peer used the second port."""
        listed = self.execute(host, "sh", "-c", "nft list set inet portshift_echo users_4 2>/dev/null || "
                              "cat /proc/net/xt_recent/portshift_echo_%d_4" % SECOND)
        return self.addresses["peer"] in listed

    def play(self, host, *options, verb=None):
        """The role on one host -> the finished ansible-playbook."""
        inventory, play = self.folder / "inventory.json", self.folder / "play.json"
        inventory.write_text(json.dumps({"all": {"hosts": {
            host: podman_connection.variables(self.engine, self.container(host), self.folder)}}}))
        role = {"name": "portshift.agents.port_bridge", **({"tasks_from": verb} if verb else {})}
        play.write_text(json.dumps([{
            "name": "Bridge", "hosts": host, "gather_facts": False,
            "tasks": [{"name": "Role", "ansible.builtin.include_role": role, "vars": {
                "port_bridge_name": "echo", "port_bridge_listen_port": SECOND, "port_bridge_target_port": SERVICE,
                "port_bridge_backend": "iptables" if host == "iptables" else "auto"}}]}]))
        return forked.run(
            "ansible", ["playbook", "-i", inventory, play, *options], timeout=300, cwd=CHECKOUT, merged=True,
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=COLLECTIONS, ANSIBLE_NOCOLOR="1", ANSIBLE_PIPELINING="1"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with container_site.running(lambda engine: Site(engine, tmp_path_factory.mktemp("bridge"))) as made:
        yield made


# A front end of each of the two kinds of rules is enough for every run.
@pytest.mark.parametrize("host", [
    pytest.param(host, marks=[] if host in ("nftables", "firewalld") else pytest.mark.long) for host in HOSTS])
def test_both_ports_answer_over_reloads_and_a_boot_and_close_leaves_no_trace(site, host):
    assert site.execute(host, "systemctl", "is-active", HOSTS[host]).strip() == "active"
    assert (site.answers(host), site.traces(host)) == (ANSWERS_ON_ONE, [])
    done = site.play(host)
    assert done.returncode == 0 and "changed=1 " in done.stdout, done.stdout
    # The firewall was asked for nothing: it sees the service's own port, which it admits.
    assert site.answers(host) == ANSWERS_ON_BOTH
    for upset in UPSETS[host]:
        site.execute(host, *upset.split())
        assert site.answers(host) == ANSWERS_ON_BOTH, "after %s" % upset
    site.reboot(host)
    assert site.execute(host, "systemctl", "is-active", HOSTS[host]).strip() == "active"
    assert not site.remembers(host) and site.answers(host) == ANSWERS_ON_BOTH and site.remembers(host)
    again = site.play(host)
    assert again.returncode == 0 and "changed=0 " in again.stdout, again.stdout

    closed = site.play(host, verb="close")
    assert closed.returncode == 0 and "changed=1 " in closed.stdout, closed.stdout
    assert (site.answers(host), site.traces(host)) == (ANSWERS_ON_ONE, [])
    site.reboot(host)
    assert (site.answers(host), site.traces(host)) == (ANSWERS_ON_ONE, [])


def test_bridge_to_a_service_that_does_not_run_is_refused_with_nothing_changed(site):
    host = "nftables"
    site.execute(host, "systemctl", "stop", "echo")
    try:
        refused = site.play(host)
    finally:
        site.execute(host, "systemctl", "start", "echo")
    assert refused.returncode != 0 and "changed=0 " in refused.stdout, refused.stdout
    assert str(SERVICE) in refused.stdout and site.traces(host) == []
