# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host on which this process runs, but for its network: files, records, services, processes, commands and the clock."""

import errno
import os
import posixpath
import socket
import stat
import time

from ansible_collections.portshift.agents.plugins.module_utils._core import service_processes
from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import execute
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord, other_change
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    FileEdit, FileError, explain, read_bytes, read_end, read_if_there, read_own, require_writable)
from ansible_collections.portshift.agents.plugins.module_utils._core.host import Host


class PosixHost(Host):
    """This host.  Nothing is kept: each question is asked anew."""

    def join(self, folder, *names):
        return posixpath.join(folder, *names)

    def folder_of(self, path):
        return posixpath.dirname(path)

    def real_path(self, path):
        return os.path.realpath(path)

    def is_there(self, path):
        try:
            os.lstat(path)
        except OSError as err:
            if err.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            raise FileError(explain(err, path, "look for"))
        return True

    def exists(self, path):
        return os.path.lexists(path)

    def is_folder(self, path):
        return os.path.isdir(path)

    def size(self, path):
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self, path):
        return read_bytes(path)

    def read_if_there(self, path):
        return read_if_there(path)

    def read_own(self, path):
        return read_own(path)

    def read_end(self, path, size):
        return read_end(path, size)

    def unread(self, path, size):
        return max(0, (self.size(path) or 0) - size)

    def edit(self, path, may_be_missing=False):
        return FileEdit.read(path, may_be_missing)

    def require_writable(self, path, size):
        return require_writable(path, size)

    def record(self, path):
        return ChangeRecord(path)

    def other_change(self, record):
        return other_change(record)

    def services(self, names, command=(), executables=None):
        # Here, since a look at a host that has not moved asks for none, and each module run compiles anew what it imports.
        from ansible_collections.portshift.agents.plugins.module_utils._core.services import Services
        return Services(None, names, command, executables)

    def service(self, name, command=()):
        from ansible_collections.portshift.agents.plugins.module_utils._core.services import ServiceState
        return ServiceState(name, command)

    def start_time(self, pid):
        return service_processes.start_time(pid)

    def moment_of(self, start):
        return service_processes.moment_of(start)

    def still_running(self, stopped, now):
        return service_processes.still_running(stopped, now)

    def command_line(self, pid):
        return service_processes.command_line(pid)

    def run(self, command, seconds):
        return execute(command, seconds, environ_update=dict(LANG="C", LC_ALL="C"))

    def service_port(self, name, protocol=None):
        try:
            return socket.getservbyname(*[word for word in (name, protocol) if word is not None])
        except OSError:
            return None

    def look_anew(self):
        pass

    def is_live(self):
        return True

    def settled(self, processes):
        return 0

    def reserving(self, port):
        return "sysctl net.ipv4.ip_local_reserved_ports=%d" % port

    def now(self):
        return time.time()

    def local_moment(self, year, month, day, hour, minute, second):
        return time.mktime((year, month, day, hour, minute, second, 0, 0, -1))


THIS_HOST = PosixHost()
