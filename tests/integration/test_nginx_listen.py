# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx_listen on a real nginx of this machine: what it writes, what listens then, and what stands against it."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

from ansible_collections.portshift.agents.plugins.module_utils import _nginx_conf
from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError
from ansible_collections.portshift.agents.tests.integration import direct_module
from ansible_collections.portshift.agents.tests.integration.nginx_hub import NGINX, SECRET, Hub, until


class Host(Hub):
    def call(self, check=False, **arguments):
        given = dict(path=str(self.conf), test_command=[*self.command, "-t"], reload_command=[*self.command, "-s", "reload"])
        if arguments.get("state", "present") != "restored":
            given["port"] = self.new
        if arguments.get("state", "present") == "present":
            given["beside"] = self.old
        given.update(arguments, _ansible_check_mode=check, _ansible_diff=True)
        if given.pop("noted", False):
            given["record"] = dict(path=str(self.record), old_port=self.old, new_port=self.new)
        done = subprocess.run(direct_module.command("nginx_listen", given), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=120)
        assert SECRET not in done.stdout + done.stderr and "Traceback" not in done.stdout + done.stderr, done.stderr
        return direct_module.result(done.stdout, done.stderr)

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

    thread = threading.Thread(target=agent)
    thread.start()
    try:
        assert hub.call()["changed"] and hub.call(state="absent")["changed"] and hub.call()["changed"]
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
    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("::1", hub.new))
        taken.listen(1)
        hub.refused("port %d is taken by" % hub.new)


# --- what stands against it

def test_a_port_of_another_process_is_found_before_anything_is_written(running):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", running.new))
        taken.listen(1)
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
    hub.refused("nobody listens on port %d, as it has it, so nginx does not run or has not read it. Start nginx" % hub.old)


def test_a_file_that_is_refused_is_named(running):
    running.conf.write_text("server { listen $port; }\n")
    running.refused("%s: the listen in line 1 has a variable ($port)" % running.conf)
    running.conf.unlink()
    for check in (True, False):
        assert "does not exist" in running.call(check)["msg"]


def test_a_command_that_is_not_there_is_named(running):
    running.refused("/no/such/nginx can't be run: No such file or directory", test_command=["/no/such/nginx", "-t"])
    running.refused("test_command is an empty list", test_command=[])


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
taken = socket.socket()
taken.bind(("127.0.0.1", int(sys.argv[1])))
taken.listen(1)
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
        until(pid_file.exists, "nobody took the port")
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

def test_what_somebody_wrote_since_stays_when_the_listens_go_back(running):
    assert running.call(noted=True)["changed"]
    assert running.call(noted=True, state="absent", port=running.old)["changed"]
    running.conf.write_text(running.closed().replace("    location", "    client_max_body_size 9m;\n    location"))
    predicted = running.call(check=True, noted=True, state="restored")
    result = running.call(noted=True, state="restored")
    assert (result["changed"], result["listens"]) == (True, predicted["listens"])
    assert result["listens"]["after"] == ["127.0.0.1:%d ssl" % running.old]
    assert "client_max_body_size 9m;" in running.conf.read_text() and running.answers() == [True, False]
    assert running.state() == "rolled_back"


def test_listens_that_somebody_changed_since_go_back_by_force_alone(running):
    original = running.conf.read_bytes()
    assert running.call(noted=True)["changed"]
    old = "listen 127.0.0.1:%d ssl" % running.old
    running.conf.write_text(running.opened().replace(old, old + " http2"))
    changed = running.conf.read_bytes()
    for check in (True, False):
        result = running.call(check, noted=True, state="restored")
        assert result["failed"] and "somebody else has changed it since the migration" in result["msg"]
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
        hub.conf.write_bytes(_nginx_conf.with_twins(text.encode(), hub.old, hub.new))
        assert hub.conf.read_text().count("    listen 127.0.0.1:%d ssl;\n" % hub.new) == 1
        subprocess.run([*hub.command, "-t"], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60)
    else:
        with pytest.raises(EngineError):
            _nginx_conf.with_twins(text.encode(), hub.old, hub.new)
