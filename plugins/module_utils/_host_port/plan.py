# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Linux host needs for a port to be usable: an opening in its firewall, the port kept free, and a type in SELinux.

A change goes in steps.  V(change) reads, plans, writes the record ahead and changes what this module changes itself; what
other modules change is handed back as calls.  V(verify) reads all again, compares it with what was asked and with the
picture from before; where what these calls can have caused differs it hands back the calls that undo the change.  V(undone)
looks whether they did.  The lease of the host is held from the first look to the last one; what differs beside that is the
work of others, which stays and is told.
"""

import collections
import json
import os
import re
import socket

from ansible_collections.portshift.agents.plugins.module_utils._host_port import port_reservation, selinux_ports
from ansible_collections.portshift.agents.plugins.module_utils._bridge.rules import NAME
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    make_folder, read_own, remove_file, write_own)
from ansible_collections.portshift.agents.plugins.module_utils._core.host_commands import run
from ansible_collections.portshift.agents.plugins.module_utils._network.host_lease import HostLease, holder_beside
from ansible_collections.portshift.agents.plugins.module_utils._network.lease_options import LEASE_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    ANY_IPV4, ANY_IPV6, OpeningError, Reading, described, family, from_plain, holds, in_order, listed, parse_openings,
    settled, to_plain)

HALVES = ("runtime", "permanent")
VERSION = 1
# Seconds that the lease of the host lasts: for the module itself, and for each run of another one that follows.
OWN_SECONDS, CALL_SECONDS = 300, 60
# Seconds that the first step waits for another holder: then the control node looks whether that one has ended.
SOON = 5
# Of a rule that others changed meanwhile, as many are named.
MOST_NAMED = 8
# The states that take something back -> the lists of the record that they do it for.
RESTORING = dict(restored=("added", "removed", "reserved", "selinux"), reopened=("removed",))
RECORD = "/var/lib/portshift/%s.host_port.json"
# The firewalls of backend_class(), and none.
BACKENDS = ("firewalld", "ufw", "nftables", "iptables", "none")
# What stands before the kernel's packet filter, and the command without which it isn't there.
FRONTS = (("firewalld", "firewall-cmd"), ("ufw", "ufw"))

# Options of a module that opens ports, but for what it does with them.
HOST_PORT_SPEC = dict(
    name=dict(type="str", required=True),
    openings=dict(type="list", elements="dict", options=dict(
        port=dict(type="int", required=True), protocol=dict(type="str", choices=["tcp", "udp"], default="tcp"),
        sources=dict(type="list", elements="str", default=[]))),
    backend=dict(type="str", choices=["auto", "windows"] + list(BACKENDS), default="auto"),
    zone=dict(type="str"), reserve=dict(type="bool", default=True), selinux_type=dict(type="str"),
    selinux=dict(type="str", choices=["auto", "always", "never"], default="auto"), record=dict(type="path"), **LEASE_SPEC)
STATES = dict(type="str", choices=["open", "closed", "reopened", "restored"], default="open")
# Of a module that only looks, which waits for nothing.
LOOK_SPEC = {option: spec for option, spec in dict(HOST_PORT_SPEC, state=STATES).items() if option != "lease_wait"}


class NoFirewall:
    """Nothing filters here, or nothing is to be asked."""

    name, precise, notes = "none", False, ()

    def read(self, ports):
        return Reading(), Reading()

    def problems(self, add):
        return []

    def change(self, add, remove):
        return []


def backend_class(name):
    """The class of a firewall.

    Imported only where it is asked for: what a module imports the host compiles at each run, and these are half of it.
    """
    if name == "firewalld":
        from ansible_collections.portshift.agents.plugins.module_utils._host_port.firewalld import Firewalld as found
    elif name == "ufw":
        from ansible_collections.portshift.agents.plugins.module_utils._host_port.ufw import Ufw as found
    elif name == "iptables":
        from ansible_collections.portshift.agents.plugins.module_utils._host_port.iptables import Iptables as found
    elif name == "nftables":
        from ansible_collections.portshift.agents.plugins.module_utils._host_port.nftables import Nftables as found
    else:
        found = NoFirewall
    return found


def addresses_of(name):
    """The addresses of a host as this host resolves it."""
    try:
        found = socket.getaddrinfo(name, None, 0, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return sorted({entry[4][0].split("%")[0] for entry in found})


def choose_backend(module, options, name=None):
    """The firewall that filters what comes in, notes, and problems.  `name`: the one that a record names."""
    wanted = name or options["backend"]
    if wanted == "none":
        return NoFirewall(), [], []
    if wanted == "windows":
        # The action plugin of host_port works on Windows hosts, without this.
        raise OpeningError("windows was asked for, but this host has no Windows Firewall; give auto, or none to leave its "
                           "firewall alone")
    mark, zone = options["name"], options.get("zone")
    if wanted != "auto":
        backend = backend_class(wanted)(module, mark, zone)
        if not backend.active():
            raise OpeningError(backend.why_inactive() if hasattr(backend, "why_inactive") else (
                "%s was asked for, but it does not filter what comes in to this host; name the backend that does, or none"
                % wanted))
        return backend, [], []
    fronts = [backend_class(front)(module, mark, zone) for front, tool in FRONTS if module.get_bin_path(tool)]
    fronts = [front for front in fronts if front.active()]
    if len(fronts) > 1:
        return fronts[0], [], ["firewalld and ufw are both active on this host, so that what one admits the other may reject; "
                               "switch one of them off, or name the backend if you know which one filters"]
    if fronts:
        return fronts[0], [], []
    iptables = backend_class("iptables")(module, mark, zone)
    problems = leftovers(module, iptables)
    for backend in (iptables, backend_class("nftables")(module, mark, zone)):
        if backend.active():
            return backend, [], problems
    if problems:
        return NoFirewall(), [], problems
    return NoFirewall(), ["no firewall filters what comes in to this host, so nothing has to be opened in one"], []


def obstacles(backend, openings):
    """(failures, notes) about what turns `openings` away beside the rules that a firewall calls its own."""
    return backend.obstacles(openings) if hasattr(backend, "obstacles") else ([], [])


def leftovers(module, iptables):
    """Sentences about rules of firewalld or ufw that filter on, though neither of them runs here."""
    found = []
    if module.get_bin_path("nft"):
        code, out, unused = run(module, ["nft", "list", "table", "inet", "firewalld"])
        if not code and re.search(r"type filter hook input\b", out) and re.search(r"\b(reject|drop)\b", out):
            found.append("the table inet firewalld filters what comes in to this host, but firewalld does not answer; start it "
                         "(systemctl start firewalld), or take away what it left (nft delete table inet firewalld)")
    for table in iptables.live().values():
        if table.other_front_end and iptables.filters({table.family: table}):
            found.append("%s holds chains of firewalld or ufw that filter what comes in to this host, but neither of them is in "
                         "charge; start the one that is meant to be (systemctl start firewalld, ufw enable), or take its chains "
                         "away" % table.tool)
    return found


def recorded_backend(module, options, name):
    """(the firewall that a record names, whether it does not run), so that what is noted of it can be taken back."""
    if name == "none":
        return NoFirewall(), False
    backend = backend_class(name)(module, options["name"], options.get("zone"))
    if backend.active():
        return backend, False
    if hasattr(backend, "while_stopped"):
        backend.while_stopped()
    return backend, True


class Record:
    """What was changed on this host under one name; written before the change."""

    LISTS = ("added", "removed", "reserved", "selinux")

    def __init__(self, path):
        self.path, self.content, data = path, None, read_own(path)
        if data is not None:
            try:
                self.content = json.loads(data.decode("utf-8"))
                if self.content["version"] != VERSION or not all(isinstance(self.content[key], list) for key in self.LISTS):
                    raise ValueError("version %r" % self.content["version"])
                if self.content["backend"] not in BACKENDS:
                    raise ValueError("backend %r" % self.content["backend"])
            except (ValueError, KeyError, TypeError) as err:
                raise OpeningError("%s: is not a record of host_port that this version reads (%s); move it away if you know "
                                   "that nothing has to be taken back" % (path, err))

    def entries(self, key):
        return list(self.content[key]) if self.content else []

    def save(self, content):
        """Makes the record hold `content`; None, or one with nothing in it, takes it away."""
        if content is None or not any(content[key] for key in self.LISTS):
            remove_file(self.path, False)
            content = None
        elif content != self.content:
            make_folder(os.path.dirname(self.path))
            write_own(self.path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("utf-8"))
        self.content = content

    def merged(self, backend, added, removed, reserved, selinux):
        """The content with a change noted in it.

        What the first change of a rule was decides how it was before: a rule that was taken away and is put there again
        stays one that was there, and the other way round.
        """
        recorded = self.entries("added") + self.entries("removed")
        if recorded and not added and not removed:
            # The firewall stays as it is, so that it does not matter which one filters by now.
            backend_name, known = self.content["backend"], set()
        else:
            self._require_same(backend, recorded)
            backend_name = backend.name
            known = {mark for entry in recorded for mark in marks(backend, entry)}
        content = dict(version=VERSION, backend=backend_name, **{key: self.entries(key) for key in self.LISTS})
        for key, entries in (("added", added), ("removed", removed)):
            for entry in entries:
                entry = dict(entry)
                if "rules" in entry:
                    entry["rules"] = {half: [rule for rule in rules if (half, backend.key(rule)) not in known]
                                      for half, rules in entry["rules"].items()}
                    if not any(entry["rules"].values()):
                        continue
                elif not marks(backend, entry) - known:
                    continue
                content[key].append(entry)
        content["reserved"] = sorted(set(content["reserved"]) | set(reserved))
        known = {(entry["protocol"], entry["port"]) for entry in content["selinux"]}
        content["selinux"] += [entry for entry in selinux if (entry["protocol"], entry["port"]) not in known]
        return content

    def _require_same(self, backend, recorded):
        if recorded and self.content["backend"] != backend.name:
            raise OpeningError("%s: holds changes that were made by %s, but this host filters by %s now; take them back "
                               "(state=restored with that backend running), or move the record away" % (
                                   self.path, self.content["backend"], backend.name))
        zone = recorded_zone(recorded, backend)
        if zone not in (None, getattr(backend, "zone", None)):
            raise OpeningError("%s: holds changes of the zone %s; for openings in the zone %s give another name" % (
                self.path, zone, backend.zone))


def recorded_zone(entries, backend):
    """The zone that a record is about; None where the firewall has none."""
    if not hasattr(backend, "zone_of"):
        return None
    return next((backend.zone_of(rule) for entry in entries for rules in entry.get("rules", {}).values() for rule in rules), None)


def marks(backend, entry):
    """What tells whether an entry is noted already."""
    if "rules" in entry:
        return {(half, backend.key(rule)) for half, rules in entry["rules"].items() for rule in rules}
    return {("opening", from_plain(entry))}


class Plan:
    """What has to change, and why that can't be.  Nothing is changed by making one."""

    def __init__(self, module, options, record):
        self.module, self.options, self.record = module, options, record
        self.asked, self.added, self.removed = [], [], []
        self.left, self.notes, self.problems, self.missing = [], [], [], []
        # Of a firewall that does not run: stopped; its part of the record that has to stay there: kept.
        self.stopped, self.kept = False, False
        # reopened: only what was closed comes back, what was opened stays.
        self.restoring, self.keys = options["state"] in RESTORING, RESTORING.get(options["state"], ())
        if options.get("openings") is not None:
            self.asked = parse_openings(options["openings"], addresses_of)
        self._choose()
        if options["state"] == "open":
            self._leave_unserved()
        self._read()
        dict(open=self._open, closed=self._closed, restored=self._restored, reopened=self._restored)[options["state"]]()
        self.backend.only_ours = self.restoring
        self.left = unique(self.left)
        self.notes = unique(self.notes + list(getattr(self.backend, "notes", ())))
        self._reservation()
        self._selinux()

    def _choose(self):
        if not self.restoring:
            self.backend, notes, problems = choose_backend(self.module, self.options)
            self.notes += notes
            self.problems += problems
            return
        recorded = [entry for key in ("added", "removed") for entry in self.record.entries(key) if self.concerned(key, entry)]
        name = self.record.content["backend"] if recorded else "none"
        # The default zone may be another one by now.
        self.options = dict(self.options, zone=recorded_zone(recorded, backend_class(name)))
        self.backend, self.stopped = recorded_backend(self.module, self.options, name)
        if self.stopped:
            self.notes.append("%s does not filter on this host now; what the record holds of it is taken back for its next start"
                              % name)

    def _leave_unserved(self):
        """Takes out of what was asked the sources of a family that the firewall does not serve, where others remain."""
        unserved = self.backend.unserved() if hasattr(self.backend, "unserved") else {}
        served = {(opening.protocol, opening.port) for opening in self.asked if family(opening.source) not in unserved}
        left_out = [opening for opening in self.asked
                    if family(opening.source) in unserved and (opening.protocol, opening.port) in served]
        self.asked = [opening for opening in self.asked if opening not in left_out]
        self.notes += ["%s was left out: %s" % (described(opening), unserved[family(opening.source)]) for opening in left_out]

    def keep(self, err):
        """Leaves the part of a stopped firewall in the record, so that the rest can be taken back."""
        self.notes = [note for note in self.notes if not note.startswith("%s does not filter" % self.backend.name)]
        self.notes.append("%s does not filter on this host now, and what it keeps for its next start could not be taken back, so "
                          "the record still holds that; run this again when it is mended: %s" % (self.backend.name, err))
        self.kept, self.added, self.removed = True, [], []
        self.backend = NoFirewall()
        self.before = dict(zip(HALVES, self.backend.read(self.ports)))

    def _read(self):
        self.ports = sorted({opening.port for opening in self.asked} | {
            entry["port"] for key in ("added", "removed") for entry in self.record.entries(key) if self.concerned(key, entry)})
        try:
            self.before = dict(zip(HALVES, self.backend.read(self.ports)))
        except EngineError as err:
            if not self.stopped:
                raise
            self.keep(err)

    def _present(self, half):
        """key -> rule of the exact openings that there are."""
        return {self.backend.key(rule): rule for rules in self.before[half].spelled.values() for rule in rules}

    @staticmethod
    def there(opening, reading):
        wider = opening.source in (ANY_IPV4, ANY_IPV6) and opening._replace(source=None)
        found = reading.exact | reading.covered
        return opening in found or bool(wider) and wider in found

    def _open(self):
        self.problems += self.backend.problems(self.asked)
        failures, notes = obstacles(self.backend, self.asked)
        self.problems += failures
        self.notes += notes
        if self.backend.name == "none":
            return
        for opening in self.asked:
            lacking = [half for half in HALVES if not self.there(opening, self.before[half])]
            for half in HALVES:
                if opening in self.before[half].covered:
                    self.notes.append("%s is open already as a part of something wider (%s)" % (described(opening), half))
            if not lacking:
                continue
            self.missing.append("%s is not open in %s (%s)" % (described(opening), self.backend.name, " and ".join(lacking)))
            entry = to_plain(opening)
            if self.backend.precise:
                spelled = self.backend.spelling(opening)
                entry["rules"] = {half: [rule for rule in spelled[half] if self.backend.key(rule) not in self._present(half)]
                                  for half in (lacking if self.backend.separate else spelled)}
                entry["rules"] = {half: rules for half, rules in entry["rules"].items() if rules}
            self.added.append(entry)

    def _closed(self):
        pairs = {(opening.protocol, opening.port) for opening in self.asked}
        found = {half: [opening for opening in in_order(self.before[half].exact)
                        if (opening.protocol, opening.port) in pairs] for half in HALVES}
        for half in HALVES:
            self.left += self.before[half].wider
        for opening in in_order(set(found["runtime"]) | set(found["permanent"])):
            entry = to_plain(opening)
            if self.backend.precise:
                entry["rules"] = self._removable(opening, pairs)
                if not entry["rules"]:
                    continue
            self.removed.append(entry)
            self.missing.append("%s is still open in %s" % (described(opening), self.backend.name))

    def _removable(self, opening, pairs):
        """half -> the rules of an opening that hold nothing but the ports to be closed."""
        rules = {}
        for half in HALVES if self.backend.separate else HALVES[1:]:
            for rule in self.before[half].spelled.get(opening, []):
                others = [other for other, spelled in self.before[half].spelled.items()
                          if rule in spelled and (other.protocol, other.port) not in pairs]
                if others:
                    self.left.append("%s stays open, since its rule opens %s too: %s" % (
                        described(opening), listed(others), rule))
                else:
                    rules.setdefault(half, []).append(rule)
        if not self.backend.separate and not self.before["permanent"].spelled.get(opening):
            self.left.append("%s is open in the kernel, but not by a rule of %s; look for who put it there" % (
                described(opening), self.backend.name))
        return rules

    def concerned(self, key, entry):
        """Whether an entry of the record under `key` is to be taken back now."""
        if key not in self.keys:
            return False
        if key in ("added", "removed"):
            return not self.asked or from_plain(entry) in self.asked
        port = entry if key == "reserved" else entry["port"]
        return not self.asked or port in {opening.port for opening in self.asked}

    def _restored(self):
        """The other way round: what was added goes, what was taken away comes back."""
        for target, key, wanted in ((self.removed, "added", True), (self.added, "removed", False)):
            for entry in self.record.entries(key):
                if not self.concerned(key, entry) or self.kept:
                    continue
                entry, halves = dict(entry), HALVES[1:] if self.stopped else HALVES
                if "rules" in entry:
                    entry["rules"] = {half: [self._present(half).get(self.backend.key(rule), rule) for rule in rules
                                             if (self.backend.key(rule) in self._present(half)) == wanted]
                                      for half, rules in entry["rules"].items() if half in halves}
                    entry["rules"] = {half: rules for half, rules in entry["rules"].items() if rules}
                    concerns = bool(entry["rules"])
                else:
                    concerns = any(self._is_there(from_plain(entry), half, wanted) == wanted for half in halves)
                if concerns:
                    target.append(entry)
                    self.missing.append("%s is %s in %s" % (
                        described(from_plain(entry)), "still open" if wanted else "not open", self.backend.name))

    def _is_there(self, opening, half, ours):
        """Whether the half has an opening; `ours`: by a rule of ours, where that can be told."""
        found = self.before[half]
        return opening in (found.ours if ours and found.ours is not None else found.exact)

    def _reservation(self):
        """The ports to reserve, or to let go."""
        self.reserved = []
        if self.restoring:
            self.reserved = [port for port in self.record.entries("reserved") if self.concerned("reserved", port)]
            self.missing += ["tcp port %d is still reserved" % port for port in self.reserved]
        elif self.options["state"] == "open" and self.options["reserve"]:
            reservation = port_reservation.read(self.module)
            tcp = sorted({opening.port for opening in self.asked if opening.protocol == "tcp"})
            if any(reservation.first and reservation.first <= port <= reservation.last for port in tcp):
                self.notes += reservation.notes + reservation.hidden()
            self.reserved = [port for port in tcp if reservation.needed(port)]
            self.problems += reservation.problems(self.reserved)
            self.missing += ["tcp port %d lies in the range that the kernel hands out (%d-%d) and is not reserved" % (
                port, reservation.first, reservation.last) for port in self.reserved]

    def _selinux(self):
        """The types to give, or to take back."""
        self.selinux = []
        if self.restoring:
            self.selinux = [entry for entry in self.record.entries("selinux") if self.concerned("selinux", entry)]
            self.missing += ["%s port %d still has the type %s in SELinux" % (entry["protocol"], entry["port"], entry["type"])
                             for entry in self.selinux]
        elif self.options["state"] == "open" and self.options["selinux_type"] and selinux_ports.applies(
                self.options["selinux"], selinux_ports.mode()):
            self.selinux = policy_store(self.module, self.options).needed(self.asked, self.options["selinux_type"])
            self.missing += ["%s port %d has not the type %s in SELinux" % (entry["protocol"], entry["port"], entry["type"])
                             for entry in self.selinux]

    @property
    def changed(self):
        return bool(self.added or self.removed or self.reserved or self.selinux)

    def rules_of(self, entries):
        """half -> rules of the entries, each once."""
        found = {}
        for entry in entries:
            for half, rules in entry["rules"].items():
                found[half] = unique(found.get(half, []) + rules)
        return found

    def firewall_calls(self):
        """Changes the firewall where the backend does that itself; else the calls that will."""
        if not self.added and not self.removed:
            return []
        if self.backend.precise:
            return self.backend.calls(self.rules_of(self.added), self.rules_of(self.removed))
        return self.backend.change([from_plain(entry) for entry in self.added], [from_plain(entry) for entry in self.removed])

    def every_call(self):
        # What can't be had fails here, before the firewall is touched.
        others = OtherCalls(self.module, self.options, self.reserved, self.selinux, self.restoring)
        self.notes += others.notes
        try:
            found = self.firewall_calls()
        except EngineError as err:
            if not self.stopped:
                raise
            self.keep(err)
            found = []
        return found + others.made()

    def expected(self, half):
        """The exact openings that the half is to hold afterwards."""
        # Where the kernel's half follows from the files, these decide for both.
        source = half if getattr(self.backend, "separate", False) else "permanent"
        found = set(self.before[half].exact)
        found |= {from_plain(entry) for entry in self.added if not self.backend.precise or source in entry["rules"]}
        for entry in self.removed:
            opening = from_plain(entry)
            if not self.backend.precise:
                # What a rule of the site's opens too stays where only ours are taken back.
                if not self.restoring or opening not in self.before[half].others:
                    found.discard(opening)
            elif not set(self.before[source].spelled.get(opening, [])) - set(entry["rules"].get(source, [])):
                found.discard(opening)
        return found

    def picture(self):
        """What verify() has to know of the time before; plain data."""
        return dict(
            backend=self.backend.name, zone=getattr(self.backend, "zone", None), ports=self.ports,
            stopped=self.stopped,
            whole={half: plain_whole(self.before[half].whole) if half in compared_whole(self.backend) else [] for half in HALVES},
            about={half: plain_about(self.before[half]) if self.backend.precise else {} for half in HALVES},
            admits=[] if self.backend.precise else sorted(self.before["runtime"].admits),
            exact={half: [to_plain(opening) for opening in in_order(self.before[half].exact)] for half in HALVES},
            expected={half: [to_plain(opening) for opening in in_order(self.expected(half))] for half in HALVES},
            spelled={half: [dict(to_plain(opening), rules=rules) for opening, rules in sorted(
                self.before[half].spelled.items(), key=str)] for half in HALVES},
            added=self.added, removed=self.removed, reserved=self.reserved, selinux=self.selinux,
            record=self.record.content, lines=shown_rules(self.before))

    def predicted_rules(self):
        """The lines that will be there, for check mode."""
        lines = {half: list(self.before[half].lines) for half in HALVES}
        if self.backend.precise:
            predicted = self.backend.predicted(self.rules_of(self.added), self.rules_of(self.removed))
        elif hasattr(self.backend, "predicted"):
            predicted = self.backend.predicted([from_plain(entry) for entry in self.added],
                                               [from_plain(entry) for entry in self.removed])
        else:
            come = ["%s (to be added)" % described(from_plain(entry)) for entry in self.added]
            go = [from_plain(entry) for entry in self.removed]
            predicted = {half: (come, [rule for opening in go for rule in self.before[half].spelled.get(opening, [])])
                         for half in HALVES}
        for half, (come, go) in predicted.items():
            lines[half] = [line for line in lines[half] if line not in go] + [line for line in come if line not in lines[half]]
        return sorted("%s: %s" % (half, line) for half in HALVES for line in lines[half])


def policy_store(module, options):
    return selinux_ports.PolicyStore(module, always=options["selinux"] == "always")


def compared_whole(backend):
    """The halves of a firewall in which nothing but the openings may differ after a change."""
    # Where the change was one transaction of ours, a container engine or fail2ban may add live rules of its own any time.
    return HALVES if backend.precise else HALVES[1:]


class OtherCalls:
    """The calls for what is not the firewall's.  What they need is read at once, what they change is changed by made()."""

    def __init__(self, module, options, reserved, selinux, remove):
        self.reserved, self.remove, self.notes = reserved, remove, []
        self.reservation = port_reservation.read(module) if reserved else None
        self.types = self._types(policy_store(module, options), selinux) if selinux else []

    def _types(self, store, entries):
        if not self.remove:
            return store.calls(entries)
        ours = [entry for entry in entries if store.type_of(entry["protocol"], entry["port"]) == entry["type"]]
        self.notes += ["%s port %d has the type %s in SELinux, not %s, which the record says was given to it; it stays" % (
            entry["protocol"], entry["port"], store.type_of(entry["protocol"], entry["port"]), entry["type"])
            for entry in entries if entry not in ours]
        return store.calls(ours, remove=True)

    def made(self):
        return (self.reservation.calls(self.reserved, remove=self.remove) if self.reservation else []) + self.types


def unique(values):
    return list(dict.fromkeys(values))


def plain_whole(whole):
    if isinstance(whole, dict):
        whole = ["%s: %s" % (key, json.dumps(value, sort_keys=True, default=sorted)) for key, value in whole.items()]
    return sorted(str(item) for item in whole)


def plain_about(found):
    """Reading.about as plain data."""
    return {rule: [list(pair) for pair in sorted(pairs)] for rule, pairs in found.about.items()}


def unnumbered(rule):
    """A rule of `whole` without its place among the others, which moves when one before it comes or goes."""
    return re.sub(r"\A(ip6?tables )?\d+ ", r"\1", rule)


def shown_rules(readings):
    return sorted("%s: %s" % (half, line) for half in HALVES for line in readings[half].lines)


def check_options(options):
    if not NAME.match(options["name"]):
        raise OpeningError("name is %r; give 1 to 20 characters a-z, 0-9 and _, a letter first" % options["name"])
    if options["state"] not in RESTORING and not options.get("openings"):
        raise OpeningError("state=%s needs openings: the ports to %s, each with its protocol" % (
            options["state"], "open" if options["state"] == "open" else "close"))


def record_path(options):
    return options.get("record") or RECORD % options["name"]


def outcome(plan, after):
    """What a module returns."""
    before = shown_rules(plan.before)
    return dict(changed=plan.changed, backend=plan.backend.name,
                added=[plain(entry) for entry in plan.added], removed=[plain(entry) for entry in plan.removed],
                left=plan.left, missing=plan.missing, notes=plan.notes, reserved=plan.reserved,
                rules=dict(before=before, after=after))


def plain(entry):
    return {key: entry[key] for key in ("port", "protocol", "sources")}


def change(module):
    """Reads, plans, notes and changes.  Returns the result; with V(calls) and V(picture) where others have to change."""
    options = dict(module.params)
    check_options(options)
    record = Record(record_path(options))
    plan = Plan(module, options, record)
    if plan.problems and not plan.restoring:
        raise OpeningError("nothing was changed: %s" % "; ".join(plan.problems))
    if not plan.changed:
        if plan.restoring and record.content and not module.check_mode:
            record.save(_rest(record.content, plan))
        return outcome(plan, shown_rules(plan.before))
    if module.check_mode:
        # A backend that works by itself then stops before it writes, and fails where it would fail.
        calls = plan.every_call()
        return dict(outcome(plan, plan.predicted_rules()), calls=calls)
    picture = plan.picture()
    if plan.restoring:
        picture["rest"] = _rest(record.content, plan)
    else:
        # Ahead of the change: killed at any moment, the way back is known.
        record.save(record.merged(plan.backend, plan.added, plan.removed, plan.reserved, plan.selinux))
        picture["rest"] = record.content
    trouble = None
    try:
        calls = plan.every_call()
        if plan.kept:
            picture = dict(plan.picture(), rest=_rest(record.content, plan))
        if calls:
            return dict(outcome(plan, shown_rules(plan.before)), calls=calls, picture=picture)
    except EngineError as err:
        trouble = str(err)
    after, notes = settle(module, picture, trouble)
    return dict(outcome(plan, after), notes=unique(plan.notes + notes))


def settle(module, picture, trouble):
    """(rules, notes) after a change that was made at once; where it failed or came out otherwise, it is taken back and an error.
    """
    try:
        done = verify(module, picture, trouble)
        if not done.get("failed"):
            return done["rules"]["after"], done["notes"]
        message = "%s. %s" % (done["msg"], undone(module, picture)["msg"])
    except EngineError as err:
        message = "%s. It could not be read again and taken back (%s), so a person has to look; %s holds what was changed" % (
            trouble or "The change was made", err, record_path(module.params))
    raise OpeningError(message)


def _rest(content, plan):
    """What a record still holds after a restoration."""
    if not content:
        return None
    return dict(content, **{key: [entry for entry in content[key] if not plan.concerned(key, entry) or (
        plan.kept and key in ("added", "removed"))] for key in Record.LISTS})


class Aftermath:
    """What is there after a change, against the picture from before it.

    What the calls of this change can have caused: what they asked for, and what holds that and more, since a module that goes
    wrong does too much.  Where the backend makes the change itself, in one transaction that was tried out before, it is what
    was asked for alone.  All else was changed by others.
    """

    def __init__(self, module, picture):
        self.module, self.picture = module, picture
        options = dict(module.params, zone=picture["zone"] or module.params.get("zone"))
        # Of a firewall that does not run, its files are all that can be as it was asked.
        self.halves = HALVES[1:] if picture.get("stopped") else HALVES
        if picture.get("stopped"):
            self.backend = recorded_backend(module, options, picture["backend"])[0]
        else:
            self.backend = choose_backend(module, options, picture["backend"])[0]
        self.now = dict(zip(HALVES, self.backend.read(picture["ports"])))
        self.asked = [from_plain(entry) for entry in picture["added"] + picture["removed"]]
        self.pairs = {(opening.protocol, opening.port) for opening in self.asked}

    def caused(self, opening):
        """Whether the calls can have opened or closed this."""
        if self.backend.precise:
            return any(holds(opening, asked) for asked in self.asked)
        return any(opening == asked or (asked.source is None and opening.source in (ANY_IPV4, ANY_IPV6) and
                                        holds(opening, asked)) for asked in self.asked)

    def caused_rule(self, rule, about):
        """The same for a rule of Reading.whole; `about`: the reading's, as it is or as plain data."""
        return self.backend.precise and bool(self.pairs & {tuple(pair) for pair in about.get(rule, ())})

    def _openings(self, half, wanted):
        """(lacking, surplus) openings of a half."""
        expected = settled(from_plain(entry) for entry in self.picture[wanted][half])
        # Where an opening is a part of something wider, the firewall may say so instead of naming it.
        now = settled(self.now[half].exact)
        return expected - now - self.now[half].covered, now - expected

    def _whole(self, half):
        """(lost, new) rules of the rest of a half."""
        if half not in compared_whole(self.backend):
            return set(), set()
        whole, before = set(plain_whole(self.now[half].whole)), set(self.picture["whole"][half])
        return before - whole, whole - before

    def _ours(self, half):
        """_whole(), as far as the calls can have caused it."""
        lost, new = self._whole(half)
        return ({rule for rule in lost if self.caused_rule(rule, self.picture["about"].get(half, {}))},
                {rule for rule in new if self.caused_rule(rule, self.now[half].about)})

    def differences(self, wanted):
        """Sentences; `wanted`: the key in the picture of the exact openings that are to be there."""
        found = []
        for half in self.halves:
            lacking, surplus = [in_order(filter(self.caused, openings)) for openings in self._openings(half, wanted)]
            lost, new = self._ours(half)
            for verb, things in (("lacks", [described(opening) for opening in lacking]),
                                 ("holds beyond it", [described(opening) for opening in surplus]),
                                 ("holds rules that were not asked for", sorted(new)),
                                 ("has lost rules that were to stay", sorted(lost))):
                if things:
                    found.append("the %s configuration of %s %s: %s" % (half, self.backend.name, verb, "; ".join(things)))
        if wanted == "expected" and self.module.params["state"] == "open":
            found += obstacles(self.backend, [from_plain(entry) for entry in self.picture["added"]])[0]
        return found + self.elsewhere(wanted == "expected")

    def others(self, wanted="expected"):
        """Sentences about what others changed in the firewall meanwhile."""
        found = {}
        for half in reversed(self.halves):
            lacking, surplus = [[described(opening) for opening in in_order(openings) if not self.caused(opening)]
                                for openings in self._openings(half, wanted)]
            gone, come = self._moved(half)
            if self.backend.precise and not self.backend.separate and found:
                # The kernel's half follows from the files.
                continue
            for verb, things in (("new in", surplus + come), ("gone from", lacking + gone)):
                for thing in things:
                    found.setdefault((verb, thing), []).append(half)
        by_halves = {}
        for (verb, thing), halves in found.items():
            by_halves.setdefault((verb, tuple(sorted(halves, reverse=True))), []).append(thing)
        sentences = []
        for (verb, halves), things in sorted(by_halves.items()):
            more = "; and %d more" % (len(things) - MOST_NAMED) if len(things) > MOST_NAMED else ""
            sentences.append("%s was changed by others meanwhile, which stays: %s its %s configuration: %s%s" % (
                self.backend.name, verb, " and its ".join(halves), "; ".join(things[:MOST_NAMED]), more))
        return sentences

    def _moved(self, half):
        """(gone, come) rules that others took away or made, each list sorted."""
        ours = self._ours(half)
        lost, new = (collections.Counter(map(unnumbered, rules - mine)) for rules, mine in zip(self._whole(half), ours))
        if half == "runtime" and not self.backend.precise:
            before = set(self.picture["admits"])
            lost.update(before - self.now[half].admits)
            new.update(self.now[half].admits - before)
        return sorted((lost - new).elements()), sorted((new - lost).elements())

    def elsewhere(self, done):
        """The same for the ports kept free and for SELinux.  `done`: the change is to be there, else it is to be gone."""
        found, there = [], done != (self.module.params["state"] in RESTORING)
        if self.picture["reserved"]:
            reservation = port_reservation.read(self.module)
            for port in self.picture["reserved"]:
                if reservation.needed(port) if there else reservation.held(port):
                    found.append("tcp port %d is %s for this host's own use, now and after a boot" % (
                        port, "not reserved" if there else "still reserved"))
        if self.picture["selinux"]:
            store = policy_store(self.module, self.module.params)
            for entry in self.picture["selinux"]:
                kind = store.type_of(entry["protocol"], entry["port"])
                if (kind == entry["type"]) != there and entry["previous"] != entry["type"]:
                    found.append("%s port %d has the type %s in SELinux" % (entry["protocol"], entry["port"], kind))
        return found

    def undo(self):
        """The calls that bring back what was there before; a backend that works by itself does it at once."""
        if not self.differences("exact"):
            return []       # a change that has not begun: taking it back would take what was there before
        calls = []
        if self.backend.precise:
            additions, removals = {}, {}
            for half in self.halves if self.backend.separate else HALVES[1:]:
                before = {from_plain(entry): entry["rules"] for entry in self.picture["spelled"][half]}
                lost, new = self._ours(half)
                removals[half] = self._rules_gone(self.now[half].spelled, before, "added", half) + [
                    rule for rule in new if self.backend.can_write(rule)]
                additions[half] = self._rules_gone(before, self.now[half].spelled, "removed", half) + [
                    rule for rule in lost if self.backend.can_write(rule)]
            calls += self.backend.calls(additions, removals)
        elif self.picture["added"] or self.picture["removed"]:
            # What a restoration had brought back is the site's, and goes again.
            self.backend.only_ours = self.module.params["state"] == "open"
            self.backend.change([from_plain(entry) for entry in self.picture["removed"]],
                                [from_plain(entry) for entry in self.picture["added"]])
        return calls + OtherCalls(self.module, self.module.params, self.picture["reserved"], self.picture["selinux"],
                                  self.module.params["state"] not in RESTORING).made()

    def _rules_gone(self, there, elsewhere, asked, half):
        """The rules of `there` (opening -> rules) that `elsewhere` lacks and the calls can have made so."""
        key = self.backend.key
        named = {key(rule) for entry in self.picture[asked] for rules in entry["rules"].values() for rule in rules}
        known = {key(rule) for rules in elsewhere.values() for rule in rules}
        found = {key(rule): rule for opening, rules in there.items() for rule in rules
                 if key(rule) not in known and (key(rule) in named or self.caused(opening))}
        return list(found.values())


def asked_sentence(picture):
    parts = [(verb, listed(from_plain(entry) for entry in picture[key]))
             for verb, key in (("to be opened", "added"), ("to be closed", "removed")) if picture[key]]
    return "asked for was: %s" % ("; ".join("%s %s" % part for part in parts) or "no change of the firewall")


def verify(module, picture, trouble=None):
    """Compares what is there with what was asked.  `trouble`: what failed before; then all is undone."""
    found = Aftermath(module, picture)
    differences = found.differences("expected")
    after = shown_rules(found.now)
    if not differences and not trouble:
        Record(record_path(module.params)).save(picture["rest"])
        return dict(changed=True, rules=dict(before=picture["lines"], after=after), notes=found.others())
    sentence = trouble or "the change did not come out as asked"
    return dict(failed=True, msg="%s; %s; found was: %s" % (
        sentence, asked_sentence(picture), "; ".join(differences) or "just that"),
        calls=found.undo(), rules=dict(before=picture["lines"], after=after))


def undone(module, picture):
    """Whether the way back led back; the record then is as it was before."""
    found = Aftermath(module, picture)
    differences = found.differences("exact")
    if differences:
        return dict(restored=False, msg="Undoing it did not lead back to where it was, a person has to look: %s" % (
            "; ".join(differences)))
    record = Record(record_path(module.params))
    record.save(picture["record"])
    others = found.others("exact")
    return dict(restored=True, msg="It was undone: the rules are what they were before%s" % (
        ", but for this: %s" % "; ".join(others) if others else ""))


def run_step(module):
    """One step, under the lease of the host.  Returns the result; V(lease) in it says whether the lease is kept for the next one.

    C(run) among the parameters is who asks.  Without it there is no control node that goes on, and the lease ends with this
    process.
    """
    # What is read is what the tools say in English.
    module.run_command_environ_update = dict(LANG="C", LC_ALL="C")
    params = module.params
    if module.check_mode:
        found = change(module)
        beside = holder_beside(params["lease"])
        return dict(found, notes=found["notes"] + ([beside] if beside else []), lease="free")
    asker, step = params["run"], params["step"]
    lease = HostLease(params["lease"], params["lease_wait"], "%s: host_port, state %s" % (params["name"], params["state"]),
                      asker and dict(asker))
    if step == "release":
        lease.release()
        return dict(changed=False, lease="free")
    kept = False
    try:
        result = _under_lease(module, lease, step)
        kept = bool(asker) and bool(result.get("calls") if step == "change" else result.get("failed") or step == "renew")
        if kept:
            try:
                lease.hold(OWN_SECONDS + CALL_SECONDS * len(result.get("calls") or ()), wait=0)
            except EngineError:
                # Lost since; the next step says so, and these calls are to be made all the same.
                pass
    finally:
        if not kept:
            lease.release()
    return dict(result, lease="kept" if kept else "free")


def _under_lease(module, lease, step):
    params, asker = module.params, module.params["run"] or {}
    if step == "change":
        soon = SOON if asker and not asker["waits"] else params["lease_wait"]
        lease.hold(OWN_SECONDS, ended=asker.get("ended"), wait=min(soon, params["lease_wait"]))
        result = change(module)
        return dict(result, notes=lease.notes + result["notes"])
    try:
        if not lease.is_held():
            lease.notes.append("the lease of this host (%s) was lost while the change was made" % lease.path)
        lease.hold(OWN_SECONDS)
    except EngineError as err:
        # What was begun is looked at and, where need be, taken back all the same: it is this change's own alone.
        lease.notes.append(getattr(err, "who", str(err)))
    if step == "renew":
        return dict(changed=False)
    result = verify(module, params["picture"], params["trouble"]) if step == "verify" else undone(module, params["picture"])
    return dict(result, notes=lease.notes + result.get("notes", []))


def assess(module, options):
    """Whether anything is missing, for a module that reads a host anyway; nothing is changed.

    `options`: those of HOST_PORT_SPEC, state included; what is not given has its default.
    """
    given = {key: value for key, value in options.items() if value is not None}
    defaults = dict(state="open", backend="auto", reserve=True, selinux="auto", zone=None, record=None, selinux_type=None)
    options = dict(defaults, **given)
    check_options(options)
    # What is read is what the tools say in English.
    module.run_command_environ_update = dict(LANG="C", LC_ALL="C")
    plan = Plan(module, options, Record(record_path(options)))
    return dict(backend=plan.backend.name, missing=plan.missing, notes=plan.notes, problems=plan.problems,
                rules=shown_rules(plan.before))


def assess_beside(module, options, plan):
    """assess() inside of another module, whose O(host_port) option is `options`.

    `plan`: has edits, problems and notes; what stands against the ports joins these.  A host that has nothing to edit is done,
    whatever its firewall says.
    """
    given = {key: value for key, value in (options or {}).items() if value not in (None, "")}
    if not given:
        return None
    # Here, since everything else in this file loads without Ansible.
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

    try:
        checked = ArgumentSpecValidator(HOST_PORT_SPEC).validate(given)
        if checked.error_messages:
            raise EngineError("host_port: %s" % "; ".join(checked.error_messages))
        found = assess(module, checked.validated_parameters)
    except EngineError as err:
        if plan.edits:
            plan.problems.append(str(err))
        return None
    if plan.edits:
        plan.problems += found["problems"]
        plan.notes += found["notes"]
    return {key: found[key] for key in ("backend", "missing", "rules")}
