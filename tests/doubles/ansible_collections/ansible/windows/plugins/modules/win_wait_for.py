# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of ansible.windows.win_wait_for: of ports alone."""

import socket
import time

from ansible_collections.ansible.windows.plugins.module_utils._double import LISTEN, double_of, sockets

ARGUMENTS = dict(
    connect_timeout=dict(type="int", default=5),
    delay=dict(type="int"),
    exclude_hosts=dict(type="list", elements="str"),
    host=dict(type="str", default="127.0.0.1"),
    path=dict(type="str"),
    port=dict(type="int"),
    regex=dict(type="str", aliases=["search_regex", "regexp"]),
    sleep=dict(type="int", default=1),
    state=dict(type="str", default="started", choices=["absent", "drained", "present", "started", "stopped"]),
    timeout=dict(type="int", default=300),
)
WHAT = {"started": "start listening", "present": "start listening", "stopped": "stop listening", "absent": "stop listening",
        "drained": "drain"}


def answers(host, port, seconds):
    try:
        socket.create_connection((host, port), seconds).close()
        return True
    except OSError:
        return False


def drained(host, port):
    """Whether there is no connection whose local port it is, in whatever state."""
    mapped = "::ffff:" + host
    return not any(found == port and state != LISTEN and host in ("0.0.0.0", address) or found == port and address == mapped
                   for _kind, address, found, state, _inode in sockets("tcp"))


def main():
    module, _machine = double_of("win_wait_for", ARGUMENTS, ["exclude_hosts", "path", "regex"])
    given = module.params
    if given["port"] is None:
        module.fail_json(msg="the double of win_wait_for does not know how to wait without a port")
    host, port, state = given["host"], given["port"], given["state"]
    began = time.monotonic()
    time.sleep(given["delay"] or 0)
    attempts, start = 0, time.monotonic()
    while time.monotonic() - start < given["timeout"]:
        attempts += 1
        if state == "drained":
            done = drained(host, port)
        else:
            done = answers(host, port, given["connect_timeout"]) == (state in ("started", "present"))
        if done:
            module.exit_json(changed=False, elapsed=time.monotonic() - began, wait_attempts=attempts)
        time.sleep(given["sleep"])
    module.fail_json(msg="timeout while waiting for %s:%d to %s" % (host, port, WHAT[state]), changed=False,
                     elapsed=time.monotonic() - began, wait_attempts=attempts)


if __name__ == "__main__":
    main()
