# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hand procedure of the document and migrate_bigfix_port.yml on the same deployment, in one table: `make headline`.

In containers where they run here (systemd, real firewalls, ssh), else as processes.  What is lost is the root server's count.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"
NEW = 55000
# Agents give a report up after 10 s; what is still on its way then arrives or is lost within this time.
SETTLE = 15


def lab(folder, *arguments):
    done = subprocess.run([sys.executable, "-m", "tests.lab", arguments[0], "--dir", str(folder), *arguments[1:]], cwd=ROOT,
                          stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit("headline: the lab could not %s." % arguments[0])
    return done.stdout


def measure(title, folder, start, playbook, options):
    lab(folder, "start", *start)
    try:
        began = time.monotonic()
        log = folder.with_suffix(".log")
        with open(log, "w") as stream:
            code = subprocess.run(
                [str(PLAYBOOK), "-i", str(folder / "inventory.yml"), playbook, "-e", "bigfix_port=%d" % NEW, *options],
                cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
        took = time.monotonic() - began
        if code:
            sys.exit("headline: %s ended with status %d; see %s." % (playbook, code, log))
        lab(folder, "wait", "--port", str(NEW), "--timeout", "120")
        time.sleep(SETTLE)
        found = json.loads(lab(folder, "status", "--json"))
    finally:
        lab(folder, "stop", "--remove")
    agents = found["agents"].values()
    return (title, len(agents), found["accepted"], found["lost"], "%.1f" % max(agent["longest_silence"] for agent in agents),
            "%.0f" % took)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", action="store_true", help="processes instead of containers")
    parser.add_argument("--clients", default="12")
    parser.add_argument("--pause", type=int, default=30, help="seconds a person takes between two steps (default: 30)")
    arguments = parser.parse_args()
    folder = ROOT / ".lab"
    start = ["--masthead", "plain", "--relays", "2,2", "--clients", arguments.clients, "--rate", "4"]
    start += [] if arguments.processes else ["--containers"]
    rows = [("PROCEDURE", "AGENTS", "REPORTS", "LOST", "LONGEST SILENCE S", "TOOK S"),
            measure("by hand, %d s between steps" % arguments.pause, folder / "by-hand", start,
                    "tests/baseline/hand_procedure.yml", ["-e", "hand_pause=%d" % arguments.pause]),
            measure("migrate_bigfix_port.yml", folder / "collection", start, "playbooks/migrate_bigfix_port.yml", [])]
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0


if __name__ == "__main__":
    os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    sys.exit(main())
