#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: confirmed_change
short_description: Changes a host so that the change undoes itself unless it is confirmed over a new login
version_added: 0.2.0
description:
  - For a change that may lock out the user who makes it. It is made by a process of its own on the host, which stops the product,
    edits its files, turns the port bridge round, starts the product, waits for the host's proof where one is asked for, and then
    for a confirmation. When one of them does not come in time, it stops the product, restores the files byte for byte, turns the
    bridge back and starts the product, whether the control node still reaches the host or not.
  - As C(commit confirmed) on network gear, and C(netplan try).
  - With O(state=confirmed), and with O(confirm) once the change waits, the connection to the host is reset first, and a new
    login is tried again and again, so that the confirmation proves that people still get in.
  - The process is a unit of systemd, C(portshift-confirm-NAME.service), which says in the journal what it does. Killed amid the
    change, it is begun again and undoes it. A host that boots before the confirmation undoes the change as it comes up. Without
    systemd the process does the same, but does not come back after a boot.
  - Exactly one of confirmation and undoing takes place. The process on the host decides which, and the task that asked is told.
  - Idempotent; when the files hold what they have to, it reports no change, stops nothing, and has nothing to confirm.
  - With O(boks_proof) or O(change_tracker_proof) the host proves itself on O(new_port) before it waits, and O(record) says so
    when a new login has confirmed the change too. A host with nothing to change is asked for its proof by the module itself.
    Where O(record) is that of a move to O(new_port) that has not ended, and the proof does not come, that move is taken back.
options:
  name:
    description: The name of the change, one per product. 1 to 20 characters a-z, 0-9 and _, a letter first.
    type: str
    required: true
  state:
    description:
      - V(begun) makes the change and returns when it waits for its confirmation, or fails when it was undone.
      - V(confirmed) confirms it, and fails when that comes too late.
      - V(reverted) undoes it now. A change that was confirmed before is taken back by O(record) in the same way - stop, restore,
        bridge, start.
      - V(present) only says what becomes of it.
    type: str
    choices: [present, begun, confirmed, reverted]
    default: begun
  timeout:
    description:
      - Seconds, V(5) to V(3600), that the start of the product, the proof of the host and the confirmation have together. What is
        not confirmed by then is undone. With O(state=confirmed), how long a new login is tried.
      - With a proof, it has to be at least the C(timeout) of the proof, twice its C(settle), and 20 seconds for the login. Less
        is refused with nothing changed.
      - On a Windows host, which confirms by itself, start and proof have them. The host's own work and the stop have their time
        before.
    type: int
    default: 60
  confirm:
    description:
      - With O(state=begun), go on to the confirmation over a new login in the same task as soon as the change waits for it. The
        task returns what the confirmation made of the change, and fails when it came too late.
      - For a play with more than one host. As two tasks, no host is confirmed before the slowest one has begun its change, and
        the time of all the others runs out meanwhile.
      - In check mode there is nothing to confirm.
    type: bool
    default: false
  wait:
    description: With O(state=present), seconds, up to V(7200), for which the end of a change that is under way is waited for. A
      change that no process carries on is not.
    type: int
    default: 0
    version_added: 0.2.0
  token:
    description: What O(state=begun) returned as RV(token). Needed for O(state=confirmed); O(confirm) hands it on by itself.
    type: str
  record:
    description: The record of the migration, such as C(/var/lib/portshift/boks.json). It is written before each change. Required
        for O(state=begun). With O(state=present) on a Windows host, that of another record is no word on this change.
    type: path
  old_port:
    description: The port that the host moves away from, for the record.
    type: int
  new_port:
    description: The port that the host moves to. Required for O(state=begun). With O(state=reverted), a record of a move to
        another port is left alone.
    type: int
  phase:
    description: The phase of the migration, for the person who reads the record.
    type: str
  stop:
    description:
      - Commands that stop the product, each a list of words, run in order. No shell is involved.
      - An exit status other than 0 becomes a warning, since there may be nothing to stop; a command that does not end in
        O(command_seconds) counts as a failure. On the way back the product is started all the same, and all of it is tried
        again.
    type: list
    elements: list
    default: []
  start:
    description:
      - Commands that start the product. All have to succeed. What they print is in the journal.
      - With O(state=reverted), the commands of the change that was begun are the default of O(stop), O(start) and O(bridge). Give
        others where these are why a change could not be undone.
    type: list
    elements: list
    default: []
  services:
    description:
      - Services by which it is told whether O(stop) and O(start) did what they say. Their processes are those in the cgroup of
        the systemd unit of that name, and those of O(executables).
      - What of them runs before the change may not run after O(stop), or the change is undone with nothing edited; and after
        O(start) a new process of each of these runs, or it is undone. Each has O(command_seconds). A service of which nothing
        ran before is not looked at.
      - The same holds for the way back. Where a service that ran before does not run after it, it is tried again, and fails at
        last.
    type: list
    elements: str
    default: []
  checks:
    description: Commands that are tried again and again after the start until all succeed. If they don't in O(check_seconds),
        the change is undone at once.
    type: list
    elements: list
    default: []
  check_seconds:
    description: Seconds that O(checks) have.
    type: int
    default: 30
  command_seconds:
    description: Seconds that each command has. One that has not ended by then is ended, with its process group.
    type: int
    default: 120
  boks_proof:
    description:
      - Wait until the host has proved that BoKS works on O(new_port), as M(portshift.agents.boks_evidence) does with the options
        of the same names, before the change waits for its confirmation. A host that does not prove itself is put back at once.
      - Before the product is stopped, no other process may have the new ports, and what is to be reached has to answer there.
        With something in the way nothing is changed.
      - No part of the other states. One product's proof at a time.
    version_added: 0.2.0
  change_tracker_proof:
    description:
      - The same for an agent of Change Tracker, as M(portshift.agents.change_tracker_evidence) proves it. Before the agent is
        stopped, its hub has to answer on O(new_port), with the certificate that the agent expects.
    version_added: 0.2.0
  services_entries:
    description: Edits of services databases, each as M(portshift.agents.services_entry) makes them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: path
        default: /etc/services
      name:
        description: The name of the service.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        required: true
      protocols:
        description: Protocols that get an entry when they have none.
        type: list
        elements: str
        default: [tcp]
      protocols_if_present:
        description: Protocols whose entry is changed when there is one.
        type: list
        elements: str
        default: []
      aliases:
        description: Other names, for a new entry.
        type: list
        elements: str
      comment:
        description: A comment, for a new entry.
        type: str
  hub_urls:
    description:
      - Edits of the C(HubDetails.xml) of agents of Netwrix Change Tracker, each as M(portshift.agents.change_tracker_hub_url)
        makes them. No diff shows what else stands in the file.
      - Such a file has the agent's credentials in it. Where these were changed after the edit, going back changes the port alone,
        and leaves them as they are.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      port:
        description: The hub's port.
        type: int
        required: true
  files:
    description: Files that get a whole new content. They have to exist.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The file.
        type: path
        required: true
      content:
        description: All that it is to hold. It is hidden in results and in the host's log; a diff shows of the file what is
            known to be harmless.
        type: str
        required: true
  bridge:
    description:
      - Let the ports that the product leaves go on answering. See M(portshift.agents.port_bridge).
      - With the change old ports lead to new ones; when it is undone new ones lead to old ones.
    type: dict
    suboptions:
      name:
        description: The name of the bridge.
        type: str
        required: true
      mappings:
        description: The ports.
        type: list
        elements: dict
        required: true
        suboptions:
          old:
            description: The port that the product leaves.
            type: int
            required: true
          new:
            description: The port that it goes to.
            type: int
            required: true
          protocols:
            description: The protocols of this one. The default is O(bridge.protocols).
            type: list
            elements: str
            choices: [tcp, udp]
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
        description: Seconds that another holder of the lease is waited for. At most 10 count while the product is down; then the
          bridge is turned without the lease.
        type: int
        default: 300
  force:
    description: With O(state=reverted), take a confirmed change back even where a file has changed since; what was changed is
        lost. A change that was not confirmed is always undone; of a file that has changed meanwhile a copy is kept, and of a
        services database only the ports go back.
    type: bool
    default: false
  state_dir:
    description: The folder that holds the folder of the change, C(NAME.confirm).
    type: path
    default: /var/lib/portshift
  unit_dir:
    description: The folder of the systemd unit.
    type: path
    default: /etc/systemd/system
extends_documentation_fragment:
  - portshift.agents.executables
  - portshift.agents.boks_proof.change
  - portshift.agents.change_tracker_proof.change
  - portshift.agents.attributes
  - portshift.agents.attributes.linux_and_windows
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
notes:
  - On a Windows host it moves one agent of Change Tracker, that of the one entry of O(hub_urls), by its service alone. The host
    waits for the proof, and ends the change by itself or undoes it, by a scheduled task where it was cut off. No new login
    confirms it, so that O(confirm) has to be true, and O(state=confirmed) fails. O(name), O(token), O(state_dir) and O(unit_dir)
    mean nothing there, and options for what only Linux has are refused.
  - One change of a host at a time. While one waits for its confirmation another one is refused.
  - Needs an action plugin, so the control node is what tries the new login. Connections that have nothing to reset make a new
    login for each task anyway.
  - The commands run without the environment of the module's caller. Processes that O(start) leaves behind live in the
    control group of the unit unless they are started by a service manager; the end of the unit does not end them.
seealso:
  - module: portshift.agents.change_record
  - module: portshift.agents.port_bridge
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Move the host to the new base port, to stay there when a new login works
  portshift.agents.confirmed_change:
    name: boks
    timeout: 120
    confirm: true
    record: /var/lib/portshift/boks.json
    old_port: 6500
    new_port: 6530
    stop: [[/opt/boksm/sbin/boksadm, -S, Boot, -k]]
    start: [[/opt/boksm/sbin/boksadm, -S, Boot]]
    services_entries:
      - name: boks
        port: 6530
        protocols_if_present: [udp]
    boks_proof:
      role: agent
      errlog_path: /var/opt/boksm/boks_errlog
      reach:
        - host: master.example.test

- name: Move one host, to be confirmed by a task of its own after what else is to prove itself in between
  portshift.agents.confirmed_change:
    name: boks
    timeout: 120
    record: /var/lib/portshift/boks.json
    old_port: 6500
    new_port: 6530
    stop: [[/opt/boksm/sbin/boksadm, -S, Boot, -k]]
    start: [[/opt/boksm/sbin/boksadm, -S, Boot]]
    services_entries:
      - name: boks
        port: 6530
        protocols_if_present: [udp]
  register: change

- name: Confirm the change over a new login
  portshift.agents.confirmed_change:
    name: boks
    state: confirmed
    timeout: 120
    token: "{{ change.token }}"
  when: change.state == 'waiting'

- name: Move an agent of Change Tracker to its hub's new port
  portshift.agents.confirmed_change:
    name: change_tracker
    confirm: true
    record: /var/lib/portshift/change_tracker.json
    old_port: 443
    new_port: 8443
    stop: [[systemctl, stop, nntgen7agentcore]]
    start: [[systemctl, start, nntgen7agentcore]]
    hub_urls:
      - path: /var/nnt/gen7agent.app.netcore/HubDetails.xml
        port: 8443

- name: Go back to the old base port, days later
  portshift.agents.confirmed_change:
    name: boks
    state: reverted
    record: /var/lib/portshift/boks.json
"""

RETURN = r"""
state:
  description: What becomes of the change - V(none), V(changing), V(waiting), V(confirmed), V(reverting), V(reverted), or
      V(failed) when the host could not be put back and needs a person. After O(state=begun) it is V(waiting), with O(confirm)
      V(confirmed), or V(none) when there was nothing to change and in check mode.
  returned: always
  type: str
token:
  description: What O(state=confirmed) has to bring along; null where nothing was begun.
  returned: success
  type: str
seconds_left:
  description: Seconds until the change undoes itself; null when it does not wait.
  returned: always
  type: int
reason:
  description: Why the change was confirmed or undone, a sentence; null before that.
  returned: always
  type: str
files:
  description: The files that the change wrote, or would write.
  returned: always
  type: list
  elements: str
restored:
  description: The files that were put back, or would be.
  returned: always
  type: list
  elements: str
notes:
  description: Sentences on what went otherwise than usual, such as a stop that found nothing running.
  returned: always
  type: list
  elements: str
bridge:
  description: What was done with the bridge last; null without one.
  returned: always
  type: dict
seconds:
  description: How long the product was down for the change.
  returned: always
  type: float
survives_reboot:
  description: Whether a boot before the confirmation undoes the change; false without systemd.
  returned: always
  type: bool
old_port:
  description: The port that the change moves away from. For a host with nothing to change that was asked for its proof, the port
      that it has left, as O(record) has it.
  returned: always
  type: int
new_port:
  description: The port that the change moves to.
  returned: always
  type: int
ok:
  description: Whether the host has proved itself on RV(port) and, where it was changed, a new login has confirmed that.
  returned: with a proof
  type: bool
  version_added: 0.2.0
port:
  description: The port that was proved, or was to be.
  returned: with a proof
  type: int
  version_added: 0.2.0
predicted:
  description: Whether the host would move, so that there is nothing to be proved yet.
  returned: with a proof in check mode, where the host would move
  type: bool
  version_added: 0.2.0
proved:
  description: One sentence for each piece of evidence found.
  returned: with a proof, where the host was asked for it
  type: list
  elements: str
  version_added: 0.2.0
missing:
  description: One sentence for each piece of evidence that was not found, by the name of the check; C(login) is the confirmation.
  returned: with a proof, where the host was asked for it
  type: dict
  version_added: 0.2.0
waited:
  description: Seconds until the evidence was complete, or was given up.
  returned: with a proof, where the host was asked for it
  type: float
  version_added: 0.2.0
moved_at:
  description: As M(portshift.agents.boks_evidence) and M(portshift.agents.change_tracker_evidence) return it.
  returned: with a proof, where the host was asked for it
  type: float
  version_added: 0.2.0
looked_at:
  description: The same.
  returned: with a proof, where the host was asked for it
  type: float
  version_added: 0.2.0
base:
  description: The same as RV(port).
  returned: with O(boks_proof), where the host was asked for it
  type: int
  version_added: 0.2.0
addresses:
  description: As M(portshift.agents.boks_evidence) returns it.
  returned: with O(boks_proof), where the host was asked for it
  type: list
  elements: str
  version_added: 0.2.0
agent:
  description: Whether an agent is installed here.
  returned: with O(change_tracker_proof), where the host was asked for it
  type: bool
  version_added: 0.2.0
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._move.change_options import (
    change_spec, out_of_bounds, shown_params)
from ansible_collections.portshift.agents.plugins.module_utils._move.confirmed_change import ConfirmedChange
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._bridge.bridge import check_bridge
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import Proofs
from ansible_collections.portshift.agents.plugins.module_utils._core.file_kinds import FileKinds
from ansible_collections.portshift.agents.plugins.module_utils._core.redacted_options import RedactedOptions

# What products hand in is what is imported here.  It is asked in this order for a file of a record that names no kinds.
# pylint: disable=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker import evidence as agent_evidence, hub_edit
from ansible_collections.portshift.agents.plugins.module_utils._nginx import conf as nginx_conf
from ansible_collections.portshift.agents.plugins.module_utils._boks import evidence as boks_evidence, services_file
from ansible_collections.portshift.agents.plugins.module_utils._bigfix import edit as bigfix_edit

KINDS = FileKinds.imported(globals())
PROOFS = Proofs.imported(globals())


class Module(RedactedOptions, AnsibleModule):
    """This module."""


def main():
    module = Module(
        shown_params,
        argument_spec=change_spec(KINDS, PROOFS),
        mutually_exclusive=[sorted(PROOFS.spec)], required_if=[("state", "begun", ["record", "new_port"])],
        supports_check_mode=True)
    require_linux(module)
    sentence = out_of_bounds(module.params)
    if sentence:
        module.fail_json(msg=sentence)
    for commands in (module.params[name] for name in ("stop", "start", "checks")):
        commands[:] = [[str(word) for word in command] for command in commands]
    change = None
    try:
        if module.params["bridge"]:
            # What can't be is refused now, with the product still running, and on the way back too.
            module.params["bridge"] = check_bridge(module.params["bridge"])
        change = ConfirmedChange(KINDS, PROOFS, module)
        result = dict(begun=change.begin, confirmed=change.confirm, reverted=change.revert,
                      present=change.present)[module.params["state"]]()
        if module._diff and change.diffs:
            result["diff"] = change.diffs
    except EngineError as err:
        asked = module.params["state"] == "begun" and PROOFS.asked(module.params)[0]
        unproved = dict(ok=False, port=module.params["new_port"], proved=[], missing={}, waited=0.0) if asked else {}
        # What the host proved before, on whichever port, is none of this.
        module.fail_json(msg=str(err), **dict(
            dict(change.look_again() if change else {}, **unproved), **err.result))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
