# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For the lab: how a host stands now, as JSON."""

import json
import os
import subprocess
import time

from .. import identity
from . import hub_details
from .host import Host
from .ledger import Beat

TAIL = 4096


def last_beat(path):
    """-> the last line of a ledger, or None"""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL))
            lines = stream.read().decode("ascii", "replace").rpartition("\n")[0].splitlines()
    except FileNotFoundError:
        return None
    return Beat.of(lines[-1]) if lines else None


def listening():
    """-> the tcp ports on which this host answers others."""
    said = subprocess.run(["ss", "-Hltn"], stdout=subprocess.PIPE, check=True).stdout.decode("ascii").splitlines()
    addresses = [line.split()[3].rpartition(":") for line in said]
    return sorted({int(port) for address, _colon, port in addresses if not address.startswith(("127.", "[::1]"))})


def main(_arguments):
    host = Host.load()
    found = {"running": {service: (identity.recorded(host, service) or [None])[0] for service in host.services},
             "listening": listening()}
    if host.service:
        url, last = hub_details.url_of(host), last_beat(host.ledger)
        found["url"] = url.text if url else None
        found["last"] = last and {"outcome": last.outcome, "port": last.port, "why": last.why,
                                  "ago": round(max(0.0, time.time() - last.when), 3)}
    print(json.dumps(found))
    return 0
