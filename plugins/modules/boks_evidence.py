#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: boks_evidence
short_description: Waits until a BoKS host has proved that it works on its base port
version_added: 0.2.0
description:
  - Looks for positive evidence, again and again until all of it is there or O(timeout) is over.
  - No change of M(portshift.agents.confirmed_change) is under way on the host, since it may yet be undone, nor another migration
    or rollback of it.
  - The services database and the host's own lookup lead to O(base_port). The daemons of the host's role listen on the ports that
    follow from it, and no longer on the old ones. The daemons are well by their own account, the log of errors holds nothing new,
    and the Master or a Replica is reached.
  - All of this is there twice, with O(settle) seconds in between in which no daemon that listens was started anew, so that one
    that dies again and again proves nothing.
options:
  base_port:
    description: The base port that the host has to work on, as its daemons use it.
    type: int
    required: true
  old_base:
    description:
      - The base port on which no daemon may listen any more.
      - The default is the one that O(record) names as old or, on the way back, the one that it names as new. Without either,
        nothing is asked about it.
    type: int
  listening:
    description: Whether the daemons have to listen on O(base_port), and no longer on O(old_base).
    type: bool
    default: true
  status_command:
    description:
      - A command with which the product tells the state of its daemons, such as
        V([/opt/boksm/sbin/boksadm, -S, boksdiag, list]). It has to end with exit status 0. Without it nothing is asked.
      - It is run in check mode too, so it has to be one that only looks.
    type: list
    elements: str
    default: []
  down_patterns:
    description:
      - Regular expressions for what the last column of a line of O(status_command) is, as a whole, while a daemon is not well.
        Upper and lower case are the same.
    type: list
    elements: str
    default: [Down, Loading]
  errlog_path:
    description:
      - The log of errors, such as C(/var/opt/boksm/boks_errlog). Without it no log is asked.
      - A log that does not exist holds no error.
    type: path
  failure_patterns:
    description:
      - Regular expressions for lines of O(errlog_path) that show a daemon that could not take its port. Upper and lower case are
        the same.
      - A line counts when it is newer than the last change that O(record) names. Its date, or else that of the line before
        it, is read as V(2026-11-22 20:18:05), V(Nov 22 20:18:05) or V(Nov 22 20:18:05 2026). One without a date, or with one that
        is later than now, counts when it comes up within O(settle), and is told else.
      - The last 4 MiB are read, and of a line the first 4096 bytes.
    type: list
    elements: str
    default:
      - address already in use
      - (cannot|can't|could not|failed to|unable to) bind
      - bind(\(\))?( has)? failed
  log_max_age:
    description: Seconds for which a line of O(errlog_path) counts where O(record) names no later change.
    type: float
    default: 86400
  reach:
    description: What this host has to reach by TCP, such as the Master and the Replicas.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Name or address.
        type: str
        required: true
      offsets:
        description: The distances of the ports from O(base_port). All of them have to answer.
        type: list
        elements: int
        default: [1]
  reach_any:
    description: Whether one of O(reach) is enough, as it is for a Server Agent.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for the evidence. With O(settle) it may take up to twice that many seconds longer.
    type: float
    default: 60
  settle:
    description:
      - Seconds after which all of the evidence has to be there once more, by the same daemons.
      - At most 2 for a host that has proved itself on O(base_port) before, as O(record) has it. V(0) for one look alone.
    type: float
    default: 5
  mark:
    description: Note in O(record), once, that the host has proved itself. Nothing else is ever written.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.boks_host
  - portshift.agents.attributes
  - portshift.agents.attributes.proof
seealso:
  - module: portshift.agents.boks_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Verify the Server Agent on the new base port
  portshift.agents.boks_evidence:
    base_port: 6530
    role: agent
    status_command: [/opt/boksm/sbin/boksadm, -S, boksdiag, list]
    errlog_path: /var/opt/boksm/boks_errlog
    reach:
      - host: master.example.test
      - host: replica1.example.test

- name: Verify that the Replica reaches the Master on both ports
  portshift.agents.boks_evidence:
    base_port: 6530
    role: replica
    reach:
      - host: master.example.test
        offsets: [0, 1]
"""

RETURN = r"""
ok:
  description: Whether all evidence is there.
  returned: always
  type: bool
port:
  description: The base port that was proved.
  returned: always
  type: int
  version_added: 0.2.0
base:
  description: The same as RV(port).
  returned: always
  type: int
old_port:
  description: The base port that the host has left, as O(old_base) or O(record) has it; null where neither does.
  returned: always
  type: int
proved:
  description: One sentence for each piece of evidence found.
  returned: always
  type: list
  elements: str
  sample: ["boks is 6530 in /etc/services, and so says the host's own lookup", "boks_clntd (pid 1234) listens on 6533/tcp"]
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
  description: The addresses of this host, from any of which its daemons may speak, but for loopback and link-local ones.
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
from ansible_collections.portshift.agents.plugins.module_utils._boks.evidence import BOKS_EVIDENCE_SPEC, BoksEvidence
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import prove
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST


def main():
    module = AnsibleModule(argument_spec=BOKS_EVIDENCE_SPEC, supports_check_mode=True)
    require_linux(module, ["services_entry"])
    base = module.params["base_port"]
    prove(module, lambda: BoksEvidence(module.params, THIS_HOST), port=base, base=base)


if __name__ == "__main__":
    main()
