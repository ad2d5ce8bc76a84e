# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a deployment on the disk of a Windows host.

Read, and written where it is still what was read: of two who ask in the same moment the second one is refused, and reads again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import sha256
from ansible_collections.portshift.agents.plugins.module_utils._network import run_lock
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import FILE_LIMIT, WindowsHost, write_step
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import ROOM
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import FileAsked, RemoveStep, Step, Wanted
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script, WindowsError

# How often another one who asks in the same moment may have been the first.
TRIES = 5


def outcome(script: Script, params: Mapping[str, Any], check_mode: bool) -> Result:
    """What M(portshift.agents.run_lock) returns."""
    run_lock.check(params)
    path, sentence = params["path"], None
    told: list[str] = []
    for _unused in range(TRIES):
        host = WindowsHost(script.read)
        host.foresee(Wanted(files=[FileAsked(path=path, limit=FILE_LIMIT)]))
        # What the lock itself writes ends the time in which the host tells it.
        told += [one for one in host.told() if one not in told]
        found = host.disk.read_own(path)
        content, result, warning = run_lock.asked(found, params, host.now())
        steps = _steps(path, found, content)
        if check_mode or not steps:
            return _told(result, warning, told)
        answer = script.apply(Wanted(), steps, ROOM)
        if answer["outcome"] == "applied":
            return _told(result, warning, told)
        sentence = answer["sentence"]
    raise WindowsError("%s: the lock could not be written: %s" % (path, sentence))


def _told(result: Result, warning: str | None, told: Sequence[str]) -> Result:
    warnings = [*([warning] if warning else []), *told]
    return dict(result, changed=False, **dict(warnings=warnings) if warnings else {})


def _steps(path: str, found: bytes | None, content: Any) -> list[Step]:
    if content is None:
        return []
    if not run_lock.is_empty(content):
        return [write_step(path, found, run_lock.text(content))]
    return [RemoveStep(step="remove", path=path, expected=sha256(found))] if found is not None else []
