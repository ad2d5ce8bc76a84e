# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which migration goes back, out of what the hosts' records say."""

from types import SimpleNamespace

import pytest

from ansible_collections.portshift.agents.plugins.action.rollback_plan import ActionModule


def record(old_port, new_port, started, state="verified"):
    return dict(ok=True, record=dict(old_port=old_port, new_port=new_port, started=started, state=state))


NO_RECORD = dict(ok=True, record=None)
SILENT = None


def plan(port=0, force=False, records=(), **answers):
    arguments = dict(hosts=list(answers), way_back="way_back", port=port, force=force, records=list(records))
    task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, diff=False)
    nowhere = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = ActionModule(task, nowhere, SimpleNamespace(), None, None, None)
    return action.run(task_vars=dict(hostvars={host: {} if answer is SILENT else dict(way_back=answer)
                                               for host, answer in answers.items()}))


def test_last_migration_goes_back_and_those_it_has_not_reached_stay():
    found = plan(a=record(1, 2, 10), b=record(2, 3, 20), c=NO_RECORD)
    assert (found["port"], found["old_port"], found["moved"], found["hosts"]) == (3, 2, ["b"], ["b", "c"])


def test_an_earlier_migration_is_refused():
    refused = plan(port=2, a=record(1, 2, 10), b=record(2, 3, 20))
    assert refused["failed"] and "to port 3, so the one to port 2 can no longer" in refused["msg"]


@pytest.mark.parametrize("port", [0, "7"])
def test_nothing_was_ever_moved(port):
    found = plan(port=port, a=NO_RECORD)
    assert (found["port"], found["old_port"], found["moved"]) == (int(port), None, [])


def test_silent_host_has_to_be_asked_also_by_force():
    found = plan(force=True, a=record(1, 2, 10), b=SILENT)
    assert found["hosts"] == ["b"] and found["moved"] == ["a"]


def test_host_that_has_gone_back_is_not_moved_again():
    found = plan(a=record(1, 2, 10, "rolled_back"), b=record(1, 2, 11))
    assert (found["port"], found["old_port"], found["moved"]) == (2, 1, ["b"])


def test_port_that_no_record_names_is_known_to_nobody():
    known = {port: plan(port=port, a=record(1, 2, 10, "rolled_back"), b=NO_RECORD)["known"] for port in (0, 2, 7)}
    assert known == {0: True, 2: True, 7: False}


def hub(*told):
    return record(*told)["record"]


def test_hub_that_was_opened_for_a_port_to_which_nobody_moved_goes_back_alone():
    found = plan(records=[hub(2, 3, 20)], a=record(1, 2, 10))
    assert (found["port"], found["old_port"], found["moved"], found["known"]) == (3, 2, [], True)


def test_hub_that_was_not_opened_by_the_last_migration_does_not_say_which_one_it_was():
    found = plan(records=[hub(1, 2, 10)], a=record(2, 3, 20))
    assert (found["port"], found["old_port"], found["moved"]) == (3, 2, ["a"])


def test_hub_that_has_gone_back_names_no_migration_but_knows_its_port():
    undone = [hub(2, 3, 20, "rolled_back")]
    found = plan(records=undone, a=record(1, 2, 10))
    assert (found["port"], found["moved"], found["known"]) == (2, ["a"], True)
    assert plan(records=undone, port=3, a=NO_RECORD)["known"] is True


def test_ports_that_the_hosts_have_left_are_all_named():
    assert plan(a=record(1, 3, 10), b=record(2, 3, 20), c=record(4, 3, 30, "rolled_back"))["old_ports"] == [1, 2]
