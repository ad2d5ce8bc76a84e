# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive that a release is, installed as a user installs it: what roles share is a link in it, and has to arrive as one."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.integration.journey import Journey
from tests.integration.migration_lab import CHECKOUT, NEW, OLD, PLAYBOOK, Lab, Run

# Roles whose verbs are those of bigfix_component.
ROLES = ("bigfix_client", "bigfix_relay", "bigfix_server")
SHARED = CHECKOUT / "roles/bigfix_component/tasks"
# A task of each host's look, in the words of the checkout and of the copy that is installed here.
LOOK = "Read where this host keeps its port and who listens"
INSTALLED = "Read, with what was installed, where this host keeps its port"


def galaxy(program, *arguments, path):
    done = subprocess.run([str(Path(program).parent / "ansible-galaxy"), "collection", *map(str, arguments)],
                          cwd=path, env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(path)), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout


class Installed(Lab):
    """A lab whose playbooks are those of an installed archive, called by their names."""

    def begin(self, verb, *options, **how):
        arguments = ["-i", str(self.folder / "inventory.yml"), "portshift.agents.%s_bigfix_port" % verb,
                     "-e", "bigfix_settle_seconds=0.5", *([] if verb == "rollback" else ["-e", "bigfix_port=%d" % NEW])]
        paths = os.pathsep.join([str(self.installed), os.environ["ANSIBLE_COLLECTIONS_PATH"]])
        # As a process of its own: one that has Ansible loaded knows the collection of the checkout.
        self.started.append(Run(arguments + list(options), self.runs, self.program, cold=True, ANSIBLE_COLLECTIONS_PATH=paths))
        return self.started[-1]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    galaxy(PLAYBOOK, "build", "--output-path", folder, CHECKOUT, path=folder)
    (found,) = folder.glob("*.tar.gz")
    return found


def install(archive, program, folder):
    """The folder of the installed collection."""
    galaxy(program, "install", "--no-deps", "--offline", archive, path=folder)
    return folder / "ansible_collections/portshift/agents"


def test_what_roles_share_arrives_as_a_link_with_each_ansible(archive, oldest_if_there, tmp_path):
    for name, program in (("usual", PLAYBOOK), ("oldest", oldest_if_there)):
        if program:
            (tmp_path / name).mkdir()
            roles = install(archive, program, tmp_path / name) / "roles"
            links = {path.relative_to(roles): path.readlink() for path in roles.rglob("*") if path.is_symlink()}
            here = CHECKOUT / "roles"
            assert links == {path.relative_to(here): path.readlink() for path in here.rglob("*") if path.is_symlink()}
            assert len(links) > 8 and all((roles / path).resolve().is_relative_to(roles.resolve()) for path in links)


@pytest.fixture(scope="module")
def journey(archive, oldest_if_there, tmp_path_factory):
    lab = Installed(tmp_path_factory.mktemp("installed") / "lab", "plain")
    lab.installed = lab.runs / "collections"
    lab.installed.mkdir()
    collection = install(archive, PLAYBOOK, lab.installed)
    look = collection / "roles/bigfix_component/tasks/assess.yml"
    assert LOOK in look.read_text()
    look.write_text(look.read_text().replace(LOOK, INSTALLED))
    try:
        lab.start(relays="1", clients=2)

        with Journey(lab, lambda: dict(files=lab.snapshot(), ports=lab.ports())) as walked:
            walked.keep("start")
            walked.play("plan", program=oldest_if_there)
            walked.play("migrate")
            walked.play("migrate", step="again", program=oldest_if_there)
            walked.play("close")
            walked.play("rollback")
        yield walked
    finally:
        lab.stop()


def test_estate_is_moved_closed_and_taken_back_by_what_was_installed(journey):
    start, moved, back = journey["start"], journey["migrate"], journey["rollback"]
    journey.whole()
    assert set(start.ports.values()) == {OLD} and set(moved.ports.values()) == {NEW} == set(journey["close"].ports.values())
    assert back.files == start.files and journey["again"].run.changed == {}


def test_each_role_has_the_shared_tasks_of_what_was_installed(journey):
    for step in ("plan", "migrate", "again"):
        looked = {event["task"] for event in journey[step].run.events
                  if event["event"] == "ok" and "where this host keeps its port" in event["task"]}
        assert looked == {"portshift.agents.%s : %s" % (role, INSTALLED) for role in ROLES}, step


def test_each_verb_of_the_roles_is_the_shared_one_but_for_the_move_of_a_relay():
    for role in ROLES:
        tasks, specs = SHARED.parents[1] / role / "tasks", SHARED.parents[1] / role / "meta/argument_specs.yml"
        there = {path.stem: path.resolve() for path in tasks.iterdir()}
        # Beside the verbs, what these import.
        beside = {"firewall", "move", "parent_moved", "path", "rescue"}
        assert there.keys() == yaml.safe_load(specs.read_text())["argument_specs"].keys() | beside, role
        assert all(path.exists() for path in there.values()), role
        own = {name for name, path in there.items() if path.parent != SHARED}
        assert own == ({"apply"} if role == "bigfix_relay" else set()), role
