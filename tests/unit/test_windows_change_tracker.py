# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change Tracker on Windows hosts: what is asked of one, what is judged, the steps that come of it, on a model without a wire."""

import hashlib
import json
import re

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.evidence import PATIENCE_BEFORE
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import WithLooks
from ansible_collections.portshift.agents.plugins.plugin_utils._gate import judged
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import change_tracker
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import Module
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import new_id
from tests.lab import change_tracker_lab
from tests.unit.host_variables import HostVars
from tests.unit.windows_bigfix import RECORD as OF_BIGFIX
from tests.unit.windows_change_tracker import (
    CERTIFICATE, FOLDER, LOG, NEW, OLD, PATH, RECORD, SERVICE, THUMBPRINT, agent, back_options, change_options, details,
    evidence_options, hub, look_options, proof, state_of)
from tests.unit.windows_moves import (
    SEE_LOG, UNDONE, Straight, cut_off, fails_to_start, hangs_while_it_stops, not_undone)
from tests.windows.network import Network
from tests.windows.services import Service


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def server(network):
    return hub(network, OLD, NEW)


@pytest.fixture
def host(server, network):
    return agent(network)


@pytest.fixture
def script(host):
    return Straight(host)


def move(script, **more):
    return change_tracker.changed(script, change_options(**more), Module(False, True))


def back(script, **more):
    return change_tracker.changed(script, back_options(**more), Module(False, True))


def record(host):
    return json.loads(host.files.get(RECORD).content)


def test_one_look_tells_what_would_change(host, script):
    found = change_tracker.looked(script, look_options())
    assert (found["ok"], found["problems"], found["notes"], script.reads) == (True, [], [], 1)
    assert (found["path"], found["service"], found["service_active"]) == (PATH, SERVICE, True)
    assert (found["url"], found["new_url"]) == ("https://hub/api/", "https://hub:%d/api/" % NEW)
    assert (found["old_port"], found["thumbprint"], found["through_proxy"]) == (OLD, THUMBPRINT, False)
    assert (found["stop"], found["start"], found["log_path"]) == (
        ["sc.exe", "stop", SERVICE], ["sc.exe", "start", SERVICE], LOG)
    assert [(edit["kind"], edit["path"], edit["port"]) for edit in found["edits"]] == [("hub_url", PATH, NEW)]
    assert found["evidence"] is None and "geheim" not in json.dumps(found)


def test_an_agent_is_moved_and_proved_in_two_executions(host, script, server):
    before, process = host.files.read(PATH), host.services.get(SERVICE).process.pid
    found = move(script)
    assert (found["changed"], found["ok"], found["missing"], found["state"], script.reads) == (True, True, {}, "confirmed", 1)
    assert (found["port"], found["old_port"], found["new_port"], found["agent"]) == (NEW, OLD, NEW, True)
    kinds = [step["step"] for step in script.applies[0]]
    # First that the hub answers; the record and the backup are on the disk before the service is stopped.
    assert kinds == ["wait", "write", "write", "stop", "mark", "write", "start", "wait", "write"]
    at = before.index(b"https://hub/api/") + len(b"https://hub")
    assert host.files.read(PATH) == before[:at] + b":%d" % NEW + before[at:] and found["files"] == [PATH]
    kept = record(host)
    assert (kept["state"], kept["old_port"], kept["new_port"], kept["phase"]) == ("verified", OLD, NEW, "3")
    assert kept["stopped"]["processes"][SERVICE][0][0] == process != host.services.get(SERVICE).process.pid
    assert [entry["kind"] for entry in kept["files"]] == ["hub_details"]
    shown = "".join(diff["before"] + diff["after"] for diff in found["diff"])
    assert "geheim" not in shown and "hub:%d/" % NEW in shown
    assert server.arrivals[-1] == NEW


@pytest.mark.parametrize("look", [change_tracker_lab.WIDE, change_tracker_lab.COMMENTED])
def test_a_file_in_another_encoding_or_with_comments_costs_no_execution_more_than_its_names_do(network, server, look):
    host = agent(network, details(look=look))
    script = Straight(host)
    assert move(script)["ok"] and len(script.applies) == 1
    # What XML has written in another way is no name that the script sees by itself.
    assert script.reads == (1 if look == change_tracker_lab.WIDE else 2)


@pytest.mark.parametrize("seconds", [50, 120, 3600])
def test_start_and_proof_have_the_seconds_that_the_site_gives_them(host, script, seconds):
    move(script, timeout=seconds)
    [change] = host.script.changes.values()
    # What comes before the start may take its own time: that of the host, that of the hub's answer, and that of the stop.
    assert change.request["timeout"] == 120 + PATIENCE_BEFORE + change_options()["command_seconds"] + seconds
    back(script)
    assert list(host.script.changes.values())[-1].request["timeout"] == 120 + 2 * change_options()["command_seconds"]


@pytest.fixture
def untold_starts(host, monkeypatch):
    """The host does not tell when the processes of its services began."""
    answer = host.script.answer

    def untold(request, check_mode=False):
        found = answer(request, check_mode)
        for service in found["found"]["services"] if found["found"] else ():
            service["began"] = None
        return found
    monkeypatch.setattr(host.script, "answer", untold)


def test_an_agent_whose_start_the_host_does_not_tell_is_watched(host, script, untold_starts):
    found = move(script)
    assert (found["ok"], found["changed"], found["missing"], record(host)["state"]) == (True, True, {}, "verified")
    host.pass_time(600)
    proof = change_tracker.looked(Straight(host), look_options())["evidence"]
    assert (proof["ok"], proof["missing"]) == (True, {}) and proof["waited"] > 0


def test_a_second_look_is_the_proof(host, script):
    move(script)
    host.pass_time(600)
    again = Straight(host)
    found = change_tracker.looked(again, look_options(proof=proof(timeout=5)))
    assert (found["edits"], found["evidence"]["ok"], found["evidence"]["missing"], again.reads) == ([], True, {}, 1)
    assert found["evidence"]["old_port"] == OLD and found["record"]["state"] == "verified"
    proved = change_tracker.evidence(again, evidence_options(), False)
    assert (proved["ok"], proved["changed"], again.reads, again.applies) == (True, False, 2, [])
    found = move(again)
    assert (found["changed"], found["ok"], found["state"], found["files"], again.applies) == (False, True, "none", [], [])


def test_a_way_back_restores_every_byte_and_the_record_says_so(host, script):
    before = state_of(host)
    move(script)
    assert state_of(host) != before
    found = back(script)
    assert (found["changed"], found["state"], found["old_port"], found["restored"]) == (True, "reverted", OLD, [PATH])
    assert found["diff"] and state_of(host) == before and host.services.get(SERVICE).state == "running"
    assert record(host)["state"] == "rolled_back"
    again = back(script)
    assert (again["changed"], again["state"], len(script.applies)) == (False, "reverted", 2)
    assert change_tracker.looked(Straight(host), look_options(port=OLD))["problems"] == []


def test_a_way_back_leaves_what_the_agent_has_written_since(host, script):
    """Such as credentials that were changed: the old ones would lock it out."""
    before = host.files.read(PATH)
    move(script)
    host.files.put(PATH, host.files.read(PATH).replace(b"</E1>", b"new</E1>"))
    assert back(script)["state"] == "reverted"
    assert host.files.read(PATH) == before.replace(b"</E1>", b"new</E1>")


def test_a_way_back_is_refused_where_the_agent_was_led_elsewhere_since(host, script):
    move(script)
    host.files.put(PATH, host.files.read(PATH).replace(b"https://hub:", b"https://other:"))
    with pytest.raises(EngineError, match="no longer safe, nothing was changed: .*HubDetails.xml: it has changed.*stays on port"):
        back(script)
    assert len(script.applies) == 1
    assert back(script, force=True)["changed"] and b"https://hub/api/" in host.files.read(PATH)


def test_a_way_back_of_another_migration_or_of_none_changes_nothing(host, script):
    assert (back(script)["changed"], script.applies) == (False, [])
    move(script)
    found = back(script, new_port=9443)
    assert (found["changed"], found["state"], len(script.applies)) == (False, "none", 1) and record(host)["state"] == "verified"


@pytest.mark.parametrize("check_mode, words", [
    (False, "Gen7AgentCore was started"), (True, "Gen7AgentCore does not run, and would be started")])
def test_a_service_that_is_started_is_a_note_and_no_migration_that_was_taken_back(host, script, check_mode, words):
    def started(**more):
        if host.services.is_running(SERVICE):
            host.services.crash(SERVICE)
        found = change_tracker.changed(script, back_options(**more), Module(check_mode, False))
        assert (found["changed"], found["restored"], found["reason"], found["notes"]) == (True, [], None, [words])
        assert (host.services.get(SERVICE).state == "running") is not check_mode
        return found["state"], found["new_port"]

    move(script)
    # The record is that of a move to another port.
    assert started(new_port=9443) == ("none", 9443) and record(host)["state"] == "verified"
    back(script)
    assert started() == ("reverted", NEW)
    host.files.remove(RECORD)
    assert started(services=[SERVICE]) == ("none", None)


def test_check_mode_asks_once_and_changes_nothing(host, script):
    before = state_of(host)
    found = change_tracker.changed(script, change_options(), Module(True, True))
    assert (found["changed"], found["predicted"], found["ok"], found["state"]) == (True, True, True, "none")
    assert (script.reads, script.applies, state_of(host)) == (1, [], before) and host.files.get(RECORD) is None
    assert ":%d/" % NEW in found["diff"][0]["after"] and found["files"] == [PATH]


@pytest.mark.parametrize("service, folder", [("Gen7Agent", "gen7agent.service"), ("Gen7AgentCore", "gen7agent.app.netcore")])
def test_the_folder_tells_the_service(network, server, service, folder):
    found = change_tracker.looked(Straight(agent(network, service=service)), look_options())
    assert (found["service"], found["ok"]) == (service, True) and folder in found["path"]


def test_data_of_programs_may_lie_on_another_drive(network, server):
    host = agent(network)
    key = "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Explorer\\Shell Folders"
    host.registry.set(key, "Common AppData", "D:\\ProgramData", "String")
    host.files.put(PATH.replace("C:", "D:"), host.files.read(PATH))
    found = change_tracker.looked(Straight(host), look_options())
    assert (found["path"], found["ok"]) == (PATH.replace("C:", "D:"), True)


def test_a_host_without_an_agent_is_told_and_may_be_the_hub(network, server):
    script = Straight(network.hosts[0])
    found = change_tracker.looked(script, look_options())
    assert found["ok"] is False and "no HubDetails.xml was found" in found["problems"][0]
    found = change_tracker.looked(script, look_options(required=False))
    assert (found["ok"], found["agent"], found["evidence"]["ok"], script.reads) == (True, False, True, 2)
    assert change_tracker.evidence(script, evidence_options(required=False), False)["ok"] is True


def test_two_agents_are_one_too_many(host, script):
    host.files.put(PATH.replace("app.netcore", "service"), details())
    found = change_tracker.looked(script, look_options())
    assert "2 files were found where one was expected" in found["problems"][0]


# --- what stands against a move, found before anything is stopped

def http(network):
    return agent(network, details("http://hub:%d/api/" % OLD))


def test_a_hub_without_tls_has_no_certificate_to_compare(network, server):
    script = Straight(http(network))
    found = change_tracker.looked(script, look_options())
    assert any("has a <Thumbprint>, but a URL without TLS" in note for note in found["notes"])
    assert move(script)["ok"] is True and "thumbprint" not in script.applies[0][0]["until"][0]


def test_a_hub_without_tls_and_thumbprint(network, server):
    script = Straight(agent(network, details("http://hub:%d/api/" % OLD, thumbprint="")))
    assert change_tracker.looked(script, look_options())["notes"] == [] and move(script)["ok"] is True


@pytest.mark.parametrize("answering, words", [
    (lambda network: hub(network, OLD), "refused"),
    (lambda network: hub(network, OLD, NEW, certificates={NEW: b"another one"}), "with another certificate than " + THUMBPRINT)])
def test_a_hub_that_cannot_be_used_there_is_found_before_the_agent_is_stopped(network, answering, words):
    answering(network)
    host = agent(network)
    process, before = host.services.get(SERVICE).process.pid, state_of(host)
    with pytest.raises(EngineError, match="^nothing was changed: its hub can't be used on port %d: .*%s" % (
            NEW, words)) as caught:
        move(Straight(host))
    assert change_tracker.failed_state(caught.value) == "none" and "step 0" not in str(caught.value)
    assert host.services.get(SERVICE).process.pid == process and state_of(host) == before and host.files.get(RECORD) is None
    # Nothing was begun: no log has more to say, and no later run is told of a change that was undone.
    assert "log on this host" not in str(caught.value)
    assert change_tracker.looked(Straight(host), look_options())["notes"] == []
    present = back(Straight(host), state="present")
    assert (present["state"], present["reason"], present["notes"]) == ("none", None, [])


def test_a_sha256_as_thumbprint_is_compared_too(network):
    server = hub(network, OLD, NEW)
    host = agent(network)
    data = host.files.read(PATH)
    sha256 = hashlib.sha256(CERTIFICATE).hexdigest().upper()
    host.files.put(PATH, data.replace(THUMBPRINT.encode(), sha256.encode()))
    script = Straight(host)
    with pytest.raises(EngineError):
        # The stand-in of the agent knows SHA-1 alone, and does not come back.
        move(script)
    assert script.applies[0][0]["until"][0]["thumbprint"] == sha256 and NEW not in server.arrivals


def read_only(host):
    host.files.get(PATH).read_only = True


def not_installed(host):
    del host.services.known[SERVICE.lower()]


def disabled(host):
    host.services.get(SERVICE).start_mode = "disabled"


def no_administrator(host):
    host.administrator, host.may_ask_wmi = False, True


def planted(host):
    """By a user who was there before us."""
    host.files.folder("C:\\ProgramData\\portshift", owner="user1")
    host.files.put(RECORD, b"{}", owner="user1")


def linked(host):
    host.files.put("D:\\elsewhere\\HubDetails.xml", details())
    host.files.remove_tree(FOLDER)
    host.files.link(FOLDER, "D:\\elsewhere")


def too_big(host):
    host.files.put(PATH, b"<HubDetails>" + b" " * 300000 + b"</HubDetails>")


def broken(host):
    host.files.put(PATH, host.files.read(PATH)[:100])


@pytest.mark.parametrize("trouble, words", [
    (read_only, "HubDetails.xml: is read-only; take that attribute away"),
    (not_installed, "the service Gen7AgentCore is not installed"),
    (disabled, "the service Gen7AgentCore is disabled"),
    (no_administrator, "is no administrator of this host"),
    (planted, "others than SYSTEM and the administrators may have written it"),
    (linked, "a link or a mounted volume"),
    (too_big, "300025 bytes"),
    (broken, "HubDetails.xml: "),
])
def test_what_stands_against_a_move_is_told_with_nothing_changed(host, script, trouble, words):
    trouble(host)
    before, process = state_of(host), host.services.get(SERVICE) and host.services.get(SERVICE).process.pid
    with pytest.raises(EngineError, match=words):
        move(script)
    assert state_of(host) == before and script.applies == []
    assert trouble is not_installed or host.services.get(SERVICE).process.pid == process
    found = change_tracker.looked(script, look_options())
    assert trouble is disabled or any(words in problem for problem in found["problems"])


def test_a_service_that_others_need_is_told_by_the_look(host, script):
    host.services.add(Service("Plugin", needs=[SERVICE]), running=True)
    assert "the service Gen7AgentCore is needed by Plugin" in change_tracker.looked(script, look_options())["problems"][0]


# --- what goes wrong, and what the host is like then

def locked(host, script):
    host.hold(host.services.new_process("editor"), PATH, ("read",), ("read",))


def changed_between(host, script):
    script.host.script.before[0] = lambda step: host.files.put(PATH, host.files.read(PATH) + b"<!-- -->")


def hangs(host, script):
    hangs_while_it_stops(host, SERVICE)


def disk_is_full(host, script):
    host.files.free["c:"] = 0


def hub_that_is_deaf(host, script):
    """It answers, and takes no heartbeat there, so that the agent sleeps in the end."""
    host.network.hosts[0].services.get("hub").product.deaf_on = NEW


def says_that_it_has_lost_its_hub(host, script):
    host.clock.after(6, lambda: host.agent.say("Hub connection failed (403 Forbidden): token=abc"))


def fails(host, script):
    fails_to_start(host, SERVICE)


HANGS = "the service Gen7AgentCore is in state stop_pending after 60 s"
ENDED = "the service Gen7AgentCore ended as soon as it was started, with exit code 1"
MISSING = re.escape("step 7 (wait) failed: after 20 s the proof is missing (")
TROUBLES = {
    locked: (re.escape(
        "step 5 (write) failed: The process cannot access the file '" + PATH + "' because it is being used by another process"
        + UNDONE), "running"),
    changed_between: (re.escape(
        "step 5 (write) failed: " + PATH + " is another than the one that was read: read the host again, and see who changed it"
        + UNDONE), "running"),
    hangs: (re.escape(not_undone("step 3 (stop)", HANGS)), "stop_pending"),
    fails: (re.escape(not_undone("step 6 (start)", ENDED)), "stopped"),
    disk_is_full: (re.escape(
        "nothing was changed: this host cannot note the change, without which nothing is changed: There is not enough space on "
        "the disk"), "running"),
    hub_that_is_deaf: (
        MISSING + "connections of the service Gen7AgentCore to hub:8443: none; rolling-log.txt takes it back: .*Hub Offline, "
        "connection retries exhausted[)]" + re.escape(SEE_LOG + UNDONE), "running"),
    says_that_it_has_lost_its_hub: (
        MISSING + "rolling-log.txt takes it back: .*Hub connection failed .403 Forbidden.: token=[*]{8}" + re.escape(UNDONE),
        "running")}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_does_not_come_about_leaves_the_host_as_it_was(host, script, trouble):
    (sentence, state), before = TROUBLES[trouble], state_of(host)
    trouble(host, script)
    with pytest.raises(EngineError) as caught:
        move(script)
    assert re.fullmatch(sentence, str(caught.value)), str(caught.value)
    if trouble is changed_between:
        # What another has written stays, and nothing else differs.
        content, *rest = before[PATH.lower()]
        before[PATH.lower()] = (content + b"<!-- -->", *rest)
    assert state_of(host) == before
    assert host.services.get(SERVICE).state == state
    assert host.files.get(RECORD) is None
    if trouble is hangs:
        host.boot()
    # Whatever could not be undone at once the host undoes by itself.
    host.pass_time(200)
    assert state_of(host) == before and host.services.get(SERVICE).state == "running"
    assert not [one for one in host.script.changes.values() if one.state != "undone"] and not host.script.tasks


@pytest.mark.parametrize("is_led_elsewhere", [False, True])
def test_what_the_control_node_does_not_take_for_proved_is_put_back(host, script, is_led_elsewhere):
    """It asks more than the host does, of what the host was like at the end."""
    before, apply = state_of(host), script.apply

    def said_since(wanted, steps, timeout, settles=()):
        answer = apply(wanted, steps, timeout, settles)
        if len(script.applies) == 1:
            host.agent.say("Hub Offline, connection retries exhausted")
            if is_led_elsewhere:
                host.files.put(PATH, host.files.read(PATH).replace(b"https://hub:", b"https://other:"))
            host.pass_time(3)
            answer["found"] = host.script.found(wanted)
        return answer

    script.apply = said_since
    with pytest.raises(EngineError) as caught:
        move(script, change_tracker_proof=proof(timeout=3))
    state, words = ("failed", "Putting the host back did not work out either: .*no longer safe") if is_led_elsewhere else (
        "reverted", "Hub Offline.*Its files and its registry are as they were before")
    assert change_tracker.failed_state(caught.value) == state and re.search(words, str(caught.value))
    assert host.services.get(SERVICE).state == "running" and (state_of(host) == before) is not is_led_elsewhere


def test_a_move_that_was_cut_off_is_ended_at_once_by_the_next_run_and_done(host, script):
    cut_off(host, lambda: move(script))
    assert host.services.get(SERVICE).state == "stopped"
    # What has not ended is waited for where one asks what becomes of it, and told.
    found = change_tracker.changed(Straight(host), back_options(state="present"), Module(False, False))
    assert (found["state"], found["changed"]) == ("changing", False)
    with pytest.raises(EngineError, match="nothing was changed: an earlier change of this host was cut off"):
        change_tracker.changed(Straight(host), change_options(), Module(True, False))
    again = Straight(host)
    found = move(again)
    assert (found["changed"], found["ok"], len(again.resumed), len(again.applies)) == (True, True, 1, 1)
    assert any("this host has undone an earlier change" in note for note in found["notes"])


def test_a_change_that_was_cut_off_is_undone_by_the_host_and_told(host, script):
    before = state_of(host)
    cut_off(host, lambda: move(script), at=6)
    host.pass_time(300)
    assert state_of(host) == before and host.services.get(SERVICE).state == "running"
    found = change_tracker.changed(Straight(host), back_options(state="present", wait=1), Module(False, False))
    assert found["state"] == "reverted" and "undone an earlier change" in found["notes"][0]
    assert "undone an earlier change" in "".join(change_tracker.looked(Straight(host), look_options())["notes"])


def test_a_boot_amid_the_move_undoes_it(host, script):
    before = state_of(host)
    cut_off(host, lambda: move(script), at=7, meanwhile=host.boot)
    host.pass_time(300)
    assert state_of(host) == before and host.services.get(SERVICE).state == "running"


@pytest.mark.parametrize("about, is_settled", [(OF_BIGFIX, False), (RECORD, True), (None, True)])
def test_a_way_back_settles_what_its_own_product_has_left_half_way_and_no_others(host, script, about, is_settled):
    move(script)
    left, asked = new_id(about), []
    script.read = lambda wanted, read=script.read: dict(read(wanted), unfinished=[
        dict(id=left, state="trouble", began=1.0, sentence="it does not start", running=False, timeout=70.0)])
    script.apply = lambda wanted, steps, timeout, settles=(), apply=script.apply: (
        asked.append(list(settles)), apply(wanted, steps, timeout))[1]
    assert back(script)["state"] == "reverted" and asked == [[left] if is_settled else []]
    assert script.about == RECORD and new_id(RECORD)[:12] == new_id(RECORD.upper())[:12] and len(left) == 32
    if is_settled:
        with pytest.raises(EngineError, match="nothing of the record of this host is to be put back, and an earlier change"):
            back(script)
    else:
        # That of another product stands against a move, and not against a way back.
        assert back(script)["changed"] is False
        assert "left half way" in change_tracker.looked(script, look_options())["problems"][0]


def left(script, about, state, running=False):
    """The host tells of a change with this record."""
    one = dict(id=new_id(about), state=state, began=1.0, sentence="it does not start", running=running, timeout=70.0)
    script.read = lambda wanted, read=script.read: dict(read(wanted), unfinished=[one])
    return script


@pytest.mark.parametrize("state, told", [("trouble", "failed"), ("undone", "reverted")])
@pytest.mark.parametrize("about, is_own", [(OF_BIGFIX, False), (RECORD, True), (None, True)])
def test_what_became_of_another_products_change_is_not_what_became_of_this_one(host, script, state, told, about, is_own):
    found = back(left(script, about, state), state="present")
    assert (found["state"], found["reason"]) == ((told, "it does not start") if is_own else ("none", None))
    # What the host is like is told all the same.
    assert "it does not start" in found["notes"][0]


def test_a_way_back_with_nothing_to_put_back_names_what_its_own_product_has_left_half_way(host, script):
    one, other = new_id(RECORD), new_id(OF_BIGFIX)
    script.read = lambda wanted, read=script.read: dict(read(wanted), unfinished=[
        dict(id=change, state="trouble", began=1.0, sentence=change, running=False, timeout=70.0) for change in (one, other)])
    with pytest.raises(EngineError, match="nothing of the record of this host is to be put back.*" + one) as caught:
        back(script)
    assert other not in str(caught.value)


def test_what_another_product_has_left_half_way_is_no_word_against_an_agent_that_has_moved(host, script):
    before = change_tracker.looked(left(Straight(host), OF_BIGFIX, "trouble"), look_options())
    assert before["ok"] is False and "left half way" in before["problems"][0] and before["notes"] == []
    move(script)
    host.pass_time(600)
    look = change_tracker.looked(left(Straight(host), OF_BIGFIX, "trouble"), look_options())
    assert (look["ok"], look["problems"], look["evidence"]["ok"]) == (True, [], True)
    [note] = look["notes"]
    assert "left half way, and a person has to look at it: it does not start" in note
    assessment, evidence = "change_tracker_assessment", "change_tracker_evidence"
    hostvars = WithLooks(HostVars({"win1": {assessment: look}}), assessment, evidence)
    assert not judged(hostvars, ["win1"], evidence, NEW).get("failed")
    # What is under way proves nothing, and the next task waits for its end.
    look = change_tracker.looked(left(Straight(host), OF_BIGFIX, "applying", True), look_options(proof=proof(timeout=0)))
    assert (look["ok"], look["problems"], look["evidence"]["ok"]) == (True, [], False) and "under way" in look["notes"][0]


# --- proxies

PROXY = b"<Proxy>http://user:pw@proxy:3128</Proxy>"


def through_proxy(network, content=PROXY, default=b"false"):
    """An agent with a connection to a proxy, which the stand-in of an agent does not know by itself."""
    host = agent(network)
    data = host.files.read(PATH).replace(b"<Proxy />", content).replace(b"<UseDefaultProxy>false", b"<UseDefaultProxy>" + default)
    host.files.put(PATH, data)
    return host


def test_an_agent_behind_a_proxy_is_told_and_its_hub_is_not_tried(network, server):
    host = through_proxy(network)
    found = change_tracker.looked(Straight(host), look_options())
    assert found["through_proxy"] is True and any("an HTTP proxy stands between" in note for note in found["notes"])
    assert "user:pw" not in json.dumps(found)
    host.network.names["proxy"] = ["192.0.2.99"]
    script = Straight(host)
    with pytest.raises(EngineError):
        move(script)
    kinds = [step["step"] for step in script.applies[0]]
    [wait] = [step for step in script.applies[0] if step["step"] == "wait"]
    assert kinds[0] == "write" and wait["until"][1] == dict(kind="connection", service=SERVICE, host="proxy", port=3128)


@pytest.mark.parametrize("key, name, kind, data", [
    ("HKLM\\SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Environment", "HTTPS_PROXY", "String", "http://proxy:3128"),
    ("HKLM\\SYSTEM\\CurrentControlSet\\Services\\" + SERVICE, "Environment", "MultiString",
     ["A=b", "https_proxy=http://proxy:3128"])])
def test_the_proxy_of_the_variables_is_taken_where_the_file_says_so(network, server, key, name, kind, data):
    host = through_proxy(network, b"<Proxy />", b"true")
    script = Straight(host)
    found = change_tracker.looked(script, look_options())
    assert found["through_proxy"] is False and "UseDefaultProxy" in found["notes"][0]
    host.registry.set(key, name, data, kind)
    found = change_tracker.looked(script, look_options())
    assert (found["through_proxy"], script.reads) == (True, 2) and not any("UseDefaultProxy" in note for note in found["notes"])


# --- options

@pytest.mark.parametrize("more, words", [
    (dict(confirm=False), "ends its change by itself.*say confirm: true"),
    (dict(timeout=2), "timeout is 2; give 5 to 3600 seconds"),
    (dict(timeout=30), "nothing was changed: start, proof and the login that confirms have 30 s together"),
    (dict(record="/var/lib/portshift/change_tracker.json"), "record names /var/.*no path of a Windows host"),
    (dict(hub_urls=[dict(path="/var/nnt/HubDetails.xml", port=NEW)]), "path names /var/.*no path of a Windows host"),
    (dict(hub_urls=[]), "hub_urls has 0 entries"),
    (dict(hub_urls=[dict(path=PATH, port=1)]), "hub_urls leads to port 1, and new_port is %d" % NEW),
    (dict(stop=[["net", "stop", SERVICE]]), "stop is net stop .*leave change_tracker_agent_stop_commands empty"),
    (dict(start=[["x"]]), "leave change_tracker_agent_start_commands empty"),
    (dict(stop=[["sc.exe", "stop", SERVICE], ["sc.exe", "stop", "NNTHelper"]]), "stop is sc.exe stop NNTHelper, but"),
    (dict(start=[["sc.exe", "start", SERVICE, "/x"]]), "start is sc.exe start Gen7AgentCore /x, but"),
    (dict(start=[["sc.exe", "start", "NNTHelper"]], services=[]), "start is sc.exe start NNTHelper, but"),
    (dict(checks=[["x"]]), "checks is not for a Windows host; leave change_tracker_agent_check_commands empty"),
    (dict(executables={SERVICE: ["/x"]}), "leave change_tracker_agent_executables empty"),
    (dict(services_entries=[dict(name="boks", port=1)]), "services_entries is not for a Windows host"),
    (dict(state="confirmed"), "nothing to confirm"),
    (dict(state="reverted", record=None), "give record"),
])
def test_what_a_change_of_a_windows_host_is_not_asked(host, script, more, words):
    before = state_of(host)
    with pytest.raises(EngineError, match=words):
        move(script, **more)
    assert (state_of(host), script.applies) == (before, [])


def test_a_way_back_takes_the_commands_of_the_service_with_which_the_agent_was_moved(host, script):
    assert back(script, start=[["sc.exe", "start", "NNTHelper"]])["state"] == "none"
    move(script, stop=[["sc.exe", "stop", SERVICE.upper()]])
    with pytest.raises(EngineError, match="nothing was changed: start is sc.exe start NNTHelper, but"):
        back(script, start=[["sc.exe", "start", "NNTHelper"]])
    assert len(script.applies) == 1 and back(script, start=[["sc.exe", "start", SERVICE]])["state"] == "reverted"


def test_a_move_without_proof_is_marked_by_the_proof_that_comes_later(host, script):
    found = move(script, change_tracker_proof=None)
    assert found["changed"] and "ok" not in found and record(host)["state"] == "changing"
    host.pass_time(60)
    proved = change_tracker.evidence(Straight(host), evidence_options(mark=True), False)
    assert (proved["ok"], proved["changed"]) == (True, True) and record(host)["state"] == "verified"


def test_a_second_migration_keeps_the_record_of_the_first_and_goes_back_to_it(network):
    further = 9443
    hub(network, OLD, NEW, further)
    host = agent(network)
    move(Straight(host))
    first = state_of(host)
    host.pass_time(30)
    script = Straight(host)
    found = move(script, new_port=further, old_port=NEW, hub_urls=[dict(path=PATH, port=further)])
    assert (found["ok"], found["old_port"], script.reads) == (True, NEW, 1)
    names = [node.name for node in host.files.listing("C:\\ProgramData\\portshift\\change_tracker")]
    assert [name for name in names if name.endswith("-%d-%d.json" % (OLD, NEW))]
    assert back(script, new_port=further)["old_port"] == NEW and state_of(host) == first
