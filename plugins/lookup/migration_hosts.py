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
      - V(leaving) for the port that the agents of a hub leave, V(0) where that can't be told; all of the looks have to be there.
      - V(groups) for the groups of the product, whose hosts have a part in a run.
      - V(order) for all hosts of the run, V(hub_hosts) for the hub of Change Tracker, V(everyone) for both, V(open), V(users) or
        V(close) for the hosts whose role has that verb, V(phase) for the hosts of a phase, V(batches) for the sizes of its steps,
        V(unsettled) with the name of a host for that host, unless this run's look at it is the proof that it has moved, or
        something stands against its move,
        V(on_the_way) for all hosts of the run while one of them is to move,
        V(moved), V(reopen) and V(back) for those of a rollback, V(back_first) for all of its hosts where some of them go back
        before others, V(proved_again) for hosts that are proved anew behind a hub whose old port was closed.
    required: true
  product:
    description: The product. The default is the variable C(portshift_product).
    type: str
"""

EXAMPLES = r"""
- name: Check that every host answers
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

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._contracts import HostVars, Rollback
from ansible_collections.portshift.agents.plugins.plugin_utils._migration import (
    PENDING, ROLLBACK, looks, members_of, order_of, shut_out, unsettled)
from ansible_collections.portshift.agents.plugins.plugin_utils._registry import PRODUCTS


class LookupModule(LookupBase):

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        what, phase = terms[0], int(terms[1]) if len(terms) > 1 and terms[0] != "unsettled" else None
        known = variables or {}
        if what == "groups" or "hostvars" not in known:
            product = self.get_option("product") or known.get("portshift_product")
            return [1] if what == "batches" else list(PRODUCTS[product].groups) if product in PRODUCTS else ["all"]
        hostvars: HostVars = known["hostvars"]
        try:
            order = order_of(known)
            look = looks(hostvars, order)
            if what == "unsettled":
                return unsettled(hostvars, order, [terms[1]])
            if what == "leaving":
                product = PRODUCTS[order["product"]]
                return [product.leaving(order["found"], hostvars, product.facts["assessment"])]
            kept = hostvars.raw_get("localhost")
            rollback: Rollback | None = kept.get(ROLLBACK)
            shut: list[str] = []
            if what in ("back_first", "back") and rollback:
                shut = shut_out(hostvars, rollback["moved"], PRODUCTS[order["product"]].facts["path"])
            return members_of(order, what, phase, rollback, shut, look, kept.get(PENDING))
        except EngineError as err:
            raise AnsibleError(str(err)) from err
