# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for a BigFix deployment: root server, relays, agents.  Standard library only, Python >= 3.6."""


class Refused(Exception):
    """Why a service does not start: one sentence for its log and for its caller."""
