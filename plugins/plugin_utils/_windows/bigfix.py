# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BigFix on Windows hosts: where the registry has its folders and settings, what a look brings, and what proves a move."""

from __future__ import annotations

import ntpath
from collections.abc import Container, Mapping, Sequence
from typing import Any

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.agent_log import (
    CHAIN_ENDINGS, LOG_ENDINGS as AGENT_LOGS)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.cutover import FILES, BigFixMove
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.evidence import PROBE_TIMEOUT, BigFixEvidence
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.look import look
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead_page import MASTHEAD_PAGE
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.ports import BIGFIX_NEIGHBOURS
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.setting_names import (
    ADDRESS_SETTINGS, PORT_SETTINGS, REST_URL, SERVER_PORT, SERVER_PORT_LINE, WEB_REPORTS)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix import settings_file
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import proved
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import handed_out
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Result
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.bridge import HERE, WindowsBridge, file_of
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.host import (
    FILE_LIMIT, IP_HELPER, KEY_LIMIT, RegistryView, WindowsHost, folder_asked, is_key, names_asked, probe_asked)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import (
    Module, WindowsMove, await_end, check_options, looked_at, marking)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import (
    AllOf, Answers, Condition, Connected, EitherOf, FileAsked, Listens, Logged, Place, Probe, RegistryAsked, RegistryName,
    RegistryValue, ServiceIs, Wanted)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.script import Script

KEY = r"HKLM\SOFTWARE\WOW6432Node\BigFix"
ENTERPRISE = r"C:\Program Files (x86)\BigFix Enterprise"
# The folders by the names that stand in braces in a path; the drive is the site's own.
PLACES = [
    Place(name="client", values=[RegistryName(key=KEY + r"\EnterpriseClient", value="EnterpriseClientFolder")],
          otherwise=ENTERPRISE + r"\BES Client"),
    Place(name="server", values=[RegistryName(key=KEY + r"\Enterprise Server", value="EnterpriseServerFolder")],
          otherwise=ENTERPRISE + r"\BES Server"),
]
# What nearly every deployment leaves: a look that has to ask for another port asks twice.
USUAL_PORT = 52311
VALUE, DATE = "value", "effective date"
TEXT, NUMBERS = ("String", "ExpandString"), ("DWord", "QWord")
# What becomes of an agent that can't have its udp port.
HEARD_LATE = "its agent gets no notifications, so that it is slow, not cut off"
# Services that listen, by component.
LISTENS = dict(server="BESRootServer", relay="BESRelay")
# A line of the relay chain: what the agent tried went well, or failed.
CHAIN_LINE = "^At [0-9:]+ [+-][0-9]{4} -\\s*%s(\\s*$| -)"
# Settings whose value has to be read to judge the host.
JUDGED = frozenset(name.lower() for name in (*PORT_SETTINGS, *ADDRESS_SETTINGS, WEB_REPORTS))


class SettingsView:
    """The settings of the agent, one key each, as the text of a besclient.config that says the same.

    C(judged): names, in lower case, of settings that have to be text; one of another type is left alone elsewhere.
    """

    depth, kind = 1, "bigfix_registry_value"

    def __init__(self, key: str, judged: Container[str] = JUDGED) -> None:
        self.key, self.judged = key, judged

    def text(self, values: Mapping[str, Sequence[RegistryValue]]) -> bytes:
        found = []
        for name, several in sorted(values.items()):
            by_name = {value["name"].lower(): value for value in several}
            value = by_name.get(VALUE)
            if not name or value is None:
                continue
            if value["type"] not in TEXT:
                if name.lower() in self.judged:
                    raise EngineError("the setting %s has a value of the type %s, where the agent writes text (REG_SZ); set it "
                                      "anew with BigFix" % (settings_file.shown_name(name), value["type"]))
                continue
            date = by_name.get(DATE)
            found.append((name, value["data"], date["data"] if date and date["type"] in TEXT else None))
        return bytes(settings_file.written(found))

    def changes(self, before: bytes, after: bytes) -> list[tuple[str, str, str | None]]:
        old, new = settings_file.entries(before), settings_file.entries(after)
        found: list[tuple[str, str, str | None]] = []
        for lower in [*old, *(lower for lower in new if lower not in old)]:
            name, value, date = old.get(lower) or (new[lower][0], None, None)
            unused, new_value, new_date = new.get(lower) or (name, None, None)
            if new_value != value:
                found.append((name, VALUE, new_value))
            if new_date != date:
                found.append((name, DATE, new_date))
        return found


class ServerView:
    """The port of a root server, and the URL of the REST API that its plug-ins use, as lines of a MasterOperatorCredentials.

    User name and password, which lie beside the URL, are never a part of it.
    """

    depth, kind, lines = 0, "bigfix_registry_value", {REST_URL: REST_URL, SERVER_PORT_LINE: SERVER_PORT}

    def __init__(self, key: str) -> None:
        self.key = key

    def text(self, values: Mapping[str, Sequence[RegistryValue]]) -> bytes:
        found = {value["name"].lower(): value for value in values.get("", ())}
        lines = ["%s=%s\n" % (line, found[name.lower()]["data"]) for line, name in self.lines.items()
                 if name.lower() in found and found[name.lower()]["type"] in (*TEXT, *NUMBERS)]
        return "".join(lines).encode("utf-8", "surrogatepass")

    def changes(self, before: bytes, after: bytes) -> list[tuple[str, str, str | None]]:
        old, new = (dict(line.partition("=")[::2] for line in text.decode("utf-8", "surrogatepass").splitlines())
                    for text in (before, after))
        return [("", self.lines[line], new[line]) for line in old if new[line] != old[line]]


def _views(params: Mapping[str, Any]) -> list[RegistryView]:
    return [*(SettingsView(path) for path in params["settings_paths"] if is_key(path)),
            *(ServerView(path) for path in params["credentials_paths"] if is_key(path))]


def _page(host: str, port: int, tls: bool) -> Probe:
    return probe_asked(dict(host=host, port=port, http=dict(path=MASTHEAD_PAGE, tls=tls)), PROBE_TIMEOUT)


def _asked_proof(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of the proof: those of an option of that name, or of a module that does nothing else."""
    proof = params["proof"] if "proof" in params else params
    return proof or {}


def foreseen(params: Mapping[str, Any]) -> Wanted:
    """What the engines ask of such a host, so that one look brings it."""
    proof, port, component = _asked_proof(params), params["port"], params["component"]
    bridge = params.get("bridge")
    old_ports = {params["previous_port"] or USUAL_PORT} - {port}
    paths = [path for option in FILES for path in params[option] if not is_key(path)]
    paths += [params["record"]] if params["record"] else []
    backups = [names_asked(ntpath.splitext(params["record"])[0])] if params["record"] else []
    folders = [proof.get("log_dir"), proof.get("relay_chain_dir")]
    probes = [_page(proof["parent"], port, proof["tls"])] if proof.get("parent") else []
    ports = {port, *old_ports, *BIGFIX_NEIGHBOURS}
    wanted = Wanted(
        places=PLACES, files=[FileAsked(path=path, limit=FILE_LIMIT) for path in paths],
        folders=[*(folder_asked(path) for path in folders if path), *backups],
        registry=[RegistryAsked(key=view.key, depth=view.depth, limit=KEY_LIMIT) for view in _views(params)],
        services=list(params["services"]), ports=sorted(ports), remote_ports=sorted({port, *old_ports}),
        names=[proof["parent"]] if proof.get("parent") else [], probes=probes)
    if component != "client":
        wanted["netsh"] = True
        wanted["services"].append(IP_HELPER)
        if bridge:
            wanted["files"].append(FileAsked(path=file_of(bridge["name"]), limit=FILE_LIMIT))
        # Whether it is the product that has the ports.
        probes += [_page(HERE, one, False) for one in (port, *old_ports)]
        if proof.get("address"):
            probes.append(_page(proof["address"], port, proof["tls"]))
        if component == "server" and proof.get("address"):
            wanted["names"] = [proof["address"]]
    return wanted


def host_of(script: Script, params: Mapping[str, Any]) -> WindowsHost:
    host = WindowsHost(script.read, _views(params))
    host.foresee(foreseen(params))
    return host


def resolved(params: Mapping[str, Any], host: WindowsHost) -> dict[str, Any]:
    """The options with the paths as they are on the host."""
    def folders(options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: host.resolved(options[name]) for name in ("log_dir", "relay_chain_dir") if options.get(name)}

    found = dict(params, **{option: [host.resolved(path) for path in params[option]] for option in FILES}, **folders(params))
    if params.get("proof"):
        found["proof"] = dict(params["proof"], **folders(params["proof"]))
    return found


def conditions(params: Mapping[str, Any], questions: BigFixEvidence) -> list[Condition]:
    """What the host itself sees of the proof; all of it is judged once more, by what it looks like then."""
    proof, port, agent, peer = _asked_proof(params), params["port"], questions.agent, questions.peer
    found: list[Condition] = [ServiceIs(kind="service", service=name, state="running") for name in params["services"]]
    if params["component"] != "client" and proof.get("address"):
        found.append(Listens(kind="listens", port=port, service=LISTENS[params["component"]]))
        found.append(Answers(kind="probe", probe=_page(proof["address"], port, proof["tls"]), contains=str(port)))
    found += [Listens(kind="listens", port=neighbour, service=None) for neighbour in proof.get("neighbours") or ()]
    if proof.get("parent"):
        found.append(Answers(kind="probe", probe=_page(proof["parent"], port, proof["tls"]), contains=str(port)))
    if agent and peer and questions.old_port not in (None, port):
        found.append(Connected(kind="connection", service=agent, host=peer, port=questions.old_port, absent=True))
    if proof.get("log_dir"):
        said: list[Any] = [_said(proof, port)]
        if agent and peer:
            # A connection speaks for the agent as long as it says nothing to the contrary.
            quiet = [_said(proof, port, silence=True)]
            if proof.get("relay_chain_dir"):
                quiet.append(Logged(kind="log", folder=proof["relay_chain_dir"], endings=list(CHAIN_ENDINGS),
                                    patterns=[CHAIN_LINE % "S"], unless=[CHAIN_LINE % "F"], silence=True))
            said.append(AllOf(kind="all", of=[Connected(kind="connection", service=agent, host=peer, port=port), *quiet]))
        found.append(EitherOf(kind="either", of=said))
    return found


def _said(proof: Mapping[str, Any], port: int, silence: bool = False) -> Logged:
    return Logged(kind="log", folder=proof["log_dir"], endings=list(AGENT_LOGS), silence=silence,
                  patterns=[_pattern(one, port) for one in proof["success_patterns"]],
                  unless=[_pattern(one, port) for one in proof["failure_patterns"]])


def _pattern(text: str, port: int) -> str:
    """As the engine of logs has it: upper and lower case are the same, and {port} stands for the port."""
    return "(?i)" + text.replace("{port}", str(port))


def marked(params: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    proof = _asked_proof(params)
    if not proof.get("log_dir"):
        return [], []
    return [path for path in (proof["log_dir"], proof.get("relay_chain_dir")) if path], [*AGENT_LOGS, *CHAIN_ENDINGS]


def _check(params: Mapping[str, Any]) -> None:
    check_options(params, (*FILES, "record"), "bigfix")


def _opened(params: Mapping[str, Any], host: WindowsHost) -> Any:
    """What Windows Firewall has to admit: the look does not ask it, which costs more than to open it."""
    def host_port(plan: Any) -> dict[str, Any] | None:
        asked = params["host_port"]
        if not plan.edits or not asked:
            return None
        if asked.get("reserve") and params["component"] != "client":
            plan.notes += filter(None, [
                handed_out(params["port"], host.ephemeral_ports(), "it is reserved when this host moves")])
        openings = asked["openings"] if asked.get("backend") != "none" else []
        missing = ["Windows Firewall has to admit %s port %s; host_port sees to that" % (one["protocol"], one["port"])
                   for one in openings]
        return dict(backend="windows" if openings else "none", missing=missing, rules=[], notes=[])
    return host_port


def looked(script: Script, params: dict[str, Any]) -> Result:
    """What M(portshift.agents.bigfix_info) returns."""
    _check(params)
    host = host_of(script, params)
    # Of a client, too, which hears of news by udp; a move does without it.
    host.foresee(Wanted(netsh=True))
    params = resolved(params, host)
    result = look(params, _opened(params, host), host)
    if result["edits"]:
        result["problems"] += kept_from(host, params)
        result["notes"] += [*_heard_late(host, params), *_unknown(host)]
    return looked_at(result, host, params["services"])


def kept_from(host: WindowsHost, params: Mapping[str, Any]) -> list[str]:
    """Why a server or relay could not listen on its new port."""
    kept = host.kept_from_all(params["port"], "ipv4", "tcp") if params["component"] != "client" else None
    return ["the %s could not listen: %s" % (params["component"], kept)] if kept else []


def _heard_late(host: WindowsHost, params: Mapping[str, Any]) -> list[str]:
    """What is slow or missing where Windows keeps the new port, and cuts no host off."""
    port, lost = params["port"], [("ipv4", "udp", HEARD_LATE), ("ipv6", "udp", HEARD_LATE)]
    if params["component"] != "client":
        lost.append(("ipv6", "tcp", "its new port is not to be had by IPv6"))
    found = [(words, host.kept_from_all(port, family, protocol)) for family, protocol, words in lost]
    return ["%s: %s" % (words, kept) for words, kept in found if kept]


def _unknown(host: WindowsHost) -> list[str]:
    netsh = host.found["netsh"]
    if netsh and netsh["problem"]:
        return ["netsh could not be asked for the ports that Windows keeps from programs (%s)" % netsh["problem"].rstrip(".")]
    return []


def evidence(script: Script, params: dict[str, Any], check_mode: bool) -> Result:
    """What M(portshift.agents.bigfix_evidence) returns."""
    def judgement() -> BigFixEvidence:
        _check(params)
        host = host_of(script, params)
        return BigFixEvidence(resolved(params, host), host=host)

    good, result = proved(params, judgement, None if check_mode else marking(script), evidence={})
    return result if good else dict(result, failed=True)


def moved(script: Script, params: dict[str, Any], module: Module) -> Result:
    """What M(portshift.agents.bigfix_cutover) returns."""
    _check(params)
    host = host_of(script, params)
    await_end(host, script, module.check_mode, half_way=params["state"] == "restored")
    params = resolved(params, host)
    services, proof = host.services(params["services"]), params["proof"]
    product = BigFixMove(params, services, host)
    bridge = WindowsBridge(host, params["bridge"]) if params["bridge"] else None
    move = WindowsMove(
        module, script, host, product, services, params["record"], params["service_timeout"], phase=params["phase"],
        proof_seconds=proof["timeout"] if proof else 0, force=params["force"], unfinished_only=params["unfinished_only"],
        marked=marked(params), conditions=lambda: conditions(params, product.evidence()), bridge=bridge,
        reserve=params["reserve_port"] and params["component"] != "client", hindrances=lambda: kept_from(host, params))
    result = move.run(params["state"] == "restored")
    if module.wants_diff:
        result["diff"] = move.diffs
    return result
