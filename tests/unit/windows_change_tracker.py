# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Change Tracker hub and its agents on models of Windows hosts, asked without a wire."""

import hashlib

from ansible_collections.portshift.agents.plugins.plugin_utils._windows import change_tracker
from tests.lab import change_tracker_lab
from tests.windows.change_tracker import HEARTBEAT, PLACES, install_agent
from tests.windows.host import Host
from tests.windows.services import Product, Service

OLD, NEW = 443, 8443
SERVICE = "Gen7AgentCore"
FOLDER = PLACES[SERVICE]
PATH, LOG = FOLDER + "\\HubDetails.xml", FOLDER + "\\rolling-log.txt"
RECORD = "C:\\ProgramData\\portshift\\change_tracker.json"
CERTIFICATE = b"the certificate of the hub"
THUMBPRINT = hashlib.sha1(CERTIFICATE).hexdigest().upper()


class Hub(Product):
    """Takes heartbeats on each of its ports.  `certificates`: what it shows on one, where that is another one."""

    def __init__(self, *ports, certificates=()):
        self.ports, self.certificates, self.arrivals, self.deaf_on = ports, dict(certificates), [], None

    def start(self, host, service):
        for port in self.ports:
            listener = host.listen(service.process, port, self.answer(port))
            listener.certificate = self.certificates.get(port, CERTIFICATE)

    def answer(self, port):
        def answer(method, path, _body):
            if method == "PUT" and HEARTBEAT.match(path):
                self.arrivals.append(port)
                return (503 if port == self.deaf_on else 200), b"{}"
            return 401, b""
        return answer


def hub(network, *ports, **more):
    """-> the Product of a hub that answers there"""
    host, product = Host("hub", ["192.0.2.1"], network), Hub(*ports, **more)
    host.services.add(Service("hub", product=product), running=True)
    return product


def details(url=None, thumbprint=THUMBPRINT, look=change_tracker_lab.WINDOWS):
    """-> the bytes of a HubDetails.xml"""
    made = change_tracker_lab.hub_details(look, OLD, "geheim", thumbprint)
    return made.replace(b"https://hub/api/", url.encode()) if url else made


def agent(network, content=None, name="win1", service=SERVICE, address="192.0.2.11"):
    host = Host(name, [address], network)
    host.agent = install_agent(host, details() if content is None else content, service)
    host.pass_time(30)
    return host


def state_of(host):
    """All of a host that a move may touch; what the agent says in its log is none of it."""
    return {path: (node.content, node.owner, node.read_only) for path, node in host.files.nodes.items()
            if "portshift" not in path and "rolling-log" not in path}


def proof(**more):
    return dict(dict(failure_patterns=[], log_max_age=86400, timeout=20, settle=5), **more)


def look_options(**more):
    return dict(dict(port=NEW, path=list(change_tracker.PATHS), service=None, service_command=[], log_path=None, required=True,
                     record=RECORD, proof=proof(), move_times=dict(limit=120, timeout=60, settle=5)), **more)


def evidence_options(**more):
    asked = look_options(old_port=None, failure_patterns=[
        "Hub Offline, connection retries exhausted", "Hub connection failed", "Certificate thumbprint does not match trusted"],
        log_max_age=86400, timeout=20, settle=5, mark=False)
    del asked["proof"], asked["move_times"]
    return dict(asked, **more)


def change_options(**more):
    agent = dict(path=[PATH], service=SERVICE, service_command=[], log_path="", required=True)
    return dict(dict(
        name="change_tracker", state="begun", timeout=120, confirm=True, wait=0, token=None, record=RECORD, old_port=OLD,
        new_port=NEW, phase="3", stop=[["sc.exe", "stop", SERVICE]], start=[["sc.exe", "start", SERVICE]], services=[SERVICE],
        executables={SERVICE: []}, checks=[], check_seconds=30, command_seconds=60, files=[], services_entries=[],
        hub_urls=[dict(path=PATH, port=NEW)], bridge=None, force=False, state_dir="", unit_dir="/etc/systemd/system",
        boks_proof=None, change_tracker_proof=proof(**agent)), **more)


def back_options(**more):
    return change_options(**dict(dict(
        state="reverted", stop=[], start=[], services=[], executables={}, hub_urls=[], new_port=None, old_port=None,
        change_tracker_proof=None, confirm=False), **more))
