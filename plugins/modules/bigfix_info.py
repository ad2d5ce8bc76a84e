#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_info
short_description: Looks at a BigFix host and says what moving its port would change
version_added: 0.1.0
description:
  - Reads everything that a migration of the port needs to know of one host, in one go. Writes nothing.
  - Finds the mastheads and settings files, says which edits would bring them to O(port), what stands against it, and who
    listens on the ports in question.
options:
  masthead_src:
    description:
      - A masthead that was issued for O(port), on the control node. It is compared with the installed ones.
    type: path
  issued:
    description:
      - What the control node found in O(masthead_src). Filled in by the action plugin; nothing to set.
    type: dict
  allow_invalid_signature:
    description: Plan for signed mastheads being edited in place, which breaks their signature. For test systems only.
    type: bool
    default: false
  host_port:
    description: What the host needs beside the product. Options of M(portshift.agents.host_port), to see what it would do.
    type: dict
    version_added: 0.2.0
  bind_address:
    description: Count only listeners that are bound to this address of the host, or to all. The default is to count every one.
    type: str
extends_documentation_fragment:
  - portshift.agents.bigfix_host
  - portshift.agents.attributes
  - portshift.agents.attributes.read_only
attributes:
  platform:
    support: full
    platforms: linux
seealso:
  - module: portshift.agents.bigfix_evidence
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: See what moving this client would change
  portshift.agents.bigfix_info:
    component: client
    port: 55000
    masthead_paths: [/etc/opt/BESClient/actionsite.afxm]
    settings_paths: [/var/opt/BESClient/besclient.config]
  register: client
"""

RETURN = r"""
ok:
  description: Whether nothing stands against the move (RV(problems) is empty).
  returned: success
  type: bool
port:
  description: The port that the assessment is about, as O(port) asks.
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
old_port:
  description: The port that the host moves away from; null when nothing on it holds another port than O(port).
  returned: success
  type: int
  sample: 52311
edits:
  description: The edits that would bring the host to O(port); empty when it is there.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(masthead), V(settings) or V(credentials).
      type: str
    path:
      description: The file.
      type: str
    previous_port:
      description: For a masthead, and for a file of credentials the URL in it, the port that is named now.
      type: int
    settings:
      description: For a settings file, the settings that get a value.
      type: dict
    urls:
      description: For a settings file, the names of the settings in whose URLs the port moves.
      type: list
      elements: str
    format:
      description: For a settings file, V(config) or V(clientsettings).
      type: str
listeners:
  description:
    - Who listens on the old port, the new port, and the ports of Web Reports and WebUI; null where the host can't tell.
  returned: success
  type: list
  elements: dict
host_port:
  description: What M(portshift.agents.host_port) would do; null without O(host_port).
  returned: success
  type: dict
  version_added: 0.2.0
  contains:
    backend:
      description: The firewall that filters what comes in, or V(none).
      type: str
    missing:
      description: Sentences for what is not there yet.
      type: list
      elements: str
    rules:
      description: The rules that concern the port.
      type: list
      elements: str
neighbours:
  description: The ports of Web Reports and WebUI on which a process listens here. They have to stay as they are.
  returned: success
  type: list
  elements: int
relay:
  description: The host in the URL of the relay that the agent has selected (C(__RelayServer1)); null without such a setting.
  returned: success
  type: str
  version_added: 0.2.0
masthead_host:
  description: The root server's name as the masthead has it; null without a masthead.
  returned: success
  type: str
  version_added: 0.2.0
record:
  description: The record of the migration (ports, phase, state, files); null without one.
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.host import HOST_SPEC, BigFixHost
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._host_port.plan import assess_beside
from ansible_collections.portshift.agents.plugins.module_utils._network.listeners import is_ephemeral
from ansible_collections.portshift.agents.plugins.module_utils._network.posix_host import THIS_HOST
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead import IssuedFacts
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.masthead_page import masthead_answer
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.ports import BIGFIX_NEIGHBOURS, parse_bigfix_port
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.setting_names import WEB_REPORTS

PROBE_TIMEOUT = 3


def neighbour_ports(host):
    """Web Reports and WebUI: where they listen by default, and where this host says."""
    own = host.setting(WEB_REPORTS)
    return set(BIGFIX_NEIGHBOURS) | ({own} if own else set())


def who(entry):
    return "process %(process)s (pid %(pid)s)" % entry if entry["pid"] else "a process of another user"


def serves_masthead(managed, entry):
    """None, or why what listens there is not the product."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(entry["address"], entry["address"])
    plain = masthead_answer(local, entry["port"], False, PROBE_TIMEOUT, names_port=False, host=managed)
    # Relays that authenticate answer HTTPS only; one that does not may let a handshake wait in vain, so it is asked last.
    if plain["reachable"] or masthead_answer(
            local, entry["port"], True, PROBE_TIMEOUT, names_port=False, host=managed)["reachable"]:
        return None
    return plain["reason"]


def new_port_conflicts(host, plan, listening, neighbours, address):
    """Sentences for a new port that another program holds already."""
    if host.port in neighbours:
        return ["port %d is the port of Web Reports or WebUI on this host, which do not move; choose another" % host.port]
    # A listener of ours that an interrupted run left ends by itself, or when the paths are proved.
    ours = host.managed.own_listener(host.port, address)
    holders = [entry for entry in listening if entry["port"] == host.port and entry["protocol"] == "tcp" and (
        not ours or entry["pid"] != ours)]
    if not any(edit["kind"] == "masthead" for edit in plan.edits):
        # An agent may have gathered the new masthead by itself, and its relay may have followed.
        holders = [entry for entry in holders if serves_masthead(host.managed, entry)]
    if holders:
        return ["port %d is in use already: %s listens on %s; free it or choose another port" % (
            host.port, who(entry), entry["address"]) for entry in holders]
    if ours:
        return []
    return ["port %d is in use already: the kernel gave it to a connection of %s to %s; end that connection or choose another "
            "port (once reserved, it is not given away again)" % (host.port, who(entry), entry["remote"])
            for entry in host.managed.outgoing(host.port, address)]


def old_port_conflicts(host, listening):
    """Sentences for an old port on which not the product answers."""
    found = []
    for entry in listening:
        reason = entry["port"] == host.old_port and entry["protocol"] == "tcp" and serves_masthead(host.managed, entry)
        if reason:
            found.append("port %d, the old one, is held by %s, which serves no masthead (%s), so the %s can't be listening "
                         "there; find out whose it is and mend that first" % (host.old_port, who(entry), reason, host.component))
    return found


def main():
    module = AnsibleModule(
        argument_spec=dict(HOST_SPEC, masthead_src=dict(type="path"), issued=dict(type="dict"),
                           host_port=dict(type="dict"),
                           allow_invalid_signature=dict(type="bool", default=False), bind_address=dict(type="str")),
        supports_check_mode=True)
    require_linux(module)
    try:
        parse_bigfix_port(module.params["port"])
        host = BigFixHost(module.params, THIS_HOST)
    except EngineError as err:
        module.fail_json(msg=str(err))
    issued = module.params["issued"] and IssuedFacts(module.params["issued"])
    plan = host.plan(issued, module.params["allow_invalid_signature"])
    neighbours = neighbour_ports(host)
    listening = host.managed.listeners(neighbours | {host.port, host.old_port}, module.params["bind_address"])
    if host.component != "client" and plan.edits:
        plan.problems += new_port_conflicts(host, plan, listening or [], neighbours, module.params["bind_address"])
        plan.problems += old_port_conflicts(host, listening or [])
        if listening is not None and not any(
                entry["port"] == host.old_port and entry["protocol"] == "tcp" for entry in listening):
            plan.notes.append("no process listens on port %s, the old one; is the %s running?" % (host.old_port, host.component))
    host_port = assess_beside(module, module.params["host_port"], plan)
    if host.component != "client" and plan.edits and not (module.params["host_port"] or {}).get("reserve") and is_ephemeral(
            host.port, host.managed.ephemeral_ports()):
        plan.notes.append("port %d lies in the range that the kernel hands out to outgoing connections; reserve it "
                          "(sysctl net.ipv4.ip_local_reserved_ports=%d), or a restart may find it taken"
                          % (host.port, host.port))
    module.exit_json(
        changed=False, ok=not plan.problems, port=host.port, problems=plan.problems, notes=plan.notes,
        old_port=host.old_port, edits=plan.edits, host_port=host_port, listeners=listening,
        record=host.record.content if host.record else None, relay=host.relay, masthead_host=host.masthead_host,
        neighbours=sorted({entry["port"] for entry in listening or [] if entry["port"] in neighbours
                           and entry["protocol"] == "tcp"}))


if __name__ == "__main__":
    main()
