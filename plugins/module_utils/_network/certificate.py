# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's certificate as an agent that pins it knows it: by fingerprints and end.  Nothing is said about who signed it."""

import hashlib
import re

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

_SEQUENCE, _INTEGER, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x02, 0xA0, 0x17, 0x18
# Digits of a fingerprint -> what it is one of.
_KINDS = {40: "sha1", 64: "sha256"}
_NAMES = {"sha1": "SHA-1", "sha256": "SHA-256"}
# What people put between the digits, and the invisible marks that Windows' certificate window puts in front.
_BETWEEN = re.compile("[\\s:\u200b-\u200f\u202a-\u202e\ufeff]+")


class CertificateError(EngineError):
    """A fingerprint that can't be one."""


def parse_thumbprint(text):
    """The fingerprint as upper-case digits, as Windows shows it: 40 of SHA-1, or 64 of SHA-256."""
    digits = _BETWEEN.sub("", text).upper()
    if len(digits) not in _KINDS or not re.match(r"[0-9A-F]+\Z", digits):
        raise CertificateError("thumbprint %r is none: give the 40 hexadecimal digits of the certificate's SHA-1 fingerprint, or "
                               "the 64 of its SHA-256 fingerprint" % text)
    return digits


def described(der):
    """dict(sha1, sha256, not_after) of a certificate; not_after is None where it can't be read."""
    return dict(sha1=hashlib.sha1(der).hexdigest().upper(), sha256=hashlib.sha256(der).hexdigest().upper(),
                not_after=_not_after(der))


def other_than(certificate, thumbprint):
    """A sentence when the certificate (see described()) is not the one with that thumbprint, else None."""
    wanted = parse_thumbprint(thumbprint)
    kind = _KINDS[len(wanted)]
    if certificate[kind] == wanted:
        return None
    return "the server shows the certificate with the %s fingerprint %s, not the one with %s" % (
        _NAMES[kind], certificate[kind], wanted)


def _element(data, at):
    """(tag, start, end) of the DER element at `at`."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length > 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(data[start:start + size], "big"), start + size
    if start + length > len(data):
        raise IndexError(at)
    return tag, start, start + length


def _inside(data, at, tag):
    found, start, unused = _element(data, at)
    if found != tag:
        raise IndexError(at)
    return start


def _not_after(der):
    """The end of its validity, such as 2027-05-31T23:59:59Z."""
    try:
        at = _inside(der, _inside(der, 0, _SEQUENCE), _SEQUENCE)
        if der[at] == _VERSION:
            at = _element(der, at)[2]
        # Serial number, algorithm, issuer.
        for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):
            _inside(der, at, tag)
            at = _element(der, at)[2]
        at = _element(der, _inside(der, at, _SEQUENCE))[2]
        tag, start, end = _element(der, at)
        text = der[start:end].decode("ascii")
    except (IndexError, UnicodeDecodeError):
        return None
    if tag == _UTC_TIME and re.match(r"[0-9]{12}Z\Z", text):
        # RFC 5280: two digits of a year are of 1950 to 2049.
        text = ("20" if int(text[:2]) < 50 else "19") + text
    elif tag != _GENERALIZED_TIME or not re.match(r"[0-9]{14}Z\Z", text):
        return None
    return "%s-%s-%sT%s:%s:%sZ" % (text[:4], text[4:6], text[6:8], text[8:10], text[10:12], text[12:14])
