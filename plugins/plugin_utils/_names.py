# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of variables that are hardly another one's: one letter missing, and a restriction has no effect."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml
from ansible.module_utils.parsing.convert_bool import BOOLEANS
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import HostVars
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import is_template
from ansible_collections.portshift.agents.plugins.plugin_utils._options import CHECKED_BY, TYPES, named
from ansible_collections.portshift.agents.plugins.plugin_utils._registry import PRODUCTS

ROLES = Path(__file__).resolve().parents[2] / "roles"
# How many letters two names may differ in, for one to be taken for the other.
CLOSE = 2
# What the types of argument specs are called in the table of options, where that is another word: text is a list too, as for
# Ansible, and a path is text.
TYPES_OF_ROLES = {"list": "items", "path": "str"}


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
            for name, option in (entry.get("options") or {}).items():
                kind, choices = option.get("type", "str"), tuple(option.get("choices", ()))
                # Those of a list are for each of its items.
                found[name] = Allowed(TYPES_OF_ROLES.get(kind, kind), () if kind == "list" else choices)
    return found


@functools.cache
def known_options() -> dict[str, Allowed]:
    """Every option of the playbooks and of the roles; the playbooks' word on one counts before that of a role."""
    options = role_options()
    for product in PRODUCTS.values():
        options.update({name: Allowed(option.type, option.choices) for name, option in named(
            product.name, product.options).items()})
    return options


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
    if kind == "str":
        return not isinstance(value, (list, dict))
    if kind == "dict":
        return isinstance(value, dict)
    if kind == "items" and isinstance(value, str):
        return not text.startswith("[")
    return kind not in ("list", "items") or isinstance(value, list)


def _shown(value: object) -> str:
    """A value for a sentence; what stands in a list or in a dictionary may be nothing to print."""
    return "a dictionary" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)


def _wrong(name: str, allowed: Allowed, value: object) -> str | None:
    """The sentence about a value that an option can't have."""
    if value is None or value == "" and not allowed.choices:
        return None
    if allowed.type in CHECKED_BY:
        try:
            CHECKED_BY[allowed.type](value, name)
        except EngineError as err:
            return str(err)
    elif not _can_be(allowed.type, value):
        return "%s is %s; give %s" % (name, _shown(value), TYPES[allowed.type].replace("NAME", name))
    elif allowed.choices and str(value) not in map(str, allowed.choices):
        return "%s is %s; give one of %s" % (name, _shown(value), ", ".join(map(str, allowed.choices)))
    return None


def wrong_values(options: Mapping[str, Allowed], values: Mapping[str, object]) -> list[str]:
    """Sentences about values of options that can't be.  `values`: variable -> value, where it holds no template."""
    told = [_wrong(name, options[name], value) for name, value in sorted(values.items()) if name in options]
    return [sentence for sentence in told if sentence]


def _is_plain(value: object) -> bool:
    """Whether a value is what it says: a template is for its host, and so is text of which an older core makes a dictionary."""
    return not is_template(value) and not (isinstance(value, str) and "{" in value)


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
                if _is_plain(value):
                    self.values.setdefault(name, {})[repr(value)] = value

    def problems(self, product: str, own: Iterable[str]) -> list[str]:
        """Sentences about names and values that can't be."""
        return misspelt(self.names, own, set(known_options())) + [
            sentence for sentences in self.wrong(product).values() for sentence in sentences]

    def wrong(self, product: str) -> dict[str, list[str]]:
        """Variable -> sentences about values of it that can't be.  Not the port: what lays out the steps says more of it."""
        options = {name: allowed for name, allowed in known_options().items() if name != PRODUCTS[product].port}
        told = {name: [sentence for value in several.values() for sentence in wrong_values(options, {name: value})]
                for name, several in self.values.items()}
        return {name: list(dict.fromkeys(sentences)) for name, sentences in told.items() if sentences}
