# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change that undoes itself unless the host proves itself and a new login confirms it: what is decided, and in which time."""

import json
import os
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._boks import evidence as boks_evidence
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import evidence as agent_evidence
from ansible_collections.portshift.agents.plugins.module_utils._core import evidence
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import Evidence, ProductProof, Proofs
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import one_at_a_time
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._move import confirmed_change, confirmed_unit
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_change import ConfirmedChange
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_state import boot_clock
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_unit import Unit
from ansible_collections.portshift.agents.plugins.module_utils._move.states import (
    BEGUN, CHANGING, CONFIRMED, LOGIN_SECONDS, REVERTED, WAITING, ChangeError, too_short)
from ansible_collections.portshift.agents.tests.unit import test_confirmed_change
from ansible_collections.portshift.agents.tests.unit.test_confirmed_change import NEW, OLD, Folder, Killed, carried_out

__all__ = ["carried_out"]
PORT = 6530
WELL = [(True, ["it answers"])]
ILL = [(False, ["it does not answer"])]


class Asked(Evidence):
    """What a host of a product owes: one answer after another, the last one again and again."""

    answers, ahead, times = WELL, None, []

    def __init__(self, options, port, record):
        super().__init__(dict(options, record=record), port, THIS_HOST.record(record), THIS_HOST)

    def asked(self):
        return [("under_way", self.under_way, False), ("answer", self.answer, False)]

    def answer(self, seconds_left):
        self.times.append(seconds_left)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return found() if callable(found) else found

    def check_again(self):
        if self.ahead:
            raise EngineError(self.ahead)


@pytest.fixture(autouse=True)
def product(monkeypatch):
    """The product of this file; `product.answers` is what its host answers."""
    monkeypatch.setattr(evidence, "PAUSE", 0.01)
    monkeypatch.setattr(evidence, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(confirmed_unit, "PAUSES", (0,))
    for name, value in (("answers", list(WELL)), ("ahead", None), ("times", [])):
        monkeypatch.setattr(Asked, name, value)
    proofs = Proofs(SimpleNamespace(__name__="of_this_file", PROOF=ProductProof("asked_proof", {}, Asked)))
    monkeypatch.setattr(test_confirmed_change, "PROOFS", proofs)
    return Asked


PROOF = dict(timeout=0, settle=0)


@pytest.fixture
def folder(tmp_path):
    """A change that has been handed over, with a proof."""
    made = Folder(tmp_path, BEGUN)
    made.place.write("change.json", dict(made.place.change(), asked_proof=PROOF))
    made.commands = {name: made.place.change()[name] for name in ("stop", "start")}
    return made


def asked(folder, check_mode=False, proof=None, **params):
    """The change as a call sees it that moves the file of `folder`, on a host without systemd."""
    calling = test_confirmed_change.asked(folder.file.parent, asked_proof=proof or PROOF, files=[
        dict(path=str(folder.file), content=NEW.decode())], **dict(folder.commands, **params))
    calling.module.check_mode = check_mode
    return calling


def forget(folder):
    """As on a host that knows nothing of a change, its file on the old port."""
    for name in os.listdir(folder.place.folder):
        os.remove(folder.place.path(name))


def record_of(folder):
    return (ChangeRecord(folder.record).content or {}).get("state")


# -- the process on the host

def test_host_that_proves_itself_is_noted_as_proved_when_a_new_login_has_confirmed_it(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(confirmed_unit.time, "sleep", lambda seconds: (
        seen.append((folder.place.state()["state"], record_of(folder))), folder.ask("confirm.json")))
    assert folder.run() == (CONFIRMED, "it was confirmed")
    assert seen == [(WAITING, "changing")] and record_of(folder) == "verified" and folder.file.read_bytes() == NEW
    found = folder.place.state()["proof"]
    assert [found[key] for key in ("ok", "port", "old_port", "proved", "missing")] == [True, PORT, 6500, WELL[0][1], {}]


def test_host_that_does_not_prove_itself_is_put_back_by_itself_and_waits_for_no_login(folder, product, monkeypatch):
    product.answers[:] = ILL
    monkeypatch.setattr(Unit, "_wait", lambda self, *unused: self.state["state"] == WAITING and pytest.fail("it waits"))
    folder.ask("confirm.json")
    state, reason = folder.run()
    assert state == REVERTED and reason.startswith("no proof on port 6530 after ") and "it does not answer" in reason
    assert folder.file.read_bytes() == OLD and folder.called() == ["stop", "start", "stop", "start"]
    assert record_of(folder) == "rolled_back" and folder.place.state()["proof"]["missing"] == dict(answer=ILL[0][1][0])


def test_proof_without_a_login_is_none(folder, monkeypatch):
    monkeypatch.setattr(confirmed_unit, "boot_clock", lambda now=[0]: now.__setitem__(0, now[0] + 5) or now[0])
    state, reason = folder.run()
    assert (state, reason) == (REVERTED, "it was not confirmed within 60 s")
    assert folder.file.read_bytes() == OLD and record_of(folder) == "rolled_back"
    told = asked(folder).present()
    assert (told["ok"], told["missing"], told["proved"]) == (False, dict(login=reason), WELL[0][1])


def test_change_that_waits_says_that_the_login_is_missing(folder, product, monkeypatch):
    monkeypatch.setattr(Unit, "_wait", lambda self, *unused: None)
    assert folder.run()[0] == WAITING
    told = asked(folder).present()
    assert (told["ok"], told["port"], list(told["missing"])) == (False, PORT, ["login"])


def test_process_that_is_killed_amid_the_proof_is_begun_again_and_undoes_the_change(folder, product):
    def killed():
        raise Killed

    product.answers[:] = [killed]
    with pytest.raises(Killed):
        folder.run()
    assert folder.place.state()["state"] == CHANGING and folder.file.read_bytes() == NEW
    product.answers[:] = WELL
    folder.ask("confirm.json")
    state, reason = folder.run()
    assert state == REVERTED and "ended amid it" in reason and folder.file.read_bytes() == OLD


def test_boot_amid_the_proof_undoes_the_change(folder, product):
    def killed():
        raise Killed

    product.answers[:] = [killed]
    with pytest.raises(Killed):
        folder.run()
    folder.place.write("state.json", dict(folder.place.state(), boot="another"))
    assert folder.run() == (REVERTED, "the host booted amid the change") and folder.file.read_bytes() == OLD


def test_error_of_our_own_in_the_proof_is_no_proof(folder, product):
    product.answers[:] = [lambda: 1 // 0]
    state, reason = folder.run()
    assert state == REVERTED and reason.startswith(
        "an error that is a fault of this module, ZeroDivisionError: ") and folder.file.read_bytes() == OLD


def test_request_to_go_back_ends_the_questions(folder, product):
    folder.place.write("change.json", dict(folder.place.change(), timeout=3600, asked_proof=dict(timeout=3000, settle=0)))
    product.answers[:] = [lambda: (folder.ask("revert.json"), ILL[0])[1]]
    assert folder.run() == (REVERTED, "it was taken back on request")
    assert len(product.times) == 1 and folder.file.read_bytes() == OLD


@pytest.mark.parametrize("limit, start, proof, settle, left", [
    (120, 0, 60, 0, 60), (120, 50, 60, 0, 50), (120, 50, 60, 5, 40), (120, 99, 60, 0, 1), (120, 110, 60, 0, 0)])
def test_start_proof_and_login_have_one_limit(folder, product, monkeypatch, limit, start, proof, settle, left):
    """Whatever the host's clock is set to meanwhile."""
    now = [1000.0]
    monkeypatch.setattr(confirmed_unit, "boot_clock", lambda: now[0])
    monkeypatch.setattr(confirmed_unit, "execute_and_leave", lambda command, seconds: now.__setitem__(0, now[0] + start) or 0)
    monkeypatch.setattr(confirmed_unit.time, "time", lambda: 0.0)
    monkeypatch.setattr(Asked, "settle_seconds", 0)
    monkeypatch.setattr(Unit, "_wait", lambda self, *unused: None)
    folder.place.write("change.json", dict(folder.place.change(), timeout=limit, asked_proof=dict(timeout=proof, settle=settle)))
    assert folder.run()[0] == WAITING
    assert left - 1 < product.times[0] <= left and folder.place.state()["until"] == 1000 + limit


def test_commands_of_the_start_end_with_the_limit(folder, monkeypatch):
    given = []
    monkeypatch.setattr(confirmed_unit, "execute_and_leave", lambda command, seconds: given.append(seconds) or 0)
    folder.place.write("change.json", dict(folder.place.change(), timeout=30, command_seconds=120))
    folder.ask("confirm.json")
    assert folder.run()[0] == CONFIRMED and given == [30]


def test_start_and_proof_that_leave_no_time_for_the_login_are_named(folder, product, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(confirmed_unit, "boot_clock", lambda: now[0])
    product.answers[:] = [lambda: (now.__setitem__(0, now[0] + 60), WELL[0])[1]]
    state, reason = folder.run()
    assert state == REVERTED and "all of the 60 s (timeout) that they have together with the login that confirms" in reason


def confirmed_and_killed(folder, monkeypatch):
    """Killed when the confirmation was on disk, and the proof not yet in the record."""
    def killed(self):
        raise Killed

    folder.ask("confirm.json")
    with monkeypatch.context() as until_then:
        until_then.setattr(Unit, "_note_proof", killed)
        with pytest.raises(Killed):
            folder.run()
    assert folder.place.state()["state"] == CONFIRMED and record_of(folder) == "changing"


def test_process_that_is_killed_before_the_record_says_so_says_it_when_it_is_begun_again(folder, monkeypatch):
    confirmed_and_killed(folder, monkeypatch)
    assert folder.run()[0] == CONFIRMED and record_of(folder) == "verified"


def test_what_another_run_has_made_of_the_host_since_is_not_what_was_proved(folder, monkeypatch):
    confirmed_and_killed(folder, monkeypatch)
    ChangeRecord(folder.record, 6500, PORT).before_write(str(folder.file), NEW, NEW + b"more")
    assert folder.run()[0] == CONFIRMED and record_of(folder) == "changing"


def test_change_of_an_earlier_version_has_no_proof(tmp_path):
    folder = Folder(tmp_path, BEGUN)
    folder.ask("confirm.json")
    assert folder.run()[0] == CONFIRMED and record_of(folder) == "changing" and "proof" not in folder.place.state()


# -- the run that moves a host

def test_time_that_is_too_short_is_refused_with_its_numbers_before_anything_is_touched(folder):
    forget(folder)
    for check_mode in (True, False):
        with pytest.raises(ChangeError) as refused:
            asked(folder, check_mode, proof=dict(timeout=60, settle=5), timeout=89).begin()
        assert str(refused.value) == (
            "nothing was changed: start, proof and the login that confirms have 89 s together; the proof may take 60 s and twice "
            "5 s to settle, and a new login %d s; give them 90 s or more, or the proof less (options timeout, and timeout and "
            "settle of asked_proof)" % LOGIN_SECONDS)
    assert too_short(90, dict(timeout=60, settle=5)) is None
    assert folder.file.read_bytes() == OLD and folder.called() == [] and record_of(folder) is None


def test_what_the_host_needs_is_looked_at_again_before_the_product_is_stopped(folder, product):
    forget(folder)
    product.ahead = "its hub does not answer"
    with pytest.raises(ChangeError, match="^nothing was changed: its hub does not answer$"):
        asked(folder).begin()
    assert folder.file.read_bytes() == OLD and folder.called() == [] and record_of(folder) is None
    # In check mode no parent has moved.
    told = asked(folder, True).begin()
    assert (told["ok"], told["predicted"], told["port"], told["changed"]) == (True, True, PORT, True)


def test_run_that_begins_a_change_is_told_what_its_host_has_proved(folder, product, carried_out):
    forget(folder)
    product.answers[:] = ILL
    with pytest.raises(ChangeError, match="the change was undone: no proof on port 6530") as undone:
        asked(folder).begin()
    assert (undone.value.result["ok"], undone.value.result["missing"]) == (False, dict(answer=ILL[0][1][0]))
    assert not os.path.lexists(folder.place.caller)
    product.answers[:] = WELL
    begun = asked(folder).begin()
    assert (begun["state"], begun["ok"], list(begun["missing"])) == (WAITING, False, ["login"])
    done = asked(folder, token=begun["token"]).confirm()
    assert (done["state"], done["ok"], done["port"], done["missing"]) == (CONFIRMED, True, PORT, {})
    assert record_of(folder) == "verified"


def moved(folder, state):
    """The file names the new port, and the record says so."""
    forget(folder)
    ChangeRecord(folder.record, 6500, PORT).before_write(str(folder.file), OLD, NEW)
    folder.file.write_bytes(NEW)
    if state == "verified":
        ChangeRecord(folder.record).mark_verified()


def test_host_with_nothing_to_change_proves_itself_within_the_run(folder):
    moved(folder, "changing")
    foretold = asked(folder, True).begin()
    assert (foretold["ok"], foretold["changed"], record_of(folder)) == (True, True, "changing")
    told = asked(folder).begin()
    assert (told["ok"], told["changed"], told["state"], told["old_port"]) == (True, True, "none", 6500)
    assert record_of(folder) == "verified" and folder.called() == [] and asked(folder).begin()["changed"] is False


def test_move_that_has_not_ended_is_taken_back_without_its_proof(folder, product, carried_out):
    product.answers[:] = ILL
    moved(folder, "changing")
    with pytest.raises(ChangeError, match="^no proof on port 6530 .*it does not answer$"):
        asked(folder, True).begin()
    with pytest.raises(ChangeError) as back:
        asked(folder).begin()
    assert str(back.value).startswith("no proof on port 6530") and "byte for byte" in str(back.value)
    assert folder.file.read_bytes() == OLD and record_of(folder) == "rolled_back" and folder.called() == ["stop", "start"]
    assert folder.place.state()["reason"].startswith("no proof on port 6530")


@pytest.mark.parametrize("state, sentence", [
    ("verified", "It was not put back, since it had proved itself on this port before"),
    (None, "Nothing was put back, since no migration of this host to port 6530 is under way")])
def test_host_that_is_no_part_of_a_move_is_left_without_its_proof(folder, product, state, sentence):
    product.answers[:] = ILL
    moved(folder, state)
    if state is None:
        os.remove(folder.record)
    with pytest.raises(ChangeError, match=sentence) as left:
        asked(folder).begin()
    assert left.value.result["ok"] is False and folder.file.read_bytes() == NEW and folder.called() == []


# -- two runs

def test_change_that_was_handed_over_is_its_runs_to_give_up_as_long_as_that_lives(folder, monkeypatch):
    for name in ("PATIENCE_WITH_UNIT", "PATIENCE_WITH_RESTART"):
        monkeypatch.setattr(confirmed_change, name, 0)
    folder.place.write("state.json", dict(folder.place.state(), handed_over=boot_clock() - 1000))
    second, looks = asked(folder), []
    # No process has taken it, and the run that could have launched one is gone.
    assert second._under_way() is None

    def look(seconds):
        looks.append(seconds)
        assert len(looks) < 1000
        if len(looks) == 50:
            folder.place.remove("state.json")
    with one_at_a_time(folder.place.caller, 0, "no other run"):
        monkeypatch.setattr(confirmed_change.time, "sleep", look)
        assert second._under_way() is None and len(looks) == 50


def test_end_of_a_change_that_is_under_way_is_waited_for_and_that_of_one_which_no_process_carries_on_is_not(folder, monkeypatch):
    folder.place.write("state.json", dict(folder.place.state(), state=WAITING, reason=None, until=boot_clock() + 60))
    looks = []

    def look(seconds):
        looks.append(seconds)
        assert len(looks) < 1000
        if len(looks) == 50:
            folder.place.write("state.json", dict(folder.place.state(), state=CONFIRMED, reason="it was confirmed"))
            carried.close()
    monkeypatch.setattr(confirmed_change, "PATIENCE_WITH_RESTART", 0)
    monkeypatch.setattr(confirmed_change.time, "sleep", look)
    # No process has its lock.
    assert asked(folder, wait=60).present()["state"] == WAITING and not looks
    carried = ExitStack()
    carried.enter_context(one_at_a_time(folder.place.lock, 0, "no other process"))
    assert asked(folder).present()["state"] == WAITING and not looks
    assert asked(folder, wait=60).present()["state"] == CONFIRMED and len(looks) >= 50


def test_unit_that_is_slow_to_take_what_was_handed_over_is_waited_for(folder, monkeypatch, carried_out):
    """systemd says that it runs, so it is not given up after the first patience."""
    forget(folder)
    asked_of, launch = [], ConfirmedChange._launch

    def unit_is(self):
        if self.place.state():
            asked_of.append(1)
            if len(asked_of) == 3:
                launch(self)
        return "active" if self.place.state() else "inactive"
    monkeypatch.setattr(confirmed_change, "PATIENCE_WITH_UNIT", 0.2)
    monkeypatch.setattr(ConfirmedChange, "_launch", lambda self: None)
    monkeypatch.setattr(ConfirmedChange, "_unit_is", unit_is)
    begun = asked(folder).begin()
    assert begun["state"] == WAITING and len(asked_of) >= 3
    assert asked(folder).revert()["state"] == REVERTED


# -- what the products look at before they stop

def boks(monkeypatch, **answers):
    """The evidence of a BoKS host whose look and probe are known."""
    monkeypatch.setattr(boks_evidence, "BoksHost", lambda params, host: SimpleNamespace(
        problems=answers.get("problems", []), base=answers.get("base", 6500), record=None, old_base=lambda port: 6500,
        listeners=lambda ports: [], role="agent"))
    monkeypatch.setattr(boks_evidence, "foreign", lambda host, port, old: (answers.get("taken", []), []))
    options = dict({name: value.get("default") for name, value in boks_evidence.PROOF.spec.items()},
                   reach=[dict(host="m", offsets=[1])])
    found = boks_evidence.PROOF.evidence(options, PORT, "/nowhere/boks.json")
    found.managed = SimpleNamespace(probe=lambda targets, timeout, wait=0: [
        dict(host=target["host"], reachable=answers.get("reached", True), error="m port %d is shut" % target["port"])
        for target in targets])
    return found


@pytest.mark.parametrize("answers, sentence", [
    (dict(problems=["no ENV"]), "no ENV"), (dict(taken=["port 6533 is in use"]), "port 6533 is in use"),
    (dict(taken=["port 6533 is in use"], base=PORT), None), (dict(reached=False), "m port 6531 is shut"), ({}, None)])
def test_boks_is_not_stopped_with_something_in_the_way(monkeypatch, answers, sentence):
    found = boks(monkeypatch, **answers)
    if sentence is None:
        return found.check_again()
    with pytest.raises(EngineError, match=sentence):
        found.check_again()


@pytest.mark.parametrize("problems, agent, proxy, reached, sentence", [
    (["two files"], True, None, True, "two files"), ([], True, None, False, "its hub can't be used on port 6530: shut"),
    ([], True, ("proxy", 3128), False, None), ([], False, None, False, None), ([], True, None, True, None)])
def test_agent_is_not_stopped_with_something_in_the_way(monkeypatch, problems, agent, proxy, reached, sentence):
    probed = []
    monkeypatch.setattr(agent_evidence, "AgentHost", lambda params, host: SimpleNamespace(
        problems=problems, agent=agent, record=None, proxy=lambda: proxy,
        way=SimpleNamespace(host="hub", path="/api/", tls=True, thumbprint="AB")))
    options = {name: value.get("default") for name, value in agent_evidence.PROOF.spec.items()}
    found = agent_evidence.PROOF.evidence(options, PORT, "/nowhere/change_tracker.json")
    found.managed = SimpleNamespace(probe=lambda targets, timeout, wait=0: probed.extend(targets) or [
        dict(reachable=reached, error="shut")])
    if sentence is None:
        assert found.check_again() is None
    else:
        with pytest.raises(EngineError, match=sentence):
            found.check_again()
    # By TLS, and with the certificate that the agent trusts.
    assert all(target["http"]["tls"] and target["http"]["thumbprint"] == "AB" for target in probed)


def test_what_a_role_leaves_empty_is_not_asked():
    options = dict({name: value.get("default") for name, value in boks_evidence.PROOF.spec.items()}, bind_address="",
                   errlog_path="", failure_patterns=[])
    params = boks_evidence.asked_within(dict(record="/r"), options, PORT)
    assert (params["bind_address"], params["errlog_path"], params["base_port"]) == (None, None, PORT)
    assert params["failure_patterns"] == boks_evidence.FAILURES
    agent = dict({name: value.get("default") for name, value in agent_evidence.PROOF.spec.items()}, failure_patterns=[])
    assert agent_evidence.asked_within(dict(record="/r"), agent, PORT)["failure_patterns"] == agent_evidence.FAILURES


def test_options_of_a_proof_outlive_the_run_in_text(folder):
    """They are handed over as JSON."""
    for proof in (boks_evidence.PROOF, agent_evidence.PROOF):
        options = {name: value.get("default") for name, value in proof.spec.items()}
        assert json.loads(json.dumps(options)) == options
