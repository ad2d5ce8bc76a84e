# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BigFix host as its files show it: found, read and parsed in one go, for the modules that look before others write."""

from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import port_before
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.deployment import (
    CredentialsSource, MastheadFile, SettingsSource, find_old_port, make_plan)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileError, sha256
from ansible_collections.portshift.agents.plugins.module_utils._bigfix import masthead, settings_file
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.setting_names import SELECTED_RELAYS
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST

# Options of every module that looks at a whole host.
HOST_SPEC = dict(
    component=dict(type="str", choices=["server", "relay", "client"], required=True),
    port=dict(type="int", required=True), previous_port=dict(type="int"),
    masthead_paths=dict(type="list", elements="path", required=True),
    settings_paths=dict(type="list", elements="path", required=True),
    clientsettings_paths=dict(type="list", elements="path", default=[]),
    credentials_paths=dict(type="list", elements="path", default=[]),
    record=dict(type="path"), options=dict(type="dict"))


class BigFixHost:
    """The files of one host.  What can't be read or parsed becomes a sentence in `problems`, and the rest is read."""

    def __init__(self, params, host=THIS_HOST):
        self.managed, self.port, self.component = host, params["port"], params["component"]
        self.problems, self.mastheads, self.settings, self.credentials = [], [], [], []
        self.record = host.record(params["record"]) if params["record"] else None
        self._read_mastheads(params["masthead_paths"])
        self._read_settings(params["settings_paths"], required=True)
        self._read_settings(params["clientsettings_paths"], flat=True)
        self._read_credentials(params["credentials_paths"])
        recorded = port_before(self.record and self.record.content, self.port)
        self.old_port, doubts = find_old_port(self.mastheads, self.settings, self.port, recorded=recorded,
                                              given=params["previous_port"])
        self.problems += doubts

    def _read_mastheads(self, paths):
        present = [path for path in paths if self.managed.exists(path)]
        if not present:
            self.problems.append("no masthead found; looked for %s; name the right places in bigfix_%s_masthead_paths"
                                 % (", ".join(paths), self.component))
        seen = set()
        for path in present:
            # Two of the known places are often one file behind a link.
            target = self.managed.real_path(path)
            if target in seen:
                continue
            seen.add(target)
            try:
                content = self.managed.read(path)
                self.mastheads.append(MastheadFile(path, masthead.parse(content), sha256(content)))
            except EngineError as err:
                self._problem(path, err)

    def _read_settings(self, paths, required=False, flat=False):
        present = [path for path in paths if self.managed.exists(path)]
        if required and paths[:1] != present[:1]:
            self.problems.append("%s: does not exist; is the BigFix agent installed here? Else name the right file in "
                                 "bigfix_%s_settings_paths" % (paths[0] if paths else "settings file", self.component))
        for path in present:
            try:
                content = self.managed.read(path)
                self.settings.append(SettingsSource(path, content, settings_file.parse(content, flat=flat).settings, flat))
            except EngineError as err:
                self._problem(path, err)

    def _read_credentials(self, paths):
        seen = set()
        for path in paths:
            target = self.managed.real_path(path)
            if not self.managed.exists(path) or target in seen:
                continue
            seen.add(target)
            try:
                self.credentials.append(CredentialsSource(path, self.managed.read(path)))
            except EngineError as err:
                self._problem(path, err)

    def _problem(self, path, err):
        self.problems.append(str(err) if isinstance(err, FileError) else "%s: %s" % (path, err))

    def plan(self, issued=None, allow_invalid_signature=False):
        """The plan for this host; its problems are complete: those of reading too, and files that can't be written."""
        plan = make_plan(self.component, self.mastheads, self.settings, self.port, self.old_port,
                         issued=issued, allow_invalid_signature=allow_invalid_signature, credentials=self.credentials)
        for edit in plan.edits:
            try:
                plan.notes += self.managed.require_writable(edit["path"], self.managed.size(edit["path"]) or 0)
            except EngineError as err:
                plan.problems.append(str(err))
        plan.problems = self.problems + plan.problems
        return plan

    @property
    def relay(self):
        """The host in the URL of the relay that the agent has selected, as its settings name it; None without one."""
        found = [source.url_host(SELECTED_RELAYS[0]) for source in self.settings if not source.flat]
        return next((host for host in found if host), None)

    @property
    def masthead_host(self):
        """The root server's name, as the agent's masthead has it; None without a masthead."""
        return next((installed.masthead.host for installed in self.mastheads if installed.masthead.host), None)

    def setting(self, name):
        """The first settings file that has it wins, as for the agent."""
        for source in self.settings:
            if not source.flat and source.number(name) is not None:
                return source.number(name)
        return None
