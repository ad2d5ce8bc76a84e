# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BigFix on Windows hosts: what is asked of one, what is judged, and the steps that come of it, on a model without a wire."""

import json

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import bigfix
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import Module
from tests.unit.windows_bigfix import (
    CLIENT, DATE, NEW, OLD, RECORD, RELAY, SETTINGS, Straight, client, look_options, move_options, options, proof, relay)
from tests.windows.network import Network


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def host(network):
    relay(network)
    return client(network)


@pytest.fixture
def script(host):
    return Straight(host)


def state_of(host):
    """All of a host that a move may touch."""
    return ({path: (node.content, node.owner, node.read_only) for path, node in host.files.nodes.items()
             if "portshift" not in path and "\\__global" not in path},
            {key.path: dict(key.values) for key in host.registry.below("HKLM\\SOFTWARE")})


def evidence_options(**more):
    asked = proof()
    asked.pop("parent_wait")
    return options(**dict(asked, files=True, mark=False, **more))


def test_one_look_tells_what_would_change(host, script):
    found = bigfix.looked(script, look_options())
    assert (found["ok"], found["problems"], found["old_port"], found["relay"], script.reads) == (True, [], OLD, "relay", 1)
    assert [(edit["kind"], edit["path"]) for edit in found["edits"]] == [
        ("masthead", CLIENT + "\\actionsite.afxm"), ("settings", SETTINGS), ("settings", CLIENT + "\\clientsettings.cfg")]
    assert found["edits"][1]["settings"] == {"_BESClient_RelaySelect_Port": str(NEW)} and found["evidence"] is None


def test_a_client_is_moved_and_proved_in_two_executions(host, script):
    module, before = Module(False, True), host.services.get("BESClient").process.pid
    found = bigfix.moved(script, move_options(), module)
    assert (found["changed"], found["ok"], found["missing"], found["old_port"], script.reads) == (True, True, {}, OLD, 1)
    assert len(script.applies) == 1
    kinds = [step["step"] for step in script.applies[0]]
    # The record and the backups are on the disk before a service is stopped.
    assert kinds[:2] == ["mark", "write"] and set(kinds[1:kinds.index("stop")]) == {"write"}
    assert kinds[kinds.index("stop"):] == ["stop", "write", *["registry"] * 4, "write", "start", "wait", "write"]
    assert found["files"] == [CLIENT + "\\actionsite.afxm", SETTINGS, CLIENT + "\\clientsettings.cfg"]
    assert host.registry.get(SETTINGS + "\\__RelayServer1", "value") == ("String", RELAY % NEW)
    record = json.loads(host.files.get(RECORD).content)
    assert (record["state"], record["old_port"], record["new_port"], record["phase"]) == ("verified", OLD, NEW, "3")
    assert record["stopped"]["processes"]["BESClient"][0][0] == before != host.services.get("BESClient").process.pid
    assert {entry["kind"] for entry in record["files"]} == {"bigfix_masthead", "bigfix_registry_value", "bigfix_flat_settings"}
    # Nothing of a secret is in the diff, which tells the port alone of what is not known.
    shown = "".join(diff["before"] + diff["after"] for diff in found["diff"])
    assert "geheim" not in shown and "user:pw" not in shown and "_BESClient_RelaySelect_Port" in shown


def test_the_registry_keeps_types_and_what_is_not_moved(host, script):
    host.registry.set(SETTINGS + "\\Other", "value", 7, "DWord")
    host.registry.set(SETTINGS + "\\_BESClient_RelaySelect_FailoverRelay", "value", RELAY % OLD, "ExpandString")
    host.registry.set(SETTINGS + "\\_BESClient_RelaySelect_FailoverRelay", "effective date", DATE, "String")
    bigfix.moved(script, move_options(), Module(False, False))
    found = {name: host.registry.get("%s\\%s" % (SETTINGS, name), "value") for name in (
        "_BESClient_RelaySelect_FailoverRelay", "_BESClient_RelaySelect_Port", "Other")}
    assert {name: (kind, data) for name, (kind, data) in found.items()} == {
        "_BESClient_RelaySelect_FailoverRelay": ("ExpandString", RELAY % NEW),
        "_BESClient_RelaySelect_Port": ("String", str(NEW)), "Other": ("DWord", 7)}
    # A port that moves within a URL leaves the date; a setting that is set has one of now, as the agent writes it.
    dates = [host.registry.get("%s\\%s" % (SETTINGS, name), "effective date")[1] for name in (
        "_BESClient_RelaySelect_FailoverRelay", "_BESClient_RelaySelect_Port")]
    assert dates[0] == DATE and dates[1] != DATE and dates[1].endswith(" +0000")


def test_a_second_look_is_the_proof(host, script):
    bigfix.moved(script, move_options(), Module(False, False))
    host.pass_time(600)
    again = Straight(host)
    found = bigfix.looked(again, look_options(proof=proof(timeout=5)))
    assert (found["edits"], found["evidence"]["ok"], found["evidence"]["missing"], again.reads) == ([], True, {}, 1)
    assert found["evidence"]["old_port"] == OLD and found["record"]["state"] == "verified"
    proved = bigfix.evidence(again, evidence_options(), False)
    assert (proved["ok"], proved["changed"], again.reads, again.applies) == (True, False, 2, [])
    # Asked to move, it has nothing to do.
    found = bigfix.moved(again, move_options(), Module(False, False))
    assert (found["changed"], found["ok"], found["files"], again.applies) == (False, True, [], [])


def test_a_way_back_restores_files_and_registry_exactly(host, script):
    before = state_of(host)
    bigfix.moved(script, move_options(), Module(False, False))
    assert state_of(host) != before
    found = bigfix.moved(script, move_options(state="restored", proof=None), Module(False, True))
    assert (found["changed"], found["old_port"], found["started"]) == (True, OLD, ["BESClient"]) and found["diff"]
    assert state_of(host) == before and host.services.get("BESClient").state == "running"
    assert json.loads(host.files.get(RECORD).content)["state"] == "rolled_back"
    again = bigfix.moved(script, move_options(state="restored", proof=None), Module(False, False))
    assert again["changed"] is False and len(script.applies) == 2


def test_a_way_back_is_refused_where_the_host_was_changed_since(host, script):
    bigfix.moved(script, move_options(), Module(False, False))
    moved = state_of(host)
    host.registry.set(SETTINGS + "\\__RelayServer1", "value", "http://other:%d/" % NEW, "String")
    with pytest.raises(EngineError, match="no longer safe, nothing was changed: HKLM.*__RelayServer1.value: it has changed"):
        bigfix.moved(script, move_options(state="restored", proof=None), Module(False, False))
    assert len(script.applies) == 1 and state_of(host) != moved
    found = bigfix.moved(script, move_options(state="restored", proof=None, force=True), Module(False, False))
    assert found["changed"] and host.registry.get(SETTINGS + "\\__RelayServer1", "value")[1] == RELAY % OLD


def test_check_mode_asks_once_and_changes_nothing(host, script):
    before = state_of(host)
    found = bigfix.moved(script, move_options(), Module(True, True))
    assert (found["changed"], found["predicted"], found["ok"], script.reads, script.applies) == (True, True, True, 1, [])
    assert state_of(host) == before and host.files.get(RECORD) is None
    assert ":%d/" % NEW in found["diff"][0]["after"] and found["files"] == [
        CLIENT + "\\actionsite.afxm", SETTINGS, CLIENT + "\\clientsettings.cfg"]


# --- what goes wrong, and what the host is like then

def agent_that_is_silent(host, script):
    # It hears the agent on the old port alone.
    host.network.hosts[0].services.get("BESRelay").product.deaf_on = NEW


def registry_changed_between(host, script):
    script.host.script.before[0] = lambda step: host.registry.set(
        SETTINGS + "\\__RelayServer1", "value", "http://relay:1/", "String")


def hangs_while_it_stops(host, script):
    host.services.get("BESClient").hangs = "stop"


def fails_to_start(host, script):
    service = host.services.get("BESClient")
    host.clock.after(1.5, lambda: setattr(service, "fails", 1))
    host.clock.after(40, lambda: setattr(service, "fails", None))


def disabled(host, script):
    host.services.get("BESClient").start_mode = "disabled"


def disk_is_full(host, script):
    host.files.free["d:"] = 0


@pytest.mark.parametrize("trouble, words, is_as_before", [
    (agent_that_is_silent, "The host has undone it by itself", True),
    (registry_changed_between, "nothing was changed|undone it by itself", False),
    (hangs_while_it_stops, "BESClient", True),
    (fails_to_start, "BESClient.*undone it by itself|BESClient.*half way", True),
    (disabled, "nothing was changed: the service BESClient is disabled", True),
    (disk_is_full, "undone it by itself|nothing was changed", True),
])
def test_what_does_not_come_about_leaves_the_host_as_it_was(host, script, trouble, words, is_as_before):
    before = state_of(host)
    trouble(host, script)
    with pytest.raises(EngineError, match=words):
        bigfix.moved(script, move_options(), Module(False, False))
    if is_as_before:
        assert state_of(host) == before
    assert host.files.get(RECORD) is None or host.files.get(RECORD).content == b""


def test_a_parent_that_does_not_answer_on_the_new_port_is_found_before_anything_is_stopped(network):
    relay(network, ports=(OLD,))
    host = client(network)
    script = Straight(host)
    with pytest.raises(EngineError, match="nothing was changed: its parent does not answer: .*connection refused"):
        bigfix.moved(script, move_options(), Module(False, False))
    assert script.applies == []


def test_a_bridge_alone_is_no_parent_that_has_moved(network):
    relay(network, named=OLD)
    script = Straight(client(network))
    with pytest.raises(EngineError, match="it serves a masthead for port %d" % OLD):
        bigfix.moved(script, move_options(), Module(False, False))


@pytest.mark.parametrize("setting, words", [
    (dict(administrator=False), "no administrator of this host"),
])
def test_what_stands_against_a_move_is_told_by_the_look(host, script, setting, words):
    for name, value in setting.items():
        setattr(host, name, value)
    found = bigfix.looked(script, look_options())
    assert found["ok"] is False and any(words in sentence for sentence in found["problems"])


def test_a_setting_of_another_type_is_a_problem_where_it_counts(host, script):
    host.registry.set(SETTINGS + "\\_BESClient_RelaySelect_Port", "value", OLD, "DWord")
    found = bigfix.looked(script, look_options())
    assert found["problems"] and "has a value of the type DWord" in found["problems"][0]


def test_another_port_is_asked_for_in_a_second_look(network):
    relay(network)
    host = client(network, port=50000)
    script = Straight(host)
    assert bigfix.looked(script, look_options())["old_port"] == 50000 and script.reads == 2
    again = Straight(host)
    assert bigfix.looked(again, look_options(previous_port=50000))["ok"] and again.reads == 1


@pytest.mark.parametrize("option, value, words", [
    ("masthead_paths", ["/etc/opt/BESClient/actionsite.afxm"], "masthead_paths names /etc/opt.*ansible_connection"),
    ("record", "/var/lib/portshift/bigfix.json", "record names /var/lib"),
    ("service_command", ["service"], "service_command is service")])
def test_options_of_another_system_are_refused(script, option, value, words):
    with pytest.raises(EngineError, match=words):
        bigfix.looked(script, look_options(**{option: value}))
    assert script.reads == 0
