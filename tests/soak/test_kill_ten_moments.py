# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration killed at ten moments, spread evenly over the events of an uninterrupted one.  It takes long."""

import pytest

from tests.integration.migration_lab import NEW, OLD, Lab

pytestmark = pytest.mark.long

MOMENTS = 10


@pytest.fixture
def lab(tmp_path, request):
    lab = Lab(tmp_path / "lab", request.param)
    yield lab
    lab.stop()


@pytest.mark.parametrize("lab", ["signed", "plain"], indirect=True)
def test_killed_at_ten_moments(lab):
    lab.start()
    before = lab.snapshot()
    whole = lab.play("migrate").good()
    events = len(whole.events)
    lab.play("rollback").good()
    assert lab.snapshot() == before
    lab.wait(OLD)
    for number in range(1, MOMENTS + 1):
        moment = events * number // (MOMENTS + 1)
        killed = lab.begin("migrate").until_count(moment).kill()
        last = killed.events[-1]
        print("%-6s moment %2d of %d, event %3d of %d: %s %s" % (
            lab.kind, number, MOMENTS, moment, events, last.get("host", ""), last.get("task", last.get("name"))))
        assert killed.status == -9
        lab.play("migrate").good()
        lab.wait(NEW)
        assert set(lab.ports().values()) == {NEW}
        lab.play("rollback").good()
        assert lab.snapshot() == before
        lab.wait(OLD)
