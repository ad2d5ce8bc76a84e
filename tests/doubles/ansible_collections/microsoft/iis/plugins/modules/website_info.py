# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of microsoft.iis.website_info, with what its way of reading makes of bindings that are not IPv4's."""

from ansible_collections.ansible.windows.plugins.module_utils._double import double_of
from ansible_collections.ansible.windows.plugins.module_utils._machine import CCS, SNI

ARGUMENTS = dict(name=dict(type="str"))


def as_int(text):
    """[int] of PowerShell"""
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        raise ValueError('Cannot convert value "%s" to type "System.Int32". Error: "Input string was not in a correct '
                         'format."' % text)


def described(site, table):
    bindings = []
    for binding in site.bindings:
        parts = binding.information.split(":") + [None, None]
        kept = table.get(binding.endpoint, {}) if binding.protocol == "https" and not binding.ssl_flags & CCS else {}
        bindings.append(dict(
            ip=parts[0], port=as_int(parts[1]), hostname=parts[2], protocol=binding.protocol,
            use_ccs=bool(binding.ssl_flags & CCS), use_sni=bool(binding.ssl_flags & SNI),
            certificate_hash=kept.get("hash", ""), certificate_store_name=kept.get("store", "")))
    return dict(name=site.name, site_id=site.id, state=site.state, physical_path=site.physical_path,
                application_pool=site.application_pool, bindings=bindings)


def main():
    module, machine = double_of("website_info", ARGUMENTS)
    configuration, table = machine.configuration(), machine.ssl_table()
    name = module.params["name"]
    sites = configuration.sites if name is None else [site for site in [configuration.site(name)] if site]
    try:
        found = [described(site, table) for site in sites]
    except ValueError as err:
        module.fail_json(msg="Failed to fetch the info of the required Website Exception: %s" % err, exists=True, site=[])
    module.exit_json(changed=False, exists=bool(found), site=found)


if __name__ == "__main__":
    main()
