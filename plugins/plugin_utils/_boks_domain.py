# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BoKS domain as the inventory tells it, who has to reach whom in it, and the steps in which a migration walks through it.

Pure: names in, names out.  No host is asked here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ansible_collections.portshift.agents.plugins.module_utils._boks.domain import DEFAULT_BASE, ports
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Groups, Opening, Path, StepFacts
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import waves

MASTER, REPLICAS, AGENTS = "boks_master", "boks_replicas", "boks_agents"
GROUPS = {MASTER: "master", REPLICAS: "replica", AGENTS: "agent"}


class Domain:
    """Who is what.  `groups`: group name -> host names."""

    def __init__(self, groups: Groups) -> None:
        self.problems: list[str] = []
        self.roles: dict[str, str] = {}
        for name in GROUPS:
            if name not in groups:
                self.problems.append("inventory group %s is missing; define it, empty if this domain has none" % name)
        masters = groups.get(MASTER, [])
        if MASTER in groups and len(masters) != 1:
            found = "%d: %s" % (len(masters), ", ".join(masters)) if masters else "no host"
            self.problems.append("inventory group %s has to hold the one Master, it holds %s; hosts of two domains are migrated "
                                 "by two inventories" % (MASTER, found))
        for name, role in GROUPS.items():
            for host in groups.get(name, []):
                if self.roles.setdefault(host, role) != role:
                    self.problems.append("%s is in %s, but it is the domain's %s already; a host has one role, so take it out of "
                                         "one of the groups" % (host, name, self.roles[host]))
        self.master = masters[0] if masters else None
        self._by_role: dict[str, list[str]] = {role: [] for role in GROUPS.values()}
        for host, role in self.roles.items():
            self._by_role[role].append(host)

    def hosts(self, *roles: str) -> list[str]:
        return [host for role, hosts in self._by_role.items() if role in roles for host in hosts]

    def _reaching(self, host: str) -> list[tuple[str, int, str]]:
        """(host that listens, distance from the base, protocol) of everything that `host` connects to and that the base moves."""
        return [(other, entry["offset"], entry["protocol"])
                for entry in ports(DEFAULT_BASE, self.roles[host], "out") if entry["movable"]
                for other in self.hosts(*entry["to"]) if other != host]

    def paths(self, addresses: Mapping[str, str], among: Collection[str]) -> dict[str, list[Path]]:
        """What has to answer to each host of `among` by tcp: host -> list of dict(host, offset).

        Hosts that are no part of this run count too: one that moves to a base that its Master is not on finds no server there.
        """
        return {host: [Path(host=addresses[other], offset=offset)
                       for other, offset, protocol in self._reaching(host) if protocol == "tcp"]
                for host in self.roles if host in among}

    def outside(self, among: Collection[str]) -> dict[str, list[str]]:
        """Hosts that a host of `among` connects to by tcp and that are none of `among`: host -> names, where there are any."""
        found = {host: [other for other, unused, protocol in self._reaching(host) if protocol == "tcp" and other not in among]
                 for host in self.roles if host in among}
        return {host: list(dict.fromkeys(others)) for host, others in found.items() if others}

    def openings(self, base: int, addresses: Mapping[str, str] | None = None,
                 allowed: Iterable[str] = ()) -> dict[str, list[Opening]]:
        """What each host's own firewall has to admit: host -> list of dict(port, protocol, sources).

        No sources: any address.
        `addresses` (host -> address) restricts that to the hosts of the domain that connect there, and to `allowed`.
        """
        found: dict[str, list[Opening]] = {}
        callers: dict[tuple[str, int, str], list[str]] = {}
        if addresses is not None:
            for host in self.roles:
                for key in self._reaching(host):
                    callers.setdefault(key, []).append(addresses[host])
        for host, role in self.roles.items():
            found[host] = [
                Opening(port=entry["port"], protocol=entry["protocol"], sources=[] if addresses is None else sorted(
                    # An empty list would read as any address.
                    {*callers.get((host, entry["offset"], entry["protocol"]), []), *allowed} or {addresses[host]}))
                for entry in ports(base, role) if entry["movable"]]
        return found

    def steps(self, agent_waves: object, only: Iterable[str] | None = None, forks: int | None = None) -> list[StepFacts]:
        """The migration as steps (phase, title, role, hosts): the Master, the Replicas one by one, the agents in waves."""
        wanted = set(self.roles) if only is None else set(only)
        found = [(1, "Master", "master", self.hosts("master"))]
        found += [(2, "Replica %s" % host, "replica", [host]) for host in self.hosts("replica")]
        cut = waves([host for host in self.hosts("agent") if host in wanted], agent_waves, "boks_agent_waves", forks)
        found += [(3, "Server Agents, wave %d of %d" % (number, len(cut)), "agent", hosts) for number, hosts in enumerate(cut, 1)]
        steps = [StepFacts(phase=phase, title=title, role=role, hosts=[host for host in hosts if host in wanted])
                 for phase, title, role, hosts in found]
        return [step for step in steps if step["hosts"]]
