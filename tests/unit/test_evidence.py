# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as evidence, and why something does not."""

import pytest

from ansible_collections.portshift.agents.plugins.plugin_utils._evidence import without_evidence


def reason(value):
    return without_evidence(dict(host=dict(proof=value)), "host", "proof")


@pytest.mark.parametrize("value", [
    True, 1, "yes", [1], dict(ok=True), dict(ok=True, changed=False), dict(ok=True, problems=[]), dict(port=55000),
    dict(ok=True, failed=False)])
def test_evidence(value):
    assert reason(value) is None


@pytest.mark.parametrize("value, why", [
    (False, "proof is False"), (None, "proof is None"), ("", "proof is ''"), (0, "proof is 0"), ([], "proof is []"),
    ({}, "proof says that it is not ok"),
    (dict(ok=False), "proof says that it is not ok"),
    (dict(ok="yes"), "proof says that it is not ok"),
    (dict(ok=False, port=55000), "proof says that it is not ok"),
    (dict(ok=False, problems=["a is odd", "b too"]), "a is odd; b too"),
    (dict(ok=False, missing=dict(log="no report", parent="no answer")), "no report; no answer"),
    (dict(ok=True, failed=True, msg="broke"), "broke"),
    (dict(failed=True, msg="broke"), "broke"),
    (dict(unreachable=True, msg="no route"), "no route"),
    (dict(unreachable=True), "unreachable or skipped"),
    (dict(skipped=True, changed=False), "unreachable or skipped"),
    (dict(failed=True, missing=dict(log="no report"), msg="broke"), "no report"),
])
def test_no_evidence_and_why(value, why):
    assert reason(value) == why


def test_host_that_never_answered_has_given_none():
    assert without_evidence(dict(host={}), "host", "proof") == "no answer: unreachable, or failed before it could prove anything"


def test_unknown_host_has_given_none():
    assert without_evidence({}, "host", "proof") == "not in the inventory"
