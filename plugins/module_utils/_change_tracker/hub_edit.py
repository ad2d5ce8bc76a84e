# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One edit of a Change Tracker agent's HubDetails.xml, from the places where it may lie to a FileEdit ready to be committed."""

from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import hub_details
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import Edit, FileKind
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST

# What a file of XML begins with, after a byte order mark; that of UTF-16 is none of a settings file's.
XML = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe", b"\xfe\xff")


def the_one(host, candidates):
    """The one of these paths that is there.  Two names of one file are one."""
    if not candidates:
        raise FileError("path is an empty list; name the agent's HubDetails.xml, or leave path out")
    if len(candidates) == 1:
        return candidates[0]
    found = {}
    for path in candidates:
        if host.is_there(path):
            found.setdefault(host.real_path(path), path)
    paths = sorted(found.values(), key=candidates.index)
    if not paths:
        raise FileError("no HubDetails.xml was found; looked for %s. Look whether the agent is installed here, or name its file "
                        "with path" % ", ".join(candidates))
    if len(paths) > 1:
        raise FileError("%d files were found where one was expected: %s; nothing was written. Name the one that the agent reads "
                        "with path, and remove what an earlier agent has left" % (len(paths), ", ".join(paths)))
    return paths[0]


def _read(host, path):
    size = host.size(path) or 0     # what is no file has its sentence when it is read
    if size > hub_details.LIMIT:
        raise FileError("%s: %s" % (path, hub_details.too_big(size)))
    return host.edit(path)


class HubEdit(Edit):
    """Brings the hub's URL to `port`, or to `url`; with neither it only reads."""

    kind = "hub_details"
    redact = staticmethod(hub_details.redacted)

    def __init__(self, candidates, port=None, url=None, host=THIS_HOST):
        self.path = the_one(host, candidates)
        self.file = _read(host, self.path)
        try:
            self.before = hub_details.parse(self.file.before)
            if port is not None:
                self.file.apply(hub_details.with_port(self.file.before, port))
            elif url is not None:
                self.file.apply(hub_details.with_url(self.file.before, url))
            self.after = hub_details.parse(self.file.after)
        except EngineError as err:
            raise FileError("%s: %s" % (self.path, err))


def _is_xml(content):
    """A damaged file of XML may have lost its beginning."""
    return content.lstrip(b" \t\r\n").startswith(XML) or b"</" in content


# An agent of Change Tracker writes its file anew when its credentials change; the old ones would lock it out.
KINDS = [FileKind(
    HubEdit.kind, _is_xml, lambda *states, ports=(): hub_details.redacted, undo=hub_details.moved_back, option="hub_urls",
    spec=dict(path=dict(type="path", required=True), port=dict(type="int", required=True)),
    edit=lambda entry: HubEdit([entry["path"]], port=entry["port"]),
    undo_edit=lambda entry, now, before: hub_details.moved_back(now, before, entry["port"]), keeps_all=True)]
