# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose connection to a peer one is."""

import os
import socket
import subprocess
import time
import types

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._network import peer_connections as peer
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._core.service_processes import moment_of, start_time


@pytest.mark.parametrize("answers, ours", [
    ({}, False), (dict.fromkeys((7, 8), False), False), ({7: True, 8: False}, True), ({7: None, 8: False}, True)])
def test_a_socket_is_that_of_all_processes_that_have_inherited_it(answers, ours):
    entry = dict(pid=8, process="x", established=True, owners=sorted(answers))
    host = types.SimpleNamespace(connections=lambda addresses, port: [entry])
    found = peer.connections_of(host, lambda pid: answers.get(pid, False), {"127.0.0.1"}, 1)
    assert found == (([entry], []) if ours else ([], [entry]))


def test_a_connection_is_looked_at_until_it_is_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, looks = server.getsockname()[1], []

        def owns(pid):
            looks.append(pid)
            return len(looks) > 2

        assert peer.wait_for_connection(THIS_HOST, owns, {"127.0.0.1"}, port, 0) == ([], [])
        with socket.create_connection(("127.0.0.1", port)):
            ours, others = peer.wait_for_connection(THIS_HOST, owns, {"127.0.0.1"}, port, 60)
        assert [entry["owners"] for entry in ours] == [[os.getpid()]] and others == [] and len(looks) == 3


def test_the_start_of_a_process_is_known_by_the_clock():
    before = time.time()
    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            started = moment_of(start_time(child.pid))
        finally:
            child.kill()
    # The kernel counts in hundredths.
    assert before - 0.1 <= started <= time.time()
