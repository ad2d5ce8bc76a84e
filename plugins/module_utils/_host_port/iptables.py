# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Openings in a host's own iptables rules: the live ones, and the saved files that a boot loads."""

import os

from ansible_collections.portshift.agents.plugins.module_utils._host_port import iptables_rules as saved
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    ChangedMeanwhile, FileEdit, read_bytes)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.nftables import Nftables, legacy_sentences
from ansible_collections.portshift.agents.plugins.module_utils._core.host_commands import Reader
from ansible_collections.portshift.agents.plugins.module_utils._host_port.input_filter import (
    Atom, Survey, admitted, atoms_of, by_owner, denial_sentences, openings_of, reading, refusal_sentences, remains,
    rules_to_remove, still_missing)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.kernel_filter import KernelFilter
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    OpeningError, Reading, family, in_order, listed)

TOOLS = {4: "iptables", 6: "ip6tables"}
# (the files, the units that load them): Debian's netfilter-persistent, and Red Hat's iptables-services.
SAVED_FILES = (({4: "/etc/iptables/rules.v4", 6: "/etc/iptables/rules.v6"},
                {4: ("netfilter-persistent", "iptables"), 6: ("netfilter-persistent", "ip6tables")}),
               ({4: "/etc/sysconfig/iptables", 6: "/etc/sysconfig/ip6tables"}, {4: ("iptables",), 6: ("ip6tables",)}))


def rule_of_ours(words, family_, place):
    """A Rule that stands for one of ours that is about to be there; without a number, since it has none yet."""
    return saved.parse_rule("-A %s %s" % (place[1], words), None, family_, place)


class Half:
    """The tables of both families, live or of the next boot."""

    def __init__(self, tables, ports, mark):
        self.tables = tables
        everything = {number: Survey(table.chains, table.base, ports) for number, table in tables.items() if table.base}
        filters = {number: survey for number, survey in everything.items() if survey.filters}
        self.filters = bool(filters)
        # Where nothing filters, a rule that opens a port still is there or not.
        self.surveys = filters or everything
        self.everything = everything
        self.ours = {(rule.place, rule.number) for survey in everything.values() for rule in survey.rules()
                     if rule.comment == saved.mark_of(mark)}

    def reading(self, ports):
        keys = {key for survey in self.everything.values() for key in survey.atoms}
        whole = set().union(*[table.everything_but(keys) for table in self.tables.values()] or [set()])
        surveys = list(self.surveys.values())
        found = reading(surveys, set(ports), saved.where, whole, every=list(self.everything.values()))
        return by_owner(found, surveys, self.ours)


class Iptables(Reader):
    """iptables and ip6tables on this host; see Reading for what it reads."""

    name = "iptables"
    precise = False
    # Of what is to be taken away, leave what rules of the site's open.
    only_ours = False

    def __init__(self, module, mark, zone=None):
        super().__init__(module)
        self.mark, self.zone, self.notes = mark, zone, []
        self._readings = ()

    # -- what is there

    def live(self):
        """family -> SavedTable, of the families that this host has iptables for."""
        return self._once("live", self._live)

    def _live(self):
        found = {}
        for number, tool in sorted(TOOLS.items()):
            if not self.module.get_bin_path(tool + "-save"):
                continue
            out = self._saved_text(number)
            if "table `filter' is incompatible" in out.lower():
                continue    # rules that nft has written into a table of that name
            found[number] = saved.SavedTable(out, tool, number, self.mark)
        return found

    def active(self):
        """Whether INPUT of either family, filled by no other front end, turns incoming traffic away."""
        tables = self.live()
        if any(table.other_front_end for table in tables.values()):
            return False
        return self.filters(tables) or bool(self._legacy()) and not Nftables(self.module, self.mark).active()

    def filters(self, tables):
        """Whether these tables turn incoming traffic away."""
        return Half(tables, (), self.mark).filters

    def _legacy(self, openings=()):
        return legacy_sentences(self.module, self._run, openings)

    def saved_files(self):
        """(family -> path, family -> units) of the saved files; ({}, {}) where there are none."""
        for paths, units in SAVED_FILES:
            there = {number: path for number, path in paths.items() if os.path.isfile(path)}
            if there:
                return there, units
        return {}, {}

    def _boot(self):
        """family -> (path, bytes, SavedTable) of the next boot."""
        return self._once("boot", self._read_boot)

    def _read_boot(self):
        found = {}
        for number, path in self.saved_files()[0].items():
            content = read_bytes(path)
            found[number] = (path, content, self._table(content, number))
        return found

    def _table(self, content, number):
        return self._once((number, content), lambda: saved.SavedTable(
            content.decode("latin-1"), TOOLS[number], number, self.mark))

    def _halves(self, ports):
        boot = self._boot()
        return (Half(self.live(), ports, self.mark), boot,
                Half({number: table for number, (_path, _content, table) in boot.items()}, ports, self.mark))

    def read(self, ports):
        live, boot, permanent = self._halves(ports)
        runtime = live.reading(ports)
        # Where nothing is known to be loaded at boot, the live rules are all there is.
        self._readings = (runtime, permanent.reading(ports) if boot else Reading(covered=runtime.covered))
        return self._readings

    def _needed(self, add, live, permanent):
        """Those of `add` that a rule has to admit; the others pass by the policy of INPUT, now and after a boot."""
        free = [admitted(list(half.everything.values()), add) for half in (live, permanent)]
        for found, passing in zip(self._readings, free):
            found.covered |= passing - found.exact
        open_anyway = free[0] & free[1]
        if open_anyway:
            self.notes.append("iptables turns incoming traffic away on this host, but lets %s pass, so there is nothing to open "
                              "for that" % listed(open_anyway))
        return [opening for opening in add if opening not in open_anyway]

    # -- why not

    def problems(self, add):
        ports = {opening.port for opening in add}
        live, boot, permanent = self._halves(ports)
        legacy = self._legacy(add)
        passing = set(add)
        add = self._needed(add, live, permanent if boot else live)
        passing -= set(add)
        if not add:
            return legacy + self._other_filter(passing)
        found = legacy
        if not live.filters and not legacy:
            found.append("INPUT of iptables turns no incoming traffic away on this host; say backend: none")
        surveys = list(live.everything.values()) + list(permanent.everything.values())
        found += refusal_sentences(surveys, add, saved.where)
        if not boot:
            found.append("nothing brings the rules of iptables back after a boot: there is neither /etc/iptables/rules.v4 nor "
                         "/etc/sysconfig/iptables; install iptables-persistent (Debian) or iptables-services (Red Hat) and save "
                         "the rules")
        else:
            found += self._unsaved(live, boot, permanent)
        found += self._other_filter(add)
        for survey in surveys if not found else ():
            new = [opening for opening in add if opening not in openings_of([survey])]
            for opening in new:
                self.notes += denial_sentences(survey, atoms_of([opening], survey.base.families), saved.where)
        return found

    def _unsaved(self, live, boot, permanent):
        found, units = [], self.saved_files()[1]
        for number in sorted(live.surveys):
            tool = live.tables[number].tool
            if number not in boot:
                found.append("nothing brings the rules of %s back after a boot: its saved file is missing beside %s; save them "
                             "with %s-save" % (tool, sorted(entry[0] for entry in boot.values())[0], tool))
            elif number not in permanent.everything:
                found.append("%s: holds no chain INPUT in a table filter, though the live rules do; save them with "
                             "%s-save > %s" % (boot[number][0], tool, boot[number][0]))
            elif not any(self._enabled(unit) for unit in units[number]):
                found.append("nothing loads %s at boot: neither of the units %s is enabled; enable one" % (
                    boot[number][0], ", ".join(units[number])))
        return found

    def _enabled(self, unit):
        return bool(self.module.get_bin_path("systemctl")) and not self._run(["systemctl", "is-enabled", unit])[0]

    def _other_filter(self, add):
        nftables = Nftables(self.module, self.mark)
        if not self.module.get_bin_path("nft") or not nftables.active():
            return []
        lacking = set(add) - nftables.admits(add)
        if not lacking:
            return []
        return ["iptables and nftables both filter what comes in to this host, and nftables does not admit %s; open it there "
                "too (backend: nftables, with a name of its own), or give up one of the two" % listed(lacking)]

    def obstacles(self, add):
        """(failures, notes): what turns `add` away in the other tables, and in those of nftables."""
        kernel = KernelFilter(self.module, self.mark)
        return kernel.obstacles(in_order(add), "iptables", mine=lambda place: place[0] in TOOLS.values() or "legacy" in place[0])

    # -- the change

    def change(self, add, remove):
        """Makes the change, live and in the saved files.  In check mode it stops before the first write."""
        try:
            return self._on_what_is_there(lambda: self._change(add, remove))
        finally:
            if not self.module.check_mode:
                self._known, self._readings = {}, ()

    def _change(self, add, remove):
        ports = {opening.port for opening in list(add) + list(remove)}
        live, boot, permanent = self._halves(ports)
        contents = self._boot_change(boot, permanent, add, remove)
        later = dict(permanent.tables)
        later.update((number, self._table(content, number)) for number, content in contents.items())
        scripts = self._live_change(live, later, add, remove)
        for number, content in sorted(contents.items()):
            self._restore(number, ["--test"], content, boot[number][0])
        for number, script in sorted(scripts.items()):
            self._restore(number, ["--test", "--noflush"], script.encode("latin-1"), None)
        for number, content in sorted(contents.items()):
            FileEdit.read(boot[number][0]).apply(content).commit(self.module)
        if not self.module.check_mode:
            for number, script in sorted(scripts.items()):
                self._require_no_other_rules(number)
                self._restore(number, ["--noflush"], script.encode("latin-1"), None)
        return []

    def _saved_text(self, number):
        tool = TOOLS[number]
        code, out, err = self._run([tool + "-save"])
        if code:
            raise OpeningError("%s-save failed: %s; run with become: true" % (tool, err.strip() or "exit status %d" % code))
        return out

    def _require_no_other_rules(self, number):
        # Places are numbers here: with a rule more in front they would be those of other rules.
        now = saved.SavedTable(self._saved_text(number), TOOLS[number], number, self.mark)
        if now.whole != self.live()[number].whole:
            raise ChangedMeanwhile("the live rules of %s were changed by another program each time while they were being "
                                   "changed; look which one does, and run again" % TOOLS[number])

    def _restore(self, number, arguments, content, path):
        tool = TOOLS[number] + "-restore"
        code, out, err = self._run([tool, "--wait", "10"] + arguments, data=content)
        if code:
            raise OpeningError("%s%s does not take the change: %s" % (
                path + ": " if path else "", tool, (err.strip() or out.strip() or "exit status %d" % code)[:1000]))

    def _wanted(self, half, add, remove):
        """(keys of the rules to take away, family -> atoms to add)."""
        gone = rules_to_remove(list(half.surveys.values()), half.ours, remove, list(half.everything.values()), self.only_ours)
        # An opening for any address gets its rule for IPv6 even where that does not filter yet.
        asked, news = still_missing(list(half.everything.values()), add, gone), {}
        for number, survey in half.everything.items():
            missing, kept = asked[survey.base.place]
            news[number] = missing | (remains(survey, gone, remove) - kept)
        return gone, news

    def _boot_change(self, boot, permanent, add, remove):
        """family -> new bytes of its saved file."""
        gone, news = self._wanted(permanent, add, remove)
        found = {}
        for number, (_path, content, table) in boot.items():
            if not table.base:
                continue
            survey = permanent.everything[number]
            reopen = [(start, rule) for start, rule in table.closed if rule.plain and
                      self._atoms(rule) and self._atoms(rule) <= atoms_of(add, frozenset((number,)))]
            atoms = news[number] - {atom for start, rule in reopen for atom in self._atoms(rule)}
            mine = {key for key in gone if key in survey.atoms}
            after = saved.spliced(content.decode("latin-1"), table, self.mark, remove=mine & permanent.ours,
                                  close=mine - permanent.ours, reopen=[start for start, rule in reopen],
                                  add=self._new_rules(survey, atoms)).encode("latin-1")
            if after != content:
                found[number] = after
        self._require(boot, permanent, found, add, remove)
        return found

    def _new_rules(self, survey, atoms):
        """[(key of the rule that they stand behind or None, specifications)] of rules of ours that open `atoms`."""
        found, number = {}, min(survey.base.families)
        for atom in sorted(atoms, key=str):
            behind = survey.place_for([atom])[0]
            key = None if behind is None else (survey.base.place, behind)
            found.setdefault(key, []).append(atom)
        return [(key, saved.rule_lines(some, self.mark, number)) for key, some in found.items()]

    @staticmethod
    def _atoms(rule):
        condition = rule.condition
        return {Atom(number, protocol, first, source) for number in condition.families for protocol in condition.protocols
                for first, _last in condition.ports for source in (condition.sources or [None])
                if source is None or family(source) == number}

    def _require(self, boot, permanent, contents, add, remove):
        """Fails where the files would not come out as asked; nothing has been written yet."""
        if not contents:
            return
        ports = {opening.port for opening in list(add) + list(remove)}
        tables = dict(permanent.tables)
        tables.update((number, self._table(content, number)) for number, content in contents.items())
        after = Half(tables, ports, self.mark)
        before, now = permanent.reading(ports), after.reading(ports)
        expected = (before.exact - set(remove)) | set(add) | (before.others & set(remove) if self.only_ours else set())
        surplus, lacking = now.exact - expected, expected - now.exact
        if surplus or lacking or before.whole != now.whole:
            raise OpeningError("%s: the change would not come out as asked (too much: %s; missing: %s), nothing was written; "
                               "change the file by hand and run again" % (
                                   ", ".join(sorted(boot[number][0] for number in contents)),
                                   listed(surplus) or "other rules differ", listed(lacking) or "nothing"))

    def _live_change(self, live, later, add, remove):
        """family -> input for iptables-restore --noflush, one transaction each."""
        gone, news = self._wanted(live, add, remove)
        found = {}
        for number, survey in live.everything.items():
            lines = []
            rules = {place: list(chain.rules) for place, chain in live.tables[number].chains.items()}
            for rule in [rule for chain in list(rules.values()) for rule in chain if (rule.place, rule.number) in gone]:
                # By its place: a rule of the same words may stand elsewhere in the chain.
                at = rules[rule.place].index(rule)
                lines.append("-D %s %d" % (rule.place[1], at + 1))
                del rules[rule.place][at]
            missing = set(news[number])
            for place, at, rule in self._own_lines_back(survey, later.get(number), missing, rules):
                lines.append("-I %s %d %s" % (place[1], at + 1, rule.text.split(None, 2)[2]))
                rules[place].insert(at, rule._replace(number=None))      # its own number is one of the file
                missing -= self._atoms(rule)
            for behind, news_here in self._new_rules(survey, missing):
                there = rules.get(survey.base.place, [])
                at = 1 if behind is None else [rule.number for rule in there].index(behind[1]) + 2
                for rule in news_here:
                    lines.append("-I INPUT %d %s" % (at, rule))
                    there.insert(at - 1, rule_of_ours(rule, number, survey.base.place))
            if lines:
                found[number] = "\n".join(["*filter"] + lines + ["COMMIT", ""])
        return found

    def _own_lines_back(self, survey, table, missing, rules):
        """Rules of the site's in the saved file, put back live between the rules that they stand between there."""
        boot = Survey(table.chains, table.base, survey.ports) if table and table.base else None
        for rule in boot.rules() if boot else []:
            texts = [other.text for other in rules[rule.place]] if rule.place in rules else None
            if texts is None or rule.comment == saved.mark_of(self.mark) or rule.text in texts or not (
                    boot.atoms[(rule.place, rule.number)] <= missing):
                continue
            chain = boot.chains[rule.place].rules
            at = chain.index(rule)
            after = next((texts.index(other.text) for other in chain[at + 1:] if other.text in texts), None)
            before = next((texts.index(other.text) + 1 for other in reversed(chain[:at]) if other.text in texts), 0)
            yield rule.place, before if after is None else after, rule
