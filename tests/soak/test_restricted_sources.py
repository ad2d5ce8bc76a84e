# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The new port admitted to those who connect there and to no others: firewalld, ufw, nftables and iptables of real hosts."""

import re

import pytest

from tests.integration.container_estate import Estate
from tests.integration.migration_lab import NEW, OLD
from tests.lab import containers, processes

pytestmark = pytest.mark.long

RULES = r"""
firewall-cmd --list-rich-rules 2>/dev/null
firewall-cmd --permanent --list-rich-rules 2>/dev/null
nft list ruleset 2>/dev/null
iptables-save 2>/dev/null
true
"""
KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print("open")
except OSError:
    print("shut")
"""


@pytest.fixture(scope="module")
def estate(tmp_path_factory):
    try:
        engine = containers.Engine()
    except processes.Failed as err:
        pytest.skip(str(err))
    made = Estate(tmp_path_factory.mktemp("restricted") / "lab", engine)
    try:
        # Agents give a report up after two minutes: a port that is shut to one of them loses reports all the same, a slow machine
        # does not.
        yield made.start("--firewalls", "firewalld,ufw,nftables,iptables", clients=3)
    finally:
        made.stop()


def admitted(estate, host):
    """{(protocol, source)} of everything that the rules of the host say of the new port; source None: any address."""
    found = set()
    for line in estate.execute(host, "sh", "-c", RULES).splitlines():
        if str(NEW) not in line or "accept" not in line.lower():
            continue
        source = re.search(r'(?:saddr |address="|-s )([0-9.]+)', line)
        found.add((re.search("tcp|udp", line).group(), source and source.group(1)))
    return found


def knock(estate, source, at):
    return estate.execute(source, "python3", "-", estate.address(at), str(NEW), stdin=KNOCK).strip()


def test_each_host_admits_its_own_children_and_its_parent_and_no_others(estate):
    before = estate.snapshot()
    options = ["-e", "bigfix_restrict_sources=true"]
    estate.play("migrate", *options).good()
    assert estate.play("migrate", *options).good().changed == {}
    estate.play("close", *options).good()
    estate.all_report(NEW)
    described, wanted = estate.described["hosts"], {host: set() for host in estate.hosts}
    for host in estate.hosts:
        parent = described[host]["parent"]
        if parent:
            wanted[parent].add(("tcp", estate.address(host)))
            wanted[host].add(("udp", estate.address(parent)))
    assert {host: admitted(estate, host) for host in estate.hosts} == wanted
    for host in estate.hosts:
        for at in ("server", "relay1", "relay2"):
            if host != at:
                assert knock(estate, host, at) == ("open" if described[host]["parent"] == at else "shut"), (host, at)
    estate.play("rollback").good()
    estate.all_report(OLD)
    assert estate.snapshot() == before
    assert {host: admitted(estate, host) for host in estate.hosts} == {host: set() for host in estate.hosts}
