# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks a detached PKCS#7/CMS signature (RFC 2315, RFC 5652) with the standard library alone.

It answers one question: were these bytes signed by the key of the certificate that lies in the signature?
There is NO chain of trust, no expiry, revocation or key usage check: any user who can make a certificate can make a
"valid" signature.  Compare `signer_sha256` with a known one where that matters.

"valid" is never said where `openssl smime -verify -noverify` says no.  For that, certificates and revocation lists are read
as strictly as OpenSSL reads them, and whatever is not understood here ends as "unchecked" or "invalid".
"""

import hashlib
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

Verdict = namedtuple("Verdict", "status signer_sha256 reason")  # status: "valid", "invalid" or "unchecked"

# A real signature has a few thousand bytes and one signer.  Far more is an attempt to keep the reader busy.
MAX_SIGNATURE = 1 << 18
MAX_SIGNERS = 16
MAX_DEPTH = 32
MAX_MODULUS_BITS = 16384  # OpenSSL's limit too
MAX_EXPONENT_BITS = 64

_MALFORMED = "the signature is not a well-formed SignedData"


class CmsError(EngineError):
    """The signature is not a well-formed SignedData; never leaves `verify_detached`."""


def verify_detached(der, content):
    """Check the signature `der` over `content`.  Always returns a Verdict: a malformed signature is "invalid"."""
    try:
        if len(der) > MAX_SIGNATURE:
            raise CmsError("the signature is larger than %d bytes" % MAX_SIGNATURE)
        return _verify(bytes(der), content)
    except CmsError as err:
        return Verdict("invalid", None, str(err))


# --- object identifiers, as they stand in the encoding ----------------------------------------------------------

_DATA = bytes.fromhex("2a864886f70d010701")
_UNSPECIFIED = b"\0"  # 0.0, which dual-signed mastheads give as the type of their content
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_KEY_IDENTIFIER = bytes.fromhex("551d0e")
_RSA = bytes.fromhex("2a864886f70d010101")
_DIGESTS = {
    bytes.fromhex("2b0e03021a"): "sha1",
    bytes.fromhex("608648016503040204"): "sha224",
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
_RSA_WITH = {  # signature algorithms that name their digest
    bytes.fromhex("2a864886f70d010105"): "sha1",
    bytes.fromhex("2a864886f70d01010e"): "sha224",
    bytes.fromhex("2a864886f70d01010b"): "sha256",
    bytes.fromhex("2a864886f70d01010c"): "sha384",
    bytes.fromhex("2a864886f70d01010d"): "sha512",
}

# --- BER and DER ------------------------------------------------------------------------------------------------

_BOOLEAN, _INTEGER, _BITS, _OCTETS, _NULL, _OID, _SEQUENCE, _SET = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x30, 0x31
_UTF8, _UTC_TIME, _GENERALIZED_TIME, _UNIVERSAL, _BMP = 0x0C, 0x17, 0x18, 0x1C, 0x1E
_NAME_STRINGS = (_UTF8, 0x12, 0x13, 0x14, 0x16, _UNIVERSAL, _BMP)  # 12 13 14 16: numeric, printable, T61, IA5

_Node = namedtuple("_Node", "tag body raw")


def _read(data, pos, der, depth=0):
    """The element at `pos` and the position behind it.  `der`: only definite, shortest lengths will do."""
    if depth > MAX_DEPTH:
        raise CmsError("the signature is nested too deeply")
    if len(data) - pos < 2:
        raise CmsError("the signature ends in the middle of an element")
    tag, length, start = data[pos], data[pos + 1], pos + 2
    if tag & 0x1F == 0x1F:
        raise CmsError("the signature uses a tag that no signature needs")
    if length == 0x80:  # indefinite: up to the end-of-contents mark on this level
        if der or not tag & 0x20:
            raise CmsError("the signature has an indefinite length where none may stand")
        end = start
        while data[end:end + 2] != b"\0\0":
            end = _read(data, end, der, depth + 1)[1]
        return _Node(tag, data[start:end], data[pos:end + 2]), end + 2
    if length > 0x80:
        octets = data[start:start + (length & 0x7F)]
        start += length & 0x7F
        length = int.from_bytes(octets, "big")
        if start > len(data) or length > len(data) - start:
            raise CmsError("the signature ends in the middle of an element")
        if der and (length < 0x80 or octets[0] == 0):
            raise CmsError("a certificate or attribute of the signature is not DER")
    if length > len(data) - start:
        raise CmsError("the signature ends in the middle of an element")
    return _Node(tag, data[start:start + length], data[pos:start + length]), start + length


class _Elements:
    """The elements inside one constructed element, taken in their order."""

    def __init__(self, node, tag, der=False):
        if node.tag != tag:
            raise CmsError(_MALFORMED)
        self._left, pos = [], 0
        while pos < len(node.body):
            child, pos = _read(node.body, pos, der)
            self._left.append(child)
        self._left.reverse()

    def take(self, *tags):
        if not self._left or self._left[-1].tag not in tags:
            raise CmsError(_MALFORMED)
        return _checked(self._left.pop())

    def maybe(self, tag):
        return self.take(tag) if self._left and self._left[-1].tag == tag else None

    def rest(self):
        while self._left:
            yield _checked(self._left.pop())

    def end(self):
        if self._left:
            raise CmsError(_MALFORMED)


def _checked(node):
    """The node again, once its contents are known to be what its tag promises (as far as OpenSSL would look)."""
    tag, body = node.tag, node.body
    if tag & 0xC0:  # context-specific: the caller knows what it is
        return node
    ok = True
    if tag == _INTEGER or tag == 0x0A:
        ok = body and not (len(body) > 1 and (body[0], body[1] >> 7) in ((0, 0), (0xFF, 1)))
    elif tag == _OID:
        ok = body and body[-1] < 0x80 and body[0] != 0x80 and all(
            byte != 0x80 or before >= 0x80 for before, byte in zip(body, body[1:]))
    elif tag == _BITS:
        ok = body and body[0] < 8 and (len(body) > 1 or body[0] == 0)
    elif tag == _BOOLEAN:
        ok = len(body) == 1
    elif tag == _NULL:
        ok = not body
    elif tag == _UTC_TIME or tag == _GENERALIZED_TIME:
        ok = len(body) >= (13 if tag == _UTC_TIME else 15)
    elif tag == _BMP or tag == _UNIVERSAL:
        ok = len(body) % (2 if tag == _BMP else 4) == 0
    elif tag & 0x20:
        ok = tag in (_SEQUENCE, _SET, _OCTETS | 0x20)
    else:
        ok = tag not in (0x00, 0x10, 0x11)
    if not ok:
        raise CmsError("the signature holds an element (tag 0x%02x) that is not well-formed" % tag)
    return node


def _tlv(tag, body):
    size = len(body)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return (bytes([tag, size]) if size < 0x80 else bytes([tag, 0x80 | len(octets)]) + octets) + body


def _octets(node):
    if node.tag == _OCTETS:
        return node.body
    pieces = list(_Elements(node, _OCTETS | 0x20).rest())  # BER may cut a string into pieces
    if any(piece.tag != _OCTETS for piece in pieces):
        raise CmsError(_MALFORMED)
    return b"".join(piece.body for piece in pieces)


def _algorithm(node, der=False):
    """An AlgorithmIdentifier -> (its OID, the bytes of its parameters)."""
    parts = _Elements(node, _SEQUENCE, der)
    oid, parameters = parts.take(_OID).body, list(parts.rest())
    if len(parameters) > 1:
        raise CmsError(_MALFORMED)
    return oid, b"".join(parameter.raw for parameter in parameters)


# --- certificates -----------------------------------------------------------------------------------------------

_Certificate = namedtuple("_Certificate", "sha256 issuer serial key_identifier key")  # key: (modulus, exponent) or None


def _certificate(node):
    node = _read(node.raw, 0, True)[0]  # again, as DER: the fingerprint is one of DER
    outer = _Elements(node, _SEQUENCE, True)
    tbs = _Elements(outer.take(_SEQUENCE), _SEQUENCE, True)
    _algorithm(outer.take(_SEQUENCE), True)
    outer.take(_BITS)
    outer.end()
    version = tbs.maybe(0xA0)
    if version:
        version = _Elements(version, 0xA0, True)
        version.take(_INTEGER)
        version.end()
    serial = tbs.take(_INTEGER).body
    _algorithm(tbs.take(_SEQUENCE), True)
    issuer = _name(tbs.take(_SEQUENCE))
    validity = _Elements(tbs.take(_SEQUENCE), _SEQUENCE, True)
    validity.take(_UTC_TIME, _GENERALIZED_TIME)
    validity.take(_UTC_TIME, _GENERALIZED_TIME)
    validity.end()
    _name(tbs.take(_SEQUENCE))
    key = _public_key(tbs.take(_SEQUENCE))
    for tag in (0x81, 0x82):
        unique = tbs.maybe(tag)
        if unique:
            _checked(_Node(_BITS, unique.body, unique.raw))
    key_identifier = None
    extensions = tbs.maybe(0xA3)
    if extensions:
        explicit = _Elements(extensions, 0xA3, True)
        key_identifier = _extensions(explicit.take(_SEQUENCE)).get(_KEY_IDENTIFIER)
        explicit.end()
        if key_identifier is not None:
            key_identifier = _read(key_identifier, 0, True)[0].body
    tbs.end()
    return _Certificate(hashlib.sha256(node.raw).hexdigest(), issuer, serial, key_identifier, key)


def _extensions(node):
    """Extensions -> {OID: value}; None for one that comes twice, which OpenSSL does not use either."""
    found = {}
    for extension in _Elements(node, _SEQUENCE, True).rest():
        parts = _Elements(extension, _SEQUENCE, True)
        oid = parts.take(_OID).body
        parts.maybe(_BOOLEAN)
        value = parts.take(_OCTETS).body
        parts.end()
        found[oid] = None if oid in found else value
    return found


def _read_revocation_list(node):
    """Nothing here uses a revocation list (RFC 5280, 5.1); OpenSSL refuses a signature with a malformed one, though."""
    outer = _Elements(_read(node.raw, 0, True)[0], _SEQUENCE, True)
    tbs = _Elements(outer.take(_SEQUENCE), _SEQUENCE, True)
    _algorithm(outer.take(_SEQUENCE), True)
    outer.take(_BITS)
    outer.end()
    tbs.maybe(_INTEGER)
    _algorithm(tbs.take(_SEQUENCE), True)
    _name(tbs.take(_SEQUENCE))
    tbs.take(_UTC_TIME, _GENERALIZED_TIME)
    if not tbs.maybe(_UTC_TIME):
        tbs.maybe(_GENERALIZED_TIME)
    revoked = tbs.maybe(_SEQUENCE)
    for entry in _Elements(revoked, _SEQUENCE, True).rest() if revoked else ():
        parts = _Elements(entry, _SEQUENCE, True)
        parts.take(_INTEGER)
        parts.take(_UTC_TIME, _GENERALIZED_TIME)
        extensions = parts.maybe(_SEQUENCE)
        if extensions:
            _extensions(extensions)
        parts.end()
    extensions = tbs.maybe(0xA0)
    if extensions:
        explicit = _Elements(extensions, 0xA0, True)
        _extensions(explicit.take(_SEQUENCE))
        explicit.end()
    tbs.end()


def _name(node):
    for relative in _Elements(node, _SEQUENCE, True).rest():
        for pair in _Elements(relative, _SET, True).rest():
            parts = _Elements(pair, _SEQUENCE, True)
            parts.take(_OID)
            text = parts.take(*_NAME_STRINGS)
            parts.end()
            try:  # OpenSSL turns every name into UTF-8 while it reads and gives up where it cannot
                if text.tag == _UTF8:
                    text.body.decode("utf-8")
                elif text.tag == _UNIVERSAL:
                    text.body.decode("utf-32-be")
                elif text.tag == _BMP and any(0xD8 <= high <= 0xDF for high in text.body[::2]):
                    raise ValueError("half a character")
            except ValueError:
                raise CmsError("a certificate in the signature has a name that is not text")
    return node.raw


def _public_key(node):
    parts = _Elements(node, _SEQUENCE, True)
    algorithm, parameters = _algorithm(parts.take(_SEQUENCE), True)
    bits = parts.take(_BITS).body
    parts.end()
    if (algorithm, parameters) != (_RSA, b"\x05\0") or bits[0] != 0:
        return None
    key, end = _read(bits, 1, True)
    numbers = _Elements(key, _SEQUENCE, True)
    modulus, exponent = [int.from_bytes(numbers.take(_INTEGER).body, "big", signed=True) for _unused in range(2)]
    numbers.end()
    if end != len(bits) or modulus <= exponent or exponent < 3 or not modulus & exponent & 1:
        raise CmsError("a certificate in the signature has a malformed RSA key")
    if modulus.bit_length() > MAX_MODULUS_BITS or exponent.bit_length() > MAX_EXPONENT_BITS:
        return None
    return modulus, exponent


def _rsa_matches(key, digest_oid, digest, signature):
    """RSASSA-PKCS1-v1_5 as RFC 8017 wants it: build the one right block and compare, parse nothing."""
    modulus, exponent = key
    size = (modulus.bit_length() + 7) // 8
    info = _tlv(_SEQUENCE, _tlv(_SEQUENCE, _tlv(_OID, digest_oid) + b"\x05\0") + _tlv(_OCTETS, digest))
    padding = size - 3 - len(info)
    number = int.from_bytes(signature, "big")
    if padding < 8 or len(signature) != size or number >= modulus:
        return False
    return pow(number, exponent, modulus) == int.from_bytes(b"\0\1" + b"\xff" * padding + b"\0" + info, "big")


# --- SignedData -------------------------------------------------------------------------------------------------


def _verify(der, content):
    wrapper = _Elements(_read(der, 0, False)[0], _SEQUENCE)
    if wrapper.take(_OID).body != _SIGNED_DATA:
        raise CmsError("the signature part holds no SignedData")
    explicit = _Elements(wrapper.take(0xA0), 0xA0)
    wrapper.end()
    signed = _Elements(explicit.take(_SEQUENCE), _SEQUENCE)
    explicit.end()
    signed.take(_INTEGER)
    announced = [_algorithm(node)[0] for node in _Elements(signed.take(_SET), _SET).rest()]
    inside = _Elements(signed.take(_SEQUENCE), _SEQUENCE)
    content_type = inside.take(_OID).body
    if inside.maybe(0xA0):
        raise CmsError("the signature brings its own content instead of signing the part before it")
    inside.end()
    certificates = signed.maybe(0xA0)
    certificates = [_certificate(node) for node in _Elements(certificates, 0xA0).rest()] if certificates else []
    lists = signed.maybe(0xA1)
    for node in _Elements(lists, 0xA1).rest() if lists else ():
        _read_revocation_list(node)
    signers = list(_Elements(signed.take(_SET), _SET).rest())
    signed.end()
    if not 1 <= len(signers) <= MAX_SIGNERS:
        raise CmsError("the signature names %s" % ("too many signers" if signers else "no signer"))

    verdicts = [_verify_signer(node, certificates, announced, content_type, content) for node in signers]
    # One bad signer spoils it.
    verdict = min(verdicts, key=lambda one: ("invalid", "unchecked", "valid").index(one.status))
    if verdict.status == "valid" and not (content_type in (_DATA, _UNSPECIFIED) and set(announced) <= set(_DIGESTS)):
        return verdict._replace(status="unchecked", reason="the signature has parts that are not understood here")
    return verdict


def _verify_signer(node, certificates, announced, content_type, content):
    info = _Elements(node, _SEQUENCE)
    info.take(_INTEGER)
    signer = info.take(_SEQUENCE, 0x80)
    digest_oid = _algorithm(info.take(_SEQUENCE))[0]
    attributes = info.maybe(0xA0)
    algorithm = _algorithm(info.take(_SEQUENCE))[0]
    signature = _octets(info.take(_OCTETS, _OCTETS | 0x20))
    unsigned = info.maybe(0xA1)
    info.end()
    if unsigned:
        _attributes(unsigned, 0xA1, False)
    certificate = _find(signer, certificates)
    sha256 = certificate.sha256 if certificate else None

    name = _DIGESTS.get(digest_oid)
    try:
        digest = hashlib.new(name, content).digest() if name else None
    except ValueError:  # a FIPS build may not have it
        name = digest = None
    to_sign = digest
    if attributes:
        values = _attributes(attributes, 0xA0, True)
        # Dual-signed mastheads are signed as data, and leave the type open outside of the attributes.
        types = (_UNSPECIFIED, _DATA) if content_type == _UNSPECIFIED else (content_type,)
        if values.get(_CONTENT_TYPE) not in [[_tlv(_OID, one)] for one in types]:
            return Verdict("invalid", sha256, "the signed attributes name another type of content")
        if name and values.get(_MESSAGE_DIGEST) != [_tlv(_OCTETS, digest)]:
            return Verdict("invalid", sha256, "the content is not what was signed: its %s digest differs" % name)
        # What was signed is a SET, not the [0] that stands in the file.  The attributes stay in the order found, as
        # OpenSSL keeps them; for DER, which the standard demands here, that is the sorted order.
        to_sign = hashlib.new(name, _tlv(_SET, attributes.body)).digest() if name else None
    if not name:
        return Verdict("unchecked", sha256, "the signature uses a digest that is not checked here")
    if digest_oid not in announced:
        return Verdict("invalid", sha256, "the signature does not announce the digest that its signer used")
    if not certificate:
        return Verdict("unchecked", None, "the certificate of the signer is not inside the signature")
    if not certificate.key or algorithm != _RSA and algorithm not in _RSA_WITH:
        return Verdict("unchecked", sha256, "only RSA (PKCS#1 v1.5) signatures are checked here")
    if _RSA_WITH.get(algorithm, name) != name or not _rsa_matches(certificate.key, digest_oid, to_sign, signature):
        return Verdict("invalid", sha256, "the signature was not made with the key of the certificate inside")
    return Verdict("valid", sha256, "the signature fits the content and the certificate inside")


def _attributes(node, tag, der):
    """Attributes -> {OID: the encodings of its values}.  Signed ones must be DER, and an OID must not come twice."""
    found = {}
    for attribute in _Elements(node, tag, der).rest():
        parts = _Elements(attribute, _SEQUENCE, der)
        oid = parts.take(_OID).body
        values = [value.raw for value in _Elements(parts.take(_SET), _SET, der).rest()]
        parts.end()
        if der and oid in found:
            raise CmsError("the signature has the same signed attribute twice")
        found[oid] = values
    if not found:
        raise CmsError("the signature has an empty set of attributes")
    return found


def _find(signer, certificates):
    if signer.tag == 0x80:
        return next((one for one in certificates if one.key_identifier == signer.body), None)
    parts = _Elements(signer, _SEQUENCE)
    issuer, serial = parts.take(_SEQUENCE).raw, parts.take(_INTEGER).body
    parts.end()
    return next((one for one in certificates if (one.issuer, one.serial) == (issuer, serial)), None)
