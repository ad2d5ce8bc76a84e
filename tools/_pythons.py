"""The Python interpreters of this machine, in PATH and in pyenv's versions folder."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess

PROBE = (
    "import sys, platform; v = sys.version_info;"
    "print('%d.%d.%d %s %s' % (v[0], v[1], v[2], platform.python_implementation(), sys.executable))"
)


def _pyenv_roots() -> list[str]:
    roots = [os.environ.get("PYENV_ROOT", ""), os.path.expanduser("~/.pyenv")]
    if shutil.which("pyenv"):
        answer = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)
        roots.insert(0, answer.stdout.strip())
    return [root for root in dict.fromkeys(roots) if root]


def answers(command: list[str]) -> str | None:
    """What the command prints, or None when it fails: pyenv's shims exist for versions that are switched off."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find(version: str) -> list[str]:
    """Paths of the CPython interpreters of that version ("3.6"), each once, those in PATH first."""
    wanted = [os.path.join(folder, f"python{version}") for folder in os.get_exec_path()]
    wanted += [f"/usr/local/bin/python{version}", f"/usr/bin/python{version}"]
    for root in _pyenv_roots():
        wanted += sorted(glob.glob(os.path.join(root, "versions", f"{version}.*", "bin", f"python{version}")))
    paths = []
    for path in dict.fromkeys(wanted):
        answer = answers([path, "-c", PROBE]) if os.access(path, os.X_OK) else None
        if not answer:
            continue
        number, kind, real = answer.split(" ", 2)
        if kind == "CPython" and number.startswith(version + ".") and real not in paths:
            paths.append(real)
    return paths
