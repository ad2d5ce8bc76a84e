# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host costs more where there are many: CPU per host of a plan and of a migrate in check mode, against ping.

`make bench-hosts`.  Inventories of several sizes, whose names share the folders of one small lab; the ping of the same hosts in
the same session is the unit, since machines differ and drift.  It prints by how much each ratio grows from the smallest inventory
to the largest; nothing is asserted.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.migration import measured
from tests.integration.migration_lab import NEW, Lab

# What may be lost between two measurements of one thing, and no more.
ALLOWED = 10
RELAYS = 2


def inventory(lab, number):
    """An inventory of `number` hosts: those of the lab, and more clients that are its clients under other names."""
    content = yaml.safe_load((lab.folder / "inventory.yml").read_text())
    groups = content["all"]["children"]
    clients = groups["bigfix_clients"]["hosts"]
    known = list(clients.items())
    for extra in range(number - len(lab.hosts)):
        clients["many%04d" % extra] = dict(known[extra % len(known)][1])
    path = lab.folder / ("inventory-%d.yml" % number)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, nargs="+", default=[50, 200])
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="portshift-bench-") as folder:
        lab = Lab(os.path.join(folder, "lab"), "plain")
        try:
            lab.start(relays=str(RELAYS), clients=4)
            ping = Path(folder, "ping.json")
            ping.write_text(json.dumps([dict(
                name="Ping", hosts="all", gather_facts=False, tasks=[{"name": "Ping", "ansible.builtin.ping": {}}])]))
            print("%6s %-16s %14s %12s %8s" % ("hosts", "run", "CPU ms/host", "x ping", "wall s"))
            port = ["-e", "bigfix_port=%d" % NEW]
            for number in sorted(arguments.hosts):
                path = inventory(lab, number)
                runs = [("ping", [ping]), ("plan", ["playbooks/plan_bigfix_port.yml", *port]),
                        ("migrate --check", ["playbooks/migrate_bigfix_port.yml", *port, "--check"])]
                unit = None
                for name, options in runs:
                    _run, wall, cpu = measured(lambda options=options, path=path: lab.play_file(*options, inventory=path))
                    unit = unit or cpu
                    found.setdefault(name, []).append(cpu / unit)
                    print("%6d %-16s %14.1f %12.2f %8.1f" % (number, name, 1000 * cpu / number, cpu / unit, wall), flush=True)
        finally:
            lab.stop()
    for name, ratios in found.items():
        grown = 100 * (ratios[-1] / ratios[0] - 1)
        if name != "ping":
            print("%s: %+.0f %% per host from %d to %d hosts (wanted: at most +%d %%)" % (
                name, grown, min(arguments.hosts), max(arguments.hosts), ALLOWED))


if __name__ == "__main__":
    main()
