# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds mastheads as BigFix writes them: plain ones, and ones signed by openssl with throwaway keys."""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile

KEYS = {
    "rsa": ["-newkey", "rsa:2048"],
    "cubic": ["-newkey", "rsa:2048", "-pkeyopt", "rsa_keygen_pubexp:3"],
    **{"rsa%d" % bits: ["-newkey", "rsa:%d" % bits] for bits in (1024, 1025, 1536, 2047, 3072, 4096)},
    "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
}


def openssl(*arguments, **keywords):
    """Run openssl; returns the finished process.  A missing openssl is a failure, never a skipped test."""
    if not shutil.which("openssl"):
        raise AssertionError("these tests sign mastheads with the openssl command: install openssl and run them again")
    return subprocess.run(("openssl",) + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **keywords)


def _made(*arguments):
    run = openssl(*arguments)
    assert run.returncode == 0, "openssl %s failed: %s" % (" ".join(arguments), run.stderr.decode())
    return run.stdout


def inner_part(host="bigfix.example.test", port=52311, serial="123456789", newline=b"\r\n"):
    """The text of a masthead, which is the part that gets signed: the port stands in it five times."""
    base = "http://%s:%s" % (host, port)
    lines = [
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=us-ascii",
        "X-Fixlet-Site-Masthead-Version: 2",
        "X-Fixlet-Site-Name: actionsite",
        "X-Fixlet-Site-Gather-URL: %s/cgi-bin/bfgather.exe/actionsite" % base,
        "X-Fixlet-Site-Report-URL: %s/cgi-bin/bfenterprise/PostResults.exe" % base,
        "X-Fixlet-Site-Registration-URL: %s/cgi-bin/bfenterprise/clientregister.exe" % base,
        "X-BES-Mirror-Gather-URL: %s/cgi-bin/bfenterprise/besgathermirror.exe" % base,
        "X-BES-Mirror-Download-URL: %s/bfmirror/downloads/" % base,
        "X-Fixlet-Site-Serial-Number: %s" % serial,
        "X-Fixlet-Site-Assertion: the actions of this site are signed",
        "  by the operators of Example Corp, see http://www.example.test:8080/",
        "x-bes-require-tls12: 1",
        "",
        "This masthead was issued for a test.",
        "",
    ]
    return newline.join(line.encode("latin-1") for line in lines)


def plain(host="bigfix.example.test", port=52311, serial="123456789"):
    """A plain masthead, as the port change guide shows it."""
    return (
        "# Masthead of %(host)s\n_ServerName=%(host)s\n_PortNumber=%(port)s\n\n"
        "X-Fixlet-Site-Registration-URL: http://%(host)s:%(port)s/cgi-bin/bfenterprise/clientregister.exe\n"
        "X-Fixlet-Site-Serial-Number: %(serial)s\n" % {"host": host, "port": port, "serial": serial}
    ).encode("latin-1")


def make_signer(directory, name, kind="rsa"):
    """A throwaway key and self-signed certificate in `directory` -> (path of the key, path of the certificate)."""
    key, cert = [os.path.join(str(directory), name + suffix) for suffix in (".key.pem", ".cert.pem")]
    _made("req", "-x509", *(KEYS[kind] + ["-nodes", "-keyout", key, "-out", cert, "-days", "30", "-sha256",
                                          "-subj", "/O=Example Corp/CN=" + name]))
    return key, cert


@functools.cache
def session_signer(name="issuer", kind="rsa"):
    """As make_signer, made once per test session."""
    return make_signer(session_directory(), name, kind)


@functools.cache
def session_directory():
    directory = tempfile.mkdtemp(prefix="masthead-signer-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def sign(inner, key=None, cert=None, md="sha256", options=()):
    """A signed masthead around `inner`; without key and cert the session's signer signs."""
    if key is None:
        key, cert = session_signer()
    return _sign(inner, md, "smime", "-sign", "-binary", "-signer", cert, "-inkey", key, *options)


def sign_der(inner, key=None, cert=None, md="sha256", options=(), command="smime"):
    """The detached signature alone, in DER."""
    if key is None:
        key, cert = session_signer()
    return _sign(inner, md, command, "-sign", "-binary", "-outform", "DER", "-signer", cert, "-inkey", key, *options)


def _sign(inner, md, *arguments):
    with tempfile.NamedTemporaryFile(dir=session_directory(), delete=False) as content:
        content.write(inner)
    try:
        return _made(*(arguments + ("-md", md, "-in", content.name)))
    finally:
        os.unlink(content.name)


def openssl_accepts(masthead, directory):
    """The verdict of openssl on a whole signed masthead."""
    path = os.path.join(str(directory), "verify.afxm")
    with open(path, "wb") as stream:
        stream.write(masthead)
    return openssl("smime", "-verify", "-binary", "-noverify", "-in", path, "-out", os.devnull).returncode == 0


def openssl_accepts_der(der, content, directory, command="smime"):
    """The verdict of openssl on a detached signature."""
    paths = [os.path.join(str(directory), name) for name in ("verify.p7s", "verify.content")]
    for path, data in zip(paths, (der, content)):
        with open(path, "wb") as stream:
            stream.write(data)
    return openssl(command, "-verify", "-binary", "-noverify", "-inform", "DER", "-in", paths[0], "-content", paths[1],
                   "-out", os.devnull).returncode == 0


def certificate_sha256(cert):
    """The certificate's fingerprint, by openssl."""
    line = _made("x509", "-in", cert, "-noout", "-fingerprint", "-sha256").decode()
    return line.split("=")[1].replace(":", "").strip().lower()
