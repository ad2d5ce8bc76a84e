# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What products hand to generic code is in the modules that a module of Ansible has imported.

Ansible packs what is imported statically, so an import has to name each of them; beside that no line does.
"""

import types


def modules_with(name, namespace):
    """The modules in C(namespace), the globals() of a module, that hold C(name); in the order of their imports, each once."""
    found = [value for value in namespace.values() if isinstance(value, types.ModuleType) and hasattr(value, name)]
    return [module for number, module in enumerate(found) if module not in found[:number]]
