# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""confirmed_change with the HubDetails.xml of an agent: the port goes and comes back, no secret is shown or lost."""

import json
import os

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_state import Place
from tests.integration import direct_module
from tests.integration.test_confirmed_change import WITHOUT_SYSTEMD
from tests.integration.waiting import until

FILE = b"""\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\r
<!-- <Url>https://old.example.test/</Url> oldpass-0 -->\r
<HubDetails>\r
  <Url>https://hub.example.test/api/</Url>\r
  <Username>agent-7Qz</Username>\r
  <Password>%s</Password><E1>%s</E1>\r
</HubDetails>\r
"""
BEFORE = FILE % (b"", b"ciphertext-9Kw==")
MOVED = BEFORE.replace(b".test/api", b".test:8443/api")
SECRETS = ("oldpass-0", "agent-7Qz", "ciphertext-9Kw", "ciphertext-new", "password-8Lm")
# What the product does at its start, such as writing its file anew, is in `on-start`.
PRODUCT = """#!/bin/sh
cd '{folder}'
echo "$1" >>calls
[ "$1" != start ] || [ ! -e on-start ] || . ./on-start
"""
NEW_CREDENTIALS = "sed -i 's,<Password>.*</E1>,<Password></Password><E1>ciphertext-new==</E1>,' HubDetails.xml\n"


class Host:
    def __init__(self, folder):
        self.folder, self.path, self.state = folder, folder / "HubDetails.xml", folder / "state"
        self.record, self.product = self.state / "change_tracker.json", folder / "product"
        self.path.write_bytes(BEFORE)
        self.path.chmod(0o640)
        self.product.write_text(PRODUCT.format(folder=folder))
        self.product.chmod(0o755)
        self.prefix = WITHOUT_SYSTEMD if os.path.isdir("/run/systemd/system") else []

    @property
    def place(self):
        return Place(str(self.state), "change_tracker")

    def calls(self):
        path = self.folder / "calls"
        return path.read_text().split() if path.exists() else []

    def run(self, state="begun", check=False, **more):
        """The module's result, once it is known that nothing that it printed holds a secret."""
        arguments = dict(name="change_tracker", state=state, state_dir=str(self.state), record=str(self.record), timeout=60,
                         command_seconds=10, _ansible_remote_tmp=str(self.folder), _ansible_diff=True, _ansible_verbosity=3,
                         _ansible_check_mode=check)
        if state == "begun":
            arguments.update(old_port=443, new_port=8443, stop=[[str(self.product), "stop"]],
                             start=[[str(self.product), "start"]], hub_urls=[dict(path=str(self.path), port=8443)])
        done = direct_module.run("confirmed_change", dict(arguments, **more), self.prefix)
        assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
        assert "Traceback" not in done.stdout + done.stderr
        return direct_module.result(done.stdout, done.stderr)

    def begin(self, **more):
        begun = self.run(**more)
        assert begun.get("state") == "waiting", begun
        return begun

    def confirm(self, **more):
        begun = self.begin(**more)
        assert self.run("confirmed", token=begun["token"])["state"] == "confirmed"

    def ends(self, state):
        until(lambda: self.run("present")["state"] == state)
        until(lambda: not os.path.exists(self.place.path("run.zip")))

    def holding_secrets(self):
        """Files of ours that hold what is secret: path -> mode."""
        found = {}
        for path in self.state.rglob("*"):
            if path.is_file() and [secret for secret in SECRETS if secret.encode() in path.read_bytes()]:
                assert path.stat().st_mode & 0o077 == 0 == path.parent.stat().st_mode & 0o077, path
                found[path.parent.name] = path.name
        return found


@pytest.fixture
def host(tmp_path):
    if os.path.isdir("/run/systemd/system") and os.geteuid():
        pytest.skip("hiding systemd from the module needs root")
    made = Host(tmp_path)
    yield made
    state = made.place.state()
    if state and state["state"] == "waiting":
        made.run("reverted")


def test_the_port_moves_and_no_other_byte_and_a_second_run_stops_nothing(host):
    begun = host.begin()
    assert begun["files"] == [str(host.path)] and host.path.read_bytes() == MOVED and host.path.stat().st_mode & 0o777 == 0o640
    assert "+  <Url>" not in str(begun["diff"])
    [diff] = begun["diff"]
    assert "<Url>https://hub.example.test:8443/api/</Url>" in diff["after"] and "<E1>********</E1>" in diff["after"]
    assert set(host.holding_secrets()) == {"undo", "change_tracker"}
    assert host.run("confirmed", token=begun["token"])["state"] == "confirmed"
    until(lambda: set(host.holding_secrets()) == {"change_tracker"})    # the record's backup, the way back
    assert host.calls() == ["stop", "start"]
    second = host.run()
    assert (second["changed"], second["state"]) == (False, "none") and host.calls() == ["stop", "start"]


def test_what_is_not_confirmed_is_undone_byte_for_byte(host):
    host.begin(timeout=5)
    host.ends("reverted")
    assert host.path.read_bytes() == BEFORE and host.calls() == ["stop", "start"] * 2


def test_check_mode_predicts_it_and_touches_nothing(host):
    found = host.run(check=True)
    assert found["changed"] and found["files"] == [str(host.path)] and "hub.example.test:8443" in found["diff"][0]["after"]
    assert host.path.read_bytes() == BEFORE and not host.state.exists() and host.calls() == []


def test_credentials_that_the_agent_encrypts_at_its_start_stay_when_the_port_goes_back(host):
    host.path.write_bytes(FILE % (b"password-8Lm", b""))
    (host.folder / "on-start").write_text(NEW_CREDENTIALS)
    host.begin(timeout=10)
    assert b".test:8443/" in host.path.read_bytes()
    host.ends("reverted")
    assert host.path.read_bytes() == FILE % (b"", b"ciphertext-new==")
    assert set(host.holding_secrets()) == {"change_tracker"} and host.run("present")["notes"] == []


def test_credentials_that_were_changed_after_the_move_stay_on_a_way_back_days_later(host):
    host.confirm()
    host.path.write_bytes(MOVED.replace(b"ciphertext-9Kw", b"ciphertext-new"))
    foreseen = host.run("reverted", check=True)
    assert foreseen["changed"] and "<E1>********</E1>" in str(foreseen["diff"])
    way_back = direct_module.result(direct_module.run(
        "change_record", dict(path=str(host.record), _ansible_remote_tmp=str(host.folder))).stdout)
    assert (way_back["ok"], way_back["unsafe"], way_back["restorable"]) == (True, [], [str(host.path)])
    back = host.run("reverted")
    assert (back["state"], back["restored"]) == ("reverted", [str(host.path)])
    assert host.path.read_bytes() == BEFORE.replace(b"ciphertext-9Kw", b"ciphertext-new")
    assert json.loads(host.record.read_text())["state"] == "rolled_back" and host.calls() == ["stop", "start"] * 2


def test_an_agent_that_was_led_to_another_hub_since_is_not_led_back_unless_by_force(host):
    host.confirm()
    elsewhere = MOVED.replace(b"hub.example", b"hub2.example")
    host.path.write_bytes(elsewhere)
    refused = host.run("reverted")
    assert refused["failed"] and "it has changed since the migration" in refused["msg"]
    assert host.path.read_bytes() == elsewhere
    assert host.run("reverted", force=True)["state"] == "reverted" and host.path.read_bytes() == BEFORE


def test_a_damaged_file_is_not_shown_on_the_way_back(host):
    host.confirm()
    host.path.write_bytes(MOVED[MOVED.index(b"<Username"):])
    assert host.run("reverted", check=True)["failed"]
    assert host.run("reverted", force=True, check=True)["changed"]
    assert host.run("reverted", force=True)["state"] == "reverted" and host.path.read_bytes() == BEFORE


@pytest.mark.parametrize("what, sentence", [
    (dict(hub_urls=[dict(path="HubDetails.xml", port=8443)] * 2), "is named by hub_urls, and named a second time by hub_urls"),
    (dict(files=[dict(path="HubDetails.xml", content="x")]), "is named by hub_urls, and named a second time by files"),
    (dict(hub_urls=[dict(path="HubDetails.xml", port=70000)]), "port is 70000, which is not a port number"),
    (dict(hub_urls=[dict(path="nowhere.xml", port=8443)]), "nowhere.xml: does not exist"),
    (dict(hub_urls=[dict(path="other.xml", port=8443)]), "there is a document type (<!DOCTYPE) in line 1"),
])
def test_what_can_not_be_is_refused_with_the_agent_still_running(host, what, sentence):
    (host.folder / "other.xml").write_text("<!DOCTYPE x><HubDetails><Url>https://hunter2/</Url></HubDetails>")
    for entries in what.values():
        for entry in entries:
            entry["path"] = str(host.folder / os.path.basename(entry["path"]))
    found = host.run(**what)
    assert found["failed"] and sentence in found["msg"], found
    assert host.path.read_bytes() == BEFORE and host.calls() == []
