#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: host_port
short_description: Makes a port usable on a host, and takes that back
version_added: 0.2.0
description:
  - Opens ports in the firewall that filters on the host (firewalld, ufw, nftables or iptables), at once and for the next boot,
    keeps them from being handed out to outgoing connections, and gives them a type in SELinux where asked to.
  - Reads everything again after the change. Of what the change can have caused, that has to be exactly what was asked for; where
    it is not, the change is undone and the task fails with both.
  - What others changed meanwhile, such as a port that an administrator opened, is no failure. It stays, and RV(notes) says so.
  - Holds the lease of the host (O(lease)) from the first look to the last, so that one task at a time changes what the products
    on a host share. M(portshift.agents.port_bridge) and M(portshift.agents.bigfix_cutover) take the same one.
  - Notes every change in a record on the host before it is made, so that O(state=restored) brings back what was there.
  - For firewalld, ufw, kernel settings and SELinux the change itself is made by C(ansible.posix.firewalld),
    C(community.general.ufw), C(ansible.posix.sysctl) and C(community.general.seport). Where nothing is missing, they are not run.
  - On a Windows host, Windows Firewall is what is opened, by C(community.windows.win_firewall_rule), and nothing else is run
    there. Each port gets a rule of its own, with the name and the group C(portshift NAME PORT/PROTOCOL). There is no record on
    such a host; the rules are found by their names.
options:
  state:
    description:
      - V(open) sees to it that every opening is there.
      - V(closed) takes away the existing openings of exactly these ports, of any program and for any source. What
        admits more than these ports stays and is returned as RV(left). On Windows, only the rule that V(open) made is taken
        away, by being disabled.
      - V(reopened) brings back what V(closed) took away, each opening as it was, and keeps what was opened. On Windows, the
        rules for O(openings) are enabled again.
      - V(restored) takes back all that the record holds; with O(openings) only as far as it concerns these. Without a record
        nothing is changed. On Windows, the rules for O(openings) are deleted, enabled or not.
    type: str
    choices: [open, closed, reopened, restored]
    default: open
  lease:
    description:
      - The file of the host's lease, on a local file system of the host. It is root's, and there while the lease is held; while
        it is read and written, a file with C(.guard) behind that name lies beside it.
      - The same one for all that change a host. Without a meaning on Windows, where each product has rules of its own.
      - It lasts 300 seconds and 60 more for each module of another collection that is to run, and is renewed where these take
        long. One whose holder was killed is taken over when the host can tell, when the control node where it ran asks, when it
        lapses, or when the host was booted; a note says whose it was.
      - Check mode takes none and says in RV(notes) who holds it.
    type: path
    default: /var/lib/portshift/host.lock
  lease_wait:
    description:
      - Seconds that another holder of the lease is waited for before the task fails, with nothing changed and that one's name.
        A change takes some seconds for each port.
    type: int
    default: 300
  step:
    description: Set by the action plugin, which runs the module once or twice. Leave it alone.
    type: str
    choices: [change, renew, verify, undone, release]
    default: change
  picture:
    description: Set by the action plugin. What was there before the change.
    type: dict
  trouble:
    description: Set by the action plugin. What failed between the steps.
    type: str
  run:
    description: Set by the action plugin. The run that asks for the lease.
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
        description: The process id namespace of the process.
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
      token:
        description: Tells the tasks of one run apart.
        type: str
        required: true
      waits:
        description: Wait for as long as O(lease_wait) says, not for 5 seconds at most.
        type: bool
        default: false
      ended:
        description: The holder that the control node knows to have ended.
        type: str
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.host_port
attributes:
  check_mode:
    support: full
    details:
      - Predicts the rules that would be there.
  diff_mode:
    support: full
    details:
      - Shows the rules that concern the ports, those of the running firewall and those of the next boot. On Windows, what
        C(community.windows.win_firewall_rule) shows of the rules that change.
  platform:
    support: full
    platforms: linux, windows
requirements:
  - the collection ansible.posix for firewalld and for reserved ports
  - the collection community.general for ufw and for SELinux
  - the collection community.windows for Windows hosts
notes:
  - Ranges and services that hold a port, trusted zones and policies that accept are never narrowed.
  - A rule of the site that rejects what is to be opened is a failure that names it. One of firewalld or ufw that rejects a
    part of it is mentioned in RV(notes).
  - In nftables and iptables an opening stands behind the denials of its chain that single out - some sources, lists of them,
    what exceeds a rate or a count, what was seen before, marked, spoofed or malformed packets - live and after a boot, so that
    these stay in force. Every other denial, such as one within a rate, for all unicast packets, for an interface, or under a
    condition that is not known, is met by new connections, so the opening stands before it; so it does, after a boot of nftables,
    before one whose place in the files can't be told. Each of these is a note. One that names the port is a failure where
    all new connections meet it, and otherwise goes on, with a note.
  - Before a change and after it all chains of the kernel that a new connection passes are looked at, those of every program -
    policies and direct rules of firewalld, lines of ufw's C(before.rules) and C(before6.rules), other tables of nftables, the
    tables raw, mangle and security of iptables. What turns the opening away there is a failure that names it, what turns a part
    of it away is a note. Lists of banned sources, as fail2ban keeps them, are neither. What could not be looked at is a note.
  - What C(nftables.service) loads can't fail because of an opening - the include names a pattern, and the included file makes
    the chain where the site has none of that name any more. Boot files that can't be read fail O(state=restored), and the
    record stays.
  - On Windows, rules of others are not looked for, since no module lists them. Where one blocks the port, Windows Firewall
    prefers it to the one that admits; where a group policy says that local rules don't count, ours is there without effect.
  - On Windows, a rule that V(open) finds with other sources is changed to those asked for. A note says what it had, and it is
    not in RV(added), since it was not this run that opened the port.
seealso:
  - module: portshift.agents.host_port_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Open the new port of the relay
  portshift.agents.host_port:
    name: bigfix
    openings:
      - port: 55000
        protocol: tcp
      - port: 55000
        protocol: udp
        sources: [10.1.2.0/24, root.example.test]

- name: Close the old port
  portshift.agents.host_port:
    name: bigfix
    state: closed
    openings:
      - port: 52311
        protocol: tcp

- name: Take back what was opened
  portshift.agents.host_port:
    name: bigfix
    state: restored

- name: Open the new port of a hub on Windows
  portshift.agents.host_port:
    name: change_tracker
    openings:
      - port: 8443
        sources: [10.1.2.0/24]

- name: Enable the rule of the hub's old port again
  portshift.agents.host_port:
    name: change_tracker
    state: reopened
    openings:
      - port: 443
"""

RETURN = r"""
backend:
  description: The firewall that filters here, or V(none). V(windows) on a Windows host.
  returned: success
  type: str
added:
  description: The openings that were added, in the form of O(openings), each with one source at most.
  returned: success
  type: list
  elements: dict
  sample: [{"port": 55000, "protocol": "tcp", "sources": []}]
removed:
  description: The openings that were taken away. On Windows without their sources.
  returned: success
  type: list
  elements: dict
left:
  description: What still admits the ports and was left alone (with O(state=closed)), a sentence each.
  returned: success
  type: list
  elements: str
missing:
  description: What was not as O(state) wants it before the change, a sentence each. Empty where nothing is to be changed.
  returned: success
  type: list
  elements: str
  sample: ["tcp 55000 from any address is not open in firewalld (permanent)"]
notes:
  description: What the administrator of the host should know, a sentence each; also what others changed meanwhile.
  returned: success
  type: list
  elements: str
reserved:
  description: The ports that were reserved, or with O(state=restored) let go. Empty on Windows.
  returned: success
  type: list
  elements: int
rules:
  description:
    - The real rules that concern the ports, those of the running firewall and those of the next boot.
    - On Windows, the names of those that this module made, such as C(portshift change_tracker 8443/tcp), with C((disabled)) where
      one is closed.
  returned: success
  type: dict
  contains:
    before:
      description: Before the change.
      type: list
      elements: str
      returned: success
    after:
      description: After the change, read again.
      type: list
      elements: str
      returned: success
      sample: ["permanent: public: port 55000/tcp", "runtime: public: port 55000/tcp"]
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._network.host_lease import BusyError
from ansible_collections.portshift.agents.plugins.module_utils._host_port.plan import HOST_PORT_SPEC, STATES, run_step
from ansible_collections.portshift.agents.plugins.module_utils._network.run_lock import RUN_SPEC


def with_diff(module, result):
    if module._diff and "rules" in result:
        rules = result["rules"]
        result["diff"] = dict(before="\n".join(rules["before"] + [""]), after="\n".join(rules["after"] + [""]),
                              before_header="rules that concern the ports", after_header="rules that concern the ports")
    return result


def main():
    module = AnsibleModule(
        argument_spec=dict(HOST_PORT_SPEC, state=STATES,
                           step=dict(type="str", choices=["change", "renew", "verify", "undone", "release"], default="change"),
                           picture=dict(type="dict"), trouble=dict(type="str"),
                           run=dict(type="dict", options=dict(
                               RUN_SPEC, token=dict(type="str", required=True, no_log=False),
                               waits=dict(type="bool", default=False), ended=dict(type="str")))),
        supports_check_mode=True)
    require_linux(module, lease="free")
    try:
        result = run_step(module)
    except BusyError as err:
        module.fail_json(msg=str(err), holder=err.holder, lease="free")
    except EngineError as err:
        module.fail_json(msg=str(err), lease="free")
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**with_diff(module, result))


if __name__ == "__main__":
    main()
