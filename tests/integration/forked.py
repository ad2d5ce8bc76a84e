# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of Python that find what they import loaded already: each run is a fork of a process that has done nothing else.

To import takes an ansible-playbook of one task three quarters of its CPU time, and a module two thirds.  What a run sees is
what a process of its own would see: its arguments, its environment, its folder and its streams are given with each run, and
nothing that an earlier run did is left in it.  Options of Ansible that are read at the import, out of the environment or out
of an ansible.cfg, make a process of their own.
"""

import array
import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "forking.py")
# How many of the processes that wait for runs are kept, for one folder of collections and another.
KEPT = 4
_servers = {}


class Server:
    """A process that forks.  `kind`: what it imports, as forking.py has it.  `prefix`: what begins it elsewhere, as nsenter."""

    def __init__(self, kind, env=None, cwd="/", prefix=(), python=sys.executable):
        self.channel, theirs = socket.socketpair()
        self.lock = threading.Lock()
        with theirs:
            # -c, so that no folder but the current one comes before the installed packages, as with -m.
            self.process = subprocess.Popen(
                [*prefix, python, "-c", "import sys; exec(compile(open(sys.argv[1]).read(), sys.argv[1], 'exec'))", SERVER, kind,
                 str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env, cwd=cwd, pass_fds=[theirs.fileno()])

    def lives(self):
        return self.process.poll() is None

    def send(self, request, descriptors):
        """Descriptors of a file with the request, then of stdin, stdout, stderr, and of the pipe for what becomes of the run."""
        with open(os.memfd_create("request"), "w+") as file:
            json.dump(request, file)
            file.flush()
            sent = array.array("i", [file.fileno(), *descriptors])
            with self.lock:
                self.channel.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])

    def close(self):
        self.channel.close()
        self.process.wait(60)


class Program:
    """A run that has begun: what subprocess.Popen(..., text=True) is, as far as tests use it."""

    def __init__(self, server, arguments, env=None, cwd=None, data=None, merged=False, session=False, file=None):
        self.args, self.returncode = arguments, None
        output, stdout = os.pipe() if file is None else (os.open(os.devnull, os.O_RDONLY), os.dup(file.fileno()))
        error, stderr = os.pipe()
        status, told = os.pipe()
        stdin = os.open(os.devnull, os.O_RDONLY) if data is None else os.memfd_create("stdin")
        if data is not None:
            os.write(stdin, data.encode())
            os.lseek(stdin, 0, os.SEEK_SET)
        self.stdout, self.stderr, self._status = (open(number, errors="replace") for number in (output, error, status))
        try:
            server.send(dict(arguments=list(map(str, arguments)), env=dict(os.environ) if env is None else env,
                             cwd=str(cwd or os.getcwd()), session=session), [stdin, stdout, stdout if merged else stderr, told])
        finally:
            for number in (stdin, stdout, stderr, told):
                os.close(number)
        said = self._status.readline()
        assert said, "the process that forks for %s has ended" % arguments[:1]
        self.pid = int(said)

    def communicate(self, timeout=None):
        said = {}

        def read(name):
            with getattr(self, name) as stream:
                said[name] = stream.read()

        readers = [threading.Thread(target=read, args=(name,), daemon=True) for name in ("stdout", "stderr")]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                self.kill()
                raise subprocess.TimeoutExpired(self.args, timeout, said.get("stdout"))
        self.wait()
        return said["stdout"], said["stderr"]

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            with self._status as status:
                self.returncode = int(status.readline())
        return self.returncode

    def poll(self):
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *_unused):
        self.wait()
        self.stdout.close()
        self.stderr.close()


def _server(kind, env, cwd, prefix=()):
    """The process that forks for runs of this kind with what these environment variables and this folder say at the import."""
    folder = cwd if os.path.exists(os.path.join(str(cwd), "ansible.cfg")) else "/"
    read = {name: value for name, value in env.items() if name.startswith(("ANSIBLE_", "PYTHON", "LC_", "LANG"))
            or name in ("HOME", "PATH", "TERM", "COLUMNS", "NO_COLOR", "TMPDIR")}
    key = (kind, str(folder), tuple(sorted(read.items())), tuple(prefix))
    found = _servers.pop(key, None)
    if found is None or not found.lives():
        # Ours are those of one run, which may be looked for by them.
        common = {name: value for name, value in env.items() if not name.startswith("PORTSHIFT_")}
        found = Server(kind, env=common, cwd=folder, prefix=prefix)
    _servers[key] = found
    while len(_servers) > KEPT:
        _servers.pop(next(iter(_servers))).close()
    return found


@atexit.register
def _close():
    while _servers:
        _servers.popitem()[1].close()


def begin(kind, arguments, env=None, cwd=None, server=None, prefix=(), **options):
    """A run that has begun.  `merged`: stderr comes with stdout.  `data`: for its stdin.  `session`: it has one of its own.

    `file`: what it prints goes there.  `prefix`: what leads to the place where it runs, as nsenter does; the environment is ours.
    """
    env = dict(os.environ) if env is None else env
    return Program(server or _server(kind, env, cwd or os.getcwd(), prefix), arguments, env, cwd, **options)


def run(kind, arguments, timeout=None, **options):
    """As subprocess.run(..., capture_output=True, text=True)."""
    program = begin(kind, arguments, **options)
    stdout, stderr = program.communicate(timeout)
    return subprocess.CompletedProcess(arguments, program.returncode, stdout, stderr)
