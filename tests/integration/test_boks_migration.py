# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BoKS domain in containers, moved as a user moves it, while people log in on every host five times a second."""

import json
import time

import pytest

from tests.integration.boks_estate import NEW, OLD, Domain
from tests.integration.product_lab import eventually
from tests.lab import containers

# Nobody listens there, in this lab.
WRONG = 6540
# A restart of a host's own daemons, and nothing longer, on a machine that has much to do.
LONGEST = "20"
# All at once: a port that a firewall shuts answers nothing, and that takes its time.
KNOCK = """
import concurrent.futures, socket, sys
def answers(port):
    try:
        socket.create_connection((sys.argv[1], port), 3).close()
        return True
    except OSError:
        return False
ports = range(int(sys.argv[2]), int(sys.argv[2]) + 4)
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(*[port for port, there in zip(ports, pool.map(answers, ports)) if there])
"""


@pytest.fixture(scope="module")
def domain(engine, tmp_path_factory):
    made = Domain(tmp_path_factory.mktemp("boks-domain") / "lab")
    try:
        yield made.start("--replicas", "1", "--agents", "2", "--services", "redhat",
                         "--firewalls", "firewalld,ufw,nftables,iptables")
    finally:
        made.stop()


@pytest.fixture
def lab(domain, engine):
    """On the old base, and nobody has been refused when the test ends."""
    domain.files_before = domain.files(engine)
    began = time.time()
    yield domain
    fine, verdict = domain.logins("--since", str(began), "--longest", LONGEST)
    assert fine, verdict["objections"]


def entry(engine, lab, host):
    """What the host's own lookup says."""
    return [lab.execute(engine, host, "getent services boks/%s" % protocol)[1].split()[1] for protocol in ("tcp", "udp")]


def answered(engine, lab, base):
    """{host: the ports of that base that answer there to another host, and to itself}"""
    def ask(host):
        found = set()
        for peer in (host, lab.hosts[0] if host != lab.hosts[0] else lab.hosts[1]):
            done = lab.ssh(peer, "python3 - %s %d" % (lab.described["hosts"][host]["address"], base), stdin=KNOCK)
            assert done.returncode == 0, done.stderr
            found.update(map(int, done.stdout.split()))
        return found

    return dict(zip(lab.hosts, containers.at_once(ask, lab.hosts)))


def traces(engine, lab):
    """Bridges and what brings them back, on any host."""
    look = ("nft list tables | grep portshift; cd /etc; ls -d portshift/bridge-* systemd/system/portshift-bridge-* "
            "systemd/system/portshift-confirm-* 2>/dev/null")
    return {host: said for host in lab.hosts for said in [lab.execute(engine, host, look + "; true")[1]] if said}


def moved_as_foretold(engine, lab):
    before = lab.files_before
    check = lab.play("migrate", "--check", "--diff").good()
    assert lab.files(engine) == before and set(lab.bases().values()) == {OLD}
    move = lab.play("migrate").good()
    assert move.changed.keys() == check.changed.keys() == set(lab.hosts)
    assert set(lab.bases().values()) == {NEW}
    for host, (code, text) in lab.files(engine).items():
        assert (code, text.splitlines()) == (0, [
            line.replace(str(OLD), str(NEW), 1) if line.split()[:1] == ["boks"] else line
            for line in before[host][1].splitlines()])
        assert entry(engine, lab, host) == ["%d/tcp" % NEW, "%d/udp" % NEW]
    # Both bases answer, until close.
    assert {host: len(ports) for host, ports in answered(engine, lab, OLD).items()} == {
        host: len(ports) for host, ports in answered(engine, lab, NEW).items()}


def back(engine, lab):
    lab.play("rollback").good()
    assert lab.files(engine) == lab.files_before and set(lab.bases().values()) == {OLD}
    assert traces(engine, lab) == {} and set().union(*answered(engine, lab, NEW).values()) == set()


def test_domain_moves_closes_and_comes_back_and_nobody_is_refused(lab, engine):
    moved_as_foretold(engine, lab)
    assert lab.play("migrate").good().changed == {}
    lab.play("close").good()
    assert set(lab.bases().values()) == {NEW}
    assert traces(engine, lab) == {} and set().union(*answered(engine, lab, OLD).values()) == set()
    back(engine, lab)


@pytest.mark.long
def test_domain_comes_back_before_close_and_moves_again(lab, engine):
    assert lab.play("plan").good().changed == {}
    lab.play("migrate").good()
    assert lab.play("verify").good().changed == {}
    back(engine, lab)
    lab.play("migrate").good()
    lab.play("close").good()
    assert lab.play("close").good().changed == {}
    back(engine, lab)


def test_oldest_ansible_core_foretells_the_same(lab, engine, oldest, monkeypatch):
    monkeypatch.setattr(lab, "program", oldest)
    check = lab.play("migrate", "--check", "--diff").good()
    assert check.changed.keys() == set(lab.hosts) and lab.files(engine) == lab.files_before


@pytest.mark.long
def test_oldest_ansible_core_moves_a_domain_and_takes_it_back(lab, engine, oldest, monkeypatch):
    monkeypatch.setattr(lab, "program", oldest)
    moved_as_foretold(engine, lab)
    back(engine, lab)


def change_of(engine, lab, host):
    """The state of the change on that host: none, changing, waiting, ..."""
    code, said = lab.execute(engine, host, "cat /var/lib/portshift/boks.confirm/state.json")
    return json.loads(said)["state"] if code == 0 else "none"


@pytest.mark.long
def test_control_node_that_is_cut_off_amid_the_change_of_an_agent_leaves_a_host_that_goes_back(lab, engine):
    for host in lab.hosts:
        lab.execute(engine, host, "rm -rf /var/lib/portshift/boks.confirm")
    run = lab.begin("migrate", "-e", "boks_confirm_timeout=10", "-e", "boks_agent_waves=1")
    run.until(lambda: change_of(engine, lab, "agent01") in ("changing", "waiting")).kill()
    eventually(lambda: change_of(engine, lab, "agent01") == "reverted", 120)
    assert lab.bases() == {"master": NEW, "replica1": NEW, "agent01": OLD, "agent02": OLD}
    assert lab.ssh("agent01", "true").returncode == 0
    assert lab.files(engine)["agent01"] == lab.files_before["agent01"]

    lab.play("migrate").good()
    assert set(lab.bases().values()) == {NEW}
    lab.play("rollback").good()
    assert lab.files(engine) == lab.files_before


@pytest.fixture
def refusing(domain, engine):
    """For what refuses logins for a while, on purpose."""
    domain.files_before = domain.files(engine)
    yield domain
    domain.ok("wait", "--base", str(OLD), "--timeout", "60")
    assert domain.files(engine) == domain.files_before


def test_wrong_base_locks_everybody_out_only_until_nobody_confirms_it(refusing, engine, tmp_path):
    lab = refusing
    site = tmp_path / "wrong.json"
    site.write_text(json.dumps([dict(name="One agent alone", hosts="agent01", gather_facts=False, roles=[dict(
        role="portshift.agents.boks", boks_base_port=WRONG, boks_confirm_timeout=15, boks_bridge=False)])]))
    run = lab.begin_file(site)
    # Looked at before and after, since the wait ends by itself: a slow machine must not try the login behind it.
    eventually(lambda: [change_of(engine, lab, "agent01"), lab.ssh("agent01", "true").returncode,
                        change_of(engine, lab, "agent01")] == ["waiting", 255, "waiting"], 90)
    run.wait().bad("The host is on the new base port, and a new login works")
    assert change_of(engine, lab, "agent01") == "reverted"
    eventually(lambda: lab.ssh("agent01", "true").returncode == 0, 30)
    assert lab.bases()["agent01"] == OLD


@pytest.mark.parametrize("base, sentence", [
    ("1000", "boks_base_port is 1000"), ("65533", "choose a base port from 1024 to 65532"),
    ("2476", "2478 would be among its ports"), ("some", "boks_base_port is"), ("6502", "overlap with the old ones"),
    ("4341", "4343"), ("6545", "gives port 6547/tcp to apc-6547")])
def test_base_that_can_not_be_is_refused_by_the_plan(lab, base, sentence):
    lab.play("plan", base=base).bad(sentence)


def test_hosts_of_two_domains_are_told_apart(lab, engine):
    entry_of = "sed -i 's/^boks  *%d/boks            %d/' /etc/services"
    assert lab.execute(engine, "agent02", entry_of % (OLD, 7000))[0] == 0
    try:
        lab.play("plan").bad("the hosts are on different base ports", "agent02 on 7000")
    finally:
        lab.execute(engine, "agent02", entry_of % (7000, OLD))
    assert lab.files(engine) == lab.files_before
