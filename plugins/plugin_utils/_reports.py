# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sentences with which a run ends: what was done, how many hosts are where, what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Rollback, RunOrder
from ansible_collections.portshift.agents.plugins.plugin_utils._migration import by_hand, phase_hosts
from ansible_collections.portshift.agents.plugins.plugin_utils._products import Product
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import PHASES


def listed(several: Iterable[object]) -> str:
    """Such as: 1, 2 and 3."""
    words = [str(word) for word in several]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def some(words: Sequence[str], most: int = 5) -> str:
    """The first of many names, and how many more there are."""
    return ", ".join(words[:most]) + (" and %d more" % (len(words) - most) if len(words) > most else "")


def hosts(number: int) -> str:
    return "%d host%s" % (number, "" if number == 1 else "s")


def migrated(product: Product, order: RunOrder, port: object, proved: Callable[[str], bool], check_mode: bool) -> list[str]:
    running = order["running"]
    concerned = [host for phase in running for host in phase_hosts(order, phase)]
    done = "phase%s %s" % ("s" if len(running) > 1 else "", listed(running)) if running else "no phase"
    there = sum(map(proved, order["order"]))
    where = "%d of %s %s %s %s" % (
        there, hosts(len(order["order"])), "would be on" if check_mode else "proved", product.port_word, port)
    if check_mode:
        found = ["Check mode: nothing was changed. %s would run; %s." % (done[0].upper() + done[1:], where)]
    else:
        found = ["%s of this run %s done (%s); %s." % (
            done[0].upper() + done[1:], "are" if len(running) != 1 else "is", hosts(len(concerned)), where)]
    waiting = [(number, len(phase_hosts(order, number))) for number in PHASES if number not in running]
    left = ["phase %d (%s, %s)" % (number, product.phases[number], hosts(count)) for number, count in waiting if count]
    if left:
        found.append("Left: %s. Run the same command without --tags and %s." % (listed(left), product.variable("phases")))
    outside = len(order["members"]) - len(set(order["members"]) & set(order["order"]))
    if outside:
        found.append("%s of the inventory %s no part of this run (--limit)." % (hosts(outside), "are" if outside > 1 else "is"))
    return found


def taken_back(product: Product, there: str, back: Rollback, check_mode: bool, closes: bool) -> list[str]:
    """`closes`: whether a way back takes away what had been opened."""
    if not back["moved"]:
        return ["Nothing to take back: no host has moved%s%s." % (
            " to %s %s" % (product.port_word, back["port"]) if back["port"] else "",
            "; what had been opened for it is closed" if back["port"] and closes else "")]
    moved = "the migration of %s from %s %s to %s" % (
        hosts(len(back["moved"])), product.port_word, back["old_port"], back["port"])
    if check_mode:
        return ["Check mode: nothing was changed. This would take back %s." % moved]
    return ["%s: %s is taken back." % (there, moved)]


def report(product: Product, order: RunOrder, port: object, proved: Callable[[str], bool], check_mode: bool,
           back: Rollback | None = None, server: str | None = None) -> list[str]:
    """The sentences.  `proved`: whether a host has given evidence for `port`.  `server`: the root server's name for users."""
    hub = by_hand(product, order)
    if order["run"] == "migrate":
        told = dict(port=port, server=server)
        steps = (*product.next_steps[:-1], hub.next_step) if hub else product.next_steps
        return migrated(product, order, port, proved, check_mode) + [sentence % told for sentence in steps]
    there = "%d of %s proved %s %s" % (sum(map(proved, order["order"])), hosts(len(order["order"])), product.port_word, port)
    if order["run"] == "verify":
        return [there + "."]
    left = [hub.left] if hub else []
    if order["run"] == "close":
        begin = "Check mode: nothing was changed. " if check_mode else ""
        what = [] if hub else ["What that would leave open is told above." if check_mode else "What was left for it is closed."]
        return [" ".join([begin + there + ".", *what]), *left]
    return taken_back(product, there, back or Rollback(moved=[]), check_mode, hub is None) + left
