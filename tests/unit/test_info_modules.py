# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that only look: twins of those that change, with the same engine, the same options and the same keys."""

import copy
import types
from pathlib import Path

import pytest
import yaml

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import fragment_loader
from ansible.utils.plugin_docs import get_docstring
from ansible_collections.portshift.agents.plugins.action import host_port_info, iis_listen_info
from ansible_collections.portshift.agents.plugins.action.host_port import ActionModule as HostPort
from ansible_collections.portshift.agents.plugins.action.iis_listen import ActionModule as IisListen
from ansible_collections.portshift.agents.plugins.module_utils._core.read_only import read_only, seen
from tests.conftest import CHECKOUT

ROOT = Path(CHECKOUT)
TWINS = ("host_port", "iis_listen", "nginx_listen", "port_bridge")
# What concerns a change alone.
OF_A_CHANGE = dict(
    host_port={"lease_wait", "step", "picture", "trouble", "run"}, iis_listen={"timeout"}, nginx_listen={"timeout", "backup"},
    port_bridge={"state", "lease", "lease_wait"})
RETURNED_OF_A_CHANGE = dict(nginx_listen={"reloaded", "backup_file"})


def documented(name):
    """(options, return values)"""
    doc, unused, returned, unused2 = get_docstring(str(ROOT / "plugins" / "modules" / (name + ".py")), fragment_loader)
    return doc["options"], returned


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_takes_the_same_options_and_returns_the_same_keys(name):
    options, returned = documented(name)
    seen_options, seen_returned = documented(name + "_info")
    assert set(options) - set(seen_options) == OF_A_CHANGE[name] and not set(seen_options) - set(options)
    for option, described in seen_options.items():
        alike = [{key: value for key, value in one.items() if key != "description"} for one in (described, options[option])]
        assert alike[0] == alike[1], option
    assert set(returned) - set(seen_returned) == RETURNED_OF_A_CHANGE.get(name, set())
    assert not set(seen_returned) - set(returned)
    for key, described in seen_returned.items():
        assert described["type"] == returned[key]["type"], key


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "plugins" / "modules").glob("*_info.py"))])
def test_every_module_that_looks_is_in_the_groups_and_in_the_readme(name):
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    assert name in groups["all"] and "`%s`" % name in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_a_declaration(name):
    text = (ROOT / "plugins" / "modules" / (name + "_info.py")).read_text()
    assert text.rsplit('"""\n', 1)[1].count("\n") <= 60


def tasks_of(found):
    if isinstance(found, list):
        for one in found:
            yield from tasks_of(one)
    elif isinstance(found, dict):
        yield found
        for key in ("tasks", "block", "rescue", "always", "pre_tasks", "post_tasks", "handlers"):
            yield from tasks_of(found.get(key) or [])


def test_no_role_and_no_playbook_looks_by_a_module_that_changes():
    looked, forced = set(), []
    for path in sorted([*(ROOT / "roles").glob("*/tasks/**/*.yml"), *(ROOT / "playbooks").glob("**/*.yml")]):
        for task in tasks_of(yaml.safe_load(path.read_text())):
            looked |= {name for name in TWINS if "portshift.agents.%s_info" % name in task}
            if task.get("check_mode") is True:
                forced.append("%s: %s" % (path.relative_to(ROOT), task.get("name")))
    assert looked == set(TWINS) and forced == []


def test_the_engine_is_told_to_change_nothing_and_nothing_is_said_to_be_changed():
    module = read_only(types.SimpleNamespace(check_mode=False, _diff=True))
    assert (module.check_mode, module._diff) == (True, False)
    assert seen(dict(changed=True, diff=[], reloaded=False, missing=["x"]), "reloaded") == dict(changed=False, missing=["x"])


# --- on the control node


class Task:
    def __init__(self, **args):
        self.args, self.check_mode, self.diff, self.async_val = args, False, True, 0

    def copy(self):
        return copy.copy(self)


class Host(host_port_info.ActionModule):
    """The action over a host on paper, outside of check mode."""

    def __init__(self, answer, known=True, **args):
        self.answer, self.ran = answer, []
        self._task = Task(name="bigfix", **args)
        context = types.SimpleNamespace(resolved=known, plugin_resolved_path="/c/win_firewall_rule.py")
        self._shared_loader_obj = types.SimpleNamespace(module_loader=types.SimpleNamespace(
            find_plugin_with_context=lambda name: context))

    def _execute_module(self, module_name=None, module_args=None, task_vars=None):
        self.ran.append((module_name, self._task.check_mode, self._task.diff, sorted(module_args)))
        return copy.deepcopy(self.answer)


@pytest.fixture(autouse=True)
def no_controller(monkeypatch):
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp=None, task_vars=None: {})


CALL = dict(module="ansible.posix.firewalld", args={})


def test_a_look_is_one_round_that_asks_for_nothing_and_makes_no_call():
    host = Host(dict(changed=True, calls=[CALL], missing=["x"], lease="free"))
    assert host.run() == dict(changed=False, missing=["x"])
    assert host.ran == [(None, True, False, ["name"])]


@pytest.mark.parametrize("answer", [dict(failed=True, msg="no"), dict(failed=True, msg="MODULE FAILURE", rc=1)])
def test_a_look_that_fails_is_one_round_too(answer):
    host = Host(answer)
    assert host.run() == dict(answer, changed=False) and len(host.ran) == 1


def test_a_look_names_the_collection_that_a_change_would_need():
    found = Host(dict(changed=True, calls=[CALL], lease="free"), known=False).run()
    assert found["failed"] and not found["changed"] and "ansible-galaxy collection install ansible.posix" in found["msg"]


def test_a_look_at_windows_runs_its_module_in_check_mode_alone():
    rule = "portshift bigfix 443/tcp"
    host = Host(dict(changed=True, diff=dict(prepared="+[%s]" % rule)), backend="windows", openings=[dict(port=443)])
    found = host.run()
    assert (found["backend"], found["changed"], found["missing"]) == ("windows", False, ["the rule %s is not there" % rule])
    assert "diff" not in found and [ran[:2] for ran in host.ran] == [
        ("community.windows.win_firewall_rule", True), ("ansible.windows.win_powershell", True)]


@pytest.mark.parametrize("twin, base", [(host_port_info, HostPort), (iis_listen_info, IisListen)])
def test_an_action_has_no_second_implementation(twin, base):
    own = {name for name in vars(twin.ActionModule) if not name.startswith("_")}
    assert issubclass(twin.ActionModule, base) and own == {"run", "SPEC"}
