#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: iis_listen_info
short_description: Tells what a site of IIS is bound to
version_added: 0.2.0
description:
  - Reads what M(portshift.agents.iis_listen) would have to change with the same options, and changes nothing, in check mode or
    not. Where RV(listens) would be as it is, and RV(lacking) and RV(restored) are empty, that is nothing.
  - RV(listening_by) tells who listens on the ports, and RV(lacking) what C(http.sys) does not do although the bindings say so.
  - Fails where M(portshift.agents.iis_listen) would refuse to change anything, with the same sentence, such as one that names
    the site or the process that has O(port).
options:
  state:
    description:
      - What is compared with the site. The state that M(portshift.agents.iis_listen) would be given.
      - V(present) tells which bindings have no twin on O(port), V(absent) which ones have O(port), V(restored) what the record
        would put back and take away.
    type: str
    choices: [present, absent, restored]
    default: present
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.read_only
  - portshift.agents.iis_listen
attributes:
  check_mode:
    details:
      - Has M(microsoft.iis.website) look, in check mode, at the bindings that would be added, such as whether their certificate
        is in its store.
  platform:
    support: full
    platforms: windows
requirements:
  - On the control node the collections microsoft.iis and ansible.windows.
  - On the host IIS with its PowerShell module WebAdministration. Nothing of Python's is needed there.
seealso:
  - module: portshift.agents.iis_listen
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: See what the hub's site is bound to, and what a second port lacks
  portshift.agents.iis_listen_info:
    port: 8443
    beside: 443
  register: hub

- name: See what a rollback would do to the hub's site
  portshift.agents.iis_listen_info:
    state: restored
    record:
      path: C:\ProgramData\portshift\change_tracker_hub.json
      new_port: 8443
  register: hub
"""

RETURN = r"""
site:
  description: The name of the site; empty where none was named and none has the port, or there is nothing to restore.
  returned: success
  type: str
  sample: Change Tracker
listens:
  description: The bindings of the site for HTTP and HTTPS, with what they require and the thumbprint of their certificate.
  returned: success
  type: dict
  contains:
    before:
      description: As it is.
      type: list
      elements: str
      returned: success
      sample: ["https *:443: 5409124040FA1C8FA74939BDA2EF8FD5975BD25B"]
    after:
      description: As it would be.
      type: list
      elements: str
      returned: success
      sample:
        - "https *:443: 5409124040FA1C8FA74939BDA2EF8FD5975BD25B"
        - "https *:8443: 5409124040FA1C8FA74939BDA2EF8FD5975BD25B"
ports:
  description: The ports of RV(listens), each once.
  returned: success
  type: dict
  contains:
    before:
      description: As it is.
      type: list
      elements: int
      returned: success
      sample: [443]
    after:
      description: As it would be.
      type: list
      elements: int
      returned: success
      sample: [443, 8443]
listening_by:
  description: Who listens on the ports that are in RV(ports) or were asked for.
  returned: success
  type: list
  elements: dict
  contains:
    port:
      description: The port.
      type: int
    address:
      description: The address that the socket is bound to.
      type: str
    process:
      description: The name of the process. That of C(http.sys) is V(System).
      type: str
    pid:
      description: Its number. That of C(http.sys) is V(4).
      type: int
lacking:
  description:
    - What C(http.sys) does not do although the bindings are to say so, and what a binding on O(port) lacks, a few words each.
    - Empty with O(state=restored).
  returned: success
  type: list
  elements: str
  sample: ["does not listen on 8443"]
elsewhere:
  description:
    - Who else has O(port), so that it stays in use when this site does not have it any more - other sites, then other processes
      that listen on it, each with its address. C(http.sys) is among them where it listens for no site that is known.
    - Empty with O(state=restored).
  returned: success
  type: list
  elements: str
  sample: ['site "Default Web Site"', "haproxy.exe (process 812) on 10.0.0.9"]
restored:
  description: The bindings that would be put back and those that would be taken away, with O(state=restored).
  returned: success
  type: list
  elements: str
  sample:
    - "https *:443: 5409124040FA1C8FA74939BDA2EF8FD5975BD25B put back"
    - "https *:8443: 5409124040FA1C8FA74939BDA2EF8FD5975BD25B taken away"
notes:
  description: Sentences on what would be left as it is, could not be seen, or is to be seen to by hand.
  returned: success
  type: list
  elements: str
in_use:
  description: That there were connections to the port that was to end for all of O(users_seconds).
  returned: when it fails since there were
  type: bool
record:
  description:
    - What the record says; null where there is none. Its C(state) is V(changing), V(verified) when the change was proved, or
      V(rolled_back).
  returned: always
  type: dict
"""
