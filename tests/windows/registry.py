# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of a Windows host, by the names that a 64-bit process sees: 32-bit software is under WOW6432Node."""

TYPES = {"String": str, "ExpandString": str, "MultiString": list, "DWord": int, "QWord": int, "Binary": bytes, "None": bytes,
         "Unknown": bytes}
ROOTS = ("HKLM", "HKCU", "HKU", "HKCR", "HKCC")


class RegistryError(Exception):
    """What .NET says."""


class Key:
    def __init__(self, path):
        self.path = path
        # Lower case name -> (name, type, data)
        self.values = {}
        self.denied = False


class Registry:
    def __init__(self):
        self.keys = {}

    @staticmethod
    def name(path):
        parts = path.split("\\")
        if parts[0].upper() not in ROOTS or "" in parts or "/" in parts[0]:
            raise RegistryError("the key %r does not begin with one of %s" % (path, ", ".join(ROOTS)))
        return path.lower()

    @staticmethod
    def of_32_bits(path):
        """Where a 32-bit process finds what it calls so."""
        root, _backslash, rest = path.partition("\\SOFTWARE\\")
        return path if rest.upper().startswith("WOW6432NODE") or not rest else "%s\\SOFTWARE\\WOW6432Node\\%s" % (root, rest)

    def exists(self, path):
        return self.name(path) in self.keys or bool(self.below(path))

    def below(self, path):
        """-> [Key] under it, in the order of their names"""
        start = self.name(path) + "\\"
        return [key for name, key in sorted(self.keys.items()) if name.startswith(start)]

    def find(self, path):
        return self.keys.get(self.name(path))

    def get(self, path, name):
        """-> (type, data), or None"""
        key = self.find(path)
        if key is None:
            return None
        if key.denied:
            raise RegistryError("Requested registry access is not allowed.")
        found = key.values.get(name.lower())
        return found and found[1:]

    def text(self, path, name):
        """-> the data of a value, or None"""
        found = self.get(path, name)
        return found and found[1]

    def make(self, path):
        """With all above it -> Key"""
        name = self.name(path)
        if name not in self.keys:
            parent = path.rpartition("\\")[0]
            if "\\" in parent:
                self.make(parent)
            self.keys[name] = Key(path)
        return self.keys[name]

    def set(self, path, name, data, kind="String"):
        if not isinstance(data, TYPES[kind]) or isinstance(data, bool):
            raise RegistryError("%r is no data of type %s" % (data, kind))
        key = self.make(path)
        if key.denied:
            raise RegistryError("Requested registry access is not allowed.")
        kept = key.values.get(name.lower())
        key.values[name.lower()] = (kept[0] if kept else name, kind, data)

    def delete(self, path, name):
        key = self.find(path)
        if key is not None:
            if key.denied:
                raise RegistryError("Requested registry access is not allowed.")
            key.values.pop(name.lower(), None)

    def delete_key(self, path):
        """With all under it."""
        start = self.name(path)
        for name in [name for name in self.keys if name == start or name.startswith(start + "\\")]:
            del self.keys[name]
