# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a deployment: who gets it, who has to wait, who has to stop; and when a holder counts as dead."""

import json
import os
import signal
import subprocess
import sys

import pytest

from ansible_collections.portshift.agents.plugins.action import run_lock as action
from ansible_collections.portshift.agents.plugins.module_utils._core import file_edit
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileError, one_at_a_time
from ansible_collections.portshift.agents.plugins.module_utils._network.run_lock import (
    LOST_KEPT, LOST_NUMBER, HeldError, LockError, LostError, hold, is_empty, parse, release, run_id, text)

T = 1763762400.0    # 2025-11-21T22:00:00Z


def run(pid=4711, node="control1", **other):
    return dict(dict(node=node, machine_id="m-" + node, boot="b1", pid_namespace="pid:[1]", user="alice", pid=pid,
                     process_start="12345", begun="2025-11-21T21:59:00Z"), **other)


ALICE, BOB = run(), run(99, "control2", user="bob")


def held_by(who=None, now=T, content=None, **options):
    return hold(content or parse(None), who or ALICE, now, 600, options.pop("purpose", "migrate to 55000"), **options)[0]


def again(content):
    """What the next one reads."""
    return parse(text(content))


# --- who gets it ------------------------------------------------------------------------------------------------


def test_free_lock_is_taken():
    content, taken_from, why = hold(parse(None), ALICE, T, 600, "migrate to 55000")
    assert (taken_from, why) == (None, None)
    assert content["holder"] == dict(ALICE, id=run_id(ALICE), since=T, renewed=T, expires=T + 600, seconds=600,
                                     purpose="migrate to 55000")
    assert again(content) == content


def test_renewing_keeps_since_and_purpose_and_moves_the_end():
    content = again(held_by(now=T))
    renewed, taken_from, why = hold(content, ALICE, T + 500, 600)
    assert (taken_from, why) == (None, None)
    holder = renewed["holder"]
    assert (holder["since"], holder["renewed"], holder["expires"], holder["purpose"]) == (
        T, T + 500, T + 1100, "migrate to 55000")


def test_own_lock_that_lapsed_is_renewed_where_nobody_took_it():
    assert hold(again(held_by()), ALICE, T + 5000, 600)[1:] == (None, None)


def test_second_run_is_told_who_since_when_how_alive_and_what_to_do():
    with pytest.raises(HeldError) as caught:
        hold(again(held_by()), BOB, T + 42, 600)
    assert str(caught.value) == (
        'alice@control1 (pid 4711, "migrate to 55000", since 2025-11-21T22:00:00Z) is migrating this deployment; its last sign '
        "of life came 42 s ago, and its lock lapses in 559 s, at 2025-11-21T22:10:00Z. Nothing was changed. Wait until it has "
        "ended. Only if you know that it is dead, take over: take_over: true")
    assert caught.value.holder["id"] == run_id(ALICE)
    with pytest.raises(HeldError, match="is dead, take over: -e boks_take_over=true$"):
        hold(again(held_by()), BOB, T + 42, 600, take_over_with="-e boks_take_over=true")


def test_holder_without_a_purpose_is_described_all_the_same():
    with pytest.raises(HeldError, match=r"^alice@control1 \(pid 4711, since 2025-11-21T22:00:00Z\) is migrating"):
        hold(held_by(purpose=""), BOB, T, 600)


def test_clock_that_was_set_back_is_said_and_does_not_free_the_lock():
    with pytest.raises(HeldError, match="lies in the future of this host's clock, which was set back, and its lock lapses"):
        hold(held_by(), BOB, T - 5000, 600)


@pytest.mark.parametrize("now, free", [(T + 599.9, False), (T + 600, True)])
def test_lock_is_free_when_its_seconds_have_passed(now, free):
    if not free:
        with pytest.raises(HeldError):
            hold(held_by(), BOB, now, 600)
        return
    content, taken_from, why = hold(held_by(), BOB, now, 600)
    assert (content["holder"]["id"], taken_from["id"], why) == (
        run_id(BOB), run_id(ALICE), "its lock lapsed at 2025-11-21T22:10:00Z")


def test_take_over_takes_a_lock_that_is_alive():
    content, taken_from, why = hold(held_by(), BOB, T + 1, 600, take_over=True)
    assert (content["holder"]["id"], taken_from["id"], why) == (run_id(BOB), run_id(ALICE), "as take_over says")


def test_dead_owner_has_to_be_the_one_in_the_file():
    assert hold(held_by(), BOB, T + 1, 600, dead_owner=run_id(ALICE))[2] == "that process has ended"
    with pytest.raises(HeldError):
        hold(held_by(), BOB, T + 1, 600, dead_owner=run_id(run(pid=4712)))


@pytest.mark.parametrize("other", [
    dict(pid=4712), dict(process_start="12346"), dict(boot="b2"), dict(pid_namespace="pid:[2]"), dict(machine_id="clone"),
    dict(node="renamed")])
def test_run_is_known_by_machine_and_process_and_its_start(other):
    with pytest.raises(HeldError):
        hold(held_by(), dict(ALICE, **other), T, 600)


def test_run_is_the_same_whatever_its_user_is_called_now():
    assert hold(held_by(), dict(ALICE, user="root (alice)", begun=""), T, 600)[1:] == (None, None)


# --- who has to stop --------------------------------------------------------------------------------------------


def took_over(**options):
    return again(held_by(BOB, T + 60, content=held_by(), **dict(dict(take_over=True, purpose=""), **options)))


@pytest.mark.parametrize("take_over", [False, True])
@pytest.mark.parametrize("options", [dict(), dict(take_over=False, dead_owner=run_id(ALICE))])
def test_run_that_lost_its_lock_is_told_to_stop(options, take_over):
    with pytest.raises(LostError) as caught:
        hold(took_over(**options), ALICE, T + 70, 600, take_over=take_over)
    assert str(caught.value) == (
        "this run no longer holds the lock of the deployment: bob@control2 (pid 99, since 2025-11-21T22:01:00Z) took over at "
        "2025-11-21T22:01:00Z. It stops here; whatever it has changed is in force. See what the other run does before you begin "
        "a new one")


def test_run_that_lost_its_lock_stops_even_when_the_other_has_released_it_or_lapsed():
    released = again(release(took_over(), BOB))
    assert released["holder"] is None and not is_empty(released)
    for content, now in ((released, T + 70), (took_over(), T + 7000)):
        with pytest.raises(LostError, match="bob@control2"):
            hold(content, ALICE, now, 600)


def test_run_whose_lapsed_lock_was_taken_stops():
    content = held_by(BOB, T + 600, content=held_by())
    with pytest.raises(LostError, match="took over at 2025-11-21T22:10:00Z"):
        hold(content, ALICE, T + 601, 600)


def test_run_that_released_its_lock_may_have_it_again():
    free = release(held_by(), ALICE)
    after_bob = release(held_by(BOB, T + 10, content=free), BOB)
    assert hold(after_bob, ALICE, T + 20, 600)[0]["holder"]["id"] == run_id(ALICE)


def test_remembered_losers_are_bounded_in_number_and_time():
    content = parse(None)
    for pid in range(1, LOST_NUMBER + 20):
        content = held_by(run(pid), T + pid, content=content, take_over=True)
    assert len(content["lost"]) == LOST_NUMBER and content["lost"][-1]["id"] == run_id(run(LOST_NUMBER + 18))
    assert held_by(run(1000), T + LOST_KEPT + 1000, content=content)["lost"] == [
        dict(id=run_id(run(LOST_NUMBER + 19)), at=T + LOST_KEPT + 1000,
             by='alice@control1 (pid 1000, "migrate to 55000", since 2025-11-28T22:16:40Z)')]


# --- giving it back ---------------------------------------------------------------------------------------------


def test_released_lock_leaves_nothing():
    free = release(held_by(), ALICE)
    assert is_empty(free) and hold(free, BOB, T + 1, 600)[1:] == (None, None)


def test_what_is_not_ours_is_not_released():
    assert release(held_by(), BOB) is None and release(parse(None), BOB) is None and release(took_over(), ALICE) is None


# --- the file ---------------------------------------------------------------------------------------------------


def altered(**changes):
    content = held_by()
    return json.dumps(dict(content, **changes)).encode()


@pytest.mark.parametrize("data", [
    b"", b"{", b"[]", b"null", b'"text"', b"{}", b"\xff\xfe", b'{"version": 1}', b'{"version": 1, "holder": null}',
    altered(version=2), altered(lost=[{}]), altered(lost=3), altered(holder={"id": "x"}), altered(holder="me"),
    altered(holder=dict(held_by()["holder"], expires="tomorrow")), altered(holder=dict(held_by()["holder"], since=None))])
def test_damaged_lock_file_is_a_sentence(data):
    with pytest.raises(LockError, match="is not a lock file of portshift.agents that this version reads .*remove it if you know"):
        parse(data)


# --- one at a time ----------------------------------------------------------------------------------------------

HOLD = """
import sys
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import one_at_a_time
with one_at_a_time(sys.argv[1], 5, "another one"):
    print("in", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    path = tmp_path / "state" / "it.lock"
    environment = dict(os.environ, PYTHONPATH=os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0])
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True, env=environment)
    assert process.stdout.readline() == "in\n"
    yield process, str(path)
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_who_waits_in_vain_is_told_for_whom(holder):
    process, path = holder
    with pytest.raises(FileError) as caught:
        with one_at_a_time(path, 0.3, "another cutover"):
            raise AssertionError("two at a time")
    assert str(caught.value) == (
        "%s: another cutover (process %d) has not ended in the 0.3 s that were waited for it; nothing was changed. Look what it "
        "waits for, and run again when it has ended" % (path, process.pid))


@pytest.mark.parametrize("end", [lambda process: process.stdin.close(), lambda process: process.kill()])
def test_next_one_gets_in_when_the_first_has_ended_however_it_did(holder, end):
    process, path = holder
    end(process)
    with one_at_a_time(path, 30, "another cutover"):
        process.wait(30)
    with one_at_a_time(path, 0, "another cutover"):
        pass


COUNT = """
import sys
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import one_at_a_time
for turn in range(150):
    with one_at_a_time(sys.argv[1], 60, "another one"):
        with open(sys.argv[2], "r+") as count:
            number = int(count.read())
            count.seek(0)
            count.write("%d" % (number + 1))
"""


def test_many_who_come_and_go_are_never_two_at_a_time(tmp_path):
    path, count = tmp_path / "it.lock", tmp_path / "count"
    count.write_text("0")
    environment = dict(os.environ, PYTHONPATH=os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0])
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, str(path), str(count)], env=environment) for _unused in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert count.read_text() == "450" and not path.exists()


def test_lock_file_of_one_who_was_killed_serves_the_next(tmp_path):
    path = tmp_path / "it.lock"
    path.write_text("999999\n")
    with one_at_a_time(str(path), 0, "another"):
        assert path.read_text() == "%d\n" % os.getpid()
    assert not path.exists()


def test_lock_is_not_handed_on_to_what_is_started_meanwhile(tmp_path):
    path = str(tmp_path / "it.lock")
    with one_at_a_time(path, 0, "another"):
        # close_fds=False: as a service manager's client that knows nothing of the lock would be started.
        service = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with one_at_a_time(path, 0, "another"):
            assert service.poll() is None
    finally:
        service.kill()
        service.wait()


def test_lock_file_that_can_not_be_made_is_a_sentence(tmp_path):
    (tmp_path / "state").write_bytes(b"in the way")
    with pytest.raises(FileError, match="state: could not create it"):
        with one_at_a_time(str(tmp_path / "state" / "it.lock"), 0, "another"):
            pass
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match="link: could not open it"):
        with one_at_a_time(str(tmp_path / "link"), 0, "another"):
            pass
    assert not (tmp_path / "elsewhere").exists()


def test_file_system_without_locks_is_a_sentence(tmp_path, monkeypatch):
    def flock(*unused):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(file_edit.fcntl, "flock", flock)
    with pytest.raises(FileError, match="could not lock it: its file system has no locks; .*; nothing was changed"):
        with one_at_a_time(str(tmp_path / "it.lock"), 0, "another"):
            pass


# --- whether a holder on this control node has ended ------------------------------------------------------------


@pytest.fixture
def process():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def here(pid, **other):
    return dict(action.this_run(), pid=pid, process_start=action.process_start(pid), **other)


def test_running_process_has_not_ended(process):
    assert not action.has_ended(here(process.pid), action.this_run())


def test_ended_process_has_ended_also_before_anybody_asked_for_its_exit_status(process):
    holder = here(process.pid)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert action.has_ended(holder, action.this_run())
    process.wait()
    assert action.has_ended(holder, action.this_run())


def test_process_with_the_same_number_and_another_start_is_another_one(process):
    assert action.has_ended(dict(here(process.pid), process_start="1"), action.this_run())


@pytest.mark.parametrize("unknown", [
    dict(node="elsewhere"), dict(machine_id="another"), dict(pid_namespace="pid:[1]"), dict(process_start=""), dict(boot="")])
def test_process_of_elsewhere_or_unknown_never_counts_as_ended(unknown):
    gone = subprocess.Popen(["true"])
    holder = here(gone.pid)
    gone.wait()
    assert action.has_ended(holder, action.this_run())
    assert not action.has_ended(dict(holder, **unknown), action.this_run())


@pytest.mark.parametrize("namespace, ended", [(action.MACHINE_ITSELF, True), ("pid:[4026532447]", False)])
def test_machine_that_booted_since_has_no_process_of_before_but_a_container_can_not_tell(namespace, ended):
    run_now = dict(action.this_run(), boot="now", pid_namespace=namespace)
    assert action.has_ended(dict(run_now, boot="before"), run_now) is ended


def test_process_that_is_hidden_is_taken_for_alive(process, monkeypatch, tmp_path):
    holder, run_now = here(process.pid), action.this_run()
    monkeypatch.setattr(action, "PROC", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    def forbidden(*unused):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(action.os, "kill", forbidden)
    assert not action.has_ended(holder, run_now)


def test_process_start_is_told_without_proc(process, monkeypatch, tmp_path):
    monkeypatch.setattr(action, "PROC", str(tmp_path))
    assert action.process_start(process.pid)[-4:].isdigit()
    process.kill()
    process.wait()
    assert action.process_start(process.pid) == ""
