# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of variables, each worked out when it is asked for, most of them without a template being compiled.

Ansible compiles a template each time that it is asked for its value, about a millisecond of CPU each, and keeps none of them for
its next worker.  Most values of a role only name another variable, or one with a default; these are looked up.

What is read is what was written: text that a template has made is a value, whatever it looks like.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Variables
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import is_template

try:
    from ansible.template import is_trusted_as_template
except ImportError:
    # ansible-core before 2.19 has no sure sign of what may be a template, and makes data of text such as "[1]": it is asked for
    # all.
    def is_trusted_as_template(value: object) -> bool:
        return False

# {{ name }}, {{ name.key }}, {{ name | default(a literal or a name) }}, and the same with default(..., true)
NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
NAMED = re.compile(r"\{\{\s*(%s)\s*\}\}\Z" % NAME)
DEFAULTED = re.compile(r"\{\{\s*(%s)\s*\|\s*default\(([^()]*?)(,\s*[tT]rue)?\s*\)\s*\}\}\Z" % NAME)
LITERALS = dict(true=True, false=False, none=None)


class NotRead(Exception):
    """What has to be templated."""


class Values(Mapping[str, Any]):
    """The dictionary in the variable `name`, as a template would see it; what is to be left out (`omit`) is None.

    `variables`: those of a task, untemplated; `templar`: Ansible's, for what is more than a name.
    """

    def __init__(self, variables: Variables, templar: Any, name: str) -> None:
        self._variables, self._templar = variables, templar
        self._open: set[str] = set()
        self._answers, self._made = dict[str, Any](), dict[str, Any]()
        try:
            self._content, self._is_written = self._written(variables[name]), True
        except NotRead:
            self._content, self._is_written = templar.template(variables[name]), False

    def __getitem__(self, key: str) -> Any:
        if key not in self._answers:
            found = self._content[key]
            self._answers[key] = self._value(found) if self._is_written else found
        return self._answers[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def _written(self, raw: Any) -> Mapping[str, Any]:
        """The dictionary that a name leads to, as it was written."""
        seen = set()
        while isinstance(raw, str):
            named = NAMED.match(raw) if is_trusted_as_template(raw) else None
            # One that leads to itself is for Ansible to refuse.
            if not named or named[1] in seen:
                raise NotRead
            seen.add(named[1])
            raw = self._raw(named[1])
        if not isinstance(raw, dict):
            raise NotRead
        return raw

    def _value(self, raw: Any) -> Any:
        if not is_template(raw):
            return raw
        try:
            return self._read(raw)
        except (NotRead, AnsibleError):
            # What was undefined somewhere may have a default, and if it has none Ansible's own sentence says so.  It stands in a
            # dictionary, which leaves out what is to be.
            return self._templar.template(dict(it=raw)).get("it")

    def _read(self, raw: Any) -> Any:
        # A value that came from a host, say, is no template, whatever it looks like.
        if not isinstance(raw, str) or not is_trusted_as_template(raw):
            raise NotRead
        named = NAMED.match(raw)
        if named:
            return self._named(named[1])
        defaulted = DEFAULTED.match(raw)
        if not defaulted:
            raise NotRead
        name, text, falsy_is_none = defaulted.groups()
        default = self._default(text.strip())
        found = self._named(name) if name.partition(".")[0] in self._variables else NotRead
        if found is not NotRead and (found or not falsy_is_none):
            return found
        return self._named(text.strip()) if default is NotRead else default

    def _default(self, text: str) -> Any:
        """The literal; NotRead, not raised, for a name."""
        if text in LITERALS:
            return LITERALS[text]
        if re.fullmatch(NAME, text):
            return NotRead
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise NotRead
        # It has two arguments, and the second is more than true.
        if isinstance(found, tuple):
            raise NotRead
        return found

    def _raw(self, name: str) -> Any:
        """What was written under this name, which may lead into dictionaries."""
        first, *keys = name.split(".")
        # All variables together, of this host and of others: these are for Ansible, which templates no more than it needs.
        if first not in self._variables or first in ("vars", "hostvars"):
            raise NotRead
        raw = self._variables[first]
        for key in keys:
            if not isinstance(raw, dict) or key not in raw:
                raise NotRead
            raw = raw[key]
        return raw

    def _named(self, name: str) -> Any:
        if name in self._open:
            raise NotRead
        self._open.add(name)
        try:
            first, *keys = name.split(".")
            if keys and isinstance(self._variables.get(first), str):
                return self._part(first, keys)
            return self._value(self._raw(name))
        finally:
            self._open.remove(name)

    def _part(self, name: str, keys: list[str]) -> Any:
        """Of a dictionary that a template makes, once for all that ask."""
        if name not in self._made:
            self._made[name] = self._templar.template(dict(it=self._raw(name)))["it"]
        found = self._made[name]
        for key in keys:
            if not isinstance(found, Mapping) or key not in found:
                raise NotRead
            found = found[key]
        return found
