# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BigFix on Windows hosts, by the roles that Linux hosts have, over WinRM as Ansible speaks it."""

import json
import re
import textwrap

import pytest
import yaml

from tests.integration.windows_costs import requests, tell
from tests.integration.windows_cuts import AMID, HURRIED, REQUESTS, Cuts
from tests.integration.windows_lab import WindowsLab
from tests.lab.authority import Authority
from tests.lab.change_tracker.windows import new_rule
from tests.windows import bigfix
from tests.unit.windows_bigfix import NEW, OLD, RECORD, state_of
from tests.unit.windows_moves import UNDONE, not_undone

# Of the change by which a client moves.
STEPS = 12
FIREWALL = "community.windows.win_firewall_rule"
ROOT = "192.0.2.1"


def masthead(port):
    return Authority("").issue("plain", ROOT, port, "123456789")


def is_at(host, port):
    """Whether a client's files and its registry have that port, wherever one stands."""
    found = {host.files.read("D:%s\\BES Client\\actionsite.afxm" % bigfix.ENTERPRISE) == masthead(port),
             bigfix.setting(host, "__RelayServer1") == bigfix.parent_url("root", port),
             bigfix.setting(host, "_BESClient_RelaySelect_Port") == (str(port) if port == NEW else None)}
    assert len(found) == 1, "%s is half way" % host.name
    return found.pop()


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
    client = deployment.hosts["win1"]
    before = state_of(client)
    options = ["-e", "bigfix_bridge=false"]
    code, said = deployment.verbs("assess", "path", options=options)
    assert code == 0 and "rescued=1" in said, said
    code, said = deployment.verbs("assess", "precheck", options=options)
    assert code == 2 and "nothing was changed. It does not get through to its parent root" in " ".join(said.split()), said
    assert state_of(client) == before and client.files.get(RECORD) is None
    deployment.open_root()
    code, said = deployment.verbs("assess", "path", "precheck", "apply", options=options)
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

    def tasks(self, name, kind="product"):
        """[requests] of each task of a host, of those of a kind: what moves the product, the firewall's, and the lock's."""
        return requests(task for task in self.hosts[name].endpoint.tasks if self._kind(task) == kind)

    @staticmethod
    def _kind(task):
        if FIREWALL in task.ran:
            return "firewall"
        return "lock" if any("bigfix.lock" in call.arguments["parameters"]["Request"] for call in task.calls) else "product"

    def costs(self, name):
        """{phase: requests} of a migration"""
        phases = dict(win1=("look", "path", "move"), relay1=("look", "bridge", "path", "move"), root=("look", "bridge", "move"))
        return dict(zip(phases[name], self.tasks(name), strict=True))

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
        [lock], [one], [two] = (set(whole.tasks(name, kind)) for name, kind in (
            ("root", "lock"), ("win1", "firewall"), ("relay1", "firewall")))
        assert [two] == whole.tasks("root", "firewall")
        moved = whole.states()
        code, said = whole.migration("migrate")
        assert code == 0 and "changed=0" in said and moved == whole.states(), said
        for name in whole.hosts:
            assert whole.tasks(name) == [7] and whole.tasks(name, "firewall") == []
        code, said = whole.migration("verify")
        assert code == 0, said
        for name, counted in costs.items():
            counted["verify"] = sum(whole.tasks(name))
        assert {one["port"] for one in whole.server.figures.agents(whole.hosts).values()} == {NEW}
        code, said = whole.migration("close")
        assert code == 0 and whole.root.portproxies == {} == whole.relay.portproxies, said
        closes = {name: sum(whole.tasks(name)) for name in costs}
        code, said = whole.migration("rollback")
        assert code == 0, said
        assert whole.states() == before and whole.root.portproxies == {} == whole.relay.portproxies
        assert [rule["Name"] for rule in whole.root.firewall.rules()] == ["HCL BigFix"]
        for name, counted in costs.items():
            counted.update(close=closes[name], rollback=sum(whole.tasks(name)))
        of = "" if kind == "plain" else ", signed masthead"
        tell("host", {"client": costs["win1"], "relay" + of: costs["relay1"], "server" + of: costs["root"]})
        tell("beside these", {"lock: taken, renewed or given back": dict(requests=lock),
                              "firewall: one rule": dict(requests=one), "firewall: two rules": dict(requests=two)})
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


# --- a move that is cut in the middle

CUTS = Cuts(drop=REQUESTS, lost=REQUESTS, gone=REQUESTS, refused=AMID, error=AMID, fault=AMID, broken=AMID, boot=range(STEPS))


def test_a_client_that_is_cut_off_at_any_request_is_moved_or_as_it_was(tmp_path):
    """The first run is cut there, the host ends by itself what was begun, and a second run goes on from what is there."""
    deployment = Deployment(tmp_path, *CUTS.hosts)
    try:
        hosts, forks = deployment.hosts, ["--forks", "12"]
        before = {name: state_of(hosts[name]) for name in CUTS.hosts}
        deployment.open_root()
        deployment.verbs("apply", before=lambda: CUTS.lay(deployment.estate), options=forks, environment=HURRIED)
        CUTS.let_time_pass(deployment.estate, 200)
        ended = {}
        for name in CUTS.hosts:
            ended[name] = deployment.records()[name] == "verified"
            assert ended[name] == is_at(hosts[name], NEW), name
            assert ended[name] or state_of(hosts[name]) == before[name], name
            assert hosts[name].services.get("BESClient").state == "running", name
            assert deployment.server.figures.agents([name])[name]["port"] == (NEW if ended[name] else OLD), name
        for way in {way for way, _number in CUTS.hosts.values()} - {"boot", "refused", "error", "fault", "broken"}:
            assert {moved for name, moved in ended.items() if CUTS.hosts[name][0] == way} == {True, False}, way
        code, said = deployment.verbs("apply", options=forks)
        assert code == 0, said
        for name in CUTS.hosts:
            assert deployment.records()[name] == "verified" and is_at(hosts[name], NEW), name
    finally:
        deployment.close()


@pytest.mark.parametrize("transports", [["basic"], ["basic", "ssl"]])
def test_a_wrong_password_is_tried_once_for_each_task_by_each_transport(deployment, transports):
    client = deployment.hosts["win1"]
    given = dict(ansible_password="wrong", ansible_winrm_transport=transports)
    _code, said = deployment.verbs("assess", "apply", options=["-e", json.dumps(given)])
    assert "unreachable=1" in said and client.endpoint.refused == len(transports), said


def failures(said):
    """{host: the sentence with which a task of it failed}"""
    found = re.findall(r"^fatal: \[(\w+)\]: FAILED! => *\n((?:    .*\n|\n)+)", said, re.M)
    return {name: yaml.safe_load(textwrap.dedent(body))["msg"] for name, body in found}


HANGS = "the service BESClient is in state stop_pending after 120 s"
SENTENCES = dict(
    hangs=not_undone("step 3 (stop)", HANGS),
    changed="step 6 (registry) failed: the value value of " + bigfix.SETTINGS + "\\__RelayServer1 is another than the one that "
            "was read: read the host again, and see who changed it" + UNDONE,
    full="step 5 (write) failed: There is not enough space on the disk" + UNDONE,
    limited="the host could not be read: the account that Ansible uses is no administrator of this host, or its login is a "
            "restricted one (user1): log in with one that is (Access denied)")


def test_what_does_not_come_about_is_told_by_the_role_with_what_became_of_the_host(tmp_path):
    deployment = Deployment(tmp_path, *SENTENCES)
    try:
        hosts, other = deployment.hosts, bigfix.parent_url("other", OLD)
        deployment.open_root()
        hosts["hangs"].services.get("BESClient").hangs = "stop"
        hosts["changed"].script.before[0] = lambda step: hosts["changed"].registry.set(
            bigfix.SETTINGS + "\\__RelayServer1", "value", other)
        hosts["full"].files.free["d:"] = 0
        hosts["limited"].administrator = False
        before = {name: state_of(host) for name, host in hosts.items()}
        code, said = deployment.verbs("apply")
        assert code == 2 and failures(said) == {name: "%s: %s." % (name, words) for name, words in SENTENCES.items()}, said
        # What another has written stays, and nothing else differs.
        assert bigfix.setting(hosts["changed"], "__RelayServer1") == other
        hosts["changed"].registry.set(bigfix.SETTINGS + "\\__RelayServer1", "value", bigfix.parent_url("root", OLD))
        assert {name: state_of(host) for name, host in hosts.items()} == before
        assert {name: hosts[name].services.get("BESClient").state for name in SENTENCES} == dict(
            hangs="stop_pending", changed="running", full="running", limited="running")
        hosts["hangs"].boot()
        deployment.pass_time(200)
        assert {name: state_of(host) for name, host in hosts.items()} == before
        for name in SENTENCES:
            assert hosts[name].services.get("BESClient").state == "running" and hosts[name].files.get(RECORD) is None
            assert not [one for one in hosts[name].script.changes.values() if one.state != "undone"]
    finally:
        deployment.close()
