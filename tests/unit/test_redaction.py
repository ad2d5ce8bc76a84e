# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be shown of a URL, and of what another program said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.portshift.agents.plugins.module_utils._bigfix import masthead
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.agent_log import log_entries
from ansible_collections.portshift.agents.plugins.module_utils._core.bounded_commands import told
from ansible_collections.portshift.agents.plugins.module_utils._core.log_lines import compile_patterns, failures_since
from ansible_collections.portshift.agents.plugins.module_utils._core.redaction import shown_url, shown_words, with_urls_shown
from ansible_collections.portshift.agents.plugins.module_utils._core.services import ServiceError, Services
from ansible_collections.portshift.agents.tests.unit.growth import SHARE, is_a_line, seconds
from ansible_collections.portshift.agents.tests.unit.masthead_files import plain

CANARY = "c4n4ry"


@pytest.mark.parametrize("url, shown", [
    ("http://a.test:52311/bfmirror/downloads/", "http://a.test:52311/bfmirror/downloads/"), ("HTTPS://a", "HTTPS://a"),
    ("https://[2001:db8::1]:52311/", "https://[2001:db8::1]:52311/"), ("http://a:/x", "http://a:/x"),
    ("http://u:p@a:1/x?k=v#f", "http://********@a:1/x?********#********"), ("http://@a/", "http://********@a/"),
    ("http://u:p@ss@a/", "http://********@a/"), ("http://a?k", "http://a?********"), ("http://a#f?k", "http://a#********"),
    ("http://a/?", "http://a/?********"), ("http://a/#", "http://a/#********"), ("http://bob:1/2@a/", "http://********"),
    ("http://a/b%3fk", "http://a/********"), ("http://a/http://u:p@b/", "http://********"),
    ("http://bob:secret", "********"), ("http://a b/", "********"), ("ftp://a/", "********"), ("a:1", "********"),
    ("", "********"),
    ("http://a%40b/", "********"), ("http://a:123456/", "********"),
])
def test_a_url_is_shown_without_user_info_query_and_fragment(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize("said, shown", [
    ("Report posted successfully", "Report posted successfully"), ("port 55000 failed", "port 55000 failed"),
    ("RegisterOnce: GetURL failed - General transport failure. - SOAP URL: http://a.test:52311/cgi-bin/x.exe/y - registration "
     "url - http://u:p@a.test:52311/x?id=1&key=7Qz.",
     "RegisterOnce: GetURL failed - General transport failure. - SOAP URL: http://a.test:52311/cgi-bin/x.exe/y - registration "
     "url - http://********@a.test:52311/x?********."),
    ("(http://a:1/x), \"http://a:1/?k\"", "(http://a:1/x), \"http://a:1/?********\""),
    ("http://u:p)w@a:1/", "http://********@a:1/"), ("proxy u:7Qz@a:1 refused", "proxy ********@a:1 refused"),
    ("pwd=7Qz port=55000 exit = 3, a='b c'", "pwd=******** port=55000 exit = 3, a=********"),
    ("Authorization: Basic N1F6 x", "Authorization: ********"), ("proxy-password: 7Qz 8", "proxy-password: ********"),
    ("tried Bearer 7Qz.8", "tried Bearer ********"), ("At 20:18:06 +0100 - failed", "At 20:18:06 +0100 - failed"),
    ("password expired", "password expired"),
])
def test_of_what_another_program_said_no_value_is_shown_that_it_gives_to_a_name(said, shown):
    assert shown_words(said) == shown


@given(st.text(st.sampled_from("ab:/@.!$&'()*+,;=-_~"), max_size=10), st.text(st.sampled_from("ab:@.!$&*+=-_~"), max_size=10))
def test_no_secret_of_a_url_in_a_sentence_is_shown(before, after):
    for url in ("http://u:%s@host.test:1/x", "https://host.test/x?%s", "http://host.test#%s"):
        assert CANARY not in shown_words("failed: " + url % (before.replace("/", "") + CANARY + after) + " - again")


@pytest.mark.parametrize("said, shown", [
    ("cannot stop: Password = alpha hunter2, try again", "cannot stop: Password = ********, try again"),
    ("the password is hunter3 indeed", "the password is ********"),
    ("agent --password hunter4 ended", "agent --password ********"),
    ("db_secret=a b port=55000", "db_secret=******** port=55000"),
])
def test_a_secret_with_a_name_is_not_shown_however_it_is_given(said, shown):
    assert shown_words(said) == shown


@pytest.mark.parametrize("piece", ["http://", "a", "a:", "a@", "a:b@", "a=", "a-", "password", "password: ", "password=",
                                   "password= ", "a password is ", "a/?", ".,;", " "])
def test_a_long_line_costs_no_more_than_its_length(piece):
    eighth, whole = (seconds(shown_words, piece * count) for count in (20000, SHARE * 20000))
    assert is_a_line(eighth, whole)


def test_logs_and_last_words_are_shown_that_way(tmp_path):
    line = "2026-11-21 20:18:00 INFO Hub connection failed (403 https://hub/api?key=7Qz)"
    [found], undated = failures_since("log", line.encode(), 0, compile_patterns(["connection failed .*7Qz"]), 1795292280)
    assert (found, undated) == (line.replace("key=7Qz)", "********)"), 0)
    assert told("a\nfailed: pwd=7Qz\n") == " (a / failed: pwd=********)"

    says = '[ "$2" = status ] && exit 3; echo token=7Qz; echo http://u:7Qz@a/ >&2; exit 1'
    with pytest.raises(ServiceError) as failed:
        Services(None, ["besclient"], ["sh", "-c", says, "service"]).start()
    assert str(failed.value) == "service besclient could not start: token=******** / http://********@a/"
    assert log_entries("20261121.log", b"At 20:18:05 +0000 - x?key=7Qz")[0].text == "x?key=7Qz"


def test_a_masthead_is_shown_without_the_secrets_of_its_urls():
    content = plain().replace(b"clientregister.exe", b"clientregister.exe?key=7Qz#7Qz")
    assert masthead.masthead_facts(masthead.parse(content))["urls"] == {
        "X-Fixlet-Site-Registration-URL":
        "http://bigfix.example.test:52311/cgi-bin/bfenterprise/clientregister.exe?********#********"}
    assert masthead.redacted(content) == content.replace(b"?key=7Qz#7Qz", b"?********#********")
    assert masthead.redacted(plain()) == plain() and with_urls_shown("caf\xe9 http://a/\xe9") == "caf\xe9 http://a/\xe9"
    with pytest.raises(masthead.MastheadError) as refused:
        masthead.parse(b"X-A-URL: http://h/x?key=7Qz\n")
    assert "has no port in 'http://h/x?********'" in str(refused.value)
