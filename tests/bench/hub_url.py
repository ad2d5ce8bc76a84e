# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub's port in a HubDetails.xml, moved by community.general.xml and by change_tracker_hub_url: bytes and time.

`.venv/bin/python tests/bench/hub_url.py`.  One run of ansible-playbook for all of it; its ping is the unit of time, since
machines differ and drift.  Nothing is asserted.  Without lxml, which community.general.xml needs, it says so and ends.
"""

import argparse
import codecs
import difflib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PING, OURS, XML = "ansible.builtin.ping", "portshift.agents.change_tracker_hub_url", "community.general.xml"
OLD, NEW = "https://hub.example.test/api/", "https://hub.example.test:8443/api/"
FILE = """<?xml version="1.0" encoding="utf-8"?>
<!-- was <Url>https://old.example.test/api/</Url> -->
<HubDetails xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <Url>https://hub.example.test/api/</Url>
  <Username>agent</Username>
  <Password />
  <E1>bm90IGEgcGFzc3dvcmQ=</E1>
  <Proxy></Proxy>
  <NamePrefix>PR\xc9-</NamePrefix>
  <PublicKeyString><![CDATA[AQAB]]></PublicKeyString>
</HubDetails>
"""
KINDS = {
    "utf-8, LF": FILE.encode("utf-8"),
    "utf-8, mark, CRLF": codecs.BOM_UTF8 + FILE.replace("\n", "\r\n").encode("utf-8"),
    "utf-16, mark, CRLF": codecs.BOM_UTF16_LE + FILE.replace("utf-8", "utf-16").replace("\n", "\r\n").encode("utf-16-le"),
    "windows-1252, LF": FILE.replace("utf-8", "windows-1252").encode("cp1252"),
    "utf-8, DTD": FILE.replace("<!--", "<!DOCTYPE HubDetails [<!ENTITY prefix 'P'>]>\n<!--").replace(
        "PR\xc9-", "&prefix;").encode("utf-8"),
}


def changed_bytes(before, after):
    """How many bytes were taken away or put in."""
    steps = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return sum(end - start + stop - begin for kind, start, end, begin, stop in steps if kind != "equal")


def place(folder, who, number, kind):
    return folder / ("%s-%d-%s.xml" % (who, number, kind.replace(", ", "-")))


def play(folder, rounds):
    """Files of their own for each module, and tasks that edit each in turn, with a ping before."""
    tasks = []
    for number in range(rounds):
        for kind, content in KINDS.items():
            paths = [place(folder, who, number, kind) for who in ("ours", "xml")]
            for path in paths:
                path.write_bytes(content)
            tasks += [{"name": "ping|", PING: {}},
                      {"name": "ours|%s" % paths[0], OURS: dict(path=str(paths[0]), port=8443), "ignore_errors": True},
                      {"name": "xml|%s" % paths[1], "ignore_errors": True,
                       XML: dict(path=str(paths[1]), xpath="/HubDetails/Url", value=NEW)}]
    return [dict(name="Move the hub's port", hosts="host", gather_facts=False, tasks=tasks)]


def run(folder, rounds):
    """(seconds by kind of task, what was said of the files whose task failed)"""
    journal, inventory = folder / "journal", folder / "inventory.json"
    inventory.write_text(json.dumps(dict(all=dict(hosts=dict(host=dict(
        ansible_connection="local", ansible_python_interpreter=sys.executable))))))
    (folder / "play.json").write_text(json.dumps(play(folder, rounds)))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), str(folder / "play.json")], cwd=CHECKOUT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        env=dict(os.environ, ANSIBLE_CONFIG=str(CHECKOUT / "ansible.cfg"), ANSIBLE_CALLBACKS_ENABLED="journal",
                 ANSIBLE_COLLECTIONS_PATH=str(CHECKOUT / ".venv" / "collections"), PORTSHIFT_JOURNAL=str(journal),
                 ANSIBLE_CALLBACK_PLUGINS=str(CHECKOUT / "tests" / "integration" / "callback")))
    if done.returncode:
        sys.exit(done.stdout)
    seconds, failures, started = dict(ping=[], ours=[], xml=[]), {}, 0.0
    for event in map(json.loads, journal.read_text().splitlines()):
        who, _bar, path = event.get("task", "").partition("|")
        if event["event"] == "task":
            started = event["time"]
        elif event["event"] in ("ok", "failed"):
            seconds[who].append(event["time"] - started)
            if event["event"] == "failed":
                failures[path] = event["msg"]
    return seconds, failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if importlib.util.find_spec("lxml") is None:
        sys.exit("Not measured: community.general.xml needs lxml, which is not in this environment (%s). "
                 "Install it there (pip install lxml) and run this again." % sys.prefix)
    with tempfile.TemporaryDirectory(prefix="portshift-hub-url-") as name:
        folder = Path(name)
        seconds, failures = run(folder, arguments.rounds)
        print("bytes taken away or put in; what has to be put in is \":8443\", 5 bytes, in UTF-16 10\n")
        print("%-20s %8s %24s %24s" % ("file", "bytes", "change_tracker_hub_url", "community.general.xml"))
        for kind, content in KINDS.items():
            said = []
            for who in ("ours", "xml"):
                path = place(folder, who, 0, kind)
                after = path.read_bytes()
                said.append("refused, unchanged" if str(path) in failures and after == content else
                            str(changed_bytes(content, after)))
            print("%-20s %8d %24s %24s" % (kind, len(content), said[0], said[1]))
        unit = statistics.median(seconds["ping"])
        print("\nwall time of a task, median of %d, in one run\n" % len(seconds["ping"]))
        for who, module in (("ping", PING), ("ours", OURS), ("xml", XML)):
            middle = statistics.median(seconds[who])
            print("%-42s %6.2f s %6.2f x ping" % (module, middle, middle / unit))
        for path, sentence in failures.items():
            if "-0-" in path:
                print("\nrefused: %s" % sentence.replace(str(folder) + os.sep, ""))


if __name__ == "__main__":
    main()
