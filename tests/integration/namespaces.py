# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that are network namespaces: a packet filter of their own, which every user may set."""

import contextlib
import os
import subprocess

import pytest

from tests.integration import direct_module


class Namespace:
    """A network namespace that a process holds open; `prefix` runs a command in it.

    `mounts`: shell commands for mounts of its own.  `beside`: another one, which may be reached by a cable.
    """

    def __init__(self, mounts="", beside=None):
        self.env = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
        self.modules = None
        kinds = ["--net"]
        if beside is None:
            kinds += ["--user", "--map-root-user"]
        if mounts:
            kinds += ["--mount"]
        self.holder = subprocess.Popen(
            [*(beside.prefix if beside else []), "unshare", *kinds, "--", "sh", "-ec",
             "%s\nip link set lo up && echo up && exec sleep 7200" % mounts],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env)
        said = self.holder.stdout.readline().strip()
        self.why_not = None if said == "up" else said or "unshare gave no namespace"
        self.prefix = ["nsenter", "--target", str(self.holder.pid), "--user", "--net", *(["--mount"] if mounts else []),
                       "--preserve-credentials", "--"]

    def run(self, *command, data=None):
        return subprocess.run([*self.prefix, *command], input=data, stdin=None if data else subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=120, env=self.env)

    def begin_module(self, name, arguments):
        """A module on its way, as direct_module.begin has it."""
        if self.modules is None:
            self.modules = direct_module.server(self.prefix, self.env)
        return direct_module.begin(name, arguments, server=self.modules, env=self.env)

    def module(self, name, arguments):
        """What the module returned."""
        return direct_module.result(*self.begin_module(name, arguments).communicate(timeout=120))

    def close(self):
        if self.modules:
            self.modules.close()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


@contextlib.contextmanager
def namespace_or_skip():
    """A namespace with nftables."""
    found = Namespace()
    try:
        if found.why_not or found.run("nft", "list", "tables").returncode:
            pytest.skip("no network namespace with nftables here: %s" % (found.why_not or "nft does not work in it"))
        yield found
    finally:
        found.close()
