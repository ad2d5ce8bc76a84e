# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first packet of an ordinary new connection from another host, and what a packet filter's condition says of it.

A condition that such a packet meets is met by every new connection; one that it does not meet singles out.  Where neither can
be told the condition is unknown, which is an answer too.  Data with reasons, for nft's expressions and for iptables' matches.
"""

# Kinds of conditions beside families, protocols, ports and listed sources:
#   source   a list of senders that is kept elsewhere (named sets, ipset, MAC addresses, countries)
#   except   all senders but some
#   single   packets that few new connections are: what goes beyond a rate, was seen before, bears a mark, is spoofed or malformed
#   link     the interface; pattern: interfaces by the start of their name, as container networks have them
#   address  the address that it is for; place: whereabouts of another kind
#   every    what every ordinary new connection meets
#   rate     what every new connection meets within a rate, a count or a quota
#   chance   what some connections meet and others do not, whatever their source: time of day, random samples, the CPU
#   unknown  what can't be told
SINGLES_OUT = frozenset(("source", "except", "single", "pattern"))
MET_BY_ALL = frozenset(("every", "rate"))

# -- values

FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_STATUS = {"expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32, "dying": 512}
_ROUTES = {"unspec": 0, "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6,
           "unreachable": 7, "prohibit": 8}
# (kind of expression, key) -> (value of an ordinary packet, names of values).
_VALUES = {
    ("meta", "pkttype"): (0, {"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2, "other": 3}),
    ("meta", "mark"): (0, {}),              # marks are made by other rules
    ("meta", "secpath"): (0, {}),           # no IPsec
    ("meta", "ipsec"): (0, {}),
    ("ct", "mark"): (0, {}),
    ("ct", "state"): (8, _STATES),
    ("ct", "direction"): (0, {"original": 0, "reply": 1}),
    ("ct", "status"): (0, _STATUS),
    ("ct", "zone"): (0, {}),
    ("ct", "label"): (0, {}),
    ("tcp", "flags"): (2, FLAGS),
    ("ip", "frag-off"): (0, {}),
    ("socket", "transparent"): (0, {}),
}
# A header, an option or an object that is not there.
MISSING = object()
# The largest segment that hosts announce on Ethernet.
SEGMENT = 1460
_BY_CHANCE = frozenset((("meta", "cpu"), ("meta", "random"), ("meta", "day"), ("meta", "hour"), ("meta", "time")))
_PLACES = frozenset(("iifgroup", "iiftype", "iifkind", "sdif", "sdifname", "ibrname", "ibriport", "ibrpvid", "ibrvproto",
                     "obrname", "oif", "oifname", "oiftype", "oifgroup", "oifkind"))


class _Untold(Exception):
    """What an ordinary packet holds there is not known."""


def of(met):
    """The kind of a condition that an ordinary packet meets or not; None: not known."""
    return "unknown" if met is None else "every" if met else "single"


def _number(value, names):
    """A value as a number; lists are flags that are set together."""
    if isinstance(value, bool) or isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        if value in names:
            return names[value]
        try:
            return int(value, 0)
        except ValueError:
            raise _Untold
    parts = value.get("|") if isinstance(value, dict) and len(value) == 1 else value
    if not isinstance(parts, list):
        raise _Untold
    found = 0
    for part in parts:
        found |= _number(part, names)
    return found


def _value(left):
    """(value of an ordinary packet, names of values) of an expression of nft."""
    if not isinstance(left, dict) or len(left) != 1:
        raise _Untold
    (kind, inner), = left.items()
    if kind in ("&", "|", "^"):
        value, names = _value(inner[0])
        for other in inner[1:]:
            mask = _number(other, names)
            value = value & mask if kind == "&" else value | mask if kind == "|" else value ^ mask
        return value, names
    if not isinstance(inner, dict):
        raise _Untold
    if kind in ("exthdr", "ip option", "ipsec") or (kind == "ct" and inner.get("key") == "helper"):
        return MISSING, {}
    if kind == "tcp option":
        if inner.get("name") == "maxseg":
            return SEGMENT, {}
        raise _Untold
    if kind == "fib":
        flags = inner.get("flags", [])
        flags = [flags] if isinstance(flags, str) else flags
        if inner.get("result") == "type":
            # The sender is a host of some network, the receiver is this host.
            return _ROUTES["unicast" if "saddr" in flags else "local"], _ROUTES
        if "saddr" in flags:
            return 1, {}        # there is a way back
        raise _Untold
    key = (inner.get("protocol"), inner.get("field")) if kind == "payload" else (kind, inner.get("key"))
    if key not in _VALUES:
        raise _Untold
    return _VALUES[key]


def _alternatives(right):
    if isinstance(right, dict) and set(right) == {"set"} and isinstance(right["set"], list):
        return [part["elem"].get("val") if isinstance(part, dict) and isinstance(part.get("elem"), dict) else part
                for part in right["set"]]
    return [right]


def _among(value, right, names):
    for part in _alternatives(right):
        if isinstance(part, dict) and set(part) == {"range"}:
            first, last = (_number(end, names) for end in part["range"])
            if first <= value <= last:
                return True
        elif _number(part, names) == value:
            return True
    return False


def _compared(value, names, op, right):
    if value is MISSING:
        # Of what is not there only "missing" is true.
        return isinstance(right, bool) and (not right) == (op == "==")
    if isinstance(right, bool):
        return (bool(value) == right) == (op == "==")
    if op == "in" and not (isinstance(right, dict) and "set" in right):
        return bool(value & _number(right, names))      # one of these bits
    if op == "!":
        return not value & _number(right, names)
    if op in ("==", "in"):
        return _among(value, right, names)
    if op == "!=":
        return not _among(value, right, names)
    limit = _number(right, names)
    return {"<": value < limit, ">": value > limit, "<=": value <= limit, ">=": value >= limit}[op]


def kind_of_match(left, op, right):
    """The kind of one comparison of nft that is about none of families, protocols, ports, sources, links and own addresses."""
    (kind, inner), = left.items() if isinstance(left, dict) and len(left) == 1 else [(None, None)]
    key = inner.get("key") if isinstance(inner, dict) else None
    if kind in ("numgen", "jhash", "symhash") or (kind, key) in _BY_CHANCE:
        return "chance"
    if kind == "osf":
        return "single"         # the sender's operating system
    if kind == "payload" and isinstance(inner, dict) and inner.get("protocol") == "ether" and inner.get("field") == "saddr":
        return "except" if op == "!=" else "source"
    if kind == "payload" and isinstance(inner, dict) and inner.get("protocol") in ("ether", "vlan") or (
            kind == "meta" and key in _PLACES):
        return "place"
    try:
        value, names = _value(left)
        return of(_compared(value, names, op, right))
    except (_Untold, KeyError, TypeError):
        return "unknown"


_LETS_ALL_PASS = frozenset((
    "counter", "log", "mangle", "notrack", "last", "map", "dup", "fwd", "flow", "queue", "tproxy", "synproxy", "secmark", "reset",
    "ct helper", "ct timeout", "ct expectation", "snat", "dnat", "masquerade", "redirect"))


def kind_of_statement(kind, inner, objects):
    """The kind of a statement of nft that lets a part of the packets go on to the verdict; None for one that lets all.

    `objects`: (kind, name) -> what the ruleset says of a named limit or quota.
    """
    if kind in ("limit", "quota", "ct count"):
        if isinstance(inner, str):
            inner = objects.get((kind, inner))
        if not isinstance(inner, dict):
            return "unknown"
        return "single" if inner.get("inv") else "rate"
    if kind in ("set", "meter"):
        # What is counted for each sender; to be put on a list alone happens to all.
        inside = inner.get("stmt", []) if isinstance(inner, dict) else []
        kinds = {kind_of_statement(word, said, objects) for part in (inside if isinstance(inside, list) else [inside])
                 for word, said in part.items()} - {None}
        return next((found for found in ("unknown", "single", "rate") if found in kinds), "every")
    return None if kind in _LETS_ALL_PASS else "unknown"


# -- iptables

# option -> (kind, kind where it is negated); None: a parameter of another option, or a match that lets all pass.
_ALL = (None, None)
_OPTIONS = {
    # over or above singles out, within does not
    "--limit": ("rate", "single"), "--hashlimit": ("rate", "single"), "--hashlimit-upto": ("rate", "single"),
    "--hashlimit-above": ("single", "rate"), "--connlimit-above": ("single", "rate"), "--connlimit-upto": ("rate", "single"),
    "--quota": ("rate", "single"), "--nfacct-name": _ALL,
    # a list that the kernel keeps: all get on it, few are on it
    "--set": ("every", "single"), "--rcheck": ("single", "except"), "--update": ("single", "except"),
    "--remove": ("single", "except"),
    # senders
    "--mac-source": ("source", "except"), "--src-range": ("source", "except"), "--ctorigsrc": ("source", "except"),
    "--src-cc": ("source", "except"), "--source-country": ("source", "except"), "--src-asn": ("source", "except"),
    "--genre": ("single", "unknown"),
    # whereabouts
    "--dst-range": ("address", "address"), "--ctorigdst": ("address", "address"), "--src-group": ("place", "place"),
    "--physdev-in": ("place", "place"), "--physdev-is-bridged": ("place", "place"), "--physdev-is-in": ("place", "place"),
    "--limit-iface-in": _ALL,
    # states and headers that no ordinary first packet has
    "--ctexpire": ("unknown", "unknown"), "--ctstatus": ("single", "every"), "--helper": ("single", "every"),
    "--label": ("single", "every"), "--fragment": ("single", "every"), "-f": ("single", "every"), "--invert": ("single", "every"),
    "--rt-type": ("single", "every"), "--rt-segsleft": ("single", "every"), "--header": ("single", "unknown"),
    "--dst-len": ("single", "every"), "--dst-opts": ("single", "every"), "--hbh-len": ("single", "every"),
    "--hbh-opts": ("single", "every"), "--fragid": ("single", "every"), "--mh-type": ("single", "every"),
    "--string": ("single", "every"), "--hex-string": ("single", "every"), "--uid-owner": ("single", "unknown"),
    # by chance
    "--mode": ("chance", "chance"), "--cpu": ("chance", "chance"), "--cluster-total-nodes": ("chance", "chance"),
    "--timestart": ("chance", "chance"), "--timestop": ("chance", "chance"), "--weekdays": ("chance", "chance"),
    "--monthdays": ("chance", "chance"), "--datestart": ("chance", "chance"), "--datestop": ("chance", "chance"),
}
_PARAMETERS = frozenset((
    "--limit-burst", "--hashlimit-burst", "--hashlimit-mode", "--hashlimit-name", "--hashlimit-srcmask", "--hashlimit-dstmask",
    "--hashlimit-htable-size", "--hashlimit-htable-max", "--hashlimit-htable-expire", "--hashlimit-htable-gcinterval",
    "--hashlimit-rate-match", "--hashlimit-rate-interval", "--connlimit-mask", "--connlimit-saddr", "--connlimit-daddr",
    "--seconds", "--hitcount", "--reap", "--rttl", "--name", "--rsource", "--rdest", "--mask", "--probability", "--every",
    "--packet", "--algo", "--from", "--to", "--icase", "--kerneltz", "--utc", "--localtz", "--contiguous", "--loose",
    "--validmark",
    "--accept-local", "--return-nomatch", "--cluster-local-node", "--cluster-local-nodemask", "--cluster-hash-seed", "--dir",
    "--strict", "--next", "--reqid", "--spi", "--proto", "--tunnel-src", "--tunnel-dst"))
# Matches that say nothing beyond their options.
_MATCHES = frozenset((
    "tcp", "udp", "icmp", "icmp6", "icmpv6", "sctp", "dccp", "ah", "esp", "comment", "conntrack", "state", "multiport", "limit",
    "hashlimit", "connlimit", "quota", "nfacct", "recent", "mac", "iprange", "set", "geoip", "asn", "osf", "addrtype", "devgroup",
    "physdev", "helper", "connlabel", "rt", "ipv6header", "dst", "hbh", "frag", "mh", "string", "owner", "statistic", "cpu",
    "cluster", "time", "rpfilter", "mark", "connmark", "pkttype", "policy", "tcpmss", "ttl", "hl", "length", "tos", "dscp"))


def _flags(words):
    """The number of a list such as V(SYN,ACK)."""
    found = 0
    for name in words.lower().split(","):
        found |= {"all": 63, "none": 0}.get(name, FLAGS.get(name, 0))
    return found


def kind_of_option(option, values, negated):
    """The kind of one option of iptables; None where it lets all pass or is a parameter of another."""
    value = values[0] if values else ""
    if option in ("-m", "--match"):
        return None if value in _MATCHES else "unknown"
    if option in _PARAMETERS:
        return None
    if option in _OPTIONS:
        return _OPTIONS[option][negated]
    if option == "--match-set":
        by_sender = "src" in ",".join(values[1:]).split(",")
        return "place" if not by_sender else "except" if negated else "source"
    met = None
    try:
        if option == "--pkt-type":
            met = value in ("unicast", "host")
        elif option == "--mark":
            met = int(value.partition("/")[0], 0) == 0     # marks are made by other rules
        elif option == "--pol":
            met = value == "none"
        elif option == "--ctdir":
            met = value == "ORIGINAL"
        elif option == "--dst-type":
            met = "LOCAL" in value.split(",")
        elif option == "--src-type":
            met = "UNICAST" in value.split(",")
        elif option == "--syn":
            met = True
        elif option == "--tcp-flags":
            met = FLAGS["syn"] & _flags(value) == _flags(values[1])
        elif option == "--mss":
            first, unused, last = value.partition(":")
            met = int(first) <= SEGMENT <= int(last or first)
    except (ValueError, IndexError):
        pass
    return of(met if met is None or not negated else not met)
