# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that the kernel asks of a new connection to this host, of whichever program, and what of it stands before an opening.

A packet has to pass every chain of every table; a front end such as firewalld knows its own rules alone.
"""

import os
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._host_port import iptables_rules as saved, nftables_rules as nft
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._host_port.nftables import Nftables, legacy_save
from ansible_collections.portshift.agents.plugins.module_utils._core.host_commands import Reader
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import own_addresses
from ansible_collections.portshift.agents.plugins.module_utils._host_port.input_filter import (
    ANYTHING, Rule, Scene, Survey, link_classes)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    ANY_IPV4, ANY_IPV6, OpeningError, denies, described, family)

TOOLS = {4: "iptables", 6: "ip6tables"}
# The tables of iptables beside nat, which turns nothing away, with the chains that a packet for this host passes.
TABLES = {"raw": ("PREROUTING",), "mangle": ("PREROUTING", "INPUT"), "filter": ("INPUT",), "security": ("INPUT",)}
LINKS = "/sys/class/net"
# Where the kernel can hold rules that only nft shows.
NF_TABLES = "/sys/module/nf_tables"

# What turns an opening away.  rule None: the policy of the chain; how_much: V(all) or V(part) of the opening.
Obstacle = namedtuple("Obstacle", "how_much opening place rule")


def links():
    """The interfaces by which other hosts come."""
    return sorted(set(os.listdir(LINKS)) - {"lo"}) if os.path.isdir(LINKS) else []


class KernelFilter(Reader):
    """The live rules of this host; read once."""

    def __init__(self, module, mark, nftables=None):
        super().__init__(module)
        self.nftables = nftables or Nftables(module, mark)
        # Sentences about what could not be looked at.
        self.unread = []

    def chains(self):
        """[(chains, base chain)] of all that a new connection passes: of nftables, iptables and iptables-legacy."""
        return self._once("chains", self._chains)

    def _chains(self):
        found = []
        if self.module.get_bin_path("nft"):
            try:
                ruleset = self.nftables.everything()
                found += [(ruleset.chains, base) for hook in sorted(ruleset.bases) for base in ruleset.bases[hook]]
            except EngineError as err:
                self.unread.append("rules of nftables beside the ones named here could not be looked at: %s" % err)
        elif os.path.isdir(NF_TABLES):
            self.unread.append("rules that nftables may hold beside the ones named here could not be looked at, since there is "
                               "no nft on this host; install nftables to have them read")
        for number, tool in sorted(TOOLS.items()):
            try:
                found += self._of_iptables(self._saved(tool), tool, number)
                found += self._of_iptables(legacy_save(self.module, self._run, tool), tool + "-legacy", number)
            except EngineError as err:
                self.unread.append("the rules of %s could not be looked at: %s" % (tool, err))
        return found

    def _saved(self, tool):
        if not self.module.get_bin_path(tool + "-save"):
            return ""
        code, out, err = self._run([tool + "-save"])
        if code:
            raise OpeningError(err.strip() or "exit status %d" % code)
        return out

    @staticmethod
    def _of_iptables(text, tool, number):
        found = []
        for table in sorted(TABLES):
            if "*%s" % table not in text or "table `%s' is incompatible" % table in text:
                continue
            parsed = saved.SavedTable(text, tool, number, table=table)
            found += [(parsed.chains, base) for base in map(parsed.built_in, TABLES[table]) if base]
        return found

    def in_front(self, openings, front=(), cases=None, mine=lambda place: False):
        """The Obstacles that stand before `openings`.

        front   the chains at the end of which a front end puts openings
        cases   (interface or None, network or None) by which connections get to those chains; None: any
        mine    whether the denials of a chain are judged elsewhere
        """
        ports, addresses = {opening.port for opening in openings}, own_addresses()
        told_apart = self._told_apart([(None, None)] if cases is None else cases or [(None, None)])
        found, free = [], {opening: set(told_apart) for opening in openings}
        for chains, base in self.chains():
            accepting = {place for place in front if place in chains}
            if accepting and cases is not None and not cases:
                continue        # nothing leads to these chains
            chains = _with_openings(chains, accepting, openings)
            for case in told_apart:
                try:
                    survey = Survey(chains, base, ports, Scene(case[0], addresses))
                except EngineError as err:
                    self.unread.append("%s could not be looked at: %s" % (nft.where(base.place), err))
                    break
                for number, opening in enumerate(openings):
                    told = _narrowed(opening, case[1])
                    here = {(place, ("opening", number)) for place in accepting}
                    for how_much, rule in survey.in_front(told, here) if told else ():
                        place = rule.place if rule else base.place
                        if not mine(place):
                            found.append(Obstacle(how_much, opening, place, rule))
                            free[opening] -= {case} if how_much == "all" else set()
                    if not told:
                        free[opening].discard(case)
        # What is open by one of several interfaces is open in part.
        return list(dict.fromkeys(
            obstacle._replace(how_much="part") if free[obstacle.opening] else obstacle for obstacle in found))

    def _told_apart(self, cases):
        """Those of `cases` that some rule tells from the others."""
        chains = {}
        for some, _base in self.chains():
            chains.update(some)
        links_ = link_classes(chains, [link for link, _network in cases if link])
        return [(link, network) for link, network in cases if link in links_ or link is None]

    def obstacles(self, openings, front, mine=lambda place: False):
        """(failures, notes) for a firewall whose openings stand in none of the chains that are looked at."""
        failures, notes = sentences(self.in_front(openings, mine=mine), front) if openings else ([], [])
        return failures, notes + self.unread


def _with_openings(chains, places, openings):
    """The chains with a rule for each of `openings` at the end of `places`."""
    found = dict(chains)
    for place in places:
        rules = []
        for number, opening in enumerate(openings):
            condition = ANYTHING._replace(protocols=frozenset((opening.protocol,)), ports=((opening.port, opening.port),))
            if opening.source is not None:
                condition = condition._replace(families=frozenset((family(opening.source),)))
            if opening.source not in (None, ANY_IPV4, ANY_IPV6):
                condition = condition._replace(sources=frozenset((opening.source,)))
            rules.append(Rule(place, ("opening", number), condition, "accept", None, False, None, ""))
        found[place] = found[place]._replace(rules=found[place].rules + rules)
    return found


def _narrowed(opening, network):
    """The part of an opening that comes from `network`; None for none of it."""
    if network is None:
        return opening
    how_much = denies(network, opening)     # the same question: what of the opening is the network's
    return None if not how_much else opening if how_much == "all" and opening.source else opening._replace(source=network)


def sentences(obstacles, front, name_of=None):
    """(failures, notes) about Obstacles before the openings of `front`; name_of: an Obstacle -> where and what it is, or None."""
    failures, notes = [], []
    for obstacle in obstacles:
        said = name_of(obstacle) if name_of else None
        if not said:
            said = "%s: %s" % (nft.where(obstacle.place), obstacle.rule.text if obstacle.rule else
                               "its policy drops what no rule of it admits")
        sentence = "%s is turned away by what stands before an opening in %s: %s" % (described(obstacle.opening), front, said)
        if obstacle.how_much == "all":
            failures.append(sentence + "; take it away, or make an exception of the port there")
        else:
            notes.append("a part of " + sentence)
    return list(dict.fromkeys(failures)), list(dict.fromkeys(notes))
