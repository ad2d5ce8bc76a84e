# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One edit of a BigFix file, from what is asked for to a FileEdit that is ready to be committed, and what a diff shows of it."""

import functools
import json
from email.utils import formatdate

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import (
    credentials_file, masthead as _masthead, settings_file)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import Edit, FileKind, masked
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.deployment import bare_address_notes, signed_refusal
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.setting_names import PORT_SETTINGS


def _with_path(path, action, *arguments, **options):
    """What an engine says of bytes, said of the file that they came from."""
    try:
        return action(*arguments, **options)
    except FileError:
        raise
    except EngineError as err:
        raise FileError("%s: %s" % (path, err))


def now(host):
    """By the host's clock, as the agent writes it.

    Email's "-0000" for UTC is a spelling that the product is not known to read.
    """
    return formatdate(host.now()).replace("-0000", "+0000")


def undone(old_port, new_port, host=THIS_HOST):
    """A function (kind, bytes now, bytes before) that takes our change out of a file that has been written since, as agents do.

    It gives None for a masthead: one that was changed is not ours to mend.
    """
    def undo(unused, content, before):
        if before is None:
            return None
        if old_port and old_port in credentials_file.rest_ports(before):
            return credentials_file.with_port(content, new_port, old_port)
        try:
            values = {name.lower(): value for name, value in settings_file.parse(before).settings.items()}
            ours = {name: values.get(name.lower()) for name, value in settings_file.parse(content).settings.items()
                    if name in PORT_SETTINGS and value == str(new_port)}
            content = settings_file.with_port_rewritten(content, new_port, old_port)[0]
            return settings_file.with_settings(content, ours, now(host))
        except EngineError:
            return None
    return undo


def parse_masthead(path, content):
    return _with_path(path, _masthead.parse, content)


class MastheadEdit(Edit):
    """Brings the masthead at `path` to `port`.  `issued`: (path, bytes) of a masthead to install instead of editing."""

    kind = "bigfix_masthead"
    redact = staticmethod(_masthead.redacted)

    def __init__(self, path, port, previous_port=None, issued=None, allow_invalid_signature=False, host=THIS_HOST):
        self.path, self.port, self.warnings = path, port, []
        self.file = host.edit(path)
        self.installed = parse_masthead(path, self.file.before)
        if previous_port is not None and self.installed.port not in (None, port, previous_port):
            raise FileError("%s: names port %d, where previous_port says %d; nothing was written"
                            % (path, self.installed.port, previous_port))
        if issued:
            self.warnings = ["%s: %s" % (path, warning) for warning in _with_path(
                path, _masthead.check_issued, self.installed, parse_masthead(*issued), port,
                allow_invalid_signature=allow_invalid_signature)]
            self.file.apply(issued[1])
        elif self.installed.port != port:
            if self.installed.format == "signed" and not allow_invalid_signature:
                raise FileError("%s: %s" % (path, signed_refusal(self.installed, port)))
            self.file.apply(_with_path(path, _masthead.with_port, self.installed, port))


class SettingsEdit(Edit):
    """Changes settings of the file at `path`.  `rewrite`: (old port, new port) for URL-valued settings."""

    def __init__(self, path, changes, rewrite=None, effective_date=None, flat=False, host=THIS_HOST):
        self.path, self.flat, self.rewritten, self.ports, self.warnings = path, flat, [], rewrite or (), []
        self.kind = "bigfix_flat_settings" if flat else "bigfix_settings"
        self.file = host.edit(path)
        self.before = self._parse(self.file.before)
        after = self.file.before
        if rewrite:
            after, rewritten = _with_path(path, settings_file.with_port_rewritten, after, *rewrite, flat=flat)
            self.rewritten = [settings_file.shown_name(name) for name in rewritten]
            self.warnings = bare_address_notes(path, after, *rewrite, flat=flat)
        self.file.apply(_with_path(path, settings_file.with_settings, after, changes, effective_date or now(host), flat=flat))
        self.after = self._parse(self.file.after)

    def _parse(self, content):
        return _with_path(self.path, settings_file.parse, content, flat=self.flat).settings

    def shown(self, settings):
        """Settings of this file as a result may show them."""
        return settings_file.shown_settings(settings, self.ports)

    def redact(self, content):
        return settings_file.redacted(content, flat=self.flat, ports=self.ports)


class CredentialsEdit(Edit):
    """Moves the port of the REST API in the MasterOperatorCredentials at `path`."""

    kind = "bigfix_flat_settings"

    def __init__(self, path, old_port, new_port, host=THIS_HOST):
        self.path = path
        self.file = host.edit(path)
        self.file.apply(credentials_file.with_port(self.file.before, old_port, new_port))

    @staticmethod
    def redact(content):
        return settings_file.redacted(content, flat=True)


def _masthead_redactor(*unused, ports=()):
    # What is no masthead any more may be anything.
    return lambda content: _masthead.redacted(content) if _masthead.is_masthead(content) else masked(content)


def _value_redactor(*unused, ports=()):
    """For a value of the registry: its type, and of its text the port alone."""
    def shown(content):
        try:
            value = json.loads(content.decode("utf-8"))
            text = str(value["data"])
            shown = text if text in {str(port) for port in ports if port} else settings_file.shown_value("", text, ports)
            return ("%s %s\n" % (value["type"], shown)).encode("utf-8", "surrogatepass")
        except (ValueError, KeyError, TypeError):
            return masked(content)
    return shown


# None is undone by itself: what an agent or an administrator has written since a migration was proved is theirs to judge.  While
# one is under way bigfix_cutover takes its own change out (undone()).
KINDS = [
    FileKind("bigfix_settings", settings_file.is_config,
             lambda *states, ports=(): functools.partial(settings_file.redacted, ports=ports)),
    # Named by the records of Windows hosts, and so never guessed.
    FileKind("bigfix_registry_value", lambda content: False, _value_redactor),
    FileKind(MastheadEdit.kind, _masthead.is_masthead, _masthead_redactor),
    # Any other text: whole lines are hidden where their name is not known.
    FileKind("bigfix_flat_settings", lambda content: True,
             lambda *states, ports=(): functools.partial(settings_file.redacted, flat=True, ports=ports)),
]
