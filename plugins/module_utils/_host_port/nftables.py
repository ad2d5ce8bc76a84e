# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Openings in a host's own nftables ruleset: the live one, and the one that nftables.service loads at boot.

What a boot would load is read as the live rules are: the file is loaded in a network namespace of its own, which goes away
with the command.  The same is done with the new bytes of the files before they are written.
"""

import fnmatch
import glob
import os
import re

from ansible_collections.portshift.agents.plugins.module_utils._host_port import iptables_rules as saved, nftables_rules as nft
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    ChangedMeanwhile, FileEdit, FileError, put_file, read_bytes, remove_file)
from ansible_collections.portshift.agents.plugins.module_utils._core.host_commands import Reader
from ansible_collections.portshift.agents.plugins.module_utils._host_port.input_filter import (
    Survey, admitted, atoms_of, by_owner, denial_sentences, openings_of, reading, refusal_sentences, remains, rules_to_remove,
    still_missing)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import (
    OpeningError, Reading, family, in_order, listed)

UNIT = "nftables.service"
# Where the unit can't be asked.
KNOWN_FILES = ("/etc/nftables.conf", "/etc/sysconfig/nftables.conf", "/etc/nftables.nft")
INCLUDE_FOLDER = "/etc"
OWN_FOLDER = "/etc/portshift"
MOST_FILES = 200
STAYS = ("its line in the files that a boot loads holds more than this rule or can't be told from others, so it stays there; "
         "take it out by hand, or it is back after the next boot")

# The states that take back what a record says was done.
RESTORING = ("restored", "reopened")


def legacy_sentences(module, run, openings=()):
    """What iptables-legacy turns away beside the rules of nf_tables, but for what it admits of `openings`."""
    found = []
    for number, tool in ((4, "iptables"), (6, "ip6tables")):
        table = saved.SavedTable(legacy_save(module, run, tool), tool, number)
        survey = Survey(table.chains, table.base, {opening.port for opening in openings}) if table.base else None
        mine = {opening for opening in openings if family(opening.source) in (None, number)}
        if survey and survey.filters and (not mine or mine - openings_of([survey]) - admitted([survey], mine)):
            found.append("%s-legacy turns incoming traffic away on this host by rules of its own, beside those of nf_tables "
                         "(%s-legacy-save shows them); bring them over to %s and empty the old ones, or open the port in both by "
                         "hand" % (tool, tool, tool))
    return found


def legacy_save(module, run, tool):
    """What iptables-legacy holds beside the rules of nf_tables, as its own tool prints it; empty where that is nothing."""
    names, command = "/proc/net/%s_tables_names" % tool[:-6], module.get_bin_path(tool + "-legacy-save")
    if not command or not os.path.exists(names) or not read_bytes(names).split():
        return ""
    if not nf_tables(module, run, tool):
        return ""       # then these rules are the ones that are read as those of iptables
    code, out, err = run([command])
    if code:
        raise OpeningError("%s failed: %s; run with become: true" % (command, err.strip() or "exit status %d" % code))
    return out


def nf_tables(module, run, tool):
    """Whether this iptables keeps its rules in nf_tables, where nft sees them too."""
    command = module.get_bin_path(tool)
    return bool(command) and "nf_tables" in run([command, "-V"])[1]


class BootFiles:
    """The files that a boot loads, as bytes: the main one first, then what it includes."""

    def __init__(self, main, contents=None):
        self.main, self.contents = main, dict(contents or {})
        if contents is None:
            self._read(main)

    def _read(self, path):
        if path in self.contents:
            return
        if len(self.contents) >= MOST_FILES:
            raise OpeningError("%s: includes more than %d files; host_port does not follow them all, open the port by hand and "
                               "say backend: none" % (self.main, MOST_FILES))
        self.contents[path] = read_bytes(path)
        for _start, _end, pattern in nft.includes(self.text(path)):
            for found in self.included(pattern):
                self._read(found)

    @staticmethod
    def included(pattern):
        full = pattern if pattern.startswith(("/", "./", "../")) else os.path.join(INCLUDE_FOLDER, pattern)
        return sorted(glob.glob(full)) if re.search(r"[*?\[]", full) else [full] if os.path.isfile(full) else []

    @staticmethod
    def _meant(pattern, path):
        """Whether a pattern includes a file that is not on the disk yet."""
        return os.path.dirname(pattern) == os.path.dirname(path) and fnmatch.fnmatchcase(path, pattern)

    def text(self, path):
        # One character for each byte, so that places in the text are places in the file.
        return self.contents[path].decode("latin-1")

    def changed(self, edits):
        return BootFiles(self.main, dict(self.contents, **edits))

    def as_one(self, path=None, inside=()):
        """All of it as one text, without a file having been written."""
        path = path or self.main
        if path in inside:
            raise OpeningError("%s: includes itself; mend it" % path)
        text = self.text(path)
        for start, end, pattern in reversed(nft.includes(text)):
            found = [pattern] if pattern in self.contents else sorted(
                set(self.included(pattern)) | {name for name in self.contents if self._meant(pattern, name)})
            if found and all(name in self.contents for name in found):
                text = text[:start] + "\n".join(
                    self.as_one(name, inside + (path,)) for name in found) + "\n" + text[end:]
        return text


class Nftables(Reader):
    """nftables on this host; see Reading for what it reads."""

    name = "nftables"
    precise = False
    # Of what is to be taken away, leave what rules of the site's open.
    only_ours = False

    def __init__(self, module, mark, zone=None):
        super().__init__(module)
        self.mark, self.zone, self.notes = mark, zone, []
        self.own_path = "%s/nftables-%s.nft" % (OWN_FOLDER, mark)
        self._halves = []

    # -- what is there

    def live(self):
        return self._once("live", self._live)

    def _live(self):
        return nft.parse_ruleset(*self._listing())

    def everything(self):
        """The live Ruleset, in which the chains of firewalld are among the base chains."""
        return nft.parse_ruleset(*self._listing(), others=True)

    def _listing(self):
        """(what nft lists, the tables in it that are those of iptables)."""
        out = self._once("listing", self._list)
        return out, self._once("theirs", lambda: self._theirs(nft.iptables_named(out)))

    def _list(self):
        code, out, err = self._run(["nft", "-j", "list", "ruleset"])
        if code:
            raise OpeningError("nft could not list the rules: %s; run with become: true" % (
                err.strip() or "exit status %d" % code))
        return out

    def _theirs(self, tables):
        """Those of `tables` that are iptables' own: it lists them; a table of the same name that nft made it does not."""
        found = set()
        for family_, tool in (("ip", "iptables"), ("ip6", "ip6tables")):
            if not any(table[0] == family_ for table in tables):
                continue
            command = self.module.get_bin_path(tool + "-nft-save")
            if not command and nf_tables(self.module, self._run, tool):
                command = self.module.get_bin_path(tool + "-save")
            if command:
                found |= {(family_, name) for name in re.findall(r"(?m)^\*(\w+)", self._run([command])[1])}
        return found & tables

    def active(self):
        """Whether a chain of nftables, neither firewalld's nor iptables', turns incoming traffic away."""
        return bool(self.module.get_bin_path("nft")) and bool(nft.filtering(self.live(), ()))

    def boot_file(self):
        """The file that nftables.service loads; None where there is none."""
        code, out, unused = self._run(["systemctl", "show", "-p", "ExecStart", UNIT]) if self.module.get_bin_path(
            "systemctl") else (1, "", "")
        match = re.search(r"-f\s+['\"]?(/[^\s'\";]+)|include\s+\\?\"(/[^\"\\]+)", out)
        if not code and match:
            path = match.group(1) or match.group(2)
            return path if os.path.lexists(path) else None
        return next((path for path in KNOWN_FILES if os.path.isfile(path)), None)

    def _loaded(self, files):
        """The Ruleset that a boot would make of the files."""
        text = files.as_one()
        return self._once(("loaded", text), lambda: self._load(files.main, text))

    def _load(self, main, text):
        self.live()     # tells which tables are those of iptables
        script = "nft -f - && exec nft -j list ruleset"
        # iif and oif name interfaces that have to be there; none of the host's is in the new namespace.
        for link in self._links(text):
            script = "ip link add name %s type dummy 2>/dev/null; %s" % (link, script)
        code, out, err = self._run(["unshare", "--net", "--", "sh", "-c", script], data=text.encode("latin-1"))
        if code:
            said = err.strip() or "exit status %d" % code
            if "unshare" in said:
                raise OpeningError("what a boot would load can't be looked at, since no network namespace can be had here: %s"
                                   % said)
            raise OpeningError("%s: nft does not load it, so a boot would not either: %s" % (main, said[:1000]))
        return nft.parse_ruleset(out, self._known["theirs"])

    @staticmethod
    def _links(text):
        if not re.search(r"\b(iif|oif|devices?)\b", text) or not os.path.isdir("/sys/class/net"):
            return []
        return [name for name in sorted(os.listdir("/sys/class/net"))
                if re.match(r"[\w.-]+\Z", name) and name != "lo" and re.search(r"\b%s\b" % re.escape(name), text)][:64]

    def _boot(self):
        """(BootFiles, Ruleset, None) of the next boot, or a sentence in the third place that says why not."""
        return self._once("boot", self._read_boot)

    def _read_boot(self):
        path = self.boot_file()
        if path is None:
            return None, None, ("nothing loads rules of nftables at boot: %s names no file that is there; save the rules with "
                                "nft list ruleset > /etc/nftables.conf and enable it" % UNIT)
        try:
            files = BootFiles(path)
            return files, self._loaded(files), None
        except (OpeningError, FileError) as err:
            return None, None, str(err)

    def _read_half(self, ruleset, ports, removable=None):
        surveys = nft.filtering(ruleset, ports)
        ours = nft.keys_of(ruleset, self.mark)
        keys = {key for survey in surveys for key in survey.atoms} | ours
        return by_owner(reading(
            surveys, set(ports), nft.where, nft.everything_but(ruleset, keys, self.mark), removable, STAYS,
            nft.surveys_of(ruleset, ports, ("input", "prerouting"))), surveys, ours)

    def read(self, ports):
        live, (files, boot, why) = self.live(), self._boot()
        if why and self.boot_file() and self.module.params.get("state") in RESTORING:
            raise OpeningError("what was changed for the next boot can't be taken back, so nothing was changed: %s" % why)
        runtime = self._read_half(live, ports)
        if boot:
            permanent = self._read_half(boot, ports, self._removable(files, nft.filtering(boot, ports)))
        else:
            # Where nothing is known to be loaded at boot, the live rules are all there is.
            permanent = Reading(wider=[why], covered=() if self.boot_file() else runtime.covered)
        self._halves = [(runtime, live), (permanent, boot or (None if self.boot_file() else live))]
        return runtime, permanent

    def admits(self, openings):
        """Those of `openings` that the live rules admit, by a rule for just that or by the policy of every chain."""
        ports = {opening.port for opening in openings}
        return openings_of(nft.filtering(self.live(), ports)) | admitted(
            nft.surveys_of(self.live(), ports, ("input", "prerouting")), openings)

    def _needed(self, add):
        """Those of `add` that a rule has to admit; the others pass by the policy of every chain, now and after a boot."""
        ports, free = {opening.port for opening in add}, []
        for found, ruleset in self._halves:
            passing = admitted(nft.surveys_of(ruleset, ports, ("input", "prerouting")), add) if ruleset else set()
            found.covered |= passing - found.exact
            free.append(passing)
        open_anyway = set.intersection(*free) if free else set()
        if open_anyway:
            self.notes.append("nftables turns incoming traffic away on this host, but lets %s pass, so there is nothing to open "
                              "for that" % listed(open_anyway))
        return [opening for opening in add if opening not in open_anyway]

    def _is_ours(self, rule):
        return rule.comment == nft.mark_of(self.mark)

    def _site_lines(self, files):
        return self._once(("lines", id(files)), lambda: [
            line for path in sorted(files.contents) if path != self.own_path
            for line in nft.site_lines(path, files.text(path), self.mark) if not self._is_ours(line.rule)])

    def _lines_by_rule(self, files):
        """(chain, condition) -> the site's lines in force that say it."""
        found = {}
        for line in self._site_lines(files):
            if not line.mark:
                found.setdefault((line.place, line.rule.condition), []).append(line)
        return found

    def _removable(self, files, surveys):
        """The keys of the rules whose place in the files is known: ours, and lines of the site's that are nothing else."""
        lines, rules = self._lines_by_rule(files), {}
        found = set()
        for rule in [rule for survey in surveys for rule in survey.rules()]:
            if self._is_ours(rule):
                found.add((rule.place, rule.number))
            else:
                rules.setdefault((rule.place, rule.condition), []).append((rule.place, rule.number))
        for said, keys in rules.items():
            if len(lines.get(said, [])) == len(keys):
                found |= set(keys)
        return found

    # -- why not

    def problems(self, add):
        if not self._halves:
            self.read({opening.port for opening in add})
        add = self._needed(add)
        if not add:
            return []
        found, live = [], self.live()
        ports = {opening.port for opening in add}
        if not nft.filtering(live, ports):
            found.append("no chain of nftables turns incoming traffic away on this host, so there is none to open a port in; "
                         "say backend: none")
        for base in live.bases["prerouting"]:
            survey = Survey(live.chains, base, ports)
            if any(survey.outcome.get((number, opening.protocol, opening.port)) == "drop" for opening in add
                   for number in base.families if family(opening.source) in (None, number)):
                found.append("%s turns away what is to be opened (%s) before it gets to a chain for incoming traffic; open it "
                             "there by hand" % (nft.where(base.place), listed(add)))
        for survey in nft.surveys_of(live, ports):
            if not survey.filters:
                found += ["%s: a rule of the site turns away what is to be opened, and wins: %s; take it away first" % (
                    nft.where(rule.place), rule.text) for rule in survey.denials(add, named_only=False)]
        files, boot, why = self._boot()
        halves = [live] if why else [live, boot]
        found += refusal_sentences([survey for half in halves for survey in nft.filtering(half, ports)], add, nft.where)
        if why:
            found.append(why)
        elif not self._enabled(UNIT):
            found.append("nothing loads the rules at boot: %s is not enabled; enable it (systemctl enable nftables), after a "
                         "look at whether %s holds what is to be loaded" % (UNIT, files.main))
        elif not nft.filtering(boot, ports):
            found.append("%s: holds no chain that turns incoming traffic away, though the live rules do; save them with "
                         "nft list ruleset > %s" % (files.main, files.main))
        found = list(dict.fromkeys(found)) + legacy_sentences(self.module, self._run, add)
        if not found:
            self._note_denials(add, live, files, boot)
        return found

    def _enabled(self, unit):
        return bool(self.module.get_bin_path("systemctl")) and not self._run(["systemctl", "is-enabled", unit])[0]

    def _note_denials(self, add, live, files, boot):
        ports = {opening.port for opening in add}
        for half in (live, boot):
            surveys = nft.filtering(half, ports)
            new = [opening for opening in add if opening not in openings_of(surveys)]
            for survey in surveys:
                for atoms in nft.by_port(atoms_of(new, survey.base.families)):
                    self.notes += denial_sentences(survey, atoms, nft.where)
        surveys = nft.filtering(boot, ports)
        new = [opening for opening in add if opening not in openings_of(surveys)]
        if new and any(survey.place_for(atoms)[0] is not None for survey in surveys
                       for atoms in nft.by_port(atoms_of(new, survey.base.families))):
            self._boot_change(files, boot, ports, new, [])

    def obstacles(self, add):
        """(failures, notes): what turns `add` away in the tables of iptables."""
        # Here, since what reads all tables of the kernel reads those of nftables by this class.
        from ansible_collections.portshift.agents.plugins.module_utils._host_port.kernel_filter import KernelFilter

        kernel = KernelFilter(self.module, self.mark, self)
        return kernel.obstacles(in_order(add), "nftables", mine=lambda place: len(place) == 3 or "legacy" in place[0])

    # -- the change

    def change(self, add, remove):
        """Makes the change, live and for the next boot.  In check mode it stops before the first write."""
        try:
            return self._on_what_is_there(lambda: self._change(add, remove))
        finally:
            if not self.module.check_mode:
                self._known, self._halves = {}, []

    def _change(self, add, remove):
        ports = {opening.port for opening in list(add) + list(remove)}
        files, boot, why = self._boot()
        edits, own, later = {}, None, None
        if why and self.boot_file():
            raise OpeningError("what a boot loads can't be changed, so nothing was changed: %s" % why)
        if not why:
            edits, own, later = self._boot_change(files, boot, ports, add, remove)
        live = self.live()
        script = self._live_script(live, later, ports, add, remove)
        if script:
            self._nft(["-c", "-f", "-"], script)
        if not why:
            self._write(edits, own)
        if script and not self.module.check_mode:
            try:
                self._nft(["-f", "-"], script)
            except OpeningError as err:
                # It was taken as a trial, so that a rule which it names by its handle is gone since.
                raise ChangedMeanwhile(str(err))
        return []

    def _nft(self, arguments, script):
        code, out, err = self._run(["nft"] + arguments, data=script)
        if code:
            raise OpeningError("nft does not take the change: %s" % (err.strip() or out.strip() or "exit status %d" % code))

    def _write(self, edits, own):
        check = self.module.check_mode
        if own:
            put_file(self.own_path, own.encode("ascii"), check, mode=0o644)
        for path in sorted(edits):
            FileEdit.read(path).apply(edits[path]).commit(self.module)
        if own == "":
            remove_file(self.own_path, check)

    def _boot_change(self, files, boot, ports, add, remove):
        """(path -> new bytes, text of our own file, the Ruleset that comes of it), tried out before it is written."""
        surveys = nft.filtering(boot, ports)
        removable = self._removable(files, surveys)
        ours = {(rule.place, rule.number) for survey in surveys for rule in survey.rules() if self._is_ours(rule)}
        gone = {key for key in rules_to_remove(surveys, ours, remove, only_ours=self.only_ours) if key in removable}
        reopened = self._to_reopen(files, surveys, add)
        news = still_missing(surveys, add, gone)
        by_rule, starts, by_chain = self._lines_by_rule(files), {}, self._own_atoms(boot)
        for survey in surveys:
            # What a rule of the site's that comes back opens is not opened a second time.
            regained = {atom for line in reopened if line.place[:2] == survey.base.place[:2] for atom in nft.atoms_of_line(line)}
            missing, _kept = news[survey.base.place]
            lost = remains(survey, gone, remove)
            for rule in survey.rules():
                key = (rule.place, rule.number)
                if key in gone and key not in ours:
                    for line in by_rule[(rule.place, rule.condition)]:
                        starts.setdefault(line.path, set()).add(line.start)
                elif key in gone:
                    by_chain[rule.place] = by_chain.get(rule.place, set()) - survey.atoms[key]
            new = (missing | lost) - regained
            by_chain[survey.base.place] = (by_chain.get(survey.base.place, set()) - regained) | new
        by_chain = {place: atoms for place, atoms in by_chain.items() if atoms}
        bare = files.changed(self._edits(files, starts, reopened))
        found = self._placed(bare, boot, by_chain)
        own, after = found or self._with_own(bare, by_chain)
        edits = {path: content for path, content in after.contents.items()
                 if path != self.own_path and content != files.contents[path]}
        if not edits and own.encode("ascii") == files.contents.get(self.own_path, b""):
            return {}, None, boot
        later = self._loaded(after)
        self._require(files, boot, later, ports, add, remove, removable)
        if self._own_atoms(later) != by_chain:
            raise OpeningError("%s: the rules of ours would not come out as asked, nothing was written; change the file by hand "
                               "and run again" % files.main)
        return edits, own, later

    def _with_own(self, files, by_chain):
        """(text of our own file, the BootFiles with it and its include)."""
        own = nft.own_file(self.mark, by_chain)
        main = (nft.with_include if own else nft.without_include)(files.contents[files.main], self.mark, self.own_path)
        return own, files.changed({files.main: main, self.own_path: own.encode("ascii")})

    def _placed(self, bare, boot, by_chain):
        """As _with_own(), with rules of ours among those of the site's where these deny something first; None without such.

        The include can't name a place in a chain that may have changed by the next boot, a line in the chain is there.
        """
        ahead = [(survey, rule) for place, atoms in by_chain.items()
                 for survey in [Survey(boot.chains, boot.chains[place], {atom.port for atom in atoms})]
                 for group in nft.by_port(atoms) for rule, _condition in survey.place_for(group)[1]]
        if not ahead:
            return None
        try:
            lines = self._among_the_sites(bare, by_chain)
            if lines:
                files, head, places = lines
                own, after = self._with_own(files, head)
                later = self._loaded(after)
                # The files were read as text, which can mislead; what nft makes of them counts.
                if all(self._places(later, place) == places[place] for place in by_chain):
                    return own, after
        except OpeningError:
            pass    # nft does not take the lines
        self.notes += ["%s: after a boot the opening stands before this denial, whose place in %s can't be told: %s" % (
            nft.where(rule.place), bare.main, rule.text) for _survey, rule in ahead]
        return None

    def _among_the_sites(self, bare, by_chain):
        """(BootFiles with lines of ours, chain -> atoms for the head, chain -> how many rules of the site's precede ours)."""
        ruleset = self._loaded(bare.changed({self.own_path: b""}))
        contents, head, places = dict(bare.contents), {}, {}
        for place, atoms in sorted(by_chain.items()):
            survey = Survey(ruleset.chains, ruleset.chains[place], {atom.port for atom in atoms})
            numbers = [key[1] for key, _text in ruleset.whole if key and key[0] == place]
            places[place] = []
            for group in nft.by_port(atoms):
                behind, rules = survey.place_for(group)[0], nft.bodies(group, survey.base.families)
                at = numbers.index(behind) + 1 if behind is not None else 0
                places[place] += [at] * len(rules)
                if not at:
                    head.setdefault(place, set()).update(group)
                    continue
                spliced = {path: nft.with_own_lines(content, self.mark, place, at, rules)
                           for path, content in contents.items() if path != self.own_path}
                spliced = {path: content for path, content in spliced.items() if content is not None}
                if len(spliced) != 1:
                    return None
                contents.update(spliced)
            places[place].sort()
        return bare.changed(contents), head, places

    def _places(self, ruleset, place):
        """Behind how many rules of the site's each of ours stands in a chain."""
        ours, found, passed = nft.keys_of(ruleset, self.mark), [], 0
        for key, _text in ruleset.whole:
            if key and key[0] == place:
                if key in ours:
                    found.append(passed)
                else:
                    passed += 1
        return found

    def _own_atoms(self, boot):
        """chain -> what our file opens, other ports than those of this call too."""
        ports = {first for chain in boot.chains.values() for rule in chain.rules if self._is_ours(rule)
                 for first, _last in rule.condition.ports or ()}
        found = {}
        for survey in nft.filtering(boot, ports):
            for rule in survey.rules():
                if self._is_ours(rule):
                    found.setdefault(rule.place, set()).update(survey.atoms[(rule.place, rule.number)])
        return found

    def _to_reopen(self, files, surveys, add):
        """The closed lines of the site's that open nothing but what is to be open now."""
        wanted, found = openings_of(surveys) | set(add), []
        for line in self._site_lines(files):
            atoms, families = nft.atoms_of_line(line), nft.TABLE_FAMILIES[line.place[0]]
            if line.mark and atoms <= atoms_of(wanted, families) and atoms & atoms_of(add, families):
                found.append(line)
        return found

    def _edits(self, files, starts, lines):
        """path -> bytes with the site's rules closed and opened again, and without a line of ours."""
        edits = {}
        for path in sorted(files.contents):
            if path == self.own_path:
                continue
            before = files.contents[path]
            here = [line for line in lines if line.path == path]
            # From the back to the front, so that places stay what they are.
            after = before
            for start in sorted(starts.get(path, set()) | {line.start for line in here}, reverse=True):
                line = [line for line in here if line.start == start]
                after = nft.reopened(after, line) if line else nft.closed(after, [start], self.mark)
            edits[path] = nft.without_own_lines(after, self.mark)
        return edits

    def _require(self, files, boot, later, ports, add, remove, removable):
        """Fails where the files would not come out as asked; nothing has been written yet."""
        before, after = nft.filtering(boot, ports), nft.filtering(later, ports)
        stays = set(remove) & openings_of(before, nft.keys_of(boot, self.mark) if self.only_ours else removable)
        expected, found = (openings_of(before) - set(remove)) | set(add) | stays, openings_of(after)
        surplus, lacking = found - expected, expected - found
        keys = [{key for survey in surveys for key in survey.atoms} | nft.keys_of(half, self.mark)
                for half, surveys in ((boot, before), (later, after))]
        if surplus or lacking or nft.everything_but(boot, keys[0], self.mark) != nft.everything_but(later, keys[1], self.mark):
            raise OpeningError("%s: the change would not come out as asked (too much: %s; missing: %s), nothing was written; "
                               "change the file by hand and run again" % (
                                   files.main, listed(surplus) or "other rules differ", listed(lacking) or "nothing"))

    def _live_script(self, live, later, ports, add, remove):
        """Commands for nft -f, one transaction; empty where nothing has to change."""
        surveys = nft.filtering(live, ports)
        ours = {(rule.place, rule.number) for survey in surveys for rule in survey.rules() if self._is_ours(rule)}
        gone = rules_to_remove(surveys, ours, remove, only_ours=self.only_ours)
        lines = ["delete rule %s handle %d" % (nft.where(place), number) for place, number in sorted(gone)]
        news = still_missing(surveys, add, gone)
        for survey in surveys:
            place = survey.base.place
            missing, kept = news[place]
            missing = missing | (remains(survey, gone, remove) - kept)
            back = self._lines_back(survey, later, missing, gone)
            for command, _opened in back:
                lines.append(command)
            regained = set().union(*[opened for _command, opened in back] or [set()])
            # What stood in for a part of such a rule while it was closed.
            lines += ["delete rule %s handle %d" % (nft.where(rule.place), rule.number) for rule in survey.rules()
                      if (rule.place, rule.number) in ours - gone and survey.atoms[(rule.place, rule.number)] <= regained]
            missing -= regained
            for atoms in nft.by_port(missing):
                behind = survey.place_for(atoms)[0]
                command = "insert rule %s" % nft.where(place) if behind is None else "add rule %s position %d" % (
                    nft.where(place), behind)
                lines += ["%s %s comment \"%s\"" % (command, body, nft.mark_of(self.mark))
                          for body in nft.bodies(atoms, survey.base.families)]
        return "\n".join(lines + [""]) if lines else ""

    def _lines_back(self, survey, later, missing, gone):
        """[(command, atoms)] that put rules of the site's back live, between the rules that they stand between in the files."""
        inserted, added = [], []
        wanted = set(missing).union(*[survey.atoms[(rule.place, rule.number)] for rule in survey.rules() if self._is_ours(rule)])
        base = later.chains.get(survey.base.place) if later else None
        boot = Survey(later.chains, base, survey.ports) if base else None
        for rule in boot.rules() if boot else []:
            opened, place = boot.atoms[(rule.place, rule.number)], nft.where(rule.place)
            there = [other for other in survey.chains[rule.place].rules if (other.place, other.number) not in gone
                     ] if rule.place in survey.chains else None
            texts = [other.text for other in there or []]
            if there is None or self._is_ours(rule) or not (
                    opened & missing and opened <= wanted) or rule.text in texts:
                continue
            chain = boot.chains[rule.place].rules
            at = [other.number for other in chain].index(rule.number)
            after = next((texts.index(other.text) for other in chain[at + 1:] if other.text in texts), None)
            before = next((texts.index(other.text) for other in reversed(chain[:at]) if other.text in texts), None)
            if after is not None:
                inserted.append(("insert rule %s position %d %s" % (place, there[after].number, rule.text), opened))
            elif before is not None:
                added.append(("add rule %s position %d %s" % (place, there[before].number, rule.text), opened))
            else:
                added.append(("insert rule %s %s" % (place, rule.text), opened))
        # Each of these comes to stand right behind its neighbour, so that the last one goes first.
        return inserted + added[::-1]
