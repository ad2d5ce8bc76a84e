# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible sends to a Windows host, unpacked: a command line and its stdin -> a Call.

ansible-core up to 2.18 sends the wrapper's text, four NUL bytes and one JSON; from 2.19 on a JSON line, a line of four NUL bytes
and a manifest of scripts and actions.  What is neither of them, nor one of the few texts that Ansible has for its own files, is a
command by hand (raw).
"""

import base64
import dataclasses
import json
import re

NULS = b"\0\0\0\0"
ENCODED = re.compile(r"(?i)\s-EncodedCommand\s+([A-Za-z0-9+/=]+)\s*\Z")
# The internal options of a module that say how it is to run.
CHECK, DIFF, NAME = "_ansible_check_mode", "_ansible_diff", "_ansible_module_name"
# Those actions of a manifest that are around the one which is the call.
BECOME, ASYNC = ("become_wrapper", "become_wrapper.ps1"), ("async_wrapper", "async_wrapper.ps1")
# PowerShell doubles these in a text between them.
QUOTE = re.compile("(['\u2018\u2019\u201a\u201b])\\1")


class Unknown(Exception):
    """What a host can't be sent: one sentence."""


@dataclasses.dataclass
class Call:
    # module, script, put, fetch, mkdtemp, remove, home, exists, raw
    kind: str
    # The module, as its task or action named it.
    name: str = ""
    # Of a module; of the other kinds: path, name, offset, size, text, data, recurse.
    arguments: dict = dataclasses.field(default_factory=dict)
    check: bool = False
    diff: bool = False
    internal: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)
    become: str = None
    asynchronous: bool = False
    # "2.16" or "2.19": the first ansible-core with this format of modules.
    form: str = None
    stdin_bytes: int = 0

    @property
    def label(self):
        return self.name if self.kind == "module" else self.kind


def unpack(command, stdin):
    """`command`: the command line as a shell would get it.  -> Call"""
    text = decoded(command)
    call = _call(text, stdin)
    call.stdin_bytes = len(stdin)
    return call


def decoded(command):
    """What PowerShell is to run: up to 2.18 a command line for it stands in the command line of another one."""
    for _level in range(3):
        found = ENCODED.search(command)
        if not found:
            return command
        command = base64.b64decode(found.group(1)).decode("utf-16-le")
    raise Unknown("the command line holds a command line for PowerShell, which holds one, which holds one")


def _call(text, stdin):
    if stdin.lstrip()[:1] == b"{" and NULS in stdin:
        return _manifest(*_parts(stdin))
    if NULS in stdin:
        return _wrapper(stdin.partition(NULS)[2])
    return _own_text(text, stdin)


# -- from 2.19 on
def _parts(stdin):
    """-> [the line for the bootstrap, the manifest, what the script itself reads]"""
    parts = re.split(rb"\r?\n?\0\0\0\0\r?\n?", stdin, maxsplit=2)
    return json.loads(parts[0]), json.loads(parts[1]), parts[2] if len(parts) > 2 else b""


def _manifest(bootstrap, manifest, data):
    if bootstrap.get("name") != "exec_wrapper":
        raise Unknown("the bootstrap is %r, which this server does not know" % bootstrap.get("name"))
    become, asynchronous, call = None, False, None
    for action in manifest["actions"]:
        name, params = action["name"], action["params"]
        if name not in manifest["scripts"]:
            raise Unknown("the manifest has an action %s without its script" % name)
        if name in BECOME:
            become = params.get("BecomeUser")
        elif name in ASYNC:
            asynchronous = True
        elif name == "module_wrapper.ps1":
            call = _of_module(params, manifest)
        elif name in TOOLS:
            call = TOOLS[name](params, data)
        elif name not in ("async_watchdog.ps1", "coverage_wrapper.ps1"):
            raise Unknown("the manifest has the action %s, which this server does not know" % name)
    if call is None:
        raise Unknown("the manifest has no action that is a module")
    call.become, call.asynchronous, call.form = become, asynchronous, "2.19"
    return call


def _of_module(params, manifest):
    script = params["Script"]
    if script not in manifest["scripts"]:
        raise Unknown("the manifest has no script %s" % script)
    for name in [*(params.get("CSharpModules") or []), *(params.get("PowerShellModules") or [])]:
        if name not in manifest["scripts"]:
            raise Unknown("%s needs %s, which the manifest has not" % (script, name))
    arguments = [one["Value"] for one in params.get("Variables") or [] if one["Name"] == "complex_args"]
    if not arguments:
        text = base64.b64decode(manifest["scripts"][script]["script"]).decode("utf-8", "replace")
        return Call("script", arguments=dict(text=text), environment=params.get("Environment") or {})
    return _module(arguments[0], params.get("Environment"))


TOOLS = {
    "winrm_put_file.ps1": lambda params, data: Call("put", arguments=dict(path=params["Path"], data=lines_of_base64(data))),
    "winrm_fetch_file.ps1": lambda params, _data: Call("fetch", arguments=dict(
        path=params["Path"], offset=params["Offset"], size=params["BufferSize"])),
    "powershell_mkdtemp.ps1": lambda params, _data: Call("mkdtemp", arguments=dict(
        path=params["Directory"], name=params["Name"])),
    "powershell_expand_user.ps1": lambda params, _data: Call("home", arguments=dict(path=params["Path"])),
}


# -- up to 2.18
def _wrapper(data):
    manifest = json.loads(data)
    if "module_powershell_wrapper" not in manifest["actions"] and "module_script_wrapper" not in manifest["actions"]:
        raise Unknown("the wrapper's actions are %s, which this server does not know" % ", ".join(manifest["actions"]))
    if "module_script_wrapper" in manifest["actions"]:
        text = base64.b64decode(manifest["module_entry"]).decode("utf-8", "replace")
        call = Call("script", arguments=dict(text=text), environment=manifest.get("environment") or {})
    else:
        call = _module(manifest["module_args"], manifest.get("environment"))
    call.become = manifest.get("become_user") if "become_wrapper" in manifest["actions"] else None
    call.asynchronous, call.form = "async_wrapper" in manifest["actions"], "2.16"
    return call


def _module(arguments, environment):
    internal = {key: value for key, value in arguments.items() if key.startswith("_ansible_")}
    own = {key: value for key, value in arguments.items() if key not in internal}
    if not internal.get(NAME):
        raise Unknown("the arguments do not say for which module they are")
    return Call("module", internal[NAME], own, bool(internal.get(CHECK)), bool(internal.get(DIFF)), internal, environment or {})


# -- texts of Ansible's own for files, in both
def _quoted():
    return r"(?:'((?:[^']|'')*)'|([\w\-\\.\[\]/~!%^:]+))"


TEMP = re.compile(r"\$tmp_path\s*=\s*\[System\.Environment\]::ExpandEnvironmentVariables\(%s\)\s+"
                  r"\$tmp\s*=\s*New-Item -Type Directory -Path \$tmp_path -Name %s" % (_quoted(), _quoted()))
REMOVE = re.compile(r"\A(?:Set-StrictMode[^\n]*\n)?Remove-Item %s -Force( -Recurse)?;?(?:\n|\Z)" % _quoted())
EXISTS = re.compile(r"Test-Path (?:-LiteralPath )?%s\)" % _quoted())
PUT = re.compile(r"begin \{\s+\$path = '((?:[^']|'')*)'.*\[System\.IO\.File\]::Create\(\$path\)", re.DOTALL)
FETCH = re.compile(r"\$path = '((?:[^']|'')*)'\s+If \(Test-Path -LiteralPath \$path -PathType Leaf\)\s+\{\s+"
                   r"\$buffer_size = (\d+)\s+\$offset = (\d+)")


def plain(*found):
    return QUOTE.sub(r"\1", next(text for text in found if text is not None))


def lines_of_base64(data):
    return b"".join(base64.b64decode(line, validate=True) for line in data.split())


def _temporary(found):
    return Call("mkdtemp", arguments=dict(path=plain(*found.groups()[:2]), name=plain(*found.groups()[2:])))


def _own_text(text, stdin):
    for pattern, made in (
            (TEMP, _temporary),
            (REMOVE, lambda found: Call("remove", arguments=dict(path=plain(*found.groups()[:2]), recurse=bool(found.group(3))))),
            (PUT, lambda found: Call("put", arguments=dict(path=plain(found.group(1)), data=lines_of_base64(stdin)))),
            (FETCH, lambda found: Call("fetch", arguments=dict(
                path=plain(found.group(1)), size=int(found.group(2)), offset=int(found.group(3))))),
            (EXISTS, lambda found: Call("exists", arguments=dict(path=plain(*found.groups()))))):
        found = pattern.search(text)
        if found:
            return made(found)
    return Call("raw", arguments=dict(text=text))
