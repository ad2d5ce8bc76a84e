# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports that the kernel is to keep out of the range from which it serves outgoing connections.

Without that, a connection that happens to have been given the number keeps a service from binding it after a restart.
Looked at are the live C(net.ipv4.ip_local_reserved_ports) and the one that the next boot sets: files of sysctl.d(5).
"""

import os
import re

from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    FileError, put_file, read_bytes, remove_file)
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import (
    ephemeral_ports, is_ephemeral, parse_ranges)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.input_filter import joined
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import OpeningError

RESERVED, RANGE = "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_local_port_range"
# Their order matters: a file hides those of the same name in later folders.
FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d")
OLD_FILE = "etc/sysctl.conf"
# Behind 99-sysctl.conf, the link of Debian and Red Hat to the old file.  No name of the site's that comes later sets the
# list on most hosts; where one does, ours is made of that one's name.
OWN_NAME = "99-zz-portshift.conf"
OWN_FOLDER = "etc/sysctl.d"
# How often the live list is written anew because another one wrote it in the same moment.
ATTEMPTS = 20


def setting(line):
    """(key with dots, value) of one line; None for one that sets nothing."""
    match = re.match(r"\s*-?\s*([^#;=\s][^=\s]*)\s*=\s*(.*?)\s*\Z", line)
    if not match:
        return None
    key = match.group(1)
    # sysctl.d(5): what the first separator is decides which one it is.
    separator = re.search(r"[./]", key)
    if separator and separator.group() == "/":
        key = key.translate({ord("."): "/", ord("/"): "."})
    return key, match.group(2)


def settings(content):
    """key -> value that one file of sysctl.d ends up with; keys with dots."""
    return dict(filter(None, map(setting, content.decode("utf-8", "replace").splitlines())))


def without_key(content, key):
    """The bytes of a file less the lines that set `key`."""
    return b"".join(line for line in content.splitlines(True)
                    if (setting(line.decode("utf-8", "replace")) or (None,))[0] != key)


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
    others       the ranges that a boot would reserve without our file; others_path: the file that would decide then
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
        self.own = [path for path, unused in files if self._is_own(path)]
        value, self.others_path = last_setting([(path, content) for path, content in files if path not in self.own], RESERVED)
        self.others = parse_list(value)
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

    def held(self, port):
        """Whether `port` is reserved by what can be let go: live, or at boot by our file."""
        return _within(port, self.live) or (_within(port, self.boot) and not _within(port, self.others))

    def problems(self, ports):
        """Why `ports` can't be reserved for the next boot, as sentences."""
        lacking = [port for port in ports if not _within(port, self.boot)]
        old = os.path.join(self.root, OLD_FILE)
        if not lacking or self.others_path != old:
            return []
        return ["%s sets %s and is read last on this host, so that no file of sysctl.d can add to it; add %s to its list by "
                "hand, or say reserve: false" % (old, RESERVED, ", ".join(map(str, lacking)))]

    def hidden(self):
        """A sentence about what the site has reserved since in a file that ours hides, as a list."""
        lost = [pair for pair in self.others if any(not _within(port, self.boot) for port in range(pair[0], pair[1] + 1))]
        if not lost or self.boot_path not in self.own:
            return []
        return ["%s reserves %s, but %s comes later and decides at boot; add the ports there too" % (
            self.others_path, written(lost), self.boot_path)]

    def own_path(self):
        """The file of ours: the one that decides already, else one whose name sorts behind that which does."""
        if self.boot_path in self.own:
            return self.boot_path
        after = os.path.basename(self.others_path) if self.others_path else ""
        return os.path.join(self.root, OWN_FOLDER, OWN_NAME if OWN_NAME > after else "%s-%s" % (after, OWN_NAME))

    def _is_own(self, path):
        return os.path.dirname(path) == os.path.join(self.root, OWN_FOLDER) and path.endswith(OWN_NAME)

    def calls(self, ports, remove=False):
        """The runs of ansible.posix.sysctl that reserve `ports`, or let them go.  Only our own file is written.

        That module writes a whole file anew, and of a key that stands in it twice it keeps the first, so that it must not be
        given a file of the site's.  What it can't do is done here, unless in check mode: our file taken away when it says no
        more than the others do, and the live list, which others of this host may change any time, so that it is read right
        before it is written.
        """
        change = without_ports if remove else with_ports
        self._change_live(change, ports)
        boot = change(self.boot, ports)
        if remove:
            boot = joined(list(boot) + list(self.others))
        if boot == self.others:
            self._remove_own()
            return []
        return [self._call(self.own_path(), written(boot))] if boot != self.boot else []

    @staticmethod
    def _call(target, value):
        # Not reload: that would set everything else that the file holds, too.
        return dict(module="ansible.posix.sysctl", args={
            "name": RESERVED, "value": value, "state": "present", "reload": False, "sysctl_set": False, "sysctl_file": target})

    def _remove_own(self):
        for path in self.own:
            content = read_bytes(path)
            if set(settings(content)) <= {RESERVED}:
                remove_file(path, self.module.check_mode)
            else:
                # An administrator keeps more in it.
                put_file(path, without_key(content, RESERVED), self.module.check_mode, mode=0o644)

    def _change_live(self, change, ports):
        """Changes the kernel's list; read again after each write, since it has no other lock than that."""
        if not self.writable or self.module.check_mode:
            return
        for _attempt in range(ATTEMPTS):
            now = parse_list(self._live_text())
            wanted = change(now, ports)
            if wanted == now:
                self.live = now
                return
            self._set_live(wanted)
        raise OpeningError("%s: holds other ports each time right after it was written; look what else sets it on this host, "
                           "and run again" % self.path)

    def _live_text(self):
        try:
            with open(self.path) as source:
                return source.read()
        except OSError as err:
            raise OpeningError("%s: could not be read: %s" % (self.path, err.strerror))

    def _set_live(self, ranges):
        try:
            # sysctl -w refuses an empty value in many versions; an empty line is what the kernel's documentation names.
            with open(self.path, "w") as target:
                target.write(written(ranges) + "\n")
        except OSError as err:
            raise OpeningError("%s could not be set to %r: %s" % (self.path, written(ranges), err.strerror))


def _within(port, ranges):
    return any(first <= port <= last for first, last in ranges)


def read(module, proc="/proc", root="/"):
    """The Reservation of this host."""
    return Reservation(module, proc, root)
