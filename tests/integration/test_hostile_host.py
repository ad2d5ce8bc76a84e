# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host on which another user plants files, links and FIFOs beside those that root reads and writes.

One container with a user of its own, without systemd: what runs in it as root are the modules, as Ansible's wrapper calls
them, and the user's own processes swap names while they run.
"""

import io
import json
import os
import tarfile
import time

import ansible.module_utils
import pytest

from tests.conftest import COLLECTIONS
from tests.integration import direct_module
from tests.lab import containers
from tests.unit import masthead_files

OLD, NEW = 52311, 55000
NAME = "portshift-hostile-%d" % os.getpid()
LABEL = "portshift.hostile=%s" % NAME
CODE = "/opt/code"
SECRET = b"root:$6$hash:20000:0:99999:7:::\n"
SETTINGS = b"[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\_BESRelay_HTTPServer_PortNumber]\nvalue = 52311\n"
SERVICES = b"ssh 22/tcp\nboks 6500/tcp\n"
LOGS = "/var/opt/BESClient/__BESData/__Global/Logs"

# What root does again and again while the user swaps names: it reads the end of a log, and edits a file.
READER = """
import sys, time
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileEdit, FileError, read_bytes, read_end
class Module:
    check_mode, _diff, params = False, False, {}
    def warn(self, sentence):
        pass
end, done, refused = time.monotonic() + float(sys.argv[2]), 0, 0
# A busy machine may let one of the two alone for seconds.
while time.monotonic() < end or min(done, refused) <= 20 and time.monotonic() < end + 55:
    for read in (read_bytes, lambda path: read_end(path, 4096)):
        try:
            content = read(sys.argv[1]) or b""
        except FileError:
            refused += 1
        else:
            done += 1
            assert b"hash" not in content, content
    try:
        edit = FileEdit.read(sys.argv[1])
        edit.apply(edit.before + b"line of root's\\n" if len(edit.before) < 1000 else b"theirs\\n").commit(Module())
        done += 1
    except FileError:
        refused += 1
print(done, refused)
"""
# What the user does meanwhile.
SWAPPER = """
import os, sys
name, secret = sys.argv[1:]
folder = os.path.dirname(name)
number = 0
while True:
    for make in (lambda new: open(new, "wb").write(b"theirs\\n"), lambda new: os.symlink(secret, new), os.mkfifo):
        number += 1
        new = name + ".new%d" % number
        make(new)
        os.rename(new, name)
        for odd in (".before-portshift", ".portshift-abcdefgh"):
            beside = os.path.join(folder, "." + os.path.basename(name) + odd)
            try:
                os.symlink(secret, beside)
            except OSError:
                try:
                    os.unlink(beside)
                except OSError:
                    pass
    # The whole folder, too: for a moment it is a link to the one where the secret lies.
    os.rename(folder, folder + ".away")
    os.symlink(os.path.dirname(secret), folder)
    os.unlink(folder)
    os.rename(folder + ".away", folder)
"""


def code():
    """This collection and what it needs of Ansible, as an archive."""
    packed = io.BytesIO()
    ansible_folder = os.path.dirname(os.path.dirname(ansible.module_utils.__file__))
    ours = os.path.join(COLLECTIONS, "ansible_collections", "portshift", "agents", "plugins")
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, name in ((os.path.join(ansible_folder, "module_utils"), "ansible/module_utils"),
                           (os.path.join(ansible_folder, "release.py"), "ansible/release.py"),
                           (os.path.join(ansible_folder, "_internal"), "ansible/_internal"),
                           (os.path.realpath(ours), "ansible_collections/portshift/agents/plugins")):
            if os.path.exists(path):
                archive.add(path, name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    return packed.getvalue()


class Host:
    def __init__(self, engine, folder):
        self.engine = engine
        (folder / "services").write_bytes(SERVICES)
        (folder / "services").chmod(0o644)
        engine.run("run", "--detach", "--name", NAME, "--label", LABEL, "--network", "none", "--volume",
                   "%s:/etc/services" % (folder / "services"), *containers.LIMITS, containers.image(engine), "sleep", "infinity")
        self.run("mkdir", CODE)
        engine.execute(NAME, "tar", "-x", "-C", CODE, stdin=code())
        self.run("touch", CODE + "/ansible/__init__.py")
        self.run("useradd", "--create-home", "mallory")

    def run(self, *command, user=None, check=True):
        options = ["--user", user] if user else []
        status, output, error = self.engine.run("exec", *options, NAME, *command, check=False)
        assert not check or status == 0, (command, output, error)
        return output if check else (status, output + error)

    def shell(self, script, user=None, **values):
        return self.run("sh", "-ec", script.format(**values), user=user)

    def write(self, path, content, owner="root", mode=0o644):
        self.engine.execute(NAME, "sh", "-ec", 'mkdir -p "$(dirname "$0")"; cat >"$0"; chown "$1" "$0"; chmod "$2" "$0"', path,
                            owner, "%o" % mode, stdin=content)

    def read(self, path):
        return self.run("cat", path)

    def python(self, program, *arguments, user=None, detach=False):
        # Bounded: what hangs ends as a failure.
        command = ["timeout", "120", "env", "PYTHONPATH=" + CODE, "python3", "-c", program, *map(str, arguments)]
        if detach:
            return self.engine.run("exec", "--detach", *(["--user", user] if user else []), NAME, *command)
        return self.run(*command, user=user)

    def module(self, called, check=False, **arguments):
        arguments = dict(arguments, _ansible_check_mode=check, _ansible_diff=True, _ansible_remote_tmp="/tmp")
        status, said = self.engine.run(
            "exec", NAME, "timeout", "120", "env", "PYTHONPATH=" + CODE, "python3", "-c", direct_module.CALL,
            direct_module.OURS + called, json.dumps(arguments), check=False)[:2]
        assert status != 124, "%s hangs" % called
        return json.loads(said.decode().strip().splitlines()[-1])


@pytest.fixture(scope="module")
def host(engine, tmp_path_factory):
    try:
        made = Host(engine, tmp_path_factory.mktemp("hostile"))
        made.write("/root/kept/shadow", SECRET, mode=0o600)
        yield made
        # Whatever was tried, in any test: it is as it was.
        assert made.read("/root/kept/shadow") == SECRET and made.run("ls", "-A", "/root/kept") == b"shadow\n"
    finally:
        engine.remove(LABEL)


def both(host, called, **arguments):
    """What check mode and the real run return."""
    return [host.module(called, check, **arguments) for check in (True, False)]


def test_log_folder_of_another_user(host):
    """It holds the reader with a FIFO, lets the log become a link to a file of root's, and plants what would be put back."""
    log = LOGS + "/%s.log" % time.strftime("%Y%m%d", time.gmtime())
    host.write("/etc/opt/BESClient/actionsite.afxm", masthead_files.plain(port=NEW))
    host.write("/var/opt/BESClient/besclient.config", SETTINGS.replace(b"52311", b"55000"))
    host.shell("mkdir -p {logs}; chown mallory {logs}", logs=LOGS)
    asked = dict(component="client", port=NEW, masthead_paths=["/etc/opt/BESClient/actionsite.afxm"],
                 settings_paths=["/var/opt/BESClient/besclient.config"], log_dir=LOGS, success_patterns=["hash"], files=False,
                 timeout=0)
    kept = "%s/.%s.before-portshift" % (LOGS, os.path.basename(log))
    for plant in ("mkfifo {kept}; ln -s /root/kept/shadow {log}", "echo planted >{kept}; ln -s /root/kept/shadow {log}",
                  "ln -s /root/kept/shadow {kept}; mkfifo {log}", "mkfifo {kept}; ln -s {kept} {log}"):
        host.shell(plant, user="mallory", log=log, kept=kept)
        for result in both(host, "bigfix_evidence", **asked):
            assert result["failed"] and "log" in result["missing"] and "20000:0" not in json.dumps(result), result
        host.shell("rm -rf {log} {kept}", user="mallory", log=log, kept=kept)
    assert host.read("/root/kept/shadow") == SECRET


def test_sticky_folder_that_all_may_write(host):
    """What others plant beside a masthead or a services file there is neither installed nor put back, in check mode neither."""
    host.shell("mkdir /srv/drop; chmod 1777 /srv/drop")
    issued, installed = masthead_files.plain(port=NEW), masthead_files.plain(port=OLD)
    host.write("/srv/drop/issued.afxm", issued)
    host.write("/srv/masthead.afxm", installed)
    host.write("/srv/drop/services", SERVICES)
    for plant in ("mkfifo $name", ": >$name", "ln -s /root/kept/shadow $name"):
        host.shell("cd /srv/drop; for name in .issued.afxm.before-portshift .services.before-portshift "
                   ".services.portshift-abcdefgh; do rm -rf $name; {plant}; done", user="mallory", plant=plant)
        for result in both(host, "bigfix_masthead", path="/srv/masthead.afxm", port=NEW, src="/srv/drop/issued.afxm",
                           remote_src=True):
            assert result["changed"] and result["port"] == NEW, result
        assert host.read("/srv/masthead.afxm") == issued
        for result in both(host, "services_entry", path="/srv/drop/services", name="boks", port=6530):
            assert result["changed"], result
        assert host.read("/srv/drop/services") == SERVICES.replace(b"6500", b"6530")
        host.write("/srv/masthead.afxm", installed)
        host.write("/srv/drop/services", SERVICES)
    # A file that the user has planted as the target of root's edit by a link.
    host.shell("ln -s /root/kept/shadow /srv/drop/link", user="mallory")
    for result in both(host, "services_entry", path="/srv/drop/link", name="boks", port=6530):
        assert "a symbolic link that belongs to the user mallory" in result["msg"]


def test_stale_copy_beside_a_file_that_is_mounted(host):
    """The one place where a copy is looked for: it changes nothing that was mended since, and both files are named."""
    stale = ("from ansible_collections.portshift.agents.plugins.module_utils._core import file_edit as e; import sys; "
             "sys.stdout.buffer.write(e._kept_text(*(text.encode() for text in sys.argv[1:])))")
    content = host.python(stale, "boks 6500/tcp\n", "boks 6530/tcp\n")
    host.write("/etc/.services.before-portshift", content)
    checked, real = both(host, "services_entry", name="boks", port=6530)
    assert checked["changed"] and not checked.get("failed")
    assert "/etc/services: a write into it was interrupted once" in real["msg"]
    assert "/etc/.services.before-portshift" in real["msg"] and host.read("/etc/services") == SERVICES
    # One of another user's counts for nothing, whatever it holds.
    torn = SERVICES.replace(b"6500", b"6530")
    host.write("/etc/.services.before-portshift", b"", owner="mallory")
    assert "is not its owner's alone" in host.module("services_entry", name="boks", port=6530)["msg"]
    # That of a write that was killed is put back, and the edit goes on from there.
    host.write("/etc/.services.before-portshift", host.python(stale, SERVICES.decode(), "boks 6530/tcp\n" + torn.decode()))
    assert host.module("services_entry", check=True, name="boks", port=6530)["changed"]
    result = host.module("services_entry", name="boks", port=6530)
    assert result["changed"] and host.read("/etc/services") == torn, result
    assert host.shell("ls -A /etc | grep portshift || :") == b""
    assert host.module("services_entry", name="boks", port=6500)["changed"]


def test_record_that_another_user_can_write(host):
    """A record tells root what to restore where: it is neither believed nor written in a folder that is another user's."""
    host.write("/etc/kept", b"kept")
    host.write("/srv/services", SERVICES)
    entry = dict(path="/etc/kept", sha256_before="0" * 64, sha256_after="0" * 64, backup="/var/lib/portshift/boks/" + "0" * 64)
    record = dict(version=1, old_port=6500, new_port=6530, phase="1", state="changing", files=[entry])
    host.write("/var/lib/portshift/boks.json", json.dumps(record).encode(), owner="mallory", mode=0o600)
    for result in both(host, "change_record", path="/var/lib/portshift/boks.json", state="restored", force=True):
        assert "can be written by other users" in result["msg"] and host.read("/etc/kept") == b"kept"
    for spoil in ("chown mallory /var/lib/portshift", "chown root /var/lib/portshift; chmod 1777 /var/lib/portshift"):
        host.shell(spoil)
        for result in both(host, "services_entry", path="/srv/services", name="boks", port=6530,
                           record=dict(path="/var/lib/portshift/boks.json", old_port=6500, new_port=6530)):
            assert "lies in a folder where other users can write" in result["msg"], result
        assert host.read("/srv/services") == SERVICES
        for result in both(host, "change_record", path="/var/lib/portshift/boks.json", state="restored", force=True):
            assert "lies in a folder where other users can write" in result["msg"], result
    host.shell("rm -rf /var/lib/portshift")


def test_names_that_are_swapped_while_root_reads_and_writes(host):
    """Thousands of attempts: what root reads and writes is the user's own file, or nothing."""
    host.shell("mkdir -p /home/mallory/conf; : >/home/mallory/conf/settings", user="mallory")
    host.python(SWAPPER, "/home/mallory/conf/settings", "/root/kept/shadow", user="mallory", detach=True)
    done, refused = map(int, host.python(READER, "/home/mallory/conf/settings", 5).split())
    assert done > 20 and refused > 20, (done, refused)
    assert host.read("/root/kept/shadow") == SECRET
