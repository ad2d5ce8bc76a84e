#!/usr/bin/python
# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: bigfix_masthead_info
short_description: Reads a BigFix masthead
version_added: 0.1.0
description:
  - Says which port, host and deployment a masthead names, and whether its signature is intact.
  - A masthead with several ports is read as well, so that it can be looked into.
options:
  path:
    description: The masthead.
    type: path
    required: true
extends_documentation_fragment:
  - portshift.agents.attributes
  - portshift.agents.attributes.posix_and_windows
  - portshift.agents.attributes.windows_file
  - portshift.agents.attributes.read_only
seealso:
  - module: portshift.agents.bigfix_masthead
author:
  - The portshift.agents authors (@portshift)
"""

EXAMPLES = r"""
- name: Look at the masthead that BESAdmin issued
  portshift.agents.bigfix_masthead_info:
    path: /srv/masthead-55000.afxm
  register: issued
"""

RETURN = r"""
port:
  description: The port that the masthead names; null when it names several.
  returned: success
  type: int
  sample: 52311
ports:
  description: Every distinct port found.
  returned: success
  type: list
  elements: int
  sample: [52311]
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
  description: The sha256 of the signer's certificate; null for a plain masthead.
  returned: success
  type: str
urls:
  description: The URLs of the masthead by the name of their header.
  returned: success
  type: dict
  sample: {"X-Fixlet-Site-Report-URL": "http://bigfix.example.test:52311/cgi-bin/bfenterprise/PostResults.exe"}
host:
  description: The host in the URLs; null when there are none.
  returned: success
  type: str
  sample: bigfix.example.test
serial_number:
  description: The serial number of the deployment; null when the masthead has none.
  returned: success
  type: str
  sample: "123456789"
"""

from ansible.module_utils.basic import AnsibleModule
# pylint: disable-next=unused-import
from ansible_collections.portshift.agents.plugins.module_utils._core import compiled_once  # noqa: F401 - before all others
from ansible_collections.portshift.agents.plugins.module_utils._bigfix.file_modules import (
    MASTHEAD_INFO_SPEC, read_masthead)
from ansible_collections.portshift.agents.plugins.module_utils._core.errors import EngineError


def main():
    module = AnsibleModule(argument_spec=MASTHEAD_INFO_SPEC, supports_check_mode=True)
    try:
        result = read_masthead(module.params["path"])
    except EngineError as err:
        module.fail_json(msg=str(err))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
