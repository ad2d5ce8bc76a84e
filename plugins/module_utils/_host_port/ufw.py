# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Openings in ufw: its rule files and the kernel's chains, read; changed by community.general.ufw.

A rule is written as V(v4 7 allow tcp 55000 0.0.0.0/0 any 10.1.2.0/24 in comment=6162): family, place in its file (0: the
end), and the tuple that ufw itself keeps in the file.
"""

import binascii
import os
import re
import shlex
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._host_port import iptables_rules
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import read_if_there
from ansible_collections.portshift.agents.plugins.module_utils._core.host_commands import run
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import own_addresses
from ansible_collections.portshift.agents.plugins.module_utils._host_port.input_filter import Scene, Survey
from ansible_collections.portshift.agents.plugins.module_utils._host_port.kernel_filter import KernelFilter, Obstacle, sentences
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    ANY_IPV4, ANY_IPV6, PROTOCOLS, Opening, OpeningError, Reading, denies, described, family, in_order, join_families,
    normalised)

FOLDERS = ("/etc/ufw", "/lib/ufw", "/var/lib/ufw")
SWITCH, DEFAULTS = "/etc/ufw/ufw.conf", "/etc/default/ufw"
KERNEL_IPV6 = "/proc/sys/net/ipv6"
FILES = {"v4": "user.rules", "v6": "user6.rules"}
# Rules of the site's own that ufw loads ahead of those that it manages, in the form of iptables-restore.
BEFORE = {"v4": "before.rules", "v6": "before6.rules"}
SITE_FOLDER = "/etc/ufw"
ANY_ADDRESS = {"v4": ANY_IPV4, "v6": ANY_IPV6}
TOOLS = {"v4": "iptables", "v6": "ip6tables"}
CHAINS = {"v4": "ufw-user", "v6": "ufw6-user"}
_MARK = "### tuple ### "

# action: allow, deny, reject, limit; log: "", log or log-all; application: the profile's name or None.
Rule = namedtuple("Rule", "family place text action log routed protocol ports destination source_ports source application "
                          "direction interface comment")


def parse_tuple(text, ip, place):
    """One tuple of a rule file."""
    words = text.split()
    comment = None
    if words and words[-1].startswith("comment="):
        try:
            comment = binascii.unhexlify(words.pop()[8:]).decode("utf-8")
        except (ValueError, UnicodeDecodeError):
            raise OpeningError("ufw: %s holds a comment that can't be decoded: %s" % (FILES[ip], text))
    if len(words) not in (6, 7, 8, 9):
        raise OpeningError("ufw: %s holds a rule that is not understood: %s" % (FILES[ip], text))
    direction = words.pop() if len(words) in (7, 9) else "in"
    way, unused, interface = direction.partition("_")
    routed, verdict = words[0].startswith("route:"), words[0].split(":")[-1]
    action, unused, log = verdict.partition("_")
    application = next((name for name in words[6:8] if name != "-"), None)
    return Rule(ip, place, text, action, log, routed, words[1], words[2], words[3], words[4], words[5], application, way,
                interface, comment)


def parse_rules(text, ip):
    """The rules of a rule file, numbered as ufw numbers them: all ports of an application profile are one."""
    found, place, seen = [], 0, set()
    for line in text.splitlines():
        if line.startswith(_MARK):
            rule = parse_tuple(line[len(_MARK):], ip, 0)
            profile = (rule.action, rule.application, rule.direction, rule.interface, rule.destination, rule.source)
            if rule.application is None or profile not in seen:
                place += 1
            seen.add(profile)
            found.append(rule._replace(place=place))
    return found


def spans(text):
    """[(first, last)] of V(52311), V(52311:52320) or V(80,443); None for V(any)."""
    if text == "any":
        return None
    return [(int(part.partition(":")[0]), int(part.partition(":")[2] or part.partition(":")[0])) for part in text.split(",")]


def hit(ports, wanted):
    """The `wanted` among `ports` (see spans()), and whether these are all that they stand for."""
    if ports is None:
        return sorted(wanted), False
    inside = sorted(port for port in wanted if any(first <= port <= last for first, last in ports))
    return inside, len(inside) == sum(last - first + 1 for first, last in ports)


def shown(rule):
    return "%s: %s" % (FILES[rule.family], re.sub(r" comment=[0-9a-f]*\Z", "", rule.text)) + (
        " # " + rule.comment if rule.comment else "")


def raw(rule):
    return "%s %d %s" % (rule.family, rule.place, rule.text)


def from_raw(text):
    ip, place, rest = text.split(" ", 2)
    return parse_tuple(rest, ip, int(place))


def incoming(rule):
    return not rule.routed and rule.direction == "in"


def protocols(rule):
    return [protocol for protocol in PROTOCOLS if rule.protocol in ("any", protocol)]


def openings_of(rule, inside):
    source = normalised(rule.source)
    return [Opening(protocol, port, source) for protocol in protocols(rule) for port in inside]


def permanent_reading(rules, ports, policy):
    """What the rule files say about `ports`; `policy`: what happens to what no rule names."""
    spelled, wider, lines, rest, about = {}, [], [], ["incoming by default: %s" % policy], {}
    for rule in rules:
        inside, nothing_else = hit(spans(rule.ports), ports)
        if not incoming(rule) or not inside or not protocols(rule):
            rest.append("%s: %s" % (rule.family, rule.text))
            continue
        lines.append(shown(rule))
        conditions = (rule.application, rule.interface, rule.log == "log-all", rule.destination != ANY_ADDRESS[rule.family],
                      rule.source_ports != "any")
        if rule.action == "allow" and nothing_else and not any(conditions):
            for opening in openings_of(rule, inside):
                spelled.setdefault(opening, []).append(raw(rule))
            continue
        rest.append("%s: %s" % (rule.family, rule.text))
        if rule.action == "allow":
            about[rest[-1]] = {(protocol, port) for protocol in protocols(rule) for port in inside}
        if rule.action in ("allow", "limit"):
            wider.append("ufw holds a rule that is not an opening of exactly %s, and which stays: %s" % (
                ", ".join(map(str, inside)), shown(rule)))
    if policy == "ACCEPT":
        lines.append("incoming by default: ACCEPT")
        wider.append("ufw admits by default what no rule names (DEFAULT_INPUT_POLICY in %s)" % DEFAULTS)
    spelled = join_families(spelled)
    return Reading(lines, spelled, wider, frozenset(rest), (), spelled, about)


def parse_saved(line):
    """option -> value of a line of iptables-save; a negated one has V(!) in front."""
    words, found, negated = shlex.split(line), {}, False
    while words:
        word = words.pop(0)
        if word == "!":
            negated = True
        elif word.startswith("-"):
            value = words.pop(0) if words and not words[0].startswith("-") and words[0] != "!" else ""
            if word != "-m":
                found[("!" if negated else "") + word] = value
            negated = False
    return found


def runtime_reading(saved, ports):
    """What the kernel's chains of ufw say about `ports`; saved: family -> text of iptables-save."""
    spelled, lines, rest, about = {}, [], [], {}
    for ip, text in sorted(saved.items()):
        for line in text.splitlines():
            if re.match(r":INPUT ", line):
                rest.append("%s %s" % (ip, line.split(" [")[0]))
            # The chains that a rule may jump to (limits, logging) ufw fills and empties as it likes.
            if not re.match(r"-A %s-(input|output|forward|logging-input) " % CHAINS[ip], line):
                continue
            rule = parse_saved(line)
            inside, nothing_else = hit(spans(rule.get("--dport", rule.get("--dports", "any"))), ports)
            if not inside or rule["-A"] not in (CHAINS[ip] + "-input", CHAINS[ip] + "-logging-input"):
                rest.append("%s %s" % (ip, line))
                continue
            if "-logging" not in line and ("--dport" in rule or "--dports" in rule):
                lines.append("%s: %s" % (TOOLS[ip], line))
            plain = nothing_else and not set(rule) - {"-A", "-p", "-s", "--dport", "--dports", "-j"}
            if plain and rule.get("-j") == "ACCEPT" and rule.get("-p") in PROTOCOLS:
                for port in inside:
                    opening = Opening(rule["-p"], port, normalised(rule.get("-s", ANY_ADDRESS[ip])))
                    spelled.setdefault(opening, []).append("%s 0 %s" % (ip, line))
            elif not (nothing_else and "logging-input" in rule["-A"] + rule.get("-j", "")):
                # The lines that log an opening come and go with it.
                rest.append("%s %s" % (ip, line))
                if rule.get("-j") == "ACCEPT":
                    about[rest[-1]] = {(protocol, port) for protocol in PROTOCOLS if rule.get("-p", protocol) == protocol
                                       for port in inside}
    spelled = join_families(spelled)
    return Reading(lines, spelled, (), frozenset(rest), (), spelled, about)


def kernel_lines(rule):
    """The lines of Reading.lines that a plain allow leads to in the kernel."""
    source = ""
    if rule.source != ANY_ADDRESS[rule.family]:
        source = "-s %s " % (rule.source if "/" in rule.source else "%s/%d" % (rule.source, 32 if rule.family == "v4" else 128))
    several = "," in rule.ports or ":" in rule.ports
    return ["%s: -A %s-input %s-p %s -m %s --dport%s %s -j ACCEPT" % (
        TOOLS[rule.family], CHAINS[rule.family], source, protocol, "multiport" if several else protocol,
        "s" if several else "", rule.ports) for protocol in protocols(rule)]


def denying_rules(rules, opening):
    """(how much, rule) of the site's rules that stand before a new opening and take it back."""
    found = []
    for rule in rules:
        inside, unused = hit(spans(rule.ports), [opening.port])
        if rule.action == "allow" or not incoming(rule) or not inside or opening.protocol not in protocols(rule):
            continue
        how_much = denies(normalised(rule.source), opening)
        if how_much:
            restricted = rule.interface or rule.destination != ANY_ADDRESS[rule.family] or rule.source_ports != "any"
            found.append(("part" if restricted else how_much, rule))
    return found


class Ufw:
    """ufw on this host; see Reading for what it reads."""

    name = "ufw"
    precise = True
    # The kernel's half follows from the files.
    separate = False

    def __init__(self, module, mark, zone=None):
        self.module, self.mark = module, mark
        self.rules, self.runtime, self.permanent, self.notes = [], None, None, []

    def _content(self, path):
        try:
            with open(path, "rb") as source:
                return source.read().decode("utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise OpeningError("%s: could not be read (%s); run with become: true" % (path, err))

    def _setting(self, path, name):
        """A setting of a shell-like file; None where it is not set."""
        if not os.path.isfile(path):
            return None
        found = re.findall(r"(?m)^\s*%s=[\"']?([^\s\"']*)" % name, self._content(path))
        return found[-1] if found else None

    def active(self):
        return bool(self.module.get_bin_path("ufw")) and (self._setting(SWITCH, "ENABLED") or "").lower() == "yes"

    def why_inactive(self):
        return ("ufw was asked for, but it is not enabled on this host; enable it (ufw enable) with a rule for your own "
                "connection, or name the backend that filters here")

    def _families(self):
        # Without IPv6 in the kernel ufw goes on as if it were switched off.
        served = (self._setting(DEFAULTS, "IPV6") or "no").lower() == "yes" and os.path.exists(KERNEL_IPV6)
        return ["v4", "v6"] if served else ["v4"]

    def unserved(self):
        """Why some family of addresses gets no rule: its number -> a sentence."""
        if "v6" in self._families():
            return {}
        return {6: "ufw does not serve IPv6 on this host (IPV6 in %s%s)" % (
            DEFAULTS, "" if os.path.exists(KERNEL_IPV6) else "; the kernel has none, either")}

    def _saved(self):
        found = {}
        for ip, tool in (("v4", "iptables-save"), ("v6", "ip6tables-save")):
            if ip in self._families():
                code, out, err = run(self.module, [tool, "-t", "filter"])
                if code:
                    raise OpeningError("%s failed: %s; run with become: true" % (tool, (err or out).strip()))
                found[ip] = out
        return found

    def read(self, ports):
        folder = next((folder for folder in FOLDERS if os.path.isfile(os.path.join(folder, FILES["v4"]))), None)
        if folder is None:
            raise OpeningError("ufw's rule file %s lies in none of %s; look at the installation of ufw" % (
                FILES["v4"], ", ".join(FOLDERS)))
        self.rules = []
        for ip in self._families():
            self.rules += parse_rules(self._content(os.path.join(folder, FILES[ip])), ip)
        policy = (self._setting(DEFAULTS, "DEFAULT_INPUT_POLICY") or "DROP").upper()
        self.permanent = permanent_reading(self.rules, ports, policy)
        self.saved = self._saved()
        self.runtime = runtime_reading(self.saved, ports)
        if self._families() == ["v4"]:
            # No connection comes in over IPv6 where ufw does not serve it: any IPv4 address is any address.
            for reading in (self.runtime, self.permanent):
                reading.spelled = {opening._replace(source=None) if opening.source == ANY_IPV4 else opening: rules
                                   for opening, rules in reading.spelled.items()}
                reading.exact = set(reading.spelled)
        return self.runtime, self.permanent

    def problems(self, add):
        found = []
        for ip, text in sorted(self.saved.items()):
            if not re.search(r"(?m)^:%s-input " % CHAINS[ip], text):
                found.append("ufw is enabled, but the kernel does not hold its chain %s-input: nothing of it filters; bring it "
                             "back with ufw reload" % CHAINS[ip])
        for opening in in_order(add):
            if opening in self.permanent.exact and opening not in self.runtime.exact and not found:
                found.append("ufw's rule files hold %s, but the kernel does not: one of them was changed by hand; look at ufw "
                             "show added, then run ufw reload" % described(opening))
            for how_much, rule in denying_rules(self.rules, opening):
                verb = "limits" if rule.action == "limit" else "rejects"
                sentence = "ufw %s %s %s by a rule of the site, which stands before a new one: %s" % (
                    verb, "what is to be opened," if how_much == "all" else "a part of what is to be opened,",
                    described(opening), shown(rule))
                # A deny for some hosts is what the site wants; one for all of them makes the opening void.
                kind = found if how_much == "all" else self.notes
                if sentence not in kind:
                    kind.append(sentence)
        return found

    def obstacles(self, add):
        """(failures, notes): what turns `add` away before ufw's own rules are asked, now and after a boot."""
        if not add:
            return [], []
        front = {(TOOLS[ip], CHAINS[ip] + "-input") for ip in TOOLS}
        kernel = KernelFilter(self.module, self.mark)
        files = self._site_files(kernel.unread)
        lines = _lines_of(files)
        if self._families() == ["v4"]:
            add = [opening._replace(source=ANY_IPV4) if opening.source is None else opening for opening in add]
        live = kernel.in_front(in_order(add), front, mine=lambda place: place[-1].startswith(tuple(CHAINS.values())))
        said = {(obstacle.opening, _sense(obstacle.rule)) for obstacle in live if obstacle.rule}
        later = [obstacle for obstacle in _in_front_in_files(files, in_order(add))
                 if (obstacle.opening, _sense(obstacle.rule)) not in said]
        failures, notes = sentences(live + later, "ufw", lambda obstacle: lines.get(obstacle.rule and _sense(obstacle.rule)))
        return failures, notes + kernel.unread

    def _site_files(self, unread):
        """family -> (path, SavedTable) of the files whose rules come before ufw's own; `unread`: takes what can't be read."""
        found = {}
        for ip in self._families():
            path = os.path.join(SITE_FOLDER, BEFORE[ip])
            content = read_if_there(path)
            try:
                if content is not None:
                    # Comments may be in any encoding.
                    found[ip] = path, iptables_rules.SavedTable(content.decode("latin-1"), TOOLS[ip], 4 if ip == "v4" else 6)
            except OpeningError as err:
                unread.append("%s could not be looked at: %s" % (path, err))
        return found

    def spelling(self, opening):
        """half -> the rules that make the opening; the kernel's follow from those of the files."""
        comment = binascii.hexlify(("portshift %s" % self.mark).encode("utf-8")).decode("ascii")
        found = []
        for ip in self._families():
            if opening.source is None or "v%d" % family(opening.source) == ip:
                found.append("%s 0 allow %s %d %s any %s in comment=%s" % (
                    ip, opening.protocol, opening.port, ANY_ADDRESS[ip], opening.source or ANY_ADDRESS[ip], comment))
        if not found:
            raise OpeningError("%s can't be opened: %s" % (described(opening), self.unserved()[family(opening.source)]))
        return dict(permanent=found)

    def calls(self, additions, removals):
        """The module runs that take `removals` away and put `additions` there; both half -> rules."""
        present = {ip: [rule for rule in self.rules if rule.family == ip] for ip in FILES}
        counts = {ip: max([rule.place for rule in present[ip]] or [0]) for ip in FILES}
        found = []
        for both, rule in _paired(sorted(from_raw(text) for text in removals.get("permanent", []))):
            found.append(_call(rule, both, delete=True))
            for ip in FILES if both else [rule.family]:
                counts[ip] -= 1
        # First come the lower places: each then goes back between the neighbours that it had.
        for both, rule in _paired(sorted((from_raw(text) for text in additions.get("permanent", [])),
                                         key=lambda rule: (rule.place == 0, rule.place, rule.family)), placed=False):
            arguments = {}
            if 0 < rule.place <= counts[rule.family]:
                arguments["insert"] = rule.place + (counts["v4"] if rule.family == "v6" else 0)
            for ip in FILES if both else [rule.family]:
                counts[ip] += 1
            found.append(_call(rule, both, **arguments))
        return found

    @staticmethod
    def key(rule):
        """The same for rules that ufw takes for one: neither place nor comment counts."""
        parsed = from_raw(rule)
        return "%s %s" % (parsed.family, re.sub(r" comment=[0-9a-f]*\Z", "", parsed.text))

    def predicted(self, additions, removals):
        """half -> (lines that come, lines that go) in Reading.lines."""
        def lines(rules):
            parsed = [from_raw(text) for text in rules.get("permanent", [])]
            return [line for rule in parsed for line in kernel_lines(rule)], [shown(rule) for rule in parsed]

        come, go = lines(additions), lines(removals)
        return dict(runtime=(come[0], go[0]), permanent=(come[1], go[1]))

    def can_write(self, rule):
        """Whether calls() can put right a difference in Reading.whole."""
        return False

    def change(self, add, remove):
        unused, permanent = self.read({opening.port for opening in list(add) + list(remove)})
        return self.calls(
            dict(permanent=[rule for opening in in_order(add) if opening not in permanent.exact
                            for rule in self.spelling(opening)["permanent"]]),
            dict(permanent=sorted({rule for opening in remove for rule in permanent.spelled.get(opening, [])})))


def _lines_of(files):
    """sense of a rule -> the line of a file of Ufw._site_files() that says it."""
    found = {}
    for path, table in files.values():
        for rule in [rule for chain in table.chains.values() for rule in chain.rules]:
            number = table.text.count("\n", 0, table.lines[(rule.place, rule.number)][0]) + 1
            found.setdefault(_sense(rule), "%s, line %d: %s" % (path, number, rule.text))
    return found


def _in_front_in_files(files, openings):
    """The Obstacles of the next boot in the files of Ufw._site_files()."""
    found, addresses = [], own_addresses()
    for ip, (_path, table) in sorted(files.items()):
        before = CHAINS[ip].replace("user", "before")
        for name in ("INPUT", before + "-logging-input", before + "-input"):
            base = table.built_in(name)
            survey = base and Survey(table.chains, base, {opening.port for opening in openings}, Scene(None, addresses))
            found += [Obstacle(how_much, opening, rule.place, rule) for opening in openings if survey
                      for how_much, rule in survey.in_front(opening) if rule]
    return found


def _sense(rule):
    """The same for one rule in a file of iptables-restore and in the kernel."""
    return rule.place, rule.condition, rule.verdict


def _paired(rules, placed=True):
    """(whether it stands for both families, rule): a rule for any address and its twin of the other family are one command."""
    rules, found = list(rules), []
    while rules:
        rule = rules.pop(0)
        twin = next((other for other in rules if _twins(rule, other) and (placed or rule.place == other.place == 0)), None)
        if twin:
            rules.remove(twin)
        found.append((bool(twin), rule))
    return found


def _twins(rule, other):
    def common(one):
        return (one.action, one.log, one.protocol, one.ports, one.source_ports, one.direction, one.interface, one.comment)

    return rule.family != other.family and common(rule) == common(other) and all(
        one.source == one.destination == ANY_ADDRESS[one.family] for one in (rule, other))


def _call(rule, both, **arguments):
    arguments.update(rule=rule.action, to_port=rule.ports)
    if rule.protocol != "any":
        arguments["proto"] = rule.protocol
    if not both:
        # An address of the family, or ufw would take the rule for both.
        arguments.update(from_ip=rule.source, to_ip=rule.destination)
    if rule.log:
        arguments["log"] = True
    if rule.comment and not arguments.get("delete"):
        arguments["comment"] = rule.comment
    return dict(module="community.general.ufw", args=arguments)
