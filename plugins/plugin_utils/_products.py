# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks have to know of a product: its groups, its roles and their verbs, the facts that hosts leave, its words.

One table for all plays.  What a product's own order says of the inventory (who is what, below which host, in which step) its own
module finds out: bigfix_topology, boks_domain, change_tracker_estate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.portshift.agents.plugins.plugin_utils._options import arguments

COLLECTION = "portshift.agents."
# What a run is for, in the words of the lock.
PURPOSES = {
    "plan": "look at the way to %(port)s", "migrate": "migrate to %(port)s", "verify": "verify %(port)s",
    "close": "close the %(word)s that was left for %(port)s", "rollback": "rollback", "open_ports": "open port %(port)s"}


@dataclass(frozen=True)
class Product:
    """How one product is called, and where its hosts keep what they have said."""

    name: str
    groups: tuple              # of the inventory, whose hosts have a part in a run
    order: str                 # the module that lays out the steps
    arguments: dict            # variable of a user -> (argument of that module, default)
    plan: str                  # the module that puts the plan together, and its argument for the order
    plan_argument: str
    port: str                  # variable with the port to move to
    port_word: str
    whole: str                 # what the hosts are together
    gate_whole: str            # of the gate after the last phase
    roles: dict                # component -> role
    lacks: dict                # component -> verbs for which its role has no work
    facts: dict                # what is asked for -> variable in which a host leaves the answer
    unasked: str               # of hosts that are no part of a run which takes a port away
    next_steps: tuple          # for a person, after the last phase
    outside: str = ""          # of hosts that are no part of a run, beside one that has to reach them
    hub_role: str = ""         # of the hub's own listener, where that is a host beside the agents
    phases: dict = field(default_factory=dict)       # number -> who moves in it
    back_first: tuple = ()     # components that go back before the others, one after another
    assess_port: bool = True   # whether the look at a host is about the new port
    path_predicts: bool = True  # whether a path says something in check mode
    span: int = 1              # how many ports one number stands for
    add_up: bool = False       # whether one number of missing hosts counts over all phases
    move: str = "main"         # the verb that moves a host which this run has looked at
    # (component, what the look at a host said, the port to move to) -> whether open has work there
    opens: Callable = lambda component, look, port: True
    always_open: tuple = ()    # components that stay in that play, whatever the look at them said

    def verbs(self, component):
        return [verb for verb in VERBS if verb not in self.lacks.get(component, ())]

    def variable(self, name):
        """A user's variable, such as bigfix_window."""
        return "%s_%s" % (self.name, name)


# What the playbooks ask of a role, each an entry point of it.
VERBS = ("assess", "open", "path", "end_listener", "main", "verify", "users", "settle", "way_back", "reopen", "rollback", "close",
         "undo_open")


def _bigfix_opens(component, look, port):
    """A server or relay that is to move answers on both ports; a client's firewall may lack something; and a move that was
    interrupted is finished, since children have to reach the host.
    """
    record = look.get("record") or {}
    interrupted = record.get("state") == "changing" and record.get("new_port") == port
    missing = (look.get("host_port") or {}).get("missing")
    return interrupted or bool(look.get("edits") and (component != "client" or missing))


BIGFIX = Product(
    name="bigfix", groups=("bigfix_server", "bigfix_relays", "bigfix_clients"),
    order="bigfix_topology", plan="bigfix_plan", plan_argument="topology", port="bigfix_port", port_word="port",
    arguments=arguments("bigfix"),
    whole="deployment", gate_whole="",
    roles=dict(server="bigfix_server", relay="bigfix_relay", client="bigfix_client"),
    lacks=dict(server=("path", "settle"), relay=("settle",), client=("end_listener", "reopen", "settle", "users")),
    facts=dict(assessment="bigfix_component_assessment", path="bigfix_component_path", evidence="bigfix_component_evidence",
               users="bigfix_component_users", way_back="bigfix_component_way_back"),
    phases={1: "root server and pilot", 2: "relays", 3: "clients"}, path_predicts=False, back_first=("server",),
    move="apply", opens=_bigfix_opens, always_open=("server", "relay"),
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

BOKS = Product(
    name="boks", groups=("boks_master", "boks_replicas", "boks_agents"),
    order="boks_domain", plan="boks_plan", plan_argument="domain", port="boks_base_port", port_word="base port",
    arguments=arguments("boks"),
    whole="domain", gate_whole="the migration",
    roles=dict(master="boks", replica="boks", agent="boks"),
    lacks=dict.fromkeys(("master", "replica", "agent"), ("end_listener",)),
    facts=dict(assessment="boks_assessment", path="boks_path", evidence="boks_evidence", users="boks_users",
               way_back="boks_way_back"),
    phases={1: "Master", 2: "Replicas, one by one", 3: "Server Agents"}, back_first=("master", "replica"), span=4,
    add_up=True,
    unasked="in the domain and not part of the run, so it can't be told whether they still need the ports that this run would "
            "take away. Run without --limit",
    outside="it connects to %s, no part of this run: where one of these has not been opened for the base port yet, run without "
            "--limit",
    next_steps=(
        "Network firewalls between zones: the ports of base %(port)s as docs/ports.md lists them, role by role.",
        "Hosts that are installed from now on: base %(port)s in their services file, before their first start.",
        "Both base ports answer until close_boks_port.yml runs. Way back: rollback_boks_port.yml with the same inventory. Proof "
        "at any time: verify_boks_port.yml."))

CHANGE_TRACKER = Product(
    name="change_tracker", groups=("change_tracker_hub", "change_tracker_proxies", "change_tracker_agents"),
    order="change_tracker_estate", plan="change_tracker_plan", plan_argument="estate", port="change_tracker_port",
    port_word="port",
    arguments=arguments("change_tracker"),
    whole="estate", gate_whole="the migration",
    roles=dict(hub="change_tracker_agent", proxy="change_tracker_agent", agent="change_tracker_agent"),
    hub_role="change_tracker_hub",
    lacks=dict.fromkeys(("hub", "proxy", "agent"), ("end_listener", "open", "reopen", "undo_open", "users")),
    facts=dict(assessment="change_tracker_assessment", path="change_tracker_path", evidence="change_tracker_evidence",
               way_back="change_tracker_way_back", hub_assessment="change_tracker_hub_assessment",
               hub_evidence="change_tracker_hub_evidence", hub_way_back="change_tracker_hub_way_back",
               hub_opening="change_tracker_hub_opening_record"),
    phases={1: "agent of the hub and pilot", 2: "proxies, one by one", 3: "agents"}, assess_port=False,
    add_up=True,
    unasked="in the groups and not part of the run, so it can't be told whether they still need the port that this run would "
            "take away. Run without --limit",
    next_steps=(
        "Console users, clients of the API, load balancers: port %(port)s in their own bookmarks and settings.",
        "Agents that are installed from now on: port %(port)s in the URL that their installation asks for.",
        "The hub answers on both ports until close_change_tracker_port.yml runs. It names each host that is still connected to "
        "the old one. Way back: rollback_change_tracker_port.yml with the same inventory. Proof at any time: "
        "verify_change_tracker_port.yml."))

PRODUCTS = {product.name: product for product in (BIGFIX, BOKS, CHANGE_TRACKER)}
