# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixtures of all tests.  How Ansible is called is known to this file alone.

Tasks of action plugins run through pytest-ansible, whose end of life is December 2026.  Its replacement replaces
_run_task(); the options pythonpath and --ansible-unit-inject-only in pyproject.toml go with it.  Modules without an action
plugin are called as Ansible's wrapper calls them, which costs a third of a task.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings

import hypothesis
import pytest

# How long an example takes says how busy the machine is; what may not be slow is measured by its CPU time.
hypothesis.settings.register_profile("portshift", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("portshift")

# What these assert is to be told as well as what tests themselves do.
pytest.register_assert_rewrite(
    "tests.integration.container_estate", "tests.integration.dmz_lab", "tests.integration.iis_hub", "tests.integration.journey",
    "tests.integration.migration_lab")

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COLLECTION = "portshift.agents"
FOLDER = os.path.join("ansible_collections", *COLLECTION.split("."))


def _collections_folder():
    """A folder that holds this checkout under its collection name: what tools/setup made, or a link of our own."""
    known = os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(os.pathsep)
    for folder in known + [os.path.join(CHECKOUT, ".venv", "collections")]:
        if folder and os.path.realpath(os.path.join(folder, FOLDER)) == os.path.realpath(CHECKOUT):
            return os.path.abspath(folder)
    own = tempfile.TemporaryDirectory(prefix="portshift-collections-")
    _collections_folder.keep = own    # it goes away with this process
    link = os.path.join(own.name, FOLDER)
    os.makedirs(os.path.dirname(link))
    os.symlink(CHECKOUT, link)
    return own.name


# Before pytest-ansible looks, which happens after the conftest files are read.
COLLECTIONS = _collections_folder()
os.environ["ANSIBLE_COLLECTIONS_PATH"] = COLLECTIONS
# As `make` does, for a test that is run by pytest alone.
if not os.environ.get("PATH", "").startswith(os.path.dirname(sys.executable) + os.pathsep):
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", os.defpath)
os.environ.setdefault("ANSIBLE_CONFIG", os.path.join(CHECKOUT, "ansible.cfg"))
# Images of containers set it.  A Python that has it reads a module that is sent to its stdin byte by byte, 450,000 system calls
# and a quarter of the CPU time of a run; no managed host has it.
os.environ.pop("PYTHONUNBUFFERED", None)
if COLLECTIONS not in sys.path:
    sys.path.insert(0, COLLECTIONS)


def _keep_code():
    """Has the modules that runs send to hosts compiled once, for this machine and on each host of a lab of containers."""
    from tests.lab import kept_code
    if os.environ.get(kept_code.VARIABLE):
        return    # of the process that has begun this one
    own = tempfile.TemporaryDirectory(prefix="portshift-kept-code-")
    _keep_code.keep = own
    with open(kept_code.__file__) as source, open(os.path.join(own.name, "sitecustomize.py"), "w") as site:
        site.write("%s\n\ninstall(%r)\n" % (source.read(), os.path.join(own.name, "code")))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [own.name, os.environ.get("PYTHONPATH")]))
    os.environ[kept_code.VARIABLE] = "1"


_keep_code()


def pytest_sessionstart(session):
    from ansible_collections.portshift.agents.plugins.module_utils._core import errors
    found = os.path.realpath(errors.__file__)
    if not found.startswith(os.path.realpath(CHECKOUT) + os.sep):
        raise pytest.UsageError("the tests would run against %s instead of %s; take the other one out of "
                                "ANSIBLE_COLLECTIONS_PATH and PYTHONPATH" % (found, CHECKOUT))


def _run_task(name, args, check, diff, inventory, host):
    from pytest_ansible.host_manager.utils import get_host_manager

    from tests.lab.managed_python import managed_python

    with warnings.catch_warnings():
        # It announces its own end, and ansible-core that its finder is there already.
        warnings.simplefilter("ignore")
        dispatcher = get_host_manager(inventory=inventory or host + ",", connection="local", host_pattern=host)[host]

        def play(arguments):
            # Its own play knows neither check mode nor diff, and spells the task in a way that ansible-core 2.23 drops.
            return dict(name=name, hosts=host, gather_facts=False, check_mode=check, diff=diff, tasks=[{name: arguments}],
                        vars=dict(ansible_python_interpreter=managed_python(), ansible_pipelining=True))

        dispatcher._build_play_ds = play
        return dict(getattr(dispatcher, name)(**args).contacted[host])


def _call_module(name, args, check, diff, folder):
    from tests.integration import direct_module

    arguments = dict(args, _ansible_check_mode=check, _ansible_diff=diff, _ansible_remote_tmp=str(folder))
    done = direct_module.run(name, arguments, timeout=None, cwd=folder)
    return direct_module.result(done.stdout, done.stderr)


@pytest.fixture
def run_module(tmp_path_factory):
    """run_module(name, check=False, diff=False, **args) -> the result of that task, action plugin and all.

    `inventory`: the path of an inventory, in which `host` is the host that the task runs for.  `alone`: the module without its
    action plugin.
    """
    def run(name, check=False, diff=False, inventory=None, host="localhost", alone=False, **args):
        if not alone and os.path.exists(os.path.join(CHECKOUT, "plugins", "action", name + ".py")):
            return _run_task("%s.%s" % (COLLECTION, name), args, check, diff, inventory, host)
        assert inventory is None and host == "localhost", "%s has no action plugin that would look at an inventory" % name
        return _call_module(name, args, check, diff, tmp_path_factory.getbasetemp())
    return run


@pytest.fixture
def run_playbook(tmp_path):
    """run_playbook(plays, inventory, *options, timeout=120, program=None) -> the finished ansible-playbook, or `program`."""
    def run(plays, inventory, *options, timeout=120, program=None):
        for name, content in (("play.json", plays), ("inventory.yml", inventory)):
            (tmp_path / name).write_text(json.dumps(content))
        from tests.integration import forked

        env = dict(os.environ, ANSIBLE_PIPELINING="true")
        arguments = ["-i", "inventory.yml", "play.json", *options]
        if program:
            return subprocess.run([program, *arguments], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False, env=env)
        return forked.run("ansible", ["playbook", *arguments], timeout, cwd=tmp_path, env=env, merged=True)
    return run


@pytest.fixture(scope="module")
def engine():
    """What runs containers here; the tests that need it say why they can't run where there is none."""
    from tests.lab import containers, processes
    try:
        return containers.Engine()
    except processes.Failed as err:
        pytest.skip(str(err))


@pytest.fixture(scope="module")
def namespace():
    """A network namespace for the tests of a file."""
    from tests.integration.namespaces import namespace_or_skip
    with namespace_or_skip() as found:
        yield found


@pytest.fixture
def own_namespace():
    """A network namespace for one test alone."""
    from tests.integration.namespaces import namespace_or_skip
    with namespace_or_skip() as found:
        yield found


OLDEST = os.path.join(CHECKOUT, ".venv", "oldest", "bin", "ansible-playbook")


@pytest.fixture(scope="session")
def oldest_if_there():
    """ansible-playbook of the oldest ansible-core that meta/runtime.yml promises; None where it is not installed.

    For steps of a journey that any release has to walk; the test that reads them by `oldest` says that they were its steps.
    """
    return OLDEST if os.path.exists(OLDEST) else None


@pytest.fixture(scope="session")
def oldest(oldest_if_there):
    """The same, for tests of it alone."""
    if not oldest_if_there:
        pytest.skip("no %s here: tools/oldest makes it, and says what it needs" % os.path.relpath(OLDEST, CHECKOUT))
    return oldest_if_there


class FakeModule:
    """What an engine sees of an AnsibleModule."""

    def __init__(self, check=False, diff=True, backup=False):
        self.check_mode, self._diff, self.params, self.warnings = check, diff, dict(backup=backup), []

    def warn(self, sentence):
        self.warnings.append(sentence)


@pytest.fixture
def fake_module():
    return FakeModule
