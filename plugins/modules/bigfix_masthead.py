#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_masthead
short_description: Moves the port in a BigFix masthead
version_added: 0.1.0
description:
  - Brings an installed masthead (V(Masthead.afxm), V(actionsite.afxm)) to another port.
  - A plain masthead, with a V(_PortNumber=) line, is edited in place. The port of its masthead URLs is edited with it.
  - A signed masthead (S/MIME, as BigFix issues it) can't be edited without breaking its signature, and clients reject it
    then. It is replaced by one that was issued for the new port, given as O(src).
  - Every byte outside of the port's digits stays as it was.
  - On a Windows host it is changed only where it is still what was read.
options:
  path:
    description: The installed masthead.
    type: path
    required: true
  port:
    description:
      - The port that the masthead has to name, V(1) to V(65535).
      - V(52314) is refused, since the agent keeps it for itself.
    type: int
    required: true
  previous_port:
    description:
      - The port that the masthead names now. Anything else than this or O(port) is a failure.
    type: int
  src:
    description:
      - A masthead that was issued for O(port), on the control node or, with O(remote_src=true), on the host.
      - It is installed only when its signature is intact, all of its URLs are on O(port), and its host and serial number
        are those of the installed masthead. Another signer than before is a warning.
    type: path
  remote_src:
    description: Whether O(src) lies on the host already.
    type: bool
    default: false
  allow_invalid_signature:
    description:
      - Edit a signed masthead in place all the same, or install a O(src) whose signature is not V(valid).
      - Clients reject a masthead with a broken signature. For such ones this is for test systems only.
      - One that is V(unchecked) may be allowed for the one run that installs it, once
        C(openssl smime -verify -binary -noverify) has accepted the file.
    type: bool
    default: false
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.posix_and_windows
  - portshift.agents.attributes.windows_file
  - portshift.agents.attributes.edit
  - portshift.agents.attributes.record
seealso:
  - module: portshift.agents.bigfix_masthead_info
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Install the masthead that BESAdmin issued for the new port
  portshift.agents.bigfix_masthead:
    path: /etc/opt/BESServer/actionsite.afxm
    src: files/masthead-55000.afxm
    port: 55000
    backup: true

- name: Move the port in a plain masthead
  portshift.agents.bigfix_masthead:
    path: /var/opt/BESServer/BESServer/Masthead.afxm
    port: 55000
    previous_port: 52311
"""

RETURN = r"""
port:
  description: The port that the masthead names now.
  returned: success
  type: int
  sample: 55000
previous_port:
  description: The port that the masthead named before.
  returned: success
  type: int
  sample: 52311
format:
  description: V(signed) for an S/MIME masthead, V(plain) for one without a signature.
  returned: success
  type: str
  sample: signed
signature:
  description:
    - V(valid) when digest and signature agree with the certificate inside the masthead; no chain of trust is built.
    - V(invalid) when they don't, V(absent) for a plain masthead.
    - V(unchecked) for a kind of key or digest that can't be checked with Python alone, or without the signer's certificate.
  returned: success
  type: str
  sample: valid
signer_sha256:
  description: The sha256 of the signer's certificate.
  returned: when the masthead is signed
  type: str
urls:
  description: The URLs of the masthead by the name of their header.
  returned: success
  type: dict
  sample: {"X-Fixlet-Site-Report-URL": "http://bigfix.example.test:55000/cgi-bin/bfenterprise/PostResults.exe"}
backup_file:
  description: The copy of the masthead as it was.
  returned: when O(backup=true) and the masthead changed
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.file_modules import (
    MASTHEAD_SPEC, asked_port, edit_masthead)
from ansible_collections.portshift.agents.plugins.module_utils._core.change_record import ChangeRecord
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError
from ansible_collections.portshift.agents.plugins.module_utils._core.file_edit import read_bytes, take_back_interrupted


def main():
    module = AnsibleModule(argument_spec=MASTHEAD_SPEC, supports_check_mode=True)
    path, src = module.params["path"], module.params["src"]
    try:
        port = asked_port(module.params)
        take_back_interrupted([path], module.check_mode)
        result = edit_masthead(module, port, src and (src, read_bytes(src)), ChangeRecord.from_params(module.params))
    except EngineError as err:
        module.fail_json(msg=str(err))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
