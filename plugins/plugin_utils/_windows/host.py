# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows host behind the seam (module_utils/_core/host.py): a picture of it, and the steps that will change it.

All answers are those of one moment, what host.ps1 has read (protocol.Found).  What a question asks for that the picture does not
show is asked of the host then, together with all that was wanted before: that costs an execution, and no answer is wrong for it.
A caller that knows what will be asked says so ahead, by foresee().

A write changes nothing: it becomes a step, guarded by what the picture shows, and the next look shows what came of it.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import json
import ntpath
import re
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast, get_args

from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import IS_BACKUP, ChangeRecord, Disk
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import FileEdit, FileError, sha256
from ansible_collections.portshift.agents.plugins.module_utils._core.host import Host
from ansible_collections.portshift.agents.plugins.module_utils._core.services import ServiceError
from ansible_collections.portshift.agents.plugins.module_utils._network.certificate import described as described_certificate
from ansible_collections.portshift.agents.plugins.module_utils._network.certificate import other_than
from ansible_collections.portshift.agents.plugins.module_utils._network.probe import described
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.protocol import (
    FOLDER, Answer, ConnectionFound, ExcludedRange, FileAsked, FileFound, FolderAsked, FolderFound, Found, Place, Probe,
    ProbeFound, RangeKind, RegistryAsked, RegistryFound, RegistryKey, RegistryStep, RegistryValue, RemoveStep, ServiceFound,
    Splice, Step, Unfinished, Wanted, WriteStep)
from ansible_collections.portshift.agents.plugins.plugin_utils._windows.reg_file import reg_file

# The bytes of a file, and of the ends of logs, that a look brings.
FILE_LIMIT = 1024 * 1024
LOG_BYTES, LOG_FILES = 64 * 1024, 2
# How many names of files a look brings of a folder of ours.
NAMES = 2000
LOG_ENDINGS = (".log", ".bkg", ".txt")
KEY_LIMIT = 5000
# Variables that each service has, and the keys of the services.
ENVIRONMENT = r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment"
SERVICE_KEYS = r"HKLM\SYSTEM\CurrentControlSet\Services"
BODY_LIMIT = 256 * 1024
# The service that carries out what netsh portproxy forwards.
IP_HELPER = "iphlpsvc"
FAMILIES = dict(ipv4="IPv4", ipv6="IPv6")
# Seconds by which two reports of one start may differ.
OF_A_START = 0.01
# Seconds between two looks while something is awaited.
LOOK_AGAIN = 2
ANY_ADDRESS = ("0.0.0.0", "::")
# What stands for itself in the path of a request.
OF_A_PATH = "/%:@!$&'()*+,;=~?"

Processes = Mapping[str, "list[tuple[int, float]] | None"]


def is_key(path: str) -> bool:
    """Whether a path is one of the registry."""
    return path.upper().startswith(("HKLM\\", "HKEY_"))


def _norm(path: str) -> str:
    return path.replace("/", "\\").lower()


def unpacked(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def packed(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def value_bytes(value: RegistryValue | None) -> bytes | None:
    """A value of the registry as bytes that name its type, as a record keeps it; None for one that is not there."""
    if value is None:
        return None
    return (json.dumps(dict(name=value["name"], type=value["type"], data=value["data"]), sort_keys=True) + "\n").encode("utf-8")


def value_of(content: bytes | None) -> RegistryValue | None:
    if content is None:
        return None
    return cast(RegistryValue, json.loads(content.decode("utf-8")))


class RegistryView(Protocol):
    """A key of the registry as a product's engine reads it: as the bytes of a file that says the same."""

    key: str
    # How deep under the key the values lie.
    depth: int
    # What a record calls a value of it.
    kind: str

    def text(self, values: Mapping[str, Sequence[RegistryValue]]) -> bytes:
        """The bytes, out of the values of each key under it, by the rest of its path ("" for the key itself)."""

    def changes(self, before: bytes, after: bytes) -> list[tuple[str, str, str | None]]:
        """(rest of the key's path, name of the value, text or None to delete it) that lead from one text to the other."""


class Asked:
    """What is wanted of a host, each thing once."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.files: dict[str, FileAsked] = {}
        self.folders: dict[str, FolderAsked] = {}
        self.registry: dict[str, RegistryAsked] = {}
        self.services: dict[str, str] = {}
        self.ports: set[int] = set()
        self.remote_ports: set[int] = set()
        self.names: dict[str, str] = {}
        self.probes: dict[str, Probe] = {}
        self.netsh = False

    def add(self, wanted: Wanted) -> bool:
        """Whether something of it is new."""
        before = self._size()
        for place in wanted.get("places", ()):
            self.places.setdefault(place["name"], place)
        for one in wanted.get("files", ()):
            self.files.setdefault(_norm(one["path"]), one)
        for folder in wanted.get("folders", ()):
            self.folders.setdefault(_norm(folder["path"]), folder)
        for key in wanted.get("registry", ()):
            self.registry.setdefault(_norm(key["key"]), key)
        for name in wanted.get("services", ()):
            self.services.setdefault(name.lower(), name)
        for name in wanted.get("names", ()):
            self.names.setdefault(name.lower(), name)
        for probe in wanted.get("probes", ()):
            self.probes.setdefault(probe["name"], probe)
        self.ports.update(wanted.get("ports", ()))
        self.remote_ports.update(wanted.get("remote_ports", ()))
        self.netsh = self.netsh or wanted.get("netsh", False)
        return self._size() != before

    def _size(self) -> tuple[int, ...]:
        return (*(len(each) for each in (self.places, self.files, self.folders, self.registry, self.services, self.ports,
                                         self.remote_ports, self.names, self.probes)), int(self.netsh))

    def wanted(self) -> Wanted:
        return Wanted(
            places=list(self.places.values()), files=list(self.files.values()), folders=list(self.folders.values()),
            registry=list(self.registry.values()), services=list(self.services.values()), ports=sorted(self.ports),
            remote_ports=sorted(self.remote_ports), names=list(self.names.values()), probes=list(self.probes.values()),
            netsh=self.netsh)


def probe_asked(target: Mapping[str, Any], timeout: float) -> Probe:
    """A target of M(portshift.agents.port_probe) as the host is asked for it."""
    http = target.get("http")
    kind = "tcp" if http is None else "https" if http.get("tls") else "http"
    probe = Probe(name="", host=target["host"], port=target["port"], kind=cast(Any, kind), timeout=timeout)
    if http is not None:
        # It goes into a line of a request as it is.
        probe["path"], probe["limit"] = urllib.parse.quote(http.get("path") or "/", safe=OF_A_PATH), BODY_LIMIT
    probe["name"] = "%s://%s:%d%s" % (kind, target["host"], target["port"], probe.get("path", ""))
    return probe


class _Picture:
    """What was found, by the names by which it is asked for."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.files: dict[str, FileFound] = {}
        self.folders: dict[str, FolderFound] = {}
        for one in found["files"]:
            self.files[_norm(one["asked"])] = self.files[_norm(one["path"])] = one
        for folder in found["folders"]:
            self.folders[_norm(folder["asked"])] = self.folders[_norm(folder["path"])] = folder
        self.values: dict[str, list[RegistryValue]] = {}
        self.names_of_keys: dict[str, str] = {}
        for tree in found["registry"]:
            for key in tree["keys"]:
                self.values[_norm(key["key"])] = key["values"]
                self.names_of_keys[_norm(key["key"])] = key["key"]
        self.registry = {_norm(tree["key"]): tree for tree in found["registry"]}
        self.services = {service["name"].lower(): service for service in found["services"]}
        self.probes = {probe["name"]: probe for probe in found["probes"]}
        self.names = {name["name"].lower(): name["addresses"] for name in found["names"]}


class WindowsHost(Host):
    """C(ask): brings the answer to a Wanted.  C(views): the keys of the registry that stand for files."""

    def __init__(self, ask: Callable[[Wanted], Answer], views: Iterable[RegistryView] = ()) -> None:
        self._ask, self.asked = ask, Asked()
        self.views = {_norm(view.key): view for view in views}
        self._picture: _Picture | None = None
        self._looked = False
        self.disk = WindowsDisk(self)
        # The steps that lead to what edits have asked for, in their order; those of our own files apart.
        self.changes: list[Step] = []
        # Changes of this host that are under way, or that it has undone, by the last answer.
        self.unfinished: list[Unfinished] = []
        # Why the last look tells none of them, in sentences.
        self.untold: list[str] = []

    # -- the picture

    def foresee(self, wanted: Wanted) -> None:
        """What will be asked; it is read with the next look at the host."""
        self.asked.add(wanted)

    def foresee_paths(self, paths: Iterable[str]) -> None:
        """The same for files and values of the registry, which are asked for at once where the picture shows one of them not."""
        lacking = Wanted(files=[], registry=[])
        for path in paths:
            if is_key(path):
                key = ntpath.dirname(path)
                if not any(_is_under(key, asked) for asked in self.asked.registry.values()):
                    lacking["registry"].append(key_asked(key))
            elif _norm(path) not in self.picture.files:
                lacking["files"].append(FileAsked(path=path, limit=FILE_LIMIT))
        self._need(lacking)

    def read_anew(self) -> None:
        self.show(self._ask(self.asked.wanted()))

    def show(self, answer: Answer) -> None:
        """From now on this is what the host looks like."""
        if answer["found"] is None:
            raise FileError("the host did not say what it looks like now")
        self._picture, self._looked, self.unfinished = _Picture(answer["found"]), False, list(answer["unfinished"])
        self.untold = [answer["sentence"]] if answer["outcome"] == "none" and answer["sentence"] else []

    @property
    def picture(self) -> _Picture:
        if self._picture is None:
            self.read_anew()
        return cast(_Picture, self._picture)

    @property
    def found(self) -> Found:
        return self.picture.found

    def _need(self, wanted: Wanted) -> _Picture:
        """The picture, with this in it."""
        if self.asked.add(wanted) and self._picture is not None:
            looked = self._looked
            self.read_anew()
            self._looked = looked
        return self.picture

    def look_anew(self) -> None:
        if self._looked:
            self.read_anew()
        self._looked = True

    def is_live(self) -> bool:
        return False

    def settled(self, processes: Mapping[str, Sequence[tuple[int, float | None]] | None]) -> float:
        starts = [one[1] for found in processes.values() for one in found or ()]
        known = [start for start in starts if start is not None]
        # Windows may not tell when a process began.
        unknown = not starts or len(known) < len(starts) or any(found is None for found in processes.values())
        return 0 if unknown else max(0.0, self.now() - max(known))

    # -- names of files

    def join(self, folder: str, *names: str) -> str:
        return ntpath.join(folder, *names)

    def folder_of(self, path: str) -> str:
        return ntpath.dirname(path)

    def real_path(self, path: str) -> str:
        return _norm(self.resolved(path))

    def resolved(self, path: str) -> str:
        """The path with the folder that the registry names in place of its name in braces."""
        name, brace, rest = path.partition("}")
        if not brace or name[:1] != "{":
            return path
        folder = self.found["places"].get(name[1:])
        return folder.rstrip("\\") + rest if folder else path

    # -- files

    def _file(self, path: str) -> FileFound | None:
        """What is known of a file; of a log that was read with its folder nothing."""
        if _norm(path) not in self.picture.files:
            self._need(Wanted(files=[FileAsked(path=path, limit=FILE_LIMIT)]))
        return self.picture.files.get(_norm(path))

    def _tail(self, path: str) -> tuple[int, bytes] | None:
        """(offset, bytes) of a log of a folder that was asked for, as far as its end was read."""
        folder = self.picture.folders.get(_norm(ntpath.dirname(path)))
        for one in folder["files"] if folder else ():
            if one["name"].lower() == ntpath.basename(path).lower():
                return one["offset"], unpacked(one["content"])
        return None

    def _is_of_folder(self, path: str) -> bool:
        """Whether the folder of a path was asked for with the ends of its files, and the path is one of these."""
        folder = self.picture.folders.get(_norm(ntpath.dirname(path)))
        return folder is not None and any(path.lower().endswith(one.lower()) for one in self._endings(folder) if one)

    def is_known_missing(self, path: str) -> bool:
        """Whether the names of all files of its folder are known, and it is none of them."""
        folder = self.picture.folders.get(_norm(ntpath.dirname(path)))
        if folder is None or folder["problem"] or "" not in self._endings(folder) or len(folder["files"]) >= NAMES:
            return False
        return ntpath.basename(path).lower() not in {one["name"].lower() for one in folder["files"]}

    def _endings(self, folder: FolderFound) -> list[str]:
        return self.asked.folders[_norm(folder["asked"])]["endings"]

    def is_there(self, path: str) -> bool:
        if is_key(path):
            view = self.views.get(_norm(path))
            return self._tree(view)["exists"] if view else self._registry_bytes(path) is not None
        if self._is_of_folder(path):
            return self._tail(path) is not None
        one = self._file(path)
        return bool(one and one["exists"])

    def exists(self, path: str) -> bool:
        return self.is_there(path)

    def folder(self, asked: FolderAsked) -> FolderFound:
        if _norm(asked["path"]) not in self.picture.folders:
            self._need(Wanted(folders=[asked]))
        return self.picture.folders[_norm(asked["path"])]

    def is_folder(self, path: str) -> bool:
        return self.folder(folder_asked(path))["exists"]

    def size(self, path: str) -> int | None:
        if is_key(path):
            return None
        one = self._file(path)
        return one["size"] if one and one["exists"] else None

    def read(self, path: str) -> bytes:
        content = self.read_if_there(path)
        if content is None:
            raise FileError("%s: does not exist" % path)
        return content

    def read_if_there(self, path: str) -> bytes | None:
        if is_key(path):
            return self._registry_bytes(path)
        one = self._file(path)
        if not one or not one["exists"]:
            return None
        if one["content"] is None:
            raise FileError("%s: could not be read (%s)" % (path, one["problem"] or "the host did not say why"))
        return unpacked(one["content"])

    def read_own(self, path: str) -> bytes | None:
        return self.disk.read_own(path)

    def read_end(self, path: str, size: int) -> bytes | None:
        if not self._is_of_folder(path):
            content = self.read_if_there(path)
            return None if content is None else content[-size:]
        folder = self.picture.folders[_norm(ntpath.dirname(path))]
        if folder["problem"]:
            raise FileError("%s: could not be read (%s)" % (folder["path"], folder["problem"]))
        # Of the others, what was not read is told by unread(): what is written now is in the newest one.
        newest = folder["files"][0] if folder["files"] else None
        if newest and newest["problem"] and newest["name"].lower() == ntpath.basename(path).lower():
            raise FileError("%s: could not be read (%s); see which process holds it" % (path, newest["problem"].rstrip(".")))
        found = self._tail(path)
        if found is None:
            return None
        offset, content = found
        # What comes first may be the rest of a line.
        return (content.partition(b"\n")[2] if offset else content)[-size:]

    def unread(self, path: str, size: int) -> int:
        found = self._tail(path) if self._is_of_folder(path) else None
        return max(0, found[0] + len(found[1]) - size, found[0]) if found else 0

    def edit(self, path: str, may_be_missing: bool = False) -> FileEdit:
        before = self.read_if_there(path) if may_be_missing else self.read(path)
        if not is_key(path):
            return _FileEdit(self, path, before)
        view = self.views.get(_norm(path))
        return _KeyEdit(self, path, before, view) if view else _ValueEdit(self, path, before)

    def require_writable(self, path: str, size: int) -> list[str]:
        if not self.found["administrator"]:
            raise FileError("%s: the account that Ansible uses is no administrator of this host, so it may not be changed; give "
                            "Ansible another one; nothing was written" % path)
        one = None if is_key(path) else self._file(path)
        if one and one["read_only"]:
            raise FileError("%s: is read-only; take that attribute away (attrib -r) and run again; nothing was written" % path)
        return []

    def record(self, path: str) -> ChangeRecord:
        return ChangeRecord(path, disk=self.disk)

    def other_change(self, record: str) -> str | None:
        for one in self.under_way():
            return ("another migration or rollback of this host is under way (%s); it proves nothing until that has ended"
                    % one["sentence"].rstrip("."))
        return None

    def under_way(self) -> list[Unfinished]:
        """The changes of this host that have not ended."""
        if self._picture is None:
            self.read_anew()
        return [one for one in self.unfinished if one["state"] in ("applying", "undoing")]

    def undone(self) -> list[Unfinished]:
        """The changes that the host has undone, of which their run may not have heard."""
        return [one for one in self.unfinished if one["state"] == "undone"] if self.picture else []

    def half_way(self) -> list[Unfinished]:
        """The changes that could not all be undone, and that nothing has set right since."""
        return [one for one in self.unfinished if one["state"] == "trouble"] if self.picture else []

    def told(self, half_way: bool = True) -> list[str]:
        """Sentences for a person, on the changes that ended otherwise than a run has wanted.

        C(half_way): whether those are among them that could not all be undone; they may be told already, as what stands against a
        move.
        """
        return ["this host has undone an earlier change: %s" % one["sentence"] for one in self.undone()] + [
            "an earlier change of this host was left half way: %s" % one["sentence"]
            for one in (self.half_way() if half_way else ())] + self.untold

    # -- the registry

    def _tree(self, view: RegistryView) -> RegistryFound:
        asked = RegistryAsked(key=view.key, depth=view.depth, limit=KEY_LIMIT)
        return self._need(Wanted(registry=[asked])).registry[_norm(view.key)]

    def _registry_bytes(self, path: str) -> bytes | None:
        view = self.views.get(_norm(path))
        if view:
            tree = self._tree(view)
            if tree["problem"]:
                raise FileError("%s: could not be read (%s)" % (path, tree["problem"]))
            if not tree["exists"]:
                return None
            return view.text({key["key"][len(tree["key"]):].lstrip("\\"): key["values"] for key in tree["keys"]})
        return value_bytes(self.registry_value(*ntpath.split(path)))

    def registry_values(self, key: str) -> list[RegistryValue]:
        if not any(_is_under(key, asked) for asked in self.asked.registry.values()):
            self._need(Wanted(registry=[key_asked(key)]))
        return self.picture.values.get(_norm(key), [])

    def registry_value(self, key: str, name: str) -> RegistryValue | None:
        return next((value for value in self.registry_values(key) if value["name"].lower() == name.lower()), None)

    # -- services and processes

    def services(self, names: Sequence[str], command: Sequence[str] = (), executables: object = None) -> WindowsServices:
        return WindowsServices(self, names)

    def service(self, name: str, command: Sequence[str] = ()) -> WindowsService:
        return WindowsService(self, name)

    def service_found(self, name: str) -> ServiceFound:
        picture = self._need(Wanted(services=[name]))
        found = picture.services.get(name.lower())
        if not found or not found["exists"]:
            raise ServiceError("the service %s is not installed on this host; name the right ones in the services of its role"
                               % name)
        return found

    def start_time(self, pid: int) -> float | None:
        found = self.found
        everything: list[Any] = [*found["services"], *found["listeners"], *found["connections"]]
        return next((one["began"] for one in everything if one["process"] == pid and one["began"] is not None), None)

    def moment_of(self, start: float) -> float:
        return start

    def still_running(self, stopped: Mapping[str, Any], now: Processes) -> dict[str, list[tuple[int, float]]]:
        found = {}
        for service, before in stopped["processes"].items():
            old = [one for one in now.get(service) or () if any(
                one[0] == pid and abs(one[1] - began) < OF_A_START for pid, began in before or ())]
            if old:
                found[service] = old
        return found

    def command_line(self, pid: int) -> list[str]:
        return []

    def run(self, command: Sequence[str], seconds: float) -> tuple[int, str, str]:
        raise OSError(2, "no command is run on a Windows host")

    def service_port(self, name: str, protocol: str | None = None) -> int | None:
        return None

    # -- the clock

    def now(self) -> float:
        return self.found["now"]

    def local_moment(self, year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
        return calendar.timegm((year, month, day, hour, minute, second)) - self.found["utc_offset"]

    # -- the network

    def listeners(self, ports: Iterable[int | None], address: str | None = None,
                  every_owner: bool = False) -> list[dict[str, Any]]:
        wanted = {port for port in ports if port}
        picture = self._need(Wanted(ports=sorted(wanted)))
        found = []
        for one in picture.found["listeners"]:
            if one["port"] in wanted and (not address or one["address"] in (address, *ANY_ADDRESS)):
                entry = dict(protocol=one["protocol"], address=one["address"], port=one["port"], pid=one["process"],
                             process=one["name"] or "unknown")
                found.append(dict(entry, owners=[one["process"]]) if every_owner else entry)
        return found

    def own_listener(self, port: int, address: str | None) -> int | None:
        """The process of IP Helper, where it is that which listens: netsh portproxy forwards from the port."""
        picture = self._need(Wanted(netsh=True, ports=[port], services=[IP_HELPER]))
        netsh, service = picture.found["netsh"], picture.services.get(IP_HELPER)
        if not netsh or not service or not any(one["listen_port"] == port for one in netsh["portproxy"]):
            return None
        return service["process"]

    def outgoing(self, port: int, address: str | None = None) -> list[dict[str, Any]]:
        if [one for one in self.listeners({port}, address) if one["protocol"] == "tcp"]:
            return []
        return [dict(address=one["local_address"], remote="%s:%d" % (one["remote_address"], one["remote_port"]),
                     pid=one["process"], process=one["name"] or "unknown")
                for one in self.found["connections"] if one["local_port"] == port and _is_live(one)
                and (not address or one["local_address"] == address)]

    def connections(self, addresses: Iterable[str], port: int) -> list[dict[str, Any]]:
        picture, wanted = self._need(Wanted(remote_ports=[port])), {_plain(address) for address in addresses}
        return [dict(address=_plain(one["local_address"]), remote=_plain(one["remote_address"]),
                     established=one["state"].lower() == "established", pid=one["process"], process=one["name"] or "unknown",
                     owners=[one["process"]])
                for one in picture.found["connections"]
                if one["remote_port"] == port and _plain(one["remote_address"]) in wanted and _is_live(one)]

    def connections_to(self, ports: Sequence[int]) -> list[ConnectionFound]:
        """Established connections of others to these ports of the host, which the picture of its listeners shows."""
        self.listeners(ports)
        return [one for one in self.found["connections"] if one["local_port"] in ports and _is_live(one)
                and one["state"].lower() == "established"]

    def addresses_of(self, name: str) -> set[str]:
        names = self.picture.names
        if name.lower() not in names:
            # It stands in no file of which the script looks the names up by itself.
            names = self._need(Wanted(names=[name])).names
        return {_plain(address) for address in names.get(name.lower(), ())}

    def own_addresses(self) -> list[str]:
        return self.found["addresses"]

    def reserving(self, port: int) -> str:
        return "netsh int ipv4 add excludedportrange protocol=tcp startport=%d numberofports=1" % port

    def ephemeral_ports(self) -> dict[str, Any] | None:
        netsh = self._need(Wanted(netsh=True)).found["netsh"]
        spans = [one for one in (netsh or {"dynamic": []})["dynamic"] if (one["family"], one["protocol"]) == ("ipv4", "tcp")]
        if not netsh or not spans:
            return None
        return dict(first=spans[0]["first"], last=spans[0]["last"], reserved=[
            [one["first"], one["last"]] for one in self.excluded("ipv4", "tcp") if one["administered"]])

    def excluded(self, family: str, protocol: str) -> list[ExcludedRange]:
        netsh = self._need(Wanted(netsh=True)).found["netsh"]
        return [one for one in (netsh["excluded"] if netsh else ()) if (one["family"], one["protocol"]) == (family, protocol)]

    def not_excluded(self, port: int) -> list[RangeKind]:
        """The kinds of which no range holds the port; none where netsh could not be asked."""
        if not self.ephemeral_ports():
            return []
        return [kind for kind in get_args(RangeKind) if not any(
            one["first"] <= port <= one["last"] for one in self.excluded(*kind.split("/")))]

    def kept_from_all(self, port: int, family: str, protocol: str) -> str | None:
        """A sentence on the range in which Windows keeps the port from every program, where there is one."""
        for one in self.excluded(family, protocol):
            if one["first"] <= port <= one["last"] and not one["administered"]:
                asked = "netsh interface %s %%s excludedportrange protocol=%s" % (family, protocol)
                return ("port %d (%s, %s) lies in the range %d-%d, which Windows itself, such as for Hyper-V or WinNAT, keeps "
                        "from every program (%s, without *); choose another port, or reserve this one while WinNAT is stopped: "
                        "net stop winnat, %s startport=%d numberofports=1, net start winnat" % (
                            port, protocol, FAMILIES[family], one["first"], one["last"], asked % "show", asked % "add", port))
        return None

    def probe(self, targets: Sequence[Mapping[str, Any]], timeout: float, wait: float = 0) -> list[dict[str, Any]]:
        asked = [None if target.get("protocol") == "udp" else probe_asked(target, timeout) for target in targets]
        self._need(Wanted(probes=[probe for probe in asked if probe]))
        end = time.monotonic() + wait
        while True:
            results = [_probed(target, probe and self.picture.probes[probe["name"]], timeout)
                       for target, probe in zip(targets, asked)]
            if all(result["reachable"] for result in results) or time.monotonic() >= end:
                return results
            time.sleep(min(LOOK_AGAIN, max(0, end - time.monotonic())))
            self.read_anew()


def key_asked(key: str) -> RegistryAsked:
    """The values of one key."""
    return RegistryAsked(key=key, depth=0, limit=KEY_LIMIT)


def names_asked(path: str) -> FolderAsked:
    """A folder of our own, of which the names alone are wanted."""
    return FolderAsked(path=path, endings=[""], newest=NAMES, bytes=0)


def folder_asked(path: str, size: int = LOG_BYTES) -> FolderAsked:
    return FolderAsked(path=path, endings=list(LOG_ENDINGS), newest=LOG_FILES, bytes=size)


def _plain(address: str) -> str:
    """An address as all spell it: without the zone of a link, and IPv4 without the prefix that an IPv6 socket shows it with."""
    address = address.partition("%")[0]
    return address[7:] if address.lower().startswith("::ffff:") and "." in address else address


def _is_live(one: ConnectionFound) -> bool:
    """Whether a connection is one, or is being made; Windows shows those that have ended for minutes."""
    return one["state"].lower() in ("established", "synsent")


def _is_under(key: str, asked: RegistryAsked) -> bool:
    """Whether the values of a key are shown by what was asked."""
    above, below = _norm(asked["key"]), _norm(key)
    if below == above:
        return True
    return below.startswith(above + "\\") and below[len(above) + 1:].count("\\") < asked["depth"]


# --- what answers


PROBLEMS = dict(refused="connection refused: nothing listens there")


def _probed(target: Mapping[str, Any], found: ProbeFound | None, timeout: float) -> dict[str, Any]:
    """A result as M(portshift.agents.port_probe) has it, out of what the host saw."""
    certificate = described_certificate(unpacked(found["certificate"])) if found and found["certificate"] else None
    result = dict(host=target["host"], port=target["port"], protocol=target.get("protocol") or "tcp", source=None,
                  address=found and found["address"], status=found and found["status"], certificate=certificate)
    reason = _reason(target, found, certificate, timeout)
    return dict(result, reachable=reason is None, reason=reason,
                error=None if reason is None else "%s: %s" % (described(result), reason),
                latency_ms=round(found["seconds"] * 1000, 1) if found and reason is None else None)


def _reason(target: Mapping[str, Any], found: ProbeFound | None, certificate: Any, timeout: float) -> str | None:
    if found is None:
        return "a Windows host is not asked by udp; ask from another host"
    http = target.get("http")
    if http is not None and http.get("tls") and http.get("thumbprint") and (certificate or found["ok"]):
        other = other_than(certificate, http["thumbprint"]) if certificate else "the host did not see its certificate"
        if other:
            return other
    if not found["ok"]:
        if found["problem"] == "timed out":
            return "no answer within %g s (dropped on the way?)" % timeout
        return PROBLEMS.get(found["problem"] or "", found["problem"] or "no answer")
    if http is None:
        return None
    wanted, body = http.get("status") or 200, unpacked(found["body"])
    if found["status"] != wanted and not http.get("any_status"):
        return "HTTP status %s instead of %d for %s" % (found["status"], wanted, http.get("path") or "/")
    pattern = http.get("body_regex")
    if pattern:

        if not re.search(pattern.encode("utf-8"), body):
            return "the answer for %s does not match %s" % (http.get("path") or "/", pattern)
    check = http.get("check")
    return check(body) if check else None


# --- what changes


def splice(before: bytes, after: bytes) -> list[Splice]:
    """The one span in which two contents differ."""
    end = min(len(before), len(after))
    first = next((at for at in range(end) if before[at] != after[at]), end)
    last = next((at for at in range(end - first) if before[-1 - at] != after[-1 - at]), end - first)
    return [Splice(at=first, length=len(before) - first - last, bytes=packed(after[first:len(after) - last]))]


def write_step(path: str, before: bytes | None, after: bytes) -> WriteStep:
    step = WriteStep(step="write", path=path, expected=None if before is None else sha256(before))
    spans = splice(before, after) if before is not None else []
    if before is None or len(spans[0]["bytes"]) > len(after):
        step["content"] = packed(after)
    else:
        step["splices"], step["result"] = spans, hashlib.sha256(after).hexdigest()
    return step


class _Edit(FileEdit):
    """An edit that becomes steps."""

    def __init__(self, host: WindowsHost, path: str, before: bytes | None) -> None:
        self.host, self.path, self.target = host, path, path
        self.before = self.after = before

    def _put(self, module: Any, record: ChangeRecord | None, kind: str | None) -> dict[str, Any]:
        for sentence in self.host.require_writable(self.path, len(self.after or b"")):
            module.warn(sentence)
        done = {}
        if not module.check_mode:
            if module.params.get("backup") and self.before is not None:
                done["backup_file"] = self._back_up()
            for path, before, after, step, own_kind in self._steps():
                if record:
                    record.before_write(path, before, after, own_kind or kind)
                self.host.changes.append(step)
        return done

    def _back_up(self) -> str:
        """The path of a copy that is made with the change.  It lies with what is ours: what it is of may be kept from users."""
        name, content = self._copy()
        path = ntpath.join(FOLDER, "backups", "%s.%s-%s~" % (
            name, time.strftime("%Y%m%dT%H%M%S", time.gmtime(self.host.now())), sha256(content)[:8]))
        self.host.changes.append(write_step(path, None, content))
        return path

    def _copy(self) -> tuple[str, bytes]:
        """(name, bytes) of a copy of what is there before the change."""
        return ntpath.basename(self.path), self.before or b""

    def _steps(self) -> list[tuple[str, bytes | None, bytes | None, Step, str | None]]:
        """(path, bytes before, bytes after, the step, its kind where that is not the edit's)"""
        raise NotImplementedError


class _FileEdit(_Edit):

    def _steps(self) -> list[tuple[str, bytes | None, bytes | None, Step, str | None]]:
        if self.after is None:
            return [(self.path, self.before, None, dict(step="remove", path=self.path, expected=sha256(self.before)), None)]
        return [(self.path, self.before, self.after, write_step(self.path, self.before, self.after), None)]


class _KeyEdit(_Edit):
    """An edit of a key that stands for a file."""

    def __init__(self, host: WindowsHost, path: str, before: bytes | None, view: RegistryView) -> None:
        super().__init__(host, path, before)
        self.view = view

    def _steps(self) -> list[tuple[str, bytes | None, bytes | None, Step, str | None]]:
        steps: list[tuple[str, bytes | None, bytes | None, Step, str | None]] = []
        for rest, name, text in self.view.changes(self.before or b"", self.after or b""):
            key = ntpath.join(self.view.key, rest) if rest else self.view.key
            was = self.host.registry_value(key, name)
            will = None if text is None else _like(was, name, text)
            steps.append((ntpath.join(key, name), value_bytes(was), value_bytes(will),
                          RegistryStep(step="registry", key=key, name=name, expected=was, wanted=will), self.view.kind))
        return steps

    def _copy(self) -> tuple[str, bytes]:
        """As a file that C(reg import) takes."""
        keys = [RegistryKey(key=self.host.picture.names_of_keys[key], values=values)
                for key, values in self.host.picture.values.items() if (key + "\\").startswith(_norm(self.view.key) + "\\")]
        return "%s.reg" % self.view.key.partition("\\")[2].replace("\\", "-"), reg_file(keys)


def _like(was: RegistryValue | None, name: str, text: str) -> RegistryValue:
    """A value with this text, of the type that it has, where that takes it."""
    if was and was["type"] in ("DWord", "QWord") and text.isdigit():
        return RegistryValue(name=was["name"], type=was["type"], data=int(text))
    kind = was["type"] if was and was["type"] in ("String", "ExpandString") else "String"
    return RegistryValue(name=was["name"] if was else name, type=kind, data=text)


class _ValueEdit(_Edit):
    """One value, on its way back to what a record holds."""

    def _steps(self) -> list[tuple[str, bytes | None, bytes | None, Step, str | None]]:
        key, name = ntpath.split(self.path)
        step = RegistryStep(step="registry", key=key, name=name, expected=value_of(self.before), wanted=value_of(self.after))
        return [(self.path, self.before, self.after, step, None)]


class WindowsDisk(Disk):
    """Records and backups of a Windows host: what is written is kept here until it is taken as steps."""

    def __init__(self, host: WindowsHost) -> None:
        self.host = host
        self.written: dict[str, bytes] = {}
        self._pending: dict[str, bytes | None] = {}
        self._removed: list[Step] = []

    def join(self, folder: str, name: str) -> str:
        return ntpath.join(folder, name)

    def make_folder_of(self, path: str) -> None:
        """The script makes the folders of its own."""

    def exists(self, path: str) -> bool:
        return path in self.written or (not self.host.is_known_missing(path) and self.host.exists(path))

    def read_own(self, path: str) -> bytes | None:
        if path in self.written:
            return self.written[path]
        if self.host.is_known_missing(path):
            return None
        one = self.host._file(path)
        if one and one["exists"] and one["reparse"]:
            raise FileError("%s: a link or junction leads there, so it is not believed; look who made it, and remove it" % path)
        if one and one["exists"] and not one["trusted"]:
            raise FileError("%s: others than SYSTEM and the administrators may have written it, or it lies outside of %s, so it "
                            "is not believed; look who made it, and move it away" % (path, FOLDER))
        return self.host.read_if_there(path)

    def write_own(self, path: str, content: bytes) -> None:
        if path not in self._pending:
            self._pending[path] = self.read_own(path)
        self.written[path] = content

    def read_if_there(self, path: str) -> bytes | None:
        return self.host.read_if_there(path)

    def edit(self, path: str) -> FileEdit:
        return self.host.edit(path, may_be_missing=True)

    def take_back_interrupted(self, paths: Sequence[str], check_mode: bool) -> None:
        """No file is written in place there, and what was interrupted the host takes back by itself."""

    def remove(self, path: str, check_mode: bool) -> None:
        if not check_mode:
            name = ntpath.basename(path)
            # A backup is called by its own sha256.
            expected = name if IS_BACKUP.match(name) else sha256(self.read_own(path) or b"")
            self._removed.append(RemoveStep(step="remove", path=path, expected=expected))

    def listing(self, folder: str) -> Iterator[tuple[str, bool, float]]:
        found = self.host.folder(names_asked(folder))
        for one in sorted(found["files"], key=lambda one: one["name"]):
            yield one["name"], True, one["changed"]

    def now(self) -> float:
        return self.host.now()

    def boot(self) -> str:
        return "%d" % (self.host.now() - self.host.found["uptime"])

    def take(self) -> list[Step]:
        """What was written since the last call, each file once, as steps."""
        steps: list[Step] = [write_step(path, before, self.written[path]) for path, before in self._pending.items()
                             if before != self.written[path]]
        steps += self._removed
        self._pending, self._removed = {}, []
        return steps

    def forget(self) -> None:
        """After the steps were carried out, or were not: what the host has counts."""
        self.written, self._pending, self._removed = {}, {}, []


class WindowsServices:
    """Services of a Windows host, in the order in which they start."""

    def __init__(self, host: WindowsHost, names: Sequence[str]) -> None:
        self.host, self.names = host, list(names)
        # Services that were told to stop and have not.
        self.ending: list[str] = []

    def processes(self) -> dict[str, list[tuple[int, float]] | None]:
        return {name: _processes(self.host.service_found(name)) for name in self.names}

    def survey(self) -> tuple[dict[str, list[tuple[int, float]] | None], list[str]]:
        return self.processes(), self.down()

    def down(self) -> list[str]:
        return [name for name in self.names if self.host.service_found(name)["state"] != "running"]

    def hindrances(self) -> list[str]:
        """Why these services could not be stopped: others that run need them, and those would have to be stopped first."""
        found, stopped = [], {name.lower() for name in self.names}
        for name in self.names:
            try:
                others = [self.host.service_found(other) for other in self.host.service_found(name)["needed_by"]
                          if other.lower() not in stopped]
            except ServiceError:
                # That it is not there is told by those who look for it.
                continue
            running = [other["name"] for other in others if other["state"] != "stopped"]
            if running:
                found.append("the service %s is needed by %s, which %s, so that it can't be stopped; stop %s, or name %s in the "
                             "services of its role, after %s" % (
                                 name, ", ".join(running), "runs" if len(running) == 1 else "run",
                                 "that one" if len(running) == 1 else "those", "it" if len(running) == 1 else "them", name))
            # They are stopped from the last to the first: when the turn comes to those after it, this one runs still.
            stopped.discard(name.lower())
        return found

    def require_known(self) -> None:
        hindrances = self.hindrances()
        if hindrances:
            raise ServiceError("; ".join(hindrances))
        for name in self.names:
            found = self.host.service_found(name)
            if found["start_mode"] == "disabled":
                raise ServiceError("the service %s is disabled on this host, so that it could not be started again; mend "
                                   "that first" % name)
            if found["state"] not in ("running", "stopped"):
                raise ServiceError("the service %s is neither running nor stopped (%s); look what it waits for, and run again "
                                   "when it has ended" % (name, found["state"]))


def _processes(found: ServiceFound) -> list[tuple[int, float]] | None:
    if not found["process"]:
        return []
    return None if found["began"] is None else [(found["process"], found["began"])]


class WindowsService:
    """One service, to be looked at."""

    def __init__(self, host: WindowsHost, name: str) -> None:
        self.host, self.name = host, name
        self.active: bool | None = None
        self.pid: int | None = None
        self.running_since: float | None = None

    def look(self) -> WindowsService:
        found = self.host.service_found(self.name)
        self.active = found["state"] == "running"
        self.pid, self.running_since = found["process"] or None, found["began"]
        return self

    def words(self, action: str) -> list[str]:
        return ["sc.exe", action, self.name]

    def owns(self, pid: int | None) -> bool | None:
        return None if pid is None else pid == self.pid

    def started(self) -> float | None:
        return self.running_since

    def environment(self) -> dict[str, str]:
        """That of all services, and what the service manager adds for this one."""
        found = {value["name"]: str(value["data"]) for value in self.host.registry_values(ENVIRONMENT)
                 if value["type"] in ("String", "ExpandString")}
        for value in self.host.registry_values(ntpath.join(SERVICE_KEYS, self.name)):
            if value["name"].lower() == "environment" and value["type"] == "MultiString":
                found.update(line.partition("=")[::2] for line in value["data"])
        return found
