# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bigfix_settings, bigfix_masthead and bigfix_masthead_info on a Windows host: the same engines, and steps that the host carries
out, on a model without a wire."""

import hashlib
import json

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import edit as bigfix_edit
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.file_modules import (
    MASTHEAD_SPEC, SETTINGS_SPEC, asked_settings)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKinds
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import bigfix_files, record as windows_record
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import Module
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import FOLDER
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.reg_file import reg_file
from tests.lab.authority import Authority
from tests.unit.windows_bigfix import CLIENT, DATE, NEW, OLD, RECORD, RELAY, SETTINGS, client, masthead, state_of
from tests.unit.windows_moves import Straight
from tests.windows.files import READ, TRUSTED, WRITE
from tests.windows.network import Network

INSTALLED = CLIENT + "\\actionsite.afxm"
FLAT = CLIENT + "\\clientsettings.cfg"
MOVE = {"from": OLD, "to": NEW}


@pytest.fixture
def host():
    return client(Network())


@pytest.fixture
def script(host):
    return Straight(host)


def module(spec, check=False, diff=False, **options):
    made = Module(check, diff)
    made.params = dict({name: option.get("default") for name, option in spec.items()}, **options)
    return made


def settings(script, check=False, diff=False, path=SETTINGS, **options):
    made = module(SETTINGS_SPEC, check, diff, path=path, **options)
    found = bigfix_files.settings(script, made)
    return dict(found, warnings=made.warnings)


def moved(script, issued=None, check=False, diff=False, path=INSTALLED, port=NEW, **options):
    made = module(MASTHEAD_SPEC, check, diff, path=path, port=port, **options)
    found = bigfix_files.masthead(script, made, issued)
    return dict(found, warnings=made.warnings)


def value(host, name, of="value"):
    return host.registry.get("%s\\%s" % (SETTINGS, name), of)


# --- settings

def test_settings_of_the_registry_are_set_removed_and_moved(host, script):
    host.registry.set(SETTINGS + "\\__RelayServer1", "value", RELAY % OLD, "ExpandString")
    found = settings(script, diff=True, settings={
        "_BESClient_RelaySelect_Port": NEW, "_besclient_comm_commandpollenable": None, "Fresh": "geheim"}, rewrite_port=MOVE)
    assert (found["changed"], found["path"], found["notes"], script.reads, len(script.applies)) == (True, SETTINGS, [], 1, 1)
    assert (value(host, "_BESClient_RelaySelect_Port"), value(host, "Fresh")) == (("String", str(NEW)), ("String", "geheim"))
    assert value(host, "__RelayServer1") == ("ExpandString", RELAY % NEW)
    # Its key goes with its last value; what was not asked for stays.
    assert not host.registry.exists(SETTINGS + "\\_BESClient_Comm_CommandPollEnable")
    assert found["rewritten"] == ["Password", "__RelayServer1"]
    # As the agent writes it: a setting that is set has a date of now, one whose URL moves keeps its own.
    assert value(host, "__RelayServer1", "effective date")[1] == DATE != value(host, "Fresh", "effective date")[1]
    assert found["settings"]["_BESClient_RelaySelect_Port"] == str(NEW)
    assert found["previous"]["_BESClient_RelaySelect_Port"] == str(OLD)
    shown = json.dumps(found)
    assert "geheim" not in shown and "user:pw" not in shown and RELAY % NEW in found["diff"]["after"]
    assert settings(script, rewrite_port=MOVE, settings={"_BESClient_RelaySelect_Port": NEW})["changed"] is False
    assert (script.reads, len(script.applies)) == (2, 1)


def test_check_mode_says_what_would_be_and_changes_nothing(host, script):
    before = state_of(host)
    predicted = settings(script, True, True, settings=dict(Fresh="1"), rewrite_port=MOVE, backup=True)
    assert predicted["changed"] and state_of(host) == before and script.applies == [] and "backup_file" not in predicted
    done = settings(script, False, True, settings=dict(Fresh="1"), rewrite_port=MOVE)
    assert done["changed"] and done["diff"]["before"] == predicted["diff"]["before"] and done["settings"] == predicted["settings"]


def test_a_date_that_is_given_is_the_one_of_the_settings_that_change(host, script):
    settings(script, settings=dict(Fresh="1"), effective_date="Sat, 21 Nov 2026 20:18:00 +0000")
    assert value(host, "Fresh", "effective date") == ("String", "Sat, 21 Nov 2026 20:18:00 +0000")


def test_a_file_with_settings_is_edited_as_on_linux(host, script):
    found = settings(script, path="{client}\\clientsettings.cfg", format="clientsettings", rewrite_port=MOVE)
    assert (found["changed"], found["path"], found["rewritten"]) == (True, FLAT, ["__RelayServer1"])
    assert host.files.get(FLAT).content == b"__RelayServer1=http://relay:%d/bfmirror/downloads/\r\n" % NEW


@pytest.mark.parametrize("path, options, words", [
    ("/var/opt/BESClient/besclient.config", {}, "path names /var.*no path of a Windows host.*the key HKLM.*Settings.Client"),
    ("{server2}\\x.cfg", {}, "no path of a Windows host"),
    ("HKLM\\SOFTWARE\\WOW6432Node\\BigFix\\EnterpriseClient", {}, "no key of an agent's settings"),
    (SETTINGS, dict(format="clientsettings"), "is a key of the registry, and clientsettings is a format of files"),
    (SETTINGS.replace("WOW6432Node", "Wow"), {}, "does not exist"),
    (SETTINGS, dict(settings=dict(X=True)), "the value of X is a bool .True.; write it as quoted text"),
    (SETTINGS, dict(settings={True: "x"}), "the name of a setting is a bool .True.; write it as quoted text"),
    (SETTINGS, dict(settings={1.5: "x"}), "the name of a setting is a float"),
    (SETTINGS, dict(settings={None: "x"}), "the name of a setting is a NoneType"),
    (SETTINGS, dict(settings={1: "x", "1": "y"}), "settings has 1 twice, as a number and as text"),
    (SETTINGS, dict(record=dict(path="C:\\Windows\\x.json", new_port=NEW)), "lies below C:.ProgramData.portshift, where no user"),
])
def test_what_can_not_be_is_a_sentence(host, script, path, options, words):
    before = state_of(host)
    with pytest.raises(EngineError, match=words):
        settings(script, path=path, **dict(dict(settings=dict(Fresh="1")), **options))
    assert state_of(host) == before and script.applies == []


def test_a_name_that_yaml_takes_for_a_number_is_text(host, script):
    found = settings(script, settings={1: "x", 52311: 7})
    assert value(host, "1") == ("String", "x") and value(host, "52311") == ("String", "7")
    assert found["changed"] and not settings(script, settings={"1": "x"})["changed"]
    # On either family, in a file too.
    assert asked_settings(dict(settings={1: None, 2: 3}, rewrite_port=None)) == ({"1": None, "2": "3"}, None)


def test_a_setting_of_another_type_is_left_alone_unless_it_is_asked_for(host, script):
    host.registry.set(SETTINGS + "\\Count", "value", 7, "DWord")
    host.registry.set(SETTINGS + "\\Dated", "value", "x", "String")
    host.registry.set(SETTINGS + "\\Dated", "effective date", 5, "DWord")
    settings(script, settings=dict(Dated="y"))
    assert value(host, "Count") == ("DWord", 7) and value(host, "Dated") == ("String", "y")
    assert value(host, "Dated", "effective date")[0] == "String"
    for wanted in ("8", None):
        with pytest.raises(EngineError, match="the setting Count has a value of the type DWord, where the agent writes text"):
            settings(script, settings=dict(Count=wanted))
    assert value(host, "Count") == ("DWord", 7)


@pytest.mark.parametrize("spelled", [SETTINGS.replace("HKLM", "HKLM:"), SETTINGS.replace("HKLM", "HKEY_LOCAL_MACHINE")])
def test_a_key_may_be_spelled_as_others_spell_it(script, spelled):
    assert settings(script, path=spelled, settings=dict(Fresh="1"))["path"] == SETTINGS


def test_what_changed_between_is_not_written_over(host, script):
    apply = script.apply

    def late(*arguments):
        host.registry.set(SETTINGS + "\\__RelayServer1", "value", "http://relay:1/", "String")
        return apply(*arguments)

    script.apply = late
    with pytest.raises(EngineError, match="it is as it was: .*the value value of .*__RelayServer1 is another"):
        settings(script, rewrite_port=MOVE)
    assert value(host, "_BESClient_RelaySelect_Port") == ("String", str(OLD))


def test_an_account_that_is_no_administrator_is_told_so_in_check_mode_too(host, script):
    host.administrator = False
    with pytest.raises(EngineError, match="no administrator of this host"):
        settings(script, True, settings=dict(Fresh="1"))


# --- what is kept

def test_a_backup_of_a_file_is_its_bytes_where_no_user_reads_them(host, script):
    before = host.files.get(INSTALLED).content
    found = moved(script, backup=True)
    copy = host.files.get(found["backup_file"])
    assert found["backup_file"].startswith(FOLDER + "\\backups\\actionsite.afxm.") and copy.content == before
    assert copy.writers <= TRUSTED


def test_a_backup_of_settings_is_what_reg_import_takes(host, script):
    found = settings(script, settings={"__RelayServer1": None}, backup=True)
    text = host.files.get(found["backup_file"]).content
    assert found["backup_file"].endswith("~") and ".reg." in found["backup_file"] and text[:2] == b"\xff\xfe"
    lines = text[2:].decode("utf-16-le").split("\r\n")
    at = lines.index("[HKEY_LOCAL_MACHINE\\SOFTWARE\\WOW6432Node\\BigFix\\EnterpriseClient\\Settings\\Client\\__RelayServer1]")
    assert sorted(lines[at + 1:at + 3]) == ['"effective date"="%s"' % DATE, '"value"="%s"' % (RELAY % OLD)]


def test_every_type_of_the_registry_is_written_as_reg_export_does():
    values = [("", "String", "a\"b\\c"), ("lines", "String", "a\nb"), ("path", "ExpandString", "%x%"),
              ("list", "MultiString", ["a", ""]), ("number", "DWord", 4294967295), ("long", "QWord", 1),
              ("bytes", "Binary", "AP8="), ("none", "None", ""), ("what", "Unknown", "")]
    key = dict(key="HKU\\X", values=[dict(name=name, type=kind, data=data) for name, kind, data in values])
    assert reg_file([key])[2:].decode("utf-16-le").split("\r\n") == [
        "Windows Registry Editor Version 5.00", "", "[HKEY_USERS\\X]", '@="a\\"b\\\\c"', '"lines"=hex(1):61,00,0a,00,62,00,00,00',
        '"path"=hex(2):25,00,78,00,25,00,00,00', '"list"=hex(7):61,00,00,00,00,00,00,00', '"number"=dword:ffffffff',
        '"long"=hex(b):01,00,00,00,00,00,00,00', '"bytes"=hex:00,ff', '"none"=hex(0):',
        '; "what" is of a type that could not be read', "", ""]


def test_a_record_takes_both_back(host, script):
    before = state_of(host)
    record = dict(path=RECORD, old_port=OLD, new_port=NEW, phase="3")
    settings(script, settings={"_BESClient_RelaySelect_Port": NEW, "Fresh": "1"}, rewrite_port=MOVE, record=record)
    moved(script, record=record)
    # It is written before what it tells of.
    assert [step["step"] for step in script.applies[0]][:2] == ["write", "write"]
    content = json.loads(host.files.get(RECORD).content)
    assert content["state"] == "changing" and {entry["kind"] for entry in content["files"]} == {
        "bigfix_masthead", "bigfix_registry_value"}
    back = Module(False, False)
    back.params = dict(path=RECORD, state="restored", force=False, keep_days=0)
    found = windows_record.outcome(script, back, FileKinds(bigfix_edit))
    assert found["changed"] and state_of(host) == before


# --- mastheads

def test_a_plain_masthead_is_edited_in_place(host, script):
    found = moved(script, diff=True, previous_port=OLD, path="{client}\\actionsite.afxm")
    assert (found["changed"], found["port"], found["previous_port"], found["path"]) == (True, NEW, OLD, INSTALLED)
    assert host.files.get(INSTALLED).content == masthead(NEW) and ":%d/" % NEW in found["diff"]["after"]
    # What travels is what differs, guarded by the sha256 of what was read.
    [step] = script.applies[0]
    assert step["expected"] == hashlib.sha256(masthead(OLD)).hexdigest() and "content" not in step
    assert moved(script)["changed"] is False and (script.reads, len(script.applies)) == (2, 1)


@pytest.mark.parametrize("remote", [False, True])
def test_a_signed_masthead_is_replaced_by_an_issued_one(host, script, remote, tmp_path):
    authority = Authority(str(tmp_path))
    authority.create()
    old, new = (authority.issue("signed", "192.0.2.10", port, "123456789") for port in (OLD, NEW))
    host.files.put(INSTALLED, old)
    with pytest.raises(EngineError, match="signed"):
        moved(script)
    src = "D:\\masthead-55000.afxm"
    host.files.put(src, new)
    predicted = moved(script, None if remote else new, check=True, src=src, remote_src=remote)
    assert predicted["changed"] and host.files.get(INSTALLED).content == old
    found = moved(script, None if remote else new, src=src, remote_src=remote)
    assert (found["changed"], found["format"], found["port"]) == (True, "signed", NEW)
    assert host.files.get(INSTALLED).content == new and found["signature"] == predicted["signature"]


def test_a_masthead_is_a_file_of_this_host(host, script):
    for path, words in ((SETTINGS, "path names HKLM.*no path of a Windows host"), ("D:\\no.afxm", "does not exist"),
                        ("actionsite.afxm", "no path of a Windows host")):
        with pytest.raises(EngineError, match=words):
            moved(script, path=path)
        with pytest.raises(EngineError, match=words):
            bigfix_files.masthead_info(script, dict(path=path))
    with pytest.raises(EngineError, match="there is nothing to move"):
        moved(script, previous_port=NEW)
    with pytest.raises(EngineError, match="src names x.afxm"):
        moved(script, src="x.afxm", remote_src=True)


def test_a_masthead_is_read(host, script):
    found = bigfix_files.masthead_info(script, dict(path="{client}\\actionsite.afxm"))
    assert (found["port"], found["ports"], found["format"], found["serial_number"], found["changed"]) == (
        OLD, [OLD], "plain", "123456789", False)
    assert script.reads == 1


def test_a_file_that_another_process_holds_is_as_it_was(host, script):
    handle = host.hold(host.services.processes[4], INSTALLED, (READ,), (READ, WRITE))
    with pytest.raises(EngineError, match="actionsite.afxm: it is as it was: .*used by another process"):
        moved(script)
    handle.close()
    assert host.files.get(INSTALLED).content == masthead(OLD)


def test_a_host_that_is_half_way_may_be_set_right_by_hand(host, script):
    script.read = lambda wanted, read=script.read: dict(read(wanted), unfinished=[
        dict(id="0" * 32, state="trouble", began=1.0, sentence="actionsite.afxm was changed since", running=False, timeout=70.0)])
    found = moved(script)
    assert found["changed"] and found["warnings"] == [
        "an earlier change of this host was left half way: actionsite.afxm was changed since"]
