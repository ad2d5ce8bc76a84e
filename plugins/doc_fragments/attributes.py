# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes and options that several modules share."""

from __future__ import annotations

# What both kinds of modules say that work on Windows hosts.
WINDOWS = r"""
requirements:
  - the collection ansible.windows for Windows hosts
notes:
  - On a Windows host one PowerShell script does the work, by M(ansible.windows.win_powershell), and needs no Python there.
"""


class ModuleDocFragment:

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return a changed status prediction without modifying the target.
  diff_mode:
    description: Returns what has changed, or would change in C(check_mode), when in diff mode.
  platform:
    description: Target operating systems that can be operated against.
"""

    # Of modules whose action asks a Windows host. Before the parts below, since the first one that names a platform counts.
    # With a type: a test of ansible-test takes what is assigned without one for a single literal.
    POSIX_AND_WINDOWS: str = r"""
options: {}
attributes:
  platform:
    support: full
    platforms: posix, windows
""" + WINDOWS

    LINUX_AND_WINDOWS: str = r"""
options: {}
attributes:
  platform:
    support: full
    platforms: linux, windows
""" + WINDOWS

    WINDOWS_FILE = r"""
options: {}
notes:
  - On a Windows host O(path) begins with a drive letter, or with the folder of a product, which the registry names, as in
    C({client}\actionsite.afxm) or C({server}\Masthead.afxm).
"""

    READ_ONLY = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - Reads only, so check mode changes nothing.
  diff_mode:
    support: N/A
    details:
      - Reads only.
  platform:
    support: full
    platforms: posix
"""

    # Of modules whose work an action plugin does on the control node.
    VARIABLES_ONLY = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - Reads variables only, so check mode changes nothing.
  diff_mode:
    support: N/A
    details:
      - Reads variables only.
  platform:
    support: full
    platforms: all
"""

    # Of modules that wait for evidence, and at most note in the record that it is there.
    PROOF = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - The record is not a file of the product.
  platform:
    support: full
    platforms: linux
"""

    RECORD = r"""
options:
  record:
    description:
      - Note the change in a record on the host, before it is made, so that M(portshift.agents.change_record)
        can take it back byte for byte.
    type: dict
    suboptions:
      path:
        description:
          - The record, such as C(/var/lib/portshift/bigfix.json). Backups lie in a folder beside it.
          - Of modules that work on Windows hosts, it lies there below C(C:\ProgramData\portshift).
        type: path
        required: true
      old_port:
        description: The port that the migration moves away from.
        type: int
      new_port:
        description: The port that the migration moves to. Another one than before begins a new record.
        type: int
        required: true
      phase:
        description: The phase of the migration, for the person who reads the record.
        type: str
"""

    EDIT = r"""
options:
  backup:
    description:
      - Keep a copy of the file as it was, beside it. Of modules that work on Windows hosts, it lies there below
        C(C:\ProgramData\portshift\backups), which only SYSTEM and administrators can read.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
notes:
  - The file is replaced as a whole in one step (same directory, fsync, rename), with its owner, mode, SELinux label
    and ACL kept. A symbolic link stays a link.
  - A link that belongs to neither root nor the user who runs the module is followed only to a file of the same owner.
  - A file with other names (hard links) is told in a warning, since those keep the old bytes. A flag of C(chattr) on the file
    or its folder that stands against the replacement is a failure, in check mode too.
"""
