#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: boks_info
short_description: Looks at a BoKS host and says what moving its base port would change
version_added: 0.2.0
description:
  - Reads everything that a migration of the base port needs to know of one host, in one go. Writes nothing.
  - Tells the base port that the daemons use, who listens on the ports that follow from it, which edit of the services database
    would bring the host to O(base_port), and what stands against it.
options:
  base_port:
    description:
      - The base port that the host has to end on, V(1024) to V(65532), as its daemons use it. What C(BRIDGE_DOMAIN) adds is part
        of it.
      - Without it, the host is looked at as it is.
    type: int
  allow_overlap:
    description:
      - Whether the four new ports may overlap with the four old ones. Both can't answer side by side then, so that hosts that
        have moved and hosts that have not don't reach each other.
    type: bool
    default: false
  allow_named_ports:
    description:
      - Whether the services database may give ports of the new range to other names. A name alone holds no port; who listens
        there is looked at in any case.
    type: bool
    default: false
  proof:
    description:
      - Ask a host that has moved for its proof too, as M(portshift.agents.boks_evidence) does with the options of the same
        names. One with nothing to edit, and whose O(record) says that it has proved itself on O(base_port), is asked; the answer
        is RV(evidence).
      - The proof of a host that moves is the business of the run that moves it.
    version_added: 0.2.0
  move_times:
    description: What the run that moves the host is going to give it. A time that is too short is one of RV(problems) while there
      is something to edit.
    type: dict
    version_added: 0.2.0
    suboptions:
      limit:
        description: Seconds that start, proof and login have together, O(portshift.agents.confirmed_change#module:timeout).
        type: int
        required: true
      timeout:
        description: Seconds to wait for the evidence.
        type: float
        required: true
      settle:
        description: Seconds after which all of the evidence has to be there once more.
        type: float
        required: true
  host_port:
    description: What the host needs beside the product. Options of M(portshift.agents.host_port), to see what it would do.
    type: dict
extends_documentation_fragment:
  - portshift.agents.boks_host
  - portshift.agents.boks_proof
  - portshift.agents.attributes
  - portshift.agents.attributes.read_only
attributes:
  platform:
    support: full
    platforms: linux
seealso:
  - module: portshift.agents.boks_evidence
  - module: portshift.agents.services_entry
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: See what moving this Replica would change
  portshift.agents.boks_info:
    base_port: 6530
    role: replica
  register: replica

- name: See which base port this host uses
  portshift.agents.boks_info:
  register: host
"""

RETURN = r"""
ok:
  description: Whether nothing stands against the move (RV(problems) is empty).
  returned: success
  type: bool
port:
  description: The base port that the assessment is about, as O(base_port) asks; null without it, or where it can't be one.
  returned: success
  type: int
  version_added: 0.2.0
problems:
  description: Sentences that say what stands against the move.
  returned: success
  type: list
  elements: str
notes:
  description: Sentences that a person should read before the move.
  returned: success
  type: list
  elements: str
base:
  description:
    - The base port that daemons started now would use; null when it can't be told.
    - Without an entry in the services database it is the product's default, 6500.
  returned: success
  type: int
  sample: 6500
services_port:
  description: What O(services_path) says for C(boks/tcp); null without an entry.
  returned: success
  type: int
  sample: 6500
services_entry:
  description: What O(services_path) says for C(boks), by protocol.
  returned: success
  type: dict
  sample: {"tcp": 6500, "udp": 6500}
answered_by:
  description: A sentence on who answers for C(boks/tcp) instead of the file; null when the host's own lookup agrees with it.
  returned: success
  type: str
bridge_domain:
  description: The value of C(BRIDGE_DOMAIN), whose tenfold shifts every port; null when it can't be told.
  returned: success
  type: int
  sample: 0
role:
  description: What the host is in the domain; null when neither O(role) nor C(BOKSINIT) tells.
  returned: success
  type: str
  sample: replica
ports:
  description: The ports of this host on RV(base), as P(portshift.agents.boks_ports#filter) lists them.
  returned: success
  type: list
  elements: dict
  contains:
    port:
      description: The port.
      type: int
    protocol:
      description: V(tcp) or V(udp).
      type: str
    service:
      description: What listens there.
      type: str
    direction:
      description: V(in).
      type: str
    from:
      description: Who connects.
      type: list
      elements: str
    to:
      description: Who listens.
      type: list
      elements: str
    movable:
      description: Whether the port moves with the base port.
      type: bool
    offset:
      description: The distance from the base port; null for a port that does not move with it.
      type: int
    purpose:
      description: What it is for.
      type: str
    listening_by:
      description: Who listens there, as C(pid), C(name) and C(address); null where no process does, or where the host can't tell.
      type: dict
wanted_ports:
  description: The same for O(base_port); empty without it.
  returned: success
  type: list
  elements: dict
new_services_port:
  description: What O(services_path) has to say for C(boks) so that the daemons use O(base_port); null without it.
  returned: success
  type: int
  sample: 6530
protocols_if_present:
  description: The protocols beside C(tcp) under which O(services_path) has C(boks). They have to move too.
  returned: success
  type: list
  elements: str
  sample: [udp]
edits:
  description: The edits that would bring the host to O(base_port); empty when it is there, and without O(base_port).
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(services).
      type: str
    path:
      description: The file.
      type: str
    name:
      description: The name of the entry.
      type: str
    port:
      description: The port that it gets.
      type: int
    previous_port:
      description: The port that it has for C(tcp); null without an entry.
      type: int
    previous:
      description: The ports that it has, by protocol; null for one without an entry.
      type: dict
    protocols:
      description: The protocols that get an entry when there is none.
      type: list
      elements: str
    protocols_if_present:
      description: The protocols whose entry moves too.
      type: list
      elements: str
old_base:
  description: The base port that the host moves away from; null when nothing on it holds another one than O(base_port).
  returned: success
  type: int
  sample: 6500
host_port:
  description: What M(portshift.agents.host_port) would do; null without O(host_port), and where nothing is to
      be edited.
  returned: success
  type: dict
  contains:
    backend:
      description: The firewall that filters what comes in, or V(none).
      type: str
    missing:
      description: Sentences for what is not there yet.
      type: list
      elements: str
    rules:
      description: The rules that concern the ports.
      type: list
      elements: str
evidence:
  description:
    - The result of M(portshift.agents.boks_evidence) for this host. Where something is missing, its C(ok) is false and
      nothing fails.
    - Null where the host was not asked, see O(proof).
  returned: success
  type: dict
  version_added: 0.2.0
record:
  description: The record of the migration (base ports, phase, state, files); null without one.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._boks.look import LOOK_SPEC, look
from ansible_collections.portshift.agents.plugins.module_utils._host_port.beside import lacking
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST


def main():
    module = AnsibleModule(argument_spec=LOOK_SPEC, supports_check_mode=True)
    require_linux(module, ["services_entry"])
    module.exit_json(**look(module.params, lacking(module), module.warn, THIS_HOST))


if __name__ == "__main__":
    main()
