# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that a host owes, asked for again and again until all of it is there or the time is over."""

import time

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

PAUSE = 0.5


class Hopeless(EngineError):
    """An answer that no waiting makes good; the sentence says why."""


def gather(questions, timeout, settle=0):
    """(proved, missing, seconds): by the name of each question, the sentences of its good answer, or the sentence that says what
    is missing.

    `questions`: look() reads the host for one round; asked() gives (name, function, whether a good answer lasts).  The function
    gets the seconds that are left and answers (good, sentences).

    `settle`: for so long the host is left alone after its first good answers, and has to give all of them once more: what dies
    again and again is well in between.  questions.settle() is called at the beginning of that time.
    """
    started = time.monotonic()
    proved, missing = _ask(questions, started + timeout)
    if settle > 0 and not missing:
        questions.settle()
        time.sleep(settle)
        proved, missing = _ask(questions, max(started + timeout, time.monotonic() + settle))
    return proved, missing, round(time.monotonic() - started, 1)


def _ask(questions, end):
    lasting = {}
    while True:
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
        if not missing or hopeless or time.monotonic() + PAUSE > end:
            return proved, missing
        time.sleep(PAUSE)


def told(proved):
    """The sentences of all good answers, one after another."""
    return [sentence for sentences in proved.values() for sentence in sentences]
