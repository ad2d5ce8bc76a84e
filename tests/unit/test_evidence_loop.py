# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How evidence is asked for and told: one loop and one form of result for the three products."""

import ast
import fcntl
import json
import pathlib
import time
import types

import pytest
import yaml

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.evidence import BigFixEvidence
from ansible_collections.portshift.agents.plugins.module_utils._boks.evidence import BoksEvidence
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.evidence import AgentEvidence
from ansible_collections.portshift.agents.plugins.module_utils._core import evidence
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord, lock_path
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import Evidence, Hopeless, gather, prove
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import FailureLog
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST

OLD, NEW = 16500, 16530
MODULES = pathlib.Path(evidence.__file__).parents[2] / "modules"


class Clock:
    """Time as the loop sees it.  The host's clock is set at each look at it; the other one is not."""

    def __init__(self):
        self.now, self.slept, self.set_to = 100.0, [], 0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def time(self):
        self.set_to += 10 ** 6
        return self.set_to * (-1) ** (self.set_to // 10 ** 6)


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(evidence, "time", found)
    monkeypatch.setattr(THIS_HOST, "now", found.time)
    return found


class Asked(Evidence):
    """Answers from lists, the last of which stays: {name: (lasting, [good, ...])}; an error is raised."""

    def __init__(self, answers, record=None, **params):
        super().__init__(dict(dict(record=None, settle=0), **params), NEW, record, THIS_HOST)
        self.answers, self.looks, self.questions, self.already = answers, 0, [], 0

    def look(self):
        self.looks += 1

    def settled(self):
        return self.already

    def asked(self):
        return [(name, self._ask(name), lasting) for name, (lasting, unused) in self.answers.items()]

    def _ask(self, name):
        def ask(unused):
            self.questions.append(name)
            answers = self.answers[name][1]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer, ["%s is %s" % (name, "well" if answer else "not well")]
        return ask


def test_waiting_goes_by_a_clock_that_is_never_set(clock):
    asked = Asked(dict(log=(False, [False])))
    assert gather(asked, 10) == ({}, dict(log="log is not well"), 10.0)
    # Less often after a while, and once more at the end.
    assert sum(clock.slept) == pytest.approx(10) and clock.slept[:4] == [evidence.PAUSE] * 4
    assert asked.looks == len(clock.slept) + 1 < 21
    asked = Asked(dict(log=(False, [False])))
    assert gather(asked, 100)[2] == 100 and max(clock.slept) == evidence.LONGEST_PAUSE


def test_one_look_is_always_had_and_an_answer_that_lasts_is_asked_for_once(clock):
    assert gather(Asked(dict(log=(False, [True]))), 0) == (dict(log=["log is well"]), {}, 0.0)
    asked = Asked(dict(parent=(True, [True, False]), log=(False, [False, EngineError("no log"), True])))
    assert gather(asked, 60) == (dict(parent=["parent is well"], log=["log is well"]), {}, 1.0)
    assert asked.questions == ["parent", "log", "log", "log"]


def test_what_dies_while_the_host_settles_is_missing(clock):
    asked = Asked(dict(parent=(True, [True]), log=(False, [True, False])))
    assert gather(asked, 1, settle=5) == (dict(parent=["parent is well"]), dict(log="log is not well"), 10.0)
    # What lasts is asked for once more as well, and a host without the first proof does not settle.
    assert asked.questions[:4] == ["parent", "log", "parent", "log"] and asked.well == ()
    asked = Asked(dict(log=(False, [False])))
    assert gather(asked, 0, settle=5)[2] == 0.0 and asked.well is None and not clock.slept[20:]


def test_what_has_been_as_it_is_for_long_enough_is_not_watched(clock):
    asked = Asked(dict(log=(False, [True, False])))
    asked.already = 5
    assert gather(asked, 60, settle=5) == (dict(log=["log is well"]), {}, 0.0) and asked.looks == 1
    asked = Asked(dict(log=(False, [True])))
    asked.already = 3
    assert gather(asked, 60, settle=5)[2] == 2.0 and asked.looks == 2


def test_no_waiting_mends_what_is_hopeless(clock):
    asked = Asked(dict(services=(False, [True, Hopeless("it died")]), log=(False, [True, False])))
    assert gather(asked, 60, settle=5)[1:] == (dict(services="it died", log="log is not well"), 5.0)


class Ended(Exception):
    pass


def run(questions, check=False, unknown=None, **params):
    """What a module that asks these questions returns."""
    returned = {}

    def end(failed, **result):
        returned.update(result, failed=failed)
        raise Ended

    def judgement():
        if isinstance(questions, Exception):
            raise questions
        return questions

    module = types.SimpleNamespace(
        params=dict(dict(port=NEW, timeout=0, mark=False), **params), check_mode=check,
        exit_json=lambda **result: end(False, **result), fail_json=lambda **result: end(True, **result))
    with pytest.raises(Ended):
        prove(module, judgement, **(unknown or {}))
    return returned


@pytest.fixture
def record(tmp_path):
    """Of a host that a migration has just moved."""
    found = ChangeRecord(str(tmp_path / "state/product.json"), OLD, NEW, "test")
    found.before_write(str(tmp_path / "file"), b"old", b"new")
    return found


def reread(record):
    return ChangeRecord(record.path)


def test_result_has_one_form(clock, record):
    result = run(Asked(dict(services=(False, [True]), log=(False, [True])), record))
    assert result.pop("looked_at") and result.pop("moved_at") == record.content["last_change"]
    assert result == dict(failed=False, changed=False, ok=True, port=NEW, old_port=OLD, missing={}, waited=0.0,
                          proved=["services is well", "log is well"])
    result = run(Asked(dict(services=(False, [False]), parent=(True, [True]), log=(False, [False]))))
    assert result.pop("looked_at") and result == dict(
        failed=True, ok=False, port=NEW, old_port=None, moved_at=None, proved=["parent is well"], waited=0.0,
        missing=dict(services="services is not well", log="log is not well"),
        msg="no proof on port %d after 0 s: log is not well; services is not well" % NEW)
    assert run(EngineError("no such port"), unknown=dict(agent=False)) == dict(
        failed=True, msg="no such port", ok=False, port=NEW, old_port=None, proved=[], missing={}, waited=0.0, agent=False)


def test_proof_is_noted_once_and_only_where_it_was_asked_for(clock, record):
    well, ill = dict(log=(False, [True])), dict(log=(False, [False]))

    def state():
        return json.loads(pathlib.Path(record.path).read_text())["state"]

    assert not run(Asked(well, reread(record)))["changed"] and state() == "changing"
    assert run(Asked(ill, reread(record)), mark=True)["failed"] and state() == "changing"
    assert run(Asked(well, reread(record)), mark=True, check=True)["changed"] and state() == "changing"
    stale = Asked(well, reread(record))
    assert run(Asked(well, reread(record)), mark=True)["changed"] and state() == "verified"
    assert not run(Asked(well, reread(record)), mark=True)["changed"]
    failed = run(stale, mark=True)
    assert failed["failed"] and "another run has changed this host while it proved itself" in failed["msg"]


def bigfix(tmp_path, record, **more):
    params = dict(
        component="client", port=NEW, previous_port=None, address=None, parent=None, services=["besclient"], log_dir=None,
        success_patterns=[], failure_patterns=[], agent_service=None, files=False, neighbours=[], record=record, settle=5)
    return BigFixEvidence(dict(params, **more), types.SimpleNamespace(survey=lambda: ({}, [])))


def boks(tmp_path, record, port=NEW, **more):
    (tmp_path / "services").write_text("boks %d/tcp\n" % port)
    (tmp_path / "ENV").write_text("BOKSINIT=client\n")
    params = dict(
        base_port=port, old_base=None, role=None, services_path=str(tmp_path / "services"), env_path=str(tmp_path / "ENV"),
        listening=True, status_command=[], down_patterns=[], errlog_path=None, failure_patterns=[], log_max_age=60, reach=[],
        reach_any=True, bind_address="127.0.0.1", record=record or str(tmp_path / "none/boks.json"), settle=5)
    return BoksEvidence(dict(params, **more))


def change_tracker(tmp_path, record, **more):
    path = tmp_path / "gen7agent.service/HubDetails.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("<HubDetails><Url>https://hub.example.test:%d/api/</Url></HubDetails>" % NEW)
    params = dict(
        port=NEW, old_port=None, path=[str(path)], service=None, service_command=["true"], log_path=None, required=True,
        failure_patterns=[], log_max_age=60, record=record or str(tmp_path / "none/change_tracker.json"), settle=5)
    return AgentEvidence(dict(params, **more))


PRODUCTS = pytest.mark.parametrize("product", [bigfix, boks, change_tracker])


@PRODUCTS
def test_port_that_was_left_is_that_of_the_record_on_the_way_back_too(product, tmp_path, record):
    assert product(tmp_path, None).old_port is None
    assert product(tmp_path, record.path).old_port == OLD
    assert product(tmp_path, record.path, port=NEW + 100).old_port is None
    record.mark_rolled_back()
    assert product(tmp_path, record.path, port=OLD).old_port == NEW
    assert product(tmp_path, record.path).old_port is None


@PRODUCTS
def test_change_that_is_under_way_is_no_proof(product, tmp_path, record):
    asked = product(tmp_path, record.path)
    asked.look()
    assert ("under_way", asked.under_way, False) in asked.asked() and asked.under_way(0) == (True, [])
    with open(lock_path(record.path), "w") as lock:
        lock.write("4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        good, [sentence] = asked.under_way(0)
    assert not good and "another migration or rollback of this host is under way" in sentence and "process 4711" in sentence


@PRODUCTS
def test_host_that_had_proved_itself_settles_for_a_shorter_time(product, tmp_path, record):
    assert product(tmp_path, record.path, settle=300).settle_seconds == 300
    record.mark_verified()
    assert product(tmp_path, record.path, settle=300).settle_seconds == 2
    assert product(tmp_path, record.path, settle=1).settle_seconds == 1
    assert product(tmp_path, record.path, port=NEW + 100, settle=300).settle_seconds == 300


def test_host_without_anything_that_could_die_does_not_settle(tmp_path):
    assert bigfix(tmp_path, None, services=[]).settle_seconds == 0
    assert boks(tmp_path, None, listening=False).settle_seconds == 0
    assert boks(tmp_path, None, listening=False, errlog_path="/log").settle_seconds == 5
    none = str(tmp_path / "nowhere/HubDetails.xml")
    assert change_tracker(tmp_path, None, path=[none], required=False).settle_seconds == 0


def test_daemon_that_is_started_anew_while_the_host_settles_is_no_proof(tmp_path, monkeypatch):
    asked = boks(tmp_path, None)
    owners = dict(now=[1, 12])

    def listeners(ports, every_owner=False):
        assert every_owner and NEW + 3 in set(ports)
        return [dict(port=NEW + 3, protocol="tcp", address="::", pid=owner, process="boks_clntd", owners=[owner])
                for owner in owners["now"]]

    monkeypatch.setattr(asked.host, "listeners", listeners)
    assert asked.listening(0)[0]
    asked.settle()
    # It hands its socket on.
    owners["now"] = [1, 13]
    assert asked.listening(0)[0]
    owners["now"] = [13]
    with pytest.raises(Hopeless, match="the daemon on 16533/tcp was started anew within 5 s after it was well [(]its process"):
        asked.listening(0)
    owners["now"] = []
    with pytest.raises(Hopeless, match="what listened on 16533/tcp ended within 5 s after it was well"):
        asked.listening(0)


def test_failure_that_can_not_be_dated_counts_when_it_comes_up_while_the_host_settles(tmp_path):
    path, log = tmp_path / "log", FailureLog(["in use"])
    assert log.judge(THIS_HOST, str(path), 0, "since the change") == (
        True, ["%s does not exist, so that it holds no failure" % path])
    path.write_text("address In Use\n")
    assert log.judge(THIS_HOST, str(path), 0, "since the change") == (
        True, ["%s: no failure since the change (1 that can't be dated)" % path])
    log.settle("within 5 s after it was well")
    assert log.judge(THIS_HOST, str(path), 0, "since the change")[0]
    path.write_text("address in use\n" * 2)
    assert log.judge(THIS_HOST, str(path), 0, "since the change") == (
        False, ["%s: within 5 s after it was well, 1 failures were added that can't be dated" % path])
    path.write_text("%s in use\n" % time.strftime("%Y-%m-%d %H:%M:%S"))
    assert not log.judge(THIS_HOST, str(path), time.time() - 60, "since the change")[0]
    assert log.judge(THIS_HOST, str(path), time.time() + 60, "since the change")[0]


@pytest.mark.parametrize("name", ["bigfix_evidence", "boks_evidence", "change_tracker_evidence"])
def test_module_is_a_declaration_and_its_result_is_documented_as_that_of_the_others(name):
    text = (MODULES / (name + ".py")).read_text()
    body = ast.parse(text).body
    documents = {node.targets[0].id: node for node in body if isinstance(node, ast.Assign)}
    assert len(text.splitlines()) - max(node.end_lineno for node in documents.values()) <= 60
    options, returns = (yaml.safe_load(documents[part].value.value) for part in ("DOCUMENTATION", "RETURN"))
    for option, declared in evidence.EVIDENCE_SPEC.items():
        documented = options["options"][option]
        assert (documented["type"], documented["default"]) == (declared["type"], declared["default"])
    words = {key: (documented["type"], documented["returned"]) for key, documented in returns.items()}
    assert words.items() >= dict(
        ok=("bool", "always"), port=("int", "always"), old_port=("int", "always"), proved=("list", "always"),
        missing=("dict", "always"), waited=("float", "always"), moved_at=("float", "unless the record can't be read"),
        looked_at=("float", "unless the record can't be read")).items()
    assert {key: returns[key]["description"] for key in ("ok", "proved", "missing", "waited")} == dict(
        ok="Whether all evidence is there.", proved="One sentence for each piece of evidence found.",
        missing="One sentence for each piece of evidence that was not found, by the name of the check.",
        waited="Seconds until the evidence was complete, or was given up.")
