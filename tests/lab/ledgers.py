# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab in containers whose hosts write down themselves what became of their work, and say how they stand when asked."""

import json
import os
import time

from . import containers
from .container_hosts import FOLDER


# In one go, for a call into a container takes longer than what is asked.
LOOK = """%s/state || exit
for path; do
    size=$(stat --format=%%s "$path" 2>/dev/null || echo 0)
    echo "$size"
    head --bytes="$size" "$path" 2>/dev/null
done
:""" % FOLDER


class Ledgers:
    """Goes before ContainerHosts among the bases of a lab.  A host has its ledger at `ledger`, and the program FOLDER/state."""

    def seen(self, hosts, files):
        """-> {host: (what /opt/portshift-lab/state says of it or, where the container does not run, None; [what stands in each of
        files(host)], read one after the other)}"""
        def look(host):
            paths = [self.inside(path) for path in files(host)]
            code, output, _error = self.engine.enter(self.container(host), "sh", "-c", LOOK, "sh", *paths, check=False)
            if code != 0:
                return None, [self.fetch(host, path).decode("ascii", "replace") for path in paths]
            state, _newline, rest = output.partition(b"\n")
            contents = []
            for _path in paths:
                size, _newline, rest = rest.partition(b"\n")
                contents.append(rest[:int(size)].decode("ascii", "replace"))
                rest = rest[int(size):]
            return json.loads(state.decode("ascii")), contents

        return dict(zip((host.name for host in hosts), containers.at_once(look, hosts)))

    def observed(self, hosts=None):
        """-> {host: what its state is, or None}"""
        seen = self.seen(self.hosts if hosts is None else hosts, lambda _host: [])
        return {name: state for name, (state, _contents) in seen.items()}

    def ledgers(self):
        """-> {host: its ledger}"""
        return {name: ledger for name, (_state, [ledger]) in self.seen(self.hosts, lambda host: [host.ledger]).items()}

    def judged_from_now(self):
        """What is counted counts from when every agent was there."""
        self._put("since", "%.3f\n" % time.time())

    @property
    def since(self):
        with open(os.path.join(self.folder, "since")) as stream:
            return float(stream.read())
