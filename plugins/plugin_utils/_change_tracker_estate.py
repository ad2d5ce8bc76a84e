# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Change Tracker hub and its agents as the inventory tells them, and the steps in which a migration walks through them.

Pure: names in, names out.  No host is asked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_url import ports
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import MASK
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Flow, Groups, Opening, StepFacts
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import at_once, titled, waves

HUB, PROXIES, AGENTS = "change_tracker_hub", "change_tracker_proxies", "change_tracker_agents"
# Those that move in phase 1, beside the agent of the hub.  May be missing.
PILOT = "change_tracker_pilot"
GROUPS = {HUB: "hub", PROXIES: "proxy", AGENTS: "agent"}
MONITORED = "change_tracker_monitored"
# Where the table is asked for what does not depend on the hub's port.
DEFAULT_PORT = 443
# What answers on the hub's port; with NONE no run connects there.
NGINX, IIS, NONE = "nginx", "iis", "none"
# What a host that is monitored without an agent may be.
KINDS = ("linux", "windows", "network")


class Estate:
    """Who is what.  `groups`: group name -> host names.  `hub_server`: what answers on the hub's port."""

    def __init__(self, groups: Groups, hub_server: str | None = NGINX) -> None:
        self.problems: list[str] = []
        self.components: dict[str, list[str]] = {}
        self.hub_server = hub_server
        # Whether the hub's own listener is moved here.
        self.hub_managed = hub_server != NONE
        for name in GROUPS:
            if name not in groups:
                self.problems.append("inventory group %s is missing; define it, empty if no host belongs to it" % name)
        hubs = groups.get(HUB, [])
        self.hub = hubs[0] if hubs else None
        # With NONE the hub may be a machine that no inventory names.
        if HUB in groups and (len(hubs) > 1 or self.hub_managed and not hubs):
            found = "%d: %s" % (len(hubs), ", ".join(hubs)) if hubs else "no host"
            self.problems.append("inventory group %s has to hold the one hub, it holds %s; agents of two hubs are migrated by "
                                 "two inventories" % (HUB, found))
        for name, component in GROUPS.items():
            for host in groups.get(name, []):
                self.components.setdefault(host, []).append(component)
        self.pilot = list(groups.get(PILOT, []))
        strange = [host for host in self.pilot if host not in self.components]
        if strange:
            self.problems.append("%s: in %s, but in none of %s" % (", ".join(strange), PILOT, ", ".join(GROUPS)))
        if not self.hub_managed and self.hub and self.components.get(self.hub) == ["hub"]:
            # Whether an agent runs there is not known.
            del self.components[self.hub]
        if not self.problems and not self.components:
            self.problems.append("%s and %s hold no host, so there is no agent to move" % (AGENTS, PROXIES))

    def hosts(self, component: str) -> list[str]:
        """Those of which this is the first component: a hub that has the proxy agent counts as hub."""
        return [host for host, components in self.components.items() if components[0] == component]

    @property
    def keeper(self) -> str | None:
        """Who keeps the lock: the hub, or the first host with an agent where the hub is not one of these."""
        return self.hub if self.hub in self.components else next(iter(sorted(self.components)), None)

    def openings(self, port: int, addresses: Mapping[str, str] | None = None,
                 allowed: Iterable[str] = ()) -> dict[str, list[Opening]]:
        """What the hub's own firewall has to admit, as {hub: [dict(port, protocol, sources)]}; no sources: any address.

        `addresses` (host -> address) restricts that to the hosts that run agents, and to `allowed`.
        """
        if not self.hub_managed or not self.hub:
            return {}
        callers: set[str] = set() if addresses is None else {
            # An empty list would read as any address.
            *[addresses[host] for host in self.components if host != self.hub], *allowed} or {addresses[self.hub]}
        return {self.hub: [Opening(port=port, protocol="tcp", sources=sorted(callers))]}

    def steps(self, agent_waves: object, only: Iterable[str] | None = None, forks: int | None = None) -> list[StepFacts]:
        """The steps (phase, title, component, hosts): the hub's own agent and the pilot, proxies, agents in waves."""
        wanted, pilot = set(self.components) if only is None else set(only), set(self.pilot)
        found = [(1, "Agent of the hub", "hub", self.hosts("hub"))]
        for phase in (1, 2):
            found += [(phase, "Proxy %s" % host, "proxy", [host]) for host in self.hosts("proxy")
                      if (host in pilot) == (phase == 1)]
            if phase == 1:
                early = [host for host in self.hosts("agent") if host in wanted and host in pilot]
                found += [(1, title, "agent", hosts) for title, hosts in titled("Pilot agents", at_once(early, forks))]
        rest = [host for host in self.hosts("agent") if host in wanted and host not in pilot]
        cut = waves(rest, agent_waves, "change_tracker_agent_waves", forks)
        found += [(3, "Agents, wave %d of %d" % (number, len(cut)), "agent", hosts) for number, hosts in enumerate(cut, 1)]
        steps = [StepFacts(phase=phase, title=title, component=component, hosts=[host for host in hosts if host in wanted])
                 for phase, title, component, hosts in found]
        return [step for step in steps if step["hosts"]]

    def monitored(self, told: Mapping[str, object], telnet: bool = False) -> dict[str, list[Flow]]:
        """What each proxy has to reach by agentless monitoring: host -> list of dict(host, port, protocol, kind, service).

        `told`: host -> what its variable change_tracker_monitored says.
        """
        found: dict[str, list[Flow]] = {}
        for host, entries in told.items():
            if "proxy" not in self.components.get(host, []):
                continue
            if not isinstance(entries, list):
                raise EngineError("%s: %s has to be a list of hosts, each with host and kind; it is %s" % (
                    host, MONITORED, _shown(entries)))
            found[host] = [flow for number, entry in enumerate(entries, 1)
                           for flow in _flows("%s: %s, entry %d" % (host, MONITORED, number), entry, telnet)]
        return found


def _shown(entry: object) -> str:
    """An entry for a sentence.  A site may keep more in it than is asked for, such as how to log in there."""
    if not isinstance(entry, Mapping):
        return repr(entry) if isinstance(entry, str) else type(entry).__name__
    return repr({str(key): value if key in ("host", "kind", "by") and isinstance(value, str) else MASK
                 for key, value in entry.items()})


def _flows(where: str, entry: object, telnet: bool) -> list[Flow]:
    if not isinstance(entry, Mapping) or not entry.get("host") or entry.get("kind") not in KINDS:
        raise EngineError("%s is %s; give the host's name or address as host, and its kind: linux, windows or network" % (
            where, _shown(entry)))
    rows = [row for row in ports(DEFAULT_PORT, "proxy", "out", telnet=True) if entry["kind"] in row["to"]]
    asked = entry.get("by")
    if asked is not None and asked not in [row["service"] for row in rows]:
        raise EngineError("%s: %s is a host of kind %s, which is monitored by %s, and not by %r" % (
            where, entry["host"], entry["kind"], " or ".join(row["service"] for row in rows), asked))
    if asked == "telnet" and not telnet:
        raise EngineError("%s: %s is to be monitored by telnet, which is looked at on request only: -e change_tracker_telnet="
                          "true. %s" % (where, entry["host"], next(row["warning"] for row in rows if row["service"] == asked)))
    return [Flow(port=row["port"], protocol=row["protocol"], service=row["service"], warning=row["warning"], host=entry["host"],
                 kind=entry["kind"])
            for row in rows if (row["service"] == asked if asked else telnet or not row["on_request"])]
