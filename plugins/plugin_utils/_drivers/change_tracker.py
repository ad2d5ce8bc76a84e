# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Netwrix Change Tracker, as the playbooks have to know it."""

from __future__ import annotations

from ansible_collections.portshift.agents.plugins.plugin_utils._change_tracker_agents import port_left
from ansible_collections.portshift.agents.plugins.plugin_utils._options import FIREWALLS, FORCE, LOCK, MISSING, PHASES, Option
from ansible_collections.portshift.agents.plugins.plugin_utils._products import Product

OPTIONS: list[Option] = [
    Option("port", "port", "", "the port to move to", "port", "required"),
    Option("hub_server", "str", None, "`none`: the hub is made to answer on both ports by hand", "hub_server",
           "`nginx`, on a Windows host `iis`"),
    Option("hub_site", "str", "", "the website of IIS", shown="the one on the hub's port"),
    *PHASES,
    Option("agent_waves", "waves", ["5%", "25%"], "sizes of the waves of agents, as `serial` has them", "agent_waves"),
    *MISSING,
    Option("close_despite_users", "bool", False,
           "end the old port, and with a rollback the new one, in spite of connections to it"),
    *LOCK,
    Option("lock_path", "str", None, "where the lock lies, on the hub",
           shown="`/var/lib/portshift/change_tracker.lock`, on Windows `C:\\ProgramData\\portshift\\change_tracker.lock`"),
    Option("restrict_sources", "bool", False, "the hub's own firewall admits only the hosts of the inventory that run agents",
           "restrict_sources"),
    Option("allowed_sources", "items", [],
           "with that, others who may connect. **Console users and API clients have to be among "
           "these**, or they are shut out", "allowed_sources"),
    Option("address", "str", "", "host variable: from where others see this host come", shown="`ansible_host`"),
    FORCE,
    Option("agent_confirm_timeout", "int", 120, "seconds that start, proof and the new login that confirms have together"),
    Option("agent_settle_seconds", "float", 5, "seconds after which an agent has to prove itself once more"),
    Option("agent_allow_unproved", "bool", False,
           "move agents behind an HTTP proxy, whose path can't be proved from their host"),
    Option("monitored", "any", [], "host variable of a proxy: what it has to reach", shown="none"),
    Option("telnet", "bool", False, "look at telnet too", "telnet"),
    Option("hub_firewall", "str", "auto", "", listed=False, choices=FIREWALLS),
    *[Option(name, kind, default, "", listed=False) for name, kind, default in (
        ("hub_reserve_port", "bool", True), ("probe_timeout", "float", 5), ("flows_judged", "bool", None),
        ("agent_path", "any", []))]]

PRODUCT = Product(
    name="change_tracker", groups=("change_tracker_hub", "change_tracker_proxies", "change_tracker_agents"),
    order="change_tracker_estate", plan="change_tracker_plan", plan_argument="estate",
    plan_keeps=("hubs",), port="change_tracker_port",
    port_word="port",
    options=OPTIONS, documentation="docs/change-tracker.md",
    whole="estate", gate_whole="the migration",
    roles=dict(hub="change_tracker_agent", proxy="change_tracker_agent", agent="change_tracker_agent"),
    hub_role="change_tracker_hub", leaving=port_left,
    lacks=dict.fromkeys(("hub", "proxy", "agent"), ("end_listener", "open", "reopen", "undo_open", "users")),
    facts=dict(assessment="change_tracker_assessment", path="change_tracker_path", evidence="change_tracker_evidence",
               way_back="change_tracker_way_back", hub_assessment="change_tracker_hub_assessment",
               hub_evidence="change_tracker_hub_evidence", hub_way_back="change_tracker_hub_way_back",
               hub_opening="change_tracker_hub_opening_record"),
    phases={1: "agent of the hub and pilot", 2: "proxies, one by one", 3: "agents"}, assess_port=False,
    back_path=("assess", "path"), add_up=True,
    outside="its hub %s is no part of this run: where that does not answer on the new port yet, run without --limit",
    unasked="in the groups and not part of the run, so it can't be told whether they still need the port that this run would "
            "take away. Run without --limit",
    next_steps=(
        "Console users, clients of the API, load balancers: port %(port)s in their own bookmarks and settings.",
        "Agents that are installed from now on: port %(port)s in the URL that their installation asks for.",
        "The hub answers on both ports until close_change_tracker_port.yml runs. It names each host that is still connected to "
        "the old one. Way back: rollback_change_tracker_port.yml with the same inventory. Proof at any time: "
        "verify_change_tracker_port.yml."))
