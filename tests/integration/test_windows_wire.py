# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in of WinRM, to which ansible-core's own connection plugin and pywinrm talk."""

import json
import os
import subprocess

import pytest

from tests.integration import forked
from tests.windows import specs
from tests.windows.wsman import Endpoint, Output, Server

pytestmark = pytest.mark.stand_ins

ROUND = ("Create", "Command", "Send", "Receive", "Signal", "Delete")


class Plain:
    """Answers every documented module with nothing changed."""

    def __init__(self, **endpoint):
        self.server = Server()
        self.endpoint = self.server.add(Endpoint("plain", self.run, **endpoint))
        self.answers = {}

    def run(self, call, cancelled):
        if call.kind == "put":
            import hashlib
            return Output(json.dumps(dict(sha1=hashlib.sha1(call.arguments["data"]).hexdigest())).encode())
        if call.kind == "mkdtemp":
            return Output(b"C:\\Temp\\" + call.arguments["name"].encode() + b"\r\n")
        if call.kind != "module":
            return Output()
        answer = self.answers.get(call.name, {})
        if callable(answer):
            answer = answer(call)
        _taken, refused = specs.checked(specs.full_name(call.name), call.arguments)
        if refused:
            answer = dict(failed=True, msg=refused)
        return Output(json.dumps(dict(dict(changed=False), **answer)).encode() + b"\r\n")


@pytest.fixture
def plain():
    host = Plain()
    with host.server:
        yield host


def play(folder, host, *tasks, program=None, options=(), **variables):
    """-> (code, what Ansible said, [what each task returned])"""
    (folder / "inventory.yml").write_text(json.dumps(dict(all=dict(hosts=dict(plain=dict(
        host.endpoint.variables(), **variables))))))
    (folder / "play.json").write_text(json.dumps([dict(hosts="all", gather_facts=False, tasks=[
        dict(task, name="task %d" % number, ignore_errors=True) for number, task in enumerate(tasks)])]))
    environment = dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    arguments = ["-i", "inventory.yml", "play.json", *options]
    if program:
        done = subprocess.run([program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    else:
        done = forked.run("ansible", ["playbook", *arguments], timeout=300, cwd=folder, env=environment)
    assert "{" in done.stdout, done.stdout + done.stderr
    told = json.loads(done.stdout[done.stdout.index("{"):])
    return done.returncode, done.stdout + done.stderr, [task["hosts"]["plain"] for task in told["plays"][0]["tasks"]]


def test_x(plain, tmp_path):
    print(play(tmp_path, plain, {"ansible.windows.win_ping": {}}, {"ansible.windows.win_service": dict(name="x", statee="y")}))
    print(plain.endpoint.tasks)
    assert 0
