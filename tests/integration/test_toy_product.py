# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A product is added as docs/adding-a-product.md says: a toy, whose files are laid into a copy of this collection.

Its daemon is real, and reads its port when it starts.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest
import yaml

from tests.integration.migration_lab import CHECKOUT, Run
from tests.integration.ports import free_ports, own_addresses
from tests.integration.test_confirmed_change import WITHOUT_SYSTEMD

TOY = CHECKOUT / "tests/toy_product"
PAGE = CHECKOUT / "docs/adding-a-product.md"
INSIDE = ("plugins", "roles", "playbooks", "meta", "galaxy.yml")
# The modules that hand in what a product has -> what they import of the toy.
KINDS = dict(change_record="port_file", confirmed_change="host, port_file")
IMPORT = "from ansible_collections.portshift.agents.plugins.module_utils._toy import %s\n"
HOSTS = ("toy1", "toy2", "toy3")


def files_of(folder):
    """The files of the toy that belong to the collection, and its stand-in."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


class Toys:
    """A copy of the collection with the toy in it, three hosts that are folders, and the playbooks run against them."""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        self.collection = folder / "collections/ansible_collections/portshift/agents"
        self.old, self.new = free_ports(2)
        self.addresses = dict(zip(HOSTS, own_addresses(3)))
        self._lay_out()
        for host in HOSTS:
            self.path(host).parent.mkdir(parents=True)
            self.path(host).write_text("# where the toy listens\nport = %d\n" % self.old)
        self.before = {host: self.path(host).read_bytes() for host in HOSTS}
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(json.dumps(dict(all=dict(
            vars=dict(ansible_connection="local", ansible_python_interpreter=sys.executable, toy_settle_seconds=0.2,
                      toy_lock_path=str(folder / "lock")),
            children=dict(toy_pilot=dict(hosts=dict(toy1={})), toy_hosts=dict(hosts={host: dict(
                toy_address=self.addresses[host], toy_path=str(self.path(host)),
                toy_record_path=str(folder / host / "record/toy.json"), toy_service_command=self.command(host))
                for host in HOSTS}))))))

    def _lay_out(self):
        """The collection with the files of the toy, and the lines in files of others that the page names."""
        names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard", *INSIDE], cwd=CHECKOUT, check=True,
                               stdout=subprocess.PIPE, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (CHECKOUT / name).exists():
                (self.collection / name).parent.mkdir(parents=True, exist_ok=True)
                # What roles share is a link in each of them.
                shutil.copy(CHECKOUT / name, self.collection / name, follow_symlinks=False)
        for path in files_of(TOY):
            target = self.collection / path.relative_to(TOY)
            assert not target.exists(), "%s is a file of the collection" % target
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        for name, modules in KINDS.items():
            path = self.collection / "plugins/modules" / (name + ".py")
            last = r"(?m)^from .*module_utils\._bigfix import .*\n"
            text, count = re.subn(last, lambda found, more=IMPORT % modules: found.group() + more, path.read_text())
            assert count == 1, name
            path.write_text(text)
        with open(self.collection / "meta/runtime.yml", "a", encoding="utf-8") as target:
            target.write("    - toy_evidence\n    - toy_info\n")

    def path(self, host):
        return self.folder / host / "port"

    def command(self, host):
        return [sys.executable, str(TOY / "daemon.py"), str(self.folder / host), self.addresses[host]]

    def daemon(self, host, what):
        subprocess.run([*self.command(host), what], check=True, timeout=60)

    def greeting(self, host, port):
        """What the daemon of a host says on a port; empty where it does not listen."""
        try:
            with socket.create_connection((self.addresses[host], port), timeout=10) as stream:
                return stream.makefile("rb").readline().decode()
        except OSError:
            return ""

    def ports(self):
        """host -> the ports on which its daemon greets with just these."""
        return {host: [port for port in (self.old, self.new) if self.greeting(host, port) == "TOY %d\n" % port]
                for host in HOSTS}

    def play(self, verb, *options):
        arguments = ["-i", str(self.inventory), str(self.collection / ("playbooks/%s_toy_port.yml" % verb)), *options]
        if verb != "rollback":
            arguments += ["-e", "toy_port=%d" % self.new]
        others = CHECKOUT / ".venv/collections"
        prefix = WITHOUT_SYSTEMD if os.path.isdir("/run/systemd/system") else []
        self.started.append(Run(arguments, self.folder, prefix=prefix, ANSIBLE_COLLECTIONS_PATH="%s:%s" % (
            self.folder / "collections", others), ANSIBLE_CONFIG=str(CHECKOUT / "ansible.cfg")))
        return self.started[-1].wait()

    def __enter__(self):
        for host in HOSTS:
            self.daemon(host, "start")
        return self

    def __exit__(self, *unused):
        for run in self.started:
            if run.process.poll() is None:
                run.kill()
        for host in HOSTS:
            self.daemon(host, "stop")


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    if os.path.isdir("/run/systemd/system") and os.geteuid():
        pytest.skip("hiding systemd from the module needs root")
    with Toys(tmp_path_factory.mktemp("toys")) as found:
        yield found


def test_the_toy_is_as_small_as_a_product_may_be():
    files = files_of(TOY)
    # One of them is empty, for Python.
    assert len([path for path in files if path.stat().st_size]) < 20
    assert sum(len(path.read_bytes().splitlines()) for path in files) < 1500
    page = PAGE.read_text()
    assert len(re.findall(r"(?m)^## [1-6]\. ", page)) == 6
    folders = {path.parent.relative_to(TOY).as_posix().replace("toy", "NAME") for path in files} - {"."}
    assert [folder for folder in sorted(folders) if folder not in page] == []


def test_options_of_the_toys_role_are_all_documented():
    role = TOY / "roles/toy"
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    assert set(specs) == {path.stem for path in (role / "tasks").glob("*.yml")}
    for name, spec in specs.items():
        assert set(spec["options"]) == {*defaults, "toy_port", "toy_rollback_force"}, name
        said = {option: entry["default"] for option, entry in spec["options"].items() if "default" in entry}
        assert said == {option: default for option, default in {**defaults, "toy_rollback_force": False}.items()
                        if "{{" not in str(default)}, name
    readme = (role / "README.md").read_text()
    assert [verb for verb in specs if "`%s`" % verb not in readme] == [] and "toy_port" in readme


def test_journey_of_the_toy(toys):
    plan = toys.play("plan").good()
    assert "Moving toys to port %d: 3 of 3 hosts have something to change." % toys.new in plan.output and not plan.changed
    assert toys.ports() == dict.fromkeys(HOSTS, [toys.old])

    migrated = toys.play("migrate", "--diff").good()
    assert toys.ports() == dict.fromkeys(HOSTS, [toys.new])
    assert "Phase 1: pilot" in migrated.plays and "Phase 3: the others" in migrated.plays
    assert "3 of 3 hosts proved port %d" % toys.new in migrated.output and "+port = %d" % toys.new in migrated.output
    assert toys.path("toy2").read_text() == "# where the toy listens\nport = %d\n" % toys.new

    again = toys.play("migrate").good()
    assert again.changed == {}, again.changed
    assert "3 of 3 hosts proved port %d." % toys.new in toys.play("verify").good().output
    assert "3 of 3 hosts proved port %d. What was left for it is closed." % toys.new in toys.play("close").good().output

    back = toys.play("rollback").good()
    assert toys.ports() == dict.fromkeys(HOSTS, [toys.old])
    assert {host: toys.path(host).read_bytes() for host in HOSTS} == toys.before
    assert "the migration of 3 hosts from port %d to %d is taken back" % (toys.old, toys.new) in back.output


def test_a_toy_that_can_not_have_its_port_is_put_back_and_the_run_ends_there(toys):
    assert toys.ports() == dict.fromkeys(HOSTS, [toys.old])
    with socket.create_server((toys.addresses["toy1"], toys.new)):
        stopped = toys.play("migrate").bad("the change was undone", "Its files are as they were before, byte for byte")
    assert stopped.failed == {"toy1"} and "Phase 3: the others" not in stopped.plays
    assert toys.ports() == dict.fromkeys(HOSTS, [toys.old])
    assert {host: toys.path(host).read_bytes() for host in HOSTS} == toys.before


def test_a_windows_host_among_the_toys_is_refused_before_anything_is_asked(toys):
    windows = toys.folder / "windows.json"
    windows.write_text(json.dumps(dict(all=dict(hosts=dict(toy2=dict(ansible_connection="psrp"))))))
    stopped = toys.play("plan", "-i", str(windows)).bad(
        "Nothing was changed. toy2: reached as Windows hosts are", "toy is moved on Linux hosts only; take them out")
    assert stopped.plays == ["Check the inventory and the options"]
