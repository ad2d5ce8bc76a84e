# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of a run, the same for every product: which phases run, who is asked what, and what each host has to know of itself.

An order is made once, from what a product's own module says of the inventory; plays and hosts look up in it what is theirs.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import (
    Found, HostFacts, HostVars, LockArguments, MoveRecord, OpeningAsked, PhaseStep, Rollback, Run, RunOrder, StepFacts)
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import proof_of_look
from ansible_collections.portshift.agents.plugins.plugin_utils._names import closest
from ansible_collections.portshift.agents.plugins.plugin_utils._products import COLLECTION, PURPOSES, ByHand, Product
from ansible_collections.portshift.agents.plugins.plugin_utils._registry import PRODUCTS
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import PHASES, parse_phases

ORDER, ROLLBACK, PENDING = "portshift_order", "portshift_rollback", "portshift_pending"
# Seconds without a renewal after which a lock counts as that of a dead run; it grows with the estate.
LOCK_SECONDS = 600


def order_of(variables: Mapping[str, Any]) -> RunOrder:
    """The order that this run has made, as it is kept with localhost.  Untemplated: it is long, and holds no template.

    `variables`: of the play, which says what it is for: the order may be that of another playbook in the same process.
    """
    found: RunOrder | None = variables["hostvars"].raw_get("localhost").get(ORDER)
    wanted = variables.get("portshift_product"), variables.get("portshift_run")
    if not isinstance(found, dict) or wanted != (found.get("product"), found.get("run")):
        raise EngineError("the play that checks the inventory and lays out the steps has not run, and nothing goes on without "
                          "it; leave out --start-at-task and --skip-tags always (to run some phases alone: --tags phase2), "
                          "and a --limit that leaves this playbook no host")
    return found


def listed_names(value: str | Iterable[str] | None) -> list[str]:
    """Names from a list or, as the command line gives it, from text such as C(a,b)."""
    return re.split(r"[,\s]+", value.strip("[] \n")) if isinstance(value, str) else list(value or ())


def phase_tags(tags: Iterable[str]) -> set[int]:
    return {int(tag[5:]) for tag in tags if tag in ["phase%d" % number for number in PHASES]}


def phases_to_run(asked: Iterable[int], run_tags: Collection[str], skip_tags: Iterable[str]) -> list[int]:
    """The phases out of the option, the tags and the tags to be skipped."""
    tagged = phase_tags(run_tags)
    running = [number for number in asked if number not in phase_tags(skip_tags)]
    if tagged and "all" not in run_tags:
        running = [number for number in running if number in tagged]
    return running


def check_tags(run: str, run_tags: Collection[str], skip_tags: Collection[str], own: Iterable[str] = ()) -> list[str]:
    """Sentences about tags that would make a run do something else than what was meant.

    `own`: the tags of this play, those among them that a site's playbook gave it.
    """
    known = ["phase%d" % number for number in PHASES] if run == "migrate" else []
    others = [*known, *own, "all", "always", "never", "tagged", "untagged"]
    if run not in ("migrate", "plan"):
        # Of the other playbooks, only what prepares and what reports has a tag: the rest would be left out without a word.
        others = [tag for tag in others if tag not in ("always", "never", "tagged")]
    # A tag to be skipped that is none of ours may be one of a tool's, such as molecule's; one that is hardly ours is none.
    unknown = [("--tags", tag) for tag in run_tags if tag not in others]
    unknown += [("--skip-tags", tag) for tag in skip_tags if tag not in others and closest(tag, known)]
    problems = ["%s %s: no such tag; %s" % (
        option, tag, "there are %s" % ", ".join(known) if known else "this playbook has none") for option, tag in unknown]
    early, running = phase_tags(skip_tags), phases_to_run(list(PHASES), run_tags, skip_tags)
    if run == "migrate" and running and early and min(early) < max(running):
        said, wanted = (",".join("phase%d" % number for number in numbers) for numbers in (sorted(early), running))
        problems.append("--skip-tags %s: phase %d is proved anew before phase %d begins, which that would skip too; say instead "
                        "which phases to run: --tags %s" % (said, min(early), max(running), wanted))
    return problems


def check_strategy(strategy: object) -> list[str]:
    """A sentence when the hosts of a play would not wait for each other."""
    name = str(strategy or "linear").rsplit(".", 1)[-1]
    if name.endswith(("free", "host_pinned")):
        return ["portshift_strategy is %s: hosts would not wait for each other between two steps, so that no gate could stand "
                "between them; leave it out, or give linear or mitogen_linear" % strategy]
    return []


class Order:
    """What a product's module found, put into the one form that all plays use."""

    def __init__(self, product: str, found: Found, run: Run, phases: list[int]) -> None:
        self.product, self.found, self.run = PRODUCTS[product], found, run
        self.running = phases
        # Each product's module has its own name for it.
        values: Mapping[str, Any] = found
        self.port: int | None = values.get(self.product.arguments[self.product.port][0])
        self.order = found["order"]
        self.hub_hosts = found.get("hub_hosts", [])

    def component(self, host: str) -> str:
        known = self.found.get("components") or self.found["roles"]
        return known[host] if isinstance(known[host], str) else known[host][0]

    @property
    def keeper(self) -> str | None:
        """Whose disk holds the lock."""
        return self.found.get("keeper") or self.found.get("server") or self.found.get("master")

    @property
    def members(self) -> list[str]:
        """All hosts of the inventory that have a part, whatever the run is limited to."""
        if "server" in self.found:
            return [self.found["server"], *self.found["parents"]]
        return list(self.found.get("roles") or self.found["components"])

    def not_asked(self) -> list[str]:
        """Hosts that are no part of the run and may need a port that it takes away."""
        if "not_asked" in self.found:
            return self.found["not_asked"]
        present, parents = set(self.order), self.found.get("parents")
        return [host for host in self.members if host not in present and (parents is None or parents.get(host) in present)]

    def outside(self) -> dict[str, list[str]]:
        """Host of the run -> the hosts that it has to reach and that are no part of the run."""
        if "outside" in self.found:
            return self.found["outside"]
        parents, present = self.found.get("parents") or {}, set(self.order)
        return {host: [parents[host]] for host in self.order if parents.get(host) and parents[host] not in present}

    def host(self, host: str, steps: Mapping[str, tuple[int, int, StepFacts]]) -> HostFacts:
        """What one host has to know of itself."""
        # answering: the roles that prove themselves there and hold a record; looks: those that look; opening: what the new port
        # takes, step by step.
        known = HostFacts(port=self.port, openings=(self.found.get("openings") or {}).get(host), verbs=[], answering=[], looks=[],
                          opening=["open"], back_path=list(self.product.back_path))
        if host in self.hub_hosts:
            known["opener"] = COLLECTION + self.product.hub_role
            known["opening"] = ["open", "verify"]
            known["answering"].append(known["opener"])
            # An agent's comes first on a host without an agent, too, where its tasks are skipped: Ansible includes in the order
            # in which the hosts answer, and a hub that answers first would be asked before its agents.
            known["looks"] = [COLLECTION + next(iter(self.product.roles.values())), known["opener"]]
        if "hub_server" in self.found:
            known["hub_server"] = self.found["hub_server"]
        if "hub_address" in self.found:
            known["hub_address"] = self.found["hub_address"]
        if "paths" in self.found:
            known["paths"] = self.found["paths"].get(host, [])
        if "monitored" in self.found:
            known["monitored"] = self.found["monitored"].get(host, [])
        if host not in steps:
            return known
        phase, number, step = steps[host]
        component = self.component(host)
        role = COLLECTION + self.product.roles[component]
        return {**known, "component": component, "components": (self.found.get("components") or {}).get(host),
                "role": role, "answering": [role, *known["answering"]], "looks": [role, *known["looks"][1:]],
                "verbs": self.product.verbs(component),
                "back_first": component in self.product.back_first, "phase": phase, "step": number, "title": step["title"],
                "parent": (self.found.get("parents") or {}).get(host)}

    def whole(self) -> RunOrder:
        """The order as it is kept."""
        phases = {number: [step for step in self.found["steps"] if step["phase"] == number] for number in PHASES}
        steps = {host: (phase, number, step) for phase, several in phases.items() for number, step in enumerate(several)
                 for host in step["hosts"]}
        hosts = {host: self.host(host, steps) for host in dict.fromkeys([*self.members, *self.order, *self.hub_hosts])}
        doing = {verb: [host for host in self.order if verb in hosts[host]["verbs"]]
                 for verb in ("open", "path", "users", "reopen", "undo_open", "close")}
        for verb in ("open", "reopen", "undo_open"):
            doing[verb] = doing[verb] or self.hub_hosts
        everyone = list(dict.fromkeys([*self.order, *self.hub_hosts]))
        back_first = [host for host in self.order if self.component(host) in self.product.back_first]
        return RunOrder(
            product=self.product.name, run=self.run, port=self.port, running=self.running, order=self.order,
            hub_hosts=self.hub_hosts, back_first=back_first, members=self.members,
            everyone=everyone, proved_again=everyone if self.hub_hosts else [], not_asked=self.not_asked(),
            outside=self.outside(), keeper=self.keeper,
            phases={str(number): [PhaseStep(title=step["title"], hosts=step["hosts"]) for step in several]
                    for number, several in phases.items()},
            doing=doing, begun=self.found.get("begun") or time.time(), hosts=hosts, found=self.found)


def by_hand(product: Product, order: RunOrder) -> ByHand | None:
    """What is said of a hub whose listener this run leaves to its administrator; None where it does not."""
    return product.by_hand if order["found"].get("hub_managed") is False else None


def phase_hosts(order: RunOrder, number: int) -> list[str]:
    return [host for step in order["phases"][str(number)] for host in step["hosts"]]


def concerned(order: RunOrder, number: int) -> bool:
    """Whether phase `number` runs, or has to be proved anew before a later one runs."""
    return bool(order["running"]) and number <= max(order["running"])


def left_out(order: RunOrder, host: str) -> bool:
    """Whether a host of this run is in a phase that does not run."""
    phase = (order["hosts"].get(host) or HostFacts()).get("phase")
    return order["run"] == "migrate" and phase is not None and phase not in order["running"]


def is_settled(order: RunOrder, look: Mapping[str, Any]) -> bool:
    """Whether the look at a host has found that it has moved, and has its proof: no later play has to ask it."""
    proof = proof_of_look(look)
    return order["run"] == "migrate" and proof is not None and proof.get("port") == order["port"]


def stays(order: RunOrder, look: Mapping[str, Any], path: object) -> bool:
    """Whether something stands against the move of a host, which a gate may have let pass; what moves it looks no more.

    `path`: what the host has said of its path.
    """
    shut = isinstance(path, Mapping) and path.get("ok") is False
    return order["run"] == "migrate" and (look.get("ok") is False or shut)


def looks(hostvars: HostVars, order: RunOrder) -> Callable[[str], Mapping[str, Any]]:
    """A function host -> what the look at it has said, untemplated; nothing where it has failed."""
    fact = PRODUCTS[order["product"]].facts["assessment"]

    def look(host: str) -> Mapping[str, Any]:
        told = hostvars.raw_get(host).get(fact)
        return told if isinstance(told, dict) else {}
    return look


def unsettled(hostvars: HostVars, order: RunOrder, hosts: Iterable[str]) -> list[str]:
    """Those of the hosts that a phase still has to ask."""
    look, fact = looks(hostvars, order), PRODUCTS[order["product"]].facts["path"]

    def is_done(host: str) -> bool:
        told = look(host)
        return is_settled(order, told) or stays(order, told, hostvars.raw_get(host).get(fact))
    return [host for host in hosts if not is_done(host)]


def members_of(order: RunOrder, what: str, phase: int | None = None, rollback: Rollback | None = None,
               shut: Collection[str] = (), look: Callable[[str], Mapping[str, Any]] = lambda host: {},
               pending: Collection[str] | None = None) -> list[Any]:
    """The hosts of a play, or the sizes of its batches.

    `look`: host -> what the look at it has said.  `pending`: the hosts that have something to change, where a plan has said so.
    `rollback`: the migration that goes back.  `shut`: hosts that don't reach on the old port those that they have to; they stay.
    """
    if what in ("moved", "reopen"):
        back = rollback or Rollback(moved=[], reopening=[])
        return back["moved"] if what == "moved" else back["reopening"]
    staying = set(shut)
    if what == "back_first":
        # All of them are in the play: one whose hosts have all failed would end the run, and the others would not go back.
        return [host for host in order["order"] if host not in staying] if order["back_first"] else []
    if what == "back":
        first = set(order["back_first"])
        return [host for host in order["order"] if host not in first and host not in staying]
    number = phase or 0
    if what == "phase":
        return phase_hosts(order, number) if concerned(order, number) else []
    if what == "on_the_way":
        return order["order"] if pending is None or pending else []
    if what == "open" and order["run"] == "migrate":
        product, known = PRODUCTS[order["product"]], order["hosts"]
        opening = {host for host in order["doing"]["open"] if host in order["hub_hosts"] or product.opens(
            known[host].get("component"), look(host), order["port"])}
        # Hosts on which others depend stay in the play, so that it never is about one host alone whose failure would end the run.
        return [host for host in order["doing"]["open"] if opening and (
            host in opening or known[host].get("component") in product.always_open)]
    if what == "gate":
        return order["order"] if concerned(order, number) else []
    if what == "batches":
        return [len(step["hosts"]) for step in order["phases"][str(number)]] or [1]
    if what in order["doing"]:
        return order["doing"][what]
    lists: Mapping[str, Any] = order
    return lists[what]


def lock(order: RunOrder, values: Mapping[str, Any]) -> LockArguments:
    """The arguments of the lock.  `values`: what the user's variables say."""
    product = PRODUCTS[order["product"]]
    seconds = values["lock_seconds"]
    purpose = PURPOSES[order["run"]] % dict(port=order["port"], word=product.port_word)
    return LockArguments(
        path=values["lock_path"], take_over=values["take_over"],
        take_over_with="-e %s=true" % product.variable("take_over"), wanted=values["lock"], keeper=order["keeper"],
        seconds=max(LOCK_SECONDS, len(order["order"])) if str(seconds) in ("", "0") else seconds, purpose=purpose)


def asked_phases(value: object, product: str) -> list[int]:
    try:
        return parse_phases(value, "%s_phases" % product)
    except EngineError:
        # The product's own module says so, with everything else that is wrong.
        return list(PHASES)


def shut_out(hostvars: HostVars, hosts: Iterable[str], path: str) -> list[str]:
    """Those of `hosts` that have said of the way back that it is shut."""
    found = [(host, hostvars.raw_get(host).get(path)) for host in hosts]
    return [host for host, answer in found if isinstance(answer, dict) and answer.get("ok") is False]


def opening(product: Product, component: str | None, port: int, record: MoveRecord,
            value: Callable[[str, Any], Any], windows: bool = False) -> OpeningAsked:
    """What tells whether a host was opened for `port`, for tasks/see_opened.yml.

    `record`: that of the host's last migration.  `value`: what a variable says, or a default.  `windows`: whether the host is
    one of Windows, whose firewall has no record of ours: its rules are taken back by their ports.
    """
    def told(name: str, default: object) -> Any:
        return value("%s_%s_%s" % (product.name, component, name), value("%s_%s" % (product.name, name), default))

    bridged = "users" in product.facts and "users" in product.verbs(component) and boolean(
        told("bridge", product.default("bridge")), strict=False)
    folder = os.path.dirname(str(told("record_path", "/var/lib/portshift/%s.json" % product.name)))
    return OpeningAsked(
        asked=not windows and "users" in product.facts and port not in (0, int(record.get("new_port") or 0)),
        since=record.get("started") or 0,
        left=port == int(record.get("old_port") or 0), bridge=str(told("bridge_name", product.name)) if bridged else "",
        record="%s/%s.%d.host_port.json" % (folder, product.name, port), ports=list(range(port, port + product.span)))


def shared_addresses(hostvars: HostVars, product: str, hosts: Iterable[str]) -> list[str]:
    """Sentences on hosts that the inventory gives one address.  Templates are left to their hosts."""
    found: dict[str, list[str]] = {}
    for host in hosts:
        known = hostvars.raw_get(host)
        address = known.get(product + "_address") or known.get("ansible_host") or host
        if isinstance(address, str) and "{" not in address:
            found.setdefault(address, []).append(host)
    return ["%s: one address, %s; where these are two hosts, mend the inventory, else it is one host that is asked twice" % (
        ", ".join(several), address) for address, several in found.items() if len(several) > 1]
