# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the script is sent to a Windows host, and what is said where no answer comes."""

import importlib
import json
import pathlib
import re

import pytest
from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError

from ansible_collections.portshift.agents.plugins.plugin_utils._windows import script as windows_script
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import DEPTH, VERSION
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import (
    MODULE, Script, WindowsError, as_sent, script_text)
from tests.windows.host import Host


def answer(**more):
    found = Host("windows").script.found({})
    return dict(dict(version=VERSION, ok=True, outcome="none", sentence=None, failed_step=None, done=[], seconds=0.0,
                     unfinished=[], found=found), **more)


class Connection:
    class _shell:
        _IS_WINDOWS = True

    resets = 0

    def reset(self):
        self.resets += 1


class Action:
    """An action plugin whose modules answer what they are told to; an exception is raised."""

    def __init__(self, *answers, resolved=True):
        self.answers, self.asked, self._connection = list(answers), [], Connection()
        found = type("Found", (), dict(resolved=resolved, plugin_resolved_path=__file__))
        self._shared_loader_obj = type("Loaders", (), dict(module_loader=type("Loader", (), dict(
            find_plugin_with_context=staticmethod(lambda name: found)))))

    def _execute_module(self, module_name, module_args, task_vars):
        self.asked.append((module_name, module_args))
        told = self.answers.pop(0)
        if isinstance(told, Exception):
            raise told
        return told

    @property
    def requests(self):
        return [json.loads(arguments["parameters"]["Request"]) for _name, arguments in self.asked]


@pytest.fixture
def slept(monkeypatch):
    found = []
    now = [0.0]

    def sleep(seconds):
        found.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(windows_script.time, "sleep", sleep)
    monkeypatch.setattr(windows_script.time, "monotonic", lambda: now[0])
    return found


def done(**more):
    return dict(result=answer(**more), changed=True, invocation=dict(secret=1), output=["secret"])


def test_a_request_is_one_execution_with_the_script_and_a_depth():
    action = Action(done())
    found = Script(action, {}).read(dict(ports=[1]))
    assert found["outcome"] == "none" and "invocation" not in found
    name, arguments = action.asked[0]
    assert (name, arguments["script"], arguments["depth"], set(arguments)) == (
        MODULE, script_text(), DEPTH, {"script", "parameters", "depth"})
    assert action.requests == [dict(version=VERSION, verb="read", wanted=dict(ports=[1]))]


@pytest.mark.parametrize("result, words", [
    (dict(failed=True, msg="Cannot invoke method. Method invocation is supported only on core types in this language mode."),
     "constrained language mode"),
    (dict(failed=True, msg="boom\n at line 3"), "PowerShell failed on the host: boom at line 3"),
    (dict(failed=False, result=None, error=[dict(output="Get-Item : Access is denied")]),
     "PowerShell failed on the host: Get-Item"),
    (dict(result=dict(version=99)), "speaks version 99 of its protocol, and this control node %d" % VERSION),
    (done(ok=False, sentence="a probe has no port", outcome="refused"), "the host could not be read: a probe has no port"),
    (dict(result=answer(found=dict(answer()["found"], language_mode="ConstrainedLanguage"))), "constrained language mode"),
])
def test_a_host_that_gives_no_answer_is_told_of_in_a_sentence(result, words):
    with pytest.raises(WindowsError, match=words):
        Script(Action(result), {}).read({})


def test_a_collection_that_is_not_there_is_named_before_the_host_is_asked():
    action = Action(resolved=False)
    with pytest.raises(WindowsError, match="ansible-galaxy collection install ansible.windows"):
        Script(action, {})
    assert action.asked == []


@pytest.mark.parametrize("error", [
    AnsibleConnectionFailure("basic: the specified credentials were rejected by the server"), ConnectionResetError("reset"),
    AssertionError()])
def test_a_host_that_can_not_be_reached_is_asked_once(error):
    """A wrong password that is tried again and again locks an account."""
    action = Action(error)
    with pytest.raises(AnsibleConnectionFailure):
        Script(action, {}).read({})
    assert len(action.asked) == 1 and action._connection.resets == 0
    with pytest.raises(AnsibleError):
        Script(Action(dict(unreachable=True, msg="no route")), {}).read({})


def test_an_error_of_ansible_is_none_of_the_connection():
    with pytest.raises(AnsibleError, match="no such module"):
        Script(Action(AnsibleError("no such module")), {}).read({})


def test_a_change_whose_end_was_not_heard_is_asked_for_again_by_its_id(slept):
    action = Action(ConnectionResetError("reset"), done(outcome="applied"))
    found = Script(action, {}).apply({}, [], 300)
    assert found["outcome"] == "applied" and "connection was lost" in found["sentence"]
    first, second = action.requests
    assert first == second and len(first["id"]) == 32 and first["timeout"] == 300 and action._connection.resets == 1


def test_a_change_that_is_under_way_still_is_waited_for(slept):
    action = Action()
    script = Script(action, {})
    action.answers = [AnsibleConnectionFailure("lost")]

    def under_way():
        return done(ok=False, outcome="refused", sentence="it is under way", found=None, unfinished=[
            dict(id=action.requests[0]["id"], state="applying", began=1.0, sentence="it is under way")])

    class Answers(list):
        def pop(self, at):
            return super().pop(at) if self else under_way() if len(slept) < 3 else done(
                ok=False, outcome="undone", sentence="the time was up")
    action.answers = Answers(action.answers)
    found = script.apply({}, [], 300)
    assert (found["outcome"], slept) == ("undone", [5, 5, 5]) and "the time was up" in found["sentence"]


def test_a_host_that_stays_away_is_unreachable_with_what_becomes_of_it(slept):
    action = Action(*[AnsibleConnectionFailure("no route")] * 40)
    with pytest.raises(AnsibleConnectionFailure, match="can't be reached since .no route.. If the change had begun, the host"):
        Script(action, {}).apply({}, [], 300)
    assert sum(slept) == windows_script.RECONNECT


@pytest.mark.parametrize("first", [
    AnsibleError("winrm send_input failed; stdout: stderr:"), dict(failed=True, msg="Unexpected end of data"),
    dict(failed=False, result={}), dict(failed=True, unreachable=True, msg="reset"), ValueError("not JSON")])
def test_whatever_is_no_answer_to_a_change_is_asked_for_again_by_its_id(slept, first):
    action = Action(first, done(outcome="applied"))
    found = Script(action, {}).apply({}, [], 300)
    assert found["outcome"] == "applied" and "was lost while the host was changed" in found["sentence"]
    assert action.requests[0] == action.requests[1]


def test_a_host_that_gives_no_answer_any_more_is_told_of_with_what_becomes_of_it(slept):
    action = Action(*[AnsibleError("winrm send_input failed")] * 40)
    with pytest.raises(WindowsError, match="the answer was lost .*gave none since .winrm send_input failed.. If the change had"):
        Script(action, {}).apply({}, [], 300)
    assert sum(slept) == windows_script.RECONNECT


@pytest.mark.parametrize("result, words", [
    (dict(result=dict(version=99)), "speaks version 99"),
    (dict(failed=True, msg="supported only on core types in this language mode"), "constrained language mode")])
def test_a_host_that_can_not_have_begun_is_not_asked_again(slept, result, words):
    action = Action(result)
    with pytest.raises(WindowsError, match=words):
        Script(action, {}).apply({}, [], 300)


@pytest.mark.parametrize("refused", [
    AnsibleConnectionFailure("basic: the specified credentials were rejected by the server"),
    AnsibleAuthenticationFailure("Invalid/incorrect username/password. Skipping remaining 5 retries to prevent account lockout"),
    AnsibleConnectionFailure("failed to authenticate with the server: Failed to authenticate the user me with ntlm"),
    dict(unreachable=True, msg="Failed to connect to the host via ssh: me@win: Permission denied (publickey,password).")])
@pytest.mark.parametrize("before", [[], [ConnectionResetError("reset")]])
def test_an_account_that_is_refused_is_tried_once(slept, refused, before):
    """A wrong password that is tried again and again locks an account."""
    action = Action(*before, refused, *[done(outcome="applied")] * 3)
    with pytest.raises(AnsibleConnectionFailure, match="did not let the account in .*not tried again.*within 300 s"):
        Script(action, {}).apply({}, [], 300)
    assert len(action.asked) == len(before) + 1


def test_a_change_that_is_settled_is_named_and_one_that_was_left_is_resumed_by_its_id():
    action = Action(done(outcome="applied"), done(outcome="undone", ok=False))
    script = Script(action, {})
    script.apply({}, [], 300, ["a" * 32])
    assert action.requests[0]["settles"] == ["a" * 32]
    found = script.resume(dict(id="b" * 32, state="applying", began=1.0, sentence="", running=False, timeout=70.0))
    asked = action.requests[1]
    assert (found["outcome"], asked["id"], asked["steps"], asked["timeout"]) == ("undone", "b" * 32, [], 70.0)
    assert "settles" not in asked


def test_the_log_entry_of_the_module_is_too_long_to_be_written():
    """win_powershell writes its arguments to the event log, which takes no entry of more than 31,839 characters: the script alone
    is longer, so that none is written.  Its sensitive_parameters would hand the request over as a SecureString.  What a
    policy has PowerShell itself log of the request is another matter (docs/windows.md)."""
    assert len(script_text()) > 32766


# --- what netsh says, whose words are translated

def expressions():
    """Those with which the script reads the numbers of netsh: (excluded ranges, dynamic ranges)."""
    whole = pathlib.Path(windows_script.__file__).with_name("host.ps1").read_text(encoding="utf-8")
    body = whole[whole.index("function Read-PortRange("):whole.index("function Read-PortProxy")]
    found = re.findall(r"\[regex\]::Matches\(\$text, '([^']+)'\)", body)
    assert len(found) == 2, found
    return [re.compile(one) for one in found]


# The words are translations of ours: of a listing only its numbers and its star count.
EXCLUDED = dict(
    English=("Protocol tcp Port Exclusion Ranges", "Start Port    End Port", "* - Administered port exclusions."),
    German=("Protokoll tcp Portausschlussbereiche", "Startport     Endport", "* - Verwaltete Portausschl\u00fcsse."),
    Japanese=("\u30d7\u30ed\u30c8\u30b3\u30eb tcp \u30dd\u30fc\u30c8\u9664\u5916\u7bc4\u56f2",
              "\u958b\u59cb\u30dd\u30fc\u30c8    \u7d42\u4e86\u30dd\u30fc\u30c8",
              "* - \u7ba1\u7406\u5bfe\u8c61\u306e\u30dd\u30fc\u30c8\u9664\u5916\u3002"))
DYNAMIC = dict(
    English=("Protocol tcp Dynamic Port Range", "Start Port      : 49152", "Number of Ports : 16384"),
    German=("Protokoll tcp Dynamischer Portbereich", "Startport       : 49152", "Anzahl von Ports: 16384"),
    Japanese=("\u30d7\u30ed\u30c8\u30b3\u30eb tcp \u306e\u52d5\u7684\u30dd\u30fc\u30c8\u306e\u7bc4\u56f2",
              "\u958b\u59cb\u30dd\u30fc\u30c8     : 49152", "\u30dd\u30fc\u30c8\u6570       : 16384"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("language", sorted(EXCLUDED))
def test_ranges_of_ports_are_read_in_any_language(language, end):
    title, head, foot = EXCLUDED[language]
    excluded, dynamic = expressions()
    text = end.join(["", title, "", head, "----------    --------", "      5357        5357", "     50000       50059     *",
                     "     55000       55000     *   ", "", foot, ""])
    assert [(int(first), int(last), bool(mark)) for first, last, mark in excluded.findall(text)] == [
        (5357, 5357, False), (50000, 50059, True), (55000, 55000, True)]
    title, first, count = DYNAMIC[language]
    text = end.join(["", title, "---------------------------------", first, count, ""])
    assert dynamic.findall(text) == ["49152", "16384"]


def test_words_of_netsh_without_a_range_are_no_range():
    excluded, dynamic = expressions()
    for text in ("", "The following command was not found: interface ipv6 show", "Element not found.\r\n"):
        assert excluded.findall(text) == dynamic.findall(text) == []


# --- the text that is sent

def tokens(text):
    """The words of a script and what stands between its quotes, in order, without its comments."""
    language = importlib.import_module("tree_sitter").Language(importlib.import_module("tree_sitter_powershell").language())
    tree, found = importlib.import_module("tree_sitter").Parser(language).parse(text.encode()), []

    def walk(node):
        if node.type == "comment":
            return
        if not node.children or node.type == "string_literal":
            found.append((node.type, node.text.decode()))
        else:
            for child in node.children:
                walk(child)

    walk(tree.root_node)
    return [one for one in found if one[1].strip() and one[0] != "\n"]


def test_what_is_sent_is_the_script_word_for_word():
    whole = pathlib.Path(windows_script.__file__).with_name("host.ps1").read_text(encoding="utf-8")
    assert tokens(as_sent(whole)) == tokens(whole) and len(tokens(whole)) > 5000
    assert len(script_text()) < 0.8 * len(whole) and script_text() == as_sent(whole)
    assert "[CmdletBinding(SupportsShouldProcess)]" in script_text()


def test_here_strings_are_sent_as_they_stand():
    assert as_sent("# x\n  $a = @'\n  # one\n\n two\n'@\n\n    # y\n    f $a # z\n") == (
        "$a = @'\n  # one\n\n two\n'@\nf $a # z\n")
