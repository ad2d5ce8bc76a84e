# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""port_listener as Ansible runs it, and what port_probe says of the way to it, in network namespaces of the test's own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._network.listener import state_path
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import start_time
from tests.integration import direct_module, forked, test_modules
from tests.integration.migration_lab import CHECKOUT
from tests.integration.ports import free_ports
from tests.lab.managed_python import managed_python

python36 = test_modules.python36
HOST = "127.0.0.1"

# A process that tries not to end: it ignores and blocks the signals, and is stuck after the limits were set.
STUCK = """
import signal, sys, time
from ansible_collections.portshift.agents.plugins.module_utils._network.listener import _limit
for number in (signal.SIGALRM, signal.SIGXCPU):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGXCPU])
print("to be limited", flush=True)    # afterwards there may be no time left for it
_limit(time.monotonic() + 0.5)
while True:
    pass
"""

# A service on a port, as a process of its own.
SERVICE = """
import socket, sys
service = socket.socket(socket.AF_INET, getattr(socket, sys.argv[3]))
service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
service.bind((sys.argv[1], int(sys.argv[2])))
if sys.argv[3] == "SOCK_STREAM":
    service.listen(1)
print("up", flush=True)
sys.stdin.read()
"""

# As much of ssh as Ansible sees; like the real one it ends when no process holds the output of the command any more.
SSH = """#!/bin/sh
for last; do :; done
sh -c "$last" | cat
"""


def direct(name, arguments, tmp_path, prefix=(), check=False):
    """The result of a module in a process of its own; stdout is read to its end, so a held pipe would not do."""
    arguments = dict(arguments, _ansible_check_mode=check, _ansible_diff=False, _ansible_remote_tmp=str(tmp_path))
    done = direct_module.run(name, arguments, prefix, timeout=60)
    return direct_module.result(done.stdout, done.stderr)


def descriptors(folder):
    """What kinds of file a process holds.  The connection of the last request may close between the list and the look."""
    held = set()
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            held.add(os.readlink(folder + name).split(":")[0])
    return held


@pytest.fixture
def port():
    return free_ports(1)[0]


@pytest.fixture
def listener(run_module, port):
    """listener(**options) -> the result; whatever it has left is taken away in the end."""
    addresses = set()

    def call(check=False, **options):
        addresses.add(options.get("address"))
        result = run_module("port_listener", check=check, **dict(dict(port=port), **options))
        assert "Traceback" not in json.dumps(result, default=str), result
        return result
    yield call
    for address in addresses:
        run_module("port_listener", state="absent", port=port, **(dict(address=address) if address else {}))


def page(port, host=HOST):
    return urllib.request.urlopen("http://%s:%d/masthead/masthead.afxm" % (host, port), timeout=10).read()


def alive(result):
    return start_time(result["pid"]) is not None


def reachable(run_module, port, **target):
    return run_module("port_probe", targets=[dict(dict(host=HOST, port=port), **target)], timeout=2,
                      fail_on_unreachable=False)["results"][0]["reachable"]


def test_it_answers_until_it_is_taken_away(listener, run_module, port):
    options = dict(protocols=["tcp", "udp"], token="relay1 on trial")
    foretold = listener(check=True, **options)
    assert (foretold["changed"], foretold["listening"], foretold["pid"]) == (True, True, None)
    assert not reachable(run_module, port)

    result = listener(**options)
    assert (result["changed"], result["listening"], result["already_in_use"], result["used_by"]) == (True, True, False, [])
    for host in (HOST, "127.9.8.7", "::1"):
        assert reachable(run_module, port, host=host, http=dict(body_regex="^relay1 on trial$"))
        assert reachable(run_module, port, host=host, protocol="udp", reply_regex="^relay1 on trial$")
    again = listener(**options)
    assert (again["changed"], again["pid"], again["until"]) == (False, result["pid"], result["until"])

    foretold = listener(check=True, state="absent", **options)
    assert (foretold["changed"], foretold["listening"], alive(result)) == (True, False, True)
    gone = listener(state="absent", **options)
    assert (gone["changed"], gone["listening"], gone["already_in_use"], gone["pid"], gone["until"]) == (
        True, False, False, None, None)
    assert not alive(result) and not os.path.exists(state_path(port, None))
    assert listener(state="absent", **options)["changed"] is False


def test_service_has_the_port_at_once_when_the_listener_is_gone(listener, port):
    listener()
    with socket.create_connection((HOST, port)) as kept:
        assert page(port) == b"portshift"
        listener(state="absent")
        with socket.create_server((HOST, port)):
            pass
        assert kept.recv(1000) in (b"", page_bytes())


def page_bytes():
    from ansible_collections.portshift.agents.plugins.module_utils._network.listener import http_answer
    return http_answer(b"portshift")


@pytest.mark.parametrize("address, other", [("127.0.0.9", "127.0.0.10"), ("::1", HOST)])
def test_it_listens_on_the_address_alone(listener, run_module, port, address, other):
    assert listener(address=address)["listening"]
    assert reachable(run_module, port, host=address) and not reachable(run_module, port, host=other)


def test_two_spellings_of_an_address_are_one_listener(listener):
    first = listener(address="::1")
    again = listener(address="0:0:0:0:0:0:0:1")
    assert (again["changed"], again["pid"]) == (False, first["pid"])
    assert listener(address="0::1", state="absent")["changed"] and not alive(first)


def test_one_that_does_not_do_any_more_is_replaced(listener, port):
    first = listener(seconds=1000, token="one")
    for options, kept in [(dict(seconds=1500, token="one"), True), (dict(seconds=3600, token="one"), False),
                          (dict(seconds=3600, token="two"), False),
                          (dict(seconds=3600, token="two", protocols=["tcp", "udp"]), False)]:
        foretold = listener(check=True, **options)
        assert (foretold["changed"], alive(first)) == (not kept, True)
        second = listener(**options)
        assert (second["changed"], second["pid"] == first["pid"], second["listening"]) == (not kept, kept, True)
        assert alive(first) is kept and page(port) == options["token"].encode()
        first = second


def test_it_ends_when_its_time_is_over(listener, port):
    began = time.monotonic()
    result = listener(seconds=3)
    while alive(result):
        assert time.monotonic() - began < 20, "the listener outlives its time"
        time.sleep(0.02)
    with socket.create_server(("0.0.0.0", port)):
        pass
    assert not os.path.exists(state_path(port, None))


def test_kernel_ends_a_process_that_is_stuck():
    began = time.monotonic()
    stuck = subprocess.Popen([sys.executable, "-c", STUCK], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             env=dict(os.environ, PYTHONPATH=direct_module.COLLECTIONS))
    with stuck:
        try:
            assert stuck.stdout.readline() == b"to be limited\n"
            assert stuck.wait(20) == -signal.SIGALRM and time.monotonic() - began < 20
        finally:
            stuck.kill()


def test_killed_listener_is_no_listener(listener, port):
    first = listener()
    os.kill(first["pid"], signal.SIGKILL)
    end = time.monotonic() + 10
    while alive(first):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert os.path.exists(state_path(port, None))
    second = listener()
    assert second["changed"] and second["pid"] != first["pid"] and page(port) == b"portshift"


def test_other_process_with_the_number_of_a_listener_is_left_alone(listener, port):
    first = listener()
    path = state_path(port, None)
    with open(path) as source:
        record = json.load(source)
    listener(state="absent")
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            with open(path, "w") as target:
                json.dump(dict(record, pid=other.pid), target)
            assert listener(state="absent")["changed"] is False and other.poll() is None
            assert listener()["changed"] is True and other.poll() is None
        finally:
            other.kill()
    assert not alive(first)


# --- a port in use ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check, protocols, address", [
    (True, ["tcp"], None), (False, ["tcp"], "0.0.0.0"), (False, ["udp"], HOST), (True, ["tcp", "udp"], HOST),
    (False, ["tcp", "udp"], None)])
def test_port_in_use_is_left_alone_and_its_owner_named(listener, port, check, protocols, address):
    kind = "SOCK_STREAM" if "tcp" in protocols else "SOCK_DGRAM"
    # Its input is a pipe of ours: it ends when this test does, however that may be.
    with subprocess.Popen([sys.executable, "-c", SERVICE, HOST, str(port), kind], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as service:
        try:
            assert service.stdout.readline() == b"up\n"
            for state in ("present", "absent"):
                result = listener(check=check, protocols=protocols, state=state, **(dict(address=address) if address else {}))
                assert not result.get("failed"), result
                assert (result["changed"], result["listening"], result["already_in_use"], result["pid"], result["until"]) == (
                    False, False, True, None, None)
                [owner] = result["used_by"]
                assert (owner["protocol"], owner["address"], owner["port"], owner["pid"]) == (
                    protocols[0], HOST, port, service.pid)
                assert owner["process"].startswith("python")
            assert service.poll() is None and not os.path.exists(state_path(port, address))
        finally:
            service.kill()


def test_port_of_an_outgoing_connection_is_in_use_by_no_listener(listener, port):
    with socket.create_server((HOST, 0)) as server, socket.socket() as client:
        client.bind((HOST, port))
        client.connect(server.getsockname())
        result = listener()
        assert (result["changed"], result["already_in_use"], result["used_by"]) == (False, True, [])


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, sentence", [
    (dict(port=0), "port is 0, which is not a port number"),
    (dict(seconds=0), "seconds is 0: a listener lives for 1 to 3600 seconds"),
    (dict(seconds=3601), "seconds is 3601"),
    (dict(token="\u00e9" * 257), "token has more than 512 bytes; give a shorter one"),
    (dict(protocols=[]), "protocols is empty: give tcp, udp or both"),
    (dict(address="relay1"), "address is 'relay1', which is no IP address: give one of this host"),
    (dict(address="192.0.2.1"), "could not listen on 192.0.2.1 port %d tcp: this host does not have the address"),
])
@pytest.mark.parametrize("check", [True, False])
def test_what_can_not_be_is_refused(listener, port, check, options, sentence):
    result = listener(check=check, **options)
    assert result["failed"] is True
    assert (sentence % port if "%" in sentence else sentence) in result["msg"]
    assert not os.path.exists(state_path(port, options.get("address")))


# --- it holds nothing of what started it ----------------------------------------------------------------------------


@pytest.mark.parametrize("pipelining", [True, False])
def test_ansible_returns_at_once_and_the_listener_stays(tmp_path, port, pipelining):
    script = tmp_path / "ssh"
    script.write_text(SSH)
    script.chmod(0o755)
    inventory = tmp_path / "inventory.json"
    temporary = tmp_path / "remote"
    inventory.write_text(json.dumps({"all": {"hosts": {"relay1": dict(
        ansible_connection="ssh", ansible_host=HOST, ansible_ssh_executable=str(script), ansible_ssh_args="",
        ansible_ssh_transfer_method="piped", ansible_pipelining=pipelining, ansible_python_interpreter=managed_python(),
        ansible_remote_tmp=str(temporary))}}}))

    def ansible(options):
        return forked.run(
            "ansible", ["adhoc", "-i", inventory, "relay1", "-m", "portshift.agents.port_listener",
                        "-a", "port=%d address=%s seconds=300 %s" % (port, HOST, options)],
            timeout=100, cwd=CHECKOUT, merged=True)

    try:
        done = ansible("token=there")
        assert done.returncode == 0 and "listening" in done.stdout, done.stdout
        assert not temporary.exists() or not list(temporary.iterdir()), "the module's folder is gone"
        assert page(port) == b"there"
        with open(state_path(port, HOST)) as source:
            record = json.load(source)
        process = "/proc/%d/" % record["pid"]
        held = descriptors(process + "fd/")
        assert held == {"/dev/null", "socket", "anon_inode"} and os.readlink(process + "cwd") == "/"
        assert os.getsid(record["pid"]) != os.getsid(0)
        with open(process + "comm") as source:
            assert source.read() == "port_listener\n"
    finally:
        assert ansible("state=absent").returncode == 0


def test_user_without_rights_has_a_listener_too(port):
    # The one right that is left lets this user read the interpreter, wherever that was installed.
    prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all,+dac_read_search",
              "--ambient-caps", "+dac_read_search"] if os.geteuid() == 0 else []
    options = dict(port=port, address=HOST)
    try:
        result = direct("port_listener", options, "/tmp", prefix)
        assert result.get("changed") is True, result
        assert page(port) == b"portshift" and os.stat("/proc/%d" % result["pid"]).st_uid == (65534 if prefix else os.geteuid())
        assert direct("port_listener", options, "/tmp", prefix)["changed"] is False
    finally:
        assert direct("port_listener", dict(options, state="absent"), "/tmp", prefix)["changed"] is True
        if prefix:
            os.rmdir("/tmp/portshift-65534")    # of that account, so no other user has a listener in it


def test_python36_listens_and_probes(python36, port):
    options = dict(port=port, address=HOST, seconds=60, protocols=["tcp", "udp"], token="old", state="present")
    target = dict(host=HOST, port=port, protocol="tcp", http=dict(path="/", tls=False, status=200, body_regex="^old$"))
    try:
        assert python36("modules.port_listener", **options)["listening"] is True
        found = python36("modules.port_probe", timeout=3, targets=[
            target, dict(host=HOST, port=port, protocol="udp", http=None, reply_regex="^old$")])
        assert [(result["reachable"], result["source"]) for result in found["results"]] == [(True, HOST)] * 2
    finally:
        assert python36("modules.port_listener", **dict(options, state="absent"))["changed"] is True


# --- the way to it ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def namespace(namespace):
    # A network that this host has, so that there is an address of its own to start from.
    assert namespace.run("ip", "address", "add", "10.0.3.7/24", "dev", "lo").returncode == 0
    return namespace


@contextlib.contextmanager
def rules(namespace, *lines):
    script = "table inet way {\n chain out {\n  type filter hook output priority 0;\n%s }\n}\n" % "".join(
        "  %s\n" % line for line in lines)
    namespace.run("sh", "-c", "printf '%s' \"$1\" | nft -f -", "sh", script)
    assert "hook output" in namespace.run("nft", "list", "table", "inet", "way").stdout
    yield
    assert namespace.run("nft", "delete", "table", "inet", "way").returncode == 0


def test_sentence_tells_dropped_from_refused_from_no_route(namespace, tmp_path):
    def probe(targets):
        return direct("port_probe", dict(targets=targets, timeout=0.5, fail_on_unreachable=False), tmp_path, namespace.prefix)

    way = "10.0.3.7 -> 10.0.3.9 port "
    cases = [
        ("tcp dport 55001 drop", dict(port=55001), "55001 tcp: no answer within 0.5 s (dropped on the way?)"),
        ("tcp dport 55002 reject with tcp reset", dict(port=55002), "55002 tcp: connection refused: nothing listens there"),
        ("tcp dport 55003 reject with icmp type host-prohibited", dict(port=55003),
         "55003 tcp: no route to it, or a firewall on the way rejects it"),
        ("udp dport 55004 drop", dict(port=55004, protocol="udp", reply_regex="x"),
         "55004 udp: this host's own firewall does not let it out"),
        ("", dict(port=55005, protocol="udp", reply_regex="x"), "55005 udp: connection refused: nothing listens there"),
    ]
    with rules(namespace, *[rule for rule, _target, _sentence in cases]):
        results = probe([dict(target, host="10.0.3.9") for _rule, target, _sentence in cases]
                        + [dict(host="198.51.100.1", port=55000)])["results"]
    assert [result["error"] for result in results[:-1]] == [way + sentence for _rule, _target, sentence in cases]
    assert {result["source"] for result in results[:-1]} == {"10.0.3.7"}
    assert (results[-1]["source"], results[-1]["error"]) == (
        None, "this host -> 198.51.100.1 port 55000 tcp: no route to it from here")


def test_listener_is_one_of_its_network_namespace(namespace, listener, port, tmp_path):
    outside = listener(token="outside")
    inside = direct("port_listener", dict(port=port, token="inside"), tmp_path, namespace.prefix)
    try:
        assert inside["changed"] is True and inside["pid"] != outside["pid"]
        found = direct("port_probe", dict(targets=[dict(host="10.0.3.7", port=port, http=dict(body_regex="^inside$"))]),
                       tmp_path, namespace.prefix)
        assert found["results"][0]["reachable"] is True and page(port) == b"outside"
    finally:
        gone = direct("port_listener", dict(port=port, state="absent"), tmp_path, namespace.prefix)
    assert gone["changed"] is True and alive(outside)
