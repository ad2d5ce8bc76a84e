# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of which a Windows host has another form: elsewhere they run as Ansible runs a module that has no action plugin."""

import importlib
import types

import pytest
from ansible.errors import AnsibleActionFail
from ansible.playbook.task import Task

NAMES = ["bigfix_evidence", "bigfix_masthead_info", "bigfix_settings", "change_record", "change_tracker_evidence",
         "change_tracker_info", "port_bridge", "port_bridge_info", "port_listener", "port_probe"]


def action(name, windows, async_val=0):
    """The action plugin itself, with a connection that is never used."""
    task = Task.load(dict(action="portshift.agents.%s" % name))
    task.async_val = async_val
    shell = types.SimpleNamespace(_IS_WINDOWS=windows, tmpdir="/tmp/none")
    connection = types.SimpleNamespace(_shell=shell, _play_context=None)
    module = importlib.import_module("ansible_collections.portshift.agents.plugins.action.%s" % name)
    found = module.ActionModule(task, connection, types.SimpleNamespace(check_mode=False), None, None, None)
    found.asked = []
    found._execute_module = lambda **arguments: (found.asked.append(arguments), dict(started=1))[1]
    return found


@pytest.mark.parametrize("async_val", [0, 45])
@pytest.mark.parametrize("name", NAMES)
def test_a_module_can_be_left_running_as_before_it_had_an_action_plugin(name, async_val):
    asked = action(name, False, async_val)
    assert asked.run(task_vars={})["started"] == 1
    assert asked.asked == [dict(module_args={}, task_vars={}, wrap_async=async_val)]


@pytest.mark.parametrize("name", NAMES)
def test_on_a_windows_host_async_is_refused_with_what_to_do(name):
    with pytest.raises(AnsibleActionFail, match="runs on the control node for a Windows host.*take async away for it"):
        action(name, True, 45).run(task_vars={})


def test_a_probe_of_nothing_asks_no_host_unless_it_is_left_running():
    given = dict(targets=[], port=55000)
    now, later = action("port_probe", False), action("port_probe", False, 45)
    now._task.args = later._task.args = given
    told = now.run(task_vars={})
    assert (told["ok"], told["port"], told["predicted"], now.asked) == (True, 55000, False, [])
    assert later.run(task_vars={})["started"] == 1 and len(later.asked) == 1
    now._task.args = dict(given, port=70000)
    told = now.run(task_vars={})
    assert told["failed"] and told["msg"].startswith("port is 70000, which is not a port number") and now.asked == []


def test_a_windows_host_that_can_not_ask_by_udp_takes_no_target_for_down():
    asking = action("port_probe", True)
    asking._task.args = dict(targets=[dict(host="relay1", port=55000, old_port=52311, protocol="udp")])
    told = asking.run(task_vars={})
    assert told["failed"] and "relay1:55000 has an old_port and the protocol udp, by which a Windows host" in told["msg"]
