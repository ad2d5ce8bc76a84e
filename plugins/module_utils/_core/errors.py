# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error type that engines raise and modules turn into a failure."""


class EngineError(Exception):
    """A sentence that a sysadmin can act on: what was found, and what to do about it.

    Engines know bytes, not files: the sentence carries no path.  The caller, which knows the path, puts it in front.

    C(result): what the module has to return beside the sentence.
    """

    def __init__(self, sentence="", result=None):
        super().__init__(sentence)
        self.result = result or {}


def words_of(error):
    """The words of any error, for a sentence that goes on."""
    if isinstance(error, EngineError):
        return str(error).rstrip(".")
    if isinstance(error, OSError):
        return "%s: %s" % (type(error).__name__, error)
    return "an error that is a fault of this module, %s: %s" % (type(error).__name__, error)
