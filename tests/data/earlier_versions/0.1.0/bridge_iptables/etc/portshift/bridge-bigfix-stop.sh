#!/bin/sh
while iptables -t nat -D PREROUTING -j PORTSHIFT-bigfix 2>/dev/null; do :; done
while iptables -t nat -D OUTPUT -j PORTSHIFT-bigfix 2>/dev/null; do :; done
iptables -t nat -F PORTSHIFT-bigfix 2>/dev/null && iptables -t nat -X PORTSHIFT-bigfix
while iptables -t mangle -D PREROUTING -j PORTSHIFT-bigfix 2>/dev/null; do :; done
while iptables -t mangle -D OUTPUT -j PORTSHIFT-bigfix 2>/dev/null; do :; done
iptables -t mangle -F PORTSHIFT-bigfix 2>/dev/null && iptables -t mangle -X PORTSHIFT-bigfix
while ip6tables -t nat -D PREROUTING -j PORTSHIFT-bigfix 2>/dev/null; do :; done
while ip6tables -t nat -D OUTPUT -j PORTSHIFT-bigfix 2>/dev/null; do :; done
ip6tables -t nat -F PORTSHIFT-bigfix 2>/dev/null && ip6tables -t nat -X PORTSHIFT-bigfix
while ip6tables -t mangle -D PREROUTING -j PORTSHIFT-bigfix 2>/dev/null; do :; done
while ip6tables -t mangle -D OUTPUT -j PORTSHIFT-bigfix 2>/dev/null; do :; done
ip6tables -t mangle -F PORTSHIFT-bigfix 2>/dev/null && ip6tables -t mangle -X PORTSHIFT-bigfix
exit 0
