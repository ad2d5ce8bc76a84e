# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a piece of JSON is what a TypedDict of the contract says: every key known, every type right, nothing missing."""

import types
import typing

from ansible_collections.portshift.agents.plugins.plugin_utils._windows import protocol

NAMES = dict(vars(protocol), NotRequired=typing.NotRequired)


class Misfit(Exception):
    """One sentence, with the place: request.steps[2].path is 5, not text."""


@typing.no_type_check
def hints(kind):
    return typing.get_type_hints(kind, NAMES, NAMES, include_extras=True)


def check(value, kind, where):
    if isinstance(kind, str):
        kind = eval(kind, NAMES)    # a name of the contract
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return
    if origin in (types.UnionType, typing.Union):
        return _one_of(value, arguments, where)
    if origin is typing.Literal:
        if not any(value == one and type(value) is type(one) for one in arguments):
            raise Misfit("%s is %r, not %s" % (where, value, " or ".join(map(repr, arguments))))
    elif origin is list:
        if not isinstance(value, list):
            raise Misfit("%s is %s, not a list" % (where, named(value)))
        for number, one in enumerate(value):
            check(one, arguments[0], "%s[%d]" % (where, number))
    elif origin is dict:
        if not isinstance(value, dict):
            raise Misfit("%s is %s, not an object" % (where, named(value)))
        for key, one in value.items():
            check(one, arguments[1], "%s[%r]" % (where, key))
    elif typing.is_typeddict(kind):
        _object(value, kind, where)
    elif kind in (None, type(None)):
        if value is not None:
            raise Misfit("%s is %s, not null" % (where, named(value)))
    elif kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Misfit("%s is %s, not a number" % (where, named(value)))
    elif not isinstance(value, kind) or kind is int and isinstance(value, bool):
        raise Misfit("%s is %s, not %s" % (where, named(value), kind.__name__))


def named(value):
    return "%r, of type %s" % (value if not isinstance(value, (str, list, dict)) or len(str(value)) < 60 else "...",
                               type(value).__name__)


def _object(value, kind, where):
    if not isinstance(value, dict):
        raise Misfit("%s is %s, not an object" % (where, named(value)))
    wanted = hints(kind)
    for key in value:
        if key not in wanted:
            raise Misfit("%s has %r, which %s does not know" % (where, key, kind.__name__))
    for key, hint in wanted.items():
        optional = typing.get_origin(hint) is typing.NotRequired
        if key in value:
            check(value[key], typing.get_args(hint)[0] if optional else hint, "%s.%s" % (where, key))
        elif not optional:
            raise Misfit("%s has no %r" % (where, key))


def _one_of(value, kinds, where):
    """Of several TypedDicts the one that a literal of theirs names, so that the sentence is about that one."""
    objects = [kind for kind in kinds if typing.is_typeddict(kind)]
    if isinstance(value, dict) and len(objects) == 1:
        return check(value, objects[0], where)
    if isinstance(value, dict) and objects:
        for kind in objects:
            for key, hint in hints(kind).items():
                if typing.get_origin(hint) is typing.Literal and value.get(key) in typing.get_args(hint):
                    return check(value, kind, where)
        raise Misfit("%s is an object that is none of %s" % (where, ", ".join(kind.__name__ for kind in objects)))
    trouble = []
    for kind in kinds:
        try:
            return check(value, kind, where)
        except Misfit as err:
            trouble.append(str(err))
    raise Misfit("; ".join(trouble))
