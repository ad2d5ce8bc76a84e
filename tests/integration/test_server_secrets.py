# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A root server whose files hold secrets goes to another port and comes back: what its modules print of them."""


import pytest

from ansible_collections.portshift.agents.tests.unit.masthead_files import plain
from ansible_collections.portshift.agents.tests.unit.test_secrets_of_modules import CANARY, CONFIG, NEW, NOTE, OLD, section
from tests.integration import direct_module

CREDENTIALS = "USERNAME=c4n4ry\r\nRESTURL=https://localhost:52311/api\r\nPASSWORD=c4n4ry\r\n"
SERVICE = """#!/bin/sh
cd '{folder}'
case $2 in
    status) [ -e running ] || exit 3 ;;
    stop) rm -f running ;;
    start) [ ! -e fails ] || {{ rm fails; echo 'token=c4n4ry' >&2; exit 1; }}; touch running ;;
esac
"""


class Server:
    def __init__(self, folder):
        self.folder = folder
        self.files = {name: folder / name for name in (
            "Masthead.afxm", "besclient.config", "besserver.config", "MasterOperatorCredentials", "clientsettings.cfg")}
        contents = (plain(), CONFIG.encode(), section("_BESRelay_HTTPServer_PortNumber", OLD), CREDENTIALS.encode(),
                    b"#c4n4ry\nSiteAccess=c4n4ry\n__RelayServer1=http://u:c4n4ry@a:52311/\n")
        for path, content in zip(self.files.values(), contents):
            path.write_bytes(content)
            path.chmod(0o600)
        (folder / "service").write_text(SERVICE.format(folder=folder))
        (folder / "service").chmod(0o755)
        (folder / "running").touch()
        self.before, self.said = self.contents(), ""

    def contents(self):
        return {name: (path.read_bytes(), path.stat().st_mode) for name, path in self.files.items()}

    def options(self, **options):
        path = {name: str(path) for name, path in self.files.items()}
        return dict(dict(
            component="server", port=NEW, masthead_paths=[path["Masthead.afxm"]],
            settings_paths=[path["besclient.config"], path["besserver.config"]],
            clientsettings_paths=[path["clientsettings.cfg"]],
            credentials_paths=[path["MasterOperatorCredentials"], str(self.folder / "absent")],
            record=str(self.folder / "state" / "bigfix.json")), **options)

    def run(self, name, **options):
        """In a process of its own: a cutover leaves the one that began it."""
        options = dict(options, _ansible_diff=True, _ansible_inject_invocation=True, _ansible_remote_tmp=str(self.folder))
        done = direct_module.run(name, options, merged=True)
        self.said += done.stdout
        return direct_module.result(done.stdout)

    def cutover(self, **options):
        return self.run("bigfix_cutover", **self.options(
            services=["besserver"], service_command=[str(self.folder / "service")], **options))


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    assert CANARY not in server.said, server.said


def rest_urls(result, which):
    return [line for diff in result["diff"] for line in diff[which].splitlines() if line.startswith("RESTURL")]


def undated(result):
    return [[line for line in (diff["before"] + diff["after"]).splitlines() if not line.startswith("effective date")]
            for diff in result["diff"]]


def test_a_server_goes_and_comes_back_and_no_secret_is_shown(server):
    info = server.run("bigfix_info", **server.options())
    credentials = str(server.files["MasterOperatorCredentials"])
    assert info["edits"][-1] == dict(kind="credentials", path=credentials, previous_port=OLD)
    note = NOTE % server.files["besclient.config"]
    assert note in info["notes"]
    foretold = server.cutover(_ansible_check_mode=True)
    assert server.contents() == server.before and len(foretold["files"]) == 5
    missing = server.run("bigfix_evidence", **server.options(timeout=0))["missing"]["files"]
    assert credentials in missing

    moved = server.cutover()
    assert (moved["files"], undated(moved), moved["old_port"]) == (foretold["files"], undated(foretold), OLD)
    assert note in moved["notes"] and any(note in str(warning) for warning in moved["warnings"])
    assert (rest_urls(moved, "before"), rest_urls(moved, "after")) == (
        ["RESTURL=https://localhost:52311/api"], ["RESTURL=https://localhost:55000/api"])
    for name, (content, mode) in server.before.items():
        expected = content.replace(b"52311", b"55000").replace(b"relay2:55000;relay3:55000", b"relay2:52311;relay3:52311")
        found, mode_now = server.contents()[name]
        # What a settings file did not have is added at its end.
        assert mode_now == mode and (found == expected or name.startswith("bes") and found.startswith(expected)), found
    assert server.run("bigfix_evidence", **server.options(timeout=0))["evidence"]["files"]
    assert server.run("change_record", path=server.options()["record"])["restorable"]

    shown = server.run("change_record", path=server.options()["record"], state="restored", _ansible_check_mode=True)
    back = server.cutover(state="restored")
    assert server.contents() == server.before and len(back["files"]) == 5
    for result in (shown, back):
        assert (rest_urls(result, "before"), rest_urls(result, "after")) == (
            ["RESTURL=https://localhost:55000/api"], ["RESTURL=https://localhost:52311/api"])
        assert any("_PortNumber=52311" in diff["after"] for diff in result["diff"])
        assert any("http://********@relay1:52311/bfmirror?********#********" in diff["after"] for diff in result["diff"])


def test_a_server_that_does_not_start_is_put_back_and_its_last_words_hold_no_secret(server):
    (server.folder / "fails").touch()
    failed = server.cutover()
    assert failed["failed"] and "service besserver could not start: token=********" in failed["msg"], failed
    assert server.contents() == server.before


def test_credentials_that_were_written_meanwhile_keep_what_is_new_in_them(server):
    server.cutover()
    path = server.files["MasterOperatorCredentials"]
    path.write_bytes(path.read_bytes().replace(b"PASSWORD=c4n4ry", b"PASSWORD=c4n4ry-2"))
    assert not server.cutover(state="restored").get("failed")
    assert path.read_bytes() == CREDENTIALS.replace("PASSWORD=c4n4ry", "PASSWORD=c4n4ry-2").encode()
