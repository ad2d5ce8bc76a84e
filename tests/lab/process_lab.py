# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab whose hosts are folders and whose services are processes of this machine."""

import os

from . import identity, processes
from .deployment import Lab


class ProcessLab(Lab):
    def __init__(self, folder, data):
        super().__init__(folder, data)
        self.launches = []

    def begin(self):
        # In the vendor's order where it matters, else all at once: hundreds of agents come up side by side.
        for wanted in (("besserver",), ("besfilldb", "besgatherdb", "beswebreports", "besrelay"), ("besclient",)):
            services = [(host, service) for host in self.hosts for service in host.services if service in wanted]
            first = len(self.launches)
            for host, service in services:
                # The daemon begins with both blocked, as it would block them itself.
                with processes.uninterrupted():
                    self.launches.append(processes.Launch(host, service))
            processes.wait_ready(self.launches[first:], 20 + 0.2 * len(services))

    def abandon(self):
        """Ends every process that this call started, also one that has not yet put itself on record."""
        processes.stop([(launch.process.pid, identity.start_time(launch.process.pid)) for launch in self.launches
                        if launch.process.poll() is None])

    def observed(self):
        """-> ({host: {service: pid, or None when stopped}}, {host: port of its root server or relay})"""
        services, ports = {}, {}
        for host in self.hosts:
            running = {service: identity.recorded(host, service) for service in host.services}
            services[host.name] = {service: process[0] if process else None for service, process in running.items()}
            if host.role != "client":
                ports[host.name] = identity.ready_port(host, host.services[0])
        return services, ports

    def stop(self, remove):
        """-> what was done, for the user."""
        stopped = 0
        while True:
            running = [identity.recorded(host, service) for host in self.hosts for service in reversed(host.services)]
            running = [process for process in running if process]
            if not running:
                return "%d processes stopped" % stopped
            # Once more after this: a playbook may have restarted a service meanwhile.
            processes.stop(running)
            stopped += len(running)

    def set_fault(self, host, fault):
        if fault is None:
            if os.path.exists(host.fault):
                os.unlink(host.fault)
        else:
            with open(host.fault, "w") as stream:
                stream.write(fault + "\n")
