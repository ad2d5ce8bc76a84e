# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The C library's answers for an /etc/services of our making: in mounts of its own, so that this machine's stays as it is."""

import functools
import json
import os
import platform
import shutil
import subprocess
import sys

import pytest

# A file of our own over /etc/services.  In memory, since it is rewritten thousands of times.
OWN_SERVICES = """
mount -t tmpfs tmpfs /mnt
touch /mnt/services
mount --bind /mnt/services /etc/services
"""

# Reads [file, ...] as JSON and writes [[answer for each question], ...]; bytes as latin-1 text.
ASK = """
import ctypes, json, socket, subprocess, sys
class Entry(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("aliases", ctypes.c_void_p), ("port", ctypes.c_int), ("protocol", ctypes.c_char_p)]
library = ctypes.CDLL(None)
library.getservbyname.restype = ctypes.POINTER(Entry)
library.__nss_configure_lookup(b"services", b"files")
def by_library(name, protocol):
    found = library.getservbyname(name.encode(), protocol and protocol.encode())
    return socket.ntohs(found.contents.port & 0xffff) if found else None
def by_getent(name, protocol):
    key = name + "/" + protocol if protocol else name
    said = subprocess.run(["getent", "-s", "services:files", "services", key], stdout=subprocess.PIPE).stdout
    return int(said.split()[1].split(b"/")[0]) if said else None
ask = dict(library=by_library, getent=by_getent)[sys.argv[1]]
questions, answers = json.loads(sys.argv[2]), []
with open("/etc/services", "r+b", buffering=0) as services:
    for content in json.load(sys.stdin):
        services.seek(0)
        services.truncate()
        services.write(content.encode("latin-1"))
        answers.append([ask(*question) for question in questions])
json.dump(answers, sys.stdout)
"""


@functools.cache
def _namespace():
    """(command that enters mounts of its own, why there are none)."""
    if platform.libc_ver()[0] != "glibc":
        return (), "the C library of this Python is not glibc, whose reading is what counts"
    if not shutil.which("unshare") or not shutil.which("getent"):
        return (), "unshare or getent is not installed here"
    if not os.path.isfile("/etc/services"):
        return (), "there is no /etc/services here over which another one could be mounted"
    said = ""
    for user in ([], ["--user", "--map-root-user"]):
        prefix = ("unshare", "--mount", *user, "--", "sh", "-ec")
        done = subprocess.run([*prefix, OWN_SERVICES], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        if not done.returncode:
            return prefix, ""
        said = done.stdout.strip()
    return (), "this machine allows no mount namespace: %s" % said


def in_own_mounts(script, *arguments):
    """What to put before a command so that it runs after `script`, in mounts of its own; skips where there can't be any."""
    prefix, why_not = _namespace()
    if why_not:
        pytest.skip(why_not)
    script = "mount --make-rprivate /\n%s\nshift %d\nexec \"$@\"" % (script, len(arguments))
    return [*prefix, script, "sh", *map(str, arguments)]


def answers(contents, questions, by="library"):
    """What the C library's files backend answers: for each content a list of ports or None, one for each (name, protocol)."""
    command = [*in_own_mounts(OWN_SERVICES), sys.executable, "-c", ASK, by, json.dumps(questions)]
    done = subprocess.run(command, input=json.dumps([content.decode("latin-1") for content in contents]), stdout=subprocess.PIPE,
                          text=True, check=True, timeout=300, env=dict(os.environ, LC_ALL="C"))
    return json.loads(done.stdout)
