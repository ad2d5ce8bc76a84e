# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_port: plan, record, the steps of a change and the way back, over a firewall that is a dict; and the action's rounds."""

import copy
import json
import os

import pytest

from ansible_collections.portshift.agents.plugins.action import host_port as action
from ansible_collections.portshift.agents.plugins.module_utils._host_port import (
    plan as _host_port, port_reservation, selinux_ports)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.iptables import Iptables
from ansible_collections.portshift.agents.plugins.module_utils._host_port.plan import (
    NoFirewall, assess, change, choose_backend, undone, verify)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.iptables_rules import SavedTable
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    Opening, OpeningError, Reading, from_plain)

HALVES = ("runtime", "permanent")


def opening(port, protocol="tcp", *sources):
    return dict(port=port, protocol=protocol, sources=list(sources))


class Paper:
    """A firewall on paper: half -> rule -> the openings that it makes.  Calls are carried out by obey()."""

    name, precise, separate = "firewalld", True, True
    held, whole, trouble, notes = {}, {}, [], ()

    def __init__(self, module=None, mark=None, zone=None):
        self.zone, self.mark = zone, mark

    def active(self):
        return True

    def live(self):
        return {}

    def read(self, ports):
        readings = []
        for half in HALVES:
            spelled = {}
            for rule, openings in self.held[half].items():
                if all(one.port in ports for one in openings):
                    for one in openings:
                        spelled.setdefault(one, []).append(rule)
            rest = [rule for rule, openings in self.held[half].items() if not all(one.port in ports for one in openings)]
            rest += self.whole.get(half, [])
            readings.append(Reading(sorted({rule for rules in spelled.values() for rule in rules}), spelled, [],
                                    frozenset(rest), (), spelled, {rule: {("tcp", port) for port in ports} for rule in rest
                                                                   if "all of tcp" in rule}, rest))
        return tuple(readings)

    def problems(self, add):
        return list(self.trouble)

    def spelling(self, one):
        return {half: ["%s %d %s" % one] for half in HALVES}

    @staticmethod
    def key(rule):
        return rule

    def predicted(self, additions, removals):
        return {half: (additions.get(half, []), removals.get(half, [])) for half in HALVES}

    def can_write(self, rule):
        return rule.startswith("extra")

    def calls(self, additions, removals):
        return [dict(module="test.paper.firewall", args=dict(half=half, rule=rule, there=there))
                for there, rules in ((False, removals), (True, additions)) for half in HALVES for rule in rules.get(half, [])]

    @classmethod
    def obey(cls, calls):
        for call in calls:
            rules, rule = cls.held[call["args"]["half"]], call["args"]["rule"]
            if rule.startswith("extra"):
                cls.whole[call["args"]["half"]].remove(rule)
            elif call["args"]["there"]:
                protocol, port, source = rule.split(" ")[:3]
                rules[rule] = [Opening(protocol, int(port), None if source == "None" else source)]
            else:
                del rules[rule]


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.setattr(Paper, "held", {half: {} for half in HALVES})
    monkeypatch.setattr(Paper, "whole", {half: ["default deny"] for half in HALVES})
    monkeypatch.setattr(Paper, "trouble", [])
    use(monkeypatch, firewalld=Paper)
    return Paper


def use(monkeypatch, **backends):
    """Of the firewalls only these filter."""
    idle = type("Idle", (Paper,), dict(active=lambda self: False, live=lambda self: {}))
    monkeypatch.setattr(_host_port, "backend_class", lambda name: NoFirewall if name == "none" else backends.get(name, idle))


class Module:
    left = ""

    def get_bin_path(self, name):
        return "/usr/sbin/" + name

    def run_command(self, command, **options):
        assert command == ["nft", "list", "table", "inet", "firewalld"]
        return (0, self.left, "") if self.left else (1, "", "No such file or directory")

    def __init__(self, check=False, **params):
        self.check_mode, self._diff = check, True
        self.params = dict(dict(name="bigfix", state="open", openings=None, backend="auto", zone=None, reserve=False,
                                selinux_type=None, selinux="auto", record=None, lease=None, lease_wait=0), **params)


@pytest.fixture
def run(paper, tmp_path):
    """run(state, *openings) -> the result, with the calls carried out and verified as the action does it."""
    def go(state, *openings, check=False, spoil=None, **more):
        module = Module(check, state=state, openings=list(openings) or None, record=str(tmp_path / "record.json"), **more)
        first = change(module)
        calls, picture = first.pop("calls", None), first.pop("picture", None)
        if check or not calls:
            return first
        # As it travels to the control node and back.
        picture = json.loads(json.dumps(picture))
        go.obey(calls)
        if spoil:
            spoil()
        last = verify(module, picture)
        if last.get("failed"):
            go.obey(last["calls"])
            return dict(first, failed=True, msg=last["msg"], undone=undone(module, picture))
        return dict(first, rules=last["rules"], notes=first["notes"] + last["notes"])
    go.obey = paper.obey
    go.record = tmp_path / "record.json"
    return go


def held(paper):
    return copy.deepcopy((paper.held, paper.whole))


def test_open_twice_changes_once_and_restored_takes_it_back(run, paper):
    before = held(paper)
    foretold = run("open", opening(55000), opening(55000, "udp", "10.1.2.3"), check=True)
    assert held(paper) == before and not run.record.exists()
    done = run("open", opening(55000), opening(55000, "udp", "10.1.2.3"))
    assert done["changed"] and done["rules"] == foretold["rules"] and done["added"] == foretold["added"]
    assert [from_plain(entry) for entry in done["added"]] == [Opening("tcp", 55000, None), Opening("udp", 55000, "10.1.2.3")]
    assert run.record.stat().st_mode & 0o777 == 0o600
    assert not run("open", opening(55000), opening(55000, "udp", "10.1.2.3"))["changed"]
    assert run("restored")["changed"] and held(paper) == before and not run.record.exists()
    assert not run("restored")["changed"]


def test_the_record_is_there_before_the_change(run, paper, tmp_path):
    module = Module(openings=[opening(55000)], record=str(run.record))
    calls = change(module)["calls"]
    assert calls and json.loads(run.record.read_text())["added"][0]["port"] == 55000 and not paper.held["runtime"]
    # Interrupted here: what was noted but never done is no obstacle, neither for going on nor for going back.
    assert run("open", opening(55000), opening(55001))["changed"]
    assert len(json.loads(run.record.read_text())["added"]) == 2
    assert run("restored")["changed"] and not paper.held["runtime"] and not run.record.exists()
    change(module)
    assert not run("restored")["changed"] and not run.record.exists()


def test_half_an_opening_is_completed_and_only_that_half_is_taken_back(run, paper):
    paper.held["runtime"]["tcp 55000 None"] = [Opening("tcp", 55000, None)]
    before = held(paper)
    run("open", opening(55000))
    assert "tcp 55000 None" in paper.held["permanent"]
    run("restored")
    assert held(paper) == before


def test_closed_takes_any_source_and_reopened_brings_the_very_rules_back(run, paper):
    for half in HALVES:
        paper.held[half] = {"tcp 52311 None #site": [Opening("tcp", 52311, None)],
                            "tcp 52311 10.1.2.3": [Opening("tcp", 52311, "10.1.2.3")],
                            "udp 52311 None": [Opening("udp", 52311, None)]}
    before = held(paper)
    run("open", opening(55000))
    closed = run("closed", opening(52311))
    assert closed["changed"] and sorted(paper.held["runtime"]) == ["tcp 55000 None", "udp 52311 None"]
    assert not run("closed", opening(52311))["changed"]
    assert run("reopened")["changed"] and not run("reopened")["changed"]
    assert sorted(paper.held["runtime"]) == sorted([*before[0]["runtime"], "tcp 55000 None"])
    run("restored")
    assert held(paper) == before


def test_a_rule_that_opens_something_else_too_stays_and_is_named(run, paper):
    for half in HALVES:
        paper.held[half] = {"any 52311": [Opening("tcp", 52311, None), Opening("udp", 52311, None)]}
    left = run("closed", opening(52311))
    assert not left["changed"] and "opens udp 52311 from any address too" in left["left"][0]
    assert run("closed", opening(52311), opening(52311, "udp"))["changed"] and not paper.held["runtime"]


def test_the_first_change_of_a_rule_decides_how_it_was(run, paper):
    run("open", opening(55000))
    run("closed", opening(55000))
    run("open", opening(55000))
    run("restored")
    assert paper.held["runtime"] == {}
    for half in HALVES:
        paper.held[half]["tcp 52311 None"] = [Opening("tcp", 52311, None)]
    before = held(paper)
    run("closed", opening(52311))
    run("open", opening(52311))
    run("restored")
    assert held(paper) == before


def test_restored_with_openings_takes_back_only_these(run, paper):
    run("open", opening(55000))
    added = run("open", opening(55000), opening(55001))["added"]
    run("restored", *added)
    assert list(paper.held["runtime"]) == ["tcp 55000 None"]
    assert [entry["port"] for entry in json.loads(run.record.read_text())["added"]] == [55000]


def test_what_was_not_asked_for_is_undone_and_named_with_what_was_asked(run, paper):
    before = held(paper)
    failed = run("open", opening(55000), spoil=lambda: paper.whole["runtime"].append("extra all of tcp"))
    assert failed["failed"] and "to be opened tcp 55000 from any address" in failed["msg"] and "extra all of tcp" in failed["msg"]
    assert failed["undone"]["restored"] and held(paper) == before and not run.record.exists()


def test_what_stands_in_front_is_a_failure_before_the_change_and_undoes_it_after(run, paper, monkeypatch):
    said, before = ["policy guard rejects it"], held(paper)
    monkeypatch.setattr(paper, "obstacles", lambda self, add: (list(said) if add else [], ["a part of it"]), raising=False)
    for check in (True, False):
        with pytest.raises(OpeningError, match="nothing was changed: policy guard rejects it"):
            run("open", opening(55000), check=check)
    del said[:]
    assert run("open", opening(55000), check=True)["notes"] == ["a part of it"]
    late = run("open", opening(55000), spoil=lambda: said.append("it came since"))
    assert late["failed"] and "it came since" in late["msg"] and late["undone"]["restored"] and held(paper) == before


def test_what_did_not_come_is_named(run, paper):
    failed = run("open", opening(55000), spoil=paper.held["permanent"].clear)
    assert "the permanent configuration of firewalld lacks: tcp 55000 from any address" in failed["msg"]
    assert failed["undone"]["restored"] and not paper.held["runtime"]


def test_a_way_back_that_does_not_lead_back_says_so(run, paper):
    failed = run("open", opening(55000), spoil=lambda: paper.whole["runtime"].append("all of tcp, for good"))
    assert not failed["undone"]["restored"] and "a person has to look" in failed["undone"]["msg"]
    assert run.record.exists()


def test_an_earlier_record_outlives_a_change_that_was_undone(run, paper):
    run("open", opening(55000))
    before = run.record.read_text()
    run("open", opening(55001), spoil=lambda: paper.whole["runtime"].append("extra all of tcp"))
    assert run.record.read_text() == before


def test_a_problem_stops_before_anything_is_written_in_check_mode_too(run, paper):
    paper.trouble.append("panic")
    for check in (True, False):
        with pytest.raises(OpeningError, match="nothing was changed: panic"):
            run("open", opening(55000), check=check)
    assert not run.record.exists()


def test_changes_of_another_firewall_are_not_mixed_into_a_record(run, monkeypatch):
    run("open", opening(55000))
    monkeypatch.setattr(Paper, "name", "ufw")
    with pytest.raises(OpeningError, match="made by firewalld, but this host filters by ufw"):
        run("open", opening(55001))


def test_changes_of_another_zone_are_not_mixed_into_a_record(run, paper, monkeypatch):
    monkeypatch.setattr(Paper, "zone_of", staticmethod(lambda rule: "public"), raising=False)
    run("open", opening(55000), zone="public")
    with pytest.raises(OpeningError, match="the zone public; for openings in the zone dmz give another name"):
        run("open", opening(55001), zone="dmz")
    assert run("restored")["changed"]


@pytest.mark.parametrize("content", ["", "{}", '{"version": 2}', '{"version": 1, "added": 3}', "[]",
                                     '{"version": 1, "backend": "pf", "added": [], "removed": [], "reserved": [], "selinux": []}'
                                     ])
def test_a_record_that_can_not_be_read_is_no_empty_one(run, content):
    run.record.write_text(content)
    with pytest.raises(OpeningError, match="not a record of host_port"):
        run("restored")


@pytest.mark.parametrize("params, words", [
    (dict(name="No Name"), "1 to 20 characters"), (dict(openings=[]), "needs openings"), (dict(state="closed"), "to close")])
def test_options_that_can_not_be_are_refused(run, params, words):
    with pytest.raises(OpeningError, match=words):
        change(Module(**params))


class Direct(Paper):
    """A firewall on paper that changes itself; `fails`: how many of its rules it takes before it fails, or None."""

    name, precise, separate, fails, running = "iptables", False, False, None, True

    def active(self):
        return self.running

    def change(self, add, remove):
        if self.fails == 0:
            raise OpeningError("nothing was written")
        for half in HALVES[1:] if self.fails else HALVES:
            for rule in remove:
                self.held[half].pop("%s %d %s" % rule, None)
            for rule in add:
                self.held[half]["%s %d %s" % rule] = [rule]
        if self.fails:
            type(self).fails = None
            raise OpeningError("nft does not take the change")
        return []


@pytest.fixture
def direct(run, monkeypatch):
    monkeypatch.setattr(Direct, "fails", None)
    monkeypatch.setattr(Direct, "running", True)
    use(monkeypatch, iptables=Direct)
    monkeypatch.setattr(Direct, "held", {half: {} for half in HALVES})
    return Direct


def test_what_fails_half_way_is_undone_and_the_record_follows(run, direct):
    run("open", opening(1))
    before, record = copy.deepcopy(direct.held), run.record.read_text()
    direct.fails = 1
    with pytest.raises(OpeningError, match="nft does not take the change; asked for was: to be opened tcp 55000 from any "
                                           "address; found was: .*lacks.*It was undone: the rules are what they were before"):
        run("open", opening(55000))
    assert direct.held == before and run.record.read_text() == record


def test_what_fails_before_it_begins_takes_nothing_away_that_was_there(run, direct):
    direct.held["runtime"]["tcp 55000 None"] = [Opening("tcp", 55000, None)]
    before, direct.fails = copy.deepcopy(direct.held), 0
    with pytest.raises(OpeningError, match="nothing was written; asked for was.*It was undone"):
        run("open", opening(55000))
    assert direct.held == before and not run.record.exists()


def test_what_can_not_be_had_fails_before_the_firewall_is_touched(run, direct, monkeypatch):
    class Missing:
        def __init__(self, module, always=False):
            if direct.held["permanent"]:
                raise AssertionError("too late")

        def needed(self, openings, selinux_type):
            return [dict(protocol="tcp", port=55000, type=selinux_type, previous=None)]

        def type_of(self, protocol, port):
            return None

        def calls(self, entries, remove=False):
            raise OpeningError("no semanage")

    monkeypatch.setattr(selinux_ports, "PolicyStore", Missing)
    with pytest.raises(OpeningError, match="no semanage.*It was undone"):
        run("open", opening(55000), selinux_type="http_port_t", selinux="always")
    assert not direct.held["permanent"] and not run.record.exists()


def test_what_can_not_be_read_again_leaves_the_record(run, direct, monkeypatch):
    def read(self, ports):
        raise OpeningError("no more nft")

    def change(self, add, remove):
        monkeypatch.setattr(Direct, "read", read)
        raise OpeningError("the change failed")
    monkeypatch.setattr(Direct, "change", change)
    with pytest.raises(OpeningError, match="the change failed. It could not be read again.*no more nft.*holds what was changed"):
        run("open", opening(55000))
    assert json.loads(run.record.read_text())["added"]


def test_what_others_change_meanwhile_stays_and_is_told(run, paper):
    paper.whole["permanent"].append("port 9000")

    def admin():
        for half in HALVES:
            paper.whole[half].append("port 8080")
            paper.held[half]["udp 55000 None"] = [Opening("udp", 55000, None)]
            paper.held[half]["tcp 55000 10.9.9.9"] = [Opening("tcp", 55000, "10.9.9.9")]
        paper.whole["permanent"].remove("port 9000")

    done = run("open", opening(55000), spoil=admin)
    assert done["changed"] and not done.get("failed") and "tcp 55000 None" in paper.held["runtime"]
    assert all("port 8080" in paper.whole[half] and len(paper.held[half]) == 3 for half in HALVES)
    assert done["notes"] == [
        "firewalld was changed by others meanwhile, which stays: gone from its permanent configuration: port 9000",
        "firewalld was changed by others meanwhile, which stays: new in its runtime and its permanent configuration: "
        "tcp 55000 from 10.9.9.9; udp 55000 from any address; port 8080"]
    # Nor does the way back take it away.
    assert run("restored", spoil=lambda: paper.whole["runtime"].append("port 8081"))["notes"] == [
        "firewalld was changed by others meanwhile, which stays: new in its runtime configuration: port 8081"]
    assert sorted(paper.held["runtime"]) == ["tcp 55000 10.9.9.9", "udp 55000 None"] and not run.record.exists()


def test_a_change_that_fails_takes_back_its_own_and_nothing_of_others(run, paper):
    def admin():
        paper.held["permanent"].clear()
        for half in HALVES:
            paper.whole[half].append("extra port 8080")
            paper.held[half]["udp 55000 None"] = [Opening("udp", 55000, None)]

    failed = run("open", opening(55000), spoil=admin)
    assert "lacks: tcp 55000 from any address" in failed["msg"] and "8080" not in failed["msg"]
    assert failed["undone"]["restored"] and "8080" in failed["undone"]["msg"] and not run.record.exists()
    assert all(list(paper.held[half]) == ["udp 55000 None"] and "extra port 8080" in paper.whole[half] for half in HALVES)


def test_a_call_that_opens_for_more_than_it_was_asked_to_is_undone(run, paper):
    def too_wide():
        for half in HALVES:
            paper.held[half]["tcp 55000 None"] = [Opening("tcp", 55000, None)]

    failed = run("open", opening(55000, "tcp", "10.1.2.0/24"), spoil=too_wide)
    assert "holds beyond it: tcp 55000 from any address" in failed["msg"] and failed["undone"]["restored"]
    assert paper.held == {half: {} for half in HALVES}


def test_a_call_that_closes_more_than_it_was_asked_to_is_undone_and_what_others_close_is_not(run, paper):
    for half in HALVES:
        paper.held[half] = {"tcp 52311 10.1.2.3": [Opening("tcp", 52311, "10.1.2.3")]}
        paper.whole[half] += ["port 8080", "extra all of tcp"]

    def spoil():
        for half in HALVES:
            paper.whole[half].remove("port 8080")
            paper.whole[half].remove("extra all of tcp")

    # As obey() does it; the paper's own only takes such rules away.
    def bring_back(calls):
        for call in calls:
            if call["args"]["rule"].startswith("extra") and call["args"]["there"]:
                paper.whole[call["args"]["half"]].append(call["args"]["rule"])
            else:
                obey([call])

    obey = paper.obey
    run.obey = bring_back
    failed = run("closed", opening(52311), spoil=spoil)
    assert "has lost rules that were to stay: extra all of tcp" in failed["msg"]
    assert failed["undone"]["restored"]
    assert "gone from its runtime and its permanent configuration: port 8080" in failed["undone"]["msg"]
    assert all("extra all of tcp" in paper.whole[half] and "port 8080" not in paper.whole[half] and
               list(paper.held[half]) == ["tcp 52311 10.1.2.3"] for half in HALVES)


def test_what_others_do_to_a_filter_that_changes_itself_is_told(run, direct, monkeypatch):
    change = Direct.change

    def meanwhile(self, add, remove):
        direct.whole["permanent"].append("12 -A INPUT --dport 8080")
        direct.whole["runtime"].append("-A INPUT --dport 8081")
        return change(self, add, remove)

    direct.whole["permanent"][:] = ["1 -A INPUT a", "2 -A INPUT b"]
    monkeypatch.setattr(Direct, "change", meanwhile)
    done = run("open", opening(55000))
    assert done["notes"] == [
        "iptables was changed by others meanwhile, which stays: new in its permanent configuration: -A INPUT --dport 8080",
        "iptables was changed by others meanwhile, which stays: new in its runtime configuration: -A INPUT --dport 8081"]
    # A rule that only moved, because one before it came or went, is none that changed.
    direct.whole["permanent"][:] = ["1 -A INPUT a", "2 -A INPUT b"]

    def moved(self, add, remove):
        direct.whole["permanent"][:] = ["1 -A INPUT new", "2 -A INPUT a", "3 -A INPUT b"]
        return change(self, add, remove)

    monkeypatch.setattr(Direct, "change", moved)
    assert run("open", opening(55001))["notes"] == [
        "iptables was changed by others meanwhile, which stays: new in its permanent configuration: -A INPUT new"]


@pytest.mark.parametrize(("wide", "narrow", "found"), [
    (None, None, True), (None, "10.1.2.3", True), ("10.1.0.0/16", "10.1.2.0/24", True), ("0.0.0.0/0", None, True),
    ("10.1.2.0/24", "10.1.0.0/16", False), ("10.1.2.3", None, False), ("::/0", "10.1.2.3", False)])
def test_which_opening_holds_another(wide, narrow, found):
    assert _host_port.holds(Opening("tcp", 1, wide), Opening("tcp", 1, narrow)) == found
    assert not _host_port.holds(Opening("udp", 1, wide), Opening("tcp", 1, narrow))


def test_live_rules_that_are_not_compared_do_not_travel(run, direct):
    direct.whole["runtime"].append("thousands of them")
    found = _host_port.Plan(Module(), Module(openings=[opening(55000)]).params, _host_port.Record(str(run.record))).picture()
    assert found["whole"] == dict(runtime=[], permanent=["default deny"])


def test_reopened_with_nothing_to_reopen_is_at_home_without_a_firewall(run, direct):
    run("open", opening(55000))
    record = run.record.read_text()
    direct.running = False
    direct.held["runtime"].clear()
    done = run("reopened")
    assert not done["changed"] and done["backend"] == "none" and run.record.read_text() == record


def test_restored_without_the_firewall_cleans_what_it_would_load(run, direct):
    direct.held["permanent"]["tcp 52311 None"] = direct.held["runtime"]["tcp 52311 None"] = [Opening("tcp", 52311, None)]
    run("open", opening(55000))
    run("closed", opening(52311))
    direct.running = False
    direct.held["runtime"].clear()
    done = run("restored")
    assert done["changed"] and list(direct.held["permanent"]) == ["tcp 52311 None"] and not run.record.exists()
    assert "iptables does not filter on this host now" in done["notes"][0]


@pytest.mark.parametrize("when", ["read", "change"])
def test_restored_where_the_stopped_firewall_can_not_be_changed_goes_on_and_keeps_its_part(run, direct, monkeypatch, when):
    monkeypatch.setattr(port_reservation, "read", Kept)
    monkeypatch.setattr(Kept, "live", ())
    made = change(Module(openings=[opening(55000)], reserve=True, record=str(run.record)))
    Kept.live = ((55000, 55000),)
    assert not verify(Module(record=str(run.record)), made["picture"]).get("failed")
    direct.running = False

    def broken(self, *arguments):
        raise OpeningError("no boot file")

    with monkeypatch.context() as patch:
        patch.setattr(Direct, when, broken)
        module = Module(state="restored", record=str(run.record))
        done = change(module)
        assert "record still holds that" in done["notes"][0] and done["removed"] == [] and done["reserved"] == [55000]
        assert done["calls"] == [dict(module="test.paper.sysctl", args=dict(live=[]))]
        Kept.live = ()
        assert not verify(module, json.loads(json.dumps(done["picture"]))).get("failed")
        left = json.loads(run.record.read_text())
        assert [entry["port"] for entry in left["added"]] == [55000] and left["reserved"] == []
        assert not change(module)["changed"] and json.loads(run.record.read_text()) == left
    assert run("restored")["changed"] and not direct.held["permanent"] and not run.record.exists()


def test_restored_takes_a_stopped_firewall_with_halves_of_its_own_by_its_files(run, paper, monkeypatch):
    run("open", opening(55000))
    monkeypatch.setattr(Paper, "active", lambda self: False)
    paper.held["runtime"].clear()
    assert run("restored")["changed"] and not paper.held["permanent"] and not run.record.exists()


@pytest.mark.parametrize("left, problem", [
    ("table inet firewalld {\n\tchain filter_INPUT {\n\t\ttype filter hook input priority filter + 10; policy accept;\n"
     "\t\treject with icmpx admin-prohibited\n", True),
    ("table inet firewalld {\n\tchain nat_PREROUTING {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n", False),
    ("table inet firewalld {\n\tchain filter_INPUT {\n\t\ttype filter hook input priority filter; policy accept;\n", False)])
def test_a_table_of_firewalld_that_filters_on_without_it_is_a_problem(direct, monkeypatch, left, problem):
    direct.running = False
    monkeypatch.setattr(Module, "left", left)
    chosen, notes, problems = choose_backend(Module(), Module().params)
    assert chosen.name == "none" and bool(notes) != problem
    assert all("firewalld does not answer" in sentence for sentence in problems) and bool(problems) == problem


UFW_LEFT = "*filter\n:INPUT %s [0:0]\n:ufw-before-input - [0:0]\n-A INPUT -j ufw-before-input\nCOMMIT\n"


@pytest.mark.parametrize("policy, problem", [("DROP", True), ("ACCEPT", False)])
def test_chains_of_ufw_that_filter_on_without_it_are_a_problem(direct, monkeypatch, policy, problem):
    class Left(direct):
        filters = Iptables.filters
        running = False

        def live(self):
            return {4: SavedTable(UFW_LEFT % policy, "iptables", 4, "bigfix")}

    use(monkeypatch, iptables=Left)
    chosen, notes, problems = choose_backend(Module(), Module().params)
    assert chosen.name == "none" and bool(problems) == problem == any("chains of firewalld or ufw" in one for one in problems)


def test_sources_of_a_family_that_is_not_served_are_left_out_where_others_remain(run, paper, monkeypatch):
    monkeypatch.setattr(Paper, "unserved", lambda self: {6: "IPv6 is off"}, raising=False)
    done = run("open", opening(55000, "tcp", "192.0.2.1", "2001:db8::1"), opening(55000, "udp"),
               opening(55001, "tcp", "2001:db8::1"))
    assert [from_plain(entry) for entry in done["added"]] == [
        Opening("tcp", 55000, "192.0.2.1"), Opening("udp", 55000, None), Opening("tcp", 55001, "2001:db8::1")]
    assert done["notes"] == ["tcp 55000 from 2001:db8::1 was left out: IPv6 is off"]
    assert not run("open", opening(55000, "tcp", "192.0.2.1", "2001:db8::1"))["changed"]


def test_firewalld_goes_before_ufw_and_both_at_once_are_a_problem(paper, monkeypatch):
    assert choose_backend(Module(), Module().params)[0].name == "firewalld"
    use(monkeypatch, firewalld=Paper, ufw=type("Ufw", (Paper,), dict(name="ufw")))
    problems = choose_backend(Module(), Module().params)[2]
    assert "firewalld and ufw are both active" in problems[0]
    monkeypatch.setattr(Paper, "active", lambda self: False)
    chosen, notes, problems = choose_backend(Module(), Module().params)
    assert chosen.name == "none" and "no firewall filters" in notes[0] and not problems


def test_where_nothing_filters_nothing_is_missing(run, paper, monkeypatch):
    monkeypatch.setattr(Paper, "active", lambda self: False)
    done = run("open", opening(55000))
    assert not done["changed"] and done["backend"] == "none" and not run.record.exists()


def test_assess_tells_what_is_missing_and_changes_nothing(run, paper):
    found = assess(Module(), dict(name="bigfix", openings=[opening(55000)], reserve=False, record=str(run.record)))
    assert found["backend"] == "firewalld" and found["missing"] == [
        "tcp 55000 from any address is not open in firewalld (runtime and permanent)"] and not run.record.exists()
    run("open", opening(55000))
    assert assess(Module(), dict(name="bigfix", openings=[opening(55000)], reserve=False))["missing"] == []


@pytest.mark.parametrize("edits, problems", [([], []), ([dict(kind="masthead")], ["the zone is gone"])])
def test_a_firewall_that_can_not_be_read_is_a_problem_of_hosts_that_have_something_to_edit(monkeypatch, edits, problems):
    def fails(module, options):
        raise OpeningError("the zone is gone")
    monkeypatch.setattr(_host_port, "assess", fails)
    plan = type("Plan", (), dict(edits=edits, problems=[], notes=[]))()
    assert _host_port.assess_beside(Module(), dict(name="bigfix"), plan) is None
    assert plan.problems == problems and plan.notes == []


class Kept:
    """A reservation on paper."""

    first, last, notes, live = 32768, 60999, [], ()

    def __init__(self, module=None):
        self.boot = self.live

    def needed(self, port):
        return self.first <= port <= self.last and (port, port) not in self.live

    def held(self, port):
        return (port, port) in self.live

    def problems(self, ports):
        return []

    def hidden(self):
        return []

    def calls(self, ports, remove=False):
        left = [pair for pair in self.live if pair[0] not in ports]
        return [dict(module="test.paper.sysctl", args=dict(live=left if remove else left + [(port, port) for port in ports]))]


def test_tcp_ports_in_the_ephemeral_range_are_reserved_and_let_go(paper, tmp_path, monkeypatch):
    monkeypatch.setattr(port_reservation, "read", Kept)
    monkeypatch.setattr(Kept, "live", ())
    record = tmp_path / "record.json"

    def go(state, *openings):
        module = Module(state=state, openings=list(openings) or None, backend="none", reserve=True, record=str(record))
        done = change(module)
        for call in done.pop("calls", []):
            Kept.live = tuple(call["args"]["live"])
        if "picture" in done:
            assert not verify(module, done.pop("picture")).get("failed")
        return done

    assert go("open", opening(55000), opening(55000, "udp"), opening(1024), opening(55001, "udp"))["reserved"] == [55000]
    assert Kept.live == ((55000, 55000),) and not go("open", opening(55000))["changed"]
    assert go("restored")["reserved"] == [55000] and Kept.live == () and not record.exists()


class Policy:
    """A policy store on paper: (protocol, port) -> type."""

    types = {}

    def __init__(self, module, always=False):
        pass

    def type_of(self, protocol, port):
        return self.types.get((protocol, port), "unreserved_port_t")

    def needed(self, openings, selinux_type):
        return [dict(protocol=one.protocol, port=one.port, type=selinux_type, previous=self.types.get((one.protocol, one.port)))
                for one in openings if self.type_of(one.protocol, one.port) != selinux_type]

    def calls(self, entries, remove=False):
        return [dict(module="test.paper.seport", args=dict(key=(entry["protocol"], entry["port"]), kind=entry[
            "previous" if remove else "type"])) for entry in entries]


@pytest.mark.parametrize("previous", [None, "websm_port_t"])
def test_the_type_of_a_port_is_set_and_goes_back_to_what_it_was(paper, tmp_path, monkeypatch, previous):
    monkeypatch.setattr(selinux_ports, "PolicyStore", Policy)
    monkeypatch.setattr(Policy, "types", {("tcp", 55000): previous} if previous else {})

    def go(state, deaf=False, **more):
        module = Module(state=state, backend="none", selinux="always", record=str(tmp_path / "record.json"), **more)
        done = change(module)
        for call in [] if deaf else done.pop("calls", []):
            Policy.types[call["args"]["key"]] = call["args"]["kind"]
        return dict(done, verified=verify(module, done.pop("picture"))) if "picture" in done else done

    wanted = dict(openings=[opening(55000)], selinux_type="http_port_t")
    assert "has the type" in go("open", deaf=True, **wanted)["verified"]["msg"]
    assert not go("open", **wanted)["verified"].get("failed") and Policy.types[("tcp", 55000)] == "http_port_t"
    assert not go("open", **wanted)["changed"]
    assert not go("restored")["verified"].get("failed") and Policy.types[("tcp", 55000)] == previous


class Rounds(action.ActionModule):
    """The action with the host on paper: answers are given in order, and what was run is kept."""

    def __init__(self, answers, check=False, known=True):
        self.answers, self.ran = list(answers), []
        self._task = type("Task", (), dict(args=dict(name="bigfix"), check_mode=check, async_val=0))()
        finder = type("Finder", (), dict(find_plugin_with_context=lambda self, name: type("Found", (), dict(resolved=known))()))()
        self._shared_loader_obj = type("Loaders", (), dict(module_loader=finder))()

    def _execute_module(self, module_name=None, module_args=None, task_vars=None):
        self.ran.append((module_name or "host_port", module_args.get("step", "change" if not module_name else None)))
        return self.answers.pop(0)


@pytest.fixture
def rounds(monkeypatch):
    monkeypatch.setattr(action.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
    return Rounds


CALLS = [dict(module="ansible.posix.firewalld", args={}), dict(module="ansible.posix.sysctl", args={})]
FIRST = dict(changed=True, calls=CALLS, picture={}, rules=dict(before=[], after=[]))


def test_nothing_missing_is_one_round(rounds):
    made = rounds([dict(changed=False, rules={})])
    assert made.run() == dict(changed=False, rules={}) and made.ran == [("host_port", "change")]


def test_a_change_is_made_and_read_again(rounds):
    made = rounds([dict(FIRST), {}, {}, dict(rules=dict(before=[], after=["x"]))])
    result = made.run()
    assert result["rules"]["after"] == ["x"] and not {"calls", "picture"} & set(result)
    assert made.ran == [("host_port", "change"), ("ansible.posix.firewalld", None), ("ansible.posix.sysctl", None),
                        ("host_port", "verify")]


def test_check_mode_is_one_round(rounds):
    made = rounds([dict(FIRST)], check=True)
    assert made.run()["changed"] and made.ran == [("host_port", "change")]


def test_a_call_that_fails_ends_in_the_way_back(rounds):
    made = rounds([dict(FIRST), {}, dict(failed=True, msg="no such file"), dict(failed=True, msg="M", calls=CALLS[:1]), {},
                   dict(restored=True, msg="It was undone")])
    result = made.run()
    assert result["failed"] and result["msg"] == "M. It was undone" and not result["changed"]
    assert made.ran[3:] == [("host_port", "verify"), ("ansible.posix.firewalld", None), ("host_port", "undone")]


def test_a_missing_collection_is_named_before_anything_is_run(rounds):
    made = rounds([dict(FIRST), dict(failed=True, msg="M", calls=[]), dict(restored=True, msg="U")], known=False)
    assert made.run()["failed"] and [name for name, step in made.ran] == ["host_port"] * 3
    refused = rounds([dict(FIRST)], check=True, known=False).run()
    assert refused["failed"] and "ansible-galaxy collection install ansible.posix" in refused["msg"]


def test_the_module_takes_every_option_that_the_engine_reads():
    assert set(Module().params) - {"state"} == set(_host_port.HOST_PORT_SPEC)
    assert os.path.basename(_host_port.RECORD % "bigfix") == "bigfix.host_port.json"
