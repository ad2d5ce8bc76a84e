# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the playbooks: the one table from which their check, their defaults and the tables of the documentation come.

Imports nothing of the collection: tools/lint reads it, too.
"""

from __future__ import annotations

from typing import NamedTuple

# What a type is called in a sentence.
TYPES = {"bool": "true or false", "int": "a whole number", "float": "a number", "list": "a list", "port": "a port number",
         "name": "1 to 20 characters a-z, 0-9 and _, a letter first"}


class Option(NamedTuple):
    """One variable, without the prefix of its product.

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


_LOCK = [
    Option("lock", "bool", True, "refuse to work beside another run"),
    Option("lock_seconds", "int", 0,
           "seconds for which a run that does not renew its lock counts as alive", shown="`600`, and a second "
           "for each host"),
    Option("take_over", "bool", False, "take the lock of a run that is known to be dead")]
_MAX_MISSING = "hosts that a gate lets be missing, `3` or `5%`"
_MISSING = [
    Option("max_missing", "share", 0, _MAX_MISSING),
    Option("close_max_missing", "share", 0, "the same for `close` and `rollback`, where a host that is missing gets cut off")]
_USERS = [
    Option("close_ignore_users", "list", [], "addresses and networks, such as a scanner's, that may use the old port when it is "
           "closed; others end the run", "close_ignore_users"),
    Option("close_quiet_seconds", "int", 3600, "seconds for which such a use counts; `0`: none does", "close_quiet_seconds")]
_PHASES = [
    Option("phases", "list", [1, 2, 3],
           "run some phases alone, such as `1`; tags `phase1`, `phase2`, `phase3` do the same", "phases"),
    Option("window", "str", "", "`22:00-04:00`: no wave begins outside, by the control node's clock", "window", "always open")]
_FORCE = Option("rollback_force", "bool", False, "roll back files that were changed since")


def _sources(which, others):
    return [Option("restrict_sources", "bool", False, "admit only " + which, "restrict_sources"),
            Option("allowed_sources", "list", [], "with that, others who may connect" + others, "allowed_sources")]


OPTIONS = {
    "bigfix": [
        Option("port", "port", "", "the port to move to", "port", "required"),
        Option("masthead_src", "str", "", "masthead issued for that port, on the control node; relative to where you type",
               "masthead_src", "none"),
        *_PHASES,
        Option("relay_waves", "waves", ["100%"],
               "sizes of the waves of relays, as play keyword `serial` has them; no wave is larger "
               "than the number of forks", "relay_waves"),
        Option("client_waves", "waves", ["5%", "25%"], "the same for clients", "client_waves"),
        *_MISSING,
        Option("settle_seconds", "float", 5, "seconds after which a host has to prove itself once more, by the same processes"),
        *_USERS,
        Option("previous_port", "port", "", "the port that moves, where a host holds several", "previous_port", "found"),
        Option("address", "str", "", "host variable: the address at which other hosts reach this one", shown="`ansible_host`"),
        Option("parent", "str", "", "host variable: the inventory name of the parent", shown="the root server"),
        Option("service_command", "list", [], "a command given SERVICE and `start`, `stop`, `status`", shown="service manager"),
        Option("executables", "dict", {}, "service -> paths of what it runs, by which its processes are found; none beside "
               "`bigfix_service_command`", shown="the vendor's paths"),
        Option("service_timeout", "int", 120, "seconds that the stop of a service may take, and as many its start"),
        Option("bridge", "bool", True,
               "let both ports answer while agents move; `false` where the packet filter is not to be touched"),
        Option("firewall", "str", "auto",
               "the hosts' own firewall: `firewalld`, `ufw`, `nftables`, `iptables`; `none` leaves it alone"),
        Option("firewall_zone", "str", "", "the zone of firewalld", shown="default zone"),
        *_sources("hosts that have to reach this one: children by tcp, the parent by udp", ": consoles, REST clients"),
        Option("reserve_port", "bool", True, "keep the kernel from giving the port to an outgoing connection"),
        Option("parent_connects", "bool", False, "host variable of a relay in a DMZ: its parent opens the connection"),
        *_LOCK,
        Option("keep_days", "int", 90, "`close` removes records and backups of earlier migrations that are older"),
        _FORCE,
        *[Option(name, kind, None, "", listed=False) for name, kind in (
            ("lock_path", "str"), ("record_path", "str"), ("probe_timeout", "float"), ("evidence_timeout", "float"),
            ("tls", "bool"),
            ("bind_address", "str"), ("bridge_name", "name"), ("bridge_persistent", "bool"), ("listener_seconds", "int"),
            ("allow_invalid_signature", "bool"), ("phase", "str"))]],
    "boks": [
        Option("base_port", "port", "", "the base to move to, 1024 to 65532", "base_port", "required"),
        Option("confirm_timeout", "int", 60, "seconds within which a new login has to confirm"),
        *_PHASES,
        Option("agent_waves", "waves", ["5%", "25%"], "sizes of the waves of Server Agents, as `serial` has them", "agent_waves"),
        _MISSING[0]._replace(text=_MAX_MISSING + "; for hosts that are down, since one that is up and not opened stands in the "
                             "way of the others"),
        *_MISSING[1:], *_USERS, *_LOCK,
        Option("settle_seconds", "float", 5, "seconds after which a host has to prove itself once more, by the same daemons; at "
               "most 2 where it had proved itself before"),
        Option("status_command", "list", [],
               "`[/opt/boksm/sbin/boksadm, -S, boksdiag, list]`: its last column counts as evidence",
               shown="none"),
        *_sources("the hosts of the domain that connect there", ""),
        Option("bridge", "bool", True,
               "both bases answer while hosts move; the playbooks refuse to move a domain without it", "bridge"),
        Option("firewall", "str", "auto", "the hosts' own firewall; `none` leaves it alone"),
        Option("firewall_zone", "str", "", "the zone of firewalld", shown="default zone"),
        Option("allow_named_ports", "bool", False, "ports of the new range may have other names in the services file"),
        Option("stop_commands", "list", [], "commands that stop BoKS", shown="`boksadm -S Boot -k`"),
        Option("start_commands", "list", [], "commands that start it", shown="`boksadm -S Boot`"),
        _FORCE,
        *[Option(name, kind, None, "", listed=False) for name, kind in (("lock_path", "str"), ("address", "str"))]],
    "change_tracker": [
        Option("port", "port", "", "the port to move to", "port", "required"),
        Option("hub_server", "str", None, "`none`: the hub is made to answer on both ports by hand", "hub_server",
               "`nginx`, on a Windows host `iis`"),
        Option("hub_site", "str", "", "the website of IIS", shown="the one on the hub's port"),
        *_PHASES,
        Option("agent_waves", "waves", ["5%", "25%"], "sizes of the waves of agents, as `serial` has them", "agent_waves"),
        *_MISSING,
        Option("close_despite_users", "bool", False,
               "end the old port, and with a rollback the new one, in spite of connections to it"),
        *_LOCK,
        Option("lock_path", "str", None, "where the lock lies, on the hub", shown="`/var/lib/portshift/change_tracker.lock`"),
        Option("restrict_sources", "bool", False, "the hub's own firewall admits only the hosts of the inventory that run agents",
               "restrict_sources"),
        Option("allowed_sources", "list", [],
               "with that, others who may connect. **Console users and API clients have to be among "
               "these**, or they are shut out", "allowed_sources"),
        Option("address", "str", "", "host variable: from where others see this host come", shown="`ansible_host`"),
        _FORCE,
        Option("agent_confirm_timeout", "int", 60, "seconds within which a new login has to confirm"),
        Option("agent_settle_seconds", "float", 5, "seconds after which an agent has to prove itself once more"),
        Option("agent_allow_unproved", "bool", False,
               "move agents behind an HTTP proxy, whose path can't be proved from their host"),
        Option("monitored", "list", [], "host variable of a proxy: what it has to reach", shown="none"),
        Option("telnet", "bool", False, "look at telnet too", "telnet"),
        *[Option(name, kind, None, "", listed=False) for name, kind in (
            ("probe_timeout", "float"), ("flows_judged", "bool"), ("agent_path", "any"))]],
}


def named(product):
    """Name of the variable -> Option."""
    return {"%s_%s" % (product, option.name): option for option in OPTIONS[product]}


def arguments(product):
    """Variable -> (argument of the module that lays out the steps, default)."""
    return {name: (option.argument, option.default) for name, option in named(product).items() if option.argument}


def _default(option):
    if option.shown:
        return option.shown
    text = str(option.default).lower() if isinstance(option.default, bool) else str(option.default).replace("'", '"')
    return "`%s`" % text


def rows(product):
    """The rows of the table in the documentation."""
    return ["| `%s` | %s | %s |" % (name, _default(option), option.text) for name, option in named(product).items()
            if option.listed]
