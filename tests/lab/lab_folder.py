# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of a lab of any product: what it is called, who is in it, how it is found again."""

import json
import os
import shutil
import signal

from .files import write_atomically

FORMAT = 1


class BadState(Exception):
    """The folder is not what the command needs: one sentence."""


def vacant(folder):
    """-> the full path of a folder that is empty or not there."""
    folder = os.path.abspath(folder)
    try:
        there = os.listdir(folder)
    except FileNotFoundError:
        there = []
    except OSError as err:
        raise BadState("%s: no folder for a lab (%s)." % (folder, err.strerror))
    if "lab.json" in there:
        raise BadState("There is a lab in %s already; `stop --remove` takes it away." % folder)
    if there:
        raise BadState("%s is not empty, and what is in it is no lab." % folder)
    return folder


def described(folder):
    """-> the full path of the folder of a lab, and what its lab.json says."""
    folder = os.path.abspath(folder)
    try:
        with open(os.path.join(folder, "lab.json")) as stream:
            data = json.load(stream)
        if data["portshift_lab"] != FORMAT:
            raise KeyError
    except (OSError, ValueError, KeyError, TypeError):
        raise BadState("There is no lab in %s." % folder)
    return folder, data


class LabFolder:
    """A product has a subclass, which names the class of its hosts in HOST and writes their files."""

    HOST = None

    def __init__(self, folder, data):
        self.folder = folder
        self.data = data
        self.file = os.path.join(folder, "lab.json")
        self.hosts = [self.HOST(os.path.join(folder, "hosts", name), self.file, data, name) for name in data["hosts"]]

    @classmethod
    def open(cls, folder):
        return cls(*described(folder))

    def host(self, name):
        for host in self.hosts:
            if host.name == name:
                return host
        raise BadState("There is no host %s in the lab, which has %s." % (
            name, ", ".join(host.name for host in self.hosts)))

    def _put(self, path, content, mode=0o644):
        path = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, content if isinstance(content, bytes) else content.encode("utf-8"), mode)

    def write(self):
        self._put("lab.json", json.dumps(self.data, indent=1) + "\n")
        self._write_hosts()
        self._write_inventory(self._groups())

    def _write_hosts(self):
        raise NotImplementedError

    # -- its beginning; a kind of lab has begin, which starts what was written, and abandon, which ends that again
    def bring_up(self, await_ready):
        """Makes and starts a lab that is planned, and waits until it is ready; nothing of it is left when that fails."""
        made_folder = not os.path.exists(self.folder)
        try:
            self.write()
            self.begin()
            await_ready()
        except BaseException:
            self._clean_up(made_folder)
            raise

    def _clean_up(self, made_folder):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)    # an impatient second Ctrl-C must not leave the rest behind
        self.abandon()
        if not os.path.isdir(self.folder):
            return
        # The folder was empty or not there before (see vacant): all that is in it is of this lab.
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        if made_folder:
            os.rmdir(self.folder)

    # -- the inventory
    def _groups(self):
        """-> what _write_inventory takes."""
        raise NotImplementedError

    def _write_inventory(self, groups):
        """Of [(group, [(host name, [(variable, value as YAML)])])]."""
        lines = ["---", "# Written by `python3 -m tests.lab start`.", "all:", "  vars:"]
        lines += ["    %s: %s" % item for item in self._variables()] + ["  children:"]
        for name, hosts in groups:
            lines += ["    %s:" % name, "      hosts:%s" % ("" if hosts else " {}")]
            for host, variables in hosts:
                lines.append("        %s:%s" % (host, "" if variables else " {}"))
                lines += ["          %s: %s" % item for item in variables]
        self._put("inventory.yml", "\n".join(lines) + "\n")

    def _variables(self):
        """Of all hosts: [(variable, value as YAML)]"""
        return []
