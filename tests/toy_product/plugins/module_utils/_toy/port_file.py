# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port file of the toy: `port = NUMBER` in a line of its own, and comments."""

import re

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileEdit, FileError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import Edit, FileKind

LINE = re.compile(br"^[ \t]*port[ \t]*=[ \t]*([0-9]{1,5})[ \t]*\r?$", re.M)


def _digits(content):
    found = list(LINE.finditer(content))
    if len(found) != 1:
        raise EngineError("%d lines such as port = 4100 where one was expected; leave the one that counts" % len(found))
    return found[0].span(1)


def port_of(content):
    first, end = _digits(content)
    return int(content[first:end])


def with_port(content, port):
    first, end = _digits(content)
    return content[:first] + b"%d" % port + content[end:]


def moved_back(now, before, new_port):
    """The bytes now with the port of before, where the port is still the one that the move led to; else None."""
    try:
        return with_port(now, port_of(before)) if port_of(now) == new_port else None
    except EngineError:
        return None


class PortEdit(Edit):
    """Brings the file at `path` to `port`; without one it only reads."""

    kind = "toy_port"

    def __init__(self, path, port=None):
        self.path = path
        self.file = FileEdit.read(path)
        try:
            self.before = port_of(self.file.before)
            if port is not None:
                self.file.apply(with_port(self.file.before, port))
        except EngineError as err:
            raise FileError("%s: %s" % (path, err))

    def redact(self, content):
        # It holds no secret.
        return content


KINDS = [FileKind(
    PortEdit.kind, LINE.search, lambda *states, ports=(): bytes, undo=moved_back, option="toy_ports",
    spec=dict(path=dict(type="path", required=True), port=dict(type="int", required=True)),
    edit=lambda entry: PortEdit(entry["path"], entry["port"]),
    undo_edit=lambda entry, now, before: moved_back(now, before, entry["port"]) if before is not None else None)]
