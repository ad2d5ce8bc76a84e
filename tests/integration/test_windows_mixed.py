# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BigFix deployment of Linux and Windows hosts: a root server on Windows, below it a relay of each kind, on Windows with Linux
agents, on Linux with one on Windows.  The Linux hosts are processes of the lab, the Windows ones the model, and they talk to each
other."""

import contextlib
import json

import pytest
import yaml

from tests.integration.migration_lab import CHECKOUT, RECORDS, Lab
from tests.integration.product_lab import eventually
from tests.lab.process_lab import ProcessLab
from tests.unit.windows_bigfix import state_of
from tests.windows import bigfix
from tests.windows.estate import Estate

OLD, NEW = 52311, 55000
ON_WINDOWS = ("server", "relay2", "client03")
# What the lab says for each of its hosts, of folders that a Windows host has elsewhere.
PATHS = ("masthead_paths", "settings_paths", "clientsettings_paths", "credentials_paths", "log_dir", "relay_chain_dir",
         "record_path")
OURS = "C:\\ProgramData\\portshift\\"
GIVE_UP_SECONDS = 120.0


def usual(role):
    """What is usual on Windows, as the role has it."""
    path = CHECKOUT / "roles" / role / "vars/main" / (role.partition("_")[2] + ".yml")
    return yaml.safe_load(path.read_text())[role + "_families"]["windows"]


class Mixed(Lab):

    def __init__(self, folder, kind):
        super().__init__(folder, kind)
        self.estate = Estate(real=True)
        self.lab = ProcessLab.plan(str(self.folder), kind, [2], 3, 2.0, OLD, GIVE_UP_SECONDS, 1800)
        self.lab.write()
        installed = {name: bigfix.take_over(self.lab, self.estate.add(name, self.address(name)), drive="D:")
                     for name in ON_WINDOWS}
        self.server = installed["server"][0]
        self.lab.begin()

    def windows(self):
        """An inventory of the Windows hosts, which goes before that of the lab."""
        found = {}
        for name in ON_WINDOWS:
            role = "bigfix_" + name.rstrip("0123456789")
            found[name] = dict(
                self.estate.variables(name), bigfix_service_command=[], bigfix_bind_address="",
                **{"%s_%s" % (role, path): usual(role)[path] for path in PATHS if path in usual(role)})
        # A host of the model has a packet filter of its own, where those of the lab have this machine's.
        for name in ("server", "relay2"):
            found[name]["bigfix_bridge"] = True
        return self.overlay("windows", {"all": {"hosts": found}})

    def run(self, verb, *options):
        # It lies on the root server.
        lock = json.dumps(dict(bigfix_lock_path=OURS + "bigfix.lock"))
        return self.play(verb, "-e", lock, *options, inventories=[self.windows()])

    def states(self):
        """All that a migration may change, of hosts of both kinds."""
        return {name: state_of(host) for name, host in self.estate.hosts.items()}, self.snapshot()

    def records(self):
        found = {name: host.files.get(OURS + "bigfix.json") for name, host in self.estate.hosts.items()}
        texts = {name: node and node.content for name, node in found.items()}
        texts.update({name: self.path(name, RECORDS + "bigfix.json").read_bytes()
                      for name in self.hosts if name not in ON_WINDOWS})
        return {(record["state"], record["new_port"]) for record in map(json.loads, texts.values())}

    def figures(self):
        return self.server.figures.agents(self.hosts)

    def report_on(self, port):
        """Each agent, those of the root server and of the relays too, reports on that port from now on, and none was lost."""
        taken = {name: one["accepted"] for name, one in self.figures().items()}
        eventually(lambda: all(one["accepted"] > taken[name] + 1 and one["port"] == port
                               for name, one in self.figures().items()), GIVE_UP_SECONDS)
        assert not any(one["lost"] for one in self.figures().values()), self.figures()

    def stop(self):
        for run in self.started:
            if run.process.poll() is None:
                run.kill()
        self.estate.close()
        with contextlib.suppress(FileNotFoundError):
            self.lab.stop(remove=False)


@pytest.fixture(scope="module", params=["plain", "signed"])
def mixed(request, tmp_path_factory):
    made = Mixed(tmp_path_factory.mktemp("mixed") / "lab", request.param)
    try:
        eventually(lambda: all(one["accepted"] >= 2 for one in made.figures().values()))
        yield made
    finally:
        made.stop()


def test_linux_and_windows_hosts_live_the_whole_life_of_a_migration(mixed):
    before = mixed.states()
    for planning in (mixed.run("plan"), mixed.run("migrate", "--check", "--diff")):
        planning.good()
        assert mixed.states() == before
    assert {host for host, _file in planning.edits} == set(mixed.hosts)

    mixed.estate.forget()
    mixed.run("migrate").good()
    # As many requests with either kind of masthead: look, path, move.
    assert [task.cost for task in mixed.estate.hosts["client03"].endpoint.tasks] == [7, 7, 12]
    assert mixed.records() == {("verified", NEW)}
    for name in ON_WINDOWS:
        assert state_of(mixed.estate.hosts[name]) != before[0][name]
    mixed.report_on(NEW)

    moved = mixed.states()
    assert mixed.run("migrate").good().changed == {}
    mixed.run("verify").good()
    assert mixed.states() == moved

    serving = [mixed.estate.hosts[name] for name in ("server", "relay2")]
    assert [host.portproxies for host in serving] == [{OLD: NEW}] * 2
    mixed.run("close").good()
    assert [host.portproxies for host in serving] == [{}] * 2 and not any(host.listener("tcp", OLD) for host in serving)
    assert mixed.states() == moved
    mixed.report_on(NEW)

    mixed.run("rollback").good()
    assert mixed.states() == before and mixed.records() == {("rolled_back", NEW)}
    assert [host.portproxies for host in serving] == [{}] * 2
    mixed.report_on(OLD)
