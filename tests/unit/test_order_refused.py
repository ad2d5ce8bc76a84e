# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What options and an inventory can't be, as the first task of a playbook refuses it; no host is asked.

That the sentences reach the user, and nothing else is done: one run of each product in tests/integration.
"""

from types import SimpleNamespace

import pytest
from ansible.parsing.dataloader import DataLoader

from ansible_collections.portshift.agents.plugins.action import (
    bigfix_plan, bigfix_topology, boks_domain, boks_plan, change_tracker_estate, change_tracker_plan)
from ansible_collections.portshift.agents.tests.unit.host_variables import HostVars
from ansible_collections.portshift.agents.tests.unit.masthead_files import plain

OLD, NEW = 52311, 55000
BIGFIX = dict(bigfix_server=["server"], bigfix_relays=["relay1", "relay2"], bigfix_clients=["client01", "client02"],
              bigfix_pilot=["relay1", "client01"])
PARENTS = dict(relay2="relay1", client01="relay1", client02="relay2")
BOKS = dict(boks_master=["master"], boks_replicas=["replica1"], boks_agents=["agent01", "agent02"])


def run(module, arguments, **task_vars):
    task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, diff=False, get_search_path=lambda: [])
    nowhere = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    task_vars["hostvars"] = HostVars(task_vars["hostvars"])
    return module.ActionModule(task, nowhere, SimpleNamespace(), DataLoader(), None, None).run(task_vars=task_vars)


def topology(groups=None, parents=None, **options):
    groups, parents = groups or BIGFIX, dict(PARENTS, **(parents or {}))
    hosts = sorted({host for group in groups.values() for host in group})
    return run(bigfix_topology, dict(dict(port=str(NEW), hosts=hosts), **options), groups=groups, hostvars={
        host: dict(bigfix_parent=parents.get(host)) for host in hosts})


def domain(**options):
    return run(boks_domain, options, groups=BOKS, hostvars={host: {} for group in BOKS.values() for host in group})


def is_refused(found, *words):
    assert found["failed"] and found["msg"].startswith("Nothing was changed. "), found
    assert all(word in found["msg"] for word in words), found["msg"]


def test_whole_inventories_are_not_refused():
    found = topology()
    assert not found.get("failed") and found["order"] == ["server", "relay1", "client01", "relay2", "client02"]
    found = domain(base_port="6530")
    assert not found.get("failed") and found["order"] == ["master", "replica1", "agent01", "agent02"]


@pytest.mark.parametrize("port, sentence", [
    ("0", "bigfix_port is 0, which is not a port number"),
    ("70000", "bigfix_port is 70000, which is not a port number"),
    ("55000x", "bigfix_port is '55000x', which is not a port number"),
    ("52314", "BigFix keeps 52314 for itself"),
    ("80", "bigfix_port is 80: BigFix does not take a port from 1 to 1024"),
    ("8080", "the default port of Web Reports"),
    ("", "bigfix_port is not set"),
])
def test_bigfix_port_that_can_not_be(port, sentence):
    is_refused(topology(port=port), sentence)


def changed(**groups):
    found = dict(BIGFIX, **groups)
    return {name: hosts for name, hosts in found.items() if hosts is not None}


@pytest.mark.parametrize("groups, parents, words", [
    (changed(bigfix_pilot=None), {}, ["inventory group bigfix_pilot is missing"]),
    (changed(bigfix_server=["server", "server2"]), {}, ["has to hold the one root server", "2: server, server2"]),
    (BIGFIX, dict(client02="relay9"), ["client02: bigfix_parent is relay9"]),
    (BIGFIX, dict(relay1="relay2"), ["run in a circle: relay1 -> relay2 -> relay1"]),
    (changed(bigfix_pilot=["relay1", "client02"]), {}, ["client02 is in bigfix_pilot, but its parent relay2 is not"]),
], ids=["group", "servers", "parent", "circle", "pilot"])
def test_bigfix_inventory_that_can_not_be(groups, parents, words):
    is_refused(topology(groups, parents), *words)


def test_issued_masthead_for_another_port_or_that_is_none_or_not_there(tmp_path):
    path = tmp_path / "masthead.afxm"
    path.write_bytes(plain(port=55001))
    is_refused(topology(masthead_src=str(path)), "bigfix_masthead_src: %s is for port 55001, not for %d" % (path, NEW))
    path.write_bytes(plain(port=NEW))
    assert not topology(masthead_src=str(path)).get("failed")
    path.write_bytes(b"")
    is_refused(topology(masthead_src=str(path)), "bigfix_masthead_src: %s: empty file" % path)
    is_refused(topology(masthead_src="nowhere/masthead.afxm"), "bigfix_masthead_src: ", "nowhere/masthead.afxm")


def test_all_problems_are_told_at_once():
    is_refused(topology(changed(bigfix_pilot=None), port="52314", masthead_src="nowhere/masthead.afxm"),
               "BigFix keeps 52314 for itself", "nowhere/masthead.afxm", "inventory group bigfix_pilot is missing")


def test_port_on_which_every_host_is_already_leaves_nothing_to_move():
    host = dict(ok=True, predicted=False, port=OLD, old_port=None, edits=[], notes=[], record=None)
    found = run(bigfix_plan, dict(topology=topology(port=str(OLD)), assessment="found"), hostvars={
        name: dict(found=host) for name in ("server", "relay1", "relay2", "client01", "client02")})
    assert len(found["problems"]) == 1 and "there is nothing to move" in found["problems"][0]


@pytest.mark.parametrize("base, sentence", [
    ("1000", "boks_base_port is 1000"), ("65533", "choose a base port from 1024 to 65532"),
    ("2476", "2478 would be among its ports"), ("some", "boks_base_port is 'some'"), ("", "boks_base_port is not set")])
def test_base_port_that_can_not_be(base, sentence):
    is_refused(domain(base_port=base), sentence)


def test_hosts_on_different_base_ports_are_told_apart():
    def host(base):
        return dict(ok=True, port=6530, base=base, edits=["an entry"], notes=[], new_services_port=6530, bridge_domain=0)

    found = run(boks_plan, dict(domain=domain(base_port="6530"), assessment="found"), hostvars={
        name: dict(found=host(7000 if name == "agent02" else 6500)) for name in ("master", "replica1", "agent01", "agent02")})
    assert len(found["problems"]) == 1
    assert "the hosts are on different base ports: " in found["problems"][0] and "agent02 on 7000" in found["problems"][0]


# -- a plan of many hosts

MANY = ["agent%03d" % number for number in range(500)]
NOTE, LACK = "it was started by hand", "port 8443/tcp is shut"
# product -> (groups, module that lays out the steps, its port, module that puts the plan together, its option for these)
PLANS = dict(
    bigfix=(dict(bigfix_server=["first"], bigfix_relays=[], bigfix_clients=MANY, bigfix_pilot=[]), bigfix_topology,
            dict(port=NEW), bigfix_plan, "topology"),
    boks=(dict(boks_master=["first"], boks_replicas=[], boks_agents=MANY), boks_domain, dict(base_port=6530), boks_plan,
          "domain"),
    change_tracker=(dict(change_tracker_hub=["first"], change_tracker_proxies=[], change_tracker_agents=MANY),
                    change_tracker_estate, dict(port=8443), change_tracker_plan, "estate"))


@pytest.mark.parametrize("groups, order, options, plan, argument", PLANS.values(), ids=PLANS)
def test_plan_says_once_what_many_hosts_say(groups, order, options, plan, argument):
    hosts = ["first", *MANY]
    look = dict(ok=True, port=8443, old_port=443, base=6500, edits=[dict(path="/x")], notes=[NOTE, NOTE], record=None, agent=True,
                host_port=dict(missing=[LACK]), new_services_port=6531, url="https://hub/", new_url="https://hub:8443/",
                host="hub")
    hostvars = dict.fromkeys(hosts, dict(found=look))
    hostvars[MANY[7]] = dict(found=dict(look, notes=[NOTE, "it is slow"]))
    laid_out = run(order, options, groups=groups, hostvars=dict.fromkeys(hosts, {}))
    report = run(plan, {argument: laid_out, "assessment": "found"}, hostvars=hostvars)["report"]
    assert [line for line in report if NOTE in line] == ["note: %s: %s" % (", ".join(hosts), NOTE)]
    assert "note: %s: it is slow" % MANY[7] in report
    # An agent of Change Tracker opens nothing.
    assert [line for line in report if LACK in line] == [
        "open: %s; on %s" % (LACK, ", ".join(hosts))] * (argument != "estate")
    assert len(report) < len(hosts) + 10
