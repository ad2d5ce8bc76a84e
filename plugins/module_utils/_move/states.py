# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of a change that undoes itself unless it is confirmed, its time, and whether one of a host is under way."""

import json
import math

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import longest

VERSION = 1
STATE = "state.json"
# What a change goes through.  "begun" is handed over, with nothing touched yet.
BEGUN, CHANGING, WAITING, CONFIRMED = "begun", "changing", "waiting", "confirmed"
REVERTING, REVERTED, FAILED = "reverting", "reverted", "failed"
ENDED = (CONFIRMED, REVERTED, FAILED)
# Seconds of the time of a change that its proof leaves to the new login that confirms it.
LOGIN_SECONDS = 20
# What a look is told of the move that is to come, for too_short().
TIMES_SPEC = dict(type="dict", options=dict(
    limit=dict(type="int", required=True), timeout=dict(type="float", required=True), settle=dict(type="float", required=True)))


class ChangeError(EngineError):
    """A change that can't be, or did not come about; the sentence says what became of the host, `result` what it proved."""


def too_short(limit, options):
    """A sentence when start, proof and login do not have the time that a proof with these options may take, or None."""
    needed = math.ceil(longest(options) + LOGIN_SECONDS)
    if limit >= needed:
        return None
    return ("start, proof and the login that confirms have %d s together; the proof may take %g s and twice %g s to settle, and "
            "a new login %d s; give them %d s or more, or the proof less" % (
                limit, options["timeout"], options["settle"], LOGIN_SECONDS, needed))


def folder_name(name):
    """Of the folder of the change `name`."""
    return name + ".confirm"


def parsed(path, data):
    """The content of one of the files of a change, out of its bytes; None where there are none."""
    if data is None:
        return None
    try:
        content = json.loads(data.decode("utf-8"))
        if content["version"] != VERSION:
            raise ValueError("version %r" % content["version"])
        return content
    except (ValueError, KeyError, TypeError) as err:
        raise ChangeError("%s: is not a file of portshift.agents that this version reads (%s); look at it, and move the "
                          "folder away if you know that no change is under way on this host" % (path, err))


def under_way(host, record, name):
    """A sentence on a change of this host that undoes itself unless it is confirmed, and that has not ended; else None.

    `host`: the Host that is asked.  `record`: the record of the migration, beside which the folder of the change lies.
    """
    path = host.join(host.folder_of(record), folder_name(name), STATE)
    try:
        state = parsed(path, host.read_own(path))
    except EngineError as err:
        return str(err)
    if state is None or state["state"] in ENDED:
        return None
    return ("a change of this host is under way (%s) and undoes itself unless it is confirmed; see what becomes of it with "
            "confirmed_change (name: %s, state: present), and run again when it has ended" % (state["state"], name))
