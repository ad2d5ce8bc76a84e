#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: port_bridge
short_description: Lets a service on one port of this host answer on a second one too
version_added: 0.1.0
description:
  - Rewrites connections for O(listen_port) of this host to O(target_port), so that both ports answer while agents move.
  - Changing the direction is one transaction of the kernel; there is no moment without a rule.
  - Connections that stand already are not touched.
  - Other rules of the host's firewall stay as they are. Both ports have to be admitted there.
options:
  name:
    description: The name of the bridge. A host has one direction per name.
    type: str
    required: true
  listen_port:
    description: The port on which no service listens, V(1) to V(65535). Required for O(state=present).
    type: int
  target_port:
    description: The port on which the service listens, V(1) to V(65535). Required for O(state=present).
    type: int
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
  state:
    description: Whether the bridge is there. V(absent) takes away every trace, those of a boot too.
    type: str
    choices: [present, absent]
    default: present
  backend:
    description:
      - What the rules are written with. V(auto) takes V(nftables) where the C(nft) command is, V(iptables) otherwise.
    type: str
    choices: [auto, nftables, iptables]
    default: auto
  persistent:
    description: Bring the bridge back after a boot, by a systemd unit. Without systemd that is a failure; say V(false) then.
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
extends_documentation_fragment:
  - portshift.agents.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the live rules.
  platform:
    support: full
    platforms: linux
notes:
  - A firewall that flushes rules which are not its own takes the bridge down until the unit is restarted.
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: The relay answers on the new port too, before it moves
  portshift.agents.port_bridge:
    name: bigfix
    listen_port: 55000
    target_port: 52311

- name: The relay answers on the old port too, after it has moved
  portshift.agents.port_bridge:
    name: bigfix
    listen_port: 52311
    target_port: 55000

- name: Only the new port is left
  portshift.agents.port_bridge:
    name: bigfix
    state: absent
"""

RETURN = r"""
backend:
  description: V(nftables) or V(iptables).
  returned: success
  type: str
rules:
  description: The live rules after the change, one line each.
  returned: success
  type: list
  elements: str
  sample: ["prerouting: tcp 55000 of this host -> 52311"]
previous:
  description: The live rules before the change.
  returned: success
  type: list
  elements: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.portshift.agents.plugins.module_utils import _bridge_rules
from ansible_collections.portshift.agents.plugins.module_utils._errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._file_edit import put_file, remove_file
from ansible_collections.portshift.agents.plugins.module_utils._ports import parse_port


class Backend:
    """What both backends need: a command runner that fails with what the command said."""

    def __init__(self, module, name, rules_dir):
        self.module, self.name = module, name
        self.path = os.path.join(rules_dir, "bridge-%s%s" % (name, self.suffix))

    def run(self, command, data=None, accept=(0,)):
        code, out, err = self.module.run_command(command, data=data)
        if code not in accept:
            self.module.fail_json(msg="%s failed: %s" % (" ".join(command), (err or out).strip() or "exit status %d" % code))
        return code, out


class Nftables(Backend):
    suffix = ".nft"

    def live(self):
        code, out, err = self.module.run_command(["nft", "-j", "list", "table", "inet", "portshift_" + self.name])
        if code and "No such file" not in err:
            self.module.fail_json(msg="nft could not list the rules: %s; run with become: true" % err.strip())
        return [] if code else _bridge_rules.from_nft(out)

    def files(self, wanted):
        return {self.path: _bridge_rules.nft_script(self.name, wanted)}

    def load(self, wanted):
        self.run(["nft", "-f", "-"], data=_bridge_rules.nft_script(self.name, wanted))

    def remove(self):
        self.run(["nft", "-f", "-"], data=_bridge_rules.nft_remove(self.name))

    def unit(self):
        nft = self.module.get_bin_path("nft", required=True)
        return _bridge_rules.unit_text(self.name, "%s -f %s" % (nft, self.path),
                                       "-%s delete table inet portshift_%s" % (nft, self.name))


class Iptables(Backend):
    suffix = ".sh"
    families = (("iptables", False), ("ip6tables", True))

    def tools(self):
        return [(tool, ipv6) for tool, ipv6 in self.families if self.module.get_bin_path(tool)]

    def live(self):
        code, out = self.run(["iptables-save", "-t", "nat"])
        return _bridge_rules.from_iptables(out, self.name)

    def script(self, wanted):
        """A shell script: the chain first, then the jumps to it where they are missing."""
        chain, lines = _bridge_rules.chain(self.name), ["#!/bin/sh", "set -e"]
        for tool, ipv6 in self.tools():
            lines += ["%s-restore --noflush <<'RULES'" % tool,
                      _bridge_rules.iptables_script(self.name, wanted, ipv6) + "RULES"]
            lines += ["{0} -t nat -C {1} -j {2} 2>/dev/null || {0} -t nat -I {1} -j {2}".format(tool, hook.upper(), chain)
                      for hook in _bridge_rules.HOOKS]
        return "\n".join(lines + [""])

    def removal(self):
        chain, lines = _bridge_rules.chain(self.name), ["#!/bin/sh"]
        for tool, unused in self.tools():
            lines += ["while {0} -t nat -D {1} -j {2} 2>/dev/null; do :; done".format(tool, hook.upper(), chain)
                      for hook in _bridge_rules.HOOKS]
            lines.append("{0} -t nat -F {1} 2>/dev/null && {0} -t nat -X {1}".format(tool, chain))
        return "\n".join(lines + ["exit 0", ""])

    def files(self, wanted):
        return {self.path: self.script(wanted), self.path[:-3] + "-stop.sh": self.removal()}

    def load(self, wanted):
        self.run(["/bin/sh", "-s"], data=self.script(wanted))

    def remove(self):
        self.run(["/bin/sh", "-s"], data=self.removal())

    def unit(self):
        return _bridge_rules.unit_text(self.name, "/bin/sh " + self.path, "/bin/sh %s-stop.sh" % self.path[:-3])


def choose_backend(module):
    params = module.params
    has_nft = bool(module.get_bin_path("nft"))
    chosen = params["backend"] if params["backend"] != "auto" else "nftables" if has_nft else "iptables"
    command = "nft" if chosen == "nftables" else "iptables-restore"
    if not module.get_bin_path(command):
        module.fail_json(msg="a port bridge needs the command %s, which is not here; install nftables or iptables, or do "
                             "without the bridge" % command)
    return chosen, (Nftables if chosen == "nftables" else Iptables)(module, params["name"], params["rules_dir"])


def described(rules):
    return ["%s: %s %d of %s -> %d" % (rule.hook, rule.protocol, rule.listen, rule.address or "this host", rule.target)
            for rule in sorted(rules, key=str)]


class Boot:
    """The files of the bridge, and the unit that loads them at boot."""

    def __init__(self, module, backend):
        self.module, self.backend = module, backend
        self.unit = "portshift-bridge-%s.service" % module.params["name"]
        self.unit_path = os.path.join(module.params["unit_dir"], self.unit)

    def systemctl(self, *arguments):
        self.backend.run(["systemctl"] + list(arguments))

    def enabled(self):
        return self.module.run_command(["systemctl", "is-enabled", self.unit])[0] == 0

    def establish(self, wanted):
        if not self.module.params["persistent"]:
            return False
        if not self.module.get_bin_path("systemctl") or not os.path.isdir("/run/systemd/system"):
            self.module.fail_json(msg="systemd does not run here, so nothing would bring the bridge back after a boot; say "
                                      "persistent: false if that is well")
        files = self.backend.files(wanted)
        files[self.unit_path] = self.backend.unit()
        changed = [put_file(path, text.encode("utf-8"), self.module.check_mode, mode=0o644)
                   for path, text in sorted(files.items())]
        if not any(changed) and self.enabled():
            return False
        if not self.module.check_mode:
            self.systemctl("daemon-reload")
            self.systemctl("enable", self.unit)
        return True

    def remove(self):
        there = os.path.lexists(self.unit_path)
        if there and not self.module.check_mode:
            self.systemctl("disable", self.unit)
        changed = [remove_file(path, self.module.check_mode) for path in list(self.backend.files([])) + [self.unit_path]]
        if there and not self.module.check_mode:
            self.systemctl("daemon-reload")
        return any(changed)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            name=dict(type="str", required=True), listen_port=dict(type="int"), target_port=dict(type="int"),
            protocols=dict(type="list", elements="str", choices=["tcp", "udp"], default=["tcp", "udp"]),
            addresses=dict(type="list", elements="str", default=[]),
            state=dict(type="str", choices=["present", "absent"], default="present"),
            backend=dict(type="str", choices=["auto", "nftables", "iptables"], default="auto"),
            persistent=dict(type="bool", default=True), rules_dir=dict(type="path", default="/etc/portshift"),
            unit_dir=dict(type="path", default="/etc/systemd/system")),
        required_if=[("state", "present", ["listen_port", "target_port"])],
        supports_check_mode=True)
    params, wanted = module.params, []
    module.run_command_environ_update = dict(LANG="C", LC_ALL="C")
    try:
        if params["state"] == "present":
            listen, target = (parse_port(params[name], name) for name in ("listen_port", "target_port"))
            _bridge_rules.check_bridge(params["name"], listen, target)
            wanted = _bridge_rules.rules(listen, target, params["protocols"], params["addresses"])
        else:
            _bridge_rules.check_bridge(params["name"], 1, 2)
        chosen, backend = choose_backend(module)
        before = backend.live()
        changed = set(before) != set(wanted)
        if changed and not module.check_mode:
            backend.load(wanted) if wanted else backend.remove()
            # Read again: what counts is what the kernel holds.
            if set(backend.live()) != set(wanted):
                module.fail_json(msg="the kernel holds other rules than were just given to it: %s" % "; ".join(
                    described(backend.live())))
        boot = Boot(module, backend)
        changed = (boot.establish(wanted) if wanted else boot.remove()) or changed
    except EngineError as err:
        module.fail_json(msg=str(err))
    result = dict(changed=changed, backend=chosen, previous=described(before), rules=described(wanted))
    if module._diff:
        result["diff"] = dict(before="\n".join(result["previous"] + [""]), after="\n".join(result["rules"] + [""]),
                              before_header="live rules", after_header="live rules")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
