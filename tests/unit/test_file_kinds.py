# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a diff may show of a recorded file, and what puts one back that has changed since: by what the file is."""

import json
import pathlib
from types import SimpleNamespace
from unittest import mock

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import edit as bigfix_edit
from ansible_collections.portshift.agents.plugins.module_utils._boks import services_file
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import hub_edit
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord
from ansible_collections.portshift.agents.plugins.modules.change_record import KINDS
from ansible_collections.portshift.agents.tests.unit.masthead_files import plain

NGINX = b"""server {
    listen 443 ssl;
    proxy_set_header Authorization "Basic hunter2";
}
"""
HUB = b"<HubDetails><Url>https://hub/api/</Url><E1>hunter2</E1></HubDetails>"
SERVICES = b"# hunter2\nboks\t\t6500/tcp boks-master # hunter2\n boks 6500/udp\r\n\nhunter2 = 6500/tcp\n"
CREDENTIALS = b"USERNAME=hunter2\nRESTURL=https://localhost:52311/api?hunter2\n"
SETTINGS = b"[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\_Secret]\nvalue = hunter2\n"


def redactor(*states, ports=()):
    """As for a record of an earlier version, which names no kind."""
    return KINDS.redactor(None, *states, ports=ports)


def undone(now, before):
    return KINDS.undo(8443)(None, now, before)


@pytest.mark.parametrize("content", [
    NGINX, NGINX[:-2], b"server\n{\n proxy_set_header X hunter2;", b"  listen 443;\n password hunter2;\n",
    HUB, HUB[3:], HUB.decode().encode("utf-16"), b"\xef\xbb\xbf" + HUB, b"<!-- " + HUB,
    SETTINGS, SETTINGS[:-9] + b"\nhunter2", b"[x]\nvalue = hunter2", SERVICES, SERVICES[:3] + b"hunter2", CREDENTIALS,
    b"hunter2", b"password: hunter2\n", plain().replace(b".exe", b".exe?hunter2"),
])
def test_no_secret_is_shown_whatever_the_file_is_and_however_broken(content):
    shown = redactor(content)(content)
    assert b"hunter2" not in shown and "hunter2" not in shown.decode("utf-16", "ignore")


def test_what_moved_is_shown():
    assert b"listen 443 ssl;" in redactor(NGINX, NGINX)(NGINX) and b"https://hub/api/" in redactor(HUB, HUB)(HUB)
    assert b"EnterpriseClient" in redactor(SETTINGS, SETTINGS)(SETTINGS)
    assert redactor(SERVICES)(SERVICES) == (
        b"********\nboks\t\t6500/tcp boks-master # ********\n boks 6500/udp\r\n\n********\n")
    assert redactor(CREDENTIALS)(CREDENTIALS) == b"********\nRESTURL=https://localhost:52311/api?********\n"
    assert redactor(plain())(plain()) == plain()
    moved = b"[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\X]\nvalue = http://u:hunter2@a:55000/\n"
    assert b"value = ********:55000********\n" in redactor(moved, ports=(52311, 55000))(moved)


@pytest.mark.parametrize("content", [plain(), SERVICES, SETTINGS, CREDENTIALS, HUB])
def test_what_a_masthead_has_become_is_not_shown(content):
    for states in ((content, plain()), (plain(), content)):
        assert b"hunter2" not in redactor(*states)(content)


@pytest.mark.parametrize("before", [HUB, NGINX])
@pytest.mark.parametrize("now", [b"hunter2==", b"hunter2 value = x", b"a = hunter2 value\n", b"", b"[x]\nhunter2 = y\n"])
def test_what_is_left_of_a_file_is_shown_as_what_the_file_was(now, before):
    for states in ((now, before), (before, now)):
        assert all(b"hunter2" not in redactor(*states)(content) for content in (now, before))


def test_no_secret_of_a_file_that_was_damaged_is_in_the_diff_of_the_way_back(tmp_path):
    path, record = tmp_path / "HubDetails.xml", ChangeRecord(str(tmp_path / "record.json"), 443, 8443)
    path.write_bytes(HUB)
    moved = HUB.replace(b"hub/", b"hub:8443/")
    record.before_write(str(path), HUB, moved)
    path.write_bytes(b"hunter2 value = x")
    module = SimpleNamespace(check_mode=True, _diff=True, params={})
    [diff] = record.restore(module, force=True, undo=KINDS.undo(8443), redactor=KINDS.redactor)["diff"]
    assert "hunter2" not in diff["before"] + diff["after"] and "https://hub/api/" in diff["after"]


@pytest.mark.parametrize("before, moved, since", [
    (NGINX, NGINX.replace(b"443 ssl;", b"443 ssl;\n    listen 8443 ssl;"), (b"}", b"    gzip on;\n}")),
    (NGINX, NGINX.replace(b"443", b"8443"), (b"}", b"    gzip on;\n}")),
    (HUB, HUB.replace(b"hub/", b"hub:8443/"), (b"hunter2", b"anew")),
])
def test_the_move_alone_is_taken_out_of_a_file_that_has_changed_since(before, moved, since):
    assert undone(moved.replace(*since), before) == before.replace(*since)


def test_another_product_s_file_is_put_back_by_its_own_bytes_alone():
    assert undone(SETTINGS + b"\n", SETTINGS) is None


def edits(folder):
    """{kind: an edit as a product's own module makes it}"""
    files = dict(settings=SETTINGS + b"[Software\\BigFix\\EnterpriseClient\\Settings\\Client\\__RelayServer1]\nvalue = "
                 b"http://hunter2:52311/bfmirror/downloads/\n", flat=CREDENTIALS, masthead=plain(), hub=HUB, services=SERVICES)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return dict(
        bigfix_settings=bigfix_edit.SettingsEdit(str(folder / "settings"), {}, rewrite=(52311, 55000)),
        bigfix_flat_settings=bigfix_edit.CredentialsEdit(str(folder / "flat"), 52311, 55000),
        bigfix_masthead=bigfix_edit.MastheadEdit(str(folder / "masthead"), 55000),
        hub_details=hub_edit.HubEdit([str(folder / "hub")], port=8443),
        services_file=services_file.ServicesEdit(str(folder / "services"), "boks", 6530))


def test_record_names_the_kind_of_each_file_and_the_way_back_goes_by_it(tmp_path, fake_module):
    for kind, edit in edits(tmp_path).items():
        record = str(tmp_path / (kind + ".json"))
        edit.commit(fake_module(), record=ChangeRecord(record, 1, 2))
        content = json.loads(pathlib.Path(record).read_bytes())
        assert [entry["kind"] for entry in content["files"]] == [kind]
        asked = mock.Mock(return_value=bytes)
        assert ChangeRecord(record).restore(fake_module(), redactor=asked)["restored"] == [edit.path]
        assert [call.args[0] for call in asked.call_args_list] == [kind]


def test_file_of_a_kind_that_is_not_known_is_neither_shown_nor_mended():
    # Such as in a record of a later version, or of a product of which this module knows nothing.
    assert KINDS.redactor("tomorrow", HUB, HUB)(HUB) == b"********"
    assert KINDS.undo(8443)("tomorrow", HUB.replace(b"hub/", b"hub:8443/"), HUB) is None


def test_kind_counts_and_not_what_the_file_looks_like():
    like_nginx = b"server {\n  listen 443;\n}\n"
    assert KINDS.redactor("hub_details", like_nginx, like_nginx)(like_nginx) != KINDS.redactor(None, like_nginx)(like_nginx)
    assert KINDS.undo(8443)("bigfix_settings", like_nginx.replace(b"443", b"8443"), like_nginx) is None
