# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every public name of the collection, read from its files, and what the changelog says of the names that differ.

C(public_names.yml) beside this file holds the names of the last release.  test_public_names.py compares them with those of the
checkout, and accepts a difference when one sentence of the changelog names it:

- The sentence holds the plugin, role or playbook, and the name that differs, each as a whole word: C(port_probe) and C(timeout)
  for an option's default.  A variable, an inventory group or a path is its own name; for a variable that several roles of a
  product have, that of all of them does (C(bigfix_tls) for C(bigfix_client_tls)).
- It stands in a fragment of C(changelogs/fragments), or, after a release has used these up, in C(changelogs/changelog.yaml) under
  a later version than that of the snapshot.  A fragment that was there when the snapshot was made says nothing of what came
  later: a new difference needs a fragment of its own.
- What was taken away or changed is named in one of the sections of C(CHANGES); what was added, in any that users read.

C(make public-names) says what differs and what is not named yet.  C(make public-names PUBLIC_NAMES=--write) writes the snapshot
anew, and refuses as long as something is not named; that is a step of a release.
"""

import argparse
import ast
import collections
import functools
import importlib
import pathlib
import re
import runpy
import sys

import yaml

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
SNAPSHOT = pathlib.Path(__file__).with_suffix(".yml")
COLLECTION = "portshift.agents"
# Where a changelog speaks of what users have to adapt to.
CHANGES = ("breaking_changes", "removed_features", "major_changes", "minor_changes", "deprecated_features")
SECTIONS = CHANGES + ("security_fixes", "bugfixes", "known_issues")

ADDED, REMOVED, CHANGED = "added", "taken away", "changed"
# In a path of the tree a level ("options") and a name ("timeout") take turns; what is said of a name ("type") stands where a
# level may stand.  Levels that hold a list of names, levels whose names have a value each, which is compared as a whole, and
# levels whose names need no owner to be known by.
LISTS = {"action_groups", "aliases", "choices", "entry_points", "members", "paths", "tags", "variables_set", "variables_taken"}
VALUES = {"defaults", "documented_defaults", "routing", "runtime"}
KNOWN_ALONE = {"action_groups", "documented_defaults", "paths", "runtime", "variables_set", "variables_taken"}
# What is no list of names where there is none: an option without it takes any value.
NO_EMPTY = {"choices"}

NAME = re.compile(r"\b(?:bigfix|boks|change_tracker|host_port|port_bridge|portshift)_[a-z0-9_]*[a-z0-9]\b")
PATH = re.compile(r"(?:/[\w.%-]+)*/portshift(?:[/.-][\w./%-]*\w)?|C:\\ProgramData\\portshift(?:\\[\w.%-]*\w)*"
                  r"|portshift-[\w.%-]+\.(?:service|timer|sh|nft|conf)")
QUOTED = re.compile(r"""["']([^"'\s]*)["']""")
# What lies in those folders, by its last part or the end of it.
STATE_FILE = re.compile(r"[\w.-]*\.(?:json|zip|lock|guard|confirm)\Z")

Difference = collections.namedtuple("Difference", "kind path before after")


# -- what there is

def load(text):
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _files(*patterns):
    return [path for pattern in patterns for path in sorted(CHECKOUT.glob(pattern)) if path.name != "__init__.py"]


@functools.cache
def _tree(path):
    return ast.parse(path.read_text())


def _constants(tree):
    """{name: text} of the strings that a module or class body assigns."""
    return {node.targets[0].id: node.value.value for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)}


@functools.cache
def doc_fragment(name):
    """The parts of a doc fragment, run as Ansible runs it: {"DOCUMENTATION": ..., ...}."""
    found = runpy.run_path(str(CHECKOUT / "plugins" / "doc_fragments" / (name + ".py")))
    return {part: load(text) for part, text in vars(found["ModuleDocFragment"]).items() if part.isupper()}


def _merged(documentation):
    """`documentation` with the options and attributes of the doc fragments that it extends."""
    merged = {key: dict(documentation.get(key) or {}) for key in ("options", "attributes")}
    wanted = documentation.get("extends_documentation_fragment") or []
    for reference in [wanted] if isinstance(wanted, str) else wanted:
        if not reference.startswith(COLLECTION + "."):
            continue
        name, unused, part = reference[len(COLLECTION) + 1:].partition(".")
        found = doc_fragment(name)[part.upper() or "DOCUMENTATION"]
        for key in merged:
            for entry, spec in (found.get(key) or {}).items():
                merged[key][entry] = {**spec, **merged[key].get(entry, {})}
    return merged


def _options(options):
    """Without those that an action plugin gives its module, which are nothing for a user."""
    return {name: _option(spec) for name, spec in (options or {}).items()
            if not re.search("(Filled in|Set) by the action plugin", str(spec.get("description")))}


def _option(spec):
    """One option of a plugin or role, without what is said of it in sentences."""
    found = {key: spec[key] for key in ("type", "elements", "choices", "aliases", "version_added", "default", "required")
             if key in spec}
    if isinstance(found.get("choices"), dict):
        found["choices"] = list(found["choices"])
    if not found.get("required"):
        found.pop("required", None)
    found["default"] = _shown(found.get("default"))
    if found["default"] is None:
        del found["default"]
    suboptions = spec.get("suboptions", spec.get("options"))
    return dict(found, suboptions=_options(suboptions)) if suboptions else found


def _returns(returns):
    found = {}
    for name, spec in (returns or {}).items():
        found[name] = {key: spec[key] for key in ("type", "elements", "choices", "version_added") if key in spec}
        if spec.get("contains"):
            found[name]["contains"] = _returns(spec["contains"])
    return found


def _shown(default):
    """A default as users may rely on it: not by which of our own variables it comes to its value."""
    if isinstance(default, str) and "{{" in default:
        text = " ".join(default.split())
        return "computed" if "hostvars" in text or len(text) > 100 else text
    return default


def _attributes(attributes):
    return {name: {key: spec[key] for key in ("support", "platforms") if key in spec} for name, spec in attributes.items()}


def modules():
    found = {}
    for path in _files("plugins/modules/*.py"):
        texts = _constants(_tree(path))
        documentation = load(texts["DOCUMENTATION"])
        merged = _merged(documentation)
        found[path.stem] = dict(options=_options(merged["options"]), attributes=_attributes(merged["attributes"]),
                                returns=_returns(load(texts.get("RETURN") or "{}")))
        if documentation.get("deprecated"):
            found[path.stem]["deprecated"] = True
    return found


def other_plugins(kind):
    """Filters, callbacks and inventories; a filter may have its documentation in YAML beside it."""
    found = {}
    for path in _files("plugins/%s/*.yml" % kind, "plugins/%s/*.py" % kind):
        if path.suffix == ".py":
            texts = _constants(_tree(path))
            if "DOCUMENTATION" not in texts:
                continue
            documentation, returns = load(texts["DOCUMENTATION"]), load(texts.get("RETURN") or "{}")
        else:
            content = load(path.read_text())
            documentation, returns = content["DOCUMENTATION"], content.get("RETURN")
        entry = dict(options=_options(_merged(documentation)["options"]), returns=_returns(returns))
        if documentation.get("positional"):
            entry["positional"] = documentation["positional"]
        found[documentation["name"].rpartition(".")[2]] = entry
    return found


def own_files(role, folder):
    """What a role has in the folder vars or defaults, without what it shares with other roles, which is a link there."""
    return [path for path in [role / folder / "main.yml", *sorted((role / folder / "main").glob("*.yml"))]
            if path.exists() and not path.is_symlink()]


def roles():
    found = {}
    for path in _files("roles/*/meta/argument_specs.yml"):
        role = path.parents[1]
        entries = {name: _options(spec.get("options")) for name, spec in load(path.read_text())["argument_specs"].items()}
        options = {}
        for entry in entries.values():
            options.update(entry)
        defaults = {name: value for part in own_files(role, "defaults") for name, value in (load(part.read_text()) or {}).items()}
        found[role.name] = dict(
            options=options, entry_points=sorted(entries),
            defaults={name: _shown(value) for name, value in defaults.items()})
        others = {name: dict(options=entry) for name, entry in entries.items() if entry != options}
        if others:
            found[role.name]["entry_points_with_other_options"] = others
    return found


def _tags(content, folder, found):
    """The tags of a playbook and of what it imports."""
    for play in content or []:
        for key in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always"):
            _tags(play.get(key), folder, found)
        tags = play.get("tags") or []
        found.update([tags] if isinstance(tags, str) else tags)
        imported = play.get("ansible.builtin.import_playbook", play.get("import_playbook"))
        if isinstance(imported, str) and (folder / imported).is_file():
            _tags(_yaml(folder / imported), (folder / imported).parent, found)
    return found


def playbooks():
    found = {}
    for path in _files("playbooks/*.yml"):
        tags = _tags(_yaml(path), path.parent, set())
        found[path.stem] = dict(tags=sorted(tags - {"always", "never"}))
    return found


@functools.cache
def _yaml(path):
    return load(path.read_text())


def _pages():
    return _files("README.md", "docs/*.md", "roles/*/README.md")


def _set_in(content, found):
    """Names that tasks and plays of `content` give a value."""
    if isinstance(content, list):
        for entry in content:
            _set_in(entry, found)
    elif isinstance(content, dict):
        for key, value in content.items():
            if key == "register":
                found.add(value)
            elif key in ("vars", "ansible.builtin.set_fact", "set_fact") and isinstance(value, dict):
                found.update(value)
            _set_in(value, found)


def options_of_the_playbooks():
    """The variables of the tables from which the playbooks take what a user gives."""
    collections_path = str(CHECKOUT / ".venv" / "collections")
    if collections_path not in sys.path:
        sys.path.insert(0, collections_path)
    plugin_utils = "ansible_collections.portshift.agents.plugins.plugin_utils."
    options, registry = (importlib.import_module(plugin_utils + name) for name in ("_options", "_registry"))
    return {name for product in registry.PRODUCTS.values() for name in options.named(product.name, product.options)}


def variables():
    """Variables and groups that the pages name and that the code knows: (set by us, for others to read; taken from a site).

    A play, a task or vars/main.yml sets one, and whatever an action plugin names counts as well, unless that is the name of a
    module or of a role.
    """
    named = set().union(*(NAME.findall(page.read_text()) for page in _pages()))
    ours, known = set(), set()
    for path in _files("roles/**/*.yml", "playbooks/**/*.yml"):
        known.update(NAME.findall(path.read_text()))
        _set_in(_yaml(path), ours)
        if "vars" in path.parts:
            ours.update(_yaml(path) or {})
    for path in _files("plugins/**/*.py"):
        known.update(NAME.findall(path.read_text()))
    # These have a place of their own.
    options = {name for role in _files("roles/*") for path in own_files(role, "defaults") for name in _yaml(path) or {}}
    names = {path.stem for path in _files("plugins/modules/*.py", "plugins/filter/*.py", "plugins/doc_fragments/*.py")}
    known.update(options_of_the_playbooks())
    others = names | {path.name for path in _files("roles/*")}
    for path in _files("plugins/action/**/*.py", "plugins/plugin_utils/**/*.py"):
        ours.update(text for text in QUOTED.findall(path.read_text()) if NAME.fullmatch(text) and text not in others)
    public = (named & known) - options - (names - ours)
    return sorted(public & ours), sorted(public - ours)


def documented_defaults():
    """What the tables of options on the pages say, {variable: default}; of a default in words, that there is one."""
    found = {}
    for page in _pages():
        inside = False
        for line in page.read_text().splitlines():
            if line.startswith("| variable | default |"):
                inside = True
            elif not line.startswith("|"):
                inside = False
            elif inside and not line.startswith("|-"):
                cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:3]]
                for name in re.findall("`([a-z0-9_]+)`", cells[0]):
                    found[name] = cells[1] if re.fullmatch(r"\d*|(?:`[^`]*`(?:, )?)+|required|none", cells[1]) else "in words"
    return found


def paths():
    """Where the collection puts what it keeps on a host, as code and pages write it."""
    found = set()
    for path in _files("plugins/**/*.py"):
        for text in QUOTED.findall(path.read_text()):
            found.update([text] if STATE_FILE.match(text) else PATH.findall(text))
    for path in _files("roles/**/*.yml", "playbooks/**/*.yml") + _pages():
        found.update(PATH.findall(path.read_text()))
    # What is put together at run time the pages name, and the tests of what earlier versions left use.
    return sorted(text for text in found if "%" not in text)


def _runtime():
    """(action groups, what stands in for what, the rest) of meta/runtime.yml."""
    content = load((CHECKOUT / "meta" / "runtime.yml").read_text())
    groups, routing = {}, {}
    for name, members in content.pop("action_groups", {}).items():
        groups[name] = dict(members=sorted(member for member in members if isinstance(member, str)))
    for kind, plugins in content.pop("plugin_routing", {}).items():
        for name, route in plugins.items():
            routing.setdefault(name, {})[kind] = route
    return groups, routing, content


def current():
    """Every public name of the checkout."""
    ours, taken = variables()
    groups, routing, runtime = _runtime()
    return dict(
        modules=modules(), filters=other_plugins("filter"), callbacks=other_plugins("callback"),
        inventories=other_plugins("inventory"), roles=roles(), playbooks=playbooks(), variables_set=ours, variables_taken=taken,
        documented_defaults=documented_defaults(), paths=paths(), action_groups=groups, routing=routing, runtime=runtime)


# -- what differs

def differences(before, after):
    """What is in one tree of names and not in the other, each as high up as all of it is new or gone."""
    return list(_levels(before, after, ()))


def _levels(before, after, path):
    """`path` ends with a name, of which two mappings are compared."""
    for level in sorted(set(before) | set(after)):
        old, new = before.get(level), after.get(level)
        at = path + (level,)
        if level in VALUES or isinstance(old, dict) or isinstance(new, dict):
            yield from _names(old or {}, new or {}, at)
        elif level in LISTS and not (level in NO_EMPTY and (old is None or new is None)):
            yield from _names(dict.fromkeys(old or []), dict.fromkeys(new or []), at)
        elif repr(old) != repr(new):
            # As text: 1 is not true.
            yield Difference(CHANGED, at, old, new)


def _names(before, after, path):
    """`path` ends with a level."""
    for name in sorted(set(before) | set(after), key=str):
        at = path + (name,)
        if name not in before or name not in after:
            yield Difference(ADDED if name in after else REMOVED, at, before.get(name), after.get(name))
        elif path[-1] in VALUES and repr(before[name]) != repr(after[name]):
            yield Difference(CHANGED, at, before[name], after[name])
        elif path[-1] not in VALUES and isinstance(before[name], dict):
            yield from _levels(before[name], after[name], at)


def words_of(difference):
    """What a sentence of the changelog has to hold: the owner of the name, and the name."""
    names = [str(name) for name in difference.path[1::2]]
    return {names[-1]} if difference.path[0] in KNOWN_ALONE or _is_variable(difference.path) else {names[0], names[-1]}


def _is_variable(path):
    return path[0] == "roles" and path[2:3] in (("options",), ("defaults",)) and len(path) > 3


def variable_for_all_roles(difference):
    """Of bigfix_client_tls, which all roles of the product have, bigfix_tls: a sentence may name that instead.  Else None."""
    if not _is_variable(difference.path):
        return None
    role, name = difference.path[1], difference.path[3]
    return role.rpartition("_")[0] + name[len(role):] if name.startswith(role + "_") and "_" in role else None


def holds(sentence, word):
    return re.search(r"(?<![\w/])%s(?!\w)" % re.escape(word), sentence) is not None


def said_of(difference):
    """A line for a person."""
    text = "%s: %s" % (" > ".join(str(part) for part in difference.path), difference.kind)
    if difference.kind == CHANGED:
        text += ", was %r, is %r" % (difference.before, difference.after)
    return text


def _version(text):
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def sentences(checkout, snapshot):
    """(section, sentence) of all that the changelog says of the time since the snapshot."""
    found = []
    for path in sorted((checkout / "changelogs" / "fragments").glob("*.y*ml")):
        if path.name not in snapshot["fragments"]:
            found.append(load(path.read_text()) or {})
    releases = (load((checkout / "changelogs" / "changelog.yaml").read_text()) or {}).get("releases") or {}
    for version, release in releases.items():
        if _version(version) > _version(snapshot["version"]):
            found.append(release.get("changes") or {})
    return [(section, " ".join(sentence.split())) for content in found for section in SECTIONS
            for sentence in content.get(section) or []]


def not_named(found, said):
    """The `found` differences that no sentence of the changelog names."""
    missing = []
    for difference in found:
        sections = SECTIONS if difference.kind == ADDED else CHANGES
        variable = variable_for_all_roles(difference)
        ways = [words_of(difference)] + ([{variable}] if variable else [])
        if not any(section in sections and all(holds(sentence, word) for word in words)
                   for section, sentence in said for words in ways):
            missing.append(difference)
    return missing


def explained(missing):
    """What a person has to know and do."""
    lines = ["%d public names differ from %s, and no sentence of the changelog names them:" % (
        len(missing), SNAPSHOT.relative_to(CHECKOUT))]
    for difference in missing:
        lines.append("  %s; a sentence needs: %s" % (said_of(difference), ", ".join(sorted(words_of(difference)))))
    return "\n".join(lines + [
        "Where that was not meant, give the name back. Else write a new fragment in changelogs/fragments with a sentence that "
        "holds these words; what was taken away or changed, in one of the sections %s." % ", ".join(CHANGES)])


# -- the snapshot

def snapshot():
    return load(SNAPSHOT.read_text())


class _Dumper(yaml.SafeDumper):
    """As yamllint wants it, with each short list or mapping on a line of its own, and without references."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data):
        return True

    def represent_sequence(self, tag, sequence, flow_style=None):
        return super().represent_sequence(tag, sequence, _is_short(sequence))

    def represent_mapping(self, tag, mapping, flow_style=None):
        return super().represent_mapping(tag, mapping, _is_short(mapping))


def _is_short(content):
    values = content.values() if isinstance(content, dict) else content
    return len(str(content)) < 90 and not any(isinstance(value, dict) and value for value in values)


HEADER = """# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Written by `make public-names PUBLIC_NAMES=--write`, see public_names.py: the public names as of `version`, and the fragments of
# the changelog that were there.
---
"""


def written(names, version, fragments):
    """The text of a snapshot."""
    content = dict(names=names, version=version, fragments=fragments)
    return HEADER + yaml.dump(content, Dumper=_Dumper, width=1000, sort_keys=True, allow_unicode=True)


def main(arguments):
    parser = argparse.ArgumentParser(description="Says which public names differ from those of the snapshot.")
    parser.add_argument("--write", action="store_true", help="write the snapshot anew, unless a name is not in the changelog")
    options = parser.parse_args(arguments)
    names = current()
    if SNAPSHOT.exists():
        before = snapshot()
        found = differences(before["names"], names)
        missing = not_named(found, sentences(CHECKOUT, before))
        for difference in found:
            print("%s %s" % ("NOT NAMED" if difference in missing else "named    ", said_of(difference)))
        print("%d public names differ, %d of them are not in the changelog" % (len(found), len(missing)))
        if missing:
            print(explained(missing), file=sys.stderr)
            return 1
    if options.write:
        SNAPSHOT.write_text(written(names, load((CHECKOUT / "galaxy.yml").read_text())["version"],
                                    [path.name for path in _files("changelogs/fragments/*.y*ml")]))
        print("wrote %s" % SNAPSHOT.relative_to(CHECKOUT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
