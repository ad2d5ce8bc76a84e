# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A masthead as a stand-in reads it.  Written apart from the collection's own engine on purpose: the lab checks it."""

import os
import re

from . import Refused

URL_HEADERS = (
    "X-Fixlet-Site-Gather-URL",
    "X-Fixlet-Site-Report-URL",
    "X-Fixlet-Site-Registration-URL",
    "X-BES-Mirror-Gather-URL",
    "X-BES-Mirror-Download-URL",
)


class Masthead:
    def __init__(self, data, signed, port, serial, urls):
        self.data = data
        self.signed = signed
        self.port = port
        self.serial = serial
        self.urls = urls

    @property
    def registration_url(self):
        return self.urls["X-Fixlet-Site-Registration-URL"]


def host_and_port(url):
    """('relay', 52311) out of a URL that names both; None otherwise."""
    match = re.match(r"http://([^/:\s]+):([0-9]{1,5})(?:/|$)", url)
    return (match.group(1), int(match.group(2))) if match else None


def parse(data, where):
    """What the text says, complete and of one port; the signature is another question (see verify_signature)."""
    text = data.decode("latin-1")
    outer = text.replace("\r\n", "\n").split("\n\n", 1)[0]
    signed = re.search(r"(?im)^Content-Type:\s*multipart/signed", outer) is not None
    if signed:
        text = _signed_part(text, outer, where)
    # Folded headers go on in the next line, behind a blank.
    lines = re.sub(r"\r?\n[ \t]+", " ", text).replace("\r\n", "\n").split("\n")
    urls, ports = {}, set()
    for name in URL_HEADERS:
        values = [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith(name.lower() + ":")]
        target = host_and_port(values[0]) if len(values) == 1 else None
        if target is None:
            raise Refused("%s: not a whole masthead, %s is missing or broken" % (where, name))
        urls[name] = values[0]
        ports.add(target[1])
    serials = [line.split(":", 1)[1].strip() for line in lines if line.startswith("X-Fixlet-Site-Serial-Number:")]
    if len(serials) != 1 or not re.match(r"[0-9]{9}$", serials[0]):
        raise Refused("%s: not a whole masthead, X-Fixlet-Site-Serial-Number is missing or broken" % where)
    if not signed:
        numbers = [line.split("=", 1)[1].strip() for line in lines if line.startswith("_PortNumber=")]
        if len(numbers) != 1 or not numbers[0].isdigit():
            raise Refused("%s: not a whole masthead, its line _PortNumber= is missing or broken" % where)
        ports.add(int(numbers[0]))
    if len(ports) != 1:
        raise Refused("%s: masthead with mixed ports %s" % (where, ", ".join(str(port) for port in sorted(ports))))
    return Masthead(data, signed, ports.pop(), serials[0], urls)


def _signed_part(text, outer, where):
    match = re.search(r'(?i)boundary="?([^"\s;]+)"?', outer)
    parts = re.split(r"\r?\n--%s(?:--)?[ \t]*(?=\r?\n|$)" % re.escape(match.group(1)), text) if match else []
    # Preamble, signed part, signature, and what follows the closing boundary.
    if len(parts) != 4 or "--%s--" % match.group(1) not in text:
        raise Refused("%s: signed masthead that is not whole" % where)
    return parts[1]


def verify_signature(path, where):
    """Ask openssl, not the collection's code.  No chain of trust: any certificate that comes with the file will do."""
    # The shell only silences openssl; the module subprocess would cost each of some hundred agents a megabyte.
    command = 'exec openssl smime -verify -binary -noverify -in "$1" -out /dev/null >/dev/null 2>&1'
    code = os.spawnvp(os.P_WAIT, "sh", ["sh", "-c", command, "sh", path])
    if code == 127:
        raise Refused("%s: its signature cannot be checked, the command openssl is not there" % where)
    if code != 0:
        raise Refused("%s: the signature of the masthead is broken" % where)


def load(path):
    """The masthead of a host: whole, of one port, intact.  Anything else is Refused."""
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as err:
        raise Refused("%s: masthead cannot be read, %s" % (path, err.strerror))
    # Signature first: an edited masthead is to be called that, whatever else may be odd about it.
    if re.match(br"(?is)(?:[^\n]+\n)*?Content-Type:\s*multipart/signed", data):
        verify_signature(path, path)
    return parse(data, path)
