# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What proves that a BigFix host works on its port."""

from ansible_collections.portshift.agents.plugins.module_utils._bigfix.agent_log import (
    CHAIN_ENDINGS, LOG_ENDINGS, Story, day_files)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.host import BigFixHost
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead_page import masthead_answer
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import Evidence, Hopeless, given
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import compile_patterns, quoted, unread_words
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port
from ansible_collections.portshift.agents.plugins.module_utils._network.peer_connections import (
    connections_of, shown, wait_for_connection, who)
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST

PROBE_TIMEOUT = 5
# By how much a process may seem to have begun before it did.
OF_A_START = 0.1


def asked_within(params):
    """What BigFixEvidence takes, of a module with an option C(proof); what a role leaves empty is not asked."""
    return dict(params, files=True, mark=True, **given(params["proof"]))


class BigFixEvidence(Evidence):
    """The pieces of evidence that this host owes."""

    def __init__(self, params, services=None, host=THIS_HOST):
        super().__init__(params, parse_port(params["port"]), host.record(params["record"]) if params["record"] else None, host)
        self.services = services or host.services(params["services"], params["service_command"], params["executables"])
        self.success = compile_patterns(params["success_patterns"], self.port)
        self.failure = compile_patterns(params["failure_patterns"], self.port)
        self.changed = self.content.get("last_change", 0)
        if self.old_port is None and self.content.get("state") != "rolled_back":
            self.old_port = params["previous_port"]
        self.agent = params["agent_service"] or _agent_of(params["services"])
        # A relay in a DMZ is not asked about its parent, which calls it.
        self.peer = params["parent"] or (params["address"] if params["component"] == "server" else None)
        self.addresses, self.processes, self.down, self.trouble = set(), {}, [], None

    def can_die(self):
        return bool(self.params["services"] or self.params["log_dir"])

    def look(self):
        """Looks at the processes anew."""
        super().look()
        try:
            self.processes, self.down = self.services.survey()
            self.trouble = None
        except EngineError as err:
            self.processes, self.down, self.trouble = {}, [], err

    def seen(self):
        return self.processes

    def settled(self):
        return self.managed.settled(self.processes)

    def also(self, proved):
        return dict(evidence={name: "; ".join(sentences) for name, sentences in proved.items() if sentences},
                    addresses=sorted(map(str, self.managed.own_addresses() or ())))

    def asked(self):
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

    def files(self, unused):
        host = BigFixHost(self.params, self.managed)
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
        down = self.down
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
            old = self.managed.still_running(stopped, self.processes)
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
        if self.content["state"] == "rolled_back" or self.changed > self.managed.now():
            # Its last change is dated after the start, or was noted while the clock was ahead.
            return {}
        begun = self.managed.moment_of
        found = {service: [one for one in known or () if (begun(one[1]) or self.changed) + OF_A_START < self.changed]
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
        result = masthead_answer(host, self.port, self.params["tls"], PROBE_TIMEOUT, host=self.managed)
        if result["reachable"]:
            return True, ["%s %s answers on port %d" % (words, host, self.port)]
        return False, ["%s %s does not answer on port %d: %s" % (words, host, self.port, result["reason"])]

    def _owns(self, pid):
        """Never None: what can't be told counts as that of another, such as the probe of this module."""
        return pid is not None and pid in {one for one, unused in self._agents() or ()}

    def _addresses(self):
        """Those that the name has had since the first look: it may have others each time."""
        self.addresses |= self.managed.addresses_of(self.peer)
        return self.addresses

    def left_old_port(self, unused):
        left = (connections_of(self.managed, self._owns, self._addresses(), self.old_port) or ([],))[0]
        if left:
            return False, ["%s still has a connection to %s, the old port" % (who(left[0]), shown(self.peer, self.old_port))]
        return True, ["%s has no connection to the old port %d" % (self.agent, self.old_port)]

    def neighbours(self, unused):
        wanted = self.params["neighbours"]
        listening = self.managed.listeners(set(wanted), self.params["bind_address"])
        if listening is None:
            return True, ["this host can't tell who listens"]
        gone = set(wanted) - {entry["port"] for entry in listening}
        if gone:
            return False, ["no process listens any more on port %s, which was not to move" % ", ".join(map(str, sorted(gone)))]
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
        # What is older than all that counts need not be read.
        is_short = story.log.oldest is None or story.log.oldest > since
        return False, ["%s: no report got through %s%s%s%s%s" % (
            self.params["log_dir"], words, "; last failure: %s" % quoted(last.text) if last else "",
            "; one that did names another port: %s" % quoted(elsewhere.text) if elsewhere else "", lacking,
            "".join(unread_words(self.managed, path) for path in story.paths if is_short))]

    def _since(self):
        """(the moment from which on a line counts, words for it): the latest of those that are known."""
        now, age = self.managed.now(), self.params["log_max_age"]
        # Without a change, or long after it, an old line says nothing about today.
        moments = [(now - age, "in the last %g s" % age)]
        started = self._agents() and self.managed.moment_of(_first(self._agents())[1])
        if started:
            moments.append((started, "since %s was started" % self.agent))
        # A change that is dated later than now was noted while the clock was ahead; the start of a process needs no clock.
        if self.changed <= now or not started:
            moments.append((self.changed, "since the change"))
        return max(moments)

    def _story(self, since):
        params, now = self.params, self.managed.now()
        story = Story(self.port, self.success, self.failure, now)
        if params["relay_chain_dir"] and self.managed.is_folder(params["relay_chain_dir"]):
            for path, content in day_files(self.managed, params["relay_chain_dir"], CHAIN_ENDINGS, since, now):
                story.read_chain(path, content)
        for path, content in day_files(self.managed, params["log_dir"], LOG_ENDINGS, since, now):
            story.read_log(path, content)
        return story

    def _connection(self, seconds_left):
        """(a sentence on the agent's connection to its parent, or None; what to add where there is none)."""
        if not self._agents() or not self.peer:
            return None, ""
        addresses, what = self._addresses(), shown(self.peer, self.port)
        found = wait_for_connection(self.managed, self._owns, addresses, self.port, seconds_left) if addresses else None
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
