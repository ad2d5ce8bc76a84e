# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease of a host: who gets it, who waits, when it is over; and host_port under it, on the host and on the control node."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.portshift.agents.plugins.action import host_port as action
from ansible_collections.portshift.agents.plugins.module_utils._bridge import bridge
from ansible_collections.portshift.agents.plugins.module_utils._host_port import plan
from ansible_collections.portshift.agents.plugins.module_utils._network import host_lease
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileError
from ansible_collections.portshift.agents.plugins.module_utils._network.host_lease import (
    BusyError, HostLease, holder_beside, this_process)


def asker(token="t1", **other):
    """A run of ansible-playbook on a control node."""
    return dict(dict(node="control1", machine_id="m", boot="b", pid_namespace="pid:[1]", user="alice", pid=4711,
                     process_start="12345", begun="", token=token), **other)


@pytest.fixture
def lease(tmp_path):
    def make(token="t1", wait=0, purpose="boks: host_port, state open", **other):
        return HostLease(str(tmp_path / "host.lock"), wait, purpose, other.pop("run", None) or asker(token, **other))
    make.path = tmp_path / "host.lock"
    return make


@pytest.fixture
def clock(monkeypatch):
    """The seconds since the boot, and the boot."""
    class Clock:
        now, boot = 5000.0, "boot-1"

    monkeypatch.setattr(host_lease, "now", lambda: Clock.now)
    monkeypatch.setattr(host_lease, "boot_id", lambda: Clock.boot)
    return Clock


def test_one_holds_it_and_the_other_is_told_who_since_when_and_for_how_long(lease, clock):
    first = lease("t1")
    first.hold(300)
    assert lease.path.stat().st_mode & 0o777 == 0o600 and first.is_held()
    clock.now += 12
    with pytest.raises(BusyError, match=r"host.lock: boks: host_port, state open \(alice@control1, process 4711\), since "
                                        r"20..-..-..T..:..:..Z \(12 s ago\) is changing what the products on this host share .* "
                                        r"its lease lapses in 289 s, and has not ended in the 0 s .* nothing was changed"
                       ) as told:
        # The same run of ansible-playbook, another task of it.
        lease("t2").hold(300)
    assert told.value.holder["id"] and not lease("t2").is_held()
    lease("t2").release()
    assert first.is_held()
    first.hold(300)
    first.release()
    assert not lease.path.exists() and not list(lease.path.parent.iterdir())
    second = lease("t2")
    second.hold(300)
    assert second.notes == []


def test_a_lease_lapses_and_the_one_who_lost_it_learns_that(lease, clock):
    first, second = lease("t1"), lease("t2")
    first.hold(300)
    clock.now += 299
    with pytest.raises(BusyError):
        second.hold(300)
    first.hold(300)
    clock.now += 301
    # Late, but before any other.
    first.hold(300)
    clock.now += 301
    second.hold(300)
    assert second.notes[0].startswith("the lease of this host was taken over from boks: host_port, state open (alice@control1")
    assert "the 300 s that it was for had passed" in second.notes[0] and not first.is_held()
    first.release()
    assert second.is_held()


def test_a_lease_of_another_boot_is_over_and_no_set_clock_counts(lease, clock, monkeypatch):
    lease("t1").hold(300)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    with pytest.raises(BusyError):
        lease("t2").hold(300)
    clock.boot, clock.now = "boot-2", 10.0
    after = lease("t2")
    after.hold(300)
    assert "this host has been booted since" in after.notes[0]


def test_a_lease_of_before_a_container_was_started_anew_is_over(lease, clock, monkeypatch):
    """Its kernel is the same, and so is the boot that it tells."""
    lease("t1").hold(300)
    monkeypatch.setattr(host_lease, "system_start", lambda: clock.now - 1)
    with pytest.raises(BusyError):
        lease("t2").hold(300)
    assert "is changing this host" in holder_beside(str(lease.path))
    monkeypatch.setattr(host_lease, "system_start", lambda: clock.now + 1)
    clock.now += 2
    # Neither is it told by a look, which takes none.
    assert holder_beside(str(lease.path)) is None
    after = lease("t2")
    after.hold(300)
    assert "process 4711): this host has been booted since" in after.notes[0]


def test_this_system_began_after_its_kernel_and_before_now():
    assert 0 <= host_lease.system_start() <= host_lease.now()


def test_a_holder_that_the_control_node_knows_to_have_ended_loses_it(lease, clock):
    first = lease("t1")
    first.hold(300)
    with pytest.raises(BusyError) as told:
        lease("t2").hold(300, ended="another")
    second = lease("t2")
    second.hold(300, ended=told.value.holder["id"])
    assert "that process has ended" in second.notes[0]


def test_a_process_of_this_host_that_was_killed_loses_it(lease, tmp_path):
    code = ("import sys, time\n"
            "from ansible_collections.portshift.agents.plugins.module_utils._network.host_lease import HostLease\n"
            "HostLease(sys.argv[1], 0, 'bigfix: bigfix_cutover').hold()\nprint('held', flush=True)\ntime.sleep(600)\n")
    with subprocess.Popen([sys.executable, "-c", code, str(lease.path)], stdout=subprocess.PIPE, text=True, env=dict(
            os.environ, PYTHONPATH=os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0])) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(BusyError, match="bigfix: bigfix_cutover"):
                lease().hold()
        finally:
            holder.kill()
    taken = lease(run=this_process())
    with taken:
        assert "that process has ended without releasing it" in taken.notes[0]
    assert not lease.path.exists()


def test_the_one_who_waits_gets_it_when_the_other_is_done(lease):
    first, second = lease("t1"), lease("t2", wait=60)
    first.hold(300)
    begun = threading.Event()

    def wait():
        begun.set()
        second.hold(300)

    waiting = threading.Thread(target=wait)
    waiting.start()
    begun.wait()
    first.release()
    waiting.join(60)
    assert second.is_held() and second.notes == []


def test_two_at_once_never_hold_it_both(lease, tmp_path):
    """Four processes count in a file that is not locked otherwise."""
    (tmp_path / "count").write_text("0")
    code = ("import sys\n"
            "from ansible_collections.portshift.agents.plugins.module_utils._network import host_lease\n"
            "host_lease.LOOK_AGAIN = 0.01\n"
            "for turn in range(10):\n"
            "    with host_lease.HostLease(sys.argv[1], 120, 'count'):\n"
            "        count = int(open(sys.argv[2]).read())\n"
            "        open(sys.argv[2], 'w').write(str(count + 1))\n")
    counting = [subprocess.Popen([sys.executable, "-c", code, str(lease.path), str(tmp_path / "count")], env=dict(
        os.environ, PYTHONPATH=os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0])) for unused in range(4)]
    assert [process.wait() for process in counting] == [0] * 4
    assert (tmp_path / "count").read_text() == "40" and not lease.path.exists()


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "words"])
def test_a_file_that_is_no_lease_of_ours_is_an_error_that_names_it(lease, tmp_path, kind):
    if kind == "link":
        (tmp_path / "elsewhere").write_text("{}")
        lease.path.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        lease.path.mkdir()
    elif kind == "fifo":
        os.mkfifo(lease.path)
    else:
        lease.path.write_text("root was here")
    with pytest.raises(FileError, match="host.lock: is (a directory, not a file|a special file, not a file|not a lock file)"):
        lease().hold(300)
    assert holder_beside(str(lease.path)) is None


def test_a_file_that_other_users_can_write_is_an_error(lease):
    lease().hold(300)
    lease.path.chmod(0o622)
    with pytest.raises(FileError, match="can be written by other users"):
        host_lease.read(str(lease.path))


def test_a_look_says_who_is_at_work(lease, clock):
    assert holder_beside(str(lease.path)) is None
    lease().hold(300)
    assert "boks: host_port, state open" in holder_beside(str(lease.path)) and "is changing this host" in holder_beside(
        str(lease.path))
    clock.now += 400
    assert holder_beside(str(lease.path)) is None


# -- the steps of host_port


class Module:
    def __init__(self, path, step="change", check=False, run=None, **more):
        self.check_mode, self._diff = check, False
        self.params = dict(dict(name="bigfix", state="open", step=step, lease=str(path), lease_wait=0, picture={}, trouble=None,
                                run=run and dict(dict(waits=False, ended=None), **run)), **more)


@pytest.fixture
def steps(lease, monkeypatch):
    """steps(step, answer) -> the result of that step with a change, or a look, that comes out as `answer`."""
    own = asker("t9")

    def go(step="change", answer=None, run="own", **more):
        run = own if run == "own" else run

        def done(*unused):
            go.held = lease.path.exists()
            if isinstance(answer, Exception):
                raise answer
            return dict(answer or {})
        for name in ("change", "verify", "undone"):
            monkeypatch.setattr(plan, name, done)
        return plan.run_step(Module(lease.path, step, run=run, **more))
    return go


CALL = dict(module="ansible.posix.firewalld", args={})
CHANGED = dict(changed=True, notes=[], calls=[CALL], picture={})


def test_the_lease_is_kept_from_the_first_look_to_the_last(steps, lease):
    assert steps("change", CHANGED)["lease"] == "kept" and steps.held
    seconds = json.loads(lease.path.read_text())["holder"]["seconds"]
    assert seconds == plan.OWN_SECONDS + plan.CALL_SECONDS
    with pytest.raises(BusyError):
        steps("change", CHANGED, run=asker("other"))
    assert steps("renew")["lease"] == "kept"
    assert steps("verify", dict(changed=True, notes=["n"]))["lease"] == "free" and steps.held and not lease.path.exists()


def test_the_way_back_is_under_the_lease_too(steps, lease):
    steps("change", CHANGED)
    assert steps("verify", dict(failed=True, msg="M", calls=[CALL]))["lease"] == "kept" and lease.path.exists()
    assert steps("undone", dict(restored=True, msg="U"))["lease"] == "free" and not lease.path.exists()
    steps("change", CHANGED)
    assert steps("release")["lease"] == "free" and not lease.path.exists()


@pytest.mark.parametrize("answer", [dict(changed=False, notes=[]), EngineError("no"), RuntimeError("a fault")])
def test_what_ends_at_once_leaves_no_lease(steps, lease, answer):
    if isinstance(answer, Exception):
        with pytest.raises(type(answer)):
            steps("change", answer)
    else:
        assert steps("change", answer)["lease"] == "free"
    assert steps.held and not lease.path.exists()


def test_without_a_control_node_that_goes_on_it_ends_with_the_process(steps, lease):
    assert steps("change", CHANGED, run=None)["lease"] == "free" and steps.held and not lease.path.exists()


def test_check_mode_takes_none_and_says_who_holds_it(steps, lease, monkeypatch):
    lease().hold(300)
    monkeypatch.setattr(plan, "change", lambda module: dict(CHANGED, notes=["first"]))
    found = plan.run_step(Module(lease.path, check=True))
    assert found["notes"][0] == "first" and "boks: host_port, state open" in found["notes"][1] and lease().is_held()


def test_a_lease_that_was_lost_meanwhile_is_a_note_and_the_change_is_still_looked_at(steps, lease, clock):
    steps("change", CHANGED)
    clock.now += 1000
    other = lease("other")
    other.hold(300)
    seen = steps("verify", dict(changed=True, notes=["n"]))
    assert "was lost while the change was made" in seen["notes"][0] and "is changing what" in seen["notes"][1]
    assert seen["notes"][2] == "n" and other.is_held()
    failed = steps("verify", dict(failed=True, msg="M", calls=[CALL]))
    assert failed["calls"] == [CALL] and other.is_held()


# -- the control node


class Rounds(action.ActionModule):
    """The action with the host on paper: answers are given in order, an exception is raised; what was run is kept."""

    def __init__(self, answers, check=False):
        self.answers, self.ran = list(answers), []
        self._task = type("Task", (), dict(args=dict(name="bigfix"), check_mode=check, async_val=0))()
        finder = type("Finder", (), dict(find_plugin_with_context=lambda self, name: type("Found", (), dict(resolved=True))()))()
        self._shared_loader_obj = type("Loaders", (), dict(module_loader=finder))()

    def _execute_module(self, module_name=None, module_args=None, task_vars=None):
        self.ran.append(module_name or module_args.get("step", "change"))
        self.asked = module_args
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def rounds(monkeypatch):
    monkeypatch.setattr(action.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})
    return Rounds


FIRST = dict(CHANGED, lease="kept", rules=dict(before=[], after=[]))
GOOD = dict(rules=dict(before=[], after=["x"]), notes=["m"], lease="free")


def test_the_lease_costs_no_run_of_its_own(rounds):
    made = rounds([dict(FIRST), {}, dict(GOOD)])
    result = made.run()
    assert made.ran == ["change", "ansible.posix.firewalld", "verify"] and result["notes"] == ["m"]
    assert not {"lease", "calls", "picture", "holder"} & set(result)


@pytest.mark.parametrize("fault", [AnsibleConnectionFailure("gone"), KeyboardInterrupt(), RuntimeError("a fault")])
def test_whatever_comes_between_the_lease_is_given_back(rounds, fault):
    made = rounds([dict(FIRST), fault, dict(lease="free")])
    with pytest.raises(type(fault)):
        made.run()
    assert made.ran == ["change", "ansible.posix.firewalld", "release"] and made.asked["run"]["token"]


@pytest.mark.parametrize("answers", [[dict(FIRST), {}, AnsibleConnectionFailure("gone"), AnsibleConnectionFailure("gone")],
                                     [AnsibleConnectionFailure("gone"), AnsibleConnectionFailure("gone")]])
def test_a_host_out_of_reach_stays_what_is_said(rounds, answers):
    made = rounds(answers)
    with pytest.raises(AnsibleConnectionFailure):
        made.run()
    assert made.ran[-1] == "release" and not made.answers


def test_a_module_that_ends_without_a_word_may_have_left_the_lease(rounds):
    made = rounds([dict(failed=True, msg="MODULE FAILURE"), dict(lease="free")])
    assert made.run()["failed"] and made.ran == ["change", "release"]


def test_the_way_back_ends_without_a_release_of_its_own(rounds):
    made = rounds([dict(FIRST), dict(failed=True, msg="no"), dict(failed=True, msg="M", calls=[CALL], lease="kept"), {},
                   dict(restored=True, msg="U", notes=["others"], lease="free")])
    result = made.run()
    assert result["failed"] and result["msg"] == "M. U" and result["notes"] == ["others"]
    assert made.ran == ["change", "ansible.posix.firewalld", "verify", "ansible.posix.firewalld", "undone"]


def test_who_finds_it_held_asks_again_and_says_whether_the_holder_has_ended(rounds, monkeypatch):
    busy = dict(failed=True, msg="held", holder=dict(id="h1"), lease="free")
    for ended in (True, False):
        monkeypatch.setattr(action, "has_ended", lambda holder, run, ended=ended: ended)
        made = rounds([dict(busy), dict(changed=False, rules={}, notes=[], lease="free")])
        assert not made.run()["changed"] and made.ran == ["change", "change"]
        assert made.asked["run"]["waits"] and made.asked["run"].get("ended") == ("h1" if ended else None)
    made = rounds([dict(busy), dict(busy)])
    assert made.run()["msg"] == "held"


def test_the_lease_is_renewed_where_the_calls_take_long(rounds, monkeypatch):
    now = iter(range(0, 100000, 200))
    monkeypatch.setattr(action.time, "monotonic", lambda: next(now))
    made = rounds([dict(FIRST, calls=[CALL, CALL]), {}, dict(lease="kept"), {}, dict(GOOD)])
    made.run()
    assert made.ran == ["change", "ansible.posix.firewalld", "renew", "ansible.posix.firewalld", "verify"]


# -- a bridge


def bridge_options(lease, wait):
    return dict(name="boks", addresses=[], rules_dir="/etc/portshift", unit_dir="/etc/systemd/system", lease=str(lease.path),
                lease_wait=wait)


@pytest.fixture
def bridged(lease, monkeypatch):
    """What the bridge's engine was asked for, and whether the lease was held then."""
    asked = []
    monkeypatch.setattr(bridge, "_set_bridge", lambda module, options, mappings, with_users: asked.append(
        lease.path.exists()) or dict(changed=True, backend="nftables", previous=[], rules=[], notes=[]))
    return asked


def test_a_bridge_is_changed_under_the_lease_and_looked_at_without(lease, bridged):
    options = bridge_options(lease, 0)
    assert bridge.set_bridge(Module(lease.path), options)["notes"] == [] and not lease.path.exists()
    bridge.set_bridge(Module(lease.path, check=True), options)
    assert bridged == [True, False]
    lease().hold(300)
    with pytest.raises(BusyError):
        bridge.set_bridge(Module(lease.path), options)
    # Within a move that holds it.
    bridge.set_bridge(Module(lease.path), options, (), lease())
    assert bridged == [True, False, True] and lease().is_held()


@pytest.mark.parametrize("obstacle", ["busy", "planted"])
def test_a_move_whose_product_is_down_turns_its_bridge_in_any_case(lease, bridged, monkeypatch, obstacle):
    monkeypatch.setattr(bridge, "PATIENCE_OF_A_MOVE", 0)
    if obstacle == "busy":
        lease().hold(300)
    else:
        lease.path.symlink_to("elsewhere")
    done = bridge.turn_bridge(Module(lease.path), bridge_options(lease, 300), [])
    assert len(bridged) == 1 and done["notes"][0].startswith("the bridge was turned without the lease of this host: ")
    assert obstacle == "planted" or lease().is_held()
