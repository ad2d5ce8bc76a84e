# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role change_tracker_hub, verb by verb, on a real nginx of this machine.  Its firewall is left alone."""

import json
import re
import shutil
import socket
import subprocess

import pytest

from ansible_collections.portshift.agents.tests.integration.nginx_hub import NGINX, Hub, until
from tests.integration.ports import free_ports
from tests.lab.managed_python import managed_python

ROLE = "portshift.agents.change_tracker_hub"


class Site(Hub):
    run_playbook = None

    def play(self, *verbs, check=False, fails=False, **variables):
        """Runs the verbs one after the other; returns (changed tasks, the role's facts at the end)."""
        shown = ["assessment", "evidence", "way_back"]
        facts = {name: "{{ change_tracker_hub_%s | default(none) }}" % name for name in shown}
        plays = [dict(
            hosts="hub", gather_facts=False,
            vars=dict(dict(
                change_tracker_port=self.new, change_tracker_hub_old_port=self.old, change_tracker_hub_conf_path=str(self.conf),
                change_tracker_hub_test_command=[*self.command, "-t"],
                change_tracker_hub_reload_command=[*self.command, "-s", "reload"],
                change_tracker_hub_record_path=str(self.record), host_port_lease=str(self.record) + ".lease",
                change_tracker_hub_firewall="none",
                change_tracker_hub_reserve_port=False, change_tracker_hub_evidence_timeout=10), **variables),
            tasks=[{"ansible.builtin.include_role": dict(name=ROLE, tasks_from=verb)} for verb in verbs] + [
                {"name": "Facts",
                 "ansible.builtin.copy": dict(content="{{ found | to_json }}", dest=str(self.folder / "facts.json")),
                 "vars": dict(found=facts), "check_mode": False, "changed_when": False}])]
        inventory = dict(all=dict(hosts=dict(hub=dict(ansible_connection="local", ansible_python_interpreter=managed_python()))))
        done = self.run_playbook(plays, inventory, *(["--check", "--diff"] if check else []))
        assert (done.returncode != 0) is fails, done.stdout
        self.said = " ".join(done.stdout.split())
        changed = int(re.search(r"changed=(\d+)", done.stdout).group(1))
        return changed, None if fails else json.loads((self.folder / "facts.json").read_text())


@pytest.fixture
def hub(tmp_path, run_playbook):
    if not NGINX:
        pytest.skip("nginx is not installed here (Debian: nginx-light)")
    (tmp_path / "hub").mkdir()
    found = Site(tmp_path / "hub")
    found.run_playbook = run_playbook
    yield found.start()
    found.stop()


@pytest.fixture(scope="module")
def opened_once(tmp_path_factory):
    if not NGINX:
        pytest.skip("nginx is not installed here (Debian: nginx-light)")
    found = Site(tmp_path_factory.mktemp("opened"))
    found.kept = {}
    yield found.start()
    found.stop()


@pytest.fixture
def opened(opened_once, run_playbook, tmp_path_factory):
    """A hub that `main` has opened; for each test it is put back to where that left it."""
    hub = opened_once
    hub.run_playbook = run_playbook
    if hub.kept:
        for folder, kept in hub.kept.items():
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)
        subprocess.run([*hub.command, "-s", "reload"], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60)
        until(lambda: hub.answers() == [True, True], "nginx does not go back to both ports")
    else:
        hub.original = hub.conf.read_bytes()
        assert hub.play("main")[0] == 1
        hub.kept = {folder: shutil.copytree(folder, tmp_path_factory.mktemp("kept") / folder.name)
                    for folder in (hub.conf.parent, hub.record.parent)}
    return hub


@pytest.mark.long
def test_the_hub_opens_closes_and_comes_back_byte_for_byte(hub):
    original = hub.conf.read_bytes()
    changed, facts = hub.play("main", check=True)
    assert (changed, facts["evidence"]["ok"], facts["evidence"]["predicted"]) == (1, True, True)
    assert facts["assessment"]["listens"]["after"] == ["127.0.0.1:%d ssl" % port for port in (hub.old, hub.new)]
    assert len(facts["assessment"]["edits"]) == 1 and facts["assessment"]["problems"] == []
    assert hub.conf.read_bytes() == original and hub.answers() == [True, False] and hub.state() is None

    changed, facts = hub.play("main")
    assert (changed, facts["evidence"]["ok"], facts["evidence"]["missing"]) == (1, True, {})
    assert len(facts["evidence"]["certificate"]["sha1"]) == 40
    assert hub.conf.read_text() == hub.opened() and hub.answers() == [True, True]
    changed, facts = hub.play("main")
    assert (changed, facts["assessment"]["edits"], facts["evidence"]["ok"]) == (0, [], True)

    assert hub.play("close", check=True)[0] == 1 and hub.answers() == [True, True]
    assert hub.play("close", change_tracker_hub_old_port=0)[0] == 1 and hub.answers() == [False, True]
    # The migration once more: who is where comes from the record, whatever the agents say.
    changed, facts = hub.play("main", "close", change_tracker_hub_old_port=0)
    assert (changed, facts["assessment"]["ok"], facts["assessment"]["edits"]) == (0, True, [])

    changed, facts = hub.play("way_back", "reopen")
    assert (changed, facts["way_back"]["ok"], hub.answers()) == (1, True, [True, True])
    assert hub.play("verify", change_tracker_hub_port=hub.old)[1]["evidence"]["ok"] is True
    assert hub.play("way_back", "undo_open")[0] == 1
    assert hub.conf.read_bytes() == original and hub.answers() == [True, False] and hub.state() == "rolled_back"
    assert hub.play("way_back", "reopen", "undo_open")[0] == 0 and hub.conf.read_bytes() == original


def test_a_hub_that_does_not_prove_itself_is_put_back(hub):
    original = hub.conf.read_bytes()
    # No process listens at this address of the machine.
    hub.play("main", fails=True, change_tracker_hub_address="127.0.0.2", change_tracker_hub_evidence_timeout=1)
    assert "hub: no proof that the hub answers on port %d" % hub.new in hub.said
    assert "connection refused: nothing listens there. It is as it was before, byte for byte." in hub.said
    assert hub.conf.read_bytes() == original and hub.answers() == [True, False] and hub.state() == "rolled_back"


def test_what_an_earlier_run_opened_stays_when_a_later_one_fails(opened):
    hub = opened
    hub.play("main", fails=True, change_tracker_hub_address="127.0.0.2", change_tracker_hub_evidence_timeout=1)
    assert "Port %d was open on it before this run, so it was left open: agents may be on it." % hub.new in hub.said
    assert hub.answers() == [True, True]


def test_what_stands_against_it_is_a_problem_of_the_assessment_and_a_failure_of_precheck(hub):
    original = hub.conf.read_bytes()
    with socket.create_server(("127.0.0.1", hub.new)):
        changed, facts = hub.play("assess", "open")
        assert (changed, facts["assessment"]["ok"]) == (0, False)
        assert "port %d is taken by" % hub.new in facts["assessment"]["problems"][0]
        hub.play("main", fails=True)
        assert "hub: nothing was changed. %s: port %d is taken by" % (hub.conf, hub.new) in hub.said
    assert hub.conf.read_bytes() == original


def test_a_hub_whose_port_no_agent_tells_is_a_problem(hub):
    facts = hub.play("assess", change_tracker_hub_old_port=0)[1]
    sentence = "no server in this file listens on port %d (they listen on %d)" % (hub.new, hub.old)
    assert sentence in facts["assessment"]["problems"][0]


def test_a_run_that_was_killed_before_the_reload_is_predicted_and_finished(hub):
    hub.conf.write_text(hub.opened())
    changed, facts = hub.play("main", check=True)
    assert (changed, facts["evidence"]["predicted"], facts["assessment"]["edits"]) == (
        1, True, ["have nginx read %s" % hub.conf])
    assert hub.play("main")[0] == 1 and hub.answers() == [True, True]


def test_where_its_administrator_makes_the_hub_answer_nothing_is_done(hub):
    original = hub.conf.read_bytes()
    changed, facts = hub.play("main", "close", "way_back", "reopen", "undo_open", "rollback", change_tracker_hub_server="none")
    assert (changed, facts["assessment"]["ok"], facts["evidence"]["ok"], facts["way_back"]["ok"]) == (0, True, True, True)
    assert facts["assessment"]["managed"] is False and facts["way_back"]["record"] is None
    assert hub.conf.read_bytes() == original and hub.answers() == [True, False] and hub.state() is None


def test_close_says_who_is_still_on_the_old_port_and_ends_it_on_request(opened):
    hub = opened
    with socket.create_connection(("127.0.0.1", hub.old)):
        hub.play("close", fails=True, change_tracker_hub_users_seconds=0.5)
        assert "port %d is still used by 127.0.0.1 (1 connection)" % hub.old in hub.said
        assert "-e change_tracker_close_despite_users=true" in hub.said and hub.answers() == [True, True]
        assert hub.play("close", change_tracker_close_despite_users="true")[0] == 1
    assert hub.answers() == [False, True]


def test_undo_says_who_is_still_on_the_new_port_and_ends_it_on_request(opened):
    hub, original = opened, opened.original
    with socket.create_connection(("127.0.0.1", hub.new)):
        hub.play("way_back", "undo_open", fails=True, change_tracker_hub_undo_users_seconds=0.5)
        assert "port %d is still used by 127.0.0.1 (1 connection)" % hub.new in hub.said
        assert "-e change_tracker_close_despite_users=true" in hub.said and hub.answers() == [True, True]
        # No agent has gone back in check mode.
        hub.play("way_back", "undo_open", check=True, change_tracker_hub_undo_users_seconds=0.5)
        hub.play("way_back", "undo_open", change_tracker_hub_undo_users_seconds=0.5, change_tracker_close_despite_users="true")
    assert hub.answers() == [True, False] and hub.conf.read_bytes() == original


def test_close_ends_no_port_silently_when_no_record_is_of_this_migration(hub):
    # An administrator opened the second port by hand.
    hub.conf.write_text(hub.opened())
    assert hub.play("main")[0] == 1 and hub.state() is None
    hub.play("close", fails=True, change_tracker_hub_old_port=0)
    assert "no port was ended. Neither the record of the hub nor those of the agents tell which port was left" in hub.said
    assert "-e change_tracker_hub_old_port=%d" % hub.old in hub.said and hub.answers() == [True, True]
    assert hub.play("close")[0] == 1 and hub.answers() == [False, True]
    # Nothing else is left now, whether a record tells what there was or not.
    hub.record.unlink()
    assert hub.play("close", change_tracker_hub_old_port=0)[0] == 0


def test_close_names_the_ports_that_stay(hub):
    (third,) = free_ports(1)
    hub.conf.write_text(hub.text().replace("    server_name", "    listen 127.0.0.1:%d ssl;\n    server_name" % third))
    hub.play("main", "close")
    assert "its servers go on listening on port %d too" % third in hub.said


def test_close_leaves_no_server_behind_that_never_got_the_new_port(opened):
    hub = opened
    (other,) = free_ports(1)
    later = hub.text().replace("hub.example.test", "later.example.test")
    later = later.replace("    server_name", "    listen 127.0.0.1:%d ssl;\n    server_name" % other)
    hub.conf.write_text(hub.conf.read_text() + later)
    hub.play("close", fails=True)
    assert "(later.example.test) listens on port %d" % hub.old in hub.said and hub.answers() == [True, True]


def test_a_hub_that_is_not_the_default_server_of_its_port_proves_itself_by_its_name(hub):
    hub.stop()
    hub.other_file("0-default.conf", "server { listen 127.0.0.1:%d ssl default_server; ssl_certificate %s; "
                                     "ssl_certificate_key %s; return 444; }\n" % (hub.old, hub.cert, hub.key))
    hub.start()
    assert hub.play("main")[1]["evidence"]["ok"] is True
    assert hub.play("verify", change_tracker_hub_port=hub.old)[1]["evidence"]["ok"] is True
