# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bindings a site of IIS gets, loses and gets back; what is refused; and the record of it on a Windows host."""

import json
import ntpath
from unittest import mock

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import IS_ARCHIVED, RecordError
from ansible_collections.portshift.agents.plugins.plugin_utils import _iis_bindings as iis
from ansible_collections.portshift.agents.plugins.plugin_utils._iis_edit import ListenEdit
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import FOLDER
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import WindowsError
from ansible_collections.portshift.agents.plugins.plugin_utils._windows_record import NEXT, WindowsRecord, as_text, parse
from tests.unit.windows_moves import Straight
from tests.windows.files import ADMINISTRATORS, TRUSTED, USERS
from tests.windows.host import Host as Model

A, B = "A" * 40, "B" * 40


def binding(words):
    """Out of "https *:443:name sni HASH", as iis.text() has it; for http and others no hash."""
    protocol, information, *rest = words.split()
    ip, port, hostname = information.split(":")
    found = [word for word in rest if len(word) == 40]
    return iis.as_read(dict(ip=ip, port=int(port), hostname=hostname, protocol=protocol, use_sni="sni" in rest,
                            use_ccs="ccs" in rest, certificate_hash="".join(found),
                            certificate_store_name="My" if found else None))


def bindings(*lines):
    return [binding(line) for line in lines]


def site(*lines, name="Hub", state="Started"):
    return iis.Site(dict(name=name, state=state, bindings=bindings(*lines)))


def entry(port, pid=4, name="System", address="::"):
    return dict(port=port, pid=pid, name=name, address=address)


PLAIN, SECOND = "https *:443: " + A, "https *:8443: " + A


@pytest.mark.parametrize("line", [PLAIN, "http *:80:", "https 10.0.0.5:443:hub.example sni " + A, "https *:443:hub.example ccs",
                                  "https *:443:hub.example sni ccs", "https *:443:"])
def test_a_line_says_all_that_a_binding_is(line):
    assert iis.text(binding(line)) == line


def test_what_powershell_leaves_out_or_spells_otherwise_is_the_same():
    read = iis.as_read(dict(ip="*", port=443, hostname=None, protocol="HTTPS", certificate_hash="ab" * 20,
                            certificate_store_name="MY"))
    assert iis.missing([read], bindings("https *:443: " + "AB" * 20)) == []
    assert iis.Site(dict(name="x", state=None, bindings=None)).web == []
    assert iis.missing(bindings("http *:80:Hub.Example"), bindings("http *:80:hub.example")) == []
    # An address that is left out is every address.
    assert iis.identity(dict(read, ip="")) == iis.identity(read)


@pytest.mark.parametrize("ip, port, protocol, readable", [
    ("*", 443, "https", True), ("[", 0, "https", False), ("[2001", 443, "https", False), ("*", 0, "http", False),
    ("*", 0, "net.pipe", True), ("localhost", 0, "msmq.formatname", True)])
def test_a_binding_with_an_address_of_ipv6_is_known_to_be_read_wrongly(ip, port, protocol, readable):
    one = iis.Site(dict(name="Hub", state="Started", bindings=[dict(ip=ip, port=port, hostname="", protocol=protocol)]))
    assert bool(one.unreadable) is not readable
    assert one.having(443) == (one.bindings if protocol == "https" and readable else [])
    if readable:
        iis.require_readable(one)
    else:
        with pytest.raises(iis.BindingError, match="can't be read by microsoft.iis.website_info"):
            iis.require_readable(one)


# --- which site

@pytest.mark.parametrize("ports, expected", [
    ([443, 8443], "Hub"), ([9443, 8080], "Other"), ([8080], "Other"), ([9443], None), ([443], "Hub"), ([], None)])
def test_the_site_is_the_one_that_has_the_first_port_that_any_has(ports, expected):
    found = iis.with_port([site(PLAIN), site("http *:8080:", name="Other")], ports)
    assert (found.name if found else None) == expected


def test_which_of_several_sites_is_meant_has_to_be_said():
    both = [site("https *:443:a sni " + A), site("https *:443:b sni " + A, name="Other")]
    with pytest.raises(iis.BindingError, match='several sites have a binding on port 443 ."Hub", "Other".'):
        iis.with_port(both, [443, 8443])
    assert iis.named(both, "other").name == "Other"
    with pytest.raises(iis.BindingError, match='no site "Third": the sites of IIS are "Hub" .443., "Other" .443.'):
        iis.named(both, "Third")
    with pytest.raises(iis.BindingError, match="IIS has no site"):
        iis.named([], "Third")


# --- present

@pytest.mark.parametrize("there, expected", [
    ([PLAIN], [PLAIN, SECOND]),
    ([PLAIN, SECOND], [PLAIN, SECOND]),
    ([SECOND], [SECOND]),
    (["http *:80:", PLAIN], ["http *:80:", PLAIN, SECOND]),
    (["https 10.0.0.5:443:a sni " + A, "https *:443:b " + B],
     ["https 10.0.0.5:443:a sni " + A, "https *:443:b " + B, "https 10.0.0.5:8443:a sni " + A, "https *:8443:b " + B]),
    (["https *:443:a ccs"], ["https *:443:a ccs", "https *:8443:a ccs"]),
    (["http *:443:"], ["http *:443:", "http *:8443:"]),
    # What a run that was killed between the binding and its certificate left.
    ([PLAIN, "https *:8443:"], [PLAIN, SECOND]),
])
def test_each_binding_on_the_port_gets_its_twin(there, expected):
    wanted, notes = iis.twins(site(*there), 443, 8443)
    assert ([iis.text(one) for one in wanted], notes) == (expected, [])


@pytest.mark.parametrize("there, beside, words", [
    (["http *:80:"], 443, "no binding on port 8443, and none on port 443 to stand beside .it has 80.$"),
    ([], 443, "it has no binding at all"),
    ([PLAIN], None, "beside does not say"),
    (["https *:443:"], 443, "https .:443: has no certificate, so it can't get a twin"),
    ([PLAIN, "https *:8443: " + B], 443, "it has the binding https .:8443: B+ already, which is not the same"),
    ([PLAIN, "http *:8443:"], 443, "it has the binding http .:8443: already"),
    (["https *:443:a " + A, "https *:8443:a sni"], 443, "which is not the same"),
])
def test_a_twin_that_would_not_be_one_is_refused(there, beside, words):
    with pytest.raises(iis.BindingError, match=words):
        iis.twins(site(*there), beside, 8443)


def test_a_twin_of_the_migration_follows_a_certificate_that_was_renewed():
    recorded = dict(before=bindings(PLAIN), old_port=443, new_port=8443)
    wanted, notes = iis.twins(site("https *:443: " + B, SECOND), 443, 8443, recorded)
    assert (iis.texts(wanted), notes) == (["https *:443: " + B, "https *:8443: " + B], [])
    # One that was there before is the site's own.
    with pytest.raises(iis.BindingError, match="which is not the same"):
        iis.twins(site("https *:443: " + B, SECOND), 443, 8443, dict(recorded, before=bindings(PLAIN, SECOND)))


def test_on_the_way_back_a_binding_that_stayed_is_left_alone():
    recorded = dict(before=bindings(PLAIN), old_port=443, new_port=8443)
    wanted, notes = iis.twins(site(PLAIN, "https *:8443: " + B), 8443, 443, recorded)
    assert iis.texts(wanted) == iis.texts(bindings(PLAIN, "https *:8443: " + B))
    assert notes == ["the binding %s was there before and is not the same as https *:8443: %s; it was left as it is" % (PLAIN, B)]


@pytest.mark.parametrize("old_port, there, expected, notes", [
    (443, [SECOND], [PLAIN, SECOND], 0),
    (443, [SECOND, "https *:8443:new " + A], [PLAIN, SECOND, "https *:8443:new " + A], 1),
    (443, ["https *:8443:new " + A], ["https *:8443:new " + A], 1),
    # It is not known which port was left.
    (None, ["https *:8443:new " + A], ["https *:443:new " + A, "https *:8443:new " + A], 0),
])
def test_the_port_that_was_left_gets_back_what_it_had_alone(old_port, there, expected, notes):
    recorded = dict(before=bindings(PLAIN), old_port=old_port, new_port=8443)
    wanted, said = iis.twins(site(*there), 8443, 443, recorded)
    assert iis.texts(wanted) == sorted(expected)
    assert said == ["the binding https *:8443:new %s was not put on port 443, where it was not before" % A] * notes


def test_bindings_that_others_may_be_taken_for_come_first():
    narrow = ["https 10.0.0.5:443:a sni " + A, "https 10.0.0.5:443: " + A, "https *:443:a sni " + A, PLAIN]
    assert [iis.text(one) for one in iis.general_first(bindings(*narrow))] == narrow[::-1]


def test_a_twin_is_asked_for_as_website_takes_it():
    asked = dict(ip="*", port=8443, hostname="", protocol="https", use_sni=False, use_ccs=False)
    assert iis.to_add(binding(SECOND)) == dict(asked, certificate_hash=A, certificate_store_name="My")
    assert iis.to_add(binding("https *:8443:a ccs")) == dict(asked, hostname="a", use_ccs=True)
    assert iis.to_add(binding("http *:8443:")) == dict(asked, protocol="http")
    assert iis.to_remove(binding(SECOND)) == dict(ip="*", port=8443, hostname="")


# --- absent

@pytest.mark.parametrize("there, beside, expected", [
    ([PLAIN, SECOND], 8443, [SECOND]), ([PLAIN, SECOND], None, [SECOND]), ([SECOND], 8443, [SECOND]), ([], None, []),
    (["http *:80:", PLAIN], None, ["http *:80:"]),
])
def test_the_bindings_of_a_port_go(there, beside, expected):
    wanted, notes = iis.without(site(*there), 443, beside)
    assert ([iis.text(one) for one in wanted], notes) == (expected, [])


@pytest.mark.parametrize("there, beside, words", [
    ([PLAIN], None, "no other binding than those on port 443"),
    ([PLAIN, "net.pipe *:0:"], None, "no other binding than those on port 443"),
    ([PLAIN, "https *:443:new " + A, SECOND], 8443, "its binding https .:443:new A+ has no twin on port 8443"),
    (["https 10.0.0.5:443: " + A, SECOND], 8443, "its binding https 10.0.0.5:443: A+ has no twin"),
    ([PLAIN, "http *:80:"], 8443, "has no twin on port 8443"),
    (["https *:443:", SECOND], 8443, "has no certificate, so it could not be put back"),
    # What stands there serves no client that comes from the port that goes.
    ([PLAIN, "http *:8443:"], 8443, "has no twin on port 8443 .http .:8443: is of another kind., so what is reached by it"),
    (["https *:443:a sni " + A, "https *:8443:a " + A], 8443, "has no twin on port 8443 .https .:8443:a A+ is of another kind"),
    (["https *:443:a sni ccs", "https *:8443:a sni " + A], 8443, "is of another kind"),
    ([PLAIN, "https *:8443:"], 8443, "has no twin on port 8443 .https .:8443: has no certificate."),
])
def test_no_client_loses_the_hub_with_a_port(there, beside, words):
    with pytest.raises(iis.BindingError, match=words):
        iis.without(site(*there), 443, beside)


def test_a_port_goes_though_the_one_that_stays_has_another_certificate_and_that_is_told():
    wanted, notes = iis.without(site(PLAIN, "https *:8443: " + B), 443, 8443)
    assert iis.texts(wanted) == ["https *:8443: " + B]
    assert notes == ["the binding https *:8443: %s has another certificate than %s, which goes" % (B, PLAIN)]


# --- restored

@pytest.mark.parametrize("before, now, expected, changed, notes", [
    ([PLAIN], [PLAIN, SECOND], [PLAIN], 0, 0),
    ([PLAIN], [SECOND], [PLAIN], 0, 0),
    ([PLAIN], [PLAIN], [PLAIN], 0, 0),
    ([PLAIN, "http *:80:"], ["http *:81:", SECOND], ["http *:81:", PLAIN], 0, 0),
    # The certificate was renewed while both ports were there, or after the old one was closed.
    ([PLAIN], ["https *:8443: " + B], ["https *:443: " + B], 0, 0),
    ([PLAIN], [PLAIN, "https *:8443: " + B], [PLAIN], 0, 0),
    ([PLAIN], ["https *:443:", SECOND], [PLAIN], 0, 0),
    # Of others.
    ([PLAIN], [PLAIN, SECOND, "https *:8443:new sni " + B], ["https *:8443:new sni " + B, PLAIN], 0, 1),
    ([PLAIN], ["https *:443:new " + B, SECOND], ["https *:443:new " + B, PLAIN], 0, 0),
    ([PLAIN, SECOND], [PLAIN, SECOND], [PLAIN, SECOND], 0, 0),
    (["https *:443:a " + A], ["https *:8443:a sni " + A], ["https *:443:a " + A], 1, 0),
    ([PLAIN], ["http *:443:", SECOND], [PLAIN], 1, 0),
    # One that was never finished.
    ([PLAIN], [PLAIN, "https *:8443:"], [PLAIN], 0, 0),
])
def test_the_way_back_undoes_the_migration_alone(before, now, expected, changed, notes):
    wanted, lost, said = iis.as_before(site(*now), bindings(*before), 443, 8443)
    assert (iis.texts(wanted), len(lost), len(said)) == (sorted(expected), changed, notes)
    again = iis.as_before(site(*map(iis.text, wanted)), bindings(*before), 443, 8443)
    assert iis.texts(again[0]) == iis.texts(wanted) and again[1] == []


# --- what stands against it

@pytest.mark.parametrize("listeners, others, here, words", [
    ([entry(8443, 812, "haproxy.exe", "10.0.0.9")], [], [PLAIN], "taken by haproxy.exe .process 812. on 10.0.0.9"),
    ([entry(8443, 812, None)], [], [PLAIN], "taken by a process .process 812."),
    ([], [["http *:8443:"]], [PLAIN], 'bound by site "Other" already .http .:8443:.'),
    ([entry(8443)], [["https *:8443:other sni " + A]], [PLAIN], 'bound by site "Other" already'),
    ([entry(8443)], [], [PLAIN], "listens on port 8443 already, for no binding of a site"),
    ([entry(8443)], [], [PLAIN, "https *:8443:b " + A], None),
    ([entry(443), entry(8444, 812)], [["http *:80:", PLAIN]], [PLAIN], None),
])
def test_a_new_port_is_to_be_the_hubs_alone(listeners, others, here, words):
    given = 8443, bindings(SECOND), site(*here), [site(*lines, name="Other") for lines in others], listeners
    if words is None:
        iis.require_free(*given)
    else:
        with pytest.raises(iis.BindingError, match=words):
            iis.require_free(*given)


def test_where_other_sites_cant_be_read_the_port_may_be_theirs():
    with pytest.raises(iis.BindingError, match="for another site, which could not be read"):
        iis.require_free(8443, bindings(SECOND), site(PLAIN), [], [entry(8443)], others_known=False)


@pytest.mark.parametrize("other, listener, words", [
    ("https *:443:other sni " + A, entry(443), None), (None, entry(443), None), (PLAIN, None, "bound by"),
    (None, entry(443, 812), "taken by")])
def test_a_binding_that_goes_back_to_its_port_may_share_it_as_it_did(other, listener, words):
    given = (443, bindings(PLAIN), site(SECOND), [site(other, name="Other")] if other else [], [listener] if listener else [],
             True, bindings(PLAIN))
    if words is None:
        iis.require_free(*given)
    else:
        with pytest.raises(iis.BindingError, match=words):
            iis.require_free(*given)


@pytest.mark.parametrize("added, other, refused", [
    (PLAIN, "https *:443:other " + B, True), (PLAIN, "https *:443:other " + A, False), (PLAIN, "https *:443:other", False),
    (PLAIN, "https *:443:other sni " + B, False), ("https *:443:hub sni " + A, "https *:443:other " + B, False),
    (PLAIN, "https *:443:other ccs", False), (PLAIN, "https 10.0.0.5:443: " + B, False), (PLAIN, "https *:444: " + B, False),
    ("https 10.0.0.5:443:hub " + A, "https 10.0.0.5:443:other " + B, True), ("http *:443:", "https *:443: " + B, False)])
def test_another_site_keeps_its_certificate_where_http_sys_has_one_for_both(added, other, refused):
    given = bindings(added), [site("http *:80:", name="Third"), site(other, name="Other")]
    if not refused:
        iis.require_own_certificate(*given)
        return
    with pytest.raises(iis.BindingError) as found:
        iis.require_own_certificate(*given)
    assert 'site "Other" has one there with the certificate %s (%s), so it would get that of %s, which is %s.' % (
        B, other, added, A) in str(found.value)


def test_a_certificate_of_the_central_store_needs_an_entry_that_website_does_not_make():
    here = site("https *:443:hub sni ccs", "https *:443:b ccs")
    iis.require_addable(here, here.web)
    with pytest.raises(iis.BindingError) as found:
        iis.require_addable(here, bindings("https *:8443:hub sni ccs", "https *:8443:b ccs"))
    for words in ('New-WebBinding -Name "Hub" -Protocol https -IPAddress "*" -Port 8443 -HostHeader "hub" -SslFlags 3; '
                  'New-Item -Path "IIS:\\SslBindings\\!8443!hub" -SSLFlags 3',
                  'New-Item -Path "IIS:\\SslBindings\\!8443!b" -SSLFlags 2'):
        assert words in str(found.value)


@pytest.mark.parametrize("there, added, refused", [
    ([PLAIN, "net.pipe *:0:", SECOND], "https *:8443: " + B, True), ([PLAIN, "net.pipe *:0:"], SECOND, False),
    ([PLAIN, "net.pipe *:0:", "https *:8443:"], SECOND, True), ([PLAIN, SECOND], "https *:8443: " + B, False),
    # One of another kind is removed before it is added.
    ([PLAIN, "net.pipe *:0:", "http *:8443:"], SECOND, False)])
def test_website_is_let_edit_a_binding_only_where_it_counts_right(there, added, refused):
    if not refused:
        iis.require_addable(site(*there), bindings(added))
        return
    with pytest.raises(iis.BindingError) as found:
        iis.require_addable(site(*there), bindings(added))
    said = str(found.value)
    assert "the certificate of its binding https *:8443: would have to be set" in said
    assert "(this one has net.pipe). Set it by hand in IIS Manager, to that with the thumbprint %s" % added[-40:] in said


def test_what_another_site_loses_is_seen():
    before = [site("https *:443:other " + A, "http *:80:", name="Other")]
    assert iis.lost(before, [site("http *:80:", "https *:443:other " + A, name="Other")]) == []
    assert iis.lost(before, [site("http *:80:", "https *:443:other", name="Other")]) == [
        'https *:443:other %s of site "Other"' % A]


@pytest.mark.parametrize("adds, removes, started, calls", [
    ([PLAIN], [SECOND], True, ["remove", "add"]), ([], [SECOND], False, ["remove"]), ([], [], False, [""]),
    ([PLAIN], [], True, ["add"]), ([], [], True, [])])
def test_what_was_added_is_removed_whatever_becomes_of_the_rest(adds, removes, started, calls):
    asked = []

    def call(name, arguments):
        asked.append("".join(arguments["bindings"]))
        return dict(failed=asked[-1] == "add", msg="Element not found.")

    edit = ListenEdit(call, None, dict(site="Hub", state="present", port=8443, beside=443), False)
    edit.site = site(PLAIN, state="Started" if started else "Stopped")
    why = edit._step_back(bindings(*adds), bindings(*removes))
    assert asked == calls and why == ("microsoft.iis.website failed on the host (Element not found.)" if adds else None)


# --- the record

class Host(Straight):
    """A Windows host for its record, asked without a wire."""

    def __init__(self):
        super().__init__(Model("hub"))

    def text(self, path):
        node = self.host.files.get(path)
        return node and node.content.decode()

    def put(self, path, text, **attributes):
        self.host.files.put(path, text.encode(), **attributes)

    def names(self):
        return {node.path for node in self.host.files.below(FOLDER) if not node.is_folder and "\\changes\\" not in node.path}


PATH = "C:\\ProgramData\\portshift\\hub.json"


def record(host, new_port=8443, old_port=443):
    return WindowsRecord(host, PATH, old_port, new_port, "open")


def test_a_record_is_written_ahead_and_gone_on_with():
    host = Host()
    first = record(host)
    assert first.content is None and first.in_force is None and host.names() == set() and host.reads == 1
    first.before_change("Hub", bindings(PLAIN))
    noted = json.loads(host.text(PATH))
    assert {key: noted[key] for key in ("version", "old_port", "new_port", "phase", "state", "files", "site")} == dict(
        version=1, old_port=443, new_port=8443, phase="open", state="changing", files=[], site="Hub")
    assert noted["bindings_before"] == bindings(PLAIN) and noted["last_change"] >= noted["started"] > 0
    first.mark("verified")
    first.mark("verified")
    assert json.loads(host.text(PATH))["state"] == "verified" and len(host.applies) == 2 and host.reads == 1
    second = record(host)
    second.before_change("Hub", bindings(PLAIN, SECOND))
    assert (second.content["bindings_before"], second.content["started"]) == (bindings(PLAIN), noted["started"])
    assert host.names() == {PATH}


def test_the_folder_of_a_record_is_the_one_in_which_bigfix_moves():
    """A hub's host that has an agent of BigFix, too."""
    host = Host()
    record(host).before_change("Hub", bindings(PLAIN))
    node = host.host.files.get(FOLDER)
    assert node.protected and node.writers <= TRUSTED
    written = host.apply({}, [dict(step="write", path=FOLDER + "\\bigfix.json", expected=None, content="")], 60)
    assert written["outcome"] == "applied"


def earlier(host, owner=ADMINISTRATORS, **more):
    """What a version has left that had the folder made by win_file: with the ACL that it inherits."""
    host.host.files.folder(FOLDER, owner=owner, writers=TRUSTED | {USERS}, protected=False)
    host.put(PATH, json.dumps(dict(RIGHT, files=[], last_change=1.5, phase="open")), **more)


def test_a_record_that_an_earlier_version_wrote_is_found_and_its_folder_made_our_own():
    host = Host()
    earlier(host)
    assert record(host).in_force["bindings_before"] == []
    assert host.host.files.get(FOLDER).protected
    record(host).mark("rolled_back")
    assert json.loads(host.text(PATH))["state"] == "rolled_back"


def test_check_mode_reads_such_a_record_and_leaves_the_folder():
    host = Host()
    earlier(host)
    assert WindowsRecord(host, PATH, 443, 8443, "open", True).in_force and host.applies == []


def test_a_record_in_a_folder_of_a_user_is_not_believed():
    host = Host()
    earlier(host, owner="HUB\\mallory")
    with pytest.raises(RecordError, match="hub.json: can't be read on the host"):
        record(host)


@pytest.mark.parametrize("new_port, state, in_force", [
    (8443, "changing", True), (8443, "verified", True), (8443, "rolled_back", False), (9443, "verified", False),
    (0, "verified", True), (0, "rolled_back", False)])
def test_a_record_is_in_force_for_its_own_migration(new_port, state, in_force):
    host = Host()
    first = record(host)
    first.before_change("Hub", [])
    first.mark(state)
    assert (record(host, new_port).in_force is not None) is in_force


def test_the_record_of_an_earlier_migration_is_kept_aside_once():
    host = Host()
    first = record(host)
    first.before_change("Hub", bindings(PLAIN))
    first.mark("verified")
    earlier = host.text(PATH)
    second = record(host, 9443, 8443)
    second.before_change("Hub", bindings(SECOND))
    [aside] = host.names() - {PATH}
    assert ntpath.dirname(aside) == "C:\\ProgramData\\portshift\\hub" and IS_ARCHIVED.match(ntpath.basename(aside))
    assert host.text(aside) == earlier and json.loads(host.text(PATH))["bindings_before"] == bindings(SECOND)
    # Taken back at once: the one before is in force again, and going on once more keeps no second copy of it.
    second.settle(True)
    assert host.text(PATH) == earlier
    record(host, 9443, 8443).before_change("Hub", bindings(SECOND))
    assert host.names() == {PATH, aside}
    # Another one that began in the same second.
    host.put(PATH, as_text(dict(parse(PATH, earlier.encode()), phase="another")))
    record(host, 9443, 8443).before_change("Hub", bindings(SECOND))
    assert host.names() == {PATH, aside, aside[:-len(".json")] + "-2.json"}
    assert IS_ARCHIVED.match(ntpath.basename(max(host.names())))


@pytest.mark.parametrize("untouched, state", [(True, "rolled_back"), (False, "verified")])
def test_a_change_that_was_taken_back_leaves_the_record_as_it_was(untouched, state):
    host = Host()
    first = record(host)
    first.before_change("Hub", bindings(PLAIN))
    first.mark("verified")
    again = record(host)
    again.before_change("Hub", bindings(PLAIN, SECOND))
    again.settle(untouched)
    assert json.loads(host.text(PATH))["state"] == state


RIGHT = dict(version=1, old_port=443, new_port=8443, phase="", state="verified", site="Hub", bindings_before=[], started=1.5)


@pytest.mark.parametrize("damage, words", [
    (dict(bindings_before=["x"]), "bindings_before has 'x', which is no binding"),
    (dict(bindings_before=[dict(ip="*", port=443)]), "which is no binding"),
    (dict(bindings_before=[dict(protocol="https", port="x")]), "a binding that can't be read"),
    (dict(bindings_before=[dict(protocol="https", port=443, hostname=7)]), "a binding that can't be read"),
    (dict(bindings_before={}), "bindings_before is {}, which is not a list"),
    (dict(site=None), "site is None, which is not the name of a site"), (dict(site=""), "site is ''"),
    (dict(old_port="443"), "old_port is '443', which is not a port"), (dict(old_port=0), "old_port is 0"),
    (dict(new_port="8443"), "new_port is '8443'"), (dict(new_port=None), "new_port is None"),
    (dict(new_port=70000), "new_port is 70000"), (dict(started="yesterday"), "started is 'yesterday'"),
    (dict(started=1e300), "not a time in seconds"), (dict(state=None), "state is None"),
])
def test_a_record_that_was_damaged_is_named_and_what_to_do(damage, words):
    assert parse(PATH, json.dumps(RIGHT).encode()) == RIGHT
    with pytest.raises(RecordError) as found:
        parse(PATH, json.dumps(dict(RIGHT, **damage)).encode())
    assert words in str(found.value) and str(found.value).startswith(PATH) and "move it away if" in str(found.value)


def test_a_record_of_a_migration_that_left_an_unknown_port_is_read():
    for right in (dict(old_port=None), dict(bindings_before=bindings(PLAIN, "net.pipe *:0:"))):
        parse(PATH, json.dumps(dict(RIGHT, **right)).encode())


@pytest.mark.parametrize("content, words", [
    (b"{", "is not a record of an IIS site"), (b"[]", "is not a record"), (b"\xff", "is not a record"),
    (b'{"version": 7}', "version 7"),
    (b'{"version": 1, "old_port": 1, "new_port": 2, "phase": "", "state": "verified"}', "bindings_before, site missing"),
    (b'{"version": 1, "old_port": 1, "new_port": 2, "phase": "", "state": "", "site": "a", "bindings_before": {}}', "not a list"),
])
def test_what_is_no_record_is_not_taken_for_one(content, words):
    with pytest.raises(RecordError, match=words):
        parse(PATH, content)


def test_a_record_that_notepad_has_saved_is_read():
    host = Host()
    record(host).before_change("Hub", [])
    assert parse(PATH, b"\xef\xbb\xbf" + host.text(PATH).encode())["site"] == "Hub"


def test_a_host_that_can_not_be_read_or_written_says_so():
    host = Host()
    host.read = mock.Mock(side_effect=WindowsError("PowerShell failed on the host: no memory"))
    with pytest.raises(RecordError, match="hub.json: can't be read on the host .PowerShell failed on the host: no memory"):
        record(host)
    host = Host()
    first = record(host)
    host.host.files.free["c:"] = 0
    with pytest.raises(RecordError, match="hub.json: can't be written on the host ."):
        first.before_change("Hub", [])
    assert host.names() == set()


@pytest.mark.parametrize("left", [None, b"{"])
def test_a_record_that_an_earlier_version_lost_while_it_wrote_is_read_beside_it(left):
    host = Host()
    first = record(host)
    first.before_change("Hub", bindings(PLAIN))
    host.put(PATH + NEXT, json.dumps(dict(json.loads(host.text(PATH)), state="verified")))
    host.host.files.remove(PATH)
    if left:
        host.put(PATH, left.decode())
    found = record(host)
    assert (found.in_force["state"], found.in_force["bindings_before"]) == ("verified", bindings(PLAIN))
    # What is written next is in its place again, and alone.
    found.before_change("Hub", bindings(PLAIN, SECOND))
    assert json.loads(host.text(PATH))["bindings_before"] == bindings(PLAIN) and host.names() == {PATH}


def test_a_record_of_which_nothing_can_be_read_is_named():
    for path in (PATH, PATH + NEXT):
        host = Host()
        record(host).before_change("Hub", [])
        host.host.files.remove(PATH)
        host.put(path, "{")
        with pytest.raises(RecordError, match="%s: is not a record" % path.replace("\\", ".")):
            record(host)


def test_a_record_that_something_else_changes_meanwhile_is_not_overwritten():
    host = Host()
    first = record(host)
    first.before_change("Hub", [])
    host.put(PATH, "{}")
    with pytest.raises(RecordError, match="hub.json: can't be written on the host"):
        first.mark("verified")
    assert host.text(PATH) == "{}"
