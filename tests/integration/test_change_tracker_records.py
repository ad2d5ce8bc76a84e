# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollback and close of Change Tracker by what the records say, the playbooks on this machine; no host is moved."""

import json
import os
import pathlib

import pytest

from tests.lab.managed_python import managed_python

PLAYBOOKS = pathlib.Path(__file__).resolve().parents[2] / "playbooks"


class Records:
    def __init__(self, folder, run_playbook):
        self.folder, self.run_playbook = folder, run_playbook
        self.conf = folder / "nnt.conf"
        self.conf.write_text("server {\n    listen 127.0.0.1:1 ssl;\n    listen 127.0.0.1:2 ssl;\n}\n")

    def note(self, name, old_port, new_port, started, state="verified"):
        (self.folder / name).write_text(json.dumps(dict(
            version=1, started=started, files=[], old_port=old_port, new_port=new_port, phase=None, state=state)))

    def play(self, *playbooks, **variables):
        """(exit status, what was said) of the playbooks on a hub and one agent."""
        hosts = {host: dict(ansible_connection="local", ansible_python_interpreter=managed_python(),
                            change_tracker_agent_record_path=str(self.folder / host)) for host in ("hub", "agent01")}
        groups = dict(change_tracker_hub=["hub"], change_tracker_agents=["agent01"], change_tracker_proxies=[])
        common = dict(change_tracker_hub_conf_path=str(self.conf), change_tracker_hub_record_path=str(self.folder / "nginx.json"),
                      host_port_lease=str(self.folder / "host.lock"),
                      change_tracker_hub_test_command=["true"], change_tracker_hub_reload_command=["true"],
                      change_tracker_hub_firewall="none", change_tracker_hub_reserve_port=False, change_tracker_lock=False)
        inventory = dict(all=dict(hosts=hosts, vars=common, children={
            group: dict(hosts=dict.fromkeys(members, {})) for group, members in groups.items()}))
        shared = dict(portshift_product="change_tracker", portshift_run="close")
        done = self.run_playbook([dict({"import_playbook": str(PLAYBOOKS / name)}, **({"vars": shared} if "/" in name else {}))
                                  for name in playbooks], inventory,
                                 "-e", json.dumps(variables), timeout=300)
        return done.returncode, " ".join(done.stdout.split())


@pytest.fixture
def records(tmp_path, run_playbook):
    return Records(tmp_path, run_playbook)


def test_rollback_of_a_port_that_no_record_names_fails(records):
    records.note("agent01", 1, 2, 10)
    records.note("nginx.json", 1, 2, 9)
    code, said = records.play("rollback_change_tracker_port.yml", change_tracker_port=22)
    assert code and "There is no migration to port 22 to take back: no record names it" in said
    # Where it would go back to is no migration either, whatever an earlier one has left there.
    (records.folder / "change_tracker_hub.1.host_port.json").write_text("{}")
    code, said = records.play("rollback_change_tracker_port.yml", change_tracker_port=1)
    assert code and "There is no migration to port 1 to take back" in said
    # Nor is one of before the last, which left its firewall's record.
    old = records.folder / "change_tracker_hub.7.host_port.json"
    old.write_text("{}")
    os.utime(old, (5, 5))
    code, said = records.play("rollback_change_tracker_port.yml", change_tracker_port=7)
    assert code and "There is no migration to port 7 to take back" in said


def test_agents_do_not_go_back_without_their_hub(records):
    records.note("agent01", 1, 2, 10)
    records.note("nginx.json", 2, 3, 20, "rolled_back")
    code, said = records.play("rollback_change_tracker_port.yml")
    assert code and "agent01: moved to port 2, and the hub's record is of its move to port 3" in said
    assert "migrate_change_tracker_port.yml -e change_tracker_port=1." in said


def test_close_asks_the_agents_which_port_was_left_where_the_hub_does_not_know(records):
    """Their proofs say it, as their records have it; here they have given them already."""
    close = ("parts/order.yml", "parts/hub_close.yml")
    records.note("nginx.json", 2, 1, 5)
    code, said = records.play(*close, change_tracker_port=2)
    assert code and "hub: no port was ended" in said
    # No process listens there, so that is as far as it comes.
    proof = dict(ok=True, port=2, old_port=1)
    code, said = records.play(*close, change_tracker_port=2, change_tracker_evidence=proof)
    assert code and "no process listens on port" in said
    # The hub's own record is of this migration: no agent has to be asked.
    records.note("nginx.json", 1, 2, 5)
    code, said = records.play(*close, change_tracker_port=2)
    assert code and "no process listens on port" in said
