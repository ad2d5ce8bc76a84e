# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a record, of whichever product: what of them a diff may show, and how one is put back that has changed since."""

import re

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import edit
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import hub_details
from ansible_collections.portshift.agents.plugins.module_utils._nginx import conf
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import MASK

# What a file of XML begins with, after a byte order mark; that of UTF-16 is none of a settings file's.
XML = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe", b"\xfe\xff")
# Also in a configuration of nginx that is broken, and in no file of the other products.
NGINX = re.compile(br"^[ \t]*(?:server[ \t\r\n]*\{|listen[ \t])", re.M)
# An entry of a services database, without its comment.
SERVICE = re.compile(br"[ \t]*[\w.+-]+[ \t]+[0-9]{1,5}/[a-z]{3,7}(?:[ \t]+[\w.+-]+)*[ \t]*(?=#|\r?\Z)")


def _is_xml(content):
    """A damaged file of XML may have lost its beginning."""
    return content.lstrip(b" \t\r\n").startswith(XML) or b"</" in content


def _is_services(content):
    return any(SERVICE.match(line) for line in content.split(b"\n"))


def _entries(content):
    """The entries of a services database, in a diff of a file that is taken for one."""
    lines, hidden = [], MASK.encode("ascii")
    for line in content.split(b"\n"):
        entry, end = SERVICE.match(line), b"\r" if line.endswith(b"\r") else b""
        shown = entry.group() if entry else b""
        rest = line[len(shown):].strip()
        lines.append(shown + (b"# " if shown and rest else b"") + (hidden if rest else b"") + end)
    return b"\n".join(lines)


def redactor(*states, ports=()):
    """What makes bytes of a file fit for a diff, without secrets.  `states`: what it holds, and what it held before; `ports`:
    those that move.

    One of the states tells what the file is for all: what is left of it may be a piece that no longer looks like it.
    """
    if any(map(_is_xml, states)):
        return hub_details.redacted
    if any(map(NGINX.search, states)):
        return conf.shown
    return _entries if any(map(_is_services, states)) else edit.redactor(*states, ports=ports)


def undone(new_port):
    """A function (bytes now, bytes before) -> the bytes now without what a move to `new_port` did to them, or None.

    An agent of Change Tracker writes its file anew when its credentials change; the old ones would lock it out.  A hub's
    configuration of nginx is a site's own, which may say more by now.
    """
    def content(now, before):
        if before is None:
            return None
        engine = conf if NGINX.search(before) else hub_details
        return engine.moved_back(now, before, new_port)
    return content
