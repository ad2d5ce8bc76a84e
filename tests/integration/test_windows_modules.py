# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of other collections on the model of a Windows host: they refuse and get wrong what the real ones do."""

import base64

import pytest

from tests.integration.iis_hub import HUB, WindowsHub, certificate
from tests.lab.change_tracker.iis import admits
from tests.lab.change_tracker.windows import new_rule
from tests.windows.host import Host
from tests.windows.payload import Call

pytestmark = pytest.mark.stand_ins


@pytest.fixture
def hub(tmp_path):
    """A machine on which nothing runs."""
    made = WindowsHub(tmp_path / "machine")
    yield made
    made.stop()


@pytest.mark.parametrize("module, arguments, option", [
    ("win_wait_for", dict(path="C:\\x"), "path"),
    ("win_wait_for", dict(port=1, exclude_hosts=["a"]), "exclude_hosts"),
    ("win_wait_for", dict(), "how to wait without a port"),
    ("win_file", dict(path="C:\\x", state="touch"), "state=touch"),
    ("win_file", dict(path="C:\\x", modification_time="now"), "modification_time"),
    ("website", dict(name=HUB, preload_enabled=True), "preload_enabled"),
    ("win_firewall_rule", dict(name="x", icmp_type_code=["*"]), "icmp_type_code"),
])
def test_what_the_model_leaves_out_it_refuses(hub, module, arguments, option):
    done = hub.module(module, **arguments)
    assert done["failed"] and done["msg"] == "the model of a Windows host does not know %s" % option


def test_host_without_iis_has_no_sites():
    host = Host()
    for name in ("website", "website_info"):
        done = host.module(Call("module", "microsoft.iis." + name, dict(name=HUB)))
        assert done["failed"] and "IIS is not installed" in done["msg"]
    host.close()


# -- files
@pytest.mark.parametrize("path", ["x", "/etc/x", "C:x", "C:\\..\\x", "E:\\x"])
def test_path_that_leads_elsewhere_is_refused(hub, path):
    assert hub.module("slurp", src=path)["failed"] and hub.module("win_file", path=path, state="directory")["failed"]


@pytest.mark.parametrize("path", ["c:\\ProgramData\\x y\\z.json", "C:/ProgramData/x y/z.json", "%PROGRAMDATA%\\x y\\z.json"])
def test_path_is_read_as_windows_reads_it(hub, path):
    hub.host.files.put("C:\\ProgramData\\x y\\z.json", b"{}")
    assert base64.b64decode(hub.module("slurp", src=path)["content"]) == b"{}"


def test_file_from_its_folder_to_its_end(hub):
    folder, path = "C:\\ProgramData\\portshift", "C:\\ProgramData\\portshift\\hub.json"
    assert "does not exist" in hub.module("win_copy", dest=path, content="{}")["msg"]
    assert hub.module("win_file", True, path=folder, state="directory")["changed"]
    assert hub.module("slurp", src=folder)["msg"] == "Path %s is not found" % folder
    assert [hub.module("win_file", path=folder, state="directory")["changed"] for _time in range(2)] == [True, False]
    assert hub.module("slurp", src=folder)["msg"] == "Path %s is a directory" % folder
    assert hub.module("win_copy", True, dest=path, content="ä\n")["changed"]
    assert hub.module("slurp", src=path)["failed"]
    assert [hub.module("win_copy", dest=path, content="ä\n")["changed"] for _time in range(2)] == [True, False]
    assert base64.b64decode(hub.module("slurp", src=path)["content"]) == "ä\n".encode()
    assert hub.module("win_file", path=path, state="directory")["msg"] == "path %s is not a directory" % path
    assert [hub.module("win_file", path=folder, state="absent")["changed"] for _time in range(2)] == [True, False]
    assert hub.host.files.get(folder) is None


def test_backup_keeps_what_was_there(hub):
    path = "C:\\ProgramData\\hub.json"
    hub.host.files.put(path, b"old")
    done = hub.module("win_copy", dest=path, content="new", backup=True)
    assert hub.host.files.read(done["backup_file"]) == b"old" and hub.host.files.read(path) == b"new"


# -- IIS
def test_sites_are_shown_as_the_module_shows_them(hub):
    binding = dict(ip="*", port=hub.old, hostname="", protocol="https", use_ccs=False, use_sni=False,
                   certificate_hash=hub.thumbprint, certificate_store_name="MY")
    site = dict(name=HUB, site_id=1, state="Started", physical_path="C:\\inetpub\\wwwroot", application_pool="DefaultAppPool",
                bindings=[binding])
    found = hub.module("website_info")
    assert (found["changed"], found["exists"], found["site"]) == (False, True, [site])
    other = hub.module("website_info", name="Other")
    assert (other["exists"], other["site"]) == (False, [])


def with_binding(hub, *binding):
    configuration = hub.machine.configuration()
    configuration.site(HUB).add(*binding)
    configuration.write()


def test_ipv6_binding_is_torn_at_its_colons_and_cannot_be_removed(hub):
    with_binding(hub, "https", "[::1]:8444:", 0)
    torn = hub.module("website_info", name=HUB)["site"][0]["bindings"][1]
    assert (torn["ip"], torn["port"], torn["hostname"]) == ("[", 0, "1]")
    assert hub.website(remove=[dict(ip="[::1]", port=8444, hostname="")])["changed"], "the module says so"
    assert hub.bindings() == ["*:%d:" % hub.old, "[::1]:8444:"]


def test_binding_of_another_kind_makes_website_info_fail(hub):
    with_binding(hub, "net.pipe", "*")
    assert not hub.module("website_info").get("failed")
    with_binding(hub, "net.tcp", "808:*")
    for arguments in ({}, dict(name=HUB)):
        done = hub.module("website_info", **arguments)
        assert done["failed"] and 'Cannot convert value "*" to type "System.Int32"' in done["msg"]


@pytest.mark.parametrize("changes, words", [
    (dict(certificate_hash=None), "must either specify a certificate_hash or use_ccs."),
    (dict(certificate_hash="00" * 20), "Unable to locate certificate at cert:\\LocalMachine\\MY\\" + "00" * 20),
    (dict(certificate_store_name="WebHosting"), "Unable to locate certificate at cert:\\LocalMachine\\WebHosting\\"),
    (dict(use_sni=True), "must specify hostname value when use_sni is set."),
    (dict(use_ccs=True), "must specify hostname value when use_ccs is set."),
    (dict(use_ccs=True, hostname="hub.test"), "You set use_ccs to True."),
    (dict(protocol="http"), "You can only provide a certificate thumbprint when protocol is set to https"),
    (dict(protocol="http", use_sni=True, hostname="hub.test"), "use_sni can only be set for https protocol"),
])
def test_binding_that_the_module_refuses(hub, changes, words):
    # In check mode as well; one of them is enough to see it.
    done = hub.website("certificate_hash" in changes, add=[hub.twin(**changes)])
    assert done["failed"] and words in done["msg"]
    assert hub.bindings() == ["*:%d:" % hub.old]


def test_identity_is_the_text_of_the_binding(hub):
    here = hub.twin(port=hub.old)
    assert not hub.website(add=[here])["changed"]
    done = hub.website(add=[dict(here, ip=None)])
    assert done["failed"] and "Cannot add duplicate collection entry" in done["msg"], "no address is another text than *"
    assert not hub.website(remove=[dict(port=hub.old)])["changed"]
    # Case does not count.
    assert hub.website(add=[hub.twin(hostname="Hub.test")])["changed"]
    assert not hub.website(add=[hub.twin(hostname="hub.TEST", certificate_hash=hub.thumbprint.lower(),
                                         certificate_store_name="my")])["changed"]
    assert hub.bindings() == ["*:%d:" % hub.old, "*:%d:Hub.test" % hub.new]


def test_certificate_of_a_binding_that_is_there_is_changed_even_in_check_mode(hub):
    other = hub.machine.put_certificate(certificate("other"))
    assert hub.website(True, add=[hub.twin(port=hub.old, certificate_hash=other)])["changed"]
    assert hub.module("website_info")["site"][0]["bindings"][0]["certificate_hash"] == other


def test_flags_of_newer_iis_are_taken_for_those_of_a_central_store(hub):
    configuration = hub.machine.configuration()
    configuration.site(HUB).bindings[0].element.set("sslFlags", "32")
    configuration.write()
    shown = hub.module("website_info")["site"][0]["bindings"][0]
    assert (shown["use_sni"], shown["use_ccs"]) == (False, False)
    assert hub.website(add=[hub.twin(port=hub.old)])["msg"] == "must specify hostname value when use_ccs is set."
    # Said in so many words that it is none, it loses the flag.
    assert hub.website(add=[hub.twin(port=hub.old, use_ccs=False)])["changed"]
    assert hub.machine.configuration().site(HUB).bindings[0].ssl_flags == 0


def test_set_leaves_exactly_what_it_names_and_goes_with_nothing_else(hub):
    with_binding(hub, "http", "*:80:")
    with_binding(hub, "net.pipe", "*")
    assert hub.website(True, set=[hub.twin()])["changed"]
    assert hub.bindings() == ["*:%d:" % hub.old, "*:80:", "*"]
    assert hub.website(set=[hub.twin()])["changed"]
    assert hub.bindings() == ["*", "*:%d:" % hub.new]
    assert "mutually exclusive" in hub.website(set=[], add=[hub.twin()])["msg"]


def test_add_and_remove_go_together(hub):
    assert hub.website(add=[hub.twin()], remove=[dict(ip="*", port=hub.old, hostname="")])["changed"]
    assert hub.bindings() == ["*:%d:" % hub.new]
    # http.sys keeps what it had of the certificate.
    assert set(hub.machine.ssl_table()) == {"0.0.0.0:%d" % hub.old, "0.0.0.0:%d" % hub.new}


def test_stopped_site_is_started_unless_the_task_says_otherwise(hub):
    assert hub.website(state="stopped")["changed"] and not hub.website(state="stopped")["changed"]
    assert hub.website(True)["changed"]
    assert hub.module("website_info")["site"][0]["state"] == "Stopped"
    assert hub.website()["changed"] and not hub.website()["changed"]
    assert hub.module("website_info")["site"][0]["state"] == "Started"


def test_site_that_is_not_there_needs_a_folder(hub):
    assert hub.website(name="New")["msg"] == "missing required arguments: physical_path"
    done = hub.module("website", name="New", physical_path="C:\\nowhere")
    assert done["msg"] == "specified folder must already exist: physical_path"
    made = dict(name="New", physical_path="C:\\inetpub\\wwwroot")
    assert hub.module("website", True, **made)["changed"] and not hub.module("website_info", name="New")["exists"]
    assert hub.module("website", **made)["changed"] and not hub.module("website", **made)["changed"]
    assert hub.module("website_info", name="new")["site"][0]["site_id"] == 2
    assert hub.module("website", name="New", state="absent")["changed"]
    assert not hub.module("website", name="New", state="absent")["changed"]


# -- Windows Firewall
def rule(hub, check=False, **arguments):
    return hub.module("win_firewall_rule", check, True, **arguments)


def test_rule_from_its_making_to_its_end(hub):
    given = dict(name="web", group="web", direction="in", action="allow", protocol="tcp", localport="8443",
                 enabled=True)
    sources = "10.1.2.3,10.0.0.0/8,fd00::/64"
    assert rule(hub, True, remoteip=sources, **given)["changed"] and hub.machine.rules() is None
    made = rule(hub, remoteip=sources, **given)
    assert made["changed"] and made["msg"] == "Firewall rule 'web' created."
    assert made["diff"]["prepared"].startswith("+[web]\n+Description=''\n+Direction='1'\n")
    assert hub.machine.rules() == [new_rule(
        "web", Grouping="web", Protocol=6, LocalPorts="8443",
        RemoteAddresses="10.1.2.3/255.255.255.255,10.0.0.0/255.0.0.0,fd00::/64")]
    again = rule(hub, remoteip="fd00::/64,10.0.0.0/8,10.1.2.3", **given)
    assert not again["changed"] and again["diff"]["prepared"] == "[web]\n"
    off = rule(hub, group="WEB", enabled=False)
    assert off["changed"] and off["diff"]["prepared"] == "[web]\n-Enabled='True'\n+Enabled='False'\n"
    assert not hub.machine.rules()[0]["Enabled"] and not rule(hub, group="web", enabled=False)["changed"]
    assert rule(hub, True, name="web", state="absent")["changed"] and hub.machine.rules()
    assert rule(hub, name="web", state="absent")["changed"] and hub.machine.rules() == []
    gone = rule(hub, name="web", state="absent")
    assert not gone["changed"] and gone["msg"] == "Firewall rule 'web' does not exist."


def test_group_without_a_name_makes_no_rule(hub):
    done = rule(hub, group="web", enabled=True)
    assert not done["changed"] and "msg" not in done and not hub.machine.rules()
    assert rule(hub, enabled=True)["msg"] == "Either name or group must be specified"


@pytest.mark.parametrize("changes, words", [
    (dict(protocol=None), "Value does not fall within the expected range."),
    (dict(localport="https"), "Value does not fall within the expected range."),
    (dict(remoteip="hub.test"), "Value does not fall within the expected range."),
    (dict(protocol="tcpip"), "Unknown protocol 'tcpip'."),
    (dict(profiles=["home"]), "Unknown profile 'home'."),
])
def test_rule_that_windows_refuses(hub, changes, words):
    arguments = dict(dict(name="web", protocol="tcp", localport="8443"), **changes)
    done = rule(hub, **{key: value for key, value in arguments.items() if value is not None})
    assert done["failed"] and done["msg"] == words and hub.machine.rules() is None


@pytest.mark.parametrize("rules, admitted", [
    (None, True),
    ([], False),
    ([dict()], True),
    ([dict(Enabled=False)], False),
    ([dict(Direction=2)], False),
    ([dict(Protocol=17)], False),
    ([dict(Protocol=256, LocalPorts=None)], True),
    ([dict(LocalPorts="80,8000-9000")], True),
    ([dict(LocalPorts="80,443")], False),
    ([dict(RemoteAddresses="10.0.0.0/255.0.0.0")], True),
    ([dict(RemoteAddresses="192.0.2.0/255.255.255.0,LocalSubnet")], False),
    ([dict(RemoteAddresses="192.0.2.0/255.255.255.0,10.1.2.3/255.255.255.255")], True),
    ([dict(RemoteAddresses="10.1.2.1-10.1.2.9")], True),
    ([dict(RemoteAddresses="fd00::/64")], False),
    ([dict(), dict(Action=0)], False),
    ([dict(), dict(Action=0, LocalPorts="443")], True),
])
def test_firewall_admits_what_an_enabled_rule_names(rules, admitted):
    made = rules and [new_rule("web", **dict(dict(Protocol=6, LocalPorts="8443"), **changes)) for changes in rules]
    assert admits(rules if made is None else made, "10.1.2.3", 8443) is admitted
