# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""confirmed_change on a host with systemd that is reached by ssh alone: locked out, cut off, killed and booted half way."""

import json
import os
import re
import subprocess
import time

import pytest

from tests.conftest import CHECKOUT, COLLECTIONS
from tests.integration import container_site, forked
from tests.lab import containers

OLD, NEW = 6500, 6530
RUN = "portshift-confirm-%d" % os.getpid()
UNIT = "portshift-confirm-boks.service"
BOOT_SECONDS = 120
SERVICES = "ssh\t22/tcp\nboks\t%d/tcp\t# BoKS\n"
DAEMON = """
import os, re, socket, sys
with open("/etc/services") as source:
    port = int(re.search(r"(?m)^boks\\s+(\\d+)/tcp", source.read()).group(1))
server = socket.create_server(("", port))
with open("/run/daemon.new", "w") as target:
    target.write(str(os.getpid()))
os.rename("/run/daemon.new", "/run/daemon.pid")
while True:
    with server.accept()[0] as caller:
        caller.sendall(b"%d" % port)
"""
# As the product's: what it starts are daemons of its own.  A login asks whether the host may be entered (/opt/allowed).
PRODUCT = """#!/bin/sh
echo "$1" >>/var/log/product
[ ! -e "/opt/on-$1" ] || . "/opt/on-$1"
case $1 in
    stop) [ -e /run/daemon.pid ] || exit 7
        pid=$(cat /run/daemon.pid); kill "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done; rm -f /run/daemon.pid ;;
    start) python3 /opt/daemon.py &
        for try in $(seq 200); do [ ! -e /run/daemon.pid ] || exit 0; sleep 0.05; done; exit 1 ;;
esac
"""
PRODUCT_UNIT = """[Unit]
After=network.target
[Service]
Type=forking
PIDFile=/run/daemon.pid
ExecStart=/opt/product start
[Install]
WantedBy=multi-user.target
"""
ALLOWED = """#!/bin/sh
[ ! -e /etc/refuse-on-new-port ] || ! grep -q %d /etc/services
""" % NEW
ANSWERS = """
import socket
for port in (%d, %d):
    try:
        with socket.create_connection(("127.0.0.1", port), 3) as asked:
            print(asked.recv(10).decode())
    except OSError:
        pass
""" % (OLD, NEW)


class Site:
    """One host."""

    def __init__(self, engine, folder):
        self.engine, self.folder, self.label = engine, folder, "portshift.confirm=%s" % RUN

    def start(self):
        subnet = containers.make_network(self.engine, RUN, self.label)
        self.address = containers.addresses(subnet, 1)[0]
        options = ["--name", RUN, "--hostname", "agent", "--label", self.label, "--network", RUN, "--ip", self.address]
        options += ["--mac-address", containers.hardware_address(self.address)] + self.engine.host_options()
        self.engine.run("create", *options, containers.image(self.engine), containers.INIT)
        self.engine.run("cp", str(self._files()) + "/.", RUN + ":/")
        self.engine.run("start", RUN)
        self.await_boot()

    def _files(self):
        root, key, host_key = self.folder / "root", self.folder / "key", self.folder / "host_key"
        for path in (key, host_key):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        files = {
            "etc/services": (SERVICES % OLD, 0o644), "opt/daemon.py": (DAEMON, 0o644),
            "opt/product": (PRODUCT, 0o755), "opt/allowed": (ALLOWED, 0o755),
            "etc/systemd/system/product.service": (PRODUCT_UNIT, 0o644),
            "root/.ssh/authorized_keys": (key.with_suffix(".pub").read_text(), 0o600),
            "etc/ssh/ssh_host_ed25519_key": (host_key.read_text(), 0o600),
            "etc/pam.d/sshd": ("auth sufficient pam_permit.so\naccount required pam_exec.so quiet /opt/allowed\n"
                               "session required pam_permit.so\n", 0o644)}
        for path, (text, mode) in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
            (root / path).chmod(mode)
        (root / "root/.ssh").chmod(0o700)
        (root / "root").chmod(0o700)
        wants = root / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True)
        (wants / "product.service").symlink_to("../product.service")
        (self.folder / "known_hosts").write_text(
            "%s %s" % (self.address, host_key.with_suffix(".pub").read_text()))
        return root

    def execute(self, *command, **how):
        """A command that leaves no process behind."""
        return self.engine.enter(RUN, *command, **how)

    def shell(self, script):
        """May begin what stays, in the control groups of this host."""
        return self.engine.execute(RUN, "sh", "-ec", script).decode()

    def failed_units(self):
        return self.execute("systemctl", "--failed", "--no-legend", check=False)[1].decode()

    def await_boot(self):
        self.until(lambda: self.execute("systemctl", "is-system-running", "--wait", check=False)[1].strip() == b"running",
                   self.failed_units)
        self.until(self.answers)

    @staticmethod
    def until(what, why=lambda: ""):
        end = time.monotonic() + BOOT_SECONDS
        while not what():
            assert time.monotonic() < end, "did not come about: %s" % why()
            time.sleep(0.1)

    def answers(self):
        return [int(port) for port in self.execute("python3", "-", stdin=ANSWERS.encode()).split()]

    def state(self):
        code, text, _error = self.execute("cat", "/var/lib/portshift/boks.confirm/state.json", check=False)
        return json.loads(text)["state"] if code == 0 else "none"

    def reason(self):
        return json.loads(self.execute("cat", "/var/lib/portshift/boks.confirm/state.json"))["reason"]

    def journal(self):
        return self.shell("journalctl --no-pager -o cat -u %s" % UNIT)

    def reset(self):
        """The host as it was at the beginning, with the daemon on the old port."""
        self.execute("systemctl", "stop", "ssh")
        self.shell("/opt/product stop || :; rm -rf /opt/on-* /etc/refuse-on-new-port /var/lib/portshift /var/log/product "
                   "/run/systemd/confirm-test; printf '%s' >/etc/services; systemctl start ssh; systemctl reset-failed; "
                   "/opt/product start" % (SERVICES % OLD).replace("\n", "\\n").replace("\t", "\\t"))
        self.shell("systemctl disable --now portshift-bridge-boks 2>/dev/null || :; nft flush ruleset; "
                   "rm -rf /etc/portshift /etc/systemd/system/portshift-bridge-*; systemctl daemon-reload; : >/var/log/product")
        assert self.answers() == [OLD] and self.traces() == ""

    def traces(self):
        return self.shell("find /etc/systemd -name '*portshift-confirm*'; "
                          "find /var/lib/portshift -name run.zip -o -name reserve -o -name undo* 2>/dev/null || :")

    def has_come_back(self, answers=(OLD,)):
        self.until(lambda: self.state() == "reverted", self.journal)
        self.until(lambda: self.traces() == "", self.traces)
        assert self.shell("cat /etc/services") == SERVICES % OLD
        self.until(lambda: self.answers() == list(answers), self.journal)
        assert json.loads(self.execute("cat", "/var/lib/portshift/boks.json"))["state"] == "rolled_back"

    def play(self, *tasks, extra=()):
        """ansible-playbook over ssh, begun."""
        inventory, play = self.folder / "inventory.json", self.folder / "play.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"agent": {
            "ansible_host": self.address, "ansible_user": "root", "ansible_ssh_private_key_file": str(self.folder / "key"),
            "ansible_ssh_common_args": "-o UserKnownHostsFile=%s" % (self.folder / "known_hosts"),
            "ansible_python_interpreter": "/usr/bin/python3"}}}}))
        play.write_text(json.dumps([{"name": "Change", "hosts": "agent", "gather_facts": False, "tasks": list(tasks)}]))
        return forked.begin(
            "ansible", ["playbook", "-i", inventory, play, *extra], cwd=CHECKOUT, merged=True, session=True,
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=COLLECTIONS, ANSIBLE_NOCOLOR="1", ANSIBLE_PIPELINING="1",
                     ANSIBLE_SSH_CONTROL_PATH_DIR=str(self.folder / "cp"), ANSIBLE_CALLBACK_RESULT_FORMAT="json"))

    def begin(self, timeout, *more, **arguments):
        task = dict(name="boks", timeout=timeout, record="/var/lib/portshift/boks.json", old_port=OLD, new_port=NEW,
                    stop=[["/opt/product", "stop"]], start=[["/opt/product", "start"]],
                    services_entries=[dict(name="boks", port=NEW)], **arguments)
        return self.play({"name": "Begin", "portshift.agents.confirmed_change": task, "register": "change"}, *more)

    @staticmethod
    def output(process):
        return process.communicate(timeout=240)[0]


def confirm(timeout):
    return {"name": "Confirm", "portshift.agents.confirmed_change": dict(
        name="boks", state="confirmed", timeout=timeout, token="{{ change.token }}")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with container_site.running(lambda engine: Site(engine, tmp_path_factory.mktemp("c"))) as site:
        yield site


@pytest.fixture
def site(made):
    made.reset()
    return made


def test_new_login_confirms_and_nothing_is_left_but_the_change(site):
    done = site.begin(60, confirm(60))
    output = site.output(done)
    assert done.returncode == 0 and "changed=2 " in output, output
    assert site.answers() == [NEW] and site.state() == "confirmed" and site.traces() == ""
    assert site.shell("cat /etc/services") == SERVICES % NEW
    # The login that confirmed is another one than that which began.
    journal = site.journal()
    assert re.search("Waits [1-6][0-9] s for the confirmation", journal) and "confirmed" in journal
    assert site.execute("systemctl", "cat", UNIT, check=False)[0] != 0
    site.execute("systemctl", "daemon-reload")
    assert site.answers() == [NEW]


def test_host_that_refuses_every_new_login_is_back_by_itself_and_says_so(site):
    site.shell("touch /etc/refuse-on-new-port")
    done = site.begin(8, confirm(8))
    output = site.output(done)
    assert done.returncode != 0 and "too late to confirm" in output and "not confirmed within 8 s" in output, output
    site.has_come_back()
    again = site.play({"name": "Log in", "ansible.builtin.ping": {}})
    assert "ok=1 " in site.output(again)


def test_control_node_that_is_cut_off_amid_the_change_leaves_a_host_that_comes_back(site):
    # It loses its connections, and sshd goes down with them: the change goes on.
    site.shell("rm -f /run/stopping /run/go; "
               "echo 'touch /run/stopping; while [ ! -e /run/go ]; do sleep 0.05; done' >/opt/on-stop")
    process = site.begin(20)
    site.until(lambda: site.execute("test", "-e", "/run/stopping", check=False)[0] == 0)
    site.execute("systemctl", "stop", "ssh")
    site.shell("pkill sshd || :")
    site.output(process)
    assert process.returncode != 0
    site.shell("rm /opt/on-stop; touch /run/go")
    site.until(lambda: site.state() == "waiting", site.journal)
    assert site.answers() == [NEW]
    site.has_come_back()
    assert site.reason() == "it was not confirmed within 20 s"


def test_boot_before_the_confirmation_undoes_the_change(site):
    process = site.begin(3600)
    output = site.output(process)
    assert process.returncode == 0 and site.state() == "waiting" and site.answers() == [NEW], output
    site.engine.run("restart", "--time", "30", RUN)
    site.await_boot()
    site.has_come_back()
    assert "booted before the change was confirmed" in site.reason()


def test_boot_amid_the_change_undoes_it(site):
    site.shell("rm -f /var/starting; "
               "echo 'if [ ! -e /var/starting ] && grep -q %d /etc/services; then touch /var/starting; sleep 1000; fi' "
               ">/opt/on-start" % NEW)
    process = site.begin(3600)
    site.until(lambda: site.execute("test", "-e", "/var/starting", check=False)[0] == 0)
    assert site.state() == "changing"
    site.engine.run("restart", "--time", "5", RUN)
    site.output(process)
    site.await_boot()
    site.has_come_back()
    assert "amid the change" in site.reason() or "told to end" in site.reason()


def test_bridge_turns_with_the_change_and_back_with_it(site):
    process = site.begin(3600, bridge=dict(name="boks", mappings=[dict(old=OLD, new=NEW, protocols=["tcp"])]))
    output = site.output(process)
    assert process.returncode == 0 and site.answers() == [NEW, NEW], output
    site.engine.run("restart", "--time", "30", RUN)
    site.await_boot()
    # A client that has gone to the new port already goes on being answered there.
    site.has_come_back(answers=(OLD, OLD))


def test_killed_process_is_begun_again_by_systemd(site):
    process = site.begin(30)
    output = site.output(process)
    assert process.returncode == 0, output
    killed = site.shell("systemctl show -p MainPID %s" % UNIT).strip()
    assert killed != "MainPID=0"
    site.shell("kill -9 %s" % killed.split("=")[1])
    site.until(lambda: site.shell("systemctl show -p MainPID %s" % UNIT).strip() not in (killed, "MainPID=0"))
    assert site.answers() == [NEW]
    site.has_come_back()
    assert site.reason() == "it was not confirmed within 30 s"


def test_unit_file_is_understood_in_full_and_stopping_the_product_or_sshd_does_not_touch_it(site):
    process = site.begin(3600)
    assert process.communicate(timeout=120) and process.returncode == 0
    complaints = site.execute("systemd-analyze", "verify", "/etc/systemd/system/" + UNIT, check=False)[2].decode()
    assert UNIT not in complaints, complaints
    assert site.shell("systemctl is-enabled %s" % UNIT).strip() == "enabled"
    assert site.shell("stat -c %a /var/lib/portshift/boks.confirm /var/lib/portshift/boks.confirm/change.json").split() == [
        "700", "600"]
    pid = site.shell("systemctl show -p MainPID %s" % UNIT)
    site.shell("systemctl restart ssh; systemctl stop product; /opt/product stop || :; /opt/product start")
    assert site.shell("systemctl show -p MainPID %s" % UNIT) == pid and site.state() == "waiting"
    # An administrator who stops it wants the host as it was.
    site.execute("systemctl", "stop", UNIT)
    site.has_come_back()
    assert "told to end" in site.reason()
