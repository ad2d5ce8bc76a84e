# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of a host that end in time, whatever they do, for a process that has no AnsibleModule to run them.

No call of subprocess does it: communicate(timeout=...) waits for daemons that hold what a command wrote to, though the command
has ended, and Python 3.6 loses at a time-out what was said until then.
"""

import os
import select
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
# Seconds for a process to end by itself when it is asked to, and for the kernel to end it.
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
    """Whether it has, without taking its exit status: until that is taken no other process gets its number."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _put_an_end_to(process):
    """Ends the process and what it started, but for what has left its process group, as daemons do."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass
        end = time.monotonic() + GRACE
        # One in the kernel goes when that lets it go.
        while not _has_ended(process) and time.monotonic() < end:
            time.sleep(LOOK_AGAIN)


def _exchange(process, data, said, end):
    """Gives the process `data` and keeps in `said` (stream -> bytearray) what it says.  Whether it ended before `end`."""
    pause, rounds, data = FIRST_LOOK, ROUNDS, memoryview(data or b"")
    with selectors.DefaultSelector() as selector:
        for stream in said:
            selector.register(stream, selectors.EVENT_READ)
        if process.stdin:
            selector.register(process.stdin, selectors.EVENT_WRITE)
        while rounds:
            # Asked first, so that nothing that it said before its end is missed.
            over = _has_ended(process)
            if not over and time.monotonic() > end:
                return False
            ready = selector.select(0 if over else pause)
            for key, _events in ready:
                try:
                    if key.fileobj in said:
                        more = os.read(key.fd, 65536)
                        said[key.fileobj] += more
                    else:
                        # So much can be written at once where anything can.
                        more = data = data[os.write(key.fd, data[:select.PIPE_BUF]):]
                except BrokenPipeError:
                    more = b""
                if not more:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
            # What it left in the pipes is no more than this; daemons that it started may hold them for good.
            rounds = rounds if not over else rounds - 1 if ready else 0
            pause = min(2 * pause, LOOK_AGAIN)
    return True


def _run(command, seconds, data=None, environ_update=None, path_prefix=None, streams=subprocess.PIPE):
    """(exit status, output, error output); with `streams` None it says both where this process does."""
    environment = dict(os.environ, PATH=search_path(), **(environ_update or {}))
    if path_prefix:
        environment["PATH"] = "%s:%s" % (path_prefix, environment["PATH"])
    end = time.monotonic() + seconds
    # run_command knows no time limit, and there may be no AnsibleModule.
    # pylint: disable-next=ansible-bad-function
    process = subprocess.Popen(_found(command, environment["PATH"]), env=environment, start_new_session=True, cwd="/",
                               preexec_fn=_ends_with_us(), stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
                               stdout=streams, stderr=streams)
    said = {stream: bytearray() for stream in (process.stdout, process.stderr) if stream}
    try:
        if not _exchange(process, data, said, end):
            _put_an_end_to(process)
            process.poll()
            raise CommandTimeout("%s had not ended after %g s, and was ended%s" % (
                " ".join(command), seconds, told(said.get(process.stderr, b"").decode("utf-8", "replace"))))
        # Undecodable bytes go back to a tool as they came.
        return (process.wait(),) + tuple(said[stream].decode("utf-8", "surrogateescape") for stream in said)
    finally:
        for stream in list(said) + [process.stdin]:
            if stream:
                stream.close()


def execute(command, seconds, data=None, environ_update=None, path_prefix=None):
    """(exit status, output, error output) of a command that has `seconds`; CommandTimeout when that was not enough.

    It is over when its own process ends, also when a daemon that it started still holds what it wrote to.
    """
    return _run(command, seconds, data, environ_update, path_prefix)


def execute_and_leave(command, seconds):
    """The exit status of a command that leaves daemons behind.

    They inherit what this process writes to, the journal or nothing: a pipe that no process reads any more would end them.
    """
    return _run(command, seconds, streams=None)[0]


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
