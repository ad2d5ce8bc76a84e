#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: boks_evidence
short_description: Waits until a BoKS host has proved that it works on its base port
version_added: 0.2.0
description:
  - Looks for positive evidence, again and again until all of it is there or O(timeout) is over.
  - No change of M(portshift.agents.confirmed_change) is under way on the host, since it may yet be undone.
  - The services database and the host's own lookup lead to O(base_port). The daemons of the host's role listen on the ports that
    follow from it, and no longer on the old ones. The daemons are well by their own account, the log of errors holds nothing new,
    and the Master or a Replica is reached.
options:
  base_port:
    description: The base port that the host has to work on, as its daemons use it.
    type: int
    required: true
  old_base:
    description:
      - The base port on which no daemon may listen any more.
      - The default is the one that O(record) names as old. Without either, nothing is asked about it.
    type: int
  listening:
    description: Whether the daemons have to listen on O(base_port), and no longer on O(old_base).
    type: bool
    default: true
  status_command:
    description:
      - A command with which the product tells the state of its daemons, such as
        V([/opt/boksm/sbin/boksadm, -S, boksdiag, list]). It has to end with exit status 0. Without it nothing is asked.
      - It is run in check mode too, so it has to be one that only looks.
    type: list
    elements: str
    default: []
  down_patterns:
    description:
      - Regular expressions for what the last column of a line of O(status_command) is, as a whole, while a daemon is not well.
        Upper and lower case are the same.
    type: list
    elements: str
    default: [Down, Loading]
  errlog_path:
    description:
      - The log of errors, such as C(/var/opt/boksm/boks_errlog). Without it no log is asked.
      - A log that does not exist holds no error.
    type: path
  failure_patterns:
    description:
      - Regular expressions for lines of O(errlog_path) that show a daemon that could not take its port. Upper and lower case are
        the same.
      - A line counts when it is newer than the last change that O(record) names. Its date, or else that of the line before
        it, is read as V(2026-11-22 20:18:05), V(Nov 22 20:18:05) or V(Nov 22 20:18:05 2026). One without a date, or with one that
        is later than now, does not count and is told.
      - The last 4 MiB are read, and of a line the first 4096 bytes.
    type: list
    elements: str
    default:
      - address already in use
      - (cannot|can't|could not|failed to|unable to) bind
      - bind(\(\))?( has)? failed
  log_max_age:
    description: Seconds for which a line of O(errlog_path) counts where O(record) names no later change.
    type: float
    default: 86400
  reach:
    description: What this host has to reach by TCP, such as the Master and the Replicas.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Name or address.
        type: str
        required: true
      offsets:
        description: The distances of the ports from O(base_port). All of them have to answer.
        type: list
        elements: int
        default: [1]
  reach_any:
    description: Whether one of O(reach) is enough, as it is for a Server Agent.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for the evidence.
    type: float
    default: 60
  mark:
    description: Note in O(record), once, that the host has proved itself. Nothing else is ever written.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.boks_host
  - portshift.agents.attributes
  - portshift.agents.attributes.proof
seealso:
  - module: portshift.agents.boks_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: The Server Agent works on the new base port
  portshift.agents.boks_evidence:
    base_port: 6530
    role: agent
    status_command: [/opt/boksm/sbin/boksadm, -S, boksdiag, list]
    errlog_path: /var/opt/boksm/boks_errlog
    reach:
      - host: master.example.test
      - host: replica1.example.test

- name: The Replica reaches the Master on both ports
  portshift.agents.boks_evidence:
    base_port: 6530
    role: replica
    reach:
      - host: master.example.test
        offsets: [0, 1]
"""

RETURN = r"""
ok:
  description: Whether all evidence is there.
  returned: always
  type: bool
base:
  description: The base port that was proved.
  returned: always
  type: int
port:
  description: The same, by the name that M(portshift.agents.phase_gate) asks for.
  returned: always
  type: int
  version_added: 0.2.0
proved:
  description: One sentence for each piece of evidence found.
  returned: always
  type: list
  elements: str
  sample: ["boks is 6530 in /etc/services, and so says the host's own lookup", "boks_clntd (pid 1234) listens on 6533/tcp"]
missing:
  description: One sentence for each piece of evidence that was not found, by the name of the check.
  returned: always
  type: dict
moved_at:
  description:
    - When the migration to this port last wrote a file of the host, before it started the services, in seconds since 1970
      by the host's clock; null where no record says that it did.
  returned: unless the record can't be read
  type: float
  version_added: 0.2.0
looked_at:
  description: The moment at which this was looked at, by the same clock.
  returned: unless the record can't be read
  type: float
  version_added: 0.2.0
addresses:
  description: The addresses of this host, from any of which its daemons may speak, but for loopback and link-local ones.
  returned: unless the record can't be read
  type: list
  elements: str
  version_added: 0.2.0
waited:
  description: Seconds until the evidence was complete.
  returned: always
  type: float
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.portshift.agents.plugins.module_utils._boks import domain as _boks
from ansible_collections.portshift.agents.plugins.module_utils._boks.host import BOKS_HOST_SPEC, BoksHost, run_bounded, who
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import known_change, moved_at
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import own_addresses
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import compile_patterns, failures_since, read_log
from ansible_collections.portshift.agents.plugins.module_utils._network.probe import probe_all
from ansible_collections.portshift.agents.plugins.module_utils._core.questions import gather, told
PROBE_TIMEOUT = 5
# The product's command asks its daemons, and a daemon that hangs must not hang this one.
STATUS_TIMEOUT = 30
# Lines of a log or a table that a sentence quotes.
QUOTED = 3


class Questions:
    """The pieces of evidence that this host owes.  Each answers (good, sentences)."""

    def __init__(self, params):
        self.params, self.base = params, _boks.parse_base(params["base_port"])
        self.down = compile_patterns(params["down_patterns"])
        self.failures = compile_patterns(params["failure_patterns"])
        for target in params["reach"]:
            for offset in target["offsets"]:
                if offset not in range(_boks.SPAN):
                    raise _boks.BoksError("reach: the offset is %d; give 0 to %d, the distance from the base port"
                                          % (offset, _boks.SPAN - 1))
        self.look()
        # What counts is the record as it was before the proof: mark_verified() refuses when somebody changes it meanwhile.
        self.record = self.host.record
        content = self.record.content if self.record else None
        self.old_base = params["old_base"] if params["old_base"] is not None else self.host.recorded_base(self.base)
        # Without a change, or long after it, an old line says nothing about today.
        self.since = max(known_change(content), time.time() - params["log_max_age"])

    def look(self):
        """Reads the host anew, once for all questions of a round."""
        self.host = BoksHost(self.params)

    def asked(self):
        """(name, function, whether an answer lasts): what can be undone by a daemon that dies is asked to the end."""
        found = [("under_way", self.under_way, False), ("services", self.services, False)]
        if self.params["listening"]:
            found.append(("listening", self.listening, False))
            if self.old_base not in (None, self.base):
                found.append(("old_ports", self.old_ports, False))
        if self.params["status_command"]:
            found.append(("status", self.status, True))
        if self.params["errlog_path"]:
            found.append(("errlog", self.errlog, False))
        if self.params["reach"]:
            found.append(("reach", self.reach, True))
        return found

    def under_way(self, unused):
        """What was not confirmed is going to be undone, so it proves nothing."""
        return (False, [self.host.under_way]) if self.host.under_way else (True, [])

    def services(self, unused):
        host = self.host
        problems = list(host.problems) + [sentence for sentence in [host.claimed_by_alias(), host.answered_by] if sentence]
        if problems:
            return False, ["; ".join(problems)]
        if host.base != self.base:
            return False, ["%s leads to base port %s, not %d (boks/tcp is %s there, %s %d)" % (
                self.params["services_path"], host.base, self.base, host.services_port, _boks.BRIDGE_DOMAIN, host.domain)]
        left = {protocol: port for protocol, port in host.services_entry.items() if port != host.services_port}
        if left:
            return False, ["%s: boks/tcp is %s, but %s" % (self.params["services_path"], host.services_port, ", ".join(
                "boks/%s is %d" % pair for pair in sorted(left.items())))]
        return True, ["boks is %s in %s%s%s" % (
            host.services_port or "not named and so %d" % _boks.DEFAULT_BASE, self.params["services_path"],
            ", shifted by %d" % (_boks.DOMAIN_STEP * host.domain) if host.domain else "",
            ", and so says the host's own lookup" if host.is_asked_by_lookups() else "")]

    def _role(self):
        if self.host.role is None:
            raise _boks.BoksError("what this host is in the BoKS domain can't be told from %s; say role: master, replica or agent"
                                  % self.params["env_path"])
        return self.host.role

    def listening(self, unused):
        needed = _boks.own_ports(self.base, self._role())
        found = self.host.listeners(port for port, protocol in needed)
        if found is None:
            return self._answering([port for port, protocol in needed if protocol == "tcp"])
        by_port = {(entry["port"], entry["protocol"]): entry for entry in found}
        silent = ["%d/%s" % pair for pair in needed if pair not in by_port]
        if silent:
            return False, ["nobody listens on %s, where BoKS has to on base port %d" % (", ".join(silent), self.base)]
        return True, ["%s listens on %d/%s" % ((who(by_port[pair]),) + pair) for pair in needed]

    def _answering(self, wanted):
        """Where a host can't tell who listens, a connection tells that somebody does."""
        address = self.params["bind_address"] or "127.0.0.1"
        results = probe_all([dict(host=address, port=port, protocol="tcp") for port in wanted], PROBE_TIMEOUT)
        silent = [result["error"] for result in results if not result["reachable"]]
        return (False, ["; ".join(silent)]) if silent else (True, ["%s answers on port %s" % (
            address, ", ".join(map(str, wanted)))])

    def old_ports(self, unused):
        needed = _boks.own_ports(self.base, None)
        old = [pair for pair in _boks.own_ports(self.old_base, self._role()) if pair not in needed]
        found = self.host.listeners(port for port, protocol in old)
        if found is None:
            return True, ["this host can't tell who listens on the old base port %d" % self.old_base]
        left = ["%s still listens on %d/%s" % (who(entry), entry["port"], entry["protocol"]) for entry in found
                if (entry["port"], entry["protocol"]) in old]
        if left:
            return False, ["%s, which belongs to the old base port %d" % (", ".join(left), self.old_base)]
        return True, ["nobody listens on the old base port %d any more" % self.old_base]

    def status(self, seconds_left):
        command = self.params["status_command"]
        shown = " ".join(command)
        seconds = min(STATUS_TIMEOUT, max(seconds_left, PROBE_TIMEOUT))
        code, output = run_bounded(command, seconds)
        if code is None:
            return False, ["%s did not end within %g s" % (shown, seconds)]
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        if code:
            return False, ["%s ended with exit status %d: %s" % (shown, code, " / ".join(lines[-QUOTED:]) or "no output")]
        bad = _boks.not_well(output, self.down)
        if bad:
            return False, ["%s: %s" % (shown, " / ".join(bad[:QUOTED]))]
        return True, ["%s: %d lines, none of them down" % (shown, len(lines))]

    def errlog(self, unused):
        path = self.params["errlog_path"]
        content = read_log(path)
        if content is None:
            return True, ["%s does not exist, so that it holds no error" % path]
        found, undated = failures_since(path, content, self.since, self.failures, time.time())
        if found:
            return False, ["%s, since the change: %s" % (path, " / ".join(found[-QUOTED:]))]
        return True, ["%s: no failure since the change%s" % (
            path, " (%d that can't be dated)" % undated if undated else "")]

    def reach(self, unused):
        targets = [(target["host"], self.base + offset) for target in self.params["reach"] for offset in target["offsets"]]
        results = probe_all([dict(host=host, port=port, protocol="tcp") for host, port in targets], PROBE_TIMEOUT)
        errors = [result["error"] for result in results if not result["reachable"]]
        lacking = {result["host"] for result in results if not result["reachable"]}
        reached = [target["host"] for target in self.params["reach"] if target["host"] not in lacking]
        if errors and not (self.params["reach_any"] and reached):
            return False, ["; ".join(errors)]
        return True, ["%s answers on port %s" % (
            target["host"], ", ".join(str(self.base + offset) for offset in target["offsets"]))
            for target in self.params["reach"] if target["host"] in reached]


def main():
    module = AnsibleModule(
        argument_spec=dict(
            BOKS_HOST_SPEC, base_port=dict(type="int", required=True), old_base=dict(type="int"),
            listening=dict(type="bool", default=True),
            status_command=dict(type="list", elements="str", default=[]),
            down_patterns=dict(type="list", elements="str", default=["Down", "Loading"]),
            errlog_path=dict(type="path"),
            failure_patterns=dict(type="list", elements="str", default=[
                "address already in use", "(cannot|can't|could not|failed to|unable to) bind", r"bind(\(\))?( has)? failed"]),
            log_max_age=dict(type="float", default=86400),
            reach=dict(type="list", elements="dict", default=[], options=dict(
                host=dict(type="str", required=True), offsets=dict(type="list", elements="int", default=[1]))),
            reach_any=dict(type="bool", default=True), timeout=dict(type="float", default=60),
            mark=dict(type="bool", default=False)),
        supports_check_mode=True)
    params = module.params
    try:
        questions = Questions(params)
        proved, missing, waited = gather(questions, params["timeout"])
        content = questions.record.content if questions.record else None
        result = dict(ok=not missing, base=questions.base, port=questions.base, proved=told(proved), missing=missing,
                      waited=waited, moved_at=moved_at(content, questions.base), looked_at=time.time(),
                      addresses=sorted(map(str, own_addresses() or ())))
        if missing:
            module.fail_json(msg="no proof on base port %d after %g s: %s" % (
                questions.base, waited, "; ".join(missing[name] for name in sorted(missing))), **result)
        record = questions.record
        marked = bool(params["mark"] and content and content["state"] == "changing" and content["new_port"] == questions.base)
        if marked and not module.check_mode:
            record.mark_verified()
        module.exit_json(changed=marked, **result)
    except EngineError as err:
        module.fail_json(msg=str(err), ok=False, base=params["base_port"], port=params["base_port"], proved=[], missing={},
                         waited=0.0)


if __name__ == "__main__":
    main()
