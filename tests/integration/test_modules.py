# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each module, run by Ansible on this machine: what it changes, what it says, and what it refuses without touching a byte."""

import contextlib
import datetime
import functools
import http.server
import importlib.util
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.portshift.agents.tests.unit.cms_forgeries import MASTHEAD_SHAPES, in_masthead
from ansible_collections.portshift.agents.tests.unit.masthead_files import (
    certificate_sha256, inner_part, make_signer, plain, session_signer, sign)
from tests.integration import direct_module
from tests.integration.folder_snapshot import snapshot

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OLD, NEW = 52311, 55000
OLD_DATE = "Thu, 01 Jan 2015 00:00:00 +0000"
SETTING = "[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\%s]\nvalue                          = %s\n" \
          "effective date                 = Thu,%%2001%%20Jan%%202015%%2000:00:00%%20+0000\n"
MIXED = b"_PortNumber=52311\nX-Fixlet-Site-Gather-URL: http://h:52312/\n"
HEAD = "[Software\\BigFix\\EnterpriseClient]\nEnterpriseClientFolder         = /opt/BESClient\n"
RELAY_URL = "http://relay1.example.test:%d/bfmirror/downloads/"
SECRET = "hunter2-and-more"


def config(**settings):
    return "\n".join([HEAD] + [SETTING % pair for pair in settings.items()]).encode()


CONFIG = config(_BESClient_RelaySelect_Port=OLD, __RelayServer1=RELAY_URL % OLD)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "host"
    path.mkdir()
    return path


@pytest.fixture
def put(folder):
    def write(name, content, mode=0o600):
        path = folder / name
        path.write_bytes(content)
        path.chmod(mode)
        return path
    return write


def alone(name, args):
    """Whether the module is called without its action, which hands on what it gets where nothing is carried to the host."""
    return name == "bigfix_masthead" and ("src" not in args or args.get("remote_src") is True)


@pytest.fixture
def refused(run_module, folder):
    """refused(sentence, module, **args): it fails with that sentence, and the folder is as it was."""
    def call(sentence, name, **args):
        before = snapshot(folder)
        result = run_module(name, diff=True, alone=alone(name, args), **args)
        assert result.get("failed") is True, result
        assert sentence in result["msg"]
        assert "Traceback" not in json.dumps(result)
        assert snapshot(folder) == before
        return result
    return call


@pytest.fixture
def changed(run_module, folder):
    """changed(module, path, expected, **args): three runs, in check mode, for real, and again.

    All of them through `path`, which ends with the bytes `expected`; -> the result of the real run.  `action`: with it, always.
    """
    def call(name, path, expected, action=False, **args):
        before, old = snapshot(folder), path.read_bytes()
        given = dict(args, diff=True, path=str(path), alone=not action and alone(name, args))
        predicted = run_module(name, check=True, **given)
        assert snapshot(folder) == before, "check mode wrote something"
        result = run_module(name, **given)
        for found in (predicted, result):
            assert not found.get("failed"), found
        assert (predicted["changed"], result["changed"]) == (True, True)
        assert predicted["diff"] == result["diff"]
        assert path.read_bytes() == expected
        assert result["diff"]["before_header"] == str(path)
        if args.get("backup"):
            with open(result["backup_file"], "rb") as source:
                assert source.read() == old
        else:
            assert "backup_file" not in result and set(snapshot(folder)) == set(before)
        after = snapshot(folder)
        again = run_module(name, **given)
        assert (again.get("failed", False), again["changed"], snapshot(folder)) == (False, False, after)
        assert "backup_file" not in again
        return result
    return call


# --- bigfix_masthead: what it changes ---------------------------------------------------------------------------


def test_plain_masthead_moves_and_says_so(changed, put):
    path = put("Masthead.afxm", plain())
    result = changed("bigfix_masthead", path, plain(port=NEW), action=True, port=NEW, previous_port=OLD, backup=True)
    assert (result["port"], result["previous_port"], result["format"], result["signature"]) == (NEW, OLD, "plain", "absent")
    assert result["urls"] == {"X-Fixlet-Site-Registration-URL":
                              "http://bigfix.example.test:55000/cgi-bin/bfenterprise/clientregister.exe"}
    assert (result["diff"]["before"], result["diff"]["after"]) == (plain().decode(), plain(port=NEW).decode())


@pytest.mark.parametrize("name, content", [
    ("crlf", plain().replace(b"\n", b"\r\n")),
    ("bom", b"\xef\xbb\xbf" + plain()),
    ("latin-1", b"# caf\xe9\n" + plain()),
    ("no final newline", plain().rstrip(b"\n")),
    ("mixed line ends", plain().replace(b"\n", b"\r\n", 2) + b"\r\r\n\n"),
])
def test_masthead_keeps_every_other_byte(changed, put, name, content):
    changed("bigfix_masthead", put("Masthead.afxm", content), content.replace(b"52311", b"55000"), port=NEW)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_masthead_keeps_mode_and_link(changed, put, folder, mode):
    path = put("real.afxm", plain(), mode)
    link = folder / "Masthead.afxm"
    link.symlink_to("real.afxm")
    result = changed("bigfix_masthead", link, plain(port=NEW), port=NEW, backup=True)
    assert (os.readlink(link), path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == ("real.afxm", plain(port=NEW), mode)
    assert stat.S_IMODE(os.stat(result["backup_file"]).st_mode) == mode


@pytest.mark.parametrize("remote", [False, True])
def test_issued_masthead_takes_the_place_of_the_signed_one(changed, put, tmp_path, remote):
    issued = sign(inner_part(port=NEW))
    (tmp_path / "issued.afxm").write_bytes(issued)
    path = put("actionsite.afxm", sign(inner_part()))
    result = changed("bigfix_masthead", path, issued, action=True, port=NEW, src=str(tmp_path / "issued.afxm"), remote_src=remote,
                     backup=True)
    assert (result["port"], result["previous_port"], result["format"], result["signature"]) == (NEW, OLD, "signed", "valid")
    assert result["signer_sha256"] == certificate_sha256(session_signer()[1])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and not result.get("warnings")


@pytest.mark.parametrize("shape", sorted(set(MASTHEAD_SHAPES) - {"ordinary"}))
def test_masthead_of_each_shape_is_installed(put, tmp_path, shape):
    installed, issued = (in_masthead(sign(inner_part(port=port)), MASTHEAD_SHAPES[shape]) for port in (OLD, NEW))
    (tmp_path / "issued.afxm").write_bytes(issued)
    path = put("actionsite.afxm", installed)
    for changed in (True, False):
        done = direct_module.run("bigfix_masthead", dict(
            path=str(path), port=NEW, src=str(tmp_path / "issued.afxm"), remote_src=True))
        result = direct_module.result(done.stdout, done.stderr)
        assert (result.get("msg"), result["changed"], result["signature"], result["port"]) == (None, changed, "valid", NEW)
        assert path.read_bytes() == issued and not result.get("warnings")


def test_another_signer_is_a_warning_that_names_both(run_module, put, tmp_path):
    other = make_signer(tmp_path, "other")
    (tmp_path / "issued.afxm").write_bytes(sign(inner_part(port=NEW), *other))
    path = put("actionsite.afxm", sign(inner_part()))
    result = run_module("bigfix_masthead", path=str(path), port=NEW, src=str(tmp_path / "issued.afxm"))
    [warning] = [str(warning) for warning in result["warnings"] if "signer" in str(warning)]
    assert result["changed"] is True and warning.startswith("%s: the issued masthead has another signer" % path)
    assert certificate_sha256(other[1]) in warning and certificate_sha256(session_signer()[1]) in warning


def test_signed_masthead_is_edited_when_the_site_allows_a_broken_signature(changed, put):
    content = sign(inner_part())
    result = changed("bigfix_masthead", put("actionsite.afxm", content), content.replace(b":52311/", b":55000/"), port=NEW,
                     allow_invalid_signature=True)
    assert (result["format"], result["signature"]) == ("signed", "invalid")


def test_record_of_a_masthead_is_kept_and_taken_back(run_module, put, folder):
    path = put("Masthead.afxm", plain(), 0o640)
    state = dict(path=str(folder / "state" / "bigfix.json"), new_port=NEW, old_port=OLD, phase="1")
    assert run_module("bigfix_masthead", check=True, path=str(path), port=NEW, record=state)["changed"] is True
    assert set(snapshot(folder)) == {"Masthead.afxm"}
    run_module("bigfix_masthead", path=str(path), port=NEW, record=state)
    assert path.read_bytes() == plain(port=NEW)

    seen = run_module("change_record", path=state["path"])
    assert (seen["changed"], seen["ok"], seen["unsafe"], seen["restored"]) == (False, True, [], [])
    assert (seen["restorable"], seen["record"]["state"]) == ([str(path)], "changing")
    before = snapshot(folder)
    predicted = run_module("change_record", check=True, diff=True, path=state["path"], state="restored")
    assert snapshot(folder) == before
    result = run_module("change_record", diff=True, path=state["path"], state="restored")
    assert (predicted["changed"], predicted["restored"], predicted["diff"]) == (True, result["restored"], result["diff"])
    assert (result["restored"], result["record"]["state"]) == ([str(path)], "rolled_back")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (plain(), 0o640)
    assert result["diff"][0]["after"] == plain().decode()
    again = run_module("change_record", path=state["path"], state="restored")
    assert (again["changed"], again["restored"]) == (False, [])


# --- bigfix_masthead: what it refuses ---------------------------------------------------------------------------


@pytest.mark.parametrize("options, sentence", [
    (dict(port=0), "port is 0, which is not a port number"),
    (dict(port=-1), "port is '-1'"),
    (dict(port=70000), "port is 70000, which is not a port number: give a whole number from 1 to 65535"),
    (dict(port="55000x"), "argument 'port' is of type"),
    (dict(port=52314), "port is 52314, which can't be used: BigFix keeps 52314 for itself"),
    (dict(port=NEW, previous_port=NEW), "previous_port and port are both 55000: there is nothing to move"),
    (dict(port=NEW, previous_port=40000), "names port 52311, where previous_port says 40000; nothing was written"),
])
def test_masthead_refuses_ports(refused, put, options, sentence):
    if options["port"] == -1:
        sentence = "which is not a port number"
    refused(sentence, "bigfix_masthead", path=str(put("Masthead.afxm", plain())), backup=True, **options)


@pytest.mark.parametrize("content, sentence", [
    (MIXED, "mixed ports in one masthead (_PortNumber (line 1): 52311, X-Fixlet-Site-Gather-URL: 52312)"),
    (b"_PortNumber=52311\n_PortNumber=52312\n", "two _PortNumber lines that differ: 52311 (line 1) and 52312 (line 2)"),
    (b"", "empty file where a masthead was expected"),
    (b" \r\n", "empty file where a masthead was expected"),
    (lambda: sign(inner_part())[:1500], "signed masthead that is cut short"),
    (lambda: sign(inner_part()), "signed masthead, port 52311. Editing it would break its signature"),
    (b"hello\n", "not a masthead: it has neither a _PortNumber= line nor masthead URL headers"),
    ("_PortNumber=52311\n".encode("utf-16"), "looks like UTF-16 text"),
    (b"_PortNumber=\n", "not a port number"),
])
def test_masthead_refuses_content(refused, put, content, sentence):
    path = put("Masthead.afxm", content() if callable(content) else content)
    result = refused(sentence, "bigfix_masthead", path=str(path), port=NEW, backup=True)
    assert result["msg"].startswith("%s: " % path)


@pytest.mark.parametrize("make, sentence", [
    (lambda path: None, "does not exist; check the path, or whether the product is installed here"),
    (lambda path: path.symlink_to("nowhere"), "is a symbolic link to nowhere, which does not exist"),
    (lambda path: path.mkdir(), "is a directory, not a file"),
])
@pytest.mark.parametrize("module, options", [
    ("bigfix_masthead", dict(port=NEW)), ("bigfix_masthead_info", {}), ("bigfix_settings", dict(settings=dict(a="b")))])
def test_what_is_no_file_is_refused(refused, folder, make, sentence, module, options):
    path = folder / "name"
    make(path)
    refused("%s: %s" % (path, sentence), module, path=str(path), **options)


@functools.cache
def damaged():
    return sign(inner_part(port=NEW)).replace(b"issued for a test", b"issued for a jest")


@pytest.mark.parametrize("issued, sentence", [
    (lambda: sign(inner_part(host="other.example.test", port=NEW)),
     "masthead of another deployment: its host is other.example.test, the installed one says bigfix.example.test"),
    (lambda: sign(inner_part(serial="987654321", port=NEW)),
     "masthead of another deployment: its serial number is 987654321, the installed one says 123456789"),
    (lambda: sign(inner_part(port=55001)), "masthead issued for another port than 55000 (X-Fixlet-Site-Gather-URL: 55001"),
    (damaged, "signed masthead whose signature is broken"),
    (lambda: plain(port=NEW), "plain masthead without a signature, where the installed one is signed"),
    (lambda: b"hello\n", "not a masthead"),
    (bytes, "empty file where a masthead was expected"),
])
def test_issued_masthead_is_refused(refused, put, tmp_path, issued, sentence):
    src = tmp_path / "issued.afxm"
    src.write_bytes(issued())
    path = put("actionsite.afxm", sign(inner_part()))
    refused(sentence, "bigfix_masthead", path=str(path), port=NEW, src=str(src), backup=True)


@pytest.mark.parametrize("remote", [False, True])
def test_refused_masthead_is_called_by_the_name_that_the_task_gave_it(refused, put, tmp_path, remote):
    src = tmp_path / "issued.afxm"
    src.write_bytes(b"hello\n")
    path = put("actionsite.afxm", sign(inner_part()))
    refused("%s: not a masthead" % src, "bigfix_masthead", path=str(path), port=NEW, src=str(src), remote_src=remote)


@pytest.mark.parametrize("remote, sentence", [
    (False, "src: /no/such/issued.afxm was not found on the control node"), (True, "/no/such/issued.afxm: does not exist")])
def test_missing_issued_masthead_is_refused(refused, put, remote, sentence):
    path = put("actionsite.afxm", sign(inner_part()))
    refused(sentence, "bigfix_masthead", path=str(path), port=NEW, src="/no/such/issued.afxm", remote_src=remote)


def test_broken_issued_masthead_is_installed_when_the_site_allows_it(changed, put, tmp_path):
    src = tmp_path / "issued.afxm"
    src.write_bytes(damaged())
    changed("bigfix_masthead", put("actionsite.afxm", sign(inner_part())), damaged(), port=NEW, src=str(src),
            allow_invalid_signature=True)


# --- bigfix_masthead_info ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content, facts", [
    (plain, dict(port=OLD, ports=[OLD], format="plain", signature="absent", signer_sha256=None,
                 host="bigfix.example.test", serial_number="123456789")),
    (lambda: sign(inner_part()), dict(port=OLD, ports=[OLD], format="signed", signature="valid", host="bigfix.example.test")),
    (damaged, dict(port=NEW, format="signed", signature="invalid")),
    (lambda: MIXED, dict(port=None, ports=[OLD, 52312], host="h", serial_number=None)),
])
def test_masthead_info_reads_and_writes_nothing(run_module, put, folder, content, facts):
    path = put("Masthead.afxm", content())
    before = snapshot(folder)
    result = run_module("bigfix_masthead_info", check=True, path=str(path))
    if facts.get("format") == "signed":
        facts = dict(facts, signer_sha256=certificate_sha256(session_signer()[1]))
    assert {name: result[name] for name in facts} == facts and result["changed"] is False
    assert snapshot(folder) == before


# --- bigfix_settings --------------------------------------------------------------------------------------------


def move(**options):
    return dict(dict(settings=dict(_BESClient_RelaySelect_Port=NEW), rewrite_port={"from": OLD, "to": NEW},
                     effective_date=OLD_DATE), **options)


def test_settings_move_and_say_so(changed, put):
    path = put("besclient.config", CONFIG)
    result = changed("bigfix_settings", path, CONFIG.replace(b"52311", b"55000"), **move(backup=True))
    assert result["settings"] == {"_BESClient_RelaySelect_Port": "55000", "__RelayServer1": RELAY_URL % NEW}
    assert result["previous"] == {"_BESClient_RelaySelect_Port": "52311", "__RelayServer1": RELAY_URL % OLD}
    assert result["rewritten"] == ["__RelayServer1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name, content", [
    ("crlf", CONFIG.replace(b"\n", b"\r\n")),
    ("bom", b"\xef\xbb\xbf" + CONFIG),
    ("latin-1", CONFIG.replace(HEAD.encode(), b"; caf\xe9\n" + HEAD.encode())),
    ("no final newline", CONFIG.rstrip(b"\n")),
])
def test_settings_keep_every_other_byte(changed, put, name, content):
    changed("bigfix_settings", put("besclient.config", content), content.replace(b"52311", b"55000"), **move())


def test_settings_file_behind_a_link_stays_there(changed, put, folder):
    path = put("real.config", CONFIG, 0o640)
    link = folder / "besclient.config"
    link.symlink_to(path)
    changed("bigfix_settings", link, CONFIG.replace(b"52311", b"55000"), **move())
    assert os.readlink(link) == str(path) and stat.S_IMODE(path.stat().st_mode) == 0o640


def test_new_setting_is_appended_and_null_takes_it_away_again(changed, put):
    path = put("besclient.config", CONFIG)
    name = "_BESClient_Log_Days"
    added = changed("bigfix_settings", path, CONFIG + b"\n" + (SETTING % (name, "7")).encode(),
                    settings={name: 7}, effective_date=OLD_DATE)
    assert (added["previous"][name], added["settings"][name]) == (None, "7")
    removed = changed("bigfix_settings", path, CONFIG, settings={name.upper(): None})
    assert name not in removed["settings"] and removed["previous"][name] == "7"


def test_clientsettings_are_written_in_their_own_form(changed, put):
    content = b"# installer\r\n__RelayServer1=%s\r\n" % (RELAY_URL % OLD).encode()
    path = put("clientsettings.cfg", content)
    changed("bigfix_settings", path, content.replace(b"52311", b"55000") + b"_BESClient_RelaySelect_Port=55000\r\n",
            **move(format="clientsettings"))


SECRETS = config(_BESClient_Comm_ProxyPass=SECRET, _BESClient_RelaySelect_Port=OLD,
                 __RelayServer1="http://admin:%s@relay1.example.test:52311/x?key=%s" % (SECRET, SECRET), SiteAccess=SECRET,
                 _BESClient_SecureRegistration=SECRET, _Custom="http://relay2:52311/?pwd=" + SECRET,
                 _Free="pwd=%s" % SECRET)


def test_secrets_stay_out_of_diff_and_result(changed, put):
    result = changed("bigfix_settings", put("besclient.config", SECRETS), SECRETS.replace(b"52311", b"55000"), **move())
    assert SECRET not in json.dumps(result)
    # What was changed is shown all the same, beside the secrets too.
    assert "********@relay1.example.test:55000/x?********" in result["diff"]["after"]
    assert "********@relay1.example.test:52311/x?********" in result["diff"]["before"]
    for key, port in (("previous", OLD), ("settings", NEW)):
        assert result[key] == {
            "_BESClient_Comm_ProxyPass": "********", "_BESClient_RelaySelect_Port": "%d" % port,
            "__RelayServer1": "http://********@relay1.example.test:%d/x?********" % port, "SiteAccess": "********",
            "_BESClient_SecureRegistration": "********", "_Custom": "********:%d********" % port, "_Free": "********"}


def test_secret_that_is_set_stays_out_of_diff_and_result(changed, put):
    expected = SECRETS.replace(b"_ProxyPass]\nvalue                          = " + SECRET.encode(),
                               b"_ProxyPass]\nvalue                          = " + SECRET.encode() + b"-new")
    result = changed("bigfix_settings", put("besclient.config", SECRETS), expected, effective_date=OLD_DATE,
                     settings=dict(_BESClient_Comm_ProxyPass=SECRET + "-new"))
    assert SECRET not in json.dumps(result) and result["diff"]["before"] == result["diff"]["after"]


def test_secret_that_is_set_stays_out_of_the_hosts_log(put, monkeypatch, capsys):
    """In this process, where what goes to syslog can be seen; with the invocation in the result, as -vvv has it."""
    from ansible.module_utils.testing import patch_module_args

    from ansible_collections.portshift.agents.plugins.modules import bigfix_settings as module
    logged = []
    monkeypatch.setattr(module.AnsibleModule, "log", lambda self, text, log_args=None: logged.append((text, log_args)))
    path = put("besclient.config", SECRETS)
    options = dict(path=str(path), settings=dict(_Other_Password=SECRET, _BESClient_RelaySelect_Port=NEW))
    with patch_module_args(dict(options, _ansible_inject_invocation=True)), pytest.raises(SystemExit):
        module.main()
    told = capsys.readouterr().out
    assert b"_Other_Password]\nvalue                          = " + SECRET.encode() in path.read_bytes()
    assert len(logged) == 1 and SECRET not in str(logged) + told
    assert json.loads(told)["invocation"]["module_args"]["settings"] == {
        "_Other_Password": "********", "_BESClient_RelaySelect_Port": NEW}
    assert "'_BESClient_RelaySelect_Port': 55000" in str(logged)


def test_secret_stays_out_of_the_diff_of_a_rollback(run_module, put, folder):
    path = put("besclient.config", SECRETS)
    state = dict(path=str(folder / "state" / "bigfix.json"), new_port=NEW)
    run_module("bigfix_settings", path=str(path), record=state, **move())
    result = run_module("change_record", diff=True, path=state["path"], state="restored")
    assert path.read_bytes() == SECRETS and SECRET not in json.dumps(result)
    assert "relay1.example.test:52311/" in result["diff"][0]["after"]


def test_secret_stays_out_of_a_failure(refused, put):
    content = SECRETS + config(_BESClient_Comm_ProxyPass="other-" + SECRET)
    result = refused("has two values", "bigfix_settings", path=str(put("besclient.config", content)), **move())
    assert SECRET not in json.dumps(result)


@pytest.mark.parametrize("options, sentence", [
    (dict(settings={"_A": "two\nlines"}), "the value of _A holds a line break or a control character"),
    (dict(settings={"_A\n_B": "x"}), "holds a line break or a control character"),
    (dict(settings={"_A]": "x"}), "is no name of a setting"),
    (dict(settings={"": "x"}), "is no name of a setting"),
    (dict(settings={"_A": True}), "the value of _A is a bool (True); write it as quoted text"),
    (dict(settings={"_A": 1.5}), "the value of _A is a float"),
    (dict(settings={"_A": ["x"]}), "the value of _A is a list"),
    (dict(settings={"_A_Password": ["x"]}), "the value of _A_Password is a list (********)"),
    (dict(settings={"_A": "1", "_a": "2"}), "asked for twice, in different case"),
    (dict(rewrite_port={"from": OLD, "to": OLD}), "the old and the new port are both 52311; name two different ports"),
    (dict(rewrite_port={"from": OLD, "to": 52314}), "rewrite_port.to is 52314, which can't be used"),
    (dict(rewrite_port={"from": 0, "to": NEW}), "rewrite_port.from is 0, which is not a port number"),
    (dict(rewrite_port={"from": OLD}), "missing required arguments: to"),
])
def test_settings_refuse_values(refused, put, options, sentence):
    refused(sentence, "bigfix_settings", path=str(put("besclient.config", CONFIG)), backup=True, **options)


@pytest.mark.parametrize("content, options, sentence", [
    (CONFIG + config(_besclient_relayselect_port=40000), {},
     'the setting _BESClient_RelaySelect_Port has two values: "52311" in line 5, "40000" in line'),
    (b"[Somewhere\\Else]\nvalue = 1\n", {}, "not a settings file of the agent"),
    (b"", {}, "the file is empty"),
    (CONFIG.decode().encode("utf-16"), {}, "UTF-16"),
    (b"no equals sign\n", dict(format="clientsettings"), "line 1 is not of the form NAME=VALUE"),
])
def test_settings_refuse_content(refused, put, content, options, sentence):
    path = put("besclient.config", content)
    result = refused(sentence, "bigfix_settings", path=str(path), **move(**options))
    assert result["msg"].startswith("%s: " % path)


# --- change_record ----------------------------------------------------------------------------------------------


def test_no_record_means_nothing_to_restore(run_module, folder):
    result = run_module("change_record", path=str(folder / "none.json"), state="restored")
    assert (result["changed"], result["record"], result["restored"], result["ok"]) == (False, None, [], True)
    assert snapshot(folder) == {}


def test_going_back_over_the_change_of_another_is_refused_unless_forced(run_module, refused, put, folder):
    path = put("Masthead.afxm", plain())
    state = dict(path=str(folder / "state" / "bigfix.json"), new_port=NEW)
    run_module("bigfix_masthead", path=str(path), port=NEW, record=state)
    path.write_bytes(plain(port=NEW) + b"theirs\n")
    seen = run_module("change_record", path=state["path"])
    assert (seen["ok"], len(seen["unsafe"])) == (False, 1)
    refused("going back is no longer safe, nothing was restored: %s: it has changed since the migration" % path,
            "change_record", path=state["path"], state="restored")
    assert run_module("change_record", path=state["path"], state="restored", force=True)["changed"] is True
    assert path.read_bytes() == plain()


def test_damaged_record_is_refused(refused, put):
    refused("is not a record of portshift.agents", "change_record", path=str(put("bigfix.json", b"{")), state="restored")


# --- port_probe -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(page=b"", host="127.0.0.1"):
    """A web server that gives `page` for every path, and its port."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *unused):
            pass

    with http.server.ThreadingHTTPServer((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.05), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(5)


@pytest.fixture
def closed_port():
    """A port of ours on which no process listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield server.getsockname()[1]


def test_probe_tells_what_answers_in_check_mode_too(run_module, closed_port):
    with serving(plain()) as port:
        targets = [dict(host="127.0.0.1", port=closed_port), dict(host="127.0.0.1", port=port),
                   dict(host="127.0.0.1", port=port, http=dict(path="/masthead/masthead.afxm", body_regex="_PortNumber=52311")),
                   dict(host="127.0.0.1", port=port, http=dict(body_regex="_PortNumber=55000"))]
        result = run_module("port_probe", check=True, targets=targets, timeout=3, fail_on_unreachable=False)
        assert [entry["reachable"] for entry in result["results"]] == [False, True, True, False]
        assert [entry["port"] for entry in result["results"]] == [closed_port, port, port, port]
        assert result["unreachable_targets"] == [result["results"][0], result["results"][3]] and result["changed"] is False
        # Targets on several ports are evidence for none of them.
        assert (result["ok"], result["port"]) == (False, None)

        failed = run_module("port_probe", check=True, targets=targets, timeout=3)
        assert failed["failed"] is True and len(failed["results"]) == 4 and failed["ok"] is False
        proof = run_module("port_probe", targets=targets[1:3])
        assert (proof["ok"], proof["port"]) == (True, port)
        assert failed["msg"] == (
            "2 of 4 targets did not answer: 127.0.0.1 -> 127.0.0.1 port %d tcp: connection refused: nothing listens there; "
            "127.0.0.1 -> 127.0.0.1 port %d tcp: the answer for / does not match _PortNumber=55000" % (closed_port, port))


def test_target_that_is_down_on_its_old_port_too_is_no_problem(run_module, closed_port):
    with serving() as port, socket.socket() as another:
        another.bind(("127.0.0.1", 0))
        silent = another.getsockname()[1]
        open_there, down, shut = (dict(host="127.0.0.1", port=new, old_port=old) for new, old in (
            (port, closed_port), (closed_port, silent), (closed_port, port)))
        fine = run_module("port_probe", targets=[open_there, down], port=6530)
        assert (fine["ok"], fine["port"], fine["problems"]) == (True, 6530, []) and "msg" not in fine
        assert fine["unreachable_targets"] == [fine["results"][1]]
        assert [result["old_reachable"] for result in fine["results"]] == [False, False]
        failed = run_module("port_probe", targets=[open_there, down, shut], port=6530)
        assert failed["failed"] and (failed["ok"], failed["port"]) == (False, 6530)
        assert failed["problems"] == [failed["results"][2]["error"]]
        assert failed["msg"] == "1 of 3 targets did not answer: " + failed["problems"][0]
        # Without one, silence counts.
        found = run_module("port_probe", targets=[dict(host="127.0.0.1", port=closed_port)], port=6530)
        assert not found["ok"] and "old_reachable" not in found["results"][0]


def test_target_that_comes_up_while_it_is_waited_for_is_not_shut(run_module):
    """Both its ports have the same time: one that answers on the old one already is asked on the new one for as long."""
    with socket.socket() as new, socket.socket() as old:
        for listener in (new, old):
            listener.bind(("127.0.0.1", 0))
        timer = threading.Timer(4, lambda: (old.listen(), new.listen()))
        timer.start()
        found = run_module("port_probe", wait=30, targets=[
            dict(host="127.0.0.1", port=new.getsockname()[1], old_port=old.getsockname()[1])])
        timer.join()
        assert found["ok"] and found["results"][0]["old_reachable"] is True, found


@pytest.mark.parametrize("targets", [[], [dict(host="127.0.0.1", port=1)]])
def test_port_of_the_result_has_to_be_one(refused, targets):
    refused("port is 70000, which is not a port number", "port_probe", targets=targets, port=70000)


def test_no_target_is_evidence_where_its_port_is_said(run_module):
    for check in (False, True):
        found = run_module("port_probe", check=check, targets=[], port=6530)
        assert (found["ok"], found["port"], found["predicted"], found["results"]) == (True, 6530, check, [])
        nothing = run_module("port_probe", check=check, targets=[])
        assert (nothing["ok"], nothing["port"]) == (False, None)


@pytest.mark.parametrize("target, sentence", [
    (dict(port=1, old_port=0), "the old port of target 127.0.0.1 is 0, which is not a port number"),
    (dict(port=0), "the port of target 127.0.0.1 is 0, which is not a port number"),
    (dict(port=70000), "the port of target 127.0.0.1 is 70000"),
    (dict(port=1, protocol="udp", http={}), "asks for HTTP over UDP; leave protocol out"),
    (dict(port=1, http=dict(body_regex="(")), "body_regex '(' is no regular expression"),
    (dict(port=1, protocol="sctp"), "value of protocol must be one of"),
    (dict(port=1, http=dict(thumbprint="AB" * 20)), "has a thumbprint and no tls; a server shows a certificate by TLS alone"),
    (dict(port=1, http=dict(tls=True, thumbprint="AB:CD")), "thumbprint 'AB:CD' is none: give the 40 hexadecimal digits"),
    (dict(port=1, http=dict(server_name="hub:443")), "target 127.0.0.1:1 has server_name 'hub:443', which is no name of a host"),
    (dict(port=1, http=dict(server_name="https://hub/")), "has server_name 'https://hub/', which is no name"),
    (dict(port=1, http=dict(server_name="a..b")), "has server_name 'a..b', which is no name"),
    (dict(port=1, http=dict(server_name="a\nb")), "which is no name of a host; leave out what else"),
])
def test_probe_refuses_targets(refused, target, sentence):
    refused(sentence, "port_probe", targets=[dict(target, host="127.0.0.1")])


# --- phase_gate -------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(run_module, tmp_path):
    """gate(evidence by host, **options): what a gate on the first host says; None: a host without evidence."""
    def call(evidence, check=False, **options):
        path = tmp_path / "gate.yml"
        path.write_text(json.dumps(dict(all=dict(hosts={
            host: {} if value is None else dict(proof=value) for host, value in evidence.items()}))))
        options = dict(dict(hosts=list(evidence), evidence="proof"), **options)
        return run_module("phase_gate", check=check, inventory=str(path), host=list(evidence)[0], **options)
    return call


GOOD, BAD = dict(ok=True), dict(ok=False, problems=["no report got through"])


@pytest.mark.parametrize("check", [False, True])
def test_gate_opens_when_every_host_gave_evidence(gate, check):
    result = gate(dict(a=GOOD, b=GOOD), check=check, phase="phase 1")
    assert not result.get("failed") and result["changed"] is False
    assert (result["expected"], result["proved"], result["missing"]) == (2, 2, [])
    assert result["msg"] == "gate after phase 1: 2 of 2 hosts gave evidence"


@pytest.mark.parametrize("check", [False, True])
def test_gate_closes_and_names_every_host_without_evidence(gate, check):
    result = gate(dict(a=GOOD, b=None, c=BAD, d=None), check=check, phase="phase 2", hosts=["a", "b", "c", "d", "e"])
    assert (result["failed"], result["expected"], result["proved"], result["allowed"]) == (True, 5, 1, 0)
    silent = "no answer: unreachable, or failed before it could prove anything"
    assert result["missing"] == [dict(host="b", reason=silent), dict(host="c", reason="no report got through"),
                                 dict(host="d", reason=silent), dict(host="e", reason="not in the inventory")]
    assert result["msg"] == (
        "gate after phase 2: closed. 4 of 5 hosts gave no evidence (allowed: 0): b, d (%s); c (no report got through); "
        "e (not in the inventory). Mend them and run the same command again; it goes on from what is there." % silent)


@pytest.mark.parametrize("check", [False, True])
def test_gate_counts_evidence_for_its_port_and_predictions_in_check_mode_alone(gate, check):
    evidence = dict(a=dict(ok=True, port=55000), b=dict(ok=True, port="55000"), c=True, d=dict(ok=True, port=52311),
                    e=dict(ok=True, predicted=True, port=55000), f=dict(changed=False))
    assert [entry["host"] for entry in gate(evidence, check=check)["missing"]] == (["f"] if check else ["e", "f"])
    shut = gate(evidence, check=check, port="55000")
    assert [entry["host"] for entry in shut["missing"]] == (["d", "f"] if check else ["d", "e", "f"])
    assert "d (proof is about port 52311, and the gate is for port 55000)" in shut["msg"]
    assert "70000, which is not a port number" in gate(dict(a=True), check=check, port=70000)["msg"]


@pytest.mark.parametrize("allowed, missing, closed", [
    (0, 1, True), (1, 1, False), ("1", 2, True), ("5%", 1, False), ("5%", 2, True), ("4%", 1, True), ("100%", 20, False)])
def test_gate_lets_as_many_be_missing_as_it_was_told(gate, allowed, missing, closed):
    evidence = {"h%02d" % number: None if number < missing else GOOD for number in range(20)}
    assert gate(evidence, max_missing=allowed).get("failed", False) is closed


def test_gate_counts_a_host_once(gate):
    assert gate(dict(a=GOOD, b=None), hosts=["a", "a", "a", "b"], max_missing="50%").get("failed", False) is False
    assert gate(dict(a=GOOD, b=None), hosts=["a", "b", "b", "a"], max_missing=1)["expected"] == 2


@pytest.mark.parametrize("junk", ["many", "-1", "5%%", 1.5, True])
def test_gate_refuses_a_junk_number_even_when_no_host_is_missing(gate, junk):
    result = gate(dict(a=GOOD), max_missing=junk)
    assert result["failed"] is True and "give a number of hosts or a percentage such as 5%" in result["msg"]


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_unreachable_host_is_missing_at_the_gate(run_playbook, options):
    """The one case that needs a whole playbook: Ansible itself drops the host that it can't reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        unreachable_host_is_missing(run_playbook, server.getsockname()[1], options)


def unreachable_host_is_missing(run_playbook, port, options):
    inventory = dict(all=dict(hosts=dict(
        alive=dict(ansible_connection="local", ansible_python_interpreter=sys.executable),
        # No folder can be made there, which Ansible takes for a host that can't be reached.
        dead=dict(ansible_connection="local", ansible_pipelining=False, ansible_remote_tmp="/proc/nowhere"))))
    probe = {"portshift.agents.port_probe": dict(targets=[dict(host="127.0.0.1", port=port)], fail_on_unreachable=False),
             "register": "proof"}
    gate = {"portshift.agents.phase_gate": dict(
        hosts=["alive", "dead"], evidence="proof", port=port, max_missing="{{ allowed }}")}
    plays = [dict(hosts="all", gather_facts=False, tasks=[probe]), dict(hosts="alive", gather_facts=False, tasks=[gate])]
    closed = run_playbook(plays, inventory, "-e", "allowed=0", *options)
    assert "UNREACHABLE" in closed.stdout
    assert ("gate: closed. 1 of 2 hosts gave no evidence (allowed: 0): dead (unreachable: Task failed: Failed to create "
            "temporary") in closed.stdout
    assert "failed=1" in closed.stdout
    if not options:
        assert "failed=1" not in run_playbook(plays, inventory, "-e", "allowed=1").stdout


# --- port_users -------------------------------------------------------------------------------------------------


def bridged(*users, **more):
    return dict(dict(users=[dict(address=address, port=52311, seconds_ago=ago) for address, ago in users],
                     remembered_seconds=90000, notes=[], looked_at=time.time()), **more)


@pytest.fixture
def port_users(run_module, tmp_path):
    """port_users(looks by host, **options): what close is told on an estate of relay1, relay2 and client1."""
    def call(looks, check=False, **options):
        moved = dict(ok=True, port=55000, moved_at=time.time() - 60, looked_at=time.time())
        # What docker gives each of its hosts tells none of them apart.
        own = dict(relay1=["10.0.1.1", "172.17.0.1"], client1=["192.168.7.1", "172.17.0.1"])
        known = dict(relay1="10.0.1.1", relay2="10.0.1.2", client1="10.0.2.1")
        hosts = {host: dict(ansible_host=address, bigfix_proof=dict(moved, addresses=own.get(host)),
                            **({"look": looks[host]} if host in looks else {})) for host, address in known.items()}
        (tmp_path / "users.yml").write_text(json.dumps(dict(all=dict(hosts=hosts))))
        return run_module("port_users", check=check, inventory=str(tmp_path / "users.yml"), host="relay1", **dict(dict(
            product="bigfix", hosts=list(known), found="look", evidence="bigfix_proof", staying=[55000]), **options))
    return call


@pytest.mark.parametrize("check", [False, True])
def test_users_of_a_port_that_is_to_be_closed_are_named_for_each_host(port_users, check):
    shut = port_users(dict(relay1=bridged(("10.0.2.1", 5), ("10.9.9.9", 50)), relay2=bridged(("127.0.0.1", 7)),
                           client1=dict(skipped=True, changed=False)), check=check)
    assert shut["failed"] and [(user["host"], user["name"], user["address"]) for user in shut["users"]] == [
        ("relay1", "client1", "10.0.2.1"), ("relay1", None, "10.9.9.9"), ("relay2", "relay2", "127.0.0.1")]
    assert shut["msg"].startswith(
        "Nothing was closed. An old port is still used, and its users would be cut off: port 52311 of relay1 by client1 "
        "(10.0.2.1, 5 s ago), 10.9.9.9, 50 s ago; port 52311 of relay2 by relay2 (127.0.0.1, 7 s ago). ")
    assert shut["msg"].endswith("-e '{\"bigfix_close_ignore_users\": [\"10.0.2.1\"]}'")


def test_port_that_is_quiet_can_be_closed(port_users):
    # client1 used it before it moved, 60 s ago; the scanner is let pass.
    quiet = port_users(dict(relay1=bridged(("10.0.2.1", 70), ("10.9.9.9", 5)), relay2=bridged(remembered_seconds=20)),
                       hosts=["relay1", "relay2"], members=["relay1", "client1"], ignore="10.9.9.0/24")
    assert not quiet.get("failed") and quiet["users"] == [] and quiet["changed"] is False
    # It speaks from another address than it is reached at.
    several = port_users(dict(relay1=bridged(("192.168.7.1", 70), ("172.17.0.1", 70)), relay2=bridged()))
    assert [(user["address"], user["name"]) for user in several["users"]] == [("172.17.0.1", None)]
    assert "relay2: who uses the old port has been remembered for less than 3600 s (20 s on relay2)" in quiet["notes"][0]
    assert not port_users(dict(relay1=bridged(("10.9.9.9", 5))), hosts=["relay1"], quiet_seconds=0).get("failed")


def test_bridge_that_could_not_be_looked_at_ends_the_run_too(port_users):
    broken = port_users(dict(relay1=bridged(), relay2=dict(failed=True, msg="nft could not list the rules")))
    assert broken["failed"] and "read: relay2: nft could not list the rules; client1: gave no answer" in broken["msg"]
    refused = port_users(dict(relay1=bridged()), hosts=["relay1"], ignore=["scanner"])
    assert refused["failed"]
    assert refused["msg"].startswith("Nothing was closed. bigfix_close_ignore_users is 'scanner', which is neither")


# --- bigfix_topology --------------------------------------------------------------------------------------------


@pytest.fixture
def topology(run_module, tmp_path):
    def call(check=False, groups=None, **options):
        hosts = dict(bigfix_server=dict(srv={}), bigfix_relays=dict(r1={}, r2=dict(bigfix_parent="r1")),
                     bigfix_clients=dict(c1=dict(bigfix_parent="r2"), c2={}, c3={}), bigfix_pilot=dict(r1={}, c2={}))
        hosts.update(groups or {})
        path = tmp_path / "topology.yml"
        path.write_text(json.dumps({name: dict(hosts=members) for name, members in hosts.items()}))
        return run_module("bigfix_topology", check=check, inventory=str(path), host="srv", **options)
    return call


@pytest.mark.parametrize("check", [False, True])
def test_topology_lays_out_the_steps(topology, check):
    result = topology(check=check, port="55000", previous_port=OLD, client_waves=[1])
    assert not result.get("failed") and result["changed"] is False
    assert (result["port"], result["server"], result["tiers"]) == (NEW, "srv", [["r1"], ["r2"]])
    assert result["order"] == ["srv", "r1", "c2", "r2", "c1", "c3"]
    assert [step["title"] for step in result["phases"]["3"]] == ["clients, wave 1 of 2", "clients, wave 2 of 2"]
    assert result["components"] == dict(srv="server", r1="relay", r2="relay", c1="client", c2="client", c3="client")
    assert result["parents"] == dict(r1="srv", r2="r1", c1="r2", c2="srv", c3="srv")


def test_topology_of_some_phases_and_hosts(topology):
    result = topology(port=NEW, phases="2,3", hosts=["r2", "c1", "c3"], forks=1)
    assert (result["phases"]["1"], [step["hosts"] for step in result["phases"]["2"] + result["phases"]["3"]]) == (
        [], [["r2"], ["c1"], ["c3"]])


def test_topology_needs_no_port_to_go_back(topology):
    assert topology(port_required=False).get("failed", False) is False


def test_topology_names_every_problem_at_once(topology):
    result = topology(port="x", previous_port=0, phases="4", window="now", masthead_src="/no/such/file",
                      groups=dict(bigfix_server=dict(srv={}, two={})))
    assert result["failed"] is True and result["msg"].startswith("Nothing was changed. bigfix_port is 'x'")
    starts = ["bigfix_port is 'x', which is not a port number", "bigfix_previous_port is 0, which is not a port number",
              "bigfix_phases is '4'", "bigfix_window is 'now'", "bigfix_masthead_src: ",
              "inventory group bigfix_server has to hold the one root server, it holds 2"]
    assert len(result["problems"]) == len(starts)
    for problem, start in zip(result["problems"], starts):
        assert problem.startswith(start) and problem in result["msg"]


@pytest.mark.parametrize("options, sentence", [
    ({}, "bigfix_port is not set; say which port to move to, such as -e bigfix_port=55000"),
    (dict(port=""), "bigfix_port is not set"),
    (dict(port=NEW, previous_port="55000"), "bigfix_port and bigfix_previous_port are both 55000: there is nothing to move"),
    (dict(port=52314), "bigfix_port is 52314, which can't be used"),
    (dict(port=443), "BigFix does not take a port from 1 to 1024"),
    (dict(port=NEW, client_waves=[]), "bigfix_client_waves is empty"),
    (dict(port=NEW, relay_waves="half"), "bigfix_relay_waves is 'half'"),
    (dict(port=NEW, groups=dict(bigfix_pilot=dict(r2={}))), "r2 is in bigfix_pilot, but its parent r1 is not"),
])
def test_topology_refuses(topology, options, sentence):
    result = topology(**options)
    assert result["failed"] is True and sentence in result["msg"]


@pytest.mark.parametrize("content, sentence", [
    (lambda: sign(inner_part(port=55001)), "is for port 55001, not for 55000; have BESAdmin issue one for port 55000"),
    (lambda: b"hello", "not a masthead"), (lambda: sign(inner_part(port=NEW)), None)])
def test_topology_reads_the_issued_masthead_once_for_all(topology, tmp_path, content, sentence):
    src = tmp_path / "issued.afxm"
    src.write_bytes(content())
    result = topology(port=NEW, masthead_src=str(src))
    assert result.get("failed", False) is bool(sentence)
    if sentence:
        assert result["problems"][0].startswith("bigfix_masthead_src: %s" % src) and sentence in result["problems"][0]


# --- bigfix_info and bigfix_evidence ----------------------------------------------------------------------------


@pytest.fixture
def host(put, folder):
    """host(masthead, settings): the options of a host whose files are these."""
    def make(masthead=None, settings=CONFIG, component="client", **options):
        if masthead is not False:
            put("actionsite.afxm", plain() if masthead is None else masthead)
        if settings:
            put("besclient.config", settings)
        return dict(dict(component=component, port=NEW, masthead_paths=[str(folder / "actionsite.afxm")],
                         settings_paths=[str(folder / "besclient.config")]), **options)
    return make


def test_info_says_what_would_change_and_writes_nothing(run_module, host, folder):
    options = host()
    before = snapshot(folder)
    result = run_module("bigfix_info", **options)
    assert (result["ok"], result["problems"], result["old_port"], result["changed"]) == (True, [], OLD, False)
    assert result["edits"] == [
        dict(kind="masthead", path=str(folder / "actionsite.afxm"), previous_port=OLD),
        dict(kind="settings", path=str(folder / "besclient.config"), settings=dict(_BESClient_RelaySelect_Port="55000"),
             urls=["__RelayServer1"], format="config")]
    assert result["record"] is None and snapshot(folder) == before


def test_info_of_a_finished_host_has_no_edits(run_module, host):
    result = run_module("bigfix_info", **host(plain(port=NEW), CONFIG.replace(b"52311", b"55000")))
    assert (result["ok"], result["edits"], result["old_port"]) == (True, [], None)


def test_info_names_every_problem_of_a_host(run_module, host, folder):
    result = run_module("bigfix_info", **host(b"hello", settings=None))
    assert result["ok"] is False and not result.get("failed")
    assert [problem.split(";")[0].split(" (")[0] for problem in result["problems"]] == [
        "%s: not a masthead: it has neither a _PortNumber= line nor masthead URL headers. Name the Masthead.afxm or "
        "actionsite.afxm of the deployment." % (folder / "actionsite.afxm"),
        "%s: does not exist" % (folder / "besclient.config")]


def test_info_of_a_host_without_a_masthead_says_where_it_looked(run_module, host, folder):
    result = run_module("bigfix_info", **host(False))
    assert result["problems"] == ["no masthead found; looked for %s; name the right places in bigfix_client_masthead_paths"
                                  % (folder / "actionsite.afxm")]


def test_info_compares_the_issued_masthead_of_the_control_node(run_module, host, tmp_path):
    src = tmp_path / "issued.afxm"
    options = host(sign(inner_part()), masthead_src=str(src))
    src.write_bytes(sign(inner_part(port=NEW)))
    assert run_module("bigfix_info", **options)["ok"] is True
    src.write_bytes(sign(inner_part(port=NEW, serial="987654321")))
    [problem] = run_module("bigfix_info", **options)["problems"]
    assert "masthead of another deployment: its serial number is 987654321" in problem
    assert "pass it as bigfix_masthead_src" in run_module("bigfix_info", **dict(options, masthead_src=None))["problems"][0]


def test_info_fails_for_an_issued_masthead_that_is_none(refused, host, tmp_path):
    src = tmp_path / "issued.afxm"
    options = host(sign(inner_part()), masthead_src=str(src))
    refused("masthead_src: ", "bigfix_info", **options)
    src.write_bytes(b"hello")
    refused("masthead_src: %s: not a masthead" % src, "bigfix_info", **options)


def test_info_names_who_holds_the_new_port(run_module, host):
    with serving() as port:
        with open("/proc/self/comm") as name:
            process = name.read().strip()
        # Labs of other tests listen on other addresses of this machine.
        options = host(component="relay", port=port, bind_address="127.0.0.1")
        result = run_module("bigfix_info", **options)
        # Ansible's worker is a fork of this process and holds the socket too, so the pid may be either.
        [problem] = result["problems"]
        assert re.sub(r"pid [0-9]+", "pid", problem) == (
            "port %d is in use already: process %s (pid) listens on 127.0.0.1; free it or choose another port" % (port, process))
        assert [(entry["port"], entry["process"]) for entry in result["listeners"] if entry["port"] == port] == [(port, process)]
        # A client listens on nothing, and other addresses of this machine are other hosts.
        assert run_module("bigfix_info", **dict(options, component="client"))["problems"] == []
        assert run_module("bigfix_info", **dict(options, bind_address="127.0.0.9"))["problems"] == []


def test_info_names_the_connection_that_holds_the_new_port(run_module, host, closed_port):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        options = host(component="relay", port=client.getsockname()[1], bind_address="127.0.0.1")
        [problem] = run_module("bigfix_info", **options)["problems"]
        assert "is in use already: the kernel gave it to a connection of process" in problem
        assert problem.endswith("to 127.0.0.1:%d; end that connection or choose another port (once reserved, it is not "
                                "given away again)" % server.getsockname()[1])
        assert run_module("bigfix_info", **dict(options, bind_address="127.0.0.9"))["problems"] == []
        assert run_module("bigfix_info", **dict(options, component="client"))["problems"] == []


@pytest.mark.parametrize("page, found", [
    (b"hello", "which serves no masthead (what it serves as masthead is none"), (None, None)])
def test_info_notices_when_another_process_holds_the_old_port(run_module, host, page, found):
    with serving(page or plain()) as port:
        options = host(plain(port=port), CONFIG.replace(b"52311", str(port).encode()), component="relay",
                       bind_address="127.0.0.1")
        result = run_module("bigfix_info", **options)
        assert len(result["problems"]) == (1 if found else 0)
        if found:
            assert "port %d, the old one, is held by process" % port in result["problems"][0] and found in result["problems"][0]
        assert not any("no process listens" in note for note in result["notes"])


def test_info_says_that_no_process_listens_on_the_old_port(run_module, host):
    result = run_module("bigfix_info", **host(component="relay", bind_address="127.0.0.9"))
    assert result["ok"] and "no process listens on port 52311, the old one; is the relay running?" in result["notes"]


def test_recorded_old_port_goes_before_what_the_files_hold(run_module, host, put, folder):
    put("bigfix.json", json.dumps(dict(version=1, files=[], state="changing", old_port=40000, new_port=NEW,
                                       phase="1")).encode())
    result = run_module("bigfix_info", **host(record=str(folder / "bigfix.json")))
    assert (result["old_port"], result["record"]["state"]) == (40000, "changing")


def finished(host, **options):
    return host(plain(port=NEW), CONFIG.replace(b"52311", b"55000"), timeout=0, **options)


def test_files_are_evidence_when_they_hold_the_port(run_module, host):
    result = run_module("bigfix_evidence", **finished(host))
    assert (result["ok"], result["missing"], result["changed"]) == (True, {}, False)
    assert result["evidence"] == dict(files="2 files hold port 55000")


def test_files_on_the_old_port_are_no_evidence(refused, host, folder):
    result = refused("no proof on port 55000 after 0 s: not on port 55000 yet: %s, %s" % (
        folder / "actionsite.afxm", folder / "besclient.config"), "bigfix_evidence", **dict(host(), timeout=0))
    assert (result["ok"], result["evidence"]) == (False, {})


@pytest.fixture
def parent_port():
    """A port on which a parent serves a masthead for that port."""
    page = []

    @contextlib.contextmanager
    def start(for_port=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == "/masthead/masthead.afxm" else 404)
                self.end_headers()
                self.wfile.write(page[-1])

            def log_message(self, *unused):
                pass
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            port = server.server_address[1]
            page.append(plain(port=for_port or port))
            threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.05), daemon=True).start()
            yield port
            server.shutdown()
    return start


def test_parent_is_evidence_when_it_serves_a_masthead_for_the_port(run_module, refused, host, parent_port):
    with parent_port() as port:
        result = run_module("bigfix_evidence", **host(port=port, parent="127.0.0.1", files=False, timeout=0))
        assert result["evidence"] == dict(parent="parent 127.0.0.1 answers on port %d" % port)
    with parent_port(for_port=40000) as port:
        refused("parent 127.0.0.1 does not answer on port %d: it serves a masthead for port 40000" % port, "bigfix_evidence",
                **host(port=port, parent="127.0.0.1", files=False, timeout=0))
    refused("connection refused: nothing listens there", "bigfix_evidence",
            **host(port=port, parent="127.0.0.1", files=False, timeout=0))


def test_log_is_evidence_when_a_report_got_through_since_the_change(run_module, refused, host, folder):
    logs = folder / "Logs"
    logs.mkdir()
    now = datetime.datetime.now(datetime.UTC)
    changed = now - datetime.timedelta(seconds=60)
    before, after = changed - datetime.timedelta(seconds=30), changed + datetime.timedelta(seconds=30)
    (folder / "bigfix.json").write_text(json.dumps(dict(
        version=1, files=[], state="changing", old_port=OLD, new_port=NEW, phase="1", last_change=changed.timestamp())))

    def log(*entries):
        for path in logs.iterdir():
            path.unlink()
        for moment, text in entries:
            with open(logs / moment.strftime("%Y%m%d.log"), "a") as target:
                target.write("At %s -\n   %s\n" % (moment.strftime("%H:%M:%S +0000"), text))

    options = finished(host, log_dir=str(logs), record=str(folder / "bigfix.json"), success_patterns=["Report posted"],
                       failure_patterns=["port {port} failed"], files=False, settle=0)
    log((before, "Report posted successfully"))
    refused("no report got through since the change", "bigfix_evidence", **options)
    log((after, "Report posted successfully"), (after, "port 55000 failed"))
    refused("no report got through since the change; last failure: port 55000 failed", "bigfix_evidence", **options)
    log((before, "port 55000 failed"), (after, "port 1 failed"), (after, "Report posted successfully"))
    assert run_module("bigfix_evidence", **options)["evidence"] == dict(log="Report posted successfully")


def test_proof_is_marked_once_and_not_in_check_mode(run_module, host, folder):
    state = dict(path=str(folder / "bigfix.json"), new_port=NEW, old_port=OLD)
    options = dict(host(record=state["path"], timeout=0, mark=True))
    run_module("bigfix_masthead", path=options["masthead_paths"][0], port=NEW, record=state)
    run_module("bigfix_settings", path=options["settings_paths"][0], record=state, **move())
    before = snapshot(folder)
    assert run_module("bigfix_evidence", check=True, **options)["changed"] is True and snapshot(folder) == before
    assert run_module("bigfix_evidence", **options)["changed"] is True
    assert json.loads((folder / "bigfix.json").read_text())["state"] == "verified"
    assert run_module("bigfix_evidence", **options)["changed"] is False


def test_neighbour_that_is_gone_is_missed(refused, run_module, host, closed_port):
    refused("no process listens any more on port %d, which was not to move" % closed_port, "bigfix_evidence",
            **finished(host, neighbours=[closed_port], bind_address="127.0.0.1"))
    with serving() as port:
        result = run_module("bigfix_evidence", **finished(host, neighbours=[port], bind_address="127.0.0.1"))
        assert result["evidence"]["neighbours"] == "port %d as before" % port


# --- the oldest Python of managed hosts -------------------------------------------------------------------------

# ansible-core's own AnsibleModule has left Python 3.6 behind; sites with such hosts run an older one.
OLD_BASIC = '''
import json, sys

class AnsibleModule:
    def __init__(self, argument_spec, supports_check_mode=False, **unused):
        given = json.loads(sys.argv[2])
        self.params = {name: given.get(name, option.get("default")) for name, option in argument_spec.items()}
        self.check_mode, self._diff, self.no_log_values = False, True, set()

    def warn(self, sentence):
        print(sentence, file=sys.stderr)

    def exit_json(self, **result):
        print(json.dumps(result))
        sys.exit(0)

    def fail_json(self, **result):
        print(json.dumps(dict(result, failed=True)))
        sys.exit(0)
'''
RUN = '''
import importlib, sys
for name in sys.argv[1].split(","):
    module = importlib.import_module("ansible_collections.portshift.agents.plugins." + name)
if len(sys.argv) > 2:
    module.main()
'''


@pytest.fixture(scope="module")
def python36(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("pythons", os.path.join(CHECKOUT, "tools", "_pythons.py"))
    pythons = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pythons)
    found = pythons.find("3.6")
    if not found:
        pytest.skip("no Python 3.6 in PATH or pyenv's versions folder, so its hosts are not tried")
    library = tmp_path_factory.mktemp("library")
    basic = library / "ansible" / "module_utils" / "basic.py"
    basic.parent.mkdir(parents=True)
    for package in (basic.parent, basic.parent.parent):
        (package / "__init__.py").write_text("")
    basic.write_text(OLD_BASIC)
    collections = library / "ansible_collections" / "portshift"
    collections.mkdir(parents=True)
    (collections / "agents").symlink_to(CHECKOUT)
    environment = dict(os.environ, PYTHONPATH=str(library), PYTHONDONTWRITEBYTECODE="1", LC_ALL="C")

    def run(name, **args):
        command = [found[0], "-W", "error::SyntaxWarning", "-c", RUN, name] + ([json.dumps(args)] if args else [])
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False, env=environment, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if args else None
    return run


def test_python36_imports_everything_that_runs_on_hosts(python36):
    for folder in ("module_utils", "modules"):
        where = Path(CHECKOUT, "plugins")
        names = [".".join(path.relative_to(where).with_suffix("").parts) for path in sorted((where / folder).rglob("*.py"))
                 if path.name != "__init__.py"]
        assert len(names) > 20
        python36(",".join(names))


def test_python36_moves_a_masthead(python36, put, folder):
    path = put("Masthead.afxm", plain(), 0o640)
    state = dict(path=str(folder / "state" / "bigfix.json"), new_port=NEW)
    result = python36("modules.bigfix_masthead", path=str(path), port=NEW, record=state)
    assert (result.get("failed"), result["changed"], result["port"]) == (None, True, NEW)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (plain(port=NEW), 0o640)
    assert python36("modules.change_record", path=state["path"], state="restored")["restored"] == [str(path)]
    assert path.read_bytes() == plain()


def test_python36_checks_a_signature(python36, put):
    path = put("actionsite.afxm", sign(inner_part()))
    result = python36("modules.bigfix_masthead_info", path=str(path))
    assert (result["signature"], result["port"]) == ("valid", OLD)
    issued = put("issued.afxm", damaged())
    refusal = python36("modules.bigfix_masthead", path=str(path), port=NEW, src=str(issued))
    assert refusal["failed"] is True and "signature is broken" in refusal["msg"]


def test_python36_moves_settings(python36, put):
    path = put("besclient.config", CONFIG)
    result = python36("modules.bigfix_settings", path=str(path), format="config", **move())
    assert (result["changed"], path.read_bytes()) == (True, CONFIG.replace(b"52311", b"55000"))


def test_python36_probes_and_looks_at_a_host(python36, host):
    with serving() as port:
        found = python36("modules.port_probe", targets=[dict(host="127.0.0.1", port=port, protocol="tcp", http=None)], timeout=3)
        assert found["results"][0]["reachable"] is True
    result = python36("modules.bigfix_info", **host())
    assert (result["ok"], result["old_port"], len(result["edits"])) == (True, OLD, 2)
