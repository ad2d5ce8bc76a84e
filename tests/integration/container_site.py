# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts in containers with systemd, for the tests of a file."""

import contextlib
import os

import pytest

from tests.lab import containers
from tests.lab.processes import Failed


def engine_of_root():
    """Podman as root runs it; the test says why where there is none."""
    if os.geteuid():
        pytest.skip("hosts in containers, with systemd and firewalls of their own, need root")
    try:
        return containers.Engine("podman")
    except Failed as err:
        pytest.skip(str(err))


@contextlib.contextmanager
def running(make):
    """What `make` makes of the engine, started; its containers are removed in the end, by its label."""
    engine = engine_of_root()
    made = make(engine)
    try:
        made.start()
        yield made
    finally:
        engine.remove(made.label)
