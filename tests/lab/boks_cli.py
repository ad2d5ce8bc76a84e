# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the lab for a BoKS domain."""

import json
import os
import signal
import subprocess
import time

from .answers import pronounce, table, wait_until_none
from .lab_folder import BadState

SSH_SECONDS = 15


def kind():
    # Only where it is asked for, as with containers.
    from .boks_lab import BoksLab
    return BoksLab


def start(options):
    began = time.monotonic()
    entry = options.base - 10 * options.bridge_domain
    if entry < 1024:
        raise BadState("With BRIDGE_DOMAIN=%d base port %d would stand as %d in /etc/services." % (
            options.bridge_domain, options.base, entry))
    lab = kind().plan(options.dir, options.replicas, options.agents, options.base, options.bridge_domain, options.services,
                      options.life, options.engine, options.firewalls)

    def ready():
        _await_logins(lab, options.base, 30 + len(lab.hosts))
        lab.judged_from_now()

    lab.bring_up(ready)
    print("Lab in %s: %d hosts in %s, base port %d; all users may log in, %.1f s after the start." % (
        lab.folder, len(lab.hosts), lab.data["network"], options.base, time.monotonic() - began))
    print("Inventory: %s" % os.path.join(lab.folder, "inventory.yml"))
    return 0


def _behind(lab, base):
    """-> what stands between this domain and that base port: [sentence]"""
    behind = []
    for name, found in lab.observed().items():
        if found is None:
            behind.append("%s does not run" % name)
        elif not found["running"]:
            behind.append("BoKS does not run on %s" % name)
        elif found["base"] != base:
            behind.append("%s has base port %s" % (name, found["base"]))
        elif not found["login"].startswith("allow "):
            behind.append("%s lets no user in (%s)" % (name, found["login"]))
        else:
            behind += ["%s sees %s %s" % (name, server, status) for server, status in found["servers"].items()
                       if status != "OK"]
    return behind


def _await_logins(lab, base, seconds):
    wait_until_none(lambda: _behind(lab, base), seconds, "not all users may log in by base port %d" % base)


def wait(lab, options):
    _await_logins(lab, options.base, options.timeout)
    print("Every host has base port %d and lets people in." % options.base)
    return 0


def figures(lab):
    """What `status --json` prints."""
    observed, counts = lab.observed(), lab.logins(lab.since)
    hosts = {}
    for host in lab.hosts:
        found = observed[host.name] or {"running": None, "base": None, "listening": [], "login": None, "servers": {}}
        hosts[host.name] = {
            "role": host.role,
            "address": host.address,
            "firewall": lab.data["hosts"][host.name]["firewall"],
            "running": found["running"] is not None,
            "pid": found["running"],
            "base": found["base"],
            "listening": found["listening"],
            "login": found["login"],
            "servers": found["servers"],
            "logins": counts[host.name].figures(),
        }
    return {"product": "boks", "network": lab.data["network"], "since": lab.since, "hosts": hosts}


def status(lab, options):
    found = figures(lab)
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    rows = [("HOST", "ROLE", "ADDRESS", "FIREWALL", "BASE", "LISTENS", "LOGIN NOW", "LOGINS", "OWN RESTART", "REFUSED")]
    for name, host in found["hosts"].items():
        count = host["logins"]
        rows.append((name, host["role"], host["address"], host["firewall"], host["base"] or "-",
                     ",".join(host["listening"]) or "-", (host["login"] or "-").split()[0], count["attempts"],
                     count["refused_own_restart"], count["refused_otherwise"]))
    table(rows)
    return 0


def logins(lab, options):
    since = lab.since if options.since is None else options.since
    real = _log_in_by_ssh(lab, options.ssh, options.every) if options.ssh else []
    ledgers = lab.ledgers()
    hosts = {name: count.figures() for name, count in lab.logins(since, ledgers).items()}
    objections = []
    for name, count in hosts.items():
        if not count["attempts"]:
            objections.append("no user tried to log in to %s" % name)
        elif count["refused_otherwise"]:
            objections.append("%d logins of %s were refused while its own BoKS ran (%s)" % (
                count["refused_otherwise"], name, "; ".join(sorted(count["reasons"])[:3])))
        if count["attempts"] and not count["allowed_last"]:
            objections.append("%s lets no user in" % name)
        if options.longest and count["longest_refusal"] > options.longest:
            objections.append("%s let no user in for %.1f s" % (name, count["longest_refusal"]))
    for login in real:
        login["own_restart"] = not login["allowed"] and lab.own_restart(
            ledgers[login["host"]], login["began"], login["ended"])
    refused = [login for login in real if not login["allowed"]]
    for login in refused:
        if not login["own_restart"]:
            objections.append("a login by ssh to %s was refused (%s)" % (login["host"], login["said"]))
    verdict = {"ok": not objections, "since": since, "objections": objections, "hosts": hosts,
               "ssh": {"attempts": len(real), "refused_own_restart": sum(login["own_restart"] for login in refused),
                       "refused_otherwise": sum(not login["own_restart"] for login in refused)}}

    def show():
        table([("HOST", "LOGINS", "OWN RESTART", "REFUSED", "WITHOUT UDP", "LONGEST REFUSAL S")] + [
            (name, count["attempts"], count["refused_own_restart"], count["refused_otherwise"], count["without_udp"],
             "%.1f" % count["longest_refusal"]) for name, count in hosts.items()])
        if real:
            print("By ssh: %(attempts)d logins, %(refused_own_restart)d refused during a restart of the host's own BoKS, "
                  "%(refused_otherwise)d otherwise." % verdict["ssh"])

    return pronounce(verdict, options.json, show)


def _log_in_by_ssh(lab, seconds, every):
    """New logins to every host in turn, whole rounds, until that time is over or a signal says so -> [what became of each]"""
    over = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: over.append(True))
    made, end = [], time.monotonic() + seconds
    while not over and time.monotonic() < end:
        for host in lab.hosts:
            due = time.monotonic() + every / len(lab.hosts)
            began = time.time()
            done = subprocess.Popen(
                ["ssh", "-F", os.path.join(lab.folder, "ssh", "config"), "-o", "ControlMaster=no", "-o", "ControlPath=none",
                 "-o", "BatchMode=yes", "-o", "ConnectTimeout=%d" % SSH_SECONDS, host.name, "true"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
            try:
                said = done.communicate(timeout=2 * SSH_SECONDS)[1].decode("utf-8", "replace").strip()
            except subprocess.TimeoutExpired:
                done.kill()
                done.communicate()
                said = "no answer within %d s" % (2 * SSH_SECONDS)
            made.append({"host": host.name, "began": began, "ended": time.time(), "allowed": done.returncode == 0,
                         "said": said.rsplit("\n", 1)[-1]})
            left = due - time.monotonic()
            if left > 0 and not over:
                time.sleep(left)
            if over:
                break
    return made
