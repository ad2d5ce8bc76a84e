# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as evidence in a host's variables.  One rule for gates and reports."""

from __future__ import annotations

from collections.abc import Mapping


def without_evidence(hostvars, host, name):
    """Why variable `name` of `host` is no evidence; None when it is."""
    if host not in hostvars:
        return "not in the inventory"
    if name not in hostvars[host]:
        return "no answer: unreachable, or failed before it could prove anything"
    value = hostvars[host][name]
    if not isinstance(value, Mapping):
        return None if value else "%s is %r" % (name, value)
    if value.get("ok") is True and not value.get("failed"):
        return None
    reasons = value.get("problems") or list((value.get("missing") or {}).values())
    if reasons:
        return "; ".join(reasons)
    if value.get("unreachable") or value.get("failed") or value.get("skipped"):
        return str(value.get("msg") or "unreachable or skipped")
    return None if "ok" not in value and value else "%s says that it is not ok" % name
