# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the lab for Netwrix Change Tracker."""

import json
import os
import time

from .answers import pronounce, table, wait_until_none
from .lab_folder import BadState

LATELY_SECONDS = 5.0


def kind():
    # Only where it is asked for, as with containers.
    from .change_tracker_lab import ChangeTrackerLab
    return ChangeTrackerLab


def start(options):
    began = time.monotonic()
    if options.legacy > options.agents:
        raise BadState("%d agents can't be of the older service, where there are %d." % (options.legacy, options.agents))
    lab = kind().plan(options.dir, options.agents, options.monitored, options.legacy, options.port, options.thumbprint,
                      options.hub, options.life, options.engine, options.firewalls)

    def ready():
        _await_heartbeats(lab, options.port, 30 + len(lab.hosts))
        lab.judged_from_now()

    lab.bring_up(ready)
    print("Lab in %s: %d hosts in %s, hub on port %d; every agent's heartbeat arrives, %.1f s after the start." % (
        lab.folder, len(lab.hosts), lab.data["network"], options.port, time.monotonic() - began))
    print("Inventory: %s" % os.path.join(lab.folder, "inventory.yml"))
    return 0


def _behind(lab, port):
    """-> what stands between these agents and that port: [sentence]"""
    behind = []
    for name, found in lab.observed(lab.agents).items():
        last = found and found["last"]
        if found is None:
            behind.append("%s does not run" % name)
        elif not all(found["running"].values()):
            behind.append("%s does not run on %s" % (
                ", ".join(service for service, pid in found["running"].items() if not pid), name))
        elif last is None:
            behind.append("%s has sent no heartbeat" % name)
        elif last["outcome"] == "sleep":
            behind.append("the agent of %s sleeps, its retries on port %d exhausted" % (name, last["port"]))
        elif last["outcome"] != "ok" or last["ago"] > LATELY_SECONDS:
            behind.append("the last heartbeat of %s, on port %d, %.1f s ago: %s %s" % (
                name, last["port"], last["ago"], last["outcome"], last["why"]))
        elif last["port"] != port:
            behind.append("%s reports on port %d" % (name, last["port"]))
    return [sentence.rstrip() for sentence in behind]


def _await_heartbeats(lab, port, seconds):
    wait_until_none(lambda: _behind(lab, port), seconds, "not every agent's heartbeat arrives on port %d" % port)


def wait(lab, options):
    _await_heartbeats(lab, options.port, options.timeout)
    print("Every agent's heartbeat arrives on port %d." % options.port)
    return 0


def figures(lab):
    """What `status --json` prints."""
    observed, counts, watched = lab.looked_at(lab.hosts, lab.since)
    hosts = {}
    for host in lab.hosts:
        found = observed[host.name] or {"running": dict.fromkeys(host.services), "listening": [], "url": None, "last": None}
        hosts[host.name] = {
            "role": host.role,
            "address": host.address,
            "firewall": lab.data["hosts"][host.name]["firewall"],
            "up": observed[host.name] is not None,
            "services": found["running"],
            "listening": found["listening"],
        }
        if host.service:
            last = found["last"]
            hosts[host.name].update(
                service=host.service,
                running=bool(found["running"][host.service]),
                url=found["url"],
                port=last["port"] if last and last["outcome"] == "ok" else None,
                last=last,
                heartbeats=counts[host.name].figures())
    return {"product": "change_tracker", "network": lab.data["network"], "since": lab.since, "hosts": hosts,
            "monitored": watched}


def status(lab, options):
    found = figures(lab)
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    rows = [("HOST", "ROLE", "ADDRESS", "FIREWALL", "LISTENS", "URL", "PORT NOW", "ACCEPTED", "FAILED", "RESTARTS",
             "LONGEST SILENCE S", "SLEEPS")]
    for name, host in found["hosts"].items():
        listens = ",".join(map(str, host["listening"])) or "-"
        row = (name, host["role"], host["address"], host["firewall"], listens)
        if "heartbeats" in host:
            count = host["heartbeats"]
            row += (host["url"] or "-", host["port"] or "-", count["accepted"], count["failed"], count["own_restarts"],
                    "%.1f" % count["longest_silence"], "yes" if count["sleeping"] else "no")
        else:
            row += ("-",) * 7
        rows.append(row)
    table(rows)
    for proxy, targets in found["monitored"].items():
        for target, seen in targets.items():
            print("%s looks at %s: %d times, %d failed, last %.1f s ago: %s" % (
                proxy, target, seen["looks"], seen["failed"], seen["last_ago"], seen["last"]))
    return 0


def heartbeats(lab, options):
    since = lab.since if options.since is None else options.since
    _observed, counts, watched = lab.looked_at(lab.agents, since)
    objections, hosts = [], {name: count.figures() for name, count in counts.items()}
    for name, count in hosts.items():
        if not count["accepted"]:
            objections.append("no heartbeat of %s was accepted" % name)
            continue
        if count["failed"]:
            objections.append("%d heartbeats of %s failed (%s)" % (
                count["failed"], name, "; ".join(sorted(count["reasons"])[:3])))
        if count["gaps"]:
            objections.append("%d numbers of %s never arrived at the hub" % (count["gaps"], name))
        if counts[name].missing_at_hub():
            objections.append("%d heartbeats of %s were accepted and are not written down at the hub" % (
                len(counts[name].missing_at_hub()), name))
        if count["sleeping"]:
            objections.append("the agent of %s sleeps" % name)
        elif count["last_accepted_ago"] > LATELY_SECONDS:
            objections.append("%s is silent for %.1f s now" % (name, count["last_accepted_ago"]))
        if options.longest and count["longest_silence"] > options.longest:
            objections.append("%s was silent for %.1f s" % (name, count["longest_silence"]))
    for host in lab.agents:
        for target in host.monitored:
            wanted = "%s:%d" % (target["host"], _port_of(target))
            seen = watched.get(host.name, {}).get(wanted)
            if seen is None or seen["last"] != "ok" or seen["last_ago"] > 2 * LATELY_SECONDS:
                objections.append("%s does not say of %s that it is fine" % (host.name, wanted))
            elif seen["failed"]:
                objections.append("%s failed to look at %s %d times (%s)" % (
                    host.name, wanted, seen["failed"], "; ".join(sorted(seen["reasons"])[:3])))
    verdict = {"ok": not objections, "since": since, "objections": objections, "hosts": hosts, "monitored": watched}

    def show():
        table([("HOST", "ACCEPTED", "FAILED", "GAPS AT HUB", "OWN RESTARTS", "LONGEST SILENCE S", "APART FROM RESTARTS S")] + [
            (name, count["accepted"], count["failed"], count["gaps"], count["own_restarts"],
             "%.1f" % count["longest_silence"], "%.1f" % count["longest_otherwise"]) for name, count in hosts.items()])

    return pronounce(verdict, options.json, show)


def _port_of(target):
    from .change_tracker.host import KINDS
    return KINDS[target["kind"]]
