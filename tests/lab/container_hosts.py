# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that are containers, whatever product runs on them: systemd, ssh, a firewall that is on, an end of their own."""

import io
import json
import os
import shlex
import shutil
import subprocess
import tarfile
import time

from . import containers, firewalls, kept_code
from .lab_folder import BadState
from .processes import Failed

HERE = os.path.dirname(os.path.abspath(__file__))
MOST_HOSTS = 200    # of one network; some hundred megabytes of memory each hundred
EXPIRES_LABEL = containers.LABEL + ".expires"
FOLDER = "/opt/portshift-lab"
UNIT_FOLDER = "etc/systemd/system"
BOOT_SECONDS = 120

LIFE_SERVICE = """[Unit]
Description=The end of a host that its lab has forgotten

[Service]
Type=oneshot
ExecStart=/bin/systemctl --no-block poweroff
"""
LIFE_TIMER = """[Unit]
Description=The end of a host that its lab has forgotten

[Timer]
OnStartupSec=%ds
AccuracySec=1s

[Install]
WantedBy=timers.target
"""
# Nothing but the stand-ins' own modules and the standard library, whatever the environment of the caller says.
PROGRAM = """#!/usr/bin/python3 -ESs
import sys
sys.path[0] = "%s"
from lab.{module} import {function}
sys.exit({function}(sys.argv[1:]))
""" % FOLDER


def program(module, function="main"):
    """-> the text of a program on a host: function(arguments) of a module of the stand-ins."""
    return PROGRAM.format(module=module, function=function)


class ContainerHosts:
    """Goes before the LabFolder of a product among the bases of its lab in containers."""

    def __init__(self, folder, data):
        super().__init__(folder, data)
        self._engine = None
        self.id = data["containers"]["id"]
        self.label = "%s=%s" % (containers.LABEL, self.id)

    @classmethod
    def _planned(cls, folder, count, engine, firewalls, life_seconds, describe):
        """A lab of `count` hosts; describe(subnet, addresses) -> what its lab.json holds of the product.

        The image is there then, and the network.
        """
        if count > MOST_HOSTS:
            raise BadState("A lab of containers holds at most %d hosts, %d are asked for." % (MOST_HOSTS, count))
        for command in ("ssh", "ssh-keygen"):
            if shutil.which(command) is None:
                raise Failed("A lab of containers needs the command %s (package openssh-client or openssh-clients)." % command)
        found = containers.Engine(engine)
        _remove_expired(found)
        containers.check_room(count)
        lab_id = "lab-%s" % os.urandom(3).hex()
        images = {kept: containers.image(found, kept) for kept in {name == "iptables" for name in firewalls}}
        try:
            expires = int(time.time() + life_seconds)
            subnet = containers.make_network(found, lab_id, "%s=%s" % (containers.LABEL, lab_id),
                                             "%s=%d" % (EXPIRES_LABEL, expires))
            data = describe(subnet, containers.addresses(subnet, count))
            data["folder_in_container"] = FOLDER
            data["containers"] = {"id": lab_id, "engine": found.name, "expires": expires}
            for index, name in enumerate(data["hosts"]):
                firewall = firewalls[index % len(firewalls)]
                data["hosts"][name].update(image=images[firewall == "iptables"], container="%s-%s" % (lab_id, name))
                # A product may have given it one that is no matter of the image.
                data["hosts"][name].setdefault("firewall", firewall)
            return cls(folder, data)
        except BaseException:
            found.remove("%s=%s" % (containers.LABEL, lab_id))
            raise

    # -- what a product has of its own
    def _units(self, host):
        """-> [(name of a unit, its text)], which are started at boot."""
        raise NotImplementedError

    def _admitted(self, host):
        """-> [(port, protocol)] that the firewall of this host lets in beside ssh."""
        raise NotImplementedError

    def _in_turn(self):
        """-> [[host]]: who is up before the next ones start."""
        return [self.hosts]

    @property
    def engine(self):
        if self._engine is None:
            self._engine = containers.Engine(self.data["containers"]["engine"])
        return self._engine

    def container(self, host):
        return self.data["hosts"][host.name]["container"]

    def inside(self, path):
        """The path in the container of a path in the folder from which it was filled."""
        parts = os.path.relpath(path, os.path.join(self.folder, "hosts")).split(os.sep)
        return "/" + "/".join(parts[1:])

    def fetch(self, host, path):
        """-> the content of a file, also when the container does not run; b"" when it is not there."""
        code, output, _error = self.engine.run("cp", "%s:%s" % (self.container(host), path), "-", check=False)
        if code != 0:
            return b""
        with tarfile.open(fileobj=io.BytesIO(output)) as archive:
            return archive.extractfile(archive.getmembers()[0]).read()

    # -- files
    def write(self):
        os.makedirs(os.path.join(self.folder, "ssh"), mode=0o700, exist_ok=True)
        _make_key(self._key, "portshift.agents lab")
        super().write()
        self._put("ssh/known_hosts", "".join("%s,%s %s\n" % (
            host.address, host.name, " ".join(self._host_key(host)[1].split()[:2])) for host in self.hosts))
        lines = []
        for host in self.hosts:
            lines += ["Host %s" % host.name, "    HostName %s" % host.address]
        lines += ["Host *", "    User root", '    IdentityFile "%s"' % self._key, "    IdentitiesOnly yes",
                  "    IdentityAgent none", '    UserKnownHostsFile "%s"' % os.path.join(self.folder, "ssh", "known_hosts"),
                  "    StrictHostKeyChecking yes", "    PasswordAuthentication no"]
        self._put("ssh/config", "\n".join(lines) + "\n")

    @property
    def _key(self):
        return os.path.join(self.folder, "ssh", "key")

    def _host_key(self, host):
        path = host.path("etc/ssh/ssh_host_ed25519_key")
        with open(path) as private, open(path + ".pub") as public:
            return private.read(), public.read()

    def _variables(self):
        common = "-F %s" % shlex.quote(os.path.join(self.folder, "ssh", "config"))
        return [("ansible_connection", "ssh"), ("ansible_ssh_common_args", json.dumps(common)),
                ("ansible_python_interpreter", "/usr/bin/python3")]

    def _host_variables(self, host):
        return [("ansible_host", host.address), ("lab_firewall", self.data["hosts"][host.name]["firewall"])]

    def _write_host_system(self, host):
        """All that makes a container a host of this lab, but for the product."""
        with open(self.file) as stream:
            self._put(host.path(FOLDER.lstrip("/"), "lab.json"), stream.read())
        os.makedirs(host.run_folder, exist_ok=True)
        for unit, text in self._units(host):
            self._put(host.path(UNIT_FOLDER, unit), text)
            self._link(host, "multi-user.target.wants/%s" % unit, "../%s" % unit)
        self._put(host.path(UNIT_FOLDER, "portshift-lab-life.service"), LIFE_SERVICE)
        self._put(host.path(UNIT_FOLDER, "portshift-lab-life.timer"), LIFE_TIMER % self.data["life_seconds"])
        self._link(host, "timers.target.wants/portshift-lab-life.timer", "../portshift-lab-life.timer")
        with open(self._key + ".pub") as stream:
            self._put(host.path("root/.ssh/authorized_keys"), stream.read(), 0o600)
        os.makedirs(host.path("etc/ssh"))
        _make_key(host.path("etc/ssh/ssh_host_ed25519_key"), host.name)
        for path, text in kept_code.files().items():
            self._put(host.path(path), text)
        files, links = firewalls.configured(self.data["hosts"][host.name]["firewall"], self._admitted(host))
        for path, (text, mode) in files.items():
            self._put(host.path(path), text, mode)
        for link, target in links.items():
            self._link(host, os.path.relpath(link, UNIT_FOLDER), target)

    def _link(self, host, link, target):
        path = host.path(UNIT_FOLDER, link)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, path)

    # -- containers
    def begin(self):
        for hosts in self._in_turn():
            containers.at_once(self._make, hosts)
            # What runs from now on is in the containers; copies of it here would only be taken for it.
            for host in hosts:
                shutil.rmtree(host.root)
            containers.at_once(self._await_boot, hosts)
        os.rmdir(os.path.join(self.folder, "hosts"))

    def _make(self, host):
        given = self.data["hosts"][host.name]
        options = ["--name", given["container"], "--hostname", host.name, "--label", self.label,
                   "--label", "%s=%d" % (EXPIRES_LABEL, self.data["containers"]["expires"]),
                   "--network", self.id, "--ip", host.address,
                   "--mac-address", containers.hardware_address(host.address)]
        for other in self.hosts:
            if other is not host:
                options += ["--add-host", "%s:%s" % (other.name, other.address)]
        options += self.engine.host_options()
        self.engine.run("create", *(options + [given["image"], containers.INIT]))
        self.engine.run("cp", "-", given["container"] + ":/", stdin=self._archive(host))
        self.engine.run("start", given["container"])

    def _archive(self, host):
        """What a host of the lab has beside its operating system."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            def add(source, name, mode=None):
                member = archive.gettarinfo(source, name)
                member.uid = member.gid = 0
                member.uname = member.gname = "root"
                member.mode = member.mode if mode is None else mode
                if member.isreg():
                    with open(source, "rb") as content:
                        archive.addfile(member, content)
                else:
                    archive.addfile(member)

            # Of the folders only those that are the lab's own: all others are there and have their modes.
            add(host.path("root/.ssh"), "root/.ssh", 0o700)
            for folder, subfolders, files in os.walk(host.root):
                if not subfolders and not files:
                    add(folder, os.path.relpath(folder, host.root), 0o755)
                for name in files:
                    path = os.path.join(folder, name)
                    add(path, os.path.relpath(path, host.root))
            for folder, subfolders, files in os.walk(HERE):
                subfolders[:] = [name for name in subfolders if name != "__pycache__"]
                for name in files:
                    if name.endswith(".py"):
                        path = os.path.join(folder, name)
                        add(path, os.path.join(FOLDER.lstrip("/"), "lab", os.path.relpath(path, HERE)), 0o644)
        # What follows the mark of the end only fills a tape's block.  podman's reader stops at the mark, so writing the rest
        # of it ended with a broken pipe whenever the reader was faster, as on a busy machine.
        return stream.getvalue()[:archive.offset]

    def _await_boot(self, host):
        container = self.container(host)
        end = time.monotonic() + BOOT_SECONDS
        while True:
            code, output, error = self.engine.execute(container, "systemctl", "is-system-running", "--wait", check=False,
                                                      timeout=BOOT_SECONDS)
            state = output.decode("utf-8", "replace").strip()
            if state == "running":
                return
            # For a moment there is no service manager to ask.
            if state not in ("", "offline", "unknown", "initializing", "starting") or time.monotonic() > end:
                break
            time.sleep(0.1)
        failed = self.engine.execute(container, "sh", "-c", "systemctl --failed --plain --no-legend | cut -d ' ' -f 1; "
                                     "journalctl --quiet --no-pager --priority=3 --lines=3 --output=cat", check=False)[1]
        raise Failed("%s did not come up: %s. %s" % (
            host.name, state or error.decode("utf-8", "replace").strip(),
            " / ".join(failed.decode("utf-8", "replace").split("\n")).strip(" /")))

    def abandon(self):
        self.engine.remove(self.label)

    # -- what is done to it
    def set_fault(self, host, fault):
        path = os.path.join(FOLDER, "fault")
        if fault is None:
            self.engine.enter(self.container(host), "rm", "-f", path)
        else:
            self.engine.enter(self.container(host), "sh", "-c", 'cat >"$1"', "sh", path, stdin=(fault + "\n").encode("ascii"))

    def stop(self, remove):
        """-> what was done, for the user."""
        if remove:
            self.engine.remove(self.label)
            return "%d containers and their network removed" % len(self.hosts)
        self.engine.run("stop", "--time", "20", *[self.container(host) for host in self.hosts])
        return "%d containers stopped" % len(self.hosts)


def _make_key(path, comment):
    done = subprocess.Popen(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.communicate()[0].decode("utf-8", "replace").strip()
    if done.returncode != 0:
        raise Failed("ssh-keygen made no key %s: %s" % (path, said))


def _remove_expired(engine):
    """Takes away labs that have lived out their time: their hosts have switched themselves off, what is left is on disk."""
    labs = {}
    for kind, names, fields in (
            ("container", ["ps", "--all"], '{{index .Config.Labels "%s"}} {{index .Config.Labels "%s"}} {{.State.Running}}'),
            ("network", ["network", "ls"], '{{index .Labels "%s"}} {{index .Labels "%s"}} false')):
        for name in engine.run(*(names + ["--quiet", "--filter", "label=" + EXPIRES_LABEL])).decode("ascii").split():
            # Another run may take it away meanwhile.
            code, output, _error = engine.run("inspect", "--type", kind, "--format",
                                              fields % (containers.LABEL, EXPIRES_LABEL), name, check=False)
            if code == 0:
                lab_id, expires, running = output.decode("ascii").split()
                labs.setdefault(lab_id, []).append(running == "false" and int(expires) < time.time())
    for lab_id, over in labs.items():
        if all(over):
            engine.remove("%s=%s" % (containers.LABEL, lab_id))
