# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port of RESTURL in a MasterOperatorCredentials: moved, moved back, and nothing else touched or shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import credentials_file as engine
from ansible_collections.portshift.agents.plugins.module_utils._bigfix import edit as bigfix_edit
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.edit import CredentialsEdit, undone
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKinds
from ansible_collections.portshift.agents.tests.unit.growth import SHARE, is_a_line, seconds

OLD, NEW = 52311, 55000
REST = b"USERNAME=7Qz\nRESTURL=https://localhost:52311/api\nPASSWORD=52311\n"


def on(port, template):
    return template.replace(b"<>", b"%d" % port)


@pytest.mark.parametrize("template", [
    b"USERNAME=7Qz\nRESTURL=https://localhost:<>/api\nPASSWORD=52311\n", b"RESTURL=https://localhost:<>/api",
    b"A=52311\r\nRESTURL=https://localhost:<>/api\r\nB=c\r\n", b"\xef\xbb\xbfRESTURL=https://localhost:<>\n",
    b" restUrl\t =  https://localhost:<>/api  \n", b"RESTURL=\"https://localhost:<>/api\"\n",
    b"RESTURL='https://[::1]:<>/api?52311' \n", b"RESTURL=https://52311:52311@host:<>/52311\n",
    b"#RESTURL=https://localhost:52311/api\n;RESTURL=x:52311\nRESTURL=https://localhost:<>/\ncaf\xe9 :52311",
    b"RESTURL=https://localhost:<>/api\nRESTURL=https://localhost:52312/api\nRESTURL=https://b:<>/\n",
    b"RESTURL=https%3a%2f%2flocalhost%3a<>%2fapi\n", b"\xff\xfe=\r\nRESTURL=https://localhost:<>/api\n",
])
def test_the_port_moves_and_moves_back(template):
    content = on(OLD, template)
    moved = engine.with_port(content, OLD, NEW)
    assert moved == on(NEW, template) and engine.with_port(moved, NEW, OLD) == content
    assert (engine.rest_ports(content)[0], engine.rest_ports(moved)[0]) == (OLD, NEW)


@pytest.mark.parametrize("content, ports", [
    (b"", []), (b"PASSWORD=https://localhost:52311/api\n", []), (b"#RESTURL=https://localhost:52311/api\n", []),
    (b"RESTURL\n", []), (b"RESTURL=\n", [None]), (b"RESTURL=https://localhost/api\n", [None]),
    (b"RESTURL=localhost:52311\n", [None]), (b"RESTURL=https://localhost:523110/api\n", [None]),
    (b"RESTURL=https://a:52311/;https://b:52311/\n", [None]), (b"RESTURL=\"https://localhost:52311/api\n", [None]),
    (REST.decode().encode("utf-16"), [None]), (b"XRESTURL=https://localhost:52311/\n", []),
    (b"RESTURL=https://localhost:40000/api\n", [40000]),
    (b"Port=52311\n", []), (b"PORT=52311\nRESTURL=https://localhost:40000/api\n", [40000]),
])
def test_what_is_no_resturl_on_the_old_port_stays(content, ports):
    assert engine.rest_ports(content) == ports and engine.with_port(content, OLD, NEW) == content


def test_a_port_of_a_file_is_neither_moved_nor_shown():
    """The port of a server is one of the registry of Windows; a line Port of a file may be any port, such as a database's."""
    content = b"Port=52311\nRESTURL=https://localhost:52311/api\n"
    assert engine.with_port(content, OLD, NEW) == content.replace(b"localhost:52311", b"localhost:55000")
    assert b"Port=52311" not in CredentialsEdit.redact(content)
    assert b"=52311" in CredentialsEdit.redact(b"Port (registry)=52311\n")


@given(st.binary(), st.binary(), st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_every_byte_but_the_port_stays_and_no_other_line_is_shown(before, after, end, mark):
    before, after = (part.replace(b"\0", b"").replace(b"=", b"-") for part in (before, after))
    content = mark + before + end + b"RESTURL=https://localhost:52311/api" + end + b"PASSWORD=c4n4ry" + after
    moved = engine.with_port(content, OLD, NEW)
    assert moved == content.replace(b"/localhost:52311", b"/localhost:55000") and engine.with_port(moved, NEW, OLD) == content
    assert undone(OLD, NEW)(None, moved + b"x", content) == content + b"x"
    for shown in (CredentialsEdit.redact(moved), *[
            FileKinds(bigfix_edit).redactor(kind, moved, content, ports=(OLD, NEW))(moved)
            for kind in (None, CredentialsEdit.kind)]):
        assert b"RESTURL=https://localhost:55000/api" in shown and b"c4n4ry" not in shown


def test_an_edit_changes_the_port_alone(tmp_path, fake_module):
    path = tmp_path / "MasterOperatorCredentials"
    path.write_bytes(REST)
    path.chmod(0o640)
    edit = CredentialsEdit(str(path), OLD, NEW)
    result = edit.commit(fake_module())
    assert path.read_bytes() == REST.replace(b":52311", b":55000") and path.stat().st_mode & 0o7777 == 0o640
    assert [result["diff"][side] for side in ("before", "after")] == [
        "********\nRESTURL=https://localhost:%d/api\n********\n" % port for port in (OLD, NEW)]


@pytest.mark.parametrize("piece", [b"RESTURL=https://localhost:52311/\n", b"a", b"RESTURL=", b"=\n", b"https://"])
def test_a_large_file_costs_no_more_than_its_length(piece):
    eighth, whole = (seconds(engine.with_port, piece * count, OLD, NEW) for count in (5000, SHARE * 5000))
    assert is_a_line(eighth, whole)
