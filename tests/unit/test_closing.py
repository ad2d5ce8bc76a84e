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


@pytest.mark.parametrize("product", PRODUCTS)
def test_close_notes_the_proof_and_no_other_run_that_only_asks_does(product):
    role, mark, _left, _way_back = PRODUCTS[product]
    marking = [play for play in read("playbooks/close_%s_port.yml" % product)
               if (play.get("vars") or {}).get(product + "_proof_mark")]
    assert marking and marking[0]["ansible.builtin.import_playbook"] == "parts/%s_proof.yml" % product
    given = [task["vars"][mark] for task in read("playbooks/parts/%s_proof.yml" % product)[0]["tasks"]
             if mark in task.get("vars", {})]
    assert given == ["{{ %s_proof_mark | default(false) }}" % product]
    assert read("roles/%s/vars/main.yml" % role)[mark] is False
    for verb in ("verify", "rollback"):
        assert product + "_proof_mark" not in (ROOT / ("playbooks/%s_%s_port.yml" % (verb, product))).read_text()


@pytest.mark.parametrize("product", ["bigfix", "boks"])
def test_old_port_is_shut_and_reopened_on_hosts_that_have_proved_themselves(product):
    role, _mark, left, way_back = PRODUCTS[product]
    assert "%s.record.state | default('none') == 'verified'" % left in conditions(role, "close", "host_port")
    assert any(condition.startswith("%s.record.new_port == " % left) for condition in conditions(role, "close", "host_port"))
    assert "%s.record.state | default('none') == 'verified'" % way_back in conditions(role, "reopen", "port_bridge")
