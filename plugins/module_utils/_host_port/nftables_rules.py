# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nftables rulesets: what C(nft -j list ruleset) says, and the files that a boot loads.  Text in, text out.

A file is spliced, never written anew: an include of ours at its end, rules of ours on lines of their own among the site's, and
C(# portshift NAME: ) put in front of a rule of the site's that is closed, so that taking the mark away gives the old bytes back.
"""

import json
import re
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._host_port.input_filter import (
    ANYTHING, EVERY_PORT, FAMILIES, NOTHING, Atom, Chain, Rule, Survey, all_but, apart, both, joined, limited, most_ports,
    own_network, single_port)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    ANY_IPV4, ANY_IPV6, PROTOCOLS, OpeningError, family, normalised)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.ordinary_packet import (
    kind_of_match, kind_of_statement, of)

TABLE_FAMILIES = {"inet": FAMILIES, "ip": frozenset((4,)), "ip6": frozenset((6,))}
# Those whose chains see packets for this host; nothing is opened in the last.
SEEN_FAMILIES = dict(TABLE_FAMILIES, netdev=FAMILIES)
PROTOCOL_NUMBERS = {6: "tcp", 17: "udp"}
# Tables that another front end fills; their rules are its business.
_OTHERS = re.compile(r"(firewalld|firewalld_policy_.*)\Z")
_IPTABLES_TABLES = ("filter", "mangle", "raw", "security", "nat")

Ruleset = namedtuple("Ruleset", "chains bases whole")
# One rule that stands alone on its line of a file.  start: where its text begins; mark: the length of our mark in front of it.
SiteLine = namedtuple("SiteLine", "path start mark place rule")


def where(place):
    """Such as V(inet filter input)."""
    return " ".join(place)


def mark_of(name):
    return "portshift %s" % name


# -- what nft -j says

def _render(value):
    """A part of an expression as nft would write it; what is unknown here stays JSON."""
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, list):
        return ",".join(_render(part) for part in value)
    if not isinstance(value, dict) or len(value) != 1:
        return json.dumps(value, sort_keys=True)
    (kind, inner), = value.items()
    if kind == "set" and isinstance(inner, list):
        return "{ %s }" % ", ".join(_pair(part) for part in inner)
    if kind == "range":
        return "%s-%s" % tuple(_render(part) for part in inner)
    if kind == "prefix":
        return "%s/%s" % (_render(inner["addr"]), inner["len"])
    if kind == "payload" and "field" in inner:
        return "%s %s" % (inner["protocol"], inner["field"])
    if kind == "meta":
        return ("%s" if inner["key"] in ("iif", "iifname", "oif", "oifname") else "meta %s") % inner["key"]
    if kind == "ct":
        return "ct %s" % inner["key"]
    if kind == "concat":
        return " . ".join(_render(part) for part in inner)
    if kind == "elem":
        return _render(inner.get("val")) if isinstance(inner, dict) else _render(inner)
    if kind in ("jump", "goto"):
        return "%s %s" % (kind, inner["target"])
    return kind if inner is None else json.dumps(value, sort_keys=True)


def _pair(part):
    return "%s : %s" % (_render(part[0]), _render(part[1])) if isinstance(part, list) and len(part) == 2 else _render(part)


def _statement(part):
    (kind, inner), = part.items()
    if kind == "match":
        op = {"==": "", "in": ""}.get(inner["op"], inner["op"] + " ")
        right = _render(inner["right"])
        if _render(inner["left"]) in ("iif", "iifname", "oif", "oifname") and isinstance(inner["right"], str):
            right = '"%s"' % right
        return "%s %s%s" % (_render(inner["left"]), op, right)
    if kind == "vmap":
        return "%s vmap %s" % (_render(inner["key"]), _render(inner["data"]))
    if kind == "counter":
        return "counter"      # without its numbers, which change by themselves
    if kind == "log":
        return "log" + "".join(" %s %s" % (key, json.dumps(inner[key]) if key == "prefix" else _render(inner[key]))
                               for key in sorted(inner or {}))
    if kind in ("limit", "quota") and isinstance(inner, str):
        return '%s name "%s"' % (kind, inner)
    if kind == "limit":
        over = "over " if inner.get("inv") else ""
        return "limit rate %s%s/%s" % (over, inner.get("rate"), inner.get("per"))
    if kind == "reject" and isinstance(inner, dict):
        return "reject with %s" % " ".join(str(inner[key]) for key in ("type", "expr") if key in inner)
    return _render(part)


def rule_text(expr, comment=None):
    return " ".join([_statement(part) for part in expr] + (['comment "%s"' % comment] if comment else []))


def _elements(value, sets):
    """The elements on the right side of a comparison; None for a named set that is not known."""
    if isinstance(value, str) and value.startswith("@"):
        value = {"set": sets[value[1:]]} if value[1:] in sets else None
    if isinstance(value, dict) and set(value) == {"set"}:
        value = value["set"]
    if value is None:
        return None
    found = []
    for part in value if isinstance(value, list) else [value]:
        found.append(part["elem"].get("val") if isinstance(part, dict) and isinstance(part.get("elem"), dict) else part)
    return found


def _ports(value, sets, op="=="):
    """The ranges of ports that `value` names, or None where that can't be told."""
    elements, found = _elements(value, sets), []
    for part in [None] if elements is None else elements:
        if isinstance(part, bool) or part is None:
            return None
        if isinstance(part, int):
            first = {">": part + 1, ">=": part, "<": 0, "<=": 0}.get(op, part)
            last = {">": EVERY_PORT - 1, ">=": EVERY_PORT - 1, "<": part - 1, "<=": part}.get(op, part)
            if first <= last:
                found.append((first, last))
        elif isinstance(part, dict) and set(part) == {"range"} and all(isinstance(end, int) for end in part["range"]):
            found.append(tuple(part["range"]))
        else:
            return None
    return all_but(found) if op == "!=" else joined(found)


def _sources(value):
    """The networks and addresses in `value`, or None where it holds anything else, a range for example."""
    elements, found = _elements(value, {}), set()
    for part in [None] if elements is None else elements:
        try:
            if isinstance(part, dict) and set(part) == {"prefix"}:
                part = "%s/%d" % (part["prefix"]["addr"], part["prefix"]["len"])
            found.add(normalised(part) if isinstance(part, str) else None)
        except ValueError:
            return None
    return None if None in found else frozenset(found)


def _names(value, sets):
    return [PROTOCOL_NUMBERS.get(part, part) if isinstance(part, int) else part for part in _elements(value, sets) or []]


def _chosen(members, chosen, negated):
    return frozenset(member for member in members if (member in chosen) != negated)


def _payload(part):
    """The protocol of the header that an expression reads, inside of bit operations too; None where there is none."""
    if isinstance(part, dict) and len(part) == 1:
        (kind, inner), = part.items()
        if kind == "payload" and isinstance(inner, dict):
            return inner.get("protocol")
        if kind in ("&", "|", "^") and isinstance(inner, list):
            return _payload(inner[0])
    return None


def _field(kind, inner):
    """What an expression is about, as (protocol, field); what conntrack knows of the first packet is what the packet says."""
    if kind == "payload":
        return inner.get("protocol"), inner.get("field")
    if kind == "ct" and inner.get("dir", "original") == "original":
        key = inner.get("key")
        if key in ("saddr", "ip saddr", "ip6 saddr", "daddr", "ip daddr", "ip6 daddr"):
            version = inner.get("family") or key.partition(" ")[0]
            return {"ip": "ip", "ip6": "ip6"}.get(version, "ct"), key.split()[-1]
        if key in ("proto-dst", "proto-src"):
            return "th", {"proto-dst": "dport", "proto-src": "sport"}[key]
        if key in ("protocol", "l3proto"):
            return "meta", {"protocol": "l4proto", "l3proto": "nfproto"}[key]
    return kind, inner.get("key")


def _match(left, op, right, sets, text):
    """(Condition, whether it may stand in a plain rule)."""
    negated = op == "!="
    (kind, inner), = left.items() if isinstance(left, dict) and len(left) == 1 else [(None, None)]
    if kind == "concat" and op in ("==", "!=", "in"):
        return _concat(inner, negated, right, sets, text), False
    field = _field(kind, inner) if isinstance(inner, dict) else (None, None)
    found = ANYTHING
    if _payload(left) in PROTOCOLS:
        found = found._replace(protocols=frozenset((_payload(left),)))
    if field[1] in ("dport", "sport") and field[0] in PROTOCOLS + ("th",):
        ports = _ports(right, sets, op) if op in ("==", "!=", "in", "<", ">", "<=", ">=") else None
        if field[1] == "sport" or ports is None:
            # Clients take any port of theirs that is free.
            return both(found, limited("unknown" if ports is None else of(most_ports(ports)), text)), False
        found = found._replace(ports=ports)
        named = isinstance(right, str) and right.startswith("@")
        return found, single_port(found) is not None and op in ("==", "in") and not named
    if op not in ("==", "!=", "in"):
        return both(found, limited(kind_of_match(left, op, right), text)), False
    if field in (("ip", "saddr"), ("ip6", "saddr"), ("ct", "saddr")):
        if field[0] != "ct":
            found = ANYTHING._replace(families=frozenset((4,) if field[0] == "ip" else (6,)))
        sources = _sources(right)
        if negated or sources is None:
            return both(found, limited("except" if negated else "source", text)), False
        return found._replace(sources=None if sources & {ANY_IPV4, ANY_IPV6} else sources), kind == "payload"
    if field in (("ip", "protocol"), ("ip6", "nexthdr"), ("meta", "l4proto")):
        numbers = {"ip": frozenset((4,)), "ip6": frozenset((6,))}.get(field[0], FAMILIES)
        return ANYTHING._replace(families=numbers, protocols=_chosen(PROTOCOLS, _names(right, sets), negated)), not negated
    if field in (("meta", "nfproto"), ("meta", "protocol"), ("ether", "type")):
        chosen = {{"ipv4": 4, "ip": 4, "ipv6": 6, "ip6": 6, 2: 4, 10: 6}.get(name) for name in _elements(right, sets) or []
                  if isinstance(name, (str, int))}
        return ANYTHING._replace(families=_chosen(FAMILIES, chosen, negated)), not negated
    if field in (("meta", "iif"), ("meta", "iifname")):
        if _elements(right, sets) == ["lo"]:
            # Other hosts do not arrive there.
            return (ANYTHING if negated else NOTHING), False
        names = _elements(right, sets) or [None]
        known = all(isinstance(name, str) for name in names)
        pattern = known and all(name.endswith("*") for name in names) and not negated
        return limited("pattern" if pattern else "link", text, names if known else (), negated), False
    if field == ("ct", "state"):
        matches = ("new" in (_elements(right, sets) or [])) != negated
        return (ANYTHING if matches else NOTHING), not negated
    if kind == "payload" and field[0] in ("icmp", "icmpv6", "igmp", "sctp", "dccp", "esp", "ah", "comp", "udplite", "gre"):
        return NOTHING, False
    if field in (("ip", "daddr"), ("ip6", "daddr"), ("ct", "daddr")):
        addresses = _sources(right)
        if field[0] != "ct":
            found = ANYTHING._replace(families=frozenset((4,) if field[0] == "ip" else (6,)))
        if addresses and all(own_network(address) for address in addresses):
            return (found if negated else NOTHING), False
        return both(found, limited("address", text, addresses or (), negated)), False
    return both(found, limited(kind_of_match(left, op, right), text)), False


def _concat(parts, negated, right, sets, text):
    """A comparison of several fields at once: which ports it may be about, and that there is more to it."""
    fields = [_field(*list(part.items())[0]) if isinstance(part, dict) and len(part) == 1 and isinstance(
        list(part.values())[0], dict) else (None, None) for part in parts]
    by_sender = any(field[1] == "saddr" for field in fields)
    elements = _elements(right, sets)
    if elements is not None and len(elements) == 1 and not negated and isinstance(elements[0], dict) and len(
            elements[0].get("concat", ())) == len(parts):
        # One element says what its parts say one after the other.
        found = ANYTHING
        for part, value in zip(parts, elements[0]["concat"]):
            found = both(found, _match(part, "==", value, sets, text)[0])
        return found
    found = limited("except" if negated and by_sender else "source" if by_sender else "unknown", text)
    for number, field in enumerate(fields):
        if field[1] == "dport" and field[0] in PROTOCOLS + ("th",) and not negated:
            if field[0] in PROTOCOLS:
                found = found._replace(protocols=frozenset((field[0],)))
            try:
                ports = _ports([element["concat"][number] for element in elements], sets)
            except (KeyError, IndexError, TypeError):
                ports = None
            # A list that is empty now can be filled at any time.
            found = found._replace(ports=ports or None)
    return found


def _verdict(part, place):
    """(verdict, the place of the chain that it leads to) of a statement or of an element of a verdict map."""
    for kind in ("accept", "drop", "return", "reject"):
        if kind in part:
            return ("drop" if kind == "reject" else kind), None
    for kind in ("jump", "goto"):
        if kind in part:
            return kind, place[:2] + (part[kind]["target"],)
    return None, None


def parse_rule(place, number, expr, comment, sets):
    """The Rules that one rule of nftables is: one, but for a verdict map."""
    condition, plain, text = ANYTHING._replace(families=SEEN_FAMILIES[place[0]]), True, rule_text(expr, comment)
    rules = []
    for part in expr:
        (kind, inner), = part.items() if isinstance(part, dict) and len(part) == 1 else [("unknown", None)]
        verdict, target = _verdict(part, place) if isinstance(part, dict) else (None, None)
        if kind == "match":
            met, may = _match(inner["left"], inner["op"], inner["right"], sets, _statement(part))
            condition, plain = both(condition, met), plain and may
        elif kind == "vmap":
            data = inner["data"]
            pairs = sets.get(data[1:], []) if isinstance(data, str) else data.get("set", [])
            for pair in pairs:
                key = pair[0]["elem"].get("val") if isinstance(pair[0], dict) and "elem" in pair[0] else pair[0]
                met = ANYTHING if key == "*" else _match(inner["key"], "==", {"set": [key]}, sets, text)[0]
                verdict, target = _verdict(pair[1], place)
                rules.append(Rule(place, number, both(condition, met), verdict, target, False, comment, text))
        elif verdict:
            rules.append(Rule(place, number, condition, verdict, target, plain, comment, text))
        elif kind != "counter":
            met, plain = kind_of_statement(kind, inner, sets), False
            if met:
                condition = both(condition, limited(met, _statement(part) if kind != "unknown" else kind))
    return rules


def iptables_named(text):
    """The (family, table) in an answer of nft that have the name of a table of iptables."""
    return {(entry["table"]["family"], entry["table"]["name"]) for entry in _entries(text) if "table" in entry
            and entry["table"]["family"] in ("ip", "ip6") and entry["table"]["name"] in _IPTABLES_TABLES}


def _is_iptables(chain, theirs):
    """Whether iptables keeps this chain in nftables."""
    # INPUT of another priority is not the one that iptables shows.
    return (chain["family"], chain["table"]) in theirs and chain["name"].isupper() and (
        chain["table"] != "filter" or chain.get("prio", 0) == 0)


def _entries(text):
    try:
        return [entry for entry in json.loads(text)["nftables"] if "metainfo" not in entry]
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise _unread(err)


def _unread(err):
    return OpeningError("nft list ruleset gave an answer that this version does not read (%s: %s); look at it with "
                        "nft -j list ruleset" % (type(err).__name__, err))


def parse_ruleset(text, theirs=(), others=False):
    """The Ruleset in what C(nft -j list ruleset) says.  `theirs`: the (family, table) that iptables itself lists.

    bases: hook -> chains, with `others` those of firewalld too; whole: (key of a rule or None, text) of everything.
    """
    try:
        return _ruleset(_entries(text), theirs, others)
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise _unread(err)


def _ruleset(entries, theirs, others):
    sets, rules, chains, bases, whole = {}, {}, {}, {"input": [], "prerouting": [], "ingress": []}, []
    for kind, entry in [(kind, entry) for item in entries for kind, entry in item.items()]:
        if kind in ("set", "map"):
            sets.setdefault((entry["family"], entry["table"]), {})[entry["name"]] = entry.get("elem", [])
        elif kind in ("limit", "quota"):
            sets.setdefault((entry["family"], entry["table"]), {})[(kind, entry["name"])] = entry
    for kind, entry in [(kind, entry) for item in entries for kind, entry in item.items()]:
        if kind != "rule":
            plain = {key: value for key, value in entry.items() if key not in ("handle", "packets", "bytes", "used")}
            if kind in ("set", "map", "meter") and {"timeout", "dynamic"} & set(plain.get("flags", [])):
                plain.pop("elem", None)     # it fills and empties by itself
            whole.append((None, "%s %s" % (kind, json.dumps(plain, sort_keys=True))))
            continue
        place = (entry["family"], entry["table"], entry["chain"])
        if place[0] in SEEN_FAMILIES:
            rules.setdefault(place, []).extend(parse_rule(
                place, entry["handle"], entry["expr"], entry.get("comment"), sets.get(place[:2], {})))
        whole.append(((place, entry["handle"]), "%s: %s" % (where(place), rule_text(entry["expr"], entry.get("comment")))))
    for entry in [item["chain"] for item in entries if "chain" in item]:
        place = (entry["family"], entry["table"], entry["name"])
        if place[0] not in SEEN_FAMILIES:
            continue
        based, devices = entry.get("type") == "filter", entry.get("dev", [])
        devices = [devices] if isinstance(devices, str) else devices
        # nft 1.0.6 does not tell the devices of a chain at the ingress.
        at_device = limited("link", "device", devices) if entry.get("hook") == "ingress" else ANYTHING
        chains[place] = Chain(place, SEEN_FAMILIES[place[0]], entry.get("policy", "accept") if based else None, [
            rule._replace(condition=both(rule.condition, at_device)) for rule in rules.get(place, [])])
        if based and entry.get("hook") in bases and not _is_iptables(entry, theirs) and (
                others or not _OTHERS.match(entry["table"])):
            bases[entry["hook"]].append(chains[place])
    return Ruleset(chains, bases, whole)


def surveys_of(ruleset, ports, hooks=("input",)):
    return [Survey(ruleset.chains, base, ports) for hook in hooks for base in ruleset.bases[hook]]


def filtering(ruleset, ports):
    """Surveys of the chains that turn incoming traffic away."""
    return [survey for survey in surveys_of(ruleset, ports) if survey.filters]


def keys_of(ruleset, name):
    """The keys of the rules with our comment, wherever they stand."""
    return {(rule.place, rule.number) for chain in ruleset.chains.values() for rule in chain.rules
            if rule.comment == mark_of(name)}


def everything_but(ruleset, keys, name=None):
    """The whole ruleset as comparable strings, without the rules in `keys`, without handles and counters.

    `name`: what our file alone made, a chain that the site has no more for example, does not count either.
    """
    ours = {place for place, chain in ruleset.chains.items() if name and chain.policy is None and chain.rules and all(
        rule.comment == mark_of(name) for rule in chain.rules)}
    tables = {place[:2] for place in ours} - {place[:2] for place in ruleset.chains if place not in ours}
    found, count = set(), {}
    for key, text in ruleset.whole:
        if key is None:
            kind, unused, said = text.partition(" ")
            entry = json.loads(said) if ours and kind in ("chain", "table") else {}
            if kind == "chain" and (entry.get("family"), entry.get("table"), entry.get("name")) in ours:
                continue
            if kind == "table" and (entry.get("family"), entry.get("name")) in tables:
                continue
            found.add(text)
        elif key not in keys:
            count[key[0]] = count.get(key[0], 0) + 1
            found.add("%d %s" % (count[key[0]], text))
    return frozenset(found)


# -- rules of ours

def bodies(atoms, families):
    """The rules, without their comment, that open `atoms` in a chain that sees `families`."""
    found = []
    for protocol, port in sorted({(atom.protocol, atom.port) for atom in atoms}):
        mine = [atom for atom in atoms if (atom.protocol, atom.port) == (protocol, port)]
        unrestricted = {atom.family for atom in mine if atom.source is None}
        if unrestricted == set(families):
            found.append("%s dport %d accept" % (protocol, port))
        else:
            found += ["meta nfproto ipv%d %s dport %d accept" % (number, protocol, port) for number in sorted(unrestricted)]
        for number, word in ((4, "ip"), (6, "ip6")):
            for group in apart({atom.source for atom in mine if atom.source and atom.family == number}):
                sources = group[0] if len(group) == 1 else "{ %s }" % ", ".join(group)
                found.append("%s saddr %s %s dport %d accept" % (word, sources, protocol, port))
    return found


def own_file(name, by_chain):
    """The file of ours that a boot includes: `by_chain` is chain -> atoms.  Empty where there is nothing to open.

    nft takes a file as a whole or not at all: with a chain that the site has renamed since, the host would boot unfiltered.
    So each table and chain is named first, which makes it where it is missing and else does nothing.
    """
    names = ["add table %s\nadd chain %s" % (where(place[:2]), where(place)) for place in sorted(by_chain) if by_chain[place]]
    rules = ["insert rule %s %s comment \"%s\"" % (where(place), body, mark_of(name))
             for place in sorted(by_chain) for body in bodies(by_chain[place], TABLE_FAMILIES[place[0]])]
    return "" if not rules else "\n".join(
        ["# Made by portshift.agents.host_port; taken away by state=restored and state=closed."] + names + rules + [""])


def by_port(atoms):
    """The atoms in groups of one protocol and port, in order."""
    groups = {}
    for atom in atoms:
        groups.setdefault((atom.protocol, atom.port), set()).add(atom)
    return [groups[key] for key in sorted(groups)]


# -- files

# Said behind our include where the line before it had no end: nft does not take a comment without one.
_UNENDED = ", the line above had no end"
_INCLUDE_OF_A_PRODUCT = re.compile(br'(include "[^"\n]+" # %s)[ \t\r]*(?:\n|\Z)' % mark_of("[a-z0-9_]+").encode("ascii"))


def include_line(name, path):
    # A pattern that nothing but this file matches: nft lets a pattern without a match pass, and fails for a missing file.
    return 'include "%s[%s]" # %s' % (path[:-1], path[-1], mark_of(name))


def _include(name, path):
    return re.compile(br"(?m)^" + re.escape(include_line(name, path).encode("ascii")) + br"(" + _UNENDED.encode("ascii") +
                      br")?[ \t\r]*(?:\n|\Z)")


def with_include(content, name, path):
    """The file with our include as its last line, where it is missing."""
    if _include(name, path).search(content):
        return content
    line = include_line(name, path)
    if content and not content.endswith(b"\n"):
        return content + b"\n" + line.encode("ascii") + _UNENDED.encode("ascii") + b"\n"
    return content + line.encode("ascii") + b"\n"


def without_include(content, name, path):
    """The file as it was before with_include()."""
    match = _include(name, path).search(content)
    if not match:
        return content
    before, after = content[:match.start()], content[match.end():]
    if not match.group(1):
        return before + after
    # What was written behind it since keeps the end of the line above; that of another product takes it away when it goes.
    behind = _INCLUDE_OF_A_PRODUCT.match(after)
    if behind:
        return before + behind.group(1) + _UNENDED.encode("ascii") + after[behind.end(1):]
    return before + after if after else before[:-1]


Piece = namedtuple("Piece", "kind start end context alone")
_OPENER = re.compile(r"(?:(?:add|create)\s+)?(?:(table)\s+(?:(inet|ip6|ip|arp|bridge|netdev)\s+)?([\w./-]+)"
                     r"|(chain)\s+(?:(\w+)\s+([\w./-]+)\s+)?([\w./-]+)"
                     r"|(set|map|counter|quota|limit|flowtable|secmark|synproxy|ct)\s+[^{]*)\s*\Z")


def _opened(text, context):
    """The context inside of the block that `text` opens, or None where the brace belongs to an expression."""
    match = _OPENER.match(" ".join(text.split()))
    if not match:
        return None
    if match.group(1):
        return (match.group(2) or "ip", match.group(3), None)
    if match.group(4):
        family_, table = (match.group(5), match.group(6)) if match.group(5) else (context or (None, None))[:2]
        return (family_, table, match.group(7))
    return ("", "", "") if context is None or context[2] is None else None


def pieces(text):
    """The statements, comments and blocks of a file for nft, each with the (family, table, chain) that it stands in."""
    contexts, depth, start, at = [], 0, None, 0
    found = []

    def end(stop):
        if start is not None and text[start:stop].strip():
            stop = start + len(text[start:stop].rstrip())
            found.append(Piece("statement", start, stop, contexts[-1] if contexts else None, _alone(text, start, stop)))

    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            start = at if start is None else start
            at += 2
            continue
        if char == '"':
            start = at if start is None else start
            close = text.find('"', at + 1)
            at = len(text) if close < 0 else close + 1
            continue
        if char == "#":
            line_end = text.find("\n", at)
            line_end = len(text) if line_end < 0 else line_end
            if not depth:
                end(at)
                start = None
            found.append(Piece("comment", at, line_end, contexts[-1] if contexts else None,
                               not text[text.rfind("\n", 0, at) + 1:at].strip()))
            at = line_end
            continue
        if char == "{":
            context = None if depth or start is None else _opened(text[start:at], contexts[-1] if contexts else None)
            if context is None:
                depth += 1
            else:
                contexts.append(context)
                start = None
        elif char == "}" and depth:
            depth -= 1
        elif char == "}":
            end(at)
            start = None
            if contexts:
                contexts.pop()
        elif char in ";\n" and not depth:
            end(at)
            start = None
        elif start is None and not char.isspace():
            start = at
        at += 1
    end(len(text))
    return found


def _alone(text, start, stop):
    line = text.rfind("\n", 0, start) + 1
    # A backslash at the end of the line before makes this the middle of a longer one.
    if text[line:start].strip() or text[max(line - 2, 0):line] == "\\\n" or text.find("\n", start, stop) >= 0:
        return False
    return _line_end(text, stop) is not None


_REST_OF_LINE = re.compile(r"[ \t\r]*;?[ \t\r]*(#[^\n]*)?(\n|\Z)")


def _line_end(text, stop):
    """Where the line ends in which a statement ends at `stop`; None where it goes on with something else."""
    match = _REST_OF_LINE.match(text, stop)
    return match and match.end()


def without_own_lines(content, name):
    """The bytes without the lines that are rules of ours, as they get there with the site's own C(nft list ruleset)."""
    comment = 'comment "%s"' % mark_of(name)
    text = content.decode("latin-1")
    if comment not in text:
        return content
    for piece in reversed(pieces(text)):
        if piece.kind == "statement" and piece.alone and text[piece.start:piece.end].endswith(comment):
            start = text.rfind("\n", 0, piece.start) + 1
            text = text[:start] + text[_line_end(text, piece.end):]
    return text.encode("latin-1")


# What stands in a chain beside its rules.
_NO_RULE = re.compile(r"(type|policy|comment|flags|devices?)\b")


def with_own_lines(content, name, place, behind, rules):
    """The bytes with `rules` of ours behind the rule of the site's with this number in the chain, counted from 1.

    None where the file does not hold the chain as a block of plain statements, so that the place can't be told.
    """
    comment = 'comment "%s"' % mark_of(name)
    text = content.decode("latin-1")
    found = [piece for piece in pieces(text) if piece.kind == "statement" and piece.context == place
             and not _NO_RULE.match(text[piece.start:piece.end])]
    found = [piece for piece in found if not text[piece.start:piece.end].endswith(comment)]
    if len(found) < behind or any(text.startswith("include", piece.start) for piece in found):
        return None
    piece = found[behind - 1]
    end = _line_end(text, piece.end)
    if end is None or text[end - 1:end] != "\n":
        return None
    line = text.rfind("\n", 0, piece.start) + 1
    indent = re.match(r"[ \t]*", text[line:piece.start]).group() if not text[line:piece.start].strip() else "\t\t"
    line_end = "\r\n" if text[end - 2:end] == "\r\n" else "\n"
    lines = ["%s%s %s%s" % (indent, rule, comment, line_end) for rule in rules]
    return (text[:end] + "".join(lines) + text[end:]).encode("latin-1")


def includes(text):
    """(start, end, path) of the include statements that stand outside of every block."""
    found = []
    for piece in pieces(text):
        match = re.match(r'include\s+"([^"$]+)"\Z', text[piece.start:piece.end])
        if piece.kind == "statement" and piece.context is None and match:
            found.append((piece.start, piece.end, match.group(1)))
    return found


_TOKEN = re.compile(r'"[^"]*"|[{},]|[^\s{},"]+')
_FIELDS = {"dport": ("tcp", "udp", "th"), "saddr": ("ip", "ip6")}


def _value(tokens):
    word = tokens.pop(0)
    if word == "==":
        word = tokens.pop(0)
    if word != "{":
        return _atom(word)
    found = []
    while True:
        found.append(_atom(tokens.pop(0)))
        mark = tokens.pop(0)
        if mark == "}":
            return {"set": found}
        if mark != ",":
            raise ValueError(mark)


def _atom(word):
    if not re.match(r"[0-9A-Za-z:./]+\Z", word):
        raise ValueError(word)
    if word.isdigit():
        return int(word)
    address, slash, length = word.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}} if slash else word


def expression(text):
    """(expr, comment) as nft -j would give them, of a simple rule's text; None for a rule that says more than that."""
    tokens, expr, comment = _TOKEN.findall(text), [], None
    try:
        while tokens:
            word = tokens.pop(0)
            if word in ("tcp", "udp", "th", "ip", "ip6"):
                field = tokens.pop(0)
                if word not in _FIELDS.get(field, ()):
                    return None
                expr.append({"match": {"op": "==", "left": {"payload": {"protocol": word, "field": field}},
                                       "right": _value(tokens)}})
            elif word == "meta" and tokens[0] in ("l4proto", "nfproto"):
                expr.append({"match": {"op": "==", "left": {"meta": {"key": tokens.pop(0)}}, "right": _value(tokens)}})
            elif word == "ct" and tokens[0] == "state":
                del tokens[0]
                expr.append({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": _value(tokens)}})
            elif word == "counter":
                expr.append({"counter": None})
                if tokens[:1] == ["packets"]:
                    del tokens[:4]
            elif word == "accept":
                expr.append({"accept": None})
            elif word == "comment" and tokens[0].startswith('"'):
                comment = tokens.pop(0).strip('"')
            else:
                return None
    except (IndexError, ValueError):
        return None
    return expr, comment


_ADD_RULE = re.compile(r"(?:add|insert) rule (inet|ip6|ip) ([\w./-]+) ([\w./-]+) (.*)\Z", re.S)


def _site_rule(text, context, path, start, mark):
    if context is None:
        match = _ADD_RULE.match(text)
        if not match:
            return None
        context, text = match.group(1, 2, 3), match.group(4)
    parsed = expression(text) if all(context) and context[0] in TABLE_FAMILIES else None
    rules = parse_rule(tuple(context), (path, start), parsed[0], parsed[1], {}) if parsed else []
    if len(rules) != 1 or not rules[0].plain or rules[0].verdict != "accept" or single_port(rules[0].condition) is None:
        return None
    return SiteLine(path, start, mark, tuple(context), rules[0])


def site_lines(path, text, name):
    """The rules of the site's in a file that open exactly one port and stand alone on a line, closed ones too."""
    found, mark = [], "# %s: " % mark_of(name)
    for piece in pieces(text):
        if not piece.alone:
            continue
        inner = text[piece.start:piece.end]
        if piece.kind == "comment" and inner.startswith(mark):
            statement = inner[len(mark):].partition("#")[0].rstrip().rstrip(";").rstrip()
            line = _site_rule(statement, piece.context, path, piece.start, len(mark))
        else:
            line = _site_rule(inner, piece.context, path, piece.start, 0) if piece.kind == "statement" else None
        if line:
            found.append(line)
    return found


def atoms_of_line(line):
    """What a SiteLine opens where its chain is reached by everything."""
    condition = line.rule.condition
    return {Atom(number, protocol, single_port(condition), source) for number in condition.families
            for protocol in condition.protocols for source in (condition.sources or [None])
            if source is None or family(source) == number}


def closed(content, starts, name):
    """The bytes with the rules that begin at `starts` taken out of force."""
    mark = ("# %s: " % mark_of(name)).encode("ascii")
    for start in sorted(starts, reverse=True):
        content = content[:start] + mark + content[start:]
    return content


def reopened(content, lines):
    """The bytes with the marks of these SiteLines taken away."""
    for line in sorted(lines, key=lambda line: line.start, reverse=True):
        content = content[:line.start] + content[line.start + line.mark:]
    return content
