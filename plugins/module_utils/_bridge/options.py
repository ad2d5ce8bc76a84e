# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a bridge, apart from what sets it up, which a module run on a host without one needs not compile."""

from ansible_collections.portshift.agents.plugins.module_utils._network.lease_options import LEASE_SPEC

# Options of a module that looks at a bridge, but for its direction.
LOOK_SPEC = dict(
    name=dict(type="str", required=True),
    protocols=dict(type="list", elements="str", choices=["tcp", "udp"], default=["tcp", "udp"]),
    addresses=dict(type="list", elements="str", default=[]),
    backend=dict(type="str", choices=["auto", "nftables", "iptables"], default="auto"),
    persistent=dict(type="bool", default=True), rules_dir=dict(type="path", default="/etc/portshift"),
    unit_dir=dict(type="path", default="/etc/systemd/system"))
# The same of one that sets it up.
BRIDGE_SPEC = dict(LOOK_SPEC, **LEASE_SPEC)
# What a module has beside these for the direction.
MAPPING_SPEC = dict(listen_port=dict(type="int", required=True), target_port=dict(type="int", required=True),
                    protocols=dict(type="list", elements="str", choices=["tcp", "udp"]))
DIRECTION_SPEC = dict(listen_port=dict(type="int"), target_port=dict(type="int"),
                      mappings=dict(type="list", elements="dict", options=MAPPING_SPEC))
DIRECTION_RULES = dict(required_together=[("listen_port", "target_port")], mutually_exclusive=[("listen_port", "mappings")])
