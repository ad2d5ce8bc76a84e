# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""run_lock with real runs of ansible-playbook: side by side, killed, taken over; and with two who ask in the same moment."""

import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from tests.lab.managed_python import managed_python

NODE = os.uname().nodename
ROUNDS = 50

# Takes the lock, by the module and in a process of its own, whenever a line with the path of a lock file comes in.
RACER = """
import contextlib, io, json, os, sys
from ansible.module_utils import basic
try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:
    patch_module_args = None
from ansible_collections.portshift.agents.plugins.modules import run_lock

def call(arguments):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        if patch_module_args:
            with patch_module_args(arguments):
                run_lock.main()
        else:
            basic._ANSIBLE_ARGS = json.dumps(dict(ANSIBLE_MODULE_ARGS=arguments)).encode()
            run_lock.main()
    return said.getvalue().strip().splitlines()[-1]

me = dict(node=sys.argv[1], machine_id=sys.argv[1], user="root", pid=os.getpid(), process_start="1")
print("ready", flush=True)
for line in sys.stdin:
    arguments = dict(json.loads(line), run=me, _ansible_remote_tmp=sys.argv[2])
    print(call(arguments), flush=True)
"""


class Racer:
    def __init__(self, name, folder):
        collections = os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0]
        self.process = subprocess.Popen([sys.executable, "-c", RACER, name, str(folder)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=collections))
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, **arguments):
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture
def racers(tmp_path):
    both = [Racer(name, tmp_path) for name in ("control1", "control2")]
    yield both
    for racer in both:
        racer.end()


def _raced(racers, path, **arguments):
    for racer in racers:
        racer.ask(path=path, **arguments)
    return [racer.answer() for racer in racers]


def test_of_two_who_ask_in_the_same_moment_exactly_one_gets_the_lock_every_time(racers, tmp_path):
    winners = set()
    for number in range(ROUNDS):
        path = tmp_path / ("%d.lock" % number)
        answers = _raced(racers[::-1] if number % 2 else racers, str(path))
        [won], [lost] = ([answer for answer in answers if bool(answer.get("failed")) is failed] for failed in (False, True))
        assert lost["holder"]["id"] == won["holder"]["id"] == json.loads(path.read_bytes())["holder"]["id"], answers
        winners.add(won["holder"]["node"])
    assert winners == {"control1", "control2"}


def test_of_two_who_take_a_lapsed_lock_in_the_same_moment_exactly_one_gets_it(racers, tmp_path):
    third = Racer("control3", tmp_path)
    for number in range(10):
        path = tmp_path / ("%d.lock" % number)
        third.ask(path=str(path))
        dead = third.answer()["holder"]
        lapsed = dict(dead, renewed=dead["renewed"] - 601, expires=dead["expires"] - 601)
        path.write_text(json.dumps(dict(json.loads(path.read_bytes()), holder=lapsed)))
        answers = _raced(racers, str(path))
        [won] = [answer for answer in answers if not answer.get("failed")]
        assert won["taken_over_from"]["id"] == dead["id"]
        assert "took over from root@control3" in json.dumps(won["warnings"])
    third.end()


# --- playbooks --------------------------------------------------------------------------------------------------


def told(sentence, out):
    """Whether the run said so; ansible-core before 2.19 breaks the lines of a warning, also inside of words."""
    return "".join(sentence.split()) in "".join(out.split())


class Site:
    """Runs of ansible-playbook around one lock file; a run goes on when its file is there."""

    def __init__(self, folder):
        self.folder, self.lock, self.processes = folder, folder / "state" / "bigfix.lock", []
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(json.dumps(dict(all=dict(
            hosts={name: dict(ansible_connection="local", ansible_python_interpreter=managed_python())
                   for name in ("server", "relay1", "relay2")}))))

    def task(self, **options):
        return {"name": "Lock", "portshift.agents.run_lock": dict(dict(path=str(self.lock)), **options)}

    def pause(self, name):
        """Says that it is here, and waits until go() or the end of the test."""
        return [{"name": "Here", "ansible.builtin.file": dict(path=str(self.folder / (name + ".here")), state="touch")},
                {"name": "Wait", "ansible.builtin.wait_for": dict(path=str(self.folder / (name + ".go")), timeout=600, sleep=1)}]

    def begin(self, tasks, hosts="server", *options):
        play = self.folder / ("play%d.json" % len(self.processes))
        play.write_text(json.dumps([dict(name="Play", hosts=hosts, gather_facts=False, tasks=tasks)]))
        process = subprocess.Popen(
            [sys.executable, "-m", "ansible", "playbook", "-i", str(self.inventory), str(play), *options],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=dict(os.environ, ANSIBLE_PIPELINING="true", COLUMNS="10000"))
        self.processes.append(process)
        return process

    def run(self, tasks, hosts="server", *options):
        process = self.begin(tasks, hosts, *options)
        return self.end(process)

    def end(self, process):
        out = process.communicate(timeout=120)[0]
        return process.returncode, out

    def until_here(self, name, process):
        end = time.monotonic() + 60
        while not (self.folder / (name + ".here")).exists():
            assert time.monotonic() < end and process.poll() is None, process.stdout.read()
            time.sleep(0.05)

    def go(self, name):
        (self.folder / (name + ".go")).touch()

    def content(self):
        return json.loads(self.lock.read_bytes())


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.go("first")
    for process in site.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_all_hosts_and_tasks_of_one_playbook_are_one_run(site):
    kept = {"name": "Keep", "ansible.builtin.command": dict(cmd="cp %s %s/{{ inventory_hostname }}" % (site.lock, site.folder))}
    process = site.begin([site.task(purpose="migrate to 55000"), site.task(), kept, site.task(state="released")],
                         "all", "--forks", "3")
    code, out = site.end(process)
    # The first host that releases it leaves nothing to the others, who find that well.
    assert (code, "WARNING" in out, "changed=1" in out) == (0, False, True), out
    holder = json.loads((site.folder / "relay2").read_bytes())["holder"]
    assert (holder["pid"], holder["node"], holder["purpose"]) == (process.pid, NODE, "migrate to 55000")
    assert not site.lock.exists()


def test_killed_run_can_be_started_again_at_once(site):
    killed = site.begin([site.task(purpose="migrate to 55000"), *site.pause("first")])
    site.until_here("first", killed)
    assert stat.S_IMODE(site.lock.stat().st_mode) == 0o600 and site.content()["holder"]["pid"] == killed.pid
    killed.send_signal(signal.SIGKILL)
    # Not waited for: what is left of a process until its parent asks for its exit status is no run either.
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
    checked, out = site.run([site.task()], "server", "--check")
    assert checked == 0 and site.content()["holder"]["pid"] == killed.pid, out
    again = site.begin([site.task()])
    code, out = site.end(again)
    assert code == 0 and site.content()["holder"]["pid"] == again.pid, out
    warning = '%s: took over from root@%s (pid %d, "migrate to 55000", since ' % (site.lock, NODE, killed.pid)
    assert told(warning, out) and told("that process has ended", out), out


def test_worker_that_outlives_its_run_takes_no_lock(site):
    """One with no process behind it would look alive, and hold the next run up until it lapses."""
    waiting = ("echo $PPID > {0}/worker.part; mv {0}/worker.part {0}/worker.here; "
               "until [ -e {0}/worker.go ]; do sleep 0.05; done; echo {1}")
    waiting = waiting.format(site.folder, site.lock)
    task = site.task()
    task["portshift.agents.run_lock"]["path"] = "{{ lookup('ansible.builtin.pipe', '%s') }}" % waiting
    killed = site.begin([task])
    site.until_here("worker", killed)
    worker = int((site.folder / "worker.here").read_text())
    killed.kill()
    killed.wait(30)
    site.go("worker")
    end = time.monotonic() + 60
    while os.path.exists("/proc/%d" % worker):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not site.lock.exists()


def test_second_run_waits_its_turn_unless_told_to_take_over_which_stops_the_first(site):
    first = site.begin([site.task(purpose="migrate to 55000"), *site.pause("first"), site.task(take_over=True),
                        {"name": "Next", "ansible.builtin.debug": dict(msg="MOVED ON")}])
    site.until_here("first", first)
    before = site.lock.read_bytes()
    for options in ([], ["--check"]):
        code, out = site.run([site.task(), site.task(state="released")], "server", *options)
        # A quote in a message comes with a backslash from older versions.
        sentence = 'root@%s (pid %d, "migrate to 55000", since ' % (NODE, first.pid)
        assert code and told(sentence, out.replace("\\", "")), out
    code, out = site.run([site.task(state="released"), site.task(take_over=True)], "server", "--check")
    assert code == 0 and site.lock.read_bytes() == before, out
    # Releasing what is not its own is no failure, and no release.
    second = site.begin([site.task(state="released"), site.task(take_over="{{ take }}"), site.task(state="released")],
                        "server", "-e", "take=true")
    code, out = site.end(second)
    assert code == 0 and told("as take_over says", out), out
    assert site.content()["holder"] is None
    site.go("first")
    code, out = site.end(first)
    assert code and "MOVED ON" not in out
    assert told("this run no longer holds the lock of the deployment: root@%s (pid %d, since " % (NODE, second.pid), out), out
    assert site.content()["holder"] is None


# --- what it refuses --------------------------------------------------------------------------------------------


def test_result_names_the_holder_and_never_a_change(run_module, tmp_path):
    path = str(tmp_path / "bigfix.lock")
    foretold = run_module("run_lock", check=True, path=path)
    assert (foretold["changed"], foretold["holder"]["pid"], os.listdir(tmp_path)) == (False, os.getpid(), [])
    held = run_module("run_lock", path=path, seconds=60, purpose="migrate")
    assert (held["changed"], held["taken_over_from"], held["holder"]["node"]) == (False, None, NODE)
    assert held["holder"]["expires"] - held["holder"]["renewed"] == 60
    assert run_module("run_lock", check=True, path=path, state="released")["holder"] is None and os.path.exists(path)
    released = run_module("run_lock", path=path, state="released")
    assert (released["changed"], released["holder"], os.path.exists(path)) == (False, None, False)


def test_releasing_where_nothing_ever_was_makes_no_file(run_module, tmp_path):
    assert run_module("run_lock", path=str(tmp_path / "none" / "bigfix.lock"), state="released")["holder"] is None
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("state", ["held", "released"])
@pytest.mark.parametrize("check", [False, True])
def test_damaged_lock_file_is_a_sentence_and_stays(run_module, tmp_path, state, check):
    path = tmp_path / "bigfix.lock"
    path.write_bytes(b"{")
    failed = run_module("run_lock", check=check, path=str(path), state=state, take_over=True)
    assert failed["failed"] and failed["msg"].startswith("%s: is not a lock file of portshift.agents" % path)
    assert path.read_bytes() == b"{"


def test_lease_of_no_time_is_refused(run_module, tmp_path):
    failed = run_module("run_lock", path=str(tmp_path / "bigfix.lock"), seconds=0)
    assert failed["failed"] and failed["msg"].startswith("seconds is 0; give the seconds") and os.listdir(tmp_path) == []
