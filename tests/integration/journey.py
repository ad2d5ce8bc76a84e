# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration that is walked once, step by step, and what many tests read of it.

A step is one run of a playbook and what the lab was like after it.  The walk ends at the first run that has another end than
the one expected of it; a test that reads a later step fails with the reason, so that one fault is told once in full and is
not hidden by what follows from it.
"""

from __future__ import annotations

from types import SimpleNamespace


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
