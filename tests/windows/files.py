# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a Windows host: a tree without regard of case, on two drives, with locks, owners and reparse points."""

import contextlib
import hashlib
import itertools
import re

READ, WRITE, DELETE = "read", "write", "delete"
ALL = frozenset((READ, WRITE, DELETE))
SYSTEM, ADMINISTRATORS, USERS = "SYSTEM", "Administrators", "Users"
TRUSTED = frozenset((SYSTEM, ADMINISTRATORS))
PATH = re.compile(r"([A-Za-z]:)(?:\\((?:[^\\/:*?\"<>|\x00-\x1f]+\\)*[^\\/:*?\"<>|\x00-\x1f]*))?\Z")
# Names of devices, which are no files in any folder.
DEVICES = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)")


MOMENTS = itertools.count(1)


class FileError(Exception):
    """What .NET says; `kind`: missing, shared, denied, full, exists, format."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Node:
    """A file, a folder, or a link to one."""

    def __init__(self, path, is_folder, data=b"", owner=ADMINISTRATORS, writers=TRUSTED, protected=False, read_only=False,
                 target=None):
        self.path, self.is_folder, self.data = path, is_folder, data
        self.owner, self.writers, self.protected, self.read_only = owner, frozenset(writers), protected, read_only
        # Where a reparse point leads to.
        self.target = target
        self.changed = 0.0
        # When it was made: no two are made at the same moment, and a new name changes nothing of it.
        self.made = next(MOMENTS)
        self.handles = []
        # Live content, of what a process outside of the model writes.
        self.source = None

    @property
    def name(self):
        return self.path.rpartition("\\")[2]

    @property
    def content(self):
        return bytes(self.source()) if self.source else bytes(self.data)

    @property
    def sha256(self):
        return hashlib.sha256(self.content).hexdigest()


class Handle:
    """An open file: what the process does with it, and what it lets others do."""

    def __init__(self, node, access, share):
        self.node, self.access, self.share = node, frozenset(access), frozenset(share)

    def close(self):
        if self in self.node.handles:
            self.node.handles.remove(self)


class Files:
    def __init__(self, clock, drives=("C:", "D:")):
        self.clock = clock
        self.nodes = {}
        # Drive -> bytes that are free; what is not there has room for all.
        self.free = {}
        for drive in drives:
            self.nodes[drive.lower()] = Node(drive, True)

    # -- names
    def key(self, path):
        found = PATH.match(path)
        if not found or any(part in (".", "..") or part.endswith((" ", ".")) or DEVICES.match(part)
                            for part in (found.group(2) or "").split("\\") if part):
            raise FileError("format", "The given path's format is not supported: %s" % path)
        if found.group(1).lower() not in self.nodes:
            raise FileError("missing", "Could not find a part of the path '%s'." % path)
        return path.rstrip("\\").lower()

    def resolved(self, path):
        """-> the key of what a path leads to, by its links"""
        for _link in range(32):
            parts = self.key(path).split("\\")
            for count in range(1, len(parts) + 1):
                node = self.nodes.get("\\".join(parts[:count]))
                if node and node.target:
                    path = "\\".join([node.target.rstrip("\\"), *parts[count:]])
                    break
            else:
                return "\\".join(parts)
        raise FileError("format", "The name of the file cannot be resolved by the system: %s" % path)

    def reparse(self, path):
        """-> the first component that is a reparse point, or None"""
        parts = self.key(path).split("\\")
        for count in range(1, len(parts) + 1):
            node = self.nodes.get("\\".join(parts[:count]))
            if node and node.target:
                return node.path
        return None

    def find(self, path):
        """-> Node by its name, with links not followed, or None"""
        return self.nodes.get(self.key(path))

    def get(self, path):
        """-> Node that a path leads to, or None"""
        return self.nodes.get(self.resolved(path))

    def listing(self, path):
        """-> [Node] of what lies in a folder"""
        start = self.resolved(path) + "\\"
        return [node for key, node in sorted(self.nodes.items()) if key.startswith(start) and "\\" not in key[len(start):]]

    def below(self, path):
        start = self.resolved(path) + "\\"
        return [node for key, node in sorted(self.nodes.items()) if key.startswith(start)]

    # -- for tests and products: as an administrator would
    def folder(self, path, **attributes):
        """Makes a folder with all above it -> Node"""
        key, parts = self.resolved(path), path.rstrip("\\").split("\\")
        if key not in self.nodes:
            if len(parts) > 1:
                self.folder("\\".join(parts[:-1]))
            node = self.nodes[self.resolved(path)] = Node(path.rstrip("\\"), True, writers=self._inherited(path))
            node.changed = self.clock.now()
        node = self.nodes[self.resolved(path)]
        for name, value in attributes.items():
            setattr(node, name, value)
        return node

    def _inherited(self, path):
        parent = self.get(path.rstrip("\\").rpartition("\\")[0] or path)
        return parent.writers if parent else TRUSTED

    def put(self, path, data=b"", **attributes):
        """A file with that content, whatever was there -> Node"""
        if isinstance(data, str):
            data = data.encode()
        self.folder(path.rpartition("\\")[0])
        key = self.resolved(path)
        node = self.nodes.get(key)
        if node is None or node.is_folder:
            node = self.nodes[key] = Node(path, False, writers=self._inherited(path))
        node.data, node.changed = bytes(data), self.clock.now()
        for name, value in attributes.items():
            setattr(node, name, value)
        return node

    def link(self, path, target):
        """A junction or a link."""
        self.folder(path.rpartition("\\")[0])
        self.nodes[self.key(path)] = Node(path, True, target=target)

    def read(self, path):
        """-> bytes, or None"""
        node = self.get(path)
        return node.content if node and not node.is_folder else None

    def append(self, path, data):
        """As one that holds it does: a log's writer."""
        node = self.get(path)
        if node is None:
            node = self.put(path)
        node.data = bytes(node.data) + data
        node.changed = self.clock.now()

    # -- as a process does
    def open(self, path, access, share=ALL):
        """-> Handle; what stands against it is FileError, as Windows decides it."""
        node = self.get(path)
        if node is None:
            raise FileError("missing", "Could not find file '%s'." % path)
        if node.is_folder:
            raise FileError("denied", "Access to the path '%s' is denied." % path)
        if WRITE in access and node.read_only:
            raise FileError("denied", "Access to the path '%s' is denied." % path)
        handle = Handle(node, access, share)
        for other in node.handles:
            if not handle.access <= other.share or not other.access <= handle.share:
                raise FileError("shared", "The process cannot access the file '%s' because it is being used by another process."
                                % path)
        node.handles.append(handle)
        return handle

    @contextlib.contextmanager
    def opened(self, path, access, share=ALL):
        handle = self.open(path, access, share)
        try:
            yield handle.node
        finally:
            handle.close()

    def room(self, path, size):
        drive = self.resolved(path)[:2]
        left = self.free.get(drive.upper(), self.free.get(drive))
        if left is not None and size > left:
            raise FileError("full", "There is not enough space on the disk.")

    def make(self, path, data, **attributes):
        """A new file in a folder that is there -> Node"""
        parent = self.get(path.rpartition("\\")[0])
        if parent is None or not parent.is_folder:
            raise FileError("missing", "Could not find a part of the path '%s'." % path)
        if self.get(path) is not None:
            raise FileError("exists", "The file '%s' already exists." % path)
        self.room(path, len(data))
        return self.put(path, data, **attributes)

    def replace(self, path, data):
        """By a file beside it, which takes its place with its owner, ACL and attributes."""
        with self.opened(path, (DELETE,)) as node:
            self.room(path, len(data))
            node.data, node.changed, node.source = bytes(data), self.clock.now(), None

    def remove(self, path):
        with self.opened(path, (DELETE,)):
            pass
        del self.nodes[self.resolved(path)]

    def rename(self, path, name):
        """Beside where it is, over what is there."""
        node = self.nodes.pop(self.resolved(path))
        node.path = "%s\\%s" % (node.path.rpartition("\\")[0], name)
        self.nodes[self.key(node.path)] = node

    def remove_tree(self, path):
        start = self.resolved(path)
        for key in [key for key in self.nodes if key == start or key.startswith(start + "\\")]:
            del self.nodes[key]
