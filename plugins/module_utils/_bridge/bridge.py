# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A port bridge on this Linux host: the live rules, the files that bring them back after a boot, and the change of both."""

import os
import time

from ansible_collections.portshift.agents.plugins.module_utils._bridge import rules as _bridge_rules
from ansible_collections.portshift.agents.plugins.module_utils._bridge.rules import BridgeError, Mapping, User, from_nft
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import put_file, remove_empty_folder, remove_file
from ansible_collections.portshift.agents.plugins.module_utils._core.host_commands import run
from ansible_collections.portshift.agents.plugins.module_utils._network.host_lease import HostLease
from ansible_collections.portshift.agents.plugins.module_utils._network.lease_options import PATH
from ansible_collections.portshift.agents.plugins.module_utils._core.ports import parse_port

# Seconds that a move waits for the lease of the host while its product is down; then it turns the bridge without it.
PATIENCE_OF_A_MOVE = 10
# Where xt_recent shows its lists, the rates at which a kernel may count, and the seconds that tell them apart.
RECENT = "/proc/net/xt_recent"
TICK_RATES = (100, 250, 300, 1000)
TICKS_SECONDS = 0.25


class Backend:
    """What both backends need: a command runner that fails with what the command said."""

    def __init__(self, module, name, rules_dir):
        self.module, self.name = module, name
        self.path = os.path.join(rules_dir, "bridge-%s%s" % (name, self.suffix))

    def run(self, command, data=None, accept=(0,)):
        code, out, err = run(self.module, command, data)
        if code not in accept:
            raise BridgeError("%s failed: %s" % (" ".join(command), (err or out).strip() or "exit status %d" % code))
        return code, out


class Nftables(Backend):
    suffix = ".nft"
    # The rules and their memory are one transaction.
    may_forget = False

    def live(self):
        return from_nft(self._listed())

    def _listed(self):
        code, out, err = run(self.module, ["nft", "-j", "list", "table", "inet", "portshift_" + self.name])
        if code and "No such file" not in err:
            raise BridgeError("nft could not list the rules: %s; run with become: true" % err.strip())
        return '{"nftables": []}' if code else out

    def watches(self):
        return _bridge_rules.watches_from_nft(self._listed())

    def to_watch(self, wanted):
        return _bridge_rules.watches(wanted)

    def users(self, ports):
        """(the users, the seconds for which they have been remembered or None where that is not known)."""
        return _bridge_rules.users_from_nft(self._listed())

    def files(self, wanted):
        return {self.path: _bridge_rules.nft_script(self.name, wanted)}

    def load(self, wanted):
        self.run(["nft", "-f", "-"], data=_bridge_rules.nft_script(self.name, wanted))

    def remove(self):
        self.run(["nft", "-f", "-"], data=_bridge_rules.nft_remove(self.name))

    def unit(self):
        nft = self.module.get_bin_path("nft")
        return _bridge_rules.unit_text(self.name, "%s -f %s" % (nft, self.path),
                                       "-%s delete table inet portshift_%s" % (nft, self.name))


class Iptables(Backend):
    suffix = ".sh"
    families = (("iptables", False), ("ip6tables", True))
    # A kernel may be without xt_recent, and the bridge is worth more than its memory.
    may_forget = True

    def tools(self):
        return [(tool, ipv6) for tool, ipv6 in self.families if self.module.get_bin_path(tool)]

    def live(self):
        code, out = self.run(["iptables-save", "-t", "nat"])
        return _bridge_rules.from_iptables(out, self.name)

    def watches(self):
        return set().union(*[_bridge_rules.watches_from_iptables(
            self.run([tool + "-save", "-t", "mangle"])[1], self.name, ipv6) for tool, ipv6 in self.tools()])

    def to_watch(self, wanted):
        families = {6 if ipv6 else 4 for unused, ipv6 in self.tools()}
        return {watch for watch in _bridge_rules.watches(wanted) if watch.family in families}

    def _seen(self, port, ipv6):
        """The list of who used a port, or None where there is none."""
        try:
            with open(self._list(port, ipv6)) as source:
                return _bridge_rules.from_recent(source.read())
        except OSError:
            return None

    def _list(self, port, ipv6):
        return os.path.join(RECENT, _bridge_rules.recent_list(self.name, port, ipv6))

    def _now(self, port, ipv6):
        """The kernel's clock, in its own ticks: it notes an address of no host with the time."""
        try:
            with open(self._list(port, ipv6), "w") as target:
                target.write("+%s\n" % _bridge_rules.NOW)
        except OSError:
            return None
        return (self._seen(port, ipv6) or {}).get(_bridge_rules.NOW)

    def users(self, ports):
        """(the users, the seconds for which they have been remembered or None where that is not known)."""
        found, beginnings, rate = [], [], None
        for port, ipv6 in [(port, ipv6) for port in ports for ipv6 in (False, True)]:
            now, began = self._now(port, ipv6), time.time()
            if now is None:
                continue
            if rate is None:
                time.sleep(TICKS_SECONDS)
                first, now, seconds = now, self._now(port, ipv6), time.time() - began
                rate = min(TICK_RATES, key=lambda rate: abs(rate * seconds - (now - first)))
            for address, ticks in sorted(self._seen(port, ipv6).items()):
                # What has come since counts as just now.
                seconds = max(0, now - ticks) // rate
                if address == _bridge_rules.MADE:
                    beginnings.append(seconds)
                elif address != _bridge_rules.NOW and seconds < _bridge_rules.REMEMBERED:
                    found.append(User(address, port, seconds))
        return found, min(beginnings) if beginnings else None

    def script(self, wanted):
        """A shell script: the chain first, then the jumps to it where they are missing."""
        chain, lines = _bridge_rules.chain(self.name), ["#!/bin/sh", "set -e"]
        for tool, ipv6 in self.tools():
            lines += ["%s-restore --noflush <<'RULES'" % tool,
                      _bridge_rules.iptables_script(self.name, wanted, ipv6) + "RULES"]
            jumps = ["%s -j %s" % (hook.upper(), chain) for hook in _bridge_rules.HOOKS]
            lines += ["%s -t nat -C %s 2>/dev/null || %s -t nat -I %s" % (tool, jump, tool, jump) for jump in jumps]
        return "\n".join(lines + self._memory(wanted) + [""])

    def _memory(self, wanted):
        """What remembers users; where that can't be, the bridge stands without it."""
        chain, lines, ports = _bridge_rules.chain(self.name), [], sorted({rule.listen for rule in wanted})
        for tool, ipv6 in self.tools():
            lines += ["if %s-restore --noflush 2>/dev/null <<'RULES'" % tool,
                      _bridge_rules.iptables_watch_script(self.name, wanted, ipv6) + "RULES", "then"]
            jumps = ["%s -j %s" % (hook.upper(), chain) for hook in _bridge_rules.HOOKS]
            lines += ["    %s -t mangle -C %s 2>/dev/null || %s -t mangle -I %s || :" % (tool, jump, tool, jump)
                      for jump in jumps]
            lines += ["else", "    echo 'who uses the port is not remembered: %s knows no match recent here' >&2" % tool, "fi"]
        # Since when users are remembered; a list outlives the filling of its chain.
        lines += ["grep -q '^src=%s ' %s 2>/dev/null || { echo +%s > %s; } 2>/dev/null || :" % (
            _bridge_rules.MADE, self._list(port, ipv6), _bridge_rules.MADE, self._list(port, ipv6))
            for port in ports for ipv6 in (False, True)]
        return lines

    def removal(self):
        chain, lines = _bridge_rules.chain(self.name), ["#!/bin/sh"]
        for tool in [tool for tool, ipv6 in self.tools()]:
            lines += ["while %s -t nat -D %s -j %s 2>/dev/null; do :; done" % (tool, hook.upper(), chain)
                      for hook in _bridge_rules.HOOKS]
            lines.append("%s -t nat -F %s 2>/dev/null && %s -t nat -X %s" % (tool, chain, tool, chain))
            lines += ["while %s -t mangle -D %s -j %s 2>/dev/null; do :; done" % (tool, hook.upper(), chain)
                      for hook in _bridge_rules.HOOKS]
            lines.append("%s -t mangle -F %s 2>/dev/null && %s -t mangle -X %s" % (tool, chain, tool, chain))
        return "\n".join(lines + ["exit 0", ""])

    def files(self, wanted):
        return {self.path: self.script(wanted), self.path[:-3] + "-stop.sh": self.removal()}

    def load(self, wanted):
        self.run(["/bin/sh", "-s"], data=self.script(wanted))

    def remove(self):
        self.run(["/bin/sh", "-s"], data=self.removal())

    def unit(self):
        return _bridge_rules.unit_text(self.name, "/bin/sh " + self.path, "/bin/sh %s-stop.sh" % self.path[:-3])


def choose_backend(module, name, backend, rules_dir):
    has_nft = bool(module.get_bin_path("nft"))
    chosen = backend if backend != "auto" else "nftables" if has_nft else "iptables"
    command = "nft" if chosen == "nftables" else "iptables-restore"
    if not module.get_bin_path(command):
        raise BridgeError("a port bridge needs the command %s, which is not here; install nftables or iptables, or do "
                          "without the bridge" % command)
    return chosen, (Nftables if chosen == "nftables" else Iptables)(module, name, rules_dir)


def described(rules):
    return ["%s: %s %d of %s -> %d" % (rule.hook, rule.protocol, rule.listen, rule.address or "this host", rule.target)
            for rule in sorted(rules, key=str)]


class Boot:
    """The files of the bridge, and the unit that loads them at boot."""

    def __init__(self, module, backend, persistent, unit_dir):
        self.module, self.backend, self.persistent = module, backend, persistent
        self.unit = "portshift-bridge-%s.service" % backend.name
        self.unit_path = os.path.join(unit_dir, self.unit)

    def systemctl(self, *arguments):
        self.backend.run(["systemctl"] + list(arguments))

    def in_force(self):
        """Enabled for the next boot, and active: only an active unit follows when the filter's own is restarted."""
        return all(run(self.module, ["systemctl", verb, self.unit])[0] == 0 for verb in ("is-enabled", "is-active"))

    def require(self):
        """Fails, before anything is changed, where a persistent bridge can't be."""
        if self.persistent and (not self.module.get_bin_path("systemctl") or not os.path.isdir("/run/systemd/system")):
            raise BridgeError("systemd does not run here, so nothing would bring the bridge back after a boot; say "
                              "persistent: false if that is well")

    def establish(self, wanted):
        if not self.persistent:
            return False
        files = self.backend.files(wanted)
        files[self.unit_path] = self.backend.unit()
        changed = [put_file(path, text.encode("utf-8"), self.module.check_mode, mode=0o644)
                   for path, text in sorted(files.items())]
        if not any(changed) and self.in_force():
            return False
        if not self.module.check_mode:
            self.systemctl("daemon-reload")
            # Loads the same rules once more, in one transaction.
            self.systemctl("enable", "--now", self.unit)
        return True

    def remove(self):
        there = os.path.lexists(self.unit_path)
        if there and not self.module.check_mode:
            self.systemctl("disable", "--now", self.unit)
        changed = [remove_file(path, self.module.check_mode) for path in list(self.backend.files([])) + [self.unit_path]]
        if there and not self.module.check_mode:
            self.systemctl("daemon-reload")
        if any(changed) and not self.module.check_mode:
            remove_empty_folder(os.path.dirname(self.backend.path))
        return any(changed)


def asked_mappings(params):
    """(listen, target, protocols or None) of everything that the options of DIRECTION_SPEC ask for."""
    if params["mappings"]:
        return [(mapping["listen_port"], mapping["target_port"], mapping["protocols"]) for mapping in params["mappings"]]
    return [(params["listen_port"], params["target_port"], None)]


def mappings_of(rules):
    """The direction that rules have, in the form of the option of that name."""
    found = {}
    for rule in rules:
        found.setdefault((rule.listen, rule.target), set()).add(rule.protocol)
    return [dict(listen_port=listen, target_port=target, protocols=sorted(protocols))
            for (listen, target), protocols in sorted(found.items())]


def check_bridge(options):
    """`options` (see BRIDGE_SPEC) with the addresses in one spelling; an error where one can't be a part of a rule."""
    _bridge_rules.check_name(options["name"])
    for option in ("rules_dir", "unit_dir"):
        _bridge_rules.check_folder(options[option], option)
    return dict(options, addresses=_bridge_rules.parse_addresses(options["addresses"]))


def _remembered(backend, before):
    """What is known of who used the ports that the rules `before` bridge."""
    ports = sorted({rule.listen for rule in before})
    if not ports:
        return dict(users=[], remembered_seconds=None, notes=[])
    if not backend.watches():
        return dict(users=[], remembered_seconds=None, notes=[
            "who uses port %s is not remembered on this host: %s" % (
                ", ".join(map(str, ports)), "iptables knows no match recent here (the kernel's module xt_recent)"
                if backend.may_forget and not os.path.isdir(RECENT) else
                "its bridge was laid by an earlier version of portshift.agents; look there who is connected (ss -tn) before "
                "you close")])
    users, seconds = backend.users(ports)
    return dict(users=[dict(user._asdict()) for user in sorted(users, key=lambda user: (user.seconds_ago, user.address))],
                remembered_seconds=seconds, notes=[])


def _remove_all(module, options, with_users):
    there = [name for name, command in (("nftables", "nft"), ("iptables", "iptables-restore")) if module.get_bin_path(command)]
    removed = [_set_by(module, dict(options, backend=name), (), with_users) for name in there]
    lists = {key: [one for result in removed for one in result[key]] for key in ("missing", "previous", "mappings", "notes")}
    found = dict(lists, changed=any(result["changed"] for result in removed), backend=", ".join(there) or "none", rules=[])
    if with_users:
        seconds = [result["remembered_seconds"] for result in removed if result["remembered_seconds"] is not None]
        found.update(users=[user for result in removed for user in result["users"]],
                     remembered_seconds=min(seconds) if seconds else None)
    return found


def lease_of(options):
    """The lease of the host, for a change of the bridge that `options` describe."""
    return HostLease(options.get("lease") or PATH, options.get("lease_wait") or 0, "%s: port bridge" % options["name"])


def set_bridge(module, options, mappings=(), lease=None, with_users=False):
    """Makes the bridge that `options` (see BRIDGE_SPEC) describe lead as `mappings` say; without any, takes it away.

    `mappings`: (port on which no service listens, the service's own port, protocols or None for those of `options`).
    `lease`: that of the host, where it is held; else it is taken for this.
    Returns a dict: changed, backend, missing, previous, mappings, rules, notes; `with_users` also users and remembered_seconds of
    the bridge before.
    """
    options = check_bridge(options)
    if lease or module.check_mode:
        found = _set_bridge(module, options, mappings, with_users)
        found["notes"] = (lease.notes if lease else []) + found["notes"]
        return found
    with lease_of(options) as taken:
        return set_bridge(module, options, mappings, taken, with_users)


def hold_for_a_move(lease):
    """Takes the lease of a host whose product is down, or is cut off: that neither waits for long nor fails without it.

    Table, chain, unit and files of a bridge are its own, so that those of others are not at risk.
    """
    try:
        lease.hold(wait=PATIENCE_OF_A_MOVE)
    except EngineError as err:
        lease.notes.append("the bridge was turned without the lease of this host: %s" % getattr(err, "who", err))


def turn_bridge(module, options, mappings):
    """set_bridge() for a move that is under way, with its product down."""
    if module.check_mode:
        return set_bridge(module, options, mappings)
    lease = lease_of(options)
    try:
        hold_for_a_move(lease)
        return set_bridge(module, options, mappings, lease)
    finally:
        lease.release()


def _set_bridge(module, options, mappings, with_users):
    mappings = [Mapping(parse_port(listen, "listen_port"), parse_port(target, "target_port"), protocols or options["protocols"])
                for listen, target, protocols in mappings]
    _bridge_rules.check_mappings(mappings)
    wanted = _bridge_rules.rules(mappings, options["addresses"])
    if not wanted and options["backend"] == "auto":
        # What set it up may have been another one than would be chosen now.
        return _remove_all(module, options, with_users)
    return _set_by(module, options, wanted, with_users)


def _set_by(module, options, wanted, with_users):
    """The same with the backend that `options` name, for the rules that are wanted."""
    chosen, backend = choose_backend(module, options["name"], options["backend"], options["rules_dir"])
    boot = Boot(module, backend, options["persistent"], options["unit_dir"])
    if wanted:
        boot.require()
    before = backend.live()
    found = _remembered(backend, before) if with_users else dict(notes=[])
    changed = set(before) != set(wanted)
    missing = (["%s is not there" % line for line in described(set(wanted) - set(before))]
               + ["%s is there" % line for line in described(set(before) - set(wanted))])
    # One that remembers other users, or none, is laid anew.
    watching = backend.watches() if wanted and not changed else None
    forgetful = watching is not None and watching != backend.to_watch(wanted)
    if (changed or forgetful) and not module.check_mode:
        backend.load(wanted) if wanted else backend.remove()
        # Read again: what counts is what the kernel holds.
        if set(backend.live()) != set(wanted):
            raise BridgeError("the kernel holds other rules than were just given to it: %s" % "; ".join(
                described(backend.live())))
        forgetful = forgetful and backend.watches() != watching
    elif forgetful and backend.may_forget:
        forgetful = os.path.isdir(RECENT)
    if forgetful:
        missing.append("who uses the ports is not remembered")
    at_boot = boot.establish(wanted) if wanted else boot.remove()
    if at_boot:
        missing.append("%s and its files are not as a boot needs them" % boot.unit if wanted else
                       "%s or a file of it is there" % boot.unit)
    return dict(found, changed=changed or forgetful or at_boot, backend=chosen, missing=missing, previous=described(before),
                mappings=mappings_of(before), rules=described(wanted))
