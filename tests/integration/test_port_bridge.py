# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""port_bridge on the kernel's own packet filter, in a network namespace of the test's own."""

import os
import subprocess
import sys
import time

import pytest

from tests.integration import direct_module
from tests.integration.namespaces import Namespace

OLD, NEW, ADDRESS = 52311, 55000, "127.9.9.9"
HERE, PEER = "192.0.2.1", "192.0.2.2"

# Listens on OLD by TCP and UDP and says where an attempt on a given port arrives.
TALK = """
import socket, sys
address, listen, ask = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
tcp = socket.create_server((address, listen))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((address, listen))
udp.settimeout(1)
said = []
try:
    socket.create_connection((address, ask), 2).close()
    said.append("tcp")
except OSError:
    pass
try:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(b"hello", (address, ask))
    said.append("udp" if udp.recv(10) == b"hello" else "")
except OSError:
    pass
print(" ".join(said))
"""


# Answers on a port of every address, again and again on each connection.
SERVE = """
import socket, sys, threading
def serve(connection):
    while connection.recv(10):
        connection.sendall(b"well")
server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("up", flush=True)
while True:
    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()
"""
# Connects, and asks once for each line that it reads.
STAY = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
print("up", flush=True)
for line in sys.stdin:
    connection.sendall(b"hello")
    print(connection.recv(10).decode(), flush=True)
"""


class Peer(Namespace):
    """Another host: a network namespace of its own, with a cable to the first one."""

    def __init__(self, namespace):
        super().__init__(beside=namespace)
        assert not self.why_not, self.why_not
        cable = ("ip link add cable type veth peer name cable netns %d && ip addr add %s/24 dev cable && "
                 "ip addr add fd00::1/64 dev cable nodad && ip link set cable up" % (self.holder.pid, HERE))
        mine = "ip addr add %s/24 dev cable && ip addr add fd00::2/64 dev cable nodad && ip link set cable up" % PEER
        for prefix, script in ((namespace.prefix, cable), (self.prefix, mine)):
            done = subprocess.run([*prefix, "sh", "-c", script], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


class Talk:
    """A program in a namespace that says a line when it is ready, and one for each that it gets."""

    def __init__(self, prefix, program, *arguments):
        self.process = subprocess.Popen([*prefix, sys.executable, "-c", program, *map(str, arguments)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "up\n"

    def ask(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def peer(namespace):
    found = Peer(namespace)
    yield found
    found.close()


@pytest.fixture
def talk():
    """talk(prefix, program, *arguments) -> a Talk that ends with the test."""
    begun = []

    def begin(*arguments):
        begun.append(Talk(*arguments))
        return begun[-1]
    yield begin
    for one in begun:
        one.close()


@pytest.fixture(params=["nftables", "iptables"])
def backend(request):
    return request.param


@pytest.fixture
def bridge(backend, namespace, tmp_path):
    command = {"nftables": "nft", "iptables": "iptables-restore"}[backend]
    if namespace.run("sh", "-c", "PATH=$PATH:/usr/sbin command -v " + command).returncode:
        pytest.skip("the command %s is not on this machine" % command)

    def module(name, arguments):
        return namespace.module(name, dict(dict(
            name="bigfix", backend=backend, persistent=False, rules_dir=str(tmp_path / "rules"), unit_dir=str(tmp_path / "units"),
            _ansible_diff=True, _ansible_remote_tmp=str(tmp_path)), **arguments))

    def call(check=False, **arguments):
        return module("port_bridge", dict(arguments, lease=str(tmp_path / "host.lock"), _ansible_check_mode=check))

    # As outside of check mode, which is not what keeps it from changing anything.
    call.info = lambda **arguments: module("port_bridge_info", arguments)
    yield call
    assert not call(state="absent").get("failed")


def answers(namespace, listen, ask):
    done = namespace.run(sys.executable, "-c", TALK, ADDRESS, str(listen), str(ask))
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_both_ports_answer_in_either_direction_and_only_one_at_the_end(bridge, namespace):
    assert answers(namespace, OLD, NEW) == []
    foretold = bridge(check=True, listen_port=NEW, target_port=OLD, addresses=[ADDRESS])
    assert foretold["changed"] and answers(namespace, OLD, NEW) == []
    looked_at = bridge.info(listen_port=NEW, target_port=OLD, addresses=[ADDRESS])
    assert not looked_at["changed"] and "diff" not in looked_at and answers(namespace, OLD, NEW) == []
    assert {key: looked_at[key] for key in ("backend", "rules", "previous", "mappings", "missing")} == {
        key: foretold[key] for key in ("backend", "rules", "previous", "mappings", "missing")}
    assert looked_at["previous"] == [] == looked_at["mappings"]
    assert looked_at["missing"] == ["%s is not there" % line for line in foretold["rules"]]
    opened = bridge(listen_port=NEW, target_port=OLD, addresses=[ADDRESS])
    assert opened["changed"] and opened["rules"] == foretold["rules"] and opened["diff"] == foretold["diff"]
    assert answers(namespace, OLD, NEW) == ["tcp", "udp"] == answers(namespace, OLD, OLD)
    assert not bridge(listen_port=NEW, target_port=OLD, addresses=[ADDRESS])["changed"]
    there = bridge.info(listen_port=NEW, target_port=OLD, addresses=[ADDRESS])
    assert there["missing"] == [] and there["previous"] == opened["rules"] == there["rules"]
    # Without ports it is asked for what there is.
    there = bridge.info()
    assert there["mappings"] == [dict(listen_port=NEW, target_port=OLD, protocols=["tcp", "udp"])]
    assert there["missing"] == ["%s is there" % line for line in opened["rules"]] and there["rules"] == []

    turned = bridge(listen_port=OLD, target_port=NEW, addresses=[ADDRESS])
    assert turned["changed"] and turned["previous"] == opened["rules"]
    assert answers(namespace, NEW, OLD) == ["tcp", "udp"] == answers(namespace, NEW, NEW)

    assert bridge(state="absent")["changed"]
    assert answers(namespace, NEW, OLD) == []
    assert not bridge(state="absent")["changed"]


def test_foreign_rules_stay(bridge, namespace):
    assert namespace.run("nft", "add", "table", "inet", "others").returncode == 0
    bridge(listen_port=NEW, target_port=OLD)
    bridge(state="absent")
    assert "table inet others" in namespace.run("nft", "list", "ruleset").stdout
    assert "portshift" not in namespace.run("nft", "list", "ruleset").stdout.lower()


def test_bridges_that_can_not_be_are_refused_with_nothing_changed(bridge):
    for words, arguments in {
            "to itself": dict(listen_port=NEW, target_port=NEW), "70000": dict(listen_port=70000, target_port=OLD),
            "1 to 20 characters": dict(name="No Name", listen_port=NEW, target_port=OLD)}.items():
        for refused in (bridge(**arguments), bridge.info(**arguments)):
            assert refused["failed"] and words in refused["msg"]
    assert bridge.info()["previous"] == []


def test_without_systemd_a_persistent_bridge_is_refused(bridge):
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd runs here; the unit belongs to the containers' tests")
    for refused in (bridge(listen_port=NEW, target_port=OLD, persistent=True),
                    bridge.info(listen_port=NEW, target_port=OLD, persistent=True)):
        assert refused["failed"] and "systemd does not run here" in refused["msg"]
    assert bridge.info()["previous"] == []


def looked(bridge):
    """What close learns; the removal in check mode tells the same."""
    found, foretold = bridge.info(), bridge(check=True, state="absent")
    assert foretold["changed"] and not found["changed"]
    for result in (found, foretold):
        # A second may have passed between the two.
        for user in result["users"]:
            assert set(user) == {"address", "port", "seconds_ago"}
    assert (used_by(found), found["notes"], found["previous"], found["mappings"], found["missing"]) == (
        used_by(foretold), foretold["notes"], foretold["previous"], foretold["mappings"], foretold["missing"])
    assert (found["remembered_seconds"] is None) == (foretold["remembered_seconds"] is None)
    assert found["looked_at"] <= foretold["looked_at"]
    return found


def used_by(found):
    return {(user["address"], user["port"]) for user in found["users"]}


def test_who_uses_the_old_port_is_remembered(bridge, backend, namespace, peer, talk):
    talk(namespace.prefix, SERVE, NEW)
    bridge(listen_port=OLD, target_port=NEW)
    found = looked(bridge)
    assert found["users"] == [] and found["notes"] == [] and 0 <= found["remembered_seconds"] <= time.monotonic()
    # Who uses the new one does not matter, and a connection of this host's that leaves from the old number is no use of it.
    assert talk(peer.prefix, STAY, HERE, NEW).ask() == "well"
    outside = 7777 if backend == "nftables" else 7778
    answer = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("up", flush=True)
connection = server.accept()[0]
connection.sendall(b"reply")
connection.recv(10)
"""
    talk(peer.prefix, answer, PEER, outside)
    leave = ("import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('%s', %d)); "
             "s.settimeout(30); s.connect(('%s', %d)); print(s.recv(10))" % (HERE, OLD, PEER, outside))
    assert namespace.run(sys.executable, "-c", leave).stdout.strip() == "b'reply'"
    assert looked(bridge)["users"] == []

    assert talk(peer.prefix, STAY, HERE, OLD).ask() == "well"
    assert used_by(looked(bridge)) == {(PEER, OLD)}
    assert talk(peer.prefix, STAY, "fd00::1", OLD).ask() == "well"
    assert talk(namespace.prefix, STAY, HERE, OLD).ask() == "well"
    found = looked(bridge)
    assert used_by(found) == {(PEER, OLD), ("fd00::2", OLD), (HERE, OLD)}
    assert all(user["seconds_ago"] <= found["remembered_seconds"] + 1 for user in found["users"])
    # What a process of this host sends elsewhere may be rewritten to the old port, as by the bridge of before the turn.
    turned = "nft add table ip turned; nft add chain ip turned out '{ type nat hook output priority -110; }'; " \
             "nft add rule ip turned out udp dport 7000 redirect to :%d" % OLD
    assert namespace.run("sh", "-ec", turned).returncode == 0
    send = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 7000))"
    assert namespace.run(sys.executable, "-c", send).returncode == 0
    assert namespace.run("nft", "delete", "table", "ip", "turned").returncode == 0
    assert ("127.0.0.1", OLD) not in used_by(looked(bridge))
    # Laid once more nothing changes, and nothing is forgotten.
    assert not bridge(listen_port=OLD, target_port=NEW)["changed"]
    assert len(looked(bridge)["users"]) == 3
    assert used_by(bridge(state="absent")) == used_by(found)
    assert "portshift" not in namespace.run("sh", "-c", "nft list ruleset; iptables-save; ip6tables-save").stdout.lower()


def test_datagrams_and_data_count_and_each_of_several_ports_on_its_own(bridge, namespace, peer, talk):
    bridge(mappings=[dict(listen_port=6500, target_port=6530), dict(listen_port=6501, target_port=6531)], addresses=[HERE])
    send = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('%s', 6501))" % HERE)
    assert subprocess.run([*peer.prefix, sys.executable, "-c", send], check=False).returncode == 0
    # A probe, which says nothing.
    talk(namespace.prefix, SERVE, 6530)
    assert talk(peer.prefix, STAY, HERE, 6500)
    assert talk(namespace.prefix, STAY, HERE, 6500).ask() == "well"
    assert used_by(looked(bridge)) == {(PEER, 6501), (HERE, 6500)}


def test_connection_that_stands_already_is_seen_after_a_bridge_of_an_earlier_version_is_laid_anew(
        bridge, backend, namespace, peer, talk):
    talk(namespace.prefix, SERVE, NEW)
    bridge(listen_port=OLD, target_port=NEW)
    forget = {
        "nftables": "; ".join("nft flush chain inet portshift_bigfix users_%s; nft delete chain inet portshift_bigfix users_%s"
                              % (hook, hook) for hook in ("prerouting", "output")),
        "iptables": "; ".join("%s -t mangle -D PREROUTING -j PORTSHIFT-bigfix; %s -t mangle -D OUTPUT -j PORTSHIFT-bigfix; "
                              "%s -t mangle -F PORTSHIFT-bigfix; %s -t mangle -X PORTSHIFT-bigfix" % ((tool,) * 4)
                              for tool in ("iptables", "ip6tables"))}[backend]
    assert namespace.run("sh", "-ec", forget).returncode == 0
    agent = talk(peer.prefix, STAY, HERE, OLD)
    assert agent.ask() == "well"
    found = looked(bridge)
    assert (found["users"], found["remembered_seconds"]) == ([], None)
    assert "port %d is not remembered on this host: its bridge was laid by an earlier version" % OLD in found["notes"][0]

    assert bridge(check=True, listen_port=OLD, target_port=NEW)["changed"]
    assert bridge.info(listen_port=OLD, target_port=NEW)["missing"] == ["who uses the ports is not remembered"]
    assert bridge(listen_port=OLD, target_port=NEW)["changed"]
    assert looked(bridge)["users"] == []
    assert agent.ask() == "well"
    assert used_by(looked(bridge)) == {(PEER, OLD)}


def test_text_that_could_become_a_part_of_a_script_is_refused_before_anything_is_written(bridge):
    for check in (False, True):
        refused = bridge(check=check, listen_port=NEW, target_port=OLD, addresses=["192.0.2.7; flush ruleset"])
        assert refused["failed"]
        assert refused["msg"].startswith("addresses is '192.0.2.7; flush ruleset', which is not an IP address")
    assert bridge.info()["previous"] == []


@pytest.mark.parametrize("name, more", [
    ("bigfix_cutover", dict(component="client", port=NEW, services=["besclient"], service_command=["/bin/false"],
                            masthead_paths=[], settings_paths=[])),
    ("confirmed_change", dict(name="boks", new_port=NEW, old_port=OLD, stop=[["/bin/false"]], start=[["/bin/false"]])),
    ("confirmed_change", dict(name="boks", state="reverted", stop=[["/bin/false"]], start=[["/bin/false"]]))])
@pytest.mark.parametrize("check", [False, True])
def test_what_moves_a_host_refuses_such_an_address_while_its_product_still_runs(name, more, check, tmp_path):
    services = tmp_path / "services"
    services.write_text("boks 6500/tcp\n")
    bridge = dict(name="bigfix", addresses=["127.0.0.1; reboot"], persistent=False)
    if name == "confirmed_change":
        bridge["mappings"] = [dict(old=OLD, new=NEW)]
        more = dict(more, services_entries=[dict(path=str(services), name="boks", port=6530)],
                    state_dir=str(tmp_path / "state"), unit_dir=str(tmp_path / "units"))
    arguments = dict(more, record=str(tmp_path / "record.json"), bridge=bridge, _ansible_check_mode=check,
                     _ansible_remote_tmp=str(tmp_path))
    done = direct_module.run(name, arguments)
    refused = direct_module.result(done.stdout, done.stderr)
    assert refused["failed"], refused
    assert refused["msg"].startswith("addresses is '127.0.0.1; reboot', which is not an IP address")
    assert services.read_text() == "boks 6500/tcp\n" and not (tmp_path / "record.json").exists()
