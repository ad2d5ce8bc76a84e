# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that change what nginx listens on or look at it."""

from __future__ import annotations


class ModuleDocFragment:

    DOCUMENTATION = r"""
options:
  path:
    description:
      - The file with the server. Servers at its top level count, as in a file below C(conf.d), and those in a block C(http);
        servers of C(stream) and C(mail) don't. Where one of those has O(port) already, no twin is put in.
    type: path
    default: /etc/nginx/conf.d/nnt.conf
  port:
    description:
      - The port to listen on, or no longer to listen on. Required with O(state=present) and O(state=absent).
    type: int
  beside:
    description:
      - With O(state=present). The port whose C(listen) directives get a twin.
      - Where no server in the file listens on it any more and one listens on O(port), all is as it should be.
      - Without it, nothing is put into the file; it has to have a C(listen) on O(port) already, and nginx to have read it.
      - With O(state=absent). The port that stays. Where a server has a C(listen) on O(port) and none that has its address on
        this one too, nothing is changed, and the error names the server. That is one that was put in after
        O(state=present) was run, and it could not be reached on the new port.
      - One on every address has also those that are named, C(*) those of IPv4 and C([::]) those of IPv6, unless a server in the
        file has just that address on this port. Parameters such as C(ssl) and C(proxy_protocol) may differ.
      - Without it, such a server loses O(port) too, as long as any C(listen) is left to it.
    type: int
  test_command:
    description:
      - The command that tests nginx's configuration.
      - One that has the argument C(-t) is run with C(-T) in its place as well, to see what else nginx reads. Without such an
        argument, whether nginx reads O(path), and which other file has the port, is not looked at.
    type: list
    elements: str
    default: [nginx, -t]
  reload_command:
    description: The command that makes nginx read its configuration again without dropping connections.
    type: list
    elements: str
    default: [systemctl, reload, nginx]
  users_seconds:
    description:
      - With O(state=absent) and O(state=restored). Seconds for which is looked who is connected to the port that ends before it
        does, established TCP connections of this host itself included. Where there is one, nothing is changed, and the
        module fails with the addresses of all.
      - The port that ends is O(port), and with O(state=restored) the new port of O(record). Where there is nothing to take
        back it is not looked at.
      - V(0) skips the look.
      - A client that connects for a moment only is found when that falls into these seconds.
    type: float
    default: 0
  force:
    description: With O(state=restored), restore the file also where it has been changed since. What was changed is lost.
    type: bool
    default: false
"""
