# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BoKS, as the playbooks have to know it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.portshift.agents.plugins.plugin_utils._options import (
    FIREWALLS, FORCE, LOCK, MAX_MISSING, MISSING, PHASES, USERS, Option, sources)
from ansible_collections.portshift.agents.plugins.plugin_utils._products import Product

OPTIONS: list[Option] = [
    Option("base_port", "port", "", "the base to move to, 1024 to 65532", "base_port", "required"),
    Option("confirm_timeout", "int", 120, "seconds that start, proof and the new login that confirms have together"),
    *PHASES,
    Option("agent_waves", "waves", ["5%", "25%"], "sizes of the waves of Server Agents, as `serial` has them", "agent_waves"),
    MISSING[0]._replace(text="%s; for hosts that are down, since one that is up and not opened stands in the way of the others"
                             % MAX_MISSING),
    *MISSING[1:], *USERS, *LOCK,
    Option("settle_seconds", "float", 5, "seconds after which a host has to prove itself once more, by the same daemons; at "
           "most 2 where it had proved itself before"),
    Option("status_command", "list", [],
           "`[/opt/boksm/sbin/boksadm, -S, boksdiag, list]`: its last column counts as evidence",
           shown="none"),
    *sources("the hosts of the domain that connect there", ""),
    Option("bridge", "bool", True,
           "both bases answer while hosts move; the playbooks refuse to move a domain without it", "bridge"),
    Option("firewall", "str", "auto", "the hosts' own firewall; `none` leaves it alone", choices=FIREWALLS),
    Option("firewall_zone", "str", "", "the zone of firewalld", shown="default zone"),
    Option("allow_named_ports", "bool", False, "ports of the new range may have other names in the services file"),
    Option("stop_commands", "list", [["/opt/boksm/sbin/boksadm", "-S", "Boot", "-k"]], "commands that stop BoKS",
           shown="`boksadm -S Boot -k`"),
    Option("start_commands", "list", [["/opt/boksm/sbin/boksadm", "-S", "Boot"]], "commands that start it",
           shown="`boksadm -S Boot`"),
    FORCE,
    *[Option(name, kind, None, "", listed=False) for name, kind in (("lock_path", "str"), ("address", "str"))]]


def _opens(component: str | None, look: Mapping[str, Any], port: int | None) -> bool:
    """A host that is to move answers on both bases, and its firewall admits the new one."""
    return bool(look.get("edits"))


PRODUCT = Product(
    name="boks", groups=("boks_master", "boks_replicas", "boks_agents"),
    order="boks_domain", plan="boks_plan", plan_argument="domain", port="boks_base_port", port_word="base port",
    options=OPTIONS, documentation="docs/boks.md",
    whole="domain", gate_whole="the migration",
    roles=dict(master="boks", replica="boks", agent="boks"),
    lacks=dict.fromkeys(("master", "replica", "agent"), ("end_listener",)),
    facts=dict(assessment="boks_assessment", path="boks_path", evidence="boks_evidence", users="boks_users",
               way_back="boks_way_back"),
    phases={1: "Master", 2: "Replicas, one by one", 3: "Server Agents"}, back_first=("master", "replica"), span=4,
    add_up=True, opens=_opens, always_open=("master", "replica"),
    unasked="in the domain and not part of the run, so it can't be told whether they still need the ports that this run would "
            "take away. Run without --limit",
    outside="it connects to %s, no part of this run: where one of these has not been opened for the base port yet, run without "
            "--limit",
    next_steps=(
        "Network firewalls between zones: the ports of base %(port)s as docs/ports.md lists them, role by role.",
        "Hosts that are installed from now on: base %(port)s in their services file, before their first start.",
        "Both base ports answer until close_boks_port.yml runs. Way back: rollback_boks_port.yml with the same inventory. Proof "
        "at any time: verify_boks_port.yml."))
