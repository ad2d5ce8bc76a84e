# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of a host that end in time, whatever they do, for a process that has no AnsibleModule to run them."""

import os
import selectors
import shutil
import signal
import subprocess
import sys
import time

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import shown_words

# A user's search path often lacks these, sudo's too.
ADMINISTRATION = "/usr/sbin:/sbin"
# What a command says in vain is said at the end.
TOLD_LINES, TOLD_LENGTH = 4, 600
LOOK_AGAIN = 0.05
FIRST_LOOK = 0.001
# Seconds for a process to heed the request to end, and for the kernel to end it.
GRACE = 3
# Reads, at most, of what a pipe may still hold.
ROUNDS = 16
# Without a search path of its own, as a unit of systemd or a process of cron may be.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


PR_SET_PDEATHSIG = 1


class CommandTimeout(EngineError):
    """A command that had to be ended."""


def search_path():
    return "%s:%s" % (os.environ.get("PATH") or SEARCH_PATH, ADMINISTRATION)


def find(name):
    return shutil.which(name, path=search_path())


def last_words(text):
    """The last words of a command, for a sentence; may be empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()][-TOLD_LINES:]
    return " / ".join(map(shown_words, lines))[-TOLD_LENGTH:]


def told(text):
    """The same in brackets, or nothing."""
    words = last_words(text)
    return " (%s)" % words if words else ""


def _find_prctl():
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes
        found = ctypes.CDLL(None).prctl
        found.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
        return found
    except (ImportError, OSError, AttributeError):
        return None


# Found before there is a process of a command: that one may do next to nothing before it becomes the command.
_PRCTL = _find_prctl()


def _ends_with_us():
    """What a command's process does first, so that the kernel ends it when this process is killed: begun again, this one would
    stop what a command left over still starts.  Not what the command starts: daemons stay.
    """
    ours, prctl = os.getpid(), _PRCTL
    if prctl is None:
        return None

    def bind():
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != ours:
            # Killed before that was asked for.
            os._exit(1)

    return bind


def _has_ended(process):
    """Whether it has, without taking its exit status: until that is taken nobody else gets its number."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _put_an_end_to(process):
    """Ends the process and what it started, but for what has left its process group, as daemons do."""
    _signal_group(process, signal.SIGTERM)
    end = time.monotonic() + GRACE
    while not _has_ended(process) and time.monotonic() < end:
        time.sleep(LOOK_AGAIN)
    _signal_group(process, signal.SIGKILL)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        pass    # in the kernel, which lets it go when it can


class _Exchange:
    """What goes into a process and comes out of it, without waiting for any of the two."""

    def __init__(self, process, data):
        self.said = {process.stdout: [], process.stderr: []}
        self.selector, self.data, self.pause = selectors.DefaultSelector(), data, FIRST_LOOK
        for stream in self.said:
            self.selector.register(stream, selectors.EVENT_READ)
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            self.selector.register(process.stdin, selectors.EVENT_WRITE)

    def step(self, seconds):
        """Whether anything came or went; waits for it, but no longer than `seconds`."""
        if not self.selector.get_map():
            # Most end as soon as they have closed these; some close them and go on.
            time.sleep(min(seconds, self.pause))
            self.pause = min(2 * self.pause, LOOK_AGAIN)
            return False
        ready = self.selector.select(seconds)
        for key, _events in ready:
            stream = key.fileobj
            if stream in self.said:
                chunk = os.read(stream.fileno(), 65536)
                if chunk:
                    self.said[stream].append(chunk)
                    continue
            elif self._write(stream):
                continue
            self.selector.unregister(stream)
            stream.close()
        return bool(ready)

    def _write(self, stream):
        """Whether there is more to be written."""
        try:
            self.data = self.data[os.write(stream.fileno(), self.data):]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            return False
        return bool(self.data)

    def close(self):
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()


def execute(command, seconds, data=None, environ_update=None, path_prefix=None):
    """(exit status, output, error output) of a command that has `seconds`; CommandTimeout when that was not enough.

    It is over when its own process ends, also when a daemon that it started still holds what it wrote to.
    """
    environment = dict(os.environ, PATH=search_path(), **(environ_update or {}))
    if path_prefix:
        environment["PATH"] = "%s:%s" % (path_prefix, environment["PATH"])
    end = time.monotonic() + seconds
    # run_command knows no time limit, and there may be no AnsibleModule.
    # pylint: disable-next=ansible-bad-function
    process = subprocess.Popen(_found(command, environment["PATH"]), env=environment, start_new_session=True, cwd="/",
                               preexec_fn=_ends_with_us(), stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    streams = process.stdout, process.stderr
    exchange = _Exchange(process, data)
    try:
        while not _has_ended(process):
            exchange.step(LOOK_AGAIN)
            if time.monotonic() > end:
                _put_an_end_to(process)
                raise CommandTimeout("%s had not ended after %g s, and was ended%s" % (
                    " ".join(command), seconds, told(b"".join(exchange.said[streams[1]]).decode("utf-8", "replace"))))
        # What it left in the pipes is no more than this.
        for _round in range(ROUNDS):
            if not exchange.step(0):
                break
        # Undecodable bytes go back to a tool as they came.
        return (process.wait(),) + tuple(b"".join(exchange.said[stream]).decode("utf-8", "surrogateescape") for stream in streams)
    finally:
        exchange.close()


def execute_and_leave(command, seconds):
    """The exit status of a command that leaves daemons behind.

    They inherit what this process writes to, the journal or nothing: a pipe that nobody reads any more would end them.
    """
    environment = dict(os.environ, PATH=search_path())
    # pylint: disable-next=ansible-bad-function
    process = subprocess.Popen(_found(command, environment["PATH"]), env=environment, start_new_session=True, cwd="/",
                               preexec_fn=_ends_with_us(), stdin=subprocess.DEVNULL)
    end = time.monotonic() + seconds
    while not _has_ended(process):
        if time.monotonic() > end:
            _put_an_end_to(process)
            raise CommandTimeout("%s had not ended after %g s, and was ended" % (" ".join(command), seconds))
        time.sleep(LOOK_AGAIN)
    return process.wait()


def _found(command, path):
    # subprocess looks along the path of this process, not that of the command's environment.
    return [shutil.which(command[0], path=path) or command[0]] + list(command[1:])


class BoundedModule:
    """What engines ask of an AnsibleModule, in a process that is none: it writes, without a diff, and its commands end."""

    check_mode, _diff = False, False

    def __init__(self, seconds):
        self.seconds, self.params = seconds, {}

    def get_bin_path(self, name, *unused, **unused2):
        return find(name)

    def warn(self, sentence):
        """Of a change that was planned elsewhere: there it was said."""

    def run_command(self, args, data=None, binary_data=False, path_prefix=None, environ_update=None, **unused):
        if isinstance(data, str):
            # As AnsibleModule does, so that what is read by lines ends in a whole one.
            data = data.encode("utf-8", "surrogateescape") + (b"" if binary_data or data.endswith("\n") else b"\n")
        return execute(args, self.seconds, data, environ_update, path_prefix)
