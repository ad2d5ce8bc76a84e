# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests say of a run that failed, to a reader who is shown the beginning of it alone."""

import pytest

from tests.integration.migration_lab import LAST_LINES, Run


def test_end_of_a_long_output_comes_first_and_nothing_is_left_out(tmp_path):
    run = Run(["-c", "seq 1000; echo why; exit 3"], tmp_path, program="sh").wait()
    with pytest.raises(AssertionError) as failure:
        run.good()
    # pytest adds how the two differ.
    said = [line.strip() for line in str(failure.value).partition("\nassert ")[0].splitlines()]
    numbers = [str(number) for number in range(1, 1001)]
    assert said == ["exit status 3", "--- the last lines:", *numbers[1 - LAST_LINES:], "why", "--- all of it:", *numbers, "why"]


def test_sentences_of_tasks_that_failed_come_before_all_else(tmp_path):
    run = Run(["-c", """echo '{"event": "failed", "msg": "port 443 is still used"}' >>"$PORTSHIFT_JOURNAL"; exit 2"""],
              tmp_path, program="sh").wait()
    assert run.account == "exit status 2\nport 443 is still used"
