# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Openings in a host's own nftables ruleset: the live one, and the one that nftables.service loads at boot.

What a boot would load is read as the live rules are: the file is loaded in a network namespace of its own, which goes away
with the command.  The same is done with the new bytes of the files before they are written.
"""

import glob
import os
import re

from ansible_collections.portshift.agents.plugins.module_utils import _nftables_rules as nft
from ansible_collections.portshift.agents.plugins.module_utils._file_edit import (
    FileEdit, FileError, put_file, read_bytes, remove_file)
from ansible_collections.portshift.agents.plugins.module_utils._input_filter import (
    Survey, atoms_of, openings_of, reading, remains, rules_to_remove, still_missing)
from ansible_collections.portshift.agents.plugins.module_utils._openings import OpeningError, Reading, family, listed

UNIT = "nftables.service"
# Where the unit can't be asked.
KNOWN_FILES = ("/etc/nftables.conf", "/etc/sysconfig/nftables.conf", "/etc/nftables.nft")
INCLUDE_FOLDER = "/etc"
OWN_FOLDER = "/etc/portshift"
MOST_FILES = 200
STAYS = ("its line in the files that a boot loads holds more than this rule or can't be told from others, so it stays there; "
         "take it out by hand, or it is back after the next boot")


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
            found = [pattern] if pattern in self.contents else self.included(pattern)
            if found and all(name in self.contents for name in found):
                text = text[:start] + "\n".join(
                    self.as_one(name, inside + (path,)) for name in found) + "\n" + text[end:]
        return text


class Nftables:
    """nftables on this host; see Reading for what it reads."""

    name = "nftables"
    precise = False

    def __init__(self, module, mark, zone=None):
        self.module, self.mark, self.zone, self.notes = module, mark, zone, []
        self.own_path = "%s/nftables-%s.nft" % (OWN_FOLDER, mark)

    # -- what is there

    def _run(self, command, data=None):
        # A user's search path often lacks sbin.
        return self.module.run_command(command, data=data, binary_data=isinstance(data, bytes),
                                       path_prefix="/usr/sbin:/sbin", environ_update=dict(LANG="C", LC_ALL="C"))

    def live(self):
        code, out, err = self._run(["nft", "-j", "list", "ruleset"])
        if code:
            raise OpeningError("nft could not list the rules: %s; run with become: true" % (
                err.strip() or "exit status %d" % code))
        return nft.parse_ruleset(out)

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
            raise OpeningError("%s: nft does not load it, so a boot would not either: %s" % (files.main, said[:1000]))
        return nft.parse_ruleset(out)

    @staticmethod
    def _links(text):
        if not re.search(r"\b(iif|oif|devices?)\b", text) or not os.path.isdir("/sys/class/net"):
            return []
        return [name for name in sorted(os.listdir("/sys/class/net"))[:64]
                if re.match(r"[\w.-]+\Z", name) and name != "lo" and re.search(r"\b%s\b" % re.escape(name), text)]

    def _boot(self):
        """(BootFiles, Ruleset) of the next boot, or a sentence that says why not."""
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
        keys = {key for survey in surveys for key in survey.atoms}
        return reading(surveys, set(ports), nft.where, nft.everything_but(ruleset, keys), removable, STAYS)

    def read(self, ports):
        live, (files, boot, why) = self.live(), self._boot()
        permanent = Reading(wider=[why]) if why else self._read_half(
            boot, ports, self._removable(files, nft.filtering(boot, ports)))
        return self._read_half(live, ports), permanent

    def _is_ours(self, rule):
        return rule.comment == nft.mark_of(self.mark)

    def _site_lines(self, files):
        return [line for path in sorted(files.contents) if path != self.own_path
                for line in nft.site_lines(path, files.text(path), self.mark)]

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
        for base in live.bases["input"]:
            survey = Survey(live.chains, base, ports)
            denials = survey.denials(add, named_only=True)
            if survey.filters:
                # Ours stands at the head of the chain, so it wins; the site should know.
                self.notes += ["%s: the site turns away here what is opened; the opening stands before it: %s" % (
                    nft.where(rule.place), rule.text) for rule in denials]
            else:
                found += ["%s: a rule of the site turns away what is to be opened, and wins: %s; take it away first" % (
                    nft.where(rule.place), rule.text) for rule in survey.denials(add, named_only=False)]
        files, boot, why = self._boot()
        if why:
            found.append(why)
        elif self._run(["systemctl", "is-enabled", UNIT])[0]:
            found.append("nothing loads the rules at boot: %s is not enabled; enable it (systemctl enable nftables), after a "
                         "look at whether %s holds what is to be loaded" % (UNIT, files.main))
        elif not nft.filtering(boot, ports):
            found.append("%s: holds no chain that turns incoming traffic away, though the live rules do; save them with "
                         "nft list ruleset > %s" % (files.main, files.main))
        return found

    # -- the change

    def change(self, add, remove):
        """Makes the change, live and for the next boot.  In check mode it stops before the first write."""
        ports = {opening.port for opening in list(add) + list(remove)}
        files, boot, why = self._boot()
        edits, own, later = {}, None, None
        if not why:
            edits, own, later = self._boot_change(files, boot, ports, add, remove)
        live = self.live()
        script = self._live_script(live, later, ports, add, remove)
        if script:
            self._nft(["-c", "-f", "-"], script)
        if not why:
            self._write(edits, own)
        if script and not self.module.check_mode:
            self._nft(["-f", "-"], script)
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
        gone = {key for key in rules_to_remove(surveys, ours, remove) if key in removable}
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
        own = nft.own_file(self.mark, {place: atoms for place, atoms in by_chain.items() if atoms})
        edits = self._edits(files, starts, reopened, own)
        if not edits and own.encode("ascii") == files.contents.get(self.own_path, b""):
            return {}, None, boot
        after = files.changed(dict(edits, **({self.own_path: own.encode("ascii")} if own else {})))
        later = self._loaded(after)
        self._require(files, boot, later, ports, add, remove, removable)
        return {path: content for path, content in edits.items() if path != self.own_path}, own, later

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

    def _edits(self, files, starts, lines, own):
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
            if path == files.main:
                after = (nft.with_include if own else nft.without_include)(after, self.mark, self.own_path)
            if after != before:
                edits[path] = after
        return edits

    def _require(self, files, boot, later, ports, add, remove, removable):
        """Fails where the files would not come out as asked; nothing has been written yet."""
        before, after = nft.filtering(boot, ports), nft.filtering(later, ports)
        stays = set(remove) & openings_of(before, removable)
        expected, found = (openings_of(before) - set(remove)) | set(add) | stays, openings_of(after)
        surplus, lacking = found - expected, expected - found
        keys = [{key for survey in surveys for key in survey.atoms} for surveys in (before, after)]
        if surplus or lacking or nft.everything_but(boot, keys[0]) != nft.everything_but(later, keys[1]):
            raise OpeningError("%s: the change would not come out as asked (too much: %s; missing: %s), nothing was written; "
                               "change the file by hand and run again" % (
                                   files.main, listed(surplus) or "other rules differ", listed(lacking) or "nothing"))

    def _live_script(self, live, later, ports, add, remove):
        """Commands for nft -f, one transaction; empty where nothing has to change."""
        surveys = nft.filtering(live, ports)
        ours = {(rule.place, rule.number) for survey in surveys for rule in survey.rules() if self._is_ours(rule)}
        gone = rules_to_remove(surveys, ours, remove)
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
            lines += ["insert rule %s %s comment \"%s\"" % (nft.where(place), body, nft.mark_of(self.mark))
                      for body in nft.bodies(missing, survey.base.families)]
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
