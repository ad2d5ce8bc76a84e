# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder of the integration tests: a walk that ends early may let no test pass that reads what came later."""

from types import SimpleNamespace

import pytest

from ansible_collections.portshift.agents.tests.integration.journey import Journey


class Lab:
    hosts, program = ("a", "b"), "usual"

    def __init__(self, *failing):
        self.failing, self.played = failing, []

    def play(self, verb, *options, **how):
        self.played.append((verb, self.program, *options))
        return SimpleNamespace(status=int(verb in self.failing), output="what was said", **how)


def walk(lab, refused=False):
    with Journey(lab, lambda: dict(played=len(lab.played))) as journey:
        journey.keep("start")
        journey.play("plan", program="oldest")
        journey.play("migrate", "--check", step="check", refused=refused).more = "more"
        journey.play("close")
    return journey


def test_a_step_is_a_run_and_what_was_there_after_it():
    lab = Lab()
    journey = walk(lab).whole()
    assert lab.played == [("plan", "oldest"), ("migrate", "usual", "--check"), ("close", "usual")] and lab.program == "usual"
    assert [journey[step].played for step in ("start", "plan", "check", "close")] == [0, 1, 2, 3]
    assert (journey["start"].run, journey["check"].more, journey["close"].run.status) == (None, "more", 0)
    assert list(journey.runs) == ["plan", "check", "close"] and journey.hosts == ["a", "b"]


@pytest.mark.parametrize("lab, refused", [(Lab("migrate"), False), (Lab(), True)])
def test_an_end_that_was_not_expected_ends_the_walk_and_a_test_that_reads_on_is_told_why(lab, refused):
    journey = walk(lab, refused)
    assert journey["check"].played == 2 and [verb for verb, *_rest in lab.played] == ["plan", "migrate"]
    for read in (lambda: journey["close"], journey.whole):
        with pytest.raises(AssertionError) as caught:
            read()
        assert "check" in str(caught.value) and "what was said" in str(caught.value.__cause__)


def test_a_refusal_that_was_expected_goes_on():
    assert walk(Lab("migrate"), refused=True).whole()["check"].run.status == 1


def test_a_name_stands_for_one_step():
    with Journey(Lab(), dict) as journey:
        journey.play("plan")
        journey.play("plan")
    assert list(journey.runs) == ["plan"]
    with pytest.raises(AssertionError):
        journey.whole()


def test_an_interrupt_goes_through():
    with pytest.raises(KeyboardInterrupt), Journey(Lab(), dict):
        raise KeyboardInterrupt
