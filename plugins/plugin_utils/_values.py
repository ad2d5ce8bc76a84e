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
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Variables
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import is_template
from jinja2.defaults import DEFAULT_NAMESPACE

try:
    from ansible.template import is_trusted_as_template
except ImportError:
    # ansible-core before 2.19 has no sure sign of what may be a template, and makes data of text such as "[1]": it is asked for
    # all.
    def is_trusted_as_template(value: object) -> bool:
        return False

# What is read: {{ name }}, {{ name.key }} and {{ hostvars[name].key }}, each with | default(...) behind it once or
# more often and with | bool; and text around {{ name }}.
NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
TERM = r"(?:hostvars\[%s\]\.[A-Za-z_]\w*|%s)" % (NAME, NAME)
NAMED = re.compile(r"\{\{\s*(%s)\s*\}\}\Z" % NAME)
DEFAULTED = re.compile(
    r"\{\{\s*(%s)((?:\s*\|\s*default\([^()]*\))*)(\s*\|\s*bool)?\s*\}\}\Z" % TERM)
DEFAULT = re.compile(r"default\(\s*([^()]*?)\s*(,\s*[tT]rue\s*)?\)")
PREFIXED = re.compile(r"(?:^|[^\w'\"])[A-Za-z]+['\"]")
WITHIN = re.compile(r"\{\{\s*(%s)\s*\}\}" % NAME)
LITERALS = dict(true=True, false=False, none=None)
# Names that Ansible and Jinja have a meaning for, without a variable.
MEANT = frozenset((
    "omit", "lookup", "query", "q", "now", "undef", "vars", "hostvars", "self", "loop", "caller", "varargs", "kwargs",
    *DEFAULT_NAMESPACE))


class _Undefined:
    """What a template calls undefined: a default stands in for it."""


UNDEFINED = _Undefined()


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
        if isinstance(raw, list):
            return [self._read(one) if is_template(one) else one for one in raw]
        # A value that came from a host, say, is no template, whatever it looks like.
        if not isinstance(raw, str) or not is_trusted_as_template(raw):
            raise NotRead
        defaulted = DEFAULTED.match(raw)
        return self._defaulted(*defaulted.groups()) if defaulted else self._joined(raw)

    def _joined(self, raw: str) -> str:
        """Text with names in it."""
        words = WITHIN.split(raw)
        if any(sign in text for text in words[::2] for sign in "{}\n"):
            raise NotRead
        words[1::2] = [self._named(name) for name in words[1::2]]
        # Text of what is none, such as a number, is Ansible's to make.
        if not all(isinstance(word, str) for word in words):
            raise NotRead
        return "".join(words)

    def _defaulted(self, term: str, behind: str, as_bool: str | None) -> Any:
        found = self._term(term)
        for text, falsy_too in DEFAULT.findall(behind):
            default = self._default(text)
            if found is UNDEFINED or falsy_too and not found:
                found = default()
        if found is UNDEFINED or as_bool and not isinstance(found, bool):
            raise NotRead
        return found

    def _default(self, text: str) -> Callable[[], Any]:
        """What gives the value of a default, once it is asked for: a literal or a name; anything else is a template's."""
        if text in LITERALS:
            return lambda: LITERALS[text]
        if re.fullmatch(TERM, text):
            return lambda: self._term(text)
        # Ansible leaves a backslash as it stands, and knows no r"".
        if "\\" in text or PREFIXED.search(text):
            raise NotRead
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            # It may have a second argument, which is more than true.
            if "," in text or "=" in text:
                raise NotRead
            return self._not_read
        if isinstance(found, (tuple, set, complex)):
            raise NotRead
        return lambda: found

    @staticmethod
    def _not_read() -> Any:
        raise NotRead

    def _term(self, term: str) -> Any:
        """The value of a name or of another host's variable, or UNDEFINED."""
        if not term.startswith("hostvars["):
            return self._named(term)
        host, key = term[len("hostvars["):].split("].")
        hostvars, name = self._variables.get("hostvars"), self._named(host)
        raw_get = getattr(hostvars, "raw_get", None)
        if raw_get is None or not isinstance(name, str):
            raise NotRead
        known = raw_get(name)
        # A template of another host is templated with what that one has.
        if not isinstance(known, Mapping) or is_template(known.get(key)):
            raise NotRead
        return known.get(key, UNDEFINED)

    def _raw(self, name: str) -> Any:
        """What was written under this name, which may lead into dictionaries; UNDEFINED where nothing was."""
        first, *keys = name.split(".")
        # All variables together, of this host and of others: these are for Ansible, which templates no more than it needs.
        if first in MEANT:
            raise NotRead
        return self._below(self._variables.get(first, UNDEFINED), keys)

    @staticmethod
    def _below(found: Any, keys: list[str]) -> Any:
        for key in keys:
            if found is UNDEFINED:
                break
            # Its own attributes, such as `items` of a dictionary, are there too.
            if not isinstance(found, Mapping) or (key not in found and hasattr(found, key)):
                raise NotRead
            found = found.get(key, UNDEFINED)
        return found

    def _named(self, name: str) -> Any:
        if name in self._open:
            raise NotRead
        self._open.add(name)
        try:
            first, *keys = name.split(".")
            if keys and isinstance(self._variables.get(first), str):
                return self._part(first, keys)
            raw = self._raw(name)
            return raw if raw is UNDEFINED else self._value(raw)
        finally:
            self._open.remove(name)

    def _part(self, name: str, keys: list[str]) -> Any:
        """Of a dictionary that a template makes, once for all that ask."""
        if name not in self._made:
            self._made[name] = self._templar.template(dict(it=self._raw(name))).get("it")
        return self._below(self._made[name], keys)
