# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of the product: words that leave out who acts, and task names that say what the task does."""

import pathlib
import re

import pytest
import yaml

from tests.conftest import CHECKOUT
from tests.unit.loaded_tool import tool

WITH_NAMES = ("roles/*/tasks/**/*.yml", "playbooks/**/*.yml", "extensions/molecule/*/*.yml")
# A name begins with one of these: what an administrator would say that the task does.
VERBS = {
    "Acquire", "Add", "Announce", "Bind", "Check", "Close", "Create", "Determine", "Fail", "Find", "Finish", "Migrate", "Move",
    "Open", "Plan", "Predict", "Prepare", "Probe", "Prove", "Put", "Read", "Redirect", "Release", "Remove", "Renew", "Report",
    "Restore", "Roll", "Set", "Show", "Start", "Stop", "Store", "Verify", "Wait", "Write"}
# Titles of what has several tasks.
TITLES = ("Phase ", "Gate after phase ")
# Names of the code that say too little, or something else, and what stands for them.
RENAMED = {r"_?heed": "abort_if, check_abort", r"LIVES": "MAX_RESTARTS", r"NOT_RUN": "COMMAND_ERRORS",
           r"class _?Looking": "ReadOnlyModule", r"def _left": "old_port, _seconds_left", r"def _beside": "companion_port"}


@pytest.fixture(scope="module")
def lint():
    return tool("lint")


@pytest.mark.parametrize("name, text, found", [
    ("plugins/a.py", "one\n# Nobody listens, and somebody's file", [(2, "Nobody"), (2, "somebody")]),
    ("plugins/a.py", "ANYBODY_4 = whoever", [(1, "ANYBODY"), (1, "whoever")]),
    ("plugins/a.py", "No one is no replacement, nor is someone, anyone or everybody.",
     [(1, "No one"), (1, "someone"), (1, "anyone"), (1, "everybody")]),
    ("plugins/a.py", "a twin, or no\nother one; everyone of the hosts", []),
    # The account of that name.
    ("plugins/a.py", "pwd.getpwnam('nobody'), \"nobody\", C(nobody)", []),
    ("docs/a.md", "runs as `nobody`, whom nobody knows", [(1, "nobody")]),
    # What others have said.
    ("docs/a.md", "> Nobody said so.\n\n>> somebody", []),
    ("plugins/a.py", "> nobody", [(1, "nobody")])])
def test_words_that_leave_out_who_acts_are_found_with_their_line(lint, name, text, found):
    assert lint.vague_words(name, text) == found


@pytest.mark.parametrize("name, is_read", [
    ("plugins/a.py", True), ("tests/unit/test_a.py", True), ("tools/fast", True), ("CONTRIBUTING.md", True),
    ("tests/unit/test_language.py", False), ("tests/data/earlier_versions/0.1.0/run.zip", False),
    ("changelogs/changelog.yaml", False)])
def test_words_are_looked_for_in_all_that_is_written_here(lint, monkeypatch, tmp_path, name, is_read):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("# some%s\n" % "body")
    monkeypatch.setattr(lint, "ROOT", tmp_path)
    monkeypatch.setattr(lint, "known_to_git", lambda: {name})
    if is_read:
        with pytest.raises(lint.Failed, match="%s:1: somebody" % name):
            lint.check_words()
    else:
        assert lint.check_words() == "0 files"


def _named(entries):
    """The names of plays, tasks and blocks, those inside of them too."""
    for entry in entries or []:
        if isinstance(entry, dict):
            yield entry.get("name")
            for inside in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
                yield from _named(entry.get(inside))


def _says_what_it_does(name):
    words = name.split() if name else []
    # Put together of words that stand for themselves in the plays that give them.
    return bool(words) and (name.startswith(("{{",) + TITLES) or (words[0].rstrip(",") in VERBS and len(words) > 1))


@pytest.mark.parametrize("name, good", [
    ("Verify the host on the new port", True), ("Gate after phase 1", True), ("{{ title }}", True), (None, False),
    ("Rescue", False), ("Verify", False), ("See whether it answers", False), ("Keep that the parent is down", False),
    ("Nothing is left", False)])
def test_a_name_that_says_what_a_task_does_is_told_from_one_that_does_not(name, good):
    assert _says_what_it_does(name) is good


def test_a_name_of_a_play_or_task_says_what_it_does():
    root, wrong = pathlib.Path(CHECKOUT), []
    paths = [path for pattern in WITH_NAMES for path in root.glob(pattern)]
    assert len(paths) > 100
    for path in paths:
        names = _named(yaml.safe_load(path.read_text()))
        wrong += ["%s: %s" % (path.relative_to(root), name) for name in names if not _says_what_it_does(name)]
    assert wrong == []


def test_names_of_the_code_that_were_renamed_do_not_come_back():
    root = pathlib.Path(CHECKOUT)
    wrong = ["%s: %s; say %s" % (path.relative_to(root), old, new) for path in root.glob("plugins/**/*.py")
             for old, new in RENAMED.items() if re.search(r"\b%s\b" % old, path.read_text())]
    assert wrong == []


def test_fragments_of_the_changelog_are_rst_which_has_none_of_the_markup_of_module_documentation():
    for path in sorted(pathlib.Path(CHECKOUT, "changelogs/fragments").glob("*.yml")):
        assert not re.findall(r"\b(?:[BCEILMOPUV]|RV)\([^)]*\)", path.read_text()), path.name
