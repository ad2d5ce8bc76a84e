# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of ansible.windows.win_listen_ports_facts: this kernel's table, the stand-in of http.sys as the System process."""

from ansible_collections.ansible.windows.plugins.module_utils._double import LISTEN, double_of, owners, process, sockets

ARGUMENTS = dict(
    date_uformat=dict(type="str", default="%c"),
    tcp_filter=dict(type="list", elements="str", default=["Listen"]),
)


def main():
    module, machine = double_of("win_listen_ports_facts", ARGUMENTS, ["tcp_filter"])
    facts, pids = dict(tcp_listen=[], udp_listen=[]), owners()
    for kind, address, port, state, inode in sockets("tcp", "udp"):
        if kind == "udp" or state == LISTEN:
            facts[kind + "_listen"].append(dict(
                process(pids.get(inode), machine, module.params["date_uformat"]), address=address, port=port, protocol=kind))
    module.exit_json(changed=False, ansible_facts=facts)


if __name__ == "__main__":
    main()
