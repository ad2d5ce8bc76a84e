# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at a BoKS host: where its ports are, what would change, who stands in the way, what a host that has moved proves."""

from ansible_collections.portshift.agents.plugins.module_utils._boks import domain as _boks
from ansible_collections.portshift.agents.plugins.module_utils._boks.evidence import (
    BOKS_PROOF_SPEC, BoksEvidence, asked_within)
from ansible_collections.portshift.agents.plugins.module_utils._boks.host import (
    BOKS_HOST_SPEC, BoksHost, foreign, with_listeners)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import proof_of_moved
from ansible_collections.portshift.agents.plugins.module_utils._move.states import TIMES_SPEC, too_short
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import is_ephemeral
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST

# Options of the module.
LOOK_SPEC = dict(
    BOKS_HOST_SPEC, base_port=dict(type="int"), allow_overlap=dict(type="bool", default=False),
    allow_named_ports=dict(type="bool", default=False), host_port=dict(type="dict"), proof=BOKS_PROOF_SPEC, move_times=TIMES_SPEC)


class Move:
    """What bringing a host to `base_port` would change, and what stands against it."""

    def __init__(self, params, host):
        self.host, self.params = host, params
        self.problems, self.notes, self.warnings = list(host.problems), list(host.notes), []
        self.problems += [host.under_way] if host.under_way else []
        self.wanted = self.new_services_port = self.old_base = None
        self.edits = []
        if self.params["base_port"] is not None:
            self._plan()
        elif host.claimed_by_alias():
            self.problems.append(host.claimed_by_alias())
        if host.answered_by:
            self.problems.append(
                "%s: is not what counts: %s. Have the host answer from the file, or change the port where that answer comes from"
                % (self.params["services_path"], host.answered_by))

    def _plan(self):
        host = self.host
        try:
            self.wanted = _boks.parse_base(self.params["base_port"])
            if host.domain is not None:
                self.new_services_port = _boks.services_port_for(self.wanted, host.domain)
        except EngineError as err:
            self.problems.append(str(err))
        if self.wanted is None:
            return
        self.old_base = host.old_base(self.wanted)
        if self.new_services_port is not None:
            self.edits, warnings, notes, problems = host.plan_edit(self.new_services_port)
            self.problems += problems
            if self.edits:
                self.warnings += warnings
                self.notes += notes
        self.problems += _boks.overlaps(self.wanted)
        if host.role is None:
            self.problems.append("what this host is in the BoKS domain can't be told from %s=%s in %s; say role: master, replica "
                                 "or agent, by its group in the inventory" % (
                                     _boks.INIT, host.env.get(_boks.INIT, ""), self.params["env_path"]))
        # A host whose daemons use these ports already only gets a line that says so.
        if self.edits and host.base != self.wanted:
            self._range_is_free()

    def _range_is_free(self):
        host, wanted = self.host, self.wanted
        self.problems += [sentence for sentence in _boks.overlaps(wanted, self.old_base, self.params["allow_overlap"])
                          if sentence not in self.problems]
        named = ["%s: %s" % (host.place_of(line), sentence) for line, sentence in _boks.named_by_others(wanted, host.lines)]
        if self.params["allow_named_ports"]:
            self.notes += named
        else:
            self.problems += ["%s; choose another base port, or say allow_named_ports if that service is not used in this domain"
                              % sentence for sentence in named]
        problems, notes = foreign(host, wanted, self.old_base)
        self.problems += problems
        self.notes += notes

    def note_handed_out(self):
        """The kernel may give a port to a connection of this host while the daemons are down."""
        ephemeral = self.host.managed.ephemeral_ports()
        taken = sorted({port for port, unused in _boks.own_ports(self.wanted, self.host.role) if is_ephemeral(port, ephemeral)})
        if taken and self.edits and not (self.params["host_port"] or {}).get("reserve"):
            self.notes.append("port %s lies in the range that the kernel hands out to outgoing connections; reserve it "
                              "(net.ipv4.ip_local_reserved_ports), or a restart may find it taken" % ", ".join(map(str, taken)))

    def note_silence(self, ports):
        """A person should know of daemons that don't run, or that still run with another base port."""
        host, moving = self.host, [entry for entry in ports if entry["movable"]]
        if host.listeners(()) is None:
            self.notes.append("this host can't tell who listens, so that nothing is known of who may hold the ports")
        elif moving and host.role and not any(entry["listening_by"] for entry in moving):
            self.notes.append("no process listens on %s, where this host has to on base port %d; does BoKS run, and was it "
                              "restarted since its base port was changed?" % (
                                  ", ".join("%(port)d/%(protocol)s" % entry for entry in moving), host.base))

    def table(self, base):
        """The ports of this host on one base port, each with who listens."""
        if base is None or not 1 <= base <= _boks.HIGHEST_BASE:
            return []
        found = _boks.ports(base, self.host.role or "all")
        return with_listeners(found, self.host.listeners(entry["port"] for entry in found))

    def evidence(self):
        """The proof of a host that has moved, or None where there is none to be asked for."""
        proof = self.params["proof"]
        if not proof or self.wanted is None or self.edits or self.problems:
            return None
        return proof_of_moved(self.host.record, self.wanted, lambda: BoksEvidence(
            asked_within(self.params, proof, self.wanted), self.host.managed), proof["timeout"])


def look(params, host_port, warn, host=THIS_HOST):
    """What boks_info returns.  `host_port`: Move -> what this host's own firewall lacks, or None.  `warn`: takes a sentence."""
    host = BoksHost(params, host)
    move, times = Move(params, host), params["move_times"]
    sentence = times and move.edits and too_short(times["limit"], times)
    move.problems += [sentence] if sentence else []
    ports = move.table(host.base)
    opened = host_port(move)
    if move.wanted is not None:
        move.note_handed_out()
    move.note_silence(ports)
    for warning in move.warnings:
        warn(warning)
    return dict(
        changed=False, ok=not move.problems, port=move.wanted, problems=move.problems, notes=move.notes, base=host.base,
        services_port=host.services_port, services_entry=host.services_entry, answered_by=host.answered_by,
        bridge_domain=host.domain, role=host.role, ports=ports, wanted_ports=move.table(move.wanted),
        new_services_port=move.new_services_port, protocols_if_present=host.protocols_if_present(), edits=move.edits,
        old_base=move.old_base, host_port=opened, evidence=move.evidence(), record=host.record.content if host.record else None)
