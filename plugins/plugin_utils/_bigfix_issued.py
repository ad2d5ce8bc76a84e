# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The masthead that was issued for the new port, as a file on the control node."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import read_bytes
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead import MastheadError, parse


def find_issued(action: Any, src: str) -> str:
    """The file that the user means by `src`: from where the command was typed, else where Ansible looks for files."""
    here = os.path.abspath(os.path.expanduser(src))
    return here if os.path.isfile(here) else action._find_needle("files", src)


def read_issued(path: str) -> Any:
    """The parsed masthead at `path`; errors carry the path."""
    try:
        return parse(read_bytes(path))
    except MastheadError as err:
        raise EngineError("%s: %s" % (path, err)) from err
