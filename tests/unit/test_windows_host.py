# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows host behind the seam: what is asked of it and when, what an edit becomes, and what is kept on it."""

import base64
import hashlib
import importlib
import inspect
import json

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import sha256
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKinds
from ansible_collections.portshift.agents.plugins.module_utils._core.host import Host as Seam
from ansible_collections.portshift.agents.plugins.module_utils._bigfix import edit as bigfix_edit, settings_file
from ansible_collections.portshift.agents.plugins.module_utils._network.run_lock import HeldError
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import lock, record as windows_record
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.bigfix import ServerView, SettingsView
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import (
    FILE_LIMIT, WindowsHost, probe_asked, splice, write_step)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import AFTER_ITS_TIME, Module, await_end
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import FOLDER, FileAsked, Wanted
from tests.unit.windows_bigfix import Parent
from tests.unit.host_variables import HostVars
from tests.unit.windows_moves import Straight
from tests.windows.files import ADMINISTRATORS, TRUSTED, USERS
from tests.windows.host import Host
from tests.windows.network import Network
from tests.windows.services import Service


def spliced(before, splices):
    """As the contract has it: all of them are of the file as it was."""
    out, at = b"", 0
    for one in splices:
        out += before[at:one["at"]] + base64.b64decode(one["bytes"])
        at = one["at"] + one["length"]
    return out + before[at:]


KEY = "HKLM\\SOFTWARE\\WOW6432Node\\X"


@pytest.fixture
def model():
    made = Host("win", ["192.0.2.9"], Network())
    made.files.put("C:\\x\\a.txt", b"one two three")
    return made


@pytest.fixture
def script(model):
    return Straight(model)


@pytest.fixture
def host(script):
    return WindowsHost(script.read)


def test_every_question_of_the_seam_is_asked_as_there():
    for name, question in vars(Seam).items():
        if inspect.isfunction(question):
            given = getattr(WindowsHost, name)
            assert given is not question, name
            assert list(inspect.signature(given).parameters) == list(inspect.signature(question).parameters), name


def test_what_was_foreseen_is_one_look_and_what_was_not_is_another(host, script):
    host.foresee(dict(files=[dict(path="C:\\x\\a.txt", limit=100)], ports=[80], services=["iphlpsvc"]))
    assert script.reads == 0
    assert host.read("c:\\X\\A.TXT") == b"one two three" and host.listeners({80, None}) == []
    assert host.services(["iphlpsvc"]).survey()[1] == [] and script.reads == 1
    assert host.read_if_there("C:\\x\\b.txt") is None and script.reads == 2
    # What was read before is part of every later look.
    assert host.listeners({81}) == [] and script.reads == 3 and host.read("C:\\x\\a.txt") and script.reads == 3


def test_a_first_look_anew_is_the_one_that_there_was(host, script):
    assert host.now() and script.reads == 1
    host.look_anew()
    assert script.reads == 1
    host.look_anew()
    assert script.reads == 2 and not host.is_live()


@pytest.mark.parametrize("path, problem", [
    ("C:\\x\\none.txt", "does not exist"), ("C:\\x", "is a folder"), ("C:\\x\\big", "more than")])
def test_a_file_that_can_not_be_read_is_a_sentence_with_its_path(model, host, path, problem):
    model.files.put("C:\\x\\big", b"x" * 2000000)
    with pytest.raises(EngineError, match=problem) as error:
        host.read(path)
    assert str(error.value).startswith(path)


def test_names_of_services_that_are_not_there_are_told(host):
    with pytest.raises(EngineError, match="the service BESClient is not installed on this host"):
        host.services(["BESClient"]).survey()


@pytest.mark.parametrize("before, after", [
    (b"", b""), (b"abc", b"abc"), (b"abc", b""), (b"", b"abc"), (b"aXb", b"aYYb"), (b"aaa", b"aa"), (b"aa", b"aaa"),
    (b"port 52311 and 52311\r\n", b"port 55000 and 55000\r\n"), (bytes(range(256)), bytes(range(255, -1, -1)))])
def test_a_splice_makes_the_one_content_of_the_other(before, after):
    assert spliced(before, splice(before, after)) == after
    step = write_step("C:\\x", before, after)
    assert step["expected"] == sha256(before)
    got = spliced(before, step["splices"]) if "splices" in step else base64.b64decode(step["content"])
    assert got == after and ("result" in step) == ("splices" in step)
    assert write_step("C:\\x", None, after) == dict(
        step="write", path="C:\\x", expected=None, content=base64.b64encode(after).decode())


# --- the registry

SETTINGS = {"A": [dict(name="value", type="String", data="x=1; %é"), dict(name="effective date", type="String", data="d 1")],
            "_BESClient_RelaySelect_Port": [dict(name="Value", type="String", data="52311")],
            "N": [dict(name="value", type="DWord", data=1)], "": [dict(name="value", type="String", data="none of a setting")]}


def test_settings_are_the_text_of_a_file_that_says_the_same():
    view = SettingsView(KEY)
    text = view.text(SETTINGS)
    assert settings_file.parse(text).settings == {"A": "x=1; %é", "_BESClient_RelaySelect_Port": "52311"}
    assert settings_file.entries(text)["a"] == ("A", "x=1; %é", "d 1")
    after = settings_file.with_settings(text, {"A": None, "B": "new", "_BESClient_RelaySelect_Port": "55000"}, "d 2")
    assert sorted(view.changes(text, after), key=str) == sorted([
        ("A", "value", None), ("A", "effective date", None), ("B", "value", "new"), ("B", "effective date", "d 2"),
        ("_BESClient_RelaySelect_Port", "value", "55000"), ("_BESClient_RelaySelect_Port", "effective date", "d 2")], key=str)
    assert view.changes(text, text) == []
    # A key without settings is one of an agent that has none, not an empty file.
    assert settings_file.parse(view.text({})).settings == {}
    assert view.changes(view.text({}), settings_file.with_settings(view.text({}), {"B": "1"}, "d"))[0] == ("B", "value", "1")


def test_user_and_password_of_the_rest_api_are_no_part_of_what_is_read():
    view = ServerView(KEY)
    text = view.text({"": [dict(name="RESTURL", type="String", data="https://localhost:52311/api"),
                           dict(name="RESTPassword", type="String", data="{obf}x"), dict(name="Port", type="DWord", data=52311)]})
    assert text == b"RESTURL=https://localhost:52311/api\nPort (registry)=52311\n"
    assert view.changes(text, text.replace(b"52311", b"55000")) == [
        ("", "RESTURL", "https://localhost:55000/api"), ("", "Port", "55000")]


def test_values_keep_their_type_on_their_way_there_and_back(model, script):
    model.registry.set(KEY, "Port", 52311, "DWord")
    host = WindowsHost(script.read, [ServerView(KEY)])
    edit = host.edit(KEY)
    edit.apply(edit.before.replace(b"52311", b"55000"))
    record = ChangeRecord(FOLDER + "\\x.json", 52311, 55000, disk=host.disk)
    edit.commit(Module(False, False), record=record, kind="bigfix_flat_settings")
    assert host.changes == [dict(step="registry", key=KEY, name="Port", expected=dict(name="Port", type="DWord", data=52311),
                                 wanted=dict(name="Port", type="DWord", data=55000))]
    entry = record.content["files"][0]
    assert (entry["path"], entry["kind"]) == (KEY + "\\Port", "bigfix_registry_value")
    assert json.loads(record.backed_up(entry)) == dict(name="Port", type="DWord", data=52311)
    # The record and the backup are steps of their own, in the folder of ours.
    assert {step["path"] for step in host.disk.take()} == {entry["backup"], FOLDER + "\\x.json"}
    assert host.disk.take() == []


@pytest.mark.parametrize("content, shown", [
    (dict(name="value", type="String", data="55000"), "String 55000\n"),
    (dict(name="value", type="String", data="http://u:p@relay:55000/x"), "********:55000********"),
    (dict(name="value", type="String", data="secret"), "String ********\n")])
def test_of_a_value_a_diff_shows_the_port_alone(content, shown):
    redact = FileKinds(bigfix_edit).redactor("bigfix_registry_value", b"", ports=(52311, 55000))
    text = redact(json.dumps(content).encode()).decode()
    assert shown in text and "u:p" not in text and "secret" not in text and "relay" not in text
    assert redact(b"no json") == b"********"


# --- records and the lock

def test_records_that_are_old_are_pruned(model, script):
    for name, content, age in (("bigfix.json", None, 0), ("bigfix\\" + sha256(b"old"), b"old", 100 * 86400),
                               ("bigfix\\" + sha256(b"new"), b"new", 0), ("bigfix\\note.txt", b"mine", 100 * 86400)):
        made = content if content is not None else json.dumps(dict(
            version=1, old_port=52311, new_port=55000, phase="1", state="verified", files=[], started=model.clock.now())).encode()
        model.files.put("%s\\%s" % (FOLDER, name), made)
        model.files.get("%s\\%s" % (FOLDER, name)).changed = model.clock.now() - age
    secure(model)
    module = Module(False, True)
    module.params = dict(path=FOLDER + "\\bigfix.json", state="pruned", keep_days=90, force=False)
    found = windows_record.outcome(script, module, FileKinds(bigfix_edit))
    assert found["removed"] == [FOLDER + "\\bigfix\\" + sha256(b"old")] and found["changed"]
    assert found["left"] == [FOLDER + "\\bigfix\\note.txt: is not a file that a migration puts there"]
    assert model.files.get(FOLDER + "\\bigfix\\" + sha256(b"old")) is None and model.files.get(FOLDER + "\\bigfix\\note.txt")


def secure(model):
    for path in (FOLDER, FOLDER + "\\bigfix"):
        node = model.files.get(path)
        if node:
            node.protected = True


RUN = dict(node="control1", machine_id="m1", boot="b", pid_namespace="", user="ops", pid=1, process_start="s", begun="")


def asked(**more):
    return dict(dict(path=FOLDER + "\\bigfix.lock", state="held", seconds=600, take_over=False, purpose="migrate", run=RUN,
                     take_over_with="take_over: true", dead_owner=None), **more)


def test_the_lock_of_a_deployment_lies_on_a_windows_root_server(model, script):
    path = FOLDER + "\\bigfix.lock"
    assert lock.outcome(script, asked(), True)["holder"]["purpose"] == "migrate" and model.files.get(path) is None
    assert lock.outcome(script, asked(), False)["holder"]["node"] == "control1"
    with pytest.raises(HeldError, match="bigfix.lock: ops@control1 .* is migrating this deployment"):
        lock.outcome(script, asked(run=dict(RUN, pid=2)), False)
    taken = lock.outcome(script, asked(run=dict(RUN, pid=2), take_over=True), False)
    assert "took over from ops@control1" in taken["warnings"][0]
    assert lock.outcome(script, asked(run=dict(RUN, pid=2), state="released"), False)["holder"] is None
    with pytest.raises(EngineError, match="seconds is 0"):
        lock.outcome(script, asked(seconds=0), False)


def test_of_two_that_ask_in_the_same_moment_one_has_the_lock(model, script):
    def in_between(_step):
        model.script.before = {}
        lock.outcome(Straight(model), asked(run=dict(RUN, pid=2)), False)

    first = Straight(model)
    apply = first.apply

    def late(*arguments):
        if not first.applies:
            first.applies.append(None)
            in_between(None)
        return apply(*arguments)
    first.apply = late
    with pytest.raises(HeldError):
        lock.outcome(first, asked(), False)


# --- changes of others

def change(state, running=False, sentence="it is under way", timeout=70.0, began=1.0):
    return dict(id="0" * 32, state=state, began=began, sentence=sentence, running=running, timeout=timeout)


class Resuming(list):
    """A script that ends what was cut off."""

    def resume(self, one):
        self.append(one["id"])


@pytest.fixture
def slept(monkeypatch):
    found, now = [], [0.0]
    clock = importlib.import_module(await_end.__module__).time
    monkeypatch.setattr(clock, "sleep", lambda seconds: (found.append(seconds), now.__setitem__(0, now[0] + seconds)))
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    return found


def answering(host, script, *unfinished):
    answers, ask = list(unfinished), script.read
    host._ask = lambda wanted: dict(ask(wanted), unfinished=answers.pop(0) if len(answers) > 1 else answers[0])
    return Resuming()


def test_a_change_that_is_under_way_is_waited_for(slept, host, script):
    asked = answering(host, script, *[[change("applying", True)]] * 3, [change("undone", sentence="the time was up")])
    await_end(host, asked, False)
    assert len(slept) == 3 and asked == [] and host.told() == ["this host has undone an earlier change: the time was up"]
    assert host.other_change("x") is None


@pytest.mark.parametrize("state", ["applying", "undoing"])
def test_a_change_that_was_cut_off_is_ended_at_once(slept, host, script, state):
    asked = answering(host, script, [change(state)], [change("undone", sentence="it was cut off")])
    await_end(host, asked, False)
    assert asked == ["0" * 32] and slept == [] and host.under_way() == []


def test_check_mode_leaves_a_change_that_was_cut_off_as_it_is(slept, host, script):
    asked = answering(host, script, [change("applying")])
    with pytest.raises(EngineError, match="cut off and has not been undone yet, which check mode leaves so: it is under way"):
        await_end(host, asked, True)
    assert asked == [] and slept == []


@pytest.mark.parametrize("timeout", [70.0, 1150.0])
@pytest.mark.parametrize("ahead", [0.0, 86400.0])
def test_a_change_is_waited_for_as_long_as_it_may_take(slept, host, script, timeout, ahead):
    began = host.now() + ahead
    asked = answering(host, script, [change("applying", True, timeout=timeout, began=began)])
    host.read_anew()
    with pytest.raises(EngineError, match="has not ended in the %d s that were waited for it: it" % (timeout + AFTER_ITS_TIME)):
        await_end(host, asked, False)
    assert timeout + AFTER_ITS_TIME <= sum(slept) < timeout + AFTER_ITS_TIME + 10


def test_a_change_that_cannot_be_ended_is_asked_to_end_once(slept, host, script):
    asked = answering(host, script, [change("undoing", sentence="BESClient does not start")])
    with pytest.raises(EngineError, match="could not all be undone yet, not now either: BESClient does not start. Mend what this "
                                          "names.*delete C:.ProgramData.portshift.changes.0{32} instead"):
        await_end(host, asked, False)
    assert asked == ["0" * 32] and slept == []


def test_a_host_that_is_half_way_is_for_a_person_each_time(host, script):
    asked = answering(host, script, [change("trouble", sentence="BESClient does not start.")])
    for _time in range(2):
        with pytest.raises(EngineError, match="left half way, and a person has to look at it: BESClient does not start. What it "
                                              "was like before is below .*changes; when .* delete there: 0000"):
            await_end(host, asked, False)
        host.read_anew()
    await_end(host, asked, False, half_way=True)
    assert asked == []


@pytest.mark.parametrize("owner, words", [
    ("WIN\\mallory", "can be changed by more than SYSTEM"), (ADMINISTRATORS, "can be changed by")])
def test_a_folder_that_is_not_believed_is_told_and_nothing_of_it_is_read(model, script, owner, words):
    """Any user may make it in C:\\ProgramData, and what lies in it then."""
    path = FOLDER + "\\bigfix.lock"
    model.files.folder(FOLDER, owner=owner, writers=TRUSTED | {USERS}, protected=False)
    model.files.put(path, b"{}")
    host = WindowsHost(script.read)
    with pytest.raises(EngineError, match="bigfix.lock: others than SYSTEM and the administrators may have written it"):
        host.disk.read_own(path)
    assert "changes of this host are not told: " in host.told()[0] and words in host.told()[0]


def test_a_file_of_ours_that_a_user_may_have_written_is_not_believed(model, host):
    for name, more in (("a", dict(owner="WIN\\mallory")), ("b", dict(writers=TRUSTED | {USERS}))):
        path = "%s\\%s.json" % (FOLDER, name)
        model.files.folder(FOLDER, protected=True, writers=TRUSTED)
        model.files.put(path, b"{}", **more)
        with pytest.raises(EngineError, match="is not believed; look who made it"):
            host.disk.read_own(path)
    with pytest.raises(EngineError, match="lies outside of C:.ProgramData.portshift, so it is not believed"):
        host.disk.read_own("C:\\x\\a.txt")


def test_the_addresses_of_a_host_are_those_that_others_reach_it_by(host):
    assert host.own_addresses() == ["192.0.2.9"]


@pytest.mark.parametrize("state, words", [
    ("undone", "this host has undone an earlier change: the time was up"),
    ("trouble", "an earlier change of this host was left half way: the time was up")])
def test_a_lock_hands_on_what_the_host_tells(model, script, state, words):
    """It is the first task of a run, and what it writes ends the time in which the host tells what it has undone."""
    script.read = lambda wanted, read=script.read: dict(read(wanted), unfinished=[change(state, sentence="the time was up")])
    assert lock.outcome(script, asked(), False)["warnings"] == [words]
    # So does the record, for who reads it.
    module = Module(False, False)
    module.params = dict(path=FOLDER + "\\x.json", state="present", keep_days=None, force=False)
    windows_record.outcome(script, module, FileKinds(bigfix_edit))
    assert module.warnings == [words]


# --- probes

@pytest.fixture
def peer(model):
    made = Host("relay", ["192.0.2.10"], model.network)
    made.services.add(Service("BESRelay", product=Parent([55000])), running=True)
    return made


@pytest.mark.parametrize("target, reason", [
    (dict(host="relay", port=55000), None), (dict(host="relay", port=55000, http=dict(path="/masthead/masthead.afxm")), None),
    (dict(host="relay", port=1), "connection refused: nothing listens there"),
    (dict(host="relay", port=55000, http=dict(path="/x", body_regex="no")), "does not match no"),
    (dict(host="relay", port=55000, http=dict(path="/x", status=404)), "HTTP status 200 instead of 404"),
    (dict(host="relay", port=55000, protocol="udp"), "not asked by udp"),
    (dict(host="relay", port=55000, http=dict(path="/", tls=True)), "the handshake failed"),
    (dict(host="nowhere", port=1), "nowhere")])
def test_a_probe_says_what_port_probe_says(host, peer, target, reason):
    found = host.probe([target], 5)[0]
    assert found["reachable"] == (reason is None) and found["port"] == target["port"]
    assert reason is None or reason in found["reason"] and found["error"].startswith("this host -> ")


def test_a_path_is_no_more_than_a_path():
    target = dict(host="relay", port=1, http=dict(path="/a b/%20?c=d&e=~'\r\nX: y"))
    assert probe_asked(target, 5)["path"] == "/a%20b/%20?c=d&e=~'%0D%0AX:%20y"


@pytest.mark.parametrize("thumbprint, reason", [
    (None, None), (hashlib.sha1(b"shown").hexdigest().upper(), None), (hashlib.sha256(b"shown").hexdigest(), None),
    ("A" * 40, "the server shows the certificate with the SHA-1 fingerprint %s, not the one with %s" % (
        hashlib.sha1(b"shown").hexdigest().upper(), "A" * 40))])
def test_a_probe_by_tls_tells_the_certificate_and_compares_it(host, peer, thumbprint, reason):
    peer.listener("tcp", 55000).certificate = b"shown"
    found = host.probe([dict(host="relay", port=55000, http=dict(path="/", tls=True, thumbprint=thumbprint, any_status=True))], 5)
    assert (found[0]["reason"], found[0]["certificate"]["sha1"]) == (reason, hashlib.sha1(b"shown").hexdigest().upper())


@pytest.mark.parametrize("content", [b"<Url>https://relay:443/</Url>", "<Url>HTTP://relay/</Url>".encode("utf-16")])
def test_names_in_a_file_are_looked_up_with_it(model, script, host, peer, content):
    model.files.put("C:\\x.xml", content)
    host.foresee(Wanted(files=[FileAsked(path="C:\\x.xml", limit=FILE_LIMIT, hosts=True)]))
    assert host.read("C:\\x.xml") == content and host.addresses_of("relay") == {"192.0.2.10"} and script.reads == 1
    # What was seen with an old file is no answer for a new one.
    model.files.put("C:\\x.xml", b"")
    host.read_anew()
    assert host.addresses_of("relay") == {"192.0.2.10"} and script.reads == 3


# --- hosts that are none of Windows

@pytest.mark.parametrize("name", [
    "bigfix_info", "bigfix_cutover", "bigfix_evidence", "port_probe", "port_bridge", "port_bridge_info", "port_listener",
    "change_record", "run_lock"])
def test_on_a_linux_host_the_module_runs_and_no_collection_is_looked_for(name):
    module = importlib.import_module("ansible_collections.portshift.agents.plugins.action." + name)
    asked = []

    class Action(module.ActionModule):
        def __init__(self):
            self._task = type("Task", (), dict(args=dict(path="/x"), check_mode=False, diff=False, async_val=0, action=name))
            self._connection = type("Connection", (), dict(_shell=type("Shell", (), dict(tmpdir=None)), become=None))
            self._supports_async, self._supports_check_mode, self._display = True, True, None

        def __getattr__(self, attribute):
            raise AssertionError("%s was looked at" % attribute)

        def _execute_module(self, **arguments):
            asked.append(arguments)
            return dict(changed=False)

    class Base:
        def run(self, tmp=None, task_vars=None):
            return {}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(importlib.import_module("ansible.plugins.action").ActionBase, "run", Base.run)
        Action().run(task_vars={})
    assert len(asked) == 1 and "module_name" not in asked[0]


@pytest.mark.parametrize("variables, family", [
    ({}, "posix"), (dict(ansible_connection="ssh"), "posix"),
    (dict(ansible_connection="local", ansible_shell_type="sh"), "posix"),
    (dict(ansible_connection="winrm"), "windows"), (dict(ansible_connection="ansible.builtin.psrp"), "windows"),
    (dict(ansible_connection="ssh", ansible_shell_type="powershell"), "windows"),
    (dict(ansible_connection="{{ of_the_site }}"), "windows")])
def test_the_family_of_a_host_is_told_by_how_it_is_reached(variables, family):
    lookup = importlib.import_module("ansible_collections.portshift.agents.plugins.lookup.host_family").LookupModule()
    lookup._templar = type("Templar", (), dict(template=lambda self, value: value.replace("{{ of_the_site }}", "winrm")))()
    assert lookup.run([], variables) == [family]


def test_the_family_of_another_host_is_told_by_its_variables():
    lookup = importlib.import_module("ansible_collections.portshift.agents.plugins.lookup.host_family").LookupModule()
    hosts = HostVars(dict(
        windows=dict(ansible_connection="winrm"), linux=dict(ansible_connection="ssh", ansible_host="x"), bare={}))
    assert lookup.run(["windows", "linux", "bare", "", "unknown"], dict(hostvars=hosts, ansible_connection="psrp")) == [
        "windows", "posix", "posix", "posix", "posix"]
