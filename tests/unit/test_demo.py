# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo ends with: its verdict, the exit status that goes with it, and why reports were lost."""

import argparse
import json
import os
import sys
import time

import pytest

from tests.lab.bigfix.ledger import Ledger, Tally
from tests.unit.loaded_tool import tool

START = time.mktime((2026, 11, 30, 12, 1, 0, 0, 0, -1))
PARENTS = {"server": None, "relay1": "server", "relay2": "server", "client07": "relay1", "client08": "relay2"}


@pytest.fixture(scope="module")
def demo():
    return tool("demo")


@pytest.fixture
def losses(demo):
    return demo._losses


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """ledger(agent, {number: second at which it was accepted, ...}) -> a Tally of all that was written"""
    path = tmp_path / "ledger"

    def write(agent, reports, port=52311):
        written = Ledger(str(path))
        try:
            for number, second in reports.items():
                monkeypatch.setattr(time, "time", lambda second=second: START + second)
                written.accept(agent, number, port)
        finally:
            os.close(written.descriptor)
            monkeypatch.undo()
        return Tally(str(path))

    return write


@pytest.fixture
def journal(tmp_path):
    """journal([(play, [(task, action, second of its start, {host: second of its end})])]) -> its path"""
    path = tmp_path / "journal"

    def write(plays):
        events = []
        for play, tasks in plays:
            events.append(dict(event="play", time=START, name=play))
            for task, action, begun, ends in tasks:
                events.append(dict(event="task", time=START + begun, task=task, action=action))
                events += [dict(event="ok", time=START + end, host=host, task=task, action=action)
                           for host, end in ends.items()]
            events.append(dict(event="stats", time=START, hosts={}))
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        return path

    return write


def test_lost_reports_are_told_with_the_move_that_ran_meanwhile(losses, ledger, journal):
    tally = ledger("client07", {1: 6.0, 2: 6.5, 6: 15.2, 7: 15.5})
    # Delivered late or twice is not lost, and neither is what is still to come.
    tally = ledger("client08", {1: 6.0, 3: 6.9, 2: 7.0, 4: 7.1, 6: 7.2})
    tally = ledger("client08", {5: 7.3})
    did = losses.spells(journal([
        ("Open both ports", [("Lay the bridge", "portshift.agents.port_bridge", 1, {"relay1": 3})]),
        ("Phase 2", [("Move the host to the new port", losses.MOVE, 5.1, {"relay1": 14.0, "relay2": 8.0}),
                     ("Prove it", "portshift.agents.bigfix_evidence", 14.1, {"relay1": 14.9})])]))
    found = losses.silences(tally, ["client07", "client08"], START + 16)
    assert found == [losses.Silence("client07", START + 6.5, START + 15.2, 3)]
    assert losses.reasons(found, did, PARENTS) == [
        '3 reports of client07 lost between 12:01:06 and 12:01:15 (8.7 s), while relay1 moved: "Phase 2: Move the host to the '
        'new port" on relay1 (12:01:05 to 12:01:14).']


def test_lost_reports_without_a_move_on_their_way_say_so_and_name_what_ran_longest(losses, journal):
    did = losses.spells(journal([
        ("Phase 2", [("Move", losses.MOVE, 10, {"relay2": 18}), ("Look", "x", 18, {"relay1": 18.5}),
                     ("Gate", "x", 18.6, {"relay1": 18.7}),
                     ("Look again", "x", 18.8, {"server": 21, "relay1": 20, "relay2": 20, "client08": 19})])]))
    late = losses.Silence("client07", START + 11, START + 21.5, 1)
    [sentence] = losses.reasons([late], did, PARENTS)
    assert sentence == (
        '1 report of client07 lost between 12:01:11 and 12:01:21 (10.5 s), while no host between it and the root server moved; '
        'what ran was "Phase 2: Move" on relay2 (12:01:10 to 12:01:18), "Phase 2: Look again" on server, relay1, relay2 and 1 '
        'more (12:01:18 to 12:01:21), "Phase 2: Look" on relay1 (12:01:18 to 12:01:18) and 1 more.')
    first = losses.Silence("client08", None, START + 2, 2)
    assert losses.reasons([first], did, PARENTS) == [
        "2 reports of client08 lost before its first one at 12:01:02, while Ansible ran nothing."]


def test_an_agent_that_is_still_silent_is_told_too(losses, ledger, journal):
    tally = ledger("client07", {1: 6.0, 2: 6.5})
    did = losses.spells(journal([("Phase 1", [("Move", losses.MOVE, 6, {"server": 30})])]))
    found = losses.silences(tally, ["client07", "client08"], START + 18)
    assert losses.reasons(found, did, PARENTS) == [
        'client07 has been silent since 12:01:06 (11.5 s), while server moved: "Phase 1: Move" on server (12:01:06 to 12:01:30).',
        'client08 has sent no report, while server moved: "Phase 1: Move" on server (12:01:06 to 12:01:30).']
    assert losses.silences(ledger("client07", {}), ["client07"], START + 16) == []


def test_a_run_that_wrote_no_journal_did_nothing(losses, tmp_path):
    assert losses.spells(tmp_path / "none") == []


# --- the verdict

class Stage:
    """The demo with a lab and playbooks that say what a test wants."""

    def __init__(self, demo, folder, monkeypatch):
        self.demo, self.folder, self.asked, self.failing = demo, folder, [], None
        self.agents = {name: dict(port=55000, accepted=10, lost=0, longest_silence=0.5, last_seen_ago=0.2) for name in PARENTS}
        monkeypatch.setattr(demo, "lab", self.lab)
        monkeypatch.setattr(demo, "run", self.run)
        monkeypatch.setattr(demo, "explain_losses", lambda *unused: demo.say("why"))
        monkeypatch.setattr(demo, "enter_namespace", lambda: None)
        monkeypatch.setattr(demo, "ROOT", folder)
        monkeypatch.setattr(demo.signal, "signal", lambda *unused: None)
        monkeypatch.setattr(sys, "argv", ["demo"])

    def lab(self, directory, command, *options):
        self.asked.append(command)
        if command == self.failing:
            raise self.demo.DemoError("the lab could not %s; its words are above" % command)
        if command == "start":
            directory.mkdir(parents=True)
            (directory / "lab.json").write_text("{}")
        if command == "status":
            return json.dumps(dict(
                hosts={name: dict(role="client", parent=parent) for name, parent in PARENTS.items()}, agents=self.agents,
                accepted=50, lost=sum(agent["lost"] for agent in self.agents.values())))
        return str(self.folder / "issued") if command == "issue" else ""

    def run(self, command, failure, journal):
        self.asked.append(command[1])
        if self.failing and self.failing in command[1]:
            raise self.demo.DemoError(failure)


@pytest.fixture
def stage(demo, tmp_path, monkeypatch):
    return Stage(demo, tmp_path, monkeypatch)


def verdict(stage, capsys):
    """(exit status, last line)"""
    status = stage.demo.main()
    return status, capsys.readouterr().out.rstrip("\n").splitlines()[-1]


def test_a_demo_without_losses_passes(stage, capsys):
    status, last = verdict(stage, capsys)
    assert status == 0 and last.startswith("PASS: every agent reports through port 55000, and no report was lost. It took ")
    assert stage.asked[-1] == "stop" and sum(asked.startswith("playbooks/") for asked in stage.asked) == 3


def test_lost_reports_fail_it(stage, capsys):
    stage.agents["client07"]["lost"], stage.agents["relay2"]["lost"] = 90, 4
    status, last = verdict(stage, capsys)
    assert status == 1 and last.startswith("FAIL: 94 reports of relay2, client07 were lost. It took ")


def test_an_agent_on_the_old_port_fails_it(stage, capsys):
    stage.agents["client08"]["port"] = 52311
    status, last = verdict(stage, capsys)
    assert status == 1 and last.startswith("FAIL: 1 of 5 agents do not report through port 55000 (client08). It took ")


def test_an_agent_that_gives_reports_up_by_now_fails_it(stage, capsys):
    stage.agents["client08"]["last_seen_ago"], stage.agents["relay1"]["last_seen_ago"] = 10.4, None
    status, last = verdict(stage, capsys)
    assert status == 1 and last.startswith("FAIL: 2 of 5 agents do not report through port 55000 (relay1, client08). It took ")


def test_a_playbook_that_failed_fails_it_and_losses_are_told_beside_it(stage, capsys):
    stage.failing = "migrate_"
    stage.agents["client07"]["lost"] = 2
    status, last = verdict(stage, capsys)
    assert status == 1 and "playbooks/verify_bigfix_port.yml" not in stage.asked and stage.asked[-1] == "stop"
    assert last.startswith("FAIL: the migration stopped at a gate; read its last lines above; 2 reports of client07 were lost. ")


def test_an_agent_that_falls_silent_fails_it(stage, capsys):
    stage.failing = "wait"
    status, last = verdict(stage, capsys)
    assert status == 1 and last.startswith("FAIL: the lab could not wait; its words are above. It took ")


def test_a_lab_that_does_not_start_fails_it_and_that_of_another_demo_stays(stage, capsys):
    stage.failing = "start"
    assert verdict(stage, capsys)[1].startswith("FAIL: the lab could not start; its words are above. ")
    other = stage.folder / ".lab" / "demo-signed"
    other.mkdir(parents=True)
    (other / "lab.json").write_text("{}")
    assert verdict(stage, capsys)[0] == 1 and "stop" not in stage.asked


def test_only_the_first_silences_are_told_one_by_one(demo, losses, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(demo, "ProcessLab", argparse.Namespace(open=lambda folder: argparse.Namespace(tally=lambda: None)))
    monkeypatch.setattr(losses, "silences", lambda tally, agents, now: [
        losses.Silence("client07", START + second, START + second + 0.5, 1) for second in range(23)])
    after = dict(lost=23, agents=dict(client07={}), hosts=dict(client07=dict(parent=None)))
    demo.explain_losses(tmp_path, after, tmp_path / "none", "--no-bridge was given")
    said = capsys.readouterr().out
    assert said.count("of client07 lost between") == 20 and "  3 silences more.\n" in said
    assert said.rstrip().endswith("Only one port answered at a time, since --no-bridge was given. With the bridge both ports "
                                  "answer while agents move, and none is lost.")
    demo.explain_losses(tmp_path, after, tmp_path / "none", None)
    assert "The load of this machine was " in capsys.readouterr().out
