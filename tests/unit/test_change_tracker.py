# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of Change Tracker: one table.  And how an agent with its file reaches the hub."""

import os
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.filter.change_tracker_ports import FilterModule
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import hub_details, hub_url
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.host import AgentHost, _spared

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
change_tracker_ports = FilterModule().filters()["change_tracker_ports"]


# --- the table ---

@pytest.mark.parametrize("component, direction, expected", [
    ("hub", "in", [(8443, ["agent", "proxy", "console"], ["hub"])]),
    ("hub", "out", []),
    ("agent", "in", []),
    ("agent", "out", [(8443, ["agent"], ["hub"])]),
    ("proxy", "out", [(22, ["proxy"], ["linux", "network"]), (445, ["proxy"], ["windows"]), (8443, ["proxy"], ["hub"])]),
    ("all", "in", [(8443, ["agent", "proxy", "console"], ["hub"])]),
    ("all", "out", [(22, ["proxy"], ["linux", "network"]), (445, ["proxy"], ["windows"])]),
])
def test_each_component_has_the_flows_of_the_document(component, direction, expected):
    found = change_tracker_ports(8443, component, direction)
    assert [(entry["port"], entry["from"], entry["to"]) for entry in found] == expected
    assert {entry["direction"] for entry in found} <= {direction} and {entry["protocol"] for entry in found} <= {"tcp"}
    assert found == [entry for entry in change_tracker_ports(8443, component) if entry["direction"] == direction]


def test_telnet_comes_on_request_alone_and_with_the_documents_warning():
    without, asked = change_tracker_ports(443, "proxy"), change_tracker_ports(443, "proxy", telnet=True)
    [telnet] = [entry for entry in asked if entry not in without]
    assert (telnet["port"], telnet["service"], telnet["to"], telnet["on_request"]) == (23, "telnet", ["network"], True)
    assert telnet["warning"] == "SSH (port 22) is recommended over Telnet (port 23) for security reasons."
    assert not [entry for entry in without if entry["on_request"] or entry["warning"]]


@given(port=st.integers(1, 65535), component=st.sampled_from(hub_url.COMPONENTS + ("all",)), telnet=st.booleans())
def test_only_the_hubs_port_moves(port, component, telnet):
    found = change_tracker_ports(str(port), component, telnet=telnet)
    assert [entry["port"] for entry in found if entry["movable"]] == [port]
    assert {entry["port"] for entry in found if not entry["movable"]} <= {22, 23, 445}
    assert found == sorted(found, key=lambda entry: entry["port"])


@pytest.mark.parametrize("arguments, sentence", [
    ((0,), "the hub's port is 0, which is not a port number"), (("https",), "the hub's port is 'https'"),
    ((443, "server"), "the component is 'server'; give one of hub, agent, proxy, all"),
    ((443, "hub", "up"), "the direction is 'up'; give one of in, out, both"),
    ((443, "hub", "in", "no"), "telnet is 'no'; give true or false"),
])
def test_what_can_not_be_asked_is_a_sentence(arguments, sentence):
    with pytest.raises(AnsibleFilterError) as caught:
        change_tracker_ports(*arguments)
    assert sentence in str(caught.value)


def test_the_document_shows_this_table():
    with open(os.path.join(CHECKOUT, "docs", "ports.md"), encoding="utf-8") as source:
        section = source.read().split("\n## Change Tracker\n")[1].split("\n## ")[0]
    shown = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert shown == ["| %s |" % " | ".join([
        ", ".join(row.sources), ", ".join(row.targets), "N" if row.port is None else str(row.port), "tcp", row.service,
        row.purpose, "yes" if row.port is None else "no"]) for row in hub_url.TABLE]
    assert hub_url.SSH_RATHER in section


@pytest.mark.parametrize("path, service", [
    ("/var/nnt/gen7agent.app.netcore/HubDetails.xml", "nntgen7agentcore"),
    ("/var/nnt/gen7agent.service/HubDetails.xml", "nntgen7agent"),
    ("/etc/NNT/gen7agent.app.netcore/HubDetails.xml", "nntgen7agentcore"),
    ("/opt/x/gen7agent.service/y/HubDetails.xml", "nntgen7agent"),
    ("/opt/x/HubDetails.xml", None), ("/opt/gen7agent.service", None),
])
def test_the_folder_tells_the_service(path, service):
    assert hub_url.service_of(path) == service
    assert all(hub_url.service_of(place) for place in hub_url.PLACES)


# --- the way to the hub ---

SHA1, SHA256 = "3F9A5C0E2D7B41886A0C1D94E7F2B3605948D1CA", "AB" * 32


def way(after="", url="https://hub/api/"):
    return hub_details.way(("<HubDetails><Url>%s</Url>%s</HubDetails>" % (url, after)).encode("utf-8"))


@pytest.mark.parametrize("text, thumbprint, odd", [
    ("", None, False), ("<Thumbprint/>", None, False), ("<Thumbprint> \r\n</Thumbprint>", None, False),
    ("<Thumbprint>%s</Thumbprint>" % SHA1, SHA1, False), ("<Thumbprint>%s</Thumbprint>" % SHA256.lower(), SHA256, False),
    ("<Thumbprint>\u200e3f:9a 5c 0e2d7b41886a0c1d94e7f2b3605948d1ca</Thumbprint>", SHA1, False),
    ("<Thumbprint><![CDATA[%s]]></Thumbprint>" % SHA1, SHA1, False),
    ("<Thumbprint>3F9A</Thumbprint>", None, True), ("<Thumbprint>%sG</Thumbprint>" % SHA1[1:], None, True),
    ("<Other><Thumbprint>%s</Thumbprint></Other>" % SHA1, None, False),
    ("<!-- <Thumbprint>%s</Thumbprint> -->" % SHA1, None, False),
    ("<Thumbprint>%s</Thumbprint><Thumbprint> %s</Thumbprint>" % (SHA1, SHA1), SHA1, False),
])
def test_a_thumbprint_is_read_as_it_may_be_written(text, thumbprint, odd):
    assert (way(text).thumbprint, way(text).odd_thumbprint) == (thumbprint, odd)


@pytest.mark.parametrize("text, proxy", [
    ("", None), ("proxy", ("proxy", 80)), ("proxy:3128", ("proxy", 3128)), ("http://proxy:3128/", ("proxy", 3128)),
    ("https://user:p@ss@proxy.example.test:8080/x", ("proxy.example.test", 8080)),
    ("http://[2001:db8::1]:3128", ("2001:db8::1", 3128)),
    ("http://user:12/secret@proxy:3128", ("proxy", 3128)), ("http://user://a:1@b/c@proxy", ("proxy", 80)),
    ("//proxy:8", ("proxy", 8)), ("http://user:12/secret@", ("", 0)),
    ("user:secret@10.0.0.1:8", ("10.0.0.1", 8)), ("http://a b:c", ("", 0)), ("http://", ("", 0)), (":3128", ("", 0)),
])
def test_of_a_proxy_host_and_port_are_known_and_no_more(text, proxy):
    assert way("<Proxy>%s</Proxy>" % text).proxy == proxy


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="<&"), max_size=60))
def test_any_text_can_stand_where_a_proxy_is_named(text):
    found = way("<Proxy>%s</Proxy>" % text).proxy
    assert found is None or isinstance(found[1], int)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="<&"), max_size=60),
       st.sampled_from(["", "http://", "//"]))
def test_no_part_of_a_password_is_taken_for_the_proxys_name(password, scheme):
    assert way("<Proxy>%su:%s@10.0.0.1:3128</Proxy>" % (scheme, password)).proxy == ("10.0.0.1", 3128)


@pytest.mark.parametrize("text, default", [
    ("", False), ("false", False), ("true", True), ("True ", True), ("1", True), ("x", False)])
def test_the_systems_proxy_is_taken_where_the_file_says_so(text, default):
    assert way("<UseDefaultProxy>%s</UseDefaultProxy>" % text).default_proxy is default


@pytest.mark.parametrize("host, no_proxy, spared", [
    ("hub.example.test", "", False), ("hub.example.test", "localhost, .example.test", True),
    ("hub.example.test", "HUB.example.test", True),
    ("hub.example.test", "*", True), ("hub.example.test", "ample.test", False), ("10.0.0.1", "10.0.0.1", True),
])
def test_a_host_that_no_proxy_names_is_reached_without_one(host, no_proxy, spared):
    assert _spared(host, no_proxy) is spared


@pytest.mark.parametrize("file, environment, url, proxy", [
    ("", dict(https_proxy="http://10.0.0.1:3128"), "https://hub/", None),
    ("<UseDefaultProxy>true</UseDefaultProxy>", {}, "https://hub/", None),
    ("<UseDefaultProxy>true</UseDefaultProxy>", dict(https_proxy="http://10.0.0.1:3128"), "https://hub/", ("10.0.0.1", 3128)),
    ("<UseDefaultProxy>true</UseDefaultProxy>", dict(all_proxy="10.0.0.1"), "https://hub/", ("10.0.0.1", 80)),
    ("<UseDefaultProxy>true</UseDefaultProxy>", dict(http_proxy="http://10.0.0.1:3128"), "https://hub/", None),
    ("<UseDefaultProxy>true</UseDefaultProxy>", dict(http_proxy="http://10.0.0.1:3128"), "http://hub/", ("10.0.0.1", 3128)),
    ("<UseDefaultProxy>true</UseDefaultProxy>", dict(https_proxy="http://10.0.0.1", no_proxy="hub"), "https://hub/", None),
    ("<UseDefaultProxy>true</UseDefaultProxy><Proxy>p:1</Proxy>", dict(https_proxy="http://10.0.0.1"), "https://hub/", ("p", 1)),
])
def test_the_proxy_is_the_files_or_else_that_of_the_agents_environment(file, environment, url, proxy):
    host = SimpleNamespace(way=way(file, url), service=SimpleNamespace(environment=lambda: environment))
    assert AgentHost.proxy(host) == proxy


BEFORE = b"<HubDetails><Url>https://hub/api/</Url><E1>old</E1></HubDetails>"
MOVED = BEFORE.replace(b"hub/", b"hub:8443/")


@pytest.mark.parametrize("now, expected", [
    (MOVED, BEFORE), (BEFORE, BEFORE),
    (MOVED.replace(b"old", b"new"), BEFORE.replace(b"old", b"new")),
    (b"\xef\xbb\xbf" + MOVED, b"\xef\xbb\xbf" + BEFORE),
    (MOVED.replace(b"8443", b"9443"), None), (MOVED.replace(b"hub:", b"hub2:"), None), (MOVED[:-1], None), (b"", None),
    (b"boks 1/tcp", None),
])
def test_an_agents_file_that_was_written_anew_gets_its_old_url_back_and_keeps_the_rest(now, expected):
    assert hub_details.moved_back(now, BEFORE, 8443) == expected
    assert hub_details.moved_back(now, b"no xml", 8443) is None
