# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_port on the kernel's own packet filter: real nftables and iptables, with a peer that tries to get in.

The host is a network namespace with an /etc of its own, the peer is another one at the end of a cable.  What a boot does is
done by hand here: the filter is emptied and its files are loaded.  At the end stands a host with systemd that really boots.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.integration import direct_module
from tests.integration import test_host_port_frontends as frontends
from tests.integration.asking import asking
from tests.integration.namespaces import Namespace
from tests.lab.processes import Failed

OLD, NEW = 52311, 55000
HOST, PEER, STRANGER = "192.0.2.1", "192.0.2.2", "192.0.2.3"
HOST6, PEER6 = "2001:db8:1::1", "2001:db8:1::2"
FILTERS = pathlib.Path(__file__).parent.parent / "data" / "filters"

# Answers on the ports given by TCP and UDP, IPv4 and IPv6.
ANSWER = """
import selectors, socket, sys
ready = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        one = socket.socket(socket.AF_INET6, kind)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            one.listen(16)
        ready.register(one, selectors.EVENT_READ, kind)
print("up", flush=True)
while True:
    for key, unused in ready.select():
        if key.data == socket.SOCK_STREAM:
            key.fileobj.accept()[0].close()
        else:
            data, sender = key.fileobj.recvfrom(100)
            key.fileobj.sendto(data, sender)
"""


class Place(Namespace):

    def run(self, *command, check=True, data=None):
        done = super().run(*command, data=data)
        assert done.returncode == 0 or (not check and done.stdout), "%s: %s" % (" ".join(command), done.stderr)
        return done.stdout


class Host(Place):
    """A host with an empty filter, an /etc of its own, and a peer."""

    def __init__(self, folder):
        self.folder, self.etc = folder, folder / "etc"
        # What can't be read by this user, keys mostly, is not needed.
        subprocess.run(["cp", "-r", "/etc", str(self.etc)], stderr=subprocess.DEVNULL, check=False)
        for name in ("nftables.conf", "portshift", "iptables", "sysctl.conf"):
            subprocess.run(["rm", "-rf", str(self.etc / name)], check=True)
        super().__init__(mounts="mount --make-rprivate / && mount --bind %s /etc" % self.etc)
        if self.why_not:
            return
        self.peer = Place(beside=self)
        self.why_not = self.peer.why_not
        self.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "uplink", "netns", str(self.peer.holder.pid))
        for place, addresses in ((self, (HOST, HOST6)), (self.peer, (PEER, STRANGER, PEER6))):
            for address in addresses:
                place.run("ip", "address", "add", address + ("/64" if ":" in address else "/24"), "dev", "uplink",
                          *(["nodad"] if ":" in address else []))
            place.run("ip", "link", "set", "uplink", "up")
        self.run("systemctl", "enable", "nftables.service")
        self.service = subprocess.Popen([*self.prefix, sys.executable, "-c", ANSWER, str(OLD), str(NEW)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.service.stdout.readline() == "up\n"

    def close(self):
        for process in [self.service] if not self.why_not else []:
            process.kill()
            process.wait()
            process.stdout.close()
        if hasattr(self, "peer"):
            self.peer.close()
        super().close()

    def module(self, name, arguments):
        return super().module(name, dict(dict(_ansible_remote_tmp=str(self.folder), _ansible_diff=True), **arguments))

    def host_port(self, check=False, fails=False, **arguments):
        arguments = dict(dict(name="bigfix", reserve=False, record=str(self.folder / "record.json"),
                              lease=str(self.folder / "host.lock")), **arguments)
        result = self.module("host_port", dict(arguments, _ansible_check_mode=check))
        assert bool(result.get("failed")) == fails, result.get("msg") or result
        if check:
            # The one that only looks says the same, outside of check mode too.
            seen = self.module("host_port_info", arguments)
            # A failure says nothing of changes.
            assert not seen.pop("changed", False)
            for told in (seen, result):
                told.pop("invocation", None)
                # What the action is told about the lease.
                told.pop("lease", None)
            assert seen == {key: value for key, value in result.items() if key not in ("changed", "diff")}
            assert fails or bool(seen["missing"]) == result["changed"]
        return result

    def gets_in(self, port, address=HOST, own=PEER):
        return self.peer.run(*asking(sys.executable, address, port, own)).split()

    def write(self, path, text):
        (self.etc / path).parent.mkdir(parents=True, exist_ok=True)
        (self.etc / path).write_text(text)

    def read(self, path):
        return (self.etc / path).read_bytes()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    found = Host(tmp_path_factory.mktemp("host"))
    if found.why_not:
        found.close()
        pytest.skip("no network namespace here: %s" % found.why_not)
    yield found
    found.close()


@pytest.fixture
def host(machine):
    """The machine with nothing in its filter and no trace of host_port."""
    machine.run("nft", "flush", "ruleset")
    for path in ("portshift", "nftables.conf", "nftables", "iptables", "sysconfig/iptables", "sysconfig/ip6tables", "sysctl.d"):
        subprocess.run(["rm", "-rf", str(machine.etc / path)], check=True)
    (machine.folder / "record.json").unlink(missing_ok=True)
    return machine


def both(port, sources=()):
    return [dict(port=port, protocol=protocol, sources=list(sources)) for protocol in ("tcp", "udp")]


# -- nftables

NFTABLES = """#!/usr/sbin/nft -f
# the site's own firewall

flush ruleset

define admins = { 198.51.100.7, 198.51.100.8 }

table inet filter {
\tset trusted { type ipv4_addr; elements = { 198.51.100.77 } }
\tchain input {
\t\ttype filter hook input priority 0; policy drop;
\t\tiif lo accept
\t\tct state vmap { established : accept, related : accept, invalid : drop }
\t\tmeta l4proto ipv6-icmp accept
\t\tip saddr $admins tcp dport 22 accept
\t\tjump services
\t}
\tchain services {
\t\ttcp dport 22 accept
\t\ttcp dport %d counter accept comment "BigFix"   # opened 2019
\t\tudp dport %d accept;
\t}
}""" % (OLD, OLD)


@pytest.fixture
def nftables(host):
    host.write("nftables.conf", NFTABLES)
    host.run("nft", "-f", "/etc/nftables.conf")
    return host


def boot_nftables(host):
    host.run("nft", "flush", "ruleset")
    host.run("nft", "-f", "/etc/nftables.conf")


def ruleset(host):
    return host.run("nft", "-s", "list", "ruleset")


# In the place of nft: once our change is in the kernel, an administrator opens 8080, now and for the next boot.
ADMIN = """#!/bin/sh
case "$*" in
"-f -") real=%s; $real "$@"; code=$?
    # What a boot would load is tried out in a namespace of its own.
    if [ "$(readlink /proc/self/ns/net)" = "$(cat %s)" ]; then
        rm %s
        $real insert rule inet filter input tcp dport 8080 accept
        sed -i 's/iif lo accept/&\\n\\t\\ttcp dport 8080 accept/' /etc/nftables.conf
    fi
    exit $code ;;
esac
exec %s "$@"
"""


def test_what_an_administrator_opens_in_nftables_meanwhile_stays_and_is_a_note(nftables):
    host, before = nftables, nftables.read("nftables.conf")
    real, flag, wrapper = host.folder / "nft.real", host.folder / "admin", host.folder / "nft.wrapper"
    nft = host.run("sh", "-c", "command -v nft").strip()
    host.run("cp", nft, str(real))
    wrapper.write_text(ADMIN % (real, flag, flag, real))
    wrapper.chmod(0o755)
    host.run("mount", "--bind", str(wrapper), nft)
    try:
        for change in (dict(openings=both(NEW)), dict(state="restored")):
            flag.write_text(host.run("readlink", "/proc/self/ns/net"))
            host.run(str(real), "flush", "ruleset")
            host.run(str(real), "-f", "/etc/nftables.conf")
            done = host.host_port(**change)
            assert done["changed"] and not flag.exists()
            assert done["notes"][-1] == (
                "nftables was changed by others meanwhile, which stays: new in its runtime and its permanent configuration: "
                "inet filter input: tcp dport 8080 accept")
            assert "tcp dport 8080 accept" in ruleset(host) and b"8080" in host.read("nftables.conf")
            assert host.gets_in(NEW) == (["tcp", "udp"] if "openings" in change else [])
            # It is there now, and is not told of again.
            host.write("nftables.conf", host.read("nftables.conf").decode().replace("\t\ttcp dport 8080 accept\n", ""))
        assert host.read("nftables.conf") == before and not (host.folder / "host.lock").exists()
    finally:
        host.run("umount", nft)


def test_an_opening_of_the_sites_stays_in_nftables_when_ours_is_taken_back(nftables):
    host, site = nftables, "\t\ttcp dport %d accept\n" % NEW
    host.host_port(openings=both(NEW))
    host.run("nft", "insert", "rule", "inet", "filter", "input", "tcp", "dport", str(NEW), "accept")
    host.write("nftables.conf", host.read("nftables.conf").decode().replace("\t\tiif lo accept\n", "\t\tiif lo accept\n" + site))
    done = host.host_port(state="restored")
    assert done["changed"] and "portshift" not in ruleset(host) and host.gets_in(NEW) == ["tcp"]
    boot_nftables(host)
    assert host.gets_in(NEW) == ["tcp"] and "portshift" not in ruleset(host)
    assert host.read("nftables.conf").decode().replace(site, "") == NFTABLES


def test_two_products_at_once_both_open_their_ports_in_nftables(nftables):
    host, before = nftables, nftables.read("nftables.conf")
    ports = dict(bigfix=both(NEW), boks=[dict(port=number, protocol="tcp", sources=[]) for number in range(6530, 6534)])
    for state in ("open", "restored"):
        running = {name: host.begin_module("host_port", dict(
            name=name, state=state, openings=openings, reserve=False, record=str(host.folder / (name + ".json")),
            lease=str(host.folder / "host.lock"), _ansible_remote_tmp=str(host.folder)))
            for name, openings in ports.items()}
        for name, process in running.items():
            done = direct_module.result(*process.communicate())
            assert not done.get("failed") and done["changed"], "%s: %s" % (name, done.get("msg"))
        boot_nftables(host)
        assert host.gets_in(NEW) == (["tcp", "udp"] if state == "open" else [])
        assert ("tcp dport 6533 accept" in ruleset(host)) == (state == "open")
    assert host.read("nftables.conf") == before and not (host.folder / "host.lock").exists()


def test_nftables_opens_exactly_the_port_now_and_after_a_boot(nftables):
    host = nftables
    assert host.gets_in(OLD) == ["tcp", "udp"] and host.gets_in(NEW) == []
    before = ruleset(host)
    foretold = host.host_port(check=True, openings=both(NEW))
    assert foretold["changed"] and ruleset(host) == before and host.read("nftables.conf") == NFTABLES.encode()
    opened = host.host_port(openings=both(NEW))
    assert opened["changed"] and opened["backend"] == "nftables"
    assert host.gets_in(NEW) == ["tcp", "udp"] == host.gets_in(NEW, HOST6, PEER6)
    assert [line for line in ruleset(host).splitlines() if line not in before.splitlines()] == [
        '\t\tudp dport 55000 accept comment "portshift bigfix"', '\t\ttcp dport 55000 accept comment "portshift bigfix"']
    live = ruleset(host)
    boot_nftables(host)
    assert host.gets_in(NEW) == ["tcp", "udp"] and ruleset(host) == live
    again = host.host_port(openings=both(NEW))
    assert not again["changed"] and again["rules"]["after"] == again["rules"]["before"]

    back = host.host_port(check=True, state="restored")
    assert back["missing"] == ["%s 55000 from any address is still open in nftables" % protocol for protocol in ("tcp", "udp")]
    assert ruleset(host) == live
    restored = host.host_port(state="restored")
    assert restored["changed"] and ruleset(host) == before
    assert host.read("nftables.conf") == NFTABLES.encode() and not (host.etc / "portshift/nftables-bigfix.nft").exists()
    assert host.gets_in(NEW) == []
    assert not host.host_port(state="restored")["changed"]


def test_nftables_admits_the_named_sources_alone_in_one_rule(nftables):
    host = nftables
    sources = [PEER, "198.51.100.0/24", "198.51.100.128/25", PEER6]
    host.host_port(openings=both(NEW, sources))
    assert host.gets_in(NEW) == ["tcp", "udp"] == host.gets_in(NEW, HOST6, PEER6)
    assert host.gets_in(NEW, own=STRANGER) == []
    assert "ip saddr { 192.0.2.2, 198.51.100.0/24 } tcp dport 55000 accept" in ruleset(host)
    assert not host.host_port(openings=both(NEW, sources))["changed"]
    live = ruleset(host)
    boot_nftables(host)
    assert ruleset(host) == live
    more = host.host_port(openings=both(NEW, sources + [STRANGER]))
    assert [entry["sources"] for entry in more["added"]] == [[STRANGER], [STRANGER]]
    assert more["changed"] and host.gets_in(NEW, own=STRANGER) == ["tcp", "udp"]
    host.host_port(state="restored")
    assert host.read("nftables.conf") == NFTABLES.encode() and host.gets_in(NEW) == []


def test_nftables_closes_the_sites_own_rules_and_brings_them_back_where_they_were(nftables):
    host = nftables
    before = ruleset(host)
    closed = host.host_port(state="closed", openings=both(OLD))
    assert closed["changed"] and closed["left"] == []
    assert host.gets_in(OLD) == [] and host.gets_in(OLD, HOST6, PEER6) == []
    boot_nftables(host)
    assert host.gets_in(OLD) == []
    marked = NFTABLES.replace("\ttcp dport 52311", "\t# portshift bigfix: tcp dport 52311").replace(
        "\tudp dport 52311", "\t# portshift bigfix: udp dport 52311")
    assert host.read("nftables.conf") == marked.encode()
    assert not host.host_port(state="closed", openings=both(OLD))["changed"]
    restored = host.host_port(state="restored")
    assert restored["changed"] and host.read("nftables.conf") == NFTABLES.encode()
    assert ruleset(host) == before and host.gets_in(OLD) == ["tcp", "udp"]


def test_nftables_closes_one_protocol_of_a_rule_for_both(host):
    text = NFTABLES.replace('\t\ttcp dport %d counter accept comment "BigFix"   # opened 2019\n' % OLD, "").replace(
        "udp dport %d accept;" % OLD, "meta l4proto { tcp, udp } th dport %d accept" % OLD)
    host.write("nftables.conf", text)
    boot_nftables(host)
    before = ruleset(host)
    host.host_port(state="closed", openings=both(OLD)[:1])
    assert host.gets_in(OLD) == ["udp"]
    boot_nftables(host)
    assert host.gets_in(OLD) == ["udp"]
    host.host_port(state="restored")
    assert host.read("nftables.conf") == text.encode() and host.gets_in(OLD) == ["tcp", "udp"]
    boot_nftables(host)
    assert ruleset(host) == before


def test_nftables_leaves_what_opens_more_than_the_port_and_says_so(host):
    text = NFTABLES.replace("tcp dport 22 accept\n\t\ttcp", "tcp dport { 22, %d } accept\n\t\ttcp" % OLD)
    host.write("nftables.conf", text)
    boot_nftables(host)
    closed = host.host_port(state="closed", openings=both(OLD))
    assert host.gets_in(OLD) == ["tcp"]
    assert closed["left"] == ["inet filter services: tcp dport { 22, %d } accept" % OLD]
    host.host_port(state="restored")
    assert host.read("nftables.conf") == text.encode()


def test_nftables_finds_the_rule_in_an_included_file_and_closes_it_there(host):
    main = '#!/usr/sbin/nft -f\nflush ruleset\ninclude "/etc/nftables/*.nft"\n'
    site = ("table inet filter {\n chain input {\n  type filter hook input priority 0; policy drop;\n  iif lo accept\n"
            "  tcp dport %d accept\n  ip saddr %s tcp dport { %d } accept\n }\n}\n" % (OLD, PEER, NEW))
    host.write("nftables.conf", main)
    host.write("nftables/main.nft", site)
    boot_nftables(host)
    host.host_port(state="closed", openings=both(OLD) + both(NEW))
    assert host.gets_in(OLD) == host.gets_in(NEW) == []
    assert host.read("nftables/main.nft").count(b"# portshift bigfix: ") == 2 and host.read("nftables.conf") == main.encode()
    boot_nftables(host)
    assert host.gets_in(OLD) == host.gets_in(NEW) == []
    host.host_port(state="restored")
    assert host.read("nftables/main.nft") == site.encode() and host.gets_in(OLD) == ["tcp"] == host.gets_in(NEW)


def test_nftables_says_when_a_line_of_a_file_can_not_be_closed(host):
    text = NFTABLES.replace("udp dport %d accept;" % OLD, "udp dport %d accept; udp dport 1 accept" % OLD)
    host.write("nftables.conf", text)
    boot_nftables(host)
    closed = host.host_port(state="closed", openings=both(OLD))
    assert host.gets_in(OLD) == []
    assert [sentence for sentence in closed["left"] if "udp dport %d accept; its line" % OLD in sentence
            and "back after the next boot" in sentence]
    boot_nftables(host)
    assert host.gets_in(OLD) == ["udp"]


@pytest.mark.parametrize(("change", "words"), [
    (lambda host: host.run("systemctl", "disable", "nftables.service"), "nothing loads the rules at boot"),
    (lambda host: (host.etc / "nftables.conf").unlink(), "nothing loads rules of nftables at boot"),
    (lambda host: host.write("nftables.conf", "table inet filter {"), "/etc/nftables.conf: nft does not load it"),
    (lambda host: host.write("nftables.conf", "table inet filter {}\n"), "holds no chain that turns incoming traffic away"),
    (lambda host: host.run("nft", "add table inet guard; add chain inet guard in { type filter hook input priority -5; }; "
                                  "add rule inet guard in ip saddr 192.0.2.0/24 tcp dport 55000 drop"), "and wins: "),
    (lambda host: host.run("nft", "add table inet raw; add chain inet raw in { type filter hook prerouting priority -5; "
                                  "policy drop; }; add rule inet raw in udp dport 1-65535 accept"), "before it gets to a chain"),
])
def test_nftables_refuses_what_would_not_hold_with_nothing_changed(nftables, change, words):
    change(nftables)
    try:
        before, file = ruleset(nftables), (nftables.etc / "nftables.conf")
        content = file.read_bytes() if file.exists() else None
        refused = nftables.host_port(openings=both(NEW), fails=True)
        assert words in refused["msg"] and "nothing was changed" in refused["msg"]
        assert ruleset(nftables) == before and content == (file.read_bytes() if file.exists() else None)
        assert not (nftables.folder / "record.json").exists()
    finally:
        nftables.run("systemctl", "enable", "nftables.service")


def test_nftables_leaves_lists_of_banned_sources_to_themselves(nftables):
    """As fail2ban keeps them: a chain of its own that drops some sources and else accepts."""
    host = nftables
    host.run("nft", "add table inet f2b; add set inet f2b banned { type ipv4_addr; elements = { %s } }; "
                    "add chain inet f2b in { type filter hook input priority -1; }; "
                    "add rule inet f2b in tcp dport 55000 ip saddr @banned reject" % STRANGER)
    host.host_port(openings=both(NEW))
    assert host.gets_in(NEW) == ["tcp", "udp"] and host.gets_in(NEW, own=STRANGER) == ["udp"]


def test_nftables_opens_in_every_chain_that_a_packet_has_to_pass(nftables):
    host = nftables
    host.run("nft", "add table ip second; add chain ip second in { type filter hook input priority 5; policy drop; }; "
                    "add rule ip second in ct state established accept; add rule ip second in udp dport %d accept" % OLD)
    host.host_port(openings=both(NEW))
    assert host.gets_in(NEW) == ["tcp", "udp"] and host.run("nft", "list", "table", "ip", "second").count("portshift bigfix") == 2
    host.host_port(state="restored")
    assert "portshift" not in ruleset(host) and host.gets_in(NEW) == []


def rules_of(host, table="inet filter"):
    """The rules of the chain input, live."""
    text = host.run("nft", "-s", "list", "chain", *table.split(), "input")
    return [line.strip() for line in text.splitlines()[3:-2]]


def test_nftables_boots_filtered_though_the_file_of_ours_is_gone_or_the_chain_has_another_name(nftables):
    host = nftables
    host.host_port(openings=both(NEW))
    own, content = host.etc / "portshift/nftables-bigfix.nft", host.read("portshift/nftables-bigfix.nft")
    own.unlink()
    boot_nftables(host)
    assert "policy drop" in ruleset(host) and host.gets_in(NEW) == [] and host.gets_in(OLD) == ["tcp", "udp"]
    own.write_bytes(content)
    host.write("nftables.conf", host.read("nftables.conf").decode().replace("chain input", "chain entry"))
    boot_nftables(host)
    assert "policy drop" in ruleset(host) and host.gets_in(NEW) == [] and host.gets_in(OLD) == ["tcp", "udp"]
    assert host.host_port(openings=both(NEW))["changed"] and host.gets_in(NEW) == ["tcp", "udp"]
    boot_nftables(host)
    assert host.gets_in(NEW) == ["tcp", "udp"]
    host.host_port(state="restored")
    assert host.read("nftables.conf").decode() == NFTABLES.replace("chain input", "chain entry") and not own.exists()


def test_nftables_leaves_the_sites_denials_ahead_of_what_it_opens_now_and_after_a_boot(host):
    denials = ("\t\tip saddr { %s,\n\t\t\t198.51.100.9 } drop\n\t\tip saddr @trusted tcp dport 1-60000 reject\n" % STRANGER)
    text = NFTABLES.replace("\t\tmeta l4proto ipv6", denials + "\t\tmeta l4proto ipv6")
    host.write("nftables.conf", text)
    boot_nftables(host)
    before = ruleset(host)
    opened = host.host_port(openings=both(NEW))
    assert host.gets_in(NEW) == ["tcp", "udp"] and host.gets_in(NEW, own=STRANGER) == []
    assert not [note for note in opened["notes"] if "turns away" in note or "denial" in note]
    live = ruleset(host)
    assert [line[:3] for line in rules_of(host)[2:6]] == ["ip ", "ip ", "tcp", "udp"] or [
        line[:3] for line in rules_of(host)[2:6]] == ["ip ", "udp", "ip ", "tcp"]
    boot_nftables(host)
    assert host.gets_in(NEW) == ["tcp", "udp"] and host.gets_in(NEW, own=STRANGER) == []
    assert sorted(ruleset(host).splitlines()) == sorted(live.splitlines())
    assert not host.host_port(openings=both(NEW))["changed"]
    host.host_port(state="restored")
    assert host.read("nftables.conf") == text.encode() and ruleset(host) == before
    assert not (host.etc / "portshift/nftables-bigfix.nft").exists()


def test_nftables_names_a_denial_that_the_opening_stands_before(host):
    """The place of a rule that shares its line with another can't be told from the file; a denial for a whole interface has to be
    overridden, or nothing would be opened."""
    host.write("nftables.conf", NFTABLES.replace("\t\tmeta l4proto ipv6", "\t\tip saddr %s drop; tcp dport 1 accept\n"
                                                 "\t\tmeta l4proto ipv6" % STRANGER))
    boot_nftables(host)
    notes = host.host_port(check=True, openings=both(NEW))["notes"]
    assert [note for note in notes if "after a boot the opening stands before this denial" in note and STRANGER in note]
    host.host_port(openings=both(NEW))
    assert host.gets_in(NEW, own=STRANGER) == []
    host.host_port(state="restored")
    host.write("nftables.conf", NFTABLES.replace("\t\tjump services", "\t\tjump services\n\t\tiifname \"uplink\" drop"))
    boot_nftables(host)
    notes = host.host_port(openings=both(NEW))["notes"]
    assert [note for note in notes if note.endswith('the opening stands before it: iifname "uplink" drop')]
    assert host.gets_in(NEW) == ["tcp", "udp"]


@pytest.mark.parametrize(("name", "rule"),
                         [("limited", "limit rate 5/second counter reject"), ("pkttype", "meta pkttype host reject")])
def test_nftables_opens_before_a_denial_that_every_new_connection_meets(host, name, rule):
    text = (FILTERS / ("filter-%s-reject.nft" % name)).read_text()
    host.write("nftables.conf", text)
    boot_nftables(host)
    # Answers of neighbours are no exception to "pkttype host".
    for place, address in ((host, PEER6), (host.peer, HOST6)):
        link = (host.peer if place is host else host).run("ip", "-o", "link", "show", "uplink").split("link/ether ")[1].split()[0]
        place.run("ip", "neigh", "replace", address, "lladdr", link, "dev", "uplink", "nud", "permanent")
    try:
        before = ruleset(host)
        assert host.gets_in(NEW) == host.gets_in(NEW, HOST6, PEER6) == []
        foretold = host.host_port(check=True, openings=both(NEW))
        opened = host.host_port(openings=both(NEW))
        assert opened["changed"] and opened["backend"] == "nftables" and opened["notes"] == foretold["notes"]
        assert [note for note in opened["notes"] if "the opening stands before it: " in note and rule in note]
        for again in (lambda host: None, boot_nftables):
            again(host)
            assert host.gets_in(NEW) == ["tcp", "udp"] == host.gets_in(NEW, HOST6, PEER6) and host.gets_in(OLD) == []
        assert not host.host_port(openings=both(NEW))["changed"]
        host.host_port(state="restored")
        assert ruleset(host) == before and host.read("nftables.conf") == text.encode() and host.gets_in(NEW) == []
    finally:
        for place in (host, host.peer):
            place.run("ip", "neigh", "flush", "dev", "uplink", "nud", "permanent")


def test_nftables_refuses_what_stands_behind_such_a_denial_already(host):
    """As earlier versions put their own opening."""
    text = (FILTERS / "filter-limited-reject.nft").read_text().replace("admin-prohibited\n",
                                                                       "admin-prohibited\n    tcp dport %d accept\n" % NEW)
    host.write("nftables.conf", text)
    boot_nftables(host)
    refused = host.host_port(openings=both(NEW)[:1], fails=True)
    assert "limit rate 5/second counter reject" in refused["msg"] and "nothing was changed" in refused["msg"]


@pytest.mark.parametrize("denial", ["tcp dport %d drop" % NEW, "meta l4proto { tcp, udp } th dport 54000-56000 reject"])
def test_nftables_refuses_to_override_a_denial_that_names_the_port(host, denial):
    host.write("nftables.conf", NFTABLES.replace("\t\tjump services", "\t\t%s\n\t\tjump services" % denial))
    boot_nftables(host)
    before = ruleset(host)
    refused = host.host_port(openings=both(NEW), fails=True)
    assert "a rule of the site turns away what is to be opened" in refused["msg"] and "nothing was changed" in refused["msg"]
    assert denial.split()[0] in refused["msg"] and ruleset(host) == before


def test_nftables_takes_its_rules_out_of_a_main_file_that_the_site_has_saved_anew(nftables):
    host = nftables
    before = ruleset(host)
    host.host_port(openings=both(NEW) + both(NEW + 1, [PEER]))
    host.write("nftables.conf", host.run("nft", "list", "ruleset"))
    saved = host.read("nftables.conf").decode()
    assert saved.count("portshift bigfix") == 4
    assert not host.host_port(openings=both(NEW))["changed"]
    host.host_port(state="restored", openings=both(NEW))
    assert host.gets_in(NEW) == []
    boot_nftables(host)
    assert host.gets_in(NEW) == [] and ruleset(host).count("portshift bigfix") == 2
    host.host_port(state="restored")
    boot_nftables(host)
    assert ruleset(host) == before and not (host.etc / "portshift/nftables-bigfix.nft").exists()
    assert host.read("nftables.conf").decode() == "".join(
        line for line in saved.splitlines(True) if "portshift bigfix" not in line)


@pytest.mark.parametrize("flushed", [False, True])
def test_nftables_keeps_the_record_while_the_boot_files_can_not_be_read(nftables, flushed):
    host = nftables
    host.host_port(openings=both(NEW))
    good, record = host.read("nftables.conf").decode(), (host.folder / "record.json").read_bytes()
    host.write("nftables.conf", good + "table inet filter {\n")
    if flushed:
        host.run("nft", "flush", "chain", "inet", "filter", "services")
    live = ruleset(host)
    refused = host.host_port(state="restored", fails=True)
    assert "nothing was changed" in refused["msg"] and "nft does not load it" in refused["msg"]
    assert (host.folder / "record.json").read_bytes() == record and ruleset(host) == live
    host.write("nftables.conf", good)
    host.host_port(state="restored")
    assert host.read("nftables.conf") == NFTABLES.encode() and not (host.folder / "record.json").exists()


def test_nftables_needs_no_rule_where_the_policy_lets_the_port_pass(host):
    host.run("nft", "add table inet some; add chain inet some in { type filter hook input priority 0; }; "
                    "add rule inet some in tcp dport 111 drop")
    for openings in (both(NEW), both(NEW, [PEER, PEER6])):
        result = host.host_port(openings=openings)
        assert (result["changed"], result["backend"]) == (False, "nftables")
        assert [note for note in result["notes"] if "there is nothing to open" in note]
    assert "portshift" not in ruleset(host) and host.gets_in(NEW) == ["tcp", "udp"]
    refused = host.host_port(openings=both(111), fails=True)
    assert "a rule of the site turns away what is to be opened" in refused["msg"]


def test_nftables_leaves_out_the_family_that_it_does_not_filter(host):
    host.write("nftables.conf", "flush ruleset\ntable ip four {\n chain in {\n  type filter hook input priority 0; policy drop;\n"
                                "  ct state established accept\n }\n}\n")
    boot_nftables(host)
    result = host.host_port(openings=both(NEW, [PEER, PEER6]))
    assert [entry["sources"] for entry in result["added"]] == [[PEER], [PEER]]
    assert [note for note in result["notes"] if "there is nothing to open" in note and PEER6 in note]
    assert host.gets_in(NEW) == ["tcp", "udp"] == host.gets_in(NEW, HOST6, PEER6)
    host.host_port(state="restored")
    assert host.gets_in(NEW) == []


def test_nftables_is_the_filter_where_a_table_with_the_name_of_iptables_is_not_its(host):
    text = ("flush ruleset\ntable ip filter {\n chain INPUT {\n  type filter hook input priority 0; policy drop;\n"
            "  iif lo accept\n  ct state vmap { established : accept, invalid : drop }\n }\n}\n")
    host.write("nftables.conf", text)
    boot_nftables(host)
    assert "incompatible" in host.run("iptables-save")
    opened = host.host_port(openings=both(NEW))
    assert opened["backend"] == "nftables" and host.gets_in(NEW) == ["tcp", "udp"]
    boot_nftables(host)
    assert host.gets_in(NEW) == ["tcp", "udp"]
    host.host_port(state="restored")
    assert host.read("nftables.conf") == text.encode()


def test_rules_of_iptables_legacy_beside_those_of_nf_tables_are_named_instead_of_none(host):
    host.run("iptables-legacy", "-P", "INPUT", "DROP")
    try:
        refused = host.host_port(openings=both(NEW), fails=True)
        assert "iptables-legacy turns incoming traffic away" in refused["msg"]
    finally:
        host.run("iptables-legacy", "-P", "INPUT", "ACCEPT")
    assert host.host_port(openings=both(NEW))["backend"] == "none"


def test_without_a_filter_nothing_has_to_be_opened(host):
    result = host.host_port(openings=both(NEW))
    assert (result["changed"], result["backend"]) == (False, "none") and "no firewall filters" in " ".join(result["notes"])
    refused = host.host_port(openings=both(NEW), backend="nftables", fails=True)
    assert "does not filter what comes in" in refused["msg"]


def test_rules_of_nftables_read_as_nft_writes_them(nftables):
    """The sentences of a report quote rules: what the collection prints has to be what nft list prints."""
    nftables.run("nft", "-f", "-", data="""table inet filter {
    chain more {
        iifname "eth0" tcp dport { 80, 443 } accept
        ip saddr 10.0.0.1-10.0.0.9 udp dport 53 counter drop
        ct state { established, new } tcp dport != 22 jump services
        ip6 saddr 2001:db8::/32 meta l4proto { tcp, udp } th dport 1 accept comment "x y"
    }
}\n""")
    from ansible_collections.portshift.agents.plugins.module_utils._host_port import nftables_rules
    shown = [line.strip() for line in ruleset(nftables).splitlines()]
    found = nftables_rules.parse_ruleset(nftables.run("nft", "-j", "list", "ruleset"))
    texts = [text.split(": ", 1)[1] for key, text in found.whole if key]
    assert len(texts) == 12
    assert [text for text in texts if text not in shown] == ["iif lo accept"] or not [text for text in texts if text not in shown]


# Texts of conditions and their kinds; None: all pass.  test_ordinary_packet.py has the same and more, as JSON.
CONDITIONS = [
    ("meta pkttype host", "every"), ("meta pkttype != host", "single"), ("meta pkttype { broadcast, multicast }", "single"),
    ("tcp flags & (fin|syn) == fin|syn", "single"), ("tcp flags & (fin|syn|rst|ack) == syn", "every"),
    ("tcp flags != syn", "single"), ("tcp flags syn", "every"), ("tcp flags & (fin|syn|rst|ack) != syn ct state new", "single"),
    ("tcp flags syn / fin,syn,rst,ack", "every"), ("tcp flags ! syn", "single"), ("ip frag-off & 0x1fff != 0", "single"),
    ("tcp option maxseg size 1-535", "single"), ("exthdr frag exists", "single"), ("rt type 0", "single"),
    ("tcp sport 1024-65535", "every"), ("tcp sport 53", "single"), ("th sport < 1024", "single"), ("ip ttl < 5", "unknown"),
    ("meta length > 1000", "unknown"), ("meta mark 1", "single"), ("meta mark != 1", "every"), ("meta mark 0", "every"),
    ("meta mark & 0x10 == 0x10", "single"), ("ct mark != 0", "single"), ("ct status dnat", "single"),
    ("ct direction original", "every"), ("ct state invalid", "never"), ("ct state new,untracked", None),
    ("ct state & new != 0", None), ("ct original ip saddr 10.0.0.0/8", None), ("ip saddr @s", "source"),
    ("ip saddr != @s", "except"), ("ether saddr 00:11:22:33:44:55", "source"), ("ip saddr . tcp dport @p", "source"),
    ("fib saddr . iif oif missing", "single"), ("fib saddr . iif oif exists", "every"), ("fib saddr type != unicast", "single"),
    ("fib daddr type local", "every"), ("fib daddr type { broadcast, multicast }", "single"),
    ("fib daddr . iif type != { local, broadcast, multicast }", "single"), ('iifname "eth0"', "link"),
    ('iifname "cali*"', "pattern"), ("iifgroup 1", "place"), ("ip daddr 192.0.2.1", "address"), ("limit rate 5/second", "rate"),
    ("limit rate over 5/second", "single"), ("limit name few", "rate"), ("limit name excess", "single"),
    ("quota 10 mbytes", "rate"), ("quota over 10 mbytes", "single"), ("ct count 20", "rate"), ("ct count over 20", "single"),
    ("add @c { ip saddr ct count over 20 }", "single"), ("numgen random mod 10 < 3", "chance"),
    ("jhash ip saddr mod 2 0", "chance"), ('meta hour "17:00"-"19:00"', "chance"), ("meta day Saturday", "chance"),
    ("meta cpu 1", "chance"), ("add @d { ip saddr }", "every"), ("update @d { ip saddr limit rate over 9/minute }", "single"),
    ("update @d { ip saddr limit rate 9/minute }", "rate"), ("meter m { ip saddr limit rate over 9/minute }", "single"),
    ("counter", None), ('log prefix "x"', None), ("meta mark set 1", None), ("notrack", None),
    ("meta secpath exists", "single"), ("meta ipsec missing", "every"), ("ipsec in reqid 1", "single"),
    ("socket transparent 1", "single"), ('osf name "Windows"', "single"), ("meta l4proto . th dport { tcp . 55000 }", None),
    ("ip option lsrr exists", "single"), ("tcp dport > 1024", None), ("tcp dport != { 22, 80 }", None),
    ('ct helper "ftp"', "single"), ("rt classid 1", "unknown"), ("ip dscp cs1", "unknown"), ("ct packets > 20", "unknown"),
    ("ct bytes > 100", "unknown"), ("meta skuid 1", "unknown"), ("meta cgroup 1", "unknown"), ("meta iiftype ether", "place"),
    ("ct expiration < 1s", "unknown")]
OBJECTS = """table inet t {
    limit few { rate 5/second; }
    limit excess { rate over 5/second; }
    set s { type ipv4_addr; }
    set p { type ipv4_addr . inet_service; }
    set d { type ipv4_addr; flags dynamic,timeout; timeout 1m; }
    set c { type ipv4_addr; flags dynamic; }
}
"""


def test_conditions_are_judged_in_the_words_in_which_nft_prints_them(host):
    from ansible_collections.portshift.agents.plugins.module_utils._host_port import nftables_rules
    from ansible_collections.portshift.agents.plugins.module_utils._host_port.input_filter import kinds_of

    host.run("nft", "-f", "-", data=OBJECTS + "".join("table inet t { chain c%d { %s drop; }; }\n" % (number, text)
                                                      for number, (text, _kind) in enumerate(CONDITIONS)))
    chains = nftables_rules.parse_ruleset(host.run("nft", "-j", "list", "ruleset")).chains
    found = []
    for number, (text, _kind) in enumerate(CONDITIONS):
        rule, = chains[("inet", "t", "c%d" % number)].rules
        found.append((text, "never" if not rule.condition.families else next(iter(kinds_of(rule.condition)), None)))
    assert found == CONDITIONS


# -- iptables

IPTABLES = """# Generated by iptables-save on Mon Jun  3 10:00:00 2019
*nat
:PREROUTING ACCEPT [0:0]
COMMIT
*filter
:INPUT DROP [12:840]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:SERVICES - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
%(more)s-A INPUT -j SERVICES
-A INPUT -j REJECT
-A SERVICES -p tcp -m tcp --dport 22 -j ACCEPT
-A SERVICES -p tcp -m state --state NEW -m tcp --dport 52311 -m comment --comment "BigFix, since \\"2019\\"" -j ACCEPT
-A SERVICES -p udp -m udp --dport 52311 -j ACCEPT
COMMIT
"""
V4, V6 = IPTABLES % dict(more=""), IPTABLES % dict(more="-A INPUT -p ipv6-icmp -j ACCEPT\n")
PLACES = {"debian": ("iptables/rules.v4", "iptables/rules.v6", "netfilter-persistent"),
          "redhat": ("sysconfig/iptables", "sysconfig/ip6tables", "iptables")}
UNIT = """[Unit]
Description=Saved rules of %s
[Service]
Type=oneshot
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(params=["debian", "redhat"])
def iptables(host, request):
    host.v4, host.v6, unit = PLACES[request.param]
    for other in PLACES.values():
        for path in other[:2]:
            (host.etc / path).unlink(missing_ok=True)
    host.write(host.v4, V4)
    host.write(host.v6, V6)
    for name in sorted({unit, unit.replace("iptables", "ip6tables")}):
        host.write("systemd/system/%s.service" % name, UNIT % name)
        host.run("systemctl", "enable", name + ".service")
    boot_iptables(host)
    yield host
    for name in sorted({unit, unit.replace("iptables", "ip6tables")}):
        host.run("systemctl", "disable", name + ".service")
        (host.etc / ("systemd/system/%s.service" % name)).unlink()


def test_an_opening_of_the_sites_stays_in_iptables_when_ours_is_taken_back(iptables):
    host, site = iptables, "-A INPUT -p tcp -m tcp --dport %d -j ACCEPT\n" % NEW
    host.host_port(openings=both(NEW))
    for tool, path in (("iptables", host.v4), ("ip6tables", host.v6)):
        host.run(tool, "-I", "INPUT", *site.split()[2:])
        host.write(path, host.read(path).decode().replace("-A INPUT -i lo -j ACCEPT\n", "-A INPUT -i lo -j ACCEPT\n" + site))
    assert host.host_port(state="restored")["changed"] and host.gets_in(NEW) == ["tcp"]
    boot_iptables(host)
    assert host.gets_in(NEW) == ["tcp"] and "portshift" not in host.run("iptables-save") + host.run("ip6tables-save")
    assert [host.read(path).decode().replace(site, "") for path in (host.v4, host.v6)] == [V4, V6]


def boot_iptables(host):
    host.run("iptables-restore", "/etc/" + host.v4)
    host.run("ip6tables-restore", "/etc/" + host.v6)


def tables(host):
    text = host.run("iptables-save") + host.run("ip6tables-save")
    return re.sub(r"(?m)^#.*\n|\[\d+:\d+\]", "", text)


def test_iptables_opens_exactly_the_port_now_and_after_a_boot(iptables):
    host = iptables
    assert host.gets_in(OLD) == ["tcp", "udp"] and host.gets_in(NEW) == []
    before = tables(host)
    foretold = host.host_port(check=True, openings=both(NEW))
    assert foretold["changed"] and tables(host) == before and host.read(host.v4) == V4.encode()
    opened = host.host_port(openings=both(NEW))
    assert opened["changed"] and opened["backend"] == "iptables"
    assert host.gets_in(NEW) == ["tcp", "udp"] == host.gets_in(NEW, HOST6, PEER6)
    news = [line for line in tables(host).splitlines() if line not in before.splitlines()]
    assert news == 2 * ['-A INPUT -p udp -m udp --dport 55000 -m comment --comment "portshift bigfix" -j ACCEPT',
                        '-A INPUT -p tcp -m tcp --dport 55000 -m comment --comment "portshift bigfix" -j ACCEPT']
    boot_iptables(host)
    assert host.gets_in(NEW) == ["tcp", "udp"] == host.gets_in(NEW, HOST6, PEER6)
    assert sorted(tables(host).splitlines()) == sorted(before.splitlines() + news)
    assert not host.host_port(openings=both(NEW))["changed"]

    assert host.host_port(state="restored")["changed"]
    assert (host.read(host.v4), host.read(host.v6)) == (V4.encode(), V6.encode())
    assert tables(host) == before and host.gets_in(NEW) == []
    assert not host.host_port(state="restored")["changed"]


def test_iptables_admits_the_named_sources_alone(iptables):
    host = iptables
    host.host_port(openings=both(NEW, [PEER, "198.51.100.0/24", PEER6]))
    assert host.gets_in(NEW) == ["tcp", "udp"] == host.gets_in(NEW, HOST6, PEER6)
    assert host.gets_in(NEW, own=STRANGER) == []
    assert not host.host_port(openings=both(NEW, [PEER, "198.51.100.0/24", PEER6]))["changed"]
    boot_iptables(host)
    assert host.gets_in(NEW) == ["tcp", "udp"] and host.gets_in(NEW, own=STRANGER) == []
    host.host_port(state="restored")
    assert host.read(host.v4) == V4.encode()


def test_iptables_closes_the_sites_own_rules_and_brings_them_back_where_they_were(iptables):
    host = iptables
    before = tables(host)
    closed = host.host_port(state="closed", openings=both(OLD))
    assert closed["changed"] and closed["left"] == [] and host.gets_in(OLD) == host.gets_in(OLD, HOST6, PEER6) == []
    boot_iptables(host)
    assert host.gets_in(OLD) == []
    assert host.read(host.v4) == re.sub(r"(?m)^(-A SERVICES .*52311)", r"# portshift bigfix: \1", V4).encode()
    assert not host.host_port(state="closed", openings=both(OLD))["changed"]
    assert host.host_port(state="restored")["changed"]
    assert (host.read(host.v4), host.read(host.v6)) == (V4.encode(), V6.encode())
    assert tables(host) == before and host.gets_in(OLD) == ["tcp", "udp"]


def test_iptables_keeps_an_opening_for_one_family_that_was_there_before(iptables):
    host = iptables
    host.write(host.v6, V6.replace("-A SERVICES -p tcp -m state", "-A SERVICES -s 2001:db8:9::/64 -p tcp -m state"))
    boot_iptables(host)
    before = tables(host)
    assert host.gets_in(OLD, HOST6, PEER6) == ["udp"]
    host.host_port(openings=both(OLD))
    assert host.gets_in(OLD, HOST6, PEER6) == ["tcp", "udp"]
    host.host_port(state="restored")
    assert tables(host) == before and host.gets_in(OLD, HOST6, PEER6) == ["udp"]
    host.host_port(state="closed", openings=both(OLD))
    assert host.gets_in(OLD) == host.gets_in(OLD, HOST6, PEER6) == []
    host.host_port(state="restored")
    assert tables(host) == before


def test_iptables_leaves_what_opens_more_than_the_port_and_says_so(iptables):
    host = iptables
    host.write(host.v4, V4.replace("-A INPUT -j SERVICES", "-A INPUT -p tcp -m multiport --dports 22,52311 -j ACCEPT\n"
                                                           "-A INPUT -j SERVICES"))
    boot_iptables(host)
    closed = host.host_port(state="closed", openings=both(OLD))
    assert closed["left"] == ["iptables INPUT: -A INPUT -p tcp -m multiport --dports 22,52311 -j ACCEPT"]
    assert host.gets_in(OLD) == ["tcp"]


def test_iptables_without_saved_files_is_refused_with_nothing_changed(iptables):
    before = tables(iptables)
    (iptables.etc / iptables.v6).unlink()
    refused = iptables.host_port(openings=both(NEW), fails=True)
    assert "nothing brings the rules of ip6tables back after a boot" in refused["msg"] and tables(iptables) == before
    (iptables.etc / iptables.v4).unlink()
    refused = iptables.host_port(openings=both(NEW), fails=True)
    assert "nothing brings the rules of iptables back after a boot" in refused["msg"] and tables(iptables) == before


def test_iptables_beside_a_filter_of_nftables_is_refused_until_both_admit_the_port(iptables):
    iptables.run("nft", "add table inet second; add chain inet second in { type filter hook input priority 5; policy drop; }")
    refused = iptables.host_port(openings=both(NEW), fails=True)
    assert "iptables and nftables both filter" in refused["msg"] and "portshift" not in tables(iptables)
    iptables.run("nft", "add rule inet second in meta l4proto { tcp, udp } th dport %d accept" % NEW)
    iptables.host_port(openings=both(NEW))
    assert "tcp" in iptables.gets_in(NEW) or "portshift" in tables(iptables)


def test_iptables_leaves_the_sites_denials_ahead_of_what_it_opens_now_and_after_a_boot(iptables):
    host = iptables
    text = V4.replace("-A INPUT -j SERVICES", "-A INPUT -s %s/32 -j DROP\n-A INPUT -j SERVICES" % STRANGER)
    host.write(host.v4, text)
    boot_iptables(host)
    before = tables(host)
    host.host_port(openings=both(NEW))
    for again in (lambda host: None, boot_iptables):
        again(host)
        assert host.gets_in(NEW) == ["tcp", "udp"] == host.gets_in(NEW, HOST6, PEER6)
        assert host.gets_in(NEW, own=STRANGER) == []
    host.host_port(state="restored")
    assert host.read(host.v4) == text.encode() and sorted(tables(host)) == sorted(before)


@pytest.mark.parametrize("iptables", ["debian"], indirect=True)
def test_iptables_opens_before_a_denial_that_puts_every_new_connection_on_a_list(iptables):
    host = iptables
    text = (FILTERS / "filter-recent-reject.rules.v4").read_text()
    host.write(host.v4, text)
    host.write(host.v6, text.replace("-A INPUT -i lo", "-A INPUT -p ipv6-icmp -j ACCEPT\n-A INPUT -i lo"))
    boot_iptables(host)
    before = tables(host)
    assert host.gets_in(NEW) == host.gets_in(NEW, HOST6, PEER6) == []
    opened = host.host_port(openings=both(NEW))
    assert opened["changed"] and opened["backend"] == "iptables"
    assert [note for note in opened["notes"] if "the opening stands before it: " in note and "--set --name SCAN" in note]
    for again in (lambda host: None, boot_iptables):
        again(host)
        assert host.gets_in(NEW) == ["tcp", "udp"] == host.gets_in(NEW, HOST6, PEER6) and host.gets_in(OLD) == []
    host.host_port(state="restored")
    assert host.read(host.v4) == text.encode() and sorted(tables(host)) == sorted(before) and host.gets_in(NEW) == []


def test_iptables_refuses_to_override_a_denial_that_names_the_port(iptables):
    host = iptables
    host.run("iptables", "-I", "INPUT", "-p", "tcp", "--dport", str(NEW), "-j", "DROP")
    before = tables(host)
    refused = host.host_port(openings=both(NEW), fails=True)
    assert "a rule of the site turns away what is to be opened: -A INPUT -p tcp" in refused["msg"] and tables(host) == before


def test_iptables_of_a_container_node_needs_nothing_opened_and_no_saved_rules(host):
    """As kube-proxy and Calico have it, and one rule of the site's: the policy accepts."""
    host.run("iptables-restore", data="*filter\n:INPUT ACCEPT [0:0]\n:KUBE-FIREWALL - [0:0]\n"
             ":cali-INPUT - [0:0]\n:cali-wl - [0:0]\n-A INPUT -j cali-INPUT\n-A INPUT -j KUBE-FIREWALL\n"
             "-A cali-INPUT -i cali+ -g cali-wl\n-A cali-wl -j DROP\n"
             "-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n"
             "-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP\nCOMMIT\n")
    assert host.host_port(openings=both(NEW))["backend"] == "none"
    host.run("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "111", "-j", "DROP")
    for openings in (both(NEW), both(NEW, [PEER, PEER6])):
        result = host.host_port(openings=openings)
        assert (result["changed"], result["backend"]) == (False, "iptables")
        assert [note for note in result["notes"] if "there is nothing to open" in note]


def test_iptables_leaves_out_the_family_that_it_does_not_filter(iptables):
    host = iptables
    host.write(host.v6, V6.replace("INPUT DROP", "INPUT ACCEPT").replace("-A INPUT -j REJECT\n", ""))
    boot_iptables(host)
    result = host.host_port(openings=both(NEW, [PEER, PEER6]))
    assert [entry["sources"] for entry in result["added"]] == [[PEER], [PEER]]
    assert host.gets_in(NEW) == ["tcp", "udp"] == host.gets_in(NEW, HOST6, PEER6)


# -- ports kept free

def reserved(host):
    return host.run("cat", "/proc/sys/net/ipv4/ip_local_reserved_ports").strip()


def boot_sysctl(host):
    """As systemd-sysctl does it: files of the folders by their names."""
    host.run("sysctl", "-w", "net.ipv4.ip_local_reserved_ports= ")
    host.run("/usr/lib/systemd/systemd-sysctl")


def run_calls(host, calls):
    for call in calls:
        collection, name = call["module"].rsplit(".", 1)
        result = host.module("%s.plugins.modules.%s" % (collection, name), call["args"])
        assert not result.get("failed"), result


def reserve(host, **arguments):
    """What the action does: the calls, then the module again to look."""
    arguments = dict(dict(openings=both(NEW), reserve=True, backend="none"), **arguments)
    first = host.host_port(**arguments)
    run_calls(host, first.get("calls", []))
    if first.get("calls"):
        host.host_port(step="verify", picture=first["picture"], **arguments)
    return first


@pytest.fixture
def kernel(host):
    if not os.path.isdir(os.path.join(os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep)[0],
                                      "ansible_collections", "ansible", "posix")):
        pytest.skip("the collection ansible.posix is not installed")
    host.run("sysctl", "-w", "net.ipv4.ip_local_reserved_ports= ")
    (host.etc / "sysctl.d").mkdir()
    return host


def test_a_port_is_kept_free_now_and_after_a_boot_and_let_go_again(kernel):
    assert reserve(kernel)["reserved"] == [NEW] and reserved(kernel) == "55000"
    boot_sysctl(kernel)
    assert reserved(kernel) == "55000"
    assert not reserve(kernel)["changed"]
    reserve(kernel, state="restored")
    assert reserved(kernel) == "" and os.listdir(str(kernel.etc / "sysctl.d")) == []


def test_a_reservation_of_the_sites_is_added_to_in_a_file_of_ours_that_wins(kernel):
    # ansible.posix.sysctl would keep the first of the two settings of ip_forward, and close the gaps.
    late = "net.ipv4.ip_forward   =  0\nnet.ipv4.ip_local_reserved_ports=41000-41009\nnet.ipv4.ip_forward = 1\n"
    kernel.write("sysctl.d/70-site.conf", "# ports of our own\nnet.ipv4.ip_local_reserved_ports=40000\n")
    kernel.write("sysctl.d/99-sysctl.conf", late)
    kernel.run("sysctl", "-w", "net.ipv4.ip_local_reserved_ports=41000-41009,42000")
    reserve(kernel)
    assert reserved(kernel) == "41000-41009,42000,55000"
    boot_sysctl(kernel)
    assert reserved(kernel) == "41000-41009,55000"
    assert kernel.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"
    assert kernel.read("sysctl.d/99-zz-portshift.conf") == b"net.ipv4.ip_local_reserved_ports=41000-41009,55000\n"
    assert not reserve(kernel)["changed"]
    reserve(kernel, state="restored")
    assert reserved(kernel) == "41000-41009"
    assert sorted(os.listdir(str(kernel.etc / "sysctl.d"))) == ["70-site.conf", "99-sysctl.conf"]
    assert kernel.read("sysctl.d/99-sysctl.conf") == late.encode()
    boot_sysctl(kernel)
    assert reserved(kernel) == "41000-41009"


def test_a_port_outside_of_the_range_is_left_alone(kernel):
    assert reserve(kernel, openings=both(8080))["changed"] is False and reserved(kernel) == ""


def test_where_the_kernel_can_not_be_written_the_note_says_so(kernel):
    kernel.run("mount", "--bind", "/proc/sys", "/proc/sys")
    try:
        kernel.run("mount", "-o", "remount,bind,ro,nosuid,nodev,noexec", "/proc/sys")
        result = reserve(kernel)
    finally:
        kernel.run("umount", "/proc/sys")
    assert not result["changed"] and [note for note in result["notes"] if "no port was reserved" in note]
    assert os.listdir(str(kernel.etc / "sysctl.d")) == []


# -- a host with systemd that boots

@pytest.fixture
def machines(tmp_path):
    """(host, peer): containers with systemd in them; the host filters by nftables.service alone."""
    try:
        lab = frontends.Lab(tmp_path)
    except Failed as err:
        pytest.skip("no containers here: %s" % err)
    try:
        options = lab.engine.host_options
        # A machine of its own may set its kernel's parameters.
        lab.engine.host_options = lambda: options() + ["--security-opt", "unmask=/proc/sys"]
        host, peer = frontends.Host(lab, "boots"), frontends.Host(lab, "outside")
        host.run("systemctl", "disable", "--now", "firewalld", "ufw", check=False)
        lab.engine.execute(host.container, "sh", "-c", "cat > /etc/nftables.conf", stdin=NFTABLES.encode())
        host.run("systemctl", "enable", "--now", "nftables.service")
        host.answer(OLD, NEW)
        yield host, peer
    finally:
        frontends.containers.Engine().remove(lab.label)


def boot(host):
    host.lab.engine.run("restart", "--time", "5", host.container)
    host.wait("systemd", "sh", "-c", "systemctl is-system-running --wait | grep -E 'running|degraded'")
    host.address = host.run("hostname", "-I").split()[0]
    host.answer(OLD, NEW)


def test_what_was_opened_closed_and_reserved_holds_after_a_boot(machines):
    host, peer = machines
    assert host.gets_in(peer, OLD) == ["tcp", "udp"] and host.gets_in(peer, NEW) == []
    opened = host.opens(openings=both(NEW))
    assert opened["backend"] == "nftables" and opened["reserved"] == [NEW]
    host.opens(state="closed", openings=both(OLD))
    for again in (lambda host: None, boot):
        again(host)
        assert host.gets_in(peer, NEW) == ["tcp", "udp"] and host.gets_in(peer, OLD) == []
        assert frontends.reserved(host) == str(NEW)
        assert not host.opens(openings=both(NEW))["changed"]
    host.opens(state="restored")
    boot(host)
    assert host.gets_in(peer, OLD) == ["tcp", "udp"] and host.gets_in(peer, NEW) == [] and frontends.reserved(host) == ""
    assert host.run("cat", "/etc/nftables.conf") == NFTABLES
