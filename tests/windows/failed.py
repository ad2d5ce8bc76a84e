# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module ends that does not do what it was asked."""


class Failed(Exception):
    """A module's failure: its sentence, and what else its result has."""

    def __init__(self, message, **result):
        super().__init__(message)
        self.result = result
