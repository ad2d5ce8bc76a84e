# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What firewalld says, in the words of its own tools (versions 0.9 to 2), and the calls that change it."""

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._host_port import firewalld as engine
from ansible_collections.portshift.agents.plugins.module_utils._host_port.firewalld import Firewalld, ZoneReader, parse_zones
from ansible_collections.portshift.agents.plugins.module_utils._host_port.openings import Opening, OpeningError

# As firewalld 1.3.3 prints it.
ZONES = """\
drop
  target: DROP
  icmp-block-inversion: no
  interfaces: 
  sources: 
  services: 
  ports: 
  protocols: 
  forward: yes
  masquerade: no
  forward-ports: 
  source-ports: 
  icmp-blocks: 
  rich rules: 

public (default, active)
  target: %(target)s
  icmp-block-inversion: no
  interfaces: %(interfaces)s
  sources: 
  services: %(services)s
  ports: %(ports)s
  protocols: %(protocols)s
  forward: yes
  masquerade: no
  forward-ports: 
\tport=80:proto=tcp:toport=8080:toaddr=
\tport=81:proto=tcp:toport=8080:toaddr=
  source-ports: 
  icmp-blocks: 
  rich rules: %(rich)s

trusted (active)
  target: ACCEPT
  icmp-block-inversion: no
  interfaces: eth1
  sources: 10.9.9.0/24
  services: 
  ports: 
  protocols: 
  rich rules: 
"""  # noqa: W291
RICH = 'rule family="ipv4" source address="10.1.2.0/24" port port="55000" protocol="tcp" accept'


def zones(ports="", rich=(), services="ssh", protocols="", target="default", interfaces="eth0"):
    return ZONES % dict(ports=ports, rich="".join("\n\t" + rule for rule in rich), services=services, protocols=protocols,
                        target=target, interfaces=interfaces)


def services(name):
    return {"bes": [("tcp", (52311, 52311)), ("udp", (52311, 52311))], "http": [("tcp", (80, 80))]}.get(name, [])


def read(wanted, **zone):
    return ZoneReader(parse_zones(zones(**zone))["public"], wanted, services).reading()


def opening(port=55000, source=None, protocol="tcp"):
    return Opening(protocol, port, source)


@pytest.mark.parametrize("zone, expected", [
    (dict(ports="55000/tcp"), {opening()}),
    (dict(ports="55000/tcp 55000/udp 22/tcp"), {opening(), opening(protocol="udp")}),
    (dict(rich=[RICH]), {opening(source="10.1.2.0/24")}),
    (dict(rich=['rule port port="55000" protocol="tcp" accept']), {opening()}),
    (dict(rich=['rule family="ipv4" port port="55000" protocol="tcp" accept']), {opening(source="0.0.0.0/0")}),
    (dict(rich=['rule family="ipv%d" port port="55000" protocol="tcp" accept' % ip for ip in (4, 6)]), {opening()}),
    (dict(rich=['rule family="ipv6" source address="FD00::5/128" port port="55000" protocol="tcp" log prefix="a b" level="info" '
                'limit value="3/m" accept']), {opening(source="fd00::5")}),
    (dict(ports="54000-56000/tcp"), set()), (dict(ports="55000/sctp"), set()),
    (dict(rich=['rule family="ipv4" source NOT address="10.1.2.3" port port="55000" protocol="tcp" accept']), set()),
    (dict(rich=['rule family="ipv4" source ipset="agents" port port="55000" protocol="tcp" accept']), set()),
    (dict(rich=['rule port port="55000" protocol="tcp" accept limit value="2/m"']), set()),
    (dict(rich=['rule family="ipv4" destination address="10.1.2.3" port port="55000" protocol="tcp" accept']), set()),
    (dict(rich=['rule port port="55000" protocol="tcp" reject']), set())])
def test_only_plain_accepts_of_the_very_port_are_exact(zone, expected):
    assert read([55000], **zone).exact == expected


def test_a_range_counts_as_exact_only_where_every_port_of_it_is_meant():
    joined = read([55000, 55001], ports="55000-55001/tcp")
    assert joined.exact == {opening(55000), opening(55001)} and not joined.covered
    part = read([55000], ports="55000-55001/tcp")
    assert not part.exact and part.covered == {opening(55000)}
    assert part.wider == ["zone public admits tcp 55000-55001 from any address, which holds 55000"]


@pytest.mark.parametrize("zone, words", [
    (dict(services="bes"), "the service bes, which holds tcp 52311"), (dict(protocols="tcp"), "all of tcp"),
    (dict(target="ACCEPT"), "target ACCEPT"), (dict(rich=['rule family="ipv4" source address="10.1.2.3" accept']), "10.1.2.3"),
    (dict(rich=['rule service name="bes" accept']), 'name="bes"'), (dict(ports="1-65535/tcp"), "1-65535"),
    (dict(rich=['rule port port="52000-53000" protocol="tcp" accept']), "52000-53000")])
def test_what_admits_more_than_the_port_is_named(zone, words):
    assert any(words in sentence for sentence in read([52311], **zone).wider)


def test_the_rest_of_the_configuration_does_not_move_with_the_openings_asked_about():
    before = read([55000], ports="22/tcp 54000-54999/tcp 55001-56000/tcp", rich=[])
    after = read([55000], ports="22/tcp 54000-56000/tcp", rich=[RICH])
    assert before.whole == after.whole
    for other in (dict(ports="22/tcp 1-65535/tcp"), dict(ports="22/tcp 54000-56000/tcp", protocols="tcp"),
                  dict(ports="22/tcp 54000-56000/tcp", services="ssh http"), dict(ports="54000-56000/tcp"),
                  dict(ports="22/tcp 54000-56000/tcp", rich=['rule family="ipv4" source address="10.1.2.3" accept'])):
        assert read([55000], **other).whole != before.whole


def test_rules_that_only_touch_the_neighbours_are_not_shown():
    assert read([55000], ports="22/tcp 55000/tcp", services="bes", rich=[
        RICH, 'rule port port="22" protocol="tcp" accept']).lines == ["public: port 55000/tcp", "public: rich-rule " + RICH]


@pytest.mark.parametrize("ports, away, expected", [
    ([(1, 10)], [5], [(1, 4), (6, 10)]), ([(5, 5)], [5], []), ([(1, 4), (5, 9)], [], [(1, 9)]),
    ([(1, 10), (3, 5)], [10], [(1, 9)]), ([], [5], [])])
def test_spans_are_joined_and_ports_taken_out(ports, away, expected):
    assert engine.without(ports, away) == expected


class Command:
    """Answers firewall-cmd with what was recorded of it."""

    offline = None
    # What busctl prints, by method; None: it is not there.
    bus = None

    def __init__(self, runtime=None, permanent=None, running=True, panic=False):
        self.answers = {("--get-default-zone",): "public\n", ("--list-all-zones",): runtime or zones(),
                        ("--permanent", "--list-all-zones"): permanent or runtime or zones()}
        self.running, self.panic, self.check_mode, self.changes, self.commands = running, panic, False, [], []

    def get_bin_path(self, name):
        return "/usr/bin/" + name if name == "firewall-cmd" or name == "busctl" and self.bus else None

    def run_command(self, command, **options):
        assert "sbin" in options["path_prefix"] and not options["handle_exceptions"]
        self.commands.append(command)
        if command[0] == "busctl":
            assert "--auto-start=no" in command
            said = (self.bus or {}).get(command[-1]) if self.running else None
            return (1, "", "Call failed: The name is not activatable\n") if said is None else (0, said, "")
        if command[0] == "firewall-offline-cmd":
            if self.offline is None:
                raise FileNotFoundError(2, "No such file or directory")
            if command[1].startswith("--zone="):
                self.changes.append(command[1:])
            return 0, "public\n" if command[1:] == ["--get-default-zone"] else self.offline, ""
        if not self.running:
            return 252, "", "FirewallD is not running\n"
        if command[1:] == ["--query-panic"]:
            return (0, "yes\n", "") if self.panic else (1, "no\n", "")
        return 0, self.answers[tuple(command[1:])], ""


def firewalld(zone=None, **answers):
    found = Firewalld(Command(**answers), "bigfix", zone)
    assert found.active()
    found.read([55000])
    return found


def test_a_daemon_that_does_not_answer_filters_nothing():
    offline = Firewalld(Command(running=False), "bigfix")
    assert not offline.active() and "systemctl start firewalld" in offline.why_inactive()


def test_while_the_daemon_does_not_run_its_files_are_read_and_changed():
    stopped = Firewalld(Command(running=False), "bigfix", "public")
    stopped.while_stopped()
    with pytest.raises(OpeningError, match="daemon does not answer, and firewall-offline-cmd.*can't be run"):
        stopped.read([55000])
    stopped.module.offline = zones(ports="55000/tcp", rich=[RICH])
    runtime, permanent = stopped.read([55000])
    assert not runtime.exact and permanent.exact == {opening(), opening(source="10.1.2.0/24")} and not stopped.notes
    gone, back = ["public: port 55000/tcp"], ["public: rich-rule " + RICH]
    stopped.module.check_mode = True
    assert stopped.calls(dict(permanent=back), dict(permanent=gone)) == [] and stopped.module.changes == []
    stopped.module.check_mode = False
    assert stopped.calls(dict(permanent=back), dict(permanent=gone)) == [] and stopped.module.changes == [
        ["--zone=public", "--remove-port=55000/tcp"], ["--zone=public", "--add-rich-rule=" + RICH]]


BANS = ['rule family="ipv4" source address="192.0.2.9" port port="22" protocol="tcp" reject type="icmp-port-unreachable"',
        'rule family="ipv4" source address="192.0.2.8" drop']


def test_bans_that_come_and_go_while_it_runs_are_no_difference_but_those_of_the_files_are():
    quiet, banned = firewalld(runtime=zones(), permanent=zones()), firewalld(
        runtime=zones(rich=BANS).replace("sources: 10.9.9.0/24", "sources: 10.9.9.0/24 192.0.2.9"), permanent=zones())
    assert [reading.whole for reading in quiet.read([55000])] == [reading.whole for reading in banned.read([55000])]
    admitting = firewalld(runtime=zones(rich=['rule family="ipv4" source address="192.0.2.9" accept']), permanent=zones())
    assert admitting.read([55000])[0].whole != quiet.read([55000])[0].whole
    assert firewalld(runtime=zones(), permanent=zones(rich=BANS)).read([55000])[1].whole != quiet.read([55000])[1].whole


@pytest.mark.parametrize("rule, written", [
    ("public: protocol tcp", True), ("public: service http", True), ("public: port 1-65535/tcp", True),
    ('public: rich-rule rule family="ipv4" source address="192.0.2.9" log prefix="drop it" accept', True),
    ("public: rich-rule " + BANS[0], False), ("public: rich-rule " + BANS[1], False), ("public: source 192.0.2.9", False),
    ("public: masquerade yes", False)])
def test_only_what_admits_traffic_is_taken_back_for_others(rule, written):
    assert firewalld().can_write(rule) == written


def test_an_unknown_zone_is_refused_with_those_that_there_are():
    with pytest.raises(OpeningError, match="no zone nope.*drop, public, trusted"):
        firewalld(zone="nope")


@pytest.mark.parametrize("panic", [False, True])
def test_what_the_bus_tells_is_not_asked_of_firewall_cmd_again(panic):
    command = Command(panic=not panic)
    command.bus = dict(getDefaultZone='s "trusted"\n', queryPanicMode="b %s\n" % str(panic).lower())
    found = Firewalld(command, "bigfix")
    assert found.active() and found.default == "trusted"
    found.read([55000])
    assert found.zone == "trusted" and any("--panic-off" in sentence for sentence in found.problems([])) == panic
    assert [words[1:] for words in command.commands if words[0] == "firewall-cmd"] == [
        ["--list-all-zones"], ["--permanent", "--list-all-zones"]]


@pytest.mark.parametrize("zone, panic", [
    (None, None), ("", ""), ('s ""\n', "b maybe\n"), ("b true\n", 's "no"\n'), ('s "two words"\n', "b true\nb false\n")])
def test_what_the_bus_does_not_tell_firewall_cmd_is_asked_for(zone, panic):
    command = Command(panic=True)
    command.bus = dict(getDefaultZone=zone, queryPanicMode=panic)
    found = Firewalld(command, "bigfix")
    # A truth value for the zone is no name of one.
    assert found.active() and found.default == "public"
    found.read([55000])
    assert any("--panic-off" in sentence for sentence in found.problems([]))


def test_a_daemon_that_is_not_on_the_bus_filters_nothing():
    command = Command(running=False)
    command.bus = dict(getDefaultZone='s "public"\n')
    assert not Firewalld(command, "bigfix").active()


def test_panic_mode_is_a_problem():
    assert any("--panic-off" in sentence for sentence in firewalld(panic=True).problems([opening()]))


@pytest.mark.parametrize("tables, lost", [("table inet firewalld\n", False), ("table inet other\n", True), ("", True)])
def test_rules_that_others_have_flushed_from_the_kernel_are_a_problem(tables, lost, tmp_path, monkeypatch):
    (tmp_path / "firewalld.conf").write_text("# x\nFirewallBackend=nftables\n")
    monkeypatch.setattr(engine, "CONFIGURATION", str(tmp_path / "firewalld.conf"))
    found = firewalld()
    monkeypatch.setattr(found.module, "get_bin_path", lambda name: "/usr/sbin/" + name)
    found.module.answers[("list", "tables")] = tables
    assert any("firewall-cmd --reload" in sentence for sentence in found.problems([opening()])) == lost


@pytest.mark.parametrize("rule, source, problem", [
    ('rule port port="55000" protocol="tcp" reject', None, True), ('rule port port="55000" protocol="udp" reject', None, False),
    ('rule family="ipv4" source address="10.0.0.0/8" drop', "10.1.2.3", True),
    ('rule family="ipv4" source address="10.0.0.0/8" drop', "192.0.2.1", False),
    ('rule priority="100" port port="55000" protocol="tcp" drop', None, False),
    ('rule priority="-1" port port="50000-60000" protocol="tcp" drop', None, True),
    ('rule icmp-type name="echo-request" drop', None, False)])
def test_a_deny_of_the_site_that_would_win_is_a_problem(rule, source, problem):
    found = firewalld(runtime=zones(rich=[rule]))
    assert bool(found.problems([opening(source=source)])) == problem


def test_a_deny_for_a_few_is_a_note():
    found = firewalld(runtime=zones(rich=['rule family="ipv4" source address="10.1.2.3" port port="55000" protocol="tcp" drop']))
    assert found.problems([opening()]) == [] and any("a part of" in note for note in found.notes)


def test_other_zones_are_named_with_what_leads_there():
    assert any("trusted (eth1, 10.9.9.0/24)" in note for note in firewalld().notes)
    assert any("admits no source" in note for note in firewalld(zone="drop").notes)


def test_openings_become_plain_ports_and_rich_rules():
    wanted = [opening(), opening(source="10.1.2.0/24"), opening(source="fd00::5"), opening(source="0.0.0.0/0")]
    calls = firewalld().change(wanted, [])
    assert all(call["module"] == "ansible.posix.firewalld" and call["args"]["zone"] == "public" and call["args"]["permanent"]
               and call["args"]["immediate"] and call["args"]["state"] == "enabled" for call in calls)
    assert {call["args"].get("port") or call["args"]["rich_rule"] for call in calls} == {
        "55000/tcp", RICH, 'rule family="ipv6" source address="fd00::5" port port="55000" protocol="tcp" accept',
        'rule family="ipv4" port port="55000" protocol="tcp" accept'}


def test_only_the_half_that_differs_is_changed():
    calls = firewalld(runtime=zones(ports="55000/tcp"), permanent=zones()).change([opening()], [])
    assert [(call["args"]["permanent"], call["args"]["immediate"]) for call in calls] == [(True, False)]


def test_a_rule_goes_in_the_very_spelling_that_it_has():
    rule = 'rule family="ipv4" source address="10.1.2.3/32" port port="55000" protocol="tcp" log prefix="bes" accept'
    calls = firewalld(runtime=zones(rich=[rule])).change([], [opening(source="10.1.2.3")])
    assert [(call["args"]["rich_rule"], call["args"]["state"]) for call in calls] == [(rule, "disabled")]


def test_output_that_is_not_understood_is_no_empty_zone():
    with pytest.raises(OpeningError, match="not understood"):
        parse_zones("Error: COMMAND_FAILED somewhere\n")


def test_a_service_and_what_it_includes_is_read_from_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SERVICE_FOLDERS", (str(tmp_path / "site"), str(tmp_path / "own")))
    for folder in ("site", "own"):
        (tmp_path / folder).mkdir()
    (tmp_path / "own" / "bes.xml").write_text('<service><port protocol="tcp" port="1"/></service>')
    (tmp_path / "site" / "bes.xml").write_text(
        '<service><port protocol="tcp" port="52311"/><include service="more"/><include service="bes"/></service>')
    (tmp_path / "own" / "more.xml").write_text(
        '<service><port protocol="udp" port="52000-53000"/><port protocol="ah"/></service>')
    found = Firewalld(Command(), "bigfix")
    assert found.service_ports("bes") == [("tcp", (52311, 52311)), ("udp", (52000, 53000))]
    assert found.service_ports("unknown") == []
    (tmp_path / "own" / "more.xml").write_text("<service>")
    with pytest.raises(OpeningError, match="more.xml"):
        found.service_ports("more")
