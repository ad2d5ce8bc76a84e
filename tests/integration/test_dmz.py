# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration with a relay in a DMZ, which can open no connection to its parent."""

from tests.integration.dmz_lab import DmzLab, packet_filter
from tests.integration.migration_lab import NEW


def test_migration_moves_a_relay_in_a_dmz_and_loses_no_report(tmp_path):
    with packet_filter() as namespace:
        lab = DmzLab(tmp_path / "lab", "signed", namespace)
        try:
            lab.start_dmz()
            lab.play("migrate").good()
            lab.wait(NEW)
            lab.none_lost()
            lab.play("close").good()
            lab.none_lost()
            lab.play("verify").good()
            assert lab.tried_upwards() == 0
            assert set(lab.ports().values()) == {NEW}
            lab.rule_holds(NEW)
        finally:
            lab.stop()
