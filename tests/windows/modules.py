# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules of other collections do on the model of a host: each a function(host, call, arguments) -> its result.

They take what the documentation of the installed collection says (specs.py has checked that), do the steps of the real one in
its order, and refuse and get wrong what that does.  What the model leaves out it refuses.
"""

import base64
import hashlib
import json
import ntpath
import re
import time
import zipfile
from io import BytesIO

from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import VERSION

from . import firewall_rules, iis
from .failed import Failed
from .files import READ, FileError
from .network import NoAnswer
from .payload import Call
from .shapes import Misfit, check

MARKER = "[CmdletBinding(SupportsShouldProcess)]"


def path_of(host, text):
    """As Windows reads one: with slashes of both kinds."""
    path = host.expanded(text).replace("/", "\\")
    if re.match(r"[A-Za-z]:\Z", path):
        path += "\\"    # what a file name is joined to
    if not ntpath.isabs(path) or not ntpath.splitdrive(path)[0]:
        raise Failed("The given path's format is not supported: %s" % text)
    try:
        host.files.key(path)
    except FileError as err:
        raise Failed(str(err))
    return path


def leave_out(arguments, *names):
    given = [name for name in names if arguments.get(name)]
    if given:
        raise Failed("the model of a Windows host does not know %s" % ", ".join(given))


# -- win_powershell
def win_powershell(host, call, given):
    """The script of the collection alone, known by its sha256."""
    leave_out(given, "arguments", "chdir", "creates", "executable", "input", "path", "removes", "sensitive_parameters",
              "remote_src")
    script = given.get("script") or ""
    if call.check and MARKER not in script:
        return dict(changed=True, msg="skipped, running in check mode")
    found = hashlib.sha256(script.encode()).hexdigest()
    if host.pin is None:
        raise Failed("the model of a Windows host has no script pinned (tests/windows/host_ps1.sha256)")
    if found != host.pin:
        raise Failed("the script has the sha256 %s, and the model of a Windows host is one of the script with %s: look at what "
                     "changed, bring the model along, then pin the new one (tests/windows/host_ps1.sha256)" % (found, host.pin))
    parameters = given.get("parameters") or {}
    if set(parameters) != {"Request"} or not isinstance(parameters["Request"], str):
        raise Failed("the script takes the parameter Request, a text, and was given %s" % (
            ", ".join(sorted(parameters)) or "none"))
    try:
        request = _json(parameters["Request"])
        answer = host.script.answer(request, call.check)
    except Misfit as err:
        raise Failed("the model of a Windows host refuses the request: %s" % err)
    check(answer, "Answer", "answer")
    assert answer["version"] == VERSION
    changed = answer["outcome"] == "trouble" or answer["outcome"] == "applied" and any(
        done["changed"] for done in answer["done"])
    return dict(changed=changed, failed=False, result=flattened(answer, given["depth"]), host_out="", host_err="", output=[],
                error=[], warning=[], verbose=[], debug=[], information=[])


def _json(text):
    try:
        found = json.loads(text)
    except ValueError as err:
        raise Misfit("it is no JSON (%s)" % err)
    if not isinstance(found, dict):
        raise Misfit("it is no object")
    return found


def flattened(value, depth):
    """As Convert-OutputObject does: what lies deeper is told as a text, and lost."""
    if not isinstance(value, (dict, list)):
        return value
    if depth < 0:
        return "System.Collections.Hashtable" if isinstance(value, dict) else " ".join(map(str, value))
    if isinstance(value, list):
        return [flattened(one, depth - 1) for one in value]
    return {key: flattened(one, depth - 1) for key, one in value.items()}


def win_ping(_host, _call, given):
    return dict(ping=given["data"])


# -- files
def slurp(host, _call, given):
    path = path_of(host, given["src"])
    node = host.files.get(path)
    if node is None:
        raise Failed("Path %s is not found" % given["src"])
    if node.is_folder:
        raise Failed("Path %s is a directory" % given["src"])
    try:
        # ReadAllBytes lets others read, and nothing else.
        with host.files.opened(path, (READ,), (READ,)):
            content = node.content
    except FileError as err:
        raise Failed('Exception calling "ReadAllBytes" with "1" argument(s): "%s"' % err)
    return dict(content=base64.b64encode(content).decode(), encoding="base64")


def win_stat(host, _call, given):
    leave_out(given, "get_md5")
    node = host.files.find(path_of(host, given["path"]).rstrip("\\"))
    if node is None:
        return dict(stat=dict(exists=False))
    found = dict(exists=True, path=node.path, filename=node.name, isdir=node.is_folder, isreg=not node.is_folder,
                 islnk=bool(node.target), isreadonly=node.read_only, owner=node.owner, lastwritetime=node.changed,
                 size=len(node.content))
    if given["get_checksum"] and not node.is_folder:
        found["checksum"] = hashlib.new(given["checksum_algorithm"], node.content).hexdigest()
    return dict(stat=found)


def win_file(host, call, given):
    leave_out(given, "modification_time", "access_time")
    text, state = given["path"], given["state"]
    if state == "touch":
        raise Failed("the model of a Windows host does not know state=touch")
    path = path_of(host, text)
    node = host.files.find(path.rstrip("\\"))
    if node is not None:
        if state == "absent":
            if not call.check:
                host.files.remove_tree(path) if node.is_folder and not node.target else host.files.remove(path)
            return dict(changed=True)
        if state == "directory" and not node.is_folder:
            raise Failed("path %s is not a directory" % text)
        if state == "file" and node.is_folder:
            raise Failed("path %s is not a file" % text)
        return {}
    if state == "directory" or state is None and text.endswith("\\"):
        if not call.check:
            host.files.folder(path)
        return dict(changed=True)
    if state != "absent":
        raise Failed("path %s will not be created" % text)
    return {}


def win_copy(host, call, given):
    mode = given.get("_copy_mode") or "single"
    return dict(query=copy_query, single=copy_single, remote=copy_remote, explode=copy_explode)[mode](host, call, given)


def copy_query(host, _call, given):
    """Which of the files on the control node are other ones here."""
    changed, folder = [], path_of(host, given["dest"])
    for file in given.get("files") or []:
        path = ntpath.join(folder, file["dest"].replace("/", "\\"))
        node = host.files.get(path)
        if node is not None and node.is_folder:
            path = ntpath.join(path, ntpath.basename(file["src"].replace("/", "\\")))
            node = host.files.get(path)
        if node is not None and node.is_folder:
            raise Failed("cannot copy file to dest '%s': object at path is already a directory" % path)
        if node is None or given["force"] and hashlib.sha1(node.content).hexdigest() != file["checksum"]:
            changed.append(file)
    folders = []
    for one in given.get("directories") or []:
        path = ntpath.join(folder, one["dest"].replace("/", "\\"))
        node = host.files.get(path)
        if node is not None and not node.is_folder:
            raise Failed("cannot copy folder to dest '%s': object at path is already a file" % path)
        if node is None:
            folders.append(one)
    return dict(files=changed, directories=folders, symlinks=[])


def by_action_of_win_copy(host, arguments, check):
    """What the action plugin of the collection makes of `content`: it asks, and sends what is another one -> its result."""
    path, content = path_of(host, arguments["dest"]), arguments["content"].encode()
    folder, name = ntpath.split(path)
    result = dict(dest=arguments["dest"], checksum=hashlib.sha1(content).hexdigest(), size=len(content), operation="file_copy")

    def run(**more):
        rest = {key: value for key, value in arguments.items() if key != "content"}
        return host.module(Call("module", "ansible.windows.win_copy", dict(rest, **more), check))

    asked = run(_copy_mode="query", dest=folder, directories=[], symlinks=[],
                files=[dict(src="source", dest=name, checksum=result["checksum"])])
    if asked.get("failed") or not asked["files"] or check:
        return dict(result, **asked) if asked.get("failed") else dict(result, changed=bool(asked["files"]))
    source = host.files.put("C:\\Windows\\Temp\\ansible-source", content)
    done = run(_copy_mode="single", src=source.path, _original_basename=name)
    host.files.remove(source.path)
    if done.get("failed"):
        done["msg"] = "failed to copy file source: %s" % done["msg"]
    return dict(result, **done)


def _target(host, text, name):
    path = path_of(host, text)
    node = host.files.get(path.rstrip("\\"))
    into = text.endswith(("/", "\\")) or node is not None and node.is_folder
    return (ntpath.join(path, name) if into else path), into


def _parent(host, path, may_make):
    folder = ntpath.dirname(path)
    node = host.files.get(folder)
    if node is not None and not node.is_folder:
        raise Failed("object at destination parent dir '%s' is currently a file" % folder)
    if node is None:
        if not may_make:
            raise Failed("Destination directory '%s' does not exist" % folder)
        host.files.folder(folder)


def _over(host, path, content):
    """Copy-Item -Force: onto the file that is there, whose bytes are gone before the new ones are."""
    node = host.files.get(path)
    try:
        if node is None:
            host.files.make(path, content)
            return
        read_only, node.read_only = node.read_only, False
        try:
            with host.files.opened(path, ("write",), (READ,)):
                node.data = b""
                host.files.room(path, len(content))
                node.data, node.changed = content, host.clock.now()
        finally:
            node.read_only = read_only
    except FileError as err:
        raise Failed(str(err))


def _backed_up(host, path):
    node = host.files.get(path)
    if node is None:
        return None
    name = "%s.%d.%s.bak" % (path, 1000, time.strftime("%Y%m%d-%H%M%S", host.clock.local()))
    host.files.put(name, node.content)
    return name


def copy_single(host, _call, given):
    source = host.files.get(path_of(host, given["src"]))
    if source is None or source.is_folder:
        raise Failed("Cannot copy src file: '%s' as it does not exist" % given["src"])
    path, into = _target(host, given["dest"], given.get("_original_basename") or "")
    _parent(host, path, into)
    result = dict(changed=True)
    if given["backup"]:
        result["backup_file"] = _backed_up(host, path)
    _over(host, path, source.content)
    return result


def copy_remote(host, call, given):
    source = host.files.get(path_of(host, given["src"]))
    if source is None:
        raise Failed("Cannot copy src file: '%s' as it does not exist" % given["src"])
    if source.is_folder:
        raise Failed("the model of a Windows host does not know remote_src of a folder")
    path, into = _target(host, given["dest"], source.name)
    checksum = hashlib.sha1(source.content).hexdigest()
    result = dict(src=given["src"], dest=path, operation="file_copy", original_basename=source.name, checksum=checksum,
                  size=len(source.content), changed=False)
    node = host.files.get(path)
    if node is not None and (not given["force"] or hashlib.sha1(node.content).hexdigest() == checksum):
        return result
    _parent(host, path, into)
    result["changed"] = True
    if given["backup"]:
        result["backup_file"] = _backed_up(host, path)
    if not call.check:
        # It is removed first, which takes its ACL with it.
        try:
            if node is not None:
                node.read_only = False
                host.files.remove(path)
            host.files.make(path, source.content)
        except FileError as err:
            raise Failed(str(err))
    return result


def copy_explode(host, _call, given):
    source = host.files.get(path_of(host, given["src"]))
    if source is None:
        raise Failed("Cannot expand src zip file: '%s' as it does not exist" % given["src"])
    folder = path_of(host, given["dest"])
    with zipfile.ZipFile(BytesIO(source.content)) as archive:
        for entry in archive.namelist():
            name = base64.b64decode(entry.rstrip("/\\")).decode()
            path = ntpath.join(folder, name.replace("/", "\\"))
            if entry.endswith(("/", "\\")):
                host.files.folder(path)
            else:
                host.files.folder(ntpath.dirname(path))
                _over(host, path, archive.read(entry))
    return dict(changed=True)


# -- ports
STATES = ("established", "synsent", "synreceived", "finwait1", "finwait2", "timewait", "closed", "closewait", "lastack", "listen",
          "closing")


def win_listen_ports_facts(host, _call, given):
    wanted = {name.lower() for name in given["tcp_filter"]}
    unknown = [name for name in given["tcp_filter"] if name.lower() not in STATES]
    if unknown:
        raise Failed('An error occurred while retrieving ports facts: Cannot convert "%s" to type State' % unknown[0])
    facts = dict(tcp_listen=[], udp_listen=[])

    def told(address, port, protocol, pid, name, began):
        facts[protocol + "_listen"].append(dict(
            address=address, port=port, protocol=protocol, pid=pid, name=name, user=None,
            stime=time.strftime("%A, %B %d, %Y %I:%M:%S %p", time.gmtime(began + host.clock.utc_offset)) if began else None))

    for one in host.listening():
        if one["protocol"] == "udp" or "listen" in wanted:
            told(one["address"], one["port"], one["protocol"], one["process"], one["name"], one["began"])
    for one in host.connected_now():
        if one["state"].lower() in wanted:
            told(one["local_address"], one["local_port"], "tcp", one["process"], one["name"], one["began"])
    return dict(ansible_facts=facts)


WHAT = {"started": "start listening", "present": "start listening", "stopped": "stop listening", "absent": "stop listening",
        "drained": "drain"}


def answers(host, name, port, seconds):
    for address in host.network.resolve(host, name):
        try:
            host.network.connect(host, address, port, seconds).close()
            return True
        except NoAnswer:
            pass
    return False


def drained(host, name, port):
    """Whether there is no connection whose local port it is, in whatever state."""
    return not any(one["local_port"] == port and name in ("0.0.0.0", one["local_address"]) for one in host.connected_now())


def win_wait_for(host, _call, given):
    leave_out(given, "exclude_hosts", "path", "regex")
    if given["port"] is None:
        raise Failed("the model of a Windows host does not know how to wait without a port")
    name, port, state = given["host"], given["port"], given["state"]
    began, cancelled = host.clock.steady(), getattr(host.cancelled, "event", None)
    host.clock.sleep(given["delay"] or 0, cancelled)
    attempts, start = 0, host.clock.steady()
    while host.clock.steady() - start < given["timeout"]:
        attempts += 1
        if state == "drained":
            done = drained(host, name, port)
        else:
            done = answers(host, name, port, given["connect_timeout"]) == (state in ("started", "present"))
        if done:
            return dict(elapsed=host.clock.steady() - began, wait_attempts=attempts)
        host.clock.sleep(given["sleep"], cancelled)
    raise Failed("timeout while waiting for %s:%d to %s" % (name, port, WHAT[state]), elapsed=host.clock.steady() - began,
                 wait_attempts=attempts)


HANDLERS = {
    "ansible.windows.slurp": slurp,
    "ansible.windows.win_copy": win_copy,
    "ansible.windows.win_file": win_file,
    "ansible.windows.win_listen_ports_facts": win_listen_ports_facts,
    "ansible.windows.win_ping": win_ping,
    "ansible.windows.win_stat": win_stat,
    "ansible.windows.win_powershell": win_powershell,
    "ansible.windows.win_wait_for": win_wait_for,
    "community.windows.win_firewall_rule": firewall_rules.win_firewall_rule,
    "microsoft.iis.website": iis.website,
    "microsoft.iis.website_info": iis.website_info,
}
