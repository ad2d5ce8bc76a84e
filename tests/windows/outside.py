# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets of this machine's kernel that belong to a host of the model: those of processes that stand for its own."""

import os
import socket

from tests.lab.change_tracker.windows import SYSTEM_PID

STATES = {"01": "Established", "02": "SynSent", "03": "SynReceived", "04": "FinWait1", "05": "FinWait2", "06": "TimeWait",
          "07": "Closed", "08": "CloseWait", "09": "LastAck", "0A": "Listen", "0B": "Closing"}


def sockets(proc):
    """The kernel's table -> [(kind, local address, its port, remote address, its port, state, inode)]"""
    found = []
    for kind in ("tcp", "udp"):
        for family in ("", "6"):
            try:
                with open("%s/net/%s%s" % (proc, kind, family)) as stream:
                    lines = stream.read().splitlines()[1:]
            except OSError:
                continue    # no IPv6 here
            for line in lines:
                fields = line.split()
                found.append((kind, *_end(fields[1]), *_end(fields[2]), STATES.get(fields[3], fields[3]), fields[9]))
    return found


def _end(text):
    address, _colon, port = text.partition(":")
    # Words of 32 bits in the order of this machine's bytes.
    raw = b"".join(int(address[at:at + 8], 16).to_bytes(4, "little") for at in range(0, len(address), 8))
    shown = socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
    return shown.removeprefix("::ffff:"), int(port, 16)


def owners(proc, pids=None):
    """-> {inode of a socket: pid}"""
    found = {}
    for pid in pids if pids is not None else filter(str.isdigit, os.listdir(proc)):
        try:
            entries = os.listdir("%s/%s/fd" % (proc, pid))
        except OSError:
            continue    # it has ended, or is another user's
        for entry in entries:
            try:
                link = os.readlink("%s/%s/fd/%s" % (proc, pid, entry))
            except OSError:
                continue    # closed meanwhile, as connections are at every moment
            if link.startswith("socket:["):
                found[link[len("socket:["):-1]] = int(pid)
    return found


class Outside:
    """`processes`: pid of this machine -> the process of the model that it stands for.  `all`: the host has every socket of this
    machine, under the names that their processes have here; those of the stand-in of IIS are http.sys's.  `proc`, `net`: where
    processes and sockets are looked up, which for a container is its own /proc."""

    def __init__(self, host):
        self.host, self.processes, self.all = host, {}, False
        self.proc, self.net = "/proc", "/proc/self"

    def _found(self):
        if not self.processes and not self.all:
            return
        # The processes after the sockets: each that is opened meanwhile is in neither, each that is closed in the second look.
        found, pids, still = sockets(self.net), owners(self.proc, None if self.all else list(self.processes)), None
        for entry in found:
            inode = entry[-1]
            if inode not in pids:
                if not self.all:
                    continue
                still = set(sockets(self.net)) if still is None else still
                if entry not in still:
                    continue
            yield entry, self._process(pids.get(inode))

    def _process(self, pid):
        if pid is None:
            return dict(process=0, name="System Idle Process", began=None)
        known = self.processes.get(pid)
        if known is None and self.host.iis and self.host.iis.state()["pid"] == pid:
            known = self.host.services.processes[SYSTEM_PID]
        if known is not None:
            return dict(process=known.pid, name=known.name, began=known.began)
        try:
            with open("%s/%d/comm" % (self.proc, pid)) as stream:
                return dict(process=pid, name=stream.read().strip(), began=os.stat("%s/%d" % (self.proc, pid)).st_mtime)
        except OSError:
            return dict(process=pid, name=None, began=None)

    def listening(self):
        return [dict(protocol=kind, address=address, port=port, **process)
                for (kind, address, port, _remote, _its, state, _inode), process in self._found()
                if kind == "udp" or state == "Listen"]

    def connected(self):
        return [dict(local_address=address, local_port=port, remote_address=remote, remote_port=its_port, state=state, **process)
                for (kind, address, port, remote, its_port, state, _inode), process in self._found()
                if kind == "tcp" and state != "Listen"]
