# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""port_bridge that only looks; that of a Windows host by its script."""

from __future__ import annotations

from ansible_collections.portshift.agents.plugins.action.port_bridge import ActionModule as PortBridge
from ansible_collections.portshift.agents.plugins.module_utils._bridge.options import DIRECTION_SPEC, LOOK_SPEC


class ActionModule(PortBridge):

    SPEC = dict(LOOK_SPEC, **DIRECTION_SPEC)
    LOOKS = True
