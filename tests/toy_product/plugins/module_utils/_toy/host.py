# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the toy: what stands in its file and in its record, and what proves that it works on a port."""

import socket

from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import left_port
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import (
    EVIDENCE_SPEC, PROOF_SPEC, Evidence, ProductProof)
from ansible_collections.portshift.agents.plugins.module_utils._core.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._toy.port_file import PortEdit

HOST_SPEC = dict(path=dict(type="path", required=True), port=dict(type="int"), record=dict(type="path"))
ADDRESS = dict(address=dict(type="str", required=True))
TOY_EVIDENCE_SPEC = dict(HOST_SPEC, **dict(ADDRESS, **EVIDENCE_SPEC))


def look(params, host=THIS_HOST):
    """The result of toy_info."""
    record = host.record(params["record"]) if params["record"] else None
    content, port, problems, here = (record and record.content) or {}, params["port"], [], None
    try:
        here = PortEdit(params["path"], host=host).before
    except EngineError as err:
        problems.append(str(err))
    moving = here is not None and port not in (None, 0, here)
    return dict(changed=False, ok=not problems, port=port or here, problems=problems, notes=[], record=content or None,
                old_port=here if moving else left_port(content, port or here),
                edits=[dict(path=params["path"])] if moving else [])


def answers(address, port):
    """Whether the daemon greets there, by the port that it has read."""
    try:
        with socket.create_connection((address, port), timeout=2) as stream:
            return stream.makefile("rb").readline() == b"TOY %d\n" % port
    except OSError:
        return False


class ToyEvidence(Evidence):
    """The pieces of evidence that a host owes."""

    def __init__(self, params, host=THIS_HOST):
        super().__init__(params, params["port"], host.record(params["record"]) if params["record"] else None, host)

    def asked(self):
        found = [("under_way", self.under_way, False), ("file", self.file, False), ("daemon", self.daemon, False)]
        return found + ([("old_port", self.left, False)] if self.old_port not in (None, self.port) else [])

    def file(self, unused):
        here = PortEdit(self.params["path"], host=self.managed).before
        return here == self.port, ["%s names port %d" % (self.params["path"], here)]

    def daemon(self, unused):
        there = answers(self.params["address"], self.port)
        return there, ["the daemon %s on port %d" % ("answers" if there else "does not answer", self.port)]

    def left(self, unused):
        there = answers(self.params["address"], self.old_port)
        return not there, ["the daemon %s on the old port %d" % ("still answers" if there else "answers no more", self.old_port)]


# Within the unit of confirmed_change.
PROOF = ProductProof("toy_proof", dict(ADDRESS, path=HOST_SPEC["path"], **PROOF_SPEC),
                     lambda options, port, record: ToyEvidence(dict(options, port=port, record=record)))
