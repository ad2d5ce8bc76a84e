# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that edit or read one file of BigFix: their options, and what they return, on whichever host the file is."""

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.edit import MastheadEdit, SettingsEdit, parse_masthead
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead import masthead_facts
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.ports import parse_bigfix_port
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.settings_file import SettingsError, shown_name
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import RECORD_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import PortError
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import MASK
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST

_EDIT = dict(path=dict(type="path", required=True), backup=dict(type="bool", default=False), record=RECORD_SPEC)
SETTINGS_SPEC = dict(
    _EDIT, settings=dict(type="dict", default={}),
    rewrite_port=dict(type="dict", options={"from": dict(type="int", required=True), "to": dict(type="int", required=True)}),
    effective_date=dict(type="str"), format=dict(type="str", choices=["config", "clientsettings"], default="config"))
MASTHEAD_SPEC = dict(
    _EDIT, port=dict(type="int", required=True), previous_port=dict(type="int"), src=dict(type="path"),
    remote_src=dict(type="bool", default=False), allow_invalid_signature=dict(type="bool", default=False))
MASTHEAD_INFO_SPEC = dict(path=dict(type="path", required=True))


def _as_text(what, value):
    """A setting is text.  YAML's whole numbers have one obvious spelling, its other types have none."""
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return str(value)
    raise SettingsError("%s is a %s (%s); write it as quoted text, as the agent is to read it"
                        % (what, type(value).__name__, value if isinstance(value, bool) else MASK))


def _asked_changes(settings):
    """Texts by the names of settings, None for one that is to go."""
    changes = {}
    for name, value in settings.items():
        # JSON, as which options come to most hosts, has made text of it already.
        name = _as_text("the name of a setting", name)
        if name in changes:
            raise SettingsError("settings has %s twice, as a number and as text; leave out one of them" % shown_name(name))
        changes[name] = None if value is None else _as_text("the value of %s" % name, value)
    return changes


def asked_settings(params):
    """(values by the names of settings, (old port, new port) or None)."""
    changes, rewrite = _asked_changes(params["settings"]), params["rewrite_port"]
    return changes, rewrite and [parse_bigfix_port(rewrite[end], "rewrite_port.%s" % end) for end in ("from", "to")]


def edit_settings(module, asked, record=None, host=THIS_HOST):
    """What M(portshift.agents.bigfix_settings) returns.  `asked`: asked_settings()."""
    params, (changes, rewrite) = module.params, asked
    edit = SettingsEdit(params["path"], changes, rewrite, params["effective_date"], params["format"] == "clientsettings", host)
    known = {name.lower() for name in edit.before}
    previous = dict({name: None for name in changes if name.lower() not in known}, **edit.shown(edit.before))
    result = edit.commit(module, record=record)
    for sentence in edit.warnings:
        module.warn(sentence)
    return dict(result, path=params["path"], settings=edit.shown(edit.after), previous=previous, rewritten=edit.rewritten,
                notes=edit.warnings)


def asked_port(params):
    """The port to which a masthead is to move."""
    port = parse_bigfix_port(params["port"])
    if params["previous_port"] == port:
        raise PortError("previous_port and port are both %d: there is nothing to move" % port)
    return port


def edit_masthead(module, port, issued=None, record=None, host=THIS_HOST):
    """What M(portshift.agents.bigfix_masthead) returns.  `issued`: (path, bytes) of the masthead to install."""
    params = module.params
    edit = MastheadEdit(params["path"], port, params["previous_port"], issued, params["allow_invalid_signature"], host)
    for warning in edit.warnings:
        module.warn(warning)
    result = edit.commit(module, record=record)
    return dict(result, path=params["path"], previous_port=edit.installed.port,
                **masthead_facts(parse_masthead(params["path"], edit.file.after)))


def read_masthead(path, host=THIS_HOST):
    """What M(portshift.agents.bigfix_masthead_info) returns."""
    masthead = parse_masthead(path, host.read(path))
    return dict(changed=False, path=path, ports=masthead.ports, host=masthead.host, serial_number=masthead.serial_number,
                **masthead_facts(masthead))
