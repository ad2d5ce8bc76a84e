#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nginx_listen_info
short_description: Tells what the web servers in a file of nginx's configuration listen on
version_added: 0.2.0
description:
  - Reads what M(portshift.agents.nginx_listen) would have to change with the same options, and changes nothing, in check mode
    or not. Where RV(listens) would be as it is, and RV(lacking) and RV(restored) are empty, that is nothing.
  - What counts is what the kernel holds. RV(listening_by) tells who listens on the ports, and RV(lacking) what nginx does not
    do although the file says so.
  - Fails where M(portshift.agents.nginx_listen) would refuse to change anything, with the same sentence, such as one that names
    the process that has O(port), or the test of nginx's configuration that failed.
options:
  state:
    description:
      - What is compared with the file and with nginx. The state that M(portshift.agents.nginx_listen) would be given.
      - V(present) tells which C(listen) directives have no twin on O(port), V(absent) which ones have O(port), V(restored)
        which file the record would put back.
    type: str
    choices: [present, absent, restored]
    default: present
  reload_command:
    description: Not run by this module, so that nginx is never made to read its configuration.
  record:
    description: Nothing is noted in it by this module.
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.read_only
  - portshift.agents.attributes.record
  - portshift.agents.nginx_listen
attributes:
  platform:
    support: full
    platforms: linux
seealso:
  - module: portshift.agents.nginx_listen
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: See what the hub listens on, and what a second port lacks
  portshift.agents.nginx_listen_info:
    port: 8443
    beside: 443
  register: hub

- name: See whether the hub could lose its old port, and who is connected there
  portshift.agents.nginx_listen_info:
    port: 443
    beside: 8443
    state: absent
    users_seconds: 5
  register: hub
  failed_when: hub.msg is defined and hub.users is not defined
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
      description: As it is.
      type: list
      elements: str
      returned: success
      sample: ["443 ssl", "[::]:443 ssl"]
    after:
      description: As it would be.
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
server_names:
  description:
    - Names by which clients can ask for the servers in the file that would listen on O(port), in their order. Where none would,
      and with O(state=restored), those of all servers in it.
    - Wildcards, regular expressions, V(_) and the empty name are left out. An address comes after the names, since TLS does not
      tell a server about it.
    - The first one is for O(portshift.agents.port_probe#module:targets[].http.server_name), to ask this server where another
      one is nginx's default for the port.
  returned: success
  type: list
  elements: str
  sample: ["hub.example.test"]
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
      description: The name of the process; null where this user can't see it.
      type: str
    pid:
      description: Its number; null where this user can't see it.
      type: int
lacking:
  description:
    - What nginx does not do although the file is to say so, a few words each. Not empty where the file is as it should be means
      that nginx has not read it yet.
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
restored:
  description: The files that would be put back, with O(state=restored).
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
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.host_system import require_linux
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._nginx.edit import (
    LISTEN_SPEC, REQUIRED_IF, PortInUse, set_listen)
from ansible_collections.portshift.agents.plugins.module_utils._core.read_only import read_only, seen


def main():
    module = read_only(AnsibleModule(argument_spec=LISTEN_SPEC, required_if=REQUIRED_IF, supports_check_mode=True))
    require_linux(module)
    try:
        result = seen(set_listen(module, module.params), "reloaded")
    except PortInUse as err:
        module.fail_json(msg=str(err), users=err.users)
    except EngineError as err:
        module.fail_json(msg=str(err))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
