# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes are those of a service, by its cgroup and by what they run."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import (
    can_tell, find, processes_of, start_time, still_running, this_boot)

AGENT, UNIT = "/opt/BESClient/bin/BESClient", "/system.slice/besclient.service"


class Proc:
    """A /proc with processes that the test makes up."""

    def __init__(self, folder, first="/init.scope"):
        self.folder = folder
        (folder / "sys/kernel/random").mkdir(parents=True)
        (folder / "sys/kernel/random/boot_id").write_text("a-boot\n")
        self.add(1, "/usr/lib/systemd/systemd", cgroup=first)
        self.add("self", "/usr/bin/python3")

    def add(self, pid, exe=AGENT, cgroup="/user.slice/user-0.slice/session-3.scope", uid=0, effective=None, namespace="pid:[1]",
            ticks=100, state="S", arguments=(), cwd="/", hierarchy="0::"):
        path = self.folder / str(pid)
        (path / "ns").mkdir(parents=True)
        (path / "stat").write_text(" ".join([str(pid), "(a (b) c)", state] + ["0"] * 18 + [str(ticks), "0\n"]))
        (path / "cgroup").write_text("3:cpu:/whatever/besclient.service\n%s%s\n" % (hierarchy, cgroup))
        users = [uid] + 3 * [uid if effective is None else effective]
        (path / "status").write_text("Name:\tx\nUid:\t%s\n" % "\t".join(map(str, users)))
        (path / "cmdline").write_bytes(b"\0".join(os.fsencode(word) for word in (arguments or [exe])) + b"\0")
        os.symlink(exe, str(path / "exe"))
        os.symlink(cwd, str(path / "cwd"))
        os.symlink(namespace, str(path / "ns/pid"))
        return self

    def of(self, unit="besclient", executables=(AGENT,)):
        return [pid for pid, unused in processes_of(unit, executables, str(self.folder))]


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path)


def test_both_ways_find_what_the_other_lacks_and_nothing_else(proc):
    proc.add(7, cgroup=UNIT).add(8).add(9, exe="/usr/bin/vi", arguments=["vi", AGENT])
    assert proc.of() == [7, 8]
    assert proc.of(executables=()) == [7]
    assert proc.of(unit=None) == [7, 8]
    assert processes_of("besclient.service", (), str(proc.folder)) == [(7, 100)]
    assert [process[2:] for process in find("besclient", [AGENT], str(proc.folder))] == [
        (AGENT, True, True), (AGENT, False, True)]


def test_children_of_an_agent_are_not_the_agent_but_a_script_alone_in_its_unit_is(proc):
    proc.add(7, exe="/usr/bin/yum", cgroup=UNIT)
    assert proc.of() == [7]
    proc.add(8, cgroup=UNIT)
    assert proc.of() == [8]


@pytest.mark.parametrize("cgroup, counts", [
    (UNIT, True), (UNIT + "/worker", True), ("/system.slice/system-bes.slice/besclient.service", True),
    # A user names his units as he likes, and a container holds what it likes.
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/besclient.service", False),
    ("/machine.slice/libpod-1.scope/system.slice/besclient.service", False),
    ("/system.slice/docker-besclient.service.scope", False), ("/system.slice/otherbesclient.service", False), ("/", False),
])
def test_cgroup_is_that_of_the_systems_unit(proc, cgroup, counts):
    proc.add(7, exe="/usr/bin/python3", cgroup=cgroup)
    assert proc.of() == ([7] if counts else [])


@pytest.mark.parametrize("first, counts", [("/docker/1/init.scope", True), ("/docker/1", True), ("/docker/2/init.scope", False)])
def test_cgroups_of_a_container_that_sees_those_of_its_machine(tmp_path, first, counts):
    proc = Proc(tmp_path, first).add(7, exe="/usr/bin/python3", cgroup="/docker/1" + UNIT)
    assert proc.of() == ([7] if counts else [])


def test_hierarchy_is_that_of_systemd_in_the_older_kind_too(tmp_path):
    proc = Proc(tmp_path)
    proc.add(7, exe="/usr/bin/python3", cgroup=UNIT, hierarchy="1:name=systemd:")
    proc.add(8, exe="/usr/bin/python3", cgroup=UNIT, hierarchy="4:memory:")
    shutil.rmtree(str(tmp_path / "1"))
    assert proc.of() == [7]


@pytest.mark.parametrize("how, counts", [
    (dict(exe=AGENT + " (deleted)"), True), (dict(exe=AGENT + ".old"), False), (dict(exe="/chroot" + AGENT), False),
    (dict(exe="/bin/dash", arguments=["/bin/sh", AGENT, "-d"]), True),
    (dict(exe="/usr/bin/python3.11", arguments=["python3", "-E", "-s", AGENT]), True),
    (dict(exe="/usr/bin/python3.11", arguments=["python3", "BESClient"], cwd="/opt/BESClient/bin"), True),
    (dict(exe="/bin/dash", arguments=["sh", "-c", AGENT]), False), (dict(exe="/bin/dash", arguments=["sh"]), False),
    (dict(exe="/usr/bin/tail", arguments=["tail", AGENT]), False),
    (dict(uid=1000), False), (dict(uid=1000, effective=0), False), (dict(namespace="pid:[2]"), False),
    (dict(state="Z"), False), (dict(state="X"), False),
])
def test_what_a_process_runs(proc, how, counts):
    assert proc.add(7, **how).of(unit=None) == ([7] if counts else [])


def test_executable_behind_a_link_is_found(proc, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/real").touch()
    os.symlink("real", str(tmp_path / "bin/agent"))
    proc.add(7, exe=str(tmp_path / "bin/real"))
    assert proc.of(unit=None, executables=[str(tmp_path / "bin/agent")]) == [7]


def test_user_that_may_not_see_namespaces_is_told_of_the_unit_all_the_same(proc):
    proc.add(7, cgroup=UNIT)
    os.unlink(str(proc.folder / "7/ns/pid"))
    assert proc.of(executables=()) == [7]


def test_what_ran_before_the_stop_is_told_from_what_has_its_number_since(proc):
    where = str(proc.folder)
    stopped = dict(boot_id=this_boot(where), processes=dict(besclient=[[7, 100], [8, 100]], besrelay=None))
    now = dict(besclient=[(7, 101), (8, 100)], besrelay=[(9, 1)], other=None)
    assert still_running(stopped, now, where) == {"besclient": [(8, 100)]}
    assert still_running(dict(stopped, boot_id="another/1"), now, where) == still_running(None, now, where) == {}


def test_processes_of_this_machine(tmp_path):
    script = tmp_path / "agent"
    script.write_text("#!/bin/sh\nread stay\n")
    script.chmod(0o755)
    assert can_tell() and processes_of(None, [str(script)]) == []
    with subprocess.Popen([str(script)], stdin=subprocess.PIPE) as process:
        end = time.monotonic() + 30
        while not processes_of(None, [str(script)]):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert processes_of(None, [str(script)]) == [(process.pid, start_time(process.pid))]
        process.stdin.close()
        process.wait()
    # Not this process, whatever it runs.
    assert processes_of(None, [str(script)]) == [] and os.getpid() not in dict(processes_of(None, [sys.executable]))
