# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as evidence in a host's variables.  One rule for gates and reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import Evidence, HostVars, Variables
from ansible_collections.portshift.agents.plugins.plugin_utils._host_variables import HostVariables

# What Ansible itself says of a task that has no answer; whatever else it holds was not meant as one.
NO_ANSWER = ("failed", "unreachable", "skipped")


class _WithProof(Mapping[str, Any]):
    """The variables of a host, and its proof under the name of the evidence."""

    def __init__(self, known: Variables, name: str, proof: Evidence) -> None:
        self._known, self._name, self._proof = known, name, proof

    def __getitem__(self, name: str) -> Any:
        # Nothing else is touched: each value of `hostvars` is templated when it is asked for.
        return self._proof if name == self._name else self._known[name]

    def __contains__(self, name: object) -> bool:
        return name == self._name or name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter([*self._known, self._name])

    def __len__(self) -> int:
        return len(self._known) + 1


class WithLooks:
    """The variables of all hosts, where the proof that a look has given stands for one that was not asked for alone.

    Kept by a task of its own it would cost each host of a second run one more.
    """

    def __init__(self, hostvars: HostVars, assessment: str, evidence: str) -> None:
        self._hostvars, self._assessment, self._evidence = hostvars, assessment, evidence

    def __contains__(self, host: object) -> bool:
        return host in self._hostvars

    def _with_proof(self, raw: Variables, known: Variables) -> Variables:
        proof = proof_of_look(raw.get(self._assessment) if isinstance(raw, Mapping) and self._evidence not in raw else None)
        return known if proof is None else _WithProof(known, self._evidence, proof)

    def raw_get(self, host_name: str) -> Variables:
        raw = self._hostvars.raw_get(host_name)
        return self._with_proof(raw, raw)

    def __getitem__(self, host_name: str) -> Variables:
        return self._with_proof(self._hostvars.raw_get(host_name), self._hostvars[host_name])


def _says(value: object) -> bool:
    """Whether a key is there and does not say no."""
    return value is not None and value is not False


def _sentences(value: Mapping[str, Any]) -> list[str]:
    """What a result says stands against it: its C(problems), a list, or C(missing), a dictionary of sentences."""
    problems, missing = value.get("problems"), value.get("missing")
    found = problems if isinstance(problems, list) and problems else (
        list(missing.values()) if isinstance(missing, Mapping) else missing if isinstance(missing, list) else [])
    return [str(sentence) for sentence in found]


def _is_port(value: object, port: int) -> bool:
    """Whether a result is about `port`; ansible-core before 2.19 makes text of the numbers that set_fact is given."""
    return not isinstance(value, bool) and re.fullmatch(r"[0-9]{1,5}", str(value)) is not None and int(str(value)) == port


def is_answer(value: object) -> TypeGuard[Evidence]:
    """Whether a variable holds the result of a task that has answered, yes or no."""
    return isinstance(value, Mapping) and isinstance(value.get("ok"), bool) and not any(
        _says(value.get(key)) for key in NO_ANSWER)


def proof_of_look(look: object) -> Evidence | None:
    """The proof that a look at a host has given on the way, where nothing stands against the host; None where there is none."""
    proof: Any = look.get("evidence") if is_answer(look) and look["ok"] else None
    return proof if is_answer(proof) and proof["ok"] else None


def without_evidence(hostvars: HostVars, host: str, name: str, port: int | None = None, check_mode: bool = False) -> str | None:
    """Why variable `name` of `host` is no evidence; None when it is.

    Evidence is true, or a result with C(ok) true and, where `port` is given, of that port.  What was only predicted counts in
    `check_mode`.
    """
    return answer_of(hostvars, host, name, port, check_mode)[0]


def answer_of(hostvars: HostVars, host: str, name: str, port: int | None = None,
              check_mode: bool = False) -> tuple[str | None, Any]:
    """The same, and the value of the variable, by one look at the host's variables."""
    if host not in hostvars:
        return "not in the inventory", None
    known = HostVariables(hostvars, host)
    if name not in known:
        return "no answer: unreachable, or failed before it could prove anything", None
    value = known.get(name)
    return _reason_against(value, name, port, check_mode), value


def _reason_against(value: object, name: str, port: int | None, check_mode: bool) -> str | None:
    if not isinstance(value, Mapping):
        # A value that reads like a yes (1, "ok") needs more words than one that can't be taken for it.
        told = ", and evidence is true or a result whose ok is true" if value else ""
        return None if value is True else "%s is %r%s" % (name, value, told)
    silent = [key for key in NO_ANSWER if _says(value.get(key))]
    if value.get("ok") is not True or silent:
        if _sentences(value):
            return "; ".join(_sentences(value))
        if "unreachable" in silent:
            return "unreachable: %s" % value["msg"] if value.get("msg") else "unreachable"
        if silent:
            return str(value.get("msg") or "%s, without a reason" % silent[0])
        if value and "ok" not in value:
            return "%s has no ok, so that it says nothing; evidence is true or a result whose ok is true" % name
        return "%s says that it is not ok" % name
    if port is not None and not _is_port(value.get("port"), port):
        return "%s is about %s, and the gate is for port %d" % (
            name, "no port" if value.get("port") is None else "port %s" % value["port"], port)
    if _says(value.get("predicted")) and not check_mode:
        return "%s was only predicted, as in check mode" % name
    return None
