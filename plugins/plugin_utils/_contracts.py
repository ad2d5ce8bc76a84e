# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes of what is handed from one part of the control node to another: orders, results, what hosts have said.

They are plain dictionaries while they run, since Ansible carries them from task to task; mypy holds who makes one and who reads
it to the same keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypedDict

# What a module or an action returns, and what it is given: its documentation has the keys.
Result = dict[str, Any]
# The variables of a host.
Variables = Mapping[str, Any]
# Group of the inventory -> its hosts.
Groups = Mapping[str, "list[str]"]
# (name of a module or action, its arguments) -> its result.
Call = Callable[[str, "dict[str, Any]"], Result]

Run = Literal["plan", "migrate", "verify", "close", "rollback", "open_ports"]


class HostVars(Protocol):
    """`hostvars` of Ansible: `raw_get` gives a host's variables as they stand, the item with their templates filled in."""

    def raw_get(self, host_name: str) -> Variables: ...

    def __getitem__(self, host_name: str) -> Variables: ...

    def __contains__(self, host_name: object) -> bool: ...


class Opening(TypedDict, total=False):
    """What a host's own firewall has to admit; no sources: all."""

    port: int
    protocol: str
    sources: list[str]


class Path(TypedDict):
    """Whom a host of a BoKS domain has to reach, and how far from the base port."""

    host: str
    offset: int


class Flow(TypedDict):
    """What a proxy of Change Tracker has to reach by agentless monitoring."""

    host: str
    port: int
    protocol: str
    kind: str
    service: str
    warning: str | None


class StepFacts(TypedDict, total=False):
    """One step of a phase: hosts that move together."""

    phase: int
    title: str
    hosts: list[str]
    component: str
    role: str


class PhaseStep(TypedDict):
    """A step as a run keeps it, below the number of its phase."""

    title: str
    hosts: list[str]


class Found(TypedDict, total=False):
    """What a product's own module found in the inventory: bigfix_topology, boks_domain, change_tracker_estate."""

    order: list[str]
    steps: list[StepFacts]
    phases: dict[str, list[StepFacts]]
    openings: dict[str, list[Opening]]
    begun: float
    port: int | None
    # BigFix
    server: str
    parents: dict[str, str]
    tiers: list[list[str]]
    # host -> what it is there; a hub of Change Tracker may be a proxy too
    components: dict[str, Any]
    # BoKS
    base_port: int | None
    master: str
    roles: dict[str, str]
    agents: list[str]
    paths: dict[str, list[Path]]
    # host -> those that it has to reach and that are no part of the run
    outside: dict[str, list[str]]
    # Change Tracker
    hub: str | None
    hub_server: str
    hub_managed: bool
    hub_hosts: list[str]
    hub_address: str | None
    keeper: str | None
    not_asked: list[str]
    monitored: dict[str, list[Flow]]


class HostFacts(TypedDict, total=False):
    """What one host knows of itself in a run, kept as portshift_host.  Without a role it takes no step."""

    port: int | None
    openings: list[Opening] | None
    verbs: list[str]
    answering: list[str]
    opening: list[str]
    back_path: list[str]
    back_first: bool
    opener: str
    looks: list[str]
    hub_server: str
    hub_address: str | None
    paths: list[Path]
    monitored: list[Flow]
    component: str
    components: Any
    role: str
    phase: int
    step: int
    title: str
    parent: str | None


class RunOrder(TypedDict):
    """The order of a run, kept as portshift_order with localhost."""

    product: str
    run: Run
    port: int | None
    running: list[int]
    order: list[str]
    hub_hosts: list[str]
    back_first: list[str]
    members: list[str]
    everyone: list[str]
    proved_again: list[str]
    not_asked: list[str]
    outside: dict[str, list[str]]
    keeper: str | None
    phases: dict[str, list[PhaseStep]]
    doing: dict[str, list[str]]
    begun: float
    hosts: dict[str, HostFacts]
    found: Found


class LockArguments(TypedDict):
    """The lock of a run, kept as portshift_lock with localhost."""

    path: str
    take_over: Any
    take_over_with: str
    wanted: Any
    keeper: str | None
    seconds: Any
    purpose: str


class MoveRecord(TypedDict, total=False):
    """The record of a migration on a host, as far as the control node reads it."""

    state: str
    old_port: int | None
    new_port: int
    phase: str | None
    started: float
    last_change: float


class Rollback(TypedDict, total=False):
    """The migration that goes back, kept as portshift_rollback with localhost."""

    port: int
    old_port: int | None
    old_ports: list[int]
    known: bool
    left: bool
    last: int | None
    moved: list[str]
    hosts: list[str]
    reopening: list[str]


class Evidence(TypedDict, total=False):
    """What a host says of the port that it works on.  `ok` alone counts, of the port that it names."""

    ok: bool
    port: int
    old_port: int | None
    proved: dict[str, str]
    missing: dict[str, str]
    waited: float
    problems: list[str]
    predicted: bool
    notes: list[str]
    record: MoveRecord | None
    addresses: list[str]
    moved_at: float | None
    looked_at: float


class Missing(TypedDict):
    """A host that gave no evidence, and why."""

    host: str
    reason: str


class Counted(TypedDict):
    """The hosts over which a gate has counted so far, so that the next one does not count them again."""

    run: str
    phase: int
    step: int
    expected: int
    missing: list[Missing]


class GateResult(TypedDict, total=False):
    """How a gate judged."""

    changed: bool
    failed: bool
    msg: str
    problems: list[str]
    expected: int
    proved: int
    allowed: int
    missing: list[Missing]
    notes: list[str]


class OpeningAsked(TypedDict):
    """What tells whether a host was opened for a port, for tasks/see_opened.yml."""

    asked: bool
    since: float
    left: bool
    bridge: str
    record: str
    ports: list[int]
