# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""port_bridge on the kernel's own packet filter, in a network namespace of the test's own."""

import os
import sys

import pytest

from tests.integration import direct_module
from tests.integration.migration_lab import Namespace

OLD, NEW, ADDRESS = 52311, 55000, "127.9.9.9"

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


@pytest.fixture(scope="module")
def namespace():
    found = Namespace()
    if found.why_not:
        found.close()
        pytest.skip("no network namespace here: %s" % found.why_not)
    yield found
    found.close()


@pytest.fixture(params=["nftables", "iptables"])
def bridge(request, namespace, tmp_path):
    command = {"nftables": "nft", "iptables": "iptables-restore"}[request.param]
    if namespace.run("sh", "-c", "PATH=$PATH:/usr/sbin command -v " + command).returncode:
        pytest.skip("the command %s is not on this machine" % command)

    def call(check=False, **arguments):
        arguments = dict(dict(name="bigfix", backend=request.param, persistent=False, rules_dir=str(tmp_path / "rules"),
                              unit_dir=str(tmp_path / "units"), lease=str(tmp_path / "host.lock"), _ansible_check_mode=check,
                              _ansible_diff=True, _ansible_remote_tmp=str(tmp_path)), **arguments)
        done = namespace.run(*direct_module.command("port_bridge", arguments))
        return direct_module.result(done.stdout, done.stderr)

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
    opened = bridge(listen_port=NEW, target_port=OLD, addresses=[ADDRESS])
    assert opened["changed"] and opened["rules"] == foretold["rules"] and opened["diff"] == foretold["diff"]
    assert answers(namespace, OLD, NEW) == ["tcp", "udp"] == answers(namespace, OLD, OLD)
    assert not bridge(listen_port=NEW, target_port=OLD, addresses=[ADDRESS])["changed"]

    turned = bridge(listen_port=OLD, target_port=NEW, addresses=[ADDRESS])
    assert turned["changed"] and turned["previous"] == opened["rules"]
    assert answers(namespace, NEW, OLD) == ["tcp", "udp"] == answers(namespace, NEW, NEW)

    assert bridge(state="absent")["changed"]
    assert answers(namespace, NEW, OLD) == []
    assert not bridge(state="absent")["changed"]


def test_foreign_rules_stay(bridge, namespace):
    assert namespace.run("nft", "add", "table", "inet", "somebody").returncode == 0
    bridge(listen_port=NEW, target_port=OLD)
    bridge(state="absent")
    assert "table inet somebody" in namespace.run("nft", "list", "ruleset").stdout
    assert "portshift" not in namespace.run("nft", "list", "ruleset").stdout.lower()


def test_bridges_that_can_not_be_are_refused_with_nothing_changed(bridge):
    for words, arguments in {
            "to itself": dict(listen_port=NEW, target_port=NEW), "70000": dict(listen_port=70000, target_port=OLD),
            "1 to 20 characters": dict(name="No Name", listen_port=NEW, target_port=OLD)}.items():
        refused = bridge(**arguments)
        assert refused["failed"] and words in refused["msg"]
    assert bridge(check=True, listen_port=NEW, target_port=OLD)["previous"] == []


def test_without_systemd_a_persistent_bridge_is_refused(bridge):
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd runs here; the unit belongs to the containers' tests")
    refused = bridge(listen_port=NEW, target_port=OLD, persistent=True)
    assert refused["failed"] and "systemd does not run here" in refused["msg"]
    assert bridge(check=True, listen_port=NEW, target_port=OLD)["previous"] == []
