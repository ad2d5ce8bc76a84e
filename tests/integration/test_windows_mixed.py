# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BigFix deployment of Linux and Windows hosts: a relay on Windows with Linux agents below it, and an agent on Windows below a
Linux relay.  The Linux hosts are processes of the lab, the Windows ones the model, and they talk to each other."""

import contextlib
import json

import pytest
import yaml

from tests.integration.migration_lab import CHECKOUT, Lab
from tests.integration.product_lab import eventually
from tests.lab.process_lab import ProcessLab
from tests.unit.windows_bigfix import state_of
from tests.windows import bigfix
from tests.windows.estate import Estate

OLD, NEW = 52311, 55000
ON_WINDOWS = ("relay2", "client03")
# What the lab says for each of its hosts, of folders that a Windows host has elsewhere.
PATHS = ("masthead_paths", "settings_paths", "clientsettings_paths", "log_dir", "relay_chain_dir", "record_path")


def usual(role):
    """What is usual on Windows, as the role has it."""
    return yaml.safe_load((CHECKOUT / "roles" / role / "vars/main.yml").read_text())[role + "_families"]["windows"]


class Mixed(Lab):

    def __init__(self, folder, kind):
        super().__init__(folder, kind)
        self.estate = Estate(real=True)
        self.lab = ProcessLab.plan(str(self.folder), kind, [2], 4, 2.0, OLD, 10.0, 1800)
        self.lab.write()
        for name in ON_WINDOWS:
            bigfix.take_over(self.lab, self.estate.add(name, self.address(name)), drive="D:")
        self.lab.begin()

    def windows(self):
        """An inventory of the Windows hosts, which goes before that of the lab."""
        found = {}
        for name in ON_WINDOWS:
            role = "bigfix_" + name.rstrip("0123456789")
            found[name] = dict(
                self.estate.variables(name), bigfix_service_command=[], bigfix_bind_address="",
                **{"%s_%s" % (role, path): usual(role)[path] for path in PATHS})
        # A host of the model has a packet filter of its own, where those of the lab have this machine's.
        found["relay2"]["bigfix_relay_bridge"] = True
        return self.overlay("windows", {"all": {"hosts": found}})

    def run(self, verb, *options):
        return self.play(verb, *options, inventories=[self.windows()])

    def states(self):
        return {name: state_of(host) for name, host in self.estate.hosts.items()}

    def agents(self):
        return [one for one in self.lab.data["hosts"] if one != "server"]

    def figures(self):
        return self.lab.tally().read().agents(self.agents())

    def stop(self):
        for run in self.started:
            if run.process.poll() is None:
                run.kill()
        self.estate.close()
        with contextlib.suppress(FileNotFoundError):
            self.lab.stop(remove=False)


@pytest.fixture(scope="module", params=["signed"])
def mixed(request, tmp_path_factory):
    made = Mixed(tmp_path_factory.mktemp("mixed") / "lab", request.param)
    try:
        eventually(lambda: all(one["accepted"] >= 2 for one in made.figures().values()))
        yield made
    finally:
        made.stop()


def test_linux_and_windows_hosts_move_together_and_back(mixed):
    before = mixed.states()
    mixed.estate.forget()
    mixed.run("migrate").good()
    # As many requests as a plain masthead costs: look, path, move.
    assert [task.cost for task in mixed.estate.hosts["client03"].endpoint.tasks] == [7, 7, 12]
    assert mixed.states() != before
    for name in ON_WINDOWS:
        record = json.loads(mixed.estate.hosts[name].files.get("C:\\ProgramData\\portshift\\bigfix.json").content)
        assert (record["state"], record["new_port"]) == ("verified", NEW)
    taken = {name: one["accepted"] for name, one in mixed.figures().items()}
    eventually(lambda: all(one["accepted"] > taken[name] + 1 for name, one in mixed.figures().items()))
    again = mixed.run("migrate").good()
    assert again.changed == {} and mixed.states() != before
    mixed.run("verify").good()
    mixed.run("rollback").good()
    assert mixed.states() == before
    taken = {name: one["accepted"] for name, one in mixed.figures().items()}
    eventually(lambda: all(one["accepted"] > taken[name] + 1 for name, one in mixed.figures().items()))
