# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""iis_listen on an IIS in memory, which removes or changes more than it was asked to, as Windows may."""

import copy
import json

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.portshift.agents.plugins.action.iis_listen import SPEC
from ansible_collections.portshift.agents.plugins.plugin_utils import _iis_bindings as iis
from ansible_collections.portshift.agents.plugins.plugin_utils import _iis_edit
from ansible_collections.portshift.agents.plugins.plugin_utils._iis_edit import set_bindings
from tests.unit.test_iis_bindings import bindings
from tests.unit.windows_moves import Straight
from tests.windows.host import Host

A, B = "A" * 40, "B" * 40
RECORD = "C:\\ProgramData\\portshift\\hub.json"
NOTED = dict(path=RECORD, old_port=443, new_port=8443)
PLAIN, SECOND, WEB = "https *:443: " + A, "https *:8443: " + A, "http *:80:"


class Killed(Exception):
    pass


class Machine:
    """Sites with their bindings, certificates in http.sys and files.

    `removal`: what goes with a binding that is removed: "exact" for it alone, "all" for every binding of the site, "nameless"
    for those on every port that have an empty host name, too, "port" for all on its port where it has no host name.
    """

    def __init__(self, removal="exact", **sites):
        self.sites = {name: dict(state="Started", bindings=bindings(*lines)) for name, lines in sites.items()}
        self.removal, self.changes = removal, []
        self.script = Straight(Host("hub"))
        # Whether the port never drains, the state of the connection to it, and in which states sockets were asked for.
        self.users, self.connected, self.looked_for = False, "Established", []
        # The certificate of each address and port, or name and port; and what is to happen before a change.
        self.table, self.before_change = {}, lambda arguments: None
        for one in self.web():
            if one["certificate_hash"]:
                self.table[self.endpoint(one)] = one["certificate_hash"]

    def web(self):
        return [one for site in self.sites.values() for one in site["bindings"]]

    @staticmethod
    def endpoint(one):
        return "%s:%d" % (one["hostname"] if one["use_sni"] else one["ip"], one["port"])

    def texts(self, name="Hub"):
        self.website_info({})
        return iis.texts(self.sites[name]["bindings"])

    def noted(self):
        return self.script.host.files.get(RECORD)

    def record(self):
        return json.loads(self.noted().content)

    def __call__(self, name, arguments):
        return getattr(self, name.rpartition(".")[2])(copy.deepcopy(arguments))

    def website_info(self, arguments):
        for one in self.web():
            if one["protocol"] == "https" and not one["use_ccs"]:
                one["certificate_hash"] = self.table.get(self.endpoint(one), "")
                one["certificate_store_name"] = "My" if one["certificate_hash"] else ""
        return dict(site=[dict(name=name, **copy.deepcopy(site)) for name, site in self.sites.items()
                          if arguments.get("name") in (None, name)])

    def win_listen_ports_facts(self, arguments):
        self.looked_for += arguments["tcp_filter"]
        if arguments["tcp_filter"] != ["Listen"]:
            there = self.users and self.connected in arguments["tcp_filter"]
            return dict(ansible_facts=dict(tcp_listen=[dict(port=port, pid=4, name="System", address="10.0.0.1") for port in (
                [3389, self.asked_for_users] if there else [3389])]))
        ports = {one["port"] for site in self.sites.values() if site["state"] == "Started" for one in site["bindings"]}
        listeners = [dict(port=port, pid=4, name="System", address="::") for port in ports if port]
        return dict(ansible_facts=dict(tcp_listen=listeners))

    def website(self, arguments):
        said = self.before_change(arguments)
        if said:
            return dict(failed=True, msg=said)
        site, asked = self.sites[arguments["name"]], arguments["bindings"]
        add, remove = asked.get("add", []), [iis.identity(one) for one in asked.get("remove", [])]
        self.changes.append((arguments["state"], [iis.identity(one) for one in add], remove))
        for one in add:
            one = iis.as_read(one)
            site["bindings"] = [kept for kept in site["bindings"] if iis.identity(kept) != iis.identity(one)] + [one]
            if one["certificate_hash"]:
                self.table[self.endpoint(one)] = one["certificate_hash"]
        site["bindings"] = [one for one in site["bindings"] if not self.goes(one, remove)]
        site["state"] = dict(started="Started", stopped="Stopped")[arguments["state"]]
        return dict(changed=True)

    def goes(self, one, removed):
        return bool(removed) and (
            iis.identity(one) in removed or self.removal == "all" or self.removal == "nameless" and not one["hostname"]
            or self.removal == "port" and "*:%d:" % one["port"] in removed)

    def win_wait_for(self, arguments):
        self.asked_for_users = arguments["port"]
        return dict(failed=self.users, msg="timeout while waiting for 0.0.0.0:%d to drain" % arguments["port"])

    # -- calls
    def run(self, check=False, **given):
        options = ArgumentSpecValidator(SPEC).validate(dict(dict(timeout=0.2, record=NOTED), **given)).validated_parameters
        return set_bindings(self, self.script, options, check)

    def open(self, **given):
        return self.run(**dict(dict(port=8443, beside=443), **given))

    def close(self, **given):
        return self.run(**dict(dict(port=443, beside=8443, state="absent"), **given))

    def reopen(self, **given):
        return self.run(**dict(dict(port=443, beside=8443), **given))

    def restore(self, **given):
        return self.run(**dict(dict(state="restored"), **given))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(_iis_edit, "LOOK_AGAIN", 0.01)


# --- a removal that takes more

@pytest.mark.parametrize("removal, closed", [("all", False), ("all", True), ("nameless", False), ("nameless", True)])
def test_what_the_end_of_a_way_back_takes_too_is_added_again(removal, closed):
    machine = Machine(Hub=[WEB, PLAIN])
    assert machine.open()["changed"]
    if closed:
        assert machine.close()["changed"]
    machine.removal = removal
    result = machine.restore()
    assert result["failed"] and result["changed"], result
    assert "with %s, which was to be taken away, " % SECOND in result["msg"]
    assert "%s, %s went too. That was added again" % (WEB, PLAIN) in result["msg"]
    assert machine.texts() == [WEB, PLAIN] and machine.sites["Hub"]["state"] == "Started"
    # What was asked for is there, which the next run finds.
    again = machine.restore()
    assert not again.get("failed") and machine.texts() == [WEB, PLAIN] and machine.record()["state"] == "rolled_back", again


def test_what_others_have_added_on_the_new_port_is_added_again():
    machine = Machine("port", Hub=[PLAIN])
    assert machine.open()["changed"]
    own = "https *:8443:own sni " + A
    machine.sites["Hub"]["bindings"] += bindings(own)
    machine.table["own:8443"] = A
    result = machine.restore()
    assert "%s went too. That was added again" % own in result["msg"] and machine.texts() == [PLAIN, own]
    assert not machine.restore().get("failed") and machine.record()["state"] == "rolled_back"


def test_what_cant_be_added_again_needs_a_person_who_is_told_what_was_there():
    machine = Machine(Hub=[WEB, PLAIN])
    assert machine.open()["changed"]
    machine.removal = "all"
    machine.before_change = lambda arguments: "locked" if arguments["bindings"].get("add") else None
    result = machine.restore()
    words = "Adding that again failed, it needs a person: microsoft.iis.website failed on the host (locked)"
    assert words in result["msg"], result
    assert "It was bound to %s, %s, %s before" % (WEB, PLAIN, SECOND) in result["msg"] and result["changed"]


def test_of_a_site_that_was_stopped_by_hand_too():
    machine = Machine(Hub=[WEB, PLAIN])
    assert machine.open()["changed"]
    machine.sites["Hub"]["state"], machine.removal = "Stopped", "all"
    assert "went too. That was added again" in machine.restore()["msg"]
    assert machine.texts() == [WEB, PLAIN] and machine.sites["Hub"]["state"] == "Stopped"


def test_a_wait_that_can_bring_nothing_back_ends_at_once():
    machine = Machine(Hub=[WEB, PLAIN])
    assert machine.open()["changed"]
    machine.removal = "all"
    waited = []
    machine.win_listen_ports_facts, look = lambda arguments: waited.append(1) or look(arguments), machine.win_listen_ports_facts
    result = machine.close(timeout=30)
    assert "it has no binding such as" in result["msg"] and "its bindings are as they were before; " in result["msg"], result
    assert "was added again, and has no flags but those for SNI" in result["msg"] and not result["changed"]
    assert machine.texts() == [WEB, PLAIN, SECOND] and len(waited) == 4


# --- one certificate for several sites

SHARED = dict(Hub=[PLAIN], Other=["https *:443:other " + A])


@pytest.mark.parametrize("back", ["reopen", "restore"])
def test_a_certificate_that_would_go_to_another_site_is_refused(back):
    machine = Machine(**SHARED)
    assert machine.open(site="Hub")["changed"] and machine.close()["changed"]
    machine.table["*:8443"] = B
    for check in (True, False):
        result = getattr(machine, back)(check=check)
        assert 'site "Other" has one there with the certificate %s' % A in result["msg"], result
        assert "which is %s" % B in result["msg"] and "nothing was changed" in result["msg"] and not result["changed"]
    assert machine.texts() == ["https *:8443: " + B] and machine.texts("Other") == ["https *:443:other " + A]
    # With one for both it goes on.
    machine.table["*:443"] = B
    result = getattr(machine, back)()
    assert result["changed"] and "https *:443: " + B in machine.texts(), result
    assert "the binding https *:443: %s is put back with no flags but those" % B in " ".join(result["notes"])


@pytest.mark.parametrize("back", ["close", "restore"])
def test_another_site_that_is_not_as_it_was_is_named_and_is_a_change(back):
    machine = Machine(**SHARED)
    assert machine.open(site="Hub")["changed"]
    machine.table.update({"other:443": B})
    machine.sites["Other"]["bindings"][0]["use_sni"] = True

    def more(arguments):
        if arguments["bindings"].get("remove"):
            machine.table["other:443"] = A

    machine.before_change = more
    result = getattr(machine, back)()
    assert result["failed"] and result["changed"], result
    assert 'https *:443:other sni %s of site "Other"' % B in result["msg"]


# --- the central store, and flags

def test_a_binding_of_the_central_store_is_made_by_a_person_and_then_gone_on_with():
    machine = Machine(Hub=["https *:443:hub sni ccs"])
    for check in (True, False):
        result = machine.open(check=check)
        assert 'New-Item -Path "IIS:\\SslBindings\\!8443!hub" -SSLFlags 3' in result["msg"] and machine.noted() is None
        assert "nothing was changed" in result["msg"]
    machine.sites["Hub"]["bindings"] += bindings("https *:8443:hub sni ccs")
    assert machine.open()["changed"] is False
    assert machine.close()["changed"] and machine.texts() == ["https *:8443:hub sni ccs"]
    for result in (machine.restore(), machine.reopen()):
        assert 'New-Item -Path "IIS:\\SslBindings\\!443!hub" -SSLFlags 3' in result["msg"]
    assert machine.record()["state"] == "verified"


def test_a_renewed_certificate_is_followed_only_where_website_edits_the_right_binding():
    machine = Machine(Hub=[PLAIN])
    assert machine.open()["notes"] == []
    machine.table["*:443"] = B
    machine.sites["Hub"]["bindings"].insert(0, bindings("net.pipe *:0:")[0])
    result = machine.open()
    assert "the certificate of its binding https *:8443: would have to be set" in result["msg"] and B in result["msg"]
    assert machine.table["*:8443"] == A
    del machine.sites["Hub"]["bindings"][0]
    result = machine.open()
    assert result["changed"] and "https *:8443: %s gets its certificate anew; it has no flags but those" % B in result["notes"][0]
    assert machine.table["*:8443"] == B


# --- the record

@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("stops", [True, False])
def test_a_way_back_that_was_killed_is_finished_by_the_next(at, stops):
    machine = Machine(Hub=[PLAIN])
    assert machine.open()["changed"] and machine.close()["changed"]
    calls = []

    def dies(_arguments):
        calls.append(machine.record()["state"])
        if len(calls) == at:
            if stops:
                machine.sites["Hub"]["state"] = "Stopped"
            raise Killed

    machine.before_change = dies
    with pytest.raises(Killed):
        machine.restore()
    assert calls == ["changing"] * at
    machine.before_change = lambda arguments: None
    result = machine.restore()
    assert not result.get("failed") and machine.texts() == [PLAIN], result
    assert (machine.sites["Hub"]["state"], machine.record()["state"]) == ("Started", "rolled_back")
    assert machine.restore()["changed"] is False


def test_a_killed_way_back_of_a_site_that_was_stopped_by_hand_leaves_it_so():
    machine = Machine(Hub=[PLAIN])
    assert machine.open()["changed"]
    machine.sites["Hub"]["state"] = "Stopped"

    def dies(_arguments):
        raise Killed

    machine.before_change = dies
    with pytest.raises(Killed):
        machine.restore()
    machine.before_change = lambda arguments: None
    assert machine.restore()["changed"] and machine.texts() == [PLAIN] and machine.sites["Hub"]["state"] == "Stopped"


def test_a_way_back_that_cant_be_noted_is_none():
    machine = Machine(Hub=[PLAIN])
    assert machine.open()["changed"]
    changes = len(machine.changes)
    machine.script.host.files.free["c:"] = 0
    result = machine.restore()
    assert "not enough space on the disk); nothing was changed" in result["msg"] and len(machine.changes) == changes
    assert machine.texts() == [PLAIN, SECOND]


def test_a_port_that_is_not_the_migrations_is_refused():
    machine = Machine(Hub=[PLAIN])
    for given in (dict(port=9443), dict(port=9443, beside=None)):
        result = machine.open(**given)
        assert "port is 9443, and the migration that C:\\ProgramData" in result["msg"] and machine.noted() is None, result
        assert "has the ports 443 and 8443, so what is done there could not be taken back" in result["msg"]
    assert machine.open()["changed"]
    assert "port is 9443" in machine.open(port=9443)["msg"]
    for record in (NOTED, dict(path=RECORD, new_port=8443), dict(path=RECORD, new_port=8443, old_port=80)):
        assert "port is 80" in machine.run(port=80, beside=8443, state="absent", record=record)["msg"]
    assert machine.texts() == [PLAIN, SECOND]
    # The next migration leaves what this one has led to; the first port may be ended or come back in its own one alone.
    following = dict(path=RECORD, new_port=9443)
    assert machine.close()["changed"]
    assert machine.run(port=9443, beside=8443, record=following)["changed"]
    assert machine.run(port=8443, beside=9443, state="absent", record=following)["changed"]
    assert "has the ports 8443 and 9443" in machine.run(port=443, beside=9443, record=following)["msg"]
    assert machine.run(port=8443, beside=9443, record=following)["changed"]
    assert machine.run(state="restored", record=following)["changed"] and machine.texts() == [SECOND]


def test_where_the_port_that_was_left_is_not_known_any_may_come_back():
    machine = Machine(Hub=[SECOND])
    assert machine.run(port=443, beside=8443, record=dict(path=RECORD, new_port=8443))["changed"]
    assert machine.texts() == [PLAIN, SECOND]


# --- who is connected

def test_a_way_back_waits_for_those_on_the_new_port_if_it_is_asked_to():
    machine = Machine(Hub=[PLAIN])
    assert machine.open()["changed"]
    machine.users, record = True, machine.record()
    for check in (True, False):
        result = machine.restore(check=check, users_seconds=2)
        assert result["in_use"] and "port 8443 is still used: in 2 s" in result["msg"] and not result["changed"], result
        assert (machine.texts(), machine.record(), machine.asked_for_users) == ([PLAIN, SECOND], record, 8443)
    assert machine.restore()["changed"] and machine.texts() == [PLAIN]


def test_a_port_whose_connections_have_ended_ends():
    machine = Machine(Hub=[PLAIN])
    assert machine.open()["changed"]
    machine.users, machine.connected = True, "TimeWait"
    assert machine.close(users_seconds=2)["changed"] and machine.texts() == [SECOND]
    machine.looked_for = []
    assert machine.restore(users_seconds=2)["changed"] and machine.texts() == [PLAIN] and "Established" in machine.looked_for


def test_a_port_that_drains_is_not_looked_at_any_closer():
    machine = Machine(Hub=[PLAIN])
    assert machine.open()["changed"] and machine.close(users_seconds=2)["changed"]
    assert set(machine.looked_for) == {"Listen"}


def test_connections_that_can_not_be_told_from_ended_ones_keep_the_port(monkeypatch):
    monkeypatch.setattr(_iis_edit, "BETWEEN_LOOKS", 0)
    machine = Machine(Hub=[PLAIN])
    assert machine.open()["changed"]
    machine.users, found = True, machine.win_listen_ports_facts
    monkeypatch.setattr(machine, "win_listen_ports_facts", lambda arguments: (
        found(arguments) if arguments["tcp_filter"] == ["Listen"] else dict(failed=True, msg="GetOwner")), raising=False)
    result = machine.close(users_seconds=2)
    assert "GetOwner" in result["msg"] and "-State Established" in result["msg"] and "nothing was changed" in result["msg"]
    assert machine.texts() == [PLAIN, SECOND] and not result["changed"]


def test_no_users_are_looked_for_where_the_new_port_is_gone_already():
    machine = Machine(Hub=[PLAIN])
    assert machine.open()["changed"]
    machine.sites["Hub"]["bindings"] = bindings(PLAIN)
    machine.users = True
    assert not machine.restore(users_seconds=2).get("failed") and machine.record()["state"] == "rolled_back"
