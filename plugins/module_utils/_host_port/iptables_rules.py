# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter table as iptables-save prints it, live or in the file that a boot loads.  Text in, text out.

A saved file is spliced: rules of ours are lines that come and go, and C(# portshift NAME: ) is put in front of a rule of the
site's that is closed, so that taking the mark away again gives the old bytes back.
"""

import re
import shlex

from ansible_collections.portshift.agents.plugins.module_utils._host_port.input_filter import (
    ANYTHING, NOTHING, Chain, Rule, all_but, both, joined, limited, most_ports, own_network, single_port)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    ANY_IPV4, ANY_IPV6, PROTOCOLS, OpeningError, normalised)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.ordinary_packet import kind_of_option, of

# The last three hold a connection or answer it in the host's stead.
VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return", "TARPIT": "drop", "DELUDE": "drop",
            "CHAOS": "drop"}
# Targets that do something to a packet and let it go on.
_GO_ON = {"LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "SET", "TRACE", "AUDIT", "CT", "NOTRACK", "DSCP", "TOS", "CLASSIFY",
          "TCPMSS", "HL", "TTL", "SECMARK", "CONNSECMARK", "CHECKSUM", "TEE", "IDLETIMER", "LED", "RATEEST"}
_PROTOCOLS = {"6": "tcp", "17": "udp"}
# Options that say no more than the words that follow them.
_SILENT = {"--comment", "--reject-with"}
_COUNTERS = re.compile(r"\A\[\d+:\d+\]\s*")      # the counters that iptables-save -c prints
_RULE = re.compile(r"(\[\d+:\d+\]\s*)?-A\s")


def mark_of(name):
    return "portshift %s" % name


def where(place):
    """Such as V(iptables INPUT)."""
    return " ".join(place)


def _spans(text):
    found = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        first, last = first or "0", last if colon else first
        if not first.isdigit() or not (last or "65535").isdigit():
            return None
        found.append((int(first), int(last or 65535)))
    return joined(found)


def _condition(option, values, negated, text, number):
    """(Condition, whether it may stand in a plain rule) of one option of a rule."""
    value = values[0] if values else ""
    if option in ("-p", "--protocol"):
        name = _PROTOCOLS.get(value, value)
        chosen = frozenset(protocol for protocol in PROTOCOLS if name in (protocol, "all", "0"))
        return ANYTHING._replace(protocols=frozenset(PROTOCOLS) - chosen if negated else chosen), not negated
    if option in ("--dport", "--destination-port", "--dports", "--destination-ports", "--ports", "--ctorigdstport"):
        ports = _spans(value)
        if ports is None:
            return limited("unknown", text), False
        return ANYTHING._replace(ports=all_but(ports) if negated else ports), not negated and option.startswith("--d")
    if option in ("--sport", "--source-port", "--sports", "--source-ports", "--ctorigsrcport"):
        ports = _spans(value)
        # Clients take any port of theirs that is free.
        return limited("unknown" if ports is None else of(most_ports(all_but(ports) if negated else ports)), text), False
    if option in ("-s", "--source", "--src"):
        try:
            source = normalised(value)
        except ValueError:
            source = None
        if source is None or negated:
            return limited("except" if negated else "source", text), False
        any_address = source in (ANY_IPV4, ANY_IPV6)
        return ANYTHING._replace(sources=None if any_address else frozenset((source,))), True
    if option in ("-i", "--in-interface"):
        if value == "lo":
            return (ANYTHING if negated else NOTHING), False
        name = value[:-1] + "*" if value.endswith("+") else value
        return limited("pattern" if value.endswith("+") and not negated else "link", text, (name,), negated), False
    if option in ("--ctstate", "--state"):
        matches = ("NEW" in value.split(",")) != negated
        return (ANYTHING if matches else NOTHING), not negated
    if option in ("-d", "--destination", "--dst"):
        if own_network(value):
            return (ANYTHING if negated else NOTHING), False
        try:
            return limited("address", text, (normalised(value),), negated), False
        except ValueError:
            return limited("address", text), False
    if option == "--ctproto":
        return _condition("-p", values, negated, text, number)[0], False
    kind = kind_of_option(option, values, negated)
    return (ANYTHING, True) if kind is None and option in ("-m", "--match") else (
        ANYTHING if kind is None else limited(kind, text), False)


def _options(words):
    """[(option, values, negated)] of a rule."""
    found, negated = [], False
    for word in words:
        if word == "!":
            negated = True
        elif re.match(r"--?[A-Za-z]", word):
            found.append((word, [], negated))
            negated = False
        elif found:
            found[-1][1].append(word)
    return found


def parse_rule(line, number, family, place):
    """The Rule in a line C(-A CHAIN ...); `number` tells it from others."""
    tool = place[0]
    try:
        # The shell's rules cost fifty times as much, and few lines need them.
        words = shlex.split(line) if re.search(r"[\"'\\]", line) else line.split()
    except ValueError:
        raise OpeningError("%s-save printed a rule that can't be read: %s" % (tool.split()[0], line))
    condition, plain, verdict, target, comment = ANYTHING._replace(families=frozenset((family,))), True, None, None, None
    for option, values, negated in _options(words[2:]):
        value = values[0] if values else ""
        text = "%s%s" % ("! " if negated else "", " ".join([option] + values))
        if option == "--comment":
            comment = value
        elif option in _SILENT:
            continue
        elif option in ("-j", "--jump", "-g", "--goto"):
            verdict = VERDICTS.get(value)
            if verdict is None and value not in _GO_ON:
                verdict, target = "goto" if option in ("-g", "--goto") else "jump", (tool, value)
        elif verdict is not None or target is not None:
            continue    # options of the target
        else:
            met, may = _condition(option, values, negated, text, family)
            condition, plain = both(condition, met), plain and may
    return Rule(place, number, condition, verdict, target, plain and verdict == "accept" and (
        single_port(condition) is not None and len(condition.protocols) == 1), comment, line)


class SavedTable:
    """One table, filter mostly, in the output of iptables-save or in a saved file.

    chains   place -> Chain; the places are (tool, chain)
    whole    (key of a rule or None, text) of everything in the table but comments and counters
    lines    key -> (start, end) of a rule's line in the text, its line end not counted
    closed   [(start, Rule)] of rules behind a mark of ours; start is that of the mark
    head     where a rule would have to stand to be the first of INPUT; None without a chain INPUT
    """

    def __init__(self, text, tool, family, name=None, table="filter"):
        wanted = table
        # Chains of the other tables have the same names.
        tool = tool if table == "filter" else "%s -t %s" % (tool, table)
        self.tool, self.family, self.text = tool, family, text
        self.whole, self.lines, self.closed, self.head = [], {}, [], None
        policies, rules = {}, {}
        mark, table, at, count = "# %s: " % mark_of(name), None, 0, 0
        for line in text.splitlines(True):
            said, start = line.strip(), at
            at += len(line)
            if said.startswith("*"):
                table = said[1:]
            elif table != wanted:
                continue
            elif said == "COMMIT":
                if self.head is None and (tool, "INPUT") in policies:
                    self.head = start
                table = None
            elif said.startswith(":"):
                chain, policy = (said[1:].split() + ["-"])[:2]
                policies[(tool, chain)] = {"ACCEPT": "accept", "DROP": "drop"}.get(policy)
                self.whole.append((None, "%s %s" % (chain, policy)))
            elif said.startswith("#"):
                if name and said.startswith(mark) and _RULE.match(said[len(mark):]):
                    rule = self._rule(_COUNTERS.sub("", said[len(mark):], count=1), start)
                    self.closed.append((start + line.index(mark), rule))
            elif _RULE.match(said):
                count += 1
                rule = self._rule(_COUNTERS.sub("", said, count=1), count)
                rules.setdefault(rule.place, []).append(rule)
                self.lines[(rule.place, count)] = (start, start + len(line.rstrip("\r\n")))
                self.whole.append(((rule.place, count), rule.text))
                if self.head is None and rule.place[1] == "INPUT":
                    self.head = start
        families = frozenset((family,))
        self.chains = {place: Chain(place, families, policies.get(place), rules.get(place, []))
                       for place in set(policies) | set(rules)}

    def _rule(self, text, number):
        return parse_rule(text, number, self.family, (self.tool, text.split()[1]))

    @property
    def base(self):
        return self.built_in("INPUT")

    def built_in(self, name):
        """A chain that packets pass by themselves, or None."""
        chain = self.chains.get((self.tool, name))
        return chain and chain._replace(policy=chain.policy or "accept")

    @property
    def other_front_end(self):
        """Whether ufw or firewalld fills this table."""
        jumps = [rule.target[1] for rule in (self.base.rules if self.base else []) if rule.target]
        return any(re.match(r"ufw6?-|INPUT_direct\Z|INPUT_ZONES", chain) for chain in jumps)

    def everything_but(self, keys):
        found, count = set(), {}
        for key, text in self.whole:
            if key is None or key not in keys:
                place = key[0] if key else None
                count[place] = count.get(place, 0) + 1
                found.add("%s %d %s" % (self.tool, count[place], text) if key else "%s %s" % (self.tool, text))
        return found


def rule_lines(atoms, name, family):
    """The specifications, without C(-A) or C(-I), of rules of ours that open `atoms`."""
    found = []
    for atom in sorted((atom for atom in atoms if atom.family == family), key=str):
        source = "" if atom.source is None else "-s %s%s " % (
            atom.source, "" if "/" in atom.source else "/32" if family == 4 else "/128")
        found.append("%s-p %s -m %s --dport %d -m comment --comment \"%s\" -j ACCEPT" % (
            source, atom.protocol, atom.protocol, atom.port, mark_of(name)))
    return found


def spliced(text, table, name, remove=(), close=(), reopen=(), add=()):
    """The text of a saved file with rules of ours taken out and put in, and rules of the site's closed and opened again.

    remove, close: keys of `table`; reopen: starts of closed ones; add: (the key of the rule of INPUT that they stand behind,
    None for the head; specifications).
    """
    mark, cuts = "# %s: " % mark_of(name), []
    line_end = "\r\n" if "\r\n" in text else "\n"
    for key in remove:
        start, end = table.lines[key]
        end += len(re.match(r"\r?\n?", text[end:end + 2]).group())
        cuts.append((start, end, ""))
    cuts += [(table.lines[key][0], table.lines[key][0], mark) for key in close]
    cuts += [(start, start + len(mark), "") for start in reopen]
    for behind, rules in add:
        at = table.head
        if behind is not None:
            at = table.lines[behind][1]
            at += len(re.match(r"\r?\n?", text[at:at + 2]).group())
        cuts.append((at, at, "".join("-A INPUT %s%s" % (rule, line_end) for rule in rules)))
    # From the back to the front; what is put in comes last, so that it stands before whatever else begins at its place.
    for start, end, new in sorted(cuts, key=lambda cut: (-cut[0], cut[2] not in ("", mark))):
        text = text[:start] + new + text[end:]
    return text
