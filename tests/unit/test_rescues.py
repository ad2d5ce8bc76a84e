# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rescues of the roles on a host on which no task has failed: any_errors_fatal of a site leads all hosts of a play in there."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
# What Ansible leaves with a failure, in a form that does without.
FAILURE = re.compile(r"ansible_failed_(?:task|result)\b(?!\s*\|\s*default\()(?! is (?:not )?defined)")
# What a role knows on each host by the time that it gets there.
KNOWN = dict(
    change_tracker_hub_assessment=dict(opened_before=True), port_bridge_assessment=dict(previous=["a bridge"]),
    bigfix_component_host=dict(address="127.0.0.1", port=55000, parent_address="127.0.0.1", parent="p", parent_bridge=False,
                               tls=False, record_path="/nowhere/bigfix.json", probe_timeout=1))


def blocks(tasks):
    """Every block with a rescue."""
    for task in tasks:
        for key in ("block", "rescue", "always"):
            yield from blocks(task.get(key) or [])
        if "rescue" in task:
            yield task


# Each where it stands: a role that shares its verbs has a link to them.
RESCUES = [(path, block) for path in sorted(ROLES.glob("*/tasks/**/*.yml")) if path == path.resolve()
           for block in blocks(yaml.safe_load(path.read_text(encoding="utf-8")) or [])]
NAMES = ["%s-%s-%s" % (path.parents[1].name, path.stem, block["name"].split()[0]) for path, block in RESCUES]


def with_whole_paths(task, folder):
    """The task, with the files that it imports by their whole paths."""
    task = dict(task)
    for key in ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks"):
        if key in task:
            task[key] = str(folder / task[key])
    for key in ("block", "rescue"):
        if key in task:
            task[key] = [with_whole_paths(inner, folder) for inner in task[key]]
    return task


def test_every_role_that_rescues_is_looked_at():
    assert {path.parents[1].name for path, unused in RESCUES} >= {
        "bigfix_component", "change_tracker_hub", "host_port", "port_bridge"}


def test_no_role_relies_on_what_a_failure_of_the_host_would_have_left():
    wrong = ["%s:%d: %s" % (path.relative_to(ROLES), number, line.strip()) for path in sorted(ROLES.rglob("*.yml"))
             for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if FAILURE.search(line)]
    assert not wrong


@pytest.mark.parametrize("path, block", RESCUES, ids=NAMES)
def test_rescue_of_a_host_on_which_no_task_has_failed_ends_in_a_sentence(path, block, run_playbook):
    role = next(folder for folder in path.parents if folder.parent == ROLES)
    rescue = [with_whole_paths(task, path.parent) for task in block["rescue"]]
    files = [str(role / name / "main.yml") for name in ("defaults", "vars") if (role / name / "main.yml").exists()]
    play = dict(hosts="all", gather_facts=False, any_errors_fatal=True, vars_files=files, tasks=[dict(
        block=[dict(fail=dict(msg="this one"), when="inventory_hostname == 'bad'")], rescue=rescue)])
    common = dict(ansible_connection="local", ansible_python_interpreter=sys.executable)
    inventory = dict(all=dict(vars=common, hosts=dict(bad={}, healthy={})))
    done = run_playbook([play], inventory, "--check", "-e", json.dumps(KNOWN))
    said = " ".join(done.stdout.split())
    assert "is undefined" not in said and "has no attribute" not in said, done.stdout
    # Both hosts were in there, and came to its end: a sentence about the host, or what one of an outer rescue has words from.
    ended = "fatal: [healthy]: FAILED!" in said and "healthy: " in said if done.returncode else "ok: [healthy]" in said
    assert ended, done.stdout
