# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that is killed at a step of its own choosing by number: before each call that changes something outside of it."""

import collections
import json
import os
import subprocess
import sys

from tests.integration import direct_module

# points: the steps that came about, in order; the last one is where it was killed.
Outcome = collections.namedtuple("Outcome", "killed result points")

# Imports once, and forks for each call: hundreds of them cost no more than a few playbooks.
SERVER = r"""
import builtins, fcntl, importlib, json, os, signal, subprocess, sys
from ansible.module_utils import basic
try:
    from ansible.module_utils.testing import patch_module_args
except ImportError:
    patch_module_args = None

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
NAMES = ("chmod", "chown", "fchmod", "fchown", "fsync", "ftruncate", "link", "makedirs", "mkdir", "remove", "rename", "replace",
         "rmdir", "setxattr", "symlink", "truncate", "unlink", "utime")
modules = {}


def arm(kill_at, pipe):
    count, really_write = [0], os.write

    def point(*words):
        count[0] += 1
        really_write(pipe, (" ".join(str(word).replace("\n", " ") for word in words) + "\n").encode())
        if count[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(owner, name, changes=lambda *arguments, **options: True):
        real = getattr(owner, name)

        def called(*arguments, **options):
            if changes(*arguments, **options):
                point(name, *[word for word in arguments[:2] if isinstance(word, str)])
            return real(*arguments, **options)
        setattr(owner, name, called)

    for name in NAMES:
        wrap(os, name)
    wrap(fcntl, "flock")
    wrap(os, "write", lambda descriptor, data: descriptor > 2)
    wrap(os, "open", lambda path, flags, *more, **options: flags & WRITES and path != os.devnull)
    wrap(builtins, "open", lambda path, mode="r", *more, **options: set(mode) & set("wax+"))
    begin = subprocess.Popen

    def popen(command, *arguments, **options):
        point("begin", *command)
        process = begin(command, *arguments, **options)
        # Begun, and perhaps half way: the next step is after its end.
        point("begun", *command)
        return process
    subprocess.Popen = popen


def call(name, arguments, kill_at, pipe, output):
    os.dup2(output, 1)
    module = modules[name]
    arm(kill_at, pipe)
    try:
        if patch_module_args:
            with patch_module_args(arguments):
                module.main()
        else:
            basic._ANSIBLE_ARGS = json.dumps(dict(ANSIBLE_MODULE_ARGS=arguments)).encode()
            module.main()
    except SystemExit:
        pass
    sys.stdout.flush()


for line in sys.stdin:
    name, arguments, kill_at, said = json.loads(line)
    if name not in modules:
        modules[name] = importlib.import_module("ansible_collections." + name)
    reading, writing = os.pipe()
    output = os.open(said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            call(name, arguments, kill_at, writing, output)
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    os.close(output)
    with open(reading, "rb") as pipe:
        points = pipe.read().decode("utf-8", "replace").splitlines()
    status = os.waitpid(child, 0)[1]
    print(json.dumps([os.WIFSIGNALED(status) and os.WTERMSIG(status), status, points]), flush=True)
"""


class KilledModule:
    """`folder`: for what the module prints.  `prefix`: as of direct_module."""

    def __init__(self, folder, prefix=()):
        self.said = os.path.join(str(folder), "said")
        self.server = subprocess.Popen(
            [*prefix, "env", "PYTHONPATH=" + direct_module.COLLECTIONS, sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, name, arguments, kill_at=None):
        self.server.stdin.write(json.dumps([direct_module.OURS + name, arguments, kill_at, self.said]) + "\n")
        self.server.stdin.flush()
        answer = self.server.stdout.readline()
        assert answer, "the module's process has ended"
        signal, status, points = json.loads(answer)
        if signal:
            assert signal == 9 and kill_at == len(points), (signal, points)
            return Outcome(True, None, points)
        with open(self.said) as said:
            text = said.read()
        assert status == 0 or text, "the module ended with %d" % status
        return Outcome(False, direct_module.result(text), points)

    def close(self):
        self.server.stdin.close()
        self.server.wait(60)
        self.server.stdout.close()
