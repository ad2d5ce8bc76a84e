# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a plan have said, each sentence once for all hosts that say it."""

from __future__ import annotations

from collections.abc import Iterable


class Said:
    """Sentences, and which hosts have said them."""

    def __init__(self) -> None:
        self._hosts: dict[str, list[str]] = {}

    def add(self, host: str, sentences: Iterable[str] | None) -> None:
        # A host says each once.
        for sentence in dict.fromkeys(sentences or ()):
            self._hosts.setdefault(sentence, []).append(host)

    def notes(self) -> list[str]:
        """Such as: a, b: the agent was started by hand."""
        return ["%s: %s" % (", ".join(hosts), sentence) for sentence, hosts in self._hosts.items()]

    def openings(self) -> list[str]:
        """Rows of a plan about what firewalls lack, such as: open: port 55000/tcp; on a, b."""
        return ["open: %s; on %s" % (sentence, ", ".join(hosts)) for sentence, hosts in sorted(self._hosts.items())]
