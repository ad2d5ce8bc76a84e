# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules print and log of files and options that hold secrets, with diff and invocation as -vvv has them."""

import contextlib
import importlib
import io
import json
import os
import subprocess

import pytest
from ansible.module_utils.testing import patch_module_args
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._setting_names import SHOWN
from ansible_collections.portshift.agents.tests.unit.masthead_files import plain
from tests.integration import direct_module

OLD, NEW = 52311, 55000
CANARY = "c4n4ry"
SETTING = "[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\%s]\nvalue                          = %s\n"
CONFIG = "; by hand: c4n4ry\n" + "".join(SETTING % pair for pair in (
    ("_BESClient_SecureRegistration", CANARY), ("SiteAccess", CANARY), ("_Custom", "http://u:c4n4ry@a:52311/?key=c4n4ry"),
    ("__RelayServer1", "http://u:c4n4ry@relay1:52311/bfmirror?key=c4n4ry#c4n4ry"), ("_Free", "pwd=c4n4ry"),
    ("_BESClient_RelaySelect_FailoverRelayList", "relay2:52311;relay3:52311")))
CREDENTIALS = "USERNAME=c4n4ry\r\nRESTURL=https://localhost:52311/api\r\nPASSWORD=c4n4ry\r\n"
NOTE = ("besclient.config: _BESClient_RelaySelect_FailoverRelayList names an address as HOST:PORT with port 52311 without http:// "
        "in front.")


def call(name, folder, **options):
    """(result, all that the module printed and logged), in this process."""
    module, logged, printed, warned = importlib.import_module(direct_module.PACKAGE + name), [], io.StringIO(), io.StringIO()
    options = dict(options, _ansible_diff=True, _ansible_inject_invocation=True, _ansible_remote_tmp=str(folder))
    with pytest.MonkeyPatch.context() as patch, patch_module_args(options), contextlib.redirect_stdout(printed), (
            contextlib.redirect_stderr(warned)):
        patch.setattr(module.AnsibleModule, "log", lambda self, text, log_args=None: logged.append((text, log_args)))
        with contextlib.suppress(SystemExit):
            module.main()
    assert "Traceback" not in printed.getvalue()
    return json.loads(printed.getvalue()), printed.getvalue() + warned.getvalue() + str(logged)


def section(name, value):
    return (SETTING % (name, value)).encode()


# --- bigfix_settings

names = st.text(st.sampled_from("_abcXYZ 09"), min_size=1, max_size=20).filter(
    lambda name: name == name.strip() and name.lower() not in SHOWN)
around = st.text(st.sampled_from("ab1:/?#@;,| =&'.-_\u00e9"), max_size=10)
values = st.builds(lambda scheme, left, right: scheme + left + CANARY + right, st.sampled_from(
    ["", "http://", "http://a:52311/?", "https://u:", "a:52311;", "http://a:52311;"]), around, around)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(names, values), min_size=1, max_size=3, unique_by=lambda pair: pair[0].lower()),
       st.sampled_from(["config", "clientsettings"]), st.booleans())
def test_no_value_of_an_unlisted_setting_is_in_result_diff_or_log(tmp_path, wanted, kind, move):
    path = tmp_path / "settings"
    path.write_bytes(b"# %s\n__RelayServer1=http://a:52311/\n" % CANARY.encode() if kind == "clientsettings" else CONFIG.encode())
    rewrite = dict(rewrite_port={"from": OLD, "to": NEW}) if move else {}
    for value in (dict(wanted), {name: [value] for name, value in wanted}, {name: None for name, _value in wanted}):
        result, said = call("bigfix_settings", tmp_path, path=str(path), settings=value, format=kind, **rewrite)
        assert CANARY not in said, said
        assert not result.get("failed") or isinstance(next(iter(value.values())), list), result
    assert str(NEW) in said or not move


def test_wrong_options_give_no_value_away(tmp_path):
    for options in (dict(paht="x"), dict(backup="maybe"), dict(settings="_X=c4n4ry _Y=c4n4ry"), dict(settings="c4n4ry x")):
        options = dict(dict(path=str(tmp_path / "absent"), settings=dict(_X=CANARY, _BESClient_RelaySelect_Port=NEW)), **options)
        result, said = call("bigfix_settings", tmp_path, **options)
        # Ansible itself quotes what is no dictionary at all.
        assert result["failed"] and (CANARY not in said or options["settings"] == "c4n4ry x")


def test_the_port_is_shown_everywhere(tmp_path):
    path = tmp_path / "besclient.config"
    path.write_bytes(section("_BESClient_RelaySelect_Port", OLD) + section("__RelayServer1", "http://a:52311/"))
    result, said = call("bigfix_settings", tmp_path, path=str(path), settings=dict(_BESClient_RelaySelect_Port=NEW, _X=CANARY),
                        rewrite_port={"from": OLD, "to": NEW})
    assert result["settings"]["_BESClient_RelaySelect_Port"] == "55000" and result["diff"]["after"].count("55000") == 2
    assert result["invocation"]["module_args"]["settings"] == dict(_BESClient_RelaySelect_Port=NEW, _X="********")
    assert "'_BESClient_RelaySelect_Port': 55000" in said.replace('\\"', "'") and result["notes"] == []


def test_an_address_without_a_scheme_is_a_note_and_a_warning(tmp_path):
    path = tmp_path / "besclient.config"
    path.write_text(CONFIG)
    result, said = call("bigfix_settings", tmp_path, path=str(path), rewrite_port={"from": OLD, "to": NEW})
    assert [note.partition(" Whether")[0] for note in result["notes"]] == ["%s/%s" % (tmp_path, NOTE)]
    assert "[WARNING]: " + result["notes"][0] in " ".join(said.split())
    assert b"relay2:52311;relay3:52311" in path.read_bytes() and result["rewritten"] == ["_Custom", "__RelayServer1"]


# --- a whole host

SERVICE = """#!/bin/sh
cd '{folder}'
case $2 in
    status) [ -e running ] || exit 3 ;;
    stop) rm -f running ;;
    start) [ ! -e fails ] || {{ rm fails; echo 'token=c4n4ry' >&2; exit 1; }}; touch running ;;
esac
"""


class Server:
    def __init__(self, folder):
        self.folder = folder
        self.files = {name: folder / name for name in (
            "Masthead.afxm", "besclient.config", "besserver.config", "MasterOperatorCredentials", "clientsettings.cfg")}
        contents = (plain(), CONFIG.encode(), section("_BESRelay_HTTPServer_PortNumber", OLD), CREDENTIALS.encode(),
                    b"#c4n4ry\nSiteAccess=c4n4ry\n__RelayServer1=http://u:c4n4ry@a:52311/\n")
        for path, content in zip(self.files.values(), contents):
            path.write_bytes(content)
            path.chmod(0o600)
        (folder / "service").write_text(SERVICE.format(folder=folder))
        (folder / "service").chmod(0o755)
        (folder / "running").touch()
        self.before, self.said = self.contents(), ""

    def contents(self):
        return {name: (path.read_bytes(), path.stat().st_mode) for name, path in self.files.items()}

    def options(self, **options):
        path = {name: str(path) for name, path in self.files.items()}
        return dict(dict(
            component="server", port=NEW, masthead_paths=[path["Masthead.afxm"]], record=str(self.folder / "state" / "bigfix.json"),
            settings_paths=[path["besclient.config"], path["besserver.config"]], clientsettings_paths=[path["clientsettings.cfg"]],
            credentials_paths=[path["MasterOperatorCredentials"], str(self.folder / "absent")]), **options)

    def run(self, name, **options):
        """In a process of its own: a cutover leaves the one that began it."""
        options = dict(options, _ansible_diff=True, _ansible_inject_invocation=True, _ansible_remote_tmp=str(self.folder))
        done = subprocess.run(direct_module.command(name, options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        self.said += done.stdout
        return direct_module.result(done.stdout)

    def cutover(self, **options):
        return self.run("bigfix_cutover", **self.options(
            services=["besserver"], service_command=[str(self.folder / "service")], **options))


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    assert CANARY not in server.said, server.said


def rest_urls(result, which):
    return [line for diff in result["diff"] for line in diff[which].splitlines() if line.startswith("RESTURL")]


def test_a_server_goes_and_comes_back_and_no_secret_is_shown(server):
    info = server.run("bigfix_info", **server.options())
    credentials = str(server.files["MasterOperatorCredentials"])
    assert info["edits"][-1] == dict(kind="credentials", path=credentials, previous_port=OLD)
    [note] = [note for note in info["notes"] if NOTE in note]
    foretold = server.cutover(_ansible_check_mode=True)
    assert server.contents() == server.before and len(foretold["files"]) == 5
    missing = server.run("bigfix_evidence", **server.options(timeout=0))["missing"]["files"]
    assert credentials in missing

    moved = server.cutover()
    assert (moved["files"], moved["diff"], moved["old_port"]) == (foretold["files"], foretold["diff"], OLD)
    assert note in moved["notes"] and any(note in str(warning) for warning in moved["warnings"])
    assert (rest_urls(moved, "before"), rest_urls(moved, "after")) == (
        ["RESTURL=https://localhost:52311/api"], ["RESTURL=https://localhost:55000/api"])
    for name, (content, mode) in server.before.items():
        expected = content.replace(b"52311", b"55000").replace(b"relay2:55000;relay3:55000", b"relay2:52311;relay3:52311")
        found, mode_now = server.contents()[name]
        assert mode_now == mode and found.replace(b"\r\n", b"\n").startswith(expected.replace(b"\r\n", b"\n")[:20])
        assert found == expected or name in ("besclient.config", "besserver.config")
    assert server.run("bigfix_evidence", **server.options(timeout=0))["evidence"]["files"]
    assert server.run("change_record", path=server.options()["record"])["restorable"]

    shown = server.run("change_record", path=server.options()["record"], state="restored", _ansible_check_mode=True)
    back = server.cutover(state="restored")
    assert server.contents() == server.before and len(back["files"]) == 5
    for result in (shown, back):
        assert (rest_urls(result, "before"), rest_urls(result, "after")) == (
            ["RESTURL=https://localhost:55000/api"], ["RESTURL=https://localhost:52311/api"])
        assert any("_PortNumber=52311" in diff["after"] for diff in result["diff"])
        assert any("http://********@relay1:52311/bfmirror?********#********" in diff["after"] for diff in result["diff"])


def test_a_server_that_does_not_start_is_put_back_and_its_last_words_hold_no_secret(server):
    (server.folder / "fails").touch()
    failed = server.cutover()
    assert failed["failed"] and "service besserver could not start: token=********" in failed["msg"], failed
    assert server.contents() == server.before


def test_credentials_that_were_written_meanwhile_keep_what_is_new_in_them(server):
    server.cutover()
    path = server.files["MasterOperatorCredentials"]
    path.write_bytes(path.read_bytes().replace(b"PASSWORD=c4n4ry", b"PASSWORD=c4n4ry-2"))
    assert not server.cutover(state="restored").get("failed")
    assert path.read_bytes() == CREDENTIALS.replace("PASSWORD=c4n4ry", "PASSWORD=c4n4ry-2").encode()


# --- the others

def test_the_content_of_a_confirmed_change_is_neither_logged_nor_shown(tmp_path):
    path = tmp_path / "secret.cfg"
    path.write_text("password = c4n4ry-old\nboks 6500/tcp # c4n4ry\n")
    for content in ("password = c4n4ry\nport = 55000\n", "c4n4ry 'x'\n\"y\" \u00e9"):
        result, said = call("confirmed_change", tmp_path, name="test", state="begun", new_port=NEW, old_port=OLD,
                            record=str(tmp_path / "record.json"), state_dir=str(tmp_path), unit_dir=str(tmp_path),
                            files=[dict(path=str(path), content=content)], _ansible_check_mode=True)
        assert result["files"] == [str(path)] and CANARY not in said and "c4n4ry" not in said.replace("\\n", "\n")
        assert "boks 6500/tcp" in result["diff"][0]["before"] and result["new_port"] == NEW
    # Also one that is refused.
    result, said = call("confirmed_change", tmp_path, name="test", paht="x", files=[dict(path=str(path), content="a\nc4n4ry\n")])
    assert result["failed"] and CANARY not in said


@pytest.mark.parametrize("url", ["https://hub:8443/api/?key=c4n4ry#c4n4ry", "https://u:c4n4ry@hub:8443/api/", "c4n4ry"])
def test_no_secret_of_the_hubs_url_is_logged_or_shown(tmp_path, url):
    path = tmp_path / "HubDetails.xml"
    path.write_text("<HubDetails><Url>https://hub/api/?key=c4n4ry</Url></HubDetails>")
    result, said = call("change_tracker_hub_url", tmp_path, path=str(path), url=url)
    assert CANARY not in said
    if not result.get("failed"):
        assert (result["url"], result["previous_url"]) == (
            "https://hub:8443/api/?********#********", "https://hub/api/?********")
        assert url in path.read_text() and os.path.exists(path)
        result, said = call("change_tracker_info", tmp_path, path=[str(path)], port=9443, record=str(tmp_path / "record"),
                            service="none", service_command=["false"])
        assert CANARY not in said and result["new_url"] == "https://hub:9443/api/?********#********"
        assert (result["url_path"], result["edits"][0]["previous_url"]) == ("/api/", "https://hub:8443/api/?********#********")
