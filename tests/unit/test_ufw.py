# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ufw's rule files and chains as ufw 0.36 writes them, and the calls that change them."""

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._host_port import ufw as engine
from ansible_collections.portshift.agents.plugins.module_utils._host_port.ufw import Ufw
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import Opening, OpeningError

V4, V6 = "0.0.0.0/0", "::/0"
# Recorded of ufw 0.36.2.
SAVED = """*filter
:INPUT DROP [12:840]
:FORWARD DROP [0:0]
:ufw-user-input - [0:0]
-A ufw-before-input -j ufw-user-input
-A ufw-user-input -s 10.1.2.0/24 -p tcp -m tcp --dport 52311 -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 52311 -j ACCEPT
-A ufw-user-input -p udp -m udp --dport 52311 -j ACCEPT
-A ufw-user-input -s 10.8.8.8/32 -p tcp -m tcp --dport 55000 -j DROP
-A ufw-user-input -p udp -m udp --dport 55000 -m conntrack --ctstate NEW -m recent --set --name DEFAULT --rsource
-A ufw-user-input -p udp -m udp --dport 55000 -j ufw-user-limit-accept
-A ufw-user-input -p tcp -m multiport --dports 52311:52320 -j ACCEPT
-A ufw-user-input -i eth0 -p tcp -m tcp --dport 55000 -j ACCEPT
-A ufw-user-input -p tcp -m multiport --dports 55000,55005 -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 22 -m comment --comment "\\'dapp_OpenSSH\\'" -j ACCEPT
-A ufw-user-input -d 10.0.0.1/32 -p tcp -m tcp --dport 55000 -j ACCEPT
-A ufw-user-input -p tcp -m tcp --dport 55009 -j ufw-user-logging-input
-A ufw-user-input -p tcp -m tcp --dport 55009 -j ACCEPT
-A ufw-user-input -s 10.7.7.7/32 -j ACCEPT
COMMIT
"""


def opening(port=55000, source=None, protocol="tcp"):
    return Opening(protocol, port, source)


def rules(v4=(), v6=()):
    found = []
    for ip, lines in (("v4", v4), ("v6", v6)):
        found += engine.parse_rules("".join("### tuple ### %s\n-A x\n\n" % line for line in lines), ip)
    return found


def read(ports, v4=(), v6=(), policy="DROP"):
    return engine.permanent_reading(rules(v4, v6), ports, policy)


def allow(port, source=V4, destination=V4, protocol="tcp", end="in"):
    return "allow %s %s %s any %s %s" % (protocol, port, destination, source, end)


@pytest.mark.parametrize("v4, v6, expected", [
    ([allow(55000)], [allow(55000, V6, V6)], {opening()}), ([allow(55000)], [], {opening(source=V4)}),
    ([allow(55000, "10.1.2.0/24")], [], {opening(source="10.1.2.0/24")}),
    ([], [allow(55000, "fd00::5", V6)], {opening(source="fd00::5")}),
    ([allow(55000, "10.8.8.8", protocol="any")], [], {opening(source="10.8.8.8"), opening(source="10.8.8.8", protocol="udp")}),
    ([allow(55000, end="in comment=6f6c642073697465")], [], {opening(source=V4)}),
    (["allow_log tcp 55000 0.0.0.0/0 any 0.0.0.0/0 in"], [], {opening(source=V4)}),
    (["allow tcp 55000 0.0.0.0/0 any 0.0.0.0/0"], [], {opening(source=V4)}),
    ([allow(55000, end="in_eth0")], [], set()), ([allow(55000, end="out")], [], set()), ([allow("54000:56000")], [], set()),
    ([allow("55000,55005")], [], set()), ([allow(55000, destination="10.0.0.1")], [], set()),
    ([allow("any", "10.7.7.7")], [], set()),
    (["allow tcp 55000 0.0.0.0/0 53 0.0.0.0/0 in"], [], set()), (["deny tcp 55000 0.0.0.0/0 any 0.0.0.0/0 in"], [], set()),
    (["limit tcp 55000 0.0.0.0/0 any 0.0.0.0/0 in"], [], set()),
    (["route:allow tcp 55000 0.0.0.0/0 any 0.0.0.0/0 in"], [], set()),
    (["allow tcp 55000 0.0.0.0/0 any 0.0.0.0/0 BigFix%20Relay - in"], [], set()),
    (["allow_log-all tcp 55000 0.0.0.0/0 any 0.0.0.0/0 in"], [], set())])
def test_only_plain_allows_of_the_very_port_are_exact(v4, v6, expected):
    assert read([55000], v4, v6).exact == expected


def test_a_rule_of_several_ports_is_exact_where_all_of_them_are_meant():
    assert read([55000, 55005], [allow("55000,55005")]).exact == {opening(source=V4), opening(55005, V4)}
    assert read([1, 2, 3], [allow("1:3")]).exact == {opening(port, V4) for port in (1, 2, 3)}


@pytest.mark.parametrize("line", [
    allow("52311:52320"), allow("any", "10.7.7.7", protocol="any"), allow(52311, end="in_eth0"), allow("80,52311"),
    "allow tcp 52311 0.0.0.0/0 any 0.0.0.0/0 BigFix - in", "limit tcp 52311 0.0.0.0/0 any 0.0.0.0/0 in"])
def test_what_admits_otherwise_is_named(line):
    reading = read([52311], [line])
    assert len(reading.wider) == 1 and line in reading.wider[0]


def test_a_policy_that_accepts_is_named():
    assert "DEFAULT_INPUT_POLICY" in read([1], policy="ACCEPT").wider[0] and not read([1]).wider


def test_the_rest_does_not_move_with_the_openings_asked_about():
    others = [allow(22), allow("52311:52320"), "deny tcp 55000 0.0.0.0/0 any 10.8.8.8 in"]
    before = read([55000], others).whole
    assert read([55000], others + [allow(55000), allow(55000, "10.1.2.3")]).whole == before
    for more in (allow("1:65535"), allow("any"), allow(55001), "deny tcp 55000 0.0.0.0/0 any 10.8.8.9 in"):
        assert read([55000], others + [more]).whole != before
    assert read([55000], others[1:]).whole != before


def test_places_count_a_profile_of_several_ports_once():
    found = rules([allow(1), "allow tcp 2 0.0.0.0/0 any 0.0.0.0/0 Web - in", "allow udp 3 0.0.0.0/0 any 0.0.0.0/0 Web - in",
                   allow(4)])
    assert [rule.place for rule in found] == [1, 2, 2, 3]


def test_the_kernels_chains_are_read_alike():
    reading = engine.runtime_reading(dict(v4=SAVED), [52311, 55000, 55009])
    assert reading.exact == {opening(52311, "10.1.2.0/24"), opening(52311, V4), opening(52311, V4, "udp"), opening(55009, V4)}
    assert not any("logging" in line for line in reading.lines)
    assert any("55005" in rule for rule in reading.whole) and any("10.8.8.8" in rule for rule in reading.whole)
    assert engine.runtime_reading(dict(v4=SAVED.replace("12:840", "99:9999")), [52311, 55000, 55009]).whole == reading.whole
    without = "".join(line + "\n" for line in SAVED.splitlines() if "55009" not in line and "--dport 52311" not in line)
    assert engine.runtime_reading(dict(v4=without), [52311, 55000, 55009]).whole == reading.whole


@pytest.mark.parametrize("line", [allow(55000), allow("55000,55005", "10.1.2.3"), allow(55000, "10.1.2.0/24", protocol="any")])
def test_the_kernels_lines_are_foretold(line):
    rule = rules([line])[0]
    for foretold in engine.kernel_lines(rule):
        saved = foretold.split(": ", 1)[1]
        assert engine.runtime_reading(dict(v4=saved), [55000]).lines == [foretold]
    several = engine.kernel_lines(rules([allow("55000,55005", "10.1.2.3")])[0])[0]
    assert "-s 10.1.2.3/32 -p tcp -m multiport --dports 55000,55005 " in several


@pytest.fixture
def ufw(tmp_path, monkeypatch):
    """ufw(v4 rules, v6 rules, ipv6=, enabled=) over files of the test's own."""
    def make(v4=(), v6=(), ipv6="yes", enabled="yes", saved=None, kernel_ipv6=True):
        monkeypatch.setattr(engine, "KERNEL_IPV6", str(tmp_path if kernel_ipv6 else tmp_path / "no ipv6"))
        (tmp_path / "ufw.conf").write_text("# x\nENABLED=%s\n" % enabled)
        (tmp_path / "default").write_text('IPV6=%s\nDEFAULT_INPUT_POLICY="DROP"\n' % ipv6)
        for name, lines in (("user.rules", v4), ("user6.rules", v6)):
            (tmp_path / name).write_text("".join("### tuple ### %s\n" % line for line in lines))
        monkeypatch.setattr(engine, "SWITCH", str(tmp_path / "ufw.conf"))
        monkeypatch.setattr(engine, "DEFAULTS", str(tmp_path / "default"))
        monkeypatch.setattr(engine, "FOLDERS", (str(tmp_path),))

        class Module:
            check_mode = False

            def get_bin_path(self, name):
                return "/usr/sbin/" + name

            def run_command(self, command, **options):
                assert "sbin" in options["path_prefix"]
                ip = "v6" if command[0].startswith("ip6") else "v4"
                if saved is not None:
                    return 0, saved, ""
                return 0, ":%s-input - [0:0]\n" % engine.CHAINS[ip] + "".join(
                    line.split(": ", 1)[1] + "\n" for rule in rules(v4, v6) if rule.family == ip and rule.action == "allow"
                    for line in engine.kernel_lines(rule)), ""

        made = Ufw(Module(), "bigfix")
        return made
    return make


def arguments(calls):
    assert all(call["module"] == "community.general.ufw" for call in calls)
    return [call["args"] for call in calls]


def test_disabled_it_filters_nothing(ufw):
    assert not ufw(enabled="no").active() and ufw().active() and "ufw enable" in ufw(enabled="no").why_inactive()


def test_an_opening_for_any_address_is_one_call_with_our_mark(ufw):
    assert arguments(ufw().change([opening()], [])) == [
        dict(rule="allow", to_port="55000", proto="tcp", comment="portshift bigfix")]


def test_an_opening_with_a_source_names_the_family(ufw):
    assert arguments(ufw().change([opening(source="10.1.2.0/24"), opening(source="fd00::5")], [])) == [
        dict(rule="allow", to_port="55000", proto="tcp", comment="portshift bigfix", from_ip="10.1.2.0/24", to_ip=V4),
        dict(rule="allow", to_port="55000", proto="tcp", comment="portshift bigfix", from_ip="fd00::5", to_ip=V6)]


def test_where_ipv6_is_off_every_address_of_ipv4_is_any_address(ufw):
    found = ufw([allow(55000)], ipv6="no")
    assert opening() in found.read([55000])[1].exact and found.change([opening()], []) == []
    with pytest.raises(OpeningError, match="IPV6"):
        found.spelling(opening(source="fd00::5"))


def test_where_the_kernel_has_no_ipv6_its_chains_are_not_asked_for(ufw):
    found = ufw(kernel_ipv6=False, saved=":ufw-user-input - [0:0]\n")
    found.read([55000])
    assert found.problems([opening()]) == [] and list(found.saved) == ["v4"]
    assert found.unserved() == {6: "ufw does not serve IPv6 on this host (IPV6 in %s; the kernel has none, either)" % (
        engine.DEFAULTS)}
    assert ufw().unserved() == {} and 6 in ufw(ipv6="no").unserved()


def test_a_rule_that_goes_and_comes_back_keeps_its_place_and_comment(ufw):
    v4 = [allow(1), allow(52311, end="in comment=6f6c64"), allow(2), "allow_log any 52311 0.0.0.0/0 any 10.1.2.3 in"]
    v6 = [allow(1, V6, V6), allow(52311, V6, V6, end="in comment=6f6c64"), allow(2, V6, V6)]
    before = ufw(v4, v6)
    reading = before.read([52311])[1]
    raws = sorted({rule for spelled in reading.spelled.values() for rule in spelled})
    assert arguments(before.calls({}, dict(permanent=raws))) == [
        dict(rule="allow", to_port="52311", proto="tcp", delete=True),
        dict(rule="allow", to_port="52311", from_ip="10.1.2.3", to_ip=V4, log=True, delete=True)]
    after = ufw([v4[0], v4[2]], [v6[0], v6[2]])
    after.read([52311])
    assert arguments(after.calls(dict(permanent=raws), {})) == [
        dict(rule="allow", to_port="52311", proto="tcp", from_ip=V4, to_ip=V4, comment="old", insert=2),
        # The IPv6 rules follow the three that IPv4 has by now.
        dict(rule="allow", to_port="52311", proto="tcp", from_ip=V6, to_ip=V6, comment="old", insert=5),
        dict(rule="allow", to_port="52311", from_ip="10.1.2.3", to_ip=V4, log=True)]


@pytest.mark.parametrize("line, wanted, problem", [
    ("deny tcp 55000 0.0.0.0/0 any 0.0.0.0/0 in", opening(), True),
    ("reject any any 0.0.0.0/0 any 10.0.0.0/8 in", opening(source="10.1.2.3"), True),
    ("limit udp 55000 0.0.0.0/0 any 0.0.0.0/0 in", opening(protocol="udp"), True),
    ("limit udp 55000 0.0.0.0/0 any 0.0.0.0/0 in", opening(), False),
    ("deny tcp 50000:60000 0.0.0.0/0 any 0.0.0.0/0 in", opening(), True),
    ("deny tcp 55000 0.0.0.0/0 any 0.0.0.0/0 out", opening(), False),
    ("route:deny tcp 55000 0.0.0.0/0 any 0.0.0.0/0 in", opening(), False),
    ("deny tcp 55001 0.0.0.0/0 any 0.0.0.0/0 in", opening(), False)])
def test_a_deny_of_the_site_that_stands_before_is_a_problem(ufw, line, wanted, problem):
    found = ufw([line])
    found.read([55000])
    assert bool(found.problems([wanted])) == problem and not found.notes


def test_a_deny_for_a_few_or_on_one_interface_is_a_note(ufw):
    found = ufw(["deny tcp 55000 0.0.0.0/0 any 10.8.8.8 in", "deny tcp 55000 0.0.0.0/0 any 0.0.0.0/0 in_eth0"])
    found.read([55000])
    assert found.problems([opening()]) == [] and len(found.notes) == 2


def test_files_and_kernel_that_disagree_are_a_problem(ufw):
    found = ufw([allow(55000, "10.1.2.3")], saved=":ufw-user-input - [0:0]\n:ufw6-user-input - [0:0]\n")
    found.read([55000])
    assert "ufw reload" in found.problems([opening(source="10.1.2.3")])[0]
    gone = ufw(saved="")
    gone.read([55000])
    assert "nothing of it filters" in gone.problems([opening()])[0]


@pytest.mark.parametrize("line", ["allow tcp", allow(1, end="in comment=zz"), "a b c d e f g h i j k"])
def test_a_rule_that_is_not_understood_is_no_empty_file(line):
    with pytest.raises(OpeningError, match="user.rules"):
        rules([line])
