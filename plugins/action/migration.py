# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plays of the playbooks ask on the control node; documented with the module of the same name."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterable
from typing import Any, cast

from ansible import context
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils import _migration
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import (
    Counted, Found, GateResult, MoveRecord, Result, RunOrder)
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import WithLooks, is_answer, without_evidence
from ansible_collections.portshift.agents.plugins.plugin_utils._gate import judged
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import HostVariables, is_windows
from ansible_collections.portshift.agents.plugins.plugin_utils._names import Variables
from ansible_collections.portshift.agents.plugins.plugin_utils._other_modules import run_action
from ansible_collections.portshift.agents.plugins.plugin_utils._products import COLLECTION, Product
from ansible_collections.portshift.agents.plugins.plugin_utils._registry import PRODUCTS
from ansible_collections.portshift.agents.plugins.plugin_utils._reports import report, some
from ansible_collections.portshift.agents.plugins.plugin_utils._window import in_window
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import FOLDER

UNCHANGED = "Nothing was changed. %s."
# In place of an option: no host may be missing.
NONE = "none"


def failure(problems: list[str]) -> GateResult:
    return GateResult(failed=True, problems=problems, msg=UNCHANGED % ". ".join(problem.rstrip(".") for problem in problems))


class ActionModule(ActionBase):

    _requires_connection = False

    _order: RunOrder
    _product: Product

    def _value(self, name: str, default: object = None) -> Any:
        """A variable of the user, as the current host has it."""
        if name not in self._variables:
            return default
        return self._templar.template(self._variables[name])

    def _told(self, host: str, name: str, default: object = None) -> Any:
        """A variable of another host."""
        return HostVariables(self._variables["hostvars"], host).get(name, default)

    def _own(self, name: str) -> Any:
        """A variable of the product, such as bigfix_window, or its default in the table."""
        return self._value(self._product.variable(name), self._product.default(name))

    # -- the order, and what each host has to know of it
    def _act_order(self, options: dict[str, Any]) -> Result:
        product, run = self._product, options["run"]
        run_tags, skip_tags = (list(self._variables.get(name) or ()) for name in ("ansible_run_tags", "ansible_skip_tags"))
        problems = _migration.check_tags(run, run_tags, skip_tags, self._task.tags)
        problems += _migration.check_strategy(self._value("portshift_strategy"))
        said = Variables(product.name, self._variables["hostvars"], self._variables["ansible_play_hosts_all"])
        problems += said.problems(product.name, _migration.listed_names(self._value("portshift_own_variables", [])))
        if context.CLIARGS.get("start_at_task"):
            problems.append("--start-at-task leaves out what the tasks after it rely on; run the whole playbook, which goes on "
                            "from what is there")
        # What can't be is told; what lays out the steps looks for what else is wrong.
        wrong = said.wrong(product.name)
        given = {argument: default if name in wrong else self._value(name, default)
                 for name, (argument, default) in product.arguments.items()}
        required = {"%s_required" % product.arguments[product.port][0]: run != "rollback"}
        given.update(required, forks=self._variables.get("ansible_forks"), hosts=self._variables["ansible_play_hosts_all"])
        found = self._laid_out({name: value for name, value in given.items() if value is not None})
        problems = (found.get("problems") or [found["msg"]] if found.get("failed") else []) + problems
        if problems:
            return dict(failure(problems))
        asked = _migration.asked_phases(given["phases"], product.name)
        running = _migration.phases_to_run(asked, run_tags, skip_tags) if run == "migrate" else []
        for name in ("invocation", "changed", "failed"):
            found.pop(name, None)
        order = _migration.Order(product.name, cast(Found, found), run, running).whole()
        keeper = order["keeper"]
        on_windows = keeper is not None and is_windows(HostVariables(self._variables["hostvars"], keeper))
        folder = FOLDER + "\\" if on_windows else "/var/lib/portshift/"
        values = {name: self._own(name) for name in ("lock", "lock_seconds", "take_over")}
        values["lock_path"] = self._own("lock_path") or "%s%s.lock" % (folder, product.name)
        return dict(order=order, lock=_migration.lock(order, values))

    def _laid_out(self, given: dict[str, Any]) -> Result:
        order = self._product.order
        if callable(order):
            return order(given, self._variables["groups"], self._variables["hostvars"])
        return run_action(self, COLLECTION + order, given, self._variables)

    def _act_host(self, options: dict[str, Any]) -> Result:
        known = dict(self._order["hosts"].get(self._variables["inventory_hostname"], {}))
        # For the roles, which may be those of another product in a play of a site's own that comes later.
        return dict(known, **{self._product.name: known})

    # -- the plan
    def _planned(self, more: dict[str, Any]) -> Result:
        product = self._product
        if callable(product.plan):
            return product.plan(self._order["found"], self._variables["hostvars"], product.facts["assessment"])
        given = {product.plan_argument: self._order["found"], "assessment": product.facts["assessment"]}
        return run_action(self, COLLECTION + product.plan, dict(given, **more), self._variables)

    def _act_plan(self, options: dict[str, Any]) -> Result:
        product, order = self._product, self._order
        found = self._planned({"hub_assessment": product.facts["hub_assessment"]} if product.hub_role else {})
        if found.get("failed"):
            return found
        found["report"] = found["report"] + ["note: " + note for note in _migration.shared_addresses(
            self._variables["hostvars"], product.name, order["members"])]
        kept = ("report", "pending", "problems", "old_port", *product.plan_keeps)
        return {name: found[name] for name in kept if name in found}

    # -- the way back
    def _asked(self) -> int:
        return int(self._value(self._product.port) or 0)

    def _act_opening(self, options: dict[str, Any]) -> Result:
        """What tells whether this host was opened for the port that is asked for."""
        component = self._order["hosts"][self._variables["inventory_hostname"]].get("component")
        told = self._value(self._product.facts["way_back"], {})
        record = told.get("record") if isinstance(told, dict) else None
        return dict(_migration.opening(self._product, component, self._asked(), record or MoveRecord(), self._value,
                                       is_windows(self._variables)))

    def _hub_record(self) -> MoveRecord:
        hub, fact = self._order["hub_hosts"], self._product.facts.get("hub_way_back")
        told = self._told(hub[0], fact) if hub and fact else None
        return (told or {}).get("record") or MoveRecord()

    def _act_rollback(self, options: dict[str, Any]) -> Result:
        product, order = self._product, self._order
        record = self._hub_record()
        found = run_action(self, COLLECTION + "rollback_plan", dict(
            hosts=order["order"], way_back=product.facts["way_back"], port=self._asked(), records=[record] if record else [],
            opened="portshift_rollback_opened", force=bool(boolean(self._own("rollback_force"), strict=False))),
            self._variables)
        if found.get("failed"):
            return found
        back = {name: found[name] for name in ("port", "old_port", "old_ports", "known", "left", "last", "moved", "hosts")}
        fact = product.facts["way_back"]
        records = {host: ((self._told(host, fact) or {}).get("record") or {}) for host in order["doing"]["reopen"]
                   if host in order["hosts"] and order["hosts"][host].get("role")}
        back["reopening"] = order["hub_hosts"] or [
            host for host, told in records.items() if int(told.get("new_port") or 0) == int(back["port"])]
        # Empty when nothing was ever moved, and in check mode, where nothing goes back.
        proof = "" if self._task.check_mode else back["old_port"] or ""
        return dict(rollback=back, target=dict(port=back["port"], old_port=back["old_port"] or 0, proof=proof))

    def _act_left(self, options: dict[str, Any]) -> Result:
        """The port that hosts have left, as their proofs tell; 0 where that can't be told, which the hub's close says then."""
        told = [self._told(host, self._product.facts["evidence"]) for host in self._order["order"]]
        left = [proof.get("old_port") for proof in told if is_answer(proof)]
        ports = {int(port) for port in left if port}
        return dict(port=ports.pop() if len(ports) == 1 else 0)

    def _gate_way_back(self, options: dict[str, Any]) -> GateResult:
        back, product, order = self._value("portshift_rollback_found")["rollback"], self._product, self._order
        forced = boolean(self._own("rollback_force"), strict=False)
        closed = None if forced else self._hub_gate("hub_way_back", None, "the look at the way back of the hub")
        if closed:
            return closed
        gate = self._judged(back["hosts"], "way_back", None, "the look at the way back", "max_missing")
        if gate.get("failed"):
            return gate
        asked = self._asked()
        hub = order["hub_hosts"][0] if order["hub_hosts"] else None
        opening = self._told(hub, product.facts["hub_opening"]) if hub else None
        opened = opening and opening.get("stat", {}).get("exists")
        if not back["known"] and not opened:
            left = " %s %s is where hosts came from." % (product.port_word.capitalize(), asked) if back["left"] else ""
            last = "" if back["last"] is None else (
                " Without %s, the migration to %s %s is taken back, by every host that made it." % (
                    product.port, product.port_word, back["last"]))
            none = ("no record names it, neither one of an agent nor that of the hub" if product.hub_role else
                    "no host's record is of it, and no host was opened for it alone")
            return dict(failed=True, msg=(
                "Nothing was changed. There is no migration to %s %s to take back: %s.%s Name the %s that was opened.%s" % (
                    product.port_word, asked, none, left, product.port_word, last)))
        record = self._hub_record()
        if back["moved"] and record and int(record.get("new_port") or 0) != int(back["port"]):
            # It would not listen on the old port again, and in the end not stop listening on the new one.
            return dict(failed=True, msg=(
                "Nothing was changed. %s: moved to port %s, and the hub's record is of its move to port %s, so the hub can't go "
                "back with them. Migrate to the port that you want instead: migrate_%s_port.yml -e %s=%s." % (
                    ", ".join(back["moved"]), back["port"], record["new_port"], product.name, product.port,
                    back["old_port"] or "PORT")))
        return gate

    def _gate_back_path(self, options: dict[str, Any]) -> GateResult:
        back = self._variables["hostvars"].raw_get("localhost")[_migration.ROLLBACK]
        if self._task.check_mode:
            return {}
        asked = set(self._order["doing"]["path"])
        hosts = [host for host in back["moved"] if host in asked and self._tried(host)]
        return self._with_notes(self._judged(
            hosts, "path", back["old_port"], "the opening of the way back", "max_missing"))

    def _tried(self, host: str) -> bool:
        """Whether a path was to be proved there: without a bridge there is none to be proved before the parent is back."""
        told = self._variables["hostvars"].raw_get(host).get(self._product.facts["path"])
        return not (isinstance(told, dict) and told.get("skipped"))

    # -- gates
    def _judged(self, hosts: Iterable[str], fact: str, port: Any, phase: str, option: str = "", of: int | None = None,
                counted: Counted | None = None) -> GateResult:
        """The result of a gate.  `option`: the one that says how many hosts may be missing; by default that of the run."""
        order, product = self._order, self._product
        # What is missing before a port is taken away would be cut off, so what other gates let pass does not count there.
        option = option or ("close_max_missing" if order["run"] in ("close", "rollback") else "max_missing")

        def beside(host: str) -> str:
            against = self._against(host) if fact == "evidence" and order["run"] == "migrate" else ""
            if against:
                return "; it was not moved: " + against
            if fact == "evidence" and self._task.check_mode and not self._predicts(host):
                return "; phase %d, in which it moves, is no part of this run" % order["hosts"][host]["phase"]
            if fact in ("path", "evidence") and host in order["outside"]:
                return "; " + product.outside % some(order["outside"][host])
            return ""

        return judged(self._variables["hostvars"], hosts, product.facts[fact], port and int(port),
                      0 if option == NONE else self._own(option), of, phase,
                      self._predicts if fact == "evidence" else self._task.check_mode, beside, counted, product.variable(option))

    def _against(self, host: str) -> str:
        """What the looks at a host have found against its move, in words."""
        known = self._variables["hostvars"].raw_get(host)
        told = [known.get(self._product.facts[fact]) for fact in ("assessment", "path")]
        return "; ".join(problem for found in told if isinstance(found, dict) and found.get("ok") is False
                         for problem in found.get("problems") or [])

    def _hub_gate(self, fact: str, port: int | None, phase: str) -> GateResult | None:
        """The gate in front of what needs the hub, where it is closed: no agent goes without it, whatever may be missing."""
        gate = self._judged(self._order["hub_hosts"], fact, port, phase, NONE) if self._order["hub_hosts"] else GateResult()
        return gate if gate.get("failed") else None

    def _predicts(self, host: str) -> bool:
        """Whether what a host would do counts: in check mode, and not where its phase would not run."""
        return self._task.check_mode and not _migration.left_out(self._order, host)

    def _counted(self, number: int) -> list[str]:
        """The hosts over which the gate of phase `number` counts."""
        order = self._order
        first = 1 if self._product.add_up else number
        return [host for phase in range(first, number + 1) for host in _migration.phase_hosts(order, phase)]

    def _gate_plan(self, options: dict[str, Any]) -> GateResult:
        order, plan = self._order, self._value("portshift_plan", {})
        if plan.get("problems"):
            return failure(plan["problems"])
        hub = self._hub_gate("hub_assessment", order["port"], "the plan of the hub")
        if hub:
            return hub
        gate = self._judged(order["order"], "assessment", order["port"] if self._product.assess_port else None, "the plan")
        return gate if gate.get("failed") else self._silenced(set(plan.get("pending") or ())) or gate

    def _silenced(self, pending: Collection[str]) -> GateResult | None:
        """A refusal where a host that moves would stop answering children that do not move in the same run."""
        order = self._order
        parents, present = order["found"].get("parents") or {}, set(order["order"])
        # Why the children stay -> parent -> them.
        cut: dict[str, dict[str, list[str]]] = {"not part of the run": {}, "in a phase that does not run": {}}
        for host, parent in parents.items():
            if parent not in pending or order["hosts"][parent]["phase"] not in order["running"]:
                continue
            if host not in present:
                cut["not part of the run"].setdefault(parent, []).append(host)
            elif host in pending and _migration.left_out(order, host):
                cut["in a phase that does not run"].setdefault(parent, []).append(host)
        bridges = {parent: self._bridge(parent) for several in cut.values() for parent in several}
        problems = []
        for why, several in cut.items():
            silent = {parent: hosts for parent, hosts in several.items() if not bridges[parent][1]}
            if not silent:
                continue
            names = list(dict.fromkeys(bridges[parent][0] for parent in silent))
            instead = "without --limit, or limit to hosts with all of their children" if why == "not part of the run" else (
                "all phases")
            problems.append("%s: %s, and below %s, which would move and then answer on the new port alone (%s false). Run %s; or "
                            "let both ports answer: %s" % (
                                ", ".join(host for hosts in silent.values() for host in hosts), why, ", ".join(silent),
                                "%s %s" % (" and ".join(names), "are" if len(names) > 1 else "is"), instead,
                                " ".join("-e %s=true" % name for name in names)))
        return failure(problems) if problems else None

    def _bridge(self, host: str) -> tuple[str, bool]:
        """The variable that says whether both ports of the host answer while agents move, as its role has it; and its word."""
        known, common = HostVariables(self._variables["hostvars"], host), self._product.variable("bridge")
        for name in ("%s_%s_bridge" % (self._product.name, self._order["hosts"][host]["component"]), common):
            if name in known:
                return name, bool(boolean(known.get(name), strict=False))
        return common, bool(boolean(self._own("bridge"), strict=False))

    def _gate_path(self, options: dict[str, Any]) -> GateResult:
        if self._task.check_mode and not self._product.path_predicts:
            return {}
        order, pending = self._order, self._value("portshift_plan", {}).get("pending", [])
        hub = self._hub_gate("hub_evidence", order["port"], "the opening of port %s" % order["port"])
        if hub:
            return self._with_notes(hub)
        asked = set(order["doing"]["path"])
        return self._with_notes(self._judged([host for host in pending if host in asked], "path", order["port"], (
            "the opening of %s %s" if not self._product.hub_role else "the proof of the paths to %s %s") % (
                self._product.port_word, order["port"])))

    def _with_notes(self, gate: GateResult) -> GateResult:
        """The gate, with what the proofs of the paths leave open."""
        told = [self._told(host, self._product.facts["path"]) for host in self._order["order"]]
        return {**gate, "notes": [note for path in told if isinstance(path, dict) for note in path.get("notes") or []]}

    def _gate_phase(self, options: dict[str, Any]) -> GateResult:
        number = options["phase"]
        # Where one number of missing hosts counts over all phases, so does a percentage.
        of = len(self._order["order"]) if self._product.add_up else None
        whole = self._product.gate_whole if number == 3 and self._order["running"] == [1, 2, 3] else ""
        return self._judged(self._counted(number), "evidence", self._order["port"], whole or "phase %d" % number, of=of)

    def _gate_proof(self, options: dict[str, Any]) -> GateResult:
        gate = self._judged(self._order["order"], "evidence", options["port"],
                            "the proof on %s %s" % (self._product.port_word, options["port"]))
        return gate if gate.get("failed") else self._hub_gate(
            "hub_evidence", options["port"], "the proof of the hub on port %s" % options["port"]) or gate

    def _act_gate(self, options: dict[str, Any]) -> Result:
        gate: Callable[[dict[str, Any]], GateResult] = getattr(self, "_gate_" + options["gate"])
        return dict(gate(options))

    # -- one step of a phase
    def _act_step(self, options: dict[str, Any]) -> Result:
        order, number = self._order, options["phase"]
        steps = order["phases"][str(number)]
        position = order["hosts"][self._variables["inventory_hostname"]]["step"]
        step = steps[position]
        name = "phase %d, %s" % (number, step["title"])
        counted: Counted | None = None
        if position:
            before = steps[position - 1]
            hosts, earlier = self._to_count(number, position)
            of = len(order["order"]) if self._product.add_up else sum(len(several["hosts"]) for several in steps)
            gate = self._judged(hosts, "evidence", order["port"], "phase %d, %s" % (number, before["title"]), of=of,
                                counted=earlier)
            if gate.get("failed"):
                return dict(gate)
            counted = Counted(run=self._this_run(), phase=number, step=position, expected=gate["expected"],
                              missing=gate["missing"])
        moves = number in order["running"]
        now, window = datetime.datetime.now(), self._own("window")
        if moves and not self._task.check_mode and not in_window(now, window, self._product.variable("window")):
            return dict(failed=True, msg="It is %s and the maintenance window is %s: %s was not begun. Run the same command "
                        "again in the window; it goes on from what is there." % (now.strftime("%H:%M"), window, name))
        unsettled = bool(_migration.unsettled(self._variables["hostvars"], order, step["hosts"]))
        return dict(moves=moves, tasks_from="apply" if moves else "verify", counted=counted, unsettled=unsettled,
                    title="%s%s: %s" % (name[0].upper() + name[1:], "" if moves else " (proved anew, not moved)",
                                        ", ".join(step["hosts"])))

    def _this_run(self) -> str:
        """What tells this run from another one in the same process, whose answers hosts still have."""
        return "%s %s %s" % (self._order["product"], self._order["run"], self._order["begun"])

    def _to_count(self, number: int, position: int) -> tuple[list[str], Counted | None]:
        """(the hosts that a step still has to count, what the last step that began before it has counted).

        All steps so far count, so that what one wave is allowed to lose is not allowed to each of them; but each wave counting
        all hosts before it would take the square of their number.
        """
        steps = self._order["phases"][str(number)]

        def hosts_from(first: int) -> list[str]:
            return [host for step in steps[first:position] for host in step["hosts"]]

        # A step of which no host was in its play has counted nothing.
        for last in range(position - 1, 0, -1):
            for host in steps[last]["hosts"]:
                told = self._told(host, "portshift_step")
                found = told.get("counted") if isinstance(told, dict) else None
                if found and (found["run"], found["phase"], found["step"]) == (self._this_run(), number, last):
                    return hosts_from(last), found
        return (self._counted(number - 1) if self._product.add_up and number > 1 else []) + hosts_from(0), None

    # -- before a port is taken away, and at the end
    def _act_users(self, options: dict[str, Any]) -> Result:
        order, product, port = self._order, self._product, self._order["port"] or 0
        return run_action(self, COLLECTION + "port_users", dict(
            product=product.name, hosts=order["doing"]["users"], members=order["members"], found=product.facts["users"],
            evidence=product.facts["evidence"], staying=list(range(port, port + product.span)),
            ignore=self._own("close_ignore_users"), quiet_seconds=self._own("close_quiet_seconds"),
            since=order["begun"]), self._variables)

    def _act_whole(self, options: dict[str, Any]) -> Result:
        missing = self._order["not_asked"]
        return dict(failure(["%s: %s" % (", ".join(missing), self._product.unasked)])) if missing else {}

    def _act_report(self, options: dict[str, Any]) -> Result:
        order = self._order
        port = options["port"] or order["port"]

        def proved(host: str) -> bool:
            return not without_evidence(self._variables["hostvars"], host, self._product.facts["evidence"], port and int(port),
                                        self._predicts(host))

        back = self._variables["hostvars"].raw_get("localhost").get(_migration.ROLLBACK)
        server = self._value("portshift_plan", {}).get(self._product.server_name) or order["found"].get("server")
        return dict(report=report(self._product, order, port, proved, self._task.check_mode, back, server))

    def run(self, tmp: Any = None, task_vars: Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        unused, options = self.validate_argument_spec(argument_spec=dict(
            act=dict(type="str", required=True, choices=[
                "order", "host", "plan", "opening", "rollback", "left", "gate", "step", "users", "whole", "report"]),
            product=dict(type="str", choices=list(PRODUCTS)), run=dict(type="str"), phase=dict(type="int"), port=dict(type="raw"),
            gate=dict(type="str", choices=["plan", "path", "phase", "proof", "way_back", "back_path"])))
        self._variables = task_vars
        try:
            if options["act"] != "order":
                self._order = _migration.order_of(task_vars)
            self._product = PRODUCTS[options["product"] or self._order["product"]]
            facts = self._product.facts
            self._variables = dict(task_vars, hostvars=WithLooks(task_vars["hostvars"], facts["assessment"], facts["evidence"]))
            found = getattr(self, "_act_" + options["act"])(options)
        except EngineError as err:
            return dict(result, failed=True, msg=str(err))
        return dict(result, **dict(dict(changed=False), **found))
