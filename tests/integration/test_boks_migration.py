# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BoKS domain in containers, moved as a user moves it, while people log in on every host five times a second."""

import json
import time

import pytest

from tests.integration.boks_estate import NEW, OLD, Domain
from tests.integration.journey import SITE_CONFIG, Journey, ends_by_saying_what_was_done_and_what_is_left
from tests.integration.product_lab import eventually
from tests.lab import containers

# No process listens there, in this lab.
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
    """On the old base, and no login has been refused when the test ends."""
    domain.files_before = domain.files(engine)
    began = time.time()
    yield domain
    fine, verdict = domain.logins("--since", str(began), "--longest", LONGEST)
    assert fine, verdict["objections"]


def entry(engine, lab, host):
    """What the host's own lookup says."""
    return [lab.look(engine, host, "getent services boks/%s" % protocol)[1].split()[1] for protocol in ("tcp", "udp")]


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
    return {host: said for host in lab.hosts for said in [lab.look(engine, host, look + "; true")[1]] if said}


def back(engine, lab):
    lab.play("rollback").good()
    assert lab.files(engine) == lab.files_before and set(lab.bases().values()) == {OLD}
    assert traces(engine, lab) == {} and set().union(*answered(engine, lab, NEW).values()) == set()


@pytest.fixture(scope="module", params=["usual", pytest.param("oldest", marks=pytest.mark.long)])
def journey(request, domain, engine, oldest_if_there):
    """There, closed, and back.  The oldest ansible-core foretells what the usual one does; and walks all of it in `make soak`."""
    program = request.getfixturevalue("oldest") if request.param == "oldest" else None
    lab, began = domain, time.time()

    def look():
        return dict(files=lab.files(engine), bases=lab.bases())

    with Journey(lab, look) as walked:
        walked.keep("start")
        walked.play("plan", program=program)
        walked.play("migrate", "--check", "--diff", step="check", program=oldest_if_there)
        walked.play("migrate", "--tags", "phase1", step="phase 1", program=oldest_if_there, **SITE_CONFIG)
        moved = walked.play("migrate", program=program)
        moved.entries = {host: entry(engine, lab, host) for host in lab.hosts}
        moved.old, moved.new = answered(engine, lab, OLD), answered(engine, lab, NEW)
        walked.play("migrate", step="again", program=program)
        walked.play("verify", program=program)
        closed = walked.play("close", program=program)
        closed.old, closed.traces = answered(engine, lab, OLD), traces(engine, lab)
        back = walked.play("rollback", program=program, **SITE_CONFIG)
        back.new, back.traces = answered(engine, lab, NEW), traces(engine, lab)
        back.logins = lab.logins("--since", str(began), "--longest", LONGEST)
    return walked


def test_plan_and_check_run_change_nothing_and_name_the_hosts_that_will_change(journey):
    start, plan, check, moved = journey["start"], journey["plan"], journey["check"], journey["migrate"]
    assert plan.files == check.files == start.files and set(check.bases.values()) == set(plan.bases.values()) == {OLD}
    assert plan.run.changed == {} and "4 of 4 hosts have something to change" in plan.run.output
    assert moved.run.changed.keys() | {"master"} == check.run.changed.keys() == set(journey.hosts)


def test_oldest_ansible_core_foretells_the_same_and_moves_the_master(journey, oldest):
    for step in ("check", "phase 1"):
        assert oldest in journey[step].run.good().process.args


def test_phase_alone_moves_its_own_hosts_and_the_whole_goes_on_from_there(journey):
    first, moved = journey["phase 1"], journey["migrate"]
    assert {host for host in journey.hosts if first.files[host] != journey["start"].files[host]} == {"master"}
    assert first.bases == dict(dict.fromkeys(journey.hosts, OLD), master=NEW)
    steps = ["Phase 1, Master: master", "Phase 2, Replica replica1: replica1", "Phase 3, Server Agents, wave 1 of 2: agent01",
             "Phase 3, Server Agents, wave 2 of 2: agent02"]

    def begun(run):
        return [event["msg"] for event in run.events if event["event"] == "ok" and event["task"] == "Show the step that begins"]

    assert begun(first.run) == steps[:1] and begun(moved.run) == steps


def test_every_run_ends_by_saying_what_was_done_and_what_is_left(journey):
    ends_by_saying_what_was_done_and_what_is_left(
        journey, "boks", "base port", OLD, NEW, {"Master": 1, "Replicas, one by one": 1, "Server Agents": 2})


def test_domain_moves_by_the_number_of_its_entries_alone(journey):
    start, moved = journey["start"], journey["migrate"]
    assert set(moved.bases.values()) == {NEW}
    for host, (code, text) in moved.files.items():
        assert (code, text.splitlines()) == (0, [
            line.replace(str(OLD), str(NEW), 1) if line.split()[:1] == ["boks"] else line
            for line in start.files[host][1].splitlines()])
    assert moved.entries == dict.fromkeys(journey.hosts, ["%d/tcp" % NEW, "%d/udp" % NEW])


def test_both_bases_answer_until_close(journey):
    moved, closed = journey["migrate"], journey["close"]
    assert {host: len(found) for host, found in moved.old.items()} == {host: len(found) for host, found in moved.new.items()}
    assert set(closed.bases.values()) == {NEW}
    assert closed.traces == {} and set().union(*closed.old.values()) == set()


def test_second_migration_and_verify_change_nothing(journey):
    for step in ("again", "verify"):
        assert journey[step].run.changed == {} and journey[step].files == journey["migrate"].files, step


def test_a_host_costs_its_look_and_its_move_and_one_that_has_moved_its_look_alone(journey):
    """Look, bridge, path, and the move as one task of two runs.  Not counted: what its firewall lacks, and the lock."""
    for host in ("replica1", "agent01", "agent02"):
        assert journey.asked("migrate", host) == ["boks_info", "port_bridge", "port_probe"] + ["confirmed_change"] * 2, host
    for step, hosts in (("migrate", ["master"]), ("again", journey.hosts)):
        for host in hosts:
            assert [name for name in journey.asked(step, host) if name not in ("port_bridge", "port_probe")] == ["boks_info"]
    assert all(journey.asked("again", host) == ["boks_info"] for host in journey.hosts)
    # Alone in its step, it runs what is asked once for all of it: the gate before, the lock, the title.
    counts = journey["migrate"].run.stats["agent02"]
    assert counts["ok"] + counts["skipped"] - 3 <= 11, counts


def test_domain_comes_back_byte_for_byte(journey):
    back = journey["rollback"]
    assert back.files == journey["start"].files and set(back.bases.values()) == {OLD}
    assert back.traces == {} and set().union(*back.new.values()) == set()


def test_no_login_is_refused_there_and_back(journey):
    fine, verdict = journey.whole()["rollback"].logins
    assert fine, verdict["objections"]


@pytest.mark.long
def test_domain_comes_back_before_close_and_moves_again(lab, engine):
    # One agent alone, before the others listen there.
    lab.play("migrate", "--limit", "agent01", "-e", "boks_probe_timeout=1").bad(
        "gate after the opening of base port 6530: closed", "it connects to master, replica1, no part of this run")
    lab.play("rollback", "--limit", "agent01").bad("Nothing was changed. master, replica1, agent02: in the domain and not part")
    early = lab.play("migrate", "--tags", "phase3", "-e", "boks_evidence_timeout=2").bad("no proof on base port")
    assert early.failed == {"master"} and "Phase 3: Server Agents" not in early.plays and set(lab.bases().values()) == {OLD}
    lab.play("migrate").good()
    back(engine, lab)
    lab.play("migrate").good()
    lab.play("close").good()
    assert lab.play("close").good().changed == {}
    back(engine, lab)


@pytest.mark.long
def test_control_node_that_is_cut_off_amid_the_change_of_an_agent_leaves_a_host_that_goes_back(lab, engine):
    for host in lab.hosts:
        lab.execute(engine, host, "rm -rf /var/lib/portshift/boks.confirm")
    run = lab.begin("migrate", "-e", "boks_confirm_timeout=40", "-e", "boks_evidence_timeout=15", "-e",
                    "boks_agent_waves=1")
    run.until(lambda: lab.change_of(engine, "agent01") in ("changing", "waiting")).kill()
    eventually(lambda: lab.change_of(engine, "agent01") == "reverted", 120)
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


def test_wrong_base_locks_users_out_no_longer_than_a_confirmation_is_awaited(refusing, engine, tmp_path):
    lab = refusing
    site = tmp_path / "wrong.json"
    site.write_text(json.dumps([dict(name="One agent alone", hosts="agent01", gather_facts=False, roles=[dict(
        role="portshift.agents.boks", boks_base_port=WRONG, boks_confirm_timeout=40, boks_evidence_timeout=15,
        boks_settle_seconds=0.5, boks_bridge=False)])]))
    run = lab.begin_file(site)
    # Looked at before and after, since the wait ends by itself: a slow machine must not try the login behind it.
    eventually(lambda: [lab.change_of(engine, "agent01"), lab.ssh("agent01", "true").returncode,
                        lab.change_of(engine, "agent01")] == ["waiting", 255, "waiting"], 90)
    run.wait().bad("too late to confirm: the change was undone: it was not confirmed within 40 s", "byte for byte")
    assert lab.change_of(engine, "agent01") == "reverted"
    eventually(lambda: lab.ssh("agent01", "true").returncode == 0, 30)
    assert lab.bases()["agent01"] == OLD


def test_plan_refuses_what_can_not_be(lab, engine):
    """Which base ports these are: test_order_refused.py (none is asked), test_boks_modules.py (each host says)."""
    assert lab.play("plan", base="1000").bad("Nothing was changed", "boks_base_port is 1000").plays == [
        "Check the inventory and the options"]
    lab.play("plan", "--limit", "agent01", base="6545").bad("gate after the plan: closed", "gives port 6547/tcp to apc-6547")
    # Hosts of two domains.
    entry_of = "sed -i 's/^boks  *%d/boks            %d/' /etc/services"
    assert lab.execute(engine, "agent02", entry_of % (OLD, 7000))[0] == 0
    try:
        lab.play("plan", "--limit", "agent01,agent02").bad("the hosts are on different base ports", "agent02 on 7000")
    finally:
        lab.execute(engine, "agent02", entry_of % (7000, OLD))
    assert lab.files(engine) == lab.files_before
