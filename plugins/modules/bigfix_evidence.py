#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_evidence
short_description: Waits until a BigFix host has proved that it works on its port
version_added: 0.1.0
description:
  - Looks for positive evidence, again and again until all of it is there or O(timeout) is over.
  - The files hold O(port) and nothing else. The services run, and none of their processes is one that ran before the files were
    changed. A server or relay answers on O(port) with a masthead for it. The parent answers on it. The agent reported since,
    or is connected to its parent. Web Reports and WebUI listen as before. No cutover or rollback of the host is under way.
  - The agent reported when the last word of its log and its relay chain, taken together in the order of time, is a success that
    is newer than the change of the files and than the start of the agent. A success that names another port than O(port) is
    none. The port is that of the line itself, of the heading of its time or a line between them, else that of the parent to
    which the agent turned last.
  - Nothing that is dated later than now counts, without any tolerance. Lines that a clock wrote while it was ahead prove nothing
    when that time has come either.
  - Without any word since then, an established connection of the agent's own process to O(parent) (on a server, to O(address)) on
    O(port) proves it. Connections of other processes do not, such as the question that this module asks O(parent).
  - Where the processes of a service can't be told, as with O(service_command) and no O(executables), whether it was started anew
    is not asked, no connection counts, and the log has to tell of a success since the change. For a record of a version that did
    not note the processes, the start of a process and the change are compared by the host's clock.
  - With O(services) or O(log_dir) all of this is there twice, with O(settle) seconds in between in which no service was started
    anew.
options:
  address:
    description: The address at which others reach this host. A server or relay has to answer there.
    type: str
  parent:
    description: Name or address of the relay or server that this host reports to.
    type: str
  tls:
    description: Ask for mastheads by HTTPS, as authenticating relays want it.
    type: bool
    default: false
  log_dir:
    description:
      - Folder of the agent's logs, with files named C(YYYYMMDD.log), and C(YYYYMMDD.bkg) for what was renamed when it had grown
        long. Without it neither the log nor the agent's connection is asked.
      - Of each file the last 4 MiB are read, and of a line the first 4096 bytes.
    type: path
  relay_chain_dir:
    description: Folder of the agent's relay chain files, named C(yyyymmdd.txt). An entry there, good or failed, counts as a line
        of the log does.
    type: path
  success_patterns:
    description:
      - Regular expressions for log lines that show a report getting through. V({port}) stands for O(port). Upper and lower case
        are the same.
      - A line that only says what the agent tries, such as C(Trying to connect to relay on port 55000), shows nothing.
    type: list
    elements: str
    default: []
  failure_patterns:
    description: Regular expressions for log lines that show it not getting through. V({port}) stands for O(port). Upper and lower
        case are the same.
    type: list
    elements: str
    default: []
  bind_address:
    description: Count only listeners that are bound to this address of the host, or to all.
    type: str
  files:
    description: Whether the files have to hold O(port) and nothing else.
    type: bool
    default: true
  log_max_age:
    description: Seconds for which a line of a log counts as evidence.
    type: float
    default: 86400
  allow_invalid_signature:
    description: Take mastheads whose signature is broken for good ones. For test systems only.
    type: bool
    default: false
  services:
    description: Services that have to run.
    type: list
    elements: str
    default: []
  service_command:
    description: A command that is called with SERVICE and V(status). The default is the service manager.
    type: list
    elements: str
    default: []
  agent_service:
    description: Which of the O(services) is the agent. The default is the only one, or the only one with C(client) in its name.
    type: str
    version_added: 0.2.0
  neighbours:
    description: Ports of Web Reports and WebUI that have to be listened on.
    type: list
    elements: int
    default: []
  timeout:
    description: Seconds to wait for the evidence. With O(settle) it may take up to twice that many seconds longer.
    type: float
    default: 60
  settle:
    description:
      - Seconds after which all of the evidence has to be there once more, by the same processes.
      - At most 2 for a host that has proved itself on O(port) before, as O(record) has it. V(0) for one look alone.
    type: float
    default: 5
    version_added: 0.2.0
  mark:
    description: Note in O(record), once, that the host has proved itself. Nothing else is ever written.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.executables
  - portshift.agents.bigfix_host
  - portshift.agents.attributes
  - portshift.agents.attributes.linux_and_windows
  - portshift.agents.attributes.proof
seealso:
  - module: portshift.agents.bigfix_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Verify that the client reports through the new port
  portshift.agents.bigfix_evidence:
    component: client
    port: 55000
    parent: relay1.example.test
    masthead_paths: [/etc/opt/BESClient/actionsite.afxm]
    settings_paths: [/var/opt/BESClient/besclient.config]
    log_dir: /var/opt/BESClient/__BESData/__Global/Logs
    success_patterns: [Report posted successfully]
    services: [besclient]
    executables:
      besclient: [/opt/BESClient/bin/BESClient]
"""

RETURN = r"""
ok:
  description: Whether all evidence is there.
  returned: always
  type: bool
port:
  description: The port that was proved.
  returned: always
  type: int
old_port:
  description: The port that the host has left, as O(record) or O(previous_port) has it; null where neither does.
  returned: always
  type: int
evidence:
  description:
    - The sentences of RV(proved) by the name of the check.
    - The names are V(files), V(services), V(restarted), V(listening), V(parent),
      V(old_port), V(neighbours), V(log) and, in RV(missing) alone, V(under_way); those that the host owes are there.
    - V(log) is the line that was found, or the connection.
  returned: always
  type: dict
  sample: {"files": "3 files hold port 55000", "parent": "parent 127.0.0.1 answers on port 55000",
           "restarted": "since the files were changed were started: besclient (process 4711)",
           "log": "Report posted successfully"}
proved:
  description: One sentence for each piece of evidence found.
  returned: always
  type: list
  elements: str
missing:
  description: One sentence for each piece of evidence that was not found, by the name of the check.
  returned: always
  type: dict
moved_at:
  description:
    - When the migration to this port last wrote a file of the host, before it started the services, in seconds since 1970
      by the host's clock; null where no record says that it did.
  returned: unless the record can't be read
  type: float
  version_added: 0.2.0
looked_at:
  description: The moment at which this was looked at, by the same clock.
  returned: unless the record can't be read
  type: float
  version_added: 0.2.0
addresses:
  description: The addresses of this host, from any of which its agent may speak, but for loopback and link-local ones.
  returned: unless the record can't be read
  type: list
  elements: str
  version_added: 0.2.0
waited:
  description: Seconds until the evidence was complete, or was given up.
  returned: always
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.evidence import BigFixEvidence
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.proof_options import BIGFIX_EVIDENCE_SPEC
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import prove
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST


def main():
    module = AnsibleModule(argument_spec=BIGFIX_EVIDENCE_SPEC, supports_check_mode=True)
    require_linux(module, ["bigfix_masthead", "bigfix_settings"])
    prove(module, lambda: BigFixEvidence(module.params, host=THIS_HOST), evidence={})


if __name__ == "__main__":
    main()
