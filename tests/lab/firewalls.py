# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a host's firewall as a site has them: closed but for the ports named, and on from the start."""

MULTI_USER = "etc/systemd/system/multi-user.target.wants/"
UNITS = "/lib/systemd/system/"

NFTABLES = """#!/usr/sbin/nft -f

flush ruleset

table inet filter {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tct state established,related accept
\t\tct state invalid drop
\t\tiif "lo" accept
\t\tmeta l4proto { icmp, ipv6-icmp } accept
%s	}

\tchain forward {
\t\ttype filter hook forward priority filter; policy drop;
\t}

\tchain output {
\t\ttype filter hook output priority filter; policy accept;
\t}
}
"""

IPTABLES = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p %s -j ACCEPT
%sCOMMIT
"""

# What `ufw allow` and `ufw enable` leave behind, word for word.
UFW = """*filter
:{0}-user-input - [0:0]
:{0}-user-output - [0:0]
:{0}-user-forward - [0:0]
:{0}-before-logging-input - [0:0]
:{0}-before-logging-output - [0:0]
:{0}-before-logging-forward - [0:0]
:{0}-user-logging-input - [0:0]
:{0}-user-logging-output - [0:0]
:{0}-user-logging-forward - [0:0]
:{0}-after-logging-input - [0:0]
:{0}-after-logging-output - [0:0]
:{0}-after-logging-forward - [0:0]
:{0}-logging-deny - [0:0]
:{0}-logging-allow - [0:0]
:{0}-user-limit - [0:0]
:{0}-user-limit-accept - [0:0]
### RULES ###
{1}
### END RULES ###

### LOGGING ###
-I {0}-user-logging-input -j RETURN
-I {0}-user-logging-output -j RETURN
-I {0}-user-logging-forward -j RETURN
### END LOGGING ###

### RATE LIMITING ###
-A {0}-user-limit -m limit --limit 3/minute -j LOG --log-prefix "[UFW LIMIT BLOCK] "
-A {0}-user-limit -j REJECT
-A {0}-user-limit-accept -j ACCEPT
### END RATE LIMITING ###
COMMIT
"""


def _firewalld(ports):
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<zone>", "  <short>Public</short>",
             "  <description>Only selected incoming connections are accepted.</description>", '  <service name="ssh"/>']
    lines += ['  <port port="%d" protocol="%s"/>' % port for port in ports]
    files = {"etc/firewalld/zones/public.xml": ("\n".join(lines + ["  <forward/>", "</zone>"]) + "\n", 0o644)}
    unit = UNITS + "firewalld.service"
    return files, {MULTI_USER + "firewalld.service": unit,
                   "etc/systemd/system/dbus-org.fedoraproject.FirewallD1.service": unit}


def _ufw(ports):
    files = {"etc/ufw/ufw.conf": ("ENABLED=yes\nLOGLEVEL=off\n", 0o644)}
    for chain, path, anywhere in (("ufw", "etc/ufw/user.rules", "0.0.0.0/0"), ("ufw6", "etc/ufw/user6.rules", "::/0")):
        rules = "".join(
            "\n### tuple ### allow %s %d %s any %s in\n-A %s-user-input -p %s --dport %d -j ACCEPT\n" % (
                protocol, port, anywhere, anywhere, chain, protocol, port) for port, protocol in [(22, "tcp")] + ports)
        files[path] = (UFW.format(chain, rules), 0o640)
    return files, {MULTI_USER + "ufw.service": UNITS + "ufw.service"}


def _nftables(ports):
    rules = "".join("\t\t%s dport %d accept\n" % (protocol, port) for port, protocol in [(22, "tcp")] + ports)
    return ({"etc/nftables.conf": (NFTABLES % rules, 0o755)},
            {"etc/systemd/system/sysinit.target.wants/nftables.service": UNITS + "nftables.service"})


def _iptables(ports):
    rules = "".join("-A INPUT -p %s -m %s --dport %d -j ACCEPT\n" % (protocol, protocol, port)
                    for port, protocol in [(22, "tcp")] + ports)
    return ({"etc/iptables/rules.v4": (IPTABLES % ("icmp", rules), 0o640),
             "etc/iptables/rules.v6": (IPTABLES % ("ipv6-icmp", rules), 0o640)},
            {MULTI_USER + "netfilter-persistent.service": UNITS + "netfilter-persistent.service"})


def configured(firewall, ports):
    """-> ({path: (text, mode)}, {link: target}) for a host that admits ssh and these [(port, protocol)].

    `windows` is none of the kernel's: what stands in for http.sys asks it.
    """
    if firewall in ("none", "windows"):
        return {}, {}
    return {"firewalld": _firewalld, "ufw": _ufw, "nftables": _nftables, "iptables": _iptables}[firewall](ports)
