# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host lacks for the new port beside the product, for the module that looks at the product."""


def lacking(module):
    """A function: the plan of a product's move -> what this host's own firewall lacks, or None where nothing is to be edited.

    `module`: has the option C(host_port).
    """
    def assess(plan):
        if not plan.edits:
            return None
        # Here, since every host compiles what it loads anew in each run, and one that has moved needs none of this.
        from ansible_collections.portshift.agents.plugins.module_utils._host_port.plan import assess_beside
        return assess_beside(module, module.params["host_port"], plan)
    return assess
