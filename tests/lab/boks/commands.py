# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of BoKS that are run here: Boot, boksdiag list, checkdomain -h HOST; and what the lab asks a host."""

import argparse
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

from ..identity import start_time
from .asking import NoAnswer, ask_all, ask_own
from .host import LISTENING, Host

START_SECONDS = 30
STOP_SECONDS = 10
OWN_SECONDS = 4


def say(text, code):
    (sys.stderr if code else sys.stdout).write(text + "\n")
    return code


def running(host):
    """-> the pid of the boks_init of this host, or None."""
    try:
        with open(host.pid_file) as stream:
            pid, started = (int(word) for word in stream.read().split())
    except (OSError, ValueError):
        return None
    return pid if start_time(pid) == started else None


def boot(arguments):
    parser = argparse.ArgumentParser(prog="Boot")
    parser.add_argument("-k", action="store_true", help="stop BoKS")
    stop = parser.parse_args(arguments).k
    host = Host.load()
    # One at a time: two starts at once would run two sets of daemons.
    with open(host.boot_lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pid = running(host)
        if stop:
            return _stop(host, pid) if pid else say("BoKS is not running.", 1)
        return say("BoKS is running already.", 0) if pid else _start(host)


def _start(host):
    reading, writing = os.pipe()
    with open(os.devnull, "r+") as nowhere:
        # A session of its own and none of the caller's files: its caller may go away.
        started = subprocess.Popen([host.init, str(writing)], stdin=nowhere, stdout=nowhere, stderr=nowhere, cwd="/",
                                   pass_fds=(writing,), start_new_session=True)
    os.close(writing)
    with os.fdopen(reading) as outcome:
        said = outcome.read()    # until it is ready or dead
    if said == "ready":
        return 0
    started.wait(START_SECONDS)
    return say("BoKS does not start: %s." % (said or "boks_init died (%s)" % started.returncode), 1)


def _stop(host, pid):
    started = start_time(pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if start_time(pid) == started and started is not None:
            os.kill(pid, number)
        end = time.monotonic() + STOP_SECONDS
        while time.monotonic() < end:
            if start_time(pid) != started:
                return 0
            time.sleep(0.02)
    return say("boks_init (%d) can't be stopped." % pid, 1)


def boksdiag(arguments):
    if arguments != ["list"]:
        return say("Usage: boksdiag list", 2)
    host = Host.load()
    answer = _own(host, "servers")
    if answer is None:
        return say("boksdiag: BoKS is not running on this host.", 1)
    roles = {name: role for role in ("master", "replica") for name, _address in host.of_role(role)}
    print("%-16s %-8s %-16s %s" % ("Server", "Type", "Address", "Status"))
    for word in answer.split():
        name, _equals, status = word.partition("=")
        print("%-16s %-8s %-16s %s" % (name, roles[name].capitalize(), host.lab["hosts"][name]["address"], status))
    return 0


def checkdomain(arguments):
    if len(arguments) != 2 or arguments[0] != "-h":
        return say("Usage: checkdomain -h HOST", 2)
    host, name = Host.load(), arguments[1]
    if name not in host.lab["hosts"]:
        return say("checkdomain: there is no host %s in the domain." % name, 1)
    target = host.lab["hosts"][name]["address"], host.bases()["tcp"] + 3
    answer = ask_all([target], "%s hello %s" % (host.domain, host.name), 3.0)[target]
    if isinstance(answer, NoAnswer) or not answer.startswith("clntd "):
        return say("%s: BoKS is not running or not reached on port %d: %s" % (name, target[1], answer), 1)
    return say("%s: communication is OK (port %d)" % (name, target[1]), 0)


def _own(host, question):
    """What the BoKS of this host answers; None when it is not there."""
    try:
        return ask_own(host.access_socket, question, OWN_SECONDS)
    except NoAnswer:
        return None


def state(_arguments):
    """For the lab: how BoKS of this host stands, as JSON."""
    host = Host.load()
    found = {"running": running(host), "base": None, "listening": [], "login": None, "servers": {}}
    known = _own(host, "state")
    if known is not None:
        bases = dict(zip(("tcp", "udp"), (int(word) for word in known.split()[:2])))
        found["base"] = bases["tcp"]
        found["listening"] = ["%d/%s" % (bases[protocol] + offset, protocol) for offset, protocol in LISTENING[host.role]]
        found["servers"] = dict(word.split("=") for word in (_own(host, "servers") or "").split())
    found["login"] = login(host, "root")
    found["host"] = socket.gethostname()
    print(json.dumps(found))
    return 0


def login(host, user):
    """What PAM would be told -> `allow ...`, `refuse ...`, or `own ...` when it is this host's own BoKS that is not there."""
    try:
        answer = ask_own(host.access_socket, "access %s" % user, OWN_SECONDS)
    except NoAnswer as err:
        return "refuse %s" % err
    return "own BoKS of this host is not running" if answer is None else answer
