# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HubDetails.xml as an agent has it: read at the start, and the password in it sealed to this machine at the first one."""

import base64
import hashlib
import hmac
import os
import re
import stat
from collections import namedtuple
from urllib.parse import urlsplit
from xml.parsers import expat
from xml.sax.saxutils import escape

from ..files import write_atomically
from . import Refused

Settings = namedtuple("Settings", "url username password thumbprint")
# An element of the root: its text, and its first and last byte + 1 in UTF-8.
_Element = namedtuple("_Element", "text start end")
_ENCODINGS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Url:
    """Of the hub: where to connect, and below which path."""

    def __init__(self, text):
        parts = urlsplit(text)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise Refused("HubDetails.xml: the Url is none of http or https with a host")
        try:
            self.port = parts.port or _DEFAULT_PORTS[parts.scheme]
        except ValueError:
            raise Refused("HubDetails.xml: the Url has a port that is none")
        self.text, self.tls, self.host, self.path = text, parts.scheme == "https", parts.hostname, parts.path.rstrip("/")


def _decoded(data):
    """-> (byte order mark, encoding, text as UTF-8)"""
    mark, encoding = next(((mark, name) for mark, name in _ENCODINGS if data.startswith(mark)), (b"", "utf-8"))
    return mark, encoding, data[len(mark):].decode(encoding).encode("utf-8")


def _elements(utf8):
    """-> {name: _Element} of what stands directly in the root."""
    found, depth = {}, []
    parser = expat.ParserCreate("utf-8")

    def starts(name, _attributes):
        depth.append((name, parser.CurrentByteIndex, []))

    def says(characters):
        if len(depth) == 2:
            depth[-1][2].append(characters)

    def ends(name):
        _name, start, text = depth.pop()
        if len(depth) == 1:
            # Of <E1/> the end is where the start is.
            end = utf8.index(b">", parser.CurrentByteIndex) + 1
            found[name] = _Element("".join(text).strip(), start, end)

    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = starts, says, ends
    parser.Parse(utf8, True)
    return found


def read(host):
    """-> Settings, with the password out of E1; one that stands there in clear is sealed first."""
    try:
        with open(host.hub_details, "rb") as stream:
            data = stream.read()
        mark, encoding, utf8 = _decoded(data)
        elements = _elements(utf8)
    except (OSError, UnicodeError, expat.ExpatError) as err:
        raise Refused("HubDetails.xml can't be read: %s" % err)

    def text(name):
        return elements[name].text if name in elements else ""

    if text("Proxy"):
        raise Refused("HubDetails.xml names a proxy, and this stand-in knows none")
    password = text("Password")
    if password:
        after = _with_sealed(utf8, elements, sealed(host, password))
        mode = stat.S_IMODE(os.stat(host.hub_details).st_mode)
        write_atomically(host.hub_details, mark + after.decode("utf-8").encode(encoding), mode)
    else:
        password = unsealed(host, text("E1"))
    return Settings(Url(text("Url")), text("Username"), password, re.sub(r"[\s:]", "", text("Thumbprint")).lower())


def url_of(host):
    """-> the Url of the file as it is now; None without one."""
    try:
        with open(host.hub_details, "rb") as stream:
            return Url(_elements(_decoded(stream.read())[2])["Url"].text)
    except (OSError, UnicodeError, expat.ExpatError, KeyError, Refused):
        return None


def _with_sealed(utf8, elements, secret):
    """The file with <Password /> and its E1, and not a byte else changed."""
    secret = b"<E1>%s</E1>" % escape(secret).encode("ascii")
    password = elements["Password"]
    edits = [(password.start, password.end, b"<Password />")]
    if "E1" in elements:
        edits.append((elements["E1"].start, elements["E1"].end, secret))
    else:
        # On a line of its own, as far in as the password.
        blanks = re.search(br"[ \t\r\n]*\Z", utf8[:password.start]).group()
        edits[0] = (password.start, password.end, b"<Password />" + blanks + secret)
    for start, end, new in sorted(edits, reverse=True):
        utf8 = utf8[:start] + new + utf8[end:]
    return utf8


# -- E1: no machine but this one can read it, and a changed one is noticed
def _key(host):
    if not os.path.exists(host.seal):
        write_atomically(host.seal, os.urandom(32), 0o600)
    with open(host.seal, "rb") as own, open(host.machine_id, "rb") as machine:
        return hmac.new(own.read(), machine.read().strip(), hashlib.sha256).digest()


def _masked(key, nonce, data):
    stream = b"".join(hmac.new(key, nonce + bytes([block]), hashlib.sha256).digest() for block in range(len(data) // 32 + 1))
    return bytes(one ^ other for one, other in zip(data, stream))


def sealed(host, password):
    key, nonce = _key(host), os.urandom(16)
    body = nonce + _masked(key, nonce, password.encode("utf-8"))
    return base64.b64encode(body + hmac.new(key, body, hashlib.sha256).digest()).decode("ascii")


def unsealed(host, text):
    if not text:
        raise Refused("HubDetails.xml has neither a password nor an E1")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        data = b""
    key, body, proof = _key(host), data[:-32], data[-32:]
    if len(body) < 16 or not hmac.compare_digest(hmac.new(key, body, hashlib.sha256).digest(), proof):
        raise Refused("E1 of HubDetails.xml was not written on this machine, or was changed since")
    return _masked(key, body[:16], body[16:]).decode("utf-8")
