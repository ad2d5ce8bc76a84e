# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab in containers for tests, of a product that has no other, and the playbooks run against it as a user runs them."""

import json
import subprocess
import sys
import time

from tests.integration.migration_lab import CHECKOUT, PLAYBOOK, Run
from tests.lab import containers


class ProductLab:
    """A product has a subclass, which says what `start --product` takes."""

    PRODUCT = None
    program = PLAYBOOK

    def __init__(self, folder):
        self.folder = folder

    def call(self, command, *arguments, timeout=300):
        return subprocess.run(
            [sys.executable, "-m", "tests.lab", command, "--dir", str(self.folder), *arguments], cwd=CHECKOUT,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout)

    def ok(self, command, *arguments):
        done = self.call(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *arguments):
        self.ok("start", "--product", self.PRODUCT, "--life", "3600", *arguments)
        return self

    def stop(self):
        if (self.folder / "lab.json").exists():
            self.ok("stop", "--remove")

    @property
    def described(self):
        return json.loads((self.folder / "lab.json").read_text())

    @property
    def label(self):
        return "%s=%s" % (containers.LABEL, self.described["containers"]["id"])

    @property
    def hosts(self):
        return list(self.described["hosts"])

    # -- what is there
    def status(self, host=None):
        hosts = json.loads(self.ok("status", "--json"))["hosts"]
        return hosts[host] if host else hosts

    def judged(self, command, *arguments):
        """-> whether all is as it should be, and what `COMMAND --json` prints."""
        done = self.call(command, "--json", *arguments)
        return done.returncode == 0, json.loads(done.stdout)

    def ssh(self, host, command, stdin=None):
        return subprocess.run(["ssh", "-F", str(self.folder / "ssh/config"), host, command], input=stdin, capture_output=True,
                              text=True, check=False, timeout=60)

    def execute(self, engine, host, command):
        """By the engine, which needs no login -> (exit status, what it said)."""
        return self._said(engine.execute, host, command)

    def look(self, engine, host, command):
        """The same for a command that leaves no process behind, at a fraction of the cost."""
        return self._said(engine.enter, host, command)

    def _said(self, way, host, command):
        code, output, error = way(self.described["hosts"][host]["container"], "sh", "-c", command, check=False)
        return code, (output + error).decode()

    def change_of(self, engine, host):
        """The state of the confirmed change on that host: none, changing, waiting, ..."""
        code, said = self.execute(engine, host, "cat /var/lib/portshift/%s.confirm/state.json" % self.PRODUCT)
        return json.loads(said)["state"] if code == 0 else "none"

    # -- what is done to it
    @property
    def environment(self):
        """What a run has beside the environment of the tests."""
        return {}

    def begin_file(self, path, *options, **environment):
        """Starts a playbook with the options that its user gives, and with an environment that says what ansible.cfg could."""
        runs = self.folder.parent / "runs"
        runs.mkdir(exist_ok=True)
        return Run(["-i", str(self.folder / "inventory.yml"), str(path), *options], runs, self.program,
                   **dict(self.environment, **environment))

    def begin(self, verb, *options, **how):
        raise NotImplementedError

    def play(self, verb, *options, **how):
        return self.begin(verb, *options, **how).wait()


def eventually(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not come true within %d seconds" % seconds
        time.sleep(0.1)
