# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the lease of a host, apart from what holds it, which a module run that holds none needs not compile."""

PATH = "/var/lib/portshift/host.lock"
# Options of a module that changes what the products of a host share.
LEASE_SPEC = dict(lease=dict(type="path", default=PATH), lease_wait=dict(type="int", default=300))
