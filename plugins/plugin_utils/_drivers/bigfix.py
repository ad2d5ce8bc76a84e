# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HCL BigFix, as the playbooks have to know it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Ansible compiles a plugin's code in each process that loads it, and a worker is a fork of the process that reads a play's hosts
# here: what every host's tasks need is loaded with the driver, once, and not in each of their workers.
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.plugin_utils import _bigfix_options, _values  # noqa: F401
from ansible_collections.portshift.agents.plugins.plugin_utils._options import (
    FIREWALLS, FORCE, LOCK, MISSING, PHASES, USERS, Option, sources)
from ansible_collections.portshift.agents.plugins.plugin_utils._products import Product

OPTIONS: list[Option] = [
    Option("port", "port", "", "the port to move to", "port", "required"),
    Option("masthead_src", "str", "", "masthead issued for that port, on the control node; relative to where you type",
           "masthead_src", "none"),
    *PHASES,
    Option("relay_waves", "waves", ["100%"],
           "sizes of the waves of relays, as play keyword `serial` has them; no wave is larger "
           "than the number of forks", "relay_waves"),
    Option("client_waves", "waves", ["5%", "25%"], "the same for clients", "client_waves"),
    *MISSING,
    Option("settle_seconds", "float", 5, "seconds after which a host has to prove itself once more, by the same processes"),
    *USERS,
    Option("previous_port", "port", "", "the port that moves, where a host holds several", "previous_port", "found"),
    Option("address", "str", "", "host variable: the address at which other hosts reach this one", shown="`ansible_host`"),
    Option("parent", "str", "", "host variable: the inventory name of the parent", shown="the root server"),
    Option("service_command", "list", [], "a command given SERVICE and `start`, `stop`, `status`", shown="service manager"),
    Option("executables", "dict", {}, "service -> paths of what it runs, by which its processes are found; none beside "
           "`bigfix_service_command`", shown="the vendor's paths"),
    Option("service_timeout", "int", 120, "seconds that the stop of a service may take, and as many its start"),
    Option("bridge", "bool", True,
           "let both ports answer while agents move; `false` where the packet filter is not to be touched"),
    Option("firewall", "str", "auto",
           "the hosts' own firewall: `firewalld`, `ufw`, `nftables`, `iptables`; `none` leaves it alone", choices=FIREWALLS),
    Option("firewall_zone", "str", "", "the zone of firewalld", shown="default zone"),
    *sources("hosts that have to reach this one: children by tcp, the parent by udp", ": consoles, REST clients"),
    Option("reserve_port", "bool", True, "keep the kernel from giving the port to an outgoing connection"),
    Option("parent_connects", "bool", False, "host variable of a relay in a DMZ: its parent opens the connection"),
    *LOCK,
    Option("keep_days", "int", 90, "`close` removes records and backups of earlier migrations that are older"),
    FORCE,
    *[Option(name, kind, default, "", listed=False) for name, kind, default in (
        ("lock_path", "str", None), ("record_path", "str", None), ("probe_timeout", "float", 10),
        ("evidence_timeout", "float", 60), ("tls", "bool", False), ("bind_address", "str", ""), ("bridge_name", "name", "bigfix"),
        ("bridge_persistent", "bool", True), ("listener_seconds", "int", 600),
        ("allow_invalid_signature", "bool", False), ("phase", "str", None))]]


def _opens(component: str | None, look: Mapping[str, Any], port: int | None) -> bool:
    """A server or relay that is to move answers on both ports; a client's firewall may lack something; and a move that was
    interrupted is finished, since children have to reach the host.
    """
    record = look.get("record") or {}
    interrupted = record.get("state") == "changing" and record.get("new_port") == port
    missing = (look.get("host_port") or {}).get("missing")
    return interrupted or bool(look.get("edits") and (component != "client" or missing))


PRODUCT = Product(
    name="bigfix", groups=("bigfix_server", "bigfix_relays", "bigfix_clients"),
    order="bigfix_topology", plan="bigfix_plan", plan_argument="topology",
    plan_keeps=("masthead_host",), server_name="masthead_host", port="bigfix_port", port_word="port",
    options=OPTIONS, windows=True, documentation="README.md",
    whole="deployment", gate_whole="",
    roles=dict(server="bigfix_server", relay="bigfix_relay", client="bigfix_client"),
    lacks=dict(server=("path", "settle"), relay=("settle",), client=("end_listener", "reopen", "settle", "users")),
    facts=dict(assessment="bigfix_component_assessment", path="bigfix_component_path", evidence="bigfix_component_evidence",
               users="bigfix_component_users", way_back="bigfix_component_way_back"),
    phases={1: "root server and pilot", 2: "relays", 3: "clients"}, path_predicts=False, back_first=("server",),
    opens=_opens, always_open=("server", "relay"),
    unasked="below a host from which this run would take a port, and not part of the run, so it can't be told whether they still "
            "need it. Run without --limit, or limit to hosts with all of their children",
    outside="its parent %s is no part of this run: where that has not moved yet, move it first",
    next_steps=(
        "Console: connect to %(server)s:%(port)s from now on.",
        "Network firewalls between zones: tcp and udp %(port)s have to be open, child to parent and back (udp notifications go "
        "from parent to child; to a relay in a DMZ the parent connects).",
        "Integrations that hold the old port: REST clients (https://%(server)s:PORT/api), Web Reports data sources, installers "
        "with an old masthead or clientsettings.cfg, monitoring.",
        "Web Reports and WebUI keep their own ports. Restart Web Reports when it suits: it reads its copy of the masthead then.",
        "New agents: install them with a masthead for port %(port)s.",
        "Way back: run rollback_bigfix_port.yml with the same inventory. Proof at any time: verify_bigfix_port.yml."))
