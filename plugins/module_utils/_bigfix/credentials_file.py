# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""MasterOperatorCredentials of the BigFix root server: where the port of its REST API stands, edited without losing a byte.

Lines KEY=VALUE, one of them C(RESTURL=https://localhost:52311/api), the others a user name and a password.  Only the digits of
the port in RESTURL are read and replaced; what else the file holds is neither looked at nor a reason to refuse the file.

On Windows the same stands in the registry, and beside it the server's own port as a bare number, which is read as the line
C(Port (registry)=52311).
"""

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.setting_names import (
    REST_URL, SERVER_PORT, SERVER_PORT_LINE)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.settings_file import lines, port_spans

_BLANKS = b" \t\r\n"
_QUOTES = (b'"', b"'")
_KEYS = (REST_URL.encode("ascii"), SERVER_PORT_LINE.upper().encode("ascii"))


def named_in(data):
    """What a sentence calls the place of the port."""
    names = {line.partition(b"=")[0].strip(_BLANKS).upper() for _number, _start, line in lines(data)}
    return SERVER_PORT if _KEYS[1] in names else REST_URL


def rest_ports(data):
    """The port of each RESTURL or server port, in the order of the file; None for one that can't be read."""
    if b"\0" in data:   # not lines of text
        return [None]
    return [int(data[spans[0][0]:spans[0][1]]) if spans else None for spans in _rest_urls(data)]


def with_port(data, old, new):
    """bytes -> bytes with `new` in each RESTURL or server port that names the port `old`."""
    if b"\0" in data:
        return data
    out, at = [], 0
    for start, end in (spans[0] for spans in _rest_urls(data) if spans):
        if data[start:end] == b"%d" % old:
            out += [data[at:start], b"%d" % new]
            at = end
    return b"".join(out + [data[at:]])


def _rest_urls(data):
    """Per line of one of the keys: the span of its port in a list, which is empty where there is none."""
    for _number, start, line in lines(data):
        key, equals, rest = line.partition(b"=")
        name = key.strip(_BLANKS).upper()
        if not equals or name not in _KEYS:
            continue
        value = rest.strip(_BLANKS)
        begin = start + len(key) + 1 + rest.find(value)
        if len(value) > 1 and value[:1] in _QUOTES and value[-1:] == value[:1]:
            value, begin = value[1:-1], begin + 1
        if name == _KEYS[1]:
            yield [(begin, begin + len(value))] if value.isdigit() and len(value) < 6 else []
            continue
        found = [(begin + first, begin + last) for first, last in port_spans(value)]
        yield found if len(found) == 1 and 0 < found[0][1] - found[0][0] < 6 else []
