# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-core before 2.19 reads in another way; whole playbooks on the oldest one stand with their labs."""

import pytest
import yaml

from tests.integration.migration_lab import CHECKOUT

ROLES = sorted(path.parent.parent for path in (CHECKOUT / "roles").glob("*/vars/main.yml") if "_sentences:" in path.read_text())


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_sentence_of_a_role_can_be_put_together_before_anything_is_known(role, oldest, run_playbook):
    # A dict of sentences is put together whole where one of them is asked for.
    sentences = next(name for name in yaml.safe_load((role / "vars/main.yml").read_text()) if name.endswith("_sentences"))
    play = dict(
        hosts="localhost", gather_facts=False,
        vars_files=[str(role / name / "main.yml") for name in ("defaults", "vars") if (role / name / "main.yml").exists()],
        tasks=[dict(debug=dict(msg="{{ %s | length }} sentences" % sentences))])
    done = run_playbook([play], dict(all=dict(hosts=dict(localhost=dict(ansible_connection="local")))), program=oldest)
    assert done.returncode == 0 and " sentences" in done.stdout, done.stdout


def test_evidence_that_a_role_puts_together_is_evidence_there_too(oldest, run_playbook):
    """Numbers of set_fact come out as text there; what is true has to come out as true."""
    facts = dict(proof=dict(ok="{{ shut | length == 0 }}", port="{{ wanted | int }}",
                            predicted="{{ ansible_check_mode and true }}"))
    gate = {"portshift.agents.phase_gate": dict(hosts=["localhost"], evidence="proof", port="{{ wanted }}")}
    play = dict(hosts="localhost", gather_facts=False, vars=dict(shut=[], wanted="55000"), tasks=[
        dict(set_fact=facts), gate, dict(gate, vars=dict(wanted=52311), ignore_errors=True),
        dict(set_fact=dict(proof="{{ shut == [] }}")), gate, dict(set_fact=dict(proof=dict(ok="{{ shut == [1] }}"))), gate])
    done = run_playbook([play], dict(all=dict(hosts=dict(localhost=dict(ansible_connection="local")))), program=oldest)
    assert "ok=6 " in done.stdout and "failed=1 " in done.stdout and "ignored=1 " in done.stdout, done.stdout
    said = " ".join(done.stdout.split())
    assert "proof is about port 55000, and the gate is for port 52311" in said and "proof says that it is not ok" in said


def test_way_back_of_boks_is_proved_to_the_old_base_there_too(oldest, run_playbook):
    """The ports come out of templates, as text there; what is asked has to be what is asked elsewhere."""
    role = CHECKOUT / "roles/boks"
    play = dict(
        hosts="localhost", gather_facts=False, vars_files=[str(role / name / "main.yml") for name in ("defaults", "vars")],
        vars=dict(portshift_port="{{ target.port }}", portshift_back_to="{{ target.old_port }}"),
        tasks=[{"ansible.builtin.include_tasks": str(role / "tasks/path.yml")},
               {"portshift.agents.phase_gate": dict(hosts=["localhost"], evidence="boks_path", port="{{ target.old_port }}")},
               # What a site has set is for the way there.
               dict(debug=dict(msg="{{ boks_paths_to_prove | to_json }} moving={{ boks_moving }} base={{ boks_base_port }}"),
                    vars=dict(boks_paths=[dict(host="other", port=6531, old_port=6501)]))])
    known = dict(ansible_connection="local", target=dict(port=6530, old_port=6500), portshift_host=dict(boks=dict(
        paths=[dict(host="127.0.0.1", offset=1)])))
    done = run_playbook([play], dict(all=dict(hosts=dict(localhost=known))), "--check", program=oldest)
    said = " ".join(done.stdout.split()).replace("\\", "")
    assert done.returncode == 0, done.stdout
    assert '[{"host": "127.0.0.1", "port": 6501, "old_port": 6531}] moving=True base=6530' in said, done.stdout


def test_users_of_an_old_port_are_told_there_too(oldest, run_playbook):
    look = dict(users=[dict(address="10.9.9.9", port=port, seconds_ago=5) for port in (52311, 55000)], remembered_seconds=None,
                notes=[], looked_at=1.0)
    ask = {"portshift.agents.port_users": dict(
        product="bigfix", hosts=["localhost"], found="look", evidence="proof", staying=["{{ kept | int }}"],
        ignore="{{ ignored | default([]) }}", since="{{ begun }}")}
    play = dict(hosts="localhost", gather_facts=False, vars=dict(kept=55000, begun=1.5), tasks=[
        dict(ask, ignore_errors=True), dict(ask, vars=dict(ignored="10.9.9.9"))])
    done = run_playbook([play], dict(all=dict(hosts=dict(localhost=dict(ansible_connection="local", look=look)))), program=oldest)
    said = " ".join(done.stdout.split())
    assert "address: 10.9.9.9 host: localhost name: null port: 52311 seconds_ago: 5" in said, done.stdout
    assert "port: 55000" not in said
    assert "ok=2 " in said and said.endswith("ignored=1")
