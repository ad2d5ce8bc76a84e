# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a host whose move failed, in one sentence for every product."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import MoveRecord

# Words of a module that has said by itself what became of the host, and on which port it is now.
TOLD = ("nothing was changed", "its services run on the old port", "It was not put back", "Nothing was put back")


def _number(port: object) -> int:
    return int(str(port)) if re.fullmatch(r"[0-9]{1,5}", str(port)) else 0


def outcome(failure: str, record: MoveRecord | None, port: object, back: str, words: str = "port", trouble: object = None,
            check_mode: bool = False) -> str:
    """The sentence that follows `failure`; empty where that says it all, or where nothing is known.

    `record`: the content of the host's record after the failure, or of before the rollback that came after it.
    `port`: the one that it was to move to.  `back`: the sentence for a host that was put back.  `words`: what a port is called.
    """
    record = record or MoveRecord()
    state, is_of_this_move = record.get("state"), _number(record.get("new_port")) == _number(port)
    if check_mode:
        return "Check mode: nothing was changed."
    if trouble is not None:
        return "Putting it back failed too, it needs a person: %s" % trouble
    if any(told in failure for told in TOLD):
        return ""
    if state in ("changing", "rolled_back") and is_of_this_move:
        return back
    if state == "verified" and is_of_this_move:
        return "It was not put back, since it had proved itself on this %s before." % words
    if state == "verified":
        return "It is as it was before, on the %s that an earlier migration led to." % words
    if state == "changing":
        return "It was not put back: its record is that of a migration to %s %s, which has not ended." % (
            words, record.get("new_port"))
    return ""


def failed_move(failure: object, record: MoveRecord | None, port: object, back: str, **more: Any) -> str:
    return ("%s. %s" % (str(failure).rstrip("."), outcome(str(failure), record, port, back, **more))).strip()
