# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signature check beside the command openssl, on hundreds of signatures that are made by hand.

Never "valid" where openssl refuses.  Where openssl is milder than we are, STRICTER says why.
"""

import functools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.cms import verify_detached
from ansible_collections.portshift.agents.tests.unit import cms_forgeries as forgeries
from ansible_collections.portshift.agents.tests.unit import growth
from ansible_collections.portshift.agents.tests.unit.masthead_files import openssl_accepts_der, session_directory

# Reason -> the cases, by family, that openssl (one of 3.0 at least) accepts and we don't.
STRICTER = {
    "the signed attributes name the type of the content once and rightly (RFC 5652, 11.1); `openssl smime` never looks at it": {
        "types_of_content": [
            "data, none said", "0.0, none said", "data, 0.0 said", "data, another said", "0.0, another said",
            "another, data said", "another, 0.0 said", "data, said twice", "0.0, both said", "data, no value",
            "0.0, no value", "data, said as octets", "1.0", "0.0.0"]},
    "a content that is neither data nor left open (0.0) is none that a masthead has: unchecked": {
        "types_of_content": ["another, said", "another, no attributes", "signed data", "enveloped data"]},
    "an attribute comes once and has one value (RFC 5652, 5.3 and 11.2); which of two counts is a reader's chance": {
        "digests": ["attribute twice", "attribute twice, the first right", "two values", "two values, one of another text"],
        "attribute_sets": ["time twice"]},
    "a set of attributes is not empty (RFC 5652, 5.3)": {
        "attribute_sets": ["an empty set, signed is the text", "unsigned: an empty set"]},
    "MD5 is broken, and not in every Python: unchecked": {"digests": ["md5"], "signatures": ["algorithm: md5 named"]},
    "the algorithm of the signature contradicts the signature": {
        "signatures": ["algorithm: sha1 named", "algorithm: sha512 named", "algorithm: PSS named", "algorithm: ECDSA named",
                       "algorithm: unknown", "algorithm: a digest named"]},
    "BER cuts a string into pieces, but no signature is in pieces of pieces": {"signatures": ["in pieces of pieces"]},
    "a reader does not try a thousand signers": {"signers": ["seventeen"]},
    "names are compared by their bytes: the certificate is not found, unchecked": {"signers": ["name in other letters"]},
    "a key identifier is a string of octets, not a set of such": {"signers": ["identifier with the tag of a sequence"]},
    "a certificate is DER, so that its fingerprint is one of the file's bytes": {
        "certificates": ["odd dates", "indefinite length", "long length", "negative modulus", "modulus written long"]},
    "a key has the form that RFC 3279 gives it, else it is unchecked": {
        "certificates": ["key without parameters", "key with odd parameters"]},
    "with the exponent 1 all can sign": {"certificates": ["exponent 1 and the block itself"]},
    "a revocation list is DER": {"revocation_lists": ["a short date", "a short next date", "indefinite length"]},
    "which of the two texts an agent would take is not for us to guess": {
        "structures": ["the text inside", "another text inside", "an empty text inside", "0.0, the text inside",
                       "0.0, another text inside", "0.0, a sequence inside"]},
}


def stricter(family):
    return {name for families in STRICTER.values() for name in families.get(family, ())}


@pytest.mark.parametrize("family", sorted(forgeries.FAMILIES))
def test_no_forgery_is_valid_that_openssl_refuses(family):
    falsely_valid, falsely_refused, unexpected, names = [], [], [], set()
    for one in forgeries.FAMILIES[family]():
        assert one.name not in names
        names.add(one.name)
        ours = verify_detached(one.der, one.content)
        theirs = openssl_accepts_der(one.der, one.content, session_directory(), one.command)
        if ours.status == "valid" and not theirs:
            falsely_valid.append(one.name)
        if theirs and ours.status != "valid" and one.name not in stricter(family):
            falsely_refused.append((one.name, ours))
        if one.expected and ours.status != one.expected:
            unexpected.append((one.name, ours))
    assert (falsely_valid, falsely_refused, unexpected) == ([], [], [])
    assert stricter(family) <= names and len(names) >= 25


@pytest.mark.parametrize("name", ["many lists", "a list of a quarter of a megabyte"])
def test_a_hostile_revocation_list_is_read_in_a_line(name):
    entry = forgeries.tlv(forgeries.SEQUENCE, forgeries.number(5), forgeries.tlv(0x17, b"300101000000Z"))
    tbs, kind, seal = forgeries.inside(forgeries.revocation_list())
    fields = [field for field in forgeries.inside(tbs) if field[:1] != b"\xa0"]

    def cost(count):
        if name.startswith("a list"):
            many = forgeries.tlv(forgeries.SEQUENCE, *[entry] * count)
            lists = [forgeries.tlv(forgeries.SEQUENCE, forgeries.tlv(forgeries.SEQUENCE, *fields, many), kind, seal)]
        else:
            lists = [forgeries.revocation_list()] * (count // 20)
        der = forgeries.signed(lists=forgeries.lists_of(*lists))

        def check():
            assert verify_detached(der, forgeries.CONTENT).status == "valid"
        return growth.seconds(check)

    eighth, whole = (cost(count) for count in (10000 // growth.SHARE, 10000))
    assert growth.is_a_line(eighth, whole), (eighth, whole)


@functools.cache
def shape_of(name):
    if name == "ordinary":
        return forgeries.signed()
    if name == "without attributes":
        return forgeries.signed(attributes=None)
    return forgeries.unspecified(lists=forgeries.lists_of(forgeries.revocation_list("other")))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shape=st.sampled_from(["ordinary", "without attributes", "0.0 and revocation list"]), place=st.integers(0, 1 << 16),
       mask=st.integers(1, 255))
def test_no_byte_can_be_changed_without_openssl_seeing_it_where_we_do_not(shape, place, mask):
    """Fields that nothing covers, such as a certificate's dates, may change: then openssl has to accept that too."""
    changed = forgeries.flipped(shape_of(shape), place, mask)
    if verify_detached(changed, forgeries.CONTENT).status == "valid":
        assert openssl_accepts_der(changed, forgeries.CONTENT, session_directory())
