# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's hostvars for actions that are called without Ansible: host -> its variables, none of them a template."""


class HostVars(dict):
    """`looks`: how often the variables of a host were put together, which is what such a look costs."""

    looks = 0

    def raw_get(self, host):
        self.looks += 1
        return self.get(host, {})

    def __getitem__(self, host):
        self.looks += 1
        return super().__getitem__(host)
