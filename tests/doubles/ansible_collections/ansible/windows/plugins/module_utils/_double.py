# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doubles of Windows modules have in common."""

import os
import pwd
import socket
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ansible.windows.plugins.module_utils._machine import SYSTEM_PID, Machine

LISTEN = "0A"


def double_of(name, arguments, unknown=(), **how):
    """-> (AnsibleModule, Machine); `unknown`: options of the real module that mean nothing here."""
    module = AnsibleModule(arguments, supports_check_mode=True, **how)
    given = [option for option in unknown if module.params[option] != arguments[option].get("default")]
    if given:
        module.fail_json(msg="the double of %s does not know %s" % (name, ", ".join(given)))
    machine = Machine()
    if not os.path.isdir(machine.folder):
        module.fail_json(msg="the double of %s has no folder %s that stands for a Windows machine" % (name, machine.folder))
    return module, machine


def sockets(*kinds):
    """The kernel's table -> [(kind, address, port, state as it stands there, inode)]"""
    found = []
    for kind in kinds:
        for family in ("", "6"):
            try:
                with open("/proc/net/%s%s" % (kind, family)) as stream:
                    lines = stream.read().splitlines()[1:]
            except OSError:
                continue    # no IPv6 here
            for line in lines:
                fields = line.split()
                address, _colon, port = fields[1].partition(":")
                found.append((kind, _address(address), int(port, 16), fields[3], fields[9]))
    return found


def _address(text):
    # Words of 32 bits in the order of this machine's bytes.
    raw = b"".join(int(text[at:at + 8], 16).to_bytes(4, "little") for at in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def owners():
    """-> {inode of a socket: pid}"""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            entries = os.listdir("/proc/%s/fd" % pid)
        except OSError:
            continue    # it has ended, or is somebody else's
        for entry in entries:
            try:
                link = os.readlink("/proc/%s/fd/%s" % (pid, entry))
            except OSError:
                continue    # closed meanwhile, as connections are at every moment
            if link.startswith("socket:["):
                found[link[len("socket:["):-1]] = int(pid)
    return found


def process(pid, machine, date_format):
    """-> what Windows would say of a process: {pid, name, stime, user}"""
    if pid is None:
        return dict(pid=0, name="System Idle Process", stime=None, user=None)
    try:
        with open("/proc/%d/comm" % pid) as stream:
            name = stream.read().strip()
        status = os.stat("/proc/%d" % pid)
    except OSError:
        return dict(pid=pid, name=None, stime=None, user=None)
    started = time.strftime(date_format, time.localtime(status.st_mtime))
    if pid == machine.state()["pid"]:
        return dict(pid=SYSTEM_PID, name="System", stime=started, user=None)
    try:
        user = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        user = str(status.st_uid)
    return dict(pid=pid, name=name, stime=started, user="LAB\\" + user)
