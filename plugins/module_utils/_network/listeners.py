# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host listens on, and which ports it hands out by itself (Linux, read from /proc)."""

import ipaddress
import os
import re
import socket
import struct

TCP_LISTEN = "0A"
TCP_ESTABLISHED, TCP_CONNECTING = "01", "02"
UDP_UNCONNECTED = "07"
# Established, connecting, and closing without being over: such a connection keeps its port from others.
TCP_CONNECTED = ("01", "02", "04", "05", "08", "09", "0B")


def _endpoint(text):
    address, port = text.split(":")
    words = [struct.pack("=I", int(address[start:start + 8], 16)) for start in range(0, len(address), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words)), int(port, 16)


def _rows(content, states):
    """(local endpoint, remote endpoint, inode) of the sockets in one of `states`, from /proc/net/{tcp,udp}{,6}."""
    for line in content.decode("ascii", "replace").splitlines()[1:]:
        columns = line.split()
        if len(columns) >= 10 and columns[3] in states:
            yield _endpoint(columns[1]), _endpoint(columns[2]), columns[9]


def _lines_with(content, port):
    """What of such a table is about sockets with `port` at one end, with its heading: a busy server has ten thousand others."""
    mark = b":%04X " % port
    lines = content.splitlines(True)
    return b"".join(lines[:1] + [line for line in lines[1:] if mark in line])


def parse_sockets(content, state):
    """The (address, port, inode) of the sockets in `state`, from the bytes of /proc/net/{tcp,udp}{,6}."""
    return [local + (inode,) for local, unused, inode in _rows(content, (state,))]


def parse_ranges(text):
    """The (first, last) pairs of C(ip_local_reserved_ports): V(8080,9000-9010)."""
    return [(int(first), int(last or first)) for first, last in re.findall(r"(\d+)(?:-(\d+))?", text)]


def _read(path):
    try:
        with open(path, "rb") as source:
            return source.read()
    except OSError:
        return b""


def _every_owner(inodes, proc):
    """inode -> [(pid, process name)], as far as this user may look: processes share a socket that they inherited."""
    owners = {}
    for pid in os.listdir(proc):
        if not pid.isdigit():
            continue
        try:
            handles = os.listdir(os.path.join(proc, pid, "fd"))
        except OSError:
            # Another user's process, or one that has just ended: its listener is reported without a name.
            continue
        held = set()
        for handle in handles:
            try:
                link = os.readlink(os.path.join(proc, pid, "fd", handle))
            except OSError:
                # Closed since; the others are still there.
                continue
            if link.startswith("socket:[") and link[8:-1] in inodes:
                held.add(link[8:-1])
        for inode in held:
            owners.setdefault(inode, []).append(
                (int(pid), _read(os.path.join(proc, pid, "comm")).decode("utf-8", "replace").strip()))
    return owners


def _owners(inodes, proc):
    """inode -> (pid, process name) of one of those that have it."""
    return {inode: found[-1] for inode, found in _every_owner(inodes, proc).items()}


def listeners(ports, address=None, proc="/proc", every_owner=False):
    """Who listens on one of `ports`; None where the host has no /proc/net.

    With `address`, listeners bound to another address of this host are left out.  With `every_owner`, each comes with the
    numbers of all processes that have its socket, as C(owners).
    """
    if not os.path.exists(os.path.join(proc, "net", "tcp")):
        return None
    found = []
    for table, protocol, state in (("tcp", "tcp", TCP_LISTEN), ("tcp6", "tcp", TCP_LISTEN),
                                   ("udp", "udp", UDP_UNCONNECTED), ("udp6", "udp", UDP_UNCONNECTED)):
        for bound, port, inode in parse_sockets(_read(os.path.join(proc, "net", table)), state):
            if port in ports and (not address or bound in (address, "0.0.0.0", "::", "::ffff:" + address)):
                found.append((protocol, bound, port, inode))
    owners = _every_owner({entry[3] for entry in found}, proc) if found else {}
    entries = []
    for protocol, bound, port, inode in found:
        having = owners.get(inode, [])
        pid, process = having[-1] if having else (None, None)
        entries.append(dict(protocol=protocol, address=bound, port=port, pid=pid, process=process))
        if every_owner:
            entries[-1]["owners"] = [one for one, unused in having]
    return entries


def outgoing(port, address=None, proc="/proc"):
    """The TCP connections that hold the local `port` although no process here listens on it: this host opened them."""
    if listeners({port}, address, proc):
        return []
    found = [(local, remote, inode) for table in ("tcp", "tcp6")
             for local, remote, inode in _rows(_read(os.path.join(proc, "net", table)), TCP_CONNECTED)
             if local[1] == port and (not address or local[0] in (address, "::ffff:" + address))]
    owners = _owners({inode for unused, unused_too, inode in found}, proc) if found else {}
    return [dict(address=local[0], remote="%s:%d" % remote, pid=owners.get(inode, (None, None))[0],
                 process=owners.get(inode, (None, None))[1]) for local, remote, inode in found]


def connections(addresses, port, proc="/proc"):
    """The TCP connections from this host to `port` at one of `addresses`, established ones and those that are being made.

    Each with the numbers of all processes that have its socket, as C(owners).  None where the host has no /proc/net.
    """
    if not os.path.exists(os.path.join(proc, "net", "tcp")):
        return None
    tables = [_lines_with(_read(os.path.join(proc, "net", table)), port) for table in ("tcp", "tcp6")]
    found = [(local, remote, inode, state == TCP_ESTABLISHED) for content in tables
             for state in (TCP_ESTABLISHED, TCP_CONNECTING) for local, remote, inode in _rows(content, (state,))
             if remote[1] == port and plain_address(remote[0]) in addresses]
    owners = _every_owner({entry[2] for entry in found}, proc) if found else {}
    entries = []
    for local, remote, inode, established in found:
        having = owners.get(inode, [])
        pid, process = having[-1] if having else (None, None)
        entries.append(dict(address=plain_address(local[0]), remote=plain_address(remote[0]), established=established, pid=pid,
                            process=process, owners=[one for one, unused in having]))
    return entries


def clients(port, proc="/proc"):
    """The (address, port) of every client that is connected by TCP to the local `port`, this host itself included."""
    tables = [_lines_with(_read(os.path.join(proc, "net", table)), port) for table in ("tcp", "tcp6")]
    return [(plain_address(remote[0]), remote[1]) for content in tables
            for local, remote, unused in _rows(content, (TCP_ESTABLISHED,)) if local[1] == port]


def own_addresses(proc="/proc"):
    """The addresses of this host but those of its loopback; None where the kernel does not say."""
    routes, six = (_read(os.path.join(proc, "net", name)) for name in ("fib_trie", "if_inet6"))
    if not routes and not six:
        return None
    found, last = set(), None
    for line in routes.decode("ascii", "replace").splitlines():
        match = re.match(r"\s*\|-- ([0-9.]+)\s*\Z", line)
        last = match.group(1) if match else last
        if last and "/32 host LOCAL" in line:
            found.add(ipaddress.ip_address(last))
    for line in six.decode("ascii", "replace").splitlines():
        found.add(ipaddress.IPv6Address(int(line.split()[0], 16)))
    return {address for address in found if not (address.is_loopback or address.is_link_local or address.is_unspecified)}


def plain_address(address):
    """An address as all spell it: IPv4 without the prefix that an IPv6 socket shows it with."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


def ephemeral_ports(proc="/proc"):
    """The range that the kernel hands out, and what is reserved in it: dict(first, last, reserved), or None."""
    where = os.path.join(proc, "sys", "net", "ipv4")
    span = _read(os.path.join(where, "ip_local_port_range")).split()
    if len(span) != 2:
        return None
    reserved = parse_ranges(_read(os.path.join(where, "ip_local_reserved_ports")).decode("ascii"))
    return dict(first=int(span[0]), last=int(span[1]), reserved=[list(pair) for pair in reserved])


def is_ephemeral(port, ephemeral):
    """Whether the kernel may give `port` to an outgoing connection, so that a restart could fail to bind it."""
    return bool(ephemeral) and ephemeral["first"] <= port <= ephemeral["last"] and not any(
        first <= port <= last for first, last in ephemeral["reserved"])


def handed_out(port, ephemeral, remedy):
    """A sentence on a port that this host may give to an outgoing connection, or None; C(remedy) is how it ends."""
    if not is_ephemeral(port, ephemeral):
        return None
    return "port %d lies in the range %d-%d, from which this host serves outgoing connections; %s" % (
        port, ephemeral["first"], ephemeral["last"], remedy)


def handed_out_unreserved(port, host):
    """The same about a port that a person has to reserve.  C(host): a Host."""
    return handed_out(port, host.ephemeral_ports(), "reserve it (%s), or a restart may find it taken" % host.reserving(port))
