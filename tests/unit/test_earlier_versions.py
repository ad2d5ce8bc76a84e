# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What earlier versions left on hosts is read, proved, taken back and closed by the collection of today.

By its modules alone, so that these tests stand whatever becomes of the code behind them.  See
tests/integration/earlier_versions.py.
"""

import json
import os
import time

import pytest

from tests.integration import earlier_versions as earlier
from tests.integration.earlier_versions import (
    NEW, NEXT, OLD, STATE, BigFix, Boks, ChangeTracker, Ground, boot_clock, has_come_back, well)
from tests.integration.waiting import until


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    found = Ground(tmp_path_factory.mktemp("ground"))
    found.begin()
    yield found
    found.close()


@pytest.fixture
def own_network(ground):
    if ground.why_not:
        pytest.skip("no network namespace here: %s" % ground.why_not)
    return ground


@pytest.fixture(params=earlier.VERSIONS)
def version(request):
    return request.param


def test_some_version_is_kept():
    assert earlier.VERSIONS


# -- BigFix

@pytest.fixture
def bigfix(ground, version):
    """bigfix(state) -> the host in that state; its service runs unless the run that moved it was killed."""
    def load(state):
        ground.load(version, "bigfix_" + state)
        host = BigFix(ground)
        if state not in ("stopped", "half_moved", "stopped_again"):
            ground.path("run/besclient").touch()
        return host
    return load


# state: what its record says, the port that it leads to, the one before, and how many files would be restored
BIGFIX = {"stopped": ("changing", NEW, OLD, 0), "half_moved": ("changing", NEW, OLD, 1), "moved": ("changing", NEW, OLD, 2),
          "verified": ("verified", NEW, OLD, 2), "rolled_back": ("rolled_back", NEW, OLD, 0),
          "verified_twice": ("verified", NEXT, NEW, 2), "stopped_again": ("changing", NEXT, NEW, 0)}


@pytest.mark.parametrize("state", BIGFIX)
def test_bigfix_record_is_read(bigfix, state):
    host, (word, port, old_port, number) = bigfix(state), BIGFIX[state]
    seen = well(host.record())
    assert (seen["changed"], seen["ok"], seen["unsafe"], len(seen["restorable"])) == (False, True, [], number)
    assert [seen["record"][key] for key in ("state", "new_port", "old_port")] == [word, port, old_port]
    info = well(host.info(port))
    assert info["record"] == seen["record"]
    assert bool(info["edits"]) is (state in ("stopped", "half_moved", "rolled_back", "stopped_again"))
    if info["edits"]:
        assert info["old_port"] == old_port


@pytest.mark.parametrize("state", ["stopped", "half_moved", "moved", "stopped_again"])
def test_bigfix_move_is_gone_on_with_proved_and_taken_back(bigfix, version, ground, state):
    host, port, old_port = bigfix(state), *BIGFIX[state][1:3]
    moved = well(host.cutover(port))
    assert moved["changed"] is (state != "moved") and host.is_on(port) and host.runs()
    assert moved["started"] == ([] if state == "moved" else ["besclient"])
    assert host.record()["record"]["old_port"] == old_port
    # What a killed run had put beside its place is gone.
    assert not list(ground.root.rglob(".*.portshift-*"))
    proof = well(host.evidence(port, mark=True))
    assert (proof["ok"], proof["changed"], host.record()["record"]["state"]) == (True, True, "verified")
    assert well(host.evidence(port, mark=True))["changed"] is False
    assert well(host.cutover(port, state="restored"))["changed"] and host.is_on(old_port) and host.runs()
    assert host.record()["record"]["state"] == "rolled_back"
    if old_port == OLD:
        has_come_back(ground, version, "bigfix_before")


@pytest.mark.parametrize("state", BIGFIX)
def test_bigfix_move_is_taken_back(bigfix, version, ground, state):
    host, port, old_port = bigfix(state), *BIGFIX[state][1:3]
    foretold = host.cutover(port, state="restored", check=True)
    back = well(host.cutover(port, state="restored"))
    assert foretold["files"] == back["files"] and host.runs() and host.is_on(old_port)
    assert back["changed"] is (state != "rolled_back")
    # A move that had changed no file gives way to the one before it.
    assert host.record()["record"]["state"] == ("verified" if state == "stopped_again" else "rolled_back")
    if state == "stopped_again":
        assert host.record()["record"]["new_port"] == NEW and well(host.cutover(NEW, state="restored"))["changed"]
    if state != "verified_twice":
        has_come_back(ground, version, "bigfix_before")
    assert well(host.cutover(port, state="restored"))["changed"] is False


def test_bigfix_files_are_restored_by_the_record_alone(bigfix, version, ground):
    host = bigfix("verified")
    done = well(host.record(state="restored"))
    assert sorted(done["restored"]) == sorted(str(ground.path(path)) for path in (host.MASTHEAD, host.CONFIG))
    has_come_back(ground, version, "bigfix_before")


def test_bigfix_proved_file_that_others_changed_since_is_not_overwritten(bigfix, ground):
    host = bigfix("verified")
    with open(ground.path(host.CONFIG), "a") as target:
        target.write("\n[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\_Since]\nvalue = 1\n")
    files = host.files()
    refused = host.cutover(state="restored")
    assert refused["failed"] and "going back is no longer safe" in refused["msg"] and host.files() == files
    assert len(host.record()["unsafe"]) == 1


def test_bigfix_records_of_earlier_migrations_end(bigfix, ground):
    host = bigfix("verified_twice")
    there = set(map(str, ground.path(STATE, "bigfix").iterdir()))
    done = well(host.record(state="pruned", keep_days=0))
    # The record of the first migration, and the two backups that it alone names.
    assert len(done["removed"]) == 3 and done["left"] == []
    assert set(map(str, ground.path(STATE, "bigfix").iterdir())) == there - set(done["removed"])
    assert well(host.cutover(NEXT, state="restored"))["changed"] and host.is_on(NEW)
    host = bigfix("verified")
    assert well(host.record(state="pruned", keep_days=0))["removed"] == []


# -- BoKS and Change Tracker

@pytest.fixture(params=[Boks, ChangeTracker])
def product(request, ground, version):
    """product(state) -> the host in that state, with its service running."""
    return loader(request.param, ground, version)


@pytest.fixture
def boks(ground, version):
    return loader(Boks, ground, version)


def loader(kind, ground, version):
    if os.path.isdir("/run/systemd/system") and ground.why_not:
        pytest.skip("systemd runs here and can't be hidden: %s" % ground.why_not)

    def load(state, runs=True, systemd=False, **values):
        """`values`: what state.json is to say."""
        ground.load(version, "%s_%s" % (kind.NAME, state), systemd)
        host = kind(ground)
        if runs:
            ground.path("run", host.SERVICE).touch()
        if values:
            ground.change_json(host.folder + "/state.json", **values)
        return host
    return load


def token(host):
    return host.ground.json(host.folder + "/state.json")["token"]


def in_time():
    return boot_clock() + 600


def is_back(host, version):
    has_come_back(host.ground, version, host.NAME + "_before")
    assert host.looks()["state"] == "reverted" and host.runs()
    assert host.record_state() in (None, "rolled_back")
    left_nothing(host)


def is_moved(host, state="changing"):
    assert host.looks()["state"] == "confirmed" and host.is_on(host.NEW) and host.runs() and host.record_state() == state
    left_nothing(host)


def left_nothing(host):
    """The process that carried the change out has ended, and has tidied up behind itself."""
    until(lambda: not host.ground.units())
    assert set(os.listdir(host.ground.path(host.folder))) == {"change.json", "state.json"}


@pytest.mark.parametrize("state, says, record", [
    ("waiting", "waiting", "changing"), ("confirmed", "confirmed", "changing"), ("verified", "confirmed", "verified"),
    ("rolled_back", "reverted", "rolled_back")])
def test_confirmed_change_and_its_record_are_read(product, state, says, record):
    host = product(state)
    seen = host.looks()
    assert (seen["state"], seen["changed"], seen["old_port"], seen["new_port"]) == (says, False, host.OLD, host.NEW)
    assert seen["files"] == ([] if state == "rolled_back" else [str(host.ground.path(next(iter(host.TEXTS))))])
    found = well(host.record())
    assert (found["record"]["state"], found["ok"], len(found["restorable"])) == (record, True, 0 if state == "rolled_back" else 1)
    assert host.info()["record"] == found["record"]
    assert "ciphertext-example" not in json.dumps([seen, found, host.info(), host.record(state="restored", check=True)])


@pytest.mark.parametrize("state", ["confirmed", "verified"])
def test_confirmed_change_is_taken_back_by_its_record(product, version, state):
    host = product(state)
    foretold = host.change("reverted", check=True)
    back = well(host.change("reverted"))
    assert back["changed"] and back["restored"] == foretold["restored"] == [str(host.ground.path(next(iter(host.TEXTS))))]
    is_back(host, version)
    assert well(host.change("reverted"))["changed"] is False


def test_boks_host_proves_itself_and_one_whose_change_may_be_undone_does_not(boks):
    host = boks("confirmed")
    assert well(host.evidence(mark=True))["changed"] and host.record_state() == "verified"
    assert well(host.evidence(mark=True))["changed"] is False
    host = boks("waiting", until=in_time())
    unproved = host.evidence(mark=True)
    assert unproved["failed"] and "under way" in unproved["msg"] and host.record_state() == "changing"


# -- a change that waits for its confirmation while the collection is updated

def test_process_of_the_earlier_version_puts_everything_back(product, version):
    """It holds all that it needs: the collection that packed it up is no longer there."""
    host = product("waiting", until=boot_clock() + 1)
    host.ground.begin_unit(host.unit()).wait(120)
    is_back(host, version)
    assert "was not confirmed within 600 s" in host.looks()["reason"]
    assert host.ground.calls() == ["%s stop" % host.SERVICE, "%s start" % host.SERVICE]


def test_process_of_the_earlier_version_is_confirmed_by_the_module_of_today(product):
    host = product("waiting", until=in_time())
    host.ground.begin_unit(host.unit())
    until(host.ground.units)
    seen = host.looks()
    assert seen["state"] == "waiting" and 0 < seen["seconds_left"] <= 600
    refused = host.change("begun")
    assert refused["failed"] and "still waits for its confirmation" in refused["msg"]
    assert well(host.change("confirmed", token=token(host)))["changed"]
    is_moved(host)


def test_process_of_the_earlier_version_is_told_to_go_back_by_the_module_of_today(product, version):
    host = product("waiting", until=in_time())
    host.ground.begin_unit(host.unit())
    until(host.ground.units)
    assert well(host.change("reverted"))["changed"]
    is_back(host, version)


def test_process_of_the_earlier_version_goes_back_after_a_boot(product, version):
    host = product("waiting", until=in_time(), boot="of-before/1")
    host.ground.begin_unit(host.unit()).wait(120)
    is_back(host, version)
    assert "the host booted" in host.looks()["reason"]


@pytest.mark.parametrize("asked", ["confirmed", "reverted"])
def test_change_whose_process_was_killed_is_carried_on_by_the_code_of_today(product, version, asked):
    host = product("waiting", until=in_time())
    # What began it lies there no longer: all that counts is what it left.
    host.unit().unlink()
    assert well(host.change(asked, **(dict(token=token(host)) if asked == "confirmed" else {})))["changed"]
    if asked == "confirmed":
        is_moved(host)
    else:
        is_back(host, version)


def test_unit_of_the_earlier_version_goes_back_at_the_boot_and_is_taken_away(own_network, boks, version):
    host = boks("by_systemd_waiting", systemd=True, until=in_time(), boot="of-before/1")
    unit = host.ground.path("etc/systemd/system/portshift-confirm-boks.service")
    assert str(host.unit()) in unit.read_text()
    # As at a boot: what the unit says.
    host.ground.command("systemctl", "start", unit.name)
    until(lambda: not unit.exists())
    is_back(host, version)
    assert "disable " + unit.name in host.ground.calls("systemctl")


def test_unit_of_the_earlier_version_is_confirmed_and_taken_away(own_network, boks):
    host = boks("by_systemd_waiting", systemd=True, until=in_time())
    unit = host.ground.path("etc/systemd/system/portshift-confirm-boks.service")
    host.ground.command("systemctl", "start", unit.name)
    until(host.ground.units)
    assert host.looks()["survives_reboot"] is True
    assert well(host.change("confirmed", token=token(host)))["changed"]
    is_moved(host)
    assert not unit.exists()


# What a process left that was killed amid the change, or amid the way back.
AMID = {"stopped": "changing", "edited": "changing", "reverting": "reverting"}


@pytest.mark.parametrize("state", AMID)
def test_process_of_the_earlier_version_undoes_what_was_interrupted(boks, version, state):
    host = boks(state, runs=False)
    assert host.looks()["state"] == AMID[state] and host.is_on(host.NEW) is (state == "edited")
    host.ground.begin_unit(host.unit()).wait(120)
    is_back(host, version)


@pytest.mark.parametrize("state", [*AMID, "failed"])
def test_module_of_today_undoes_what_was_interrupted(boks, version, state):
    host = boks(state, runs=False)
    assert well(host.change("reverted"))["changed"]
    is_back(host, version)


def test_change_that_was_handed_over_and_not_begun_is_made_by_the_process_of_the_earlier_version(boks, version):
    host = boks("begun")
    host.ground.change_json(host.folder + "/state.json", handed_over=boot_clock())
    process = host.ground.begin_unit(host.unit())
    until(lambda: host.looks()["state"] == "waiting")
    assert host.is_on(host.NEW)
    assert well(host.change("confirmed", token=token(host)))["changed"]
    is_moved(host)
    process.wait(60)
    # Never taken, it is nothing that would stand in the way.
    host = boks("begun", handed_over=0)
    begun = well(host.change("begun"))
    assert begun["state"] == "waiting" and well(host.change("confirmed", token=begun["token"]))["changed"]
    is_moved(host)


def test_change_that_failed_is_named_until_it_is_undone(boks):
    host = boks("failed", runs=False)
    refused = host.change("begun")
    assert refused["failed"] and "could not be undone" in refused["msg"] and "state: reverted" in refused["msg"]


def test_change_that_was_undone_may_be_made_again(boks):
    host = boks("reverted")
    begun = well(host.change("begun"))
    assert begun["state"] == "waiting" and host.is_on(host.NEW)
    assert well(host.change("confirmed", token=begun["token"]))["changed"]
    is_moved(host)


# -- locks

def alive(ground, path=earlier.LOCK, **values):
    """The holder gave a sign of life just now."""
    now = time.time()
    content = ground.json(path)
    content["holder"].update(dict(since=now - 60, renewed=now - 1, expires=now + 600), **values)
    for entry in content["lost"]:
        entry["at"] = now - 60
    ground.change_json(path, **content)


def test_lock_of_a_run_is_kept_renewed_and_released(ground, version):
    ground.load(version, "lock_held")
    alive(ground)
    refused = earlier.run_lock(ground, run=earlier.asker("control2"))
    assert refused["failed"] and 'alice@control1 (pid 4711, "migrate to 55000"' in refused["msg"]
    assert refused["holder"]["node"] == "control1"
    assert well(earlier.run_lock(ground))["taken_over_from"] is None
    assert well(earlier.run_lock(ground, "released"))["holder"] is None and not ground.path(earlier.LOCK).exists()


def test_lock_that_has_lapsed_is_taken_over_and_its_run_is_told(ground, version):
    ground.load(version, "lock_held")
    taken = well(earlier.run_lock(ground, run=earlier.asker("control2")))
    assert taken["taken_over_from"]["node"] == "control1" and "took over from alice@control1" in str(taken["warnings"])
    lost = earlier.run_lock(ground)
    assert lost["failed"] and "no longer holds the lock" in lost["msg"]


def test_run_that_lost_its_lock_to_another_one_stays_told_so(ground, version):
    ground.load(version, "lock_taken_over")
    alive(ground)
    lost = earlier.run_lock(ground)
    assert lost["failed"] and "no longer holds the lock" in lost["msg"] and "alice@control2" in lost["msg"]
    assert well(earlier.run_lock(ground, "released", run=earlier.asker("control2")))["holder"] is None
