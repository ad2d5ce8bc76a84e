# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""boks_info and boks_evidence on real files, sockets and processes, and on a host whose lookup does not ask the file."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._boks.evidence import BoksEvidence
from ansible_collections.portshift.agents.plugins.module_utils._boks.host import BoksHost, run_bounded
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import LOG_TAIL
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._boks import look
from ansible_collections.portshift.agents.tests.unit import growth
from tests.integration import direct_module
from tests.integration.ports import own_addresses

OLD, NEW = 16500, 16530
ADDRESS, OTHER, UNUSED = own_addresses(3)
PATIENCE = 30

DEBIAN = "ssh\t\t22/tcp\t\t\t\t# SSH Remote Login Protocol\nntp\t\t123/udp\n"
REDHAT = """\
ssh             22/tcp
boks            16500/tcp               # BoKS Master
boks            16500/udp               # BoKS Master
boks_servc      16501/tcp boks-servc    # BoKS Servc
boks_clntd      16503/tcp               # BoKS Clntd
"""

# Listens at ADDRESS PORT/PROTOCOL ... and says when it does.
DAEMON = """
import socket, sys, time
held = []
for word in sys.argv[2:]:
    port, protocol = word.split("/")
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    one = socket.socket(socket.AF_INET, kind)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((sys.argv[1], int(port)))
    if protocol == "tcp":
        one.listen(16)
    held.append(one)
print("up", flush=True)
time.sleep(600)
"""


class Host:
    """A host as two files, a record, and processes that listen at an address of its own."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.services, self.env, self.record = folder / "services", folder / "ENV", folder / "state" / "boks.json"
        self.errlog = folder / "boks_errlog"
        self.services.write_text(REDHAT)
        self.env.write_text("# Settings of BoKS\n")

    def arguments(self, more):
        found = dict(services_path=str(self.services), env_path=str(self.env), record=str(self.record), bind_address=ADDRESS,
                     _ansible_remote_tmp=str(self.folder))
        return dict(found, **more)

    def start(self, *ports, address=ADDRESS, product=True):
        """A process that listens; `product`: one of BoKS, by where its program lies."""
        place = self.folder / ("opt/boksm/lib" if product else "opt/else")
        place.mkdir(parents=True, exist_ok=True)
        program = place / "daemon.py"
        program.write_text(DAEMON)
        process = subprocess.Popen([sys.executable, str(program), address, *ports], stdout=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL)
        self.processes.append(process)
        assert process.stdout.readline() == b"up\n"
        return process

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()

    def content(self):
        return {str(path): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}

    def changed(self, old=OLD, new=NEW):
        """The services database goes from one base to the other, as a migration does it."""
        before = self.services.read_bytes()
        after = before.replace(str(old).encode(), str(new).encode())
        ChangeRecord(str(self.record), old, new, "test").before_write(str(self.services), before, after)
        self.services.write_bytes(after)

    def run(self, name, prefix=(), **more):
        done = direct_module.run(name, self.arguments(more), prefix, timeout=60)
        return direct_module.result(done.stdout, done.stderr)

    def info(self, **more):
        before = self.content()
        found = self.run("boks_info", **more)
        assert self.content() == before
        assert found["changed"] is False and found["ok"] == (not found["problems"])
        return found

    def evidence(self, **more):
        return self.run("boks_evidence", **dict(dict(base_port=NEW, role="agent", timeout=0, settle=0), **more))


@pytest.fixture
def host(tmp_path):
    found = Host(tmp_path)
    yield found
    found.stop()


# --- the filter, in a play ---

def test_the_filter_makes_openings_of_what_a_role_listens_on(run_playbook):
    openings = ("{{ '6530' | portshift.agents.boks_ports('replica') | selectattr('movable') | map('dict2items') "
                "| map('selectattr', 'key', 'in', ['port', 'protocol']) | map('items2dict') }}")
    expected = [dict(port=6531, protocol="tcp"), dict(port=6531, protocol="udp"), dict(port=6532, protocol="tcp"),
                dict(port=6533, protocol="tcp")]
    tasks = [{"ansible.builtin.assert": dict(that=["found == expected"]), "vars": dict(found=openings, expected=expected)},
             {"ansible.builtin.debug": dict(msg="{{ 70000 | portshift.agents.boks_ports('agent') }}"), "ignore_errors": True}]
    done = run_playbook([dict(hosts="localhost", gather_facts=False, tasks=tasks)],
                        dict(all=dict(hosts=dict(localhost=dict(ansible_connection="local")))))
    assert done.returncode == 0, done.stdout
    assert "boks_ports: the base port is 70000, which is not a port number" in " ".join(done.stdout.split())


# --- boks_info ---

def test_a_host_that_has_to_move_is_told_with_its_edit(host):
    host.start("16501/tcp", "16501/udp", "16502/tcp", "16503/tcp")
    found = host.info(base_port=NEW, role="replica")
    assert found["ok"] and found["problems"] == [] == found["notes"]
    assert (found["base"], found["old_base"], found["services_port"], found["new_services_port"]) == (OLD, OLD, OLD, NEW)
    assert found["services_entry"] == dict(tcp=OLD, udp=OLD) and found["protocols_if_present"] == ["udp"]
    assert found["edits"] == [dict(kind="services", path=str(host.services), name="boks", port=NEW, previous_port=OLD,
                                   previous=dict(tcp=OLD, udp=OLD), protocols=["tcp"], protocols_if_present=["udp"])]
    assert (found["role"], found["bridge_domain"], found["answered_by"], found["record"]) == ("replica", 0, None, None)
    pid = host.processes[0].pid
    assert [(entry["port"], entry["protocol"], entry["listening_by"] and entry["listening_by"]["pid"])
            for entry in found["ports"]] == [
        (2478, "tcp", None), (16501, "tcp", pid), (16501, "udp", pid), (16502, "tcp", pid), (16503, "tcp", pid)]
    assert found["ports"][1]["listening_by"]["address"] == ADDRESS and found["ports"][1]["listening_by"]["name"]
    assert [(entry["port"], entry["listening_by"]) for entry in found["wanted_ports"] if entry["movable"]] == [
        (16531, None), (16531, None), (16532, None), (16533, None)]


def test_a_host_without_an_entry_is_on_the_products_default(host):
    host.services.write_text(DEBIAN)
    found = host.info(base_port=NEW, role="agent")
    assert (found["base"], found["old_base"], found["services_port"], found["services_entry"]) == (6500, 6500, None, {})
    assert found["edits"][0]["previous"] == dict(tcp=None) and found["edits"][0]["protocols_if_present"] == []


def test_the_bridge_domain_is_taken_into_account(host):
    host.env.write_text("BOKSINIT=client\nexport BRIDGE_DOMAIN=2\n")
    found = host.info(base_port=NEW)
    assert found["ok"] and (found["base"], found["bridge_domain"], found["role"]) == (OLD + 20, 2, "agent")
    assert found["new_services_port"] == found["edits"][0]["port"] == NEW - 20


def test_a_host_that_has_moved_has_nothing_to_edit_whatever_listens(host):
    host.services.write_text(REDHAT.replace("boks            16500", "boks            16530"))
    host.start("16533/tcp", product=False)
    found = host.info(base_port=NEW, role="agent")
    assert found["ok"] and (found["edits"], found["old_base"], found["base"], found["notes"]) == ([], None, NEW, [])


def test_without_a_base_port_a_host_is_looked_at_as_it_is(host):
    found = host.info()
    assert found["ok"] and (found["base"], found["role"], found["edits"], found["wanted_ports"]) == (OLD, None, [], [])
    assert [found[key] for key in ("old_base", "new_services_port", "host_port")] == [None] * 3
    assert {entry["port"] for entry in found["ports"] if entry["movable"]} == set(range(OLD, OLD + 4))


def test_a_daemon_that_was_not_restarted_is_noted(host):
    host.services.write_text(REDHAT.replace("boks            16500", "boks            16530"))
    host.start("16503/tcp")
    found = host.info(base_port=NEW, role="agent")
    assert found["ok"] and found["notes"] == [
        "no process listens on 16533/tcp, where this host has to on base port 16530; does BoKS run, and was it restarted since "
        "its base port was changed?"]


@pytest.mark.parametrize("arguments, sentence", [
    (dict(base_port=1023), "base_port is 1023, but BoKS needs that port and the three that follow it"),
    (dict(base_port=65533), "choose a base port from 1024 to 65532"),
    (dict(base_port=-1), "base_port is -1, which is not a port number"),
    (dict(base_port=2476), "2478 would be among its ports 2476 to 2479"),
    (dict(base_port=4341), "the ports 4341 to 4344 would hold 4343, which is the port of admin server and does not move"),
    (dict(base_port=8442), "would hold 8443, which is the port of control center"),
    (dict(base_port=6504), "would hold 6507, which is the port of hostpreregd"),
    (dict(base_port=OLD + 3), "the ports 16503 to 16506 overlap with the old ones, 16500 to 16503"),
])
def test_a_base_port_that_can_not_be_is_a_problem(host, arguments, sentence):
    found = host.info(role="agent", **arguments)
    assert not found["ok"] and any(sentence in problem for problem in found["problems"]), found["problems"]


def test_an_overlap_can_be_allowed(host):
    host.start("16503/tcp")
    found = host.info(base_port=OLD + 3, role="agent", allow_overlap=True)
    assert found["ok"] and found["edits"], found["problems"]


def test_ports_that_have_other_names_are_a_problem_unless_allowed(host):
    host.services.write_text(REDHAT + "else 16532/tcp\nelse 16532/udp\n")
    found = host.info(base_port=NEW, role="agent")
    assert found["problems"] == ["%s: line %d gives port 16532/%s to else; choose another base port, or say allow_named_ports if "
                                 "that service is not used in this domain" % (host.services, line, protocol)
                                 for line, protocol in ((6, "tcp"), (7, "udp"))]
    allowed = host.info(base_port=NEW, role="agent", allow_named_ports=True)
    assert allowed["ok"] and any("line 6 gives port 16532/tcp to else" in note for note in allowed["notes"])


def test_an_alias_on_the_line_of_another_name_is_a_problem(host):
    host.services.write_text("mine 17000/tcp boks\n" + REDHAT)
    for more in (dict(base_port=NEW), {}):
        found = host.info(role="agent", **more)
        assert found["base"] == 17000
        assert len(found["problems"]) == 1 and "line 1, mine 17000/tcp, has boks as an alias" in found["problems"][0]


@pytest.mark.parametrize("env, sentence", [
    (None, "ENV: does not exist"), ("folder", "ENV: is a directory, not a file"),
    ("BRIDGE_DOMAIN=two\n", "ENV: BRIDGE_DOMAIN is 'two', which is not a plain number"),
])
def test_an_env_that_tells_no_port_is_a_problem(host, env, sentence):
    host.env.unlink()
    if env == "folder":
        host.env.mkdir()
    elif env:
        host.env.write_text(env)
    found = host.info(base_port=NEW, role="agent")
    assert [sentence in problem for problem in found["problems"]] == [True]
    assert (found["base"], found["new_services_port"], found["edits"], found["bridge_domain"]) == (None, None, [], None)


def test_an_env_in_another_encoding_is_read(host):
    host.env.write_bytes(b"SITE=Malm\xf6\nBOKSINIT=client\n")
    assert host.info(base_port=NEW)["role"] == "agent"


def test_missing_services_and_a_broken_record_are_problems(host):
    host.services.unlink()
    host.record.parent.mkdir()
    host.record.write_text("{}")
    found = host.info(base_port=NEW, role="agent")
    assert len(found["problems"]) == 2 and "services: does not exist" in found["problems"][0]
    assert "is not a record of portshift.agents" in found["problems"][1]


def test_a_bridge_domain_that_leaves_no_port_is_a_problem(host):
    host.services.write_text("boks 1030/tcp\n")
    host.env.write_text("BRIDGE_DOMAIN=100\n")
    assert any("would have to name port 100 for base port 1100" in problem
               for problem in host.info(base_port=1100, role="agent")["problems"])


def test_the_inventory_decides_on_the_role_unless_env_contradicts(host):
    host.env.write_text("BOKSINIT=server\n")
    assert "say role: master, replica or agent" in host.info(base_port=NEW)["problems"][0]
    assert host.info(base_port=NEW, role="master")["role"] == "master"
    found = host.info(base_port=NEW, role="agent")
    assert not found["ok"] and found["problems"][0].startswith(
        "BOKSINIT=server says that this host is the Master or a Replica, but it is to be moved as a Server Agent")


@pytest.fixture
def agent(host):
    host.env.write_text("BOKSINIT=client\n")
    host.start("16503/tcp")
    return host


def test_a_foreign_listener_on_a_port_of_the_role_is_a_problem_with_its_name(agent):
    foreigner = agent.start("16533/tcp", product=False)
    found = agent.info(base_port=NEW)
    with open("/proc/%d/comm" % foreigner.pid) as source:
        name = source.read().strip()
    assert found["problems"] == ["port 16533/tcp is in use already: process %s (pid %d) listens on %s; free it or choose "
                                 "another base port" % (name, foreigner.pid, ADDRESS)]
    assert found["wanted_ports"][-1]["listening_by"] == dict(pid=foreigner.pid, name=name, address=ADDRESS)


def test_a_foreign_listener_on_another_port_of_the_range_is_a_note(agent):
    agent.start("16531/udp", product=False)
    found = agent.info(base_port=NEW)
    assert found["ok"] and len(found["notes"]) == 1 and "which no daemon of this host needs" in found["notes"][0]


def test_a_daemon_of_the_product_is_no_foreigner(agent):
    agent.start("16533/tcp")
    assert agent.info(base_port=NEW)["ok"]


def test_a_listener_at_another_address_is_no_foreigner(agent):
    agent.start("16533/tcp", product=False, address=OTHER)
    assert agent.info(base_port=NEW)["ok"]


def test_a_temporary_listener_of_ours_is_no_foreigner(agent, run_module):
    assert run_module("port_listener", port=NEW + 3, address=ADDRESS, seconds=60)["changed"]
    try:
        assert agent.info(base_port=NEW)["ok"]
    finally:
        run_module("port_listener", port=NEW + 3, address=ADDRESS, state="absent")


def test_a_connection_that_took_a_new_port_is_a_problem(agent):
    agent.start("17999/tcp", address=OTHER, product=False)
    with socket.socket() as connection:
        connection.bind((ADDRESS, NEW + 3))
        connection.connect((OTHER, 17999))
        found = agent.info(base_port=NEW)
    assert len(found["problems"]) == 1
    assert "port 16533/tcp is in use already: the kernel gave it to a connection of" in found["problems"][0]


def test_what_the_host_needs_beside_is_assessed_in_the_same_look(agent):
    found = agent.info(base_port=NEW, host_port=dict(name="boks", backend="none", openings=[dict(port=NEW + 3)], reserve=False,
                                                     selinux="never", record=str(agent.folder / "host_port.json")))
    assert found["ok"] and found["host_port"] == dict(backend="none", missing=[], rules=[])
    wrong = agent.info(base_port=NEW, host_port=dict(name="boks", nonsense=1))
    assert len(wrong["problems"]) == 1 and wrong["problems"][0].startswith("host_port: ")


def test_the_record_names_the_base_that_is_left(agent):
    agent.changed()
    found = agent.info(base_port=NEW)
    assert (found["base"], found["old_base"], found["edits"], found["record"]["state"]) == (NEW, OLD, [], "changing")
    back = agent.info(base_port=OLD)
    assert (back["old_base"], back["edits"][0]["port"]) == (NEW, OLD)


# --- who answers for the host ---

LOOKUPS = 'mount --bind "$1" /etc/services && mount --bind "$2" /etc/nsswitch.conf && shift 2 && exec "$@"'


@pytest.fixture
def lookups(host):
    """lookups(order) -> a prefix under which a command finds the host's services in /etc and `order` in nsswitch.conf."""
    enter = ["unshare", "--user", "--map-root-user", "--mount", "--"]
    if not shutil.which("unshare") or subprocess.call(enter + ["true"]):
        pytest.skip("another lookup of services is laid over the host's in a mount namespace, and this user gets none here")

    def prefix(order):
        nsswitch = host.folder / "nsswitch.conf"
        nsswitch.write_text("services: %s\n" % order)
        return [*enter, "sh", "-ec", LOOKUPS, "sh", str(host.services), str(nsswitch)]
    return prefix


def test_the_hosts_own_lookup_counts_and_agrees_with_the_file(host, lookups):
    found = host.run("boks_info", lookups("files"), services_path="/etc/services")
    assert found["ok"] and (found["base"], found["answered_by"]) == (OLD, None)
    proof = host.run("boks_evidence", lookups("files"), services_path="/etc/services", base_port=OLD, role="master",
                     listening=False)
    assert proof["ok"] and proof["proved"] == ["boks is 16500 in /etc/services, and so says the host's own lookup"]


def test_a_lookup_that_does_not_ask_the_file_is_a_problem(host, lookups):
    found = host.run("boks_info", lookups("db"), services_path="/etc/services", base_port=NEW, role="master")
    assert not found["ok"] and (found["services_port"], found["base"]) == (OLD, 6500)
    assert "no source answers for boks/tcp on this host" in found["answered_by"]
    assert any("/etc/services: is not what counts: no source answers" in problem for problem in found["problems"])
    proof = host.run("boks_evidence", lookups("db"), services_path="/etc/services", base_port=OLD, role="master", timeout=0)
    assert proof["failed"] and "no source answers for boks/tcp" in proof["missing"]["services"]


# --- boks_evidence ---

@pytest.fixture
def moved(host):
    """A Server Agent that a migration has just moved, and a Master that it reaches."""
    host.env.write_text("BOKSINIT=client\n")
    host.changed()
    host.start("16533/tcp")
    host.start("16530/tcp", "16531/tcp", address=OTHER)
    return host


def stamp(seconds):
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(time.time() + seconds))


def test_a_host_proves_itself_and_its_record_says_so_once(moved):
    moved.errlog.write_text("%s boks_clntd: Address already in use\n" % stamp(-3600))
    asked = dict(status_command=["printf", "Name State\nboks_clntd OK\n"], errlog_path=str(moved.errlog),
                 reach=[dict(host=UNUSED), dict(host=OTHER, offsets=[0, 1])], mark=True)
    before = moved.content()
    foretold = moved.evidence(_ansible_check_mode=True, **asked)
    assert foretold["ok"] and foretold["changed"] and moved.content() == before
    found = moved.evidence(**dict(asked, settle=0.2))
    assert found["ok"] and found["changed"] and found["waited"] >= 0.2
    assert (found["base"], found["port"], found["old_port"], found["missing"]) == (NEW, NEW, OLD, {})
    pid = moved.processes[0].pid
    assert found["proved"][0] == "boks is 16530 in %s" % moved.services
    assert found["proved"][1].endswith("(pid %d) listens on 16533/tcp" % pid)
    assert found["proved"][2:] == [
        "no process listens on the old base port 16500 any more",
        "printf Name State\nboks_clntd OK\n: 2 lines, none of them down",
        "%s: no failure since the change" % moved.errlog, "%s answers on port 16530, 16531" % OTHER]
    assert json.loads(moved.record.read_text())["state"] == "verified"
    assert moved.evidence(**asked)["changed"] is False


def test_a_look_at_a_host_that_has_moved_is_its_proof_too(moved):
    asked = dict(base_port=NEW, role="agent", proof=dict(
        timeout=0, settle=0.2, errlog_path="", failure_patterns=[], reach=[dict(host=OTHER)]))
    # One that has not proved itself is the business of the run that moves it.
    assert moved.info(**asked)["evidence"] is None
    assert moved.evidence(mark=True)["changed"]
    found = moved.info(**asked)["evidence"]
    assert (found["ok"], found["port"], found["old_port"], found["missing"]) == (True, NEW, OLD, {})
    assert found["waited"] >= 0.2 and "no process listens on the old base port 16500 any more" in found["proved"]
    told = moved.info(**dict(asked, proof=dict(asked["proof"], reach=[dict(host=UNUSED)])))
    assert told["ok"] and told["evidence"]["ok"] is False and list(told["evidence"]["missing"]) == ["reach"]
    assert moved.info(**dict(asked, proof=dict(asked["proof"], down_patterns=["("])))["evidence"]["msg"].startswith("the pattern")
    # On the way to another base it has everything to edit.
    assert moved.info(**dict(asked, base_port=17000))["evidence"] is None


def test_a_time_of_the_move_that_is_too_short_is_a_problem_while_there_is_something_to_move(host):
    host.start("16503/tcp")
    short = dict(limit=60, timeout=60, settle=5)
    told = host.info(base_port=NEW, role="agent", move_times=short)["problems"]
    assert told == ["start, proof and the login that confirms have 60 s together; the proof may take 60 s and twice 5 s to settle"
                    ", and a new login 20 s; give them 90 s or more, or the proof less"]
    assert host.info(base_port=NEW, role="agent", move_times=dict(short, limit=90))["problems"] == []
    assert host.info(base_port=OLD, role="agent", move_times=short)["problems"] == []


def test_a_record_of_another_base_is_not_marked(moved):
    content = json.loads(moved.record.read_text())
    moved.record.write_text(json.dumps(dict(content, new_port=17000)))
    assert moved.evidence(mark=True)["changed"] is False
    assert json.loads(moved.record.read_text())["state"] == "changing"


def test_everything_that_is_missing_is_told(host):
    host.env.write_text("BOKSINIT=client\n")
    host.changed()
    content = json.loads(host.record.read_text())
    host.record.write_text(json.dumps(dict(content, last_change=time.time() - 60)))
    host.services.write_text(REDHAT.replace("boks            16500/tcp", "boks            16530/tcp"))
    host.start("16503/tcp")
    host.errlog.write_text("%s boks_clntd\n  WARNING: could not bind to port\n" % stamp(-30))
    found = host.evidence(status_command=["sh", "-c", "echo trouble; exit 3"], errlog_path=str(host.errlog),
                          reach=[dict(host=UNUSED)], mark=True)
    assert found["failed"] and not found["ok"] and found["proved"] == []
    assert sorted(found["missing"]) == ["errlog", "listening", "old_ports", "reach", "services", "status"]
    missing = found["missing"]
    assert missing["services"] == "%s: boks/tcp is 16530, but boks/udp is 16500" % host.services
    assert missing["listening"] == "no process listens on 16533/tcp, where BoKS has to on base port 16530"
    assert missing["old_ports"].endswith("(pid %d) still listens on 16503/tcp, which belongs to the old base port 16500"
                                         % host.processes[0].pid)
    assert missing["status"] == "sh -c echo trouble; exit 3 ended with exit status 3: trouble"
    assert missing["errlog"] == "%s, since the change: WARNING: could not bind to port" % host.errlog
    assert "%s port 16531 tcp: connection refused" % UNUSED in missing["reach"]
    assert all(sentence in found["msg"] for sentence in missing.values())
    assert json.loads(host.record.read_text())["state"] == "changing"


def test_a_host_still_on_the_old_base_is_told_so(host):
    found = host.evidence(role="master", listening=False)
    assert found["missing"]["services"] == ("%s leads to base port 16500, not 16530 (boks/tcp is 16500 there, BRIDGE_DOMAIN 0)"
                                            % host.services)


@pytest.mark.parametrize("output, good", [
    ("boks_servc OK\nboks_clntd OK\n", True), ("boks_servc OK\nboks_clntd Down\n", False), ("boks_servc LOADING\n", False)])
def test_the_last_column_of_the_status_decides(moved, output, good):
    found = moved.evidence(status_command=["printf", output])
    assert found["ok"] == good
    if not good:
        assert found["missing"]["status"].endswith(": " + output.splitlines()[-1])


def test_one_way_out_is_enough_unless_all_are_asked_for(moved):
    ways = [dict(host=OTHER), dict(host=UNUSED)]
    assert moved.evidence(reach=ways)["ok"]
    assert list(moved.evidence(reach=ways, reach_any=False)["missing"]) == ["reach"]
    # One of two ports is not enough.
    assert list(moved.evidence(reach=[dict(host=OTHER, offsets=[1, 2])])["missing"]) == ["reach"]


def test_evidence_that_comes_later_is_waited_for(moved):
    daemon = moved.processes.pop(0)
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    seen = moved.folder / "seen"
    arguments = moved.arguments(dict(base_port=NEW, timeout=PATIENCE, settle=0, status_command=["touch", str(seen)]))
    with direct_module.begin("boks_evidence", arguments) as waiting:
        limit = time.monotonic() + PATIENCE
        while not seen.exists():
            assert time.monotonic() < limit and waiting.poll() is None
            time.sleep(0.05)
        moved.start("16533/tcp")
        found = direct_module.result(waiting.communicate(timeout=PATIENCE * 2)[0])
    assert found["ok"] and found["waited"] > 0


@pytest.mark.parametrize("arguments, sentence", [
    (dict(base_port=70000), "base_port is 70000, which is not a port number"),
    (dict(failure_patterns=["("]), 'the pattern "(" is no regular expression'),
    (dict(reach=[dict(host="x", offsets=[4])]), "reach: the offset is 4; give 0 to 3"),
])
def test_what_can_not_be_asked_is_a_sentence(host, arguments, sentence):
    found = host.evidence(**arguments)
    assert found["failed"] and sentence in found["msg"] and found["ok"] is False


def test_a_status_command_that_hangs_ends_with_what_it_started(tmp_path):
    pids = tmp_path / "pids"
    script = "sleep 600 & echo $! > %s; wait" % pids
    started = time.monotonic()
    assert run_bounded(THIS_HOST, ["sh", "-c", script], 2) == (None, "")
    assert time.monotonic() - started < PATIENCE
    pid = int(pids.read_text())
    limit = time.monotonic() + PATIENCE
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[0] != "Z":
            assert time.monotonic() < limit
            time.sleep(0.05)


def test_a_status_command_that_is_not_there_is_a_sentence(moved):
    found = moved.evidence(status_command=["/opt/boksm/sbin/boksadm-that-is-not-there"])
    assert "boksadm-that-is-not-there can't be run: No such file or directory" in found["missing"]["status"]


def test_a_host_that_can_not_tell_who_listens_is_asked_by_connecting(moved, monkeypatch):
    monkeypatch.setattr(THIS_HOST, "listeners", lambda *unused, **unused_too: None)
    params = dict(moved.arguments({}), base_port=NEW, old_base=OLD, role=None, listening=True, status_command=[],
                  errlog_path=None, reach=[], reach_any=True, down_patterns=[], failure_patterns=[], log_max_age=60, settle=0)
    questions = BoksEvidence(params)
    assert questions.listening(0) == (True, ["%s answers on port 16533" % ADDRESS])
    assert questions.old_ports(0) == (True, ["this host can't tell who listens on the old base port 16500"])
    moved.stop()
    moved.processes.clear()
    assert questions.listening(0)[0] is False
    move = look.Move(dict(params, base_port=NEW, allow_overlap=False, allow_named_ports=False, host_port=None), BoksHost(params))
    move.note_silence(move.table(NEW))
    assert move.notes == ["this host can't tell who listens, so that nothing is known of who may hold the ports"]
    assert BoksHost(params).listeners([1]) is None and look.with_listeners([dict(port=1, protocol="tcp")], None) == [
        dict(port=1, protocol="tcp", listening_by=None)]


def test_of_a_log_that_has_grown_for_years_only_the_end_is_read(moved):
    moved.errlog.write_bytes(b"%s Address already in use\n" % stamp(-30).encode() + b"x" * LOG_TAIL + b"\n"
                             + b"%s Address already in use\n" % stamp(3600).encode())
    found = moved.evidence(errlog_path=str(moved.errlog))
    assert "%s: no failure since the change (1 that can't be dated)" % moved.errlog in found["proved"]


def test_a_log_that_is_a_folder_is_a_sentence(moved):
    moved.errlog.mkdir()
    assert moved.evidence(errlog_path=str(moved.errlog))["missing"]["errlog"].startswith("%s: " % moved.errlog)


def test_reading_a_services_database_as_long_as_they_come_grows_with_its_lines(host):
    def read():
        found = BoksHost(dict(host.arguments({}), role="agent"))
        assert found.base == OLD and found.plan_edit(NEW)[0][0]["previous_port"] == OLD

    def seconds(lines):
        host.services.write_text("".join("service%d %d/tcp alias%d # a comment\n" % (number, 20000 + number, number)
                                         for number in range(lines)) + REDHAT)
        return growth.seconds(read)

    lines = 15000
    assert growth.is_a_line(seconds(lines // growth.SHARE), seconds(lines))
