# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of a Windows host: what it takes, what it refuses, and that it finishes what it began."""

import base64
import functools
import hashlib
import json
import threading
import uuid

import pytest

from tests.integration.iis_hub import certificate
from tests.lab import change_tracker_lab
from tests.lab.authority import Authority
from tests.windows import bigfix, change_tracker
from tests.windows.clock import Cancelled
from tests.windows.files import ALL, READ, TRUSTED, USERS, WRITE, FileError
from tests.windows.host import Host
from tests.windows.network import Network, PortError, Range
from tests.windows.payload import Call
from tests.windows.script import FOLDER
from tests.windows.services import DISABLED, Service, ServiceError
from tests.windows.shapes import Misfit

pytestmark = pytest.mark.stand_ins

SCRIPT = "[CmdletBinding(SupportsShouldProcess)]\nparam([string] $Request)\n"
PIN = hashlib.sha256(SCRIPT.encode()).hexdigest()
OLD, NEW = 52311, 55000
SERIAL = "123456789"
MASTHEAD = "{client}\\actionsite.afxm"
PLACES = [dict(name="client", values=[dict(key=bigfix.CLIENT, value="EnterpriseClientFolder")])]
LOGS = "{client}" + bigfix.LOGS


def masthead(port, address="192.0.2.1"):
    return Authority("").issue("plain", address, port, SERIAL)


def b64(data):
    return base64.b64encode(data).decode()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def request(*steps, **given):
    if not steps and "verb" not in given:
        return dict(dict(version=1, verb="read", wanted={}), **given)
    return dict(dict(version=1, verb="apply", wanted=dict(places=PLACES), id=uuid.uuid4().hex, timeout=300.0, steps=list(steps)),
                **given)


def ask(host, asked, check=False, depth=16, script=SCRIPT):
    """As the module win_powershell is called -> its result"""
    return host.module(Call("module", "ansible.windows.win_powershell", dict(
        script=script, parameters=dict(Request=json.dumps(asked)), depth=depth), check))


def answer(host, asked, **given):
    done = ask(host, asked, **given)
    assert not done.get("failed"), done["msg"]
    return done["result"]


class Pair:
    """A root server and a client, both on Windows."""

    def __init__(self, **client):
        self.network = Network()
        self.root = Host("root", ("192.0.2.1",), self.network, pin=PIN)
        self.client = Host("client", ("192.0.2.2",), self.network, pin=PIN)
        self.server, _agent = bigfix.install_server(self.root, masthead(OLD), ["root", "client"])
        self.agent = bigfix.install_client(self.client, masthead(OLD), ("root", OLD), drive="D:", **client)
        self.pass_time(30)

    def pass_time(self, seconds):
        for _second in range(int(seconds)):
            for host in self.network.hosts:
                host.pass_time(1)

    def file(self, name="actionsite.afxm"):
        return "D:\\Program Files (x86)\\BigFix Enterprise\\BES Client\\" + name

    def log(self):
        return b"".join(node.content for node in self.client.files.listing(self.file(bigfix.LOGS[1:]))).decode()

    def told(self, what):
        """Of the client's reports, as its root server counts them."""
        return self.server.figures.agents(["client"])["client"][what]

    def proves(self, port=NEW):
        return dict(step="wait", seconds=120.0, settle=2.0, until=[
            dict(kind="service", service="BESClient", state="running"),
            dict(kind="either", of=[
                dict(kind="log", folder=LOGS, endings=[".log"], patterns=["Report posted successfully"],
                     unless=["GetURL failed"]),
                dict(kind="connection", service="BESClient", host="root", port=port)])])

    def move(self, port=NEW, expected=None, settle=None):
        """The steps of a client's move."""
        before = self.client.files.read(self.file())
        name = bigfix.SETTINGS + "\\__RelayServer1"
        url = bigfix.parent_url("root", port)
        return [
            dict(step="stop", service="BESClient", seconds=60.0),
            dict(step="mark", folders=[LOGS], endings=[".log"]),
            dict(step="write", path=MASTHEAD, expected=expected or sha(before), content=b64(masthead(port))),
            dict(step="registry", key=name, name="value",
                 expected=dict(name="value", type="String", data=bigfix.parent_url("root", OLD)),
                 wanted=dict(name="value", type="String", data=url)),
            dict(step="start", service="BESClient", seconds=60.0), self.proves(port)]

    def bridge(self):
        """The new port answers on the root, too."""
        self.root.set_portproxy(NEW, OLD)

    def state(self):
        """What a move changes."""
        return (self.client.files.read(self.file()), bigfix.setting(self.client, "__RelayServer1"),
                self.client.services.get("BESClient").state)


@pytest.fixture
def pair():
    made = Pair()
    yield made
    for host in made.network.hosts:
        host.close()


# -- products
def test_agent_reports_to_its_server_and_its_log_says_so(pair):
    assert pair.told("accepted") > 3 and pair.told("lost") == 0
    assert "Report posted successfully" in pair.log() and "Trying to connect to relay on port 52311" in pair.log()
    [found] = answer(pair.client, request(wanted=dict(remote_ports=[OLD])))["found"]["connections"]
    assert (found["remote_address"], found["state"], found["name"]) == ("192.0.2.1", "Established", "BESClient")
    ends = answer(pair.root, request(wanted=dict(ports=[OLD])))["found"]
    assert {one["remote_address"] for one in ends["connections"]} == {"192.0.2.1", "192.0.2.2"}
    assert {(one["protocol"], one["name"]) for one in ends["listeners"]} == {("tcp", "BESRootServer"), ("udp", "BESRootServer")}
    # An agent notices that its server is gone, and comes back to it.
    before = pair.told("accepted")
    pair.root.services.stop("BESRootServer")
    pair.pass_time(10)
    assert answer(pair.client, request(wanted=dict(remote_ports=[OLD])))["found"]["connections"] == []
    assert "General transport failure" in pair.log()
    pair.root.services.start("BESRootServer")
    pair.pass_time(20)
    assert pair.told("accepted") > before and pair.told("lost") == 0


def test_agent_with_a_broken_masthead_does_not_run(pair):
    pair.client.services.stop("BESClient")
    pair.pass_time(5)
    data = pair.client.files.read(pair.file())
    pair.client.files.put(pair.file(), data.replace(b"52311", b"55000", 1))
    pair.client.services.start("BESClient")
    pair.pass_time(5)
    service = pair.client.services.get("BESClient")
    assert (service.state, service.exit_code) == ("stopped", 1066) and "masthead with mixed ports" in pair.log()


def test_relay_on_windows_carries_what_comes_from_below():
    network = Network()
    root, relay, client = (Host(name, ("192.0.2.%d" % number,), network)
                           for number, name in enumerate(("root", "relay", "client"), 1))
    server, _agent = bigfix.install_server(root, masthead(OLD), ["root", "relay", "client"])
    bigfix.install_relay(relay, masthead(OLD), ("root", OLD))
    bigfix.install_client(client, masthead(OLD), ("192.0.2.2", OLD))
    for _second in range(30):
        for host in network.hosts:
            host.pass_time(1)
    assert all(one["accepted"] and not one["lost"] for one in server.figures.agents(["root", "relay", "client"]).values())


def test_services_of_a_server_need_the_root(pair):
    pair.root.services.stop("BESRootServer")
    pair.root.services.stop("FillDB")
    pair.pass_time(5)
    pair.root.services.start("FillDB")
    pair.pass_time(5)
    assert pair.root.services.get("FillDB").state == "stopped"


# -- a move
def test_move_is_proved_and_leaves_no_trace_of_its_own(pair):
    pair.bridge()
    done = answer(pair.client, request(*pair.move()))
    assert (done["ok"], done["outcome"], done["unfinished"]) == (True, "applied", []), done["sentence"]
    assert [one["changed"] for one in done["done"]] == [True, False, True, True, True, False]
    assert pair.state() == (masthead(NEW), bigfix.parent_url("root", NEW), "running") and done["seconds"] > 0
    assert any("root" in note or "Report posted" in note for note in done["done"][-1]["notes"])
    pair.pass_time(600)
    assert pair.state()[2] == "running" and pair.told("lost") == 0
    assert pair.told("port") == NEW
    # A second time there is nothing to do.
    assert [one["changed"] for one in answer(pair.client, request(pair.move()[2]))["done"]] == [False]


def test_move_that_does_not_prove_itself_is_undone(pair):
    before = pair.state()
    done = answer(pair.client, request(*pair.move()))
    assert (done["ok"], done["outcome"], done["failed_step"]) == (False, "undone", 5) and pair.state() == before
    assert "after 120 s the proof is missing" in done["sentence"] and done["unfinished"] == []
    assert done["sentence"].endswith("look into the product's log on this host")
    # Each read tells of it, and none writes anything, until another change is applied.
    written = {key: node.changed for key, node in pair.client.files.nodes.items()}
    for _time in range(2):
        assert [one["state"] for one in answer(pair.client, request())["unfinished"]] == ["undone"]
    assert {key: node.changed for key, node in pair.client.files.nodes.items()} == written
    pair.bridge()
    assert answer(pair.client, request(*pair.move()))["unfinished"] == [] == answer(pair.client, request())["unfinished"]


def test_change_that_was_undone_is_told_for_a_day(pair):
    asked = request(*pair.move())
    assert answer(pair.client, asked)["outcome"] == "undone"
    pair.client.clock.skip(86000)
    assert len(answer(pair.client, request())["unfinished"]) == 1
    pair.client.clock.skip(1000)
    assert answer(pair.client, request())["unfinished"] == []


def test_outcome_is_kept_for_a_day_whatever_comes_after(pair):
    pair.bridge()
    asked = request(*pair.move())
    assert answer(pair.client, asked)["outcome"] == "applied"
    path = FOLDER + "\\lock.json"
    write = dict(step="write", path=path, expected=None, content=b64(b"{}"))
    assert answer(pair.client, request(write))["outcome"] == "applied"
    again = answer(pair.client, asked)
    assert (again["outcome"], len(again["done"])) == ("applied", 6)
    pair.client.clock.skip(90000)
    assert answer(pair.client, request(dict(write, expected=sha(b"{}"), content=b64(b"[]"))))["outcome"] == "applied"
    assert pair.client.files.get(FOLDER + "\\changes\\" + asked["id"]) is None


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("trigger", ["time", "boot"])
def test_change_that_is_cut_off_is_undone_by_its_guardian(pair, index, trigger):
    pair.bridge()
    before = pair.state()

    def cut(_step):
        raise Cancelled

    pair.client.script.before[index] = cut
    asked = request(*pair.move())
    with pytest.raises(Cancelled):
        ask(pair.client, asked)
    [told] = answer(pair.client, request())["unfinished"]
    assert (told["state"], told["running"], told["timeout"]) == ("applying", False, 300)
    if trigger == "time":
        # It looks each minute, by no clock that can be set.
        pair.client.clock.set_by(-86400)
        pair.pass_time(90)
    else:
        pair.client.boot()
        pair.pass_time(130)
    assert pair.state() == before
    told = answer(pair.client, request())["unfinished"]
    # One that had touched nothing is none to be told of.
    assert [(one["id"], one["state"], one["running"]) for one in told] == ([(asked["id"], "undone", False)] if index else [])
    assert answer(pair.client, asked)["outcome"] == "undone"


def test_change_whose_first_wait_fails_has_touched_nothing_and_is_told_to_who_asks_by_its_id(pair):
    before = pair.state()
    until = [dict(kind="service", service="BESClient", state="stopped")]
    asked = request(dict(step="wait", seconds=1, settle=0, until=until), *pair.move())
    for _time in range(2):
        done = answer(pair.client, asked)
        assert (done["outcome"], done["failed_step"], pair.state()) == ("undone", 0, before)
        assert "the proof is missing" in done["sentence"] and "log on this host" not in done["sentence"]
    assert answer(pair.client, request())["unfinished"] == []


class Starts:
    """When services of a host were told to stop and to start."""

    def __init__(self, host):
        self.told, services = [], host.services
        for name in ("stop", "start"):
            setattr(services, name, functools.partial(self._tell, name, getattr(services, name)))

    def _tell(self, name, call, service):
        self.told.append((name, service))
        return call(service)


def both_at_one_moment(script, change):
    """The minute is over as the host has booted."""
    for _trigger in ("time", "boot"):
        script.clock.after(1.0, lambda: script._guard(change))


def beside_a_resume(script, change):
    """The task looks, and looks once more, while a run ends the same change."""
    for seconds in (0.5, 1.5):
        script.clock.after(seconds, lambda: script._guard(change))
    assert script.answer(dict(request(), verb="apply", id=change.id, timeout=300.0, steps=[]))["outcome"] == "undone"


@pytest.mark.parametrize("both", [both_at_one_moment, beside_a_resume])
@pytest.mark.parametrize("index", [4, 5])
def test_change_whose_guardian_is_started_twice_is_undone_once(pair, index, both):
    pair.bridge()
    before, script = pair.state(), pair.client.script

    def cut(_step):
        raise Cancelled

    script.before[index] = cut
    with pytest.raises(Cancelled):
        ask(pair.client, request(*pair.move()))
    [change], starts, states = script.changes.values(), Starts(pair.client), []
    keep = script._state
    script._state = lambda *given: (states.append(given[1]), keep(*given))
    both(script, change)
    pair.pass_time(200)
    assert pair.state() == before and states == ["undoing", "undone"]
    # Whichever was first: one stop where it runs, and one start.
    assert starts.told == [("stop", "BESClient")] * (index == 5) + [("start", "BESClient")]
    assert not script.tasks


def test_change_that_is_cut_off_is_undone_by_the_next_one_and_told_to_who_asks_by_its_id(pair):
    pair.bridge()
    before = pair.state()

    def cut(_step):
        raise Cancelled

    pair.client.script.before[4] = cut
    asked, other = request(*pair.move()), request(*pair.move())
    with pytest.raises(Cancelled):
        ask(pair.client, asked)
    pair.client.script.before.clear()
    refused = answer(pair.client, other)
    assert refused["outcome"] == "refused" and "had been cut off and was undone just now" in refused["sentence"]
    assert pair.state() == before
    again = answer(pair.client, asked)
    assert (again["outcome"], again["ok"], len(again["done"])) == ("undone", False, 4)
    done = answer(pair.client, other)
    assert done["outcome"] == "applied" == answer(pair.client, other)["outcome"], "asked again, it tells what became of it"


def test_request_without_steps_ends_the_change_of_its_id_and_does_nothing_else(pair):
    before = pair.state()

    def cut(_step):
        raise Cancelled

    pair.client.script.before[2] = cut
    asked = request(*pair.move())
    with pytest.raises(Cancelled):
        ask(pair.client, asked)
    pair.client.script.before.clear()
    ended, unknown = answer(pair.client, dict(asked, steps=[])), answer(pair.client, dict(request(*pair.move()), steps=[]))
    assert (ended["outcome"], pair.state()) == ("undone", before)
    assert (unknown["outcome"], pair.state()) == ("applied", before)


def test_process_that_is_ended_amid_a_change_leaves_it_to_the_guardian(pair):
    before, ended = pair.state(), threading.Event()
    stands = pair.client.script.hold_at(4)
    call = Call("module", "ansible.windows.win_powershell", dict(
        script=SCRIPT, parameters=dict(Request=json.dumps(request(*pair.move()))), depth=16))
    running = threading.Thread(target=pair.client.run, args=(call, ended))
    running.start()
    assert stands.wait(60)
    ended.set()
    running.join()
    assert pair.state()[2] == "stopped"
    pair.pass_time(301)
    assert pair.state() == before


def test_change_is_refused_while_another_one_is_under_way(pair):
    seen = []
    pair.client.script.before[1] = lambda _step: seen.append(answer(pair.client, request(*pair.move())))
    pair.bridge()
    assert answer(pair.client, request(*pair.move()))["outcome"] == "applied"
    assert seen[0]["outcome"] == "refused" and "is under way" in seen[0]["sentence"]
    assert [(one["state"], one["running"]) for one in seen[0]["unfinished"]] == [("applying", True)]


def test_time_that_is_up_while_a_step_waits_ends_the_change(pair):
    before = pair.state()
    done = answer(pair.client, request(*pair.move(), timeout=60.0))
    assert (done["outcome"], pair.state()) == ("undone", before) and "not done after the 60 s" in done["sentence"]


def test_what_was_changed_meanwhile_stays_and_is_trouble(pair):
    def meddle(_step):
        pair.client.files.put(pair.file(), b"by hand")
        raise Cancelled

    pair.client.script.before[4] = meddle
    with pytest.raises(Cancelled):
        ask(pair.client, request(*pair.move()))
    pair.pass_time(301)
    path, lock = FOLDER + "\\lock.json", b"{}"
    write = dict(step="write", path=path, expected=None, content=b64(lock))
    assert answer(pair.client, request(write))["outcome"] == "applied"
    # Told until a change settles it, whatever else is applied, such as a lock that is taken.
    for _time in range(2):
        [told] = answer(pair.client, request())["unfinished"]
        assert told["state"] == "trouble" and "was changed by something else since" in told["sentence"]
    assert pair.client.files.read(pair.file()) == b"by hand"
    remove = dict(step="remove", path=path, expected=sha(lock))
    done = answer(pair.client, request(remove, settles=[told["id"]]))
    assert (done["outcome"], done["unfinished"]) == ("applied", []) and answer(pair.client, request())["unfinished"] == []


def test_service_is_not_stopped_where_the_task_is_gone_by_then(pair):
    before, life = pair.state(), pair.client.services.get("BESClient").life
    pair.client.script.before[0] = lambda _step: pair.client.script.tasks.clear()
    done = answer(pair.client, request(*pair.move()))
    assert done["outcome"] == "undone" and "scheduled task" in done["sentence"]
    assert pair.state() == before and pair.client.services.get("BESClient").life == life


def test_change_without_its_task_is_ended_by_who_asks_by_its_id(pair):
    def cut(_step):
        pair.client.script.tasks.clear()
        raise Cancelled

    before, asked = pair.state(), request(*pair.move())
    pair.client.script.before[4] = cut
    with pytest.raises(Cancelled):
        ask(pair.client, asked)
    pair.pass_time(2000)
    [told] = answer(pair.client, request())["unfinished"]
    assert (told["state"], told["running"]) == ("applying", False)
    assert answer(pair.client, dict(asked, steps=asked["steps"][:1]))["outcome"] == "undone" and pair.state() == before


def test_trouble_ends_with_the_folder_that_a_person_removes(pair):
    def meddle(_step):
        pair.client.files.put(pair.file(), b"by hand")
        raise Cancelled

    pair.client.script.before[4] = meddle
    asked = request(*pair.move())
    with pytest.raises(Cancelled):
        ask(pair.client, asked)
    pair.pass_time(301)
    assert answer(pair.client, request())["unfinished"]
    pair.client.files.remove_tree(FOLDER + "\\changes\\" + asked["id"])
    assert answer(pair.client, request())["unfinished"] == []


@pytest.mark.parametrize("folder", ["", "\\changes", "\\changes\\" + "a" * 32])
def test_folder_that_a_user_made_is_neither_believed_nor_written_to(pair, folder):
    def cut(_step):
        raise Cancelled

    pair.client.script.before[4] = cut
    asked = request(*pair.move(), id="a" * 32)
    with pytest.raises(Cancelled):
        ask(pair.client, asked)
    pair.client.files.find(FOLDER + folder).owner = "guest"
    written = {key: node.changed for key, node in pair.client.files.nodes.items()}
    found = answer(pair.client, request())
    assert found["ok"] and found["unfinished"] == [] and "owner guest" in found["sentence"]
    assert {key: node.changed for key, node in pair.client.files.nodes.items()} == written
    refused = answer(pair.client, request(*pair.move()))
    assert refused["outcome"] == "refused" and "owner guest" in refused["sentence"]


def test_file_is_trusted_where_no_user_can_have_written_it(pair):
    files, path = pair.client.files, FOLDER + "\\bigfix\\record.json"

    def trusted(asked=path):
        wanted = dict(places=PLACES, files=[dict(path=asked, limit=99999)])
        return answer(pair.client, request(wanted=wanted))["found"]["files"][0]["trusted"]

    assert not trusted() and not trusted(MASTHEAD)
    assert answer(pair.client, request(dict(step="write", path=path, expected=None, content=b64(b"{}"))))["outcome"] == "applied"
    assert trusted()
    for spoilt in (path, FOLDER + "\\bigfix", FOLDER):
        node = files.get(spoilt)
        for attribute, value in (("owner", "guest"), ("writers", node.writers | {USERS})):
            kept = getattr(node, attribute)
            setattr(node, attribute, value)
            assert not trusted(), (spoilt, attribute)
            setattr(node, attribute, kept)
    assert trusted()


def test_folder_of_an_administrator_is_closed_and_one_with_a_users_file_is_refused(pair):
    files, write = pair.client.files, dict(step="write", path=FOLDER + "\\x.json", expected=None, content=b64(b"{}"))
    files.folder(FOLDER, writers=TRUSTED | {USERS})
    files.put(FOLDER + "\\planted", b"x", owner="guest")
    refused = answer(pair.client, request(write))
    assert refused["outcome"] == "refused" and "planted was made by another" in refused["sentence"]
    assert not files.get(FOLDER).protected
    files.remove(FOLDER + "\\planted")
    assert answer(pair.client, request(write))["outcome"] == "applied"
    assert files.get(FOLDER).protected and files.get(FOLDER).writers == TRUSTED


@pytest.mark.parametrize("spoil, words", [
    (lambda host, path: host.files.put(path, b"{"), "Expecting"),
    (lambda host, path: host.files.put(path, b"{}"), "state"),
    (lambda host, path: host.hold(host.services.new_process("scanner"), path, (READ,), ()), "being used by another process"),
])
def test_state_that_can_not_be_read_is_named_and_hides_no_other_change(pair, spoil, words):
    asked, spoilt = request(*pair.move()), request(*pair.move())
    for one in (asked, spoilt):
        # Neither proves itself.
        assert answer(pair.client, one)["outcome"] == "undone"
        pair.pass_time(60)
    folder = "%s\\changes\\%s" % (FOLDER, spoilt["id"])
    spoil(pair.client, folder + "\\state.json")
    done = answer(pair.client, request())
    assert done["ok"] and [one["id"] for one in done["unfinished"]] == [asked["id"]]
    assert words in done["sentence"] and done["sentence"].endswith("delete the folder " + folder)
    pair.bridge()
    done = answer(pair.client, request(*pair.move()))
    assert (done["outcome"], done["done"]) == ("refused", []) and "delete the folder " + folder in done["sentence"]
    pair.client.files.remove_tree(folder)
    assert answer(pair.client, request(*pair.move()))["outcome"] == "applied"


def test_old_change_that_can_not_be_removed_keeps_no_other_waiting(pair):
    asked = request(*pair.move())
    assert answer(pair.client, asked)["outcome"] == "undone"
    path = "%s\\changes\\%s\\state.json" % (FOLDER, asked["id"])
    handle = pair.client.hold(pair.client.services.new_process("scanner"), path, (READ,), (READ,))
    pair.client.clock.set_by(86400 * 2)
    pair.bridge()
    assert answer(pair.client, request(*pair.move()))["outcome"] == "applied" and pair.client.files.get(path)
    handle.close()
    pair.client.clock.set_by(86400 * 2)
    steps = [dict(step="start", service="BESClient", seconds=60.0)]
    assert answer(pair.client, request(*steps))["outcome"] == "applied" and pair.client.files.get(path) is None


def test_addresses_of_a_host_are_those_of_its_cards(pair):
    assert answer(pair.client, request())["found"]["addresses"] == ["192.0.2.2"]


def test_service_that_hangs_while_it_stops_is_tried_again_until_it_runs(pair):
    service = pair.client.services.get("BESClient")
    service.hangs = "stop"
    asked = request(*pair.move())
    done = answer(pair.client, asked)
    assert done["outcome"] == "trouble" and "stop_pending after 60 s" in done["sentence"]
    assert "tries again each minute" in done["sentence"] and pair.client.files.read(pair.file()) == masthead(OLD)
    for _time in range(2):
        [told] = answer(pair.client, request())["unfinished"]
        assert (told["state"], told["running"]) == ("undoing", False)
    refused = answer(pair.client, request(*pair.move()))
    assert refused["outcome"] == "refused" and "is not undone yet" in refused["sentence"]
    # Its process is ended by hand, and the host starts it by itself.
    service.hangs = None
    pair.client.services.crash("BESClient")
    pair.pass_time(120)
    assert pair.state()[2] == "running"
    life = service.life
    [told] = answer(pair.client, request())["unfinished"]
    assert told["state"] == "undone" and "tries again" not in told["sentence"]
    pair.pass_time(200)
    assert service.life == life, "what is as it was is left alone"
    assert answer(pair.client, asked)["outcome"] == "undone"


def test_full_disk_does_not_keep_a_service_down(pair):
    before = pair.state()

    def fill(_step):
        pair.client.files.free.update({"C:": 0, "D:": 0})

    pair.client.script.before[2] = fill
    done = answer(pair.client, request(*pair.move()))
    assert done["outcome"] == "undone" and "not enough space" in done["sentence"] and pair.state() == before


def test_service_is_started_though_a_file_cannot_be_put_back_yet(pair):
    pair.bridge()
    before, held = pair.state(), []

    def hold(_step):
        held.append(pair.client.hold(pair.client.services.processes[4], pair.file(), (READ,), (READ, WRITE)))

    pair.client.script.before[4] = lambda step: (hold(step), pair.client.services.get("BESClient").__setattr__("fails", 5))
    done = answer(pair.client, request(*pair.move()))
    assert done["outcome"] == "trouble" and "used by another process" in done["sentence"]
    pair.client.services.get("BESClient").fails = None
    held[0].close()
    pair.pass_time(90)
    assert pair.state() == before and answer(pair.client, request())["unfinished"][0]["state"] == "undone"


def held_file(pair):
    """A move whose file another process holds when it is to be put back -> (its request, what holds the file)"""
    held = []
    pair.client.script.before[4] = lambda step: (
        held.append(pair.client.hold(pair.client.services.processes[4], pair.file(), (READ,), (READ, WRITE))),
        setattr(pair.client.services.get("BESClient"), "fails", 5))
    asked = request(*pair.move())
    done = answer(pair.client, asked)
    assert done["outcome"] == "trouble" and "this host tries again when 30 s have passed" in done["sentence"]
    pair.client.services.get("BESClient").fails = None
    pair.client.script.before.clear()
    return asked, held[0]


def test_service_runs_while_a_file_that_stays_locked_is_waited_for(pair):
    """It is stopped again and again, but after pauses that grow."""
    before = pair.state()
    _asked, held = held_file(pair)
    service, lives, runs = pair.client.services.get("BESClient"), [], 0
    for _minute in range(60):
        pair.pass_time(60)
        lives.append(service.life)
        runs += service.state == "running"
    assert runs == 60 and 4 <= lives[-1] - lives[0] <= 8 and lives[-1] - lives[30] <= 2, lives
    assert "tries again when 1890 s" in answer(pair.client, request())["unfinished"][0]["sentence"]
    # After a boot it is tried at once, and so it is when it is asked for.
    held.close()
    pair.client.boot()
    pair.pass_time(90)
    assert pair.state() == before and answer(pair.client, request())["unfinished"][0]["state"] == "undone"


def test_file_that_stayed_locked_is_put_back_at_once_by_who_asks(pair):
    before = pair.state()
    asked, held = held_file(pair)
    pair.pass_time(600)
    refused = answer(pair.client, request(*pair.move(expected=sha(before[0]))))
    assert refused["outcome"] == "refused" and "is not undone yet" in refused["sentence"]
    assert "delete %s\\changes\\%s" % (FOLDER, asked["id"]) in refused["sentence"]
    held.close()
    assert answer(pair.client, asked)["outcome"] == "undone" and pair.state() == before


def test_service_whose_process_lingers_is_not_stopped_before_it_is_gone(pair):
    pair.client.services.get("BESClient").lingers = 10.0
    pair.bridge()
    done = answer(pair.client, request(*pair.move()))
    assert done["outcome"] == "applied" and done["done"][0]["seconds"] > 10


def test_service_that_others_need_is_not_stopped(pair):
    pair.client.services.add(Service("Plugin", needs=["BESClient"]), running=True)
    done = answer(pair.client, request(*pair.move()))
    assert done["outcome"] == "refused" and "Plugin" in done["sentence"] and pair.state()[2] == "running"
    # One that starts in between: neither is touched.
    plugin, service = pair.client.services.get("Plugin"), pair.client.services.get("BESClient")
    life = service.life
    both = [dict(step="stop", service="Plugin", seconds=60.0), *pair.move()]
    pair.client.script.before[1] = lambda _step: (pair.client.services.start("Plugin"), pair.pass_time(3))
    done = answer(pair.client, request(*both))
    assert done["outcome"] == "undone" and "is needed by Plugin" in done["sentence"] and service.life == life
    assert plugin.state == "running"
    pair.client.script.before.clear()
    pair.bridge()
    assert answer(pair.client, request(*both, dict(step="start", service="Plugin", seconds=60.0)))["outcome"] == "applied"


def test_key_that_was_there_and_empty_is_there_after_an_undo(pair):
    key = "HKLM\\SOFTWARE\\Empty"
    pair.client.registry.make(key)
    value = dict(name="x", type="String", data="1")
    steps = [dict(step="registry", key=one, name="x", expected=None, wanted=value) for one in (key, key + "\\New")]
    done = answer(pair.client, request(*steps, dict(step="wait", seconds=5.0, settle=0.0, until=[
        dict(kind="service", service="BESClient", state="stopped")])))
    assert done["outcome"] == "undone" and pair.client.registry.exists(key)
    assert not pair.client.registry.exists(key + "\\New")


@pytest.mark.parametrize("trouble, words, outcome", [
    (lambda host, path: host.files.free.update({"D:": 0}), "not enough space on the disk", "undone"),
    (lambda host, path: host.hold(host.services.processes[4], path, (READ,), (READ, WRITE)), "used by another process", "undone"),
    # With these the agent does not start again, whatever is put back.
    (lambda host, path: host.files.put(path, b"other"), "is another than the one that was read", "trouble"),
    (lambda host, path: (host.files.remove(path), host.files.link(path, "C:\\Windows")), "is a link or a mounted volume",
     "trouble"),
    (lambda host, path: host.registry.set(bigfix.SETTINGS + "\\__RelayServer1", "value", 1, "DWord"),
     "is another than the one that was read", "trouble"),
    (lambda host, path: setattr(host.services.get("BESClient"), "start_mode", DISABLED), "it is disabled", "trouble"),
])
def test_guard_that_does_not_hold_undoes_what_was_done(pair, trouble, words, outcome):
    pair.bridge()
    steps, before = pair.move(), pair.state()
    pair.client.script.before[2] = lambda _step: trouble(pair.client, pair.file())
    done = answer(pair.client, request(*steps))
    assert done["outcome"] == outcome and words in done["sentence"], done["sentence"]
    assert outcome == "trouble" or pair.state() == before


@pytest.mark.parametrize("spoil, words", [
    (lambda host, path: host.files.put(path, b"other"), "step 2 (write): %s is another than the one that was read"),
    (lambda host, path: host.files.remove(path), "step 2 (write): %s is not there any more"),
    (lambda host, path: host.registry.set(bigfix.SETTINGS + "\\__RelayServer1", "value", "x"), "step 3 (registry): the value"),
    (lambda host, path: host.services.known.pop("besclient"), "this host has no service BESClient"),
    (lambda host, path: host.registry.delete(bigfix.CLIENT, "EnterpriseClientFolder"), "does not name the folder of {client}"),
])
@pytest.mark.parametrize("check", [True, False])
def test_guard_that_does_not_hold_from_the_first_refuses_the_change(pair, spoil, words, check):
    steps = pair.move()
    spoil(pair.client, pair.file())
    service = pair.client.services.get("BESClient")
    done = answer(pair.client, request(*steps), check=check)
    assert (done["outcome"], done["done"]) == ("refused", []), done
    assert (words % pair.file() if "%s" in words else words) in done["sentence"]
    assert service is None or service.state == "running"


@pytest.mark.parametrize("spoil, words", [
    (lambda host: setattr(host, "administrator", False), "is no administrator"),
    (lambda host: setattr(host, "language_mode", "ConstrainedLanguage"), "ConstrainedLanguage"),
    (lambda host: host.files.link(FOLDER, "C:\\Users\\guest"), "is a link"),
    (lambda host: host.files.folder(FOLDER, owner="guest", protected=True), "owner guest"),
    (lambda host: host.files.folder(FOLDER, owner="guest", writers=TRUSTED | {"guest"}), "access of others: guest"),
    (lambda host: host.files.link(FOLDER + "\\changes", "C:\\Users\\guest"), "changes was made by another"),
    (lambda host: host.files.put(FOLDER, b""), "is no folder"),
    (lambda host: host.files.free.update({"C:": 10}), "not enough space"),
])
def test_host_that_is_not_safe_to_change_is_left_alone(pair, spoil, words):
    before = pair.state()
    spoil(pair.client)
    done = answer(pair.client, request(*pair.move()))
    assert (done["outcome"], done["done"]) == ("refused", []) and words in done["sentence"]
    assert pair.state() == before


def test_record_is_written_before_the_first_change_and_goes_with_the_last(pair):
    seen = []
    pair.client.script.before[1] = lambda _step: seen.append([node.path for node in pair.client.files.below(FOLDER)])
    pair.bridge()
    asked = request(*pair.move())
    assert answer(pair.client, asked)["ok"]
    assert [path.rpartition("\\")[2] for path in seen[0]] == ["changes", asked["id"], "host.ps1", "state.json"]
    assert pair.client.files.get(FOLDER).protected
    # Its outcome stays until the next one.
    assert [node.name for node in pair.client.files.below(FOLDER)] == ["changes", asked["id"], "state.json"]


def test_log_that_is_renamed_while_it_is_waited_for_is_read_from_where_it_was(pair):
    bigfix.set_setting(pair.client, "_BESClient_Log_MaxSize", str(len(pair.log()) + 100))
    wait = dict(step="wait", seconds=20.0, settle=1.0, until=[
        dict(kind="log", folder=LOGS, endings=[".log", ".bkg"], patterns=["RegisterOnce"], unless=[])])
    mark = dict(step="mark", folders=[LOGS], endings=[".log", ".bkg"])
    # It registers no more, and what it said before is no news.
    done = answer(pair.client, request(mark, wait))
    assert done["outcome"] == "undone" and len(pair.client.files.listing(pair.file(bigfix.LOGS[1:]))) == 2
    wait["until"][0]["patterns"] = ["Report posted"]
    assert answer(pair.client, request(mark, wait))["outcome"] == "applied"


@pytest.fixture
def backup(pair):
    """A backup program, which has the agent's older log for itself."""
    path = pair.file(bigfix.LOGS[1:]) + "\\20260101.bkg"
    pair.client.files.put(path, b"At 01:00:00 +0000 -\r\n   GetURL failed\r\n")
    return path, pair.client.hold(pair.client.services.new_process("backup"), path, (READ,), ())


def test_log_that_another_process_has_for_itself_is_no_hindrance_to_a_move(pair, backup):
    pair.bridge()
    steps = pair.move()
    steps[1]["endings"] = steps[-1]["until"][1]["of"][0]["endings"] = [".log", ".bkg"]
    done = answer(pair.client, request(*steps))
    assert done["outcome"] == "applied", done["sentence"]


def test_log_that_grows_while_another_process_has_it_is_no_proof(pair, backup):
    """What it says by now may take back what was seen."""
    pair.bridge()
    path, _handle = backup
    steps = pair.move()
    wait = dict(steps[-1], seconds=10.0, until=[dict(
        kind="log", folder=LOGS, endings=[".bkg"], patterns=["never"], unless=["GetURL failed"], silence=True)])
    steps[1]["endings"] = [".bkg"]
    pair.client.script.before[5] = lambda _step: pair.client.files.append(path, b"   GetURL failed\r\n")
    done = answer(pair.client, request(*steps[:-1], wait))
    assert done["outcome"] == "undone", done
    assert "20260101.bkg cannot be read, and 18 bytes were added to it: see which process holds it" in done["sentence"]


def test_log_that_can_not_be_read_leaves_the_others_to_be_read(pair, backup):
    folder = dict(path=LOGS, endings=[".log", ".bkg"], newest=9, bytes=1000)
    [found] = answer(pair.client, request(wanted=dict(places=PLACES, folders=[folder])))["found"]["folders"]
    assert found["problem"] is None and len(found["files"]) == 2
    told = {one["name"]: (one["problem"], one["content"], one["offset"]) for one in found["files"]}
    problem, content, offset = told.pop("20260101.bkg")
    assert "being used by another process" in problem and (content, offset) == ("", len(pair.client.files.read(backup[0])))
    [(problem, content, _offset)] = told.values()
    assert problem is None and content


def test_log_is_read_from_its_end_and_what_was_not_read_is_said(pair, monkeypatch):
    monkeypatch.setattr("tests.windows.script.LOG_TAIL", 200)
    name = pair.client.files.listing(pair.file(bigfix.LOGS[1:]))[0].path
    wait = dict(step="wait", seconds=1.0, settle=0.0, until=[
        dict(kind="log", folder=LOGS, endings=[".log"], patterns=["early", "late"], unless=["both"])])
    mark = dict(step="mark", folders=[LOGS], endings=[".log"])

    def says(text):
        pair.client.script.before[1] = lambda _step: pair.client.files.append(name, text)
        return answer(pair.client, request(mark, wait))

    done = says(b"early\r\n" + b"x" * 300 + b"\r\n")
    assert done["outcome"] == "undone" and "the last 200 bytes alone were read, and " in done["sentence"]
    assert says(b"early\r\n" + b"x" * 300 + b"\r\nlate\r\n")["outcome"] == "applied"
    # A line that reads as both takes the word back.
    done = says(b"late, both\r\n")
    assert done["outcome"] == "undone" and "takes it back: late, both" in done["sentence"] and "alone" not in done["sentence"]


# -- ports
def test_portproxy_forwards_while_ip_helper_runs(pair):
    there = dict(step="portproxy", listen_port=NEW, connect_port=OLD, present=True)
    assert [one["changed"] for one in answer(pair.root, request(there, there, wanted={}))["done"]] == [True, False]
    probe = dict(name="new", host="root", port=NEW, kind="http", path="/masthead/masthead.afxm", timeout=2.0)

    def status():
        [found] = answer(pair.client, request(wanted=dict(probes=[probe])))["found"]["probes"]
        return found["status"] or found["problem"]

    assert status() == 200
    found = answer(pair.root, request(wanted=dict(netsh=True, ports=[NEW])))["found"]
    assert found["netsh"]["portproxy"][0]["connect_port"] == OLD and found["listeners"][0]["name"] == "svchost"
    pair.root.services.stop("iphlpsvc")
    pair.pass_time(2)
    assert status() == "refused"
    done = answer(pair.root, request(dict(there, listen_port=NEW + 1), wanted={}))
    assert done["outcome"] == "undone" and "IP Helper" in done["sentence"]
    pair.root.services.start("iphlpsvc")
    pair.pass_time(2)
    assert answer(pair.root, request(dict(there, present=False), wanted={}))["done"][0]["changed"] and status() == "refused"


def test_port_that_is_forwarded_no_more_is_waited_for(pair):
    there = dict(step="portproxy", listen_port=NEW, connect_port=OLD, present=True)
    assert answer(pair.root, request(there, wanted={}))["outcome"] == "applied"
    helper = pair.root.services.get("iphlpsvc").product
    helper.lets_go = 4.0
    # Who starts next has the port.
    steps = [dict(there, present=False), dict(there, connect_port=OLD + 1)]
    done = answer(pair.root, request(*steps, wanted={}))
    assert done["outcome"] == "applied" and done["done"][0]["seconds"] >= 4, done["sentence"]
    helper.lets_go = 60.0
    done = answer(pair.root, request(dict(there, connect_port=OLD + 1, present=False), wanted={}))
    assert done["outcome"] == "undone" and "was told to listen on port %d: False" % NEW in done["sentence"]
    assert pair.root.portproxies == {NEW: OLD + 1} and pair.root.listener("tcp", NEW)


def test_port_that_is_held_is_neither_forwarded_nor_excluded(pair):
    held = dict(step="exclude", kinds=["ipv4/tcp", "ipv4/udp", "ipv6/tcp", "ipv6/udp"], port=OLD, present=True, must=False)
    done = answer(pair.root, request(held, wanted=dict(netsh=True)))
    assert not done["done"][0]["changed"] and len(done["done"][0]["notes"]) == 4 and done["found"]["netsh"]["excluded"] == []
    for step, words in ((dict(held, must=True), "is in use"),
                        (dict(step="portproxy", listen_port=OLD, connect_port=NEW, present=True), "cannot be forwarded, since")):
        done = answer(pair.root, request(step, wanted={}))
        assert done["outcome"] == "undone" and words in done["sentence"] and pair.root.portproxies == {}
    free = dict(held, port=NEW, must=True)
    done = answer(pair.root, request(free, free, dict(free, present=False), free, wanted=dict(netsh=True)))
    assert [one["changed"] for one in done["done"]] == [True, False, True, True] and len(done["found"]["netsh"]["excluded"]) == 4
    # What netsh keeps is kept for one who asks for it; what a hypervisor keeps is kept from all.
    process = pair.root.services.new_process("x")
    pair.root.listen(process, NEW)
    pair.root.excluded = [Range("ipv4", protocol, first, last, administered=False) for protocol, first, last in (
        ("tcp", 6000, 6100), ("udp", 6050, 6050))]
    with pytest.raises(PortError, match="forbidden by its access permissions"):
        pair.root.listen(process, 6050)
    kept = dict(held, port=6050)
    for step, words in (
            (dict(kept, must=True), "ipv4/tcp/6050 cannot be excluded, since it lies in the range 6000-6100"),
            (dict(step="portproxy", listen_port=6050, connect_port=OLD, present=True),
             "held by no process; it lies in the range 6000-6100")):
        done = answer(pair.root, request(step, wanted={}))
        assert done["outcome"] == "undone" and words in done["sentence"] and pair.root.portproxies == {}, done["sentence"]
    done = answer(pair.root, request(kept, dict(kept, present=False), wanted=dict(netsh=True)))
    assert [len(one["notes"]) for one in done["done"]] == [2, 2] and "not excluded, since" in done["done"][0]["notes"][0]
    assert [(one["first"], one["administered"]) for one in done["found"]["netsh"]["excluded"]] == [(6000, False), (6050, False)]


def test_firewall_lets_in_what_a_rule_names(pair):
    pair.root.firewall.set_rules([])
    probe = dict(name="old", host="root", port=OLD, kind="tcp", timeout=2.0)
    [found] = answer(pair.client, request(wanted=dict(probes=[probe])))["found"]["probes"]
    assert (found["ok"], found["problem"]) == (False, "timed out") and found["seconds"] >= 2
    pair.root.module(Call("module", "community.windows.win_firewall_rule", dict(name="x", protocol="tcp", localport=str(OLD))))
    assert answer(pair.client, request(wanted=dict(probes=[probe])))["found"]["probes"][0]["ok"]


# -- Change Tracker
class Tracker:
    """A hub and an agent, both on Windows."""

    def __init__(self, folder):
        self.network = Network()
        self.hub = Host("hub", ("192.0.2.1",), self.network, pin=PIN)
        self.agent = Host("agent", ("192.0.2.2",), self.network, pin=PIN)
        self.iis = change_tracker.install_hub(self.hub, folder / "iis", 443, certificate())
        self.thumbprint = self.hub.iis.ssl_table()["0.0.0.0:443"]["hash"]
        self.product = change_tracker.install_agent(
            self.agent, change_tracker_lab.hub_details(change_tracker_lab.WINDOWS, 443, "secret", self.thumbprint))
        self.pass_time(10)

    pass_time = Pair.pass_time

    path = change_tracker.PLACES["Gen7AgentCore"] + "\\HubDetails.xml"

    @property
    def log(self):
        return self.agent.files.read(change_tracker.PLACES["Gen7AgentCore"] + "\\rolling-log.txt").decode()

    def website(self, **bindings):
        done = self.hub.module(Call("module", "microsoft.iis.website", dict(name=change_tracker.SITE, bindings=bindings)))
        assert not done.get("failed"), done["msg"]

    def identity(self, port):
        return dict(ip="*", port=port, hostname="")

    def ports(self):
        return [port for _number, port in self.iis.arrivals["agent"]]


@pytest.fixture
def tracker(tmp_path):
    made = Tracker(tmp_path)
    yield made
    for host in made.network.hosts:
        host.close()


def test_agent_of_change_tracker_moves_to_a_second_binding_and_the_first_one_ends(tracker):
    assert tracker.product.taken and not tracker.product.failed and set(tracker.ports()) == {443}
    data = tracker.agent.files.read(tracker.path)
    assert b"<Password />" in data and b"<E1>" in data and b"secret" not in data
    tracker.website(add=[dict(tracker.identity(8443), protocol="https", certificate_hash=tracker.thumbprint,
                              certificate_store_name="MY")])
    at = data.index(b"https://hub/api/") + len(b"https://hub")
    moved = data[:at] + b":8443" + data[at:]
    done = answer(tracker.agent, request(
        dict(step="stop", service="Gen7AgentCore", seconds=60.0),
        dict(step="write", path=tracker.path, expected=sha(data), splices=[dict(at=at, length=0, bytes=b64(b":8443"))],
             result=sha(moved)),
        dict(step="start", service="Gen7AgentCore", seconds=60.0),
        dict(step="wait", seconds=60.0, settle=2.0, until=[
            dict(kind="connection", service="Gen7AgentCore", host="hub", port=8443)])))
    assert done["outcome"] == "applied", done["sentence"]
    tracker.pass_time(5)
    assert tracker.ports()[-1] == 8443 and not tracker.product.failed and tracker.agent.files.read(tracker.path) == moved
    tracker.website(remove=[tracker.identity(443)])
    tracker.pass_time(5)
    assert set(tracker.iis.listeners) == {8443} and not tracker.product.failed
    # What is one's own no longer is another's: the agent comes to the end of its patience.
    tracker.website(add=[dict(tracker.identity(443), protocol="https", certificate_hash=tracker.thumbprint,
                              certificate_store_name="MY")], remove=[tracker.identity(8443)])
    tracker.pass_time(30)
    assert tracker.product.sleeps and "Hub Offline, connection retries exhausted" in tracker.log


def test_agent_believes_no_other_certificate_and_its_sealed_password_on_no_other_machine(tracker):
    other = tracker.hub.iis.put_certificate(certificate("other"))
    tracker.website(add=[dict(tracker.identity(443), protocol="https", certificate_hash=other, certificate_store_name="MY")])
    tracker.agent.services.stop("Gen7AgentCore")
    tracker.pass_time(3)
    tracker.agent.services.start("Gen7AgentCore")
    tracker.pass_time(3)
    assert "Certificate thumbprint does not match trusted" in tracker.log
    moved = change_tracker.install_agent(Host("agent2", ("192.0.2.3",), tracker.network), tracker.agent.files.read(tracker.path))
    assert moved.sleeps


def test_site_of_the_models_iis_stops_where_a_port_is_taken(tracker):
    tracker.hub.listen(tracker.hub.services.new_process("squatter"), 8443)
    tracker.website(add=[dict(tracker.identity(8443), protocol="https", certificate_hash=tracker.thumbprint,
                              certificate_store_name="MY")])
    found = tracker.hub.module(Call("module", "microsoft.iis.website_info", {}))
    assert found["site"][0]["state"] == "Stopped" and tracker.iis.listeners == {}
    done = tracker.hub.module(Call("module", "microsoft.iis.website", dict(name=change_tracker.SITE)))
    assert done["failed"] and "it is being used by another process" in done["msg"]


# -- reading
def test_look_brings_what_was_asked_for_and_no_more(pair):
    host = pair.client
    host.files.put("C:\\big", b"x" * 100)
    host.files.link("C:\\link", "D:\\")
    asked = dict(
        places=PLACES + [dict(name="none", values=[])], names=["root", "nowhere"], services=["besclient", "nothing"],
        files=[dict(path=path, limit=99) for path in ("C:\\big", "C:\\none", "C:\\link\\x", "{none}\\x", MASTHEAD)],
        folders=[dict(path=LOGS, endings=[".LOG"], newest=1, bytes=10)],
        registry=[dict(key=bigfix.CLIENT, depth=3, limit=100), dict(key=bigfix.CLIENT, depth=0, limit=1),
                  dict(key=bigfix.KEY + "\\Nothing", depth=0, limit=9)])
    found = answer(host, request(wanted=asked))["found"]
    big, none, link, unknown, _masthead = found["files"]
    assert (big["size"], big["content"]) == (100, None) and "more than the 99" in big["problem"]
    assert (none["exists"], none["problem"]) == (False, None) and link["reparse"] and "does not name" in unknown["problem"]
    assert found["places"] == dict(client=pair.file("")[:-1], none=None)
    [log] = found["folders"][0]["files"]
    assert log["offset"] == log["size"] - 10 and base64.b64decode(log["content"]).decode() == pair.log()[-10:]
    tree, narrow, nothing = found["registry"]
    assert "__RelayServer1" in tree["keys"][-1]["key"] + tree["keys"][-2]["key"] and "more than 1" in narrow["problem"]
    assert not nothing["exists"]
    assert [one["exists"] for one in found["services"]] == [True, False] and found["services"][0]["start_mode"] == "delayed"
    assert [one["addresses"] for one in found["names"]] == [["192.0.2.1"], []]
    host.language_mode = "ConstrainedLanguage"
    poor = answer(host, request(wanted=asked))["found"]
    assert (poor["language_mode"], poor["files"], poor["services"]) == ("ConstrainedLanguage", [], [])


def test_log_that_an_agent_holds_is_read_by_the_script_and_not_by_slurp(pair):
    [log] = pair.client.files.listing(pair.file(bigfix.LOGS[1:]))
    done = pair.client.module(Call("module", "ansible.windows.slurp", dict(src=log.path)))
    assert done["failed"] and "used by another process" in done["msg"]
    found = answer(pair.client, request(wanted=dict(files=[dict(path=log.path, limit=1 << 20)])))["found"]["files"][0]
    assert base64.b64decode(found["content"]).decode() == pair.log()


def test_answer_that_is_nested_deeper_than_asked_for_is_lost(pair):
    found = ask(pair.client, request(wanted=dict(services=["BESClient"])), depth=2)["result"]["found"]
    assert found["services"] == "System.Collections.Hashtable" or isinstance(found["services"], list)
    assert found["services"] != answer(pair.client, request(wanted=dict(services=["BESClient"])))["found"]["services"]


# -- what is refused
@pytest.mark.parametrize("spoil, words", [
    (lambda asked: asked.update(verb="write"), "request.verb is 'write'"),
    (lambda asked: asked.update(version=2), "request.version is 2"),
    (lambda asked: asked.update(note=1), "request has 'note', which Request does not know"),
    (lambda asked: asked.pop("wanted"), "request has no 'wanted'"),
    (lambda asked: asked.pop("timeout"), "apply without timeout"),
    (lambda asked: asked.update(id="x"), "request.id is no"),
    (lambda asked: asked["steps"].append(dict(step="copy")), "request.steps[1] is an object that is none of"),
    (lambda asked: asked["steps"][0].update(seconds="60"), "request.steps[0].seconds is '60', of type str, not a number"),
    (lambda asked: asked["steps"][0].update(force=True), "request.steps[0] has 'force'"),
    (lambda asked: asked["steps"].append(dict(step="wait", seconds=1, settle=0, until=[dict(kind="file")])), "until[0]"),
    (lambda asked: asked["steps"].append(dict(step="write", path="C:\\x", expected=None)), "either content or splices"),
    (lambda asked: asked["steps"].append(dict(step="write", path="{x}\\x", expected=None, content="")), "there is no place x"),
    (lambda asked: asked["steps"].append(dict(step="remove", path="C:\\x", expected="x")), "is no sha256"),
    (lambda asked: asked["wanted"].update(files=["C:\\x"]), "request.wanted.files[0] is 'C:\\\\x', of type str, not an object"),
])
def test_request_that_the_contract_does_not_know_is_refused(pair, spoil, words):
    asked = request(dict(step="stop", service="BESClient", seconds=60.0))
    spoil(asked)
    done = ask(pair.client, asked)
    assert done["failed"] and words in done["msg"], done["msg"]
    assert pair.state()[2] == "running"


def test_script_that_is_not_the_pinned_one_is_refused(pair):
    done = ask(pair.client, request(), script=SCRIPT + "#")
    assert done["failed"] and "bring the model along" in done["msg"]
    assert ask(pair.client, request(), script="param($Request)", check=True)["msg"] == "skipped, running in check mode"
    assert ask(pair.client, request(), check=True)["result"]["ok"]
    done = answer(pair.client, request(*pair.move()), check=True)
    assert (done["ok"], done["outcome"], done["done"]) == (True, "none", []) and pair.state()[2] == "running"


@pytest.mark.parametrize("name, arguments, words", [
    ("ansible.windows.win_service", dict(name="x", state="gone"), "value of state must be one of"),
    ("ansible.windows.win_service", dict(nme="x"), "Unsupported parameters for (ansible.windows.win_service) module: nme"),
    ("ansible.windows.win_service", dict(), "missing required arguments: name"),
    ("ansible.windows.win_wait_for", dict(port="x"), "argument 'port' is of type"),
    ("ansible.windows.win_service", dict(name="x"), "has nothing for the module ansible.windows.win_service"),
    ("ansible.windows.no_such", dict(), "no installed collection has a module ansible.windows.no_such for Windows"),
    ("ansible.builtin.lineinfile", dict(), "no installed collection has a module"),
])
def test_module_that_is_called_wrongly_fails_as_the_real_one(pair, name, arguments, words):
    done = pair.client.module(Call("module", name, arguments))
    assert done["failed"] and words in done["msg"], done["msg"]


# -- files
@pytest.mark.parametrize("access, share, fine", [
    ((READ,), ALL, True), ((READ,), (READ,), False), ((WRITE,), ALL, False), (("delete",), ALL, False),
    ((READ,), (READ, WRITE), True)])
def test_sharing_is_asked_of_both_sides(access, share, fine):
    host = Host()
    host.files.put("C:\\log", b"x")
    host.hold(host.services.processes[4], "C:\\log", (WRITE,), (READ,) if share != (READ, WRITE) else (READ, WRITE))
    try:
        host.files.open("C:\\log", access, share)
        assert fine
    except FileError as err:
        assert not fine and err.kind == "shared"


@pytest.mark.parametrize("path", [
    "x", "/etc/x", "C:x", "C:\\..\\x", "C:\\a\\..\\x", "C:\\x:stream", "E:\\x", "C:\\x.", "C:\\con.txt"])
def test_path_that_names_no_file_is_refused(path):
    with pytest.raises(FileError):
        Host().files.put(path, b"")


def test_names_are_one_whatever_their_case():
    host = Host()
    host.files.put("C:\\Program Files\\A\\B.txt", b"1")
    assert host.files.read("c:\\PROGRAM FILES\\a\\b.TXT") == b"1"
    host.files.put("c:\\program files\\a\\b.txt", b"2")
    assert [node.path for node in host.files.listing("C:\\program files\\A")] == ["C:\\Program Files\\A\\B.txt"]
    host.registry.set("HKLM\\SOFTWARE\\WOW6432Node\\X", "A", "1")
    assert host.registry.text("HKLM\\software\\wow6432node\\x", "a") == "1"
    assert host.registry.of_32_bits("HKLM\\SOFTWARE\\X") == "HKLM\\SOFTWARE\\WOW6432Node\\X"


def test_service_that_is_disabled_is_not_started():
    host = Host()
    host.services.add(Service("x", start_mode=DISABLED))
    with pytest.raises(ServiceError, match="disabled"):
        host.services.start("x")


def test_shape_of_every_answer_is_the_contracts():
    with pytest.raises(Misfit, match="answer has no 'outcome'"):
        from tests.windows.shapes import check
        check(dict(version=1, ok=True), "Answer", "answer")
