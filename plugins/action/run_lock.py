# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says who asks for the lock, and whether a holder on this control node has ended.

On a Windows host, which runs no module in Python, the lock is read and written from here, by the host's script.
"""

from __future__ import annotations

import datetime
import functools
import multiprocessing
import os
import pwd
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._network.host_lease import is_gone
from ansible_collections.portshift.agents.plugins.module_utils._network.run_lock import LOCK_SPEC, HeldError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import is_powershell
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import lock
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.actions import failed, options_of
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script

PROC = "/proc"
# The process id namespace in which a Linux machine itself runs, in every kernel.
MACHINE_ITSELF = "pid:[4026531836]"


def _first_line(*paths: str) -> str:
    for path in paths:
        try:
            with open(path, encoding="utf-8") as source:
                line = source.readline().strip()
        except (OSError, UnicodeDecodeError):
            continue
        # What an image has before its first boot.
        if line and line != "uninitialized":
            return line
    return ""


def main_process() -> int:
    """The pid of ansible-playbook.  Each task runs in a worker of its own, which is a fork of it."""
    parent = multiprocessing.parent_process()
    return (parent.pid if parent else None) or os.getpid()


def is_orphan() -> bool:
    """Whether the ansible-playbook that this task belongs to has ended.  The workers of one that was killed go on for a while."""
    parent = multiprocessing.parent_process()
    return bool(parent and parent.pid) and os.getppid() != main_process()


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third one on, or None where there is no such thing to read."""
    try:
        with open(os.path.join(PROC, str(pid), "stat"), encoding="utf-8", errors="replace") as source:
            # The second field is the command in brackets, which may hold blanks and brackets.
            return source.read().rpartition(")")[2].split()
    except OSError:
        return None


def _process(pid: int) -> tuple[str, str] | None:
    """(state or "", when it started) of a process, in whatever words the operating system has that stay the same.

    None where it won't say.
    """
    fields = _stat(pid)
    if fields:
        return fields[0], fields[19]
    try:
        done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False, timeout=10,
                              env=dict(os.environ, LC_ALL="C", TZ="UTC"))
    except (OSError, subprocess.TimeoutExpired):
        return None
    started = " ".join(done.stdout.split())
    return ("", started) if started else None


def process_start(pid: int) -> str:
    """When the process started; "" where that can't be told."""
    return (_process(pid) or ("", ""))[1]


def _begun(pid: int) -> str:
    """The moment when the process started, for people; "" where it can't be told."""
    try:
        with open(os.path.join(PROC, "uptime"), encoding="ascii") as source:
            age = float(source.read().split()[0]) - int((_stat(pid) or [])[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, TypeError, ValueError, IndexError):
        return ""
    return datetime.datetime.fromtimestamp(time.time() - age, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _user() -> str:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    behind = os.environ.get("SUDO_USER")
    return "%s (%s)" % (name, behind) if behind and behind != name else name


def this_run() -> dict[str, Any]:
    """Who asks: the same answer in every task of one ansible-playbook."""
    pid, node = main_process(), os.uname().nodename
    try:
        namespace = os.readlink(os.path.join(PROC, "self", "ns", "pid"))
    except OSError:
        namespace = ""
    return dict(node=node, machine_id=_first_line("/etc/machine-id", "/var/lib/dbus/machine-id") or node,
                boot=_first_line(os.path.join(PROC, "sys/kernel/random/boot_id")), pid_namespace=namespace,
                user=_user(), pid=pid, process_start=process_start(pid), begun=_begun(pid))


def has_ended(holder: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Whether the run `holder` ran on this control node, where `run` asks, and its process is gone.  In doubt it is not."""
    if any(holder.get(key) != run[key] for key in ("machine_id", "node", "pid_namespace")) or not holder.get("process_start"):
        return False
    if holder.get("boot") != run["boot"]:
        # Images of containers bring the same machine id to many machines: only a machine itself is known to have booted since.
        return bool(holder.get("boot") and run["boot"]) and run["pid_namespace"] == MACHINE_ITSELF
    return bool(is_gone(holder, _process))


class ActionModule(ActionBase):

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        asking = this_run()
        # Behind this_run(): a lock that does not say when its process started could not be told from that of a run that lives,
        # and would hold up the next one for as long as it lasts.
        if is_orphan():
            return failed(EngineError("the ansible-playbook that this task belongs to (process %d) has ended; the lock was left "
                                      "as it is" % asking["pid"]))
        arguments = dict(self._task.args, run=asking)
        arguments.pop("dead_owner", None)
        ask = self._on_windows(task_vars) if is_powershell(self) else functools.partial(
            self._execute_module, task_vars=task_vars)
        answer = ask(module_args=arguments)
        holder = answer.get("holder")
        if answer.get("failed") and isinstance(holder, dict) and has_ended(holder, asking):
            # The host looks again whether that run is still the one: in between another run may have got the lock.
            answer = ask(module_args=dict(arguments, dead_owner=holder.get("id")))
        result.update(answer)
        return result

    def _on_windows(self, task_vars: Any) -> Callable[..., Result]:
        options = options_of(self, LOCK_SPEC)

        def ask(module_args: dict[str, Any]) -> Result:
            asked = dict(options, run=module_args["run"], dead_owner=module_args.get("dead_owner"))
            try:
                return lock.outcome(Script(self, task_vars), asked, self._task.check_mode)
            except HeldError as err:
                return failed(err, holder=err.holder)
            except EngineError as err:
                return failed(err)
        return ask
