# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No command of a host is without a time limit; a service that says nothing is told of."""

import ast
import os
from types import SimpleNamespace

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core import host_commands, services
from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import BoundedModule, CommandTimeout
from ansible_collections.portshift.agents.plugins.module_utils._core.services import ServiceError, Services

PLUGINS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "plugins")
# What has a limit of its own; the process that is handed a change is no command that is waited for.
BOUNDED = {
    "module_utils/_core/bounded_commands.py": {"subprocess.Popen"}, "module_utils/_core/host_commands.py": {"module.run_command"},
    "module_utils/_move/confirmed_change.py": {"subprocess.Popen"}, "action/run_lock.py": {"subprocess.run"}}


def calls(path):
    """What a file has that runs commands, as it is written there."""
    with open(path) as source:
        tree = ast.parse(source.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = getattr(node.func.value, "id", getattr(node.func.value, "attr", ""))
            if owner == "subprocess" or node.func.attr == "run_command" or (owner, node.func.attr) in (
                    ("os", "system"), ("os", "popen")):
                yield "%s.%s" % (owner, node.func.attr)


def test_every_command_of_a_host_goes_by_what_ends_it():
    found = {}
    for folder, _folders, names in os.walk(PLUGINS):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                found.setdefault(os.path.relpath(path, PLUGINS), set()).update(calls(path))
    assert {path: words for path, words in found.items() if words} == BOUNDED


def test_tool_that_hangs_is_ended_also_in_a_module_of_ansible(monkeypatch):
    monkeypatch.setattr(host_commands, "TOOL_SECONDS", 0.3)
    ansible = SimpleNamespace(exit_json=None, run_command=None)
    with pytest.raises(CommandTimeout, match="sleep 1000 had not ended after 0.3 s"):
        host_commands.run(ansible, ["sleep", "1000"])
    assert host_commands.run(ansible, ["no-such-tool"])[0] == host_commands.NOT_FOUND


def test_what_a_tool_says_goes_back_to_it_as_it_came():
    said = BoundedModule(10).run_command(["printf", r"rule \344"])[1]
    assert BoundedModule(10).run_command(["od", "-An", "-c"], data=said)[1].split()[-2:] == ["344", r"\n"]


def test_service_whose_status_hangs_or_can_not_be_asked_is_an_error(monkeypatch):
    monkeypatch.setattr(services, "STATUS_SECONDS", 0.3)
    with pytest.raises(ServiceError, match="service agent could not say how it is: sh -c sleep 1000 agent status had not ended"):
        Services(None, ["agent"], ["sh", "-c", "sleep 1000"]).down()
    with pytest.raises(ServiceError, match="/nowhere/service can't be run: No such file"):
        Services(None, ["agent"], ["/nowhere/service"]).down()


def test_what_can_not_be_told_is_no_list_of_processes(monkeypatch):
    told = Services(None, ["agent", "other"], ["service"], {"agent": ["/nowhere/agent"]}).processes()
    assert told == {"agent": [], "other": None}
    monkeypatch.setattr(services, "can_tell", lambda: False)
    assert Services(None, ["agent"], ["service"], {"agent": ["/nowhere/agent"]}).processes() == {"agent": None}


def test_a_path_is_as_good_as_a_list_of_one():
    assert Services(None, ["agent"], ["true"], dict(agent="/opt/agent", other=["/a", "/b"])).executables == dict(
        agent=["/opt/agent"], other=["/a", "/b"])
