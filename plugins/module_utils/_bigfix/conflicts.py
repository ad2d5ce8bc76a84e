# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who stands in the way of a move of a host on which others depend: on the port to come, and on the one to be left."""

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead_page import masthead_answer
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.ports import BIGFIX_NEIGHBOURS
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.setting_names import WEB_REPORTS

PROBE_TIMEOUT = 3


def neighbour_ports(host):
    """Web Reports and WebUI: where they listen by default, and where this host says."""
    own = host.setting(WEB_REPORTS)
    return set(BIGFIX_NEIGHBOURS) | ({own} if own else set())


def who(entry):
    return "process %(process)s (pid %(pid)s)" % entry if entry["pid"] else "a process of another user"


def serves_masthead(managed, entry):
    """None, or why what listens there is not the product."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(entry["address"], entry["address"])
    plain = masthead_answer(local, entry["port"], False, PROBE_TIMEOUT, names_port=False, host=managed)
    # Relays that authenticate answer HTTPS only; one that does not may let a handshake wait in vain, so it is asked last.
    if plain["reachable"] or masthead_answer(
            local, entry["port"], True, PROBE_TIMEOUT, names_port=False, host=managed)["reachable"]:
        return None
    return plain["reason"]


def new_port_conflicts(host, plan, listening, neighbours, address):
    """Sentences for a new port that another program holds already."""
    if host.port in neighbours:
        return ["port %d is the port of Web Reports or WebUI on this host, which do not move; choose another" % host.port]
    # A listener of ours that an interrupted run left ends by itself, or when the paths are proved.
    ours = host.managed.own_listener(host.port, address)
    holders = [entry for entry in listening if entry["port"] == host.port and entry["protocol"] == "tcp" and (
        not ours or entry["pid"] != ours)]
    if not any(edit["kind"] == "masthead" for edit in plan.edits):
        # An agent may have gathered the new masthead by itself, and its relay may have followed.
        holders = [entry for entry in holders if serves_masthead(host.managed, entry)]
    if holders:
        return ["port %d is in use already: %s listens on %s; free it or choose another port" % (
            host.port, who(entry), entry["address"]) for entry in holders]
    if ours:
        return []
    return ["port %d is in use already: the kernel gave it to a connection of %s to %s; end that connection or choose another "
            "port (once reserved, it is not given away again)" % (host.port, who(entry), entry["remote"])
            for entry in host.managed.outgoing(host.port, address)]


def old_port_conflicts(host, listening):
    """Sentences for an old port on which not the product answers."""
    found = []
    for entry in listening:
        reason = entry["port"] == host.old_port and entry["protocol"] == "tcp" and serves_masthead(host.managed, entry)
        if reason:
            found.append("port %d, the old one, is held by %s, which serves no masthead (%s), so the %s can't be listening "
                         "there; find out whose it is and mend that first" % (host.old_port, who(entry), reason, host.component))
    return found


def conflicts(host, plan, listening, neighbours, address):
    """Sentences for both ports of a server or relay that is to move."""
    if host.component == "client" or not plan.edits:
        return []
    return new_port_conflicts(host, plan, listening, neighbours, address) + old_port_conflicts(host, listening)
