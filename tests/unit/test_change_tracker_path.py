# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter change_tracker_path: what counts as the same hub on two ports."""

import pytest

from ansible_collections.portshift.agents.plugins.filter.change_tracker_path import FilterModule

change_tracker_path = FilterModule().filters()["change_tracker_path"]
WAY = "10.0.0.9 -> hub (10.0.0.1) port 8443 tcp"
ONE, OTHER = "AB" * 32, "CD" * 32


def answer(port, status=401, sha256=ONE, reason=None):
    return dict(host="hub", address="10.0.0.1", port=port, protocol="tcp", source="10.0.0.9", reachable=reason is None,
                reason=reason, error=reason and "%s: %s" % (WAY, reason), status=None if reason else status,
                certificate=sha256 and not reason and dict(sha1="EF" * 20, sha256=sha256, not_after=None) or None)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 502, 503])
@pytest.mark.parametrize("sha256", [ONE, None])
def test_the_same_answer_on_both_ports_is_a_way(status, sha256):
    assert change_tracker_path([answer(8443, status, sha256), answer(443, status, sha256)]) == dict(problems=[], notes=[])


@pytest.mark.parametrize("new, old", [(502, 401), (400, 200), (404, 401), (200, 401)])
def test_another_status_is_none_and_both_are_named(new, old):
    found = change_tracker_path([answer(8443, new), answer(443, old)])
    assert found == dict(notes=[], problems=[
        "%s: HTTP status %d, while port 443, where the agent is now, answers with %d" % (WAY, new, old)])


@pytest.mark.parametrize("sha256", [ONE, OTHER])
@pytest.mark.parametrize("old", [400, 502])
def test_from_a_broken_port_there_is_a_way_to_one_that_answers_and_a_note_says_so(old, sha256):
    found = change_tracker_path([answer(8443, 401), answer(443, old, sha256)])
    assert found == dict(problems=[], notes=[
        "port 443, where the agent is now, answers with HTTP status %d, so that nothing was there to compare the answer on "
        "port 8443 with" % old])


def test_from_a_broken_port_there_is_no_way_to_one_that_is_broken_otherwise():
    found = change_tracker_path([answer(8443, 503), answer(443, 502)])
    assert found["problems"] == [
        "%s: HTTP status 503, and an answer of 400, or of 500 and more, is none of a hub; port 443, where the agent is now, "
        "answers with HTTP status 502, so there is nothing to compare it with" % WAY]


def test_another_certificate_is_none_and_both_are_named():
    found = change_tracker_path([answer(8443, sha256=OTHER), answer(443)])
    assert found["problems"] == [
        "%s: the certificate with the SHA-256 fingerprint %s, while port 443, where the agent is now, shows the one with %s" % (
            WAY, OTHER, ONE)]


def test_a_new_port_without_an_answer_is_told_as_the_probe_tells_it():
    assert change_tracker_path([answer(8443, reason="connection refused"), answer(443)]) == dict(
        problems=[WAY + ": connection refused"], notes=[])


@pytest.mark.parametrize("status, good", [(200, True), (401, True), (404, True), (499, True), (400, False), (500, False),
                                          (502, False), (599, False)])
def test_with_nothing_to_compare_with_only_an_answer_of_a_hub_counts_and_a_note_says_so(status, good):
    found = change_tracker_path([answer(8443, status), answer(443, reason="no answer within 5 s")])
    assert found["notes"] == [
        "port 443, where the agent is now, does not answer as it should (no answer within 5 s), so that nothing was there to "
        "compare the answer on port 8443 with"]
    assert bool(found["problems"]) is not good
    assert good or found["problems"][0].startswith("%s: HTTP status %d, and an answer of 400, or of 500 and more" % (WAY, status))


def test_both_ports_without_an_answer_are_one_problem():
    found = change_tracker_path([answer(8443, reason="connection refused"), answer(443, reason="connection refused")])
    assert found["problems"] == [WAY + ": connection refused"] and len(found["notes"]) == 1


def test_what_was_not_tried_has_no_problems():
    assert change_tracker_path([]) == dict(problems=[], notes=[])
