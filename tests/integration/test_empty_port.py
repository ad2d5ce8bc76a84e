# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A port that a site has set to nothing, such as -e boks_base_port=, counts as none given: rollback takes the last one."""

import pytest

PORT = 6530


@pytest.mark.parametrize("role, variable, shown", [
    ("boks", "boks_base_port", dict(
        base="{{ boks_base | int }}", proved="{{ boks_verify_base | int }}", record="{{ boks_host_port.record }}",
        closings="{{ boks_openings | map(attribute='port') | unique | sort }}")),
    ("change_tracker_agent", "change_tracker_port", dict(base="{{ change_tracker_agent_at | int }}")),
    ("bigfix_client", "bigfix_port", dict(base="{{ bigfix_component_host.port | int }}"))])
def test_an_empty_port_of_a_site_is_none_in_a_play_that_is_about_one(run_playbook, tmp_path, role, variable, shown):
    record = str(tmp_path / "record.json")
    play = dict(hosts="localhost", gather_facts=False, vars=dict(portshift_port="{{ target.port }}"), tasks=[
        dict(include_role=dict(name="portshift.agents." + role, tasks_from="close", public=True)),
        dict(debug=dict(msg="{{ shown | to_json }}"), vars=dict(shown=shown))])
    known = {"ansible_connection": "local", "target": dict(port=PORT), role + "_record_path": record, "boks_bridge": False,
             "boks_firewall": "none", "boks_role": "agent", "bigfix_client_firewall": "none"}
    done = run_playbook([play], dict(bigfix_server=dict(hosts=dict(localhost=known))), "--check", "-e", variable + "=")
    said = " ".join(done.stdout.split()).replace("\\", "")
    assert done.returncode == 0 and '"base": %d' % PORT in said, done.stdout
    if role == "boks":
        assert '"proved": %d' % PORT in said and '"record": "%s/boks.%d.host_port.json"' % (tmp_path, PORT) in said, said
        assert '"closings": [%d]' % (PORT + 3) in said, said
