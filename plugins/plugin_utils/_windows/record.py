# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a migration on a Windows host, for who reads it, takes it back or ends the stay of old ones."""

from __future__ import annotations

import ntpath
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._core import change_record
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKinds
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import FILE_LIMIT, WindowsHost, names_asked
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import ROOM, Module, await_end, paths_of
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import FileAsked, Wanted
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script, WindowsError


def outcome(script: Script, module: Module, kinds: FileKinds) -> Result:
    """What M(portshift.agents.change_record) returns."""
    path = module.params["path"]
    change_record.check_keep_days(module.params["keep_days"])
    host = WindowsHost(script.read)
    host.foresee(Wanted(files=[FileAsked(path=path, limit=FILE_LIMIT)], folders=[names_asked(ntpath.splitext(path)[0])]))
    if module.params["state"] != "present":
        await_end(host, script, module.check_mode)
    for sentence in host.told():
        module.warn(sentence)
    record = host.record(path)
    if record.content:
        host.foresee_paths(paths_of(record.content))
    result: Result = change_record.outcome(module, record, kinds)
    steps = [*host.changes, *host.disk.take()]
    if steps and not module.check_mode:
        answer: Any = script.apply(Wanted(), steps, ROOM)
        if answer["outcome"] != "applied":
            raise WindowsError("%s: %s" % (path, answer["sentence"]))
    return result
