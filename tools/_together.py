#!/usr/bin/env python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that run at once and are heard one after the other, each as a whole."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any


class Program:
    """A program on its way.  lines() gives what it says, from its first line on, however late it is asked.

    `told` is then after how many seconds the last line given was said.
    """

    def __init__(self, command: list[str], **options: Any) -> None:
        self.began = time.monotonic()
        self.seconds = self.told = 0.0
        self.process = subprocess.Popen(
            command, text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, **options)  # fmt: skip
        self._said: queue.SimpleQueue[tuple[float, str] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self._said.put((time.monotonic() - self.began, line))
        self.process.wait()
        self.seconds = time.monotonic() - self.began
        self._said.put(None)

    def lines(self) -> Iterator[str]:
        while (said := self._said.get()) is not None:
            self.told, line = said
            yield line

    @property
    def code(self) -> int:
        """Its exit code, once lines() has come to its end."""
        return self.process.wait()
