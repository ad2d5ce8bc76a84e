# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bigfix_cutover when things go wrong half way: services that fail, agents that write, connections that are lost."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ansible_collections.portshift.agents.tests.unit.masthead_files import plain

OLD, NEW = 52311, 55000
CONFIG = """[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\__RelayServer1]
value                          = http://relay1.example.test:52311/bfmirror/downloads/
effective date                 = Thu,%2001%20Jan%202015%2000:00:00%20+0000
"""
WRITTEN_BY_THE_AGENT = """
[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\_Own]
value                          = 1
effective date                 = Thu,%2001%20Jan%202015%2000:00:00%20+0000
"""

# service(8) of the test: one service, whose state is a file.  Hooks run before an action takes effect.
SERVICE = """#!/bin/sh
cd '{folder}'
echo "$1 $2" >> calls
case $2 in
    status) [ -e running ] || exit 3 ;;
    stop) [ ! -e on-stop ] || . ./on-stop; rm -f running ;;
    start) [ ! -e on-start ] || . ./on-start; touch running ;;
esac
"""

CALL = """
import json, sys
from ansible.module_utils import basic
try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:
    patch_module_args = None
from ansible_collections.portshift.agents.plugins.modules import bigfix_cutover
arguments = json.loads(sys.argv[1])
if patch_module_args:
    with patch_module_args(arguments):
        bigfix_cutover.main()
else:
    basic._ANSIBLE_ARGS = json.dumps(dict(ANSIBLE_MODULE_ARGS=arguments)).encode()
    bigfix_cutover.main()
"""


class Host:
    def __init__(self, folder):
        self.folder = folder
        self.masthead, self.config, self.record = folder / "actionsite.afxm", folder / "besclient.config", folder / "state/b.json"
        self.masthead.write_bytes(plain(port=OLD))
        self.config.write_text(CONFIG)
        self.command = folder / "service"
        self.command.write_text(SERVICE.format(folder=folder))
        self.command.chmod(0o755)
        (folder / "running").touch()
        self.before = self.files()

    def files(self):
        return self.masthead.read_bytes(), self.config.read_bytes()

    def hook(self, action, script):
        (self.folder / ("on-" + action)).write_text(script)

    def unhook(self, action):
        (self.folder / ("on-" + action)).unlink()

    def begin(self, port=NEW, **arguments):
        arguments = dict(dict(
            component="client", port=port, masthead_paths=[str(self.masthead)], settings_paths=[str(self.config)],
            services=["besclient"], service_command=[str(self.command)], record=str(self.record),
            _ansible_remote_tmp=str(self.folder)), **arguments)
        collections = os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0]
        return subprocess.Popen(
            [sys.executable, "-c", CALL, json.dumps(arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=collections))

    def run(self, *arguments, **options):
        out, err = self.begin(*arguments, **options).communicate(timeout=60)
        assert out.strip(), err
        return json.loads(out.strip().splitlines()[-1])

    def state(self):
        return json.loads(self.record.read_text())["state"]

    def runs(self):
        return (self.folder / "running").exists()

    def on_new_port(self):
        return b"_PortNumber=55000" in self.masthead.read_bytes() and b":55000/" in self.config.read_bytes()


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_there_and_back(host):
    foretold = host.run(_ansible_check_mode=True)
    assert foretold["changed"] and host.files() == host.before
    moved = host.run()
    assert (moved["files"], moved["started"], moved["old_port"]) == (foretold["files"], ["besclient"], OLD)
    assert host.on_new_port() and host.runs() and host.state() == "changing"
    assert not host.run()["changed"]
    assert host.run(state="restored")["changed"]
    assert host.files() == host.before and host.runs() and host.state() == "rolled_back"
    assert not host.run(state="restored")["changed"]


def test_services_that_an_interrupted_run_left_down_are_started(host):
    host.run()
    (host.folder / "running").unlink()
    assert host.run()["started"] == ["besclient"] and host.runs()


def test_what_the_agent_writes_while_it_stops_is_kept(host):
    host.hook("stop", "cat >> besclient.config <<'TEXT'\n%sTEXT\n" % WRITTEN_BY_THE_AGENT)
    assert host.run()["changed"]
    assert host.on_new_port() and b"\\_Own]" in host.config.read_bytes()


def test_service_that_does_not_start_puts_the_host_back(host):
    host.hook("start", "grep -q _PortNumber=55000 actionsite.afxm && { echo cannot bind 55000 >&2; exit 1; }\n")
    failed = host.run()
    assert failed["failed"] and "cannot bind 55000" in failed["msg"] and "Its files are as they were before" in failed["msg"]
    assert host.files() == host.before and host.runs() and host.state() == "rolled_back"


def test_script_that_fails_to_stop_what_is_not_running_is_no_hindrance(host):
    host.hook("stop", "[ -e running ] || exit 7\n")
    host.hook("start", "grep -q _PortNumber=55000 actionsite.afxm && exit 1\n")
    assert "Its files are as they were before" in host.run()["msg"]
    assert host.files() == host.before and host.runs()


def test_failure_of_a_later_move_does_not_undo_an_earlier_one(host):
    host.run()
    content = json.loads(host.record.read_text())
    host.record.write_text(json.dumps(dict(content, state="verified")))
    moved = host.files()
    host.hook("stop", "echo will not stop >&2; exit 1\n")
    failed = host.run(56000)
    assert failed["failed"] and "will not stop" in failed["msg"]
    assert host.files() == moved and host.runs()


def test_unproved_move_is_taken_back_around_what_the_agent_wrote_since(host):
    host.run()
    host.config.write_bytes(host.config.read_bytes() + WRITTEN_BY_THE_AGENT.encode())
    back = host.run(state="restored")
    assert back["changed"], back
    assert host.masthead.read_bytes() == host.before[0]
    assert host.config.read_bytes() == host.before[1] + WRITTEN_BY_THE_AGENT.encode()


def test_proved_move_is_not_taken_back_over_somebody_elses_change(host):
    host.run()
    host.record.write_text(json.dumps(dict(json.loads(host.record.read_text()), state="verified")))
    host.config.write_bytes(host.config.read_bytes() + WRITTEN_BY_THE_AGENT.encode())
    now = host.files()
    refused = host.run(state="restored")
    assert refused["failed"] and "going back is no longer safe" in refused["msg"]
    assert host.files() == now and host.runs()
    assert host.run(state="restored", force=True)["changed"] and host.files() == host.before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_cutover_outlives_the_connection_that_began_it(host, number):
    host.hook("stop", "touch stopping; sleep 1\n")
    process = host.begin()
    end = time.monotonic() + 30
    while not (host.folder / "stopping").exists():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert json.loads(out.strip().splitlines()[-1])["changed"], err
    assert host.on_new_port() and host.runs()
