# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python3 -m tests.lab COMMAND`, run from the root of the checkout."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
