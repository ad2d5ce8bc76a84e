# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of variables that are hardly another one's: one letter missing, and a restriction has no effect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from ansible.module_utils.parsing.convert_bool import BOOLEANS
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import HostVars
from ansible_collections.portshift.agents.plugins.plugin_utils._options import TYPES, named
from ansible_collections.portshift.agents.plugins.plugin_utils._registry import PRODUCTS

ROLES = Path(__file__).resolve().parents[2] / "roles"
# How many letters two names may differ in, for one to be taken for the other.
CLOSE = 2


def distance(one: str, other: str, limit: int = CLOSE) -> int:
    """In how many letters two names differ (missing, added, changed, two that change places); limit + 1 where it is more."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        older, before, row = before, row, [number]
        for column, second in enumerate(other, 1):
            cost = min(before[column] + 1, row[-1] + 1, before[column - 1] + (letter != second))
            if number > 1 and column > 1 and letter == other[column - 2] and one[number - 2] == second:
                cost = min(cost, older[column - 2] + 1)
            row.append(cost)
    return min(row[-1], limit + 1)


def closest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` is hardly different from, or None."""
    apart, other = min(((distance(name, other), other) for other in names), default=(CLOSE + 1, ""))
    return other if apart <= CLOSE else None


def role_options() -> set[str]:
    """Every option of an entry point of a role."""
    found: set[str] = set()
    for path in ROLES.glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            found.update(entry.get("options") or {})
    return found


def _ours(name: str) -> bool:
    """Whether a file of a role has the name, as one of a fact that it leaves."""
    word = re.compile(r"\b%s\b" % re.escape(name))
    return any(word.search(path.read_text(encoding="utf-8")) for path in ROLES.rglob("*.yml"))


def misspelt(names: Iterable[str], own: Iterable[str], options: set[str]) -> list[str]:
    """Sentences about names of variables that no option has and that are hardly different from one that has.

    `names`: the variables.  `own`: those that the site says are its own.  `options`: every known name.
    """
    suspects = {name: closest(name, options) for name in sorted(set(names) - set(own) - options)}
    return ["%s: no such variable; %s is meant? Where it is one of your own, list it in portshift_own_variables" % (name, known)
            for name, known in suspects.items() if known and not _ours(name)]


def _can_be(kind: str, value: object) -> bool:
    text = str(value).strip()
    if kind == "bool":
        return isinstance(value, bool) or text.lower() in BOOLEANS or value in (0, 1)
    if kind == "int":
        return not isinstance(value, bool) and re.fullmatch(r"[0-9]+", text) is not None
    if kind == "float":
        return not isinstance(value, bool) and re.fullmatch(r"[0-9]+([.][0-9]*)?", text) is not None
    if kind == "name":
        return re.fullmatch(r"[a-z][a-z0-9_]{0,19}", text) is not None
    return True


def wrong_values(product: str, values: Mapping[str, object]) -> list[str]:
    """Sentences about values of options that can't be.  `values`: variable -> value, where it holds no template."""
    options = named(product, PRODUCTS[product].options)
    return ["%s is %r; give %s" % (name, value, TYPES[options[name].type]) for name, value in sorted(values.items())
            if name in options and value not in (None, "") and not _can_be(options[name].type, value)]


class Variables:
    """What inventory and command line say, read in one pass without templating."""

    def __init__(self, product: str, hostvars: HostVars, hosts: Iterable[str]) -> None:
        self.names: set[str] = set()
        self.values: dict[str, list[object]] = {}
        prefix = product + "_"
        for host in hosts:
            for name, value in hostvars.raw_get(host).items():
                if not name.startswith(prefix):
                    continue
                self.names.add(name)
                # A template is for its host, and what is encrypted stays that.
                if isinstance(value, (bool, int, float)) or isinstance(value, str) and "{" not in value:
                    self.values.setdefault(name, []).append(value)

    def problems(self, product: str, own: Iterable[str]) -> list[str]:
        options = role_options() | {name for each in PRODUCTS.values() for name in named(each.name, each.options)}
        wrong = []
        for name, several in self.values.items():
            wrong += [sentence for value in several for sentence in wrong_values(product, {name: value})]
        return misspelt(self.names, own, options) + list(dict.fromkeys(wrong))
