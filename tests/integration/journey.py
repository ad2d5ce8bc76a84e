# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration that is walked once, step by step, and what many tests read of it.

A step is one run of a playbook and what the lab was like after it.  The walk ends at the first run that has another end than
the one expected of it; a test that reads a later step fails with the reason, so that one fault is told once in full and is
not hidden by what follows from it.
"""

from __future__ import annotations

import ast
from types import SimpleNamespace

# What a site's ansible.cfg may say of all plays; a run goes as it does without.
SITE_CONFIG = dict(ANSIBLE_ANY_ERRORS_FATAL="true", ANSIBLE_STRATEGY="free")


class Journey:
    """`with Journey(lab, look) as journey:` holds the walk, and the tests read journey["the name of a step"].

    `lab`: has play(verb, *options, **how) -> a Run, `program` and `hosts`; it may be gone when tests read.  `look`: returns the
    lab's state as a dict, of which each step has the entries as attributes, beside its `run`.  What costs too much to look at
    each time is set on the one step that play() or keep() returns, in a statement of its own: Python evaluates the right side
    of `walked.play(...).more = look()` before it plays.
    """

    def __init__(self, lab, look):
        self.lab, self.look, self.hosts = lab, look, list(lab.hosts)
        self.steps, self.ended = {}, None

    def __enter__(self):
        return self

    def __exit__(self, kind, err, trace):
        self.ended = err
        return isinstance(err, Exception)

    def keep(self, name, run=None):
        """Records a step: a run that has ended, if there was one, and what is there now."""
        assert name not in self.steps, name
        self.steps[name] = SimpleNamespace(run=run, **self.look())
        return self.steps[name]

    def play(self, verb, *options, step=None, refused=False, program=None, **how):
        """Runs the playbook of this verb and records it under `step` (default: the verb).  `refused`: it has to fail."""
        usual, self.lab.program = self.lab.program, program or self.lab.program
        try:
            run = self.lab.play(verb, *options, **how)
        finally:
            self.lab.program = usual
        kept = self.keep(step or verb, run)
        assert bool(run.status) == refused, "%s ended with status %s:\n%s" % (step or verb, run.status, run.output)
        return kept

    def __getitem__(self, name):
        if name not in self.steps:
            raise AssertionError("the journey did not get as far as %r; its last step was %r" % (
                name, list(self.steps)[-1:])) from self.ended
        return self.steps[name]

    def asked(self, step, host):
        """The modules that ran on a host in a step, without the lock and what runs on the control node.

        The task of a confirmed change that has changed something is two runs, one to begin it and one to confirm it.
        """
        found = []
        for event in self[step].run.events:
            name = event.get("action", "").rpartition("portshift.agents.")[2]
            if event["event"] in ("ok", "failed") and event["host"] == host and name != event["action"] and (
                    name not in ("migration", "run_lock")):
                found += [name] * (2 if name == "confirmed_change" and event["changed"] else 1)
        return found

    def whole(self):
        """Every step was walked."""
        if self.ended:
            raise AssertionError("the journey ended after the steps %s" % list(self.steps)) from self.ended
        return self

    @property
    def runs(self):
        """{step: run}"""
        return {name: step.run for name, step in self.steps.items() if step.run}


def told_at_the_end(run):
    """The sentences of a run's report, with which it ends; none where it was stopped before."""
    shown = [event["msg"] for event in run.events if event["event"] == "ok" and
             event["task"] == "Show what was done, and what is left"]
    assert len(shown) <= 1, shown
    return ast.literal_eval(shown[0]) if shown else []


def endings(product, word, old, new, phases):
    """{step: the report of its run}, the same for every product but for its words and the sizes of its phases.

    `word`: what the product calls a port; `phases`: {title: number of hosts}.  A migration's report goes on with next steps, the
    product's own.
    """
    total, first = sum(phases.values()), next(iter(phases.values()))

    def hosts(number):
        return "%d host%s" % (number, "" if number == 1 else "s")

    def where(number, port=new, how="proved"):
        return "%d of %d hosts %s %s %d" % (number, total, how, word, port)

    waiting = ["phase %d (%s, %s)" % (number, title, hosts(count)) for number, (title, count) in enumerate(phases.items(), 1)]
    migrated = ["Phases 1, 2 and 3 of this run are done (%d hosts); %s." % (total, where(total))]
    closed = [where(total) + ". What was left for it is closed."]
    return {
        "check": ["Check mode: nothing was changed. Phases 1, 2 and 3 would run; %s." % where(total, how="would be on")],
        "phase 1": ["Phase 1 of this run is done (%s); %s." % (hosts(first), where(first)),
                    "Left: %s. Run the same command without --tags and %s_phases." % (" and ".join(waiting[1:]), product)],
        "migrate": migrated, "again": migrated, "verify": [where(total) + "."], "close": closed, "close again": closed,
        "rollback": ["%s: the migration of %d hosts from %s %d to %d is taken back." % (
            where(total, old), total, word, old, new)],
        "rollback again": ["Nothing to take back: no host has moved to %s %d; what had been opened for it is closed." % (
            word, new)]}


def ends_by_saying_what_was_done_and_what_is_left(journey, product, *words):
    """Each run of the walk tells at its end what is so, and one that was stopped claims nothing."""
    expected = endings(product, *words)
    assert {"check", "phase 1", "migrate", "again", "verify", "close", "rollback"} <= journey.whole().runs.keys()
    for step, run in journey.runs.items():
        told = told_at_the_end(run)
        if run.status or step == "plan":
            assert told == [], step
            continue
        count = len(expected[step])
        assert told[:count] == expected[step], step
        if step in ("check", "phase 1", "migrate", "again"):
            assert "rollback_%s_port.yml" % product in told[-1], step
        else:
            assert len(told) == count, step
