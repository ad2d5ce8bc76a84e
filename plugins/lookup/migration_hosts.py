# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a play of this collection's playbooks; documented below."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_hosts
author:
  - The portshift.agents authors (@portshift)
version_added: 0.2.0
short_description: The hosts of a play, out of the order of a migration
description:
  - For the playbooks of this collection, whose plays name their hosts and the sizes of their batches with it. No part of the
    public contract - its terms change with the playbooks.
  - Reads the order that M(portshift.agents.migration) has made. Where there is no inventory to read, as with C(--syntax-check),
    it gives the groups of the product.
options:
  _terms:
    description:
      - What is asked for, then the number of the phase where that counts.
      - V(groups) for the groups of the product, whose hosts have a part in a run.
      - V(order) for all hosts of the run, V(hub_hosts) for the hub of Change Tracker, V(everyone) for both, V(open), V(users) or
        V(close) for the hosts whose role has that verb, V(phase) for the hosts of a phase, V(batches) for the sizes of its steps,
        V(unsettled) with the name of a host for that host, unless it has moved and this run's look at it is its proof,
        V(on_the_way) for all hosts of the run while one of them is to move, V(moved), V(reopen), V(back_first) and V(back) for
        those of a rollback, V(hub_unknown) for hosts that have to be asked since the hub does not know.
    required: true
  product:
    description: The product. The default is the variable C(portshift_product).
    type: str
"""

EXAMPLES = r"""
- name: Read every host
  hosts: "{{ query('portshift.agents.migration_hosts', 'order') }}"
  gather_facts: false
  tasks: []
"""

RETURN = r"""
_raw:
  description: Names of hosts, or numbers of them.
  type: list
  elements: raw
"""

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._migration import (
    PENDING, ROLLBACK, is_settled, members_of, order_of, shut_out)
from ansible_collections.portshift.agents.plugins.plugin_utils._products import PRODUCTS


def _hub_record(hostvars, order):
    """What the hub says of its last migration."""
    fact = PRODUCTS[order["product"]].facts["hub_way_back"]
    told = hostvars.raw_get(order["hub_hosts"][0]).get(fact) if order["hub_hosts"] else None
    return told.get("record") if isinstance(told, dict) else None


def _looks(hostvars, order):
    """A function host -> what the look at it has said, untemplated; nothing where it has failed."""
    fact = PRODUCTS[order["product"]].facts["assessment"]

    def look(host):
        told = hostvars.raw_get(host).get(fact)
        return told if isinstance(told, dict) else {}
    return look


class LookupModule(LookupBase):

    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        what, phase = terms[0], int(terms[1]) if len(terms) > 1 and terms[0] != "unsettled" else None
        if what == "groups" or "hostvars" not in (variables or {}):
            product = self.get_option("product") or (variables or {}).get("portshift_product")
            return [1] if what == "batches" else list(PRODUCTS[product].groups) if product in PRODUCTS else ["all"]
        hostvars = variables["hostvars"]
        try:
            order = order_of(hostvars)
            if what == "unsettled":
                return [] if is_settled(order, _looks(hostvars, order)(terms[1])) else [terms[1]]
            known = hostvars.raw_get("localhost")
            rollback, shut = known.get(ROLLBACK) or {}, []
            if what in ("back_first", "back"):
                shut = shut_out(hostvars, rollback["moved"], PRODUCTS[order["product"]].facts["path"])
            record = _hub_record(hostvars, order) if what == "hub_unknown" else None
            return members_of(order, what, phase, rollback, shut, record, _looks(hostvars, order), known.get(PENDING))
        except EngineError as err:
            raise AnsibleError(str(err)) from err
