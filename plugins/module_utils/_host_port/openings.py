# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Openings of a host firewall: which protocol and port is admitted, and from where.  Pure values, whatever the firewall is."""

import ipaddress
import re
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._core.addresses import network_of
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port

# source: None admits any address, IPv4 and IPv6 alike; else text as ipaddress writes it, single hosts without /32 or /128.
Opening = namedtuple("Opening", "protocol port source")

PROTOCOLS = ("tcp", "udp")
ANY_IPV4, ANY_IPV6 = "0.0.0.0/0", "::/0"
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?\Z")


class OpeningError(EngineError):
    """An opening that can't be, or rules that can't be read; the sentence says which."""


class Reading:
    """What a firewall holds, as far as it concerns some ports.

    lines    the real rules that concern the ports, as the firewall's own tools print them, in their order
    exact    the openings of exactly one of the ports, each of which can be taken away without touching another port
    covered  openings that are there only as a part of something wider, beside which the exact one can't stand
    wider    sentences: what else admits one of the ports (ranges, services, a policy that accepts)
    spelled  opening -> the rules that make it, in a form that the backend alone understands (strings); kept in the record by
             backends that are `precise`, so that what was taken away comes back exactly as it was written
    whole    a frozenset of strings: all of the filter's configuration but `exact` of the ports asked about; what adds
             and takes away exact openings leaves it equal
    about    string of `whole` -> the (protocol, port) of the ports asked about that it admits beside others; a call for one of
             these that does too much comes out as such
    admits   strings: what else the filter admits, by rules for other ports; of backends whose live `whole` is not compared
    ours     those of `exact` that a rule of ours makes, maybe beside others; None where that can't be told
    others   those of `exact` that would be there without the rules of ours
    """

    def __init__(self, lines=(), exact=(), wider=(), whole=(), covered=(), spelled=None, about=None, admits=(),
                 ours=None, others=()):
        self.lines, self.exact, self.wider = list(lines), set(exact), list(wider)
        self.whole, self.covered, self.spelled = whole, set(covered), dict(spelled or {})
        self.about, self.admits, self.ours, self.others = dict(about or {}), frozenset(admits), ours, set(others)


def normalised(source):
    """The text of an address or network in one spelling; None for what stands for any address of both families."""
    if source is None:
        return None
    network = network_of(source, strict=False)
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def family(source):
    """4 or 6; None where both are meant."""
    return None if source is None else ipaddress.ip_network(source, strict=False).version


def join_families(spelled):
    """The same dict, in which any IPv4 address together with any IPv6 address is any address."""
    found = dict(spelled)
    for opening in list(found):
        other, joined = opening._replace(source=ANY_IPV6), opening._replace(source=None)
        if opening.source == ANY_IPV4 and other in found:
            found[joined] = found.get(joined, []) + found.pop(opening) + found.pop(other)
    return found


def both_families(openings):
    """The same set, in which any IPv4 address together with any IPv6 address is any address."""
    return set(join_families({opening: [] for opening in openings}))


def holds(opening, other):
    """Whether an opening admits all that another one does."""
    if (opening.protocol, opening.port) != (other.protocol, other.port):
        return False
    if opening.source is None or opening.source == other.source:
        return True
    if other.source is None:
        # One of the two families of any address.
        return opening.source in (ANY_IPV4, ANY_IPV6)
    if family(opening.source) != family(other.source):
        return False
    wide, narrow = ipaddress.ip_network(opening.source), ipaddress.ip_network(other.source)
    return wide.network_address <= narrow.network_address and narrow.broadcast_address <= wide.broadcast_address


def denies(source, opening):
    """What a deny for `source` (None: all) does to an opening: V(all) of it, V(part) of it, or None."""
    if source is None:
        return "all"
    denied = ipaddress.ip_network(source, strict=False)
    if opening.source is None:
        # No address of one family is left: half of what was asked for.
        return "all" if denied.prefixlen == 0 else "part"
    admitted = ipaddress.ip_network(opening.source)
    if denied.version != admitted.version or not denied.overlaps(admitted):
        return None
    return "all" if denied.prefixlen <= admitted.prefixlen else "part"


def parse_source(text, resolve):
    """The normalised sources that `text` (address, network, or the name of a host) stands for.

    `resolve`: name -> list of addresses, called for names only; empty where the name is unknown.
    """
    text = str(text).strip()
    try:
        return [normalised(str(network_of(text)))]
    except ValueError:
        pass
    try:
        network = network_of(text, strict=False)
    except ValueError:
        network = None
    if network is not None:
        raise OpeningError("source %s is an address inside of the network %s; give the network, or the address without /%s"
                           % (text, network, text.split("/", 1)[1]))
    if not _HOST_NAME.match(text) or re.match(r"[0-9.]+\Z", text):
        raise OpeningError("source %r is neither an address, nor a network such as 10.1.2.0/24, nor the name of a host" % text)
    found = [normalised(address) for address in resolve(text)]
    if not found:
        raise OpeningError("source %s does not resolve on this host; give its address, or mend its name service" % text)
    return found


def parse_openings(value, resolve):
    """The openings that the option asks for: sorted, each once."""
    found = []
    for number, entry in enumerate(value, 1):
        where = "openings, entry %d: " % number
        try:
            port = parse_port(entry.get("port"))
            protocol = entry.get("protocol")
            if protocol not in PROTOCOLS:
                raise OpeningError("protocol is %r; give tcp or udp" % (protocol,))
            sources = [source for text in entry.get("sources") or [] for source in parse_source(text, resolve)] or [None]
        except EngineError as err:
            raise OpeningError(where + str(err))
        found += [Opening(protocol, port, source) for source in sources]
    return in_order(both_families(found))


def in_order(openings):
    return sorted(openings, key=lambda opening: (opening.port, opening.protocol, opening.source or ""))


def described(opening):
    """Such as V(tcp 55000 from 10.1.2.0/24)."""
    return "%s %d from %s" % (opening.protocol, opening.port, opening.source or "any address")


def listed(openings):
    return ", ".join(described(opening) for opening in in_order(openings))


def to_plain(opening):
    """As the option O(openings) has it, so that a result can be given back as one."""
    return dict(protocol=opening.protocol, port=opening.port, sources=[opening.source] if opening.source else [])


def from_plain(entry):
    """The same back.  What a record says gets into rules too, so it is read no less strictly than an option."""
    if entry["protocol"] not in PROTOCOLS:
        raise OpeningError("protocol is %r; it can be tcp or udp" % (entry["protocol"],))
    try:
        source = normalised(entry["sources"][0]) if entry["sources"] else None
    except ValueError:
        raise OpeningError("source %r is neither an address nor a network" % (entry["sources"][0],))
    return Opening(entry["protocol"], parse_port(entry["port"]), source)


def settled(openings):
    """The openings less those that one for any address holds already."""
    found = both_families(openings)
    return {opening for opening in found if opening.source not in (ANY_IPV4, ANY_IPV6)
            or opening._replace(source=None) not in found}
