# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iis_listen on a model of a Windows host and a stand-in of IIS with real ports: as Ansible runs it, and by itself."""

import contextlib
import json
import os
import socket
import types

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.portshift.agents.plugins.action.iis_listen import SPEC
from ansible_collections.portshift.agents.plugins.plugin_utils import _iis_edit
from ansible_collections.portshift.agents.plugins.plugin_utils._iis_edit import CHANGE, LISTENERS, set_bindings
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import MODULE, Script
from tests.conftest import CHECKOUT, COLLECTIONS
from tests.integration import forked
from tests.integration.iis_hub import HUB, WindowsHub, certificate
from tests.integration.nginx_hub import until
from tests.integration.windows_costs import requests
from tests.lab.change_tracker.windows import CCS, SNI, STARTED, STOPPED, write

RECORD = "C:\\ProgramData\\portshift\\hub.json"
OTHER = "Reports"
PLAIN = ("https", "*:{old}:", 0, "hub")


class OnHub:
    """An action plugin whose modules run on the hub."""

    _connection = types.SimpleNamespace(_shell=types.SimpleNamespace(_IS_WINDOWS=True), reset=lambda: None)
    _shared_loader_obj = types.SimpleNamespace(module_loader=types.SimpleNamespace(
        find_plugin_with_context=lambda name: types.SimpleNamespace(resolved=True)))

    def __init__(self, hub, check):
        self.hub, self.check = hub, check

    def _execute_module(self, module_name, module_args, task_vars):
        return self.hub.module_of(module_name, module_args, self.check)


class Hub(WindowsHub):

    def __init__(self, folder, sites=None):
        super().__init__(folder / "machine", sites)
        self.around = folder
        # Which modules were asked, and those that fail: their words, or what makes some of arguments.
        self.asked, self.broken = [], {}
        # What becomes of the list of who listens.
        self.seen = lambda listeners: listeners

    def text(self, port, protocol="https"):
        return "%s *:%d: %s" % (protocol, port, self.thumbprint)

    def record(self):
        content = self.host.files.read(RECORD)
        return content and json.loads(content)

    def site_state(self, name=HUB):
        return self.machine.state()["sites"].get(name)

    def both(self):
        return [self.answers(port) for port in (self.old, self.new)]

    def presents(self, port, name, certificate):
        """Waits until a binding presents this certificate on a port that another one has too.

        That http.sys listens there, which is the module's proof, was so before the binding was there: the module may return
        before http.sys serves it, and says nothing else.
        """
        until(lambda: self.ask(port, name)[0] == self.thumbprints[certificate],
              "port %d does not present the certificate %s to who asks for %s" % (port, certificate, name))

    # -- what an administrator does by hand
    def by_hand(self, add=(), remove=(), name=HUB):
        """`add`: (protocol, information, sslFlags, name of a certificate)"""
        with self.machine.alone():
            configuration = self.machine.configuration()
            site = configuration.site(name)
            for information in remove:
                site.remove(*site.named(information))
            for protocol, information, flags, certificate in add:
                binding = site.add(protocol, information, flags)
                if flags & CCS:
                    self.machine.add_central_entry(binding)
                elif certificate:
                    self.machine.add_certificate(binding, self.thumbprints[certificate], "MY")
            configuration.write()

    def switch(self, state, name=HUB):
        with self.machine.alone():
            self.machine.set_site_state(name, state)

    # -- calls
    def arguments(self, state="present", noted=True, **given):
        asked = dict(state=state, timeout=20)
        if state == "present":
            asked.update(port=self.new, beside=self.old)
        if state == "absent":
            asked.update(port=self.old, beside=self.new)
        if noted:
            asked["record"] = dict(path=RECORD, old_port=self.old, new_port=self.new)
        asked.update(given)
        return {key: value for key, value in asked.items() if value is not None}

    def by_ansible(self, *tasks, options=("--diff",), name="iis_listen", **environment):
        """-> what each task, a dict of its options, returned"""
        inventory = dict(all=dict(hosts=dict(hub=self.variables())))
        play = dict(hosts="hub", gather_facts=False, tasks=[
            {"portshift.agents." + name: task, "ignore_errors": True} for task in tasks])
        for name, content in (("inventory.yml", inventory), ("play.json", [play])):
            (self.around / name).write_text(json.dumps(content))
        done = forked.run(
            "ansible", ["playbook", "-i", "inventory.yml", "play.json", *options], timeout=600, cwd=self.around,
            env=dict(os.environ, ANSIBLE_PIPELINING="true", ANSIBLE_STDOUT_CALLBACK="ansible.posix.json", **environment))
        assert "{" in done.stdout, done.stdout + done.stderr
        told = json.loads(done.stdout[done.stdout.index("{"):])
        return [task["hosts"]["hub"] for task in told["plays"][0]["tasks"]]

    def module_of(self, name, arguments, check):
        """What a module returns on the host."""
        self.asked.append(name)
        broken = self.broken.get(name)
        said = broken(arguments) if callable(broken) else broken
        if isinstance(said, dict):
            return said
        if said and not check:
            return dict(failed=True, msg=said)
        answer = self.named(name, arguments, check)
        if name == LISTENERS:
            facts = answer["ansible_facts"]
            facts["tcp_listen"] = self.seen(facts["tcp_listen"])
        return answer

    def call(self, state="present", check=False, noted=True, **given):
        """What the action does with its options, without a run of Ansible around it."""
        options = ArgumentSpecValidator(SPEC).validate(self.arguments(state, noted, **given)).validated_parameters
        self.asked = []
        return set_bindings(lambda name, arguments: self.module_of(name, arguments, check), Script(OnHub(self, check), {}),
                            options, check)

    def refused(self, words, state="present", **given):
        """It fails with these words in check mode and for real, and nothing is written."""
        before, record = self.bindings(), self.record()
        for check in (True, False):
            result = self.call(state, check, **given)
            assert result.get("failed") and not result["changed"] and words in result["msg"], result
            assert "nothing was changed" in result["msg"]
            assert (self.bindings(), self.record()) == (before, record)
        return result


@pytest.fixture
def windows(tmp_path):
    """windows(sites) -> a hub that runs"""
    made = []

    def make(sites=None):
        made.append(Hub(tmp_path, sites))
        hub = made[-1].start()
        until(lambda: all(hub.machine.state()["sites"].get(site.name) for site in hub.machine.configuration().sites),
              "the stand-in of IIS does not serve")
        return hub

    yield make
    for hub in made:
        hub.stop()


def counted(hub, *tasks, **how):
    """-> (what each task returned, the requests that it cost)"""
    hub.variables()
    hub.endpoint.forget()
    found = hub.by_ansible(*tasks, **how)
    return found, requests(hub.endpoint.tasks)


def held(port, address="127.0.0.1"):
    """Another process's port, as far as http.sys is concerned."""
    return socket.create_server((address, port))


# --- the way of a migration

def test_both_ports_answer_then_the_new_one_alone_then_all_is_as_it_was(windows):
    hub = windows()
    old, new = "*:%d:" % hub.old, "*:%d:" % hub.new
    [predicted] = hub.by_ansible(hub.arguments(), options=["--check", "--diff"])
    assert (hub.bindings(), hub.record(), predicted["record"]) == ([old], None, None)
    # What only looks does so in any run, says the same, and refuses what the other one refuses.
    asked = hub.arguments(timeout=None)
    (seen, refused), (look, *_none) = counted(hub, asked, dict(asked, port=hub.old), name="iis_listen_info")
    assert (hub.bindings(), hub.record()) == ([old], None)
    internal = {"action", "changed", "diff", "invocation", "deprecations", "warnings"} | {
        key for key in {**predicted, **seen} if key.startswith("_ansible")}
    assert {key: value for key, value in seen.items() if key not in internal} == {
        key: value for key, value in predicted.items() if key not in internal}
    assert not seen["changed"] and "diff" not in seen
    assert refused["failed"] and not refused["changed"] and "port and beside are both %d" % hub.old in refused["msg"]
    (opened, again), (opens, _look) = counted(hub, hub.arguments(), hub.arguments())
    assert (predicted["changed"], opened["changed"], again["changed"]) == (True, True, False), (predicted, opened, again)
    assert (predicted["diff"], predicted["listens"]) == (opened["diff"], opened["listens"])
    both = sorted(hub.text(port) for port in (hub.old, hub.new))
    assert opened["listens"] == dict(before=[hub.text(hub.old)], after=both)
    assert opened["ports"] == dict(before=[hub.old], after=sorted([hub.old, hub.new]))
    assert opened["diff"]["after"] == "".join(line + "\n" for line in both)
    assert (opened["site"], opened["lacking"], again["lacking"]) == (HUB, ["does not listen on %d" % hub.new], [])
    assert {(one["port"], one["process"], one["pid"]) for one in opened["listening_by"]} == {
        (hub.old, "System", 4), (hub.new, "System", 4)}
    assert (hub.bindings(), hub.both()) == ([old, new], [True, True])
    assert opened["record"] == again["record"] == hub.record()
    assert (hub.record()["state"], hub.record()["files"], hub.record()["site"]) == ("verified", [], HUB)
    assert [one["port"] for one in hub.record()["bindings_before"]] == [hub.old]

    gone = hub.call("absent", check=True)
    assert gone["changed"] and hub.bindings() == [old, new]
    asked = [hub.arguments("absent"), hub.arguments("absent"), hub.arguments()]
    (closed, again, once_more), (closes, *_looks) = counted(hub, *asked)
    assert (closed["changed"], again["changed"], once_more["changed"]) == (True, False, False), (closed, again, once_more)
    assert (closed["listens"], closed["elsewhere"], hub.bindings()) == (gone["listens"], [], [new])
    assert hub.both() == [False, True]

    reopened = hub.call(port=hub.old, beside=hub.new)
    assert reopened["changed"] and hub.both() == [True, True]
    back = hub.call("restored", check=True)
    assert back["changed"] and sorted(hub.bindings()) == sorted([old, new]) and hub.record()["state"] == "verified"
    (restored, again), (restores, _look) = counted(hub, hub.arguments("restored"), hub.arguments("restored"))
    assert (restored["changed"], again["changed"]) == (True, False)
    assert restored["restored"] == back["restored"] == ["%s taken away" % hub.text(hub.new)]
    assert (hub.bindings(), hub.both(), hub.record()["state"]) == ([old], [True, False], "rolled_back")
    # As docs/windows.md says: IIS is asked again, by 8 more, until it listens as it was told.
    further = [cost - 37 for cost in (opens, closes, restores)]
    assert look == 19 and min(further) >= 0 and not any(cost % 8 for cost in further), (look, further)


def test_every_binding_of_the_port_gets_its_twin_and_its_own_certificate(windows):
    hub = windows([(HUB, [("https", "*:{old}:hub.example", SNI, "hub"), ("https", "*:{old}:", 0, "second"),
                          ("net.pipe", "*", 0, None)]),
                   (OTHER, [("https", "*:{old}:reports.example", SNI, "second"), ("net.tcp", "808:*", 0, None)])])
    # A binding of net.tcp makes the module that reads them stumble.
    hub.refused("Name the hub's site with site (change_tracker_hub_site in the playbooks), so that it alone is read")
    sent = []
    hub.broken[CHANGE] = lambda arguments: sent.append(arguments["bindings"])
    result = hub.call(site=HUB.upper())
    # website may take the binding without a name for the one with it, once that is there.
    assert [one["hostname"] for one in sent[0]["add"]] == ["", "hub.example"]
    assert result["changed"] and result["site"] == HUB and len(result["listens"]["after"]) == 4, result
    assert "the other sites of IIS can't be read" in result["notes"][0]
    assert hub.ask(hub.new, "hub.example")[0] == hub.thumbprints["hub"] and hub.ask(hub.new)[0] == hub.thumbprints["second"]
    # The record knows the site, so that the rest needs no name.  Who else has the port that ends can't be seen then.
    closed = hub.call("absent")
    assert closed["changed"] and closed["elsewhere"] == [
        "http.sys (process 4), for another site, which can't be read, or something else"], closed
    assert hub.call("restored")["changed"]
    assert sorted(hub.bindings()) == sorted(["*:%d:hub.example" % hub.old, "*:%d:" % hub.old, "*"])
    # The other site listened there all the time.
    hub.presents(hub.old, "hub.example", "hub")
    assert hub.ask(hub.old)[0] == hub.thumbprints["second"]


def test_a_binding_of_the_central_store_is_made_by_hand_and_the_rest_goes_on(windows):
    hub = windows([(HUB, [("https", "*:{old}:hub.example", SNI | CCS, None)])])
    write(hub.machine.own("certificates", "ccs", "hub.example.pem"), certificate())
    hub.refused('New-Item -Path "IIS:\\SslBindings\\!%d!hub.example" -SSLFlags 3' % hub.new)
    hub.by_hand(add=[("https", "*:%d:hub.example" % hub.new, SNI | CCS, None)])
    until(lambda: hub.ask(hub.new, "hub.example")[0] == hub.thumbprint, "the binding that was made by hand does not answer")
    assert hub.call()["changed"] is False
    assert hub.call("absent")["changed"] and hub.bindings() == ["*:%d:hub.example" % hub.new]


# --- what stands against it

@pytest.mark.parametrize("sites, given, words", [
    ([(HUB, [PLAIN]), (OTHER, [("http", "*:{new}:", 0, None)])], {}, 'is bound by site "Reports" already'),
    ([(HUB, [PLAIN]), (OTHER, [("https", "*:{old}:other", SNI, "hub")])], {}, "several sites have a binding on port"),
    ([(HUB, [PLAIN]), (OTHER, [("http", "*:{new}:", 0, None), ("net.tcp", "808:*", 0, None)])], dict(site=HUB),
     "for another site, which could not be read"),
    ([(HUB, [PLAIN, ("https", "[::1]:{old}:", 0, "hub")])], {}, "can't be read by microsoft.iis.website_info"),
    ([(HUB, [PLAIN, ("net.tcp", "808:*", 0, None)])], dict(site=HUB),
     'a binding of the site "Change Tracker" can\'t be read by microsoft.iis (Failed to fetch'),
    ([(HUB, [("https", "*:{old}:", 0, None)])], {}, "has no certificate"),
    ([(HUB, [("http", "*:{new}:", 0, None)])], dict(beside=None, port=81, noted=False), "no site has a binding on port 81"),
    ([(HUB, [PLAIN])], dict(site="Hub"), 'there is no site "Hub": the sites of IIS are "Change Tracker"'),
    ([(HUB, [PLAIN])], dict(site=HUB, beside=None), "beside does not say"),
    ([(HUB, [PLAIN, ("https", "*:{new}:", 0, "second")])], {}, "which is not the same as"),
])
def test_what_stands_against_it_is_found_before_anything_is_written(windows, sites, given, words):
    windows(sites).refused(words, **given)


def test_a_port_of_another_process_is_refused_and_one_that_is_none(windows):
    hub = windows()
    with held(hub.new):
        result = hub.refused("port %d is taken by " % hub.new)
    assert "(process %d) on 127.0.0.1" % os.getpid() in result["msg"]
    for given, words in ((dict(port=70000), "port is 70000"), (dict(beside=hub.new), "port and beside are both")):
        result = hub.call(**given)
        assert result["failed"] and words in result["msg"] and hub.asked == []


def test_a_site_that_is_stopped_is_not_started_on_the_quiet(windows):
    hub = windows()
    hub.switch(STOPPED)
    hub.refused("it is not started (IIS says Stopped)")
    assert hub.site_state() == STOPPED


def test_a_certificate_that_is_not_in_its_store_is_found_in_check_mode_too(windows):
    hub = windows()
    os.rename(hub.machine.certificate("MY", hub.thumbprint), hub.machine.own("elsewhere.pem"))
    result = hub.call(check=True)
    assert result["failed"] and "Unable to locate certificate at cert:" in result["msg"] and hub.record() is None
    result = hub.call()
    assert "Unable to locate certificate" in result["msg"] and "its bindings are as they were before" in result["msg"], result
    assert (hub.bindings(), result["changed"], hub.record()["state"]) == (["*:%d:" % hub.old], False, "rolled_back")


def test_options_and_collections_that_are_missing_are_named(windows, tmp_path):
    hub, folder = windows(), tmp_path / "own" / "ansible_collections"
    posix = os.path.join(COLLECTIONS, "ansible_collections", "ansible", "posix")
    for name, source in (("portshift/agents", CHECKOUT), ("ansible/posix", posix)):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).symlink_to(source)
    without, unasked, unnoted = hub.by_ansible(
        hub.arguments(), hub.arguments(port=None), hub.arguments("restored", noted=False),
        ANSIBLE_COLLECTIONS_PATH=str(folder.parent), HOME=str(tmp_path), ANSIBLE_COLLECTIONS_SCAN_SYS_PATH="false")
    assert without["failed"] and "install its collection: ansible-galaxy collection install" in without["msg"]
    assert "nothing was changed" in without["msg"] and "port" in unasked["msg"] and "record" in unnoted["msg"]
    assert hub.bindings() == ["*:%d:" % hub.old]


# --- a change that does not come out

def test_a_binding_that_is_left_without_its_certificate_is_taken_back(windows):
    hub = windows()

    def half(arguments):
        if arguments["bindings"].get("add"):
            hub.by_hand(add=[("https", "*:%d:" % hub.new, 0, None)])
            return "A specified logon session does not exist"
        return None

    hub.broken[CHANGE] = half
    result = hub.call()
    assert result["failed"] and not result["changed"]
    assert "A specified logon session does not exist); its bindings are as they were before" in result["msg"]
    assert (hub.bindings(), hub.record()["state"]) == (["*:%d:" % hub.old], "rolled_back") and result["record"] == hub.record()
    assert hub.answers(hub.old)


def test_a_site_that_iis_stops_for_its_new_port_is_started_again_without_it(windows):
    hub, taken = windows(), []
    # Another process takes the port after it was seen to be free.
    hub.broken[CHANGE] = lambda arguments: taken.append(held(hub.new)) if not taken else None
    result = hub.call()
    taken[0].close()
    assert "the site is Stopped; its bindings are as they were before, and it was started again" in result["msg"], result
    assert (hub.bindings(), hub.site_state(), result["changed"]) == (["*:%d:" % hub.old], STARTED, False)
    assert hub.answers(hub.old) and hub.record()["state"] == "rolled_back"


def test_a_port_that_http_sys_does_not_get_is_given_up(windows):
    hub = windows()
    hub.stop_iis()
    with held(hub.old):
        # Nothing serves: to begin with, its own port is not there.
        result = hub.call(beside=None, port=hub.old, timeout=0.5)
        assert "http.sys does not listen on port %d; nothing was changed by this run" % hub.old in result["msg"]
        assert hub.call(beside=None, port=hub.old, check=True)["lacking"] == ["does not listen on %d" % hub.old]
    result = hub.call(timeout=0.5)
    assert "http.sys does not listen on port %d; its bindings are as they were before" % hub.new in result["msg"], result
    assert hub.bindings() == ["*:%d:" % hub.old]


def test_what_another_site_loses_with_it_is_given_back(windows):
    hub = windows([(HUB, [PLAIN, ("https", "*:{new}:", 0, "hub")]), (OTHER, [("https", "*:{old}:other", 0, "hub")])])

    def takes_more(arguments):
        if arguments["bindings"].get("remove"):
            with hub.machine.alone():
                hub.machine._store("sslcert.json", {key: kept for key, kept in hub.machine.ssl_table().items()
                                                    if not key.endswith(":%d" % hub.old)})

    hub.broken[CHANGE] = takes_more
    result = hub.call("absent")
    assert 'the binding https *:%d:other %s of site "Reports" changed' % (hub.old, hub.thumbprint) in result["msg"], result
    assert "its bindings are as they were before" in result["msg"] and len(hub.bindings()) == 2
    hub.presents(hub.old, "other", "hub")


def test_when_taking_it_back_fails_too_a_person_is_told_what_was_there(windows):
    hub = windows()

    def fails(arguments):
        if arguments["bindings"].get("add"):
            hub.by_hand(add=[("https", "*:%d:" % hub.new, 0, None)])
        return "the configuration is locked"

    hub.broken[CHANGE] = fails
    result = hub.call(timeout=0.5)
    assert result["failed"] and result["changed"]
    assert "Taking it back failed too, it needs a person: " in result["msg"]
    assert "It was bound to %s before" % hub.text(hub.old) in result["msg"]
    assert hub.record()["state"] == "changing"


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(_iis_edit, "BETWEEN_LOOKS", 0)


def refusing_to_look(hub, times):
    """From the moment on at which bindings are added."""
    left = []
    hub.broken[CHANGE] = lambda arguments: left.extend([1] * times) if arguments["bindings"].get("add") else None
    hub.broken[LISTENERS] = lambda arguments: left.pop() and "Cannot validate argument" if left else None


@pytest.mark.usefixtures("at_once")
def test_a_host_that_no_longer_tells_what_came_of_it_gets_its_bindings_back(windows):
    hub = windows()
    refusing_to_look(hub, _iis_edit.LOOKS)
    result = hub.call(timeout=0)
    assert "how it is now can't be seen: " in result["msg"] and "its bindings are as they were before" in result["msg"], result
    assert hub.bindings() == ["*:%d:" % hub.old]


@pytest.mark.usefixtures("at_once")
def test_a_change_that_cant_be_seen_for_a_while_stays(windows):
    hub = windows()
    refusing_to_look(hub, 2 * _iis_edit.LOOKS)
    assert hub.call()["changed"] and hub.both() == [True, True] and hub.record()["state"] == "verified"
    hub.broken = {LISTENERS: "Cannot validate argument"}
    result = hub.call()
    assert "Cannot validate argument). It does so where an endpoint belongs to a process that is gone: " in result["msg"]
    assert hub.asked.count(LISTENERS) == _iis_edit.LOOKS


def test_taking_it_back_is_tried_until_the_site_serves_as_before(windows):
    hub, taken, troubles, hidden = windows(), [], ["the configuration is locked"], [1, 1]

    def once_more(arguments):
        if not taken:
            taken.append(held(hub.new))
            return None
        return troubles.pop() if troubles else None

    def later(listeners):
        hide = taken and not troubles and hidden and hidden.pop()
        return [one for one in listeners if one["port"] != hub.old] if hide else listeners

    hub.broken[CHANGE], hub.seen = once_more, later
    result = hub.call()
    taken[0].close()
    assert "the site is Stopped; its bindings are as they were before, and it was started again" in result["msg"], result
    assert not troubles and not hidden and hub.answers(hub.old) and hub.record()["state"] == "rolled_back"


def test_a_port_that_is_no_longer_served_is_not_as_before(windows):
    hub, changes = windows(), []
    hub.broken[CHANGE] = lambda arguments: changes.append(arguments) or (
        "the configuration is locked" if len(changes) == 1 else None)
    hub.seen = lambda listeners: [one for one in listeners if not changes or one["port"] != hub.old]
    result = hub.call(timeout=0.5)
    assert result["failed"] and result["changed"] and "the configuration is locked" in result["msg"]
    assert "it needs a person: http.sys does not listen on port %d; the site is Started" % hub.old in result["msg"]


def test_a_record_that_fails_last_does_not_hide_why_it_was_taken_back(windows):
    hub = windows()
    hub.broken[CHANGE] = lambda arguments: hub.host.files.free.update({"c:": 0}) or "the configuration is locked"
    result = hub.call()
    assert "the configuration is locked); its bindings are as they were before. But C:\\" in result["msg"], result
    assert "hub.json: can't be written on the host (" in result["msg"] and not result["changed"]


@pytest.mark.parametrize("verb", ["read", "written"])
def test_without_a_record_that_can_be_kept_nothing_is_changed(windows, verb):
    hub = windows()
    if verb == "read":
        hub.broken[MODULE] = "Access is denied"
    else:
        hub.host.files.free["c:"] = 0
    result = hub.call()
    assert "%s: can't be %s on the host (" % (RECORD, verb) in result["msg"], result
    assert result["msg"].endswith("; nothing was changed")
    assert hub.bindings() == ["*:%d:" % hub.old] and CHANGE not in hub.asked


# --- a run that was killed

class Killed(Exception):
    pass


@pytest.mark.parametrize("after", ["nothing", "half of it", "all", "the site stopped"])
@pytest.mark.parametrize("then", ["present", "restored"])
def test_a_run_that_was_killed_is_gone_on_with_or_taken_back(windows, after, then):
    hub, taken = windows(), []

    def dies(arguments):
        if after != "nothing":
            hub.by_hand(add=[("https", "*:%d:" % hub.new, 0, None if after == "half of it" else "hub")])
        if after == "the site stopped":
            taken.append(held(hub.new))
            hub.switch(STOPPED)
        raise Killed

    hub.broken[CHANGE] = dies
    with pytest.raises(Killed):
        hub.call()
    assert hub.record()["state"] == "changing"
    hub.broken.clear()
    if after == "the site stopped" and then == "present":
        assert "it is not started" in hub.call()["msg"]
        taken.pop().close()
        hub.switch(STARTED)
    if after == "half of it":
        # website would write the certificate in check mode.
        foretold = hub.call(then, check=True)
        assert foretold["changed"], foretold
        assert CHANGE not in hub.asked and hub.machine.ssl_table().get("0.0.0.0:%d" % hub.new) is None
    result = hub.call(then)
    assert not result.get("failed"), result
    assert result["changed"] is not (then == "present" and after in ("all", "the site stopped"))
    for listener in taken:
        assert "was started" in result["notes"][-1]
        listener.close()
    until(lambda: hub.both() == [True, then == "present"], "the hub is not as it was left")
    assert hub.record()["state"] == ("verified" if then == "present" else "rolled_back") and hub.site_state() == STARTED
    assert [one["port"] for one in hub.record()["bindings_before"]] == [hub.old]


# --- the old port ends

def test_a_port_with_a_connection_to_it_stays(windows):
    hub = windows()
    assert hub.call()["changed"]
    kept = hub.connect(hub.old)
    record = hub.record()
    for check in (True, False):
        result = hub.call("absent", check=check, users_seconds=2)
        assert result["failed"] and result["in_use"] and "port %d is still used" % hub.old in result["msg"], result
    assert (len(hub.bindings()), hub.record()) == (2, record) and hub.ask_again(kept)
    kept.close()
    assert hub.call("absent", users_seconds=0)["changed"]


@pytest.mark.parametrize("state, port", [("absent", "old"), ("restored", "new")])
def test_a_connection_that_has_ended_does_not_keep_its_port(windows, state, port):
    hub = windows()
    assert hub.call()["changed"]
    hub.ask_last(getattr(hub, port))
    assert hub.module("win_wait_for", host="0.0.0.0", port=getattr(hub, port), state="drained", timeout=1)["failed"]
    assert hub.call(state, check=True, users_seconds=1)["changed"]
    with contextlib.closing(hub.connect(getattr(hub, port))):
        assert hub.call(state, users_seconds=1)["in_use"]
    assert hub.call(state, users_seconds=1)["changed"] and hub.ask(getattr(hub, port)) == "refused"


def test_a_port_that_another_site_has_too_is_left_to_it(windows):
    hub = windows([(HUB, [("https", "*:{old}:hub.example", SNI, "hub")]), (OTHER, [("https", "*:{old}:other", SNI, "second")])])
    assert hub.call(site=HUB)["changed"]
    for check in (True, False):
        result = hub.call("absent", check=check)
        assert (result["changed"], result["elsewhere"]) == (True, ['site "Reports"'])
    again = hub.call("absent")
    assert (again["changed"], again["elsewhere"], again["lacking"]) == (False, ['site "Reports"'], [])
    assert hub.ask(hub.old, "other")[0] == hub.thumbprints["second"] and hub.bindings(OTHER) == ["*:%d:other" % hub.old]
    # And the way back leads to the port that they share.
    assert hub.call(port=hub.old, beside=hub.new)["changed"]
    hub.presents(hub.old, "hub.example", "hub")


@pytest.mark.parametrize("sites, given, words", [
    ([(HUB, [PLAIN])], dict(beside=None, site=HUB), "no other binding than those on port"),
    ([(HUB, [PLAIN, ("http", "*:{new}:x", 0, None)])], {}, "has no twin on port"),
    ([(HUB, [PLAIN]), (OTHER, [("http", "*:{new}:", 0, None)])], dict(site=HUB), "no other binding"),
    ([(HUB, [PLAIN, ("http", "*:{new}:", 0, None)])], dict(beside=None, noted=False), "nothing says that it is the hub's"),
])
def test_a_port_that_is_needed_stays(windows, sites, given, words):
    windows(sites).refused(words, "absent", **given)


def test_the_site_that_is_left_with_the_port_is_not_taken_for_the_hubs(windows):
    hub = windows([(HUB, [("https", "*:{old}:hub.example", SNI, "hub")]), (OTHER, [("https", "*:{old}:other", SNI, "second")])])
    assert hub.call(site=HUB, noted=False)["changed"] and hub.call("absent", noted=False)["changed"]
    assert hub.call("absent", noted=False)["changed"] is False
    hub.refused("nothing says that it is the hub's", "absent", noted=False, beside=None)
    assert hub.bindings(OTHER) == ["*:%d:other" % hub.old]


def test_a_port_that_is_gone_already_is_proved(windows):
    hub = windows()
    assert hub.call()["changed"] and hub.call("absent")["changed"]
    # As a run leaves it that is killed when all is done.
    killed = json.dumps(dict(hub.record(), state="changing"))
    hub.host.files.put(RECORD, killed)
    hub.seen = lambda listeners: [one for one in listeners if one["port"] != hub.new]
    hub.refused("http.sys does not listen on port %d, which is to stay" % hub.new, "absent")
    hub.seen = lambda listeners: listeners
    hub.switch(STOPPED)
    hub.refused("it is not started", "absent")
    hub.switch(STARTED)
    until(lambda: hub.answers(hub.new), "the site does not serve again")
    assert hub.call("absent", check=True)["changed"] is False and hub.record()["state"] == "changing"
    assert hub.call("absent")["changed"] is False and hub.record()["state"] == "verified"


def test_what_is_no_site_may_keep_the_port(windows):
    hub = windows()
    assert hub.call()["changed"]
    hub.seen = lambda listeners: [*listeners, dict(port=hub.old, address="::", name="System", pid=4)]
    told, said = "http.sys (process 4), for no binding of a site", "http.sys goes on listening on port %d" % hub.old
    for changed in (True, False):
        result = hub.call("absent", timeout=0.5)
        assert (result.get("failed"), result["changed"], result["elsewhere"]) == (None, changed, [told]), result
        assert said in result["notes"][0] and hub.bindings() == ["*:%d:" % hub.new] and hub.record()["state"] == "verified"


def test_reopening_gives_the_port_what_it_had_alone(windows):
    hub = windows()
    assert hub.call()["changed"] and hub.call("absent")["changed"]
    hub.by_hand(add=[("https", "*:%d:own" % hub.new, SNI, "hub")])
    result = hub.call(port=hub.old, beside=hub.new)
    assert result["changed"] and "was not put on port %d, where it was not before" % hub.old in result["notes"][0], result
    assert sorted(hub.bindings()) == sorted(["*:%d:" % hub.old, "*:%d:" % hub.new, "*:%d:own" % hub.new])


# --- the way back

def test_the_new_port_goes_when_the_old_one_answers(windows):
    hub, answered = windows(), []
    assert hub.call()["changed"] and hub.call("absent")["changed"]
    hub.broken[CHANGE] = lambda arguments: answered.append((sorted(arguments["bindings"]), hub.both())) and None
    assert hub.call("restored")["changed"]
    assert answered == [(["add"], [False, True]), (["remove"], [True, True])]
    assert hub.both() == [True, False] and hub.record()["state"] == "rolled_back"


@pytest.mark.parametrize("trouble", ["a process has it", "http.sys does not listen", "no certificate"])
def test_the_new_port_stays_where_the_old_one_does_not_come_back(windows, trouble):
    hub, taken = windows(), []
    assert hub.call()["changed"] and hub.call("absent")["changed"]

    def first(arguments):
        if trouble == "a process has it" and not taken:
            taken.append(held(hub.old))
        if trouble == "no certificate" and arguments["bindings"].get("add"):
            hub.by_hand(add=[("https", "*:%d:" % hub.old, 0, None)])
            return "A specified logon session does not exist"
        return None

    hub.broken[CHANGE] = first
    if trouble == "http.sys does not listen":
        hub.seen = lambda listeners: [one for one in listeners if one["port"] != hub.old]
    result = hub.call("restored", timeout=2)
    for listener in taken:
        listener.close()
    assert result["failed"] and not result["changed"], result
    assert "Port %d was not taken away, and its bindings are as this run found them" % hub.new in result["msg"]
    assert hub.bindings() == ["*:%d:" % hub.new] and hub.record()["state"] == "verified"
    # Given back are the bindings; http.sys follows them a moment later, and until then has the port that is to come back.
    until(lambda: hub.answers(hub.new) and hub.listening() == {hub.new: 4}, "the hub does not listen on its new port alone")
    # Mended, it goes back.
    hub.broken.clear()
    hub.seen = lambda listeners: listeners
    assert hub.call("restored")["changed"] and hub.both() == [True, False]


def test_a_certificate_that_was_renewed_since_goes_back_too(windows):
    hub = windows()
    hub.thumbprints["renewed"] = hub.machine.put_certificate(certificate("renewed"))
    assert hub.call()["changed"] and hub.call("absent")["changed"]
    hub.by_hand(remove=["*:%d:" % hub.new], add=[("https", "*:%d:" % hub.new, 0, "renewed")])
    os.rename(hub.machine.certificate("MY", hub.thumbprint), hub.machine.own("elsewhere.pem"))
    result = hub.call("restored")
    assert result["changed"], result
    assert result["restored"][0] == "https *:%d: %s put back" % (hub.old, hub.thumbprints["renewed"])
    assert hub.ask(hub.old)[0] == hub.thumbprints["renewed"] and hub.bindings() == ["*:%d:" % hub.old]


def test_what_others_have_added_stays_and_what_others_have_changed_needs_force(windows):
    hub = windows()
    assert hub.call()["changed"]
    hub.by_hand(remove=["*:%d:" % hub.old],
                add=[("http", "*:%d:" % hub.old, 0, None), ("https", "*:%d:own" % hub.new, SNI, "hub")])
    hub.refused("these bindings have changed since the migration: http *:%d:" % hub.old, "restored")
    result = hub.call("restored", force=True)
    assert result["notes"][0] == "the binding https *:%d:own sni %s is none of the migration's, so it stays" % (
        hub.new, hub.thumbprint)
    assert "%s is put back with no flags but those for SNI" % hub.text(hub.old) in result["notes"][1], result["notes"]
    assert sorted(hub.bindings()) == sorted(["*:%d:" % hub.old, "*:%d:own" % hub.new]) and hub.record()["state"] == "rolled_back"
    assert result["listens"]["after"] == sorted([hub.text(hub.old), "https *:%d:own sni %s" % (hub.new, hub.thumbprint)])


def test_a_port_that_was_taken_meanwhile_is_no_way_back(windows):
    hub = windows()
    assert hub.call()["changed"] and hub.call("absent")["changed"]
    with held(hub.old):
        hub.refused("port %d is taken by " % hub.old, "restored")
    assert hub.call("restored")["changed"] and hub.both() == [True, False]


def test_a_site_that_was_stopped_by_hand_stays_so_on_the_way_back(windows):
    hub = windows()
    assert hub.call()["changed"]
    hub.switch(STOPPED)
    result = hub.call("restored")
    assert result["changed"] and "it was left so. Start it" in result["notes"][-1]
    assert (hub.site_state(), hub.bindings(), hub.record()["state"]) == (STOPPED, ["*:%d:" % hub.old], "rolled_back")


def test_only_the_migration_that_is_meant_goes_back(windows):
    hub = windows()
    assert hub.call("restored")["record"] is None and hub.asked == [MODULE]
    assert hub.call()["changed"]
    record = dict(path=RECORD, new_port=hub.new + 1)
    result = hub.call("restored", record=record)
    assert (result["changed"], result["record"], len(hub.bindings())) == (False, hub.record(), 2)
    found = hub.call("restored", check=True, record=dict(record, new_port=0))
    assert found["changed"] and found["record"]["new_port"] == hub.new and len(hub.bindings()) == 2
    assert hub.call("restored", record=dict(record, new_port=0))["changed"] and hub.bindings() == ["*:%d:" % hub.old]
    assert hub.call("restored")["changed"] is False


def test_a_second_migration_keeps_the_record_of_the_first_aside(windows):
    hub = windows()
    assert hub.call()["changed"] and hub.call("absent")["changed"]
    first, second = hub.record(), dict(path=RECORD, new_port=hub.old)
    assert hub.call(port=hub.old, beside=hub.new, record=second)["changed"]
    [aside] = hub.host.files.listing(RECORD[:-len(".json")])
    assert json.loads(aside.content) == first
    assert (hub.record()["old_port"], hub.record()["new_port"]) == (hub.new, hub.old)
    assert hub.call("restored", record=second)["changed"] and hub.bindings() == ["*:%d:" % hub.new]
