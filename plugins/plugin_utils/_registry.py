# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The products that this collection has: those with a driver in the folder _drivers, under the name of its file."""

from __future__ import annotations

import importlib
from pathlib import Path

from ansible_collections.portshift.agents.plugins.plugin_utils._products import Product

_DRIVERS = Path(__file__).resolve().parent / "_drivers"


def _driver(name: str) -> Product:
    driver = importlib.import_module("ansible_collections.portshift.agents.plugins.plugin_utils._drivers." + name)
    product: Product = driver.PRODUCT
    return product


PRODUCTS = {path.stem: _driver(path.stem) for path in sorted(_DRIVERS.glob("*.py")) if path.stem != "__init__"}
