# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the transaction of a move makes of errors that no sentence foresees; the moves: tests/integration/test_cutover.py."""

from types import SimpleNamespace

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._move import transaction


class Services:
    ending = ()

    def __init__(self, error=None):
        self.error, self.running = error, False

    def processes(self):
        return {"d": [[1, 1]]}

    def require_known(self):
        pass

    def stop(self):
        self.running = False

    def start(self):
        error, self.error = self.error, None
        if error:
            raise error
        self.running = True
        return ["d"]


class Edit:
    """Of no file: what is to be put back is the record's."""
    path, warnings = "/nowhere", ()

    def commit(self, module, record=None):
        return dict(changed=False)


class Product(transaction.MovedProduct):
    port, paths, kinds = 2, (), SimpleNamespace(redactor=None)

    def __init__(self, proof=None):
        self.proof = proof

    def edits(self):
        return 1, [Edit()], []

    def undo(self, old_port, new_port):
        return None

    def evidence(self):
        return self.proof


def moved(tmp_path, monkeypatch, product, services):
    monkeypatch.setattr(transaction, "outlive_the_connection", lambda: None)
    module = SimpleNamespace(check_mode=False, warn=lambda text: None)
    with pytest.raises(EngineError) as failed:
        transaction.Transaction(module, product, services, str(tmp_path / "record.json")).run()
    return str(failed.value)


def test_an_error_of_our_own_amid_a_move_leaves_no_service_down(tmp_path, monkeypatch):
    services = Services(KeyError("x"))
    told = moved(tmp_path, monkeypatch, Product(), services)
    assert told.startswith("an error that is a fault of this module, KeyError: 'x'. "), told
    assert services.running


def test_an_error_of_our_own_in_the_proof_is_no_proof(tmp_path, monkeypatch):
    def fails(*unused):
        raise ZeroDivisionError("y")

    monkeypatch.setattr(transaction, "proof", fails)
    services = Services()
    told = moved(tmp_path, monkeypatch, Product(SimpleNamespace(is_to_be_marked=lambda: False)), services)
    assert told.startswith("an error that is a fault of this module, ZeroDivisionError: y. "), told
    assert services.running
