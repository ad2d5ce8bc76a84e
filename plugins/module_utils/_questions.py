# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof that a host owes, asked for again and again until all of it is there or the time is over."""

import time

from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError

PAUSE = 0.5
# Of a log that has grown for years only the end can be newer than a change of today.
LOG_TAIL = 4 * 1024 * 1024


def gather(questions, timeout):
    """(proved, missing, seconds).  `missing`: a sentence for each question that was not answered well, by its name.

    `questions`: look() reads the host for one round; asked() gives (name, function, whether a good answer lasts).  The function
    gets the seconds that are left and answers (good, sentences).
    """
    started, lasting = time.monotonic(), {}
    while True:
        proved, missing = [], {}
        questions.look()
        for name, ask, lasts in questions.asked():
            try:
                good, sentences = lasting.get(name) or ask(timeout - (time.monotonic() - started))
            except EngineError as err:
                good, sentences = False, [str(err)]
            if good:
                proved += sentences
                if lasts:
                    lasting[name] = (True, sentences)
            else:
                missing[name] = "; ".join(sentences)
        waited = time.monotonic() - started
        if not missing or waited + PAUSE > timeout:
            return proved, missing, round(waited, 1)
        time.sleep(PAUSE)
