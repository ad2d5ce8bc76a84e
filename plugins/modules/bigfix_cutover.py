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
  - When an edit, the bridge or the start of a service fails, or with O(proof) the host does not prove itself, the files are put
    back, byte for byte, and the services are started on the old port, before the failure is returned.
  - What has begun is finished on the host, in one direction or the other, also when the control node dies meanwhile.
  - A Windows host is read and changed by one PowerShell script. Its settings lie in the registry, so O(settings_paths) and
    O(credentials_paths) may name keys of it, and C({client}) and C({server}) at the beginning of a path stand for the folders
    that the registry names.
  - A cutover of the same host that is still under way, such as that of a control node that died, is waited for, up to 900
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
  unfinished_only:
    description:
      - Finish a move to O(port) that a run has begun and not ended, as O(record) tells, and leave any other host as it is.
      - No part of O(state=restored).
    type: bool
    default: false
    version_added: 0.2.0
  phase:
    description: The phase of the migration, for the person who reads the record.
    type: str
  reserve_port:
    description:
      - On a server or relay that is a Windows host, take O(port) out of what Windows hands out to connections, while it is free,
        and give it back with O(state=restored). What cannot be reserved, since a process has it, is one of RV(notes).
      - No part of other hosts, where M(portshift.agents.host_port) reserves it.
    type: bool
    default: true
    version_added: 0.2.0
  proof:
    description:
      - Wait until the host has proved itself on O(port), as M(portshift.agents.bigfix_evidence) does with the options of the same
        names, and note that in O(record); put back a host that does not. Without it nothing is proved. No part of
        O(state=restored).
      - Before a service is stopped, O(proof.parent) has to answer on O(port) with a masthead for it, and on a server or relay no
        other process may have O(port) or the port that is left. With something else in the way nothing is changed.
      - A host that had proved itself on O(port) before and has nothing to edit is not put back.
      - In check mode a host that would be moved returns RV(predicted).
    version_added: 0.2.0
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
  - portshift.agents.bigfix_proof
  - portshift.agents.attributes
  - portshift.agents.attributes.linux_and_windows
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
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
    proof:
      parent: relay1.example.test
      log_dir: /var/opt/BESClient/__BESData/__Global/Logs
      success_patterns: [Report posted successfully]
"""

RETURN = r"""
files:
  description: The files that changed, or would change in check mode.
  returned: success
  type: list
  elements: str
old_port:
  description:
    - The port that the host moves away from; null when it holds no other port than O(port).
    - With O(proof), the port that it has left, as O(record) or O(previous_port) has it.
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
ok:
  description: Whether the host has proved itself on O(port).
  returned: with O(proof) and O(state=moved)
  type: bool
  version_added: 0.2.0
port:
  description: The port that was proved, or was to be.
  returned: with O(proof) and O(state=moved)
  type: int
  version_added: 0.2.0
predicted:
  description: Whether the host would move, so that there is nothing to be proved yet.
  returned: with O(proof) in check mode, where the host would move
  type: bool
  version_added: 0.2.0
evidence:
  description: As M(portshift.agents.bigfix_evidence) returns it.
  returned: with O(proof), where the host was asked for its proof
  type: dict
  version_added: 0.2.0
proved:
  description: As M(portshift.agents.bigfix_evidence) returns it.
  returned: with O(proof), where the host was asked for its proof
  type: list
  elements: str
  version_added: 0.2.0
missing:
  description: As M(portshift.agents.bigfix_evidence) returns it.
  returned: with O(proof), where the host was asked for its proof
  type: dict
  version_added: 0.2.0
moved_at:
  description: As M(portshift.agents.bigfix_evidence) returns it.
  returned: with O(proof), where the host was asked for its proof
  type: float
  version_added: 0.2.0
looked_at:
  description: As M(portshift.agents.bigfix_evidence) returns it.
  returned: with O(proof), where the host was asked for its proof
  type: float
  version_added: 0.2.0
addresses:
  description: As M(portshift.agents.bigfix_evidence) returns it.
  returned: with O(proof), where the host was asked for its proof
  type: list
  elements: str
  version_added: 0.2.0
waited:
  description: Seconds until the evidence was complete, or was given up.
  returned: with O(proof), where the host was asked for its proof
  type: float
  version_added: 0.2.0
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.cutover import CUTOVER_SPEC, BigFixMove
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.ports import parse_bigfix_port
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.services import Services
from ansible_collections.portshift.agents.plugins.module_utils._move.transaction import Transaction


def main():
    module = AnsibleModule(argument_spec=CUTOVER_SPEC, supports_check_mode=True)
    require_linux(module, ["bigfix_masthead", "bigfix_settings"])
    params = module.params
    restore, asked = params["state"] == "restored", params["proof"]
    services = Services(*[module] + [params[key] for key in ("services", "service_command", "executables", "service_timeout")])
    try:
        if not restore:
            parse_bigfix_port(params["port"])
        move = Transaction(module, BigFixMove(params, services), services, params["record"], phase=params["phase"],
                           bridge=params["bridge"], proof_seconds=asked and asked["timeout"], force=params["force"],
                           unfinished_only=params["unfinished_only"])
        result = move.run(restore)
    except EngineError as err:
        unproved = dict(ok=False, port=params["port"]) if asked and not restore else {}
        module.fail_json(msg=str(err), **dict(unproved, **err.result))
    if module._diff:
        result["diff"] = move.diffs
    module.exit_json(**result)


if __name__ == "__main__":
    main()
