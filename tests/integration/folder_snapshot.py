# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a folder holds, to be compared with what it holds later."""

import hashlib
import os
import stat


def snapshot(folder):
    """Kind, mode, owner and content of everything below a folder."""
    found = {}
    for where, folders, names in os.walk(str(folder)):
        for name in folders + names:
            path = os.path.join(where, name)
            status = os.lstat(path)
            content = os.readlink(path) if os.path.islink(path) else ""
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as source:
                    content = hashlib.sha256(source.read()).hexdigest()
            found[os.path.relpath(path, str(folder))] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return found
