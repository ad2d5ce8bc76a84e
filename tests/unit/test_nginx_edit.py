# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sockets are those of a listen, and which stand against it; what else there is, is shown on a real nginx."""

import os
import types

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._nginx import conf, edit as _nginx_edit
from ansible_collections.portshift.agents.plugins.module_utils._nginx.edit import (
    ListenEdit, NginxEditError, _overlaps, _serves)
from ansible_collections.portshift.agents.plugins.module_utils._core.process_tree import has_workers, master_of, workers_of
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import PosixHost
from ansible_collections.portshift.agents.tests.unit import growth


def listen(text):
    return conf.listens(b"server { listen %s; }" % text.encode())[0]


@pytest.mark.parametrize("text, address, there", [
    ("443", "0.0.0.0", True), ("443", "127.0.0.1", True), ("443", "::", True), ("443", "::1", False),
    ("443", "::ffff:10.0.0.1", True), ("0.0.0.0:443", "10.0.0.1", True),
    ("10.0.0.1:443", "10.0.0.1", True), ("10.0.0.1:443", "10.0.0.2", False), ("10.0.0.1:443", "0.0.0.0", True),
    ("10.0.0.1:443", "::", True), ("10.0.0.1:443", "::1", False), ("10.0.0.1:443", "::ffff:10.0.0.1", True),
    ("[::]:443", "::", True), ("[::]:443", "::1", True), ("[::]:443", "0.0.0.0", False), ("[::]:443", "10.0.0.1", False),
    ("[::]:443 ipv6only=off", "10.0.0.1", True), ("[0:0::0]:443 ipv6only=off", "0.0.0.0", True),
    ("[2001:DB8:0::1]:443", "2001:db8::1", True), ("[2001:db8::1]:443", "::", True), ("[2001:db8::1]:443", "2001:db8::2", False),
    ("[2001:db8::1]:443", "0.0.0.0", False), ("hub.example.test:443", "10.0.0.1", True),
])
def test_another_socket_stands_against_a_listen_where_their_addresses_overlap(text, address, there):
    assert _overlaps(address, listen(text)) is there


@pytest.mark.parametrize("text, address, its", [
    ("443", "0.0.0.0", True), ("443", "127.0.0.1", False), ("443", "::", False), ("10.0.0.1:443", "10.0.0.1", True),
    ("10.0.0.1:443", "0.0.0.0", True), ("10.0.0.1:443", "10.0.0.2", False), ("10.0.0.1:443", "::", False),
    ("[::]:443", "::", True), ("[::]:443", "0.0.0.0", False), ("[2001:DB8:0::1]:443", "2001:db8::1", True),
    ("[2001:db8::1]:443", "::", True), ("hub.example.test:443", "10.0.0.1", True),
])
def test_a_socket_is_one_of_a_listen_by_its_address(text, address, its):
    assert _serves(address, listen(text).host) is its


@pytest.fixture
def proc(tmp_path):
    """A /proc with nginx's master 10 and its worker 11, one of another's 20 and 21, and a helper 12 that the first started."""
    for pid, name, parent in ((10, "nginx", 1), (11, "nginx", 10), (20, "nginx (2)", 1), (21, "sh", 20), (12, "helper", 10)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text("%d (%s) S %d%s %d 0 0\n" % (pid, name, parent, " 0" * 17, 1000 + pid))
        os.symlink("/usr/sbin/nginx", str(tmp_path / str(pid) / "exe"))
    return tmp_path


def test_a_worker_is_a_process_of_its_master_that_can_be_seen(proc):
    assert has_workers(10, str(proc)) is True
    assert has_workers(20, str(proc)) is False and has_workers(11, str(proc)) is False and has_workers(99, str(proc)) is False
    os.unlink(str(proc / "11" / "exe"))
    assert has_workers(10, str(proc)) is False and workers_of(10, str(proc)) == {(11, 1011)}
    assert workers_of(20, str(proc)) == workers_of(99, str(proc)) == set()


def test_a_process_that_has_ended_has_no_master(proc):
    assert master_of(11, str(proc)) == master_of(10, str(proc)) == 10 and master_of(99, str(proc)) is None


@pytest.mark.parametrize("text, expected", [
    (b"include a; http { include 'b c/*.conf'; server { include d/*; } }", ["a", "b c/*.conf", "d/*"]),
    (b"# include a;\nserver { return 200 'include b;'; include; }", []), (b"include a; {", []),
])
def test_what_a_file_takes_in_is_found_in_every_context(text, expected):
    assert conf.includes(text) == expected


# --- what the kernel shows of it

MASTER = master_of(os.getpid())
BOTH = b"server { listen 127.0.0.1:443 ssl; listen 127.0.0.1:8443 ssl; }"


@pytest.fixture
def edit(tmp_path, monkeypatch):
    """A function (content, state, port, what listens at each look, the last of them for ever) -> the edit of a file."""
    def made(content, state, port, *looks):
        (tmp_path / "hub.conf").write_bytes(content)
        left = list(looks)

        class Listening(PosixHost):
            def listeners(self, ports, address=None, every_owner=False):
                return [entry for entry in (left.pop(0) if len(left) > 1 else left[0]) if entry["port"] in ports]

        monkeypatch.setattr(_nginx_edit, "has_workers", lambda master: True)
        monkeypatch.setattr(_nginx_edit, "LOOK_AGAIN", 0.001)
        found = ListenEdit(None, dict(path=str(tmp_path / "hub.conf"), state=state, port=port, beside=None, timeout=1,
                                      test_command=["true"], reload_command=["true"]), Listening())
        found.master, found.left = MASTER, left
        return found
    return made


def socket_of(owners, port, address="127.0.0.1", protocol="tcp"):
    return dict(protocol=protocol, address=address, port=port, pid=owners[0] if owners else None, process=None, owners=owners)


class Elsewhere(PosixHost):
    """A host whose file, commands and listeners are none of this machine."""

    def __init__(self):
        self.ran = []

    def edit(self, path, may_be_missing=False):
        return types.SimpleNamespace(before=BOTH, target=path)

    def real_path(self, path):
        return path.replace("/linked/", "/real/")

    def run(self, command, seconds):
        self.ran.append(command)
        return 0, "# configuration file /linked/nginx.conf:\ninclude x/*;\n# configuration file /linked/x/hub.conf:\n", ""

    def listeners(self, ports, address=None, every_owner=False):
        return [socket_of(OURS, port) for port in sorted(ports)]

    def outgoing(self, port, address=None):
        return [dict(address="127.0.0.1", remote="192.0.2.9:443", pid=4711, process="curl")]


def test_what_is_judged_is_asked_of_the_host_that_is_handed_in(monkeypatch):
    # Whose processes are asked beside it.
    monkeypatch.setattr(_nginx_edit, "has_workers", lambda master: False)
    host = Elsewhere()
    found = ListenEdit(None, dict(path="/real/x/hub.conf", state="present", port=8443, beside=443, timeout=1, backup=False,
                                  test_command=["nginx", "-t"], reload_command=["true"]), host)
    found.master = found._find_nginx()
    assert (found.before, found.master, found._lacking()) == (BOTH, MASTER, [])
    assert found._look_at_the_rest() == [] and host.ran == [["nginx", "-T"]] and found.nginx.folder == "/linked"
    with pytest.raises(NginxEditError, match=r"is in use by a connection from here to 192.0.2.9:443 \(curl \(process 4711\)\)"):
        found._require_free_port()


OURS = [MASTER]
NEW = socket_of(OURS, 8443)


@pytest.mark.parametrize("content, left, lacking", [
    (BOTH, socket_of([], 443), ["still listens on port 443"]),
    (BOTH, socket_of(OURS, 443), ["still listens on port 443"]),
    (b"server { listen 443; listen 127.0.0.1:8443; }", socket_of([], 443, "0.0.0.0"), ["still listens on port 443"]),
    (b"server { listen [::]:443; listen 127.0.0.1:8443; }", socket_of([], 443, "::"), ["still listens on port 443"]),
    (b"server { listen 443 quic; listen 127.0.0.1:8443; }", socket_of([], 443, "0.0.0.0", "udp"), ["still listens on port 443"]),
    # Of another process, which can't be seen.
    (BOTH, socket_of([], 443, "127.0.0.2"), []), (BOTH, socket_of([], 443, "0.0.0.0"), []), (BOTH, socket_of([], 443, "::"), []),
    (b"server { listen 127.0.0.1:443; listen 443 quic; listen 8443; }", socket_of([], 443, "0.0.0.0"), []),
    (b"server { listen hub.example.test:443; listen 127.0.0.1:8443; }", socket_of([], 443), []),
    # Of another process, which can be seen.
    (BOTH, socket_of([1], 443), []),
    # The file never had it.
    (b"server { listen 127.0.0.1:8443; }", socket_of([], 443), []),
    # Another port is not in question.
    (BOTH, socket_of([], 444), []),
])
def test_a_port_that_ends_has_ended_when_no_old_worker_has_it_unseen(edit, content, left, lacking):
    found = edit(content, "absent", 443, [NEW, left])
    assert found._lacking() == lacking
    assert found._wait(set()) == lacking


def test_the_end_of_an_old_worker_that_can_not_be_seen_is_waited_for(edit):
    found = edit(BOTH, "absent", 443, *[[NEW, socket_of([], 443)]] * 5, [NEW])
    assert found._wait(set()) == [] and len(found.left) == 1


def test_what_another_file_listens_on_is_not_waited_for(edit):
    found = edit(BOTH, "absent", 443, [NEW, socket_of([], 443)])
    found.elsewhere.add(443)
    assert found._wait(set()) == []


def test_a_port_that_begins_is_not_proved_by_what_can_not_be_seen(edit):
    found = edit(BOTH, "present", 8443, [socket_of([], 8443)])
    assert found._wait(set()) == ["does not listen on 127.0.0.1:8443"]


@pytest.mark.parametrize("before, there, lacking", [
    ({(11, 5)}, {(11, 5)}, ["has begun no worker with the new configuration"]),
    ({(11, 5)}, {(11, 5), (12, 9)}, []), ({(11, 5)}, {(11, 9)}, []), (set(), set(), []),
])
def test_a_port_is_there_when_a_new_worker_is_where_what_workers_have_can_not_be_seen(edit, monkeypatch, before, there, lacking):
    found = edit(BOTH, "present", 8443, [NEW])
    monkeypatch.setattr(_nginx_edit, "has_workers", lambda master: False)
    monkeypatch.setattr(_nginx_edit, "workers_of", lambda master: there)
    monkeypatch.setattr(_nginx_edit, "HELD", 0.01)
    assert found._wait(before) == lacking


def test_a_port_that_stream_has_too_goes_on_in_the_same_file(edit):
    content = b"http{%s}stream{server{listen 127.0.0.2:443;}}" % BOTH
    found = edit(content, "absent", 443, [NEW, socket_of(OURS, 443, "127.0.0.2")])
    assert found._lacking() == []
    assert found.others == ["%s (outside of its web servers)" % found.path]
    assert edit(content, "absent", 8443, [NEW]).others == []


@pytest.mark.parametrize("state, port, owners, lacking", [
    ("absent", 443, OURS, ["still listens on port 443"]), ("absent", 443, [], ["still listens on port 443"]),
    ("present", 8443, [], None)])
def test_a_look_at_many_addresses_takes_no_square_of_their_number(edit, state, port, owners, lacking):
    def cost(count):
        addresses = ["10.%d.%d.1" % divmod(number, 250) for number in range(count)]
        content = b"server {%s}" % b"".join(
            b"listen %s:443; listen %s:8443;" % ((address.encode(),) * 2) for address in addresses)
        there = [socket_of(owners, 443, address) for address in addresses]
        found = edit(content, state, port, there)

        def look():
            assert found._lacking() == (lacking or ["does not listen on %s:8443" % address for address in addresses])
            assert found._may_serve(there) == there
        return growth.seconds(look)

    eighth, whole = (cost(count) for count in (2000 // growth.SHARE, 2000))
    assert growth.is_a_line(eighth, whole), (eighth, whole)
