# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of a run: which phases run, which hosts a play has, what a host knows of itself; and the table of the products."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader

from ansible_collections.portshift.agents.plugins.action import (
    bigfix_plan, bigfix_topology, boks_domain, change_tracker_estate, rollback_plan)
from ansible_collections.portshift.agents.plugins.action import migration as migration_action
from ansible_collections.portshift.agents.plugins.action.bigfix_plan import other_relays
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils import _migration as migration
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import WithLooks, without_evidence
from ansible_collections.portshift.agents.plugins.plugin_utils._products import VERBS
from ansible_collections.portshift.agents.plugins.plugin_utils._registry import PRODUCTS
from ansible_collections.portshift.agents.plugins.plugin_utils._reports import report
from ansible_collections.portshift.agents.tests.unit.growth import SHARE, is_a_line, seconds
from ansible_collections.portshift.agents.tests.unit.host_variables import HostVars

ROLES = Path(__file__).resolve().parents[2] / "roles"
PLAYBOOKS = ROLES.parent / "playbooks"
STEPS = [dict(phase=1, title="root server", hosts=["srv"]), dict(phase=1, title="pilot relays", hosts=["r1"]),
         dict(phase=2, title="relays", hosts=["r2"]), dict(phase=3, title="wave 1", hosts=["c1"]),
         dict(phase=3, title="wave 2", hosts=["c2"])]
PARENTS = dict(r1="srv", r2="srv", c1="r1", c2="r2")
COMPONENTS = dict(srv="server", r1="relay", r2="relay", c1="client", c2="client")


def order(run="migrate", running=(1, 2, 3), only=None):
    steps = [dict(step, hosts=[host for host in step["hosts"] if only is None or host in only]) for step in STEPS]
    steps = [step for step in steps if step["hosts"]]
    hosts = [host for step in steps for host in step["hosts"]]
    found = dict(port=55000, server="srv", steps=steps, parents=PARENTS, order=hosts, begun=1.0,
                 components={host: COMPONENTS[host] for host in hosts}, openings=dict(c1=[dict(protocol="udp", sources=[])]))
    return migration.Order("bigfix", found, run, list(running)).whole()


# -- the table

@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_verbs_of_the_table_are_entry_points_of_the_roles(product):
    for component, role in product.roles.items():
        there = set(yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"])
        assert there <= {path.stem for path in (ROLES / role / "tasks").glob("*.yml")}, role
        missing = set(product.verbs(component)) - there
        # Verbs that a role only imports from another one.
        assert not missing, (component, role, missing)
        unused = (set(VERBS) & there) - set(product.verbs(component))
        assert not unused, (component, role, unused)


# -- which phases run

@pytest.mark.parametrize("asked, tags, skipped, expected", [
    ([1, 2, 3], ["all"], [], [1, 2, 3]), ([1, 3], ["all"], [], [1, 3]), ([1, 2, 3], ["phase2"], [], [2]),
    ([1, 2], ["phase2", "phase3"], [], [2]), ([1, 2, 3], ["all"], ["phase3"], [1, 2]), ([1, 2, 3], ["always"], [], [1, 2, 3])])
def test_phases_to_run_come_from_the_option_and_the_tags(asked, tags, skipped, expected):
    assert migration.phases_to_run(asked, tags, skipped) == expected


@pytest.mark.parametrize("run, tags, skipped, words", [
    ("migrate", ["all"], [], None), ("migrate", ["phase1", "phase3"], [], None), ("migrate", ["all"], ["phase3"], None),
    ("migrate", ["phase_1"], [], "--tags phase_1: no such tag; there are phase1, phase2, phase3"),
    ("migrate", ["all"], ["phase1"], "say instead which phases to run: --tags phase2,phase3"),
    ("migrate", ["all"], ["molecule-notest", "notest"], None),
    ("migrate", ["all"], ["phase_3"], "--skip-tags phase_3: no such tag"),
    ("migrate", ["site"], [], None),
    ("verify", ["phase1"], [], "--tags phase1: no such tag; this playbook has none"), ("close", ["all"], [], None),
    # With that alone nothing but the lock and the report would be left.
    ("close", ["always"], [], "--tags always: no such tag"), ("rollback", ["tagged"], [], "--tags tagged: no such tag"),
    ("plan", ["always"], [], None), ("close", ["untagged"], [], None)])
def test_tags_that_would_do_something_else_are_refused(run, tags, skipped, words):
    problems = migration.check_tags(run, tags, skipped, ["always", "site"])
    assert bool(problems) == bool(words) and (not words or words in problems[0])


@pytest.mark.parametrize("strategy, refused", [
    (None, False), ("linear", False), ("ansible.builtin.linear", False), ("mitogen_linear", False), ("free", True),
    ("ansible.builtin.free", True), ("ansible.builtin.host_pinned", True), ("mitogen_free", True)])
def test_strategies_in_which_hosts_do_not_wait_are_refused(strategy, refused):
    assert bool(migration.check_strategy(strategy)) == refused


# -- who is asked what

def test_a_phase_that_is_left_out_is_proved_anew_before_a_later_one():
    found = order(running=[3])
    assert [migration.members_of(found, "phase", number) for number in (1, 2, 3)] == [["srv", "r1"], ["r2"], ["c1", "c2"]]
    found = order(running=[1])
    assert [migration.members_of(found, "phase", number) for number in (1, 2, 3)] == [["srv", "r1"], [], []]
    assert migration.members_of(found, "gate", 1) == found["order"] and migration.members_of(found, "gate", 2) == []
    assert migration.members_of(order(), "batches", 3) == [1, 1]


def test_a_host_that_has_moved_and_has_proved_it_in_its_look_is_asked_nothing_more(look_up):
    def proof(good=True, **values):
        return dict(bigfix_component_assessment=dict(ok=good, evidence=values))

    hostvars = HostVars(localhost=dict(portshift_order=order()), srv=proof(ok=True, port=55000), r1=proof(ok=False, port=55000),
                        r2=proof(ok=True, port=56000), c1=dict(bigfix_component_assessment=dict(ok=True, evidence=None)), c2={})
    found = [host for host in COMPONENTS if look_up("unsettled", host, hostvars=hostvars)]
    assert found == ["r1", "r2", "c1", "c2"]
    # A gate and a phase have one rule for what a look has proved.
    for look, settled in ((proof(ok=True, port=55000), True), (proof(False, ok=True, port=55000), False)):
        hosts = WithLooks(HostVars(srv=look), "bigfix_component_assessment", "bigfix_component_evidence")
        assert migration.is_settled(order(), look["bigfix_component_assessment"]) is settled
        assert (without_evidence(hosts, "srv", "bigfix_component_evidence", 55000) is None) is settled
    # It stays in its batch: one host alone whose failure ends the run is none the more likely.
    assert look_up("phase", 1, hostvars=hostvars) == ["srv", "r1"] and look_up("batches", 1, hostvars=hostvars) == [1, 1]
    hostvars["localhost"] = dict(portshift_order=order("rollback", ()))
    assert look_up("unsettled", "srv", hostvars=hostvars) == ["srv"]


def test_a_host_with_nothing_to_open_is_not_asked_to():
    edits, lacks = [dict(path="x")], dict(missing=["port 55000 is shut"])
    looks = dict(srv=dict(edits=edits), r1=dict(edits=[], record=dict(state="verified", new_port=55000)),
                 r2=dict(edits=[], record=dict(state="changing", new_port=55000)),
                 c1=dict(edits=edits, host_port=dict(missing=[])), c2=dict(edits=edits, host_port=lacks))
    assert migration.members_of(order(), "open", look=looks.get) == ["srv", "r1", "r2", "c2"]
    of_another = dict(edits=[], record=dict(state="changing", new_port=56000))
    interrupted = dict(looks, c1=of_another, c2=dict(edits=[], host_port=lacks))
    assert migration.members_of(order(), "open", look=interrupted.get) == ["srv", "r1", "r2"]
    assert migration.members_of(order(), "open", look=lambda host: dict(edits=[])) == []
    # A Server Agent listens too; where one is left to open, the hosts on which others depend stay.
    looks = dict(m=dict(edits=[]), r=dict(edits=[]), a0=dict(edits=edits), a1=dict(edits=[]))
    assert migration.members_of(boks_order(), "open", look=lambda host: looks.get(host, {})) == ["m", "r", "a0"]
    assert migration.members_of(boks_order(), "open", look=lambda host: dict(edits=[])) == []


def test_paths_are_proved_while_a_host_is_to_move():
    assert migration.members_of(order(), "on_the_way", pending=["c1"]) == order()["order"]
    assert migration.members_of(order(), "on_the_way", pending=[]) == []


def test_a_host_knows_what_is_its_own():
    known = order()["hosts"]["c1"]
    assert known["role"] == "portshift.agents.bigfix_client" and known["port"] == 55000
    assert (known["phase"], known["step"], known["title"], known["parent"]) == (3, 0, "wave 1", "r1")
    assert known["openings"] == [dict(protocol="udp", sources=[])] and "users" not in known["verbs"]


def test_hosts_that_may_need_the_port_are_asked_for():
    assert order(only=["srv", "r1"])["not_asked"] == ["r2", "c1"]
    assert order()["not_asked"] == [] and order(only=["c1"])["not_asked"] == []


def test_run_that_takes_a_port_away_is_refused_where_a_host_of_the_domain_has_no_part_in_it():
    found = dict(boks_order()["found"], order=["m", "a1"])
    limited = migration.Order("boks", found, "close", []).whole()
    refused = act(limited, "m", act="whole")
    assert refused["failed"] and refused["msg"].startswith("Nothing was changed. r, a0, a2, ")
    assert refused["msg"].endswith(": in the domain and not part of the run, so it can't be told whether they still need the "
                                   "ports that this run would take away. Run without --limit.")
    assert not act(boks_order("close", ()), "m", act="whole").get("failed")


def test_hosts_of_a_rollback():
    found = order("rollback", ())
    back = dict(moved=["srv", "c1"], reopening=["srv"])
    assert migration.members_of(found, "moved", rollback=back) == ["srv", "c1"]
    assert migration.members_of(found, "reopen", rollback=back) == ["srv"]
    # With the others, who are left out by what they know: were it the server alone and failed, no other would go back.
    assert migration.members_of(found, "back_first", rollback=back, shut=["c1"]) == ["srv", "r1", "r2", "c2"]
    assert [host for host, known in found["hosts"].items() if known["back_first"]] == ["srv"]
    assert migration.members_of(found, "back", rollback=back, shut=["c1"]) == ["r1", "r2", "c2"]


def boks_order(run="migrate", running=(1, 2, 3)):
    """Of one Master, one Replica and 38 Server Agents."""
    agents = ["a%d" % number for number in range(38)]
    steps = [dict(phase=1, title="Master", hosts=["m"]), dict(phase=2, title="Replica r", hosts=["r"]),
             dict(phase=3, title="Server Agents, wave 1 of 2", hosts=agents[:2]),
             dict(phase=3, title="Server Agents, wave 2 of 2", hosts=agents[2:])]
    roles = dict(m="master", r="replica", **dict.fromkeys(agents, "agent"))
    found = dict(base_port=6530, master="m", roles=roles, steps=steps, order=list(roles), begun=1.0)
    return migration.Order("boks", found, run, list(running)).whole()


def change_tracker_order(run="migrate", running=(1, 2, 3), agents=("h", "a1"), hub_hosts=("h",), **more):
    """Of a hub and two agents, one of them on the hub's own host."""
    steps = [dict(phase=1, title="Agent of the hub", hosts=["h"]), dict(phase=3, title="Agents", hosts=["a1"])]
    steps = [step for step in steps if step["hosts"][0] in agents]
    components = {host: components for host, components in dict(h=["hub"], a1=["agent"]).items() if host in agents}
    return migration.Order("change_tracker", dict(
        port=8443, hub_hosts=list(hub_hosts), keeper=agents[0], components=components, steps=steps, order=list(agents),
        **dict(dict(not_asked=[]), **more)), run, list(running)).whole()


def test_host_of_a_hub_answers_for_the_hub_and_for_its_own_agent():
    agent, hub = ("portshift.agents.change_tracker_%s" % role for role in ("agent", "hub"))
    both, alone = change_tracker_order(), change_tracker_order(agents=["a1"])
    assert (both["hosts"]["h"]["answering"], both["hosts"]["a1"]["answering"]) == ([agent, hub], [agent])
    # One behind IIS, whose host has no agent that could be moved.
    assert alone["hosts"]["h"]["answering"] == [hub] and alone["hosts"]["h"]["verbs"] == [] and alone["everyone"] == ["a1", "h"]
    for found in (both, alone):
        # Ansible includes in the order in which the hosts answer: what comes second comes second on each of them.
        assert [found["hosts"][host]["looks"] for host in ("h", "a1")] == [[agent, hub], [agent]]
        assert (found["hosts"]["h"]["opener"], found["hosts"]["h"]["opening"]) == (hub, ["open", "verify"])
        assert migration.members_of(found, "open") == migration.members_of(found, "undo_open") == ["h"]
        assert sorted(migration.members_of(found, "proved_again")) == ["a1", "h"]
    unmanaged = change_tracker_order(hub_hosts=())
    assert [unmanaged["hosts"][host]["answering"] for host in ("h", "a1")] == [[agent], [agent]]
    assert migration.members_of(unmanaged, "proved_again") == migration.members_of(unmanaged, "open") == []
    for found, role in ((order(), "bigfix_server"), (boks_order(), "boks")):
        known = found["hosts"][found["order"][0]]
        assert known["answering"] == ["portshift.agents." + role] and "opener" not in known
        assert (known["opening"], known["back_path"]) == (["open"], ["path"])
        assert migration.members_of(found, "proved_again") == []


def test_agent_of_the_hub_goes_back_with_the_others():
    """Its listener answers on both ports: agents depend on that alone, and a play of one host that fails would end the run."""
    found = change_tracker_order("rollback", ())
    assert migration.members_of(found, "back_first") == [] and migration.members_of(found, "back") == ["h", "a1"]


def test_a_run_without_its_first_play_is_refused_with_a_sentence():
    with pytest.raises(EngineError, match="leave out --start-at-task"):
        migration.order_of(dict(hostvars=HostVars(), portshift_product="bigfix", portshift_run="migrate"))


@pytest.mark.parametrize("play", [
    dict(portshift_product="boks", portshift_run="migrate"), dict(portshift_product="bigfix", portshift_run="close"), {}])
def test_an_order_of_another_playbook_in_the_same_process_is_none_of_this_run(play):
    """Such as that of BigFix where a limit leaves no host of BoKS for the play that lays out its steps."""
    known = HostVars(localhost=dict(portshift_order=order()))
    with pytest.raises(EngineError, match="has not run, and nothing goes on without it"):
        migration.order_of(dict(play, hostvars=known))
    assert migration.order_of(dict(hostvars=known, portshift_product="bigfix", portshift_run="migrate")) == order()


@pytest.mark.parametrize("name, made, hosts", [
    ("bigfix", order, ("c1", "c2", "r1")), ("boks", boks_order, ("a0", "a1", "a2"))])
def test_a_host_with_something_against_its_move_is_not_moved(look_up, name, made, hosts):
    """What moves a host looks at it no more; a gate may have let it be missing, and the next one says why it is."""
    facts, run = PRODUCTS[name].facts, made()
    known = HostVars(localhost=dict(portshift_order=run), **dict(zip(hosts, (
        {facts["assessment"]: dict(ok=False, problems=["it has no file"])}, {facts["assessment"]: dict(ok=True)},
        {facts["assessment"]: dict(ok=True), facts["path"]: dict(ok=False, problems=["its path is shut"])}))))
    assert [host for host in hosts if look_up("unsettled", host, hostvars=known)] == [hosts[1]]


def test_lock_grows_with_the_estate_and_keeps_what_is_given():
    values = dict(lock_path="/x", lock=True, lock_seconds=0, take_over=False)
    assert migration.lock(order(), values)["seconds"] == 600 and migration.lock(order(), values)["keeper"] == "srv"
    assert migration.lock(order(), dict(values, lock_seconds="90"))["seconds"] == "90"
    assert migration.lock(dict(order(), order=["h"] * 700), values)["seconds"] == 700
    assert migration.lock(order("close", ()), values)["purpose"] == "close the port that was left for 55000"


# -- what a run says at its end

@pytest.mark.parametrize("run, running, there, check, said", [
    ("migrate", [1, 2, 3], 5, False, ["Phases 1, 2 and 3 of this run are done (5 hosts); 5 of 5 hosts proved port 55000."]),
    ("migrate", [1], 2, False, ["Phase 1 of this run is done (2 hosts); 2 of 5 hosts proved port 55000.",
                                "Left: phase 2 (relays, 1 host) and phase 3 (clients, 2 hosts). Run the same command without "
                                "--tags and bigfix_phases."]),
    ("migrate", [1, 2, 3], 5, True, ["Check mode: nothing was changed. Phases 1, 2 and 3 would run; 5 of 5 hosts would be on "
                                     "port 55000."]),
    ("verify", [], 5, False, ["5 of 5 hosts proved port 55000."])])
def test_report_says_what_was_done_and_what_is_left(run, running, there, check, said):
    found = order(run, running)
    proved = found["order"][:there].__contains__
    told = report(PRODUCTS["bigfix"], found, 55000, proved, check, server="srv")
    assert told[:len(said)] == said and ("Console: connect to srv:55000 from now on." in told) == (run == "migrate")


def test_report_of_a_rollback():
    found = order("rollback", ())
    back = dict(moved=[], port=0, old_port=None)
    assert report(PRODUCTS["bigfix"], found, 0, lambda host: False, False, back) == [
        "Nothing to take back: no host has moved."]
    back = dict(moved=["srv"], port=55000, old_port=52311)
    assert report(PRODUCTS["bigfix"], found, 52311, lambda host: True, False, back) == [
        "5 of 5 hosts proved port 52311: the migration of 1 host from port 52311 to 55000 is taken back."]


LEFT_ALONE = ("The hub was left alone (change_tracker_hub_server: none), so its administrator ends the port there that no agent "
              "uses any more.")


@pytest.mark.parametrize("run, check, managed, by_hand", [
    ("close", False, ["1 of 1 host proved port 8443. What was left for it is closed."],
     ["1 of 1 host proved port 8443.", LEFT_ALONE]),
    ("close", True, ["Check mode: nothing was changed. 1 of 1 host proved port 8443. What that would leave open is told above."],
     ["Check mode: nothing was changed. 1 of 1 host proved port 8443.", LEFT_ALONE]),
    ("verify", False, ["1 of 1 host proved port 8443."], ["1 of 1 host proved port 8443."]),
    ("rollback", False, ["Nothing to take back: no host has moved to port 8443; what had been opened for it is closed."],
     ["Nothing to take back: no host has moved to port 8443.", LEFT_ALONE])])
def test_report_of_a_run_without_a_hub_says_nothing_of_what_it_has_not_done(run, check, managed, by_hand):
    product, back = PRODUCTS["change_tracker"], dict(moved=[], port=8443, old_port=None)
    for found, said in (
            (change_tracker_order(run, (), agents=["a1"], hub_managed=True), managed),
            (change_tracker_order(run, (), agents=["a1"], hub_hosts=[], hub_managed=False), by_hand)):
        assert report(product, found, 8443, lambda host: True, check, back) == said


def test_next_steps_without_a_hub_name_who_ends_the_old_port():
    product = PRODUCTS["change_tracker"]
    by_hand = report(product, change_tracker_order(hub_hosts=[], hub_managed=False), 8443, lambda host: True, False)
    managed = report(product, change_tracker_order(hub_managed=True), 8443, lambda host: True, False)
    assert by_hand[:-1] == managed[:-1] and "until its administrator ends the old one" in by_hand[-1]
    assert "until close_change_tracker_port.yml runs" in managed[-1]
    for told in (by_hand, managed):
        assert told[-1].endswith("Proof at any time: verify_change_tracker_port.yml.")


def test_report_names_hosts_that_a_limit_left_out():
    told = report(PRODUCTS["bigfix"], order(only=["srv", "r1", "r2"]), 55000, lambda host: True, False)
    assert "2 hosts of the inventory are no part of this run (--limit)." in told


# -- out of an inventory, by the module of each product

INVENTORIES = {
    "bigfix": (dict(bigfix_server=["srv"], bigfix_relays=["r1"], bigfix_clients=["c1"], bigfix_pilot=["r1"]),
               "bigfix_port", "r1"),
    "boks": (dict(boks_master=["m"], boks_replicas=["r1"], boks_agents=["a1"]), "boks_base_port", "r1"),
    "change_tracker": (dict(change_tracker_hub=["h"], change_tracker_proxies=["p1"], change_tracker_agents=["a1"]),
                       "change_tracker_port", "p1")}


@pytest.fixture(params=INVENTORIES)
def ask(request, run_module, tmp_path):
    groups, port, host = INVENTORIES[request.param]

    def call(act="order", **variables):
        variables.setdefault(port, 55000)
        path = tmp_path / "inventory.json"
        path.write_text(json.dumps(dict(all=dict(vars=variables, children={
            group: dict(hosts=dict.fromkeys(members, {})) for group, members in groups.items()}))))
        return run_module("migration", inventory=str(path), host=host, act=act, product=request.param, run="migrate")
    call.product, call.host = request.param, host
    return call


def test_order_out_of_an_inventory(ask):
    result = ask(**{ask.product + "_phases": "1,2", ask.product + "_lock_path": "/x", ask.product + "_take_over": True})
    found, host = result["order"], ask.host
    assert not result.get("failed") and result["changed"] is False
    assert (found["product"], found["run"], found["port"], found["running"]) == (ask.product, "migrate", 55000, [1, 2])
    assert found["order"] == [host] and len(found["members"]) == 3 and found["keeper"] == found["members"][0]
    known = found["hosts"][host]
    assert known["role"].startswith("portshift.agents.") and known["phase"] in (1, 2) and "apply" in known["verbs"]
    # Hosts that this run is not about know what others need to know of them.
    assert set(found["hosts"]) >= set(found["members"])
    lock = result["lock"]
    assert (lock["path"], lock["take_over"], lock["seconds"], lock["wanted"], lock["purpose"]) == (
        "/x", True, 600, True, "migrate to 55000")
    assert lock["take_over_with"] == "-e %s_take_over=true" % ask.product


def test_everything_that_is_wrong_is_named_at_once(ask):
    name = ask.product
    wrong = {name + "_window": "now", name + "_restrict_source": True, name + "_lock": "perhaps", "portshift_strategy": "free",
             name + "_close_max_missing": "5percent", name + "_allowed_sources": dict(a=1), name + "_restrict_sources": "perhaps"}
    result = ask(**wrong)
    assert result["failed"] and result["msg"].startswith("Nothing was changed. ")
    for words in ("%s_window is 'now'" % name, "portshift_strategy is free", "%s_lock is 'perhaps'; give true or false" % name,
                  "%s_close_max_missing is '5percent'; give a number of hosts" % name,
                  "%s_allowed_sources is a dictionary; " % name,
                  "%s_restrict_sources is 'perhaps'; give true or false" % name,
                  "%s_restrict_source: no such variable; %s_restrict_sources is meant?" % (name, name)):
        assert len([problem for problem in result["problems"] if words in problem]) == 1, words
    assert not ask(**{name + "_restrict_source": True, "portshift_own_variables": [name + "_restrict_source"]}).get("failed")


def test_nothing_goes_on_without_the_first_play(ask):
    assert "leave out --start-at-task" in ask("host")["msg"]


def test_roles_take_nothing_from_the_run_of_another_product(run_playbook, tmp_path):
    """A site's playbook that moves BigFix may go on with roles of its own choice on the same hosts."""
    shown = ["boks_openings", "boks_phase", "boks_domain_paths", "change_tracker_hub_openings",
             "change_tracker_hub_server", "change_tracker_agent_phase", "change_tracker_agent_hub_server"]
    files = [str(ROLES / role / folder / "main.yml") for role in ("boks", "change_tracker_hub", "change_tracker_agent")
             for folder in ("defaults", "vars")]
    after = dict(hosts="m", gather_facts=False, vars_files=files, tasks=[
        {"portshift.agents.migration": dict(act="step", phase=1), "register": "portshift_step",
         "vars": dict(portshift_product="bigfix", portshift_run="migrate")},
        dict(set_fact=dict(seen={name: "{{ %s }}" % name for name in shown})),
        dict(copy=dict(content="{{ seen | to_json }}", dest=str(tmp_path / "seen.json")))])
    first = dict({"import_playbook": str(PLAYBOOKS / "parts/order.yml")},
                 vars=dict(portshift_product="bigfix", portshift_run="migrate"))
    common = dict(ansible_connection="local", ansible_python_interpreter=sys.executable, bigfix_port=55000,
                  change_tracker_port=8443)
    groups = dict.fromkeys([*PRODUCTS["bigfix"].groups, "bigfix_pilot"], dict(hosts={}))
    inventory = dict(all=dict(vars=common, children=dict(groups, bigfix_server=dict(hosts=dict(m={})))))
    done = run_playbook([first, after], inventory, "-e", "boks_base_port=6530 boks_role=master")
    assert done.returncode == 0, done.stdout
    told = json.loads((tmp_path / "seen.json").read_text())
    assert [(row["port"], row["sources"]) for row in told["change_tracker_hub_openings"]] == [(8443, [])]
    assert {row["port"] for row in told["boks_openings"]} == {6530, 6531, 6533}
    assert told["change_tracker_hub_server"] == told["change_tracker_agent_hub_server"] == "nginx"
    assert told["boks_phase"] == told["change_tracker_agent_phase"] == "" and told["boks_domain_paths"] == []


# -- what the plan finds in an inventory

def test_hosts_with_one_address_are_named_and_templates_are_left_to_their_hosts():
    hostvars = HostVars(a=dict(bigfix_address="10.0.0.1", ansible_host="10.0.0.9"), b=dict(ansible_host="10.0.0.1"), c={},
                        d=dict(ansible_host="{{ x }}"), e=dict(ansible_host="{{ x }}"))
    told = migration.shared_addresses(hostvars, "bigfix", list(hostvars))
    assert len(told) == 1 and told[0].startswith("a, b: one address, 10.0.0.1;")
    assert migration.shared_addresses(hostvars, "boks", ["a", "b"]) == []


def test_agents_whose_own_relay_is_another_than_the_inventory_has_are_named():
    hostvars = HostVars(srv=dict(ansible_host="10.0.0.1"), r1=dict(bigfix_address="10.0.0.2"), r2={}, c1={}, c2={}, c3={}, c4={})
    topology = dict(server="srv", parents=dict(r1="srv", r2="srv", c1="r1", c2="r2", c3="srv", c4="srv"))
    same = dict(r1="SRV", r2="10.0.0.1", c1="10.0.0.2", c2="r2")
    assert other_relays(hostvars, topology, same) == []
    told = other_relays(hostvars, topology, dict(same, c3="10.0.0.2", c4="10.0.0.2", c2="elsewhere.example"))
    assert len(told) == 2
    assert told[0].startswith(
        "c2: the agent's own settings name elsewhere.example as its relay (__RelayServer1), which is none of the inventory's "
        "relays by name or address, and the inventory r2 (bigfix_parent)")
    assert told[1].startswith(
        "c3, c4: the agent's own settings name 10.0.0.2 as its relay (__RelayServer1), which is r1, and the inventory srv")


# -- the lookup by which plays find their hosts

@pytest.fixture
def look_up():
    from ansible.plugins.loader import lookup_loader

    found = lookup_loader.get("portshift.agents.migration_hosts")

    def asked(*terms, **variables):
        made = variables.get("hostvars", {}).get("localhost", {}).get("portshift_order", {})
        return found.run(list(terms), dict(play_of(made), **variables) if made else variables)
    return asked


def test_hosts_of_a_play_come_from_the_order_and_without_an_inventory_from_the_groups(look_up):
    hostvars = HostVars(dict.fromkeys(COMPONENTS, {}), localhost=dict(portshift_order=order()))
    assert look_up("phase", 2, hostvars=hostvars) == ["r2"] and look_up("batches", 1, hostvars=hostvars) == [1, 1]
    groups = ["boks_master", "boks_replicas", "boks_agents"]
    assert look_up("groups", portshift_product="boks", hostvars=hostvars) == look_up("order", portshift_product="boks") == groups
    assert look_up("order") == ["all"] and look_up("batches", 1) == [1]


def test_hosts_whose_way_back_is_shut_stay(look_up):
    back = dict(moved=["srv", "c1", "c2"], reopening=[])
    hostvars = HostVars(localhost=dict(portshift_order=order("rollback", ()), portshift_rollback=back), srv={},
                        c1=dict(bigfix_component_path=dict(ok=False)), c2=dict(bigfix_component_path=dict(skipped=True)))
    assert look_up("back", hostvars=hostvars) == ["r1", "r2", "c2"] and look_up("back_first", hostvars=hostvars) == [
        "srv", "r1", "r2", "c2"]


# -- what a host was opened for

class TemplatedVars(HostVars):
    """Variables in which C({{ of_the_site }}) stands for the shell of a Windows host."""

    def __getitem__(self, host):
        found = super().__getitem__(host)
        return {name: "powershell" if found[name] == "{{ of_the_site }}" else found[name] for name in found}


@pytest.mark.parametrize("reached, asked", [
    ({}, True), (dict(ansible_shell_type="sh"), True), (dict(ansible_shell_type="powershell"), False),
    (dict(ansible_shell_type="{{ of_the_site }}"), False)])
def test_a_windows_host_has_no_record_of_its_firewall_however_its_family_is_told(reached, asked):
    known = TemplatedVars({"c1": reached, "localhost": {}})
    told = act(order("rollback", ()), "c1", variables=dict(reached, bigfix_port=55000), hostvars=known, act="opening")
    assert told["asked"] is asked


# -- gates

def play_of(order):
    """The variables by which a play says what it is for."""
    return dict(portshift_product=order["product"], portshift_run=order["run"])


def act(order, host, check_mode=False, variables=None, facts=None, hostvars=None, **arguments):
    """The answer of the action, as `host` asks.  `facts`: host -> its variables."""
    hostvars = HostVars({member: {} for member in order["members"]}, **(facts or {})) if hostvars is None else hostvars
    hostvars["localhost"] = dict(hostvars.get("localhost", {}), portshift_order=order)
    task = SimpleNamespace(args=arguments, async_val=0, check_mode=check_mode, diff=False, get_search_path=lambda: [], tags=[])
    nowhere = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    templar = SimpleNamespace(template=lambda value: value)
    made = migration_action.ActionModule(task, nowhere, SimpleNamespace(), DataLoader(), templar, None)
    return made.run(task_vars=dict(play_of(order), hostvars=hostvars, inventory_hostname=host, **(variables or {})))


def evidence(name, hosts, **more):
    return {host: {name: dict(dict(ok=True, port=6530), **more)} for host in hosts}


@pytest.mark.parametrize("managed, whole, none", [
    (True, "so it can't be told whether they still need the port that this run would take away. Run without --limit",
     "no record names it, neither one of an agent nor that of the hub. Name the port that was opened."),
    (False, "so it can't be told which port they need. Run without --limit",
     "no agent's record names it. Name the port that agents have moved to.")])
def test_what_a_run_without_a_hub_would_take_away_is_not_told(managed, whole, none):
    found = change_tracker_order("close", (), agents=["a1"], hub_hosts=["h"] if managed else [], hub_managed=managed,
                                 not_asked=["a2"])
    assert act(found, "a1", act="whole")["msg"] == "Nothing was changed. a2: in the groups and not part of the run, %s." % whole
    back = dict(known=False, left=False, last=None, moved=[], hosts=["a1"], port=9443, old_port=None)
    said = act(dict(found, run="rollback"), "a1", act="gate", gate="way_back", facts=dict(
        a1=dict(change_tracker_way_back=dict(ok=True, record=None))), variables=dict(
            change_tracker_port=9443, portshift_rollback_found=dict(rollback=back), change_tracker_rollback_force=True))
    assert said["msg"] == "Nothing was changed. There is no migration to port 9443 to take back: " + none


def test_a_host_of_which_it_can_not_be_told_whether_it_was_opened_is_named_with_why():
    back = dict(known=False, left=False, last=None, moved=[], hosts=["srv"], port=9443, old_port=None)
    facts = {host: dict(bigfix_component_way_back=dict(ok=True, record=None), portshift_rollback_untold="")
             for host in COMPONENTS}
    facts["r1"]["portshift_rollback_untold"] = "nft could not list the rules"
    said = act(order("rollback", ()), "srv", act="gate", gate="way_back", facts=facts, variables=dict(
        bigfix_port=9443, portshift_rollback_found=dict(rollback=back)))["msg"]
    assert "no host was opened for it alone. Whether a bridge leads from there could not be told of r1 (nft could not " in said


def test_share_of_missing_hosts_is_one_of_all_hosts_where_it_counts_over_all_phases():
    order, allowed = boks_order(), dict(boks_max_missing="5%")
    proved = evidence("boks_evidence", ["r", "a0", "a1"])
    # 5 % of 40 hosts: the Master may be missing, at its own gate as at those of the steps behind it.
    assert act(order, "m", variables=allowed, facts=proved, act="gate", gate="phase", phase=1)["allowed"] == 2
    gate = act(order, "m", variables=dict(boks_max_missing=0), facts=proved, act="gate", gate="phase", phase=1)
    assert gate["failed"] and "gate after phase 1: closed. 1 of 1 hosts gave no evidence (allowed: 0): m (" in gate["msg"]
    last = dict(proved, **evidence("boks_evidence", order["order"][4:]))
    whole = act(order, "a9", variables=allowed, facts=last, act="gate", gate="phase", phase=3)
    assert not whole.get("failed") and (whole["expected"], whole["proved"], whole["allowed"]) == (40, 39, 2)
    assert whole["msg"].startswith("gate after the migration: ")


@pytest.mark.parametrize("run, option", [("migrate", "boks_max_missing"), ("close", "boks_close_max_missing")])
def test_gate_names_the_option_whose_number_of_missing_hosts_is_none(run, option):
    """Where it comes out of a template, so that it was not read before."""
    stopped = act(boks_order(run), "m", variables={option: "5percent"}, act="gate", gate="proof", port=6530)
    assert stopped["failed"] and stopped["msg"] == option + " is '5percent'; give a number of hosts or a percentage such as 5%"


def test_gate_says_what_stood_against_the_move_of_a_host_that_an_earlier_gate_let_pass():
    facts = evidence("boks_evidence", ["m", "r", "a0"])
    facts.update(a1=dict(boks_assessment=dict(ok=False, problems=["port 6531 is in use already"])),
                 a2=dict(boks_assessment=dict(ok=True), boks_path=dict(ok=False, problems=["m port 6531 tcp: dropped"])))
    whole = act(boks_order(), "a9", facts=facts, act="gate", gate="phase", phase=3)
    reasons = {entry["host"]: entry["reason"] for entry in whole["missing"]}
    assert reasons["a1"].endswith("; it was not moved: port 6531 is in use already")
    assert reasons["a2"].endswith("; it was not moved: m port 6531 tcp: dropped") and "not moved" not in reasons["a3"]


def test_steps_of_a_phase_count_what_was_missing_in_the_phases_before():
    order, proved = boks_order(), evidence("boks_evidence", ["r", "a0"])
    stopped = act(order, "a5", variables=dict(boks_max_missing="3%"), facts=proved, act="step", phase=3)
    assert stopped["failed"] and "phase 3, Server Agents, wave 1 of 2: closed. 2 of 4 hosts" in stopped["msg"]
    assert "(allowed: 1)" in stopped["msg"]
    goes_on = act(order, "a5", variables=dict(boks_max_missing="5%"), facts=proved, act="step", phase=3)
    assert (goes_on["moves"], goes_on["tasks_from"]) == (True, "apply")


def test_a_phase_of_bigfix_moves_by_one_verb_and_one_that_is_left_out_is_proved():
    moved = evidence("bigfix_component_evidence", ["srv"], port=55000)
    step = act(order(), "r1", facts=moved, act="step", phase=1)
    assert (step["moves"], step["tasks_from"], step["title"]) == (True, "apply", "Phase 1, pilot relays: r1")
    assert act(order(running=[3]), "srv", facts=moved, act="step", phase=1)["tasks_from"] == "verify"


def test_check_mode_foretells_that_a_phase_that_is_left_out_and_has_not_moved_ends_the_run():
    order = boks_order(running=[3])
    proved = evidence("boks_evidence", order["order"][1:], predicted=True)
    proved.update(evidence("boks_evidence", ["m"]))
    first = act(order, "m", True, facts=proved, act="gate", gate="phase", phase=1)
    assert not first.get("failed") and first["proved"] == 1
    second = act(order, "m", True, facts=proved, act="gate", gate="phase", phase=2)
    assert second["failed"] and "only predicted, as in check mode; phase 2, in which it moves, is no part of this run" in (
        second["msg"])
    assert not act(boks_order(running=[2, 3]), "m", True, facts=proved, act="gate", gate="phase", phase=2).get("failed")
    # The hosts of the phase that would run, in the report.
    [sentence, *unused] = act(order, "m", True, facts=proved, act="report")["report"]
    assert "39 of 40 hosts would be on base port 6530" in sentence
    # Verify tells what would be of a migration, phase by phase or not.
    verified = act(boks_order("verify", ()), "m", True, facts=proved, act="gate", gate="proof", port=6530)
    assert not verified.get("failed")


def test_no_agent_goes_on_without_its_hub_however_many_hosts_may_be_missing():
    """Not even where the hub was lost in an earlier play, so that no play of its own could say so."""
    order, lost = change_tracker_order(), dict(change_tracker_max_missing=2, change_tracker_close_max_missing=2)
    fine = dict(ok=True, port=8443)
    agents = {host: dict(change_tracker_path=fine, change_tracker_evidence=fine, change_tracker_way_back=dict(fine, record=None))
              for host in order["order"]}
    hub = dict(agents, h=dict(agents["h"], change_tracker_hub_evidence=fine, change_tracker_hub_way_back=dict(ok=True)))
    back = dict(portshift_rollback_found=dict(rollback=dict(hosts=["h", "a1"], known=True, moved=[], port=8443)))
    for gate, run, words in (("path", "migrate", "gate after the opening of port 8443: closed. 1 of 1"),
                             ("proof", "close", "gate after the proof of the hub on port 8443: closed. 1 of 1"),
                             ("way_back", "rollback", "gate after the look at the way back of the hub: closed. 1 of 1")):
        found, said = change_tracker_order(run), dict(lost, **back)
        stopped = act(found, "a1", variables=said, facts=agents, act="gate", gate=gate, port=8443)
        assert stopped["failed"] and words in stopped["msg"], gate
        assert not act(found, "a1", variables=said, facts=hub, act="gate", gate=gate, port=8443).get("failed"), gate
        # Where it is made to answer by hand, its host is asked for its agent alone.
        unmanaged = change_tracker_order(run, hub_hosts=())
        assert not act(unmanaged, "a1", variables=said, facts=agents, act="gate", gate=gate, port=8443).get("failed"), gate
    forced = dict(lost, **back, change_tracker_rollback_force=True)
    found = change_tracker_order("rollback")
    assert not act(found, "a1", variables=forced, facts=agents, act="gate", gate="way_back").get("failed")


def test_port_that_the_agents_of_a_hub_have_left_is_told_by_their_proofs():
    order = change_tracker_order("close", ())

    def left(**ports):
        facts = {host: dict(change_tracker_evidence=dict(ok=True, port=8443, old_port=port)) for host, port in ports.items()}
        return act(order, "h", facts=facts, act="left")["port"]
    assert left(h=443, a1=443) == left(h=None, a1=443) == left(a1=443) == 443
    # What is not known, or not one, is for the hub's close to say.
    assert left() == left(h=None, a1=None) == left(h=443, a1=9443) == 0


def test_host_that_does_not_get_through_is_told_which_hosts_above_it_are_no_part_of_the_run():
    limited = order(only=["c1"])
    shut = dict(c1=dict(bigfix_component_path=dict(ok=False, problems=["10.0.0.2:55000: refused"])))
    stopped = act(limited, "c1", facts=shut, variables=dict(portshift_plan=dict(pending=["c1"])), act="gate", gate="path")
    assert "10.0.0.2:55000: refused; its parent r1 is no part of this run: where that has not moved yet, move it first" in (
        stopped["msg"])
    found = dict(boks_order()["found"], order=["a1", "a2"], outside=dict(a1=["m", "r", *"123456"]))
    limited = migration.Order("boks", found, "migrate", [1, 2, 3]).whole()
    shut = {host: dict(boks_path=dict(ok=False, problems=["10.0.0.3:6531: refused"])) for host in ("a1", "a2")}
    stopped = act(limited, "a1", facts=shut, variables=dict(portshift_plan=dict(pending=["a1", "a2"])), act="gate", gate="path")
    assert ("a1 (10.0.0.3:6531: refused; it connects to m, r, 1, 2, 3 and 3 more, no part of this run: where one of these has "
            "not been opened for the base port yet, run without --limit); a2 (10.0.0.3:6531: refused)") in stopped["msg"]
    shut["a1"]["boks_path"]["problems"] = ["10.0.0.3:6531: " + "no answer " * 40]
    stopped = act(limited, "a1", facts=shut, variables=dict(portshift_plan=dict(pending=["a1", "a2"])), act="gate", gate="path")
    assert "...; it connects to m, r, 1, 2, 3 and 3 more, no part of this run: where one" in stopped["msg"]


def test_agent_that_does_not_get_through_is_told_that_its_hub_is_no_part_of_the_run():
    found = dict(change_tracker_order(agents=["a1"], hub_hosts=())["found"], outside=dict(a1=["h"]))
    limited = migration.Order("change_tracker", found, "migrate", [1, 2, 3]).whole()
    shut = dict(a1=dict(change_tracker_path=dict(ok=False, problems=["hub:8443: refused"])))
    stopped = act(limited, "a1", facts=shut, variables=dict(portshift_plan=dict(pending=["a1"])), act="gate", gate="path")
    assert ("a1 (hub:8443: refused; its hub h is no part of this run: where that does not answer on the new port yet, run "
            "without --limit)") in stopped["msg"]


def silenced(made, pending, **facts):
    """What the gate of a plan says where every host has answered.  `facts`: host -> variables that it has beside."""
    looks = {host: dict(bigfix_component_assessment=dict(ok=True, port=55000)) for host in made["order"]}
    for host, more in facts.items():
        looks[host] = dict(looks.get(host, {}), **more)
    plan = dict(portshift_plan=dict(pending=pending, problems=[]))
    return act(made, made["order"][0], variables=plan, facts=looks, act="gate", gate="plan")


@pytest.mark.parametrize("made, pending, bridges, words", [
    # --limit srv
    (order(only=["srv"]), ["srv"], dict(srv=dict(bigfix_bridge=False)), [
        "r1, r2: not part of the run, and below srv, which would move and then answer on the new port alone (bigfix_bridge is "
        "false). Run without --limit, or limit to hosts with all of their children; or let both ports answer: -e "
        "bigfix_bridge=true"]),
    # What the role of that host says counts, and is named.
    (order(only=["srv", "r1", "r2"]), ["srv", "r1", "r2"], dict(
        srv=dict(bigfix_bridge=False), r1=dict(bigfix_relay_bridge=False),
        r2=dict(bigfix_bridge=False, bigfix_relay_bridge="yes")), [
        "c1: not part of the run, and below r1,", "(bigfix_relay_bridge is false)", "-e bigfix_relay_bridge=true"]),
    (order(only=["srv", "r1", "r2"]), ["srv", "r1", "r2"], dict(
        srv=dict(bigfix_server_bridge=True), r1=dict(bigfix_relay_bridge=False), r2=dict(bigfix_bridge="no")), [
        "c1, c2: not part of the run, and below r1, r2,", "(bigfix_relay_bridge and bigfix_bridge are false)"]),
    # --tags phase1, bigfix_phases=1
    (order(running=[1]), list(COMPONENTS), dict(srv=dict(bigfix_bridge=False), r1=dict(bigfix_bridge=False)), [
        "r2, c1: in a phase that does not run, and below srv, r1, which would move and then answer on the new port alone "
        "(bigfix_bridge is false). Run all phases; or let both ports answer: -e bigfix_bridge=true"]),
    (order(running=[2]), ["r2", "c1", "c2"], dict(r2=dict(bigfix_relay_bridge=False)), [
        "c2: in a phase that does not run, and below r2,"]),
    # Both at once.
    (order(running=[1], only=["srv", "r2"]), ["srv", "r2"], dict(srv=dict(bigfix_bridge=False)), [
        "r1: not part of the run, and below srv,", "r2: in a phase that does not run, and below srv,"])],
    ids=["limit", "role", "roles", "phase", "later-phase", "both"])
def test_a_host_that_moves_without_a_bridge_leaves_no_child_behind(made, pending, bridges, words):
    refused = silenced(made, pending, **bridges)
    assert refused["failed"] and refused["msg"].startswith("Nothing was changed. ")
    assert all(sentence in refused["msg"] for sentence in words), refused["msg"]
    assert len(refused["problems"]) == refused["msg"].count(", and below ")
    # With a bridge, by the word of the host's role or that of all.
    both = {host: dict.fromkeys(names, True) for host, names in bridges.items()}
    assert not silenced(made, pending, **both).get("failed") and not silenced(made, pending).get("failed")


@pytest.mark.parametrize("made, pending", [
    # All that depend on them move in the same run.
    (order(), list(COMPONENTS)), (order(only=["r1", "c1"]), ["r1", "c1"]), (order(running=[3]), ["c1", "c2"]),
    # The parent has moved, or does not move in this run; the children that stay have moved.
    (order(only=["srv"]), []), (order(running=[3]), list(COMPONENTS)), (order(running=[1]), ["srv", "r1"]),
    # No other run moves a host.
    (order("plan", ()), list(COMPONENTS)), (order("plan", (), only=["srv"]), ["srv"])])
def test_without_a_bridge_too_a_run_that_leaves_no_child_behind_goes_on(made, pending):
    found = silenced(made, pending, **{host: dict(bigfix_bridge=False) for host in COMPONENTS})
    assert not found.get("failed"), found["msg"]


def test_own_variables_of_a_site_may_come_from_the_command_line():
    assert migration.listed_names("a_b, c") == migration.listed_names(["a_b", "c"]) == ["a_b", "c"]
    assert migration.listed_names("[a_b]") == ["a_b"] and migration.listed_names(None) == []


# -- the plays

def plays():
    for path in sorted(PLAYBOOKS.rglob("*.yml")):
        for play in yaml.safe_load(path.read_text()):
            if "hosts" in play:
                yield path.name, play


def test_plays_state_what_they_rely_on():
    """Whatever a site's ansible.cfg says."""
    found = list(plays())
    assert len(found) > 20
    for name, play in found:
        assert isinstance(play["any_errors_fatal"], bool) and play["gather_facts"] is False, (name, play["name"])
        assert play["strategy"] in ("{{ portshift_strategy | default('ansible.builtin.linear') }}",
                                    "ansible.builtin.host_pinned"), (name, play["name"])
        # Batches, and hosts that wait for one another, are cut out of an order.
        text = json.dumps(play)
        assert ("order" in play) == ("serial" in play or "throttle" in text), (name, play["name"])
        assert play.get("order", "inventory") == "inventory"


def test_lock_is_taken_renewed_and_given_back_in_every_run_that_changes_hosts():
    for path in sorted((PLAYBOOKS / "parts").glob("*run_*.yml")):
        run = re.search("run_([a-z_]+)", path.name).group(1)
        titles = [play["name"].split()[0] for play in yaml.safe_load(path.read_text()) if "lock" in play["name"]]
        assert titles == dict(
            plan=[], verify=[], migrate=["Acquire", "Renew", "Release"], close=["Acquire", "Renew", "Release"],
            rollback=["Acquire", "Renew", "Renew", "Release"], open_ports=["Acquire", "Release"])[run], path.name


# -- as many looks as there are hosts

def estate_of(number):
    """A BigFix order of a server, two relays and `number` clients in waves of four, and what all of them have said."""
    clients = ["c%d" % one for one in range(number)]
    cut = [clients[first:first + 4] for first in range(0, number, 4)]
    steps = [*STEPS[:3], *(dict(phase=3, title="wave %d of %d" % (one, len(cut)), hosts=wave) for one, wave in enumerate(cut, 1))]
    parents = dict(r1="srv", r2="srv", **{host: ("r1", "r2")[one % 2] for one, host in enumerate(clients)})
    components = dict(srv="server", r1="relay", r2="relay", **dict.fromkeys(clients, "client"))
    found = dict(port=55000, server="srv", steps=steps, parents=parents, order=list(components), begun=1.0, components=components,
                 phases={str(one): [step for step in steps if step["phase"] == one] for one in (1, 2, 3)})
    said = dict(ok=True, port=55000, old_port=52311, edits=[dict(path="/x")], record=None, relay="r1")
    facts = {host: dict(bigfix_component_assessment=said, bigfix_component_evidence=said, bigfix_component_path=said,
                        bigfix_parent=parents.get(host)) for host in components}
    return migration.Order("bigfix", found, "migrate", [1, 2, 3]).whole(), HostVars(facts)


def looks_of_a_run(number, *acts):
    """How often a run of so many clients puts the variables of a host together."""
    order, hostvars = estate_of(number)
    for arguments in acts:
        found = act(order, "srv", hostvars=hostvars, **arguments)
        assert not found.get("failed"), found
    # As the playbook has it: each wave asks once, and each of its hosts keeps the answer.
    for phase in (1, 2, 3):
        for step in order["phases"][str(phase)]:
            found = act(order, step["hosts"][0], hostvars=hostvars, act="step", phase=phase)
            assert not found.get("failed"), found
            for host in step["hosts"]:
                hostvars[host]["portshift_step"] = found
    return hostvars.looks


def grows_with_the_hosts(eighth, whole):
    """Eight times the hosts take eight times the looks, and not 64 times; what does not grow at all makes it less."""
    return whole <= SHARE * eighth


@pytest.mark.parametrize("arguments", [
    dict(act="gate", gate="path"), dict(act="gate", gate="phase", phase=3), dict(act="gate", gate="proof", port=55000),
    dict(act="report")], ids=lambda arguments: arguments.get("gate", arguments["act"]))
def test_what_is_asked_once_of_all_hosts_looks_once_at_each(arguments):
    counts = []
    for number in (16, 16 * SHARE):
        order, hostvars = estate_of(number)
        plan = dict(portshift_plan=dict(pending=order["order"], problems=[]))
        act(order, "srv", hostvars=hostvars, variables=plan, **arguments)
        # At most two questions of each host in one act; the looks at what is kept with localhost are few.
        assert hostvars.looks <= 2 * len(order["order"]) + 8, (arguments, hostvars.looks)
        counts.append(hostvars.looks)
    assert grows_with_the_hosts(*counts), counts


def test_waves_of_a_migration_do_not_count_all_hosts_before_them():
    eighth, whole = looks_of_a_run(16), looks_of_a_run(16 * SHARE)
    assert grows_with_the_hosts(eighth, whole), (eighth, whole)


def test_a_wave_that_was_lost_whole_is_counted_with_all_before_it():
    order, hostvars = estate_of(12)
    for host in ("c4", "c5", "c6", "c7"):
        del hostvars[host]["bigfix_component_evidence"]
    counted = act(order, "c4", hostvars=hostvars, act="step", phase=3)
    assert (counted["counted"]["expected"], counted["counted"]["missing"]) == (4, [])
    # None of the wave that was lost has kept what it counted.
    stopped = act(order, "c8", hostvars=hostvars, act="step", phase=3)
    assert stopped["failed"] and "4 of 8 hosts gave no evidence (allowed: 0): c4, c5, c6, c7" in stopped["msg"]
    for host in ("c4", "c5", "c6", "c7"):
        hostvars[host]["portshift_step"] = counted
    allowed = dict(bigfix_max_missing=4)
    assert act(order, "c8", hostvars=hostvars, variables=allowed, act="step", phase=3)["counted"] == dict(
        run=counted["counted"]["run"], phase=3, step=2, expected=8, missing=stopped["missing"])
    # Nor has a wave of which no host was in its play.
    for host in ("c4", "c5", "c6", "c7"):
        del hostvars[host]["portshift_step"]
        hostvars[host]["bigfix_component_evidence"] = hostvars["c0"]["bigfix_component_evidence"]
    assert act(order, "c8", hostvars=hostvars, act="step", phase=3)["counted"] == dict(
        run=counted["counted"]["run"], phase=3, step=2, expected=8, missing=[])
    for host in ("c4", "c5", "c6", "c7"):
        del hostvars[host]["bigfix_component_evidence"]
    # A wave takes over what was missing in those before the one before it.
    hostvars["c7"]["portshift_step"] = hostvars["c4"]["portshift_step"] = dict(counted=dict(
        run="bigfix migrate 0", phase=3, step=1, expected=4, missing=[dict(host="c0", reason="silent")]))
    other = act(order, "c8", hostvars=hostvars, act="step", phase=3)
    assert "4 of 8 hosts gave no evidence (allowed: 0): c4, c5, c6, c7" in other["msg"], "that of another run in the same process"
    hostvars["c4"]["portshift_step"]["counted"]["run"] = counted["counted"]["run"]
    again = act(order, "c8", hostvars=hostvars, act="step", phase=3)
    assert "5 of 8 hosts gave no evidence (allowed: 0): c0 (silent); c4, c5, c6, c7" in again["msg"]


def run(action, hostvars, groups=None, **arguments):
    """The answer of a product's own action."""
    task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, diff=False, get_search_path=lambda: [])
    nowhere = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    made = action.ActionModule(task, nowhere, SimpleNamespace(), DataLoader(), None, None)
    found = made.run(task_vars=dict(hostvars=hostvars, groups=groups or {}))
    assert not found.get("failed"), found
    return found


def test_plan_looks_once_at_each_host():
    for number in (16, 16 * SHARE):
        order, hostvars = estate_of(number)
        run(bigfix_plan, hostvars, topology=order["found"], assessment="bigfix_component_assessment")
        # The names of those that are a parent are looked up, too.
        assert hostvars.looks <= len(order["order"]) + 3


@pytest.mark.parametrize("action, groups, options", [
    (bigfix_topology, ("bigfix_server", "bigfix_relays", "bigfix_clients", "bigfix_pilot"),
     dict(port=55000, restrict_sources=True)),
    (boks_domain, ("boks_master", "boks_replicas", "boks_agents"), dict(base_port=6530, restrict_sources=True)),
    (change_tracker_estate, ("change_tracker_hub", "change_tracker_proxies", "change_tracker_agents"),
     dict(port=8443, restrict_sources=True))], ids=lambda value: getattr(value, "__name__", "").rsplit(".", 1)[-1])
def test_an_order_is_laid_out_with_one_look_at_each_host(action, groups, options):
    for number in (16, 16 * SHARE):
        members = {groups[0]: ["first"], groups[1]: [], groups[2]: ["h%d" % one for one in range(number)]}
        hostvars = HostVars({host: dict(ansible_host="10.0.0.1") for hosts in members.values() for host in hosts})
        found = run(action, hostvars, {name: members.get(name, []) for name in groups}, hosts=list(hostvars), **options)
        assert len(found["order"]) == number + 1 and hostvars.looks <= number + 1


def lay_out(action, groups, number, **options):
    """Seconds for an order of so many hosts."""
    members = {groups[0]: ["first"], groups[1]: [], groups[2]: ["h%d" % one for one in range(number)]}
    hostvars = HostVars({host: {} for hosts in members.values() for host in hosts})
    return seconds(lambda: run(action, hostvars, members, hosts=list(hostvars), **options))


@pytest.mark.parametrize("action, groups, options", [
    (boks_domain, ("boks_master", "boks_replicas", "boks_agents"), dict(base_port=6530)),
    (change_tracker_estate, ("change_tracker_hub", "change_tracker_proxies", "change_tracker_agents"), dict(port=8443))],
    ids=["boks", "change_tracker"])
def test_laying_out_an_order_takes_as_long_as_there_are_hosts(action, groups, options):
    eighth, whole = (lay_out(action, groups, number, **options) for number in (1000, 1000 * SHARE))
    assert is_a_line(eighth, whole), (eighth, whole)


def test_way_back_of_many_hosts_takes_as_long_as_there_are_hosts():
    def cost(number):
        records = {"h%d" % one: dict(old_port=1, new_port=2, started=one, state="rolled_back" if one % 2 else "verified")
                   for one in range(number)}
        hostvars = HostVars({host: dict(way_back=dict(ok=True, record=record)) for host, record in records.items()})
        return seconds(lambda: run(rollback_plan, hostvars, hosts=list(records), way_back="way_back"))
    eighth, whole = cost(1000), cost(1000 * SHARE)
    assert is_a_line(eighth, whole), (eighth, whole)
