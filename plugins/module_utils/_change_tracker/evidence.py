# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What proves that an agent of Change Tracker works with its hub's port."""

from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.host import AGENT_SPEC, AgentHost
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_url import FAILURES, ChangeTrackerError
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import known_change
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import (
    EVIDENCE_SPEC, PROOF_SPEC, Evidence, Hopeless, ProductProof, given)
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import FailureLog
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.module_utils._network.peer_connections import (
    connections_of, shown, wait_for_connection, who)
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST

# A log knows whole seconds: a failure of the second in which the agent was started may be its own.
OF_A_LOG = 1
# Seconds for the hub's answer on the new port before an agent is stopped that needs it, and how long it is waited for.
PROBE_TIMEOUT, PATIENCE_BEFORE = 5, 10
# Seconds in which the log of an agent that has proved itself before may not speak against it.
QUIET = 30

# Options of the proof on a host of which all else is known.
_PROOF = dict(
    failure_patterns=dict(type="list", elements="str", default=FAILURES), log_max_age=dict(type="float", default=86400))
# Options of the module beside those of all evidence.
AGENT_EVIDENCE_SPEC = dict(
    AGENT_SPEC, port=dict(type="int", required=True), old_port=dict(type="int"), **dict(_PROOF, **EVIDENCE_SPEC))
# The proof within a look at the agent.
AGENT_PROOF_SPEC = dict(type="dict", options=dict(_PROOF, **PROOF_SPEC))


def asked_within(params, proof, port):
    """What AgentEvidence takes, of a module that is about the agent and has options of a proof."""
    return dict(params, port=port, old_port=None, mark=True, **dict(
        given(proof), failure_patterns=proof["failure_patterns"] or FAILURES))


class AgentEvidence(Evidence):
    """The pieces of evidence that this host owes."""

    def __init__(self, params, host=THIS_HOST):
        self.failures = FailureLog(params["failure_patterns"])
        port, self.host = parse_port(params["port"]), AgentHost(params, host)
        super().__init__(params, port, self.host.record, host)
        if params["old_port"] is not None:
            self.old_port = params["old_port"]
        self.addresses = set()

    def can_die(self):
        return self.host.agent

    def look(self):
        """Reads the host anew."""
        super().look()
        self.host = AgentHost(self.params, self.managed)

    def seen(self):
        return self._running()

    def settled(self):
        service = self.host.service
        return self.managed.settled({service.name: [(service.pid, service.running_since)]}) if service and service.pid else 0

    def settle(self):
        super().settle()
        self.failures.settle("within %g s after the agent was connected" % self.settle_seconds)

    def also(self, proved):
        return dict(agent=self.host.agent)

    def _running(self):
        """Its main process, and since when systemd has it running."""
        service = self.host.service
        return (service.pid, service.running_since) if service else None

    def asked(self):
        found = [("under_way", self.under_way, False), ("hub_url", self.hub_url, False)]
        if self.host.agent or self.params["required"]:
            found += [("service", self.service, False), ("connection", self.connection, True)]
            if self.old_port not in (None, self.port):
                found.append(("old_port", self.left_old_port, False))
            found.append(("log", self.log, False))
        return found

    def change_under_way(self):
        return self.host.under_way

    def check_again(self):
        """Hours may have passed since the plan, such as before a maintenance window."""
        if self.host.problems:
            raise ChangeTrackerError("; ".join(self.host.problems))
        way = self.host.way
        if not self.host.agent or self.host.proxy():
            return
        asked = dict(path=way.path, tls=way.tls, thumbprint=way.tls and way.thumbprint, any_status=True)
        found = self.managed.probe(
            [dict(host=way.host, port=self.port, protocol="tcp", http=asked)], PROBE_TIMEOUT, PATIENCE_BEFORE)[0]
        if not found["reachable"]:
            raise ChangeTrackerError("its hub can't be used on port %d: %s" % (self.port, found["error"]))

    def hub_url(self, unused):
        host = self.host
        if host.problems:
            return False, host.problems
        if not host.agent:
            return True, host.notes
        if host.details.port != self.port:
            return False, ["%s leads to %s, not to port %d" % (host.path, host.shown_url, self.port)]
        return True, ["%s leads to %s" % (host.path, host.shown_url)]

    def _installed(self):
        """Fails where the agent can't be told; the sentence that says why stands with its file."""
        if not self.host.way or not self.host.service:
            raise ChangeTrackerError("nothing is known of the agent on this host")

    def service(self, unused):
        self._installed()
        service, was, now = self.host.service, self.well, self._running()
        if not service.active:
            if self.well:
                raise Hopeless("the service %s has ended within %g s after it was connected" % (
                    service.name, self.settle_seconds))
            return False, ["the service %s does not run" % service.name]
        if self.well and was != now:
            raise Hopeless("the service %s was started anew within %g s after it was connected (its main process is %s, and was "
                           "%s); it may do so again and again" % (
                               service.name, self.settle_seconds, now[0] or "gone", was[0] or "none"))
        steady = (", by the same process (%d) for %g s" % (service.pid, self.settle_seconds)
                  if self.well and service.pid else "")
        return True, ["the service %s runs%s" % (service.name, steady)]

    def peer(self):
        """(host, port, words for it) of what the agent connects to."""
        proxy = self.host.proxy()
        if proxy is None:
            return self.host.way.host, self.port, shown(self.host.way.host, self.port)
        if not proxy[0]:
            raise ChangeTrackerError("%s: its <Proxy> can't be read, so there is no telling whether the agent is connected"
                                     % self.host.path)
        return proxy + ("its HTTP proxy, beyond which nothing can be seen from here",)

    def _addresses(self, name):
        """Those that the name has had since the first look: it may have others each time."""
        self.addresses |= self.managed.addresses_of(name)
        if not self.addresses:
            # What stands where a proxy is named may be more than a name.
            raise ChangeTrackerError("the name %s does not resolve here" % ("of its HTTP proxy" if self.host.proxy() else name))
        return self.addresses

    def connection(self, seconds_left):
        self._installed()
        name, port, what = self.peer()
        addresses, service = self._addresses(name), self.host.service
        found = wait_for_connection(self.managed, service.owns, addresses, port, seconds_left)
        if found is None:
            raise ChangeTrackerError("this host does not tell its connections")
        ours = [entry for entry in found[0] if entry["established"]]
        if ours:
            return True, ["%s is connected to %s" % (who(ours[0]), what)]
        if found[0]:
            return False, ["%s tries to connect to %s, and gets no answer" % (who(found[0][0]), what)]
        others = ["; %s has one, which is no process of that service" % who(entry) for entry in found[1][:1]]
        return False, ["the service %s has no connection to %s%s" % (service.name, what, "".join(others))]

    def left_old_port(self, unused):
        self._installed()
        if self.host.proxy():
            return True, []
        name = self.host.way.host
        left = (connections_of(self.managed, self.host.service.owns, self._addresses(name), self.old_port) or ([],))[0]
        if left:
            return False, ["%s still has a connection to %s, the old port" % (who(left[0]), shown(name, self.old_port))]
        return True, ["nothing is connected to the old port %d any more" % self.old_port]

    def log(self, unused):
        self._installed()
        return self.failures.judge(self.managed, self.host.log_path, *self._since(self.host.service.started()))

    def _since(self, started):
        """(the moment from which on a line counts, words for it): the latest of those that are known."""
        now, age = self.managed.now(), self.params["log_max_age"]
        # Without a change, or long after it, an old line says nothing about today.
        moments = [(now - age, "in the last %g s" % age), (known_change(self.content, now), "since the change")]
        if self.proved_before:
            moments.append((now - QUIET, "in the last %d s" % QUIET))
        if started is not None:
            # What an agent wrote before it was started anew says nothing of the one that runs.
            moments.append((started - OF_A_LOG, "since the agent was started"))
        return max(moments)


PROOF = ProductProof(
    "change_tracker_proof",
    dict({name: AGENT_SPEC[name] for name in AGENT_SPEC if name != "record"}, **AGENT_PROOF_SPEC["options"]),
    lambda options, port, record: AgentEvidence(asked_within(dict(record=record), options, port)))
