# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change Tracker on Windows hosts, by the roles that Linux hosts have, over WinRM as Ansible speaks it."""

import pytest

from tests.integration.windows_costs import tell
from tests.integration.windows_cuts import HURRIED, REQUESTS, Cuts
from tests.integration.windows_lab import WindowsLab
from tests.unit.windows_change_tracker import NEW, OLD, PATH, RECORD, SERVICE, Hub, details, state_of
from tests.windows.change_tracker import install_agent
from tests.windows.services import Service

# Of the change by which an agent moves.
STEPS = 9


class Deployment(WindowsLab):
    """A hub that answers on both ports, with an agent of its own, a proxy, and agents."""

    RECORD, ROLE = RECORD, "change_tracker_agent"

    def __init__(self, folder, *agents):
        super().__init__(folder)
        hub = self.estate.add("hub", "192.0.2.1")
        self.hub = Hub(OLD, NEW)
        hub.services.add(Service("hub", product=self.hub), running=True)
        for name in ("proxy", *agents):
            self.estate.add(name)
        for host in self.hosts.values():
            host.agent = install_agent(host, details())
        self.pass_time(30)
        hosts = {name: self.estate.variables(name) for name in self.hosts}
        self.write(dict(change_tracker_port=NEW, change_tracker_agent_probe_timeout=0),
                   change_tracker_hub=dict(hub=hosts.pop("hub")), change_tracker_proxies=dict(proxy=hosts.pop("proxy")),
                   change_tracker_agents=hosts)

    def states(self):
        return {name: state_of(host) for name, host in self.hosts.items()}


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path, "win1")
    yield made
    made.close()


def test_agents_go_there_and_back_that_of_the_hub_and_of_a_proxy_too(deployment):
    before = deployment.states()
    code, said = deployment.verbs("assess", "precheck", "apply", options=["--check", "--diff"])
    assert code == 0 and deployment.states() == before, said
    assert "https://hub:%d/api/" % NEW in said and "geheim" not in said, said

    code, said = deployment.verbs("main")
    assert code == 0 and said.count("changed=1") == 3, said
    costs = {name: deployment.requests(name) for name in deployment.hosts}
    assert set(deployment.records().values()) == {"verified"} and set(deployment.hub.arrivals[-3:]) == {NEW}

    deployment.pass_time(60)
    code, said = deployment.verbs("main")
    assert code == 0 and said.count("changed=0") == 3, said
    assert {name: deployment.requests(name) for name in costs} == dict.fromkeys(costs, [7])
    code, said = deployment.verbs("verify")
    assert code == 0, said
    costs = {name: [*found, *deployment.requests(name)] for name, found in costs.items()}

    code, said = deployment.verbs("settle", "way_back", "rollback")
    assert code == 0 and deployment.states() == before, said
    assert set(deployment.records().values()) == {"rolled_back"}
    costs = {name: [*found, sum(deployment.requests(name))] for name, found in costs.items()}
    tell("host of Change Tracker", {
        kind: dict(zip(("look", "path", "move", "verify", "rollback"), costs[name], strict=True)) for kind, name in (
            ("agent", "win1"), ("proxy", "proxy"), ("agent of the hub", "hub"))})
    code, said = deployment.verbs("close")
    assert code == 0 and deployment.states() == before, said


# --- a move that is cut in the middle

# What a look has told of each of them.
LOOKED_AT = dict(change_tracker_assessment=dict(
    agent=True, path=PATH, service=SERVICE, port=OLD, old_port=OLD, stop=["sc.exe", "stop", SERVICE],
    start=["sc.exe", "start", SERVICE]))
# What an answer may be like is told by the sweep of BigFix, whose connection this one shares.
CUTS = Cuts(drop=REQUESTS, lost=REQUESTS, gone=REQUESTS, boot=range(STEPS))


def test_an_agent_that_is_cut_off_at_any_request_is_moved_or_as_it_was(tmp_path):
    """The first run is cut there, the host ends by itself what was begun, and a second run goes on from what is there."""
    deployment = Deployment(tmp_path, *CUTS.hosts)
    try:
        before, hosts = deployment.states(), deployment.hosts
        given = dict(hosts="change_tracker_agents", options=["--forks", "12"], known=LOOKED_AT)
        deployment.verbs("apply", before=lambda: CUTS.lay(deployment.estate), environment=HURRIED, **given)
        CUTS.let_time_pass(deployment.estate, 200)
        ended = {}
        for name in CUTS.hosts:
            host = hosts[name]
            moved = ended[name] = deployment.records()[name] == "verified"
            assert moved == (b"hub:%d/" % NEW in host.files.read(PATH)), name
            assert moved or state_of(host) == before[name], name
            assert host.services.get(SERVICE).state == "running" and not host.agent.sleeps, name
            assert host.agent.settings.url.port == (NEW if moved else OLD) and host.agent.failures == 0, name
        for way in ("drop", "lost", "gone"):
            assert {moved for name, moved in ended.items() if CUTS.hosts[name][0] == way} == {True, False}, way
        code, said = deployment.verbs("apply", **given)
        assert code == 0, said
        assert {state for name, state in deployment.records().items() if name in CUTS.hosts} == {"verified"}
    finally:
        deployment.close()
