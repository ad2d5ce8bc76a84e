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
from tests.integration import migration_lab

# What may be lost between two measurements of one thing, and no more.
ALLOWED = 10
RELAYS = 2
RUNS = {"plan": ["playbooks/plan_bigfix_port.yml"], "check": ["playbooks/migrate_bigfix_port.yml", "--check"]}


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
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS))
    arguments = parser.parse_args()
    # Some runs of a thousand hosts take hours on a small machine.
    migration_lab.RUN_SECONDS = 6 * 60 * 60
    found = {name: [] for name in arguments.runs}
    with tempfile.TemporaryDirectory(prefix="portshift-bench-") as folder:
        lab = migration_lab.Lab(os.path.join(folder, "lab"), "plain")
        lab.cold = True
        try:
            lab.start(relays=str(RELAYS), clients=4)
            ping = Path(folder, "ping.json")
            ping.write_text(json.dumps([dict(
                name="Ping", hosts="all", gather_facts=False, tasks=[{"name": "Ping", "ansible.builtin.ping": {}}])]))
            print("%6s %-10s %14s %12s %8s" % ("hosts", "run", "CPU ms/host", "x ping", "wall s"))
            for number in sorted(arguments.hosts):
                path = inventory(lab, number)

                def cost(name, *options, path=path, number=number):
                    _run, wall, cpu = measured(lambda: lab.play_file(*options, inventory=path))
                    print("%6d %-10s %14.1f %12s %8.1f" % (number, name, 1000 * cpu / number, "", wall), flush=True)
                    return cpu
                before = cost("ping", ping)
                costs = {name: cost(name, *RUNS[name], "-e", "bigfix_port=%d" % migration_lab.NEW) for name in arguments.runs}
                # What others do on the machine meanwhile counts for both.
                unit = (before + cost("ping", ping)) / 2
                for name, cpu in costs.items():
                    found[name].append(cpu / unit)
                    print("%6d %-10s %14s %12.2f" % (number, name, "", cpu / unit), flush=True)
        finally:
            lab.stop()
    for name, ratios in found.items():
        print("%s: %+.0f %% per host from %d to %d hosts (wanted: at most +%d %%)" % (
            name, 100 * (ratios[-1] / ratios[0] - 1), min(arguments.hosts), max(arguments.hosts), ALLOWED))


if __name__ == "__main__":
    main()
