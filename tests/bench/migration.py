# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a migration costs each host: module runs, and CPU and wall time as a ratio to ansible.builtin.ping.

`make bench`.  The ping of the same hosts, before and after each run, is the unit, since machines differ and drift; nothing is
asserted.  A lab of stand-ins, plain mastheads, without the bridge.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.integration.migration_lab import Lab

# Images of containers set it, no managed host has it: a Python that has it reads a module from its stdin byte by byte, so that a
# run would be dearer by the length of what it sends.
os.environ.pop("PYTHONUNBUFFERED", None)

# What runs on the host itself; the rest of a play's tasks stay on the control node.
REMOTE = ("ansible.builtin.ping", "portshift.agents.bigfix_info", "portshift.agents.port_probe",
          "portshift.agents.bigfix_cutover", "portshift.agents.bigfix_evidence", "portshift.agents.change_record",
          "portshift.agents.port_bridge", "portshift.agents.port_bridge_info")


def measured(call):
    """(the run, wall seconds, CPU seconds of it and of what it started)."""
    def cpu():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime
    started, before = time.monotonic(), cpu()
    run = call().good()
    return run, time.monotonic() - started, cpu() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portshift-bench-") as folder:
        lab = Lab(os.path.join(folder, "lab"), "plain")
        lab.cold = True
        try:
            lab.start(relays="2", clients=arguments.clients)
            hosts = len(lab.hosts)
            ping = Path(folder, "ping.json")
            ping.write_text(json.dumps([dict(
                name="Ping", hosts="all", gather_facts=False, tasks=[{"name": "Ping", "ansible.builtin.ping": {}}])]))
            rows = [("plan", lambda: lab.play("plan")),
                    ("migrate", lambda: lab.play("migrate", "-e", "bigfix_client_waves=100%")),
                    ("migrate again", lambda: lab.play("migrate", "-e", "bigfix_client_waves=100%")),
                    ("verify", lambda: lab.play("verify")), ("rollback", lambda: lab.play("rollback"))]
            print("%d hosts, ansible-playbook with the forks of ansible.cfg\n" % hosts)
            print("%-14s %12s %12s %10s %12s %10s" % ("run", "module runs", "CPU s/host", "x ping", "wall s", "x ping"))

            def told(name, call, unit=None):
                run, wall, cpu = measured(call)
                runs = sum(event["event"] in ("ok", "failed") and event["action"] in REMOTE for event in run.events)
                # What others do on the machine meanwhile counts for both: a run is measured by the pings before and after it.
                after = told("ping", lambda: lab.play_file(ping)) if unit else (cpu, wall)
                cpus, walls = zip(unit or after, after)
                print("%-14s %12.1f %12.2f %10.1f %12.1f %10.1f" % (
                    name, runs / hosts, cpu / hosts, 2 * cpu / sum(cpus), wall, 2 * wall / sum(walls)), flush=True)
                return after

            unit = told("ping", lambda: lab.play_file(ping))
            for name, call in rows:
                unit = told(name, call, unit)
        finally:
            lab.stop()


if __name__ == "__main__":
    main()
