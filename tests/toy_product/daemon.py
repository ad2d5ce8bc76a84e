# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The toy: reads one port from a text file when it starts, listens there and greets with it.

`daemon.py FOLDER ADDRESS start|stop`: FOLDER has the file `port`; the daemon's pid is kept beside it.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time


def serve(folder, address):
    with open(os.path.join(folder, "port"), encoding="utf-8") as source:
        port = int(re.search(r"^port = ([0-9]+)$", source.read(), re.M).group(1))
    with socket.create_server((address, port)) as listener:
        with open(os.path.join(folder, "pid"), "w", encoding="ascii") as target:
            target.write("%d" % os.getpid())
        while True:
            with listener.accept()[0] as stream:
                stream.sendall(b"TOY %d\n" % port)


def pid_of(folder):
    try:
        with open(os.path.join(folder, "pid"), encoding="ascii") as source:
            return int(source.read())
    except (OSError, ValueError):
        return None


def stop(folder):
    pid = pid_of(folder)
    if pid is None:
        return
    os.remove(os.path.join(folder, "pid"))
    try:
        os.kill(pid, signal.SIGTERM)
        while True:
            with open("/proc/%d/stat" % pid, encoding="utf-8") as source:
                if source.read().rpartition(")")[2].split()[0] == "Z":
                    return
            time.sleep(0.05)
    except (OSError, ProcessLookupError):
        return


def start(folder, address):
    if pid_of(folder) is not None:
        return
    child = subprocess.Popen([sys.executable, __file__, folder, address, "serve"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while pid_of(folder) is None:
        if child.poll() is not None:
            sys.exit("the toy did not start")
        time.sleep(0.05)


if __name__ == "__main__":
    where, at, what = sys.argv[1:]
    dict(serve=lambda: serve(where, at), start=lambda: start(where, at), stop=lambda: stop(where))[what]()
