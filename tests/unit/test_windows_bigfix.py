# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BigFix on Windows hosts: what is asked of one, what is judged, and the steps that come of it, on a model without a wire."""

import importlib
import json
import re
import types

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import bigfix, bridge
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import LOG_BYTES
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import Module, WindowsMove
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import WindowsError
from tests.unit.windows_bigfix import (
    CLIENT, DATE, NEW, OLD, RECORD, RELAY, SETTINGS, Parent, client, look_options, masthead, move_options, options, proof, relay,
    state_of)
from tests.unit.windows_moves import (
    SEE_LOG, UNDONE, Straight, cut_off, fails_to_start, hangs_while_it_stops, not_undone)
from tests.windows import bigfix as windows
from tests.windows.files import READ
from tests.windows.host import Host
from tests.windows.network import Network, Range
from tests.windows.services import Service

REST = windows.SERVER + "\\MFSConfig"


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


def evidence_options(**more):
    asked = proof()
    asked.pop("parent_wait")
    return options(**dict(asked, files=True, **dict(dict(mark=False), **more)))


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
    assert set(kinds[:kinds.index("stop")]) == {"write"}
    # What the old process says until it has ended is no word of the new one.
    assert kinds[kinds.index("stop"):] == ["stop", "mark", "write", *["registry"] * 4, "write", "start", "wait", "write"]
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


MEDDLED = SETTINGS + "\\__RelayServer1"


def registry_changed_between(host, script):
    script.host.script.before[0] = lambda step: host.registry.set(MEDDLED, "value", "http://relay:1/", "String")


def disabled(host, script):
    host.services.get("BESClient").start_mode = "disabled"


def disk_is_full(host, script):
    host.files.free["d:"] = 0


def hangs(host, script):
    hangs_while_it_stops(host, "BESClient")


def fails(host, script):
    fails_to_start(host, "BESClient")


HANGS = "the service BESClient is in state stop_pending after 30 s"
ENDED = "the service BESClient ended as soon as it was started, with exit code 1"
TROUBLES = {
    agent_that_is_silent: (
        re.escape("step 16 (wait) failed: after 20 s the proof is missing (") + "[0-9]{8}[.]log takes it back: RegisterOnce: "
        "GetURL failed - General transport failure[.] - HTTP 404 - registration url - http://relay:55000/.*and connections of "
        "the service BESClient to relay:55000: none, and .*[)]" + re.escape(SEE_LOG + UNDONE), "running"),
    registry_changed_between: (re.escape(
        "step 13 (registry) failed: the value value of " + MEDDLED + " is another than the one that was read: read the host "
        "again, and see who changed it" + UNDONE), "running"),
    hangs: (re.escape(not_undone("step 7 (stop)", HANGS)), "stop_pending"),
    fails: (re.escape(not_undone("step 15 (start)", ENDED)), "stopped"),
    disabled: (re.escape(
        "nothing was changed: the service BESClient is disabled on this host, so that it could not be started again; mend that "
        "first"), "running"),
    disk_is_full: (re.escape("step 9 (write) failed: There is not enough space on the disk" + UNDONE), "running")}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_does_not_come_about_leaves_the_host_as_it_was(host, script, trouble):
    (sentence, state), (files, registry) = TROUBLES[trouble], state_of(host)
    trouble(host, script)
    with pytest.raises(EngineError) as caught:
        bigfix.moved(script, move_options(), Module(False, False))
    assert re.fullmatch(sentence, str(caught.value)), str(caught.value)
    if trouble is registry_changed_between:
        # What another has written stays, and nothing else differs.
        registry = dict(registry, **{MEDDLED: dict(registry[MEDDLED], value=("value", "String", "http://relay:1/"))})
    assert state_of(host) == (files, registry)
    assert host.services.get("BESClient").state == state
    assert host.files.get(RECORD) is None
    if trouble is hangs:
        host.boot()
    # Whatever could not be undone at once the host undoes by itself.
    host.pass_time(200)
    assert state_of(host) == (files, registry) and host.services.get("BESClient").state == "running"
    assert not [one for one in host.script.changes.values() if one.state != "undone"] and not host.script.tasks


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
    (dict(administrator=False, may_ask_wmi=True), "no administrator of this host"),
])
def test_what_stands_against_a_move_is_told_by_the_look(host, script, setting, words):
    for name, value in setting.items():
        setattr(host, name, value)
    found = bigfix.looked(script, look_options())
    assert found["ok"] is False and any(words in sentence for sentence in found["problems"])


@pytest.mark.parametrize("asked", [
    lambda script: bigfix.looked(script, look_options()),
    lambda script: bigfix.moved(script, move_options(), Module(False, False)),
    lambda script: bigfix.moved(script, move_options(state="restored"), Module(True, False))])
def test_an_account_that_may_not_ask_wmi_is_told_what_it_is(host, script, asked):
    """Without the right to ask for a service, nothing of the host is read."""
    host.administrator = False
    with pytest.raises(EngineError, match="could not be read: the account that Ansible uses is no administrator of this host"):
        asked(script)
    assert script.applies == []


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


# --- hosts on which others depend

BRIDGE = dict(name="bigfix", protocols=["tcp", "udp"], addresses=[], backend="auto", persistent=True, lease=None, lease_wait=0)


def relay_options(**more):
    return dict(dict(
        component="relay", services=["BESClient", "BESRelay"], clientsettings_paths=[],
        proof=proof(address="relay1", parent="root", bind_address="")), **more)


class Estate:
    """A root server and a relay, all on Windows."""

    def __init__(self):
        self.network = Network()
        self.root = Host("root", ["192.0.2.10"], self.network)
        self.relay = Host("relay1", ["192.0.2.20"], self.network)
        windows.install_server(self.root, masthead(OLD), ["root", "relay1"])
        windows.install_relay(self.relay, masthead(OLD), ("root", OLD), drive="D:")
        self.pass_time(30)

    def pass_time(self, seconds):
        for _second in range(seconds):
            for host in (self.root, self.relay):
                host.pass_time(1)


@pytest.fixture
def estate():
    return Estate()


def server_options(**more):
    return dict(dict(
        component="server", services=["BESRootServer", "FillDB", "GatherDB", "BESClient"], clientsettings_paths=[],
        masthead_paths=["{server}\\Masthead.afxm", "{client}\\actionsite.afxm"], credentials_paths=[windows.SERVER, REST],
        proof=proof(address="root", parent=None, bind_address="")), **more)


def lay(host, pairs):
    return bridge.outcome(Straight(host), Module(False, False), BRIDGE, pairs, False)


RESERVE = ("reserve it (netsh int ipv4 add excludedportrange protocol=tcp startport=55000 numberofports=1), or a restart may "
           "find it taken")


@pytest.mark.parametrize("first, reserve, said", [
    (49152, False, RESERVE), (52312, False, RESERVE), (52312, True, "it is reserved when this host moves"), (55001, False, None),
    (55001, True, None)])
def test_the_range_that_the_host_serves_connections_from_is_read_and_named(estate, first, reserve, said):
    for span in estate.root.dynamic:
        span.first = first
    script = Straight(estate.root)
    found = bigfix.looked(script, look_options(**server_options(host_port=dict(backend="auto", openings=[], reserve=reserve))))
    told = "port 55000 lies in the range %d-65535, from which this host serves outgoing connections; %s" % (first, said)
    assert [note for note in found["notes"] if "from which this host serves" in note] == [told] * bool(said)
    assert script.reads == 1
    # Kept from it already.
    estate.root.excluded.append(Range("ipv4", "tcp", NEW, NEW))
    found = bigfix.looked(Straight(estate.root), look_options(**server_options(host_port=dict(
        backend="auto", openings=[], reserve=reserve))))
    assert not [note for note in found["notes"] if "from which this host serves" in note]


def test_a_setting_of_what_runs_beside_that_holds_the_old_port_is_a_note_and_left_alone(estate):
    windows.set_setting(estate.root, "_WebUIAppEnv_PLATFORM_PORT", str(OLD))
    found = bigfix.looked(Straight(estate.root), look_options(**server_options()))
    told = "_WebUIAppEnv_PLATFORM_PORT, a setting of WebUI, holds the old port"
    assert found["ok"] and [note for note in found["notes"] if told in note]
    assert lay(estate.root, [(NEW, OLD)])["changed"]
    bigfix.moved(Straight(estate.root), move_options(**server_options(bridge=BRIDGE)), Module(False, False))
    assert windows.setting(estate.root, "_WebUIAppEnv_PLATFORM_PORT") == str(OLD)


def test_a_root_server_is_moved_behind_its_bridge(estate):
    before = state_of(estate.root)
    assert lay(estate.root, [(NEW, OLD)])["changed"] and not lay(estate.root, [(NEW, OLD)])["changed"]
    script = Straight(estate.root)
    found = bigfix.looked(script, look_options(**server_options()))
    assert (found["problems"], found["old_port"], found["neighbours"], script.reads) == ([], OLD, [8080], 1)
    assert [(edit["kind"], edit["path"][-20:]) for edit in found["edits"]] == [
        ("masthead", "Server\\Masthead.afxm"[-20:]), ("masthead", "Client\\actionsite.afxm"[-20:]), ("settings", SETTINGS[-20:]),
        ("credentials", windows.SERVER[-20:]), ("credentials", REST[-20:])]
    found = bigfix.moved(script, move_options(**server_options(), bridge=BRIDGE), Module(False, False))
    assert (found["ok"], found["missing"], script.reads, len(script.applies)) == (True, {}, 2, 1)
    kinds = [step["step"] for step in script.applies[0]]
    stops = [step["service"] for step in script.applies[0] if step["step"] == "stop"]
    assert stops == ["BESClient", "GatherDB", "FillDB", "BESRootServer"]
    # IP Helper lets go of the new port before the product wants it, and has the old one when the product has left it.
    assert kinds.index("portproxy") < kinds.index("start") < len(kinds) - 1 - kinds[::-1].index("portproxy")
    assert estate.root.portproxies == {OLD: NEW} and estate.root.services.get("BESWebReportsServer").state == "running"
    assert estate.root.registry.get(windows.SERVER, "Port") == ("String", str(NEW))
    assert estate.root.registry.get(REST, "RESTURL") == ("String", "https://localhost:%d/api" % NEW)
    assert [one.first for one in estate.root.excluded if one.has("tcp", NEW)] == [NEW]
    assert any("udp port %d" % OLD in note for note in found["bridge"]["notes"])

    back = bigfix.moved(script, move_options(**server_options(proof=None), state="restored", bridge=BRIDGE), Module(False, False))
    assert back["changed"] and state_of(estate.root) == before and estate.root.portproxies == {NEW: OLD}
    assert estate.root.excluded == []
    assert lay(estate.root, [])["changed"] and estate.root.portproxies == {}


def test_a_relay_is_moved_after_its_parent(estate):
    with pytest.raises(EngineError, match="nothing was changed: its parent does not answer"):
        bigfix.moved(Straight(estate.relay), move_options(**relay_options(), bridge=BRIDGE), Module(False, False))
    bigfix.moved(Straight(estate.root), move_options(**server_options(), bridge=BRIDGE), Module(False, False))
    script = Straight(estate.relay)
    found = bigfix.moved(script, move_options(**relay_options(), bridge=BRIDGE), Module(False, False))
    assert (found["ok"], found["missing"], script.reads) == (True, {}, 1) and estate.relay.portproxies == {OLD: NEW}
    estate.pass_time(60)
    again = Straight(estate.relay)
    found = bigfix.looked(again, look_options(**relay_options()))
    assert (found["edits"], found["evidence"]["ok"], again.reads) == ([], True, 1)


def test_a_port_that_another_process_has_stands_against_the_move(estate):
    estate.root.services.add(Service("Other", product=Parent([NEW])), running=True)
    found = bigfix.looked(Straight(estate.root), look_options(**server_options()))
    assert ["port %d is in use already: process Other" % NEW] == [sentence[:43] for sentence in found["problems"]]


KEPT = "port %d .tcp, IPv4. lies in the range 54950-55049, which Windows itself" % NEW


@pytest.mark.parametrize("look, host", [(server_options, "root"), (relay_options, "relay")])
def test_a_port_that_windows_keeps_from_every_program_stands_against_the_move(estate, look, host):
    """The range of a hypervisor is none that netsh has made: no program that asks for a port of it gets that."""
    host = getattr(estate, host)
    host.excluded.append(Range("ipv4", "tcp", 54950, 55049, administered=False))
    found = bigfix.looked(Straight(host), look_options(**look()))
    assert [re.search(KEPT + ".*choose another port", sentence) is not None for sentence in found["problems"]] == [True]
    with pytest.raises(EngineError, match="nothing can be forwarded from port %d: %s" % (NEW, KEPT)):
        lay(host, [(NEW, OLD)])
    script = Straight(host)
    with pytest.raises(EngineError, match="nothing was changed: the %s could not listen: %s" % (look()["component"], KEPT)):
        bigfix.moved(script, move_options(**look(), bridge=BRIDGE), Module(False, False))
    assert script.applies == [] and host.portproxies == {}


def test_a_range_that_an_administrator_made_keeps_the_port_for_the_product(estate):
    estate.root.excluded += [Range(family, protocol, 54950, 55049) for family in ("ipv4", "ipv6") for protocol in ("tcp", "udp")]
    lay(estate.root, [(NEW, OLD)])
    assert bigfix.looked(Straight(estate.root), look_options(**server_options()))["problems"] == []
    bigfix.moved(Straight(estate.root), move_options(**server_options(), bridge=BRIDGE), Module(False, False))
    assert {(one.first, one.last) for one in estate.root.excluded} == {(54950, 55049)}


def test_a_way_back_gives_back_what_the_move_has_excluded_and_no_more(estate):
    """An administrator had the port excluded for some kinds before: those stay."""
    mine = [Range("ipv4", "tcp", NEW, NEW), Range("ipv4", "udp", NEW, NEW)]
    estate.root.excluded += mine
    bigfix.moved(Straight(estate.root), move_options(**server_options(), bridge=BRIDGE), Module(False, False))
    assert [(one.family, one.protocol) for one in estate.root.excluded] == [
        ("ipv4", "tcp"), ("ipv4", "udp"), ("ipv6", "tcp"), ("ipv6", "udp")]
    assert json.loads(estate.root.files.get(RECORD).content)["excluded"] == ["ipv6/tcp", "ipv6/udp"]
    bigfix.moved(Straight(estate.root), move_options(**server_options(proof=None), state="restored", bridge=BRIDGE),
                 Module(False, False))
    assert estate.root.excluded == mine


def test_a_udp_port_that_windows_keeps_is_a_note_alone(host, script):
    host.excluded.append(Range("ipv4", "udp", 54950, 55049, administered=False))
    found = bigfix.looked(script, look_options())
    assert found["ok"] and script.reads == 1
    assert [note for note in found["notes"] if re.search("no notifications.*slow, not cut off: port %d .udp" % NEW, note)]
    bigfix.moved(script, move_options(), Module(False, False))


def test_a_server_moves_where_windows_keeps_the_udp_port_alone(estate):
    estate.root.excluded.append(Range("ipv6", "udp", 54950, 55049, administered=False))
    lay(estate.root, [(NEW, OLD)])
    found = bigfix.looked(Straight(estate.root), look_options(**server_options()))
    assert found["ok"] and any("no notifications" in note for note in found["notes"])
    bigfix.moved(Straight(estate.root), move_options(**server_options(), bridge=BRIDGE), Module(False, False))
    assert json.loads(estate.root.files.get(RECORD).content)["excluded"] == ["ipv4/tcp", "ipv4/udp", "ipv6/tcp"]


def test_ports_that_netsh_does_not_tell_of_are_a_note(host, script):
    script.host.script._netsh = lambda: dict(portproxy=[], excluded=[], dynamic=[], problem="netsh tells no dynamic ports")
    found = bigfix.looked(script, look_options())
    assert found["ok"] and [note for note in found["notes"] if "could not be asked for the ports that Windows keeps" in note]


def test_ip_helper_that_does_not_run_is_told_before_anything_is_stopped(estate):
    estate.root.services.stop("iphlpsvc")
    estate.root.pass_time(5)
    with pytest.raises(EngineError, match="IP Helper .* is stopped, and without it"):
        lay(estate.root, [(NEW, OLD)])
    with pytest.raises(EngineError, match="IP Helper"):
        bigfix.moved(Straight(estate.root), move_options(**server_options(), bridge=BRIDGE), Module(False, False))
    assert estate.root.services.get("BESRootServer").state == "running"


def test_a_forwarding_of_others_is_left_alone(estate):
    estate.root.other_portproxies.append(dict(
        kind="v4tov4", listen_address="*", listen_port=NEW, connect_address="192.0.2.9", connect_port=80))
    with pytest.raises(EngineError, match="forwarded by netsh portproxy already .to 192.0.2.9 port 80., and not by this bridge"):
        lay(estate.root, [(NEW, OLD)])
    assert lay(estate.root, [])["changed"] is False


def test_a_bridge_tells_who_is_connected_and_that_it_knows_no_more(estate):
    bigfix.moved(Straight(estate.root), move_options(**server_options(), bridge=BRIDGE), Module(False, False))
    found = bridge.outcome(Straight(estate.root), Module(False, False), BRIDGE, [], True)
    assert found["mappings"] == [dict(listen_port=OLD, target_port=NEW, protocols=["tcp"])] and found["remembered_seconds"] == 0
    assert "does not remember who used port %d" % OLD in found["notes"][0]


@pytest.mark.parametrize("marks", [
    lambda host, script: bigfix.evidence(script, evidence_options(mark=True), False),
    lambda host, script: bigfix.moved(script, move_options(), Module(False, False))])
def test_a_move_without_proof_is_marked_by_the_proof_that_comes_later(host, script, marks):
    found = bigfix.moved(script, move_options(proof=None), Module(False, False))
    assert found["changed"] and "ok" not in found and json.loads(host.files.get(RECORD).content)["state"] == "changing"
    host.pass_time(60)
    assert bigfix.moved(Straight(host), move_options(unfinished_only=True, proof=None), Module(False, False))["changed"] is False
    predicted = bigfix.moved(Straight(host), move_options(), Module(True, False))
    assert (predicted["ok"], predicted["changed"]) == (True, True)
    proved = marks(host, script)
    assert (proved["ok"], proved["changed"]) == (True, True)
    assert json.loads(host.files.get(RECORD).content)["state"] == "verified"


def test_nothing_is_begun_where_only_what_was_begun_is_to_be_finished(host, script):
    before = state_of(host)
    assert bigfix.moved(script, move_options(unfinished_only=True), Module(False, False))["changed"] is False
    assert state_of(host) == before and script.applies == []


def test_a_service_that_is_down_is_started_where_nothing_is_to_be_edited(host, script):
    bigfix.moved(script, move_options(), Module(False, False))
    host.services.crash("BESClient", 0)
    # Its time passes while it is looked at again and again.
    script.read = lambda wanted, read=script.read: (host.pass_time(3), read(wanted))[1]
    found = bigfix.moved(script, move_options(proof=proof(settle=2)), Module(False, False))
    assert (found["started"], found["files"], found["ok"]) == (["BESClient"], [], True)
    assert [step["step"] for step in script.applies[-1]] == ["start"]


def telling(script, state, running=False, sentence="BESClient does not start"):
    script.read = lambda wanted, read=script.read: dict(read(wanted), unfinished=[
        dict(id="0" * 32, state=state, began=1.0, sentence=sentence, running=running, timeout=70.0)])
    return script


def test_an_earlier_change_that_was_undone_is_told(host, script):
    found = bigfix.looked(telling(script, "undone", sentence="the connection was lost, and all is as it was"), look_options())
    assert "this host has undone an earlier change: the connection was lost, and all is as it was" in found["notes"]
    assert found["ok"] is True


def test_a_host_that_was_left_half_way_is_no_host_to_move(host, script):
    found = bigfix.looked(telling(script, "trouble"), look_options())
    assert found["ok"] is False and "left half way, and a person has to look at it: BESClient does" in found["problems"][0]
    assert sum("BESClient does not start" in sentence for sentence in [*found["problems"], *found["notes"]]) == 1
    with pytest.raises(EngineError, match="nothing was changed now: an earlier change of this host was left half way"):
        bigfix.moved(script, move_options(), Module(False, False))
    assert script.applies == []


@pytest.mark.parametrize("running, ok", [(True, False), (False, True)])
def test_a_change_that_was_cut_off_is_no_hindrance_to_the_move_that_ends_it(host, script, running, ok):
    found = bigfix.looked(telling(script, "applying", running, "it was cut off"), look_options())
    assert found["ok"] is ok and any("it was cut off" in sentence for sentence in found["notes" if ok else "problems"])


def test_a_move_that_was_cut_off_is_ended_at_once_by_the_next_run_and_done(host, script):
    cut_off(host, lambda: bigfix.moved(script, move_options(), Module(False, False)))
    assert host.services.get("BESClient").state == "stopped"
    again = Straight(host)
    found = bigfix.moved(again, move_options(), Module(False, False))
    assert (found["changed"], found["ok"], len(again.resumed), len(again.applies)) == (True, True, 1, 1)
    assert any("this host has undone an earlier change" in note for note in found["notes"])


def test_a_way_back_settles_what_was_left_half_way(host, script):
    """By the record that a move has left; without one a person has to look."""
    before = state_of(host)
    bigfix.moved(script, move_options(), Module(False, False))
    asked = []
    script.apply = lambda wanted, steps, timeout, settles=(), apply=script.apply: (
        asked.append(list(settles)), apply(wanted, steps, timeout))[1]
    bigfix.moved(telling(script, "trouble"), move_options(state="restored", proof=None), Module(False, False))
    assert asked == [["0" * 32]] and state_of(host) == before
    with pytest.raises(EngineError, match="nothing of the record of this host is to be put back, and an earlier change of this"):
        bigfix.moved(script, move_options(state="restored", proof=None), Module(False, False))
    assert len(asked) == 1


def test_a_service_that_others_need_is_told_by_the_look_and_not_stopped(host, script):
    host.services.add(Service("Plugin", needs=["BESClient"]), running=True)
    words = "the service BESClient is needed by Plugin, which runs, so that it can't be stopped; stop that one, or name it in"
    assert any(words in sentence for sentence in bigfix.looked(script, look_options())["problems"])
    with pytest.raises(EngineError, match="nothing was changed: the service BESClient is needed by Plugin"):
        bigfix.moved(script, move_options(), Module(False, False))
    assert script.applies == []
    # With it among the services, after the one that it needs, it is stopped first.
    assert bigfix.looked(script, look_options(services=["BESClient", "Plugin"]))["ok"] is True
    assert any(words[:40] in one for one in bigfix.looked(script, look_options(services=["Plugin", "BESClient"]))["problems"])
    host.services.stop("Plugin")
    host.pass_time(5)
    assert bigfix.looked(script, look_options())["ok"] is True


def test_a_report_that_may_have_been_missed_is_told_with_what_was_not_read(host, script):
    bigfix.moved(script, move_options(), Module(False, False))
    host.pass_time(60)
    agent = host.services.get("BESClient").product
    agent.life = None
    host.disconnect(agent.connection)
    for node in host.files.listing(CLIENT + windows.CHAIN):
        host.files.remove(node.path)
    [log] = [node for node in host.files.listing(CLIENT + windows.LOGS) if node.name.endswith(".log")]
    host.files.append(log.path, b"   of no interest\r\n" * 4000)
    found = bigfix.evidence(script, evidence_options(timeout=0), False)
    unread = len(log.content) - LOG_BYTES
    assert "log" in found["missing"] and found["missing"]["log"].endswith(
        "; the first %d bytes of %s were not read" % (unread, log.path))
    # Where the end that was read reaches back far enough, nothing was missed.
    host.files.append(log.path, b"At 00:00:00 +0000 - \r\n   of no interest\r\n")
    found = bigfix.evidence(script, evidence_options(timeout=0, log_max_age=1), False)
    assert "log" in found["missing"] and "were not read" not in found["missing"]["log"]


ASKED = types.SimpleNamespace(agent="BESClient", peer="relay", old_port=OLD)


LOCKED = windows.LOGS.lstrip("\\")


def locked_log(host, name, content):
    """Another process, such as a backup, has a log for itself."""
    path = "%s\\%s\\%s" % (CLIENT, LOCKED, name)
    host.files.put(path, content)
    return path, host.hold(host.services.new_process("backup"), path, (READ,), ())


def test_an_older_log_that_can_not_be_read_does_not_keep_a_host_from_its_proof(host, script):
    locked_log(host, "20260101.log", b"At 01:00:00 +0000 -\r\n   x\r\n")
    host.pass_time(60)
    assert bigfix.moved(script, move_options(), Module(False, False))["ok"]
    host.pass_time(60)
    assert bigfix.looked(Straight(host), look_options(proof=proof(timeout=5)))["evidence"]["ok"]


def test_the_log_that_was_written_last_and_can_not_be_read_is_named(host, script):
    bigfix.moved(script, move_options(), Module(False, False))
    host.pass_time(60)
    host.clock.skip(1)
    today = max(host.files.listing("%s\\%s" % (CLIENT, LOCKED)), key=lambda node: node.changed).name
    locked_log(host, today.replace(".log", ".bkg"), b"At 01:00:00 +0000 -\r\n   x\r\n")
    found = bigfix.looked(Straight(host), look_options(proof=proof(timeout=0)))["evidence"]
    assert not found["ok"] and re.search("bkg: could not be read .*being used by another process", str(found)), found


def test_the_host_itself_waits_for_the_ports_of_its_neighbours():
    found = bigfix.conditions(move_options(proof=proof(neighbours=[8080, 8083])), ASKED)
    assert [one["port"] for one in found if one["kind"] == "listens" and one["service"] is None] == [8080, 8083]


def test_the_host_itself_waits_until_the_old_port_is_left_and_for_no_later_failure():
    found = bigfix.conditions(move_options(), ASKED)
    assert [(one["host"], one["port"], one["absent"]) for one in found if one["kind"] == "connection"] == [("relay", OLD, True)]
    [said, connected] = found[-1]["of"]
    assert (said["kind"], said["silence"], connected["kind"]) == ("log", False, "all")
    assert [(one["kind"], one.get("silence")) for one in connected["of"]] == [("connection", None), ("log", True), ("log", True)]
    chain = connected["of"][2]
    line = "At 05:05:13 +0100 - F - relay:55000"
    assert [bool(re.search(pattern, line)) for pattern in chain["patterns"] + chain["unless"]] == [False, True]
    for agent, port in [(None, OLD), ("BESClient", None), ("BESClient", NEW)]:
        found = bigfix.conditions(move_options(), types.SimpleNamespace(agent=agent, peer="relay", old_port=port))
        assert not [one for one in found if one["kind"] == "connection"]


def old_connection(host):
    return OLD


def connected_and_failing(host):
    agent_that_is_silent(host, None)
    return NEW


@pytest.mark.parametrize("trouble, words", [
    (old_connection, "connections of the service BESClient to relay:%d: Established" % OLD),
    (connected_and_failing, "takes it back: .*GetURL failed")])
def test_a_host_is_not_noted_as_proved_before_all_of_it_holds(host, script, trouble, words):
    """The host waits by itself for what the control node asks, and undoes its change where that does not come."""
    before, port = state_of(host), trouble(host)

    def connect(step):
        if step["step"] == "wait":
            host.connected(host.services.get("BESClient").process, host.network.connect(host, "192.0.2.10", port, 5), port)

    host.script.before = dict.fromkeys(range(40), connect)
    with pytest.raises(EngineError, match="the proof is missing .*%s.*undone it by itself" % words):
        bigfix.moved(script, move_options(), Module(False, False))
    assert state_of(host) == before and host.files.get(RECORD) is None and len(script.applies) == 1


def judged_otherwise(monkeypatch, *answers):
    """The control node, which asks more than the host does, and finds the host unproved."""
    told = list(answers)
    move = importlib.import_module(WindowsMove.__module__)
    monkeypatch.setattr(move, "proof", lambda questions, seconds: dict(told.pop(0)))


UNPROVED = dict(ok=False, port=NEW, missing={}, msg="the agent left a connection to the old port")


def test_what_the_control_node_does_not_take_for_proved_is_put_back(host, script, monkeypatch):
    judged_otherwise(monkeypatch, UNPROVED)
    before = state_of(host)[1], host.files.get(CLIENT + "\\clientsettings.cfg").content
    with pytest.raises(EngineError, match="connection to the old port. Its files and its registry are as they were before"):
        bigfix.moved(script, move_options(), Module(False, False))
    assert (state_of(host)[1], host.files.get(CLIENT + "\\clientsettings.cfg").content) == before
    assert json.loads(host.files.get(RECORD).content)["state"] == "rolled_back"


@pytest.mark.parametrize("is_noted", [True, False])
def test_a_host_that_can_not_be_put_back_is_not_noted_as_proved(host, script, monkeypatch, is_noted):
    judged_otherwise(monkeypatch, UNPROVED)
    path, apply = CLIENT + "\\clientsettings.cfg", script.apply

    def written_since(wanted, steps, timeout, settles=()):
        if not script.applies:
            host.clock.after(3, lambda: host.files.put(path, host.files.get(path).content + b"Other=1\r\n"))
        elif not is_noted:
            raise WindowsError("the host was switched off")
        return apply(wanted, steps, timeout)

    script.apply = written_since
    words = "connection to the old port. Putting the host back did not .*no longer safe, nothing was changed: .*"
    words += "clientsettings.cfg: it has changed.*The host stays on port %d.*It needs a person; .* names the old files" % NEW
    words += "$" if is_noted else ", and says of it still that it has proved itself .the host was switched off.$"
    with pytest.raises(EngineError, match=words):
        bigfix.moved(script, move_options(), Module(False, False))
    assert json.loads(host.files.get(RECORD).content)["state"] == ("changing" if is_noted else "verified")


@pytest.mark.parametrize("outcome, words", [
    ("undone", "The host has undone it by itself: .*The host stays on port %d" % NEW),
    ("refused", "nothing was changed: it was asked. The host stays on port %d" % NEW),
    ("trouble", "The host is half way, and needs a person unless it gets it undone by itself yet")])
def test_a_way_back_that_does_not_come_about_says_on_which_port_the_host_is(host, script, monkeypatch, outcome, words):
    judged_otherwise(monkeypatch, UNPROVED)
    apply = script.apply

    def fails(wanted, steps, timeout, settles=()):
        if script.applies:
            return dict(host.script.answer(dict(version=1, verb="read", wanted=wanted)), outcome=outcome, ok=False,
                        sentence="it was asked.")
        return apply(wanted, steps, timeout)

    script.apply = fails
    with pytest.raises(EngineError, match="Putting the host back did not work out either: .*%s.*It needs a person" % words):
        bigfix.moved(script, move_options(), Module(False, False))


def test_a_second_migration_keeps_the_record_of_the_first_and_goes_back_to_it(network):
    further = 56000
    relay(network, ports=(OLD, NEW, further), named=None)
    host = client(network)
    bigfix.moved(Straight(host), move_options(), Module(False, False))
    first = state_of(host)
    host.pass_time(30)
    script = Straight(host)
    found = bigfix.moved(script, move_options(port=further, previous_port=NEW), Module(False, False))
    assert (found["ok"], found["old_port"], script.reads) == (True, NEW, 1)
    names = [node.name for node in host.files.listing("C:\\ProgramData\\portshift\\bigfix")]
    assert [name for name in names if name.endswith("-%d-%d.json" % (OLD, NEW))]
    found = bigfix.moved(script, move_options(port=further, state="restored", proof=None), Module(False, False))
    assert found["old_port"] == NEW and state_of(host) == first
