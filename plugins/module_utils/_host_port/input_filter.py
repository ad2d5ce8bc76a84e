# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a packet filter made of chains says about new connections to some ports of this host.

nftables and iptables are read into the same few values, so that one walk through the chains answers for both: which chains
filter, which rules open exactly one port, what else admits it, and what denies it.  Pure values, no commands, no files.
"""

import ipaddress
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    ANY_IPV4, ANY_IPV6, PROTOCOLS, Opening, OpeningError, Reading, described, family)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.ordinary_packet import MET_BY_ALL, SINGLES_OUT

FAMILIES = frozenset((4, 6))
EVERY_PORT = 65536
# The kernel's own limit of jumps inside of jumps.
DEPTH = 16
# A ruleset that takes more steps than this is not one that a person can have meant; it must not hang the host either.
STEPS = 200000

# Which packets a rule is about.  ports: None (all) or pairs (first, last); sources: None or a set of addresses and networks;
# narrow: a tuple of Limit, conditions beside these.
Condition = namedtuple("Condition", "families protocols ports sources narrow")
# kind: one of those in ordinary_packet.py; names: of a link or pattern its interfaces (with * at the end of one that goes by its
# start), of an address the networks; negated: all but these.
Limit = namedtuple("Limit", "kind text names negated")
Limit.__new__.__defaults__ = ((), False)
ANYTHING = Condition(FAMILIES, frozenset(PROTOCOLS), None, None, ())
NOTHING = Condition(frozenset(), frozenset(), (), None, ())
# Nothing arrives from another host for these.
OWN_NETWORKS = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

# place: the chain, as a tuple, and so is the target of a jump; number: what tells it from the chain's other rules; verdict:
# accept, drop (reject too), jump, goto, return or None; plain: it says nothing but protocol, one port and perhaps sources.
Rule = namedtuple("Rule", "place number condition verdict target plain comment text")
# policy: of a base chain; None for the others.
Chain = namedtuple("Chain", "place families policy rules")
# By which interface connections come, and the addresses of this host; None: not told.
Scene = namedtuple("Scene", "link addresses")
# What one rule opens in one family.  source None: any address of that family.
Atom = namedtuple("Atom", "family protocol port source")


def joined(ranges):
    """Pairs (first, last) in order, overlaps and neighbours joined."""
    result = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return tuple(result)


def all_but(ranges):
    result, start = [], 0
    for first, last in joined(ranges):
        if first > start:
            result.append((start, first - 1))
        start = last + 1
    return tuple(result + ([(start, EVERY_PORT - 1)] if start < EVERY_PORT else []))


def _common_ports(one, other):
    if one is None or other is None:
        return one if other is None else other
    return joined((max(first, begin), min(last, end)) for first, last in one for begin, end in other
                  if max(first, begin) <= min(last, end))


def both(one, other):
    """The condition of packets that meet both."""
    sources, narrow = one.sources, one.narrow + other.narrow
    if sources is None:
        sources = other.sources
    elif other.sources is not None and other.sources != sources:
        narrow += (Limit("source", "from " + ", ".join(sorted(other.sources))),)
    return Condition(one.families & other.families, one.protocols & other.protocols, _common_ports(one.ports, other.ports),
                     sources, narrow)


def own_network(text):
    """Whether an address or network is one of this host's loopback."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return any(own.version == network.version and own.overlaps(network) and own.prefixlen <= network.prefixlen
               for own in OWN_NETWORKS)


def limited(kind, text, names=(), negated=False):
    """The condition of packets that meet one Limit."""
    return ANYTHING._replace(narrow=(Limit(kind, text, tuple(names), negated),))


def kinds_of(condition):
    return {limit.kind for limit in condition.narrow}


def certain(condition):
    """Whether every new connection to its ports meets it."""
    return condition.sources is None and kinds_of(condition) <= {"every"}


def singles_out(condition):
    """Whether a denial is about some senders or packets that are not those of an ordinary new connection."""
    return condition.sources is not None or bool(kinds_of(condition) & SINGLES_OUT)


def _named(name, link):
    return link.startswith(name[:-1]) if name.endswith("*") else link == name


def _meets_link(limit, link):
    return any(_named(name, link) for name in limit.names) != limit.negated


def link_classes(chains, links):
    """One of `links` for each group of them that no rule tells apart."""
    names = {name for chain in chains.values() for rule in chain.rules for limit in rule.condition.narrow
             if limit.kind in ("link", "pattern") for name in limit.names}
    found = {}
    for link in sorted(links):
        found.setdefault(frozenset(name for name in names if _named(name, link)), link)
    return sorted(found.values())


def _meets_address(limit, addresses, families):
    """True or False where it holds for all or none of this host's addresses; else None."""
    networks = [ipaddress.ip_network(name) for name in limit.names]
    found = {any(network.version == address.version and address in network for network in networks) != limit.negated
             for address in addresses if address.version in families}
    return found.pop() if len(found) == 1 else None


def at_scene(condition, scene):
    """The condition without what the scene decides."""
    left = []
    for limit in condition.narrow:
        met = None
        if limit.names and limit.kind in ("link", "pattern") and scene.link is not None:
            met = _meets_link(limit, scene.link)
        elif limit.names and limit.kind == "address" and scene.addresses is not None:
            met = _meets_address(limit, scene.addresses, condition.families)
        if met is False:
            return NOTHING
        if met is None:
            left.append(limit)
    return condition._replace(narrow=tuple(left))


def never(condition):
    return not condition.families or not condition.protocols or condition.ports == ()


def single_port(condition):
    """The one port that `condition` names, or None."""
    if condition.ports and len(condition.ports) == 1 and condition.ports[0][0] == condition.ports[0][1]:
        return condition.ports[0][0]
    return None


def _meets(condition, kind):
    number, protocol, port = kind
    if number not in condition.families or protocol not in condition.protocols:
        return False
    if condition.ports is None:
        return True
    if port is None:
        # Any port that no option names: what is about most ports is about this one.
        return most_ports(condition.ports)
    return any(first <= port <= last for first, last in condition.ports)


class Survey:
    """The way of new connections to `ports` through one base chain.

    reached   (rule, condition on the way to it, condition with its own), in the order in which packets meet them
    filters   whether the chain turns anything away without singling it out
    outcome   (family, protocol, port) -> accept or drop, for a source that no rule speaks of; port None: any other port
    atoms     (place, number) -> the Atoms that this rule opens; rules alone that can be taken away without touching another port
    met       number of a rule of the base chain -> [(rule that drops, condition with its own)], itself and what it jumps to
    ends      (family, protocol, port) -> number of the rule of the base chain behind which none of these comes
    """

    def __init__(self, chains, base, ports, scene=None):
        self.chains, self.base, self.reached, self.filters = chains, base, [], base.policy == "drop"
        self.scene = scene
        self.outcome, self.atoms, self._steps = {}, {}, 0
        self.met, self.ends, self._at = {}, {}, None
        kinds = {(number, protocol, port) for number in base.families for protocol in PROTOCOLS for port in list(ports) + [None]}
        left = self._walk(base.place, ANYTHING._replace(families=base.families), set(kinds), 0)
        for kind in left:
            self.outcome.setdefault(kind, base.policy)
        self.ports = set(ports)

    def _walk(self, place, path, alive, depth):
        """Sends the kinds of packets in `alive` through a chain; returns those that come out at its end."""
        returned = set()
        for rule in self.chains[place].rules:
            if not depth:
                self._at = rule.number
            before = alive
            self._steps += 1
            if self._steps > STEPS:
                raise OpeningError("the rules that incoming traffic passes take more than %d steps to follow; host_port does "
                                   "not change such a filter, open the port there by hand and say backend: none" % STEPS)
            condition = both(path, rule.condition if self.scene is None else at_scene(rule.condition, self.scene))
            if never(condition):
                continue
            hit = {kind for kind in alive if _meets(condition, kind)}
            all_meet = certain(condition)
            if hit:
                self.reached.append((rule, path, condition))
                self._note_atoms(rule, path, condition, hit)
                if rule.verdict == "drop":
                    self.met.setdefault(self._at, []).append((rule, condition))
            if rule.verdict == "drop" and condition.sources is None and not kinds_of(condition) & (SINGLES_OUT - {"except"}):
                self.filters = True
            if rule.verdict in ("jump", "goto"):
                after = set(hit)
                if rule.target in self.chains and depth < DEPTH:
                    after = self._walk(rule.target, condition, set(hit), depth + 1)
                if all_meet:
                    alive = alive - hit
                    if rule.verdict == "goto":
                        returned |= after
                    else:
                        alive |= after
            elif all_meet and rule.verdict in ("accept", "drop"):
                for kind in hit:
                    self.outcome.setdefault(kind, rule.verdict)
                # What is accepted goes on in this walk: a second rule that opens the same port has to be found too.
                if rule.verdict == "drop":
                    alive = alive - hit
            elif all_meet and rule.verdict == "return":
                alive = alive - hit
                returned |= hit
            elif depth and rule.verdict == "return" and condition.sources is None and hit == alive and (
                    kinds_of(condition) <= MET_BY_ALL):
                # As in a chain against floods of SYN: what goes on in it is what comes beyond the rate.
                path = both(path, limited("single", "not: " + rule.text))
            if not depth and alive is not before:
                self.ends.update((kind, rule.number) for kind in before - alive)
        return alive | returned

    def _note_atoms(self, rule, path, condition, hit):
        port = single_port(rule.condition)
        if not rule.plain or rule.verdict != "accept" or port is None or not certain(path):
            return
        found = {Atom(number, protocol, port, source) for number, protocol, reached in hit if reached == port
                 for source in (condition.sources or [None]) if source is None or family(source) == number}
        self.atoms.setdefault((rule.place, rule.number), set()).update(found)

    def wider(self, where):
        """Sentences about what admits one of the ports and is not exactly that."""
        found = []
        for rule, _path, condition in self.reached:
            if rule.verdict == "accept" and (rule.place, rule.number) not in self.atoms and _about(condition, self.ports):
                found.append("%s: %s" % (where(rule.place), rule.text))
        for port in sorted(self.ports):
            if self.base.policy == "accept" and any(
                    self.outcome.get((number, protocol, port)) == "accept" and not self._accepted(number, protocol, port)
                    for number in self.base.families for protocol in PROTOCOLS):
                found.append("%s: policy accept lets port %d pass" % (where(self.base.place), port))
        return found

    def _accepted(self, number, protocol, port):
        return any(rule.verdict == "accept" and certain(condition) and _meets(condition, (number, protocol, port))
                   for rule, _path, condition in self.reached)

    def rules(self):
        """The rules that open exactly one port, each once."""
        found = {}
        for rule, _path, _condition in self.reached:
            if (rule.place, rule.number) in self.atoms:
                found.setdefault((rule.place, rule.number), rule)
        return list(found.values())

    def lines(self, where):
        """The rules that name one of the ports, or admit it by a wider condition."""
        return ["%s: %s" % (where(rule.place), rule.text) for rule, _path, condition in self.reached
                if _about(condition, self.ports) and (rule.condition.ports is not None or rule.verdict == "accept")]

    def admits(self, where):
        """What the rules of this chain, and of those it leads to, accept beside exact openings of the ports."""
        found, seen, ahead = set(), set(), [self.base.place]
        while ahead:
            place = ahead.pop()
            if place in seen or place not in self.chains:
                continue
            seen.add(place)
            for rule in self.chains[place].rules:
                if rule.verdict in ("jump", "goto"):
                    ahead.append(rule.target)
                elif rule.verdict == "accept" and (place, rule.number) not in self.atoms:
                    found.add("%s: %s" % (where(place), rule.text))
        return found

    def denials(self, openings, named_only):
        """The rules of the site that turn away what `openings` would admit; `named_only`: those alone that name the port."""
        found = []
        for rule, _path, condition in self.reached:
            if rule.verdict != "drop" or (named_only and condition.ports is None):
                continue
            if any(_meets(condition, (number, opening.protocol, opening.port)) and _overlap(condition, opening)
                   for opening in openings for number in ([family(opening.source)] if opening.source else self.base.families)):
                found.append(rule)
        return found

    def refusal(self, opening):
        """The rule that turns away all of `opening` and means it, before another one admits it; None where there is none.

        A rule about most ports, for any address, is no such refusal: that is what an opening has to stand before.
        """
        for number in self.base.families if opening.source is None else self.base.families & {family(opening.source)}:
            kind = (number, opening.protocol, opening.port)
            for rule, _path, condition in self.reached:
                kinds = kinds_of(condition)
                if not _meets(condition, kind) or not _holds(condition.sources, opening.source):
                    continue
                if rule.verdict == "accept" and kinds <= {"every"}:
                    break
                if rule.verdict == "drop" and kinds <= MET_BY_ALL and (condition.sources is not None or _few_ports(condition)):
                    return rule
        return None

    def in_front(self, opening, accepting=()):
        """[(how much, rule)] of what turns connections of `opening` away in this chain before a rule admits them.

        how much: V(all) or V(part) of it; denials that single out do not count.  rule None: the policy.  `accepting`: the
        (place, number) of rules that stand for the opening, however they are reached.
        """
        found = []
        for number in self.base.families if family(opening.source) is None else self.base.families & {family(opening.source)}:
            kind = (number, opening.protocol, opening.port)
            for rule, _path, condition in self.reached:
                if not _meets(condition, kind) or rule.verdict not in ("accept", "drop"):
                    continue
                kinds, all_of_it = kinds_of(condition), _holds(condition.sources, opening.source)
                if rule.verdict == "accept":
                    if (rule.place, rule.number) in accepting or all_of_it and kinds <= {"every"}:
                        break
                elif all_of_it and kinds <= MET_BY_ALL:
                    found.append(("all", rule))
                    break
                elif not singles_out(condition) or "except" in kinds:
                    found.append(("part", rule))
            else:
                if self.outcome.get(kind) == "drop":
                    found.append(("all", None))
        return list(dict.fromkeys(found))

    def place_for(self, atoms):
        """Where in the base chain a rule that opens `atoms` stands: behind the denials that single out, before all others.

        (number of the rule that it stands behind, None for the head; denials before it; denials that it overrides)
        """
        kinds = {(atom.family, atom.protocol, atom.port) for atom in atoms}
        numbers = list(dict.fromkeys(rule.number for rule in self.chains[self.base.place].rules))
        found = [(at, rule, condition) for at, number in enumerate(numbers) for rule, condition in self.met.get(number, ())
                 if (condition.narrow or condition.sources is not None) and any(
                     _meets(condition, (atom.family, atom.protocol, atom.port)) and (
                         atom.source is None or condition.sources is None or _share(condition.sources, atom.source))
                     for atom in atoms)]
        last = min([numbers.index(self.ends[kind]) for kind in kinds if kind in self.ends] +
                   [at for at, _rule, condition in found if not _stays_ahead(condition)] + [len(numbers)])
        ahead = [(rule, condition) for at, rule, condition in found if at < last]
        behind = max([at for at, _rule, _condition in found if at < last] or [-1])
        return None if behind < 0 else numbers[behind], ahead, [rule for at, rule, _condition in found if at >= last]

    def lets_pass(self, kind):
        """Whether this chain admits (family, protocol, port) without a rule that says so, from wherever it comes."""
        return self.base.policy == "accept" and self.outcome.get(kind) == "accept" and not self._accepted(*kind) and not any(
            rule.verdict == "drop" and _meets(condition, kind) and condition.narrow and condition.sources is None
            and not kinds_of(condition) & (SINGLES_OUT - {"except"})
            for rule, _path, condition in self.reached)


def most_ports(ports):
    return sum(last - first + 1 for first, last in ports) > EVERY_PORT // 2


def _few_ports(condition):
    return condition.ports is not None and not most_ports(condition.ports)


def _stays_ahead(condition):
    """Whether an opening leaves a denial in force: one that singles out, or names the port.

    One that names the port and is met by all is a refusal, ahead of this question.
    """
    return singles_out(condition) or _few_ports(condition)


def _holds(sources, source):
    """Whether everything that comes from `source` is among `sources`; None: any address."""
    if sources is None or source is None:
        return sources is None
    mine = ipaddress.ip_network(source)
    return any(mine.version == other.version and other.prefixlen <= mine.prefixlen and other.overlaps(mine)
               for other in (ipaddress.ip_network(text) for text in sources))


def _share(sources, source):
    mine = ipaddress.ip_network(source)
    return any(mine.version == other.version and mine.overlaps(other)
               for other in (ipaddress.ip_network(text) for text in sources))


def admitted(surveys, openings):
    """Those of `openings` that every one of the chains lets pass by its policy, so that there is nothing to open."""
    found = set()
    for opening in openings:
        kinds = [(number, opening.protocol, opening.port) for number in FAMILIES
                 if family(opening.source) in (None, number)]
        if all(survey.lets_pass(kind) for survey in surveys for kind in kinds if kind[0] in survey.base.families):
            found.add(opening)
    return found


def unrestricted(ports):
    """The openings of `ports` for any address, and for any address of one family."""
    return [Opening(protocol, port, source) for protocol in PROTOCOLS for port in ports
            for source in (None, ANY_IPV4, ANY_IPV6)]


def denial_sentences(survey, atoms, where):
    """What a person should know of the denials around a rule that opens `atoms`."""
    _behind, ahead, overridden = survey.place_for(atoms)
    said = ["%s: the site turns away here some of what is opened, and goes on doing so: %s" % (where(rule.place), rule.text)
            for rule, condition in ahead if not singles_out(condition) or "except" in kinds_of(condition)]
    return said + ["%s: the site turns away here some of what is opened; the opening stands before it: %s" % (
        where(rule.place), rule.text) for rule in overridden]


def refusal_sentences(surveys, openings, where):
    """Rules of the site's that say no to what is to be opened; only the site can take them back."""
    found = []
    for survey in surveys:
        there = openings_of([survey])
        for opening in openings:
            rule = survey.refusal(opening)
            if rule:
                found.append("%s: a rule of the site turns away what is to be opened: %s; take it away first" % (
                    where(rule.place), rule.text))
                continue
            for how_much, rule in survey.in_front(opening) if opening in there else ():
                if rule and how_much == "all":
                    found.append("%s: a rule of the site turns new connections away before the rule that opens %s: %s; take it "
                                 "away, or take the opening away and open the port again" % (
                                     where(rule.place), described(opening), rule.text))
    return list(dict.fromkeys(found))


def _about(condition, ports):
    return any(_meets(condition, (number, protocol, port)) for number in condition.families
               for protocol in condition.protocols for port in ports)


def _overlap(condition, opening):
    """Whether a denial concerns the opening's sources; a list that is kept elsewhere concerns no source in particular."""
    if kinds_of(condition) & (SINGLES_OUT - {"except"}):
        return False
    if condition.sources is None:
        return "except" not in kinds_of(condition)
    if opening.source is None:
        return condition.ports is not None
    mine = ipaddress.ip_network(opening.source)
    return any(mine.version == other.version and mine.overlaps(other)
               for other in (ipaddress.ip_network(source) for source in condition.sources))


def _belongs(atom, opening):
    if (atom.protocol, atom.port) != (opening.protocol, opening.port):
        return False
    if opening.source in (None, ANY_IPV4, ANY_IPV6):
        return atom.source is None and family(opening.source) in (None, atom.family)
    return atom.source == opening.source


def openings_of(surveys, without=()):
    """The openings that hold in every one of the chains: a packet has to pass them all."""
    rules = [(survey.base.families, [atoms for key, atoms in survey.atoms.items() if key not in without])
             for survey in surveys]
    families = sorted(set().union(*[survey.base.families for survey in surveys])) if surveys else []
    found = set()
    for protocol, port, source in {atom[1:] for _families, chain in rules for atoms in chain for atom in atoms}:
        if source is not None:
            number = family(source)
            if all(any(Atom(number, protocol, port, source) in atoms for atoms in chain)
                   for members, chain in rules if number in members):
                found.add(Opening(protocol, port, source))
            continue
        counts = {number: min(sum(Atom(number, protocol, port, None) in atoms for atoms in chain)
                              for members, chain in rules if number in members) for number in families}
        least = min(counts.values())
        if least:
            found.add(Opening(protocol, port, None))
        # Rules beyond the pairs of one per family: any IPv4 address is admitted twice, or no IPv6 address is.
        found |= {Opening(protocol, port, ANY_IPV4 if number == 4 else ANY_IPV6)
                  for number, count in counts.items() if count > least}
    return found


def rules_to_remove(surveys, ours, openings, everywhere=None, only_ours=False):
    """The (place, number) of the rules to take away so that none of `openings` is left: ours first, the site's if need be.

    `everywhere`: Surveys of more chains than those that decide whether an opening is there.  `only_ours`: the site's stay.
    """
    everywhere = everywhere or surveys
    gone = {key for survey in everywhere for key, atoms in survey.atoms.items()
            if key in ours and any(_belongs(atom, opening) for atom in atoms for opening in openings)}
    left = set() if only_ours else openings_of(surveys, gone) & set(openings)
    return gone | {key for survey in everywhere for key, atoms in survey.atoms.items()
                   if any(_belongs(atom, opening) for atom in atoms for opening in left)}


def by_owner(found, surveys, ours):
    """Completes a Reading by whose rules make its openings; `ours`: the keys of the rules of ours."""
    mine = {atom for survey in surveys for key, atoms in survey.atoms.items() if key in ours for atom in atoms}
    found.ours = {opening for opening in found.exact if any(_belongs(atom, opening) for atom in mine)}
    found.others = openings_of(surveys, ours) & found.exact
    return found


def atoms_of(openings, families):
    """What `openings` ask of a chain that sees `families`."""
    found = set()
    for opening in openings:
        numbers = families if family(opening.source) is None else families & {family(opening.source)}
        source = None if opening.source in (ANY_IPV4, ANY_IPV6) else opening.source
        found |= {Atom(number, opening.protocol, opening.port, source) for number in numbers}
    return found


def still_missing(surveys, openings, without):
    """place -> (atoms to add to that chain so that `openings` hold, atoms that it has), the rules in `without` not counted."""
    kept = {survey.base.place: set().union(*[atoms for key, atoms in survey.atoms.items() if key not in without] or [set()])
            for survey in surveys}
    missing = {place: set() for place in kept}
    for opening in openings:
        asked = {survey.base.place: atoms_of([opening], survey.base.families) for survey in surveys}
        lacking = {atom for place, atoms in asked.items() for atom in atoms - kept[place]}
        for place, atoms in asked.items():
            # Where one family is open already, it gets a second rule: who takes this opening away leaves what was there.
            missing[place] |= {atom for atom in atoms if lacking and (atom not in lacking or atom not in kept[place])}
    return {place: (missing[place], kept[place]) for place in kept}


def remains(survey, gone, openings):
    """What rules that are taken away open beside `openings`."""
    return {atom for key, atoms in survey.atoms.items() if key in gone for atom in atoms
            if not any(_belongs(atom, opening) for opening in openings)}


def apart(sources):
    """Groups of sources of one family in which none overlaps or adjoins another: a set would join those to one network."""
    groups = []
    for source in sorted(sources, key=lambda text: int(ipaddress.ip_network(text).network_address)):
        network = ipaddress.ip_network(source)
        first, last = int(network.network_address), int(network.broadcast_address)
        for group in groups:
            if first > group[0] + 1:
                group[0] = last
                group[1].append(source)
                break
        else:
            groups.append([last, [source]])
    return [group[1] for group in groups]


def reading(surveys, ports, where, whole, removable=None, why_not=None, every=None):
    """A Reading of the chains that filter.

    `every`: Surveys of all chains that incoming traffic passes, those too that turn nothing away.
    `removable`: keys of the rules that can be taken away, where that is not all; `why_not` says so of the others.
    """
    stay = set() if removable is None else {key for survey in surveys for key in survey.atoms if key not in removable}
    exact = {opening for opening in openings_of(surveys, stay) if opening.port in ports}
    wider, spelled = [sentence for survey in surveys for sentence in survey.wider(where)], {}
    for survey in surveys:
        for rule in survey.rules():
            line = "%s: %s" % (where(rule.place), rule.text)
            if (rule.place, rule.number) in stay:
                wider.append("%s; %s" % (line, why_not))
                continue
            for opening in exact:
                if any(_belongs(atom, opening) for atom in survey.atoms[(rule.place, rule.number)]):
                    spelled.setdefault(opening, []).append(line)
    return Reading(lines=[line for survey in surveys for line in survey.lines(where)], exact=exact, wider=wider, spelled=spelled,
                   whole=frozenset(whole), covered=admitted(surveys if every is None else every, unrestricted(ports)) - exact,
                   admits=set().union(*[survey.admits(where) for survey in surveys]))
