# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that a host owes: asked for again and again until all of it is there or the time is over, and told in one form.

What a host of a product owes is that product's judgement, a subclass of Evidence; how it is asked, awaited, marked and returned
is the same for all of them.
"""

import time

from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import left_port, moved_at
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.imported import modules_with

# Seconds between two rounds of questions: at least, and at most, since what a round costs the host adds up while it waits.
PAUSE, LONGEST_PAUSE = 0.5, 2
# Seconds that are enough to settle for a host that has proved itself before.
SETTLED_BEFORE = 2

# Options of every module that waits for evidence.
EVIDENCE_SPEC = dict(timeout=dict(type="float", default=60), settle=dict(type="float", default=5),
                     mark=dict(type="bool", default=False))
# Those of a proof within another module's run.
PROOF_SPEC = {name: EVIDENCE_SPEC[name] for name in ("timeout", "settle")}


class Hopeless(EngineError):
    """An answer that no waiting makes good; the sentence says why."""


class Evidence:
    """The pieces of evidence that a host owes on `port`.

    `record`: the ChangeRecord of the host's migration as it was before the proof, or None.  It is what counts, and
    mark_verified() refuses where it was changed meanwhile.  `host`: the Host that is asked; a product may
    have a picture of its own of it.

    A product has asked(), and look(), which reads the host once for all questions of a round.  Each question gets the seconds
    that are left and answers (good, sentences).
    """

    # What its sentences call the port.
    port_words = "port"
    # Whether the run that asks is itself the one change of this host that is under way.
    alone = False

    def __init__(self, params, port, record, host):
        self.params, self.port, self.record, self.managed = params, port, record, host
        self.content = (record and record.content) or {}
        self.old_port = left_port(self.content, port)
        self.proved_before = self.content.get("state") == "verified" and self.content["new_port"] == port
        # What was seen when all was well once; None before that.
        self.well = None

    @property
    def settle_seconds(self):
        if not self.can_die():
            return 0
        return min(self.params["settle"], SETTLED_BEFORE) if self.proved_before else self.params["settle"]

    def can_die(self):
        """Whether anything is asked that a service which dies again and again could undo."""
        return True

    def look(self):
        """Looks at the host anew, for one round of questions."""
        self.managed.look_anew()

    def settled(self):
        """For how many seconds what was seen has been as it is, where that can be told without waiting."""
        return 0

    def seen(self):
        """What may not change while the host settles."""
        return ()

    def settle(self):
        """From here on nothing may happen to what was well."""
        self.well = self.seen()

    def asked(self):
        """(name, function, whether a good answer lasts): what a service that dies can undo is asked to the end."""
        raise NotImplementedError

    def under_way(self, unused):
        """What another run is changing proves nothing."""
        if self.alone:
            return True, []
        record = self.params["record"]
        sentence = self.change_under_way() or (self.managed.other_change(record) if record else None)
        return (False, [sentence]) if sentence else (True, [])

    def change_under_way(self):
        """A sentence on a change that may yet undo itself, or None."""
        return None

    def check_again(self):
        """Before the product is stopped for a move: EngineError when what the host needs on the new port is not there."""

    def also(self, proved):
        """What the product returns beside the keys that all of them have."""
        return {}

    def is_to_be_marked(self):
        return self.content.get("state") == "changing" and self.content["new_port"] == self.port


class ProductProof:
    """How hosts of a product prove themselves within the run of a module that moves them; a product's module has one as C(PROOF).

    C(option): the option of M(portshift.agents.confirmed_change) that asks for it; C(spec): its suboptions, with PROOF_SPEC.
    C(evidence): (these options, port, path of the record) -> the Evidence that the host owes.
    """

    def __init__(self, option, spec, evidence):
        self.option, self.spec, self.evidence = option, spec, evidence


class Proofs:
    """The proofs of these C(modules)."""

    def __init__(self, *modules):
        self.modules = [module.__name__ for module in modules]
        self.all = [module.PROOF for module in modules]
        self.spec = {one.option: dict(type="dict", options=one.spec) for one in self.all}

    @classmethod
    def imported(cls, namespace):
        """The proofs of the modules that are imported there."""
        return cls(*modules_with("PROOF", namespace))

    def asked(self, params):
        """(ProductProof, its options) that `params` ask for, or (None, None)."""
        return next(((one, params[one.option]) for one in self.all if params.get(one.option)), (None, None))


def given(options):
    """Options of a proof as a judgement takes them; what a role leaves empty is not asked."""
    return {name: None if value == "" else value for name, value in options.items()}


def longest(options):
    """Seconds that a proof with these options may take at most, but for its last question."""
    return options["timeout"] + 2 * options["settle"]


def gather(questions, timeout, settle=0, check_abort=lambda: None):
    """(proved, missing, seconds): by the name of each question, the sentences of its good answer, or the sentence that says what
    is missing.

    `questions`: look() reads the host for one round; asked() gives (name, function, whether a good answer lasts).  The function
    gets the seconds that are left and answers (good, sentences).

    `settle`: for so long the host is left alone after its first good answers, and has to give all of them once more: what dies
    again and again is well in between.  questions.settle() is called at the beginning of that time.

    `check_abort`: called again and again meanwhile; what it raises ends the questions.
    """
    started = time.monotonic()
    proved, missing = _ask(questions, started + timeout, check_abort)
    settle = max(0, settle - questions.settled()) if settle > 0 and not missing else 0
    if settle > 0:
        questions.settle()
        _rest(time.monotonic() + settle, check_abort)
        proved, missing = _ask(questions, max(started + timeout, time.monotonic() + settle), check_abort)
    return proved, missing, round(time.monotonic() - started, 1)


def _rest(end, check_abort):
    while time.monotonic() < end:
        check_abort()
        time.sleep(min(LONGEST_PAUSE, end - time.monotonic()))


def _ask(questions, end, check_abort):
    lasting, started = {}, time.monotonic()
    while True:
        check_abort()
        proved, missing, hopeless = {}, {}, False
        questions.look()
        for name, ask, lasts in questions.asked():
            try:
                good, sentences = lasting.get(name) or ask(end - time.monotonic())
            except EngineError as err:
                good, sentences, hopeless = False, [str(err)], hopeless or isinstance(err, Hopeless)
            if good:
                proved[name] = sentences
                if lasts:
                    lasting[name] = (True, sentences)
            else:
                missing[name] = "; ".join(sentences)
        now = time.monotonic()
        if not missing or hopeless or now >= end:
            return proved, missing
        # What has taken long may take longer yet.
        time.sleep(min(max(PAUSE, (now - started) / 4), LONGEST_PAUSE, end - now))


def told(proved):
    """The sentences of all good answers, one after another."""
    return [sentence for sentences in proved.values() for sentence in sentences]


def proof(questions, timeout, check_abort=lambda: None):
    """What a host has proved, in one form for every product; where something is missing, C(msg) says what."""
    proved, missing, waited = gather(questions, timeout, questions.settle_seconds, check_abort)
    result = dict(ok=not missing, port=questions.port, old_port=questions.old_port, proved=told(proved), missing=missing,
                  waited=waited, moved_at=moved_at(questions.content, questions.port), looked_at=questions.managed.now(),
                  **questions.also(proved))
    if missing:
        result["msg"] = "no proof on %s %d after %g s: %s" % (
            questions.port_words, questions.port, waited, "; ".join(missing[name] for name in sorted(missing)))
    return result


def proof_of_moved(record, port, judgement, timeout):
    """The proof of a host with nothing left to edit, as a look at it returns it; None where no record says that it has proved
    itself on `port` before: then the run that moves it asks.  `record`: the ChangeRecord, or None.  `judgement`: as below.
    """
    content = record and record.content
    if not content or content["state"] != "verified" or content["new_port"] != port:
        return None
    return told_proof(port, judgement, timeout)


def told_proof(port, judgement, timeout):
    """proof(), where what can't be asked is a proof that is missing."""
    try:
        return proof(judgement(), timeout)
    except EngineError as err:
        return dict(ok=False, port=port, missing={}, msg=str(err))


def proved(params, judgement, mark=None, **unknown):
    """(whether the host has proved itself, what is returned).

    `judgement`: makes the Evidence of the product.  `mark`: notes with it that the host has proved itself, where O(mark) asks for
    that; None notes nothing, as in check mode.  `unknown`: what the product returns where the Evidence can't be made.
    """
    try:
        questions = judgement()
        result = proof(questions, params["timeout"])
        if not result["ok"]:
            return False, result
        marked = params["mark"] and questions.is_to_be_marked()
        if marked and mark:
            mark(questions)
        return True, dict(result, changed=marked)
    except EngineError as err:
        nothing = dict(ok=False, port=params.get("port"), old_port=None, proved=[], missing={}, waited=0.0)
        return False, dict(nothing, msg=str(err), **unknown)


def prove(module, judgement, **unknown):
    """The run of a module that waits for evidence."""
    def mark(questions):
        questions.record.mark_verified()

    good, result = proved(module.params, judgement, None if module.check_mode else mark, **unknown)
    if not good:
        module.fail_json(**result)
    module.exit_json(**result)
