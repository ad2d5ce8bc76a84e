# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Openings in firewalld: what its zones say, read with firewall-cmd; changed by ansible.posix.firewalld.

A rule is written as V(ZONE: port 55000/tcp) or V(ZONE: rich-rule rule family=...), which firewalld's own tools print too.
"""

import os
import re
import shlex
from xml.etree import ElementTree

from ansible_collections.portshift.agents.plugins.module_utils._core.host_commands import run
from ansible_collections.portshift.agents.plugins.module_utils._host_port.kernel_filter import KernelFilter, links, sentences
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    ANY_IPV4, ANY_IPV6, PROTOCOLS, Opening, OpeningError, Reading, denies, described, family, in_order, join_families,
    normalised)

SERVICE_FOLDERS = ("/etc/firewalld/services", "/usr/lib/firewalld/services")
CONFIGURATION = "/etc/firewalld/firewalld.conf"
HALVES = ("runtime", "permanent")
# Its name on the bus, which is its interface too, and its object there.
BUS, OBJECT = "org.fedoraproject.FirewallD1", "/org/fedoraproject/FirewallD1"
# What busctl prints of an answer that is one name or one truth value.
_NAME = re.compile(r's "([^"\\\s]+)"\s*\Z')
_TRUTH = re.compile(r"b (true|false)\s*\Z")

# What firewall-cmd --list-all-zones prints, and the kind that such an entry is here.
_KINDS = {"ports": "port", "protocols": "protocol", "services": "service", "sources": "source", "source-ports": "source-port",
          "icmp-blocks": "icmp-block"}
# What ansible.posix.firewalld can put right: kind -> its option.
_OPTIONS = {"port": "port", "protocol": "protocol", "service": "service", "rich-rule": "rich_rule"}
_ELEMENTS = ("source", "destination", "port", "protocol", "service", "icmp-block", "icmp-type", "masquerade", "forward-port",
             "source-port", "tcp-mss-clamp", "log", "nflog", "audit", "accept", "reject", "drop", "mark")
_DENYING = ("reject", "drop")


class Zone:
    """One zone as firewall-cmd prints it."""

    def __init__(self, name, flags):
        self.name, self.flags, self.fields, self.rich_rules = name, flags, {}, []

    def words(self, key):
        return self.fields.get(key, "").split()

    def rules(self):
        """(kind, value) of everything in it but its interfaces, which come and go with the links."""
        found = [("rich-rule", rule) for rule in self.rich_rules]
        for key, text in self.fields.items():
            if key in _KINDS:
                found += [(_KINDS[key], word) for word in text.split()]
            elif key != "interfaces" and text:
                found.append((key, text))
        return found


def parse_zones(text):
    """name -> Zone, from C(firewall-cmd --list-all-zones)."""
    zones, zone, key = {}, None, None
    for line in text.splitlines():
        if not line.strip():
            continue
        if not line[0].isspace():
            match = re.match(r"(\S+)(?: \((.*)\))?\s*\Z", line)
            if not match:
                raise OpeningError("firewall-cmd --list-all-zones printed a line that is not understood: %r" % line)
            zone = zones[match.group(1)] = Zone(match.group(1), (match.group(2) or "").split(", "))
            continue
        field = re.match(r"  ([a-z-][a-z -]*):(.*)\Z", line)
        if zone is None:
            raise OpeningError("firewall-cmd --list-all-zones printed a line outside of any zone: %r" % line)
        if field:
            key = field.group(1)
            zone.fields.setdefault(key, "")
        value = field.group(2).strip() if field else line.strip()
        if key == "rich rules":
            # Inline in some versions, a line each in others.
            zone.rich_rules += [value] if value else []
        elif value:
            zone.fields[key] = (zone.fields[key] + " " + value).strip()
    for found in zones.values():
        found.fields.pop("rich rules", None)
    return zones


def parse_rich_rule(text):
    """element -> its attributes; the rule's own ones stand under V(rule)."""
    found, element = {"rule": {}}, "rule"
    for word in shlex.split(text)[1:]:
        if word in _ELEMENTS:
            element = word
            found[element] = {}
        elif word in ("NOT", "not"):
            found[element]["invert"] = "True"
        elif word == "limit":
            element = "%s limit" % element
            found[element] = {}
        elif "=" in word:
            key, value = word.split("=", 1)
            found[element][key] = value
    return found


def parse_range(text):
    """(first, last) of V(55000) or V(55000-55010)."""
    first, unused, last = text.partition("-")
    return int(first), int(last or first)


def _overlap(span, ports):
    return [port for port in ports if span[0] <= port <= span[1]]


def without(spans, ports):
    """The spans, joined where they touch, less `ports`."""
    joined = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(last, joined[-1][1])
        else:
            joined.append([first, last])
    for port in ports:
        joined = [part for first, last in joined for part in (
            [[first, port - 1], [port + 1, last]] if first <= port <= last else [[first, last]]) if part[0] <= part[1]]
    return [tuple(span) for span in joined]


def _shown(span):
    return "%d-%d" % span if span[0] != span[1] else "%d" % span[0]


class ZoneReader:
    """What one zone says about `ports`.  `service_ports`: name of a service -> [(protocol, (first, last))]."""

    def __init__(self, zone, ports, service_ports):
        self.zone, self.ports, self.service_ports = zone, sorted(ports), service_ports
        self.spelled, self.covered, self.wider, self.lines, self.rest, self.about = {}, set(), [], [], [], {}

    def admits_more(self, rule, pairs):
        """Notes that `rule`, one of the rest, admits ports asked about beside others."""
        self.about.setdefault("%s: %s" % (self.zone.name, rule), set()).update(pairs)

    def note(self, rule):
        self.lines.append("%s: %s" % (self.zone.name, rule))

    def admit(self, protocol, span, source, rule):
        """An accept of `span` by `rule`: exact where the span holds nothing but ports asked about."""
        hit = _overlap(span, self.ports)
        openings = [Opening(protocol, port, source) for port in hit]
        if len(hit) == span[1] - span[0] + 1:
            for opening in openings:
                self.spelled.setdefault(opening, []).append("%s: %s" % (self.zone.name, rule))
            return True
        self.wider.append("zone %s admits %s %s from %s, which holds %s" % (
            self.zone.name, protocol, _shown(span), source or "any address", ", ".join(map(str, hit))))
        return False

    def read_ports(self):
        spans = {}
        for word in self.zone.words("ports"):
            number, unused, protocol = word.partition("/")
            span = parse_range(number)
            spans.setdefault(protocol, []).append(span)
            if protocol not in PROTOCOLS or not _overlap(span, self.ports):
                continue
            self.note("port " + word)
            if not self.admit(protocol, span, None, "port " + word):
                # firewalld answers ALREADY_ENABLED to an attempt to add a port of a range.
                self.covered |= {Opening(protocol, port, None) for port in _overlap(span, self.ports)}
                for part in without([span], self.ports):
                    self.admits_more("port %s/%s" % (_shown(part), protocol), [
                        (protocol, port) for port in _overlap(span, self.ports)])
        for protocol, found in spans.items():
            self.rest += ["port %s/%s" % (_shown(span), protocol) for span in without(found, self.ports)]

    def read_services(self):
        for name in self.zone.words("services"):
            for protocol, span in self.service_ports(name):
                hit = _overlap(span, self.ports)
                if hit and protocol in PROTOCOLS:
                    self.note("service %s (%s/%s)" % (name, _shown(span), protocol))
                    self.admits_more("service " + name, [(protocol, port) for port in hit])
                    self.wider.append("zone %s admits the service %s, which holds %s %s" % (
                        self.zone.name, name, protocol, ", ".join(map(str, hit))))

    def read_rich_rule(self, text):
        rule = parse_rich_rule(text)
        spans = spans_of(rule, self.service_ports)
        concerned = [(protocol, span) for protocol, span in spans if _overlap(span, self.ports)]
        if spans and not concerned:
            self.rest.append("rich-rule " + text)
            return
        if concerned or "accept" in rule:
            if set(rule) & {"port", "service", "protocol", "accept"} and concerned:
                self.note("rich-rule " + text)
        exact = False
        if "accept" in rule and "port" in rule and concerned:
            source, plain = source_of(rule)
            plain = plain and not set(rule) & {"destination", "accept limit"}
            if plain:
                exact = self.admit(concerned[0][0], concerned[0][1], source, "rich-rule " + text)
            else:
                self.wider.append("zone %s holds a rule that admits the port under conditions of its own: %s" % (
                    self.zone.name, text))
        elif "accept" in rule and (concerned or not set(rule) & {"icmp-type", "icmp-block", "source-port"}):
            self.wider.append("zone %s holds a rule that admits more than the port: %s" % (self.zone.name, text))
        if not exact:
            self.rest.append("rich-rule " + text)
            if "accept" in rule:
                self.admits_more("rich-rule " + text, [(protocol, port) for protocol, span in concerned
                                                       for port in _overlap(span, self.ports)])

    def reading(self):
        self.read_ports()
        self.read_services()
        for kind, value in self.zone.rules():
            if kind == "rich-rule":
                self.read_rich_rule(value)
            elif kind == "protocol" and value in PROTOCOLS:
                self.note("protocol " + value)
                self.admits_more("protocol " + value, [(value, port) for port in self.ports])
                self.wider.append("zone %s admits all of %s" % (self.zone.name, value))
        if self.zone.fields.get("target") == "ACCEPT":
            self.note("target ACCEPT")
            self.wider.append("zone %s admits everything (target ACCEPT)" % self.zone.name)
        self.rest += ["%s %s" % (kind, value) for kind, value in self.zone.rules() if kind not in ("port", "rich-rule")]
        spelled = join_families(self.spelled)
        return Reading(self.lines, spelled, self.wider, frozenset("%s: %s" % (self.zone.name, rule) for rule in self.rest),
                       {opening for opening in self.covered if opening not in spelled}, spelled,
                       {rule: pairs for rule, pairs in self.about.items() if pairs})


def spans_of(rule, service_ports):
    """[(protocol, (first, last))] that a parsed rich rule is about; empty where it names no port at all."""
    if "port" in rule:
        return [(rule["port"].get("protocol"), parse_range(rule["port"].get("port", "0")))]
    if "service" in rule:
        return service_ports(rule["service"].get("name", ""))
    if rule.get("protocol", {}).get("value") in PROTOCOLS:
        return [(rule["protocol"]["value"], (1, 65535))]
    return []


def source_of(rule):
    """(source, whether it is a plain address or none) of a parsed rich rule."""
    source, ip = rule.get("source", {}), rule["rule"].get("family")
    any_address = {"ipv4": ANY_IPV4, "ipv6": ANY_IPV6}.get(ip)
    if "source" not in rule:
        return any_address, True
    if "invert" in source or "address" not in source:
        return any_address, False
    return normalised(source["address"]), True


def _parts(rule):
    """(kind, value) of a rule written as V(ZONE: KIND VALUE)."""
    kind, unused, value = rule.partition(": ")[2].partition(" ")
    return kind, value


def comes_and_goes(rule):
    """Whether a rule of the running half is of the kinds that guards such as fail2ban put there and take away any time."""
    kind, value = _parts(rule)
    return kind == "source" or kind == "rich-rule" and bool(set(parse_rich_rule(value)) & set(_DENYING))


def admits(rule):
    """Whether a rule lets traffic in that would not come in without it."""
    kind, value = _parts(rule)
    return kind in _OPTIONS and (kind != "rich-rule" or "accept" in parse_rich_rule(value))


def denying_policies(policies, zone, opening, service_ports):
    """[(how much, policy, rule)] of what the policies before a zone turn away of an opening in it; rule None: the target.

    In the order in which firewalld asks them, up to the first that admits it.
    """
    found = []
    for policy in sorted(policies.values(), key=lambda policy: (int(policy.fields.get("priority") or -1), policy.name)):
        concerned = set(policy.words("ingress-zones")) & {"ANY", zone} and set(policy.words("egress-zones")) & {"ANY", "HOST"}
        if not concerned or int(policy.fields.get("priority") or -1) >= 0:
            continue
        denied = [(how_much, policy.name, text) for how_much, text in denying_rules(policy, opening, service_ports)]
        found += denied
        if any(how_much == "all" for how_much, _name, _text in denied):
            break
        reading = ZoneReader(policy, [opening.port], service_ports).reading()
        admitted = {opening, opening._replace(source=None)} & (reading.exact | reading.covered)
        if admitted or policy.fields.get("target") == "ACCEPT":
            break
        if policy.fields.get("target") in ("DROP", "REJECT"):
            found.append(("all", policy.name, None))
            break
    return found


def denying_rules(zone, opening, service_ports):
    """(how much, rule) of the zone's own rules that reject what `opening` admits; firewalld asks them first."""
    found = []
    for text in zone.rich_rules:
        rule = parse_rich_rule(text)
        if not set(rule) & set(_DENYING) or int(rule["rule"].get("priority", "0")) > 0:
            continue
        spans = spans_of(rule, service_ports)
        if not spans and set(rule) & {"icmp-type", "icmp-block", "source-port", "forward-port", "masquerade"}:
            continue
        if spans and not any(protocol == opening.protocol and span[0] <= opening.port <= span[1] for protocol, span in spans):
            continue
        source, plain = source_of(rule)
        how_much = denies(source, opening) if plain else "part"
        if how_much:
            found.append(("part" if "destination" in rule else how_much, text))
    return found


class Firewalld:
    """firewalld on this host; see Reading for what it reads."""

    name = "firewalld"
    precise = True
    # Its two halves are changed each on its own.
    separate = True

    def __init__(self, module, mark, zone=None):
        self.module, self.mark, self.zone = module, mark, zone
        self.zones, self.default, self.notes, self.stopped = {}, None, [], False

    def run(self, *arguments):
        return run(self.module, ["firewall-cmd"] + list(arguments))

    def said(self, *arguments):
        code, out, err = self.run(*arguments)
        if code:
            raise OpeningError("firewall-cmd %s failed: %s; look at systemctl status firewalld, and run with become: true" % (
                " ".join(arguments), (err or out).strip() or "exit status %d" % code))
        return out

    def _on_the_bus(self, method, form):
        """What the daemon answers to a question without arguments; None where the bus does not tell it in this form.

        firewall-cmd, which asks the same, takes most of its time to start.  It has the last word where the bus tells nothing.
        """
        if not self.module.get_bin_path("busctl"):
            return None
        code, out, unused = run(self.module, ["busctl", "--system", "--auto-start=no", "call", BUS, OBJECT, BUS, method])
        match = None if code else form.match(out)
        return match and match.group(1)

    def active(self):
        """The daemon answers.  Its configuration alone filters nothing."""
        if self.default is None and self.module.get_bin_path("firewall-cmd"):
            self.default = self._on_the_bus("getDefaultZone", _NAME)
            if self.default is None:
                code, out, unused = self.run("--get-default-zone")
                self.default = out.strip() if not code else None
        return bool(self.default)

    def _panics(self):
        said = self._on_the_bus("queryPanicMode", _TRUTH)
        return self.run("--query-panic")[0] == 0 if said is None else said == "true"

    def while_stopped(self):
        """From now on the files are read, which are all that there is of it while its daemon does not run."""
        self.stopped = True

    def why_inactive(self):
        return ("firewalld was asked for, but its daemon does not answer on this host; start it (systemctl start firewalld), "
                "or name the backend that filters here")

    def service_ports(self, name, seen=()):
        """What a service stands for, out of its file; the site's own one wins."""
        for folder in SERVICE_FOLDERS:
            path = os.path.join(folder, name + ".xml")
            if os.path.isfile(path):
                break
        else:
            return []
        try:
            root = ElementTree.parse(path).getroot()
            found = [(entry.get("protocol"), parse_range(entry.get("port"))) for entry in root.findall("port")
                     if entry.get("port")]
        except (ElementTree.ParseError, ValueError, OSError) as err:
            raise OpeningError("%s: is not a service of firewalld that can be read (%s); mend it" % (path, err))
        for entry in root.findall("include"):
            if entry.get("service") not in seen + (name,):
                found += self.service_ports(entry.get("service"), seen + (name,))
        return found

    def _files(self, *arguments):
        code, out, err = run(self.module, ["firewall-offline-cmd"] + list(arguments))
        if code:
            raise OpeningError("its daemon does not answer, and firewall-offline-cmd %s failed: %s" % (
                " ".join(arguments), (err or out).strip() or "exit status %d" % code))
        return out

    def _list(self):
        if self.stopped:
            zones = parse_zones(self._files("--list-all-zones"))
            self.zones = dict(runtime={name: Zone(name, []) for name in zones}, permanent=zones)
            self.zone = self.zone or self._files("--get-default-zone").strip()
        else:
            self._list_running()
        for half in HALVES:
            if self.zone not in self.zones[half]:
                raise OpeningError("firewalld has no zone %s in its %s configuration; the zones there are: %s" % (
                    self.zone, half, ", ".join(sorted(self.zones[half]))))

    def _list_running(self):
        self.zones = dict(runtime=parse_zones(self.said("--list-all-zones")),
                          permanent=parse_zones(self.said("--permanent", "--list-all-zones")))
        self.zone = self.zone or self.default or self.said("--get-default-zone").strip()

    def read(self, ports):
        self._list()
        readings = []
        for half in HALVES:
            reading = ZoneReader(self.zones[half][self.zone], ports, self.service_ports).reading()
            reading.whole |= {"%s: %s %s" % (zone.name, kind, value) for zone in self.zones[half].values()
                              for kind, value in zone.rules() if zone.name != self.zone}
            if half == "runtime":
                reading.whole = frozenset(rule for rule in reading.whole if not comes_and_goes(rule))
            readings.append(reading)
        self.notes = [] if self.stopped else self._zone_notes()
        return tuple(readings)

    def _zone_notes(self):
        zones = self.zones["runtime"]
        chosen, notes = zones[self.zone], []
        assigned = {link for zone in zones.values() for link in zone.words("interfaces")}
        links = set(os.listdir("/sys/class/net")) - {"lo"} if os.path.isdir("/sys/class/net") else set()
        leads_there = chosen.words("interfaces") or chosen.words("sources") or (
            self.zone == self.default and links - assigned)
        if not leads_there:
            notes.append("zone %s of firewalld has no interface and no source, so a port that is opened there admits no source"
                         % self.zone)
        others = ["%s (%s)" % (zone.name, ", ".join(zone.words("interfaces") + zone.words("sources")))
                  for zone in zones.values()
                  if zone.name != self.zone and (zone.words("interfaces") or zone.words("sources"))]
        if others:
            notes.append("only zone %s of firewalld is looked at; traffic that comes in by other zones is not concerned: %s" % (
                self.zone, "; ".join(sorted(others))))
        if self.default not in (None, self.zone) and links - assigned:
            notes.append("the interfaces %s belong to the default zone %s, not to zone %s" % (
                ", ".join(sorted(links - assigned)), self.default, self.zone))
        return notes

    def problems(self, add):
        found = []
        if self._panics():
            found.append("firewalld is in panic mode and drops everything; end it with firewall-cmd --panic-off")
        if self._lost_by_kernel():
            found.append("firewalld runs, but the kernel does not hold its rules: they were flushed; bring them back with "
                         "firewall-cmd --reload")
        for opening in in_order(add):
            for half in HALVES:
                for how_much, text in denying_rules(self.zones[half][self.zone], opening, self.service_ports):
                    sentence = "zone %s rejects %s %s by a rule of the site (%s), which wins over an opening: %s" % (
                        self.zone, "what is to be opened," if how_much == "all" else "a part of what is to be opened,",
                        described(opening), half, text)
                    # A deny for some hosts is what the site wants; one for all of them makes the opening void.
                    kind = found if how_much == "all" else self.notes
                    if sentence not in kind:
                        kind.append(sentence)
        return found

    def obstacles(self, add):
        """(failures, notes): what turns `add` away before the zone is asked, by firewalld's policies or by rules of others."""
        if self.stopped or not add:
            return [], []
        failures, notes, named = [], [], set()
        for half in HALVES:
            policies = self._policies(half)
            for opening in in_order(add):
                for how_much, policy, text in denying_policies(policies, self.zone, opening, self.service_ports):
                    named.add(policy)
                    sentence = 'policy "%s" of firewalld rejects %s %s, before the zone %s is asked (%s): %s' % (
                        policy, "what is to be opened," if how_much == "all" else "a part of what is to be opened,",
                        described(opening), self.zone, half, text or "its target is %s" % policies[policy].fields["target"])
                    (failures if how_much == "all" else notes).append(sentence)
        kernel = KernelFilter(self.module, self.mark)
        found = kernel.in_front(
            in_order(add), [(tool, "IN_%s_allow" % self.zone) for tool in ("iptables", "ip6tables")] +
            [(ip, "firewalld", "filter_IN_%s_allow" % self.zone) for ip in ("inet", "ip", "ip6")], self._cases(), self._is_own)
        more = sentences([obstacle for obstacle in found if self._policy_of(obstacle.place) not in named],
                         "zone %s of firewalld" % self.zone, self._name_of)
        return failures + more[0], notes + more[1] + kernel.unread

    def _policies(self, half):
        """name -> policy, which reads like a zone; none before firewalld 0.9."""
        code, out, unused = self.run(*(["--permanent"] if half == "permanent" else []) + ["--list-all-policies"])
        return {} if code else parse_zones(out)

    def _cases(self):
        """(interface, network) by which connections come to the zone; a list of networks that is kept elsewhere is none."""
        zones = self.zones["runtime"]
        chosen = zones[self.zone]
        found = chosen.words("interfaces")
        if self.zone == self.default:
            found += sorted(set(links()) - {link for zone in zones.values() for link in zone.words("interfaces")})
        networks = [word for word in chosen.words("sources") if re.match(r"[0-9a-fA-F.:/]+\Z", word) and word.count(":") != 5]
        return [(link, None) for link in found] + [(None, network) for network in networks]

    def _policy_of(self, place):
        """The policy that a chain of the kernel's belongs to, or None."""
        match = re.match(r"filter_IN_policy_(.+?)(_pre|_log|_deny|_allow|_post)?\Z", place[-1])
        if not match and place[0] in ("iptables", "ip6tables"):
            match = re.match(r"IN_(.+?)(_pre|_log|_deny|_allow|_post)?\Z", place[-1])
            return match.group(1) if match and match.group(1) not in self.zones["runtime"] else None
        return match.group(1) if match else None

    def _is_own(self, place):
        """Whether a chain of the kernel's is made of a zone, whose rules are read as firewalld prints them."""
        if self._policy_of(place):
            return False
        return place[1] == "firewalld" or place[0] in ("iptables", "ip6tables") and place[1].startswith("IN_")

    def _name_of(self, obstacle):
        policy = self._policy_of(obstacle.place)
        return policy and 'policy "%s" of firewalld (%s): %s' % (
            policy, " ".join(obstacle.place), obstacle.rule.text if obstacle.rule else "")

    def _lost_by_kernel(self):
        if not self.module.get_bin_path("nft"):
            return False
        try:
            with open(CONFIGURATION) as source:
                backend = re.search(r"(?m)^\s*FirewallBackend\s*=\s*(\S+)", source.read())
        except OSError:
            return False
        if not backend or backend.group(1) != "nftables":
            return False
        code, out, unused = run(self.module, ["nft", "list", "tables"])
        return not code and not re.search(r"(?m)^table inet firewalld$", out)

    def spelling(self, opening):
        """half -> the rules that make the opening, in the spelling in which firewalld will print them."""
        if opening.source is None:
            rule = "port %d/%s" % (opening.port, opening.protocol)
        else:
            source = "" if opening.source in (ANY_IPV4, ANY_IPV6) else ' source address="%s"' % opening.source
            rule = 'rich-rule rule family="ipv%d"%s port port="%d" protocol="%s" accept' % (
                family(opening.source), source, opening.port, opening.protocol)
        return {half: ["%s: %s" % (self.zone, rule)] for half in HALVES}

    def calls(self, additions, removals):
        """The module runs that take `removals` away and put `additions` there; both half -> rules.

        While firewalld is stopped its files are changed here, and nothing is left to run.
        """
        found = []
        for state, rules in (("disabled", removals), ("enabled", additions)):
            halves = {}
            for half in HALVES:
                for rule in rules.get(half, []):
                    halves.setdefault(rule, set()).add(half)
            if self.stopped:
                self._change_files(state, sorted(rules.get("permanent", [])))
            else:
                found += [self._call(rule, state, chosen) for rule, chosen in sorted(halves.items())]
        return found

    def _change_files(self, state, rules):
        # Without a daemon ansible.posix.firewalld writes zones that have lost what it does not know, such as "forward".
        for rule in rules if not self.module.check_mode else []:
            kind, value = _parts(rule)
            self._files("--zone=" + self.zone_of(rule), "--%s-%s=%s" % ("add" if state == "enabled" else "remove", kind, value))

    def _call(self, rule, state, halves):
        zone, unused, rest = rule.partition(": ")
        kind, unused, value = rest.partition(" ")
        return dict(module="ansible.posix.firewalld", args={
            "zone": zone, _OPTIONS[kind]: value, "state": state, "permanent": "permanent" in halves,
            "immediate": "runtime" in halves})

    @staticmethod
    def zone_of(rule):
        return rule.partition(": ")[0]

    @staticmethod
    def key(rule):
        """The same for rules that firewalld takes for one."""
        return rule

    def predicted(self, additions, removals):
        """half -> (lines that come, lines that go) in Reading.lines."""
        return {half: (additions.get(half, []), removals.get(half, [])) for half in HALVES}

    def can_write(self, rule):
        """Whether calls() is to put right a difference in Reading.whole; who denies something has reasons of their own."""
        return admits(rule)

    def change(self, add, remove):
        readings = dict(zip(HALVES, self.read({opening.port for opening in list(add) + list(remove)})))
        additions = {half: [rule for opening in in_order(add) if opening not in readings[half].exact
                            for rule in self.spelling(opening)[half]] for half in HALVES}
        removals = {half: sorted({rule for opening in remove for rule in readings[half].spelled.get(opening, [])})
                    for half in HALVES}
        return self.calls(additions, removals)
