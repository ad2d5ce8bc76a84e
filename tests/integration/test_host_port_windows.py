# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_port and its role on a Windows host: the real action and real runs over WinRM, before a model of Windows Firewall."""

import json
import os
import re

import pytest
import yaml

from tests.conftest import CHECKOUT, COLLECTIONS
from tests.integration import forked
from tests.lab.change_tracker.windows import new_rule
from tests.lab.managed_python import managed_python
from tests.windows.estate import Estate
from tests.windows.failed import Failed
from tests.windows.firewall_rules import win_firewall_rule

NEW, OLD = 8443, 443
NEW_RULE, OLD_RULE = "portshift web 8443/tcp", "portshift web 443/tcp"
MODULE, SCRIPT = "community.windows.win_firewall_rule", "ansible.windows.win_powershell"


class Host:
    """A Windows host, and runs of Ansible for it."""

    def __init__(self, folder, estate):
        self.folder, self.estate = folder, estate
        self.model = estate.add("hub")
        self.model.firewall.set_rules([new_rule("World Wide Web Services", Grouping="@iis", Protocol=6, LocalPorts=str(OLD))])
        self.variables, self.collections = estate.variables("hub"), [COLLECTIONS]

    def run(self, tasks, *options, **given):
        """Runs tasks with these variables; what Ansible says is in `said`."""
        inventory = dict(all=dict(hosts=dict(hub=dict(self.variables, **given))))
        (self.folder / "inventory.yml").write_text(json.dumps(inventory))
        (self.folder / "play.json").write_text(json.dumps([dict(hosts="hub", gather_facts=False, tasks=tasks)]))
        done = forked.run(
            "ansible", ["playbook", "-i", "inventory.yml", "play.json", *options], timeout=120, cwd=self.folder, merged=True,
            env=dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_PIPELINING="true", ANSIBLE_CALLBACK_RESULT_FORMAT="json",
                     ANSIBLE_STDOUT_CALLBACK="ansible.builtin.default",
                     ANSIBLE_COLLECTIONS_PATH=os.pathsep.join(map(str, self.collections))))
        self.said = done.stdout
        # A Windows host runs no module but that of the collection, and what reads the range of its ports.
        assert set(self.model.endpoint.ran) <= {MODULE, SCRIPT}
        return done.returncode

    def tasks(self, *asked, diff=False):
        """Tasks of host_port in one run -> what each of them returned."""
        kept = self.folder / "results.json"
        tasks = []
        for number, args in enumerate(asked):
            args = dict(dict(name="web"), **args)
            module = "portshift.agents." + args.pop("module", "host_port")
            tasks.append({"name": "Ask", module: args, "check_mode": args.pop("check", False), "diff": diff,
                          "register": "found%d" % number, "ignore_errors": True})
        tasks.append({"name": "Keep it", "ansible.builtin.copy": dict(dest=str(kept), content="{{ [%s] | to_json }}" % ", ".join(
            "found%d" % number for number in range(len(asked)))), "delegate_to": "localhost",
            "vars": dict(ansible_connection="local", ansible_python_interpreter=managed_python())})
        self.run(tasks)
        assert kept.exists(), self.said
        results = json.loads(kept.read_text())
        kept.unlink()
        return results

    def task(self, **args):
        return self.tasks(args)[0]

    @property
    def rules(self):
        return {rule["Name"]: rule for rule in self.model.firewall.rules()}

    @property
    def ours(self):
        """Name -> whether it is enabled."""
        return {name: rule["Enabled"] for name, rule in self.rules.items() if name != "World Wide Web Services"}


@pytest.fixture
def host(tmp_path):
    with Estate() as estate:
        yield Host(tmp_path, estate)


def opening(port, *sources):
    return dict(port=port, sources=list(sources))


@pytest.fixture(params=["named", "found"])
def either(request, host):
    """A host for which the firewall is named, and one whose shell says what it is; (the host, options of host_port)."""
    return host, dict(backend="windows") if request.param == "named" else {}


def test_the_range_of_the_host_is_read_and_named_whatever_it_is(host):
    for span in host.model.dynamic:
        span.first = 52312
    asked = [dict(module=module, openings=[opening(port)], backend=backend)
             for module, port, backend in (("host_port_info", 52311, "auto"), ("host_port_info", 55000, "auto"),
                                           ("host_port", 55000, "auto"), ("host_port_info", 55000, "none"))]
    said = ["port 55000 lies in the range 52312-65535, from which this host serves outgoing connections; reserve it (netsh int "
            "ipv4 add excludedportrange protocol=tcp startport=55000 numberofports=1), or a restart may find it taken"]
    assert [result["notes"] for result in host.tasks(*asked)] == [[], said, said, said]


def test_a_port_from_opening_to_the_way_back(either):
    host, chosen = either
    others, asked = host.rules, [opening(NEW, "10.1.2.0/24", "192.0.2.7")]
    there, shut = [NEW_RULE], [NEW_RULE + " (disabled)"]
    # What only looks says what it would change in check mode, and the next step finds that it changed nothing.
    looks = [(args, what) for args, *what in [
        (dict(openings=asked), ["the rule %s is not there" % NEW_RULE], there),
        (dict(state="restored", openings=[opening(NEW)]), [], [])]]
    for (_args, what), seen in zip(
            looks, host.tasks(*(dict(chosen, module="host_port_info", **args) for args, what in looks)), strict=True):
        assert (seen["missing"], seen["rules"], seen["changed"]) == (what[0], dict(before=[], after=what[1]), False)
        assert "diff" not in seen and seen["backend"] == "windows"
    assert host.rules == others
    # What is asked -> what was there and what is there then.  The look of each is the proof of the one before.
    steps = [
        (dict(openings=asked, check=True), [], there), (dict(openings=asked), [], there), (dict(openings=asked), there, there),
        (dict(state="closed", openings=[opening(NEW)], check=True), there, shut),
        (dict(state="closed", openings=[opening(NEW)]), there, shut),
        (dict(state="closed", openings=[opening(NEW)]), shut, shut),
        (dict(state="reopened", openings=[opening(NEW)]), shut, there),
        (dict(state="reopened", openings=[opening(NEW)]), there, there),
        (dict(state="closed", openings=[opening(OLD)]), [], [])]
    results = host.tasks(*(dict(chosen, **args) for args, before, after in steps), diff=True)
    assert [(result["rules"]["before"], result["rules"]["after"], result["changed"]) for result in results] == [
        (before, after, before != after) for args, before, after in steps]
    assert {result["backend"] for result in results} == {"windows"}
    assert "+RemoteAddresses='10.1.2.0/255.255.255.0,192.0.2.7/255.255.255.255'" in host.said
    assert host.rules == dict(others, **{NEW_RULE: new_rule(
        NEW_RULE, Grouping=NEW_RULE, Protocol=6, LocalPorts=str(NEW),
        RemoteAddresses="10.1.2.0/255.255.255.0,192.0.2.7/255.255.255.255")})
    back = dict(chosen, state="restored", openings=[opening(NEW)])
    seen, *results = host.tasks(dict(back, module="host_port_info"), dict(back, check=True), back, back)
    assert [result["changed"] for result in results] == [True, True, False]
    assert seen["missing"] == ["the rule %s is still there" % NEW_RULE] == results[0]["missing"]
    assert (seen["changed"], seen["removed"], seen["rules"]) == (False, results[0]["removed"], results[0]["rules"])
    assert host.rules == others


def test_what_is_written_is_what_windows_reads(host):
    given = dict(backend="windows", openings=[
        opening(NEW, "0.0.0.0/0", "2001:db8::7", "2001:db8:1::/48"), dict(opening(53), protocol="udp")])
    # In the end any address, where only some were admitted.
    wider = dict(backend="windows", openings=[opening(NEW)])
    results = host.tasks(given, given, wider, wider)
    assert [result["changed"] for result in results] == [True, False, True, False]
    assert host.rules["portshift web 53/udp"]["Protocol"] == 17 and host.rules[NEW_RULE]["RemoteAddresses"] == "*"
    assert results[2]["added"] == [] and "it had RemoteAddresses " in results[2]["notes"][0]
    assert sorted(results[2]["notes"][0].rpartition(" ")[2].split(",")) == [
        "0.0.0.0/128.0.0.0", "128.0.0.0/128.0.0.0", "2001:db8:1::/48", "2001:db8::7"]


@pytest.mark.parametrize("state, kept", [("open", {}), ("restored", dict(Profiles=3, Description="by hand"))])
def test_half_a_change_is_taken_back(host, state, kept):
    """Windows refuses the second of two rules."""
    host.model.firewall.set_rules(host.model.firewall.rules() + [
        new_rule("portshift web %d/tcp" % port, Grouping="portshift web %d/tcp" % port, Protocol=6, LocalPorts=str(port),
                 RemoteAddresses="10.0.0.0/255.0.0.0", **kept) for port in (OLD, NEW)])
    before = host.rules

    def refuse(model, call, given):
        if given["name"] == NEW_RULE and not call.check:
            raise Failed("Access is denied.")
        return win_firewall_rule(model, call, given)

    host.model.handlers[MODULE] = refuse
    result = host.task(backend="windows", state=state, openings=[opening(OLD), opening(NEW)])
    assert result["failed"] and not result["changed"]
    assert "(Access is denied.). It was undone: the rules are what they were before" in result["msg"]
    assert host.rules == before


def test_a_look_that_fails_is_a_failure_with_nothing_changed(host):
    def fail(*_unused):
        raise Failed("Retrieving the COM class factory for component failed.")

    host.model.handlers[MODULE] = fail
    # What means nothing on Windows is no error of its own.
    result = host.task(backend="windows", openings=[opening(NEW)], record="x", zone="y", selinux_type="z")
    assert result["failed"] and not result["changed"]
    assert result["msg"].startswith("nothing was changed: %s failed on the host (Retrieving the COM " % MODULE)


def test_a_control_node_without_the_collection_is_told_what_to_install(host):
    # The checkout under its name, and nothing beside it.
    host.collections = [host.folder / "alone"]
    (host.folder / "alone" / "ansible_collections" / "portshift").mkdir(parents=True)
    (host.folder / "alone" / "ansible_collections" / "portshift" / "agents").symlink_to(CHECKOUT)
    result = host.task(backend="windows", openings=[opening(NEW)])
    assert result["failed"] and "ansible-galaxy collection install community.windows" in result["msg"] and not host.ours


def test_the_real_module_is_not_sent_to_linux(host):
    """It is a documentation in Python beside a script for PowerShell."""
    host.variables = dict(ansible_connection="local", ansible_python_interpreter=managed_python())
    result = host.task(backend="windows", openings=[opening(NEW)])
    assert result["failed"] and "reaches this host by another shell than PowerShell" in result["msg"]


def role(verb, **given):
    return {"ansible.builtin.include_role": dict(name="portshift.agents.host_port", tasks_from=verb), "name": verb, "vars": dict(
        dict(host_port_name="web", host_port_openings=[opening(NEW, "10.1.2.0/24")], host_port_closings=[opening(OLD)]), **given)}


def test_the_role_and_its_way_back(host):
    given = dict(host_port_backend="windows")
    assert host.run([role("main", host_port_openings=[opening(OLD)], **given), role("main", **given),
                     role("close", **given)]) == 0 and "changed=3" in host.said, host.said
    assert host.ours == {OLD_RULE: False, NEW_RULE: True}
    # Once more changes nothing; then the way back.
    assert host.run([role("main", **given), role("close", **given), role("rollback", **given)]) == 0, host.said
    assert "changed=2" in host.said and host.ours == {OLD_RULE: True}
    assert host.run([role("verify", **given)]) == 2, host.said


def test_the_role_says_why_before_it_changes_anything(host):
    assert host.run([role("main", host_port_backend="windows", host_port_openings=[opening(NEW, "agent1.example.test")])]) == 2
    assert "is a name, and Windows Firewall admits addresses only" in host.said and not host.ours


def test_the_role_knows_a_windows_host_by_its_inventory(host):
    with open(os.path.join(CHECKOUT, "roles", "host_port", "vars", "main.yml"), encoding="utf-8") as stream:
        expression = yaml.safe_load(stream)["host_port_on_windows"]
    told = [(dict(ansible_connection="winrm"), True), (dict(ansible_connection="ansible.builtin.psrp"), True),
            (dict(ansible_connection="ssh", ansible_shell_type="powershell"), True), (dict(ansible_connection="ssh"), False),
            (dict(ansible_connection="local"), False), (dict(ansible_connection="ssh", host_port_backend="windows"), True)]
    # Nothing connects to such a host for that.
    host.run([{"name": "Tell", "ansible.builtin.debug": dict(msg="found {{ found }}"),
               "vars": dict(dict(host_port_backend="auto"), found=expression, **variables)} for variables, found in told])
    assert re.findall(r"found (True|False)", host.said) == [str(found) for variables, found in told], host.said
