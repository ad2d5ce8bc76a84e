# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter portshift.agents.bigfix_options; documented in bigfix_options.yml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.portshift.agents.plugins.plugin_utils._bigfix_options import ASKED, PARTS, Host, Options


def bigfix_options(host: Host, what: str, assessment: Mapping[str, Any] | None = None) -> Options:
    """Options of one module for a BigFix host."""
    if what in PARTS:
        return PARTS[what](host)
    if what not in ASKED:
        raise AnsibleFilterError("bigfix_options: %r is none of %s" % (what, ", ".join([*ASKED, *PARTS])))
    return ASKED[what](host, (assessment or {}).get("neighbours") or ())


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"bigfix_options": bigfix_options}
