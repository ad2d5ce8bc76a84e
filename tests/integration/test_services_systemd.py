# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bigfix_cutover on a host with systemd whose agent has an init script: started by it, by hand, by another user, and stuck."""

import io
import json
import os
import tarfile
import time

import ansible
import pytest

from ansible_collections.portshift.agents.tests.unit.masthead_files import plain
from tests.conftest import CHECKOUT
from tests.integration import container_site, direct_module, init_script
from tests.integration.init_script import AGENT
from tests.lab import containers

OLD, NEW = 52311, 55000
RUN = "portshift-services-%d" % os.getpid()
BOOT_SECONDS = 120
PACKAGES = "/opt/packages"
MASTHEAD, CONFIG = "/etc/opt/BESClient/actionsite.afxm", "/var/opt/BESClient/besclient.config"
RECORD = "/var/lib/portshift/bigfix.json"
SETTINGS = r"""[Software\BigFix\EnterpriseClient\Settings\Client\__RelayServer1]
value                          = http://relay1.example.test:52311/bfmirror/downloads/
effective date                 = Thu,%2001%20Jan%202015%2000:00:00%20+0000
"""


class Site:
    """One host, whose agent is a program at its real path."""

    def __init__(self, engine):
        self.engine, self.label = engine, "portshift.services=%s" % RUN

    def start(self):
        options = ["--name", RUN, "--hostname", "client", "--label", self.label, "--network", "none"] + self.engine.host_options()
        self.engine.run("create", *options, containers.image(self.engine), containers.INIT)
        self.engine.run("start", RUN)
        end = time.monotonic() + BOOT_SECONDS
        while self.execute("systemctl", "is-system-running", check=False)[1].strip() not in (b"running", b"degraded"):
            assert time.monotonic() < end, "it does not boot"
            time.sleep(0.2)
        self.execute("tar", "-x", "-C", "/", stdin=self._files())
        self.shell("mkdir -p %s; cp /usr/bin/sleep %s; useradd -M stranger; systemctl daemon-reload" % (
            os.path.dirname(AGENT), AGENT))

    def _files(self):
        """What it gets: its init script, and what a module of this collection imports."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            def put(path, content, mode=0o644):
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.size, entry.mode = len(content), mode
                archive.addfile(entry, io.BytesIO(content))

            put(init_script.PATH, init_script.init_script(AGENT + " infinity").encode(), 0o755)
            base, ours = os.path.dirname(ansible.__file__), "ansible_collections/portshift/agents/plugins/"
            # As in what Ansible sends to a host.
            put(PACKAGES + "/ansible/__init__.py", b"from ansible.release import __author__, __version__\n")
            for name in ("release.py", "module_utils"):
                archive.add(os.path.join(base, name), os.path.join(PACKAGES, "ansible", name).lstrip("/"))
            for name in ("modules", "module_utils"):
                archive.add(os.path.join(CHECKOUT, "plugins", name), os.path.join(PACKAGES, ours, name).lstrip("/"))
        return stream.getvalue()

    def execute(self, *command, **how):
        return self.engine.execute(RUN, *command, **how)

    def shell(self, script):
        return self.execute("sh", "-ec", script).decode()

    def reset(self):
        """Old files, the agent down, systemd without a word on it."""
        self.shell("rm -f /opt/on-*; systemctl stop besclient; pkill -x BESClient || :; systemctl reset-failed; "
                   "rm -rf /run/besclient.pid /var/lib/portshift; mkdir -p %s %s" % (
                       os.path.dirname(MASTHEAD), os.path.dirname(CONFIG)))
        self.execute("sh", "-c", "cat >" + MASTHEAD, stdin=plain(port=OLD))
        self.execute("sh", "-c", "cat >" + CONFIG, stdin=SETTINGS.encode())

    def run(self, **arguments):
        arguments = dict(dict(
            component="client", port=NEW, masthead_paths=[MASTHEAD], settings_paths=[CONFIG], record=RECORD,
            services=["besclient"], executables=dict(besclient=[AGENT]), service_timeout=3, _ansible_remote_tmp="/tmp"),
            **arguments)
        _code, output, error = self.execute(
            "env", "PYTHONPATH=" + PACKAGES, "python3", "-c", direct_module.CALL, direct_module.OURS + "bigfix_cutover",
            json.dumps(arguments), check=False)
        return direct_module.result(output.decode(), error.decode())

    def agents(self):
        return [int(pid) for pid in self.execute("pgrep", "-u", "root", "-x", "BESClient", check=False)[1].split()]

    def in_unit(self, pid):
        return "besclient.service" in self.shell("cat /proc/%d/cgroup" % pid)

    def port(self):
        """The port that all files hold."""
        text = self.shell("cat %s %s" % (MASTHEAD, CONFIG))
        return {(True, False): OLD, (False, True): NEW}[str(OLD) in text, str(NEW) in text]

    def record(self):
        code, text, _error = self.execute("cat", RECORD, check=False)
        return json.loads(text) if code == 0 else None


@pytest.fixture(scope="module")
def made():
    with container_site.running(Site) as site:
        yield site


@pytest.fixture
def site(made):
    made.reset()
    return made


def test_agent_that_systemd_started_moves_and_comes_back(site):
    site.shell("systemctl start besclient")
    # Others may run what they can read, and do not count.
    site.execute("sh", "-c", "setsid setpriv --reuid stranger --clear-groups %s infinity >/dev/null 2>&1 &" % AGENT)
    [old] = site.agents()
    assert site.in_unit(old)
    moved = site.run()
    assert moved["started"] == ["besclient"] and site.port() == NEW, moved
    [new] = site.agents()
    assert new != old and site.in_unit(new)
    assert [pid for pid, unused in site.record()["stopped"]["processes"]["besclient"]] == [old]
    assert not site.run()["changed"] and site.agents() == [new]
    # An agent that has died, whose unit is active for ever: an init script's without a file that names its process.
    site.shell("kill -9 %d; rm -f /run/besclient.pid; systemctl is-active besclient" % new)
    assert site.run()["started"] == ["besclient"] and len(site.agents()) == 1
    back = site.run(state="restored")
    assert back["changed"] and back["started"] == ["besclient"] and site.port() == OLD and len(site.agents()) == 1, back


@pytest.mark.parametrize("known", [True, False])
def test_agent_that_was_started_by_hand_is_named_and_nothing_changes(site, known):
    """systemd calls the unit inactive: its stop would be a no-op with exit status 0, and the agent would go on as it is."""
    site.execute("/etc/init.d/besclient", "start")
    [pid] = site.agents()
    site.execute("systemctl", "stop", "besclient")
    assert not site.in_unit(pid) and site.agents() == [pid]
    if known:
        sentence = "nothing was changed: service besclient is run by process %d (%s), which systemd did not start" % (pid, AGENT)
        for check_mode in (True, False):
            failed = site.run(_ansible_check_mode=check_mode)
            assert failed["failed"] and sentence in failed["msg"] and "/etc/init.d/besclient stop" in failed["msg"], failed
        assert site.record() is None
    else:
        # With nothing that tells of it, the start is what is not believed: the script starts no second one.
        failed = site.run(executables={})
        assert failed["failed"] and "there is no new process of it (in its cgroup" in failed["msg"], failed
        # By then systemd had called the script, and so the way back could stop what ran.
        [pid] = site.agents()
    assert site.port() == OLD and site.agents() == [pid]
    # As it says: stopped in the way it was started, started by systemd.
    site.shell("systemctl stop besclient; /etc/init.d/besclient stop; systemctl start besclient")
    assert site.run()["started"] == ["besclient"] and site.port() == NEW
    [new] = site.agents()
    assert new != pid and site.in_unit(new)


def test_agent_that_its_script_leaves_running_is_named_and_nothing_changes(site):
    """KillMode=process, as units that are made from init scripts have it: systemd leaves in the cgroup what the script does."""
    site.shell("systemctl start besclient; echo 'exit 0' >/opt/on-stop")
    [pid] = site.agents()
    failed = site.run()
    assert failed["failed"] and "3 s later process %d (%s) still runs" % (pid, AGENT) in failed["msg"], failed
    assert site.port() == OLD and site.agents() == [pid] and site.record()["state"] == "rolled_back"


def test_child_of_an_agent_that_outlives_it_is_no_hindrance(site):
    site.shell("echo 'setsid sleep 1000 </dev/null >/dev/null 2>&1 & rm -f /opt/on-start' >/opt/on-start; "
               "systemctl start besclient")
    [old] = site.agents()
    assert site.run()["started"] == ["besclient"] and site.port() == NEW and site.agents() != [old]
    site.shell("pkill -x sleep || :")


@pytest.mark.parametrize("action", ["stop", "start"])
def test_service_that_hangs_ends_with_a_sentence_and_the_host_is_as_it_was(site, action):
    site.shell("systemctl start besclient; echo 'grep -q %d %s && sleep 1000' >/opt/on-%s" % (
        OLD if action == "stop" else NEW, MASTHEAD, action))
    failed = site.run()
    assert failed["failed"] and "service besclient could not %s: systemctl %s besclient had not ended after 3 s" % (
        action, action) in failed["msg"], failed
    site.shell("pkill -x sleep || :")
    assert site.port() == OLD and site.execute("test", "-e", RECORD + ".lock", check=False)[0] != 0
    if action == "start":
        assert len(site.agents()) == 1 and site.record()["state"] == "rolled_back", failed
