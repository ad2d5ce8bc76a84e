# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that only looks, by the engine of the one that changes: what that would change is what is missing."""


def read_only(module):
    """`module` for an engine that is to say what it would do and to do nothing, whether or not the play is in check mode."""
    module.check_mode, module._diff = True, False
    return module


def seen(result, *deeds):
    """What such a module returns out of what the engine says that it would do; `deeds`: keys about what it has done."""
    return dict({key: value for key, value in result.items() if key not in deeds + ("diff",)}, changed=False)
