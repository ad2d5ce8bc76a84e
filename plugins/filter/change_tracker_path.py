# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter portshift.agents.change_tracker_path; documented in change_tracker_path.yml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._network.probe import described

# What port_probe says of one target.
Answer = Mapping[str, Any]

# What a server in between says when no hub is behind it, or when it was not spoken to as it wants.
NO_ANSWER = "an answer of 400, or of 500 and more, is none of a hub"


def _no_hub(answer: Answer) -> bool:
    return bool(answer["status"] == 400 or answer["status"] >= 500)


def _nothing_there(new: Answer, old: Answer) -> str | None:
    """Why the port where the agent is now tells nothing about the new one, or None."""
    if not old["reachable"]:
        return "does not answer as it should (%s)" % old["reason"]
    if _no_hub(old) and not (new["reachable"] and new["status"] == old["status"]):
        return "answers with HTTP status %d" % old["status"]
    return None


def change_tracker_path(answers: list[Answer]) -> dict[str, list[str]]:
    """Whether the hub's new port answers as the one does where the agent is now."""
    if not answers:
        return {"problems": [], "notes": []}
    new, old = answers
    there, silent = "port %d, where the agent is now," % old["port"], _nothing_there(new, old)
    problems, notes = [], []
    if silent:
        notes.append("%s %s, so that nothing was there to compare the answer on port %d with" % (there, silent, new["port"]))
    if not new["reachable"]:
        problems.append(new["error"])
    elif silent:
        if _no_hub(new):
            problems.append("%s: HTTP status %d, and %s; %s %s, so there is nothing to compare it with" % (
                described(new), new["status"], NO_ANSWER, there, silent))
    else:
        shown = [answer["certificate"] and answer["certificate"]["sha256"] for answer in (new, old)]
        if shown[0] != shown[1]:
            problems.append("%s: the certificate with the SHA-256 fingerprint %s, while %s shows the one with %s" % (
                described(new), shown[0], there, shown[1]))
        if new["status"] != old["status"]:
            problems.append("%s: HTTP status %d, while %s answers with %d" % (
                described(new), new["status"], there, old["status"]))
    return {"problems": problems, "notes": notes}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"change_tracker_path": change_tracker_path}
