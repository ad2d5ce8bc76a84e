# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BoKS domain in containers for tests, and the playbooks run against it as a user runs them."""

import json
import subprocess
import sys

from tests.integration.migration_lab import CHECKOUT, Run
from tests.lab import containers

OLD, NEW = 6500, 6530


class Domain:
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
        self.ok("start", "--product", "boks", "--life", "3600", *arguments)
        return self

    @property
    def described(self):
        return json.loads((self.folder / "lab.json").read_text())

    @property
    def label(self):
        return "%s=%s" % (containers.LABEL, self.described["containers"]["id"])

    def status(self, host=None):
        hosts = json.loads(self.ok("status", "--json"))["hosts"]
        return hosts[host] if host else hosts

    def logins(self, *arguments):
        """-> whether they are as they should be, and what `logins --json` prints."""
        done = self.call("logins", "--json", *arguments)
        return done.returncode == 0, json.loads(done.stdout)

    def ssh(self, host, command, stdin=None):
        return subprocess.run(["ssh", "-F", str(self.folder / "ssh/config"), host, command], input=stdin, capture_output=True,
                              text=True, check=False, timeout=60)

    def execute(self, engine, host, command):
        """By the engine, which needs no login -> (exit status, what it said)."""
        code, output, error = engine.execute(self.described["hosts"][host]["container"], "sh", "-c", command, check=False)
        return code, (output + error).decode()

    def stop(self):
        if (self.folder / "lab.json").exists():
            self.ok("stop", "--remove")

    # -- what is there
    @property
    def hosts(self):
        return list(self.described["hosts"])

    def bases(self):
        return {host: found["base"] for host, found in self.status().items()}

    def files(self, engine):
        """{host: the bytes, mode and owner of its services file}"""
        return {host: self.execute(engine, host, "stat -c '%a %u %g' /etc/services; cat /etc/services") for host in self.hosts}

    # -- what is done to it
    def begin(self, verb, *options, base=NEW):
        """Starts VERB_boks_port.yml with the options that its user gives."""
        base = [] if verb == "rollback" else ["-e", "boks_base_port=%s" % base]
        return self.begin_file("playbooks/%s_boks_port.yml" % verb, *base, *options)

    def begin_file(self, path, *options):
        runs = self.folder.parent / "runs"
        runs.mkdir(exist_ok=True)
        return Run(["-i", str(self.folder / "inventory.yml"), str(path), *options], runs)

    def play(self, verb, *options, **how):
        return self.begin(verb, *options, **how).wait()
