# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Client settings as the product stores them on Linux (besclient.config, besrelay.config, besserver.config)."""

import os
import re

from ..files import write_atomically
from . import Refused

_SECTION = re.compile(r"\[software\\bigfix\\enterpriseclient\\settings\\client\\(.+)\]$", re.IGNORECASE)


def parse(data):
    """bytes -> {setting name: value}.  The case of `Software` varies between versions; %20 stands for a blank."""
    settings, name = {}, None
    for line in data.decode("utf-8-sig", "replace").splitlines():
        line = line.strip()
        if line.startswith("["):
            match = _SECTION.match(line)
            name = match.group(1) if match else None
        elif name is not None and "=" in line:
            key, value = line.split("=", 1)
            if key.strip().lower() == "value":
                settings[name] = re.sub(r"%([0-9A-Fa-f]{2})", lambda m: chr(int(m.group(1), 16)), value.strip())
    return settings


class RememberedFile:
    """A settings file as the running agent holds it: read once, in memory from then on.

    At its end the agent writes what it has in memory.  So an edit made while it runs is lost, which is why the
    documented order is stop, edit, start.
    """

    def __init__(self, path):
        self.path = path
        self.data = _read(path)
        self.settings = parse(self.data)

    def write_back(self):
        try:
            with open(self.path, "rb") as stream:
                if stream.read() == self.data:
                    return
            mode = os.stat(self.path).st_mode & 0o7777
        except OSError:
            mode = 0o600
        write_atomically(self.path, self.data, mode)


def _read(path):
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as err:
        raise Refused("%s: settings cannot be read, %s" % (path, err.strerror))


def service_settings(client_config, own_config):
    """What a root server or relay goes by: besclient.config is read first and wins over the service's own file."""
    settings = parse(_read(own_config))
    settings.update(parse(_read(client_config)))
    return settings
