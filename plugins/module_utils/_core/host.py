# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam between what judges and the host that it judges.

A file that judges (formats, plans, evidence of a product) asks a Host and no operating system: `make lint` holds that
(`tools/lint seam`).  So a host that no Python runs on needs one more implementation, which has its answers brought to the
control node, and no second judgement.  That of a Linux host is C(_core/posix_host.py), and with sockets
C(_network/posix_host.py).

Every path is one of that host, spelled as that host spells it; a key of a registry may be one.  What failed is an EngineError,
whose sentence names the path or the command; what a host can't tell is None where the method says so.
"""


class Host:
    """One host, as judging code asks it and has it changed."""

    # -- names of files

    def join(self, folder, *names):
        """The path of what is called so in a folder."""
        raise NotImplementedError

    def folder_of(self, path):
        """The path of the folder in which it lies."""
        raise NotImplementedError

    def real_path(self, path):
        """The path without links: two names of one file are one."""
        raise NotImplementedError

    # -- files

    def is_there(self, path):
        """Also a link to nowhere is there: it has a sentence of its own.  A place that can't be looked at is a FileError."""
        raise NotImplementedError

    def exists(self, path):
        """The same, where a place that can't be looked at is as good as an empty one."""
        raise NotImplementedError

    def is_folder(self, path):
        raise NotImplementedError

    def size(self, path):
        """The bytes of the regular file that the path leads to; None where it leads to none."""
        raise NotImplementedError

    def read(self, path):
        """The bytes of a file, whole, of a size that such a file may have."""
        raise NotImplementedError

    def read_if_there(self, path):
        """The same, or None where there is nothing."""
        raise NotImplementedError

    def read_own(self, path):
        """The bytes of a file of ours, or None where there is nothing; FileError where another user could have written it."""
        raise NotImplementedError

    def read_end(self, path, size):
        """Its last bytes, at most so many, of a file that others write on; None where there is nothing."""
        raise NotImplementedError

    def unread(self, path, size):
        """How many bytes of such a file come before its last ones, so many or as many as read_end() brings of it."""
        raise NotImplementedError

    def edit(self, path, may_be_missing=False):
        """A FileEdit: C(before), apply(after), and commit(), which writes what nothing else changed meanwhile."""
        raise NotImplementedError

    def require_writable(self, path, size):
        """Fails as a write of so many bytes would.  Returns sentences on what the write will leave as it is."""
        raise NotImplementedError

    def record(self, path):
        """The ChangeRecord at this path: what a migration has changed here."""
        raise NotImplementedError

    def other_change(self, record):
        """A sentence on the change of this host that is under way, or None.  `record`: the path of the record."""
        raise NotImplementedError

    # -- services and processes

    def services(self, names, command=(), executables=None):
        """Services of this host that belong together, in the order in which they start: an object such as Services."""
        raise NotImplementedError

    def service(self, name, command=()):
        """One service, to be looked at: an object such as ServiceState."""
        raise NotImplementedError

    def start_time(self, pid):
        """When a process began, in a count by which two processes of one number are told apart; None for one that is gone."""
        raise NotImplementedError

    def moment_of(self, start):
        """When that was, in seconds since the epoch by the clock as it is now; None where that can't be told."""
        raise NotImplementedError

    def still_running(self, stopped, now):
        """{service: [(pid, start)]} of those that ran before the stop that a record tells of, and are among `now` still."""
        raise NotImplementedError

    def command_line(self, pid):
        """The words of the command that a process runs; empty where that can't be told."""
        raise NotImplementedError

    def run(self, command, seconds):
        """(exit status, output, error output) of a command, in English; CommandTimeout when it did not end in time, OSError
        where it can't be run."""
        raise NotImplementedError

    def service_port(self, name, protocol=None):
        """The port that this host's own lookup gives for the name of a service, with all its sources, or None."""
        raise NotImplementedError

    # -- one look after another

    def look_anew(self):
        """What is asked from now on is to be answered as it is now.  A host that is asked live has nothing to do."""
        raise NotImplementedError

    def is_live(self):
        """Whether an answer may be another one a moment later; else all are those of one moment, until look_anew()."""
        raise NotImplementedError

    def settled(self, processes):
        """For how many seconds all of these have run, as one look tells, so that nothing needs to be watched for as long.

        `processes`: {service: [(pid, start)]}, the start None where it is not known.  0 where they are watched instead.
        """
        raise NotImplementedError

    # -- the clock

    def now(self):
        """Seconds since the epoch, by this host's clock."""
        raise NotImplementedError

    def local_moment(self, year, month, day, hour, minute, second):
        """Seconds since the epoch of a date and time as they are written in this host's zone."""
        raise NotImplementedError

    # -- the network

    def listeners(self, ports, address=None, every_owner=False):
        """Who listens on one of `ports`: dicts with protocol, address, port, pid, process, and on request owners, the numbers
        of all processes that have the socket.  None where the host can't tell."""
        raise NotImplementedError

    def own_listener(self, port, address):
        """The number of the process of a temporary listener of ours on this port, or None."""
        raise NotImplementedError

    def outgoing(self, port, address=None):
        """The connections that hold a local port although nothing listens on it: dicts with address, remote, pid, process."""
        raise NotImplementedError

    def connections(self, addresses, port):
        """The connections from here to the port at one of these addresses: dicts with established, pid, process, owners, and
        more.  None where the host can't tell."""
        raise NotImplementedError

    def addresses_of(self, name):
        """All addresses of a name, as this host's own lookup has them; empty when it does not resolve."""
        raise NotImplementedError

    def own_addresses(self):
        """The addresses of this host but those of its loopback; None where it can't tell."""
        raise NotImplementedError

    def reserving(self, port):
        """What a person types there to keep the port from being handed out."""
        raise NotImplementedError

    def ephemeral_ports(self):
        """The range that this host hands out to connections: dict(first, last, reserved); None where it can't tell."""
        raise NotImplementedError

    def probe(self, targets, timeout, wait=0):
        """Whether something answers at each of the targets, asked from there, again until so many seconds have passed.

        The results are those of M(portshift.agents.port_probe).
        """
        raise NotImplementedError
