# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy product, as the playbooks have to know it: hosts that do not depend on each other, each with a daemon on one port."""

from __future__ import annotations

from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Found, Groups, HostVars, Result, StepFacts
from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import answer_of
from ansible_collections.portshift.agents.plugins.plugin_utils._options import FORCE, LOCK, MISSING, PHASES, Option
from ansible_collections.portshift.agents.plugins.plugin_utils._products import Product
from ansible_collections.portshift.agents.plugins.plugin_utils._waves import by_phase, parse_phases, waves
from ansible_collections.portshift.agents.plugins.plugin_utils._window import parse_window

HOSTS, PILOT = "toy_hosts", "toy_pilot"


def lay_out(options: dict[str, Any], groups: Groups, hostvars: HostVars) -> Result:
    """The pilot, then the others in waves."""
    steps: list[StepFacts] = []
    try:
        if options.get("port"):
            port: int | None = parse_port(options["port"], "toy_port")
        elif options["port_required"]:
            raise EngineError("toy_port is not set; say which port to move to, such as -e toy_port=4200")
        else:
            port = None
        phases = parse_phases(options["phases"], "toy_phases")
        if options.get("window"):
            parse_window(options["window"], "toy_window")
        wanted, early = set(options["hosts"]), set(groups.get(PILOT, []))
        present = [host for host in groups.get(HOSTS, []) if host in wanted]
        if not present:
            raise EngineError("inventory group %s holds no host of this run" % HOSTS)
        pilot = [host for host in present if host in early]
        others = [host for host in present if host not in early]
        cut = waves(others, options["host_waves"], "toy_host_waves", options.get("forks"))
        steps += [StepFacts(phase=1, title="pilot", component="host", hosts=pilot)] if pilot else []
        steps += [StepFacts(phase=3, title="wave %d of %d" % (number, len(cut)), component="host", hosts=hosts)
                  for number, hosts in enumerate(cut, 1)]
    except EngineError as err:
        return dict(failed=True, problems=[str(err)], msg="Nothing was changed. %s." % err)
    everyone = list(groups[HOSTS])
    return dict(port=port, steps=steps, phases=by_phase(steps, phases), order=[host for step in steps for host in step["hosts"]],
                components=dict.fromkeys(everyone, "host"), keeper=everyone[0])


def put_together(found: Found, hostvars: HostVars, assessment: str) -> Result:
    """The plan: a row for each host."""
    rows, pending = [], []
    for host in found["order"]:
        reason, answer = answer_of(hostvars, host, assessment)
        if reason:
            rows.append("%-12s  PROBLEM  %s" % (host, reason))
        elif answer["edits"]:
            pending.append(host)
            rows.append("%-12s  %s -> %s" % (host, answer["old_port"], found["port"]))
        else:
            rows.append("%-12s  nothing to change" % host)
    told = "Moving toys to port %s: %d of %d hosts have something to change." % (found["port"], len(pending), len(rows))
    return dict(report=[told, *rows], pending=pending, problems=[])


OPTIONS: list[Option] = [
    Option("port", "port", "", "the port to move to", "port", "required"),
    *PHASES,
    Option("host_waves", "waves", ["25%"], "sizes of the waves, as play keyword `serial` has them", "host_waves"),
    *MISSING, *LOCK, FORCE,
    *[Option(name, kind, None, "", listed=False) for name, kind in (
        ("lock_path", "str"), ("record_path", "str"), ("path", "str"), ("address", "str"), ("service_command", "list"))]]

PRODUCT = Product(
    name="toy", groups=(HOSTS,), order=lay_out, plan=put_together, port="toy_port", port_word="port", options=OPTIONS,
    whole="toys", gate_whole="the migration", roles=dict(host="toy"),
    lacks=dict(host=("open", "path", "end_listener", "users", "settle", "reopen", "close", "undo_open")),
    facts=dict(assessment="toy_assessment", path="toy_path", evidence="toy_evidence", way_back="toy_way_back"),
    phases={1: "pilot", 2: "nothing", 3: "the others"},
    unasked="in the group and not part of the run. Run without --limit",
    next_steps=("Way back: run rollback_toy_port.yml with the same inventory.",))
