# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as evidence, and why something does not."""

import pytest

from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import WithLooks, is_answer, without_evidence
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import HostVariables
from ansible_collections.portshift.agents.tests.unit.host_variables import HostVars

PORT = 55000


def reason(value, **asked):
    return without_evidence(HostVars(host=dict(proof=value)), "host", "proof", **asked)


@pytest.mark.parametrize("value", [
    True, dict(ok=True), dict(ok=True, changed=False), dict(ok=True, problems=[]), dict(ok=True, failed=False),
    dict(ok=True, unreachable=False, skipped=False), dict(ok=True, predicted=False), dict(ok=True, port=None)])
def test_evidence(value):
    assert reason(value) is None


NOT_TRUE = ", and evidence is true or a result whose ok is true"
NO_OK = "proof has no ok, so that it says nothing; evidence is true or a result whose ok is true"


@pytest.mark.parametrize("value, why", [
    (False, "proof is False"), (None, "proof is None"), ("", "proof is ''"), (0, "proof is 0"), ([], "proof is []"),
    ("0", "proof is '0'" + NOT_TRUE), ("no", "proof is 'no'" + NOT_TRUE), ("yes", "proof is 'yes'" + NOT_TRUE),
    ("true", "proof is 'true'" + NOT_TRUE), (1, "proof is 1" + NOT_TRUE), ([1], "proof is [1]" + NOT_TRUE),
    ([dict(failed=True)], "proof is [{'failed': True}]" + NOT_TRUE), ([dict(ok=True)], "proof is [{'ok': True}]" + NOT_TRUE),
    ({}, "proof says that it is not ok"), (dict(rc=1), NO_OK), (dict(rc=0), NO_OK),
    (dict(changed=False), NO_OK), (dict(changed=True), NO_OK),
    (dict(reachable=False), NO_OK), (dict(reachable=True), NO_OK), (dict(port=PORT), NO_OK),
    (dict(ok=False), "proof says that it is not ok"),
    (dict(ok="yes"), "proof says that it is not ok"), (dict(ok="True"), "proof says that it is not ok"),
    (dict(ok=1), "proof says that it is not ok"), (dict(ok=None), "proof says that it is not ok"),
    (dict(ok=False, port=PORT), "proof says that it is not ok"),
    (dict(ok=False, problems=["a is odd", "b too"]), "a is odd; b too"),
    (dict(ok=False, missing=dict(log="no report", parent="no answer")), "no report; no answer"),
    (dict(ok=False, missing=["no report"]), "no report"), (dict(ok=False, missing="no report"), "proof says that it is not ok"),
    (dict(ok=True, failed=True, msg="broke"), "broke"), (dict(ok=True, failed="yes", msg="broke"), "broke"),
    (dict(ok=True, unreachable=True, msg="no route"), "unreachable: no route"),
    (dict(ok=True, skipped=True), "skipped, without a reason"),
    (dict(failed=True, msg="broke"), "broke"),
    (dict(unreachable=True, msg="no route"), "unreachable: no route"),
    (dict(unreachable=True), "unreachable"),
    (dict(skipped=True, changed=False), "skipped, without a reason"),
    (dict(failed=True, missing=dict(log="no report"), msg="broke"), "no report"),
    (dict(ok=True, predicted=True), "proof was only predicted, as in check mode"),
    (dict(ok=True, predicted="yes"), "proof was only predicted, as in check mode"),
])
def test_no_evidence_and_why(value, why):
    assert reason(value) == why


# Text of digits is what set_fact of ansible-core before 2.19 makes of a number.
@pytest.mark.parametrize("value", [True, dict(ok=True, port=PORT), dict(ok=True, port="55000")])
def test_evidence_for_the_port_of_the_gate(value):
    assert reason(value, port=PORT) is None


@pytest.mark.parametrize("port, said", [
    (52311, "port 52311"), ("52311", "port 52311"), (None, "no port"), (True, "port True"), ("55000x", "port 55000x"),
    (55000.5, "port 55000.5"), ([55000], "port [55000]"), ("", "port "), ("\u0665\u0665\u0660\u0660\u0660", "port \u0665")])
def test_evidence_for_another_port_is_none_and_both_are_named(port, said):
    sentence = reason(dict(ok=True, port=port), port=PORT)
    assert sentence.startswith("proof is about " + said) and sentence.endswith(", and the gate is for port 55000")
    assert "the gate is for port 55000" in reason(dict(ok=True), port=PORT)


def test_prediction_counts_in_check_mode_alone():
    assert reason(dict(ok=True, predicted=True, port=PORT), port=PORT, check_mode=True) is None
    assert "predicted" in reason(dict(ok=True, predicted=True, port=PORT), port=PORT)
    assert "gate is for port" in reason(dict(ok=True, predicted=True, port=52311), port=PORT, check_mode=True)
    assert reason(dict(ok=False, predicted=True), check_mode=True) == "proof says that it is not ok"


def test_host_that_never_answered_has_given_none():
    silent = without_evidence(HostVars(host={}), "host", "proof")
    assert silent == "no answer: unreachable, or failed before it could prove anything"


def test_unknown_host_has_given_none():
    assert without_evidence(HostVars(), "host", "proof") == "not in the inventory"


def test_answer_may_be_no():
    assert is_answer(dict(ok=False)) and is_answer(dict(ok=True, record=None))
    for value in (None, "ok", [], {}, dict(ok="yes"), dict(ok=True, failed=True), dict(ok=False, unreachable=True)):
        assert not is_answer(value)


# -- the proof of a look

class Hosts(dict):
    """hostvars in which no variable may be asked for but those that are named."""

    raw_get = dict.get


class Watched(dict):
    def __iter__(self):
        raise AssertionError("all variables of the host were asked for")

    keys = values = items = __iter__


PROOF = dict(ok=True, port=55000, proved=["it runs {{ lookup('pipe', 'id') }}"])


def looked(look, **known):
    return WithLooks(Hosts(a=Watched(look=look, **known)), "look", "proof")


def test_proof_of_a_look_stands_for_one_that_was_not_asked_for():
    hosts = looked(dict(ok=True, evidence=PROOF))
    assert without_evidence(hosts, "a", "proof", 55000) is None and hosts.raw_get("a")["proof"] == PROOF
    assert "is about port 55000" in without_evidence(hosts, "a", "proof", 55001)
    # Its text is one of a host, and no template.
    assert HostVariables(hosts, "a").get("proof") == PROOF and "proof" in hosts["a"] and hosts["a"]["look"]["ok"]


@pytest.mark.parametrize("look", [
    None, "x", dict(ok=True), dict(ok=True, evidence=None), dict(ok=True, evidence=dict(PROOF, ok=False)), dict(evidence=PROOF),
    dict(ok=False, evidence=PROOF), dict(ok=True, failed=True, evidence=PROOF), dict(ok=True, unreachable=True, evidence=PROOF),
    dict(ok=True, evidence=dict(PROOF, failed=True))])
def test_look_without_a_proof_gives_none(look):
    assert "no answer" in without_evidence(looked(look), "a", "proof", 55000)


def test_proof_that_was_asked_for_counts_first():
    hosts = looked(dict(ok=True, evidence=PROOF), proof=dict(ok=False, missing=dict(log="it failed since")))
    assert without_evidence(hosts, "a", "proof", 55000) == "it failed since" and "a" in hosts and "b" not in hosts
