#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: change_tracker_evidence
short_description: Waits until a Netwrix Change Tracker agent has proved that it works with its hub's port
version_added: 0.2.0
description:
  - Looks for positive evidence, again and again until all of it is there or O(timeout) is over.
  - No change of M(portshift.agents.confirmed_change) is under way on the host, since it may yet be undone, nor another migration
    or rollback of it.
  - The URL in the agent's file leads to O(port), the service runs, it has a connection to the hub on that port and none on the
    old one, and its log holds no new line that says that the hub was lost.
  - The vendor documents no line of the log that says that all is well, so it is the connection that proves it.
  - All of this is there twice, with O(settle) seconds in between in which the service was not started anew, so that an agent that
    dies again and again proves nothing.
options:
  port:
    description: The port of the hub that the agent has to work with.
    type: int
    required: true
  old_port:
    description:
      - The port of the hub to which the agent may have no connection any more.
      - The default is the one that O(record) names as old or, on the way back, the one that it names as new. Without either,
        nothing is asked about it.
    type: int
  failure_patterns:
    description:
      - Regular expressions for lines of O(log_path) that speak against the agent. Upper and lower case are the same.
      - A line counts when it is newer than the last change that O(record) names, and, with systemd, than the start of the
        agent. For an agent that has proved itself on O(port) before, as O(record) has it, only lines of the last 30 seconds
        count, since it may have lost its hub and found it again meanwhile.
      - Its date, or else that of the line before it, is read as V(2026-11-22 20:18:05), V(Nov 22 20:18:05) or
        V(Nov 22 20:18:05 2026). One without a date, or with one that is later than now, counts when it comes up within O(settle).
        A log that does not exist holds no failure.
      - The last 4 MiB are read, and of a line the first 4096 bytes.
    type: list
    elements: str
    default:
      - Hub Offline, connection retries exhausted
      - Hub connection failed
      - Certificate thumbprint does not match trusted
  log_max_age:
    description: Seconds for which a line of O(log_path) counts where no later change and no later start is known.
    type: float
    default: 86400
  timeout:
    description:
      - Seconds to wait for the evidence. With O(settle) it may take up to twice that many seconds longer.
    type: float
    default: 60
  settle:
    description:
      - Seconds after which all of the evidence has to be there once more - the same main process of the service where systemd
        tells it, a connection that is seen anew, and no new failure in the log.
      - At most 2 for an agent that has proved itself on O(port) before, as O(record) has it. V(0) for one look alone.
    type: float
    default: 5
  mark:
    description: Note in O(record), once, that the agent has proved itself. Nothing else is ever written.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.change_tracker_agent
  - portshift.agents.attributes
  - portshift.agents.attributes.linux_and_windows
  - portshift.agents.attributes.proof
notes:
  - With systemd only connections of the service itself count. Elsewhere a connection of any process of the host to the hub does.
  - For an agent behind an HTTP proxy, its connection to the proxy is what can be seen.
seealso:
  - module: portshift.agents.change_tracker_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Verify the agent on the hub's new port
  portshift.agents.change_tracker_evidence:
    port: 8443

- name: Verify the agent on the hub's own host, if there is one
  portshift.agents.change_tracker_evidence:
    port: 8443
    required: false
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
  description: The port of the hub that the agent has left, as O(old_port) or O(record) has it; null where neither does.
  returned: always
  type: int
agent:
  description: Whether an agent is installed here.
  returned: always
  type: bool
proved:
  description: One sentence for each piece of evidence found.
  returned: always
  type: list
  elements: str
  sample: ["/var/nnt/gen7agent.app.netcore/HubDetails.xml leads to https://hub.example.com:8443/api/",
           "nnt-agent (pid 1234) is connected to hub.example.com:8443"]
missing:
  description: One sentence for each piece of evidence that was not found, by the name of the check.
  returned: always
  type: dict
moved_at:
  description:
    - When the migration to this port last wrote a file of the host, before it started the agent, in seconds since 1970
      by the host's clock; null where no record says that it did.
  returned: unless the record can't be read
  type: float
looked_at:
  description: The moment at which this was looked at, by the same clock.
  returned: unless the record can't be read
  type: float
waited:
  description: Seconds until the evidence was complete, or was given up.
  returned: always
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._change_tracker.evidence import AGENT_EVIDENCE_SPEC, AgentEvidence
from ansible_collections.portshift.agents.plugins.module_utils._core.evidence import prove
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST


def main():
    module = AnsibleModule(argument_spec=AGENT_EVIDENCE_SPEC, supports_check_mode=True)
    require_linux(module, ["change_tracker_hub_url"])
    prove(module, lambda: AgentEvidence(module.params, THIS_HOST), agent=False)


if __name__ == "__main__":
    main()
