# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's certificate authority: issues mastheads for a port, as the vendor's tool does for a real deployment."""

import os
import subprocess

from .bigfix.masthead import URL_HEADERS

URL_PATHS = dict(zip(URL_HEADERS, (
    "/cgi-bin/bfgather.exe/actionsite",
    "/cgi-bin/bfenterprise/PostResults.exe",
    "/cgi-bin/bfenterprise/clientregister.exe",
    "/cgi-bin/bfenterprise/besgathermirror.exe",
    "/bfmirror/downloads/",
)))

# Of its own, so that no openssl.cnf of the machine has a say.
REQUEST = """[req]
distinguished_name = name
prompt = no
x509_extensions = extensions
[name]
O = portshift.agents lab
CN = Throwaway masthead signer
[extensions]
keyUsage = digitalSignature
extendedKeyUsage = emailProtection
"""


class AuthorityError(Exception):
    """openssl failed, or is not there: one sentence."""


def openssl(*arguments):
    try:
        done = subprocess.run(("openssl",) + arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
    except FileNotFoundError:
        raise AuthorityError("The lab needs the command openssl, which is not there.")
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise AuthorityError("openssl %s failed: %s" % (arguments[0], "".join(last)))
    return done.stdout


class Authority:
    def __init__(self, folder):
        self.folder = folder
        self.key = os.path.join(folder, "key.pem")
        self.certificate = os.path.join(folder, "cert.pem")

    def create(self):
        request = os.path.join(self.folder, "request.cnf")
        with open(request, "w") as stream:
            stream.write(REQUEST)
        os.close(os.open(self.key, os.O_CREAT | os.O_WRONLY, 0o600))
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "3650", "-config", request,
                "-keyout", self.key, "-out", self.certificate)

    def issue(self, kind, address, port, serial):
        """-> the bytes of a masthead of this deployment for that port."""
        lines = [
            "Organization: portshift.agents lab",
            "X-Fixlet-Site-Masthead-Version: 2",
            "X-Fixlet-Site-Name: actionsite",
            "X-Fixlet-Site-Serial-Number: %s" % serial,
        ]
        lines += ["%s: http://%s:%d%s" % (name, address, port, URL_PATHS[name]) for name in URL_HEADERS]
        if kind == "plain":
            lines.append("_PortNumber=%d" % port)
            return ("\n".join(lines) + "\n").encode("ascii")
        lines += [
            "X-Fixlet-Site-Assertion: this masthead belongs to a lab; it stands for",
            "  no product, no customer and no licence",
            "",
            "This text is part of what is signed.",
        ]
        inner = os.path.join(self.folder, "inner.txt")
        with open(inner, "wb") as stream:
            stream.write(("\r\n".join(lines) + "\r\n").encode("ascii"))
        try:
            # Outer headers come with LF, the signed part keeps its CRLF: the layout of real mastheads.
            return openssl("smime", "-sign", "-binary", "-md", "sha256", "-in", inner,
                           "-signer", self.certificate, "-inkey", self.key)
        finally:
            os.unlink(inner)
