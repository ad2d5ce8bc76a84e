# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a module, from the documentation of the installed collection, checked as the module itself would."""

import ast
import copy
import functools
import os
import pathlib

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError

# What the action plugin of a module tells its script beside the documented options.
PRIVATE = {
    "ansible.windows.win_copy": dict(
        _original_basename=dict(type="str"), _copy_mode=dict(type="str", choices=["single", "explode", "query", "remote"]),
        files=dict(type="list"), directories=dict(type="list"), symlinks=dict(type="list")),
}
# Of the documentation, those that an argument spec has, too.
TAKEN = ("type", "required", "choices", "default", "elements", "aliases")


class NoModule(Exception):
    """A module that no installed collection has for Windows: one sentence."""


def folders():
    """Where collections are."""
    known = [folder for folder in os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(os.pathsep) if folder]
    return [pathlib.Path(folder, "ansible_collections") for folder in known]


# What ansible-core itself asks of any host; on Windows it takes those of the collection.
OF_CORE = ("copy", "file", "ping", "stat")


def full_name(name):
    """As a play may call it -> with its collection."""
    short = name.removeprefix("ansible.legacy.").removeprefix("ansible.builtin.")
    name = "ansible.windows.win_" + short if short in OF_CORE else short
    if name.count(".") >= 2:
        return name
    for folder in folders():
        for collection in ("ansible/windows", "community/windows", "microsoft/iis"):
            if (folder / collection / "plugins/modules" / (name + ".ps1")).exists():
                return "%s.%s" % (collection.replace("/", "."), name)
    return name


@functools.cache
def specification(name):
    """The options of a module as its documentation has them; its PowerShell is there too, or it can't run on Windows."""
    namespace, collection, module = (name.split(".", 2) + ["", ""])[:3]
    for folder in folders():
        place = folder / namespace / collection / "plugins" / "modules"
        if not (place / (module + ".ps1")).exists():
            continue
        options = _options(_documentation(place, module), place.parent)
        return {**options, **copy.deepcopy(PRIVATE.get(name, {}))}
    raise NoModule("no installed collection has a module %s for Windows" % name)


def _documentation(place, module):
    for ending in (".yml", ".yaml"):
        if (place / (module + ending)).exists():
            return yaml.safe_load((place / (module + ending)).read_text())["DOCUMENTATION"]
    return _constant((place / (module + ".py")).read_text())


def _constant(text):
    for statement in ast.walk(ast.parse(text)):
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "DOCUMENTATION":
            return yaml.safe_load(ast.literal_eval(statement.value))
    raise NoModule("there is no DOCUMENTATION")


def _options(documentation, plugins):
    options = dict(documentation.get("options") or {})
    fragments = documentation.get("extends_documentation_fragment") or []
    for fragment in [fragments] if isinstance(fragments, str) else fragments:
        path = plugins / "doc_fragments" / (fragment.rpartition(".")[2] + ".py")
        # Those of ansible-core (action_common_attributes) have no options.
        if path.exists():
            options = {**(_constant(path.read_text()).get("options") or {}), **options}
    return {name: _one(option) for name, option in options.items()}


def _one(option):
    made = {key: option[key] for key in TAKEN if key in option}
    # What ansible-core does to a path is for its own kind of host.
    made["type"] = "str" if made.get("type", "str") == "path" else made.get("type", "str")
    if made.get("elements") == "path":
        made["elements"] = "str"
    if "choices" in made:
        made["choices"] = list(made["choices"])
    if option.get("suboptions"):
        made["options"] = {name: _one(inner) for name, inner in option["suboptions"].items()}
    if made.get("required"):
        made.pop("default", None)
    return made


def checked(name, arguments):
    """-> (the arguments with what is left out, None), or (None, what the module would say of them)"""
    found = ArgumentSpecValidator(copy.deepcopy(specification(name))).validate(copy.deepcopy(arguments))
    if found.error_messages:
        unknown = [error for error in found.errors if isinstance(error, UnsupportedError)]
        if unknown:
            # What the modules' own library says first, and alone.
            return None, "Unsupported parameters for (%s) module: %s" % (name, unknown[0].msg)
        return None, "; ".join(found.error_messages)
    return found.validated_parameters, None
