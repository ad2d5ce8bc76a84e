# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module imports on a host is compiled once (module_utils/_core/compiled_once.py)."""

import json
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

from .loaded_tool import tool

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
FIRST = "from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once"
MODULES = sorted(path for folder in ("plugins", "tests/toy_product/plugins") for path in CHECKOUT.glob(folder + "/modules/*.py"))
# As zipimport names files: inside the archive.
IMPORT = """
import json, sys
archive, compiled = sys.argv[1], []
sys.path.insert(0, archive)
if hasattr(sys, "addaudithook"):
    sys.addaudithook(lambda event, seen: compiled.append(str(seen[1])) if event == "compile" else None)
if sys.argv[2] == "once":
    import package.compiled_once
import package.inner.second, package.broken_later
assert package.first.VALUE == 1 and package.inner.second.VALUE == 2
try:
    import package.absent
except ImportError:
    pass
try:
    package.broken_later.fail()
except ZeroDivisionError:
    import traceback
    trace = traceback.format_exc()
names = ("package.first", "package.inner", "package.inner.second", "package.broken_later")
print(json.dumps(dict(
    files=[sys.modules[name].__file__[len(archive) + 1:] for name in names], trace="return 1 // 0" in trace,
    path=[one[len(archive) + 1:] for one in package.inner.__path__], audited=hasattr(sys, "addaudithook"),
    compiled=[one for one in (one[len(archive) + 1:] for one in compiled if one.startswith(archive))
              if one not in ("package/__init__.py", "package/compiled_once.py")])))
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "payload.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("package/__init__.py", "")
        packed.write(CHECKOUT / "plugins/module_utils/_core/compiled_once.py", "package/compiled_once.py")
        packed.writestr("package/first.py", "VALUE = 1\n")
        packed.writestr("package/broken_later.py", "def fail():\n    return 1 // 0\n")
        packed.writestr("package/inner/__init__.py", "import package.first\n")
        packed.writestr("package/inner/second.py", "from package import first\nVALUE = first.VALUE + 1\n")
    return str(path)


def pythons():
    """The oldest of managed hosts, those with another zipimport (3.8: in Python, 3.10: with find_spec), and ours."""
    find = tool("_pythons.py").find
    return list(dict.fromkeys([path for version in ("3.6", "3.7", "3.8", "3.10", "3.12", "3.14") for path in find(version)[:1]]
                              + [sys.executable]))


def imported(python, archive, how):
    # -E: without what tests keep of compiled code (tests/lab/kept_code.py).
    done = subprocess.run([python, "-E", "-c", IMPORT, archive, how], stdout=subprocess.PIPE, check=True, timeout=60)
    return json.loads(done.stdout)


def test_a_file_of_an_archive_is_compiled_once_and_is_the_same_module_otherwise(archive):
    for python in pythons():
        plain, once = imported(python, archive, "twice"), imported(python, archive, "once")
        if once.pop("audited"):    # 3.8 and later tell what they compile
            assert sorted(once["compiled"]) == sorted(once["files"]), python
            assert sorted(plain["compiled"]) == sorted(plain["files"] * 2), python
        assert all(plain[key] == once[key] for key in ("files", "path", "trace")), python
        assert once["trace"], python


def test_each_module_imports_it_before_all_others_of_the_collection():
    for path in MODULES:
        lines = [line for line in path.read_text().splitlines() if re.match(r"(from|import) ansible_collections\.", line)]
        assert not lines or lines[0].startswith(FIRST), path
        assert all(not line.startswith(FIRST) for line in lines[1:]), path
