#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: change_tracker_evidence
short_description: Waits until a Netwrix Change Tracker agent has proved that it works with its hub's port
version_added: 0.2.0
description:
  - Looks for positive evidence, again and again until all of it is there or O(timeout) is over.
  - No change of M(portshift.agents.confirmed_change) is under way on the host, since it may yet be undone.
  - The URL in the agent's file leads to O(port), the service runs, it has a connection to the hub on that port and none on the
    old one, and its log holds no new line that says that the hub was lost.
  - Nobody publishes a line of the log that says that all is well, so it is the connection that proves it.
  - All of this is there twice, with O(settle) seconds in between in which the service was not started anew, so that an agent that
    dies again and again proves nothing.
options:
  port:
    description: The port of the hub that the agent has to work with.
    type: int
    required: true
  old_port:
    description:
      - The port of the hub to which the agent may have no connection any more.
      - The default is the one that O(record) names as old or, on the way back, the one that it names as new. Without either,
        nothing is asked about it.
    type: int
  failure_patterns:
    description:
      - Regular expressions for lines of O(log_path) that speak against the agent. Upper and lower case are the same.
      - A line counts when it is newer than the last change that O(record) names, and, with systemd, than the start of the
        agent. For an agent that has proved itself on O(port) before, as O(record) has it, only lines of the last 30 seconds
        count, since it may have lost its hub and found it again meanwhile.
      - Its date, or else that of the line before it, is read as V(2026-11-22 20:18:05), V(Nov 22 20:18:05) or
        V(Nov 22 20:18:05 2026). One without a date, or with one that is later than now, counts when it comes up within O(settle).
        A log that does not exist holds no failure.
      - The last 4 MiB are read, and of a line the first 4096 bytes.
    type: list
    elements: str
    default:
      - Hub Offline, connection retries exhausted
      - Hub connection failed
      - Certificate thumbprint does not match trusted
  log_max_age:
    description: Seconds for which a line of O(log_path) counts where no later change and no later start is known.
    type: float
    default: 86400
  timeout:
    description:
      - Seconds to wait for the evidence. With O(settle) it may take up to twice that many seconds longer.
    type: float
    default: 60
  settle:
    description:
      - Seconds after which all of the evidence has to be there once more - the same main process of the service where systemd
        tells it, a connection that is seen anew, and no new failure in the log.
      - At most 2 for an agent that has proved itself on O(port) before, as O(record) has it. V(0) for one look alone.
    type: float
    default: 5
  mark:
    description: Note in O(record), once, that the agent has proved itself. Nothing else is ever written.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.change_tracker_agent
  - portshift.agents.attributes
  - portshift.agents.attributes.proof
notes:
  - With systemd only connections of the service itself count. Elsewhere a connection of any process of the host to the hub does.
  - For an agent behind an HTTP proxy, its connection to the proxy is what can be seen.
seealso:
  - module: portshift.agents.change_tracker_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: The agent works with the hub's new port
  portshift.agents.change_tracker_evidence:
    port: 8443

- name: The agent on the hub's own host does, if there is one
  portshift.agents.change_tracker_evidence:
    port: 8443
    required: false
"""

RETURN = r"""
ok:
  description: Whether all evidence is there.
  returned: always
  type: bool
port:
  description: The port that was proved.
  returned: always
  type: int
agent:
  description: Whether an agent is installed here.
  returned: always
  type: bool
proved:
  description: One sentence for each piece of evidence found.
  returned: always
  type: list
  elements: str
  sample: ["/var/nnt/gen7agent.app.netcore/HubDetails.xml leads to https://hub.example.com:8443/api/",
           "nnt-agent (pid 1234) is connected to hub.example.com:8443"]
missing:
  description: One sentence for each piece of evidence that was not found, by the name of the check.
  returned: always
  type: dict
waited:
  description: Seconds until the evidence was complete.
  returned: always
  type: float
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import known_change
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.hub_url import FAILURES, ChangeTrackerError
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.host import AGENT_SPEC, AgentHost
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import compile_patterns, failures_since, read_log
from ansible_collections.portshift.agents.plugins.module_utils._network.peer_connections import (
    addresses_of, connections_of, shown, wait_for_connection, who)
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.module_utils._core.questions import Hopeless, gather, told

# A log knows whole seconds: a failure of the second in which the agent was started may be its own.
OF_A_LOG = 1
# Seconds that are enough to settle for an agent that has proved itself before, and in which its log may not speak against it.
SETTLED_BEFORE = 2
QUIET = 30
# Lines of a log that a sentence quotes.
QUOTED = 3


class Questions:
    """The pieces of evidence that this host owes.  Each answers (good, sentences)."""

    def __init__(self, params):
        self.params, self.port = params, parse_port(params["port"])
        self.failures = compile_patterns(params["failure_patterns"])
        self.addresses = set()
        self.look()
        # What counts is the record as it was before the proof: mark_verified() refuses when somebody changes it meanwhile.
        self.record = self.host.record
        content = self.record.content if self.record else None
        self.old_port = params["old_port"] if params["old_port"] is not None else self.host.left_port(self.port)
        self.changed = known_change(content)
        # What an agent that is known to work has lost and found again since does not speak against it.
        self.proved_before = bool(content) and content["state"] == "verified" and content["new_port"] == self.port
        self.settle_seconds = 0 if not self.host.agent else (
            min(params["settle"], SETTLED_BEFORE) if self.proved_before else params["settle"])
        # (its main process and since when systemd has it running, failures that can't be dated): once it was well.
        self.well, self.undated = None, 0

    def look(self):
        """Reads the host anew, once for all questions of a round."""
        self.host = AgentHost(self.params)

    def settle(self):
        """From here on nothing may happen to the agent."""
        self.well = self._running(), self.undated

    def _running(self):
        service = self.host.service
        return (service.pid, service.running_since) if service else None

    def asked(self):
        """(name, function, whether an answer lasts): what can be undone by an agent that dies is asked to the end."""
        found = [("under_way", self.under_way, False), ("hub_url", self.hub_url, False)]
        if self.host.agent or self.params["required"]:
            found += [("service", self.service, False), ("connection", self.connection, True)]
            if self.old_port not in (None, self.port):
                found.append(("old_port", self.left_old_port, False))
            found.append(("log", self.log, False))
        return found

    def under_way(self, unused):
        """What was not confirmed is going to be undone, so it proves nothing."""
        return (False, [self.host.under_way]) if self.host.under_way else (True, [])

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
        service, was, now = self.host.service, self.well and self.well[0], self._running()
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

    def _peer(self):
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
        self.addresses |= addresses_of(name)
        if not self.addresses:
            # What stands where a proxy is named may be more than a name.
            raise ChangeTrackerError("the name %s does not resolve here" % ("of its HTTP proxy" if self.host.proxy() else name))
        return self.addresses

    def connection(self, seconds_left):
        self._installed()
        name, port, what = self._peer()
        addresses, service = self._addresses(name), self.host.service
        found = wait_for_connection(service.owns, addresses, port, seconds_left)
        if found is None:
            raise ChangeTrackerError("this host does not tell its connections (no /proc/net/tcp)")
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
        left = (connections_of(self.host.service.owns, self._addresses(name), self.old_port) or ([],))[0]
        if left:
            return False, ["%s still has a connection to %s, the old port" % (who(left[0]), shown(name, self.old_port))]
        return True, ["nothing is connected to the old port %d any more" % self.old_port]

    def log(self, unused):
        self._installed()
        path = self.host.log_path
        content = read_log(path)
        if content is None:
            return True, ["%s does not exist, so that it holds no failure" % path]
        since, words = self._since(self.host.service.started())
        found, undated = failures_since(path, content, since, self.failures, time.time())
        if found:
            return False, ["%s, %s: %s" % (path, words, " / ".join(found[-QUOTED:]))]
        if self.well and undated > self.well[1]:
            return False, ["%s: within %g s after the agent was connected, %d failures were added that can't be dated" % (
                path, self.settle_seconds, undated - self.well[1])]
        self.undated = undated
        return True, ["%s: no failure %s%s" % (path, words, " (%d that can't be dated)" % undated if undated else "")]

    def _since(self, started):
        """(the moment from which on a line counts, words for it): the latest of those that are known."""
        now, age = time.time(), self.params["log_max_age"]
        # Without a change, or long after it, an old line says nothing about today.
        moments = [(now - age, "in the last %g s" % age), (self.changed, "since the change")]
        if self.proved_before:
            moments.append((now - QUIET, "in the last %d s" % QUIET))
        if started is not None:
            # What an agent wrote before it was started anew says nothing of the one that runs.
            moments.append((started - OF_A_LOG, "since the agent was started"))
        return max(moments)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            AGENT_SPEC, port=dict(type="int", required=True), old_port=dict(type="int"),
            failure_patterns=dict(type="list", elements="str", default=FAILURES), log_max_age=dict(type="float", default=86400),
            timeout=dict(type="float", default=60), settle=dict(type="float", default=5), mark=dict(type="bool", default=False)),
        supports_check_mode=True)
    params = module.params
    try:
        questions = Questions(params)
        proved, missing, waited = gather(questions, params["timeout"], questions.settle_seconds)
        result = dict(ok=not missing, port=questions.port, agent=questions.host.agent, proved=told(proved), missing=missing,
                      waited=waited)
        if missing:
            module.fail_json(msg="no proof on port %d after %g s: %s" % (
                questions.port, waited, "; ".join(missing[name] for name in sorted(missing))), **result)
        record = questions.record
        content = record.content if record else None
        marked = bool(params["mark"] and content and content["state"] == "changing" and content["new_port"] == questions.port)
        if marked and not module.check_mode:
            record.mark_verified()
        module.exit_json(changed=marked, **result)
    except EngineError as err:
        module.fail_json(msg=str(err), ok=False, port=params["port"], agent=False, proved=[], missing={}, waited=0.0)


if __name__ == "__main__":
    main()
