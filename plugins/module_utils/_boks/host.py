# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BoKS host as it is: its services database, ENV, record, and who listens, for the modules that look before others write."""

from ansible_collections.portshift.agents.plugins.module_utils._boks import domain
from ansible_collections.portshift.agents.plugins.module_utils._boks.domain import SERVICE, BoksError
from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import CommandTimeout
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import port_before
from ansible_collections.portshift.agents.plugins.module_utils._move.states import under_way
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._boks.services_file import (
    SERVICES, USR_SERVICES, ServicesEdit, answered_by, is_asked_by_lookups, shipped)
from ansible_collections.portshift.agents.plugins.module_utils._boks.services_lines import parse, shown

# Options of every module that looks at a whole host.
BOKS_HOST_SPEC = dict(
    role=dict(type="str", choices=list(domain.ROLES)), services_path=dict(type="path", default=SERVICES),
    env_path=dict(type="path", default="/etc/opt/boksm/ENV"), record=dict(type="path", default="/var/lib/portshift/boks.json"),
    bind_address=dict(type="str"))

PROGRAMS = "/boksm/"


class BoksHost:
    """What one host says.  What can't be read or told becomes a sentence in `problems`, and the rest is read."""

    def __init__(self, params, host=THIS_HOST):
        self.managed, self.params, self.problems, self.notes = host, params, [], []
        self.env, self.domain, self.record = {}, None, None
        # Those of the services database come first; behind them are those that lookups ask where that one has no answer.
        self.services, self.lines, self.own_lines, self.services_port, self.services_entry = None, [], 0, None, {}
        self.answered_by, self.base = None, None
        self._read_env()
        self.role, contradictions = domain.find_role(self.env, params["role"])
        self.problems += contradictions
        self._read_services()
        self._read_record()

    @property
    def under_way(self):
        """A sentence on a change that has not ended: all that was read before may be about to be something else."""
        return under_way(self.managed, self.params["record"], SERVICE)

    def _read_env(self):
        path = self.params["env_path"]
        try:
            self.env = domain.parse_env(self.managed.read(path))
            self.domain = domain.bridge_domain(self.env)
        except BoksError as err:
            self.problems.append("%s: %s" % (path, err))
        except EngineError as err:
            self.problems.append(str(err))

    def _read_services(self):
        path = self.params["services_path"]
        try:
            behind = shipped(self.managed, path)
            self.services = self.managed.read(path) if behind is None else self.managed.read_if_there(path) or b""
        except EngineError as err:
            self.problems.append(str(err))
            return
        self.lines = parse(self.services)
        self.own_lines = len(self.lines)
        self.lines += behind or []
        for line in self.lines:
            if line and line.protocol and line.answers(SERVICE) and (line.name == SERVICE or line.protocol == "tcp"):
                self.services_entry.setdefault(line.protocol, self.answering(line.protocol).port)
        used = self.services_port = self.services_entry.get("tcp")
        if self.is_asked_by_lookups():
            self.answered_by = answered_by(self.managed, SERVICE, "tcp", self.services_port)
            # The daemons ask the C library, not the file.
            used = self.managed.service_port(SERVICE, "tcp")
        if self.domain is not None:
            self.base = domain.effective_base(used, self.domain)

    def _read_record(self):
        try:
            self.record = self.managed.record(self.params["record"])
        except EngineError as err:
            self.problems.append(str(err))

    def is_asked_by_lookups(self):
        return is_asked_by_lookups(self.managed, self.params["services_path"])

    def place_of(self, line):
        """The path of the file that has this line."""
        return self.params["services_path"] if any(line is own for own in self.lines[:self.own_lines]) else USR_SERVICES

    def answering(self, protocol):
        """The line of the file at which lookups end, or None."""
        return next((line for line in self.lines if line and line.answers(SERVICE, protocol)), None)

    def claimed_by_alias(self):
        """A sentence when daemons end at a line of another name, else None."""
        line = self.answering("tcp")
        # Behind the services database it is no obstacle: an entry of its own comes first.
        if line is None or line.name == SERVICE or self.place_of(line) == USR_SERVICES:
            return None
        return "%s: line %d, %s %d/tcp, has %s as an alias, so lookups of %s/tcp end there; remove the alias from that line" % (
            self.params["services_path"], line.number, shown(line.name), line.port, SERVICE, SERVICE)

    def old_base(self, wanted):
        if wanted is None:
            return None
        recorded = port_before(self.record and self.record.content, wanted)
        return recorded if recorded is not None else self.base if self.base != wanted else None

    def protocols_if_present(self):
        """Those beside tcp under which the file has the name: an entry left behind would point to the old port."""
        return sorted(set(self.services_entry) - {"tcp"})

    def plan_edit(self, port):
        """(edits that make the services database name `port`, warnings, notes, problems)."""
        path, beside = self.params["services_path"], self.protocols_if_present()
        try:
            edit = ServicesEdit(path, SERVICE, port, protocols=("tcp",), protocols_if_present=beside, host=self.managed)
            if edit.file.after == edit.file.before:
                return [], [], [], []
            notes = self.managed.require_writable(path, len(edit.file.after or b""))
            refusal = edit.foreseen()
        except EngineError as err:
            # A file that can't be read has been told already.
            return [], [], [], [] if self.services is None else [str(err)]
        if edit.file.before is None:
            notes.append("%s does not exist, and is made with what moves; the rest stays in %s" % (path, USR_SERVICES))
        return [dict(kind="services", path=path, name=SERVICE, port=port, previous_port=edit.previous.get("tcp"),
                     previous=edit.previous, protocols=["tcp"], protocols_if_present=beside)], (
                         edit.warnings + edit.shadowed), notes, [refusal] if refusal else []

    def listeners(self, ports, every_owner=False):
        return self.managed.listeners(set(ports), self.params["bind_address"], every_owner=every_owner)

    def outgoing(self, port):
        return self.managed.outgoing(port, self.params["bind_address"])

    def own_listener(self, port):
        """The pid of a temporary listener of ours at `port`, or None.  It ends by itself, or when the path is proved."""
        return self.managed.own_listener(port, self.params["bind_address"])

    def is_product(self, entry):
        """Whether a listener is a daemon of BoKS: by its name, or by a program of its own folder."""
        if not entry["pid"]:
            return False
        return entry["process"].startswith("boks") or any(PROGRAMS in word for word in self.managed.command_line(entry["pid"]))


def who(entry):
    return "process %(process)s (pid %(pid)s)" % entry if entry["pid"] else "a process of another user"


def with_listeners(wanted, listening):
    """The entries of the table, each with `listening_by`: dict(pid, name, address) or None."""
    for entry in wanted:
        found = next((one for one in listening or []
                      if (one["port"], one["protocol"]) == (entry["port"], entry["protocol"])), None)
        entry["listening_by"] = found and dict(pid=found["pid"], name=found["process"], address=found["address"])
    return wanted


def foreign(host, wanted, old_base):
    """(problems, notes) for ports of the range of `wanted` that another program holds on this host."""
    problems, notes = [], []
    needed = domain.own_ports(wanted, host.role)
    for entry in host.listeners(domain.base_range(wanted)) or []:
        port = entry["port"]
        if host.is_product(entry) or (entry["pid"] and entry["pid"] == host.own_listener(port)) or (
                old_base is not None and port in domain.base_range(old_base)):
            continue
        sentence = "port %d/%s is in use already: %s listens on %s" % (port, entry["protocol"], who(entry), entry["address"])
        if (port, entry["protocol"]) in needed:
            problems.append(sentence + "; free it or choose another base port")
        else:
            notes.append(sentence + ", which no daemon of this host needs")
    for port, protocol in needed:
        if protocol == "tcp" and not host.own_listener(port) and (
                old_base is None or port not in domain.base_range(old_base)):
            problems += ["port %d/tcp is in use already: the kernel gave it to a connection of %s to %s; end that connection or "
                         "choose another base port" % (port, who(entry), entry["remote"]) for entry in host.outgoing(port)]
    return problems, notes


def run_bounded(host, command, seconds):
    """(exit status or None when it took longer, output) of a command of a host that may hang."""
    try:
        code, output, error = host.run(command, seconds)
    except CommandTimeout:
        return None, ""
    except OSError as err:
        raise BoksError("%s can't be run: %s" % (command[0], err.strerror or err))
    return code, output + error
