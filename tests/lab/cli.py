# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the lab.  Exit codes: 0 done, 1 failed, 2 wrong usage or a folder in the wrong state."""

import argparse
import json
import os
import shutil
import signal
import sys
import time

from . import boks_cli, change_tracker_cli, processes
from .answers import table
from .authority import AuthorityError
from .lab_folder import BadState, described
from .process_lab import ProcessLab

FIREWALLS = ("firewalld", "ufw", "nftables", "iptables", "none")
FORBIDDEN_PORT = 52314    # the vendor's own, for something else
# What `start` takes for one product alone, and what stands for it where it is left out.
ONLY = {
    "bigfix": {"masthead": "signed", "relays": [2, 2], "clients": 12, "rate": 4.0, "port": 52311, "give_up": 10.0, "dmz": []},
    "boks": {"replicas": 2, "agents": 4, "base": 6500, "bridge_domain": 0, "services": "debian"},
    "change_tracker": {"agents": 8, "monitored": 2, "legacy": 0, "port": 443, "thumbprint": "some", "hub": "nginx"},
}
NAMES = {"bigfix": "BigFix", "boks": "BoKS", "change_tracker": "Change Tracker"}
# The commands of a product whose lab is of containers only.
OTHERS = {"boks": boks_cli, "change_tracker": change_tracker_cli}


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        sys.stderr.write("%s: %s (see --help).\n" % (self.prog, message))
        sys.exit(2)


def _port(text):
    if not text.isdigit() or not 1 <= int(text) <= 65535 or int(text) == FORBIDDEN_PORT:
        raise argparse.ArgumentTypeError("%r is no port from 1 to 65535 other than %d" % (text, FORBIDDEN_PORT))
    return int(text)


def _tiers(text):
    sizes = text.split(",")
    if not all(size.isdigit() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError("%r is no list of tier sizes like 2,2" % text)
    return [int(size) for size in sizes]


def _positive(text):
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError("%r is no number above 0" % text)
    return number


def _firewalls(text):
    names = text.split(",")
    if not all(name in FIREWALLS for name in names):
        raise argparse.ArgumentTypeError("%r is no list of %s" % (text, ", ".join(FIREWALLS)))
    return names


def _base(text):
    if not text.isdigit() or not 1024 <= int(text) <= 65532:
        raise argparse.ArgumentTypeError("%r is no base port from 1024 to 65532, the first of four" % text)
    return int(text)


def _positive_time(text):
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError("%r is no time in seconds since 1970" % text)


def _count(text):
    if not text.isdigit():
        raise argparse.ArgumentTypeError("%r is no number of hosts" % text)
    return int(text)


def _parser():
    parser = _Parser(prog="python3 -m tests.lab",
                     description="A deployment of stand-ins on this machine: BigFix, BoKS or Change Tracker.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def command(name, function, text):
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--dir", default=".lab", metavar="DIR", help="folder of the lab (.lab)")
        sub.set_defaults(function=function)
        return sub

    sub = command("start", start, "Make a lab and start it; returns when every agent has reported, or all users may log in.")
    sub.add_argument("--product", choices=sorted(ONLY), default="bigfix", help="what is stood in for (bigfix)")
    sub.add_argument("--masthead", choices=("signed", "plain"), help="BigFix: (signed)")
    sub.add_argument("--relays", type=_tiers, metavar="N,N", help="BigFix: relays in each tier (2,2)")
    sub.add_argument("--clients", type=_count, metavar="N", help="BigFix: number of clients (12)")
    sub.add_argument("--rate", type=_positive, metavar="R", help="BigFix: reports per second and agent (4)")
    sub.add_argument("--port", type=_port, metavar="PORT",
                     help="BigFix: port of the deployment (52311); Change Tracker: of the hub (443)")
    sub.add_argument("--give-up", type=_positive, metavar="S",
                     help="BigFix: seconds for which an agent tries a report before it drops it (10)")
    sub.add_argument("--dmz", action="append", metavar="RELAY",
                     help="BigFix: a relay to which its parent connects, never the other way; may be given again")
    sub.add_argument("--replicas", type=_count, metavar="N", help="BoKS: number of Replicas (2)")
    sub.add_argument("--agents", type=_count, metavar="N",
                     help="BoKS: number of Server Agents (4); Change Tracker: of agents beside those of hub and proxy (8)")
    sub.add_argument("--base", type=_base, metavar="PORT", help="BoKS: base port of the domain (6500)")
    sub.add_argument("--bridge-domain", type=_count, metavar="N", help="BoKS: BRIDGE_DOMAIN of every host (0: none)")
    sub.add_argument("--services", choices=("debian", "redhat"), help="BoKS: whose /etc/services the hosts have (debian)")
    sub.add_argument("--monitored", type=_count, metavar="N", help="Change Tracker: hosts that the proxy monitors (2)")
    sub.add_argument("--legacy", type=_count, metavar="N", help="Change Tracker: agents that are of the older service (0)")
    sub.add_argument("--hub", choices=("nginx", "iis"),
                     help="Change Tracker: what the hub answers with; with iis it stands for a Windows machine (nginx)")
    sub.add_argument("--thumbprint", choices=("all", "none", "some"),
                     help="Change Tracker: whose HubDetails.xml holds the hub's thumbprint (some)")
    sub.add_argument("--life", type=_positive, default=7200.0, metavar="S",
                     help="seconds after which every process ends by itself (7200)")
    sub.add_argument("--containers", action="store_true",
                     help="hosts are containers with systemd, ssh and firewalls (root or docker); only those of BigFix can be "
                          "processes")
    sub.add_argument("--engine", choices=("podman", "docker"), help="what runs the containers (the one that works)")
    sub.add_argument("--firewalls", type=_firewalls, default=list(FIREWALLS[:4]), metavar="A,B",
                     help="firewalls of the containers, in turns: %s (%s)" % (
                         ", ".join(FIREWALLS), ",".join(FIREWALLS[:4])))
    sub = command("status", status, "Show hosts, services, ports, and the reports or logins that were counted.")
    sub.add_argument("--json", action="store_true", help="as JSON")
    sub = command("stop", stop, "Stop the processes or containers of the lab.")
    sub.add_argument("--remove", action="store_true", help="delete containers, network and folder too")
    sub = command("issue", issue, "BigFix: have the lab's authority issue a masthead for a port; prints its path.")
    sub.add_argument("--port", type=_port, required=True, metavar="PORT")
    sub = command("wait", wait, "Wait until every agent reports through a port, or all users may log in by a base port.")
    sub.add_argument("--port", type=_port, metavar="PORT", help="BigFix, Change Tracker: the port")
    sub.add_argument("--base", type=_base, metavar="PORT", help="BoKS: the base port")
    sub.add_argument("--timeout", type=_positive, default=60.0, metavar="S", help="seconds to wait (60)")
    sub = command("judge", judge, "BigFix: fail unless every agent reports through a port and no report is lost.")
    sub.add_argument("--port", type=_port, required=True, metavar="PORT")
    sub.add_argument("--slack", type=_positive, metavar="S",
                     help="seconds that an agent's longest silence may exceed the longest restart, its own or of a host "
                          "above it (containers only)")
    sub = command("logins", logins, "BoKS: count the logins that were refused; fails when one was that BoKS itself "
                  "was not being restarted for, or when a host lets no user in now.")
    sub.add_argument("--json", action="store_true", help="as JSON")
    sub.add_argument("--since", type=_positive_time, metavar="EPOCH", help="count from then on (from when the lab was up)")
    sub.add_argument("--longest", type=_positive, metavar="S", help="fail too when a host let no user in for longer than this")
    sub.add_argument("--ssh", type=_positive, metavar="S",
                     help="log in to every host by ssh as well, again and again for S seconds (or until interrupted)")
    sub.add_argument("--every", type=_positive, default=5.0, metavar="S", help="seconds between logins by ssh to a host (5)")
    sub = command("heartbeats", heartbeats, "Change Tracker: count the heartbeats; fails when one failed, when an agent is "
                  "silent or asleep now, or when the proxy lost a host that it monitors.")
    sub.add_argument("--json", action="store_true", help="as JSON")
    sub.add_argument("--since", type=_positive_time, metavar="EPOCH", help="count from then on (from when the lab was up)")
    sub.add_argument("--longest", type=_positive, metavar="S", help="fail too when an agent was silent for longer than this")
    sub = command("fault", fault, "Make a host misbehave: refuse-port:PORT, or clear.")
    sub.add_argument("host", metavar="HOST")
    sub.add_argument("kind", metavar="KIND")
    return parser


def start(options):
    wishes = ONLY[options.product]
    for theirs in ONLY.values():
        for name in theirs:
            if name not in wishes and getattr(options, name) is not None:
                raise BadState("--%s is nothing that a lab of %s has." % (name.replace("_", "-"), options.product))
    for name, otherwise in wishes.items():
        if getattr(options, name) is None:
            setattr(options, name, otherwise)
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))    # so that the clean-up below is done
    return (OTHERS[options.product].start if options.product in OTHERS else _start_bigfix)(options)


def _start_bigfix(options):
    began = time.monotonic()
    kind = _containers() if options.containers else ProcessLab
    wishes = {"engine": options.engine, "firewalls": options.firewalls} if options.containers else {}
    lab = kind.plan(options.dir, options.masthead, options.relays, options.clients, options.rate, options.port,
                    options.give_up, options.life, options.dmz, **wishes)
    lab.bring_up(lambda: _await_reports(lab, 30 + 0.2 * len(lab.hosts)))
    print("Lab in %s: %d hosts in %s, %s masthead, port %d; every agent has reported, %.1f s after the start." % (
        lab.folder, len(lab.hosts), lab.data["network"], lab.data["masthead"], lab.data["port"],
        time.monotonic() - began))
    print("Inventory: %s" % os.path.join(lab.folder, "inventory.yml"))
    return 0


def _await_reports(lab, seconds):
    end = time.monotonic() + seconds
    tally = lab.tally()
    while True:
        silent = [host.name for host in lab.hosts if host.name not in tally.read().clients]
        if not silent:
            return
        if time.monotonic() > end:
            raise processes.Failed("After %d seconds %d agents have not reported: %s." % (
                seconds, len(silent), ", ".join(silent[:10])))
        time.sleep(0.05)


def _containers():
    # Only where they are asked for: the lab of processes comes up in seconds, every import counts.
    from .container_lab import ContainerLab
    return ContainerLab


def opened(folder):
    """The lab in a folder, of its kind."""
    folder, data = described(folder)
    if data.get("product") in OTHERS:
        return OTHERS[data["product"]].kind()(folder, data)
    return (_containers() if data.get("containers") else ProcessLab)(folder, data)


def product_of(lab):
    return lab.data.get("product", "bigfix")


def _opened(folder, command, product):
    """The lab in a folder, for a command that one product alone has."""
    lab = opened(folder)
    if product_of(lab) != product:
        raise BadState("%s is for labs of %s, and that in %s is one of %s." % (
            command, NAMES[product], lab.folder, NAMES[product_of(lab)]))
    return lab


def figures(lab):
    """What `status --json` prints."""
    agents = lab.tally().read().agents([host.name for host in lab.hosts])
    services, ports = lab.observed()
    hosts = {}
    for host in lab.hosts:
        hosts[host.name] = {
            "role": host.role,
            "parent": host.parent,
            "address": host.address,
            "services": {service: {"running": pid is not None, "pid": pid}
                         for service, pid in services[host.name].items()},
            "port": agents[host.name]["port"] if host.role == "client" else ports[host.name],
        }
    return {
        "masthead": lab.data["masthead"],
        "network": lab.data["network"],
        "hosts": hosts,
        "agents": agents,
        "accepted": sum(agent["accepted"] for agent in agents.values()),
        "lost": sum(agent["lost"] for agent in agents.values()),
    }


def status(options):
    lab = opened(options.dir)
    if product_of(lab) in OTHERS:
        return OTHERS[product_of(lab)].status(lab, options)
    found = figures(lab)
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    rows = [("HOST", "ROLE", "PARENT", "ADDRESS", "SERVICES", "LISTENS", "AGENT PORT", "REPORTS", "LOST", "SILENT S",
             "SEEN S AGO")]
    for name, host in found["hosts"].items():
        agent = found["agents"][name]
        services = host["services"].values()
        rows.append((
            name, host["role"], host["parent"] or "-", host["address"],
            "%d/%d" % (sum(service["running"] for service in services), len(services)),
            (host["port"] or "-") if host["role"] != "client" else "-",
            agent["port"] or "-", agent["accepted"], agent["lost"], "%.1f" % agent["longest_silence"],
            "never" if agent["last_seen_ago"] is None else "%.1f" % agent["last_seen_ago"]))
    table(rows)
    for name, host in found["hosts"].items():
        stopped = [service for service, state in host["services"].items() if not state["running"]]
        if stopped:
            print("Stopped on %s: %s" % (name, ", ".join(stopped)))
    print("Masthead %s, network %s: %d reports accepted, %d lost." % (
        found["masthead"], found["network"], found["accepted"], found["lost"]))
    return 0


def stop(options):
    lab = opened(options.dir)
    done = lab.stop(options.remove)
    if options.remove:
        shutil.rmtree(lab.folder)
    print("%s%s." % (done, ", %s removed" % lab.folder if options.remove else ""))
    return 0


def issue(options):
    print(_opened(options.dir, "issue", "bigfix").issue(options.port))
    return 0


def wait(options):
    lab = opened(options.dir)
    wanted = "base" if product_of(lab) == "boks" else "port"
    if getattr(options, wanted) is None:
        raise BadState("--%s is missing: what to wait for." % wanted)
    if product_of(lab) in OTHERS:
        return OTHERS[product_of(lab)].wait(lab, options)
    names = [host.name for host in lab.hosts]
    lately = max(2.0, 3.0 / lab.data["rate"])
    end = time.monotonic() + options.timeout
    tally = lab.tally()
    while True:
        agents = tally.read().agents(names)
        behind = [name for name in names if agents[name]["port"] != options.port
                  or agents[name]["last_seen_ago"] > lately]
        if not behind:
            print("Every agent reports through port %d." % options.port)
            return 0
        if time.monotonic() > end:
            raise processes.Failed("After %g seconds %d of %d agents do not report through port %d: %s%s." % (
                options.timeout, len(behind), len(names), options.port, ", ".join(behind[:10]),
                ", ..." if len(behind) > 10 else ""))
        time.sleep(0.2)


def judge(options):
    lab = _opened(options.dir, "judge", "bigfix")
    if options.slack and not lab.data.get("containers"):
        raise BadState("Only a lab of containers knows how long restarts took; leave --slack out.")
    names = [host.name for host in lab.hosts]
    restarts = lab.restart_seconds() if options.slack else {}
    agents = lab.tally().read().agents(names)
    objections = []
    for name in names:
        agent = agents[name]
        if agent["port"] != options.port:
            objections.append("%s reported through port %s last" % (name, agent["port"]))
        if agent["lost"]:
            objections.append("%d reports of %s are lost" % (agent["lost"], name))
        if options.slack:
            line, above = [name], lab.host(name).parent
            while above:
                line.append(above)
                above = lab.host(above).parent
            slowest = max(line, key=restarts.get)
            if agent["longest_silence"] > restarts[slowest] + options.slack:
                objections.append("%s was silent for %.1f s, and the longest restart on its line, that of %s, took %.1f s" % (
                    name, agent["longest_silence"], slowest, restarts[slowest]))
    if objections:
        raise processes.Failed("%s." % "; ".join(objections))
    print("All %d agents report through port %d: %d reports accepted, 0 lost, longest silence %.1f s%s." % (
        len(names), options.port, sum(agent["accepted"] for agent in agents.values()),
        max(agent["longest_silence"] for agent in agents.values()),
        ", longest restart %.1f s" % max(restarts.values()) if restarts else ""))
    return 0


def logins(options):
    return boks_cli.logins(_opened(options.dir, "logins", "boks"), options)


def heartbeats(options):
    return change_tracker_cli.heartbeats(_opened(options.dir, "heartbeats", "change_tracker"), options)


def fault(options):
    lab = opened(options.dir)
    host = lab.host(options.host)
    kind, _colon, number = options.kind.partition(":")
    if options.kind == "clear":
        lab.set_fault(host, None)
    elif kind == "refuse-port" and number.isdigit():
        without = {"client": "client", "monitored": "host without an agent"}.get(host.role)
        if lab.data["hosts"][host.name].get("server") == "iis":
            without = "hub without an agent"
        if without:
            raise BadState("%s has nothing that could refuse a port: it is a %s." % (host.name, without))
        lab.set_fault(host, options.kind)
    else:
        raise BadState("There is no fault %r; there are refuse-port:PORT and clear." % options.kind)
    return 0


def main(arguments=None):
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error("a command is missing: start, status, stop, issue, wait, judge, logins, heartbeats or fault")
    try:
        return options.function(options)
    except BadState as err:
        sys.stderr.write("%s\n" % err)
        return 2
    except (processes.Failed, AuthorityError) as err:
        sys.stderr.write("%s\n" % err)
        return 1
    except OSError as err:
        sys.stderr.write("%s.\n" % err)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 1
