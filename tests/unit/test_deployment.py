# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which edits move a host, read off its files."""

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import settings_file
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.deployment import (
    CredentialsSource, MastheadFile, SettingsSource, find_old_port, make_plan)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead import parse
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.setting_names import (
    LISTEN, RELAY_SELECT, UDP_MESSAGES, WEB_REPORTS)
from ansible_collections.portshift.agents.tests.unit.masthead_files import inner_part, make_signer, plain, session_signer, sign

OLD, NEW = 52311, 55000
URL = "http://relay1.example.test:%d/bfmirror/downloads/"


def masthead(content=None, path="/masthead"):
    return MastheadFile(path, parse(plain(port=OLD) if content is None else content), "digest")


def config(path="/besclient.config", **settings):
    sections = "[Software\\BigFix\\EnterpriseClient]\nversion = 11\n" + "".join(
        "\n[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\%s]\nvalue = %s\neffective date = then\n" % pair
        for pair in settings.items())
    data = sections.encode()
    return SettingsSource(path, data, settings_file.parse(data).settings)


def flat(path="/clientsettings.cfg", **settings):
    data = b"# installer\n" + "".join("%s=%s\n" % pair for pair in settings.items()).encode()
    return SettingsSource(path, data, settings_file.parse(data, flat=True).settings, True)


def plan(component="client", mastheads=None, settings=None, old=OLD, **options):
    return make_plan(component, [masthead()] if mastheads is None else mastheads,
                     [config()] if settings is None else settings, NEW, old, **options)


def settings_edits(found):
    return {edit["path"]: (edit["settings"], edit["urls"]) for edit in found.edits if edit["kind"] == "settings"}


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("component, own", [
    ("client", {}), ("relay", {LISTEN: "55000"}), ("server", {LISTEN: "55000"})])
def test_required_settings_go_to_the_agents_and_to_the_components_own_file(component, own):
    found = plan(component, settings=[config(), config("/own.config")])
    expected = {"/besclient.config": ({RELAY_SELECT: "55000"}, [])}
    if own:
        expected["/own.config"] = (own, [])
    assert settings_edits(found) == expected and found.problems == []


def test_component_with_the_agents_file_alone_gets_everything_there():
    assert settings_edits(plan("relay")) == {"/besclient.config": ({RELAY_SELECT: "55000", LISTEN: "55000"}, [])}


def test_setting_that_is_there_is_changed_where_it_is():
    found = plan("relay", settings=[config(**{LISTEN: OLD}), config("/own.config", **{RELAY_SELECT: OLD})])
    assert settings_edits(found) == {
        "/besclient.config": ({LISTEN: "55000"}, []), "/own.config": ({RELAY_SELECT: "55000"}, [])}
    assert found.notes == []


def test_setting_that_is_there_twice_is_changed_twice():
    found = plan(settings=[config(**{RELAY_SELECT: OLD}), config("/own.config", **{RELAY_SELECT: OLD})])
    assert set(settings_edits(found)) == {"/besclient.config", "/own.config"}


def test_names_compare_without_regard_to_case():
    found = plan(settings=[config(**{RELAY_SELECT.upper(): NEW})])
    assert settings_edits(found) == {}


def test_number_moves_only_when_it_is_the_old_port():
    found = plan(settings=[config(**{RELAY_SELECT: OLD, LISTEN: OLD, UDP_MESSAGES: 40000, WEB_REPORTS: OLD})])
    assert settings_edits(found) == {"/besclient.config": ({RELAY_SELECT: "55000", LISTEN: "55000"}, [])}
    assert found.notes == ["/besclient.config: %s is 40000, which is not the port that moves; left alone" % UDP_MESSAGES,
                           BESIDE % ("/besclient.config", WEB_REPORTS, "Web Reports")]


def test_udp_port_moves_with_the_old_port():
    found = plan(settings=[config(**{RELAY_SELECT: OLD, UDP_MESSAGES: OLD})])
    assert settings_edits(found) == {"/besclient.config": ({RELAY_SELECT: "55000", UDP_MESSAGES: "55000"}, [])}


@pytest.mark.parametrize("value", [40000, "none"])
def test_required_setting_with_an_odd_value_is_set_and_told(value):
    found = plan(settings=[config(**{RELAY_SELECT: value})])
    assert settings_edits(found) == {"/besclient.config": ({RELAY_SELECT: "55000"}, [])}
    assert found.notes == ["/besclient.config: %s is %s, neither the old port nor the new one; it becomes 55000"
                           % (RELAY_SELECT, value)]


def test_urls_on_the_old_port_are_named():
    found = plan(settings=[config(**{RELAY_SELECT: NEW, "__RelayServer1": URL % OLD, "__RelayServer2": URL % 40000,
                                     "_Text": "port 52311"})])
    assert settings_edits(found) == {"/besclient.config": ({}, ["__RelayServer1"])}


def test_stale_clientsettings_are_changed_and_noted_but_get_nothing_new():
    found = plan(settings=[config(**{RELAY_SELECT: NEW}), flat(__RelayServer1=URL % OLD, **{LISTEN: OLD})])
    assert found.edits[-1] == dict(kind="settings", path="/clientsettings.cfg", settings={LISTEN: "55000"},
                                   urls=["__RelayServer1"], format="clientsettings")
    assert "/clientsettings.cfg: holds the old port; agents read it at installation only" in found.notes
    assert settings_edits(plan(settings=[config(**{RELAY_SELECT: NEW}), flat(other="x")])) == {}


def test_clientsettings_do_not_stand_in_for_the_agents_file():
    found = plan(settings=[config(), flat(**{RELAY_SELECT: NEW})])
    assert settings_edits(found) == {"/besclient.config": ({RELAY_SELECT: "55000"}, [])}


def test_other_port_in_clientsettings_is_left_alone():
    found = plan(settings=[config(**{RELAY_SELECT: NEW}), flat(**{RELAY_SELECT: 40000})])
    assert settings_edits(found) == {} and "left alone" in found.notes[0]


def test_finished_host_has_nothing_to_edit():
    finished = [config(**{RELAY_SELECT: NEW, LISTEN: NEW, "__RelayServer1": URL % NEW})]
    for old in (None, OLD):
        found = plan("relay", [masthead(plain(port=NEW))], finished, old)
        assert (found.edits, found.problems, found.notes) == ([], [], [])


def test_setting_that_is_no_port_is_quoted_as_far_as_it_may_be_shown():
    found = plan(settings=[config(**{RELAY_SELECT.upper(): "http://u:7Qz@a:1/?7Qz", UDP_MESSAGES: "a=7Qz"})])
    assert found.notes == [
        "/besclient.config: %s is http://********@a:1/?********, neither the old port nor the new one; it becomes 55000"
        % RELAY_SELECT, "/besclient.config: %s is ********, which is not the port that moves; left alone" % UDP_MESSAGES]


BARE = ("%s: %s names an address as HOST:PORT%s without http:// in front. Whether agents read that is not known, so it was left "
        "alone: look whether it is in use, and if so write http://HOST:55000/bfmirror/downloads/ there")


@pytest.mark.parametrize("old, place", [(OLD, " with port 52311"), (None, "")])
def test_relay_list_without_a_scheme_is_a_note_and_left_alone(old, place):
    names = ("_BESClient_RelaySelect_FailoverRelayList", "_BESClient_RelaySelect_TertiaryRelayList", "__RelayServer1")
    settings = [config(**dict({RELAY_SELECT: NEW}, **dict.fromkeys(names, "host:52311;host:52311"))),
                flat(**{names[0]: "host:52311"})]
    found = plan(mastheads=[masthead(plain(port=NEW))], settings=settings, old=old)
    assert (found.edits, found.problems) == ([], [])
    assert found.notes == [BARE % ("/besclient.config", name, place) for name in names] + [
        BARE % ("/clientsettings.cfg", names[0], place)]
    assert plan(settings=[config(__RelayServer1="host:55000;host:40000")]).notes == []


BESIDE = ("%s: %s, a setting of %s, holds the old port 52311 and is left alone: look whether it names the port of the server or "
          "of a relay, and if so set it to 55000 once that has moved")


@pytest.mark.parametrize("name, value, product", [
    ("_WebUIAppEnv_PLATFORM_PORT", OLD, "WebUI"), ("_webuiappenv_other", "geheim 7Qz,52311", "WebUI"),
    ("_WebUIAppEnv_LIST", "http://a:52311/ and 52311", "WebUI"), ("_WebReports_Server_Port", OLD, "Web Reports"),
    ("_WebUIAppEnv_PLATFORM_PORT", "152311", None), ("_WebUIAppEnv_PLATFORM_PORT", "523110", None),
    ("_WebUIAppEnv_PLATFORM_PORT", NEW, None), ("_Other_PLATFORM_PORT", OLD, None), ("WebUIAppEnv_PORT", OLD, None)])
@pytest.mark.parametrize("make", [config, flat])
def test_setting_of_what_runs_beside_that_holds_the_old_port_is_a_note_and_left_alone(name, value, product, make):
    source = make(**{name: value})
    found = plan(mastheads=[masthead(plain(port=NEW))], settings=[config("/moved.config", **{RELAY_SELECT: NEW}), source])
    assert (found.edits, found.problems) == ([], [])
    assert found.notes == [BESIDE % (source.path, name, product)] * bool(product) and "7Qz" not in str(found.notes)
    assert plan(mastheads=[masthead(plain(port=NEW))], settings=[config(**{RELAY_SELECT: NEW}), source], old=None).notes == []


def test_setting_of_what_runs_beside_is_told_once():
    moves, names = config(_WebUIAppEnv_URL="https://root:52311/api"), config("/2", _WebUIAppEnv_RELAY="root:52311")
    found = plan(settings=[moves, names])
    assert settings_edits(found)["/besclient.config"][1] == ["_WebUIAppEnv_URL"]
    assert found.notes == [BARE % ("/2", "_WebUIAppEnv_RELAY", " with port 52311")]


# --- the server's credentials -----------------------------------------------------------------------------------


def credentials(content, old=OLD, path="/MasterOperatorCredentials"):
    finished = dict(mastheads=[masthead(plain(port=NEW))], settings=[config(**{RELAY_SELECT: NEW, LISTEN: NEW})])
    return plan("server", old=old, credentials=[CredentialsSource(path, content)], **finished)


def test_credentials_with_the_old_port_are_an_edit():
    found = credentials(b"RESTURL=https://localhost:52311/api\nPASSWORD=7Qz\n")
    assert found.edits == [dict(kind="credentials", path="/MasterOperatorCredentials", previous_port=OLD)]
    assert (found.problems, found.notes) == ([], [])


@pytest.mark.parametrize("content, old, said", [
    (b"RESTURL=https://localhost:55000/api\n", OLD, None), (b"PASSWORD=7Qz\n", OLD, None), (b"", OLD, None),
    (b"RESTURL=https://localhost:52312/api\n", OLD, "names port 52312, which is not the port that moves"),
    (b"RESTURL=https://localhost:52311/api\n", None, "names port 52311, which is not the port that moves"),
    (b"RESTURL=https://u:7Qz@localhost/api\n", OLD, "names no port that can be read"),
    (b"\0", OLD, "names no port that can be read"), (b"RESTURL=https://localhost/api\n", None, "names no port that can be read"),
])
def test_credentials_without_the_old_port_are_left_alone_and_told(content, old, said):
    found = credentials(content, old)
    assert found.edits == [] and found.notes == ([] if said is None else [
        "/MasterOperatorCredentials: its RESTURL %s, so it was left alone; look whether it has to name port 55000" % said])


# --- mastheads --------------------------------------------------------------------------------------------------


def test_every_masthead_is_edited_and_told_from_which_port():
    found = plan(mastheads=[masthead(path="/a"), masthead(plain(port=NEW), "/b"), masthead(path="/c")])
    assert [edit for edit in found.edits if edit["kind"] == "masthead"] == [
        dict(kind="masthead", path=path, previous_port=OLD) for path in ("/a", "/c")]


def test_masthead_on_a_third_port_is_a_problem():
    found = plan(mastheads=[masthead(plain(port=40000))])
    assert found.problems == ["/masthead: port 40000, where 52311 was expected; say what moves with bigfix_previous_port"]


def test_mixed_ports_in_a_masthead_are_a_problem_that_lists_them():
    content = b"_PortNumber=52311\nX-Fixlet-Site-Gather-URL: http://h:52312/\n"
    [problem] = plan(mastheads=[masthead(content)]).problems
    assert problem == "/masthead: holds several ports: 52311, 52312; have one masthead issued for one port"


def test_what_several_mastheads_lack_is_said_once():
    found = plan(mastheads=[masthead(sign(inner_part()), "/a"), masthead(sign(inner_part()), "/b")])
    assert len(found.problems) == 1 and found.problems[0].startswith("/a, /b: signed masthead, port 52311.")


def test_signed_masthead_without_an_issued_one_is_a_problem():
    found = plan(mastheads=[masthead(sign(inner_part()))])
    assert found.problems == [
        "/masthead: signed masthead, port 52311. Editing it would break its signature, so that clients reject it. Have "
        "BESAdmin issue a masthead for port 55000 and pass it as bigfix_masthead_src (see docs/masthead.md)"]
    assert [edit["kind"] for edit in found.edits] == ["settings"]


def test_signed_masthead_that_was_edited_already_is_told_so():
    broken = sign(inner_part()).replace(b":52311/", b":52399/")
    [problem] = plan(mastheads=[masthead(broken)], old=None).problems
    assert "port 52399 (its signature is broken already: it was edited by hand)" in problem


def test_signed_masthead_may_be_edited_when_the_site_says_so():
    found = plan(mastheads=[masthead(sign(inner_part()))], allow_invalid_signature=True)
    assert found.problems == [] and found.edits[0]["kind"] == "masthead"


def test_issued_masthead_is_compared_with_each_installed_one():
    installed = [masthead(sign(inner_part()), "/a"), masthead(sign(inner_part(serial="987654321")), "/b")]
    found = plan(mastheads=installed, issued=parse(sign(inner_part(port=NEW))))
    assert [edit["path"] for edit in found.edits if edit["kind"] == "masthead"] == ["/a"]
    [problem] = found.problems
    assert problem.startswith("/b: masthead of another deployment: its serial number is 123456789")


def test_other_signer_is_a_note(tmp_path):
    other = sign(inner_part(port=NEW), *make_signer(tmp_path, "other"))
    found = plan(mastheads=[masthead(sign(inner_part(), *session_signer()))], issued=parse(other))
    assert found.problems == [] and found.notes[0].startswith("/masthead: the issued masthead has another signer")


# --- the port that moves ----------------------------------------------------------------------------------------


def test_old_port_is_the_one_that_the_files_hold():
    assert find_old_port([masthead()], [config(**{LISTEN: OLD, RELAY_SELECT: NEW})], NEW) == (OLD, [])
    assert find_old_port([], [config(**{RELAY_SELECT: OLD})], NEW) == (OLD, [])


def test_other_numbers_and_urls_are_not_the_old_port():
    files = [config(**{UDP_MESSAGES: 40000, WEB_REPORTS: 8083, "__RelayServer1": URL % 40001})]
    assert find_old_port([masthead()], files, NEW) == (OLD, [])


def test_finished_host_has_no_old_port():
    assert find_old_port([masthead(plain(port=NEW))], [config(**{RELAY_SELECT: NEW})], NEW) == (None, [])


def test_several_old_ports_are_a_sentence_that_says_where():
    old, told = find_old_port([masthead(), masthead(plain(port=NEW), "/b")], [config(**{LISTEN: 40000, RELAY_SELECT: OLD})], NEW)
    assert (old, told) == (None, [
        "more than one port in use: 40000 in /besclient.config (%s); 52311 in /masthead, /besclient.config (%s); say which one "
        "moves with bigfix_previous_port" % (LISTEN, RELAY_SELECT)])


def test_gathered_new_masthead_leaves_the_old_url_to_be_moved():
    files = [config(__RelayServer1="http://relay1.example.test:%d/bfmirror/downloads/" % OLD)]
    assert find_old_port([masthead(plain(port=NEW))], files, NEW) == (OLD, [])
    plan = make_plan("client", [masthead(plain(port=NEW))], files, NEW, OLD)
    assert [edit["urls"] for edit in plan.edits] == [["__RelayServer1"]]


def test_mixed_masthead_is_a_problem_of_its_own_and_no_witness():
    content = b"_PortNumber=52311\nX-Fixlet-Site-Gather-URL: http://h:52312/\n"
    assert find_old_port([masthead(content)], [], NEW) == (None, [])
    plan = make_plan("client", [masthead(content)], [], NEW)
    assert plan.edits == [] and "/masthead: holds several ports: 52311, 52312" in plan.problems[0]


def test_record_goes_before_the_files_and_the_site_before_the_record():
    files = [config(**{LISTEN: 40000})]
    assert find_old_port([masthead()], files, NEW, recorded=OLD) == (OLD, [])
    assert find_old_port([masthead()], files, NEW, recorded=OLD, given=40000) == (40000, [])
