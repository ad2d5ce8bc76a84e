# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every event of a run as a line of JSON, so that tests judge results and not text."""

from __future__ import annotations

import json
import os
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: journal
type: aggregate
short_description: Events as lines of JSON
description: Writes one line of JSON for each event to the file that E(PORTSHIFT_JOURNAL) names.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "journal"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._stream = open(os.environ["PORTSHIFT_JOURNAL"], "a", encoding="utf-8")

    def _write(self, event, **fields):
        self._stream.write(json.dumps(dict(event=event, time=time.time(), **fields), default=str) + "\n")
        self._stream.flush()

    def _write_result(self, event, outcome):
        # Properties since ansible-core 2.19, attributes before.
        new = hasattr(type(outcome), "result")
        result, host, task = ((outcome.result, outcome.host, outcome.task) if new else
                              (outcome._result, outcome._host, outcome._task))
        self._write(
            event, host=host.get_name(), task=task.get_name(), action=task.action, changed=bool(result.get("changed")),
            files=result.get("files") or [], diff=bool(result.get("diff")), msg=str(result.get("msg", "")))

    def v2_playbook_on_play_start(self, play):
        self._write("play", name=play.get_name())

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._write("task", task=task.get_name(), action=task.action)

    def v2_runner_on_ok(self, result):
        self._write_result("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._write_result("failed", result)

    def v2_runner_on_unreachable(self, result):
        self._write_result("unreachable", result)

    def v2_playbook_on_stats(self, stats):
        self._write("stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})
