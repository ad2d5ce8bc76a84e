# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of a BoKS domain, and where a host of it keeps them.  Pure: bytes and numbers in, facts and sentences out.

The table is the vendor's page on ports of BoKS 7 and later.  Its printed layout has lost a few cells; who listens on those is
what the vendor's other pages say: N+1 is the servc daemon of Master and Replicas, N+3 the clntd daemon of every host.
"""

import re
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.module_utils._boks.services_lines import shown

SERVICE = "boks"
DEFAULT_BASE = 6500
# The base port and the three that follow it.
SPAN = 4
LOWEST_BASE, HIGHEST_BASE = 1024, 65535 - SPAN + 1
DOMAIN_STEP = 10

ROLES = ("master", "replica", "agent")
PEERS = ROLES + ("desktop", "control_center", "administrator")

# One line of the table.  offset: from the base port, or None for a port that does not follow it.
# to: the role that listens -> those that connect to it.
Row = namedtuple("Row", "offset port protocols service to purpose")

TABLE = (
    Row(0, None, ("tcp",), "boks", dict(master=("replica",)),
        "Replicas to the Master; its audit log server and its file transfer server"),
    Row(1, None, ("tcp", "udp"), "servc", dict(master=("replica", "agent"), replica=("replica", "agent")),
        "authentication requests; file transfer server of Replicas; keystroke log server"),
    Row(2, None, ("tcp",), "servm", dict(replica=("master",)), "updates from the Master"),
    Row(3, None, ("tcp",), "clntd", dict(master=("master",), replica=("master",), agent=("master",)),
        "updates and checks of every host by the Master"),
    Row(None, 2478, ("tcp",), "csspd", dict(master=("desktop",), replica=("desktop",)),
        "BoKS Desktop 5.6 and later (SSL)"),
    Row(None, 4343, ("tcp",), "admin server", dict(master=("control_center",)),
        "FoxT Control Center and Web Services Interface (SSL)"),
    Row(None, 6504, ("tcp",), "ssh", dict(agent=("master",)), "remote updating of Server Agents"),
    Row(None, 6507, ("tcp",), "hostpreregd", dict(master=("agent",)), "autoregistration of hosts when they are installed (SSL)"),
    Row(None, 8443, ("tcp",), "control center", dict(master=("administrator",)),
        "FoxT Control Center web server, on the Master or on a host of its own (HTTPS)"),
)
# The ports that the base does not move.  2478 can't be changed at all, the others by means of their own.
FIXED = {row.port: row.service for row in TABLE if row.offset is None}
NEVER_MOVES = 2478

# The names that the four ports have where an operating system brings them along: they are of no other service.
OWN_NAMES = re.compile(r"boks(?:[-_](?:servc|servm|clntd))?\Z")

BRIDGE_DOMAIN, INIT = "BRIDGE_DOMAIN", "BOKSINIT"
INIT_ROLES = dict(client=("agent",), server=("master", "replica"), master=("master",), replica=("replica",))
_ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)\Z", re.S)
_QUOTED = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s;&|'"\\]+)""", re.S)


class BoksError(EngineError):
    """A base port, role or ENV that can't be; the sentence says why."""


# --- the table ---

def parse_base(value, name="base_port"):
    """The base port in `value` (int, or text of digits): N such that N to N+3 are ports that daemons may have."""
    base = parse_port(value, name)
    if not LOWEST_BASE <= base <= HIGHEST_BASE:
        raise BoksError("%s is %d, but BoKS needs that port and the three that follow it, none of them below %d or above "
                        "65535; choose a base port from %d to %d" % (name, base, LOWEST_BASE, LOWEST_BASE, HIGHEST_BASE))
    if base <= NEVER_MOVES < base + SPAN:
        raise BoksError("%s is %d, so that %d would be among its ports %s, but that one belongs to %s and can't be changed; "
                        "choose another base port" % (name, base, NEVER_MOVES, shown_range(base), FIXED[NEVER_MOVES]))
    return base


def base_range(base):
    return range(base, base + SPAN)


def shown_range(base):
    return "%d to %d" % (base, base + SPAN - 1)


def ports(base, role="all", direction="in"):
    """The table for one base port: a list of dicts, lowest port first, tcp before udp.

    role: one of ROLES, or V(all) for a domain as a whole.  direction: V(in) for what the role listens on, V(out) for what it
    connects to, V(both).  For the domain every port is listed once, as V(in).
    """
    if role not in ROLES + ("all",):
        raise BoksError("the role is %r; give one of %s" % (role, ", ".join(ROLES + ("all",))))
    if direction not in ("in", "out", "both"):
        raise BoksError("the direction is %r; give one of in, out, both" % (direction,))
    found = []
    for row in TABLE:
        listening = {to: peers for to, peers in row.to.items() if role in ("all", to)}
        asking = {to: (role,) for to, peers in row.to.items() if role in peers}
        for way, flows in (("in", listening), ("out", asking)):
            if not flows or direction not in (way, "both") and role != "all":
                continue
            peers = {peer for group in flows.values() for peer in group}
            found += [{
                "port": row.port if row.offset is None else base + row.offset, "protocol": protocol, "service": row.service,
                "direction": way, "from": [peer for peer in PEERS if peer in peers], "to": [to for to in ROLES if to in flows],
                "movable": row.offset is not None, "offset": row.offset, "purpose": row.purpose,
            } for protocol in row.protocols]
    return sorted(found, key=lambda entry: (entry["port"], entry["protocol"], entry["direction"], entry["service"]))


def own_ports(base, role):
    """The (port, protocol) pairs on which the daemons of `role` listen and which the base moves; all four without a role."""
    return [(entry["port"], entry["protocol"]) for entry in ports(base, role or "all") if entry["movable"]]


def overlaps(base, old_base=None, allow_overlap=False):
    """Sentences for ports of the new range that BoKS itself uses for something else."""
    found = []
    for port in sorted(FIXED):
        if port in base_range(base):
            found.append("the ports %s would hold %d, which is the port of %s and does not move with the base port; "
                         "choose another base port" % (shown_range(base), port, FIXED[port]))
    if old_base is not None and base != old_base and abs(base - old_base) < SPAN and not allow_overlap:
        found.append("the ports %s overlap with the old ones, %s, so that both can't answer side by side while hosts move; "
                     "choose a base port at least %d away" % (shown_range(base), shown_range(old_base), SPAN))
    return found


def named_by_others(base, lines):
    """(line, sentence) for each port of the range that the services database gives to another name.

    `lines`: what the services database's parse() found.
    """
    return [(line, "line %d gives port %d/%s to %s" % (line.number, line.port, line.protocol, shown(line.name))) for line in lines
            if line and line.port in base_range(base) and line.protocol in ("tcp", "udp") and not OWN_NAMES.match(line.name)]


# --- the file ENV ---

def parse_env(content):
    """The assignments in the bytes of ENV: name -> text.  As in a shell, the last one counts; other lines are skipped."""
    found = {}
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        match = _ASSIGNMENT.match(line.rstrip("\r"))
        if match:
            found[match.group(1)] = _value(match.group(2))
    return found


def _value(text):
    """The first word of what follows the C(=), its quotes taken off.  One with an open quote stays as it is."""
    word, position = "", 0
    while position < len(text):
        match = _QUOTED.match(text, position)
        if not match:
            return text.strip() if text[position] in "'\"" else word
        single, double, escaped, plain = match.groups()
        if double is not None:
            double = re.sub(r'\\([\\"$`])', r"\1", double)
        word += next(part for part in (single, double, escaped, plain) if part is not None)
        position = match.end()
    return word


def bridge_domain(env):
    """The number by whose tenfold every port of the host is shifted."""
    value = env.get(BRIDGE_DOMAIN, "")
    if value == "":
        return 0
    # 010 may be ten or eight: which one the product takes is not documented.
    if not re.match(r"(?:0|[1-9][0-9]{0,4})\Z", value):
        raise BoksError("%s is %r, which is not a plain number, so the ports of this host can't be told; write one of 0 or more "
                        "without leading zeros" % (BRIDGE_DOMAIN, value))
    return int(value)


def effective_base(services_port, domain):
    """The base port that daemons use.  Without an entry in the services database it is the product's default."""
    return (DEFAULT_BASE if services_port is None else services_port) + DOMAIN_STEP * domain


def services_port_for(base, domain):
    """What the services database has to say for `base`."""
    port = base - DOMAIN_STEP * domain
    if port < LOWEST_BASE:
        raise BoksError("%s=%d shifts every port of this host by %d, so the services database would have to name port %d for "
                        "base port %d, which is below %d; choose a higher base port, or change %s on all hosts of the domain "
                        "first" % (BRIDGE_DOMAIN, domain, DOMAIN_STEP * domain, port, base, LOWEST_BASE, BRIDGE_DOMAIN))
    return port


def find_role(env, wanted=None):
    """(role or None, sentences that contradict it).  `wanted`: what the inventory says, which decides."""
    init = env.get(INIT, "").lower()
    possible = INIT_ROLES.get(init)
    if wanted:
        if possible and wanted not in possible:
            return wanted, ["%s=%s says that this host is %s, but it is to be moved as %s; put it into the right group of the "
                            "inventory" % (INIT, env[INIT], _a(possible), _a([wanted]))]
        return wanted, []
    return (possible[0] if possible and len(possible) == 1 else None), []


def _a(roles):
    return " or ".join(dict(master="the Master", replica="a Replica", agent="a Server Agent")[role] for role in roles)


# --- what a running host says ---

def not_well(output, patterns):
    """The lines of a table of daemons whose last column is, as a whole, what one of `patterns` describes."""
    found = []
    for line in output.splitlines():
        columns = line.split()
        if columns and any(pattern.fullmatch(columns[-1]) for pattern in patterns):
            found.append(" ".join(columns))
    return found
