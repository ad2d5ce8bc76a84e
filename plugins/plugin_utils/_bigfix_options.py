# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules are asked of a BigFix host, out of the one variable in which a role says what such a host is made of.

As a template for each option, as modules are usually called, a look at one client compiled 140 templates, about 0.2 CPU seconds;
Ansible keeps none of them for its next worker.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Mapping
from operator import itemgetter
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead_page import MASTHEAD_PAGE

# The variable bigfix_component_host; each value is templated when it is asked for.
Host = Mapping[str, Any]
Options = dict[str, Any]

# What the masthead of one that has moved holds, with its port twice.
MOVED_PAGE = r':%s/|_PortNumber\s*=\s*"?%s\b'
HOST_LEASE, LEASE_WAIT = "/var/lib/portshift/host.lock", 300
WHOLE = ("component", "port", "previous_port", "masthead_paths", "settings_paths", "clientsettings_paths", "credentials_paths")
SERVICES = ("services", "service_command", "executables")
PROOF = ("address", "bind_address", "tls", "log_dir", "relay_chain_dir", "success_patterns", "failure_patterns")


def _chosen(host: Host, names: Collection[str]) -> Options:
    """Those of the names that the host has a value for."""
    found = {name: host[name] for name in names if name in host}
    return {name: value for name, value in found.items() if value is not None and value != ""}


def _files(host: Host, *more: str) -> Options:
    return dict(_chosen(host, WHOLE + more), record=host["record_path"])


def _lease(host: Host) -> Options:
    """One for the whole host, whatever products it has."""
    return dict(lease=host.get("lease", HOST_LEASE), lease_wait=host.get("lease_wait", LEASE_WAIT))


def bridge(host: Host) -> Options:
    """Options of port_bridge that say which one it is."""
    addresses = [address for address in [host["bind_address"]] if address]
    return dict(_lease(host), name=host.get("bridge_name", ""), addresses=addresses,
                persistent=host.get("bridge_persistent", True))


def host_port(host: Host) -> Options:
    """Options of host_port: what the host needs for the new port to be usable, beside the product."""
    port = host["port"]
    return dict(
        _lease(host), name="bigfix", backend=host["firewall"], zone=host["firewall_zone"],
        openings=[dict(opening, port=port) for opening in host["openings"]], reserve=host.get("reserve_port", False),
        # One for each port that a migration leads to: going back from the second leaves what the first one did.
        record=posixpath.join(posixpath.dirname(host["record_path"]), "bigfix.%s.host_port.json" % port))


def _proof(host: Host, neighbours: Collection[int]) -> Options:
    """How the host proves itself."""
    # A relay in a DMZ can't call its parent; its log alone says whether its reports get through.
    parent = "" if host.get("parent_connects") else host["parent_address"]
    return dict(_chosen(host, PROOF), neighbours=list(neighbours), settle=host["settle_seconds"],
                timeout=host["evidence_timeout"], **({"parent": parent} if parent else {}))


def _proof_within(host: Host, neighbours: Collection[int]) -> Options:
    return dict(_proof(host, neighbours), parent_wait=host["probe_timeout"])


def look(host: Host, neighbours: Collection[int] = ()) -> Options:
    """Options of bigfix_info.  A host that has moved gives its proof; one that is not well is moved anew, in its own time."""
    proof = dict(_proof_within(host, neighbours), timeout=host["probe_timeout"])
    return dict(_files(host, "masthead_src", "allow_invalid_signature", "bind_address", *SERVICES), host_port=host_port(host),
                proof=proof)


def _change(host: Host, *more: str) -> Options:
    turned = dict(bridge=bridge(host)) if host["bridge"] else {}
    return dict(_files(host, "service_timeout", *SERVICES, *more), **turned)


def move(host: Host, neighbours: Collection[int] = ()) -> Options:
    """Options of bigfix_cutover."""
    return dict(_change(host, "masthead_src", "allow_invalid_signature", "reserve_port"), phase=str(host["phase"]),
                proof=_proof_within(host, neighbours))


def finish(host: Host, neighbours: Collection[int] = ()) -> Options:
    """Options of bigfix_cutover that finish a move which has begun, and begin none; the proof comes with the host's phase."""
    return dict({name: value for name, value in move(host, neighbours).items() if name != "proof"}, unfinished_only=True)


def back(host: Host, neighbours: Collection[int] = ()) -> Options:
    """Options of bigfix_cutover that take a move back."""
    return dict(_change(host), state="restored")


def evidence(host: Host, neighbours: Collection[int] = ()) -> Options:
    """Options of bigfix_evidence."""
    return dict(_files(host, "allow_invalid_signature", *SERVICES), **_proof(host, neighbours))


def _target(host: Host, address: str, port: Any, page: str | None) -> list[Options]:
    if not host["parent_address"]:
        return []
    http = {} if page is None else dict(http=dict(path=MASTHEAD_PAGE, tls=host["tls"], body_regex=page))
    return [dict(http, host=address, port=port)]


def path(host: Host, back_to: int = 0) -> list[Options]:
    """Targets of port_probe: the parent on the new port; none where the host has no parent.

    Behind a bridge the product answers, else a listener of our own, which speaks no TLS.  Before a way back it is the old port,
    where the bridge makes the parent answer.
    """
    if back_to and not host["parent_bridge"]:
        return []
    address = host["address"] if host.get("parent_connects") else host["parent_address"]
    return _target(host, address, back_to or host["port"], "" if host["parent_bridge"] else None)


def parent_moved(host: Host, back_to: int = 0) -> list[Options]:
    """Targets of port_probe: the parent, whose masthead has to name the port.

    Its bridge alone would let the host move and fail its proof.
    """
    port = back_to or host["port"]
    return _target(host, host["parent_address"], port, MOVED_PAGE % (host["port"], host["port"]))


def prober(host: Host) -> str:
    """The host that probes the path in place of this one: the parent, where that one opens the connections."""
    return str(host.get("parent", "")) if host.get("parent_connects") else ""


# What the lookup is asked for -> whose options these are.
ASKED: dict[str, Callable[..., Options]] = dict(
    look=look, move=move, finish=finish, back=back, evidence=evidence)
PARTS: dict[str, Callable[[Host], Any]] = dict(
    bridge=bridge, host_port=host_port, prober=prober, probe_timeout=itemgetter("probe_timeout"))
PATHS: dict[str, Callable[[Host, int], list[Options]]] = dict(path=path, parent_moved=parent_moved)
