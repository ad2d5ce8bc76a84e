# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why reports of a lab were lost: the silences in the root server's ledger, beside what Ansible did meanwhile."""

from __future__ import annotations

import json
import time
from collections import namedtuple
from pathlib import Path

from tests.lab.bigfix.ledger import Count

# The task that stops a host's product and starts it on the new port.
MOVE = "portshift.agents.bigfix_cutover"
# The plugin that writes down what Ansible does, and the variable that names its file.
CALLBACKS, CALLBACK, JOURNAL = Path("tests") / "integration" / "callback", "journal", "PORTSHIFT_JOURNAL"
# Of what ran in a silence, as much is named.
MOST_NAMED = 3
# Seconds for which the lab's agents try to send a report, as it comes.
GIVE_UP = 10

# Reports of an agent that were given up.  `since`: the time of the last report before them, None where there was none; `until`:
# that of the next one.  Where none has come, it is now, and how many are lost is not known: 0.
Silence = namedtuple("Silence", "agent since until lost")
# A task on a host.
Spell = namedtuple("Spell", "play task action host began ended")


class _Count(Count):
    """Keeps where numbers were left out, too."""

    def __init__(self):
        super().__init__()
        self.gaps = []

    def add(self, when, number, port):
        if number > self.highest + 1:
            self.gaps.append((self.last, when, range(self.highest + 1, number)))
        super().add(when, number, port)


def is_silent(seconds):
    """Whether an agent whose last report came so long ago (None: that has sent none) gives reports up by now."""
    return seconds is None or seconds > GIVE_UP


def silences(tally, agents, now):
    """The Silences of `agents`, in the order of time.  `tally`: the lab's, which has read nothing yet."""
    tally.clients = {agent: _Count() for agent in agents}
    tally.read()
    found = []
    for agent in agents:
        count = tally.clients[agent]
        for since, until, numbers in count.gaps:
            # What came late after all is not lost.
            lost = len(count.missing.intersection(numbers))
            if lost:
                found.append(Silence(agent, since, until, lost))
        if is_silent(count.last and now - count.last):
            found.append(Silence(agent, count.last, now, 0))
    return sorted(found, key=lambda silence: (silence.until, silence.agent))


def spells(journal):
    """What Ansible did, by the file of the callback: a Spell for each host of each task that ran there."""
    found, play, began = [], "", 0.0
    try:
        lines = Path(journal).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        event = json.loads(line)
        if event["event"] == "play":
            play = event["name"]
        elif event["event"] == "task":
            began = event["time"]
        elif "host" in event:
            found.append(Spell(play, event["task"], event["action"], event["host"], began, event["time"]))
    return found


def _clock(when):
    return time.strftime("%H:%M:%S", time.localtime(when))


def _line(agent, parents):
    """The hosts that an agent's report passes, its own first."""
    found = []
    while agent and agent not in found:
        found.append(agent)
        agent = parents.get(agent)
    return found


def _told(several):
    """Spells of one task as words: what, where, from when to when."""
    hosts = list(dict.fromkeys(spell.host for spell in several))
    named = ", ".join(hosts[:MOST_NAMED]) + (" and %d more" % (len(hosts) - MOST_NAMED) if len(hosts) > MOST_NAMED else "")
    return '"%s: %s" on %s (%s to %s)' % (several[0].play, several[0].task, named, _clock(min(one.began for one in several)),
                                          _clock(max(one.ended for one in several)))


def _ran(during):
    by_task = {}
    for spell in during:
        by_task.setdefault((spell.play, spell.task, spell.began), []).append(spell)
    # The longest ones say most.
    longest = sorted(by_task.values(), key=lambda several: several[0].began - max(one.ended for one in several))
    more = " and %d more" % (len(longest) - MOST_NAMED) if len(longest) > MOST_NAMED else ""
    return ", ".join(map(_told, longest[:MOST_NAMED])) + more


def _meanwhile(silence, did, parents):
    """What ran between the last report before a silence and the first one after it, as a clause."""
    during = [spell for spell in did if spell.began <= silence.until and (silence.since is None or spell.ended >= silence.since)]
    on_its_way = _line(silence.agent, parents)
    moves = [spell for spell in during if spell.action == MOVE and spell.host in on_its_way]
    if moves:
        hosts = list(dict.fromkeys(spell.host for spell in moves))
        return "while %s moved: %s" % (" and ".join(hosts), _ran(moves))
    if during:
        return "while no host between it and the root server moved; what ran was %s" % _ran(during)
    return "while Ansible ran nothing"


def _when(silence):
    if silence.since is None:
        return "before its first one at %s" % _clock(silence.until)
    return "between %s and %s (%.1f s)" % (_clock(silence.since), _clock(silence.until), silence.until - silence.since)


def reasons(silent, did, parents):
    """A sentence for each Silence.  `did`: Spells; `parents`: host -> the one that it reports to, or None."""
    found = []
    for silence in silent:
        if silence.lost:
            what = "%d report%s of %s lost %s" % (silence.lost, "" if silence.lost == 1 else "s", silence.agent, _when(silence))
        elif silence.since is None:
            what = "%s has sent no report" % silence.agent
        else:
            what = "%s has been silent since %s (%.1f s)" % (
                silence.agent, _clock(silence.since), silence.until - silence.since)
        found.append("%s, %s." % (what, _meanwhile(silence, did, parents)))
    return found
