# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in of WinRM, to which ansible-core's own connection plugin and pywinrm talk."""

import hashlib
import json
import os
import subprocess
import threading

import pytest
import requests
from winrm.exceptions import InvalidCredentialsError, WinRMOperationTimeoutError, WinRMTransportError, WSManFaultError
from winrm.protocol import Protocol

from ansible_collections.portshift.agents.plugins.plugin_utils._windows import protocol as protocol_of_script
from tests.integration import forked
from tests.integration.migration_lab import CHECKOUT
from tests.windows import specs
from tests.windows.estate import Estate
from tests.windows.host import PINNED, TEMPORARY
from tests.windows.wsman import MOST_BYTES, Endpoint, Output, Server

pytestmark = pytest.mark.stand_ins

# A task -> how many requests it costs, with everything answered in one Receive: Create and Delete, and for each thing that it
# runs Command, a Send of each 200,000 bytes of stdin, Receive and Signal.
TASKS = dict(
    raw=({"ansible.builtin.raw": "whoami"}, 5),
    slurp=({"ansible.windows.slurp": dict(src="C:\\x")}, 6),
    win_reg_stat=({"ansible.windows.win_reg_stat": dict(path="HKLM:\\SOFTWARE")}, 6),
    win_wait_for=({"ansible.windows.win_wait_for": dict(port=80)}, 6),
    win_firewall_rule=({"community.windows.win_firewall_rule": dict(name="x")}, 6),
    win_ping=({"ansible.windows.win_ping": {}}, 6),
    website_info=({"microsoft.iis.website_info": {}}, 6),
    win_regedit=({"ansible.windows.win_regedit": dict(path="HKLM:\\SOFTWARE\\X", name="y", data="z")}, 7),
    win_stat=({"ansible.windows.win_stat": dict(path="C:\\x")}, 7),
    win_command=({"ansible.windows.win_command": "whoami"}, 7),
    win_service_info=({"ansible.windows.win_service_info": {}}, 7),
    win_powershell=({"ansible.windows.win_powershell": dict(script="1")}, 7),
    win_service=({"ansible.windows.win_service": dict(name="x")}, 7),
    become=({"ansible.windows.win_ping": {}, "become": True, "become_method": "runas", "become_user": "SYSTEM"}, 7),
    asynchronous=({"ansible.windows.win_powershell": dict(script="1"), "async": 60, "poll": 0}, 7),
    loop=({"ansible.windows.win_reg_stat": dict(path="HKLM:\\{{ item }}"), "loop": ["A", "B"]}, 10),
    copied=({"ansible.windows.win_copy": dict(content="x", dest="C:\\x")}, 22),
    copied_already=({"ansible.windows.win_copy": dict(content="same", dest="C:\\x")}, 6),
)


class Plain:
    """Answers every documented module with nothing changed."""

    def __init__(self, **endpoint):
        self.server = Server()
        self.endpoint = self.server.add(Endpoint("plain", self.run, **endpoint))
        self.answers = {}

    def run(self, call, cancelled):
        if call.kind == "raw":
            return self.answers.get("raw", lambda _call, _cancelled: Output())(call, cancelled)
        if call.kind == "put":
            return Output(json.dumps(dict(sha1=hashlib.sha1(call.arguments["data"]).hexdigest())).encode())
        if call.kind == "mkdtemp":
            return Output(b"C:\\Temp\\" + call.arguments["name"].encode() + b"\r\n")
        if call.kind != "module":
            return Output()
        answer = self.answers.get(call.name, {})
        if callable(answer):
            answer = answer(call)
        _taken, refused = specs.checked(specs.full_name(call.name), call.arguments)
        if refused:
            answer = dict(failed=True, msg=refused)
        return Output(json.dumps(dict(dict(changed=False), **answer)).encode() + b"\r\n")


@pytest.fixture
def plain():
    host = Plain()
    with host.server:
        yield host


@pytest.fixture(params=["current", "oldest"])
def core(request):
    """ansible-playbook as it was before 2.19, and as it has been since: they pack what they send differently."""
    return None if request.param == "current" else request.getfixturevalue("oldest")


def play(folder, host, *tasks, program=None, options=(), **variables):
    """-> (code, what Ansible said, [what each task returned])"""
    (folder / "inventory.yml").write_text(json.dumps(dict(all=dict(hosts=dict(plain=dict(
        host.endpoint.variables(), **variables))))))
    (folder / "play.json").write_text(json.dumps([dict(hosts="all", gather_facts=False, tasks=[
        dict(task, name="task %d" % number, ignore_errors=True) for number, task in enumerate(tasks)])]))
    environment = dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    arguments = ["-i", "inventory.yml", "play.json", *options]
    if program:
        done = subprocess.run([program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
                              check=False)
    else:
        done = forked.run("ansible", ["playbook", *arguments], timeout=300, cwd=folder, env=environment)
    assert "{" in done.stdout, done.stdout + done.stderr
    told = json.loads(done.stdout[done.stdout.index("{"):])
    return done.returncode, done.stdout + done.stderr, [task["hosts"]["plain"] for task in told["plays"][0]["tasks"]]


def copied(call):
    """As win_copy answers, where nothing is like what it is sent but the text `same`."""
    if call.arguments["_copy_mode"] != "query":
        return dict(changed=True)
    same = hashlib.sha1(b"same").hexdigest()
    return dict(files=[one for one in call.arguments["files"] if one["checksum"] != same], directories=[], symlinks=[])


def test_tasks_cost_what_the_unmodified_connection_makes_of_them(plain, tmp_path, core):
    plain.answers["ansible.windows.win_copy"] = copied
    play(tmp_path, plain, *(task for task, _cost in TASKS.values()), program=core)
    tasks = dict(zip(TASKS, plain.endpoint.tasks, strict=True))
    costs = {name: cost for name, (_task, cost) in TASKS.items()}
    if core:
        # It makes the folder, and puts the file, by a command line alone.
        costs["copied"] -= 2
    assert {name: task.requests for name, task in tasks.items()} == costs
    assert plain.endpoint.count()["again"] == 0 and len(plain.endpoint.seen) == sum(plain.endpoint.count().values())
    for task in tasks.values():
        assert task.requests == 2 + task.counts["Send"] + 3 * len(task.ran)
    assert tasks["copied"].ran == ["ansible.windows.win_copy", "mkdtemp", "put", "ansible.windows.win_copy", "remove"]
    assert tasks["become"].stdin_bytes > tasks["win_ping"].stdin_bytes + 100000
    assert [call.name for call in plain.endpoint.calls if call.become] == ["ansible.windows.win_ping"]
    assert [call.name for call in plain.endpoint.calls if call.asynchronous] == ["ansible.windows.win_powershell"]
    assert {call.form for call in plain.endpoint.calls if call.kind == "module"} == {"2.16" if core else "2.19"}


def test_arguments_arrive_as_they_were_given(plain, tmp_path, core):
    given = dict(script="'ä' | Out-Null", parameters=dict(Request="{\"a\": 1}", Other=["x", None, 2.5, True]), depth=5)
    play(tmp_path, plain, {"ansible.windows.win_powershell": given, "environment": dict(A="b")},
         {"win_ping": dict(data="x")}, options=["--check", "--diff"], program=core)
    script, ping = plain.endpoint.calls
    assert (script.name, script.arguments, script.environment) == ("ansible.windows.win_powershell", given, dict(A="b"))
    assert (script.check, script.diff, ping.check) == (True, True, True)
    assert (specs.full_name(ping.name), ping.arguments) == ("ansible.windows.win_ping", dict(data="x"))


def test_module_that_is_called_wrongly_says_so(plain, tmp_path):
    _code, _said, results = play(tmp_path, plain, {"ansible.windows.win_service": dict(name="x", statee="y")})
    assert results[0]["failed"] and results[0]["msg"].startswith(
        "Unsupported parameters for (ansible.windows.win_service) module: statee. Supported parameters include: dependencies, ")


def test_files_go_there_and_back_byte_for_byte(tmp_path, core):
    content = bytes(range(256)) * 2500    # in several pieces
    (tmp_path / "source").write_bytes(content)
    (tmp_path / "empty").write_bytes(b"")
    with Estate() as estate:
        host = estate.add("plain")
        path = "C:\\Users\\it's\\x.bin"
        host.files.folder("C:\\Users\\it's")
        _code, said, results = play(
            tmp_path, host, {"ansible.windows.win_copy": dict(src=str(tmp_path / "source"), dest=path)},
            {"ansible.windows.win_copy": dict(src=str(tmp_path / "source"), dest=path)},
            {"ansible.windows.win_copy": dict(src=str(tmp_path / "empty"), dest="C:\\empty")},
            {"ansible.windows.win_copy": dict(src=path, dest="C:\\copy", remote_src=True)},
            {"ansible.builtin.fetch": dict(src=path, dest=str(tmp_path / "back"), flat=True)},
            {"ansible.windows.win_copy": dict(content="x", dest="C:\\nowhere\\x")},
            {"ansible.builtin.raw": "whoami"}, program=core)
        assert [bool(result.get("changed")) for result in results[:4]] == [True, False, True, True], said
        assert host.files.read(path) == host.files.read("C:\\copy") == content == (tmp_path / "back").read_bytes()
        assert host.files.read("C:\\empty") == b""
        assert "Destination directory 'C:\\nowhere' does not exist" in results[5]["msg"]
        assert results[6]["rc"] == 1 and "runs no command" in results[6]["stderr"]
        assert host.files.listing(TEMPORARY) == [], "what was put there for a moment is gone"


# -- pywinrm alone
def protocol(host, password=None, **options):
    given = host.endpoint.variables()
    return Protocol("%s://%s:%d/wsman" % (given["ansible_winrm_scheme"], given["ansible_host"], given["ansible_port"]),
                    transport="basic", username=given["ansible_user"], password=password or given["ansible_password"],
                    ca_trust_path=given.get("ansible_winrm_ca_trust_path"), read_timeout_sec=20, operation_timeout_sec=10,
                    **options)


def command(talk, text="whoami"):
    """-> (stdout, stderr, code) of a whole round"""
    shell = talk.open_shell()
    number = talk.run_command(shell, text)
    try:
        return talk.get_command_output(shell, number)
    finally:
        talk.cleanup_command(shell, number)
        talk.close_shell(shell)


@pytest.mark.parametrize("tls", [True, False])
def test_output_comes_in_pieces_and_after_time_outs(tls):
    host = Plain(tls=tls)
    with host.server:
        host.answers["raw"] = lambda _call, _cancelled: Output(b"0123456789", b"trouble", 3)
        assert command(protocol(host)) == (b"0123456789", b"trouble", 3)
        host.endpoint.pieces, host.endpoint.silent = 4, 2
        assert command(protocol(host)) == (b"0123456789", b"trouble", 3)
        assert [task.counts["again"] for task in host.endpoint.tasks] == [0, 5]
        assert [one.status for one in host.endpoint.seen if one.action == "Receive"] == [200, 500, 500, 200, 200, 200, 200]


def test_command_that_takes_longer_than_a_receive_waits_goes_on(plain):
    gate = threading.Event()
    plain.answers["raw"] = lambda _call, _cancelled: Output(b"done") if gate.wait(60) else None
    plain.endpoint.longest_wait = 0.1
    talk = protocol(plain)
    shell = talk.open_shell()
    number = talk.run_command(shell, "whoami")
    with pytest.raises(WinRMOperationTimeoutError):
        talk.get_command_output_raw(shell, number)
    gate.set()
    assert talk.get_command_output(shell, number) == (b"done", b"", 0)
    talk.close_shell(shell)


@pytest.mark.parametrize("how", ["signal", "delete"])
def test_command_ends_with_a_signal_and_with_its_shell_and_not_with_its_connection(plain, how):
    ended = threading.Event()

    def wait(_call, cancelled):
        assert cancelled.wait(60)
        ended.set()
        return Output(code=1)

    plain.answers["raw"] = wait
    plain.endpoint.longest_wait = 0.1
    talk = protocol(plain)
    shell = talk.open_shell()
    number = talk.run_command(shell, "whoami")
    talk.transport.close_session()
    with pytest.raises(WinRMOperationTimeoutError):
        talk.get_command_output_raw(shell, number)
    assert not ended.is_set()
    talk.cleanup_command(shell, number) if how == "signal" else talk.close_shell(shell)
    assert ended.is_set()


def test_wrong_password_is_refused_at_the_first_request(plain):
    with pytest.raises(InvalidCredentialsError):
        command(protocol(plain, "wrong"))
    assert (plain.endpoint.refused, len(plain.endpoint.seen)) == (1, 1)


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("kind, error", [
    ("drop", requests.ConnectionError), ("lost", requests.ConnectionError), ("break", requests.RequestException),
    ("401", InvalidCredentialsError), ("500", WinRMTransportError), ("fault", WSManFaultError)])
def test_request_goes_wrong_as_it_was_told_and_the_next_one_does_not(plain, kind, error, number):
    ran = []
    plain.answers["raw"] = lambda call, _cancelled: ran.append(call) or Output(b"x")
    plain.endpoint.at(number, kind)
    with pytest.raises(error):
        command(protocol(plain))
    # What is heard before the connection ends is done all the same.
    assert len(ran) == (number > 2 or number == 2 and kind in ("lost", "break"))
    assert plain.endpoint.seen[number - 1].fault == kind
    assert command(protocol(plain)) == (b"x", b"", 0)


def test_host_that_is_gone_from_a_request_on_stays_so_until_it_is_mended(plain):
    plain.endpoint.at(3, "drop", forever=True)
    for _time in range(2):
        with pytest.raises(requests.ConnectionError):
            command(protocol(plain))
    plain.endpoint.mend()
    assert command(protocol(plain))[2] == 0
    plain.endpoint.at(1, 0.01)
    assert command(protocol(plain))[2] == 0 and plain.endpoint.refused == 0


def test_what_is_not_there_or_too_big_is_a_fault(plain):
    talk = protocol(plain)
    with pytest.raises(WSManFaultError, match="was not found on the server"):
        talk.run_command("no-such-shell", "whoami")
    shell = talk.open_shell()
    with pytest.raises(WSManFaultError, match="was not found on the server"):
        talk.get_command_output_raw(shell, "no-such-command")
    with pytest.raises(WSManFaultError, match="MaxEnvelopeSize"):
        talk.run_command(shell, "x" * MOST_BYTES)
    talk.close_shell(shell)


def test_host_that_boots_forgets_its_shells_and_ends_what_they_ran():
    with Estate() as estate:
        host = estate.add("plain")
        talk = protocol(host)
        shell = talk.open_shell()
        host.boot()
        with pytest.raises(WSManFaultError, match="was not found on the server"):
            talk.run_command(shell, "whoami")
        host.is_up = False
        with pytest.raises(requests.ConnectionError):
            talk.open_shell()


def test_many_hosts_are_counted_each_for_itself(tmp_path):
    with Estate() as estate:
        hosts = {"host%d" % number: estate.add("host%d" % number) for number in range(5)}
        (tmp_path / "inventory.yml").write_text(json.dumps(dict(all=dict(hosts={
            name: estate.variables(name) for name in hosts}))))
        (tmp_path / "play.json").write_text(json.dumps([dict(hosts="all", gather_facts=False, tasks=[
            {"ansible.windows.win_ping": dict(data="{{ inventory_hostname }}"), "when": "inventory_hostname != 'host0'"}])]))
        done = forked.run("ansible", ["playbook", "-i", "inventory.yml", "play.json", "--forks", "5"], timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        one = dict.fromkeys(("Create", "Command", "Send", "Receive", "Signal", "Delete"), 1)
        assert estate.requests() == {name: one if name != "host0" else {} for name in hosts}
        for name in list(hosts)[1:]:
            assert hosts[name].endpoint.calls[0].arguments == dict(data=name)
        estate.forget()
        assert estate.requests() == {name: {} for name in hosts}


def test_script_of_the_collection_is_the_one_that_the_model_knows_and_is_answered(tmp_path, core):
    script = (CHECKOUT / "plugins" / "plugin_utils" / "_windows" / "host.ps1").read_text()
    digest = hashlib.sha256(script.encode()).hexdigest()
    assert PINNED.read_text().split()[0] == digest, "look what changed, bring tests/windows along, pin it anew"
    asked = dict(version=protocol_of_script.VERSION, verb="read", wanted=dict(services=["iphlpsvc"], netsh=True))
    with Estate(pin=digest) as estate:
        host = estate.add("plain")
        _code, said, [done] = play(tmp_path, host, {"ansible.windows.win_powershell": dict(
            script=script, depth=protocol_of_script.DEPTH, parameters=dict(Request=json.dumps(asked)))}, program=core)
        assert done["result"]["found"]["services"][0]["state"] == "running" and not done["changed"], said
