# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and stopping the services of a host."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from . import identity

DAEMON = os.path.join(os.path.dirname(os.path.abspath(__file__)), "daemon.py")


class Failed(Exception):
    """A service that did not do what it was told: one sentence."""


class Launch:
    """A service on its way up."""

    def __init__(self, host, service):
        self.host, self.service = host, service
        self.log = host.run(service, ".log")
        with open(self.log, "ab") as stream:
            self.log_offset = stream.tell()
            # A session of its own and no open pipe: what started it, Ansible for one, may go away.
            self.process = subprocess.Popen(
                [sys.executable, "-E", "-s", "-S", DAEMON, service, host.root, host.lab_file, host.name],
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=host.root, start_new_session=True)

    def ready(self):
        """True once it serves; Failed, with its last words, if it died before."""
        died = self.process.poll() is not None
        if not died and identity.ready_port(self.host, self.service) is not None:
            return True
        if died:
            with open(self.log, "rb") as stream:
                stream.seek(self.log_offset)
                said = stream.read().decode("utf-8", "replace").strip().splitlines()
            # The daemon names service and host itself; a crash needs them here.
            raise Failed("\n".join(said[-3:]) or "%s on %s died without a word (%s)" % (
                self.service, self.host.name, self.process.returncode))
        return False


@contextlib.contextmanager
def uninterrupted():
    """Ctrl-C and SIGTERM wait meanwhile: between a process's beginning and its being noted, no command could end it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def wait_ready(launches, seconds):
    """All of them at once; Failed names the first that does not come up."""
    end = time.monotonic() + seconds
    waiting = list(launches)
    while True:
        waiting = [launch for launch in waiting if not launch.ready()]
        if not waiting:
            return
        if time.monotonic() > end:
            raise Failed("%s on %s is not ready after %d seconds" % (
                waiting[0].service, waiting[0].host.name, seconds))
        time.sleep(0.02)


def start(host, service, seconds=20):
    if identity.recorded(host, service) is None:
        wait_ready([Launch(host, service)], seconds)


def _signal(process, number):
    if identity.start_time(process[0]) == process[1]:
        try:
            os.kill(process[0], number)
        except ProcessLookupError:
            pass


def stop(processes, seconds=10):
    """SIGTERM to each (pid, start time), SIGKILL to what is still there after some time; returns when all are gone."""
    left = list(processes)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            _signal(process, number)
        end = time.monotonic() + seconds
        while left and time.monotonic() < end:
            left = [process for process in left if identity.start_time(process[0]) == process[1]]
            if left:
                time.sleep(0.01)
    if left:
        raise Failed("process %d cannot be stopped" % left[0][0])
