# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of variables that are hardly another one's: one letter missing, and a restriction has no effect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

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


class Allowed(NamedTuple):
    """What the value of an option may be."""

    type: str
    choices: tuple[object, ...] = ()


def role_options() -> dict[str, Allowed]:
    """Every option of an entry point of a role."""
    found: dict[str, Allowed] = {}
    for path in ROLES.glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            found.update({name: Allowed(option.get("type", "str"), tuple(option.get("choices", ())))
                          for name, option in (entry.get("options") or {}).items()})
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


def wrong_values(options: Mapping[str, Allowed], values: Mapping[str, object]) -> list[str]:
    """Sentences about values of options that can't be.  `values`: variable -> value, where it holds no template."""
    wrong = []
    for name, value in sorted(values.items()):
        allowed = options.get(name)
        if allowed is None or value in (None, ""):
            continue
        if not _can_be(allowed.type, value):
            wrong.append("%s is %r; give %s" % (name, value, TYPES[allowed.type]))
        elif allowed.choices and str(value) not in map(str, allowed.choices):
            wrong.append("%s is %r; give one of %s" % (name, value, ", ".join(map(str, allowed.choices))))
    return wrong


class Variables:
    """What inventory and command line say, read in one pass without templating."""

    def __init__(self, product: str, hostvars: HostVars, hosts: Iterable[str]) -> None:
        self.names: set[str] = set()
        # Variable -> its values, each once however many hosts have it.
        self.values: dict[str, dict[str, object]] = {}
        prefix = product + "_"
        for host in hosts:
            for name, value in hostvars.raw_get(host).items():
                if not name.startswith(prefix):
                    continue
                self.names.add(name)
                # A template is for its host, and what is encrypted stays that.
                if isinstance(value, (bool, int, float)) or isinstance(value, str) and "{" not in value:
                    self.values.setdefault(name, {})[repr(value)] = value

    def problems(self, product: str, own: Iterable[str]) -> list[str]:
        options = role_options()
        for each in PRODUCTS.values():
            # The playbooks' word on a variable counts before that of a role which takes it too.
            options.update({name: Allowed(option.type) for name, option in named(each.name, each.options).items()})
        wrong = []
        for name, several in self.values.items():
            wrong += [sentence for value in several.values() for sentence in wrong_values(options, {name: value})]
        return misspelt(self.names, own, set(options)) + list(dict.fromkeys(wrong))
