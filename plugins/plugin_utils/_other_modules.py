# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules and actions of other collections, as an action plugin of this collection runs them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import shown_words
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result, Variables

# What microsoft.iis.website puts before the words of an error: its result, as PowerShell prints a table.
TABLE = "System.Collections.Hashtable - "


def said(done: Result) -> str:
    """What a module that failed says, in one line that goes into a sentence."""
    return shown_words(" ".join(str(done.get("msg", done)).split()).removeprefix(TABLE))


def lacking(loader: Any, names: Iterable[str]) -> str | None:
    """A sentence about a collection that this control node does not have, or None.  `loader`: an action's _shared_loader_obj."""
    for name in sorted(set(names)):
        if not loader.module_loader.find_plugin_with_context(name).resolved:
            collection = name.rsplit(".", 1)[0]
            return ("the module %s is not on this control node; install its collection: ansible-galaxy collection install %s"
                    % (name, collection))
    return None


def looking(task: Any, diff: bool = False) -> Any:
    """A task as one that only looks, whatever the play asks for."""
    task = task.copy()
    task.check_mode, task.diff = True, diff
    return task


def is_powershell(action: object) -> bool:
    """Whether the host of an action plugin runs modules for Windows."""
    return getattr(getattr(getattr(action, "_connection", None), "_shell", None), "_IS_WINDOWS", False)


def stranger(action: Any, names: Iterable[str]) -> str | None:
    """A sentence about a host on which these modules can't run, which are there, or None.

    It is for modules in PowerShell: what stands for one in another language runs where that runs.
    """
    for name in [] if is_powershell(action) else names:
        found = action._shared_loader_obj.module_loader.find_plugin_with_context(name).plugin_resolved_path
        if os.path.exists(os.path.splitext(found)[0] + ".ps1"):
            return ("Ansible reaches this host by another shell than PowerShell, and %s runs in that alone; see that a Windows "
                    "host has its ansible_connection (or ansible_shell_type) in the inventory" % name)
    return None


def run_action(action: Any, name: str, args: Variables, task_vars: Variables | None) -> Result:
    """The result of another action plugin, for what has one beside its module.

    `action`: the action plugin that asks.  Whether `name` is there is for lacking() to say before.
    """
    task = action._task.copy()
    task.args = dict(args)
    other = action._shared_loader_obj.action_loader.get(
        name, task=task, connection=action._connection, play_context=action._play_context, loader=action._loader,
        templar=action._templar, shared_loader_obj=action._shared_loader_obj)
    try:
        return other.run(task_vars=task_vars)
    except AnsibleConnectionFailure:
        # For Ansible, to whom the host is unreachable then.
        raise
    except AnsibleError as err:
        return dict(failed=True, msg=str(err))
