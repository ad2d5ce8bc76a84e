# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The headline again and again: a flaky zero is not zero.  The root server's own count decides."""

import pytest

from tests.integration.migration_lab import NEW, Lab
from tests.integration.namespaces import Namespace

pytestmark = pytest.mark.long

REPETITIONS = 20


@pytest.mark.parametrize("repetition", range(1, REPETITIONS + 1))
def test_no_report_is_lost_by_a_migration(tmp_path, repetition):
    namespace = Namespace()
    lab = Lab(tmp_path / "lab", "signed" if repetition % 2 else "plain", namespace)
    try:
        assert not namespace.why_not, namespace.why_not
        lab.start(relays="2,2", clients=12, give_up=10)
        lab.play("migrate").good()
        lab.wait(NEW)
        agents = lab.status()["agents"]
        print("%-6s run %2d: %d reports, %d lost, longest silence %.1f s" % (
            lab.kind, repetition, sum(agent["accepted"] for agent in agents.values()),
            sum(agent["lost"] for agent in agents.values()), max(agent["longest_silence"] for agent in agents.values())))
        assert {host: agent["lost"] for host, agent in agents.items() if agent["lost"]} == {}
    finally:
        if not namespace.why_not:
            lab.stop()
        namespace.close()
