# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What proves that a BoKS host works on its base port."""

from ansible_collections.portshift.agents.plugins.module_utils._boks import domain
from ansible_collections.portshift.agents.plugins.module_utils._boks.host import (
    BOKS_HOST_SPEC, BoksHost, foreign, run_bounded, who)
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import known_change
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import (
    EVIDENCE_SPEC, PROOF_SPEC, Evidence, Hopeless, ProductProof, given)
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import QUOTED, FailureLog, compile_patterns
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST

PROBE_TIMEOUT = 5
# The product's command asks its daemons, and a daemon that hangs must not hang this one.
STATUS_TIMEOUT = 30
# Seconds for which a server that was just moved is waited for before a host is stopped that needs it.
PATIENCE_BEFORE = 10


# Lines that show a daemon that could not take its port.
FAILURES = ["address already in use", "(cannot|can't|could not|failed to|unable to) bind", r"bind(\(\))?( has)? failed"]

# Options of the proof on a host of which all else is known.
_PROOF = dict(
    listening=dict(type="bool", default=True), status_command=dict(type="list", elements="str", default=[]),
    down_patterns=dict(type="list", elements="str", default=["Down", "Loading"]), errlog_path=dict(type="path"),
    failure_patterns=dict(type="list", elements="str", default=FAILURES), log_max_age=dict(type="float", default=86400),
    reach=dict(type="list", elements="dict", default=[], options=dict(
        host=dict(type="str", required=True), offsets=dict(type="list", elements="int", default=[1]))),
    reach_any=dict(type="bool", default=True))
# Options of the module beside those of all evidence.
BOKS_EVIDENCE_SPEC = dict(
    BOKS_HOST_SPEC, base_port=dict(type="int", required=True), old_base=dict(type="int"), **dict(_PROOF, **EVIDENCE_SPEC))
# The proof within a look at the host.
BOKS_PROOF_SPEC = dict(type="dict", options=dict(_PROOF, **PROOF_SPEC))


def asked_within(params, proof, port):
    """What BoksEvidence takes, of a module that is about the host and has options of a proof."""
    return dict(params, base_port=port, old_base=None, mark=True, **dict(
        given(proof), failure_patterns=proof["failure_patterns"] or FAILURES))


class BoksEvidence(Evidence):
    """The pieces of evidence that this host owes."""

    port_words = "base port"

    def __init__(self, params, host=THIS_HOST):
        self.down = compile_patterns(params["down_patterns"])
        self.failures = FailureLog(params["failure_patterns"])
        for target in params["reach"]:
            for offset in target["offsets"]:
                if offset not in range(domain.SPAN):
                    raise domain.BoksError("reach: the offset is %d; give 0 to %d, the distance from the base port"
                                           % (offset, domain.SPAN - 1))
        base, self.host = domain.parse_base(params["base_port"]), BoksHost(params, host)
        super().__init__(params, base, self.host.record, host)
        if params["old_base"] is not None:
            self.old_port = params["old_base"]
        self.daemons = {}

    def can_die(self):
        return bool(self.params["listening"] or self.params["status_command"] or self.params["errlog_path"])

    def look(self):
        """Reads the host anew."""
        super().look()
        self.host = BoksHost(self.params, self.managed)

    def seen(self):
        return self.daemons

    def settle(self):
        super().settle()
        self.failures.settle("within %g s after it was well" % self.settle_seconds)

    def also(self, proved):
        return dict(base=self.port, addresses=sorted(map(str, self.managed.own_addresses() or ())))

    def asked(self):
        found = [("under_way", self.under_way, False), ("services", self.services, False)]
        if self.params["listening"]:
            found.append(("listening", self.listening, False))
            if self.old_port not in (None, self.port):
                found.append(("old_ports", self.old_ports, False))
        if self.params["status_command"]:
            found.append(("status", self.status, True))
        if self.params["errlog_path"]:
            found.append(("errlog", self.errlog, False))
        if self.params["reach"]:
            found.append(("reach", self.reach, True))
        return found

    def change_under_way(self):
        return self.host.under_way

    def check_again(self):
        """Hours may have passed since the plan, such as before a maintenance window."""
        host = self.host
        problems = list(host.problems)
        if host.base != self.port:
            problems += foreign(host, self.port, host.old_base(self.port))[0]
        if self.params["reach"]:
            there, sentences = self.reach(0, PATIENCE_BEFORE)
            problems += [] if there else sentences
        if problems:
            raise domain.BoksError("; ".join(problems))

    def services(self, unused):
        host = self.host
        problems = list(host.problems) + [sentence for sentence in [host.claimed_by_alias(), host.answered_by] if sentence]
        if problems:
            return False, ["; ".join(problems)]
        if host.base != self.port:
            return False, ["%s leads to base port %s, not %d (boks/tcp is %s there, %s %d)" % (
                self.params["services_path"], host.base, self.port, host.services_port, domain.BRIDGE_DOMAIN, host.domain)]
        left = {protocol: port for protocol, port in host.services_entry.items() if port != host.services_port}
        if left:
            return False, ["%s: boks/tcp is %s, but %s" % (self.params["services_path"], host.services_port, ", ".join(
                "boks/%s is %d" % pair for pair in sorted(left.items())))]
        return True, ["boks is %s in %s%s%s" % (
            host.services_port or "not named and so %d" % domain.DEFAULT_BASE, self.params["services_path"],
            ", shifted by %d" % (domain.DOMAIN_STEP * host.domain) if host.domain else "",
            ", and so says the host's own lookup" if host.is_asked_by_lookups() else "")]

    def _role(self):
        if self.host.role is None:
            raise domain.BoksError("what this host is in the BoKS domain can't be told from %s; say role: master, replica or "
                                   "agent" % self.params["env_path"])
        return self.host.role

    def listening(self, unused):
        needed = domain.own_ports(self.port, self._role())
        found = self.host.listeners((port for port, protocol in needed), every_owner=True)
        if found is None:
            return self._answering([port for port, protocol in needed if protocol == "tcp"])
        by_port = {(entry["port"], entry["protocol"]): entry for entry in found}
        silent = ["%d/%s" % pair for pair in needed if pair not in by_port]
        if silent and self.well:
            raise Hopeless("what listened on %s ended within %g s after it was well; it may do so again and again" % (
                ", ".join(silent), self.settle_seconds))
        if silent:
            return False, ["no process listens on %s, where BoKS has to on base port %d" % (", ".join(silent), self.port)]
        begun = self.managed.start_time
        self.daemons = {pair: {(pid, begun(pid)) for entry in found if (entry["port"], entry["protocol"]) == pair
                               for pid in entry["owners"]} for pair in needed}
        self._require_the_same()
        return True, ["%s listens on %d/%s" % ((who(by_port[pair]),) + pair) for pair in needed]

    def _require_the_same(self):
        """A daemon hands its socket on to what it starts; where none is left of those that had it, it was started anew."""
        for pair, before in sorted((self.well or {}).items()):
            now = self.daemons.get(pair)
            if before and now and not before & now:
                raise Hopeless("the daemon on %d/%s was started anew within %g s after it was well (its process %d is gone); it "
                               "may do so again and again" % (pair + (self.settle_seconds, min(before)[0])))

    def _answering(self, wanted):
        """Where a host can't tell who listens, a connection tells that a daemon does."""
        address = self.params["bind_address"] or "127.0.0.1"
        results = self.managed.probe([dict(host=address, port=port, protocol="tcp") for port in wanted], PROBE_TIMEOUT)
        silent = [result["error"] for result in results if not result["reachable"]]
        return (False, ["; ".join(silent)]) if silent else (True, ["%s answers on port %s" % (
            address, ", ".join(map(str, wanted)))])

    def old_ports(self, unused):
        needed = domain.own_ports(self.port, None)
        old = [pair for pair in domain.own_ports(self.old_port, self._role()) if pair not in needed]
        found = self.host.listeners(port for port, protocol in old)
        if found is None:
            return True, ["this host can't tell who listens on the old base port %d" % self.old_port]
        left = ["%s still listens on %d/%s" % (who(entry), entry["port"], entry["protocol"]) for entry in found
                if (entry["port"], entry["protocol"]) in old]
        if left:
            return False, ["%s, which belongs to the old base port %d" % (", ".join(left), self.old_port)]
        return True, ["no process listens on the old base port %d any more" % self.old_port]

    def status(self, seconds_left):
        command = self.params["status_command"]
        shown = " ".join(command)
        seconds = min(STATUS_TIMEOUT, max(seconds_left, PROBE_TIMEOUT))
        code, output = run_bounded(self.managed, command, seconds)
        if code is None:
            return False, ["%s did not end within %g s" % (shown, seconds)]
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        if code:
            return False, ["%s ended with exit status %d: %s" % (shown, code, " / ".join(lines[-QUOTED:]) or "no output")]
        bad = domain.not_well(output, self.down)
        if bad:
            return False, ["%s: %s" % (shown, " / ".join(bad[:QUOTED]))]
        return True, ["%s: %d lines, none of them down" % (shown, len(lines))]

    def errlog(self, unused):
        now, age = self.managed.now(), self.params["log_max_age"]
        # Without a change, or long after it, an old line says nothing about today.
        since, words = max([(now - age, "in the last %g s" % age), (known_change(self.content, now), "since the change")])
        return self.failures.judge(self.managed, self.params["errlog_path"], since, words)

    def reach(self, unused, wait=0):
        targets = [(target["host"], self.port + offset) for target in self.params["reach"] for offset in target["offsets"]]
        results = self.managed.probe(
            [dict(host=host, port=port, protocol="tcp") for host, port in targets], PROBE_TIMEOUT, wait)
        errors = [result["error"] for result in results if not result["reachable"]]
        lacking = {result["host"] for result in results if not result["reachable"]}
        reached = [target["host"] for target in self.params["reach"] if target["host"] not in lacking]
        if errors and not (self.params["reach_any"] and reached):
            return False, ["; ".join(errors)]
        return True, ["%s answers on port %s" % (
            target["host"], ", ".join(str(self.port + offset) for offset in target["offsets"]))
            for target in self.params["reach"] if target["host"] in reached]


PROOF = ProductProof(
    "boks_proof",
    dict({name: BOKS_HOST_SPEC[name] for name in BOKS_HOST_SPEC if name != "record"}, **BOKS_PROOF_SPEC["options"]),
    lambda options, port, record: BoksEvidence(asked_within(dict(record=record), options, port)))
