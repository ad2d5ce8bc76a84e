# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One edit of /etc/services, from what is asked for to a FileEdit that is ready to be committed, and what the host makes of it.

The file is one source of several: nsswitch.conf may have NIS, sssd or a database answer before it.  Where a distribution
keeps its own list below /usr (SLES 16, openSUSE Tumbleweed), /etc/services need not be there: it has only what the site adds,
and what it has is found first.
"""

import re
import time

from ansible_collections.portshift.agents.plugins.module_utils._boks import services_lines
from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import CommandTimeout
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import Edit, FileKind
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import MASK
from ansible_collections.portshift.agents.plugins.module_utils._boks.services_lines import ServicesFileError, entries

SERVICES = "/etc/services"
NSSWITCH = "/etc/nsswitch.conf"
# The C library of SUSE goes by these where the ones in /etc are not there, or have no answer.
USR_SERVICES, USR_NSSWITCH = "/usr/etc/services", "/usr/etc/nsswitch.conf"
# The source of nsswitch.conf that reads the first of them.
USR_SOURCE = "usrfiles"
# The longest services files in use have 15,000 lines, 1 MB.
SIZE_LIMIT = 16 * 1024 * 1024
# Seconds that a directory server may take to answer.
PATIENCE_WITH_SOURCE = 10
# nscd notices a change of the file, but not at once.
PATIENCE_WITH_CACHE = 5
LOOK_AGAIN = 0.1
# Options of an entry, as a module takes several of them.
ENTRY_SPEC = dict(
    path=dict(type="path", default=SERVICES), name=dict(type="str", required=True), port=dict(type="int", required=True),
    protocols=dict(type="list", elements="str", default=["tcp"]),
    protocols_if_present=dict(type="list", elements="str", default=[]), aliases=dict(type="list", elements="str"),
    comment=dict(type="str"))
# An entry of a services database, without its comment.
ENTRY = re.compile(br"[ \t]*[\w.+-]+[ \t]+[0-9]{1,5}/[a-z]{3,7}(?:[ \t]+[\w.+-]+)*[ \t]*(?=#|\r?\Z)")


def sources(content):
    """Who is asked for services, in order, by the bytes of an nsswitch.conf."""
    for line in content.decode("utf-8", "replace").splitlines():
        database, colon, rest = line.split("#", 1)[0].partition(":")
        if colon and database.strip() == "services":
            return re.sub(r"\[[^\]]*\]", " ", rest).split()
    return ["files"]


def nsswitch(host):
    """The path of the file that says who is asked."""
    return USR_NSSWITCH if not host.exists(NSSWITCH) and host.exists(USR_NSSWITCH) else NSSWITCH


def _host_sources(host):
    try:
        return sources(host.read_if_there(nsswitch(host)) or b"")
    except FileError:
        return sources(b"")


def is_asked_by_lookups(host, path):
    """Whether this is the file that the host's own lookup reads."""
    return host.real_path(path) == host.real_path(SERVICES)


def shipped(host, path):
    """What parse() finds in the distribution's own database, when lookups ask it for what `path` does not have; else None."""
    order = _host_sources(host) if is_asked_by_lookups(host, path) else []
    if USR_SOURCE not in order or "files" not in order[:order.index(USR_SOURCE)]:
        return None
    content = host.read_if_there(USR_SERVICES)
    return None if content is None else services_lines.parse(content)


def _asked(host, source, name, protocol):
    """The port that one source alone gives, or None."""
    key = name if protocol is None else "%s/%s" % (name, protocol)
    try:
        output = host.run(["getent", "-s", "services:" + source, "services", key], PATIENCE_WITH_SOURCE)[1]
    except (OSError, CommandTimeout):
        return None
    match = re.match(r"\S+\s+([0-9]+)/", output)
    return int(match.group(1)) if match else None


def _who(host, name, protocol, port, order):
    """The one of the sources that gives `port`, or None."""
    return next((source for source in order if source != "files" and _asked(host, source, name, protocol) == port), None)


def answered_by(host, name, protocol, file_port):
    """Who answers instead of the file, in words; None when the host's own lookup gives `file_port` (None: nothing)."""
    port = host.service_port(name, protocol)
    if port == file_port:
        return None
    order = _host_sources(host)
    where = "the services line of %s is: %s" % (nsswitch(host), " ".join(order) or "empty")
    if port is None:
        return "no source answers for %s/%s on this host (%s)" % (name, protocol or "any", where)
    source = _who(host, name, protocol, port, order)
    if source is None and _asked(host, "files", name, protocol) == port:
        who = "%s, not another file," % SERVICES
    elif source is None:
        who = "a cache such as nscd, or a source that could not be asked alone,"
    else:
        who = "%s, not the file," % source
    return "%s answers %d for %s/%s on this host (%s)" % (who, port, name, protocol or "any", where)


class ServicesEdit(Edit):
    """Brings `name` to `port` in the services database at `path`, or with state "absent" takes its lines away.

    `file`: the FileEdit.  `previous`: {protocol: port, or None where there was none}.  `entries`: the lines of the name after
    the edit.  `shadowed`: sentences on those that lookups never reach.
    """

    kind = "services_file"

    def __init__(self, path, name, port, protocols=("tcp",), protocols_if_present=(), aliases=None, comment=None,
                 state="present", host=THIS_HOST):
        self.path, self.name, self.port, self.state, self.host = path, name, port, state, host
        _refuse_huge(host, path)
        behind = shipped(host, path)
        self.file = host.edit(path, may_be_missing=behind is not None)
        before = self.file.before or b""
        try:
            if state == "absent":
                change = services_lines.without_entry(before, name, port, protocols, protocols_if_present)
            else:
                change = services_lines.with_entry(before, name, port, protocols, protocols_if_present, aliases, comment,
                                                   behind or ())
        except EngineError as err:
            raise ServicesFileError("%s: %s; nothing was written" % (path, err))
        # Without a line of the site's the file need not be there, as it was not before the first one came.
        no_file = not change.after and (self.file.before is None or (before and behind is not None))
        self.file.apply(None if no_file else change.after)
        self.previous, self._lines = change.previous, change.lines + (behind or [])
        self.warnings = ["%s: %s" % (path, warning) for warning in change.warnings]
        self.entries = entries(change.lines, name)
        self.shadowed = ["%s: %s" % (path, sentence) for sentence in services_lines.shadowed(change.lines, name)]

    def redact(self, content):
        return content

    def resolved(self):
        """What the host's own lookup answers now: {protocol: port or None}."""
        return {protocol: self.host.service_port(self.name, protocol) for protocol in self.previous}

    def is_asked_by_lookups(self):
        return is_asked_by_lookups(self.host, self.path)

    def _wanted(self, protocol):
        found = services_lines.lookup(self._lines, self.name, protocol)
        return found and found[0]

    def foreseen(self):
        """A sentence when another source answers before the file is asked, so that no edit of it can count; else None."""
        if not self.is_asked_by_lookups() or self.state == "absent":
            return None
        order = _host_sources(self.host)
        before = order[:order.index("files")] if "files" in order else order
        for protocol in self.previous:
            port = self.host.service_port(self.name, protocol)
            if "files" not in order and port is None:
                return self._sentence(protocol, answered_by(self.host, self.name, protocol, self._wanted(protocol)))
            if port not in (None, self._wanted(protocol)) and _who(self.host, self.name, protocol, port, before):
                return self._sentence(protocol, answered_by(self.host, self.name, protocol, self._wanted(protocol)))
        return None

    def disagreement(self, patience=PATIENCE_WITH_CACHE):
        """A sentence when the host's own lookup does not answer what the file now says; None when it does.

        To be asked after the file was written.  After a line was taken away, that another source still answers is not told.
        """
        if not self.is_asked_by_lookups() or self.state == "absent":
            return None
        end = time.monotonic() + patience
        while True:
            wrong = [protocol for protocol, port in self.resolved().items() if port != self._wanted(protocol)]
            if not wrong:
                return None
            if time.monotonic() >= end:
                who = answered_by(self.host, self.name, wrong[0], self._wanted(wrong[0]))
                return who and self._sentence(wrong[0], who)
            time.sleep(LOOK_AGAIN)

    def _sentence(self, protocol, who):
        return ("%s: an entry %s %d/%s there does not count: %s. Change the port where that answer comes from, or have files "
                "come first there" % (self.path, self.name, self._wanted(protocol), protocol, who))

    def commit(self, module, record=None):
        """Writes, and looks whether the host goes by it; if not, puts the old bytes back and raises.  The module's result."""
        refusal = self.foreseen()
        if refusal:
            raise ServicesFileError(refusal + "; nothing was written")
        result = super().commit(module, record)
        if module.check_mode and result["changed"]:
            return result
        # What has been there for long is in no cache that has yet to notice it.
        sentence = self.disagreement(PATIENCE_WITH_CACHE if result["changed"] else 0)
        if sentence:
            raise ServicesFileError("%s; %s" % (sentence, self._put_back(module) if result["changed"] else "nothing was written"))
        return result

    def _put_back(self, module):
        try:
            edit = self.host.edit(self.path, may_be_missing=True)
            if edit.before != self.file.after:
                return "the file was NOT put back, since another process has changed it meanwhile"
            edit.apply(self.file.before).commit(module)
        except FileError as err:
            return "the file was NOT put back: %s" % err
        return "the file was put back as it was"


def _refuse_huge(host, path):
    size = host.size(path) or 0     # what is no file has its sentence when it is read
    if size > SIZE_LIMIT:
        raise ServicesFileError("%s: has %d bytes, more than the %d that a services database may have here; nothing was written. "
                                "Look what has filled it" % (path, size, SIZE_LIMIT))


def _is_services(content):
    return any(ENTRY.match(line) for line in content.split(b"\n"))


def redacted(content):
    """The entries of a services database, without what else stands in a file that is taken for one."""
    lines, hidden = [], MASK.encode("ascii")
    for line in content.split(b"\n"):
        entry, end = ENTRY.match(line), b"\r" if line.endswith(b"\r") else b""
        shown = entry.group() if entry else b""
        rest = line[len(shown):].strip()
        lines.append(shown + (b"# " if shown and rest else b"") + (hidden if rest else b"") + end)
    return b"\n".join(lines)


def _without_our_port(entry, now, before):
    """The bytes now with what the bytes before said of the entry's name; None where they can't be read."""
    content = now
    try:
        for protocol in list(entry["protocols"]) + list(entry["protocols_if_present"]):
            old = services_lines.resolve(before or b"", entry["name"], protocol)
            if old:
                content = services_lines.with_entry(content, entry["name"], old[0], [protocol]).after
            else:
                content = services_lines.without_entry(content, entry["name"], entry["port"], [protocol]).after
    except EngineError:
        return None
    return content


KINDS = [FileKind(
    ServicesEdit.kind, _is_services, lambda *states, ports=(): redacted, option="services_entries", spec=ENTRY_SPEC,
    edit=lambda entry: ServicesEdit(**entry), undo_edit=_without_our_port, edits_add_up=True)]
