# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change Tracker on Windows hosts, by the roles that Linux hosts have, over WinRM as Ansible speaks it."""

import json
import os

import pytest

from tests.integration import forked
from tests.integration.change_tracker_estate import documented
from tests.unit.windows_change_tracker import NEW, OLD, PATH, RECORD, SERVICE, Hub, details, state_of
from tests.windows.change_tracker import install_agent
from tests.windows.estate import Estate
from tests.windows.services import Service


class Deployment:
    """A hub that answers on both ports, with an agent of its own, a proxy, and agents."""

    def __init__(self, folder, *agents):
        self.folder, self.estate = folder, Estate()
        hub = self.estate.add("hub", "192.0.2.1")
        self.hub = Hub(OLD, NEW)
        hub.services.add(Service("hub", product=self.hub), running=True)
        for name in ("proxy", *agents):
            self.estate.add(name)
        for host in self.estate.hosts.values():
            host.agent = install_agent(host, details())
        self.pass_time(30)
        hosts = {name: self.estate.variables(name) for name in self.estate.hosts}
        (folder / "inventory.yml").write_text(json.dumps(dict(all=dict(
            vars=dict(change_tracker_port=NEW, change_tracker_agent_probe_timeout=0),
            children=dict(change_tracker_hub=dict(hosts=dict(hub=hosts.pop("hub"))),
                          change_tracker_proxies=dict(hosts=dict(proxy=hosts.pop("proxy"))),
                          change_tracker_agents=dict(hosts=hosts))))))

    def pass_time(self, seconds):
        for _second in range(int(seconds)):
            self.estate.pass_time(1)

    def verbs(self, *verbs, options=(), hosts="all", before=lambda: None, **known):
        """-> (code, what Ansible said).  `before`: done when nothing that was asked counts any more.  `known`: variables, such as
        what a look has told."""
        tasks = [dict(name="Do " + verb, include_role=dict(name="portshift.agents.change_tracker_agent", tasks_from=verb))
                 for verb in verbs]
        (self.folder / "play.json").write_text(json.dumps([dict(hosts=hosts, gather_facts=False, vars=known, tasks=tasks)]))
        self.estate.forget()
        before()
        done = forked.run("ansible", ["playbook", "-i", "inventory.yml", "play.json", *options], timeout=900, cwd=self.folder,
                          env=dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_CALLBACK_RESULT_FORMAT="yaml"))
        return done.returncode, done.stdout + done.stderr

    def requests(self, name):
        """Of each task of a host; a Receive after the first of a command is not counted."""
        return [task.requests - task.counts["again"] for task in self.estate.hosts[name].endpoint.tasks]

    def states(self):
        return {name: state_of(host) for name, host in self.estate.hosts.items()}

    def records(self):
        found = {name: host.files.get(RECORD) for name, host in self.estate.hosts.items()}
        return {name: node and json.loads(node.content)["state"] for name, node in found.items()}


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path, "win1")
    yield made
    made.estate.close()


def test_agents_go_there_and_back_that_of_the_hub_and_of_a_proxy_too(deployment):
    before = deployment.states()
    code, said = deployment.verbs("assess", "precheck", "apply", options=["--check", "--diff"])
    assert code == 0 and deployment.states() == before, said
    assert "https://hub:%d/api/" % NEW in said and "geheim" not in said, said

    code, said = deployment.verbs("main")
    assert code == 0 and said.count("changed=1") == 3, said
    costs = {name: deployment.requests(name) for name in deployment.estate.hosts}
    assert set(deployment.records().values()) == {"verified"} and set(deployment.hub.arrivals[-3:]) == {NEW}

    deployment.pass_time(60)
    code, said = deployment.verbs("main")
    assert code == 0 and said.count("changed=0") == 3, said
    assert {name: deployment.requests(name) for name in costs} == dict.fromkeys(costs, [7])
    code, said = deployment.verbs("verify")
    assert code == 0, said
    costs = {name: [*found, *deployment.requests(name)] for name, found in costs.items()}
    assert documented() == {kind: dict(zip(("look", "path", "move", "verify"), costs[name], strict=True)) for kind, name in (
        ("agent", "win1"), ("proxy", "proxy"), ("agent of the hub", "hub"))}

    code, said = deployment.verbs("settle", "way_back", "rollback", "close")
    assert code == 0 and deployment.states() == before, said
    assert set(deployment.records().values()) == {"rolled_back"}


# --- a connection that is lost while an agent moves

# What a look has told of each of them.
LOOKED_AT = dict(agent=True, path=PATH, service=SERVICE, port=OLD, old_port=OLD, stop=["sc.exe", "stop", SERVICE],
                 start=["sc.exe", "start", SERVICE])
CUTS = [(number, kind) for kind in ("drop", "lost") for number in range(1, 13)]


def test_an_agent_that_is_cut_off_at_any_request_is_moved_or_as_it_was(tmp_path):
    """One agent for each request of a move: the first run is cut there, and a second one goes on from what is there."""
    names = {"%s%02d" % (kind, number): (number, kind) for number, kind in CUTS}
    deployment = Deployment(tmp_path, *names)
    try:
        before, hosts = deployment.states(), deployment.estate.hosts
        deployment.verbs("apply", hosts="change_tracker_agents", options=["--forks", "12"], change_tracker_assessment=LOOKED_AT,
                         before=lambda: [hosts[name].endpoint.at(number, kind) for name, (number, kind) in names.items()])
        ended = {}
        for name in names:
            host = hosts[name]
            moved = deployment.records()[name] == "verified"
            assert moved == (b"hub:%d/" % NEW in host.files.read(PATH)), name
            assert moved or state_of(host) == before[name], name
            assert host.services.get(SERVICE).state == "running" and not host.agent.sleeps, name
            assert not [one for one in host.script.changes.values() if one.state in ("applying", "undoing")], name
            ended[name] = moved
        assert any(ended.values()) and not all(ended.values())
        code, said = deployment.verbs("apply", hosts="change_tracker_agents", options=["--forks", "12"],
                                      change_tracker_assessment=LOOKED_AT)
        assert code == 0, said
        assert {state for name, state in deployment.records().items() if name in names} == {"verified"}
    finally:
        deployment.estate.close()
