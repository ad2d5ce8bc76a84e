# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of ports in the SELinux policy: what a port is, and the calls that make it another one."""

import os
import re

from ansible_collections.portshift.agents.plugins.module_utils._core.host_commands import run
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import OpeningError

FOLDER = "/sys/fs/selinux"


def mode(folder=FOLDER):
    """V(enforcing), V(permissive), or V(disabled) where the kernel has no SELinux."""
    try:
        with open(os.path.join(folder, "enforce"), "rb") as source:
            return "enforcing" if source.read().strip() == b"1" else "permissive"
    except OSError:
        return "disabled"


def applies(wanted, found):
    """Whether the policy is to be looked at: V(auto) where SELinux is on, V(always) on its store in any case."""
    return wanted == "always" or (wanted == "auto" and found != "disabled")


def parse_ports(text):
    """[(type, protocol, first, last)] of what C(semanage port -l) prints, in its order."""
    found = []
    for line in text.splitlines():
        match = re.match(r"(\S+)\s+(tcp|udp|dccp|sctp)\s+(\d.*\S|\d)\s*\Z", line)
        if match:
            found += [(match.group(1), match.group(2), int(first), int(last or first))
                      for first, last in re.findall(r"(\d+)(?:-(\d+))?", match.group(3))]
    return found


def type_of(entries, protocol, port):
    """The type that counts for a port: the narrowest range that holds it; None where the policy names none."""
    inside = [(last - first, kind) for kind, proto, first, last in entries if proto == protocol and first <= port <= last]
    return min(inside, key=lambda found: found[0])[1] if inside else None


class PolicyStore:
    """The ports of the policy on this host.  `always`: the store is changed even where the kernel does not enforce it."""

    def __init__(self, module, always=False):
        self.module, self.always = module, always
        self.entries = parse_ports(self._list([]))
        self.local = parse_ports(self._list(["--locallist"]))

    def _list(self, arguments):
        command = ["semanage", "port", "--list", "--noheading"] + arguments
        if not self.module.get_bin_path("semanage"):
            raise OpeningError("the command semanage is not here, without which the type of a port can't be read or set; install "
                               "policycoreutils-python-utils, or say selinux: never")
        code, out, err = run(self.module, command)
        if code:
            raise OpeningError("%s failed: %s" % (" ".join(command), err.strip() or out.strip() or "exit status %d" % code))
        return out

    def type_of(self, protocol, port):
        # The site's own entry stands beside the policy's in the list, and wins.
        return type_of(self.local + self.entries, protocol, port)

    def _site_type(self, protocol, port):
        """The type that the site itself has given to exactly this port, or None."""
        return next((kind for kind, proto, first, last in self.local if (proto, first, last) == (protocol, port, port)), None)

    def needed(self, openings, selinux_type):
        """The entries for a record, [{protocol, port, type, previous}], of ports that have another type."""
        pairs = sorted({(opening.protocol, opening.port) for opening in openings})
        return [dict(protocol=protocol, port=port, type=selinux_type, previous=self._site_type(protocol, port))
                for protocol, port in pairs if self.type_of(protocol, port) != selinux_type]

    def calls(self, entries, remove=False):
        """The runs of community.general.seport for entries of needed(): there, or back to what was before."""
        return [self._call(entry, entry["previous"] if remove and entry["previous"] else entry["type"],
                           "absent" if remove and not entry["previous"] else "present") for entry in entries]

    def _call(self, entry, selinux_type, state):
        args = {"ports": [str(entry["port"])], "proto": entry["protocol"], "setype": selinux_type, "state": state,
                "ignore_selinux_state": self.always}
        # Reloading needs the kernel's SELinux; a store that is not in force has nothing to reload.
        return dict(module="community.general.seport", args=dict(args, reload=mode() != "disabled"))
