# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sockets are those of a listen, and which stand against it; what else there is, is shown on a real nginx."""

import os

import pytest

from ansible_collections.portshift.agents.plugins.module_utils import _nginx_conf
from ansible_collections.portshift.agents.plugins.module_utils._nginx_edit import _overlaps, _serves, has_workers


def listen(text):
    return _nginx_conf.listens(b"server { listen %s; }" % text.encode())[0]


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
        (tmp_path / str(pid) / "stat").write_text("%d (%s) S %d 1 1 0\n" % (pid, name, parent))
        os.symlink("/usr/sbin/nginx", str(tmp_path / str(pid) / "exe"))
    return tmp_path


def test_a_worker_is_a_process_of_its_master_that_can_be_seen(proc):
    assert has_workers(10, str(proc)) is True
    assert has_workers(20, str(proc)) is False and has_workers(11, str(proc)) is False and has_workers(99, str(proc)) is False
    os.unlink(str(proc / "11" / "exe"))
    assert has_workers(10, str(proc)) is False


@pytest.mark.parametrize("text, expected", [
    (b"include a; http { include 'b c/*.conf'; server { include d/*; } }", ["a", "b c/*.conf", "d/*"]),
    (b"# include a;\nserver { return 200 'include b;'; include; }", []), (b"include a; {", []),
])
def test_what_a_file_takes_in_is_found_in_every_context(text, expected):
    assert _nginx_conf.includes(text) == expected
