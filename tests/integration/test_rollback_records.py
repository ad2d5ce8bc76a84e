# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which migration of BigFix or BoKS a rollback knows, the playbooks on this machine; no host is moved.

Change Tracker: test_change_tracker_records.py.
"""

import json
import os
import pathlib
import re
import shlex
import shutil

import pytest

from tests.integration import direct_module
from tests.lab.managed_python import managed_python

PLAYBOOKS = pathlib.Path(__file__).resolve().parents[2] / "playbooks"
# Three migrations, one after the other; ANOTHER was opened at most.
FIRST, SECOND, THIRD, FOURTH, ANOTHER = 6500, 6510, 6530, 6540, 6550
# When the last one began, and moments before and after.
BEFORE, BEGAN, SINCE = 1000, 2000, 3000


class Records:
    """Two hosts, each of which is a folder with what a migration left there."""

    def __init__(self, folder, run_playbook, python=None):
        self.folder, self.run_playbook, self.python = folder, run_playbook, python or managed_python()
        for host in self.HOSTS:
            (folder / host).mkdir()

    def note(self, host, old_port, new_port, started, state="verified"):
        (self.folder / host / ("%s.json" % self.PRODUCT)).write_text(json.dumps(dict(
            version=1, started=started, files=[], old_port=old_port, new_port=new_port, phase=None, state=state)))

    def open(self, host, port, moment):
        path = self.folder / host / ("%s.%d.host_port.json" % (self.PRODUCT, port))
        path.write_text("{}")
        os.utime(path, (moment, moment))

    def left(self):
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".lock"
                and path.parent != self.folder}

    def play(self, port=None, *options, **variables):
        """(exit status, what was said, tasks that changed something)"""
        hosts = {host: dict(self.host(self.folder / host), ansible_connection="local", ansible_python_interpreter=self.python)
                 for host in self.HOSTS}
        inventory = dict(all=dict(hosts=hosts, vars=self.COMMON, children={
            group: dict(hosts={self.HOSTS[number]: {} for number in members}) for group, members in self.GROUPS.items()}))
        if port:
            variables[self.PORT] = port
        done = self.run_playbook([{"import_playbook": str(PLAYBOOKS / self.PLAYBOOK)}], inventory, "-e", json.dumps(variables),
                                 *options, timeout=300)
        # A sentence in YAML has its apostrophes twice, and older releases show it nowhere else.
        said = " ".join(done.stdout.split()).replace("''", "'")
        return done.returncode, said, sum(map(int, re.findall(r"changed=(\d+)", done.stdout)))

    def refused(self, port, last, left=False, options=()):
        """There is no such migration, and nothing is changed."""
        before = self.left()
        code, said, unused = self.play(port, *options)
        assert code and (
            "Nothing was changed. There is no migration to %(name)s %(port)d to take back: no host's record is of it, and no "
            "host was opened for it alone. %(left)sName the %(name)s that was opened. Without %(variable)s, the migration to "
            "%(name)s %(last)d is taken back, by every host that made it." % dict(
                name=self.NAME, port=port, last=last, variable=self.PORT,
                left="%s %d is where hosts came from. " % (self.NAME.capitalize(), port) if left else "")) in said, said
        assert self.left() == before

    def nothing_to_do(self, port, *options):
        before = self.left()
        code, said, changed = self.play(port, *options)
        assert (code, changed, self.left()) == (0, 0, before), said


class BigFix(Records):
    PRODUCT, PORT, NAME, PLAYBOOK = "bigfix", "bigfix_port", "port", "rollback_bigfix_port.yml"
    HOSTS = ["server", "client01"]
    GROUPS = dict(bigfix_server=[0], bigfix_relays=[], bigfix_clients=[1], bigfix_pilot=[1])
    # What a role is told by its own name goes before what all are told.
    COMMON = dict(bigfix_lock=False, bigfix_bridge=False, bigfix_server_bridge=True, bigfix_bridge_persistent=False,
                  bigfix_firewall="none", bigfix_reserve_port=False, bigfix_evidence_timeout=1)
    # What its bridge listens on.
    BRIDGED = 0

    @staticmethod
    def host(folder):
        return dict(bigfix_record_path=str(folder / "bigfix.json"), host_port_lease=str(folder / "host.lock"))


class Boks(Records):
    PRODUCT, PORT, NAME, PLAYBOOK = "boks", "boks_base_port", "base port", "rollback_boks_port.yml"
    HOSTS = ["master", "agent01"]
    GROUPS = dict(boks_master=[0], boks_replicas=[], boks_agents=[1])
    COMMON = dict(boks_lock=False, boks_bridge_persistent=False, boks_firewall="none", boks_reserve_port=False,
                  boks_evidence_timeout=1)
    BRIDGED = 1

    @staticmethod
    def host(folder):
        return dict(boks_record_path=str(folder / "boks.json"), host_port_lease=str(folder / "host.lock"))


@pytest.fixture
def namespace(own_namespace):
    return own_namespace


@pytest.fixture
def inside(namespace, tmp_path):
    """A Python that runs in the namespace, whose packet filter no other test has."""
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\nexec %s \"$@\"\n" % shlex.join([*namespace.prefix, managed_python()]))
    path.chmod(0o755)
    return str(path)


@pytest.fixture(params=[BigFix, Boks])
def records(request, tmp_path, run_playbook, inside):
    return request.param(tmp_path, run_playbook, inside)


def test_what_an_earlier_migration_left_is_none_to_take_back_and_a_bridge_or_a_later_opening_for_the_port_is(records, namespace):
    for host in records.HOSTS:
        records.note(host, THIRD, FOURTH, BEGAN)
        records.open(host, SECOND, BEFORE)
        records.open(host, THIRD, BEFORE)
    done = namespace.run(*direct_module.command("port_bridge", dict(
        name=records.PRODUCT, listen_port=ANOTHER + records.BRIDGED, target_port=FOURTH + records.BRIDGED, persistent=False,
        lease=str(records.folder / records.HOSTS[0] / "host.lock"), _ansible_remote_tmp=str(records.folder))))
    assert direct_module.result(done.stdout, done.stderr)["changed"]

    def bridged():
        return "portshift_%s" % records.PRODUCT in namespace.run("nft", "list", "tables").stdout

    # What it was opened for is another port.
    assert bridged()
    records.refused(SECOND, last=FOURTH, options=["--check"])
    records.refused(THIRD, last=FOURTH, left=True)
    assert bridged()
    code, said, changed = records.play(ANOTHER)
    assert code == 0 and changed and not bridged(), said
    # By a migration that was to lead there again.
    records.open(records.HOSTS[1], THIRD, SINCE)
    records.nothing_to_do(THIRD)


def test_a_bridge_that_can_not_be_looked_for_is_told_where_nothing_else_names_the_port(tmp_path, run_playbook):
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("only root can take a capability from a process, by the command setpriv")
    # As in a container that may not look at its packet filter.
    (tmp_path / "python").write_text('#!/bin/sh\nexec setpriv --bounding-set -net_admin --inh-caps -net_admin %s "$@"\n' % (
        managed_python()))
    (tmp_path / "python").chmod(0o755)
    records = BigFix(tmp_path, run_playbook, str(tmp_path / "python"))
    for host in records.HOSTS:
        records.note(host, THIRD, FOURTH, BEGAN)
    code, said, changed = records.play(ANOTHER)
    assert code and not changed and "There is no migration to port %d to take back" % ANOTHER in said, said
    assert "Whether a bridge leads from there could not be told of %s (nft could not list the rules: Operation not permitted" % (
        records.HOSTS[0]) in said, said


# BoKS: the bridge above.
@pytest.mark.parametrize("records", [BigFix], indirect=True)
def test_what_was_opened_and_no_more_is_taken_back(records):
    records.open(records.HOSTS[1], THIRD, BEFORE)
    records.nothing_to_do(THIRD)


# BigFix: the journey of test_migration.py.
@pytest.mark.parametrize("records", [Boks], indirect=True)
def test_rollback_of_what_was_rolled_back_already_changes_nothing(records):
    # The other one was never reached.  In check mode, since there is no product here that could prove itself.
    records.note(records.HOSTS[0], FIRST, SECOND, BEGAN, "rolled_back")
    records.nothing_to_do(SECOND, "--check")


@pytest.mark.parametrize("records", [Boks], indirect=True)
def test_master_that_can_not_go_back_holds_up_no_other(records):
    """With no Replica beside it that goes back, too; there is no product here, so that the proof ends the run."""
    for host in records.HOSTS:
        records.note(host, FIRST, SECOND, BEGAN)
    code, said, unused = records.play(
        # One after another: they share a packet filter.
        SECOND, "--forks", "1", boks_stop_commands=[["/bin/true"]], boks_start_commands=[["/bin/true"]],
        # Which the master's role refuses when it is to go back.
        boks_rollback_force="{{ 'perhaps' if inventory_hostname == 'master' and 'Roll back' in ansible_play_name else false }}")
    assert code and "fatal: [master]" in said.partition("PLAY [Roll back the other hosts]")[0], said
    assert json.loads((records.folder / "agent01/boks.json").read_text())["state"] == "rolled_back", said
