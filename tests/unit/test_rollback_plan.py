# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which migration goes back, out of what the hosts' records say."""

from types import SimpleNamespace

import pytest

from ansible_collections.portshift.agents.plugins.action.rollback_plan import ActionModule
from ansible_collections.portshift.agents.tests.unit.host_variables import HostVars


def record(old_port, new_port, started, state="verified"):
    return dict(ok=True, record=dict(old_port=old_port, new_port=new_port, started=started, state=state))


NO_RECORD = dict(ok=True, record=None)
DAY = 24 * 60 * 60
SILENT = None


def plan(port=0, force=False, records=(), opened=None, **answers):
    """`opened`: the hosts that were opened for the port; None: no run has looked."""
    arguments = dict(hosts=list(answers), way_back="way_back", port=port, force=force, records=list(records),
                     **({} if opened is None else dict(opened="opened")))
    task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, diff=False)
    nowhere = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = ActionModule(task, nowhere, SimpleNamespace(), None, None, None)
    return action.run(task_vars=dict(hostvars=HostVars({
        host: {} if answer is SILENT else dict(way_back=answer, opened=host in (opened or ()))
        for host, answer in answers.items()})))


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


def test_port_that_no_record_names_is_not_known():
    known = {port: plan(port=port, a=record(1, 2, 10, "rolled_back"), b=NO_RECORD)["known"] for port in (0, 2, 7)}
    assert known == {0: True, 2: True, 7: False}


def hub(*told):
    return record(*told)["record"]


def test_hub_that_was_opened_for_a_port_to_which_no_agent_moved_goes_back_alone():
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


# --- which one was the last: by the ports, and by the clocks where these don't tell

@pytest.mark.parametrize("last, told", [
    # The clock of the host that moved on is slow.
    ((2, 3), [(1, 2, 20), (2, 3, 10)]),
    ((3, 4), [(2, 3, 30), (3, 4, 10), (1, 2, 20)]),
    ((3, 4), [(1, 2, 30), (1, 3, 20), (2, 3, 40), (3, 4, 10)]),
    # There and back, or round: each left the port of the other.
    ((2, 1), [(1, 2, 10), (2, 1, 20)]),
    ((1, 2), [(1, 2, 20), (2, 1, 10)]),
    ((2, 3), [(1, 2, 10), (2, 3, 30), (3, 1, 20)]),
    # Round, and then on from there.
    ((1, 4), [(1, 2, 30), (2, 1, 20), (1, 4, 10)]),
    # Nothing leads from one to the other.
    ((1, 3), [(1, 2, 10), (1, 3, 20)]),
    ((1, 2), [(1, 2, 20), (1, 3, 10)]),
    ((4, 5), [(1, 2, 10), (4, 5, 20)]),
    # A host of which it was not known what it left.
    ((None, 3), [(1, 2, 10), (None, 3, 20)]),
    ((1, 2), [(1, 2, 20), (None, 3, 10)]),
    # A record that names one port twice.
    ((2, 3), [(2, 2, 30), (2, 3, 10)]),
])
def test_the_last_migration_is_the_one_that_left_the_port_of_the_others(last, told):
    answers = {"host%d" % number: record(*one) for number, one in enumerate(told)}
    found = plan(**answers)
    assert (found["old_port"], found["port"]) == last
    assert found["moved"] == [host for host, answer in answers.items() if answer["record"]["new_port"] == last[1]]
    assert plan(port=last[1], **answers)["port"] == last[1]


def test_an_earlier_migration_is_refused_whatever_the_clocks_say():
    refused = plan(port=2, a=record(1, 2, 20), b=record(2, 3, 10))
    assert refused["failed"] and "to port 3, so the one to port 2 can no longer" in refused["msg"]


def test_a_host_that_went_back_from_the_last_migration_keeps_the_others_from_going_back_alone():
    answers = dict(a=record(1, 2, 20), b=record(2, 3, 10, "rolled_back"))
    assert (plan(**answers)["port"], plan(**answers)["moved"]) == (3, [])
    assert plan(port=2, **answers)["failed"]


def test_a_hub_with_a_slow_clock_is_ahead_of_its_agents():
    found = plan(records=[hub(2, 3, 10)], a=record(1, 2, 20))
    assert (found["port"], found["old_port"], found["moved"]) == (3, 2, [])


def test_a_port_that_no_record_names_is_none_that_can_no_longer_go_back():
    found = plan(port=7, a=record(1, 2, 10), b=record(2, 3, 20))
    assert (found["port"], found["old_port"], found["moved"], found["known"], "failed" in found) == (7, None, [], False, False)


@pytest.mark.parametrize("port, opened, known", [
    (7, ["b"], True), (7, [], False), (7, None, False), (0, [], True), (2, [], True),
    # Of the port that a has left, a knows whether it was opened since; from b an earlier migration may have left it.
    (1, ["b"], False), (1, ["c"], False), (1, [], False), (1, ["a"], True),
])
def test_a_port_for_which_a_host_was_opened_is_known_unless_that_may_have_been_earlier(port, opened, known):
    for state in ("verified", "rolled_back"):
        found = plan(port=port, opened=opened, a=record(1, 2, 10, state), b=NO_RECORD, c=NO_RECORD)
        assert found["known"] is known, state
    assert plan(port=7, opened=["b"], a=record(1, 2, 10), b=NO_RECORD, c=NO_RECORD)["hosts"] == ["b", "c"]


def test_of_a_port_that_some_have_left_only_their_own_look_counts():
    """b went on from 1 long ago and was missing since; what is open there is younger than its record, and older than a's."""
    answers = dict(a=record(2, 3, 30), b=record(1, 4, 10))
    assert plan(port=2, opened=["b"], **answers)["known"] is False
    assert plan(port=2, opened=["a"], **answers)["known"] is True


# --- a migration that was rolled back and that others have followed

# 1 to 2, rolled back; then 1 to 3, and back from there by a migration: x was missing from both.
MISSED = dict(x=record(1, 2, 10, "rolled_back"), y=record(3, 1, 10 + 3 * DAY))


def test_a_migration_that_was_rolled_back_is_not_the_last_where_others_came_to_its_port_later():
    found = plan(**MISSED)
    assert (found["port"], found["old_port"], found["moved"], found["last"]) == (1, 3, ["y"], 1)
    assert plan(port=1, **MISSED)["moved"] == ["y"]
    refused = plan(port=2, **MISSED)
    assert refused["failed"] and "The last migration was to port 1, so the one to port 2 can no longer" in refused["msg"]
    # And on from there: what x has says nothing, whatever the clock of z.
    assert plan(z=record(1, 5, 5), **MISSED)["port"] == 5


@pytest.mark.parametrize("other", [
    # No later than clocks may differ; gone back as well; to another port; the one that it followed.
    record(3, 1, 10 + DAY), record(3, 1, 10 + 3 * DAY, "rolled_back"), record(3, 4, 10 + 3 * DAY), record(3, 1, 5),
])
def test_a_migration_that_was_rolled_back_counts_where_none_surely_came_later(other):
    answers = dict(x=record(1, 2, 10, "rolled_back"), y=other)
    refused = plan(port=other["record"]["new_port"], **answers)
    if other["record"]["new_port"] == 1:
        assert refused["failed"] and "The last migration was to port 2" in refused["msg"]
    else:
        assert plan(**answers)["port"] == 4


# --- what a refusal names

@pytest.mark.parametrize("answers, port, last, left", [
    (dict(a=record(1, 2, 10)), 7, 2, False), (dict(a=record(1, 2, 10)), 1, 2, True), (dict(a=record(1, 2, 10)), 0, 2, False),
    (dict(a=record(1, 2, 10), b=record(2, 3, 20)), 1, 3, True),
    # Without a port no host would go back.
    (dict(a=record(1, 2, 10, "rolled_back")), 7, None, False),
    (dict(a=record(1, 2, 10), b=record(2, 3, 20, "rolled_back")), 7, None, False),
    (dict(a=NO_RECORD), 7, None, False), (dict(a=SILENT), 7, None, False),
])
def test_the_port_that_goes_back_without_one_is_named_and_whether_hosts_came_from_the_one_that_was(answers, port, last, left):
    found = plan(port=port, **answers)
    assert (found["last"], found["left"]) == (last, left)


def test_the_last_migration_may_be_that_of_a_hub_alone():
    assert plan(port=7, records=[hub(2, 3, 20)], a=record(1, 2, 10))["last"] == 3
