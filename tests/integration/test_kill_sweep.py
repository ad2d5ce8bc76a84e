# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bigfix_cutover killed at every step, there and back: each time the way back, and the way on, end in a whole host."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import processes_of, start_time
from ansible_collections.portshift.agents.tests.unit.masthead_files import plain
from tests.integration.killed_module import KilledModule

OLD, NEW = 52311, 55000
CONFIG = """[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\__RelayServer1]
value                          = http://relay1.example.test:52311/bfmirror/downloads/
effective date                 = Thu,%2001%20Jan%202015%2000:00:00%20+0000
"""
# Killed amid a start, it leaves an agent that has yet to say who it is: until then that one holds the lock on `busy`.
SERVICE = """#!/bin/sh
cd '{folder}'
exec 9>>busy
flock -s 9
case $2 in
    status) [ -e pid ] && kill -0 "$(cat pid)" 2>/dev/null || exit 3 ;;
    stop) if [ -e pid ]; then kill "$(cat pid)"; rm -f pid; fi ;;
    start) rm -f pid; setsid ./agent </dev/null >/dev/null 2>&1 & until [ -e pid ]; do sleep 0.01; done ;;
esac
"""
AGENT = """#!/bin/sh
echo $$ > pid.new
mv pid.new pid
exec 9>&-
read stay < fifo
"""


DATE, NOTHING = re.compile(rb"effective date .*"), re.compile(rb"(?!)")
# Steps before and after which nothing differs that a later run could find.
QUIET = re.compile("(?:chmod|fchmod|fchown|flock|ftruncate|write)|begun .*(?: status|-j list .*)$|fsync")


class Host:
    def __init__(self, folder, namespace):
        self.folder, self.namespace = folder, namespace
        self.masthead, self.config, self.record = folder / "actionsite.afxm", folder / "besclient.config", folder / "state/b.json"
        self.agent, self.pid_file, self.command = folder / "agent", folder / "pid", folder / "service"
        for path, text in ((self.agent, AGENT), (self.command, SERVICE.format(folder=folder))):
            path.write_text(text)
            path.chmod(0o755)
        os.mkfifo(str(folder / "fifo"))
        self.module = KilledModule(folder, namespace.prefix)
        self.contents = {OLD: [plain(port=OLD), CONFIG.encode()]}

    def run(self, state="moved", kill_at=None):
        done = self.module.run("bigfix_cutover", dict(
            component="client", port=NEW, previous_port=OLD, state=state, record=str(self.record), services=["besclient"],
            masthead_paths=[str(self.masthead)], settings_paths=[str(self.config)], service_command=[str(self.command)],
            executables=dict(besclient=[str(self.agent)]), service_timeout=30, _ansible_remote_tmp=str(self.folder),
            bridge=dict(name="sweep", backend="nftables", persistent=False, lease=str(self.folder / "host.lock"))), kill_at)
        if done.killed:
            self.await_service()
        else:
            assert not done.result.get("failed"), done.result
        return done

    def await_service(self):
        """Until no process of a service command is left, and an agent that it began says who it is."""
        with open(str(self.folder / "busy"), "a") as busy:
            fcntl.flock(busy, fcntl.LOCK_EX)

    def begin(self):
        """The host before its move: old files, the agent, the bridge from the new port to the old one."""
        self.end_agent()
        shutil.rmtree(str(self.record.parent), ignore_errors=True)
        for path in self.folder.glob(".*portshift*"):
            path.unlink()
        self.masthead.write_bytes(self.contents[OLD][0])
        self.config.write_bytes(self.contents[OLD][1])
        subprocess.run([str(self.command), "besclient", "start"], check=True, timeout=60)
        if self.bridged() != NEW:
            self.module.run("port_bridge", dict(
                name="sweep", backend="nftables", persistent=False, listen_port=NEW, target_port=OLD,
                lease=str(self.folder / "host.lock"), _ansible_remote_tmp=str(self.folder)))

    def files(self):
        return self.masthead.read_bytes(), self.config.read_bytes()

    def agents(self):
        return processes_of(None, [str(self.agent)])

    def end_agent(self):
        self.pid_file.unlink(missing_ok=True)
        for pid, ticks in self.agents():
            os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + 30
            while start_time(pid) == ticks:
                assert time.monotonic() < end
                time.sleep(0.001)

    def bridged(self):
        """The port that leads elsewhere."""
        rules = self.namespace.run("nft", "list", "table", "inet", "portshift_sweep").stdout
        return next((port for port in (OLD, NEW) if "tcp dport %d" % port in rules), None)

    def is_whole(self, port, record):
        """Nothing of what there has to be on this port is missing."""
        agents = self.agents()
        assert len(agents) == 1, "%d agents run" % len(agents)
        [agent] = agents
        assert agent[0] == int(self.pid_file.read_text())
        # Byte for byte; on the way there but for the moment of the edit.
        ignored = DATE if port == NEW else NOTHING
        assert [ignored.sub(b"", content) for content in self.files()] == [
            ignored.sub(b"", content) for content in self.contents[port]], "the files"
        assert self.bridged() == (OLD if port == NEW else NEW), "the bridge"
        state = json.loads(self.record.read_text())["state"] if self.record.exists() else None
        assert state in record, state
        return agent


@pytest.fixture
def host(tmp_path, namespace):
    host = Host(tmp_path, namespace)
    host.begin()
    host.run()
    host.contents[NEW] = list(host.files())
    yield host
    host.end_agent()
    host.module.close()


def points(host, killed):
    """The steps that it has, uninterrupted."""
    host.begin()
    if killed == "restored":
        host.run()
    return host.run(killed).points


def sweep(host, killed, next_run, numbers, steps):
    """What is not whole after the run that follows one that was killed at a step, for each of `numbers`."""
    bad = []
    for number in numbers:
        host.begin()
        before = host.agents()
        if killed == "restored":
            host.run()
        died = host.run(killed, number)
        try:
            assert died.killed
            host.run(next_run)
            if next_run == "restored":
                agent = host.is_whole(OLD, (None, "rolled_back"))
            else:
                agent = host.is_whole(NEW, ("changing",))
                assert [agent] != before, "the agent is the one from before the move"
            again = host.run(next_run).result
            assert not again["changed"] and host.agents() == [agent], "the second run changes it"
        except AssertionError as err:
            bad.append("step %d of %d, before %s: %s" % (number, len(steps), died.points[-1], str(err).splitlines()[0]))
    return bad


def told_apart(steps):
    """The numbers of the steps between which files, or the service, or the bridge differ: a command that only looks is met once,
    and what a process does to a file that has no name yet is met at its end."""
    return [number for number, step in enumerate(steps, 1) if not QUIET.match(step)]


BOTH = pytest.mark.parametrize("killed, next_run", [(killed, next_run) for killed in ("moved", "restored")
                                                    for next_run in ("restored", "moved")])


@BOTH
def test_host_is_whole_after_the_run_that_follows_one_that_was_killed(host, killed, next_run):
    steps = points(host, killed)
    numbers = told_apart(steps)
    assert len(numbers) > 20, steps
    bad = sweep(host, killed, next_run, numbers, steps)
    assert not bad, "%d of %d:\n%s" % (len(bad), len(numbers), "\n".join(bad))


@pytest.mark.long
@BOTH
def test_the_same_at_every_single_step(host, killed, next_run):
    steps = points(host, killed)
    numbers = sorted(set(range(1, len(steps) + 1)) - set(told_apart(steps)))
    bad = sweep(host, killed, next_run, numbers, steps)
    assert not bad, "%d of %d:\n%s" % (len(bad), len(numbers), "\n".join(bad))
