# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab, the playbooks run against it as a user runs them, and what they did, judged by bytes and by events."""

import ctypes
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import uuid
from pathlib import Path

from tests.integration import forked
from tests.lab import deployment

CHECKOUT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
OLD, NEW = 52311, 55000
RUN_SECONDS = 900
# Of an output, those that its account begins with.
LAST_LINES = 40
# Written by the stand-ins while they run: no file of the product's that a migration could move.
OWN_OF_THE_LAB = re.compile(r"/__BESData/|/lab-ledger\.txt$")
RECORDS = "var/lib/portshift/"
# A run that fails leaves its lock to its lease: nothing of a migration, but of the run.
LOCK = RECORDS + "bigfix.lock"
INFO, PROBE = "portshift.agents.bigfix_info", "portshift.agents.port_probe"
CUTOVER, EVIDENCE = "portshift.agents.bigfix_cutover", "portshift.agents.bigfix_evidence"
HOST_PORT = "portshift.agents.host_port"
CLIENT_MASTHEAD = "etc/opt/BESClient/actionsite.afxm"
CLIENT_CONFIG = "var/opt/BESClient/besclient.config"
SERVER_CONFIG = "var/opt/BESServer/besserver.config"
SERVER_CREDENTIALS = "var/opt/BESServer/Applications/MasterOperatorCredentials"
CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24

# As much of ssh as Ansible sees: it is called as SCRIPT [options] HOST COMMAND, and 255 is its own failure.
SSH = """#!/bin/sh
if [ -e '{flag}' ]; then
    echo 'ssh: connect to host {host} port 22: Connection refused' >&2
    exit 255
fi
for last; do :; done
exec sh -c "$last"
"""


def obey_permissions():
    """For a child process: root too gets `permission denied` then."""
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "CAP_DAC_OVERRIDE can't be dropped")


class Run:
    """One ansible-playbook, on its way or ended.

    The usual one is a fork of a process that has Ansible loaded.  `obedient`: it obeys permissions, as root does not.  `cold`: a
    process of its own from the beginning, for a prefix that changes more than the place where it runs.
    """

    def __init__(self, arguments, folder, program=PLAYBOOK, obedient=False, cold=False, prefix=(), **environment):
        self.mark = "portshift-run-%s" % uuid.uuid4().hex
        self.journal = Path(folder) / (self.mark + ".jsonl")
        self.log = Path(folder) / (self.mark + ".log")
        self.journal.touch()
        self.status = None
        environment = dict(
            os.environ, PORTSHIFT_JOURNAL=str(self.journal), PORTSHIFT_RUN=self.mark, ANSIBLE_NOCOLOR="1",
            ANSIBLE_CALLBACK_PLUGINS=str(CHECKOUT / "tests/integration/callback"),
            ANSIBLE_CALLBACKS_ENABLED="journal", ANSIBLE_CALLBACK_RESULT_FORMAT="json", **environment)
        with open(self.log, "wb") as stream:
            if program == PLAYBOOK and not (obedient or cold):
                self.process = forked.begin("ansible", ["playbook", *arguments], environment, CHECKOUT, prefix=prefix,
                                            merged=True, session=True, file=stream)
            else:
                self.process = subprocess.Popen(
                    [*prefix, str(program), *arguments], cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL,
                    stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
                    preexec_fn=obey_permissions if obedient else None)

    def wait(self):
        try:
            self.status = self.process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("no end after %d seconds:\n%s" % (RUN_SECONDS, self.account))
        return self

    def until(self, happened):
        """Returns as soon as `happened` is true."""
        end = time.monotonic() + RUN_SECONDS
        while not happened():
            assert self.process.poll() is None and time.monotonic() < end, "it never happened:\n%s" % self.account
            time.sleep(0.01)
        return self

    def until_count(self, number):
        end = time.monotonic() + RUN_SECONDS
        while self.journal.read_bytes().count(b"\n") < number and self.process.poll() is None:
            assert time.monotonic() < end, self.account
            time.sleep(0.01)
        return self

    def _mine(self, known):
        """The processes of this run; Ansible's workers have sessions of their own, so the group would not do.

        `known`: those of which it was known.  A program that one of them has begun has the mark in its environment; what forks
        and runs no other program, as Ansible's workers do, may not, and has one of them as its parent.  The stand-ins' daemons
        are left out: they are processes of the managed hosts.
        """
        marked, children, living = {self.process.pid}, {}, set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                environment = Path("/proc", pid, "environ").read_bytes().split(b"\0")
                line = Path("/proc", pid, "cmdline").read_bytes()
                parent = int(Path("/proc", pid, "stat").read_bytes().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            if line and b"daemon.py" not in line:
                living.add(int(pid))
                children.setdefault(parent, []).append(int(pid))
                if b"PORTSHIFT_RUN=" + self.mark.encode() in environment:
                    marked.add(int(pid))
        found, new = set(known), marked
        while new:
            found |= new
            new = {child for pid in new for child in children.get(pid, ())} - found
        return found & living

    def kill(self):
        """SIGKILL to the whole of it, until nothing of it is left."""
        end = time.monotonic() + 30
        # While it stands still, nothing new comes of it, and its children are still those of their parent.
        self.process.send_signal(signal.SIGSTOP)
        found = self._mine(())
        self.process.kill()
        while True:
            found = self._mine(found)
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if self.process.poll() is not None and not found:
                break
            assert time.monotonic() < end, "processes %s survive SIGKILL" % found
            time.sleep(0.02)
        self.status = self.process.wait()
        return self

    @property
    def output(self):
        return self.log.read_text(errors="replace")

    @property
    def account(self):
        """What became of it, the end first: who is shown the beginning of a long text, as by CI, sees what failed."""
        lines = self.output.splitlines()
        said = ["exit status %s" % self.status, *self.failures]
        if len(lines) > LAST_LINES:
            said += ["--- the last lines:", *lines[-LAST_LINES:], "--- all of it:"]
        return "\n".join(said + lines)

    @property
    def events(self):
        lines = self.journal.read_text().split("\n")
        return [json.loads(line) for line in lines[:-1]]    # the last one may be on its way

    @property
    def stats(self):
        """host -> counts, as in the recap."""
        found = [event["hosts"] for event in self.events if event["event"] == "stats"]
        assert found, "no recap:\n%s" % self.account
        return found[-1]

    @property
    def changed(self):
        """host -> number of changed tasks, without the hosts that have none."""
        return {host: counts["changed"] for host, counts in self.stats.items() if counts["changed"]}

    @property
    def failed(self):
        """The hosts that failed or could not be reached."""
        return {host for host, counts in self.stats.items() if counts["failures"] or counts["unreachable"]}

    @property
    def edits(self):
        """{(host, path)} of the product's files that tasks of this run changed, or in check mode would."""
        return {(event["host"], path) for event in self.events if event["event"] == "ok" and event["changed"]
                for path in event["files"]}

    @property
    def plays(self):
        return [event["name"] for event in self.events if event["event"] == "play"]

    @property
    def failures(self):
        """The sentences with which tasks failed."""
        return [event["msg"] for event in self.events if event["event"] == "failed"]

    def good(self):
        assert self.status == 0, self.account
        return self

    def bad(self, *words):
        """It failed, and one of its sentences holds all these words."""
        assert self.status not in (0, None), self.account
        assert any(all(str(word) in sentence for word in words) for sentence in self.failures), (
            "no failure holds %s:\n%s" % (words, "\n".join(self.failures) or self.account))
        assert "Traceback" not in self.output
        return self


class Lab:
    """One lab in a folder of its own.  In a `namespace`, both ports of its hosts can answer."""

    program = PLAYBOOK
    # Whether its runs begin as processes of their own: what a fork of another process uses is not counted for this one.
    cold = False

    def __init__(self, folder, kind="signed", namespace=None):
        self.folder = Path(folder)
        self.kind = kind
        self.namespace = namespace
        self.prefix = namespace.prefix if namespace else []
        self.runs = self.folder.parent / (self.folder.name + "-runs")
        self.runs.mkdir(parents=True)
        self.started = []

    def call(self, command, *arguments):
        return subprocess.run(
            [*self.prefix, sys.executable, "-m", "tests.lab", command, "--dir", str(self.folder), *arguments], cwd=CHECKOUT,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300)

    def ok(self, command, *arguments):
        done = self.call(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, relays="1,1", clients=2, give_up=120):
        self.ok("start", "--masthead", self.kind, "--relays", relays, "--clients", str(clients), "--rate", "2",
                "--give-up", str(give_up), "--life", "5400")
        return self

    def write(self, relays="1,1", clients=2):
        """Its files alone: the plan needs no more, and no process runs."""
        deployment.Lab.plan(str(self.folder), self.kind, [int(size) for size in relays.split(",")], clients, 2.0, OLD,
                            10.0, 600.0).write()
        return self

    def stop(self):
        for run in self.started:
            if run.process.poll() is None:
                run.kill()
        if self.folder.exists():
            self.ok("stop", "--remove")

    # -- what is there
    def status(self):
        return json.loads(self.ok("status", "--json"))

    @property
    def hosts(self):
        return sorted(json.loads((self.folder / "lab.json").read_text())["hosts"])

    def address(self, host):
        return json.loads((self.folder / "lab.json").read_text())["hosts"][host]["address"]

    def path(self, host, path=""):
        return self.folder / "hosts" / host / path

    def pid(self, host, service):
        return self.status()["hosts"][host]["services"][service]["pid"]

    def ports(self):
        """host -> the port on which its server or relay listens, or by which its agent last reported."""
        return {host: found["port"] for host, found in self.status()["hosts"].items()}

    def wait(self, port):
        self.ok("wait", "--port", str(port), "--timeout", "120")

    def snapshot(self, records=False):
        """{(host, path): (mode, owner, group, sha256)} of every file of every host; links by where they lead."""
        found = {}
        for host in self.hosts:
            for top in ("etc", "var"):
                for path in self.path(host, top).rglob("*"):
                    name = path.relative_to(self.path(host)).as_posix()
                    if path.is_dir() or OWN_OF_THE_LAB.search("/" + name) or name == LOCK or (
                            name.startswith(RECORDS) and not records):
                        continue
                    status = path.lstat()
                    content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
                    found[host, name] = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid,
                                         hashlib.sha256(content).hexdigest())
        return found

    def short(self, edits):
        """(host, path on the host) for (host, path on this machine)."""
        return {(host, Path(path).relative_to(self.path(host)).as_posix()) for host, path in edits}

    # -- what is done to it
    def issue(self, port=NEW):
        return self.ok("issue", "--port", str(port)).strip()

    def issued(self):
        path = self.folder / "issued" / ("masthead-%d.afxm" % NEW)
        return str(path) if path.exists() else self.issue()

    def begin(self, verb, *options, port=NEW, src=None, inventories=(), **how):
        """Starts PLAYBOOK_bigfix_port.yml with the options that its user gives."""
        # The stand-ins need no five seconds to die of a bad start; the tests of the proof say how long theirs may take.
        arguments = ["-i", str(self.folder / "inventory.yml"), "-e", "bigfix_settle_seconds=0.5"]
        if self.namespace:
            arguments += ["-e", "bigfix_bridge=true"]
            how["prefix"] = self.prefix
        for inventory in inventories:
            arguments += ["-i", str(inventory)]
        arguments.append("playbooks/%s_bigfix_port.yml" % verb)
        if verb != "rollback":
            arguments += ["-e", "bigfix_port=%s" % port]
        if verb in ("plan", "migrate") and self.kind == "signed":
            arguments += ["-e", "bigfix_masthead_src=%s" % (src or self.issued())]
        self.started.append(Run(arguments + list(options), self.runs, self.program, **{"cold": self.cold, **how}))
        return self.started[-1]

    def play(self, verb, *options, **how):
        return self.begin(verb, *options, **how).wait()

    def play_file(self, path, *options, inventory=None):
        arguments = ["-i", str(inventory or self.folder / "inventory.yml"), str(path), *options]
        self.started.append(Run(arguments, self.runs, self.program, cold=self.cold, prefix=self.prefix))
        return self.started[-1].wait()

    def overlay(self, name, content):
        """A second inventory, which goes before the first one."""
        path = self.runs / (name + ".json")
        path.write_text(json.dumps(content))
        return path

    def by_ssh(self, *hosts):
        """An inventory that reaches these hosts through a stand-in of ssh; lose() breaks it."""
        found = {}
        for host in hosts:
            script = self.runs / ("ssh-" + host)
            script.write_text(SSH.format(flag=self._flag(host), host=host))
            script.chmod(0o755)
            found[host] = dict(
                ansible_connection="ssh", ansible_host=self.address(host), ansible_ssh_executable=str(script),
                ansible_ssh_args="", ansible_ssh_transfer_method="piped")
        return self.overlay("by-ssh", {"all": {"hosts": found}})

    def _flag(self, host):
        return self.runs / ("lost-" + host)

    def lose(self, host):
        self._flag(host).touch()

    def find(self, host):
        self._flag(host).unlink()


def difference(before, after):
    """{(host, path)} that are not the same in two snapshots."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
