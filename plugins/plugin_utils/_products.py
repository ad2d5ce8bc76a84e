# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbooks have to know of a product: its groups, its roles and their verbs, the facts that hosts leave, its words.

Each product has a driver, a file in _drivers with its PRODUCT; _registry finds them.  What a product's own order says of the
inventory (who is what, below which host, in which step) its own module finds out: bigfix_topology, boks_domain,
change_tracker_estate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Found, Groups, HostVars, Result
from ansible_collections.portshift.agents.plugins.plugin_utils._options import Option, named

COLLECTION = "portshift.agents."
# What a run is for, in the words of the lock.
PURPOSES = {
    "plan": "look at the way to %(port)s", "migrate": "migrate to %(port)s", "verify": "verify %(port)s",
    "close": "close the %(word)s that was left for %(port)s", "rollback": "rollback", "open_ports": "open port %(port)s"}


@dataclass(frozen=True)
class Product:
    """How one product is called, and where its hosts keep what they have said."""

    name: str
    groups: tuple[str, ...]    # of the inventory, whose hosts have a part in a run
    # What lays out the steps: a module, or a function of the driver (options, groups, hostvars) -> the result of such a module
    order: str | Callable[[dict[str, Any], Groups, HostVars], Result]
    options: list[Option]      # the variables of a user
    # What puts the plan together: a module, or a function (what order has found, hostvars, name of the fact) -> its result
    plan: str | Callable[[Found, HostVars, str], Result]
    port: str                  # variable with the port to move to
    port_word: str
    whole: str                 # what the hosts are together
    gate_whole: str            # of the gate after the last phase
    roles: dict[str, str]      # component -> role
    lacks: dict[str, tuple[str, ...]]           # component -> verbs for which its role has no work
    facts: dict[str, str]      # what is asked for -> variable in which a host leaves the answer
    unasked: str               # of hosts that are no part of a run which takes a port away
    next_steps: tuple[str, ...]                 # for a person, after the last phase
    plan_argument: str = ""    # of the module that puts the plan together, for what order has found
    plan_keeps: tuple[str, ...] = ()    # what the plan says beside report, pending, problems and old_port, for later plays
    server_name: str = ""      # which of these is the name by which hosts reach the server, for the next steps
    documentation: str = ""    # the page with the table of the variables
    outside: str = ""          # of hosts that are no part of a run, beside one that has to reach them
    hub_role: str = ""         # of the hub's own listener, where that is a host beside the agents
    # (what order has found, hostvars, name of the fact) -> the port that the agents of a hub leave; 0 where that can't be told
    leaving: Callable[[Found, HostVars, str], int] = lambda found, hostvars, fact: 0
    phases: dict[int, str] = field(default_factory=dict)       # number -> who moves in it
    back_first: tuple[str, ...] = ()     # components that go back before the others, one after another
    back_path: tuple[str, ...] = ("path",)      # verbs by which a host proves its path before it goes back
    assess_port: bool = True   # whether the look at a host is about the new port
    path_predicts: bool = True  # whether a path says something in check mode
    span: int = 1              # how many ports one number stands for
    add_up: bool = False       # whether one number of missing hosts counts over all phases
    # (component, what the look at a host said, the port to move to) -> whether open has work there
    opens: Callable[[str | None, Mapping[str, Any], int | None], bool] = lambda component, look, port: True
    always_open: tuple[str, ...] = ()    # components that stay in that play, whatever the look at them said

    def verbs(self, component: str | None) -> list[str]:
        return [verb for verb in VERBS if verb not in self.lacks.get(component or "", ())]

    @property
    def arguments(self) -> dict[str, tuple[str, object]]:
        """Variable of a user -> (argument of the module that lays out the steps, default)."""
        return {name: (option.argument, option.default) for name, option in named(self.name, self.options).items()
                if option.argument}

    def default(self, name: str) -> Any:
        """What a user's variable is where it is not set, such as that of window."""
        for option in self.options:
            if option.name == name:
                return option.default
        raise EngineError("the options of %s have no %s: add it to the table in _drivers/%s.py" % (self.name, name, self.name))

    def variable(self, name: str) -> str:
        """A user's variable, such as bigfix_window."""
        return "%s_%s" % (self.name, name)


# What the playbooks ask of a role, each an entry point of it.
VERBS = ("assess", "open", "path", "end_listener", "apply", "verify", "users", "settle", "way_back", "reopen", "rollback",
         "close", "undo_open")
