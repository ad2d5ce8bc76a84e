# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx_listen on a real nginx of this machine: what it writes, what listens then, and what stands against it."""

import grp
import http.client
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._nginx import conf
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import listeners
from ansible_collections.portshift.agents.tests.integration import direct_module
from ansible_collections.portshift.agents.tests.integration.nginx_hub import NGINX, SECRET, Hub, until
from tests.integration.ports import free_ports


def undated(found):
    """A result without the moment and the process that stand before what nginx says of its configuration."""
    return dict(found, msg=re.sub(r"[0-9/]+ [0-9:]+ (?=\[\w+\] )|(?<=\] )[0-9]+#[0-9]+: ", "", found.get("msg", "")))


class Host(Hub):
    # Put before the module, as another user's rights are.
    prefix = ()

    def listens_on(self):
        """For a nginx without workers, which forgets about TLS when it is reloaded."""
        return [port for port in (self.old, self.new) if listeners({port})]

    def killed_at_the_reload(self, noted):
        given = dict(path=str(self.conf), port=self.new, beside=self.old, test_command=[*self.command, "-t"],
                     reload_command=["sh", "-c", 'kill -9 "$PPID"'])
        if noted:
            given["record"] = dict(path=str(self.record), old_port=self.old, new_port=self.new)
        done = direct_module.run("nginx_listen", given)
        assert done.returncode == -signal.SIGKILL, done

    def call(self, check=False, **arguments):
        given = dict(path=str(self.conf), test_command=[*self.command, "-t"], reload_command=[*self.command, "-s", "reload"])
        if arguments.get("state", "present") != "restored":
            given["port"] = self.new
        if arguments.get("state", "present") == "present":
            given["beside"] = self.old
        given.update(arguments, _ansible_check_mode=check, _ansible_diff=True)
        if given.pop("noted", False):
            given["record"] = dict(path=str(self.record), old_port=self.old, new_port=self.new)
        result = self.module("nginx_listen", given)
        if check and not given.get("backup"):
            # The one that only looks, and makes no backup, says the same, outside of check mode too.
            seen = self.module("nginx_listen_info", {key: value for key, value in given.items() if key not in (
                "backup", "timeout", "_ansible_check_mode")})
            # A failure says nothing of changes.
            assert not seen.pop("changed", False)
            assert undated(seen) == undated(
                {key: value for key, value in result.items() if key not in ("changed", "diff", "reloaded")})
        return result

    def module(self, name, given):
        done = direct_module.run(name, given, self.prefix)
        assert SECRET not in done.stdout + done.stderr and "Traceback" not in done.stdout + done.stderr, done.stderr
        result = direct_module.result(done.stdout, done.stderr)
        result.pop("invocation", None)
        return result

    def refused(self, words, **arguments):
        """It fails with these words in check mode and for real, and nothing is written."""
        before = self.conf.read_bytes()
        for check in (True, False):
            result = self.call(check, noted=True, **arguments)
            assert result.get("failed") and words in result["msg"], result
            assert self.conf.read_bytes() == before and not self.record.exists()
        return result


@pytest.fixture
def hub(tmp_path):
    if not NGINX:
        pytest.skip("nginx is not installed here (Debian: nginx-light)")
    found = Host(tmp_path)
    yield found
    found.stop()


@pytest.fixture
def running(hub):
    return hub.start()


# --- the way of a migration

def test_both_ports_answer_then_the_new_one_alone_then_all_is_as_it_was(running):
    hub, original = running, running.conf.read_bytes()
    predicted = hub.call(check=True, noted=True)
    assert hub.conf.read_bytes() == original and hub.answers() == [True, False] and hub.state() is None
    opened = hub.call(noted=True, backup=True)
    assert (predicted["changed"], opened["changed"], predicted["diff"]) == (True, True, opened["diff"])
    assert (predicted["listens"], predicted["reloaded"]) == (opened["listens"], False)
    assert hub.conf.read_text() == hub.opened() and hub.answers() == [True, True]
    assert opened["listens"] == dict(before=["127.0.0.1:%d ssl" % hub.old],
                                     after=["127.0.0.1:%d ssl" % port for port in (hub.old, hub.new)])
    assert opened["ports"] == dict(before=[hub.old], after=sorted([hub.old, hub.new]))
    assert {(entry["port"], entry["address"], entry["process"]) for entry in opened["listening_by"]} == {
        (hub.old, "127.0.0.1", "nginx"), (hub.new, "127.0.0.1", "nginx")}
    assert (opened["reloaded"], hub.state(), oct(hub.conf.stat().st_mode)[-3:]) == (True, "changing", "640")
    with open(opened["backup_file"], "rb") as source:
        assert source.read() == original
    again = hub.call(noted=True)
    assert (again["changed"], again["reloaded"], again["listens"]["after"]) == (False, False, opened["listens"]["after"])

    gone = hub.call(check=True, noted=True, state="absent", port=hub.old)
    assert gone["changed"] is True and hub.answers() == [True, True]
    closed = hub.call(noted=True, state="absent", port=hub.old)
    assert (closed["changed"], closed["diff"]) == (True, gone["diff"])
    assert hub.conf.read_text() == hub.closed() and hub.answers() == [False, True]
    assert hub.call(noted=True, state="absent", port=hub.old)["changed"] is False
    # The migration run once more, days later: there is nothing to stand beside, and nothing lacking.
    assert hub.call(noted=True)["changed"] is False

    reopened = hub.call(noted=True, port=hub.old, beside=hub.new)
    assert reopened["changed"] is True and hub.answers() == [True, True]
    back = hub.call(check=True, noted=True, state="restored")
    assert back["changed"] is True and hub.answers() == [True, True]
    restored = hub.call(noted=True, state="restored")
    assert (restored["changed"], restored["restored"]) == (True, [str(hub.conf)])
    assert hub.conf.read_bytes() == original and hub.answers() == [True, False] and hub.state() == "rolled_back"
    assert oct(hub.conf.stat().st_mode)[-3:] == "640"
    assert hub.call(noted=True, state="restored")["changed"] is False


def test_no_request_fails_while_the_ports_come_and_go(running):
    hub, failed, asked, over = running, [], [], threading.Event()

    def agent():
        while not over.is_set():
            try:
                asked.append(hub.ask(hub.old))
            except (OSError, http.client.HTTPException) as err:
                failed.append(err)

    def changes(**options):
        """Requests come before, amid and after it, however fast it is."""
        until(lambda: len(asked) >= 4 * (changes.done + 1), "requests meanwhile")
        changes.done += 1
        return hub.call(**options)["changed"]

    changes.done = 0
    thread = threading.Thread(target=agent)
    thread.start()
    try:
        assert changes() and changes(state="absent") and changes()
    finally:
        over.set()
        thread.join(30)
    assert failed == [] and len(asked) > 10 and all(asked)


def test_each_address_of_the_server_has_to_listen(hub):
    if not os.path.exists("/proc/net/if_inet6") or not any(
            line.startswith("0" * 31 + "1 ") for line in open("/proc/net/if_inet6", encoding="ascii")):
        pytest.skip("this machine has no IPv6 on loopback")
    hub.conf.write_text(hub.text().replace("    server_name", "    listen [::1]:%d ssl;\n    server_name" % hub.old))
    hub.start()
    result = hub.call()
    assert {entry["address"] for entry in result["listening_by"] if entry["port"] == hub.new} == {"127.0.0.1", "::1"}
    # Another process on one of the two addresses alone is enough to stand against it.
    assert hub.call(state="absent")["changed"]
    with socket.create_server(("::1", hub.new), family=socket.AF_INET6):
        hub.refused("port %d is taken by" % hub.new)


# --- what stands against it

def test_a_port_of_another_process_is_found_before_anything_is_written(running):
    with socket.create_server(("127.0.0.1", running.new)):
        result = running.refused("port %d is taken by " % running.new)
    assert "(process %d), so nginx could not have it" % os.getpid() in result["msg"]


def test_a_port_of_another_nginx_is_found_too(running, tmp_path):
    (tmp_path / "second").mkdir()
    second = Hub(tmp_path / "second")
    second.old = running.new
    second.conf.write_text(second.text())
    second.start()
    try:
        result = running.refused("port %d is taken by nginx (process " % running.new)
        assert "(process %d)" % running.process.pid not in result["msg"]
    finally:
        second.stop()


def test_a_port_that_another_file_of_nginx_has_is_refused(running):
    other = running.other_file("other.conf", "server { listen 127.0.0.1:%d; return 404; }\n" % running.new)
    result = running.refused("nginx has a listen on port %d in %s already" % (running.new, other))
    assert "Choose another port, or remove that listen; nothing was changed" in result["msg"]


def test_a_port_that_another_file_has_too_is_left_to_it(running):
    assert running.call()["changed"]
    other = running.other_file("other.conf", "server { listen 127.0.0.1:%d; server_name other; return 404; }\n" % running.new)
    for check in (True, False):
        result = running.call(check, state="absent")
        assert (result["changed"], result["elsewhere"]) == (True, [str(other)])
    assert running.conf.read_text() == running.text()
    again = running.call(state="absent")
    assert (again["changed"], again["elsewhere"], again["reloaded"]) == (False, [str(other)], False)


def test_without_a_port_to_stand_beside_nothing_is_put_in(running):
    running.refused("no server in this file listens on port %d" % running.new, beside=None)
    assert running.call()["changed"] is True
    assert running.call(beside=None)["changed"] is False


def test_a_file_that_nginx_does_not_read_is_refused(running):
    elsewhere = running.folder / "nnt.conf"
    shutil.copy(running.conf, elsewhere)
    running.refused("it is none of the files that nginx reads (", path=str(elsewhere))
    # By another of its names it is the same.
    elsewhere.unlink()
    elsewhere.symlink_to(running.conf)
    assert running.call(path=str(elsewhere))["changed"] is True
    assert elsewhere.is_symlink() and running.answers() == [True, True]


def test_a_configuration_that_is_broken_already_is_left_alone(running):
    running.other_file("broken.conf", "nonsense;\n")
    result = running.refused("nginx's configuration does not pass its test as it is (")
    assert 'unknown directive "nonsense"' in result["msg"]


def test_a_nginx_that_does_not_run_is_refused(hub):
    hub.refused("no process listens on port %d, as it has it, so nginx does not run or has not read it. Start nginx" % hub.old)


def test_a_file_that_is_refused_is_named(running):
    running.conf.write_text("server { listen $port; }\n")
    running.refused("%s: the listen in line 1 has a variable ($port)" % running.conf)
    running.conf.unlink()
    for check in (True, False):
        assert "does not exist" in running.call(check)["msg"]


def test_a_command_that_is_not_there_is_named(running):
    running.refused("/no/such/nginx can't be run: No such file or directory", test_command=["/no/such/nginx", "-t"])
    running.refused("test_command is an empty list", test_command=[])


# --- servers that others have put in

def test_a_server_that_came_after_the_new_port_does_not_lose_the_old_one(running):
    hub = running
    assert hub.call(noted=True)["changed"]
    [plain] = free_ports(1)
    added = ("server { listen 127.0.0.1:%d; listen 127.0.0.1:%d ssl; server_name portal.example.test; ssl_certificate %s; "
             "ssl_certificate_key %s; return 200 'portal'; }\n" % (plain, hub.old, hub.cert, hub.key))
    hub.conf.write_text(hub.opened() + added)
    closing, content = dict(noted=True, state="absent", port=hub.old, beside=hub.new), hub.conf.read_bytes()
    for check in (True, False):
        result = hub.call(check, **closing)
        assert "(portal.example.test) listens on port %d (line 11) and has no such listen on port %d" % (
            hub.old, hub.new) in result.get("msg", ""), result
        assert "Run the migration again, which gives it one, or take that listen out by hand" in result["msg"]
        assert hub.conf.read_bytes() == content and hub.answers() == [True, True]
    # What it says to do leads on.
    assert hub.call(noted=True)["changed"] is True
    assert hub.call(**closing)["changed"] is True
    assert hub.answers() == [False, True] and "127.0.0.1:%d ssl; server_name portal" % hub.new in hub.conf.read_text()
    again = hub.call(**closing)
    assert (again["changed"], again["server_names"]) == (False, ["hub.example.test", "portal.example.test"])


def test_a_listen_on_every_address_stays_for_one_on_a_single_address(hub):
    single = "listen 127.0.0.1:%d ssl;" % hub.old
    text = hub.conf.read_text()
    assert text.count(single) == 1
    hub.conf.write_text(text.replace(single, "%s listen %d ssl; listen %d ssl;" % (single, hub.old, hub.new)))
    hub.start()
    assert hub.answers() == [True, True]
    closed = hub.call(noted=True, state="absent", port=hub.old, beside=hub.new)
    assert closed["changed"] is True and closed["listens"]["after"] == ["%d ssl" % hub.new], closed
    assert hub.answers() == [False, True]


def test_a_hub_beside_a_catch_all_server_answers_to_its_name(running):
    hub = running
    hub.other_file("a.conf", "server { listen 127.0.0.1:%d ssl default_server; server_name _; ssl_certificate %s; "
                             "ssl_certificate_key %s; return 444; }\n" % (hub.old, hub.cert, hub.key))
    subprocess.run([*hub.command, "-s", "reload"], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60)

    def probe(name):
        target = dict(host="127.0.0.1", port=hub.old, protocol="tcp", http=dict(
            tls=True, path="/api/", body_regex="^hub$", **(dict(server_name=name) if name else {})))
        done = direct_module.run("port_probe", dict(targets=[target], fail_on_unreachable=False))
        return direct_module.result(done.stdout, done.stderr)["results"][0]["reachable"]

    names = hub.call(check=True, port=hub.old, beside=None)["server_names"]
    assert names == ["hub.example.test"]
    until(lambda: not probe(None), "the default server does not answer")
    assert probe(names[0]) is True and probe("other.example.test") is False


# --- what goes wrong on the way

def test_a_change_that_fails_the_test_is_taken_back_and_never_loaded(running):
    hub, original = running, running.conf.read_bytes()
    # Its port is not in question until there are two default servers on it; nginx has not read the file yet.
    hub.other_file("other.conf", "server { listen 127.0.0.1:%d default_server; return 404; }\n" % hub.new)
    hub.conf.write_bytes(original.replace(b" ssl;   #", b" ssl default_server;   #"))
    original = hub.conf.read_bytes()
    reloads = hub.folder / "reloads"
    command = ["sh", "-c", "%s -p '%s' -c '%s/nginx.conf' -t" % (NGINX, hub.folder, hub.folder)]
    result = hub.call(noted=True, test_command=command, reload_command=["touch", str(reloads)])
    assert result["failed"] and "a duplicate default server" in result["msg"]
    assert "the file is as it was before, byte for byte, and nginx was not reloaded" in result["msg"]
    assert hub.conf.read_bytes() == original and not reloads.exists() and hub.state() == "rolled_back"
    assert hub.answers() == [True, False]


def test_a_reload_that_fails_is_taken_back(running):
    original = running.conf.read_bytes()
    result = running.call(noted=True, reload_command=["sh", "-c", "echo the bus is down >&2; exit 3"])
    assert result["failed"] and "nginx could not be told to read it again (" in result["msg"]
    assert "exit status 3 (the bus is down)); the file is as it was before, byte for byte" in result["msg"]
    assert running.conf.read_bytes() == original and running.state() == "rolled_back"


def test_a_reload_without_effect_is_taken_back(running):
    original = running.conf.read_bytes()
    result = running.call(noted=True, reload_command=["true"], timeout=0.5)
    assert ("nginx was reloaded, and 0.5 s later it does not listen on 127.0.0.1:%d; its error log says why; the file is as it "
            "was before, byte for byte, and nginx was reloaded with that" % running.new) in result["msg"]
    assert running.conf.read_bytes() == original and running.state() == "rolled_back"


TAKER = """
import os, socket, subprocess, sys
taken = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork():
    os._exit(subprocess.call(sys.argv[3:]))
taken.set_inheritable(False)
open(sys.argv[2], "w").write(str(os.getpid()))
os.setsid()
for handle in (0, 1, 2):
    os.close(handle)
taken.settimeout(120)
taken.accept()
"""


def test_a_port_that_is_taken_at_the_last_moment_is_named_and_the_change_taken_back(running):
    hub, original, pid_file = running, running.conf.read_bytes(), running.folder / "taker.pid"
    (hub.folder / "taker.py").write_text(TAKER)
    taker = [sys.executable, str(hub.folder / "taker.py"), str(hub.new), str(pid_file), *hub.command, "-s", "reload"]
    # The second time it can't have the port, and only reloads.
    once = ["sh", "-c", 'if [ -e "%s" ]; then shift 4; fi; "$@"' % pid_file, "sh", *taker]
    try:
        result = hub.call(noted=True, reload_command=once, timeout=2)
    finally:
        until(pid_file.exists, "no process took the port")
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
    assert "it does not listen on 127.0.0.1:%d, where there is now python" % hub.new in result["msg"]
    assert hub.conf.read_bytes() == original and hub.state() == "rolled_back" and hub.ask(hub.old)


def test_a_close_that_has_no_effect_leaves_both_ports_and_a_way_back(running):
    original = running.conf.read_bytes()
    assert running.call(noted=True)["changed"]
    result = running.call(noted=True, state="absent", port=running.old, reload_command=["true"], timeout=0.5)
    assert "it still listens on port %d" % running.old in result["msg"]
    assert running.conf.read_text() == running.opened() and running.state() == "changing"
    assert running.call(noted=True, state="restored")["changed"]
    assert running.conf.read_bytes() == original and running.answers() == [True, False]


def test_a_second_migration_that_nginx_rejects_leaves_the_record_of_the_first(running):
    hub = running
    assert hub.call(noted=True)["changed"] and hub.call(noted=True, state="absent", port=hub.old)["changed"]
    record, content = hub.record.read_bytes(), hub.conf.read_bytes()
    (third,) = free_ports(1)
    move = dict(path=str(hub.record), old_port=hub.new, new_port=third)
    # Its own test passes, and then it has no effect.
    result = hub.call(record=move, port=third, beside=hub.new, reload_command=["true"], timeout=0.5)
    assert "the file is as it was before, byte for byte" in result["msg"]
    assert hub.conf.read_bytes() == content and hub.record.read_bytes() == record
    assert hub.call(noted=True, port=hub.old, beside=hub.new)["changed"] and hub.call(noted=True, state="restored")["changed"]
    assert hub.conf.read_text() == hub.text() and hub.answers() == [True, False]


def test_a_migration_that_is_tried_again_after_it_was_rejected_is_no_longer_under_way(running):
    failing = dict(noted=True, reload_command=["true"], timeout=0.5)
    for _attempt in range(2):
        assert running.call(**failing)["failed"] and running.state() == "rolled_back"


# --- who is on a port that ends

def test_a_port_that_is_used_does_not_end_unless_no_look_is_asked_for(running):
    hub = running
    assert hub.call(noted=True)["changed"]
    content, closing = hub.conf.read_bytes(), dict(noted=True, state="absent", port=hub.old, users_seconds=0.5)
    kept = [socket.create_connection(("127.0.0.1", hub.old)) for unused in range(2)]
    try:
        for check in (True, False):
            result = hub.call(check, **closing)
            assert result["failed"] and result["users"] == [dict(address="127.0.0.1", connections=2)]
            assert "port %d is still used by 127.0.0.1 (2 connections), who would lose it; nothing was" % hub.old in result["msg"]
        assert hub.conf.read_bytes() == content and hub.state() == "changing"
        assert hub.call(**dict(closing, users_seconds=0))["changed"] and not hub.ask(hub.old)
    finally:
        for one in kept:
            one.close()


def test_a_way_back_does_not_take_the_new_port_from_those_who_use_it_unless_no_look_is_asked_for(running):
    hub, original = running, running.conf.read_bytes()
    back = dict(noted=True, state="restored", users_seconds=0.5)
    # Nothing to take back, whatever is connected.
    with socket.create_connection(("127.0.0.1", hub.old)):
        assert hub.call(**back)["changed"] is False
    assert hub.call(noted=True)["changed"] and hub.call(noted=True, state="absent", port=hub.old)["changed"]
    content = hub.conf.read_bytes()
    with socket.create_connection(("127.0.0.1", hub.new)):
        for check in (True, False):
            result = hub.call(check, **back)
            assert result.get("failed") and result["users"] == [dict(address="127.0.0.1", connections=1)], result
            assert ("port %d is still used by 127.0.0.1 (1 connection), who would lose it; nothing was changed. Lead them to the "
                    "port that stays, and run again" % hub.new) in result["msg"]
        assert hub.conf.read_bytes() == content and hub.state() == "changing" and hub.answers() == [False, True]
    assert hub.call(**back)["changed"] is True
    assert hub.conf.read_bytes() == original and hub.state() == "rolled_back" and hub.answers() == [True, False]
    assert hub.call(**back)["changed"] is False


def test_a_way_back_looks_for_no_users_as_it_comes(running):
    assert running.call(noted=True)["changed"]
    with socket.create_connection(("127.0.0.1", running.new)):
        assert running.call(noted=True, state="restored")["changed"] is True
    assert running.answers() == [True, False]


def test_a_way_back_looks_for_no_users_where_nginx_never_had_the_new_port(running):
    original = running.conf.read_bytes()
    running.killed_at_the_reload(True)
    # A connection from here to elsewhere, which the kernel happened to give that port.
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, socket.socket() as own:
        own.bind(("127.0.0.1", running.new))
        own.connect(elsewhere.getsockname())
        assert running.call(noted=True, state="restored", users_seconds=0.5)["changed"] is True
    assert running.conf.read_bytes() == original and running.state() == "rolled_back"


def test_who_else_has_the_new_port_is_told_beside_those_who_would_lose_it(running):
    assert running.call(noted=True)["changed"]
    other = running.other_file("other.conf", "server { listen 127.0.0.1:%d ssl; server_name other; return 404; }\n" % running.new)
    with socket.create_connection(("127.0.0.1", running.new)):
        result = running.call(noted=True, state="restored", users_seconds=0.5)
    assert "%s has a listen on it too, and its users can't be told from these." % other in result["msg"]


def test_who_is_on_the_port_that_stays_does_not_count(running):
    assert running.call(noted=True)["changed"]
    with socket.create_connection(("127.0.0.1", running.new)):
        assert running.call(noted=True, state="absent", port=running.old, users_seconds=0.5)["changed"]
    assert running.answers() == [False, True]
    assert running.call(noted=True, state="absent", port=running.old, users_seconds=0.5)["changed"] is False


# --- runs that were killed

def test_a_run_that_was_killed_before_the_reload_is_finished(running):
    running.conf.write_text(running.opened())
    assert running.call(check=True)["changed"] is True and running.answers() == [True, False]
    result = running.call()
    assert (result["changed"], result["reloaded"]) == (True, True)
    assert result["listens"]["before"] == result["listens"]["after"] and running.answers() == [True, True]
    assert running.call()["changed"] is False


def test_a_close_that_was_killed_before_the_reload_is_finished_or_turned_back(running):
    assert running.call()["changed"]
    running.conf.write_text(running.closed())
    # The old port is wanted again: nginx has it still, by a file that is no more.
    back = running.call(port=running.old, beside=running.new)
    assert back["changed"] is True and running.answers() == [True, True]
    running.conf.write_text(running.closed())
    assert running.call(check=True, state="absent", port=running.old)["changed"] is True
    assert running.call(state="absent", port=running.old)["changed"] is True
    assert running.answers() == [False, True]


def test_a_way_back_that_was_killed_before_the_reload_is_finished(running):
    original = running.conf.read_bytes()
    assert running.call(noted=True)["changed"]
    running.conf.write_bytes(original)
    result = running.call(noted=True, state="restored")
    assert (result["changed"], result["reloaded"], running.state()) == (True, True, "rolled_back")
    assert running.answers() == [True, False]


# --- the way back

def test_what_others_wrote_since_stays_when_the_listens_go_back(running):
    assert running.call(noted=True)["changed"]
    assert running.call(noted=True, state="absent", port=running.old)["changed"]
    running.conf.write_text(running.closed().replace("    location", "    client_max_body_size 9m;\n    location"))
    predicted = running.call(check=True, noted=True, state="restored")
    result = running.call(noted=True, state="restored")
    assert (result["changed"], result["listens"]) == (True, predicted["listens"])
    assert result["listens"]["after"] == ["127.0.0.1:%d ssl" % running.old]
    assert "client_max_body_size 9m;" in running.conf.read_text() and running.answers() == [True, False]
    assert running.state() == "rolled_back"


def test_listens_that_others_changed_since_go_back_by_force_alone(running):
    original = running.conf.read_bytes()
    assert running.call(noted=True)["changed"]
    old = "listen 127.0.0.1:%d ssl" % running.old
    running.conf.write_text(running.opened().replace(old, old + " http2"))
    changed = running.conf.read_bytes()
    for check in (True, False):
        result = running.call(check, noted=True, state="restored")
        assert result["failed"] and "it has changed since the migration" in result["msg"]
        assert running.conf.read_bytes() == changed
    assert running.call(noted=True, state="restored", force=True)["changed"] is True
    assert running.conf.read_bytes() == original and running.answers() == [True, False]


def test_old_bytes_that_nginx_no_longer_takes_are_not_loaded(running):
    assert running.call(noted=True)["changed"]
    running.other_file("broken.conf", "nonsense;\n")
    result = running.call(noted=True, state="restored")
    assert "nginx does not take it as it was before the migration (" in result["msg"]
    assert running.conf.read_text() == running.opened() and running.answers() == [True, True]
    (running.folder / "conf.d" / "broken.conf").unlink()
    assert running.call(noted=True, state="restored")["changed"] is True and running.answers() == [True, False]


def test_the_file_of_a_nginx_that_does_not_run_goes_back_with_a_warning(running):
    original = running.conf.read_bytes()
    assert running.call(noted=True)["changed"]
    running.stop()
    result = running.call(noted=True, state="restored")
    assert (result["changed"], result["reloaded"]) == (True, False)
    assert "nginx does not run; it was not reloaded. Start it" in str(result["warnings"])
    assert running.conf.read_bytes() == original and running.state() == "rolled_back"


def test_a_record_of_another_file_is_refused(running):
    assert running.call(noted=True)["changed"]
    other = running.other_file("other.conf", running.text(port=1))
    other.write_text("# nothing\n")
    result = running.call(noted=True, state="restored", path=str(other))
    assert "holds nothing about %s" % other in result["msg"]
    assert running.conf.read_text() == running.opened()


def test_where_nothing_was_noted_nothing_is_restored(running):
    result = running.call(noted=True, state="restored")
    assert (result["changed"], result["restored"], result["reloaded"]) == (False, [], False)
    assert not running.record.exists()


# --- a reload that nginx gives up

@pytest.fixture(params=["workers", "no worker", "workers that can't be seen"])
def any_nginx(hub, request):
    main = hub.folder / "nginx.conf"
    if request.param == "no worker":
        main.write_text("master_process off;\n" + main.read_text())
    if request.param == "workers that can't be seen":
        if os.geteuid() or not shutil.which("setpriv"):
            pytest.skip("this takes root, to lay down a right of root, and setpriv (Debian: util-linux)")
        group = grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name
        main.write_text(main.read_text().replace("user root;", "user %s %s;" % ("nobody", group)))
        # As in a container that was not given it.
        hub.prefix = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
        hub.command = [*hub.prefix, *hub.command]
    yield hub.start()
    if request.param == "no worker":
        # Asked to end while it tries to have a port, it notices when the next connection comes.
        hub.process.kill()
        hub.process.wait(30)


def test_a_reload_that_another_file_makes_fail_is_no_success(any_nginx):
    hub, original = any_nginx, any_nginx.conf.read_bytes()
    [port] = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        # Its test does not try to have the port, and the master listens on the others while it does.
        hub.other_file("other.conf", "server { listen 127.0.0.1:%d; return 404; }\n" % port)
        result = hub.call(noted=True, timeout=5)
    assert "5 s later it does not listen on 127.0.0.1:%d; its error log says why" % hub.new in result.get("msg", ""), result
    assert hub.conf.read_bytes() == original and hub.state() == "rolled_back" and hub.listens_on() == [hub.old]


def test_a_port_that_opens_and_closes_is_seen_whether_nginx_shows_workers_or_not(any_nginx):
    assert any_nginx.call()["changed"] is True and any_nginx.listens_on() == [any_nginx.old, any_nginx.new]
    assert any_nginx.call()["changed"] is False
    assert any_nginx.call(state="absent")["changed"] is True and any_nginx.listens_on() == [any_nginx.old]


# --- other processes on other addresses

def test_nginx_is_told_from_those_that_have_its_port_on_other_addresses(hub, tmp_path):
    hub.conf.write_text(hub.text().replace("127.0.0.1", "127.0.0.3"))
    (tmp_path / "second").mkdir()
    second = Hub(tmp_path / "second")
    second.old = hub.old
    line = "listen 127.0.0.1:%d ssl;" % hub.old
    second.conf.write_text(second.text().replace(line, " ".join(line.replace("0.0.1", "0.0.%d" % last) for last in (2, 4, 5, 6))))
    second.start()
    try:
        hub.start()
        until(lambda: any(entry["address"] == "127.0.0.3" for entry in listeners({hub.old})), "nginx does not listen")
        with socket.create_server(("127.0.0.7", hub.old)):
            result = hub.call()
            assert result.get("changed") is True, result
            assert [(entry["address"], entry["process"]) for entry in result["listening_by"] if entry["port"] == hub.new] == [
                ("127.0.0.3", "nginx")]
            assert hub.call(state="absent")["changed"] is True
    finally:
        second.stop()


def test_a_port_of_another_process_on_another_address_is_left_to_it(running):
    words = "(process %d) on 127.0.0.2" % os.getpid()
    with socket.create_server(("127.0.0.2", running.new)):
        for check in (True, False):
            result = running.call(check)
            assert result.get("changed") is True and [words in one for one in result["elsewhere"]] == [True], result
        assert running.answers() == [True, True]
        for _again in range(2):
            # Also when nothing is left to be done: the run that opened the firewall for that one may not shut it.
            result = running.call(state="absent")
            assert [words in one for one in result["elsewhere"]] == [True], result
    assert running.call(state="absent")["elsewhere"] == [] and running.answers() == [True, False]


def test_a_port_of_another_process_on_all_addresses_is_refused(running):
    with socket.create_server(("0.0.0.0", running.new)):
        running.refused("port %d is taken by" % running.new)


# --- others who save the file

def test_what_others_save_before_a_reload_fails_is_not_overwritten(running):
    save = ["sh", "-c", "echo '# mine' >> '%s'; exit 3" % running.conf]
    result = running.call(noted=True, reload_command=save)
    assert "exit status 3); another process has saved the file meanwhile, so it stays as it is now" in result["msg"]
    assert result["msg"].endswith("look into it, and nginx was not reloaded again")
    assert running.conf.read_text() == running.opened() + "# mine\n" and running.state() == "changing"
    assert running.call(noted=True, state="restored")["changed"] is True
    assert running.conf.read_text() == running.text() + "# mine\n" and running.answers() == [True, False]


def test_what_others_save_before_the_test_fails_is_not_overwritten(running):
    save = ["sh", "-c", "if grep -q 'listen 127.0.0.1:%d' '%s'; then echo '# mine' >> '%s'; exit 3; fi" % (
        running.new, running.conf, running.conf)]
    result = running.call(noted=True, test_command=save)
    assert "exit status 3); another process has saved the file meanwhile" in result["msg"]
    assert result["msg"].endswith("and nginx was not reloaded")
    assert running.conf.read_text() == running.opened() + "# mine\n" and running.answers() == [True, False]


def test_what_others_save_on_the_way_back_is_not_overwritten(running):
    assert running.call(noted=True)["changed"]
    save = ["sh", "-c", "echo '# mine' >> '%s'; exit 3" % running.conf]
    result = running.call(noted=True, state="restored", test_command=save)
    assert "exit status 3); another process has saved the file meanwhile" in result["msg"]
    assert running.conf.read_text() == running.text() + "# mine\n" and running.state() == "changing"
    assert running.call(noted=True, state="restored")["changed"] is True
    assert running.conf.read_text() == running.text() + "# mine\n" and running.answers() == [True, False]


def test_a_file_that_can_not_be_read_goes_back_by_force_alone(running):
    original = running.conf.read_bytes()
    assert running.call(noted=True)["changed"]
    running.conf.write_text(running.opened() + "server {\n")
    for check in (True, False):
        result = running.call(check, noted=True, state="restored")
        assert "it has changed since the migration" in result["msg"]
    for check in (True, False):
        result = running.call(check, noted=True, state="restored", force=True)
        assert result.get("changed") is True, result
        assert result["listens"] == dict(before=[], after=["127.0.0.1:%d ssl" % running.old])
    assert running.conf.read_bytes() == original and running.answers() == [True, False] and running.state() == "rolled_back"


# --- a port that is lost after a run was killed

@pytest.mark.parametrize("noted", [True, False])
def test_a_listen_of_a_run_that_was_killed_is_named_when_its_port_is_lost(running, noted):
    hub, original = running, running.conf.read_bytes()
    hub.killed_at_the_reload(noted)
    assert hub.conf.read_text() == hub.opened() and hub.answers() == [True, False]
    with socket.create_server(("127.0.0.1", hub.new)):
        for check in (True, False):
            result = hub.call(check, noted=noted)
            assert "it has a listen on port %d already%s, nginx does not have it, and the port is taken by " % (
                hub.new, ", by a run that did not come to its end" if noted else "") in result["msg"]
            assert "(process %d)" % os.getpid() in result["msg"]
            assert "run again, or take the listen out with state=%s" % ("restored" if noted else "absent") in result["msg"]
        result = hub.call(noted=noted, state="restored" if noted else "absent")
        assert result.get("changed") is True, result
    assert hub.conf.read_bytes() == original and hub.answers() == [True, False]
    assert hub.state() == ("rolled_back" if noted else None)


# --- copies

def test_a_copy_that_nginx_would_read_too_is_not_made(hub):
    main = hub.folder / "nginx.conf"
    main.write_text(main.read_text().replace("include %s/conf.d/*.conf;" % hub.folder, "include conf.*/*;"))
    hub.start()
    result = hub.refused("backup would put a copy into %s, and nginx, which has include conf.*/*, would load that too"
                         % hub.conf.parent, backup=True)
    assert "Leave backup out; record keeps the old bytes elsewhere; nothing was changed" in result["msg"]
    assert hub.call(noted=True)["changed"] is True
    assert "would load that too" in hub.call(noted=True, state="restored", backup=True)["msg"]
    assert os.listdir(str(hub.conf.parent)) == ["nnt.conf"] and hub.answers() == [True, True]
    assert hub.call(noted=True, state="restored")["changed"] is True


# --- read as nginx reads it

@pytest.mark.parametrize("line, good", [
    ('location ~ "^/[a-z]{3}$" { }', True), ("location ~ ^/[a-z]{3}$ { }", False), ("add_header X 'listen 1;';", True),
    ('add_header X "a\\"};{";', True), ("add_header X a#b;", True), ("add_header X a'b;", True), ("add_header X 'a'b;", False),
    ("add_header X 'a;", False), ("add_header X ${host}b;", True), ("add_header X $host{;", False), ("add_header X a }", False),
    ("add_header X a; }", False), ("; add_header X a;", False), ("add_header X a\\;b;", True),
    ("add_header X 'a' 'always';", True), ("add_header X {};", False), ("# { } ' \"", True), ("add_header X 'a\\\\';", True),
    ("return 200 'a\nb';", True), ("set $x 1;set $y 2;", True), ("'add_header' X a;", True), ("if ($host ~ 'a{2}') { }", True),
])
def test_a_file_is_well_formed_where_it_is_for_nginx(hub, line, good):
    text = hub.text().replace("    server_name", "    %s\n    server_name" % line)
    hub.conf.write_text(text)
    done = subprocess.run([*hub.command, "-t"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode == 0) is good, done.stderr
    if good:
        hub.conf.write_bytes(conf.with_twins(text.encode(), hub.old, hub.new))
        assert hub.conf.read_text().count("    listen 127.0.0.1:%d ssl;\n" % hub.new) == 1
        subprocess.run([*hub.command, "-t"], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60)
    else:
        with pytest.raises(EngineError):
            conf.with_twins(text.encode(), hub.old, hub.new)
