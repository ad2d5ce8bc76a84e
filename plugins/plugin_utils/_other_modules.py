# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules and actions of other collections, as an action plugin of this collection runs them."""

from __future__ import annotations


def lacking(loader, names):
    """A sentence about a collection that this control node does not have, or None.  `loader`: an action's _shared_loader_obj."""
    for name in sorted(set(names)):
        if not loader.module_loader.find_plugin_with_context(name).resolved:
            collection = name.rsplit(".", 1)[0]
            return ("the module %s is not on this control node; install its collection: ansible-galaxy collection install %s"
                    % (name, collection))
    return None


def run_action(action, name, args, task_vars):
    """The result of another action plugin, for what has one beside its module, such as ansible.windows.win_copy.

    `action`: the action plugin that asks.  Whether `name` is there is for lacking() to say before.
    """
    task = action._task.copy()
    task.args = dict(args)
    other = action._shared_loader_obj.action_loader.get(
        name, task=task, connection=action._connection, play_context=action._play_context, loader=action._loader,
        templar=action._templar, shared_loader_obj=action._shared_loader_obj)
    return other.run(task_vars=task_vars)
