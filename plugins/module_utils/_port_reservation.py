# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports that the kernel is to keep out of the range from which it serves outgoing connections.

Without that, a connection that happens to have been given the number keeps a service from binding it after a restart.
Looked at are the live C(net.ipv4.ip_local_reserved_ports) and the one that the next boot sets: files of sysctl.d(5).
"""

import os
import re

from ansible_collections.portshift.agents.plugins.module_utils._file_edit import FileError, read_bytes, remove_file
from ansible_collections.portshift.agents.plugins.module_utils._host_ports import ephemeral_ports, is_ephemeral, parse_ranges
from ansible_collections.portshift.agents.plugins.module_utils._input_filter import joined
from ansible_collections.portshift.agents.plugins.module_utils._openings import OpeningError

RESERVED, RANGE = "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_local_port_range"
# Their order matters: a file hides those of the same name in later folders.
FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d")
OLD_FILE = "etc/sysctl.conf"
# The first that sorts behind the file that sets it now; where none does, the first.
OWN_NAMES = ("60-portshift.conf", "99-portshift.conf", "zz-portshift.conf")


def settings(content):
    """key -> value that one file of sysctl.d ends up with; keys with dots."""
    found = {}
    for line in content.decode("utf-8", "replace").splitlines():
        match = re.match(r"\s*-?\s*([^#;=\s][^=\s]*)\s*=\s*(.*?)\s*\Z", line)
        if match:
            key = match.group(1)
            # sysctl.d(5): what the first separator is decides which one it is.
            separator = re.search(r"[./]", key)
            if separator and separator.group() == "/":
                key = key.translate({ord("."): "/", ord("/"): "."})
            found[key] = match.group(2)
    return found


def last_setting(files, key):
    """(value, path) that counts after all of `files` [(path, bytes)] in their order; (None, None) where none sets it."""
    found = (None, None)
    for path, content in files:
        value = settings(content).get(key)
        if value is not None:
            found = (value, path)
    return found


def parse_list(text):
    """The ranges of V(8080,9000-9010), joined as the kernel joins them."""
    return joined(parse_ranges(text or ""))


def written(ranges):
    """The ranges as the kernel prints them."""
    return ",".join(str(first) if first == last else "%d-%d" % (first, last) for first, last in ranges)


def with_ports(ranges, ports):
    return joined(list(ranges) + [(port, port) for port in ports])


def without_ports(ranges, ports):
    found = list(ranges)
    for port in ports:
        found = [part for first, last in found for part in (
            [(first, port - 1), (port + 1, last)] if first <= port <= last else [(first, last)]) if part[0] <= part[1]]
    return joined(found)


def boot_paths(root="/"):
    """The files that set kernel parameters at boot, in the order in which they count."""
    chosen = {}
    for folder in FOLDERS:
        try:
            names = os.listdir(os.path.join(root, folder))
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf"):
                chosen.setdefault(name, os.path.join(root, folder, name))
    paths = [chosen[name] for name in sorted(chosen) if os.path.realpath(chosen[name]) != os.path.realpath("/dev/null")]
    old = os.path.join(root, OLD_FILE)
    # systemd reads this file by its link in sysctl.d alone; other boots read it last.
    if not os.path.isdir(os.path.join(root, "run/systemd/system")) and os.path.isfile(old):
        paths.append(old)
    return paths


class Reservation:
    """What is reserved on this host, now and after a boot.

    first, last  the range that the kernel hands out now
    live, boot   the reserved ranges
    boot_path    the file that decides at boot, or None
    notes        why nothing can be reserved here, as sentences
    """

    def __init__(self, module, proc="/proc", root="/"):
        self.module, self.root, self.notes = module, root, []
        self.path = os.path.join(proc, "sys", *RESERVED.split("."))
        ephemeral = ephemeral_ports(proc)
        self.first, self.last = (ephemeral["first"], ephemeral["last"]) if ephemeral else (None, None)
        self.live = parse_list(written([tuple(pair) for pair in ephemeral["reserved"]]) if ephemeral else "")
        files = [(path, self._content(path)) for path in boot_paths(root)]
        value, self.boot_path = last_setting(files, RESERVED)
        self.boot = parse_list(value)
        span = (last_setting(files, RANGE)[0] or "").split()
        # A boot may widen the range.
        self.boot_range = [int(end) for end in span] if len(span) == 2 and all(end.isdigit() for end in span) else None
        self.writable = bool(ephemeral) and os.access(self.path, os.W_OK)
        if not ephemeral:
            self.notes.append("%s is not there, so no port can be reserved on this host" % self.path)
        elif not self.writable:
            self.notes.append(
                "%s can't be written here, as in most containers, so no port was reserved: a service may find its port taken by "
                "an outgoing connection when it starts. Reserve the port where the container is made (podman run --sysctl "
                "%s=PORT), or say reserve: false" % (self.path, RESERVED))

    @staticmethod
    def _content(path):
        try:
            return read_bytes(path)
        except FileError:
            return b""      # a link to nowhere sets nothing

    def needed(self, port):
        """Whether `port` has to be reserved and is not, now or after the next boot."""
        if not self.writable:
            return False
        now = is_ephemeral(port, dict(first=self.first, last=self.last, reserved=self.live))
        first, last = self.boot_range or (self.first, self.last)
        return now or is_ephemeral(port, dict(first=first, last=last, reserved=self.boot))

    def own_path(self):
        """The file of ours to write where none of the site's decides."""
        after = os.path.basename(self.boot_path) if self.boot_path else ""
        name = next((name for name in OWN_NAMES if name >= after), OWN_NAMES[-1])
        return os.path.join(self.root, "etc/sysctl.d", name)

    def _target(self):
        """The file to write: the one that decides, unless that belongs to a package or goes away with a boot."""
        etc = os.path.join(os.path.realpath(self.root), "etc", "")
        if self.boot_path and os.path.realpath(self.boot_path).startswith(etc):
            return os.path.realpath(self.boot_path)
        return self.own_path()

    def calls(self, ports, remove=False):
        """The runs of ansible.posix.sysctl that reserve `ports`, or let them go.

        What that module can't do is done here, unless in check mode: an empty list, live, and our own file when
        nothing is left in it.
        """
        change = without_ports if remove else with_ports
        live, boot, target = change(self.live, ports), change(self.boot, ports), self._target()
        found, in_file = [], self.boot
        if live != self.live and live:
            # That module writes the file whenever it sets the live value: what the file is to hold comes last.
            found, in_file = [self._call(target, written(live), live=True)], live
        elif live != self.live and self.writable and not self.module.check_mode:
            self._clear()
        if in_file == boot:
            return found
        if boot:
            found.append(self._call(target, written(boot)))
        elif not found and self._only_ours(target):
            remove_file(target, self.module.check_mode)
        else:
            found.append(dict(module="ansible.posix.sysctl", args={
                "name": RESERVED, "state": "absent", "reload": False, "sysctl_file": target}))
        return found

    @staticmethod
    def _call(target, value, live=False):
        # Not reload: that would set everything else that the file holds, too.
        return dict(module="ansible.posix.sysctl", args={
            "name": RESERVED, "value": value, "state": "present", "reload": False, "sysctl_set": live, "sysctl_file": target})

    @staticmethod
    def _only_ours(path):
        """Whether a file is one that was made for this and holds nothing else."""
        try:
            return os.path.basename(path) in OWN_NAMES and set(settings(read_bytes(path))) <= {RESERVED}
        except FileError:
            return False

    def _clear(self):
        # sysctl -w refuses an empty value in many versions; an empty line is what the kernel's documentation names.
        code, unused, err = self.module.run_command(["sh", "-c", 'echo > "$0"', self.path])
        if code:
            raise OpeningError("%s could not be emptied: %s" % (self.path, err.strip()))


def read(module, proc="/proc", root="/"):
    """The Reservation of this host."""
    return Reservation(module, proc, root)
