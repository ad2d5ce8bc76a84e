# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""community.windows.win_firewall_rule, on the rules that a host of the model has."""

import ipaddress

from tests.lab.change_tracker.windows import ALL_PROFILES, ComError, new_rule

from .failed import Failed

PROPERTIES = (
    ("Description", "description"), ("Direction", "direction"), ("Action", "action"), ("ApplicationName", "program"),
    ("Grouping", "group"), ("ServiceName", "service"), ("Enabled", "enabled"), ("Profiles", "profiles"),
    ("LocalAddresses", "localip"), ("RemoteAddresses", "remoteip"), ("LocalPorts", "localport"), ("RemotePorts", "remoteport"),
    ("Protocol", "protocol"), ("IcmpTypesAndCodes", "icmp_type_code"),
)
PROTOCOLS = {"tcp": 6, "udp": 17, "icmpv4": 1, "icmpv6": 58}
PROFILES = {"domain": 1, "private": 2, "public": 4}
WORDS = ("localsubnet", "dns", "dhcp", "wins", "defaultgateway")
INVALID = "Value does not fall within the expected range."


def addresses(text):
    """What Windows makes of a list of addresses: its own way to write each."""
    found = []
    for one in text.split(","):
        if one.lower() in WORDS:
            found.append(one)
            continue
        try:
            if "-" in one:
                found.append("-".join(str(ipaddress.ip_address(end)) for end in one.split("-")))
                continue
            network = ipaddress.ip_interface(one).network
        except ValueError:
            raise ComError(INVALID)
        if network.version == 4:
            found.append("%s/%s" % (network.network_address, network.netmask))
        else:
            found.append(str(network.network_address) if network.prefixlen == 128 else str(network))
    return ",".join(found)


def ports(text, protocol):
    """As it was given: Windows checks it, and takes ports only with a protocol that has them."""
    if protocol not in (PROTOCOLS["tcp"], PROTOCOLS["udp"]):
        raise ComError(INVALID)
    for one in text.split(","):
        ends = one.split("-")
        if not all(end.isdigit() and int(end) < 65536 for end in ends) or len(ends) > 2:
            raise ComError(INVALID)
    return text


def protocol_number(text):
    if text.isdigit():
        return int(text)
    for name, number in PROTOCOLS.items():
        if text.lower() == name:
            return number
    raise ComError("Unknown protocol '%s'." % text)


def profile_bits(names):
    unknown = [name for name in names if name.lower() not in PROFILES]
    if unknown:
        raise ComError("Unknown profile '%s'." % unknown[0])
    bits = sum({PROFILES[name.lower()] for name in names})
    return ALL_PROFILES if bits == 7 else bits


def wished(given):
    """-> the rule that these options describe"""
    rule = new_rule(given["name"])

    def take(prop, option, convert=lambda value: value):
        if given[option] is not None and given[option] != "any":
            rule[prop] = convert(given[option])

    take("Enabled", "enabled")
    take("Description", "description")
    take("Grouping", "group")
    take("ApplicationName", "program")
    take("ServiceName", "service")
    take("Protocol", "protocol", protocol_number)
    take("LocalPorts", "localport", lambda text: ports(text, rule["Protocol"]))
    take("RemotePorts", "remoteport", lambda text: ports(text, rule["Protocol"]))
    take("LocalAddresses", "localip", addresses)
    take("RemoteAddresses", "remoteip", addresses)
    take("Direction", "direction", {"in": 1, "out": 2}.get)
    take("Action", "action", {"block": 0, "allow": 1}.get)
    take("Profiles", "profiles", profile_bits)
    return rule


def same(prop, one, other):
    if prop.endswith("Addresses"):
        return sorted((one or "").lower().split(",")) == sorted((other or "").lower().split(","))
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    return one == other


def shown(value):
    return "" if value is None else value


def win_firewall_rule(host, call, given):
    if given["icmp_type_code"]:
        raise Failed("the model of a Windows host does not know icmp_type_code")
    name, group = given["name"], given["group"]
    if not name and not group:
        raise Failed("Either name or group must be specified", changed=False)
    try:
        result, lines = _changed(host.firewall, call, given, name, group)
    except ComError as err:
        raise Failed(str(err), changed=False)
    if call.diff:
        result["diff"] = dict(prepared="".join(line + "\n" for line in lines))
    return result


def _changed(firewall, call, given, name, group):
    lines, result = [], dict(changed=False)
    rules = firewall.rules() or []
    key, value = ("Name", name) if name else ("Grouping", group)
    existing = [rule for rule in rules if (rule[key] or "").lower() == value.lower()]
    new = wished(given)
    if given["state"] == "absent":
        if not existing:
            result["msg"] = ("Firewall rule '%s' does not exist." % name if name else
                             "No firewall rules in group '%s' exist." % group)
        else:
            for rule in existing:
                lines += ["-[%s]" % rule["Name"]] + ["-%s='%s'" % (prop, shown(rule[prop])) for prop, _option in PROPERTIES]
            rules = [rule for rule in rules if rule not in existing]
            result.update(changed=True, msg="Firewall rule(s) '%s' removed." % "', '".join(rule["Name"] for rule in existing))
    elif not existing:
        if name:
            lines += ["+[%s]" % name] + ["+%s='%s'" % (prop, shown(new[prop])) for prop, _option in PROPERTIES]
            rules = rules + [new]
            result.update(changed=True, msg="Firewall rule '%s' created." % name)
    else:
        rules, changed, unchanged = [dict(rule) for rule in rules], [], []
        for rule in rules:
            if (rule[key] or "").lower() != value.lower():
                continue
            lines.append("[%s]" % rule["Name"])
            different = [prop for prop, option in PROPERTIES
                         if given[option] is not None and not same(prop, rule[prop], new[prop])]
            for prop in different:
                lines += ["-%s='%s'" % (prop, shown(rule[prop])), "+%s='%s'" % (prop, shown(new[prop]))]
                rule[prop] = new[prop]
            (changed if different else unchanged).append(rule["Name"])
        result.update(changed=bool(changed), msg="Firewall rule(s) changed '%s' - unchanged '%s'" % (
            "', '".join(changed), "', '".join(unchanged)))
    if result["changed"] and not call.check:
        firewall.set_rules(rules)
    return result, lines
