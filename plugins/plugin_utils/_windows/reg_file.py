# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of the registry as the text that C(reg import) takes, and C(reg export) writes."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from typing import Any

from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import RegistryKey, RegistryValue

_HIVES = dict(HKLM="HKEY_LOCAL_MACHINE", HKU="HKEY_USERS")
_TEXT_KINDS = dict(String="hex(1)", ExpandString="hex(2)", MultiString="hex(7)")
_BINARY_KINDS = dict(Binary="hex", QWord="hex(b)")
_BINARY_KINDS["None"] = "hex(0)"


def reg_file(keys: Iterable[RegistryKey]) -> bytes:
    """The values of these keys.  One that could not be read is a line that says so."""
    lines = ["Windows Registry Editor Version 5.00", ""]
    for key in keys:
        hive, _backslash, rest = key["key"].partition("\\")
        lines += ["[%s\\%s]" % (_HIVES.get(hive.upper(), hive), rest), *map(_line, key["values"]), ""]
    return b"\xff\xfe" + "\r\n".join([*lines, ""]).encode("utf-16-le", "surrogatepass")


def _line(value: RegistryValue) -> str:
    name, kind, data = value["name"], value["type"], value["data"]
    what = _quoted(name) if name else "@"
    if kind == "String" and data.isprintable():
        return "%s=%s" % (what, _quoted(data))
    if kind == "DWord":
        return "%s=dword:%08x" % (what, data)
    if kind in _TEXT_KINDS:
        return "%s=%s:%s" % (what, _TEXT_KINDS[kind], _hex(_ended(data)))
    if kind in _BINARY_KINDS:
        content = struct.pack("<Q", data) if kind == "QWord" else base64.b64decode(data)
        return "%s=%s:%s" % (what, _BINARY_KINDS[kind], _hex(content))
    return "; %s is of a type that could not be read" % what


def _quoted(text: str) -> str:
    return '"%s"' % text.replace("\\", "\\\\").replace('"', '\\"')


def _ended(data: Any) -> bytes:
    """Text, or a list of texts, with the zeros that end each and all of them."""
    texts = data if isinstance(data, list) else [data]
    ended = "".join(text + "\0" for text in texts) + ("\0" if isinstance(data, list) else "")
    return ended.encode("utf-16-le", "surrogatepass")


def _hex(content: bytes) -> str:
    return ",".join("%02x" % byte for byte in content)
