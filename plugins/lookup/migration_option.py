# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A variable of the playbooks of this collection, or its default; documented below."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_option
author:
  - The portshift.agents authors (@portshift)
version_added: 0.2.0
short_description: A variable of a migration's playbooks, or its default
description:
  - For the playbooks of this collection, which have their defaults in one table. No part of the public contract.
options:
  _terms:
    description: Names of variables without the name of their product, such as V(probe_timeout).
    required: true
  product:
    description: The product. The default is the variable C(portshift_product).
    type: str
"""

EXAMPLES = r"""
- name: Show what answers for the hub's own firewall
  ansible.builtin.debug:
    msg: "{{ lookup('portshift.agents.migration_option', 'hub_firewall', product='change_tracker') }}"
"""

RETURN = r"""
_raw:
  description: For each name the variable as the host has it, or else the default.
  type: list
  elements: raw
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.plugin_utils._registry import PRODUCTS


class LookupModule(LookupBase):

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        known = variables or {}
        name = self.get_option("product") or known.get("portshift_product")
        if name not in PRODUCTS:
            raise AnsibleError("migration_option: product is %r; give one of %s" % (name, ", ".join(PRODUCTS)))
        product, found = PRODUCTS[name], []
        for term in terms:
            try:
                default = product.default(term)
            except EngineError as err:
                raise AnsibleError(str(err)) from err
            variable = product.variable(term)
            found.append(self._templar.template(known[variable]) if variable in known else default)
        return found
