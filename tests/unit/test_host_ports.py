# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on this host, read from /proc as the kernel writes it."""

import os
import socket

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import (
    TCP_LISTEN, UDP_UNCONNECTED, clients, connections, ephemeral_ports, is_ephemeral, listeners, own_addresses, parse_ranges,
    parse_sockets)

TCP = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:CC57 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20611 1 ffff8f0a 100 0 0 10 0
   1: 00000000:D6D8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20612 1 ffff8f0a 100 0 0 10 0
   2: 0A01A8C0:CC57 0B01A8C0:8D2E 01 00000000:00000000 02:0000A7C5 00000000     0        0 20613 2 ffff8f0a 20 4 30 10 -1
   3: 0A01A8C0:8D30 0B01A8C0:CC57 06 00000000:00000000 03:00000F5D 00000000     0        0 0 3 ffff8f0a
"""
TCP6 = b"""\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt
   0: 00000000000000000000000000000000:CC57 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 \
    0        0 30001 1 ffff8f0a 100 0 0 10 0
   1: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 \
    0        0 30002 1 ffff8f0a 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 \
    0        0 30003 1 ffff8f0a 100 0 0 10 0
"""
UDP = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1111: 00000000:CC57 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 40001 2 ffff8f0a 0
 1112: 0100007F:CC58 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 40002 2 ffff8f0a 0
"""


@pytest.fixture
def proc(tmp_path):
    """A /proc in which process 77, besrelay, holds the first listener."""
    for name, content in (("net/tcp", TCP), ("net/tcp6", TCP6), ("net/udp", UDP), ("77/comm", b"besrelay\n"),
                          ("sys/net/ipv4/ip_local_port_range", b"32768\t60999\n"),
                          ("sys/net/ipv4/ip_local_reserved_ports", b"52311,55000-55002\n")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "77" / "fd").mkdir()
    os.symlink("/dev/null", str(tmp_path / "77" / "fd" / "0"))
    os.symlink("socket:[20611]", str(tmp_path / "77" / "fd" / "3"))
    (tmp_path / "78").mkdir()     # gone while we look: a process without its files
    return str(tmp_path)


@pytest.mark.skipif(os.sys.byteorder != "little", reason="the samples are from little-endian machines")
@pytest.mark.parametrize("table, state, expected", [
    (TCP, TCP_LISTEN, [("127.0.0.1", 52311, "20611"), ("0.0.0.0", 55000, "20612")]),
    (TCP6, TCP_LISTEN, [("::", 52311, "30001"), ("2001:db8::1", 80, "30002"), ("::ffff:127.0.0.1", 8080, "30003")]),
    (UDP, UDP_UNCONNECTED, [("0.0.0.0", 52311, "40001")]),
    (b"", TCP_LISTEN, []),
    (TCP.splitlines()[0], TCP_LISTEN, []),
    (TCP[:-90], TCP_LISTEN, [("127.0.0.1", 52311, "20611"), ("0.0.0.0", 55000, "20612")]),
])
def test_listening_sockets_are_read(table, state, expected):
    assert parse_sockets(table, state) == expected


def test_listeners_on_the_ports_asked_for_with_their_process(proc):
    found = listeners({52311}, proc=proc)
    assert [(entry["protocol"], entry["address"], entry["pid"], entry["process"]) for entry in found] == [
        ("tcp", "127.0.0.1", 77, "besrelay"), ("tcp", "::", None, None), ("udp", "0.0.0.0", None, None)]
    assert {entry["port"] for entry in found} == {52311}


def test_an_open_file_that_is_gone_while_we_look_hides_no_other(proc, tmp_path):
    # Some before and some behind the socket, in whatever order the folder is read; none of them is a link to be read.
    for number in (1, 2, 4, 5):
        (tmp_path / "77" / "fd" / str(number)).write_bytes(b"")
    assert [entry["pid"] for entry in listeners({52311}, "127.0.0.1", proc) if entry["address"] == "127.0.0.1"] == [77]


def test_every_process_that_has_a_socket_is_told_when_that_is_asked_for(proc, tmp_path):
    (tmp_path / "79" / "fd").mkdir(parents=True)
    (tmp_path / "79" / "comm").write_bytes(b"besrelay\n")
    for number in (3, 4):
        os.symlink("socket:[20611]", str(tmp_path / "79" / "fd" / str(number)))
    found = listeners({52311}, proc=proc, every_owner=True)
    assert [sorted(entry["owners"]) for entry in found] == [[77, 79], [], []]
    assert found[0]["pid"] in (77, 79) and "owners" not in listeners({52311}, proc=proc)[0]


@pytest.mark.parametrize("address, expected", [
    ("127.0.0.1", [("127.0.0.1", 52311), ("0.0.0.0", 55000), ("::", 52311), ("::ffff:127.0.0.1", 8080), ("0.0.0.0", 52311)]),
    ("127.0.0.2", [("0.0.0.0", 55000), ("::", 52311), ("0.0.0.0", 52311)]),
])
def test_listeners_on_other_addresses_are_left_out(proc, address, expected):
    assert [(entry["address"], entry["port"]) for entry in listeners({52311, 55000, 8080}, address, proc)] == expected


@pytest.mark.skipif(os.sys.byteorder != "little", reason="the samples are from little-endian machines")
def test_clients_of_a_port_are_those_at_the_other_end(proc, tmp_path):
    assert clients(52311, proc=proc) == [("192.168.1.11", 36142)]
    assert clients(36142, proc=proc) == [] == clients(52311, proc=str(tmp_path / "none"))


def test_this_host_is_a_client_of_its_own_port_once():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            with server.accept()[0]:
                assert clients(port) == [client.getsockname()]


def test_connections_to_a_port_are_told_from_those_that_are_being_made(proc, tmp_path):
    with open(str(tmp_path / "net" / "tcp"), "ab") as target:
        target.write(b"   4: 0A01A8C0:8D31 0B01A8C0:8D2E 02 00000000:00000001 01:00000063 00000000     0        0 20611 2 "
                     b"ffff8f0a\n")
    with open(str(tmp_path / "net" / "tcp6"), "ab") as target:
        target.write(b"   3: 0000000000000000FFFF00000A01A8C0:8D32 0000000000000000FFFF00000B01A8C0:8D2E 01 00000000:00000000 "
                     b"00:00000000 00000000     0        0 30004 1 ffff8f0a 100 0 0 10 0\n")
    found = connections({"192.168.1.11"}, 36142, proc=proc)
    assert [(entry["address"], entry["remote"], entry["established"], entry["pid"], entry["process"]) for entry in found] == [
        ("192.168.1.10", "192.168.1.11", True, None, None), ("192.168.1.10", "192.168.1.11", False, 77, "besrelay"),
        ("192.168.1.10", "192.168.1.11", True, None, None)]
    assert connections({"192.168.1.12"}, 36142, proc=proc) == [] == connections({"192.168.1.11"}, 52311, proc=proc)


def test_own_connection_is_found_until_it_ends():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert [(entry["pid"], entry["established"]) for entry in connections({"127.0.0.1"}, port)] == [(os.getpid(), True)]
        assert connections({"127.0.0.1"}, port) == []


def test_host_without_proc_can_not_tell(tmp_path):
    assert connections({"127.0.0.1"}, 1, proc=str(tmp_path)) is None
    assert listeners({52311}, proc=str(tmp_path)) is None and ephemeral_ports(str(tmp_path)) is None


@pytest.mark.parametrize("family, address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_own_socket_is_found_while_it_listens(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as server:
        try:
            server.bind((address, 0))
        except OSError as err:
            pytest.skip("%s can't be bound on this machine: %s" % (address, err))
        port = server.getsockname()[1]
        assert [entry for entry in listeners({port}) if entry["protocol"] == "tcp"] == []
        server.listen(1)
        with open("/proc/self/comm") as name:
            process = name.read().strip()
        assert listeners({port}, address) == [
            dict(protocol="tcp", address=address, port=port, pid=os.getpid(), process=process)]
    assert listeners({port}, address) == []


def test_own_udp_socket_is_found():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        [found] = listeners({port}, "127.0.0.1")
        assert (found["protocol"], found["pid"]) == ("udp", os.getpid())


@pytest.mark.parametrize("text, pairs", [
    ("", []), ("\n", []), ("8080", [(8080, 8080)]), ("8080,9000-9010\n", [(8080, 8080), (9000, 9010)])])
def test_reserved_ranges_are_read(text, pairs):
    assert parse_ranges(text) == pairs


def test_ephemeral_range_is_read(proc):
    assert ephemeral_ports(proc) == dict(first=32768, last=60999, reserved=[[52311, 52311], [55000, 55002]])


@pytest.mark.parametrize("port, expected", [
    (32767, False), (32768, True), (60999, True), (61000, False), (52311, False), (52310, True), (52312, True),
    (54999, True), (55000, False), (55002, False), (55003, True)])
def test_port_is_at_risk_inside_the_range_unless_reserved(proc, port, expected):
    assert is_ephemeral(port, ephemeral_ports(proc)) is expected


def test_without_a_known_range_no_port_is_at_risk():
    assert is_ephemeral(55000, None) is False


def test_this_machine_has_a_range():
    span = ephemeral_ports()
    assert 0 < span["first"] < span["last"] < 65536


def test_own_addresses_are_all_that_the_kernel_has_but_loopback_and_link_local_ones(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/fib_trie").write_text(
        "Main:\n  +-- 10.0.2.0/24 2 0 2\n     |-- 10.0.2.0\n        /24 link UNICAST\n     |-- 10.0.2.1\n        /32 host LOCAL\n"
        "     |-- 10.0.2.255\n        /32 link BROADCAST\n  +-- 127.0.0.0/8 2 0 2\n     |-- 127.0.0.1\n        /32 host LOCAL\n"
        "Local:\n     |-- 10.0.2.1\n        /32 host LOCAL\n     |-- 192.168.7.1\n        /32 host LOCAL\n")
    (tmp_path / "net/if_inet6").write_text(
        "00000000000000000000000000000001 01 80 10 80       lo\nfd000000000000000000000000000002 03 40 00 80     eth0\n"
        "fe80000000000000000000fffe000001 03 40 20 80     eth0\n")
    assert sorted(map(str, own_addresses(str(tmp_path)))) == ["10.0.2.1", "192.168.7.1", "fd00::2"]
    assert own_addresses(str(tmp_path / "nothing")) is None
