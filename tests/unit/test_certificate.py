# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints and the end of a certificate, compared with what OpenSSL says."""

import ssl
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._network import certificate as engine
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

SHA1, SHA256 = "AB" * 20, "0F" * 32


@pytest.fixture(scope="module", params=["rsa", "ec"])
def pem(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    kind = ["-newkey", "rsa:2048"] if request.param == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    # The second one ends in a year that two digits can't name.
    days = "90" if request.param == "rsa" else "12000"
    subprocess.run(["openssl", "req", "-x509", "-nodes", *kind, "-days", days, "-subj", "/CN=hub.example.test",
                    "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")], check=True, capture_output=True)
    return folder / "cert.pem"


def openssl(pem, *arguments):
    done = subprocess.run(["openssl", "x509", "-noout", "-in", str(pem), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip().partition("=")[2]


def test_a_certificate_is_described_as_openssl_does(pem):
    found = engine.described(ssl.PEM_cert_to_DER_cert(pem.read_text()))
    assert found["sha1"] == openssl(pem, "-fingerprint", "-sha1").replace(":", "")
    assert found["sha256"] == openssl(pem, "-fingerprint", "-sha256").replace(":", "")
    end = time.strptime(openssl(pem, "-enddate"), "%b %d %H:%M:%S %Y GMT")
    assert found["not_after"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", end)


@given(cut=st.integers(0, 400), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_damaged_certificate_has_fingerprints_and_perhaps_no_end(pem, cut, at, byte):
    der = bytearray(ssl.PEM_cert_to_DER_cert(pem.read_text()))
    der[at % len(der)] = byte
    for data in (bytes(der), bytes(der[:cut])):
        assert set(engine.described(data)) == {"sha1", "sha256", "not_after"}


@pytest.mark.parametrize("text, digits", [
    (SHA1, SHA1), (SHA1.lower(), SHA1), (":".join(["ab"] * 20), SHA1), (" ab" * 20, SHA1),
    ("\u200eab" + "AB" * 19 + "\u200f", SHA1),
    (SHA256, SHA256), (":".join(["0f"] * 32), SHA256),
])
def test_a_thumbprint_may_be_written_as_people_write_it(text, digits):
    assert engine.parse_thumbprint(text) == digits


@pytest.mark.parametrize("text", ["", "AB", "AB" * 19 + "A", "AG" * 20, "AB" * 21, "sha1:" + SHA1, "\u0661" * 40])
def test_what_is_no_thumbprint_is_refused(text):
    with pytest.raises(EngineError, match="is none: give the 40 hexadecimal digits"):
        engine.parse_thumbprint(text)


def test_a_certificate_is_compared_by_the_kind_of_fingerprint_that_was_given():
    shown = dict(sha1=SHA1, sha256=SHA256)
    assert engine.other_than(shown, SHA1.lower()) is None and engine.other_than(shown, SHA256) is None
    assert engine.other_than(shown, "00" * 20) == (
        "the server shows the certificate with the SHA-1 fingerprint %s, not the one with %s" % (SHA1, "00" * 20))
    assert "SHA-256 fingerprint %s, not" % SHA256 in engine.other_than(shown, SHA1[:24] + SHA1)
