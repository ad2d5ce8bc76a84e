# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that the guides print are those of a site that has installed the collection."""

import re
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

ROOT = Path(CHECKOUT)
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "roles").glob("*/README.md"))]
COMMAND = re.compile(r"(?:^    |`)((?:ansible|ansible-playbook) [^`\n]*)", re.MULTILINE)


def commands(guide):
    return [found.group(1) for found in COMMAND.finditer(guide.read_text(encoding="utf-8"))]


def test_the_guides_of_every_product_print_commands():
    for name in ("README.md", "docs/operations.md", "docs/boks.md", "docs/change-tracker.md"):
        assert len(commands(ROOT / name)) >= 5


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: str(guide.relative_to(ROOT)))
def test_commands_name_an_inventory_and_the_collection(guide):
    for command in commands(guide):
        assert " -i inventory" in command, command
        if not command.startswith("ansible-playbook"):
            [name] = re.findall(r" -m portshift\.agents\.(\w+)", command)
            assert (ROOT / "plugins" / "modules" / (name + ".py")).exists(), command
            continue
        # README.md says once how it is from a checkout.
        [(prefix, name)] = re.findall(r" (portshift\.agents\.|playbooks/)(\w+)", command)
        assert prefix == "portshift.agents." or (guide.name == "README.md" and "…" in command), command
        assert (ROOT / "playbooks" / (name + ".yml")).exists(), command
