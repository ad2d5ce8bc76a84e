# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_port on Windows, over a firewall on paper that answers as win_firewall_rule does; and the action that chooses it."""

import copy
import json
import types

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

from ansible_collections.portshift.agents.plugins.action import host_port as action
from ansible_collections.portshift.agents.plugins.action import iis_listen
from ansible_collections.portshift.agents.plugins.module_utils._host_port import plan
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils import _iis_edit, _other_modules
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import WindowsHost
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import MODULE as SCRIPT
from ansible_collections.portshift.agents.plugins.plugin_utils._windows_firewall import (
    MODULE, WindowsFirewall, asked_rules, remote_addresses)
from tests.unit.windows_moves import Straight
from tests.windows.host import Host as Model
from tests.windows.network import Range

WEB, DNS = "portshift web 8443/tcp", "portshift web 53/udp"

# What a rule has that was given nothing else, as the module prints it.
FRESH = dict(Description="", Direction="1", Action="1", ApplicationName="", Grouping="", ServiceName="", Enabled="True",
             Profiles="2147483647", LocalAddresses="*", RemoteAddresses="*", LocalPorts="*", RemotePorts="*", Protocol="256",
             InterfaceTypes="All", EdgeTraversalOptions="0", SecureFlags="0", IcmpTypesAndCodes="")
CODES = dict(direction=("Direction", {"in": "1", "out": "2"}), action=("Action", {"block": "0", "allow": "1"}),
             protocol=("Protocol", {"tcp": "6", "udp": "17"}), enabled=("Enabled", {True: "True", False: "False"}),
             group=("Grouping", {}), localport=("LocalPorts", {"any": "*"}), remoteip=("RemoteAddresses", {"any": "*"}),
             localip=("LocalAddresses", {"any": "*"}), description=("Description", {}), remoteport=("RemotePorts", {"any": "*"}),
             profiles=("Profiles", {}))


class Paper:
    """name -> properties of its rule, changed and shown as win_firewall_rule does."""

    def __init__(self, **rules):
        self.rules, self.asked, self.broken, self.deaf = rules, [], {}, False
        self.model, self.reads = Model("hub"), 0

    def ask(self, args, look):
        self.asked.append((args, look))
        args = dict(args)
        name, group, state = args.pop("name", None), args.get("group"), args.pop("state")
        trouble = self.broken.get((name or group, state if not look else "look"))
        if trouble:
            return trouble.pop(0) if isinstance(trouble, list) else dict(failed=True, msg=trouble)
        found = [key for key, rule in self.rules.items() if (key == name if name else rule["Grouping"] == group)]
        wanted = {}
        for option, value in args.items():
            key, codes = CODES[option]
            if option == "profiles":
                value = "2147483647" if len(value) == 3 else str(sum(dict(domain=1, private=2, public=4)[one] for one in value))
            wanted[key] = codes.get(value, value)
        lines, after = [], copy.deepcopy(self.rules)
        if state == "absent":
            for key in found:
                lines += ["-[%s]" % key] + ["-%s='%s'" % pair for pair in after.pop(key).items()]
        elif not found and name:
            after[name] = dict(FRESH, **wanted)
            lines += ["+[%s]" % name] + ["+%s='%s'" % pair for pair in after[name].items()]
        else:
            for key in found:
                lines.append("[%s]" % key)
                for prop, value in wanted.items():
                    if sorted(after[key][prop].split(",")) != sorted(value.split(",")):
                        lines += ["-%s='%s'" % (prop, after[key][prop]), "+%s='%s'" % (prop, value)]
                        after[key][prop] = value
        changed = after != self.rules
        if not look and not self.deaf:
            self.rules = after
        return dict(changed=changed, diff=dict(prepared="".join(line + "\n" for line in lines)))

    def change(self, state="open", *openings, check=False, reserve=True):
        options = dict(name="web", state=state, reserve=reserve, openings=list(openings))
        return WindowsFirewall(self.ask).change(options, check, self.host)

    def host(self):
        """Of the ranges that Windows has."""
        self.reads += 1
        return WindowsHost(Straight(self.model).read, [])


def opening(port=8443, protocol="tcp", *sources):
    return dict(port=port, protocol=protocol, sources=list(sources))


def rule(**more):
    return dict(FRESH, **dict(dict(Grouping=WEB, LocalPorts="8443", Protocol="6"), **more))


@pytest.mark.parametrize("sources, text", [
    ([], "any"),
    (["10.1.2.3"], "10.1.2.3"),
    (["10.1.2.3/32", "192.0.2.0/24"], "10.1.2.3,192.0.2.0/24"),
    (["2001:db8::/32", "2001:db8:1::7"], "2001:db8:1::7,2001:db8::/32"),
    (["0.0.0.0/0"], "0.0.0.0/1,128.0.0.0/1"),
    (["::/0"], "::/1,8000::/1"),
    (["0.0.0.0/0", "::/0"], "any"),
])
def test_addresses_are_written_as_windows_takes_them(sources, text):
    made, = asked_rules("web", [opening(8443, "tcp", *sources)], by_source=True)
    assert remote_addresses(made.openings) == text


def test_openings_of_one_port_are_one_rule():
    found = asked_rules("web", [opening(8443, "tcp", "192.0.2.1"), opening(53, "udp"), opening(8443, "tcp", "10.0.0.0/8")], True)
    assert [(made.title, remote_addresses(made.openings)) for made in found] == [
        (DNS, "any"), (WEB, "10.0.0.0/8,192.0.2.1")]


def test_any_address_beside_a_source_is_any_address():
    made, = asked_rules("web", [opening(8443, "tcp", "192.0.2.1"), opening(8443)], True)
    assert remote_addresses(made.openings) == "any"


def test_a_name_is_refused_with_what_to_give_in_its_place():
    paper = Paper()
    with pytest.raises(EngineError, match=r"entry 2: source agent1\.example\.test is a name.*change_tracker_address"):
        paper.change("open", opening(), opening(53, "udp", "agent1.example.test"))
    assert not paper.asked


@pytest.mark.parametrize("state", ["closed", "reopened", "restored"])
def test_where_a_client_comes_from_does_not_count_but_for_opening(state):
    paper = Paper(**{WEB: rule(Enabled="False" if state == "reopened" else "True")})
    assert paper.change(state, opening(8443, "tcp", "agent1.example.test"))["changed"]


@pytest.mark.parametrize("state", ["open", "closed", "reopened", "restored"])
@pytest.mark.parametrize("openings", [None, []])
def test_every_state_needs_its_ports(state, openings):
    with pytest.raises(EngineError, match="state=%s needs openings on Windows" % state):
        WindowsFirewall(Paper().ask).change(dict(name="web", state=state, reserve=True, openings=openings), False, Paper().host)


# state -> before -> (changed, after); None: there is no rule.
OUTCOMES = [
    ("open", None, True, "True"), ("open", "True", False, "True"), ("open", "False", True, "True"),
    ("closed", None, False, None), ("closed", "True", True, "False"), ("closed", "False", False, "False"),
    ("reopened", None, False, None), ("reopened", "True", False, "True"), ("reopened", "False", True, "True"),
    ("restored", None, False, None), ("restored", "True", True, None), ("restored", "False", True, None)]


def names(enabled):
    return {None: [], "True": [WEB], "False": [WEB + " (disabled)"]}[enabled]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("state, before, changed, after", OUTCOMES)
def test_states(state, before, changed, after, check):
    other = {"World Wide Web Services": rule(Grouping="@iis", LocalPorts="8443")}
    paper = Paper(**other, **({WEB: rule(Enabled=before)} if before else {}))
    was = copy.deepcopy(paper.rules)
    result = paper.change(state, opening(), check=check)
    assert result["changed"] == changed and result["backend"] == "windows" and not result.get("failed")
    assert result["rules"] == dict(before=names(before), after=names(after))
    kinds = ("added", "removed") if state in ("open", "reopened") else ("removed", "added")
    assert [len(result[key]) for key in kinds] == [int(changed), 0]
    assert bool(result["diff"]["prepared"]) == changed and result["reserved"] == result["left"] == []
    if check:
        assert paper.rules == was and all(look for args, look in paper.asked)
        return
    assert paper.rules == dict(other, **({WEB: rule(Enabled=after)} if after else {}))
    again = paper.change(state, opening())
    assert not again["changed"] and again["rules"] == dict(before=names(after), after=names(after))


def test_a_new_rule_admits_just_what_was_asked():
    paper = Paper()
    result = paper.change("open", opening(8443, "tcp", "10.1.2.0/24", "192.0.2.7"), opening(53, "udp"))
    assert paper.rules == {WEB: rule(RemoteAddresses="10.1.2.0/24,192.0.2.7"),
                           DNS: rule(Grouping=DNS, LocalPorts="53", Protocol="17")}
    assert result["added"] == [opening(53, "udp"), opening(8443, "tcp", "10.1.2.0/24"), opening(8443, "tcp", "192.0.2.7")]


def test_other_sources_change_the_rule_and_are_no_opening_of_this_run():
    paper = Paper(**{WEB: rule(RemoteAddresses="10.1.2.0/24")})
    result = paper.change("open", opening(8443, "tcp", "192.0.2.7"))
    assert result["changed"] and result["added"] == [] and paper.rules[WEB]["RemoteAddresses"] == "192.0.2.7"
    assert result["notes"] == ["the rule %s was there and admits others than before; it had RemoteAddresses 10.1.2.0/24" % WEB]


@pytest.mark.parametrize("first, given, said", [
    (49152, opening(49151), False), (49152, opening(49152), True), (49152, opening(65535), True),
    (49152, opening(55000, "udp"), False), (52312, opening(52311), False),
    (52312, opening(52312), True), (52312, opening(55000), True), (1025, opening(8443), True)])
def test_a_port_of_the_range_that_the_host_has_is_a_note_with_that_range_and_the_command(first, given, said):
    paper, told = Paper(), (
        "port %d lies in the range %d-65535, from which this host serves outgoing connections; reserve it (netsh int ipv4 add "
        "excludedportrange protocol=tcp startport=%d numberofports=1), or a restart may find it taken") % (
            given["port"], first, given["port"])
    for span in paper.model.dynamic:
        span.first = first
    assert paper.change("open", given)["notes"] == [told] * said
    assert paper.reads == (given["protocol"] == "tcp")
    # Kept from it already, and not asked about.
    paper.model.excluded.append(Range("ipv4", "tcp", given["port"], given["port"]))
    assert paper.change("open", given)["notes"] == []
    reads = paper.reads
    assert paper.change("open", given, reserve=False)["notes"] == [] and paper.change("restored", given)["notes"] == []
    assert paper.reads == reads


def test_closing_says_what_was_not_looked_for():
    assert Paper().change("closed", opening())["notes"] == ["rules of others that admit tcp port 8443 were not looked for"]


@pytest.mark.parametrize("state, before", [("open", None), ("open", "False"), ("closed", "True"), ("reopened", "False"),
                                           ("restored", "False"), ("restored", "True")])
def test_a_failure_half_way_is_taken_back(state, before):
    """The first rule is changed when the second fails."""
    kept = dict(Profiles="3", LocalAddresses="192.0.2.9", Description="by hand")
    rules = {DNS: rule(Grouping=DNS, LocalPorts="53", Protocol="17", Enabled=before, **kept),
             WEB: rule(Enabled=before, **kept)} if before else {}
    paper = Paper(**rules)
    was = copy.deepcopy(paper.rules)
    paper.broken[(WEB, "absent" if state == "restored" else "present")] = "Access  is\ndenied."
    result = paper.change(state, opening(53, "udp"), opening(8443))
    assert result["failed"] and not result["changed"] and "rules" not in result and "added" not in result
    assert result["msg"] == (
        "%s failed on the host (Access is denied.). It was undone: the rules are what they were before" % MODULE)
    assert paper.rules == was
    # The first was changed and changed back; the second never was.
    changes = [args for args, look in paper.asked if not look]
    assert len(changes) == 3 and DNS in (changes[0].get("name"), changes[0].get("group"))
    assert DNS in (changes[2].get("name"), changes[2].get("group"))


def test_changed_sources_come_back_too():
    paper = Paper(**{DNS: rule(Grouping=DNS, LocalPorts="53", Protocol="17", RemoteAddresses="10.0.0.0/255.0.0.0")})
    was = copy.deepcopy(paper.rules)
    paper.broken[(WEB, "present")] = "no"
    assert not paper.change("open", opening(53, "udp"), opening(8443))["changed"] and paper.rules == was


@pytest.mark.parametrize("state, before, said", [
    ("open", None, "the rule %s is not there" % WEB), ("closed", "True", "the rule %s has Enabled True" % WEB),
    ("reopened", "False", "the rule %s has Enabled False" % WEB), ("restored", "True", "the rule %s is still there" % WEB)])
def test_a_change_that_did_not_take_is_found(state, before, said):
    paper = Paper(**({WEB: rule(Enabled=before)} if before else {}))
    paper.deaf = True
    result = paper.change(state, opening())
    assert result["failed"] and not result["changed"]
    assert "did not come out as asked: %s. It was undone" % said in result["msg"]


def test_a_way_back_that_fails_names_the_rules():
    paper = Paper(**{DNS: rule(Grouping=DNS, LocalPorts="53", Protocol="17"), WEB: rule()})

    def ask(args, look):
        """The second change fails, and what is asked for to bring back the first."""
        if not look and (args["group"] == WEB or args["enabled"]):
            return dict(failed=True, msg="no to %s" % args["group"])
        return paper.ask(args, look)

    options = dict(name="web", state="closed", reserve=True, openings=[opening(53, "udp"), opening()])
    result = WindowsFirewall(ask).change(options, False, Paper().host)
    assert result["failed"] and result["changed"] and paper.rules[DNS]["Enabled"] == "False"
    assert result["msg"] == (
        f"{MODULE} failed on the host (no to {WEB}). Undoing it did not lead back to where it was, a person has to look at: "
        f"{DNS}. On the way back {MODULE} failed on the host (no to {DNS})")


def test_a_rule_that_goes_while_it_is_changed_is_no_success():
    paper = Paper(**{WEB: rule(Enabled="False")})

    def ask(args, look):
        answer = paper.ask(args, look)
        if not look and args.get("enabled"):
            paper.rules.clear()
        return answer

    options = dict(name="web", state="reopened", reserve=True, openings=[opening()])
    result = WindowsFirewall(ask).change(options, False, paper.host)
    assert result["failed"] and "the rule %s is not there" % WEB in result["msg"] and "a person has to look" in result["msg"]


def test_a_look_that_fails_leaves_all_alone():
    paper = Paper()
    paper.broken[(WEB, "look")] = "The service has not been started."
    with pytest.raises(EngineError, match="failed on the host .The service has not been started"):
        paper.change("open", opening(53, "udp"), opening())
    assert not paper.rules and all(look for args, look in paper.asked)


@pytest.mark.parametrize("state", ["closed", "reopened"])
def test_a_second_rule_in_our_group_is_refused(state):
    paper = Paper(**{WEB: rule(), "mine": rule(Enabled="False")})
    was = copy.deepcopy(paper.rules)
    with pytest.raises(EngineError, match="2 rules of Windows Firewall are named portshift web 8443/tcp"):
        paper.change(state, opening())
    assert paper.rules == was


def test_a_module_that_shows_no_diff_is_refused():
    with pytest.raises(EngineError, match="has to return a diff"):
        WindowsFirewall(lambda args, look: dict(changed=True)).change(
            dict(name="web", state="open", reserve=True, openings=[opening()]), False, Paper().host)


class Task:
    """As much of a task as the action asks of it."""

    def __init__(self, args, check_mode=False, diff=False):
        self.args, self.check_mode, self.diff, self.async_val = args, check_mode, diff, 0

    def copy(self):
        return copy.copy(self)


class Host(action.ActionModule):
    """The action over a host on paper; any module but win_firewall_rule is one that Windows can't run."""

    def __init__(self, powershell=True, resolved="/c/win_firewall_rule.py", check=False, diff=False, **args):
        self._task = Task(dict(dict(name="web", openings=[opening()]), **args), check, diff)
        self._connection = types.SimpleNamespace(_shell=types.SimpleNamespace(_IS_WINDOWS=powershell))
        context = types.SimpleNamespace(resolved=bool(resolved), plugin_resolved_path=resolved)
        self._shared_loader_obj = types.SimpleNamespace(module_loader=types.SimpleNamespace(
            find_plugin_with_context=lambda name: context))
        self.paper, self.ran, self.reads = Paper(), [], 0

    def _execute_module(self, module_name=None, module_args=None, task_vars=None):
        if module_name == SCRIPT:
            self.reads += 1
            return dict(result=self.paper.model.script.answer(json.loads(module_args["parameters"]["Request"])))
        self.ran.append((module_name, self._task.check_mode, self._task.diff))
        if module_name != MODULE:
            return dict(changed=False, python=True)
        answer = self.paper.ask(module_args, self._task.check_mode)
        return answer if self._task.diff else dict(changed=answer["changed"])


@pytest.fixture(autouse=True)
def no_controller(monkeypatch):
    monkeypatch.setattr(action.ActionBase, "run", lambda self, tmp=None, task_vars=None: {})


def test_auto_on_a_windows_host_runs_the_module_of_windows_alone():
    host = Host()
    assert host.run()["backend"] == "windows" and host.paper.rules[WEB]["LocalPorts"] == "8443"
    # A look that shows a diff whatever the task wants, the change as the task runs, and a look.
    assert host.ran == [(MODULE, True, True), (MODULE, False, False), (MODULE, True, True)]


@pytest.mark.parametrize("broken, words", [
    (dict(dynamic=[]), "netsh did not tell"), (dict(language_mode="ConstrainedLanguage"), "runs in ConstrainedLanguage")])
def test_a_range_that_cannot_be_read_is_a_note_and_the_rule_is_made_all_the_same(broken, words):
    host = Host()
    for name, value in broken.items():
        setattr(host.paper.model, name, value)
    result = host.run()
    [note] = result["notes"]
    assert words in note and note.endswith("; see whether port 8443 is one of them (netsh int ipv4 show dynamicport tcp)")
    assert result["changed"] and WEB in host.paper.rules


@pytest.mark.parametrize("powershell, backend, windows", [
    (True, "windows", True), (False, "windows", True), (False, "auto", False), (False, None, False), (False, "none", False)])
def test_which_hosts_are_windows(powershell, backend, windows):
    host = Host(powershell, **(dict(backend=backend) if backend else {}))
    assert ("python" in host.run()) != windows
    assert {name for name, check, diff in host.ran} == {MODULE if windows else None}


@pytest.mark.parametrize("wanted", [False, True])
def test_a_diff_is_shown_where_it_was_asked_for(wanted):
    assert ("diff" in Host(diff=wanted).run()) == wanted


def test_check_mode_changes_nothing():
    host = Host(check=True)
    assert host.run()["changed"] and not host.paper.rules


def test_none_leaves_a_windows_host_alone_and_still_says_what_its_port_is():
    host = Host(backend="none", openings=[opening(55000, "tcp", "a.name.is.no.matter")])
    result = host.run()
    assert not host.ran and (result["changed"], result["backend"]) == (False, "none")
    assert "port 55000 lies in the range 49152-65535" in result["notes"][0] and host.reads == 1
    assert not Host(backend="none", state="restored", openings=None).run().get("failed")


@pytest.mark.parametrize("args, said", [
    (dict(backend="firewalld"), "backend is firewalld, but this is a Windows host"),
    (dict(name="Web Server"), "name is 'Web Server'"),
    (dict(state="closed", openings=[]), "state=closed needs openings"),
    (dict(state="restored", openings=None), "state=restored needs openings on Windows"),
    (dict(resolved=""), "ansible-galaxy collection install community.windows"),
])
def test_what_is_refused_on_a_windows_host(args, said):
    host = Host(**args)
    result = host.run()
    assert result["failed"] and not result["changed"] and said in result["msg"]
    assert result["msg"].startswith("nothing was changed: ")
    assert not host.ran


def test_the_module_for_powershell_is_not_sent_to_another_shell(tmp_path):
    (tmp_path / "win_firewall_rule.ps1").write_text("")
    host = Host(False, str(tmp_path / "win_firewall_rule.py"), backend="windows")
    assert "backend is windows, but Ansible reaches this host by another shell than PowerShell" in host.run()["msg"]
    assert not host.ran
    assert not Host(True, str(tmp_path / "win_firewall_rule.py")).run().get("failed")


class Site(iis_listen.ActionModule):
    """The action over the same host."""

    __init__, _execute_module = Host.__init__, Host._execute_module


def test_a_site_of_iis_is_not_looked_for_by_another_shell(tmp_path, monkeypatch):
    monkeypatch.setattr(_iis_edit, "BETWEEN_LOOKS", 0)
    resolved = tmp_path / "website.ps1"
    asked = dict(powershell=False, resolved=str(resolved))
    resolved.write_text("")
    site = Site(**asked)
    site._task.args = dict(port=8443)
    result = site.run()
    assert result["failed"] and not result["changed"] and not site.ran, result
    assert result["msg"].startswith("nothing was changed: Ansible reaches this host by another shell than PowerShell, and ")
    assert "ansible_shell_type" in result["msg"]
    # The double of one is for any shell.
    resolved.unlink()
    site = Site(**asked)
    site._task.args = dict(port=8443)
    site._execute_module = lambda **given: dict(failed=True, msg="ran %s" % given["module_name"])
    assert "ran " in site.run()["msg"]


def test_windows_inside_of_a_module_on_linux_is_a_sentence():
    with pytest.raises(EngineError, match="windows was asked for, but this host has no Windows Firewall"):
        plan.choose_backend(None, dict(name="web", backend="windows"))


def test_lacking_names_the_first_collection_that_is_not_there():
    known = {"ansible.windows.slurp"}
    loader = types.SimpleNamespace(module_loader=types.SimpleNamespace(
        find_plugin_with_context=lambda name: types.SimpleNamespace(resolved=name in known)))
    said = _other_modules.lacking(loader, ["microsoft.iis.website", "ansible.windows.slurp", "community.windows.win_wait_for"])
    assert "the module community.windows.win_wait_for is not" in said and said.endswith("install community.windows")
    assert _other_modules.lacking(loader, ["ansible.windows.slurp"]) is None


@pytest.mark.parametrize("msg, words", [
    ("Access  is\r\ndenied.", "Access is denied."), ("System.Collections.Hashtable - Element not found.", "Element not found.")])
def test_what_a_module_says_fits_into_a_sentence(msg, words):
    assert _other_modules.said(dict(failed=True, msg=msg)) == words


def test_another_action_that_raises_has_failed_and_a_host_that_is_gone_is_gone():
    host, errors = Host(), [AnsibleActionFail("failed to transfer file"), AnsibleConnectionFailure("no route to host")]

    class Other:
        def run(self, task_vars=None):
            raise errors.pop(0)

    host._shared_loader_obj.action_loader = types.SimpleNamespace(get=lambda name, **parts: Other())
    host._play_context = host._loader = host._templar = None
    assert _other_modules.run_action(host, "a.b.c", {}, {}) == dict(failed=True, msg="failed to transfer file")
    with pytest.raises(AnsibleConnectionFailure):
        _other_modules.run_action(host, "a.b.c", {}, {})


def test_another_action_runs_with_arguments_of_its_own():
    made = []

    class Other:
        def __init__(self, **parts):
            made.append(parts)

        def run(self, task_vars=None):
            return dict(args=made[0]["task"].args, vars=task_vars)

    host = Host()
    host._shared_loader_obj.action_loader = types.SimpleNamespace(get=lambda name, **parts: Other(name=name, **parts))
    host._play_context = host._loader = host._templar = None
    done = _other_modules.run_action(host, "ansible.windows.win_copy", dict(dest="C:\\x"), dict(a=1))
    assert done == dict(args=dict(dest="C:\\x"), vars=dict(a=1)) and made[0]["name"] == "ansible.windows.win_copy"
    assert host._task.args["name"] == "web"
