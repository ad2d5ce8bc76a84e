# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A BigFix agent with an init script, as before its units were systemd's own: systemd makes a unit of it."""

AGENT = "/opt/BESClient/bin/BESClient"
PATH = "/etc/init.d/besclient"


def init_script(command):
    """As the vendor's: it knows its agent by a file, and starts no second one.  Hooks come before what an action does."""
    return """#!/bin/sh
### BEGIN INIT INFO
# Provides: besclient
# Required-Start: $network
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
pid=$(cat /run/besclient.pid 2>/dev/null)
[ ! -e "/opt/on-$1" ] || . "/opt/on-$1"
case $1 in
    start) kill -0 "$pid" 2>/dev/null && exit 0
        setsid %s </dev/null >/dev/null 2>&1 & echo $! >/run/besclient.pid ;;
    stop) [ -z "$pid" ] || kill "$pid" 2>/dev/null
        while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.05; done; rm -f /run/besclient.pid ;;
    status) kill -0 "$pid" 2>/dev/null || exit 3 ;;
esac
""" % command
