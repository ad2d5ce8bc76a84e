# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a port bridge: what arrives for one port of this host is answered by the service on another.  Pure text.

nftables: a table of our own (C(inet portshift_NAME)), hooks prerouting for other hosts and output for this host's own
processes, at a priority of its own beside firewalld (-90) and ufw.  iptables: a chain of our own (C(PORTSHIFT-NAME)) in
the nat table, reached from PREROUTING and OUTPUT.  Both are replaced in one transaction, so a change of direction leaves no gap.

Beside them stand rules that remember who uses the bridged port: in sets of our table whose elements time out, or in lists of
xt_recent filled by a chain of our own in the mangle table.  They look at every packet that carries data, since the nat rules see
the first one of a connection alone, and one that stands already would never be seen.  A connection over which no data goes, as
that of a probe, uses nothing.
"""

import ipaddress
import json
import re
from collections import namedtuple

from ansible_collections.portshift.agents.plugins.module_utils._core.addresses import parse_address
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError

NAME = re.compile(r"[a-z][a-z0-9_]{0,19}\Z")
FOLDER = re.compile(r"/[A-Za-z0-9_./+@,-]*\Z")
PRIORITY = -105
HOOKS = ("prerouting", "output")
# Behind connection tracking, which tells a reply from a request, and before the port is rewritten.
WATCH_PRIORITY = -150
# Seconds for which a user is remembered, and for which the beginning of that is known.
REMEMBERED, BEGINNING = 86400, 30 * 86400
MOST_USERS = 65535
SETS = {4: "users_4", 6: "users_6"}
# What no host has for its address stands in a list of xt_recent for a moment: when it was made, and now.
MADE, NOW = "0.0.0.1", "0.0.0.2"

# One rule: where it hooks in, for which address (None: every address of this host), protocol, and from which port to which.
Rule = namedtuple("Rule", "hook address protocol listen target")
# What remembers who uses a bridged port: where it hooks in, for which address (or None), protocol, port, family of its users.
Watch = namedtuple("Watch", "hook address protocol listen family")
# Who used a bridged port, and how many seconds ago for the last time.
User = namedtuple("User", "address port seconds_ago")
# What a bridge is asked for: the port on which no service listens, the service's own, and the protocols.
Mapping = namedtuple("Mapping", "listen target protocols")


class BridgeError(EngineError):
    """A bridge that can't be, or live rules that can't be read."""


def check_name(name):
    if not NAME.match(name):
        raise BridgeError("the bridge's name is %r; give 1 to 20 characters a-z, 0-9 and _, a letter first" % name)


def check_folder(path, option):
    """The folder becomes words of a systemd unit and of a shell command."""
    if not FOLDER.match(path):
        raise BridgeError("%s is %r; it becomes a part of a systemd unit, so give an absolute path of letters, digits "
                          "and _ . - + @ ," % (option, path))


def parse_addresses(addresses):
    """The addresses in one spelling, each once."""
    found = []
    for text in addresses:
        address = parse_address(text, "addresses")
        found += [address] if address not in found else []
    return found


def check_mappings(mappings):
    """Every port leads to one other, and no service's own port leads away from it."""
    leads = {}
    for mapping in mappings:
        if mapping.listen == mapping.target:
            raise BridgeError("a bridge from port %d to itself is none; listen_port and target_port have to differ"
                              % mapping.listen)
        for protocol in mapping.protocols:
            known = leads.setdefault((protocol, mapping.listen), mapping.target)
            if known != mapping.target:
                raise BridgeError("%s port %d can't lead to both %d and %d; give it one target_port"
                                  % (protocol, mapping.listen, known, mapping.target))
    for protocol, listen in sorted(leads):
        if listen in [target for (other, unused), target in leads.items() if other == protocol]:
            raise BridgeError("%s port %d is to be bridged and is a target_port too; old and new ports that overlap can't answer "
                              "side by side" % (protocol, listen))


def rules(mappings, addresses):
    """The rules that a bridge consists of."""
    return [Rule(hook, address, protocol, mapping.listen, mapping.target)
            for hook in HOOKS for mapping in mappings for address in (addresses or [None]) for protocol in mapping.protocols]


def watches(wanted):
    """What remembers the users of these rules, as a set."""
    return {Watch(rule.hook, rule.address, rule.protocol, rule.listen, family) for rule in wanted for family in sorted(SETS)
            if rule.address is None or (":" in rule.address) == (family == 6)}


def nft_remove(name):
    """Takes the table away whether it is there or not."""
    return "table inet portshift_%s\ndelete table inet portshift_%s\n" % (name, name)


def _nft_rule(rule):
    if rule.address is None:
        # The product listens on all addresses; the rewritten one is this host's own either way.
        return "fib daddr type local %s dport %d redirect to :%d" % (rule.protocol, rule.listen, rule.target)
    family, address = ("ip6", "[%s]" % rule.address) if ":" in rule.address else ("ip", rule.address)
    return "%s daddr %s %s dport %d dnat %s to %s:%d" % (
        family, rule.address, rule.protocol, rule.listen, family, address, rule.target)


def _nft_watch(watch):
    local = "fib daddr type local" if watch.address is None else "%s daddr %s" % (
        "ip6" if watch.family == 6 else "ip", watch.address)
    # What this host sends to itself is seen as it leaves; when it comes in its port may have been rewritten.
    outside = 'iifname != "lo" ' if watch.hook == HOOKS[0] else ""
    # Acknowledgements and farewells go on after the process that had the connection has ended.
    asking = " tcp flags & psh == psh" if watch.protocol == "tcp" else ""
    return "%smeta nfproto ipv%d ct direction original %s %s dport %d%s update @%s { %s saddr . %s dport }" % (
        outside, watch.family, local, watch.protocol, watch.listen, asking, SETS[watch.family],
        "ip6" if watch.family == 6 else "ip", watch.protocol)


def _nft_memory(wanted):
    lines = []
    for family, name in sorted(SETS.items()):
        lines += ["\tset %s {" % name, "\t\ttype ipv%d_addr . inet_service" % family, "\t\tsize %d" % MOST_USERS,
                  "\t\tflags dynamic,timeout", "\t\ttimeout %ds" % REMEMBERED, "\t}"]
    # What is left of the one element's time tells since when users have been remembered.
    lines += ["\tset since {", "\t\ttype inet_service", "\t\tflags timeout",
              "\t\telements = { 1 timeout %ds }" % BEGINNING, "\t}"]
    for hook in HOOKS:
        lines += ["\tchain users_%s {" % hook, "\t\ttype filter hook %s priority %d; policy accept;" % (hook, WATCH_PRIORITY)]
        lines += ["\t\t" + _nft_watch(watch) for watch in sorted(watches(wanted), key=str) if watch.hook == hook]
        lines.append("\t}")
    return lines


def nft_script(name, wanted):
    """A file for nft -f that makes the live rules be `wanted`, whatever they were."""
    lines = ["# Made by portshift.agents.port_bridge: both ports answer while agents move. Taken away by state=absent.",
             nft_remove(name).rstrip(), "table inet portshift_%s {" % name] + _nft_memory(wanted)
    for hook in HOOKS:
        lines.append("\tchain %s {" % hook)
        lines.append("\t\ttype nat hook %s priority %d; policy accept;" % (hook, PRIORITY))
        lines += ["\t\t" + _nft_rule(rule) for rule in wanted if rule.hook == hook]
        lines.append("\t}")
    return "\n".join(lines + ["}", ""])


def _from_nft(rule):
    found = dict(hook=rule["chain"], address=None, protocol=None, listen=None, target=None)
    for part in rule["expr"]:
        if "match" in part:
            left, right = part["match"]["left"], part["match"]["right"]
            field = left.get("payload", {}).get("field")
            if field == "dport":
                found.update(protocol=left["payload"]["protocol"], listen=right)
            elif field == "daddr":
                found["address"] = right
            elif "fib" not in left:
                raise KeyError("match")
        else:
            verdict = part.get("dnat") or part["redirect"]
            found["target"] = verdict["port"]
    return Rule(**found)


def from_nft(text):
    """The rules in what C(nft -j list table) says; BridgeError when it holds rules that were not written here."""
    try:
        return [_from_nft(entry["rule"]) for entry in json.loads(text)["nftables"]
                if "rule" in entry and not entry["rule"]["chain"].startswith("users_")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BridgeError("the table holds rules that portshift.agents did not write; look at them with nft list ruleset")


def _watch_from_nft(rule):
    found = dict(hook=rule["chain"][len("users_"):], address=None, protocol=None, listen=None, family=None)
    for part in rule["expr"]:
        if "set" in part:
            found["family"] = {name: family for family, name in SETS.items()}[part["set"]["set"].lstrip("@")]
        elif "match" in part:
            payload = part["match"]["left"].get("payload", {})
            if payload.get("field") == "dport":
                found.update(protocol=payload["protocol"], listen=part["match"]["right"])
            elif payload.get("field") == "daddr":
                found["address"] = part["match"]["right"]
    return Watch(**found)


def watches_from_nft(text):
    """What remembers users, in what C(nft -j list table) says, as a set; empty where it is not as it was written."""
    try:
        return {_watch_from_nft(entry["rule"]) for entry in json.loads(text)["nftables"]
                if "rule" in entry and entry["rule"]["chain"].startswith("users_")}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def users_from_nft(text):
    """(the users, the seconds for which they have been remembered or None) in what C(nft -j list table) says."""
    users, since = [], None
    for entry in json.loads(text)["nftables"]:
        name, elements = entry.get("set", {}).get("name"), entry.get("set", {}).get("elem", [])
        for part in elements:
            # Without its time, where this nft leaves that out, it counts as used just now.
            element = part["elem"] if isinstance(part, dict) and "elem" in part else {"val": part}
            if name == "since":
                since = BEGINNING - element.get("expires", BEGINNING)
            elif name in SETS.values():
                address, port = element["val"]["concat"]
                users.append(User(address, port, max(0, REMEMBERED - element.get("expires", REMEMBERED))))
    return users, since


def chain(name):
    return "PORTSHIFT-%s" % name


def iptables_script(name, wanted, ipv6=False):
    """Input for iptables-restore --noflush: fills the chain anew in one transaction.  The jumps to it are not in here."""
    lines = ["*nat", ":%s - [0:0]" % chain(name)]
    # One chain serves both hooks.
    for rule in [rule for rule in wanted if rule.hook == HOOKS[0]]:
        if rule.address is None:
            lines.append("-A %s -p %s -m addrtype --dst-type LOCAL -m %s --dport %d -j REDIRECT --to-ports %d" % (
                chain(name), rule.protocol, rule.protocol, rule.listen, rule.target))
        elif (":" in rule.address) == ipv6:
            length, address = (128, "[%s]" % rule.address) if ipv6 else (32, rule.address)
            lines.append("-A %s -d %s/%d -p %s -m %s --dport %d -j DNAT --to-destination %s:%d" % (
                chain(name), rule.address, length, rule.protocol, rule.protocol, rule.listen, address, rule.target))
    return "\n".join(lines + ["COMMIT", ""])


_SAVED = re.compile(r"-A \S+(?: -d (?P<address>[0-9a-f.:]+)/\d+)? -p (?P<protocol>tcp|udp)(?: -m addrtype --dst-type LOCAL)?"
                    r" -m (?:tcp|udp) --dport (?P<listen>\d+)"
                    r" -j (?:REDIRECT --to-ports|DNAT --to-destination (?:\[[^]]*\]|[0-9.]+):)\s?(?P<target>\d+)\Z")


def from_iptables(text, name):
    """The rules in what C(iptables-save -t nat) says of our chain, once per hook that jumps to it."""
    found = []
    hooks = [hook for hook in HOOKS if re.search(r"(?m)^-A %s -j %s$" % (hook.upper(), re.escape(chain(name))), text)]
    for line in text.splitlines():
        if not line.startswith("-A %s " % chain(name)):
            continue
        match = _SAVED.match(line)
        if not match:
            raise BridgeError("chain %s holds a rule that portshift.agents did not write: %s" % (chain(name), line))
        found += [Rule(hook, match.group("address"), match.group("protocol"), int(match.group("listen")),
                       int(match.group("target"))) for hook in hooks]
    return found


def recent_list(name, port, ipv6=False):
    """The list of xt_recent that remembers who uses a port."""
    return "portshift_%s_%d_%d" % (name, port, 6 if ipv6 else 4)


def iptables_watch_script(name, wanted, ipv6=False):
    """Input for iptables-restore --noflush: fills the chain that remembers users anew.  The jumps to it are not in here."""
    lines = ["*mangle", ":%s - [0:0]" % chain(name)]
    for watch in sorted(watches(wanted), key=str):
        # One chain serves both hooks; of OUTPUT no packet came in by lo.
        if watch.hook != HOOKS[0] or (watch.family == 6) != ipv6:
            continue
        local = "-m addrtype --dst-type LOCAL" if watch.address is None else "-d %s/%d" % (watch.address, 128 if ipv6 else 32)
        asking = " --tcp-flags PSH PSH" if watch.protocol == "tcp" else ""
        lines.append("-A %s %s ! -i lo -p %s -m %s --dport %d%s -m conntrack --ctdir ORIGINAL -m recent --name %s --set" % (
            chain(name), local, watch.protocol, watch.protocol, watch.listen, asking, recent_list(name, watch.listen, ipv6)))
    return "\n".join(lines + ["COMMIT", ""])


def watches_from_iptables(text, name, ipv6=False):
    """What remembers users, in what C(iptables-save -t mangle) says, as a set."""
    found = set()
    hooks = [hook for hook in HOOKS if re.search(r"(?m)^-A %s -j %s$" % (hook.upper(), re.escape(chain(name))), text)]
    for line in text.splitlines():
        match = re.match(r"-A %s (?:-d (?P<address>[0-9a-f.:]+)/\d+ )?! -i lo -p (?P<protocol>tcp|udp) "
                         r".*--dport (?P<listen>\d+) .*-m recent --set --name (?P<list>\S+)" % re.escape(chain(name)), line)
        if match and match.group("list") == recent_list(name, int(match.group("listen")), ipv6):
            found |= {Watch(hook, match.group("address"), match.group("protocol"), int(match.group("listen")), 6 if ipv6 else 4)
                      for hook in hooks}
    return found


def from_recent(text):
    """address -> when it was seen last, in ticks of the kernel, out of a list of xt_recent."""
    return {str(ipaddress.ip_address(address)): int(ticks)
            for address, ticks in re.findall(r"(?m)^src=(\S+) .*?last_seen: (\d+)", text)}


# Units that load a packet filter's rules after they have flushed all others, ours too.
FLUSHING = "nftables.service netfilter-persistent.service iptables.service ip6tables.service"


def unit_text(name, start, stop):
    """A systemd unit that brings the bridge back after a boot, and after a flush of the packet filter.

    Not before network-pre.target: cloud images order the network before sysinit.target, which would make a circle.
    """
    return """# Made by portshift.agents.port_bridge
[Unit]
Description=Port bridge %(name)s of portshift.agents: both ports answer while agents move
After=firewalld.service ufw.service %(flushing)s
PartOf=%(flushing)s
ReloadPropagatedFrom=%(flushing)s

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=%(start)s
ExecReload=%(start)s
ExecStop=%(stop)s

[Install]
WantedBy=multi-user.target %(flushing)s
""" % dict(name=name, start=start, stop=stop, flushing=FLUSHING)
