# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of ansible.windows.win_listen_ports_facts: this kernel's table, the stand-in of http.sys as the System process."""

from ansible_collections.ansible.windows.plugins.module_utils._double import double_of, owners, process, sockets

ARGUMENTS = dict(
    date_uformat=dict(type="str", default="%c"),
    tcp_filter=dict(type="list", elements="str", default=["Listen"]),
)
# As Get-NetTCPConnection -State takes them, in any case of letters -> as this kernel's table has them.
STATES = {"established": "01", "synsent": "02", "synreceived": "03", "finwait1": "04", "finwait2": "05", "timewait": "06",
          "closed": "07", "closewait": "08", "lastack": "09", "listen": "0A", "closing": "0B"}


def main():
    module, machine = double_of("win_listen_ports_facts", ARGUMENTS)
    unknown = [name for name in module.params["tcp_filter"] if name.lower() not in STATES]
    if unknown:
        module.fail_json(msg='An error occurred while retrieving ports facts: Cannot convert "%s" to type State' % unknown[0])
    wanted = {STATES[name.lower()] for name in module.params["tcp_filter"]}
    # The processes after the sockets: each that is opened meanwhile is in neither, and each that is closed is in the second look.
    found, pids, still = list(sockets("tcp", "udp")), owners(), None
    facts = dict(tcp_listen=[], udp_listen=[])
    for entry in found:
        kind, address, port, state, inode = entry
        if kind == "udp" or state in wanted:
            if inode not in pids:
                still = set(sockets("tcp", "udp")) if still is None else still
                if entry not in still:
                    continue
            facts[kind + "_listen"].append(dict(
                process(pids.get(inode), machine, module.params["date_uformat"]), address=address, port=port, protocol=kind))
    module.exit_json(changed=False, ansible_facts=facts)


if __name__ == "__main__":
    main()
