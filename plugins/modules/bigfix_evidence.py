#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_evidence
short_description: Waits until a BigFix host has proved that it works on its port
version_added: 0.1.0
description:
  - Looks for positive evidence, again and again until all of it is there or O(timeout) is over.
  - The files hold O(port) and nothing else. The services run, and none of their processes is one that ran before the files were
    changed. A server or relay answers on O(port) with a masthead for it. The parent answers on it. The agent reported since,
    or is connected to its parent. Web Reports and WebUI listen as before. No cutover or rollback of the host is under way.
  - The agent reported when the last word of its log and its relay chain, taken together in the order of time, is a success that
    is newer than the change of the files and than the start of the agent. A success that names another port than O(port) is
    none. The port is that of the line itself, of the heading of its time or a line between them, else that of the parent to
    which the agent turned last.
  - Nothing that is dated later than now counts, without any tolerance. Lines that a clock wrote while it was ahead prove nothing
    when that time has come either.
  - Without any word since then, an established connection of the agent's own process to O(parent) (on a server, to O(address)) on
    O(port) proves it. Connections of other processes do not, such as the question that this module asks O(parent).
  - Where the processes of a service can't be told, as with O(service_command) and no O(executables), whether it was started anew
    is not asked, no connection counts, and the log has to tell of a success since the change. For a record of a version that did
    not note the processes, the start of a process and the change are compared by the host's clock.
  - With O(services) or O(log_dir) all of this is there twice, with O(settle) seconds in between in which no service was started
    anew.
options:
  address:
    description: The address at which others reach this host. A server or relay has to answer there.
    type: str
  parent:
    description: Name or address of the relay or server that this host reports to.
    type: str
  tls:
    description: Ask for mastheads by HTTPS, as authenticating relays want it.
    type: bool
    default: false
  log_dir:
    description:
      - Folder of the agent's logs, with files named C(YYYYMMDD.log), and C(YYYYMMDD.bkg) for what was renamed when it had grown
        long. Without it neither the log nor the agent's connection is asked.
      - Of each file the last 4 MiB are read, and of a line the first 4096 bytes.
    type: path
  relay_chain_dir:
    description: Folder of the agent's relay chain files, named C(yyyymmdd.txt). An entry there, good or failed, counts as a line
        of the log does.
    type: path
  success_patterns:
    description:
      - Regular expressions for log lines that show a report getting through. V({port}) stands for O(port). Upper and lower case
        are the same.
      - A line that only says what the agent tries, such as C(Trying to connect to relay on port 55000), shows nothing.
    type: list
    elements: str
    default: []
  failure_patterns:
    description: Regular expressions for log lines that show it not getting through. V({port}) stands for O(port). Upper and lower
        case are the same.
    type: list
    elements: str
    default: []
  bind_address:
    description: Count only listeners that are bound to this address of the host, or to all.
    type: str
  files:
    description: Whether the files have to hold O(port) and nothing else.
    type: bool
    default: true
  log_max_age:
    description: Seconds for which a line of a log counts as evidence.
    type: float
    default: 86400
  allow_invalid_signature:
    description: Take mastheads whose signature is broken for good ones. For test systems only.
    type: bool
    default: false
  services:
    description: Services that have to run.
    type: list
    elements: str
    default: []
  service_command:
    description: A command that is called with SERVICE and V(status). The default is the service manager.
    type: list
    elements: str
    default: []
  executables:
    description:
      - For each of the O(services) a list of the paths of what it runs, by which its processes are found wherever they were
        started. A script counts by its own path.
      - With systemd, processes are found by the unit of the service as well.
    type: dict
    default: {}
    version_added: 0.2.0
  agent_service:
    description: Which of the O(services) is the agent. The default is the only one, or the only one with C(client) in its name.
    type: str
    version_added: 0.2.0
  neighbours:
    description: Ports of Web Reports and WebUI that have to be listened on.
    type: list
    elements: int
    default: []
  timeout:
    description: Seconds to wait for the evidence. With O(settle) it may take up to twice that many seconds longer.
    type: float
    default: 60
  settle:
    description:
      - Seconds after which all of the evidence has to be there once more, by the same processes.
      - At most 2 for a host that has proved itself on O(port) before, as O(record) has it. V(0) for one look alone.
    type: float
    default: 5
    version_added: 0.2.0
  mark:
    description: Note in O(record), once, that the host has proved itself. Nothing else is ever written.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.bigfix_host
  - portshift.agents.attributes
  - portshift.agents.attributes.proof
seealso:
  - module: portshift.agents.bigfix_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: The client reports through the new port
  portshift.agents.bigfix_evidence:
    component: client
    port: 55000
    parent: relay1.example.test
    masthead_paths: [/etc/opt/BESClient/actionsite.afxm]
    settings_paths: [/var/opt/BESClient/besclient.config]
    log_dir: /var/opt/BESClient/__BESData/__Global/Logs
    success_patterns: [Report posted successfully]
    services: [besclient]
    executables:
      besclient: [/opt/BESClient/bin/BESClient]
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
old_port:
  description: The port that the host has left, as the record or O(previous_port) has it; null where neither does.
  returned: always
  type: int
evidence:
  description:
    - What was found for each piece of evidence. The names are V(files), V(services), V(restarted), V(listening), V(parent),
      V(old_port), V(neighbours), V(log) and, in RV(missing) alone, V(under_way); those that the host owes are there.
    - V(log) is the line that was found, or the connection.
  returned: always
  type: dict
  sample: {"files": "3 files hold port 55000", "parent": "parent 127.0.0.1 answers on port 55000",
           "restarted": "since the files were changed were started: besclient (process 4711)",
           "log": "Report posted successfully"}
proved:
  description: The same sentences as a list.
  returned: always
  type: list
  elements: str
missing:
  description: One sentence for each piece of evidence that was not found, by the same names.
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
  description: The addresses of this host, from any of which its agent may speak, but for loopback and link-local ones.
  returned: unless the record can't be read
  type: list
  elements: str
  version_added: 0.2.0
waited:
  description: Seconds until the evidence was complete.
  returned: always
  type: float
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.agent_log import (
    CHAIN_ENDINGS, LOG_ENDINGS, Story, day_files)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.host import HOST_SPEC, BigFixHost
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord, moved_at, other_change
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import listeners, own_addresses
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import compile_patterns, quoted
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead_page import masthead_answer
from ansible_collections.portshift.agents.plugins.module_utils._network.peer_connections import (
    addresses_of, connections_of, shown, wait_for_connection, who)
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.module_utils._core.questions import Hopeless, gather, told
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import moment_of, still_running
from ansible_collections.portshift.agents.plugins.module_utils._core.services import Services

PROBE_TIMEOUT = 5
# Seconds that are enough to settle for a host that has proved itself before.
SETTLED_BEFORE = 2
# By how much a process may seem to have begun before it did.
OF_A_START = 0.1


class Questions:
    """The pieces of evidence that this host owes.  Each answers (good, sentences)."""

    def __init__(self, params, services):
        self.params, self.port, self.services = params, parse_port(params["port"]), services
        self.success = compile_patterns(params["success_patterns"], self.port)
        self.failure = compile_patterns(params["failure_patterns"], self.port)
        # What counts is the record as it was before the proof: mark_verified() refuses when somebody changes it meanwhile.
        self.record = ChangeRecord(params["record"]) if params["record"] else None
        self.content = (self.record and self.record.content) or {}
        self.changed = self.content.get("last_change", 0)
        self.old_port = self._left_port()
        self.agent = params["agent_service"] or _agent_of(params["services"])
        # A relay in a DMZ is not asked about its parent, which calls it.
        self.peer = params["parent"] or (params["address"] if params["component"] == "server" else None)
        self.addresses, self.processes, self.trouble = set(), {}, None
        is_verified = self.content.get("state") == "verified" and self.content["new_port"] == self.port
        self.settle_seconds = 0 if not (params["services"] or params["log_dir"]) else (
            min(params["settle"], SETTLED_BEFORE) if is_verified else params["settle"])
        # The processes of the services when all was well once.
        self.well = None

    def _left_port(self):
        """The port that a migration to this one, or the way back to it, has left, or None."""
        content = self.content
        if content and content["state"] == "rolled_back":
            return content["new_port"] if content["old_port"] == self.port else None
        if content and content["new_port"] == self.port:
            return content["old_port"]
        return self.params["previous_port"]

    def look(self):
        """Looks at the processes anew, once for all questions of a round."""
        try:
            self.processes, self.trouble = self.services.processes(), None
        except EngineError as err:
            self.processes, self.trouble = {}, err

    def settle(self):
        """From here on nothing may happen to the services."""
        self.well = self.processes

    def asked(self):
        """(name, function, whether an answer lasts): what can be undone by a service that dies is asked to the end."""
        params, found = self.params, []
        if params["record"]:
            found.append(("under_way", self.under_way, False))
        if params["files"]:
            found.append(("files", self.files, True))
        if params["services"]:
            found.append(("services", self.runs, False))
            # As long as its files were not changed after a stop, nothing has to be started anew for them.
            if self.content.get("files") and self.content.get("stopped_at") != self.changed:
                found.append(("restarted", self.restarted, False))
        if params["component"] != "client" and params["address"]:
            found.append(("listening", self.listening, True))
        if params["parent"]:
            found.append(("parent", self.parent, True))
        if self._agents() and self.peer and self.old_port not in (None, self.port):
            found.append(("old_port", self.left_old_port, False))
        if params["neighbours"]:
            found.append(("neighbours", self.neighbours, True))
        if params["log_dir"]:
            found.append(("log", self.log, False))
        return found

    def under_way(self, unused):
        sentence = other_change(self.params["record"])
        return (False, [sentence]) if sentence else (True, [])

    def files(self, unused):
        host = BigFixHost(self.params)
        if host.problems:
            return False, host.problems
        # What a fresh plan would still edit shows what is not done.
        plan = host.plan(allow_invalid_signature=self.params["allow_invalid_signature"])
        if plan.problems or plan.edits:
            return False, ["not on port %d yet: %s" % (
                host.port, "; ".join(plan.problems) or ", ".join(edit["path"] for edit in plan.edits))]
        return True, ["%d files hold port %d" % (len(host.mastheads) + len(host.settings), host.port)]

    # -- services

    def runs(self, unused):
        if self.trouble:
            raise self.trouble
        down = self.services.down()
        if down and self.well is not None:
            raise Hopeless("%s ended within %g s after it was well; it may do so again and again" % (
                ", ".join(down), self.settle_seconds))
        if down:
            return False, ["not running: %s" % ", ".join(down)]
        for service, before in sorted((self.well or {}).items()):
            # The first process of a service is the one that started the others.
            if before and _first(before) not in (self.processes.get(service) or ()):
                raise Hopeless("%s was started anew within %g s after it was well (its process %d is gone); it may do so again "
                               "and again" % (service, self.settle_seconds, _first(before)[0]))
        return True, ["all run"]

    def restarted(self, unused):
        """A process that read its files before they were changed works with what they were."""
        stopped = self.content.get("stopped")
        if stopped:
            old = still_running(stopped, self.processes)
        else:
            old = self._begun_before_the_change()
        if old:
            return False, ["%s, which ran before the files were changed, so that it works as they were before; stop %s by hand, "
                           "start the service, and run again" % (
                               "; ".join("%s still runs as process %s" % (service, _pids(found))
                                         for service, found in sorted(old.items())),
                               "that process" if sum(map(len, old.values())) == 1 else "these processes")]
        unknown = [service for service, found in sorted(self.processes.items())
                   if found is None or (stopped and stopped["processes"].get(service, ()) is None)]
        known = ["%s (process %s)" % (service, _pids(found)) for service, found in sorted(self.processes.items())
                 if found and service not in unknown]
        return True, ["since the files were changed were started: %s" % ", ".join(known)] * bool(known) + [
            "whether %s was started anew can't be told here, where no process of it is known" % ", ".join(unknown)
        ] * bool(unknown)

    def _begun_before_the_change(self):
        """The same for the record of a version that did not note what ran, by the clock as it is now."""
        if self.content["state"] == "rolled_back" or self.changed > time.time():
            # Its last change is dated after the start, or was noted while the clock was ahead.
            return {}
        found = {service: [one for one in known or () if (moment_of(one[1]) or self.changed) + OF_A_START < self.changed]
                 for service, known in self.processes.items()}
        return {service: old for service, old in found.items() if old}

    def _agents(self):
        """The processes of the agent, or None where that can't be told."""
        return self.processes.get(self.agent)

    # -- ports

    def listening(self, unused):
        return self._masthead("this host at", self.params["address"])

    def parent(self, unused):
        return self._masthead("parent", self.params["parent"])

    def _masthead(self, words, host):
        result = masthead_answer(host, self.port, self.params["tls"], PROBE_TIMEOUT)
        if result["reachable"]:
            return True, ["%s %s answers on port %d" % (words, host, self.port)]
        return False, ["%s %s does not answer on port %d: %s" % (words, host, self.port, result["reason"])]

    def _owns(self, pid):
        """Never None: what can't be told counts as that of another, such as the probe of this module."""
        return pid is not None and pid in {one for one, unused in self._agents() or ()}

    def _addresses(self):
        """Those that the name has had since the first look: it may have others each time."""
        self.addresses |= addresses_of(self.peer)
        return self.addresses

    def left_old_port(self, unused):
        left = (connections_of(self._owns, self._addresses(), self.old_port) or ([],))[0]
        if left:
            return False, ["%s still has a connection to %s, the old port" % (who(left[0]), shown(self.peer, self.old_port))]
        return True, ["%s has no connection to the old port %d" % (self.agent, self.old_port)]

    def neighbours(self, unused):
        wanted = self.params["neighbours"]
        listening = listeners(set(wanted), self.params["bind_address"])
        if listening is None:
            return True, ["this host can't tell who listens"]
        gone = set(wanted) - {entry["port"] for entry in listening}
        if gone:
            return False, ["nobody listens any more on port %s, which was not to move" % ", ".join(map(str, sorted(gone)))]
        return True, ["port %s as before" % ", ".join(map(str, wanted))]

    # -- what the agent did

    def log(self, seconds_left):
        """The agent's own word, or else its connection, while it says nothing to the contrary."""
        since, words = self._since()
        story = self._story(since)
        last = story.last_word(since)
        connected, lacking = (None, "") if last else self._connection(seconds_left)
        if connected:
            # It may have failed over that very connection.
            story = self._story(since)
            last = story.last_word(since)
        if last and last.good:
            return True, [quoted(last.text)]
        if connected and not last:
            return True, [connected]
        elsewhere = story.last_elsewhere(since)
        return False, ["%s: no report got through %s%s%s%s" % (
            self.params["log_dir"], words, "; last failure: %s" % quoted(last.text) if last else "",
            "; one that did names another port: %s" % quoted(elsewhere.text) if elsewhere else "", lacking)]

    def _since(self):
        """(the moment from which on a line counts, words for it): the latest of those that are known."""
        now, age = time.time(), self.params["log_max_age"]
        # Without a change, or long after it, an old line says nothing about today.
        moments = [(now - age, "in the last %g s" % age)]
        started = self._agents() and moment_of(_first(self._agents())[1])
        if started:
            moments.append((started, "since %s was started" % self.agent))
        # A change that is dated later than now was noted while the clock was ahead; the start of a process needs no clock.
        if self.changed <= now or not started:
            moments.append((self.changed, "since the change"))
        return max(moments)

    def _story(self, since):
        params, now = self.params, time.time()
        story = Story(self.port, self.success, self.failure, now)
        if params["relay_chain_dir"] and os.path.isdir(params["relay_chain_dir"]):
            for path, content in day_files(params["relay_chain_dir"], CHAIN_ENDINGS, since, now):
                story.read_chain(path, content)
        for path, content in day_files(params["log_dir"], LOG_ENDINGS, since, now):
            story.read_log(path, content)
        return story

    def _connection(self, seconds_left):
        """(a sentence on the agent's connection to its parent, or None; what to add where there is none)."""
        if not self._agents() or not self.peer:
            return None, ""
        addresses, what = self._addresses(), shown(self.peer, self.port)
        found = wait_for_connection(self._owns, addresses, self.port, seconds_left) if addresses else None
        if found is None:
            return None, ""
        ours = [entry for entry in found[0] if entry["established"]]
        if ours:
            return "%s is connected to %s" % (who(ours[0]), what), ""
        if found[0]:
            return None, "; %s tries to connect to %s, and gets no answer" % (who(found[0][0]), what)
        others = ["; %s has one, which is no process of that service" % who(entry) for entry in found[1][:1]]
        return None, "; %s (process %s) has no connection to %s%s" % (self.agent, _pids(self._agents()), what, "".join(others))


def _agent_of(services):
    """The agent among the services: the one, or the one that is called a client."""
    named = services if len(services) == 1 else [name for name in services if "client" in name.lower()]
    return named[0] if len(named) == 1 else None


def _first(processes):
    return min(processes, key=lambda process: process[1])


def _pids(processes):
    return ", ".join(str(pid) for pid, unused in processes)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            HOST_SPEC, address=dict(type="str"), bind_address=dict(type="str"),
            files=dict(type="bool", default=True), parent=dict(type="str"), tls=dict(type="bool", default=False),
            log_dir=dict(type="path"), relay_chain_dir=dict(type="path"),
            success_patterns=dict(type="list", elements="str", default=[]),
            failure_patterns=dict(type="list", elements="str", default=[]),
            log_max_age=dict(type="float", default=86400), allow_invalid_signature=dict(type="bool", default=False),
            services=dict(type="list", elements="str", default=[]),
            service_command=dict(type="list", elements="str", default=[]),
            executables=dict(type="dict", default={}), agent_service=dict(type="str"),
            neighbours=dict(type="list", elements="int", default=[]), timeout=dict(type="float", default=60),
            settle=dict(type="float", default=5), mark=dict(type="bool", default=False)),
        supports_check_mode=True)
    params = module.params
    try:
        questions = Questions(params, Services(module, params["services"], params["service_command"], params["executables"]))
        proved, missing, waited = gather(questions, params["timeout"], questions.settle_seconds)
        result = dict(ok=not missing, port=questions.port, old_port=questions.old_port, missing=missing, waited=waited,
                      evidence={name: "; ".join(sentences) for name, sentences in proved.items() if sentences},
                      proved=told(proved), moved_at=moved_at(questions.content, questions.port), looked_at=time.time(),
                      addresses=sorted(map(str, own_addresses() or ())))
        if missing:
            module.fail_json(msg="no proof on port %d after %g s: %s" % (
                questions.port, waited, "; ".join(missing[name] for name in sorted(missing))), **result)
        record, content = questions.record, questions.content
        marked = bool(params["mark"] and content and content["state"] == "changing" and content["new_port"] == questions.port)
        if marked and not module.check_mode:
            record.mark_verified()
        module.exit_json(changed=marked, **result)
    except EngineError as err:
        module.fail_json(msg=str(err), ok=False, port=params["port"], old_port=None, evidence={}, proved=[], missing={},
                         waited=0.0)


if __name__ == "__main__":
    main()
