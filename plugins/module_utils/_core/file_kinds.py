# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of files: what generic code has to know of a product's format, so that it needs to know no product.

A record names the kind of each of its files.  The kinds are handed in by the modules, which import the product's own modules
that hold them in C(KINDS).
"""

from ansible_collections.portshift.agents.plugins.module_utils._core.imported import modules_with
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import MASK


def masked(unused):
    """Bytes of a file of which nothing is known, in a diff."""
    return MASK.encode("ascii")


class FileKind:
    """One format of a file of a product.

    C(recognises): whether bytes are of this kind; asked only for a record of an earlier version, which names no kind, in the
    order in which the kinds are handed in.

    C(redactor): (*states, ports=()) -> a function that makes bytes of the file fit for a diff, without secrets.  C(states): what
    the file holds, and what it held before; C(ports): those that move.  One of the states tells what the file is for all: what is
    left of it may be a piece that no longer looks like it.

    C(undo): (bytes now, bytes before, new port) -> the bytes now without what a move to the new port did to them, or None where
    that can't be told.  For a file that others have changed since and whose changes have to stay.

    C(option): the option of M(portshift.agents.confirmed_change) that asks for edits of this kind; C(spec): its suboptions;
    C(edit): (its entry) -> an Edit.  C(undo_edit): (its entry, bytes now, bytes before or None) -> as C(undo).
    C(keeps_all): whether undo_edit() leaves all that others wrote, so that no copy has to be kept.  C(edits_add_up): whether one
    file may be named by several entries.
    """

    def __init__(self, name, recognises, redactor, undo=None, option=None, spec=None, edit=None, undo_edit=None, keeps_all=False,
                 edits_add_up=False):
        self.name, self.recognises, self.redactor, self.undo = name, recognises, redactor, undo
        self.option, self.spec, self.edit, self.undo_edit = option, spec, edit, undo_edit
        self.keeps_all, self.edits_add_up = keeps_all, edits_add_up


class FileKinds:
    """The kinds of these C(modules), in order."""

    def __init__(self, *modules):
        self.modules = [module.__name__ for module in modules]
        self.all = [kind for module in modules for kind in module.KINDS]
        self._by_name = {kind.name: kind for kind in self.all}
        self.with_option = [kind for kind in self.all if kind.option]

    @classmethod
    def imported(cls, namespace):
        """The kinds of the modules that are imported there."""
        return cls(*modules_with("KINDS", namespace))

    def of(self, name, *states):
        """The kind of this name; without one (None) that of the states of the file; None where it is not known here."""
        if name is not None:
            return self._by_name.get(name)
        return next((kind for kind in self.all if any(map(kind.recognises, filter(None, states)))), None)

    def redactor(self, name, *states, ports=()):
        """What makes bytes of a file fit for a diff, by its kind."""
        kind = self.of(name, *states)
        return kind.redactor(*states, ports=ports) if kind else masked

    def undo(self, new_port):
        """A function (kind's name or None, bytes now, bytes before) -> the bytes now without the move to `new_port`, or None."""
        def content(name, now, before):
            kind = before is not None and self.of(name, before)
            return kind.undo(now, before, new_port) if kind and kind.undo else None
        return content


class Edit:
    """One edit that is ready to be committed: C(path), C(file) (a FileEdit), and its C(kind)."""

    kind = None
    warnings = ()

    def redact(self, content):
        """The bytes of the file as a diff may show them."""
        raise NotImplementedError

    def commit(self, module, record=None):
        return self.file.commit(module, redact=self.redact, record=record, kind=self.kind)
