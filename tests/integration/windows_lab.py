# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows hosts of the model, and the playbooks that a test runs on them over WinRM."""

import json
import os
import subprocess

from tests.integration import forked
from tests.integration.windows_costs import requests
from tests.windows.estate import Estate


class WindowsLab:
    """`folder`: of this machine, in which the inventory and the playbooks lie; a product has a subclass."""

    # The product's record on its hosts, the role whose verbs are asked for, and of which hosts.
    RECORD = ROLE = ""
    OF = "all"

    def __init__(self, folder):
        self.folder, self.estate = folder, Estate()

    @property
    def hosts(self):
        return self.estate.hosts

    def write(self, variables, **groups):
        """The inventory.  `groups`: {name of a group: {host: its variables}}"""
        children = {group: dict(hosts=hosts) for group, hosts in groups.items()}
        (self.folder / "inventory.yml").write_text(json.dumps(dict(all=dict(vars=variables, children=children))))

    def pass_time(self, seconds):
        for _second in range(int(seconds)):
            self.estate.pass_time(1)

    def run(self, playbook, *options, before=lambda: None, program=None, environment=None):
        """-> (code, what Ansible said).  `before`: done when nothing that was asked counts any more.  `program`: another
        ansible-playbook.  `environment`: more of it."""
        self.estate.forget()
        before()
        arguments = ["-i", "inventory.yml", playbook, *options]
        given = dict(timeout=900, cwd=self.folder,
                     env=dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_CALLBACK_RESULT_FORMAT="yaml", **(environment or {})))
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, **given) if program else (
            forked.run("ansible", ["playbook", *arguments], **given))
        return done.returncode, done.stdout + done.stderr

    def play(self, hosts, tasks, *options, known=None, **how):
        """A play of these tasks.  `known`: variables, such as what a look has told."""
        play = dict(hosts=hosts, gather_facts=False, tasks=tasks, vars=known or {})
        (self.folder / "play.json").write_text(json.dumps([play]))
        return self.run("play.json", *options, **how)

    def verbs(self, *verbs, hosts=None, options=(), **more):
        role = "portshift.agents." + self.ROLE
        tasks = [dict(name="Do " + verb, include_role=dict(name=role, tasks_from=verb)) for verb in verbs]
        return self.play(hosts or self.OF, tasks, *options, **more)

    def requests(self, name):
        """Of each task of a host."""
        return requests(self.hosts[name].endpoint.tasks)

    def records(self):
        """{host: the state that its record tells, or None}"""
        found = {name: host.files.get(self.RECORD) for name, host in self.hosts.items()}
        return {name: node and json.loads(node.content)["state"] for name, node in found.items()}

    def close(self):
        self.estate.close()
