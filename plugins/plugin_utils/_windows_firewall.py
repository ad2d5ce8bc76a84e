# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Openings in Windows Firewall, by community.windows.win_firewall_rule: one rule of ours for each port and protocol.

No module lists rules.  What is there is known by what that module would change, as it says in check mode with a diff.  No
record is kept on the host either: our rules are found by their name, and one that was closed is kept there, disabled.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._host_port.plan import plain
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import OpeningError, parse_openings, to_plain
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import handed_out_unreserved
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import said

MODULE = "community.windows.win_firewall_rule"


class Rule(NamedTuple):
    """The ports of one rule: openings of the same port and protocol, whose sources it holds together."""

    title: str
    port: int
    protocol: str
    openings: list[Any]


_HEAD = re.compile(r"([+-]?)\[(.*)\]\Z")
_PROPERTY = re.compile(r"([+-])(\w+)='(.*)'\Z")
_PROFILES = ((1, "domain"), (2, "private"), (4, "public"))


def _number(value: str) -> str:
    return {"6": "tcp", "17": "udp"}.get(value, value)


def _any(value: str) -> str:
    return "any" if value in ("", "*") else value


def _profiles(value: str) -> list[str]:
    return [name for bit, name in _PROFILES if int(value) & bit]


# A property of a rule, as Windows names it -> the option that sets it, and the option's value for what a diff prints.
_OPTIONS: dict[str, tuple[str, Callable[[str], object]]] = dict(
    Description=("description", str), Direction=("direction", {"1": "in", "2": "out"}.get),
    Action=("action", {"0": "block", "1": "allow"}.get), ApplicationName=("program", _any), Grouping=("group", str),
    ServiceName=("service", _any), Enabled=("enabled", lambda value: value == "True"), Profiles=("profiles", _profiles),
    LocalAddresses=("localip", _any), RemoteAddresses=("remoteip", _any), LocalPorts=("localport", _any),
    RemotePorts=("remoteport", _any), Protocol=("protocol", _number))
# What a rule has when it was made without anything else; so it need not be asked for when a rule is made again.
_USUAL: dict[str, object] = dict(
    description="", program="any", service="any", profiles=["domain", "private", "public"], localip="any", remoteport="any")


def asked_rules(name: str, openings: Sequence[Mapping[str, Any]], by_source: bool) -> list[Rule]:
    """The rules for what was asked, in order.  Without `by_source`, from where the ports are reached does not count."""
    entries = openings if by_source else [dict(entry, sources=[]) for entry in openings]
    found: dict[tuple[int, str], list[Any]] = {}
    for opening in parse_openings(entries, _no_name):
        found.setdefault((opening.port, opening.protocol), []).append(opening)
    return [Rule("portshift %s %d/%s" % (name, port, protocol), port, protocol, together)
            for (port, protocol), together in found.items()]


def _no_name(text: str) -> str:
    raise OpeningError("source %s is a name, and Windows Firewall admits addresses only; give its address in place of the name "
                       "(a host of the inventory has it in ansible_host or change_tracker_address)" % text)


def remote_addresses(openings: Iterable[Any]) -> str:
    """The addresses of a rule as one text."""
    if any(opening.source is None for opening in openings):
        return "any"
    found: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    for opening in openings:
        network = ipaddress.ip_network(opening.source)
        # Any address of one family is two halves: Windows knows no network with a prefix of 0.
        found += [network] if network.prefixlen else network.subnets()
    return ",".join(str(network).removesuffix("/%d" % network.max_prefixlen) for network in found)


def arguments(rule: Rule, state: str) -> dict[str, Any]:
    """What to ask of win_firewall_rule for a rule to be as `state` wants it."""
    if state == "open":
        return dict(name=rule.title, group=rule.title, state="present", enabled=True, direction="in", action="allow",
                    protocol=rule.protocol, localport=str(rule.port), remoteip=remote_addresses(rule.openings))
    if state == "restored":
        return dict(name=rule.title, state="absent")
    # By the group alone, so that a rule that is not there is not made.
    return dict(group=rule.title, state="present", enabled=state == "reopened")


class Look:
    """What is there of a rule, out of what win_firewall_rule would do about it."""

    def __init__(self, rule: Rule, state: str, answer: Result) -> None:
        self.rule, self.state, self.changes = rule, state, bool(answer.get("changed"))
        self.prepared = (answer.get("diff") or {}).get("prepared") or ""
        lines = self.prepared.splitlines()
        heads = [match.group(1) for match in map(_HEAD.match, lines) if match]
        if len(heads) > 1:
            raise EngineError("%d rules of Windows Firewall are named %s, or are in the group of that name; it is the name of "
                              "one rule of this collection, so rename or delete the others" % (len(heads), rule.title))
        if self.changes and not heads:
            raise EngineError("%s did not say what it would change about the rule %s; it has to return a diff, so take a version "
                              "of community.windows that does" % (MODULE, rule.title))
        self.there = bool(heads) and heads[0] != "+"
        # Property -> value, of those that would change.
        self.old = {match.group(2): match.group(3) for match in map(_PROPERTY.match, lines) if match and match.group(1) == "-"}

    @property
    def disabled(self) -> bool:
        if "Enabled" in self.old:
            return self.old["Enabled"] == "False"
        return self.state == "closed"

    @property
    def shown(self) -> list[str]:
        """The names of the rule as a list: none where there is none."""
        return ["%s (disabled)" % self.rule.title if self.disabled else self.rule.title] if self.there else []

    @property
    def to_be(self) -> list[str]:
        """The same, for when it is done."""
        if self.state == "restored" or self.state != "open" and not self.there:
            return []
        return ["%s (disabled)" % self.rule.title if self.state == "closed" else self.rule.title]

    @property
    def amends(self) -> bool:
        """Whether a rule that admits some sources now is to admit others."""
        return self.state == "open" and self.changes and self.there and not self.disabled

    def same_as(self, other: Look) -> bool:
        return (self.changes, self.prepared) == (other.changes, other.prepared)

    def back(self) -> dict[str, Any]:
        """What to ask of win_firewall_rule for the rule to be as it was when this was seen."""
        if not self.there:
            return dict(name=self.rule.title, state="absent")
        was: dict[str, Any] = {}
        for key, value in self.old.items():
            if key in _OPTIONS:
                option, meaning = _OPTIONS[key]
                was[option] = meaning(value)
        if self.state == "restored":
            was = {option: value for option, value in was.items() if _USUAL.get(option, ()) != value}
        named = dict(name=self.rule.title) if self.state in ("open", "restored") else dict(group=self.rule.title)
        return dict(was, state="present", **named)

    def differs(self) -> str:
        """How the rule is not as it was asked to be, as a sentence."""
        if self.state == "restored":
            return "the rule %s is still there" % self.rule.title
        if not self.there:
            return "the rule %s is not there" % self.rule.title
        return "the rule %s has %s" % (self.rule.title, ", ".join(
            "%s %s" % (key, value or "empty") for key, value in self.old.items()) or "not what was asked")


class WindowsFirewall:
    """The rules of a host.  `ask`: (arguments of win_firewall_rule, whether in check mode, with a diff) -> what it returned."""

    def __init__(self, ask: Callable[[dict[str, Any], bool], Result]) -> None:
        self.ask = ask

    def look(self, rule: Rule, state: str) -> Look:
        answer = self.ask(arguments(rule, state), True)
        if _failed(answer):
            raise EngineError(_failure(answer))
        return Look(rule, state, answer)

    def change(self, options: Mapping[str, Any], check_mode: bool, host: Callable[[], Any]) -> Result:
        """What host_port returns.  Errors come when nothing was changed; a change that failed is V(failed), and taken back.

        `host`: reads the host, beside its firewall.
        """
        state = options["state"]
        if not options["openings"]:
            raise EngineError("state=%s needs openings on Windows, each with its port and protocol: there is no record on the "
                              "host, the rules themselves are it" % state)
        rules = asked_rules(options["name"], options["openings"], by_source=state == "open")
        looks = [self.look(rule, state) for rule in rules]
        changing = [look for look in looks if look.changes]
        result = dict(nothing(notes_of_ports(options, rules, host)), changed=bool(changing), backend="windows",
                      missing=[look.differs() for look in changing])
        result["notes"] += notes_of(state, looks)
        result["added" if state in ("open", "reopened") else "removed"] = [
            plain(to_plain(opening)) for look in changing if not look.amends for opening in look.rule.openings]
        result["rules"] = dict(before=_names(look.shown for look in looks), after=_names(look.to_be for look in looks))
        result["diff"] = dict(prepared="".join(look.prepared for look in changing))
        if not changing or check_mode:
            return result
        trouble = self._make(changing)
        if trouble:
            message, restored = self._back(changing, trouble)
            for key in ("diff", "added", "removed", "missing", "rules"):
                del result[key]
            return dict(result, failed=True, changed=not restored, msg=message)
        return result

    def _make(self, changing: Sequence[Look]) -> str | None:
        """Changes, and looks again.  Returns a sentence about what went wrong, or None."""
        for look in changing:
            answer = self.ask(arguments(look.rule, look.state), False)
            if _failed(answer):
                return _failure(answer)
        try:
            seen = [self.look(look.rule, look.state) for look in changing]
            found = [look.differs() for look in seen if look.changes or look.state != "restored" and not look.there]
        except EngineError as err:
            return "what came of the change could not be read: %s" % err
        return "the change did not come out as asked: %s" % "; ".join(found) if found else None

    def _back(self, changing: Sequence[Look], trouble: str) -> tuple[str, bool]:
        """(the message, whether all is as it was before)."""
        troubles: list[str] = []
        left: list[str] = []
        for before in reversed(changing):
            try:
                if self.look(before.rule, before.state).same_as(before):
                    continue
                answer = self.ask(before.back(), False)
                if _failed(answer):
                    troubles.append(_failure(answer))
                if not self.look(before.rule, before.state).same_as(before):
                    left.append(before.rule.title)
            except EngineError as err:
                troubles.append(str(err))
                left.append(before.rule.title)
        if not left:
            return "%s. It was undone: the rules are what they were before" % trouble, True
        return "%s. Undoing it did not lead back to where it was, a person has to look at: %s%s" % (
            trouble, ", ".join(sorted(left)), ". On the way back %s" % "; ".join(troubles) if troubles else ""), False


def _names(several: Iterable[Iterable[str]]) -> list[str]:
    return sorted(name for names in several for name in names)


def _failed(answer: Result) -> bool:
    return bool(answer.get("failed") or answer.get("unreachable"))


def _failure(answer: Result) -> str:
    return "%s failed on the host (%s)" % (MODULE, said(answer))


def notes_of_ports(options: Mapping[str, Any], rules: Iterable[Rule], host: Callable[[], Any]) -> list[str]:
    """A sentence for each port that may be found taken, by the range which the host has.  `host`: reads it, and is called where
    that is asked for alone."""
    ports = [rule.port for rule in rules if rule.protocol == "tcp"]
    if options["state"] != "open" or not options["reserve"] or not ports:
        return []
    reason = "netsh did not tell"
    try:
        managed = host()
        if managed.ephemeral_ports():
            return [note for note in (handed_out_unreserved(port, managed) for port in ports) if note]
    except EngineError as err:
        reason = str(err).rstrip(".")
    return ["from which ports this host serves outgoing connections could not be read (%s); see whether port %s is one of them "
            "(netsh int ipv4 show dynamicport tcp)" % (reason, ", ".join(map(str, ports)))]


def nothing(notes: Sequence[str]) -> Result:
    """The result of a run that has no firewall to change, with the notes about the ports."""
    return dict(changed=False, backend="none", added=[], removed=[], left=[], missing=[], notes=list(notes),
                reserved=[], rules=dict(before=[], after=[]))


def notes_of(state: str, looks: Iterable[Look]) -> list[str]:
    """Sentences for the host's administrator."""
    if state == "closed":
        return ["rules of others that admit %s port %d were not looked for" % (look.rule.protocol, look.rule.port)
                for look in looks]
    return ["the rule %s was there and admits others than before; it had %s" % (look.rule.title, ", ".join(
        "%s %s" % (key, value or "empty") for key, value in look.old.items())) for look in looks if look.amends]
