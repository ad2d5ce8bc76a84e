# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detached signatures made by hand, element by element: whole ones, and forgeries of each kind that we could think of.

The keys are real, so that an attribute or a block that is wrong can still be signed rightly.  FAMILIES holds functions that
yield Case tuples.
"""

import base64
import functools
import hashlib
import os
import re
from collections import namedtuple

from ansible_collections.portshift.agents.tests.unit.masthead_files import openssl, session_directory, session_signer

CONTENT = b"X-Fixlet-Site-Gather-URL: http://bigfix.example.test:52311/\r\nthe port is 52311\r\n"

# `command`: the one of openssl that reads this form.  `expected`: None where openssl alone has to say.
Case = namedtuple("Case", "name der content command expected")


def case(name, der, content=CONTENT, command="smime", expected=None):
    return Case(name, der, content, command, expected)


# --- DER ----------------------------------------------------------------------------------------------------------

SEQUENCE, SET, INTEGER, BITS, OCTETS, OID, NULL = 0x30, 0x31, 0x02, 0x03, 0x04, 0x06, b"\x05\0"


def tlv(tag, *parts):
    body = b"".join(parts)
    size = len(body)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return (bytes([tag, size]) if size < 0x80 else bytes([tag, 0x80 | len(octets)]) + octets) + body


def indefinite(tag, *parts):
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def number(value):
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def read(data, at=0):
    """(tag, body, what follows) of the element at a place."""
    tag, size, start = data[at], data[at + 1], at + 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[at + 2:start], "big")
    return tag, data[start:start + size], start + size


def elements(body):
    """The elements of a body, whole."""
    found, at = [], 0
    while at < len(body):
        end = read(body, at)[2]
        found.append(body[at:end])
        at = end
    return found


def inside(data):
    return elements(read(data)[1])


# --- names of things ----------------------------------------------------------------------------------------------


def oid(hexadecimal):
    return tlv(OID, bytes.fromhex(hexadecimal))


DATA, SIGNED, ENVELOPED = oid("2a864886f70d010701"), oid("2a864886f70d010702"), oid("2a864886f70d010703")
UNSPECIFIED, RECEIPT = oid("00"), oid("2a864886f70d0109100101")
CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME = oid("2a864886f70d010903"), oid("2a864886f70d010904"), oid("2a864886f70d010905")
KEY_IDENTIFIER = oid("551d0e")
MD = {"md5": oid("2a864886f70d0205"), "sha1": oid("2b0e03021a"), "sha224": oid("608648016503040204"),
      "sha256": oid("608648016503040201"), "sha384": oid("608648016503040202"), "sha512": oid("608648016503040203")}
RSA, PSS, ECDSA = oid("2a864886f70d010101"), oid("2a864886f70d01010a"), oid("2a8648ce3d040302")
RSA_WITH = {"md5": oid("2a864886f70d010104"), "sha1": oid("2a864886f70d010105"), "sha256": oid("2a864886f70d01010b"),
            "sha384": oid("2a864886f70d01010c"), "sha512": oid("2a864886f70d01010d")}


def algorithm(name, parameters=NULL):
    return tlv(SEQUENCE, MD.get(name, name), parameters)


# --- keys ---------------------------------------------------------------------------------------------------------

class Key:
    """An RSA key with its certificate; see made()."""

    def __init__(self, modulus, exponent, primes, certificate):
        self.modulus, self.exponent, self.primes, self.certificate = modulus, exponent, primes, certificate
        self.size = (modulus.bit_length() + 7) // 8
        fields = inside(inside(certificate)[0])
        self.serial, self.issuer = fields[1], fields[3]
        found = certificate.find(KEY_IDENTIFIER)
        self.identifier = read(read(certificate, found + len(KEY_IDENTIFIER))[1])[1] if found > 0 else None

    def sealed(self, block):
        """A block as the signature that opens to it."""
        first, second, of_first, of_second, inverse = self.primes
        value = int.from_bytes(block, "big")
        rest = pow(value, of_second, second)
        found = rest + (pow(value, of_first, first) - rest) * inverse % first * second
        assert pow(found, self.exponent, self.modulus) == value % self.modulus
        return found.to_bytes(self.size, "big")

    def block(self, info, kind=b"\1", filler=b"\xff", short=0, behind=b""):
        room = self.size - 3 - len(info) - len(behind) - short
        return b"\0" + kind + filler * room + b"\0" + info + behind + bytes(short)

    def signature(self, md, digest):
        return self.sealed(self.block(digest_info(md, digest)))


def digest_info(md, digest, parameters=NULL):
    return tlv(SEQUENCE, algorithm(md, parameters), tlv(OCTETS, digest))


@functools.cache
def made(name, kind="rsa"):
    """The key of that name, made once per session."""
    key, cert = session_signer(name, kind)
    private = _der("pkey", "-in", key)
    parts = inside(private)
    if read(parts[1])[0] == SEQUENCE:
        parts = inside(read(parts[2])[1])  # PKCS#8, around the RSAPrivateKey
    modulus, exponent, _private, *primes = [int.from_bytes(read(part)[1], "big") for part in parts[1:]]
    return Key(modulus, exponent, primes, _der("x509", "-in", cert))


def _der(*command):
    run = openssl(*command, "-outform", "DER")
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


@functools.cache
def revocation_list(*revoked):
    """A revocation list by openssl, in which keys with those names are revoked."""
    folder = os.path.join(session_directory(), "crl-" + "-".join(revoked))
    os.mkdir(folder)
    key, cert = session_signer("signer")
    config = os.path.join(folder, "ca.cnf")
    for name, text in (("index.txt", ""), ("crlnumber", "01\n"), ("ca.cnf", (
            "[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index.txt\ncrlnumber=%s/crlnumber\ndefault_md=sha256\ndefault_crl_days=30\n"
            % (folder, folder)))):
        with open(os.path.join(folder, name), "w", encoding="ascii") as target:
            target.write(text)
    by = ["ca", "-config", config, "-keyfile", key, "-cert", cert]
    for name in revoked:
        openssl(*by, "-revoke", session_signer(name)[1], "-crl_reason", "keyCompromise")
    pem = os.path.join(folder, "crl.pem")
    run = openssl(*by, "-gencrl", "-out", pem)
    assert run.returncode == 0, run.stderr.decode()
    return _der("crl", "-in", pem)


# --- the signature ------------------------------------------------------------------------------------------------


def attribute(name, *values):
    return tlv(SEQUENCE, name, tlv(SET, *values))


def digest_of(content, md="sha256"):
    return hashlib.new(md, content).digest()


def attributes_for(content, md="sha256", kind=DATA):
    return [attribute(CONTENT_TYPE, kind), attribute(SIGNING_TIME, tlv(0x17, b"300101000000Z")),
            attribute(MESSAGE_DIGEST, tlv(OCTETS, digest_of(content, md)))]


STANDARD = object()


def signer_info(key, content=CONTENT, md="sha256", attributes=STANDARD, to_sign=None, block=None, signature=None,
                element=None, digest_algorithm=None, signature_algorithm=None, sid=None, unsigned=b"", version=1):
    """One SignerInfo.

    `to_sign`: other bytes than the attributes; `block`, `signature`, `element`: what comes in the place of the right one.
    """
    attributes = sorted(attributes_for(content, md)) if attributes is STANDARD else attributes
    if to_sign is None:
        to_sign = content if attributes is None else tlv(SET, *attributes)
    if signature is None:
        signature = key.sealed(block) if block else key.signature(md, digest_of(to_sign, md))
    return tlv(
        SEQUENCE, number(version), tlv(SEQUENCE, key.issuer, key.serial) if sid is None else sid,
        digest_algorithm or algorithm(md), b"" if attributes is None else tlv(0xA0, *attributes),
        signature_algorithm or algorithm(RSA), element or tlv(OCTETS, signature), unsigned)


def signed_data(infos, certificates, kind=DATA, digests=("sha256",), lists=b"", inner=b"", version=1, behind=b"", wrap=tlv,
                outer=SIGNED, last=b""):
    digests = tlv(SET, *[one if isinstance(one, bytes) else algorithm(one) for one in digests])
    certificates = b"" if certificates is None else wrap(0xA0, *certificates)
    return wrap(SEQUENCE, outer, wrap(0xA0, wrap(
        SEQUENCE, number(version), digests, wrap(SEQUENCE, kind, inner), certificates, lists, wrap(SET, *infos), last))) + behind


def signed(key=None, certificates=STANDARD, kind=DATA, digests=None, lists=b"", inner=b"", **info):
    """A signature by one signer over CONTENT; what is not said is as it should be."""
    key = key or made("signer")
    certificates = [key.certificate] if certificates is STANDARD else certificates
    return signed_data([signer_info(key, **info)], certificates, kind, digests or (info.get("md", "sha256"),), lists, inner)


def unspecified(**changes):
    """As a dual-signed masthead has it: the type of the content is 0.0."""
    return signed(kind=UNSPECIFIED, **changes)


def lists_of(*found):
    return tlv(0xA1, *found)


def flipped(data, at, mask=1):
    at %= len(data)
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1:]


# --- the kinds ----------------------------------------------------------------------------------------------------


def whole_ones():
    """Nothing is wrong with these."""
    crl = lists_of(revocation_list())
    other = made("other")
    shapes = [
        ("ordinary", signed()), ("no attributes", signed(attributes=None)),
        ("content type 0.0", unspecified()), ("revocation list", signed(lists=crl)),
        ("content type 0.0 and revocation list", unspecified(lists=crl)),
        ("content type 0.0, named in the attributes too",
         unspecified(attributes=sorted(attributes_for(CONTENT, kind=UNSPECIFIED)))),
        ("content type 0.0, no attributes", unspecified(attributes=None)),
        ("content type 0.0, sha1", unspecified(md="sha1")),
        ("two revocation lists", signed(lists=lists_of(revocation_list(), revocation_list("other")))),
        ("revocation list that has the signer", signed(lists=lists_of(revocation_list("signer")))),
        ("revocation list, no attributes", signed(lists=crl, attributes=None)),
        ("two signers", signed_data([signer_info(made("signer")), signer_info(other)],
                                    [made("signer").certificate, other.certificate])),
        ("two signers, content type 0.0, revocation list", signed_data(
            [signer_info(made("signer")), signer_info(other, md="sha1")], [made("signer").certificate, other.certificate],
            UNSPECIFIED, ("sha256", "sha1"), crl)),
        ("signer twice", signed_data([signer_info(made("signer"))] * 2, [made("signer").certificate])),
        ("certificate of another beside", signed(certificates=[other.certificate, made("signer").certificate])),
        ("certificate twice", signed(certificates=[made("signer").certificate] * 2)),
        ("unsigned attribute", signed(unsigned=tlv(0xA1, attribute(SIGNING_TIME, tlv(0x17, b"300101000000Z"))))),
        ("one more signed attribute",
         signed(attributes=sorted(attributes_for(CONTENT) + [attribute(RECEIPT, tlv(OCTETS, b"x"))]))),
        ("without the signing time", signed(attributes=sorted(attributes_for(CONTENT)[::2]))),
        ("version 3", signed(version=3)), ("exponent 3", signed(made("cubic", "cubic"))),
        ("an algorithm that no signer uses announced too", signed(digests=("sha1", "sha256", "sha512"))),
        ("digest algorithm without parameters",
         signed(digest_algorithm=algorithm("sha256", b""), digests=[algorithm("sha256", b"")])),
        ("key algorithm that names the digest", signed(signature_algorithm=algorithm(RSA_WITH["sha256"]))),
        ("indefinite lengths", signed_data([signer_info(made("signer"))], [made("signer").certificate], wrap=indefinite)),
        ("indefinite lengths, content type 0.0", signed_data(
            [signer_info(made("signer"))], [made("signer").certificate], UNSPECIFIED, lists=crl, wrap=indefinite)),
    ] + [(md, signed(md=md)) for md in ("sha1", "sha224", "sha384", "sha512")] + [
        ("%d bits" % bits, signed(made("of%d" % bits, "rsa%d" % bits))) for bits in (1024, 1025, 1536, 2047, 3072, 4096)]
    for name, der in shapes:
        yield case(name, der, expected="valid")
    yield case("key identifier", signed(sid=tlv(0x80, made("signer").identifier), version=3), command="cms", expected="valid")
    yield case("key identifier, content type 0.0, revocation list", unspecified(
        sid=tlv(0x80, made("signer").identifier), version=3, lists=crl), command="cms", expected="valid")


def other_content():
    """The right signature, over another text."""
    shapes = {"ordinary": signed(), "0.0": unspecified(), "list": signed(lists=lists_of(revocation_list())),
              "no attributes": signed(attributes=None)}
    texts = {
        "port": CONTENT.replace(b"52311", b"55000"), "first byte": flipped(CONTENT, 0), "last byte": flipped(CONTENT, -1),
        "cut": CONTENT[:-1], "longer": CONTENT + b"\r\n", "empty": b"", "line feeds": CONTENT.replace(b"\r\n", b"\n"),
        "carriage returns doubled": CONTENT.replace(b"\r\n", b"\r\r\n"), "twice": CONTENT * 2, "a zero behind": CONTENT + b"\0",
    }
    for shape, der in shapes.items():
        for name, text in texts.items():
            yield case("%s, %s" % (shape, name), der, text, expected="invalid")


def digests():
    """The attribute with the digest, or the algorithm that makes it."""
    first, time, digest = attributes_for(CONTENT)
    right = digest_of(CONTENT)

    def having(*attributes, **changes):
        return signed(attributes=sorted(attributes), **changes)

    def of(*values):
        return attribute(MESSAGE_DIGEST, *values)

    for name, der in (
            ("of another text", having(first, time, of(tlv(OCTETS, digest_of(b"other"))))),
            ("flipped", having(first, time, of(tlv(OCTETS, flipped(right, 0))))),
            ("last byte flipped", having(first, time, of(tlv(OCTETS, flipped(right, -1))))),
            ("cut", having(first, time, of(tlv(OCTETS, right[:-1])))),
            ("longer", having(first, time, of(tlv(OCTETS, right + b"\0")))),
            ("empty", having(first, time, of(tlv(OCTETS)))), ("missing", having(first, time)),
            ("attribute twice", having(first, time, digest, digest)),
            ("attribute twice, the first right", having(first, time, digest, of(tlv(OCTETS, digest_of(b"other"))))),
            ("two values", having(first, of(tlv(OCTETS, right), tlv(OCTETS, right)))),
            ("two values, one of another text", having(first, of(tlv(OCTETS, right), tlv(OCTETS, digest_of(b"other"))))),
            ("no value", having(first, of())), ("as bits", having(first, of(tlv(BITS, b"\0", right)))),
            ("as text", having(first, of(tlv(0x0C, right.hex().encode())))),
            ("as a sequence", having(first, of(tlv(SEQUENCE, tlv(OCTETS, right))))),
            ("in two pieces", having(first, of(tlv(0x24, tlv(OCTETS, right[:16]), tlv(OCTETS, right[16:]))))),
            ("of sha1 under sha256", having(first, of(tlv(OCTETS, digest_of(CONTENT, "sha1"))))),
            ("of sha512 under sha256", having(first, of(tlv(OCTETS, digest_of(CONTENT, "sha512"))))),
            ("of sha256 under sha1", signed(attributes=sorted([first, digest]), md="sha1")),
            ("of the attributes' own", having(first, of(tlv(OCTETS, digest_of(tlv(SET, first, digest)))))),
            ("0.0, of another text", unspecified(attributes=sorted([first, of(tlv(OCTETS, digest_of(b"other")))]))),
            ("0.0, missing", unspecified(attributes=[first])),
            ("not announced", signed(digests=("sha1",))), ("none announced", signed(digests=[b""])),
            ("announced as unknown", signed(digests=["sha256", algorithm(oid("2a0304"))])),
            ("unknown", signed(digest_algorithm=algorithm(oid("2a0304")), digests=[algorithm(oid("2a0304"))])),
            ("another one announced and said", signed(digest_algorithm=algorithm("sha1"), digests=("sha1",))),
            ("another one said", signed(digest_algorithm=algorithm("sha1"), digests=("sha1", "sha256"))),
            ("odd parameters", signed(digest_algorithm=algorithm("sha256", tlv(INTEGER, b"\1")))),
            ("two parameters", signed(digest_algorithm=algorithm("sha256", NULL + NULL))),
            ("md5", signed(md="md5")),
    ):
        yield case(name, der)


def types_of_content():
    """What the attributes and the signature say of the type of the content."""
    unused, time, digest = attributes_for(CONTENT)

    def having(kind, *attributes):
        return signed(kind=kind, attributes=sorted(attributes + (time, digest)))

    def of(*values):
        return attribute(CONTENT_TYPE, *values)

    for name, der in (
            ("data, none said", having(DATA)), ("0.0, none said", having(UNSPECIFIED)),
            ("data, 0.0 said", having(DATA, of(UNSPECIFIED))),
            ("data, another said", having(DATA, of(RECEIPT))), ("0.0, another said", having(UNSPECIFIED, of(RECEIPT))),
            ("another, data said", having(RECEIPT, of(DATA))), ("another, 0.0 said", having(RECEIPT, of(UNSPECIFIED))),
            ("another, said", having(RECEIPT, of(RECEIPT))), ("another, no attributes", signed(kind=RECEIPT, attributes=None)),
            ("signed data", having(SIGNED, of(SIGNED))), ("enveloped data", having(ENVELOPED, of(ENVELOPED))),
            ("data, two said", having(DATA, of(DATA, UNSPECIFIED))),
            ("0.0, two said", having(UNSPECIFIED, of(DATA, UNSPECIFIED))),
            ("data, said twice", having(DATA, of(DATA), of(DATA))),
            ("0.0, both said", having(UNSPECIFIED, of(DATA), of(UNSPECIFIED))),
            ("data, an empty one said", having(DATA, of(tlv(OID)))), ("an empty one", having(tlv(OID), of(DATA))),
            ("data, no value", having(DATA, of())), ("0.0, no value", having(UNSPECIFIED, of())),
            ("data, said as octets", having(DATA, of(tlv(OCTETS, b"\0")))), ("1.0", having(oid("28"), of(DATA))),
            ("0.0.0", having(oid("0000"), of(DATA))), ("0.0 written long", having(oid("8000"), of(DATA))),
            ("the outer type is data", signed_data([signer_info(made("signer"))], [made("signer").certificate], outer=DATA)),
            ("the outer type is 0.0",
             signed_data([signer_info(made("signer"))], [made("signer").certificate], outer=UNSPECIFIED)),
    ):
        yield case(name, der)


def attribute_sets():
    """Order and form of the signed attributes."""
    in_order = sorted(attributes_for(CONTENT))
    reverse = in_order[::-1]
    for name, der in (
            ("out of order, signed so", signed(attributes=reverse)),
            ("out of order, signed in order", signed(attributes=reverse, to_sign=tlv(SET, *in_order))),
            ("in order, signed out of order", signed(attributes=in_order, to_sign=tlv(SET, *reverse))),
            ("signed with the tag of the file", signed(attributes=in_order, to_sign=tlv(0xA0, *in_order))),
            ("signed as a sequence", signed(attributes=in_order, to_sign=tlv(SEQUENCE, *in_order))),
            ("signed without a tag", signed(attributes=in_order, to_sign=b"".join(in_order))),
            ("signed is the text", signed(attributes=in_order, to_sign=CONTENT)),
            ("none, signed are some", signed(attributes=None, to_sign=tlv(SET, *in_order))),
            ("none, signed is the digest", signed(attributes=None, to_sign=digest_of(CONTENT))),
            ("an empty set", signed(attributes=[])), ("an empty set, signed is the text", signed(attributes=[], to_sign=CONTENT)),
            ("one that is no attribute", signed(attributes=[*in_order, NULL])),
            ("one without values", signed(attributes=sorted([*in_order, tlv(SEQUENCE, RECEIPT)]))),
            ("one with an empty set", signed(attributes=sorted([*in_order, attribute(RECEIPT)]))),
            ("one with something behind", signed(attributes=[*in_order, tlv(SEQUENCE, RECEIPT, tlv(SET, NULL), NULL)])),
            ("time twice", signed(attributes=sorted([*in_order, in_order[1]]))),
            ("changed since", signed(attributes=in_order, to_sign=tlv(SET, *attributes_for(b"other")))),
            ("added since", signed(attributes=sorted([*in_order, attribute(RECEIPT, NULL)]), to_sign=tlv(SET, *in_order))),
            ("taken out since", signed(attributes=in_order[::2], to_sign=tlv(SET, *in_order))),
            ("indefinite length", signed().replace(tlv(0xA0, *in_order), indefinite(0xA0, *in_order))),
            ("unsigned: an empty set", signed(unsigned=tlv(0xA1))), ("unsigned: no attribute", signed(unsigned=tlv(0xA1, NULL))),
            ("unsigned: twice", signed(unsigned=tlv(0xA1, *[attribute(RECEIPT, NULL)] * 2))),
            ("unsigned: the digest", signed(attributes=in_order[:1], unsigned=tlv(0xA1, *in_order[1:]))),
            ("unsigned: out of order", signed(unsigned=tlv(0xA1, *reverse))),
            ("unsigned: cut", signed(unsigned=b"\xa1\x20" + NULL)),
    ):
        yield case(name, der)


def blocks():
    """What a signature opens to (Bleichenbacher's forgeries and their kin); each is made with the key itself."""
    attributes = sorted(attributes_for(CONTENT))
    digest = digest_of(tlv(SET, *attributes))
    info = digest_info("sha256", digest)
    for kind in ("rsa", "cubic"):
        key = made("signer") if kind == "rsa" else made("cubic", "cubic")
        for name, block in (
                ("garbage behind the digest", key.block(info, short=100)),
                ("ones behind the digest", key.block(info, behind=b"\xff" * 64)),
                ("one byte behind", key.block(info, short=1)),
                ("eight of padding, the digest, garbage", b"\0\1" + b"\xff" * 8 + b"\0" + (
                    info + b"\x5a" * (key.size - 11 - len(info)))),
                ("no padding", b"\0\1\0" + info + b"\x5a" * (key.size - 3 - len(info))),
                ("garbage in the padding", key.block(info, filler=b"\xfe")), ("zeros as padding", key.block(info, filler=b"\0")),
                ("one byte of the padding", flipped(key.block(info), 100)),
                ("block of type 2", key.block(info, kind=b"\2", filler=b"\x11")),
                ("block of type 0", key.block(info, kind=b"\0", filler=b"\0")),
                ("no zero in front", b"\1" + key.block(info)[2:] + b"\0"),
                ("digest alone", key.block(digest)), ("no parameters", key.block(digest_info("sha256", digest, b""))),
                ("garbage as parameters", key.block(digest_info("sha256", digest, tlv(OCTETS, b"\x5a" * 100)))),
                ("two parameters", key.block(digest_info("sha256", digest, NULL + NULL))),
                ("named sha1", key.block(digest_info("sha1", digest))),
                ("named sha512", key.block(digest_info("sha512", digest))),
                ("sha1 of it", key.block(digest_info("sha1", digest_of(tlv(SET, *attributes), "sha1")))),
                ("digest cut", key.block(digest_info("sha256", digest[:-1]))),
                ("digest longer", key.block(digest_info("sha256", digest + b"\0"))),
                ("digest flipped", key.block(digest_info("sha256", flipped(digest, 3)))),
                ("something behind, inside", key.block(tlv(SEQUENCE, algorithm("sha256"), tlv(OCTETS, digest), NULL))),
                ("long lengths", key.block(b"\x30\x81" + bytes([len(info) - 2]) + info[2:])),
                ("indefinite length", key.block(indefinite(SEQUENCE, *inside(info)))),
                ("digest of the text", key.block(digest_info("sha256", digest_of(CONTENT)))), ("nothing", bytes(key.size)),
                ("one", bytes(key.size - 1) + b"\1")):
            yield case("%s: %s" % (kind, name), signed(key, attributes=attributes, block=block), expected="invalid")
    # A cube that begins as a block does needs no key at all.
    key = made("cubic", "cubic")
    front = b"\0\1" + b"\xff" * 8 + b"\0" + info
    low, high = 0, 1 << (8 * key.size)
    target = int.from_bytes(front + bytes(key.size - len(front)), "big")
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle ** 3 < target else (low, middle)
    assert (low ** 3).to_bytes(key.size, "big").startswith(front)
    yield case("a cube without the key", signed(
        key, attributes=attributes, signature=low.to_bytes(key.size, "big")), expected="invalid")


def signatures():
    """The signature's own bytes, and the algorithm that it names."""
    key = made("signer")
    right = key.signature("sha256", digest_of(tlv(SET, *sorted(attributes_for(CONTENT)))))
    value = int.from_bytes(right, "big")
    for name, signature in (
            ("first byte", flipped(right, 0)), ("middle", flipped(right, 128)), ("last byte", flipped(right, -1)),
            ("cut", right[:-1]),
            ("zero behind", right + b"\0"), ("zero in front", b"\0" + right), ("zeros", bytes(key.size)), ("empty", b""),
            ("reversed", right[::-1]), ("complement", (key.modulus - value).to_bytes(key.size, "big")),
            ("modulus", key.modulus.to_bytes(key.size, "big")), ("one byte", b"\1"),
            ("modulus added", (value + key.modulus).to_bytes(key.size + 1, "big")),
    ):
        yield case(name, signed(signature=signature))
    for name, element in (
            ("in pieces", tlv(0x24, tlv(OCTETS, right[:100]), tlv(OCTETS, right[100:]))),
            ("in pieces of pieces", tlv(0x24, tlv(0x24, tlv(OCTETS, right[:100])), tlv(OCTETS, right[100:]))),
            ("as bits", tlv(BITS, b"\0" + right))):
        yield case(name, signed(element=element))
    for name, found in (
            ("sha1 named", algorithm(RSA_WITH["sha1"])), ("sha512 named", algorithm(RSA_WITH["sha512"])),
            ("md5 named", algorithm(RSA_WITH["md5"])),
            ("PSS named", algorithm(PSS, tlv(SEQUENCE))), ("ECDSA named", algorithm(ECDSA, b"")),
            ("unknown", algorithm(oid("2a0304"))),
            ("no parameters", algorithm(RSA, b"")), ("odd parameters", algorithm(RSA, tlv(INTEGER, b"\1"))),
            ("two parameters", algorithm(RSA, NULL + NULL)), ("a digest named", algorithm("sha256")), ("empty", tlv(SEQUENCE))):
        yield case("algorithm: %s" % name, signed(signature_algorithm=found))


def signers():
    """Several signers, none, and those who are named wrongly."""
    key, other, third = made("signer"), made("other"), made("third")
    good, bad_text = signer_info(key), signer_info(other, attributes=sorted(attributes_for(b"other")))
    bad_seal = signer_info(other, signature=bytes(256))
    both = [key.certificate, other.certificate]

    def sid(issuer, serial):
        return tlv(SEQUENCE, issuer, serial)

    for name, der in (
            ("none", signed_data([], both)), ("good, another text", signed_data([good, bad_text], both)),
            ("another text, good", signed_data([bad_text, good], both)), ("good, broken", signed_data([good, bad_seal], both)),
            ("broken, good", signed_data([bad_seal, good], both)),
            ("good, unknown", signed_data([good, signer_info(third)], both)),
            ("unknown, good", signed_data([signer_info(third), good], both)),
            ("good, malformed", signed_data([good, NULL], both)), ("good, an algorithm that is not announced", signed_data(
                [good, signer_info(other, md="sha1")], both)),
            ("good, 0.0: another text", signed_data([good, bad_text], both, UNSPECIFIED)),
            ("sixteen", signed_data([good] * 16, both)), ("seventeen", signed_data([good] * 17, both)),
            ("another's name", signed(sid=sid(other.issuer, key.serial))),
            ("another's number", signed(sid=sid(key.issuer, other.serial))),
            ("another's both, both there", signed(sid=sid(other.issuer, other.serial), certificates=both)),
            ("number written long", signed(sid=sid(key.issuer, tlv(INTEGER, b"\0\0" + read(key.serial)[1])))),
            ("number negative", signed(sid=sid(key.issuer, tlv(INTEGER, b"\xff")))),
            ("no number", signed(sid=tlv(SEQUENCE, key.issuer))),
            ("an empty name", signed(sid=sid(tlv(SEQUENCE), key.serial))), ("name in other letters", signed(
                sid=sid(key.issuer.replace(b"Example", b"EXAMPLE"), key.serial))),
            ("version 0", signed(version=0)), ("version 200", signed(version=200)),
            ("something behind", signed_data([tlv(SEQUENCE, read(good)[1], NULL)], both)),
    ):
        yield case(name, der)
    for name, found, certificates in (
            ("of another", other.identifier, [key.certificate]), ("of another who is there", other.identifier, both),
            ("empty", b"", [key.certificate]), ("cut", key.identifier[:-1], [key.certificate]),
            ("of a certificate without one", key.identifier, [without_extension(key.certificate)]),
            ("of a certificate with two", key.identifier, [with_extension_twice(key.certificate)])):
        yield case("identifier %s" % name, signed(sid=tlv(0x80, found), certificates=certificates, version=3), command="cms")
    yield case("identifier with the tag of a sequence", signed(
        sid=tlv(0xA0, tlv(OCTETS, key.identifier)), version=3), command="cms")


def with_extensions(certificate, change):
    """A certificate whose list of extensions is another; nothing here looks at its own signature."""
    tbs, *rest = inside(certificate)
    fields = inside(tbs)
    fields[-1] = tlv(0xA3, tlv(SEQUENCE, *change(inside(inside(fields[-1])[0]))))
    return tlv(SEQUENCE, tlv(SEQUENCE, *fields), *rest)


def without_extension(certificate):
    return with_extensions(certificate, lambda found: [one for one in found if KEY_IDENTIFIER not in one])


def with_extension_twice(certificate):
    return with_extensions(certificate, lambda found: found + [one for one in found if KEY_IDENTIFIER in one])


def with_field(certificate, number_of, field):
    tbs, *rest = inside(certificate)
    fields = inside(tbs)
    fields[number_of] = field
    return tlv(SEQUENCE, tlv(SEQUENCE, *fields), *rest)


def with_key(certificate, modulus, exponent, kind=RSA, parameters=NULL, behind=b"", unused=b"\0"):
    return with_field(certificate, 6, tlv(SEQUENCE, algorithm(kind, parameters), tlv(
        BITS, unused, tlv(SEQUENCE, modulus if isinstance(modulus, bytes) else number(modulus), number(exponent), behind))))


def certificates():
    """Certificates: missing, exchanged, malformed, and with keys by which all can sign."""
    key, other, twin = made("signer"), made("other"), made("twin")
    own = key.certificate
    same = with_field(with_field(twin.certificate, 1, key.serial), 3, key.issuer)
    for name, found in (
            ("none", None), ("an empty set", []), ("of another", [other.certificate]),
            ("another key under the same name and number", [same]),
            ("another key first", [same, own]), ("another key last", [own, same]),
            ("malformed one beside", [own, NULL]), ("cut one beside", [own, b"\x30\x82\x10\0"]),
            ("attribute certificate beside", [own, tlv(0xA1, NULL)]),
            ("its own signature broken", [flipped(own, -1)]), ("something behind", [tlv(SEQUENCE, read(own)[1], NULL)]),
            ("over already", [with_field(own, 4, tlv(SEQUENCE, tlv(0x17, b"000101000000Z"), tlv(0x17, b"010101000000Z")))]),
            ("odd dates", [with_field(own, 4, tlv(SEQUENCE, tlv(0x17, b"99"), tlv(0x17, b"010101000000Z")))]),
            ("one date", [with_field(own, 4, tlv(SEQUENCE, tlv(0x17, b"010101000000Z")))]),
            ("another subject", [with_field(own, 5, other.issuer)]), ("an empty subject", [with_field(own, 5, tlv(SEQUENCE))]),
            ("a subject that is no text",
             [with_field(own, 5, tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, oid("550403"), tlv(0x0C, b"\xff")))))]),
            ("a subject of another form", [with_field(own, 5, tlv(SEQUENCE, NULL))]),
            ("version 1, with extensions", [with_field(own, 0, tlv(0xA0, number(0)))]),
            ("version 9", [with_field(own, 0, tlv(0xA0, number(9)))]),
            ("no extensions", [without_extensions(own)]),
            ("an empty list of extensions", [with_extensions(own, lambda unused: [])]),
            ("an extension that is none", [with_extensions(own, lambda found: [*found, NULL])]),
            ("an unknown critical extension", [with_extensions(own, lambda found: [*found, tlv(
                SEQUENCE, oid("2a0304"), tlv(0x01, b"\xff"), tlv(OCTETS, NULL))])]),
            ("no key usage for signatures", [with_extensions(own, lambda found: [*found, tlv(
                SEQUENCE, oid("551d0f"), tlv(OCTETS, tlv(BITS, b"\5\x20")))])]),
            ("indefinite length", [indefinite(SEQUENCE, *inside(own))]), ("long length", [b"\x30\x83\0" + own[2:]]),
            ("exponent 1", [with_key(own, key.modulus, 1)]), ("exponent 0", [with_key(own, key.modulus, 0)]),
            ("even exponent", [with_key(own, key.modulus, 65536)]), ("exponent above the modulus", [with_key(own, 35, 65537)]),
            ("even modulus", [with_key(own, key.modulus - 1, 65537)]), ("modulus 0", [with_key(own, 0, 65537)]),
            ("negative modulus", [with_key(own, tlv(INTEGER, key.modulus.to_bytes(256, "big")), 65537)]),
            ("modulus written long", [with_key(own, tlv(INTEGER, bytes(2) + key.modulus.to_bytes(256, "big")), 65537)]),
            ("something behind the key", [with_key(own, key.modulus, 65537, behind=NULL)]),
            ("unused bits of the key", [with_key(own, key.modulus, 65537, unused=b"\1")]),
            ("key without parameters", [with_key(own, key.modulus, 65537, parameters=b"")]),
            ("key with odd parameters", [with_key(own, key.modulus, 65537, parameters=tlv(INTEGER, b"\1"))]),
            ("key for PSS only", [with_key(own, key.modulus, 65537, PSS, b"")]),
            ("key of an unknown kind", [with_key(own, key.modulus, 65537, oid("2a0304"))]),
            ("key of 33 bits", [with_key(own, (1 << 33) - 9, 65537)]),
            ("enormous exponent", [with_key(own, key.modulus, (1 << 2000) + 1)]),
            ("exponent of 64 bits", [with_key(own, key.modulus, (1 << 64) - 1)]),
    ):
        yield case(name, signed(certificates=found))
    attributes = sorted(attributes_for(CONTENT))
    block = key.block(digest_info("sha256", digest_of(tlv(SET, *attributes))))
    yield case("exponent 1 and the block itself", signed(
        certificates=[with_key(own, key.modulus, 1)], attributes=attributes, signature=block), expected="invalid")
    yield case("exponent 1 and a small modulus", signed(
        certificates=[with_key(own, int.from_bytes(block, "big") + 2, 1)], attributes=attributes, signature=block),
        expected="invalid")
    for md, bits in (("sha512", 1024), ("sha256", 1024)):
        yield case("%s with %d bits" % (md, bits), signed(made("of%d" % bits, "rsa%d" % bits), md=md))


def without_extensions(certificate):
    tbs, *rest = inside(certificate)
    return tlv(SEQUENCE, tlv(SEQUENCE, *inside(tbs)[:-1]), *rest)


def revocation_lists():
    """Nothing looks into a revocation list, but it has to be one."""
    found = revocation_list("other")
    tbs, kind, seal = inside(found)
    fields = inside(tbs)
    at = {read(field)[0]: place for place, field in enumerate(fields)}
    entries, extensions = at[SEQUENCE], at[0xA0]

    def having(place, *field):
        return tlv(SEQUENCE, tlv(SEQUENCE, *fields[:place], *field, *fields[place + 1:]), kind, seal)

    entry = inside(fields[entries])[0]
    moment = tlv(0x17, b"300101000000Z")
    for name, lists in (
            ("an empty set", lists_of()), ("no list", lists_of(NULL)), ("cut", lists_of(found[:-1])),
            ("one byte behind", lists_of(found, b"\0")),
            ("good, malformed", lists_of(found, tlv(SEQUENCE))), ("another format", lists_of(tlv(0xA1, oid("2a0304"), NULL))),
            ("its signature broken", lists_of(flipped(found, -1))), ("without its signature", lists_of(tlv(SEQUENCE, tbs, kind))),
            ("something behind it, inside", lists_of(tlv(SEQUENCE, tbs, kind, seal, NULL))),
            ("without a version", lists_of(having(0))), ("without an issuer", lists_of(having(2))),
            ("without a date", lists_of(having(3))),
            ("without either date", lists_of(tlv(SEQUENCE, tlv(SEQUENCE, *fields[:3], *fields[5:]), kind, seal))),
            ("dates of the other form", lists_of(having(3, tlv(0x18, b"20300101000000Z")))),
            ("three dates", lists_of(having(3, moment, moment))),
            ("a short date", lists_of(having(3, tlv(0x17, b"30")))),
            ("a short next date", lists_of(having(4, tlv(0x18, b"2030")))),
            ("a date as text", lists_of(having(3, tlv(0x0C, b"300101000000Z")))), ("without a next date", lists_of(having(4))),
            ("without entries", lists_of(having(entries))),
            ("an empty list of entries", lists_of(having(entries, tlv(SEQUENCE)))),
            ("entry without a number", lists_of(having(entries, tlv(SEQUENCE, tlv(SEQUENCE, moment))))),
            ("entry without a date", lists_of(having(entries, tlv(SEQUENCE, tlv(SEQUENCE, number(5)))))),
            ("entry with something behind", lists_of(having(entries, tlv(SEQUENCE, tlv(SEQUENCE, *inside(entry), NULL))))),
            ("entry without extensions", lists_of(having(entries, tlv(SEQUENCE, tlv(SEQUENCE, number(5), moment))))),
            ("entry whose extension is malformed",
             lists_of(having(entries, tlv(SEQUENCE, tlv(SEQUENCE, number(5), moment, tlv(SEQUENCE, NULL)))))),
            ("entry with an empty reason", lists_of(having(entries, tlv(SEQUENCE, tlv(
                SEQUENCE, number(5), moment, tlv(SEQUENCE, tlv(SEQUENCE, oid("551d15"), tlv(OCTETS)))))))),
            ("entry whose number is written long",
             lists_of(having(entries, tlv(SEQUENCE, tlv(SEQUENCE, tlv(INTEGER, b"\0\5"), moment))))),
            ("without extensions", lists_of(having(extensions))),
            ("an empty list of extensions", lists_of(having(extensions, tlv(0xA0, tlv(SEQUENCE))))),
            ("extensions that are none", lists_of(having(extensions, tlv(0xA0, NULL)))), ("two lists of extensions", lists_of(
                having(extensions, tlv(0xA0, tlv(SEQUENCE), tlv(SEQUENCE))))),
            ("a critical extension that is unknown", lists_of(having(extensions, tlv(0xA0, tlv(SEQUENCE, tlv(
                SEQUENCE, oid("2a0304"), tlv(0x01, b"\xff"), tlv(OCTETS, NULL))))))),
            ("a malformed issuing point", lists_of(having(extensions, tlv(0xA0, tlv(SEQUENCE, tlv(
                SEQUENCE, oid("551d1c"), tlv(OCTETS, b"\x30"))))))),
            ("an issuer that is no text",
             lists_of(having(2, tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, oid("550403"), tlv(0x0C, b"\xff"))))))),
            ("indefinite length", lists_of(indefinite(SEQUENCE, tbs, kind, seal))),
            ("in an indefinite set", indefinite(0xA1, found)),
            ("with the tag of certificates", tlv(0xA0, found)), ("with an unknown tag", tlv(0xA2, found)),
            ("as a set", tlv(SET, found)),
            ("twice", lists_of(found) * 2), ("the certificate", lists_of(made("signer").certificate))):
        yield case(name, signed(lists=lists))
    key = made("signer")
    yield case("among the certificates", signed(certificates=[key.certificate, found]))
    yield case("in front of the certificates", signed_data(
        [signer_info(key)], None, lists=lists_of(found) + tlv(0xA0, key.certificate)))
    yield case("without certificates", signed(certificates=None, lists=lists_of(found)))
    yield case("0.0, cut", unspecified(lists=lists_of(found[:-1])))
    yield case("another text", signed(lists=lists_of(found)), CONTENT + b"!", expected="invalid")
    for place in range(0, len(found), max(1, len(found) // 24)):
        yield case("byte %d of %d" % (place, len(found)), signed(lists=lists_of(flipped(found, place, 1 << place % 8))))


def structures():
    """The frame around it all."""
    key = made("signer")
    good, own = signer_info(key), [key.certificate]
    right = signed()
    text = tlv(OCTETS, CONTENT)
    for name, der in (
            ("trailing bytes", right + b"trailing"), ("trailing zero", right + b"\0"), ("twice", right * 2),
            ("something in front", b"\0" + right),
            ("something behind the signed data", tlv(SEQUENCE, SIGNED, tlv(0xA0, *inside(inside(right)[1]), NULL))),
            ("something behind the wrapper", tlv(SEQUENCE, *inside(right), NULL)), ("no wrapper", inside(inside(right)[1])[0]),
            ("something behind the signers", signed_data([good], own, last=NULL)),
            ("no digests", signed_data([good], own, digests=[])),
            ("version 0", signed_data([good], own, version=0)), ("version 5", signed_data([good], own, version=5)),
            ("version 2000", signed_data([good], own, version=2000)), ("the text inside", signed(inner=tlv(0xA0, text))),
            ("another text inside", signed(inner=tlv(0xA0, tlv(OCTETS, b"the port is 55000\r\n")))),
            ("an empty text inside", signed(inner=tlv(0xA0, tlv(OCTETS)))), ("nothing inside", signed(inner=tlv(0xA0))),
            ("0.0, the text inside", unspecified(inner=tlv(0xA0, text))), ("0.0, another text inside", unspecified(
                inner=tlv(0xA0, tlv(OCTETS, b"the port is 55000\r\n")))),
            ("0.0, a sequence inside", unspecified(inner=tlv(0xA0, tlv(SEQUENCE, text)))),
            ("the text without a tag inside", signed(inner=text)),
            ("long lengths", b"\x30\x84\0\0" + right[2:]), ("signers as a sequence", signed_data([], own, last=b"").replace(
                tlv(SET), tlv(SEQUENCE, good))),
            ("end of contents missing", indefinite(SEQUENCE, *inside(right))[:-2]),
            ("one end of contents", indefinite(SEQUENCE, *inside(right))[:-1]),
            ("cut by one", right[:-1]), ("cut in the middle", right[:len(right) // 2]), ("empty", b""),
            ("end of contents inside", tlv(SEQUENCE, *inside(right), b"\0\0")),
            ("pem", b"-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n"),
    ):
        yield case(name, der)


FAMILIES = {function.__name__: function for function in (
    whole_ones, other_content, digests, types_of_content, attribute_sets, blocks, signatures, signers, certificates,
    revocation_lists, structures)}


# --- in a masthead ------------------------------------------------------------------------------------------------


def in_masthead(masthead, change):
    """A signed masthead with another signature in it: what change() makes of the elements of its SignedData."""
    found = re.search(rb"(?s)(filename=\"smime.p7s\"\n\n)(.+?)(\n\n------)", masthead)
    der = base64.b64decode(found.group(2))
    outer, wrapped = inside(der)
    (data,) = inside(wrapped)
    der = tlv(SEQUENCE, outer, tlv(0xA0, tlv(SEQUENCE, *change(inside(data)))))
    encoded = base64.b64encode(der)
    lines = b"\n".join(encoded[at:at + 64] for at in range(0, len(encoded), 64))
    return masthead[:found.start(2)] + lines + masthead[found.end(2):]


def dual_signed(parts):
    """The type of the content is 0.0, as in mastheads that are signed with SHA-1 and SHA-256."""
    return [tlv(SEQUENCE, UNSPECIFIED) if part.startswith(b"\x30") and part[2:].startswith(DATA) else part for part in parts]


def with_revocation_list(parts):
    return [piece for part in parts for piece in ([part, lists_of(revocation_list())] if part.startswith(b"\xa0") else [part])]


def dual_signed_with_revocation_list(parts):
    return with_revocation_list(dual_signed(parts))


MASTHEAD_SHAPES = {"ordinary": list, "content type 0.0": dual_signed, "revocation list": with_revocation_list,
                   "content type 0.0 and revocation list": dual_signed_with_revocation_list}
