#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: iis_listen
short_description: Lets a site of IIS listen on a second port, or no longer on a port
version_added: 0.2.0
description:
  - Gives each binding that a site of IIS has on one port a twin on another port, with the same address, host name, protocol and
    certificate, or takes the bindings of a port away. M(microsoft.iis.website) does it; other bindings stay as they are.
  - Ends when C(http.sys), the driver that listens for all sites, really listens on the port, or no longer does, when the bindings
    are there as they were asked for, and when the site is still started. When it does not come to that, the bindings are taken
    back, and the site is started again where IIS has stopped it. That is tried until O(timeout) is over.
  - On a port that another site has too, C(http.sys) listens before and after. What is proved of a binding there, where it is
    taken away, put back or added again, is that IIS has it or no longer has it, with its certificate. Whether C(http.sys)
    already answers to its host name, or no longer does, is not; ask for a page by that name to see it.
  - Where C(http.sys) goes on listening on a port that no site has any more, for something else than IIS, that is no failure;
    RV(elsewhere) and RV(notes) say so.
  - Refused before anything is written are a port that another process or another site has, or that C(http.sys) listens on for
    something else than a site; a site that is not started; a site that would be left without a binding for HTTP or HTTPS.
  - So are bindings that leave room for doubt. That is one for HTTPS without a certificate, one on the new port already that is
    not the same as the one beside it, and one with an IPv6 address, since M(microsoft.iis.website_info) can't tell its port.
  - A binding whose certificate comes from the central store is not made on another port, since M(microsoft.iis.website) does not
    make the entry in C(http.sys) that it needs there. The error has the commands that make both; after them the call goes on.
  - C(http.sys) has one certificate for all bindings on an address and port that don't require SNI. Where another site has such a
    binding with another certificate there, none is added beside it.
  - The certificate of a binding that is there already is not changed where the site has bindings that are neither for HTTP nor
    for HTTPS, since M(microsoft.iis.website) may write another one then.
  - A run that was killed is finished by the next one, or taken back with O(state=restored).
options:
  state:
    description:
      - V(present) lets the site listen on O(port) too.
      - V(absent) takes the site's bindings on O(port) away.
      - V(restored) takes the twins of the migration that O(record) notes away, and puts the bindings back that the site had on
        the port that was left. A binding that is put back gets the certificate of its twin, which may have been renewed since.
        Bindings that the migration has not made stay.
      - With V(restored), the twins are taken away when C(http.sys) listens on the port that was left. Where it does not come to
        that, they stay. Where other bindings go with them, those are added again, and it fails with their names.
      - It is noted in the record before it is done. After a run that was killed, the next one finishes it.
    type: str
    choices: [present, absent, restored]
    default: present
  timeout:
    description:
      - Seconds in which C(http.sys) has to listen on the port, or no longer to listen, after the bindings were changed; once more
        where the change is taken back.
    type: float
    default: 15
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.iis_listen
attributes:
  check_mode:
    support: full
    details:
      - Has M(microsoft.iis.website) look at the bindings that would be added, such as whether their certificate is in its store.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: windows
requirements:
  - On the control node the collections microsoft.iis and ansible.windows.
  - On the host IIS with its PowerShell module WebAdministration. Nothing of Python's is needed there.
notes:
  - Nothing keeps two runs on one host apart, since the record can't be locked there. M(portshift.agents.run_lock) does so for
    playbooks.
  - Of a binding's flags, M(microsoft.iis.website_info) tells the requirement of SNI and the central certificate store alone. A
    twin has no others, such as those that turn HTTP/2 or old versions of TLS off. Nor has a binding that is put back, and one
    that gets a certificate anew loses them. So it is with what C(http.sys) keeps beside a certificate, such as the demand for
    one of the client. The RV(notes) name such bindings.
  - C(http.sys) listens on all addresses as it comes, so a port counts as listened on whatever the address in the binding is, and
    as taken whatever the address of the other process is.
seealso:
  - module: portshift.agents.iis_listen_info
  - module: portshift.agents.nginx_listen
  - module: portshift.agents.host_port
  - module: microsoft.iis.website
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Let the hub's site answer on 8443 too
  portshift.agents.iis_listen:
    port: 8443
    beside: 443
    record:
      path: C:\ProgramData\portshift\change_tracker_hub.json
      old_port: 443
      new_port: 8443

- name: End port 443 of the hub's site, unless it is in use all the time
  portshift.agents.iis_listen:
    port: 443
    beside: 8443
    state: absent
    users_seconds: 5
    record:
      path: C:\ProgramData\portshift\change_tracker_hub.json
      old_port: 443
      new_port: 8443

- name: Restore the bindings of the hub's site
  portshift.agents.iis_listen:
    state: restored
    record:
      path: C:\ProgramData\portshift\change_tracker_hub.json
      new_port: 8443
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
      description: Before the change.
      type: list
      elements: str
      returned: success
      sample: ["https *:443: 5409124040FA1C8FA74939BDA2EF8FD5975BD25B"]
    after:
      description: After the change; in check mode, as it would be.
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
      description: Before the change.
      type: list
      elements: int
      returned: success
      sample: [443]
    after:
      description: After the change; in check mode, as it would be.
      type: list
      elements: int
      returned: success
      sample: [443, 8443]
listening_by:
  description: Who listens at the end of the run on the ports that are in RV(ports) or were asked for.
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
    - What C(http.sys) did not do at the beginning of the run although the bindings are to say so, and what a binding on O(port)
      lacked, a few words each.
    - Empty with O(state=restored).
  returned: success
  type: list
  elements: str
  sample: ["does not listen on 8443"]
elsewhere:
  description:
    - Who else has O(port), so that it stays in use when this site does not have it any more - other sites, then other processes
      that listen on it, each with its address. C(http.sys) is among them where it listens for no site or process that is known.
    - Empty with O(state=restored).
  returned: success
  type: list
  elements: str
  sample: ['site "Default Web Site"', "haproxy.exe (process 812) on 10.0.0.9"]
restored:
  description: The bindings that were put back and those that were taken away, with O(state=restored).
  returned: success
  type: list
  elements: str
  sample:
    - "https *:443: 5409124040FA1C8FA74939BDA2EF8FD5975BD25B put back"
    - "https *:8443: 5409124040FA1C8FA74939BDA2EF8FD5975BD25B taken away"
notes:
  description: Sentences on what was left as it is, could not be seen, or is to be seen to by hand.
  returned: success
  type: list
  elements: str
in_use:
  description: That there were connections to the port that was to end for all of O(users_seconds).
  returned: when it fails since there were
  type: bool
record:
  description:
    - What the record says at the end of the run; null where there is none. Its C(state) is V(changing), V(verified) when the
      change was proved, or V(rolled_back).
  returned: always
  type: dict
"""
