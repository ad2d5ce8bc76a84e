# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BigFix on Windows hosts, by the roles that Linux hosts have, over WinRM as Ansible speaks it."""

import re

import pytest

from tests.integration.windows_lab import WindowsLab, documented
from tests.lab.authority import Authority
from tests.lab.change_tracker.windows import new_rule
from tests.windows import bigfix
from tests.unit.windows_bigfix import NEW, OLD, RECORD, state_of

ROOT = "192.0.2.1"


def masthead(port):
    return Authority("").issue("plain", ROOT, port, "123456789")


class BigFix(WindowsLab):
    RECORD, ROLE = RECORD, "bigfix_client"

    def addressed(self):
        """{host: its variables}"""
        return {name: dict(self.estate.variables(name), bigfix_address=name) for name in self.hosts}

    def states(self):
        return {name: state_of(host) for name, host in self.hosts.items()}


class Deployment(BigFix):
    """A root server, which is moved here by hand, and clients."""

    OF = "bigfix_clients"

    def __init__(self, folder, *clients, **more):
        super().__init__(folder)
        self.root = self.estate.add("root", ROOT)
        self.server, _agent = bigfix.install_server(self.root, masthead(OLD), ["root", *clients])
        for name in clients:
            host = self.estate.add(name)
            bigfix.install_client(host, masthead(OLD), ("root", OLD), drive="D:", **more)
        self.pass_time(30)
        hosts = self.addressed()
        self.write(dict(bigfix_port=NEW, bigfix_firewall="none", bigfix_probe_timeout=0, bigfix_evidence_timeout=60),
                   bigfix_server=dict(root=hosts.pop("root")), bigfix_clients=hosts)

    def open_root(self):
        """The root server serves its clients on the new port, too."""
        self.root.files.put("C:" + bigfix.ENTERPRISE + "\\BES Server\\Masthead.afxm", masthead(NEW))
        self.root.services.crash("BESRootServer", 0)
        bigfix._run(self.root, "BESRootServer")
        self.root.set_portproxy(OLD, NEW)


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path, "win1")
    yield made
    made.close()


def test_a_client_goes_there_and_back(deployment):
    client = deployment.hosts["win1"]
    before = state_of(client)
    deployment.open_root()
    code, said = deployment.verbs("assess", "precheck", "path", "apply", options=["--check", "--diff"])
    assert code == 0 and state_of(client) == before and deployment.records()["win1"] is None, said
    assert ":%d/bfmirror" % NEW in said and "_BESClient_RelaySelect_Port" in said, said

    code, said = deployment.verbs("assess", "path", "apply")
    assert code == 0 and "changed=1" in said, said
    assert deployment.requests("win1") == [7, 7, 12]
    assert deployment.records()["win1"] == "verified"

    deployment.pass_time(60)
    code, said = deployment.verbs("main")
    assert code == 0 and "changed=0" in said and deployment.requests("win1") == [7], said

    code, said = deployment.verbs("way_back", "rollback")
    assert state_of(client) == before, said
    assert deployment.records()["win1"] == "rolled_back"


def test_settings_and_mastheads_of_a_client_are_changed_by_hand(deployment):
    """The modules that know one file each: a look where there is nothing to do, and one change where there is."""
    client = deployment.hosts["win1"]
    (deployment.folder / "new.afxm").write_bytes(masthead(NEW))
    path = "{client}\\actionsite.afxm"
    tasks = [
        {"portshift.agents.bigfix_masthead_info": dict(path=path)},
        {"portshift.agents.bigfix_settings": dict(path=bigfix.SETTINGS, rewrite_port={"from": OLD, "to": NEW}, backup=True)},
        {"portshift.agents.bigfix_masthead": dict(path=path, port=NEW, src="new.afxm")}]

    def play(*options):
        code, said = deployment.play("win1", tasks, *options)
        assert code == 0, said
        return said, deployment.requests("win1")

    before = state_of(client)
    said, requests = play("--check", "--diff")
    assert "changed=2" in said and ":%d/bfmirror" % NEW in said and requests == [7, 7, 7] and state_of(client) == before, said
    said, requests = play()
    assert "changed=2" in said and requests == [7, 12, 12], (said, requests)
    assert bigfix.setting(client, "__RelayServer1") == bigfix.parent_url("root", NEW)
    assert client.files.get("D:" + bigfix.ENTERPRISE + "\\BES Client\\actionsite.afxm").content == masthead(NEW)
    said, requests = play()
    assert "changed=0" in said and requests == [7, 7, 7], said


def test_a_parent_without_a_bridge_has_to_have_moved_before_its_client_does(deployment):
    """That the path can't be proved before is a note; the step itself proves it, or does nothing."""
    client = deployment.estate.hosts["win1"]
    before = state_of(client)
    deployment.write(bigfix_bridge=False)
    code, said = deployment.verbs("assess", "path")
    assert code == 0 and "rescued=1" in said, said
    code, said = deployment.verbs("assess", "precheck")
    assert code == 2 and "nothing was changed. It does not get through to its parent root" in " ".join(said.split()), said
    assert state_of(client) == before and client.files.get(RECORD) is None
    deployment.open_root()
    code, said = deployment.verbs("assess", "path", "precheck", "apply")
    assert code == 0 and "rescued=0" in said, said
    assert deployment.records()["win1"] == "verified"


def test_a_client_moves_by_the_oldest_ansible_core(deployment, oldest):
    deployment.open_root()
    code, said = deployment.verbs("assess", "path", "apply", program=oldest)
    assert code == 0 and "changed=1" in said, said
    assert deployment.records()["win1"] == "verified"
    assert max(deployment.requests("win1")) <= 12


# --- whole deployments, by the playbooks

class Whole(BigFix):
    """Root server, relay and client, all on Windows."""

    def __init__(self, folder, kind="plain"):
        super().__init__(folder)
        self.options = []
        self.root, self.relay, self.client = (self.estate.add(name) for name in ("root", "relay1", "win1"))
        computers = ["root", "relay1", "win1"]
        authority = Authority(str(folder))
        authority.create()
        issued = authority.issue(kind, self.root.addresses[0], OLD, "123456789")
        if kind == "signed":
            (folder / "new.afxm").write_bytes(authority.issue(kind, self.root.addresses[0], NEW, "123456789"))
            self.options = ["-e", "bigfix_masthead_src=new.afxm"]
        self.server, _agent = bigfix.install_server(self.root, issued, computers)
        bigfix.install_relay(self.relay, issued, ("root", OLD), drive="D:")
        bigfix.install_client(self.client, issued, ("relay1", OLD), drive="D:")
        for host in self.estate.hosts.values():
            host.firewall.set_rules([new_rule("HCL BigFix", Protocol=6, LocalPorts=str(OLD))])
        self.pass_time(30)
        hosts = self.addressed()
        hosts["win1"]["bigfix_parent"] = "relay1"
        self.write(dict(bigfix_probe_timeout=0, bigfix_evidence_timeout=60), bigfix_server=dict(root=hosts["root"]),
                   bigfix_pilot={}, bigfix_relays=dict(relay1=hosts["relay1"]), bigfix_clients=dict(win1=hosts["win1"]))

    def requests(self, name):
        """Of each task of a host, but for the firewall's."""
        return [task.cost for task in self.hosts[name].endpoint.tasks if set(task.ran) == {"ansible.windows.win_powershell"}]

    def costs(self, name):
        """{phase: [requests]} of a migration."""
        found = self.requests(name)
        if name == "root":
            # The lock of the run: taken, and renewed before each step.
            return dict(look=found[1:2], bridge=found[3:4], move=found[5:6])
        return dict(zip(("look", "path", "move") if name == "win1" else ("look", "bridge", "path", "move"),
                        [[cost] for cost in found], strict=True))

    def migration(self, verb, *options):
        found = self.run("portshift.agents.%s_bigfix_port" % verb, "-e", "bigfix_port=%d" % NEW, *self.options, *options)
        self.pass_time(30)
        return found


@pytest.mark.parametrize("kind", ["plain", "signed"])
def test_a_deployment_on_windows_lives_its_whole_life(tmp_path, kind):
    whole = Whole(tmp_path, kind)
    try:
        before = whole.states()
        code, said = whole.migration("plan")
        assert code == 0 and whole.states() == before, said
        code, said = whole.migration("migrate", "--check", "--diff")
        assert code == 0 and whole.states() == before, said
        code, said = whole.migration("migrate")
        assert code == 0, said
        costs = {name: whole.costs(name) for name in whole.hosts}
        moved = whole.states()
        code, said = whole.migration("migrate")
        assert code == 0 and "changed=0" in said and moved == whole.states(), said
        for name in whole.hosts:
            assert whole.requests(name)[-1:] == [7] or name == "root"
        code, said = whole.migration("verify")
        assert code == 0, said
        for name in costs:
            costs[name]["verify"] = whole.requests(name)
        told = documented("host")
        of = "" if kind == "plain" else ", signed masthead"
        for row, name in (("client", "win1"), ("relay" + of, "relay1"), ("server" + of, "root")):
            assert told[row] == {phase: cost[0] for phase, cost in costs[name].items()}, row
        assert {one["port"] for one in whole.server.figures.agents(whole.hosts).values()} == {NEW}
        code, said = whole.migration("close")
        assert code == 0 and whole.root.portproxies == {} == whole.relay.portproxies, said
        code, said = whole.migration("rollback")
        assert code == 0, said
        assert whole.states() == before and whole.root.portproxies == {} == whole.relay.portproxies
        assert [rule["Name"] for rule in whole.root.firewall.rules()] == ["HCL BigFix"]
    finally:
        whole.close()


def test_a_deployment_without_bridges_moves_and_goes_back(tmp_path):
    """As where IP Helper may not run: nothing answers on a new port before its host has moved, and each path is proved then."""
    whole = Whole(tmp_path)
    try:
        for host in (whole.root, whole.relay):
            host.services.stop("iphlpsvc")
        whole.pass_time(5)
        before = whole.states()
        code, said = whole.migration("migrate")
        assert code != 0 and "IP Helper (iphlpsvc) is stopped" in said and whole.states() == before, said
        code, said = whole.migration("migrate", "-e", "bigfix_bridge=false")
        words = " ".join(said.split())
        assert code == 0 and whole.root.portproxies == {} == whole.relay.portproxies, said
        note = "%s: the path to its parent %s could not be proved: a Windows host without a bridge"
        for pair in (("relay1", "root"), ("win1", "relay1")):
            assert note % pair in words, said
        assert set(whole.records().values()) == {"verified"}
        code, said = whole.migration("migrate", "-e", "bigfix_bridge=false")
        assert code == 0 and "changed=0" in said and "could not be proved" not in said, said
        code, said = whole.migration("rollback", "-e", "bigfix_bridge=false")
        assert code == 0 and whole.states() == before, said
    finally:
        whole.close()


# --- a connection that is lost while a client moves

CUTS = [(number, kind) for kind in ("drop", "lost") for number in range(1, 13)]


def test_a_client_that_is_cut_off_at_any_request_is_moved_or_as_it_was(tmp_path):
    """One client for each request of a move: the first run is cut there, and a second one goes on from what is there."""
    names = {"%s%02d" % (kind, number): (number, kind) for number, kind in CUTS}
    deployment = Deployment(tmp_path, *names)
    try:
        before = {name: state_of(deployment.hosts[name]) for name in names}
        deployment.open_root()
        deployment.verbs("apply", before=lambda: [
            deployment.hosts[name].endpoint.at(number, kind) for name, (number, kind) in names.items()],
            options=["--forks", "12"])
        ended = {}
        for name in names:
            host = deployment.hosts[name]
            moved = deployment.records()[name] == "verified"
            assert moved or state_of(host) == before[name], name
            assert host.services.get("BESClient").state == "running", name
            assert not [one for one in host.script.changes.values() if one.state in ("applying", "undoing")], name
            ended[name] = moved
        assert any(ended.values()) and not all(ended.values())
        code, said = deployment.verbs("apply", options=["--forks", "12"])
        assert code == 0, said
        assert {state for name, state in deployment.records().items() if name in names} == {"verified"}
    finally:
        deployment.close()


def test_a_wrong_password_is_tried_once_for_each_task(deployment):
    client = deployment.hosts["win1"]
    _code, said = deployment.verbs("assess", "apply", options=["-e", "ansible_password=wrong"])
    assert "unreachable=1" in said and client.endpoint.refused == 1, said


def test_what_does_not_come_about_is_told_by_the_role_with_what_became_of_the_host(tmp_path):
    deployment = Deployment(tmp_path, "hangs", "changed", "full", "limited")
    try:
        hosts = deployment.hosts
        deployment.open_root()
        hosts["hangs"].services.get("BESClient").hangs = "stop"
        hosts["changed"].script.before[0] = lambda step: bigfix.set_setting(
            hosts["changed"], "__RelayServer1", bigfix.parent_url("other", OLD))
        hosts["full"].files.free["d:"] = 0
        hosts["limited"].administrator = False
        before = {name: state_of(host) for name, host in hosts.items()}
        code, said = deployment.verbs("apply")
        words = " ".join(said.split())
        assert code == 2 and words.count("FAILED! =>") >= 4, said
        sentences = dict(hangs="BESClient", changed="__RelayServer1", full="its services run on the old port",
                         limited="the account that Ansible uses is no administrator of this host")
        for name, sentence in sentences.items():
            assert state_of(hosts[name]) == before[name] or name == "changed", said
            assert re.search("fatal: .%s.: FAILED! => .*?msg: .?%s: .*?%s" % (name, name, re.escape(sentence)), words), said
            assert hosts[name].files.get(RECORD) is None
    finally:
        deployment.close()
