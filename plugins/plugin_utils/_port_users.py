# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who still uses a port that is to be closed: what the bridges of an estate remember, against when each host moved."""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ansible_collections.portshift.agents.plugins.module_utils._core.addresses import parse_network
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class PortUser(NamedTuple):
    """Who used a port of `host`, as the bridge there saw it; `name`: the host of the inventory that has the address, or None."""

    host: str
    port: int
    address: str
    name: str | None
    seconds_ago: float


# A host moves when its files are written, and its agent starts after that: what is hardly later may be a packet sent before.
GRACE = 5
# Looking up the names of a whole inventory ends after so many seconds, whatever is missing then.
LOOKUP_SECONDS, LOOKUPS_AT_ONCE = 20, 16


def parse_ignored(value: object, name: str) -> list[Network]:
    """The networks whose users do not count, from a list or from text such as C(10.0.0.5,10.0.1.0/24)."""
    if isinstance(value, str):
        value = [part for part in re.split(r"[,\s]+", value.strip("[] \n")) if part]
    if not isinstance(value, list):
        raise EngineError("%s is %r; give a list of addresses and networks" % (name, value))
    return [parse_network(str(part).strip("'\""), name) for part in value]


def parse_quiet(value: object, name: str) -> int:
    """The seconds for which a use counts; 0: none does."""
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", str(value)):
        raise EngineError("%s is %r; give a number of seconds, 0 to count no use at all" % (name, value))
    return int(str(value))


def in_time(moment: float, seen: float, since: float, now: float) -> float:
    """A moment by a host's clock as one by this clock, as far as it can be told.

    `seen`: what the host's clock said at some time between `since` and `now` of this one.  A clock that says so is believed.
    """
    return moment - (seen - min(max(seen, since), now))


def looked_up(names: Collection[str]) -> dict[str, set[str]]:
    """name -> its addresses, of those names that could be looked up in time."""
    found: dict[str, set[str]] = {}
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    answers: queue.SimpleQueue[tuple[str, set[str]]] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)

    def work() -> None:
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                entries = socket.getaddrinfo(name, None, 0, socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                entries = []
            answers.put((name, {str(entry[4][0]).partition("%")[0] for entry in entries}))

    # Not waited for at the end, as those of a pool would be: a resolver may take minutes to give up.
    for _number in range(min(LOOKUPS_AT_ONCE, len(names))):
        threading.Thread(target=work, daemon=True).start()
    end = time.monotonic() + LOOKUP_SECONDS
    while len(found) < len(names):
        try:
            name, addresses = answers.get(timeout=max(0, end - time.monotonic()))
        except queue.Empty:
            break
        found[name] = addresses
    return found


class Directory:
    """address -> host of the inventory.  `addresses`: host -> the names and addresses at which it is known."""

    def __init__(self, addresses: Mapping[str, Iterable[str]],
                 look_up: Callable[[Collection[str]], Mapping[str, Iterable[str]]] = looked_up) -> None:
        self.known: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.look_up = look_up
        for host, several in addresses.items():
            for text in several:
                try:
                    self.known.setdefault(str(ipaddress.ip_address(text)), host)
                except ValueError:
                    self.names.setdefault(text, host)

    def host_of(self, address: str, here: str) -> str | None:
        """The host that has `address`, seen on the host `here`; None where it is not known."""
        if address not in self.known and ipaddress.ip_address(address).is_loopback:
            return here
        if address not in self.known and self.names:
            # Only now, and all of them at once: reverse look-ups would be one for each address, and name no inventory.
            names, self.names = self.names, {}
            for name, addresses in self.look_up(list(names)).items():
                for found in addresses:
                    self.known.setdefault(found, names[name])
        return self.known.get(address)


class Estate:
    """What the looks at the bridges of an estate say.

    looks       host -> the result of port_bridge_info
    moves       host -> (when it moved, its clock when it was asked), by its own clock
    directory   a Directory
    since, now  the times between which all of them were asked
    """

    def __init__(self, looks: Mapping[str, Mapping[str, Any]], moves: Mapping[str, tuple[float, float]], directory: Directory,
                 since: float, now: float) -> None:
        self.looks, self.moves, self.directory, self.since, self.now = looks, moves, directory, since, now

    def _before_its_move(self, name: str | None, look: Mapping[str, Any], seconds_ago: float) -> bool:
        """Whether a host used a port for the last time before it moved itself."""
        if name is None or name not in self.moves:
            return False
        used = in_time(look["looked_at"] - seconds_ago, look["looked_at"], self.since, self.now)
        moved, asked = self.moves[name]
        return used <= in_time(moved, asked, self.since, self.now) + GRACE

    def users(self, staying: Collection[int], ignored: Collection[Network], quiet_seconds: float) -> list[PortUser]:
        """The PortUsers that a closed port would cut off."""
        found = []
        for host, look in sorted(self.looks.items()):
            for user in look.get("users") or []:
                address = ipaddress.ip_address(user["address"])
                if user["port"] in staying or user["seconds_ago"] >= quiet_seconds or any(
                        address.version == network.version and address in network for network in ignored):
                    continue
                name = self.directory.host_of(str(address), host)
                if not self._before_its_move(name, look, user["seconds_ago"]):
                    found.append(PortUser(host, user["port"], str(address), name, user["seconds_ago"]))
        return found

    def notes(self, quiet_seconds: float) -> list[str]:
        """What a person has to know of how much the bridges can tell."""
        found = ["%s: %s" % (host, note) for host, look in sorted(self.looks.items()) for note in look.get("notes") or []]
        short: dict[str, float] = {
            host: look["remembered_seconds"] for host, look in sorted(self.looks.items())
            if look.get("remembered_seconds") is not None and look["remembered_seconds"] < quiet_seconds}
        if short:
            found.append("%s: who uses the old port has been remembered for less than %d s (%d s on %s), since the bridge was "
                         "laid or the host booted; an agent that has not reported since then is not among the users" % (
                             ", ".join(short), quiet_seconds, min(short.values()), min(short, key=short.__getitem__)))
        return found
