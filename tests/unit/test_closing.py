# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What close and a way back do with a host depends on one thing for every product: whether it has proved itself."""

import pathlib

import pytest
import yaml

from ansible_collections.portshift.agents.plugins.plugin_utils import _failed_move

ROOT = pathlib.Path(_failed_move.__file__).resolve().parents[2]
# Product: the role that verifies a host of it, the variable that has it noted, and the records that close and reopen go by.
PRODUCTS = dict(
    bigfix=("bigfix_component", "bigfix_component_mark", "bigfix_component_left", "bigfix_component_way_back"),
    boks=("boks", "boks_mark", "boks_left", "boks_way_back"),
    change_tracker=("change_tracker_agent", "change_tracker_agent_mark", None, None))


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def conditions(role, verb, module):
    [task] = [task for task in read("roles/%s/tasks/%s.yml" % (role, verb)) if "portshift.agents." + module in task]
    return task["when"]


def marking(path):
    """{playbook: the plays that it imports with the mark}, of a playbook and of all that it imports."""
    found = {path: [play["ansible.builtin.import_playbook"] for play in read(path)
                    if "portshift_mark" in (play.get("vars") or {}) and play["vars"]["portshift_mark"] is True]}
    for play in read(path):
        if "ansible.builtin.import_playbook" in play:
            found.update(marking("%s/%s" % (pathlib.PurePath(path).parent, play["ansible.builtin.import_playbook"])))
    return found


@pytest.mark.parametrize("product", PRODUCTS)
def test_close_notes_the_proof_and_no_other_run_that_only_asks_does(product):
    role, mark, _left, _way_back = PRODUCTS[product]
    # The first proof, before anything is closed; one behind it only looks.
    [(run, marked)] = [(path, plays) for path, plays in marking("playbooks/close_%s_port.yml" % product).items() if plays]
    assert marked == ["proof.yml"]
    proofs = [play for play in read(run) if play["ansible.builtin.import_playbook"] == "proof.yml"]
    assert proofs[0]["vars"] == dict(portshift_mark=True) and not any("portshift_mark" in play["vars"] for play in proofs[1:])
    [verify] = [task for task in read("playbooks/parts/proof.yml")[0]["tasks"] if "ansible.builtin.include_role" in task]
    assert verify["ansible.builtin.include_role"]["tasks_from"] == "verify" and "vars" not in verify
    # The role goes by what the run says, and without a word it marks nothing.
    assert read("roles/%s/vars/main.yml" % role)[mark] == "{{ portshift_mark | default(false) | bool }}"
    for verb in ("plan", "migrate", "verify", "rollback"):
        for path in marking("playbooks/%s_%s_port.yml" % (verb, product)):
            assert "portshift_mark" not in (ROOT / path).read_text(), path


@pytest.mark.parametrize("product", ["bigfix", "boks"])
def test_old_port_is_shut_and_reopened_on_hosts_that_have_proved_themselves(product):
    role, _mark, left, way_back = PRODUCTS[product]
    assert "%s.record.state | default('none') == 'verified'" % left in conditions(role, "close", "host_port")
    assert any(condition.startswith("%s.record.new_port == " % left) for condition in conditions(role, "close", "host_port"))
    assert "%s.record.state | default('none') == 'verified'" % way_back in conditions(role, "reopen", "port_bridge")
