# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test that does not run says why, and `make test` says how many there are."""

import ast
from pathlib import Path

import pytest

from tests.unit.loaded_tool import tool

ROOT = Path(__file__).resolve().parents[2]
SKIPS = {"pytest.skip": 0, "pytest.xfail": 0, "pytest.mark.skip": 0, "pytest.mark.skipif": None, "pytest.mark.xfail": None}


def without_reason(source):
    """The lines of calls and marks in Python text that leave out a test without a word."""
    tree, wrong = ast.parse(source), []
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Call, ast.Attribute)) or id(node) in called:
            continue
        name = ast.unparse(node.func if isinstance(node, ast.Call) else node)
        if name not in SKIPS:
            continue
        given = [keyword.value for keyword in getattr(node, "keywords", []) if keyword.arg in ("reason", "msg")]
        if SKIPS[name] == 0:
            given += getattr(node, "args", [])[:1]
        if not given or isinstance(given[0], ast.Constant) and not str(given[0].value or "").strip():
            wrong.append(node.lineno)
    return wrong


@pytest.mark.parametrize("source, lines", [
    ("pytest.skip('no nft here')", []), ("pytest.skip(str(err))", []), ("pytest.skip(reason='x')", []),
    ("pytest.skip()", [1]), ("\npytest.skip('')", [2]), ("pytest.xfail()", [1]),
    ("@pytest.mark.skip\ndef test_a(): pass", [1]), ("@pytest.mark.skip('why')\ndef test_a(): pass", []),
    ("@pytest.mark.skipif(no_root)\ndef test_a(): pass", [1]), ("@pytest.mark.skipif(x, reason='why')\ndef test_a(): pass", []),
    ("@pytest.mark.xfail(strict=True)\ndef test_a(): pass", [1])])
def test_a_skip_without_a_reason_is_found(source, lines):
    assert without_reason(source) == lines


def test_each_test_that_may_be_left_out_says_why():
    wrong = ["%s:%d" % (path.relative_to(ROOT), line) for path in sorted((ROOT / "tests").rglob("*.py"))
             for line in without_reason(path.read_text())]
    assert wrong == []


@pytest.fixture
def stages():
    return tool("stages")


class Program:
    """A stage that has run."""

    code, seconds = 0, 1.0

    def __init__(self, *lines):
        self._lines = lines

    def lines(self):
        return [line + "\n" for line in self._lines]


def test_summary_of_all_stages_says_how_many_tests_did_not_run_and_why(stages, monkeypatch, capsys):
    said = {"unit": ["SKIPPED [2] tests/unit/test_a.py:7: needs root", "XFAIL tests/unit/test_b.py::test_c - not yet",
                     "=== 3 passed, 2 skipped, 1 xfailed in 0.12s ==="]}
    monkeypatch.setattr(stages, "begin", lambda stage: Program(*said.get(stage, ["=== 1 passed in 0.10s ==="])))
    assert stages.main() == 0
    summary = capsys.readouterr().out.partition("=== summary")[2]
    assert "        SKIPPED [2] tests/unit/test_a.py:7: needs root" in summary and "XFAIL tests/unit/test_b.py" in summary
    assert "        skipped: 3 tests of unit, for the reasons above" in summary and summary.count("skipped: ") == 1
