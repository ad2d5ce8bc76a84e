# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the playbooks: the tables from which their check, their defaults and the tables of the documentation come.

Each product's driver has a table; what several products have in common stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.plugin_utils._port_users import parse_ignored, parse_quiet
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import parse_phases, share, wave_sizes
from ansible_collections.portshift.agents.plugins.plugin_utils._window import parse_window

# What a type is called in a sentence; NAME stands for the option's.
TYPES = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text",
         "name": "1 to 20 characters a-z, 0-9 and _, a letter first",
         "list": "a list, on the command line as JSON: -e '{\"NAME\": [...]}'",
         "items": "a list, or text such as a,b; JSON on the command line is -e '{\"NAME\": [...]}'",
         "dict": "a dictionary, on the command line as JSON: -e '{\"NAME\": {...}}'"}
# Types whose own check has a sentence of its own.
CHECKED_BY: dict[str, Callable[[object, str], object]] = {
    "port": parse_port, "share": lambda value, name: share(value, 0, name), "waves": wave_sizes, "phases": parse_phases,
    "window": parse_window, "addresses": parse_ignored, "quiet": parse_quiet}
# Types about which nothing is said here: what takes the value does.
ANYTHING = ("any", "raw")
# What opens a host's own firewall: choices of option backend of module host_port.
FIREWALLS = ("auto", "firewalld", "ufw", "nftables", "iptables", "windows", "none")


class Option(NamedTuple):
    """One variable, without the prefix of its product.

    type      one of TYPES, CHECKED_BY or ANYTHING
    choices   the values that it may have, where these can be listed
    argument  of the module that lays out the steps, where it takes the variable
    shown     the default in the documentation, where the value alone would not say it
    listed    whether the documentation has a row for it; else that of a role has it
    """

    name: str
    type: str
    default: object
    text: str
    argument: str = ""
    shown: str = ""
    listed: bool = True
    choices: tuple[str, ...] = ()


LOCK = [
    Option("lock", "bool", True, "refuse to work beside another run"),
    Option("lock_seconds", "int", 0,
           "seconds for which a run that does not renew its lock counts as alive", shown="`600`, and a second "
           "for each host"),
    Option("take_over", "bool", False, "take the lock of a run that is known to be dead")]
MAX_MISSING = "hosts that a gate lets be missing, `3` or `5%`"
MISSING = [
    Option("max_missing", "share", 0, MAX_MISSING),
    Option("close_max_missing", "share", 0, "the same for `close` and `rollback`, where a host that is missing gets cut off")]
USERS = [
    Option("close_ignore_users", "addresses", [],
           "addresses and networks, such as a scanner's, that may use the old port when it "
           "is closed; others end the run", "close_ignore_users"),
    Option("close_quiet_seconds", "quiet", 3600, "seconds for which such a use counts; `0`: none does", "close_quiet_seconds")]
PHASES = [
    Option("phases", "phases", [1, 2, 3],
           "run some phases alone, such as `1`; tags `phase1`, `phase2`, `phase3` do the same", "phases"),
    Option("window", "window", "", "`22:00-04:00`: no wave begins outside, by the control node's clock", "window", "always open")]
FORCE = Option("rollback_force", "bool", False, "roll back files that were changed since")


def sources(which: str, others: str) -> list[Option]:
    return [Option("restrict_sources", "bool", False, "admit only " + which, "restrict_sources"),
            Option("allowed_sources", "items", [], "with that, others who may connect" + others, "allowed_sources")]


def named(product: str, options: list[Option]) -> dict[str, Option]:
    """Name of the variable -> Option."""
    return {"%s_%s" % (product, option.name): option for option in options}


def _default(option: Option) -> str:
    if option.shown:
        return option.shown
    text = str(option.default).lower() if isinstance(option.default, bool) else str(option.default).replace("'", '"')
    return "`%s`" % text


def rows(product: str, options: list[Option]) -> list[str]:
    """The rows of the table in the documentation."""
    return ["| `%s` | %s | %s |" % (name, _default(option), option.text) for name, option in named(product, options).items()
            if option.listed]
