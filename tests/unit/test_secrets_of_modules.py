# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules print and log of files and options that hold secrets, with diff and invocation as -vvv has them."""

import contextlib
import importlib
import io
import json

import pytest
from ansible.module_utils.testing import patch_module_args
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.setting_names import SHOWN

PACKAGE = "ansible_collections.portshift.agents.plugins.modules."
OLD, NEW = 52311, 55000
CANARY = "c4n4ry"
SETTING = "[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\%s]\nvalue                          = %s\n"
CONFIG = "; by hand: c4n4ry\n" + "".join(SETTING % pair for pair in (
    ("_BESClient_SecureRegistration", CANARY), ("SiteAccess", CANARY), ("_Custom", "http://u:c4n4ry@a:52311/?key=c4n4ry"),
    ("__RelayServer1", "http://u:c4n4ry@relay1:52311/bfmirror?key=c4n4ry#c4n4ry"), ("_Free", "pwd=c4n4ry"),
    ("_BESClient_RelaySelect_FailoverRelayList", "relay2:52311;relay3:52311")))
NOTE = ("%s: _BESClient_RelaySelect_FailoverRelayList names an address as HOST:PORT with port 52311 without http:// in front. "
        "Whether agents read that is not known, so it was left alone: look whether it is in use, and if so write "
        "http://HOST:55000/bfmirror/downloads/ there")


def call(module_name, folder, **options):
    """(result, all that the module printed and logged), in this process."""
    module, logged, printed, warned = importlib.import_module(PACKAGE + module_name), [], io.StringIO(), io.StringIO()
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
    assert result["notes"] == [NOTE % path]
    assert "[WARNING]: " + result["notes"][0] in " ".join(said.split())
    assert b"relay2:52311;relay3:52311" in path.read_bytes() and result["rewritten"] == ["_Custom", "__RelayServer1"]


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
        assert url in path.read_text()
        result, said = call("change_tracker_info", tmp_path, path=[str(path)], port=9443, record=str(tmp_path / "record"),
                            service="none", service_command=["false"])
        assert CANARY not in said and result["new_url"] == "https://hub:9443/api/?********#********"
        assert (result["url_path"], result["edits"][0]["previous_url"]) == ("/api/", "https://hub:8443/api/?********#********")
