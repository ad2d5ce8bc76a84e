# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests: hosts that are lost amid a change are tried again for a shorter time (PORTSHIFT_RECONNECT)."""

import os

from ansible.plugins.callback import CallbackBase
from ansible_collections.portshift.agents.plugins.plugin_utils._windows import script

DOCUMENTATION = """
name: hurry
type: aggregate
short_description: For tests, hosts that are lost amid a change are tried again for a shorter time
description: The seconds are those of the environment variable PORTSHIFT_RECONNECT.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME, CALLBACK_NEEDS_ENABLED = 2.0, "aggregate", "hurry", True

    def __init__(self):
        super().__init__()
        # Tasks run in forks of this process.
        script.RECONNECT = float(os.environ["PORTSHIFT_RECONNECT"])
        script.TRY_AGAIN = script.LOOK_AGAIN = script.RECONNECT / 10
