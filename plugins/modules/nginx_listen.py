#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nginx_listen
short_description: Lets the web servers in a file of nginx's configuration listen on a second port, or no longer on a port
version_added: 0.2.0
description:
  - Puts a twin beside each C(listen) that a web server in the file has for one port, with the same address and parameters and
    another port, or takes the C(listen) directives of a port away. Every other byte of the file stays as it was.
  - Has nginx test its configuration before it is told to read it again. When the test fails, the file gets its old bytes back and
    nginx is not reloaded.
  - Ends when nginx really listens on the port, or no longer does, as the kernel sees it. When it does not come to that, the
    file gets its old bytes back and nginx is reloaded with them.
  - A port counts when a worker of nginx has it. The master alone listens for up to 2.5 seconds also in a reload that it gives up
    then, as it does when it can't have a port of another file. Where this user can't see what workers have open, a new worker has
    to be there, since those come when nginx has all its ports. Where there are no workers, nginx has to listen for 6 seconds.
  - What another process saves in the file meanwhile is not overwritten with the old bytes; the error says so.
  - A run that was killed before the reload is finished by the next one, unless another process has taken the port.
  - Refused before anything is written are a port that another process has, or that another file of nginx's configuration, or a
    server of C(stream) or C(mail) in this one, listens on; a file that nginx does not read; a configuration that fails its test
    already; a nginx that does not run. A process that has the port on another address is none that stands against it.
  - So are files that leave room for doubt. That is a C(listen) with a variable, a range of ports that holds one of the two, a
    server that has the new port and not the old one, a server that would be left without a C(listen), braces or quotation marks
    without a partner, more than 100 blocks inside of each other.
options:
  state:
    description:
      - V(present) lets the servers that listen on O(beside) listen on O(port) too.
      - V(absent) lets no server in the file listen on O(port).
      - V(restored) puts the bytes back that the file had before the first change that O(record) notes. It refuses when
        the file has changed since, unless the change of the C(listen) directives alone can be taken out of what is there now.
    type: str
    choices: [present, absent, restored]
    default: present
  timeout:
    description: Seconds in which nginx has to listen on the port, or no longer to listen, after it was reloaded.
    type: float
    default: 15
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.nginx_listen
  - portshift.agents.attributes.edit
  - portshift.agents.attributes.record
attributes:
  check_mode:
    support: full
    details:
      - Has nginx test its configuration as it is. What it will be can only be tested when it is written.
  diff_mode:
    support: full
    details:
      - Shows the servers with what they listen on. What else stands in the file may hold passwords.
  platform:
    support: full
    platforms: linux
notes:
  - With O(backup=true) it refuses where nginx would read the copy too, as it does with C(include sites-enabled/*). O(record)
    keeps the old bytes in a folder of its own.
  - While O(record) is in use, another change of the same record is waited for, up to 120 seconds.
  - The new port's C(listen) directives keep parameters such as C(default_server) and C(ssl), so both ports show the same
    certificate.
seealso:
  - module: portshift.agents.nginx_listen_info
  - module: portshift.agents.host_port
  - module: portshift.agents.change_record
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Let the hub answer on 8443 too
  portshift.agents.nginx_listen:
    port: 8443
    beside: 443
    record:
      path: /var/lib/portshift/change_tracker_hub.json
      old_port: 443
      new_port: 8443

- name: End port 443 of the hub, unless a client is still connected there
  portshift.agents.nginx_listen:
    port: 443
    beside: 8443
    state: absent
    users_seconds: 5
    record:
      path: /var/lib/portshift/change_tracker_hub.json
      old_port: 443
      new_port: 8443

- name: Restore the hub's server, unless a client is still connected to the new port
  portshift.agents.nginx_listen:
    state: restored
    users_seconds: 5
    record:
      path: /var/lib/portshift/change_tracker_hub.json
      new_port: 8443
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
  sample: /etc/nginx/conf.d/nnt.conf
listens:
  description: What the web servers in the file listen on, sockets of the file system left out.
  returned: success
  type: dict
  contains:
    before:
      description: Before the change.
      type: list
      elements: str
      returned: success
      sample: ["443 ssl", "[::]:443 ssl"]
    after:
      description: After the change; in check mode, as it would be.
      type: list
      elements: str
      returned: success
      sample: ["443 ssl", "8443 ssl", "[::]:443 ssl", "[::]:8443 ssl"]
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
server_names:
  description:
    - Names by which clients can ask for the servers in the file that listen on O(port) at the end, in their order. Where none
      does, and with O(state=restored), those of all servers in it.
    - Wildcards, regular expressions, V(_) and the empty name are left out. An address comes after the names, since TLS does not
      tell a server about it.
    - The first one is for O(portshift.agents.port_probe#module:targets[].http.server_name), to ask this server where another one
      is nginx's default for the port.
  returned: success
  type: list
  elements: str
  sample: ["hub.example.test"]
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
      description: The name of the process; null where this user can't see it.
      type: str
    pid:
      description: Its number; null where this user can't see it.
      type: int
lacking:
  description:
    - What nginx did not do at the beginning of the run although the file is to say so, a few words each. Not empty where the
      file is as it should be means that nginx has not read it yet.
    - Empty with O(state=restored).
  returned: success
  type: list
  elements: str
  sample: ["does not listen on 8443"]
elsewhere:
  description:
    - Who else has O(port), so that it stays in use when no web server in this file has it any more. First the other files of
      nginx's configuration with a C(listen) on it, for which nginx goes on listening there with O(state=absent). They are looked
      for when there is something to change. This file itself is among them where something else than its web servers has the
      port, such as C(stream).
    - Then the other processes that listen on it, each with its address.
    - Empty with O(state=restored).
  returned: success
  type: list
  elements: str
  sample: ["/etc/nginx/conf.d/other.conf", "haproxy (process 812) on 10.0.0.9"]
reloaded:
  description: Whether nginx was made to read its configuration again.
  returned: success
  type: bool
restored:
  description: The files that were put back, with O(state=restored).
  returned: success
  type: list
  elements: str
users:
  description: Who is connected to the port that ends, by address, those with the most connections first.
  returned: when it fails because of them
  type: list
  elements: dict
  contains:
    address:
      description: The address that they come from.
      type: str
    connections:
      description: How many connections were seen in O(users_seconds).
      type: int
backup_file:
  description: The copy of the file as it was.
  returned: when O(backup=true) and the file changed, but not with O(state=restored)
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._nginx.edit import (
    LISTEN_SPEC, REQUIRED_IF, PortInUse, set_listen)


def main():
    module = AnsibleModule(
        argument_spec=dict(LISTEN_SPEC, timeout=dict(type="float", default=15), backup=dict(type="bool", default=False)),
        required_if=REQUIRED_IF, supports_check_mode=True)
    require_linux(module)
    try:
        result = set_listen(module, module.params)
    except PortInUse as err:
        module.fail_json(msg=str(err), users=err.users)
    except EngineError as err:
        module.fail_json(msg=str(err))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
