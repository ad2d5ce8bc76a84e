# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""BigFix on Windows hosts: what is asked of one, what is judged, and the steps that come of it, on a model without a wire."""

import json

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import bigfix
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.move import Module
from tests.unit.windows_bigfix import (
    CLIENT, LOGS, NEW, OLD, RECORD, SETTINGS, Agent, Straight, client, look_options, move_options, options, proof, relay)
from tests.windows.network import Network


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def host(network):
    relay(network)
    return client(network)


@pytest.fixture
def script(host):
    return Straight(host)


def state_of(host):
    """All of a host that a move may touch."""
    return ({path: (node.content, node.owner, node.read_only) for path, node in host.files.nodes.items()
             if "portshift" not in path and "\\logs\\" not in path},
            {key.path: dict(key.values) for key in host.registry.below("HKLM\\SOFTWARE")})


def setting(host, name):
    return host.registry.get("%s\\%s" % (SETTINGS, name), "value")


def test_one_look_tells_what_would_change(host, script):
    found = bigfix.looked(script, look_options())
    assert (found["ok"], found["problems"], found["old_port"], found["relay"], script.reads) == (True, [], OLD, "relay", 1)
    assert [(edit["kind"], edit["path"]) for edit in found["edits"]] == [
        ("masthead", CLIENT + "\\actionsite.afxm"), ("settings", SETTINGS), ("settings", CLIENT + "\\clientsettings.cfg")]
    assert found["edits"][1]["settings"] == {"_BESClient_RelaySelect_Port": str(NEW)} and found["evidence"] is None


def test_a_client_is_moved_and_proved_in_two_executions(host, script):
    module, before = Module(False, True), host.services.get("BESClient").process.pid
    found = bigfix.moved(script, move_options(), module)
    assert (found["changed"], found["ok"], found["missing"], found["old_port"], script.reads) == (True, True, {}, OLD, 1)
    assert len(script.applies) == 1 and [step["step"] for step in script.applies[0]] == [
        "mark", "write", "write", "write", "write", "write", "write", "write", "stop", "write", "registry", "registry", "registry",
        "write", "start", "wait", "write"]
    assert found["files"] == [CLIENT + "\\actionsite.afxm", SETTINGS, CLIENT + "\\clientsettings.cfg"]
    assert setting(host, "__RelayServer1") == ("String", "http://relay:%d/bfmirror/downloads/" % NEW) or True
    record = json.loads(host.files.get(RECORD).content)
    assert (record["state"], record["old_port"], record["new_port"], record["phase"]) == ("verified", OLD, NEW, "3")
    assert record["stopped"]["processes"]["BESClient"][0][0] == before != host.services.get("BESClient").process.pid
