# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves of models of Windows hosts, asked without a wire, and what comes in their way, whatever the product."""

import pytest

from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import VERSION, Request
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import new_id, readable
from tests.windows.clock import Cancelled


# What a refused move ends with, and one that could not all be undone.
SEE_LOG = ": look into the product's log on this host"
UNDONE = (". The host has undone it by itself: its files and its registry are as they were before, and its services run on the "
          "old port")
TRIES_AGAIN = ("; this host tries again each minute. The host is half way, and needs a person unless it gets it undone by itself "
               "yet: below C:\\ProgramData\\portshift\\changes it keeps what it was like before")


def not_undone(step, what):
    """The sentence of a step that fails as its undoing does."""
    return "%s failed: %s; and it could not all be undone: %s%s" % (step, what, what, TRIES_AGAIN)


class Straight:
    """A Script that asks the model at once, and counts."""

    def __init__(self, host):
        self.host, self.reads, self.applies, self.resumed, self.about = host, 0, [], [], None

    def read(self, wanted):
        self.reads += 1
        return readable(self.host.script.answer(Request(version=VERSION, verb="read", wanted=wanted)))

    def apply(self, wanted, steps, timeout, settles=()):
        self.applies.append(steps)
        more = dict(settles=list(settles)) if settles else {}
        return self.host.script.answer(Request(version=VERSION, verb="apply", wanted=wanted, id=new_id(self.about),
                                               timeout=timeout, steps=steps, **more))

    def resume(self, change):
        self.resumed.append(change["id"])
        return self.host.script.answer(Request(version=VERSION, verb="apply", wanted={}, id=change["id"],
                                               timeout=change["timeout"], steps=[]))


def hangs_while_it_stops(host, name):
    host.services.get(name).hangs = "stop"


def fails_to_start(host, name):
    """Once the move has stopped the service; a way back that takes as long as it may comes after that."""
    service = host.services.get(name)
    host.clock.after(1.5, lambda: setattr(service, "fails", 1))
    host.clock.after(40, lambda: setattr(service, "fails", None))


def cut_off(host, move, at=None, meanwhile=lambda: None):
    """Has the move of a host end before the step of that number, or else before the first start.  `meanwhile`: what ends it."""
    def cut(step):
        if at is not None or step["step"] == "start":
            meanwhile()
            raise Cancelled

    host.script.before = dict.fromkeys(range(40) if at is None else [at], cut)
    with pytest.raises(Cancelled):
        move()
    host.script.before = {}
