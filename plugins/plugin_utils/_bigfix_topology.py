# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree of a BigFix deployment as the inventory tells it, and the steps in which a migration walks through it.

Pure: names in, names out.  No host is asked here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Groups, Opening, StepFacts
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import at_once, titled, waves

SERVER, RELAYS, CLIENTS, PILOT = "bigfix_server", "bigfix_relays", "bigfix_clients", "bigfix_pilot"
GROUPS = (SERVER, RELAYS, CLIENTS, PILOT)


class Topology:
    """Who is what, and below whom.

    `groups`: group name -> host names.  `parents`: host name -> what its variable bigfix_parent says, or None.
    """

    def __init__(self, groups: Groups, parents: Mapping[str, str | None]) -> None:
        self.problems: list[str] = []
        for name in GROUPS:
            if name not in groups:
                self.problems.append("inventory group %s is missing; define it, empty if this deployment has none" % name)
        servers = list(groups.get(SERVER, []))
        if SERVER in groups and len(servers) != 1:
            self.problems.append("inventory group %s has to hold the one root server, it holds %s" % (
                SERVER, "%d: %s" % (len(servers), ", ".join(servers)) if servers else "no host"))
        # Empty where that is one of the problems.
        self.server = servers[0] if servers else ""
        self.relays = [host for host in groups.get(RELAYS, []) if host not in servers]
        # A relay runs an agent too, which its own role takes care of.
        others = {*servers, *self.relays}
        self.clients = [host for host in groups.get(CLIENTS, []) if host not in others]
        self.pilot = [host for host in groups.get(PILOT, []) if host not in servers]
        self.parents = {host: parents.get(host) or self.server for host in self.relays + self.clients}
        if not self.problems:
            self._check_parents()
        if not self.problems:
            self._check_pilot()

    def _check_parents(self) -> None:
        possible = {self.server, *self.relays}
        for host, parent in self.parents.items():
            if parent not in possible:
                self.problems.append("%s: bigfix_parent is %s, which is neither the root server nor in %s; mend the host "
                                     "variable or the group" % (host, parent, RELAYS))
        if not self.problems:
            looping = [host for host in self.relays if self._chain(host) is None]
            if looping:
                self.problems.append("the relays' bigfix_parent run in a circle: %s; one of them has to name a parent nearer "
                                     "to the root server" % " -> ".join(self._circle(looping[0])))

    def _chain(self, host: str) -> list[str] | None:
        """The hosts from `host` up to the server, or None when the way up never ends."""
        chain = [host]
        while chain[-1] != self.server:
            if self.parents[chain[-1]] in chain:
                return None
            chain.append(self.parents[chain[-1]])
        return chain

    def _circle(self, host: str) -> list[str]:
        chain = [host]
        while self.parents[chain[-1]] not in chain:
            chain.append(self.parents[chain[-1]])
        back = self.parents[chain[-1]]
        return chain[chain.index(back):] + [back]

    def check_parent_connects(self, hosts: Iterable[str]) -> list[str]:
        """Sentences for hosts that can't be reached from their parent."""
        relays = set(self.relays)
        return ["%s: bigfix_parent_connects is set, and only a relay listens for its parent; take the variable away or put the "
                "host into %s" % (host, RELAYS) for host in hosts if host not in relays]

    def _check_pilot(self) -> None:
        known, early = {*self.relays, *self.clients}, {self.server, *self.pilot}
        for host in self.pilot:
            if host not in known:
                self.problems.append("%s is in %s, but neither in %s nor in %s" % (host, PILOT, RELAYS, CLIENTS))
            elif self.parents[host] not in early:
                self.problems.append("%s is in %s, but its parent %s is not: it would be cut off in phase 1; add the parent "
                                     "or take the host out" % (host, PILOT, self.parents[host]))

    def tier(self, relay: str) -> int:
        """1 for a relay right below the root server."""
        return len(self._chain(relay) or [relay]) - 1

    def tiers(self) -> list[list[str]]:
        """The relays by tier, top level first."""
        by_tier: dict[int, list[str]] = {}
        for relay in self.relays:
            by_tier.setdefault(self.tier(relay), []).append(relay)
        return [by_tier[number] for number in sorted(by_tier)]

    def openings(self, addresses: Mapping[str, str] | None = None, parent_connects: Collection[str] = (),
                 allowed: Iterable[str] = ()) -> dict[str, list[Opening]]:
        """What each host's own firewall has to admit: host -> list of dict(protocol, sources); no sources: any address.

        `addresses` (host -> address) restricts that to who has to reach the host: children by tcp, the parent by udp (its
        notifications), and `allowed` (consoles, REST clients).  `parent_connects`: relays whose parent opens the connection.
        """
        found: dict[str, list[Opening]] = {}
        if addresses is None:
            listening = {self.server, *self.relays}
            for host in [self.server, *self.relays, *self.clients]:
                protocols = ("tcp", "udp") if host in listening else ("udp",)
                found[host] = [Opening(protocol=protocol, sources=[]) for protocol in protocols]
            return found
        callers: dict[str, list[str]] = {host: [] for host in [self.server, *self.relays]}
        connected = set(parent_connects)
        for host, parent in self.parents.items():
            if host in connected:
                callers[host].append(addresses[parent])
            else:
                callers[parent].append(addresses[host])
        for host in callers:
            # An empty list would read as any address.
            callers[host] = sorted({*callers[host], *allowed}) or [addresses[host]]
        for host in [self.server, *self.relays, *self.clients]:
            found[host] = [Opening(protocol="tcp", sources=callers[host])] if host in callers else []
            if host in self.parents:
                found[host].append(Opening(protocol="udp", sources=[addresses[self.parents[host]]]))
        return found

    def steps(self, relay_waves: object, client_waves: object, only: Iterable[str] | None = None,
              forks: int | None = None) -> list[StepFacts]:
        """The migration as a list of steps (phase, title, component, hosts); a gate stands behind each.

        `only`: the hosts of this run (a limit); waves are cut from these.  `forks`: no wave is larger.
        """
        wanted = set(only) if only is not None else {self.server, *self.relays, *self.clients}
        pilot = set(self.pilot)
        steps: list[StepFacts] = []

        def add(phase: int, title: str, component: str, cut: list[list[str]]) -> None:
            steps.extend(StepFacts(phase=phase, title=wave, component=component, hosts=hosts)
                         for wave, hosts in titled(title, cut))

        def present(hosts: Iterable[str]) -> list[str]:
            return [host for host in hosts if host in wanted]

        add(1, "root server", "server", at_once(present([self.server])))
        for number, tier in enumerate(self.tiers(), 1):
            early = present(host for host in tier if host in pilot)
            add(1, "pilot relays of tier %d" % number, "relay", at_once(early, forks))
        early = present(host for host in self.clients if host in pilot)
        add(1, "pilot clients", "client", at_once(early, forks))
        for number, tier in enumerate(self.tiers(), 1):
            rest = present(host for host in tier if host not in pilot)
            add(2, "relays of tier %d" % number, "relay", waves(rest, relay_waves, "bigfix_relay_waves", forks))
        rest = present(host for host in self.clients if host not in pilot)
        add(3, "clients", "client", waves(rest, client_waves, "bigfix_client_waves", forks))
        return steps
