#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: services_entry
short_description: Moves the port of a service in /etc/services
version_added: 0.2.0
description:
  - Makes the host resolve the name of a service to another port, for programs that look their port up, such as BoKS.
  - What counts is what the C library (glibc) answers. It takes the first line that has the name, or has it as an alias, and the
    protocol. The digits of that line are edited in place; comment, aliases, spacing, line endings and every other line stay as
    they were, byte by byte. A line is added, at the end, only where there is none.
  - Lines of other names are never touched. When an earlier one has the name as an alias, the module fails and names that line.
  - After a change of C(/etc/services) the host's own lookup has to answer the new port. When something else answers (NIS, sssd, a
    database, as nsswitch.conf says), the file is put back and the module fails and says who answers.
  - Where a distribution keeps its list in C(/usr/etc/services) and nsswitch.conf says C(files usrfiles) (SLES 16, openSUSE
    Tumbleweed), C(/etc/services) need not be there. It is made with the entries that move, with the aliases that they have in
    that list, and is taken away with the last of them. The list itself is never written.
options:
  name:
    description:
      - The name of the service. Letter case counts.
    type: str
    required: true
  port:
    description:
      - The port that the name has to resolve to, V(1) to V(65535). Required with O(state=present).
      - With O(state=absent), only lines with that port are removed.
    type: int
  protocols:
    description: The protocols for which the name has to resolve. A line is added for each one that has none.
    type: list
    elements: str
    default: [tcp]
  protocols_if_present:
    description: More protocols, whose lines are moved where they are there already, and not added where they are not.
    type: list
    elements: str
    default: []
  aliases:
    description:
      - Aliases for lines that are added.
      - A line that is there keeps its own aliases. One that lacks an alias of this list is told in a warning.
    type: list
    elements: str
    default: []
  comment:
    description: The comment for lines that are added, without the V(#). A line that is there keeps its own.
    type: str
  path:
    description: The services database.
    type: path
    default: /etc/services
  state:
    description:
      - V(present) makes the name resolve to O(port).
      - V(absent) removes the lines of the name with O(protocols) and O(protocols_if_present). A file to which this module has
        added lines gets back the bytes that it had before.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.edit
  - portshift.agents.attributes.record
notes:
  - A file that is a mount point of its own, as C(/etc/services) is in some containers, can't be replaced by a rename. It is
    written in place, after its old bytes were kept safely in a file beside it. A run that edits takes back first what such a
    write has left half done; check mode and modules that only look do not.
  - A line about the name that versions of the C library read differently is refused, such as an indented last line without a
    newline, or a number that 32 bits don't hold.
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Move the base port of BoKS
  portshift.agents.services_entry:
    name: boks
    port: 6530
    protocols_if_present: [udp]
    comment: BoKS base port
    backup: true

- name: Let go of the name
  portshift.agents.services_entry:
    name: boks
    state: absent
"""

RETURN = r"""
entries:
  description: The lines of the name after the change. C(effective) tells which ones lookups end at.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "boks", "port": 6530, "protocol": "tcp", "aliases": [], "line": 10107, "effective": true}]
previous:
  description:
    - The port before the change by protocol; null for one that was asked for and was not there.
    - Protocols of O(protocols_if_present) that were not there are left out.
    - An entry that lookups find in C(/usr/etc/services) was there.
  returned: success
  type: dict
  sample: {"tcp": 6500, "udp": 6500}
shadowed:
  description: Sentences on lines with the name that lookups never reach, since another one comes first. They are left alone.
  returned: success
  type: list
  elements: str
  sample:
    - "/etc/services: line 11000, boks 6500/tcp, is never reached by lookups of boks: line 10107, boks 6530/tcp, comes first"
resolved:
  description:
    - What the host's own lookup answers at the end of the run, by protocol; null for nothing. In check mode that is the port
      as it is now.
    - The lookup reads C(/etc/services), whatever O(path) is.
  returned: success
  type: dict
  sample: {"tcp": 6530, "udp": 6530}
backup_file:
  description: The copy of the file as it was.
  returned: when O(backup=true) and the file changed
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import RECORD_SPEC, ChangeRecord
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import take_back_interrupted
from ansible_collections.portshift.agents.plugins.module_utils._boks.services_file import SERVICES, ServicesEdit


def main():
    names = dict(type="list", elements="str")
    module = AnsibleModule(
        argument_spec=dict(
            name=dict(type="str", required=True), port=dict(type="int"), protocols=dict(names, default=["tcp"]),
            protocols_if_present=dict(names, default=[]), aliases=dict(names, default=[]), comment=dict(type="str"),
            path=dict(type="path", default=SERVICES),
            state=dict(type="str", choices=["present", "absent"], default="present"),
            backup=dict(type="bool", default=False), record=RECORD_SPEC),
        required_if=[("state", "present", ["port"])],
        supports_check_mode=True)
    wanted = {option: module.params[option] for option in (
        "path", "name", "port", "protocols", "protocols_if_present", "aliases", "comment", "state")}
    try:
        take_back_interrupted([wanted["path"]], module.check_mode)
        edit = ServicesEdit(**wanted)
        for warning in edit.warnings:
            module.warn(warning)
        result = edit.commit(module, record=ChangeRecord.from_params(module.params))
        module.exit_json(path=edit.path, entries=edit.entries, previous=edit.previous, shadowed=edit.shadowed,
                         resolved=edit.resolved(), **result)
    except EngineError as err:
        module.fail_json(msg=str(err))


if __name__ == "__main__":
    main()
