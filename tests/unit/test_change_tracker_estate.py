# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub and its agents out of the inventory: who is what, who may connect, the steps through them, and the plan made of it."""

import json

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._change_tracker_estate import Estate

GROUPS = dict(change_tracker_hub=["h"], change_tracker_proxies=["p1", "p2"], change_tracker_agents=["a1", "a2", "a3", "a4"])
ADDRESSES = {host: "addr-" + host for hosts in GROUPS.values() for host in hosts}
AGENT = dict(ok=True, problems=[], notes=[], agent=True, url="https://hub.example.test/api/", host="hub.example.test", tls=True,
             port=443, new_url="https://hub.example.test:8443/api/", old_port=443, service="nntgen7agentcore",
             service_active=True, thumbprint="AB", through_proxy=False, edits=["the URL"])


def estate(hub_server="nginx", **changes):
    return Estate({name: hosts for name, hosts in dict(GROUPS, **changes).items() if hosts is not None}, hub_server)


@pytest.mark.parametrize("changes, words", [
    (dict(change_tracker_proxies=None), "change_tracker_proxies is missing; define it, empty if"),
    (dict(change_tracker_hub=[]), "change_tracker_hub has to hold the one hub, it holds no host"),
    (dict(change_tracker_hub=["h", "g"]), "it holds 2: h, g"),
    (dict(change_tracker_hub=["h", "g"], hub_server="none"), "it holds 2: h, g"),
    (dict(hub_server="none", change_tracker_proxies=[], change_tracker_agents=[]), "there is no agent to move"),
])
def test_inventories_that_can_not_be_are_refused(changes, words):
    problems = estate(**changes).problems
    assert len(problems) == 1 and words in problems[0]


def test_agent_of_the_hub_goes_first_then_proxies_one_by_one_then_agents_in_waves():
    steps = estate().steps(["25%", "100%"])
    assert [(step["title"], step["hosts"]) for step in steps] == [
        ("Agent of the hub", ["h"]), ("Proxy p1", ["p1"]), ("Proxy p2", ["p2"]), ("Agents, wave 1 of 2", ["a1"]),
        ("Agents, wave 2 of 2", ["a2", "a3", "a4"])]


def test_limit_leaves_out_whom_it_does_not_name():
    steps = estate().steps(["100%"], only=["p2", "a3", "a4"], forks=1)
    assert [step["hosts"] for step in steps] == [["p2"], ["a3"], ["a4"]]


def test_pilot_is_cut_at_the_forks():
    pilot = estate(change_tracker_pilot=["a1", "a2", "a4"])
    assert [(step["title"], step["phase"], step["hosts"]) for step in pilot.steps(["100%"], forks=2)][1:3] == [
        ("Pilot agents, wave 1 of 2", 1, ["a1", "a2"]), ("Pilot agents, wave 2 of 2", 1, ["a4"])]
    assert [step["title"] for step in pilot.steps(["100%"], only=["a2", "a4"], forks=2)] == ["Pilot agents"]


def test_wave_that_is_no_size_is_named():
    with pytest.raises(EngineError, match="change_tracker_agent_waves is 'some'"):
        estate().steps(["some"])


def test_hub_that_is_a_proxy_too_moves_once_as_the_hub():
    both = estate(change_tracker_proxies=["h", "p1"])
    assert both.components["h"] == ["hub", "proxy"]
    assert [step["hosts"] for step in both.steps(["100%"])] == [["h"], ["p1"], ["a1", "a2", "a3", "a4"]]


def test_host_that_is_agent_and_proxy_moves_once_as_a_proxy():
    steps = estate(change_tracker_agents=["a1", "p1"]).steps(["100%"])
    assert [step["hosts"] for step in steps] == [["h"], ["p1"], ["p2"], ["a1"]]


def test_no_run_connects_to_a_hub_that_its_administrator_looks_after():
    alone = estate(hub_server="none")
    assert "h" not in alone.components and alone.hub == "h"
    assert alone.openings(8443) == {} and alone.keeper == "a1"
    assert alone.steps(["100%"])[0]["title"] == "Proxy p1"
    assert estate(hub_server="none", change_tracker_hub=[]).problems == []


def test_hub_behind_iis_is_moved_and_so_is_its_own_agent():
    found = estate(hub_server="iis")
    assert found.components["h"] == ["hub"] and found.hub_managed and found.keeper == "h"
    assert found.openings(8443) == dict(h=[dict(port=8443, protocol="tcp", sources=[])])
    assert found.steps(["100%"])[0] == dict(phase=1, title="Agent of the hub", component="hub", hosts=["h"])
    alone = estate(hub_server="iis", change_tracker_hub=[])
    assert len(alone.problems) == 1 and "has to hold the one hub" in alone.problems[0]


def test_agent_on_the_host_of_such_a_hub_moves_all_the_same():
    found = estate(hub_server="none", change_tracker_agents=["h", "a1"])
    assert found.steps(["100%"])[0] == dict(
        phase=1, title="Agent of the hub", component="hub", hosts=["h"]) and found.keeper == "h"


def test_firewall_admits_any_address_unless_told_who_is_to_connect():
    assert estate().openings(8443) == dict(h=[dict(port=8443, protocol="tcp", sources=[])])
    (restricted,) = estate().openings(8443, ADDRESSES, ["192.0.2.0/24"])["h"]
    assert restricted["sources"] == ["192.0.2.0/24", "addr-a1", "addr-a2", "addr-a3", "addr-a4", "addr-p1", "addr-p2"]


def test_restricted_port_to_which_no_host_connects_is_not_open_to_any_address():
    alone = estate(change_tracker_proxies=[], change_tracker_agents=[])
    assert alone.openings(8443, ADDRESSES)["h"][0]["sources"] == ["addr-h"]


MONITORED = [dict(host="lx", kind="linux"), dict(host="win", kind="windows"), dict(host="sw", kind="network")]


def test_proxy_reaches_linux_and_network_by_ssh_and_windows_by_smb():
    found = estate().monitored(dict(p1=MONITORED, a1=MONITORED))
    assert list(found) == ["p1"]
    assert [(flow["host"], flow["port"]) for flow in found["p1"]] == [("lx", 22), ("win", 445), ("sw", 22)]


def test_telnet_is_looked_at_on_request_only():
    asked = estate().monitored(dict(p1=MONITORED + [dict(host="old", kind="network", by="telnet")]), telnet=True)
    assert [(flow["host"], flow["port"]) for flow in asked["p1"][2:]] == [("sw", 22), ("sw", 23), ("old", 23)]
    with pytest.raises(EngineError, match="old is to be monitored by telnet.*change_tracker_telnet=true"):
        estate().monitored(dict(p1=[dict(host="old", kind="network", by="telnet")]))


@pytest.mark.parametrize("told, words", [
    ("lx", "p1: change_tracker_monitored has to be a list"),
    (["lx"], "p1: change_tracker_monitored, entry 1 is 'lx'; give the host's name"),
    ([dict(host="lx", kind="linux"), dict(host="x", kind="vms")], "entry 2 is .*'vms'"),
    ([dict(kind="linux")], "give the host's name"),
    (dict(host="x", password="7Qz"), r"it is {'host': 'x', 'password': '\*{8}'}$"),
    ([dict(host="x", kind="vms", password="7Qz", by=["7Qz"])],
     r"entry 1 is {'host': 'x', 'kind': 'vms', 'password': '\*{8}', 'by': '\*{8}'}; give"),
    ([["7Qz"]], "entry 1 is list; give"),
    ([dict(host="win", kind="windows", by="ssh")], "win is a host of kind windows, which is monitored by smb, and not by 'ssh'"),
])
def test_monitored_hosts_that_can_not_be_are_named(told, words):
    with pytest.raises(EngineError, match=words):
        estate().monitored(dict(p1=told))


@pytest.fixture
def ask(run_module, tmp_path):
    """ask(module, hosts={name: variables}, groups=..., limit=[host], **options) -> what the action says in such an inventory."""
    def run(name, hosts=None, groups=None, limit=None, **options):
        path = tmp_path / "inventory.json"
        path.write_text(json.dumps(dict(all=dict(children={
            group: dict(hosts={host: (hosts or {}).get(host) or {} for host in members})
            for group, members in (groups or GROUPS).items()}))))
        first = next(host for members in (groups or GROUPS).values() for host in members)
        return run_module(name, inventory=str(path), host=first, **options, **(dict(hosts=limit) if limit else {}))
    return run


@pytest.mark.parametrize("options, words", [
    (dict(), "change_tracker_port is not set; say which port to move to, such as -e change_tracker_port=8443"),
    (dict(port="70000"), "change_tracker_port is 70000"),
    (dict(port=8443, hub_server="apache"), "change_tracker_hub_server is 'apache'; give nginx, iis, or none"),
    (dict(port=8443, window="late"), "change_tracker_window is 'late'"),
    (dict(port=8443, hosts=[]), "no host of this run has an agent; look at --limit"),
    (dict(port=8443, hosts=["h"], groups=dict(GROUPS, change_tracker_hub=["h", "g"])), "has to hold the one hub"),
    (dict(port=8443, hosts=["h"], hub_server="nginx", hosts_vars=dict(h=dict(ansible_connection="winrm"))),
     "h, the hub, is a Windows host: leave change_tracker_hub_server out, or set it to iis"),
    (dict(port=8443, hosts=["h"], hosts_vars=dict(p2=dict(change_tracker_monitored=[dict(host="x")]))),
     "p2: change_tracker_monitored, entry 1"),
])
def test_options_that_can_not_be_are_named_before_any_host_is_asked(run_module, tmp_path, options, words):
    groups, variables = options.pop("groups", GROUPS), options.pop("hosts_vars", {})
    path = tmp_path / "inventory.json"
    path.write_text(json.dumps(dict(all=dict(children={
        group: dict(hosts={host: variables.get(host) or {} for host in members}) for group, members in groups.items()}))))
    result = run_module("change_tracker_estate", inventory=str(path), host="a1", **options)
    assert result["failed"] and result["msg"].startswith("Nothing was changed. ") and words in result["msg"]
    assert len(result["problems"]) == 1


def test_windows_hub_is_no_problem_where_its_administrator_looks_after_it(ask):
    result = ask("change_tracker_estate", dict(h=dict(ansible_connection="winrm", ansible_host="192.0.2.1")), port="8443",
                 hub_server="none")
    assert result["hub_address"] == "192.0.2.1"
    assert not result.get("failed") and result["port"] == 8443
    assert (result["hub"], result["hub_managed"], result["hub_hosts"], result["keeper"]) == ("h", False, [], "a1")
    assert result["order"] == ["p1", "p2", "a1", "a2", "a3", "a4"]
    waves = [step["hosts"] for step in result["steps"] if step["component"] == "agent"]
    assert sum(waves, []) == ["a1", "a2", "a3", "a4"]


def test_windows_hub_has_iis_unless_a_variable_says_otherwise(ask):
    windows = dict(h=dict(ansible_connection="psrp"))
    result = ask("change_tracker_estate", windows, port=8443)
    assert (result["hub_server"], result["hub_hosts"], result["keeper"]) == ("iis", ["h"], "h")
    assert result["order"][0] == "h" and result["not_asked"] == []
    assert ask("change_tracker_estate", port=8443)["hub_server"] == "nginx"
    by_hand = dict(h=dict(ansible_connection="psrp", change_tracker_hub_server="none"))
    assert ask("change_tracker_estate", by_hand, port=8443, limit=["a1"])["hub_server"] == "none"


def test_windows_hosts_are_agents_and_proxies_as_others_are(ask):
    windows = {host: dict(ansible_connection="winrm") for host in ("h", "p2", "a2")}
    result = ask("change_tracker_estate", windows, port=8443)
    assert not result.get("failed") and {"h", "p2", "a2"} < set(result["order"])
    assert result["steps"] == ask("change_tracker_estate", port=8443)["steps"]


def test_who_is_left_out_by_a_limit_is_told_and_so_is_a_hub_on_windows(ask):
    windows = dict(h=dict(ansible_connection="psrp"))
    result = ask("change_tracker_estate", windows, port=8443, limit=["p1", "p2", "a1", "a2", "a3"])
    assert (result["not_asked"], result["hub_hosts"]) == (["h", "a4"], [])
    # Each of its agents connects to it.
    assert result["outside"] == {host: ["h"] for host in result["order"]} and result["order"]
    assert ask("change_tracker_estate", port=8443, limit=["h", "a1"])["not_asked"] == ["p1", "p2", "a2", "a3", "a4"]


def test_sources_are_where_the_agents_come_from(ask):
    groups = dict(GROUPS, change_tracker_agents=["a1"], change_tracker_proxies=[])
    result = ask("change_tracker_estate", dict(a1=dict(ansible_host="192.0.2.7", change_tracker_address="198.51.100.7")), groups,
                 port=8443, restrict_sources=True)
    assert result["openings"] == dict(h=[dict(port=8443, protocol="tcp", sources=["198.51.100.7"])])


SMALL = dict(change_tracker_hub=["h"], change_tracker_proxies=["p1"], change_tracker_agents=["a1", "a2"])


def plan(ask, hub=None, hub_server="nginx", hub_asked=True, **agents):
    """The plan where each agent says what is given by its host's name, None for no answer."""
    known = Estate(SMALL, hub_server)
    order = [host for step in known.steps(["100%"]) for host in step["hosts"]]
    said = {host: agents.get(host, AGENT) for host in order}
    hosts = {host: dict(agents_said=answer) if answer else {} for host, answer in said.items()}
    if hub:
        hosts.setdefault("h", {})["hub_said"] = hub
    return ask("change_tracker_plan", hosts, SMALL, assessment="agents_said", hub_assessment="hub_said", estate=dict(
        port=8443, hub="h", hub_server=hub_server, hub_managed=known.hub_managed, components=known.components, order=order,
        hub_hosts=["h"] if known.hub_managed and hub_asked else []))


HUB = dict(ok=True, problems=[], notes=["look here"], listens=dict(before=["443 ssl"], after=["443 ssl", "8443 ssl"]),
           host_port=dict(missing=["firewalld: port 8443/tcp"]))


def test_plan_tells_old_and_new_url_of_every_agent_and_what_the_hub_lacks(ask):
    result = plan(ask, HUB, h=dict(AGENT, agent=False), a2=dict(AGENT, thumbprint=None, through_proxy=True, service_active=False))
    assert result["old_port"] == 443 and result["pending"] == ["p1", "a1", "a2"] and result["problems"] == []
    report = result["report"]
    assert report[0] == "Moving from port 443 to port 8443: 3 of 3 agents have something to change."
    row = next(line for line in report if line.split()[1] == "a1")
    assert "https://hub.example.test/api/ -> https://hub.example.test:8443/api/" in row and "thumbprint compared" in row
    row = next(line for line in report if line.split()[1] == "a2")
    assert "no thumbprint to compare" in row and "through an HTTP proxy" in row and "which does not run" in row
    assert any(line.startswith("hub ") and line.endswith("no agent on this host") for line in report)
    assert any("nginx: `listen 443 ssl` -> `listen 443 ssl` `listen 8443 ssl`" in line for line in report)
    assert "open: firewalld: port 8443/tcp; on h" in report and "note: h: look here" in report
    assert any("bookmarks of console users" in line for line in report)


def test_hosts_that_answered_nothing_stand_in_the_plan_with_the_reason(ask):
    result = plan(ask, HUB, a1=None, a2=dict(AGENT, ok=False, problems=["/x: the file is empty"]))
    assert any("a1" in line and "PROBLEM  no answer" in line for line in result["report"])
    assert any("a2" in line and "PROBLEM  /x: the file is empty" in line for line in result["report"])
    assert result["pending"] == ["h", "p1"]


def test_agents_on_different_ports_are_a_problem_that_lists_them(ask):
    result = plan(ask, HUB, a2=dict(AGENT, url="https://hub.example.test:444/api/", port=444))
    (problem,) = result["problems"]
    assert "h, p1, a1: on 443; a2: on 444" in problem and result["old_port"] is None


def test_those_that_have_moved_already_name_no_other_port(ask):
    there = dict(AGENT, url="https://hub.example.test:8443/api/", port=8443, edits=[], old_port=443)
    result = plan(ask, HUB, h=there, p1=there)
    assert result["problems"] == [] and result["old_port"] == 443 and result["pending"] == ["a1", "a2"]
    result = plan(ask, HUB, h=there, p1=there, a1=there, a2=dict(there, old_port=None))
    assert result["old_port"] == 443 and result["pending"] == []
    assert result["report"][0].startswith("Moving the agents to port 8443: 0 of 4 agents")


def test_names_of_the_hub_that_differ_are_listed_together(ask):
    result = plan(ask, HUB, a1=dict(AGENT, url="https://192.0.2.1/api/", host="192.0.2.1"))
    assert result["problems"] == [] and result["hubs"]["192.0.2.1"] == ["a1"]
    assert any("a1: name 192.0.2.1; h, p1, a2: name hub.example.test" in line for line in result["report"])


def test_plan_names_the_ports_of_the_hub_that_are_no_part_of_the_migration(ask):
    found = dict(HUB, path="/nnt.conf", ports=dict(before=[80, 443, 8443, 9443], after=[80, 443, 8443, 9443]))
    (note,) = [line for line in plan(ask, found)["report"] if "listen on port" in line]
    assert note.startswith("note: h: the servers in /nnt.conf listen on port 80 and port 9443 too, which this migration leaves")
    quiet = plan(ask, dict(found, ports=dict(before=[443, 8443], after=[443, 8443])))
    assert not any("listen on port" in line for line in quiet["report"])


def test_plan_of_a_hub_behind_iis_tells_its_bindings(ask):
    listens = ["https *:443: AB", "https *:8443: AB"]
    found = dict(HUB, path="site Hub of IIS", listens=dict(before=listens[:1], after=listens),
                 ports=dict(before=[443, 9443], after=[443, 8443, 9443]))
    report = plan(ask, found, hub_server="iis")["report"]
    assert any("IIS: `https *:443: AB` -> `https *:443: AB` `https *:8443: AB`" in line for line in report)
    (note,) = [line for line in report if "site Hub of IIS is bound to port 9443 too" in line]
    assert "remove its binding in IIS Manager" in note
    assert not any("is not moved" in line for line in report)


def test_hub_that_did_not_answer_stands_in_the_plan(ask):
    assert any("hub " in line and "PROBLEM  no answer" in line for line in plan(ask)["report"])


def test_hub_that_is_no_part_of_the_run_is_a_note(ask):
    report = plan(ask, hub_asked=False)["report"]
    assert not any(line.startswith("hub ") and "PROBLEM" in line and "listen" in line for line in report)
    assert "note: h: the hub is no part of this run, so what it listens on was not read" in report


def test_plan_says_so_where_its_administrator_looks_after_the_hub(ask):
    report = plan(ask, hub_server="none")["report"]
    assert not any(line.startswith("hub ") for line in report)
    assert any("the hub's own listener is left alone" in line for line in report)


FLOWS = dict(
    a1=[dict(host="hub.example.test", port=8443, protocol="tcp", service="https")],
    p1=[dict(host="hub.example.test", port=8443, protocol="tcp", service="https", untried="an HTTP proxy stands between"),
        dict(host="sw", port=22, protocol="tcp", service="ssh", warning=None),
        dict(host="sw", port=23, protocol="tcp", service="telnet", warning="SSH is recommended.")])
OPEN = dict(reachable=True, source="192.0.2.7", address="192.0.2.1", reason=None)
DROPPED = dict(reachable=False, source="192.0.2.8", address="192.0.2.9", reason="no answer within 5 s")


def flows(ask, inbound=None, hub_managed=True, **answers):
    hosts = {host: dict(told=FLOWS[host]) for host in FLOWS}
    for host, results in answers.items():
        hosts[host]["answers"] = dict(results=results)
    if inbound:
        hosts["h"] = dict(inbound=inbound)
    groups = dict(change_tracker_hub=["h"], change_tracker_proxies=["p1"], change_tracker_agents=["a1", "a2"])
    return ask("change_tracker_flows", hosts, groups, flows="told", answers="answers", inbound="inbound", estate=dict(
        hub="h", hub_managed=hub_managed, hub_hosts=["h"] if hub_managed else [], order=["p1", "a1"],
        openings=dict(h=[dict(port=8443, protocol="tcp", sources=[])])))


def test_table_names_what_is_shut_as_a_firewall_team_needs_it(ask):
    result = flows(ask, dict(backend="nftables", added=[]), a1=[OPEN], p1=[OPEN, DROPPED])
    assert result["shut"] == [dict(
        source="p1", source_address="192.0.2.8", destination="sw", destination_address="192.0.2.9", port=23, protocol="tcp",
        service="telnet", reason="no answer within 5 s",
        error="p1 (192.0.2.8) -> sw (192.0.2.9) port 23 tcp: no answer within 5 s")]
    lines = [" ".join(line.split()) for line in result["report"]]
    assert lines[0] == "from to port protocol service state"
    assert "any address h 8443 tcp https open" in lines
    assert "a1 (192.0.2.7) hub.example.test (192.0.2.1) 8443 tcp https open" in lines
    assert "p1 hub.example.test 8443 tcp https not tried: an HTTP proxy stands between" in lines
    assert "p1 (192.0.2.8) sw (192.0.2.9) 23 tcp telnet SHUT: no answer within 5 s" in lines
    assert lines[-2:] == ["warning: SSH is recommended.", "3 of 4 are open."] and result["tried"] == 4


def test_what_the_firewall_of_the_hub_would_have_to_get_is_shut(ask):
    result = flows(ask, dict(backend="ufw", added=[dict(port=8443, protocol="tcp")]), a1=[OPEN], p1=[OPEN, OPEN])
    assert [(entry["destination"], entry["reason"]) for entry in result["shut"]] == [
        ("h", "the hub's own firewall (ufw) does not admit it")]
    # As it comes out of a task with failed_when: false.
    result = flows(ask, dict(failed=False, msg="firewalld and ufw are both active"), a1=[OPEN], p1=[OPEN, OPEN])
    assert result["shut"][0]["reason"] == "firewalld and ufw are both active"


def test_firewall_that_no_run_was_to_look_at_is_no_open_one(ask):
    result = flows(ask, dict(changed=False, skipped=True, skip_reason="Conditional result was False"), a1=[OPEN], p1=[OPEN, OPEN])
    assert result["shut"] == [] and result["tried"] == 3
    assert any("any address" in line and line.endswith("not looked at (change_tracker_hub_firewall: none)")
               for line in result["report"])


def test_windows_firewall_without_a_rule_of_ours_is_not_known_to_be_shut(ask):
    result = flows(ask, dict(backend="windows", added=[dict(port=8443, protocol="tcp")]), a1=[OPEN], p1=[OPEN, OPEN])
    assert result["shut"] == []
    assert any("the rule of open_change_tracker_ports.yml is not there" in line for line in result["report"])
    assert result["tried"] == 3


def test_host_that_gave_no_answer_is_no_open_one(ask):
    result = flows(ask, dict(backend="none", added=[]), p1=[OPEN, OPEN])
    assert [(entry["source"], entry["reason"][:9]) for entry in result["shut"]] == [("a1", "not known")]


def test_hub_that_its_administrator_looks_after_is_a_note_in_the_table(ask):
    result = flows(ask, hub_managed=False, a1=[OPEN], p1=[OPEN, OPEN])
    assert result["shut"] == [] and any("hub's own host is left alone" in line for line in result["report"])
