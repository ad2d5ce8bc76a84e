#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: run_lock
short_description: Lets one run at a time migrate a deployment
version_added: 0.2.0
description:
  - Takes, renews or releases a lock on the disk of one host, such as the root server, so that two control nodes never migrate the
    same deployment at once.
  - The lock is a lease. A run takes it when it begins and renews it, by the same task, now and then; a run that dies loses it
    when O(seconds) have passed since. The clock of the host that holds the file decides, no other.
  - The holder is a run of C(ansible-playbook), known by the control node and by the process, with the moment when it started. All
    its tasks, hosts and forks are that one run.
  - When the holder's process has ended without releasing the lock, the control node where it ran takes over at once, with a
    warning. So a run that was killed can be started again.
  - A run that another one took the lock from fails when it asks the next time, whatever O(take_over) says, so that it stops.
  - Never reports a change, since a lock is no change of the host.
options:
  path:
    description:
      - The lock file, such as C(/var/lib/portshift/bigfix.lock), on a local file system.
      - While it is read and written, a file with C(.guard) behind that name lies beside it, which orders those who ask in the
        same moment.
    type: path
    required: true
  state:
    description: V(held) takes or renews the lock. V(released) gives it back, if it is this run's own.
    type: str
    choices: [held, released]
    default: held
  seconds:
    description: Seconds that the lock lasts without being renewed. They have to be more than a step between two renewals takes.
    type: int
    default: 600
  take_over:
    description:
      - Take the lock from another run that has not ended as far as its control node can tell. For a run known to be dead, on a
        control node that is gone.
    type: bool
    default: false
  take_over_with:
    description: How the person who is told that the lock is held says O(take_over), such as C(-e bigfix_take_over=true).
    type: str
    default: "take_over: true"
    version_added: 0.2.0
  purpose:
    description: What the run is doing, for the person who is told that the lock is held.
    type: str
    default: ""
  run:
    description:
      - Who asks. Filled in by the action plugin; nothing to set.
    type: dict
    suboptions:
      node:
        description: The control node's host name.
        type: str
        required: true
      machine_id:
        description: The control node's C(/etc/machine-id), or else its host name.
        type: str
        required: true
      boot:
        description: The boot of the control node that the process belongs to.
        type: str
        default: ""
      pid_namespace:
        description: The process id namespace of the process, since containers count for themselves.
        type: str
        default: ""
      user:
        description: The user who runs the playbook.
        type: str
        required: true
      pid:
        description: The process id of C(ansible-playbook).
        type: int
        required: true
      process_start:
        description: When that process started, in the words of its operating system.
        type: str
        default: ""
      begun:
        description: When that process started, by the control node's clock.
        type: str
        default: ""
  dead_owner:
    description:
      - The RV(holder.id) of a run that has ended, as the control node where it ran has found out. Filled in by the action plugin.
    type: str
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.posix_and_windows
attributes:
  check_mode:
    support: full
    details:
      - Fails where the lock is another run's, and takes nothing.
  diff_mode:
    support: none
    details:
      - A lock is no change of the host.
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Acquire the migration lock
  portshift.agents.run_lock:
    path: /var/lib/portshift/bigfix.lock
    purpose: migrate to 55000
    take_over: "{{ bigfix_take_over | default(false) }}"
  delegate_to: bigfix.example.com
  run_once: true

- name: Release the migration lock
  portshift.agents.run_lock:
    path: /var/lib/portshift/bigfix.lock
    state: released
  delegate_to: bigfix.example.com
  run_once: true
"""

RETURN = r"""
holder:
  description:
    - Who holds the lock after this task. In check mode who would hold it. Null when no run does.
    - When the task fails because another run holds the lock, that run.
  returned: success, and when another run holds the lock
  type: dict
  contains:
    id:
      description: The name of the run, the same for all its tasks.
      type: str
    node:
      description: The control node's host name.
      type: str
    user:
      description: Who runs the playbook.
      type: str
    pid:
      description: The process id of C(ansible-playbook).
      type: int
    purpose:
      description: What the run is doing.
      type: str
    since:
      description: When it took the lock, in seconds since 1970 by the clock of the managed host, as all times here.
      type: float
    renewed:
      description: When it last showed a sign of life.
      type: float
    expires:
      description: When the lock lapses.
      type: float
taken_over_from:
  description: The run that held the lock before and has not released it; null when there was none.
  returned: success
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._network import run_lock as _run_lock
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import (
    one_at_a_time, read_own, remove_file, write_own)

# Seconds that are waited for another one who asks in the same moment.
PATIENCE = 30


def write(path, content):
    if _run_lock.is_empty(content):
        remove_file(path, False)
    else:
        write_own(path, _run_lock.text(content))


def ask(params):
    return _run_lock.asked(read_own(params["path"]), params, time.time())


def main():
    module = AnsibleModule(argument_spec=_run_lock.LOCK_SPEC, supports_check_mode=True)
    params = module.params
    if not params["run"]:
        module.fail_json(msg="run is missing, which the action plugin portshift.agents.run_lock fills in; call the module by "
                             "that name")
    try:
        _run_lock.check(params)
        if module.check_mode or (params["state"] == "released" and read_own(params["path"]) is None):
            result, warning = ask(params)[1:]
        else:
            # Read and written by one at a time: of two who ask in the same moment, the second one finds the first one's name.
            with one_at_a_time(params["path"] + ".guard", PATIENCE, "another one who asks for this lock"):
                content, result, warning = ask(params)
                if content:
                    write(params["path"], content)
    except _run_lock.HeldError as err:
        module.fail_json(msg=str(err), holder=err.holder)
    except EngineError as err:
        module.fail_json(msg=str(err))
    if warning:
        module.warn(warning)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
