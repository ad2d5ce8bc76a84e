# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of tools/, which have no ending, as modules."""

import importlib.machinery
import importlib.util
import pathlib
import sys

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"


def tool(name):
    """tools/NAME, loaded anew and not run; it finds the modules beside it as it does when it is run."""
    loader = importlib.machinery.SourceFileLoader("portshift_" + name, str(TOOLS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    before, sys.dont_write_bytecode = (list(sys.path), sys.dont_write_bytecode), True
    sys.path.insert(0, str(TOOLS))
    try:
        loader.exec_module(module)
    finally:
        sys.path[:], sys.dont_write_bytecode = before
    return module
