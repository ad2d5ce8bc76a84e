# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of bytes with which docs/adding-a-product.md lets a product begin, for the toy's port file."""

import importlib.util
import pathlib

import pytest

from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from tests.conftest import CHECKOUT

PATH = pathlib.Path(CHECKOUT, "tests/toy_product/plugins/module_utils/_toy/port_file.py")
SPEC = importlib.util.spec_from_file_location("toy_port_file", PATH)
port_file = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(port_file)

# What a file holds, the port in it, and what it holds with port 4200.
TABLE = [
    (b"port = 4100\n", 4100, b"port = 4200\n"),
    (b"port=4100", 4100, b"port=4200"),
    (b"\tport =  80 \r\nname = x\r\n", 80, b"\tport =  4200 \r\nname = x\r\n"),
    (b"# port = 1\n# M\xfcller\nport = 65535\n\n", 65535, b"# port = 1\n# M\xfcller\nport = 4200\n\n"),
    (b"support = 1\nport = 4100\nport = high\n", 4100, b"support = 1\nport = 4200\nport = high\n"),
]


@pytest.mark.parametrize("before, port, after", TABLE)
def test_nothing_but_the_digits_of_the_port_changes_there_and_back(before, port, after):
    assert port_file.port_of(before) == port
    assert port_file.with_port(before, 4200) == after
    assert port_file.moved_back(after, before, 4200) == before
    # Others have written since, and that stays; but not where the port is another one than the move led to.
    assert port_file.moved_back(after + b"\n# x\n", before, 4200) == before + b"\n# x\n"
    assert port_file.moved_back(after, before, 4300) is None


@pytest.mark.parametrize("content, lines", [(b"", 0), (b"port = none\n", 0), (b"port = 1\nport = 2\n", 2),
                                            (b"port = 123456\n", 0)])
def test_a_file_in_which_not_one_line_names_a_port_is_refused(content, lines):
    with pytest.raises(EngineError, match="^%d lines such as" % lines):
        port_file.with_port(content, 4200)
    assert port_file.moved_back(content, b"port = 1\n", 4200) is None
