# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_port on real firewalld and real ufw, in systemd containers that Ansible manages, with a peer that tries to get in."""

import json
import os
import re
import time

import pytest

from tests.conftest import COLLECTIONS
from tests.integration import forked, podman_connection
from tests.integration.asking import asking
from tests.lab import containers
from tests.lab.processes import Failed

OLD, NEW = 52311, 55000
RUN = "portshift-frontends-%d" % os.getpid()
WAIT = 60

# Answers on every port given, by TCP and UDP, for as long as the container lives.
ANSWER = """
import selectors, socket, sys
ready = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    for family in (socket.AF_INET,):
        tcp = socket.socket(family, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("0.0.0.0", port))
        tcp.listen(16)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind(("0.0.0.0", port))
        ready.register(tcp, selectors.EVENT_READ, "tcp")
        ready.register(udp, selectors.EVENT_READ, "udp")
while True:
    for key, unused in ready.select():
        if key.data == "tcp":
            key.fileobj.accept()[0].close()
        else:
            data, sender = key.fileobj.recvfrom(100)
            key.fileobj.sendto(data, sender)
"""

# An ansible.posix.firewalld as bad as issue 451 of that collection: one port is asked for, all of tcp is opened.
TOO_MUCH = """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(argument_spec=dict(
    zone=dict(type="str"), port=dict(type="str"), rich_rule=dict(type="str"), protocol=dict(type="str"), state=dict(type="str"),
    permanent=dict(type="bool"), immediate=dict(type="bool")))
wanted = dict(enabled="add", disabled="remove")[module.params["state"]]
given = [(name.replace("_", "-"), module.params[name]) for name in ("port", "rich_rule", "protocol") if module.params[name]]
if wanted == "add":
    given.append(("protocol", "tcp"))
for option, value in given:
    for half in ([["--permanent"]] if module.params["permanent"] else []) + ([[]] if module.params["immediate"] else []):
        module.run_command(["firewall-cmd", "--zone=" + module.params["zone"]] + half + ["--%s-%s=%s" % (wanted, option, value)],
                           check_rc=True)
module.exit_json(changed=True)
"""


BAN = 'rule family="ipv4" source address="192.0.2.9" port port="22" protocol="tcp" reject type="icmp-port-unreachable"'
# An ansible.posix.firewalld that does what it is asked to, while fail2ban bans an address.
MEANWHILE = TOO_MUCH.replace(
    'if wanted == "add":\n    given.append(("protocol", "tcp"))\n',
    "module.run_command(['firewall-cmd', '--add-rich-rule=" + BAN + "'])\n"
    "module.run_command(['firewall-cmd', '--zone=drop', '--add-source=192.0.2.9'])\n")


# An ansible.posix.firewalld that fails on its second port, after an administrator has opened one.
FAILS = TOO_MUCH.replace(
    'if wanted == "add":\n    given.append(("protocol", "tcp"))\n',
    "if module.params['port'] == '55000/udp':\n"
    "    for half in ([], ['--permanent']):\n"
    "        module.run_command(['firewall-cmd', *half, '--add-port=8080/tcp'], check_rc=True)\n"
    "    module.fail_json(msg='no more ports')\n")

# In the place of a tool that the look after a change uses: an administrator opens 8080 once our own opening is there.
ADMIN = """#!/bin/sh
if [ -e /run/admin ] && {opened}; then
    rm /run/admin
    {opens}
fi >/dev/null 2>&1
exec {real} "$@"
"""
ADMINS = dict(
    firewalld=dict(
        tool="/usr/bin/firewall-cmd", real="/opt/real/firewall-cmd",
        opened="/opt/real/firewall-cmd -q --query-port=55000/udp && /opt/real/firewall-cmd -q --permanent --query-port=55000/udp",
        opens="/opt/real/firewall-cmd --add-port=8080/tcp; /opt/real/firewall-cmd --permanent --add-port=8080/tcp"),
    ufw=dict(
        tool="/usr/sbin/iptables-save", real="/opt/real/iptables-save", opened="grep -q 'dport 55000' /etc/ufw/user.rules",
        opens="ufw allow 8080/tcp"))
HAS_8080 = dict(
    firewalld=["sh", "-c", "firewall-cmd -q --query-port=8080/tcp && firewall-cmd -q --permanent --query-port=8080/tcp"],
    ufw=["sh", "-c", "grep -q 'dport 8080' /etc/ufw/user.rules && iptables-save | grep -q 'dport 8080'"])
CLOSE_8080 = dict(
    firewalld=["sh", "-c", "firewall-cmd --remove-port=8080/tcp; firewall-cmd --permanent --remove-port=8080/tcp"],
    ufw=["ufw", "delete", "allow", "8080/tcp"])


class Host:
    """One container with systemd in it."""

    def __init__(self, lab, name):
        self.lab, self.name, self.container = lab, name, "%s-%s" % (RUN, name)
        lab.engine.run("run", "--detach", "--name", self.container, "--hostname", name, "--label", lab.label,
                       "--network", lab.network, *(lab.engine.host_options() + [lab.image, containers.INIT]))
        self.wait("systemd", "sh", "-c", "systemctl is-system-running --wait | grep -E 'running|degraded'")
        self.address = self.run("hostname", "-I").split()[0]

    def run(self, *command, check=True):
        code, output, error = self.lab.engine.enter(self.container, *command, check=False)
        assert not check or code == 0, "%s: %s" % (" ".join(command), error.decode())
        return output.decode() if check else (code, output.decode())

    def wait(self, what, *command):
        deadline = time.monotonic() + WAIT
        while self.run(*command, check=False)[0]:
            assert time.monotonic() < deadline, "%s: no %s within %d s" % (self.name, what, WAIT)
            time.sleep(0.1)

    def answer(self, *ports):
        self.lab.engine.run("exec", "--detach", self.container, "python3", "-c", ANSWER, *map(str, ports))
        self.wait("listener", "python3", "-c", "import socket; socket.create_connection(('127.0.0.1', %d), 1)" % ports[-1])

    @property
    def variables(self):
        """Those by which Ansible manages it."""
        return podman_connection.variables(self.lab.engine, self.container, self.lab.callbacks)

    def gets_in(self, other, port):
        return other.run(*asking("python3", self.address, port)).split()

    def host_port(self, *options, collections=None, **arguments):
        """The result of the task on this host."""
        arguments.setdefault("name", "bigfix")
        done = forked.run(
            "ansible",
            ["adhoc", "-i", self.container + ",", "all", "-m", "portshift.agents.host_port",
             "-a", json.dumps(arguments), "-e", json.dumps(self.variables), *options],
            timeout=300,
            env=dict(os.environ, ANSIBLE_STDOUT_CALLBACK="portshift_result", ANSIBLE_LOAD_CALLBACK_PLUGINS="1",
                     ANSIBLE_CALLBACK_PLUGINS=str(self.lab.callbacks), ANSIBLE_PIPELINING="1",
                     ANSIBLE_COLLECTIONS_PATH=str(collections or COLLECTIONS)))
        assert done.stdout.strip(), done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])

    def opens(self, *options, **arguments):
        result = self.host_port(*options, **arguments)
        assert not result.get("failed"), result["msg"]
        return result


# What the task returned and nothing else: one line of JSON.
RESULT = """
import json
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, "stdout", "portshift_result"

    def v2_runner_on_ok(self, result):
        self._display.display(json.dumps(result._result))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._display.display(json.dumps(dict(result._result, failed=True)))

    v2_runner_on_unreachable = v2_runner_on_failed
"""


class Lab:
    def __init__(self, folder):
        self.engine = containers.Engine()
        if self.engine.name != "podman":
            raise Failed("the connection plugin of these tests is podman's, and podman does not work here")
        self.label = "%s=%s" % (containers.LABEL, RUN)
        self.network = RUN
        self.callbacks = folder
        (folder / "portshift_result.py").write_text(RESULT)
        self.image = containers.image(self.engine)
        containers.make_network(self.engine, self.network, self.label)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    if not os.path.isdir(os.path.join(COLLECTIONS, "ansible_collections", "containers", "podman")):
        pytest.skip("the collection containers.podman, through which Ansible gets into the containers, is not installed")
    try:
        made = Lab(tmp_path_factory.mktemp("callbacks"))
    except Failed as err:
        pytest.skip("no containers here: %s" % err)
    try:
        yield made
    finally:
        made.engine.remove(made.label)


@pytest.fixture(scope="module")
def peer(lab):
    return Host(lab, "peer")


@pytest.fixture(scope="module")
def firewalld(lab):
    host = Host(lab, "firewalld")
    host.run("systemctl", "disable", "--now", "ufw", check=False)
    host.run("systemctl", "enable", "--now", "firewalld")
    host.wait("firewalld", "firewall-cmd", "--state")
    host.answer(NEW, OLD)
    return host


@pytest.fixture(scope="module")
def ufw(lab):
    host = Host(lab, "ufw")
    host.run("systemctl", "disable", "--now", "firewalld", check=False)
    host.run("systemctl", "enable", "--now", "ufw")
    host.run("ufw", "--force", "enable")
    host.answer(NEW, OLD)
    return host


def fw_state(host):
    """All that firewalld holds: [live, for the next boot]"""
    both = host.run("sh", "-ec", "firewall-cmd --list-all-zones; echo --; firewall-cmd --permanent --list-all-zones")
    return both.split("\n--\n")


def ufw_state(host):
    """All that ufw holds, byte for byte, and what the kernel holds of it."""
    return host.run("sh", "-ec", "cat /etc/ufw/user.rules /etc/ufw/user6.rules; ufw show added; for tool in iptables-save "
                                 "ip6tables-save; do echo $tool; $tool | sed -n '/^-A ufw6\\?-user-input /p'; done")


def port(number, protocol="tcp", *sources):
    return dict(port=number, protocol=protocol, sources=list(sources))


BOTH = [port(NEW), port(NEW, "udp")]


def reserved(host):
    return host.run("sysctl", "-n", "net.ipv4.ip_local_reserved_ports").strip()


@pytest.fixture(params=["firewalld", "ufw"])
def front(request):
    host = request.getfixturevalue(request.param)
    return host, dict(firewalld=fw_state, ufw=ufw_state)[request.param]


def test_a_port_opens_for_any_address_and_everything_comes_back(front, peer):
    host, state = front
    before = state(host)
    assert host.gets_in(peer, NEW) == []

    foretold = host.opens("--check", "--diff", openings=BOTH)
    assert foretold["changed"] and state(host) == before and foretold["backend"] == host.name
    opened = host.opens("--diff", openings=BOTH)
    assert opened["changed"] and opened["rules"] == foretold["rules"] and opened["diff"] == foretold["diff"]
    assert opened["added"] == BOTH == foretold["added"]
    assert not [note for note in opened["notes"] if "turned away" in note or "looked at" in note]
    assert host.gets_in(peer, NEW) == ["tcp", "udp"] and host.gets_in(peer, OLD) == []
    assert reserved(host) == str(NEW) and opened["reserved"] == [NEW]
    assert host.run("stat", "-c", "%a %U", "/var/lib/portshift/bigfix.host_port.json") == "600 root\n"

    again = host.opens("--diff", openings=BOTH)
    assert not again["changed"] and again["rules"]["before"] == opened["rules"]["after"]

    restored = host.opens(state="restored")
    assert restored["changed"] and state(host) == before and restored["rules"]["after"] == opened["rules"]["before"]
    assert host.gets_in(peer, NEW) == [] and reserved(host) == ""
    assert host.run("ls", "/var/lib/portshift") == "" and not host.opens(state="restored")["changed"]


def test_only_the_sources_that_were_named_get_in(front, peer):
    host, state = front
    before = state(host)
    host.opens(openings=[port(NEW, "tcp", "192.0.2.0/24", "2001:db8::7")], reserve=False)
    assert host.gets_in(peer, NEW) == []
    more = host.opens(openings=[port(NEW, "tcp", "192.0.2.0/24", peer.address)], reserve=False)
    assert more["added"] == [port(NEW, "tcp", peer.address)]
    assert host.gets_in(peer, NEW) == ["tcp"]
    # The record of both runs is one.
    host.opens(state="restored")
    assert state(host) == before and host.gets_in(peer, NEW) == []


def test_what_was_opened_survives_a_restart_of_the_firewall(front, peer):
    host, state = front
    host.opens(openings=BOTH, reserve=False)
    for command in dict(firewalld=[["firewall-cmd", "--reload"]], ufw=[["ufw", "reload"]])[host.name]:
        host.run(*command)
    assert host.gets_in(peer, NEW) == ["tcp", "udp"]
    assert not host.opens(openings=BOTH, reserve=False)["changed"]
    host.opens(state="restored")


def test_the_old_port_closes_and_comes_back_in_firewalld_as_it_was(firewalld, peer):
    rule = 'rule family="ipv4" source address="%s/32" port port="%d" protocol="udp" log prefix="bes" level="info" accept' % (
        peer.address, OLD)
    for half in ([], ["--permanent"]):
        firewalld.run("firewall-cmd", *half, "--add-port=%d/tcp" % OLD)
        firewalld.run("firewall-cmd", *half, "--add-rich-rule=" + rule)
        firewalld.run("firewall-cmd", *half, "--add-port=52300-52310/tcp")
    # What only runs, and would be gone after a boot, comes back as that.
    firewalld.run("firewall-cmd", "--add-port=%d/udp" % NEW)
    before = fw_state(firewalld)
    assert firewalld.gets_in(peer, OLD) == ["tcp", "udp"]
    wanted = [port(OLD), port(OLD, "udp"), port(NEW, "udp")]
    foretold = firewalld.opens("--check", state="closed", openings=wanted)
    closed = firewalld.opens(state="closed", openings=wanted)
    assert closed["changed"] and closed["rules"] == foretold["rules"] and closed["rules"]["after"] == []
    assert closed["removed"] == [port(OLD), port(OLD, "udp", peer.address), port(NEW, "udp")]
    assert firewalld.gets_in(peer, OLD) == [] and not firewalld.opens(state="closed", openings=wanted)["changed"]
    firewalld.opens(state="restored")
    after = fw_state(firewalld)
    assert [sorted(text.replace(" ", "\n").split("\n")) for text in after] == [
        sorted(text.replace(" ", "\n").split("\n")) for text in before]
    assert firewalld.gets_in(peer, OLD) == ["tcp", "udp"]
    for half in ([], ["--permanent"]):
        firewalld.run("firewall-cmd", *half, "--remove-port=%d/tcp" % OLD)
        firewalld.run("firewall-cmd", *half, "--remove-rich-rule=" + rule)
        firewalld.run("firewall-cmd", *half, "--remove-port=52300-52310/tcp")
    firewalld.run("firewall-cmd", "--remove-port=%d/udp" % NEW)


def test_a_range_and_a_service_that_hold_the_port_stay_and_are_named(firewalld):
    for half in ([], ["--permanent"]):
        firewalld.run("firewall-cmd", *half, "--add-port=52300-52320/tcp")
    before = fw_state(firewalld)
    closed = firewalld.opens(state="closed", openings=[port(OLD)])
    assert not closed["changed"] and fw_state(firewalld) == before
    assert closed["left"] == ["zone public admits tcp 52300-52320 from any address, which holds 52311"]
    opened = firewalld.opens(openings=[port(OLD)], reserve=False)
    assert not opened["changed"] and any("part of something wider" in note for note in opened["notes"])
    for half in ([], ["--permanent"]):
        firewalld.run("firewall-cmd", *half, "--remove-port=52300-52320/tcp")


def test_a_deny_of_the_site_is_a_failure_that_names_it(front):
    host, state = front
    if host.name == "ufw":
        make, unmake = [["ufw", "limit", "%d/tcp" % NEW]], [["ufw", "delete", "limit", "%d/tcp" % NEW]]
        words = "limit tcp 55000"
    else:
        rule = 'rich-rule=rule port port="%d" protocol="tcp" reject' % NEW
        make, unmake = [["firewall-cmd", "--add-" + rule]], [["firewall-cmd", "--remove-" + rule]]
        words = 'port port="55000" protocol="tcp" reject'
    for command in make:
        host.run(*command)
    before = state(host)
    refused = host.host_port("--check", openings=BOTH)
    assert refused["failed"] and words in refused["msg"]
    assert host.host_port(openings=BOTH)["msg"] == refused["msg"]
    assert state(host) == before and host.run("find", "/var/lib/portshift", "-type", "f", check=False)[1] == ""
    for command in unmake:
        host.run(*command)


def test_what_is_asked_before_the_firewalls_own_rules_is_a_failure_that_names_it(front, peer):
    """A policy of firewalld and a line in ufw's before.rules, as guides to hardening have them; another table beside either."""
    host, state = front
    if host.name == "ufw":
        line = "-A ufw-before-input -p tcp --dport 50000:60000 -j DROP"
        make = [["cp", "/etc/ufw/before.rules", "/root/before.rules"],
                ["sed", "-i", "/^COMMIT/i " + line, "/etc/ufw/before.rules"],
                ["ufw", "reload"]]
        unmake = [["mv", "/root/before.rules", "/etc/ufw/before.rules"], ["ufw", "reload"]]
        words = r"/etc/ufw/before\.rules, line \d+: " + re.escape(line)
    else:
        policy = ["firewall-cmd", "--permanent", "--policy=guard"]
        make = [["firewall-cmd", "--permanent", "--new-policy=guard"], [*policy, "--add-ingress-zone=ANY"],
                [*policy, "--add-egress-zone=HOST"], [*policy, "--set-priority=-10"],
                [*policy, '--add-rich-rule=rule port port="50000-60000" protocol="tcp" reject'], ["firewall-cmd", "--reload"]]
        unmake = [["firewall-cmd", "--permanent", "--delete-policy=guard"], ["firewall-cmd", "--reload"]]
        words = r'policy "guard" of firewalld rejects .*port="50000-60000"'
    table = ["nft", "add table inet site; add chain inet site entry { type filter hook input priority -5; }; "
             "add rule inet site entry udp dport %d drop" % NEW]
    before = state(host)
    for command in [*make, table]:
        host.run(*command)
    try:
        made = state(host)
        refused = host.host_port("--check", openings=BOTH)
        assert refused["failed"] and re.search(words,
                                               refused["msg"]) and "inet site entry: udp dport 55000 drop" in refused["msg"]
        assert host.host_port(openings=BOTH)["msg"] == refused["msg"]
        assert state(host) == made and host.gets_in(peer, NEW) == []
    finally:
        for command in [*unmake, ["nft", "delete table inet site"]]:
            host.run(*command)
    assert state(host) == before


def test_a_zone_that_is_not_there_is_refused_with_those_that_are(firewalld):
    refused = firewalld.host_port(openings=BOTH, zone="dmz2")
    assert refused["failed"] and "no zone dmz2" in refused["msg"] and "public, trusted" in refused["msg"]


def test_a_backend_that_does_not_filter_here_is_refused(front):
    host, unused = front
    other = dict(firewalld="ufw", ufw="firewalld")[host.name]
    refused = host.host_port(openings=BOTH, backend=other)
    assert refused["failed"] and "%s was asked for" % other in refused["msg"]


def test_the_old_port_closes_and_comes_back_in_ufw_byte_for_byte(ufw, peer):
    made = [["allow", "22/tcp"], ["allow", str(OLD), "comment", "old site"], ["allow", "from", "192.0.2.0/24"],
            ["allow", "log", "proto", "udp", "from", peer.address, "to", "any", "port", str(OLD)],
            ["allow", "proto", "tcp", "from", "2001:db8::/64", "to", "any", "port", str(OLD)], ["allow", "OpenSSH"],
            ["allow", "52300:52320/udp"], ["deny", "proto", "tcp", "from", "198.51.100.7", "to", "any", "port", str(OLD)]]
    for rule in made:
        ufw.run("ufw", *rule)
    before = ufw_state(ufw)
    assert ufw.gets_in(peer, OLD) == ["tcp", "udp"]
    wanted = [port(OLD), port(OLD, "udp")]
    foretold = ufw.opens("--check", state="closed", openings=wanted)
    assert ufw_state(ufw) == before
    closed = ufw.opens(state="closed", openings=wanted)
    assert closed["rules"] == foretold["rules"] and closed["removed"] == foretold["removed"]
    assert any("52300:52320" in sentence for sentence in closed["left"]) and ufw.gets_in(peer, OLD) == ["udp"]
    assert not ufw.opens(state="closed", openings=wanted)["changed"]
    ufw.opens(state="restored")
    assert ufw_state(ufw) == before and ufw.gets_in(peer, OLD) == ["tcp", "udp"]
    for rule in made:
        ufw.run("ufw", "delete", *[word for word in rule if word not in ("comment", "old site")])


def link_collections(folder, *names):
    (folder / "ansible_collections").mkdir()
    for name in names:
        (folder / "ansible_collections" / name).symlink_to(os.path.join(COLLECTIONS, "ansible_collections", name))
    return folder


def test_more_than_was_asked_for_is_undone_and_both_are_named(firewalld, peer, tmp_path):
    collections = link_collections(tmp_path, "portshift", "containers")
    modules = collections / "ansible_collections" / "ansible" / "posix" / "plugins" / "modules"
    modules.mkdir(parents=True)
    (modules / "firewalld.py").write_text(TOO_MUCH)
    before = fw_state(firewalld)
    failed = firewalld.host_port(openings=[port(NEW)], reserve=False, collections=collections)
    assert failed["failed"] and "to be opened tcp 55000 from any address" in failed["msg"]
    assert "rules that were not asked for: public: protocol tcp" in failed["msg"] and "It was undone" in failed["msg"]
    assert not failed["changed"] and fw_state(firewalld) == before and firewalld.gets_in(peer, NEW) == []
    assert firewalld.run("find", "/var/lib/portshift", "-type", "f") == ""


def test_a_ban_that_comes_meanwhile_is_no_obstacle_and_stays(firewalld, peer, tmp_path):
    collections = link_collections(tmp_path, "portshift", "containers")
    modules = collections / "ansible_collections" / "ansible" / "posix" / "plugins" / "modules"
    modules.mkdir(parents=True)
    (modules / "firewalld.py").write_text(MEANWHILE)
    before = fw_state(firewalld)
    try:
        done = firewalld.opens(openings=[port(NEW)], reserve=False, collections=collections)
        assert done["changed"] and firewalld.gets_in(peer, NEW) == ["tcp"]
        firewalld.opens(state="restored")
        assert "192.0.2.9" in firewalld.run("firewall-cmd", "--list-rich-rules")
        assert firewalld.run("firewall-cmd", "--zone=drop", "--list-sources") == "192.0.2.9\n"
    finally:
        firewalld.run("firewall-cmd", "--remove-rich-rule=" + BAN, check=False)
        firewalld.run("firewall-cmd", "--zone=drop", "--remove-source=192.0.2.9", check=False)
    assert fw_state(firewalld) == before


@pytest.fixture
def admin(front):
    """The host of `front`, where 8080 is opened between our change and our second look."""
    host, unused = front
    said = ADMINS[host.name]
    host.run("sh", "-c", "mkdir -p /opt/real && mv %(tool)s %(real)s && cat >%(tool)s <<'END' && chmod 755 %(tool)s && touch "
                         "/run/admin\n%(text)sEND" % dict(said, text=ADMIN.format(**said)))
    yield host
    host.run("sh", "-c", "mv %(real)s %(tool)s; rm -f /run/admin" % said)
    host.run(*CLOSE_8080[host.name], check=False)


def test_what_an_administrator_opens_meanwhile_stays_and_is_a_note(admin, front, peer):
    host, state = front
    before = state(host)
    opened = host.opens(openings=BOTH)
    assert opened["changed"] and opened["added"] == BOTH and host.gets_in(peer, NEW) == ["tcp", "udp"]
    assert host.run("ls", "/run/admin", check=False)[0] and not host.run(*HAS_8080[host.name], check=False)[0]
    [note] = [note for note in opened["notes"] if "was changed by others meanwhile, which stays: new in its" in note]
    assert "8080" in note and reserved(host) == str(NEW)
    assert host.run("ls", "/var/lib/portshift") == "bigfix.host_port.json\n"

    # The way back leaves it, too.
    host.opens(state="restored")
    assert not host.run(*HAS_8080[host.name], check=False)[0] and host.gets_in(peer, NEW) == [] and reserved(host) == ""
    host.run(*CLOSE_8080[host.name])
    assert state(host) == before and host.run("ls", "/var/lib/portshift") == ""


def test_a_call_that_fails_half_way_takes_back_its_own_alone(firewalld, peer, tmp_path):
    collections = link_collections(tmp_path, "portshift", "containers")
    modules = collections / "ansible_collections" / "ansible" / "posix" / "plugins" / "modules"
    modules.mkdir(parents=True)
    (modules / "firewalld.py").write_text(FAILS)
    before = fw_state(firewalld)
    failed = firewalld.host_port(openings=BOTH, reserve=False, collections=collections)
    assert failed["failed"] and "no more ports" in failed["msg"] and "It was undone" in failed["msg"] and not failed["changed"]
    assert "but for this: firewalld was changed by others meanwhile" in failed["msg"] and "port 8080/tcp" in failed["msg"]
    assert not firewalld.run(*HAS_8080["firewalld"], check=False)[0] and firewalld.gets_in(peer, NEW) == []
    firewalld.run(*CLOSE_8080["firewalld"])
    assert fw_state(firewalld) == before and firewalld.run("ls", "/var/lib/portshift") == ""


PRODUCTS = dict(bigfix=BOTH, boks=[port(number) for number in range(6530, 6534)])


def at_once(host, tmp_path, verb):
    """What two runs of ansible-playbook say, one for each product, that begin in the same moment."""
    running = {}
    for product, openings in PRODUCTS.items():
        (tmp_path / (product + ".json")).write_text(json.dumps([dict(
            hosts="all", gather_facts=False, tasks=[{"ansible.builtin.include_role": dict(
                name="portshift.agents.host_port", tasks_from=verb), "vars": dict(
                    host_port_name=product, host_port_openings=openings)}])]))
        running[product] = forked.begin(
            "ansible",
            ["playbook", "-v", "-i", host.container + ",", "-e", json.dumps(host.variables), tmp_path / (product + ".json")],
            env=dict(os.environ, ANSIBLE_PIPELINING="true"), merged=True)
    return {product: (process.communicate()[0], process.returncode) for product, process in running.items()}


def test_two_products_at_once_both_open_their_ports_and_both_go_back(front, peer, tmp_path):
    host, state = front
    before = state(host)
    # So that the ports of both have to be reserved.
    span = host.run("sysctl", "-n", "net.ipv4.ip_local_port_range").split()
    host.run("sysctl", "-w", "net.ipv4.ip_local_port_range=1024 65535")
    try:
        for product, (said, code) in at_once(host, tmp_path, "main").items():
            assert code == 0, "%s: %s" % (product, said)
        assert reserved(host) == "6530-6533,55000"
        kept = host.run("cat", "/etc/sysctl.d/99-zz-portshift.conf")
        assert re.search(r"ip_local_reserved_ports *= *6530-6533,55000$", kept, re.M), kept
        for product, openings in PRODUCTS.items():
            looked = host.opens("--check", name=product, openings=openings)
            assert not looked["changed"] and looked["rules"]["after"]
        assert host.gets_in(peer, NEW) == ["tcp", "udp"]
        assert sorted(host.run("ls", "/var/lib/portshift").split()) == ["bigfix.host_port.json", "boks.host_port.json"]
        for product, (said, code) in at_once(host, tmp_path, "rollback").items():
            assert code == 0, "%s: %s" % (product, said)
        assert state(host) == before and reserved(host) == "" and host.run("ls", "/var/lib/portshift") == ""
        assert host.run("ls", "/etc/sysctl.d/99-zz-portshift.conf", check=False)[0]
    finally:
        host.run("sysctl", "-w", "net.ipv4.ip_local_port_range=" + " ".join(span))


STOP = dict(firewalld=["systemctl", "stop", "firewalld"], ufw=["ufw", "disable"])
START = dict(firewalld=["systemctl", "start", "firewalld"], ufw=["ufw", "--force", "enable"])


def test_a_host_whose_firewall_was_stopped_since_goes_back_with_the_others(front, peer):
    host, state = front
    before = state(host)
    host.opens(openings=BOTH)
    host.run(*STOP[host.name])
    try:
        reopened = host.opens(state="reopened")
        assert not reopened["changed"] and reopened["backend"] == "none"
        foretold = host.opens("--check", state="restored")
        restored = host.opens(state="restored")
        assert restored["changed"] and restored["removed"] == foretold["removed"] == BOTH and restored["backend"] == host.name
        assert "%s does not filter on this host now" % host.name in restored["notes"][0] and reserved(host) == ""
        assert not host.opens(state="restored")["changed"] and host.run("ls", "/var/lib/portshift") == ""
    finally:
        host.run(*START[host.name])
    assert state(host) == before and host.gets_in(peer, NEW) == []


def test_what_was_closed_comes_back_with_the_firewall_that_was_stopped_since(front, peer):
    host, state = front
    make, unmake = dict(
        firewalld=([["firewall-cmd", *half, "--add-port=%d/tcp" % OLD] for half in ([], ["--permanent"])],
                   [["firewall-cmd", *half, "--remove-port=%d/tcp" % OLD] for half in ([], ["--permanent"])]),
        ufw=([["ufw", "allow", "%d/tcp" % OLD]], [["ufw", "delete", "allow", "%d/tcp" % OLD]]))[host.name]
    for command in make:
        host.run(*command)
    before = state(host)
    host.opens(state="closed", openings=[port(OLD)])
    host.run(*STOP[host.name])
    try:
        assert host.opens(state="reopened")["added"] == [port(OLD)]
    finally:
        host.run(*START[host.name])
    assert state(host) == before and host.gets_in(peer, OLD) == ["tcp"]
    for command in unmake:
        host.run(*command)


def test_a_firewall_that_filters_on_without_its_daemon_is_a_failure_that_names_it(firewalld):
    firewalld.run("systemctl", "kill", "--signal=KILL", "firewalld")
    firewalld.wait("end of firewalld", "sh", "-c", "! firewall-cmd --state")
    try:
        refused = firewalld.host_port(openings=BOTH)
        assert refused["failed"] and "firewalld does not answer" in refused["msg"]
    finally:
        firewalld.run("systemctl", "reset-failed", "firewalld", check=False)
        firewalld.run("systemctl", "restart", "firewalld")
    assert firewalld.run("firewall-cmd", "--state") == "running\n"


def test_a_missing_collection_is_named_and_nothing_is_changed(front, tmp_path):
    host, state = front
    needed = dict(firewalld="ansible.posix", ufw="community.general")[host.name]
    collections = link_collections(tmp_path, "portshift", "containers")
    before = state(host)
    for options in (["--check"], []):
        refused = host.host_port(*options, openings=BOTH, reserve=False, collections=collections)
        assert refused["failed"] and "ansible-galaxy collection install " + needed in refused["msg"]
    assert state(host) == before and host.run("find", "/var/lib/portshift", "-type", "f", check=False)[1] == ""


def role(verb, **variables):
    return dict(name=verb, vars=dict(host_port_name="bigfix", host_port_reserve=False, **variables),
                **{"ansible.builtin.include_role": dict(name="portshift.agents.host_port", tasks_from=verb)})


def test_the_role_opens_proves_shuts_and_goes_back(ufw, peer, run_playbook):
    inventory = dict(all=dict(hosts={ufw.container: ufw.variables}))

    def play(*tasks):
        return run_playbook([dict(hosts="all", gather_facts=False, tasks=list(tasks))], inventory)

    before = ufw_state(ufw)
    done = play(role("main", host_port_openings=BOTH), {"ansible.builtin.assert": dict(that=[
        "host_port_assessment.added | length == 2", "host_port_applied is changed", "not host_port_verification.changed"])})
    assert done.returncode == 0, done.stdout
    assert ufw.gets_in(peer, NEW) == ["tcp", "udp"]

    done = play(role("close", host_port_closings=BOTH), role("assess", host_port_openings=BOTH), role("precheck"),
                role("verify", host_port_openings=BOTH))
    assert done.returncode and "host_port : Verify that the ports are usable" in done.stdout
    assert ufw.gets_in(peer, NEW) == []

    assert play(role("rollback")).returncode == 0 and ufw_state(ufw) == before

    ufw.run("ufw", "deny", "%d/tcp" % NEW)
    refused = play(role("main", host_port_openings=BOTH))
    assert refused.returncode and "%s: nothing was changed." % ufw.container in refused.stdout and "deny tcp" in refused.stdout
    ufw.run("ufw", "delete", "deny", "%d/tcp" % NEW)
    assert ufw_state(ufw) == before
