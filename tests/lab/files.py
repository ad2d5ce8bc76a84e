# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the lab writes a file."""

import os


def write_atomically(path, data, mode=0o644):
    """Readers see the old bytes or the new ones.  No fsync: a lab does not outlive its machine."""
    temporary = "%s.%d.new" % (path, os.getpid())
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        os.fchmod(stream.fileno(), mode)
    os.rename(temporary, path)
