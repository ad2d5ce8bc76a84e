# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands before an opening of firewalld or ufw in the kernel: nothing on a fresh host, and what a site has put there."""

import ipaddress
import json
import pathlib

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._host_port import (
    firewalld as firewalld_backend, input_filter, iptables, kernel_filter, nftables, ufw as ufw_backend)
from ansible_collections.portshift.agents.plugins.module_utils._host_port.firewalld import Firewalld, parse_zones
from ansible_collections.portshift.agents.plugins.module_utils._host_port.ufw import Ufw
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import Opening
from ansible_collections.portshift.agents.tests.unit import growth

FILTERS = pathlib.Path(__file__).parent.parent / "data" / "filters"
TCP, UDP = Opening("tcp", 55000, None), Opening("udp", 55000, None)
OPENINGS = [TCP, UDP, Opening("tcp", 55000, "10.1.2.3"), Opening("udp", 55000, "2001:db8::/32")]
OWN = {ipaddress.ip_address(text) for text in ("192.0.2.1", "2001:db8::1")}


def stored(name):
    return (FILTERS / name).read_text()


def nft_tables(*tables):
    """JSON of tables (family, name, [(chain, hook, policy, [rule])]) after those of a fresh firewalld."""
    entries = []
    for ip, table, chains in tables:
        entries.append({"table": {"family": ip, "name": table, "handle": 1}})
        for chain, hook, policy, rules in chains:
            base = dict(type="filter", hook=hook.split()[0], prio=0, policy=policy) if hook else {}
            base.update(dict(dev=hook.split()[1]) if hook and " " in hook else {})
            entries.append({"chain": dict(base, family=ip, table=table, name=chain, handle=1)})
            entries += [{"rule": {"family": ip, "table": table, "chain": chain, "handle": number + 2, "expr": expr}}
                        for number, expr in enumerate(rules)]
    return entries


def match(left, right, op="=="):
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol, field):
    return {"payload": {"protocol": protocol, "field": field}}


DROP, ACCEPT = {"drop": None}, {"accept": None}
PORTS = match(payload("tcp", "dport"), {"range": [50000, 60000]})
# As fail2ban, CrowdSec, netavark, libvirt and kube-proxy write them.
BESIDE = nft_tables(
    ("inet", "f2b-table", [("f2b-chain", "input", "accept", [
        [match(payload("tcp", "dport"), {"set": [22, 55000]}), match(payload("ip", "saddr"), "@addr-set-sshd"),
         {"reject": None}]])]),
    ("ip", "crowdsec", [("crowdsec-chain", "input", "accept", [[match(payload("ip", "saddr"), "@crowdsec-blacklists"), DROP]])]),
    ("inet", "netavark", [("INPUT", "input", "accept", [
        [match(payload("ip", "saddr"), {"prefix": {"addr": "10.88.0.0", "len": 16}}), match(payload("udp", "dport"), 53),
         ACCEPT]]),
        ("FORWARD", "forward", "accept", [[match({"ct": {"key": "state"}}, "invalid", "in"), DROP]])]),
    ("ip", "libvirt_network", [("forward", "forward", "accept", [[{"reject": None}]])]),
    ("ip", "raw", [("PREROUTING", "prerouting", "accept", [
        [match(payload("ip", "daddr"), "172.17.0.2"), match({"meta": {"key": "iifname"}}, "docker0", "!="), DROP]])]),
    ("ip", "kube-proxy", [
        ("filter-input", "input", "accept", [[match({"ct": {"key": "state"}}, "new", "in"), {"jump": {"target": "check"}}]]),
        ("check", None, None, [[match(payload("ip", "daddr"), "@nodeport-ips"), {"vmap": {
            "key": {"concat": [{"meta": {"key": "l4proto"}}, payload("th", "dport")]}, "data": {"set": [
                [{"concat": ["tcp", 30001]}, {"goto": {"target": "reject-chain"}}]]}}}]]),
        ("reject-chain", None, None, [[{"reject": None}]])]))
BESIDE_V4 = """*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -m conntrack --ctstate INVALID -j DROP
-A PREROUTING -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP
-A PREROUTING -p tcp -m conntrack --ctstate NEW -m tcpmss ! --mss 536:65535 -j DROP
-A PREROUTING -m rpfilter --validmark --invert -j DROP
COMMIT
"""
BAN = """-A INPUT -p tcp -m multiport --dports 22,55000 -j f2b-sshd
-A f2b-sshd -s 198.51.100.9/32 -j REJECT
-A f2b-sshd -j RETURN
"""
ZONES = ("%s (active)\n  target: default\n  interfaces: %s\n  sources: %s\n  rich rules: \n\n"
         "trusted\n  target: ACCEPT\n  interfaces: \n  rich rules: \n")
POLICY = """allow-host-ipv6 (active)
  priority: -15000
  target: CONTINUE
  ingress-zones: ANY
  egress-zones: HOST
  ports: 
  rich rules: 
\trule family="ipv6" icmp-type name="neighbour-advertisement" accept

guard (active)
  priority: %(priority)s
  target: %(target)s
  ingress-zones: %(ingress)s
  egress-zones: %(egress)s
  services: 
  ports: %(ports)s
  rich rules: 
\t%(rule)s
"""  # noqa: W291
REJECT = 'rule port port="50000-60000" protocol="tcp" reject'


def policy(rule=REJECT, priority=-10, target="CONTINUE", ingress="ANY", egress="HOST", ports=""):
    return POLICY % dict(rule=rule, priority=priority, target=target, ingress=ingress, egress=egress, ports=ports)


class Module:
    """Answers the tools of a host with what was recorded of them."""

    check_mode, params = False, {}

    def __init__(self, nft="", v4="", v6="", policies="", permanent=None):
        self.nft, self.saved = nft, {"iptables-save": v4, "ip6tables-save": v6, "iptables-nft-save": v4, "ip6tables-nft-save": v6}
        self.policies = {"--list-all-policies": policies, "--permanent": policies if permanent is None else permanent}

    def get_bin_path(self, name):
        return None if "legacy" in name or (name == "nft" and self.nft is None) else name

    def run_command(self, command, **options):
        if command[0] == "nft":
            return (0, self.nft, "") if self.nft else (1, "", "Operation not permitted")
        if command[0] == "firewall-cmd":
            said = self.policies.get(command[1], "")
            return (2, "", "unrecognized arguments") if said is False else (0, said, "")
        return 0, self.saved.get(command[0], "nf_tables"), ""


@pytest.fixture(autouse=True)
def scene(monkeypatch):
    monkeypatch.setattr(kernel_filter, "own_addresses", lambda: OWN)
    monkeypatch.setattr(ufw_backend, "own_addresses", lambda: OWN)
    monkeypatch.setattr(firewalld_backend, "links", lambda: ["eth0"])


def ruleset(name="default-firewalld.json", more=()):
    listing = json.loads(stored(name)) if name else {"nftables": []}
    return json.dumps({"nftables": listing["nftables"] + list(more)})


def firewalld(nft=None, zone="public", default="public", interfaces="eth0", sources="", **more):
    found = Firewalld(Module(ruleset() if nft is None else nft, **more), "bigfix", zone)
    zones = parse_zones(ZONES % (zone, interfaces, sources))
    found.default, found.zones = default, dict(runtime=zones, permanent=zones)
    return found


BACKENDS = {"nftables": dict(nft=ruleset()),
            "iptables": dict(nft=ruleset(None), v4=stored("default-firewalld-iptables.v4"),
                             v6=stored("default-firewalld-iptables.v6"))}


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_nothing_stands_before_an_opening_in_a_fresh_firewalld(backend):
    for policies in (policy(rule=""), False):
        assert firewalld(policies=policies, **BACKENDS[backend]).obstacles(OPENINGS) == ([], [])


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_what_container_engines_and_guards_keep_beside_firewalld_is_no_obstacle(backend):
    more = dict(BACKENDS[backend])
    more["nft"] = json.dumps({"nftables": json.loads(more["nft"])["nftables"] + BESIDE})
    more["v4"] = more.get("v4", "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n").replace(
        ":INPUT ACCEPT [0:0]\n", ":INPUT ACCEPT [0:0]\n:f2b-sshd - [0:0]\n").replace("*filter\n", "*filter\n" + BAN) + (
            "" if backend == "iptables" else BESIDE_V4)
    assert firewalld(**more).obstacles(OPENINGS) == ([], [])


FAMILIES = [("policy \"guard\"", policy(), 2), ("policy \"guard\"", policy(ingress="public"), 2),
            ("its target is DROP", policy(rule="", target="DROP"), 4), ("policy \"guard\"", policy(rule="rule drop"), 4),
            ("", policy(ingress="dmz"), 0), ("", policy(egress="dmz"), 0), ("", policy(priority=10), 0),
            ("", policy(rule='rule port port="22" protocol="tcp" reject'), 0),
            ("", policy(rule="", target="REJECT", ports="55000/tcp 55000/udp"), 0)]


@pytest.mark.parametrize(("words", "policies", "count"), FAMILIES)
def test_a_policy_that_is_asked_before_the_zone_is_a_failure_that_names_it(words, policies, count):
    failures, notes = firewalld(policies=policies, permanent="").obstacles(OPENINGS)
    assert (len(failures), notes) == (count, []) and all(words in sentence and "(runtime)" in sentence for sentence in failures)
    later, notes = firewalld(policies="", permanent=policies).obstacles(OPENINGS)
    assert later == [sentence.replace("(runtime)", "(permanent)") for sentence in failures] and not notes


def test_a_policy_for_some_senders_is_a_note_as_a_rule_of_the_zone_is():
    rule = 'rule family="ipv4" source address="10.9.9.0/24" port port="55000" protocol="tcp" reject'
    failures, notes = firewalld(policies=policy(rule=rule)).obstacles([TCP])
    assert not failures and len(notes) == 2 and 'policy "guard"' in notes[0] and "a part of" in notes[0]


def guarded(rules):
    """A fresh firewalld with a policy in the kernel that firewall-cmd does not tell of."""
    listing = ruleset(more=nft_tables(("inet", "firewalld", [("filter_IN_policy_guard_deny", None, None, rules)])))
    return listing.replace('"target": "filter_IN_policy_allow-host-ipv6"', '"target": "filter_IN_policy_guard_deny"')


@pytest.mark.parametrize(("rules", "failures", "notes"), [
    ([[PORTS, {"reject": None}]], 2, 0), ([[PORTS, match({"meta": {"key": "iifname"}}, "eth0"), DROP]], 2, 0),
    ([[PORTS, match({"meta": {"key": "iifname"}}, "eth1"), DROP]], 0, 0),
    ([[PORTS, match(payload("ip", "saddr"), "@bad"), DROP]], 0, 0),
    ([[PORTS, {"limit": {"rate": 5, "per": "second"}}, DROP]], 2, 0),
    ([[PORTS, {"limit": {"rate": 5, "per": "second", "inv": True}}, DROP]], 0, 0), ([[PORTS, {"new": {"x": 1}}, DROP]], 0, 2),
    ([[match(payload("tcp", "dport"), 55000), ACCEPT], [PORTS, DROP]], 0, 0), ([[DROP]], 4, 0)])
def test_the_kernels_own_rules_of_a_policy_count_where_firewalld_does_not_tell_them(rules, failures, notes):
    found = firewalld(nft=guarded(rules)).obstacles(OPENINGS)
    assert tuple(map(len, found)) == (failures, notes)
    assert all('policy "guard"' in sentence for half in found for sentence in half)


def test_a_zone_that_a_network_leads_to_is_followed_for_that_network():
    text = guarded([[PORTS, DROP]])
    found = firewalld(nft=text, interfaces="", sources="10.1.0.0/16", default="dmz").obstacles(OPENINGS)
    assert len(found[0]) == 2 and not found[1]
    assert firewalld(nft=text, interfaces="", sources="", default="dmz").obstacles(OPENINGS) == ([], [])


def test_what_one_of_several_interfaces_turns_away_is_a_part(monkeypatch):
    monkeypatch.setattr(firewalld_backend, "links", lambda: ["eth0", "eth1", "eth2"])
    nft = guarded([[PORTS, match({"meta": {"key": "iifname"}}, "eth1"), DROP]])
    assert tuple(map(len, firewalld(nft=nft).obstacles([TCP]))) == (0, 1)
    assert tuple(map(len, firewalld(nft=nft, default="dmz").obstacles([TCP]))) == (0, 0)
    both = guarded([[PORTS, match({"meta": {"key": "iifname"}}, {"set": ["eth0", "eth1", "eth2"]}), DROP]])
    assert tuple(map(len, firewalld(nft=both).obstacles([TCP]))) == (1, 0)


DIRECT = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT %s\nCOMMIT\n"


@pytest.mark.parametrize(("words", "failures", "notes"), [
    ("-p udp -m udp --dport 55000 -j DROP", 1, 0), ("-p tcp -m multiport --dports 50000:60000 -j REJECT", 2, 0),
    ("-s 10.1.2.0/24 -p tcp -m tcp --dport 55000 -j DROP", 1, 0), ("-i eth1 -p tcp -m tcp --dport 55000 -j DROP", 0, 0),
    ("-d 192.0.2.9/32 -p tcp -m tcp --dport 55000 -j DROP", 0, 0), ("-d 192.0.2.1/32 -p tcp -m tcp --dport 55000 -j DROP", 2, 0),
    ("! -s 10.0.0.0/8 -p udp -m udp --dport 55000 -j DROP", 0, 1), ("-m set --match-set f2b src -j DROP", 0, 0),
    ("-p tcp -m something --new thing -j DROP", 0, 2)])
def test_a_direct_rule_or_a_chain_of_iptables_beside_firewalld_is_named(words, failures, notes):
    found = firewalld(v4=DIRECT % words).obstacles(OPENINGS)
    assert tuple(map(len, found)) == (failures, notes)
    assert all("iptables INPUT: -A INPUT " + words in sentence for half in found for sentence in half)


@pytest.mark.parametrize(("ip", "hook", "policy_", "rules", "count"), [
    ("inet", "input", "accept", [[PORTS, DROP]], 2), ("inet", "prerouting", "accept", [[PORTS, DROP]], 2),
    ("inet", "input", "drop", [], 4),
    ("ip6", "input", "drop", [], 3),
    ("ip", "input", "drop", [[match({"meta": {"key": "l4proto"}}, {"set": ["tcp", "udp"]}), ACCEPT]], 0),
    ("inet", "forward", "drop", [], 0), ("netdev", "ingress eth0", "accept", [[PORTS, DROP]], 2),
    ("netdev", "ingress eth1", "accept", [[PORTS, DROP]], 0), ("netdev", "ingress", "accept", [], 0)])
def test_another_table_of_nftables_is_named(ip, hook, policy_, rules, count):
    failures, notes = firewalld(ruleset(more=nft_tables((ip, "site", [("entry", hook, policy_, rules)])))).obstacles(OPENINGS)
    assert (len(failures), notes) == (count, []) and all("%s site entry: " % ip in sentence for sentence in failures)


def test_a_chain_at_the_ingress_of_an_interface_that_nft_does_not_tell_is_a_note():
    failures, notes = firewalld(ruleset(more=nft_tables(
        ("netdev", "site", [("entry", "ingress", "accept", [[PORTS, DROP]])])))).obstacles([TCP])
    assert not failures and len(notes) == 1 and "netdev site entry: " in notes[0]


def test_tables_of_iptables_beside_filter_are_looked_at():
    for table, chain in (("raw", "PREROUTING"), ("mangle", "PREROUTING"), ("mangle", "INPUT"), ("security", "INPUT")):
        text = "*%s\n:%s ACCEPT [0:0]\n-A %s -p tcp -m tcp --dport 55000 -j DROP\nCOMMIT\n" % (table, chain, chain)
        failures, unused = firewalld(v4=text).obstacles([TCP])
        assert len(failures) == 1 and "iptables -t %s %s: -A %s" % (table, chain, chain) in failures[0]


def test_what_can_not_be_looked_at_is_a_note(tmp_path, monkeypatch):
    failures, notes = firewalld(nft="").obstacles([TCP])
    assert not failures and len(notes) == 1 and "could not be looked at" in notes[0]
    assert "the rules of iptables could not be looked at: iptables-save printed" in firewalld(
        v4=DIRECT % '-m comment --comment "open').obstacles([TCP])[1][0]
    loops = [("c%d" % number, None, None, [[{"jump": {"target": "c%d" % (number + 1)}}]] * 3) for number in range(15)]
    monkeypatch.setattr(input_filter, "STEPS", 2000)
    maze = nft_tables(("inet", "site", [("entry", "input", "accept", [[{"jump": {"target": "c0"}}]])] + loops))
    assert "inet site entry could not be looked at: " in firewalld(ruleset(more=maze)).obstacles([TCP])[1][0]
    module = Module(nft=None)
    monkeypatch.setattr(kernel_filter, "NF_TABLES", str(tmp_path))
    found = Firewalld(module, "bigfix", "public")
    found.zones, found.default = firewalld().zones, "public"
    assert "install nftables" in found.obstacles([TCP])[1][0]
    monkeypatch.setattr(kernel_filter, "NF_TABLES", str(tmp_path / "none"))
    assert found.obstacles([TCP]) == ([], [])


# -- ufw

@pytest.fixture
def ufw(tmp_path, monkeypatch):
    def make(v4=None, v6=None, more=(), ipv6="yes", **lines):
        (tmp_path / "default").write_text("IPV6=%s\n" % ipv6)
        monkeypatch.setattr(ufw_backend, "DEFAULTS", str(tmp_path / "default"))
        monkeypatch.setattr(ufw_backend, "KERNEL_IPV6", str(tmp_path))
        monkeypatch.setattr(ufw_backend, "SITE_FOLDER", str(tmp_path))
        for name in ("before.rules", "before6.rules"):
            text, which = stored(name), name[:-len(".rules")]
            if which in lines:
                text = text.replace("# don't delete the 'COMMIT' line", lines[which] + "\n# don't delete the 'COMMIT' line")
            (tmp_path / name).write_text(text)
        return Ufw(Module(ruleset("default-ufw.json", more), stored("default-ufw.v4") if v4 is None else v4,
                          stored("default-ufw.v6") if v6 is None else v6), "bigfix")
    return make


def test_nothing_stands_before_an_opening_in_a_fresh_ufw(ufw):
    assert ufw().obstacles(OPENINGS) == ([], [])
    assert ufw(v4=stored("default-ufw.v4").replace("*filter\n", "*filter\n" + BAN), more=BESIDE).obstacles(OPENINGS) == ([], [])
    # Where ufw leaves IPv6 alone it closes it.
    assert ufw(v6="*filter\n:INPUT DROP [0:0]\nCOMMIT\n", ipv6="no").obstacles([TCP]) == ([], [])


LINE = "-A ufw-before-input -p tcp --dport 50000:60000 -j DROP"


def live(text, line, before="-A ufw-before-input -j ufw-user-input\n"):
    return text.replace(before, line + "\n" + before)


def test_a_line_of_ufws_own_files_that_rejects_the_port_is_a_failure_that_names_it(ufw, tmp_path):
    there = live(stored("default-ufw.v4"), "-A ufw-before-input -p tcp -m tcp --dport 50000:60000 -j DROP")
    number = stored("before.rules").splitlines().index("# don't delete the 'COMMIT' line or these rules won't be processed") + 1
    words = "before.rules, line %d: %s" % (number, LINE)
    # Live and in the file; in the file alone, for the next boot; live alone.
    for made in (ufw(v4=there, before=LINE), ufw(before=LINE)):
        failures, notes = made.obstacles([TCP, UDP])
        assert len(failures) == 1 and words in failures[0] and not notes
    (tmp_path / "before.rules").write_bytes(b"# \xe9\n" + (tmp_path / "before.rules").read_bytes())
    assert "line %d: " % (number + 1) in made.obstacles([TCP])[0][0]
    assert "before.rules could not be looked at: " in ufw(before="-A ufw-before-input -j DROP \"").obstacles([TCP])[1][0]
    failures, notes = ufw(v4=there).obstacles([TCP, UDP])
    assert len(failures) == 1 and "iptables ufw-before-input: -A ufw-before-input -p tcp -m tcp" in failures[0]
    line6 = LINE.replace("ufw-", "ufw6-")
    failures, notes = ufw(before6=line6).obstacles([TCP, Opening("tcp", 55000, "10.1.2.3")])
    assert len(failures) == 1 and "before6.rules, line" in failures[0] and line6 in failures[0]


@pytest.mark.parametrize(("line", "failures", "notes"), [
    ("-A ufw-before-input -p tcp --dport 55000 -m limit --limit 5/second -j REJECT", 1, 0),
    ("-A ufw-before-input -s 198.51.100.0/24 -j DROP", 0, 0), ("-A ufw-before-input -i eth1 -p tcp --dport 55000 -j DROP", 0, 1),
    ("-A ufw-before-input -p tcp --dport 55000 -j ACCEPT\n" + LINE, 0, 0), ("-A ufw-not-local -j DROP", 0, 0),
    ("-A ufw-before-input -m recent --set --name SCAN -j DROP", 1, 0)])
def test_a_line_of_ufws_own_files_counts_by_what_it_turns_away(ufw, line, failures, notes):
    assert tuple(map(len, ufw(before=line).obstacles([TCP]))) == (failures, notes)


def test_what_stands_behind_ufws_own_rules_is_no_obstacle_and_what_stands_before_is(ufw):
    rule = "-A INPUT -p tcp -m tcp --dport 55000 -j DROP\n"
    behind = stored("default-ufw.v4").replace("-A INPUT -j ufw-after-input\n", rule + "-A INPUT -j ufw-after-input\n")
    ahead = stored("default-ufw.v4").replace("-A INPUT -j ufw-before-logging-input\n",
                                             rule + "-A INPUT -j ufw-before-logging-input\n")
    assert ufw(v4=behind).obstacles([TCP]) == ([], []) and len(ufw(v4=ahead).obstacles([TCP])[0]) == 1


# -- the packet filters themselves

def test_nftables_and_iptables_look_beyond_their_own_chains():
    raw = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 55000 -j DROP\nCOMMIT\n"
    own = nft_tables(("inet", "site", [("entry", "input", "drop", [])]))
    for made in (nftables.Nftables(Module(ruleset(None, own), v4=raw), "bigfix"),
                 iptables.Iptables(Module(ruleset(None), v4=raw + DIRECT % "-j DROP"), "bigfix")):
        failures, notes = made.obstacles([TCP])
        assert len(failures) == 1 and "iptables -t raw PREROUTING: " in failures[0] and not notes


FLOODS = ("*filter\n:INPUT ACCEPT [0:0]\n:SYNFLOOD - [0:0]\n-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j SYNFLOOD\n"
          "-A SYNFLOOD -m limit --limit 25/sec -j RETURN\n-A SYNFLOOD -j DROP\nCOMMIT\n")


def test_what_comes_beyond_a_rate_is_no_obstacle_whether_it_is_dropped_or_the_rest_returns():
    flood = nft_tables(("inet", "site", [
        ("flood", None, None, [[{"limit": {"rate": 25, "burst": 5, "per": "second"}}, {"return": None}], [{"drop": None}]]),
        ("entry", "input", "accept", [[{"jump": {"target": "flood"}}]])]))
    assert firewalld(v4=FLOODS).obstacles([TCP]) == ([], [])
    assert firewalld(ruleset(more=flood)).obstacles([TCP]) == ([], [])


def test_a_list_of_banned_sources_costs_no_square_of_its_length():
    def read(count):
        banned = {"set": {"family": "inet", "table": "firewalld", "name": "bad", "type": "ipv4_addr", "elem": [
            "10.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255) for number in range(count)]}}
        drop = nft_tables(("inet", "site", [("entry", "input", "accept", [[match(payload("ip", "saddr"), "@bad"), DROP]])]))
        assert firewalld(ruleset(more=[banned] + drop)).obstacles(OPENINGS) == ([], [])

    eighth, whole = (growth.seconds(read, count) for count in (100000 // growth.SHARE, 100000))
    assert growth.is_a_line(eighth, whole), (eighth, whole)
