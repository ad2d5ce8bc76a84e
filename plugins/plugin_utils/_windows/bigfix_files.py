# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of BigFix that edit or read one file, on a Windows host, where the agent's settings are a key of the registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.file_modules import (
    asked_port, asked_settings, edit_masthead, edit_settings, read_masthead)
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.bigfix import JUDGED, PLACES, SettingsView
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import (
    FILE_LIMIT, KEY_LIMIT, WindowsHost, is_key, names_asked)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import ROOM, Module, await_end
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import FOLDER, FileAsked, RegistryAsked, Wanted
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script, WindowsError

_FILE = re.compile(r"(?:[A-Za-z]:|\{(?:%s)\})\\" % "|".join(place["name"] for place in PLACES))
# As PowerShell and the registry editor spell it.
_HIVE = re.compile(r"(?:HKLM:|HKEY_LOCAL_MACHINE)\\", re.IGNORECASE)
SETTINGS_KEY = "\\Settings\\Client"


def settings(script: Script, module: Module) -> Result:
    """What M(portshift.agents.bigfix_settings) returns."""
    asked = asked_settings(module.params)
    path = _path(module.params["path"], "path", may_be_key=True)
    views = []
    if is_key(path):
        if not path.lower().endswith(SETTINGS_KEY.lower()):
            raise WindowsError("%s: is no key of an agent's settings, which ends with %s; nothing was changed" % (
                path, SETTINGS_KEY))
        if module.params["format"] != "config":
            raise WindowsError("%s: is a key of the registry, and %s is a format of files; leave format out for it" % (
                path, module.params["format"]))
        views = [SettingsView(path, JUDGED | {name.lower() for name in asked[0]})]
    return _edited(script, module, path, views, (), lambda record, host: edit_settings(module, asked, record, host))


def masthead(script: Script, module: Module, issued: bytes | None) -> Result:
    """What M(portshift.agents.bigfix_masthead) returns.  C(issued): the masthead to install, where it is not on the host."""
    port, src = asked_port(module.params), module.params["src"]
    own = _path(src, "src") if src and issued is None else None

    def change(record: ChangeRecord | None, host: WindowsHost) -> Result:
        content = host.read(host.resolved(own)) if own else issued
        return edit_masthead(module, port, src and (src, content), record, host)

    return _edited(script, module, _path(module.params["path"], "path"), (), [own] if own else (), change)


def masthead_info(script: Script, params: Mapping[str, Any]) -> Result:
    """What M(portshift.agents.bigfix_masthead_info) returns."""
    path = _path(params["path"], "path")
    host = WindowsHost(script.read)
    host.foresee(Wanted(places=PLACES, files=[FileAsked(path=path, limit=FILE_LIMIT)]))
    result: Result = read_masthead(host.resolved(path), host)
    return result


def _path(path: str, option: str, may_be_key: bool = False) -> str:
    path = _HIVE.sub("HKLM\\\\", path) if may_be_key else path
    if not _FILE.match(path) and not (may_be_key and is_key(path)):
        raise WindowsError("%s names %s, which is no path of a Windows host; name a file from its drive letter on, or from the "
                           "folder of a product on, such as {client}\\actionsite.afxm%s. Nothing was changed" % (
                               option, path, ", or the key HKLM\\SOFTWARE\\WOW6432Node\\BigFix\\EnterpriseClient%s" % SETTINGS_KEY
                               if may_be_key else ""))
    return path


def _edited(script: Script, module: Module, path: str, views: Sequence[Any], beside: Sequence[str],
            change: Callable[[ChangeRecord | None, WindowsHost], Result]) -> Result:
    """The result of a change that is judged on one look, and carried out where it stands to be.

    C(beside): other files that are read.
    """
    host, record = WindowsHost(script.read, views), module.params["record"]
    if record and not record["path"].lower().startswith(FOLDER.lower() + "\\"):
        raise WindowsError("the record of a Windows host lies below %s, where no user can write it, and %s does not; nothing was "
                           "changed" % (FOLDER, record["path"]))
    files = [one for one in (path, *beside, record and record["path"]) if one and not is_key(one)]
    host.foresee(Wanted(
        places=PLACES, files=[FileAsked(path=one, limit=FILE_LIMIT) for one in files],
        folders=[names_asked(record["path"].rpartition(".")[0])] if record else [],
        registry=[RegistryAsked(key=view.key, depth=view.depth, limit=KEY_LIMIT) for view in views]))
    # Who sets a host right that was left half way may do so by this as well.
    await_end(host, script, module.check_mode, half_way=True)
    for sentence in host.told():
        module.warn(sentence)
    module.params = dict(module.params, path=host.resolved(path))
    result = change(ChangeRecord(**record, disk=host.disk) if record else None, host)
    # The record first, as everywhere.
    steps = [*host.disk.take(), *host.changes]
    if steps and not module.check_mode:
        answer = script.apply(Wanted(places=PLACES), steps, ROOM)
        if answer["outcome"] != "applied":
            raise WindowsError("%s: %s: %s" % (
                module.params["path"], "it is half way" if answer["outcome"] == "trouble" else "it is as it was",
                answer["sentence"] or "the host did not say why"))
    return result
