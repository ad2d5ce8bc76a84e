# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where BigFix keeps its port on one host, and which edits move it there.  Pure: parsed files in, a list of edits out."""

from urllib.parse import urlsplit

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.credentials_file import named_in, rest_ports
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead import MastheadError, check_issued
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import PortError, parse_port
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.setting_names import (
    LISTEN, PORT_SETTINGS, RELAY_SELECT, SELECTED_RELAYS)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.settings_file import (
    bare_addresses, named_beside, shown_name, shown_value, with_port_rewritten)

# Per component: the settings that it has to have, and whether the first or the last settings file gets a missing one.
# [vendor] every component reads besclient.config first, so the listening port goes to the component's own file.
REQUIRED = {
    "client": ((RELAY_SELECT, 0),),
    "relay": ((RELAY_SELECT, 0), (LISTEN, -1)),
    "server": ((RELAY_SELECT, 0), (LISTEN, -1)),
}


class MastheadFile:
    """An installed masthead: its path, its parsed content and the sha256 of its bytes."""

    def __init__(self, path, masthead, digest):
        self.path, self.masthead, self.digest = path, masthead, digest


class SettingsSource:
    """A settings file: its path, its bytes, its settings; `flat` for a clientsettings.cfg."""

    def __init__(self, path, data, settings, flat=False):
        self.path, self.data, self.settings, self.flat = path, data, settings, flat

    def _value(self, name):
        for found, value in self.settings.items():
            if found.lower() == name.lower():
                return value
        return None

    def shown(self, name):
        """The value of a setting, as far as a sentence may quote it."""
        return shown_value(name, self._value(name) or "")

    def number(self, name):
        """The port that a setting holds, None when it is absent, 0 when it is no port number."""
        value = self._value(name)
        try:
            return None if value is None else parse_port(value)
        except PortError:
            return 0

    def url_port(self, name):
        """The port in a setting that is a URL; None when it is absent, no URL, or names no port."""
        try:
            return urlsplit(self._value(name) or "").port
        except ValueError:
            return None

    def url_host(self, name):
        """The host in a setting that is a URL; None when it is absent or no URL."""
        try:
            return urlsplit(self._value(name) or "").hostname
        except ValueError:
            return None


class CredentialsSource:
    """A file of the operator's credentials for the REST API: its path and its bytes."""

    def __init__(self, path, data):
        self.path, self.data = path, data


class Plan:
    """What moving one host means: `edits`, and sentences: `problems` forbid it, `notes` are for a person to read."""

    def __init__(self, old_port, new_port):
        self.old_port, self.new_port = old_port, new_port
        self.edits, self.problems, self.notes = [], [], []


def ports_found(mastheads, settings, new_port):
    """port other than `new_port` -> where it was found, for the port that the host's agents use now."""
    found = {}

    def note(port, where):
        if port and port != new_port:
            found.setdefault(port, []).append(where)

    for installed in mastheads:
        # One with several ports is a problem of its own, and no witness.
        note(installed.masthead.port, installed.path)
    for source in settings:
        for name in (RELAY_SELECT, LISTEN):
            note(source.number(name), "%s (%s)" % (source.path, name))
    if not found:
        # An agent gathers the new masthead by itself once the server has it, and still follows its relay's old URL.
        for source in settings:
            for name in SELECTED_RELAYS:
                note(source.url_port(name), "%s (%s)" % (source.path, name))
    return found


def find_old_port(mastheads, settings, new_port, recorded=None, given=None):
    """(port that the host moves from or None when nothing holds another one, problems).

    What the site says goes before what an interrupted run noted, and that before what the files hold.
    """
    if given or recorded:
        return given or recorded, []
    found = ports_found(mastheads, settings, new_port)
    if len(found) > 1:
        return None, ["more than one port in use: %s; say which one moves with bigfix_previous_port" % "; ".join(
            "%d in %s" % (port, ", ".join(found[port])) for port in sorted(found))]
    return (list(found)[0] if found else None), []


def _masthead_edits(plan, mastheads, issued, allow_invalid_signature):
    refused = {}
    for installed in mastheads:
        masthead = installed.masthead
        if masthead.port == plan.new_port:
            if masthead.signature == "invalid" and not allow_invalid_signature:
                plan.problems.append("%s: names port %d already, but its signature is broken (it was edited by hand), so agents "
                                     "refuse it; put the file back as it was and run again" % (installed.path, plan.new_port))
            continue
        try:
            if masthead.port is None:
                raise MastheadError("holds several ports: %s; have one masthead issued for one port"
                                    % ", ".join(str(port) for port in masthead.ports))
            if plan.old_port and masthead.port != plan.old_port:
                raise MastheadError("port %d, where %d was expected; say what moves with bigfix_previous_port"
                                    % (masthead.port, plan.old_port))
            if issued:
                plan.notes += ["%s: %s" % (installed.path, warning) for warning in check_issued(
                    masthead, issued, plan.new_port, allow_invalid_signature=allow_invalid_signature)]
            elif masthead.format == "signed" and not allow_invalid_signature:
                raise MastheadError(signed_refusal(masthead, plan.new_port, "bigfix_masthead_src"))
        except MastheadError as err:
            refused.setdefault(str(err), []).append(installed.path)
            continue
        plan.edits.append(dict(kind="masthead", path=installed.path, previous_port=masthead.port))
    plan.problems += ["%s: %s" % (", ".join(paths), reason) for reason, paths in refused.items()]


def signed_refusal(masthead, port, option="src"):
    """Why a signed masthead is not edited in place.  `option`: what takes an issued one."""
    broken = "" if masthead.signature != "invalid" else " (its signature is broken already: it was edited by hand)"
    return ("signed masthead, port %s%s. Editing it would break its signature, so that clients reject it. Have BESAdmin "
            "issue a masthead for port %d and pass it as %s (see docs/masthead.md)" % (masthead.port, broken, port, option))


def _settings_edits(plan, component, sources):
    wanted = {source.path: {} for source in sources}
    agents = [source for source in sources if not source.flat]
    for source in sources:
        for name in PORT_SETTINGS:
            number = source.number(name)
            if number is None or number == plan.new_port:
                continue
            if number == plan.old_port or (not source.flat and name in [pair[0] for pair in REQUIRED[component]]):
                wanted[source.path][name] = plan.new_port
                if number != plan.old_port:
                    plan.notes.append("%s: %s is %s, neither the old port nor the new one; it becomes %d"
                                      % (source.path, name, source.shown(name), plan.new_port))
            else:
                plan.notes.append("%s: %s is %s, which is not the port that moves; left alone"
                                  % (source.path, name, source.shown(name)))
    for name, position in REQUIRED[component]:
        if agents and all(source.number(name) is None for source in agents):
            wanted[agents[position].path][name] = plan.new_port
    for source in sources:
        settings = {name: str(port) for name, port in wanted[source.path].items()}
        rewritten, urls = source.data, []
        if plan.old_port and plan.old_port != plan.new_port:
            rewritten, urls = with_port_rewritten(source.data, plan.old_port, plan.new_port, flat=source.flat)
        if settings or urls:
            plan.edits.append(dict(kind="settings", path=source.path, settings=settings, urls=[shown_name(name) for name in urls],
                                   format="clientsettings" if source.flat else "config"))
            if source.flat:
                plan.notes.append("%s: holds the old port; agents read it at installation only" % source.path)
        plan.notes += bare_address_notes(source.path, source.data, plan.old_port, plan.new_port, source.flat)
        plan.notes += _notes_beside(plan, source, rewritten)


def _notes_beside(plan, source, rewritten):
    """Sentences on settings of WebUI and Web Reports that hold the old port when the URLs have the new one."""
    if not plan.old_port or plan.old_port == plan.new_port:
        return []
    told = bare_addresses(source.data, plan.old_port, source.flat)
    return ["%s: %s, a setting of %s, holds the old port %d and is left alone: look whether it names the port of the server or "
            "of a relay, and if so set it to %d once that has moved"
            % (source.path, name, product, plan.old_port, plan.new_port)
            for name, product in named_beside(rewritten, plan.old_port, source.flat) if name not in told]


def bare_address_notes(path, data, old_port, new_port, flat=False):
    """Sentences on settings that name the old port in a way which is not known to be read, and is left alone."""
    found = bare_addresses(data, old_port, flat) if old_port != new_port else []
    return ["%s: %s names an address as HOST:PORT%s without http:// in front. Whether agents read that is not known, so it was "
            "left alone: look whether it is in use, and if so write http://HOST:%d/bfmirror/downloads/ there"
            % (path, name, " with port %d" % old_port if old_port else "", new_port) for name in found]


def _credentials_edits(plan, sources):
    for source in sources:
        for port in rest_ports(source.data):
            if port is None:
                plan.notes.append("%s: its %s names no port that can be read, so it was left alone; look whether it has to "
                                  "name port %d" % (source.path, named_in(source.data), plan.new_port))
            elif port not in (plan.old_port, plan.new_port):
                plan.notes.append("%s: its %s names port %d, which is not the port that moves, so it was left alone; look "
                                  "whether it has to name port %d" % (source.path, named_in(source.data), port, plan.new_port))
        if plan.old_port and plan.old_port != plan.new_port and plan.old_port in rest_ports(source.data):
            plan.edits.append(dict(kind="credentials", path=source.path, previous_port=plan.old_port))


def make_plan(component, mastheads, settings, new_port, old_port=None, issued=None, allow_invalid_signature=False,
              credentials=()):
    """The edits that bring one host (component: server, relay or client) to `new_port`; none when it is there."""
    plan = Plan(old_port, new_port)
    _masthead_edits(plan, mastheads, issued, allow_invalid_signature)
    _settings_edits(plan, component, settings)
    _credentials_edits(plan, credentials)
    return plan
