# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change Tracker on Windows hosts: where an agent lies, what a look at one brings, and how it is moved and taken back."""

from __future__ import annotations

import ntpath
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._boks import evidence as boks_evidence, services_file
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import evidence as agent_evidence, hub_edit
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.evidence import (
    AGENT_EVIDENCE_SPEC, PATIENCE_BEFORE, PROBE_TIMEOUT, AgentEvidence, asked_within)
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.host import CHANGE, AgentHost
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_edit import HubEdit
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_url import LOG, WINDOWS_SERVICES
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.look import LOOK_SPEC, look
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.plan import Move
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import Proofs, proved
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKinds
from ansible_collections.portshift.agents.plugins.module_utils._move.change_options import change_spec, out_of_bounds
from ansible_collections.portshift.agents.plugins.module_utils._move.states import STATE, folder_name, too_short
from ansible_collections.portshift.agents.plugins.module_utils._move.transaction import MovedProduct, MoveError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import (
    ENVIRONMENT, FILE_LIMIT, LOG_BYTES, SERVICE_KEYS, WindowsHost, key_asked, names_asked, probe_asked)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import (
    Module, NotMoved, WindowsMove, await_end, check_options, ended_by_itself, looked_at, marking, own_changes)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import (
    FOLDER, Answers, Condition, Connected, FileAsked, FolderAsked, Logged, Place, RegistryName, ServiceIs, Wanted)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script

# Where programs have their data, by the name that stands in braces in a path; the drive is the site's own.
PLACES = [Place(name="data", values=[RegistryName(
    key=r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Explorer\Shell Folders", value="Common AppData")],
    otherwise=ntpath.dirname(FOLDER))]
PATHS = [r"{data}\NNT\%s\HubDetails.xml" % folder for folder in WINDOWS_SERVICES]
RECORD = FOLDER + r"\change_tracker.json"
# What nearly every hub leaves: a look that has to ask for the connections to another port asks twice.
USUAL_PORTS = (80, 443)
# How many of the logs of that name, which may be renamed while it is read.
LOGS = 2

KINDS, PROOFS = FileKinds(hub_edit, services_file), Proofs(boks_evidence, agent_evidence)
# The options of a change that are for Linux, and what a role calls those that a user may have said for all hosts.
FOR_LINUX = dict(
    files=None, services_entries=None, bridge=None, boks_proof=None, checks="change_tracker_agent_check_commands",
    executables="change_tracker_agent_executables")


def _here(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a module that looks at an agent, with what is usual on Windows."""
    return dict(spec, path=dict(spec["path"], default=PATHS), record=dict(spec["record"], default=RECORD))


LOOK_OPTIONS, EVIDENCE_OPTIONS = _here(LOOK_SPEC), _here(AGENT_EVIDENCE_SPEC)
CHANGE_OPTIONS = change_spec(KINDS, PROOFS)


def _log_of(path: str, log_path: str | None) -> tuple[str, str]:
    """(folder, name) of the log of the agent whose file is `path`."""
    return ntpath.split(log_path) if log_path else (ntpath.dirname(path), LOG)


def _foreseen(params: Mapping[str, Any], ports: Sequence[int | None]) -> Wanted:
    """What the engines ask of such a host, so that one look brings it.  C(ports): those of the hub that are known."""
    record = params["record"]
    logs = dict(_log_of(path, params["log_path"]) for path in params["path"])
    services = [params["service"]] if params["service"] else list(WINDOWS_SERVICES.values())
    # One that waits for its confirmation, as it may on Linux, lies there.
    own = [record, ntpath.join(ntpath.dirname(record), folder_name(CHANGE), STATE)]
    return Wanted(
        places=PLACES, services=services, remote_ports=sorted({port for port in (*ports, *USUAL_PORTS) if port}),
        files=[*(FileAsked(path=path, limit=FILE_LIMIT, hosts=True) for path in params["path"]),
               *(FileAsked(path=path, limit=FILE_LIMIT) for path in own)],
        folders=[names_asked(ntpath.splitext(record)[0]),
                 *(FolderAsked(path=folder, endings=[name], newest=LOGS, bytes=LOG_BYTES) for folder, name in logs.items())],
        registry=[key_asked(ENVIRONMENT), *(key_asked(ntpath.join(SERVICE_KEYS, name)) for name in services)])


def _host_of(script: Script, params: Mapping[str, Any], *ports: int | None) -> tuple[WindowsHost, dict[str, Any]]:
    """The host, and the options with the paths as they are there."""
    check_options(params, ("path", "log_path", "record"), "change_tracker_agent")
    host = WindowsHost(script.read)
    host.foresee(_foreseen(params, ports))
    return host, dict(params, path=[host.resolved(path) for path in params["path"]],
                      log_path=params["log_path"] and host.resolved(params["log_path"]))


def looked(script: Script, params: Mapping[str, Any]) -> Result:
    """What M(portshift.agents.change_tracker_info) returns."""
    host, params = _host_of(script, params, params["port"])
    result = look(params, host)
    found = looked_at(result, host, [result["service"]] if result["service"] else [])
    agent = AgentHost(params, host)
    if agent.way and agent.way.default_proxy and not agent.proxy():
        found["notes"].append("%s: has UseDefaultProxy, and no variable of its service names a proxy; whether Windows has one "
                              "for the account of the service is not seen from here. If it has, name it in <Proxy>, or the "
                              "agent cannot prove itself" % agent.path)
    return found


def evidence(script: Script, params: Mapping[str, Any], check_mode: bool) -> Result:
    """What M(portshift.agents.change_tracker_evidence) returns."""
    def judgement() -> AgentEvidence:
        host, found = _host_of(script, params, params["port"], params["old_port"])
        return AgentEvidence(found, host)

    good, result = proved(params, judgement, None if check_mode else marking(script), agent=False)
    return result if good else dict(result, failed=True)


class AgentMove(MovedProduct):
    """C(agent): the options that say which agent it is.  C(proof): those of its proof, or None."""

    kinds, undoes_proved = KINDS, True

    def __init__(self, agent: Mapping[str, Any], port: int, proof: Mapping[str, Any] | None, host: WindowsHost) -> None:
        self.agent, self.port, self.proof, self.host = agent, port, proof, host
        self.paths = agent["path"]

    def edits(self) -> tuple[int | None, list[HubEdit], list[str]]:
        agent = AgentHost(self.agent, self.host)
        move = Move(agent, self.port)
        if move.problems:
            raise MoveError("nothing was changed: %s" % "; ".join(move.problems))
        edits = [HubEdit([agent.path], port=self.port, host=self.host)] if move.edits else []
        return agent.old_port(self.port), edits, move.notes

    def undo(self, old_port: int | None, new_port: int) -> Any:
        return self.kinds.undo(new_port)

    def evidence(self) -> AgentEvidence | None:
        if not self.proof:
            return None
        return AgentEvidence(dict(asked_within(self.agent, self.proof, self.port), **self.agent), self.host)

    def conditions(self) -> list[Condition]:
        """What the host itself sees of the proof; all of it is judged once more, by what it looks like then."""
        questions = self.evidence()
        if not questions:
            return []
        name, port, unused = questions.peer()
        service = questions.host.service.name
        folder, log = ntpath.split(questions.host.log_path)
        found: list[Condition] = [
            ServiceIs(kind="service", service=service, state="running"),
            Connected(kind="connection", service=service, host=name, port=port),
            # As the engine of logs has it: upper and lower case are the same.  No line is known that says that all is well.
            Logged(kind="log", folder=folder, endings=[log], patterns=[], silence=True,
                   unless=["(?i)" + pattern for pattern in questions.params["failure_patterns"]])]
        if questions.old_port not in (None, port) and not questions.host.proxy():
            found.append(Connected(kind="connection", service=service, host=name, port=questions.old_port, absent=True))
        return found

    def ready(self) -> tuple[str, float, list[Condition]]:
        """That the hub answers, with the certificate that the agent trusts: hours may have passed since the plan.

        Asked by the host in the same execution that stops the agent: what it saw is not what it was a while ago.
        """
        agent = AgentHost(self.agent, self.host)
        if agent.proxy():
            return "", 0, []
        way = agent.way
        target = dict(host=way.host, port=self.port, http=dict(path=way.path, tls=way.tls))
        asked = Answers(kind="probe", probe=probe_asked(target, PROBE_TIMEOUT), contains=None, any_status=True)
        if way.tls and way.thumbprint:
            asked["thumbprint"] = way.thumbprint
        return "its hub can't be used on port %d" % self.port, PATIENCE_BEFORE, [asked]

    def marked(self) -> tuple[list[str], list[str]]:
        """The log of which new lines are to be told from old ones."""
        folder, log = _log_of(self.agent["path"][0], self.agent["log_path"])
        return [folder], [log]


def _check_change(params: Mapping[str, Any]) -> None:
    """EngineError for what a change of a Windows host can't be asked."""
    sentence = out_of_bounds(params)
    if sentence:
        raise EngineError(sentence)
    check_options(params, ("record",), "change_tracker_agent")
    for name, variable in FOR_LINUX.items():
        asked = params[name]
        if any(asked.values()) if name == "executables" else asked:
            raise EngineError("nothing was changed: %s is not for a Windows host; leave %s empty for it" % (
                name, variable or "it"))
    _check_commands(params, params["services"])


def _check_commands(params: Mapping[str, Any], services: Sequence[str]) -> None:
    """EngineError for a command that is not what is asked of the service manager.  C(services): the agent's, where known."""
    names = {name.lower() for name in services}
    for action in ("stop", "start"):
        for command in params[action]:
            words = [str(word) for word in command]
            if words[:2] != ["sc.exe", action] or len(words) != 3 or names and words[2].lower() not in names:
                raise EngineError("nothing was changed: %s is %s, but the services of a Windows host are asked of its service "
                                  "manager; leave change_tracker_agent_%s_commands empty for it" % (
                                      action, " ".join(words), action))


def _agent_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say which agent a change is about."""
    edits, services, proof = params["hub_urls"], params["services"], params["change_tracker_proof"] or {}
    if len(edits) != 1 or len(services) > 1:
        raise EngineError("nothing was changed: hub_urls has %d entries and services %d; a change of a Windows host is about one "
                          "agent: give its HubDetails.xml and its service" % (len(edits), len(services)))
    if edits[0]["port"] != params["new_port"]:
        raise EngineError("nothing was changed: hub_urls leads to port %d, and new_port is %d; give one port" % (
            edits[0]["port"], params["new_port"]))
    return dict(path=[edits[0]["path"]], service=services[0] if services else None, service_command=[], required=True,
                log_path=proof.get("log_path") or None, record=params["record"])


def changed(script: Script, params: Mapping[str, Any], module: Module) -> Result:
    """What M(portshift.agents.confirmed_change) returns."""
    _check_change(params)
    return dict(begun=_begun, reverted=_reverted, present=_present, confirmed=_confirmed)[params["state"]](script, params, module)


def _told(params: Mapping[str, Any], state: str, **more: Any) -> Result:
    """The form of its result."""
    return dict(dict(state=state, token=None, seconds_left=None, reason=None, files=[], restored=[], notes=[], bridge=None,
                     seconds=0.0, survives_reboot=True, old_port=params["old_port"], new_port=params["new_port"], changed=False),
                **more)


def _started(names: Sequence[str], module: Module) -> list[str]:
    """Notes on services that did not run, where nothing else was to be changed."""
    return ["%s %s" % (name, "does not run, and would be started" if module.check_mode else "was started") for name in names]


def failed_state(error: Exception) -> str:
    """What has become of a change that failed so."""
    return dict(undone="reverted", trouble="failed", changing="changing").get(getattr(error, "outcome", ""), "none")


def _begun(script: Script, params: Mapping[str, Any], module: Module) -> Result:
    if not params["confirm"]:
        raise EngineError("nothing was changed: a Windows host ends its change by itself, once it has proved itself, so that no "
                          "later task can confirm it; say confirm: true")
    proof = params["change_tracker_proof"]
    sentence = proof and too_short(params["timeout"], proof)
    if sentence:
        raise EngineError("nothing was changed: %s" % sentence)
    host, agent = _host_of(script, _agent_of(params), params["new_port"], params["old_port"])
    await_end(host, script, module.check_mode)
    known = AgentHost(agent, host)
    product = AgentMove(agent, params["new_port"], proof, host)
    services = [known.service.name] if known.service else []
    _check_commands(params, services)
    move = WindowsMove(
        module, script, host, product, host.services(services), params["record"], params["command_seconds"],
        phase=params["phase"], proof_seconds=proof["timeout"] if proof else 0, marked=product.marked(),
        conditions=product.conditions, ready=product.ready, since_start=params["timeout"])
    found = move.run(False)
    moved, started = bool(found["files"]) and not module.check_mode, found.pop("started")
    if not found["files"]:
        found["notes"] += _started(started, module)
    reason = "the host has proved itself" if moved and proof else None
    result = dict(_told(params, "confirmed" if moved else "none", reason=reason), **found)
    if module.wants_diff:
        result["diff"] = move.diffs
    return result


def _reverted(script: Script, params: Mapping[str, Any], module: Module) -> Result:
    if not params["record"]:
        raise EngineError("nothing was changed: the record of the migration is not named; give record")
    agent = dict(path=[], service=None, log_path=None, record=params["record"])
    host, agent = _host_of(script, agent, params["new_port"])
    await_end(host, script, module.check_mode, half_way=True)
    content = host.record(params["record"]).content or {}
    product = AgentMove(agent, params["new_port"], None, host)
    # Those with which it was moved.
    services = params["services"] or sorted((content.get("stopped") or {}).get("processes") or {})
    _check_commands(params, services)
    move = WindowsMove(module, script, host, product, host.services(services), params["record"], params["command_seconds"],
                       force=params["force"])
    found = move.run(True)
    # One of a move to another port has not been asked to go back; of one that went back before, a service may have been started.
    is_asked = bool(content) and (not params["new_port"] or content["new_port"] == params["new_port"])
    taken_back = is_asked and content["state"] != "rolled_back"
    result = _told(params, "reverted" if is_asked else "none", changed=found["changed"], restored=found["files"],
                   seconds=found["seconds"], old_port=found["old_port"],
                   notes=host.told() + ([] if taken_back else _started(found["started"], module)),
                   new_port=content["new_port"] if is_asked else params["new_port"],
                   reason="it was taken back on request" if taken_back else None)
    if module.wants_diff:
        result["diff"] = move.diffs
    return result


def _present(script: Script, params: Mapping[str, Any], module: Module) -> Result:
    host = WindowsHost(script.read)
    ended = ended_by_itself(host, params["wait"])
    record = params["record"] or RECORD
    half_way, undone = own_changes(host.half_way(), record), own_changes(host.undone(), record)
    told = host.told() if ended else [one["sentence"] for one in host.under_way()]
    state = "changing" if not ended else "failed" if half_way else "reverted" if undone else "none"
    if params["wait"] and not ended:
        raise NotMoved("the change of this host has not ended in %d s: %s; the host ends it by itself" % (
            params["wait"], "; ".join(told)), "changing")
    # Of a change of another product the notes tell: it stands against a move, and is not what is asked about.
    reason = told if not ended else [one["sentence"] for one in half_way or undone]
    return _told(params, state, notes=told, reason="; ".join(reason) or None)


def _confirmed(script: Script, params: Mapping[str, Any], module: Module) -> Result:
    raise EngineError("a Windows host ends its change by itself, once it has proved itself, so there is nothing to confirm; "
                      "begin it with confirm: true")
