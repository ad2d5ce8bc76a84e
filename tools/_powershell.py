"""Faults of PowerShell text that can be seen without a PowerShell, of which there is none where this project is made.

The grammar is tree-sitter's.  It does not know all of the language, so that a script is written in what it knows.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator

import tree_sitter
import tree_sitter_powershell

LANGUAGE = tree_sitter.Language(tree_sitter_powershell.language())
LINE_LIMIT = 160

# What a script here calls beside its own functions.  A name that is in neither is an alias, a program, or misspelt.
CMDLETS = {name.lower() for name in (
    "ConvertFrom-Json", "ConvertTo-Json", "ForEach-Object", "Get-CimInstance", "Get-Service", "Get-Variable", "New-Object",
    "Select-Object", "Set-Variable", "Sort-Object", "Start-Sleep", "Stop-Process", "Where-Object",
)}  # fmt: skip
# Pester's, and what its tests make ready with.
OF_TESTS = {name.lower() for name in (
    "AfterAll", "AfterEach", "BeforeAll", "BeforeDiscovery", "BeforeEach", "Context", "Describe", "Get-Command", "It",
    "Join-Path", "Mock", "New-Item", "Out-Null", "Should",
)}  # fmt: skip
# Each with what to write instead.
REFUSED = {
    "write-host": "what a script has to say is in its result",
    "invoke-expression": "call what is meant",
    "add-type": "it compiles on each host, and constrained language mode forbids it",
    "get-wmiobject": "PowerShell 7 does not have it: Get-CimInstance",
}  # fmt: skip
# Parameters that Windows PowerShell 5.1 does not have, and those that make a trigger wait for the wall clock.
NEWER = ("-parallel", "-ashashtable", "-asbytestream", "-skipcertificatecheck", "-datekind", "-asarray", "-noenumerate")
PARAMETERS = {
    **dict.fromkeys(NEWER, "only PowerShell 7 has it"),
    **dict.fromkeys(("-at", "-once", "-daily"), "a trigger that waits for the wall clock"),
}
WALL_CLOCK = re.compile(r"<(?:TimeTrigger|CalendarTrigger|StartBoundary|EndBoundary)\b", re.IGNORECASE)
NEWER_TYPES = {"semver", "system.text.json.jsondocument", "text.json.jsondocument"}
# `e and `u{...} in a text.
NEWER_ESCAPES = re.compile(r"(?<!`)(?:``)*`(?:e|u\{)")
# Those that PowerShell sets.
AUTOMATIC = {
    "$", "?", "^", "_", "args", "error", "executioncontext", "false", "home", "host", "input", "lastexitcode", "matches",
    "myinvocation", "null", "pid", "psboundparameters", "pscmdlet", "pscommandpath", "psscriptroot", "psversiontable", "this",
    "true", "whatifpreference",
    # win_powershell's, and Pester's folder for files.
    "ansible", "testdrive",
}  # fmt: skip
# Not to be assigned: PowerShell gives them another meaning, or forbids it.
TAKEN = {"args", "error", "event", "home", "host", "input", "matches", "pid", "profile", "pwd", "sender", "this"}
NEWER_VARIABLES = {"iswindows", "islinux", "ismacos", "iscoreclr"}

# How many arguments may stand without the names of their parameters; pslint of ansible-test, which needs pwsh, refuses more.
BY_POSITION = 2
# So does it these.
BRACE = re.compile(r"\} (?:else|elseif|catch|finally)\b")

Fault = tuple[int, str]
Functions = dict[str, list[str]]


def parsed(source: bytes) -> tree_sitter.Node:
    return tree_sitter.Parser(LANGUAGE).parse(source).root_node


def below(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """The node and all under it, in the order of the text."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += reversed(one.children)


def text_of(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def line_of(node: tree_sitter.Node) -> int:
    return node.start_point[0] + 1


def functions(root: tree_sitter.Node) -> Functions:
    """Lower-case name -> parameters, in their order and in lower case, of the functions that a script defines."""
    found = {}
    for node in below(root):
        if node.type == "function_statement":
            name = next(text_of(child) for child in node.children if child.type == "function_name")
            parameters = [one for child in node.children if child.type == "function_parameter_declaration"
                          for one in below(child) if one.type == "script_parameter"]
            found[name.lower()] = [next(name for _node, name in _names(one.children)) for one in parameters]
    return found


def faults(source: bytes, loaded: Iterable[bytes] = (), of_tests: bool = False) -> list[Fault]:
    """(line, what) of each fault.  `loaded`: scripts whose functions this one calls, and mocks if it is one of tests."""
    root, others = parsed(source), [_defined(other) for other in loaded]
    known: dict[str, list[str] | None] = dict.fromkeys(CMDLETS | (OF_TESTS if of_tests else set()))
    for defined in (*(one for one, _names_set in others), functions(root)):
        known.update(defined)
    found = [*_in_lines(source), *_unparsed(root)]
    for node in below(root):
        found += _in_node(node, known)
    # A mock has the parameters of what it stands for, and a test that runs several times the keys of its cases.
    given = {name for _functions, names in others for name in names}
    given |= {text_of(node).lower() for node in below(root) if node.type == "key_expression"} if of_tests else set()
    found += _unassigned(root, given)
    return sorted(set(found))


@functools.cache
def _defined(source: bytes) -> tuple[Functions, set[str]]:
    """The functions, and the names of the variables, of a script that others load."""
    root = parsed(source)
    return functions(root), {name for name, _node in _set_in(root)}


def _in_lines(source: bytes) -> Iterator[Fault]:
    if b"\r" in source:
        yield source[:source.index(b"\r")].count(b"\n") + 1, "has a carriage return: lines end with a line feed alone"
    if not source.endswith(b"\n"):
        yield source.count(b"\n") + 1, "the last line has no end"
    for number, line in enumerate(source.decode("utf-8", "replace").split("\n"), 1):
        if not line.isascii():
            yield number, "is not ASCII: Windows PowerShell 5.1 reads it in the host's code page"
        if len(line) > LINE_LIMIT:
            yield number, f"has {len(line)} columns, more than {LINE_LIMIT}"
        if BRACE.search(line):
            yield number, "has a brace that is not at the end of its line"
        if "\t" in line or line != line.rstrip():
            yield number, "has a tab, or blanks at its end"


def _unparsed(root: tree_sitter.Node) -> Iterator[Fault]:
    for node in below(root):
        if node.is_missing:
            yield line_of(node), f"does not parse: {node.type!r} is missing"
        elif node.type == "ERROR" and (node.parent is None or node.parent.type != "ERROR"):
            yield line_of(node), f"does not parse, or is not in Windows PowerShell 5.1: {' '.join(text_of(node).split())[:40]}"


def _in_node(node: tree_sitter.Node, known: dict[str, list[str] | None]) -> Iterator[Fault]:
    kind, line = node.type, line_of(node)
    if kind in ("&&", "||"):
        yield line, f"{kind} is not in Windows PowerShell 5.1: use if"
    elif kind == "command":
        yield from _in_command(node, known)
    elif kind == "command_parameter" and text_of(node).lower() in PARAMETERS:
        yield line, f"{text_of(node)}: {PARAMETERS[text_of(node).lower()]}"
    elif kind == "type_name" and text_of(node).lower() in NEWER_TYPES:
        yield line, f"[{text_of(node)}] is not in Windows PowerShell 5.1"
    elif kind == "variable" and text_of(node).lower().lstrip("$") in NEWER_VARIABLES:
        yield line, f"{text_of(node)} is not in Windows PowerShell 5.1: $PSVersionTable.PSEdition"
    elif kind in ("expandable_string_literal", "expandable_here_string_literal") and NEWER_ESCAPES.search(text_of(node)):
        yield line, "has an escape that is not in Windows PowerShell 5.1"
    elif kind == "string_literal" and WALL_CLOCK.search(text_of(node)):
        yield line, "has a trigger that waits for the wall clock"


def _in_command(node: tree_sitter.Node, known: dict[str, list[str] | None]) -> Iterator[Fault]:
    names = [child for child in node.children if child.type == "command_name"]
    if not names:
        return
    name, line = text_of(names[0]), line_of(node)
    if name.lower() in REFUSED:
        yield line, f"{name}: {REFUSED[name.lower()]}"
    elif name.lower() not in known:
        yield line, f"{name} is no function of this script, nor a cmdlet that tools/_powershell.py lists: an alias, or misspelt"
    else:
        parameters = known[name.lower()]
        if parameters is not None:
            yield from _in_call(node, name, parameters)


def _in_call(command: tree_sitter.Node, name: str, parameters: list[str]) -> Iterator[Fault]:
    line = line_of(command)
    elements = [one for child in command.children if child.type == "command_elements" for one in child.children]
    given = [one for one in elements if one.type not in ("command_argument_sep", "redirection")]
    by_name = [text_of(one).lstrip("-").rstrip(":") for one in given if one.type == "command_parameter"]
    by_position = len(given) - 2 * len(by_name)
    for one in by_name:
        if one.lower() not in parameters:
            yield line, f"{name} has no parameter {one}"
    if len(by_name) + by_position > len(parameters):
        yield line, f"{name} has {len(parameters)} parameters and is called with {len(by_name) + by_position} arguments"
    elif by_position > BY_POSITION:
        yield line, f"{name} is called with {by_position} arguments without their names: name them"


def _names(nodes: Iterable[tree_sitter.Node]) -> Iterator[tuple[tree_sitter.Node, str]]:
    """(node, lower-case name) of the variables that have no scope in their names."""
    for node in nodes:
        if node.type == "variable":
            name = text_of(node).lower().lstrip("$@").strip("{}")
            if ":" not in name:
                yield node, name


def _set_in(root: tree_sitter.Node) -> Iterator[tuple[str, tree_sitter.Node]]:
    for node in below(root):
        target: tree_sitter.Node | None = None
        if node.type == "left_assignment_expression":
            # Not of $a.b = 1 or $a[1] = 1, which set no variable.
            holders = [one for one in below(node) if one.type in ("member_access", "element_access")]
            target = None if holders else node
        elif node.type in ("script_parameter", "foreach_statement"):
            target = next((child for child in node.children if child.type == "variable"), None)
        if target is not None:
            for one, name in _names(below(target)):
                yield name, one


def _unassigned(root: tree_sitter.Node, given: set[str]) -> Iterator[Fault]:
    """Variables that a script reads and nowhere sets, which is how a misspelt one looks; and those that it must not set."""
    set_here = dict(_set_in(root))
    for name, node in set_here.items():
        if name in TAKEN:
            yield line_of(node), f"{text_of(node)} is PowerShell's own: take another name"
    for node, name in _names(below(root)):
        if name not in set_here.keys() | given | AUTOMATIC | NEWER_VARIABLES and not name.endswith("preference"):
            yield line_of(node), f"{text_of(node)} is read and nowhere set"
