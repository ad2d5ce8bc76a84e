#!/bin/sh
set -e
iptables-restore --noflush <<'RULES'
*nat
:PORTSHIFT-bigfix - [0:0]
-A PORTSHIFT-bigfix -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 55000 -j REDIRECT --to-ports 52311
-A PORTSHIFT-bigfix -p udp -m addrtype --dst-type LOCAL -m udp --dport 55000 -j REDIRECT --to-ports 52311
COMMIT
RULES
iptables -t nat -C PREROUTING -j PORTSHIFT-bigfix 2>/dev/null || iptables -t nat -I PREROUTING -j PORTSHIFT-bigfix
iptables -t nat -C OUTPUT -j PORTSHIFT-bigfix 2>/dev/null || iptables -t nat -I OUTPUT -j PORTSHIFT-bigfix
ip6tables-restore --noflush <<'RULES'
*nat
:PORTSHIFT-bigfix - [0:0]
-A PORTSHIFT-bigfix -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 55000 -j REDIRECT --to-ports 52311
-A PORTSHIFT-bigfix -p udp -m addrtype --dst-type LOCAL -m udp --dport 55000 -j REDIRECT --to-ports 52311
COMMIT
RULES
ip6tables -t nat -C PREROUTING -j PORTSHIFT-bigfix 2>/dev/null || ip6tables -t nat -I PREROUTING -j PORTSHIFT-bigfix
ip6tables -t nat -C OUTPUT -j PORTSHIFT-bigfix 2>/dev/null || ip6tables -t nat -I OUTPUT -j PORTSHIFT-bigfix
if iptables-restore --noflush 2>/dev/null <<'RULES'
*mangle
:PORTSHIFT-bigfix - [0:0]
-A PORTSHIFT-bigfix -m addrtype --dst-type LOCAL ! -i lo -p tcp -m tcp --dport 55000 --tcp-flags PSH PSH -m conntrack --ctdir ORIGINAL -m recent --name portshift_bigfix_55000_4 --set
-A PORTSHIFT-bigfix -m addrtype --dst-type LOCAL ! -i lo -p udp -m udp --dport 55000 -m conntrack --ctdir ORIGINAL -m recent --name portshift_bigfix_55000_4 --set
COMMIT
RULES
then
    iptables -t mangle -C PREROUTING -j PORTSHIFT-bigfix 2>/dev/null || iptables -t mangle -I PREROUTING -j PORTSHIFT-bigfix || :
    iptables -t mangle -C OUTPUT -j PORTSHIFT-bigfix 2>/dev/null || iptables -t mangle -I OUTPUT -j PORTSHIFT-bigfix || :
else
    echo 'who uses the port is not remembered: iptables knows no match recent here' >&2
fi
if ip6tables-restore --noflush 2>/dev/null <<'RULES'
*mangle
:PORTSHIFT-bigfix - [0:0]
-A PORTSHIFT-bigfix -m addrtype --dst-type LOCAL ! -i lo -p tcp -m tcp --dport 55000 --tcp-flags PSH PSH -m conntrack --ctdir ORIGINAL -m recent --name portshift_bigfix_55000_6 --set
-A PORTSHIFT-bigfix -m addrtype --dst-type LOCAL ! -i lo -p udp -m udp --dport 55000 -m conntrack --ctdir ORIGINAL -m recent --name portshift_bigfix_55000_6 --set
COMMIT
RULES
then
    ip6tables -t mangle -C PREROUTING -j PORTSHIFT-bigfix 2>/dev/null || ip6tables -t mangle -I PREROUTING -j PORTSHIFT-bigfix || :
    ip6tables -t mangle -C OUTPUT -j PORTSHIFT-bigfix 2>/dev/null || ip6tables -t mangle -I OUTPUT -j PORTSHIFT-bigfix || :
else
    echo 'who uses the port is not remembered: ip6tables knows no match recent here' >&2
fi
grep -q '^src=0.0.0.1 ' /proc/net/xt_recent/portshift_bigfix_55000_4 2>/dev/null || { echo +0.0.0.1 > /proc/net/xt_recent/portshift_bigfix_55000_4; } 2>/dev/null || :
grep -q '^src=0.0.0.1 ' /proc/net/xt_recent/portshift_bigfix_55000_6 2>/dev/null || { echo +0.0.0.1 > /proc/net/xt_recent/portshift_bigfix_55000_6; } 2>/dev/null || :
