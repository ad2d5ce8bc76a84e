#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: port_probe
short_description: Tells whether ports answer, as seen from this host
version_added: 0.1.0
description:
  - Tries all targets at once, by TCP, UDP or HTTP, and reports each of them.
  - Runs in check mode too.
options:
  targets:
    description: The ports of hosts to try.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description: Name or address.
        type: str
        required: true
      port:
        description: Port, V(1) to V(65535).
        type: int
        required: true
      old_port:
        description:
          - The port on which the target answers until it has moved. It is tried at the same time as O(targets[].port).
          - A target that answers on neither, or whose name does not resolve, is down. That is no problem, since its path may be
            open, so RV(ok) stays true.
          - Not for V(udp) from a Windows host, which does not ask by udp.
        type: int
        version_added: 0.2.0
      protocol:
        description:
          - V(udp) sends an empty datagram. Only a refusal (ICMP port unreachable) counts against it, since UDP gives no
            proof of arrival. With O(targets[].reply_regex) it takes an answer.
        type: str
        choices: [tcp, udp]
        default: tcp
      reply_regex:
        description:
          - For V(udp). A regular expression (Python) that has to match somewhere in the answer to a datagram, such as the
            token of M(portshift.agents.port_listener). The datagram is sent again until the time is over.
        type: str
        version_added: 0.2.0
      http:
        description: Ask for a page and check the answer. Who signed a certificate is not checked.
        type: dict
        suboptions:
          path:
            description: The path of the page.
            type: str
            default: /
          tls:
            description: Use HTTPS.
            type: bool
            default: false
          status:
            description: The HTTP status that counts as an answer.
            type: int
            default: 200
          any_status:
            description:
              - Count whatever status as an answer, for a server that speaks HTTP and wants more than a probe has, such as a
                login. O(targets[].http.status) does not count then.
            type: bool
            default: false
            version_added: 0.2.0
          thumbprint:
            description:
              - With O(targets[].http.tls). The fingerprint of the certificate that the server has to show, by SHA-1 or SHA-256 in
                hexadecimal digits. Colons, blanks and letter case don't count.
              - A server with another certificate does not count as reachable, and nothing is asked of it.
            type: str
            version_added: 0.2.0
          server_name:
            description:
              - The name of the server that is asked for, by TLS (server name indication) and by the C(Host) header, while the
                connection goes to O(targets[].host). Where several servers share an address and a port, another one may answer
                otherwise.
              - The default is O(targets[].host).
            type: str
            version_added: 0.2.0
          body_regex:
            description: A regular expression (Python) that has to match somewhere in the page.
            type: str
  port:
    description:
      - The port that the result is evidence for, such as a base port from which the ports of O(targets) follow. The default is
        the one that all targets share.
      - With it an empty list of O(targets) is evidence too, of a host that has to reach none. Nothing runs on the host then, and
        in check mode the result is RV(predicted).
    type: int
    version_added: 0.2.0
  timeout:
    description:
      - Seconds in which a target has to answer as wanted, from the look-up of its name to the last byte. A server that
        sends its answer slower than that does not count as reachable.
    type: float
    default: 5
  wait:
    description: Seconds during which a target that does not answer is tried again. V(0) tries once.
    type: float
    default: 0
  fail_on_unreachable:
    description: Whether a target that does not answer is a failure. One that is down as O(targets[].old_port) has it is none.
    type: bool
    default: true
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.posix_and_windows
  - portshift.agents.attributes.read_only
notes:
  - A Windows host probes by tcp alone, and tells neither the address from which it did nor the certificate that a server showed.
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Prove that the relay's parent answers on the new port
  portshift.agents.port_probe:
    targets:
      - host: bigfix.example.test
        port: 55000
        http:
          path: /masthead/masthead.afxm
          body_regex: "X-Fixlet-Site|_PortNumber"

- name: Prove that the hub answers on its new port, with the certificate that this agent trusts
  portshift.agents.port_probe:
    targets:
      - host: hub.example.test
        port: 8443
        http:
          tls: true
          path: /api/
          any_status: true
          thumbprint: 5C:8A:7D:F9:8D:2C:4D:F9:B7:F6:E9:3B:8F:6D:53:A3:A2:D9:F1:B0

- name: Prove that the hub answers on this host, whatever else shares its port
  portshift.agents.port_probe:
    targets:
      - host: 127.0.0.1
        port: 8443
        http:
          tls: true
          server_name: hub.example.test
          any_status: true

- name: Prove that datagrams of the parent arrive at the client
  portshift.agents.port_probe:
    targets:
      - host: client1.example.test
        port: 55000
        protocol: udp
        reply_regex: "^on trial$"
  delegate_to: relay1.example.test
"""

RETURN = r"""
ok:
  description:
    - Whether all targets answered as wanted, so that the result is evidence for M(portshift.agents.phase_gate).
    - Targets that are down, as O(targets[].old_port) has it, do not count. Without targets it is true with O(port) alone.
  returned: success, and on failure for unreachable targets
  type: bool
  version_added: 0.2.0
port:
  description: O(port), or the port that all targets share; null where they differ.
  returned: success, and on failure for unreachable targets
  type: int
  sample: 55000
  version_added: 0.2.0
results:
  description: One entry per target, in the order of O(targets).
  returned: success, and on failure for unreachable targets
  type: list
  elements: dict
  contains:
    host:
      description: As asked.
      type: str
    port:
      description: As asked.
      type: int
    protocol:
      description: V(tcp) or V(udp).
      type: str
    address:
      description: The address that was tried (of several, the last one); null when the name did not resolve.
      type: str
    source:
      description: The address of this host from which it reaches the target; null without a route.
      type: str
    reachable:
      description: Whether it answered as wanted.
      type: bool
    latency_ms:
      description: Milliseconds to the answer; null without one.
      type: float
    reason:
      description: Why it does not count as reachable, in a few words; null when it does.
      type: str
      sample: no answer within 5 s (dropped on the way?)
    status:
      description: The HTTP status that the server answered with; null without O(targets[].http), or when it did not come to that.
      type: int
      sample: 401
    certificate:
      description:
        - The certificate that the server showed; null without O(targets[].http.tls), or when it did not come to that.
      type: dict
      contains:
        sha1:
          description: Its SHA-1 fingerprint, upper-case digits without colons, as Windows shows a thumbprint.
          type: str
          sample: 5C8A7DF98D2C4DF9B7F6E93B8F6D53A3A2D9F1B0
        sha256:
          description: Its SHA-256 fingerprint in the same form.
          type: str
        not_after:
          description: The moment up to which it is valid, in UTC; null where that can't be read.
          type: str
          sample: "2027-05-31T23:59:59Z"
    old_reachable:
      description: Whether it answered on O(targets[].old_port); there only with that option.
      type: bool
      version_added: 0.2.0
    error:
      description: A sentence that names the way and the reason; null when it counts as reachable.
      type: str
      sample: "10.0.3.7 -> relay1 (10.0.1.2) port 55000 tcp: no answer within 5 s (dropped on the way?)"
problems:
  description:
    - The RV(results[].error) of each target that did not answer, without those that are down as O(targets[].old_port) has it.
  returned: success, and on failure for unreachable targets
  type: list
  elements: str
  version_added: 0.2.0
predicted:
  description: Whether nothing was tried, in check mode with O(port) and without targets.
  returned: with O(port) and without targets
  type: bool
  version_added: 0.2.0
unreachable_targets:
  description:
    - The entries of RV(results) that did not answer, those that are down among them.
    - Not named C(unreachable), which Ansible takes for the word that the managed host itself can't be reached.
  returned: success, and on failure for unreachable targets
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._network.probe import probe_all
from ansible_collections.portshift.agents.plugins.module_utils._network.probe_targets import PROBE_SPEC, asked, check_options


def main():
    module = AnsibleModule(argument_spec=PROBE_SPEC, supports_check_mode=True)
    try:
        check_options(module.params)
    except EngineError as err:
        module.fail_json(msg=str(err))
    found = asked(probe_all, module.params, module.check_mode)
    message = found.pop("msg", None)
    if message and module.params["fail_on_unreachable"]:
        module.fail_json(msg=message, **found)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
