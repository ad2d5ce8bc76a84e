# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab in containers for runs of the playbooks, what can befall its hosts, and a control node elsewhere."""

import json
import os
import shlex
import shutil
import time
from pathlib import Path

from tests.integration.migration_lab import CHECKOUT, NEW, OLD, Lab
from tests.lab import containers

AFTER_PHASE_ONE = dict(server=NEW, relay1=NEW, relay2=OLD, client01=NEW, client02=OLD)
BOOT_SECONDS = 120
RECORD = "/var/lib/portshift/bigfix.json"
LOCK = "/var/lib/portshift/bigfix.lock"
# What the stand-ins write while they run is no file of the product's that a migration could move.
PRODUCT_FILES = r"""
find /etc/opt /var/opt \( -name __BESData -o -name lab-ledger.txt \) -prune -o \( -type f -o -type l \) -printf '%m %U %G %p\n'
echo --
find /etc/opt /var/opt \( -name __BESData -o -name lab-ledger.txt \) -prune -o -type f -exec sha256sum {} +
"""
ASK_FOR_MASTHEAD = """
import sys, urllib.request
for port in sys.argv[2:]:
    try:
        with urllib.request.urlopen("http://%s:%s/masthead/masthead.afxm" % (sys.argv[1], port), timeout=5) as answer:
            if b"X-Fixlet-Site" in answer.read():
                print(port)
    except OSError:
        pass
"""
# Written in ever smaller blocks, until not one byte more goes in.
FILL = """
import errno, os, sys
block = 4096
with open(sys.argv[1], "wb", buffering=0) as stream:
    while block:
        try:
            stream.write(b"0" * block)
        except OSError as err:
            if err.errno != errno.ENOSPC:
                raise
            block //= 2
print(os.statvfs(os.path.dirname(sys.argv[1])).f_bavail)
"""
FILLING = "of-another"


class Estate(Lab):
    """The lab whose hosts are containers.  Files and services are read inside of them."""

    def __init__(self, folder, engine, kind="signed"):
        super().__init__(folder, kind)
        self.engine = engine

    def start(self, *options, relays="1,1", clients=2, give_up=120):
        self.ok("start", "--containers", "--masthead", self.kind, "--relays", relays, "--clients", str(clients), "--rate", "4",
                "--give-up", str(give_up), "--life", "5400", *options)
        return self

    @property
    def described(self):
        return json.loads((self.folder / "lab.json").read_text())

    def container(self, host):
        return self.described["hosts"][host]["container"]

    # -- what is there
    def execute(self, host, *command, stdin=None):
        """-> what it printed; fails when the command does."""
        how = {} if stdin is None else {"stdin": stdin.encode()}
        return self.engine.execute(self.container(host), *command, **how).decode("utf-8", "replace")

    def said(self, host, *command):
        """-> (exit status, what it printed, error output too) of a command that leaves no process behind."""
        code, output, error = self.engine.enter(self.container(host), *command, check=False)
        return code, (output + error).decode("utf-8", "replace")

    def snapshot(self, records=False):
        """{(host, path): (mode, owner, group, sha256)} of every file of the product's on every host."""
        assert not records, "the records are not part of it"

        def read(host):
            seen = self.engine.enter(self.container(host), "sh", "-ec", PRODUCT_FILES).decode("utf-8", "replace")
            listed, _mark, sums = seen.partition("--\n")
            digests = {path: digest for digest, path in (line.split(None, 1) for line in sums.splitlines())}
            found = {}
            for line in listed.splitlines():
                mode, owner, group, path = line.split(" ", 3)
                found[host, path.lstrip("/")] = (int(mode, 8), int(owner), int(group), digests.get(path))
            return found

        return {name: known for found in containers.at_once(read, self.hosts) for name, known in found.items()}

    def pids(self):
        """{(host, service): pid}: the same again means that none was restarted."""
        return {(host, service): known["pid"] for host, found in self.status()["hosts"].items()
                for service, known in found["services"].items()}

    def answered(self, host, at):
        """The ports out of the old and the new one on which `at` serves its masthead to `host`."""
        return [int(line) for line in self.execute(
            host, "python3", "-", self.address(at), str(OLD), str(NEW), stdin=ASK_FOR_MASTHEAD).split()]

    def bridge(self, host):
        """What nft lists of the bridge, but for who has used it and when; "" where there is none."""
        code, said = self.said(host, "nft", "--stateless", "--terse", "list", "table", "inet", "portshift_bigfix")
        assert code == 0 or "No such file" in said, said
        return said if code == 0 else ""

    def reserved(self, host):
        return self.execute(host, "cat", "/proc/sys/net/ipv4/ip_local_reserved_ports").strip()

    def lock(self):
        """The holder of the lock on the root server; None without one."""
        code, said = self.said("server", "cat", LOCK)
        return json.loads(said)["holder"] if code == 0 else None

    # -- the end of every scenario
    def all_report(self, port):
        """Every agent reports through `port`, every service runs, and by the root server's own count no report is lost."""
        self.wait(port)
        status = self.status()
        assert {name: agent["lost"] for name, agent in status["agents"].items()} == dict.fromkeys(self.hosts, 0)
        assert {host: found["port"] for host, found in status["hosts"].items()} == dict.fromkeys(self.hosts, port)
        assert [(host, service) for host, found in status["hosts"].items() for service, known in found["services"].items()
                if not known["running"]] == []

    # -- where a scenario begins
    def at_old(self):
        """Nothing of a migration is in force."""
        if set(self.ports().values()) != {OLD} or any(self.bridge(host) for host in self.hosts):
            self.play("rollback").good()
            self.all_report(OLD)
        return self

    def after_phase_one(self):
        """The root server and the pilot have moved, the others answer on both ports."""
        if self.ports() != AFTER_PHASE_ONE:
            self.at_old()
            self.play("migrate", "-e", "bigfix_phases=1").good()
        return self

    # -- what befalls it
    def await_boot(self, host):
        end = time.monotonic() + BOOT_SECONDS
        while self.said(host, "systemctl", "is-system-running", "--wait")[1].strip() != "running":
            assert time.monotonic() < end, self.said(host, "systemctl", "--failed", "--no-legend")[1]
            time.sleep(0.1)

    def reboot(self, host):
        self.engine.run("restart", "--time", "20", self.container(host))
        self._is_back(host)

    def kill_host(self, host):
        """As if the power failed: to those who talk with it, it says nothing more."""
        self.execute(host, "ip", "link", "set", "eth0", "down")
        self.engine.run("kill", self.container(host))

    def power_on(self, host):
        self.engine.run("start", self.container(host))
        self._is_back(host)

    def _is_back(self, host):
        self.await_boot(host)
        # Engines give a container another hardware address at each start, which no real host does over a boot.
        for other in self.hosts:
            if other != host:
                self.execute(other, "ip", "neigh", "flush", "to", self.address(host))

    def fill(self, host, folder, when_stops=None):
        """The folder becomes a small file system of its own, filled to the last byte: now, or when that service stops."""
        self.execute(host, "sh", "-ec", """
            mkdir -p "$1"
            cp -a "$1" /run/portshift-kept
            mount -t tmpfs -o size=256k,mode=$(stat -c %a "$1") tmpfs "$1"
            cp -a /run/portshift-kept/. "$1"
            rm -r /run/portshift-kept
            cat >/run/portshift-fill.py""", "sh", folder, stdin=FILL)
        fill = ["/usr/bin/python3", "/run/portshift-fill.py", "%s/%s" % (folder, FILLING)]
        if when_stops is None:
            free = self.execute(host, *fill).strip()
            assert free == "0", "%s of %s still has %s blocks" % (folder, host, free)
        else:
            self.execute(host, "sh", "-ec", """
                mkdir -p "/run/systemd/system/$1.service.d"
                printf '[Service]\nExecStopPost=%s\n' "$2" >"/run/systemd/system/$1.service.d/portshift-fill.conf"
                systemctl daemon-reload""", "sh", when_stops, " ".join(fill))

    def free(self, host, folder):
        """There is room again, on the disk as before; what the folder holds by now stays."""
        self.execute(host, "sh", "-ec", """
            rm -f "$1/$2" /run/systemd/system/*.service.d/portshift-fill.conf
            systemctl daemon-reload
            cp -a "$1" /run/portshift-kept
            umount "$1"
            find "$1" -mindepth 1 -delete
            cp -a /run/portshift-kept/. "$1"
            rm -r /run/portshift-kept""", "sh", folder, FILLING)


class ControlNode:
    """A second control node: its own checkout, home, host name and machine id.  `how` goes with Lab.begin()."""

    def __init__(self, folder, name):
        self.name = name
        self.checkout = Path(folder) / "checkout"
        home, collections = Path(folder) / "home", Path(folder) / "collections"
        self.checkout.mkdir(parents=True)
        home.mkdir()
        for part in ("ansible.cfg", "galaxy.yml", "meta", "playbooks", "plugins", "roles"):
            copy = shutil.copytree if (CHECKOUT / part).is_dir() else shutil.copy
            copy(CHECKOUT / part, self.checkout / part)
        # The collections that the roles build on are installed there too, ours is the copy.
        for known in os.environ["ANSIBLE_COLLECTIONS_PATH"].split(os.pathsep):
            for found in sorted(Path(known).glob("ansible_collections/*/*")):
                place = collections / "ansible_collections" / found.parent.name / found.name
                if found.is_dir() and not place.is_symlink() and found.parent.name != "portshift":
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.symlink_to(found.resolve())
        place = collections / "ansible_collections/portshift"
        place.mkdir(parents=True)
        (place / "agents").symlink_to(self.checkout)
        machine_id = Path(folder) / "machine-id"
        machine_id.write_text("%032x\n" % int.from_bytes(os.urandom(16), "big"))
        enter = ["hostname %s" % shlex.quote(name)]
        if os.path.exists("/etc/machine-id"):
            enter.append("mount --bind %s /etc/machine-id" % shlex.quote(str(machine_id)))
        enter += ["cd %s" % shlex.quote(str(self.checkout)), 'exec "$@"']
        self.how = {"cold": True, "prefix": [
            "unshare", "--uts", "--mount", "--", "sh", "-ec", "\n".join(enter), "sh", "env", "HOME=%s" % home,
            "ANSIBLE_COLLECTIONS_PATH=%s" % collections, "ANSIBLE_CONFIG=%s" % (self.checkout / "ansible.cfg")]}
