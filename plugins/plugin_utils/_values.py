# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of variables, each worked out when it is asked for, most of them without a template being compiled.

Ansible compiles a template each time that it is asked for its value, about a millisecond of CPU each, and keeps none of them for
its next worker.  Most values of a role only name another variable, or one with a default; these are looked up.
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
    # Before ansible-core 2.19 all text is a template but what is marked.
    def is_trusted_as_template(value: object) -> bool:
        return not getattr(value, "__UNSAFE__", False)

# {{ name }}, {{ name.key }}, {{ name | default(a literal or a name) }}, and the same with default(..., true)
NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
NAMED = re.compile(r"\{\{\s*(%s)\s*\}\}\Z" % NAME)
DEFAULTED = re.compile(r"\{\{\s*(%s)\s*\|\s*default\(([^()]*?)(,\s*true)?\s*\)\s*\}\}\Z" % NAME)
LITERALS = dict(true=True, false=False, none=None)


class NotRead(Exception):
    """What has to be templated."""


class Values(Mapping[str, Any]):
    """The dictionary in the variable `name`, as a template would see it.

    `variables`: those of a task, untemplated; `templar`: Ansible's, for what is more than a name.
    """

    def __init__(self, variables: Variables, templar: Any, name: str) -> None:
        self._variables, self._templar, self._known = variables, templar, dict[str, Any]()
        self._open: set[str] = set()
        self._answers = dict[str, Any]()
        self._content = self._whole(variables[name])

    def __getitem__(self, key: str) -> Any:
        if key not in self._answers:
            self._answers[key] = self._value(self._content[key])
        return self._answers[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def _whole(self, raw: Any) -> Mapping[str, Any]:
        """The dictionary that a name leads to, its values as they were written."""
        while isinstance(raw, str) and (named := NAMED.match(raw)) and named[1] in self._variables and (
                is_trusted_as_template(raw)):
            raw = self._variables[named[1]]
        found: Mapping[str, Any] = raw if isinstance(raw, Mapping) else self._templar.template(raw)
        return found

    def _value(self, raw: Any) -> Any:
        if not is_template(raw):
            return raw
        try:
            return self._read(raw)
        except (NotRead, AnsibleError):
            # What was undefined somewhere may have a default, and if it has none Ansible's own sentence says so.
            return self._templar.template(raw)

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
        name, default, is_falsy_undefined = defaulted.groups()
        found = self._named(name) if name.partition(".")[0] in self._variables else NotRead
        return self._default(default.strip()) if found is NotRead or is_falsy_undefined and not found else found

    def _default(self, text: str) -> Any:
        if text in LITERALS:
            return LITERALS[text]
        if re.fullmatch(NAME, text):
            return self._named(text)
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise NotRead
        # It has two arguments, and the second is more than true.
        if isinstance(found, tuple):
            raise NotRead
        return found

    def _named(self, name: str) -> Any:
        first, *keys = name.split(".")
        found = self._variable(first)
        for key in keys:
            if not isinstance(found, Mapping) or key not in found:
                raise NotRead
            found = self._value(found[key])
        return found

    def _variable(self, name: str) -> Any:
        # One that leads to itself is for Ansible to refuse.
        if name not in self._variables or name in self._open:
            raise NotRead
        if name not in self._known:
            self._open.add(name)
            try:
                self._known[name] = self._value(self._variables[name])
            finally:
                self._open.remove(name)
        return self._known[name]
