#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_cutover
short_description: Moves one BigFix host to its new port, or back, in one step
version_added: 0.1.0
description:
  - Stops the services, edits every file that holds the port, turns the port bridge round and starts the services, in one
    module run. So the services are down for as long as that takes and not for the round trips of a playbook, and a control
    node that dies in between does not leave them stopped.
  - What has to be edited is what M(portshift.agents.bigfix_info) reports.
  - Idempotent; reports no change when the files name the port and the services run.
  - A service counts as stopped when none of its processes runs any more, and as started when one runs that did not run before.
    Its processes are those in the cgroup of its systemd unit, and those of O(executables). Where neither is known, as with
    O(service_command) alone, its status counts.
  - A process that systemd did not start, such as that of an init script run by hand, ends with no C(systemctl stop). With such
    a process the module fails before it changes anything, and names it.
  - When an edit, the bridge or the start of a service fails, the files are put back, byte for byte, and the services are
    started on the old port, before the failure is returned.
  - A cutover of the same host that is still under way, such as that of a control node that died, is waited for, up to 120
    seconds; then this one goes on from what it finds. Meanwhile a file O(record) with C(.lock) behind it lies there.
options:
  record:
    description: The record of a migration on this host. It is written before services are stopped and before each change.
    type: path
    required: true
  state:
    description: V(moved) goes to O(port). V(restored) puts back every file that O(record) names, when it
        is the record of a move to O(port); V(0) takes any. Either starts the services that do not run.
    type: str
    choices: [moved, restored]
    default: moved
  masthead_src:
    description: A masthead that was issued for O(port), on the control node. A signed deployment needs one.
    type: path
  masthead_content:
    description: The content of O(masthead_src) in base64. Filled in by the action plugin; nothing to set.
    type: str
  allow_invalid_signature:
    description: Edit signed mastheads in place, which breaks their signature. For test systems only.
    type: bool
    default: false
  services:
    description: The services in the order in which they start. They are stopped in reverse.
    type: list
    elements: str
    required: true
  service_command:
    description:
      - A command that is called with SERVICE and V(start), V(stop) or V(status), as service(8) is.
      - The default is C(systemctl) where systemd runs, C(service) elsewhere.
    type: list
    elements: str
    default: []
  service_timeout:
    description:
      - Seconds that the stop of a service may take, and as many its start.
      - A command that takes longer is ended, and the host is put back.
    type: float
    default: 120
  phase:
    description: The phase of the migration, for the person who reads the record.
    type: str
  force:
    description: With O(state=restored), restore also files that have changed since; what was changed is lost.
    type: bool
    default: false
  bridge:
    description:
      - Let the port that the product leaves go on answering. See M(portshift.agents.port_bridge).
      - With it, the lease of the host is held from before the services stop until they run.
      - After V(moved) the old port leads to the new one, after V(restored) the new one to the old.
    type: dict
    suboptions:
      name:
        description: The name of the bridge.
        type: str
        required: true
      protocols:
        description: The protocols that are bridged.
        type: list
        elements: str
        choices: [tcp, udp]
        default: [tcp, udp]
      addresses:
        description: Bridge these addresses of the host only. The default is all of them.
        type: list
        elements: str
        default: []
      backend:
        description: What the rules are written with.
        type: str
        choices: [auto, nftables, iptables]
        default: auto
      persistent:
        description: Bring the bridge back after a boot, by a systemd unit.
        type: bool
        default: true
      rules_dir:
        description: The folder of the file with the rules.
        type: path
        default: /etc/portshift
      unit_dir:
        description: The folder of the systemd unit.
        type: path
        default: /etc/systemd/system
      lease:
        description:
          - The file of the host's lease, which lets one task at a time change what the products on a host share. The same one
            for all that change a host.
        type: path
        default: /var/lib/portshift/host.lock
      lease_wait:
        description: Seconds that another holder of the lease is waited for, before the services are stopped.
        type: int
        default: 300
extends_documentation_fragment:
  - portshift.agents.executables
  - portshift.agents.bigfix_host
  - portshift.agents.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: linux
seealso:
  - module: portshift.agents.bigfix_info
  - module: portshift.agents.bigfix_evidence
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Move a client
  portshift.agents.bigfix_cutover:
    component: client
    port: 55000
    masthead_paths: [/etc/opt/BESClient/actionsite.afxm]
    masthead_src: masthead-55000.afxm
    settings_paths: [/var/opt/BESClient/besclient.config]
    services: [besclient]
    record: /var/lib/portshift/bigfix.json
"""

RETURN = r"""
files:
  description: The files that changed, or would change in check mode.
  returned: success
  type: list
  elements: str
old_port:
  description: The port that the host moves away from; null when it holds no other port than O(port).
  returned: success
  type: int
notes:
  description: Sentences that a person should read, such as on a setting that was left alone.
  returned: with O(state=moved)
  type: list
  elements: str
  version_added: 0.2.0
started:
  description: The services that were started. In check mode those that do not run now.
  returned: success
  type: list
  elements: str
bridge:
  description: What was done with the bridge; null without one.
  returned: success
  type: dict
seconds:
  description: How long the services were down; V(0) when they were not stopped.
  returned: success
  type: float
"""

import base64
import contextlib
import os
import signal
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._bigfix import edit as bigfix_edit
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.edit import (
    CredentialsEdit, MastheadEdit, SettingsEdit, parse_masthead, undone)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.host import HOST_SPEC, BigFixHost
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord, RecordError, alone_on_host
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import take_back_interrupted
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKinds
from ansible_collections.portshift.agents.plugins.module_utils._bridge.bridge import (
    BRIDGE_SPEC, check_bridge, lease_of, set_bridge)
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.ports import parse_bigfix_port
from ansible_collections.portshift.agents.plugins.module_utils._core.services import SERVICE_TIMEOUT, Services


# Options with the paths of the files that are edited.
FILES = ("masthead_paths", "settings_paths", "clientsettings_paths", "credentials_paths")


class CutoverError(EngineError):
    """A cutover that did not come about; the sentence says what became of the host."""


def make_edit(step, plan, params, issued):
    """The edit that one step of the plan asks for."""
    if step["kind"] == "masthead":
        return MastheadEdit(step["path"], plan.new_port, step["previous_port"], issued=issued,
                            allow_invalid_signature=params["allow_invalid_signature"])
    if step["kind"] == "credentials":
        return CredentialsEdit(step["path"], plan.old_port, plan.new_port)
    return SettingsEdit(step["path"], step["settings"], (plan.old_port, plan.new_port) if step["urls"] else None,
                        flat=step["format"] == "clientsettings")


class Cutover:
    """One host and what its cutover needs."""

    def __init__(self, module):
        self.module, self.params = module, module.params
        self.services = Services(*[module] + [module.params[key] for key in (
            "services", "service_command", "executables", "service_timeout")])
        self.diffs, self.files, self.bridge = [], [], None
        self.stopped = None
        # From before the stop to the end, so that no product is down while it waits for another one.
        self.lease = lease_of(self.params["bridge"]) if self.params["bridge"] and not module.check_mode else None

    def stop(self, record, must_note=True):
        try:
            # Ahead of the stop: a run that is killed after it is known by that, and evidence tells old processes from new ones.
            record.before_stop(self.services.processes())
        except EngineError as err:
            if must_note:
                raise
            self.module.warn(str(err))
        self.stopped = time.time()
        self.services.stop()

    def start(self):
        """The services that were started; in check mode those that don't run."""
        return self.services.down() if self.module.check_mode else self.services.start()

    def require_known_services(self):
        try:
            self.services.require_known()
        except EngineError as err:
            raise CutoverError("nothing was changed: %s" % err)

    def turn_bridge(self, listen, target):
        if self.params["bridge"] and listen and target:
            self.bridge = set_bridge(self.module, self.params["bridge"], [(listen, target, None)], self.lease)

    def commit(self, edit, record):
        done = edit.commit(self.module, record=record)
        self.diffs += [done["diff"]] if "diff" in done else []
        self.files += [edit.path] if done["changed"] else []

    def edits(self):
        """(the host, its edits, ready to be committed, the notes of its plan): read anew on each call."""
        params, content = self.params, self.params["masthead_content"]
        issued = content and (params["masthead_src"], base64.b64decode(content))
        host = BigFixHost(params)
        plan = host.plan(issued and parse_masthead(*issued), params["allow_invalid_signature"])
        if plan.problems:
            raise CutoverError("nothing was changed: %s" % "; ".join(plan.problems))
        return host, [make_edit(step, plan, params, issued) for step in plan.edits], plan.notes

    def move(self):
        take_back_interrupted([path for option in FILES for path in self.params[option]], self.module.check_mode)
        host, edits, notes = self.edits()
        for edit in edits:
            for warning in edit.warnings:
                self.module.warn(warning)
        if edits:
            self.require_known_services()
        record = ChangeRecord(self.params["record"], host.old_port, host.port, self.params["phase"])
        if self.module.check_mode:
            for edit in edits:
                self.commit(edit, None)
            started = self.start()
        else:
            started = self._move(bool(edits), record)
        return dict(old_port=host.old_port, started=started, notes=notes,
                    changed=bool(self.files or started or (self.bridge or {}).get("changed")))

    def _under_way(self, record):
        """Whether the record is that of this move, not of an earlier one, and the host has not proved itself yet."""
        return bool(record.content) and record.content["state"] == "changing" and (
            record.content["new_port"] == self.params["port"])

    def _move(self, stop, record):
        try:
            if stop:
                self.stop(record)
                # The agent may have written its files while it stopped.
                for edit in self.edits()[1]:
                    self.commit(edit, record)
            if self._under_way(record):
                self.turn_bridge(record.content["old_port"], record.content["new_port"])
            return self.services.start()
        except EngineError as err:
            if not stop and not self._under_way(record):
                raise
            return self.put_back(record, err)

    def put_back(self, record, error):
        """After a failure half way: the old files, the old direction of the bridge, the services up."""
        steps, move = [], record.content

        def files_and_bridge():
            # The bridge leads to where the product listens, and that is the old port only when its files say so.
            record.restore_files(self.module, FileKinds(bigfix_edit).redactor, undo=undone(move["old_port"], move["new_port"]))
            self.turn_bridge(move["new_port"], move["old_port"])

        if self._under_way(record) and not (record.is_bare and self.bridge is None):
            steps = [self.services.stop, files_and_bridge]
        trouble = []
        for step in steps + [self.services.start]:
            try:
                step()
            except EngineError as err:
                trouble.append(str(err).rstrip("."))
        if trouble:
            raise CutoverError("%s. Putting the host back did not work out either: %s. It needs a person; %s names the old "
                               "files" % (str(error).rstrip("."), "; ".join(trouble), record.path))
        if steps or record.is_bare:
            try:
                record.mark_rolled_back()
            except EngineError as err:
                error = "%s; %s" % (str(error).rstrip("."), err)
        ending = "; %s was told to stop and may end yet: look again in a while, and start it then" % ", ".join(
            self.services.ending) if self.services.ending else ""
        raise CutoverError("%s. Its files are as they were before, byte for byte, and its services run on the old port%s"
                           % (str(error).rstrip("."), ending))

    def restore(self):
        record, bare = ChangeRecord(self.params["record"]), None
        if record.is_bare:
            bare = self._restore_bare(record)
            if not record.content or self.params["port"] in (0, bare["new_port"]):
                return dict(changed=True, old_port=bare["old_port"], started=bare["started"])
        result = self._restore_record(record)
        return dict(result, changed=True, started=bare["started"] + result["started"]) if bare else result

    def _restore_bare(self, record):
        """Takes back a move that has changed no file.  The record of the one before is in force again, if there is one."""
        move = record.content
        started = self.start()
        if self.module.check_mode:
            record.content = move.get("earlier")
        else:
            self.turn_bridge(move["new_port"], move["old_port"])
            record.mark_rolled_back()
        return dict(move, started=started)

    def _restore_record(self, record):
        record.take_back_interrupted(self.module.check_mode)
        unsafe, move, port = record.review()[1], record.content, self.params["port"]
        if not move or (port and move["new_port"] != port):
            # No record, or that of an earlier migration: the one that is taken back has not reached this host.
            return self._start_untouched()
        # Before its proof a host is put back even though the agent has written its settings since it started.
        undo = undone(move["old_port"], move["new_port"]) if move["state"] == "changing" else None
        if unsafe and not self.params["force"] and not undo:
            raise RecordError("going back is no longer safe, nothing was changed: %s" % "; ".join(unsafe))
        if move["state"] == "rolled_back":
            started = self.start()
            return dict(changed=bool(started), old_port=move["old_port"], started=started)
        self.require_known_services()
        started = self._restore_files(record, undo)
        if not self.module.check_mode:
            record.mark_rolled_back()
        return dict(changed=True, old_port=move["old_port"], started=started)

    def _restore_files(self, record, undo):
        """Puts the files and the bridge back.  Returns the services that were started, which is tried whatever happens."""
        move, trouble, started = record.content, [], []
        try:
            if not self.module.check_mode:
                # The record is there already, and a full disk is not in the way of going back.
                self.stop(record, must_note=False)
            result = record.restore_files(self.module, FileKinds(bigfix_edit).redactor, force=self.params["force"], undo=undo)
            self.files, self.diffs = result["restored"], result["diff"]
            if not self.module.check_mode:
                self.turn_bridge(move["new_port"], move["old_port"])
        except EngineError as err:
            trouble.append(str(err).rstrip("."))
        try:
            started = self.start()
        except EngineError as err:
            trouble.append(str(err))
        if trouble:
            raise CutoverError("; ".join(trouble))
        return started

    def _start_untouched(self):
        """What an interrupted run has left down is started, also where nothing is to be put back."""
        try:
            started = self.start()
        except EngineError as err:
            # It may never have run on this host.
            self.module.warn(str(err))
            started = []
        return dict(changed=bool(started), old_port=None, started=started)


def outlive_the_connection():
    """A cutover that has begun is finished, whatever becomes of the connection that began it.

    A session of its own has no terminal that could hang up.  Handlers, not SIG_IGN: what is ignored would be inherited by
    the services that are started here.
    """
    try:
        os.setsid()
    except OSError:
        # Leader of a process group already.
        pass
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *unused: None)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            HOST_SPEC, record=dict(type="path", required=True),
            state=dict(type="str", choices=["moved", "restored"], default="moved"),
            masthead_src=dict(type="path"), masthead_content=dict(type="str"),
            allow_invalid_signature=dict(type="bool", default=False),
            services=dict(type="list", elements="str", required=True),
            service_command=dict(type="list", elements="str", default=[]), executables=dict(type="dict", default={}),
            service_timeout=dict(type="float", default=SERVICE_TIMEOUT), phase=dict(type="str"),
            force=dict(type="bool", default=False), bridge=dict(type="dict", options=BRIDGE_SPEC)),
        supports_check_mode=True)
    require_linux(module)
    cutover = Cutover(module)
    moving = module.params["state"] == "moved"
    try:
        if moving:
            parse_bigfix_port(module.params["port"])
        if module.params["bridge"]:
            # What can't be is refused now, with the product still running.
            module.params["bridge"] = check_bridge(module.params["bridge"])
        with contextlib.ExitStack() as held:
            held.enter_context(alone_on_host(module.params["record"], module.check_mode, may_be_first=moving))
            if cutover.lease:
                held.enter_context(cutover.lease)
            # Not while it waits: what has not begun can still be called off.
            if not module.check_mode:
                outlive_the_connection()
            result = cutover.move() if moving else cutover.restore()
    except EngineError as err:
        module.fail_json(msg=str(err))
    if module._diff:
        result["diff"] = cutover.diffs
    module.exit_json(files=cutover.files, bridge=cutover.bridge,
                     seconds=round(time.time() - cutover.stopped, 2) if cutover.stopped else 0, **result)


if __name__ == "__main__":
    main()
