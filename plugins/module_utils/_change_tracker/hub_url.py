# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Netwrix Change Tracker: who connects to whom, where an agent lies, and what its log says when it has lost its hub.

The table is the vendor's article "Determining Which Network Ports Need to Be Open".
"""

from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

# The agent for .NET Core, and the one before it.
NETCORE, LEGACY = "nntgen7agentcore", "nntgen7agent"
# [vendor] Where an agent for Linux has its file; the last one stands in the vendor's own script.
PLACES = ["/var/nnt/gen7agent.app.netcore/HubDetails.xml", "/var/nnt/gen7agent.service/HubDetails.xml",
          "/etc/NNT/gen7agent.app.netcore/HubDetails.xml"]
# By the folder of the file, wherever that lies.
SERVICES = {"gen7agent.app.netcore": NETCORE, "gen7agent.service": LEGACY}
# The same on Windows.  [vendor] The first one, and both folders; of the agent before no page names the service.
WINDOWS_SERVICES = {"gen7agent.app.netcore": "Gen7AgentCore", "gen7agent.service": "Gen7Agent"}
LOG = "rolling-log.txt"
# [vendor] In the log, at level INFO.  No line is published that says that all is well.
FAILURES = ["Hub Offline, connection retries exhausted", "Hub connection failed", "Certificate thumbprint does not match trusted"]

COMPONENTS = ("hub", "agent", "proxy")
PEERS = COMPONENTS + ("console", "linux", "windows", "network")
SSH_RATHER = "SSH (port 22) is recommended over Telnet (port 23) for security reasons."

# One line of the table.  port: None for the hub's own, which moves.  sources, targets: those that connect, and that listen.
Row = namedtuple("Row", "port service sources targets purpose warning")

TABLE = (
    Row(None, "https", ("agent", "proxy", "console"), ("hub",),
        "agents report to the hub, always by a connection of their own; the console and REST clients", None),
    Row(22, "ssh", ("proxy",), ("linux", "network"), "agentless monitoring of Linux systems and network devices", None),
    Row(23, "telnet", ("proxy",), ("network",), "agentless monitoring of network devices without SSH (legacy)", SSH_RATHER),
    Row(445, "smb", ("proxy",), ("windows",), "agentless monitoring of Windows systems (Remote Registry)", None),
)


class ChangeTrackerError(EngineError):
    """What can't be asked of Change Tracker's table, or told of an agent; the sentence says why."""


def ports(port, component="all", direction="both", telnet=False):
    """The table for a hub on `port`: a list of dicts, lowest port first.

    component: one of COMPONENTS, or V(all) for every flow once.  direction: V(in) for what the component listens on, V(out) for
    what it connects to, V(both).  For all, V(in) is what a component listens on, and V(out) what leads out to monitored systems.
    """
    if component not in COMPONENTS + ("all",):
        raise ChangeTrackerError("the component is %r; give one of %s" % (component, ", ".join(COMPONENTS + ("all",))))
    if direction not in ("in", "out", "both"):
        raise ChangeTrackerError("the direction is %r; give one of in, out, both" % (direction,))
    found = []
    for row in TABLE:
        if row.warning and not telnet:
            continue
        listens = component in row.targets or (component == "all" and row.targets[0] in COMPONENTS)
        asks = component in row.sources or (component == "all" and not listens)
        way = "in" if listens else "out"
        if not (listens or asks) or direction not in (way, "both"):
            continue
        found.append({
            "port": port if row.port is None else row.port, "protocol": "tcp", "service": row.service, "direction": way,
            "from": [component] if asks and component != "all" else list(row.sources), "to": list(row.targets),
            "movable": row.port is None, "on_request": row.warning is not None, "purpose": row.purpose, "warning": row.warning,
        })
    return sorted(found, key=lambda entry: (entry["port"], entry["service"]))


def service_of(path):
    """The service of the agent whose HubDetails.xml lies at `path`, or None for a place that is not known."""
    names, services = (path.lower().split("\\"), WINDOWS_SERVICES) if path[1:3] == ":\\" else (path.split("/"), SERVICES)
    return next((services[folder] for folder in reversed(names[:-1]) if folder in services), None)
