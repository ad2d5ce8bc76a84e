# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code of archives, as which Ansible sends each module, compiled once for all runs on a host.

An archive of a module holds sources alone, so each run of a module compiles some fifty files: that was 38 % of the CPU time of
a run of a playbook on the lab, hosts and control node together.  What runs is the same code.  A Python with this at its start
(install()) keeps what it has compiled in FOLDER, by the source and by the version of Python.

Only for tests that ask for it (VARIABLE): what a migration costs is measured without.
"""

import os

VARIABLE = "PORTSHIFT_LAB_KEPT_CODE"
FOLDER = "/var/cache/portshift-lab/code"
# Where Debian's Python looks for packages, whatever its version; elsewhere the file is not read, and nothing is kept.
PACKAGES = "usr/lib/python3/dist-packages"
NAME = "portshift_lab_kept_code"


def install(folder=FOLDER):
    """From now on this process takes what was compiled before from the folder, and adds to it what was not."""
    import marshal
    import zipimport

    import _imp
    usual = getattr(zipimport, "_compile_source", None)
    if usual is None:
        return    # zipimport is written in C, as before Python 3.8
    version = int.from_bytes(zipimport._bootstrap_external.MAGIC_NUMBER, "little")

    def compile_source(path, source):
        # Without the folder of this run, in which the archive lies.
        inside = path.rpartition(".zip/")[2].encode("utf-8", "surrogateescape")
        key = _imp.source_hash(version, inside + b"\0" + source)
        kept = os.path.join(folder, "%d-%s-%d" % (version, key.hex(), len(source)))
        try:
            with open(kept, "rb") as stream:
                return marshal.loads(stream.read())
        except (OSError, EOFError, ValueError, TypeError):
            pass    # not there, or not to be read by this user
        code = usual(path, source)
        try:
            os.makedirs(folder, exist_ok=True)
            own = "%s.%d" % (kept, os.getpid())
            with open(own, "wb") as stream:
                stream.write(marshal.dumps(code))
            os.rename(own, kept)
        except OSError:
            pass    # it is compiled again, then
        return code

    zipimport._compile_source = compile_source


def files():
    """{path on a host: content} that have every Python of it begin with that, where the tests ask for it."""
    if not os.environ.get(VARIABLE):
        return {}
    with open(os.path.abspath(__file__)) as stream:
        return {"%s/%s.py" % (PACKAGES, NAME): stream.read(),
                "%s/%s.pth" % (PACKAGES, NAME): "import %s; %s.install()\n" % (NAME, NAME)}
