# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What earlier versions left of a hub's server, in the packet filter and in a host's lease is found by the collection of today.

By its modules alone.  What lies in files is in tests/unit/test_earlier_versions.py; see earlier_versions.py beside this one.
"""

import os
import re

import pytest

from tests.integration import earlier_versions as earlier
from tests.integration.earlier_versions import (
    NEW, OLD, STATE, Ground, NginxHub, boot_clock, has_come_back, kept, well)
from tests.integration.nginx_hub import NGINX


@pytest.fixture(scope="module")
def own_network(tmp_path_factory):
    found = Ground(tmp_path_factory.mktemp("ground"))
    if found.why_not:
        found.close()
        pytest.skip("no network namespace here: %s" % found.why_not)
    found.begin()
    yield found
    found.close()


@pytest.fixture(params=earlier.VERSIONS)
def version(request):
    return request.param


# -- the hub

@pytest.fixture
def nginx(own_network, version):
    if not NGINX:
        pytest.skip("nginx is not installed here (Debian: nginx-light)")
    host = NginxHub(own_network)

    def load(state):
        own_network.load(version, "nginx_" + state)
        host.start()
        return host
    yield load
    host.stop()


@pytest.mark.parametrize("state, word, ports", [
    ("opened", "changing", (8443, 9443)), ("closed", "changing", (9443,)), ("restored", "rolled_back", (8443,))])
def test_nginx_hub_is_read_and_taken_back(nginx, version, state, word, ports):
    host = nginx(state)
    assert tuple(map(int, re.findall(r"(?m)^    listen (\d+)", host.text()))) == ports
    seen = well(host.record())
    assert (seen["record"]["state"], seen["ok"]) == (word, True)
    if state != "restored":
        again = well(host.listen("present" if state == "opened" else "absent"))
        assert again["changed"] is False and again["ports"]["after"] == list(ports)
    back = well(host.listen("restored"))
    assert back["changed"] is (state != "restored")
    has_come_back(host.ground, version, "nginx_before")
    assert host.record()["record"]["state"] == "rolled_back"


def test_nginx_hub_is_closed_with_the_record_of_the_earlier_version(nginx):
    host = nginx("opened")
    closed = well(host.listen("absent"))
    assert closed["changed"] and closed["ports"]["after"] == [host.NEW]
    assert host.record()["record"]["files"][0]["sha256_before"] and host.record()["ok"]


# -- what the products of a host share

@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_bridge_is_known_turned_and_taken_away(own_network, version, backend):
    ground = own_network.load(version, "bridge_" + backend, systemd=True)
    if ground.command("sh", "-c", "command -v %s" % {"nftables": "nft", "iptables": "iptables-restore"}[backend],
                      check=False).returncode:
        pytest.skip("%s is not on this machine" % backend)
    files = ground.tree()
    [unit] = [os.path.basename(path) for path in files if path.endswith(".service")]
    for path in ground.path("etc/portshift").iterdir():
        path.chmod(0o644)
    # As at a boot.
    ground.command("systemctl", "enable", "--now", unit)
    same = well(earlier.bridge(ground, backend))
    assert same["previous"] == same["rules"] and len(same["rules"]) == 4, same
    assert same["changed"] is False and ground.tree() == files
    turned = well(earlier.bridge(ground, backend, listen=OLD, target=NEW))
    assert turned["changed"] and turned["previous"] == same["rules"] and str(OLD).encode() in b"".join(ground.tree().values())
    gone = well(earlier.bridge(ground, backend, "absent"))
    assert gone["changed"] and gone["previous"] == turned["rules"] and gone["rules"] == []
    assert not [path for path in ground.tree() if "bridge" in path]
    assert "portshift" not in ground.command("sh", "-c", "nft list ruleset; iptables-save").stdout.lower()


def test_bridge_is_taken_away_where_it_is_not_told_what_laid_it(own_network, version):
    ground = own_network.load(version, "bridge_iptables", systemd=True)
    gone = well(earlier.bridge(ground, "auto", "absent"))
    assert gone["changed"] and not [path for path in ground.tree() if "bridge" in path]


@pytest.fixture
def host_port(own_network, version):
    def load(state):
        own_network.load(version, "host_port_" + state)
        own_network.put_into_etc()
        own_network.command("systemctl", "enable", "nftables.service", check=False)
        own_network.command("nft", "-f", "/etc/nftables.conf")
        return own_network
    return load


def admitted(ground):
    return sorted(set(map(int, re.findall(r"dport (\d+)", ground.command("nft", "list", "ruleset").stdout))))


def nftables_conf(ground):
    return ground.etc.joinpath("nftables.conf").read_bytes()


@pytest.mark.parametrize("state, ports", [("open", [22, OLD, NEW]), ("closed", [22, NEW])])
def test_opened_ports_are_known_and_taken_back(host_port, version, state, ports):
    ground = host_port(state)
    assert admitted(ground) == ports
    same = well(earlier.host_port(ground, "open") if state == "open" else earlier.host_port(ground, "closed", [OLD]))
    assert same["changed"] is False
    back = well(earlier.host_port(ground, "restored"))
    assert back["changed"] and admitted(ground) == [22, OLD]
    # What was taken out of the site's own file comes back as a rule, not at its place.
    if state == "open":
        assert nftables_conf(ground) == kept(version, "host_port_before")["etc/nftables.conf"]
    assert well(earlier.host_port(ground, "restored"))["changed"] is False
    assert not ground.path(earlier.HOST_PORT_RECORD).exists()


def test_closed_ports_are_opened_again_and_opened_ones_closed(host_port):
    ground = host_port("closed")
    assert well(earlier.host_port(ground, "reopened"))["changed"] and admitted(ground) == [22, OLD, NEW]
    ground = host_port("open")
    assert well(earlier.host_port(ground, "closed", [OLD]))["changed"] and admitted(ground) == [22, NEW]


# -- the lease of a host

def lease(ground, **values):
    path = STATE + "/host.lock"
    content = ground.json(path)
    content["holder"].update(dict(since=boot_clock() - 5, renewed=boot_clock() - 5, expires=boot_clock() + 3600), **values)
    ground.change_json(path, **content)


def test_lease_of_a_task_that_lives_is_kept(own_network, version):
    ground = own_network.load(version, "lease_held")
    own = os.getpid()
    lease(ground, pid=own, process_start=earlier.process_start(own), pid_namespace=os.readlink("/proc/self/ns/pid"))
    refused = earlier.bridge(ground, "nftables", persistent=False)
    assert refused["failed"] and "boks: port bridge (root@" in refused["msg"] and "nothing was changed" in refused["msg"]


@pytest.mark.parametrize("why, values", [
    ("that process has ended", {}), ("this host has been booted since", dict(host_boot="of-before", boot="of-before"))])
def test_lease_of_a_task_that_has_ended_is_taken_over(own_network, version, why, values):
    ground = own_network.load(version, "lease_held")
    # No process has this number.
    lease(ground, **dict(dict(pid=2 ** 22 + 1, pid_namespace=os.readlink("/proc/self/ns/pid")), **values))
    taken = well(earlier.bridge(ground, "nftables", persistent=False))
    assert taken["changed"] and why in str(taken["notes"]) and "boks: port bridge" in str(taken["notes"])
    assert not ground.path(STATE, "host.lock").exists()
