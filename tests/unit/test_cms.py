# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signature check against openssl: never "valid" where openssl says no, and never an exception."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import cms
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.cms import Verdict, verify_detached
from ansible_collections.portshift.agents.tests.unit.masthead_files import (
    certificate_sha256,
    make_signer,
    openssl_accepts_der,
    session_signer,
    sign_der,
)

CONTENT = b"the port is 52311\r\n"
VARIANTS = {
    "signed attributes": ("smime", ()),
    "no attributes": ("smime", ("-noattr",)),
    "indefinite lengths": ("smime", ("-stream",)),
    "cms": ("cms", ()),
    "key identifier": ("cms", ("-keyid",)),
}


@pytest.fixture(scope="module")
def signatures():
    return {name: sign_der(CONTENT, command=command, options=options)
            for name, (command, options) in VARIANTS.items()}


@pytest.mark.parametrize("md", ["sha1", "sha224", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_rsa_signature_is_valid_for_its_content_only(name, md, tmp_path):
    command, options = VARIANTS[name]
    der = sign_der(CONTENT, md=md, command=command, options=options)
    assert openssl_accepts_der(der, CONTENT, tmp_path, "cms")
    verdict = verify_detached(der, CONTENT)
    assert (verdict.status, verdict.signer_sha256) == ("valid", certificate_sha256(session_signer()[1]))
    tampered = verify_detached(der, CONTENT.replace(b"52311", b"55000"))
    assert tampered.status == "invalid"
    assert tampered.signer_sha256 == verdict.signer_sha256


def test_changed_content_is_told_from_a_changed_signature(signatures):
    der = signatures["signed attributes"]
    assert verify_detached(der, b"").reason == "the content is not what was signed: its sha256 digest differs"
    broken = der[:-1] + bytes([der[-1] ^ 1])
    assert verify_detached(broken, CONTENT).reason == (
        "the signature was not made with the key of the certificate inside")


@pytest.mark.parametrize("kind, options, md", [
    ("ec", (), "sha256"),
    ("rsa", ("-keyopt", "rsa_padding_mode:pss"), "sha256"),
    ("rsa", (), "md5"),
    ("rsa", (), "sha512-256"),
    ("rsa", ("-nocerts",), "sha256"),
])
def test_what_cannot_be_checked_is_unchecked(kind, options, md):
    der = sign_der(CONTENT, *session_signer("unchecked-" + kind, kind), md=md, options=options, command="cms")
    assert verify_detached(der, CONTENT).status == "unchecked"


@pytest.mark.parametrize("kind, options", [
    ("ec", ()), ("rsa", ("-keyopt", "rsa_padding_mode:pss")), ("rsa", ("-nocerts",))])
def test_other_content_is_invalid_even_where_the_signature_cannot_be_checked(kind, options):
    der = sign_der(CONTENT, *session_signer("unchecked-" + kind, kind), options=options, command="cms")
    assert verify_detached(der, CONTENT + b"!").status == "invalid"


def test_every_signer_counts(tmp_path):
    other, ec = make_signer(tmp_path, "other"), make_signer(tmp_path, "ec", "ec")

    def both(second):
        return sign_der(CONTENT, options=("-signer", second[1], "-inkey", second[0]))

    two = both(other)
    assert verify_detached(two, CONTENT).status == "valid"
    assert verify_detached(both(ec), CONTENT).status == "unchecked"
    # The signer infos are sorted, so break either one's signature and look at both outcomes.
    signature = sign_der(CONTENT, options=("-noattr",))[-256:]
    two = sign_der(CONTENT, options=("-noattr", "-signer", other[1], "-inkey", other[0]))
    at = two.index(signature)
    assert verify_detached(two, CONTENT).status == "valid"
    assert verify_detached(two[:at] + bytes(256) + two[at + 256:], CONTENT).status == "invalid"


def test_a_certificate_exchanged_for_another_with_the_same_name_is_invalid(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    right, wrong = make_signer(tmp_path / "a", "same"), make_signer(tmp_path / "b", "same")
    assert verify_detached(sign_der(CONTENT, *right), CONTENT).status == "valid"
    bare = sign_der(CONTENT, *right, options=("-nocerts", "-certfile", wrong[1]))
    assert verify_detached(bare, CONTENT).status != "valid"


def test_attached_content_is_refused():
    verdict = verify_detached(sign_der(CONTENT, options=("-nodetach",)), CONTENT)
    assert (verdict.status, verdict.reason) == (
        "invalid", "the signature brings its own content instead of signing the part before it")


@pytest.mark.parametrize("der", [
    b"", b"0", b"\x30\x00", b"\x30\x80", b"\x30\x80" * 5000, b"\x30\x84\xff\xff\xff\xff", b"\x30\xff" + b"\xff" * 127,
    b"\x30\x81", b"\x1f\x81\x01\x00", b"\x04\x80\x00\x00", b"\x00\x00", b"\x30" * (1 << 19), b"\x24\x80" * 40,
    b"-----BEGIN PKCS7-----\n",
])
def test_malformed_signature_is_invalid_with_a_reason(der):
    verdict = verify_detached(der, CONTENT)
    assert (verdict.status, verdict.signer_sha256) == ("invalid", None)
    assert verdict.reason.startswith("the signature ")


def test_truncated_signature_is_invalid_at_every_length(signatures):
    der = signatures["signed attributes"]
    assert {verify_detached(der[:size], CONTENT).status for size in range(len(der))} == {"invalid"}


def test_no_flipped_bit_is_valid_where_openssl_disagrees(signatures, tmp_path):
    """Some bits are not covered (unused certificate fields): openssl has to accept whatever we accept."""
    accepted = 0
    for name in ("signed attributes", "no attributes"):
        der = signatures[name]
        for at in range(len(der)):
            mask = 1 << at % 8
            mutant = der[:at] + bytes([der[at] ^ mask]) + der[at + 1:]
            verdict = verify_detached(mutant, CONTENT)
            assert isinstance(verdict, Verdict)
            if verdict.status == "valid" and at % 29 == 0:  # openssl takes its time: a sample of what we accept
                accepted += 1
                assert openssl_accepts_der(mutant, CONTENT, tmp_path), (name, at, mask)
    assert accepted


@settings(max_examples=200)
@given(seed=st.integers(0, 2 ** 32), name=st.sampled_from(sorted(VARIANTS)))
def test_pieces_cut_out_doubled_or_replaced_never_raise(signatures, seed, name):
    der, chance = bytearray(signatures[name]), random.Random(seed)
    for _unused in range(chance.randint(1, 4)):
        start = chance.randrange(len(der))
        end = start + chance.randrange(40)
        der[start:end] = chance.choice([b"", der[start:end] * 2, bytes(chance.randrange(256) for _n in range(5))])
        der = der or bytearray(b"0")
    assert verify_detached(bytes(der), CONTENT).status in ("valid", "invalid", "unchecked")


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_get_a_verdict(der):
    assert verify_detached(der, CONTENT).status == "invalid"


def test_forged_rsa_padding_is_refused(signatures):
    """The Bleichenbacher forgery of 2006: a short padding with the digest in front of garbage, for exponent 3."""
    digest_info = bytes.fromhex("3031300d060960864801650304020105000420") + bytes(32)
    block = b"\0\1" + b"\xff" * 8 + b"\0" + digest_info
    target = int.from_bytes(block + bytes(256 - len(block)), "big")
    low, high = 0, 1 << 2048
    while low < high:  # the smallest number whose cube is not below the target
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle ** 3 < target else (low, middle)
    forged = low
    modulus = (1 << 2047) | (1 << 2046) | 1
    assert (forged ** 3).to_bytes(256, "big").startswith(block)  # the forgery would fool a lenient reader
    oid = bytes.fromhex("608648016503040201")
    assert not cms._rsa_matches((modulus, 3), oid, bytes(32), forged.to_bytes(256, "big"))
