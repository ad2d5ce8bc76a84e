# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that change the bindings of a site of IIS or look at them."""

from __future__ import annotations


class ModuleDocFragment:

    DOCUMENTATION = r"""
options:
  site:
    description:
      - The name of the site.
      - Without it, and where O(record) does not say it, it is the one site that has a binding on O(beside), or where none has, on
        O(port). With O(state=absent), O(port) alone does not say enough.
      - Where a site of IIS has a binding that M(microsoft.iis.website_info) stumbles over, such as one for C(net.tcp), the sites
        can't be read together, and the hub's has to be named. Which ports the other sites have is not known then. A port that
        C(http.sys) listens on for one of them is refused all the same.
      - Where it is the hub's site that has such a binding, nothing is changed, and the error says what to do about it.
    type: str
    default: ""
  port:
    description:
      - The port to listen on, or no longer to listen on. Required with O(state=present) and O(state=absent).
      - With O(record), one of the two ports of its migration. Another one is refused, since it could not be taken back.
    type: int
  beside:
    description:
      - With O(state=present). The port whose bindings get a twin.
      - Where the site has no binding on it any more and one on O(port), all is as it should be.
      - Where O(port) is the port that the migration of O(record) has left, only the bindings that were there before get a twin.
      - Without it, no binding is added; the site has to have one on O(port) already, and C(http.sys) to listen there.
      - With O(state=absent). The port that stays. Where the site has a binding on O(port) without a twin on this one, nothing is
        changed, and the error names the binding. That is one that was added after O(state=present) was run, and what
        is reached by it would be lost. A twin is of the same protocol, with the same requirement of SNI and the central store,
        and with a certificate; where that is another one, it is one of the RV(notes).
    type: int
  users_seconds:
    description:
      - With O(state=absent) and O(state=restored). Seconds in which there has to be a moment without a connection to the port
        that ends, before it does. Where there is none, nothing is changed, and it fails.
      - Windows keeps a connection that has ended for some minutes. Where there are such ones in all of that time, what counts
        is whether there is an established one at its end.
      - That port is O(port), or with O(state=restored) the one that the migration of O(record) has moved to.
      - V(0) skips the look.
      - A client that is not connected in that moment is not found. Which one is connected is not told; C(netstat -ano) on the
        host does.
    type: int
    default: 0
  force:
    description:
      - With O(state=restored), go back also where protocol or flags of the bindings in question have been changed since.
        What was changed is lost.
    type: bool
    default: false
  record:
    description:
      - Note the change in a record on the host, before it is made, so that O(state=restored) can take it back.
      - It is a JSON file like the one that M(portshift.agents.change_record) reads on other hosts, with the name of the site and
        the bindings that it had before in it. The record of an earlier migration is kept in a folder beside it.
      - Beside it stands the same with the ending C(.next), which is written first, and read where the record is not there or is
        damaged. Remove both, or neither.
    type: dict
    suboptions:
      path:
        description:
          - The record, such as C(C:\ProgramData\portshift\change_tracker_hub.json). The folder C(C:\ProgramData\portshift) is
            made so that only SYSTEM and administrators can change it, and the record has to lie in it.
        type: str
        required: true
      old_port:
        description: The port that the migration moves away from. Without it, O(beside), or with O(state=absent) O(port).
        type: int
      new_port:
        description:
          - The port that the migration moves to. Another one than before begins a new record.
          - With O(state=restored), a record of another migration is left alone. V(0) means the one that the record is about.
        type: int
        required: true
      phase:
        description: The phase of the migration, for the person who reads the record.
        type: str
"""
