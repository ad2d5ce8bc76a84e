# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run takes of code that was compiled before it: what its archive holds, and nothing else."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.lab import kept_code
from tests.lab.managed_python import managed_python

PYTHONS = sorted({sys.executable, managed_python()})


@pytest.fixture(params=PYTHONS)
def ran(request, tmp_path):
    """ran({name: source}, environment) -> what the module `said` of an archive printed; each archive has a folder of its own."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("%s\n\ninstall(%r)\n" % (
        open(kept_code.__file__).read(), str(tmp_path / "code")))
    numbers = iter(range(100))

    def run(sources):
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        with zipfile.ZipFile(folder / "payload.zip", "w") as archive:
            for name, source in sources.items():
                archive.writestr(name, source)
        done = subprocess.run(
            [request.param, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import said", str(folder / "payload.zip")],
            env=dict(os.environ, PYTHONPATH=str(site)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.stdout
    return run


def kept(tmp_path):
    return {path.name: path.read_bytes() for path in (tmp_path / "code").iterdir()}


def test_code_is_compiled_once_for_each_source_and_place(ran, tmp_path):
    sources = {"said.py": "import part.of\nprint(part.of.VALUE)", "part/__init__.py": "", "part/of.py": "VALUE = 1"}
    assert ran(sources) == "1\n"
    first = kept(tmp_path)
    assert len(first) == 3
    assert ran(sources) == "1\n" and kept(tmp_path) == first
    # Another source in the same place, of the same length.
    assert ran(dict(sources, **{"part/of.py": "VALUE = 2"})) == "2\n"
    assert len(kept(tmp_path)) == 4 and ran(sources) == "1\n"


def test_what_is_kept_is_what_runs(ran, tmp_path):
    assert ran({"said.py": "print('one')"}) == "one\n" and ran({"said.py": "print('two')"}) == "two\n"
    one, two = sorted((tmp_path / "code").iterdir(), key=lambda path: b"two" in path.read_bytes())
    one.write_bytes(two.read_bytes())
    assert ran({"said.py": "print('one')"}) == "two\n"


@pytest.mark.parametrize("damage", [b"", b"no code", b"\xe3\x00"])
def test_what_can_not_be_read_is_compiled(ran, tmp_path, damage):
    assert ran({"said.py": "print('one')"}) == "one\n"
    [path] = (tmp_path / "code").iterdir()
    path.write_bytes(damage)
    assert ran({"said.py": "print('one')"}) == "one\n"
    (tmp_path / "code").rename(tmp_path / "away")
    (tmp_path / "code").write_text("no folder")
    assert ran({"said.py": "print('one')"}) == "one\n"


def test_source_that_is_no_python_fails_as_ever(ran, tmp_path):
    for _again in range(2):
        assert "SyntaxError" in ran({"said.py": "print('one'"})
    assert not (tmp_path / "code").exists()


def test_hosts_of_a_lab_get_it_where_tests_ask_for_it_alone(monkeypatch):
    monkeypatch.setenv(kept_code.VARIABLE, "1")
    assert [os.path.basename(path) for path in kept_code.files()] == [
        "portshift_lab_kept_code.py", "portshift_lab_kept_code.pth"]
    monkeypatch.delenv(kept_code.VARIABLE)
    assert kept_code.files() == {}
